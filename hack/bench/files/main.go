// Files measures how long kubectl journey takes for the files of a large organisation: one
// ExperienceSLO and one Touchpoint in each of a thousand files, linted, rendered and
// compared. Sloth, on the same machine, makes its rules of as many promises.
//
// What is measured is the program that users run, from its start to its end, with all that
// it reads and writes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"
)

const usage = `Measure how long kubectl journey takes for many files, beside Sloth.

  go run ./hack/bench/files                1,000 files
  go run ./hack/bench/files --files 5000   more of them
  go run ./hack/bench/files --check        fail if lint or render takes longer than 2 s

Flags:
`

// limit is how long a thousand files may take to lint, and to render, which lints them too.
const limit = 2 * time.Second

func main() {
	files := flag.Int("files", 1000, "how many files, each with one ExperienceSLO and one Touchpoint")
	runs := flag.Int("runs", 5, "how often each command is run; the median counts")
	check := flag.Bool("check", false, "fail if linting or rendering takes longer than 2 s")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *files, *runs, *check); err != nil {
		fmt.Fprintln(os.Stderr, "files:", err)
		os.Exit(1)
	}
}

// row is what one command cost: medians of all runs.
type row struct {
	command   string
	wall, cpu time.Duration
	resident  int64 // most, in bytes
	output    int   // bytes
}

func run(ctx context.Context, files, runs int, check bool) error {
	folder, err := os.MkdirTemp("", "sojourn-bench-files-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	shop, changed := filepath.Join(folder, "shop"), filepath.Join(folder, "changed")
	if err := errors.Join(write(shop, files, "99%"), write(changed, files, "99.5%")); err != nil {
		return err
	}
	journey := filepath.Join(folder, "kubectl-journey")
	if err := build(ctx, journey, "./cmd/kubectl-journey"); err != nil {
		return err
	}
	commands := []struct {
		name string
		args []string
	}{
		{"lint", []string{journey, "lint", shop}},
		{"render", []string{journey, "render", shop}},
		{"render -o rules", []string{journey, "render", shop, "-o", "rules"}},
		{"diff --from", []string{journey, "diff", changed, "--from", shop}},
	}
	sloth, err := slothCommand(ctx, folder, files)
	if err != nil {
		return err
	}
	commands = append(commands, struct {
		name string
		args []string
	}{"sloth generate", sloth})
	var rows []row
	for _, command := range commands {
		measured, err := measure(ctx, command.name, command.args, runs)
		if err != nil {
			return err
		}
		rows = append(rows, measured)
	}
	fmt.Printf("%d files with %d promises; %s, %s/%s, %d CPUs, %s; medians of %d runs\n\n", files, 2*files, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly), runs)
	fmt.Printf("%-16s %9s %8s %10s %11s\n", "command", "seconds", "CPU s", "most MiB", "output MiB")
	for _, r := range rows {
		fmt.Printf("%-16s %9.2f %8.2f %10.0f %11.2f\n", r.command, r.wall.Seconds(), r.cpu.Seconds(), float64(r.resident)/(1<<20), float64(r.output)/(1<<20))
	}
	for _, r := range rows[:2] {
		if check && r.wall > limit {
			return fmt.Errorf("%s takes %v, more than %v", r.command, r.wall, limit)
		}
	}
	return nil
}

// write makes files of one promise of latency and one of ease each, as a team would write
// them.
func write(folder string, files int, target string) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	for i := range files {
		text := fmt.Sprintf(`apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata:
  name: page-%04[1]d
  namespace: shop-%02[2]d
  labels: {shop.example.com/area: area-%02[2]d}
spec:
  displayName: Page %[1]d
  channel: Web
  class: Standard
  owner: {team: team-%02[2]d, runbookURL: "https://runbooks.example.com/page-%04[1]d"}
  survey: {instruments: [{type: CES}]}
  metrics:
    requests:
      total: http_requests_total{service="page-%04[1]d"}
      errors: http_requests_total{service="page-%04[1]d", code=~"5.."}
    latency: {histogram: 'http_request_duration_seconds_bucket{service="page-%04[1]d"}'}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata:
  name: page-%04[1]d
  namespace: shop-%02[2]d
spec:
  displayName: Page %[1]d is quick and easy
  targets:
    touchpoints: [page-%04[1]d]
  objectives:
  - name: speed
    latency: {threshold: 250ms, target: %[3]q}
  - name: effort
    ces: {easeShare: "80%%"}
  alerting:
    labels: {area: area-%02[2]d}
`, i, i%20, target)
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("page-%04d.yaml", i)), []byte(text), 0o666); err != nil {
			return err
		}
	}
	return nil
}

