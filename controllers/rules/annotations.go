package rules

import (
	"fmt"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// What an alert says beside its labels is looked up when it is sent: were it a label,
// the alert would fire anew whenever a journey is added or the budget shrinks.
const (
	aboutTouchpoint = `printf "` + TouchpointInfo + `{namespace='%s',touchpoint='%s'}" $labels.namespace $labels.touchpoint | query`
	aboutBudget     = `printf "%s{namespace='%s',slo='%s',objective='%s',touchpoint='%s'}" "` + Budget + `" $labels.namespace $labels.slo $labels.objective $labels.touchpoint | query`
	aboutRemaining  = `printf "last_over_time(%s{namespace='%s',slo='%s',objective='%s',touchpoint='%s'}[` + lately + `])" "` + Remaining + `" $labels.namespace $labels.slo $labels.objective $labels.touchpoint | query`
	aboutRunbook    = `printf "%s{namespace='%s',slo='%s',objective='%s',touchpoint='%s',runbook!=''}" "` + Budget + `" $labels.namespace $labels.slo $labels.objective $labels.touchpoint | query`

	touchpointName = `{{ with ` + aboutTouchpoint + ` }}{{ . | first | label "display" }}{{ else }}{{ $labels.touchpoint }}{{ end }}`
	promised       = `{{ with ` + aboutBudget + ` }}Promised: {{ . | first | label "promise" }}. {{ end }}`
	silentSource   = `{{ with ` + aboutBudget + ` }}{{ with . | first | label "source" }}` +
		`{{ if eq . "probe" }}No probe has succeeded or failed for minutes: the prober is gone, stuck or overloaded, or Prometheus does not scrape it. {{ end }}` +
		`{{ if eq . "survey" }}The series of survey responses are gone: the gateway is down, or Prometheus does not scrape it. {{ end }}` +
		`{{ if eq . "metric" }}The series that the Touchpoint names in spec.metrics are gone: the exporter is down, renamed or not scraped, or its histogram has no bucket at the promised threshold. {{ end }}` +
		`{{ end }}{{ end }}`
	left     = `{{ with ` + aboutRemaining + ` }}Budget left: {{ with . | first | value }}{{ if lt . 0.0 }}none{{ else }}{{ . | humanizePercentage }}{{ end }}{{ end }}. {{ end }}`
	journeys = `{{ with ` + aboutTouchpoint + ` }}{{ with . | first | label "journeys" }}Journeys it hurts: {{ . }}. {{ end }}{{ end }}`
	more     = `More: kubectl describe experienceslo {{ $labels.slo }} --namespace {{ $labels.namespace }}`
	runbook  = `{{ with ` + aboutRunbook + ` }}{{ . | first | label "runbook" }}{{ else }}{{ with ` + aboutTouchpoint + ` }}{{ . | first | label "runbook" }}{{ end }}{{ end }}`
)

func burnAnnotations(family budget.Family, tier budget.Tier) map[string]string {
	felt := "customers are failed or kept waiting"
	if family == budget.Survey {
		felt = "customers say that it is not as it should be"
	}
	return map[string]string{
		"summary":     touchpointName + fmt.Sprintf(`: %s; over %s the error budget of {{ $labels.objective }} burns {{ $value | printf "%%.1f" }} times as fast as it may`, felt, tier.Name),
		"description": promised + left + journeys + more,
		"runbook_url": runbook,
	}
}

func silenceAnnotations() map[string]string {
	return map[string]string{
		"summary":     touchpointName + ": what customers feel is not measured any more (objective {{ $labels.objective }})",
		"description": silentSource + promised + `Nobody can tell whether it is kept. ` + journeys + more,
		"runbook_url": runbook,
	}
}
