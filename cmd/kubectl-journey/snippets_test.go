package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/hack/localstack"
	"github.com/sojourn-dev/sojourn/hack/manual"
)

// checkSnippets holds what docs/gate.md offers to what can be checked: YAML, PromQL over
// series that there are, and gates that this tool understands. Where SOJOURN_GATE_CRDS names
// folders with the CRDs of other projects, the API server checks their objects.
func checkSnippets(t *testing.T, plane *localstack.ControlPlane) {
	page, err := manual.Read("../../docs/gate.md")
	if err != nil {
		t.Fatal(err)
	}
	kubernetes, err := client.New(plane.RESTConfig(), client.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		t.Fatal(err)
	}
	crds := filepath.SplitList(os.Getenv("SOJOURN_GATE_CRDS"))
	if len(crds) > 0 {
		if err := plane.InstallCRDs(t.Context(), crds...); err != nil {
			t.Fatal(err)
		}
	}
	found, queries, gates := 0, 0, 0
	for _, block := range page.Blocks {
		if block.Language != "yaml" {
			continue
		}
		found++
		var content map[string]any
		if err := yaml.UnmarshalStrict([]byte(block.Text), &content); err != nil {
			t.Errorf("%v\n%s", err, block.Text)
			continue
		}
		for _, query := range regexp.MustCompile(`(?m)^ *query: (.*)$`).FindAllStringSubmatch(block.Text, -1) {
			queries++
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(regexp.MustCompile(`\{\{ \w+ }}`).ReplaceAllString(query[1], "x"))
			if err != nil {
				t.Errorf("%s: %v", query[1], err)
				continue
			}
			for _, selector := range parser.ExtractSelectors(expr) {
				if name := selector[len(selector)-1].Value; name != rules.Remaining {
					t.Errorf("%s reads %s, and should %s", query[1], name, rules.Remaining)
				}
			}
		}
		for _, gate := range regexp.MustCompile(`(?m)(?:args: \[|journey |/program )(gate,? .*?)\]?$`).FindAllStringSubmatch(block.Text, -1) {
			words := strings.FieldsFunc(gate[1], func(r rune) bool { return r == ' ' || r == ',' || r == '"' })
			for i, word := range words { // what Tekton fills in
				words[i] = strings.NewReplacer("$(params.for)", "10m", "$(params.min-budget)", "20%").Replace(word)
			}
			c, rest, err := command(genericclioptions.IOStreams{}).Find(words)
			if err == nil {
				err = c.ParseFlags(rest)
			}
			if err != nil || c.Name() != "gate" {
				t.Errorf("%s: %v", gate[0], err)
			}
			gates++
		}
		object := &unstructured.Unstructured{Object: content}
		if len(crds) == 0 || object.GetKind() == "" {
			continue
		}
		object.SetNamespace("shop")
		if err := kubernetes.Create(t.Context(), object, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
			t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
	if found < 7 || queries != 2 || gates != 4 {
		t.Errorf("%d blocks, %d queries, %d gates: has the page changed its form?", found, queries, gates)
	}
}
