package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/publish"
)

// writers is how many requests the bare client has under way, as many as the manager may.
const writers = 32

// write is one that the manager made, ready to be sent.
type write struct {
	resource        schema.GroupVersionResource
	namespace, name string
	subresources    []string
	body            []byte
}

var (
	touchpoints = v1alpha1.GroupVersion.WithResource("touchpoints")
	slos        = v1alpha1.GroupVersion.WithResource("experienceslos")
	journeys    = v1alpha1.GroupVersion.WithResource("journeys")
	ruleObjects = monitoringv1.SchemeGroupVersion.WithResource("prometheusrules")
)

// record reads what the manager made of a platform, as the fewest writes that make it.
func (c *cluster) record(ctx context.Context) ([]write, error) {
	var writes []write
	add := func(resource schema.GroupVersionResource, kind string, object client.Object, content map[string]any, subresources ...string) error {
		metadata := map[string]any{"name": object.GetName(), "namespace": object.GetNamespace()}
		if len(subresources) == 0 {
			metadata["labels"] = object.GetLabels()
			if owners := object.GetOwnerReferences(); len(owners) > 0 {
				metadata["ownerReferences"] = owners
			}
		}
		content["apiVersion"], content["kind"], content["metadata"] = resource.GroupVersion().String(), kind, metadata
		body, err := json.Marshal(content)
		writes = append(writes, write{resource, object.GetNamespace(), object.GetName(), subresources, body})
		return err
	}
	var foundTouchpoints v1alpha1.TouchpointList
	var foundSLOs v1alpha1.ExperienceSLOList
	var foundJourneys v1alpha1.JourneyList
	var foundRules monitoringv1.PrometheusRuleList
	for _, list := range []client.ObjectList{&foundTouchpoints, &foundSLOs, &foundJourneys, &foundRules} {
		if err := c.api.List(ctx, list); err != nil {
			return nil, err
		}
	}
	for i := range foundTouchpoints.Items {
		object := &foundTouchpoints.Items[i]
		if err := add(touchpoints, "Touchpoint", object, map[string]any{"status": object.Status}, "status"); err != nil {
			return nil, err
		}
	}
	for i := range foundSLOs.Items {
		object := &foundSLOs.Items[i]
		if err := add(slos, "ExperienceSLO", object, map[string]any{"status": object.Status}, "status"); err != nil {
			return nil, err
		}
	}
	for i := range foundJourneys.Items {
		object := &foundJourneys.Items[i]
		if err := add(journeys, "Journey", object, map[string]any{"status": object.Status}, "status"); err != nil {
			return nil, err
		}
	}
	for i := range foundRules.Items {
		object := &foundRules.Items[i]
		if err := add(ruleObjects, monitoringv1.PrometheusRuleKind, object, map[string]any{"spec": object.Spec}); err != nil {
			return nil, err
		}
	}
	return writes, nil
}

// send applies as the manager does.
func send(ctx context.Context, sender dynamic.Interface, w write) error {
	force := true
	_, err := sender.Resource(w.resource).Namespace(w.namespace).Patch(ctx, w.name, types.ApplyPatchType, w.body,
		metav1.PatchOptions{FieldManager: string(publish.FieldOwner), Force: &force}, w.subresources...)
	if err != nil {
		return fmt.Errorf("%s %s: %w", w.resource.Resource, w.name, err)
	}
	return nil
}

// bareThere times the writes where the objects are there already.
func (b *bench) bareThere(ctx context.Context, p platform, writes []write) (took, cpu time.Duration, err error) {
	c, sender, err := b.bareCluster(ctx, p)
	if err != nil {
		return 0, 0, err
	}
	defer c.Stop()
	if err := c.create(ctx, p.objects(), nil); err != nil {
		return 0, 0, err
	}
	if err := sleep(ctx, 3*time.Second); err != nil {
		return 0, 0, err
	}
	already, err := c.cpu(os.Getpid())
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	var sending errgroup.Group
	sending.SetLimit(writers)
	for _, w := range writes {
		sending.Go(func() error { return send(ctx, sender, w) })
	}
	if err := sending.Wait(); err != nil {
		return 0, 0, err
	}
	took = time.Since(begin)
	cpu, err = c.cpu(os.Getpid())
	return took, cpu - already, err
}

// bareArriving times the creation of the objects and the writes together: each as soon as
// its object is there, and those that belong to none at the end.
func (b *bench) bareArriving(ctx context.Context, p platform, writes []write) (took, cpu time.Duration, err error) {
	c, sender, err := b.bareCluster(ctx, p)
	if err != nil {
		return 0, 0, err
	}
	defer c.Stop()
	waiting := make(chan client.Object, p.size())
	ofObject := map[string][]write{}
	var shared []write
	for _, w := range writes {
		if key, found := w.of(); found {
			ofObject[key] = append(ofObject[key], w)
		} else {
			shared = append(shared, w)
		}
	}
	if err := sleep(ctx, 3*time.Second); err != nil {
		return 0, 0, err
	}
	already, err := c.cpu(os.Getpid())
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	var working errgroup.Group
	working.Go(func() error {
		defer close(waiting)
		return c.create(ctx, p.objects(), func(object client.Object) { waiting <- object })
	})
	working.Go(func() error {
		var sending errgroup.Group
		sending.SetLimit(writers)
		for object := range waiting {
			for _, w := range ofObject[keyOf(object)] {
				sending.Go(func() error { return send(ctx, sender, w) })
			}
		}
		for _, w := range shared {
			sending.Go(func() error { return send(ctx, sender, w) })
		}
		return sending.Wait()
	})
	if err := working.Wait(); err != nil {
		return 0, 0, err
	}
	took = time.Since(begin)
	cpu, err = c.cpu(os.Getpid())
	return took, cpu - already, err
}

func (b *bench) bareCluster(ctx context.Context, p platform) (*cluster, dynamic.Interface, error) {
	c, err := b.startCluster(ctx, p.namespaceNames()...)
	if err != nil {
		return nil, nil, err
	}
	sender, err := dynamic.NewForConfig(c.config())
	if err != nil {
		c.Stop()
		return nil, nil, err
	}
	return c, sender, nil
}

func keyOf(object client.Object) string {
	switch object.(type) {
	case *v1alpha1.Touchpoint:
		return touchpoints.Resource + "/" + object.GetNamespace() + "/" + object.GetName()
	case *v1alpha1.ExperienceSLO:
		return slos.Resource + "/" + object.GetNamespace() + "/" + object.GetName()
	default:
		return journeys.Resource + "/" + object.GetNamespace() + "/" + object.GetName()
	}
}

// of tells which object a write belongs to: a status to its own, rules to the
// ExperienceSLO that is named in them.
func (w write) of() (string, bool) {
	if w.resource != ruleObjects {
		return w.resource.Resource + "/" + w.namespace + "/" + w.name, true
	}
	var object struct {
		Metadata struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(w.body, &object); err != nil || object.Metadata.Labels[publish.LabelKind] != "ExperienceSLO" {
		return "", false
	}
	return slos.Resource + "/" + w.namespace + "/" + object.Metadata.Labels[publish.LabelName], true
}
