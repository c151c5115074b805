package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/picture"
)

// pngScale is how many pixels of a PNG make up one of the layout's: enough for a sharp
// print and for screens with fine pixels.
const pngScale = 2

// writePicture writes a journey as a file of pictures: svg, png or html.
func writePicture(format string) func(io.Writer, *atlas.Objects, *atlas.Map) error {
	return func(out io.Writer, _ *atlas.Objects, m *atlas.Map) error {
		drawn := picture.Draw(m, picture.Options{Header: true})
		switch format {
		case "svg":
			return drawn.SVG(out)
		case "html":
			return drawn.HTML(out)
		}
		if file, is := out.(*os.File); is && term.IsTerminal(int(file.Fd())) {
			return fmt.Errorf("a terminal shows no PNG: write it to a file, such as -o png > %s.png", m.Name)
		}
		lacking, err := drawn.PNG(out, pngScale)
		if err == nil && lacking != "" {
			fmt.Fprintf(os.Stderr, "There is no font on this machine for %q: boxes stand for them. Install one, such as Debian's fonts-noto-cjk, or use -o svg, which each reader's own fonts show.\n", lacking)
		}
		return err
	}
}
