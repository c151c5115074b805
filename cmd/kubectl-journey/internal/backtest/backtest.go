// Package backtest says which alerts of some objects would have fired over a time that is
// past, and how much of their budgets would be left: it makes the rules that the operator
// would make, fetches from a Prometheus the raw samples that these read, and evaluates the
// rules over them.
package backtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/replay"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// Options say what is tested, and on what.
type Options struct {
	// Decisions are what the operator would make of the files.
	Decisions []*controllers.Decision
	// Before, if not nil, are others on which the same past is tried, to compare.
	Before []*controllers.Decision
	// Since is how long before Until the past begins; alerts that began before are seen
	// as far as warmUp.
	Since      time.Duration
	Until      time.Time
	Prometheus *Prometheus
	// MostSamples is how many samples may be fetched.
	MostSamples int64
	// Tell hears how far things are; nil: nobody does.
	Tell func(string)
}

const (
	// warmUp is how long before the time alerts are looked at, so that those that burn at
	// its beginning are known as such.
	warmUp = 24 * time.Hour
	// settling is how old the last value of a budget may be: the long windows are added up
	// every half an hour, and one evaluation may be missed.
	settling = 61 * time.Minute
	// longest is more than any window and its like.
	longest = 400 * 24 * time.Hour
)

// ErrNoBudgets says that there is nothing to test.
var ErrNoBudgets = errors.New("the files promise nothing that is measured: give the ExperienceSLOs together with the Touchpoints that they cover, and the Journey if they name one")

// Run fetches and evaluates.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	until := o.Until.Truncate(time.Minute)
	period := replay.Span{From: until.Add(-o.Since), Until: until}
	var trials []*trial
	defer func() {
		for _, each := range trials {
			each.replay.Close()
		}
	}()
	var readings []replay.Reading
	touchpoints := map[string][]string{}
	tried := [][]*controllers.Decision{o.Decisions}
	if o.Before != nil {
		tried = append(tried, o.Before)
	}
	for _, decisions := range tried {
		t, err := newTrial(decisions, period)
		if err != nil {
			return nil, err
		}
		trials = append(trials, t)
		readings = append(readings, t.program.Readings()...)
		for namespace, names := range t.plan.touchpoints {
			touchpoints[namespace] = append(touchpoints[namespace], names...)
		}
	}
	for namespace, names := range touchpoints {
		slices.Sort(names)
		touchpoints[namespace] = slices.Compact(names)
	}
	var into []*replay.Replay
	for _, t := range trials {
		into = append(into, t.replay)
	}
	fetched, err := o.Prometheus.fetch(ctx, folded(readings, touchpoints), into, o.MostSamples, o.Tell)
	if err != nil {
		return nil, err
	}
	var reports []*Report
	for i, t := range trials {
		told := func(p replay.Progress) {
			what := "evaluating"
			if i > 0 {
				what = "evaluating what to compare with"
			}
			o.Tell(fmt.Sprintf("%s, %d of %d rules, %d samples", what, p.Done, p.Total, fetched.count))
		}
		report, err := t.run(ctx, told)
		if err != nil {
			return nil, err
		}
		report.Samples = fetched.count
		for _, warning := range fetched.warnings {
			report.note("Prometheus says that its answers may lack something: " + warning)
		}
		if fetched.count == 0 {
			report.note("Prometheus has none of the series that the rules read: see --prometheus-url, and that probers, gateway and the metrics of the Touchpoints are scraped")
		}
		reports = append(reports, report)
	}
	if len(reports) == 2 {
		reports[0].Before = reports[1]
	}
	return reports[0], nil
}

// trial is one set of objects and its replay.
type trial struct {
	plan    plan
	program *replay.Program
	replay  *replay.Replay
	period  replay.Span
}

