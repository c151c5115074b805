package flows

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

func compile(t testing.TB, text string) (*Flow, []Problem) {
	t.Helper()
	var probe v1alpha1.Probe
	if err := yaml.UnmarshalStrict([]byte(text), &probe); err != nil {
		t.Fatal(err)
	}
	return Compile(&probe)
}

const order = `
variables:
- {name: user, value: eve}
- {name: password, valueFrom: {secretKeyRef: {name: shopper, key: password}}}
steps:
- name: login
  http:
    url: http://shop/login
    headers:
    - {name: Authorization, valueFrom: {expression: "'Basic ' + base64.encode(bytes(vars.user + ':' + vars.password))"}}
    body: {valueFrom: {expression: "toJSON({'user': vars.user, 'password': vars.password})"}}
    tls: {ca: {configMapKeyRef: {name: ca, key: ca.crt}}, clientCertificateSecret: shopper-tls}
  assertions:
  - expression: status == 200 && headers['content-type'].startsWith('application/json')
  extract:
  - {name: token, expression: string(json.token), sensitive: true}
  - {name: basket, expression: json.basket}
- name: checkout
  http:
    urlFrom: {expression: "'http://shop/baskets/' + urlEncode(vars.basket)"}
    headers: [{name: Authorization, valueFrom: {expression: "'Bearer ' + vars.token"}}]
    query: [{name: user, valueFrom: {expression: vars.user}}]
  assertions:
  - expression: latency < duration('500ms') && tls.remaining > duration('24h')
    message: it is slow, or the certificate ends
  extract:
  - {name: receipt, expression: "{'of': vars.token}"}
- name: logout
  alwaysRun: true
  tcp: {address: "shop:80"}
`

