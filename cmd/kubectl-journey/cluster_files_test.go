package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/files"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/lint"
	"github.com/sojourn-dev/sojourn/controllers/publish"
)

// TestFilesBesideACluster compares what is said of files without a cluster with what a real
// API server says, and files with what is in it.
func TestFilesBesideACluster(t *testing.T) {
	plane, api := cluster(t, "shop", "payments")
	t.Run("admission", func(t *testing.T) { sameRefusals(t, api) })
	t.Run("defaults", func(t *testing.T) { sameDefaults(t, api) })
	t.Run("diff", func(t *testing.T) { diffOfCluster(t, api, plane.Kubeconfig()) })
}

// create has the API server judge an object strictly, and keeps none.
func create(ctx context.Context, api client.Client, fields map[string]any) (*unstructured.Unstructured, error) {
	object := (&unstructured.Unstructured{Object: fields}).DeepCopy()
	return object, api.Create(ctx, object, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

// sameRefusals: each refusal of the API server is an error of lint, in the same words, and
// the other way about.
func sameRefusals(t *testing.T, api client.Client) {
	const file = "testdata/lint/admission.yaml"
	set, err := files.Read([]string{file}, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range set.Documents {
		t.Run(document.Kind()+" "+document.Name(), func(t *testing.T) {
			_, refusal := create(t.Context(), api, document.Fields)
			var status apierrors.APIStatus
			if !errors.As(refusal, &status) {
				t.Fatalf("the API server says: %v", refusal)
			}
			alone := &files.Set{Documents: []*files.Document{document}, Names: []string{file}}
			report, err := lint.Check(t.Context(), alone, lint.Options{Namespace: "default", Form: publish.PrometheusRules})
			if err != nil {
				t.Fatal(err)
			}
			var causes []metav1.StatusCause
			if details := status.Status().Details; details != nil {
				for _, cause := range details.Causes {
					if !strings.Contains(cause.Message, "some validation rules were not checked") {
						causes = append(causes, cause)
					}
				}
			}
			strict := strings.Contains(refusal.Error(), "strict decoding error")
			if !strict && len(causes) != len(report.Findings) {
				t.Errorf("the API server has %d complaints, lint %d:\n%v\n%+v", len(causes), len(report.Findings), refusal, report.Findings)
			}
			for _, finding := range report.Findings {
				switch {
				case finding.Reason == "UnknownField":
					if !strings.Contains(refusal.Error(), `unknown field "`+finding.Field+`"`) {
						t.Errorf("the API server knows the field %s: %v", finding.Field, refusal)
					}
				case !strict && !strings.Contains(refusal.Error(), finding.Message):
					t.Errorf("lint says %q, the API server %v", finding.Message, refusal)
				}
			}
		})
	}
}

// sameDefaults: lint fills in what the API server does.
func sameDefaults(t *testing.T, api client.Client) {
	set, err := files.Read(append([]string{"../../config/samples/shortest.yaml"}, samples...), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]map[string]any{}
	for _, document := range set.Documents {
		object, err := create(t.Context(), api, document.Fields)
		if err != nil {
			t.Fatal(err)
		}
		if _, has := stored[document.Kind()+document.Name()]; !has {
			metadata := object.Object["metadata"].(map[string]any)
			for _, field := range []string{"uid", "generation", "creationTimestamp", "managedFields", "resourceVersion"} {
				delete(metadata, field)
			}
			stored[document.Kind()+document.Name()] = object.Object
		}
	}
	report, err := lint.Check(t.Context(), set, lint.Options{Namespace: "default", Form: publish.PrometheusRules})
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, decision := range report.Decisions {
		if decision.Object == nil {
			continue
		}
		theirs := reflect.New(reflect.TypeOf(decision.Object).Elem()).Interface().(client.Object)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(stored[decision.Source.Kind+decision.Source.Name], theirs); err != nil {
			t.Fatal(err)
		}
		ours, err := json.Marshal(decision.Object)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(theirs)
		if err != nil {
			t.Fatal(err)
		}
		if string(ours) != string(want) {
			t.Errorf("%v:\nlint       %s\nAPI server %s", decision.Source, ours, want)
		}
		compared++
	}
	if compared < 20 {
		t.Errorf("only %d objects were compared", compared)
	}
}

// diffOfCluster: what is in the cluster is compared as a file of the same would be.
func diffOfCluster(t *testing.T, api client.Client, kubeconfig string) {
	set, err := files.Read([]string{"testdata/diff/before"}, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range set.Documents {
		if err := api.Create(t.Context(), &unstructured.Unstructured{Object: document.Fields}); err != nil {
			t.Fatal(err)
		}
	}
	if got := journey(t, "", "diff", "testdata/diff/before", "--kubeconfig", kubeconfig); got.code != 0 || got.out != "" {
		t.Errorf("nothing changed, and yet: exit code %d\n%s%s", got.code, got.out, got.err)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "diff.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if got := journey(t, "", "diff", "testdata/diff/after", "--kubeconfig", kubeconfig); got.code != exitFindings || got.out != string(want) {
		t.Errorf("exit code %d\n%s%s\nof files: %s", got.code, got.out, got.err, want)
	}
	// Only some of the objects: the others stay, and no budget goes with them.
	part := "apiVersion: sojourn.dev/v1alpha1\nkind: Touchpoint\nmetadata: {name: delivery}\nspec: {channel: Mail, survey: {instruments: [{type: CSAT}]}}\n"
	got := journey(t, part, "diff", "-", "--kubeconfig", kubeconfig, "-n", "shop")
	if got.code != 0 || got.out != "" {
		t.Errorf("a touchpoint of which nothing is promised: exit code %d\n%s%s", got.code, got.out, got.err)
	}
	got = journey(t, part, "diff", "-", "--kubeconfig", filepath.Join(t.TempDir(), "none"))
	if got.code != exitTrouble || !strings.Contains(got.err, "kubectl journey: ") {
		t.Errorf("without a cluster: exit code %d\n%s", got.code, got.err)
	}
}