func newTrial(decisions []*controllers.Decision, period replay.Span) (*trial, error) {
	t := &trial{plan: planOf(decisions), period: period}
	if t.plan.budgets == 0 {
		text := ""
		for _, problem := range t.plan.problems {
			text += "\n  " + problem
		}
		return nil, fmt.Errorf("%w%s", ErrNoBudgets, text)
	}
	var err error
	t.program, err = replay.Compile(t.plan.groups, period.Until.Add(-longest), func(rule *monitoringv1.Rule) replay.Span {
		switch {
		case rule.Alert != "":
			return replay.Span{From: period.From.Add(-warmUp), Until: period.Until}
		case slices.Contains(standing, rule.Record):
			return replay.Span{From: period.Until.Add(-settling), Until: period.Until}
		default:
			return replay.Span{}
		}
	})
	if err != nil {
		return nil, err
	}
	t.replay, err = replay.Open(t.program.Span().From, period.Until)
	return t, err
}

// standing are the series that say how budgets stand.
var standing = []string{
	rules.Budget, rules.SampleSize, rules.MeanLoss, rules.Remaining, rules.LossLower, rules.LossUpper, rules.Coverage,
}

func (t *trial) run(ctx context.Context, tell func(replay.Progress)) (*Report, error) {
	fired, err := t.replay.Run(ctx, t.program, tell)
	if err != nil {
		return nil, err
	}
	report := &Report{From: t.period.From.UTC(), Until: t.period.Until.UTC(), Alerts: []*Alert{}, Problems: t.plan.problems}
	if report.Budgets, err = t.budgets(ctx); err != nil {
		return nil, err
	}
	if err := t.known(ctx, report); err != nil {
		return nil, err
	}
	if err := t.alerts(ctx, report, fired); err != nil {
		return nil, err
	}
	report.count()
	report.explain()
	return report, nil
}

// budgets reads how budgets stand at the end.
func (t *trial) budgets(ctx context.Context) ([]*Budget, error) {
	latest := func(series string) (map[budgetKey]float64, map[budgetKey]labels.Labels, error) {
		matrix, err := t.replay.Range(ctx, fmt.Sprintf("last_over_time(%s[%s])", series, model.Duration(settling)), t.period.Until, t.period.Until, time.Minute)
		if err != nil {
			return nil, nil, err
		}
		values, metrics := map[budgetKey]float64{}, map[budgetKey]labels.Labels{}
		for _, sample := range matrix {
			values[keyOf(sample.Metric)] = sample.Floats[len(sample.Floats)-1].F
			metrics[keyOf(sample.Metric)] = sample.Metric
		}
		return values, metrics, nil
	}
	figures := map[string]map[budgetKey]float64{}
	var roster map[budgetKey]labels.Labels
	for _, series := range standing {
		values, metrics, err := latest(series)
		if err != nil {
			return nil, err
		}
		figures[series] = values
		if series == rules.Budget {
			roster = metrics
		}
	}
	var budgets []*Budget
	for key, metric := range roster {
		b := &Budget{
			Namespace: key.namespace, SLO: key.slo, Objective: key.objective, Touchpoint: key.touchpoint,
			Promise: metric.Get("promise"), Window: metric.Get("window"), key: key,
			family: budget.Family(metric.Get("family")), value: t.plan.values[watchKey{key.namespace, key.slo, key.objective, key.def}],
			allowed: figures[rules.Budget][key],
		}
		b.floor, _ = strconv.Atoi(metric.Get("floor"))
		n, known := figures[rules.SampleSize][key]
		loss, measured := figures[rules.MeanLoss][key]
		if known {
			b.Events = int64(math.Round(n))
		}
		if measured {
			b.loss, b.n = loss, n
			b.Remaining = rounded(100 * figures[rules.Remaining][key])
			b.measure()
		}
		b.Covered = rounded(min(100, 100*figures[rules.Coverage][key]))
		budgets = append(budgets, b)
	}
	slices.SortFunc(budgets, func(a, b *Budget) int { return a.key.compare(b.key) })
	return budgets, nil
}

type budgetKey struct{ namespace, slo, objective, touchpoint, def string }

func (k budgetKey) compare(other budgetKey) int {
	return cmp.Or(cmp.Compare(k.namespace, other.namespace), cmp.Compare(k.slo, other.slo),
		cmp.Compare(k.objective, other.objective), cmp.Compare(k.touchpoint, other.touchpoint), cmp.Compare(k.def, other.def))
}

