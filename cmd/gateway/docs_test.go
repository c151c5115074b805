package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// TestDocumentation types what each page of the documentation says, in order, into a
// shell, after what they all begin with. Every command has to succeed, and to print what
// stands in the block after it. The gateway has the rights that config/ gives it.
func TestDocumentation(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	kubectl, err := localstack.Binary(t.Context(), localstack.KubectlBinary)
	if err != nil {
		t.Fatal(err)
	}
	createNamespace(t, kubernetes, "sojourn-system")
	pages, err := filepath.Glob("../../docs/responses/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages: ", err)
	}
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			shop(t, kubernetes)
			s := openShell(t, kubectl, plane.Kubeconfig())
			s.run("kubectl apply --server-side -k config/rbac")
			for _, each := range blocks(t, "../../docs/responses.md") {
				s.follow(each)
			}
			gateway := startProcess(t, asGateway(t, plane.Kubeconfig()), filepath.Join(t.TempDir(), "gateway.db"), "shop")
			s.run("GATEWAY=http://" + gateway.responsesAddress)
			for _, each := range blocks(t, page) {
				s.follow(each)
			}
			s.keptPrivate(gateway)
		})
	}
}

// keptPrivate looks for what belongs to nobody but customers and sources in what operators
// see: the log and the series.
func (s *shell) keptPrivate(gateway *gatewayProcess) {
	s.Helper()
	_, metrics, err := get(s.Context(), "http://"+gateway.metricsAddress+"/metrics")
	if err != nil || !strings.Contains(metrics, "sojourn_survey_responses_total") {
		s.Fatal(err, metrics)
	}
	_, secrets := s.run(`echo "$TOKEN $READ_TOKEN $ERASE_TOKEN $SIGNING_SECRET $SUBJECT"`)
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

// block is one command of a page, and what the page says that it prints.
type block struct{ command, prints string }

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```\n")

// blocks returns the commands of a page. A block of another language right after one is
// what it prints.
func blocks(t *testing.T, page string) (found []block) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	end := -1
	for _, at := range fence.FindAllStringSubmatchIndex(string(text), -1) {
		language, content := string(text[at[2]:at[3]]), string(text[at[4]:at[5]])
		switch {
		case language == "sh" && strings.Contains(content, "sojourn-system"):
			end = -1 // of a gateway that runs in a cluster
			continue
		case language == "sh":
			found = append(found, block{command: content})
		case end >= 0 && strings.TrimSpace(string(text[end:at[0]])) == "":
			found[len(found)-1].prints = content
		}
		end = at[1]
	}
	return found
}

// shell is one shell that commands are typed into.
type shell struct {
	*testing.T
	in  io.Writer
	out *bufio.Reader
}

func openShell(t *testing.T, kubectl, kubeconfig string) *shell {
	t.Helper()
	// The cache calls it by its version; users call it kubectl.
	programs := t.TempDir()
	if err := os.Symlink(kubectl, filepath.Join(programs, "kubectl")); err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"config", "charts"} {
		if err := os.Symlink(filepath.Join(checkout, folder), filepath.Join(work, folder)); err != nil {
			t.Fatal(err)
		}
	}
	path := programs + ":" + os.Getenv("PATH")
	if _, err := exec.LookPath("openssl"); err != nil { // users have it, machines that test may not
		debian, err := localstack.Debian(t.Context(), "openssl")
		if err != nil {
			t.Fatal(err)
		}
		path += ":" + filepath.Join(debian, "usr", "bin")
	}
	command := exec.CommandContext(t.Context(), "bash")
	command.Dir = work
	command.Env = append(os.Environ(), "PATH="+path, "KUBECONFIG="+kubeconfig)
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Wait()
	})
	return &shell{T: t, in: in, out: bufio.NewReader(out)}
}

// run types a command and returns what it printed.
func (s *shell) run(command string) (status int, printed string) {
	s.Helper()
	if _, err := fmt.Fprintf(s.in, "%s\necho; echo 'that was' $?\n", command); err != nil {
		s.Fatal(err)
	}
	text := &strings.Builder{}
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.Fatalf("the shell ended: %v\n%s", err, text)
		}
		if _, err := fmt.Sscanf(line, "that was %d", &status); err == nil {
			return status, strings.TrimSpace(strings.ReplaceAll(text.String(), "\r", ""))
		}
		text.WriteString(line)
	}
}

var moment = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`)

// follow does what a page says, and compares. What was applied a moment ago may not have
// reached the gateway yet, which the answer says; then it is done again.
func (s *shell) follow(b block) {
	s.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		status, printed := s.run(b.command)
		early := strings.Contains(printed, `"status":401`) || strings.Contains(printed, `"unknown_touchpoint"`) ||
			strings.Contains(printed, `"unmapped"`) || strings.Contains(b.command, "/s/") && printed != strings.TrimSpace(b.prints)
		if status == 0 && (b.prints == "" || moment.ReplaceAllString(printed, "T") == moment.ReplaceAllString(strings.TrimSpace(b.prints), "T")) {
			return
		}
		if !early || time.Now().After(deadline) {
			s.Fatalf("%s\nends with %d and prints\n%s\nand should\n%s", b.command, status, printed, b.prints)
		}
	}
}
