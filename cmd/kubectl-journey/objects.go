package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/reach"
)

// objectsOf loads the objects of files, or, if there are none, those of the namespace in the
// cluster that the flags mean; and says which namespace that is.
func objectsOf(ctx context.Context, kube *genericclioptions.ConfigFlags, in io.Reader, files []string) (*atlas.Objects, string, error) {
	namespace, chosen, err := kube.ToRawKubeConfigLoader().Namespace()
	if len(files) > 0 {
		// Files need no kubeconfig.
		if err != nil || !chosen {
			namespace = ""
		}
		objects, err := objectsInFiles(in, files)
		return objects, namespace, err
	}
	if err != nil {
		return nil, "", err
	}
	config, err := kube.ToRESTConfig()
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

// objectsInFiles reads the three kinds; what else there is, is passed over. A folder means
// its .yaml, .yml and .json files.
func objectsInFiles(in io.Reader, names []string) (*atlas.Objects, error) {
	found := atlas.NewObjects()
	for _, name := range names {
		files := []string{name}
		if folder, err := os.Stat(name); name != "-" && err == nil && folder.IsDir() {
			files = nil
			err := filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
				if extension := filepath.Ext(path); err == nil && !entry.IsDir() && (extension == ".yaml" || extension == ".yml" || extension == ".json") {
					files = append(files, path)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			text, err := readInput(in, file)
			if err != nil {
				return nil, err
			}
			if err := addObjects(found, text); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return found, nil
}

func addObjects(found *atlas.Objects, text string) error {
	// It takes lists apart, too.
	nodes, err := (&kio.ByteReader{Reader: strings.NewReader(text), OmitReaderAnnotations: true}).Read()
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if node.GetApiVersion() != v1alpha1.GroupVersion.String() {
			continue
		}
		object, err := node.String()
		if err != nil {
			return err
		}
		key := atlas.Key{Namespace: node.GetNamespace(), Name: node.GetName()}
		switch node.GetKind() {
		case "Journey":
			found.Journeys[key] = &v1alpha1.Journey{}
			err = yaml.Unmarshal([]byte(object), found.Journeys[key])
		case "Touchpoint":
			found.Touchpoints[key] = &v1alpha1.Touchpoint{}
			err = yaml.Unmarshal([]byte(object), found.Touchpoints[key])
		case "ExperienceSLO":
			found.ExperienceSLOs[key] = &v1alpha1.ExperienceSLO{}
			err = yaml.Unmarshal([]byte(object), found.ExperienceSLOs[key])
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", node.GetKind(), node.GetName(), err)
		}
	}
	return nil
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
