package picture

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
)

// Options choose what is drawn of a journey.
type Options struct {
	// Header writes title, goal and score above the map, and what is missing below it: for
	// a picture that stands alone.
	Header bool
	// Link is the page of a touchpoint; nil: there are none.
	Link func(atlas.Key) string
}

// Measures of a map, in pixels.
const (
	gutter        = 112
	narrowest     = 140 // column
	widest        = 320
	usual         = 1640 // width of a map, if the touchpoints fill it
	betweenStages = 10
	inset         = 9 // of texts in their column
	curveHeight   = 168
)

// Draw lays out a journey.
func Draw(m *atlas.Map, options Options) *Picture {
	d := &drawing{journey: m, options: options}
	d.columns()
	d.picture = &Picture{Width: d.right + 8, Gutter: gutter, Title: clean(m.Title), Description: describe(m)}
	d.y = 10
	if options.Header {
		d.header()
	}
	d.stages()
	d.heads()
	d.curve()
	d.figures()
	d.blueprint()
	d.legend()
	if options.Header {
		d.missing()
	}
	d.picture.Height = math.Ceil(d.y + 10)
	return d.picture
}

// drawing is a map as far as it is drawn.
type drawing struct {
	journey *atlas.Map
	options Options
	picture *Picture
	stops   []column
	parts   []span // of the stages
	right   float64
	y       float64 // where the next row begins
}

// column is where a touchpoint is drawn.
type column struct {
	*atlas.Stop
	x, w float64
}

func (c column) middle() float64 { return c.x + c.w/2 }

// span is where a stage is drawn.
type span struct {
	*atlas.Stage
	x, w float64
}

func (d *drawing) columns() {
	count := 0
	for i := range d.journey.Stages {
		count += max(1, len(d.journey.Stages[i].Stops))
	}
	wide := (usual - gutter - betweenStages*float64(len(d.journey.Stages))) / float64(max(1, count))
	wide = math.Floor(min(widest, max(narrowest, wide)))
	x := float64(gutter)
	for i := range d.journey.Stages {
		stage := &d.journey.Stages[i]
		begin := x
		for j := range stage.Stops {
			d.stops = append(d.stops, column{&stage.Stops[j], x, wide})
			x += wide
		}
		if len(stage.Stops) == 0 {
			x += wide
		}
		d.parts = append(d.parts, span{stage, begin, x - begin})
		x += betweenStages
	}
	// The header needs room even above a single column.
	d.right = max(x-betweenStages, gutter+3*widest)
}

func (d *drawing) add(shapes ...Shape) { d.picture.Shapes = append(d.picture.Shapes, shapes...) }

// name writes what a row shows, into the gutter.
func (d *drawing) name(y float64, ink Ink, lines ...string) {
	for i, text := range lines {
		set := style{size: 11.5, bold: i == 0}
		colour := ink
		if i > 0 {
			set.size, colour = 10.5, Muted
		}
		d.picture.Names = append(d.picture.Names, Words{X: 8, Y: y + 14*float64(i), Size: set.size, Bold: set.bold, Ink: colour, Text: set.cut(text, gutter-14)})
	}
}

// write sets lines below each other and returns where the next one would be.
func write(into *[]Shape, lines []string, x, y float64, set style, leading float64, ink Ink) float64 {
	for _, text := range lines {
		*into = append(*into, Words{X: x, Y: y, Size: set.size, Bold: set.bold, Mono: set.mono, Ink: ink, Text: text})
		y += leading
	}
	return y
}

