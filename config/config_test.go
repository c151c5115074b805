// Package config_test installs what config/ describes on a real API server, and
// checks what an API server does not.
package config_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/promslog"
	promconfig "github.com/prometheus/prometheus/config"
	_ "github.com/prometheus/prometheus/discovery/kubernetes" // so that the configuration may name it
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

const (
	systemNamespace = "sojourn-system"
	shopNamespace   = "shop"
)

// endpointsReader is the Role, and its binding, for everybody in the cluster.
const endpointsReader = "sojourn-endpoints-reader"

// components are the programs that run in a cluster.
var components = []string{"gateway", "manager", "prober"}

// render renders a kustomization as kubectl does.
func render(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	options := krusty.MakeDefaultOptions()
	// kubectl's order: namespaces and kinds before what needs them.
	options.Reorder = krusty.ReorderOptionLegacy
	rendered, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for _, resource := range rendered.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &object.Object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
	return objects
}

// ofKind returns the objects of one kind, of which no field is unknown.
func ofKind[T any](t *testing.T, objects []*unstructured.Unstructured, kind string) []T {
	t.Helper()
	var found []T
	for _, object := range objects {
		if object.GetKind() != kind {
			continue
		}
		var typed T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &typed, true); err != nil {
			t.Fatalf("%s %s: %v", kind, object.GetName(), err)
		}
		found = append(found, typed)
	}
	return found
}

// workload is what Deployments and StatefulSets have in common.
type workload struct {
	name, namespace string
	selector        *metav1.LabelSelector
	template        corev1.PodTemplateSpec
}

func workloads(t *testing.T, objects []*unstructured.Unstructured) []workload {
	t.Helper()
	var found []workload
	for _, d := range ofKind[appsv1.Deployment](t, objects, "Deployment") {
		found = append(found, workload{d.Name, d.Namespace, d.Spec.Selector, d.Spec.Template})
	}
	for _, s := range ofKind[appsv1.StatefulSet](t, objects, "StatefulSet") {
		found = append(found, workload{s.Name, s.Namespace, s.Spec.Selector, s.Spec.Template})
	}
	var names []string
	for _, w := range found {
		if len(w.template.Spec.Containers) != 1 {
			t.Fatalf("%s has %d containers", w.name, len(w.template.Spec.Containers))
		}
		names = append(names, w.container().Name)
	}
	if slices.Sort(names); !slices.Equal(names, components) && !slices.Equal(names, append(slices.Clone(components), "ui")) {
		t.Fatalf("workloads of %v, want those of %v", names, components)
	}
	return found
}

func (w workload) container() corev1.Container { return w.template.Spec.Containers[0] }

// TestInstall installs everything on a cluster as a user would, with Kubernetes' own
// controllers making Pods of it.
func TestInstall(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	cluster, err := localstack.StartControlPlane(t.Context(), localstack.ControlPlaneOptions{ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	warned := &warnings{}
	config := cluster.RESTConfig()
	config.WarningHandler = warned
	api, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}

	t.Run("config/default", func(t *testing.T) {
		applyTwice(t, api, render(t, "default"))
		warned.none(t)
	})
	// Pods in a namespace that enforces the restricted standard: whatever falls short of
	// it is never created.
	t.Run("pods", func(t *testing.T) { podsAppear(t, api) })
	t.Run("rights", func(t *testing.T) { rightsSuffice(t, api) })
	t.Run("config/postgresql", func(t *testing.T) {
		changeToPostgreSQL(t, api)
		warned.none(t)
	})
	t.Run("config/annotations", func(t *testing.T) { foundByAnnotations(t, cluster, api) })
	t.Run("config/samples", func(t *testing.T) {
		applyTwice(t, api, render(t, "samples"))
		mergesToNothing(t, api, render(t, "samples"))
		warned.none(t)
	})
	t.Run("config/gitops", func(t *testing.T) {
		if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "flux-system"}}); err != nil {
			t.Fatal(err)
		}
		wouldApply(t, api, "platform/tenants", "teams/shop/journeys", "teams/shop/promises")
		warned.none(t)
	})
	t.Run("config/ui", func(t *testing.T) {
		applyTwice(t, api, render(t, "ui"))
		warned.none(t)
	})
	// Of the namespace that the samples made.
	t.Run("config/values", func(t *testing.T) {
		objects := render(t, "values")
		applyTwice(t, api, objects)
		warned.none(t)
		for _, w := range workloads(t, objects) {
			if lists := slices.Contains(w.container().Args, "--values-namespaces=shop"); lists != (w.container().Name == "prober") {
				t.Errorf("%s lists the namespace: %t", w.name, lists)
			}
		}
	})
	// Where the namespace shop is, with its samples.
	t.Run("documentation", func(t *testing.T) { documentation(t, cluster, api) })
}

