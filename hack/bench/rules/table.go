package main

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// row is a case and what came of it.
type row struct {
	benchCase
	result  result
	leftOut error
}

// milliseconds is the CPU time for each SLO and minute.
func (r row) milliseconds() float64 {
	return r.result.CPU.Seconds() * 1000 / r.result.Minutes / float64(r.slos)
}

// printTable prints 100 columns at most.
func printTable(out io.Writer, rows []row) {
	engine := "unknown version"
	if info, ok := debug.ReadBuildInfo(); ok {
		if at := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == "github.com/prometheus/prometheus" }); at >= 0 {
			engine = info.Deps[at].Version
		}
	}
	fmt.Fprintf(out, "Prometheus's engine and storage %s, %s, %s/%s, %s\n", engine, runtime.Version(), runtime.GOOS, runtime.GOARCH, time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(out, "Sloth %s; Pyrra in its %s, \"fast\" being performanceOverAccuracy\n\n", slothVersion, pyrraForm)
	const header = "%-22s %-12s %5s %6s %7s %8s %9s %9s %7s %6s\n"
	fmt.Fprintf(out, header, "", "", "", "", "rules", "evals", "samples", "CPU ms", "peak", "times")
	fmt.Fprintf(out, header, "shape", "rules of", "SLOs", "rules", "/SLO", "/min", "/SLO/min", "/SLO/min", "MiB", "ours")
	for _, r := range rows {
		if r.leftOut != nil {
			fmt.Fprintf(out, "%-22s %-12s %5d left out, see above\n", r.shape, r.generator, r.slos)
			continue
		}
		times := ""
		if ours := slices.IndexFunc(rows, func(o row) bool {
			return o.generator == "Sojourn" && o.shape == r.shape && o.slos == r.slos && o.leftOut == nil
		}); ours >= 0 && r.generator != "Sojourn" {
			times = fmt.Sprintf("%.1f", r.milliseconds()/rows[ours].milliseconds())
		}
		perSLO := func(total float64) float64 { return total / float64(r.slos) }
		fmt.Fprintf(out, "%-22s %-12.12s %5d %6d %7.1f %8.1f %9.0f %9.3f %7.0f %6s\n",
			r.shape, r.generator, r.slos, r.result.Rules, perSLO(float64(r.result.Rules)),
			float64(r.result.Evals)/r.result.Minutes, perSLO(float64(r.result.Samples)/r.result.Minutes),
			r.milliseconds(), float64(r.result.Peak)/(1<<20), times)
	}
	fmt.Fprintln(out)
	for _, r := range rows {
		for _, name := range slices.Sorted(maps.Keys(r.result.Firing)) {
			fmt.Fprintf(out, "%s: %d alerts %s fire, which costs more than silence.\n", r, r.result.Firing[name], name)
		}
	}
}

func printByRule(out io.Writer, r row) {
	if r.leftOut != nil {
		return
	}
	fmt.Fprintf(out, "\n%s: CPU for each SLO and minute, by rule\n", r)
	const header = "%-48s %6s %9s %9s %9s %6s\n"
	fmt.Fprintf(out, header, "rule @interval", "rules", "evals/min", "samples", "CPU us", "%")
	total := time.Duration(0)
	line := func(name string, rules, evals int, samples int64, cpu time.Duration) {
		minutes, slos := r.result.Minutes, float64(r.slos)
		fmt.Fprintf(out, "%-48.48s %6d %9.1f %9.1f %9.2f %6.1f\n", name, rules, float64(evals)/minutes,
			float64(samples)/minutes/slos, cpu.Seconds()*1e6/minutes/slos, 100*cpu.Seconds()/r.result.CPU.Seconds())
	}
	for _, cost := range r.result.ByRule {
		line(cost.Name, cost.Rules, cost.Evals, cost.Samples, cost.CPU)
		total += cost.CPU
	}
	line("(results, alert states, log, garbage)", 0, 0, 0, max(0, r.result.CPU-total))
}
