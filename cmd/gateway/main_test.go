package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sources"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// runGateway makes the test binary be the gateway: tests that kill it need a
// process of its own.
const runGateway = "SOJOURN_TEST_RUN_GATEWAY"

const (
	token         = "a-token-for-tests-only"
	signingSecret = "a-signing-secret-for-tests"
)

var cluster struct {
	once  sync.Once
	plane *localstack.ControlPlane
	err   error
}

func TestMain(m *testing.M) {
	if os.Getenv(runGateway) != "" {
		main()
		return
	}
	ctrl.SetLogger(logr.Discard())
	code := m.Run()
	cluster.plane.Stop()
	os.Exit(code)
}

// controlPlane returns the API server that this package's tests share, with the
// kinds installed.
func controlPlane(t *testing.T) (*localstack.ControlPlane, client.Client) {
	t.Helper()
	cluster.once.Do(func() {
		// Not the test's context: the first use may have to build an API server.
		ctx := context.Background()
		cluster.plane, cluster.err = localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{})
		if cluster.err == nil {
			cluster.err = cluster.plane.InstallCRDs(ctx, filepath.Join("..", "..", "config", "crd"))
		}
	})
	if cluster.err != nil {
		t.Fatal(cluster.err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, eventsv1.AddToScheme, rbacv1.AddToScheme, authenticationv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	kubernetes, err := client.New(cluster.plane.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return cluster.plane, kubernetes
}

func createNamespace(t *testing.T, kubernetes client.Client, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := kubernetes.Create(t.Context(), namespace); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
}

func createTouchpoint(t *testing.T, kubernetes client.Client, namespace, name string, instruments ...v1alpha1.InstrumentType) *v1alpha1.Touchpoint {
	t.Helper()
	createNamespace(t, kubernetes, namespace)
	createSource(t, kubernetes, namespace)
	touchpoint := &v1alpha1.Touchpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.TouchpointSpec{Channel: "Web", Survey: &v1alpha1.Survey{}},
	}
	for _, each := range instruments {
		touchpoint.Spec.Survey.Instruments = append(touchpoint.Spec.Survey.Instruments, v1alpha1.Instrument{Type: each})
	}
	if err := kubernetes.Create(t.Context(), touchpoint); err != nil {
		t.Fatal(err)
	}
	return touchpoint
}

// createSource makes a Secret with this package's token, in a namespace that exists.
func createSource(t *testing.T, kubernetes client.Client, namespace string) {
	t.Helper()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tool"}, Type: sources.SecretType,
		StringData: map[string]string{
			sources.KeyTokens: token, sources.KeyReadTokens: "read-" + token, sources.KeyEraseTokens: "erase-" + token,
			sources.KeySigningSecrets: signingSecret,
		},
	}
	if err := kubernetes.Create(t.Context(), secret); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
}

// post delivers a body and returns status and answer.
func post(ctx context.Context, address, body string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/v1/responses", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	return do(request)
}

func get(ctx context.Context, url string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	return do(request)
}

func do(request *http.Request) (int, string, error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// one is a response as a JSON call.
func one(namespace, id string) string {
	return fmt.Sprintf(`{"id":%q,"namespace":%q,"touchpoint":"checkout","instrument":"ces","score":6}`, id, namespace)
}

func expectAnswer(t *testing.T, g *gateway, body string, status int, want string) {
	t.Helper()
	if got, answer, err := post(t.Context(), g.responsesAddress, body); err != nil || got != status || !strings.Contains(answer, want) {
		t.Errorf("%d %v %s\nwant %d %s", got, err, answer, status, want)
	}
}

func inNamespace(plane *localstack.ControlPlane, namespace, database string) func(*options) {
	return func(o *options) {
		o.config, o.database = plane.RESTConfig(), database
		o.namespaces, o.sourceNamespaces = []string{namespace}, []string{namespace}
	}
}

// scrape returns the response totals of a namespace, as touchpoint/instrument/score.
func scrape(t *testing.T, address, namespace string) map[string]float64 {
	t.Helper()
	status, body, err := get(t.Context(), "http://"+address+"/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("scrape: %d, %v: %s", status, err, body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	totals := map[string]float64{}
	for _, metric := range families["sojourn_survey_responses_total"].GetMetric() {
		labels := map[string]string{}
		for _, label := range metric.Label {
			labels[label.GetName()] = label.GetValue()
		}
		if labels["namespace"] == namespace {
			totals[fmt.Sprintf("%s/%s/%s", labels["touchpoint"], labels["instrument"], labels["score"])] = metric.Counter.GetValue()
		}
	}
	return totals
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func ready(ctx context.Context, metricsAddress string) bool {
	status, _, err := get(ctx, "http://"+metricsAddress+"/readyz")
	return err == nil && status == http.StatusOK
}

func TestRefusesToStart(t *testing.T) {
	for _, test := range []struct {
		arguments []string
		want      string
	}{
		{[]string{"--tls-cert-file", "tls.crt"}, "set both or neither"},
		{[]string{"--trusted-proxies", "10.0.0.1", "--kubeconfig", "testdata/kubeconfig.yaml"}, `--trusted-proxies: "10.0.0.1" is no network: write it as 10.0.0.0/8`},
		{[]string{"--listen"}, "run gateway --help to see what there is"},
		{[]string{"serve"}, `unknown command "serve"`},
	} {
		command := newCommand()
		command.SetArgs(test.arguments)
		if err := command.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: error %v, want %q", test.arguments, err, test.want)
		}
	}
}
