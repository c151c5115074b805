package config_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// TestChart has Helm itself install, change and remove a release, where Kubernetes' own
// controllers make Pods of it.
func TestChart(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	helm, err := localstack.Binary(t.Context(), localstack.HelmBinary)
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := localstack.Binary(t.Context(), localstack.KubectlBinary)
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := localstack.StartControlPlane(t.Context(), localstack.ControlPlaneOptions{ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	api, err := client.New(cluster.RESTConfig(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(api.Scheme()); err != nil {
		t.Fatal(err)
	}
	run := func(arguments ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), helm, append(arguments, "--namespace", systemNamespace)...)
		command.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig(), "HOME="+t.TempDir())
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, output)
		}
		return string(output)
	}
	// Pods that fall short of the restricted standard are never created.
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if err := api.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	gateways := func(kind string, number int) {
		t.Helper()
		eventually(t, 60*time.Second, func() error {
			var errs []error
			found := 0
			for _, pod := range podsOf(t, api) {
				if pod.Labels["app.kubernetes.io/component"] != "gateway" {
					continue
				}
				found++
				if owner := metav1.GetControllerOf(&pod); owner.Kind != kind {
					errs = append(errs, fmt.Errorf("%s is of a %s", pod.Name, owner.Kind))
				}
			}
			if found != number {
				errs = append(errs, fmt.Errorf("there are %d gateways, want %d", found, number))
			}
			return errors.Join(errs...)
		})
	}
	answers := &corev1.PersistentVolumeClaim{}
	kept := func() {
		t.Helper()
		key := client.ObjectKey{Namespace: systemNamespace, Name: "data-sojourn-gateway-0"}
		uid := answers.UID
		if err := api.Get(t.Context(), key, answers); err != nil || answers.DeletionTimestamp != nil || uid != "" && answers.UID != uid {
			t.Errorf("the answers so far are gone: %v %v", err, answers.ObjectMeta)
		}
	}

	notes := run("install", "sojourn", "../charts/sojourn")
	gateways("StatefulSet", 1)
	kept()
	// What the notes say next, typed as it stands there.
	begin := strings.Index(notes, "\nkubectl apply")
	if begin < 0 {
		t.Fatalf("the notes do not say what to apply:\n%s", notes)
	}
	next := exec.CommandContext(t.Context(), "bash", "-e")
	next.Stdin = strings.NewReader(strings.ReplaceAll(notes[begin:strings.Index(notes, "\nSee whether")], "kubectl", kubectl) +
		"\n" + kubectl + " get experience -n default -o name\n")
	next.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig())
	if output, err := next.CombinedOutput(); err != nil || strings.Count(string(output), "serverside-applied") != 3 || len(strings.Fields(string(output))) != 9 {
		t.Errorf("%v\n%s", err, output)
	}

	// To PostgreSQL and back: never both kinds, and what was answered stays.
	run("upgrade", "sojourn", "../charts/sojourn", "--reset-then-reuse-values", "--set", "gateway.databaseSecret=database,gateway.replicas=2")
	gateways("ReplicaSet", 2)
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: "sojourn-gateway"}, &appsv1.StatefulSet{}); !apierrors.IsNotFound(err) {
		t.Errorf("the StatefulSet is still there: %v", err)
	}
	kept()
	run("rollback", "sojourn", "1")
	gateways("StatefulSet", 1)
	kept()

	run("uninstall", "sojourn")
	gateways("nothing", 0)
	kept()
	journeys := &v1alpha1.JourneyList{}
	if err := api.List(t.Context(), journeys); err != nil || len(journeys.Items) != 1 {
		t.Errorf("of the kinds and the journey is left: %v %d", err, len(journeys.Items))
	}
}
