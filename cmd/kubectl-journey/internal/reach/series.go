package reach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/observe"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

const (
	// trendSpan and trendStep are those of the trend on a map.
	trendSpan, trendStep = 7 * 24 * time.Hour, 3 * time.Hour
	// lately is a range that holds the last sample of what is written every five minutes.
	lately = "11m"
	// mostNamed is how many touchpoints a question names; beyond, it asks for those of the
	// whole namespace.
	mostNamed = 100
)

// asked is a Prometheus that answers, and where it is.
type asked struct {
	api promv1.API
	at  *endpoint
}

// ask finds Prometheus; the sentence says why there is none.
func (c *Cluster) ask(ctx context.Context) (*asked, string) {
	at, missing := c.endpoints.prometheus(ctx)
	if missing != "" {
		return nil, missing
	}
	api, err := observe.API(at.url, at.client)
	if err != nil {
		return nil, fmt.Sprintf("Prometheus cannot be asked: %v.", err)
	}
	return &asked{api, at}, ""
}

// over evaluates an expression over a time up to now; the sentence says why it could not.
func (a *asked) over(ctx context.Context, expr string, span, step time.Duration) (model.Matrix, string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	end := time.Now() // a point of its own: young series have no other
	start := end.Add(-span / step * step)
	value, _, _, err := a.api.QueryRange(ctx, expr, promv1.Range{Start: start, End: end, Step: step}, promv1.WithTimeout(patience))
	if err != nil {
		return nil, a.at.refused("Prometheus", statusOf(err), err)
	}
	matrix, _ := value.(model.Matrix)
	return matrix, ""
}

// now evaluates an expression.
func (a *asked) now(ctx context.Context, expr string) (model.Vector, string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	value, _, _, err := a.api.Query(ctx, expr, time.Now(), promv1.WithTimeout(patience))
	if err != nil {
		return nil, a.at.refused("Prometheus", statusOf(err), err)
	}
	vector, _ := value.(model.Vector)
	return vector, ""
}

