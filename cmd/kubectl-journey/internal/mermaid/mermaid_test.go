package mermaid

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

const working = `journey
    title My working day
    section Go to work
      Make tea: 5: Me
      Go upstairs: 3: Me
      Do work: 1: Me, Cat
    section Go home
      Go downstairs: 5: Me
      Sit down: 5: Me
`

func mustParse(t *testing.T, text string) *Diagram {
	t.Helper()
	d, err := Parse(text)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return d
}

// TestParse reads what Mermaid draws in all the ways that it may be written.
func TestParse(t *testing.T) {
	for name, each := range map[string]struct{ text, normal string }{
		"as documented": {working, working},
		"CRLF, tabs, no indentation, a byte-order mark": {
			"\ufeffjourney\r\ntitle My working day\r\nsection Go to work\r\n\tMake tea:5:Me\r\nGo upstairs :  3 : Me \r\nDo work: 1: Me,Cat,\r\n\r\nSECTION Go home\r\nGo downstairs: 5.0: Me\r\nSit down: 05: Me", working,
		},
		"comments stay": {
			"%% top\njourney %% beside\n%% of the section\n# also\nsection A\nPay: 3 # beside the task\n%% at the end\n",
			"%% top\n%% beside\njourney\n    %% of the section\n    %% also\n    section A\n      %% beside the task\n      Pay: 3\n    %% at the end\n",
		},
		"frontmatter and directives stay": {
			"---\ntitle: From the top\nconfig:\n  theme: dark\n---\n%%{init: {\"journey\": {\n  \"width\": 200}}}%%\njourney\nsection A\nPay: 3: Me\n%%{wrap}%%",
			"---\ntitle: From the top\nconfig:\n  theme: dark\n---\n%%{init: {\"journey\": {\n  \"width\": 200}}}%%\n%%{wrap}%%\njourney\n    section A\n      Pay: 3: Me\n",
		},
		"descriptions": {
			"journey\naccTitle: A; B # C\naccDescr {\n  one\n\n  two }title T\nPay: 3:",
			"journey\n    title T\n    accTitle: A#59; B #35; C\n    accDescr {\n        one\n        two\n    }\n    Pay: 3\n",
		},
		"one line of description": {"journey\naccDescr: one\nPay: 3", "journey\n    accDescr: one\n    Pay: 3\n"},
		"entity codes": {
			"journey\ntitle a#58;b #quot;c#quot; #nothing;\nsection #35;1#59; x\n#116;itle x: 3: A#44; B, C\njourneys: 2\nJour#110;ey: 1\n#37; off: 1",
			"journey\n    title a#58;b \"c\" #35;nothing#59;\n    section #35;1#59; x\n      #116;itle x: 3: A#44; B, C\n      journeys: 2\n      #74;ourney: 1\n      #37; off: 1\n",
		},
		"Chinese":               {"journey\ntitle 网上购物\nsection　购买\n结账：付款: 2.5: 王先生", "journey\n    title 网上购物\n    section 购买\n      结账：付款: 2.5: 王先生\n"},
		"the last title counts": {"journey title a\ntitle b\nA: 1", "journey\n    title b\n    A: 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mustParse(t, each.text).String(); got != each.normal {
				t.Errorf("normal form:\n%s\nwanted:\n%s", got, each.normal)
			}
			roundTrip(t, each.text)
		})
	}
}

