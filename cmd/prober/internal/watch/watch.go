// Package watch tells which touchpoints are to be probed, from what the API server
// holds. While that cannot be reached, everything stays as it was last seen.
package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/fleet"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/series"
	"github.com/sojourn-dev/sojourn/controllers/flows"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// settle is how long the events of a namespace are gathered before it is looked at
// as a whole. An edit must take effect within a second, and ten thousand edits
// must not cost ten thousand looks.
const settle = 200 * time.Millisecond

// complainEvery is how often an unchanged trouble with the API server is logged.
const complainEvery = time.Minute

// patience is how long the first look waits for Secrets and ConfigMaps. Whoever has
// listed a namespace without the right to read there holds up nobody else.
const patience = 5 * time.Second

// Options shapes a Watcher.
type Options struct {
	// Namespaces to watch; none means all.
	Namespaces []string
	// Location is where this prober stands: touchpoints that do not name it are
	// others' to probe.
	Location string
	// ValuesNamespaces are those in which probes may take values from Secrets and
	// ConfigMaps.
	ValuesNamespaces []string
	// Apply is told, one namespace after the other, which of its touchpoints are to
	// be probed.
	Apply func(namespace string, wanted map[string]fleet.Wanted)
	Log   *slog.Logger
}

// Watcher watches the kinds of Sojourn. It only reads.
type Watcher struct {
	options Options
	cache   cache.Cache
	queue   workqueue.TypedDelayingInterface[string]
	synced  []toolscache.InformerSynced
	// valuesSynced is of Secrets and ConfigMaps.
	valuesSynced []toolscache.InformerSynced

	mu          sync.Mutex
	unreachable error // while requests get no answer at all
	trouble     error // the last answer that stopped an informer
	complained  time.Time
}

// New prepares a Watcher; it does not ask the API server anything yet.
func New(config *rest.Config, options Options) (*Watcher, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	w := &Watcher{options: options, queue: workqueue.NewTypedDelayingQueue[string]()}
	cacheOptions := cache.Options{
		Scheme:                   scheme,
		Mapper:                   mapper(),
		DefaultTransform:         w.strip,
		DefaultWatchErrorHandler: w.complain,
	}
	if len(options.Namespaces) > 0 {
		cacheOptions.DefaultNamespaces = map[string]cache.Config{}
		for _, namespace := range options.Namespaces {
			cacheOptions.DefaultNamespaces[namespace] = cache.Config{}
		}
	}
	if len(options.ValuesNamespaces) > 0 {
		only := cache.ByObject{
			Label:      labels.SelectorFromSet(labels.Set{flows.ProbeLabel: "true"}),
			Namespaces: map[string]cache.Config{},
		}
		for _, namespace := range options.ValuesNamespaces {
			only.Namespaces[namespace] = cache.Config{}
		}
		cacheOptions.ByObject = map[client.Object]cache.ByObject{&corev1.Secret{}: only, &corev1.ConfigMap{}: only}
	}
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &listener{next: next, heard: w.heard} })
	var err error
	if w.cache, err = cache.New(config, cacheOptions); err != nil {
		return nil, err
	}
	return w, nil
}

// mapper knows our kinds by heart: asking the API server for them would make it
// needed for starting.
func mapper() meta.RESTMapper {
	version := v1alpha1.GroupVersion
	m := meta.NewDefaultRESTMapper(nil)
	m.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
	m.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	for kind, names := range map[string][2]string{
		"Touchpoint":    {"touchpoints", "touchpoint"},
		"ExperienceSLO": {"experienceslos", "experienceslo"},
		"Journey":       {"journeys", "journey"},
	} {
		// A cache of several namespaces asks about the list, too.
		for _, kind := range []string{kind, kind + "List"} {
			m.AddSpecific(version.WithKind(kind), version.WithResource(names[0]), version.WithResource(names[1]), meta.RESTScopeNamespace)
		}
	}
	return m
}

