package rules

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"
)

// everyShape has each objective from each source it can have.
const everyShape = "testdata/every-source/objects.yaml"

// The shared rules of a namespace serve all of its budgets at once. What follows is the
// contract by which no budget can disturb another.

func TestEverySelectorCarriesItsNamespace(t *testing.T) {
	t.Parallel()
	eachRule(t, func(rule monitoringv1.Rule) {
		expr, err := userPromQL.ParseExpr(rule.Expr.String())
		if err != nil {
			t.Fatalf("%s%s: %v", rule.Record, rule.Alert, err)
		}
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			selector, is := node.(*parser.VectorSelector)
			if !is || !strings.HasPrefix(metricName(selector), "sojourn") {
				return nil
			}
			for _, matcher := range selector.LabelMatchers {
				if matcher.Name == "namespace" && matcher.Value == "shop" {
					return nil
				}
			}
			t.Errorf("%s%s reads %s of every namespace", rule.Record, rule.Alert, selector)
			return nil
		})
	})
}

func TestGroupsFitEveryRuler(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, group := range everything(readObjects(t, everyShape)) {
		if len(group.Rules) > perGroup {
			t.Errorf("group %s has %d rules", group.Name, len(group.Rules))
		}
		if group.QueryOffset != nil || group.Labels != nil {
			t.Errorf("group %s has what Prometheus 2.42 refuses", group.Name)
		}
		if names[group.Name] {
			t.Errorf("two groups are named %s", group.Name)
		}
		names[group.Name] = true
	}
}

func eachRule(t *testing.T, do func(monitoringv1.Rule)) {
	for _, group := range everything(readObjects(t, everyShape)) {
		for _, rule := range group.Rules {
			do(rule)
		}
	}
}

// After an edit, or when a rule moves between objects, old and new series stand side by
// side for minutes. Here every way of that happens to one ExperienceSLO, and another
// must not miss a single evaluation.
func TestEditedBudgetsDisturbNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	objects := parseObjects(t, shopObjects+`---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: edited, namespace: shop}
spec:
  targets: {touchpoints: [checkout]}
  objectives:
  - {name: uptime, availability: {target: "99%"}}
`)
	w.load(ruleFile(t, everything(objects)))
	for _, touchpoint := range []string{"checkout", "search"} {
		w.probes("shop", touchpoint, never, after(0), "0.3")
		w.answers("shop", touchpoint, "ces", cesScores, always(easyMostly), 60)
	}
	w.run(20 * time.Minute)
	const page = `ExperienceBudgetBurn{env="prod", namespace="shop", objective="uptime", severity="page", slo="web", team="payments", tier="1h", touchpoint="checkout"}`
	if _, did := w.fired[page]; !did {
		t.Fatalf("the undisturbed page does not fire to begin with: %v", w.fired)
	}
	for _, edit := range []struct{ name, old, new string }{
		{"duplicated", "", ""},
		{"target", `"99%"`, `"99.5%"`},
		{"window", `touchpoints: [checkout]}`, "touchpoints: [checkout]}\n  window: 7d"},
		{"labels", `touchpoints: [checkout]}`, "touchpoints: [checkout]}\n  alerting: {labels: {tenant: new, env: test}, runbookURL: 'https://wiki.example.com'}"},
		{"severities", `touchpoints: [checkout]}`, "touchpoints: [checkout]}\n  alerting: {severities: [Ticket]}"},
		{"floor", `{name: uptime, availability: {target: "99%"}}`, `{name: uptime, minLosses: 7, availability: {target: "99%"}}`},
		{"team of the touchpoint", "team: payments", "team: basket"},
		{"class of the touchpoint", "class: Critical", "class: Standard"},
	} {
		t.Run(edit.name, func(t *testing.T) {
			w.t = t
			text := shopObjects + `---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: edited, namespace: shop}
spec:
  targets: {touchpoints: [checkout]}
  objectives:
  - {name: uptime, availability: {target: "99%"}}
`
			at := strings.LastIndex(text, edit.old)
			if edit.old != "" && at < 0 {
				t.Fatalf("nothing to edit: %s", edit.old)
			}
			changed := w.load(ruleFile(t, everything(parseObjects(t, text[:at]+edit.new+text[at+len(edit.old):]))))
			for range 6 {
				w.run(time.Minute)
				if n := len(w.ask(`ALERTS{alertstate="firing",slo="web",objective="uptime",touchpoint="checkout",tier="1h",env="prod"}`)); n == 0 {
					t.Errorf("%s: the page of another ExperienceSLO is interrupted", edit.name)
				}
			}
			w.healthy()
			w.unload(changed)
			w.failures = nil
		})
	}
}

