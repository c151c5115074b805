package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/publish"
)

// edits are times from an edit being sent to its rule being seen by a watch.
type edits struct {
	// promises are those of an ExperienceSLO's target, names those of a Touchpoint's
	// displayName, which is in a rule that its namespace shares.
	promises, names []time.Duration
	// load is how many other edits a second there were.
	load float64
}

func (e edits) String() string {
	return fmt.Sprintf("promises p50 %s p99 %s, names p50 %s p99 %s, beside %.0f others a second",
		short(quantile(e.promises, 0.5)), short(quantile(e.promises, 0.99)),
		short(quantile(e.names, 0.5)), short(quantile(e.names, 0.99)), e.load)
}

func short(d time.Duration) string { return d.Round(time.Millisecond).String() }

func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// measuredTeams are those that nobody else edits: every seventh, so that they are in all
// namespaces.
const measuredTeams = 7

// followEdits edits and waits for the rule, one after the other, half of them each. What is
// promised differs from one round of edits to the next.
func (b *bench) followEdits(ctx context.Context, c *cluster, p platform, round int) (e edits, err error) {
	var now monitoringv1.PrometheusRuleList
	if err := c.api.List(ctx, &now, client.Limit(1)); err != nil {
		return e, err
	}
	watching, err := c.api.Watch(ctx, &now, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: now.ResourceVersion}})
	if err != nil {
		return e, err
	}
	defer watching.Stop()
	seen := watching.ResultChan()
	for i := range b.edits {
		// The namespace of a name has had time to rest from the promise.
		team := (i/2 + i%2*5) * measuredTeams % (p.teams - p.teams%measuredTeams)
		if i%2 == 0 {
			target := fmt.Sprintf("99.%02d%%", (i+37*round)%90+5)
			slo := &v1alpha1.ExperienceSLO{}
			if err := c.api.Get(ctx, types.NamespacedName{Namespace: p.namespace(team), Name: teamName(team)}, slo); err != nil {
				return e, err
			}
			generation, err := c.ruleGeneration(ctx, p.namespace(team), "sojourn-slo-"+teamName(team))
			if err != nil {
				return e, err
			}
			slo.Spec.Objectives[0].Availability.Target = v1alpha1.Percentage(target)
			begin := time.Now()
			if err := c.api.Update(ctx, slo); err != nil {
				return e, err
			}
			if err := await(ctx, seen, func(rule *monitoringv1.PrometheusRule) bool {
				return rule.Namespace == p.namespace(team) && rule.Name == "sojourn-slo-"+teamName(team) && rule.Generation > generation
			}); err != nil {
				return e, fmt.Errorf("the rule of %s to promise %s: %w", slo.Name, target, err)
			}
			e.promises = append(e.promises, time.Since(begin))
		} else {
			name := fmt.Sprintf("%s edited at %d", touchpointName(team, 3), time.Now().UnixNano())
			begin := time.Now()
			if err := c.rename(ctx, p, team, 3, name); err != nil {
				return e, err
			}
			if err := await(ctx, seen, func(rule *monitoringv1.PrometheusRule) bool {
				return rule.Namespace == p.namespace(team) && rule.Labels[publish.LabelKind] == "Namespace" && displays(rule, name)
			}); err != nil {
				return e, fmt.Errorf("the rule that names %q: %w", name, err)
			}
			e.names = append(e.names, time.Since(begin))
		}
		if err := sleep(ctx, 150*time.Millisecond); err != nil {
			return e, err
		}
	}
	return e, nil
}

func (c *cluster) ruleGeneration(ctx context.Context, namespace, name string) (int64, error) {
	rule := &monitoringv1.PrometheusRule{}
	err := c.api.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, rule)
	return rule.Generation, err
}

func displays(rule *monitoringv1.PrometheusRule, name string) bool {
	return slices.ContainsFunc(rule.Spec.Groups, func(group monitoringv1.RuleGroup) bool {
		return slices.ContainsFunc(group.Rules, func(rule monitoringv1.Rule) bool { return rule.Labels["display"] == name })
	})
}

func await(ctx context.Context, seen <-chan watch.Event, holds func(*monitoringv1.PrometheusRule) bool) error {
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return errors.New("not there after a minute")
		case event, open := <-seen:
			if !open {
				return errors.New("the watch ended")
			}
			if rule, is := event.Object.(*monitoringv1.PrometheusRule); is && holds(rule) {
				return nil
			}
		}
	}
}

func (c *cluster) rename(ctx context.Context, p platform, team, i int, name string) error {
	touchpoint := &v1alpha1.Touchpoint{}
	touchpoint.Namespace, touchpoint.Name = p.namespace(team), touchpointName(team, i)
	patch := fmt.Appendf(nil, `{"spec":{"displayName":%q}}`, name)
	return c.api.Patch(ctx, touchpoint, client.RawPatch(types.MergePatchType, patch))
}

// loadEvery is the time from one edit of the load to the next.
const loadEvery = 50 * time.Millisecond

// startLoad edits touchpoints of teams that are not measured, and their promises. The
// function it returns ends that, and tells how many edits a second there were.
func (c *cluster) startLoad(ctx context.Context, p platform) func() float64 {
	ctx, cancel := context.WithCancel(ctx)
	var edited atomic.Int64
	begin, ended := time.Now(), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 1; sleep(ctx, loadEvery) == nil; i++ {
			team := (i*measuredTeams + 1 + i%(measuredTeams-1)) % (p.teams - p.teams%measuredTeams)
			if c.rename(ctx, p, team, i%perTeam, fmt.Sprintf("load %d", i)) != nil {
				return
			}
			edited.Add(1)
		}
	}()
	return func() float64 {
		cancel()
		<-ended
		return float64(edited.Load()) / time.Since(begin).Seconds()
	}
}
