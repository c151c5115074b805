package backtest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// eventsPrefix begins the names of the sums of events.
var eventsPrefix = strings.TrimSuffix(rules.Events, "count1m")

// Report is what would have happened.
type Report struct {
	// From and Until bound the time that is looked at, in UTC.
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	// Pages and Tickets are how many alerts fired.
	Pages   int `json:"pages"`
	Tickets int `json:"tickets"`
	// Alerts are in the order in which they began.
	Alerts  []*Alert  `json:"alerts"`
	Budgets []*Budget `json:"budgets"`
	// Notes say, a sentence each, what the figures do not tell.
	Notes []string `json:"notes,omitempty"`
	// Problems are what the operator would say of the objects.
	Problems []string `json:"problems,omitempty"`
	// Samples is how many were read from Prometheus.
	Samples int64 `json:"samples"`
	// Before is the same of the objects to compare with.
	Before *Report `json:"before,omitempty"`
}

// Alert is one that would have fired.
type Alert struct {
	Alert      string `json:"alert"`
	Severity   string `json:"severity"`
	Tier       string `json:"tier"`
	Namespace  string `json:"namespace"`
	SLO        string `json:"slo"`
	Objective  string `json:"objective"`
	Touchpoint string `json:"touchpoint"`
	// Start is when it fired, End when it ended; it still fires without.
	Start time.Time  `json:"start"`
	End   *time.Time `json:"end,omitempty"`
	// BeganBefore: Start is before the time that is looked at.
	BeganBefore bool `json:"beganBefore,omitempty"`
	// Minutes is how long it fired within that time.
	Minutes float64 `json:"minutes"`
	// BurnRate, Loss and Events are those of the tier's window when the alert fired: how
	// many times as fast as it may the budget burned, the mean loss per event, and the
	// number of events. HighestBurnRate is the highest while it fired.
	BurnRate        float64 `json:"burnRate,omitempty"`
	HighestBurnRate float64 `json:"highestBurnRate,omitempty"`
	Loss            float64 `json:"loss,omitempty"`
	Events          int64   `json:"events,omitempty"`

	budget *Budget
}

// Budget is what one promise at a touchpoint would have come to.
type Budget struct {
	Namespace  string `json:"namespace"`
	SLO        string `json:"slo"`
	Objective  string `json:"objective"`
	Touchpoint string `json:"touchpoint"`
	Promise    string `json:"promise"`
	Window     string `json:"window"`
	// State, Events, Value and Remaining are those of the window that ends with the time
	// that is looked at. Value is in the unit of the promise, between Lower and Upper for
	// surveys; Remaining is in percent of the budget.
	State     budget.State `json:"state"`
	Events    int64        `json:"events"`
	Value     *float64     `json:"value,omitempty"`
	Lower     *float64     `json:"lower,omitempty"`
	Upper     *float64     `json:"upper,omitempty"`
	Remaining float64      `json:"remainingPercent"`
	// Covered is the percentage of the window of which the counts are known, and Known that
	// of the time that is looked at. KnownSince is when counts begin, if that is later.
	Covered    float64    `json:"coveredPercent"`
	Known      float64    `json:"knownPercent"`
	KnownSince *time.Time `json:"knownSince,omitempty"`
	// Keeps is the tightest promise that the window would have kept.
	Keeps *float64 `json:"keeps,omitempty"`
	// Pages and Tickets are how many alerts fired; Minutes is how long any of them did.
	Pages   int     `json:"pages"`
	Tickets int     `json:"tickets"`
	Minutes float64 `json:"firingMinutes"`

	key              budgetKey
	family           budget.Family
	floor            int
	allowed, loss, n float64
	value            func(loss float64) float64
	first            time.Time
}

// measure says what was measured in the unit of the promise.
func (b *Budget) measure() {
	if b.value == nil {
		return
	}
	in := func(loss float64) *float64 {
		// Twelve digits of a loss are more than anybody counted.
		v := budget.Round(b.value(loss))
		v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'f', b.digits(), 64), 64)
		return &v
	}
	b.Value = in(b.loss)
	if b.family == budget.Survey {
		low, high := budget.Bounds(b.loss*b.n, b.n, budget.ZTicket)
		b.Lower, b.Upper = in(low), in(high)
		if *b.Lower > *b.Upper {
			b.Lower, b.Upper = b.Upper, b.Lower
		}
		if b.n < float64(b.floor) {
			return
		}
	}
	if allowed := roundedUp(b.loss); b.n > 0 && allowed > 0 && allowed < 1 {
		keeps := budget.Round(b.value(allowed))
		b.Keeps = &keeps
	}
}

// digits is how many behind the point of a percentage show a tenth of what is allowed.
func (b *Budget) digits() int {
	return min(max(1, 1-int(math.Floor(math.Log10(100*b.allowed)))), 4)
}

