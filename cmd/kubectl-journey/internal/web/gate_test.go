package web

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/cmd/internal/signin"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas/atlastest"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// TestSignIn: a real API server says who asks and what they may see. One user may see the
// shop but no comments, another the bank alone, a third all of both.
func TestSignIn(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server")
	}
	ctx := t.Context()
	cluster, err := localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, rbacv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	api, err := client.New(cluster.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	create := func(object client.Object) {
		t.Helper()
		if err := api.Create(ctx, object); err != nil {
			t.Fatal(err)
		}
	}
	see := rbacv1.PolicyRule{APIGroups: []string{"sojourn.dev"}, Resources: []string{"journeys", "touchpoints", "experienceslos"}, Verbs: []string{"list"}}
	more := []rbacv1.PolicyRule{
		see, {APIGroups: []string{"sojourn.dev"}, Resources: []string{"touchpoints/comments"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"list"}},
	}
	for _, namespace := range []string{"shop", "bank"} {
		create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "see"}, Rules: []rbacv1.PolicyRule{see}})
		create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "more"}, Rules: more})
	}
	bind := func(namespace, role string, subject rbacv1.Subject) {
		t.Helper()
		create(&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role + "-" + subject.Name}, Subjects: []rbacv1.Subject{subject},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
		})
	}
	token := func(name string) string {
		t.Helper()
		who := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		create(who)
		asked := &authenticationv1.TokenRequest{}
		if err := api.SubResource("token").Create(ctx, who, asked); err != nil {
			t.Fatal(err)
		}
		return asked.Status.Token
	}
	account := func(name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "ServiceAccount", Namespace: "shop", Name: name}
	}
	shopper, banker, owner, stranger := token("shopper"), token("banker"), token("owner"), token("stranger")
	bind("shop", "see", account("shopper"))
	bind("bank", "see", account("banker"))
	bind("shop", "more", account("owner"))
	bind("bank", "more", account("owner"))
	bind("shop", "see", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "marketing"})

	reviewer, err := signin.New(cluster.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	const secret = "correct horse battery staple"
	s := newServer(t, newFixture(), func(o *Options) {
		o.Gate = &SignIn{
			Reviewer: reviewer,
			Proxy:    &Proxy{UserHeader: "X-User", GroupHeader: "X-Groups", SecretHeader: "X-Secret", Secret: secret, Certificates: true},
		}
	})
	ask := func(path string, change func(*http.Request)) (int, string) {
		t.Helper()
		request := httptest.NewRequest(http.MethodGet, path, nil)
		change(request)
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, request)
		if answer.Header().Get("Content-Security-Policy") != policy || answer.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", path, answer.Header())
		}
		if answer.Code == http.StatusUnauthorized && len(answer.Header().Values("WWW-Authenticate")) != 2 {
			t.Errorf("%s: nothing says how to sign in", path)
		}
		return answer.Code, answer.Body.String()
	}
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	proxied := func(pairs ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Add(pairs[i], pairs[i+1])
			}
		}
	}
	shop, checkout, elsewhere := "/journeys/shop/"+atlastest.Shop, "/touchpoints/shop/checkout", "/touchpoints/bank/silent-elsewhere"
	for name, test := range map[string]struct {
		who  func(*http.Request)
		want map[string]int // by page
	}{
		"nobody":         {func(*http.Request) {}, map[string]int{"/": 401, shop: 401, checkout: 401, "/live": 401, "/nowhere": 401}},
		"a wrong token":  {bearer("wrong"), map[string]int{"/": 401, "/live": 401}},
		"no rights":      {bearer(stranger), map[string]int{"/": 200, shop: 404, checkout: 404, elsewhere: 404, "/journeys/nowhere/x": 404}},
		"of the shop":    {bearer(shopper), map[string]int{"/": 200, shop: 200, checkout: 200, elsewhere: 404}},
		"by a password":  {func(r *http.Request) { r.SetBasicAuth("anybody", shopper) }, map[string]int{shop: 200, elsewhere: 404}},
		"of the bank":    {bearer(banker), map[string]int{"/": 200, shop: 404, checkout: 404, elsewhere: 200}},
		"of both":        {bearer(owner), map[string]int{shop: 200, elsewhere: 200}},
		"by a proxy":     {proxied("X-User", "anna", "X-Groups", "sales, marketing", "X-Secret", secret), map[string]int{"/": 200, shop: 200, elsewhere: 404}},
		"of no group":    {proxied("X-User", "anna", "X-Secret", secret), map[string]int{"/": 200, shop: 404}},
		"forged":         {proxied("X-User", "anna", "X-Groups", "marketing"), map[string]int{"/": 403, shop: 403, "/live": 403}},
		"a wrong secret": {proxied("X-User", "anna", "X-Groups", "marketing", "X-Secret", "guess"), map[string]int{"/": 403}},
		"forged besides": {proxied("X-User", "root", "Authorization", "Bearer "+shopper), map[string]int{"/": 403}},
		"two names":      {proxied("X-User", "anna", "X-User", "root", "X-Secret", secret), map[string]int{"/": 403}},
		"a master":       {proxied("X-User", "anna", "X-Groups", "system:masters", "X-Secret", secret), map[string]int{"/": 403}},
		"only a group":   {proxied("X-Groups", "marketing", "X-Secret", secret), map[string]int{"/": 401}},
		"an account":     {proxied("X-User", "system:serviceaccount:shop:owner", "X-Secret", secret), map[string]int{"/": 403}},
		"a certificate":  {func(r *http.Request) { proxied("X-User", "anna", "X-Groups", "marketing")(r); r.TLS = verified() }, map[string]int{shop: 200}},
		"an unproven one": {func(r *http.Request) {
			proxied("X-User", "anna", "X-Groups", "marketing")(r)
			r.TLS = &tls.ConnectionState{}
		}, map[string]int{shop: 403}},
	} {
		for path, want := range test.want {
			if got, text := ask(path, test.who); got != want {
				t.Errorf("%s, %s: %d, want %d\n%s", name, path, got, want, text)
			}
		}
	}

	// What is not there and what is not for them to see are told alike.
	_, missing := ask("/journeys/shop/nothing", bearer(stranger))
	_, hidden := ask(shop, bearer(stranger))
	if missing != hidden {
		t.Errorf("told apart:\n%s\n%s", missing, hidden)
	}
	_, overview := ask("/", bearer(stranger))
	for _, name := range []string{"shop", "bank", "purchase"} {
		if strings.Contains(overview, name) {
			t.Errorf("somebody without rights learns of %s", name)
		}
	}
	// Of a namespace that is not theirs they learn no more than what their own objects name.
	_, silent := ask("/journeys/shop/"+atlastest.Silent, bearer(shopper))
	if !strings.Contains(silent, "you may not read its Touchpoints") || strings.Contains(silent, "not open to journeys") {
		t.Error("the bank's touchpoint is shown to somebody of the shop")
	}
	// Comments and Events have rights of their own.
	_, plain := ask(checkout, bearer(shopper))
	_, whole := ask(checkout, bearer(owner))
	if strings.Contains(plain, "Quick and clear.") || !strings.Contains(plain, "Comments are for those who may get touchpoints/comments in namespace shop.") || !strings.Contains(plain, "Events are for those") {
		t.Error("comments or Events are shown to somebody without the right")
	}
	if !strings.Contains(whole, "Quick and clear.") || !strings.Contains(whole, "all budgets are kept &lt;b&gt;again&lt;/b&gt;") {
		t.Error("comments or Events are not shown to somebody with the right")
	}

	// Without the API server nobody comes in.
	cluster.StopAPIServer()
	if got, _ := ask("/", bearer("another")); got != http.StatusServiceUnavailable {
		t.Errorf("%d without an API server", got)
	}
}

// verified is a connection whose client showed a good certificate.
func verified() *tls.ConnectionState {
	return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
}
