// Package lint says of files, without a cluster, what admission and the controllers would
// say of the objects in them.
package lint

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/files"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/controllers/publish"
)

// Level says how bad a finding is.
type Level string

// Levels. Errors keep something from working as it is written; warnings are about what
// works otherwise than its author may think; notes are good to know.
const (
	Error   Level = "error"
	Warning Level = "warning"
	Note    Level = "note"
)

// Reasons of findings that no condition has.
const (
	reasonUnknownField    = "UnknownField"
	reasonUnknownKind     = "UnknownKind"
	reasonInvalid         = "Invalid"
	reasonDuplicateObject = "DuplicateObject"
	reasonSilent          = "SilentAlert"
	reasonNotCovered      = "NotCovered"
	reasonNotMeasured     = "NotMeasured"
	reasonEdge            = "EdgeNotKnown"
)

// Finding is one thing that there is to say.
type Finding struct {
	files.Position
	Level Level `json:"level"`
	// Reason names the kind of finding in one word. Of what the controllers say it is the
	// reason of the condition Ready.
	Reason string `json:"reason"`
	// Object is kind and namespace/name of the object; empty where there is none.
	Object string `json:"object,omitempty"`
	// Field is the path of the field; empty for the object as a whole.
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Options are choices of who checks.
type Options struct {
	// Namespace is that of objects that name none.
	Namespace string
	// AllowMissing: the files are only a part of what there will be, so that what they refer
	// to may be elsewhere.
	AllowMissing bool
	// Operator are the choices of the installation by which rules are made, and Form the kind
	// of object that holds them.
	Operator controllers.Options
	Form     publish.Form
}

// Report is what there is to say of files, and what they come to.
type Report struct {
	// Findings are in the order of files and lines.
	Findings []Finding
	// Objects are those that admission takes, with defaults filled in.
	Objects controllers.Objects
	// Decisions are those of the controllers about them.
	Decisions []*controllers.Decision
}

// Count counts the findings of a level.
func (r *Report) Count(level Level) int {
	n := 0
	for i := range r.Findings {
		if r.Findings[i].Level == level {
			n++
		}
	}
	return n
}

// Admitted tells whether admission takes all of the files.
func (r *Report) Admitted() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level == Error && slices.Contains(refusals, f.Reason) })
}

// refusals are the reasons for which an object never reaches the controllers.
var refusals = []string{"InvalidYAML", "DuplicateField", reasonUnknownField, reasonUnknownKind, reasonInvalid, reasonDuplicateObject}

// identity tells one object from all others.
type identity struct{ kind, namespace, name string }

func (i identity) String() string { return i.kind + " " + i.namespace + "/" + i.name }

// linter is one check.
type linter struct {
	options   Options
	set       *files.Set
	admission map[string]*admission
	documents map[identity]*files.Document
	// broken are the objects that admission refuses. What refers to them is not to blame.
	broken   map[identity]bool
	findings []Finding
	objects  controllers.Objects
	// touchpoints are those of objects.
	touchpoints map[client.ObjectKey]*v1alpha1.Touchpoint
}