// statusOf is the status of what was no answer of a Prometheus, as its client reports it; 0
// if nothing answered.
func statusOf(err error) int {
	var answered *promv1.Error
	if !errors.As(err, &answered) {
		return 0
	}
	_, code, _ := strings.Cut(answered.Msg, "error: ")
	if status, err := strconv.Atoi(code); err == nil {
		return status
	}
	if answered.Type == promv1.ErrBadData {
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// Trends fills in what was left of the budgets on maps, over the last seven days. The
// sentences say what could not be had.
func (c *Cluster) Trends(ctx context.Context, drawn ...*atlas.Map) []string {
	named, there := map[string]bool{}, map[string]bool{}
	each(drawn, func(stop *atlas.Stop) {
		if stop.Absent == "" && stop.Health.Status != "" {
			named[stop.Name], there[stop.Namespace] = true, true
		}
	})
	if len(named) == 0 {
		return nil
	}
	prometheus, missing := c.ask(ctx)
	if missing != "" {
		return []string{"There are no trends. " + missing}
	}
	selector := "namespace=~" + oneOf(there)
	if len(named) <= mostNamed {
		selector += ",touchpoint=~" + oneOf(named)
	}
	matrix, missing := prometheus.over(ctx, remaining(selector), trendSpan, trendStep)
	if missing != "" {
		return []string{"There are no trends. " + missing}
	}
	left := burnDowns(matrix)
	each(drawn, func(stop *atlas.Stop) {
		fill(&stop.Touchpoint, left[atlas.Key{Namespace: stop.Namespace, Name: stop.Name}])
	})
	return nil
}

func each(drawn []*atlas.Map, do func(*atlas.Stop)) {
	for _, m := range drawn {
		for s := range m.Stages {
			for i := range m.Stages[s].Stops {
				do(&m.Stages[s].Stops[i])
			}
		}
	}
}

// remaining is what is left of budgets, in percent.
func remaining(selector string) string {
	return fmt.Sprintf("100 * max by (namespace, slo, objective, touchpoint) (last_over_time(%s{%s}[%s]))", rules.Remaining, selector, lately)
}

// oneOf matches names, which are of letters, digits and hyphens.
func oneOf(names map[string]bool) string {
	return strconv.Quote(strings.Join(slices.Sorted(maps.Keys(names)), "|"))
}

// promise tells the budgets at a touchpoint apart.
type promise struct{ slo, objective string }

func burnDowns(matrix model.Matrix) map[atlas.Key]map[promise]atlas.Series {
	found := map[atlas.Key]map[promise]atlas.Series{}
	for _, stream := range matrix {
		key := atlas.Key{Namespace: string(stream.Metric["namespace"]), Name: string(stream.Metric["touchpoint"])}
		if found[key] == nil {
			found[key] = map[promise]atlas.Series{}
		}
		found[key][promise{string(stream.Metric["slo"]), string(stream.Metric["objective"])}] = seriesOf(stream.Values)
	}
	return found
}

func seriesOf(values []model.SamplePair) atlas.Series {
	var series atlas.Series
	for _, pair := range values {
		if value := float64(pair.Value); !math.IsNaN(value) && !math.IsInf(value, 0) {
			series = append(series, atlas.Point{Time: pair.Timestamp.Time().UTC(), Value: value})
		}
	}
	return series
}

// fill gives a touchpoint's budgets their past, and the touchpoint that of the budget of
// which least is left.
func fill(t *atlas.Touchpoint, left map[promise]atlas.Series) {
	lowest := math.Inf(1)
	for i := range t.Promised {
		b := &t.Promised[i]
		b.BurnDown = left[promise{b.SLO, b.Objective}]
		if b.Left != nil && *b.Left < lowest && len(b.BurnDown) > 0 {
			lowest, t.Trend = *b.Left, b.BurnDown
		}
	}
	if t.Trend != nil {
		return
	}
	// None of them is among those that the status has room for.
	for _, series := range left {
		if len(series) > 0 && series[len(series)-1].Value < lowest {
			lowest, t.Trend = series[len(series)-1].Value, series
		}
	}
}

// figures fills in what Prometheus knows of a touchpoint. The sentences say what could not
// be had.
func (c *Cluster) figures(ctx context.Context, d *atlas.Detail) []string {
	prometheus, missing := c.ask(ctx)
	if missing != "" {
		return []string{"There are no burn-downs, distributions, courses and phases. " + missing}
	}
	here := fmt.Sprintf("namespace=%q,touchpoint=%q", d.Namespace, d.Name)
	var mu sync.Mutex
	questions := []func() string{
		func() string {
			matrix, missing := prometheus.over(ctx, remaining(here), trendSpan, trendStep)
			mu.Lock()
			defer mu.Unlock()
			left := burnDowns(matrix)[atlas.Key{Namespace: d.Namespace, Name: d.Name}]
			trend := d.Touchpoint // the budgets have burn-downs of their own
			trend.Promised = slices.Clone(d.Promised)
			fill(&trend, left)
			d.Trend = trend.Trend
			return missing
		},
		func() string {
			vector, missing := prometheus.now(ctx, fmt.Sprintf("last_over_time(%s{%s}[%s]) > 0", rules.AnswersByScore, here, lately))
			mu.Lock()
			defer mu.Unlock()
			d.Distributions = distributions(vector)
			return missing
		},
		func() string {
			of := func(series string) string {
				return fmt.Sprintf(`max by (instrument) (last_over_time(%s{%s,instrument=~"ces|ces1"}[%s]))`, series, here, lately)
			}
			matrix, missing := prometheus.over(ctx, fmt.Sprintf("100 * %s / (%s > 0)", of(rules.ExperienceGood), of(rules.ExperienceAnswers)), 28*24*time.Hour, 6*time.Hour)
			mu.Lock()
			defer mu.Unlock()
			if stream := longest(matrix); stream != nil {
				d.EaseOverTime = seriesOf(stream.Values)
			}
			return missing
		},
		func() string {
			matrix, missing := prometheus.over(ctx, fmt.Sprintf("last_over_time(%s{%s}[%s])", rules.ExperienceP95, here, lately), trendSpan, time.Hour)
			mu.Lock()
			defer mu.Unlock()
			if stream := measured(matrix); stream != nil {
				d.LatencyOverTime = seriesOf(stream.Values)
			}
			return missing
		},
		func() string {
			vector, missing := prometheus.now(ctx, fmt.Sprintf("max by (location, step, phase) (sojourn_probe_phase_duration_seconds{%s})", here))
			mu.Lock()
			defer mu.Unlock()
			d.Phases = phases(vector)
			return missing
		},
	}
	for _, window := range windowsOf(d.Promised) {
		questions = append(questions, func() string {
			span, err := model.ParseDuration(window)
			if err != nil {
				return ""
			}
			matrix, missing := prometheus.over(ctx, remaining(here), time.Duration(span), time.Duration(span)/112)
			left := burnDowns(matrix)[atlas.Key{Namespace: d.Namespace, Name: d.Name}]
			mu.Lock()
			defer mu.Unlock()
			for i := range d.Promised {
				if b := &d.Promised[i]; b.Window == window {
					b.BurnDown = left[promise{b.SLO, b.Objective}]
				}
			}
			return missing
		})
	}
	var lacks []string
	var all sync.WaitGroup
	for _, ask := range questions {
		all.Go(func() {
			if missing := ask(); missing != "" {
				mu.Lock()
				defer mu.Unlock()
				lacks = append(lacks, missing)
			}
		})
	}
	all.Wait()
	slices.Sort(lacks)
	return slices.Compact(lacks)
}

func windowsOf(promised []atlas.Budget) []string {
	var windows []string
	for i := range promised {
		windows = append(windows, promised[i].Window)
	}
	slices.Sort(windows)
	return slices.Compact(windows)
}

// longest is the stream with the most points: a touchpoint asks for effort on one scale, and
// after a change has two for a while.
func longest(matrix model.Matrix) *model.SampleStream {
	var found *model.SampleStream
	for _, stream := range matrix {
		if found == nil || len(stream.Values) > len(found.Values) {
			found = stream
		}
	}
	return found
}

// measured is the stream of the touchpoint's own metrics, which come before the probe.
func measured(matrix model.Matrix) *model.SampleStream {
	for _, stream := range matrix {
		if stream.Metric["source"] == "metric" {
			return stream
		}
	}
	return longest(matrix)
}

// scales are the instruments in the order of pages.
var scales = []struct {
	instrument, label string
	scale             budget.Scale
}{{"CES", "ces", budget.CES}, {"CES1", "ces1", budget.CES1}, {"CSAT", "csat", budget.CSAT}, {"NPS", "nps", budget.NPS}}

func distributions(vector model.Vector) []atlas.Distribution {
	var found []atlas.Distribution
	for _, each := range scales {
		scores := each.scale.Scores()
		counts, source, any := make([]float64, len(scores)), "", false
		for _, sample := range vector {
			if sample.Metric["instrument"] == model.LabelValue(each.label) && (source == "" || sample.Metric["source"] == "metric") {
				source = string(sample.Metric["source"])
			}
		}
		for _, sample := range vector {
			score, err := strconv.Atoi(string(sample.Metric["score"]))
			at := score - scores[0]
			if err != nil || at < 0 || at >= len(counts) || sample.Metric["instrument"] != model.LabelValue(each.label) || string(sample.Metric["source"]) != source {
				continue
			}
			counts[at] += float64(sample.Value)
			any = true
		}
		if any {
			found = append(found, atlas.Distribution{Instrument: each.instrument, Lowest: scores[0], Counts: counts})
		}
	}
	return found
}

func phases(vector model.Vector) []atlas.Phase {
	order := []string{"dns", "connect", "tls", "first_byte", "transfer"}
	var found []atlas.Phase
	for _, sample := range vector {
		found = append(found, atlas.Phase{
			Location: string(sample.Metric["location"]), Step: string(sample.Metric["step"]),
			Phase: string(sample.Metric["phase"]), Seconds: float64(sample.Value),
		})
	}
	slices.SortFunc(found, func(a, b atlas.Phase) int {
		if by := strings.Compare(a.Location, b.Location); by != 0 {
			return by
		}
		if by := strings.Compare(a.Step, b.Step); by != 0 {
			return by
		}
		return slices.Index(order, a.Phase) - slices.Index(order, b.Phase)
	})
	return found
}

// Firing is an alert on customers that fires, as Prometheus tells.
type Firing struct {
	// Alert is its name.
	Alert          string
	Touchpoint     atlas.Key
	SLO, Objective string
	// Tier is such as "page 1h".
	Tier  string
	Since time.Time
}

// Firing lists the alerts on customers that fire, in a namespace or in all. The sentence
// says why they cannot be told.
func (c *Cluster) Firing(ctx context.Context, namespace string) ([]Firing, string) {
	prometheus, missing := c.ask(ctx)
	if missing != "" {
		return nil, "Since when alerts fire, and what has fallen silent, is not known. " + missing
	}
	matchers := fmt.Sprintf("alertname=~%q", strings.Join([]string{rules.AlertBudgetBurn, rules.AlertSurveyBurn, rules.AlertDataMissing}, "|"))
	if namespace != "" {
		matchers += fmt.Sprintf(",namespace=%q", namespace)
	}
	const labels = "alertname, namespace, touchpoint, slo, objective, severity, tier"
	vector, missing := prometheus.now(ctx, fmt.Sprintf(`min by (%s) (ALERTS_FOR_STATE{%s}) and on (%s) ALERTS{alertstate="firing",%s}`, labels, matchers, labels, matchers))
	if missing != "" {
		return nil, "Since when alerts fire, and what has fallen silent, is not known. " + missing
	}
	var found []Firing
	for _, sample := range vector {
		label := func(name model.LabelName) string { return string(sample.Metric[name]) }
		found = append(found, Firing{
			Alert: label("alertname"), Touchpoint: atlas.Key{Namespace: label("namespace"), Name: label("touchpoint")},
			SLO: label("slo"), Objective: label("objective"), Tier: strings.TrimSpace(label("severity") + " " + label("tier")),
			Since: time.Unix(int64(sample.Value), 0).UTC(),
		})
	}
	return found, ""
}
