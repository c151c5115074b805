package replay

import (
	"fmt"
	"maps"
	"slices"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

const (
	// defaultInterval is Prometheus's own, for groups that name none.
	defaultInterval = time.Minute
	// lookBack is how old the sample may be that stands for a moment.
	lookBack = 5 * time.Minute
	// alertSeries is what alerting rules record.
	alertSeries = "ALERTS"
)

// Span is a time, both ends included. The zero Span is none.
type Span struct{ From, Until time.Time }

func (s Span) isZero() bool { return s.Until.IsZero() }

// With is the shortest span that holds both.
func (s Span) With(other Span) Span {
	if s.isZero() || other.isZero() {
		if s.isZero() {
			return other
		}
		return s
	}
	if other.From.Before(s.From) {
		s.From = other.From
	}
	if other.Until.After(s.Until) {
		s.Until = other.Until
	}
	return s
}

// Program is rules that are ready to be evaluated, each with the time for which its results
// are wanted.
type Program struct {
	rules    []*rule
	readings []Reading
}

// Reading is a selector of series that no rule records, and the time of which it is read.
type Reading struct {
	Matchers []*labels.Matcher
	Span
}

// Span is the time from the first sample that is read to the last evaluation.
func (p *Program) Span() Span {
	var all Span
	for _, r := range p.rules {
		all = all.With(r.wanted)
	}
	for _, reading := range p.readings {
		all = all.With(reading.Span)
	}
	return all
}

// Readings are what has to be there before the program can run, in the order in which the
// rules name it.
func (p *Program) Readings() []Reading { return p.readings }

// Compile reads rules, which may stand in any order. want says for which time the results
// of a rule are wanted; none, the zero Span, leaves out the rule unless another needs it.
// What a wanted rule reads is wanted for as long before as it looks back, but never from
// before earliest.
func Compile(groups []monitoringv1.RuleGroup, earliest time.Time, want func(*monitoringv1.Rule) Span) (*Program, error) {
	all, err := readRules(groups)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		r.wanted = want(&r.source)
	}
	recorders := index(all)
	recorders.spread(all, earliest)
	p := &Program{}
	for _, r := range all {
		if r.isWanted() {
			p.rules = append(p.rules, r)
		}
	}
	p.findReadings(recorders, earliest)
	return p, nil
}

// byRecord finds rules by what they record: there may be thousands.
type byRecord map[string][]*rule

func index(all []*rule) byRecord {
	found := byRecord{}
	for _, r := range all {
		found[r.record] = append(found[r.record], r)
	}
	return found
}

// readBy lists the rules whose results a selector selects.
func (b byRecord) readBy(selector *read) []*rule {
	candidates := b
	if name := selector.metric(); name != "" {
		candidates = byRecord{name: b[name]}
	}
	var found []*rule
	for _, rules := range candidates {
		for _, r := range rules {
			if selector.matches(r) {
				found = append(found, r)
			}
		}
	}
	return found
}

// spread has each rule evaluated for as long as the others read it.
func (b byRecord) spread(all []*rule, earliest time.Time) {
	for changed := true; changed; {
		changed = false
		for _, r := range all {
			if !r.isWanted() {
				continue
			}
			for i := range r.reads {
				for _, other := range b.readBy(&r.reads[i]) {
					if other == r {
						continue
					}
					needed := r.reads[i].span(r.wanted, earliest)
					// The last result before the time is the one that is seen in it.
					needed.From = laterOf(needed.From.Add(-other.interval), earliest)
					if wider := other.wanted.With(needed); wider != other.wanted {
						other.wanted, changed = wider, true
					}
				}
			}
		}
	}
}

