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
	// http goes where Pods would go by the same names.
	http *http.Client
	// token is what the survey tool of the namespace shop delivers with.
	token     string
	customers *customers
	visits    *visits
}

// step runs a step, and says in one line what was seen and how long it took.
func (t *test) step(ctx context.Context, name string, do func(context.Context) (string, error)) error {
	begin := time.Now()
	seen, err := do(ctx)
	took := time.Since(begin)
	if err != nil {
		fmt.Printf("FAIL %6.1f s  %s\n", took.Seconds(), name)
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Printf("ok   %6.1f s  %s: %s\n", took.Seconds(), name, seen)
	return nil
}

func (t *test) run(ctx context.Context, installOnly bool) error {
	steps := []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"cluster", t.startCluster},
		{"Prometheus Operator", t.installMonitoring},
		{"shop", t.installShop},
		{"helm install", t.installPrevious},
		{"samples", t.applySamples},
		{"Pods are ready", t.podsReady},
		{"in use", t.beginUse},
		{"Prometheus", t.prometheusWorks},
		{"upgrade", t.upgrade},
		{"alert despite restarts", t.alertDespiteRestarts},
		{"leader killed", t.killLeader},
		{"strangers", t.refuseStrangers},
		{"drain", t.drain},
		{"statuses", t.statusesShow}, // late, because the rules for them run every five minutes
		{"nothing lost", t.nothingLost},
		{"uninstall", t.uninstall},
		{"kustomize", t.kustomize},
	}
	if installOnly {
		steps = steps[:installation]
	}
	var errs []error
	for i, s := range steps {
		err := t.step(ctx, s.name, s.do)
		errs = append(errs, err)
		if err != nil && (i < installation || ctx.Err() != nil) {
			break
		}
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
	return "applied, with a source of survey answers", t.apply(ctx, "shop.yaml", map[string]string{"Token": t.token})
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
	values, err := t.fill("values.yaml", map[string]any{"Tag": previousTag, "Probers": 1})
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
	out, err := t.Kubectl(ctx, "get", "pods", "--all-namespaces", "--no-headers")
	return fmt.Sprintf("%d of them", strings.Count(out, "\n")), err
}
