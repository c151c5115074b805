package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/json"

	"github.com/sojourn-dev/sojourn/controllers/flows"
)

// cleaning is how long all alwaysRun steps together may take once a visit has failed.
const cleaning = 5 * time.Second

// Run makes one visit and returns when it is over, at the latest after the probe's
// timeout, and five seconds more for steps that always run. Calling ctx off ends it
// at once, with an empty outcome.
func (p *Probe) Run(ctx context.Context) Result {
	r := &run{probe: p, ctx: ctx, secrets: p.secrets}
	result := Result{Outcome: OutcomeSuccess, Start: time.Now(), Steps: make([]StepResult, len(p.steps))}
	end := result.Start.Add(p.timeout)
	failed := r.compute()
	if failed != nil {
		result.fail("", r.told(failed, false))
	}
	for i := range p.steps {
		s, told := &p.steps[i], &result.Steps[i]
		told.Name = s.name
		if failed != nil && !s.AlwaysRun {
			continue
		}
		begin := time.Now()
		r.deadline = end
		if s.timeout > 0 {
			r.deadline = earlier(end, begin.Add(s.timeout))
		}
		told.Made = true
		if problem := r.step(s, told, begin); problem != nil {
			*problem = r.told(problem, s.hidden)
			told.Reason, told.Detail = problem.reason, problem.err.Error()
			if failed == nil {
				failed = problem
				result.fail(s.name, *problem)
				// What cleans up has time for it, even if the visit had none left.
				end = later(end, time.Now().Add(cleaning))
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	result.Duration = time.Since(result.Start)
	r.hangUp()
	if ctx.Err() != nil {
		return Result{}
	}
	return result
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (r *Result) fail(step string, why failure) {
	r.Outcome = OutcomeFailure
	if why.reason == ReasonConfig {
		r.Outcome = OutcomeError
	}
	r.FailedStep, r.Reason, r.Detail = step, why.reason, why.err.Error()
}

// failure is why a step did not succeed.
type failure struct {
	reason Reason
	err    error
}

func failf(reason Reason, format string, args ...any) *failure {
	return &failure{reason, fmt.Errorf(format, args...)}
}

// run is the state of one visit.
type run struct {
	probe    *Probe
	ctx      context.Context // ends when the visit is called off
	deadline time.Time       // of the present step
	line     *line           // the connection that HTTP keeps
	jar      *cookiejar.Jar
	vars     map[string]any // what was computed and extracted
	secrets  []string
}

// answer is what the other side said in one step.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	answers []string
	tls     *tls.ConnectionState
	expiry  time.Time
	phases  Phases
	latency time.Duration

	json    any
	jsonErr error
	parsed  bool
}

// step makes one step and tells what it came to.
func (r *run) step(s *step, told *StepResult, begin time.Time) *failure {
	if !time.Now().Before(r.deadline) {
		return failf(ReasonTimeout, "no time was left for the step")
	}
	a := &answer{}
	failed := s.action.make(r, a)
	told.Duration = time.Since(begin)
	// The other side was in time or not before we look at what it said.
	late := !time.Now().Before(r.deadline)
	told.Status, told.Phases, told.CertificateExpiry = a.status, a.phases, a.expiry
	switch {
	case failed == nil && late:
		return failf(ReasonTimeout, "over only after %s", told.Duration.Round(time.Millisecond))
	case failed == nil:
		a.latency = told.Duration
		return r.judge(s, a)
	// The connection's deadline may strike a moment before ours.
	case failed.reason != ReasonDenied && failed.reason != ReasonConfig &&
		(late || errors.Is(failed.err, os.ErrDeadlineExceeded)):
		return failf(ReasonTimeout, "not over after %s: %w", told.Duration.Round(time.Millisecond), failed.err)
	}
	return failed
}

// judge looks at an answer as the assertions want, and takes from it what later steps
// need.
func (r *run) judge(s *step, a *answer) *failure {
	names := names{r, a}
	for _, condition := range s.Conditions {
		truth, err := condition.True(names)
		if err != nil {
			return unusable(err, condition.Message)
		}
		if !truth {
			return failf(ReasonAssertion, "not true: %s", condition.Message)
		}
	}
	var extracted map[string]any
	for _, extraction := range s.Extractions {
		value, err := extraction.Extract(names)
		if err != nil {
			return unusable(err, extraction.Name)
		}
		if extraction.Sensitive {
			r.hide(flows.Strings(value)...)
		}
		if extracted == nil {
			extracted = map[string]any{}
		}
		extracted[extraction.Name] = value
	}
	for name, value := range extracted {
		r.set(name, value)
	}
	return nil
}

func unusable(err error, what string) *failure {
	reason := ReasonAssertion
	if errors.Is(err, errNotJSON) {
		reason = ReasonBody
	}
	return failf(reason, "%s: %w", what, err)
}

// compute finds the variables of the probe that are expressions.
func (r *run) compute() *failure {
	for _, variable := range r.probe.variables {
		text, failed := r.text(variable.Value)
		if failed != nil {
			return failed
		}
		r.set(variable.Name, text)
	}
	return nil
}

// text finds a value that is an expression.
func (r *run) text(value flows.Value) (string, *failure) {
	text, err := value.Expression.Text(names{r, nil})
	if err != nil {
		return "", failf(ReasonAssertion, "a value cannot be computed: %w", err)
	}
	if value.Expression.Sensitive {
		r.hide(text)
	}
	return text, nil
}

func (r *run) set(name string, value any) {
	if r.vars == nil {
		r.vars = map[string]any{}
	}
	r.vars[name] = value
}

// hide keeps texts out of everything that is told of this visit.
func (r *run) hide(texts ...string) {
	r.secrets = append(r.secrets[:len(r.secrets):len(r.secrets)], texts...)
}

// told is a failure in a form that may be told.
func (r *run) told(failed *failure, hidden bool) failure {
	detail := "the address is secret, and so is what happened there"
	if !hidden || failed.reason == ReasonAssertion {
		detail = redact(failed.err.Error(), r.secrets)
	}
	return failure{failed.reason, errors.New(detail)}
}

var errNotJSON = errors.New("the body is not JSON")

// names are those that expressions know.
type names struct {
	*run
	*answer // nil: before the answer
}

// Lookup finds the value of a name.
func (n names) Lookup(name string) (any, error) {
	if strings.HasPrefix(name, "vars.") {
		if value, has := n.vars[name]; has {
			return value, nil
		}
		if value, has := n.probe.constants[name]; has {
			return value, nil
		}
		// Only what always runs can come so far without it.
		return nil, fmt.Errorf("%s is not known: the step that extracts it did not succeed", name)
	}
	switch name {
	case flows.NameStatus:
		return n.status, nil
	case flows.NameBody:
		return string(n.body), nil
	case flows.NameLatency:
		return n.latency, nil
	case flows.NameAnswers:
		return n.answers, nil
	case flows.NameHeaders:
		headers := make(map[string]string, len(n.header))
		for name, values := range n.header {
			headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
		return headers, nil
	case flows.NameJSON:
		if !n.parsed {
			n.parsed = true
			// Whole numbers stay whole, so that string(json.id) is what was sent.
			if err := json.UnmarshalCaseSensitivePreserveInts(n.body, &n.answer.json); err != nil {
				n.jsonErr = errNotJSON
			}
		}
		return n.answer.json, n.jsonErr
	}
	if n.tls == nil || len(n.tls.PeerCertificates) == 0 {
		return nil, errors.New("there was no TLS")
	}
	leaf := n.tls.PeerCertificates[0]
	switch name {
	case flows.NameTLSVersion:
		return tls.VersionName(n.tls.Version), nil
	case flows.NameTLSNotAfter:
		return n.expiry, nil
	case flows.NameTLSRemaining:
		return time.Until(n.expiry), nil
	case flows.NameTLSSubject:
		return leaf.Subject.String(), nil
	case flows.NameTLSIssuer:
		return leaf.Issuer.String(), nil
	case flows.NameTLSNames:
		return leaf.DNSNames, nil
	}
	return nil, fmt.Errorf("%s is not known", name)
}
