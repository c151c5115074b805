package controllers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// visited is a shop that is visited and asks its customers.
const visited = `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout, namespace: NAMESPACE}
spec:
  channel: Web
  expectation: {net: "20%"}
  gaps: {design: "-3%"}
  probe: {http: {url: "http://shop.NAMESPACE.svc/checkout"}}
  survey: {instruments: [{type: CES}]}
---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: search, namespace: NAMESPACE}
spec:
  channel: Web
  probe: {http: {url: "http://shop.NAMESPACE.svc/search"}}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: checkout, namespace: NAMESPACE}
spec:
  targets: {touchpoints: [checkout, search]}
  objectives:
  - {name: up, availability: {target: "99%"}}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: effort, namespace: NAMESPACE}
spec:
  targets: {touchpoints: [checkout]}
  objectives:
  - {name: easy, ces: {easeShare: "60%"}}
---
apiVersion: sojourn.dev/v1alpha1
kind: Journey
metadata: {name: purchase, namespace: NAMESPACE}
spec:
  stages:
  - {name: find, touchpoints: [{name: search}], entries: 'shop_visitors_total{page="search"}'}
  - {name: buy, touchpoints: [{name: checkout, momentOfTruth: true}], entries: 'shop_visitors_total{page="checkout"}'}
  kpis:
  - {name: basket, query: 'shop_basket_yuan', target: ">= 100"}
`