// applyTwice applies objects, and again: the second time nothing may change, or every
// GitOps tool would report a difference for ever.
func applyTwice(t *testing.T, api client.Client, objects []*unstructured.Unstructured) {
	t.Helper()
	apply := func(object *unstructured.Unstructured, options ...client.ApplyOption) {
		t.Helper()
		options = append(options, client.FieldOwner("kubectl"))
		// The first objects of a kind may come a moment before the kind itself.
		eventually(t, 20*time.Second, func() error {
			err := api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()), options...)
			if err != nil && !meta.IsNoMatchError(err) && !strings.Contains(err.Error(), "could not find the requested resource") {
				t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
			}
			return err
		})
	}
	for _, object := range objects {
		apply(object)
	}
	for _, object := range objects {
		before := live(t, api, object)
		apply(object, client.DryRunAll)
		apply(object)
		after := live(t, api, object)
		if before.GetGeneration() != after.GetGeneration() {
			t.Errorf("%s %s: applied again, it has another generation", object.GetKind(), object.GetName())
		}
		for _, o := range []*unstructured.Unstructured{before, after} {
			// Others write status meanwhile; who owns which field is nobody's difference.
			delete(o.Object, "status")
			o.SetResourceVersion("")
			o.SetManagedFields(nil)
		}
		if !equal(before, after) {
			t.Errorf("applied again, it changed:\nbefore: %v\nafter:  %v", before, after)
		}
	}
}

// mergesToNothing compares objects with what lives as tools do that do not ask the API server,
// Argo CD by default: by a merge of three, to which a list is one value. A default that the
// API server filled into an item of a list would be a difference for ever.
func mergesToNothing(t *testing.T, api client.Client, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, object := range objects {
		lives := live(t, api, object)
		texts := [2][]byte{}
		for i, o := range []*unstructured.Unstructured{object, lives} {
			var err error
			if texts[i], err = o.MarshalJSON(); err != nil {
				t.Fatal(err)
			}
		}
		patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(texts[0], texts[0], texts[1])
		if err != nil {
			t.Fatal(err)
		}
		if string(patch) != "{}" {
			t.Errorf("%s %s: there is always a difference: %s", object.GetKind(), object.GetName(), patch)
		}
	}
}

func live(t *testing.T, api client.Client, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	found := &unstructured.Unstructured{}
	found.SetGroupVersionKind(object.GroupVersionKind())
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), found); err != nil {
		t.Fatal(err)
	}
	return found
}

func equal(a, b *unstructured.Unstructured) bool {
	left, errLeft := a.MarshalJSON()
	right, errRight := b.MarshalJSON()
	return errLeft == nil && errRight == nil && bytes.Equal(left, right)
}

// podsAppear wants a Pod of every component, and the gateway's volume.
func podsAppear(t *testing.T, api client.Client) {
	eventually(t, 60*time.Second, func() error {
		pods := &corev1.PodList{}
		if err := api.List(t.Context(), pods, client.InNamespace(systemNamespace)); err != nil {
			return err
		}
		var found []string
		for _, pod := range pods.Items {
			found = append(found, pod.Labels["app.kubernetes.io/component"])
		}
		if slices.Sort(found); slices.Equal(found, components) {
			return nil
		}
		events := &corev1.EventList{}
		if err := api.List(t.Context(), events, client.InNamespace(systemNamespace)); err != nil {
			return err
		}
		reasons := []error{fmt.Errorf("there are Pods of %v, want those of %v", found, components)}
		for _, event := range events.Items {
			if event.Type == corev1.EventTypeWarning {
				reasons = append(reasons, errors.New(event.Message))
			}
		}
		return errors.Join(reasons...)
	})
	claim := &corev1.PersistentVolumeClaim{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: "data-sojourn-gateway-0"}, claim); err != nil {
		t.Error(err)
	}
}

