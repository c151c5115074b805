package rules

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// phases are times in the minute at which the rules that count, and those that alert, are
// evaluated: what matters is how long after a scrape something is counted, and how long
// after that it is looked at.
var phases = []struct{ counts, alerts time.Duration }{
	{0, time.Second},
	{40 * time.Second, 20 * time.Second},
	{59 * time.Second, 58 * time.Second}, // the slowest: both wait for most of a minute
}

// atPhase evaluates a world's groups at chosen times of the minute.
func (w *world) atPhase(counts, alerts time.Duration) {
	w.phase = func(group string) time.Duration {
		if strings.HasPrefix(group, "sojourn-touchpoint-") || strings.HasPrefix(group, "sojourn-counts") {
			return counts
		}
		return alerts
	}
}

// outages is a namespace of touchpoints that all go down one after another.
type outages struct {
	*world
	text strings.Builder
	n    int
}

func (o *outages) touchpoint(name, measured string) {
	o.n++
	fmt.Fprintf(&o.text, `---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: %s, namespace: shop}
spec: {channel: Web, class: Critical, %s}
`, name, measured)
}

// promise loads the rules of some objectives on all touchpoints.
func (o *outages) promise(objectives string) {
	o.t.Helper()
	o.load(ruleFile(o.t, everything(parseObjects(o.t, o.text.String()+`---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: promise, namespace: shop}
spec:
  targets: {selector: {}}
  objectives: `+objectives))))
}

// lateness lets time pass and tells, for each objective at each touchpoint, how much later
// than its condition the page came. The conditions are asked at every scrape and yield
// series with the label touchpoint.
func (o *outages) lateness(d time.Duration, conditions map[string]string) map[string]time.Duration {
	o.t.Helper()
	due := map[[2]string]time.Time{}
	for end := o.now.Add(d); o.now.Before(end); {
		o.run(scrapeInterval)
		for objective, condition := range conditions {
			for _, sample := range o.ask(condition) {
				budget := [2]string{objective, sample.Metric.Get("touchpoint")}
				if _, known := due[budget]; !known {
					due[budget] = o.now
				}
			}
		}
	}
	if len(due) != o.n*len(conditions) {
		o.t.Errorf("conditions hold for %d of %d budgets", len(due), o.n*len(conditions))
	}
	late := map[string]time.Duration{}
	for budget, when := range due {
		page := fmt.Sprintf(`ExperienceBudgetBurn{namespace="shop", objective=%q, severity="page", slo="promise", tier="1h", touchpoint=%q}`, budget[0], budget[1])
		fired, did := o.fired[page]
		if !did {
			o.t.Errorf("%s never pages, although it should from %s on", budget, when.Sub(epoch))
			continue
		}
		late[strings.Join(budget[:], " at ")] = fired.Sub(when)
	}
	return late
}

// workbook is the condition of the first tier of the SRE Workbook, chapter 5, for a budget
// over 28 days: 2 % of it are spent in an hour, and it goes on.
func workbook(failed, total string, budget float64) string {
	burning := func(window string) string {
		return fmt.Sprintf("sum by (touchpoint) (rate(%s[%s])) / sum by (touchpoint) (rate(%s[%s])) > 13.44 * %v", failed, window, total, window, budget)
	}
	return burning("1h") + " and " + burning("5m")
}

