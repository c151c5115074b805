// Package picture draws journeys: as a map of stages and touchpoints with the experience
// curve and the service blueprint below. A drawing is first laid out as shapes and texts,
// and then written as SVG, as PNG, or as a page of its own.
package picture

import "math"

// Picture is a drawing laid out, in pixels from the upper left corner.
type Picture struct {
	Width, Height float64
	// Gutter is how wide the strip on the left is that names the rows. What lies in it may
	// stay in sight while the rest is scrolled.
	Gutter float64
	// Title and Description say what is seen, for those who do not see it.
	Title, Description string
	// Names are in the gutter, Shapes in the rest; both from the back to the front.
	Names, Shapes []Shape
}

// Ink is a colour by what it means: which one that is depends on light and dark.
type Ink string

// Inks.
const (
	None    Ink = ""
	Paper   Ink = "paper"
	Card    Ink = "card"
	Lane    Ink = "lane"
	Line    Ink = "line"
	Strong  Ink = "strong" // lines that matter
	Text    Ink = "text"
	Muted   Ink = "muted"
	Curve   Ink = "curve"
	Band    Ink = "band"
	Good    Ink = "good"
	Warn    Ink = "warn"
	Bad     Ink = "bad"
	Unknown Ink = "unknown"
	Truth   Ink = "truth" // moments of truth
	Halo    Ink = "halo"  // behind moments of truth
)

// Shape is one of Rect, Path, Words and Group.
type Shape interface{ shape() }

// Rect is a rectangle with corners of radius R.
type Rect struct {
	X, Y, W, H, R float64
	Fill, Stroke  Ink
	Width         float64 // of the stroke
}

// Path is a line or an area.
type Path struct {
	Segments     []Segment
	Fill, Stroke Ink
	Width        float64
	// Dash is how long strokes and the rests between them are; 0: no dashes.
	Dash float64
}

// Segment is a part of a path: 'M' and 'L' have one point, 'C' has three, 'Z' none.
type Segment struct {
	Op     byte
	Points [3]Point
}

// Point is a place.
type Point struct{ X, Y float64 }

// Words are a line of text with its base line at Y.
type Words struct {
	X, Y, Size float64
	Anchor     Anchor
	Bold, Mono bool
	Ink        Ink
	Text       string
}

// Anchor says which part of a text is at its X.
type Anchor string

// Anchors.
const (
	Start  Anchor = "start"
	Middle Anchor = "middle"
	End    Anchor = "end"
)

// Group holds shapes that belong together.
type Group struct {
	// Title is shown where the pointer rests; empty: nothing is.
	Title string
	// Link is the page that the group leads to, and Label what that link is called.
	Link, Label string
	Shapes      []Shape
}

func (Rect) shape()  {}
func (Path) shape()  {}
func (Words) shape() {}
func (Group) shape() {}

func move(x, y float64) Segment { return Segment{Op: 'M', Points: [3]Point{{x, y}}} }
func line(x, y float64) Segment { return Segment{Op: 'L', Points: [3]Point{{x, y}}} }
func curve(a, b, c Point) Segment {
	return Segment{Op: 'C', Points: [3]Point{a, b, c}}
}

var closed = Segment{Op: 'Z'}

func polygon(points ...Point) []Segment {
	return append(polyline(points...), closed)
}

func polyline(points ...Point) []Segment {
	segments := make([]Segment, 0, len(points)+1)
	for i, p := range points {
		if i == 0 {
			segments = append(segments, move(p.X, p.Y))
		} else {
			segments = append(segments, line(p.X, p.Y))
		}
	}
	return segments
}

func circle(x, y, r float64) []Segment {
	const k = 0.5523 // makes four curves a circle
	return []Segment{
		move(x+r, y),
		curve(Point{x + r, y + k*r}, Point{x + k*r, y + r}, Point{x, y + r}),
		curve(Point{x - k*r, y + r}, Point{x - r, y + k*r}, Point{x - r, y}),
		curve(Point{x - r, y - k*r}, Point{x - k*r, y - r}, Point{x, y - r}),
		curve(Point{x + k*r, y - r}, Point{x + r, y - k*r}, Point{x + r, y}),
		closed,
	}
}

func star(x, y, r float64) []Segment {
	points := make([]Point, 10)
	for i := range points {
		radius := r
		if i%2 == 1 {
			radius = 0.42 * r
		}
		angle := math.Pi * (float64(i)/5 - 0.5)
		points[i] = Point{x + radius*math.Cos(angle), y + radius*math.Sin(angle)}
	}
	return polygon(points...)
}

// smooth draws through points, given from left to right, without overshooting them: where
// they rise so does the line, and it is nowhere above the highest (Fritsch, Carlson:
// Monotone Piecewise Cubic Interpolation, 1980).
func smooth(points []Point) []Segment {
	if len(points) < 3 {
		return polyline(points...)
	}
	n := len(points)
	slope := make([]float64, n-1)
	for i := range slope {
		slope[i] = (points[i+1].Y - points[i].Y) / (points[i+1].X - points[i].X)
	}
	tangent := make([]float64, n)
	tangent[0], tangent[n-1] = slope[0], slope[n-2]
	for i := 1; i < n-1; i++ {
		if slope[i-1]*slope[i] > 0 {
			tangent[i] = 2 * slope[i-1] * slope[i] / (slope[i-1] + slope[i])
		}
	}
	segments := []Segment{move(points[0].X, points[0].Y)}
	for i := range slope {
		third := (points[i+1].X - points[i].X) / 3
		segments = append(segments, curve(
			Point{points[i].X + third, points[i].Y + third*tangent[i]},
			Point{points[i+1].X - third, points[i+1].Y - third*tangent[i+1]},
			points[i+1]))
	}
	return segments
}

// between is the area between two smooth lines over the same places.
func between(upper, lower []Point) []Segment {
	area := smooth(upper)
	back := smooth(lower)
	at := lower[len(lower)-1]
	area = append(area, line(at.X, at.Y))
	for i := len(back) - 1; i > 0; i-- {
		to := back[i-1].Points[0]
		if back[i-1].Op == 'C' {
			to = back[i-1].Points[2]
		}
		if back[i].Op == 'C' {
			area = append(area, curve(back[i].Points[1], back[i].Points[0], to))
		} else {
			area = append(area, line(to.X, to.Y))
		}
	}
	return append(area, closed)
}