// Check says what there is to say of files.
func Check(ctx context.Context, set *files.Set, options Options) (*Report, error) {
	known, err := loadAdmission()
	if err != nil {
		return nil, err
	}
	l := &linter{
		options: options, set: set, admission: known,
		documents: map[identity]*files.Document{}, broken: map[identity]bool{}, touchpoints: map[client.ObjectKey]*v1alpha1.Touchpoint{},
		objects: controllers.Objects{NamespaceLabels: set.NamespaceLabels},
	}
	for _, fault := range set.Faults {
		l.fault("", fault)
	}
	if err := l.admit(ctx); err != nil {
		return nil, err
	}
	decisions, err := controllers.Plan(ctx, l.objects, options.Operator, options.Form)
	if err != nil {
		return nil, err
	}
	for _, decision := range decisions {
		l.judge(decision)
	}
	order := map[string]int{}
	for i, name := range set.Names {
		order[name] = i
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(order[a.File]-order[b.File], cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Report{Findings: l.findings, Objects: l.objects, Decisions: decisions}, nil
}

func (l *linter) fault(object string, fault files.Fault) {
	l.findings = append(l.findings, Finding{
		Position: fault.Position, Level: Error, Reason: fault.Reason, Object: object, Message: fault.Message, Hint: fault.Hint,
	})
}

// admitted is what admission makes of one document.
type admitted struct {
	identity identity
	findings []Finding
	object   client.Object
}

// admit has each document pass admission, and keeps what passes.
func (l *linter) admit(ctx context.Context) error {
	made := make([]admitted, len(l.set.Documents))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, document := range l.set.Documents {
		group.Go(func() (err error) {
			made[i], err = l.admitOne(ctx, document)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, document := range l.set.Documents {
		m := &made[i]
		l.findings = append(l.findings, m.findings...)
		if other := l.documents[m.identity]; other != nil && m.identity.name != "" {
			l.findings = append(l.findings, Finding{
				Position: document.At("metadata.name"), Level: Error, Reason: reasonDuplicateObject, Object: m.identity.String(), Field: "metadata.name",
				Message: fmt.Sprintf("there is another %s, at %s", m.identity, other.At("metadata.name")),
				Hint:    "of two objects with one name the last that is applied stays: rename or remove one",
			})
			continue
		}
		l.documents[m.identity] = document
		switch object := m.object.(type) {
		case *v1alpha1.Journey:
			l.objects.Journeys = append(l.objects.Journeys, object)
		case *v1alpha1.Touchpoint:
			l.objects.Touchpoints = append(l.objects.Touchpoints, object)
			l.touchpoints[client.ObjectKeyFromObject(object)] = object
		case *v1alpha1.ExperienceSLO:
			l.objects.ExperienceSLOs = append(l.objects.ExperienceSLOs, object)
		default:
			l.broken[m.identity] = true
		}
	}
	return nil
}

func (l *linter) admitOne(ctx context.Context, document *files.Document) (admitted, error) {
	m := admitted{identity: identity{document.Kind(), cmp.Or(document.Namespace(), l.options.Namespace), document.Name()}}
	say := func(at files.Position, reason, field, message, hint string) {
		m.findings = append(m.findings, Finding{Position: at, Level: Error, Reason: reason, Object: m.identity.String(), Field: field, Message: message, Hint: hint})
	}
	known := l.admission[document.Kind()]
	switch {
	case known == nil:
		say(document.At("kind"), reasonUnknownKind, "kind", fmt.Sprintf("there is no kind %s in %s", document.Kind(), v1alpha1.GroupVersion.Group), meant(document.Kind(), kindNames))
		return m, nil
	case document.APIVersion() != apiVersion:
		say(document.At("apiVersion"), reasonUnknownKind, "apiVersion", fmt.Sprintf("there is no version %s", document.APIVersion()), "write "+apiVersion)
		return m, nil
	}
	for _, fault := range document.Faults {
		m.findings = append(m.findings, Finding{Position: fault.Position, Level: Error, Reason: fault.Reason, Object: m.identity.String(), Message: fault.Message, Hint: fault.Hint})
	}
	object := document.Fields
	if metadata, is := object["metadata"].(map[string]any); is && document.Namespace() == "" && metadata["namespace"] == nil {
		metadata["namespace"] = l.options.Namespace
	}
	for _, path := range known.unknown(object) {
		parent, name := path, path
		if dot := strings.LastIndexByte(path, '.'); dot >= 0 {
			parent, name = path[:dot], path[dot+1:]
		} else {
			parent = ""
		}
		say(document.AtField(path), reasonUnknownField, path, fmt.Sprintf("there is no field %s", path), known.instead(parent, name))
	}
	for _, problem := range known.admit(ctx, object) {
		at := strings.TrimPrefix(problem.Field, "<nil>")
		say(document.At(at), reasonInvalid, at, strings.TrimPrefix(problem.Error(), "<nil>: "), known.remedy(at, problem))
	}
	if len(m.findings) > 0 {
		return m, nil
	}
	switch document.Kind() {
	case "Journey":
		m.object = &v1alpha1.Journey{}
	case "Touchpoint":
		m.object = &v1alpha1.Touchpoint{}
	default:
		m.object = &v1alpha1.ExperienceSLO{}
	}
	return m, apiruntime.DefaultUnstructuredConverter.FromUnstructured(object, m.object)
}

// instead tells what to write instead of an unknown field.
func (a *admission) instead(parent, name string) string {
	names := a.fields(parent)
	if hint := meant(name, names); hint != "" {
		return hint
	}
	for _, other := range names {
		if path := join(parent, other); slices.Contains(a.fields(path), name) {
			return "it belongs into " + path
		}
	}
	if len(names) == 0 || len(names) > 20 {
		return ""
	}
	return "there are " + strings.Join(slices.Sorted(slices.Values(names)), ", ")
}

func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

// meant asks whether another name was meant.
func meant(written string, names []string) string {
	if name := nearest(written, names); name != "" {
		return "did you mean " + name + "?"
	}
	return ""
}

// remedy says what to do about what admission says: its own messages about single fields say
// what is wrong and not what would be right, which the manual does.
func (a *admission) remedy(path string, problem *field.Error) string {
	switch problem.Type {
	case field.ErrorTypeNotSupported:
		if schema := a.at(path); schema != nil {
			var values []string
			for _, value := range schema.Enum {
				values = append(values, fmt.Sprint(value))
			}
			if hint := meant(fmt.Sprint(problem.BadValue), values); hint != "" {
				return hint
			}
		}
	case field.ErrorTypeDuplicate:
		return ""
	}
	if strings.HasPrefix(path, "metadata") || path == "" {
		return ""
	}
	if schema := a.at(path); schema != nil {
		for _, rule := range schema.XValidations {
			if strings.Contains(problem.Detail, rule.Message) {
				return "" // says what to write
			}
		}
	}
	return a.manual(path)
}

// names lists the objects of a kind in a namespace.
func (l *linter) names(kind, namespace string) []string {
	var names []string
	for id := range maps.Keys(l.documents) {
		if id.kind == kind && id.namespace == namespace {
			names = append(names, id.name)
		}
	}
	return names
}
