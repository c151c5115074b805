// Package chart_test renders charts/sojourn as Helm does.
package chart_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	chart     = "../../charts/sojourn"
	kustomize = "../../config"
)

// values are a chart's, and objects those of a rendering, by kind, namespace and name.
type (
	values  = map[string]any
	objects = map[string]values
)

// template renders the chart as the release sojourn.
func template(t *testing.T, set values) (objects, string, error) {
	t.Helper()
	return templateAs(t, "sojourn", "sojourn-system", set)
}

func templateAs(t *testing.T, release, namespace string, set values) (objects, string, error) {
	t.Helper()
	loaded, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	composed, err := util.ToRenderValues(loaded, set, common.ReleaseOptions{Name: release, Namespace: namespace, IsInstall: true}, nil)
	if err != nil {
		return nil, "", err
	}
	files, err := (&engine.Engine{Strict: true}).Render(loaded, composed)
	if err != nil {
		return nil, "", err
	}
	found, notes := objects{}, ""
	for name, text := range files {
		switch filepath.Ext(name) {
		case ".txt":
			notes = text
		case ".yaml":
			for document := range strings.SplitSeq("\n"+text, "\n---\n") {
				add(t, found, document)
			}
		}
	}
	return found, notes, nil
}

func add(t *testing.T, found objects, document string) {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict([]byte(document))
	if err != nil {
		t.Fatalf("%v:\n%s", err, document)
	}
	var object values
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	if object == nil {
		return
	}
	metadata := at(object, "metadata").(values)
	namespace, _ := metadata["namespace"].(string)
	key := strings.Join([]string{object["kind"].(string), namespace, metadata["name"].(string)}, " ")
	if _, twice := found[key]; twice {
		t.Fatalf("%s is there twice", key)
	}
	found[key] = object
}

// build renders kustomizations together, with components.
func build(t *testing.T, folders []string, components ...string) objects {
	t.Helper()
	dir := t.TempDir()
	whole := map[string]any{"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
	for field, folders := range map[string][]string{"resources": folders, "components": components} {
		var paths []string
		for _, folder := range folders {
			there, err := filepath.Abs(filepath.Join(kustomize, folder))
			if err != nil {
				t.Fatal(err)
			}
			if there, err = filepath.Rel(dir, there); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, there)
		}
		whole[field] = paths
	}
	written, err := yaml.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), written, 0o644); err != nil {
		t.Fatal(err)
	}
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	found := objects{}
	for _, resource := range rendered.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		add(t, found, string(text))
	}
	return found
}

// readYAML reads a file.
func readYAML(t *testing.T, path string) values {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var read values
	if err := yaml.UnmarshalStrict(content, &read); err != nil {
		t.Fatal(err)
	}
	return read
}

// at returns what is at a path; nil if there is nothing.
func at(object any, path ...string) any {
	for _, key := range path {
		fields, _ := object.(values)
		object = fields[key]
	}
	return object
}

