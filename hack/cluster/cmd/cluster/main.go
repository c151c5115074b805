// Command cluster runs a Kubernetes cluster of one node, with Pods, on this machine until
// Ctrl-C.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sojourn-dev/sojourn/hack/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := cluster.Isolate(ctx,
		func(ctx context.Context, folder string) error { return cluster.Prepare(ctx, folder) },
		run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, folder string) error {
	c, err := cluster.Start(ctx, folder)
	if err != nil {
		return err
	}
	defer c.Stop()
	fmt.Printf("export KUBECONFIG=%s\nlogs: %s\nRunning; Ctrl-C stops everything.\n", c.Kubeconfig(), c.Folder())
	<-ctx.Done()
	return nil
}
