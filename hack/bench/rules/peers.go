package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// slothVersion is what hack/bench/peers/go.mod pins.
const slothVersion = "v0.12.0"

// slothRules has Sloth's own generator make its rules for shapeMetrics.
func slothRules(ctx context.Context, slos int) ([]byte, error) {
	var list []any
	for i := range slos {
		list = append(list, slothSLO(i))
	}
	spec, err := yaml.Marshal(map[string]any{"version": "prometheus/v1", "service": "shop", "slos": list})
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sojourn-bench-sloth-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "slos.yaml"), filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(in, spec, 0o600); err != nil {
		return nil, err
	}
	module, err := peersModule(ctx)
	if err != nil {
		return nil, err
	}
	var output bytes.Buffer
	command := exec.CommandContext(ctx, "go", "tool", "-modfile="+module, "sloth", "generate", "-i", in, "-o", out)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("sloth: %w\n%s", err, output.Bytes())
	}
	return os.ReadFile(out)
}

func slothSLO(i int) map[string]any {
	selector := func(more ...string) string { return promised(i, more...) + "[{{.window}}]" }
	slo := map[string]any{
		"name": fmt.Sprintf("service-%04d", i),
		"alerting": map[string]any{
			"name":         fmt.Sprintf("Service%04dBurn", i),
			"page_alert":   map[string]any{"labels": map[string]string{"severity": "page"}},
			"ticket_alert": map[string]any{"labels": map[string]string{"severity": "ticket"}},
		},
	}
	if promisesAvailability(i) {
		slo["objective"] = 99.9
		slo["sli"] = map[string]any{"events": map[string]string{
			"error_query": "sum(rate(http_requests_total" + selector(`code=~"5.."`) + "))",
			"total_query": "sum(rate(http_requests_total" + selector() + "))",
		}}
		return slo
	}
	slo["objective"] = 99
	slo["sli"] = map[string]any{"events": map[string]string{
		"error_query": "sum(rate(http_request_duration_seconds_count" + selector() + ")) - sum(rate(http_request_duration_seconds_bucket" + selector(`le="`+threshold+`"`) + "))",
		"total_query": "sum(rate(http_request_duration_seconds_count" + selector() + "))",
	}}
	return slo
}

// promised writes the matchers of the i-th SLO's counters.
func promised(i int, more ...string) string {
	namespace, service := place(i, 1)
	return "{" + strings.Join(append([]string{fmt.Sprintf("namespace=%q", namespace), fmt.Sprintf("service=%q", service)}, more...), ",") + "}"
}

// peersModule finds hack/bench/peers/go.mod from wherever in the repository this runs.
func peersModule(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	module := filepath.Join(filepath.Dir(strings.TrimSpace(string(root))), "hack", "bench", "peers", "go.mod")
	if _, err := os.Stat(module); err != nil {
		return "", errors.Join(errors.New("run this inside the repository, whose hack/bench/peers pins Sloth"), err)
	}
	return module, nil
}
