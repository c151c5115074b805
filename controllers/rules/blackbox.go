package rules

import (
	"fmt"
	"time"

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

// blackbox counts the visits of a blackbox_exporter as those of a prober are: each scrape
// of the touchpoint's Probe is one visit, counted once.
//
// Success and duration are gauges, which say only how the last visit was. A subquery
// that steps by the scrape interval meets every scrape once, wherever in the interval
// it takes place, and can join the two of the same scrape: a visit is quick only if it
// succeeded. What a scrape brought carries the time at which it began, and arrives when
// it is over; so the minute that is counted ends one timeout ago.
func (c *touchpointCounts) blackbox(probe *v1alpha1.Probe, promises []meaning) {
	interval, timeout := BlackboxTimes(probe)
	which := []string{equals("namespace", c.touchpoint.Namespace), equals("touchpoint", c.touchpoint.Name)}
	success, duration := selector(blackboxSuccess, which...), selector(blackboxDuration, which...)
	within := fmt.Sprintf("[%s:%s] offset %s", span(time.Minute), promDuration(interval), promDuration(timeout.Truncate(time.Second)+5*time.Second))
	count := func(visits string) string { return fmt.Sprintf("sum(count_over_time(%s%s))", visits, within) }
	add := func(m meaning, bad string) {
		def := m.def(v1alpha1.SourceProbe)
		c.add(counts(def, count(success), fmt.Sprintf("%s or 0 * %s", count(bad), c.counted(def))))
	}
	add(meaning{kind: "availability"}, fmt.Sprintf("(%s == 0)", success))
	for _, m := range promises {
		if m.kind == "latency" {
			add(m, fmt.Sprintf("(%s unless on (instance) (%s <= %s and on (instance) %s == 1))", duration, duration, edge(m.threshold), success))
		}
	}
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