// TestMistakes holds errors to their place and their words.
func TestMistakes(t *testing.T) {
	for text, wanted := range map[string]string{
		"":                                       `1:1: there is no diagram: begin with the line journey`,
		"flowchart LR\n A --> B":                 `1:1: the diagram does not begin with the line journey, but with "flowchart LR"`,
		"Journey\nA: 1":                          `1:1: the diagram does not begin with the line journey, but with "Journey"`,
		"```mermaid\njourney\n```":               "1:1: the diagram does not begin with the line journey, but with \"```mermaid\"",
		"journey\n  Pay":                         `2:3: the task "Pay" has no score: write "Pay: 3: Me"`,
		"journey\n  结账: x: Me":                   `2:7: the score of the task "结账" is "x": write a number from 1, worst, to 5, best`,
		"journey\n  Pay: : Me":                   `2:8: the score of the task "Pay" is missing: write a number from 1, worst, to 5, best`,
		"journey\n  Pay: 1e3: Me":                `2:8: the score of the task "Pay" is "1e3": write a number from 1, worst, to 5, best`,
		"journey\n  Pay: 3: Me: You":             `2:13: a third colon cannot stand in a task: leave it out, or write #58; instead`,
		"journey\n  Pay: 3: Me;":                 `2:13: ; cannot stand in a task: leave it out, or write #59; instead`,
		"journey\n  Pay; now: 3: Me":             `2:6: ; cannot stand in a task: leave it out, or write #59; instead`,
		"journey\n  title a;":                    `2:10: ; cannot stand in the title: leave it out, or write #59; instead`,
		"journey\n  title\nA: 1":                 `2:3: title has no text: write it in the same line`,
		"journey\n  section \nA: 1":              `2:3: section has no text: write it in the same line`,
		"journey\n  section A: B\nC: 1":          `2:12: : cannot stand in a section's name: leave it out, or write #58; instead`,
		"journey\n  : 3":                         `2:3: the task has no name: write one before the colon, such as Pay: 3: Me`,
		"journey\n  journey planning: 3":         `2:3: Mermaid takes the word journey for the beginning of a diagram: call the task something else, or write #106;ourney`,
		"journey\n accDescr { x":                 `2:2: the description does not end: write } after it`,
		"---\ntitle: x\njourney\nA: 1":           `1:1: the frontmatter does not end: write --- in a line of its own after it`,
		"---\ntitle: [x\n---\njourney\nA: 1":     `2:1: the frontmatter is no YAML: `,
		"%%{init: {}\njourney\nA: 1":             `1:1: the directive does not end: write }%% after it`,
		"journey\nA\x00: 1":                      `2:1: "A\x00" holds a control character: remove it`,
		"journey\nA#10;B: 1":                     `2:1: "A\nB" holds a control character: remove it`,
		"journey\nA\xff: 1":                      `2:2: this is no UTF-8 text: save the file as UTF-8`,
		"journey\nA: x\nB: y":                    "2:4: the score of the task \"A\" is \"x\": write a number from 1, worst, to 5, best\n3:4: the score of the task \"B\"",
		"journey\n" + strings.Repeat("x", 1<<20): `1:1: the diagram has 1048584 bytes, and may have 131072: cut it into several journeys`,
	} {
		if _, err := Parse(text); err == nil || !strings.HasPrefix(err.Error(), wanted) {
			t.Errorf("%.60q: %v\nwanted: %s", text, err, wanted)
		}
	}
}