// A touchpoint's class does not matter where the promise says which alerts there are; nor
// does the time in which its old and new labels stand side by side.
func TestClassEditUnderChosenSeverities(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	chosen := strings.Replace(shopObjects, "alerting: {labels: {env: prod}}", "alerting: {labels: {env: prod}, severities: [Page, Ticket]}", 1)
	w.load(ruleFile(t, everything(parseObjects(t, chosen))))
	w.probes("shop", "checkout", never, after(0), "0.3")
	w.run(20 * time.Minute)
	w.load(ruleFile(t, everything(parseObjects(t, strings.Replace(chosen, "class: Critical", "class: Standard", 1)))))
	for range 6 {
		w.run(time.Minute)
		if n := len(w.ask(`ALERTS{alertstate="firing",objective="uptime",touchpoint="checkout",severity="page",tier="1h"}`)); n != 1 {
			t.Errorf("%d pages fire", n)
		}
	}
	w.healthy()
}

// Alerts end with the promise: nothing holds them once it is switched off.
func TestDisabledAlertsEndAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.load(ruleFile(t, everything(parseObjects(t, shopObjects))))
	w.answers("shop", "checkout", "ces", cesScores, always(laborious), 1000)
	w.run(4 * time.Hour)
	if !slices.ContainsFunc(w.firing(), func(alert string) bool { return strings.HasPrefix(alert, AlertSurveyBurn) }) {
		t.Fatalf("nothing to switch off: %v", w.firing())
	}
	w.unload(before)
	w.load(ruleFile(t, everything(parseObjects(t, strings.Replace(shopObjects, "alerting: {", "alerting: {disabled: true, ", 1)))))
	w.run(20 * time.Minute)
	w.healthy()
	if firing := w.firing(); len(firing) > 0 {
		t.Errorf("still firing: %v", firing)
	}
}

// What is no score of the scale is no answer, and 5.0 is 5.
func TestForeignScores(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.load(ruleFile(t, everything(readObjects(t, everyShape))))
	for score, perSecond := range map[string]float64{"1": 0.5, "5.0": 1.5, "no_answer": 8} {
		w.scrape(steady(perSecond), "__name__", "csat_total", "app", "own", "stars", score)
	}
	w.run(30 * time.Minute)
	w.healthy()
	n, lost := w.number(`sojourn:touchpoint_events:sum5m{def="metric/csat/share"}`), w.number(`sojourn:touchpoint_losses:sum5m{def="metric/csat/share"}`)
	if math.Abs(n-600) > 10 || math.Abs(lost-150) > 5 {
		t.Errorf("%v of %v answers are losses, not 150 of 600", lost, n)
	}
}

