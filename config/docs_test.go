package config_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/go-logr/logr"
	"github.com/prometheus/common/promslog"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/promql/parser"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/hack/localstack"
	"github.com/sojourn-dev/sojourn/hack/manual"
)

// What the documentation says is checked here:
//
//   - links and anchors lead somewhere, and every page is linked to;
//   - blocks of yaml are accepted by an API server, or by whom they are for;
//   - blocks of sh are typed into a shell, in their order, on a cluster where the manager
//     runs; a block of text right after one is what it prints. A block of yaml that begins
//     with the comment "# name.yaml" is that file;
//   - blocks of promql are read by Prometheus's parser, and name series that there are;
//   - every alert has a runbook.
//
// What cannot be run here, such as what needs Pods that run, is a block of console, with a
// prompt before each command.

// runElsewhere are pages whose commands other tests run (those of the gateway, and of the
// plugin), or that have been typed by hand: benchmarks take an hour.
var runElsewhere = []string{
	"README.md", "docs/responses.md", "docs/responses/*", "docs/benchmarks.md",
	"docs/map.md", "docs/ui.md", "docs/pipelines.md", "docs/backtest.md", "docs/gate.md", "docs/tutorial.md",
	"docs/import-export.md",
}

// page is one page of the documentation.
type page struct {
	*manual.Page
	// path is from the top of the checkout.
	path string
}

// pages are README.md, CONTRIBUTING.md, CHANGELOG.md and all of docs/.
func pages(t *testing.T) (found []page) {
	t.Helper()
	paths := []string{"../README.md", "../CONTRIBUTING.md", "../CHANGELOG.md"}
	err := filepath.WalkDir("../docs", func(path string, entry os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		read, err := manual.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, page{read, filepath.ToSlash(strings.TrimPrefix(path, "../"))})
	}
	return found
}

func (p *page) at(b manual.Block) string { return fmt.Sprintf("%s:%d", p.path, b.Line) }

// ours tells whether this test runs the page's commands.
func (p *page) ours() bool {
	return !slices.ContainsFunc(runElsewhere, func(pattern string) bool {
		matches, _ := filepath.Match(pattern, p.path)
		return matches
	})
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	inline  = regexp.MustCompile("`[^`\n]+`")
)

// anchors are those that GitHub gives the headings of a page.
func (p *page) anchors() map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(p.Prose(), -1) {
		title := link.ReplaceAllString(strings.NewReplacer("`", "", "*", "", "[", "").Replace(match[1]), "")
		anchor := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, strings.TrimSpace(title))
		unique := anchor
		for n := 1; found[unique]; n++ {
			unique = fmt.Sprintf("%s-%d", anchor, n)
		}
		found[unique] = true
	}
	return found
}

func TestDocumentationLinks(t *testing.T) {
	anchors := map[string]map[string]bool{}
	all := pages(t)
	for _, p := range all {
		anchors[p.path] = p.anchors()
	}
	leads := map[string][]string{}
	for _, p := range all {
		prose := inline.ReplaceAllString(p.Prose(), "")
		for _, match := range link.FindAllStringSubmatch(prose, -1) {
			if strings.Contains(match[1], "://") || strings.HasPrefix(match[1], "mailto:") {
				continue
			}
			target, anchor, hasAnchor := strings.Cut(match[1], "#")
			to := p.path
			if target != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(p.path), target))
			}
			if _, err := os.Stat(filepath.Join("..", to)); err != nil || strings.HasPrefix(to, "..") {
				t.Errorf("%s links to %s, which is not there", p.path, match[1])
				continue
			}
			leads[p.path] = append(leads[p.path], to)
			if hasAnchor && !anchors[to][anchor] {
				t.Errorf("%s links to %s, where no heading has that anchor", p.path, match[1])
			}
		}
	}
	seen := map[string]bool{"docs/README.md": true}
	for next := []string{"docs/README.md"}; len(next) > 0; next = next[1:] {
		for _, to := range leads[next[0]] {
			if !seen[to] {
				seen[to] = true
				next = append(next, to)
			}
		}
	}
	for path := range anchors {
		if !seen[path] {
			t.Errorf("nobody gets from docs/README.md to %s", path)
		}
	}
}

var (
	exposedName  = regexp.MustCompile(`"(sojourn_[a-z0-9_]*[a-z0-9])"`)
	recordedName = regexp.MustCompile(`record: (\S+)`)
	alertName    = regexp.MustCompile(`alert: (\S+)`)
	namedSeries  = regexp.MustCompile("^`(sojourn[_:][a-z0-9_:]*[a-z0-9])(\\{[^,]*\\})?`$")
)

