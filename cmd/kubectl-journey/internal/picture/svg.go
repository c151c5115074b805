package picture

import (
	"bytes"
	"encoding/xml"
	"io"
	"strconv"
	"strings"
)

// colours are those of each ink, in light and in dark.
var colours = map[Ink][2]string{
	Paper: {"#ffffff", "#161c24"}, Card: {"#ffffff", "#1c242e"}, Lane: {"#f1f4f7", "#1f2832"},
	Line: {"#d5dbe2", "#364250"}, Strong: {"#2f3b49", "#c6d0db"},
	Text: {"#18212c", "#e8edf3"}, Muted: {"#566270", "#a4b1bf"},
	Curve: {"#2f55a5", "#8fb5ff"}, Band: {"#c9d7f1", "#2e456f"},
	Good: {"#00705a", "#4fcfae"}, Warn: {"#9a5200", "#f3b453"}, Bad: {"#b0231b", "#ff8f80"}, Unknown: {"#5d6875", "#a0acb9"},
	Truth: {"#82368c", "#dba4ea"}, Halo: {"#f7eef9", "#2a2233"},
}

var inks = []Ink{Paper, Card, Lane, Line, Strong, Text, Muted, Curve, Band, Good, Warn, Bad, Unknown, Truth, Halo}

const families = `system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Noto Sans","PingFang SC","Microsoft YaHei","Noto Sans CJK SC","WenQuanYi Micro Hei",sans-serif`

// Style is the style sheet by which pictures follow the reader's light or dark: for pages
// that they stand in, and for the files themselves.
func Style() string {
	var b strings.Builder
	for i, scheme := range []string{":root{color-scheme:light dark;", "@media(prefers-color-scheme:dark){:root{"} {
		b.WriteString(scheme)
		for _, ink := range inks {
			b.WriteString("--" + string(ink) + ":" + colours[ink][i] + ";")
		}
		b.WriteString("}")
	}
	b.WriteString("}\n")
	for _, ink := range inks {
		b.WriteString(".f-" + string(ink) + "{fill:var(--" + string(ink) + ")}.s-" + string(ink) + "{stroke:var(--" + string(ink) + ")}")
	}
	b.WriteString("\nsvg.picture{font-family:" + families + ";background:var(--paper)}" +
		"svg.picture .mono{font-family:ui-monospace,Consolas,monospace}" +
		"svg.picture text{font-variant-numeric:tabular-nums}" +
		"svg.picture a:hover text,svg.picture a:focus-visible text{text-decoration:underline}" +
		"svg.picture a:focus-visible{outline:3px solid var(--curve);outline-offset:1px}\n")
	return b.String()
}

// SVG writes the picture as a file of its own.
func (p *Picture) SVG(out io.Writer) error {
	w := &svgWriter{}
	w.open(p, "picture", 0, p.Width, `xmlns="http://www.w3.org/2000/svg" role="img" width="`+number(p.Width)+`" height="`+number(p.Height)+`" `)
	w.WriteString("<title>" + escape(p.Title) + "</title>\n<style>" + Style() + "</style>\n")
	w.WriteString(`<rect class="f-paper" fill="` + colours[Paper][0] + `" width="` + number(p.Width) + `" height="` + number(p.Height) + `"/>` + "\n")
	w.shapes(p.Names)
	w.shapes(p.Shapes)
	w.WriteString("</svg>\n")
	_, err := out.Write(w.Bytes())
	return err
}

// Inline is the picture for a page that has Style. One without a title is for the eyes
// alone: a text beside it says the same.
func (p *Picture) Inline() string {
	w := &svgWriter{}
	if p.Title == "" {
		w.WriteString(`<svg class="picture" viewBox="0 0 ` + number(p.Width) + " " + number(p.Height) + `" width="` + number(p.Width) + `" height="` + number(p.Height) + `" aria-hidden="true">`)
		w.shapes(p.Shapes)
		w.WriteString("</svg>")
		return w.String()
	}
	w.open(p, "picture", 0, p.Width, `role="img" `)
	w.shapes(p.Names)
	w.shapes(p.Shapes)
	w.WriteString("</svg>")
	return w.String()
}

