package controllers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// watching has a manager watch some namespaces and no other, so that tests can run side by
// side.
func watching(namespaces ...string) func(*controllers.Options) {
	return func(o *controllers.Options) { o.Namespaces = namespaces }
}

// manyTouchpoints are as many as keep a manager busy for a while, with promises that cover
// all of them.
func manyTouchpoints(n int) string {
	text := strings.Builder{}
	text.WriteString(shop)
	for i := range n {
		fmt.Fprintf(&text, `---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: page-%d, namespace: NAMESPACE, labels: {part: p%d}}
spec:
  channel: Web
  metrics: {requests: {total: 'visits_total{page="%d"}', errors: 'visits_total{page="%d", code="500"}'}}
`, i, i%5, i, i)
	}
	for i := range 5 {
		fmt.Fprintf(&text, `---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: part-%d, namespace: NAMESPACE}
spec: {targets: {selector: {matchLabels: {part: p%d}}}, objectives: [{name: up, availability: {target: "99%%"}}]}
`, i, i)
	}
	return text.String()
}

// managerProcess is set in the environment of a manager that runs as a process of its own:
// this test program, with a kubeconfig and the namespace to watch.
const managerProcess = "SOJOURN_TEST_MANAGER_NAMESPACE"

func runManagerProcess() error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS = -1
	asManager(config)
	options := managerOptions()
	watching(os.Getenv(managerProcess))(&options)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return controllers.Run(ctx, config, options)
}

// A manager is killed again and again while it writes, and each finds what the one before
// it left.
func TestKilledWhileItWrites(t *testing.T) {
	t.Parallel()
	prometheusRules(t, true)
	namespace := newNamespace(t, "fault-killed", nil)
	random := rand.New(rand.NewPCG(7, uint64(time.Now().UnixNano())))
	kill := func(after time.Duration) {
		manager := exec.Command(os.Args[0])
		manager.Env = append(os.Environ(), managerProcess+"="+namespace, "KUBECONFIG="+cluster.Kubeconfig())
		if err := manager.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after)
		if err := manager.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = manager.Wait() // it was killed
	}
	applied := make(chan error, 1)
	go func() {
		applied <- applyText(t.Context(), api, strings.ReplaceAll(manyTouchpoints(40), "NAMESPACE", namespace))
	}()
	for range 3 {
		kill(time.Second + time.Duration(random.IntN(1500))*time.Millisecond)
	}
	if err := <-applied; err != nil {
		t.Fatal(err)
	}
	// What goes while nobody looks is noticed later.
	remove(t, get[v1alpha1.Touchpoint](t, namespace, "search"))
	remove(t, get[v1alpha1.ExperienceSLO](t, namespace, "part-0"))
	kill(time.Second + time.Duration(random.IntN(1000))*time.Millisecond)
	// They were not killed before they had begun.
	var written monitoringv1.PrometheusRuleList
	if err := api.List(t.Context(), &written, client.InNamespace(namespace)); err != nil || len(written.Items) == 0 {
		t.Errorf("%d rule objects were written, %v", len(written.Items), err)
	}
	t.Logf("%d rule objects are there", len(written.Items))
	startManager(t, watching(namespace))
	likeAFreshOne(t, cluster, api, namespace)
}

// Two managers that do not elect a leader write the same, and stop.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	prometheusRules(t, true)
	namespace := newNamespace(t, "fault-twins", nil)
	one, other := startManager(t, watching(namespace)), startManager(t, watching(namespace))
	apply(t, namespace, manyTouchpoints(20))
	apply(t, namespace, strings.ReplaceAll(manyTouchpoints(20), `"99%"`, `"99.5%"`))
	remove(t, get[v1alpha1.Touchpoint](t, namespace, "page-3"))
	remove(t, get[v1alpha1.ExperienceSLO](t, namespace, "part-1"))
	likeAFreshOne(t, cluster, api, namespace)
	before := len(one.settle(t, time.Second)) + len(other.settle(t, time.Second))
	time.Sleep(2 * time.Second)
	after := len(one.writes(t)) + len(other.writes(t))
	if after != before {
		t.Errorf("they fight: %v", append(one.writes(t), other.writes(t)...)[before:])
	}
	t.Logf("%d and %d writes", len(one.writes(t)), len(other.writes(t)))
}

// roundTripper is a function that is one.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// conflicts answers the first attempt of each write with a conflict.
func conflicts(t *testing.T) func(http.RoundTripper) http.RoundTripper {
	var mu sync.Mutex
	tried := map[string]bool{}
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			key := request.Method + " " + request.URL.Path
			if request.Method == http.MethodGet || strings.Contains(key, "/events") || strings.Contains(key, "/selfsubjectaccessreviews") {
				return next.RoundTrip(request)
			}
			mu.Lock()
			tried[key] = !tried[key]
			refuse := tried[key]
			mu.Unlock()
			if !refuse {
				return next.RoundTrip(request)
			}
			if request.Body != nil {
				request.Body.Close()
			}
			status := apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("objects").GroupResource(), "it", errors.New("somebody was faster")).Status()
			status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
			text, err := json.Marshal(status)
			if err != nil {
				t.Error(err)
			}
			return &http.Response{
				StatusCode: http.StatusConflict, Status: "409 Conflict", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: request,
				Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(text)), Body: io.NopCloser(bytes.NewReader(text)),
			}, nil
		})
	}
}

