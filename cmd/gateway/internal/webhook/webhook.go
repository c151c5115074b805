// Package webhook understands what survey tools deliver by webhook: whether it is
// theirs, and which answers it holds. What the answers mean is said elsewhere.
package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Tool is a kind of webhook.
type Tool struct {
	// Name is its part of the path.
	Name string
	// Verify tells whether the body comes from somebody who has one of the secrets.
	Verify func(header http.Header, body []byte, secrets []string) error
	// Decode reads the submissions of a body. The error says what is wrong with it.
	Decode func(body []byte) ([]Submission, error)
}

// Submission is one form that a customer filled in.
type Submission struct {
	// ID tells it from every other of the same tool, whenever it is delivered.
	ID string
	// Finished tells whether the customer is done with it.
	Finished bool
	// Time is when the customer was, zero where the tool does not say.
	Time time.Time
	// Answers are the answers by question and hidden field, under every name that the
	// tool has for it. Numbers are written in decimal.
	Answers map[string]string
}

// maxAnswers bounds the answers of a body.
const maxAnswers = 10_000

// Tools are all kinds of webhooks.
var Tools = []Tool{
	{Name: "formbricks", Verify: verifyStandard, Decode: decodeFormbricks},
	{Name: "typeform", Verify: typeformSignature.verify, Decode: decodeTypeform},
	{Name: "tally", Verify: tallySignature.verify, Decode: decodeTally},
	{Name: "generic", Verify: genericSignature.verify, Decode: decodeGeneric},
}

// decode reads a body into what a tool sends. Unknown fields are passed over: they are
// the tool's business.
func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return fmt.Errorf("%s has a %s where this tool's webhooks have something else: is the path that of the right tool?", wrong.Field, wrong.Value)
		}
		return fmt.Errorf("the body is not valid JSON: %w", err)
	}
	return nil
}

// decodeFormbricks reads a pipeline event of Formbricks. Hidden fields are among the
// answers.
func decodeFormbricks(body []byte) ([]Submission, error) {
	type event struct {
		Event string `json:"event"`
		Data  struct {
			ID        string                     `json:"id"`
			Finished  bool                       `json:"finished"`
			UpdatedAt string                     `json:"updatedAt"`
			Data      map[string]json.RawMessage `json:"data"`
		} `json:"data"`
	}
	var events []event
	if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
		if err := decode(body, &events); err != nil {
			return nil, err
		}
	} else {
		events = make([]event, 1)
		if err := decode(body, &events[0]); err != nil {
			return nil, err
		}
	}
	var submissions []Submission
	answers := 0
	for _, each := range events {
		if each.Event == "" {
			return nil, errors.New("there is no event: Formbricks sends event and data")
		}
		s := Submission{
			ID: each.Data.ID, Time: parseTime(each.Data.UpdatedAt), Answers: map[string]string{},
			Finished: each.Event == "responseFinished" || each.Event == "responseUpdated" && each.Data.Finished,
		}
		if answers += len(each.Data.Data); answers > maxAnswers {
			return nil, errTooManyAnswers
		}
		for question, answer := range each.Data.Data {
			s.add(question, answer)
		}
		submissions = append(submissions, s)
	}
	return submissions, nil
}

var errTooManyAnswers = fmt.Errorf("the body holds more than %d answers", maxAnswers)

// decodeTypeform reads an event of Typeform. A question has an id and a ref, which its
// maker may choose.
func decodeTypeform(body []byte) ([]Submission, error) {
	var event struct {
		EventType    string `json:"event_type"`
		FormResponse struct {
			Token       string                     `json:"token"`
			SubmittedAt string                     `json:"submitted_at"`
			Hidden      map[string]json.RawMessage `json:"hidden"`
			Answers     []struct {
				Type   string          `json:"type"`
				Number json.RawMessage `json:"number"`
				Text   json.RawMessage `json:"text"`
				Choice struct {
					Label json.RawMessage `json:"label"`
				} `json:"choice"`
				Boolean json.RawMessage `json:"boolean"`
				Field   struct {
					ID  string `json:"id"`
					Ref string `json:"ref"`
				} `json:"field"`
			} `json:"answers"`
		} `json:"form_response"`
	}
	if err := decode(body, &event); err != nil {
		return nil, err
	}
	if event.EventType == "" {
		return nil, errors.New("there is no event_type: Typeform sends event_type and form_response")
	}
	response := event.FormResponse
	if len(response.Answers)+len(response.Hidden) > maxAnswers {
		return nil, errTooManyAnswers
	}
	s := Submission{
		ID: response.Token, Time: parseTime(response.SubmittedAt), Answers: map[string]string{},
		Finished: event.EventType == "form_response",
	}
	for name, value := range response.Hidden {
		s.add(name, value)
	}
	for _, answer := range response.Answers {
		for _, value := range []json.RawMessage{answer.Number, answer.Text, answer.Choice.Label, answer.Boolean} {
			s.add(answer.Field.ID, value)
			s.add(answer.Field.Ref, value)
		}
	}
	return []Submission{s}, nil
}

