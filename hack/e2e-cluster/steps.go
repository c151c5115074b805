package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/hack/cluster"
)

// components are the workloads that the chart installs.
var components = []string{
	"deployment/" + release + "-manager", "statefulset/" + release + "-gateway", "deployment/" + release + "-prober", "deployment/" + release + "-ui",
}

// beginUse has customers answer and looks on when probers come, from now to the end.
func (t *test) beginUse(ctx context.Context) (string, error) {
	t.visits = startVisits(ctx, t)
	t.customers = startCustomers(ctx, t.http, t.token)
	return "the shop is visited by its Service's name, and four answers a second are taken", eventually(ctx, 2*time.Minute, func(context.Context) error {
		if accepted, _, _ := t.customers.figures(); accepted == 0 {
			return errors.New("the gateway took no answer")
		}
		for _, page := range watchedPages {
			if t.visits.count(page) == 0 {
				return fmt.Errorf("no prober visited %s by the Service's name", page)
			}
		}
		return nil
	})
}

// prometheusWorks: the operator's Prometheus scrapes all of ours and runs all rules.
func (t *test) prometheusWorks(ctx context.Context) (seen string, err error) {
	prometheus, err := t.prometheus()
	if err != nil {
		return "", err
	}
	objects, err := t.Kubectl(ctx, "get", "prometheusrules", "--all-namespaces", "--output=jsonpath={range .items[*]}{.spec.groups[*].name}{' '}{end}")
	if err != nil {
		return "", err
	}
	return seen, eventually(ctx, 3*time.Minute, func(ctx context.Context) error {
		targets, err := prometheus.Targets(ctx)
		if err != nil {
			return err
		}
		up := map[string]int{}
		for _, target := range targets.Active {
			if target.Health != "up" {
				return fmt.Errorf("%s: %s", target.ScrapeURL, target.LastError)
			}
			up[string(target.Labels["service"])]++
		}
		for service, wanted := range map[string]int{release + "-manager-metrics": 2, release + "-prober-metrics": 1, release + "-gateway-metrics": 1, "shop": 1} {
			if up[service] < wanted {
				return fmt.Errorf("%d targets of %s, not %d", up[service], service, wanted)
			}
		}
		rules, err := prometheus.Rules(ctx, nil)
		if err != nil {
			return err
		}
		if wanted := len(strings.Fields(objects)); len(rules.Groups) < wanted {
			return fmt.Errorf("%d groups of rules are loaded, not %d", len(rules.Groups), wanted)
		}
		failing, err := t.number(ctx, "sum(prometheus_rule_evaluation_failures_total) or vector(0)")
		if err == nil && failing > 0 {
			err = fmt.Errorf("%v evaluations of rules failed", failing)
		}
		seen = fmt.Sprintf("%d targets up, %d groups of rules loaded", len(targets.Active), len(rules.Groups))
		return err
	})
}

// statusesShow: figures have come all the way to the objects.
func (t *test) statusesShow(ctx context.Context) (seen string, err error) {
	return seen, eventually(ctx, 7*time.Minute, func(ctx context.Context) error {
		seen = ""
		for _, figure := range []struct{ object, path string }{
			{"touchpoint/checkout", ".status.experience.availability.percent"},
			{"touchpoint/checkout", ".status.experience.latency.p95Seconds"},
			{"touchpoint/checkout", ".status.experience.ces.easePercent"},
			{"experienceslo/critical-touchpoints", `.status.conditions[?(@.type=="Met")].reason`},
			{"journey/online-purchase", ".status.score"},
		} {
			value, err := t.Kubectl(ctx, "--namespace=shop", "get", figure.object, "--output=jsonpath={"+figure.path+"}")
			if err != nil {
				return err
			}
			if value == "" || value == "NoData" {
				return fmt.Errorf("%s has no %s yet", figure.object, figure.path)
			}
			seen += figure.path[strings.LastIndex(figure.path, ".")+1:] + " " + value + ", "
		}
		seen = strings.TrimSuffix(seen, ", ")
		return nil
	})
}

