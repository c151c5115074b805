package ledger

import "context"

// Sentiment is what a comment sounds like.
type Sentiment string

// Sentiments, a closed set: they become values of a label.
const (
	SentimentPositive Sentiment = "positive"
	SentimentNeutral  Sentiment = "neutral"
	SentimentNegative Sentiment = "negative"
)

// Classifier tells the sentiment of comments. It is asked after a response is
// stored, never before: an answer does not wait for an opinion on it.
type Classifier interface {
	// Classify returns one sentiment for each comment, in order. An error says that
	// none was classified; the same comments may be given again.
	Classify(ctx context.Context, comments []string) ([]Sentiment, error)
}
