package lint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/files"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// judged is a decision with what was written.
type judged struct {
	*linter
	id       identity
	document *files.Document
	decision *controllers.Decision
}

// judge says what there is to say of a decision.
func (l *linter) judge(decision *controllers.Decision) {
	if decision.Object == nil {
		return // what a namespace shares; each ExperienceSLO tells of its failure
	}
	id := identity{decision.Source.Kind, decision.Source.Namespace, decision.Source.Name}
	j := &judged{linter: l, id: id, document: l.documents[id], decision: decision}
	j.problems()
	switch object := decision.Object.(type) {
	case *v1alpha1.ExperienceSLO:
		j.targets(object)
		j.alerts(object)
		j.edges(object)
	case *v1alpha1.Touchpoint:
		if decision.MeasuredBy == "" {
			j.say(j.document.At("spec"), Note, reasonNotMeasured, "spec", "nothing measures this touchpoint", "set probe, survey or metrics, unless it shall only be drawn")
		}
	case *v1alpha1.Journey:
		j.stages(object)
	}
}

func (j *judged) say(at files.Position, level Level, reason, field, message, hint string) {
	j.findings = append(j.findings, Finding{Position: at, Level: level, Reason: reason, Object: j.id.String(), Field: field, Message: message, Hint: hint})
}

// problems are what keeps the object from being Ready. References are told one by one.
func (j *judged) problems() {
	for _, problem := range j.decision.Problems {
		if problem.Reason == v1alpha1.ReasonReferenceNotFound || problem.Reason == v1alpha1.ReasonReferenceNotAllowed {
			continue
		}
		j.say(j.document.At(problem.Field), Error, problem.Reason, problem.Field, with(problem), "")
	}
	if j.decision.SLO == nil {
		return
	}
	for _, skipped := range j.decision.SLO.Skipped {
		j.say(j.document.At(skipped.Field), Note, skipped.Reason, skipped.Field, with(skipped), "")
	}
}

func with(problem rules.Problem) string {
	if problem.Field == "" {
		return problem.Message
	}
	return problem.Field + ": " + problem.Message
}

// missing tells of a reference to what is not in the files.
func (j *judged) missing(at files.Position, field, kind, namespace, name string) {
	if j.broken[identity{kind, namespace, name}] {
		return // it is there, and has errors of its own
	}
	level, hint := Error, meant(name, j.names(kind, namespace))
	if j.options.AllowMissing {
		level = Note
	}
	if hint == "" {
		hint = "add it, or write --allow-missing if it is not among these files"
	}
	j.say(at, level, v1alpha1.ReasonReferenceNotFound, field, fmt.Sprintf("%s: there is no %s %s in namespace %s", field, kind, name, namespace), hint)
}

func (j *judged) targets(slo *v1alpha1.ExperienceSLO) {
	found := j.decision.SLO.Resolution
	if found.MissingJourney != "" {
		j.missing(j.document.At("spec.targets.journey"), "spec.targets.journey", "Journey", slo.Namespace, found.MissingJourney)
		return
	}
	for _, name := range found.Missing {
		if slo.Spec.Targets.Journey != "" {
			continue // the journey tells
		}
		j.missing(j.document.AtItem("spec.targets.touchpoints", name), "spec.targets.touchpoints", "Touchpoint", slo.Namespace, name)
	}
	if len(found.Elsewhere) > 0 {
		j.say(j.document.At("spec.targets.journey"), Note, reasonNotCovered, "spec.targets.journey",
			fmt.Sprintf("spec.targets.journey: not covered, because in other namespaces: %s", strings.Join(found.Elsewhere, ", ")),
			"promise there what is to be kept there")
	}
	if slo.Spec.Targets.Selector != nil && len(found.Touchpoints) == 0 && !j.anyBroken("Touchpoint", slo.Namespace) {
		level := Warning
		if j.options.AllowMissing {
			level = Note
		}
		j.say(j.document.At("spec.targets.selector"), level, v1alpha1.ReasonNoTargets, "spec.targets.selector",
			fmt.Sprintf("spec.targets.selector: matches none of the %d Touchpoints of namespace %s", len(j.names("Touchpoint", slo.Namespace)), slo.Namespace),
			"compare it with labels and class of the touchpoints that are meant")
	}
}

func (l *linter) anyBroken(kind, namespace string) bool {
	for id := range l.broken {
		if id.kind == kind && id.namespace == namespace {
			return true
		}
	}
	return false
}

