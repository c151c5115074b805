// Package observe tells the manager what Prometheus shows: it asks at an interval, keeps
// the last answer, and wakes those whose answer changed.
//
// It reads series that Sojourn's own rules record, and nothing else: users' PromQL is
// evaluated by Prometheus as rules, never with the manager's rights. However many objects
// there are, a round is the same few questions.
package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	promclient "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

var (
	failuresTotal = promclient.NewCounterVec(promclient.CounterOpts{
		Name: "sojourn_observe_failures_total",
		Help: "Rounds of questions to Prometheus that failed, by reason.",
	}, []string{"reason"})
	lastSuccess = promclient.NewGauge(promclient.GaugeOpts{
		Name: "sojourn_observe_last_success_timestamp_seconds",
		Help: "When Prometheus last answered all questions.",
	})
	roundSeconds = promclient.NewGauge(promclient.GaugeOpts{
		Name: "sojourn_observe_round_duration_seconds",
		Help: "How long the last round of questions took, whether or not it failed.",
	})
	budgetsByState = promclient.NewGaugeVec(promclient.GaugeOpts{
		Name: "sojourn_observed_budgets",
		Help: "Budgets that Prometheus shows, by state.",
	}, []string{"state"})
)

// slowRounds is how many rounds there are to one in which is also asked for what changes
// slowly.
const slowRounds = 10

// novelty is how long a budget is new. By then all that is recorded of it was recorded
// twice.
const novelty = 10 * time.Minute

// Observer asks Prometheus. To one that is nil nothing is ever complained of.
type Observer struct {
	options    Options
	prometheus *prometheus
	log        logr.Logger
	now        func() time.Time

	// failing is the reason of the last failure, empty after a success; failures counts
	// those in a row.
	failing  string
	failures int
	// doubtful is until when silence says nothing.
	doubtful time.Time
	// rounds counts those that succeeded.
	rounds int
	// begun is when the first round was made.
	begun time.Time
	// fresh are the budgets that were not there in a round before, and since when they are.
	fresh map[budgetKey]time.Time
	// woken are the figures by which somebody was woken last.
	woken wokenBy

	mu sync.Mutex
	// complaints is nil until Prometheus has answered.
	complaints map[types.NamespacedName][]rules.Complaint
	shown      figures
	health     Health

	subscribers [topics][]chan event.GenericEvent
}

// Health tells whether Prometheus answers.
type Health struct {
	// Asked is false if there is none to ask, and the rest means nothing.
	Asked bool
	// Known is false until it has answered, or failed to for long enough to say so.
	Known bool
	// Reason is why it does not answer, one word such as unreachable; empty: it does.
	Reason string
	// Since is when it answered last, if it does not; zero if it never did.
	Since time.Time
}

// New makes an Observer to be started by a manager; nil if the options name no
// Prometheus.
func New(options Options, log logr.Logger) (*Observer, error) {
	if options.URL == "" {
		return nil, nil
	}
	asked, err := newPrometheus(options)
	if err != nil {
		return nil, err
	}
	// A process can make several, one after another.
	for _, collector := range []promclient.Collector{failuresTotal, lastSuccess, roundSeconds, budgetsByState} {
		var already promclient.AlreadyRegisteredError
		if err := metrics.Registry.Register(collector); err != nil && !errors.As(err, &already) {
			return nil, err
		}
	}
	for _, reason := range reasons {
		failuresTotal.WithLabelValues(reason)
	}
	options.Standing = cmp.Or(options.Standing, rules.DiagnosisInterval+time.Minute)
	options.Patience = cmp.Or(options.Patience, 2*time.Minute)
	o := &Observer{
		options: options, prometheus: asked, log: log.WithName("observe"), now: time.Now, woken: newWokenBy(), shown: newFigures(),
		health: Health{Asked: true},
	}
	return o, nil
}

// Health tells whether Prometheus answers.
func (o *Observer) Health() Health {
	if o == nil {
		return Health{}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.health
}

// Retry is when to look again for what is not known yet.
func (o *Observer) Retry() time.Duration { return o.options.interval(0) }

// NeedLeaderElection says that whoever waits to lead asks nothing.
func (*Observer) NeedLeaderElection() bool { return true }

// Start asks until the context ends.
func (o *Observer) Start(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	started := o.now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		begin := time.Now()
		err := o.round(ctx)
		roundSeconds.Set(time.Since(begin).Seconds())
		if ctx.Err() == nil {
			o.judge(err)
			if o.tell(started) {
				// Whoever waits for it would not ask meanwhile.
				go o.wakeAll(ctx)
			}
			if err == nil {
				o.wakeMoved(ctx)
			}
		}
		timer.Reset(o.options.interval(o.failures))
	}
}