// sources reads all files of the folders whose names end as given.
func sources(t *testing.T, suffix string, folders ...string) (texts []string) {
	t.Helper()
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, suffix) || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			texts = append(texts, string(text))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

func TestDocumentationSeries(t *testing.T) {
	exposed, known := map[string]bool{}, map[string]bool{}
	for _, text := range sources(t, ".go", "../cmd", "../controllers") {
		for _, match := range exposedName.FindAllStringSubmatch(text, -1) {
			exposed[match[1]] = true
			for _, suffix := range []string{"", "_bucket", "_count", "_sum"} {
				known[match[1]+suffix] = true
			}
		}
	}
	for _, text := range sources(t, ".yaml", "../controllers/rules/testdata") {
		for _, match := range recordedName.FindAllStringSubmatch(text, -1) {
			known[match[1]] = true
		}
	}
	if len(exposed) < 10 || len(known) < 4*len(exposed)+20 {
		t.Fatalf("only %d series are exposed, and %d known", len(exposed), len(known))
	}
	named, queries := map[string]bool{}, 0
	promql := parser.NewParser(parser.Options{})
	for _, p := range pages(t) {
		for _, span := range inline.FindAllString(p.Prose(), -1) {
			if match := namedSeries.FindStringSubmatch(span); match != nil {
				named[match[1]] = true
				if !known[match[1]] && !strings.HasSuffix(match[1], ":") {
					t.Errorf("%s names %s, which nobody exposes or records", p.path, span)
				}
			}
		}
		for _, b := range p.Blocks {
			if b.Language != "promql" {
				continue
			}
			queries++
			expr, err := promql.ParseExpr(b.Text)
			if err != nil {
				t.Errorf("%s: %v", p.at(b), err)
				continue
			}
			parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
				if selector, is := node.(*parser.VectorSelector); is && strings.HasPrefix(selector.Name, "sojourn") && !known[selector.Name] {
					t.Errorf("%s asks for %s, which nobody exposes or records", p.at(b), selector.Name)
				}
				return nil
			})
		}
	}
	if queries == 0 {
		t.Error("there are no queries")
	}
	for name := range exposed {
		if histogram := strings.TrimSuffix(name, "_bucket"); !named[name] && !named[histogram] {
			t.Errorf("no page names %s", name)
		}
	}
}

// TestRunbooks looks for the heading of every alert, and that what watches Sojourn itself
// points there.
func TestRunbooks(t *testing.T) {
	const address = "https://github.com/sojourn-dev/sojourn/blob/main/docs/alerts.md#"
	anchors := map[string]bool{}
	for _, p := range pages(t) {
		if p.path == "docs/alerts.md" {
			anchors = p.anchors()
		}
	}
	alerts := map[string]bool{}
	for _, text := range sources(t, ".yaml", "../controllers/rules/testdata", "prometheus") {
		for _, match := range alertName.FindAllStringSubmatch(text, -1) {
			alerts[match[1]] = true
		}
	}
	if len(alerts) < 10 {
		t.Errorf("only these alerts: %v", alerts)
	}
	for alert := range alerts {
		if !anchors[strings.ToLower(alert)] {
			t.Errorf("docs/alerts.md has no heading for %s", alert)
		}
	}
	for _, object := range render(t, "prometheus") {
		if object.GetKind() != "PrometheusRule" {
			continue
		}
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range alertName.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(string(text), address+strings.ToLower(match[1])+"\n") {
				t.Errorf("%s has no annotation runbook_url: %s%s", match[1], address, strings.ToLower(match[1]))
			}
		}
	}
}

// needsMore are words of commands that no test machine without Pods, customers, Helm or an
// hour of time can run. A block of console has one of them; everything else is to be run.
var needsMore = regexp.MustCompile(`\b(helm|port-forward|logs|exec|amtool|curl|docker|make|go|kubectl[ -]journey|condition=(Met|Healthy))\b`)

func TestDocumentationBlocks(t *testing.T) {
	languages := []string{"yaml", "sh", "console", "promql", "text", "json"}
	for _, p := range pages(t) {
		if !p.ours() {
			continue
		}
		for _, b := range p.Blocks {
			if !slices.Contains(languages, b.Language) {
				t.Errorf("%s: a block of %q is checked by nobody: use one of %v", p.at(b), b.Language, languages)
			}
			if b.Language != "console" {
				continue
			}
			if !needsMore.MatchString(b.Text) {
				t.Errorf("%s can be run: make it sh", p.at(b))
			}
			if !strings.HasPrefix(b.Text, "$ ") {
				t.Errorf("%s: commands that are only shown have a prompt", p.at(b))
			}
		}
	}
}

