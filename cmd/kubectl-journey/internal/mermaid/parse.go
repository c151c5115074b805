package mermaid

import (
	"fmt"
	"html"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
)

const (
	// maxText is how long a diagram may be, in bytes: it travels in an annotation.
	maxText = 128 << 10
	// maxErrors is after how many errors nobody reads on.
	maxErrors = 20
)

// Parse reads a diagram. Its error is an Errors.
func Parse(text string) (*Diagram, error) {
	p := &parser{diagram: &Diagram{}}
	if len(text) > maxText {
		p.fail(Position{1, 1}, "the diagram has %d bytes, and may have %d: cut it into several journeys", len(text), maxText)
		return nil, p.errors
	}
	if i := invalidAt(text); i >= 0 {
		p.text = text
		p.failAt(i, "this is no UTF-8 text: save the file as UTF-8")
		return nil, p.errors
	}
	p.text = newlines.Replace(strings.TrimPrefix(text, "\ufeff"))
	p.frontmatter()
	p.directives()
	p.statements()
	if len(p.errors) > 0 {
		return nil, p.errors
	}
	return p.diagram, nil
}

var newlines = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func invalidAt(text string) int {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

type parser struct {
	text    string
	at      int
	diagram *Diagram
	errors  Errors
	// comments wait for the statement that they stand before.
	comments []string
	// touched is where the latest statement keeps its comments, for one beside it.
	touched *[]string
}

func (p *parser) fail(at Position, format string, arguments ...any) {
	if len(p.errors) < maxErrors {
		p.errors = append(p.errors, &Error{at, fmt.Sprintf(format, arguments...)})
	}
}

func (p *parser) failAt(offset int, format string, arguments ...any) {
	p.fail(p.position(offset), format, arguments...)
}

// position counts characters, as editors do.
func (p *parser) position(offset int) Position {
	before := p.text[:offset]
	line := strings.LastIndexByte(before, '\n') + 1
	return Position{Line: strings.Count(before, "\n") + 1, Column: utf8.RuneCountInString(before[line:]) + 1}
}

var frontmatter = regexp.MustCompile(`\A([ \t]*)---[^\S\n]*\n`)

// frontmatter takes the YAML at the top, and leaves empty lines in its place.
func (p *parser) frontmatter() {
	open := frontmatter.FindStringSubmatch(p.text)
	if open == nil {
		return
	}
	indent, body := open[1], p.text[len(open[0]):]
	end := regexp.MustCompile(`(?m)^` + indent + `---[^\S\n]*$`).FindStringIndex(body)
	if end == nil {
		p.failAt(len(indent), "the frontmatter does not end: write --- in a line of its own after it")
		p.at = len(p.text)
		return
	}
	var lines []string
	for line := range strings.Lines(body[:end[0]]) {
		lines = append(lines, strings.TrimPrefix(strings.TrimRight(line, "\n"), indent))
	}
	p.diagram.Frontmatter = strings.Join(lines, "\n")
	var known map[string]any
	if err := yaml.Unmarshal([]byte(p.diagram.Frontmatter), &known); err != nil {
		p.failAt(len(open[0]), "the frontmatter is no YAML: %v", err)
	}
	if title, ok := known["title"]; ok && title != nil {
		p.diagram.FrontmatterTitle = oneLine(fmt.Sprint(title))
	}
	p.erase(0, len(open[0])+end[1])
}

// erase puts spaces where a part was, so that positions stay true.
func (p *parser) erase(from, to int) {
	p.text = p.text[:from] + blanks.ReplaceAllString(p.text[from:to], " ") + p.text[to:]
}

var (
	blanks    = regexp.MustCompile(`[^\n]`)
	directive = regexp.MustCompile(`(?s)%%\{.*?\}%%`)
)

// directives takes what configures Mermaid, wherever it stands.
func (p *parser) directives() {
	for _, found := range directive.FindAllStringIndex(p.text, -1) {
		p.diagram.Directives = append(p.diagram.Directives, p.text[found[0]:found[1]])
		if !regexp.MustCompile(`^%%\{\s*\w`).MatchString(p.text[found[0]:found[1]]) {
			p.failAt(found[0], `a directive begins with its name: write %%%%{init: {"theme": "dark"}}%%%%`)
		}
	}
	p.text = directive.ReplaceAllStringFunc(p.text, func(found string) string {
		// As many characters as before, not bytes: columns count characters.
		return blanks.ReplaceAllString(found, " ")
	})
	if at := strings.Index(p.text, "%%{"); at >= 0 {
		p.failAt(at, "the directive does not end: write }%%%% after it")
		p.at = len(p.text)
	}
}

// blank is one that does not end a line.
const blank = `[\t\v\f \p{Z}\x{feff}]`

var (
	entity   = regexp.MustCompile(`^#\w+;`)
	keyword  = regexp.MustCompile(`(?i)^(journey\b|title` + blank + `|accTitle\s*:|accDescr\s*[:{]|section` + blank + `)`)
	lonesome = regexp.MustCompile(`(?i)^(title|section|accTitle|accDescr)` + blank + `*(\n|$)`)
)

// statements reads what follows frontmatter and directives.
func (p *parser) statements() {
	begun := false
	for p.skip() {
		rest, here := p.text[p.at:], p.at
		word := strings.ToLower(keyword.FindString(rest))
		switch {
		case !begun:
			begun = true
			if !strings.HasPrefix(rest, "journey") || word != "journey" {
				first, _, _ := strings.Cut(rest, "\n")
				p.failAt(here, "the diagram does not begin with the line journey, but with %s", quote(first))
				return
			}
			p.at += len("journey")
			p.takeComments(&p.diagram.Comments)
		case word == "journey":
			p.failAt(here, `Mermaid takes the word journey for the beginning of a diagram: call the task something else, or write #%d;%s`, rest[0], rest[1:len("journey")])
			p.nextLine()
		case lonesome.MatchString(rest):
			p.failAt(here, "%s has no text: write it in the same line", strings.ToLower(lonesome.FindStringSubmatch(rest)[1]))
			p.nextLine()
		case word == "":
			p.task()
		case strings.HasPrefix(word, "title"):
			p.at += len(word)
			if value := p.value("#;\n", "the title"); value != "" {
				p.diagram.Title = value
			}
			p.takeComments(&p.diagram.Comments)
		case strings.HasPrefix(word, "section"):
			p.at += len(word)
			name := p.value("#:;\n", "the section")
			p.refuse(':', "a section's name")
			p.diagram.Sections = append(p.diagram.Sections, Section{Name: name, Position: p.position(here)})
			p.takeComments(&p.diagram.Sections[len(p.diagram.Sections)-1].Comments)
		case strings.HasPrefix(word, "acctitle"):
			p.at += len(word)
			if value := p.value("\n", "accTitle"); value != "" {
				p.diagram.AccTitle = value
			}
			p.takeComments(&p.diagram.Comments)
		default:
			p.description(word)
			p.takeComments(&p.diagram.Comments)
		}
	}
	p.diagram.Closing = p.comments
	if len(p.errors) == 0 && !begun {
		p.failAt(0, "there is no diagram: begin with the line journey")
	}
}

// skip passes over white space and comments; false at the end.
func (p *parser) skip() bool {
	fresh := false // whether a line has begun
	for p.at < len(p.text) {
		rest := p.text[p.at:]
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case r == '\n':
			fresh = true
			p.at++
		case white(r):
			p.at += size
		case r == '%' || r == '#' && !entity.MatchString(rest):
			line, _, _ := strings.Cut(rest, "\n")
			p.at += len(line)
			text := strings.TrimSpace(spaces.ReplaceAllString(strings.TrimPrefix(strings.TrimPrefix(line[1:], "%"), "%"), " "))
			if strings.IndexFunc(text, unicode.IsControl) >= 0 {
				p.failAt(p.at-len(line), "the comment holds a control character: remove it")
			}
			if !fresh && p.touched != nil && len(p.comments) == 0 {
				*p.touched = append(*p.touched, text)
			} else {
				p.comments = append(p.comments, text)
			}
		default:
			return true
		}
	}
	return false
}

