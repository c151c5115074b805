package rules

import (
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

func TestReadingSelectors(t *testing.T) {
	for _, test := range []struct {
		query   v1alpha1.Query
		enforce string
		want    string
		problem string
	}{
		{query: `http_requests_total{app="shop"}`, want: `http_requests_total{app="shop"}`},
		{query: `{__name__="http_requests_total",app="shop"}`, want: `{__name__="http_requests_total",app="shop"}`},
		{query: `http_requests_total`, enforce: "namespace", want: `http_requests_total{namespace="shop"}`},
		{query: `http_requests_total{namespace="shop"}`, enforce: "namespace", want: `http_requests_total{namespace="shop"}`},
		{query: `http_requests_total{namespace=~"s.*"}`, enforce: "namespace", want: `http_requests_total{namespace="shop"}`},
		{query: `http_requests_total{namespace="bank"}`, enforce: "namespace", problem: `reaches outside its namespace`},
		{query: `http_requests_total{`, problem: "is no PromQL: at character"},
		{query: `rate(http_requests_total[5m])`, problem: "is more than a series selector"},
		{query: `http_requests_total offset 5m`, problem: "has a modifier"},
		{query: `http_requests_total @ 1609746000`, problem: "has a modifier"},
		{query: `{app="shop"}`, problem: "does not name its metric"},
		{query: `订单`, problem: "is no PromQL"},
		{query: `{"订单",app="shop"}`, want: `{__name__="订单",app="shop"}`},
	} {
		read := &reader{namespace: "shop", enforce: test.enforce}
		vector := read.series("spec.metrics.requests.total", test.query)
		if test.problem != "" {
			if vector != nil || len(read.problems) != 1 || !strings.Contains(read.problems[0].Message, test.problem) || !read.problems[0].Stalled {
				t.Errorf("%s: %v, want a problem that says %q", test.query, read.problems, test.problem)
			}
			continue
		}
		if vector == nil || vector.String() != test.want {
			t.Errorf("%s: %v %v, want %s", test.query, vector, read.problems, test.want)
		}
	}
}

func TestReadingExpressions(t *testing.T) {
	read := &reader{namespace: "shop", enforce: "namespace"}
	expr := read.expression("f", `sum(rate(a_total[5m])) / on () (b or scalar(c) * d{namespace!="bank"})`)
	if want := `sum(rate(a_total{namespace="shop"}[5m])) / on () (b{namespace="shop"} or scalar(c{namespace="shop"}) * d{namespace="shop"})`; expr == nil || expr.String() != want {
		t.Errorf("%v %v, want %s", expr, read.problems, want)
	}
	if expr := read.expression("spec.kpis[x].query", `a_total[5m]`); expr != nil || !strings.Contains(read.problems[0].Message, "yields a range vector") {
		t.Errorf("a range vector is taken: %v", read.problems)
	}
}

// Whatever is read stays PromQL. With a label enforced every selector matches exactly the
// object's namespace by it, once, and nothing else of the query changes.
func FuzzReader(f *testing.F) {
	for _, query := range []string{
		`a{b="c"}`, `sum(rate(a[5m])) by (x)`, `a @ end()`, `{__name__=~"a|b"}`, `label_replace(a, "namespace", "x", "", "")`, `"text"`,
		`a{namespace=~"shop|bank"}`, `a{namespace="shop",namespace!="bank"}`, `a{"namespace"="shop"} or {"b.c",namespace=~".*"}`,
		`max_over_time(rate(a[5m] offset -1h)[1h:5m] @ 5)`, `count_values("namespace", a) by (namespace)`, `absent(a{namespace=""})`,
		`a - on (namespace) group_left (b) b{x="namespace=\"bank\""} # a{namespace="bank"}`, `-(a) ^ bool_b > bool 1`, `scalar(a) == bool 1e3`,
	} {
		f.Add(query)
	}
	const label = "namespace"
	f.Fuzz(func(t *testing.T, query string) {
		read := &reader{namespace: "shop", enforce: label}
		expr := read.expression("f", v1alpha1.Query(query))
		if expr == nil {
			if len(read.problems) == 0 {
				t.Errorf("%q is refused without a word", query)
			}
			return
		}
		again, err := userPromQL.ParseExpr(expr.String())
		if err != nil {
			t.Fatalf("%q became %q, which does not parse: %v", query, expr, err)
		}
		parser.Inspect(again, func(node parser.Node, _ []parser.Node) error {
			if vector, is := node.(*parser.VectorSelector); is {
				held := 0
				for _, matcher := range vector.LabelMatchers {
					if matcher.Name == label && matcher.Type == labels.MatchEqual && matcher.Value == "shop" {
						held++
					} else if matcher.Name == label {
						t.Errorf("%q became %q, which matches by %s", query, expr, matcher)
					}
				}
				if held != 1 {
					t.Errorf("%q became %q, which holds %s to its namespace %d times", query, expr, vector, held)
				}
			}
			return nil
		})
		before, err := userPromQL.ParseExpr(query)
		if err != nil {
			t.Fatalf("%q is no PromQL but was read: %v", query, err)
		}
		strip := func(expr parser.Expr) string {
			parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
				if vector, is := node.(*parser.VectorSelector); is {
					vector.LabelMatchers = without(vector.LabelMatchers, label)
				}
				return nil
			})
			return expr.String()
		}
		if before, after := strip(before), strip(again); before != after {
			t.Errorf("but for the namespace %q became %q", before, after)
		}
		// What is taken for a plain series is one selector and nothing besides.
		if vector := (&reader{namespace: "shop", enforce: label}).series("f", v1alpha1.Query(query)); vector != nil {
			if _, plain := again.(*parser.VectorSelector); !plain || vector.String() != expr.String() {
				t.Errorf("%q is taken for the series %s", query, vector)
			}
		}
	})
}
