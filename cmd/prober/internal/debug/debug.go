// Package debug serves a page for each touchpoint that shows its last visits, to those
// who may see them.
package debug

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorization "k8s.io/client-go/kubernetes/typed/authorization/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
)

// reviewsPerSecond bounds what strangers can make us ask the API server.
const reviewsPerSecond = 5

// Options shapes the page.
type Options struct {
	// Tokens and Access ask the API server who somebody is, and whether they may. They
	// are not a whole kubernetes.Interface: its clients of every kind there is would make
	// the program a fifth larger.
	Tokens authentication.TokenReviewInterface
	Access authorization.SubjectAccessReviewInterface
	// Runs returns the last runs of a touchpoint, the latest first, and whether it is
	// known here.
	Runs     func(touchpoint types.NamespacedName) ([]probe.Result, bool)
	Location string
	Log      *slog.Logger
}

// Handler serves GET /touchpoints/{namespace}/{name} to those who may get the
// subresource touchpoints/runs there, as a page or as JSON.
func Handler(options Options) http.Handler {
	p := &pages{Options: options, pace: rate.NewLimiter(reviewsPerSecond, 2*reviewsPerSecond)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /touchpoints/{namespace}/{name}", p.serve)
	return mux
}

type pages struct {
	Options
	pace *rate.Limiter
}

func (p *pages) serve(w http.ResponseWriter, r *http.Request) {
	touchpoint := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if status, problem := p.admit(r, touchpoint); problem != "" {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		http.Error(w, problem, status)
		return
	}
	runs, known := p.Runs(touchpoint)
	if !known {
		http.Error(w, "this prober does not know the touchpoint; it may be probed at another location, or not at all", http.StatusNotFound)
		return
	}
	shown := page{Touchpoint: touchpoint.String(), Location: p.Location, Runs: tell(runs)}
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
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return http.StatusUnauthorized, "send a bearer token of Kubernetes, such as that of kubectl create token"
	}
	if !p.pace.Allow() {
		return http.StatusTooManyRequests, "too many requests; try again in a second"
	}
	review, err := p.Tokens.Create(r.Context(), &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: strings.TrimSpace(token)},
	}, metav1.CreateOptions{})
	if err != nil {
		p.Log.Error("cannot review a token", "error", err)
		return http.StatusServiceUnavailable, "the API server cannot be asked who you are"
	}
	if !review.Status.Authenticated {
		return http.StatusUnauthorized, "the API server does not know this token"
	}
	user := review.Status.User
	extra := map[string]authorizationv1.ExtraValue{}
	for name, values := range user.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	access, err := p.Access.Create(r.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: "get", Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: "touchpoints", Subresource: "runs",
				Namespace: touchpoint.Namespace, Name: touchpoint.Name,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		p.Log.Error("cannot review an access", "error", err)
		return http.StatusServiceUnavailable, "the API server cannot be asked what you may do"
	}
	if !access.Status.Allowed {
		return http.StatusForbidden, "you may not get touchpoints/runs of " + touchpoint.String()
	}
	return 0, ""
}

// page is what is shown.
type page struct {
	Touchpoint string `json:"touchpoint"`
	Location   string `json:"location"`
	Runs       []run  `json:"runs"`
}

type run struct {
	Start    time.Time `json:"start"`
	Outcome  string    `json:"outcome"`
	Reason   string    `json:"reason,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	Duration string    `json:"duration"`
	Steps    []step    `json:"steps,omitempty"`
}

type step struct {
	Name              string            `json:"name"`
	Made              bool              `json:"made"`
	Reason            string            `json:"reason,omitempty"`
	Detail            string            `json:"detail,omitempty"`
	Status            int               `json:"status,omitempty"`
	Duration          string            `json:"duration,omitempty"`
	Phases            map[string]string `json:"phases,omitempty"`
	CertificateExpiry *time.Time        `json:"certificateExpiry,omitempty"`
}

// tell writes runs for people. What they hold is redacted already.
func tell(results []probe.Result) []run {
	runs := make([]run, 0, len(results))
	for _, result := range results {
		shown := run{
			Start: result.Start.UTC(), Outcome: string(result.Outcome), Reason: string(result.Reason),
			Detail: result.Detail, Duration: written(result.Duration),
		}
		for _, made := range result.Steps {
			s := step{Name: made.Name, Made: made.Made, Reason: string(made.Reason), Detail: made.Detail, Status: made.Status}
			if made.Made {
				s.Duration = written(made.Duration)
			}
			for phase, took := range made.Phases {
				if took > 0 {
					if s.Phases == nil {
						s.Phases = map[string]string{}
					}
					s.Phases[probe.PhaseNames[phase]] = written(took)
				}
			}
			if !made.CertificateExpiry.IsZero() {
				end := made.CertificateExpiry.UTC()
				s.CertificateExpiry = &end
			}
			shown.Steps = append(shown.Steps, s)
		}
		runs = append(runs, shown)
	}
	return runs
}

func written(d time.Duration) string { return d.Round(time.Microsecond).String() }

//go:embed page.html
var pageText string

var form = template.Must(template.New("page").Parse(pageText))
