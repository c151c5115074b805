package fleet

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/membership"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/schedule"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/scrape"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/series"
)

func newFleet(log io.Writer, delay time.Duration) *Fleet {
	scrapes := scrape.New()
	return New(Options{
		Location:      "default",
		Role:          func(types.UID) membership.Role { return membership.Owner },
		Shown:         scrapes.Twice,
		Client:        probe.NewClient(probe.Options{Guard: probe.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}),
		Schedule:      schedule.New(schedule.Limits{All: 10}, func(time.Duration) {}),
		Series:        series.New("default", scrapes.Twice),
		FirstRunDelay: delay,
		Skipped:       func() {},
		Report:        func(types.NamespacedName, probe.Result) {},
		Forget:        func(types.NamespacedName) {},
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
		scrapes []string // one each ten seconds, by whom
		after   time.Duration
		allowed bool
	}{
		"at once":                         {nil, 0, false},
		"scraped once":                    {[]string{"a"}, 100 * time.Second, false},
		"scraped twice":                   {[]string{"a", "a"}, 25 * time.Second, true},
		"scraped by two, once each":       {[]string{"a", "b"}, 25 * time.Second, false},
		"scraped by two, one twice":       {[]string{"a", "b", "b", "a", "b"}, 55 * time.Second, true},
		"somebody looks in besides":       {[]string{"a", "b", "a"}, 35 * time.Second, true},
		"one of two has gone for good":    {[]string{"b", "b", "", "", "", "a", "a"}, 75 * time.Second, true},
		"never scraped, but long enough":  {nil, 2 * time.Minute, true},
		"never scraped, not long enough":  {nil, 2*time.Minute - time.Second, false},
		"scraped twice, once by an error": {[]string{"a", ""}, 25 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(io.Discard, 2*time.Minute)
				scrapes := scrape.New()
				f.Shown = scrapes.Twice
				f.Apply("shop", map[string]Wanted{"checkout": {UID: "u", Probe: visit("http://shop.example")}})
				began := time.Now()
				for i, reader := range test.scrapes {
					time.Sleep(10 * time.Second)
					if reader != "" {
						scrapes.Note(reader, began.Add(time.Duration(i+1)*10*time.Second))
					}
				}
				m := f.members["shop"]["checkout"]
				if got := (&job{member: m, shown: m.shown}).Allowed(began.Add(test.after)); got != test.allowed {
					t.Errorf("allowed: %t", got)
				}
			})
		})
	}
}

// A touchpoint goes through a prober's hands: it inherits, takes over, hands over
// and loses sight of it, and Prometheus sees the counts from zero to the last.
func TestHandOver(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	f := newFleet(io.Discard, time.Hour)
	role := membership.Heir
	f.Role = func(types.UID) membership.Role { return role }
	scrapes := scrape.New()
	f.Shown = scrapes.Twice
	now := time.Now()
	scraped := func() {
		now = now.Add(10 * time.Second)
		scrapes.Note("prometheus", now)
		f.Scraped(now)
	}
	shown := func() string { return fmt.Sprint(counts(t, f, "checkout")) }
	assign := func(to membership.Role) {
		role = to
		f.Reassign()
	}

	f.Apply("shop", map[string]Wanted{"checkout": {UID: "u", Probe: visit(server.URL)}})
	m := f.members["shop"]["checkout"]
	if got := shown(); got != "map[error:0 failure:0 success:0]" || f.Schedule.Len() != 0 {
		t.Errorf("an heir shows %s and probes %d", got, f.Schedule.Len())
	}
	scraped()
	scraped()
	assign(membership.Owner)
	_, checked, err := f.compile(m.wanted.Probe, nil)
	if err != nil {
		t.Fatal(err)
	}
	j := &job{member: m, series: m.series, shown: m.shown, probe: checked}
	if f.Schedule.Len() != 1 || !j.Allowed(now) {
		t.Error("an heir whose zeros were seen must probe as soon as it owns")
	}
	j.Run(t.Context())
	assign(membership.Heir)
	if got := shown(); got != "map[error:0 failure:0 success:1]" || f.Schedule.Len() != 0 {
		t.Errorf("handed over: shows %s and probes %d", got, f.Schedule.Len())
	}
	for range 5 {
		scraped()
	}
	if got := shown(); got != "map[error:0 failure:0 success:1]" {
		t.Errorf("an heir of what it has owned shows %s", got)
	}
	assign(membership.None)
	m.left = now.Add(time.Second) // by the clock of this test
	scraped()
	if got := shown(); got != "map[error:0 failure:0 success:1]" {
		t.Errorf("after one scrape it shows %s, want the last counts for two", got)
	}
	scraped()
	if got := shown(); got != "map[]" || f.Series.Len() != 0 || f.leaving != 0 {
		t.Errorf("after two scrapes it shows %s", got)
	}
	assign(membership.Owner)
	j = &job{member: m, shown: now.Add(time.Second)}
	if got := shown(); got != "map[error:0 failure:0 success:0]" || j.Allowed(now) {
		t.Errorf("back again it shows %s and must wait for that to be seen", got)
	}
	assign(membership.None)
	assign(membership.Owner)
	if f.leaving != 0 || !m.left.IsZero() || f.Schedule.Len() != 1 {
		t.Error("what came back is still about to go")
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
	member.series.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Duration: time.Second})

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
	member.series.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Duration: time.Second})
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
	_, checked, err := f.compile(visit(server.URL), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := f.members["shop"]["checkout"]
	j := &job{member: m, series: m.series, probe: checked}
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