// With an event a second or more, a total outage pages within two evaluations of the
// moment at which the workbook's condition, asked on the raw counters, first holds:
// whenever it begins, and whenever in a minute rules are evaluated.
func TestOutagePagesWithTheWorkbook(t *testing.T) {
	t.Parallel()
	const start = 70 * time.Minute
	for _, phase := range phases {
		t.Run(fmt.Sprintf("%s and %s", phase.counts, phase.alerts), func(t *testing.T) {
			t.Parallel()
			o := &outages{world: newWorld(t)}
			o.atPhase(phase.counts, phase.alerts)
			for _, rate := range []float64{1, 50} {
				for begins := start; begins < start+5*time.Minute; begins += 17 * time.Second {
					name := fmt.Sprintf("r%.0f-%.0f", rate, (begins - start).Seconds())
					o.touchpoint(name, fmt.Sprintf(`metrics: {requests: {total: 'requests_total{touchpoint=%q}', errors: 'errors_total{touchpoint=%q}'}}`, name, name))
					o.scrape(steady(rate), "__name__", "requests_total", "touchpoint", name)
					o.scrape(func(at time.Time) float64 {
						return max(0, math.Floor((at.Sub(epoch)-begins).Seconds()*rate))
					}, "__name__", "errors_total", "touchpoint", name)
				}
			}
			o.promise(`[{name: strict, availability: {target: "99.9%"}}, {name: loose, availability: {target: "99%"}}]`)
			o.run(start)
			late := o.lateness(18*time.Minute, map[string]string{
				"strict": workbook("errors_total", "requests_total", 0.001),
				"loose":  workbook("errors_total", "requests_total", 0.01),
			})
			o.healthy()
			for _, budget := range sortedKeys(late) {
				if late[budget] > 2*time.Minute {
					t.Errorf("%s pages %s after the workbook's condition first holds", budget, late[budget])
				}
			}
		})
	}
}

// A total outage that probes see pages within three of their intervals and two evaluations
// of the moment at which the workbook's condition first holds.
func TestProbedOutagePages(t *testing.T) {
	t.Parallel()
	const start = 70 * time.Minute
	for _, phase := range phases {
		t.Run(fmt.Sprintf("%s and %s", phase.counts, phase.alerts), func(t *testing.T) {
			t.Parallel()
			o := &outages{world: newWorld(t)}
			o.atPhase(phase.counts, phase.alerts)
			intervals := map[string]time.Duration{}
			for _, interval := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute} {
				for begins := start; begins < start+5*time.Minute; begins += 17 * time.Second {
					name := fmt.Sprintf("every-%.0f-after-%.0f", interval.Seconds(), (begins - start).Seconds())
					intervals["up at "+name] = interval
					o.touchpoint(name, fmt.Sprintf(`probe: {interval: %s, http: {url: "http://shop.shop.svc/"}}`, interval))
					o.probesEvery(interval, "shop", name, never, after(begins))
				}
			}
			o.promise(`[{name: up, availability: {target: "99.9%"}}]`)
			o.run(start)
			late := o.lateness(12*time.Minute, map[string]string{"up": workbook(probeRuns+`{outcome="failure"}`, probeRuns, 0.001)})
			o.healthy()
			for _, budget := range sortedKeys(late) {
				if late[budget] > 3*intervals[budget]+2*time.Minute {
					t.Errorf("%s pages %s after the workbook's condition first holds", budget, late[budget])
				}
			}
		})
	}
}

// One failed probe never pages, whenever in the first hour it fails and however seldom
// the touchpoint is probed, neither as a visit that failed nor as one that was not fast.
func TestOneFailedProbeNeverPages(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute} {
		t.Run(interval.String(), func(t *testing.T) {
			t.Parallel()
			o := &outages{world: newWorld(t)}
			for failed := interval; failed <= time.Hour; failed += interval {
				if failed > 10*time.Minute && failed%(30*time.Second) != 0 {
					continue // that is often enough
				}
				name := fmt.Sprintf("the-%d", failed/interval)
				o.touchpoint(name, fmt.Sprintf(`probe: {interval: %s, http: {url: "http://shop.shop.svc/"}}`, interval))
				o.probesEvery(interval, "shop", name, never, between(failed-interval, failed), "0.3")
			}
			o.promise(`[{name: up, availability: {target: "99.9%"}}, {name: fast, latency: {threshold: 300ms, target: "99.9%"}}]`)
			o.run(75 * time.Minute)
			o.healthy()
			if lost, all := o.number(`sum(sum_over_time(sojourn:touchpoint_losses:count1m{def="probe/availability"}[2h]))`), float64(o.n); lost < 0.9*all || lost > all {
				t.Errorf("%v losses are counted of %v failed probes", lost, all)
			}
			for alert := range o.fired {
				if strings.Contains(alert, AlertBudgetBurn) {
					t.Errorf("one failed probe fires %s", alert)
				}
			}
		})
	}
}
