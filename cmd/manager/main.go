// Command manager turns Journeys, Touchpoints and ExperienceSLOs into Prometheus
// rules, and says on each of them what came of it.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sojourn-dev/sojourn/cmd/internal/process"
	"github.com/sojourn-dev/sojourn/controllers"
)

// version is set by the linker of release builds.
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var (
		options    controllers.Options
		kubeconfig string
		logLevel   = slog.LevelInfo
		logFormat  string
	)
	c := &cobra.Command{
		Use:   "manager",
		Short: "Turns Journeys, Touchpoints and ExperienceSLOs into Prometheus rules",
		Long: `manager watches Journeys, Touchpoints and ExperienceSLOs, and writes what follows
from them as PrometheusRules beside them. Where the kind PrometheusRule is not
installed, it writes the same groups as ConfigMaps into one namespace, for a rules
sidecar; when the kind comes later, it changes over by itself.

Nothing that alerts need depends on the manager being alive.`,
		Example: `  # In a cluster, with a second replica to take over.
  manager --leader-elect

  # Beside a Prometheus that selects rules by a label.
  manager --rule-labels release=kube-prometheus-stack

  # From a workstation, for one team, without other services.
  manager --kubeconfig ~/.kube/config --namespaces shop \
    --metrics-bind-address 0 --health-probe-bind-address 0

  # With a status that tells what customers experience, and which metrics do not fit.
  manager --prometheus-url http://prometheus-operated.monitoring.svc:9090

  # User PromQL may only read series of the object's own namespace.
  manager --enforce-namespace-label namespace`,
		Args:          cobra.NoArgs,
		Version:       process.Version(version),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := process.Log(c.ErrOrStderr(), logFormat, logLevel)
			if err != nil {
				return err
			}
			options.Logger = logr.FromSlogHandler(log.Handler())
			if os.Getenv("GOGC") == "" {
				// Most of the memory is what the cache holds, which stays. Collecting garbage
				// once it is half of that, and not as much again, costs little.
				debug.SetGCPercent(50)
			}
			restConfig, err := process.RESTConfig(kubeconfig)
			if err != nil {
				return err
			}
			// The API server shares itself out fairly; a limit of our own would only
			// slow down a start with many objects.
			restConfig.QPS = -1
			if err := metrics.Registry.Register(process.BuildInfo("manager", process.Version(version))); err != nil {
				return err
			}
			return controllers.Run(c.Context(), restConfig, options)
		},
	}
	flags := c.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig `file`; default: $KUBECONFIG, else the Pod's service account, else ~/.kube/config")
	flags.StringSliceVar(&options.Namespaces, "namespaces", nil, "namespaces to watch, separated by commas; default: all")
	flags.StringVar(&options.EnforceNamespaceLabel, "enforce-namespace-label", "", "`label` that every selector of users' PromQL is made to match with the object's namespace; default: none")
	flags.StringToStringVar(&options.RuleLabels, "rule-labels", nil, "labels for every rule object, for a Prometheus that selects by them, such as release=prometheus")
	flags.StringVar(&options.RulesNamespace, "rules-namespace", ownNamespace(), "`namespace`, which must exist, for rules as ConfigMaps where the kind PrometheusRule is not installed")
	flags.StringToStringVar(&options.ConfigMapLabels, "rules-configmap-label", map[string]string{"prometheus_rule": "1"}, "labels for those ConfigMaps, for the rules sidecar that selects by them")
	flags.StringVar(&options.Prometheus.URL, "prometheus-url", "", "`address` of the Prometheus that evaluates the rules, to be asked what customers experience and whether the metrics that Touchpoints name fit; default: nobody is asked")
	flags.StringVar(&options.Prometheus.BearerTokenFile, "prometheus-bearer-token-file", "", "`file` with the token for it")
	flags.StringVar(&options.Prometheus.CAFile, "prometheus-ca-file", "", "`file` with the certificates, in PEM, that its own is checked against; default: the system's")
	flags.StringVar(&options.Prometheus.ClientCertFile, "prometheus-client-cert-file", "", "`file` with the certificate to show to it, in PEM")
	flags.StringVar(&options.Prometheus.ClientKeyFile, "prometheus-client-key-file", "", "`file` with that certificate's key, in PEM")
	flags.StringVar(&options.Prometheus.Tenant, "prometheus-tenant", "", "`name` of the tenant, sent as X-Scope-OrgID, for Mimir and the like")
	flags.DurationVar(&options.Prometheus.Interval, "observe-interval", 30*time.Second, "`time` from one question to the next, at least 1s")
	flags.BoolVar(&options.Workloads, "watch-workloads", true, "tell how the Deployments, StatefulSets, DaemonSets and Services do that blueprints name; takes the right to watch them and EndpointSlices")
	flags.BoolVar(&options.LeaderElection, "leader-elect", false, "work only while holding the Lease sojourn-manager; for more than one replica")
	flags.StringVar(&options.LeaderElectionNamespace, "leader-elect-namespace", "", "`namespace` of the Lease; default: the Pod's own")
	flags.StringVar(&options.MetricsBindAddress, "metrics-bind-address", ":8443", "`address` that serves /metrics; 0: none")
	flags.BoolVar(&options.MetricsSecure, "metrics-secure", true, "serve metrics over TLS and only to clients that may get the path /metrics")
	flags.StringVar(&options.HealthProbeBindAddress, "health-probe-bind-address", ":8081", "`address` that serves /healthz and /readyz; 0: none")
	flags.TextVar(&logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.StringVar(&logFormat, "log-format", "json", "json or text")
	return c
}

// ownNamespace is the namespace of the Pod this process runs in, or the usual one
// outside of a Pod.
func ownNamespace() string {
	text, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if namespace := strings.TrimSpace(string(text)); err == nil && namespace != "" {
		return namespace
	}
	return "sojourn-system"
}