// TestWhatCustomersFeel: an outage of the checkout is seen on all three objects.
func TestWhatCustomersFeel(t *testing.T) {
	prometheusRules(t, true)
	namespace := newNamespace(t, "felt", nil)
	var ran, failed, answered atomic.Int64
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ran.Add(10)
		for _, touchpoint := range []string{"checkout", "search"} {
			lost := int64(0)
			if touchpoint == "checkout" {
				lost = failed.Load()
			}
			series := fmt.Sprintf(`namespace=%q,touchpoint=%q,location="default"`, namespace, touchpoint)
			fmt.Fprintf(w, "sojourn_probe_runs_total{%s,outcome=\"success\"} %d\n", series, ran.Load()-lost)
			fmt.Fprintf(w, "sojourn_probe_runs_total{%s,outcome=\"failure\"} %d\n", series, lost)
			for _, le := range []string{"0.1", "0.5", "+Inf"} {
				fmt.Fprintf(w, "sojourn_probe_duration_seconds_bucket{%s,le=%q} %d\n", series, le, ran.Load()-lost)
			}
			fmt.Fprintf(w, "shop_visitors_total{page=%q} %d\n", touchpoint, ran.Load()/int64(1+len(touchpoint)/8))
		}
		for score := 1; score <= 7; score++ {
			n := int64(0)
			if score >= 6 {
				n = answered.Add(5)
			}
			fmt.Fprintf(w, "sojourn_survey_responses_total{namespace=%q,touchpoint=\"checkout\",instrument=\"ces\",score=\"%d\"} %d\n", namespace, score, n)
		}
		fmt.Fprintf(w, "shop_basket_yuan 123.4\n")
	}))
	defer shop.Close()
	prometheus, err := localstack.StartPrometheus(t.Context(), localstack.PrometheusOptions{
		ScrapeJobs: []localstack.ScrapeJob{{Name: "shop", HonorLabels: true, Targets: []string{strings.TrimPrefix(shop.URL, "http://")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prometheus.Stop()
	startManager(t, func(o *controllers.Options) {
		o.Prometheus.URL, o.Prometheus.Interval, o.Prometheus.Standing = prometheus.URL, time.Second, 5*time.Second
	})
	apply(t, namespace, visited)
	for kind, name := range map[string]string{"ExperienceSLO": "checkout", "Journey": "purchase"} {
		eventually(t, kind+" is ready", soon, isReady(kind, namespace, name))
	}
	// Nobody gives the rules to Prometheus yet.
	eventually(t, "the rules are missed", soon, func(context.Context) error {
		slo := get[v1alpha1.ExperienceSLO](t, namespace, "checkout")
		return condition(slo.Status.Conditions, v1alpha1.ConditionRulesLoaded, metav1.ConditionUnknown, v1alpha1.ReasonLoading)
	})
	sync := ruleFolder(t, prometheus, namespace)
	synced := func(check func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := sync(ctx); err != nil {
				return err
			}
			time.Sleep(100 * time.Millisecond)
			return check(ctx)
		}
	}
	const patience = 120 * time.Second
	eventually(t, "the promises are met", patience, synced(func(context.Context) error {
		for _, name := range []string{"checkout", "effort"} {
			slo := get[v1alpha1.ExperienceSLO](t, namespace, name)
			if err := condition(slo.Status.Conditions, v1alpha1.ConditionMet, metav1.ConditionTrue, v1alpha1.ReasonKept); err != nil {
				return fmt.Errorf("%s: %w: %+v", name, err, slo.Status.Worst)
			}
			for _, want := range []string{v1alpha1.ConditionRulesLoaded, v1alpha1.ConditionObserved} {
				if !meta.IsStatusConditionTrue(slo.Status.Conditions, want) {
					return fmt.Errorf("%s is not %s", name, want)
				}
			}
		}
		return nil
	}))
	kubectl, err := localstack.Binary(t.Context(), localstack.KubectlBinary)
	if err != nil {
		t.Fatal(err)
	}
	wait := exec.CommandContext(t.Context(), kubectl, "--kubeconfig", cluster.Kubeconfig(), "--namespace", namespace,
		"wait", "--for=condition=Met", "xslo/checkout", "--timeout=5s")
	if output, err := wait.CombinedOutput(); err != nil || !strings.Contains(string(output), "condition met") {
		t.Errorf("%s: %v %s", wait, err, output)
	}
	eventually(t, "the touchpoint's experience is there", patience, func(context.Context) error {
		felt := get[v1alpha1.Touchpoint](t, namespace, "checkout").Status
		e := felt.Experience
		if e == nil || e.Availability == nil || e.Latency == nil || e.CES == nil || e.Net == nil {
			return fmt.Errorf("%+v", e)
		}
		if e.Availability.Percent != "100" || e.CES.Mean != "6.5" || e.CES.EasePercent != "100" || e.Net.Points != "100" || felt.Score != "100" {
			return fmt.Errorf("%+v %+v %+v score %s", e.Availability, e.CES, e.Net, felt.Score)
		}
		if felt.Satisfaction == nil || felt.Satisfaction.Sign != "+" || felt.Satisfaction.Points != "80" || len(felt.Gaps) != 3 {
			return fmt.Errorf("%+v %+v", felt.Satisfaction, felt.Gaps)
		}
		return nil
	})
	eventually(t, "the journey's figures are there", patience, synced(func(context.Context) error {
		felt := get[v1alpha1.Journey](t, namespace, "purchase").Status
		if felt.Score != "100" || felt.Budgets == nil || *felt.Budgets != (v1alpha1.JourneyBudgets{Met: 3}) || len(felt.Stages) != 2 || len(felt.KPIs) != 1 {
			return fmt.Errorf("%+v %+v", felt, felt.Budgets)
		}
		if kpi := felt.KPIs[0]; kpi.Value != "123" || kpi.Reached == nil || !*kpi.Reached {
			return fmt.Errorf("%+v", kpi)
		}
		if converted, err := strconv.ParseFloat(string(felt.Stages[1].ConversionPercent), 64); err != nil || converted < 40 || converted > 60 {
			return fmt.Errorf("half of the visitors go on: %+v", felt.Stages)
		}
		return condition(felt.Conditions, v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonKept)
	}))

	// The checkout breaks, and nothing else.
	failed.Store(ran.Load() / 2)
	eventually(t, "the promise is broken", patience, func(context.Context) error {
		failed.Add(8)
		slo := get[v1alpha1.ExperienceSLO](t, namespace, "checkout").Status
		if err := condition(slo.Conditions, v1alpha1.ConditionMet, metav1.ConditionFalse, v1alpha1.ReasonBreached); err != nil {
			return err
		}
		if slo.States == nil || slo.States.Breached != 1 || slo.States.Met != 1 || slo.Worst[0].Touchpoint != "checkout" {
			return fmt.Errorf("%+v %+v", slo.States, slo.Worst)
		}
		return nil
	})
	eventually(t, "the journey suffers", patience, func(context.Context) error {
		felt := get[v1alpha1.Journey](t, namespace, "purchase").Status
		if felt.Weakest == nil || felt.Weakest.Name != "checkout" || felt.Weakest.Why != "checkout/up is Breached" {
			return fmt.Errorf("%+v", felt.Weakest)
		}
		if score, err := strconv.Atoi(string(felt.Score)); err != nil || score > 80 {
			return fmt.Errorf("score %s", felt.Score)
		}
		return condition(felt.Conditions, v1alpha1.ConditionHealthy, metav1.ConditionFalse, v1alpha1.ReasonBreached)
	})
	touchpoint := get[v1alpha1.Touchpoint](t, namespace, "search")
	if err := condition(touchpoint.Status.Conditions, v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonKept); err != nil {
		t.Error(err)
	}
	// The configuration is as good as before, and so all of it is for a tool that waits.
	for kind, name := range map[string]string{"ExperienceSLO": "checkout", "Journey": "purchase", "Touchpoint": "checkout"} {
		if err := hasReadiness(kind, namespace, name, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, status.CurrentStatus)(t.Context()); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "an Event has the numbers", soon, func(ctx context.Context) error {
		var events eventsv1.EventList
		if err := api.List(ctx, &events, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.Regarding.Kind == "ExperienceSLO" && event.Reason == v1alpha1.ReasonBreached && strings.Contains(event.Note, "checkout/up at checkout: ") &&
				strings.Contains(event.Note, "1% allowed") {
				return nil
			}
		}
		return fmt.Errorf("none of %d", len(events.Items))
	})
	if err := prometheus.RulesHealth(t.Context()); err != nil {
		t.Error(err)
	}
}

// condition tells whether a condition is as wanted.
func condition(conditions []metav1.Condition, name string, want metav1.ConditionStatus, reason string) error {
	found := meta.FindStatusCondition(conditions, name)
	if found == nil || found.Status != want || found.Reason != reason {
		return fmt.Errorf("%s is not %s for %s: %+v", name, want, reason, found)
	}
	return nil
}
