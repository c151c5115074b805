// Package reach gets what maps are made of: objects from the API server with the caller's
// rights, and, where that can be reached, series from Prometheus and comments from the
// gateway.
package reach

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/controllers/observe"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// Options say how that is reached which is not in the API server.
type Options struct {
	// Prometheus is asked directly if it has a URL; else its address is looked up.
	Prometheus observe.Options
	// GatewayURL is the gateway's address; empty: it is looked up.
	GatewayURL string
	// GatewayToken is one of a source's readTokens.
	GatewayToken string
	// Namespace is where Sojourn and its ConfigMap sojourn-endpoints are.
	Namespace string
}

// Cluster is reached with the rights of a REST configuration.
type Cluster struct {
	config    *rest.Config
	client    client.Client
	endpoints *endpoints
}

// New prepares to reach a cluster; nothing is asked yet.
func New(config *rest.Config, options Options) (*Cluster, error) {
	config = rest.CopyConfig(config)
	if config.QPS == 0 {
		config.QPS = -1 // the API server shares itself out fairly
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(corev1.AddToScheme(scheme))
	made, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig leads to no API server: %w", err)
	}
	endpoints, err := newEndpoints(config, made, options)
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig leads to no API server: %w", err)
	}
	return &Cluster{config: config, client: made, endpoints: endpoints}, nil
}

// Objects loads what there is in a namespace, or, if it is empty, in all; and the
// touchpoints elsewhere through which those journeys pass.
func (c *Cluster) Objects(ctx context.Context, namespace string) (*atlas.Objects, error) {
	found := atlas.NewObjects()
	if err := c.load(ctx, found, namespace); err != nil {
		return nil, err
	}
	if namespace == "" {
		return found, c.namespaces(ctx, found)
	}
	elsewhere := map[string]bool{}
	for _, journey := range found.Journeys {
		for _, reference := range targets.References(journey) {
			if reference.Namespace != namespace {
				elsewhere[reference.Namespace] = true
			}
		}
	}
	for _, other := range slices.Sorted(maps.Keys(elsewhere)) {
		part := atlas.NewObjects()
		if err := c.load(ctx, part, other); err != nil {
			if !apierrors.IsForbidden(err) {
				return nil, err
			}
			found.Unreadable[other] = "you may not read its Touchpoints"
			continue
		}
		maps.Copy(found.Touchpoints, part.Touchpoints)
		maps.Copy(found.ExperienceSLOs, part.ExperienceSLOs)
	}
	return found, c.namespaces(ctx, found)
}

func (c *Cluster) load(ctx context.Context, into *atlas.Objects, namespace string) error {
	var journeys v1alpha1.JourneyList
	var touchpoints v1alpha1.TouchpointList
	var slos v1alpha1.ExperienceSLOList
	for _, list := range []client.ObjectList{&journeys, &touchpoints, &slos} {
		if err := c.client.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return explain(err, namespace)
		}
	}
	for i := range journeys.Items {
		into.Journeys[client.ObjectKeyFromObject(&journeys.Items[i])] = &journeys.Items[i]
	}
	for i := range touchpoints.Items {
		into.Touchpoints[client.ObjectKeyFromObject(&touchpoints.Items[i])] = &touchpoints.Items[i]
	}
	for i := range slos.Items {
		into.ExperienceSLOs[client.ObjectKeyFromObject(&slos.Items[i])] = &slos.Items[i]
	}
	return nil
}

// explain says what to do about objects that cannot be read.
func explain(err error, namespace string) error {
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return fmt.Errorf("this cluster does not know Sojourn's kinds: install them (kubectl apply --server-side -k config/crd), or choose another by --context: %w", err)
	case apierrors.IsForbidden(err) && namespace == "":
		return fmt.Errorf("you may not list what there is in all namespaces: name one by -n, or ask the administrator for the ClusterRole view: %w", err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you may not list what there is in namespace %s: ask the administrator for the role view there: %w", namespace, err)
	default:
		return err
	}
}

// namespaces reads the labels of the journeys' namespaces where a touchpoint elsewhere asks
// for them. Whoever may not read them sees those touchpoints as not open.
func (c *Cluster) namespaces(ctx context.Context, found *atlas.Objects) error {
	for key := range found.Journeys {
		if found.NamespaceLabels[key.Namespace] != nil {
			continue
		}
		namespace := &metav1.PartialObjectMetadata{}
		namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
		err := c.client.Get(ctx, client.ObjectKey{Name: key.Namespace}, namespace)
		if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
			return err
		}
		found.NamespaceLabels[key.Namespace] = map[string]string{}
		maps.Copy(found.NamespaceLabels[key.Namespace], namespace.Labels)
	}
	return nil
}
