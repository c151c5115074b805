package signin

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// log is text that several may write.
type log struct {
	sync.Mutex
	bytes.Buffer
}

func (l *log) Write(text []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Buffer.Write(text)
}

func (l *log) has(text string) bool {
	l.Lock()
	defer l.Unlock()
	return strings.Contains(l.String(), text)
}

// TestMetrics: who may get /metrics does, also while the API server is away; nobody else does.
func TestMetrics(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server")
	}
	cluster, err := localstack.StartControlPlane(t.Context(), localstack.ControlPlaneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	api, err := kubernetes.NewForConfig(cluster.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	account := func(name string) string {
		accounts := api.CoreV1().ServiceAccounts("default")
		if _, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		token, err := accounts.CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return token.Status.Token
	}
	prometheus, stranger := account("prometheus"), account("stranger")
	name := metav1.ObjectMeta{Name: "scrapes"}
	if _, err := api.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
		{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: name, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "scrapes"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "prometheus"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	var logged log
	reviewer, err := New(cluster.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(reviewer.Metrics(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "metrics") }),
		slog.New(slog.NewTextHandler(&logged, nil))))
	t.Cleanup(server.Close)
	scrape := func(token string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for end := time.Now().Add(30 * time.Second); scrape(prometheus) != http.StatusOK; {
		// The API server hears of rights by a watch, and an answer is remembered.
		if time.Now().After(end) {
			t.Fatalf("who may scrape is answered by %d", scrape(prometheus))
		}
		time.Sleep(200 * time.Millisecond)
	}
	for who, token := range map[string]string{"nobody": "", "somebody unknown": "made-up"} {
		if status := scrape(token); status != http.StatusUnauthorized {
			t.Errorf("%s is answered by %d", who, status)
		}
	}
	if status := scrape(stranger); status != http.StatusForbidden {
		t.Errorf("who may not scrape is answered by %d", status)
	}

	cluster.Stop()
	for end := time.Now().Add(60 * time.Second); !logged.has("whoever could lately still can"); time.Sleep(200 * time.Millisecond) {
		if status := scrape(prometheus); status != http.StatusOK {
			t.Fatalf("without an API server, who could scrape is answered by %d", status)
		}
		if time.Now().After(end) {
			t.Fatal("nothing tells that the API server is away")
		}
	}
	if status := scrape(stranger); status == http.StatusOK {
		t.Error("without an API server, a stranger can scrape")
	}
}