func (d *drawing) header() {
	m := d.journey
	ink, word := Judge(m.Health)
	var shapes []Shape
	right := d.right - 4
	// The score on the right.
	score := "–"
	if m.Score != nil {
		score = Number(*m.Score, 0)
	}
	figure := style{size: 44, bold: true}
	shapes = append(shapes, Words{X: right, Y: d.y + 40, Size: figure.size, Bold: true, Anchor: End, Ink: Text, Text: score},
		Words{X: right, Y: d.y + 58, Size: 11, Anchor: End, Ink: Muted, Text: "of 100, by " + orElse(strings.ToLower(Scoring(m.Scoring)), "peak and end")})
	verdict := style{size: 15, bold: true}
	wide := max(figure.width(score), 150) + 26
	word = verdict.cut(word, 240)
	column := right - wide - 270
	shapes = append(shapes, Mark(ink, column+7, d.y+21, 7)...)
	shapes = append(shapes, Words{X: column + 22, Y: d.y + 26, Size: 15, Bold: true, Ink: ink, Text: word},
		Words{X: column, Y: d.y + 46, Size: 12, Ink: Muted, Text: style{size: 12}.cut(Counts(m.Budgets), 280)})
	// The rest on the left.
	room := column - 24
	y := write(&shapes, style{size: 24, bold: true}.wrap(m.Title, room, 2), 8, d.y+27, style{size: 24, bold: true}, 30, Text)
	y -= 5
	if m.Goal != "" {
		y = write(&shapes, style{size: 13}.wrap(m.Goal, room, 2), 8, y, style{size: 13}, 18, Text)
	}
	if people := personas(m); people != "" {
		y = write(&shapes, style{size: 12}.wrap("For "+people, room, 1), 8, y, style{size: 12}, 17, Muted)
	}
	if m.Weakest != "" {
		text := "Weakest: " + m.Weakest
		if m.Why != "" {
			text += " – " + m.Why
		}
		y = write(&shapes, style{size: 12}.wrap(text, room, 2), 8, y, style{size: 12}, 17, Muted)
	}
	d.add(Group{Title: clean(m.Title), Shapes: shapes})
	d.y = max(y, d.y+66) + 8
}

// Scoring says how a score is made.
func Scoring(scoring string) string {
	switch scoring {
	case "WeightedMean":
		return "weighted mean"
	case "Worst":
		return "the worst"
	case "PeakEnd":
		return "peak and end"
	default:
		return scoring
	}
}

// Counts says how budgets stand.
func Counts(b atlas.Budgets) string {
	if b.Met+b.Breached+b.Unknown == 0 {
		return "no budgets"
	}
	var parts []string
	for _, part := range []struct {
		count int32
		word  string
	}{{b.Breached, "breached"}, {b.Met, "kept"}, {b.Unknown, "not known"}} {
		if part.count > 0 {
			parts = append(parts, Count(int64(part.count))+nbsp+strings.ReplaceAll(part.word, " ", nbsp))
		}
	}
	return "budgets: " + strings.Join(parts, " · ")
}

func personas(m *atlas.Map) string {
	var people []string
	for _, persona := range m.Personas {
		people = append(people, persona.Title)
	}
	return strings.Join(people, " · ")
}

func (d *drawing) stages() {
	const leading, notch = 18, 9
	title, fact := style{size: 14, bold: true}, style{size: 11}
	type written struct {
		titles, facts []string
		low           bool // the score stands below the title, which needs all the room
	}
	texts, height := make([]written, len(d.parts)), 0.0
	for i, part := range d.parts {
		room := part.w - 2*inset - notch
		if i > 0 {
			room -= notch
		}
		all := room
		if part.Score != nil {
			room -= 30
			for word := range strings.FieldsSeq(part.Title) {
				texts[i].low = texts[i].low || title.width(word) > room
			}
		}
		if texts[i].low && part.w < 2*narrowest {
			room = all
		} else {
			texts[i].low = false
		}
		texts[i].titles = title.wrap(part.Title, room, 2)
		var facts []string
		if part.Entries != nil {
			facts = append(facts, Count(*part.Entries)+nbsp+"a"+nbsp+"day")
		}
		if part.Conversion != nil {
			facts = append(facts, Percent(*part.Conversion)+nbsp+"of those before")
		}
		if part.Budgets.Breached > 0 {
			facts = append(facts, Count(int64(part.Budgets.Breached))+nbsp+"breached")
		}
		texts[i].facts = fact.wrap(strings.Join(facts, " · "), all, 2)
		if texts[i].low && len(texts[i].facts) == 0 {
			texts[i].facts = []string{""}
		}
		height = max(height, leading*float64(len(texts[i].titles))+15*float64(len(texts[i].facts)))
	}
	height += 20
	d.name(d.y+22, Text, "Stages", "score 0 to 100")
	for i, part := range d.parts {
		x, right, bottom := part.x, part.x+part.w, d.y+height
		shape := []Point{{x, d.y}, {right - notch, d.y}, {right + 3, d.y + height/2}, {right - notch, bottom}, {x, bottom}}
		if i > 0 {
			shape = append(shape, Point{x + notch, d.y + height/2})
		}
		group := Group{Title: clean(part.Title)}
		group.Shapes = append(group.Shapes, Path{Segments: polygon(shape...), Fill: Lane})
		left := x + inset
		if i > 0 {
			left += notch
		}
		y := write(&group.Shapes, texts[i].titles, left, d.y+20, title, leading, Text)
		write(&group.Shapes, texts[i].facts, left, y-2, fact, 15, Muted)
		if part.Score != nil {
			group.Title += fmt.Sprintf(": score %s", Number(*part.Score, 0))
			at := d.y + 21
			if texts[i].low {
				at = bottom - 9
			}
			group.Shapes = append(group.Shapes, Words{X: right - notch - 6, Y: at, Size: 16, Bold: true, Anchor: End, Ink: scoreInk(*part.Score), Text: Number(*part.Score, 0)})
		}
		d.add(group)
	}
	d.y += height + 10
}

