package replay

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	promrules "github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"sigs.k8s.io/yaml"
)

const alertingRules = `
groups:
- name: alerts
  interval: 1m
  rules:
  - {record: "load:sum", expr: "sum by (page) (load)"}
  - {alert: Plain, expr: "load:sum > 5", labels: {severity: page}}
  - {alert: Waits, expr: "load:sum > 4", for: 3m}
  - {alert: GoesOn, expr: "load:sum > 6", keep_firing_for: 4m}
  - {alert: Both, expr: "load:sum > 6", for: 1m, keep_firing_for: 2m, labels: {tier: both}}
  - {alert: Remembers, expr: 'load:sum > 7 or load:sum > 3 and on (page) last_over_time(ALERTS{alertname="Remembers",alertstate="firing"}[3m])'}
`

type file []byte

func (f file) Load(string, bool, model.ValidationScheme) (*rulefmt.RuleGroups, []error) {
	return rulefmt.Parse(f, false, model.UTF8Validation, promQL, slog.New(slog.DiscardHandler))
}

func (f file) Parse(query string) (parser.Expr, error) { return promQL.ParseExpr(query) }

// The alerts of a replay are those of Prometheus's own rule groups, to the minute: with for
// and keep_firing_for, with series that come and go, and with rules that read their own
// ALERTS.
func TestAlertsAreThoseOfPrometheus(t *testing.T) {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	end := start.Add(12 * time.Hour)
	open := func() *Replay {
		r, err := Open(start, end)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		writer, random := r.NewWriter(), rand.New(rand.NewPCG(1, 2))
		for _, page := range []string{"a", "b", "c"} {
			var ref storage.SeriesRef
			load := 0.0
			for at := start; !at.After(end); at = at.Add(30 * time.Second) {
				load = max(0, min(9, load+4*random.Float64()-2))
				if at.Minute() > 50 && page == "b" {
					continue // not scraped
				}
				if err := writer.Append(&ref, labels.FromStrings("__name__", "load", "page", page), at.UnixMilli(), load); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	text := func(alert labels.Labels, from, until time.Time) string {
		return fmt.Sprintf("%s from %s until %s", alert, from.UTC().Format(time.TimeOnly), until.UTC().Format(time.TimeOnly))
	}

	live := open()
	manager := promrules.NewManager(&promrules.ManagerOptions{
		NameValidationScheme: model.UTF8Validation, ExternalURL: &url.URL{},
		QueryFunc: promrules.EngineQueryFunc(live.engine, live.db), NotifyFunc: func(context.Context, string, ...*promrules.Alert) {},
		Context: t.Context(), Appendable: live.db, Queryable: live.db, Logger: slog.New(slog.DiscardHandler), Parser: promQL, GroupLoader: file(alertingRules),
	})
	groups, errs := manager.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, "alerts.yaml")
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var want []string
	firing := map[string]time.Time{}
	for _, group := range groups {
		group.RestoreForState(start)
		for at := start; !at.After(end); at = at.Add(time.Minute) {
			group.Eval(t.Context(), at)
			now := map[string]labels.Labels{}
			for _, rule := range group.AlertingRules() {
				rule.ForEachActiveAlert(func(alert *promrules.Alert) {
					if alert.State == promrules.StateFiring {
						now[alert.Labels.String()] = alert.Labels
						if _, known := firing[alert.Labels.String()]; !known {
							firing[alert.Labels.String()] = at
						}
					}
				})
			}
			for name, from := range firing {
				if _, still := now[name]; !still {
					want = append(want, fmt.Sprintf("%s from %s until %s", name, from.Format(time.TimeOnly), at.Format(time.TimeOnly)))
					delete(firing, name)
				}
			}
		}
	}
	for name, from := range firing {
		want = append(want, fmt.Sprintf("%s from %s until %s", name, from.Format(time.TimeOnly), time.Time{}.Format(time.TimeOnly)))
	}

	var rules struct{ Groups []monitoringv1.RuleGroup }
	if err := yaml.Unmarshal([]byte(alertingRules), &rules); err != nil {
		t.Fatal(err)
	}
	program, err := Compile(rules.Groups, start, func(rule *monitoringv1.Rule) Span {
		if rule.Record != "" {
			return Span{}
		}
		return Span{From: start, Until: end}
	})
	if err != nil {
		t.Fatal(err)
	}
	mine := open()
	alerts, err := mine.Run(t.Context(), program, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, alert := range alerts {
		got = append(got, text(alert.Labels, alert.FiredAt, alert.ResolvedAt))
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) < 50 || !slices.Equal(got, want) {
		t.Errorf("%d alerts, Prometheus has %d; the first that differ are %s", len(got), len(want), differing(got, want))
	}
}

func differing(got, want []string) string {
	var text []string
	for _, each := range got {
		if !slices.Contains(want, each) && len(text) < 3 {
			text = append(text, "only here: "+each)
		}
	}
	for _, each := range want {
		if !slices.Contains(got, each) && len(text) < 6 {
			text = append(text, "only there: "+each)
		}
	}
	return strings.Join(text, "\n")
}

// What nobody reads is not evaluated, and what is read is for just as long as it is.
func TestOnlyWhatIsWantedIsEvaluated(t *testing.T) {
	end := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var rules struct{ Groups []monitoringv1.RuleGroup }
	if err := yaml.Unmarshal([]byte(`
groups:
- name: counts
  interval: 1m
  rules:
  - {record: "visits:count1m", expr: "last_over_time(visits_total[5m]) - last_over_time(visits_total[5m] offset 1m)"}
  - {record: "visits:count1h", expr: "sum_over_time(visits:count1m[1h])"}
  - {record: "visits:unread", expr: "sum_over_time(others_total[90d])"}
  - {alert: Many, expr: "max_over_time(visits:count1h[30m:1m] offset 5m) > 5"}
`), &rules); err != nil {
		t.Fatal(err)
	}
	program, err := Compile(rules.Groups, end.AddDate(-1, 0, 0), func(rule *monitoringv1.Rule) Span {
		if rule.Alert == "" {
			return Span{}
		}
		return Span{From: end.Add(-2 * time.Hour), Until: end}
	})
	if err != nil {
		t.Fatal(err)
	}
	readings := program.Readings()
	if len(readings) != 1 {
		t.Fatalf("reads %v", readings)
	}
	// 2 h, the subquery's 30 m and 1 m and 5 m, the look-back of 5 m, the hour, 5 m and 1 m
	// of the counter, and a minute for each of two rules.
	if back := end.Sub(readings[0].From); back != 3*time.Hour+49*time.Minute {
		t.Errorf("reads %v back", back)
	}
	if len(program.rules) != 3 {
		t.Errorf("evaluates %d rules", len(program.rules))
	}
}
