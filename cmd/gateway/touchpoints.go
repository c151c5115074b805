package main

import (
	"context"
	"errors"
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
	cache    cache.Cache
	informed toolscache.ResourceEventHandlerRegistration
	log      *slog.Logger
	// trouble is why the last attempt to read Touchpoints failed.
	trouble atomic.Pointer[error]

	lock   sync.RWMutex
	byName map[types.NamespacedName]*v1alpha1.Touchpoint
}

var errNotRead = errors.New("the Touchpoints are still being read from the API server")

// watchTouchpoints prepares a watch of the Touchpoints of some namespaces, of all
// where none is named. It reaches for the API server only in Start, and then
// keeps trying.
func watchTouchpoints(ctx context.Context, config *rest.Config, namespaces []string, log *slog.Logger) (*touchpoints, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	// The mapping is known; asking the API server for it would make the gateway's
	// start depend on the API server's.
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("Touchpoint"), meta.RESTScopeNamespace)

	t := &touchpoints{log: log, byName: map[types.NamespacedName]*v1alpha1.Touchpoint{}}
	options := cache.Options{
		Scheme: scheme,
		Mapper: mapper,
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.Touchpoint{}: {Transform: keepSurvey},
		},
		DefaultWatchErrorHandler: func(ctx context.Context, r *toolscache.Reflector, err error) {
			t.note(err)
			toolscache.DefaultWatchErrorHandler(ctx, r, err)
		},
	}
	if len(namespaces) > 0 {
		options.DefaultNamespaces = map[string]cache.Config{}
		for _, namespace := range namespaces {
			options.DefaultNamespaces[namespace] = cache.Config{}
		}
	}
	// The watch retries a refused connection in silence; whoever asks why the gateway
	// is not ready should hear of it.
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err != nil && request.Context().Err() == nil {
				t.note(err)
			}
			return response, err
		})
	})
	var err error
	if t.cache, err = cache.New(config, options); err != nil {
		return nil, fmt.Errorf("preparing the watch of Touchpoints: %w", err)
	}
	informer, err := t.cache.GetInformer(ctx, &v1alpha1.Touchpoint{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("preparing the watch of Touchpoints: %w", err)
	}
	t.informed, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    t.set,
		UpdateFunc: func(_, object any) { t.set(object) },
		DeleteFunc: t.remove,
	})
	return t, err
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// note remembers why Touchpoints cannot be read, and logs it unless it is what was
// logged last.
func (t *touchpoints) note(err error) {
	if before := t.trouble.Swap(&err); before == nil || (*before).Error() != err.Error() {
		t.log.Warn("Touchpoints cannot be read; trying again", "error", err)
	}
}

// Start watches until ctx ends.
func (t *touchpoints) Start(ctx context.Context) error { return t.cache.Start(ctx) }

// Ready returns nil once all Touchpoints were read, and otherwise what keeps them
// from it. It stays nil when the API server goes away later: what was read is
// better than nothing, and most likely still true.
func (t *touchpoints) Ready() error {
	if t.informed.HasSynced() {
		return nil
	}
	if trouble := t.trouble.Load(); trouble != nil {
		if apierrors.IsNotFound(*trouble) {
			return fmt.Errorf("the API server knows no Touchpoints, install Sojourn's CRDs: %w", *trouble)
		}
		return fmt.Errorf("the API server does not hand out Touchpoints: %w", *trouble)
	}
	return errNotRead
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