// scoreInk colours a score. Budgets say what is promised; the score says how it feels.
func scoreInk(score float64) Ink {
	switch {
	case score < 50:
		return Bad
	case score < 70:
		return Warn
	default:
		return Text
	}
}

func (d *drawing) heads() {
	title, small := style{size: 12.5, bold: true}, style{size: 11}
	lines, height := make([][]string, len(d.stops)), 0.0
	for i, stop := range d.stops {
		lines[i] = title.wrap(stop.Title, stop.w-2*inset, 3)
		height = max(height, 16*float64(len(lines[i])))
	}
	height += 52
	d.name(d.y+18, Text, "Touchpoints", "channel, health")
	for i, stop := range d.stops {
		ink, word := Judge(stop.Health)
		if stop.Absent != "" {
			ink, word = Unknown, stop.Absent
		}
		x := stop.x + inset
		group := Group{Title: tell(stop.Stop)}
		card := Rect{X: stop.x + 3, Y: d.y, W: stop.w - 6, H: height, R: 6, Fill: Card, Stroke: Line, Width: 1}
		if stop.MomentOfTruth {
			card.Stroke, card.Width = Truth, 1.6
		}
		group.Shapes = append(group.Shapes, card)
		if stop.Absent == "" {
			group.Shapes = append(group.Shapes, channelSign(stop.Channel, x, d.y+8, Muted)...)
			group.Shapes = append(group.Shapes, Words{X: x + 17, Y: d.y + 18, Size: 11, Ink: Muted, Text: small.cut(orElse(Say(stop.Channel), "No channel"), stop.w-2*inset-36)})
		}
		if stop.MomentOfTruth {
			group.Shapes = append(group.Shapes, Path{Segments: star(stop.x+stop.w-inset-7, d.y+14, 7), Fill: Truth})
		}
		write(&group.Shapes, lines[i], x, d.y+37, title, 16, Text)
		if ink == Bad {
			group.Shapes = append(group.Shapes, Rect{X: stop.x + 3, Y: d.y + height - 3, W: stop.w - 6, H: 3, Fill: Bad})
		}
		group.Shapes = append(group.Shapes, Mark(ink, x+5, d.y+height-15, 5)...)
		said := small
		said.bold = ink == Bad
		group.Shapes = append(group.Shapes, Words{X: x + 16, Y: d.y + height - 11, Size: 11, Bold: said.bold, Ink: ink, Text: said.cut(word, stop.w-2*inset-18)})
		if d.options.Link != nil && stop.Absent == "" {
			group.Link, group.Label = d.options.Link(atlas.Key{Namespace: stop.Namespace, Name: stop.Name}), group.Title
		}
		d.add(group)
	}
	d.y += height + 6
}

// tell says in a sentence how a touchpoint does.
func tell(stop *atlas.Stop) string {
	parts := []string{clean(stop.Title)}
	if stop.Title != stop.Name {
		parts = append(parts, stop.Namespace+"/"+stop.Name)
	}
	if stop.Absent != "" {
		return strings.Join(append(parts, stop.Absent), ", ")
	}
	if stop.Channel != "" {
		parts = append(parts, Say(stop.Channel))
	}
	if stop.MomentOfTruth {
		parts = append(parts, "moment of truth")
	}
	_, word := Judge(stop.Health)
	parts = append(parts, strings.ToLower(word))
	if stop.Score != nil {
		parts = append(parts, "score "+Number(*stop.Score, 0))
	}
	if stop.Health.Message != "" {
		parts = append(parts, clean(stop.Health.Message))
	}
	return strings.Join(parts, ", ")
}

