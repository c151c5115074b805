package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

var update = flag.Bool("update", false, "write the golden files anew")

// outcome is what a command came to.
type outcome struct {
	out, err string
	code     int
}

// journey runs the tool as a shell would.
func journey(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	c := command(genericclioptions.IOStreams{In: strings.NewReader(stdin), Out: &out, ErrOut: &errs})
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	code := 0
	if err != nil {
		code = exitCode(err)
		fmt.Fprintln(&errs, "kubectl journey:", err)
	}
	return outcome{out.String(), errs.String(), code}
}

// golden compares a text with the file of that name in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs: look at it and run go test ./cmd/kubectl-journey -update if it is right\n%s", path, got)
	}
}

var samples = func() []string {
	files, _ := filepath.Glob("../../config/samples/*.yaml")
	return slices.DeleteFunc(files, func(file string) bool {
		return slices.Contains([]string{"shortest.yaml", "kustomization.yaml"}, filepath.Base(file))
	})
}()

func TestLintOutputs(t *testing.T) {
	for _, output := range []string{"text", "json", "sarif"} {
		t.Run(output, func(t *testing.T) {
			t.Chdir("testdata")
			got := journey(t, "", "lint", "lint", "-o", output)
			if got.code != exitFindings {
				t.Errorf("the exit code is %d: %s", got.code, got.err)
			}
			t.Chdir("..")
			golden(t, "lint."+output, strings.ReplaceAll(got.out, `"version": "`+command(genericclioptions.IOStreams{}).Version+`"`, `"version": "VERSION"`))
		})
	}
}

func TestSamplesAreRight(t *testing.T) {
	got := journey(t, "", append([]string{"lint", "--strict"}, samples...)...)
	if got.code != 0 || got.out != "" {
		t.Errorf("exit code %d\n%s%s", got.code, got.out, got.err)
	}
}

