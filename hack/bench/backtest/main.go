// Command backtest measures how long kubectl journey backtest takes for a journey with ten
// touchpoints and twenty budgets, and how much memory: it gives a real Prometheus a made-up
// past and runs the tool on it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/sojourn-dev/sojourn/hack/history"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

const (
	touchpoints = 10
	scrape      = 30 * time.Second
)

func main() {
	days := flag.Int("days", 30, "how many days to look back")
	tool := flag.String("tool", "", "the kubectl-journey to measure; default: it is built")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *days, *tool); err != nil {
		fmt.Fprintln(os.Stderr, "backtest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, days int, tool string) error {
	dir, err := os.MkdirTemp("", "sojourn-bench-backtest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if tool == "" {
		tool = filepath.Join(dir, "kubectl-journey")
		build := exec.CommandContext(ctx, "go", "build", "-o", tool, "./cmd/kubectl-journey")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return err
		}
	}
	end := time.Now().Truncate(time.Minute)
	storage := filepath.Join(dir, "data")
	// Alerts look back for a week, and begin to be looked at a day early.
	if err := makePast(ctx, storage, end.AddDate(0, 0, -days-9), end); err != nil {
		return err
	}
	prometheus, err := localstack.StartPrometheus(ctx, localstack.PrometheusOptions{StorageDir: storage, ExtraFlags: []string{"--storage.tsdb.retention.time=400d"}})
	if err != nil {
		return err
	}
	defer prometheus.Stop()
	files := filepath.Join(dir, "journey.yaml")
	if err := os.WriteFile(files, objects(), 0o644); err != nil {
		return err
	}
	fmt.Printf("%-12s %8s %10s %8s %8s %8s %6s %8s\n", "samples by", "days", "samples", "wall s", "CPU s", "peak MiB", "pages", "tickets")
	for _, way := range []string{"remote read", "queries"} {
		command := exec.CommandContext(ctx, tool, "backtest", files, "--prometheus-url", prometheus.URL, "--since", strconv.Itoa(days)+"d", "--until", end.UTC().Format(time.RFC3339), "-o", "json")
		command.Stderr = os.Stderr
		if way == "queries" {
			command.Args = append(command.Args, "--no-remote-read")
		}
		var out bytes.Buffer
		command.Stdout = &out
		began := time.Now()
		if err := command.Run(); err != nil {
			return err
		}
		took := time.Since(began)
		var report struct {
			Samples        int64
			Pages, Tickets int
		}
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			return err
		}
		used := command.ProcessState.SysUsage().(*syscall.Rusage)
		cpu := command.ProcessState.UserTime() + command.ProcessState.SystemTime()
		fmt.Printf("%-12s %8d %10d %8.1f %8.1f %8d %6d %8d\n", way, days, report.Samples, took.Seconds(), cpu.Seconds(), used.Maxrss/1024, report.Pages, report.Tickets)
	}
	return nil
}

// objects are ten touchpoints that are probed and surveyed, with two promises each.
func objects() []byte {
	var text bytes.Buffer
	text.WriteString("apiVersion: sojourn.dev/v1alpha1\nkind: Journey\nmetadata: {name: purchase, namespace: shop}\nspec:\n  stages:\n  - name: purchase\n    touchpoints:\n")
	for i := range touchpoints {
		fmt.Fprintf(&text, "    - {name: touchpoint-%d}\n", i)
	}
	text.WriteString(`---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: promises, namespace: shop}
spec:
  targets: {journey: purchase}
  objectives:
  - {name: fast, latency: {threshold: 300ms, target: "99%"}}
  - {name: effort, ces: {easeShare: "80%"}}
`)
	for i := range touchpoints {
		fmt.Fprintf(&text, `---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: touchpoint-%d, namespace: shop}
spec:
  channel: Web
  class: Critical
  probe: {http: {url: "http://shop.shop.svc/%d"}}
  survey: {instruments: [{type: CES}]}
`, i, i)
	}
	return text.Bytes()
}

// makePast writes what prober and two gateways would have exposed: probes twice a minute of
// which some are slow, now and then an outage, and answers of which more are bad at times.
func makePast(ctx context.Context, dir string, start, end time.Time) error {
	h, err := history.Open(start, end)
	if err != nil {
		return err
	}
	defer h.Close()
	for i := range touchpoints {
		name := fmt.Sprintf("touchpoint-%d", i)
		bad := func(at time.Time) bool {
			hour := int(at.Sub(start).Hours())
			return hour%(24*7) >= 40+i && hour%(24*7) < 42+i
		}
		series := func(counter func(at time.Time) float64, pairs ...string) error {
			total := 0.0
			return h.AddSeries(labels.FromStrings(append(pairs, "namespace", "shop", "touchpoint", name)...), scrape, func(at time.Time) float64 {
				total += counter(at)
				return total
			})
		}
		for _, outcome := range []string{"success", "failure", "error"} {
			if err := series(func(at time.Time) float64 {
				if outcome == "failure" && bad(at) || outcome == "success" && !bad(at) {
					return 1
				}
				return 0
			}, "__name__", "sojourn_probe_runs_total", "location", "default", "outcome", outcome); err != nil {
				return err
			}
		}
		for _, le := range []string{"0.1", "0.25", "0.3", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf"} {
			random := rand.New(rand.NewPCG(uint64(i), uint64(len(le))))
			if err := series(func(at time.Time) float64 {
				if bad(at) || random.Float64() < 0.003 {
					return 0
				}
				return 1
			}, "__name__", "sojourn_probe_duration_seconds_bucket", "location", "default", "le", le); err != nil {
				return err
			}
		}
		for _, gateway := range []string{"gateway-0", "gateway-1"} {
			for score := 1; score <= 7; score++ {
				random := rand.New(rand.NewPCG(uint64(i), uint64(score)))
				if err := series(func(at time.Time) float64 {
					share := 0.02
					if score == 6 {
						share = 0.8
					}
					if score == 1 && at.Sub(start).Hours() > float64(24*(12+i)) {
						share = 0.3
					}
					if random.Float64() < share*60/2880 {
						return 1
					}
					return 0
				}, "__name__", "sojourn_survey_responses_total", "instance", gateway, "instrument", "ces", "score", strconv.Itoa(score)); err != nil {
					return err
				}
			}
		}
	}
	return h.Write(ctx, dir)
}
