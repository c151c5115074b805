package flows

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
)

// Names that expressions on an answer may use.
const (
	NameStatus        = "status"
	NameHeaders       = "headers"
	NameBody          = "body"
	NameJSON          = "json"
	NameLatency       = "latency"
	NameAnswers       = "answers"
	NameTLSVersion    = "tls.version"
	NameTLSNotAfter   = "tls.notAfter"
	NameTLSRemaining  = "tls.remaining"
	NameTLSSubject    = "tls.subject"
	NameTLSIssuer     = "tls.issuer"
	NameTLSNames      = "tls.dnsNames"
	variablePrefix    = "vars."
	costLimit         = 1_000_000 // about a tenth of a second
	nestingLimit      = 50
	maxProducedLength = 64 << 10
)

var textType = cel.StringType

// environments are built once: building one takes milliseconds.
var environments = sync.OnceValues(func() (envs struct{ request, answer *cel.Env }, err error) {
	options := []cel.EnvOption{
		cel.CrossTypeNumericComparisons(true),
		cel.ParserRecursionLimit(nestingLimit),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
		ext.Strings(), ext.Encoders(),
		cel.Function("toJSON", cel.Overload("toJSON_dyn", []*cel.Type{cel.DynType}, cel.StringType, cel.UnaryBinding(toJSON))),
		cel.Function("urlEncode", cel.Overload("urlEncode_string", []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(func(text ref.Val) ref.Val { return types.String(url.QueryEscape(string(text.(types.String)))) }))),
	}
	if envs.request, err = cel.NewEnv(options...); err != nil {
		return envs, err
	}
	envs.answer, err = envs.request.Extend(
		cel.Variable(NameStatus, cel.IntType),
		cel.Variable(NameHeaders, cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable(NameBody, cel.StringType),
		cel.Variable(NameJSON, cel.DynType),
		cel.Variable(NameLatency, cel.DurationType),
		cel.Variable(NameAnswers, cel.ListType(cel.StringType)),
		cel.Variable(NameTLSVersion, cel.StringType),
		cel.Variable(NameTLSNotAfter, cel.TimestampType),
		cel.Variable(NameTLSRemaining, cel.DurationType),
		cel.Variable(NameTLSSubject, cel.StringType),
		cel.Variable(NameTLSIssuer, cel.StringType),
		cel.Variable(NameTLSNames, cel.ListType(cel.StringType)),
	)
	return envs, err
})

// toJSON writes a value as JSON, so that a password with a quotation mark in it
// cannot change what a body says.
func toJSON(value ref.Val) ref.Val {
	native, err := value.ConvertToNative(types.JSONValueType)
	if err != nil {
		return types.WrapErr(err)
	}
	text, err := json.Marshal(native)
	if err != nil {
		return types.WrapErr(err)
	}
	return types.String(text)
}

// scope is what expressions know at one place of a flow.
type scope struct {
	variables []cel.EnvOption
	sensitive map[string]bool // by whole name
	extended  struct{ request, answer *cel.Env }
}

func newScope() *scope { return &scope{sensitive: map[string]bool{}} }

// declare makes a variable known to the expressions compiled from now on.
func (s *scope) declare(name string, kind *cel.Type, sensitive bool) error {
	if _, twice := s.sensitive[name]; twice {
		return fmt.Errorf("%s exists already: give this one another name", name)
	}
	s.sensitive[name] = sensitive
	s.variables = append(s.variables, cel.Variable(name, kind))
	s.extended.request, s.extended.answer = nil, nil
	return nil
}

func (s *scope) environment(answer bool) (*cel.Env, error) {
	base, err := environments()
	if err != nil {
		return nil, err
	}
	from, to := base.request, &s.extended.request
	if answer {
		from, to = base.answer, &s.extended.answer
	}
	if len(s.variables) == 0 {
		return from, nil
	}
	if *to == nil {
		*to, err = from.Extend(s.variables...)
	}
	return *to, err
}

// condition compiles an expression on an answer that is true or false.
func (s *scope) condition(text string) (*Expression, error) {
	return s.compile(text, true, cel.BoolType, "it must be true or false, for example status == 200")
}

// extraction compiles an expression on an answer.
func (s *scope) extraction(text string) (*Expression, error) { return s.compile(text, true, nil, "") }

// text compiles an expression on variables alone that is a text.
func (s *scope) text(text string) (*Expression, error) {
	return s.compile(text, false, cel.StringType, "it must be a text: write string(...) around it")
}

func (s *scope) compile(text string, answer bool, want *cel.Type, remedy string) (*Expression, error) {
	env, err := s.environment(answer)
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if issues != nil && issues.Err() != nil {
		return nil, mistake(issues.Errors()[0])
	}
	if want != nil && !ast.OutputType().IsExactType(want) && !ast.OutputType().IsExactType(cel.DynType) {
		return nil, fmt.Errorf("line 1, column 1: the expression is of type %s; %s", cel.FormatCELType(ast.OutputType()), remedy)
	}
	program, err := env.Program(ast, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, err
	}
	e := &Expression{program: program, output: ast.OutputType()}
	for _, reference := range ast.NativeRep().ReferenceMap() {
		switch reference.Name {
		case NameBody, NameJSON:
			e.readsBody = true
		}
		e.Sensitive = e.Sensitive || s.sensitive[reference.Name]
	}
	return e, nil
}

// mistake writes a message of the compiler as one sentence that begins with the
// position.
func mistake(found *cel.Error) error {
	message := strings.Join(strings.Fields(found.Message), " ")
	message = strings.TrimSuffix(message, " (in container '')")
	return fmt.Errorf("line %d, column %d: %s", found.Location.Line(), found.Location.Column()+1, message)
}

// Expression is a compiled expression. It may be evaluated by many at once.
type Expression struct {
	// Sensitive says that the value must not be shown.
	Sensitive bool

	program   cel.Program
	output    *cel.Type
	readsBody bool
}

// Names finds the values of names.
type Names interface {
	// Lookup returns the value of a name, or an error that says why it has none.
	Lookup(name string) (any, error)
}

// Text evaluates an expression that is a text.
func (e *Expression) Text(names Names) (string, error) {
	value, err := e.Value(names)
	if err != nil {
		return "", err
	}
	text, is := value.(types.String)
	switch {
	case !is:
		return "", fmt.Errorf("the expression is of type %s, not a text", value.Type().TypeName())
	case len(text) > maxProducedLength:
		return "", fmt.Errorf("the expression gives a text of more than %d bytes", maxProducedLength)
	}
	return string(text), nil
}

// True evaluates a condition.
func (e *Expression) True(names Names) (bool, error) {
	value, err := e.Value(names)
	if err != nil {
		return false, err
	}
	truth, is := value.(types.Bool)
	if !is {
		return false, fmt.Errorf("the expression is of type %s, not true or false", value.Type().TypeName())
	}
	return bool(truth), nil
}

// Value evaluates an expression to what a later one may use. Errors never hold the
// values that led to them.
func (e *Expression) Value(names Names) (ref.Val, error) {
	looked := &lookup{names: names}
	result, _, err := e.program.Eval(looked)
	switch {
	case err == nil:
		// A name without a value may not have mattered: true || json.ok is true.
		return result, nil
	case looked.err != nil:
		return nil, looked.err
	case strings.Contains(err.Error(), "cost limit"):
		return nil, errors.New("the expression costs too much: look at less of the answer")
	}
	return nil, errors.New(evaluationError(err))
}

// evaluationError keeps of CEL's messages those that cannot hold a piece of an answer.
func evaluationError(err error) string {
	message := err.Error()
	for _, known := range []string{"no such key", "index out of bounds"} {
		if strings.HasPrefix(message, known) {
			return message // the key is written in the expression
		}
	}
	for _, known := range []string{"no such overload", "divide by zero", "division by zero", "no such attribute"} {
		if strings.Contains(message, known) {
			return known
		}
	}
	return "the expression cannot be evaluated on this answer"
}

// Strings lists the texts in a value, those in lists and maps too.
func Strings(value ref.Val) []string {
	switch value := value.(type) {
	case types.String:
		return []string{string(value)}
	case traits.Mapper:
		var found []string
		for it := value.Iterator(); it.HasNext() == types.True; {
			found = append(found, Strings(value.Get(it.Next()))...)
		}
		return found
	case traits.Lister:
		var found []string
		for it := value.Iterator(); it.HasNext() == types.True; {
			found = append(found, Strings(it.Next())...)
		}
		return found
	default:
		if text, is := value.ConvertToType(types.StringType).(types.String); is {
			return []string{string(text)}
		}
	}
	return nil
}

// lookup is what a program asks for its names.
type lookup struct {
	names Names
	err   error
}

// ResolveName finds a value.
func (l *lookup) ResolveName(name string) (any, bool) {
	value, err := l.names.Lookup(name)
	if err != nil {
		l.err = err
		return nil, false
	}
	return value, true
}

// Parent is that of no other.
func (l *lookup) Parent() cel.Activation { return nil }
