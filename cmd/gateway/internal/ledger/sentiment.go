package ledger

import "github.com/sojourn-dev/sojourn/controllers/budget"

// Sentiment is that of the answer which a comment came with. Nobody reads the comment for
// it: the customer gave a score, and a program's opinion on the text would be a guess.
type Sentiment string

// Sentiments are a closed set: they are values of a label.
var Sentiments = []Sentiment{SentimentPositive, SentimentNeutral, SentimentNegative}

// Of answers that say the customer is content (easy, satisfied, promoter), let down
// (difficult, dissatisfied, detractor), or neither.
const (
	SentimentPositive Sentiment = "positive"
	SentimentNeutral  Sentiment = "neutral"
	SentimentNegative Sentiment = "negative"
)

func sentimentOf(scale budget.Scale, score int) Sentiment {
	switch {
	case scale.IsGood(score):
		return SentimentPositive
	case scale.IsBad(score):
		return SentimentNegative
	}
	return SentimentNeutral
}