// InlineParts is the picture as two: the strip that names the rows, which is for the eyes
// alone, and the rest, with its links.
func (p *Picture) InlineParts() (names, rest string) {
	w := &svgWriter{}
	w.WriteString(`<svg class="picture names" viewBox="0 0 ` + number(p.Gutter) + " " + number(p.Height) + `" width="` + number(p.Gutter) + `" height="` + number(p.Height) + `" aria-hidden="true">`)
	w.shapes(p.Names)
	w.WriteString("</svg>")
	names = w.String()
	w = &svgWriter{}
	w.open(p, "picture rest", p.Gutter, p.Width-p.Gutter, `role="group" width="`+number(p.Width-p.Gutter)+`" height="`+number(p.Height)+`" `)
	w.shapes(p.Shapes)
	w.WriteString("</svg>")
	return names, w.String()
}

type svgWriter struct{ bytes.Buffer }

func (w *svgWriter) open(p *Picture, class string, from, wide float64, attributes string) {
	w.WriteString("<svg " + attributes + `class="` + class + `" viewBox="` + number(from) + " 0 " + number(wide) + " " + number(p.Height) + `" aria-label="` + escape(p.Title) + `">`)
	if p.Description != "" {
		w.WriteString("<desc>" + escape(p.Description) + "</desc>\n")
	}
}

func (w *svgWriter) shapes(shapes []Shape) {
	for _, s := range shapes {
		switch s := s.(type) {
		case Rect:
			w.WriteString(`<rect x="` + number(s.X) + `" y="` + number(s.Y) + `" width="` + number(s.W) + `" height="` + number(s.H) + `"`)
			if s.R > 0 {
				w.WriteString(` rx="` + number(s.R) + `"`)
			}
			w.paint(s.Fill, s.Stroke, s.Width, 0)
			w.WriteString("/>\n")
		case Path:
			w.WriteString(`<path d="`)
			for _, segment := range s.Segments {
				w.segment(segment)
			}
			w.WriteByte('"')
			w.paint(s.Fill, s.Stroke, s.Width, s.Dash)
			w.WriteString("/>\n")
		case Words:
			w.words(s)
		case Group:
			w.group(s)
		}
	}
}

func (w *svgWriter) segment(s Segment) {
	w.WriteByte(s.Op)
	count := map[byte]int{'M': 1, 'L': 1, 'C': 3}[s.Op]
	for i, p := range s.Points[:count] {
		if i > 0 {
			w.WriteByte(' ')
		}
		w.WriteString(number(p.X) + " " + number(p.Y))
	}
}

func (w *svgWriter) paint(fill, stroke Ink, width, dash float64) {
	var classes []string
	if fill == None {
		w.WriteString(` fill="none"`)
	} else {
		classes = append(classes, "f-"+string(fill))
		w.WriteString(` fill="` + colours[fill][0] + `"`)
	}
	if stroke != None {
		classes = append(classes, "s-"+string(stroke))
		w.WriteString(` stroke="` + colours[stroke][0] + `" stroke-width="` + number(width) + `" stroke-linejoin="round" stroke-linecap="round"`)
	}
	if dash > 0 {
		w.WriteString(` stroke-dasharray="` + number(dash) + `"`)
	}
	w.WriteString(` class="` + strings.Join(classes, " ") + `"`)
}

func (w *svgWriter) words(s Words) {
	if s.Text == "" {
		return
	}
	class := "f-" + string(s.Ink)
	if s.Mono {
		class += " mono"
	}
	w.WriteString(`<text x="` + number(s.X) + `" y="` + number(s.Y) + `" font-size="` + number(s.Size) + `" fill="` + colours[s.Ink][0] + `" class="` + class + `"`)
	if s.Bold {
		w.WriteString(` font-weight="600"`)
	}
	if s.Anchor != "" && s.Anchor != Start {
		w.WriteString(` text-anchor="` + string(s.Anchor) + `"`)
	}
	w.WriteString(">" + escape(s.Text) + "</text>\n")
}

func (w *svgWriter) group(s Group) {
	end := "</g>\n"
	if s.Link != "" {
		w.WriteString(`<a href="` + escape(s.Link) + `" aria-label="` + escape(s.Label) + `">`)
		end = "</a>\n"
	} else {
		w.WriteString("<g>")
	}
	if s.Title != "" {
		w.WriteString("<title>" + escape(s.Title) + "</title>")
	}
	w.shapes(s.Shapes)
	w.WriteString(end)
}

// number writes a length with at most one decimal.
func number(value float64) string {
	text := strconv.FormatFloat(value, 'f', 1, 64)
	return strings.TrimSuffix(strings.Replace(text, "-0.0", "0.0", 1), ".0")
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(clean(text)))
	return b.String()
}
