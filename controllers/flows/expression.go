package flows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
	"github.com/google/cel-go/interpreter"
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
	timeLimit         = 2 * time.Second
	interruptEvery    = 100 // turns of a loop
	nestingLimit      = 50
	maxProducedLength = 64 << 10
)

// What our own functions are called inside CEL.
const (
	toJSONOverload    = "toJSON_dyn"
	urlEncodeOverload = "urlEncode_string"
)

var textType = cel.StringType

// environments are built once: building one takes milliseconds.
var environments = sync.OnceValues(func() (envs struct{ request, answer *cel.Env }, err error) {
	texts, err := boundedStrings()
	if err != nil {
		return envs, err
	}
	options := append(texts,
		cel.CrossTypeNumericComparisons(true),
		cel.ParserRecursionLimit(nestingLimit),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
		ext.Encoders(),
		cel.Function("toJSON", cel.Overload(toJSONOverload, []*cel.Type{cel.DynType}, cel.StringType, cel.UnaryBinding(toJSON))),
		cel.Function("urlEncode", cel.Overload(urlEncodeOverload, []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(func(text ref.Val) ref.Val { return types.String(url.QueryEscape(string(text.(types.String)))) }))),
	)
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
	if tooLarge(value) {
		return errCost
	}
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
	program, err := env.Program(ast, cel.CostLimit(costLimit), prices(), cel.CustomDecoratorV2(boundComparisons), cel.InterruptCheckFrequency(interruptEvery), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, err
	}
	e := &Expression{program: program, output: ast.OutputType(), text: text}
	celast.PostOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(part celast.Expr) {
		e.loops = e.loops || part.Kind() == celast.ComprehensionKind
	}))
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
	text      string
	readsBody bool
	loops     bool // over a list or map
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
	result, err := e.evaluate(looked)
	switch {
	case err == nil:
		// A name without a value may not have mattered: true || json.ok is true.
		return result, nil
	case looked.err != nil:
		return nil, looked.err
	case strings.Contains(err.Error(), "cost limit"), errors.Is(err, interpreter.InterruptError{}):
		return nil, errCostsTooMuch
	}
	return nil, errors.New(e.explain(err))
}

var errCostsTooMuch = errors.New("the expression costs too much: look at less of the answer")

func (e *Expression) evaluate(looked *lookup) (ref.Val, error) {
	if !e.loops {
		result, _, err := e.program.Eval(looked)
		return result, err
	}
	// Not every call has its true price, and in a loop that adds up.
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	result, _, err := e.program.ContextEval(ctx, looked)
	return result, err
}

// Extract evaluates an expression to what later steps may use, unless that is larger than
// they may need.
func (e *Extraction) Extract(names Names) (ref.Val, error) {
	value, err := e.Value(names)
	if err != nil {
		return nil, err
	}
	limit := maxExtracted
	if e.Sensitive {
		limit = maxSecret
	}
	if size(value, limit) > limit {
		return nil, fmt.Errorf("the value is larger than the %d bytes that are kept: extract a part of it", limit)
	}
	return value, nil
}

// explain keeps of CEL's messages those that cannot hold a piece of an answer.
func (e *Expression) explain(err error) string {
	message := err.Error()
	if key, is := strings.CutPrefix(message, "no such key: "); is && !strings.Contains(e.text, key) {
		return "no such key" // which one, the answer said
	}
	for _, known := range []string{"no such key", "index out of bounds"} {
		if strings.HasPrefix(message, known) {
			return message
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

// lookup is what a program asks for its names. What it was told it does not ask again:
// a loop would.
type lookup struct {
	names Names
	known []known
	err   error
}

type known struct {
	name  string
	value any
}

// ResolveName finds a value.
func (l *lookup) ResolveName(name string) (any, bool) {
	for _, k := range l.known {
		if k.name == name {
			return k.value, true
		}
	}
	value, err := l.names.Lookup(name)
	if err != nil {
		l.err = err
		return nil, false
	}
	l.known = append(l.known, known{name, value})
	return value, true
}

// Parent is that of no other.
func (l *lookup) Parent() cel.Activation { return nil }
