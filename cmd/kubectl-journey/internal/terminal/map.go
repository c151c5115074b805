package terminal

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
)

const (
	// gutter is the column of the rows' names.
	gutter = 9
	// narrowColumn and wideColumn are the least and the most cells of a touchpoint.
	narrowColumn, wideColumn = 15, 26
	// curveRows is how many lines the experience curve takes, for scores from 0 to 100.
	curveRows = 6
)

// Map draws a journey.
func Map(m *atlas.Map, o Options) string {
	var b bytes.Buffer
	head(&b, m, o)
	blocks := layOut(m, max(1, (o.width()-gutter)/narrowColumn))
	most := 1
	for _, block := range blocks {
		most = max(most, len(block))
	}
	cells := min(wideColumn, (o.width()-gutter)/most)
	rows := rowsOf(m)
	for _, block := range blocks {
		b.WriteByte('\n')
		draw(&b, block, rows, cells, o)
	}
	foot(&b, m, o)
	return b.String()
}

func head(b *bytes.Buffer, m *atlas.Map, o Options) {
	v := verdictOf(m.Health.Status, m.Health.Reason)
	right := v.symbol + " " + v.word
	if m.Score != nil {
		right = fmt.Sprintf("score %s  %s", number(*m.Score, 0), right)
	}
	title := pad(clean(m.Title), o.width()-width(right)-1)
	fmt.Fprintf(b, "%s %s\n", o.paint(strong, title), o.paint(v.how, right))
	about := []string{clean(m.Namespace + "/" + m.Name)}
	if n := m.Budgets; n.Met+n.Breached+n.Unknown > 0 {
		about = append(about, fmt.Sprintf("budgets: %d kept, %d breached, %d unknown", n.Met, n.Breached, n.Unknown))
	}
	if m.Owner != nil && m.Owner.Team != "" {
		about = append(about, clean(m.Owner.Team))
	}
	fmt.Fprintln(b, o.paint(faint, cut(strings.Join(about, " · "), o.width())))
	if m.Goal != "" {
		for _, line := range wrap("Goal: "+clean(m.Goal), o.width(), 2) {
			fmt.Fprintln(b, line)
		}
	}
}

// column is a touchpoint in a block of the map.
type column struct {
	*atlas.Stop
	stage *atlas.Stage
	// continued: the stage began in the block before.
	continued bool
}

// layOut puts stages side by side, as many as fit, and breaks those that fit nowhere.
func layOut(m *atlas.Map, most int) [][]column {
	var blocks [][]column
	var block []column
	for s := range m.Stages {
		stage := &m.Stages[s]
		if len(block) > 0 && len(block)+len(stage.Stops) > most && len(stage.Stops) <= most {
			blocks, block = append(blocks, block), nil
		}
		for i := range stage.Stops {
			if len(block) == most {
				blocks, block = append(blocks, block), nil
			}
			block = append(block, column{&stage.Stops[i], stage, i > 0 && len(block) == 0})
		}
	}
	if len(block) > 0 {
		blocks = append(blocks, block)
	}
	return blocks
}

// row is a line of figures below the touchpoints.
type row struct {
	name string
	cell func(*atlas.Stop, int) (string, style)
}

