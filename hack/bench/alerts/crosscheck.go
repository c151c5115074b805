package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	promengine "github.com/prometheus/prometheus/promql"
	promrules "github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"
)

// trial is a touchpoint whose answers both the rules and the simulation see.
type trial struct {
	name    string
	answers []answer
	tiles   tiles
}

// trials make touchpoints at each rate, one healthy and others that degrade at a random
// moment of two days.
func trials(rates, degraded []float64, healthyFor, length time.Duration, seed uint64) []trial {
	var made []trial
	for _, rate := range rates {
		for _, share := range append([]float64{healthy}, degraded...) {
			name := fmt.Sprintf("at-%v-%v", rate, 100*share)
			random := seeded(seed, "trial "+name, 0)
			change := healthyFor + time.Duration(random.Float64()*float64(2*day))
			came := answers(random, rate, spell(healthy, share, change, length), length)
			made = append(made, trial{name, came, tiled(came, length)})
		}
	}
	return made
}

// agreement compares, for each alert, touchpoint and evaluation, whether the rules and
// the simulation say that it fires.
type agreement struct {
	evaluations, firing, differing int
	// first is the first difference.
	first string
}

func (a *agreement) add(other agreement) {
	a.evaluations += other.evaluations
	a.firing += other.firing
	a.differing += other.differing
	if a.first == "" {
		a.first = other.first
	}
}

// compare has Prometheus evaluate rules over the answers of trials and compares with a
// rule set.
func compare(ctx context.Context, groups []monitoringv1.RuleGroup, when timetable, rules ruleset, trials []trial, length time.Duration, seed uint64, progress func()) (agreement, error) {
	w, err := newWorld(groups, when, trials, seed)
	if err != nil {
		return agreement{}, err
	}
	defer w.close()
	expected := map[string][]bool{}
	for _, t := range trials {
		for _, a := range rules.alerts {
			fires := make([]bool, t.tiles.last()+1)
			for _, f := range a.firings(t.tiles) {
				for k := f.from; k < f.until && k < len(fires); k++ {
					fires[k] = true
				}
			}
			expected[t.name+" "+a.name] = fires
		}
	}
	var result agreement
	for minute := 0; minute <= int(length/time.Minute); minute++ {
		now := time.Duration(minute) * time.Minute
		if err := ctx.Err(); err != nil {
			return result, err
		}
		if now%day == 0 {
			progress()
		}
		if err := w.tick(now); err != nil {
			return result, err
		}
		k := minute / minutesPerStep
		if minute != when.now(k) {
			continue
		}
		fires := w.firing()
		for name, at := range expected {
			result.evaluations++
			want := at[k]
			if fires[name] {
				result.firing++
			}
			if fires[name] != want {
				result.differing++
				if result.first == "" {
					result.first = fmt.Sprintf("%s at %s: rules %v, simulation %v", name, now, fires[name], want)
				}
			}
		}
	}
	return result, nil
}

// world is a Prometheus in fast motion: its storage, query engine and rule groups, over
// counters that are scraped every minute.
type world struct {
	dir    string
	db     *tsdb.DB
	groups []scheduled
	scores []*scoreCounters
}

// scheduled is a group with its interval and the time within it, in minutes.
type scheduled struct {
	*promrules.Group
	every, offset int
}

