package reach_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/reach"
	"github.com/sojourn-dev/sojourn/controllers/observe"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

const root = "../../../.."

var checkout = atlas.Key{Namespace: "shop", Name: "checkout"}

// series are what rules and the prober would write.
const series = `sojourn:slo_budget_remaining:ratio{namespace="shop",slo="checkout",objective="effort",touchpoint="checkout",def="survey/ces/share"} -0.87
sojourn:slo_budget_remaining:ratio{namespace="shop",slo="checkout",objective="speed",touchpoint="checkout",def="probe/latency/0.3"} 0.4
sojourn:slo_budget_remaining:ratio{namespace="bank",slo="checkout",objective="speed",touchpoint="checkout",def="probe/latency/0.3"} 0.1
sojourn:touchpoint_answers:sum7d{namespace="shop",touchpoint="checkout",instrument="ces",score="2",source="survey"} 4
sojourn:touchpoint_answers:sum7d{namespace="shop",touchpoint="checkout",instrument="ces",score="7",source="survey"} 12
sojourn:experience_good:sum7d{namespace="shop",touchpoint="checkout",instrument="ces",source="survey"} 12
sojourn:experience_answers:sum7d{namespace="shop",touchpoint="checkout",instrument="ces",source="survey"} 16
sojourn:experience_latency_seconds:p95{namespace="shop",touchpoint="checkout",source="probe"} 0.31
sojourn_probe_phase_duration_seconds{namespace="shop",touchpoint="checkout",location="default",step="open",phase="transfer"} 0.02
sojourn_probe_phase_duration_seconds{namespace="shop",touchpoint="checkout",location="default",step="open",phase="dns"} 0.01
ALERTS{alertname="ExperienceBudgetBurn",alertstate="firing",namespace="shop",slo="checkout",objective="speed",touchpoint="checkout",severity="page",tier="1h"} 1
ALERTS_FOR_STATE{alertname="ExperienceBudgetBurn",namespace="shop",slo="checkout",objective="speed",touchpoint="checkout",severity="page",tier="1h"} 1772350000
`