// TestSameAsKustomize: whoever installs by Helm has what others have.
func TestSameAsKustomize(t *testing.T) {
	for name, test := range map[string]struct {
		set                 values
		folders, components []string
	}{
		"default": {nil, []string{"default"}, nil},
		"all that one can see": {
			values{"serviceMonitors": values{"enabled": true}, "ui": values{"enabled": true}, "dashboards": values{"enabled": true}, "networkPolicies": values{"enabled": true}},
			[]string{"default", "ui", "prometheus", "grafana", "network"}, nil,
		},
		"several of each": {
			values{"manager": values{"replicas": 2}, "prober": values{"replicas": 2}, "gateway": values{"replicas": 2, "databaseSecret": "gateway-database"}},
			[]string{"default"}, []string{"replicas", "postgresql"},
		},
		"annotations": {values{"scrapeAnnotations": values{"enabled": true}, "metrics": values{"secure": false}}, []string{"default"}, []string{"annotations"}},
		"annotations, with PostgreSQL": {
			values{"scrapeAnnotations": values{"enabled": true}, "metrics": values{"secure": false}, "gateway": values{"replicas": 2, "databaseSecret": "gateway-database"}},
			[]string{"default"}, []string{"postgresql", "annotations"},
		},
		"values of Secrets": {values{"prober": values{"valuesNamespaces": []any{"shop"}}}, []string{"values"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := template(t, test.set)
			if err != nil {
				t.Fatal(err)
			}
			want := build(t, test.folders, test.components...)
			// Helm makes the release's namespace itself.
			delete(want, "Namespace  sojourn-system")
			compare(t, got, want)
		})
	}
	t.Run("sources of answers", func(t *testing.T) {
		got, _, err := template(t, values{"gateway": values{"sourceNamespaces": []any{"shop"}}})
		if err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(got, func(key string, _ values) bool { return !strings.Contains(key, " shop ") })
		// This one is applied with --namespace.
		want := objects{}
		for _, object := range build(t, []string{"sources"}) {
			object["metadata"].(values)["namespace"] = "shop"
			add(t, want, text(t, object))
		}
		compare(t, got, want)
	})
}

// compare wants the same objects of the chart as of kustomize.
func compare(t *testing.T, got, want objects) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] == nil {
			t.Errorf("the chart lacks %s", key)
			continue
		}
		if g, w := essence(got[key]), essence(want[key]); !reflect.DeepEqual(g, w) {
			t.Errorf("%s differs\nchart:     %s\nkustomize: %s", key, text(t, g), text(t, w))
		}
	}
	for key := range got {
		if want[key] == nil {
			t.Errorf("only the chart has %s", key)
		}
	}
}

// essence takes out what differs by the nature of the tools: labels and annotations
// that charts have, tags of images, and flags that only say what is the default.
func essence(object values) values {
	for _, labels := range []any{
		at(object, "metadata", "labels"),
		at(object, "spec", "selector"),
		at(object, "spec", "selector", "matchLabels"),
		at(object, "spec", "podSelector", "matchLabels"),
		at(object, "spec", "template", "metadata", "labels"),
	} {
		if labels, ok := labels.(values); ok {
			maps.DeleteFunc(labels, func(name string, _ any) bool {
				return name == "helm.sh/chart" || strings.HasPrefix(name, "app.kubernetes.io/") && name != "app.kubernetes.io/component"
			})
		}
	}
	if annotations, ok := at(object, "metadata", "annotations").(values); ok {
		delete(annotations, "helm.sh/resource-policy")
	}
	metadata := object["metadata"].(values)
	maps.DeleteFunc(metadata, func(_ string, value any) bool { return reflect.DeepEqual(value, values{}) })
	for _, container := range containers(object) {
		name, _, _ := strings.Cut(container["image"].(string), ":")
		container["image"] = name
		args, _ := container["args"].([]any)
		args = slices.DeleteFunc(args, func(arg any) bool {
			return arg == "--rules-namespace=sojourn-system" || arg == "--location=default"
		})
		delete(container, "args")
		if len(args) > 0 {
			container["args"] = args
		}
	}
	return object
}

func containers(object values) []values {
	list, _ := at(object, "spec", "template", "spec", "containers").([]any)
	var found []values
	for _, container := range list {
		found = append(found, container.(values))
	}
	return found
}

