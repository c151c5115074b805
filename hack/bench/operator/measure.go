package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/bench/proc"
)

// reached is how one way from nothing to rest went.
type reached struct {
	took, bare time.Duration
	// all is the CPU time of manager, API server and etcd, and bareAll that of the bare
	// client and the same two.
	all, bareAll time.Duration
	writes       float64
	// fewest is how many writes the bare client made to the same end.
	fewest         int
	cpu            time.Duration
	resident, peak int
}

// share is the manager's rate as a part of the bare client's.
func (r reached) share() float64 { return r.bare.Seconds() / r.took.Seconds() }

// cpuShare is the same where nothing but CPU time counts.
func (r reached) cpuShare() float64 { return r.bareAll.Seconds() / r.all.Seconds() }

// platformRow is what one platform came to in one way.
type platformRow struct {
	platform
	way string
	reached
	// settled is what is measured where all is at rest.
	settled *settledRow
}

// settledRow is what one platform at rest came to.
type settledRow struct {
	restart           time.Duration
	writes            float64
	cpu               time.Duration
	resident, peak    int
	atRest, underLoad edits
}

// measureThere starts a manager where all objects are there, starts it again, and edits.
func (b *bench) measureThere(ctx context.Context, p platform) (r platformRow, err error) {
	r = platformRow{platform: p, way: "are there", settled: &settledRow{}}
	c, err := b.startCluster(ctx, p.namespaceNames()...)
	if err != nil {
		return r, err
	}
	defer c.Stop()
	begin := time.Now()
	if err := c.create(ctx, p.objects(), nil); err != nil {
		return r, err
	}
	b.say("%s: created in %.1f s; starting the manager", p, time.Since(begin).Seconds())
	if err := sleep(ctx, 3*time.Second); err != nil {
		return r, err
	}
	before := b.requests(ctx, c)
	already, err := c.cpu()
	if err != nil {
		return r, err
	}
	m, err := b.startManager(c)
	if err != nil {
		return r, err
	}
	defer func() { m.stop() }()
	if r.reached, err = b.awaitRest(ctx, c, m, m.started, already); err != nil {
		return r, err
	}
	b.sayRequests(ctx, c, before)
	b.say("%s: at rest after %.1f s and %.0f writes", p, r.took.Seconds(), r.writes)
	writes, err := c.record(ctx)
	if err != nil {
		return r, err
	}
	if err := b.measureSettled(ctx, c, p, &m, r.settled); err != nil {
		return r, err
	}
	if err := m.stop(); err != nil {
		return r, err
	}
	c.Stop()
	r.fewest = len(writes)
	r.bare, r.bareAll, err = b.bareThere(ctx, p, writes)
	b.say("%s: the bare client needs %.1f s", p, r.bare.Seconds())
	return r, err
}

// measureSettled starts the manager again and edits.
func (b *bench) measureSettled(ctx context.Context, c *cluster, p platform, m **manager, s *settledRow) error {
	err := (*m).stop()
	if err != nil {
		return err
	}
	if *m, err = b.startManager(c); err != nil {
		return err
	}
	if _, s.restart, err = (*m).settle(ctx, (*m).started, nil); err != nil {
		return err
	}
	used, err := (*m).usage(ctx)
	if err != nil {
		return err
	}
	s.writes, s.cpu, s.resident, s.peak = used.writes, used.cpu, used.resident, used.peak
	b.say("%s: started again, at rest after %.1f s and %.0f writes", p, s.restart.Seconds(), s.writes)
	if s.atRest, err = b.followEdits(ctx, c, p, 0); err != nil {
		return err
	}
	b.say("%s: edits at rest: %s", p, s.atRest)
	stopLoad := c.startLoad(ctx, p)
	s.underLoad, err = b.followEdits(ctx, c, p, 1)
	s.underLoad.load = stopLoad()
	b.say("%s: edits under load: %s", p, s.underLoad)
	return err
}

// measureArriving creates the objects while a manager runs.
func (b *bench) measureArriving(ctx context.Context, p platform) (r platformRow, err error) {
	r = platformRow{platform: p, way: "arrive"}
	c, err := b.startCluster(ctx, p.namespaceNames()...)
	if err != nil {
		return r, err
	}
	defer c.Stop()
	m, err := b.startManager(c)
	if err != nil {
		return r, err
	}
	defer func() { m.stop() }()
	if err := sleep(ctx, 5*time.Second); err != nil {
		return r, err
	}
	before := b.requests(ctx, c)
	already, err := c.cpu(m.command.Process.Pid, os.Getpid())
	if err != nil {
		return r, err
	}
	begin := time.Now()
	if err := c.create(ctx, p.objects(), nil); err != nil {
		return r, err
	}
	b.say("%s: created in %.1f s beside the manager", p, time.Since(begin).Seconds())
	if r.reached, err = b.awaitRest(ctx, c, m, begin, already, os.Getpid()); err != nil {
		return r, err
	}
	b.sayRequests(ctx, c, before)
	b.say("%s: at rest after %.1f s and %.0f writes", p, r.took.Seconds(), r.writes)
	writes, err := c.record(ctx)
	if err != nil {
		return r, err
	}
	if err := m.stop(); err != nil {
		return r, err
	}
	c.Stop()
	r.fewest = len(writes)
	r.bare, r.bareAll, err = b.bareArriving(ctx, p, writes)
	b.say("%s: the bare client needs %.1f s", p, r.bare.Seconds())
	return r, err
}

// awaitRest waits until the manager has nothing left to do, and makes sure that
// everything is Ready then. already is the CPU time that was used before.
func (b *bench) awaitRest(ctx context.Context, c *cluster, m *manager, begin time.Time, already time.Duration, pids ...int) (r reached, err error) {
	var all, own time.Duration
	var failed error
	r.took, _, err = m.settle(ctx, begin, func() {
		var failedAll, failedOwn error
		all, failedAll = c.cpu(append(pids, m.command.Process.Pid)...)
		own, failedOwn = proc.CPU(m.command.Process.Pid)
		failed = errors.Join(failed, failedAll, failedOwn)
	})
	if err = errors.Join(err, failed); err != nil {
		return r, err
	}
	used, err := m.usage(ctx)
	if err != nil {
		return r, err
	}
	if used.refused > 0 {
		b.say("%.0f writes were refused", used.refused)
	}
	r.all, r.writes, r.cpu, r.resident, r.peak = all-already, used.writes, own, used.resident, used.peak
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
