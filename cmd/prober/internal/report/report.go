// Package report writes into the status of a Touchpoint what its visits come to, when
// that changes and only then.
package report

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	ac "github.com/sojourn-dev/sojourn/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
)

// Limits of what one prober writes: an outage of everything at once must not become
// one of the API server.
const (
	writesPerSecond = 10
	writesAtOnce    = 50
	requestTimeout  = 10 * time.Second
	// Troubles with the API server are tried again between these.
	retrySoonest, retryLatest = time.Second, time.Minute
)

// Options shapes a Reporter.
type Options struct {
	Location string
	// Told returns what the status of a touchpoint says of this location, as far as
	// is known.
	Told func(ctx context.Context, key types.NamespacedName) (v1alpha1.LocationStatus, bool)
	Log  *slog.Logger
}

// Reporter writes statuses, one at a time.
type Reporter struct {
	Options
	status client.SubResourceWriter
	queue  workqueue.TypedRateLimitingInterface[types.NamespacedName]
	pace   *rate.Limiter

	mu    sync.Mutex
	known map[types.NamespacedName]*entry
}

// entry is what is known of one touchpoint.
type entry struct {
	latest v1alpha1.LocationStatus
	// written is what the status says by our own hand; nil: we have not looked. The
	// cache may be behind it.
	written *v1alpha1.LocationStatus
}

// New returns a Reporter; it does not ask the API server anything yet.
func New(config *rest.Config, options Options) (*Reporter, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("Touchpoint"), meta.RESTScopeNamespace)
	config = rest.CopyConfig(config)
	config.QPS = -1 // the pace is ours
	config.Timeout = requestTimeout
	writer, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, err
	}
	return &Reporter{
		Options: options,
		status:  writer.Status(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](retrySoonest, retryLatest)),
		pace:  rate.NewLimiter(writesPerSecond, writesAtOnce),
		known: map[types.NamespacedName]*entry{},
	}, nil
}

// Report takes note of what a visit came to. It returns at once.
func (r *Reporter) Report(key types.NamespacedName, result probe.Result) {
	now := v1alpha1.LocationStatus{
		Location: v1alpha1.Name(r.Location), Outcome: outcomes[result.Outcome],
		Reason: reasons[result.Reason], FailedStep: v1alpha1.Name(result.FailedStep),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.known[key]
	if e == nil {
		e = &entry{}
		r.known[key] = e
	}
	if same(e.latest, now) {
		return
	}
	// The API server keeps whole seconds.
	now.Since = metav1.Now().Rfc3339Copy()
	e.latest = now
	r.queue.Add(key)
}

// Forget drops what is known of a touchpoint that is not this prober's any more.
func (r *Reporter) Forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, key)
}

func same(a, b v1alpha1.LocationStatus) bool {
	return a.Outcome == b.Outcome && a.Reason == b.Reason && a.FailedStep == b.FailedStep
}

// Run writes until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, r.queue.ShutDown)()
	for {
		key, shutdown := r.queue.Get()
		if shutdown || ctx.Err() != nil {
			return nil
		}
		r.write(ctx, key)
		r.queue.Done(key)
	}
}

func (r *Reporter) write(ctx context.Context, key types.NamespacedName) {
	r.mu.Lock()
	e := r.known[key]
	if e == nil {
		r.mu.Unlock()
		r.queue.Forget(key)
		return
	}
	wanted, written := e.latest, e.written
	r.mu.Unlock()
	if written == nil {
		// After a restart or a handover the status may well say it already, and since
		// when.
		if told, has := r.Told(ctx, key); has {
			written = &told
		}
	}
	var err error
	if written == nil || !same(*written, wanted) {
		if r.pace.Wait(ctx) != nil {
			return
		}
		err = r.apply(ctx, key, wanted)
	}
	written = &wanted
	if err != nil && !apierrors.IsNotFound(err) {
		// Perhaps it was written all the same.
		written = &v1alpha1.LocationStatus{}
		if ctx.Err() == nil {
			r.Log.Warn("cannot write what visits come to into the status; trying again", "touchpoint", key, "error", err)
			r.queue.AddRateLimited(key)
		}
	} else {
		r.queue.Forget(key)
	}
	r.mu.Lock()
	e.written = written
	r.mu.Unlock()
}

func (r *Reporter) apply(ctx context.Context, key types.NamespacedName, status v1alpha1.LocationStatus) error {
	entry := ac.LocationStatus().WithLocation(status.Location).WithOutcome(status.Outcome).WithSince(status.Since)
	if status.Reason != "" {
		entry.WithReason(status.Reason)
	}
	if status.FailedStep != "" {
		entry.WithFailedStep(status.FailedStep)
	}
	touchpoint := ac.Touchpoint(key.Name, key.Namespace).WithStatus(ac.TouchpointStatus().WithProbes(entry))
	owner := client.FieldOwner(v1alpha1.ProbeFieldOwner(status.Location))
	if err := r.status.Apply(ctx, touchpoint, owner, client.ForceOwnership); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return nil
}

var outcomes = map[probe.Outcome]v1alpha1.ProbeOutcome{
	probe.OutcomeSuccess: v1alpha1.ProbeSuccess,
	probe.OutcomeFailure: v1alpha1.ProbeFailure,
	probe.OutcomeError:   v1alpha1.ProbeError,
}

// reasons are what the API calls them.
var reasons = map[probe.Reason]string{
	probe.ReasonDNS: "DNS", probe.ReasonConnect: "Connect", probe.ReasonTLS: "TLS", probe.ReasonTimeout: "Timeout",
	probe.ReasonStatus: "Status", probe.ReasonAssertion: "Assertion", probe.ReasonBody: "Body", probe.ReasonRedirect: "Redirect",
	probe.ReasonDenied: "Denied", probe.ReasonConfig: "Config", probe.ReasonOverload: "Overload",
}