// curve draws how customers fare along the way, and how well that is known. Where nothing
// is known the line ends.
func (d *drawing) curve() {
	top, bottom := d.y+22, d.y+curveHeight-14
	height := func(score float64) float64 { return bottom - (bottom-top)*min(100, max(0, score))/100 }
	right := d.stops[len(d.stops)-1].x + d.stops[len(d.stops)-1].w
	for _, stop := range d.stops {
		if stop.MomentOfTruth {
			d.add(Rect{X: stop.x + 3, Y: d.y, W: stop.w - 6, H: curveHeight, R: 6, Fill: Halo})
		}
	}
	for _, score := range []float64{0, 50, 100} {
		y, rule := height(score), Path{Segments: polyline(Point{gutter, height(score)}, Point{right, height(score)}), Stroke: Line, Width: 1}
		if score == 50 {
			rule.Dash = 4
		}
		d.add(rule)
		d.picture.Names = append(d.picture.Names, Words{X: gutter - 8, Y: y + 4, Size: 10.5, Anchor: End, Ink: Muted, Text: Number(score, 0)})
	}
	d.name(d.y+44, Text, "Experience", "score, and", "its bounds")
	var run []column
	finish := func() {
		if len(run) > 0 {
			d.stretch(run, height)
		}
		run = nil
	}
	for _, stop := range d.stops {
		if stop.Score != nil {
			run = append(run, stop)
			continue
		}
		finish()
		x, y := stop.middle(), height(50)
		d.add(Rect{X: stop.x + 12, Y: top, W: stop.w - 24, H: bottom - top, R: 4, Fill: Lane})
		d.add(Mark(Unknown, x, y-8, 5)...)
		d.add(Words{X: x, Y: y + 14, Size: 11, Anchor: Middle, Ink: Muted, Text: "not known"})
	}
	finish()
	d.y += curveHeight + 8
}

// stretch draws a part of the curve without a gap.
func (d *drawing) stretch(run []column, height func(float64) float64) {
	points, upper, lower := make([]Point, len(run)), make([]Point, len(run)), make([]Point, len(run))
	for i, stop := range run {
		x := stop.middle()
		low, high := *stop.Score, *stop.Score
		if stop.Lower != nil && stop.Upper != nil {
			low, high = *stop.Lower, *stop.Upper
		}
		points[i], upper[i], lower[i] = Point{x, height(*stop.Score)}, Point{x, height(high)}, Point{x, height(low)}
	}
	if len(run) == 1 {
		d.add(Rect{X: points[0].X - 9, Y: upper[0].Y, W: 18, H: max(1, lower[0].Y-upper[0].Y), R: 3, Fill: Band})
	} else {
		d.add(Path{Segments: between(upper, lower), Fill: Band}, Path{Segments: smooth(points), Stroke: Curve, Width: 2.4})
	}
	for i, stop := range run {
		ink, word := Judge(stop.Health)
		x, y := points[i].X, points[i].Y
		// The number stands where the line is not.
		beside, n := 0.0, 0.0
		for _, j := range []int{i - 1, i + 1} {
			if j >= 0 && j < len(run) {
				beside, n = beside+points[j].Y, n+1
			}
		}
		above := y - 13
		if n > 0 && beside/n < y-2 && y < height(0)-18 {
			above = y + 21
		}
		group := Group{Title: fmt.Sprintf("%s: score %s, %s", clean(stop.Title), Number(*stop.Score, 0), strings.ToLower(word))}
		if stop.Lower != nil && stop.Upper != nil && *stop.Lower < *stop.Upper {
			group.Title += fmt.Sprintf(", between %s and %s", Number(*stop.Lower, 0), Number(*stop.Upper, 0))
		}
		group.Shapes = append(group.Shapes, Path{Segments: circle(x, y, 9), Fill: Paper})
		if stop.MomentOfTruth {
			group.Shapes = append(group.Shapes, Path{Segments: star(x, y, 10), Fill: Truth, Stroke: Paper, Width: 1})
		} else {
			group.Shapes = append(group.Shapes, Mark(ink, x, y, 6)...)
		}
		group.Shapes = append(group.Shapes, Words{X: x, Y: above, Size: 14, Bold: true, Anchor: Middle, Ink: scoreInk(*stop.Score), Text: Number(*stop.Score, 0)})
		d.add(group)
	}
}

