package localstack

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

var widgets = schema.GroupVersionResource{Group: "localstack.test", Version: "v1", Resource: "widgets"}

func newWidget(name string, size int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "localstack.test/v1",
		"kind":       "Widget",
		"metadata":   map[string]any{"name": name},
		"spec":       map[string]any{"size": size},
	}}
}

// TestControlPlane walks through what Sojourn's tests rely on, on one control
// plane because each costs seconds.
func TestControlPlane(t *testing.T) {
	ctx := t.Context()
	cp := startControlPlane(t, ControlPlaneOptions{ControllerManager: true, AuditLog: true})
	client := kubernetes.NewForConfigOrDie(cp.RESTConfig())
	objects := dynamic.NewForConfigOrDie(cp.RESTConfig())

	const namespace = "shop"
	_, err := client.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := cp.InstallCRDs(ctx, "testdata"); err != nil {
		t.Fatal(err)
	}
	t.Logf("CRDs installed after %.1f s", time.Since(begin).Seconds())

	t.Run("admission validates by the CRD's schema", func(t *testing.T) {
		_, err := objects.Resource(widgets).Namespace(namespace).Create(ctx, newWidget("large", 11), metav1.CreateOptions{})
		if !apierrors.IsInvalid(err) {
			t.Errorf("want Invalid, got %v", err)
		}
	})

	t.Run("garbage collection follows owner references", func(t *testing.T) {
		owner, err := objects.Resource(widgets).Namespace(namespace).Create(ctx, newWidget("owner", 1), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: "owned",
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: owner.GetName(), UID: owner.GetUID(),
			}},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// As in real life: an owner lives for a while.
		time.Sleep(time.Second)
		if err := objects.Resource(widgets).Namespace(namespace).Delete(ctx, "owner", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the owned ConfigMap is gone", func(ctx context.Context) error {
			return wantNotFound(client.CoreV1().ConfigMaps(namespace).Get(ctx, "owned", metav1.GetOptions{}))
		})
	})

	t.Run("service account tokens are issued, reviewed and held to RBAC", func(t *testing.T) {
		var token string
		eventually(t, "a token for the default service account", func(ctx context.Context) error {
			request, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "default",
				&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			if err == nil {
				token = request.Status.Token
			}
			return err
		})
		review, err := client.AuthenticationV1().TokenReviews().Create(ctx,
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		const want = "system:serviceaccount:shop:default"
		if !review.Status.Authenticated || review.Status.User.Username != want {
			t.Errorf("want %s authenticated, got %+v", want, review.Status)
		}
		config := rest.AnonymousClientConfig(cp.RESTConfig())
		config.BearerToken = token
		_, err = kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		if !apierrors.IsForbidden(err) {
			t.Errorf("an account without a role lists ConfigMaps: want Forbidden, got %v", err)
		}
	})

	t.Run("the kubeconfig works", func(t *testing.T) {
		config, err := clientcmd.BuildConfigFromFlags("", cp.Kubeconfig())
		if err != nil {
			t.Fatal(err)
		}
		version, err := kubernetes.NewForConfigOrDie(config).Discovery().ServerVersion()
		if err != nil || version.Major != "1" {
			t.Errorf("want version 1.x, got %v, %v", version, err)
		}
	})

	t.Run("the API server restarts with its data", func(t *testing.T) {
		if _, err := objects.Resource(widgets).Namespace(namespace).Create(ctx, newWidget("kept", 2), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		cp.StopAPIServer()
		t.Logf("API server stopped after %.1f s", time.Since(begin).Seconds())
		if _, err := client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{}); err == nil {
			t.Error("a stopped API server answers")
		}
		begin = time.Now()
		if err := cp.StartAPIServer(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("API server back after %.1f s", time.Since(begin).Seconds())
		if _, err := objects.Resource(widgets).Namespace(namespace).Get(ctx, "kept", metav1.GetOptions{}); err != nil {
			t.Errorf("after the restart: %v", err)
		}
	})

	t.Run("the audit log has every write", func(t *testing.T) {
		eventually(t, "the widget's creation is in the audit log", func(context.Context) error {
			data, err := os.ReadFile(cp.AuditLogPath)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(data)) {
				if strings.Contains(line, `"verb":"create"`) && strings.Contains(line, `"resource":"widgets"`) {
					return nil
				}
			}
			return fmt.Errorf("%d bytes without it", len(data))
		})
	})

	t.Run("a namespace is emptied and goes", func(t *testing.T) {
		if err := client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the namespace is gone", func(ctx context.Context) error {
			return wantNotFound(client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{}))
		})
	})

	dir := cp.Dir
	cp.Stop()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("Stop left %s: %v", dir, err)
	}
}

// TestControlPlaneStartError: whoever reads the error has no log to look at any
// more, so it must carry the reason.
func TestControlPlaneStartError(t *testing.T) {
	_, err := StartControlPlane(t.Context(), ControlPlaneOptions{APIServerFlags: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
		t.Errorf("want an error with the API server's own words, got %v", err)
	}
}

func TestInstallCRDsReadErrors(t *testing.T) {
	for _, path := range []string{t.TempDir(), "controlplane_test.go", "testdata/none.yaml"} {
		if crds, err := readCRDs([]string{path}); err == nil {
			t.Errorf("%s: want an error, got %d CRDs", path, len(crds))
		}
	}
}

func wantNotFound(object any, err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("still there, or another error: %w", err)
}
