package replay

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
)

// Alert is one that fired.
type Alert struct {
	// Labels are those that Alertmanager would get, but for Prometheus's external ones.
	Labels labels.Labels
	// ActiveAt is when its expression began to hold, FiredAt when that had lasted for long
	// enough, ResolvedAt when it ended; zero if it did not.
	ActiveAt, FiredAt, ResolvedAt time.Time
	// Value is that of the expression when it fired, and Highest the highest while it did.
	Value, Highest float64
}

// evaluateAlert evaluates an alerting rule over its whole time.
func (r *Replay) evaluateAlert(ctx context.Context, rule *rule) ([]Alert, error) {
	// All at once, which for a rule that reads its own ALERTS is as if it had never fired.
	results := map[int64][]result{}
	offset := rule.offset.Milliseconds()
	collect := func(matrix promql.Matrix) error {
		for _, series := range matrix {
			lset := rule.labelled(series.Metric)
			for _, point := range series.Floats {
				results[point.T+offset] = append(results[point.T+offset], result{lset, point.F})
			}
		}
		return nil
	}
	if err := r.inParts(ctx, rule, collect); err != nil {
		return nil, err
	}
	a := &alerting{recorder: r.newRecorder(rule), active: map[string]*activeAlert{}}
	itself, memory := rule.readsItself(), rule.memory()
	first, last := r.steps(rule)
	for now := first; !now.After(last); now = now.Add(rule.interval) {
		at := timestamp.FromTime(now)
		if itself && !a.lastWritten.IsZero() && now.Sub(a.lastWritten) <= memory {
			// It reads what it wrote a while ago.
			delete(results, at)
			if err := r.queryRange(ctx, rule.expr, now.Add(-rule.offset), now.Add(-rule.offset), rule.interval, collect); err != nil {
				return nil, err
			}
		}
		if err := a.step(now, results[at]); err != nil {
			return nil, err
		}
		if itself && a.lastWritten.Equal(now) {
			if err := a.flush(now); err != nil {
				return nil, err
			}
		}
	}
	if err := a.finish(last); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(a.active)) {
		if still := a.active[key]; !still.FiredAt.IsZero() {
			a.fired = append(a.fired, still.Alert)
		}
	}
	return a.fired, nil
}

// result is what an expression yields at a step, with the labels of the alert.
type result struct {
	labels labels.Labels
	value  float64
}

// alerting follows the alerts of one rule from step to step, as Prometheus's does.
type alerting struct {
	*recorder
	active map[string]*activeAlert
	fired  []Alert
	// lastWritten is the last step at which ALERTS were recorded.
	lastWritten time.Time
}

// activeAlert is pending until FiredAt is set.
type activeAlert struct {
	Alert
	// goneSince is when its expression ceased to hold, while it is kept firing.
	goneSince time.Time
}

func (a *alerting) step(now time.Time, results []result) error {
	seen := make(map[string]bool, len(results))
	for _, each := range results {
		key := string(each.labels.Bytes(nil))
		if seen[key] {
			return errDuplicate
		}
		seen[key] = true
		alert := a.active[key]
		if alert == nil {
			alert = &activeAlert{Alert: Alert{Labels: each.labels, ActiveAt: now}}
			a.active[key] = alert
		}
		alert.goneSince = time.Time{}
		if alert.FiredAt.IsZero() && now.Sub(alert.ActiveAt) >= a.hold {
			alert.FiredAt, alert.Value, alert.Highest = now, each.value, each.value
		}
		alert.Highest = max(alert.Highest, each.value)
	}
	for key, alert := range a.active {
		if !seen[key] && !a.goesOn(alert, now) {
			if !alert.FiredAt.IsZero() {
				alert.ResolvedAt = now
				a.fired = append(a.fired, alert.Alert)
			}
			delete(a.active, key)
			continue
		}
		state := "pending"
		if !alert.FiredAt.IsZero() {
			state = "firing"
		}
		series := a.seriesOf(labels.NewBuilder(alert.Labels).Set("alertstate", state).Labels())
		if err := a.write(series, []promql.FPoint{{T: timestamp.FromTime(now.Add(-a.offset)), F: 1}}); err != nil {
			return err
		}
		a.lastWritten = now
	}
	return nil
}

// goesOn tells whether an alert fires on although its expression does not hold.
func (a *alerting) goesOn(alert *activeAlert, now time.Time) bool {
	if alert.FiredAt.IsZero() || a.keep == 0 {
		return false
	}
	if alert.goneSince.IsZero() {
		alert.goneSince = now
	}
	return now.Sub(alert.goneSince) < a.keep
}
