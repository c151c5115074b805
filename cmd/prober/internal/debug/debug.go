// Package debug serves a page for each touchpoint that shows its last visits, to those
// who may see them.
package debug

import (
	"context"
	_ "embed"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/internal/signin"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
)

// Options shapes the page.
type Options struct {
	// Reviewer asks the API server who somebody is, and whether they may.
	Reviewer *signin.Reviewer
	// Runs returns the last runs of a touchpoint, the latest first, whether this prober
	// makes them, and whether the touchpoint is known here.
	Runs func(touchpoint types.NamespacedName) (runs []probe.Result, probing, known bool)
	// DisplayName returns what people call a touchpoint, if that is more than its name.
	DisplayName func(ctx context.Context, touchpoint types.NamespacedName) string
	Location    string
	Log         *slog.Logger
}

// Handler serves GET /touchpoints/{namespace}/{name} to those who may get the
// subresource touchpoints/runs there, as a page or as JSON.
func Handler(options Options) http.Handler {
	p := &pages{options}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /touchpoints/{namespace}/{name}", p.serve)
	return mux
}

type pages struct{ Options }

func (p *pages) serve(w http.ResponseWriter, r *http.Request) {
	touchpoint := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if status, problem := p.admit(r, touchpoint); problem != "" {
		if status == http.StatusUnauthorized {
			signin.Challenge(w)
		}
		http.Error(w, problem, status)
		return
	}
	runs, probing, known := p.Runs(touchpoint)
	if !known {
		http.Error(w, "this prober does not know the touchpoint; it may be probed at another location, or not at all", http.StatusNotFound)
		return
	}
	now := time.Now().UTC()
	shown := page{
		Touchpoint: touchpoint.String(), DisplayName: p.DisplayName(r.Context(), touchpoint), Location: p.Location,
		Now: now, Probing: probing, Runs: tell(runs, now),
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := form.Execute(w, shown); err != nil {
			p.Log.Error("cannot write the page", "error", err)
		}
		return
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.Encode(shown)
}

// admit asks the API server; it returns a status and a sentence for those who may
// not.
func (p *pages) admit(r *http.Request, touchpoint types.NamespacedName) (int, string) {
	user, err := p.Reviewer.Who(r.Context(), signin.TokenOf(r))
	if err != nil {
		return p.refuse(err)
	}
	allowed, err := p.Reviewer.May(r.Context(), user, authorizationv1.ResourceAttributes{
		Verb: "get", Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: "touchpoints", Subresource: "runs",
		Namespace: touchpoint.Namespace, Name: touchpoint.Name,
	})
	if err != nil {
		return p.refuse(err)
	}
	if !allowed {
		return http.StatusForbidden, "you may not get touchpoints/runs of " + touchpoint.String()
	}
	return 0, ""
}

// refuse tells why somebody is not admitted. What the API server says is for the log.
func (p *pages) refuse(err error) (int, string) {
	status := signin.Status(err)
	if status == http.StatusServiceUnavailable {
		p.Log.Error("cannot review a request", "error", err)
		return status, "the API server cannot be asked who you are and what you may do"
	}
	return status, err.Error()
}

// page is what is shown.
type page struct {
	Touchpoint  string    `json:"touchpoint"`
	DisplayName string    `json:"displayName,omitempty"`
	Location    string    `json:"location"`
	Now         time.Time `json:"now"`
	// Probing is false where another prober of the location makes the visits.
	Probing bool  `json:"probing"`
	Runs    []run `json:"runs"`
}

type run struct {
	Start      time.Time `json:"start"`
	Ago        string    `json:"-"`
	Outcome    string    `json:"outcome"`
	Reason     string    `json:"reason,omitempty"`
	FailedStep string    `json:"failedStep,omitempty"`
	Detail     string    `json:"detail,omitempty"`
	Duration   string    `json:"duration"`
	Steps      []step    `json:"steps,omitempty"`
	// Open says that the page shows the steps at once.
	Open bool `json:"-"`
}

type step struct {
	Name              string            `json:"name"`
	Made              bool              `json:"made"`
	Reason            string            `json:"reason,omitempty"`
	Detail            string            `json:"detail,omitempty"`
	Status            int               `json:"status,omitempty"`
	Duration          string            `json:"duration,omitempty"`
	Phases            map[string]string `json:"phases,omitempty"`
	Parts             []part            `json:"-"` // the phases in their order
	CertificateExpiry *time.Time        `json:"certificateExpiry,omitempty"`
}

// part is a phase, and its share of the step.
type part struct {
	Name, Took string
	Percent    float64
}

// tell writes runs for people. What they hold is redacted already.
func tell(results []probe.Result, now time.Time) []run {
	runs := make([]run, 0, len(results))
	told := map[probe.Outcome]bool{}
	for i, result := range results {
		shown := run{
			Start: result.Start.UTC(), Ago: now.Sub(result.Start).Round(time.Second).String(), Outcome: string(result.Outcome),
			Reason: string(result.Reason), FailedStep: result.FailedStep, Detail: result.Detail, Duration: written(result.Duration),
			// The latest one, and the latest that was no success.
			Open: i == 0 || result.Outcome != probe.OutcomeSuccess && !told[probe.OutcomeFailure] && !told[probe.OutcomeError],
		}
		told[result.Outcome] = true
		for _, made := range result.Steps {
			shown.Steps = append(shown.Steps, tellStep(made))
		}
		runs = append(runs, shown)
	}
	return runs
}

func tellStep(made probe.StepResult) step {
	s := step{Name: made.Name, Made: made.Made, Reason: string(made.Reason), Detail: made.Detail, Status: made.Status}
	if made.Made {
		s.Duration = written(made.Duration)
	}
	for phase, took := range made.Phases {
		if took <= 0 {
			continue
		}
		if s.Phases == nil {
			s.Phases = map[string]string{}
		}
		name := probe.PhaseNames[phase]
		s.Phases[name] = written(took)
		s.Parts = append(s.Parts, part{name, written(took), 100 * took.Seconds() / max(made.Duration, took).Seconds()})
	}
	if !made.CertificateExpiry.IsZero() {
		end := made.CertificateExpiry.UTC()
		s.CertificateExpiry = &end
	}
	return s
}

// written is a duration with three digits, which is as much as it means.
func written(d time.Duration) string {
	precision := time.Microsecond
	for limit := time.Millisecond; d >= limit && limit <= time.Second; limit *= 10 {
		precision = limit / 100
	}
	return d.Round(precision).String()
}

//go:embed page.html
var pageText string

var form = template.Must(template.New("page").Parse(pageText))