func TestAConflictOnEveryWrite(t *testing.T) {
	t.Parallel()
	prometheusRules(t, true)
	namespace := newNamespace(t, "fault-conflicts", nil)
	m := startManagerOf(t, cluster, conflicts(t), watching(namespace))
	apply(t, namespace, manyTouchpoints(20))
	apply(t, namespace, strings.ReplaceAll(manyTouchpoints(20), `"99%"`, `"99.5%"`))
	remove(t, get[v1alpha1.Touchpoint](t, namespace, "search"))
	remove(t, get[v1alpha1.ExperienceSLO](t, namespace, "part-1"))
	likeAFreshOne(t, cluster, api, namespace)
	t.Logf("%d writes", len(m.settle(t, time.Second)))
}

// cutOff ends every watch after a second.
func cutOff(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		if err == nil && request.URL.Query().Get("watch") != "" {
			body := response.Body
			time.AfterFunc(time.Second, func() { body.Close() })
		}
		return response, err
	})
}

func TestWatchesAreCutOff(t *testing.T) {
	t.Parallel()
	prometheusRules(t, true)
	namespace := newNamespace(t, "fault-cut-off", nil)
	startManagerOf(t, cluster, cutOff, watching(namespace))
	apply(t, namespace, manyTouchpoints(10))
	for i := range 8 {
		// The manager may write the status in between.
		err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			slo := get[v1alpha1.ExperienceSLO](t, namespace, "part-2")
			slo.Spec.Objectives[0].Availability.Target = v1alpha1.Percentage(fmt.Sprintf("99.%d%%", i+1))
			return api.Update(t.Context(), slo)
		})
		if err != nil {
			t.Fatal(err)
		}
		if i == 4 {
			remove(t, get[v1alpha1.Touchpoint](t, namespace, "page-1"))
			remove(t, get[v1alpha1.ExperienceSLO](t, namespace, "part-3"))
			remove(t, ruleObject(t, namespace, "sojourn-slo-part-4"))
		}
		time.Sleep(400 * time.Millisecond)
	}
	likeAFreshOne(t, cluster, api, namespace)
}

// The API server restarts, and the storage behind it is full for a while. Rules are
// ConfigMaps here, which nobody but the manager takes away.
func TestTheAPIServerFails(t *testing.T) {
	t.Parallel()
	plane, err := localstack.StartControlPlane(t.Context(), localstack.ControlPlaneOptions{
		AuditLog: true, EtcdFlags: []string{fmt.Sprintf("--quota-backend-bytes=%d", 24<<20)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plane.Stop)
	access, err := prepare(t.Context(), plane)
	if err != nil {
		t.Fatal(err)
	}
	const namespace, filler = "fault-outage", "filler"
	for _, name := range []string{namespace, filler} {
		if err := access.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	applyAll := func(text string) {
		t.Helper()
		if err := applyText(t.Context(), access, strings.ReplaceAll(text, "NAMESPACE", namespace)); err != nil {
			t.Fatal(err)
		}
	}
	startManagerOf(t, plane, nil, watching(namespace))

	applyAll(manyTouchpoints(20))
	restarted := make(chan error, 1)
	plane.StopAPIServer()
	go func() { restarted <- plane.StartAPIServer(t.Context()) }()
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
	applyAll(strings.ReplaceAll(manyTouchpoints(20), `"99%"`, `"99.5%"`))
	likeAFreshOne(t, plane, access, namespace)

	// Full: nothing can be written, and only deleted.
	var full error
	for i := 0; full == nil && i < 100; i++ {
		full = access.Create(t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("filler-%d", i), Namespace: filler},
			Data:       map[string]string{"filler": strings.Repeat("x", 900<<10)},
		})
	}
	if full == nil || !strings.Contains(full.Error(), "space exceeded") {
		t.Fatalf("the storage is not full: %v", full)
	}
	lost := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: namespace + ".sojourn-slo-part-2", Namespace: systemNamespace}}
	for _, object := range []client.Object{
		lost, &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Name: "page-1", Namespace: namespace}},
		&v1alpha1.ExperienceSLO{ObjectMeta: metav1.ObjectMeta{Name: "part-3", Namespace: namespace}},
	} {
		if err := access.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it takes away what is not wanted", soon, func(ctx context.Context) error {
		err := access.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: namespace + ".sojourn-slo-part-3"}, &corev1.ConfigMap{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %v", err)
	})
	if err := access.Get(t.Context(), client.ObjectKeyFromObject(lost), lost); !apierrors.IsNotFound(err) {
		t.Errorf("the storage is not full: %v", err)
	}
	if err := access.DeleteAllOf(t.Context(), &corev1.ConfigMap{}, client.InNamespace(filler)); err != nil {
		t.Fatal(err)
	}
	makeRoom(t, plane)
	eventually(t, "there is room again", soon, func(ctx context.Context) error {
		return access.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "room", Namespace: filler}})
	})
	likeAFreshOne(t, plane, access, namespace)
}

// makeRoom does what whoever runs an etcd does when it is full.
func makeRoom(t *testing.T, plane *localstack.ControlPlane) {
	t.Helper()
	ask := func(path, question string, answer any) {
		t.Helper()
		response, err := http.Post(plane.EtcdURL+path, "application/json", strings.NewReader(question))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v %s", path, response.Status, err, text)
		}
		if answer != nil {
			if err := json.Unmarshal(text, answer); err != nil {
				t.Fatalf("%s: %v: %s", path, err, text)
			}
		}
	}
	var status struct {
		Header struct {
			Revision string `json:"revision"`
			MemberID string `json:"member_id"`
		} `json:"header"`
	}
	ask("/v3/maintenance/status", "{}", &status)
	ask("/v3/kv/compaction", fmt.Sprintf(`{"revision": %q, "physical": true}`, status.Header.Revision), nil)
	ask("/v3/maintenance/defragment", "{}", nil)
	ask("/v3/maintenance/alarm", fmt.Sprintf(`{"action": "DEACTIVATE", "memberID": %q, "alarm": "NOSPACE"}`, status.Header.MemberID), nil)
}