func text(t *testing.T, object any) string {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestLint wants no complaint of helm lint.
func TestLint(t *testing.T) {
	for _, message := range lint.RunAll(chart, nil, "sojourn-system").Messages {
		if message.Severity > support.InfoSev {
			t.Error(message)
		}
	}
}

// TestValues: each value does what its comment says.
func TestValues(t *testing.T) {
	const (
		manager = "Deployment sojourn-system sojourn-manager"
		prober  = "Deployment sojourn-system sojourn-prober"
		gateway = "StatefulSet sojourn-system sojourn-gateway"
		several = "Deployment sojourn-system sojourn-gateway"
		kind    = "CustomResourceDefinition  touchpoints.sojourn.dev"
	)
	for name, test := range map[string]struct {
		set  values
		want map[string]string // object: part of it, or "" if it shall not be there
	}{
		"kinds kept":     {nil, map[string]string{kind: `"helm.sh/resource-policy":"keep"`}},
		"kinds not kept": {values{"crds": values{"keep": false}}, map[string]string{kind: `"annotations":{"controller-gen.kubebuilder.io/version"`}},
		"no kinds":       {values{"crds": values{"enabled": false}}, map[string]string{kind: ""}},
		"image": {values{"image": values{"prefix": "images.example.com/sojourn", "tag": "2", "pullPolicy": "Always", "pullSecrets": []any{"pull"}}}, map[string]string{
			manager: `"image":"images.example.com/sojourn/sojourn-manager:2","imagePullPolicy":"Always"`,
			gateway: `"imagePullSecrets":[{"name":"pull"}]`,
		}},
		"image by default": {nil, map[string]string{prober: `"image":"sojourn-prober:v0.1.0"`}},
		"namespaces": {values{"namespaces": []any{"shop", "bank"}}, map[string]string{
			manager: `"--namespaces=shop,bank"`, prober: `"--namespaces=shop,bank"`, gateway: `"--namespaces=shop,bank"`,
		}},
		"nodes": {values{"nodeSelector": values{"disk": "fast"}, "tolerations": []any{values{"operator": "Exists"}}}, map[string]string{
			prober: `"nodeSelector":{"disk":"fast"}`, gateway: `"tolerations":[{"operator":"Exists"}]`,
		}},
		"manager": {values{"manager": values{"replicas": 2, "ruleLabels": values{"release": "p"}, "extraArgs": []any{"--log-level=debug"}}}, map[string]string{
			manager: `"args":["--leader-elect","--rules-namespace=sojourn-system","--rule-labels=release=p","--log-level=debug"]`,
		}},
		"no Prometheus": {values{"prometheus": values{"secret": "access", "bearerTokenKey": "token"}}, map[string]string{
			manager: `"args":["--leader-elect","--rules-namespace=sojourn-system"],`,
		}},
		"Prometheus": {values{"prometheus": values{"url": "http://prometheus.monitoring.svc:9090", "interval": "1m"}}, map[string]string{
			manager: `"--prometheus-url=http://prometheus.monitoring.svc:9090","--observe-interval=1m"]`,
		}},
		"access to Prometheus": {values{"prometheus": values{
			"url": "https://mimir/prometheus", "tenant": "shop", "secret": "access",
			"bearerTokenKey": "token", "caKey": "ca.crt", "clientCertKey": "tls.crt", "clientKeyKey": "tls.key",
		}}, map[string]string{
			manager: `"--prometheus-tenant=shop","--prometheus-bearer-token-file=/etc/prometheus-access/token","--prometheus-ca-file=/etc/prometheus-access/ca.crt",` +
				`"--prometheus-client-cert-file=/etc/prometheus-access/tls.crt","--prometheus-client-key-file=/etc/prometheus-access/tls.key"]`,
		}},
		"Secret for Prometheus": {values{"prometheus": values{"url": "https://mimir", "secret": "access", "caKey": "ca.crt"}}, map[string]string{
			manager: `"volumes":[{"name":"prometheus-access","secret":{"secretName":"access"}}]`,
		}},
		"replicas": {values{"manager": values{"replicas": 2}}, map[string]string{manager: `"replicas":2`}},
		"probers":  {values{"prober": values{"replicas": 3}}, map[string]string{prober: `"replicas":3`, "Role sojourn-system sojourn-prober-leases": `"leases"`}},
		"budgets for more than one Pod": {values{"manager": values{"replicas": 2}, "prober": values{"replicas": 2}, "gateway": values{"replicas": 2, "databaseSecret": "database"}}, map[string]string{
			"PodDisruptionBudget sojourn-system sojourn-manager": `"spec":{"maxUnavailable":1,`,
			"PodDisruptionBudget sojourn-system sojourn-prober":  `"selector":{"matchLabels":{"app.kubernetes.io/component":"prober",`,
			"PodDisruptionBudget sojourn-system sojourn-gateway": `"unhealthyPodEvictionPolicy":"AlwaysAllow"`,
		}},
		"no budget for one Pod": {nil, map[string]string{
			"PodDisruptionBudget sojourn-system sojourn-manager": "", "PodDisruptionBudget sojourn-system sojourn-prober": "",
			"PodDisruptionBudget sojourn-system sojourn-gateway": "",
		}},
		"location": {values{"prober": values{"location": "eu-west"}}, map[string]string{prober: `"--location=eu-west"`}},
		"values": {values{"prober": values{"valuesNamespaces": []any{"shop", "bank"}}}, map[string]string{
			prober: `"--values-namespaces=shop,bank"`, "Role shop sojourn-prober-values": `"verbs":["list","watch"]`,
			"RoleBinding bank sojourn-prober-values": `"namespace":"sojourn-system"`,
		}},
		"no values": {nil, map[string]string{"Role shop sojourn-prober-values": ""}},
		"guard": {values{"prober": values{"allowCIDRs": []any{"169.254.20.10/32"}, "denyCIDRs": []any{"10.0.0.0/8", "fd00::/8"}, "allowUnverifiedTLS": true}}, map[string]string{
			prober: `"--allow-cidrs=169.254.20.10/32","--deny-cidrs=10.0.0.0/8,fd00::/8","--allow-unverified-tls"`,
		}},
		"no prober": {values{"prober": values{"enabled": false}, "serviceMonitors": values{"enabled": true}}, map[string]string{
			prober: "", "ServiceAccount sojourn-system sojourn-prober": "", "ClusterRole  sojourn-prober": "", "ClusterRoleBinding  sojourn-prober": "",
			"Role sojourn-system sojourn-prober-leases": "", "RoleBinding sojourn-system sojourn-prober-leases": "",
			"Service sojourn-system sojourn-prober-metrics": "", "ServiceMonitor sojourn-system sojourn-prober": "", manager: "sojourn",
		}},
		"no gateway": {values{"gateway": values{"enabled": false}}, map[string]string{
			gateway: "", "ServiceAccount sojourn-system sojourn-gateway": "", "ClusterRole  sojourn-gateway": "", "ClusterRoleBinding  sojourn-gateway": "",
			"Service sojourn-system sojourn-gateway": "", "Service sojourn-system sojourn-gateway-metrics": "",
		}},
		"storage": {values{"gateway": values{"storage": values{"size": "20Gi", "className": "fast"}}}, map[string]string{
			gateway: `"resources":{"requests":{"storage":"20Gi"}},"storageClassName":"fast"`,
		}},
		"sources": {values{"gateway": values{"sourceNamespaces": []any{"shop", "bank"}}}, map[string]string{
			gateway:                             `"--source-namespaces=shop,bank"`,
			"Role shop sojourn-gateway-sources": `"rules":[{"apiGroups":[""],"resources":["secrets"],"verbs":["list","watch"]},{"apiGroups":["events.k8s.io"],"resources":["events"],"verbs":["create","patch"]}]`,
			"RoleBinding bank sojourn-gateway-sources": `"subjects":[{"kind":"ServiceAccount","name":"sojourn-gateway","namespace":"sojourn-system"}]`,
		}},
		"PostgreSQL": {values{"gateway": values{"databaseSecret": "database", "replicas": 2}}, map[string]string{
			several: `{"name":"SOJOURN_DATABASE","valueFrom":{"secretKeyRef":{"key":"url","name":"database"}}}`, gateway: "",
		}},
		"never fewer than asked for":          {values{"gateway": values{"databaseSecret": "database"}}, map[string]string{several: `"strategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}`}},
		"flags of a gateway on PostgreSQL":    {values{"namespaces": []any{"shop"}, "gateway": values{"databaseSecret": "database"}}, map[string]string{several: `"args":["--metrics-secure","--namespaces=shop"]`}},
		"no flags of a gateway on PostgreSQL": {values{"gateway": values{"databaseSecret": "database"}, "metrics": values{"secure": false}}, map[string]string{several: `"containers":[{"args":[],"env":[`}},
		"no Deployment with SQLite":           {nil, map[string]string{several: "", gateway: `"args":["--metrics-secure","--database=/var/lib/sojourn/gateway.db"]`}},
		"annotations": {values{"scrapeAnnotations": values{"enabled": true}, "metrics": values{"secure": false}}, map[string]string{
			prober:  `"annotations":{"prometheus.io/path":"/metrics","prometheus.io/port":"8080","prometheus.io/scheme":"http","prometheus.io/scrape":"true"}`,
			gateway: `"prometheus.io/port":"9464"`,
			// Without the token that it wants, it would only be a target that is down.
			manager: `"template":{"metadata":{"labels":{`,
		}},
		"no annotations": {nil, map[string]string{prober: `"template":{"metadata":{"labels":{`, gateway: `"template":{"metadata":{"labels":{`}},
		"endpoints": {values{"prometheus": values{"url": "http://prometheus.monitoring.svc:9090", "tenant": "shop"}}, map[string]string{
			"ConfigMap sojourn-system sojourn-endpoints": `"data":{"gateway":"http://sojourn-gateway.sojourn-system.svc","prometheus":"http://prometheus.monitoring.svc:9090","prometheusTenant":"shop"}`,
		}},
		"no web pages": {nil, map[string]string{
			"Deployment sojourn-system sojourn-ui": "", "Service sojourn-system sojourn-ui": "", "ServiceAccount sojourn-system sojourn-ui": "",
			"ClusterRole  sojourn-ui": "", "ClusterRoleBinding  sojourn-ui": "",
		}},
		"web pages": {values{"namespaces": []any{"shop"}, "prometheus": values{"url": "http://p:9090", "secret": "access", "caKey": "ca.crt"}, "ui": values{
			"enabled": true, "replicas": 2, "tlsSecret": "cert", "gatewayTokenSecret": "reader", "extraArgs": []any{"--proxy-secret-header=X-Proof"},
			"proxy": values{"userHeader": "X-User", "groupHeader": "X-Groups", "secret": "shared"},
		}}, map[string]string{
			"Deployment sojourn-system sojourn-ui": `"args":["ui","--listen=:8443","--health-probe-bind-address=:8081","--prometheus-url=http://p:9090",` +
				`"--prometheus-ca-file=/etc/prometheus-access/ca.crt","--gateway-url=http://sojourn-gateway.sojourn-system.svc",` +
				`"--tls-cert-file=/etc/ui-tls/tls.crt","--tls-key-file=/etc/ui-tls/tls.key","--user-header=X-User","--proxy-secret-file=/etc/ui-proxy/secret",` +
				`"--group-header=X-Groups","--namespaces=shop","--proxy-secret-header=X-Proof"],"env":[{"name":"SOJOURN_GATEWAY_TOKEN"`,
			"ClusterRoleBinding  sojourn-ui": `"name":"sojourn-ui","namespace":"sojourn-system"`,
		}},
		"no network policies": {nil, map[string]string{"NetworkPolicy sojourn-system sojourn-gateway": ""}},
		"network policies": {values{"networkPolicies": values{
			"enabled":     true,
			"metricsFrom": []any{values{"namespaceSelector": values{"matchLabels": values{"kubernetes.io/metadata.name": "monitoring"}}}},
			"answersFrom": []any{values{"ipBlock": values{"cidr": "10.0.0.0/8"}}},
		}, "prober": values{"enabled": false}}, map[string]string{
			"NetworkPolicy sojourn-system sojourn-manager": `"ingress":[{"from":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}}],"ports":[{"port":"metrics"}]}]`,
			"NetworkPolicy sojourn-system sojourn-gateway": `{"from":[{"ipBlock":{"cidr":"10.0.0.0/8"}}],"ports":[{"port":"responses"}]}`,
			"NetworkPolicy sojourn-system sojourn-prober":  "",
		}},
		"several, but switched off": {values{"prober": values{"enabled": false, "replicas": 3}}, map[string]string{"PodDisruptionBudget sojourn-system sojourn-prober": ""}},
		"no dashboards":             {nil, map[string]string{"ConfigMap sojourn-system sojourn-dashboard-overview": ""}},
		"dashboards": {values{"dashboards": values{"enabled": true, "labels": values{"dashboards": "yes"}, "annotations": values{"grafana_folder": "Sojourn"}, "namespace": "grafana"}}, map[string]string{
			"ConfigMap grafana sojourn-dashboard-overview": `"annotations":{"grafana_folder":"Sojourn"}`,
			"ConfigMap grafana sojourn-dashboard-journey":  `"dashboards":"yes"`,
		}},
		"no service monitors": {nil, map[string]string{"ServiceMonitor sojourn-system sojourn-manager": ""}},
		"service monitors": {values{"serviceMonitors": values{"enabled": true, "labels": values{"release": "p"}}}, map[string]string{
			"ServiceMonitor sojourn-system sojourn-manager": `"release":"p"`,
			// Without scrapeNativeHistograms, which older operators refuse.
			"ServiceMonitor sojourn-system sojourn-prober": `"scrapeClassicHistograms":true,"selector"`,
		}},
		"native histograms": {values{"serviceMonitors": values{"enabled": true, "nativeHistograms": true}}, map[string]string{
			"ServiceMonitor sojourn-system sojourn-prober": `"scrapeClassicHistograms":true,"scrapeNativeHistograms":true`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := template(t, test.set)
			if err != nil {
				t.Fatal(err)
			}
			for key, part := range test.want {
				object, there := got[key]
				if there != (part != "") {
					t.Errorf("%s: there: %v", key, there)
				} else if !strings.Contains(text(t, object), part) {
					t.Errorf("%s has no %s: %s", key, part, text(t, object))
				}
			}
		})
	}
}

// TestMistakes: the schema says which value is wrong.
func TestMistakes(t *testing.T) {
	for want, set := range map[string]values{
		"/prober/location":          {"prober": values{"location": "EU west"}},
		"/manager/replicas":         {"manager": values{"replicas": "two"}},
		"/namespaces/0":             {"namespaces": []any{"Shop"}},
		"/gateway/storage/size":     {"gateway": values{"storage": values{"size": "much"}}},
		"'probe' not allowed":       {"probe": values{}},
		"/image/pullPolicy":         {"image": values{"pullPolicy": "Sometimes"}},
		"/serviceMonitors/enabled":  {"serviceMonitors": values{"enabled": "yes"}},
		"/manager/extraArgs/0":      {"manager": values{"extraArgs": []any{"log-level=debug"}}},
		"/prometheus/url":           {"prometheus": values{"url": "prometheus:9090"}},
		"/prometheus/secret":        {"prometheus": values{"url": "https://mimir", "caKey": "ca.crt"}},
		"/prometheus/interval":      {"prometheus": values{"interval": "often"}},
		"/manager/ruleLabels/level": {"manager": values{"ruleLabels": values{"level": 1}}},
		"/gateway/replicas': value must be one of 0, 1, 'more only if gateway.databaseSecret names":           {"gateway": values{"replicas": 2}},
		"/serviceMonitors/enabled': value must be one of false, 'true only without scrapeAnnotations.enabled": {"serviceMonitors": values{"enabled": true}, "scrapeAnnotations": values{"enabled": true}, "metrics": values{"secure": false}},
		"/metrics/secure': value must be one of false, 'true only without scrapeAnnotations.enabled":          {"scrapeAnnotations": values{"enabled": true}},
		"/networkPolicies/metricsFrom": {"networkPolicies": values{"metricsFrom": []any{"monitoring"}}},
		"/dashboards/namespace":        {"dashboards": values{"namespace": "Grafana"}},
		"/gateway/sourceNamespaces/0":  {"gateway": values{"sourceNamespaces": []any{"*"}}},
		"/ui/proxy":                    {"ui": values{"enabled": true, "proxy": values{"userHeader": "X-User", "secret": ""}}},
	} {
		if _, _, err := template(t, set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want something with %s", set, err, want)
		}
	}
}

// TestAnotherRelease: no name or namespace is that of the usual release.
func TestAnotherRelease(t *testing.T) {
	got, notes, err := templateAs(t, "journeys", "ops", values{"serviceMonitors": values{"enabled": true}})
	if err != nil {
		t.Fatal(err)
	}
	for key, object := range got {
		if object["kind"] == "CustomResourceDefinition" {
			continue
		}
		// The one that people's tools look for.
		if name := at(object, "metadata", "name").(string); key != "ConfigMap ops sojourn-endpoints" && !strings.HasPrefix(name, "journeys-sojourn-") {
			t.Errorf("%s: its name does not begin with the release's", key)
		}
		if strings.Contains(text(t, object), "sojourn-system") {
			t.Errorf("%s names another namespace: %s", key, text(t, object))
		}
	}
	if account := at(got["StatefulSet ops journeys-sojourn-gateway"], "spec", "template", "spec", "serviceAccountName"); account != "journeys-sojourn-gateway" {
		t.Errorf("service account %v", account)
	}
	if want := "http://journeys-sojourn-gateway.ops.svc/v1/responses"; !strings.Contains(notes, want) {
		t.Errorf("no %s in the notes:\n%s", want, notes)
	}
}

// TestNotes says what to do next, and only that.
func TestNotes(t *testing.T) {
	const (
		tokens   = "create secret generic survey-tool"
		upgrade  = "--set serviceMonitors.enabled=true"
		right    = "kubectl create clusterrolebinding sojourn-metrics-reader --clusterrole=sojourn-metrics-reader --serviceaccount="
		annotate = "honor_labels: true"
		address  = "--set prometheus.url="
		sources  = "--set 'gateway.sourceNamespaces={shop}'"
	)
	for name, test := range map[string]struct {
		set  values
		want []string
	}{
		"defaults":      {nil, []string{tokens, upgrade, address, sources}},
		"no gateway":    {values{"gateway": values{"enabled": false}}, []string{upgrade, address}},
		"scraped":       {values{"serviceMonitors": values{"enabled": true}}, []string{tokens, right, address, sources}},
		"by annotation": {values{"scrapeAnnotations": values{"enabled": true}, "metrics": values{"secure": false}}, []string{tokens, annotate, address, sources}},
		"nothing left": {values{
			"serviceMonitors": values{"enabled": true}, "prometheus": values{"url": "http://prometheus:9090"}, "gateway": values{"sourceNamespaces": []any{"bank"}},
		}, []string{tokens, right}},
	} {
		_, notes, err := template(t, test.set)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{tokens, upgrade, right, annotate, address, sources} {
			if slices.Contains(test.want, part) != strings.Contains(notes, part) {
				t.Errorf("%s: %q is there: %v\n%s", name, part, strings.Contains(notes, part), notes)
			}
		}
		// Whatever the values: how to see whether all is well.
		for _, command := range []string{"rollout status deployment/sojourn-manager", "kubectl apply --server-side -f -", "kubectl get experience -n default", "kubectl journey status -n default"} {
			if !strings.Contains(notes, command) {
				t.Errorf("%s: no %q\n%s", name, command, notes)
			}
		}
	}
}
