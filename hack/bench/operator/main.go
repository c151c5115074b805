// Operator measures what the manager costs on a real API server: how fast it serves what
// is applied, how many writes it takes for that, its CPU time and memory, how soon an edit
// is a rule, and how it starts again. Beside it, a bare client makes the same writes to an
// API server of its own as fast as it can.
//
// The manager is the program that users run, a process of its own, without leader election
// and with metrics. Its own metrics tell how many requests it made. Objects belong to teams
// of ten touchpoints, one ExperienceSLO with two objectives that selects them by a label,
// and one Journey through them. Teams share namespaces, a platform's way.
//
// API server, etcd, manager and this program share the machine, and so the ratio says more
// than the rate.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

const usage = `Measure the manager on a real API server, beside a bare client.

  go run ./hack/bench/operator                    1,000 and 10,000 touchpoints
  go run ./hack/bench/operator --only 10000-there one of the cases, see below
  go run ./hack/bench/operator --manager ./bin/m  another build of the manager

Flags:
`

type options struct {
	only    string
	manager string
	edits   int
	details bool
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "run only the case of this name: 1000-there, 1000-arriving, 10000-there, 10000-arriving, wide, observed")
	flag.StringVar(&o.manager, "manager", "", "program to measure; default: built from this checkout")
	flag.IntVar(&o.edits, "edits", 200, "how many edits to follow to their rules, at rest and under load each")
	flag.BoolVar(&o.details, "details", false, "tell also which requests the manager made")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the manager's CPU and memory are read from /proc, which %s lacks", runtime.GOOS)
	}
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "sojourn-bench-operator-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.manager == "" {
		o.manager = filepath.Join(dir, "manager")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.manager, "github.com/sojourn-dev/sojourn/cmd/manager")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building the manager: %w\n%s", err, out)
		}
	}
	crds, err := crdFolder(ctx)
	if err != nil {
		return err
	}
	b := &bench{options: o, crds: crds}
	wanted := func(name string) bool { return o.only == "" || o.only == name }
	var t table
	for _, p := range []platform{{teams: 100, namespaces: 10}, {teams: 1000, namespaces: 20}} {
		for _, way := range []struct {
			name    string
			measure func(context.Context, platform) (platformRow, error)
		}{{"there", b.measureThere}, {"arriving", b.measureArriving}} {
			if !wanted(fmt.Sprintf("%d-%s", p.touchpoints(), way.name)) {
				continue
			}
			r, err := way.measure(ctx, p)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", p, way.name, err)
			}
			t.platforms = append(t.platforms, r)
		}
	}
	if wanted("wide") {
		if t.wide, err = b.measureWide(ctx); err != nil {
			return fmt.Errorf("wide: %w", err)
		}
	}
	if wanted("observed") {
		if t.observed, err = b.measureObserved(ctx, platform{teams: 1000, namespaces: 20}); err != nil {
			return fmt.Errorf("observed: %w", err)
		}
	}
	t.print(os.Stdout)
	return nil
}

// bench is what all cases share.
type bench struct {
	options
	crds string
}

func (b *bench) say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
}

func crdFolder(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sojourn-dev/sojourn").Output()
	if err != nil {
		return "", fmt.Errorf("finding config/crd; run inside a checkout of Sojourn: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "config", "crd"), nil
}
