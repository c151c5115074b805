package mermaid

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// String writes a diagram in the one form that Parse(text).String() gives every text that
// says the same.
func (d *Diagram) String() string {
	var text strings.Builder
	if d.Frontmatter != "" {
		fmt.Fprintf(&text, "---\n%s\n---\n", d.Frontmatter)
	}
	for _, each := range d.Directives {
		text.WriteString(each + "\n")
	}
	comments(&text, "", d.Comments)
	text.WriteString("journey\n")
	if d.Title != "" {
		fmt.Fprintf(&text, "    title %s\n", encode(d.Title, inTitle))
	}
	if d.AccTitle != "" {
		fmt.Fprintf(&text, "    accTitle: %s\n", encode(d.AccTitle, inTitle))
	}
	if lines := strings.Split(d.AccDescr, "\n"); len(lines) > 1 {
		text.WriteString("    accDescr {\n")
		for _, line := range lines {
			fmt.Fprintf(&text, "        %s\n", encode(line, inTitle))
		}
		text.WriteString("    }\n")
	} else if d.AccDescr != "" {
		fmt.Fprintf(&text, "    accDescr: %s\n", encode(d.AccDescr, inTitle))
	}
	for _, section := range d.Sections {
		comments(&text, "    ", section.Comments)
		indent := "      "
		if section.Name != "" {
			fmt.Fprintf(&text, "    section %s\n", encode(section.Name, inName))
		} else {
			indent = "    "
		}
		for _, task := range section.Tasks {
			comments(&text, indent, task.Comments)
			fmt.Fprintf(&text, "%s%s: %s", indent, encode(task.Name, inName), strconv.FormatFloat(task.Score, 'f', -1, 64))
			for i, actor := range task.Actors {
				separator := ", "
				if i == 0 {
					separator = ": "
				}
				text.WriteString(separator + encode(actor, inActor))
			}
			text.WriteString("\n")
		}
	}
	comments(&text, "    ", d.Closing)
	return text.String()
}

func comments(text *strings.Builder, indent string, comments []string) {
	for _, comment := range comments {
		text.WriteString(strings.TrimRight(indent+"%% "+comment, " ") + "\n")
	}
}

// Where a text stands, and so which characters would end it.
const (
	inTitle = "#;{}"
	inName  = "#;:{}"
	inActor = "#;:,{}"
)

// encode writes a text with entity codes for what Mermaid would take for its own. Characters
// that nobody sees become spaces.
func encode(text, own string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if text == "" {
		return ""
	}
	var encoded strings.Builder
	runes := []rune(text)
	for i, r := range runes {
		next := rune(0)
		if i+1 < len(runes) {
			next = runes[i+1]
		}
		edge := i == 0 || i == len(runes)-1
		switch {
		case strings.ContainsRune(own, r),
			// Mermaid mangles a line where a colon meets a code.
			own == inTitle && r == ':' && (next != ' ' || i+2 == len(runes) || runes[i+2] == ' '),
			r == '%' && (i == 0 || next == '%' || runes[i-1] == '%'),
			white(r) && (edge || r != ' ' && r < unicode.MaxASCII || r == ' ' && next == ' '),
			i == 0 && own == inName && reserved(text):
			fmt.Fprintf(&encoded, "#%d;", r)
		default:
			encoded.WriteRune(r)
		}
	}
	return encoded.String()
}

// reserved tells whether Mermaid would take the beginning of a task's name for a statement.
func reserved(text string) bool {
	return keyword.MatchString(text+" ") || keyword.MatchString(text+":") || lonesome.MatchString(text)
}
