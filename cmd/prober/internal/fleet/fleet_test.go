package fleet

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/schedule"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/series"
)

func newFleet(log io.Writer, delay time.Duration) *Fleet {
	return New(Options{
		Client:        probe.NewClient(probe.Options{}),
		Schedule:      schedule.New(10, func(time.Duration) {}),
		Series:        series.New("default"),
		FirstRunDelay: delay,
		Skipped:       func() {},
		Log:           slog.New(slog.NewTextHandler(log, nil)),
	})
}

func visit(url string) *v1alpha1.Probe {
	return &v1alpha1.Probe{Interval: "30s", Timeout: "10s", HTTP: &v1alpha1.HTTPProbe{URL: v1alpha1.URL(url)}}
}

// counts returns the runs of one touchpoint by outcome.
func counts(t *testing.T, f *Fleet, touchpoint string) map[string]float64 {
	t.Helper()
	families, err := f.Series.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		if family.GetName() != series.RunsTotal {
			continue
		}
		for _, metric := range family.Metric {
			labels := map[string]string{}
			for _, label := range metric.Label {
				labels[label.GetName()] = label.GetValue()
			}
			if labels["touchpoint"] == touchpoint {
				found[labels["outcome"]] = metric.GetCounter().GetValue()
			}
		}
	}
	return found
}

func TestFirstRunWaitsForZeros(t *testing.T) {
	for name, test := range map[string]struct {
		scrapes int
		after   time.Duration
		allowed bool
	}{
		"at once":                 {0, 0, false},
		"scraped once":            {1, time.Minute, false},
		"scraped twice":           {2, 0, true},
		"never scraped, but long": {0, 2 * time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(io.Discard, 2*time.Minute)
			f.Apply("shop", map[string]Wanted{"checkout": {UID: "u", Probe: visit("http://shop.example")}})
			for range test.scrapes {
				counts(t, f, "checkout")
			}
			j := &job{member: f.members["shop"]["checkout"]}
			if got := j.Allowed(j.known.Add(test.after)); got != test.allowed {
				t.Errorf("allowed: %t", got)
			}
		})
	}
}

func TestApply(t *testing.T) {
	f := newFleet(io.Discard, 0)
	wanted := map[string]Wanted{
		"checkout": {UID: "a", Probe: visit("http://shop.example/checkout"), Thresholds: []float64{0.3}},
		"basket":   {UID: "b", Probe: visit("http://shop.example/basket")},
	}
	f.Apply("shop", wanted)
	f.Apply("bank", map[string]Wanted{"login": {UID: "c", Probe: visit("http://bank.example")}})
	if f.Series.Len() != 3 {
		t.Fatalf("%d touchpoints", f.Series.Len())
	}
	member := f.members["shop"]["checkout"]
	member.series.Observe(probe.OutcomeSuccess, time.Second)

	// An edit keeps what was counted.
	wanted["checkout"] = Wanted{UID: "a", Probe: visit("http://shop.example/pay"), Thresholds: []float64{0.3}}
	f.Apply("shop", wanted)
	if f.members["shop"]["checkout"] != member || counts(t, f, "checkout")["success"] != 1 {
		t.Error("an edit starts the touchpoint anew")
	}
	// Other thresholds keep the touchpoint, but restart its runs together with their
	// durations: rules would take the difference for slow runs.
	wanted["checkout"] = Wanted{UID: "a", Probe: visit("http://shop.example/pay"), Thresholds: []float64{0.5}}
	f.Apply("shop", wanted)
	if f.members["shop"]["checkout"] != member || counts(t, f, "checkout")["success"] != 0 {
		t.Error("new thresholds leave runs without durations")
	}
	member.series.Observe(probe.OutcomeSuccess, time.Second)
	// Another object of the same name does not.
	wanted["checkout"] = Wanted{UID: "z", Probe: visit("http://shop.example/pay")}
	f.Apply("shop", wanted)
	if counts(t, f, "checkout")["success"] != 0 {
		t.Error("a new touchpoint inherits what its namesake counted")
	}
	delete(wanted, "checkout")
	f.Apply("shop", wanted)
	if got := counts(t, f, "checkout"); len(got) != 0 {
		t.Errorf("after deletion: %v", got)
	}
	f.Apply("shop", nil)
	if f.Series.Len() != 1 || len(f.members) != 1 {
		t.Errorf("%d touchpoints in %d namespaces, want the bank's alone", f.Series.Len(), len(f.members))
	}
}

// What admission cannot have let through is our error, told once.
func TestInvalidConfigurationIsAnError(t *testing.T) {
	for name, spec := range map[string]*v1alpha1.Probe{
		"interval": {Interval: "5 minutes", HTTP: &v1alpha1.HTTPProbe{URL: "http://shop.example"}},
		"timeout":  {Timeout: "0s", HTTP: &v1alpha1.HTTPProbe{URL: "http://shop.example"}},
		"no http":  {},
		"url":      visit("shop"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				f := newFleet(&log, 0)
				f.Apply("shop", map[string]Wanted{"checkout": {UID: "u", Probe: spec}})
				ctx, cancel := context.WithCancel(t.Context())
				go f.Schedule.Run(ctx)
				time.Sleep(5 * defaultInterval)
				cancel()
				synctest.Wait()
				if got := counts(t, f, "checkout"); got["error"] != 5 || got["failure"]+got["success"] != 0 {
					t.Errorf("counted %v", got)
				}
				if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "reason=config") {
					t.Errorf("%d lines:\n%s", lines, log.String())
				}
			})
		})
	}
}

func TestChangesAreLoggedAndOnlyThey(t *testing.T) {
	var broken bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	var log strings.Builder
	f := newFleet(&log, 0)
	f.Apply("shop", map[string]Wanted{"checkout": {UID: "u", Probe: visit(server.URL)}})
	_, checked, err := f.compile(visit(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	j := &job{member: f.members["shop"]["checkout"], probe: checked}
	for _, broken = range []bool{false, false, true, true, true, false, false} {
		j.Run(t.Context())
	}
	if got := fmt.Sprint(counts(t, f, "checkout")); got != "map[error:0 failure:3 success:4]" {
		t.Error(got)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 2 || !strings.Contains(log.String(), "reason=status") {
		t.Errorf("%d lines, want that it broke and that it healed:\n%s", lines, log.String())
	}
	called, off := context.WithCancel(t.Context())
	off()
	j.Run(called)
	if got := counts(t, f, "checkout"); got["success"] != 4 || got["failure"] != 3 {
		t.Errorf("a visit that was called off counted: %v", got)
	}
}