// roundedUp keeps two digits of a loss, so that what is promised by it is kept.
func roundedUp(loss float64) float64 {
	if loss <= 0 {
		return 0
	}
	step := math.Pow10(int(math.Floor(math.Log10(loss))) - 1)
	return budget.Round(math.Ceil(budget.Round(loss/step)) * step)
}

func rounded(v float64) float64 { return math.Round(10*v) / 10 }

func significant(v float64) float64 {
	kept, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	return kept
}

func (r *Report) note(text string) { r.Notes = append(r.Notes, text) }

// budgetOf finds the budget of an alert.
func (r *Report) budgetOf(alert labels.Labels) *Budget {
	key := keyOf(alert)
	for _, b := range r.Budgets {
		if key.def = b.key.def; key == b.key {
			return b
		}
	}
	return nil
}

// count adds the alerts up, and judges.
func (r *Report) count() {
	for _, b := range r.Budgets {
		burning := false
		var firing [][2]time.Time
		for _, a := range r.Alerts {
			if a.budget != b {
				continue
			}
			end := r.Until
			if a.End != nil {
				end = *a.End
			}
			firing = append(firing, [2]time.Time{laterOf(a.Start, r.From), end})
			burning = burning || a.End == nil && a.Alert != rules.AlertDataMissing
			if a.Severity == "page" {
				b.Pages++
				r.Pages++
			} else {
				b.Tickets++
				r.Tickets++
			}
		}
		b.Minutes = rounded(together(firing).Minutes())
		b.State = budget.NoData
		if b.Value != nil {
			b.State = budget.Judge(b.family, b.loss*b.n, b.n, b.allowed, float64(b.floor), burning)
		}
	}
}

// together is how long any of some spans lasts.
func together(spans [][2]time.Time) (all time.Duration) {
	slices.SortFunc(spans, func(a, b [2]time.Time) int { return a[0].Compare(b[0]) })
	var until time.Time
	for _, span := range spans {
		from := laterOf(span[0], until)
		if span[1].After(from) {
			all += span[1].Sub(from)
			until = span[1]
		}
	}
	return all
}

// explain says where the figures know less than they seem to.
func (r *Report) explain() {
	named := func(which func(*Budget) bool) []string {
		var names []string
		for _, b := range r.Budgets {
			if which(b) {
				names = append(names, b.name())
			}
		}
		return names
	}
	if silent := named(func(b *Budget) bool { return b.first.IsZero() }); len(silent) > 0 {
		r.note("Nothing is known of " + rules.Some(silent) + ": Prometheus has no counts of it in this time. No alert is counted there, though ExperienceDataMissing would fire.")
	}
	late := named(func(b *Budget) bool { return b.KnownSince != nil })
	if len(late) > 0 {
		first := r.Until
		for _, b := range r.Budgets {
			if b.KnownSince != nil && b.KnownSince.Before(first) {
				first = *b.KnownSince
			}
		}
		r.note(fmt.Sprintf("Counts of %s begin within this time, the first at %s: they were not measured before, or Prometheus keeps no more (--storage.tsdb.retention.time). What would have fired until then is not known.",
			rules.Some(late), moment(first)))
	}
	if patchy := named(func(b *Budget) bool { return !b.first.IsZero() && b.KnownSince == nil && b.Known < 99 }); len(patchy) > 0 {
		r.note("Counts of " + rules.Some(patchy) + " have gaps; see KNOWN.")
	}
	if short := named(func(b *Budget) bool { return !b.first.IsZero() && b.Covered < 99 }); len(short) > 0 {
		r.note("The windows of " + rules.Some(short) + " are not filled: what is left is that of the part that is known (COVERED). Alerts on the first days after the beginning rest on short windows.")
	}
}

func (b *Budget) name() string { return b.SLO + "/" + b.Objective + " at " + b.Touchpoint }

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// pair is a budget as it would be, and as it was; nil where there is none.
type pair struct{ now, before *Budget }

// pairs puts the budgets of two reports side by side.
func (r *Report) pairs() []pair {
	find := func(in []*Budget, like *Budget) *Budget {
		for _, b := range in {
			if b.Namespace == like.Namespace && b.SLO == like.SLO && b.Objective == like.Objective && b.Touchpoint == like.Touchpoint {
				return b
			}
		}
		return nil
	}
	var all []pair
	for _, b := range r.Budgets {
		all = append(all, pair{b, find(r.Before.Budgets, b)})
	}
	for _, b := range r.Before.Budgets {
		if find(r.Budgets, b) == nil {
			all = append(all, pair{nil, b})
		}
	}
	slices.SortStableFunc(all, func(a, b pair) int { return cmp.Or(a.any().key.compare(b.any().key)) })
	return all
}

func (p pair) any() *Budget {
	if p.now != nil {
		return p.now
	}
	return p.before
}
