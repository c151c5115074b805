package v1alpha1_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// resources creates objects of a kind by a real API server, which alone knows what
// its schema and its CEL make of them.
var resources func(kind string) dynamic.ResourceInterface

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	cluster, err := localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{})
	if err != nil {
		return 0, err
	}
	defer cluster.Stop()
	if err := localstack.InstallCRDs(ctx, cluster.RESTConfig(), "../../config/crd"); err != nil {
		return 0, err
	}
	client, err := dynamic.NewForConfig(cluster.RESTConfig())
	if err != nil {
		return 0, err
	}
	resources = func(kind string) dynamic.ResourceInterface {
		return client.Resource(schema.GroupVersionResource{
			Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: strings.ToLower(kind) + "s",
		}).Namespace("default")
	}
	return m.Run(), nil
}

// Objects that are accepted as they are, and change in the cases.
var bases = map[string]string{
	"Touchpoint": `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: base}
spec:
  channel: Web
  probe: {http: {url: http://shop.shop.svc/checkout}}
  survey: {instruments: [{type: CES}]}
`,
	"ExperienceSLO": `
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: base}
spec:
  targets: {touchpoints: [checkout]}
  objectives:
  - name: speed
    latency: {threshold: 300ms, target: "99%"}
`,
	"Journey": `
apiVersion: sojourn.dev/v1alpha1
kind: Journey
metadata: {name: base}
spec:
  stages:
  - name: purchase
    touchpoints: [{name: checkout}]
`,
}

