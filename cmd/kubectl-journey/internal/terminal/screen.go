package terminal

import (
	"fmt"
	"io"
	"strings"
)

// Screen is a terminal's alternate screen, on which something is drawn again and again.
type Screen struct{ out io.Writer }

// OpenScreen begins to draw; what stood on the terminal comes back with Close.
func OpenScreen(out io.Writer) *Screen {
	io.WriteString(out, "\x1b[?1049h\x1b[?25l")
	return &Screen{out}
}

// Close gives the terminal back as it was.
func (s *Screen) Close() { io.WriteString(s.out, "\x1b[?25h\x1b[?1049l") }

// Draw replaces what is on the screen, in one write and without clearing it first, so that
// nothing flickers. What is too long is cut, and the last line says so; note stands below.
func (s *Screen) Draw(text, note string, width, height int) error {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if more := len(lines) - (height - 1); more > 0 && height > 2 {
		lines = lines[:height-1]
		note = fmt.Sprintf("… %d more lines: make the terminal higher or wider. %s", more, note)
	}
	var frame strings.Builder
	frame.WriteString("\x1b[?2026h\x1b[H") // shown at once by terminals that can
	for _, line := range lines {
		frame.WriteString(line + "\x1b[K\r\n")
	}
	frame.WriteString(cut(clean(note), width-1) + "\x1b[K\x1b[J\x1b[?2026l")
	_, err := io.WriteString(s.out, frame.String())
	return err
}