// rowsOf are the rows for which the journey has something to show.
func rowsOf(m *atlas.Map) []row {
	rows := []row{
		{"Channel", func(s *atlas.Stop, _ int) (string, style) { return or(clean(s.Channel)), plain }},
		{"State", func(s *atlas.Stop, _ int) (string, style) {
			if s.Absent != "" {
				return "? absent", warned
			}
			v := verdictOf(s.Health.Status, s.Health.Reason)
			return v.symbol + " " + v.word, v.how
		}},
		{"Score", func(s *atlas.Stop, _ int) (string, style) {
			if s.Score == nil {
				return none, faint
			}
			text := number(*s.Score, 0)
			if s.Lower != nil && s.Upper != nil && *s.Lower < *s.Upper {
				text += fmt.Sprintf(" (%s-%s)", number(*s.Lower, 0), number(*s.Upper, 0))
			}
			return text, scored(*s.Score)
		}},
		{"CES easy", func(s *atlas.Stop, _ int) (string, style) { return share(s.Ease) }},
	}
	if has(m, func(s *atlas.Stop) bool { return s.Satisfied != nil }) {
		rows = append(rows, row{"CSAT", func(s *atlas.Stop, _ int) (string, style) { return share(s.Satisfied) }})
	}
	if has(m, func(s *atlas.Stop) bool { return s.NPS != nil }) {
		rows = append(rows, row{"NPS", func(s *atlas.Stop, _ int) (string, style) {
			if s.NPS == nil {
				return none, faint
			}
			return fmt.Sprintf("%+.0f n=%s", s.NPS.Value, count(s.NPS.Events)), plain
		}})
	}
	rows = append(rows,
		row{"p95", func(s *atlas.Stop, _ int) (string, style) {
			if s.P95 == nil {
				return none, faint
			}
			return seconds(*s.P95), plain
		}},
		row{"Up", func(s *atlas.Stop, _ int) (string, style) {
			if s.Availability == nil {
				return none, faint
			}
			return number(s.Availability.Value, 2) + "%", plain
		}},
		row{"Left", func(s *atlas.Stop, _ int) (string, style) {
			switch {
			case s.Left == nil:
				return none, faint
			case *s.Left <= 0:
				return number(*s.Left, 0) + "% ✗", bad
			default:
				return number(*s.Left, 0) + "%", scored(*s.Left + 30)
			}
		}},
	)
	if has(m, func(s *atlas.Stop) bool { return len(s.Trend) > 0 }) {
		rows = append(rows, row{"Trend 7d", func(s *atlas.Stop, cells int) (string, style) {
			if len(s.Trend) == 0 {
				return none, faint
			}
			how := good
			if s.Trend[len(s.Trend)-1].Value <= 0 {
				how = bad
			}
			return sparkline(s.Trend, min(cells-3, 14)) + " " + direction(s.Trend), how
		}})
	}
	return rows
}

// none stands where nothing is known.
const none = "–"

func or(text string) string {
	if text == "" {
		return none
	}
	return text
}

func share(figure *atlas.Figure) (string, style) {
	if figure == nil {
		return none, faint
	}
	return fmt.Sprintf("%s%% n=%s", number(figure.Value, 0), count(figure.Events)), plain
}

// number writes a figure with at most some digits behind the point.
func number(value float64, digits int) string {
	text := strconv.FormatFloat(value, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		return "0"
	}
	return text
}

func count(n int64) string {
	switch {
	case n >= 10_000_000:
		return number(float64(n)/1e6, 0) + "M"
	case n >= 1_000_000:
		return number(float64(n)/1e6, 1) + "M"
	case n >= 10_000:
		return number(float64(n)/1e3, 0) + "k"
	default:
		return strconv.FormatInt(n, 10)
	}
}

func seconds(value float64) string {
	if value < 1 {
		return number(1000*value, 0) + " ms"
	}
	return number(value, 2) + " s"
}

// sparkline draws a series of percentages, spent budgets as crosses.
func sparkline(series atlas.Series, cells int) string {
	const bars = "▁▂▃▄▅▆▇█"
	first, span := series[0].Time, series[len(series)-1].Time.Sub(series[0].Time)
	sums, counts := make([]float64, cells), make([]int, cells)
	for _, point := range series {
		at := cells - 1
		if span > 0 {
			at = min(cells-1, int(float64(cells)*float64(point.Time.Sub(first))/float64(span)))
		}
		sums[at] += point.Value
		counts[at]++
	}
	// The last cell says how it is, not how it was on the average.
	sums[cells-1], counts[cells-1] = series[len(series)-1].Value, 1
	var text strings.Builder
	for i := range cells {
		switch left := sums[i] / float64(max(counts[i], 1)); {
		case counts[i] == 0:
			text.WriteByte(' ')
		case left <= 0:
			text.WriteRune('×')
		default:
			text.WriteRune([]rune(bars)[min(7, int(left/12.5))])
		}
	}
	return text.String()
}

// direction tells where a series has gone: a tenth of a budget is a move.
func direction(series atlas.Series) string {
	switch moved := series[len(series)-1].Value - series[0].Value; {
	case moved <= -10:
		return "↓"
	case moved >= 10:
		return "↑"
	default:
		return "→"
	}
}

