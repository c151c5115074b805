package main

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas/atlastest"
	"github.com/sojourn-dev/sojourn/controllers/targets"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// shared is the control plane that all tests use, one after another.
var shared struct {
	sync.Once
	plane *localstack.ControlPlane
	err   error
}

// cluster is a control plane with none of Sojourn's objects, and with namespaces.
func cluster(t *testing.T, namespaces ...string) (*localstack.ControlPlane, client.Client) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts an API server")
	}
	shared.Do(func() {
		// Not the test's context: others use it too.
		if shared.plane, shared.err = localstack.StartControlPlane(context.Background(), localstack.ControlPlaneOptions{}); shared.err == nil {
			shared.err = shared.plane.InstallCRDs(context.Background(), "../../config/crd")
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(corev1.AddToScheme(scheme))
	api, err := client.New(shared.plane.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	var all corev1.NamespaceList
	if err := api.List(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, namespace := range all.Items {
		for _, kind := range []client.Object{&v1alpha1.Journey{}, &v1alpha1.Touchpoint{}, &v1alpha1.ExperienceSLO{}} {
			if err := api.DeleteAllOf(t.Context(), kind, client.InNamespace(namespace.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range namespaces {
		if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	return shared.plane, api
}

// populated is a cluster with the sample shop, whose checkout is broken; and a journey of
// which nothing is known, in a namespace of its own.
func populated(t *testing.T) (kubeconfig string) {
	t.Helper()
	plane, api := cluster(t, "shop", "bank", "sojourn-system")
	create := func(object client.Object) {
		t.Helper()
		status := object.DeepCopyObject().(client.Object)
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		status.SetResourceVersion(object.GetResourceVersion())
		if err := api.Status().Update(t.Context(), status); err != nil {
			t.Fatal(err)
		}
	}
	objects := atlastest.Objects()
	shop := atlas.Key{Namespace: "shop", Name: atlastest.Shop}
	for _, reference := range targets.References(objects.Journeys[shop]) {
		create(objects.Touchpoints[atlas.Key{Namespace: reference.Namespace, Name: reference.Name}])
	}
	create(objects.Journeys[shop])
	for _, slo := range objects.ExperienceSLOs {
		create(slo)
	}
	for _, name := range []string{"first", "second"} {
		create(&v1alpha1.Journey{
			ObjectMeta: metav1.ObjectMeta{Namespace: "bank", Name: name},
			Spec:       v1alpha1.JourneySpec{Stages: []v1alpha1.Stage{{Name: "use", Touchpoints: []v1alpha1.TouchpointReference{{Name: "none"}}}}},
		})
	}
	return plane.Kubeconfig()
}

// said is what a command says, and its exit code.
func said(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	out, _, err := run(t, "", args...)
	if err != nil {
		return out + err.Error(), exitCode(err)
	}
	return out, 0
}

func TestCommandsOnACluster(t *testing.T) {
	kubeconfig := populated(t)
	for name, test := range map[string]struct {
		args string
		code int
		want []string
	}{
		"a map":              {"map online-purchase -n shop", 0, []string{"score 52  ✗ breached", "★ Checkout", "There are no trends.", "--prometheus-url"}},
		"by kind":            {"map journey/online-purchase -n shop --width 200", 0, []string{"score 52"}},
		"the only one":       {"map -n shop", 0, []string{"score 52"}},
		"several":            {"map -n bank", 0, []string{"JOURNEY", "first", "second"}},
		"all":                {"map -A", 0, []string{"NAMESPACE", "online-purchase", "second"}},
		"names":              {"map -A -o name", 0, []string{"journey.sojourn.dev/first\njourney.sojourn.dev/second\njourney.sojourn.dev/online-purchase\n"}},
		"as YAML":            {"map -n shop -o yaml", 0, []string{"name: online-purchase\n"}},
		"colour":             {"map -n shop --color always", 0, []string{"\x1b["}},
		"no such":            {"map none -n shop", 2, []string{"no Journey none in namespace shop", "online-purchase"}},
		"no namespace":       {"map -n empty", 2, []string{"no journey in namespace empty"}},
		"another kind":       {"map tp/checkout -n shop", 2, []string{"kubectl journey status tp/checkout"}},
		"another format":     {"map -n shop -o pdf", 2, []string{"-o pdf is not known"}},
		"another colour":     {"map -n shop --color blue", 2, []string{"auto, always or never"}},
		"watch as JSON":      {"map -n shop -o json --watch", 2, []string{"leave -o away"}},
		"a password":         {"map -n shop --prometheus-url http://u:p@x", 2, []string{"--prometheus-bearer-token-file"}},
		"status":             {"status -n shop", 0, []string{"✗ PAGE  Checkout", "describe deployment/payments", "There are no comments."}},
		"status of one":      {"status tp/basket -n shop", 0, []string{"budgets"}},
		"status, exit code":  {"status -n shop --exit-code", 1, []string{"✗ PAGE", "there are problems"}},
		"well, exit code":    {"status xslo/basket -n shop --exit-code", 0, []string{"All is well"}},
		"status of nothing":  {"status tp/none -n shop", 2, []string{"there is no tp/none in namespace shop"}},
		"status of all":      {"status -A", 0, []string{"has not been looked at by any controller"}},
		"status, names":      {"status -n shop -o name", 0, []string{"touchpoint.sojourn.dev/checkout\n"}},
		"status, JSON":       {"status -n shop -o json", 0, []string{`"level": "page"`}},
		"status of a format": {"status -n shop -o svg", 2, []string{"write json, yaml or name"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := said(t, append(strings.Fields(test.args), "--kubeconfig="+kubeconfig)...)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, part := range test.want {
				if !strings.Contains(out, part) {
					t.Errorf("no %q in:\n%s", part, out)
				}
			}
			if strings.Contains(out, "\x1b") && name != "colour" {
				t.Error("there is colour in what is piped")
			}
		})
	}
	t.Run("pages", func(t *testing.T) { typePages(t, kubeconfig) })
	t.Run("as JSON", func(t *testing.T) {
		out, _ := said(t, "map", "online-purchase", "-n", "shop", "-o", "json", "--kubeconfig="+kubeconfig)
		var m atlas.Map
		if err := json.Unmarshal([]byte(out), &m); err != nil || m.Score == nil || *m.Score != 52 {
			t.Errorf("%v %v:\n%s", err, m.Score, out)
		}
	})
}
