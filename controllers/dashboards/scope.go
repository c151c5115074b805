package dashboards

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// scope is the touchpoints that a dashboard speaks of. It writes PromQL that leaves out all
// others.
type scope struct {
	// matchers are one set for each namespace.
	matchers []string
	// among, if not empty, is series of the touchpoints that belong to it.
	among string
}

// of reads a series.
func (s scope) of(series string, matchers ...string) string {
	return s.each(func(own string) string { return selector(series, own, matchers) })
}

// lately reads the last sample of what is written more seldom than Prometheus looks back.
func (s scope) lately(series, span string, matchers ...string) string {
	return s.each(func(own string) string {
		return fmt.Sprintf("last_over_time(%s[%s])", selector(series, own, matchers), span)
	})
}

// firing are the alerts on customers.
func (s scope) firing(matchers ...string) string {
	names := strings.Join([]string{rules.AlertBudgetBurn, rules.AlertSurveyBurn, rules.AlertDataMissing}, "|")
	return s.of("ALERTS", append(matchers, fmt.Sprintf("alertname=~%q", names), `alertstate="firing"`)...)
}

func (s scope) each(read func(own string) string) string {
	texts := make([]string, len(s.matchers))
	for i, own := range s.matchers {
		texts[i] = read(own)
	}
	text := strings.Join(texts, " or ")
	if s.among != "" {
		text += " and on (namespace, touchpoint) " + s.among
	}
	if len(texts) > 1 || s.among != "" {
		text = "(" + text + ")"
	}
	return text
}

// at narrows a scope down to one touchpoint.
func (s scope) at(matcher string) scope {
	narrow := scope{among: s.among}
	for _, own := range s.matchers {
		narrow.matchers = append(narrow.matchers, strings.TrimPrefix(own+","+matcher, ","))
	}
	return narrow
}

func selector(series, own string, matchers []string) string {
	all := slices.Clone(matchers)
	if own != "" {
		all = append([]string{own}, all...)
	}
	if len(all) == 0 {
		return series
	}
	return series + "{" + strings.Join(all, ",") + "}"
}

// oneOf matches a label with any of some names.
func oneOf(label string, names []string) string {
	if len(names) == 1 {
		return fmt.Sprintf("%s=%q", label, names[0])
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return fmt.Sprintf("%s=~%q", label, strings.Join(quoted, "|"))
}
