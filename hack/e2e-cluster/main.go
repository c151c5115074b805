// Command e2e-cluster installs Sojourn into a real cluster with Pods, as users do, and
// sees that it bears what befalls it there.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sojourn-dev/sojourn/hack/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	keep := flag.Bool("keep", false, "let the cluster run at the end, until Ctrl-C, also after a failure")
	only := flag.Bool("install-only", false, "end, or with -keep stay, as soon as everything is installed")
	flag.Parse()
	err := cluster.Isolate(ctx, prepare, func(ctx context.Context, folder string) error {
		t := &test{folder: folder}
		defer func() { t.Stop() }()
		err := t.run(ctx, *only)
		if err == nil {
			fmt.Printf("all seen in %s\n", time.Since(t.begin).Round(time.Second))
		}
		if *keep && t.Cluster != nil && ctx.Err() == nil {
			if err != nil {
				fmt.Println(err)
			}
			fmt.Printf("Still running, until Ctrl-C. A shell inside:\n  KUBECONFIG=%s nsenter --mount --net --pid --cgroup --target $(pgrep --newest --full -- -keep)\n", t.Kubeconfig())
			<-ctx.Done()
		}
		return err
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
}
