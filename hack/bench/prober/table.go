package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

func mib(bytes int) float64 { return float64(bytes) / (1 << 20) }

func maximum(values []int) int { return slices.Max(values) }

// printTable prints 100 columns at most.
func printTable(out io.Writer, rows []row) {
	fmt.Fprintf(out, "Prober built with %s, Debian's blackbox_exporter, %s/%s, %d CPUs, %s\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly))
	const header = "%-12s %-9s %8s %9s %6s %8s %9s %11s %9s\n"
	fmt.Fprintf(out, header, "", "", "", "CPU", "", "most", "lateness", "all series", "scrape")
	fmt.Fprintf(out, header, "case", "program", "probes/s", "µs/probe", "ratio", "MiB", "p99", "MiB", "ms")
	for _, r := range rows {
		fmt.Fprintf(out, "%-12s %-9s %8.0f %9.1f %6s %8.1f %9s %11.2f %9.0f\n", r.load, "sojourn", r.rate(),
			r.prober.perProbe(), fmt.Sprintf("1/%.1f", r.blackbox.perProbe()/r.prober.perProbe()),
			mib(r.prober.resident), r.prober.lateness, mib(r.prober.scrape), float64(r.prober.scrapeTime.Milliseconds()))
		fmt.Fprintf(out, "%-12s %-9s %8.0f %9.1f %6s %8.1f %9s %11.2f %9s\n", "", "blackbox", r.rate(),
			r.blackbox.perProbe(), "", mib(r.blackbox.resident), "", mib(r.blackbox.scrape), "")
	}
}
