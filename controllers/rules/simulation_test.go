package rules

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	promrules "github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/tsdb"
)

// world is a Prometheus in fast motion: its real storage, query engine and rule groups,
// each group evaluated at its own interval and offset, over counters that scrapes read.
type world struct {
	t        testing.TB
	db       *tsdb.DB
	engine   *promql.Engine
	manager  *promrules.Manager
	now      time.Time
	counters []counter
	groups   []*schedule
	files    ruleFiles
	failures []string
	// phase, if set, is when in its interval a group is evaluated; else its name and its
	// file's decide, as in production.
	phase func(group string) time.Duration
	// missed skips evaluations, as an overloaded Prometheus does.
	missed func(group string, at time.Time) bool
	// unscraped skips scrapes.
	unscraped func(at time.Time) bool
	fired     map[string]time.Time
}

// counter is a series and its value over time; NaN while there is none.
type counter struct {
	labels labels.Labels
	value  func(at time.Time) float64
}

type schedule struct {
	*promrules.Group
	next time.Time
}

// ruleFiles are rule files that are on no disk. Their names, and with them the times of
// evaluation, are the same in every run.
type ruleFiles map[string][]byte

func (f ruleFiles) Load(name string, ignoreUnknownFields bool, names model.ValidationScheme) (*rulefmt.RuleGroups, []error) {
	return rulefmt.Parse(f[name], ignoreUnknownFields, names, userPromQL, slog.New(slog.DiscardHandler))
}

func (f ruleFiles) Parse(query string) (parser.Expr, error) { return userPromQL.ParseExpr(query) }

const scrapeInterval = 15 * time.Second

var epoch = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func newWorld(t testing.TB) *world {
	t.Helper()
	options := tsdb.DefaultOptions()
	options.MinBlockDuration, options.MaxBlockDuration = (60 * 24 * time.Hour).Milliseconds(), (60 * 24 * time.Hour).Milliseconds()
	options.RetentionDuration, options.WALSegmentSize, options.IsolationDisabled = 0, -1, true
	db, err := tsdb.Open(t.TempDir(), nil, nil, options, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, now: epoch, fired: map[string]time.Time{}, files: ruleFiles{}}
	w.engine = promql.NewEngine(promql.EngineOpts{MaxSamples: 50e6, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true, Parser: userPromQL,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() }})
	w.manager = promrules.NewManager(&promrules.ManagerOptions{
		NameValidationScheme: model.UTF8Validation,
		ExternalURL:          &url.URL{},
		QueryFunc:            promrules.EngineQueryFunc(w.engine, db),
		NotifyFunc:           func(context.Context, string, ...*promrules.Alert) {},
		Context:              context.Background(),
		Appendable:           db, Queryable: db,
		Logger:      slog.New(slog.DiscardHandler),
		Parser:      userPromQL,
		GroupLoader: w.files,
	})
	t.Cleanup(func() { _ = db.Close() })
	return w
}

// load adds rule groups, as another rule file would.
func (w *world) load(file []byte) []*schedule {
	w.t.Helper()
	name := fmt.Sprintf("%d.yaml", len(w.files)+1)
	w.files[name] = file
	loaded, errs := w.manager.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, name)
	if len(errs) > 0 {
		w.t.Fatal(errs)
	}
	var added []*schedule
	for _, group := range loaded {
		group.RestoreForState(w.now) // until then a rule writes no ALERTS
		first := group.EvalTimestamp(w.now.UnixNano()).Add(group.Interval())
		if w.phase != nil {
			first = w.now.Truncate(group.Interval()).Add(group.Interval() + w.phase(group.Name()))
		}
		added = append(added, &schedule{group, first})
	}
	// Where two are due at the same time, the order is by name.
	slices.SortFunc(added, func(a, b *schedule) int { return cmp.Compare(a.Name(), b.Name()) })
	w.groups = append(w.groups, added...)
	return added
}

// unload removes groups, as a deleted file does, without the stale markers that
// Prometheus would write some evaluations later.
func (w *world) unload(gone []*schedule) {
	w.groups = slices.DeleteFunc(w.groups, func(s *schedule) bool { return slices.Contains(gone, s) })
}

func (w *world) scrape(value func(at time.Time) float64, pairs ...string) {
	w.counters = append(w.counters, counter{labels.FromStrings(pairs...), value})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for w.now.Before(end) {
		next := w.now.Truncate(scrapeInterval).Add(scrapeInterval)
		if (w.unscraped == nil || !w.unscraped(next)) && !next.After(end) {
			w.write(next)
		}
		w.now = next
		for {
			due := slices.MinFunc(append(w.groups, &schedule{next: next.Add(time.Hour)}), func(a, b *schedule) int { return a.next.Compare(b.next) })
			if due.Group == nil || due.next.After(next) {
				break
			}
			w.evaluate(due)
		}
	}
}

