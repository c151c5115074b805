package story

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// Question is an instrument at a touchpoint.
type Question struct {
	Namespace, Touchpoint string
	Instrument            v1alpha1.InstrumentType
}

// label is the instrument's name in series and requests.
func (q Question) label() string { return strings.ToLower(string(q.Instrument)) }

// scale is how customers answer a question while all is well: how many of them in a
// day, and the weight of each score from the lowest.
type scale struct {
	lowest  int
	perDay  float64
	weights []float64
}

var scales = map[v1alpha1.InstrumentType]scale{
	// One in ten does not say that it was easy.
	v1alpha1.InstrumentCES:  {lowest: 1, perDay: 40, weights: []float64{1, 1, 2, 6, 20, 40, 30}},
	v1alpha1.InstrumentCES1: {lowest: 1, perDay: 25, weights: []float64{35, 40, 15, 7, 3}},
	v1alpha1.InstrumentCSAT: {lowest: 1, perDay: 15, weights: []float64{2, 3, 7, 41, 47}},
	v1alpha1.InstrumentNPS:  {lowest: 0, perDay: 20, weights: []float64{1, 0, 1, 1, 1, 3, 4, 12, 20, 30, 27}},
}

// laborious is how customers answer CES once a touchpoint costs them effort: 1 to 3.
var laborious = scale{lowest: 1, weights: []float64{30, 40, 30}}

// complaints are what some of those customers write.
var complaints = []string{
	"I had to enter my address three times.", "The page span and span.", "付款页面转了很久，不知道钱扣了没有。",
	"Gave up, called instead.", "每一步都要等，太费劲了。", "Was I charged twice?",
}

func (s scale) draw(drawing *rand.Rand) int {
	sum := 0.0
	for _, weight := range s.weights {
		sum += weight
	}
	at := drawing.Float64() * sum
	for i, weight := range s.weights {
		if at -= weight; at < 0 {
			return s.lowest + i
		}
	}
	return s.lowest + len(s.weights) - 1
}

// Response is a customer's answer, as the gateway takes it.
type Response struct {
	ID         string    `json:"id"`
	Namespace  string    `json:"namespace"`
	Touchpoint string    `json:"touchpoint"`
	Instrument string    `json:"instrument"`
	Score      int       `json:"score"`
	Comment    string    `json:"comment,omitempty"`
	Time       time.Time `json:"time"`

	// survey is how the touchpoint asks.
	survey *v1alpha1.Survey
}

// Customers answer the questions of the samples, by chance that a seed decides.
type Customers struct {
	questions []Question
	surveys   map[string]*v1alpha1.Survey // by touchpoint
	drawing   *rand.Rand
	run       string // begins every id
	sent      int
}

// NewCustomers reads the questions off the samples. run keeps the ids of one run
// apart from those of another on the same gateway.
func NewCustomers(samples *Samples, seed uint64, run string) *Customers {
	c := &Customers{surveys: map[string]*v1alpha1.Survey{}, drawing: rand.New(rand.NewPCG(seed, 3)), run: run}
	for _, name := range slices.Sorted(maps.Keys(samples.Decoded.Touchpoints)) {
		touchpoint := samples.Decoded.Touchpoints[name]
		if touchpoint.Spec.Survey == nil {
			continue
		}
		c.surveys[name] = touchpoint.Spec.Survey
		for _, instrument := range touchpoint.Spec.Survey.Instruments {
			c.questions = append(c.questions, Question{touchpoint.Namespace, touchpoint.Name, instrument.Type})
		}
	}
	return c
}

// Questions are what customers are asked.
func (c *Customers) Questions() []Question { return c.questions }

func (c *Customers) answer(question Question, score int, comment string, at time.Time) Response {
	c.sent++
	return Response{
		ID: fmt.Sprintf("%s-%06d", c.run, c.sent), Namespace: question.Namespace, Touchpoint: question.Touchpoint,
		Instrument: question.label(), Score: score, Comment: comment, Time: at.UTC().Truncate(time.Millisecond),
		survey: c.surveys[question.Touchpoint],
	}
}

// Past returns what customers answered between two times, in the order of time:
// more in the evening than at night, and all of them as content as usual.
func (c *Customers) Past(start, end time.Time) []Response {
	var responses []Response
	for _, question := range c.questions {
		scale := scales[question.Instrument]
		most := 1.6 * scale.perDay // of the rate below, per day
		for at := start; ; {
			at = at.Add(time.Duration(c.drawing.ExpFloat64() / most * float64(24*time.Hour)))
			if !at.Before(end) {
				break
			}
			if c.drawing.Float64()*1.6 < busyness(at) {
				responses = append(responses, c.answer(question, scale.draw(c.drawing), "", at))
			}
		}
	}
	slices.SortStableFunc(responses, func(a, b Response) int { return a.Time.Compare(b.Time) })
	return responses
}

// busyness is how busy the shop is at a time of day, 1 on average: 0.4 at eight in
// the morning, 1.6 at eight in the evening.
func busyness(at time.Time) float64 {
	hour := float64(at.Hour()) + float64(at.Minute())/60
	return 1 + 0.6*math.Cos((hour-20)/24*2*math.Pi)
}