// rightsSuffice asks the API server what the components may do: what they need, and
// never read a Secret. That the manager's rights suffice is shown where it runs.
func rightsSuffice(t *testing.T, api client.Client) {
	may := func(component, namespace, verb, group, resource string) bool {
		t.Helper()
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:   "system:serviceaccount:" + systemNamespace + ":sojourn-" + component,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + systemNamespace, "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: verb, Group: group, Resource: resource,
			},
		}}
		if err := api.Create(t.Context(), review); err != nil {
			t.Fatal(err)
		}
		return review.Status.Allowed
	}
	for component, resources := range map[string][]string{
		"gateway": {"touchpoints"},
		"prober":  {"touchpoints", "experienceslos", "journeys"},
	} {
		for _, resource := range resources {
			for _, verb := range []string{"list", "watch"} {
				if !may(component, metav1.NamespaceAll, verb, "sojourn.dev", resource) {
					t.Errorf("the %s may not %s %s", component, verb, resource)
				}
			}
			for _, verb := range []string{"create", "update", "patch", "delete"} {
				if may(component, shopNamespace, verb, "sojourn.dev", resource) {
					t.Errorf("the %s may %s %s", component, verb, resource)
				}
			}
		}
	}
	for _, verb := range []string{"list", "create", "patch", "delete"} {
		if !may("prober", systemNamespace, verb, "coordination.k8s.io", "leases") {
			t.Errorf("the prober may not %s Leases", verb)
		}
		if may("prober", shopNamespace, verb, "coordination.k8s.io", "leases") {
			t.Errorf("the prober may %s Leases of others", verb)
		}
	}
	for _, component := range components {
		for _, namespace := range []string{metav1.NamespaceAll, systemNamespace, shopNamespace} {
			for _, verb := range []string{"get", "list", "watch"} {
				if may(component, namespace, verb, "", "secrets") {
					t.Errorf("the %s may %s Secrets in namespace %q", component, verb, namespace)
				}
			}
		}
	}
}

// TestRoles looks for rights that nobody here is to have, users included.
func TestRoles(t *testing.T) {
	objects := append(render(t, "default"), render(t, "ui")...)
	rules := map[string][]rbacv1.PolicyRule{}
	for _, role := range ofKind[rbacv1.ClusterRole](t, objects, "ClusterRole") {
		rules["ClusterRole "+role.Name] = role.Rules
	}
	for _, role := range ofKind[rbacv1.Role](t, objects, "Role") {
		rules["Role "+role.Name] = role.Rules
	}
	if len(rules) == 0 {
		t.Fatal("there are no roles")
	}
	for name, rules := range rules {
		for _, rule := range rules {
			for _, words := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs} {
				if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, "*") }) {
					t.Errorf("%s has a wildcard: a verb or kind of next year would be granted today: %v", name, rule)
				}
			}
			if slices.Contains(rule.Resources, "secrets") {
				t.Errorf("%s speaks of Secrets: %v", name, rule)
			}
			for _, verb := range []string{"bind", "escalate", "impersonate"} {
				if slices.Contains(rule.Verbs, verb) {
					t.Errorf("%s lets become somebody else: %v", name, rule)
				}
			}
		}
	}

	accounts := map[string]bool{}
	for _, account := range ofKind[corev1.ServiceAccount](t, objects, "ServiceAccount") {
		accounts[account.Namespace+"/"+account.Name] = true
	}
	bindings := map[string][]rbacv1.Subject{}
	refs := map[string]rbacv1.RoleRef{}
	for _, b := range ofKind[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding") {
		bindings[b.Name], refs[b.Name] = b.Subjects, b.RoleRef
	}
	for _, b := range ofKind[rbacv1.RoleBinding](t, objects, "RoleBinding") {
		bindings[b.Name], refs[b.Name] = b.Subjects, b.RoleRef
	}
	for name, subjects := range bindings {
		if _, known := rules[refs[name].Kind+" "+refs[name].Name]; !known {
			t.Errorf("binding %s gives a role that is not there: %v", name, refs[name])
		}
		if name == endpointsReader && subjects[0].Name == "system:authenticated" {
			continue // see below
		}
		for _, subject := range subjects {
			if subject.Kind != rbacv1.ServiceAccountKind || !accounts[subject.Namespace+"/"+subject.Name] {
				t.Errorf("binding %s is for somebody who is not there: %v", name, subject)
			}
		}
	}
	// What everybody may read are addresses, and nothing else.
	if got, want := rules["Role "+endpointsReader], []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"sojourn-endpoints"}, Verbs: []string{"get"},
	}}; !reflect.DeepEqual(got, want) || len(bindings[endpointsReader]) != 1 {
		t.Errorf("everybody may %v (%v), want %v", got, bindings[endpointsReader], want)
	}
	for _, w := range workloads(t, objects) {
		if !accounts[w.namespace+"/"+w.template.Spec.ServiceAccountName] {
			t.Errorf("%s runs as service account %q, which is not there", w.name, w.template.Spec.ServiceAccountName)
		}
	}
}

