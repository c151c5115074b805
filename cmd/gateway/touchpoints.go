package main

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// touchpoints knows the Touchpoints of the cluster, as far as the gateway watches
// them: name, namespace and survey, nothing else is kept.
type touchpoints struct {
	*watch

	lock   sync.RWMutex
	byName map[types.NamespacedName]*v1alpha1.Touchpoint
}

// watch is a watch of one kind of objects.
type watch struct {
	kind     string // in plural
	cache    cache.Cache
	informed toolscache.ResourceEventHandlerRegistration
	log      *slog.Logger
	// trouble is why the last attempt to read objects failed.
	trouble atomic.Pointer[error]
}

// watchTouchpoints prepares a watch of the Touchpoints of some namespaces, of all
// where none is named. It reaches for the API server only in Start, and then
// keeps trying.
func watchTouchpoints(ctx context.Context, config *rest.Config, namespaces []string, log *slog.Logger) (*touchpoints, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	t := &touchpoints{byName: map[types.NamespacedName]*v1alpha1.Touchpoint{}}
	of := cache.ByObject{Transform: keepSurvey, Namespaces: inNamespaces(namespaces)}
	var err error
	t.watch, err = newWatch(ctx, config, scheme, v1alpha1.GroupVersion.WithKind("Touchpoint"), &v1alpha1.Touchpoint{}, of, log, toolscache.ResourceEventHandlerFuncs{
		AddFunc:    t.set,
		UpdateFunc: func(_, object any) { t.set(object) },
		DeleteFunc: t.remove,
	})
	return t, err
}

func inNamespaces(namespaces []string) map[string]cache.Config {
	if len(namespaces) == 0 {
		return nil
	}
	in := map[string]cache.Config{}
	for _, namespace := range namespaces {
		in[namespace] = cache.Config{}
	}
	return in
}

// newWatch prepares a watch of one kind. It reaches for the API server only in Start,
// and then keeps trying.
func newWatch(ctx context.Context, config *rest.Config, scheme *runtime.Scheme, kind schema.GroupVersionKind, object client.Object,
	of cache.ByObject, log *slog.Logger, handler toolscache.ResourceEventHandler) (*watch, error) {
	// The mapping is known; asking the API server for it would make the gateway's
	// start depend on the API server's.
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(kind, meta.RESTScopeNamespace)
	w := &watch{kind: kind.Kind + "s", log: log}
	options := cache.Options{
		Scheme:   scheme,
		Mapper:   mapper,
		ByObject: map[client.Object]cache.ByObject{object: of},
		DefaultWatchErrorHandler: func(ctx context.Context, r *toolscache.Reflector, err error) {
			w.note(err)
			toolscache.DefaultWatchErrorHandler(ctx, r, err)
		},
	}
	// The watch retries a refused connection in silence; whoever asks why the gateway
	// is not ready should hear of it.
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err != nil && request.Context().Err() == nil {
				w.note(err)
			}
			return response, err
		})
	})
	var err error
	if w.cache, err = cache.New(config, options); err != nil {
		return nil, fmt.Errorf("preparing the watch of %s: %w", w.kind, err)
	}
	informer, err := w.cache.GetInformer(ctx, object, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("preparing the watch of %s: %w", w.kind, err)
	}
	w.informed, err = informer.AddEventHandler(handler)
	return w, err
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// note remembers why objects cannot be read, and logs it unless it is what was logged
// last.
func (w *watch) note(err error) {
	if before := w.trouble.Swap(&err); before == nil || (*before).Error() != err.Error() {
		w.log.Warn(w.kind+" cannot be read; trying again", "error", err)
	}
}

// Start watches until ctx ends.
func (w *watch) Start(ctx context.Context) error { return w.cache.Start(ctx) }

// Ready returns nil once all objects were read, and otherwise what keeps them from
// it. It stays nil when the API server goes away later: what was read is better than
// nothing, and most likely still true.
func (w *watch) Ready() error {
	if w.informed.HasSynced() {
		return nil
	}
	if trouble := w.trouble.Load(); trouble != nil {
		if apierrors.IsNotFound(*trouble) {
			return fmt.Errorf("the API server knows no %s, install Sojourn's CRDs: %w", w.kind, *trouble)
		}
		return fmt.Errorf("the API server does not hand out %s: %w", w.kind, *trouble)
	}
	return fmt.Errorf("the %s are still being read from the API server", w.kind)
}

// Get returns a Touchpoint; it is read only.
func (t *touchpoints) Get(namespace, name string) (*v1alpha1.Touchpoint, bool) {
	t.lock.RLock()
	defer t.lock.RUnlock()
	touchpoint, exists := t.byName[types.NamespacedName{Namespace: namespace, Name: name}]
	return touchpoint, exists
}

// All returns every Touchpoint as of now; they are read only.
func (t *touchpoints) All() iter.Seq[*v1alpha1.Touchpoint] {
	t.lock.RLock()
	defer t.lock.RUnlock()
	all := make([]*v1alpha1.Touchpoint, 0, len(t.byName))
	for _, touchpoint := range t.byName {
		all = append(all, touchpoint)
	}
	return slices.Values(all)
}

func (t *touchpoints) set(object any) {
	touchpoint := object.(*v1alpha1.Touchpoint)
	t.lock.Lock()
	defer t.lock.Unlock()
	t.byName[client.ObjectKeyFromObject(touchpoint)] = touchpoint
}

func (t *touchpoints) remove(object any) {
	// After a broken watch only the key of what vanished meanwhile may be known.
	key, err := toolscache.DeletionHandlingMetaNamespaceKeyFunc(object)
	if err != nil {
		return
	}
	namespace, name, _ := toolscache.SplitMetaNamespaceKey(key)
	t.lock.Lock()
	defer t.lock.Unlock()
	delete(t.byName, types.NamespacedName{Namespace: namespace, Name: name})
}

// keepSurvey drops everything the gateway does not read: the documentation of ten
// thousand Touchpoints would be most of its memory.
func keepSurvey(object any) (any, error) {
	touchpoint, ok := object.(*v1alpha1.Touchpoint)
	if !ok {
		return object, nil
	}
	return &v1alpha1.Touchpoint{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       touchpoint.Namespace,
			Name:            touchpoint.Name,
			UID:             touchpoint.UID,
			ResourceVersion: touchpoint.ResourceVersion,
			Generation:      touchpoint.Generation,
		},
		Spec: v1alpha1.TouchpointSpec{Survey: touchpoint.Spec.Survey},
	}, nil
}