// No label that alerts drop or set may be one of the user's own.
func TestReservedLabels(t *testing.T) {
	crd, err := os.ReadFile("../../config/crd/sojourn.dev_experienceslos.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(crd)), " ")
	for _, label := range append(strings.Split(rosterLabels, ", "), "namespace", "slo", "objective", "touchpoint", "severity", "tier", "team", "alertname") {
		if !strings.Contains(text, "''"+label+"''") && !strings.Contains(text, "'"+label+"'") {
			t.Errorf("alerting.labels may be called %s, which is taken", label)
		}
	}
}

// Reading a counter, point by point, against what truly happened.
func TestCountsAreExact(t *testing.T) {
	t.Parallel()
	bursts := func(at time.Time) float64 { // a thousand at once, every seven minutes
		return 1000 * math.Floor(at.Sub(epoch).Minutes()/7)
	}
	slow := func(at time.Time) float64 { return math.Floor(at.Sub(epoch).Minutes() / 11) }
	restarted := func(at time.Time) float64 { // 2 a second, back to 0 after an hour
		if since := at.Sub(epoch) - time.Hour; since > 0 {
			return math.Floor(since.Seconds() * 2)
		}
		return math.Floor(at.Sub(epoch).Seconds() * 2)
	}
	for _, test := range []struct {
		name      string
		value     func(time.Time) float64
		unscraped func(time.Time) bool
		allowed   float64 // part by which the sum may differ
	}{
		{name: "steady", value: steady(3)},
		{name: "bursts", value: bursts},
		{name: "one event in eleven minutes", value: slow},
		{name: "restart", value: restarted, allowed: 0.01},
		{name: "scraped every two minutes", value: bursts, unscraped: func(at time.Time) bool { return at.Sub(epoch)%(2*time.Minute) != 0 }},
		{name: "failed scrapes", value: bursts, unscraped: func(at time.Time) bool { return int(at.Sub(epoch).Seconds())%420 < 180 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.unscraped = test.unscraped
			w.load(ruleFile(t, grouped("count", time.Minute, []monitoringv1.Rule{record("counted", gained("", "x_total"), nil)})))
			w.scrape(test.value, "__name__", "x_total")
			w.run(2 * time.Hour)
			w.run(6 * time.Minute)
			counted := w.number("sum_over_time(counted[3h])")
			// The first tiles are waited for, the last ones are still to come.
			low, high := test.value(epoch.Add(2*time.Hour))-test.value(epoch.Add(4*time.Minute)), test.value(epoch.Add(126*time.Minute))
			if test.name == "restart" {
				low, high = 2*7200-480, 2*7560
			}
			if counted < low*(1-test.allowed) || counted > high*(1+test.allowed) {
				t.Errorf("counted %v, but between %v and %v happened", counted, low, high)
			}
		})
	}
}

// Neither one missed evaluation nor a rule object that is made anew, and so evaluated at
// another time of the minute, loses or doubles anything of the long windows.
func TestMissedEvaluationLosesNothingOfTheWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var shared, others []monitoringv1.RuleGroup
	for _, group := range everything(parseObjects(t, strings.ReplaceAll(shopObjects, "touchpoints: [checkout, search]}", "touchpoints: [checkout]}\n  window: 7d"))) {
		if strings.HasPrefix(group.Name, "sojourn-steady") {
			shared = append(shared, group)
		} else {
			others = append(others, group)
		}
	}
	w.load(ruleFile(t, others))
	steady := w.load(ruleFile(t, shared))
	// One evaluation is missed well after each time the object is made anew: together they
	// may cost a quarter.
	evaluations := 0
	w.missed = func(group string, at time.Time) bool {
		if strings.HasPrefix(group, "sojourn-steady") {
			evaluations++
			return evaluations == 7
		}
		return strings.HasPrefix(group, "sojourn-long") && at.Sub(epoch)%(2*time.Hour) < time.Hour/2
	}
	w.probes("shop", "checkout", never, never, "0.3")
	for range 23 {
		w.run(time.Hour + 7*time.Minute)
		w.unload(steady)
		steady, evaluations = w.load(ruleFile(t, shared)), 0 // another file, and so another time
	}
	w.healthy()
	// Six probes a minute ran. The first quarter misses its first minutes, until the roster
	// is there; the last that is sure to be known ended most of half an hour ago.
	const perQuarter, first = 6 * 15, 6 * 5
	quarters := int(w.now.Add(-30*time.Minute).Sub(epoch) / quarterTile)
	got := w.number(`sum_over_time(sojourn:touchpoint_events:count15m{def="probe/availability"}[2d])`)
	if got < float64(quarters*perQuarter-first) || got > float64((quarters+2)*perQuarter) || math.Mod(got, perQuarter) < perQuarter-first && math.Mod(got, perQuarter) > 0 {
		t.Errorf("the quarters hold %v events, not about %d", got, quarters*perQuarter)
	}
	if n := w.number(`last_over_time(sojourn:slo_events:window{objective="uptime"}[11m])`); n < got-4*perQuarter || n > got+perQuarter {
		t.Errorf("the window holds %v events, the quarters %v", n, got)
	}
}

