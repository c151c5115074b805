package reach

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// Changes signals that journeys, touchpoints or ExperienceSLOs of a namespace, or, if it is
// empty, of all, have changed: their status too. Several changes may make one signal. The
// channel is never closed; no signals come once the context has ended.
func (c *Cluster) Changes(ctx context.Context, namespace string) (<-chan struct{}, error) {
	watcher, err := metadata.NewForConfig(c.config)
	if err != nil {
		return nil, err
	}
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default: // one is waiting already
		}
	}
	factory := metadatainformer.NewFilteredSharedInformerFactory(watcher, 0, namespace, nil)
	for _, kind := range []string{"journeys", "touchpoints", "experienceslos"} {
		resource := v1alpha1.GroupVersion.WithResource(kind)
		// Whoever may not list would wait for ever.
		if _, err := watcher.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			return nil, fmt.Errorf("changes cannot be followed: %w", explain(err, namespace))
		}
		informer := factory.ForResource(resource).Informer()
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(_ any, initial bool) {
				if !initial {
					tell()
				}
			},
			UpdateFunc: func(any, any) { tell() },
			DeleteFunc: func(any) { tell() },
		})
		if err != nil {
			return nil, err
		}
		// It tries again by itself; whoever follows sees what is known.
		if err := informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}); err != nil {
			return nil, err
		}
	}
	factory.Start(ctx.Done())
	return changed, nil
}
