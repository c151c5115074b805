package budget

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDocumentation works out the examples of pages, and looks for each of their lines there.
func TestDocumentation(t *testing.T) {
	for path, lines := range map[string][]string{
		"docs/mathematics.md":              examples(t),
		"docs/howto/choose-ces-targets.md": proofs(),
	} {
		text, err := os.ReadFile("../../" + path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if !strings.Contains(string(text), "\n"+line+"\n") {
				t.Errorf("%s lacks the line\n%s", path, line)
			}
		}
	}
}

// proofs tell from which share of bad answers on a promise of 80 % is Breached.
func proofs() (lines []string) {
	for _, n := range []float64{30, 100, 300, 1000} {
		losses := 0.0
		for Judge(Survey, losses, n, 0.2, 30, false) != Breached {
			losses++
		}
		lines = append(lines, fmt.Sprintf("| %g | %g, %.0f %% |", n, losses, 100*losses/n))
	}
	return lines
}

// examples are lines of tables, as the page has them.
func examples(t *testing.T) (lines []string) {
	row := func(cells ...any) {
		texts := make([]string, len(cells))
		for i, cell := range cells {
			texts[i] = fmt.Sprint(cell)
		}
		lines = append(lines, "| "+strings.Join(texts, " | ")+" |")
	}
	must := func(budget float64, err error) float64 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return budget
	}
	const month = 28 * 24 * time.Hour

	for _, c := range []struct {
		promise string
		budget  float64
	}{
		{`availability: {target: "99.9%"}`, must(ForShare(0.999))},
		{`latency: {threshold: 300ms, target: "99%"}`, must(ForShare(0.99))},
		{`ces: {easeShare: "80%"}`, must(ForShare(0.8))},
		{`ces: {net: "40%"}`, must(ForNet(0.4))},
		{`ces: {mean: "5.5"}`, must(ForMean(5.5, CES))},
		{`ces: {instrument: CES1, mean: "2.4"}`, must(ForMean(2.4, CES1))},
		{`csat: {target: "75%"}`, must(ForShare(0.75))},
		{`nps: {target: 30}`, must(ForNet(0.3))},
	} {
		row("`"+c.promise+"`", Format(c.budget))
	}

	for _, loss := range []struct {
		name string
		of   Loss
	}{{"`easeShare`", CES.ShareLoss}, {"`net`", CES.NetLoss}, {"`mean`", CES.MeanLoss}} {
		cells := []any{loss.name}
		for _, score := range CES.Scores() {
			cells = append(cells, fmt.Sprintf("%.3g", loss.of(score)))
		}
		row(cells...)
	}

	for _, c := range []struct{ n, losses, budget float64 }{
		{10000, 5, 0.001}, {10000, 10, 0.001}, {10000, 25, 0.001}, {200, 30, 0.2},
	} {
		mean := c.losses / c.n
		row(c.n, c.losses, Format(mean), Format(c.budget), Format(BurnRate(mean, c.budget)), fmt.Sprintf("%.0f %%", 100*Remaining(mean, c.budget)))
	}

	for _, c := range []struct{ n, losses float64 }{{8, 4}, {30, 4}, {30, 8}, {30, 12}, {300, 80}, {300, 120}} {
		lower, upper := Bounds(c.losses, c.n, ZTicket)
		row(c.n, c.losses, fmt.Sprintf("%.3f", c.losses/c.n), fmt.Sprintf("%.3f", lower), fmt.Sprintf("%.3f", upper),
			"`"+string(Judge(Survey, c.losses, c.n, 0.2, 30, false))+"`")
	}

	for _, promise := range []float64{0.999, 0.99, 0.95, 0.8, 0.4} {
		budget := must(ForShare(promise))
		row(inForce(fmt.Sprintf("%g %%", Round(100*promise)), Traffic, budget, 0, month)...)
	}
	for _, c := range []struct {
		promise float64
		floor   int
	}{{0.8, 30}, {0.7, 30}, {0.6, 30}, {0.6, 100}, {0.5, 30}} {
		budget := must(ForShare(c.promise))
		row(inForce(fmt.Sprintf("%g %%, from %d answers on", Round(100*c.promise), c.floor), Survey, budget, c.floor, month)...)
	}

	stops := []Stop{{Score: 95, Weight: 1}, {Score: 90, Weight: 1}, {Score: 70, Weight: 1, MomentOfTruth: true}, {Score: 85, Weight: 1}}
	for _, scoring := range []Scoring{PeakEnd, WeightedMean, Worst} {
		row("`"+string(scoring)+"`", Format(JourneyScore(scoring, stops)))
	}
	return lines
}

// inForce tells which tiers a budget has, and at what burn rate.
func inForce(promise string, family Family, budget float64, floor int, window time.Duration) []any {
	cells := []any{promise, Format(budget)}
	for _, tier := range Tiers(family, window) {
		factor, _ := tier.InForce(budget, floor)
		if factor == 0 {
			cells = append(cells, "–")
		} else {
			cells = append(cells, fmt.Sprintf("%.4g", factor))
		}
	}
	return cells
}
