// Command localstack gives developers the real parts Sojourn works with: a
// Kubernetes control plane, Prometheus, Alertmanager and a rules sidecar.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

func main() {
	// The second Ctrl-C ends us at once; the kernel then ends the parts.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "localstack:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "localstack",
		Short: "Run a Kubernetes control plane, Prometheus and Alertmanager on this machine",
		Long: `localstack runs the real parts that Sojourn works with, without containers: a
Kubernetes control plane, Prometheus, Alertmanager, and a rules sidecar that
carries PrometheusRules and labelled ConfigMaps from the cluster to Prometheus.

The programs are built from source once, which takes about ten minutes on two
cores, and kept in the user's cache folder. Set KUBEBUILDER_ASSETS to use an
etcd and kube-apiserver that you have.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(buildCommand(), upCommand())
	return root
}

func buildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build [program...]",
		Short: "Build the programs and print where they lie",
		Example: `  # everything that tests need, so that later runs start at once
  go run ./hack/localstack/cmd/localstack build

  # only what checks rule files
  $(go run ./hack/localstack/cmd/localstack build promtool) check rules rules.yaml`,
		ValidArgs: localstack.Names(),
		Args:      cobra.OnlyValidArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 {
				names = localstack.TestNames()
			}
			for _, name := range names {
				path, err := localstack.Binary(cmd.Context(), name)
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			return nil
		},
	}
}

// upOptions are the flags of up.
type upOptions struct {
	dir            string
	crds           []string
	operatorCRDs   bool
	rulesNamespace string
	rulesSelector  string
	scrape         []string
	scrapeInterval time.Duration
}

func upCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start everything, print the addresses, and run until Ctrl-C",
		Example: `  # a cluster with Sojourn's kinds
  go run ./hack/localstack/cmd/localstack up --crds config/crd

  # then, in another terminal, with the path that up prints
  export KUBECONFIG=/tmp/sojourn-stack-123/cluster/kubeconfig
  kubectl apply --server-side -k config/samples

  # scrape a prober and a gateway that run from source
  go run ./hack/localstack/cmd/localstack up --scrape 127.0.0.1:8080,127.0.0.1:8090

  # a cluster that still has its objects after a restart
  go run ./hack/localstack/cmd/localstack up --dir ~/.local/share/sojourn-stack`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return up(cmd.Context(), cmd.OutOrStdout(), o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.dir, "dir", "", "folder for data and logs, kept afterwards (default: a temporary one, removed)")
	flags.StringSliceVar(&o.crds, "crds", nil, "files or folders with CustomResourceDefinitions to install")
	flags.BoolVar(&o.operatorCRDs, "prometheus-rules", true, "install the Prometheus Operator's PrometheusRule kind")
	flags.StringVar(&o.rulesNamespace, "rules-namespace", "", "namespace whose ConfigMaps are read as rule files (default: none are)")
	flags.StringVar(&o.rulesSelector, "rules-selector", "", "label selector of these ConfigMaps (default: all)")
	flags.StringSliceVar(&o.scrape, "scrape", nil, "host:port of targets for Prometheus to scrape")
	flags.DurationVar(&o.scrapeInterval, "scrape-interval", 5*time.Second, "how often to scrape and to evaluate rules")
	return cmd
}

// up starts the stack bottom-up, so that the deferred stops run top-down.
func up(ctx context.Context, out io.Writer, o upOptions) error {
	dir := o.dir
	if dir == "" {
		temporary, err := os.MkdirTemp("", "sojourn-stack-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		dir = temporary
	}
	if err := localstack.BuildAll(ctx); err != nil {
		return err
	}

	cluster, err := localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{
		Dir: dir + "/cluster", ControllerManager: true,
	})
	if err != nil {
		return err
	}
	defer cluster.Stop()
	crds := o.crds
	if o.operatorCRDs {
		files, err := localstack.PrometheusOperatorCRDs(ctx)
		if err != nil {
			return err
		}
		crds = append(crds, files...)
	}
	if len(crds) > 0 {
		if err := cluster.InstallCRDs(ctx, crds...); err != nil {
			return err
		}
	}

	alertmanager, err := localstack.StartAlertmanager(ctx, localstack.AlertmanagerOptions{Dir: dir + "/alertmanager"})
	if err != nil {
		return err
	}
	defer alertmanager.Stop()
	options := localstack.PrometheusOptions{
		Dir:                dir + "/prometheus",
		AlertmanagerURLs:   []string{alertmanager.URL},
		ScrapeInterval:     o.scrapeInterval,
		EvaluationInterval: o.scrapeInterval,
	}
	if len(o.scrape) > 0 {
		options.ScrapeJobs = []localstack.ScrapeJob{{Name: "sojourn", Targets: o.scrape, HonorLabels: true}}
	}
	prometheus, err := localstack.StartPrometheus(ctx, options)
	if err != nil {
		return err
	}
	defer prometheus.Stop()
	sidecar, err := localstack.SyncRules(ctx, cluster.RESTConfig(), prometheus, localstack.RuleSyncOptions{
		ConfigMapNamespace: o.rulesNamespace,
		ConfigMapSelector:  o.rulesSelector,
		PrometheusRules:    true,
		Logger:             slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	defer sidecar.Stop()

	fmt.Fprintf(out, `
Kubernetes    %s
Prometheus    %s
Alertmanager  %s
data, logs    %s

export KUBECONFIG=%s

Running; Ctrl-C stops everything.
`, cluster.URL, prometheus.URL, alertmanager.URL, dir, cluster.Kubeconfig())
	<-ctx.Done()
	fmt.Fprintln(out, "\nStopping.")
	return nil
}
