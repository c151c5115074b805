package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/intake"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/link"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/postgres"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/series"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sqlite"
	"github.com/sojourn-dev/sojourn/cmd/internal/process"
	"github.com/sojourn-dev/sojourn/cmd/internal/signin"
)

type options struct {
	listenAddress  string
	metricsAddress string
	// metricsSecure asks the API server who may get /metrics.
	metricsSecure bool
	database      string
	namespaces    []string
	// sourceNamespaces are where Secrets of sources lie.
	sourceNamespaces []string
	// trustedProxies are networks whose X-Forwarded-For is believed.
	trustedProxies []string
	tlsCertFile    string
	tlsKeyFile     string

	config *rest.Config
	log    *slog.Logger
	// now is the clock. Default: time.Now.
	now func() time.Time
	// drainTime is how long requests in flight may take when the gateway stops.
	drainTime time.Duration
}

func defaultOptions() options {
	return options{
		listenAddress:  ":8080",
		metricsAddress: ":9464",
		database:       "/var/lib/sojourn/gateway.db",
		now:            time.Now,
		drainTime:      20 * time.Second,
	}
}

func (o options) validate() error {
	if (o.tlsCertFile == "") != (o.tlsKeyFile == "") {
		return errors.New("--tls-cert-file and --tls-key-file belong together: set both or neither")
	}
	return nil
}

// gateway is a running gateway.
type gateway struct {
	// responsesAddress and metricsAddress are where it listens, ports filled in.
	responsesAddress, metricsAddress string

	options     options
	ledger      *ledger.Ledger
	touchpoints *touchpoints
	secrets     *secrets
	limits      *link.Limits
	stopping    atomic.Bool
	group       *errgroup.Group
	// closed is why the database is not open yet, nil once it is.
	closed atomic.Pointer[error]
	// metrics shows the series once the database is open.
	metrics       atomic.Pointer[http.Handler]
	metricsServer *http.Server
}

// start opens the database, loads its counters, and only then takes responses and shows
// series: no scrape ever sees totals that are not there yet. For a database that is away it
// waits, not ready; it does not wait for the API server. The gateway runs until ctx ends;
// wait tells how it went.
func start(ctx context.Context, o options) (*gateway, error) {
	limits, err := link.NewLimits(o.trustedProxies)
	if err != nil {
		return nil, err
	}
	g := &gateway{options: o, limits: limits}
	if g.touchpoints, err = watchTouchpoints(ctx, o.config, o.namespaces, o.log); err != nil {
		return nil, err
	}
	if g.secrets, err = watchSecrets(ctx, o.config, o.sourceNamespaces, o.log); err != nil {
		return nil, err
	}
	g.group, ctx = errgroup.WithContext(ctx)
	if err := g.listenMetrics(); err != nil {
		return nil, err
	}
	store, err := g.awaitStore(ctx)
	if err != nil {
		return nil, errors.Join(err, g.metricsServer.Close())
	}
	if g.ledger, err = ledger.Open(ctx, store, ledger.Options{Log: o.log}); err != nil {
		return nil, errors.Join(err, g.metricsServer.Close())
	}
	if err := g.listen(ctx); err != nil {
		return nil, errors.Join(err, g.ledger.Close(), g.metricsServer.Close())
	}
	return g, nil
}

// openStore opens PostgreSQL where the database is a URL, else SQLite.
func openStore(ctx context.Context, database string) (ledger.Store, error) {
	if postgres.IsURL(database) {
		return postgres.Open(ctx, database)
	}
	return sqlite.Open(ctx, database)
}

// awaitStore opens the database, and waits for one that is away: ending would have the
// gateway started over and over, later and later each time.
func (g *gateway) awaitStore(ctx context.Context) (ledger.Store, error) {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		store, err := openStore(ctx, g.options.database)
		if !errors.Is(err, postgres.ErrAway) {
			return store, err
		}
		g.closed.Store(&err)
		g.options.log.Warn("the database is not open; trying again", "error", err, "seconds", wait.Seconds())
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// listenMetrics opens the address that tells how the gateway is.
func (g *gateway) listenMetrics() error {
	closed := errors.New("the database is being opened")
	g.closed.Store(&closed)
	paths := http.NewServeMux()
	paths.HandleFunc("/healthz", g.healthz)
	paths.HandleFunc("/readyz", g.readyz)
	var metrics http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if metrics := g.metrics.Load(); metrics != nil {
			(*metrics).ServeHTTP(w, r)
			return
		}
		http.Error(w, "there are no totals to show: "+(*g.closed.Load()).Error(), http.StatusServiceUnavailable)
	})
	if g.options.metricsSecure {
		reviewer, err := signin.New(g.options.config)
		if err != nil {
			return err
		}
		metrics = reviewer.Metrics(metrics, g.options.log)
	}
	paths.Handle("/metrics", metrics)
	listener, err := net.Listen("tcp", g.options.metricsAddress)
	if err != nil {
		return fmt.Errorf("--metrics-bind-address: %w", err)
	}
	g.metricsAddress = listener.Addr().String()
	if g.options.metricsSecure {
		encrypted, err := process.Encrypt(listener)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		listener = encrypted
	}
	g.metricsServer = g.server(paths)
	g.group.Go(func() error { return serve(g.metricsServer, listener) })
	return nil
}