// change sets the field at a path to a YAML value; to nothing: it removes the field.
func change(t *testing.T, object map[string]any, path, text string) {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	// Numbers as the API machinery has them: whole ones are no floats.
	value = (&unstructured.Unstructured{Object: map[string]any{"v": whole(value)}}).Object["v"]
	fields := strings.Split(path, ".")
	if text == "" {
		unstructured.RemoveNestedField(object, fields...)
		return
	}
	if err := unstructured.SetNestedField(object, value, fields...); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func whole(value any) any {
	switch value := value.(type) {
	case float64:
		if value == float64(int64(value)) {
			return int64(value)
		}
	case []any:
		for i := range value {
			value[i] = whole(value[i])
		}
	case map[string]any:
		for key := range value {
			value[key] = whole(value[key])
		}
	}
	return value
}

func repeat(n int, format string) string {
	var parts []string
	for i := range n {
		parts = append(parts, strings.ReplaceAll(format, "#", fmt.Sprint(i)))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func quoted(n int) string { return `"` + strings.Repeat("a", n) + `"` }

func objective(text string) string { return "[{name: o, " + text + "}]" }

func TestAdmission(t *testing.T) {
	const (
		name     = "the name must be at most 63 lower-case letters, digits and hyphens: it becomes a label of series and alerts"
		tooLong  = "Too long: may not be more than"
		pattern  = "should match"
		notEnum  = "Unsupported value"
		required = "Required value"
		atMost   = "should be less than or equal to"
		atLeast  = "should be greater than or equal to"
	)
	many := func(n int) string { return fmt.Sprintf("must have at most %d items", n) }

	for _, test := range []struct {
		kind, path, value string
		// message is what the refusal must say; empty: the object is accepted.
		message string
	}{
		// Names.
		{"Touchpoint", "metadata.name", "a.b", name},
		{"Touchpoint", "metadata.name", strings.Repeat("a", 64), name},
		{"Touchpoint", "metadata.name", strings.Repeat("a", 63), ""},
		{"ExperienceSLO", "metadata.name", "a.b", name},
		{"ExperienceSLO", "metadata.name", strings.Repeat("a", 64), name},
		{"Journey", "metadata.name", "a.b", name},
		{"Journey", "metadata.name", strings.Repeat("a", 64), name},
		{"Journey", "metadata.name", "0a", ""},

		// Touchpoint.
		{"Touchpoint", "spec", "", required},
		{"Touchpoint", "spec.channel", "", required},
		{"Touchpoint", "spec.channel", "Smoke", notEnum},
		{"Touchpoint", "spec.displayName", quoted(129), tooLong},
		{"Touchpoint", "spec.displayName", "结账 · Kasse", ""},
		{"Touchpoint", "spec.displayName", `""`, "should be at least 1 chars long"},
		{"Touchpoint", "spec.description", quoted(1025), tooLong},
		{"Touchpoint", "spec.ownership", "Nobody", notEnum},
		{"Touchpoint", "spec.ownership", "Partner", ""},
		{"Touchpoint", "spec.ownership", "Customer", "a touchpoint that the customer or an outsider controls is not probed: remove probe, or set ownership to Brand or Partner"},
		{"Touchpoint", "spec.ownership", "External", "is not probed"},
		{"Touchpoint", "spec.class", "Gold", notEnum},
		{"Touchpoint", "spec.kano", "Gold", notEnum},
		{"Touchpoint", "spec.themes", repeat(16, "t#"), ""},
		{"Touchpoint", "spec.themes", repeat(17, "t#"), many(16)},
		{"Touchpoint", "spec.themes", "[a, a]", "Duplicate value"},
		{"Touchpoint", "spec.themes", "[" + quoted(64) + "]", tooLong},
		{"Touchpoint", "spec.owner", "{team: " + quoted(64) + "}", tooLong},
		{"Touchpoint", "spec.owner", "{contact: " + quoted(254) + "}", tooLong},
		{"Touchpoint", "spec.owner", "{runbookURL: see the wiki}", pattern},
		{"Touchpoint", "spec.owner", "{runbookURL: ftp://host/page}", pattern},
		{"Touchpoint", "spec.owner", "{runbookURL: https://wiki/page#anchor}", ""},
		{"Touchpoint", "spec.unknown", "1", `unknown field "spec.unknown"`},

		{"Touchpoint", "spec.allowedJourneys", "{namespaces: {from: All}}", ""},
		{"Touchpoint", "spec.allowedJourneys", "{}", ""},
		{"Touchpoint", "spec.allowedJourneys", "{namespaces: {from: Some}}", notEnum},
		{"Touchpoint", "spec.allowedJourneys", "{namespaces: {from: Selector, selector: {matchLabels: {a: b}}}}", ""},
		{"Touchpoint", "spec.allowedJourneys", "{namespaces: {from: Selector}}", "selector belongs to from: Selector: set both or neither"},
		{"Touchpoint", "spec.allowedJourneys", "{namespaces: {from: Same, selector: {}}}", "selector belongs to from: Selector: set both or neither"},
		{"Touchpoint", "spec.allowedJourneys", "{namespaces: {from: Selector, selector: {matchLabels: {" + seventeenLabels() + "}}}}", "a selector has at most 16 matchLabels"},
		{"Touchpoint", "spec.allowedJourneys", "{namespaces: {selector: {}}}", "selector belongs to from: Selector: set both or neither"},

		{"Touchpoint", "spec.probe.interval", "30s", ""},
		{"Touchpoint", "spec.probe.interval", "10s", ""},
		{"Touchpoint", "spec.probe.interval", "5m", ""},
		{"Touchpoint", "spec.probe.interval", "1m30s", ""},
		{"Touchpoint", "spec.probe.interval", "9999ms", "interval must be between 10s and 5m, for example 30s"},
		{"Touchpoint", "spec.probe.interval", "301s", "interval must be between 10s and 5m"},
		{"Touchpoint", "spec.probe.interval", "1d", "interval must be between 10s and 5m"},
		{"Touchpoint", "spec.probe.interval", "99999h99999h99999h99999h", "interval must be between 10s and 5m"},
		{"Touchpoint", "spec.probe.interval", "5 minutes", pattern},
		{"Touchpoint", "spec.probe.interval", "1.5m", pattern},
		{"Touchpoint", "spec.probe.interval", "-30s", pattern},
		{"Touchpoint", "spec.probe.interval", `"30"`, pattern},
		{"Touchpoint", "spec.probe.interval", "30", "must be of type string"},
		{"Touchpoint", "spec.probe.interval", "1s1s1s1s1s", pattern},
		{"Touchpoint", "spec.probe.timeout", "100ms", ""},
		{"Touchpoint", "spec.probe.timeout", "1m", ""},
		{"Touchpoint", "spec.probe.timeout", "99ms", "timeout must be between 100ms and 1m"},
		{"Touchpoint", "spec.probe.timeout", "61s", "timeout must be between 100ms and 1m"},
		{"Touchpoint", "spec.probe.timeout", "1d", "timeout must be between 100ms and 1m"},
		{"Touchpoint", "spec.probe", "{interval: 30s}", "a probe has either http or steps: http is the short form of a single step"},
		{"Touchpoint", "spec.probe.http.url", "", "http has either url or urlFrom"},
		{"Touchpoint", "spec.probe.http", `{urlFrom: {expression: "'http://shop/' + vars.order"}}`, ""},
		{"Touchpoint", "spec.probe.http", "{url: http://shop/, urlFrom: {expression: vars.a}}", "http has either url or urlFrom"},
		{"Touchpoint", "spec.probe.http", "{urlFrom: {expression: a, secretKeyRef: {name: a, key: b}}}", "valueFrom has exactly one of secretKeyRef, configMapKeyRef and expression"},
		{"Touchpoint", "spec.probe.http", "{url: http://shop/, body: {value: a}}", ""},
		{"Touchpoint", "spec.probe.http", "{url: http://shop/, method: PUT, body: {value: a}}", ""},
		{"Touchpoint", "spec.probe.http", "{url: http://shop/, method: GET, body: {value: a}}", "a request with a body has method POST, PUT, PATCH or DELETE"},
		{"Touchpoint", "spec.probe.http", "{url: http://shop/, body: {contentType: text/plain}}", "a body has either value or valueFrom"},
		{"Touchpoint", "spec.probe.http", "{url: http://shop/, query: [{name: q, value: a b}, {name: q, valueFrom: {configMapKeyRef: {name: a, key: b}}}]}", ""},
		{"Touchpoint", "spec.probe.http", "{url: http://shop/, query: [{name: q}]}", "a query parameter has either value or valueFrom"},
		{"Touchpoint", "spec.probe.http", "{url: http://shop/, redirects: Sometimes}", notEnum},
		{"Touchpoint", "spec.probe.http", "{url: http://shop/, tls: {ca: {configMapKeyRef: {name: ca, key: ca.crt}}, serverName: shop.example, clientCertificateSecret: shopper, verification: None}}", ""},
		{"Touchpoint", "spec.probe.http", "{url: http://shop/, tls: {ca: {}}}", "ca has either secretKeyRef or configMapKeyRef"},
		{"Touchpoint", "spec.probe.locations", "[default, eu-west]", ""},
		{"Touchpoint", "spec.probe.locations", "[EU]", pattern},
		{"Touchpoint", "spec.probe.locations", "[a, a]", "Duplicate value"},
		{"Touchpoint", "spec.probe.locations", repeat(9, "l#"), many(8)},
		{"Touchpoint", "spec.probe.backend", "Blackbox", "blackbox goes together with backend: Blackbox: set both or neither"},
		{"Touchpoint", "spec.probe.blackbox", "{module: http_2xx, address: blackbox:9115}", "blackbox goes together with backend: Blackbox: set both or neither"},
		{"Touchpoint", "spec.probe", "{backend: Blackbox, blackbox: {module: http_2xx, address: blackbox.monitoring.svc:9115}, http: {url: http://shop/}}", ""},
		{"Touchpoint", "spec.probe", "{backend: Blackbox, blackbox: {module: http_2xx, address: blackbox}, http: {url: http://shop/}}", pattern},
		{"Touchpoint", "spec.probe", "{backend: Blackbox, blackbox: {module: m, address: a:1}, locations: [a, b], http: {url: http://shop/}}", "backend Blackbox has one exporter, and so one location at most"},
		{"Touchpoint", "spec.probe", "{backend: Blackbox, blackbox: {module: m, address: a:1}, steps: [{name: a, icmp: {host: a}}]}", ""},
		{"Touchpoint", "spec.probe", "{backend: Blackbox, blackbox: {module: m, address: a:1}, steps: [{name: a, icmp: {host: a}}, {name: b, icmp: {host: a}}]}", "backend Blackbox makes one step at a time"},
		{"Touchpoint", "spec.probe", `{backend: Blackbox, blackbox: {module: m, address: "a:1"}, steps: [{name: a, grpc: {address: "a:1"}}]}`, "backend Blackbox makes steps of http, tcp and icmp only"},
		{"Touchpoint", "spec.probe", `{backend: Blackbox, blackbox: {module: m, address: "a:1"}, http: {url: "http://shop/", method: HEAD}}`, "backend Blackbox uses of http only the url"},
		{"Touchpoint", "spec.probe", `{backend: Blackbox, blackbox: {module: m, address: "a:1"}, http: {url: "http://shop/", redirects: Never}}`, "backend Blackbox uses of http only the url"},
		{"Touchpoint", "spec.probe", `{backend: Blackbox, blackbox: {module: m, address: "a:1"}, http: {urlFrom: {expression: "'http://shop/'"}}}`, "backend Blackbox uses of http only the url"},
		{"Touchpoint", "spec.probe", `{backend: Blackbox, blackbox: {module: m, address: "a:1"}, steps: [{name: a, http: {url: "http://shop/"}}]}`, ""},
		{"Touchpoint", "spec.probe", `{backend: Blackbox, blackbox: {module: m, address: "a:1"}, steps: [{name: a, http: {url: "http://shop/", body: {value: x}}}]}`, "backend Blackbox uses of http only the url"},
		{"Touchpoint", "spec.probe", `{backend: Blackbox, blackbox: {module: m, address: "a:1"}, steps: [{name: a, http: {url: "http://shop/"}, assertions: [{expression: "true"}]}]}`, "backend Blackbox uses of a step only the address"},
		{"Touchpoint", "spec.probe", `{backend: Blackbox, blackbox: {module: m, address: "a:1"}, steps: [{name: a, tcp: {address: "shop:25", expect: "220"}}]}`, "backend Blackbox uses of a step only the address"},
		{"Touchpoint", "spec.probe", `{backend: Blackbox, blackbox: {module: m, address: "a:1"}, variables: [{name: a, value: b}], http: {url: "http://shop/"}}`, "backend Blackbox knows no variables"},
		{"Touchpoint", "spec.probe", "{steps: [], http: {url: http://shop/}}", ""},
		{"Touchpoint", "spec.probe", "{steps: [{name: a, icmp: {host: a}}], http: {url: http://shop/}}", "a probe has either http or steps"},
		{"Touchpoint", "spec.probe", `{steps: [{name: a, http: {url: "http://a"}}, {name: b, tcp: {address: "[::1]:25", expect: ESMTP}}, {name: c, dns: {name: a.example, type: MX}}, {name: d, icmp: {host: "::1"}}, {name: e, grpc: {address: "a:1", tls: {}}}, {name: f, tls: {address: "a:443", serverName: b}}]}`, ""},
		{"Touchpoint", "spec.probe", "{steps: [{name: a}]}", "a step is exactly one of http, tcp, dns, icmp, grpc and tls"},
		{"Touchpoint", "spec.probe", "{steps: [{name: a, icmp: {host: a}, dns: {name: a}}]}", "a step is exactly one of http, tcp, dns, icmp, grpc and tls"},
		{"Touchpoint", "spec.probe", "{steps: [{name: a, icmp: {host: a}}, {name: a, icmp: {host: b}}]}", "Duplicate value"},
		{"Touchpoint", "spec.probe", "{steps: " + repeat(17, "{name: s#, icmp: {host: a}}") + "}", many(16)},
		{"Touchpoint", "spec.probe", "{steps: [{name: a, timeout: 61s, icmp: {host: a}}]}", "timeout must be between 10ms and 1m"},
		{"Touchpoint", "spec.probe", "{steps: [{name: a, icmp: {host: a}, assertions: [{message: a}]}]}", required},
		{"Touchpoint", "spec.probe", "{steps: [{name: a, icmp: {host: a}, extract: [{name: Token, expression: body}]}]}", pattern},
		{"Touchpoint", "spec.probe.variables", "[{name: a, value: b}, {name: c, valueFrom: {secretKeyRef: {name: s, key: k.txt}}}]", ""},
		{"Touchpoint", "spec.probe.variables", "[{name: a}]", "a variable has either value or valueFrom"},
		{"Touchpoint", "spec.probe.variables", "[{name: a-b, value: c}]", pattern},
		{"Touchpoint", "spec.probe.http.url", "https://shop.example.com:8443/a?b=c&d", ""},
		{"Touchpoint", "spec.probe.http.url", "http://[::1]:80/", ""},
		{"Touchpoint", "spec.probe.http.url", "http://shop/a@b", ""},
		{"Touchpoint", "spec.probe.http.url", "/checkout", pattern},
		{"Touchpoint", "spec.probe.http.url", "ftp://shop/checkout", pattern},
		{"Touchpoint", "spec.probe.http.url", `"http://shop/a b"`, pattern},
		{"Touchpoint", "spec.probe.http.url", "http://shop:port/", "url must be an absolute address such as http://shop.shop.svc/checkout"},
		{"Touchpoint", "spec.probe.http.url", "http://user:secret@shop/", "url must not hold a user name or password: they would be readable in the object"},
		{"Touchpoint", "spec.probe.http.url", "http://user@shop/", "url must not hold a user name or password"},
		{"Touchpoint", "spec.probe.http.url", `"http://shop/#part"`, "url must not have a fragment (#...): it is never sent to the server"},
		{"Touchpoint", "spec.probe.http.url", "http://" + strings.Repeat("a", 2042), tooLong},
		{"Touchpoint", "spec.probe.http.method", "HEAD", ""},
		{"Touchpoint", "spec.probe.http.method", "CONNECT", notEnum},
		{"Touchpoint", "spec.probe.http.headers", "[{name: Accept-Language, value: de}, {name: Host, value: shop}]", ""},
		{"Touchpoint", "spec.probe.http.headers", "[{name: A, value: b}, {name: A, value: c}]", "Duplicate value"},
		{"Touchpoint", "spec.probe.http.headers", `[{name: "A B", value: c}]`, pattern},
		{"Touchpoint", "spec.probe.http.headers", `[{name: A, value: "b\r\nC: d"}]`, pattern},
		{"Touchpoint", "spec.probe.http.headers", "[{name: A}]", "a header has either value or valueFrom"},
		{"Touchpoint", "spec.probe.http.headers", repeat(17, "{name: H#, value: v}"), many(16)},
		{"Touchpoint", "spec.probe.http.headers", "[{name: A, value: " + quoted(4097) + "}]", tooLong},
		{"Touchpoint", "spec.probe.http.expectedStatuses", "[200, 404]", ""},
		{"Touchpoint", "spec.probe.http.expectedStatuses", "[]", "should have at least 1 items"},
		{"Touchpoint", "spec.probe.http.expectedStatuses", "[199]", atLeast},
		{"Touchpoint", "spec.probe.http.expectedStatuses", "[600]", atMost},
		{"Touchpoint", "spec.probe.http.expectedStatuses", "[200, 200]", "Duplicate value"},

		{"Touchpoint", "spec.survey.instruments", "[{type: CES}, {type: CES1}, {type: CSAT}, {type: NPS}]", ""},
		{"Touchpoint", "spec.survey.instruments", "[]", "should have at least 1 items"},
		{"Touchpoint", "spec.survey.instruments", "[{type: CES}, {type: CES}]", "Duplicate value"},
		{"Touchpoint", "spec.survey.instruments", "[{type: Smiley}]", notEnum},
		{"Touchpoint", "spec.survey", "{}", required},
		{"Touchpoint", "spec.survey.instruments", "[{type: CES, questions: [q1, 'ease of use', 问题]}, {type: NPS, questions: [q2]}]", ""},
		{"Touchpoint", "spec.survey.instruments", "[{type: CES, questions: [q1]}, {type: NPS, questions: [q1]}]", "one question answers one instrument: name each id under one instrument only"},
		{"Touchpoint", "spec.survey.instruments", `[{type: CES, questions: ["a\nb"]}]`, pattern},
		{"Touchpoint", "spec.survey.instruments", "[{type: CES, questions: [a, b, c, d, e, f, g, h, i]}]", "must have at most 8 items"},
		{"Touchpoint", "spec.survey.fields", "{comment: [why], segment: plan, subject: customer}", ""},
		{"Touchpoint", "spec.survey.fields", "{}", "should have at least 1 properties"},
		{"Touchpoint", "spec.survey.segments", "[smb, enterprise, a.b, c_d, e]", ""},
		{"Touchpoint", "spec.survey.segments", "[a, b, c, d, e, f]", "must have at most 5 items"},
		{"Touchpoint", "spec.survey.segments", "['a b']", pattern},
		{"Touchpoint", "spec.survey.comments", "Discard", ""},
		{"Touchpoint", "spec.survey.comments", "Drop", notEnum},
		{"Touchpoint", "spec.survey.retention", "1d", ""},
		{"Touchpoint", "spec.survey.retention", "3650d", ""},
		{"Touchpoint", "spec.survey.retention", "3651d", "retention must be whole days from 1d to 3650d, for example 365d"},
		{"Touchpoint", "spec.survey.retention", "24h", "retention must be whole days from 1d to 3650d, for example 365d"},
		{"Touchpoint", "spec.survey.retention", "0d", "retention must be whole days from 1d to 3650d, for example 365d"},
		{"Touchpoint", "spec.survey.link", "{}", ""},
		{"Touchpoint", "spec.survey.link", "{instrument: CES, language: zh, texts: {question: 容易吗？}}", ""},
		{"Touchpoint", "spec.survey.link", "{instrument: NPS}", "the link asks an instrument that the touchpoint does not have: add it to instruments, or name one of them"},
		{"Touchpoint", "spec.survey.link", "{language: fr}", notEnum},
		{"Touchpoint", "spec.survey.link", "{texts: {}}", "should have at least 1 properties"},

		{"Touchpoint", "spec.metrics", "{}", "should have at least 1 properties"},
		{"Touchpoint", "spec.metrics", "{requests: {total: a, errors: b}, latency: {histogram: c}}", ""},
		{"Touchpoint", "spec.metrics", "{requests: {total: a}}", required},
		{"Touchpoint", "spec.metrics", "{requests: {total: a, errors: " + quoted(2049) + "}}", tooLong},
		{"Touchpoint", "spec.metrics", "{surveys: [{type: CES, responses: a}]}", ""},
		{"Touchpoint", "spec.metrics", "{surveys: [{type: CES, responses: a, scoreLabel: a-b}]}", pattern},
		{"Touchpoint", "spec.metrics", "{surveys: [{type: CES, responses: a}, {type: CES, responses: b}]}", "Duplicate value"},
		{"Touchpoint", "spec.metrics", "{events: " + repeat(16, "{name: e#, good: a, total: b}") + "}", ""},
		{"Touchpoint", "spec.metrics", "{events: " + repeat(17, "{name: e#, good: a, total: b}") + "}", many(16)},
		{"Touchpoint", "spec.metrics", "{events: [{name: A, good: a, total: b}]}", pattern},

		{"Touchpoint", "spec.map", "{quotes: " + repeat(17, "q#") + "}", many(16)},
		{"Touchpoint", "spec.management", "{plan: p, tracking: t}", ""},
		{"Touchpoint", "spec.blueprint", "{backstage: [{workload: {kind: Deployment, name: shop}}]}", ""},
		{"Touchpoint", "spec.blueprint", "{backstage: [{}]}", "should have at least 1 properties"},
		{"Touchpoint", "spec.blueprint", "{support: [{workload: {kind: Pod, name: shop}}]}", notEnum},
		{"Touchpoint", "spec.blueprint", "{support: [{workload: {kind: Deployment, name: shop, namespace: other}}]}", "unknown field"},

		// ExperienceSLO.
		{"ExperienceSLO", "spec.targets", "", required},
		{"ExperienceSLO", "spec.targets", "{}", "name the targets in exactly one way: touchpoints, journey or selector"},
		{"ExperienceSLO", "spec.targets", "{touchpoints: [a], journey: b}", "name the targets in exactly one way"},
		{"ExperienceSLO", "spec.targets", "{journey: b, selector: {}}", "name the targets in exactly one way"},
		{"ExperienceSLO", "spec.targets", "{journey: b}", ""},
		{"ExperienceSLO", "spec.targets", "{selector: {}}", ""},
		{"ExperienceSLO", "spec.targets", "{selector: {matchLabels: {example.com/a: b, c: ''}, classes: [Critical]}}", ""},
		{"ExperienceSLO", "spec.targets", "{selector: {matchLabels: {a: 'b c'}}}", pattern},
		{"ExperienceSLO", "spec.targets", "{selector: {matchLabels: {" + strings.Repeat("a", 318) + ": b}}}", "a label has at most 317 characters in its key and 63 in its value"},
		{"ExperienceSLO", "spec.targets", "{selector: {classes: [Gold]}}", notEnum},
		{"ExperienceSLO", "spec.targets", "{selector: {classes: []}}", "should have at least 1 items"},
		{"ExperienceSLO", "spec.targets", "{touchpoints: []}", "should have at least 1 items"},
		{"ExperienceSLO", "spec.targets", "{touchpoints: [a, a]}", "Duplicate value"},
		{"ExperienceSLO", "spec.targets", "{touchpoints: [A]}", pattern},
		{"ExperienceSLO", "spec.targets", "{touchpoints: " + repeat(1000, "t#") + "}", ""},
		{"ExperienceSLO", "spec.targets", "{touchpoints: " + repeat(1001, "t#") + "}", many(1000)},
		{"ExperienceSLO", "spec.window", "30d", ""},
		{"ExperienceSLO", "spec.window", "14d", notEnum},
		{"ExperienceSLO", "spec.objectives", "", required},
		{"ExperienceSLO", "spec.objectives", "[]", "should have at least 1 items"},
		{"ExperienceSLO", "spec.objectives", repeat(20, `{name: o#, csat: {target: "80%"}}`), ""},
		{"ExperienceSLO", "spec.objectives", repeat(21, `{name: o#, csat: {target: "80%"}}`), many(20)},
		{"ExperienceSLO", "spec.objectives", `[{name: o, csat: {target: "80%"}}, {name: o, csat: {target: "80%"}}]`, "Duplicate value"},
		{"ExperienceSLO", "spec.objectives", `[{name: O, csat: {target: "80%"}}]`, pattern},
		{"ExperienceSLO", "spec.objectives", "[{name: o}]", "an objective promises exactly one thing: availability, latency, ces, csat, nps or events"},
		{"ExperienceSLO", "spec.objectives", objective(`csat: {target: "80%"}, nps: {target: 30}`), "an objective promises exactly one thing"},
		{"ExperienceSLO", "spec.objectives", objective(`availability: {target: "99.9%"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`availability: {target: "100%"}`), ""}, // a condition says so
		{"ExperienceSLO", "spec.objectives", objective(`availability: {target: "99,9%"}`), pattern},
		{"ExperienceSLO", "spec.objectives", objective(`availability: {target: "0.999"}`), pattern},
		{"ExperienceSLO", "spec.objectives", objective(`availability: {target: "100.1%"}`), pattern},
		{"ExperienceSLO", "spec.objectives", objective(`availability: {target: "-1%"}`), pattern},
		{"ExperienceSLO", "spec.objectives", objective(`availability: {target: 99}`), "must be of type string"},
		{"ExperienceSLO", "spec.objectives", objective(`availability: {}`), required},
		{"ExperienceSLO", "spec.objectives", objective(`latency: {threshold: 1ms, target: "99%"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`latency: {threshold: 1h, target: "99%"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`latency: {threshold: 0ms, target: "99%"}`), "threshold must be between 1ms and 1h, for example 300ms"},
		{"ExperienceSLO", "spec.objectives", objective(`latency: {threshold: 61m, target: "99%"}`), "threshold must be between 1ms and 1h"},
		{"ExperienceSLO", "spec.objectives", objective(`latency: {threshold: 1d, target: "99%"}`), "threshold must be between 1ms and 1h"},
		{"ExperienceSLO", "spec.objectives", objective(`latency: {threshold: 0.3s, target: "99%"}`), pattern},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {easeShare: "80%"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {net: "-5%"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {net: "-101%"}`), pattern},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {mean: "5.5"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {mean: "7"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {mean: "7.1"}`), "mean must lie on the instrument's scale: 1 to 7 for CES, 1 to 5 for CES1"},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {mean: "0.9"}`), "mean must lie on the instrument's scale"},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {instrument: CES1, mean: "2.5"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {instrument: CES1, mean: "5.5"}`), "mean must lie on the instrument's scale"},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {mean: 5.5}`), "must be of type string"},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {}`), "promise effort in exactly one form: easeShare, net or mean"},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {easeShare: "80%", mean: "5"}`), "promise effort in exactly one form"},
		{"ExperienceSLO", "spec.objectives", objective(`ces: {instrument: CES3, easeShare: "80%"}`), notEnum},
		{"ExperienceSLO", "spec.objectives", objective(`nps: {target: -100}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`nps: {target: 0}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`nps: {target: 101}`), atMost},
		{"ExperienceSLO", "spec.objectives", objective(`nps: {target: -101}`), atLeast},
		{"ExperienceSLO", "spec.objectives", objective(`nps: {target: 30.5}`), "must be of type integer"},
		{"ExperienceSLO", "spec.objectives", objective(`nps: {}`), required},
		{"ExperienceSLO", "spec.objectives", objective(`events: {metric: found, target: "99%"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`events: {target: "99%"}`), required},
		{"ExperienceSLO", "spec.objectives", objective(`source: Probe, latency: {threshold: 1s, target: "99%"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`source: Survey, latency: {threshold: 1s, target: "99%"}`), "this source cannot serve this objective: availability and latency come from Probe or Metric; ces, csat and nps from Survey or Metric; events from Metric"},
		{"ExperienceSLO", "spec.objectives", objective(`source: Probe, ces: {easeShare: "80%"}`), "this source cannot serve this objective"},
		{"ExperienceSLO", "spec.objectives", objective(`source: Metric, csat: {target: "80%"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`source: Survey, events: {metric: found, target: "99%"}`), "this source cannot serve this objective"},
		{"ExperienceSLO", "spec.objectives", objective(`source: Log, csat: {target: "80%"}`), notEnum},
		{"ExperienceSLO", "spec.objectives", objective(`minResponses: 50, csat: {target: "80%"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`minResponses: 50, availability: {target: "99%"}`), "minResponses is for surveys (ces, csat, nps); for availability, latency and events set minLosses"},
		{"ExperienceSLO", "spec.objectives", objective(`minLosses: 5, availability: {target: "99%"}`), ""},
		{"ExperienceSLO", "spec.objectives", objective(`minLosses: 5, nps: {target: 5}`), "minLosses is for traffic (availability, latency, events); for ces, csat and nps set minResponses"},
		{"ExperienceSLO", "spec.objectives", objective(`minResponses: 0, csat: {target: "80%"}`), atLeast},
		{"ExperienceSLO", "spec.objectives", objective(`minResponses: 100001, csat: {target: "80%"}`), atMost},
		{"ExperienceSLO", "spec.objectives", objective(`minLosses: 0, availability: {target: "99%"}`), atLeast},
		{"ExperienceSLO", "spec.alerting", "{disabled: true, severities: [Page, Ticket], runbookURL: 'https://wiki/'}", ""},
		{"ExperienceSLO", "spec.alerting", "{severities: [Page, Page]}", "Duplicate value"},
		{"ExperienceSLO", "spec.alerting", "{severities: [Shout]}", notEnum},
		{"ExperienceSLO", "spec.alerting", "{labels: {service: shop}}", ""},
		{"ExperienceSLO", "spec.alerting", "{labels: {a: b, c: d, e: f, g: h, i: j, k: l, m: n, o: p, q: r}}", "must have at most 8 items"},
		{"ExperienceSLO", "spec.alerting", "{labels: {a-b: c}}", "a label's name must be letters, digits and underscores, at most 63, and not begin with two underscores"},
		{"ExperienceSLO", "spec.alerting", "{labels: {__a: c}}", "and not begin with two underscores"},
		{"ExperienceSLO", "spec.alerting", "{labels: {" + strings.Repeat("a", 64) + ": c}}", "at most 63"},
		{"ExperienceSLO", "spec.alerting", "{labels: {severity: c}}", "this label's name is taken by Sojourn: choose another than"},
		{"ExperienceSLO", "spec.alerting", "{labels: {team: c}}", "this label's name is taken by Sojourn"},
		{"ExperienceSLO", "spec.alerting", "{labels: {promise: c}}", "this label's name is taken by Sojourn"},
		{"ExperienceSLO", "spec.alerting", "{labels: {a: '{{ $value }}'}}", "a label's value is taken as it stands: templates ({{ }}) are not expanded here"},
		{"ExperienceSLO", "spec.alerting", "{labels: {a: ''}}", "should be at least 1 chars long"},
		{"ExperienceSLO", "spec.alerting", "{labels: {a: " + quoted(129) + "}}", tooLong},
		{"ExperienceSLO", "spec.alerting", "{runbookURL: see the wiki}", pattern},

		// Journey.
		{"Journey", "spec", "", required},
		{"Journey", "spec.stages", "", required},
		{"Journey", "spec.stages", "[]", "should have at least 1 items"},
		{"Journey", "spec.stages", repeat(20, "{name: s#, touchpoints: [{name: a}]}"), ""},
		{"Journey", "spec.stages", repeat(21, "{name: s#, touchpoints: [{name: a}]}"), many(20)},
		{"Journey", "spec.stages", "[{name: s, touchpoints: [{name: a}]}, {name: s, touchpoints: [{name: a}]}]", "Duplicate value"},
		{"Journey", "spec.stages", "[{name: s}]", required},
		{"Journey", "spec.stages", "[{name: s, touchpoints: []}]", "should have at least 1 items"},
		{"Journey", "spec.stages", "[{name: s, touchpoints: " + repeat(51, "{name: t#}") + "}]", many(50)},
		{"Journey", "spec.stages", "[{name: s, touchpoints: [{name: a}, {name: b, namespace: other, momentOfTruth: true}, {name: a}]}]", ""},
		{"Journey", "spec.stages", "[{name: s, touchpoints: [{name: a, namespace: A}]}]", pattern},
		{"Journey", "spec.stages", "[{name: s, touchpoints: [{namespace: a}]}]", required},
		{"Journey", "spec.stages", "[{name: s, touchpoints: [{name: a}], entries: " + quoted(2049) + "}]", tooLong},
		{"Journey", "spec.type", "Employee", ""},
		{"Journey", "spec.type", "Robot", notEnum},
		{"Journey", "spec.personas", repeat(9, "{name: p#}"), many(8)},
		{"Journey", "spec.personas", "[{name: p}, {name: p}]", "Duplicate value"},
		{"Journey", "spec.kpis", "[{name: k, query: a, target: '<= 5'}]", ""},
		{"Journey", "spec.kpis", "[{name: k, query: a, target: '-0.25'}]", ""},
		{"Journey", "spec.kpis", "[{name: k, query: a, target: at least 5}]", "spec.kpis[0].target in body should match"},
		{"Journey", "spec.kpis", "[{name: k}]", required},
		{"Journey", "spec.kpis", repeat(21, "{name: k#, query: a}"), many(20)},
	} {
		value := test.value
		if len(value) > 90 {
			value = value[:90] + "…"
		}
		t.Run(test.kind+" "+test.path+"="+value, func(t *testing.T) {
			t.Parallel()
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(bases[test.kind]), &object.Object); err != nil {
				t.Fatal(err)
			}
			change(t, object.Object, test.path, test.value)
			created, err := resources(test.kind).Create(t.Context(), object, metav1.CreateOptions{
				DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict,
			})
			switch {
			case test.message == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case test.message == "":
				decode(t, created)
			case err == nil:
				t.Fatalf("accepted, but should be refused with %q", test.message)
			case !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err):
				t.Fatalf("not a refusal: %v", err)
			case !strings.Contains(err.Error(), test.message):
				t.Fatalf("refused with\n%v\nnot with\n%s", err, test.message)
			}
		})
	}
}

// decode makes sure that whatever admission accepts, our programs can read.
func decode(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	text, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]any{
		"Touchpoint": &v1alpha1.Touchpoint{}, "ExperienceSLO": &v1alpha1.ExperienceSLO{}, "Journey": &v1alpha1.Journey{},
	}
	typed := kinds[object.GetKind()]
	if err := yaml.UnmarshalStrict(text, typed); err != nil {
		t.Fatalf("accepted, but cannot be decoded: %v", err)
	}
	var failures []error
	check := func(_ any, err error) {
		if err != nil {
			failures = append(failures, err)
		}
	}
	switch object := typed.(type) {
	case *v1alpha1.Touchpoint:
		if object.Spec.Probe != nil {
			check(object.Spec.Probe.Interval.Value())
			check(object.Spec.Probe.Timeout.Value())
		}
	case *v1alpha1.ExperienceSLO:
		for _, o := range object.Spec.Objectives {
			if o.Availability != nil {
				check(o.Availability.Target.Value())
			}
			if o.Latency != nil {
				check(o.Latency.Threshold.Value())
				check(o.Latency.Target.Value())
			}
			if o.CES != nil && o.CES.EaseShare != "" {
				check(o.CES.EaseShare.Value())
			}
			if o.CES != nil && o.CES.Net != "" {
				check(o.CES.Net.Value())
			}
			if o.CES != nil && o.CES.Mean != "" {
				check(o.CES.Mean.Value())
			}
		}
	}
	for _, err := range failures {
		t.Errorf("accepted, but: %v", err)
	}
}