// documentation checks blocks of yaml and sh on a cluster where config/default is installed.
func documentation(t *testing.T, cluster *localstack.ControlPlane, api client.Client) {
	startManager(t, cluster.RESTConfig())
	// What each page begins with, whatever those before have made of it.
	samples := render(t, "samples")
	installed := append(render(t, "default"), samples...)
	t.Run("samples applied twice", func(t *testing.T) { samplesStay(t, api, samples, cluster.Kubeconfig()) })
	// Where Prometheus is, on most clusters, and Argo CD.
	for _, name := range []string{"monitoring", "argocd"} {
		if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range pages(t) {
		t.Run(p.path, func(t *testing.T) {
			for _, b := range p.Blocks {
				if b.Language == "yaml" {
					accepted(t, api, &p, b)
				}
			}
			if !p.ours() || !slices.ContainsFunc(p.Blocks, func(b manual.Block) bool { return b.Language == "sh" }) {
				return
			}
			if err := api.DeleteAllOf(t.Context(), &corev1.Secret{}, client.InNamespace(shopNamespace)); err != nil {
				t.Fatal(err)
			}
			for _, object := range installed {
				if err := api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()), client.FieldOwner("kubectl"), client.ForceOwnership); err != nil {
					t.Fatal(err)
				}
			}
			follow(t, &p, cluster.Kubeconfig())
		})
	}
}

