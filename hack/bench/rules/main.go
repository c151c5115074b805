// Rules measures what rule files cost a Prometheus: rules, evaluations, samples read,
// CPU time and memory, for each SLO and minute.
//
// It is Prometheus's own storage, query engine and rule groups in fast motion. Storage
// lies on disk in the blocks that a Prometheus of that age would have, with the last
// hour and a half in the head. Every group is evaluated at its own interval, results
// and alert states are written back, and the CPU time of the process is taken around
// that and nothing else: neither scrapes nor loading are in it, garbage collection is.
//
// Without arguments it compares Sojourn's rules with those of Sloth and Pyrra for the
// same promises, side by side in one run: one half of the SLOs promises availability
// (99.9 %) over a team's own request counters, the other latency (99 % within 300 ms)
// over its classic histogram, over 30 days, with pages and tickets. Two further shapes
// are Sojourn's own: probes and surveys, and one SLO over a thousand touchpoints.
// Everything that Sojourn makes is included: labels, bounds, coverage, absence.
//
// Sloth's rules come from its own generator, pinned in hack/bench/peers. Pyrra's are
// written out here in the form that its generator gives them (see pyrra.go); real
// output of it, or any other rule file, goes in by --rules.
//
// How 30 days are loaded in seconds: the rules' own selectors say how far back each
// series is read, and no series is loaded further. Counters are scraped every 30 s.
// Recorded series are first computed by the rules over two hours, and what they
// recorded in the second of these is repeated back in time as far as something reads
// it, at the interval at which it is recorded. Values are thus right in kind and the
// number of samples is exact; nothing burns, so that alerts stay quiet, as they mostly
// do.
//
// Each case runs in a process of its own, one after the other.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const usage = `Measure what rule files cost a Prometheus.

  go run ./hack/bench/rules                     all built-in cases, side by side
  go run ./hack/bench/rules --only '^metrics .* (1|20)$'
                                                some of them
  go run ./hack/bench/rules --only '^metrics Sojourn 100$' --by-rule
                                                and which rules cost how much
  go run ./hack/bench/rules --rules slos.yaml --slos 100
                                                a rule file of your own; the counters that
                                                it reads are made up from its selectors
  go run ./hack/bench/rules --keep /tmp/rules   keep the rule files of the cases
  go run ./hack/bench/rules --rules mine.yaml --slos 100 --shape metrics
                                                your rules over a built-in case's counters

