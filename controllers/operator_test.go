package controllers_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/controllers/publish"
)

// shop is a small shop in which every kind of rule object occurs.
const shop = `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout, namespace: NAMESPACE, labels: {team: pay, "user.example.com/mine": "yes"}}
spec:
  channel: Web
  class: Critical
  probe: {http: {url: "http://shop.shop.svc/checkout"}}
  survey: {instruments: [{type: CES}]}
---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: search, namespace: NAMESPACE}
spec:
  channel: Web
  metrics:
    requests: {total: 'http_requests_total{page="search"}', errors: 'http_requests_total{page="search", code=~"5.."}'}
    latency: {histogram: 'http_request_duration_seconds_bucket{page="search"}'}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: checkout, namespace: NAMESPACE, labels: {"user.example.com/mine": "yes"}}
spec:
  targets: {touchpoints: [checkout]}
  objectives:
  - {name: effort, ces: {easeShare: "80%"}}
  - {name: speed, latency: {threshold: 300ms, target: "99%"}}
---
apiVersion: sojourn.dev/v1alpha1
kind: Journey
metadata: {name: purchase, namespace: NAMESPACE}
spec:
  stages:
  - {name: consideration, touchpoints: [{name: search}]}
  - {name: purchase, touchpoints: [{name: checkout, momentOfTruth: true}, {name: search}]}
  kpis: [{name: orders, query: "sum(rate(orders_total[5m]))"}]
`

// shopIsReady waits for everything that follows from a shop.
func shopIsReady(t *testing.T, namespace string) {
	t.Helper()
	for _, object := range []struct{ kind, name string }{
		{"Touchpoint", "checkout"}, {"Touchpoint", "search"}, {"ExperienceSLO", "checkout"}, {"Journey", "purchase"},
	} {
		eventually(t, object.kind+" "+object.name+" is Ready", soon, isReady(object.kind, namespace, object.name))
	}
}

// ownRules are the rule objects of a shop that belong to one object of it, with the
// owner's kind.
var ownRules = map[string]string{
	"sojourn-slo-checkout": "ExperienceSLO", "sojourn-touchpoint-search": "Touchpoint", "sojourn-journey-purchase": "Journey",
}

// sharedRules lists the names of the rule objects that a namespace shares, in either form.
func sharedRules(ctx context.Context, list client.ObjectList, in, of string) ([]string, error) {
	err := api.List(ctx, list, client.InNamespace(in), client.MatchingLabels{
		"app.kubernetes.io/managed-by": "sojourn", "sojourn.dev/kind": "Namespace", "sojourn.dev/namespace": of, "sojourn.dev/name": of,
	})
	var names []string
	switch list := list.(type) {
	case *monitoringv1.PrometheusRuleList:
		for _, item := range list.Items {
			names = append(names, item.Name)
		}
	case *corev1.ConfigMapList:
		for _, item := range list.Items {
			names = append(names, item.Name)
		}
	}
	return names, err
}

func someShared(t *testing.T, namespace string) []string {
	t.Helper()
	var names []string
	eventually(t, "the shared rules are there", soon, func(ctx context.Context) (err error) {
		if names, err = sharedRules(ctx, &monitoringv1.PrometheusRuleList{}, namespace, namespace); err == nil && len(names) == 0 {
			err = fmt.Errorf("there are none")
		}
		return err
	})
	return names
}

func ruleObject(t *testing.T, namespace, name string) *monitoringv1.PrometheusRule {
	t.Helper()
	rule := &monitoringv1.PrometheusRule{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, rule); err != nil {
		t.Fatal(err)
	}
	return rule
}

func get[T any, P interface {
	*T
	client.Object
}](t *testing.T, namespace, name string) P {
	t.Helper()
	object := P(new(T))
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		t.Fatal(err)
	}
	return object
}

