// Package flows checks and compiles what a Touchpoint's probe does. The manager asks
// it whether a probe can work; the prober runs what it returns. It knows neither an
// API server nor a network.
package flows

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// ShortFormStep is the name of the only step of a probe that is written as http.
const ShortFormStep v1alpha1.Name = "http"

// ProbeLabel must be "true" on every Secret and ConfigMap from which a probe takes
// values.
const ProbeLabel = "sojourn.dev/probe"

// Flow is a probe that can work. It is never changed, and may be run by many at once.
type Flow struct {
	// Variables are set before the first step, in this order.
	Variables []Variable
	// Steps are made in this order.
	Steps []Step
	// References are the keys of Secrets and ConfigMaps that the flow reads, each once.
	References []Reference
}

// Variable is what expressions know as vars.<name>.
type Variable struct {
	// Name is the whole name, vars.<name>.
	Name  string
	Value Value
}

// Value is a text that is known, or that is found out before or while the flow runs.
// Exactly one of the fields is set; none means the empty text.
type Value struct {
	Literal    string
	Reference  *Reference
	Expression *Expression
}

// Sensitive says whether the value must not be shown.
func (v Value) Sensitive() bool {
	return v.Reference != nil && v.Reference.Secret || v.Expression != nil && v.Expression.Sensitive
}

// Reference names a key of a Secret or ConfigMap in the touchpoint's namespace.
type Reference struct {
	Secret    bool
	Name, Key string
}

// String names the key for people.
func (r Reference) String() string {
	kind := "ConfigMap"
	if r.Secret {
		kind = "Secret"
	}
	return fmt.Sprintf("key %s of %s %s", r.Key, kind, r.Name)
}

// Step is one step.
type Step struct {
	// ProbeStep is what is written. It is only read.
	*v1alpha1.ProbeStep
	// URL, Headers, Query and Body are those of HTTP; Headers and Query in the order
	// in which they are written.
	URL     Value
	Headers []Value
	Query   []Value
	Body    Value
	// TLS is that of HTTP, gRPC or TLS, if there is any.
	TLS *v1alpha1.TLSOptions
	// CA, Certificate and Key are nil where the TLS does not name them.
	CA, Certificate, Key *Reference
	Conditions           []Condition
	Extractions          []Extraction
	// ReadsBody says that an expression looks at what the other side said.
	ReadsBody bool
}

// Condition is what must be true of an answer.
type Condition struct {
	*Expression
	// Message says to people what it means if it is not.
	Message string
}

// Extraction is a value for later steps.
type Extraction struct {
	*Expression
	// Name is the whole name, vars.<name>.
	Name string
}

// Problem is why a probe cannot work.
type Problem struct {
	// Field is where in the Touchpoint the mistake is.
	Field string
	// Message says what is wrong, and where in an expression.
	Message string
}

// Error makes a problem an error.
func (p Problem) Error() string { return p.Field + ": " + p.Message }

