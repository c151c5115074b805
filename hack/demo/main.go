// Demo shows Sojourn at work on one machine: a real control plane, Prometheus and
// Alertmanager, the operator, a shop with customers, and a checkout that breaks.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sojourn-dev/sojourn/hack/demo/story"
)

func main() {
	// The second Ctrl-C ends us at once; the parts end with us.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	options := story.DefaultOptions()
	flag.BoolVar(&options.Once, "once", false, "end when the alerts have arrived: with 0, or with 1 and a reason if they have not, or others have")
	flag.StringVar(&options.Dir, "dir", "", "`folder` for data and logs, kept afterwards; it must not hold those of an earlier demo (default: a temporary one, removed)")
	flag.Uint64Var(&options.Seed, "seed", options.Seed, "what decides all chance")
	flag.IntVar(&options.Days, "days", options.Days, "days of history to make up")
	flag.DurationVar(&options.Healthy, "healthy", options.Healthy, "how long all must be seen well before the checkout breaks")
	flag.DurationVar(&options.Patience, "patience", options.Patience, "how long the alerts may take")
	flag.Parse()
	if err := story.Run(ctx, story.NewNarrator(os.Stdout), options); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
