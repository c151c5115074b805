package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// TestAlertmanager has a real Alertmanager read the example and sort the alerts that there
// are, and a ticketing tool take them.
func TestAlertmanager(t *testing.T) {
	text, err := os.ReadFile("alertmanager/alertmanager.yaml")
	if err != nil {
		t.Fatal(err)
	}
	filed := make(chan map[string]any, 100)
	tracker := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var ticket map[string]any
		body, err := io.ReadAll(r.Body)
		if err == nil && json.Unmarshal(body, &ticket) == nil && r.Header.Get("Authorization") == "Bearer known" {
			filed <- ticket
		}
	}))
	t.Cleanup(tracker.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("known"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for _, change := range []struct{ from, to string }{
		{"http://tickets.monitoring.svc:8080/alerts", tracker.URL}, {"/etc/alertmanager/secrets/tickets/token", token},
		{"group_wait: 30s", "group_wait: 0s"}, {"http://pager.monitoring.svc:8080", tracker.URL},
	} {
		if !strings.Contains(config, change.from) {
			t.Fatalf("the example has no %s", change.from)
		}
		config = strings.ReplaceAll(config, change.from, change.to)
	}
	alertmanager, err := localstack.StartAlertmanager(t.Context(), localstack.AlertmanagerOptions{ConfigYAML: config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(alertmanager.Stop)

	type alert map[string]string
	var sent []map[string]alert
	var want []string
	add := func(labels alert, receiver string, inhibited bool) {
		sent = append(sent, map[string]alert{"labels": labels, "annotations": {"runbook_url": "https://runbooks.example.com"}})
		want = append(want, fmt.Sprintf("%s %s %s %s %s: %s %t", labels["alertname"], labels["touchpoint"], labels["objective"], labels["severity"], labels["tier"], receiver, inhibited))
	}
	of := func(name, severity, tier, touchpoint, objective, team string) alert {
		labels := alert{"alertname": name, "severity": severity, "tier": tier, "namespace": "shop", "slo": "all", "objective": objective, "touchpoint": touchpoint}
		if team != "" {
			labels["team"] = team
		}
		return labels
	}
	// Every tier there is, of a budget that pages and one that does not.
	for family, name := range map[budget.Family]string{budget.Traffic: rules.AlertBudgetBurn, budget.Survey: rules.AlertSurveyBurn} {
		for _, tier := range budget.Tiers(family, 28*24*time.Hour) {
			if tier.Severity() == "page" {
				add(of(name, "page", tier.Name, "checkout", string(family), "payments"), "payments", false)
			} else {
				add(of(name, "ticket", tier.Name, "checkout", string(family), "payments"), "tickets", true)
				add(of(name, "ticket", tier.Name, "search", string(family), "catalogue"), "tickets", false)
			}
		}
	}
	add(of(rules.AlertBudgetBurn, "page", "1h", "basket", "up", "ordering"), "ordering", false)
	add(of(rules.AlertBudgetBurn, "page", "1h", "support", "up", "nobody-knows"), "platform", false)
	add(of(rules.AlertBudgetBurn, "page", "1h", "advert", "up", ""), "platform", false)
	add(of(rules.AlertDataMissing, "page", "missing", "basket", "effort", "ordering"), "platform", false)
	// Of another objective than the page.
	add(of(rules.AlertSurveyBurn, "ticket", "7d", "basket", "content", "ordering"), "tickets", false)
	add(alert{"alertname": "SojournProgramGone", "severity": "ticket", "program": "prober"}, "tickets", false)
	add(alert{"alertname": "SomebodyElses", "severity": "page"}, "platform", false)

	body, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(alertmanager.URL+"/api/v2/alerts", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
	slices.Sort(want)
	eventually(t, 20*time.Second, func() error {
		answer, err := http.Get(alertmanager.URL + "/api/v2/alerts")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		var found []struct {
			Labels    alert
			Receivers []struct{ Name string }
			Status    struct{ InhibitedBy []string }
		}
		if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
			return err
		}
		var got []string
		for _, each := range found {
			var receivers []string
			for _, receiver := range each.Receivers {
				receivers = append(receivers, receiver.Name)
			}
			got = append(got, fmt.Sprintf("%s %s %s %s %s: %s %t", each.Labels["alertname"], each.Labels["touchpoint"], each.Labels["objective"],
				each.Labels["severity"], each.Labels["tier"], strings.Join(receivers, ","), len(each.Status.InhibitedBy) > 0))
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
	deadline := time.After(20 * time.Second)
	for {
		select {
		case ticket := <-filed:
			labels, _ := ticket["commonLabels"].(map[string]any)
			if labels["touchpoint"] != "search" {
				continue
			}
			if labels["team"] != "catalogue" || ticket["groupKey"] == "" || ticket["status"] != "firing" {
				t.Errorf("the tracker got %v", ticket)
			}
			return
		case <-deadline:
			t.Fatal("the tracker got no ticket")
		}
	}
}
