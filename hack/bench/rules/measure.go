package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	promrules "github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

// result is what a case cost.
type result struct {
	Rules   int            `json:"rules"`
	Groups  int            `json:"groups"`
	Minutes float64        `json:"minutes"`
	Evals   int            `json:"evals"`
	Samples int64          `json:"samples"`
	CPU     time.Duration  `json:"cpu"`
	Peak    int64          `json:"peak"` // bytes
	Firing  map[string]int `json:"firing,omitempty"`
	ByRule  []ruleCost     `json:"byRule,omitempty"`
}

// ruleCost is what rules of one name in groups of one interval cost together.
type ruleCost struct {
	Name    string        `json:"name"`
	Rules   int           `json:"rules"`
	Evals   int           `json:"evals"`
	Samples int64         `json:"samples"`
	CPU     time.Duration `json:"cpu"` // while its queries ran; writing the results is not in it
}

// measure loads a storage and evaluates the rules over it.
func measure(ctx context.Context, j job) (result, error) {
	tell := func(format string, arguments ...any) { progress(j.Case+": "+format, arguments...) }
	text, err := os.ReadFile(j.File)
	if err != nil {
		return result{}, err
	}
	var file struct {
		Groups []monitoringv1.RuleGroup `json:"groups"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return result{}, fmt.Errorf("%s: %w", j.File, err)
	}
	if len(file.Groups) == 0 {
		return result{}, fmt.Errorf("%s holds no groups", j.File)
	}
	var sources []source
	if build, known := shapes[j.Shape]; known {
		sources = build(j.SLOs)
	} else {
		reads, err := readsOf(file.Groups)
		if err != nil {
			return result{}, err
		}
		records, err := recordsOf(file.Groups)
		if err != nil {
			return result{}, err
		}
		sources = madeUp(reads, records)
	}
	l, err := load(ctx, file.Groups, sources, tell)
	if err != nil {
		return result{}, err
	}
	defer l.close()

	p := newPrometheus(ctx, l, j.ByRule)
	if err := p.load(j.File); err != nil {
		return result{}, err
	}
	// Prometheus collects garbage earlier than Go would.
	debug.SetGCPercent(75)
	tell("evaluating %d rules in %d groups", p.result.Rules, p.result.Groups)
	if err := p.until(ctx, loadedTo.Add(2*time.Minute)); err != nil { // for the caches
		return result{}, err
	}
	p.forget()
	cycle := p.cycle()
	debug.FreeOSMemory()
	resetPeak()
	if j.Profile != "" {
		file, err := os.Create(j.Profile)
		if err != nil {
			return result{}, err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return result{}, err
		}
		defer pprof.StopCPUProfile()
	}
	for p.result.CPU < j.CPU && p.result.Minutes < float64(j.Minutes) || p.result.Minutes == 0 {
		if err := p.until(ctx, p.now.Add(cycle)); err != nil {
			return result{}, err
		}
		p.result.Minutes += cycle.Minutes()
	}
	p.result.Peak = peak()
	p.finish()
	tell("%.0f simulated minutes took %.1f s of CPU time", p.result.Minutes, p.result.CPU.Seconds())
	return p.result, nil
}

// prometheus is Prometheus's engine and rule groups in fast motion.
type prometheus struct {
	storage *loaded
	manager *promrules.Manager
	groups  []*schedule
	now     time.Time
	result  result
	byRule  map[string]*ruleCost
	present string // interval of the group under evaluation
}

type schedule struct {
	*promrules.Group
	next time.Time
}

func newPrometheus(ctx context.Context, l *loaded, byRule bool) *prometheus {
	p := &prometheus{storage: l, now: loadedTo}
	if byRule {
		p.byRule = map[string]*ruleCost{}
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: 2 * time.Minute, LookbackDelta: lookback,
		EnableAtModifier: true, EnableNegativeOffset: true, Parser: promQL,
		NoStepSubqueryIntervalFn: func(int64) int64 { return defaultInterval.Milliseconds() },
	})
	p.manager = promrules.NewManager(&promrules.ManagerOptions{
		NameValidationScheme: model.UTF8Validation,
		ExternalURL:          &url.URL{},
		QueryFunc:            p.query(engine),
		NotifyFunc:           func(context.Context, string, ...*promrules.Alert) {},
		Context:              ctx,
		Appendable:           l.db, Queryable: l.db,
		Logger: slog.New(slog.DiscardHandler),
		Parser: promQL,
	})
	return p
}

// query is Prometheus's query function for rules, and counts.
func (p *prometheus) query(engine *promql.Engine) promrules.QueryFunc {
	return func(ctx context.Context, text string, at time.Time) (promql.Vector, error) {
		var before time.Duration
		if p.byRule != nil {
			before = processCPU()
		}
		q, err := engine.NewInstantQuery(ctx, p.storage.db, nil, text, at)
		if err != nil {
			return nil, err
		}
		defer q.Close()
		answer := q.Exec(ctx)
		if answer.Err != nil {
			return nil, answer.Err
		}
		samples := q.Stats().Samples.TotalSamples
		p.result.Evals++
		p.result.Samples += samples
		if p.byRule != nil {
			cost := p.costOf(promrules.FromOriginContext(ctx))
			cost.Evals++
			cost.Samples += samples
			cost.CPU += processCPU() - before
		}
		switch value := answer.Value.(type) {
		case promql.Vector:
			return value, nil
		case promql.Scalar:
			return promql.Vector{{T: value.T, F: value.V}}, nil
		default:
			return nil, errors.New("rule result is not a vector or scalar")
		}
	}
}

func (p *prometheus) costOf(rule promrules.RuleDetail) *ruleCost {
	name := rule.Name
	for _, label := range []string{"severity", "tier"} {
		if value := rule.Labels.Get(label); value != "" {
			name += " " + value
		}
	}
	name += " @" + p.present
	cost, known := p.byRule[name]
	if !known {
		cost = &ruleCost{Name: name}
		p.byRule[name] = cost
	}
	return cost
}

func (p *prometheus) load(file string) error {
	groups, errs := p.manager.LoadGroups(defaultInterval, labels.EmptyLabels(), "", nil, false, file)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, group := range groups {
		group.RestoreForState(p.now) // until then a rule writes no ALERTS
		p.groups = append(p.groups, &schedule{group, group.EvalTimestamp(p.now.UnixNano()).Add(group.Interval())})
		p.result.Rules += len(group.Rules())
	}
	p.result.Groups = len(groups)
	return nil
}

// cycle is the time in which all groups are evaluated as often as their intervals say,
// as far as that goes within an hour.
func (p *prometheus) cycle() time.Duration {
	cycle, longest := time.Minute, time.Duration(0)
	for _, group := range p.groups {
		interval := group.Interval()
		longest = max(longest, interval)
		a, b := cycle, interval
		for b != 0 {
			a, b = b, a%b
		}
		cycle = min(cycle/a*interval, time.Hour)
	}
	return max(cycle, longest)
}

// until lets time pass. Only the evaluations are measured.
func (p *prometheus) until(ctx context.Context, end time.Time) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for p.now.Before(end) {
		minute := p.now.Add(time.Minute)
		if minute.After(end) {
			minute = end
		}
		// Counters are known a few minutes ahead; a rule sees only its own past.
		if p.storage.scraped.Before(minute) {
			if err := p.storage.scrape(ctx, minute.Add(4*time.Minute)); err != nil {
				return err
			}
		}
		var due []*schedule
		before := processCPU()
		for _, group := range p.groups {
			for group.next.Before(minute) {
				due = append(due, &schedule{group.Group, group.next})
				group.next = group.next.Add(group.Interval())
			}
		}
		slices.SortStableFunc(due, func(a, b *schedule) int { return cmp.Compare(a.next.UnixNano(), b.next.UnixNano()) })
		for _, group := range due {
			p.present = model.Duration(group.Interval()).String()
			group.Eval(ctx, group.next)
		}
		p.result.CPU += processCPU() - before
		p.now = minute
		for _, group := range due {
			for _, rule := range group.Rules() {
				if err := rule.LastError(); err != nil {
					return fmt.Errorf("group %s, rule %s: %w", group.Name(), rule.Name(), err)
				}
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// forget starts the counting anew.
func (p *prometheus) forget() {
	p.result = result{Rules: p.result.Rules, Groups: p.result.Groups}
	clear(p.byRule)
}

func (p *prometheus) finish() {
	p.result.Firing = map[string]int{}
	counts := map[string]int{}
	for _, group := range p.groups {
		p.present = model.Duration(group.Interval()).String()
		for _, rule := range group.Rules() {
			if p.byRule != nil {
				counts[p.costOf(promrules.NewRuleDetail(rule)).Name]++
			}
			if alert, is := rule.(*promrules.AlertingRule); is {
				alert.ForEachActiveAlert(func(a *promrules.Alert) {
					if a.State == promrules.StateFiring {
						p.result.Firing[alert.Name()]++
					}
				})
			}
		}
	}
	for name, cost := range p.byRule {
		cost.Rules = counts[name]
		p.result.ByRule = append(p.result.ByRule, *cost)
	}
	slices.SortFunc(p.result.ByRule, func(a, b ruleCost) int {
		return cmp.Or(cmp.Compare(b.CPU, a.CPU), cmp.Compare(a.Name, b.Name))
	})
}

// resetPeak has Linux forget the process's highest memory so far, that of loading.
func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peak is the highest resident memory of the process since resetPeak; where the system
// does not tell, what Go has taken from it.
func peak() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for line := range strings.Lines(string(status)) {
			if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
				if kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64); err == nil {
					return kilobytes * 1024
				}
			}
		}
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return int64(memory.Sys)
}
