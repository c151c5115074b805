package picture

import (
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
)

// Judge says how customers fare: the colour, which is also that of the mark, and the words.
func Judge(health atlas.Health) (Ink, string) {
	words := Say(health.Reason)
	switch health.Status {
	case "True":
		if health.Reason == "AtRisk" {
			return Warn, words
		}
		return Good, orElse(words, "Kept")
	case "False":
		return Bad, orElse(words, "Breached")
	default:
		return Unknown, orElse(words, "Not known")
	}
}

// JudgeState says how a budget stands.
func JudgeState(state string) (Ink, string) {
	switch state {
	case "Met":
		return Good, "Kept"
	case "Breached":
		return Bad, "Breached"
	case "AtRisk", "Inconclusive":
		return Warn, Say(state)
	default:
		return Unknown, orElse(Say(state), "Not known")
	}
}

// JudgePart says how a workload does.
func JudgePart(health string) (Ink, string) {
	switch health {
	case "Healthy":
		return Good, health
	case "Degraded":
		return Warn, health
	case "Unhealthy", "Missing":
		return Bad, health
	default:
		return Unknown, "Not watched"
	}
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Say makes words of a reason: of NothingPromised, Nothing promised.
func Say(reason string) string {
	var b strings.Builder
	for i, r := range reason {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Mark draws the mark of a colour: each has a form of its own, for those who do not tell
// the colours apart.
func Mark(ink Ink, x, y, r float64) []Shape {
	w := r / 3.2
	switch ink {
	case Good:
		return []Shape{
			Path{Segments: circle(x, y, r), Fill: Good},
			Path{Segments: polyline(Point{x - 0.45*r, y + 0.02*r}, Point{x - 0.1*r, y + 0.38*r}, Point{x + 0.48*r, y - 0.34*r}), Stroke: Paper, Width: w},
		}
	case Warn:
		return []Shape{
			Path{Segments: polygon(Point{x, y - 1.15*r}, Point{x + 1.15*r, y + 0.9*r}, Point{x - 1.15*r, y + 0.9*r}), Fill: Warn},
			Path{Segments: polyline(Point{x, y - 0.4*r}, Point{x, y + 0.2*r}), Stroke: Paper, Width: w},
			Path{Segments: circle(x, y+0.57*r, w/2), Fill: Paper},
		}
	case Bad:
		return []Shape{
			Path{Segments: polygon(Point{x, y - 1.25*r}, Point{x + 1.25*r, y}, Point{x, y + 1.25*r}, Point{x - 1.25*r, y}), Fill: Bad},
			Path{Segments: polyline(Point{x - 0.36*r, y - 0.36*r}, Point{x + 0.36*r, y + 0.36*r}), Stroke: Paper, Width: w},
			Path{Segments: polyline(Point{x - 0.36*r, y + 0.36*r}, Point{x + 0.36*r, y - 0.36*r}), Stroke: Paper, Width: w},
		}
	default:
		return []Shape{Path{Segments: circle(x, y, 0.85*r), Stroke: Unknown, Width: max(1.2, w*0.8), Dash: 0.55 * r}}
	}
}

// channelSign draws a sign for a channel in a square of 12 by 12.
func channelSign(channel string, x, y float64, ink Ink) []Shape {
	outline := func(segments []Segment) Shape { return Path{Segments: segments, Stroke: ink, Width: 1.2} }
	box := func(bx, by, w, h, r float64) Shape {
		return Rect{X: x + bx, Y: y + by, W: w, H: h, R: r, Stroke: ink, Width: 1.2}
	}
	at := func(points ...Point) []Segment {
		for i := range points {
			points[i].X += x
			points[i].Y += y
		}
		return polyline(points...)
	}
	switch channel {
	case "Web", "Search", "Advertising":
		return []Shape{box(0.6, 1.6, 10.8, 8.8, 1.5), outline(at(Point{0.6, 4.4}, Point{11.4, 4.4}))}
	case "MobileApp", "SMS", "Device", "Kiosk":
		return []Shape{box(3, 0.6, 6, 10.8, 1.5), outline(at(Point{5.2, 9.4}, Point{6.8, 9.4}))}
	case "Email", "Mail":
		return []Shape{box(0.6, 2.1, 10.8, 7.8, 1), outline(at(Point{0.8, 3}, Point{6, 6.8}, Point{11.2, 3}))}
	case "Phone":
		return []Shape{outline([]Segment{
			move(x+1.2, y+2.6), curve(Point{x + 1.2, y + 7.4}, Point{x + 4.6, y + 10.8}, Point{x + 9.4, y + 10.8}),
			line(x+10.8, y+8.6), line(x+8.2, y+7.2), line(x+6.9, y+8.2), curve(Point{x + 5.4, y + 7.4}, Point{x + 4.6, y + 6.6}, Point{x + 3.8, y + 5.1}),
			line(x+4.8, y+3.8), line(x+3.4, y+1.2), closed,
		})}
	case "Chat", "Social":
		return []Shape{outline(append(at(Point{2, 1.4}, Point{10, 1.4}, Point{11.2, 2.6}, Point{11.2, 7}, Point{10, 8.2}, Point{5.4, 8.2}, Point{2.8, 10.8}, Point{2.8, 8.2}, Point{2, 8.2}, Point{0.8, 7}, Point{0.8, 2.6}), closed))}
	case "Store", "Event":
		return []Shape{outline(append(at(Point{1.6, 1.2}, Point{10.4, 1.2}, Point{11.4, 4.6}, Point{0.6, 4.6}), closed)), outline(at(Point{1.6, 4.6}, Point{1.6, 10.8}, Point{10.4, 10.8}, Point{10.4, 4.6}))}
	default:
		return []Shape{Path{Segments: circle(x+6, y+6, 4.6), Stroke: ink, Width: 1.2}}
	}
}

const nbsp = "\u00a0"

// Percent writes a percentage: one decimal where it is needed to tell it from 100.
func Percent(value float64) string {
	digits := 0
	if math.Abs(value) > 90 && math.Abs(value) < 100 && value != math.Trunc(value) {
		digits = 1
		if math.Abs(value) > 99 {
			digits = 2
		}
	}
	return Number(value, digits) + nbsp + "%"
}

// Number writes a number with at most so many decimals and a real minus sign.
func Number(value float64, digits int) string {
	text := strconv.FormatFloat(value, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		text = "0"
	}
	return strings.Replace(text, "-", "−", 1)
}

// Seconds writes a duration as people read it.
func Seconds(value float64) string {
	switch {
	case value == 0:
		return "0" + nbsp + "s"
	case value < 0.001:
		return strconv.FormatFloat(1e6*value, 'f', 0, 64) + nbsp + "µs"
	case value < 0.9995:
		return strconv.FormatFloat(1e3*value, 'f', 0, 64) + nbsp + "ms"
	default:
		return strconv.FormatFloat(value, 'g', 3, 64) + nbsp + "s"
	}
}

// Count writes a whole number with thin spaces between thousands.
func Count(value int64) string {
	text := strconv.FormatInt(value, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}
