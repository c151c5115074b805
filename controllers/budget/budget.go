// Package budget is the mathematics of Sojourn's error budgets: one for everything a
// customer feels. It knows neither Kubernetes nor Prometheus.
//
// Every event has a loss between 0 (the customer is content) and 1 (let down). An
// objective allows a mean loss, its budget. The burn rate is the observed mean loss
// divided by the budget, as in chapter 5 of the SRE Workbook, "Alerting on SLOs".
package budget

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// ErrNoBudget says that a target allows no loss at all, or every loss: neither can
// be watched, because a budget is spent by its first event or never.
var ErrNoBudget = errors.New("leaves no error budget")

// ForShare is the budget of an objective that promises a share of good events: 1 − T, the
// error budget of the SRE Workbook, chapter 2, "Implementing SLOs". It serves availability,
// latency, ease share, CSAT and event pairs.
//
// share is between 0 and 1, and so is the budget, a mean loss per event. The error wraps
// ErrNoBudget.
func ForShare(share float64) (float64, error) {
	return checked(1-share, "promise less than 100% and more than 0%")
}

// ForNet is the budget of an objective on a difference of shares, easy less difficult
// (net ease) or promoters less detractors (NPS), where the good lose 0, the neutral ½
// and the bad 1: (1 − T) / 2. It is what the Net Promoter Score (Reichheld: The One Number
// You Need to Grow, 2003) comes to when each answer gets a loss.
//
// net is between −1 and 1, the budget a mean loss per answer between 0 and 1. The error
// wraps ErrNoBudget.
func ForNet(net float64) (float64, error) {
	return checked((1-net)/2, "promise less than 100 and more than -100")
}

// ForMean is the budget of an objective on the mean score of an instrument: how far
// the promised mean is from the best score, as a part of the scale's length. The mean
// score of the Customer Effort Score is that of Dixon, Freeman, Toman (2010; see CES1).
//
// mean is in points of the scale, the budget a mean loss per answer between 0 and 1. The
// error wraps ErrNoBudget.
func ForMean(mean float64, scale Scale) (float64, error) {
	return checked(scale.meanLoss(mean), fmt.Sprintf("promise a mean between %d and %d, the ends excluded", scale.Low, scale.High))
}

func checked(budget float64, remedy string) (float64, error) {
	budget = Round(budget)
	if !(budget > 0 && budget < 1) {
		return 0, fmt.Errorf("the target %w: %s", ErrNoBudget, remedy)
	}
	return budget, nil
}

// Round keeps twelve significant digits, so that numbers print as a person would
// write them: 0.001, never 0.0009999999999999432. The unit is that of x.
func Round(x float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 12, 64), 64)
	if err != nil {
		return x
	}
	return rounded
}

// Format writes a number as a person would, with at most twelve significant digits and
// without an exponent, which PromQL reads as it stands. It writes no unit.
func Format(x float64) string { return strconv.FormatFloat(Round(x), 'f', -1, 64) }

// BurnRate is how many times faster than allowed a budget is being spent:
// meanLoss / budget, both a loss per event (SRE Workbook, chapter 5, "Alerting on SLOs").
// It has no unit; at 1 the budget lasts for just its window, and 1 / budget is the most
// there can be.
func BurnRate(meanLoss, budget float64) float64 { return meanLoss / budget }

// Remaining is the part of a budget that is left after its window: 1 − meanLoss / budget.
// It is at most 1 and falls below 0 once more than the budget is spent (SRE Workbook,
// chapter 2, "Implementing SLOs"). Both arguments are a loss per event.
func Remaining(meanLoss, budget float64) float64 { return 1 - meanLoss/budget }

// Quantiles of the standard normal distribution for one-sided bounds, in standard
// deviations, as in any table of it.
const (
	// ZTicket leaves 1 % above it: how sure a ticket, or the state of a budget, is.
	ZTicket = 2.326
	// ZPage leaves 0.1 % above it: how sure a page is.
	ZPage = 3.09
)

// Bounds are the lower and upper confidence bounds of a mean loss after Wilson (1927),
// "Probable Inference, the Law of Succession, and Statistical Inference". For losses
// that are not just 0 and 1 they are conservative: a variable between 0 and 1 varies
// most when it takes only those two.
//
// losses is the sum of the losses of n events, between 0 and n, and z a quantile in
// standard deviations. The bounds are a loss per event, between 0 and 1; without events
// they are 0 and 1.
func Bounds(losses, n, z float64) (lower, upper float64) {
	if n <= 0 {
		return 0, 1
	}
	losses = min(max(losses, 0), n)
	centre := losses + z*z/2
	spread := z * math.Sqrt(losses*(n-losses)/n+z*z/4)
	return max(0, (centre-spread)/(n+z*z)), min(1, (centre+spread)/(n+z*z))
}

// LargestLowerBound is the lower bound that n events prove if every one of them is
// lost: n / (n + z²), which is what Bounds comes to for losses = n. n is a number of
// events, z a quantile in standard deviations, the bound a loss per event below 1.
func LargestLowerBound(n, z float64) float64 { return n / (n + z*z) }

// State tells how a budget stands over its window.
type State string

// States of a budget.
const (
	// Met: enough events, and no more lost than allowed.
	Met State = "Met"
	// AtRisk: Met so far, but an alert tier is burning.
	AtRisk State = "AtRisk"
	// Inconclusive: more lost than allowed, but that may be chance.
	Inconclusive State = "Inconclusive"
	// Breached: more lost than allowed, and not by chance.
	Breached State = "Breached"
	// InsufficientData: fewer events than the floor.
	InsufficientData State = "InsufficientData"
	// NoData: no event at all.
	NoData State = "NoData"
)

// States are all there are, the best first.
var States = []State{Met, AtRisk, NoData, InsufficientData, Inconclusive, Breached}

// Judge tells the state of a budget from what its window holds: the sum of the losses of n
// events. budget is a loss per event, floor the least number of events that allows a
// judgement; burning tells whether an alert tier fires. For traffic the floor is 1 and the
// bound is the mean itself; for surveys it is that of Bounds at ZTicket.
func Judge(family Family, losses, n, budget, floor float64, burning bool) State {
	if n <= 0 {
		return NoData
	}
	lower := losses / n
	if family == Survey {
		if n < floor {
			return InsufficientData
		}
		lower, _ = Bounds(losses, n, ZTicket)
	}
	switch {
	case lower > budget:
		return Breached
	case losses/n > budget:
		return Inconclusive
	case burning:
		return AtRisk
	default:
		return Met
	}
}
