package controllers

import (
	"context"
	"errors"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sojourn-dev/sojourn/controllers/publish"
)

const prometheusRuleCRDName = monitoringv1.PrometheusRuleName + "." + "monitoring.coreos.com"

// errFormChanged ends a run: the kind PrometheusRule or Probe came or went.
var errFormChanged = errors.New("a kind of the Prometheus Operator came or went")

func prometheusRuleCRD() *metav1.PartialObjectMetadata {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{
		Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition",
	})
	return crd
}

// detectForm asks the API server in which form rules can be written.
func detectForm(ctx context.Context, config *rest.Config) (publish.Form, error) {
	discoverer, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return "", err
	}
	served, err := discoverer.ServerResourcesForGroupVersionWithContext(ctx, monitoringv1.SchemeGroupVersion.String())
	if apierrors.IsNotFound(err) {
		return publish.ConfigMaps, nil
	}
	if err != nil {
		return "", err
	}
	for _, resource := range served.APIResources {
		if resource.Name == monitoringv1.PrometheusRuleName {
			return publish.PrometheusRules, nil
		}
	}
	return publish.ConfigMaps, nil
}

// formReconciler notices when the kind PrometheusRule comes or goes. Its only object
// is that kind's definition.
type formReconciler struct {
	reader  client.Reader
	config  *rest.Config
	form    publish.Form
	changed context.CancelCauseFunc
}

func (r *formReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	crd := prometheusRuleCRD()
	err := r.reader.Get(ctx, request.NamespacedName, crd)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	defined := err == nil
	form, err := detectForm(ctx, r.config)
	if err != nil {
		return reconcile.Result{}, err
	}
	if form != r.form {
		r.changed(errFormChanged)
		return reconcile.Result{}, nil
	}
	if defined == (form == publish.PrometheusRules) {
		return reconcile.Result{}, nil
	}
	// The definition and what is served disagree, usually for a moment. A definition
	// that is never accepted is looked at now and then.
	if defined && time.Since(crd.CreationTimestamp.Time) > time.Minute {
		return reconcile.Result{RequeueAfter: time.Minute}, nil
	}
	return reconcile.Result{RequeueAfter: 200 * time.Millisecond}, nil
}

func (r *formReconciler) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("form").
		For(prometheusRuleCRD(), builder.OnlyMetadata).
		// Every manager needs to know, not only the one that leads.
		WithOptions(controller.Options{NeedLeaderElection: new(false)}).
		Complete(r)
}