// newWorld loads rule groups. What never changes is evaluated as seldom as Prometheus's
// lookback allows.
func newWorld(groups []monitoringv1.RuleGroup, when timetable, trials []trial, seed uint64) (*world, error) {
	dir, err := os.MkdirTemp("", "sojourn-bench-alerts-")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir}
	options := tsdb.DefaultOptions()
	options.MinBlockDuration, options.MaxBlockDuration = year.Milliseconds(), year.Milliseconds()
	options.RetentionDuration, options.WALSegmentSize, options.IsolationDisabled = 0, -1, true
	if w.db, err = tsdb.Open(filepath.Join(dir, "data"), nil, nil, options, nil); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	w.db.DisableCompactions()
	engine := promengine.NewEngine(promengine.EngineOpts{MaxSamples: 50e6, Timeout: time.Minute, Parser: promql,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() }})
	manager := promrules.NewManager(&promrules.ManagerOptions{
		NameValidationScheme: model.UTF8Validation,
		ExternalURL:          &url.URL{},
		QueryFunc:            promrules.EngineQueryFunc(engine, w.db),
		NotifyFunc:           func(context.Context, string, ...*promrules.Alert) {},
		Context:              context.Background(),
		Appendable:           w.db, Queryable: w.db,
		Logger: slog.New(slog.DiscardHandler),
		Parser: promql,
	})
	file := filepath.Join(dir, "rules.yaml")
	text, err := yaml.Marshal(map[string]any{"groups": groups})
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	loaded, errs := manager.LoadGroups(step, labels.EmptyLabels(), "", nil, false, file)
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, w.close())...)
	}
	byName := map[string]*promrules.Group{}
	for _, group := range loaded {
		group.RestoreForState(epoch) // until then a rule writes no ALERTS
		byName[group.Name()] = group
	}
	const rare = 4
	for _, group := range groups {
		g := scheduled{Group: byName[group.Name]}
		g.every = int(g.Interval() / time.Minute)
		switch kind, _, _ := strings.Cut(group.Name, "."); {
		case kind == "sojourn-steady":
			g.offset = when.steady
		case kind == "sojourn-quarters":
			g.offset = when.quarters
		case kind == "sojourn-long":
			g.offset = when.long
		case g.every == 2:
			g.every = rare
		}
		w.groups = append(w.groups, g)
	}
	// Touchpoints' labels come last in the files and first in what depends on what.
	first := func(g scheduled) int {
		if strings.HasPrefix(g.Name(), "sojourn-touchpoints") {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(w.groups, func(a, b scheduled) int { return first(a) - first(b) })
	for _, t := range trials {
		w.scores = append(w.scores, newScoreCounters(t, seeded(seed, "scores "+t.name, 0)))
	}
	return w, nil
}

func (w *world) close() error { return errors.Join(w.db.Close(), os.RemoveAll(w.dir)) }

// tick scrapes, and evaluates what is due.
func (w *world) tick(since time.Duration) error {
	now := epoch.Add(since)
	app := w.db.Appender(context.Background())
	for _, counters := range w.scores {
		if err := counters.scrape(app, since); err != nil {
			return errors.Join(err, app.Rollback())
		}
	}
	if err := app.Commit(); err != nil {
		return err
	}
	for _, group := range w.groups {
		if minute := int(since / time.Minute); minute < group.offset || (minute-group.offset)%group.every != 0 {
			continue
		}
		group.Eval(context.Background(), now)
		for _, rule := range group.Rules() {
			if err := rule.LastError(); err != nil {
				return fmt.Errorf("%s at %s: %w", rule.Name(), since, err)
			}
		}
	}
	return nil
}

// firing are the alerts that fire now, by touchpoint and the alert's name in its rule set.
func (w *world) firing() map[string]bool {
	fires := map[string]bool{}
	for _, group := range w.groups {
		for _, rule := range group.AlertingRules() {
			rule.ForEachActiveAlert(func(a *promrules.Alert) {
				if a.State != promrules.StateFiring {
					return
				}
				name := a.Labels.Get("rule")
				if name == "" {
					name = a.Labels.Get("severity") + " " + a.Labels.Get("tier")
				}
				fires[a.Labels.Get("touchpoint")+" "+name] = true
			})
		}
	}
	return fires
}

// scoreCounters are the gateway's totals of a touchpoint, by score from 1 to 5: 4 and 5
// are good.
type scoreCounters struct {
	trial
	random *rand.Rand
	totals [5]float64
	series [5]labels.Labels
	refs   [5]storage.SeriesRef
	next   int
}

func newScoreCounters(t trial, random *rand.Rand) *scoreCounters {
	c := &scoreCounters{trial: t, random: random}
	for i := range c.series {
		c.series[i] = labels.FromStrings(model.MetricNameLabel, "sojourn_survey_responses_total",
			"namespace", namespace, "touchpoint", t.name, "instrument", "csat", "score", strconv.Itoa(i+1))
	}
	return c
}

func (c *scoreCounters) scrape(app storage.Appender, now time.Duration) error {
	for c.next < len(c.answers) && c.answers[c.next].at <= now {
		if c.answers[c.next].bad {
			c.totals[c.random.IntN(3)]++
		} else {
			c.totals[3+c.random.IntN(2)]++
		}
		c.next++
	}
	for i := range c.totals {
		var err error
		if c.refs[i], err = app.Append(c.refs[i], c.series[i], timestamp.FromTime(epoch.Add(now)), c.totals[i]); err != nil {
			return err
		}
	}
	return nil
}

// timetables are those by which rules are compared.
var timetables = []timetable{slowest, {steady: 3, quarters: 10, long: 21}}

// crosscheck runs the real rules beside the simulation: ours over two weeks at every rate
// and degradation and by two timetables, those of the peers over one at a few, since rate() over days of raw
// counters is slow.
func crosscheck(ctx context.Context, seed uint64, tell func(string, ...any)) (mine, others agreement, err error) {
	const length, peerLength = 2 * week, week
	halves := make([][]trial, max(len(timetables), runtime.GOMAXPROCS(0)))
	for i, t := range trials(rates, degradations, week, length, seed) {
		halves[i%len(halves)] = append(halves[i%len(halves)], t)
	}
	results := make([]agreement, len(halves))
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	for i, some := range halves {
		when := timetables[i%len(timetables)]
		workers.Go(func() error {
			var names []string
			for _, t := range some {
				names = append(names, t.name)
			}
			groups, err := generatedRules(names)
			if err != nil {
				return err
			}
			rules, err := generatedSet(groups, when)
			if err != nil {
				return err
			}
			days := 0
			results[i], err = compare(ctx, groups, when, rules, some, length, seed, func() {
				if days++; i == 0 && days%7 == 1 {
					tell("generated rules: day %d of %d", days-1, int(length/day))
				}
			})
			return err
		})
	}
	peers := []struct {
		name   string
		alerts []peer
		result agreement
	}{{name: "sloth", alerts: sloth}, {name: "pyrra", alerts: pyrra}}
	for i := range peers {
		p := &peers[i]
		workers.Go(func() error {
			some := trials([]float64{10, 100}, []float64{0.3}, 3*day, peerLength, seed)
			var err error
			p.result, err = compare(ctx, []monitoringv1.RuleGroup{peerRules(p.name, p.alerts)}, slowest, theirs(p.name, p.alerts, allowed), some, peerLength, seed,
				func() {})
			tell("rules of %s: done", p.name)
			return err
		})
	}
	err = workers.Wait()
	for _, r := range results {
		mine.add(r)
	}
	for _, p := range peers {
		others.add(p.result)
	}
	return mine, others, err
}
