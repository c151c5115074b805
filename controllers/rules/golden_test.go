package rules

import (
	"bufio"
	"bytes"
	"cmp"
	"flag"
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

// TestGolden compares the rules of each testdata/*/objects.yaml with rules.yaml beside it.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/objects.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden inputs: %v", err)
	}
	for _, input := range inputs {
		t.Run(filepath.Base(filepath.Dir(input)), func(t *testing.T) {
			got := ruleFile(t, everything(readObjects(t, input)))
			golden := filepath.Join(filepath.Dir(input), "rules.yaml")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the rules differ from %s: look at them and run go test ./controllers/rules -update if they are right\n%s", golden, got)
			}
		})
	}
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
			{"testdata/*/rules.yaml", []string{"check", "rules", "--lint-fatal"}},
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
}

func readObjects(t testing.TB, path string) objects {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parseObjects(t, string(text))
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

// everything makes all rules of all objects, as if one Prometheus loaded them.
func everything(in objects) []monitoringv1.RuleGroup {
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
	var groups []monitoringv1.RuleGroup
	slosOf := map[string][]*v1alpha1.ExperienceSLO{}
	for _, slo := range in.slos {
		slosOf[slo.Namespace] = append(slosOf[slo.Namespace], slo)
		groups = append(groups, ForSLO(slo, at(slo.Namespace)).Groups...)
	}
	for _, touchpoint := range in.touchpoints {
		var covering []*v1alpha1.ExperienceSLO
		for _, slo := range slosOf[touchpoint.Namespace] {
			if slices.Contains(targets.Resolve(slo, at(touchpoint.Namespace)).Touchpoints, touchpoint.Name) {
				covering = append(covering, slo)
			}
		}
		groups = append(groups, ForTouchpoint(touchpoint, covering, Options{}).Groups...)
	}
	for _, journey := range in.journeys {
		groups = append(groups, ForJourney(journey, Options{}).Groups...)
	}
	for _, name := range sortedKeys(slosOf) {
		local := map[string][]string{}
		for touchpoint := range at(name).Touchpoints {
			local[touchpoint] = journeysOf[name+"/"+touchpoint]
		}
		for _, object := range ForNamespace(name, slosOf[name], at(name), local) {
			groups = append(groups, object.Groups...)
		}
	}
	return groups
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
