package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sources"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// inProcess starts a gateway on free ports; stop ends it as SIGTERM would.
func inProcess(t *testing.T, change func(*options)) (g *gateway, stop func()) {
	t.Helper()
	o := defaultOptions()
	o.listenAddress, o.metricsAddress = "127.0.0.1:0", "127.0.0.1:0"
	o.log = discard()
	change(&o)
	ctx, cancel := context.WithCancel(context.Background())
	g, err := start(ctx, o)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	stop = func() {
		cancel()
		if err := g.wait(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return g, stop
}

func TestTouchpointsFromTheAPIServer(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	database := filepath.Join(t.TempDir(), "gateway.db")
	inShop := func(o *options) {
		o.config, o.database, o.namespaces = plane.RESTConfig(), database, []string{"shop", "stall"}
		o.sourceNamespaces = []string{"shop", "elsewhere"}
	}
	g, stop := inProcess(t, inShop)
	eventually(t, "never ready", func() bool { return ready(t.Context(), g.metricsAddress) })
	if got := scrape(t, g.metricsAddress, "shop"); len(got) != 0 {
		t.Errorf("series without touchpoints: %v", got)
	}

	if status, answer, err := post(t.Context(), g.responsesAddress, `{}`); err != nil || status != 401 {
		t.Errorf("before there is a source: %d %v %s", status, err, answer)
	}
	checkout := createTouchpoint(t, kubernetes, "shop", "checkout", v1alpha1.InstrumentCES, v1alpha1.InstrumentNPS)
	createTouchpoint(t, kubernetes, "elsewhere", "checkout", v1alpha1.InstrumentCES)
	eventually(t, "no zeros for a new Touchpoint", func() bool { return len(scrape(t, g.metricsAddress, "shop")) == 7+11 })
	want := map[string]float64{}
	for score := 1; score <= 7; score++ {
		want[fmt.Sprint("checkout/ces/", score)] = 0
	}
	for score := 0; score <= 10; score++ {
		want[fmt.Sprint("checkout/nps/", score)] = 0
	}
	expect := func(what string) {
		t.Helper()
		if got := scrape(t, g.metricsAddress, "shop"); !maps.Equal(got, want) {
			t.Errorf("%s\n got: %v\nwant: %v", what, got, want)
		}
	}
	expect("at first")

	eventually(t, "the sources are not known", func() bool {
		return g.secrets.Named("shop", "tool") != nil && g.secrets.Named("elsewhere", "tool") != nil
	})
	status, answer, err := post(t.Context(), g.responsesAddress, `[
		{"id": "1", "namespace": "shop", "touchpoint": "checkout", "instrument": "ces", "score": 6, "comment": "很方便"},
		{"id": "2", "namespace": "shop", "touchpoint": "checkout", "instrument": "nps", "score": 0},
		{"id": "3", "namespace": "elsewhere", "touchpoint": "checkout", "instrument": "ces", "score": 6}]`)
	if err != nil || status != 202 || !strings.Contains(answer, `"accepted":2,`) || !strings.Contains(answer, `"index":2,"id":"3","reason":"unknown_touchpoint"`) {
		t.Errorf("%d %v %s", status, err, answer)
	}
	want["checkout/ces/6"], want["checkout/nps/0"] = 1, 1
	expect("after two responses")

	// What a team no longer asks is no longer shown or taken.
	withNPS := checkout.DeepCopy()
	checkout.Spec.Survey.Instruments = checkout.Spec.Survey.Instruments[:1]
	if err := kubernetes.Update(t.Context(), checkout); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the series of a removed instrument stay", func() bool { return len(scrape(t, g.metricsAddress, "shop")) == 7 })

	if err := kubernetes.Delete(t.Context(), checkout); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the series of a deleted Touchpoint stay", func() bool { return len(scrape(t, g.metricsAddress, "shop")) == 0 })
	if status, answer, _ := post(t.Context(), g.responsesAddress, `{"id": "4", "namespace": "shop", "touchpoint": "checkout", "instrument": "ces", "score": 6}`); status != 422 {
		t.Errorf("a deleted Touchpoint: %d %s", status, answer)
	}
	stop()

	g, _ = inProcess(t, inShop)
	withNPS.ObjectMeta = *withNPS.ObjectMeta.DeepCopy()
	withNPS.ResourceVersion, withNPS.UID = "", ""
	if err := kubernetes.Create(t.Context(), withNPS); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kubernetes.Delete(context.Background(), withNPS) })
	eventually(t, "the series do not come back", func() bool { return len(scrape(t, g.metricsAddress, "shop")) == 7+11 })
	expect("the same Touchpoint, after a restart")
}