func TestCompile(t *testing.T) {
	flow, problems := compile(t, order)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if got := fmt.Sprint(flow.References); got != "[key password of Secret shopper key ca.crt of ConfigMap ca key tls.crt of Secret shopper-tls key tls.key of Secret shopper-tls]" {
		t.Error(got)
	}
	login, checkout, logout := flow.Steps[0], flow.Steps[1], flow.Steps[2]
	for what, is := range map[string]bool{
		"a value from a Secret is sensitive":        flow.Variables[1].Value.Sensitive(),
		"so is what is made of it":                  login.Headers[0].Sensitive() && login.Body.Sensitive(),
		"and what is marked":                        login.Extractions[0].Sensitive,
		"and what is made of that":                  checkout.Headers[0].Sensitive() && checkout.Extractions[0].Sensitive,
		"nothing else is":                           !flow.Variables[0].Value.Sensitive() && !login.Extractions[1].Sensitive && !checkout.URL.Sensitive() && !checkout.Query[0].Sensitive(),
		"a body that is looked at is kept":          login.ReadsBody,
		"one that is not is not":                    !checkout.ReadsBody && !logout.ReadsBody,
		"a message is the expression where none is": strings.HasPrefix(login.Conditions[0].Message, "status == 200"),
	} {
		if !is {
			t.Errorf("not true: %s", what)
		}
	}
	short, problems := compile(t, "http: {url: http://shop/}")
	if len(problems) > 0 || len(short.Steps) != 1 || short.Steps[0].Name != ShortFormStep {
		t.Errorf("the short form is %+v, %v", short, problems)
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "spec.probe: the probe does not say what to visit: set http or steps",
		`{steps: [{name: a, http: {url: "http://a"}, assertions: [{expression: "status == "}]}]}`:                                                         "spec.probe.steps[a].assertions[0].expression: line 1, column 11: Syntax error",
		`{steps: [{name: a, http: {url: "http://a"}, assertions: [{expression: "true"}, {expression: "status == 200 &&\n  jsn.ok"}]}]}`:                   "spec.probe.steps[a].assertions[1].expression: line 2, column 3: undeclared reference to 'jsn'",
		`{steps: [{name: a, http: {url: "http://a"}, assertions: [{expression: "status == '200'"}]}]}`:                                                    "line 1, column 8: found no matching overload",
		`{steps: [{name: a, http: {url: "http://a"}, assertions: [{expression: "status"}]}]}`:                                                             "the expression is of type int; it must be true or false",
		`{steps: [{name: a, http: {url: "http://a"}, assertions: [{expression: "latency < duration('fast')"}]}]}`:                                         "invalid duration argument",
		`{steps: [{name: a, http: {url: "http://a"}, assertions: [{expression: "body.matches('(')"}]}]}`:                                                  "invalid matches argument",
		`{steps: [{name: a, http: {url: "http://a"}, assertions: [{expression: "tls.notAftr > timestamp('2026-01-01T00:00:00Z')"}]}]}`:                    "undeclared reference to 'tls'",
		`{steps: [{name: a, http: {url: "http://a"}, assertions: [{expression: "vars.token == ''"}], extract: [{name: token, expression: body}]}]}`:       "undeclared reference to 'vars'",
		`{steps: [{name: a, http: {url: "http://a"}, extract: [{name: token, expression: "body +"}]}]}`:                                                   "spec.probe.steps[a].extract[token].expression: line 1, column 7",
		`{steps: [{name: a, http: {url: "http://a"}, extract: [{name: code, expression: status}]}, {name: b, http: {urlFrom: {expression: vars.code}}}]}`: "spec.probe.steps[b].http.urlFrom.expression: line 1, column 1: the expression is of type int; it must be a text",
		`{http: {url: "http://a", headers: [{name: X, valueFrom: {expression: "string(status)"}}]}}`:                                                      "spec.probe.http.headers[X].valueFrom.expression: line 1, column 8: undeclared reference to 'status'",
		`{variables: [{name: a, value: b}], steps: [{name: a, http: {url: "http://a"}, extract: [{name: a, expression: body}]}]}`:                         "spec.probe.steps[a].extract[a]: vars.a exists already",
		`{variables: [{name: a, valueFrom: {expression: vars.b}}], http: {url: "http://a"}}`:                                                              "spec.probe.variables[a].valueFrom.expression: line 1, column 1: undeclared reference",
		`{steps: [{name: a, tcp: {address: "a:99999"}}]}`:                                                                                                 "spec.probe.steps[a].tcp.address: port 99999 is not between 1 and 65535",
		`{steps: [{name: a, grpc: {address: "[::1]:0"}}]}`:                                                                                                "spec.probe.steps[a].grpc.address: port 0 is not",
		`{steps: [{name: a}]}`: "the step does not say what to do",
		`{steps: [{name: a, http: {url: "http://a"}, assertions: [{expression: "` + strings.Repeat("(", 200) + `"}]}]}`: "spec.probe.steps[a].assertions[0].expression: line ",
	} {
		flow, problems := compile(t, text)
		if len(problems) == 0 || !strings.Contains(problems[0].Error(), want) || flow != nil {
			t.Errorf("%s\n got %v\nwant %s", text, problems, want)
		}
	}
}

// names is what one answer says.
type names map[string]any

func (n names) Lookup(name string) (any, error) {
	value, has := n[name]
	if err, is := value.(error); is {
		return nil, err
	}
	if !has {
		return nil, errors.New("there is no " + name)
	}
	return value, nil
}

func TestEvaluate(t *testing.T) {
	answer := names{
		NameStatus: 201, NameBody: strings.Repeat("x", 1<<20), NameHeaders: map[string]string{"a": "b"},
		NameJSON: map[string]any{"items": []any{int64(1), "two"}, "price": 2.5, "id": int64(12345678901)},
	}
	for text, want := range map[string]any{
		`status in [200, 201]`:                            true,
		`json.items.size() == 2`:                          true,
		`json.price > 2`:                                  true,
		`string(json.id) == '12345678901'`:                true,
		`has(json.token)`:                                 false,
		`true || json.token == ''`:                        true,
		`json.token == ''`:                                "no such key: token",
		`json.items == [1, 'two']`:                        true,
		`json.items != [1, 'two']`:                        false,
		`json == {'items': json.items}`:                   false,
		`status in [json.id, 201]`:                        true,
		`'a' in headers && !('b' in headers)`:             true,
		`[1] in [json.items, [1]]`:                        true,
		`headers['b'] == ''`:                              "no such key: b",
		`json.items[2] == 0`:                              "index out of bounds: 2",
		`json.items[1] < 5`:                               "no such overload",
		`json.price`:                                      "of type double, not true or false",
		`body.contains('y')`:                              false,
		`tls.version == 'TLS 1.3'`:                        "there is no tls.version",
		`true || tls.version == ''`:                       true,
		`body.split('').all(c, body.matches('(x+x+)+y'))`: "the expression costs too much",
	} {
		condition, err := newScope().condition(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		truth, err := condition.True(answer)
		switch want := want.(type) {
		case bool:
			if err != nil || truth != want {
				t.Errorf("%s is %t, %v", text, truth, err)
			}
		case string:
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", text, err, want)
			}
		}
	}
}

