package controllers_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

var (
	histories    = flag.Int("histories", 2, "how many random histories TestRandomHistories lives through")
	historySteps = flag.Int("history-steps", 80, "how many steps each of them has")
	historySeed  = flag.Uint64("history-seed", 0, "the seed of the first of them; 0: another every time")
)

// TestRandomHistories: whatever happened to objects, and to what was made of them, in the
// end there is what a fresh manager makes of the objects that are left.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	prometheusRules(t, true)
	seed := *historySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	for i := range *histories {
		seed := seed + uint64(i)
		t.Run(fmt.Sprint("history ", i+1), func(t *testing.T) {
			t.Parallel()
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("live through it again with -history-seed=%d -histories=1 -history-steps=%d", seed, *historySteps)
				}
			})
			home := newNamespace(t, fmt.Sprintf("lived-%d-home", i), map[string]string{"tours": "welcome"})
			away := newNamespace(t, fmt.Sprintf("lived-%d-away", i), nil)
			h := &history{T: t, Rand: rand.New(rand.NewPCG(seed, 0)), namespaces: []string{home, away}}
			h.manager = startManager(t, watching(h.namespaces...))
			for range *historySteps {
				h.step()
			}
			likeAFreshOne(t, cluster, api, h.namespaces...)
		})
	}
}

// history is one that is being lived through.
type history struct {
	*testing.T
	*rand.Rand
	namespaces []string
	manager    *testManager
}

// step does one thing, and sometimes gives the manager time to notice.
func (h *history) step() {
	namespace := h.one(h.namespaces...)
	switch h.IntN(12) {
	case 0, 1, 2:
		h.put(namespace, "Touchpoint", h.name("t"), h.touchpoint())
	case 3, 4, 5:
		h.put(namespace, "ExperienceSLO", h.name("s"), h.slo())
	case 6, 7:
		h.put(namespace, "Journey", h.name("j"), h.journey())
	case 8:
		h.delete(&v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: h.name("t")}})
	case 9:
		h.delete(&v1alpha1.ExperienceSLO{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: h.name("s")}})
		h.delete(&v1alpha1.Journey{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: h.name("j")}})
	case 10:
		h.damage(namespace)
	case 11:
		if h.IntN(4) == 0 {
			h.manager.stop(h.T)
			h.put(namespace, "Touchpoint", h.name("t"), h.touchpoint())
			h.delete(&v1alpha1.ExperienceSLO{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: h.name("s")}})
			h.manager = startManager(h.T, watching(h.namespaces...))
		}
	}
	if h.IntN(3) == 0 {
		time.Sleep(time.Duration(h.IntN(200)) * time.Millisecond)
	}
}

func (h *history) one(of ...string) string { return of[h.IntN(len(of))] }

// name is one of few: things meet.
func (h *history) name(prefix string) string { return fmt.Sprint(prefix, h.IntN(4)) }

func (h *history) put(namespace, kind, name, spec string) {
	h.Helper()
	labels := h.one("{}", "{tier: gold}", "{tier: silver}")
	text := fmt.Sprintf("apiVersion: sojourn.dev/v1alpha1\nkind: %s\nmetadata: {name: %s, namespace: %s, labels: %s}\nspec: %s\n", kind, name, namespace, labels, spec)
	if err := applyText(h.Context(), api, text); err != nil {
		h.Fatalf("%v\n%s", err, text)
	}
}

func (h *history) delete(object client.Object) {
	h.Helper()
	if err := client.IgnoreNotFound(api.Delete(h.Context(), object)); err != nil {
		h.Fatal(err)
	}
}

// damage does to a rule object what nobody should.
func (h *history) damage(namespace string) {
	var found monitoringv1.PrometheusRuleList
	if err := api.List(h.Context(), &found, client.InNamespace(namespace)); err != nil {
		h.Fatal(err)
	}
	if len(found.Items) == 0 {
		return
	}
	rule := &found.Items[h.IntN(len(found.Items))]
	switch h.IntN(5) {
	case 0:
		h.delete(rule)
		return
	case 1:
		rule.Labels = nil
	case 2:
		rule.OwnerReferences = nil
	case 3:
		rule.Spec.Groups = nil
	case 4:
		rule.Spec.Groups = append(rule.Spec.Groups, monitoringv1.RuleGroup{Name: "foreign"})
	}
	// The manager may be faster.
	_ = api.Update(h.Context(), rule)
}

func (h *history) touchpoint() string {
	fields := []string{"channel: Web", "class: " + h.one("Critical", "Standard"), "allowedJourneys: {namespaces: " +
		h.one("{from: Same}", "{from: All}", "{from: Selector, selector: {matchLabels: {tours: welcome}}}") + "}"}
	if h.IntN(2) == 0 {
		fields = append(fields, fmt.Sprintf("probe: {http: {url: 'http://shop.example/%d'}}", h.IntN(3)))
	}
	if h.IntN(2) == 0 {
		fields = append(fields, "survey: {instruments: [{type: CES}, {type: "+h.one("CSAT", "NPS")+"}]}")
	}
	if h.IntN(2) == 0 {
		fields = append(fields, "metrics: {requests: {total: '"+h.one("visits_total", `visits_total{page="a"}`, "visits_total{")+`', errors: 'visits_total{code="500"}'}`+
			h.one("", ", latency: {histogram: visit_seconds_bucket}")+"}")
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

func (h *history) slo() string {
	targets := h.one(
		fmt.Sprintf("{touchpoints: [t%d]}", h.IntN(4)), "{touchpoints: [t0, t1, t2]}", "{journey: "+h.name("j")+"}",
		// Applying an empty selector where there was a fuller one is refused: the API server
		// makes null of it.
		"{selector: {classes: [Critical, Standard, Special]}}", "{selector: {matchLabels: {tier: gold}}}", "{selector: {classes: [Critical]}}")
	objectives := []string{fmt.Sprintf("{name: up, availability: {target: '99.%d%%'}}", h.IntN(10))}
	if h.IntN(2) == 0 {
		objectives = append(objectives, fmt.Sprintf("{name: fast, latency: {threshold: %d00ms, target: '95%%'}}", 1+h.IntN(5)))
	}
	if h.IntN(2) == 0 {
		objectives = append(objectives, "{name: easy, ces: {easeShare: '"+h.one("80%", "85%", "100%")+"'}}")
	}
	return fmt.Sprintf("{targets: %s, window: %s, objectives: [%s]}", targets, h.one("28d", "7d"), strings.Join(objectives, ", "))
}

func (h *history) journey() string {
	var stages []string
	for i := range 1 + h.IntN(3) {
		elsewhere := ""
		if h.IntN(3) == 0 {
			elsewhere = ", namespace: " + h.one(h.namespaces...)
		}
		stages = append(stages, fmt.Sprintf("{name: stage-%d, touchpoints: [{name: %s%s}]%s}", i, h.name("t"), elsewhere, h.one("", ", entries: entries_total", ", entries: 'sum('")))
	}
	return fmt.Sprintf("{stages: [%s]%s}", strings.Join(stages, ", "), h.one("", ", kpis: [{name: orders, query: 'sum(orders)'}]"))
}
