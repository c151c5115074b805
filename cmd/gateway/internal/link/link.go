// Package link is the gateway's own survey: one page with one question for each
// Touchpoint that asks for it. It sets no cookie, loads nothing and runs no script.
package link

import (
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/intake"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// channel is what the records of answers say of how they came.
const channel = "Link"

// Pages serves the survey pages.
type Pages struct {
	// Ready returns why Touchpoints are not known yet, nil once they are.
	Ready func() error
	// Touchpoint looks a Touchpoint up; the result is read only.
	Touchpoint func(namespace, name string) (*v1alpha1.Touchpoint, bool)
	// Submit stores responses, see ledger.Ledger.
	Submit func([]ledger.Response) ([]ledger.Outcome, error)
	// Reject counts an answer that was refused.
	Reject func(intake.Reason)
	// Limits bound how often customers answer.
	Limits *Limits
	// Now is the clock.
	Now func() time.Time
	// Log receives failures that are not the customer's.
	Log *slog.Logger
}

// survey is a page that is asked for.
type survey struct {
	touchpoint *v1alpha1.Touchpoint
	instrument v1alpha1.InstrumentType
	language   v1alpha1.Language
	words
}

// Handler serves /s/{namespace}/{touchpoint} and what follows it.
func (p *Pages) Handler() http.Handler {
	paths := http.NewServeMux()
	paths.HandleFunc("GET /s/{namespace}/{touchpoint}", p.with(p.ask))
	paths.HandleFunc("POST /s/{namespace}/{touchpoint}", p.with(p.answer))
	paths.HandleFunc("GET /s/{namespace}/{touchpoint}/thanks", p.with(func(w http.ResponseWriter, _ *http.Request, s *survey) {
		s.write(w, http.StatusOK, map[string]any{"Title": s.thanks, "Message": s.thanks, "Done": true})
	}))
	// What is no page's path at all is answered like a page that is not there.
	paths.HandleFunc("GET /s/", p.with(nil))
	return paths
}

// with finds the survey of a path.
func (p *Pages) with(serve func(http.ResponseWriter, *http.Request, *survey)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		unknown := &survey{language: v1alpha1.LanguageEnglish, words: common[v1alpha1.LanguageEnglish]}
		if strings.HasPrefix(r.Header.Get("Accept-Language"), "zh") {
			unknown = &survey{language: v1alpha1.LanguageChinese, words: common[v1alpha1.LanguageChinese]}
		}
		if p.Ready() != nil {
			w.Header().Set("Retry-After", "2")
			unknown.say(w, http.StatusServiceUnavailable, unknown.failed)
			return
		}
		touchpoint, exists := p.Touchpoint(r.PathValue("namespace"), r.PathValue("touchpoint"))
		if !exists || touchpoint.Spec.Survey == nil || touchpoint.Spec.Survey.Link == nil {
			unknown.say(w, http.StatusNotFound, unknown.closed)
			return
		}
		link := touchpoint.Spec.Survey.Link
		s := &survey{touchpoint: touchpoint, instrument: link.Instrument}
		if s.instrument == "" {
			s.instrument = touchpoint.Spec.Survey.Instruments[0].Type
		}
		s.language, s.words = wordsFor(link, s.instrument)
		serve(w, r, s)
	}
}

// ask is GET: the page, with an id that makes the answer count once however often it is
// sent.
func (p *Pages) ask(w http.ResponseWriter, _ *http.Request, s *survey) {
	s.form(w, http.StatusOK, form{id: rand.Text()})
}

// maxForm is the largest body in bytes: a comment with every character escaped.
const maxForm = 64 << 10