// Compile compiles a probe. If there is any problem, there is no flow.
func Compile(probe *v1alpha1.Probe) (*Flow, []Problem) {
	c := &compiler{flow: &Flow{References: References(probe)}, scope: newScope()}
	const root = "spec.probe"
	for _, variable := range probe.Variables {
		c.variable(root, variable)
	}
	switch {
	case probe.HTTP != nil:
		c.step(root, &v1alpha1.ProbeStep{Name: ShortFormStep, HTTP: probe.HTTP})
	case len(probe.Steps) > 0:
		for i := range probe.Steps {
			c.step(fmt.Sprintf("%s.steps[%s]", root, probe.Steps[i].Name), &probe.Steps[i])
		}
	default:
		c.problem(root, "the probe does not say what to visit: set http or steps")
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return c.flow, nil
}

// compiler is the state of one compilation.
type compiler struct {
	flow     *Flow
	scope    *scope
	problems []Problem
}

func (c *compiler) problem(field, format string, args ...any) {
	c.problems = append(c.problems, Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

func (c *compiler) variable(root string, variable v1alpha1.ProbeVariable) {
	field := fmt.Sprintf("%s.variables[%s]", root, variable.Name)
	name := variablePrefix + string(variable.Name)
	value := c.value(field, variable.Value, variable.ValueFrom)
	if err := c.scope.declare(name, textType, value.Sensitive()); err != nil {
		c.problem(field, "%v", err)
		return
	}
	c.flow.Variables = append(c.flow.Variables, Variable{Name: name, Value: value})
}

// value compiles a text that is written at a field.
func (c *compiler) value(field, literal string, from *v1alpha1.ValueSource) Value {
	if from == nil {
		return Value{Literal: literal}
	}
	return c.source(field+".valueFrom", from)
}

func (c *compiler) source(field string, from *v1alpha1.ValueSource) Value {
	switch {
	case from.SecretKeyRef != nil:
		return Value{Reference: refer(true, from.SecretKeyRef)}
	case from.ConfigMapKeyRef != nil:
		return Value{Reference: refer(false, from.ConfigMapKeyRef)}
	}
	expression, err := c.scope.text(string(from.Expression))
	if err != nil {
		c.problem(field+".expression", "%v", err)
		return Value{}
	}
	return Value{Expression: expression}
}

func refer(secret bool, key *v1alpha1.KeyReference) *Reference {
	return &Reference{Secret: secret, Name: key.Name, Key: key.Key}
}

func (c *compiler) step(field string, written *v1alpha1.ProbeStep) {
	s := Step{ProbeStep: written}
	switch {
	case written.HTTP != nil:
		c.http(field+".http", &s, written.HTTP)
	case written.GRPC != nil:
		s.trust(written.GRPC.TLS)
		c.address(field+".grpc.address", written.GRPC.Address)
	case written.TLS != nil:
		s.trust(&written.TLS.TLSOptions)
		c.address(field+".tls.address", written.TLS.Address)
	case written.TCP != nil:
		c.address(field+".tcp.address", written.TCP.Address)
	case written.DNS != nil:
		if written.DNS.Server != "" {
			c.address(field+".dns.server", written.DNS.Server)
		}
	case written.ICMP != nil:
	default:
		c.problem(field, "the step does not say what to do: set http, tcp, dns, icmp, grpc or tls")
	}
	for i, assertion := range written.Assertions {
		at := fmt.Sprintf("%s.assertions[%d].expression", field, i)
		expression, err := c.scope.condition(string(assertion.Expression))
		if err != nil {
			c.problem(at, "%v", err)
			continue
		}
		message := assertion.Message
		if message == "" {
			message = string(assertion.Expression)
		}
		s.ReadsBody = s.ReadsBody || expression.readsBody
		s.Conditions = append(s.Conditions, Condition{Expression: expression, Message: message})
	}
	// What a step extracts is known only after it, to all its expressions alike.
	type declaration struct {
		name       string
		expression *Expression
		sensitive  bool
	}
	var declarations []declaration
	for _, extraction := range written.Extract {
		at := fmt.Sprintf("%s.extract[%s]", field, extraction.Name)
		expression, err := c.scope.extraction(string(extraction.Expression))
		if err != nil {
			c.problem(at+".expression", "%v", err)
			continue
		}
		name := variablePrefix + string(extraction.Name)
		expression.Sensitive = expression.Sensitive || extraction.Sensitive
		s.ReadsBody = s.ReadsBody || expression.readsBody
		s.Extractions = append(s.Extractions, Extraction{Expression: expression, Name: name})
		declarations = append(declarations, declaration{name, expression, expression.Sensitive})
	}
	for _, d := range declarations {
		if err := c.scope.declare(d.name, d.expression.output, d.sensitive); err != nil {
			c.problem(fmt.Sprintf("%s.extract[%s]", field, strings.TrimPrefix(d.name, variablePrefix)), "%v", err)
		}
	}
	c.flow.Steps = append(c.flow.Steps, s)
}

func (c *compiler) http(field string, s *Step, http *v1alpha1.HTTPProbe) {
	s.URL = Value{Literal: string(http.URL)}
	if http.URLFrom != nil {
		s.URL = c.source(field+".urlFrom", http.URLFrom)
	}
	for _, header := range http.Headers {
		s.Headers = append(s.Headers, c.value(fmt.Sprintf("%s.headers[%s]", field, header.Name), header.Value, header.ValueFrom))
	}
	for i, parameter := range http.Query {
		s.Query = append(s.Query, c.value(fmt.Sprintf("%s.query[%d]", field, i), parameter.Value, parameter.ValueFrom))
	}
	if http.Body != nil {
		s.Body = c.value(field+".body", http.Body.Value, http.Body.ValueFrom)
	}
	s.trust(http.TLS)
}

// trust takes over what a step says about TLS.
func (s *Step) trust(options *v1alpha1.TLSOptions) {
	s.TLS = options
	if options == nil {
		return
	}
	if options.CA != nil {
		if options.CA.SecretKeyRef != nil {
			s.CA = refer(true, options.CA.SecretKeyRef)
		} else if options.CA.ConfigMapKeyRef != nil {
			s.CA = refer(false, options.CA.ConfigMapKeyRef)
		}
	}
	if name := options.ClientCertificateSecret; name != "" {
		s.Certificate = refer(true, &v1alpha1.KeyReference{Name: name, Key: certificateKey})
		s.Key = refer(true, &v1alpha1.KeyReference{Name: name, Key: privateKey})
	}
}

// address looks at the port, whose range a pattern cannot tell.
func (c *compiler) address(field string, address v1alpha1.HostPort) {
	_, port, _ := strings.Cut(string(address)[strings.LastIndex(string(address), "]")+1:], ":")
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		c.problem(field, "port %s is not between 1 and 65535", port)
	}
}
