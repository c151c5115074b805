package picture

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
)

// Glance is the experience curve of a journey alone, for a list of journeys.
func Glance(m *atlas.Map) *Picture {
	const w, h, pad = 260.0, 56.0, 8.0
	p := &Picture{Width: w, Height: h, Title: "Experience curve of " + clean(m.Title), Description: describe(m)}
	var stops []*atlas.Stop
	for i := range m.Stages {
		for j := range m.Stages[i].Stops {
			stops = append(stops, &m.Stages[i].Stops[j])
		}
	}
	at := func(i int, score float64) Point {
		x := w / 2
		if len(stops) > 1 {
			x = pad + (w-2*pad)*float64(i)/float64(len(stops)-1)
		}
		return Point{x, pad + (h-2*pad)*(100-min(100, max(0, score)))/100}
	}
	p.Shapes = append(p.Shapes, Path{Segments: polyline(Point{2, h / 2}, Point{w - 2, h / 2}), Stroke: Line, Width: 1, Dash: 3})
	var points, upper, lower []Point
	var marks []Shape
	finish := func() {
		if len(points) > 1 {
			p.Shapes = append(p.Shapes, Path{Segments: between(upper, lower), Fill: Band}, Path{Segments: smooth(points), Stroke: Curve, Width: 2})
		}
		points, upper, lower = nil, nil, nil
	}
	for i, stop := range stops {
		if stop.Score == nil {
			finish()
			marks = append(marks, Mark(Unknown, at(i, 50).X, h/2, 3)...)
			continue
		}
		low, high := *stop.Score, *stop.Score
		if stop.Lower != nil && stop.Upper != nil {
			low, high = *stop.Lower, *stop.Upper
		}
		points, upper, lower = append(points, at(i, *stop.Score)), append(upper, at(i, high)), append(lower, at(i, low))
		place := points[len(points)-1]
		switch ink, _ := Judge(stop.Health); {
		case ink == Bad || ink == Warn:
			marks = append(marks, Path{Segments: circle(place.X, place.Y, 6), Fill: Paper})
			marks = append(marks, Mark(ink, place.X, place.Y, 4)...)
		case stop.MomentOfTruth:
			marks = append(marks, Path{Segments: star(place.X, place.Y, 5.5), Fill: Truth, Stroke: Paper, Width: 1})
		case len(stops) <= 20:
			marks = append(marks, Path{Segments: circle(place.X, place.Y, 2.4), Fill: Curve})
		}
	}
	finish()
	p.Shapes = append(p.Shapes, marks...)
	return p
}

// Axis says how values of a chart are written, and which are shown at least.
type Axis struct {
	Low, High float64
	Write     func(float64) string
	// Zero has a line drawn at zero, below which is bad.
	Zero bool
}

// Percentages is the axis of shares.
var Percentages = Axis{Low: 0, High: 100, Write: Percent}

// BudgetAxis is that of what is left of a budget.
var BudgetAxis = Axis{Low: 0, High: 100, Write: Percent, Zero: true}

// Latencies is the axis of durations in seconds.
var Latencies = Axis{Low: 0, High: 0, Write: Seconds}