func remove(t *testing.T, object client.Object) {
	t.Helper()
	if err := api.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

func TestPrometheusRules(t *testing.T) {
	prometheusRules(t, true)
	startManager(t, func(o *controllers.Options) { o.RuleLabels = map[string]string{"release": "prometheus"} })
	namespace := newNamespace(t, "rules", nil)
	apply(t, namespace, shop)
	shopIsReady(t, namespace)
	shared := someShared(t, namespace)

	for name, kind := range ownRules {
		rule := ruleObject(t, namespace, name)
		owner := metav1.GetControllerOf(rule)
		if owner == nil || owner.Kind != kind {
			t.Errorf("%s belongs to %+v, not to its %s", name, owner, kind)
		}
		if len(rule.Spec.Groups) == 0 {
			t.Errorf("%s holds no groups", name)
		}
	}
	for _, name := range slices.Concat(shared, slices.Collect(maps.Keys(ownRules))) {
		rule := ruleObject(t, namespace, name)
		if slices.Contains(shared, name) && len(rule.OwnerReferences)+len(rule.Finalizers) > 0 {
			t.Errorf("%s, which is shared, has owners %v and finalizers %v", name, rule.OwnerReferences, rule.Finalizers)
		}
		if rule.Labels["release"] != "prometheus" || rule.Labels["app.kubernetes.io/managed-by"] != "sojourn" {
			t.Errorf("%s has labels %v", name, rule.Labels)
		}
		if _, copied := rule.Labels["user.example.com/mine"]; copied {
			t.Errorf("%s has a user's label", name)
		}
	}

	slo := get[v1alpha1.ExperienceSLO](t, namespace, "checkout")
	if slo.Status.Touchpoints != 1 || slo.Status.Budgets != 2 || len(slo.Status.Objectives) != 2 || slo.Status.ObservedGeneration != slo.Generation {
		t.Errorf("the ExperienceSLO's figures are %+v", slo.Status)
	}
	journey := get[v1alpha1.Journey](t, namespace, "purchase")
	if s := journey.Status; s.Touchpoints != 2 || s.Measured != 2 || s.Promised != 1 {
		t.Errorf("the Journey's figures are %+v", s)
	}
	touchpoint := get[v1alpha1.Touchpoint](t, namespace, "checkout")
	if s := touchpoint.Status; s.MeasuredBy != "Probe, Survey" || !slices.Equal(s.Journeys, []string{"rules/purchase"}) {
		t.Errorf("the Touchpoint's figures are %+v", s)
	}

	t.Run("a promise of latency reaches the touchpoint that measures it", func(t *testing.T) {
		count := func() (n int) {
			for _, group := range ruleObject(t, namespace, "sojourn-touchpoint-search").Spec.Groups {
				n += len(group.Rules)
			}
			return n
		}
		before := count()
		apply(t, namespace, `
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: fast-search, namespace: NAMESPACE}
spec:
  targets: {selector: {}}
  objectives: [{name: speed, source: Metric, latency: {threshold: 250ms, target: "99%"}}]
`)
		eventually(t, "two more rules", soon, func(context.Context) error {
			if n := count(); n != before+2 {
				return fmt.Errorf("%d rules, %d before", n, before)
			}
			return nil
		})
		remove(t, get[v1alpha1.ExperienceSLO](t, namespace, "fast-search"))
		eventually(t, "two rules less", soon, func(context.Context) error {
			if n := count(); n != before {
				return fmt.Errorf("%d rules, %d before", n, before)
			}
			return nil
		})
	})

	t.Run("metrics go, and their rules with them", func(t *testing.T) {
		search := get[v1alpha1.Touchpoint](t, namespace, "search")
		search.Spec.Metrics = nil
		if err := api.Update(t.Context(), search); err != nil {
			t.Fatal(err)
		}
		eventually(t, "its rules are gone", soon, absent(&monitoringv1.PrometheusRule{}, namespace, "sojourn-touchpoint-search"))
	})

	t.Run("the last ExperienceSLO goes, and the shared rules with it", func(t *testing.T) {
		remove(t, slo)
		eventually(t, "its rules are collected", soon, absent(&monitoringv1.PrometheusRule{}, namespace, "sojourn-slo-checkout"))
		eventually(t, "the shared rules are gone", soon, func(ctx context.Context) error {
			names, err := sharedRules(ctx, &monitoringv1.PrometheusRuleList{}, namespace, namespace)
			if err == nil && len(names) > 0 {
				err = fmt.Errorf("there are %v", names)
			}
			return err
		})
	})
}

func TestRepair(t *testing.T) {
	prometheusRules(t, true)
	m := startManager(t)
	namespace := newNamespace(t, "repair", nil)
	apply(t, namespace, shop)
	shopIsReady(t, namespace)
	shared := someShared(t, namespace)[0]

	for _, name := range []string{"sojourn-slo-checkout", "sojourn-touchpoint-search", "sojourn-journey-purchase", shared} {
		for _, damage := range []struct {
			name string
			do   func(*monitoringv1.PrometheusRule)
		}{
			{"an expression is edited", func(r *monitoringv1.PrometheusRule) {
				r.Spec.Groups[0].Rules[0].Expr = intstr.FromString("vector(0)")
			}},
			{"a rule is added", func(r *monitoringv1.PrometheusRule) {
				r.Spec.Groups[0].Rules = append(r.Spec.Groups[0].Rules, monitoringv1.Rule{Record: "foreign:rule", Expr: intstr.FromString("1")})
			}},
			{"a foreign group is added in front", func(r *monitoringv1.PrometheusRule) {
				r.Spec.Groups = append([]monitoringv1.RuleGroup{{
					Name: "foreign", Rules: []monitoringv1.Rule{{Record: "foreign:rule", Expr: intstr.FromString("1")}},
				}}, r.Spec.Groups...)
			}},
			{"a group is limited, and another one foreign", func(r *monitoringv1.PrometheusRule) {
				r.Spec.Groups[0].Limit = new(1)
				r.Spec.Groups = append(r.Spec.Groups, monitoringv1.RuleGroup{Name: "zz"})
			}},
			{"a group is removed", func(r *monitoringv1.PrometheusRule) { r.Spec.Groups = r.Spec.Groups[1:] }},
			{"everything is removed", func(r *monitoringv1.PrometheusRule) { r.Spec.Groups = nil }},
			{"labels are stripped", func(r *monitoringv1.PrometheusRule) { r.Labels = nil }},
			{"a label is changed", func(r *monitoringv1.PrometheusRule) { r.Labels["sojourn.dev/name"] = "other" }},
			{"owners are stripped", func(r *monitoringv1.PrometheusRule) { r.OwnerReferences = nil }},
		} {
			t.Run(name+": "+damage.name, func(t *testing.T) {
				whole := ruleObject(t, namespace, name)
				damaged := whole.DeepCopy()
				damage.do(damaged)
				if err := api.Update(t.Context(), damaged); err != nil {
					t.Fatal(err)
				}
				eventually(t, "repaired", soon, same(whole))
			})
		}
		t.Run(name+": it is deleted", func(t *testing.T) {
			whole := ruleObject(t, namespace, name)
			remove(t, whole.DeepCopy())
			eventually(t, "repaired", soon, same(whole))
		})
		t.Run(name+": others' labels and annotations stay", func(t *testing.T) {
			rule := ruleObject(t, namespace, name)
			rule.Labels["their.example.com/label"] = "theirs"
			rule.Annotations = map[string]string{"their.example.com/annotation": "theirs"}
			if err := api.Update(t.Context(), rule); err != nil {
				t.Fatal(err)
			}
			rule.Spec.Groups = nil
			if err := api.Update(t.Context(), rule); err != nil {
				t.Fatal(err)
			}
			eventually(t, "repaired", soon, func(context.Context) error {
				if len(ruleObject(t, namespace, name).Spec.Groups) == 0 {
					return fmt.Errorf("no groups")
				}
				return nil
			})
			m.settle(t, time.Second)
			rule = ruleObject(t, namespace, name)
			if rule.Labels["their.example.com/label"] != "theirs" || rule.Annotations["their.example.com/annotation"] != "theirs" {
				t.Errorf("labels %v, annotations %v", rule.Labels, rule.Annotations)
			}
		})
	}

	t.Run("a copy under another name goes", func(t *testing.T) {
		twin := ruleObject(t, namespace, "sojourn-slo-checkout").DeepCopy()
		twin.ObjectMeta = metav1.ObjectMeta{Name: "twin", Namespace: namespace, Labels: twin.Labels}
		if err := api.Create(t.Context(), twin); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the copy is gone", soon, absent(&monitoringv1.PrometheusRule{}, namespace, "twin"))
	})

	t.Run("a group that was repaired can still be dropped", func(t *testing.T) {
		rule := ruleObject(t, namespace, "sojourn-touchpoint-search")
		rule.Spec.Groups = append(rule.Spec.Groups, monitoringv1.RuleGroup{Name: "foreign"})
		if err := api.Update(t.Context(), rule); err != nil {
			t.Fatal(err)
		}
		m.settle(t, time.Second)
		search := get[v1alpha1.Touchpoint](t, namespace, "search")
		search.Spec.Metrics.Latency = nil
		if err := api.Update(t.Context(), search); err != nil {
			t.Fatal(err)
		}
		eventually(t, "latency is no longer recorded", soon, func(context.Context) error {
			text, err := yaml.Marshal(ruleObject(t, namespace, "sojourn-touchpoint-search").Spec)
			if err == nil && strings.Contains(string(text), "duration") {
				err = fmt.Errorf("it is: %s", text)
			}
			return err
		})
	})

	if writes := m.settle(t, 2*time.Second); len(writes) > 400 {
		t.Errorf("%d writes", len(writes))
	}
}

// same wants a rule object to be as it was, for Prometheus and for its owner.
func same(whole *monitoringv1.PrometheusRule) func(context.Context) error {
	content := func(rule *monitoringv1.PrometheusRule) string {
		groups := slices.Clone(rule.Spec.Groups)
		slices.SortFunc(groups, func(a, b monitoringv1.RuleGroup) int { return strings.Compare(a.Name, b.Name) })
		var owners []types.UID
		for _, owner := range rule.OwnerReferences {
			owners = append(owners, owner.UID)
		}
		text, err := yaml.Marshal([]any{groups, rule.Labels, owners})
		if err != nil {
			panic(err)
		}
		return string(text)
	}
	return func(ctx context.Context) error {
		rule := &monitoringv1.PrometheusRule{}
		if err := api.Get(ctx, client.ObjectKeyFromObject(whole), rule); err != nil {
			return err
		}
		if got, want := content(rule), content(whole); got != want {
			return fmt.Errorf("got\n%s\nwant\n%s", got, want)
		}
		return nil
	}
}

func TestConfigMaps(t *testing.T) {
	prometheusRules(t, false)
	m := startManager(t, func(o *controllers.Options) { o.RuleLabels = map[string]string{"release": "prometheus"} })
	namespace := newNamespace(t, "maps", nil)
	apply(t, namespace, shop)
	shopIsReady(t, namespace)

	var shared []string
	eventually(t, "the shared rules are there", soon, func(ctx context.Context) (err error) {
		if shared, err = sharedRules(ctx, &corev1.ConfigMapList{}, systemNamespace, namespace); err == nil && len(shared) == 0 {
			err = fmt.Errorf("there are none")
		}
		return err
	})
	options := managerOptions()
	options.RuleLabels = map[string]string{"release": "prometheus"}
	asPlanned(t, namespace, options, publish.ConfigMaps)
	names := shared
	for name := range ownRules {
		names = append(names, namespace+"."+name)
	}
	for _, name := range names {
		configMap := get[corev1.ConfigMap](t, systemNamespace, name)
		var content monitoringv1.PrometheusRuleSpec
		if err := yaml.UnmarshalStrict([]byte(configMap.Data[name+".yaml"]), &content); err != nil || len(content.Groups) == 0 {
			t.Errorf("%s holds %d groups, %v", name, len(content.Groups), err)
		}
		if len(configMap.Data) != 1 || len(configMap.OwnerReferences) != 0 {
			t.Errorf("%s has %d keys and owners %v", name, len(configMap.Data), configMap.OwnerReferences)
		}
		if configMap.Labels["prometheus_rule"] != "1" || configMap.Labels["release"] != "prometheus" {
			t.Errorf("%s has labels %v", name, configMap.Labels)
		}
	}

	for _, name := range names {
		for _, damage := range []struct {
			name string
			do   func(*corev1.ConfigMap)
		}{
			{"its content is edited", func(c *corev1.ConfigMap) { c.Data[name+".yaml"] = "groups: []" }},
			{"a foreign key is added", func(c *corev1.ConfigMap) { c.Data["a.foreign.yaml"] = "groups: []" }},
			{"foreign bytes are added", func(c *corev1.ConfigMap) { c.BinaryData = map[string][]byte{"foreign": {1}} }},
			{"its content is removed", func(c *corev1.ConfigMap) { c.Data = nil }},
			{"labels are stripped", func(c *corev1.ConfigMap) { c.Labels = nil }},
			{"it is edited and made immutable", func(c *corev1.ConfigMap) { c.Immutable = new(true); c.Data["x"] = "y" }},
		} {
			if strings.Contains(name, "journey") && damage.name != "its content is edited" {
				continue
			}
			t.Run(name+": "+damage.name, func(t *testing.T) {
				whole := get[corev1.ConfigMap](t, systemNamespace, name)
				damaged := whole.DeepCopy()
				damage.do(damaged)
				if err := api.Update(t.Context(), damaged); err != nil {
					t.Fatal(err)
				}
				eventually(t, "repaired", soon, func(ctx context.Context) error {
					now := &corev1.ConfigMap{}
					if err := api.Get(ctx, client.ObjectKeyFromObject(whole), now); err != nil {
						return err
					}
					if !maps.Equal(now.Data, whole.Data) || len(now.BinaryData) > 0 || !maps.Equal(now.Labels, whole.Labels) {
						return fmt.Errorf("it is %v %v", now.Labels, slices.Sorted(maps.Keys(now.Data)))
					}
					return nil
				})
			})
		}
		t.Run(name+": it is deleted", func(t *testing.T) {
			remove(t, get[corev1.ConfigMap](t, systemNamespace, name))
			eventually(t, "repaired", soon, exists(&corev1.ConfigMap{}, systemNamespace, name))
		})
	}

	t.Run("the source goes, and its ConfigMap with it", func(t *testing.T) {
		remove(t, get[v1alpha1.Touchpoint](t, namespace, "search"))
		eventually(t, "the ConfigMap is gone", soon, absent(&corev1.ConfigMap{}, systemNamespace, namespace+".sojourn-touchpoint-search"))
	})

	// A source goes while nobody looks.
	m.stop(t)
	remove(t, get[v1alpha1.Journey](t, namespace, "purchase"))
	startManager(t)
	eventually(t, "the ConfigMap is gone", soon, absent(&corev1.ConfigMap{}, systemNamespace, namespace+".sojourn-journey-purchase"))

	t.Run("names do not meet", func(t *testing.T) {
		rename := func(name string) string {
			return strings.NewReplacer("name: checkout", "name: "+name, "[checkout]", "["+name+"]").Replace(shop)
		}
		apply(t, newNamespace(t, "x-y", nil), rename("z"))
		apply(t, newNamespace(t, "x", nil), rename("y-z"))
		for _, name := range []string{"x-y.sojourn-slo-z", "x.sojourn-slo-y-z"} {
			eventually(t, name, soon, exists(&corev1.ConfigMap{}, systemNamespace, name))
		}
	})

	t.Run("the namespace goes", func(t *testing.T) {
		remove(t, get[corev1.Namespace](t, "", namespace))
		eventually(t, "none of its ConfigMaps is left", time.Minute, func(ctx context.Context) error {
			left := &corev1.ConfigMapList{}
			if err := api.List(ctx, left, client.InNamespace(systemNamespace), client.MatchingLabels{"sojourn.dev/namespace": namespace}); err != nil {
				return err
			}
			if len(left.Items) > 0 {
				return fmt.Errorf("%d are left", len(left.Items))
			}
			return nil
		})
	})
}

func TestTheKindComesAndGoes(t *testing.T) {
	prometheusRules(t, false)
	m := startManager(t)
	namespace := newNamespace(t, "switch", nil)
	apply(t, namespace, shop)
	shopIsReady(t, namespace)
	configMaps := func(wanted bool) func(context.Context) error {
		return func(ctx context.Context) error {
			found := &corev1.ConfigMapList{}
			err := api.List(ctx, found, client.InNamespace(systemNamespace), client.MatchingLabels{"sojourn.dev/namespace": namespace})
			if err == nil && wanted != (len(found.Items) >= len(ownRules)+1) || !wanted && len(found.Items) > 0 {
				err = fmt.Errorf("there are %d ConfigMaps", len(found.Items))
			}
			return err
		}
	}
	eventually(t, "ConfigMaps are there", soon, configMaps(true))

	prometheusRules(t, true)
	for name := range ownRules {
		eventually(t, "PrometheusRule "+name, soon, exists(&monitoringv1.PrometheusRule{}, namespace, name))
	}
	someShared(t, namespace)
	eventually(t, "ConfigMaps are gone", soon, configMaps(false))
	shopIsReady(t, namespace)

	prometheusRules(t, false)
	eventually(t, "ConfigMaps are back", soon, configMaps(true))
	m.stop(t)

	prometheusRules(t, true)
	m = startManager(t)
	someShared(t, namespace)
	for name := range ownRules {
		eventually(t, "PrometheusRule "+name, soon, exists(&monitoringv1.PrometheusRule{}, namespace, name))
	}
	eventually(t, "ConfigMaps are gone", soon, configMaps(false))
	m.settle(t, time.Second)
}

func TestTheRulesNamespaceIsMissing(t *testing.T) {
	prometheusRules(t, false)
	const late = "late-rules"
	apply(t, late, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: late-rules}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch, create, patch, delete]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: late-rules}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: late-rules}
