package intake

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sources"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/webhook"
)

// touchpointField is the hidden field that names the touchpoint, where several map the
// same question.
const touchpointField = "touchpoint"

// webhook is POST /v1/webhooks/{tool}/{namespace}/{source}.
func (in *Intake) webhook(w http.ResponseWriter, r *http.Request, tool webhook.Tool) (*receipt, *problem) {
	if refusal := checkMethod(r, http.MethodPost); refusal != nil {
		return nil, refusal
	}
	// The body comes before everything else is judged: the signature is over it. How
	// much of it is in memory at a time is bounded for all.
	body, release, refusal := in.body(w, r)
	if refusal != nil {
		return nil, refusal
	}
	defer release()
	source, refusal := in.verify(r, tool, body)
	if refusal != nil {
		return nil, refusal
	}
	if refusal := in.checkReady(in.Ready); refusal != nil {
		return nil, refusal
	}
	submissions, err := in.decodeWebhook(tool, body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, ReasonMalformed, shorten(err.Error(), 300)+"; nothing of this request was stored")
	}
	return in.takeSubmissions(submissions, tool.Name, source)
}

func (in *Intake) decodeWebhook(tool webhook.Tool, body []byte) ([]webhook.Submission, error) {
	defer in.alone(body)()
	return tool.Decode(body)
}

// nobodysSecrets are those of sources that do not exist, and of those without any: they
// answer like one with other secrets, and take as long.
var nobodysSecrets = []string{rand.Text()}

// verify finds the source of a webhook and makes sure that it comes from there.
func (in *Intake) verify(r *http.Request, tool webhook.Tool, body []byte) (*sources.Source, *problem) {
	source := in.Sources.Named(r.PathValue("namespace"), r.PathValue("source"))
	if source == nil {
		if refusal := in.checkReady(in.SourcesReady); refusal != nil {
			return nil, refusal
		}
	}
	secrets := nobodysSecrets
	if source != nil && source.SigningSecrets != nil {
		secrets = source.SigningSecrets
	}
	err := tool.Verify(r.Header, body, secrets)
	switch {
	case err == nil:
		return source, nil
	case errors.Is(err, webhook.ErrTooOld), errors.Is(err, webhook.ErrTooNew):
		return nil, refuse(http.StatusUnauthorized, ReasonStaleSignature, err.Error())
	case errors.Is(err, webhook.ErrUnsigned):
		return nil, refuse(http.StatusUnauthorized, ReasonBadSignature,
			err.Error()+": have the survey tool sign its webhooks, and put the secret under "+sources.KeySigningSecrets+" of the source")
	}
	return nil, refuse(http.StatusUnauthorized, ReasonBadSignature,
		"there is no such source, or "+webhook.ErrForged.Error()+": compare the path with the namespace and name of a Secret of type "+string(sources.SecretType)+", and the tool's secret with its "+sources.KeySigningSecrets)
}

func (in *Intake) takeSubmissions(submissions []webhook.Submission, tool string, source *sources.Source) (*receipt, *problem) {
	var responses []ledger.Response
	var indexes []int
	var rejected []rejection
	partial := 0
	for index, submission := range submissions {
		if !submission.Finished {
			partial++ // it comes again when it is finished
			continue
		}
		found, refusals := in.answers(submission, tool, source)
		for _, refusal := range refusals {
			refusal.Index, refusal.ID = index, shorten(submission.ID, MaxID)
			rejected = append(rejected, refusal)
		}
		for _, response := range found {
			responses, indexes = append(responses, response), append(indexes, index)
		}
	}
	if len(responses) > 0 {
		receipt, refusal := in.submit(responses, indexes)
		if refusal == nil {
			receipt.Rejected = rejected
		}
		return receipt, refusal
	}
	// Survey tools switch a webhook off that is refused too often. What cannot be
	// counted however often it comes is therefore acknowledged, and told in the answer
	// and in the series of what was rejected.
	receipt := &receipt{Rejected: rejected}
	if partial > 0 {
		receipt.Ignored = "not finished: it counts once the survey tool says that it is"
	}
	return receipt, nil
}

