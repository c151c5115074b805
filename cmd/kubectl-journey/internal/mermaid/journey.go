package mermaid

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/slug"
)

// DrawingAnnotation of a Journey holds the diagram that it was imported from. What has no
// field of its own stays there: scores, who does what, comments, themes.
const DrawingAnnotation = "sojourn.dev/mermaid"

// Limits of a Journey's fields.
const (
	maxPersonas    = 8
	maxStages      = 20
	maxTouchpoints = 50
	maxDescription = 1024
	maxTitle       = 128
)

// Options shape what is imported.
type Options struct {
	// Name of the journey; empty: made of its title.
	Name string
	// Namespace of all objects; empty: none is written.
	Namespace string
	// Channel of all touchpoints: a diagram does not tell.
	Channel v1alpha1.Channel
}

// Imported is what becomes of a diagram.
type Imported struct {
	Journey     *v1alpha1.Journey
	Touchpoints []*v1alpha1.Touchpoint
	// Notes say what is only in the annotation, a sentence each.
	Notes []string
}

// layout is a diagram with the names that objects get: of sections and their tasks, in the
// diagram's order, and of people.
type layout struct {
	stages      []string
	touchpoints [][]string
	personas    map[string]string
	people      []string // in the order of their first task
}

func layoutOf(d *Diagram) layout {
	stages, touchpoints, personas := slug.NewNames("stage"), slug.NewNames("touchpoint"), slug.NewNames("persona")
	l := layout{personas: map[string]string{}}
	tasks := map[string]string{}
	for i := range d.Sections {
		section := &d.Sections[i]
		var visited []string
		for _, task := range section.Tasks {
			if tasks[task.Name] == "" {
				tasks[task.Name] = touchpoints.Of(task.Name)
			}
			visited = append(visited, tasks[task.Name])
			for _, actor := range task.Actors {
				if l.personas[actor] == "" {
					l.personas[actor] = personas.Of(actor)
					l.people = append(l.people, actor)
				}
			}
		}
		name := ""
		if len(section.Tasks) > 0 {
			name = stages.Of(cmp.Or(section.Name, "start"))
		}
		l.stages, l.touchpoints = append(l.stages, name), append(l.touchpoints, visited)
	}
	return l
}

// Import makes a journey and its touchpoints. Its error is an Errors.
func Import(d *Diagram, options Options) (*Imported, error) {
	l := layoutOf(d)
	name := options.Name
	if name == "" {
		name = slug.Of(cmp.Or(d.ShownTitle(), "journey"), "journey")
	}
	journey := &v1alpha1.Journey{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Journey"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: options.Namespace, Annotations: map[string]string{DrawingAnnotation: d.String()},
		},
		Spec: v1alpha1.JourneySpec{
			DisplayName: titleOf(d.ShownTitle(), name), Description: v1alpha1.Text(short(d.AccDescr, maxDescription)),
		},
	}
	found := &Imported{Journey: journey}
	note := func(format string, arguments ...any) {
		found.Notes = append(found.Notes, fmt.Sprintf(format, arguments...))
	}
	var errs Errors
	fail := func(at Position, format string, arguments ...any) {
		errs = append(errs, &Error{at, fmt.Sprintf(format, arguments...)})
	}
	for i, actor := range l.people {
		if i == maxPersonas {
			note("%s: a Journey has at most %d personas, so they stay in the annotation %s", strings.Join(l.people[i:], ", "), maxPersonas, DrawingAnnotation)
			break
		}
		persona := l.personas[actor]
		journey.Spec.Personas = append(journey.Spec.Personas, v1alpha1.Persona{Name: v1alpha1.Name(persona), DisplayName: titleOf(actor, persona)})
	}
	made := map[string]bool{}
	for i := range d.Sections {
		section := &d.Sections[i]
		if len(section.Tasks) == 0 {
			note("%s: the section %s has no task, and so is no stage: it stays in the annotation %s", section.Position, quote(section.Name), DrawingAnnotation)
			continue
		}
		if len(section.Tasks) > maxTouchpoints {
			fail(section.Tasks[maxTouchpoints].Position, "a stage has at most %d touchpoints, and this section has %d tasks: begin another section here", maxTouchpoints, len(section.Tasks))
		}
		if len(journey.Spec.Stages) == maxStages {
			fail(section.Position, "a journey has at most %d stages: end it here, and draw the rest as a journey of its own", maxStages)
			break
		}
		stage := v1alpha1.Stage{Name: v1alpha1.Name(l.stages[i]), DisplayName: titleOf(section.Name, l.stages[i])}
		for j, task := range section.Tasks {
			touchpoint := l.touchpoints[i][j]
			stage.Touchpoints = append(stage.Touchpoints, v1alpha1.TouchpointReference{Name: v1alpha1.Name(touchpoint)})
			if task.Score < 1 || task.Score > 5 {
				note("%s: the score of %s is %v; Mermaid draws 1, worst, to 5, best", task.Position, quote(task.Name), task.Score)
			}
			if made[touchpoint] {
				continue
			}
			made[touchpoint] = true
			found.Touchpoints = append(found.Touchpoints, &v1alpha1.Touchpoint{
				TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Touchpoint"},
				ObjectMeta: metav1.ObjectMeta{Name: touchpoint, Namespace: options.Namespace},
				Spec:       v1alpha1.TouchpointSpec{DisplayName: titleOf(task.Name, touchpoint), Channel: cmp.Or(options.Channel, "Web")},
			})
		}
		journey.Spec.Stages = append(journey.Spec.Stages, stage)
	}
	if len(made) == 0 && len(errs) == 0 {
		fail(Position{1, 1}, "the diagram has no task: write one in a section, such as Pay: 3: Me")
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return found, nil
}