// TestImport shows what becomes of a diagram.
func TestImport(t *testing.T) {
	found, err := Import(mustParse(t, `journey
title 网上 Purchase
accDescr: Buys tea.
Advert: 4
section Buy
  结账: 2: Anna, 王先生
  Pay!: 3: Anna
  Pay: 3.5
section 考虑
section Buy
  Café: 1: Anna
  Advert: 7
`), Options{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	spec := found.Journey.Spec
	fmt.Fprintln(&said, found.Journey.Namespace, found.Journey.Name, spec.DisplayName, spec.Description)
	for _, persona := range spec.Personas {
		fmt.Fprintln(&said, "persona", persona.Name, persona.DisplayName)
	}
	for _, stage := range spec.Stages {
		fmt.Fprintln(&said, "stage", stage.Name, stage.DisplayName, stage.Touchpoints)
	}
	for _, touchpoint := range found.Touchpoints {
		fmt.Fprintln(&said, "touchpoint", touchpoint.Name, touchpoint.Spec.DisplayName, touchpoint.Spec.Channel)
	}
	fmt.Fprint(&said, strings.Join(found.Notes, "\n"))
	if diff := cmp.Diff(strings.TrimSpace(`
shop purchase 网上 Purchase Buys tea.
persona anna Anna
persona persona-eaea508f 王先生
stage start  [{advert  0 false}]
stage buy Buy [{touchpoint-374775c3  0 false} {pay  0 false} {pay-2  0 false}]
stage buy-2 Buy [{cafe  0 false} {advert  0 false}]
touchpoint advert Advert Web
touchpoint touchpoint-374775c3 结账 Web
touchpoint pay Pay! Web
touchpoint pay-2 Pay Web
touchpoint cafe Café Web
9:1: the section "考虑" has no task, and so is no stage: it stays in the annotation sojourn.dev/mermaid
12:3: the score of "Advert" is 7; Mermaid draws 1, worst, to 5, best`), said.String()); diff != "" {
		t.Error(diff)
	}
}

// TestTooMuch holds what a Journey has no room for to clear words.
func TestTooMuch(t *testing.T) {
	stages := &strings.Builder{}
	for i := range 21 {
		fmt.Fprintf(stages, "section S%d\nT%d: 3\n", i, i)
	}
	for text, wanted := range map[string]string{
		"journey\nsection A\n":                                  "1:1: the diagram has no task: write one in a section, such as Pay: 3: Me",
		"journey\nsection A\n" + strings.Repeat("Pay: 3\n", 51): "53:1: a stage has at most 50 touchpoints, and this section has 51 tasks: begin another section here",
		"journey\n" + stages.String():                           "42:1: a journey has at most 20 stages: end it here, and draw the rest as a journey of its own",
	} {
		if _, err := Import(mustParse(t, text), Options{}); err == nil || err.Error() != wanted {
			t.Errorf("%v\nwanted: %s", err, wanted)
		}
	}
	people := "journey\nPay: 3: A, B, C, D, E, F, G, H, I, J\n"
	found, err := Import(mustParse(t, people), Options{})
	if err != nil || len(found.Journey.Spec.Personas) != 8 || len(found.Notes) != 1 || !strings.HasPrefix(found.Notes[0], "I, J: a Journey has at most 8 personas") {
		t.Error(found, err)
	}
	roundTrip(t, people)
}

// exportOf draws objects again.
func exportOf(t *testing.T, found *Imported, declared bool) *Diagram {
	t.Helper()
	d, err := Export(found.Journey, func(reference v1alpha1.TouchpointReference) Known {
		for _, touchpoint := range found.Touchpoints {
			if touchpoint.Name == string(reference.Name) {
				return Known{DisplayName: touchpoint.Spec.DisplayName, Exists: true}
			}
		}
		return Known{}
	}, declared)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var positions = cmpopts.IgnoreTypes(Position{})

// roundTrip takes a text that can be read through everything that must not lose anything.
func roundTrip(t *testing.T, text string) {
	t.Helper()
	d := mustParse(t, text)
	normal := d.String()
	again := mustParse(t, normal)
	if diff := cmp.Diff(d, again, positions, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("written and read again:\n%s\n%s", diff, normal)
	}
	found, err := Import(d, Options{})
	if err != nil {
		return // too much for a journey
	}
	exported := exportOf(t, found, true).String()
	if exported != normal {
		t.Fatalf("imported and exported:\n%s", cmp.Diff(normal, exported))
	}
	second, err := Import(mustParse(t, exported), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(found.Journey, second.Journey); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff(found.Touchpoints, second.Touchpoints); diff != "" {
		t.Fatal(diff)
	}
}

// TestRoundTrip takes random diagrams there and back.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(2000) {
		roundTrip(t, random(rand.New(rand.NewPCG(seed, 7))).String())
	}
}

// TestRead reads all that has been written: encoding loses nothing.
func TestRead(t *testing.T) {
	for seed := range uint64(2000) {
		d := random(rand.New(rand.NewPCG(seed, 8)))
		if diff := cmp.Diff(d, mustParse(t, d.String()), positions, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d: %s\n%s", seed, diff, d)
		}
	}
}

// random is a diagram whose texts hold what Mermaid takes for its own.
func random(r *rand.Rand) *Diagram {
	pieces := []string{
		"a", "B", "7", " ", "#", ";", ":", ",", "%", "%%", "{", "}", "%%{", "}%%", "#58;", "&amp;", "é", "结", "：", "\u3000", "\u00a0", "\ufeff",
		"journey", "title ", "section ", "accTitle:", "accDescr {", "---", "\"", "'", "<br/>", "style x:", "-", "_", "🙂",
	}
	text := func() string {
		var made strings.Builder
		for range 1 + r.IntN(6) {
			made.WriteString(pieces[r.IntN(len(pieces))])
		}
		return made.String()
	}
	maybe := func() string {
		if r.IntN(2) == 0 {
			return ""
		}
		return text()
	}
	remarks := func() (found []string) {
		for range r.IntN(2) {
			found = append(found, "remark"+strings.Repeat("x", r.IntN(3)))
		}
		return found
	}
	d := &Diagram{Title: maybe(), AccTitle: maybe(), AccDescr: maybe(), Comments: remarks()}
	for i := range r.IntN(5) {
		section := Section{Name: text(), Comments: remarks()}
		if i == 0 && r.IntN(3) == 0 {
			section.Name, section.Comments = "", nil
		}
		for range r.IntN(5) {
			task := Task{Name: text(), Score: float64(r.IntN(50)) / 10, Comments: remarks()}
			actors := map[string]bool{}
			for range r.IntN(4) {
				if actor := text(); !actors[actor] {
					actors[actor] = true
					task.Actors = append(task.Actors, actor)
				}
			}
			section.Tasks = append(section.Tasks, task)
		}
		if section.Name != "" || len(section.Tasks) > 0 {
			d.Sections = append(d.Sections, section)
		}
	}
	return d
}

// TestExportEdited exports a journey that was changed after it was imported.
func TestExportEdited(t *testing.T) {
	found, err := Import(mustParse(t, "%%{init: {}}%%\njourney\ntitle Day\nsection Go\n%% with milk\nMake tea: 5: Me, Cat\nDo work: 1: Me\n"), Options{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	spec := &found.Journey.Spec
	spec.DisplayName = "My day"
	spec.Personas[0].DisplayName = "Anna"
	spec.Stages[0].Touchpoints[1].Name = "rest"
	spec.Stages = append(spec.Stages, v1alpha1.Stage{Name: "home", Touchpoints: []v1alpha1.TouchpointReference{{Name: "make-tea"}}})
	score := 30.0
	export := func(declared bool) string {
		d, err := Export(found.Journey, func(reference v1alpha1.TouchpointReference) Known {
			if reference.Name == "make-tea" {
				return Known{DisplayName: "Make green tea", Score: &score, Exists: true}
			}
			return Known{}
		}, declared)
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	}
	if diff := cmp.Diff(`%%{init: {}}%%
journey
    title My day
    section Go
      %% with milk
      Make green tea: 2.2: Anna, Cat
      rest (no data): 3: Anna, Cat
    section home
      Make green tea: 2.2: Anna, Cat
`, export(false)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(`%%{init: {}}%%
journey
    title My day
    section Go
      %% with milk
      Make green tea: 5: Anna, Cat
      rest: 3: Anna, Cat
    section home
      Make green tea: 3: Anna, Cat
`, export(true)); diff != "" {
		t.Error(diff)
	}
	found.Journey.Annotations[DrawingAnnotation] = "flowchart"
	if _, err := Export(found.Journey, func(v1alpha1.TouchpointReference) Known { return Known{} }, true); err == nil || !strings.Contains(err.Error(), "is no diagram any more") {
		t.Error(err)
	}
}

// FuzzParse reads whatever there is: no panic, and nothing is lost of what can be read.
func FuzzParse(f *testing.F) {
	f.Add(working)
	for _, text := range []string{
		"---\ntitle: x\n---\njourney\nA: 1", "%%{init: {}}%%\njourney\nsection a\nb#58;: 3: c, d %% e\n# f", "journey\naccDescr {\na\n}b: 1:\n", "journey\ntitle a:b#1;\nx: .5",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := Parse(text); err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		roundTrip(t, text)
	})
}

// TestMermaidItself has Mermaid's own parser read what was written, and compares.
func TestMermaidItself(t *testing.T) {
	checker := os.Getenv("SOJOURN_MERMAID")
	if checker == "" {
		t.Skip("make test-mermaid does this")
	}
	dir := t.TempDir()
	diagrams := map[string]*Diagram{}
	for seed := range uint64(3000) {
		name := fmt.Sprintf("%04d.mmd", seed)
		diagrams[name] = random(rand.New(rand.NewPCG(seed, 9)))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(diagrams[name].String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	printed, err := exec.CommandContext(t.Context(), "node", filepath.Join(checker, "check.mjs"), dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	type task struct {
		Section, Name string
		Score         float64
		Actors        []string
	}
	type reading struct {
		Name, Error, Title, AccTitle, AccDescr string
		Sections                               []string
		Tasks                                  []task
	}
	for line := range strings.Lines(string(printed)) {
		var read reading
		if err := json.Unmarshal([]byte(line), &read); err != nil {
			t.Fatal(err)
		}
		d := diagrams[read.Name]
		wanted := reading{Name: read.Name, Title: d.Title, AccTitle: d.AccTitle, AccDescr: d.AccDescr}
		for _, section := range d.Sections {
			if section.Name != "" {
				wanted.Sections = append(wanted.Sections, section.Name)
			}
			for _, each := range section.Tasks {
				wanted.Tasks = append(wanted.Tasks, task{section.Name, each.Name, each.Score, each.Actors})
			}
		}
		if diff := cmp.Diff(wanted, read, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s\n%s", diff, d)
		}
		delete(diagrams, read.Name)
	}
	if len(diagrams) > 0 {
		t.Errorf("Mermaid did not read %d of them", len(diagrams))
	}
}
