package terminal

import (
	"bytes"
	"strconv"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
)

// Journeys lists journeys, one a line; with their namespaces if those of several are meant.
// Names are whole, for people to copy, even where that makes a line too long.
func Journeys(listed []*atlas.Map, namespaces bool, o Options) string {
	type cell struct {
		text string
		how  style
	}
	var lines [][]cell
	var heads []cell
	for _, head := range []string{"STATE", "SCORE", "KEPT", "BREACHED", "UNKNOWN", "NAMESPACE", "JOURNEY", "WEAKEST"} {
		heads = append(heads, cell{head, faint})
	}
	lines = append(lines, heads)
	for _, m := range listed {
		v, score := verdictOf(m.Health.Status, m.Health.Reason), none
		if m.Score != nil {
			score = number(*m.Score, 0)
		}
		budgets := func(n int32) cell {
			if m.Budgets == (atlas.Budgets{}) {
				return cell{none, faint}
			}
			return cell{strconv.Itoa(int(n)), plain}
		}
		lines = append(lines, []cell{
			{v.symbol + " " + v.word, v.how}, {score, plain}, budgets(m.Budgets.Met), budgets(m.Budgets.Breached), budgets(m.Budgets.Unknown),
			{clean(m.Namespace), plain}, {clean(m.Name), strong}, {or(clean(m.Weakest)), plain},
		})
	}
	const namespace = 5
	widest := make([]int, len(heads))
	for _, line := range lines {
		for i, c := range line {
			widest[i] = max(widest[i], width(c.text))
		}
	}
	var b bytes.Buffer
	for _, line := range lines {
		left := o.width()
		for i, c := range line {
			if i == namespace && !namespaces {
				continue
			}
			text := pad(c.text, widest[i]) + "  "
			if i == len(line)-1 {
				text = cut(c.text, max(left, 16))
			}
			left -= width(text)
			b.WriteString(o.paint(c.how, text))
		}
		endLine(&b)
	}
	return b.String()
}