// decodeTally reads an event of Tally. Hidden fields are known by their label, which
// is the name in the form's address; questions by their key.
func decodeTally(body []byte) ([]Submission, error) {
	var event struct {
		EventType string `json:"eventType"`
		CreatedAt string `json:"createdAt"`
		Data      struct {
			ResponseID   string `json:"responseId"`
			SubmissionID string `json:"submissionId"`
			CreatedAt    string `json:"createdAt"`
			Fields       []struct {
				Key     string          `json:"key"`
				Label   string          `json:"label"`
				Type    string          `json:"type"`
				Value   json.RawMessage `json:"value"`
				Options []struct {
					ID   string `json:"id"`
					Text string `json:"text"`
				} `json:"options"`
			} `json:"fields"`
		} `json:"data"`
	}
	if err := decode(body, &event); err != nil {
		return nil, err
	}
	if event.EventType == "" {
		return nil, errors.New("there is no eventType: Tally sends eventType and data")
	}
	data := event.Data
	if len(data.Fields) > maxAnswers {
		return nil, errTooManyAnswers
	}
	s := Submission{ID: data.ResponseID, Time: parseTime(data.CreatedAt), Answers: map[string]string{}, Finished: event.EventType == "FORM_RESPONSE"}
	if s.ID == "" {
		s.ID = data.SubmissionID
	}
	for _, field := range data.Fields {
		value := field.Value
		// A choice comes as the ids of what was chosen; people name what they read.
		var chosen []string
		if json.Unmarshal(value, &chosen) == nil && len(chosen) == 1 {
			for _, option := range field.Options {
				if option.ID == chosen[0] {
					value, _ = json.Marshal(option.Text)
				}
			}
		}
		s.add(field.Key, value)
		if field.Type == "HIDDEN_FIELDS" {
			s.add(field.Label, value)
		}
	}
	return []Submission{s}, nil
}

// decodeGeneric reads the form that other tools can be taught:
// {"id", "finished", "time", "answers": {question: answer}}.
func decodeGeneric(body []byte) ([]Submission, error) {
	var in struct {
		ID       string                     `json:"id"`
		Finished *bool                      `json:"finished"`
		Time     string                     `json:"time"`
		Answers  map[string]json.RawMessage `json:"answers"`
	}
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	if in.Answers == nil {
		return nil, errors.New(`there are no answers: send {"id": "…", "time": "…", "answers": {"question": 6}}`)
	}
	if len(in.Answers) > maxAnswers {
		return nil, errTooManyAnswers
	}
	s := Submission{ID: in.ID, Finished: in.Finished == nil || *in.Finished, Time: parseTime(in.Time), Answers: map[string]string{}}
	for question, answer := range in.Answers {
		s.add(question, answer)
	}
	return []Submission{s}, nil
}

// add notes an answer. What is neither text nor number answers nothing that we ask.
func (s *Submission) add(question string, value json.RawMessage) {
	if question == "" || len(value) == 0 {
		return
	}
	switch value[0] {
	case '"':
		var text string
		if json.Unmarshal(value, &text) == nil && text != "" {
			s.Answers[question] = text
		}
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		// 6.0 is 6; 1e999 is no number.
		if number, err := strconv.ParseFloat(string(value), 64); err == nil {
			s.Answers[question] = strconv.FormatFloat(number, 'f', -1, 64)
		}
	case '[':
		// A choice of one comes as a list in some tools.
		var list []json.RawMessage
		if json.Unmarshal(value, &list) == nil && len(list) == 1 && len(list[0]) > 0 && list[0][0] != '[' {
			s.add(question, list[0])
		}
	}
}

// parseTime returns zero for what is no time: an answer is not lost for its clock.
func parseTime(text string) time.Time {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return at
}
