package rules

import (
	"fmt"
	"strings"
)

// gained is what a counter gained in the last minute, for each of its series.
//
// The last value of five minutes is compared with the same a minute earlier. Plain
// increase(x[1m]) sees one of two increments at a 30-second scrape; increase(x[5m])
// extrapolates bursts; and a bare difference loses two minutes at every failed scrape,
// which happens just when a service is overloaded. Evaluated every minute, the
// differences add up to exactly what the counter gained. A counter that fell was
// restarted: what it holds is what it gained. One that was not there a minute ago says
// nothing yet.
func gained(counter string) string {
	return difference(
		fmt.Sprintf("last_over_time(%s[5m])", counter),
		fmt.Sprintf("last_over_time(%s[5m] offset 1m)", counter))
}

// difference is gained for expressions: now and the same a minute ago.
func difference(now, before string) string {
	return fmt.Sprintf("(%s - %s) >= 0 or (%s and %s)", now, before, now, before)
}

// sumBy adds up per key.
func sumBy(key, expr string) string { return fmt.Sprintf("sum by (%s) (%s)", key, expr) }

// surveyGained is what the gateway's totals gained in the last minute, by score. Every
// replica of the gateway shows the totals of the one database: the highest is the
// latest. They never fall, so that a lower value is a replica that lags, never a
// restart.
func surveyGained(matchers ...string) string {
	x := selector(surveyResponses, matchers...)
	const key = "namespace, touchpoint, instrument, score"
	return fmt.Sprintf("clamp_min(max by (%s) (last_over_time(%s[5m])) - max by (%s) (last_over_time(%s[5m] offset 1m)), 0)", key, x, key, x)
}

// leOf matches a bucket's upper edge. Prometheus 2 stores le="1" as written, Prometheus
// 3 as le="1.0".
func leOf(edge string) string {
	if strings.ContainsAny(edge, ".e") {
		return equals("le", edge)
	}
	return fmt.Sprintf(`le=~"%s|%s\\.0"`, edge, edge)
}
