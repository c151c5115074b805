package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/observe"
	"github.com/sojourn-dev/sojourn/controllers/publish"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// statusMemory remembers the statuses that were written until the cache shows them.
// Rule objects are written just before the status, and their event often starts the
// next reconciliation before the status has come back: without this it would be
// taken for missing, and written a second time.
type statusMemory[S any] struct {
	mu      sync.Mutex
	written map[client.ObjectKey]writtenStatus[S]
}

type writtenStatus[S any] struct {
	uid             types.UID
	resourceVersion string
	status          S
}

// latest returns the newer of the status in the cache and the one written last.
func (m *statusMemory[S]) latest(object client.Object, cached S) S {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := client.ObjectKeyFromObject(object)
	written, has := m.written[key]
	if !has || written.uid != object.GetUID() {
		return cached
	}
	order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), written.resourceVersion)
	if err == nil && order < 0 {
		return written.status
	}
	delete(m.written, key)
	return cached
}

func (m *statusMemory[S]) remember(object client.Object, resourceVersion *string, status S) {
	if resourceVersion == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.written == nil {
		m.written = map[client.ObjectKey]writtenStatus[S]{}
	}
	m.written[client.ObjectKeyFromObject(object)] = writtenStatus[S]{object.GetUID(), *resourceVersion, status}
}

func (m *statusMemory[S]) forget(key client.ObjectKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.written, key)
}

// into turns a status into its apply configuration. The two have the same JSON.
func into[Configuration any](status any) (*Configuration, error) {
	text, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	configuration := new(Configuration)
	return configuration, json.Unmarshal(text, configuration)
}

// owned picks the conditions that this package decides about.
func owned(conditions []metav1.Condition) []metav1.Condition {
	var ours []metav1.Condition
	for _, name := range ownedConditions {
		if condition := meta.FindStatusCondition(conditions, name); condition != nil {
			ours = append(ours, *condition)
		}
	}
	return ours
}

// published judges the outcome of writing rule objects. A refusal that trying again
// cannot change is a problem that only an edit mends; any other is a problem, and
// the error to try again by.
func published(err error, advice string) ([]rules.Problem, error) {
	if err == nil {
		return nil, nil
	}
	// Somebody was faster. The event of that brings us back with what is there now,
	// and the error does if it does not.
	if apierrors.IsConflict(err) {
		return nil, err
	}
	var tooLarge *publish.TooLargeError
	if errors.As(err, &tooLarge) {
		return []rules.Problem{{
			Field: "spec", Reason: v1alpha1.ReasonWriteFailed, Stalled: true,
			Message: tooLarge.Error() + ": " + advice,
		}}, nil
	}
	return []rules.Problem{{
		Reason:  v1alpha1.ReasonWriteFailed,
		Message: "the API server did not take the generated rules: " + oneLine(err),
	}}, err
}

// oneLine writes several failures as one sentence, and the same one once.
func oneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// announce tells of a change of Ready. That a new object becomes Ready is no news.
func announce(recorder events.EventRecorder, object client.Object, before, after []metav1.Condition) {
	previous := meta.FindStatusCondition(before, v1alpha1.ConditionReady)
	ready := meta.FindStatusCondition(after, v1alpha1.ConditionReady)
	wasNew := previous == nil || previous.Status == metav1.ConditionUnknown
	switch {
	case previous != nil && previous.Status == ready.Status, wasNew && ready.Status == metav1.ConditionTrue:
	case ready.Status == metav1.ConditionTrue:
		recorder.Eventf(object, nil, corev1.EventTypeNormal, ready.Reason, "Reconcile", "%s", ready.Message)
	default:
		recorder.Eventf(object, nil, corev1.EventTypeWarning, ready.Reason, "Reconcile", "%s", ready.Message)
	}
}

// announceCustomers tells of a change of the condition that speaks of customers, with the
// numbers that made it. What a new object begins with is no news, unless it is bad.
func announceCustomers(recorder events.EventRecorder, object client.Object, condition string, before, after []metav1.Condition, numbers func() string) {
	now := meta.FindStatusCondition(after, condition)
	if now == nil {
		return
	}
	was := meta.FindStatusCondition(before, condition)
	if was != nil && was.Status == now.Status && was.Reason == now.Reason || was == nil && now.Status != metav1.ConditionFalse {
		return
	}
	kind := corev1.EventTypeNormal
	if now.Status == metav1.ConditionFalse || now.Reason == v1alpha1.ReasonAtRisk || now.Reason == v1alpha1.ReasonNoData {
		kind = corev1.EventTypeWarning
	}
	note := now.Message
	if told := numbers(); told != "" {
		note += " (" + told + ")"
	}
	recorder.Eventf(object, nil, kind, now.Reason, "Observe", "%s", shorten(note))
}

// momentOf is when, and from what, the status of an object is worked out.
func momentOf(observed *observe.Observer, object client.Object, now time.Time) observe.Moment {
	return observe.Moment{Health: observed.Health(), Generation: object.GetGeneration(), Now: metav1.NewTime(now)}
}

// sourceOf is an object as what rule objects come from.
func sourceOf(kind string, key client.ObjectKey) publish.Source {
	return publish.Source{Kind: kind, Namespace: key.Namespace, Name: key.Name}
}

// load reads an object from the cache without copying it. What it returns is shared:
// nothing may write to it. It returns nil if there is no such object.
func load[T any, P interface {
	*T
	client.Object
}](ctx context.Context, reader client.Reader, key client.ObjectKey) (P, error) {
	object := P(new(T))
	err := reader.Get(ctx, key, object, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return object, err
}
