// Gateway takes survey responses over HTTP, stores each durably and exactly once,
// and exposes their totals to Prometheus.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// version is set by the linker for releases; a build from a checkout says its
// commit instead.
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	options := defaultOptions()
	command := &cobra.Command{
		Use:   "gateway",
		Short: "Take survey responses over HTTP, store each exactly once, and show their totals to Prometheus",
		Long: `Gateway takes survey responses (CES, CSAT, NPS) for the Touchpoints of a cluster
at POST /v1/responses, stores each in its database before it answers 202, and
shows the totals at /metrics of its second address. A response that comes twice,
told by its id, is acknowledged twice and counted once.`,
		Example: `  # In a cluster, with a Secret and a volume mounted:
  gateway --token-file /etc/sojourn/tokens --database /var/lib/sojourn/gateway.db

  # On a developer's machine:
  openssl rand -hex 32 > tokens
  gateway --kubeconfig ~/.kube/config --token-file tokens --database ./gateway.db

  # Deliver one response; an array of such objects delivers many:
  curl -i http://localhost:8080/v1/responses \
    -H "Authorization: Bearer $(cat tokens)" -H "Content-Type: application/json" \
    -d '{"id": "2f9c", "namespace": "shop", "touchpoint": "checkout", "instrument": "ces", "score": 6, "comment": "很方便"}'`,
		Version:       currentVersion(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.validate(); err != nil {
				return err
			}
			log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
			slog.SetDefault(log)
			ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
			klog.SetLogger(logr.FromSlogHandler(log.Handler()))
			config, err := ctrl.GetConfig()
			if err != nil {
				return fmt.Errorf("no way to reach an API server: run in a cluster, or name a file with --kubeconfig: %w", err)
			}
			options.config, options.log = config, log
			g, err := start(command.Context(), options)
			if err != nil {
				return err
			}
			return g.wait()
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.listenAddress, "listen-address", options.listenAddress, "address that takes responses")
	flags.StringVar(&options.metricsAddress, "metrics-bind-address", options.metricsAddress, "address of /metrics, /healthz and /readyz")
	flags.StringVar(&options.database, "database", options.database, "path of the SQLite database; its folder must exist, and belong to one gateway alone")
	flags.StringVar(&options.tokenFile, "token-file", "", "file of bearer tokens, one a line, at least 16 characters each; read again when it changes (required)")
	flags.StringSliceVar(&options.namespaces, "namespaces", nil, "namespaces whose Touchpoints are served, separated by commas (default all)")
	flags.StringVar(&options.tlsCertFile, "tls-cert-file", "", "certificate for --listen-address, in PEM; read again when it changes (default: plain HTTP)")
	flags.StringVar(&options.tlsKeyFile, "tls-key-file", "", "key of --tls-cert-file, in PEM")
	// controller-runtime registers the flag with the standard library's set.
	flags.AddGoFlag(flag.Lookup("kubeconfig"))
	flags.Lookup("kubeconfig").Usage = "kubeconfig file; needed only outside of a cluster"
	command.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return errors.Join(err, fmt.Errorf("run %s --help to see what there is", command.CommandPath()))
	})
	return command
}

func currentVersion() string {
	if version != "" {
		return version
	}
	build, known := debug.ReadBuildInfo()
	if !known {
		return "unknown"
	}
	for _, setting := range build.Settings {
		if setting.Key == "vcs.revision" {
			return build.Main.Version + " " + setting.Value
		}
	}
	return build.Main.Version
}