// figures draws what was measured: a row each.
func (d *drawing) figures() {
	d.row(44, "Effort (CES)", "who find it easy", func(stop column, x, w float64) []Shape {
		if stop.Ease == nil {
			return nil
		}
		shapes := []Shape{
			Words{X: x, Y: d.y + 18, Size: 14, Bold: true, Ink: Text, Text: Percent(stop.Ease.Value)},
			Words{X: x + w, Y: d.y + 18, Size: 11, Anchor: End, Ink: Muted, Text: "n" + nbsp + Count(stop.Ease.Events)},
		}
		return append(shapes, Interval(*stop.Ease, x, d.y+30, w)...)
	}, func(s *atlas.Stop) bool { return s.Ease != nil })
	d.row(44, "Satisfied", "CSAT, or NPS", func(stop column, x, w float64) []Shape {
		shown, text := stop.Satisfied, ""
		if shown != nil {
			text = Percent(shown.Value)
		} else if stop.NPS != nil {
			text = "NPS" + nbsp + signed(stop.NPS.Value)
			shown = &atlas.Figure{Value: (100 + stop.NPS.Value) / 2, Lower: (100 + stop.NPS.Lower) / 2, Upper: (100 + stop.NPS.Upper) / 2, Events: stop.NPS.Events}
		} else {
			return nil
		}
		return append([]Shape{
			Words{X: x, Y: d.y + 18, Size: 14, Bold: true, Ink: Text, Text: text},
			Words{X: x + w, Y: d.y + 18, Size: 11, Anchor: End, Ink: Muted, Text: "n" + nbsp + Count(shown.Events)},
		}, Interval(*shown, x, d.y+30, w)...)
	}, func(s *atlas.Stop) bool { return s.Satisfied != nil || s.NPS != nil })
	d.row(28, "Latency p95", "", func(stop column, x, w float64) []Shape {
		if stop.P95 == nil {
			return nil
		}
		return []Shape{Words{X: x, Y: d.y + 19, Size: 14, Bold: true, Ink: Text, Text: Seconds(*stop.P95)}}
	}, func(s *atlas.Stop) bool { return s.P95 != nil })
	d.row(28, "Availability", "", func(stop column, x, w float64) []Shape {
		if stop.Availability == nil {
			return nil
		}
		return []Shape{
			Words{X: x, Y: d.y + 19, Size: 14, Bold: true, Ink: Text, Text: Percent(stop.Availability.Value)},
			Words{X: x + w, Y: d.y + 19, Size: 11, Anchor: End, Ink: Muted, Text: "n" + nbsp + Count(stop.Availability.Events)},
		}
	}, func(s *atlas.Stop) bool { return s.Availability != nil })
	tall := 44.0
	for _, stop := range d.stops {
		if len(stop.Trend) > 1 {
			tall = 78
		}
	}
	d.row(tall, "Budget left", "of the worst", func(stop column, x, w float64) []Shape {
		if stop.Left == nil {
			return nil
		}
		ink := leftInk(stop.Promised, *stop.Left)
		shapes := append(Mark(ink, x+6, d.y+14, 5.5), Words{X: x + 18, Y: d.y + 19, Size: 14, Bold: true, Ink: ink, Text: Percent(*stop.Left)})
		shapes = append(shapes, Gauge(*stop.Left, ink, x, d.y+29, w)...)
		if len(stop.Trend) > 1 {
			shapes = append(shapes, spark(stop.Trend, x, d.y+40, w, 30)...)
		}
		return shapes
	}, func(s *atlas.Stop) bool { return s.Left != nil })
	d.y += 6
}

func signed(value float64) string {
	if value > 0 {
		return "+" + Number(value, 0)
	}
	return Number(value, 0)
}

// leftInk is the colour of the budget that has so much left.
func leftInk(promised []atlas.Budget, left float64) Ink {
	for _, b := range promised {
		if b.Left != nil && *b.Left == left {
			ink, _ := JudgeState(b.State)
			return ink
		}
	}
	if left < 0 {
		return Bad
	}
	return Good
}

// row draws figures of the touchpoints that have them; if none has, there is no row.
func (d *drawing) row(height float64, title, second string, draw func(stop column, x, w float64) []Shape, known func(*atlas.Stop) bool) {
	found := false
	for _, stop := range d.stops {
		found = found || known(stop.Stop)
	}
	if !found {
		return
	}
	right := d.stops[len(d.stops)-1].x + d.stops[len(d.stops)-1].w
	rule := Path{Segments: polyline(Point{gutter, d.y}, Point{right, d.y}), Stroke: Line, Width: 1}
	d.add(rule)
	if second == "" {
		d.name(d.y+19, Text, title)
	} else {
		d.name(d.y+19, Text, title, second)
	}
	for _, stop := range d.stops {
		x, w := stop.x+inset, stop.w-2*inset
		shapes := draw(stop, x, w)
		if shapes == nil {
			shapes = []Shape{Words{X: x, Y: d.y + 18, Size: 12, Ink: Muted, Text: "–"}}
		}
		d.add(shapes...)
	}
	d.y += height
}

