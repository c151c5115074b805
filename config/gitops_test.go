package config_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// repository is the sample of a repository that Flux or Argo CD reads.
const repository = "gitops"

// TestGitOpsRepository: each folder of the sample repository is built, and whatever one file
// says of another is there. An API server looks at the objects in TestInstall, and at those of
// Flux and Argo CD in TestGitOpsSchemas.
func TestGitOpsRepository(t *testing.T) {
	built := 0
	err := filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" {
			return err
		}
		if folder := filepath.ToSlash(filepath.Dir(path)); folder != repository+"/platform/promises" { // a component
			built++
			if len(render(t, folder)) == 0 {
				t.Errorf("%s has no objects", folder)
			}
		}
		return nil
	})
	if err != nil || built < 6 {
		t.Fatalf("%d folders, error %v", built, err)
	}
	is := func(path, who string) {
		t.Helper()
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s names %s, which is not there", who, path)
		}
	}
	field := func(object *unstructured.Unstructured, path ...string) string {
		value, _, _ := unstructured.NestedString(object.Object, path...)
		return value
	}

	flux, steps := render(t, repository+"/clusters/production/flux"), map[string]bool{}
	for _, object := range flux {
		steps[object.GetName()] = true
	}
	for _, object := range flux {
		name := object.GetName()
		path := filepath.Join(repository, field(object, "spec", "path"))
		is(filepath.Join(path, "kustomization.yaml"), name)
		for _, applied := range render(t, filepath.ToSlash(path)) {
			if namespace := field(object, "spec", "targetNamespace"); namespace != "" && applied.GetNamespace() != namespace {
				t.Errorf("%s: %s %s is in namespace %q, and Flux would move it to %s", path, applied.GetKind(), applied.GetName(), applied.GetNamespace(), namespace)
			}
		}
		before, _, _ := unstructured.NestedSlice(object.Object, "spec", "dependsOn")
		for _, each := range before {
			if other := each.(map[string]any)["name"].(string); !steps[other] {
				t.Errorf("%s depends on %s, which is no step", name, other)
			}
		}
		if wait, _, _ := unstructured.NestedBool(object.Object, "spec", "wait"); !wait {
			t.Errorf("%s does not wait, so that nothing can depend on it", name)
		}
	}
	for _, object := range render(t, repository+"/clusters/production/argocd") {
		if object.GetKind() != "Application" {
			continue
		}
		sources, _, _ := unstructured.NestedSlice(object.Object, "spec", "sources")
		if one, found, _ := unstructured.NestedMap(object.Object, "spec", "source"); found {
			sources = append(sources, one)
		}
		for _, each := range sources {
			source := &unstructured.Unstructured{Object: each.(map[string]any)}
			switch path := field(source, "path"); {
			case strings.HasPrefix(path, "charts/"):
				is(filepath.Join("..", path, "Chart.yaml"), object.GetName())
			case path != "":
				is(filepath.Join(repository, path, "kustomization.yaml"), object.GetName())
			}
			values, _, _ := unstructured.NestedStringSlice(source.Object, "helm", "valueFiles")
			for _, file := range values {
				is(filepath.Join(repository, strings.TrimPrefix(file, "$experience/")), object.GetName())
			}
		}
	}
	var values, known map[string]any
	for path, into := range map[string]*map[string]any{repository + "/platform/sojourn/values.yaml": &values, "../charts/sojourn/values.yaml": &known} {
		text, err := os.ReadFile(path)
		if err == nil {
			err = yaml.UnmarshalStrict(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := areValues(values, known, ""); err != nil {
		t.Error(err)
	}
}

// wouldApply has an API server look at the objects of folders.
func wouldApply(t *testing.T, api client.Client, folders ...string) {
	t.Helper()
	for _, folder := range folders {
		objects := render(t, repository+"/"+folder)
		for _, object := range objects {
			err := api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()), client.FieldOwner("gitops"), client.ForceOwnership, client.DryRunAll)
			if err != nil {
				t.Errorf("%s: %s %s: %v", folder, object.GetKind(), object.GetName(), err)
			}
		}
	}
}

// TestGitOpsSchemas has an API server that knows the kinds of Flux and Argo CD look at the
// sample repository: make test-gitops, which names their CRDs.
func TestGitOpsSchemas(t *testing.T) {
	crds := os.Getenv("SOJOURN_GITOPS_CRDS")
	if crds == "" {
		t.Skip("SOJOURN_GITOPS_CRDS names no CRDs: make test-gitops")
	}
	cluster, err := localstack.StartControlPlane(t.Context(), localstack.ControlPlaneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	if err := cluster.InstallCRDs(t.Context(), append(filepath.SplitList(crds), "crd")...); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(cluster.RESTConfig(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"flux-system", "argocd", shopNamespace} {
		if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	wouldApply(t, api, "clusters/production/flux", "clusters/production/argocd", "platform/sojourn", "platform/tenants", "teams/shop/journeys", "teams/shop/promises")
	// It would find what is wrong.
	kinds := map[string]bool{}
	for _, folder := range []string{"clusters/production/flux", "clusters/production/argocd", "platform/sojourn"} {
		for _, object := range render(t, repository+"/"+folder) {
			if kinds[object.GetKind()] || object.GetKind() == "ConfigMap" {
				continue
			}
			kinds[object.GetKind()] = true
			if err := unstructured.SetNestedField(object.Object, "x", "spec", "noSuchField"); err != nil {
				t.Fatal(err)
			}
			if err := api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("gitops"), client.DryRunAll); err == nil {
				t.Errorf("any field of %s is accepted", object.GetKind())
			}
		}
	}
	for _, kind := range []string{"Kustomization", "HelmRelease", "GitRepository", "Application", "AppProject"} {
		if !kinds[kind] {
			t.Errorf("there is no %s", kind)
		}
	}
}

// samplesStay applies config/samples as people and pipelines do, on a cluster where the manager
// runs and writes to them: the second time nothing is applied, and there is no difference.
func samplesStay(t *testing.T, api client.Client, objects []*unstructured.Unstructured, kubeconfig string) {
	t.Helper()
	kubectl, err := localstack.Binary(t.Context(), localstack.KubectlBinary)
	if err != nil {
		t.Fatal(err)
	}
	run := func(arguments ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), kubectl, arguments...)
		command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %v: %v\n%s", arguments, err, out)
		}
		return string(out)
	}
	run("apply", "--server-side", "-k", "samples")
	run("wait", "-n", shopNamespace, "--for=condition=Ready", "journeys,touchpoints,experienceslos", "--all", "--timeout=60s")
	// All but the status and who writes that: the rest tells by its times, too, when it was written.
	described := func() (found []*unstructured.Unstructured) {
		for _, object := range objects {
			lives := live(t, api, object)
			delete(lives.Object, "status")
			lives.SetResourceVersion("")
			lives.SetManagedFields(slices.DeleteFunc(lives.GetManagedFields(), func(of metav1.ManagedFieldsEntry) bool { return of.Subresource == "status" }))
			found = append(found, lives)
		}
		return found
	}
	before := described()
	if out := run("diff", "--server-side", "-k", "samples"); out != "" { // ends with 1 if there is a difference
		t.Errorf("kubectl diff says\n%s", out)
	}
	run("apply", "--server-side", "-k", "samples")
	if after := described(); !reflect.DeepEqual(before, after) {
		t.Errorf("applied again, objects were written:\n%v\n%v", before, after)
	}
}