subjects: [{kind: ServiceAccount, name: sojourn-manager, namespace: sojourn-system}]
`)
	m := startManager(t, func(o *controllers.Options) { o.RulesNamespace = late })
	namespace := newNamespace(t, "waiting", nil)
	apply(t, namespace, shop)
	eventually(t, "the write has failed", soon,
		hasReadiness("ExperienceSLO", namespace, "checkout", metav1.ConditionFalse, v1alpha1.ReasonWriteFailed, status.InProgressStatus))
	if text := message(t, "ExperienceSLO", namespace, "checkout"); !strings.Contains(text, late) {
		t.Errorf("the message does not name the namespace: %s", text)
	}
	statuses := func() (n int) {
		for _, write := range m.writes(t) {
			if strings.Contains(write, "/namespaces/waiting/experienceslos/checkout/status") {
				n++
			}
		}
		return n
	}
	time.Sleep(2 * time.Second)
	if n := statuses(); n > 1 {
		t.Errorf("the same failure was written %d times; now it is %+v", n, get[v1alpha1.ExperienceSLO](t, namespace, "checkout").Status)
	}
	newNamespace(t, late, nil)
	eventually(t, "it works", soon, isReady("ExperienceSLO", namespace, "checkout"))
}

func TestSamples(t *testing.T) {
	prometheusRules(t, true)
	startManager(t)
	files, err := filepath.Glob("../config/samples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Skip("there are no samples")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) == "namespace.yaml" {
			apply(t, "", string(text))
		}
	}
	for _, file := range files {
		if filepath.Base(file) == "shortest.yaml" {
			continue // names the same objects
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		apply(t, "", string(text))
	}
	eventually(t, "everything is Ready", soon, func(ctx context.Context) error {
		var touchpoints v1alpha1.TouchpointList
		var journeys v1alpha1.JourneyList
		var slos v1alpha1.ExperienceSLOList
		for _, list := range []client.ObjectList{&touchpoints, &journeys, &slos} {
			if err := api.List(ctx, list, client.InNamespace("shop")); err != nil {
				return err
			}
		}
		for _, o := range touchpoints.Items {
			if err := isReady("Touchpoint", "shop", o.Name)(ctx); err != nil {
				return err
			}
		}
		for _, o := range journeys.Items {
			if err := isReady("Journey", "shop", o.Name)(ctx); err != nil {
				return err
			}
		}
		for _, o := range slos.Items {
			if err := isReady("ExperienceSLO", "shop", o.Name)(ctx); err != nil {
				return err
			}
		}
		if len(touchpoints.Items)*len(journeys.Items)*len(slos.Items) == 0 {
			return fmt.Errorf("nothing to look at")
		}
		return nil
	})
	asPlanned(t, "shop", managerOptions(), publish.PrometheusRules)
}

func TestReferences(t *testing.T) {
	prometheusRules(t, true)
	startManager(t)
	namespace := newNamespace(t, "references", nil)
	const touchpoint = `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout, namespace: NAMESPACE}