// Next returns the answer of one more content customer, anywhere.
func (c *Customers) Next(now time.Time) Response {
	question := c.questions[c.drawing.IntN(len(c.questions))]
	return c.answer(question, scales[question.Instrument].draw(c.drawing), "", now)
}

// Laborious returns the answer of a customer who struggled at a touchpoint.
func (c *Customers) Laborious(namespace, touchpoint string, now time.Time) Response {
	comment := ""
	if c.drawing.IntN(3) == 0 {
		comment = complaints[c.drawing.IntN(len(complaints))]
	}
	return c.answer(Question{namespace, touchpoint, v1alpha1.InstrumentCES}, laborious.draw(c.drawing), comment, now)
}

// batchSize stays below what the gateway takes in one request.
const batchSize = 500

// Gateway delivers responses.
type Gateway struct {
	// URL of its responses' address.
	URL string
	// MetricsURL is its page of series.
	MetricsURL string
	// Token of the bearer who delivers, and ReadToken of one who reads.
	Token, ReadToken string
	// SigningSecret is what Formbricks would sign its webhooks with.
	SigningSecret string

	delivered atomic.Int64
}

// The ways by which customers' answers reach the gateway.
const (
	byWebhook = "Formbricks' webhook"
	byPage    = "the survey page"
	byCall    = "the JSON call"
)

// Deliver delivers one response in one of the ways that its touchpoint has, and returns
// which: in turn by a JSON call, by a webhook as Formbricks sends it, and on the gateway's
// own page.
func (g *Gateway) Deliver(ctx context.Context, response Response) (way string, err error) {
	turn := g.delivered.Add(1) % 3
	survey := response.survey
	if survey == nil {
		return byCall, g.Send(ctx, response)
	}
	instrument := slices.IndexFunc(survey.Instruments, func(i v1alpha1.Instrument) bool { return strings.EqualFold(string(i.Type), response.Instrument) })
	switch {
	case turn == 1 && instrument >= 0 && len(survey.Instruments[instrument].Questions) > 0:
		return byWebhook, g.webhook(ctx, response, survey.Instruments[instrument].Questions[0])
	case turn == 2 && instrument == 0 && survey.Link != nil:
		return g.page(ctx, response)
	}
	return byCall, g.Send(ctx, response)
}

// webhook delivers as Formbricks does when a customer has finished a survey.
func (g *Gateway) webhook(ctx context.Context, response Response, question v1alpha1.QuestionID) error {
	answers := map[string]any{string(question): response.Score}
	if fields := response.survey.Fields; fields != nil && len(fields.Comment) > 0 && response.Comment != "" {
		answers[string(fields.Comment[0])] = response.Comment
	}
	body, err := json.Marshal(map[string]any{
		"event": "responseFinished", "webhookId": "demo",
		"data": map[string]any{"id": response.ID, "finished": true, "updatedAt": response.Time, "data": answers},
	})
	if err != nil {
		return err
	}
	hook, err := standardwebhooks.NewWebhook(g.SigningSecret)
	if err != nil {
		return err
	}
	now := time.Now()
	signature, err := hook.Sign("msg-"+response.ID, now, body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		g.URL+"/v1/webhooks/formbricks/"+response.Namespace+"/"+sourceName, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(standardwebhooks.HeaderWebhookID, "msg-"+response.ID)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return taken(request, 1)
}

// page answers on the gateway's own page.
func (g *Gateway) page(ctx context.Context, response Response) (way string, err error) {
	form := url.Values{"score": {strconv.Itoa(response.Score)}, "comment": {response.Comment}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		g.URL+"/s/"+response.Namespace+"/"+response.Touchpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return byPage, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return byPage, err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
		return byPage, nil
	case http.StatusTooManyRequests: // all customers of the demo have one address
		return byCall, g.Send(ctx, response)
	}
	return byPage, fmt.Errorf("the survey page answers %s", answer.Status)
}

// Send delivers responses as a survey tool does, and returns an error unless every
// one of them was accepted.
func (g *Gateway) Send(ctx context.Context, responses ...Response) error {
	for batch := range slices.Chunk(responses, batchSize) {
		if err := g.send(ctx, batch); err != nil {
			return fmt.Errorf("sending %d responses: %w", len(batch), err)
		}
	}
	return nil
}

func (g *Gateway) send(ctx context.Context, responses []Response) error {
	body, err := json.Marshal(responses)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+"/v1/responses", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+g.Token)
	return taken(request, len(responses))
}

// taken sends a request and returns an error unless all its responses were accepted.
func taken(request *http.Request, responses int) error {
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	var result struct {
		Accepted, Duplicates int
	}
	if answer.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the gateway answers %s: %s", answer.Status, bytes.TrimSpace(text))
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return fmt.Errorf("the gateway's answer: %w", err)
	}
	if result.Accepted+result.Duplicates != responses {
		return fmt.Errorf("the gateway took %d of %d: %s", result.Accepted+result.Duplicates, responses, bytes.TrimSpace(text))
	}
	return nil
}
