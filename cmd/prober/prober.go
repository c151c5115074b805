package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"

	"github.com/sojourn-dev/sojourn/cmd/internal/process"
	"github.com/sojourn-dev/sojourn/cmd/internal/signin"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/debug"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/exposition"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/fleet"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/membership"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/report"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/schedule"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/scrape"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/series"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/watch"
)

// options is what the flags say.
type options struct {
	Config               *rest.Config
	Namespaces           []string
	Location             string
	Name                 string
	LeaseNamespace       string
	MaxConcurrent        int
	MaxConcurrentPerHost int
	FirstRunDelay        time.Duration
	Linger               time.Duration
	Guard                probe.Guard
	AllowUnverifiedTLS   bool
	ValuesNamespaces     []string
	MetricsAddress       string
	MetricsSecure        bool
	HealthAddress        string
	DebugAddress         string
	Version              string
	Log                  *slog.Logger
}

// check says what is wrong with the options, by the names of the flags.
func (o *options) check() error {
	switch {
	case o.MaxConcurrent < 1:
		return fmt.Errorf("--max-concurrent %d: at least one visit must be possible", o.MaxConcurrent)
	case o.MaxConcurrentPerHost < 0:
		return fmt.Errorf("--max-concurrent-per-host %d: write 0 for no limit, or more", o.MaxConcurrentPerHost)
	}
	if wrong := validation.IsDNS1123Label(o.Location); len(wrong) > 0 {
		return fmt.Errorf("--location %q: %s", o.Location, strings.Join(wrong, "; "))
	}
	if o.LeaseNamespace == "" {
		return nil
	}
	if wrong := validation.IsDNS1123Subdomain(o.Name); len(wrong) > 0 || len(o.Name) > 128 {
		return fmt.Errorf("--name %q is not usable in the name of a Lease: write at most 128 characters such as prober-0", o.Name)
	}
	return nil
}

// prober is the whole program, its parts joined.
type prober struct {
	options
	watcher   *watch.Watcher
	scheduler *schedule.Scheduler
	series    *series.Set
	fleet     *fleet.Fleet
	scrapes   *scrape.Log
	members   *membership.Membership // nil: this prober is alone
	own       *prometheus.Registry

	reporter *report.Reporter
	pages    http.Handler
	scraped  http.Handler

	metrics, health, debug net.Listener // nil: not served
}

// newProber joins the parts and takes the addresses, so that a mistake in the
// configuration shows before anything runs.
func newProber(o options) (*prober, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &prober{options: o, scrapes: scrape.New(), own: prometheus.NewRegistry()}
	p.series = series.New(o.Location, p.scrapes.Twice)
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
	limits := schedule.Limits{All: o.MaxConcurrent, PerHost: o.MaxConcurrentPerHost}
	p.scheduler = schedule.New(limits, func(late time.Duration) { lag.Observe(series.Seconds(late)) })
	p.own.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		process.BuildInfo("prober", o.Version), skipped, lag,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sojourn_prober_touchpoints",
			Help: "Touchpoints that this prober probes.",
		}, func() float64 { return float64(p.scheduler.Len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sojourn_prober_members",
			Help: "Probers that share the touchpoints of this location, as this one sees it.",
		}, func() float64 {
			if p.members == nil {
				return 1
			}
			return float64(p.members.Members())
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sojourn_prober_inflight_runs",
			Help: "Visits that go on now.",
		}, func() float64 { return float64(p.scheduler.Running()) }),
	)
	role := func(types.UID) membership.Role { return membership.Owner }
	if o.LeaseNamespace != "" {
		leases, err := coordination.NewForConfig(o.Config)
		if err != nil {
			return nil, err
		}
		p.members = membership.New(membership.Options{
			Leases: leases.Leases(o.LeaseNamespace), Location: o.Location, Name: o.Name,
			Changed: func() { p.fleet.Reassign() },
			Log:     o.Log,
		})
		role = func(uid types.UID) membership.Role { return p.members.Role(string(uid)) }
	}
	client := probe.NewClient(probe.Options{
		UserAgent: "sojourn-prober/" + o.Version, Guard: o.Guard, AllowUnverifiedTLS: o.AllowUnverifiedTLS,
	})
	p.fleet = fleet.New(fleet.Options{
		Client:        client,
		Schedule:      p.scheduler,
		Series:        p.series,
		Location:      o.Location,
		Role:          role,
		Shown:         p.scrapes.Twice,
		FirstRunDelay: o.FirstRunDelay,
		Skipped:       overlaps.Inc,
		Report:        func(touchpoint types.NamespacedName, result probe.Result) { p.reporter.Report(touchpoint, result) },
		Forget:        func(touchpoint types.NamespacedName) { p.reporter.Forget(touchpoint) },
		Log:           o.Log,
	})
	var err error
	if p.watcher, err = watch.New(o.Config, watch.Options{
		Namespaces: o.Namespaces, Location: o.Location, ValuesNamespaces: o.ValuesNamespaces, Apply: p.fleet.Apply, Log: o.Log,
	}); err != nil {
		return nil, err
	}
	if p.reporter, err = report.New(o.Config, report.Options{Location: o.Location, Told: p.watcher.Told, Log: o.Log}); err != nil {
		return nil, err
	}
	reviewer, err := signin.New(o.Config)
	if err != nil {
		return nil, err
	}
	p.pages = debug.Handler(debug.Options{
		Reviewer: reviewer,
		Runs:     p.fleet.Runs, DisplayName: p.watcher.DisplayName, Location: o.Location, Log: o.Log,
	})
	p.scraped = p.metricsHandler()
	if o.MetricsSecure {
		// Of its own, so that who tries tokens at the pages keeps no scraper waiting.
		if reviewer, err = signin.New(o.Config); err != nil {
			return nil, err
		}
		p.scraped = reviewer.Metrics(p.scraped, o.Log)
	}
	for _, l := range []struct {
		flag, address string
		encrypted     bool
		to            *net.Listener
	}{
		{"--metrics-bind-address", o.MetricsAddress, o.MetricsSecure, &p.metrics},
		{"--health-probe-bind-address", o.HealthAddress, false, &p.health},
		{"--debug-bind-address", o.DebugAddress, true, &p.debug},
	} {
		if *l.to, err = listen(l.address, l.encrypted); err != nil {
			for _, open := range []net.Listener{p.metrics, p.health} {
				if open != nil {
					open.Close()
				}
			}
			return nil, fmt.Errorf("%s: %w", l.flag, err)
		}
	}
	return p, nil
}

