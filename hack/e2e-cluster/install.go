package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/sojourn-dev/sojourn/hack/cluster"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// release and system are what the chart is installed as, and where.
const (
	release = "sojourn"
	system  = "sojourn-system"
)

// installation is how many steps there are without which the rest makes no sense.
const installation = 6

// test is one run of all steps.
type test struct {
	*cluster.Cluster
	folder string
	begin  time.Time
	// http goes where Pods would go by the same names.
	http *http.Client
	// token is what the survey tool of the namespace shop delivers with.
	token     string
	customers *customers
	visits    *visits
	pages     *pages
	broken    time.Time // when the checkout was broken
}

// outcome is what a step came to.
type outcome struct {
	name, seen string
	took       time.Duration
	err        error
}

func (o outcome) String() string {
	word, seen := "ok  ", o.seen
	if o.err != nil {
		word, seen = "FAIL", firstLine(o.err.Error())
	}
	return fmt.Sprintf("%s %6.1f s  %-22s  %s", word, o.took.Seconds(), o.name, seen)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// step runs a step, and says when it begins and what it came to.
func (t *test) step(ctx context.Context, name, about string, do func(context.Context) (string, error)) outcome {
	begin := time.Now()
	fmt.Printf("%s  %s: %s\n", begin.Sub(t.begin).Round(time.Second), name, about)
	seen, err := do(ctx)
	o := outcome{name, seen, time.Since(begin), err}
	fmt.Println("     ", o)
	if err != nil {
		fmt.Printf("%v\n%s\n", err, t.trouble(ctx))
	}
	return o
}

// trouble is what helps to find out why a step failed.
func (t *test) trouble(ctx context.Context) string {
	if t.Cluster == nil || ctx.Err() != nil {
		return ""
	}
	pods, podsErr := t.Kubectl(ctx, "get", "pods", "--all-namespaces", "--output=wide")
	events, eventsErr := t.Kubectl(ctx, "events", "--all-namespaces", "--types=Warning")
	lines := strings.Split(strings.TrimSpace(events), "\n")
	if err := errors.Join(podsErr, eventsErr); err != nil {
		return err.Error()
	}
	return pods + strings.Join(lines[max(0, len(lines)-15):], "\n")
}

func (t *test) run(ctx context.Context, installOnly bool) error {
	t.begin = time.Now()
	steps := []struct {
		name, about string
		do          func(context.Context) (string, error)
	}{
		{"cluster", "a control plane, one node, and DNS", t.startCluster},
		{"Prometheus Operator", "with a Prometheus and an Alertmanager", t.installMonitoring},
		{"shop", "the demo's, as a Pod", t.installShop},
		{"helm install", "the previous version", t.installPrevious},
		{"samples", "a journey with all its touchpoints", t.applySamples},
		{"Pods ready", "all of them", t.podsReady},
		{"in use", "customers answer, probers visit", t.beginUse},
		{"Prometheus", "scrapes and runs rules", t.prometheusWorks},
		{"upgrade", "to this version, under load", t.upgrade},
		{"restarts", "of everything of ours, while the checkout is broken", t.restarts},
		{"leader killed", "by SIGKILL", t.killLeader},
		{"strangers", "ask for what is not theirs", t.refuseStrangers},
		{"alert", "Alertmanager hears of the checkout despite all that", t.alert},
		{"drain", "kubectl drain", t.drain},
		{"nothing lost", "what was counted, beside what happened", t.nothingLost},
		// Late, because the rules for them run every five minutes.
		{"statuses", "figures on the objects", t.statusesShow},
		{"uninstall", "keeps the kinds, or removes them, as told", t.uninstall},
		{"newcomer", "from helm install to a verdict on a journey", t.newcomer},
		{"kustomize", "the same without Helm", t.kustomize},
	}
	if installOnly {
		steps = steps[:installation]
	}
	var outcomes []outcome
	var errs []error
	for i, s := range steps {
		o := t.step(ctx, s.name, s.about, s.do)
		outcomes = append(outcomes, o)
		if o.err != nil {
			errs = append(errs, fmt.Errorf("%s: %s", o.name, firstLine(o.err.Error())))
		}
		if o.err != nil && (i < installation || ctx.Err() != nil) {
			break
		}
	}
	if ctx.Err() != nil {
		return errors.New("ended by a signal; nothing is left behind")
	}
	fmt.Println()
	for _, o := range outcomes {
		fmt.Println(o)
	}
	if len(errs) > 0 {
		errs = append(errs, errors.New("above is what the cluster said at that time; sudo bin/e2e -keep lets it run at the end, to be looked into"))
	}
	return errors.Join(errs...)
}

func (t *test) startCluster(ctx context.Context) (seen string, err error) {
	if t.Cluster, err = cluster.Start(ctx, t.folder); err != nil {
		return "", err
	}
	t.http = insideClient(t.DNSAddress())
	version, err := t.Client.Discovery().ServerVersion()
	if err != nil {
		return "", err
	}
	return "Kubernetes " + version.GitVersion + ", one node Ready, names answered", nil
}

// installMonitoring installs the operator by its own manifests, and has it run a
// Prometheus and an Alertmanager.
func (t *test) installMonitoring(ctx context.Context) (string, error) {
	prometheus, err := version(ctx, localstack.ClusterPrometheusBinary)
	if err != nil {
		return "", err
	}
	alertmanager, err := version(ctx, localstack.AlertmanagerBinary)
	if err != nil {
		return "", err
	}
	manifests := filepath.Join(t.folder, "monitoring")
	if _, err := t.Kubectl(ctx, "apply", "--server-side", "--filename", filepath.Join(manifests, "crds")); err != nil {
		return "", err
	}
	if _, err := t.Kubectl(ctx, "wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=30s"); err != nil {
		return "", err
	}
	if _, err := t.Kubectl(ctx, "apply", "--server-side", "--kustomize", manifests); err != nil {
		return "", err
	}
	err = t.apply(ctx, "prometheus.yaml", map[string]string{"PrometheusVersion": prometheus, "AlertmanagerVersion": alertmanager})
	return "its own manifests, Prometheus " + prometheus + ", Alertmanager " + alertmanager, err
}

// version asks a program for it.
func version(ctx context.Context, binary string) (string, error) {
	path, err := localstack.Binary(ctx, binary)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) < 3 {
		return "", fmt.Errorf("%s --version: %w\n%s", binary, err, out)
	}
	return "v" + fields[2], nil // "prometheus, version 3.13.5 (…"
}

