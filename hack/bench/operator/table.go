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

func memory(resident, peak int) string { return fmt.Sprintf("%.0f/%.0f", mib(resident), mib(peak)) }

func pair(times []time.Duration) string {
	return fmt.Sprintf("%d/%d", quantile(times, 0.5).Milliseconds(), quantile(times, 0.99).Milliseconds())
}

// print prints 100 columns at most.
func (t table) print(out io.Writer) {
	fmt.Fprintf(out, "Manager built with %s, %s/%s, %d CPUs, %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly))
	if len(t.platforms) > 0 {
		const header = "%-7s %-9s %6s %8s %8s %6s %6s %8s %8s %9s %9s\n"
		fmt.Fprintln(out)
		fmt.Fprintf(out, header, "touch-", "", "", "objects", "bare", "", "CPU", "writes", "bare", "CPU ms", "MiB rest")
		fmt.Fprintf(out, header, "points", "objects", "s", "/s", "client/s", "share", "share", "/object", "/object", "/object", "/most")
		for _, r := range t.platforms {
			size := float64(r.size())
			fmt.Fprintf(out, "%-7d %-9s %6.1f %8.0f %8.0f %5.0f%% %5.0f%% %8.2f %8.2f %9.2f %9s\n", r.touchpoints(), r.way, r.took.Seconds(),
				size/r.took.Seconds(), size/r.bare.Seconds(), 100*r.share(), 100*r.cpuShare(), r.writes/size, float64(r.fewest)/size,
				r.cpu.Seconds()*1000/size, memory(r.resident, r.peak))
		}
		const settled = "%-7s %8s %7s %7s %9s %12s %12s %12s %12s %8s\n"
		fmt.Fprintln(out)
		fmt.Fprintf(out, settled, "touch-", "restart", "", "CPU", "MiB rest", "at rest", "ms, p50/p99", "under load", "", "others")
		fmt.Fprintf(out, settled, "points", "s", "writes", "s", "/most", "promise", "name", "promise", "name", "/s")
		for _, r := range t.platforms {
			if s := r.settled; s != nil {
				fmt.Fprintf(out, settled, fmt.Sprint(r.touchpoints()), fmt.Sprintf("%.1f", s.restart.Seconds()), fmt.Sprint(s.writes), fmt.Sprintf("%.1f", s.cpu.Seconds()),
					memory(s.resident, s.peak), pair(s.atRest.promises), pair(s.atRest.names), pair(s.underLoad.promises), pair(s.underLoad.names), fmt.Sprintf("%.0f", s.underLoad.load))
			}
		}
	}
	if w := t.wide; w != nil {
		fmt.Fprintf(out, "\nOne ExperienceSLO, 20 objectives, 1,000 touchpoints with names of 63 characters:\n")
		fmt.Fprintf(out, "at rest %.1f s, %.0f writes; %d rule objects of its own; the largest rule object %d KiB; %.0f MiB\n",
			w.installed.took.Seconds(), w.installed.writes, w.objects, w.largest>>10, mib(w.installed.peak))
		fmt.Fprintf(out, "one more: %.1f s, %.0f writes; rewritten: %d of its rule objects, %d of the namespace's, %d statuses of others\n",
			w.oneMore.Seconds(), w.writes, w.rewritten, w.rewrittenShared, w.statuses)
	}
	if o := t.observed; o != nil {
		fmt.Fprintf(out, "\nA Prometheus that holds %d budgets of %d touchpoints in %d series:\n", o.budgets, o.touchpoints(), o.series)
		fmt.Fprintf(out, "from start to rest %.1f s, %.0f writes; then %.0f writes; a round takes %.1f s at most, CPU %.1f s a minute, MiB %s\n",
			o.first.Seconds(), o.writes, o.restWrites, o.round.Seconds(), o.cpu.Seconds(), memory(o.resident, o.peak))
	}
}