// OverTime draws a series; nil if there is none.
func OverTime(title string, series atlas.Series, axis Axis) *Picture {
	if len(series) < 2 {
		return nil
	}
	const w, h, left, right, top, bottom = 460.0, 150.0, 62.0, 14.0, 12.0, 24.0
	low, high := axis.Low, axis.High
	for _, p := range series {
		low, high = min(low, p.Value), max(high, p.Value)
	}
	low = max(low, -500)
	if axis.High == 0 {
		high *= 1.15
	}
	if high <= low {
		high = low + 1
	}
	begin, end := series[0].Time, series[len(series)-1].Time
	at := func(p atlas.Point) Point {
		share := float64(p.Time.Sub(begin)) / float64(max(time.Second, end.Sub(begin)))
		return Point{left + (w-left-right)*share, top + (h-top-bottom)*(high-min(high, max(low, p.Value)))/(high-low)}
	}
	last := series[len(series)-1].Value
	p := &Picture{Width: w, Height: h, Title: clean(title), Description: fmt.Sprintf("From %s to %s: at last %s, between %s and %s.",
		begin.UTC().Format("2 January 15:04"), end.UTC().Format("2 January 15:04 UTC"), axis.Write(last), axis.Write(least(series)), axis.Write(greatest(series)))}
	marks := []float64{low, (low + high) / 2, high}
	if axis.Zero && low < 0 {
		marks = []float64{low, 0, high}
	}
	for _, value := range marks {
		y := at(atlas.Point{Time: begin, Value: value}).Y
		rule := Path{Segments: polyline(Point{left, y}, Point{w - right, y}), Stroke: Line, Width: 1}
		if axis.Zero && value == 0 {
			rule.Stroke, rule.Dash, rule.Width = Bad, 4, 1.2
		}
		p.Shapes = append(p.Shapes, rule, Words{X: left - 8, Y: y + 4, Size: 11, Anchor: End, Ink: Muted, Text: axis.Write(value)})
	}
	floor := at(atlas.Point{Time: begin, Value: max(low, min(0, high))}).Y
	for _, part := range unbroken(series) {
		points := make([]Point, len(part))
		for i, each := range part {
			points[i] = at(each)
		}
		points = thin(points)
		area := append(append([]Point{{points[0].X, floor}}, points...), Point{points[len(points)-1].X, floor})
		p.Shapes = append(p.Shapes, Path{Segments: polygon(area...), Fill: Band}, Path{Segments: polyline(points...), Stroke: Curve, Width: 2})
	}
	ending := at(series[len(series)-1])
	p.Shapes = append(p.Shapes, Path{Segments: circle(ending.X, ending.Y, 3.5), Fill: Curve})
	layout := "2 Jan"
	if end.Sub(begin) < 36*time.Hour {
		layout = "15:04"
	}
	p.Shapes = append(p.Shapes,
		Words{X: left, Y: h - 7, Size: 11, Ink: Muted, Text: begin.UTC().Format(layout)},
		Words{X: w - right, Y: h - 7, Size: 11, Anchor: End, Ink: Muted, Text: end.UTC().Format("2 Jan 15:04 UTC")})
	return p
}

func least(series atlas.Series) float64 {
	value := math.Inf(1)
	for _, p := range series {
		value = min(value, p.Value)
	}
	return value
}

func greatest(series atlas.Series) float64 {
	value := math.Inf(-1)
	for _, p := range series {
		value = max(value, p.Value)
	}
	return value
}

// Verdict says what an answer means: good, neither, or bad. See docs/status.md.
func Verdict(instrument string, score int) Ink {
	good, bad := score >= 5, score <= 3
	switch strings.ToUpper(instrument) {
	case "CES1":
		good, bad = score <= 2, score >= 4
	case "CSAT":
		good, bad = score >= 4, score <= 2
	case "NPS":
		good, bad = score >= 9, score <= 6
	}
	switch {
	case good:
		return Good
	case bad:
		return Bad
	default:
		return Unknown
	}
}