spec: {channel: Web, probe: {http: {url: "http://shop/"}}}
`
	apply(t, namespace, `
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: named, namespace: NAMESPACE}
spec: {targets: {touchpoints: [checkout]}, objectives: [{name: up, availability: {target: "99%"}}]}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: by-journey, namespace: NAMESPACE}
spec: {targets: {journey: purchase}, objectives: [{name: up, availability: {target: "99%"}}]}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: selected, namespace: NAMESPACE}
spec: {targets: {selector: {matchLabels: {tier: gold}}}, objectives: [{name: up, availability: {target: "99%"}}]}
`)
	missing := func(kind, name string) {
		t.Helper()
		eventually(t, name+" waits", soon,
			hasReadiness(kind, namespace, name, metav1.ConditionFalse, v1alpha1.ReasonReferenceNotFound, status.InProgressStatus))
	}
	missing("ExperienceSLO", "named")
	missing("ExperienceSLO", "by-journey")
	if text := message(t, "ExperienceSLO", namespace, "named"); text != "spec.targets.touchpoints: there is no Touchpoint checkout in this namespace" {
		t.Errorf("message %q", text)
	}
	if text := message(t, "ExperienceSLO", namespace, "by-journey"); text != "spec.targets.journey: there is no Journey purchase in this namespace" {
		t.Errorf("message %q", text)
	}
	eventually(t, "a selector without matches", soon,
		hasReadiness("ExperienceSLO", namespace, "selected", metav1.ConditionTrue, v1alpha1.ReasonNoTargets, status.CurrentStatus))

	apply(t, namespace, `