// Interval draws a share on a scale from 0 to 100 with its bounds.
func Interval(f atlas.Figure, x, y, w float64) []Shape {
	at := func(percent float64) float64 { return x + w*min(100, max(0, percent))/100 }
	return []Shape{
		Rect{X: x, Y: y - 1, W: w, H: 2, R: 1, Fill: Line},
		Rect{X: at(f.Lower), Y: y - 3, W: max(2, at(f.Upper)-at(f.Lower)), H: 6, R: 3, Fill: Band},
		Rect{X: at(f.Value) - 1.5, Y: y - 5, W: 3, H: 10, R: 1.5, Fill: Curve},
	}
}

// Gauge draws how much of a budget is left. Where more is spent than there was, it is
// filled with strokes.
func Gauge(left float64, ink Ink, x, y, w float64) []Shape {
	shapes := []Shape{Rect{X: x, Y: y - 3, W: w, H: 6, R: 3, Fill: Line}}
	if left >= 0 {
		if wide := w * min(1, left/100); wide >= 1 {
			shapes = append(shapes, Rect{X: x, Y: y - 3, W: max(4, wide), H: 6, R: 3, Fill: ink})
		}
		return shapes
	}
	wide := w * min(1, -left/100)
	for at := x + 2; at < x+wide-1; at += 5 {
		shapes = append(shapes, Path{Segments: polyline(Point{at, y + 3}, Point{at + 3, y - 3}), Stroke: ink, Width: 1.8})
	}
	return shapes
}

// spark draws what was left of a budget over time, with a line where it was spent.
func spark(series atlas.Series, x, y, w, h float64) []Shape {
	low, high := 0.0, 100.0
	for _, point := range series {
		low = min(low, max(point.Value, -200))
	}
	at := func(p atlas.Point) Point {
		begin, end := series[0].Time, series[len(series)-1].Time
		share := float64(p.Time.Sub(begin)) / float64(max(time.Second, end.Sub(begin)))
		return Point{x + w*share, y + h*(high-max(low, min(high, p.Value)))/(high-low)}
	}
	zero := y + h*high/(high-low)
	shapes := []Shape{Path{Segments: polyline(Point{x, zero}, Point{x + w, zero}), Stroke: Muted, Width: 1, Dash: 3}}
	for _, part := range unbroken(series) {
		points := make([]Point, len(part))
		for i, p := range part {
			points[i] = at(p)
		}
		points = thin(points)
		area := append(append([]Point{{points[0].X, zero}}, points...), Point{points[len(points)-1].X, zero})
		shapes = append(shapes, Path{Segments: polygon(area...), Fill: Band}, Path{Segments: polyline(points...), Stroke: Curve, Width: 1.5})
	}
	end := at(series[len(series)-1])
	return append(shapes, Path{Segments: circle(end.X, end.Y, 2.4), Fill: Curve})
}

// unbroken parts a series where points are farther apart than usual.
func unbroken(series atlas.Series) []atlas.Series {
	if len(series) < 3 {
		return []atlas.Series{series}
	}
	step := series[1].Time.Sub(series[0].Time)
	for i := 2; i < len(series); i++ {
		step = min(step, series[i].Time.Sub(series[i-1].Time))
	}
	var parts []atlas.Series
	begin := 0
	for i := 1; i <= len(series); i++ {
		if i == len(series) || series[i].Time.Sub(series[i-1].Time) > 3*step {
			parts = append(parts, series[begin:i])
			begin = i
		}
	}
	return parts
}

// thin leaves out points that stand in line with those beside them.
func thin(points []Point) []Point {
	kept := points[:0:0]
	for i, p := range points {
		if i == 0 || i == len(points)-1 {
			kept = append(kept, p)
			continue
		}
		from, to := kept[len(kept)-1], points[i+1]
		expected := from.Y + (to.Y-from.Y)*(p.X-from.X)/max(1e-9, to.X-from.X)
		if math.Abs(expected-p.Y) > 0.25 || p.X-from.X > 12 {
			kept = append(kept, p)
		}
	}
	return kept
}

// lane is a row of the service blueprint.
type lane struct {
	title, second string
	cell          func(*atlas.Stop) []atlas.Part
	// line is drawn above it.
	line   string
	strong bool
}