func listen(address string, encrypted bool) (net.Listener, error) {
	if address == "" || address == "0" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil || !encrypted {
		return listener, err
	}
	return process.Encrypt(listener)
}

// Run probes until ctx ends. Visits under way then are called off and counted for
// nothing: they would say that a touchpoint failed when it was us who left.
func (p *prober) Run(ctx context.Context) error {
	// The parts fall together: one that fails takes the others with it.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Probing goes on until others have taken over, and what was counted is still
	// shown when nothing is counted any more.
	probing, stopProbing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopProbing()
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	var watching, visits, pages sync.WaitGroup
	start := func(parts *sync.WaitGroup, part func() error) {
		parts.Go(func() {
			if err := part(); err != nil {
				cancel(err)
			}
		})
	}
	metrics := http.NewServeMux()
	metrics.Handle("/metrics", p.scraped)
	health := http.NewServeMux()
	health.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	health.HandleFunc("/readyz", p.readyz)
	start(&pages, func() error { return p.serve(serving, "metrics", p.metrics, metrics) })
	start(&pages, func() error { return p.serve(serving, "health", p.health, health) })
	start(&pages, func() error { return p.serve(serving, "debug pages", p.debug, p.pages) })
	start(&watching, func() error { return p.reporter.Run(ctx) })
	start(&visits, func() error { p.scheduler.Run(probing); return nil })
	start(&watching, func() error { return p.watcher.Run(ctx) })
	if p.members != nil {
		start(&watching, func() error { p.members.Run(ctx); return nil })
		start(&watching, func() error { p.join(ctx); return nil })
	}

	<-ctx.Done()
	p.Log.Info("stopping")
	watching.Wait()
	stopProbing()
	visits.Wait()
	cause := context.Cause(ctx)
	stopped := errors.Is(cause, context.Canceled)
	if stopped {
		p.linger(time.Now())
	}
	stopServing()
	pages.Wait()
	if !stopped {
		return cause
	}
	return nil
}

// join makes this prober a full member once its series have been shown at zero, so
// that nobody stops probing what it cannot take over yet.
func (p *prober) join(ctx context.Context) {
	// What is read takes a moment to be shown.
	const settled = time.Second
	for shown := (time.Time{}); shown.IsZero() || !p.shown(shown); {
		if shown.IsZero() && p.watcher.Ready() == nil && p.members.Ready() == nil {
			shown = time.Now().Add(settled)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	p.members.Join()
}

// shown tells whether what has been shown since a time was scraped twice, or
// whether it is vain to wait for that any longer.
func (p *prober) shown(since time.Time) bool {
	now := time.Now()
	return now.Sub(since) >= p.FirstRunDelay || p.scrapes.Twice(since, now)
}

// linger goes on serving until the last counts have been scraped twice, if somebody
// scrapes them at all.
func (p *prober) linger(stopped time.Time) {
	for time.Since(stopped) < p.Linger && p.scrapes.Regular(time.Now()) && !p.scrapes.Twice(stopped, time.Now()) {
		time.Sleep(100 * time.Millisecond)
	}
}

func (p *prober) serve(ctx context.Context, what string, listener net.Listener, handler http.Handler) error {
	if listener == nil {
		return nil
	}
	p.Log.Info("serving "+what, "address", listener.Addr().String())
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

// stream tells all families, those of the probes in parts.
func (p *prober) stream(tell func(*dto.MetricFamily) error) error {
	own, err := p.own.Gather()
	if err != nil {
		return err
	}
	for _, family := range own {
		if err := tell(family); err != nil {
			return err
		}
	}
	return p.series.Stream(tell)
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
	protobuf := promhttp.HandlerFor(gather, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(p.Log.Handler(), slog.LevelError),
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...)
		switch kind := format.FormatType(); kind {
		case expfmt.TypeTextPlain, expfmt.TypeOpenMetrics:
			if err := exposition.Answer(w, r, p.stream, kind == expfmt.TypeOpenMetrics); err != nil {
				p.Log.Debug("metrics were not read to the end", "error", err)
				// Half of them must not look whole.
				panic(http.ErrAbortHandler)
			}
		default:
			p.series.Native()
			protobuf.ServeHTTP(w, r)
		}
		if reader, _, err := net.SplitHostPort(r.RemoteAddr); err == nil && r.Context().Err() == nil {
			p.scrapes.Note(reader, began)
			p.fleet.Scraped(began)
		}
	})
}

// readyz: whoever is ready can be relied on. A disruption budget, which asks for nothing
// else, would let the last owner of the touchpoints go before its successor probes them.
func (p *prober) readyz(w http.ResponseWriter, _ *http.Request) {
	err := p.watcher.Ready()
	if err == nil && p.members != nil {
		err = p.members.Ready()
		if err == nil && p.members.Joining() {
			err = fmt.Errorf("others probe until the series of this prober were scraped twice, at most %s", p.FirstRunDelay)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
