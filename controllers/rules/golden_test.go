package rules

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/targets"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compares the rules of each testdata/*/objects.yaml with rules.yaml beside it,
// or with one rules-<namespace>.yaml for each of several namespaces, and what cannot be
// honoured with problems.txt. A file options.yaml holds the Options, if there are any.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/objects.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden inputs: %v", err)
	}
	for _, input := range inputs {
		folder := filepath.Dir(input)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			want := map[string]string{}
			for _, pattern := range []string{"rules*.yaml", "problems.txt"} {
				found, err := filepath.Glob(filepath.Join(folder, pattern))
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range found {
					text, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					want[filepath.Base(path)] = string(text)
				}
			}
			got := goldenFiles(t, makeAll(readObjects(t, input)))
			for _, name := range sortedKeys(got) {
				if got[name] != want[name] && !*update {
					t.Errorf("%s differs: look at it and run go test ./controllers/rules -update if it is right\n%s", filepath.Join(folder, name), got[name])
				}
				if *update {
					if err := os.WriteFile(filepath.Join(folder, name), []byte(got[name]), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			for name := range want {
				if _, still := got[name]; !still {
					t.Errorf("%s is left over: delete it", filepath.Join(folder, name))
				}
			}
		})
	}
}

func goldenFiles(t testing.TB, all made) map[string]string {
	t.Helper()
	files := map[string]string{}
	for namespace, groups := range all.groups {
		name := "rules.yaml"
		if len(all.groups) > 1 {
			name = "rules-" + namespace + ".yaml"
		}
		files[name] = string(ruleFile(t, groups))
	}
	if len(all.problems) > 0 {
		files["problems.txt"] = strings.Join(all.problems, "\n") + "\n"
	}
	return files
}

