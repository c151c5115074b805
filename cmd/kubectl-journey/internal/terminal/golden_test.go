package terminal

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas/atlastest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at it, and run the tests with -update if it is right:\n%s", path, got)
	}
}

// drawn is a journey with trends.
func drawn(name string) *atlas.Map {
	m := atlastest.Objects().Map(atlas.Key{Namespace: "shop", Name: name})
	for s := range m.Stages {
		for i := range m.Stages[s].Stops {
			if stop := &m.Stages[s].Stops[i]; stop.Left != nil {
				stop.Trend = atlastest.Trend(*stop.Left < 0)
			}
		}
	}
	return m
}

var journeys = map[string]string{
	"shop": atlastest.Shop, "long": atlastest.Long, "silent": atlastest.Silent, "single": atlastest.Single, "hostile": atlastest.Hostile,
}

func TestMap(t *testing.T) {
	for file, name := range journeys {
		for _, cells := range []int{80, 120, 200} {
			plain := Map(drawn(name), Options{Width: cells})
			golden(t, fmt.Sprintf("%s.%d.txt", file, cells), plain)
			fits(t, plain, cells)
			colored := Map(drawn(name), Options{Width: cells, Color: true})
			golden(t, fmt.Sprintf("%s.%d.color.txt", file, cells), colored)
			// Whoever sees no colour, sees the same.
			if bare := uncolored(colored); bare != plain {
				t.Errorf("%s at %d cells: without its colours it is another map:\n%s", name, cells, bare)
			}
		}
	}
}

func TestJourneys(t *testing.T) {
	objects := atlastest.Objects()
	var all []*atlas.Map
	for _, key := range objects.Keys() {
		all = append(all, objects.Map(key))
	}
	text := Journeys(all, true, Options{Width: 80})
	golden(t, "journeys.txt", text)
	for _, m := range all {
		if !strings.Contains(text, m.Name) {
			t.Errorf("%s is not listed by its whole name", m.Name)
		}
	}
}

// fits wants no line longer than the terminal, at any width.
func fits(t *testing.T, text string, cells int) {
	t.Helper()
	for line := range strings.Lines(text) {
		if got := width(strings.TrimSuffix(line, "\n")); got > cells {
			t.Errorf("%d cells in %d: %s", got, cells, line)
		}
	}
}

var color = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// uncolored also leaves away the blanks that a colour keeps at the end of a line.
func uncolored(text string) string {
	lines := strings.Split(color.ReplaceAllString(text, ""), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func TestEveryWidthFits(t *testing.T) {
	for _, name := range journeys {
		for cells := 40; cells < 260; cells += 7 {
			fits(t, Map(drawn(name), Options{Width: cells}), cells)
		}
	}
}

func TestNothingObeyed(t *testing.T) {
	m := drawn(atlastest.Single)
	evil := "a\x1b[2J\x1b]0;title\x07b\u202ec\u2066d\r\ne\u009b31mf\xff\u200b\u0000"
	m.Title, m.Goal, m.Weakest, m.Why, m.Name = evil, evil, evil, evil, evil
	m.Owner = &atlas.Owner{Team: evil}
	m.Missing = []string{evil}
	m.KPIs = []atlas.KPI{{Name: evil, Target: evil}}
	m.Ready = atlas.Health{Status: "False", Message: evil}
	stage := &m.Stages[0]
	stage.Title = evil
	stage.Stops[0].Title, stage.Stops[0].Channel = evil, evil
	for name, text := range map[string]string{"map": Map(m, Options{Width: 80}), "list": Journeys([]*atlas.Map{m}, true, Options{Width: 80})} {
		for _, r := range "\x1b\x07\r\u202e\u2066\u009b\u200b\x00" {
			if strings.ContainsRune(text, r) {
				t.Errorf("the %s holds %U: %q", name, r, text)
			}
		}
	}
}

func TestWrap(t *testing.T) {
	for _, test := range []struct {
		text         string
		cells, lines int
		want         []string
	}{
		{"a few words that do not fit", 12, 0, []string{"a few words", "that do not", "fit"}},
		{"unbreakablewordthatislong", 10, 0, []string{"unbreakabl", "ewordthati", "slong"}},
		{"网上购物的结账页面", 8, 0, []string{"网上购物", "的结账页", "面"}},
		{"网上购物的结账页面", 9, 2, []string{"网上购物", "的结账页…"}},
		{"one two three four", 9, 1, []string{"one two…"}},
		{"", 9, 1, nil},
	} {
		got := wrap(test.text, test.cells, test.lines)
		if strings.Join(got, "|") != strings.Join(test.want, "|") {
			t.Errorf("%q in %d cells: %q, want %q", test.text, test.cells, got, test.want)
		}
		for _, line := range got {
			if width(line) > test.cells {
				t.Errorf("%q takes %d of %d cells", line, width(line), test.cells)
			}
		}
	}
}

func TestScreen(t *testing.T) {
	var out strings.Builder
	screen := OpenScreen(&out)
	if err := screen.Draw("one\ntwo\nthree\nfour\n", "As of now.", 20, 3); err != nil {
		t.Fatal(err)
	}
	screen.Close()
	text := out.String()
	if strings.Contains(text, "\x1b[2J") {
		t.Error("the screen is cleared, and so flickers")
	}
	if !strings.Contains(text, "two") || strings.Contains(text, "three") || !strings.Contains(text, "2 more lines") {
		t.Errorf("what is too long for the screen is not cut: %q", text)
	}
	if !strings.HasPrefix(text, "\x1b[?1049h") || !strings.HasSuffix(text, "\x1b[?25h\x1b[?1049l") {
		t.Errorf("the terminal is not given back as it was: %q", text)
	}
}
