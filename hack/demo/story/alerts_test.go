package story

import (
	"testing"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

func TestUnexpectedAlerts(t *testing.T) {
	alert := func(name, slo, objective, touchpoint string) localstack.Alert {
		return localstack.Alert{Labels: map[string]string{
			"alertname": name, "namespace": "shop", "slo": slo, "objective": objective, "touchpoint": touchpoint,
		}}
	}
	samples := readSamples(t)
	for _, test := range []struct {
		name     string
		expected string
		alert    localstack.Alert
		want     string
		kind     string
	}{
		{"before anything is broken", "", alert("ExperienceBudgetBurn", "checkout", "speed", "checkout"), "nothing is broken", "latency"},
		{"latency of the checkout", "checkout", alert("ExperienceBudgetBurn", "checkout", "speed", "checkout"), "", "latency"},
		{"effort at the checkout", "checkout", alert("ExperienceSurveyBurn", "checkout", "effort", "checkout"), "", "ces"},
		{"another touchpoint", "checkout", alert("ExperienceBudgetBurn", "basket", "speed", "basket"), "only checkout is broken", "latency"},
		{"silence", "checkout", alert("ExperienceDataMissing", "checkout", "speed", "checkout"), "no promise of the samples explains it", ""},
		{"a promise that is none", "checkout", alert("ExperienceBudgetBurn", "checkout", "beauty", "checkout"), "no promise of the samples explains it", ""},
	} {
		alerts := NewAlerts(nil, samples)
		alerts.Expect(test.expected)
		if got := alerts.Unexpected(test.alert); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if got := KindOf(samples, test.alert); got != test.kind {
			t.Errorf("%s: kind %q, want %q", test.name, got, test.kind)
		}
	}
}
