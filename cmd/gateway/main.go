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
	"strings"
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
	limitMemory()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

// limitMemory trades memory for time: little of what a request needs outlives it, and to
// collect four times as seldom lets a quarter more of them through. The limit is what
// keeps the process within the 512 MiB of its manifests all the same.
func limitMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(400 << 20)
	}
}

func newCommand() *cobra.Command {
	options := defaultOptions()
	command := &cobra.Command{
		Use:   "gateway",
		Short: "Take survey responses over HTTP, store each exactly once, and show their totals to Prometheus",
		Long: `Gateway takes survey responses (CES, CSAT, NPS) for the Touchpoints of a cluster:
as JSON at POST /v1/responses, as webhooks of survey tools at /v1/webhooks/, as
CloudEvents at /v1/events, and on pages of its own at /s/. It stores each in its
database before it answers 202, and shows the totals at /metrics of its second
address. A response that comes twice, told by its id, is acknowledged twice and
counted once.

Who may deliver is said by Secrets of type sojourn.dev/survey-source in the
namespaces of --source-namespaces.`,
		Example: `  # In a cluster, with a volume:
  gateway --source-namespaces shop --database /var/lib/sojourn/gateway.db

  # Several gateways at once; the URL comes from the environment:
  SOJOURN_DATABASE=postgres://gateway@db/sojourn gateway --source-namespaces shop

  # On a developer's machine:
  gateway --kubeconfig ~/.kube/config --source-namespaces shop --database ./gateway.db

  # Deliver one response; an array of such objects delivers many:
  kubectl -n shop create secret generic tool --type sojourn.dev/survey-source \
    --from-literal=tokens="$TOKEN"
  curl -i http://localhost:8080/v1/responses \
    -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
    -d '{"id": "2f9c", "touchpoint": "checkout", "instrument": "ces", "score": 6, "comment": "很方便"}'`,
		Version:       currentVersion(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(command *cobra.Command, _ []string) error {
			if database := os.Getenv("SOJOURN_DATABASE"); database != "" {
				options.database = database
			}
			if namespaces := os.Getenv("SOJOURN_SOURCE_NAMESPACES"); namespaces != "" && len(options.sourceNamespaces) == 0 {
				options.sourceNamespaces = strings.Split(namespaces, ",")
			}
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
			if errors.Is(err, context.Canceled) {
				return nil // it was asked to stop before its database was there
			}
			if err != nil {
				return err
			}
			return g.wait()
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.listenAddress, "listen-address", options.listenAddress, "address that takes responses")
	flags.StringVar(&options.metricsAddress, "metrics-bind-address", options.metricsAddress, "address of /metrics, /healthz and /readyz")
	flags.BoolVar(&options.metricsSecure, "metrics-secure", false, "serve --metrics-bind-address over TLS, and /metrics only to those whom the API server lets get /metrics")
	flags.StringVar(&options.database, "database", options.database, "path of the SQLite database, whose folder must exist and belong to one gateway alone; or the URL of a PostgreSQL database, which several may share. A URL with a password belongs into the variable SOJOURN_DATABASE, which takes precedence")
	flags.StringSliceVar(&options.namespaces, "namespaces", nil, "namespaces whose Touchpoints are served, separated by commas (default all)")
	flags.StringSliceVar(&options.sourceNamespaces, "source-namespaces", nil, "namespaces whose Secrets of type sojourn.dev/survey-source say who may deliver, separated by commas; the gateway needs the right to list and watch Secrets there (default: those of the variable SOJOURN_SOURCE_NAMESPACES, else none, which leaves the survey pages)")
	flags.StringSliceVar(&options.trustedProxies, "trusted-proxies", nil, "networks of reverse proxies, such as 10.0.0.0/8, separated by commas, whose X-Forwarded-For tells customers' addresses for the rate limit of survey pages (default none)")
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