// answer is POST: one answer.
func (p *Pages) answer(w http.ResponseWriter, r *http.Request, s *survey) {
	question := ledger.Question{Namespace: s.touchpoint.Namespace, Touchpoint: s.touchpoint.Name, Instrument: ledger.Label(s.instrument)}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		status, reason := http.StatusBadRequest, intake.ReasonMalformed
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status, reason = http.StatusRequestEntityTooLarge, intake.ReasonTooLarge
		}
		p.Reject(reason)
		s.say(w, status, s.failed)
		return
	}
	in := form{id: r.PostForm.Get("id"), score: r.PostForm.Get("score"), comment: clean(r.PostForm.Get("comment"))}
	if !validID(in.id) {
		in.id = rand.Text()
	}
	if !p.Limits.Allow(r, question.Namespace+"/"+question.Touchpoint) {
		p.Reject(intake.ReasonRateLimited)
		w.Header().Set("Retry-After", "60")
		in.wrong = s.busy // with everything that was written, to be sent again
		s.form(w, http.StatusTooManyRequests, in)
		return
	}
	scale, _ := ledger.ScaleOf(question.Instrument)
	score, err := strconv.Atoi(in.score)
	if err != nil || score < scale.Low || score > scale.High {
		p.Reject(intake.ReasonScoreOffScale)
		in.wrong = s.choose
		s.form(w, http.StatusUnprocessableEntity, in)
		return
	}
	response := ledger.Response{
		Series: ledger.Series{Question: question, Score: score},
		ID:     fmt.Sprintf("link:%s#%s/%s", in.id, question.Touchpoint, question.Instrument), Submission: in.id,
		Channel: channel, Received: p.Now().Truncate(time.Millisecond),
	}
	if s.touchpoint.Spec.Survey.Comments != v1alpha1.CommentsDiscard {
		response.Comment = in.comment
	}
	if _, err := p.Submit([]ledger.Response{response}); err != nil {
		p.Log.Error("an answer could not be stored", "error", err)
		p.Reject(intake.ReasonStoreUnavailable)
		w.Header().Set("Retry-After", "2")
		in.wrong = s.failed
		s.form(w, http.StatusServiceUnavailable, in)
		return
	}
	// Elsewhere, so that to load the page again does not send the answer again.
	http.Redirect(w, r, r.URL.Path+"/thanks", http.StatusSeeOther)
}

// form is what a customer filled in so far.
type form struct{ id, score, comment, wrong string }

func validID(id string) bool {
	return len(id) >= 16 && len(id) <= 64 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// clean takes out what the customer did not mean.
func clean(comment string) string {
	comment = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, strings.TrimSpace(comment))
	if runes := []rune(comment); len(runes) > intake.MaxComment {
		comment = string(runes[:intake.MaxComment])
	}
	return comment
}

// scoreShown is one choice.
type scoreShown struct {
	Value  int
	Spoken string
	Chosen bool
}

// form shows the question.
func (s *survey) form(w http.ResponseWriter, status int, in form) {
	scale, _ := ledger.ScaleOf(ledger.Label(s.instrument))
	var scores []scoreShown
	for value := scale.Low; value <= scale.High; value++ {
		shown := scoreShown{Value: value, Spoken: strconv.Itoa(value), Chosen: in.score == strconv.Itoa(value)}
		// Who does not see both ends of the scale hears what they mean.
		switch value {
		case scale.Low:
			shown.Spoken += " – " + s.lowest
		case scale.High:
			shown.Spoken += " – " + s.highest
		}
		scores = append(scores, shown)
	}
	comment := s.comment
	if s.touchpoint.Spec.Survey.Comments == v1alpha1.CommentsDiscard {
		comment = ""
	}
	s.write(w, status, map[string]any{
		"Title": s.question, "Question": s.question, "Lowest": s.lowest, "Highest": s.highest, "First": scale.Low, "Last": scale.High,
		"Scores": scores, "Comment": comment, "MaxComment": intake.MaxComment, "Written": in.comment, "Send": s.send,
		"ID": in.id, "Wrong": in.wrong, "Action": "/s/" + s.touchpoint.Namespace + "/" + s.touchpoint.Name,
	})
}

// say shows one sentence that explains why there is no form.
func (s *survey) say(w http.ResponseWriter, status int, message string) {
	s.write(w, status, map[string]any{"Title": message, "Message": message})
}

func (s *survey) write(w http.ResponseWriter, status int, shown map[string]any) {
	nonce := rand.Text()
	shown["Nonce"], shown["Lang"] = nonce, map[v1alpha1.Language]string{v1alpha1.LanguageEnglish: "en", v1alpha1.LanguageChinese: "zh-CN"}[s.language]
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Language", shown["Lang"].(string))
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+nonce+"'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = page.Execute(w, shown) // the customer has left; there is nobody to tell
}
