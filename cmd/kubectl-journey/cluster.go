package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/reach"
	"github.com/sojourn-dev/sojourn/controllers/observe"
)

// clusterFlags are those of commands that use a cluster: as whom, and where series and
// comments come from.
type clusterFlags struct {
	kube          *genericclioptions.ConfigFlags
	options       reach.Options
	tokenFile     string
	allNamespaces bool
}

// addKubeFlags gives a command those that every tool of Kubernetes has, and shows them in its
// help apart from its own: there are two dozen.
func addKubeFlags(c *cobra.Command, kube *genericclioptions.ConfigFlags) {
	addFlagGroups(c, pflag.NewFlagSet("sources", pflag.ContinueOnError), kube)
}

// addClusterFlags gives a command those, and where series and comments come from.
func addClusterFlags(c *cobra.Command) *clusterFlags {
	f := &clusterFlags{kube: genericclioptions.NewConfigFlags(true)}
	from, prometheus := pflag.NewFlagSet("sources", pflag.ContinueOnError), &f.options.Prometheus
	from.StringVar(&prometheus.URL, "prometheus-url", "", "`address` of Prometheus; default: what the ConfigMap sojourn-endpoints names, through the API server")
	addPrometheusAccess(from, prometheus)
	from.StringVar(&f.options.GatewayURL, "gateway-url", "", "`address` of the gateway, for comments; default: what the ConfigMap sojourn-endpoints names, through the API server")
	from.StringVar(&f.tokenFile, "gateway-token-file", "", "`file` with one of the readTokens of a survey source; default: $SOJOURN_GATEWAY_TOKEN")
	from.StringVar(&f.options.Namespace, "sojourn-namespace", "sojourn-system", "`namespace` of the ConfigMap sojourn-endpoints")
	addFlagGroups(c, from, f.kube)
	return f
}

// addPrometheusAccess adds the flags of how a Prometheus is asked, under the manager's names.
func addPrometheusAccess(flags *pflag.FlagSet, prometheus *observe.Options) {
	flags.StringVar(&prometheus.BearerTokenFile, "prometheus-bearer-token-file", "", "`file` with the token for it")
	flags.StringVar(&prometheus.CAFile, "prometheus-ca-file", "", "`file` with the certificates, in PEM, that its own is checked against; default: the system's")
	flags.StringVar(&prometheus.ClientCertFile, "prometheus-client-cert-file", "", "`file` with the certificate to show to it, in PEM")
	flags.StringVar(&prometheus.ClientKeyFile, "prometheus-client-key-file", "", "`file` with that certificate's key, in PEM")
	flags.StringVar(&prometheus.Tenant, "prometheus-tenant", "", "`name` of the tenant, sent as X-Scope-OrgID, for Mimir and the like")
}

func addFlagGroups(c *cobra.Command, sources *pflag.FlagSet, kube *genericclioptions.ConfigFlags) {
	connection := pflag.NewFlagSet("connection", pflag.ContinueOnError)
	kube.AddFlags(connection)
	c.Flags().AddFlagSet(sources)
	c.Flags().AddFlagSet(connection)
	c.SetUsageFunc(func(c *cobra.Command) error { return usage(c, sources, connection) })
}

// addAllNamespaces is for commands that can look at all namespaces.
func (f *clusterFlags) addAllNamespaces(c *cobra.Command) {
	c.Flags().BoolVarP(&f.allNamespaces, "all-namespaces", "A", false, "look at all namespaces")
}

// usage shows the command's own flags first.
func usage(c *cobra.Command, sources, connection *pflag.FlagSet) error {
	own, others := pflag.NewFlagSet("own", pflag.ContinueOnError), pflag.NewFlagSet("others", pflag.ContinueOnError)
	c.LocalFlags().VisitAll(func(flag *pflag.Flag) {
		switch {
		case flag.Name == "namespace" || sources.Lookup(flag.Name) == nil && connection.Lookup(flag.Name) == nil:
			own.AddFlag(flag)
		case connection.Lookup(flag.Name) != nil:
			others.AddFlag(flag)
		}
	})
	out := c.OutOrStderr()
	fmt.Fprintf(out, "Usage:\n  %s\n", c.UseLine())
	if c.HasExample() {
		fmt.Fprintf(out, "\nExamples:\n%s\n", c.Example)
	}
	for _, group := range []struct {
		title string
		flags *pflag.FlagSet
	}{
		{"Flags", own}, {"Where series and comments come from", sources}, {"Which cluster, and as whom", others},
	} {
		if group.flags.HasAvailableFlags() {
			fmt.Fprintf(out, "\n%s:\n%s", group.title, group.flags.FlagUsagesWrapped(100))
		}
	}
	return nil
}

// connect prepares to reach the cluster. The namespace is empty for all.
func (f *clusterFlags) connect() (cluster *reach.Cluster, namespace string, err error) {
	if err := f.options.Prometheus.Validate(); err != nil {
		return nil, "", err
	}
	f.options.GatewayToken = os.Getenv("SOJOURN_GATEWAY_TOKEN")
	if f.tokenFile != "" {
		text, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, "", fmt.Errorf("--gateway-token-file: %w", err)
		}
		f.options.GatewayToken = strings.TrimSpace(string(text))
		if f.options.GatewayToken == "" {
			return nil, "", fmt.Errorf("--gateway-token-file: %s is empty: write one of the readTokens of a survey source into it", f.tokenFile)
		}
	}
	if !f.allNamespaces {
		if namespace, _, err = f.kube.ToRawKubeConfigLoader().Namespace(); err != nil {
			return nil, "", err
		}
	}
	config, err := f.kube.ToRESTConfig()
	if err != nil {
		return nil, "", fmt.Errorf("no cluster is configured: name a kubeconfig by --kubeconfig or $KUBECONFIG: %w", err)
	}
	cluster, err = reach.New(config, f.options)
	return cluster, namespace, err
}

// journeyNamed finds a journey by the name that was typed, with or without its kind.
func journeyNamed(objects *atlas.Objects, namespace, typed string) (atlas.Key, error) {
	kind, name, named := strings.Cut(typed, "/")
	if !named {
		kind, name = "journey", typed
	}
	switch strings.ToLower(kind) {
	case "journey", "journeys", "jrn", "journey.sojourn.dev":
	default:
		return atlas.Key{}, fmt.Errorf("%s is no journey: only journeys are drawn; for others see kubectl journey status %s", typed, typed)
	}
	key := atlas.Key{Namespace: namespace, Name: name}
	if objects.Journeys[key] != nil {
		return key, nil
	}
	var known []string
	for _, other := range objects.Keys() {
		if other.Namespace == namespace {
			known = append(known, other.Name)
		}
	}
	return atlas.Key{}, fmt.Errorf("there is no Journey %s in namespace %s, which has %s; kubectl journey map -A lists those elsewhere",
		name, namespace, cmp.Or(strings.Join(known, ", "), "none"))
}

// completeJourneys lists the journeys of the namespace, for the shell.
func (f *clusterFlags) completeJourneys(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, none
	}
	cluster, namespace, err := f.connect()
	if err != nil {
		return nil, none
	}
	objects, err := cluster.Objects(c.Context(), namespace)
	if err != nil {
		return nil, none
	}
	var names []string
	for _, key := range objects.Keys() {
		names = append(names, key.Name)
	}
	return names, none
}