func plain(texts []string) []atlas.Part {
	var parts []atlas.Part
	for _, text := range texts {
		parts = append(parts, atlas.Part{Description: text})
	}
	return parts
}

var lanes = []lane{
	{title: "Evidence", second: "what they see", cell: func(s *atlas.Stop) []atlas.Part { return plain(s.Blueprint.Evidence) }},
	{title: "Customer", second: "what they do", cell: func(s *atlas.Stop) []atlas.Part { return plain(s.Blueprint.Customer) }},
	{title: "Frontstage", second: "what we do", line: "line of interaction", cell: func(s *atlas.Stop) []atlas.Part { return plain(s.Blueprint.Frontstage) }},
	{title: "Backstage", second: "out of sight", line: "line of visibility", strong: true, cell: func(s *atlas.Stop) []atlas.Part { return s.Blueprint.Backstage }},
	{title: "Support", second: "what it rests on", line: "line of internal interaction", cell: func(s *atlas.Stop) []atlas.Part { return s.Blueprint.Support }},
}

func (d *drawing) blueprint() {
	some := false
	for _, stop := range d.stops {
		for _, l := range lanes {
			some = some || len(l.cell(stop.Stop)) > 0
		}
	}
	d.y += 6
	right := d.stops[len(d.stops)-1].x + d.stops[len(d.stops)-1].w
	if !some {
		d.name(d.y+19, Text, "Blueprint")
		d.add(Words{X: gutter + inset, Y: d.y + 19, Size: 12, Ink: Muted, Text: style{size: 12}.cut("Nothing is written down yet: spec.blueprint and spec.map.action of each Touchpoint.", d.right-gutter-inset)})
		d.y += 30
		return
	}
	for _, l := range lanes {
		if l.line != "" {
			rule := Path{Segments: polyline(Point{gutter, d.y + 8}, Point{right, d.y + 8}), Stroke: Muted, Width: 1, Dash: 5}
			if l.strong {
				rule.Stroke, rule.Width, rule.Dash = Strong, 1.8, 9
			}
			d.add(rule)
			set := style{size: 9.5, bold: l.strong}
			ink := Muted
			if l.strong {
				ink = Strong
			}
			lines := set.wrap(l.line, gutter-14, 2)
			for i, text := range lines {
				d.picture.Names = append(d.picture.Names, Words{X: 8, Y: d.y + 11 + 11*(float64(i)-float64(len(lines)-1)/2), Size: set.size, Bold: set.bold, Ink: ink, Text: text})
			}
			d.y += 18
		}
		d.lane(l, right)
	}
}

func (d *drawing) lane(l lane, right float64) {
	height := 40.0
	cells := make([][]Shape, len(d.stops))
	for i, stop := range d.stops {
		shapes, bottom := d.cell(l.cell(stop.Stop), stop.x+inset, d.y+19, stop.w-2*inset)
		cells[i] = shapes
		height = max(height, bottom-d.y-2)
	}
	d.name(d.y+20, Text, l.title, l.second)
	d.add(Rect{X: gutter, Y: d.y, W: right - gutter, H: height, R: 4, Fill: Lane})
	for i, stop := range d.stops {
		if len(cells[i]) == 0 {
			continue
		}
		d.add(Rect{X: stop.x + 3, Y: d.y + 3, W: stop.w - 6, H: height - 6, R: 4, Fill: Card, Stroke: Line, Width: 1})
		d.add(cells[i]...)
	}
	d.y += height + 4
}