// Budgets weigh events, not minutes: with a hundred times more traffic by day than by
// night and none at all in the small hours, and errors that come by day, what Prometheus
// records is within a hundredth of what happened.
func TestBudgetsWeighEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	groups := everything(parseObjects(t, `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: api, namespace: shop}
spec:
  channel: Web
  metrics: {requests: {total: requests_total, errors: 'errors_total'}}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: api, namespace: shop}
spec:
  targets: {touchpoints: [api]}
  window: 7d
  objectives: [{name: up, availability: {target: "99%"}}]
`))
	for i := range groups { // nothing here is about alerts
		groups[i].Rules = slices.DeleteFunc(groups[i].Rules, func(rule monitoringv1.Rule) bool { return rule.Alert != "" })
	}
	w.load(ruleFile(t, slices.DeleteFunc(groups, func(group monitoringv1.RuleGroup) bool { return len(group.Rules) == 0 })))
	// The integral of a day that idles until four and peaks at fourteen o'clock.
	perSecond := func(at time.Time) float64 {
		hour := math.Mod(at.Sub(epoch).Hours(), 24)
		if hour < 4 {
			return 0
		}
		return 1 + 99*math.Pow(math.Sin(math.Pi*(hour-4)/20), 2)
	}
	type totals struct{ requests, errors float64 }
	history := []totals{{}}
	happened := func(at time.Time) totals {
		for n := len(history); n <= int(at.Sub(epoch)/scrapeInterval); n++ {
			last, now := history[n-1], epoch.Add(time.Duration(n)*scrapeInterval)
			rate, errors := perSecond(now), 0.002
			if hour := math.Mod(now.Sub(epoch).Hours(), 24); hour > 10 && hour < 16 {
				errors = 0.03
			}
			history = append(history, totals{last.requests + rate*scrapeInterval.Seconds(), last.errors + errors*rate*scrapeInterval.Seconds()})
		}
		return history[int(at.Sub(epoch)/scrapeInterval)]
	}
	w.scrape(func(at time.Time) float64 { return math.Floor(happened(at).requests) }, "__name__", "requests_total")
	w.scrape(func(at time.Time) float64 { return math.Floor(happened(at).errors) }, "__name__", "errors_total")
	w.run(7 * 24 * time.Hour)
	for range 9 { // at every time of a day
		w.run(160 * time.Minute)
		now, before := happened(w.now), happened(w.now.Add(-7*24*time.Hour))
		n := w.number(`last_over_time(sojourn:slo_events:window[11m])`)
		lost := n * w.number(`last_over_time(sojourn:slo_loss:ratio[11m])`)
		for what, pair := range map[string][2]float64{
			"events":    {n, now.requests - before.requests},
			"losses":    {lost, now.errors - before.errors},
			"mean loss": {lost / n, (now.errors - before.errors) / (now.requests - before.requests)},
		} {
			if off := math.Abs(pair[0]/pair[1] - 1); !(off < 0.01) {
				t.Errorf("after %s the %s are %v, in truth %v: off by %.2f %%", w.now.Sub(epoch), what, pair[0], pair[1], off*100)
			}
		}
	}
	w.healthy()
}

