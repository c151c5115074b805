package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/manual"
)

// TestDocumentation types what each page of the documentation says, in order, into a
// shell, after what they all begin with. Every command has to succeed, and to print what
// stands in the block after it. The gateway has the rights that config/ gives it.
func TestDocumentation(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	createNamespace(t, kubernetes, "sojourn-system")
	pages, err := filepath.Glob("../../docs/responses/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages: ", err)
	}
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			shop(t, kubernetes)
			s := &shell{t, manual.Open(t, manual.Options{Checkout: "../..", Kubeconfig: plane.Kubeconfig()})}
			s.Type("kubectl apply --server-side -k config/rbac")
			s.follow("../../docs/responses.md")
			gateway := startProcess(t, asGateway(t, plane.Kubeconfig()), filepath.Join(t.TempDir(), "gateway.db"), "shop")
			s.Type("GATEWAY=http://" + gateway.responsesAddress)
			s.follow(page)
			s.keptPrivate(gateway)
		})
	}
}

// shell is one that a page is typed into.
type shell struct {
	*testing.T
	*manual.Shell
}

// keptPrivate looks for what belongs to nobody but customers and sources in what operators
// see: the log and the series.
func (s *shell) keptPrivate(gateway *gatewayProcess) {
	s.Helper()
	_, metrics, err := get(s.Context(), "http://"+gateway.metricsAddress+"/metrics")
	if err != nil || !strings.Contains(metrics, "sojourn_survey_responses_total") {
		s.Fatal(err, metrics)
	}
	secrets := s.Type(`echo "$TOKEN $READ_TOKEN $ERASE_TOKEN $SIGNING_SECRET $SUBJECT"`).Printed
	for _, private := range append(strings.Fields(secrets), "c-7", "quick", "方便", "很快", "address twice") {
		if log := gateway.log.String(); strings.Contains(metrics, private) || strings.Contains(log, private) {
			s.Errorf("%q is in the log or in the series:\n%s", private, log)
		}
	}
}

// shop empties the namespace that all pages use.
func shop(t *testing.T, kubernetes client.Client) {
	t.Helper()
	createNamespace(t, kubernetes, "shop")
	for _, kind := range []client.Object{&v1alpha1.Touchpoint{}, &v1alpha1.ExperienceSLO{}, &v1alpha1.Journey{}, &corev1.Secret{}} {
		if err := kubernetes.DeleteAllOf(t.Context(), kind, client.InNamespace("shop")); err != nil {
			t.Fatal(err)
		}
	}
}

// asGateway is a kubeconfig with the rights of the gateway's service account only.
func asGateway(t *testing.T, kubeconfig string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:sojourn-system:sojourn-gateway"
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

var moment = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`)

// follow does what a page says, and compares. What was applied a moment ago may not have
// reached the gateway yet, which the answer says; then it is done again.
func (s *shell) follow(file string) {
	s.Helper()
	page, err := manual.Read(file)
	if err != nil {
		s.Fatal(err)
	}
	for i, b := range page.Blocks {
		if b.Language != "sh" || strings.Contains(b.Text, "sojourn-system") { // of a gateway that runs in a cluster
			continue
		}
		want := page.Prints(i)
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			got := s.Type(b.Text)
			if got.Status == 0 && (want == "" || moment.ReplaceAllString(got.Printed, "T") == moment.ReplaceAllString(want, "T")) {
				break
			}
			early := strings.Contains(got.Printed, `"status":401`) || strings.Contains(got.Printed, `"unknown_touchpoint"`) ||
				strings.Contains(got.Printed, `"unmapped"`) || strings.Contains(b.Text, "/s/") && got.Printed != want
			if !early || time.Now().After(deadline) {
				s.Fatalf("%s:%d\n%s\nends with %d and prints\n%s\n%s\nand should\n%s", file, b.Line, b.Text, got.Status, got.Printed, got.Said, want)
			}
		}
	}
}
