package main

import (
	"context"
	"errors"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/bench/proc"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// cluster is an API server of one measurement's own, with our access to it.
type cluster struct {
	*localstack.ControlPlane
	api   client.WithWatch
	admin *kubernetes.Clientset
}

func (b *bench) startCluster(ctx context.Context, namespaces ...string) (_ *cluster, err error) {
	c := &cluster{}
	if c.ControlPlane, err = localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	crds, err := localstack.PrometheusOperatorCRDs(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.InstallCRDs(ctx, append(crds, b.crds)...); err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), monitoringv1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	if c.api, err = client.NewWithWatch(c.config(), client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if c.admin, err = kubernetes.NewForConfig(c.config()); err != nil {
		return nil, err
	}
	for _, name := range append(namespaces, "sojourn-system") {
		if err := c.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *cluster) config() *rest.Config {
	config := c.RESTConfig()
	config.QPS = -1
	return config
}

// cpu is the CPU time that the API server, etcd and the processes named have used so far.
func (c *cluster) cpu(pids ...int) (sum time.Duration, err error) {
	for _, pid := range append(c.PIDs(), pids...) {
		used, err := proc.CPU(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// creators is how many create objects at the same time.
const creators = 16

// create makes objects, in this order as far as several at a time have one, and tells
// created of each.
func (c *cluster) create(ctx context.Context, objects []client.Object, created func(client.Object)) error {
	var creating errgroup.Group
	creating.SetLimit(creators)
	for _, object := range objects {
		creating.Go(func() error {
			if err := c.api.Create(ctx, object); err != nil {
				return err
			}
			if created != nil {
				created(object)
			}
			return nil
		})
	}
	return creating.Wait()
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