func TestIdleNightsAreNotNaN(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.load(ruleFile(t, everything(readObjects(t, everyShape))))
	day := func(at time.Time) float64 { // nothing at all from the third hour on
		return math.Floor(min(at.Sub(epoch).Hours(), 3) * 1000)
	}
	w.scrape(day, "__name__", "http_requests_total", "app", "own", "code", "200")
	w.scrape(func(at time.Time) float64 { return math.Floor(day(at) / 500) }, "__name__", "http_requests_total", "app", "own", "code", "500")
	for _, le := range []string{"0.5", "1", "+Inf"} { // as Prometheus 2 stores it
		w.scrape(day, "__name__", "http_request_duration_seconds_bucket", "app", "own", "le", le)
	}
	w.run(8 * time.Hour)
	w.healthy()
	for _, series := range []string{Events, Losses, "sojourn:touchpoint_losses:sum1h", "sojourn:touchpoint_losses:sum6h", MeanLoss, LossLower, LossUpper, Remaining} {
		for _, sample := range w.ask(fmt.Sprintf(`{__name__=%q} or last_over_time({__name__=%q}[10m])`, series, series)) {
			if math.IsNaN(sample.F) || math.IsInf(sample.F, 0) {
				t.Errorf("%s is %v", sample.Metric, sample.F)
			}
		}
	}
	if n := w.number(`sojourn:touchpoint_events:count1m{def=~"metric/latency/.*"}`); n != 0 {
		t.Errorf("an idle minute counts %v events", n)
	}
	if loss := w.number(`last_over_time(sojourn:slo_loss:ratio{slo="own",objective="up"}[11m])`); math.Abs(loss-0.002) > 0.0005 {
		t.Errorf("mean loss of the day is %v, not 0.002", loss)
	}
}

func TestMissingBucketIsNoData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.load(ruleFile(t, everything(readObjects(t, everyShape))))
	w.scrape(steady(5), "__name__", "http_request_duration_seconds_bucket", "app", "own", "le", "+Inf")
	w.scrape(steady(5), "__name__", "http_request_duration_seconds_bucket", "app", "own", "le", "0.5")
	w.probes("shop", "shown", never, never, "0.5")
	w.run(30 * time.Minute)
	w.healthy()
	if found := w.ask(`{__name__=~"sojourn:touchpoint_(events|losses):count1m",def=~".*/latency/1"}`); len(found) > 0 {
		t.Errorf("without its bucket a latency objective counts %v", found)
	}
	// Either spelling of a whole number is the same edge.
	w.scrape(steady(5), "__name__", "http_request_duration_seconds_bucket", "app", "own", "le", "1.0")
	w.probes("shop", "shown", never, never, "1.0")
	w.run(30 * time.Minute)
	for _, touchpoint := range []string{"own", "shown"} {
		if n := w.number(fmt.Sprintf(`sum(sojourn:touchpoint_events:sum5m{def=~".*/latency/1",touchpoint=%q})`, touchpoint)); !(n > 0) {
			t.Errorf("the edge 1.0 is not taken for 1 at %s: %v", touchpoint, n)
		}
	}
}

func TestSilenceIsNotQuiet(t *testing.T) {
	t.Parallel()
	w := shop(t)
	alive := func(value func(time.Time) float64) func(time.Time) float64 {
		return func(at time.Time) float64 {
			if at.Sub(epoch) > time.Hour {
				return math.NaN() // the prober and the gateway are gone
			}
			return value(at)
		}
	}
	w.probes("shop", "search", never, never, "0.3")
	w.probes("shop", "checkout", never, never, "0.3")
	for _, touchpoint := range []string{"checkout", "search"} {
		w.answers("shop", touchpoint, "ces", cesScores, always(easyMostly), 0.001) // nobody ever answers
	}
	w.run(time.Hour)
	if len(w.fired) > 0 {
		t.Fatalf("quiet is taken for silence: %v", w.fired)
	}
	for i := range w.counters {
		if w.counters[i].labels.Get("touchpoint") == "checkout" {
			w.counters[i].value = alive(w.counters[i].value)
		}
	}
	w.run(30 * time.Minute)
	w.healthy()
	for _, objective := range []string{"uptime", "speed", "effort"} {
		alert := fmt.Sprintf(`ExperienceDataMissing{env="prod", namespace="shop", objective=%q, severity="page", slo="web", team="payments", tier="missing", touchpoint="checkout"}`, objective)
		if _, did := w.fired[alert]; !did {
			t.Errorf("silence of %s has no alert", objective)
		}
	}
	for alert := range w.fired {
		if !strings.Contains(alert, "checkout") || !strings.Contains(alert, AlertDataMissing) {
			t.Errorf("fired without cause: %s", alert)
		}
	}
}