// answers finds the responses in a submission: every instrument of every touchpoint
// that maps a question which was answered.
func (in *Intake) answers(submission webhook.Submission, tool string, source *sources.Source) (found []ledger.Response, refusals []rejection) {
	if !validID(submission.ID) {
		return nil, []rejection{*reject(ReasonInvalidID, "the submission's id must be 1 to %d printable characters", MaxID)}
	}
	owners := map[v1alpha1.QuestionID][]string{} // touchpoints by question
	for _, touchpoint := range in.askedBy(submission, source) {
		survey := touchpoint.Spec.Survey
		for i := range survey.Instruments {
			instrument := &survey.Instruments[i]
			question, answer, answered := answerTo(submission, instrument.Questions)
			if !answered {
				continue
			}
			owners[question] = append(owners[question], touchpoint.Name)
			response, refusal := in.answered(submission, touchpoint, instrument.Type, question, answer)
			if refusal != nil {
				refusals = append(refusals, *refusal)
				continue
			}
			response.ID = fmt.Sprintf("%s:%s#%s/%s", tool, submission.ID, touchpoint.Name, response.Instrument)
			found = append(found, response)
		}
	}
	for _, question := range slices.Sorted(maps.Keys(owners)) {
		if names := owners[question]; len(names) > 1 {
			slices.Sort(names)
			return nil, []rejection{*reject(ReasonAmbiguous,
				"question %q is mapped by several touchpoints (%s): bound the source to one of them, or send a hidden field %q with the name of one",
				shorten(string(question), 60), shorten(strings.Join(names, ", "), 200), touchpointField)}
		}
	}
	if found == nil && refusals == nil {
		refusals = []rejection{*reject(ReasonUnmapped,
			"no touchpoint that the source is for maps any of the questions that were answered (%s): name one under spec.survey.instruments[].questions of a Touchpoint",
			shorten(strings.Join(slices.Sorted(maps.Keys(submission.Answers)), ", "), 300))}
	}
	return found, refusals
}

// askedBy returns the touchpoints with a survey that a submission may be of.
func (in *Intake) askedBy(submission webhook.Submission, source *sources.Source) (asked []*v1alpha1.Touchpoint) {
	named := submission.Answers[touchpointField]
	if only := source.Touchpoint(); only != "" {
		named = only
	}
	if named != "" {
		if touchpoint, exists := in.Touchpoint(source.Namespace, named); exists && touchpoint.Spec.Survey != nil && source.Serves(touchpoint.Namespace, named) {
			return []*v1alpha1.Touchpoint{touchpoint}
		}
		return nil
	}
	for touchpoint := range in.Touchpoints() {
		if touchpoint.Spec.Survey != nil && source.Serves(touchpoint.Namespace, touchpoint.Name) {
			asked = append(asked, touchpoint)
		}
	}
	slices.SortFunc(asked, func(a, b *v1alpha1.Touchpoint) int { return strings.Compare(a.Name, b.Name) })
	return asked
}

// answerTo returns the first of some questions that was answered.
func answerTo(submission webhook.Submission, questions []v1alpha1.QuestionID) (v1alpha1.QuestionID, string, bool) {
	for _, question := range questions {
		if answer, answered := submission.Answers[string(question)]; answered {
			return question, answer, true
		}
	}
	return "", "", false
}

// answered makes a response of an answer.
func (in *Intake) answered(submission webhook.Submission, touchpoint *v1alpha1.Touchpoint, instrument v1alpha1.InstrumentType,
	question v1alpha1.QuestionID, answer string) (ledger.Response, *rejection) {
	now := in.now()
	out := ledger.Response{Submission: submission.ID, Received: now.Truncate(time.Millisecond)}
	out.Question = ledger.Question{Namespace: touchpoint.Namespace, Touchpoint: touchpoint.Name, Instrument: ledger.Label(instrument)}
	score, err := strconv.Atoi(answer)
	if err != nil {
		return out, reject(ReasonScoreOffScale, "the answer to question %q is no whole number: map a rating, scale or number to %s, not a text",
			shorten(string(question), 60), out.Instrument)
	}
	if refusal := checkScore(score, &out); refusal != nil {
		refusal.Detail = fmt.Sprintf("the answer to question %q: %s", shorten(string(question), 60), refusal.Detail)
		return out, refusal
	}
	survey := touchpoint.Spec.Survey
	if mapped := survey.Fields; mapped != nil {
		if _, comment, written := answerTo(submission, mapped.Comment); written {
			// The score is worth more than the end of a long comment.
			if runes := []rune(comment); len(runes) > MaxComment {
				comment = string(runes[:MaxComment])
			}
			if refusal := checkComment(&comment, survey, &out); refusal != nil {
				return out, refusal
			}
		}
		out.Segment = segmentOf(survey, submission.Answers[string(mapped.Segment)])
		if subject := submission.Answers[string(mapped.Subject)]; subject != "" && mapped.Subject != "" {
			out.Subject = ledger.SubjectHash(subject)
		}
	}
	// A clock that is ahead must not lose an answer; its word is only not taken.
	if at := submission.Time; !at.IsZero() && at.Sub(now) <= MaxSkew {
		out.Answered = at.UTC().Truncate(time.Millisecond)
	}
	return out, nil
}
