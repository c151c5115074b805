package config_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// compose renders config/default with components.
func compose(t *testing.T, components ...string) []*unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	from := func(folder string) string {
		there, err := filepath.Abs(folder)
		if err != nil {
			t.Fatal(err)
		}
		if there, err = filepath.Rel(dir, there); err != nil {
			t.Fatal(err)
		}
		return there
	}
	whole := types.Kustomization{
		TypeMeta:  types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind},
		Resources: []string{from("default")},
	}
	for _, component := range components {
		whole.Components = append(whole.Components, from(component))
	}
	text, err := yaml.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return render(t, dir)
}

// changeToPostgreSQL applies what several of each program want where one of each was
// installed, the gateway with SQLite.
func changeToPostgreSQL(t *testing.T, api client.Client) {
	key := client.ObjectKey{Namespace: systemNamespace, Name: "sojourn-gateway"}
	applyTwice(t, api, compose(t, "replicas", "postgresql"))
	// As docs/howto/scale-out.md says.
	if err := api.Delete(t.Context(), &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, func() error {
		found := map[string]int{}
		for _, pod := range podsOf(t, api) {
			found[pod.Labels["app.kubernetes.io/component"]+" of a "+metav1.GetControllerOf(&pod).Kind]++
		}
		if want := map[string]int{"gateway of a ReplicaSet": 2, "manager of a ReplicaSet": 2, "prober of a ReplicaSet": 2}; !maps.Equal(found, want) {
			return fmt.Errorf("there are %v, want %v", found, want)
		}
		return nil
	})
	claim := &corev1.PersistentVolumeClaim{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: "data-sojourn-gateway-0"}, claim); err != nil || claim.DeletionTimestamp != nil {
		t.Errorf("the answers so far are gone: %v, deleted %v", err, claim.DeletionTimestamp)
	}
	// By the budgets, a drain takes one of two.
	eventually(t, 60*time.Second, func() error {
		budgets := &policyv1.PodDisruptionBudgetList{}
		if err := api.List(t.Context(), budgets, client.InNamespace(systemNamespace)); err != nil {
			return err
		}
		var errs []error
		for _, budget := range budgets.Items {
			if s := budget.Status; s.ExpectedPods != 2 || s.DesiredHealthy != 1 {
				errs = append(errs, fmt.Errorf("%s counts on %d Pods, of which %d have to stay", budget.Name, s.ExpectedPods, s.DesiredHealthy))
			}
		}
		if len(budgets.Items) != 3 {
			errs = append(errs, fmt.Errorf("there are %d budgets", len(budgets.Items)))
		}
		return errors.Join(errs...)
	})
}

func podsOf(t *testing.T, api client.Client) []corev1.Pod {
	t.Helper()
	pods := &corev1.PodList{}
	if err := api.List(t.Context(), pods, client.InNamespace(systemNamespace)); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil })
}