apiVersion: sojourn.dev/v1alpha1
kind: Journey
metadata: {name: purchase, namespace: NAMESPACE}
spec: {stages: [{name: purchase, touchpoints: [{name: checkout}]}]}
`)
	missing("Journey", "purchase")
	missing("ExperienceSLO", "by-journey")
	apply(t, namespace, touchpoint)
	for kind, name := range map[string]string{"Journey": "purchase", "Touchpoint": "checkout"} {
		eventually(t, name+" is Ready", soon, isReady(kind, namespace, name))
	}
	for _, name := range []string{"named", "by-journey"} {
		eventually(t, name+" is Ready", soon, isReady("ExperienceSLO", namespace, name))
		eventually(t, "its rules are there", soon, exists(&monitoringv1.PrometheusRule{}, namespace, "sojourn-slo-"+name))
	}
	apply(t, namespace, strings.Replace(touchpoint, "NAMESPACE}", "NAMESPACE, labels: {tier: gold}}", 1))
	eventually(t, "the selector matches", soon,
		hasReadiness("ExperienceSLO", namespace, "selected", metav1.ConditionTrue, v1alpha1.ReasonSucceeded, status.CurrentStatus))

	t.Run("the touchpoint goes", func(t *testing.T) {
		remove(t, get[v1alpha1.Touchpoint](t, namespace, "checkout"))
		missing("Journey", "purchase")
		missing("ExperienceSLO", "named")
		eventually(t, "its rules are gone", soon, absent(&monitoringv1.PrometheusRule{}, namespace, "sojourn-slo-named"))
		eventually(t, "an Event tells", soon, func(ctx context.Context) error {
			var found eventsv1.EventList
			if err := api.List(ctx, &found, client.InNamespace(namespace)); err != nil {
				return err
			}
			for _, e := range found.Items {
				if e.Regarding.Name == "named" && e.Reason == v1alpha1.ReasonReferenceNotFound && e.Type == corev1.EventTypeWarning {
					return nil
				}
			}
			return fmt.Errorf("not among %d", len(found.Items))
		})
	})
}

// What is promised on a journey can change with another, at which an ExperienceSLO aims.
func TestPromisedByWayOfAnotherJourney(t *testing.T) {
	t.Parallel()
	prometheusRules(t, true)
	namespace := newNamespace(t, "by-way", nil)
	startManager(t, watching(namespace))
	const objects = `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout, namespace: NAMESPACE}
spec: {channel: Web, probe: {http: {url: "http://shop/"}}}
---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: search, namespace: NAMESPACE}
spec: {channel: Web, probe: {http: {url: "http://shop/"}}}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: main, namespace: NAMESPACE}
spec: {targets: {journey: main}, objectives: [{name: up, availability: {target: "99%"}}]}
---
apiVersion: sojourn.dev/v1alpha1
kind: Journey
metadata: {name: side, namespace: NAMESPACE}
spec: {stages: [{name: only, touchpoints: [{name: checkout}, {name: search}]}]}
---
apiVersion: sojourn.dev/v1alpha1
kind: Journey
metadata: {name: main, namespace: NAMESPACE}
spec: {stages: [{name: only, touchpoints: [TOUCHPOINTS]}]}
`
	promised := func(want int32) {
		t.Helper()
		eventually(t, fmt.Sprint(want, " are promised"), soon, func(context.Context) error {
			if got := get[v1alpha1.Journey](t, namespace, "side").Status.Promised; got != want {
				return fmt.Errorf("%d are", got)
			}
			return nil
		})
	}
	apply(t, namespace, strings.Replace(objects, "TOUCHPOINTS", "{name: checkout}, {name: search}", 1))
	promised(2)
	apply(t, namespace, strings.Replace(objects, "TOUCHPOINTS", "{name: search}", 1))
	promised(1)
	remove(t, get[v1alpha1.Journey](t, namespace, "main"))
	promised(0)
	apply(t, namespace, strings.Replace(objects, "TOUCHPOINTS", "{name: checkout}", 1))
	promised(1)
}

func TestJourneysAcrossNamespaces(t *testing.T) {
	prometheusRules(t, true)
	startManager(t)
	home, away := newNamespace(t, "home", nil), newNamespace(t, "away", nil)
	apply(t, away, shop)
	apply(t, home, `