// TestMetricsSecure: totals are for those who may get /metrics, and how the gateway is for
// everybody.
func TestMetricsSecure(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	scraper := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "prometheus"}}
	token := &authenticationv1.TokenRequest{}
	for _, err := range []error{
		kubernetes.Create(t.Context(), scraper),
		kubernetes.SubResource("token").Create(t.Context(), scraper, token),
		kubernetes.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "scrapes"}, Rules: []rbacv1.PolicyRule{
			{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}},
		}}),
		kubernetes.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "scrapes"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "scrapes"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "prometheus"}},
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	g, _ := inProcess(t, func(o *options) {
		o.config, o.database, o.metricsSecure = plane.RESTConfig(), filepath.Join(t.TempDir(), "gateway.db"), true
	})
	unverified := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	for _, ask := range []struct {
		path, token string
		want        int
	}{
		{"/healthz", "", 200}, {"/readyz", "", 200}, {"/metrics", "", 401}, {"/metrics", "made-up", 401}, {"/metrics", token.Status.Token, 200},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+g.metricsAddress+ask.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ask.token != "" {
			request.Header.Set("Authorization", "Bearer "+ask.token)
		}
		eventually(t, fmt.Sprintf("%s with %q is not answered by %d", ask.path, ask.token, ask.want), func() bool {
			response, err := unverified.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			return response.StatusCode == ask.want
		})
	}
}

// TestRetention: what came longer ago than a Touchpoint keeps it goes, from either store;
// it stays counted, and is known when it comes again.
func TestRetention(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	server, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	for store, database := range map[string]string{"sqlite": filepath.Join(t.TempDir(), "gateway.db"), "postgres": server.URL} {
		t.Run(store, func(t *testing.T) {
			namespace := "retention-" + store
			checkout := createTouchpoint(t, kubernetes, namespace, "checkout", v1alpha1.InstrumentCES)
			createTouchpoint(t, kubernetes, namespace, "support", v1alpha1.InstrumentCES)
			checkout.Spec.Survey.Retention = "30d"
			if err := kubernetes.Update(t.Context(), checkout); err != nil {
				t.Fatal(err)
			}
			arrive := func(age time.Duration, responses ...string) (*gateway, func()) {
				t.Helper()
				g, stop := inProcess(t, func(o *options) {
					inNamespace(plane, namespace, database)(o)
					o.now = func() time.Time { return time.Now().Add(-age) }
				})
				eventually(t, "never ready", func() bool { return ready(t.Context(), g.metricsAddress) })
				for _, each := range responses {
					expectAnswer(t, g, each, 202, `"accepted":1`)
				}
				return g, stop
			}
			elsewhere := strings.Replace(one(namespace, "elsewhere"), "checkout", "support", 1)
			_, stop := arrive(31*24*time.Hour, one(namespace, "old"), elsewhere)
			stop()
			_, stop = arrive(29*24*time.Hour, one(namespace, "young"))
			stop()
			g, _ := arrive(0)
			kept := func() string {
				records, err := g.ledger.Records(t.Context(), ledger.Choice{Namespace: namespace}, 0, 10)
				if err != nil {
					t.Fatal(err)
				}
				var ids []string
				for _, each := range records {
					ids = append(ids, each.ID)
				}
				return strings.Join(ids, " ")
			}
			eventually(t, "the old response stays", func() bool { return kept() == "elsewhere young" })
			expectAnswer(t, g, one(namespace, "old"), 202, `"duplicates":1`)
			if got := scrape(t, g.metricsAddress, namespace); got["checkout/ces/6"] != 2 || got["support/ces/6"] != 1 {
				t.Errorf("counted %v", got)
			}
			if got := kept(); got != "elsewhere young" {
				t.Errorf("kept %s", got)
			}
		})
	}
}

