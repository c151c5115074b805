package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/client-go/rest"

	"github.com/sojourn-dev/sojourn/cmd/prober/internal/fleet"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/schedule"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/series"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/watch"
)

// options is what the flags say.
type options struct {
	Config         *rest.Config
	Namespaces     []string
	Location       string
	MaxConcurrent  int
	FirstRunDelay  time.Duration
	MetricsAddress string
	HealthAddress  string
	Version        string
	Log            *slog.Logger
}

// prober is the whole program, its parts joined.
type prober struct {
	log       *slog.Logger
	watcher   *watch.Watcher
	scheduler *schedule.Scheduler
	series    *series.Set
	own       *prometheus.Registry

	metrics, health net.Listener // nil: not served
}

// newProber joins the parts and takes the addresses, so that a mistake in the
// configuration shows before anything runs.
func newProber(o options) (*prober, error) {
	if o.MaxConcurrent < 1 {
		return nil, fmt.Errorf("--max-concurrent %d: at least one visit must be possible", o.MaxConcurrent)
	}
	if o.Location == "" {
		return nil, errors.New("--location must not be empty")
	}
	p := &prober{log: o.Log, series: series.New(o.Location), own: prometheus.NewRegistry()}
	skipped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sojourn_prober_runs_skipped_total",
		Help: "Visits that did not take place, by reason: overlap means that the one before still went on.",
	}, []string{"reason"})
	overlaps := skipped.WithLabelValues("overlap")
	lag := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "sojourn_prober_schedule_lag_seconds",
		Help:    "How long after its time a visit began.",
		Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 5, 10, 30, 60},
	})
	p.scheduler = schedule.New(o.MaxConcurrent, func(late time.Duration) { lag.Observe(series.Seconds(late)) })
	p.own.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		skipped, lag,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sojourn_prober_touchpoints",
			Help: "Touchpoints that this prober probes.",
		}, func() float64 { return float64(p.series.Len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sojourn_prober_inflight_runs",
			Help: "Visits that go on now.",
		}, func() float64 { return float64(p.scheduler.Running()) }),
	)
	probes := fleet.New(fleet.Options{
		Client:        probe.NewClient(probe.Options{UserAgent: "sojourn-prober/" + o.Version}),
		Schedule:      p.scheduler,
		Series:        p.series,
		FirstRunDelay: o.FirstRunDelay,
		Skipped:       overlaps.Inc,
		Log:           o.Log,
	})
	var err error
	if p.watcher, err = watch.New(o.Config, watch.Options{Namespaces: o.Namespaces, Apply: probes.Apply, Log: o.Log}); err != nil {
		return nil, err
	}
	if p.metrics, err = listen(o.MetricsAddress); err != nil {
		return nil, fmt.Errorf("--metrics-bind-address: %w", err)
	}
	if p.health, err = listen(o.HealthAddress); err != nil {
		if p.metrics != nil {
			p.metrics.Close()
		}
		return nil, fmt.Errorf("--health-probe-bind-address: %w", err)
	}
	return p, nil
}

func listen(address string) (net.Listener, error) {
	if address == "" || address == "0" {
		return nil, nil
	}
	return net.Listen("tcp", address)
}

// Run probes until ctx ends. Visits under way then are called off and counted for
// nothing: they would say that a touchpoint failed when it was us who left.
func (p *prober) Run(ctx context.Context) error {
	// The parts fall together: one that fails takes the others with it.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	start := func(part func() error) {
		parts.Go(func() {
			if err := part(); err != nil {
				cancel(err)
			}
		})
	}
	metrics := http.NewServeMux()
	metrics.Handle("/metrics", p.metricsHandler())
	health := http.NewServeMux()
	health.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	health.HandleFunc("/readyz", p.readyz)
	start(func() error { return p.serve(ctx, "metrics", p.metrics, metrics) })
	start(func() error { return p.serve(ctx, "health", p.health, health) })
	start(func() error { return p.watcher.Run(ctx) })
	start(func() error { p.scheduler.Run(ctx); return nil })

	<-ctx.Done()
	p.log.Info("stopping")
	parts.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (p *prober) serve(ctx context.Context, what string, listener net.Listener, handler http.Handler) error {
	if listener == nil {
		return nil
	}
	p.log.Info("serving "+what, "address", listener.Addr().String())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute}
	closed := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		// A scrape under way may be the last one to see our counters.
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		closed <- server.Shutdown(patience)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", what, err)
	}
	return <-closed
}

// metricsHandler serves text, OpenMetrics and the protobuf format; native
// histograms exist only in the last.
func (p *prober) metricsHandler() http.Handler {
	// The two have no family in common, so they need no merging.
	gather := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		own, err := p.own.Gather()
		if err != nil {
			return nil, err
		}
		probes, err := p.series.Gather()
		return append(own, probes...), err
	})
	return promhttp.HandlerFor(gather, promhttp.HandlerOpts{
		EnableOpenMetrics: true,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelError),
	})
}

func (p *prober) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := p.watcher.Ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
