package files

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const shop = `# A comment.
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: checkout, namespace: shop}
spec:
  targets:
    touchpoints: [basket, checkout]
  objectives:
  - name: effort
    ces:
      mean: "5.5"
  - name: speed
    latency: {threshold: 300ms, target: "99%"}
  alerting:
    labels: {a.b: c}
`

func TestPositions(t *testing.T) {
	document := parse("shop.yaml", []byte("kind: Service\napiVersion: v1\n---\n"+shop)).Documents[0]
	const before = 3
	for path, want := range map[string][2]int{
		"":                                    {2, 1},
		"spec":                                {5, 1},
		"metadata.name":                       {4, 18},
		"spec.targets.touchpoints":            {7, 5},
		"spec.targets.touchpoints[1]":         {7, 27},
		"spec.targets.touchpoints[basket]":    {7, 19},
		"spec.objectives[effort]":             {9, 5},
		"spec.objectives[effort].ces.mean":    {11, 13},
		"spec.objectives[0].ces":              {10, 5},
		"spec.objectives[1].latency.target":   {13, 41},
		"spec.objectives[speed].csat.target":  {12, 5},
		"spec.objectives.name":                {8, 3},
		"spec.alerting.labels[a.b]":           {15, 19},
		"spec.window":                         {5, 1},
		"spec.objectives[7]":                  {8, 3},
		"spec.objectives[effort].ces.mean.no": {11, 7},
		"nonsense[[..]":                       {2, 1},
	} {
		if got := document.At(path); got != (Position{"shop.yaml", want[0] + before, want[1]}) {
			t.Errorf("%q is at %v, not at line %d, column %d", path, got, want[0]+before, want[1])
		}
	}
	if got := document.AtField("metadata.name"); got.Column != 12 {
		t.Errorf("the field is at %v", got)
	}
	if got := document.AtItem("spec.targets.touchpoints", "checkout"); got.Column != 27 {
		t.Errorf("the item is at %v", got)
	}
}

// odd are values of which YAML 1.1 and 1.2, or JSON, think differently.
var odd = []string{
	"yes", "No", "on", "y", "N", "true", "True", "null", "~", "", "0777", "0o17", "0x1F", "0b11", "1_000", "1e3", "1.", ".5", "-3", "+7",
	"1:30", "2026-01-01", "2026-01-01T00:00:00Z", "18446744073709551615", "9223372036854775807", "99%", "300ms", "'yes'", `"7"`, "!!str 7", "|\n  a\n  b", "[1, on]", "{yes: no, 7: 8}",
}

func TestValuesAreThoseOfKubectl(t *testing.T) {
	texts := []string{shop}
	for _, value := range odd {
		texts = append(texts, "apiVersion: sojourn.dev/v1alpha1\nkind: Journey\nvalue: "+value+"\n")
	}
	texts = append(texts, "apiVersion: sojourn.dev/v1alpha1\nkind: Journey\na: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n")
	samples, err := filepath.Glob("../../../../config/samples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range samples {
		text, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range documents(text) {
			texts = append(texts, string(document))
		}
	}
	for _, text := range texts {
		for _, document := range parse("x", []byte(text)).Documents {
			sameAsKubectl(t, document, text)
		}
	}
}

func sameAsKubectl(t *testing.T, document *Document, text string) {
	t.Helper()
	ours, err := json.Marshal(document.Fields)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var a, b any
	theirs, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return // an error of lint's too, or something that only YAML 1.2 knows
	}
	if json.Unmarshal(ours, &a) != nil || json.Unmarshal(theirs, &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%s\nis    %s\nto kubectl %s", text, ours, theirs)
	}
}

// FuzzParse: nothing that a file holds ends the program, and every object has a place for
// whatever may be said of it.
func FuzzParse(f *testing.F) {
	f.Add(shop)
	for _, value := range odd {
		f.Add("apiVersion: sojourn.dev/v1alpha1\nkind: Journey\nvalue: " + value)
	}
	f.Add("a: &a [*a]\n---\n{\"a\": \"\\ud83d\\ude00\"}\n---\n<<: {a: b}\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			return
		}
		set := parse("x", []byte(text))
		lines := strings.Count(text, "\n") + 2
		for _, document := range set.Documents {
			for _, path := range []string{"", "spec", "spec.objectives[0].name", "metadata.labels[a.b]"} {
				if at := document.At(path); at.Line < 1 || at.Line > lines {
					t.Errorf("%q is at %v of %d lines", path, at, lines)
				}
			}
		}
	})
}

func TestFolders(t *testing.T) {
	root := t.TempDir()
	for _, file := range []string{"a.yaml", "kustomization.yaml", "notes.txt", "below/b.json", ".git/c.yaml"} {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(shop), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for recursive, want := range map[bool]int{false: 1, true: 2} {
		set, err := Read([]string{root, filepath.Join(root, ".", "a.yaml")}, recursive, nil)
		if err != nil || len(set.Names) != want {
			t.Errorf("recursive %v: %v, %v", recursive, set, err)
		}
	}
}
