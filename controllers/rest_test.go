package controllers_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

var (
	restTime    = flag.Duration("rest", 20*time.Second, "how long TestThousandAtRest looks on; Prometheus is asked twenty times meanwhile")
	restObjects = flag.Int("rest-objects", 1000, "how many objects there are in TestThousandAtRest")
)

// steadyShop is one that is visited steadily: a Prometheus that holds what the rules would
// have recorded of windows that are full, with the noise that steady customers make.
type steadyShop struct {
	namespace string
	// parts and pages are how many ExperienceSLOs there are and how many touchpoints each
	// covers; each journey passes through the touchpoints of one of them.
	parts, pages, journeys int
	// broken is the touchpoint whose budgets are spent, if any.
	broken atomic.Value
}

func (s *steadyShop) page(part, page int) string { return fmt.Sprintf("page-%d-%d", part, page) }

// serve exposes the recorded series.
func (s *steadyShop) serve(w http.ResponseWriter, _ *http.Request) {
	about := func(value, part float64) float64 { return value * (1 + part*(2*rand.Float64()-1)) }
	for part := range s.parts {
		for page := range s.pages {
			touchpoint := s.page(part, page)
			loss := 0.003
			if s.broken.Load() == touchpoint {
				loss = 0.02
			}
			at := fmt.Sprintf("namespace=%q,touchpoint=%q", s.namespace, touchpoint)
			of := fmt.Sprintf(`%s,slo="part-%d",objective="up",def="probe/availability"`, at, part)
			fmt.Fprintf(w, "%s{%s,family=\"traffic\",window=\"28d\",floor=\"3\"} 0.01\n", rules.Budget, of)
			// The window is full, and holds one visit a second.
			fmt.Fprintf(w, "%s{%s} %g\n%s{%s} %g\n%s{%s} 1\n", rules.SampleSize, of, about(2419200, 0.002), rules.MeanLoss, of, about(loss, 0.003), rules.Coverage, of)
			for span, seconds := range map[string]float64{"5m": 300, "1h": 3600} {
				fmt.Fprintf(w, "sojourn:touchpoint_events:sum%s{%s,def=\"probe/availability\"} %g\n", span, at, seconds)
				fmt.Fprintf(w, "sojourn:touchpoint_losses:sum%s{%s,def=\"probe/availability\"} %g\n", span, at, about(seconds*loss, 6/seconds*50))
			}
			probed := at + `,source="probe"`
			fmt.Fprintf(w, "%s{%s} %g\n%s{%s} %g\n", rules.ExperienceVisits, probed, about(3600, 0.01), rules.ExperienceFailures, probed, about(3600*loss, 0.1))
			fmt.Fprintf(w, "%s{%s} %g\n%s{%s} %g\n", rules.ExperienceP50, probed, about(0.08, 0.04), rules.ExperienceP95, probed, about(0.4, 0.04))
			answered := at + `,source="survey",instrument="ces"`
			fmt.Fprintf(w, "%s{%s} %g\n%s{%s} %g\n", rules.ExperienceAnswers, answered, about(700, 0.001), rules.ExperienceGood, answered, about(560, 0.0005))
			fmt.Fprintf(w, "%s{%s} %g\n%s{%s} %g\n", rules.ExperienceBad, answered, about(50, 0.001), rules.ExperiencePoints, answered, about(4000, 0.001))
		}
	}
	for journey := range s.journeys {
		of := fmt.Sprintf(`namespace=%q,journey="journey-%d"`, s.namespace, journey)
		fmt.Fprintf(w, "%s{%s,kpi=\"orders\"} %g\n%s{%s,stage=\"first\"} %g\n%s{%s,stage=\"last\"} %g\n",
			rules.JourneyKPI, of, about(1000, 0.002), rules.JourneyEntries, of, about(50000, 0.002), rules.JourneyEntries, of, about(20000, 0.002))
	}
}

