package controllers_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/go-logr/logr"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

const systemNamespace = "sojourn-system"

// cluster is the control plane of all tests here, and api the access of an
// administrator to it.
var (
	cluster *localstack.ControlPlane
	api     client.Client
)

func TestMain(m *testing.M) {
	logger := logr.Discard()
	if os.Getenv("SOJOURN_TEST_LOG") != "" {
		logger = logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	if os.Getenv(managerProcess) != "" {
		if err := runManagerProcess(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if cluster, err = localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{
		ControllerManager: true, AuditLog: true,
	}); err != nil {
		return 0, err
	}
	defer cluster.Stop()
	if api, err = prepare(ctx, cluster); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// prepare installs on a control plane what a manager needs, and returns an administrator's
// access to it.
func prepare(ctx context.Context, plane *localstack.ControlPlane) (client.Client, error) {
	if err := plane.InstallCRDs(ctx, "../config/crd"); err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(monitoringv1.AddToScheme(scheme))
	utilruntime.Must(apiextensionsv1.AddToScheme(scheme))
	access, err := client.New(plane.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	// The managers of these tests have the rights of the manager, and no more.
	files, err := filepath.Glob("../config/rbac/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, file := range append([]string{"../config/manager/namespace.yaml"}, files...) {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := applyText(ctx, access, string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return access, nil
}

// applyText applies every object of a YAML text that is one of Kubernetes'.
func applyText(ctx context.Context, access client.Client, text string) error {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		object := &unstructured.Unstructured{}
		if err := utilyaml.Unmarshal(document, &object.Object); err != nil {
			return err
		}
		if object.GetKind() == "" || object.GetKind() == "Kustomization" {
			continue
		}
		if err := access.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("test"), client.ForceOwnership); err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

// apply applies objects to a namespace.
func apply(t *testing.T, namespace, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "NAMESPACE", namespace)
	if err := applyText(t.Context(), api, text); err != nil {
		t.Fatal(err)
	}
}

// newNamespace makes a namespace for a test. It stays: what one test leaves behind is
// what the manager of the next one finds at its start.
func newNamespace(t *testing.T, name string, labels map[string]string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if err := api.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return name
}

// testManager is a manager that runs in this process with a manager's rights.
type testManager struct {
	plane     *localstack.ControlPlane
	userAgent string
	cancel    context.CancelFunc
	done      chan struct{}
	err       error

	// read is how much of the audit log was read, and written what was found there.
	read    int64
	written []string
}

var managers atomic.Int32

// startManager runs a manager until the test ends or stop is called.
func startManager(t *testing.T, change ...func(*controllers.Options)) *testManager {
	t.Helper()
	return startManagerOf(t, cluster, nil, change...)
}

// managerOptions are those of managers in tests.
func managerOptions() controllers.Options {
	return controllers.Options{
		RulesNamespace: systemNamespace, ConfigMapLabels: map[string]string{"prometheus_rule": "1"},
		MetricsBindAddress: "0", HealthProbeBindAddress: "0", Logger: ctrl.Log,
	}
}

// asManager has the rights of a manager.
func asManager(config *rest.Config) {
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + systemNamespace + ":sojourn-manager",
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + systemNamespace, "system:authenticated"},
	}
}

// startManagerOf runs a manager on a control plane. What it says to the API server, and
// hears, passes through a fault, if there is one.
func startManagerOf(t *testing.T, plane *localstack.ControlPlane, fault func(http.RoundTripper) http.RoundTripper, change ...func(*controllers.Options)) *testManager {
	t.Helper()
	options := managerOptions()
	for _, change := range change {
		change(&options)
	}
	config := plane.RESTConfig()
	asManager(config)
	if fault != nil {
		config.Wrap(fault)
	}
	config.UserAgent = fmt.Sprintf("sojourn-manager-under-test-%d.", managers.Add(1))
	ctx, cancel := context.WithCancel(context.Background())
	m := &testManager{plane: plane, userAgent: config.UserAgent, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		m.err = controllers.Run(ctx, config, options)
	}()
	t.Cleanup(func() { m.stop(t) })
	return m
}

func (m *testManager) stop(t *testing.T) {
	t.Helper()
	m.cancel()
	select {
	case <-m.done:
		if m.err != nil {
			t.Errorf("the manager ended with: %v", m.err)
		}
	case <-time.After(soon):
		t.Error("the manager does not end")
	}
}

// writes lists what the manager asked the API server to change, Leases and Events
// excepted.
func (m *testManager) writes(t *testing.T) []string {
	t.Helper()
	file, err := os.Open(m.plane.AuditLogPath)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Seek(m.read, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return slices.Clone(m.written) // the rest of the line comes yet
		} else if err != nil {
			t.Fatal(err)
		}
		m.read += int64(len(line))
		if !bytes.Contains(line, []byte(m.userAgent)) {
			continue
		}
		var entry struct {
			Verb, UserAgent, RequestURI string
			ObjectRef                   struct{ Resource string }
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatal(err)
		}
		switch entry.Verb {
		case "create", "update", "patch", "delete", "deletecollection":
		default:
			continue
		}
		switch entry.ObjectRef.Resource {
		case "leases", "events", "selfsubjectaccessreviews":
			continue
		}
		m.written = append(m.written, entry.Verb+" "+entry.RequestURI)
	}
}

// settle waits until the manager has not written for a while.
func (m *testManager) settle(t *testing.T, calm time.Duration) []string {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	writes, since := m.writes(t), time.Now()
	for time.Since(since) < calm {
		if time.Now().After(deadline) {
			t.Fatalf("the manager writes on and on: %v", writes[max(0, len(writes)-10):])
		}
		time.Sleep(100 * time.Millisecond)
		if now := m.writes(t); len(now) != len(writes) {
			writes, since = now, time.Now()
		}
	}
	return writes
}

// soon is within seconds, on a machine that has nothing else to do.
const soon = time.Minute

// eventually waits for a condition.
func eventually(t *testing.T, what string, within time.Duration, condition func(ctx context.Context) error) {
	t.Helper()
	begin := time.Now()
	for {
		err := condition(t.Context())
		if err == nil {
			t.Logf("%s: after %.2f s", what, time.Since(begin).Seconds())
			return
		}
		if time.Since(begin) > within {
			t.Fatalf("not within %v: %s: %v", within, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

var kindInstalled sync.Mutex

// prometheusRules makes the API server know the kind PrometheusRule, or not.
func prometheusRules(t *testing.T, wanted bool) {
	t.Helper()
	kindInstalled.Lock()
	defer kindInstalled.Unlock()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	err := api.Get(t.Context(), client.ObjectKey{Name: "prometheusrules.monitoring.coreos.com"}, crd)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	installed := err == nil
	switch {
	case wanted && !installed:
		files, err := localstack.PrometheusOperatorCRDs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := cluster.InstallCRDs(t.Context(), files...); err != nil {
			t.Fatal(err)
		}
	case !wanted && installed:
		if err := api.Delete(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the kind PrometheusRule is gone", soon, func(ctx context.Context) error {
			err := api.List(ctx, &monitoringv1.PrometheusRuleList{})
			if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
				return nil
			}
			return fmt.Errorf("listing says: %v", err)
		})
	}
}

// isReady wants an object Ready=True, and current as tools see it.
func isReady(kind, namespace, name string) func(context.Context) error {
	return hasReadiness(kind, namespace, name, metav1.ConditionTrue, "", status.CurrentStatus)
}

// hasReadiness wants a status and reason of Ready, and what the library by which
// GitOps tools wait makes of the object. An empty reason is any.
func hasReadiness(kind, namespace, name string, ready metav1.ConditionStatus, reason string, current status.Status) func(context.Context) error {
	return func(ctx context.Context) error {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
		if err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
			return err
		}
		condition, err := readyOf(object)
		if err != nil {
			return err
		}
		if condition.Status != ready || (reason != "" && condition.Reason != reason) || condition.ObservedGeneration != object.GetGeneration() {
			return fmt.Errorf("%s %s has %+v at generation %d", kind, name, condition, object.GetGeneration())
		}
		computed, err := status.Compute(object)
		if err != nil {
			return err
		}
		if computed.Status != current {
			return fmt.Errorf("%s %s is %s to kstatus: %s", kind, name, computed.Status, computed.Message)
		}
		return nil
	}
}

func readyOf(object *unstructured.Unstructured) (*metav1.Condition, error) {
	var typed struct {
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &typed); err != nil {
		return nil, err
	}
	condition := meta.FindStatusCondition(typed.Status.Conditions, v1alpha1.ConditionReady)
	if condition == nil {
		return nil, fmt.Errorf("%s %s has no condition Ready", object.GetKind(), object.GetName())
	}
	return condition, nil
}

// message returns the message of Ready.
func message(t *testing.T, kind, namespace, name string) string {
	t.Helper()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		t.Fatal(err)
	}
	condition, err := readyOf(object)
	if err != nil {
		t.Fatal(err)
	}
	return condition.Message
}

func exists(object client.Object, namespace, name string) func(context.Context) error {
	return func(ctx context.Context) error {
		return api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
	}
}

func absent(object client.Object, namespace, name string) func(context.Context) error {
	return func(ctx context.Context) error {
		err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(fmt.Errorf("%s is there", name), err)
	}
}
