// Package mermaid reads and writes Mermaid's journey diagrams, and turns them into journeys
// and back. It follows Mermaid's own lexer: what Mermaid draws, this reads, and what this
// writes, Mermaid draws.
//
// https://mermaid.js.org/syntax/userJourney.html
package mermaid

import (
	"fmt"
	"strings"
)

// Diagram is what a journey diagram says. Its texts are as people read them: entity codes
// such as #58; are decoded.
type Diagram struct {
	// Frontmatter is the YAML between the lines --- at the top, as it stands.
	Frontmatter string
	// FrontmatterTitle is the title there; Title comes before it.
	FrontmatterTitle string
	// Directives are such as %%{init: {"theme": "dark"}}%%, as they stand.
	Directives []string
	Title      string
	// AccTitle and AccDescr are read out by screen readers.
	AccTitle, AccDescr string
	// Sections are never empty of name, but for the first, where tasks stand before any
	// section.
	Sections []Section
	// Comments stand before the diagram, or beside its title and descriptions.
	Comments []string
	// Closing are the comments after the last task.
	Closing []string
}

// Section is a part of the journey.
type Section struct {
	Name  string
	Tasks []Task
	// Comments stand before it, or beside it.
	Comments []string
	Position
}

// Task is what people do in a section.
type Task struct {
	Name string
	// Score says how they feel: 1 is worst, 5 is best.
	Score  float64
	Actors []string
	// Comments stand before it, or beside it.
	Comments []string
	Position
}

// Position is where something stands in a text, both from 1 on; 0: nowhere.
type Position struct {
	Line, Column int
}

func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Line, p.Column) }

// Error is what is wrong at a place, and what to write instead.
type Error struct {
	Position
	Problem string
}

func (e *Error) Error() string { return e.Position.String() + ": " + e.Problem }

// Errors are all that is wrong with a text.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// ShownTitle is what is drawn as the title.
func (d *Diagram) ShownTitle() string {
	if d.Title != "" {
		return d.Title
	}
	return d.FrontmatterTitle
}