Flags:
`

// options are the command line.
type options struct {
	rules   string
	slos    int
	shape   string
	only    string
	keep    string
	byRule  bool
	profile string
	minutes int
	cpu     time.Duration
	job     string
}

func main() {
	var o options
	flag.StringVar(&o.rules, "rules", "", "measure this rule `file` (groups, as Prometheus loads them) instead of the built-in cases")
	flag.IntVar(&o.slos, "slos", 1, "how many SLOs the rule file is for")
	flag.StringVar(&o.shape, "shape", "", "load the counters of this built-in `shape` instead of making them up from the rule file's selectors: "+strings.Join(shapeNames(), ", "))
	flag.StringVar(&o.only, "only", "", "run only the built-in cases whose \"shape generator SLOs\" match this `regexp`")
	flag.StringVar(&o.keep, "keep", "", "`folder` to keep the generated rule files in")
	flag.BoolVar(&o.byRule, "by-rule", false, "print what each rule costs")
	flag.StringVar(&o.profile, "profile", "", "write a CPU profile of the evaluations to this `file`; of the last case if there are several")
	flag.IntVar(&o.minutes, "minutes", 60, "simulated minutes at most for each case; at least one cycle of all group intervals")
	flag.DurationVar(&o.cpu, "cpu", 6*time.Second, "stop a case after the cycle in which it has used this much CPU time")
	flag.StringVar(&o.job, "job", "", "internal: run one case, told as JSON")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "rules:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: rule files go in by --rules", flag.Arg(0))
	}
	if o.job != "" {
		return work(ctx, o.job)
	}
	dir := o.keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "sojourn-bench-rules-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cases, err := chosen(o)
	if err != nil {
		return err
	}
	var rows []row
	var failed []error
	for _, c := range cases {
		progress("%s: making rules", c)
		file := o.rules
		if c.generate != nil {
			file = filepath.Join(dir, c.fileName())
			text, err := c.generate(ctx, c.slos)
			if err != nil {
				progress("%s: left out: %v", c, err)
				failed = append(failed, fmt.Errorf("%s: %w", c, err))
				rows = append(rows, row{benchCase: c, leftOut: err})
				continue
			}
			if err := os.WriteFile(file, text, 0o644); err != nil {
				return err
			}
		}
		result, err := inChild(ctx, job{
			Case: c.String(), File: file, Shape: c.shape, SLOs: c.slos,
			Minutes: o.minutes, CPU: o.cpu, ByRule: o.byRule, Profile: o.profile,
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			progress("%s: left out: %v", c, err)
			failed = append(failed, fmt.Errorf("%s: %w", c, err))
		}
		rows = append(rows, row{benchCase: c, result: result, leftOut: err})
	}
	printTable(os.Stdout, rows)
	if o.byRule {
		for _, r := range rows {
			printByRule(os.Stdout, r)
		}
	}
	if o.rules == "" && o.only == "" {
		failed = append(failed, measureGeneration(os.Stdout))
	}
	return errors.Join(failed...)
}

// benchCase is one line of the table.
type benchCase struct {
	shape, generator string
	slos             int
	generate         func(ctx context.Context, slos int) ([]byte, error)
}

func (c benchCase) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %d", c.shape, c.generator, c.slos))
}

func (c benchCase) fileName() string {
	return strings.ToLower(strings.NewReplacer(" ", "-", ",", "").Replace(c.String())) + ".yaml"
}

func chosen(o options) ([]benchCase, error) {
	if o.shape != "" {
		if _, known := shapes[o.shape]; !known {
			return nil, fmt.Errorf("--shape %q: there are %s", o.shape, strings.Join(shapeNames(), ", "))
		}
	}
	if o.rules != "" {
		if o.slos < 1 {
			return nil, errors.New("--slos must be at least 1")
		}
		return []benchCase{{shape: o.shape, generator: filepath.Base(o.rules), slos: o.slos}}, nil
	}
	pattern, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("--only: %w", err)
	}
	var cases []benchCase
	for _, c := range builtIn() {
		if pattern.MatchString(c.String()) {
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("--only %q matches none of the cases", o.only)
	}
	return cases, nil
}

func builtIn() []benchCase {
	var cases []benchCase
	for _, slos := range []int{1, 20, 100, 1000} {
		cases = append(cases, benchCase{shapeMetrics, "Sojourn", slos, sojournRules(shapeMetrics)})
		if slos <= 100 {
			cases = append(cases,
				benchCase{shapeMetrics, "Sloth", slos, slothRules},
				benchCase{shapeMetrics, "Pyrra", slos, pyrraRules(false)},
				benchCase{shapeMetrics, "Pyrra, fast", slos, pyrraRules(true)})
		}
	}
	cases = append(cases, benchCase{shapeSpread, "Sojourn", 100, sojournRules(shapeSpread)})
	for _, slos := range []int{1, 20, 100, 1000} {
		cases = append(cases, benchCase{shapeProbes, "Sojourn", slos, sojournRules(shapeProbes)})
	}
	return append(cases, benchCase{shapeWide, "Sojourn", 1, sojournRules(shapeWide)})
}

// job is what a child process is asked to do.
type job struct {
	Case    string        `json:"case"`
	File    string        `json:"file"`
	Shape   string        `json:"shape"`
	SLOs    int           `json:"slos"`
	Minutes int           `json:"minutes"`
	CPU     time.Duration `json:"cpu"`
	ByRule  bool          `json:"byRule"`
	Profile string        `json:"profile"`
}

// inChild measures in a process of its own, so that no case sees the memory of another.
func inChild(ctx context.Context, j job) (result, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return result{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	var out bytes.Buffer
	child := exec.CommandContext(ctx, self, "--job", string(text))
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) } // lets it clean up
	child.Stdout, child.Stderr = &out, os.Stderr
	if err := child.Run(); err != nil {
		return result{}, err
	}
	var r result
	return r, json.Unmarshal(out.Bytes(), &r)
}

// work is the child's side of inChild.
func work(ctx context.Context, text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	r, err := measure(ctx, j)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

var started = time.Now()

func progress(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, arguments...))
}
