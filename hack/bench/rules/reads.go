package main

import (
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

var promQL = parser.NewParser(parser.Options{})

// lookback is how far Prometheus looks back for a single sample.
const lookback = 5 * time.Minute

// read is a selector of a rule, and how far back it reads.
type read struct {
	matchers []*labels.Matcher
	depth    time.Duration
}

// readsOf lists what the rules read, and recordsOf what they write.
func readsOf(groups []monitoringv1.RuleGroup) ([]read, error) {
	var reads []read
	for _, group := range groups {
		for _, rule := range group.Rules {
			expr, err := promQL.ParseExpr(rule.Expr.String())
			if err != nil {
				return nil, err
			}
			parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
				selector, is := node.(*parser.VectorSelector)
				if !is {
					return nil
				}
				depth := selector.OriginalOffset
				inRange := false
				for _, outer := range path {
					switch outer := outer.(type) {
					case *parser.MatrixSelector:
						depth, inRange = depth+outer.Range, true
					case *parser.SubqueryExpr:
						depth += outer.Range + outer.OriginalOffset
					}
				}
				if !inRange {
					depth += lookback
				}
				reads = append(reads, read{selector.LabelMatchers, depth})
				return nil
			})
		}
	}
	return reads, nil
}

// recordsOf tells at which interval each recorded series is written.
func recordsOf(groups []monitoringv1.RuleGroup) (map[string]time.Duration, error) {
	records := map[string]time.Duration{}
	for _, group := range groups {
		interval, err := intervalOf(group)
		if err != nil {
			return nil, err
		}
		for _, rule := range group.Rules {
			if rule.Record == "" {
				continue
			}
			if known, is := records[rule.Record]; !is || interval < known {
				records[rule.Record] = interval
			}
		}
	}
	return records, nil
}

// defaultInterval is Prometheus's, for groups that name none.
const defaultInterval = time.Minute

func intervalOf(group monitoringv1.RuleGroup) (time.Duration, error) {
	if group.Interval == nil || *group.Interval == "" {
		return defaultInterval, nil
	}
	d, err := model.ParseDuration(string(*group.Interval))
	return time.Duration(d), err
}

// index finds reads by the metric's name, for rule files with thousands of them.
type index struct {
	byName map[string][]read
	others []read
}

func indexed(reads []read) index {
	x := index{byName: map[string][]read{}}
	for _, r := range reads {
		if name := nameOf(r.matchers); name != "" {
			x.byName[name] = append(x.byName[name], r)
		} else {
			x.others = append(x.others, r)
		}
	}
	return x
}

// depth is how far back a series is read; 0 if not at all.
func (x index) depth(series labels.Labels) time.Duration {
	depth := time.Duration(0)
	for _, reads := range [][]read{x.byName[series.Get(model.MetricNameLabel)], x.others} {
		for _, r := range reads {
			if r.depth > depth && !slices.ContainsFunc(r.matchers, func(m *labels.Matcher) bool { return !m.Matches(series.Get(m.Name)) }) {
				depth = r.depth
			}
		}
	}
	return depth
}

func nameOf(matchers []*labels.Matcher) string {
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			return m.Value
		}
	}
	return ""
}

// madeUp makes counters that the selectors of a rule file match: one for each
// combination of what its matchers ask for, a few where a regular expression matches
// several.
func madeUp(reads []read, records map[string]time.Duration) []source {
	var sources []source
	known := map[string]bool{}
	for _, r := range reads {
		name := nameOf(r.matchers)
		if _, recorded := records[name]; recorded || name == "" || name == "ALERTS" || name == "ALERTS_FOR_STATE" {
			continue
		}
		combinations := [][]string{{}}
		perSecond := 20.0
		hasEdge := false
		for _, m := range r.matchers {
			var values []string
			switch {
			case m.Type == labels.MatchEqual && m.Value != "":
				values = []string{m.Value}
			case m.Type == labels.MatchRegexp:
				values = examples(m.Value)
				if m.Name != labels.BucketLabel {
					perSecond = 0.005 // commonly the failed part of a whole
				}
			default:
				continue
			}
			hasEdge = hasEdge || m.Name == labels.BucketLabel
			combinations = times(combinations, m.Name, values)
		}
		if strings.HasSuffix(name, "_bucket") && !hasEdge {
			combinations = times(combinations, labels.BucketLabel, []string{"0.1", "1.0", "+Inf"})
		}
		for _, pairs := range combinations {
			ls := labels.FromStrings(pairs...)
			if key := ls.String(); !known[key] {
				known[key] = true
				sources = append(sources, source{ls, traffic(perSecond, "")})
			}
		}
	}
	return sources
}

const mostExamples = 50

func times(combinations [][]string, name string, values []string) [][]string {
	var all [][]string
	for _, pairs := range combinations {
		for _, value := range values {
			if len(all) < mostExamples {
				all = append(all, append(slices.Clone(pairs), name, value))
			}
		}
	}
	return all
}

// examples are strings that a regular expression matches: one for each alternative.
func examples(pattern string) []string {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	return examplesOf(tree)
}

func examplesOf(tree *syntax.Regexp) []string {
	switch tree.Op {
	case syntax.OpLiteral:
		return []string{string(tree.Rune)}
	case syntax.OpCharClass:
		return []string{string(tree.Rune[:1])}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return []string{"0"}
	case syntax.OpCapture, syntax.OpPlus:
		return examplesOf(tree.Sub[0])
	case syntax.OpStar:
		return []string{"x"}
	case syntax.OpRepeat:
		var all []string
		for _, one := range examplesOf(tree.Sub[0]) {
			all = append(all, strings.Repeat(one, max(tree.Min, 1)))
		}
		return all
	case syntax.OpAlternate:
		var all []string
		for _, sub := range tree.Sub {
			all = append(all, examplesOf(sub)...)
		}
		return all[:min(len(all), mostExamples)]
	case syntax.OpConcat:
		all := []string{""}
		for _, sub := range tree.Sub {
			var longer []string
			for _, head := range all {
				for _, tail := range examplesOf(sub) {
					if len(longer) < mostExamples {
						longer = append(longer, head+tail)
					}
				}
			}
			all = longer
		}
		return all
	default: // anchors and the empty match
		return []string{""}
	}
}