// upgrade from the previous version's chart and programs to these.
func (t *test) upgrade(ctx context.Context) (string, error) {
	t.pages = startPages(ctx, t) // there are none until then
	t.forget()
	values, err := t.fill("values.yaml", map[string]any{"Tag": currentTag, "Probers": 2, "Current": true})
	if err != nil {
		return "", err
	}
	if _, err := t.helm(ctx, "upgrade", release, "charts/sojourn", "--namespace", system, "--values", values); err != nil {
		return "", err
	}
	if err := t.rolledOut(ctx); err != nil {
		return "", err
	}
	for _, component := range components {
		image, err := t.Kubectl(ctx, "--namespace", system, "get", component, "--output=jsonpath={.spec.template.spec.containers[*].image}")
		if err != nil {
			return "", err
		}
		if !strings.HasSuffix(image, ":"+currentTag) {
			return "", fmt.Errorf("%s still runs %s", component, image)
		}
	}
	return t.visits.steady()
}

// forget begins a new look at how steady all goes on.
func (t *test) forget() {
	t.visits.reset()
	t.pages.reset()
}

// steady says for how long at most something of ours stood still since then, and is an
// error if that was too long.
func (t *test) steady() (string, error) {
	visited, err := t.visits.steady()
	shown, pagesErr := t.pages.steady()
	return visited + ", " + shown, errors.Join(err, pagesErr)
}

func (t *test) rolledOut(ctx context.Context) error {
	for _, component := range components {
		if _, err := t.Kubectl(ctx, "--namespace", system, "rollout", "status", component, "--timeout=5m"); err != nil {
			return err
		}
	}
	return nil
}

// restarts breaks the checkout and restarts everything of ours. Alertmanager is to hear of
// the checkout all the same: see alert.
func (t *test) restarts(ctx context.Context) (string, error) {
	t.forget()
	if err := t.shopAdmin(ctx, "/break?page=checkout&mode=down"); err != nil {
		return "", err
	}
	t.broken = time.Now()
	for _, component := range components {
		if _, err := t.Kubectl(ctx, "--namespace", system, "rollout", "restart", component); err != nil {
			return "", err
		}
	}
	if err := t.rolledOut(ctx); err != nil {
		return "", err
	}
	return t.steady()
}

// alert waits until Alertmanager knows of the broken checkout, and mends it.
func (t *test) alert(ctx context.Context) (string, error) {
	seen := ""
	err := eventually(ctx, 5*time.Minute, func(ctx context.Context) error {
		alerts, err := t.alerts(ctx)
		if err != nil {
			return err
		}
		for _, alert := range alerts {
			if alert.Labels["touchpoint"] == "checkout" && strings.HasSuffix(alert.Labels["alertname"], "Burn") {
				seen = fmt.Sprintf("%s (%s, %s) began %s after the checkout broke", alert.Labels["alertname"], alert.Labels["slo"], alert.Labels["severity"],
					alert.StartsAt.Sub(t.broken).Round(time.Second))
				return nil
			}
		}
		return fmt.Errorf("none of %d alerts is about the checkout", len(alerts))
	})
	return seen, errors.Join(err, t.shopAdmin(ctx, "/heal"))
}

func (t *test) shopAdmin(ctx context.Context, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, shopAdminURL+path, nil)
	if err != nil {
		return err
	}
	response, err := t.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return fmt.Errorf("the shop answered %s", response.Status)
	}
	return nil
}

