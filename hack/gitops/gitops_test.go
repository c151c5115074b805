// Package gitops_test asks the Lua of Argo CD and the CEL of Flux what they make of objects that
// a real manager wrote (testdata, by a test of the controllers).
package gitops_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

const config = "../../config"

// objects are those of a file, by kind and name.
func objects(t *testing.T, path string) map[string]*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*unstructured.Unstructured{}
	documents := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := documents.Decode(object); err == io.EOF {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		if object.Object != nil {
			found[object.GetKind()+" "+object.GetName()] = object
		}
	}
}

// written are objects as a real manager left them.
func written(t *testing.T) map[string]*unstructured.Unstructured {
	t.Helper()
	return objects(t, filepath.Join("testdata", "objects.yaml"))
}

// customers writes what the manager says of customers.
func customers(object *unstructured.Unstructured, value, reason string) *unstructured.Unstructured {
	object = object.DeepCopy()
	kind := "Healthy"
	if object.GetKind() == "ExperienceSLO" {
		kind = "Met"
	}
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	_ = unstructured.SetNestedSlice(object.Object, append(conditions, map[string]any{
		"type": kind, "status": value, "reason": reason, "message": "of customers", "lastTransitionTime": "2026-01-01T00:00:00Z",
	}), "status", "conditions")
	return object
}

// cases are what there can be, and what is to be made of it: of the configuration, and of
// the customers.
var cases = []struct {
	object                string
	customers, reason     string // of Met or Healthy, "" if it is not there
	argo, argoOfCustomers string
	flux, fluxOfCustomers status.Status
}{
	{"ExperienceSLO new", "", "", "Progressing", "Progressing", "InProgress", "InProgress"},
	{"Journey new", "", "", "Progressing", "Progressing", "InProgress", "InProgress"},
	{"Touchpoint new", "", "", "Progressing", "Progressing", "InProgress", "InProgress"},
	{"ExperienceSLO edited", "", "", "Progressing", "Progressing", "InProgress", "InProgress"},
	{"ExperienceSLO waits", "", "", "Progressing", "Progressing", "InProgress", "InProgress"},
	{"Journey waits", "", "", "Progressing", "Progressing", "InProgress", "InProgress"},
	{"ExperienceSLO broken", "", "", "Degraded", "Degraded", "Failed", "Failed"},
	{"Touchpoint broken", "", "", "Degraded", "Degraded", "Failed", "Failed"},
	{"Journey broken", "", "", "Degraded", "Degraded", "Failed", "Failed"},
	{"ExperienceSLO well", "", "", "Healthy", "Progressing", "Current", "InProgress"},
	{"ExperienceSLO well", "True", "Kept", "Healthy", "Healthy", "Current", "Current"},
	{"ExperienceSLO well", "True", "AtRisk", "Healthy", "Healthy", "Current", "Current"},
	{"ExperienceSLO well", "False", "Breached", "Healthy", "Degraded", "Current", "Failed"},
	{"ExperienceSLO well", "Unknown", "NoData", "Healthy", "Progressing", "Current", "InProgress"},
	{"ExperienceSLO untargeted", "", "", "Healthy", "Progressing", "Current", "InProgress"},
	{"Journey well", "False", "Breached", "Healthy", "Degraded", "Current", "Failed"},
	{"Journey well", "True", "Kept", "Healthy", "Healthy", "Current", "Current"},
	{"Journey well", "Unknown", "NothingPromised", "Healthy", "Healthy", "Current", "Current"},
	{"Touchpoint well", "False", "Breached", "Healthy", "Degraded", "Current", "Failed"},
	{"Touchpoint well", "Unknown", "InsufficientData", "Healthy", "Progressing", "Current", "InProgress"},
}

func object(t *testing.T, all map[string]*unstructured.Unstructured, i int) *unstructured.Unstructured {
	t.Helper()
	found := all[cases[i].object]
	if found == nil {
		t.Fatalf("there is no %s", cases[i].object)
	}
	if cases[i].customers != "" {
		found = customers(found, cases[i].customers, cases[i].reason)
	}
	return found
}

