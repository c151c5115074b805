package openslo

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// TestImport reads a file with everything in it that is the same here, and much that is not.
func TestImport(t *testing.T) {
	text, err := os.ReadFile("testdata/import.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found, err := Import(string(text), Options{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for _, touchpoint := range found.Touchpoints {
		fmt.Fprintf(&said, "---\n%s", written(t, touchpoint))
	}
	for _, slo := range found.ExperienceSLOs {
		fmt.Fprintf(&said, "---\n%s", written(t, slo))
	}
	said.WriteString("# Findings\n")
	for _, finding := range found.Findings {
		fmt.Fprintf(&said, "# %s\n", finding)
	}
	golden(t, "testdata/imported.yaml", said.String())
}

func written(t *testing.T, object any) string {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wanted, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(wanted), got); diff != "" {
		t.Errorf("%s, which UPDATE=1 writes anew:\n%s", path, diff)
	}
}

// service begins a file with an SLO whose spec is to follow.
const begin = `apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout}
spec:
`

const counted = `  indicator:
    metadata: {name: orders}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Prometheus, spec: {query: orders_total{code="200"}}}}
        total: {metricSource: {type: Prometheus, spec: {query: orders_total}}}
`

// TestNotTheSame holds what cannot be the same to its reason and its place.
func TestNotTheSame(t *testing.T) {
	indicator := strings.Replace(counted, `orders_total{code="200"}`, `"orders_total{code=\"200\"}"`, 1)
	whole := begin + "  service: shop\n  budgetingMethod: Occurrences\n  timeWindow: [{duration: 28d, isRolling: true}]\n" + indicator + "  objectives: [{target: 0.99}]\n"
	found, err := Import(whole, Options{})
	if err != nil || len(found.ExperienceSLOs) != 1 || len(found.Findings) != 1 || found.Findings[0].LeftOut {
		t.Fatal(err, found)
	}
	found, err = Import(strings.Replace(whole, "  timeWindow: [{duration: 28d, isRolling: true}]\n", "", 1), Options{})
	if err != nil || len(found.ExperienceSLOs) != 1 || found.ExperienceSLOs[0].Spec.Window != "" || !strings.Contains(fmt.Sprint(found.Findings), "it has no timeWindow: the default of 28d stands") {
		t.Error(err, found)
	}
	for _, each := range []struct{ old, new, wanted string }{
		{"  service: shop\n", "", `5:3: SLO/checkout spec.service: left out: it names no service`},
		{"Occurrences", "Timeslices", `6:20: SLO/checkout spec.budgetingMethod: left out: it is "Timeslices", which counts slices of time`},
		{"28d, isRolling: true", "1M, isRolling: true", `7:27: SLO/checkout spec.timeWindow[0].duration: left out: it is "1M": windows here are 7d, 28d, 30d or 90d`},
		{"isRolling: true", "isRolling: false", `7:16: SLO/checkout spec.timeWindow[0]: left out: it follows the calendar`},
		{"counter: true", "counter: false", `SLO/checkout spec.indicator.spec.ratioMetric.counter: left out: it is no counter`},
		{"{query: orders_total}", "{query: 'rate(orders_total[5m])'}", `.total.metricSource.spec.query: left out: this is more than a counter`},
		{"{query: orders_total}", "{query: 'sum by (code) (orders_total)'}", `left out: this is more than a counter`},
		{"{query: orders_total}", "{query: 'orders_total{'}", `left out: this is no PromQL`},
		{"{query: orders_total}", "{sql: x}", `left out: it has no query`},
		{"total: {metricSource: {type: Prometheus", "total: {metricSource: {type: Datadog", `left out: it is of type "Datadog": only Prometheus can be read`},
		{"total: {metricSource: {type: Prometheus", "total: {metricSource: {metricSourceRef: dd", `left out: there is no DataSource dd in the file`},
		{"target: 0.99", "target: 1", `left out: its target leaves no budget`},
		{"target: 0.99", "target: 0.9999999", `left out: its target has more than four digits`},
		{"target: 0.99", "displayName: x", `left out: it needs one of target and targetPercent`},
		{"target: 0.99", "target: 0.99, indicatorRef: other", `SLO/checkout spec.objectives[0]: left out: it has an indicator of its own`},
		{"target: 0.99", "target: [1]", `left out: it is a array, and should be a json.Number`},
		{indicator, "  indicatorRef: none\n", `SLO/checkout spec.indicatorRef: left out: there is no SLI none in the file`},
		{indicator, "", `SLO/checkout spec: left out: it has no indicator`},
		{"openslo/v1", "openslo/v2alpha", `1:13: SLO/checkout apiVersion: left out: it is of "openslo/v2alpha"`},
		{"kind: SLO", "kind: Slo", `left out: there is no such kind in openslo/v1`},
	} {
		text := strings.Replace(whole, each.old, each.new, 1)
		if text == whole {
			t.Fatal(each.old)
		}
		found, err := Import(text, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, finding := range found.Findings {
			said = append(said, finding.String())
		}
		if all := strings.Join(said, "\n"); !strings.Contains(all, each.wanted) || len(found.ExperienceSLOs) > 0 {
			t.Errorf("%q for %q: %d, %s\nwanted %s", each.new, each.old, len(found.ExperienceSLOs), all, each.wanted)
		}
	}
	if _, err := Import("a: [", Options{}); err == nil {
		t.Error("no YAML is an error")
	}
}

// TestExport says in OpenSLO what can be said there.
func TestExport(t *testing.T) {
	in := targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}, Journeys: map[string]*v1alpha1.Journey{}}
	var slo v1alpha1.ExperienceSLO
	text, err := os.ReadFile("testdata/export.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for each := range strings.SplitSeq(string(text), "---\n") {
		if strings.Contains(each, "kind: Touchpoint") {
			touchpoint := &v1alpha1.Touchpoint{}
			if err := yaml.UnmarshalStrict([]byte(each), touchpoint); err != nil {
				t.Fatal(err)
			}
			in.Touchpoints[touchpoint.Name] = touchpoint
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(each), &slo); err != nil {
			t.Fatal(err)
		}
	}
	made := Export([]*v1alpha1.ExperienceSLO{&slo}, in, nil)
	var said, documents strings.Builder
	for _, each := range made.Documents {
		fmt.Fprintf(&documents, "---\n%s", written(t, each))
	}
	said.WriteString(documents.String() + "# Findings\n")
	for _, finding := range made.Findings {
		fmt.Fprintf(&said, "# %s\n", finding)
	}
	golden(t, "testdata/exported.yaml", said.String())

	// What was exported means the same when it is imported.
	back, err := Import(documents.String(), Options{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range back.Findings {
		if finding.LeftOut {
			t.Error(finding)
		}
	}
	again := Export(back.ExperienceSLOs, byName(back), nil)
	ratios := func(documents []any) (found []string) {
		for _, each := range documents {
			if known, ok := each.(sloDocument); ok {
				ratio, _ := json.Marshal(known.Spec.Indicator.Spec)
				found = append(found, fmt.Sprint(known.Spec.Service, string(ratio), known.Spec.Objectives[0].TargetPercent, known.Spec.TimeWindow))
			}
		}
		return found
	}
	if diff := cmp.Diff(ratios(made.Documents), ratios(again.Documents), cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Error(diff)
	}
	if only := Export([]*v1alpha1.ExperienceSLO{&slo}, in, func(string) bool { return false }); len(only.Documents) != 0 {
		t.Error(only.Documents)
	}
}

// sloDocument is not hidden by a variable.
type sloDocument = slo

func byName(found *Imported) targets.Namespace {
	in := targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}}
	for _, touchpoint := range found.Touchpoints {
		in.Touchpoints[touchpoint.Name] = touchpoint
	}
	return in
}

// FuzzImport reads whatever there is.
func FuzzImport(f *testing.F) {
	text, err := os.ReadFile("testdata/import.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Fuzz(func(_ *testing.T, text string) { _, _ = Import(text, Options{}) })
}
