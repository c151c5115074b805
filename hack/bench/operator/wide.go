package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/publish"
)

// wideRow is what one ExperienceSLO over a thousand touchpoints came to, with names as
// long and objectives as many as there can be, and then one touchpoint more.
type wideRow struct {
	installed reached
	objects   int // rule objects of the ExperienceSLO
	largest   int // bytes of the largest rule object
	oneMore   time.Duration
	writes    float64
	// rewritten are the rule objects of the ExperienceSLO, and of the namespace, that one
	// touchpoint more changed, and statuses those of other touchpoints.
	rewritten, rewrittenShared, statuses int
}

const wideNamespace = "wide"

func wideTouchpoint(i int) *v1alpha1.Touchpoint {
	name := fmt.Sprintf("touchpoint-%s-%04d", strings.Repeat("x", 63-16), i)
	return touchpoint(metav1.ObjectMeta{Namespace: wideNamespace, Name: name}, nil)
}

func (b *bench) measureWide(ctx context.Context) (*wideRow, error) {
	const width = 1000
	r := &wideRow{}
	c, err := b.startCluster(ctx, wideNamespace)
	if err != nil {
		return nil, err
	}
	defer c.Stop()
	slo := &v1alpha1.ExperienceSLO{
		ObjectMeta: metav1.ObjectMeta{Namespace: wideNamespace, Name: "every-critical-touchpoint"},
		Spec:       v1alpha1.ExperienceSLOSpec{Targets: v1alpha1.Targets{Selector: &v1alpha1.TouchpointSelector{Classes: []v1alpha1.Class{v1alpha1.ClassCritical}}}},
	}
	for i := range 20 {
		objective := v1alpha1.Objective{Name: v1alpha1.Name(fmt.Sprintf("objective-%02d", i))}
		switch i % 2 {
		case 0:
			objective.Latency = &v1alpha1.LatencyObjective{Threshold: v1alpha1.Duration(fmt.Sprintf("%dms", 100+50*i)), Target: "99%"}
		case 1:
			objective.CES = &v1alpha1.CESObjective{EaseShare: v1alpha1.Percentage(fmt.Sprintf("%d%%", 60+i))}
		}
		slo.Spec.Objectives = append(slo.Spec.Objectives, objective)
	}
	objects := []client.Object{slo}
	for i := range width {
		objects = append(objects, wideTouchpoint(i))
	}
	m, err := b.startManager(c)
	if err != nil {
		return nil, err
	}
	defer func() { m.stop() }()
	if err := sleep(ctx, 5*time.Second); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := c.create(ctx, objects, nil); err != nil {
		return nil, err
	}
	if r.installed, err = b.awaitRest(ctx, c, m, begin, 0); err != nil {
		return nil, err
	}
	b.say("wide: at rest after %.1f s and %.0f writes", r.installed.took.Seconds(), r.installed.writes)
	before, err := c.versions(ctx)
	if err != nil {
		return nil, err
	}
	requested := b.requests(ctx, c)
	begin = time.Now()
	if err := c.create(ctx, []client.Object{wideTouchpoint(width)}, nil); err != nil {
		return nil, err
	}
	if r.oneMore, _, err = m.settle(ctx, begin, nil); err != nil {
		return nil, err
	}
	b.sayRequests(ctx, c, requested)
	used, err := m.usage(ctx)
	if err != nil {
		return nil, err
	}
	r.writes = used.writes - r.installed.writes
	after, err := c.versions(ctx)
	if err != nil {
		return nil, err
	}
	for key, version := range after {
		r.largest = max(r.largest, version.bytes)
		if version.kind == "ExperienceSLO" {
			r.objects++
		}
		if earlier, there := before[key]; there && earlier.version == version.version {
			continue
		}
		switch _, there := before[key]; {
		case version.kind == "ExperienceSLO":
			r.rewritten++
		case version.kind == "Namespace":
			r.rewrittenShared++
		case version.kind == "Touchpoint" && there:
			r.statuses++
		}
	}
	b.say("wide: one more at rest after %.1f s and %.0f writes", r.oneMore.Seconds(), r.writes)
	return r, c.allReady(ctx)
}

// version tells whether an object was written, and of rule objects what they are made from.
type version struct {
	version, kind string
	bytes         int
}

func (c *cluster) versions(ctx context.Context) (map[string]version, error) {
	found := map[string]version{}
	var foundRules monitoringv1.PrometheusRuleList
	var foundTouchpoints v1alpha1.TouchpointList
	for _, list := range []client.ObjectList{&foundRules, &foundTouchpoints} {
		if err := c.api.List(ctx, list); err != nil {
			return nil, err
		}
	}
	for i := range foundRules.Items {
		rule := &foundRules.Items[i]
		text, err := json.Marshal(rule)
		if err != nil {
			return nil, err
		}
		found["rules "+rule.Name] = version{rule.ResourceVersion, rule.Labels[publish.LabelKind], len(text)}
	}
	for i := range foundTouchpoints.Items {
		found["touchpoint "+foundTouchpoints.Items[i].Name] = version{foundTouchpoints.Items[i].ResourceVersion, "Touchpoint", 0}
	}
	return found, nil
}