// Spread draws how answers are spread over the scores.
func Spread(d atlas.Distribution) *Picture {
	total, most := 0.0, 1.0
	for _, count := range d.Counts {
		total, most = total+count, max(most, count)
	}
	const w, h, top, bottom = 460.0, 170.0, 26.0, 40.0
	p := &Picture{Width: w, Height: h, Title: fmt.Sprintf("How %s of %s are spread over the scores", plural(total, "answer"), clean(d.Instrument))}
	wide := w / float64(max(1, len(d.Counts)))
	var told []string
	for i, count := range d.Counts {
		score := d.Lowest + i
		x, tall := wide*float64(i), (h-top-bottom)*count/most
		ink := Verdict(d.Instrument, score)
		share := 0.0
		if total > 0 {
			share = 100 * count / total
		}
		told = append(told, fmt.Sprintf("%d: %s", score, Count(int64(math.Round(count)))))
		bar := min(46, 0.72*wide)
		middle := x + wide/2
		p.Shapes = append(p.Shapes, Group{Title: fmt.Sprintf("score %d: %s, %s", score, plural(count, "answer"), Percent(share)), Shapes: []Shape{
			Rect{X: middle - bar/2, Y: h - bottom - tall, W: bar, H: max(1, tall), R: 2, Fill: ink},
			Words{X: middle, Y: h - bottom - tall - 7, Size: 11, Anchor: Middle, Ink: Text, Text: Count(int64(math.Round(count)))},
			Words{X: middle, Y: h - 23, Size: 12, Bold: true, Anchor: Middle, Ink: Text, Text: Number(float64(score), 0)},
		}})
	}
	p.Shapes = append(p.Shapes, Path{Segments: polyline(Point{0, h - bottom}, Point{w, h - bottom}), Stroke: Strong, Width: 1})
	// Each colour is named below the scores that it covers.
	names := map[Ink]string{Good: "easy", Unknown: "neutral", Bad: "difficult"}
	switch strings.ToUpper(d.Instrument) {
	case "CSAT":
		names = map[Ink]string{Good: "satisfied", Unknown: "neither", Bad: "dissatisfied"}
	case "NPS":
		names = map[Ink]string{Good: "promoters", Unknown: "passives", Bad: "detractors"}
	}
	for from := 0; from < len(d.Counts); {
		ink, to := Verdict(d.Instrument, d.Lowest+from), from
		for to < len(d.Counts) && Verdict(d.Instrument, d.Lowest+to) == ink {
			to++
		}
		p.Shapes = append(p.Shapes,
			Rect{X: wide*float64(from) + 4, Y: h - 17, W: wide*float64(to-from) - 8, H: 2, R: 1, Fill: ink},
			Words{X: wide * float64(from+to) / 2, Y: h - 4, Size: 11, Anchor: Middle, Ink: ink, Text: style{size: 11}.cut(names[ink], wide*float64(to-from)+10)})
		from = to
	}
	p.Description = "Answers by score: " + strings.Join(told, ", ") + "."
	return p
}

func plural(count float64, word string) string {
	if math.Round(count) == 1 {
		return "1 " + word
	}
	return Count(int64(math.Round(count))) + " " + word + "s"
}

// Bounds draws a share with its bounds.
func Bounds(name string, f atlas.Figure) *Picture {
	const w, h = 220.0, 16.0
	return &Picture{
		Width: w, Height: h, Title: name,
		Description: fmt.Sprintf("%s, between %s and %s.", Percent(f.Value), Percent(f.Lower), Percent(f.Upper)),
		Shapes:      Interval(f, 2, h/2, w-4),
	}
}

// Left draws what is left of a budget.
func Left(b atlas.Budget) *Picture {
	if b.Left == nil {
		return nil
	}
	const w, h = 120.0, 12.0
	ink, word := JudgeState(b.State)
	return &Picture{Width: w, Height: h, Title: "Budget left", Description: Percent(*b.Left) + ", " + word + ".", Shapes: Gauge(*b.Left, ink, 1, h/2, w-2)}
}

// Sign is the mark of how something does, for a text beside it.
func Sign(ink Ink) *Picture {
	return &Picture{Width: 16, Height: 16, Shapes: Mark(ink, 8, 8, 6)}
}

// Bars draws how long the parts of a visit took, one below the other.
func Bars(phases []atlas.Phase) *Picture {
	total, name := 0.0, style{size: 12}
	for _, phase := range phases {
		total += phase.Seconds
	}
	if total <= 0 {
		return nil
	}
	const w, row, label = 460.0, 24.0, 130.0
	p := &Picture{Width: w, Height: row*float64(len(phases)) + 4, Title: "How long the phases of a visit take"}
	x := label
	var told []string
	for i, phase := range phases {
		wide := (w - label - 70) * phase.Seconds / total
		y := row * float64(i)
		text := phase.Phase
		if phase.Step != "" {
			text = phase.Step + ": " + phase.Phase
		}
		told = append(told, text+" "+Seconds(phase.Seconds))
		p.Shapes = append(p.Shapes,
			Words{X: 0, Y: y + 16, Size: 12, Ink: Text, Text: name.cut(text, label-8)},
			Rect{X: x, Y: y + 5, W: max(1.5, wide), H: 14, R: 2, Fill: Curve},
			Words{X: x + max(1.5, wide) + 6, Y: y + 16, Size: 12, Ink: Muted, Text: Seconds(phase.Seconds)})
		x += wide
	}
	p.Description = strings.Join(told, ", ") + "."
	return p
}
