package observe

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// Told writes the numbers of the budgets that stand worst, for an event.
func Told(budgets []*Budget) string {
	const most = 3
	worst := slices.Clone(budgets)
	slices.SortStableFunc(worst, func(a, b *Budget) int {
		return slices.Index(budget.States, b.State()) - slices.Index(budget.States, a.State())
	})
	var told []string
	for _, b := range worst[:min(len(worst), most)] {
		if math.IsNaN(b.Loss) || math.IsNaN(b.Events) {
			continue
		}
		told = append(told, fmt.Sprintf("%s at %s: %s%% of %d events lost, %s%% allowed", b.fullName(), b.Touchpoint,
			significant(100*b.Loss, 2), whole(b.Events), significant(100*b.Allowed, 2)))
	}
	return strings.Join(told, "; ")
}

// ToldOf is Told of all budgets on a journey, each once.
func ToldOf(stages [][]Stop) string {
	budgets, _ := allBudgets(slices.Concat(stages...))
	return Told(budgets)
}