// round asks everything once. What is learnt is taken only if all of it is there.
func (o *Observer) round(ctx context.Context) error {
	found := newFigures()
	complaints, err := o.prometheus.vector(ctx, o.question(rules.Complaints))
	if err != nil {
		return err
	}
	ask := func(questions []question, to *figures) error {
		for _, question := range questions {
			answer, err := o.prometheus.vector(ctx, question.expr)
			if err != nil {
				return err
			}
			question.read(to, answer)
		}
		return nil
	}
	if err := ask(o.questions(), &found); err != nil {
		return err
	}
	o.takeFresh(found)
	if unjudged := o.unjudged(found); len(unjudged.byKey) > 0 {
		if err := ask(o.newQuestions(unjudged.namespaces()), &unjudged); err != nil {
			return err
		}
	}
	if o.rounds%slowRounds == 0 || !o.shown.knowsExperienceOf(o.fresh) {
		if err := ask(o.slowQuestions(), &found); err != nil {
			return err
		}
	} else {
		found.keepSlow(o.shown)
	}
	o.takeComplaints(ctx, complaintsIn(complaints))
	o.takeFigures(found)
	o.rounds++
	return nil
}

// takeFresh notes which budgets were not there before, and forgets those that no longer are
// new. Of those that this process met when it began to ask, nobody knows.
func (o *Observer) takeFresh(found figures) {
	now := o.now()
	if o.rounds == 0 {
		o.begun, o.fresh = now, map[budgetKey]time.Time{}
		return
	}
	for key, since := range o.fresh {
		if found.byKey[key] == nil || now.Sub(since) >= novelty {
			delete(o.fresh, key)
		}
	}
	for key := range found.byKey {
		if o.shown.byKey[key] == nil {
			o.fresh[key] = now
		}
	}
}

// unjudged are the budgets that may be new and of which it is not known how they stand.
func (o *Observer) unjudged(found figures) figures {
	unjudged := newFigures()
	justBegun := o.now().Sub(o.begun) < novelty
	for key, b := range found.byKey {
		if _, fresh := o.fresh[key]; (fresh || justBegun) && math.IsNaN(b.Loss) {
			unjudged.byKey[key] = b
		}
	}
	return unjudged
}

// question asks for what a series was when it was last written. A range is read because
// the series is written as seldom as Prometheus looks back for a single sample.
func (o *Observer) question(series string) string {
	return fmt.Sprintf("last_over_time(%s[%dms])", o.selector(series), o.options.Standing.Milliseconds())
}

// selector selects a series of the namespaces that are asked of.
func (o *Observer) selector(series string, matchers ...string) string {
	if len(o.options.Namespaces) > 0 {
		matchers = append(matchers, fmt.Sprintf("namespace=~%q", oneOf(o.options.Namespaces)))
	}
	return series + "{" + strings.Join(matchers, ",") + "}"
}

// oneOf is a regular expression for these names.
func oneOf(names []string) string {
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, regexp.QuoteMeta(name))
	}
	return strings.Join(quoted, "|")
}

// doubts tells whether silence says nothing: a Prometheus that was away has missed
// evaluations.
func (o *Observer) doubts() bool { return o.failures > 0 || o.now().Before(o.doubtful) }

// judge keeps account of how it goes, and says so when that changes.
func (o *Observer) judge(err error) {
	if err == nil {
		lastSuccess.Set(float64(o.now().UnixMilli()) / 1000)
		if o.failing != "" {
			o.log.Info("Prometheus answers again", "failures", o.failures)
		}
		if o.failures > 0 {
			o.doubtful = o.now().Add(o.options.Standing)
		}
		o.failing, o.failures = "", 0
		return
	}
	reason := reasonNonsense
	var failed failure
	if errors.As(err, &failed) {
		reason = failed.reason
	}
	failuresTotal.WithLabelValues(reason).Inc()
	o.failures++
	if o.failing != reason {
		o.failing = reason
		o.log.Error(err, "Prometheus does not answer; what it said last stands", "reason", reason)
	}
}

// tell finds out whether everybody is to know that Prometheus does not answer, for longer
// than patience, or that it does again. In between its first reason stands: objects are not
// written anew for another.
func (o *Observer) tell(started time.Time) (news bool) {
	now := o.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.health
	switch {
	case o.failing == "":
		o.health = Health{Asked: true, Known: true, Since: now}
	case before.Reason != "":
	case before.Known && now.Sub(before.Since) >= o.options.Patience, !before.Known && now.Sub(started) >= o.options.Patience:
		o.health.Known, o.health.Reason = true, o.failing
	}
	return o.health.Reason != before.Reason || o.health.Known != before.Known
}

// countStates shows how budgets stand.
func countStates(found figures) {
	counts := map[budget.State]int{}
	for _, budgets := range found.bySLO {
		for _, b := range budgets {
			counts[b.State()]++
		}
	}
	for _, state := range budget.States {
		budgetsByState.WithLabelValues(string(state)).Set(float64(counts[state]))
	}
}

// label is a label of a sample.
func label(sample *model.Sample, name model.LabelName) string { return string(sample.Metric[name]) }
