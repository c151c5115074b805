// Prober measures what probing costs: CPU for each probe, memory, lateness, and the
// size and time of a scrape, with blackbox_exporter beside it on the same targets.
//
// A real API server holds the touchpoints. The prober is the program that users run;
// it is scraped every 30 s, and its whole CPU time is counted: schedule, scrapes,
// watching, garbage collection. blackbox_exporter is Debian's; this program asks it
// for /probe as Prometheus would, at the rate at which the prober probed just before.
// The server that both visit is a process of its own, as is this program: neither's
// CPU time is counted.
//
// Every touchpoint has an address of its own on one server. HTTPS is TLS 1.3 with a
// certificate of ECDSA P-256, which both verify; neither resumes sessions.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

const usage = `Measure what probing costs, beside blackbox_exporter.

  go run ./hack/bench/prober                    1,000 and 10,000 touchpoints, HTTP and HTTPS
  go run ./hack/bench/prober --only '^https'    some of the cases
  go run ./hack/bench/prober --soak 30m         10,000 touchpoints over HTTP for half an
                                                hour: does memory grow?

Flags:
`

type options struct {
	only   string
	window time.Duration
	soak   time.Duration
	serve  string
}

// load is one case.
type load struct {
	scheme      string
	touchpoints int
	interval    time.Duration
}

func (l load) String() string { return fmt.Sprintf("%s-%d", l.scheme, l.touchpoints) }

func (l load) rate() float64 { return float64(l.touchpoints) / l.interval.Seconds() }

// loads: ten thousand at 33 s are 303 probes a second.
var loads = []load{
	{"http", 1_000, 10 * time.Second},
	{"https", 1_000, 10 * time.Second},
	{"http", 10_000, 33 * time.Second},
	{"https", 10_000, 33 * time.Second},
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "run only the cases whose name, such as https-10000, this regular expression matches")
	flag.DurationVar(&o.window, "window", 40*time.Second, "how long to measure the prober in each case; whole intervals at least")
	flag.DurationVar(&o.soak, "soak", 0, "instead, run 10,000 touchpoints over HTTP for so long, and watch the memory")
	flag.StringVar(&o.serve, "serve", "", "internal: be the server that is visited; its files go into this folder")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "prober:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.serve != "" {
		return serve(ctx, o.serve)
	}
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the processes' CPU and memory are read from /proc, which %s lacks", runtime.GOOS)
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	ctrl.SetLogger(logr.Discard())
	b, err := newBench(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	if o.soak > 0 {
		return b.soak(ctx, load{"http", 10_000, 33 * time.Second}, o.soak)
	}
	var rows []row
	for _, l := range loads {
		if !only.MatchString(l.String()) {
			continue
		}
		r, err := b.measure(ctx, l, o.window)
		if err != nil {
			return fmt.Errorf("%s: %w", l, err)
		}
		rows = append(rows, r)
	}
	printTable(os.Stdout, rows)
	return nil
}

// bench is what all cases share.
type bench struct {
	dir      string
	binary   string
	cluster  *localstack.ControlPlane
	server   *server
	blackbox *localstack.Blackbox
}

func newBench(ctx context.Context) (_ *bench, err error) {
	b := &bench{}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.dir, err = os.MkdirTemp("", "sojourn-bench-prober-"); err != nil {
		return nil, err
	}
	b.binary = filepath.Join(b.dir, "prober")
	// As the image holds it.
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.binary, "github.com/sojourn-dev/sojourn/cmd/prober")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the prober: %w\n%s", err, out)
	}
	if b.cluster, err = localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{}); err != nil {
		return nil, err
	}
	crds, err := crdFolder(ctx)
	if err != nil {
		return nil, err
	}
	if err = localstack.InstallCRDs(ctx, b.cluster.RESTConfig(), crds); err != nil {
		return nil, err
	}
	if b.server, err = startServer(b.dir); err != nil {
		return nil, err
	}
	b.blackbox, err = localstack.StartBlackbox(ctx, localstack.BlackboxOptions{
		ConfigYAML: fmt.Sprintf("modules: {visit: {prober: http, timeout: 10s, http: {tls_config: {ca_file: %s}}}}\n", b.server.certificate),
	})
	return b, err
}

func crdFolder(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sojourn-dev/sojourn").Output()
	if err != nil {
		return "", fmt.Errorf("finding config/crd; run inside a checkout of Sojourn: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "config", "crd"), nil
}

func (b *bench) close() {
	b.blackbox.Stop()
	if b.server != nil {
		b.server.stop()
	}
	if b.cluster != nil {
		b.cluster.Stop()
	}
	os.RemoveAll(cmp.Or(b.dir, os.DevNull))
}
