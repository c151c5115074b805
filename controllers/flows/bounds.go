package flows

import (
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
	"github.com/google/cel-go/interpreter"
)

// CEL charges for a call after it was made, by a price that does not look into lists. A
// list of a thousand times the same body costs a thousand, and joined it is a gigabyte: an
// expression of one line could take the memory of a prober that all teams share. So
// what multiplies looks at its arguments first.
const (
	// maxArguments is the size up to which values are put together.
	maxArguments = 8 << 20
	// maxExtracted is the size of what a step may keep for later ones, and maxSecret of
	// what is sensitive: every text in that is looked for in all that is told.
	maxExtracted = 1 << 20
	maxSecret    = 64 << 10
	// leafSize is what a value takes besides its text.
	leafSize = 16
	// costOfByte is what CEL itself charges for looking at a text.
	costOfByte = 0.1
)

// size counts the bytes that a value would take as a text, what is in it twice twice, and
// stops counting above a limit.
func size(value ref.Val, limit int) int {
	total := leafSize
	switch value := value.(type) {
	case types.String:
		total += len(value)
	case types.Bytes:
		total += len(value)
	case traits.Mapper:
		for it := value.Iterator(); it.HasNext() == types.True && total <= limit; {
			key := it.Next()
			total += size(key, limit-total) + size(value.Get(key), limit-total)
		}
	case traits.Lister:
		for it := value.Iterator(); it.HasNext() == types.True && total <= limit; {
			total += size(it.Next(), limit-total)
		}
	}
	return total
}

// errCost is how a call refuses; it reads as CEL's own refusal does.
var errCost = types.NewErr("the arguments exceed the cost limit")

// tooLarge says whether arguments together exceed what is put together.
func tooLarge(arguments ...ref.Val) bool {
	total := 0
	for _, argument := range arguments {
		if total += size(argument, maxArguments-total); total > maxArguments {
			return true
		}
	}
	return false
}

// boundedStrings are cel-go's functions on texts, of which those that multiply refuse to
// do so without measure.
func boundedStrings() ([]cel.EnvOption, error) {
	library, err := cel.NewCustomEnv(ext.Strings())
	if err != nil {
		return nil, err
	}
	options := []cel.EnvOption{ext.Strings()}
	for _, name := range []string{"join", "format", "replace"} {
		function := library.Functions()[name]
		implementations, err := function.Bindings()
		if err != nil {
			return nil, err
		}
		byID := map[string]*functions.Overload{}
		for _, implementation := range implementations {
			byID[implementation.Operator] = implementation
		}
		for _, overload := range function.OverloadDecls() {
			original := call(byID[overload.ID()])
			if original == nil {
				return nil, fmt.Errorf("the library has no %s", overload.ID())
			}
			bounded := func(arguments ...ref.Val) ref.Val {
				if tooLarge(arguments...) || name == "replace" && multiplies(arguments) {
					return errCost
				}
				return original(arguments...)
			}
			options = append(options, cel.Function(name, cel.MemberOverload(overload.ID(), overload.ArgTypes(), overload.ResultType(), cel.FunctionBinding(bounded))))
		}
	}
	return options, nil
}

// call is an implementation, however many arguments it has; nil if there is none.
func call(implementation *functions.Overload) functions.FunctionOp {
	switch {
	case implementation == nil:
		return nil
	case implementation.Unary != nil:
		return func(arguments ...ref.Val) ref.Val { return implementation.Unary(arguments[0]) }
	case implementation.Binary != nil:
		return func(arguments ...ref.Val) ref.Val { return implementation.Binary(arguments[0], arguments[1]) }
	}
	return implementation.Function
}

// multiplies says whether a replacement in a text makes it too large.
func multiplies(arguments []ref.Val) bool {
	text, old, replacement := string(arguments[0].(types.String)), string(arguments[1].(types.String)), len(arguments[2].(types.String))
	return replacement > len(old) && strings.Count(text, old)*(replacement-len(old)) > maxArguments
}

// prices are those of calls for which CEL charges next to nothing, whatever they look at.
func prices() cel.ProgramOption {
	var options []interpreter.CostTrackerOption
	for _, overload := range []string{overloads.SizeString, overloads.SizeStringInst, overloads.ExtFormatString, toJSONOverload, urlEncodeOverload} {
		options = append(options, interpreter.OverloadCostTracker(overload, func(arguments []ref.Val, _ ref.Val) *uint64 {
			price := uint64(1)
			for _, argument := range arguments {
				price += uint64(costOfByte * float64(size(argument, maxArguments)))
			}
			return &price
		}))
	}
	return cel.CostTrackerOptions(options...)
}

// comparison compares lists and maps only up to a size. A list of the same list eight
// times, and so on, is small to make and endless to compare.
type comparison struct{ interpreter.InterpretableCall }

// boundComparisons puts itself in the place of CEL's own comparisons.
func boundComparisons(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, is := i.(interpreter.InterpretableCall)
	if !is {
		return i, nil
	}
	switch call.Function() {
	case operators.Equals, operators.NotEquals, operators.In:
		return &comparison{call}, nil
	}
	return i, nil
}

// Eval is asked by those who do not know of frames.
func (c *comparison) Eval(names interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(names))
}

// Exec compares.
func (c *comparison) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	left := c.Args()[0].Exec(frame)
	if types.IsUnknownOrError(left) {
		return left
	}
	right := c.Args()[1].Exec(frame)
	if types.IsUnknownOrError(right) {
		return right
	}
	if holds(left) && holds(right) && tooLarge(left, right) {
		return errCost
	}
	switch c.Function() {
	case operators.Equals:
		return types.Equal(left, right)
	case operators.NotEquals:
		return types.Bool(types.Equal(left, right) != types.True)
	}
	if within, is := right.(traits.Container); is {
		return within.Contains(left)
	}
	return types.MaybeNoSuchOverloadErr(right)
}

// holds says whether a value is made of others.
func holds(value ref.Val) bool {
	switch value.(type) {
	case traits.Lister, traits.Mapper:
		return true
	}
	return false
}