// listen opens the front door and starts everything that runs beside it.
func (g *gateway) listen(ctx context.Context) error {
	door := &intake.Intake{
		Sources:      &g.secrets.Sources,
		SourcesReady: g.secrets.Ready,
		Ready:        g.touchpoints.Ready,
		Touchpoint:   g.touchpoints.Get,
		Touchpoints:  g.touchpoints.All,
		Submit:       g.ledger.Submit,
		Ledger:       g.ledger,
		Now:          g.options.now,
		Log:          g.options.log,
	}
	pages := &link.Pages{
		Ready:      g.touchpoints.Ready,
		Touchpoint: g.touchpoints.Get,
		Submit:     g.ledger.Submit,
		Reject:     door.Reject,
		Limits:     g.limits,
		Now:        g.options.now,
		Log:        g.options.log,
	}
	registry, err := g.registry(door)
	if err != nil {
		return err
	}
	tlsConfig, certificates, err := g.tls()
	if err != nil {
		return err
	}
	responsesListener, err := net.Listen("tcp", g.options.listenAddress)
	if err != nil {
		return fmt.Errorf("--listen-address: %w", err)
	}
	g.responsesAddress = responsesListener.Addr().String()
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry})
	g.metrics.Store(&metrics)
	g.closed.Store(nil)

	responsesServer := g.server(door.Handler(pages.Handler()))
	responsesServer.TLSConfig = tlsConfig
	g.group.Go(func() error { return serve(responsesServer, responsesListener) })
	g.group.Go(func() error { return g.touchpoints.Start(ctx) })
	g.group.Go(func() error { return g.secrets.Start(ctx) })
	g.group.Go(func() error {
		g.retain(ctx)
		return nil
	})
	if certificates != nil {
		g.group.Go(func() error { return certificates.Start(ctx) })
	}
	g.group.Go(func() error {
		<-ctx.Done()
		return g.stop(responsesServer)
	})
	g.options.log.Info("gateway started", "responses", g.responsesAddress, "metrics", g.metricsAddress,
		"database", g.databaseName(), "version", currentVersion())
	return nil
}

// retain erases what is older than touchpoints keep it, once touchpoints are known.
func (g *gateway) retain(ctx context.Context) {
	for g.touchpoints.Ready() != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
	g.ledger.Retain(ctx, func(namespace, name string) (time.Duration, bool) {
		touchpoint, exists := g.touchpoints.Get(namespace, name)
		if !exists || touchpoint.Spec.Survey == nil || touchpoint.Spec.Survey.Retention == "" {
			return 0, false
		}
		keep, err := touchpoint.Spec.Survey.Retention.Value()
		return keep, err == nil
	}, g.options.now)
}

// databaseName is the database without its password.
func (g *gateway) databaseName() string {
	if postgres.IsURL(g.options.database) {
		return "PostgreSQL"
	}
	return g.options.database
}

// wait returns when the gateway has stopped, nil if it was asked to.
func (g *gateway) wait() error { return g.group.Wait() }

// stop lets requests in flight finish, then stores what they left, then closes
// the database. Metrics answer to the last.
func (g *gateway) stop(responses *http.Server) error {
	g.stopping.Store(true)
	g.options.log.Info("gateway stopping")
	ctx, cancel := context.WithTimeout(context.Background(), g.options.drainTime)
	defer cancel()
	if err := responses.Shutdown(ctx); err != nil {
		// Somebody trickles a body in. Nothing of theirs was acknowledged.
		_ = responses.Close()
	}
	err := g.ledger.Close()
	return errors.Join(err, g.metricsServer.Close())
}

func (g *gateway) registry(door *intake.Intake) (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	for _, collector := range []prometheus.Collector{
		series.NewResponses(g.ledger, g.touchpoints.All, g.options.log),
		process.BuildInfo("gateway", currentVersion()),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return registry, door.Register(registry)
}

// server returns a server that no slow client can occupy for long.
func (g *gateway) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      45 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(g.options.log.Handler(), slog.LevelDebug),
	}
}

func (g *gateway) tls() (*tls.Config, *certwatcher.CertWatcher, error) {
	if g.options.tlsCertFile == "" {
		return nil, nil, nil
	}
	certificates, err := certwatcher.New(g.options.tlsCertFile, g.options.tlsKeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("--tls-cert-file, --tls-key-file: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificates.GetCertificate}, certificates, nil
}

func serve(server *http.Server, listener net.Listener) error {
	var err error
	if server.TLSConfig != nil {
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// healthz answers as long as the process can: no restart mends a disk or an API
// server.
func (g *gateway) healthz(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "ok")
}

// readyz says whether a response sent now would be stored.
func (g *gateway) readyz(w http.ResponseWriter, _ *http.Request) {
	var err error
	if closed := g.closed.Load(); closed != nil {
		err = *closed
	} else if err = errors.Join(g.touchpoints.Ready(), g.secrets.Ready(), g.ledger.Healthy()); g.stopping.Load() {
		err = errors.New("the gateway is stopping")
	}
	if err != nil {
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