// TestWorkloads holds the parts of the manifests against each other and against the
// programs.
func TestWorkloads(t *testing.T) {
	objects := append(render(t, "default"), render(t, "ui")...)
	bin := t.TempDir()
	build := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "./cmd/...")
	build.Dir = ".."
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	services := ofKind[corev1.Service](t, objects, "Service")
	for _, w := range workloads(t, objects) {
		container := w.container()
		t.Run(container.Name, func(t *testing.T) {
			if !selects(t, w.selector, w.template.Labels) {
				t.Errorf("selector %v does not match its template's labels %v", w.selector, w.template.Labels)
			}
			// The pages are a part of kubectl journey.
			image := map[string]string{"ui": "journey"}[container.Name]
			if want := "sojourn-" + cmp.Or(image, container.Name) + ":"; !strings.HasPrefix(container.Image, want) {
				t.Errorf("image %s: where images come from is the user's choice, want %s…", container.Image, want)
			}
			// Help comes after the flags before it were understood, values included.
			program := container.Name
			if program == "ui" {
				program = "kubectl-journey"
			}
			help, err := exec.Command(filepath.Join(bin, program), append(slices.Clone(container.Args), "--help")...).CombinedOutput()
			if err != nil {
				t.Fatalf("args %q: %v\n%s", container.Args, err, help)
			}
			ports := map[string]bool{}
			for _, port := range container.Ports {
				ports[port.Name] = true
				asked := slices.ContainsFunc(container.Args, func(arg string) bool {
					return strings.HasSuffix(arg, fmt.Sprintf("=:%d", port.ContainerPort))
				})
				if !asked && !bytes.Contains(help, fmt.Appendf(nil, `(default ":%d")`, port.ContainerPort)) {
					t.Errorf("port %s: the %s does not listen on %d", port.Name, container.Name, port.ContainerPort)
				}
			}
			for what, probe := range map[string]*corev1.Probe{
				"liveness": container.LivenessProbe, "readiness": container.ReadinessProbe,
			} {
				if probe == nil || probe.HTTPGet == nil || !ports[probe.HTTPGet.Port.String()] {
					t.Errorf("the %s probe asks no port of the container: %v", what, probe)
				}
			}
			memory := container.Resources.Limits.Memory()
			if container.Resources.Requests.Cpu().IsZero() || container.Resources.Requests.Memory().IsZero() || memory.IsZero() {
				t.Errorf("requests or limit of memory are missing: %v", container.Resources)
			}
			if c := container.SecurityContext; c == nil || c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem {
				t.Error("the root file system can be written to")
			}
			published := map[string]bool{}
			for _, service := range services {
				if !k8slabels.SelectorFromSet(service.Spec.Selector).Matches(k8slabels.Set(w.template.Labels)) {
					continue
				}
				for _, port := range service.Spec.Ports {
					if !ports[port.TargetPort.String()] {
						t.Errorf("Service %s leads to port %s, which the container has not", service.Name, port.TargetPort.String())
					}
					published[port.TargetPort.String()] = true
				}
			}
			delete(ports, "health")
			delete(ports, "debug") // of one Pod, to which a port is forwarded
			if !maps.Equal(published, ports) {
				t.Errorf("Services lead to ports %v, want %v", published, ports)
			}
		})
	}
	for _, service := range services {
		if !slices.ContainsFunc(workloads(t, objects), func(w workload) bool {
			return k8slabels.SelectorFromSet(service.Spec.Selector).Matches(k8slabels.Set(w.template.Labels))
		}) {
			t.Errorf("Service %s selects no Pods", service.Name)
		}
	}
}

func selects(t *testing.T, selector *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return !parsed.Empty() && parsed.Matches(k8slabels.Set(set))
}

