package rules

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const shopObjects = `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout, namespace: shop}
spec:
  channel: Web
  class: Critical
  owner: {team: payments}
  probe: {interval: 10s, http: {url: http://shop.shop.svc/checkout}}
  survey: {instruments: [{type: CES}]}
---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: search, namespace: shop}
spec:
  channel: Web
  probe: {interval: 10s, http: {url: http://shop.shop.svc/search}}
  survey: {instruments: [{type: CES}]}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: web, namespace: shop}
spec:
  targets: {touchpoints: [checkout, search]}
  alerting: {labels: {env: prod}}
  objectives:
  - name: uptime
    availability: {target: "99.9%"}
  - name: speed
    latency: {threshold: 300ms, target: "99%"}
  - name: effort
    ces: {easeShare: "80%"}
`

// shop is a namespace of two touchpoints under one ExperienceSLO.
func shop(t testing.TB) *world {
	w := newWorld(t)
	w.load(ruleFile(t, everything(parseObjects(t, shopObjects))))
	return w
}

var (
	easyMostly = []int{7, 6, 7, 5, 6, 7, 3, 6, 7, 5} // 10 % not easy
	laborious  = []int{1, 2, 3, 2, 7, 4, 1, 3, 2, 6} // 80 % not easy
)

func always(deck []int) func(time.Duration) []int {
	return func(time.Duration) []int { return deck }
}

var cesScores = []int{1, 2, 3, 4, 5, 6, 7}

func TestHealthyShopIsSilent(t *testing.T) {
	t.Parallel()
	w := shop(t)
	for _, touchpoint := range []string{"checkout", "search"} {
		// One failure in two thousand, one slow run in five hundred.
		w.probes("shop", touchpoint, func(d time.Duration) bool { return int(d.Seconds())%5000 == 0 }, func(d time.Duration) bool { return int(d.Seconds())%20000 == 0 }, "0.3")
		w.answers("shop", touchpoint, "ces", cesScores, always(easyMostly), 60)
	}
	w.run(30 * time.Hour)
	w.healthy()
	if len(w.fired) > 0 {
		t.Errorf("alerts fired while all was well: %v", w.fired)
	}
	if n := w.number(`sojourn:slo_budget:ratio{touchpoint="checkout",objective="uptime"}`); n != 0.001 {
		t.Errorf("budget of uptime is %v", n)
	}
}

func TestSlowCheckoutPages(t *testing.T) {
	t.Parallel()
	w := shop(t)
	w.probes("shop", "checkout", after(2*time.Hour), never, "0.3")
	w.probes("shop", "search", never, never, "0.3")
	w.answers("shop", "checkout", "ces", cesScores, always(easyMostly), 60)
	w.answers("shop", "search", "ces", cesScores, always(easyMostly), 60)
	w.run(2*time.Hour + 15*time.Minute)
	w.healthy()
	page := `ExperienceBudgetBurn{env="prod", namespace="shop", objective="speed", severity="page", slo="web", team="payments", tier="1h", touchpoint="checkout"}`
	fired, did := w.fired[page]
	if !did {
		t.Fatalf("no page within 15 minutes; fired: %v", w.fired)
	}
	// 13.44 × 1 % of an hour is lost after 8 minutes; then tiles and alert each take up
	// to a minute.
	if after := fired.Sub(epoch) - 2*time.Hour; after > 11*time.Minute {
		t.Errorf("the page came only after %s", after)
	}
	for alert := range w.fired {
		if !strings.Contains(alert, `objective="speed"`) || !strings.Contains(alert, `touchpoint="checkout"`) {
			t.Errorf("fired without cause: %s", alert)
		}
	}
}

func TestTotalOutagePagesWithinMinutes(t *testing.T) {
	t.Parallel()
	w := shop(t)
	w.probes("shop", "checkout", never, after(time.Hour), "0.3")
	w.run(time.Hour + 5*time.Minute)
	w.healthy()
	fired, did := w.fired[`ExperienceBudgetBurn{env="prod", namespace="shop", objective="uptime", severity="page", slo="web", team="payments", tier="1h", touchpoint="checkout"}`]
	if !did {
		t.Fatalf("no page; fired: %v", w.fired)
	}
	// 13.44 × 0.1 % of the probes of an hour are five probes; three intervals of a probe
	// and two evaluations come on top.
	if after := fired.Sub(epoch) - time.Hour; after > 50*time.Second+30*time.Second+2*time.Minute {
		t.Errorf("the page came only after %s", after)
	}
}

func TestLaboriousCheckoutPagesAndTickets(t *testing.T) {
	t.Parallel()
	w := shop(t)
	w.probes("shop", "checkout", never, never, "0.3")
	w.probes("shop", "search", never, never, "0.3")
	w.answers("shop", "checkout", "ces", cesScores, func(since time.Duration) []int {
		if since > 24*time.Hour {
			return laborious
		}
		return easyMostly
	}, 100)
	w.answers("shop", "search", "ces", cesScores, always(easyMostly), 100)
	w.run(48 * time.Hour)
	w.healthy()
	var fired []string
	for alert := range w.fired {
		fired = append(fired, alert)
	}
	slices.Sort(fired)
	want := []string{
		`ExperienceSurveyBurn{env="prod", namespace="shop", objective="effort", severity="page", slo="web", team="payments", tier="1d", touchpoint="checkout"}`,
		`ExperienceSurveyBurn{env="prod", namespace="shop", objective="effort", severity="page", slo="web", team="payments", tier="3d", touchpoint="checkout"}`,
		`ExperienceSurveyBurn{env="prod", namespace="shop", objective="effort", severity="ticket", slo="web", team="payments", tier="1d", touchpoint="checkout"}`,
		`ExperienceSurveyBurn{env="prod", namespace="shop", objective="effort", severity="ticket", slo="web", team="payments", tier="3d", touchpoint="checkout"}`,
		`ExperienceSurveyBurn{env="prod", namespace="shop", objective="effort", severity="ticket", slo="web", team="payments", tier="7d", touchpoint="checkout"}`,
	}
	if !slices.Equal(fired, want) {
		t.Errorf("fired:\n%s", strings.Join(fired, "\n"))
	}
}

func TestFewAnswersNeverAlert(t *testing.T) {
	t.Parallel()
	w := shop(t)
	w.probes("shop", "checkout", never, never, "0.3")
	w.probes("shop", "search", never, never, "0.3")
	for _, touchpoint := range []string{"checkout", "search"} {
		w.answers("shop", touchpoint, "ces", cesScores, always(laborious), 20) // all bad, but only 20
	}
	w.run(26 * time.Hour)
	w.healthy()
	if len(w.fired) > 0 {
		t.Errorf("20 answers fired %v", w.fired)
	}
}
