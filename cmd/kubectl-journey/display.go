package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/terminal"
)

// display says how something is drawn in the terminal.
type display struct {
	out   io.Writer
	color string
	width int
}

func addDisplayFlags(c *cobra.Command, out io.Writer) *display {
	d := &display{out: out}
	c.Flags().StringVar(&d.color, "color", "auto", "auto, always or never; auto: in a terminal, unless NO_COLOR is set")
	c.Flags().IntVar(&d.width, "width", 0, "`cells` of a line; default: the terminal's, or 80")
	must(c.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp)))
	return d
}

// must is for what fails only if the program is wrong.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (d *display) validate() error {
	if d.color != "auto" && d.color != "always" && d.color != "never" {
		return fmt.Errorf("--color %s is not known: write auto, always or never", d.color)
	}
	if d.width < 0 {
		return fmt.Errorf("--width %d is less than nothing: write how many cells a line may take, such as 120", d.width)
	}
	return nil
}

// size is that of the terminal; ok is false if there is none.
func (d *display) size() (width, height int, ok bool) { return terminalSize(d.out) }

func terminalSize(out io.Writer) (width, height int, ok bool) {
	file, is := out.(*os.File)
	if !is || !term.IsTerminal(int(file.Fd())) {
		return 0, 0, false
	}
	width, height, err := term.GetSize(int(file.Fd()))
	return width, height, err == nil && width > 0
}

// progressOn tells people who wait at a terminal how things stand, in one line, which end
// takes away. Elsewhere nothing is told.
func progressOn(out io.Writer) (tell func(string), end func()) {
	if _, _, is := terminalSize(out); !is {
		return func(string) {}, func() {}
	}
	return func(text string) {
		if width, _, _ := terminalSize(out); width > 2 && len([]rune(text)) > width-1 {
			text = string([]rune(text)[:width-2]) + "…"
		}
		fmt.Fprintf(out, "\r\x1b[K%s", text)
	}, func() { fmt.Fprint(out, "\r\x1b[K") }
}

func (d *display) options() terminal.Options {
	width, _, is := d.size()
	if !is {
		width = 80
	}
	if d.width > 0 {
		width = d.width
	}
	colored := is && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return terminal.Options{Width: width, Color: d.color == "always" || d.color == "auto" && colored}
}

// printAs writes something for a program.
func printAs(out io.Writer, format string, shown any) error {
	text, err := json.MarshalIndent(shown, "", "  ")
	if err != nil {
		return err
	}
	if format == "yaml" {
		if text, err = yaml.JSONToYAML(text); err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	_, err = fmt.Fprintln(out, string(text))
	return err
}

const (
	// calm is the least time from one drawing to the next.
	calm = 500 * time.Millisecond
	// stale is how long a drawing stands without a change: its trends move meanwhile.
	stale = time.Minute
)

// follow draws again whenever something changes, until the context ends. In a terminal it
// draws on a screen of its own; elsewhere one drawing follows the other.
func (d *display) follow(ctx context.Context, changed <-chan struct{}, draw func(terminal.Options) (string, error)) error {
	_, _, is := d.size()
	var screen *terminal.Screen
	if is {
		screen = terminal.OpenScreen(d.out)
		defer screen.Close()
	}
	tick := time.NewTicker(calm)
	defer tick.Stop()
	var shown, trouble string
	var drawn time.Time
	var options terminal.Options
	var height int
	due := true
	for {
		now := d.options()
		_, high, _ := d.size()
		resized := now != options || high != height
		if due || resized || time.Since(drawn) >= stale {
			options, height, due = now, high, false
			text, err := draw(options)
			if ctx.Err() != nil {
				return nil
			}
			drawn, trouble = time.Now(), ""
			if err != nil {
				if shown == "" {
					return err
				}
				trouble = " It could not be drawn again: " + err.Error()
				text = shown
			}
			if screen != nil {
				if err := screen.Draw(text, "As of "+drawn.Format(time.TimeOnly)+"; Ctrl-C ends."+trouble, options.Width, height); err != nil {
					return err
				}
			} else if text != shown {
				if _, err := fmt.Fprintln(d.out, strings.TrimRight(text, "\n")+"\n"); err != nil {
					return err
				}
			}
			shown = text
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		select {
		case <-changed:
			due = true
		default:
		}
	}
}
