package picture

import (
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// Bounds of an image: more than any screen shows, less than a machine can hold.
const (
	mostPixels = 64 << 20
	mostWide   = 20000
)

// PNG writes the picture in its light colours, so many pixels for each of the layout's,
// or fewer if it would become too large. It returns the letters for which there is no
// font on this machine; they are drawn as boxes.
func (p *Picture) PNG(out io.Writer, scale float64) (lacking string, err error) {
	scale = min(scale, mostWide/max(p.Width, p.Height), math.Sqrt(mostPixels/(p.Width*p.Height)))
	if !(scale > 0) {
		return "", errors.New("the picture has no size")
	}
	c := &canvas{
		image: image.NewRGBA(image.Rect(0, 0, int(math.Ceil(p.Width*scale)), int(math.Ceil(p.Height*scale)))),
		scale: scale, fonts: newFonts(),
	}
	draw.Draw(c.image, c.image.Bounds(), image.NewUniform(colourOf(Paper)), image.Point{}, draw.Src)
	c.shapes(p.Names)
	c.shapes(p.Shapes)
	return c.fonts.lacking(), png.Encode(out, c.image)
}

func colourOf(ink Ink) color.RGBA {
	text := colours[ink][0]
	digit := func(i int) uint8 {
		if text[i] > '9' {
			return text[i] - 'a' + 10
		}
		return text[i] - '0'
	}
	return color.RGBA{16*digit(1) + digit(2), 16*digit(3) + digit(4), 16*digit(5) + digit(6), 255}
}

// canvas is an image as far as it is painted.
type canvas struct {
	image *image.RGBA
	scale float64
	fonts *fonts
}

func (c *canvas) shapes(shapes []Shape) {
	for _, s := range shapes {
		switch s := s.(type) {
		case Rect:
			c.path(Path{Segments: rounded(s), Fill: s.Fill, Stroke: s.Stroke, Width: s.Width})
		case Path:
			c.path(s)
		case Words:
			c.words(s)
		case Group:
			c.shapes(s.Shapes)
		}
	}
}

// rounded is the outline of a rectangle.
func rounded(r Rect) []Segment {
	x, y, right, bottom := r.X, r.Y, r.X+r.W, r.Y+r.H
	round := min(r.R, r.W/2, r.H/2)
	if round <= 0 {
		return polygon(Point{x, y}, Point{right, y}, Point{right, bottom}, Point{x, bottom})
	}
	k := 0.4477 * round // of a circle's curve, from the corner
	return []Segment{
		move(x+round, y), line(right-round, y), curve(Point{right - k, y}, Point{right, y + k}, Point{right, y + round}),
		line(right, bottom-round), curve(Point{right, bottom - k}, Point{right - k, bottom}, Point{right - round, bottom}),
		line(x+round, bottom), curve(Point{x + k, bottom}, Point{x, bottom - k}, Point{x, bottom - round}),
		line(x, y+round), curve(Point{x, y + k}, Point{x + k, y}, Point{x + round, y}),
		closed,
	}
}

func (c *canvas) path(p Path) {
	lines := c.flatten(p.Segments)
	if p.Fill != None {
		c.fill(lines, p.Fill)
	}
	if p.Stroke == None {
		return
	}
	if p.Dash > 0 {
		lines = dashed(lines, p.Dash*c.scale)
	}
	var outlines [][]Point
	half := p.Width * c.scale / 2
	for _, points := range lines {
		for i := range points {
			outlines = append(outlines, disc(points[i], half))
			if i > 0 {
				outlines = append(outlines, bar(points[i-1], points[i], half)...)
			}
		}
	}
	c.fill(outlines, p.Stroke)
}

// flatten makes straight lines of a path, in pixels of the image.
func (c *canvas) flatten(segments []Segment) [][]Point {
	var lines [][]Point
	var points []Point
	scaled := func(p Point) Point { return Point{p.X * c.scale, p.Y * c.scale} }
	for _, s := range segments {
		switch s.Op {
		case 'M':
			if len(points) > 0 {
				lines = append(lines, points)
			}
			points = []Point{scaled(s.Points[0])}
		case 'L':
			points = append(points, scaled(s.Points[0]))
		case 'C':
			from, a, b, to := points[len(points)-1], scaled(s.Points[0]), scaled(s.Points[1]), scaled(s.Points[2])
			steps := int(min(48, 6+math.Hypot(to.X-from.X, to.Y-from.Y)/6))
			for i := 1; i <= steps; i++ {
				t := float64(i) / float64(steps)
				u := 1 - t
				points = append(points, Point{
					u*u*u*from.X + 3*u*u*t*a.X + 3*u*t*t*b.X + t*t*t*to.X,
					u*u*u*from.Y + 3*u*u*t*a.Y + 3*u*t*t*b.Y + t*t*t*to.Y,
				})
			}
		case 'Z':
			points = append(points, points[0])
		}
	}
	if len(points) > 0 {
		lines = append(lines, points)
	}
	return lines
}

// dashed cuts lines into strokes.
func dashed(lines [][]Point, length float64) [][]Point {
	var strokes [][]Point
	for _, points := range lines {
		drawn, left := true, length
		current := []Point{points[0]}
		for i := 1; i < len(points); i++ {
			from, to := points[i-1], points[i]
			for {
				far := math.Hypot(to.X-from.X, to.Y-from.Y)
				if far < left {
					left -= far
					current = append(current, to)
					break
				}
				share := left / far
				from = Point{from.X + share*(to.X-from.X), from.Y + share*(to.Y-from.Y)}
				if drawn {
					strokes = append(strokes, append(current, from))
				}
				current, drawn, left = []Point{from}, !drawn, length
			}
		}
		if drawn && len(current) > 1 {
			strokes = append(strokes, current)
		}
	}
	return strokes
}

// disc and bar make up a stroke. Both turn the same way round, so that where they overlap
// they do not cancel out.
func disc(at Point, r float64) []Point {
	points := make([]Point, 12)
	for i := range points {
		angle := 2 * math.Pi * float64(i) / float64(len(points))
		points[i] = Point{at.X + r*math.Cos(angle), at.Y + r*math.Sin(angle)}
	}
	return points
}

func bar(a, b Point, half float64) [][]Point {
	far := math.Hypot(b.X-a.X, b.Y-a.Y)
	if far == 0 {
		return nil
	}
	dx, dy := half*(b.X-a.X)/far, half*(b.Y-a.Y)/far
	return [][]Point{{{a.X + dy, a.Y - dx}, {b.X + dy, b.Y - dx}, {b.X - dy, b.Y + dx}, {a.X - dy, a.Y + dx}}}
}

func (c *canvas) fill(lines [][]Point, ink Ink) {
	left, top, right, bottom := math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	for _, points := range lines {
		for _, p := range points {
			left, top, right, bottom = min(left, p.X), min(top, p.Y), max(right, p.X), max(bottom, p.Y)
		}
	}
	box := image.Rect(int(math.Floor(left)), int(math.Floor(top)), int(math.Ceil(right)), int(math.Ceil(bottom))).Intersect(c.image.Bounds())
	if len(lines) == 0 || box.Empty() {
		return
	}
	raster := vector.NewRasterizer(box.Dx(), box.Dy())
	for _, points := range lines {
		for i, p := range points {
			x, y := float32(p.X-float64(box.Min.X)), float32(p.Y-float64(box.Min.Y))
			if i == 0 {
				raster.MoveTo(x, y)
			} else {
				raster.LineTo(x, y)
			}
		}
		raster.ClosePath()
	}
	raster.Draw(c.image, box, image.NewUniform(colourOf(ink)), image.Point{})
}

func (c *canvas) words(w Words) {
	size := w.Size * c.scale
	type glyph struct {
		face  font.Face
		r     rune
		after fixed.Int26_6
	}
	var glyphs []glyph
	var wide fixed.Int26_6
	for _, r := range w.Text {
		face := c.fonts.face(r, size, w.Bold, w.Mono)
		advance, _ := face.GlyphAdvance(r)
		glyphs = append(glyphs, glyph{face, r, advance})
		wide += advance
	}
	at := fixed.Point26_6{X: fixed.Int26_6(w.X * c.scale * 64), Y: fixed.Int26_6(w.Y * c.scale * 64)}
	switch w.Anchor {
	case Middle:
		at.X -= wide / 2
	case End:
		at.X -= wide
	}
	ink := image.NewUniform(colourOf(w.Ink))
	for _, g := range glyphs {
		if area, mask, from, _, ok := g.face.Glyph(at, g.r); ok {
			draw.DrawMask(c.image, area, ink, image.Point{}, mask, from, draw.Over)
		}
		at.X += g.after
	}
}