// strip keeps out of memory what a prober never reads. The documentation of a
// touchpoint is many times larger than its probe.
func (w *Watcher) strip(object any) (any, error) {
	object, err := cache.TransformStripManagedFields()(object)
	if accessor, isObject := object.(client.Object); isObject {
		accessor.SetAnnotations(nil)
	}
	switch object := object.(type) {
	case *corev1.Secret:
		object.Labels = nil
	case *corev1.ConfigMap:
		object.Labels, object.BinaryData = nil, nil
	case *v1alpha1.Touchpoint:
		// What probers of this location told before tells what is news.
		told := slices.DeleteFunc(object.Status.Probes, func(s v1alpha1.LocationStatus) bool { return string(s.Location) != w.options.Location })
		object.Status = v1alpha1.TouchpointStatus{Probes: slices.Clone(told)}
		object.Spec.Map, object.Spec.Management, object.Spec.Blueprint = nil, nil, nil
	case *v1alpha1.ExperienceSLO:
		object.Status = v1alpha1.ExperienceSLOStatus{}
	case *v1alpha1.Journey:
		object.Status = v1alpha1.JourneyStatus{}
	}
	return object, err
}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.queue.ShutDown()
	for _, kind := range []client.Object{&v1alpha1.Touchpoint{}, &v1alpha1.ExperienceSLO{}, &v1alpha1.Journey{}} {
		if err := w.listen(ctx, kind, &w.synced, matters); err != nil {
			return err
		}
	}
	if len(w.options.ValuesNamespaces) > 0 {
		for _, kind := range []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}} {
			always := func(_, _ client.Object) bool { return true }
			if err := w.listen(ctx, kind, &w.valuesSynced, always); err != nil {
				return err
			}
		}
	}
	var applying sync.WaitGroup
	defer applying.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	applying.Go(func() { w.apply(ctx) })
	return w.cache.Start(ctx)
}

// listen has the namespace of every object of a kind looked at when it changes.
func (w *Watcher) listen(ctx context.Context, kind client.Object, synced *[]toolscache.InformerSynced, matters func(before, after client.Object) bool) error {
	informer, err := w.cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: w.enqueue,
		UpdateFunc: func(before, after any) {
			if matters(before.(client.Object), after.(client.Object)) {
				w.enqueue(after)
			}
		},
		DeleteFunc: w.enqueue,
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	*synced = append(*synced, registration.HasSynced)
	return nil
}

// apply looks at namespaces, one at a time, until ctx ends.
func (w *Watcher) apply(ctx context.Context) {
	// A touchpoint whose promises are not known yet would get a histogram without
	// their edges, and lose it a moment later.
	if !toolscache.WaitForCacheSync(ctx.Done(), w.synced...) {
		return
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	toolscache.WaitForCacheSync(patient.Done(), w.valuesSynced...)
	cancel()
	w.options.Log.Info("read everything from the API server")
	context.AfterFunc(ctx, w.queue.ShutDown)
	for w.applyNext(ctx) {
	}
}

// Ready returns nil once everything has been read from the API server, and before
// that what is missing and why.
func (w *Watcher) Ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	missing := len(w.synced) == 0
	for _, synced := range w.synced {
		missing = missing || !synced()
	}
	switch {
	case !missing:
		return nil
	case w.unreachable != nil:
		return fmt.Errorf("the API server cannot be reached: %w", w.unreachable)
	case w.trouble != nil:
		return fmt.Errorf("not everything could be read from the API server: %w", w.trouble)
	}
	return errors.New("not everything has been read from the API server yet")
}

// matters says whether an update can change what is probed. The status that the
// manager writes cannot.
func matters(before, after client.Object) bool {
	return before.GetGeneration() != after.GetGeneration() || before.GetUID() != after.GetUID() ||
		!maps.Equal(before.GetLabels(), after.GetLabels())
}

func (w *Watcher) enqueue(object any) {
	if name, err := toolscache.DeletionHandlingObjectToName(object); err == nil {
		w.queue.AddAfter(name.Namespace, settle)
	}
}

func (w *Watcher) applyNext(ctx context.Context) bool {
	namespace, shutdown := w.queue.Get()
	if shutdown {
		return false
	}
	defer w.queue.Done(namespace)
	wanted, err := w.wanted(ctx, namespace)
	if err != nil {
		// Only a cache that has not started fails to list.
		if ctx.Err() == nil {
			w.options.Log.Error("cannot read the cache", "namespace", namespace, "error", err)
			w.queue.AddAfter(namespace, time.Second)
		}
		return true
	}
	w.options.Apply(namespace, wanted)
	return true
}

// wanted returns the touchpoints of a namespace that are to be probed.
func (w *Watcher) wanted(ctx context.Context, namespace string) (map[string]fleet.Wanted, error) {
	var touchpoints v1alpha1.TouchpointList
	var slos v1alpha1.ExperienceSLOList
	var journeys v1alpha1.JourneyList
	for _, list := range []client.ObjectList{&touchpoints, &slos, &journeys} {
		if err := w.cache.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
	}
	wanted := choose(w.options.Location, touchpoints.Items, slos.Items, journeys.Items)
	for name, want := range wanted {
		if references := flows.References(want.Probe); len(references) > 0 {
			want.Values = w.values(ctx, namespace, references)
			wanted[name] = want
		}
	}
	return wanted, nil
}

