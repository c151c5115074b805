// Package terminal draws journeys, and says what is wrong with them, in text: for people at
// terminals of 80 cells and more, in colour or without. It is pure: what it draws from is
// all there. Texts that others wrote are made harmless.
package terminal

import "strings"

// Options say how is drawn.
type Options struct {
	// Width is how many cells a line may take; less than 40 is taken for 40.
	Width int
	// Color adds colour. Nothing is told by colour alone.
	Color bool
}

const narrowest = 40

func (o Options) width() int { return max(o.Width, narrowest) }

// style is how a text is painted.
type style string

// Blue and orange are told apart whatever somebody's sight; and bad news is bold.
const (
	plain  style = ""
	strong style = "1"
	faint  style = "2"
	good   style = "38;5;33"
	warned style = "38;5;208"
	bad    style = "1;38;5;208"
)

// paint puts a text in colour.
func (o Options) paint(how style, text string) string {
	if !o.Color || how == plain || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + string(how) + "m" + text + "\x1b[0m"
}

// verdict is how something stands: a symbol, a word, and a colour.
type verdict struct {
	symbol, word string
	how          style
}

// verdictOf reads a condition that speaks of customers.
func verdictOf(status, reason string) verdict {
	switch {
	case reason == "AtRisk":
		return verdict{"!", "at risk", warned}
	case status == "True":
		return verdict{"✓", "kept", good}
	case status == "False":
		return verdict{"✗", "breached", bad}
	}
	word := map[string]string{
		"Inconclusive": "may be chance", "InsufficientData": "few answers", "NoData": "no data", "NothingPromised": "no promise",
	}[reason]
	if word == "" {
		word = "unknown"
	}
	return verdict{"?", word, faint}
}

// scored is how a score, or what is left of a budget, is painted.
func scored(value float64) style {
	switch {
	case value < 40:
		return bad
	case value < 70:
		return warned
	default:
		return good
	}
}
