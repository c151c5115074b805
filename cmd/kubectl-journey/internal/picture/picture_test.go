package picture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas/atlastest"
)

var update = flag.Bool("update", false, "write the golden files anew")

var journeys = []string{atlastest.Shop, atlastest.Long, atlastest.Silent, atlastest.Single, atlastest.Hostile}

func mapOf(name string) *atlas.Map {
	m := atlastest.Objects().Map(atlas.Key{Namespace: "shop", Name: name})
	for i := range m.Stages {
		for j := range m.Stages[i].Stops {
			if stop := &m.Stages[i].Stops[j]; stop.Left != nil {
				stop.Trend = atlastest.Trend(*stop.Left < 0)
			}
		}
	}
	return m
}

func linkTo(key atlas.Key) string { return "/touchpoints/" + key.Namespace + "/" + key.Name }

func svgOf(t *testing.T, name string) string {
	t.Helper()
	var out bytes.Buffer
	if err := Draw(mapOf(name), Options{Header: true}).SVG(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestGolden(t *testing.T) {
	for _, name := range journeys {
		got := svgOf(t, name)
		if got != svgOf(t, name) {
			t.Errorf("%s: drawn twice, it differs", name)
		}
		file := filepath.Join("testdata", strings.TrimRight(name[:min(len(name), 20)], "-")+".svg")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is drawn in another way; if that is right: go test ./cmd/kubectl-journey/internal/picture -update", file)
		}
	}
}

// TestWellFormed: every drawing is XML, has no reference to elsewhere, no script, and says
// in words what is seen.
func TestWellFormed(t *testing.T) {
	for _, name := range journeys {
		picture := Draw(mapOf(name), Options{Link: linkTo})
		names, rest := picture.InlineParts()
		for form, text := range map[string]string{"file": svgOf(t, name), "inline": picture.Inline(), "names": names, "rest": rest} {
			decoder := xml.NewDecoder(strings.NewReader(text))
			described := false
			for {
				token, err := decoder.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s as %s: %v", name, form, err)
				}
				element, is := token.(xml.StartElement)
				if !is {
					continue
				}
				described = described || element.Name.Local == "desc"
				switch element.Name.Local {
				case "svg", "g", "a", "rect", "path", "text", "title", "desc", "style":
				default:
					t.Errorf("%s as %s: element %s", name, form, element.Name.Local)
				}
				for _, attribute := range element.Attr {
					if strings.HasPrefix(attribute.Name.Local, "on") || attribute.Name.Local == "style" {
						t.Errorf("%s as %s: attribute %s", name, form, attribute.Name.Local)
					}
					if attribute.Name.Local == "href" && !strings.HasPrefix(attribute.Value, "/touchpoints/") {
						t.Errorf("%s as %s: leads to %s", name, form, attribute.Value)
					}
				}
			}
			if !described && form != "names" {
				t.Errorf("%s as %s does not say what is seen", name, form)
			}
			if strings.Contains(strings.ReplaceAll(text, "http://www.w3.org/2000/svg", ""), "http") {
				t.Errorf("%s as %s names another place", name, form)
			}
			if strings.ContainsAny(text, "\u202e\u202d") {
				t.Errorf("%s as %s turns the direction of texts", name, form)
			}
		}
	}
}

// TestNothingStandsOut: no text leaves its column, and nothing the picture.
func TestNothingStandsOut(t *testing.T) {
	for _, name := range journeys {
		for _, header := range []bool{false, true} {
			picture := Draw(mapOf(name), Options{Header: header})
			var look func(shapes []Shape, right float64)
			look = func(shapes []Shape, right float64) {
				for _, s := range shapes {
					switch s := s.(type) {
					case Group:
						look(s.Shapes, right)
					case Rect:
						if s.X < 0 || s.Y < 0 || s.X+s.W > picture.Width || s.Y+s.H > picture.Height || s.W < 0 || s.H < 0 {
							t.Errorf("%s: %+v is outside", name, s)
						}
					case Words:
						wide := style{size: s.Size, bold: s.Bold, mono: s.Mono}.width(s.Text)
						left := s.X
						switch s.Anchor {
						case Middle:
							left -= wide / 2
						case End:
							left -= wide
						}
						if left < 0 || left+wide > right+1 || s.Y > picture.Height {
							t.Errorf("%s: %q from %.0f to %.0f is outside", name, s.Text, left, left+wide)
						}
					}
				}
			}
			look(picture.Names, picture.Gutter)
			look(picture.Shapes, picture.Width)
		}
	}
}

func TestWrap(t *testing.T) {
	set := style{size: 10}
	for _, test := range []struct {
		text  string
		most  int
		limit float64
		want  []string
	}{
		{"", 3, 50, nil},
		{"a word", 3, 500, []string{"a word"}},
		{"one two three", 3, 40, []string{"one two", "three"}},
		{"one two three four", 2, 40, []string{"one two", "three f…"}},
		{"online-purchase", 3, 50, []string{"online-", "purchase"}},
		{"xxxxxxxxxxxxxxxx", 2, 30, []string{"xxxxx", "xxxx…"}},
		{"客户确认，然后付款。", 3, 43, []string{"客户确", "认，然后", "付款。"}},
		{"line\nbreak\u202e\x00s", 1, 500, []string{"line break s"}},
	} {
		got := set.wrap(test.text, test.limit, test.most)
		if strings.Join(got, "|") != strings.Join(test.want, "|") {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
	}
}

func TestPNG(t *testing.T) {
	for _, name := range journeys {
		picture := Draw(mapOf(name), Options{Header: true})
		var out bytes.Buffer
		if _, err := picture.PNG(&out, 1); err != nil {
			t.Fatal(err)
		}
		image, err := png.Decode(&out)
		if err != nil {
			t.Fatal(err)
		}
		if wide := image.Bounds().Dx(); wide < int(picture.Width) {
			t.Errorf("%s is %d wide, not %.0f", name, wide, picture.Width)
		}
		inked := 0
		for x := 0; x < image.Bounds().Dx(); x += 3 {
			for y := 0; y < image.Bounds().Dy(); y += 3 {
				if r, _, _, _ := image.At(x, y).RGBA(); r < 0x6000 {
					inked++
				}
			}
		}
		if inked < 200 {
			t.Errorf("%s is nearly blank: %d dark dots", name, inked)
		}
	}
}

func TestPNGSaysWhatItLacks(t *testing.T) {
	m := mapOf(atlastest.Single)
	m.Title = "\U0010fffd" // no font has it
	lacking, err := Draw(m, Options{Header: true}).PNG(io.Discard, 1)
	if err != nil || !strings.Contains(lacking, "\U0010fffd") {
		t.Errorf("lacking %q, %v", lacking, err)
	}
}