apiVersion: sojourn.dev/v1alpha1
kind: Journey
metadata: {name: tour, namespace: NAMESPACE}
spec: {stages: [{name: only, touchpoints: [{name: checkout, namespace: away}]}]}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: tour, namespace: NAMESPACE}
spec: {targets: {journey: tour}, objectives: [{name: up, availability: {target: "99%"}}]}
`)
	refused := hasReadiness("Journey", home, "tour", metav1.ConditionFalse, v1alpha1.ReasonReferenceNotAllowed, status.InProgressStatus)
	allow := func(namespaces string) {
		t.Helper()
		touchpoint := get[v1alpha1.Touchpoint](t, away, "checkout")
		touchpoint.Spec.AllowedJourneys = &v1alpha1.AllowedJourneys{Namespaces: &v1alpha1.JourneyNamespaces{}}
		if err := yaml.Unmarshal([]byte(namespaces), touchpoint.Spec.AllowedJourneys.Namespaces); err != nil {
			t.Fatal(err)
		}
		if err := api.Update(t.Context(), touchpoint); err != nil {
			t.Fatal(err)
		}
	}
	journeys := func(want ...string) func(context.Context) error {
		return func(context.Context) error {
			if got := get[v1alpha1.Touchpoint](t, away, "checkout").Status.Journeys; !slices.Equal(got, want) {
				return fmt.Errorf("they are %v", got)
			}
			return nil
		}
	}
	eventually(t, "not allowed by default", soon, refused)
	eventually(t, "the touchpoint has its own journey", soon, journeys("away/purchase"))
	eventually(t, "an SLO does not reach elsewhere", soon,
		hasReadiness("ExperienceSLO", home, "tour", metav1.ConditionTrue, v1alpha1.ReasonNoTargets, status.CurrentStatus))
	if text := message(t, "ExperienceSLO", home, "tour"); !strings.Contains(text, "away/checkout") {
		t.Errorf("it does not say what it skips: %s", text)
	}
	allow("from: All")
	eventually(t, "allowed to all", soon, isReady("Journey", home, "tour"))
	eventually(t, "the touchpoint has both journeys", soon, journeys("away/purchase", "home/tour"))
	allow("{from: Selector, selector: {matchLabels: {tours: welcome}}}")
	eventually(t, "not selected", soon, refused)
	eventually(t, "the touchpoint has its own journey", soon, journeys("away/purchase"))
	namespace := get[corev1.Namespace](t, "", home)
	namespace.Labels["tours"] = "welcome"
	if err := api.Update(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	eventually(t, "selected", soon, isReady("Journey", home, "tour"))
	eventually(t, "the touchpoint has both journeys", soon, journeys("away/purchase", "home/tour"))
	allow("{from: Selector, selector: {matchExpressions: [{key: a, operator: Perhaps}]}}")
	eventually(t, "a bad selector is told where it stands", soon,
		hasReadiness("Touchpoint", away, "checkout", metav1.ConditionFalse, v1alpha1.ReasonInvalidSelector, status.FailedStatus))
}

func TestWhatCannotWork(t *testing.T) {
	prometheusRules(t, true)
	startManager(t)
	namespace := newNamespace(t, "broken", nil)
	apply(t, namespace, strings.NewReplacer(
		`easeShare: "80%"`, `easeShare: "100%"`,
		`sum(rate(orders_total[5m]))`, `sum(rate(`,
		`'http_requests_total{page="search"}'`, `'http_requests_total{page='`,
	).Replace(shop)+`---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: fast-search, namespace: NAMESPACE}
spec:
  targets: {touchpoints: [search]}
  objectives: [{name: speed, source: Metric, latency: {threshold: 250ms, target: "99%"}}]
`)
	for _, object := range []struct{ kind, name, reason, field string }{
		{"ExperienceSLO", "checkout", v1alpha1.ReasonImpossibleTarget, "spec.objectives[effort]"},
		{"Journey", "purchase", v1alpha1.ReasonInvalidQuery, "spec.kpis[orders].query"},
		{"Touchpoint", "search", v1alpha1.ReasonInvalidQuery, "spec.metrics.requests.total"},
	} {
		eventually(t, object.kind+" is stalled", soon,
			hasReadiness(object.kind, namespace, object.name, metav1.ConditionFalse, object.reason, status.FailedStatus))
		if text := message(t, object.kind, namespace, object.name); !strings.HasPrefix(text, object.field) {
			t.Errorf("the message does not begin with the field %s: %s", object.field, text)
		}
	}
	// The rest works.
	if slo := get[v1alpha1.ExperienceSLO](t, namespace, "checkout"); slo.Status.Budgets != 1 {
		t.Errorf("%d budgets", slo.Status.Budgets)
	}
	ruleObject(t, namespace, "sojourn-slo-checkout")
	ruleObject(t, namespace, "sojourn-touchpoint-search")
	someShared(t, namespace)
}

func TestZeroWritesAtRest(t *testing.T) {
	for _, form := range []struct {
		name      string
		installed bool
	}{{"ConfigMaps", false}, {"PrometheusRules", true}} {
		t.Run(form.name, func(t *testing.T) {
			prometheusRules(t, form.installed)
			m := startManager(t)
			namespace := newNamespace(t, "rest-"+strings.ToLower(form.name), nil)
			apply(t, namespace, shop)
			shopIsReady(t, namespace)
			before := m.settle(t, time.Second)
			time.Sleep(5 * time.Second)
			if after := m.writes(t); len(after) != len(before) {
				t.Errorf("written at rest: %v", after[len(before):])
			}
			m.stop(t)
			m = startManager(t)
			time.Sleep(5 * time.Second)
			if writes := m.writes(t); len(writes) != 0 {
				t.Errorf("written after a restart: %v", writes)
			}
			// It is awake.
			remove(t, get[v1alpha1.Journey](t, namespace, "purchase"))
			eventually(t, "it sees a change", soon, func(context.Context) error {
				if journeys := get[v1alpha1.Touchpoint](t, namespace, "checkout").Status.Journeys; len(journeys) > 0 {
					return fmt.Errorf("journeys %v", journeys)
				}
				return nil
			})
		})
	}
}

func TestNamespacesDoNotTouchEachOther(t *testing.T) {
	prometheusRules(t, true)
	m := startManager(t)
	one, other := newNamespace(t, "one", nil), newNamespace(t, "other", nil)
	apply(t, one, shop)
	apply(t, other, shop)
	shopIsReady(t, one)
	shopIsReady(t, other)
	before := m.settle(t, time.Second)
	slo := get[v1alpha1.ExperienceSLO](t, one, "checkout")
	slo.Spec.Objectives[0].CES.EaseShare = "70%"
	if err := api.Update(t.Context(), slo); err != nil {
		t.Fatal(err)
	}
	remove(t, get[v1alpha1.Touchpoint](t, one, "search"))
	after := m.settle(t, time.Second)
	if len(after) == len(before) {
		t.Error("nothing was written")
	}
	for _, write := range after[len(before):] {
		if !strings.Contains(write, "/namespaces/one/") {
			t.Errorf("written: %s", write)
		}
	}
}

func TestOnlyTheNamespacesGiven(t *testing.T) {
	prometheusRules(t, true)
	mine, theirs := newNamespace(t, "mine", nil), newNamespace(t, "theirs", nil)
	m := startManager(t, func(o *controllers.Options) { o.Namespaces = []string{mine} })
	apply(t, mine, shop)
	apply(t, theirs, shop)
	apply(t, mine, `
apiVersion: sojourn.dev/v1alpha1
kind: Journey
metadata: {name: abroad, namespace: NAMESPACE}
spec: {stages: [{name: only, touchpoints: [{name: checkout, namespace: theirs}]}]}
`)
	shopIsReady(t, mine)
	someShared(t, mine)
	eventually(t, "a journey to elsewhere waits", soon,
		hasReadiness("Journey", mine, "abroad", metav1.ConditionFalse, v1alpha1.ReasonReferenceNotFound, status.InProgressStatus))
	for _, write := range m.settle(t, time.Second) {
		if !strings.Contains(write, "/namespaces/mine/") {
			t.Errorf("written: %s", write)
		}
	}
}

func TestManyObjectsAtOnce(t *testing.T) {
	prometheusRules(t, true)
	m := startManager(t)
	namespace := newNamespace(t, "many", nil)
	const n = 150
	apply(t, namespace, `
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: all, namespace: NAMESPACE}
spec: {targets: {selector: {}}, objectives: [{name: up, availability: {target: "99%"}}]}
`)
	for i := range n {
		touchpoint := &v1alpha1.Touchpoint{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("t-%d", i), Namespace: namespace},
			Spec:       v1alpha1.TouchpointSpec{Channel: "Web", Probe: &v1alpha1.Probe{HTTP: &v1alpha1.HTTPProbe{URL: "http://shop/"}}},
		}
		if err := api.Create(t.Context(), touchpoint); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are covered", soon, func(context.Context) error {
		if covered := get[v1alpha1.ExperienceSLO](t, namespace, "all").Status.Touchpoints; covered != n {
			return fmt.Errorf("%d are", covered)
		}
		return nil
	})
	writes := map[string]int{}
	for _, write := range m.settle(t, 2*time.Second) {
		switch {
		case strings.Contains(write, "/namespaces/many/touchpoints/"):
			writes["touchpoints"]++
		case strings.Contains(write, "/namespaces/many/prometheusrules/sojourn-slo-"):
			writes["slo"]++
		case strings.Contains(write, "/namespaces/many/prometheusrules/"):
			writes["shared"]++
		}
	}
	t.Logf("%v", writes)
	if writes["touchpoints"] != n {
		t.Errorf("%d writes of status for %d touchpoints", writes["touchpoints"], n)
	}
	if writes["shared"] > n/3 {
		t.Errorf("the shared rules were written %d times", writes["shared"])
	}
}

func TestTwoManagers(t *testing.T) {
	prometheusRules(t, true)
	elect := func(o *controllers.Options) { o.LeaderElection, o.LeaderElectionNamespace = true, systemNamespace }
	first := startManager(t, elect)
	namespace := newNamespace(t, "elected", nil)
	apply(t, namespace, shop)
	shopIsReady(t, namespace)
	second := startManager(t, elect)
	time.Sleep(time.Second)
	if writes := second.writes(t); len(writes) > 0 {
		t.Errorf("the one that does not lead wrote %v", writes)
	}
	first.stop(t)
	remove(t, ruleObject(t, namespace, "sojourn-slo-checkout"))
	eventually(t, "the second one works", soon, exists(&monitoringv1.PrometheusRule{}, namespace, "sojourn-slo-checkout"))
}

func TestTheSharedRulesAreRefused(t *testing.T) {
	prometheusRules(t, true)
	const policy = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-shared-rules}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [monitoring.coreos.com], apiVersions: [v1], resources: [prometheusrules], operations: [CREATE, UPDATE]}]
    namespaceSelector: {matchLabels: {shared: refused}}
  validations: [{expression: "!('sojourn.dev/kind' in object.metadata.labels) || object.metadata.labels['sojourn.dev/kind'] != 'Namespace'", message: not today}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-shared-rules}
spec: {policyName: no-shared-rules, validationActions: [Deny]}
`
	namespace := newNamespace(t, "refused", map[string]string{"shared": "refused"})
	apply(t, namespace, policy)
	eventually(t, "the policy is in force", soon, func(ctx context.Context) error {
		err := api.Create(ctx, &monitoringv1.PrometheusRule{ObjectMeta: metav1.ObjectMeta{
			Name: "attempt", Namespace: namespace, Labels: map[string]string{"sojourn.dev/kind": "Namespace"},
		}}, client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "not today") {
			return fmt.Errorf("it is not: %v", err)
		}
		return nil
	})
	startManager(t)
	apply(t, namespace, shop)
	eventually(t, "the ExperienceSLO tells", soon,
		hasReadiness("ExperienceSLO", namespace, "checkout", metav1.ConditionFalse, v1alpha1.ReasonWriteFailed, status.InProgressStatus))
	if text := message(t, "ExperienceSLO", namespace, "checkout"); !strings.Contains(text, "not today") {
		t.Errorf("the message does not say why: %s", text)
	}
	ruleObject(t, namespace, "sojourn-slo-checkout")
	remove(t, get[admissionregistrationv1.ValidatingAdmissionPolicy](t, "", "no-shared-rules"))
	eventually(t, "it works", soon, isReady("ExperienceSLO", namespace, "checkout"))
	someShared(t, namespace)
}