// values reads the keys of Secrets and ConfigMaps that are there.
func (w *Watcher) values(ctx context.Context, namespace string, references []flows.Reference) probe.Values {
	values := probe.Values{}
	if !slices.Contains(w.options.ValuesNamespaces, namespace) {
		return values
	}
	for _, reference := range references {
		key := client.ObjectKey{Namespace: namespace, Name: reference.Name}
		if reference.Secret {
			var secret corev1.Secret
			if err := w.cache.Get(ctx, key, &secret, client.UnsafeDisableDeepCopy); err != nil {
				continue
			}
			if value, has := secret.Data[reference.Key]; has {
				values[reference] = string(value)
			}
			continue
		}
		var configMap corev1.ConfigMap
		if err := w.cache.Get(ctx, key, &configMap, client.UnsafeDisableDeepCopy); err != nil {
			continue
		}
		if value, has := configMap.Data[reference.Key]; has {
			values[reference] = value
		}
	}
	return values
}

// Told returns what the status of a touchpoint says of this location.
func (w *Watcher) Told(ctx context.Context, key types.NamespacedName) (v1alpha1.LocationStatus, bool) {
	var touchpoint v1alpha1.Touchpoint
	if err := w.cache.Get(ctx, key, &touchpoint, client.UnsafeDisableDeepCopy); err != nil || len(touchpoint.Status.Probes) == 0 {
		return v1alpha1.LocationStatus{}, false
	}
	return touchpoint.Status.Probes[0], true
}

// DisplayName returns what people call a touchpoint, if that is more than its name.
func (w *Watcher) DisplayName(ctx context.Context, key types.NamespacedName) string {
	var touchpoint v1alpha1.Touchpoint
	if err := w.cache.Get(ctx, key, &touchpoint, client.UnsafeDisableDeepCopy); err != nil {
		return ""
	}
	return touchpoint.Spec.DisplayName
}

// choose finds the touchpoints to probe at a location among the objects of one namespace, and
// what is promised for each. The objects belong to the cache: they, and the parts
// of them that it returns, must not be changed.
func choose(location string, touchpoints []v1alpha1.Touchpoint, slos []v1alpha1.ExperienceSLO, journeys []v1alpha1.Journey) map[string]fleet.Wanted {
	within := targets.Namespace{
		Touchpoints: make(map[string]*v1alpha1.Touchpoint, len(touchpoints)),
		Journeys:    make(map[string]*v1alpha1.Journey, len(journeys)),
	}
	for i := range touchpoints {
		within.Touchpoints[touchpoints[i].Name] = &touchpoints[i]
	}
	for i := range journeys {
		within.Journeys[journeys[i].Name] = &journeys[i]
	}
	thresholds := map[string][]float64{}
	for i := range slos {
		promised := latencies(&slos[i])
		if len(promised) == 0 {
			continue
		}
		for _, name := range targets.Resolve(&slos[i], within).Touchpoints {
			thresholds[name] = append(thresholds[name], promised...)
		}
	}
	wanted := map[string]fleet.Wanted{}
	for name, touchpoint := range within.Touchpoints {
		if slices.Contains(targets.Locations(touchpoint), v1alpha1.Name(location)) {
			wanted[name] = fleet.Wanted{UID: touchpoint.UID, Probe: touchpoint.Spec.Probe, Thresholds: thresholds[name]}
		}
	}
	return wanted
}

// latencies returns the latency thresholds of an ExperienceSLO in seconds.
func latencies(slo *v1alpha1.ExperienceSLO) []float64 {
	var thresholds []float64
	for _, promised := range targets.LatencyPromises(slo) {
		thresholds = append(thresholds, series.Seconds(promised))
	}
	return thresholds
}

// complain is told of the answers that stop an informer. It tries again by itself,
// more and more slowly, up to every thirty seconds.
func (w *Watcher) complain(_ context.Context, _ *toolscache.Reflector, err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return // Watches end this way all the time.
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	repeated := w.trouble != nil && w.trouble.Error() == err.Error() && time.Since(w.complained) < complainEvery
	w.trouble = err
	if !repeated && w.unreachable == nil {
		w.complained = time.Now()
		w.options.Log.Warn("cannot watch; probing goes on with what is known", "error", err)
	}
}

// heard is told whether a request was answered.
func (w *Watcher) heard(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.unreachable
	w.unreachable = err
	switch {
	case err != nil && was == nil:
		w.options.Log.Warn("the API server cannot be reached; probing goes on with what is known", "error", err)
	case err == nil && was != nil:
		w.options.Log.Info("the API server answers again")
	}
}

// listener tells whether requests are answered. The informers themselves keep a
// refused connection secret and merely try again.
type listener struct {
	next  http.RoundTripper
	heard func(error)
}

// RoundTrip passes a request on.
func (l *listener) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := l.next.RoundTrip(request)
	if request.Context().Err() == nil {
		l.heard(err)
	}
	return response, err
}
