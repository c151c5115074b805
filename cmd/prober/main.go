// Command prober visits touchpoints as customers would, at the intervals that the
// Touchpoints ask for, and shows Prometheus what it met.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sojourn-dev/sojourn/cmd/internal/process"
)

// version is set by the linker of release builds.
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if os.Getenv("GOGC") == "" {
		// Nearly all memory is what touchpoints hold for as long as they exist. To
		// collect already at two fifths as much garbage saves a third of the heap. To
		// collect at a half takes 4 % of the CPU time of HTTP visits, 11 % of that of HTTPS.
		debug.SetGCPercent(40)
	}
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "prober:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var (
		options    = options{Version: process.Version(version)}
		kubeconfig string
		logLevel   = slog.LevelInfo
		logFormat  string
	)
	c := &cobra.Command{
		Use:   "prober",
		Short: "Visits touchpoints as customers would and shows Prometheus what it met",
		Long: `prober watches Touchpoints, runs the probe of each at its interval, and serves
what came of it as Prometheus series. Every latency that an ExperienceSLO promises
for a touchpoint is an exact bucket edge of that touchpoint's histogram.

Probers of the same location share its touchpoints: each keeps a Lease, and takes
over what a lost one has probed. While the API server cannot be reached, a prober goes
on probing the touchpoints it knows, shared as they were last. Proxy variables of the
environment are not used for probes.`,
		Example: `  # In a cluster: everything has a default.
  prober

  # From a workstation, two namespaces, runs at once instead of after two scrapes.
  prober --kubeconfig ~/.kube/config --namespaces shop,checkout --first-run-delay 0s \
    --metrics-bind-address 127.0.0.1:9090 --health-probe-bind-address 127.0.0.1:9091

  # One of several places from which customers come: it probes the touchpoints that
  # name it in spec.probe.locations.
  prober --location eu-west`,
		Args:          cobra.NoArgs,
		Version:       options.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := process.Log(c.ErrOrStderr(), logFormat, logLevel)
			if err != nil {
				return err
			}
			options.Log = log
			if options.Name == "" {
				if options.Name, err = os.Hostname(); err != nil {
					return fmt.Errorf("--name is not given, and this machine does not know its own: %w", err)
				}
			}
			if options.Config, err = process.RESTConfig(kubeconfig); err != nil {
				return err
			}
			p, err := newProber(options)
			if err != nil {
				return err
			}
			return p.Run(c.Context())
		},
	}
	flags := c.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig `file`; default: $KUBECONFIG, else the Pod's service account, else ~/.kube/config")
	flags.StringSliceVar(&options.Namespaces, "namespaces", nil, "namespaces to watch, separated by commas; default: all")
	flags.StringVar(&options.Location, "location", "default", "where this prober stands: it probes the touchpoints that name this location, or name none if it is default; the label location of its series")
	flags.StringVar(&options.Name, "name", "", "what tells this prober from the others of its location; default: the host's name, in a cluster the Pod's")
	flags.StringVar(&options.LeaseNamespace, "lease-namespace", podNamespace(), "`namespace` of the Leases by which the probers of a location share its touchpoints; default: the Pod's; empty, as outside a cluster: this prober probes all of them")
	flags.IntVar(&options.MaxConcurrent, "max-concurrent", 1024, "how many visits may go on at once; a visit that waits a whole interval is an outcome of error")
	flags.IntVar(&options.MaxConcurrentPerHost, "max-concurrent-per-host", 256, "how many visits of the same host and port may go on at once; 0: no limit besides --max-concurrent")
	flags.DurationVar(&options.FirstRunDelay, "first-run-delay", 2*time.Minute, "how long a new touchpoint's first visit waits at most for its series to be scraped twice at zero, without which Prometheus would not see it; 0s: not at all")
	flags.DurationVar(&options.Linger, "linger", time.Minute, "how long, when told to end, to go on serving metrics at most until they have been scraped twice; 0s: not at all")
	flags.Var(&prefixes{&options.Guard.Allow}, "allow-cidrs", "`ranges` of addresses that probes may connect to although they are loopback, link-local, of a metadata service or in --deny-cidrs, separated by commas; default: none")
	flags.Var(&prefixes{&options.Guard.Deny}, "deny-cidrs", "further `ranges` of addresses that probes may not connect to, such as that of the API server; default: none")
	flags.BoolVar(&options.AllowUnverifiedTLS, "allow-unverified-tls", false, "let Touchpoints ask for TLS without verification of the certificate")
	flags.StringSliceVar(&options.ValuesNamespaces, "values-namespaces", nil, "`namespaces` in which probes may take values from Secrets and ConfigMaps, namely those with the label sojourn.dev/probe=true; the prober needs the right to list and watch both there; default: none")
	flags.StringVar(&options.MetricsAddress, "metrics-bind-address", ":8080", "`address` that serves /metrics; 0: none")
	flags.BoolVar(&options.MetricsSecure, "metrics-secure", false, "serve /metrics over TLS, and only to those whom the API server lets get /metrics")
	flags.StringVar(&options.HealthAddress, "health-probe-bind-address", ":8081", "`address` that serves /healthz and /readyz; 0: none")
	flags.StringVar(&options.DebugAddress, "debug-bind-address", "0", "`address` that serves /touchpoints/<namespace>/<name>, the last ten visits, over TLS, to those who may get touchpoints/runs there; 0: none")
	flags.TextVar(&logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.StringVar(&logFormat, "log-format", "json", "json or text")
	return c
}

// podNamespace is where this process runs as a Pod; empty if it does not.
func podNamespace() string {
	text, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// prefixes is a flag of address ranges.
type prefixes struct{ to *[]netip.Prefix }

// String writes the ranges as they are given.
func (p *prefixes) String() string {
	if p.to == nil {
		return ""
	}
	texts := make([]string, len(*p.to))
	for i, prefix := range *p.to {
		texts[i] = prefix.String()
	}
	return strings.Join(texts, ",")
}

// Set adds ranges.
func (p *prefixes) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			return fmt.Errorf("%q is no range of addresses: write 10.0.0.0/8 or 2001:db8::/32", part)
		}
		*p.to = append(*p.to, prefix.Masked())
	}
	return nil
}

// Type names the flag's type in its help.
func (p *prefixes) Type() string { return "ranges" }
