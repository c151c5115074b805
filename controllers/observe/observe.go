// Package observe tells the manager what Prometheus shows: it asks at an interval, keeps
// the last answer, and wakes those whose answer changed.
//
// It reads series that Sojourn's own rules record, and nothing else: users' PromQL is
// evaluated by Prometheus as rules, never with the manager's rights.
package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	promclient "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
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
)

// Observer asks Prometheus. To one that is nil nothing is ever complained of.
type Observer struct {
	options    Options
	prometheus *prometheus
	log        logr.Logger
	now        func() time.Time

	// metricsChanged and edgesChanged get the Touchpoints of which the complaints
	// changed.
	metricsChanged, edgesChanged chan event.GenericEvent

	// failing is the reason of the last failure, empty after a success; failures counts
	// those in a row.
	failing  string
	failures int
	// doubtful is until when silence says nothing.
	doubtful time.Time

	mu sync.Mutex
	// complaints is nil until Prometheus has answered.
	complaints map[types.NamespacedName][]rules.Complaint
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
	for _, collector := range []promclient.Collector{failuresTotal, lastSuccess} {
		var already promclient.AlreadyRegisteredError
		if err := metrics.Registry.Register(collector); err != nil && !errors.As(err, &already) {
			return nil, err
		}
	}
	for _, reason := range reasons {
		failuresTotal.WithLabelValues(reason)
	}
	options.Standing = cmp.Or(options.Standing, rules.DiagnosisInterval+time.Minute)
	return &Observer{
		options: options, prometheus: asked, log: log.WithName("observe"), now: time.Now,
		metricsChanged: make(chan event.GenericEvent), edgesChanged: make(chan event.GenericEvent),
	}, nil
}

// Complaints returns what is complained of a Touchpoint. Until Prometheus has answered
// for the first time nothing is known.
func (o *Observer) Complaints(touchpoint types.NamespacedName) (complaints []rules.Complaint, known bool) {
	if o == nil {
		return nil, true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.complaints[touchpoint], o.complaints != nil
}

// MetricsChanged gets the name of each Touchpoint of whose metrics something else is
// complained now.
func (o *Observer) MetricsChanged() <-chan event.GenericEvent { return o.metricsChanged }

// EdgesChanged gets the name of each Touchpoint the edges of whose histogram are
// complained of anew, otherwise, or no more.
func (o *Observer) EdgesChanged() <-chan event.GenericEvent { return o.edgesChanged }

// Retry is when to look again for what is not known yet.
func (o *Observer) Retry() time.Duration { return o.options.interval(0) }

// NeedLeaderElection says that whoever waits to lead asks nothing.
func (*Observer) NeedLeaderElection() bool { return true }

// Start asks until the context ends.
func (o *Observer) Start(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := o.round(ctx); ctx.Err() == nil {
			o.judge(err)
		}
		timer.Reset(o.options.interval(o.failures))
	}
}

// round asks everything once.
func (o *Observer) round(ctx context.Context) error {
	answer, err := o.prometheus.vector(ctx, o.question(rules.Complaints))
	if err != nil {
		return err
	}
	o.take(ctx, complaintsIn(answer))
	return nil
}

// question asks for what a series was when it was last written. A range is read because
// the series is written as seldom as Prometheus looks back for a single sample.
func (o *Observer) question(series string) string {
	matchers := ""
	if len(o.options.Namespaces) > 0 {
		var names []string
		for _, name := range o.options.Namespaces {
			names = append(names, regexp.QuoteMeta(name))
		}
		matchers = fmt.Sprintf("{namespace=~%q}", strings.Join(names, "|"))
	}
	return fmt.Sprintf("last_over_time(%s%s[%dms])", series, matchers, o.options.Standing.Milliseconds())
}

// judge keeps account of how it goes, and says so when that changes.
func (o *Observer) judge(err error) {
	if err == nil {
		lastSuccess.Set(float64(o.now().UnixMilli()) / 1000)
		if o.failing != "" {
			o.log.Info("Prometheus answers again", "failures", o.failures)
		}
		if o.failures > 0 {
			// A Prometheus that was away has missed evaluations.
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

// complaintsIn reads an answer. What lacks a label is none of ours.
func complaintsIn(answer model.Vector) map[types.NamespacedName][]rules.Complaint {
	found := map[types.NamespacedName][]rules.Complaint{}
	for _, sample := range answer {
		label := func(name model.LabelName) string { return string(sample.Metric[name]) }
		touchpoint := types.NamespacedName{Namespace: label("namespace"), Name: label("touchpoint")}
		made := rules.Complaint{Kind: label("complaint"), Field: label("field"), Query: label("query")}
		if touchpoint.Namespace == "" || touchpoint.Name == "" || made.Kind == "" || made.Field == "" || made.Query == "" {
			continue
		}
		same := slices.IndexFunc(found[touchpoint], func(c rules.Complaint) bool {
			return c.Kind == made.Kind && c.Field == made.Field && c.Query == made.Query
		})
		if same < 0 {
			same = len(found[touchpoint])
			found[touchpoint] = append(found[touchpoint], made)
		}
		if edge, err := strconv.ParseFloat(label("le"), 64); err == nil && !math.IsInf(edge, 0) && !math.IsNaN(edge) {
			complaint := &found[touchpoint][same]
			complaint.Edges = append(complaint.Edges, edge)
		}
	}
	for _, complaints := range found {
		for i := range complaints {
			slices.Sort(complaints[i].Edges)
			complaints[i].Edges = slices.Compact(complaints[i].Edges)
		}
		slices.SortFunc(complaints, func(a, b rules.Complaint) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Query, b.Query))
		})
	}
	return found
}

// take keeps what was found, and wakes those for whom it is news.
func (o *Observer) take(ctx context.Context, found map[types.NamespacedName][]rules.Complaint) {
	o.mu.Lock()
	before := o.complaints
	if o.failures > 0 || o.now().Before(o.doubtful) {
		for touchpoint, complaints := range before {
			if _, has := found[touchpoint]; !has {
				found[touchpoint] = complaints
			}
		}
	}
	o.complaints = found
	o.mu.Unlock()

	concerned := maps.Clone(before)
	if concerned == nil {
		concerned = map[types.NamespacedName][]rules.Complaint{}
	}
	maps.Copy(concerned, found)
	for touchpoint := range concerned {
		wasEdges, wasMetrics := parted(before[touchpoint])
		edges, metrics := parted(found[touchpoint])
		if !slices.EqualFunc(wasEdges, edges, same) {
			wake(ctx, o.edgesChanged, touchpoint)
		}
		if !slices.EqualFunc(wasMetrics, metrics, same) {
			wake(ctx, o.metricsChanged, touchpoint)
		}
	}
}

// parted parts complaints about edges, which concern ExperienceSLOs, from those that
// concern the Touchpoint itself.
func parted(complaints []rules.Complaint) (edges, metrics []rules.Complaint) {
	for _, complaint := range complaints {
		if complaint.Kind == rules.ComplaintEdge {
			edges = append(edges, complaint)
		} else {
			metrics = append(metrics, complaint)
		}
	}
	return edges, metrics
}

func same(a, b rules.Complaint) bool {
	return a.Kind == b.Kind && a.Field == b.Field && a.Query == b.Query && slices.Equal(a.Edges, b.Edges)
}

func wake(ctx context.Context, whom chan<- event.GenericEvent, touchpoint types.NamespacedName) {
	object := &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: touchpoint.Namespace, Name: touchpoint.Name}}
	select {
	case whom <- event.GenericEvent{Object: object}:
	case <-ctx.Done():
	}
}