// The rules of an ExperienceSLO that no single object could hold are spread over several,
// of which one touchpoint more changes one.
func TestRulesBeyondTheLimitOfAnObject(t *testing.T) {
	prometheusRules(t, true)
	m := startManager(t)
	namespace := newNamespace(t, "large", nil)
	slo := &v1alpha1.ExperienceSLO{ObjectMeta: metav1.ObjectMeta{Name: "large", Namespace: namespace}}
	slo.Spec.Targets.Selector = &v1alpha1.TouchpointSelector{}
	touchpoint := func(i int) {
		name := fmt.Sprintf("t-%04d-%s", i, strings.Repeat("x", 56))
		if err := api.Create(t.Context(), &v1alpha1.Touchpoint{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
			Spec:       v1alpha1.TouchpointSpec{Channel: "Web", Probe: &v1alpha1.Probe{HTTP: &v1alpha1.HTTPProbe{URL: "http://shop/"}}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		touchpoint(i)
	}
	for i := range 20 {
		slo.Spec.Objectives = append(slo.Spec.Objectives, v1alpha1.Objective{
			Name: v1alpha1.Name(fmt.Sprintf("o-%d", i)), Availability: &v1alpha1.AvailabilityObjective{Target: "99%"},
		})
	}
	if err := api.Create(t.Context(), slo); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is ready", soon, isReady("ExperienceSLO", namespace, "large"))
	m.settle(t, 3*time.Second)
	versions := func() map[string]string {
		var found monitoringv1.PrometheusRuleList
		if err := api.List(t.Context(), &found, client.InNamespace(namespace), client.MatchingLabels{"sojourn.dev/kind": "ExperienceSLO"}); err != nil {
			t.Fatal(err)
		}
		byName := map[string]string{}
		for _, rule := range found.Items {
			byName[rule.Name] = rule.ResourceVersion
			if !metav1.IsControlledBy(&rule, get[v1alpha1.ExperienceSLO](t, namespace, "large")) {
				t.Errorf("%s is not the ExperienceSLO's", rule.Name)
			}
		}
		return byName
	}
	before := versions()
	if len(before) < 2 {
		t.Errorf("20 promises at 1000 touchpoints are in %d objects", len(before))
	}
	touchpoint(1000)
	eventually(t, "one more is covered", soon, func(context.Context) error {
		if covered := get[v1alpha1.ExperienceSLO](t, namespace, "large").Status.Touchpoints; covered != 1001 {
			return fmt.Errorf("%d touchpoints", covered)
		}
		return nil
	})
	var changed []string
	for name, version := range versions() {
		if before[name] != version {
			changed = append(changed, name)
		}
	}
	if len(changed) != 1 {
		t.Errorf("one touchpoint more changed %v", changed)
	}
	slo = get[v1alpha1.ExperienceSLO](t, namespace, "large")
	slo.Spec.Objectives = slo.Spec.Objectives[:1]
	if err := api.Update(t.Context(), slo); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one promise is in one object", soon, func(context.Context) error {
		if left := versions(); len(left) != 1 {
			return fmt.Errorf("%v are there", left)
		}
		return nil
	})
}

func TestMetricsAndHealth(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metrics, health := listener.Addr().String(), other.Addr().String()
	listener.Close()
	other.Close()
	startManager(t, func(o *controllers.Options) {
		o.MetricsBindAddress, o.MetricsSecure, o.HealthProbeBindAddress = metrics, true, health
	})
	// The certificate is the manager's own.
	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ask := func(url, token string, want int) {
		t.Helper()
		eventually(t, url, soon, func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			if token != "" {
				request.Header.Set("Authorization", "Bearer "+token)
			}
			response, err := insecure.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if response.StatusCode != want {
				return fmt.Errorf("it answers %s", response.Status)
			}
			return nil
		})
	}
	ask("http://"+health+"/healthz", "", http.StatusOK)
	ask("http://"+health+"/readyz", "", http.StatusOK)

	apply(t, systemNamespace, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: scraper, namespace: NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: scraper}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sojourn-metrics-reader}
