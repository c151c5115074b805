package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// TestReplicas runs two gateways on one PostgreSQL under a real Prometheus, has clients
// send to both, each response to either or both, and restarts one meanwhile. What the
// rules would read, the maximum over the replicas, neither loses nor doubles.
func TestReplicas(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	createTouchpoint(t, kubernetes, "replicas", "checkout", v1alpha1.InstrumentCES)
	server, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	start := func(change func(*options)) (*gateway, func()) {
		g, stop := inProcess(t, func(o *options) {
			o.config, o.database, o.sourceNamespaces, o.namespaces = plane.RESTConfig(), server.URL, []string{"replicas"}, []string{"replicas"}
			change(o)
		})
		eventually(t, "never ready", func() bool { return ready(t.Context(), g.metricsAddress) })
		return g, stop
	}
	first, _ := start(func(*options) {})
	second, stopSecond := start(func(*options) {})
	prometheus, err := localstack.StartPrometheus(t.Context(), localstack.PrometheusOptions{
		ScrapeJobs:     []localstack.ScrapeJob{{Name: "gateway", Targets: []string{first.metricsAddress, second.metricsAddress}, HonorLabels: true}},
		ScrapeInterval: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(prometheus.Stop)
	query := func(expression string) float64 {
		t.Helper()
		value, err := prometheus.Query(t.Context(), expression, time.Now())
		vector, ok := value.(model.Vector)
		if err != nil || !ok || len(vector) != 1 {
			return -1
		}
		return float64(vector[0].Value)
	}
	// The zeros first: without them there is no increase to look at.
	eventually(t, "Prometheus does not see both", func() bool { return query(`count(sojourn_survey_responses_total{score="6"})`) == 2 })

	const responses = 400
	var clients sync.WaitGroup
	deliver := func(g *gateway, number int) {
		body := fmt.Sprintf(`{"id":"r%d","touchpoint":"checkout","instrument":"ces","score":6}`, number)
		for t.Context().Err() == nil {
			if status, _, err := post(context.Background(), g.responsesAddress, body); err == nil && status == 202 {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	clients.Go(func() {
		for number := range responses {
			deliver(first, number)
		}
	})
	// The second gets every other response of the same ones, until it stops in the middle.
	for number := 0; number < responses/2; number += 2 {
		deliver(second, number)
	}
	address, metrics := second.responsesAddress, second.metricsAddress
	stopSecond()
	second, _ = start(func(o *options) { o.listenAddress, o.metricsAddress = address, metrics })
	for number := responses / 2; number < responses; number += 2 {
		deliver(second, number)
	}
	clients.Wait()
	for _, g := range []*gateway{first, second} {
		if totals := scrape(t, g.metricsAddress, "replicas"); totals["checkout/ces/6"] != responses {
			t.Errorf("a replica shows %v of %d", totals["checkout/ces/6"], responses)
		}
	}
	const maximum = `max by (namespace, touchpoint, instrument, score) (sojourn_survey_responses_total{score="6"} %s)`
	now, before := fmt.Sprintf(maximum, ""), fmt.Sprintf(maximum, "offset 1s")
	eventually(t, "Prometheus does not see all", func() bool { return query(now) == responses })
	// As rules count: differences of the maximum, a step at a time. The last step is a
	// moment behind.
	differences := `sum_over_time((` + now + ` - ` + before + `)[10m:1s])`
	eventually(t, "the differences of the maximum do not sum up to what was sent", func() bool { return query(differences) == responses })
	if falls := query(`max(resets(sojourn_survey_responses_total{score="6"}[10m]))`); falls != 0 {
		t.Errorf("a total fell %v times", falls)
	}
}
