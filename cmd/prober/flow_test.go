package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
	"github.com/sojourn-dev/sojourn/controllers/flows"
	"github.com/sojourn-dev/sojourn/hack/demo/storefront"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// The sample's flow goes through the demo's shop, and says which step fails.
func TestSampleFlow(t *testing.T) {
	shop, err := storefront.Start(storefront.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer shop.Close()
	text, err := os.ReadFile("../../config/samples/flow.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var touchpoint v1alpha1.Touchpoint
	if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(string(text), "http://shop.shop.svc:8080", shop.URL)), &touchpoint); err != nil {
		t.Fatal(err)
	}
	flow, problems := flows.Compile(touchpoint.Spec.Probe)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	p, err := probe.NewClient(probe.Options{Guard: loopback}).New(flow, nil, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	result := p.Run(t.Context())
	if result.Outcome != probe.OutcomeSuccess || len(result.Steps) != 4 || result.Steps[3].Status != http.StatusNoContent {
		t.Fatalf("%+v", result)
	}
	if err := shop.SetMode("checkout", storefront.Down); err != nil {
		t.Fatal(err)
	}
	result = p.Run(t.Context())
	if result.Outcome != probe.OutcomeFailure || result.FailedStep != "checkout" || result.Reason != probe.ReasonStatus {
		t.Errorf("with a broken checkout: %+v", result)
	}
	if logout := result.Steps[3]; !logout.Made || logout.Reason != "" {
		t.Errorf("nobody logged out: %+v", logout)
	}
}

const password = "correct-horse-battery-staple"

// TestSecretsStatusAndPage has a prober with the rights that an installation gives it
// log in somewhere with a Secret, and looks for traces.
func TestSecretsStatusAndPage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server")
	}
	t.Parallel()
	ctx := t.Context()
	cluster, err := localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	if err := localstack.InstallCRDs(ctx, cluster.RESTConfig(), "../../config/crd"); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, rbacv1.AddToScheme, authenticationv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	api, err := client.New(cluster.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	create := func(objects ...client.Object) {
		t.Helper()
		for _, object := range objects {
			if err := api.Create(ctx, object); err != nil {
				t.Fatal(err)
			}
		}
	}
	account := func(namespace, name string) *rest.Config {
		t.Helper()
		who := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		create(who)
		token := &authenticationv1.TokenRequest{}
		if err := api.SubResource("token").Create(ctx, who, token); err != nil {
			t.Fatal(err)
		}
		config := rest.AnonymousClientConfig(cluster.RESTConfig())
		config.BearerToken = token.Status.Token
		return config
	}
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "sojourn-system"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "thief"}})
	for _, file := range []string{"prober_role.yaml", "user_roles.yaml", "metrics_reader_role.yaml"} {
		apply(t, api, "../../config/rbac/"+file)
	}
	apply(t, api, "../../config/values/values_role.yaml")

	var accepted atomic.Value
	accepted.Store(password)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var said struct{ Password string }
		if json.NewDecoder(r.Body).Decode(&said); said.Password != accepted.Load() {
			// A server that is this careless exists.
			http.Error(w, "no such password: "+said.Password, http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"token": "token-of-%s"}`, said.Password)
	}))
	t.Cleanup(shop.Close)

	var logged lockedBuilder
	said := options{
		Config: account("sojourn-system", "sojourn-prober"), Location: "default", MaxConcurrent: 10, Guard: loopback, ValuesNamespaces: []string{"shop"},
		MetricsAddress: "127.0.0.1:0", HealthAddress: "127.0.0.1:0", DebugAddress: "127.0.0.1:0", Version: "test", MetricsSecure: true,
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(&logged, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	p, err := newProber(said)
	if err != nil {
		t.Fatal(err)
	}
	stop := start(t, p)

	secret := func(namespace string, labels map[string]string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shopper", Labels: labels},
			StringData: map[string]string{"password": password},
		}
	}
	spec := fmt.Sprintf(`
channel: Web
displayName: 登录
probe:
  interval: 10s
  variables: [{name: password, valueFrom: {secretKeyRef: {name: shopper, key: password}}}]
  steps:
  - name: login
    http: {url: %s, body: {valueFrom: {expression: "toJSON({'password': vars.password})"}}}
    extract: [{name: token, expression: json.token, sensitive: true}]
  - name: tell
    http: {url: %[1]s, body: {value: '{"password": "%[2]s"}'}, headers: [{name: X-Token, valueFrom: {expression: vars.token}}]}
`, shop.URL, password)
	touchpoint := func(namespace string) *v1alpha1.Touchpoint {
		made := &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "login"}}
		if err := yaml.UnmarshalStrict([]byte(spec), &made.Spec); err != nil {
			t.Fatal(err)
		}
		return made
	}
	label := map[string]string{flows.ProbeLabel: "true"}
	create(touchpoint("shop"), secret("thief", label), touchpoint("thief"))
	told := func(namespace string) v1alpha1.LocationStatus {
		t.Helper()
		var now v1alpha1.Touchpoint
		if err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "login"}, &now); err != nil {
			t.Fatal(err)
		}
		if len(now.Status.Probes) != 1 {
			return v1alpha1.LocationStatus{}
		}
		return now.Status.Probes[0]
	}
	is := func(namespace string, outcome v1alpha1.ProbeOutcome, reason, step string) func() bool {
		return func() bool {
			now := told(namespace)
			return now.Outcome == outcome && now.Reason == reason && string(now.FailedStep) == step
		}
	}
	within(t, time.Minute, "an error without the Secret", is("shop", v1alpha1.ProbeError, "Config", ""))
	create(secret("shop", nil))
	time.Sleep(time.Second)
	if !is("shop", v1alpha1.ProbeError, "Config", "")() {
		t.Errorf("a Secret without the label is used: %+v", told("shop"))
	}
	labelled := secret("shop", label)
	if err := api.Update(ctx, labelled); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "a success once the Secret is labelled", is("shop", v1alpha1.ProbeSuccess, "", ""))
	since := told("shop").Since
	within(t, time.Minute, "an error in a namespace that nobody listed", is("thief", v1alpha1.ProbeError, "Config", ""))

	accepted.Store("another")
	within(t, time.Minute, "a failed login", is("shop", v1alpha1.ProbeFailure, "Status", "login"))
	if !told("shop").Since.After(since.Time) {
		t.Error("the status does not say since when")
	}

	// The page, to whom it may concern.
	ask := func(config *rest.Config, url, accept string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if config != nil {
			request.Header.Set("Authorization", "Bearer "+config.BearerToken)
		}
		request.Header.Set("Accept", accept)
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	page := func(config *rest.Config, accept string) (int, string) {
		t.Helper()
		return ask(config, p.debug.Addr().String()+"/touchpoints/shop/login", accept)
	}
	stranger, viewer, scraper := account("thief", "stranger"), account("shop", "viewer"), account("shop", "prometheus")
	create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "scraper"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sojourn-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "shop", Name: "prometheus"}},
	})
	create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "viewer"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sojourn-touchpoint-viewer"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "shop", Name: "viewer"}},
	})
	if status, text := page(nil, ""); status != http.StatusUnauthorized {
		t.Errorf("nobody gets %d: %s", status, text)
	}
	if status, text := page(&rest.Config{BearerToken: "made-up"}, ""); status != http.StatusUnauthorized {
		t.Errorf("somebody unknown gets %d: %s", status, text)
	}
	if status, text := page(stranger, ""); status != http.StatusForbidden {
		t.Errorf("a stranger gets %d: %s", status, text)
	}
	if status, text := ask(viewer, p.metrics.Addr().String()+"/metrics", ""); status != http.StatusForbidden {
		t.Errorf("who may not scrape gets %d: %s", status, text)
	}
	within(t, time.Minute, "the page for a viewer", func() bool {
		status, _ := page(viewer, "text/html")
		return status == http.StatusOK
	})
	// A browser asks for a password, and the display name is of the Touchpoint.
	_, html := page(viewer, "text/html")
	if !strings.Contains(html, "登录") {
		t.Errorf("the page does not say what people call the touchpoint:\n%s", html)
	}
	_, plain := page(viewer, "")
	var shown struct {
		Runs []struct{ Outcome, Reason string }
	}
	if err := json.Unmarshal([]byte(plain), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown.Runs) == 0 || shown.Runs[0].Outcome != "failure" || shown.Runs[0].Reason != "status" || !strings.Contains(html, "login") {
		t.Errorf("the page says %s", plain)
	}

	_, metrics := ask(scraper, p.metrics.Addr().String()+"/metrics", "")
	status, err := json.Marshal(told("shop"))
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"log": logged.String(), "metrics": metrics, "status": string(status), "page": html, "JSON": plain} {
		if text == "" || strings.Contains(text, password) || strings.Contains(text, "token-of") {
			t.Errorf("the %s shows a secret, or nothing:\n%s", where, text)
		}
	}
	if !strings.Contains(metrics, `sojourn_probe_failures_total{location="default",namespace="shop",reason="status",touchpoint="login"}`) {
		t.Error("no series of the reason")
	}

	// A successor finds the status as it is, and leaves it so.
	stop()
	before := told("shop")
	var written v1alpha1.Touchpoint
	if err := api.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "login"}, &written); err != nil {
		t.Fatal(err)
	}
	if p, err = newProber(said); err != nil {
		t.Fatal(err)
	}
	start(t, p)
	within(t, time.Minute, "a visit of the successor", func() bool {
		_, text := ask(scraper, p.metrics.Addr().String()+"/metrics", "")
		return strings.Contains(text, `sojourn_probe_runs_total{location="default",namespace="shop",outcome="failure",touchpoint="login"} 1`)
	})
	time.Sleep(time.Second)
	version := written.ResourceVersion
	if err := api.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "login"}, &written); err != nil {
		t.Fatal(err)
	}
	if written.ResourceVersion != version {
		t.Errorf("a restart writes the status: %+v, before %+v", told("shop"), before)
	}
}

// start runs a prober until the test ends or what it returns is called.
func start(t *testing.T, p *prober) (stop func()) {
	running, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- p.Run(running) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// lockedBuilder is a log that a test reads while it is written.
type lockedBuilder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// apply creates the objects of a file.
func apply(t *testing.T, api client.Client, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
}