subjects: [{kind: ServiceAccount, name: scraper, namespace: NAMESPACE}]
`)
	token := func(name string) string {
		t.Helper()
		request := &authenticationv1.TokenRequest{}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: systemNamespace}}
		if err := api.SubResource("token").Create(t.Context(), account, request); err != nil {
			t.Fatal(err)
		}
		return request.Status.Token
	}
	ask("https://"+metrics+"/metrics", "", http.StatusUnauthorized)
	ask("https://"+metrics+"/metrics", token("sojourn-gateway"), http.StatusForbidden)
	ask("https://"+metrics+"/metrics", token("scraper"), http.StatusOK)
}

func TestOptionsAreChecked(t *testing.T) {
	good := controllers.Options{
		RulesNamespace: systemNamespace, RuleLabels: map[string]string{"release": "prometheus"},
		ConfigMapLabels: map[string]string{"prometheus_rule": "1"}, Namespaces: []string{"shop"},
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*controllers.Options){
		"is the manager's own":     func(o *controllers.Options) { o.RuleLabels = map[string]string{"sojourn.dev/name": "x"} },
		"label a b=c":              func(o *controllers.Options) { o.RuleLabels = map[string]string{"a b": "c"} },
		`namespace "Shop"`:         func(o *controllers.Options) { o.Namespaces = []string{"Shop"} },
		`namespace ""`:             func(o *controllers.Options) { o.RulesNamespace = "" },
		"label prometheus_rule=/:": func(o *controllers.Options) { o.ConfigMapLabels = map[string]string{"prometheus_rule": "/"} },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