func build(ctx context.Context, program, pkg string, flags ...string) error {
	command := exec.CommandContext(ctx, "go", append(append([]string{"build"}, flags...), "-o", program, pkg)...)
	command.Stderr = os.Stderr
	return command.Run()
}

// slothCommand builds Sloth and writes as many promises for it: two each, of latency and of
// a share of good answers.
func slothCommand(ctx context.Context, folder string, files int) ([]string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOMOD: %w", err)
	}
	module := filepath.Join(filepath.Dir(strings.TrimSpace(string(root))), "hack", "bench", "peers", "go.mod")
	program := filepath.Join(folder, "sloth")
	if err := build(ctx, program, "github.com/slok/sloth/cmd/sloth", "-modfile="+module); err != nil {
		return nil, fmt.Errorf("building Sloth: %w", err)
	}
	var list []any
	for i := range files {
		for name, series := range map[string]string{"speed": "http_request_duration_seconds", "effort": "answers_total"} {
			selector := fmt.Sprintf(`%s{service="page-%04d"`, series, i)
			list = append(list, map[string]any{
				"name": fmt.Sprintf("page-%04d-%s", i, name), "objective": 99,
				"sli": map[string]any{"events": map[string]string{
					"error_query": fmt.Sprintf(`sum(rate(%s, good="no"}[{{.window}}]))`, selector),
					"total_query": fmt.Sprintf(`sum(rate(%s}[{{.window}}]))`, selector),
				}},
				"alerting": map[string]any{
					"name":         "Burn",
					"page_alert":   map[string]any{"labels": map[string]string{"severity": "page"}},
					"ticket_alert": map[string]any{"labels": map[string]string{"severity": "ticket"}},
				},
			})
		}
	}
	text, err := yaml.Marshal(map[string]any{"version": "prometheus/v1", "service": "shop", "slos": list})
	if err != nil {
		return nil, err
	}
	spec := filepath.Join(folder, "sloth.yaml")
	return []string{program, "generate", "-i", spec}, os.WriteFile(spec, text, 0o666)
}

// measure runs a command several times. A diff that finds something exits with 1.
func measure(ctx context.Context, name string, args []string, runs int) (row, error) {
	r := row{command: name}
	var walls, cpus []time.Duration
	for range runs {
		command := exec.CommandContext(ctx, args[0], args[1:]...)
		var complaints strings.Builder
		command.Stderr = &complaints
		begin := time.Now()
		output, err := command.Output()
		walls = append(walls, time.Since(begin))
		if err != nil && !strings.HasPrefix(name, "diff") {
			return r, fmt.Errorf("%s: %w\n%.2000s", name, err, complaints.String())
		}
		r.output = len(output)
		cpus = append(cpus, command.ProcessState.UserTime()+command.ProcessState.SystemTime())
		if usage, is := command.ProcessState.SysUsage().(*syscall.Rusage); is {
			r.resident = max(r.resident, residentBytes(usage))
		}
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	r.wall, r.cpu = walls[len(walls)/2], cpus[len(cpus)/2]
	return r, nil
}

// residentBytes: Linux counts in KiB, macOS in bytes.
func residentBytes(usage *syscall.Rusage) int64 {
	if runtime.GOOS == "linux" {
		return int64(usage.Maxrss) << 10
	}
	return int64(usage.Maxrss)
}
