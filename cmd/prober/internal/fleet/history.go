package fleet

import (
	"math"
	"time"

	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
)

// runsKept is how many runs of a touchpoint are remembered.
const runsKept = 10

// history is the last runs of a touchpoint. Ten of each of ten thousand touchpoints
// would be a third of a prober's memory as probe.Results.
type history struct {
	runs  []past     // a ring, once it is full
	next  int        // where the next one goes
	steps []pastStep // of all runs, width for each
	width int
}

type past struct {
	start   int64    // nanoseconds since 1970
	trouble *trouble // nil: it succeeded
	took    micros
	steps   int32
}

type pastStep struct {
	name    string
	trouble *trouble
	expiry  int64 // seconds since 1970; 0: there was no certificate
	took    micros
	phases  [len(probe.PhaseNames)]micros
	status  int16
	made    bool
}

// trouble is what only those have that did not succeed.
type trouble struct {
	outcome    probe.Outcome
	reason     probe.Reason
	detail     string
	failedStep string
}

// micros are microseconds, up to an hour.
type micros uint32

func short(d time.Duration) micros {
	return micros(min(max(0, d.Round(time.Microsecond).Microseconds()), math.MaxUint32))
}

func (m micros) long() time.Duration { return time.Duration(m) * time.Microsecond }

func (h *history) add(result probe.Result) {
	if h.runs == nil {
		// All touchpoints come to so many.
		h.runs = make([]past, 0, runsKept)
	}
	at := len(h.runs)
	if at < runsKept {
		h.runs = h.runs[:at+1]
	} else {
		at, h.next = h.next, (h.next+1)%runsKept
	}
	run := past{start: result.Start.UnixNano(), took: short(result.Duration), steps: int32(len(result.Steps))}
	if result.Outcome != probe.OutcomeSuccess {
		run.trouble = &trouble{result.Outcome, result.Reason, result.Detail, result.FailedStep}
	}
	h.runs[at] = run
	h.widen(len(result.Steps))
	steps := h.stepsOf(at)
	for i := range result.Steps {
		from := &result.Steps[i]
		to := pastStep{name: from.Name, took: short(from.Duration), status: int16(min(from.Status, math.MaxInt16)), made: from.Made}
		if from.Reason != "" || from.Detail != "" {
			to.trouble = &trouble{reason: from.Reason, detail: from.Detail}
		}
		for phase, took := range from.Phases {
			to.phases[phase] = short(took)
		}
		if !from.CertificateExpiry.IsZero() {
			to.expiry = from.CertificateExpiry.Unix()
		}
		steps[i] = to
	}
}

// widen makes room for so many steps of each run.
func (h *history) widen(width int) {
	if width <= h.width {
		return
	}
	steps := make([]pastStep, runsKept*width)
	for i := range runsKept {
		copy(steps[i*width:], h.steps[i*h.width:][:h.width])
	}
	h.steps, h.width = steps, width
}

func (h *history) stepsOf(run int) []pastStep {
	return h.steps[run*h.width:][:h.runs[run].steps]
}

// latest tells what the last run came to; empty if there was none.
func (h *history) latest() (outcome probe.Outcome, reason probe.Reason, failedStep string) {
	if len(h.runs) == 0 {
		return "", "", ""
	}
	last := h.runs[(h.next+len(h.runs)-1)%len(h.runs)]
	if last.trouble != nil {
		return last.trouble.outcome, last.trouble.reason, last.trouble.failedStep
	}
	return probe.OutcomeSuccess, "", ""
}

// results are the runs, the latest first.
func (h *history) results() []probe.Result {
	results := make([]probe.Result, 0, len(h.runs))
	for i := range h.runs {
		results = append(results, h.result((h.next+len(h.runs)-1-i)%len(h.runs)))
	}
	return results
}

func (h *history) result(at int) probe.Result {
	p := &h.runs[at]
	result := probe.Result{Outcome: probe.OutcomeSuccess, Start: time.Unix(0, p.start), Duration: p.took.long()}
	if t := p.trouble; t != nil {
		result.Outcome, result.Reason, result.Detail, result.FailedStep = t.outcome, t.reason, t.detail, t.failedStep
	}
	for _, from := range h.stepsOf(at) {
		to := probe.StepResult{Name: from.name, Made: from.made, Status: int(from.status), Duration: from.took.long()}
		if from.trouble != nil {
			to.Reason, to.Detail = from.trouble.reason, from.trouble.detail
		}
		for phase, took := range from.phases {
			to.Phases[phase] = took.long()
		}
		if from.expiry != 0 {
			to.CertificateExpiry = time.Unix(from.expiry, 0)
		}
		result.Steps = append(result.Steps, to)
	}
	return result
}