// TestServiceMonitors checks that each component's metrics are scraped once, with the
// labels that its series have.
func TestServiceMonitors(t *testing.T) {
	services := ofKind[corev1.Service](t, render(t, "default"), "Service")
	scraped := map[string]int{}
	for _, monitor := range ofKind[monitoringv1.ServiceMonitor](t, render(t, "prometheus"), "ServiceMonitor") {
		for _, endpoint := range monitor.Spec.Endpoints {
			if !endpoint.HonorLabels || endpoint.Interval != "30s" {
				t.Errorf("%s: honorLabels %v, interval %q", monitor.Name, endpoint.HonorLabels, endpoint.Interval)
			}
			text, err := yaml.Marshal(endpoint)
			if err != nil {
				t.Fatal(err)
			}
			if asks := string(text); !strings.Contains(asks, "scheme: https\n") || !strings.Contains(asks, "bearerTokenFile: /var/run/") {
				t.Errorf("%s would be refused:\n%s", monitor.Name, asks)
			}
			for _, service := range services {
				if service.Namespace != monitor.Namespace || !selects(t, &monitor.Spec.Selector, service.Labels) {
					continue
				}
				for _, port := range service.Spec.Ports {
					if port.Name == endpoint.Port {
						scraped[service.Name]++
					}
				}
			}
		}
	}
	want := map[string]int{}
	for _, component := range components {
		want["sojourn-"+component+"-metrics"] = 1
	}
	if !maps.Equal(scraped, want) {
		t.Errorf("Services scraped: %v, want %v", scraped, want)
	}
}

// TestOperatorRules has Prometheus's own tool check the rules that watch Sojourn itself,
// and try some.
func TestOperatorRules(t *testing.T) {
	var groups monitoringv1.PrometheusRuleSpec
	for _, object := range ofKind[monitoringv1.PrometheusRule](t, render(t, "prometheus"), "PrometheusRule") {
		groups.Groups = append(groups.Groups, object.Spec.Groups...)
	}
	text, err := yaml.Marshal(groups)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"rules.yaml": string(text), "scenarios.yaml": operatorScenarios} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, binary := range []string{localstack.PromtoolBinary, localstack.Promtool2Binary} {
		promtool, err := localstack.Binary(t.Context(), binary)
		if err != nil {
			t.Fatal(err)
		}
		for _, arguments := range [][]string{{"check", "rules", "--lint-fatal", "rules.yaml"}, {"test", "rules", "scenarios.yaml"}} {
			command := exec.CommandContext(t.Context(), promtool, arguments...)
			command.Dir = dir
			if output, err := command.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", command, err, output)
			}
		}
	}
}

const operatorScenarios = `
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
- interval: 1m
  input_series:
  - {series: 'sojourn_build_info{program="prober",version="1",instance="a"}', values: '1x60'}
  - {series: 'sojourn_build_info{program="gateway",version="1",instance="b"}', values: '1x20'}
  - {series: 'sojourn_build_info{program="manager",version="1",instance="c"}', values: '1x60'}
  - {series: 'controller_runtime_reconcile_errors_total{controller="touchpoint",instance="c"}', values: '0+1x60'}
  - {series: 'controller_runtime_reconcile_errors_total{controller="other",instance="d"}', values: '0+1x60'}
  - {series: 'sojourn_observe_last_success_timestamp_seconds{instance="c"}', values: '600x60'}
  - {series: 'sojourn_survey_rejected_total{pod="gateway-0",reason="store_unavailable"}', values: '0x30 5x30'}
  - {series: 'sojourn_survey_rejected_total{pod="gateway-0",reason="malformed"}', values: '0+9x60'}
  alert_rule_test:
  - {eval_time: 20m, alertname: SojournProgramGone}
  - eval_time: 40m
    alertname: SojournProgramGone
    exp_alerts: [{exp_labels: {program: gateway, severity: ticket}, exp_annotations: {runbook_url: 'https://github.com/sojourn-dev/sojourn/blob/main/docs/alerts.md#sojournprogramgone', summary: 'No gateway of Sojourn has been scraped for 10 minutes', description: 'Without the prober nobody visits touchpoints, without the gateway no answer is taken, and without the manager edits have no effect; alerts on what is measured go on. Look at its Pods and at the scrape targets of Prometheus.'}}]
  - eval_time: 40m
    alertname: SojournReconcileFails
    exp_alerts: [{exp_labels: {controller: touchpoint, severity: ticket}, exp_annotations: {runbook_url: 'https://github.com/sojourn-dev/sojourn/blob/main/docs/alerts.md#sojournreconcilefails', summary: 'The manager of Sojourn fails again and again at touchpoint', description: 'Edits may have no effect. The condition Ready of the objects concerned, or else the log of the manager, says why.'}}]
  - {eval_time: 19m, alertname: SojournBlind}
  - eval_time: 40m
    alertname: SojournBlind
    exp_alerts: [{exp_labels: {severity: ticket}, exp_annotations: {runbook_url: 'https://github.com/sojourn-dev/sojourn/blob/main/docs/alerts.md#sojournblind', summary: 'The manager of Sojourn has had no answer from Prometheus for over 10 minutes', description: 'Statuses are old; alerts are not concerned. The condition Observed of any ExperienceSLO, or sojourn_observe_failures_total by reason, says why.'}}]
  - {eval_time: 30m, alertname: SojournAnswersRefused}
  - eval_time: 40m
    alertname: SojournAnswersRefused
    exp_alerts: [{exp_labels: {pod: gateway-0, severity: ticket}, exp_annotations: {runbook_url: 'https://github.com/sojourn-dev/sojourn/blob/main/docs/alerts.md#sojournanswersrefused', summary: 'The gateway gateway-0 cannot keep customers'' answers', description: 'Survey tools deliver them again for a while, and customers do not. Look at its volume or its PostgreSQL; its log says what fails.'}}]
`