// machine is an address of this machine at which the API server may look for endpoints: it
// refuses those of loopback.
func machine(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if network, is := address.(*net.IPNet); is && network.IP.To4() != nil && network.IP.IsGlobalUnicast() {
			return network.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback, and to that the API server passes nothing on")
	return ""
}

func freePort(t *testing.T, ip string) string {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// stage is a cluster with a shop, a Prometheus and a gateway behind Services.
type stage struct {
	config             *rest.Config
	admin              client.Client
	prometheus, tokens string
}

func open(t *testing.T) *stage {
	ip := machine(t)
	plane, err := localstack.StartControlPlane(t.Context(), localstack.ControlPlaneOptions{})
	must(t, err)
	t.Cleanup(plane.Stop)
	must(t, plane.InstallCRDs(t.Context(), filepath.Join(root, "config/crd")))
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(rbacv1.AddToScheme(scheme))
	admin, err := client.New(plane.RESTConfig(), client.Options{Scheme: scheme})
	must(t, err)
	create := func(objects ...client.Object) {
		t.Helper()
		for _, object := range objects {
			must(t, admin.Create(t.Context(), object))
		}
	}
	for _, name := range []string{"shop", "monitoring", "sojourn-system", "elsewhere"} {
		create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	create(&v1alpha1.Touchpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"},
		Spec:       v1alpha1.TouchpointSpec{Channel: "Web", Survey: &v1alpha1.Survey{Instruments: []v1alpha1.Instrument{{Type: v1alpha1.InstrumentCES}}}},
	}, &v1alpha1.Journey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "buy"},
		Spec:       v1alpha1.JourneySpec{Stages: []v1alpha1.Stage{{Name: "purchase", Touchpoints: []v1alpha1.TouchpointReference{{Name: "checkout"}}}}},
	}, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tool"}, Type: "sojourn.dev/survey-source",
		StringData: map[string]string{"tokens": strings.Repeat("d", 32), "readTokens": strings.Repeat("r", 32)},
	})

	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, series)
	}))
	t.Cleanup(exporter.Close)
	prometheus, err := localstack.StartPrometheus(t.Context(), localstack.PrometheusOptions{
		ListenAddress: freePort(t, ip),
		ScrapeJobs:    []localstack.ScrapeJob{{Name: "rules", Targets: []string{exporter.Listener.Addr().String()}, HonorLabels: true}},
	})
	must(t, err)
	t.Cleanup(prometheus.Stop)
	gateway := startGateway(t, plane.Kubeconfig(), freePort(t, ip))
	expose(t, admin, "monitoring", "prometheus", 9090, strings.TrimPrefix(prometheus.URL, "http://"))
	expose(t, admin, "sojourn-system", "sojourn-gateway", 80, gateway)

	text, err := os.ReadFile(filepath.Join(root, "config/endpoints/endpoints.yaml"))
	must(t, err)
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		object := &unstructured.Unstructured{}
		must(t, yaml.Unmarshal(document, &object.Object))
		if object.GetKind() == "ConfigMap" {
			must(t, unstructured.SetNestedField(object.Object, "http://prometheus.monitoring.svc:9090/", "data", "prometheus"))
		}
		create(object)
	}
	look := rbacv1.PolicyRule{APIGroups: []string{"sojourn.dev"}, Resources: []string{"journeys", "touchpoints", "experienceslos"}, Verbs: []string{"list", "watch"}}
	events := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"list"}}
	through := func(service string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"services/proxy"}, ResourceNames: []string{service}, Verbs: []string{"get"}}
	}
	grant := func(user, namespace string, rules ...rbacv1.PolicyRule) {
		meta := metav1.ObjectMeta{Namespace: namespace, Name: user}
		create(&rbacv1.Role{ObjectMeta: meta, Rules: rules}, &rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
		})
	}
	grant("anna", "shop", look, events)
	grant("anna", "monitoring", through("prometheus:9090"))
	grant("anna", "sojourn-system", through("sojourn-gateway:80"))
	grant("ben", "shop", look)
	return &stage{config: plane.RESTConfig(), admin: admin, prometheus: prometheus.URL, tokens: strings.Repeat("r", 32)}
}

// startGateway runs the real one, with two comments.
func startGateway(t *testing.T, kubeconfig, address string) string {
	t.Helper()
	folder := t.TempDir()
	binary := filepath.Join(folder, "gateway")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, "./cmd/gateway")
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	ctx, stop := context.WithCancel(context.Background())
	var log bytes.Buffer
	command := exec.CommandContext(ctx, binary, "--kubeconfig="+kubeconfig, "--listen-address="+address, "--metrics-bind-address=127.0.0.1:0",
		"--database="+filepath.Join(folder, "gateway.db"), "--source-namespaces=shop")
	command.Stdout, command.Stderr = &log, &log
	must(t, command.Start())
	t.Cleanup(func() {
		stop()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", &log)
		}
	})
	until(t, "the gateway takes no responses", func() string {
		body := `[{"id":"1","touchpoint":"checkout","instrument":"ces","score":2,"comment":"I entered my address twice."},
			{"id":"2","touchpoint":"checkout","instrument":"ces","score":7,"comment":"很方便"}]`
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/v1/responses", strings.NewReader(body))
		must(t, err)
		request.Header.Set("Authorization", "Bearer "+strings.Repeat("d", 32))
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err.Error()
		}
		response.Body.Close()
		if response.StatusCode != http.StatusAccepted {
			return response.Status
		}
		return ""
	})
	return address
}