func (w *world) write(at time.Time) {
	app := w.db.Appender(context.Background())
	for _, c := range w.counters {
		if v := c.value(at); !math.IsNaN(v) {
			if _, err := app.Append(0, c.labels, timestamp.FromTime(at), v); err != nil {
				w.t.Fatalf("%s at %s: %v", c.labels, at, err)
			}
		}
	}
	if err := app.Commit(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) evaluate(group *schedule) {
	at := group.next
	group.next = at.Add(group.Interval())
	if w.missed != nil && w.missed(group.Name(), at) {
		return
	}
	group.Eval(context.Background(), at)
	for _, rule := range group.Rules() {
		if err := rule.LastError(); err != nil {
			w.failures = append(w.failures, fmt.Sprintf("%s %s: %v", at.Sub(epoch), rule.Name(), err))
		}
		alerting, is := rule.(*promrules.AlertingRule)
		if !is {
			continue
		}
		alerting.ForEachActiveAlert(func(alert *promrules.Alert) {
			if alert.State == promrules.StateFiring {
				name := alertText(alert.Labels)
				if _, known := w.fired[name]; !known {
					w.fired[name] = at
				}
			}
		})
	}
}

// alertText is an alert as name{labels}, in a stable order.
func alertText(ls labels.Labels) string {
	b := labels.NewBuilder(ls)
	b.Del(labels.AlertName)
	return ls.Get(labels.AlertName) + b.Labels().String()
}

// firing lists the alerts that fire now.
func (w *world) firing() []string {
	var names []string
	for _, group := range w.groups {
		for _, rule := range group.AlertingRules() {
			rule.ForEachActiveAlert(func(alert *promrules.Alert) {
				if alert.State == promrules.StateFiring {
					names = append(names, alertText(alert.Labels))
				}
			})
		}
	}
	sort.Strings(names)
	return names
}

// ask evaluates an instant query now.
func (w *world) ask(query string) promql.Vector {
	w.t.Helper()
	return w.askAt(w.now, query)
}

func (w *world) askAt(at time.Time, query string) promql.Vector {
	w.t.Helper()
	q, err := w.engine.NewInstantQuery(context.Background(), w.db, nil, query, at)
	if err != nil {
		w.t.Fatal(err)
	}
	defer q.Close()
	result := q.Exec(context.Background())
	vector, err := result.Vector()
	if err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return slices.Clone(vector)
}

// number is the value of the only series of a query, NaN without one.
func (w *world) number(query string) float64 {
	w.t.Helper()
	vector := w.ask(query)
	switch len(vector) {
	case 0:
		return math.NaN()
	case 1:
		return vector[0].F
	default:
		w.t.Fatalf("%s has %d series: %v", query, len(vector), vector)
		return 0
	}
}

// healthy fails the test if any rule could not be evaluated at any time.
func (w *world) healthy() {
	w.t.Helper()
	if len(w.failures) > 0 {
		w.t.Errorf("%d evaluations failed, the first: %s", len(w.failures), strings.Join(w.failures[:min(3, len(w.failures))], "\n"))
	}
}

// since makes a counter that starts at 0 when it is born and gains perSecond(at) events a second.
func steady(perSecond float64) func(time.Time) float64 {
	return func(at time.Time) float64 { return math.Floor(at.Sub(epoch).Seconds() * perSecond) }
}

// probes makes the series of a prober that runs every ten seconds: failing and slow tell,
// at a time since the epoch, what comes of a run.
func (w *world) probes(namespace, touchpoint string, slow, failing func(since time.Duration) bool, edges ...string) {
	w.probesEvery(10*time.Second, namespace, touchpoint, slow, failing, edges...)
}

func (w *world) probesEvery(interval time.Duration, namespace, touchpoint string, slow, failing func(since time.Duration) bool, edges ...string) {
	totals := map[string]func(at time.Time) float64{}
	count := func(keep func(time.Duration) bool) func(time.Time) float64 {
		done, total := time.Duration(0), 0.0
		return func(at time.Time) float64 {
			for done+interval <= at.Sub(epoch) {
				done += interval
				if keep(done) {
					total++
				}
			}
			return total
		}
	}
	totals["success"] = count(func(d time.Duration) bool { return !failing(d) })
	totals["failure"] = count(failing)
	totals["error"] = count(func(time.Duration) bool { return false })
	for outcome, value := range totals {
		w.scrape(value, "__name__", probeRuns, "namespace", namespace, "touchpoint", touchpoint, "location", "default", "outcome", outcome)
	}
	for _, le := range edges {
		w.scrape(count(func(d time.Duration) bool { return !failing(d) && !slow(d) }),
			"__name__", probeDuration, "namespace", namespace, "touchpoint", touchpoint, "location", "default", "le", le)
	}
}

// answers makes the gateway's series of an instrument: rate answers a day, each score
// taken from a deck in turn.
func (w *world) answers(namespace, touchpoint, instrument string, scores []int, deck func(since time.Duration) []int, perDay float64) {
	for _, score := range scores {
		n, total := 0, 0.0
		w.scrape(func(at time.Time) float64 {
			for float64(n+1) <= at.Sub(epoch).Hours()/24*perDay {
				n++
				cards := deck(time.Duration(float64(n) / perDay * 24 * float64(time.Hour)))
				if cards[n%len(cards)] == score {
					total++
				}
			}
			return total
		}, "__name__", surveyResponses, "namespace", namespace, "touchpoint", touchpoint, "instrument", instrument, "score", fmt.Sprint(score))
	}
}

func never(time.Duration) bool { return false }

func after(start time.Duration) func(time.Duration) bool {
	return func(since time.Duration) bool { return since > start }
}

func between(start, end time.Duration) func(time.Duration) bool {
	return func(since time.Duration) bool { return since > start && since <= end }
}
