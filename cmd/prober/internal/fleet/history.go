package fleet

import (
	"math"
	"time"

	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
)

// runsKept is how many runs of a touchpoint are remembered.
const runsKept = 10

// history is the last runs of a touchpoint. Ten of each of ten thousand touchpoints
// would be a fifth of a prober's memory as probe.Results: they are kept in half of it.
type history struct {
	runs []past // a ring, once it is full
	next int    // where the next one goes
}

type past struct {
	start   int64 // nanoseconds since 1970
	steps   []pastStep
	trouble *trouble // nil: it succeeded
	took    micros
}

type pastStep struct {
	name    string
	expiry  int64 // seconds since 1970; 0: there was no certificate
	trouble *trouble
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
	run := past{start: result.Start.UnixNano(), took: short(result.Duration)}
	if result.Outcome != probe.OutcomeSuccess {
		run.trouble = &trouble{result.Outcome, result.Reason, result.Detail, result.FailedStep}
	}
	if len(result.Steps) > 0 {
		run.steps = make([]pastStep, len(result.Steps))
	}
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
		run.steps[i] = to
	}
	if len(h.runs) < runsKept {
		h.runs = append(h.runs, run)
		return
	}
	h.runs[h.next] = run
	h.next = (h.next + 1) % runsKept
}

// latest tells what the last run came to; empty if there was none.
func (h *history) latest() (probe.Outcome, probe.Reason) {
	if len(h.runs) == 0 {
		return "", ""
	}
	last := h.runs[(h.next+len(h.runs)-1)%len(h.runs)]
	if last.trouble != nil {
		return last.trouble.outcome, last.trouble.reason
	}
	return probe.OutcomeSuccess, ""
}

// results are the runs, the latest first.
func (h *history) results() []probe.Result {
	results := make([]probe.Result, 0, len(h.runs))
	for i := range h.runs {
		results = append(results, h.runs[(h.next+len(h.runs)-1-i)%len(h.runs)].result())
	}
	return results
}

func (p *past) result() probe.Result {
	result := probe.Result{Outcome: probe.OutcomeSuccess, Start: time.Unix(0, p.start), Duration: p.took.long()}
	if t := p.trouble; t != nil {
		result.Outcome, result.Reason, result.Detail, result.FailedStep = t.outcome, t.reason, t.detail, t.failedStep
	}
	for _, from := range p.steps {
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