func TestDefaults(t *testing.T) {
	for kind, want := range map[string]string{
		"Touchpoint": `
spec:
  channel: Web
  class: Standard
  kano: Performance
  ownership: Brand
  probe: {interval: 30s, timeout: 10s, backend: Prober, http: {url: http://shop.shop.svc/checkout}}
  survey: {instruments: [{type: CES}], comments: Keep}`,
		"ExperienceSLO": `
spec:
  window: 28d
  targets: {touchpoints: [checkout]}
  objectives: [{name: speed, latency: {threshold: 300ms, target: "99%"}}]`,
		"Journey": `
spec:
  type: Customer
  scoring: PeakEnd
  stages: [{name: purchase, touchpoints: [{name: checkout}]}]`,
	} {
		t.Run(kind, func(t *testing.T) {
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(bases[kind]), &object.Object); err != nil {
				t.Fatal(err)
			}
			created, err := resources(kind).Create(t.Context(), object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				t.Fatal(err)
			}
			want += `
status:
  conditions:
  - {type: Ready, status: Unknown, reason: Pending, message: waiting for the controller, lastTransitionTime: "1970-01-01T00:00:00Z"}`
			var wanted map[string]any
			if err := yaml.Unmarshal([]byte(want), &wanted); err != nil {
				t.Fatal(err)
			}
			got, err := yaml.Marshal(map[string]any{"spec": created.Object["spec"], "status": created.Object["status"]})
			if err != nil {
				t.Fatal(err)
			}
			expected, err := yaml.Marshal(wanted)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(expected) {
				t.Errorf("got\n%s\nwant\n%s", got, expected)
			}
		})
	}
}

func seventeenLabels() string {
	var labels []string
	for i := range 17 {
		labels = append(labels, fmt.Sprintf("l%d: x", i))
	}
	return strings.Join(labels, ", ")
}