// foundByAnnotations has Prometheus's own code find the Pods that there are by asking the API
// server: by the job of docs/howto/without-prometheus-operator.md that looks for annotations,
// and the one of prometheus/scrape-config.yaml that it wants beside it.
func foundByAnnotations(t *testing.T, cluster *localstack.ControlPlane, api client.Client) {
	for i, w := range workloads(t, compose(t, "postgresql", "annotations")) {
		pod := &corev1.Pod{ObjectMeta: w.template.ObjectMeta, Spec: w.template.Spec}
		pod.Namespace, pod.Name = systemNamespace, "scraped-"+w.container().Name
		if err := api.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		// What a kubelet would say. Pods without an address are not scraped.
		before := pod.DeepCopy()
		pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, fmt.Sprintf("10.0.0.%d", i+1)
		pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
		if err := api.Status().Patch(t.Context(), pod, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("prometheus/scrape-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// As the page says: without the job before it.
	_, manager, _ := strings.Cut(string(text), "- job_name: sojourn-manager\n")
	var jobs []*promconfig.ScrapeConfig
	for _, text := range []string{"scrape_configs:\n- job_name: sojourn-manager\n" + manager, annotationsJob(t)} {
		config, err := promconfig.Load(text, promslog.NewNopLogger())
		if err != nil {
			t.Fatal(err)
		}
		some, err := config.GetScrapeConfigs()
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, some...)
	}
	want := map[string]int{"http :8080/metrics": 1, "http :9464/metrics": 1, "https :8443/metrics": 1}
	eventually(t, 30*time.Second, func() error {
		found := map[string]int{}
		for _, job := range jobs {
			if !job.HonorLabels {
				t.Fatalf("job %s would take the release's namespace for the customers'", job.JobName)
			}
			targets, err := discover(t, cluster, job)
			if err != nil {
				return err
			}
			for url, target := range targets {
				scheme, address, _ := strings.Cut(url, "://")
				found[scheme+" "+strings.TrimLeft(address, "0123456789.")]++
				if target["namespace"] != systemNamespace || target["pod"] == "" {
					t.Errorf("%s has the labels %v", url, target)
				}
			}
		}
		if !maps.Equal(found, want) {
			return fmt.Errorf("found %v, want %v", found, want)
		}
		return nil
	})
}

// annotationsJob is the configuration in the documentation.
func annotationsJob(t *testing.T) string {
	t.Helper()
	for _, p := range pages(t) {
		for _, b := range p.Blocks {
			if p.path == "docs/howto/without-prometheus-operator.md" && strings.Contains(b.Text, "prometheus_io_scrape") {
				return b.Text
			}
		}
	}
	t.Fatal("the page has no job that looks for annotations")
	return ""
}

// discover returns the labels of a job's targets by their URLs. Targets with the same labels
// are one.
func discover(t *testing.T, cluster *localstack.ControlPlane, job *promconfig.ScrapeConfig) (map[string]map[string]string, error) {
	t.Helper()
	for _, config := range job.ServiceDiscoveryConfigs {
		config.(*kubernetes.SDConfig).KubeConfig = cluster.Kubeconfig()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	registry := prometheus.NewRegistry()
	metrics, err := discovery.CreateAndRegisterSDMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	manager := discovery.NewManager(ctx, promslog.NewNopLogger(), registry, metrics, discovery.Updatert(10*time.Millisecond))
	if manager == nil {
		t.Fatal("there is no discovery")
	}
	go manager.Run()
	if err := manager.ApplyConfig(map[string]discovery.Configs{job.JobName: job.ServiceDiscoveryConfigs}); err != nil {
		t.Fatal(err)
	}
	var groups []*targetgroup.Group
	select {
	case <-ctx.Done():
		return nil, errors.New("the API server has not answered")
	case all := <-manager.SyncCh():
		groups = all[job.JobName]
	}
	found := map[string]map[string]string{}
	target := labels.NewBuilder(labels.EmptyLabels())
	for _, group := range groups {
		for _, each := range group.Targets {
			target.Reset(labels.EmptyLabels())
			target.Set(model.SchemeLabel, job.Scheme)
			target.Set(model.MetricsPathLabel, job.MetricsPath)
			for name, value := range group.Labels.Merge(each) {
				target.Set(string(name), string(value))
			}
			if !relabel.ProcessBuilder(target, job.RelabelConfigs...) {
				continue
			}
			url := target.Get(model.SchemeLabel) + "://" + target.Get(model.AddressLabel) + target.Get(model.MetricsPathLabel)
			known := map[string]string{}
			target.Range(func(l labels.Label) {
				if !strings.HasPrefix(l.Name, model.ReservedLabelPrefix) {
					known[l.Name] = l.Value
				}
			})
			if before, twice := found[url]; twice && !maps.Equal(before, known) {
				t.Errorf("%s would be scraped twice: as %v and as %v", url, before, known)
			}
			found[url] = known
		}
	}
	return found, nil
}
