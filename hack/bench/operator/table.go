package main

import (
	"fmt"
	"io"
	"runtime"
	"time"
)

type table struct {
	platforms []platformRow
	wide      *wideRow
	observed  *observedRow
}

func mib(bytes int) float64 { return float64(bytes) / (1 << 20) }

// print prints 100 columns at most.
func (t table) print(out io.Writer) {
	fmt.Fprintf(out, "Manager built with %s, %s/%s, %d CPUs, %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly))
	if len(t.platforms) > 0 {
		const header = "%-11s %-9s %7s %9s %9s %6s %8s %8s %9s %9s\n"
		fmt.Fprintln(out)
		fmt.Fprintf(out, header, "", "", "", "objects", "bare", "", "writes", "bare", "CPU ms", "MiB at")
		fmt.Fprintf(out, header, "touchpoints", "objects", "s", "/s", "client/s", "share", "/object", "/object", "/object", "rest/most")
		for _, r := range t.platforms {
			size := float64(r.size())
			row := func(how string, of reached) {
				fmt.Fprintf(out, "%-11d %-9s %7.1f %9.0f %9.0f %5.0f%% %8.2f %8.2f %9.2f %4.0f/%4.0f\n", r.touchpoints(), how, of.took.Seconds(),
					size/of.took.Seconds(), size/of.bare.Seconds(), 100*of.share(), of.writes/size, float64(of.fewest)/size,
					of.cpu.Seconds()*1000/size, mib(of.resident), mib(of.peak))
			}
			row("are there", r.installed)
			row("arrive", r.arriving)
		}
		const second = "%-11s %9s %7s %7s %9s %11s %11s %13s %13s %7s\n"
		fmt.Fprintln(out)
		fmt.Fprintf(out, second, "", "restart s", "writes", "CPU s", "MiB", "promise p50", "/p99 ms", "name p50/p99", "under load", "edits/s")
		for _, r := range t.platforms {
			pair := func(times []time.Duration) string {
				return fmt.Sprintf("%d/%d", quantile(times, 0.5).Milliseconds(), quantile(times, 0.99).Milliseconds())
			}
			fmt.Fprintf(out, "%-11d %9.1f %7.0f %7.1f %4.0f/%4.0f %11s %11s | %s %s (%.0f/s)\n", r.touchpoints(), r.restart.Seconds(), r.restartWrites,
				r.restartCPU.Seconds(), mib(r.restartResident), mib(r.restartPeak), pair(r.atRest.promises), pair(r.atRest.names),
				pair(r.underLoad.promises), pair(r.underLoad.names), r.underLoad.load)
		}
	}
	if w := t.wide; w != nil {
		fmt.Fprintf(out, "\nOne ExperienceSLO, 20 objectives, 1,000 touchpoints with names of 63 characters:\n")
		fmt.Fprintf(out, "at rest %.1f s, %.0f writes; %d rule objects of its own; the largest rule object %d KiB; %.0f MiB\n",
			w.installed.took.Seconds(), w.installed.writes, w.objects, w.largest>>10, mib(w.installed.peak))
		fmt.Fprintf(out, "one more: %.1f s, %.0f writes; rewritten: %d of its rule objects, %d of the namespace's, %d statuses of others\n",
			w.oneMore.Seconds(), w.writes, w.rewritten, w.rewrittenShared, w.statuses)
	}
}