// killLeader ends the managing manager by force; the other one goes on.
func (t *test) killLeader(ctx context.Context) (string, error) {
	leases := t.Client.CoordinationV1().Leases(system)
	before, err := leases.Get(ctx, "sojourn-manager", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	name, _, _ := strings.Cut(*before.Spec.HolderIdentity, "_")
	pod, err := t.Client.CoreV1().Pods(system).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if err := killContainers(string(pod.UID)); err != nil {
		return "", err
	}
	begin := time.Now()
	// Work for whoever is next: a promise more.
	promise := filepath.Join(t.folder, "promise.yaml")
	if err := os.WriteFile(promise, []byte(promiseYAML), 0o644); err != nil {
		return "", err
	}
	if _, err := t.Kubectl(ctx, "apply", "--server-side", "--filename", promise); err != nil {
		return "", err
	}
	holder := ""
	err = eventually(ctx, time.Minute, func(ctx context.Context) error {
		after, err := leases.Get(ctx, "sojourn-manager", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if holder = *after.Spec.HolderIdentity; holder == *before.Spec.HolderIdentity {
			return errors.New("the killed manager still holds the Lease")
		}
		_, err = t.Kubectl(ctx, "--namespace=shop", "get", "prometheusrule", "sojourn-slo-after-the-kill")
		return err
	})
	if err != nil {
		return "", err
	}
	next, _, _ := strings.Cut(holder, "_")
	return fmt.Sprintf("%s was killed, %s wrote the next rules %s later", name, next, time.Since(begin).Round(time.Second)), t.rolledOut(ctx)
}

const promiseYAML = `apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: after-the-kill, namespace: shop}
spec:
  targets: {touchpoints: [checkout]}
  objectives:
  - {name: availability, availability: {target: "99%"}}
`

// killContainers kills the programs of a Pod, as a lack of memory would.
func killContainers(uid string) error {
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return err
	}
	killed := 0
	for _, file := range groups {
		group, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(group), uid) {
			continue
		}
		program, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err != nil || !bytes.HasPrefix(program, []byte("/program\x00")) || bytes.Count(program, []byte{0}) < 2 {
			continue // the pause container has no arguments
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
		killed++
	}
	if killed != 1 {
		return fmt.Errorf("killed %d programs of Pod %s, not one", killed, uid)
	}
	return nil
}

// refuseStrangers: nobody without rights sees anything.
func (t *test) refuseStrangers(ctx context.Context) (string, error) {
	if err := t.apply(ctx, "stranger.yaml", map[string]any{"Tag": currentTag, "Names": []string{"stranger", "viewer"}}); err != nil {
		return "", err
	}
	if err := t.podEnds(ctx, "stranger", corev1.PodFailed, "forbidden"); err != nil {
		return "", err
	}
	if err := t.podEnds(ctx, "viewer", corev1.PodSucceeded, `"online-purchase"`); err != nil {
		return "", err
	}
	token, err := t.Client.CoreV1().ServiceAccounts("shop").CreateToken(ctx, "stranger", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	viewer, err := t.Client.CoreV1().ServiceAccounts("shop").CreateToken(ctx, "viewer", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	for _, ask := range []struct {
		method, url, token string
		want               int
	}{
		{http.MethodGet, uiURL + "/journeys/shop/online-purchase", "", http.StatusUnauthorized},
		{http.MethodGet, uiURL + "/journeys/shop/online-purchase", token.Status.Token, http.StatusNotFound},
		{http.MethodGet, uiURL + "/journeys/shop/online-purchase", viewer.Status.Token, http.StatusOK},
		{http.MethodGet, "https://sojourn-manager-metrics.sojourn-system.svc.cluster.local:8443/metrics", "", http.StatusUnauthorized},
		{http.MethodGet, "https://sojourn-manager-metrics.sojourn-system.svc.cluster.local:8443/metrics", token.Status.Token, http.StatusForbidden},
		{http.MethodGet, gatewayTotals, "", http.StatusUnauthorized},
		{http.MethodGet, gatewayTotals, token.Status.Token, http.StatusForbidden},
		{http.MethodPost, gatewayURL + "/v1/responses", "", http.StatusUnauthorized},
		{http.MethodPost, gatewayURL + "/v1/responses", "guessed", http.StatusUnauthorized},
	} {
		status, err := t.ask(ctx, ask.method, ask.url, ask.token)
		if err != nil {
			return "", err
		}
		if status != ask.want {
			return "", fmt.Errorf("%s %s answered %d, not %d", ask.method, ask.url, status, ask.want)
		}
	}
	return "a Pod without rights reads no journey, page or metrics, and delivers no answer; one with the role view reads the journey and its page", nil
}

func (t *test) ask(ctx context.Context, method, url, token string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("{}"))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := t.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// podEnds waits for a Pod's end and looks for a word in what it wrote.
func (t *test) podEnds(ctx context.Context, name string, want corev1.PodPhase, word string) error {
	return eventually(ctx, time.Minute, func(ctx context.Context) error {
		pod, err := t.Client.CoreV1().Pods("shop").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		log, err := t.Kubectl(ctx, "--namespace=shop", "logs", name)
		if pod.Status.Phase != want || !strings.Contains(log, word) {
			return errors.Join(fmt.Errorf("the Pod %s is %s, not %s, and wrote: %s", name, pod.Status.Phase, want, log), err)
		}
		return nil
	})
}

// drain takes all of ours off the node, which comes back soon after, with no other to go
// to. Budgets allow one of two to go, and no more as long as its successor is not ready.
func (t *test) drain(ctx context.Context) (string, error) {
	t.forget()
	type result struct {
		out string
		err error
	}
	drained := make(chan result, 1)
	begin := time.Now()
	go func() {
		out, err := t.Kubectl(ctx, "drain", cluster.NodeName, "--pod-selector=app.kubernetes.io/instance="+release, "--delete-emptydir-data", "--timeout=5m")
		drained <- result{out, err}
	}()
	err := eventually(ctx, time.Minute, func(ctx context.Context) error {
		pods, err := t.Client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Pending"})
		if err == nil && len(pods.Items) < len(components) {
			err = fmt.Errorf("%d Pods look for another node, not one of each component", len(pods.Items))
		}
		return err
	})
	_, uncordonErr := t.Kubectl(ctx, "uncordon", cluster.NodeName)
	done := <-drained
	if err := errors.Join(err, uncordonErr, done.err); err != nil {
		return "", err
	}
	took := time.Since(begin)
	for _, component := range []string{"manager", "prober", "ui"} {
		refused := false
		for line := range strings.Lines(done.out) {
			refused = refused || strings.Contains(line, release+"-"+component) && strings.Contains(line, "disruption budget")
		}
		if !refused {
			return "", fmt.Errorf("no budget kept the second %s while the first had no successor; kubectl drain wrote: %s", component, done.out)
		}
	}
	if err := t.rolledOut(ctx); err != nil {
		return "", err
	}
	steady, err := t.steady()
	return fmt.Sprintf("done within %s, one manager, prober and page server at a time; %s", took.Round(time.Second), steady), err
}

// nothingLost compares what was sent and seen with what was counted.
func (t *test) nothingLost(ctx context.Context) (string, error) {
	t.customers.stop()
	accepted, retries, longest := t.customers.figures()
	var counted int
	err := eventually(ctx, 30*time.Second, func(ctx context.Context) (err error) {
		if counted, err = t.counted(ctx); err == nil && counted != accepted {
			err = fmt.Errorf("the gateway took %d answers and counts %d", accepted, counted)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	// Probers that end stay until their last counts were scraped.
	if _, err := t.Kubectl(ctx, "--namespace", system, "scale", "deployment/"+release+"-prober", "--replicas=0"); err != nil {
		return "", err
	}
	if _, err := t.Kubectl(ctx, "--namespace", system, "wait", "--for=delete", "pods", "--selector=app.kubernetes.io/component=prober", "--timeout=100s"); err != nil {
		return "", err
	}
	runs, err := t.number(ctx, `sum(last_over_time(sojourn_probe_runs_total{touchpoint="checkout"}[1h]))`)
	if err != nil {
		return "", err
	}
	// A visit that a prober's end called off was seen by the shop, and says nothing of it.
	visits := t.visits.count("checkout")
	if runs > visits || runs < visits-calledOff {
		return "", fmt.Errorf("the shop was visited %v times, and Prometheus knows of %v", visits, runs)
	}
	return fmt.Sprintf("%d answers, all counted once (%d attempts in vain, the slowest answer took %s); %v of %v visits to the checkout counted",
		accepted, retries, longest.Round(time.Second/10), runs, visits), nil
}

// calledOff is how many visits may have gone on just when their prober ended, of the few
// that did.
const calledOff = 2

// uninstall keeps the kinds, their objects and the answers, and a new installation goes
// on with them; told to, it removes the kinds.
func (t *test) uninstall(ctx context.Context) (string, error) {
	names := func() (string, error) {
		return t.Kubectl(ctx, "get", "journeys,touchpoints,experienceslos", "--all-namespaces", "--output=name")
	}
	before, err := names()
	if err != nil {
		return "", err
	}
	answers, err := t.counted(ctx)
	if err != nil {
		return "", err
	}
	if _, err := t.helm(ctx, "uninstall", release, "--namespace", system, "--wait"); err != nil {
		return "", err
	}
	after, err := names()
	if err != nil || after != before {
		return "", fmt.Errorf("after the uninstallation there are %s, before it there were %s (%v)", after, before, err)
	}
	left, err := t.Kubectl(ctx, "--namespace", system, "get", "deployments,statefulsets,services,serviceaccounts,roles,rolebindings,servicemonitors,poddisruptionbudgets",
		"--selector=app.kubernetes.io/instance="+release, "--output=name")
	if err != nil || left != "" {
		return "", fmt.Errorf("left behind: %s (%v)", left, err)
	}
	values := filepath.Join(t.folder, "values.yaml")
	if _, err := t.helm(ctx, "install", release, "charts/sojourn", "--namespace", system, "--values", values, "--set=crds.keep=false"); err != nil {
		return "", err
	}
	err = eventually(ctx, time.Minute, func(ctx context.Context) error {
		again, err := t.counted(ctx)
		if err == nil && again != answers {
			err = fmt.Errorf("the gateway counts %d answers, not the %d of before", again, answers)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if err := t.removeAll(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d objects and %d answers outlived it, and the kinds went when told to", strings.Count(before, "\n"), answers), nil
}

// removeAll uninstalls a release that does not keep the kinds.
func (t *test) removeAll(ctx context.Context) error {
	if _, err := t.helm(ctx, "uninstall", release, "--namespace", system, "--wait"); err != nil {
		return err
	}
	return eventually(ctx, time.Minute, func(ctx context.Context) error {
		kinds, err := t.Kubectl(ctx, "get", "customresourcedefinitions", "--output=name")
		if err == nil && strings.Contains(kinds, "sojourn.dev") {
			err = errors.New("the kinds are still there although crds.keep is false")
		}
		return err
	})
}

// soon is how long somebody with a cluster and a Prometheus waits at most, from the
// installation, until a journey tells how it is.
const soon = 5 * time.Minute

// newcomer does what the chart's README and the shortest sample say, where nothing of ours
// is.
func (t *test) newcomer(ctx context.Context) (string, error) {
	shortest, err := os.ReadFile("config/samples/shortest.yaml")
	if err != nil {
		return "", err
	}
	text := strings.NewReplacer("http://shop.shop.svc/", shopURL+"/", "namespace: shop", "namespace: "+newcomers).Replace(string(shortest))
	if strings.Count(text, newcomers) != 3 || !strings.Contains(text, shopURL) {
		return "", errors.New("config/samples/shortest.yaml names no namespace or no address that could be replaced")
	}
	file := filepath.Join(t.folder, "shortest.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return "", err
	}
	token := rand.Text()
	for _, arguments := range [][]string{
		{"create", "namespace", newcomers},
		{"--namespace", newcomers, "create", "secret", "generic", "survey-tool", "--type=sojourn.dev/survey-source", "--from-literal=tokens=" + token},
	} {
		if _, err := t.Kubectl(ctx, arguments...); err != nil {
			return "", err
		}
	}
	begin := time.Now()
	if _, err := t.helm(ctx, "upgrade", "--install", release, "charts/sojourn", "--namespace", system, "--create-namespace",
		"--set", "image.prefix=images.test/local,image.tag="+currentTag,
		"--set", "prometheus.url=http://prometheus-operated.monitoring.svc:9090,serviceMonitors.enabled=true",
		"--set", "gateway.sourceNamespaces={"+newcomers+"},crds.keep=false"); err != nil {
		return "", err
	}
	// What is next must not meet it, whatever comes of this.
	came, err := t.firstMinutes(ctx, begin, file, token)
	return came, errors.Join(err, t.removeAll(ctx))
}

// firstMinutes applies a file, has customers answer, and waits for figures and verdicts.
func (t *test) firstMinutes(ctx context.Context, begin time.Time, file, token string) (string, error) {
	if _, err := t.Kubectl(ctx, "wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=30s"); err != nil {
		return "", err
	}
	if _, err := t.Kubectl(ctx, "apply", "--server-side", "--filename", file); err != nil {
		return "", err
	}
	answers := startCustomers(ctx, t.http, token)
	defer answers.stop()
	var came []string
	for _, wanted := range []struct{ word, object, path string }{
		{"score", "journey/online-purchase", ".status.score"},
		{"speed in %", "experienceslo/checkout", `.status.worst[?(@.objective=="speed")].value`},
		{"ease in %", "experienceslo/checkout", `.status.worst[?(@.objective=="effort")].value`},
		{"Met", "experienceslo/checkout", `.status.conditions[?(@.type=="Met")].status`},
		{"Healthy", "journey/online-purchase", `.status.conditions[?(@.type=="Healthy")].status`},
	} {
		err := eventually(ctx, soon-time.Since(begin), func(ctx context.Context) error {
			value, err := t.Kubectl(ctx, "--namespace", newcomers, "get", wanted.object, "--output=jsonpath={"+wanted.path+"}")
			if err == nil && (value == "" || value == string(metav1.ConditionUnknown)) {
				err = fmt.Errorf("%s has no %s yet", wanted.object, wanted.path)
			}
			if err == nil {
				came = append(came, fmt.Sprintf("%s %s after %s", wanted.word, value, time.Since(begin).Round(time.Second)))
			}
			return err
		})
		if err != nil {
			return "", fmt.Errorf("%s: %w", strings.Join(came, ", "), err)
		}
	}
	return strings.Join(came, ", "), nil
}

// newcomers is the namespace of a newcomer.
const newcomers = "newcomer"

// kustomize installs the same without Helm, as config says.
func (t *test) kustomize(ctx context.Context) (string, error) {
	folder := filepath.Join(t.folder, "kustomize")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	config, err := filepath.Rel(folder, filepath.Join(here, "config"))
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("resources: [%s/default, %s/prometheus]\nimages:\n", config, config)
	for _, name := range ourPrograms {
		text += fmt.Sprintf("- {name: sojourn-%s, newName: images.test/local/sojourn-%s, newTag: %s}\n", name, name, currentTag)
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o644); err != nil {
		return "", err
	}
	// The kinds come with the rest, and objects of them only after that.
	if _, err := t.Kubectl(ctx, "apply", "--server-side", "--kustomize", folder); err != nil {
		return "", err
	}
	for _, component := range components[:3] { // without the pages
		// Not rolled out, which takes a prober a minute more.
		if _, err := t.Kubectl(ctx, "--namespace", system, "wait", "--for=jsonpath={.status.readyReplicas}=1", component, "--timeout=2m"); err != nil {
			return "", err
		}
	}
	if _, err := t.Kubectl(ctx, "apply", "--server-side", "--kustomize", "config/samples"); err != nil {
		return "", err
	}
	_, err = t.Kubectl(ctx, "--namespace=shop", "wait", "--for=condition=Ready", "journeys,touchpoints,experienceslos", "--all", "--timeout=60s")
	return "config/default and config/prometheus, all Pods and samples ready", err
}
