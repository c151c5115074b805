package controllers

import (
	"context"
	"fmt"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// lookForProbes is how often the manager asks whether the kind Probe came or went. The
// kinds of the Prometheus Operator come together, and PrometheusRule is watched; this
// is for those that are installed one by one.
const lookForProbes = 30 * time.Second

// detectProbes asks the API server whether the Prometheus Operator's kind Probe is
// installed.
func detectProbes(ctx context.Context, config *rest.Config) (bool, error) {
	discoverer, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return false, err
	}
	served, err := discoverer.ServerResourcesForGroupVersionWithContext(ctx, monitoringv1.SchemeGroupVersion.String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, resource := range served.APIResources {
		if resource.Name == monitoringv1.ProbeName {
			return true, nil
		}
	}
	return false, nil
}

// watchProbeKind ends the run when the kind Probe comes or goes.
func watchProbeKind(config *rest.Config, had bool, changed context.CancelCauseFunc) everyone {
	return func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(lookForProbes):
			}
			// An API server that does not answer says nothing.
			if has, err := detectProbes(ctx, config); err == nil && has != had {
				changed(errFormChanged)
				return nil
			}
		}
	}
}

// watchProbes repairs Probes that others changed.
func (r *touchpointReconciler) watchProbes(b *builder.Builder) {
	if r.publisher.Probes {
		b.Watches(&monitoringv1.Probe{}, handler.EnqueueRequestsFromMapFunc(r.catalogue.requestOfSource(kindTouchpoint, bySource)),
			builder.WithPredicates(ruleObjectChanges))
	}
}

// checkProbeKind tells of a Probe that nobody would read.
func (r *touchpointReconciler) checkProbeKind(s *touchpointScope) {
	if !r.publisher.Probes && blackboxProbe(s.touchpoint) != nil {
		s.problems = append(s.problems, rules.Problem{
			Field: "spec.probe.backend", Reason: v1alpha1.ReasonKindMissing,
			Message: "the kind Probe of the Prometheus Operator is not installed, so that nobody makes the visits: install it, or write backend: Prober",
		})
	}
}

// publishProbe writes the Probe by which a Prometheus has a blackbox_exporter visit the
// touchpoint, or removes it.
func (r *touchpointReconciler) publishProbe(ctx context.Context, s *touchpointScope) error {
	r.checkProbeKind(s)
	if !r.publisher.Probes {
		return nil
	}
	return r.publisher.SyncProbe(ctx, sourceOf(kindTouchpoint, s.key), s.touchpoint, ruleObjectName(s.touchpoint.Name), blackboxProbe(s.touchpoint))
}

// withdrawProbe removes the Probe of a touchpoint that is gone.
func (r *touchpointReconciler) withdrawProbe(ctx context.Context, s *touchpointScope) error {
	if !r.publisher.Probes {
		return nil
	}
	return r.publisher.SyncProbe(ctx, sourceOf(kindTouchpoint, s.key), nil, ruleObjectName(s.key.Name), nil)
}

// blackboxProbe is what the exporter is asked to do, nil if it is not asked. Its labels
// are those by which the touchpoint's rules find what it met.
func blackboxProbe(touchpoint *v1alpha1.Touchpoint) *monitoringv1.ProbeSpec {
	probe := touchpoint.Spec.Probe
	if probe == nil || probe.Backend != v1alpha1.ProbeBackendBlackbox || probe.Blackbox == nil {
		return nil
	}
	target := blackboxTarget(probe)
	if target == "" {
		return nil
	}
	interval, timeout := rules.BlackboxTimes(probe)
	return &monitoringv1.ProbeSpec{
		ProberSpec: monitoringv1.ProberSpec{URL: string(probe.Blackbox.Address), Path: "/probe"},
		Module:     probe.Blackbox.Module,
		Interval:   monitoringv1.Duration(fmt.Sprintf("%ds", interval/time.Second)),
		// The exporter ends a visit half a second before the scrape is given up.
		ScrapeTimeout: monitoringv1.Duration(fmt.Sprintf("%dms", min(timeout+500*time.Millisecond, interval)/time.Millisecond)),
		Targets: monitoringv1.ProbeTargets{StaticConfig: &monitoringv1.ProbeTargetStaticConfig{
			Targets: []string{target},
			Labels:  map[string]string{"namespace": touchpoint.Namespace, "touchpoint": touchpoint.Name},
		}},
	}
}

// blackboxTarget is the address of a probe's only step.
func blackboxTarget(probe *v1alpha1.Probe) string {
	if probe.HTTP != nil {
		return string(probe.HTTP.URL)
	}
	for _, step := range probe.Steps {
		switch {
		case step.HTTP != nil:
			return string(step.HTTP.URL)
		case step.TCP != nil:
			return string(step.TCP.Address)
		case step.ICMP != nil:
			return string(step.ICMP.Host)
		}
	}
	return ""
}
