package picture

import (
	"strings"
	"sync"
	"unicode"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
	"golang.org/x/text/width"
)

// face is one of those that texts are measured by, and that PNGs are drawn with.
type face struct {
	font *sfnt.Font
	// advances are those of the runes below their number, in ems; negative: it has none.
	advances [0x530]float64
}

func load(data []byte) *face {
	parsed, err := sfnt.Parse(data)
	if err != nil {
		panic(err) // it is compiled in
	}
	f := &face{font: parsed}
	var buffer sfnt.Buffer
	em := fixed.I(int(parsed.UnitsPerEm()))
	for r := range f.advances {
		f.advances[r] = -1
		if index, err := parsed.GlyphIndex(&buffer, rune(r)); err == nil && index != 0 {
			if advance, err := parsed.GlyphAdvance(&buffer, index, em, font.HintingNone); err == nil {
				f.advances[r] = float64(advance) / float64(em)
			}
		}
	}
	return f
}

var (
	regular = sync.OnceValue(func() *face { return load(goregular.TTF) })
	bold    = sync.OnceValue(func() *face { return load(gobold.TTF) })
	mono    = sync.OnceValue(func() *face { return load(gomono.TTF) })
)

func faceOf(isBold, isMono bool) *face {
	switch {
	case isMono:
		return mono()
	case isBold:
		return bold()
	default:
		return regular()
	}
}

// style is how a text is set.
type style struct {
	size       float64
	bold, mono bool
}

// advance is how wide a letter is at most: the reader's font may be wider than ours.
func (s style) advance(r rune) float64 {
	spare := 1.08
	if s.bold {
		spare = 1.14
	}
	if isWide(r) {
		spare = 1 // of Chinese in every font
	}
	return spare * s.size * faceOf(s.bold, s.mono).advance(r)
}

func (s style) width(text string) float64 {
	sum := 0.0
	for _, r := range text {
		sum += s.advance(r)
	}
	return sum
}

func (f *face) advance(r rune) float64 {
	if int(r) < len(f.advances) && f.advances[r] >= 0 {
		return f.advances[r]
	}
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case isWide(r):
		return 1
	default:
		return 0.62
	}
}

func isWide(r rune) bool {
	if r < 0x1100 {
		return false
	}
	kind := width.LookupRune(r).Kind()
	return kind == width.EastAsianWide || kind == width.EastAsianFullwidth
}

// clean is a text without what would turn, hide or end the texts beside it: control
// characters and marks of direction.
func clean(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "�"), func(r rune) bool {
		return unicode.IsSpace(r) && r != '\u00a0' || unicode.IsControl(r) || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' || r == '\ufffe' || r == '\uffff'
	}), " ")
}

// Runes that do not begin a line, and that do not end one.
const (
	notFirst = "，。、！？；：）】》」』”’%‰·…—,.!?;:)]}"
	notLast  = "（【《「『“‘([{"
)

// breakable tells whether a line may end before a place in a text.
func breakable(text []rune, at int) bool {
	before, after := text[at-1], text[at]
	if after == ' ' {
		return at+1 < len(text) && !strings.ContainsRune(notFirst, text[at+1])
	}
	switch {
	case strings.ContainsRune(notFirst, after) || strings.ContainsRune(notLast, before):
		return false
	case before == ' ', before == '-', before == '/', before == '·':
		return true
	default:
		return isWide(before) || isWide(after)
	}
}

// lastDot is the place after the last dot that stands between two words; 0: there is none.
func lastDot(text []rune) int {
	for i := len(text) - 2; i > 0; i-- {
		if text[i] == '·' && text[i-1] == ' ' && text[i+1] == ' ' {
			return i + 1
		}
	}
	return 0
}

// wrap breaks a text into at most so many lines that are no wider than a width. What does
// not fit is cut off, which three dots say.
func (s style) wrap(text string, limit float64, most int) []string {
	left := []rune(clean(text))
	var lines []string
	for len(left) > 0 {
		if len(lines) == most-1 {
			return append(lines, s.cut(string(left), limit))
		}
		fits, sum := 0, 0.0
		for fits < len(left) {
			sum += s.advance(left[fits])
			if sum > limit {
				break
			}
			fits++
		}
		end := fits
		if fits < len(left) {
			for end > 0 && !breakable(left, end) {
				end--
			}
			// A name in two languages is rather broken between them than within one.
			if dot := lastDot(left[:end]); dot > 0 && s.width(string(left[dot:])) <= limit {
				end = dot
			}
			if end == 0 {
				end = max(fits, 1) // a word that is longer than a line
			}
		}
		lines = append(lines, strings.TrimSpace(string(left[:end])))
		left = []rune(strings.TrimLeft(string(left[end:]), " ·"))
	}
	return lines
}

// cut shortens a text to a width.
func (s style) cut(text string, limit float64) string {
	text = clean(text)
	if s.width(text) <= limit {
		return text
	}
	runes := []rune(text)
	for len(runes) > 0 && s.width(string(runes)+"…") > limit {
		runes = runes[:len(runes)-1]
	}
	return strings.TrimRight(string(runes), " ·-") + "…"
}
