package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// observedRow is what asking Prometheus costs.
type observedRow struct {
	platform
	budgets, series int
	// first is the time from the manager's start until what Prometheus shows is in every
	// status, and writes are those that took.
	first  time.Duration
	writes float64
	// round is the longest round of questions that was seen; cpu is that of the manager
	// for each minute in which nothing changed, restWrites the writes of all that time.
	round          time.Duration
	cpu            time.Duration
	restWrites     float64
	resident, peak int
}

// measureObserved has a manager ask a Prometheus that holds what the rules of all budgets
// record. Nothing changes there, so that there is nothing to write.
func (b *bench) measureObserved(ctx context.Context, p platform) (*observedRow, error) {
	r := &observedRow{platform: p}
	c, err := b.startCluster(ctx, p.namespaceNames()...)
	if err != nil {
		return nil, err
	}
	defer c.Stop()
	if err := c.create(ctx, p.objects(), nil); err != nil {
		return nil, err
	}
	shown, err := c.show(ctx, p, r)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		w.Write(shown)
	})}
	go server.Serve(listener)
	defer server.Close()
	prometheus, err := localstack.StartPrometheus(ctx, localstack.PrometheusOptions{
		ScrapeInterval: time.Minute, EvaluationInterval: time.Minute,
		ScrapeJobs: []localstack.ScrapeJob{{Name: "recorded", Targets: []string{listener.Addr().String()}, HonorLabels: true}},
	})
	if err != nil {
		return nil, err
	}
	defer prometheus.Stop()
	for begin := time.Now(); ; {
		value, err := prometheus.Query(ctx, "count("+rules.Budget+") == "+fmt.Sprint(r.budgets), time.Now())
		if err == nil && value.String() != "" {
			break
		}
		if time.Since(begin) > 3*time.Minute {
			return nil, fmt.Errorf("there are no %d budgets in Prometheus (%w)", r.budgets, err)
		}
		if err := sleep(ctx, time.Second); err != nil {
			return nil, err
		}
	}
	b.say("observed: Prometheus shows %d budgets", r.budgets)
	m, err := b.startManager(c, "--prometheus-url", prometheus.URL)
	if err != nil {
		return nil, err
	}
	defer func() { m.stop() }()
	if r.first, _, err = m.settle(ctx, m.started, nil); err != nil {
		return nil, err
	}
	before, err := m.usage(ctx)
	if err != nil {
		return nil, err
	}
	r.writes = before.writes
	b.say("observed: at rest after %.1f s and %.0f writes", r.first.Seconds(), r.writes)
	const watched = 90 * time.Second
	for begin := time.Now(); time.Since(begin) < watched; {
		seen, err := m.counts(ctx)
		if err != nil {
			return nil, err
		}
		r.round = max(r.round, seen.round)
		if err := sleep(ctx, 5*time.Second); err != nil {
			return nil, err
		}
	}
	after, err := m.usage(ctx)
	if err != nil {
		return nil, err
	}
	r.cpu = time.Duration(float64(after.cpu-before.cpu) * float64(time.Minute) / float64(watched))
	r.restWrites, r.resident, r.peak = after.writes-before.writes, after.resident, after.peak
	return r, c.allReady(ctx)
}

// show writes the series that the rules of a platform record, in Prometheus's text format.
func (c *cluster) show(ctx context.Context, p platform, r *observedRow) ([]byte, error) {
	var text bytes.Buffer
	record := func(name string, value float64, labels string, arguments ...any) {
		fmt.Fprintf(&text, "%s{%s} %g\n", name, fmt.Sprintf(labels, arguments...), value)
		r.series++
	}
	for _, namespace := range p.namespaceNames() {
		in := targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}}
		var foundTouchpoints v1alpha1.TouchpointList
		var foundSLOs v1alpha1.ExperienceSLOList
		for _, list := range []client.ObjectList{&foundTouchpoints, &foundSLOs} {
			if err := c.api.List(ctx, list, client.InNamespace(namespace)); err != nil {
				return nil, err
			}
		}
		for i := range foundTouchpoints.Items {
			name := foundTouchpoints.Items[i].Name
			in.Touchpoints[name] = &foundTouchpoints.Items[i]
			for series, value := range map[string]float64{
				rules.ExperienceVisits: 60, rules.ExperienceFailures: 0, rules.ExperienceP50: 0.12, rules.ExperienceP95: 0.4,
			} {
				record(series, value, `namespace=%q,touchpoint=%q,source="probe"`, namespace, name)
			}
			for series, value := range map[string]float64{
				rules.ExperienceAnswers: 200, rules.ExperienceGood: 180, rules.ExperienceBad: 10, rules.ExperiencePoints: 1200,
			} {
				record(series, value, `namespace=%q,touchpoint=%q,source="survey",instrument="ces"`, namespace, name)
			}
			for series, value := range map[string]float64{
				"sojourn:touchpoint_events:sum5m": 5, "sojourn:touchpoint_losses:sum5m": 0,
				"sojourn:touchpoint_events:sum1h": 60, "sojourn:touchpoint_losses:sum1h": 0,
			} {
				record(series, value, `namespace=%q,touchpoint=%q,def="probe/availability"`, namespace, name)
			}
		}
		for i := range foundSLOs.Items {
			slo := &foundSLOs.Items[i]
			for _, watch := range rules.ForSLO(slo, in).Watched {
				for _, touchpoint := range watch.Touchpoints {
					labels := fmt.Sprintf("namespace=%q,slo=%q,objective=%q,touchpoint=%q,def=%q", namespace, slo.Name, watch.Objective, touchpoint, watch.Def)
					r.budgets++
					record(rules.Budget, watch.Allowed, `%s,family=%q,window=%q,floor="3"`, labels, watch.Family, slo.Spec.Window)
					record(rules.SampleSize, 40000, "%s", labels)
					record(rules.MeanLoss, watch.Allowed/2, "%s", labels)
					record(rules.Coverage, 1, "%s", labels)
				}
			}
		}
	}
	return text.Bytes(), nil
}
