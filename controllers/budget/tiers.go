package budget

import (
	"fmt"
	"time"
)

// Family tells how the alerts of a budget work.
type Family string

// Families.
const (
	// Traffic is what machines count: probes and the team's own metrics. There is
	// plenty of it, so that a mean is taken at its word; alerts look at a long window
	// for weight and at a short one for whether it still goes on.
	Traffic Family = "traffic"
	// Survey is what people answer. There is little of it, so that an alert needs the
	// lower confidence bound, longer windows, and no short one.
	Survey Family = "survey"
)

// Tier is one alert on the burn rate of a budget, one of the several windows and burn rates
// of the SRE Workbook, chapter 5, "Alerting on SLOs".
type Tier struct {
	// Name is the length of the long window, such as 1h.
	Name string
	// Page tells whether the tier pages; else it raises a ticket.
	Page bool
	// Long is the window whose mean loss, or its lower bound, must exceed Factor
	// times the budget.
	Long time.Duration
	// Short is the window whose mean loss must exceed it as well, so that the alert
	// ends soon after the trouble does; 0 for none.
	Short time.Duration
	// Factor is the burn rate that fires, at least 1 and without a unit.
	Factor float64
	// Z is the quantile of the confidence bound, in standard deviations; 0 for the mean
	// itself.
	Z float64
}

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

// Tiers are the alerts of a family over a budget's window, pages first, shorter first.
//
// Those of traffic are the recommendation of the SRE Workbook, chapter 5, table 5-8:
// page when 2 % of the budget is spent in an hour or 5 % in six, raise a ticket at 10 %
// in one day or in three. The factor is share × window / long and never below 1, since
// a budget that burns at 1 is just kept.
//
// Those of surveys fire on doubt removed rather than on budget spent.
func Tiers(family Family, window time.Duration) []Tier {
	if family == Survey {
		return []Tier{
			{Name: "1d", Page: true, Long: day, Factor: 1.5, Z: ZPage},
			{Name: "3d", Page: true, Long: 3 * day, Factor: 1.25, Z: ZPage},
			{Name: "1d", Long: day, Factor: 1, Z: ZTicket},
			{Name: "3d", Long: 3 * day, Factor: 1, Z: ZTicket},
			{Name: "7d", Long: 7 * day, Factor: 1, Z: ZTicket},
		}
	}
	tier := func(name string, page bool, share float64, long, short time.Duration) Tier {
		factor := max(1, Round(share*float64(window)/float64(long)))
		return Tier{Name: name, Page: page, Long: long, Short: short, Factor: factor}
	}
	return []Tier{
		tier("1h", true, 0.02, hour, 5*time.Minute),
		tier("6h", true, 0.05, 6*hour, 30*time.Minute),
		tier("1d", false, 0.10, day, 2*hour),
		tier("3d", false, 0.10, 3*day, 6*hour),
	}
}

// Severity names what the tier does in the words of the SRE Workbook, chapter 5: page or
// ticket.
func (t Tier) Severity() string {
	if t.Page {
		return "page"
	}
	return "ticket"
}

// Ceiling is the highest mean loss that the tier may ask for and still be sure to
// fire when things are bad enough: half of the largest it can ever observe. That is
// ½ for a mean, and ½ · n / (n + z²) for the lower bound of n answers.
//
// The ceiling is a loss per event. floor is the least number of answers in the window;
// traffic does not use it. The lower bound is Wilson's (see Bounds).
func (t Tier) Ceiling(floor int) float64 {
	if t.Z == 0 {
		return 0.5
	}
	return Round(LargestLowerBound(float64(floor), t.Z) / 2)
}

// InForce tells the burn rate at which the tier fires for a budget, lowered where the
// tier's own factor could never be reached, or, with a factor of 0, why the tier is
// left out: not even a burn rate of 1 is safely within reach, since no burn rate exceeds
// 1 / budget. budget is a loss per event, floor a number of answers, and the factor has no
// unit.
func (t Tier) InForce(budget float64, floor int) (factor float64, why string) {
	ceiling := t.Ceiling(floor)
	if ceiling < budget {
		if t.Z == 0 {
			return 0, fmt.Sprintf("the budget of %s is more than half of all events: let fewer fail to have this alert", Format(budget))
		}
		return 0, fmt.Sprintf("the budget of %s is above %s, half of what %d answers can prove: promise more, or raise minResponses", Format(budget), short(ceiling), floor)
	}
	return Round(min(t.Factor, ceiling/budget)), ""
}

// short writes a number with three significant digits.
func short(x float64) string { return fmt.Sprintf("%.3g", x) }
