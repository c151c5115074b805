package probe

import (
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/flows"
)

// Spec is the short form in one line of Go.
type Spec struct {
	URL, Method      string
	Headers          []Header
	ExpectedStatuses []int32
	Timeout          time.Duration
}

// Header is one header of a Spec.
type Header struct{ Name, Value string }

// newProbe makes a probe of this machine.
func newProbe(options Options, spec Spec) (*Probe, error) {
	http := &v1alpha1.HTTPProbe{URL: v1alpha1.URL(spec.URL), Method: spec.Method, ExpectedStatuses: spec.ExpectedStatuses}
	for _, header := range spec.Headers {
		http.Headers = append(http.Headers, v1alpha1.HTTPHeader{Name: header.Name, Value: header.Value})
	}
	flow, problems := flows.Compile(&v1alpha1.Probe{HTTP: http})
	if len(problems) > 0 {
		return nil, problems[0]
	}
	options.Guard = anywhere
	return NewClient(options).New(flow, nil, spec.Timeout)
}

// compile makes a probe as it is written in a Touchpoint.
func compile(t testing.TB, options Options, values Values, text string) *Probe {
	t.Helper()
	p, err := tryCompile(t, options, values, text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryCompile(t testing.TB, options Options, values Values, text string) (*Probe, error) {
	t.Helper()
	var written v1alpha1.Probe
	if err := yaml.UnmarshalStrict([]byte(text), &written); err != nil {
		t.Fatal(err)
	}
	flow, problems := flows.Compile(&written)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	timeout := 5 * time.Second
	if written.Timeout != "" {
		timeout, _ = written.Timeout.Value()
	}
	return NewClient(options).New(flow, values, timeout)
}