// startManager runs the manager with the rights that config/ gives it.
func startManager(t *testing.T, config *rest.Config) {
	t.Helper()
	config.Impersonate.UserName = "system:serviceaccount:" + systemNamespace + ":sojourn-manager"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- controllers.Run(ctx, config, controllers.Options{
			RulesNamespace: systemNamespace, ConfigMapLabels: map[string]string{"prometheus_rule": "1"}, Workloads: true,
			MetricsBindAddress: "0", HealthProbeBindAddress: "0", Logger: logr.Discard(),
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// follow types the commands of a page into a shell, each block once those before have
// succeeded.
func follow(t *testing.T, p *page, kubeconfig string) {
	t.Helper()
	amtool, err := localstack.Binary(t.Context(), localstack.AmtoolBinary)
	if err != nil {
		t.Fatal(err)
	}
	shell := manual.Open(t, manual.Options{Checkout: "..", Kubeconfig: kubeconfig, Programs: map[string]string{"amtool": amtool}})
	for _, b := range p.Blocks {
		first, _, _ := strings.Cut(b.Text, "\n")
		if name, named := strings.CutPrefix(first, "# "); b.Language == "yaml" && named && !strings.ContainsAny(name, " /") && strings.HasSuffix(name, ".yaml") {
			if err := os.WriteFile(filepath.Join(shell.Folder, name), []byte(b.Text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, b := range p.Blocks {
		if b.Language != "sh" {
			continue
		}
		got, want := shell.Type(b.Text), p.Prints(i)
		if got.Status != 0 {
			t.Fatalf("%s: ends with %d\n%s\nprints\n%s\n%s", p.at(b), got.Status, b.Text, got.Printed, got.Said)
		}
		if want != "" && got.Printed != want {
			t.Errorf("%s\n%sprints\n%s\nand should\n%s", p.at(b), b.Text, got.Printed, want)
		}
	}
}

// accepted has whom a block of yaml is for say whether it is right.
func accepted(t *testing.T, api client.Client, p *page, b manual.Block) {
	t.Helper()
	for document := range strings.SplitSeq("\n"+b.Text, "\n---\n") {
		object := map[string]any{}
		if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
			t.Errorf("%s: %v", p.at(b), err)
			return
		}
		if err := judge(t, api, object, []byte(document)); err != nil && (p.ours() || !meta.IsNoMatchError(err) && object["kind"] != nil) {
			t.Errorf("%s: %v", p.at(b), err)
		}
	}
}

func judge(t *testing.T, api client.Client, object map[string]any, text []byte) error {
	t.Helper()
	has := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(key string) bool { _, is := object[key]; return is })
	}
	// Parts of objects get what they need to be whole.
	touchpoint := func(spec map[string]any) error {
		if spec["channel"] == nil {
			spec["channel"] = "Web"
		}
		return judge(t, api, map[string]any{"apiVersion": "sojourn.dev/v1alpha1", "kind": "Touchpoint", "spec": spec}, nil)
	}
	switch {
	case object["kind"] == "Kustomization" && strings.HasPrefix(fmt.Sprint(object["apiVersion"]), "kustomize.config.k8s.io/"):
		return (&types.Kustomization{}).Unmarshal(text)
	case has("kind"):
		whole := &unstructured.Unstructured{Object: object}
		if whole.GetName() == "" {
			whole.SetName("some")
		}
		if strings.HasPrefix(whole.GetAPIVersion(), "sojourn.dev/") && whole.GetNamespace() == "" {
			whole.SetNamespace(shopNamespace)
		}
		return api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(whole), client.FieldOwner("documentation"), client.ForceOwnership, client.DryRunAll)
	case has("variables", "steps") && !has("spec"):
		return touchpoint(map[string]any{"probe": object})
	case has("probe", "survey", "metrics", "expectation", "blueprint") && !has("spec"):
		return touchpoint(object)
	case has("targets", "objectives", "alerting"):
		promise := map[string]any{"targets": map[string]any{"selector": map[string]any{}}, "objectives": []any{
			map[string]any{"name": "some", "availability": map[string]any{"target": "99%"}},
		}}
		maps.Copy(promise, object)
		return judge(t, api, map[string]any{"apiVersion": "sojourn.dev/v1alpha1", "kind": "ExperienceSLO", "spec": promise}, nil)
	case has("spec"):
		return judge(t, api, object["spec"].(map[string]any), nil)
	case has("scrape_configs", "scrape_config_files", "rule_files"):
		_, err := promconfig.Load(string(text), promslog.NewNopLogger())
		return err
	case has("route", "receivers", "inhibit_rules"):
		whole := map[string]any{"route": map[string]any{"receiver": "some"}, "receivers": []any{map[string]any{"name": "some"}}}
		maps.Copy(whole, object)
		configuration, err := yaml.Marshal(whole)
		if err != nil {
			return err
		}
		alertmanager, err := localstack.StartAlertmanager(t.Context(), localstack.AlertmanagerOptions{ConfigYAML: string(configuration)})
		if err == nil {
			alertmanager.Stop()
		}
		return err
	}
	text, err := os.ReadFile("../charts/sojourn/values.yaml")
	if err != nil {
		return err
	}
	known := map[string]any{}
	if err := yaml.Unmarshal(text, &known); err != nil {
		return err
	}
	return areValues(object, known, "")
}

// areValues tells whether the chart knows values. An empty map of its own takes any keys.
func areValues(values, known map[string]any, path string) error {
	if len(known) == 0 {
		return nil
	}
	for key, value := range values {
		theirs, is := known[key]
		if !is {
			return fmt.Errorf("%s%s is neither a part of an object or of a configuration, nor a value of the chart", path, key)
		}
		inner, isMap := value.(map[string]any)
		knownInner, wantsMap := theirs.(map[string]any)
		if isMap != wantsMap {
			return fmt.Errorf("%s%s is of another type in the chart's values", path, key)
		}
		if err := areValues(inner, knownInner, path+key+"."); isMap && err != nil {
			return err
		}
	}
	return nil
}

// TestSecurityPage holds the tables of docs/security.md against what is installed.
func TestSecurityPage(t *testing.T) {
	text, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	objects := render(t, "default")
	bound := map[string]bool{}
	for _, b := range ofKind[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding") {
		bound[b.RoleRef.Name] = true
	}
	for _, b := range ofKind[rbacv1.RoleBinding](t, objects, "RoleBinding") {
		bound[b.RoleRef.Name] = true
	}
	rules := map[string][]rbacv1.PolicyRule{}
	for _, role := range ofKind[rbacv1.ClusterRole](t, objects, "ClusterRole") {
		rules[role.Name] = role.Rules
	}
	for _, role := range ofKind[rbacv1.Role](t, objects, "Role") {
		rules[role.Name] = role.Rules
	}
	rows := 0
	for name := range bound {
		for _, rule := range rules[name] {
			rows++
			row := fmt.Sprintf("\n| `%s` | %s | %s | ", name, strings.Join(rule.Resources, ", "), strings.Join(rule.Verbs, ", "))
			if !strings.Contains(string(text), row) {
				t.Errorf("docs/security.md lacks the right%s", row)
			}
		}
	}
	if said := strings.Count(string(text), "\n| `sojourn-"); said != rows {
		t.Errorf("docs/security.md tells of %d rights; there are %d", said, rows)
	}
	rows = 0
	for _, w := range workloads(t, objects) {
		for _, port := range w.container().Ports {
			rows++
			if row := fmt.Sprintf("\n| %s | %d | ", w.container().Name, port.ContainerPort); !strings.Contains(string(text), row) {
				t.Errorf("docs/security.md lacks the port%s", row)
			}
		}
	}
	if said := len(regexp.MustCompile(`(?m)^\| (manager|prober|gateway) \| \d+ `).FindAllString(string(text), -1)); said != rows {
		t.Errorf("docs/security.md tells of %d ports; there are %d", said, rows)
	}
}
