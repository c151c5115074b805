package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers"
)

// TestBlueprint: how the workloads behind a touchpoint do is in its status.
func TestBlueprint(t *testing.T) {
	prometheusRules(t, true)
	namespace := newNamespace(t, "blueprint", nil)
	startManager(t, func(o *controllers.Options) { o.Namespaces, o.Workloads = []string{namespace}, true })
	apply(t, namespace, `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout, namespace: NAMESPACE}
spec:
  channel: Web
  blueprint:
    backstage:
    - {description: takes orders, workload: {kind: Deployment, name: cart}}
    - {description: people}
    - {workload: {kind: StatefulSet, name: orders}}
    support:
    - {workload: {kind: Service, name: bank}}
    - {workload: {kind: DaemonSet, name: cache}}
`)
	told := func(want string) func(context.Context) error {
		return func(context.Context) error {
			var parts []string
			for _, workload := range get[v1alpha1.Touchpoint](t, namespace, "checkout").Status.Workloads {
				parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", workload.Lane, workload.Kind, workload.Name, workload.Health, workload.Message)))
			}
			if got := strings.Join(parts, "; "); got != want {
				return fmt.Errorf("%s, want %s", got, want)
			}
			return nil
		}
	}
	eventually(t, "nothing is there", soon, told("Backstage Deployment cart Missing there is no such Deployment; "+
		"Backstage StatefulSet orders Missing there is no such StatefulSet; Support Service bank Missing there is no such Service; "+
		"Support DaemonSet cache Missing there is no such DaemonSet"))

	labels := map[string]string{"app": "cart"}
	pod := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "cart", Image: "cart"}}},
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
	selector := &metav1.LabelSelector{MatchLabels: labels}
	create := func(object client.Object) {
		t.Helper()
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	create(&appsv1.Deployment{ObjectMeta: meta("cart"), Spec: appsv1.DeploymentSpec{Replicas: new(int32(3)), Selector: selector, Template: pod}})
	create(&appsv1.StatefulSet{ObjectMeta: meta("orders"), Spec: appsv1.StatefulSetSpec{Selector: selector, Template: pod}})
	create(&appsv1.DaemonSet{ObjectMeta: meta("cache"), Spec: appsv1.DaemonSetSpec{Selector: selector, Template: pod}})
	create(&corev1.Service{ObjectMeta: meta("bank"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}})
	eventually(t, "nothing is available", soon, told("Backstage Deployment cart Unhealthy none of 3 replicas is available; "+
		"Backstage StatefulSet orders Unhealthy none of 1 replicas is available; Support Service bank Unhealthy no endpoint is ready; "+
		"Support DaemonSet cache Unhealthy scaled to no replica"))

	// There is no kubelet: Pods run because we say so.
	running := 0
	eventually(t, "three of four Pods run", soon, func(ctx context.Context) error {
		var pods corev1.PodList
		if err := api.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
			return err
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if pod.Status.Phase == corev1.PodRunning || running == 2 && strings.HasPrefix(pod.Name, "cart") {
				continue
			}
			pod.Status.Phase = corev1.PodRunning
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
			if err := api.Status().Update(ctx, pod); err != nil {
				return err
			}
			if strings.HasPrefix(pod.Name, "cart") {
				running++
			}
		}
		if len(pods.Items) != 4 {
			return fmt.Errorf("%d Pods", len(pods.Items))
		}
		return nil
	})
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: "bank-1", Labels: map[string]string{discoveryv1.LabelServiceName: "bank"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
			{Addresses: []string{"10.0.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}},
		},
	}
	create(slice)
	eventually(t, "most is well", soon, told("Backstage Deployment cart Degraded 2 of 3 replicas are available; "+
		"Backstage StatefulSet orders Healthy; Support Service bank Healthy; Support DaemonSet cache Unhealthy scaled to no replica"))
	slice.Endpoints = slice.Endpoints[:1]
	if err := api.Update(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	if err := api.Delete(t.Context(), &appsv1.StatefulSet{ObjectMeta: meta("orders")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "less is well", soon, told("Backstage Deployment cart Degraded 2 of 3 replicas are available; "+
		"Backstage StatefulSet orders Missing there is no such StatefulSet; Support Service bank Unhealthy no endpoint is ready; Support DaemonSet cache Unhealthy scaled to no replica"))
}