// TestArgoCD: each of our kinds has the health script, and nothing else of Argo CD's
// configuration is touched.
func TestArgoCD(t *testing.T) {
	script, err := os.ReadFile("argocd/health.lua")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, object := range render(t, "crd") {
		kind, _, err := unstructured.NestedString(object.Object, "spec", "names", "kind")
		if err != nil {
			t.Fatal(err)
		}
		want["resource.customizations.health.sojourn.dev_"+kind] = string(script)
	}
	found := ofKind[corev1.ConfigMap](t, render(t, "argocd"), "ConfigMap")
	if len(found) != 1 || found[0].Name != "argocd-cm" || found[0].Namespace != "argocd" || !maps.Equal(found[0].Data, want) {
		t.Errorf("there is %v, want %v", found, want)
	}
}

// TestScrapeConfig has Prometheus's own code read the configuration, and apply it to
// the Pods that there will be.
func TestScrapeConfig(t *testing.T) {
	text, err := os.ReadFile("prometheus/scrape-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config, err := promconfig.Load(string(text), promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := config.GetScrapeConfigs()
	if err != nil {
		t.Fatal(err)
	}
	scraped := map[string]int{}
	for _, job := range jobs {
		if !job.HonorLabels || time.Duration(job.ScrapeInterval) != 30*time.Second {
			t.Errorf("job %s: honor_labels %v, interval %v", job.JobName, job.HonorLabels, job.ScrapeInterval)
		}
		for _, w := range workloads(t, render(t, "default")) {
			for _, port := range w.container().Ports {
				target := labels.NewBuilder(labels.EmptyLabels())
				target.Set("__meta_kubernetes_namespace", w.namespace)
				target.Set("__meta_kubernetes_pod_container_port_name", port.Name)
				for name, value := range w.template.Labels {
					target.Set("__meta_kubernetes_pod_label_"+strings.NewReplacer(".", "_", "/", "_", "-", "_").Replace(name), value)
				}
				if relabel.ProcessBuilder(target, job.RelabelConfigs...) {
					scraped[w.container().Name+" "+port.Name+" "+job.Scheme+" "+target.Get("namespace")]++
				}
			}
		}
	}
	if want := (map[string]int{
		"gateway metrics https " + systemNamespace: 1,
		"prober metrics https " + systemNamespace:  1,
		"manager metrics https " + systemNamespace: 1,
	}); !maps.Equal(scraped, want) {
		t.Errorf("scraped: %v, want %v", scraped, want)
	}
}

// TestChartHasTheKinds: a chart is one folder, whose files may not lie elsewhere; not
// every tool follows links.
func TestChartHasTheKinds(t *testing.T) {
	const chart = "../charts/sojourn/files/crds"
	ours, err := filepath.Glob("crd/sojourn.dev_*.yaml")
	if err != nil || len(ours) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	theirs, err := os.ReadDir(chart)
	if err != nil {
		t.Fatal(err)
	}
	same := len(ours) == len(theirs)
	for _, file := range ours {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(chart, filepath.Base(file)))
		same = same && err == nil && bytes.Equal(got, want)
	}
	if !same {
		t.Error("the chart's CRDs are not those of config/crd: cp config/crd/sojourn.dev_*.yaml charts/sojourn/files/crds/")
	}
}

// warnings collects what the API server warns of.
type warnings struct {
	mutex sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.texts = append(w.texts, text)
}

func (w *warnings) none(t *testing.T) {
	t.Helper()
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, text := range w.texts {
		t.Errorf("the API server warns: %s", text)
	}
}

// eventually waits until there is no error.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %v", within, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
