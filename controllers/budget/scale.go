package budget

// Scale is the fixed scale of a survey instrument: whole numbers, in points, from Low to
// High.
type Scale struct {
	// Low and High are the ends of the scale, both included.
	Low, High int
	// HighIsGood tells which end the customer is content at.
	HighIsGood bool
	// good and bad are the scores, on the good side, from which on a customer is
	// content, and on the bad side, up to which one is let down. What lies between
	// is neutral.
	good, bad int
}

// The closed set of instruments.
var (
	// CES is the Customer Effort Score 2.0 (Dixon, Toman, DeLisi: The Effortless
	// Experience, 2013): easy 5 and more, difficult 3 and less.
	CES = Scale{Low: 1, High: 7, HighIsGood: true, good: 5, bad: 3}
	// CES1 is the Customer Effort Score 1.0 (Dixon, Freeman, Toman: Stop Trying to
	// Delight Your Customers, 2010), on which high is bad: easy 2 and less, difficult
	// 4 and more.
	CES1 = Scale{Low: 1, High: 5, HighIsGood: false, good: 2, bad: 4}
	// CSAT is customer satisfaction on five points, by its top two boxes, 4 and 5, as is
	// customary in surveys with scales after Likert (A Technique for the Measurement of
	// Attitudes, 1932).
	CSAT = Scale{Low: 1, High: 5, HighIsGood: true, good: 4, bad: 2}
	// NPS is the Net Promoter Score (Reichheld: The One Number You Need to Grow, 2003):
	// promoters 9 and 10, detractors 6 and less.
	NPS = Scale{Low: 0, High: 10, HighIsGood: true, good: 9, bad: 6}
)

// IsGood tells whether a score, in points, says the customer is content: easy, satisfied,
// or a promoter. CES, CES1, CSAT and NPS name their sources.
func (s Scale) IsGood(score int) bool {
	if s.HighIsGood {
		return score >= s.good
	}
	return score <= s.good
}

// IsBad tells whether a score, in points, says the customer is let down: difficult,
// dissatisfied, or a detractor. CES, CES1, CSAT and NPS name their sources.
func (s Scale) IsBad(score int) bool {
	if s.HighIsGood {
		return score <= s.bad
	}
	return score >= s.bad
}

// Loss is the loss of one answer: its score in points becomes a number between 0, content,
// and 1, let down.
type Loss func(score int) float64

// ShareLoss counts every answer that is not good as a whole loss: 0 or 1. ForShare is its
// budget.
func (s Scale) ShareLoss(score int) float64 {
	if s.IsGood(score) {
		return 0
	}
	return 1
}

// NetLoss counts a bad answer as a whole loss and a neutral one as half: 0, ½ or 1. ForNet
// is its budget.
func (s Scale) NetLoss(score int) float64 {
	switch {
	case s.IsGood(score):
		return 0
	case s.IsBad(score):
		return 1
	default:
		return 0.5
	}
}

// MeanLoss counts an answer by its distance from the best score, as a part of the
// scale's length between 0 and 1, so that a mean score is a mean loss. ForMean is its
// budget.
func (s Scale) MeanLoss(score int) float64 { return Round(s.meanLoss(float64(score))) }

func (s Scale) meanLoss(score float64) float64 {
	if s.HighIsGood {
		return (float64(s.High) - score) / float64(s.High-s.Low)
	}
	return (score - float64(s.Low)) / float64(s.High-s.Low)
}

// Mean is the mean score, in points, that a mean loss after MeanLoss comes to.
func (s Scale) Mean(loss float64) float64 {
	if s.HighIsGood {
		return float64(s.High) - loss*float64(s.High-s.Low)
	}
	return float64(s.Low) + loss*float64(s.High-s.Low)
}

// Scores lists the scale from low to high, in points.
func (s Scale) Scores() []int {
	scores := make([]int, 0, s.High-s.Low+1)
	for score := s.Low; score <= s.High; score++ {
		scores = append(scores, score)
	}
	return scores
}