// apply fills one of our files in and applies it.
func (t *test) apply(ctx context.Context, name string, values any) error {
	file, err := t.fill(name, values)
	if err != nil {
		return err
	}
	_, err = t.Kubectl(ctx, "apply", "--server-side", "--filename", file)
	return err
}

func (t *test) fill(name string, values any) (string, error) {
	text, err := os.ReadFile(filepath.Join("hack", "e2e-cluster", "files", name))
	if err != nil {
		return "", err
	}
	parsed, err := template.New(name).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return "", err
	}
	var filled bytes.Buffer
	if err := parsed.Execute(&filled, values); err != nil {
		return "", err
	}
	file := filepath.Join(t.folder, name)
	return file, os.WriteFile(file, filled.Bytes(), 0o644)
}

func (t *test) installShop(ctx context.Context) (string, error) {
	t.token = rand.Text()
	return "as a Deployment behind a Service, with a source of survey answers", t.apply(ctx, "shop.yaml", map[string]string{"Token": t.token})
}

// installPrevious installs the previous version where nothing but restricted Pods may
// run.
func (t *test) installPrevious(ctx context.Context) (string, error) {
	if _, err := t.Kubectl(ctx, "create", "namespace", system); err != nil {
		return "", err
	}
	if _, err := t.Kubectl(ctx, "label", "namespace", system, "pod-security.kubernetes.io/enforce=restricted"); err != nil {
		return "", err
	}
	sources, revision, err := previous(ctx)
	if err != nil {
		return "", err
	}
	values, err := t.fill("values.yaml", map[string]any{"Tag": previousTag, "Probers": 1, "Current": false})
	if err != nil {
		return "", err
	}
	if _, err := t.helm(ctx, "install", release, filepath.Join(sources, "charts", "sojourn"), "--namespace", system, "--values", values); err != nil {
		return "", err
	}
	// As the notes say.
	_, err = t.Kubectl(ctx, "create", "clusterrolebinding", "prometheus-reads-sojourn",
		"--clusterrole", release+"-metrics-reader", "--serviceaccount=monitoring:prometheus")
	return fmt.Sprintf("version %.12s, into a namespace that enforces restricted Pods", revision), err
}

func (t *test) helm(ctx context.Context, arguments ...string) (string, error) {
	binary, err := localstack.Binary(ctx, localstack.HelmBinary)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, binary, arguments...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+t.Kubeconfig(), "HELM_CACHE_HOME="+t.folder, "HELM_CONFIG_HOME="+t.folder, "HELM_DATA_HOME="+t.folder)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("helm %s: %w\n%s", strings.Join(arguments, " "), err, out)
	}
	return string(out), nil
}

func (t *test) applySamples(ctx context.Context) (string, error) {
	_, err := t.Kubectl(ctx, "apply", "--server-side", "--kustomize", "config/samples")
	return "config/samples applied", err
}

// podsReady waits for every Pod of every namespace.
func (t *test) podsReady(ctx context.Context) (string, error) {
	for _, each := range []string{
		"deployment/prometheus-operator -n monitoring", "deployment/shop -n shop", "deployment/sojourn-manager -n " + system,
		"statefulset/sojourn-gateway -n " + system, "deployment/sojourn-prober -n " + system,
	} {
		if _, err := t.Kubectl(ctx, append([]string{"rollout", "status", "--timeout=150s"}, strings.Fields(each)...)...); err != nil {
			return "", err
		}
	}
	if _, err := t.Kubectl(ctx, "wait", "--for=condition=Available", "--timeout=60s", "-n", "monitoring", "prometheus/main", "alertmanager/main"); err != nil {
		return "", err
	}
	if _, err := t.Kubectl(ctx, "wait", "--for=condition=Ready", "--timeout=60s", "pods", "--all", "--all-namespaces"); err != nil {
		return "", err
	}
	out, err := t.Kubectl(ctx, "get", "pods", "--all-namespaces", "--no-headers")
	return fmt.Sprintf("all %d of them", strings.Count(out, "\n")), err
}
