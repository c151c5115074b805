package budget

import "math"

// Scoring says how a journey's score is made of those of its touchpoints.
type Scoring string

// Scorings.
const (
	// PeakEnd is the mean of the most intense touchpoint and the last one: people remember
	// these (Kahneman, Fredrickson, Schreiber, Redelmeier: When More Pain Is Preferred to
	// Less, 1993).
	PeakEnd Scoring = "PeakEnd"
	// WeightedMean is the mean by the touchpoints' weights.
	WeightedMean Scoring = "WeightedMean"
	// Worst is the score of the worst touchpoint.
	Worst Scoring = "Worst"
)

// Kept tells how well a budget is kept, from 1, where it burns at most as fast as it may, to
// 0, where it burns as fast as it takes to alarm somebody. Both are burn rates, without a
// unit; an alarm that is not above 1 leaves nothing in between.
func Kept(burn, alarm float64) float64 {
	if burn <= 1 {
		return 1
	}
	if alarm <= 1 {
		return 0
	}
	return max(0, 1-(burn-1)/(alarm-1))
}

// AlarmingBurn is the burn rate from which on Kept is 0: that of the family's fastest page
// over a window, as far as the budget can be burnt at all (see Tier.Ceiling). floor is the
// least number of answers of a survey.
func AlarmingBurn(family Family, tiers []Tier, budget float64, floor int) float64 {
	alarm := 1.0
	for _, tier := range tiers {
		if factor, _ := tier.InForce(budget, floor); tier.Page {
			alarm = max(alarm, factor)
		}
	}
	return alarm
}

// TouchpointScore is the mean, from 0 to 100, of what is known of a touchpoint: the share of
// customers that find it easy, the share that is satisfied, and how well that of its
// budgets is kept which is kept worst (Kept), each from 0 to 1. What is not known is NaN; if nothing is, so is the score.
func TouchpointScore(ease, satisfied, kept float64) float64 {
	sum, known := 0.0, 0.0
	for _, part := range []float64{ease, satisfied, kept} {
		if !math.IsNaN(part) {
			sum, known = sum+part, known+1
		}
	}
	return 100 * sum / known
}

// Stop is a touchpoint on a journey.
type Stop struct {
	// Score is from 0 to 100, NaN if it is not known.
	Score float64
	// Weight is above 0.
	Weight float64
	// MomentOfTruth: it decides how the journey is remembered.
	MomentOfTruth bool
}

// JourneyScore makes the score of a journey, from 0 to 100, of its stops in their order;
// those of which nothing is known are passed over. It is NaN if none is known. Of PeakEnd,
// the most intense stop is the one whose score is farthest from the weighted mean, that of a
// moment of truth being felt twice as much, and of two the worse.
func JourneyScore(scoring Scoring, stops []Stop) float64 {
	mean, weights, worst, last := 0.0, 0.0, math.NaN(), math.NaN()
	for _, stop := range stops {
		if math.IsNaN(stop.Score) {
			continue
		}
		mean, weights = mean+stop.Weight*stop.Score, weights+stop.Weight
		if math.IsNaN(worst) || stop.Score < worst {
			worst = stop.Score
		}
		last = stop.Score
	}
	if weights == 0 {
		return math.NaN()
	}
	mean /= weights
	switch scoring {
	case WeightedMean:
		return mean
	case Worst:
		return worst
	}
	peak, most := last, -1.0
	for _, stop := range stops {
		if math.IsNaN(stop.Score) {
			continue
		}
		intensity := math.Abs(stop.Score - mean)
		if stop.MomentOfTruth {
			intensity *= 2
		}
		if intensity > most || intensity == most && stop.Score < peak {
			peak, most = stop.Score, intensity
		}
	}
	return (peak + last) / 2
}
