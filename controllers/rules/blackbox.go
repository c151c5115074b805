package rules

import (
	"fmt"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// Series that a blackbox_exporter shows at each scrape of a Probe. The Probe's labels
// namespace and touchpoint say whose they are.
const (
	blackboxSuccess  = "probe_success"
	blackboxDuration = "probe_duration_seconds"
)

// The API server fills these in; they serve objects that it has not seen.
const (
	defaultProbeInterval = 30 * time.Second
	defaultProbeTimeout  = 10 * time.Second
)

// visitedByBlackbox says whether a blackbox_exporter makes the visits of a touchpoint.
func visitedByBlackbox(touchpoint *v1alpha1.Touchpoint) bool {
	return touchpoint.Spec.Probe != nil && touchpoint.Spec.Probe.Backend == v1alpha1.ProbeBackendBlackbox
}

// RecordsLatency says whether the rules of a touchpoint depend on which latencies are
// promised there.
func RecordsLatency(touchpoint *v1alpha1.Touchpoint) bool {
	return touchpoint.Spec.Metrics != nil && touchpoint.Spec.Metrics.Latency != nil || visitedByBlackbox(touchpoint)
}

// blackboxRules record the visits of a blackbox_exporter as a touchpoint's own metrics
// are recorded: each scrape of its Probe is one visit, counted once. What spec.metrics
// measures already is left to it.
//
// Success and duration are gauges, which say only how the last visit was. A subquery
// that steps by the scrape interval meets every scrape once, wherever in the interval
// it takes place, and can join the two of the same scrape: a visit is quick only if it
// succeeded. What a scrape brought carries the time at which it began, and arrives when
// it is over; so the minute that is counted ends one timeout ago.
func blackboxRules(touchpoint *v1alpha1.Touchpoint, thresholds []time.Duration) []monitoringv1.Rule {
	if !visitedByBlackbox(touchpoint) {
		return nil
	}
	interval, timeout := BlackboxTimes(touchpoint.Spec.Probe)
	which := []string{equals("namespace", touchpoint.Namespace), equals("touchpoint", touchpoint.Name)}
	success, duration := selector(blackboxSuccess, which...), selector(blackboxDuration, which...)
	within := fmt.Sprintf("[%s:%s] offset %s", span(time.Minute), promDuration(interval), promDuration(timeout.Truncate(time.Second)+5*time.Second))
	count := func(visits string) string { return sum(fmt.Sprintf("count_over_time(%s%s)", visits, within)) }
	all := count(success)
	some := func(visits string) string { return fmt.Sprintf("%s or 0 * %s", count(visits), all) }
	add := func(rules []monitoringv1.Rule, name, expr string, more ...string) []monitoringv1.Rule {
		labels := map[string]string{"namespace": touchpoint.Namespace, "touchpoint": touchpoint.Name}
		for i := 0; i < len(more); i += 2 {
			labels[more[i]] = more[i+1]
		}
		return append(rules, record(name, expr, labels))
	}
	var rules []monitoringv1.Rule
	metrics := touchpoint.Spec.Metrics
	if metrics == nil || metrics.Requests == nil {
		rules = add(rules, touchpointRequests, all)
		rules = add(rules, touchpointErrors, some(fmt.Sprintf("(%s == 0)", success)))
	}
	if metrics == nil || metrics.Latency == nil {
		rules = add(rules, touchpointDurations, all)
		for _, threshold := range thresholds {
			quick := fmt.Sprintf("(%s == 1 and on (instance) %s <= %s)", success, duration, edge(threshold))
			rules = add(rules, touchpointWithin, some(quick), "le", edge(threshold))
		}
	}
	return rules
}

// BlackboxTimes returns how often a touchpoint's Probe is scraped, and how long a
// scrape may take.
func BlackboxTimes(probe *v1alpha1.Probe) (interval, timeout time.Duration) {
	interval, timeout = defaultProbeInterval, defaultProbeTimeout
	// Admission lets nothing through that is not a duration.
	if value, err := probe.Interval.Value(); err == nil && value > 0 {
		interval = value
	}
	if value, err := probe.Timeout.Value(); err == nil && value > 0 {
		timeout = value
	}
	return interval, min(timeout, interval)
}