// Known is what is known of a touchpoint besides its name. The zero value: nothing.
type Known struct {
	// DisplayName is that of its spec.
	DisplayName string
	// Score is how customers fare there, 0 to 100; nil if that is not known.
	Score *float64
	// Exists: there is such a Touchpoint.
	Exists bool
}

// Live is the score that Mermaid draws for a score of 0 to 100: 1, worst, to 5, best, with
// one decimal.
func Live(score float64) float64 { return math.Round((1+score/25)*10) / 10 }

// undrawn is the score of a touchpoint of which none is known: neither glad nor sad.
const undrawn = 3

// Export draws a journey as it is now. Its scores are those that customers cause; or, if
// declared, those that were drawn before it was imported. What the spec has no field for
// comes from the drawing that it was imported from.
func Export(journey *v1alpha1.Journey, touchpoint func(v1alpha1.TouchpointReference) Known, declared bool) (*Diagram, error) {
	drawn := &Diagram{}
	if text, ok := journey.Annotations[DrawingAnnotation]; ok {
		var err error
		if drawn, err = Parse(text); err != nil {
			return nil, fmt.Errorf("the annotation %s of Journey %s is no diagram any more; mend it, or remove it to export without what it holds: %w", DrawingAnnotation, journey.Name, err)
		}
	}
	e := exporter{journey: journey, drawn: drawn, layout: layoutOf(drawn), touchpoint: touchpoint, declared: declared}
	d := &Diagram{
		Frontmatter: drawn.Frontmatter, FrontmatterTitle: drawn.FrontmatterTitle, Directives: drawn.Directives,
		AccTitle: drawn.AccTitle, AccDescr: drawn.AccDescr, Comments: drawn.Comments, Closing: drawn.Closing,
		Title: drawn.Title,
	}
	spec := &journey.Spec
	if spec.DisplayName != titleOf(drawn.ShownTitle(), journey.Name) || drawn.ShownTitle() == "" && len(drawn.Sections) == 0 {
		d.Title = oneLine(cmp.Or(spec.DisplayName, journey.Name))
	}
	if string(spec.Description) != short(drawn.AccDescr, maxDescription) {
		var lines []string
		for line := range strings.SplitSeq(string(spec.Description), "\n") {
			if line = oneLine(line); line != "" {
				lines = append(lines, line)
			}
		}
		d.AccDescr = strings.Join(lines, "\n")
	}
	d.Sections = e.sections()
	return d, nil
}

