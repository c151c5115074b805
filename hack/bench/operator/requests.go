package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// requests are those that change something, as the API server counted them, by verb,
// resource and subresource.
func (b *bench) requests(ctx context.Context, c *cluster) map[string]float64 {
	found := map[string]float64{}
	text, err := c.admin.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return found
	}
	for line := range bytes.Lines(text) {
		space := bytes.LastIndexByte(line, ' ')
		labels, is := bytes.CutPrefix(line, []byte("apiserver_request_total{"))
		if !is || space < 0 {
			continue
		}
		of := map[string]string{}
		for _, match := range label.FindAllStringSubmatch(string(labels), -1) {
			of[match[1]] = match[2]
		}
		switch of["verb"] {
		case "APPLY", "POST", "PUT", "PATCH", "DELETE":
			value, _ := strconv.ParseFloat(strings.TrimSpace(string(line[space+1:])), 64)
			found[strings.Join([]string{of["verb"], of["resource"], of["subresource"], of["code"]}, " ")] += value
		}
	}
	return found
}

// sayRequests tells what was requested since.
func (b *bench) sayRequests(ctx context.Context, c *cluster, before map[string]float64) {
	if !b.details {
		return
	}
	after := b.requests(ctx, c)
	for _, what := range slices.Sorted(maps.Keys(after)) {
		if n := after[what] - before[what]; n > 0 {
			b.say("  %s", fmt.Sprintf("%-50s %8.0f", what, n))
		}
	}
}
