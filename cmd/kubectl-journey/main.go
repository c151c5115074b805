// Command kubectl-journey is the kubectl plugin for journeys: the map that people look at,
// and the tool that pipelines call.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/cmd/internal/process"
)

// version is set by the linker of release builds.
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	streams := genericclioptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	if err := command(streams).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "kubectl journey:", err)
		os.Exit(exitCode(err))
	}
}

// command is the whole tool. Its name is what people type: kubectl calls its plugins by
// files named kubectl-….
func command(streams genericclioptions.IOStreams) *cobra.Command {
	c := &cobra.Command{
		Use:   "kubectl-journey",
		Short: "Shows customer journeys, and checks, renders and gates them for pipelines",
		Long: `kubectl journey draws customer journeys and says where customers are let down and
why. It checks, renders and compares files without a cluster, and lets pipelines
wait until the budgets allow a release.

With a cluster it uses your kubeconfig and your rights, and nothing else.`,
		Example: `  # What customers meet, from the first stage to the last.
  kubectl journey map online-purchase -n shop

  # The same as a page that follows what happens.
  kubectl journey ui

  # What admission and the controllers would say of files, without a cluster.
  kubectl journey lint shop/*.yaml`,
		Version:       process.Version(version),
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl journey"},
	}
	c.SetIn(streams.In)
	c.SetOut(streams.Out)
	c.SetErr(streams.ErrOut)
	c.AddCommand(mapCommand(streams))
	c.AddCommand(backtestCommand(streams))
	return c
}