// nested is an expression on x, a list of the same list eight times, forty times over.
func nested(expression string) string {
	for range 40 {
		expression = `[[x,x,x,x,x,x,x,x]].exists(x, ` + expression + `)`
	}
	return `[1].exists(x, ` + expression + `)`
}

// What would take all memory, or minutes, is refused before it does so.
func TestMeasure(t *testing.T) {
	answer := names{NameBody: strings.Repeat("x", 1<<20), NameHeaders: map[string]string{}}
	const many = `body.substring(0, 20000).split('')`
	for _, text := range []string{
		`body.substring(0, 20000).replace('', body.substring(0, 20000)) == ''`,
		many + `.map(x, body).join('') == ''`,
		`toJSON(` + many + `.map(x, body)) == ''`,
		`'%s'.format([` + many + `.map(x, body)]) == ''`,
		many + `.exists(x, toJSON(body) == '')`,
		many + `.exists(x, urlEncode(body) == '')`,
		many + `.exists(x, '%s'.format([body]) == '')`,
		many + `.exists(x, body.size() == 0)`,
		nested(`x == x`), nested(`x != x`), nested(`x in [x]`),
		many + `.exists(x, ` + many + `.exists(y, int(body) == 1))`,
	} {
		t.Run(text, func(t *testing.T) {
			condition, err := newScope().condition(text)
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := condition.True(answer); err != errCostsTooMuch {
				t.Error(err)
			}
			runtime.ReadMemStats(&after)
			// What has its price is refused by that; the last one only by its time, and
			// makes garbage until then.
			if took := after.TotalAlloc - before.TotalAlloc; took > 256<<20 && !strings.Contains(text, "int(body)") {
				t.Errorf("took %d MiB", took>>20)
			}
		})
	}
	for text, want := range map[string]string{
		`['a', 'b'].join('-') + 'abc'.replace('b', 'xx') + '%s and %d'.format(['c', 1])`: "a-baxxcc and 1",
		`'aaa'.replace('a', 'b', 2) + ['a', 'b'].join()`:                                 "bbaab",
	} {
		expression, err := newScope().text(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := expression.Text(answer); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for text, limit := range map[string]int{`body`: maxExtracted, `body.substring(0, 100000)`: maxSecret, `body.substring(0, 30000).split('')`: maxSecret} {
		expression, err := newScope().extraction(text)
		if err != nil {
			t.Fatal(err)
		}
		expression.Sensitive = limit == maxSecret
		if _, err := (&Extraction{Expression: expression}).Extract(answer); err == nil || !strings.Contains(err.Error(), fmt.Sprint(limit)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// An error must not tell what the answer said.
func TestErrorsAreSilentAboutAnswers(t *testing.T) {
	for _, text := range []string{`int(body) > 0`, `timestamp(body) > timestamp('2026-01-01T00:00:00Z')`, `duration(body) > latency`, `body.matches(body)`, `bool(body)`, `{'a': 'b'}[body] == 'b'`} {
		condition, err := newScope().condition(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		_, err = condition.True(names{NameBody: "(hunter2", NameLatency: 1})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestToJSON(t *testing.T) {
	text, err := newScope().text(`toJSON({'a': 'quote "', 'n': 3, 'l': [true, null]})`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := text.Text(names{})
	if err != nil || got != `{"a":"quote \"","l":[true,null],"n":3}` {
		t.Errorf("%s, %v", got, err)
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, problems := compile(b, order); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}
