package rules

import (
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

var userPromQL = parser.NewParser(parser.Options{})

// reader reads the users' own PromQL on behalf of an object. Selectors are changed on
// the syntax tree, never as text.
type reader struct {
	namespace string
	enforce   string // the label of Options.EnforceNamespaceLabel
	problems  []Problem
}

func (r *reader) problem(field, message string) {
	r.problems = append(r.problems, Problem{Field: field, Reason: v1alpha1.ReasonInvalidQuery, Message: message, Stalled: true})
}

// series reads a plain series selector. It returns nil, and keeps a problem, for
// anything else.
func (r *reader) series(field string, query v1alpha1.Query) *parser.VectorSelector {
	expr := r.parse(field, query)
	if expr == nil {
		return nil
	}
	vector, plain := expr.(*parser.VectorSelector)
	switch {
	case !plain:
		r.problem(field, fmt.Sprintf("%q is more than a series selector: write only the metric and its labels, such as http_requests_total{app=\"shop\"}; what it gains is worked out from that", query))
		return nil
	case vector.OriginalOffset != 0 || vector.OriginalOffsetExpr != nil || vector.Timestamp != nil || vector.StartOrEnd != 0 || vector.Anchored || vector.Smoothed:
		r.problem(field, fmt.Sprintf("%q has a modifier (offset or @): remove it", query))
		return nil
	case metricName(vector) == "":
		r.problem(field, fmt.Sprintf("%q does not name its metric: begin with the name, such as http_requests_total{app=\"shop\"}", query))
		return nil
	}
	return vector
}

// expression reads any expression that yields a number or an instant vector.
func (r *reader) expression(field string, query v1alpha1.Query) parser.Expr {
	expr := r.parse(field, query)
	if expr == nil {
		return nil
	}
	if t := expr.Type(); t != parser.ValueTypeVector && t != parser.ValueTypeScalar {
		r.problem(field, fmt.Sprintf("%q yields a %s: write an expression that yields a number or an instant vector, for example rate(…[5m]) instead of …[5m]", query, parser.DocumentedType(t)))
		return nil
	}
	return expr
}

// parse reads PromQL and makes every selector in it match the object's namespace, where
// the installation asks for that.
func (r *reader) parse(field string, query v1alpha1.Query) parser.Expr {
	expr, err := userPromQL.ParseExpr(string(query))
	if err != nil {
		r.problem(field, fmt.Sprintf("%q is no PromQL: %s", query, parseMessage(err)))
		return nil
	}
	if r.enforce == "" {
		return expr
	}
	reachesOut := false
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		vector, is := node.(*parser.VectorSelector)
		if !is {
			return nil
		}
		for _, matcher := range vector.LabelMatchers {
			if matcher.Name == r.enforce && !matcher.Matches(r.namespace) {
				reachesOut = true
			}
		}
		vector.LabelMatchers = append(without(vector.LabelMatchers, r.enforce),
			labels.MustNewMatcher(labels.MatchEqual, r.enforce, r.namespace))
		return nil
	})
	if reachesOut {
		r.problem(field, fmt.Sprintf("%q reaches outside its namespace: this installation allows only series with %s=%q", query, r.enforce, r.namespace))
		return nil
	}
	return expr
}

func parseMessage(err error) string {
	var errs parser.ParseErrors
	if errors.As(err, &errs) && len(errs) > 0 {
		return fmt.Sprintf("at character %d: %v", int(errs[0].PositionRange.Start)+1, errs[0].Err)
	}
	return err.Error()
}

func metricName(vector *parser.VectorSelector) string {
	for _, matcher := range vector.LabelMatchers {
		if matcher.Name == model.MetricNameLabel && matcher.Type == labels.MatchEqual {
			return matcher.Value
		}
	}
	return ""
}

// with returns the selector with one more matcher, in place of any on the same label.
func with(vector *parser.VectorSelector, matcher *labels.Matcher) string {
	changed := *vector
	changed.LabelMatchers = append(without(vector.LabelMatchers, matcher.Name), matcher)
	return changed.String()
}

func without(matchers []*labels.Matcher, label string) []*labels.Matcher {
	var kept []*labels.Matcher
	for _, matcher := range matchers {
		if matcher.Name != label {
			kept = append(kept, matcher)
		}
	}
	return kept
}

// leMatcher matches the bucket of one edge, as leOf does.
func leMatcher(edge string) *labels.Matcher {
	if strings.ContainsAny(edge, ".e") {
		return labels.MustNewMatcher(labels.MatchEqual, labels.BucketLabel, edge)
	}
	return labels.MustNewMatcher(labels.MatchRegexp, labels.BucketLabel, edge+`|`+edge+`\.0`)
}