// white are the characters that JavaScript calls white space.
func white(r rune) bool { return unicode.IsSpace(r) && r != '\u0085' || r == '\ufeff' }

func (p *parser) takeComments(into *[]string) {
	*into = append(*into, p.comments...)
	p.comments, p.touched = nil, into
}

func (p *parser) nextLine() {
	line, _, _ := strings.Cut(p.text[p.at:], "\n")
	p.at += len(line)
}

// raw reads up to one of the characters that end a text. Entity codes are part of it.
func (p *parser) raw(ends string) string {
	begin := p.at
	for p.at < len(p.text) {
		if code := entity.FindString(p.text[p.at:]); code != "" {
			p.at += len(code)
			continue
		}
		if strings.IndexByte(ends, p.text[p.at]) >= 0 {
			break
		}
		p.at++
	}
	return p.text[begin:p.at]
}

// value reads a text up to one of the characters that end it.
func (p *parser) value(ends, what string) string {
	begin := p.at
	value := p.clean(p.raw(ends), begin)
	if value == "" {
		p.failAt(begin, "%s has no text: write it in the same line", what)
	}
	p.refuse(';', what)
	return value
}

// refuse says that a character cannot stand where the parser is.
func (p *parser) refuse(character byte, what string) {
	if p.at < len(p.text) && p.text[p.at] == character {
		p.failAt(p.at, "%c cannot stand in %s: leave it out, or write #%d; instead", character, what, character)
		p.nextLine()
	}
}