type exporter struct {
	journey    *v1alpha1.Journey
	drawn      *Diagram
	layout     layout
	touchpoint func(v1alpha1.TouchpointReference) Known
	declared   bool
}

func (e *exporter) sections() []Section {
	sections := e.emptyAfter(-1)
	for i := range e.journey.Spec.Stages {
		stage := &e.journey.Spec.Stages[i]
		section := Section{Name: oneLine(cmp.Or(stage.DisplayName, string(stage.Name)))}
		at := slices.Index(e.layout.stages, string(stage.Name))
		if at >= 0 {
			drawn := &e.drawn.Sections[at]
			section.Comments = drawn.Comments
			// Only what stands first can do without a name.
			if stage.DisplayName == titleOf(drawn.Name, string(stage.Name)) && (drawn.Name != "" || len(sections) == 0) {
				section.Name = drawn.Name
			}
		}
		visits := map[v1alpha1.Name]int{}
		for _, reference := range stage.Touchpoints {
			var drawn *Task
			if reference.Namespace == "" || string(reference.Namespace) == e.journey.Namespace {
				drawn = e.task(at, string(reference.Name), visits[reference.Name])
				visits[reference.Name]++
			}
			section.Tasks = append(section.Tasks, e.visit(reference, drawn))
		}
		sections = append(sections, section)
		if at >= 0 {
			sections = append(sections, e.emptyAfter(at)...)
		}
	}
	return sections
}

// emptyAfter are the drawn sections without tasks that follow one: they are no stages.
func (e *exporter) emptyAfter(at int) []Section {
	var empty []Section
	for i := at + 1; i < len(e.drawn.Sections) && len(e.drawn.Sections[i].Tasks) == 0; i++ {
		section := e.drawn.Sections[i]
		section.Position = Position{}
		empty = append(empty, section)
	}
	return empty
}

// task is the nth drawn visit to a touchpoint in a section; nil if there was none.
func (e *exporter) task(section int, touchpoint string, nth int) *Task {
	if section < 0 {
		return nil
	}
	for i, name := range e.layout.touchpoints[section] {
		if name == touchpoint {
			if nth == 0 {
				return &e.drawn.Sections[section].Tasks[i]
			}
			nth--
		}
	}
	return nil
}

func (e *exporter) visit(reference v1alpha1.TouchpointReference, drawn *Task) Task {
	known := e.touchpoint(reference)
	name := string(reference.Name)
	task := Task{Name: oneLine(cmp.Or(known.DisplayName, name))}
	if drawn != nil {
		task.Comments = drawn.Comments
		if !known.Exists || known.DisplayName == titleOf(drawn.Name, name) {
			task.Name = drawn.Name
		}
		for _, actor := range drawn.Actors {
			task.Actors = append(task.Actors, e.actor(actor))
		}
	} else {
		for _, persona := range e.journey.Spec.Personas {
			task.Actors = append(task.Actors, oneLine(cmp.Or(persona.DisplayName, string(persona.Name))))
		}
	}
	switch {
	case e.declared && drawn != nil:
		task.Score = drawn.Score
	case !e.declared && known.Score != nil:
		task.Score = Live(*known.Score)
	default:
		task.Score = undrawn
		if !e.declared {
			task.Name += " (no data)"
		}
	}
	return task
}

// actor is what a drawn one is called now.
func (e *exporter) actor(drawn string) string {
	name := e.layout.personas[drawn]
	for _, persona := range e.journey.Spec.Personas {
		if string(persona.Name) == name && persona.DisplayName != titleOf(drawn, name) {
			return oneLine(cmp.Or(persona.DisplayName, name))
		}
	}
	return drawn
}

// titleOf is the display name that an object gets whose drawn text and name are these; empty
// if it needs none.
func titleOf(text, name string) string {
	if text == name {
		return ""
	}
	return short(text, maxTitle)
}

// short cuts a text to some characters.
func short(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