// expose makes a Service without Pods.
func expose(t *testing.T, admin client.Client, namespace, name string, port int32, address string) {
	t.Helper()
	host, text, err := net.SplitHostPort(address)
	must(t, err)
	var target int32
	_, err = fmt.Sscan(text, &target)
	must(t, err)
	endpoints := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Endpoints", "metadata": map[string]any{"namespace": namespace, "name": name},
		"subsets": []any{map[string]any{
			"addresses": []any{map[string]any{"ip": host, "targetRef": map[string]any{"kind": "Pod", "namespace": namespace, "name": name}}},
			"ports":     []any{map[string]any{"name": "http", "port": int64(target)}},
		}},
	}}
	// The API server passes on to what claims to be a Pod, and to nothing else.
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "none"}}},
	}
	must(t, admin.Create(t.Context(), pod))
	pod.Status.PodIP, pod.Status.PodIPs = host, []corev1.PodIP{{IP: host}}
	must(t, admin.Status().Update(t.Context(), pod))
	must(t, admin.Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: port}}},
	}), admin.Create(t.Context(), endpoints))
}

// until waits until nothing is amiss.
func until(t *testing.T, what string, amiss func() string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		last := amiss()
		if last == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", what, last)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (s *stage) as(t *testing.T, user string, options reach.Options) *reach.Cluster {
	t.Helper()
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	if options.Namespace == "" {
		options.Namespace = "sojourn-system"
	}
	c, err := reach.New(config, options)
	must(t, err)
	return c
}

func TestCluster(t *testing.T) {
	s := open(t)
	t.Run("through the API server", func(t *testing.T) { everything(t, s.as(t, "anna", reach.Options{GatewayToken: s.tokens})) })
	t.Run("by address", func(t *testing.T) {
		objects, err := s.as(t, "ben", reach.Options{}).Objects(t.Context(), "shop")
		must(t, err)
		drawn := objects.Map(atlas.Key{Namespace: "shop", Name: "buy"})
		if lacks := s.as(t, "ben", reach.Options{Prometheus: observe.Options{URL: s.prometheus}}).Trends(t.Context(), drawn); len(lacks) > 0 || len(drawn.Stages[0].Stops[0].Trend) == 0 {
			t.Errorf("a trend %v, missing %q", drawn.Stages[0].Stops[0].Trend, lacks)
		}
	})
	t.Run("without rights", func(t *testing.T) { sentences(t, s) })
	t.Run("changes", func(t *testing.T) { changes(t, s) })
}

// everything is what somebody sees who has all rights that it takes, and no others.
func everything(t *testing.T, c *reach.Cluster) {
	objects, err := c.Objects(t.Context(), "shop")
	must(t, err)
	var d *atlas.Detail
	until(t, "not all can be had", func() string {
		d = c.Detail(t.Context(), objects, checkout)
		if len(d.Missing) == 0 && len(d.Distributions) == 0 {
			return "Prometheus has not scraped yet"
		}
		return strings.Join(d.Missing, " ")
	})
	if len(d.Distributions) != 1 || d.Distributions[0].Instrument != "CES" || !slices.Equal(d.Distributions[0].Counts, []float64{0, 4, 0, 0, 0, 0, 12}) {
		t.Errorf("distributions %+v", d.Distributions)
	}
	if n := len(d.EaseOverTime); n == 0 || d.EaseOverTime[n-1].Value != 75 {
		t.Errorf("ease %v", d.EaseOverTime)
	}
	if n := len(d.LatencyOverTime); n == 0 || d.LatencyOverTime[n-1].Value != 0.31 {
		t.Errorf("latency %v", d.LatencyOverTime)
	}
	if len(d.Phases) != 2 || d.Phases[0].Phase != "dns" {
		t.Errorf("phases %v", d.Phases)
	}
	if n := len(d.Trend); n == 0 || d.Trend[n-1].Value != -87 {
		t.Errorf("the trend is not that of the budget with least left: %v", d.Trend)
	}
	if len(d.Worst) != 2 || d.Worst[0].Text != "I entered my address twice." || d.Worst[0].Instrument != "CES" || len(d.Latest) != 2 {
		t.Errorf("comments %v %v", d.Worst, d.Latest)
	}
	firing, missing := c.Firing(t.Context(), "shop")
	if missing != "" || len(firing) != 1 || firing[0].Tier != "page 1h" || firing[0].Since.Unix() != 1772350000 || firing[0].Touchpoint != checkout {
		t.Errorf("firing %+v %s", firing, missing)
	}
	if c.Detail(t.Context(), objects, atlas.Key{Namespace: "shop", Name: "none"}) != nil {
		t.Error("there is detail of what there is not")
	}
}