// TestPromtool has Prometheus's own tool check every golden file, and run the scenarios
// that lie beside some of them: the tool of today's Prometheus, and that of the oldest
// one that rules are made for.
func TestPromtool(t *testing.T) {
	for _, name := range []string{localstack.PromtoolBinary, localstack.Promtool2Binary} {
		promtool, err := localstack.Binary(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range []struct {
			pattern   string
			arguments []string
		}{
			{"testdata/*/rules*.yaml", []string{"check", "rules", "--lint-fatal"}},
			{"testdata/*/scenarios.yaml", []string{"test", "rules"}},
		} {
			files, err := filepath.Glob(task.pattern)
			if err != nil || len(files) == 0 {
				t.Fatalf("nothing to %s: %v", task.arguments[0], err)
			}
			for _, file := range files {
				t.Run(name+" "+task.arguments[0]+" "+file, func(t *testing.T) {
					t.Parallel()
					command := exec.CommandContext(t.Context(), promtool, append(task.arguments, filepath.Base(file))...)
					command.Dir = filepath.Dir(file)
					if output, err := command.CombinedOutput(); err != nil {
						t.Errorf("%s: %v\n%s", command, err, output)
					}
				})
			}
		}
	}
}

// objects are what an input file holds.
type objects struct {
	touchpoints []*v1alpha1.Touchpoint
	slos        []*v1alpha1.ExperienceSLO
	journeys    []*v1alpha1.Journey
	options     Options
}

func readObjects(t testing.TB, path string) objects {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := parseObjects(t, string(text))
	options, err := os.ReadFile(filepath.Join(filepath.Dir(path), "options.yaml"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(options, &found.options); err != nil {
		t.Fatal(err)
	}
	return found
}

// parseObjects decodes YAML and fills in what the API server would by default.
func parseObjects(t testing.TB, text string) objects {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	reader := yamlstream.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	var found objects
	for {
		document, err := reader.Read()
		if err != nil {
			break
		}
		if strings.TrimSpace(string(document)) == "" {
			continue
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		switch object := object.(type) {
		case *v1alpha1.Touchpoint:
			spec := &object.Spec
			spec.Class = cmp.Or(spec.Class, v1alpha1.ClassStandard)
			spec.Kano = cmp.Or(spec.Kano, v1alpha1.KanoPerformance)
			if spec.Probe != nil {
				spec.Probe.Interval = cmp.Or(spec.Probe.Interval, "30s")
			}
			found.touchpoints = append(found.touchpoints, object)
		case *v1alpha1.ExperienceSLO:
			object.Spec.Window = cmp.Or(object.Spec.Window, "28d")
			found.slos = append(found.slos, object)
		case *v1alpha1.Journey:
			found.journeys = append(found.journeys, object)
		}
	}
	return found
}

// made is what all objects come to.
type made struct {
	groups   map[string][]monitoringv1.RuleGroup // by namespace
	problems []string
}

func (m *made) complain(kind, name string, problems []Problem) {
	for _, problem := range problems {
		m.problems = append(m.problems, fmt.Sprintf("%s %s: %s: %s: %s", kind, name, problem.Reason, problem.Field, problem.Message))
	}
}

// everything makes all rules of all objects, as if one Prometheus loaded them.
func everything(in objects) []monitoringv1.RuleGroup {
	all := makeAll(in)
	var groups []monitoringv1.RuleGroup
	for _, namespace := range sortedKeys(all.groups) {
		groups = append(groups, all.groups[namespace]...)
	}
	return groups
}

func makeAll(in objects) made {
	namespaces := map[string]targets.Namespace{}
	at := func(name string) targets.Namespace {
		if _, exists := namespaces[name]; !exists {
			namespaces[name] = targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}, Journeys: map[string]*v1alpha1.Journey{}}
		}
		return namespaces[name]
	}
	journeysOf := map[string][]string{}
	for _, journey := range in.journeys {
		at(journey.Namespace).Journeys[journey.Name] = journey
		for _, reference := range targets.References(journey) {
			key := reference.Namespace + "/" + reference.Name
			journeysOf[key] = append(journeysOf[key], journey.Namespace+"/"+journey.Name)
		}
	}
	for _, touchpoint := range in.touchpoints {
		at(touchpoint.Namespace).Touchpoints[touchpoint.Name] = touchpoint
	}
	all := made{groups: map[string][]monitoringv1.RuleGroup{}}
	add := func(namespace string, groups []monitoringv1.RuleGroup) {
		all.groups[namespace] = append(all.groups[namespace], groups...)
	}
	slosOf := map[string][]*v1alpha1.ExperienceSLO{}
	for _, slo := range in.slos {
		slosOf[slo.Namespace] = append(slosOf[slo.Namespace], slo)
		own := ForSLO(slo, at(slo.Namespace))
		for _, object := range own.Objects {
			add(slo.Namespace, object.Groups)
		}
		all.complain("ExperienceSLO", slo.Name, own.Problems)
	}
	for _, touchpoint := range in.touchpoints {
		var covering []*v1alpha1.ExperienceSLO
		for _, slo := range slosOf[touchpoint.Namespace] {
			if slices.Contains(targets.Resolve(slo, at(touchpoint.Namespace)).Touchpoints, touchpoint.Name) {
				covering = append(covering, slo)
			}
		}
		own := ForTouchpoint(touchpoint, covering, in.options)
		add(touchpoint.Namespace, slices.Concat(own.Groups, own.Diagnosis))
		all.complain("Touchpoint", touchpoint.Name, own.Problems)
	}
	for _, journey := range in.journeys {
		own := ForJourney(journey, in.options)
		add(journey.Namespace, own.Groups)
		all.complain("Journey", journey.Name, own.Problems)
	}
	for name, slos := range slosOf {
		local := map[string][]string{}
		for touchpoint := range at(name).Touchpoints {
			local[touchpoint] = journeysOf[name+"/"+touchpoint]
		}
		for _, object := range ForNamespace(name, slos, at(name), local) {
			add(name, object.Groups)
		}
	}
	return all
}

// The rules do not depend on the order in which objects are listed, to the byte.
func TestOrderOfObjectsDoesNotMatter(t *testing.T) {
	t.Parallel()
	inputs, err := filepath.Glob("testdata/*/objects.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no objects: %v", err)
	}
	for _, input := range inputs {
		in := readObjects(t, input)
		sorted := func() map[string]string {
			all := makeAll(in)
			for _, groups := range all.groups {
				slices.SortFunc(groups, func(a, b monitoringv1.RuleGroup) int { return cmp.Compare(a.Name, b.Name) })
			}
			slices.Sort(all.problems)
			return goldenFiles(t, all)
		}
		want := sorted()
		for seed := range uint64(5) {
			random := rand.New(rand.NewPCG(seed, 0))
			random.Shuffle(len(in.touchpoints), func(i, j int) { in.touchpoints[i], in.touchpoints[j] = in.touchpoints[j], in.touchpoints[i] })
			random.Shuffle(len(in.slos), func(i, j int) { in.slos[i], in.slos[j] = in.slos[j], in.slos[i] })
			random.Shuffle(len(in.journeys), func(i, j int) { in.journeys[i], in.journeys[j] = in.journeys[j], in.journeys[i] })
			if got := sorted(); !maps.Equal(got, want) {
				t.Errorf("other rules of the shuffled objects of %s", input)
			}
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func ruleFile(t testing.TB, groups []monitoringv1.RuleGroup) []byte {
	t.Helper()
	text, err := yaml.Marshal(map[string]any{"groups": groups})
	if err != nil {
		t.Fatal(err)
	}
	return text
}
