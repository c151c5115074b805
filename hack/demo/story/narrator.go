// Package story tells the demo's story, one step after the other: a stack of real
// parts, a shop, its customers, a past, and a checkout that breaks. Each step is a
// function, so that tests take what they need.
package story

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// Narrator says what happens when it happens, a line at a time. Its methods may be
// called from several goroutines.
type Narrator struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	now    func() time.Time
}

// NewNarrator speaks to out, in colour if that is a terminal and NO_COLOR is unset
// or empty.
func NewNarrator(out io.Writer) *Narrator {
	file, isFile := out.(*os.File)
	colour := isFile && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &Narrator{out: out, colour: colour, now: time.Now}
}

// Colours, as terminals know them.
const (
	plain  = ""
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// Say tells what happens.
func (n *Narrator) Say(format string, arguments ...any) { n.line(plain, format, arguments...) }

// Good tells of something that went as it should.
func (n *Narrator) Good(format string, arguments ...any) { n.line(green, format, arguments...) }

// Bad tells of trouble.
func (n *Narrator) Bad(format string, arguments ...any) { n.line(red, format, arguments...) }

// Break tells of trouble that the demo makes.
func (n *Narrator) Break(format string, arguments ...any) { n.line(yellow, format, arguments...) }

// Heading begins a part.
func (n *Narrator) Heading(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.out, "\n%s\n", n.paint(bold, text))
}

// Print writes text as it stands.
func (n *Narrator) Print(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprint(n.out, text)
}

func (n *Narrator) line(colour, format string, arguments ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.out, "%s  %s\n", n.now().Format(time.TimeOnly), n.paint(colour, fmt.Sprintf(format, arguments...)))
}

func (n *Narrator) paint(colour, text string) string {
	if !n.colour || colour == plain {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