// sentences are what those read who lack something, each with what to ask for.
func sentences(t *testing.T, s *stage) {
	objects, err := s.as(t, "ben", reach.Options{}).Objects(t.Context(), "shop")
	must(t, err)
	says := func(what string, options reach.Options, want ...string) {
		t.Helper()
		got := strings.Join(s.as(t, "ben", options).Detail(t.Context(), objects, checkout).Missing, "\n")
		for _, part := range want {
			if !strings.Contains(got, part) {
				t.Errorf("%s: nothing says %q:\n%s", what, part, got)
			}
		}
		if strings.Contains(got, strings.Repeat("r", 32)) {
			t.Errorf("%s: a token is shown:\n%s", what, got)
		}
	}
	says("no right to the Services", reach.Options{GatewayToken: s.tokens},
		`You may not ask Prometheus`, `a Role in namespace monitoring with the verb get on services/proxy of "prometheus:9090"`,
		`You may not ask the gateway`, `services/proxy of "sojourn-gateway:80"`,
		`you may not list them in namespace shop`)
	says("no token", reach.Options{}, "--gateway-token-file", "readTokens")
	says("no right to the ConfigMap", reach.Options{Namespace: "elsewhere", GatewayToken: s.tokens}, "You may not read the ConfigMap sojourn-endpoints in namespace elsewhere", "--prometheus-url", "--gateway-url")
	says("nobody there", reach.Options{Prometheus: observe.Options{URL: "http://127.0.0.1:1"}, GatewayURL: "http://127.0.0.1:1", GatewayToken: s.tokens},
		"Prometheus cannot be reached", "The gateway cannot be reached")
	c, err := reach.New(s.config, reach.Options{Namespace: "elsewhere"})
	must(t, err)
	if _, missing := c.Firing(t.Context(), ""); !strings.Contains(missing, "There is no ConfigMap sojourn-endpoints in namespace elsewhere") || !strings.Contains(missing, "--sojourn-namespace") {
		t.Errorf("without a ConfigMap: %s", missing)
	}
	if _, _, missing := s.as(t, "anna", reach.Options{GatewayToken: "wrong"}).Comments(t.Context(), checkout); !strings.Contains(missing, "no source has this token") {
		t.Errorf("with a wrong token: %s", missing)
	}
	if _, err := s.as(t, "ben", reach.Options{}).Objects(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "name one by -n") {
		t.Errorf("without the right to all namespaces: %v", err)
	}
	if _, err := s.as(t, "ben", reach.Options{}).Changes(t.Context(), "elsewhere"); err == nil || !strings.Contains(err.Error(), "namespace elsewhere") {
		t.Errorf("without the right to follow: %v", err)
	}
}

// changes are told once each, and those at the beginning not at all.
func changes(t *testing.T, s *stage) {
	changed, err := s.as(t, "ben", reach.Options{}).Changes(t.Context(), "shop")
	must(t, err)
	touchpoint := &v1alpha1.Touchpoint{}
	must(t, s.admin.Get(t.Context(), checkout, touchpoint))
	// Until the watch stands, a change may belong to the beginning.
	until(t, "no change is told", func() string {
		touchpoint.Spec.Description += "!"
		must(t, s.admin.Update(t.Context(), touchpoint))
		select {
		case <-changed:
			return ""
		case <-time.After(time.Second):
			return "silence"
		}
	})
}
