package story

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// Alerts watches what arrives at Alertmanager.
type Alerts struct {
	alertmanager *localstack.Alertmanager
	samples      *Samples
	// expected is the touchpoint that may have alerts; empty while none may.
	expected string
	seen     map[string]bool
	arrived  []localstack.Alert
}

// NewAlerts watches an Alertmanager for alerts of the samples.
func NewAlerts(alertmanager *localstack.Alertmanager, samples *Samples) *Alerts {
	return &Alerts{alertmanager: alertmanager, samples: samples, seen: map[string]bool{}}
}

// Expect says at which touchpoint alerts are due from now on.
func (a *Alerts) Expect(touchpoint string) { a.expected = touchpoint }

// New returns the alerts that have arrived since the last call.
func (a *Alerts) New(ctx context.Context) ([]localstack.Alert, error) {
	present, err := a.alertmanager.Alerts(ctx)
	if err != nil {
		return nil, err
	}
	var fresh []localstack.Alert
	for _, alert := range present {
		if !a.seen[alert.Fingerprint] {
			a.seen[alert.Fingerprint] = true
			fresh = append(fresh, alert)
		}
	}
	slices.SortFunc(fresh, func(x, y localstack.Alert) int { return x.StartsAt.Compare(y.StartsAt) })
	a.arrived = append(a.arrived, fresh...)
	return fresh, nil
}

// Unexpected says why an alert should not be there, or nothing.
func (a *Alerts) Unexpected(alert localstack.Alert) string {
	switch {
	case a.expected == "":
		return "nothing is broken"
	case alert.Labels["touchpoint"] != a.expected:
		return fmt.Sprintf("only %s is broken", a.expected)
	case KindOf(a.samples, alert) == "":
		return "no promise of the samples explains it"
	}
	return ""
}

// KindOf names the kind of promise that an alert is about: latency, ces, and so on.
// It is empty if the alert is about no promise, or about one that has no data.
func KindOf(samples *Samples, alert localstack.Alert) string {
	objective, known := samples.Objective(alert.Labels["slo"], alert.Labels["objective"])
	if !known || !strings.HasSuffix(alert.Labels["alertname"], "Burn") {
		return ""
	}
	return kindOf(objective)
}

func kindOf(objective v1alpha1.Objective) string {
	switch {
	case objective.Availability != nil:
		return "availability"
	case objective.Latency != nil:
		return "latency"
	case objective.CES != nil:
		return "ces"
	case objective.CSAT != nil:
		return "csat"
	case objective.NPS != nil:
		return "nps"
	}
	return "events"
}

// Kinds returns the kinds of promise whose alerts have arrived as expected.
func (a *Alerts) Kinds() map[string]bool {
	kinds := map[string]bool{}
	for _, alert := range a.arrived {
		if a.Unexpected(alert) == "" {
			kinds[KindOf(a.samples, alert)] = true
		}
	}
	return kinds
}

// Describe says in a line what an alert is about.
func Describe(alert localstack.Alert) string {
	l := alert.Labels
	text := fmt.Sprintf("%s %s: %s of %s, touchpoint %s/%s", strings.ToUpper(l["severity"]), l["alertname"], l["objective"], l["slo"], l["namespace"], l["touchpoint"])
	for _, extra := range []struct{ name, value string }{{"tier", l["tier"]}, {"team", l["team"]}, {"runbook", alert.Annotations["runbook_url"]}} {
		if extra.value != "" {
			text += fmt.Sprintf(", %s %s", extra.name, extra.value)
		}
	}
	return text
}

// Table prints all alerts that arrived, and what they say.
func (a *Alerts) Table() string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 8, 3, ' ', 0)
	fmt.Fprintln(table, "STARTED\tSEVERITY\tALERT\tSLO\tOBJECTIVE\tTOUCHPOINT\tTIER\tTEAM")
	for _, alert := range a.arrived {
		l := alert.Labels
		fmt.Fprintln(table, strings.Join([]string{
			alert.StartsAt.Local().Format("15:04:05"), l["severity"], l["alertname"], l["slo"], l["objective"], l["touchpoint"], l["tier"], l["team"],
		}, "\t"))
	}
	_ = table.Flush() // to memory
	for _, alert := range a.arrived {
		for _, name := range []string{"summary", "description", "journeys", "runbook_url"} {
			if value := alert.Annotations[name]; value != "" {
				fmt.Fprintf(&text, "  %s: %s\n", name, value)
			}
		}
	}
	return text.String()
}
