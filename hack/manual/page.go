// Package manual reads the pages of the documentation and types their commands into a
// shell, for tests: what users are told to type must do what they are told that it does.
package manual

import (
	"os"
	"regexp"
	"slices"
	"strings"
)

// Page is a page in Markdown.
type Page struct {
	Text   string
	Blocks []Block
}

// Block is a fenced block.
type Block struct {
	Language, Text string
	// Line is where it begins. Follows tells that only white space stands between it and
	// the block before.
	Line    int
	Follows bool
}

var fence = regexp.MustCompile("(?ms)^( *)```([a-z]*)\n(.*?)^ *```$")

// Read reads a page from a file.
func Read(file string) (*Page, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p := &Page{Text: string(text)}
	end := 0
	for _, at := range fence.FindAllStringSubmatchIndex(p.Text, -1) {
		indent := p.Text[at[2]:at[3]]
		p.Blocks = append(p.Blocks, Block{
			Language: p.Text[at[4]:at[5]],
			Text:     strings.ReplaceAll("\n"+p.Text[at[6]:at[7]], "\n"+indent, "\n")[1:],
			Line:     1 + strings.Count(p.Text[:at[0]], "\n"),
			Follows:  strings.TrimSpace(p.Text[end:at[0]]) == "",
		})
		end = at[1]
	}
	return p, nil
}

// Prose is the page without its blocks.
func (p *Page) Prose() string { return fence.ReplaceAllString(p.Text, "") }

// Prints is what the page says that the commands of a block print: what stands in the
// block right after it. Empty if the page does not say.
func (p *Page) Prints(i int) string {
	if i+1 == len(p.Blocks) {
		return ""
	}
	next := p.Blocks[i+1]
	if !next.Follows || !slices.Contains([]string{"text", "json", "html", "mermaid"}, next.Language) {
		return ""
	}
	return strings.TrimSpace(next.Text)
}
