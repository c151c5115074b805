package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// objects are the Kubernetes objects of a shape, by namespace.
type objects struct {
	namespaces  []string
	slos        map[string][]*v1alpha1.ExperienceSLO
	touchpoints map[string]targets.Namespace
}

func objectsOf(shape string, slos int) objects {
	all := objects{slos: map[string][]*v1alpha1.ExperienceSLO{}, touchpoints: map[string]targets.Namespace{}}
	namespaces, touchpoints := 1, slos
	switch shape {
	case shapeSpread:
		namespaces = spread
	case shapeWide:
		touchpoints = wide
	}
	for i := range touchpoints {
		namespace, name := place(i, namespaces)
		if _, known := all.touchpoints[namespace]; !known {
			all.namespaces = append(all.namespaces, namespace)
			all.touchpoints[namespace] = targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}, Journeys: map[string]*v1alpha1.Journey{}}
		}
		touchpoint := &v1alpha1.Touchpoint{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec: v1alpha1.TouchpointSpec{
				DisplayName: fmt.Sprintf("Service %d", i),
				Channel:     "Web",
				Class:       v1alpha1.ClassCritical, // pages and tickets, as others make
				Kano:        v1alpha1.KanoPerformance,
				Owner:       &v1alpha1.Owner{Team: fmt.Sprintf("team-%d", i%7), RunbookURL: "https://runbooks.example.com/shop"},
			},
		}
		all.touchpoints[namespace].Touchpoints[name] = touchpoint
		availability := v1alpha1.Objective{Name: "availability", Availability: &v1alpha1.AvailabilityObjective{Target: "99.9%"}}
		latency := v1alpha1.Objective{Name: "latency", Latency: &v1alpha1.LatencyObjective{Threshold: "300ms", Target: "99%"}}
		ease := v1alpha1.Objective{Name: "ease", CES: &v1alpha1.CESObjective{EaseShare: "80%"}}
		var objectives []v1alpha1.Objective
		selector := fmt.Sprintf(`namespace=%q,service=%q`, namespace, name)
		switch {
		case shape == shapeProbes || shape == shapeWide:
			touchpoint.Spec.Probe = &v1alpha1.Probe{Interval: "30s"}
			touchpoint.Spec.Survey = &v1alpha1.Survey{Instruments: []v1alpha1.Instrument{{Type: v1alpha1.InstrumentCES}}}
			objectives = []v1alpha1.Objective{availability, latency, ease}
		case promisesAvailability(i):
			touchpoint.Spec.Metrics = &v1alpha1.Metrics{Requests: &v1alpha1.RequestMetrics{
				Total:  v1alpha1.Query(`http_requests_total{` + selector + `}`),
				Errors: v1alpha1.Query(`http_requests_total{` + selector + `,code=~"5.."}`),
			}}
			objectives = []v1alpha1.Objective{availability}
		default:
			touchpoint.Spec.Metrics = &v1alpha1.Metrics{Latency: &v1alpha1.LatencyMetrics{
				Histogram: v1alpha1.Query(`http_request_duration_seconds_bucket{` + selector + `}`),
			}}
			objectives = []v1alpha1.Objective{latency}
		}
		slo := &v1alpha1.ExperienceSLO{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       v1alpha1.ExperienceSLOSpec{Window: "30d", Objectives: objectives},
		}
		slo.Spec.Targets.Touchpoints = []v1alpha1.Name{v1alpha1.Name(name)}
		if shape == shapeWide {
			if i > 0 {
				continue
			}
			slo.Spec.Targets = v1alpha1.Targets{Selector: &v1alpha1.TouchpointSelector{}}
		}
		all.slos[namespace] = append(all.slos[namespace], slo)
	}
	return all
}

// groups makes all rules of all objects, as if one Prometheus loaded them.
func (o objects) groups() []monitoringv1.RuleGroup {
	var groups []monitoringv1.RuleGroup
	for _, namespace := range o.namespaces {
		first := len(groups)
		slos, in := o.slos[namespace], o.touchpoints[namespace]
		for _, slo := range slos {
			for _, object := range rules.ForSLO(slo, in).Objects {
				groups = append(groups, object.Groups...)
			}
		}
		var names []string
		for name := range in.Touchpoints {
			names = append(names, name)
		}
		slices.Sort(names)
		covering := map[string][]*v1alpha1.ExperienceSLO{}
		for _, slo := range slos {
			for _, name := range targets.Resolve(slo, in).Touchpoints {
				covering[name] = append(covering[name], slo)
			}
		}
		for _, name := range names {
			own := rules.ForTouchpoint(in.Touchpoints[name], covering[name], rules.Options{})
			groups = append(append(groups, own.Groups...), own.Diagnosis...)
		}
		for _, object := range rules.ForNamespace(namespace, slos, in, nil) {
			groups = append(groups, object.Groups...)
		}
		// Each namespace has rule files of its own, here they share one.
		for i := first; i < len(groups); i++ {
			groups[i].Name = namespace + "/" + groups[i].Name
		}
	}
	return groups
}

func sojournRules(shape string) func(context.Context, int) ([]byte, error) {
	return func(_ context.Context, slos int) ([]byte, error) {
		return ruleFile(objectsOf(shape, slos).groups())
	}
}

func ruleFile(groups []monitoringv1.RuleGroup) ([]byte, error) {
	return yaml.Marshal(map[string]any{"groups": groups})
}

// measureGeneration tells what making the rules of 1,000 SLOs costs, and whether two
// runs agree to the byte.
func measureGeneration(out io.Writer) error {
	for _, shape := range []string{shapeMetrics, shapeProbes} {
		const slos, runs = 1000, 7
		var first []byte
		var spent []time.Duration
		equal := true
		for range runs {
			in := objectsOf(shape, slos)
			before := processCPU()
			groups := in.groups()
			spent = append(spent, processCPU()-before)
			text, err := ruleFile(groups)
			if err != nil {
				return err
			}
			if first == nil {
				first = text
			}
			equal = equal && bytes.Equal(first, text)
		}
		slices.Sort(spent)
		verdict := "byte for byte the same"
		if !equal {
			verdict = "NOT the same"
		}
		fmt.Fprintf(out, "Making the rules of %d SLOs (%s): %.0f ms of CPU time, median of %d runs, %s.\n",
			slos, shape, spent[runs/2].Seconds()*1000, runs, verdict)
	}
	return nil
}