func draw(b *bytes.Buffer, block []column, rows []row, cells int, o Options) {
	stages(b, block, cells, o)
	curve(b, block, cells, o)
	names := make([][]string, len(block))
	tallest := 1
	for i, c := range block {
		name := clean(c.Title)
		if c.MomentOfTruth {
			name = "★\u00a0" + name
		}
		names[i] = wrap(name, cells-1, 3)
		tallest = max(tallest, len(names[i]))
	}
	for line := range tallest {
		b.WriteString(strings.Repeat(" ", gutter))
		for i, c := range block {
			text, how := "", plain
			if line < len(names[i]) {
				text = strings.ReplaceAll(names[i][line], "\u00a0", " ")
			}
			if c.MomentOfTruth {
				how = strong
			}
			b.WriteString(o.paint(how, pad(text, cells)))
		}
		endLine(b)
	}
	for _, row := range rows {
		b.WriteString(o.paint(faint, pad(row.name, gutter)))
		for _, c := range block {
			text, how := none, faint
			if c.Absent == "" || row.name == "State" {
				text, how = row.cell(c.Stop, cells-1)
			}
			b.WriteString(o.paint(how, pad(cut(text, cells-1), cells)))
		}
		endLine(b)
	}
}

// endLine ends a line without the blanks that fill its last column.
func endLine(b *bytes.Buffer) {
	b.Truncate(len(bytes.TrimRight(b.Bytes(), " ")))
	b.WriteByte('\n')
}

// stages draws the names of stages above their touchpoints.
func stages(b *bytes.Buffer, block []column, cells int, o Options) {
	var names, figures strings.Builder
	for i := 0; i < len(block); {
		stage, n := block[i].stage, 1
		for i+n < len(block) && block[i+n].stage == stage {
			n++
		}
		name := clean(stage.Title)
		if block[i].continued {
			name = "… " + name
		}
		name = "┌ " + cut(name, n*cells-4) + " "
		names.WriteString(o.paint(strong, name) + strings.Repeat("─", max(0, n*cells-1-width(name))) + " ")
		figures.WriteString(o.paint(faint, pad("│ "+stageFigures(stage, n*cells-3), n*cells)))
		i += n
	}
	b.WriteString(strings.Repeat(" ", gutter) + strings.TrimRight(names.String(), " ") + "\n")
	b.WriteString(strings.Repeat(" ", gutter) + figures.String())
	endLine(b)
}

// stageFigures is as much of what is known of a stage as fits.
func stageFigures(stage *atlas.Stage, cells int) string {
	var parts []string
	if stage.Score != nil {
		parts = append(parts, "score "+number(*stage.Score, 0))
	}
	if stage.Conversion != nil {
		parts = append(parts, number(*stage.Conversion, 0)+"% convert")
	}
	if stage.Entries != nil {
		parts = append(parts, count(*stage.Entries)+"/day")
	}
	for len(parts) > 1 && width(strings.Join(parts, " · ")) > cells {
		parts = parts[:len(parts)-1]
	}
	return strings.Join(parts, " · ")
}

// curve draws the scores of the touchpoints, joined, on the band of their bounds.
func curve(b *bytes.Buffer, block []column, cells int, o Options) {
	across := len(block) * cells
	middle := func(i int) int { return i*cells + (cells-1)/2 }
	score, lower, upper := make([]float64, across), make([]float64, across), make([]float64, across)
	for x := range across {
		score[x] = math.NaN()
	}
	known := false
	for i, c := range block {
		if c.Score == nil || c.Absent != "" {
			continue
		}
		known = true
		at := middle(i)
		score[at], lower[at], upper[at] = *c.Score, *c.Lower, *c.Upper
		for _, beside := range []int{at - 1, at + 1} {
			lower[beside], upper[beside] = lower[at], upper[at]
		}
		if i == 0 || block[i-1].Score == nil || block[i-1].Absent != "" {
			continue
		}
		before := middle(i - 1)
		for x := before + 1; x < at; x++ {
			part := float64(x-before) / float64(at-before)
			between := func(values []float64) float64 { return values[before] + part*(values[at]-values[before]) }
			score[x], lower[x], upper[x] = between(score), between(lower), between(upper)
		}
	}
	if !known {
		return
	}
	const high = 100.0 / curveRows
	rowAt := func(value float64) int { return min(curveRows-1, max(0, int(value/high))) }
	for r := curveRows - 1; r >= 0; r-- {
		label := ""
		switch r {
		case curveRows - 1:
			label = "100"
		case 0:
			label = "0"
		case curveRows / 2:
			label = "Score"
		}
		b.WriteString(o.paint(faint, pad(label, gutter-2)+"┤ "))
		var run strings.Builder // of marks in one colour
		was := plain
		for x := range across {
			mark, how := ' ', plain
			switch c := block[x/cells]; {
			case !math.IsNaN(score[x]) && x == middle(x/cells) && rowAt(score[x]) == r:
				mark, how = '●', scored(score[x])
				if c.MomentOfTruth {
					mark = '★'
				}
			case !math.IsNaN(score[x]) && rowAt(score[x]) == r:
				mark, how = stroke((score[x]-float64(r)*high)/high), scored(score[x])
			case x > 0 && crosses(rowAt, score[x-1], score[x], r):
				mark, how = '│', scored(score[x])
			case lower[x] < upper[x] && rowAt(lower[x]) <= r && r <= rowAt(upper[x]):
				mark, how = '░', faint
			}
			if how != was {
				b.WriteString(o.paint(was, run.String()))
				run.Reset()
			}
			was = how
			run.WriteRune(mark)
		}
		b.WriteString(o.paint(was, run.String()))
		endLine(b)
	}
}