// cell writes the parts of a lane at a touchpoint.
func (d *drawing) cell(parts []atlas.Part, x, y, w float64) ([]Shape, float64) {
	text, name := style{size: 11.5}, style{size: 10.5, bold: true}
	var shapes []Shape
	most := 4
	for i, part := range parts {
		if i == most && len(parts) > most+1 {
			shapes = append(shapes, Words{X: x, Y: y, Size: 11, Ink: Muted, Text: fmt.Sprintf("and %d more", len(parts)-most)})
			return shapes, y + 12
		}
		group := Group{Title: clean(part.Description)}
		if part.Workload != "" {
			ink, word := JudgePart(part.Health)
			group.Title = strings.TrimPrefix(fmt.Sprintf("%s (%s: %s)", group.Title, part.Workload, strings.TrimSuffix(strings.ToLower(word)+", "+clean(part.Message), ", ")), " ")
			if part.Description != "" {
				y = write(&group.Shapes, text.wrap(part.Description, w, 4), x, y, text, 15, Text)
			}
			group.Shapes = append(group.Shapes, Mark(ink, x+5, y-4, 4.6)...)
			kind, called, _ := strings.Cut(part.Workload, "/")
			y = write(&group.Shapes, name.wrap(called, w-15, 2), x+15, y, name, 13, Text)
			y = write(&group.Shapes, style{size: 10}.wrap(kind, w-15, 1), x+15, y-1, style{size: 10}, 13, Muted)
			if ink == Warn || ink == Bad {
				y = write(&group.Shapes, style{size: 10.5, bold: true}.wrap(strings.TrimPrefix(cmp.Or(part.Message, word), " "), w-15, 2), x+15, y, style{size: 10.5, bold: true}, 13, ink)
			}
		} else {
			y = write(&group.Shapes, text.wrap(part.Description, w, 5), x, y, text, 15, Text)
		}
		shapes = append(shapes, group)
		y += 5
	}
	return shapes, y - 8
}

func (d *drawing) legend() {
	d.y += 16
	const left = gutter + inset
	x, y := float64(left), d.y
	set := style{size: 11}
	var shapes []Shape
	item := func(mark []Shape, wide float64, text string) {
		if x+wide+set.width(text) > d.right && x > left {
			x, y = left, y+20
		}
		for _, s := range mark {
			shapes = append(shapes, shift(s, x, y))
		}
		shapes = append(shapes, Words{X: x + wide, Y: y + 4, Size: 11, Ink: Muted, Text: text})
		x += wide + set.width(text) + 20
	}
	for _, each := range []struct {
		ink  Ink
		text string
	}{{Good, "kept"}, {Warn, "at risk, or looks spent"}, {Bad, "breached"}, {Unknown, "not known"}} {
		item(Mark(each.ink, 6, 0, 5), 16, each.text)
	}
	item([]Shape{Path{Segments: star(7, 0, 7), Fill: Truth}}, 18, "moment of truth")
	item([]Shape{Rect{X: 0, Y: -5, W: 22, H: 10, R: 3, Fill: Band}, Path{Segments: polyline(Point{0, 0}, Point{22, 0}), Stroke: Curve, Width: 2}}, 28, "score, and the bounds of what was answered (98"+nbsp+"%)")
	d.add(shapes...)
	d.y = y + 14
}

// shift moves a shape.
func shift(s Shape, dx, dy float64) Shape {
	switch s := s.(type) {
	case Rect:
		s.X, s.Y = s.X+dx, s.Y+dy
		return s
	case Path:
		moved := make([]Segment, len(s.Segments))
		for i, segment := range s.Segments {
			for j := range segment.Points {
				segment.Points[j].X += dx
				segment.Points[j].Y += dy
			}
			moved[i] = segment
		}
		s.Segments = moved
		return s
	default:
		return s
	}
}

func (d *drawing) missing() {
	if len(d.journey.Missing) == 0 {
		return
	}
	var shapes []Shape
	shapes = append(shapes, Words{X: 8, Y: d.y + 14, Size: 12, Bold: true, Ink: Text, Text: "What is missing"})
	y := d.y + 32
	for _, text := range d.journey.Missing {
		y = write(&shapes, style{size: 12}.wrap(text, d.right-16, 2), 8, y, style{size: 12}, 17, Muted)
	}
	d.add(shapes...)
	d.y = y
}

// describe says in words what the picture shows.
func describe(m *atlas.Map) string {
	var b strings.Builder
	_, word := Judge(m.Health)
	b.WriteString("Journey map and service blueprint. ")
	if m.Score != nil {
		b.WriteString(fmt.Sprintf("Score %s of 100. ", Number(*m.Score, 0)))
	}
	b.WriteString(word + ". ")
	for i := range m.Stages {
		stage := &m.Stages[i]
		b.WriteString("Stage " + clean(stage.Title) + ": ")
		for j := range stage.Stops {
			if j > 0 {
				b.WriteString("; ")
			}
			stop := &stage.Stops[j]
			b.WriteString(clean(stop.Title))
			switch {
			case stop.Absent != "":
				b.WriteString(" (" + stop.Absent + ")")
			case stop.Score != nil:
				b.WriteString(" " + Number(*stop.Score, 0))
			default:
				b.WriteString(" not known")
			}
		}
		b.WriteString(". ")
	}
	return strings.TrimSpace(b.String())
}