// description reads the accessible description, in one line or between braces.
func (p *parser) description(word string) {
	begin := p.at
	p.at += len(word)
	if strings.HasSuffix(word, ":") {
		if value := p.value("\n", "accDescr"); value != "" {
			p.diagram.AccDescr = value
		}
		return
	}
	end := strings.IndexByte(p.text[p.at:], '}')
	if end < 0 {
		p.failAt(begin, "the description does not end: write } after it")
		p.at = len(p.text)
		return
	}
	var lines []string
	for line := range strings.SplitSeq(p.text[p.at:p.at+end], "\n") {
		if line = p.clean(line, p.at); line != "" {
			lines = append(lines, line)
		}
	}
	p.at += end + 1
	if len(lines) > 0 {
		p.diagram.AccDescr = strings.Join(lines, "\n")
	}
}

// task reads a task: its name, its score, who does it.
func (p *parser) task() {
	begin := p.at
	name := p.clean(p.raw("#:;\n"), begin)
	position := p.position(begin)
	switch {
	case p.at < len(p.text) && p.text[p.at] == ';':
		p.refuse(';', "a task")
		return
	case p.at >= len(p.text) || p.text[p.at] != ':':
		p.fail(position, "the task %s has no score: write %s", quote(name), quote(name+": 3: Me"))
		p.nextLine()
		return
	case name == "":
		p.fail(position, "the task has no name: write one before the colon, such as Pay: 3: Me")
		p.nextLine()
		return
	}
	p.at++
	from := p.at
	data := p.raw("#;\n")
	score, people, _ := strings.Cut(data, ":")
	number, problem := scoreOf(clean(score))
	if problem != "" {
		p.failAt(from+len(score)-len(strings.TrimLeftFunc(score, white)), "the score of the task %s %s", quote(name), problem)
	}
	// Mermaid passes over what follows a third colon.
	people, more, surplus := strings.Cut(people, ":")
	if surplus {
		p.failAt(from+len(data)-len(more)-1, "a third colon cannot stand in a task: leave it out, or write #58; instead")
	}
	var actors []string
	at := from + len(score) + 1
	for each := range strings.SplitSeq(people, ",") {
		if actor := p.clean(each, min(at, len(p.text))); actor != "" && !slices.Contains(actors, actor) {
			actors = append(actors, actor)
		}
		at += len(each) + 1
	}
	p.refuse(';', "a task")
	if len(p.diagram.Sections) == 0 {
		p.diagram.Sections = []Section{{Position: position}}
	}
	section := &p.diagram.Sections[len(p.diagram.Sections)-1]
	section.Tasks = append(section.Tasks, Task{Name: name, Score: number, Actors: actors, Position: position})
	p.takeComments(&section.Tasks[len(section.Tasks)-1].Comments)
}

// number is what Mermaid takes for one, less the outlandish.
var number = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$`)

func scoreOf(text string) (score float64, problem string) {
	if text == "" {
		return 0, "is missing: write a number from 1, worst, to 5, best"
	}
	if number.MatchString(text) {
		score, err := strconv.ParseFloat(text, 64)
		if err == nil && math.Abs(score) <= 100 {
			// Four digits are more than anybody draws.
			score, _ = strconv.ParseFloat(strconv.FormatFloat(score, 'f', 4, 64), 64)
			return score + 0, ""
		}
	}
	return 0, fmt.Sprintf("is %s: write a number from 1, worst, to 5, best", quote(text))
}

// clean is a text as people read it. What it holds at a place is complained of.
func (p *parser) clean(raw string, offset int) string {
	text := clean(raw)
	if strings.IndexFunc(text, unicode.IsControl) >= 0 {
		p.failAt(offset, "%s holds a control character: remove it", quote(text))
	}
	return text
}

var (
	code   = regexp.MustCompile(`#\w+;`)
	spaces = regexp.MustCompile(`[ \t\v\f]+`)
)

// clean trims a text, makes runs of spaces one, and decodes its entity codes.
func clean(raw string) string {
	text := spaces.ReplaceAllString(strings.TrimFunc(raw, white), " ")
	return code.ReplaceAllStringFunc(text, func(found string) string {
		name := found[1 : len(found)-1]
		written := "&" + name + ";"
		if strings.Trim(name, "0123456789") == "" {
			written = "&#" + name + ";"
		}
		decoded := html.UnescapeString(written)
		if strings.HasPrefix(decoded, "&") && decoded != "&" || strings.HasSuffix(decoded, ";") && decoded != ";" {
			return found // there is no such entity
		}
		return decoded
	})
}

// oneLine is a text without line ends and other characters that nobody sees.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return white(r) || unicode.IsControl(r) }), " ")
}

// quote shows a text in an error, at most 40 characters of it.
func quote(text string) string {
	if runes := []rune(text); len(runes) > 40 {
		text = string(runes[:39]) + "…"
	}
	return strconv.Quote(text)
}