// objects makes the objects of the shop.
func (s *steadyShop) objects() []client.Object {
	var objects []client.Object
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: s.namespace, Name: name} }
	for part := range s.parts {
		of := fmt.Sprint("part-", part)
		for page := range s.pages {
			touchpoint := &v1alpha1.Touchpoint{ObjectMeta: named(s.page(part, page)), Spec: v1alpha1.TouchpointSpec{
				Channel: "Web", Expectation: &v1alpha1.Expectation{Net: "60%"}, Probe: &v1alpha1.Probe{HTTP: &v1alpha1.HTTPProbe{URL: "http://shop/"}},
				Survey: &v1alpha1.Survey{Instruments: []v1alpha1.Instrument{{Type: v1alpha1.InstrumentCES}}},
			}}
			touchpoint.Labels = map[string]string{"part": of}
			objects = append(objects, touchpoint)
		}
		slo := &v1alpha1.ExperienceSLO{ObjectMeta: named(of)}
		slo.Spec.Targets.Selector = &v1alpha1.TouchpointSelector{MatchLabels: map[string]v1alpha1.LabelValue{"part": v1alpha1.LabelValue(of)}}
		slo.Spec.Objectives = []v1alpha1.Objective{{Name: "up", Availability: &v1alpha1.AvailabilityObjective{Target: "99%"}}}
		objects = append(objects, slo)
	}
	for i := range s.journeys {
		journey := &v1alpha1.Journey{ObjectMeta: named(fmt.Sprint("journey-", i))}
		journey.Spec.KPIs = []v1alpha1.KPI{{Name: "orders", Query: "sum(orders)", Target: ">= 500"}}
		journey.Spec.Stages = []v1alpha1.Stage{{Name: "first", Entries: "found_total"}, {Name: "last", Entries: "bought_total"}}
		for page := range s.pages {
			stage := &journey.Spec.Stages[page*2/s.pages]
			stage.Touchpoints = append(stage.Touchpoints, v1alpha1.TouchpointReference{Name: v1alpha1.Name(s.page(i, page))})
		}
		objects = append(objects, journey)
	}
	return objects
}

// front stands before a Prometheus, and spoils its answers.
type front struct {
	*httptest.Server
	// asked counts questions; fault is how they are answered: empty for well.
	asked atomic.Int64
	fault atomic.Value
}