func TestErrorsOfTheProberAreSilenceNotLoss(t *testing.T) {
	t.Parallel()
	w := shop(t)
	w.probes("shop", "search", never, never, "0.3")
	w.scrape(steady(0.1), "__name__", probeRuns, "namespace", "shop", "touchpoint", "checkout", "location", "default", "outcome", "error")
	for _, outcome := range []string{"success", "failure"} {
		w.scrape(steady(0), "__name__", probeRuns, "namespace", "shop", "touchpoint", "checkout", "location", "default", "outcome", outcome)
	}
	w.run(20 * time.Minute)
	w.healthy()
	if lost := w.number(`sum(sojourn:touchpoint_losses:sum5m{touchpoint="checkout",def="probe/availability"})`); lost != 0 {
		t.Errorf("the prober's own errors lose %v", lost)
	}
	if _, did := w.fired[`ExperienceDataMissing{env="prod", namespace="shop", objective="uptime", severity="page", slo="web", team="payments", tier="missing", touchpoint="checkout"}`]; !did {
		t.Errorf("nobody is told that the prober measures nothing: %v", w.fired)
	}
}

func TestCoverageTellsHowMuchIsKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.load(ruleFile(t, everything(parseObjects(t, strings.ReplaceAll(shopObjects, "touchpoints: [checkout, search]}", "touchpoints: [checkout]}\n  window: 7d")))))
	w.probes("shop", "checkout", never, never, "0.3")
	w.run(9 * time.Hour)
	if covered := w.number(`last_over_time(sojourn:slo_coverage:ratio{objective="uptime"}[61m])`); math.Abs(covered-8.5/168) > 0.55/168 {
		t.Errorf("coverage is %v after 9 of 168 hours", covered)
	}
}

// Labels of alerts are what stays; journeys, runbooks and promises may change while an
// alert fires without making another alert of it.
func TestJourneysAndRunbooksNeverRefire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.load(ruleFile(t, everything(parseObjects(t, shopObjects))))
	w.probes("shop", "search", never, never, "0.3")
	w.probes("shop", "checkout", never, after(0), "0.3")
	w.answers("shop", "checkout", "ces", cesScores, always(easyMostly), 60)
	w.answers("shop", "search", "ces", cesScores, always(easyMostly), 60)
	w.run(30 * time.Minute)
	fired := len(w.fired)
	if fired == 0 {
		t.Fatal("nothing fires to begin with")
	}
	w.unload(before)
	changed := strings.Replace(shopObjects, "team: payments", `team: payments, runbookURL: "https://wiki.example.com/checkout"`, 1)
	changed = strings.Replace(changed, `target: "99.9%"`, `target: "99.95%"`, 1)
	w.load(ruleFile(t, everything(parseObjects(t, changed+`---
apiVersion: sojourn.dev/v1alpha1
kind: Journey
metadata: {name: online-purchase, namespace: shop}
spec:
  stages: [{name: purchase, touchpoints: [{name: checkout}]}]
`))))
	w.run(10 * time.Minute)
	w.healthy()
	if len(w.fired) != fired {
		t.Errorf("an edit made other alerts of those that fired: %v", w.fired)
	}
	if labels := w.ask(`sojourn:touchpoint:info{touchpoint="checkout"}`)[0].Metric; labels.Get("journeys") != "shop/online-purchase" {
		t.Errorf("the journey is not known to the alert: %s", labels)
	}
}
