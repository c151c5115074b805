package terminal

import (
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// clean makes text harmless that others wrote: what a terminal would obey, and what turns
// the direction of writing around, becomes visible; line breaks and tabs become spaces.
func clean(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t', r == '\u2028', r == '\u2029':
			return ' '
		case r == '\u200c', r == '\u200d': // parts of words and of emoji
			return r
		case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r):
			return '\uFFFD'
		default:
			return r
		}
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// width is how many cells a text takes: a Chinese letter takes two.
func width(text string) int { return uniseg.StringWidth(text) }

// cut shortens a text to a number of cells.
func cut(text string, cells int) string {
	if width(text) <= cells {
		return text
	}
	var kept strings.Builder
	left := cells - 1 // for the dots
	for letters := uniseg.NewGraphemes(text); letters.Next(); {
		if left -= letters.Width(); left < 0 {
			break
		}
		kept.WriteString(letters.Str())
	}
	if cells < 1 {
		return ""
	}
	return strings.TrimRight(kept.String(), " ") + "…"
}

// pad cuts or fills a text to exactly a number of cells.
func pad(text string, cells int) string {
	text = cut(text, cells)
	return text + strings.Repeat(" ", max(0, cells-width(text)))
}

// wrap breaks a text into lines of at most a number of cells, at most so many of them; 0:
// as many as it takes. It breaks where the rules of its writing allow, or else anywhere.
func wrap(text string, cells, lines int) []string {
	var found []string
	line, rest, state := "", text, -1
	put := func(part string) {
		for width(strings.TrimRight(part, " ")) > cells { // a word longer than a line
			head := ""
			for letters := uniseg.NewGraphemes(part); letters.Next() && width(head)+letters.Width() <= cells; {
				head += letters.Str()
			}
			if head == "" {
				return
			}
			found, part = append(found, head), part[len(head):]
		}
		line = part
	}
	for rest != "" {
		var segment string
		segment, rest, _, state = uniseg.FirstLineSegmentInString(rest, state)
		if width(line)+width(strings.TrimRight(segment, " ")) <= cells {
			line += segment
			continue
		}
		if line != "" {
			found = append(found, strings.TrimRight(line, " "))
		}
		put(segment)
	}
	if line = strings.TrimRight(line, " "); line != "" {
		found = append(found, line)
	}
	if lines > 0 && len(found) > lines {
		last := found[lines-1]
		found = found[:lines]
		if width(last)+1 > cells {
			last = strings.TrimSuffix(cut(last, cells-1), "…")
		}
		found[lines-1] = strings.TrimRight(last, " …") + "…"
	}
	return found
}