func frontOf(t *testing.T, prometheus *localstack.Prometheus) *front {
	t.Helper()
	address, err := url.Parse(prometheus.URL)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{}
	f.fault.Store("")
	well := httputil.NewSingleHostReverseProxy(address)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked.Add(1)
		switch f.fault.Load() {
		case "Unreachable":
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				conn.Close()
			}
		case "Timeout":
			// Whether the client has gone is noticed only after its question is read.
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		case "Nonsense":
			io.WriteString(w, `{"status":"success","data":{"resultType":"string","result":[1,"hello"]}}`)
		default:
			well.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

// open creates the objects of a shop and a Prometheus that knows its figures. change has a
// manager watch the two.
func (s *steadyShop) open(t *testing.T) (prometheus *front, change func(*controllers.Options)) {
	t.Helper()
	newNamespace(t, s.namespace, nil)
	exporter := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(exporter.Close)
	behind, err := localstack.StartPrometheus(t.Context(), localstack.PrometheusOptions{
		ScrapeInterval: 2 * time.Second,
		ScrapeJobs:     []localstack.ScrapeJob{{Name: "shop", HonorLabels: true, Targets: []string{strings.TrimPrefix(exporter.URL, "http://")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(behind.Stop)
	for _, object := range s.objects() {
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	prometheus = frontOf(t, behind)
	return prometheus, func(o *controllers.Options) {
		watching(s.namespace)(o)
		o.Prometheus.URL, o.Prometheus.Interval = prometheus.URL, time.Second
	}
}

// all wants of all objects of the shop a condition.
func (s *steadyShop) all(name string, want metav1.ConditionStatus, reason string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, list := range kinds() {
			if err := api.List(ctx, list, client.InNamespace(s.namespace)); err != nil {
				return err
			}
			if err := meta.EachListItem(list, func(item runtime.Object) error {
				var conditions []metav1.Condition
				switch object := item.(type) {
				case *v1alpha1.Touchpoint:
					conditions = object.Status.Conditions
				case *v1alpha1.ExperienceSLO:
					conditions = object.Status.Conditions
				case *v1alpha1.Journey:
					conditions = object.Status.Conditions
				}
				of := name
				if of == v1alpha1.ConditionHealthy && meta.FindStatusCondition(conditions, v1alpha1.ConditionMet) != nil {
					of = v1alpha1.ConditionMet
				}
				if err := condition(conditions, of, want, reason); err != nil {
					return fmt.Errorf("%T %s: %w", item, item.(client.Object).GetName(), err)
				}
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}
}

// Where customers are as they were, nothing is written.
func TestThousandAtRest(t *testing.T) {
	t.Parallel()
	prometheusRules(t, true)
	// Of a thousand objects nine hundred are touchpoints, ten journeys.
	s := &steadyShop{namespace: "steady", parts: *restObjects * 9 / 100, pages: 10, journeys: max(1, *restObjects/100)}
	prometheus, observing := s.open(t)
	m := startManager(t, observing, func(o *controllers.Options) { o.Prometheus.Interval = max(time.Second, *restTime/20) })
	eventually(t, "all customers are content", 90*time.Second+*restTime/10, s.all(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonKept))
	before := m.settle(t, 5*time.Second)
	t.Logf("%d objects took %d writes", len(s.objects()), len(before))
	asked := prometheus.asked.Load()
	time.Sleep(*restTime)
	after := m.writes(t)
	for _, write := range after[len(before):min(len(after), len(before)+20)] {
		t.Errorf("written at rest: %s", write)
	}
	t.Logf("%d questions were asked, and %d writes made, within %v", prometheus.asked.Load()-asked, len(after)-len(before), *restTime)
	if asked = prometheus.asked.Load() - asked; asked < 10*6 {
		t.Errorf("only %d questions were asked", asked)
	}
	// It is awake.
	s.broken.Store(s.page(1, 1))
	eventually(t, "it sees a change", 30*time.Second+*restTime/10, func(context.Context) error {
		return condition(get[v1alpha1.ExperienceSLO](t, s.namespace, "part-1").Status.Conditions, v1alpha1.ConditionMet, metav1.ConditionFalse, v1alpha1.ReasonBreached)
	})
}

// waitForMet does what kubectl wait --for=condition=Met does: it lists, watches, and wants
// the condition of the latest generation.
func waitForMet(ctx context.Context, namespace, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	watching, err := client.NewWithWatch(cluster.RESTConfig(), client.Options{Scheme: api.Scheme()})
	if err != nil {
		return err
	}
	only := []client.ListOption{client.InNamespace(namespace), client.MatchingFields{"metadata.name": name}}
	met := func(slo *v1alpha1.ExperienceSLO) bool {
		condition := meta.FindStatusCondition(slo.Status.Conditions, v1alpha1.ConditionMet)
		return condition != nil && condition.Status == metav1.ConditionTrue && condition.ObservedGeneration >= slo.Generation
	}
	for {
		var found v1alpha1.ExperienceSLOList
		if err := watching.List(ctx, &found, only...); err != nil {
			return fmt.Errorf("waiting for %s: %w", name, err)
		}
		if len(found.Items) == 1 && met(&found.Items[0]) {
			return nil
		}
		changes, err := watching.Watch(ctx, &v1alpha1.ExperienceSLOList{}, append(only, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: found.ResourceVersion}})...)
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", name, err)
		}
		for change := range changes.ResultChan() {
			if slo, is := change.Object.(*v1alpha1.ExperienceSLO); is && met(slo) {
				changes.Stop()
				return nil
			}
		}
	}
}

// TestPrometheusIsAway: whatever keeps Prometheus from answering is told on all objects,
// once, and what it said last stands.
func TestPrometheusIsAway(t *testing.T) {
	t.Parallel()
	prometheusRules(t, true)
	s := &steadyShop{namespace: "unobserved", parts: 1, pages: 4, journeys: 1}
	prometheus, observing := s.open(t)
	patient := func(o *controllers.Options) { o.Prometheus.Patience = 2 * time.Second }
	// One of which Prometheus never shows anything.
	apply(t, s.namespace, "apiVersion: sojourn.dev/v1alpha1\nkind: Touchpoint\nmetadata: {name: silent, namespace: NAMESPACE}\nspec: {channel: Store}\n")
	waited := make(chan error, 1)
	go func() { waited <- waitForMet(t.Context(), s.namespace, "part-0") }()
	m := startManager(t, observing, patient)
	content := func(ctx context.Context) error {
		slo := get[v1alpha1.ExperienceSLO](t, s.namespace, "part-0").Status
		return condition(slo.Conditions, v1alpha1.ConditionMet, metav1.ConditionTrue, v1alpha1.ReasonKept)
	}
	eventually(t, "customers are content", soon, content)
	eventually(t, "all are observed", soon, s.all(v1alpha1.ConditionObserved, metav1.ConditionTrue, v1alpha1.ReasonAnswering))
	if err := <-waited; err != nil {
		t.Error(err)
	}
	m.settle(t, 3*time.Second)
	const objects = 4 + 1 + 1 + 1
	figures := func() (any, any, any) {
		slo, touchpoint := get[v1alpha1.ExperienceSLO](t, s.namespace, "part-0").Status, get[v1alpha1.Touchpoint](t, s.namespace, s.page(0, 0)).Status
		journey := get[v1alpha1.Journey](t, s.namespace, "journey-0").Status
		slo.Conditions, touchpoint.Conditions, journey.Conditions = nil, nil, nil
		return slo, touchpoint, journey
	}
	once := func(before []string) {
		t.Helper()
		times := map[string]int{}
		after := m.settle(t, 1500*time.Millisecond)
		for _, write := range after[len(before):] {
			times[write]++
		}
		for write, n := range times {
			if n > 1 {
				t.Errorf("written %d times: %s", n, write)
			}
		}
		if len(times) != objects {
			t.Errorf("%d of %d objects were written: %v", len(times), objects, times)
		}
	}
	for _, fault := range []string{"Unreachable", "Nonsense", "Timeout"} {
		slo, touchpoint, journey := figures()
		before := m.writes(t)
		prometheus.fault.Store(fault)
		eventually(t, "all tell of "+fault, soon, s.all(v1alpha1.ConditionObserved, metav1.ConditionFalse, "Prometheus"+fault))
		once(before)
		sloNow, touchpointNow, journeyNow := figures()
		if !equality.Semantic.DeepEqual([]any{slo, touchpoint, journey}, []any{sloNow, touchpointNow, journeyNow}) {
			t.Errorf("%s: the last figures are lost: %+v %+v %+v", fault, sloNow, touchpointNow, journeyNow)
		}
		if err := content(t.Context()); err != nil {
			t.Errorf("%s: %v", fault, err)
		}
		told := meta.FindStatusCondition(get[v1alpha1.Journey](t, s.namespace, "journey-0").Status.Conditions, v1alpha1.ConditionObserved)
		if !strings.Contains(told.Message, "the figures are as of 20") {
			t.Errorf("%s: it does not say of when the figures are: %s", fault, told.Message)
		}
		if fault == "Unreachable" {
			// A restart is no news.
			m.stop(t)
			m = startManager(t, observing, patient)
			time.Sleep(6 * time.Second)
			if writes := m.writes(t); len(writes) > 0 {
				t.Errorf("written after a restart: %v", writes)
			}
		}
		before = m.writes(t)
		prometheus.fault.Store("")
		eventually(t, "it answers again", soon, s.all(v1alpha1.ConditionObserved, metav1.ConditionTrue, v1alpha1.ReasonAnswering))
		once(before)
	}
}
