package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/model/labels"
)

func TestDepthOfWhatIsRead(t *testing.T) {
	for expr, want := range map[string]time.Duration{
		`x`:                               5 * time.Minute,
		`x offset 1m`:                     6 * time.Minute,
		`rate(x[3d])`:                     72 * time.Hour,
		`last_over_time(x[5m] offset 1m)`: 6 * time.Minute,
		`sum_over_time(x[30d:1h])`:        30*24*time.Hour + 5*time.Minute,
		`sum_over_time(max_over_time(x[2h])[1d:1h] offset 1h)`: 27 * time.Hour,
		`rate(x[1h]) / rate(x{code="500"}[3d])`:                time.Hour,
		`y`:                                                    0,
	} {
		reads, err := readsOf([]monitoringv1.RuleGroup{{Rules: []monitoringv1.Rule{recorded("r", expr, nil)}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := indexed(reads).depth(labels.FromStrings("__name__", "x", "code", "200")); got != want {
			t.Errorf("%s reads x %v back, want %v", expr, got, want)
		}
	}
}

func TestCountersAreMadeUpFromSelectors(t *testing.T) {
	reads, err := readsOf([]monitoringv1.RuleGroup{{Rules: []monitoringv1.Rule{
		recorded("r", `rate(hits{job="shop",code=~"5..|429"}[5m]) / on() rate(hits{job="shop",path!="/"}[5m]) + r`, nil),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range madeUp(reads, map[string]time.Duration{"r": time.Minute}) {
		got = append(got, s.labels.String())
	}
	slices.Sort(got)
	want := []string{`{__name__="hits", code="429", job="shop"}`, `{__name__="hits", code="500", job="shop"}`, `{__name__="hits", job="shop"}`}
	if !slices.Equal(got, want) {
		t.Errorf("made up %s, want %s", got, want)
	}
}

func TestExamplesMatch(t *testing.T) {
	for _, pattern := range []string{"5..", "a|b|c", "prod-.+", "(GET|POST)/x?", "[a-z]{3}", ".*", "1|1\\.0"} {
		found := examples(pattern)
		for _, example := range found {
			if !regexp.MustCompile("^(?:" + pattern + ")$").MatchString(example) {
				t.Errorf("%q does not match %s", example, pattern)
			}
		}
		if len(found) == 0 {
			t.Errorf("no example of %s", pattern)
		}
	}
}

// TestPartsAddUp is what a ratio of two counters of one scrape relies on.
func TestPartsAddUp(t *testing.T) {
	events := traffic(0.7, "shop")
	whole, good, bad := part(events, 0, 1), part(events, 0, 0.997), part(events, 0.997, 1)
	before := 0.0
	for at := loadedTo; at.Before(loadedTo.Add(24 * time.Hour)); at = at.Add(scrapeInterval) {
		if good(at)+bad(at) != whole(at) || bad(at) < before {
			t.Fatalf("at %s: %v + %v is not %v, or less than %v before", at, good(at), bad(at), whole(at), before)
		}
		before = bad(at)
	}
}

func TestMeasure(t *testing.T) {
	text, err := sojournRules(shapeMetrics)(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := measure(context.Background(), job{Case: "test", File: file, Shape: shapeMetrics, SLOs: 2, Minutes: 1, ByRule: true})
	if err != nil {
		t.Fatal(err)
	}
	if got.Rules == 0 || got.Evals == 0 || got.Samples == 0 || len(got.ByRule) == 0 || len(got.Firing) > 0 {
		t.Errorf("measured %+v", got)
	}
	var out strings.Builder
	printTable(&out, []row{{benchCase: benchCase{shapeMetrics, "Sojourn", 2, nil}, result: got}})
	for line := range strings.Lines(out.String()) {
		if len(strings.TrimSuffix(line, "\n")) > 100 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
}