// alerts tells of tiers that could never fire. What was switched off is as it was wanted.
func (j *judged) alerts(slo *v1alpha1.ExperienceSLO) {
	for _, objective := range j.decision.SLO.Objectives {
		tiers, reasons := map[string][]string{}, []string{}
		for _, silent := range objective.Silent {
			tier, why, _ := strings.Cut(silent, ": ")
			if !strings.Contains(tier, " ") {
				continue
			}
			if tiers[why] == nil {
				reasons = append(reasons, why)
			}
			tiers[why] = append(tiers[why], tier)
		}
		field := fmt.Sprintf("spec.objectives[%s]", objective.Name)
		for _, why := range reasons {
			alerts := "the alert " + tiers[why][0]
			if len(tiers[why]) > 1 {
				alerts = "the alerts " + strings.Join(tiers[why], ", ")
			}
			because, hint, _ := strings.Cut(why, ": ")
			j.say(j.document.At(field+"."+promised(slo, string(objective.Name))), Warning, reasonSilent, field,
				fmt.Sprintf("%s: %s could never fire: %s", field, alerts, because), hint)
		}
	}
}

// promised names the field of what an objective promises.
func promised(slo *v1alpha1.ExperienceSLO, name string) string {
	for _, o := range slo.Spec.Objectives {
		if string(o.Name) != name {
			continue
		}
		switch {
		case o.Availability != nil:
			return "availability.target"
		case o.Latency != nil:
			return "latency.target"
		case o.CSAT != nil:
			return "csat.target"
		case o.NPS != nil:
			return "nps.target"
		case o.Events != nil:
			return "events.target"
		case o.CES != nil && o.CES.EaseShare != "":
			return "ces.easeShare"
		case o.CES != nil && o.CES.Net != "":
			return "ces.net"
		}
		return "ces.mean"
	}
	return ""
}

// usualEdges are the bucket edges that Prometheus's client libraries give a histogram whose
// author names none.
var usualEdges = []time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// edges notes thresholds that a team's own histogram may lack. Only data shows what edges it
// has; the prober's histogram has every threshold.
func (j *judged) edges(slo *v1alpha1.ExperienceSLO) {
	for i := range slo.Spec.Objectives {
		objective := &slo.Spec.Objectives[i]
		if objective.Latency == nil {
			continue
		}
		threshold, err := objective.Latency.Threshold.Value()
		if err != nil || slices.Contains(usualEdges, threshold) {
			continue
		}
		var doubtful []string
		for _, watch := range j.decision.SLO.Watched {
			if watch.Objective == string(objective.Name) && strings.HasPrefix(watch.Def, "metric/") {
				doubtful = append(doubtful, slices.DeleteFunc(slices.Clone(watch.Touchpoints), func(name string) bool { return !j.classic(slo.Namespace, name) })...)
			}
		}
		if len(doubtful) == 0 {
			continue
		}
		field := fmt.Sprintf("spec.objectives[%s].latency.threshold", objective.Name)
		j.say(j.document.At(field), Note, reasonEdge, field,
			fmt.Sprintf("%s: only data shows whether %s is a bucket edge of the histogram of %s; it is none of those that client libraries have by default", field, objective.Latency.Threshold, rules.Some(doubtful)),
			"make sure that it is one, or promise "+around(threshold))
	}
}

// classic tells whether a touchpoint measures latency by a classic histogram.
func (l *linter) classic(namespace, name string) bool {
	touchpoint := l.touchpoints[client.ObjectKey{Namespace: namespace, Name: name}]
	return touchpoint != nil && touchpoint.Spec.Metrics != nil && touchpoint.Spec.Metrics.Latency != nil &&
		strings.Contains(string(touchpoint.Spec.Metrics.Latency.Histogram), "_bucket")
}

// around names the usual edges next to a threshold.
func around(threshold time.Duration) string {
	above := slices.IndexFunc(usualEdges, func(edge time.Duration) bool { return edge > threshold })
	switch above {
	case -1:
		return usualEdges[len(usualEdges)-1].String()
	case 0:
		return usualEdges[0].String()
	}
	return usualEdges[above-1].String() + " or " + usualEdges[above].String()
}

// stages tells which touchpoints of a journey are not there, or not open to it.
func (j *judged) stages(journey *v1alpha1.Journey) {
	for s, stage := range journey.Spec.Stages {
		for t, named := range stage.Touchpoints {
			reference := targets.ReferenceOf(journey, named)
			field := fmt.Sprintf("spec.stages[%d].touchpoints[%d]", s, t)
			at := j.document.At(field + ".name")
			switch {
			case slices.Contains(j.decision.Missing, reference):
				j.missing(at, field, "Touchpoint", reference.Namespace, reference.Name)
			case slices.Contains(j.decision.Refused, reference):
				level := Error
				if _, known := j.set.NamespaceLabels[journey.Namespace]; !known && j.options.AllowMissing {
					level = Note // its owner may choose by labels of a namespace that is not here
				}
				j.say(at, level, v1alpha1.ReasonReferenceNotAllowed, field,
					fmt.Sprintf("%s: Touchpoint %s/%s is not open to journeys of namespace %s", field, reference.Namespace, reference.Name, journey.Namespace),
					"its owner can allow them by allowedJourneys.namespaces of the Touchpoint")
			}
		}
	}
}
