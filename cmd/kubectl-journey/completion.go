package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/metadata"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// completionPatience is how long somebody who pressed Tab waits for a cluster.
const completionPatience = 2 * time.Second

// completeNames completes the first argument with the names of what a resource has in the
// namespace that the command line means, after a prefix such as "journey/". Whoever may not
// list them, or has no cluster, sees nothing.
func completeNames(kube *genericclioptions.ConfigFlags, resource, prefix string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return namesFor(c.Context(), kube, resource, prefix, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeKindNames completes journey/NAME and xslo/NAME.
func completeKindNames(kube *genericclioptions.ConfigFlags) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		kind, _, chosen := strings.Cut(typed, "/")
		if len(args) > 0 || chosen && gateKinds[kind] == "" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if !chosen {
			return []string{"journey/", "xslo/"}, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
		}
		return namesFor(c.Context(), kube, gateKinds[kind], kind+"/", typed), cobra.ShellCompDirectiveNoFileComp
	}
}

func namesFor(ctx context.Context, kube *genericclioptions.ConfigFlags, resource, prefix, typed string) []string {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	namespace, _, err := kube.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil
	}
	config, err := kube.ToRESTConfig()
	if err != nil {
		return nil
	}
	config.Timeout = completionPatience
	config.WarningHandler = nil
	// Names suffice, so only metadata is asked for.
	asked, err := metadata.NewForConfig(config)
	if err != nil {
		return nil
	}
	group := schema.GroupVersionResource{Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: resource}
	listed, err := asked.Resource(group).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 500})
	if err != nil {
		return nil
	}
	var names []string
	for i := range listed.Items {
		if name := prefix + listed.Items[i].Name; strings.HasPrefix(name, typed) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