// TestOwnersHearOfUnusableSources: who made a Secret may not see the gateway's log.
func TestOwnersHearOfUnusableSources(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	const namespace = "unusable"
	createTouchpoint(t, kubernetes, namespace, "checkout", v1alpha1.InstrumentCES)
	for name, data := range map[string]map[string]string{
		"short": {sources.KeyTokens: "talkative"}, "empty": {sources.KeyTokens: ""}, "misspelt": {"token": "talkative-but-long-enough"},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: sources.SecretType, StringData: data}
		if err := kubernetes.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	g, _ := inProcess(t, inNamespace(plane, namespace, filepath.Join(t.TempDir(), "gateway.db")))
	eventually(t, "never ready", func() bool { return ready(t.Context(), g.metricsAddress) })
	expectAnswer(t, g, one(namespace, "a"), 202, `"accepted":1`) // the good one is not disturbed
	for name, want := range map[string]string{
		"short":    "tokens, entry 1: a token needs at least 16 characters: make one with openssl rand -hex 32",
		"empty":    "it holds neither tokens nor signing secrets: write one under tokens",
		"misspelt": `key "token" is not known: a source has the keys tokens`,
	} {
		eventually(t, "nobody hears of Secret "+name, func() bool {
			var found eventsv1.EventList
			if err := kubernetes.List(t.Context(), &found, client.InNamespace(namespace)); err != nil {
				t.Fatal(err)
			}
			for _, event := range found.Items {
				if strings.Contains(event.Note, "talkative") {
					t.Fatalf("the event tells the secret: %s", event.Note)
				}
				if event.Regarding.Kind == "Secret" && event.Regarding.Name == name && event.Type == corev1.EventTypeWarning && strings.Contains(event.Note, want) {
					return true
				}
			}
			return false
		})
	}
}

func TestStartWithoutAPIServer(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	createTouchpoint(t, kubernetes, "outage", "checkout", v1alpha1.InstrumentCES)
	plane.StopAPIServer()
	defer func() {
		if err := plane.StartAPIServer(context.Background()); err != nil {
			t.Fatal(err)
		}
	}()
	g, _ := inProcess(t, func(o *options) {
		o.config, o.database, o.sourceNamespaces = plane.RESTConfig(), filepath.Join(t.TempDir(), "gateway.db"), []string{"outage"}
	})
	const response = `{"id": "1", "namespace": "outage", "touchpoint": "checkout", "instrument": "ces", "score": 6}`
	eventually(t, "no reason in /readyz", func() bool {
		status, body, err := get(t.Context(), "http://"+g.metricsAddress+"/readyz")
		return err == nil && status == 503 && strings.Contains(body, "the API server does not hand out Touchpoints") && strings.Contains(body, "connection refused")
	})
	if status, body, _ := get(t.Context(), "http://"+g.metricsAddress+"/healthz"); status != 200 {
		t.Errorf("/healthz: %d %s", status, body)
	}
	if status, body, _ := post(t.Context(), g.responsesAddress, response); status != 503 || !strings.Contains(body, `"reason":"not_ready"`) {
		t.Errorf("a response too early: %d %s", status, body)
	}

	if err := plane.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "never ready", func() bool { return ready(t.Context(), g.metricsAddress) })
	if status, body, _ := post(t.Context(), g.responsesAddress, response); status != 202 {
		t.Errorf("afterwards: %d %s", status, body)
	}

	// What was read once outlives the API server.
	plane.StopAPIServer()
	time.Sleep(100 * time.Millisecond)
	if status, body, _ := post(t.Context(), g.responsesAddress, response); status != 202 {
		t.Errorf("during a later outage: %d %s", status, body)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
