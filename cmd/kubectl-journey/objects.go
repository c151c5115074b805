package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/reach"
	"github.com/sojourn-dev/sojourn/controllers"
)

// objectFlags are those of commands that take objects from files, or else from a cluster.
type objectFlags struct {
	kube  *genericclioptions.ConfigFlags
	files []string
}

func (f *objectFlags) add(c *cobra.Command) {
	addKubeFlags(c, f.kube)
	c.Flags().StringSliceVarP(&f.files, "filename", "f", nil, "files or folders with the objects, - for standard input (default: the cluster is asked)")
}

// load reads the objects of the files, or, if none is named, those of the namespace in the
// cluster; and says which namespace that is, if one is meant.
func (f *objectFlags) load(ctx context.Context, streams genericclioptions.IOStreams) (*atlas.Objects, string, error) {
	namespace, chosen, err := f.kube.ToRawKubeConfigLoader().Namespace()
	if len(f.files) > 0 {
		// Files need no kubeconfig.
		if err != nil || !chosen {
			namespace = ""
		}
		given := fileFlags{namespace: namespace, allowMissing: true, recursive: true, operator: controllers.Options{RulesNamespace: "sojourn-system"}}
		report, err := given.admittedFrom(ctx, streams, f.files)
		if err != nil {
			return nil, "", err
		}
		return inAtlas(report.Objects), namespace, nil
	}
	if err != nil {
		return nil, "", err
	}
	config, err := f.kube.ToRESTConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, "", errors.New("there is no kubeconfig: set KUBECONFIG or --kubeconfig, or name files by -f")
	}
	if err != nil {
		return nil, "", err
	}
	cluster, err := reach.New(config, reach.Options{})
	if err != nil {
		return nil, "", err
	}
	objects, err := cluster.Objects(ctx, namespace)
	return objects, namespace, err
}

// inAtlas sorts objects by their names.
func inAtlas(objects controllers.Objects) *atlas.Objects {
	found := atlas.NewObjects()
	for _, journey := range objects.Journeys {
		found.Journeys[client.ObjectKeyFromObject(journey)] = journey
	}
	for _, touchpoint := range objects.Touchpoints {
		found.Touchpoints[client.ObjectKeyFromObject(touchpoint)] = touchpoint
	}
	for _, slo := range objects.ExperienceSLOs {
		found.ExperienceSLOs[client.ObjectKeyFromObject(slo)] = slo
	}
	found.NamespaceLabels = objects.NamespaceLabels
	return found
}

// named finds the key of an object by name: of the namespace, or, in files, of the only
// namespace that has it.
func named[T any](objects map[atlas.Key]T, kind, namespace, name string) (atlas.Key, error) {
	key := atlas.Key{Namespace: namespace, Name: name}
	if _, ok := objects[key]; ok {
		return key, nil
	}
	if namespace == "" {
		var found []atlas.Key
		for each := range objects {
			if each.Name == name {
				found = append(found, each)
			}
		}
		if len(found) == 1 {
			return found[0], nil
		}
		if len(found) > 1 {
			return key, fmt.Errorf("there are %d of %s %s in the files: say which by --namespace", len(found), kind, name)
		}
		return key, fmt.Errorf("there is no %s %s in the files", kind, name)
	}
	return key, fmt.Errorf("there is no %s %s in namespace %s; kubectl get %s -A lists all", kind, name, namespace, strings.ToLower(kind)+"s")
}