// TestSARIF looks for what the format demands, and what code hosts need of it.
func TestSARIF(t *testing.T) {
	got := journey(t, "", "lint", "testdata/lint", "-o", "sarif")
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name, Version string
					Rules         []struct{ ID string }
				}
			}
			ColumnKind string
			Results    []struct {
				RuleID    string
				RuleIndex *int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           *struct{ StartLine, StartColumn int }
					}
				}
			}
		}
	}
	decoder := json.NewDecoder(strings.NewReader(got.out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name == "" || log.Runs[0].ColumnKind != "unicodeCodePoints" {
		t.Errorf("the log is %+v", log)
	}
	run := log.Runs[0]
	if len(run.Results) < 20 {
		t.Errorf("there are only %d results", len(run.Results))
	}
	for _, result := range run.Results {
		if result.RuleIndex == nil || *result.RuleIndex < 0 || *result.RuleIndex >= len(run.Tool.Driver.Rules) || run.Tool.Driver.Rules[*result.RuleIndex].ID != result.RuleID {
			t.Errorf("the rule of %+v is not that at its index", result)
		}
		if !slices.Contains([]string{"error", "warning", "note"}, result.Level) || result.Message.Text == "" || len(result.Locations) != 1 {
			t.Errorf("a result is %+v", result)
			continue
		}
		place := result.Locations[0].PhysicalLocation
		if place.ArtifactLocation.URI == "" || place.Region == nil || place.Region.StartLine < 1 || place.Region.StartColumn < 1 {
			t.Errorf("a result is at %+v", place)
		}
	}
}

func TestLintExits(t *testing.T) {
	const dead = `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout}
spec: {channel: Web, probe: {http: {url: http://shop.shop.svc/}}}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: dead}
spec: {targets: {touchpoints: [checkout]}, objectives: [{name: up, availability: {target: "40%"}}]}
`
	part := strings.Replace(dead, "[checkout]", "[checkout, elsewhere]", 1)
	for name, c := range map[string]struct {
		stdin string
		args  []string
		code  int
		says  string
	}{
		"a warning":                    {dead, []string{"-"}, 0, "<stdin>:10:91: warning: ExperienceSLO default/dead"},
		"a warning is too much":        {dead, []string{"-", "--strict"}, 1, "1 warning"},
		"the namespace is given":       {dead, []string{"-", "-n", "shop"}, 0, "ExperienceSLO shop/dead"},
		"a part of a namespace":        {part, []string{"-"}, 1, "there is no Touchpoint elsewhere in namespace default"},
		"a part, and that is said":     {part, []string{"-", "--allow-missing"}, 0, ":10:42: note: ExperienceSLO default/dead: spec.targets.touchpoints: there is no Touchpoint elsewhere"},
		"nothing of ours":              {"apiVersion: v1\nkind: Secret\n", []string{"-"}, 2, "there is no Journey, Touchpoint or ExperienceSLO in these files, only 1 of other kinds"},
		"nothing at all":               {"", []string{"-"}, 2, "there is no Journey, Touchpoint or ExperienceSLO"},
		"no file":                      {"", nil, 2, "name the files or folders to read"},
		"a file that is not there":     {"", []string{"nowhere.yaml"}, 2, "there is no file nowhere.yaml"},
		"a folder without files":       {"", []string{"../../docs/responses"}, 2, "holds no .yaml, .yml or .json file"},
		"an output that there is none": {dead, []string{"-", "-o", "xml"}, 2, "-o xml is none of text, json, sarif"},
		"a wrong flag of the operator": {dead, []string{"-", "--rule-labels", "a b=c"}, 2, "label a b=c"},
	} {
		t.Run(name, func(t *testing.T) {
			got := journey(t, c.stdin, append([]string{"lint"}, c.args...)...)
			if got.code != c.code || !strings.Contains(got.out+got.err, c.says) {
				t.Errorf("exit code %d\n%s%s", got.code, got.out, got.err)
			}
		})
	}
}

// TestHardInput: whatever a file holds, there is a sentence and no crash.
func TestHardInput(t *testing.T) {
	laughs := "apiVersion: sojourn.dev/v1alpha1\nkind: Touchpoint\nmetadata: {name: laughs}\nspec:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 12 {
		laughs += fmt.Sprintf("  a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i, i, i)
	}
	head := "apiVersion: sojourn.dev/v1alpha1\nkind: Touchpoint\nmetadata: {name: t}\nspec:\n"
	for name, c := range map[string]struct{ text, says string }{
		"binary":                    {"\x7fELF\x02\x01\x00\x00\xff\xfe", "is no text in UTF-8"},
		"UTF-16":                    {"\xff\xfea\x00", "is no text in UTF-8"},
		"empty":                     {"", "there is no Journey"},
		"only comments":             {"# nothing\n---\n# yet\n", "there is no Journey"},
		"tabs":                      {head + "\tchannel: Web\n", "spaces, never by tabs"},
		"billion laughs":            {laughs, "more than 1000000 values"},
		"20 MiB in one document":    {head + "  description: " + strings.Repeat("x", 20<<20), "more than the 16 MiB"},
		"10 MiB of text":            {head + "  channel: Web\n  description: " + strings.Repeat("x", 10<<20), "Too long"},
		"deep":                      {head + "  map: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000), "error"},
		"too deep":                  {head + "  map: " + strings.Repeat("[", 90000), "error"},
		"a number":                  {"7", "is no object"},
		"metadata is a text":        {"apiVersion: sojourn.dev/v1alpha1\nkind: Journey\nmetadata: x\nspec: {}\n", "metadata"},
		"metadata is a list":        {"apiVersion: sojourn.dev/v1alpha1\nkind: Journey\nmetadata: [x]\nspec: {}\n", "metadata"},
		"a name that is a number":   {"apiVersion: sojourn.dev/v1alpha1\nkind: Journey\nmetadata: {name: 7}\nspec: {}\n", "metadata"},
		"spec is null":              {"apiVersion: sojourn.dev/v1alpha1\nkind: Journey\nmetadata: {name: x}\nspec:\n", "spec: Required value"},
		"kind is a list":            {"apiVersion: sojourn.dev/v1alpha1\nkind: [Journey]\n", "it has no kind"},
		"items is a text":           {"apiVersion: v1\nkind: List\nitems: x\n", "only 1 of other kinds"},
		"a list names a field":      {"? [a]\n: b\n", "cannot name a field"},
		"<< of a text":              {head + "  <<: x\n", "<< takes over an object"},
		"an anchor that is not":     {head + "  channel: *web\n", "unknown anchor"},
		"numbers beyond all":        {head + "  channel: 1e999\n  displayName: 0x1ffffffffffffffff\n", "spec.channel"},
		"infinity":                  {head + "  channel: .inf\n", "Unsupported value"},
		"a quote that does not end": {head + "  channel: \"Web\n", "found unexpected end of stream"},
		"a document mark inside":    {head + "  channel: Web\n---x\n", "error"},
	} {
		t.Run(name, func(t *testing.T) {
			got := journey(t, c.text, "lint", "-")
			if got.code == 0 || !strings.Contains(got.out+got.err, c.says) {
				t.Errorf("exit code %d\n%.2000s%.2000s", got.code, got.out, got.err)
			}
		})
	}
	t.Run("no permission", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root may read everything")
		}
		file := filepath.Join(t.TempDir(), "secret.yaml")
		if err := os.WriteFile(file, []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		if got := journey(t, "", "lint", file); got.code != exitTrouble || !strings.Contains(got.err, "you may not read "+file) {
			t.Errorf("exit code %d\n%s%s", got.code, got.out, got.err)
		}
	})
}

func TestRenderOutputs(t *testing.T) {
	for _, output := range []string{"prometheusrule", "rules", "configmap"} {
		t.Run(output, func(t *testing.T) {
			got := journey(t, "", "render", "../../config/samples/shortest.yaml", "-o", output, "--rule-labels", "release=prometheus")
			if got.code != 0 || got.err != "" {
				t.Errorf("exit code %d\n%s", got.code, got.err)
			}
			golden(t, "render."+output+".yaml", got.out)
			for document := range strings.SplitSeq(got.out, "---\n") {
				again, err := yaml.YAMLToJSON([]byte(document))
				if err != nil {
					t.Fatal(err)
				}
				if again, err = yaml.JSONToYAML(again); err != nil || string(again) != document {
					t.Errorf("kubectl would write it otherwise (%v):\n%s", err, again)
				}
			}
		})
	}
}

// TestRenderedRulesLoad has Prometheus's own tool check what is rendered.
func TestRenderedRulesLoad(t *testing.T) {
	promtool, err := localstack.Binary(t.Context(), localstack.PromtoolBinary)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere.yaml")
	text, err := os.ReadFile("../../config/samples/shortest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(elsewhere, bytes.ReplaceAll(text, []byte("namespace: shop"), []byte("namespace: market")), 0o644); err != nil {
		t.Fatal(err)
	}
	folder, whole := t.TempDir(), filepath.Join(t.TempDir(), "rules.yaml")
	for _, arguments := range [][]string{{"--output-dir", folder}, {}} {
		got := journey(t, "", slices.Concat([]string{"render", "-o", "rules", elsewhere}, samples, arguments)...)
		if got.code != 0 {
			t.Fatalf("exit code %d\n%s", got.code, got.err)
		}
		if len(arguments) == 0 {
			if err := os.WriteFile(whole, []byte(got.out), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got.out != "" {
			t.Errorf("there is output: %.200s", got.out)
		}
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("there are %d files: %v", len(files), err)
	}
	output, err := exec.CommandContext(t.Context(), promtool, slices.Concat([]string{"check", "rules", "--lint=none", whole}, files)...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, output)
	}
}

func TestRenderWhatIsWrong(t *testing.T) {
	refused := journey(t, "", "render", "testdata/lint/admission.yaml")
	if refused.code != exitFindings || refused.out != "" || !strings.Contains(refused.err, "did you mean channel?") {
		t.Errorf("exit code %d\n%.500s%s", refused.code, refused.out, refused.err)
	}
	rest := journey(t, "", "render", "testdata/lint/controllers.yaml")
	if rest.code != exitFindings || !strings.Contains(rest.out, "name: sojourn-slo-dead") || !strings.Contains(rest.err, "there is no Touchpoint nowhere") {
		t.Errorf("exit code %d\n%.500s%s", rest.code, rest.out, rest.err)
	}
}

func TestDiffOutputs(t *testing.T) {
	for name, flags := range map[string][]string{"diff.txt": nil, "diff.json": {"-o", "json"}, "diff.rules.txt": {"--rules"}} {
		t.Run(name, func(t *testing.T) {
			got := journey(t, "", append([]string{"diff", "testdata/diff/after", "--from", "testdata/diff/before"}, flags...)...)
			if got.code != exitFindings {
				t.Errorf("exit code %d: %s", got.code, got.err)
			}
			golden(t, name, got.out)
		})
	}
	if got := journey(t, "", "diff", "testdata/diff/before", "--from", "testdata/diff/before"); got.code != 0 || got.out != "" {
		t.Errorf("nothing changed, and yet: exit code %d\n%s%s", got.code, got.out, got.err)
	}
	if got := journey(t, "", "diff", "testdata/lint/admission.yaml", "--from", "testdata/diff/before"); got.code != exitTrouble || !strings.Contains(got.err, "did you mean channel?") {
		t.Errorf("what cannot be compared: exit code %d\n%s%s", got.code, got.out, got.err)
	}
}

// broken is standard input that fails.
type broken struct{ io.Reader }

func (broken) Read([]byte) (int, error) { return 0, errors.New("the pipe broke") }

func TestABrokenPipe(t *testing.T) {
	c := command(genericclioptions.IOStreams{In: broken{}, Out: io.Discard, ErrOut: io.Discard})
	c.SetArgs([]string{"lint", "-"})
	if err := c.ExecuteContext(t.Context()); err == nil || exitCode(err) != exitTrouble || !strings.Contains(err.Error(), "the pipe broke") {
		t.Errorf("the error is %v", err)
	}
}