func (p *Program) findReadings(all byRecord, earliest time.Time) {
	known := map[string]int{}
	for _, r := range p.rules {
		for i := range r.reads {
			read := &r.reads[i]
			if len(all.readBy(read)) > 0 {
				continue
			}
			span := read.span(r.wanted, earliest)
			text := fmt.Sprint(read.matchers)
			if at, again := known[text]; again {
				p.readings[at].Span = p.readings[at].With(span)
				continue
			}
			known[text] = len(p.readings)
			p.readings = append(p.readings, Reading{read.matchers, span})
		}
	}
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// rule is a recording or alerting rule, ready to be evaluated.
type rule struct {
	source monitoringv1.Rule
	group  string
	// record is the series that is recorded, which for an alert is ALERTS.
	record, expr     string
	labels           map[string]string
	interval, offset time.Duration
	// hold and keep are how long an alert waits, and goes on.
	hold, keep time.Duration
	reads      []read
	wanted     Span
}

func (r *rule) isWanted() bool { return !r.wanted.isZero() }

func (r *rule) isAlert() bool { return r.source.Alert != "" }

func (r *rule) failed(err error) error {
	if r.isAlert() {
		return fmt.Errorf("group %s, alert %s: %w", r.group, r.source.Alert, err)
	}
	return fmt.Errorf("group %s, record %s: %w", r.group, r.record, err)
}

// name is what progress calls the rule.
func (r *rule) name() string {
	if r.isAlert() {
		return r.source.Alert
	}
	return r.record
}

// needs tells whether the rule reads what another, or it itself, records.
func (r *rule) needs(other *rule) bool {
	return slices.ContainsFunc(r.reads, func(each read) bool { return each.matches(other) })
}

func (r *rule) readsItself() bool { return r.needs(r) }

// memory is how far the rule looks back at what it recorded itself.
func (r *rule) memory() time.Duration {
	longest := time.Duration(0)
	for i := range r.reads {
		if r.reads[i].matches(r) {
			longest = max(longest, r.reads[i].back)
		}
	}
	return longest
}

// read is a selector in an expression.
type read struct {
	matchers []*labels.Matcher
	// back is how far from the time of evaluation the oldest sample may lie.
	back time.Duration
	// fixed: it reads a time of its own (@).
	fixed bool
}

// metric is the name that is selected; empty if that may be several.
func (r *read) metric() string {
	for _, matcher := range r.matchers {
		if matcher.Name == model.MetricNameLabel && matcher.Type == labels.MatchEqual {
			return matcher.Value
		}
	}
	return ""
}

// matches tells whether the selector may select what a rule records.
func (r *read) matches(other *rule) bool {
	for _, matcher := range r.matchers {
		value, known := other.labels[matcher.Name]
		if matcher.Name == model.MetricNameLabel {
			value, known = other.record, true
		}
		if known && !matcher.Matches(value) {
			return false
		}
	}
	return true
}

// span is what is read by evaluations within a time.
func (r *read) span(evaluated Span, earliest time.Time) Span {
	if r.fixed {
		return Span{earliest, evaluated.Until}
	}
	return Span{laterOf(evaluated.From.Add(-r.back), earliest), evaluated.Until}
}

func readRules(groups []monitoringv1.RuleGroup) ([]*rule, error) {
	var rules []*rule
	for _, group := range groups {
		interval, err := duration(group.Interval, defaultInterval)
		if err != nil {
			return nil, fmt.Errorf("group %s: interval: %w", group.Name, err)
		}
		offset, err := duration(group.QueryOffset, 0)
		if err != nil {
			return nil, fmt.Errorf("group %s: query_offset: %w", group.Name, err)
		}
		for _, source := range group.Rules {
			r := &rule{
				source: source, group: group.Name, record: source.Record, expr: source.Expr.String(),
				labels: map[string]string{}, interval: interval, offset: offset,
			}
			maps.Copy(r.labels, group.Labels)
			maps.Copy(r.labels, source.Labels)
			if r.isAlert() {
				r.record = alertSeries
				r.labels[labels.AlertName] = source.Alert
			}
			if err := r.understand(); err != nil {
				return nil, r.failed(err)
			}
			rules = append(rules, r)
		}
	}
	return rules, nil
}

// understand finds out what a rule reads, and how long its alerts take.
func (r *rule) understand() error {
	expr, err := promQL.ParseExpr(r.expr)
	if err != nil {
		return err
	}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		if selector, is := node.(*parser.VectorSelector); is {
			r.reads = append(r.reads, readOf(selector, path))
		}
		return nil
	})
	if r.hold, err = duration(r.source.For, 0); err != nil {
		return fmt.Errorf("for: %w", err)
	}
	var keep *monitoringv1.Duration
	if r.source.KeepFiringFor != nil {
		text := monitoringv1.Duration(*r.source.KeepFiringFor)
		keep = &text
	}
	if r.keep, err = duration(keep, 0); err != nil {
		return fmt.Errorf("keep_firing_for: %w", err)
	}
	return nil
}

func readOf(selector *parser.VectorSelector, path []parser.Node) read {
	found := read{
		matchers: selector.LabelMatchers, back: lookBack + selector.OriginalOffset,
		fixed: selector.Timestamp != nil || selector.StartOrEnd != 0,
	}
	for _, outer := range path {
		switch outer := outer.(type) {
		case *parser.MatrixSelector:
			found.back += outer.Range - lookBack
		case *parser.SubqueryExpr:
			// Its first step may lie a step before the range.
			step := outer.Step
			if step == 0 {
				step = defaultInterval
			}
			found.back += outer.Range + step + outer.OriginalOffset
			found.fixed = found.fixed || outer.Timestamp != nil || outer.StartOrEnd != 0
		}
	}
	return found
}

func duration[T ~string](text *T, fallback time.Duration) (time.Duration, error) {
	if text == nil || *text == "" {
		return fallback, nil
	}
	d, err := model.ParseDuration(string(*text))
	return time.Duration(d), err
}

// nextLevel takes the rules that read nothing which others still have to record. If there
// are none, it takes those that wait for one another, and says so.
func nextLevel(rules []*rule) (level, rest []*rule, cyclic bool) {
	for _, r := range rules {
		if slices.ContainsFunc(rules, func(other *rule) bool { return other != r && r.needs(other) }) {
			rest = append(rest, r)
		} else {
			level = append(level, r)
		}
	}
	if len(level) > 0 {
		return level, rest, false
	}
	// What no other remaining rule reads is no part of a cycle: it comes later.
	level, rest = rules, nil
	for {
		var circle []*rule
		for _, r := range level {
			if slices.ContainsFunc(level, func(other *rule) bool { return other != r && other.needs(r) }) {
				circle = append(circle, r)
			} else {
				rest = append(rest, r)
			}
		}
		if len(circle) == len(level) {
			return level, rest, true
		}
		level = circle
	}
}
