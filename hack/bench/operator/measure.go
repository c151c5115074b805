package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// reached is how one way from nothing to rest went.
type reached struct {
	took, bare time.Duration
	writes     float64
	// fewest is how many writes the bare client made to the same end.
	fewest         int
	cpu            time.Duration
	resident, peak int
}

// share is the manager's rate as a part of the bare client's.
func (r reached) share() float64 { return r.bare.Seconds() / r.took.Seconds() }

// platformRow is what one platform came to.
type platformRow struct {
	platform
	// installed: the objects were there when the manager started; arriving: it ran when
	// they were created.
	installed, arriving reached
	atRest, underLoad   edits
	restart             time.Duration
	restartWrites       float64
	restartCPU          time.Duration
	restartResident     int
	restartPeak         int
}

func (b *bench) measurePlatform(ctx context.Context, p platform) (platformRow, error) {
	r := platformRow{platform: p}
	writes, err := b.measureInstalled(ctx, &r)
	if err != nil {
		return r, err
	}
	if err := b.measureArriving(ctx, &r); err != nil {
		return r, err
	}
	if r.installed.bare, err = b.bareInstalled(ctx, p, writes); err != nil {
		return r, err
	}
	b.say("%s: the bare client needs %.1f s where they are there", p, r.installed.bare.Seconds())
	if r.arriving.bare, err = b.bareArriving(ctx, p, writes); err != nil {
		return r, err
	}
	b.say("%s: the bare client needs %.1f s where they arrive", p, r.arriving.bare.Seconds())
	r.installed.fewest, r.arriving.fewest = len(writes), len(writes)
	return r, nil
}

// measureInstalled starts a manager where all objects are there, starts it again, and
// edits. It returns what the manager had written when it first came to rest.
func (b *bench) measureInstalled(ctx context.Context, r *platformRow) ([]write, error) {
	c, err := b.startCluster(ctx, r.namespaceNames()...)
	if err != nil {
		return nil, err
	}
	defer c.Stop()
	begin := time.Now()
	if err := c.create(ctx, r.objects(), nil); err != nil {
		return nil, err
	}
	b.say("%s: created in %.1f s; starting the manager", r.platform, time.Since(begin).Seconds())
	before := b.requests(ctx, c)
	m, err := b.startManager(c)
	if err != nil {
		return nil, err
	}
	defer func() { m.stop() }()
	if r.installed, err = b.awaitRest(ctx, c, m, m.started); err != nil {
		return nil, err
	}
	b.sayRequests(ctx, c, before)
	b.say("%s: at rest after %.1f s and %.0f writes", r.platform, r.installed.took.Seconds(), r.installed.writes)
	writes, err := c.record(ctx)
	if err != nil {
		return nil, err
	}

	if err := m.stop(); err != nil {
		return nil, err
	}
	if m, err = b.startManager(c); err != nil {
		return nil, err
	}
	_, r.restart, err = m.settle(ctx, m.started)
	if err != nil {
		return nil, err
	}
	used, err := m.usage(ctx)
	if err != nil {
		return nil, err
	}
	r.restartWrites, r.restartCPU, r.restartResident, r.restartPeak = used.writes, used.cpu, used.resident, used.peak
	b.say("%s: started again, at rest after %.1f s and %.0f writes", r.platform, r.restart.Seconds(), r.restartWrites)

	if r.atRest, err = b.followEdits(ctx, c, r.platform); err != nil {
		return nil, err
	}
	b.say("%s: edits at rest: %s", r.platform, r.atRest)
	stopLoad := c.startLoad(ctx, r.platform)
	r.underLoad, err = b.followEdits(ctx, c, r.platform)
	r.underLoad.load = stopLoad()
	b.say("%s: edits under load: %s", r.platform, r.underLoad)
	return writes, err
}

// measureArriving creates the objects while a manager runs.
func (b *bench) measureArriving(ctx context.Context, r *platformRow) error {
	c, err := b.startCluster(ctx, r.namespaceNames()...)
	if err != nil {
		return err
	}
	defer c.Stop()
	m, err := b.startManager(c)
	if err != nil {
		return err
	}
	defer func() { m.stop() }()
	if err := sleep(ctx, 5*time.Second); err != nil {
		return err
	}
	before := b.requests(ctx, c)
	begin := time.Now()
	if err := c.create(ctx, r.objects(), nil); err != nil {
		return err
	}
	b.say("%s: created in %.1f s beside the manager", r.platform, time.Since(begin).Seconds())
	if r.arriving, err = b.awaitRest(ctx, c, m, begin); err != nil {
		return err
	}
	b.sayRequests(ctx, c, before)
	b.say("%s: at rest after %.1f s and %.0f writes", r.platform, r.arriving.took.Seconds(), r.arriving.writes)
	return nil
}

// awaitRest waits until the manager has nothing left to do, and makes sure that
// everything is Ready then.
func (b *bench) awaitRest(ctx context.Context, c *cluster, m *manager, begin time.Time) (r reached, err error) {
	if r.took, _, err = m.settle(ctx, begin); err != nil {
		return r, err
	}
	used, err := m.usage(ctx)
	if err != nil {
		return r, err
	}
	if used.refused > 0 {
		b.say("%.0f writes were refused", used.refused)
	}
	r.writes, r.cpu, r.resident, r.peak = used.writes, used.cpu, used.resident, used.peak
	return r, c.allReady(ctx)
}

func (c *cluster) allReady(ctx context.Context) error {
	unready := func(object client.Object) error {
		return fmt.Errorf("at rest, %T %s/%s is not what it should be", object, object.GetNamespace(), object.GetName())
	}
	var foundTouchpoints v1alpha1.TouchpointList
	var foundSLOs v1alpha1.ExperienceSLOList
	var foundJourneys v1alpha1.JourneyList
	for _, list := range []client.ObjectList{&foundTouchpoints, &foundSLOs, &foundJourneys} {
		if err := c.api.List(ctx, list); err != nil {
			return err
		}
	}
	for i := range foundTouchpoints.Items {
		object := &foundTouchpoints.Items[i]
		if !meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.ConditionReady) || len(object.Status.Journeys) == 0 && len(foundJourneys.Items) > 0 {
			return unready(object)
		}
	}
	for i := range foundSLOs.Items {
		object := &foundSLOs.Items[i]
		if !meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.ConditionReady) || object.Status.Touchpoints < perTeam {
			return unready(object)
		}
	}
	for i := range foundJourneys.Items {
		object := &foundJourneys.Items[i]
		if !meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.ConditionReady) || object.Status.Promised != perTeam {
			return unready(object)
		}
	}
	return nil
}