func keyOf(metric labels.Labels) budgetKey {
	return budgetKey{metric.Get("namespace"), metric.Get("slo"), metric.Get("objective"), metric.Get("touchpoint"), metric.Get("def")}
}

// known finds out for each budget since when, and for which part of the period, its events
// were counted.
func (t *trial) known(ctx context.Context, report *Report) error {
	querier, err := t.replay.DB().Querier(timestamp.FromTime(t.replay.Start()), timestamp.FromTime(t.period.Until))
	if err != nil {
		return err
	}
	defer querier.Close()
	type counts struct {
		first time.Time
		n     int
	}
	byCount := map[[3]string]counts{}
	found := querier.Select(ctx, false, nil, labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, rules.Events))
	var reused chunkenc.Iterator
	for found.Next() {
		metric := found.At().Labels()
		var c counts
		reused = found.At().Iterator(reused)
		for reused.Next() == chunkenc.ValFloat {
			at, v := reused.At()
			if value.IsStaleNaN(v) {
				continue
			}
			moment := timestamp.Time(at).UTC()
			if c.first.IsZero() {
				c.first = moment
			}
			if moment.After(t.period.From) {
				c.n++
			}
		}
		if reused.Err() != nil {
			return reused.Err()
		}
		byCount[[3]string{metric.Get("namespace"), metric.Get("touchpoint"), metric.Get("def")}] = c
	}
	if found.Err() != nil {
		return found.Err()
	}
	minutes := t.period.Until.Sub(t.period.From).Minutes()
	for _, b := range report.Budgets {
		c, any := byCount[[3]string{b.key.namespace, b.key.touchpoint, b.key.def}]
		if !any || c.first.IsZero() {
			continue
		}
		if first := c.first; first.After(t.period.From.Add(15 * time.Minute)) {
			b.KnownSince = &first
		}
		b.first = c.first
		b.Known = rounded(min(100, 100*float64(c.n)/minutes))
	}
	return nil
}

// alerts takes those that fired within the period.
func (t *trial) alerts(ctx context.Context, report *Report, fired []replay.Alert) error {
	for _, each := range fired {
		if !each.ResolvedAt.IsZero() && !each.ResolvedAt.After(t.period.From) {
			continue
		}
		b := report.budgetOf(each.Labels)
		if b == nil {
			continue
		}
		name := each.Labels.Get(labels.AlertName)
		// Silence from before the first count is silence of the history.
		if name == rules.AlertDataMissing && (b.first.IsZero() || each.ActiveAt.Before(b.first)) {
			continue
		}
		a := &Alert{
			Alert: name, Severity: each.Labels.Get("severity"), Tier: each.Labels.Get("tier"),
			Namespace: b.Namespace, SLO: b.SLO, Objective: b.Objective, Touchpoint: b.Touchpoint,
			Start: each.FiredAt.UTC(), budget: b,
		}
		end := t.period.Until
		if !each.ResolvedAt.IsZero() {
			end = each.ResolvedAt
			ended := end.UTC()
			a.End = &ended
		}
		a.BeganBefore = each.FiredAt.Before(t.period.From)
		a.Minutes = rounded(end.Sub(laterOf(each.FiredAt, t.period.From)).Minutes())
		if name != rules.AlertDataMissing {
			a.BurnRate, a.HighestBurnRate = significant(each.Value), significant(each.Highest)
			a.Loss = significant(each.Value * b.allowed)
			if err := t.size(ctx, a, b, each.FiredAt); err != nil {
				return err
			}
		}
		report.Alerts = append(report.Alerts, a)
	}
	return nil
}

// size finds how many events the window of an alert held when it fired.
func (t *trial) size(ctx context.Context, a *Alert, b *Budget, at time.Time) error {
	matrix, err := t.replay.Range(ctx, fmt.Sprintf("last_over_time(%ssum%s{namespace=%q,touchpoint=%q,def=%q}[%s])",
		eventsPrefix, a.Tier, b.Namespace, b.Touchpoint, b.key.def, model.Duration(settling)), at, at, time.Minute)
	if err != nil || len(matrix) == 0 {
		return err
	}
	a.Events = int64(math.Round(matrix[0].Floats[0].F))
	return nil
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
