package terminal

import (
	"strings"
	"testing"
	"time"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas/atlastest"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/triage"
)

func TestStatus(t *testing.T) {
	o := atlastest.Objects()
	r := triage.Find(o, triage.All(o, "shop"))
	r.Problems[0].Comments = []atlas.Comment{
		{Instrument: "CES", Score: 2, Text: "I entered my address twice.\x1b[31m", Received: atlastest.Now.Add(-10 * time.Minute)},
		{Instrument: "CES", Score: 1, Text: "付款页面一直打不开，等了三分钟只好放弃。", Received: atlastest.Now.Add(-3 * time.Hour)},
	}
	r.Problems[0].Alerts[0].Since = atlastest.Now.Add(-95 * time.Minute)
	r.Missing = []string{"There are no comments. Give a token by --gateway-token-file."}
	for _, cells := range []int{80, 120} {
		text := Status(r, atlastest.Now, Options{Width: cells})
		golden(t, "status."+number(float64(cells), 0)+".txt", text)
		for line := range strings.Lines(text) {
			if width(strings.TrimSuffix(line, "\n")) > cells && !strings.HasPrefix(line, "  Next") {
				t.Errorf("too long for %d cells: %s", cells, line)
			}
		}
		if strings.Contains(text, "\x1b") {
			t.Error("a customer can write to the terminal")
		}
		if bare := uncolored(Status(r, atlastest.Now, Options{Width: cells, Color: true})); bare != text {
			t.Errorf("without its colours it says something else:\n%s", bare)
		}
	}
}

func TestStatusOfTheWell(t *testing.T) {
	for want, r := range map[string]*triage.Report{
		"All is well: all 4 budgets are kept.": {Budgets: 4, Kept: 4},
		"Nothing is wrong that can be judged: of 4 budgets 3 are kept. Not judged yet: 1 because they have too few answers so far.": {
			Budgets: 4, Kept: 3, Unjudged: []string{"1 because they have too few answers so far"},
		},
		"nothing is promised": {},
		"One problem. Of 4 budgets 3 are kept.": {
			Budgets: 4, Kept: 3, Problems: []*triage.Problem{{Level: triage.Ticket, Kind: "Touchpoint", Title: "x", What: "fails"}},
		},
	} {
		if got := Status(r, atlastest.Now, Options{Width: 200}); !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}