// crosses tells whether a line from one score to the next passes through a row without
// standing in it.
func crosses(rowAt func(float64) int, from, to float64, r int) bool {
	if math.IsNaN(from) || math.IsNaN(to) {
		return false
	}
	a, b := rowAt(from), rowAt(to)
	return min(a, b) < r && r < max(a, b)
}

// stroke is the line in a cell, as high as the score is there, 0 to 1.
func stroke(part float64) rune {
	switch {
	case part >= 2.0/3:
		return '▔'
	case part >= 1.0/3:
		return '─'
	default:
		return '▁'
	}
}

func foot(b *bytes.Buffer, m *atlas.Map, o Options) {
	b.WriteByte('\n')
	say := func(name string, how style, text string) {
		for i, line := range wrap(clean(text), o.width()-gutter, 0) {
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(b, "%s%s\n", o.paint(faint, pad(name, gutter)), o.paint(how, line))
		}
	}
	if m.Weakest != "" {
		say("Weakest", strong, m.Weakest+": "+m.Why)
	}
	for _, kpi := range m.KPIs {
		symbol, how := "?", faint
		if kpi.Reached != nil && *kpi.Reached {
			symbol, how = "✓", good
		} else if kpi.Reached != nil {
			symbol, how = "✗", bad
		}
		text := symbol + " " + kpi.Name + " " + none
		if kpi.Value != nil {
			text = symbol + " " + kpi.Name + " " + number(*kpi.Value, 2)
		}
		if kpi.Target != "" {
			text += " (target " + kpi.Target + ")"
		}
		say("KPI", how, text)
	}
	for s := range m.Stages {
		for i := range m.Stages[s].Stops {
			if stop := &m.Stages[s].Stops[i]; stop.Absent != "" {
				say("Absent", plain, stop.Name+": "+stop.Absent)
			}
		}
	}
	if m.Ready.Status == "False" {
		say("Ready", warned, "no: "+m.Ready.Message)
	}
	for i, sentence := range m.Missing {
		name := "Missing"
		if i > 0 {
			name = ""
		}
		say(name, plain, sentence)
	}
	say("", faint, legend(m))
}

// legend explains the marks on the map.
func legend(m *atlas.Map) string {
	parts := []string{"Left: of the budget of which least is left", "n: answers"}
	if has(m, func(s *atlas.Stop) bool { return s.Score != nil && *s.Lower < *s.Upper }) {
		parts = append([]string{"░: the score is within, by 98 %"}, parts...)
	}
	if has(m, func(s *atlas.Stop) bool { return s.MomentOfTruth }) {
		parts = append([]string{"★: moment of truth"}, parts...)
	}
	if has(m, func(s *atlas.Stop) bool { return len(s.Trend) > 0 }) {
		parts = append(parts, "×: spent")
	}
	return strings.Join(parts, "; ")
}

// has tells whether something is known of any touchpoint.
func has(m *atlas.Map, known func(*atlas.Stop) bool) bool {
	return slices.ContainsFunc(m.Stages, func(stage atlas.Stage) bool {
		return slices.ContainsFunc(stage.Stops, func(stop atlas.Stop) bool { return known(&stop) })
	})
}
