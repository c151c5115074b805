package localstack

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

var crdResource = schema.GroupVersionResource{
	Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
}

// InstallCRDs applies every CustomResourceDefinition in the files and folders
// named and returns once their kinds are served. Other objects in them are
// passed over, so config/crd may be named as it is.
//
// Garbage collection learns new kinds only every 30 s: tests that wait for it
// use [ControlPlane.InstallCRDs].
func InstallCRDs(ctx context.Context, config *rest.Config, paths ...string) error {
	crds, err := readCRDs(paths)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	discoverer, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	for _, crd := range crds {
		options := metav1.ApplyOptions{FieldManager: "localstack", Force: true}
		if _, err := client.Resource(crdResource).Apply(ctx, crd.GetName(), crd, options); err != nil {
			return fmt.Errorf("applying CRD %s: %w", crd.GetName(), err)
		}
	}
	for _, crd := range crds {
		var missing error
		err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
			missing = served(ctx, client, discoverer, crd)
			return missing == nil, nil
		})
		if err != nil {
			return fmt.Errorf("waiting for CRD %s: %w (%w)", crd.GetName(), missing, err)
		}
	}
	return nil
}

// InstallCRDs installs CRDs as the function does, and makes the controller
// manager aware of them at once, by a restart: left alone, it would collect
// garbage and empty namespaces of the new kinds only half a minute later.
func (cp *ControlPlane) InstallCRDs(ctx context.Context, paths ...string) error {
	if err := InstallCRDs(ctx, cp.config, paths...); err != nil {
		return err
	}
	if cp.controllerManager == nil {
		return nil
	}
	cp.controllerManager.Stop(5 * time.Second)
	return cp.startControllerManager(ctx)
}

// served returns nil once the API server accepts objects of a CRD and lists the
// kind in discovery, from which controllers learn of it.
func served(ctx context.Context, client dynamic.Interface, discoverer *discovery.DiscoveryClient, crd *unstructured.Unstructured) error {
	live, err := client.Resource(crdResource).Get(ctx, crd.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	established := slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == "Established" && condition["status"] == "True"
	})
	if !established {
		return fmt.Errorf("not established: %v", conditions)
	}
	group, _, _ := unstructured.NestedString(live.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(live.Object, "spec", "names", "plural")
	versions, _, _ := unstructured.NestedSlice(live.Object, "spec", "versions")
	for _, v := range versions {
		version, _ := v.(map[string]any)
		if version["served"] != true {
			continue
		}
		if ok, err := resourceServed(ctx, discoverer, schema.GroupVersionResource{
			Group: group, Version: fmt.Sprint(version["name"]), Resource: plural,
		}); err != nil || !ok {
			return errors.Join(fmt.Errorf("%v of %s is not in discovery", version["name"], crd.GetName()), err)
		}
	}
	return nil
}

// resourceServed says whether discovery lists a resource.
func resourceServed(ctx context.Context, discoverer *discovery.DiscoveryClient, resource schema.GroupVersionResource) (bool, error) {
	_, lists, err := discoverer.ServerGroupsAndResourcesWithContext(ctx)
	for _, list := range lists {
		if list.GroupVersion != resource.GroupVersion().String() {
			continue
		}
		for _, r := range list.APIResources {
			if r.Name == resource.Resource {
				return true, nil
			}
		}
	}
	return false, err
}

// readCRDs reads the CRDs in files and, not recursively, in folders.
func readCRDs(paths []string) ([]*unstructured.Unstructured, error) {
	var crds []*unstructured.Unstructured
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return nil, err
		} else if info.IsDir() {
			files = nil
			for _, pattern := range []string{"*.yaml", "*.yml", "*.json"} {
				found, err := filepath.Glob(filepath.Join(path, pattern))
				if err != nil {
					return nil, err
				}
				files = append(files, found...)
			}
		}
		before := len(crds)
		for _, file := range files {
			found, err := readCRDFile(file)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			crds = append(crds, found...)
		}
		if len(crds) == before {
			return nil, fmt.Errorf("%s: no CustomResourceDefinition in it", path)
		}
	}
	return crds, nil
}

func readCRDFile(file string) ([]*unstructured.Unstructured, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var crds []*unstructured.Unstructured
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return crds, nil
		} else if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			return nil, err
		}
		if object.GetKind() == "CustomResourceDefinition" {
			crds = append(crds, object)
		}
	}
}