func TestArgoCD(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(config, "argocd", "health.lua"))
	if err != nil {
		t.Fatal(err)
	}
	all := written(t)
	for i, test := range cases {
		object := object(t, all, i)
		if got, message := judge(t, string(script), object); got != test.argo || message == "" {
			t.Errorf("%s, customers %s: %s (%s), want %s", test.object, test.reason, got, message, test.argo)
		}
		asked := object.DeepCopy()
		asked.SetAnnotations(map[string]string{"sojourn.dev/health": "customers"})
		if got, message := judge(t, string(script), asked); got != test.argoOfCustomers || message == "" {
			t.Errorf("%s, customers %s, asked for: %s (%s), want %s", test.object, test.reason, got, message, test.argoOfCustomers)
		}
	}
	if got, _ := judge(t, string(script), &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{}}}); got != "Progressing" {
		t.Errorf("an object without status: %s", got)
	}
}

// judge runs a health script as Argo CD does: with the object as obj, few libraries, and a
// table as the answer.
func judge(t *testing.T, script string, object *unstructured.Unstructured) (health, message string) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(script); err != nil {
		t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
	table, is := state.Get(-1).(*lua.LTable)
	if !is {
		t.Fatalf("%s %s: the script returns %s", object.GetKind(), object.GetName(), state.Get(-1).Type())
	}
	return lua.LVAsString(table.RawGetString("status")), lua.LVAsString(table.RawGetString("message"))
}

func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case int64:
		return lua.LNumber(from)
	case float64:
		return lua.LNumber(from)
	case string:
		return lua.LString(from)
	case []any:
		table := state.NewTable()
		for _, each := range from {
			table.Append(value(state, each))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for name, each := range from {
			table.RawSetString(name, value(state, each))
		}
		return table
	}
	return lua.LNil
}

// TestFlux: without expressions Flux judges by kstatus, with those of the example by
// customers too.
func TestFlux(t *testing.T) {
	exprs := map[string]map[string]any{}
	list, _, err := unstructured.NestedSlice(objects(t, filepath.Join(config, "gitops", "clusters", "production", "flux", "shop.yaml"))["Kustomization shop-promises"].Object, "spec", "healthCheckExprs")
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range list {
		exprs[each.(map[string]any)["kind"].(string)] = each.(map[string]any)
	}
	all := written(t)
	for i, test := range cases {
		object := object(t, all, i)
		plain, err := status.Compute(object)
		if err != nil {
			t.Fatal(err)
		}
		if plain.Status != test.flux {
			t.Errorf("%s, customers %s: %s (%s), want %s", test.object, test.reason, plain.Status, plain.Message, test.flux)
		}
		kind, _, _ := strings.Cut(test.object, " ")
		if got := flux(t, exprs[kind], object); got != test.fluxOfCustomers {
			t.Errorf("%s, customers %s, asked for: %s, want %s", test.object, test.reason, got, test.fluxOfCustomers)
		}
	}
}

// flux judges by expressions as Flux does: what was not looked at since it was edited is in
// progress, then the first that is true decides. Expressions are parsed and not checked, and
// see the fields of the object.
func flux(t *testing.T, exprs map[string]any, object *unstructured.Unstructured) status.Status {
	t.Helper()
	observed, known, err := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	if err == nil && known && observed != object.GetGeneration() {
		return status.InProgressStatus
	}
	env, err := cel.NewEnv(ext.Strings(), ext.Encoders())
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range []struct {
		name string
		is   status.Status
	}{{"inProgress", status.InProgressStatus}, {"failed", status.FailedStatus}, {"current", status.CurrentStatus}} {
		text, _ := exprs[each.name].(string)
		if text == "" {
			continue
		}
		parsed, issues := env.Parse(text)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		program, err := env.Program(parsed)
		if err != nil {
			t.Fatal(err)
		}
		answer, _, err := program.Eval(object.Object)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if holds, is := answer.Value().(bool); !is {
			t.Fatalf("%s is %v", text, answer)
		} else if holds {
			return each.is
		}
	}
	return status.InProgressStatus
}
