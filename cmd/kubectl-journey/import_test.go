package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/files"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/lint"
	"github.com/sojourn-dev/sojourn/controllers/publish"
)

// run types a command line, with some standard input.
func run(t *testing.T, in string, args ...string) (out, errOut string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := command(genericclioptions.IOStreams{In: strings.NewReader(in), Out: &stdout, ErrOut: &stderr})
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

// TestImportMermaid holds what is printed of a diagram, and that it can be printed back.
func TestImportMermaid(t *testing.T) {
	drawing, err := os.ReadFile("testdata/purchase.mmd")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"yaml", "json", "name"} {
		out, errOut, err := run(t, "", "import", "mermaid", "testdata/purchase.mmd", "-n", "shop", "-o", format)
		if err != nil || errOut != "" {
			t.Fatal(err, errOut)
		}
		golden(t, "purchase."+format, out)
		if format == "name" {
			continue
		}
		file := filepath.Join(t.TempDir(), "report.Objects."+format)
		if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		back, errOut, err := run(t, "", "export", "mermaid", "online-purchase", "-f", file, "--declared")
		if err != nil || errOut != "" {
			t.Fatal(err, errOut)
		}
		if diff := cmp.Diff(string(drawing), back); diff != "" {
			t.Error(diff)
		}
	}
	// From standard input, under another name, without a namespace.
	out, _, err := run(t, string(drawing), "import", "mermaid", "-", "--name", "day", "--channel", "Store")
	if err != nil || !strings.Contains(out, "\n  name: day\n") || strings.Contains(out, "\n  namespace:") || strings.Count(out, "  channel: Store\n") != 4 {
		t.Error(err, out)
	}
	// A diagram without a title is called like its file.
	untitled := filepath.Join(t.TempDir(), "My day.mmd")
	if err := os.WriteFile(untitled, []byte("journey\nRest: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, err := run(t, "", "import", "mermaid", untitled, "-o", "name"); err != nil || out != "journey.sojourn.dev/my-day\ntouchpoint.sojourn.dev/rest\n" {
		t.Error(err, out)
	}
	// The comments are YAML, too, once they are none any more.
	next := strings.NewReplacer("\n# ", "\n", "\n  # Next", "\n  # Next", "\n  # ", "\n  ").Replace(out)
	set, err := files.Read([]string{"-"}, false, strings.NewReader(strings.ReplaceAll(next, "\nNext", "\n# Next")))
	if err != nil {
		t.Fatal(err, next)
	}
	report, err := lint.Check(t.Context(), set, lint.Options{Namespace: "shop", AllowMissing: true, Form: publish.PrometheusRules})
	if err != nil || !report.Admitted() || len(report.Objects.ExperienceSLOs) != 1 || len(report.Objects.Touchpoints) != 4 {
		t.Fatal(err, next)
	}
	for key, touchpoint := range report.Objects.Touchpoints {
		if touchpoint.Spec.Probe == nil || touchpoint.Spec.Survey == nil || touchpoint.Spec.Owner == nil {
			t.Error(key, "lacks what the comments offer")
		}
	}
}

// TestImportMistakes holds exit codes and words.
func TestImportMistakes(t *testing.T) {
	for _, each := range []struct {
		in, wanted string
		code       int
		args       []string
	}{
		{"journey\nA: x\nB; 3", "standard input:2:4: the score of the task \"A\" is \"x\": write a number from 1, worst, to 5, best\nstandard input:3:2: ; cannot stand in a task: leave it out, or write #59; instead", exitFindings, []string{"import", "mermaid", "-"}},
		{"journey\nsection A", "standard input:1:1: the diagram has no task: write one in a section, such as Pay: 3: Me", exitFindings, []string{"import", "mermaid", "-"}},
		{"", "open none.mmd: no such file or directory", exitTrouble, []string{"import", "mermaid", "none.mmd"}},
		{"journey\nA: 1", "there is no output \"xml\": write -o yaml, json or name", exitTrouble, []string{"import", "mermaid", "-", "-o", "xml"}},
		{"journey\nA: 1", "--name Day!: a lowercase RFC 1123 label must", exitTrouble, []string{"import", "mermaid", "-", "--name", "Day!"}},
		{"", "there is no Journey, Touchpoint or ExperienceSLO in these files; name other files, or folders with -R", exitTrouble, []string{"export", "mermaid", "day", "-f", "-"}},
	} {
		out, _, err := run(t, each.in, each.args...)
		if err == nil || !strings.HasPrefix(err.Error(), each.wanted) || exitCode(err) != each.code || out != "" {
			t.Errorf("%v: %v\nprinted %s\nwanted %s", each.args, err, out, each.wanted)
		}
	}
}
