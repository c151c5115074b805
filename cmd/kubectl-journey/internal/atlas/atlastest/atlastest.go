// Package atlastest has journeys for tests: the sample shop with a checkout that hurts,
// and those that are hard to draw.
package atlastest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// Now is when all of this is.
var Now = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// Journeys of Objects, all in namespace shop.
const (
	// Shop is the sample journey: the checkout is breached and pages, one touchpoint has too
	// few answers, the rest does well.
	Shop = "online-purchase"
	// Long has 30 touchpoints in 6 stages, all names 63 letters long, the touchpoints of two
	// stages in Chinese.
	Long = "a-journey-with-a-name-that-is-as-long-as-kubernetes-lets-it-bee"
	// Silent has touchpoints of which nothing is known, one that does not exist and one that
	// is not open.
	Silent = "silent"
	// Single has one stage with one touchpoint.
	Single = "single"
	// Hostile has names that would be markup, if they were taken for it.
	Hostile = "hostile"
)

// Objects returns them anew.
func Objects() *atlas.Objects {
	made := atlas.NewObjects()
	samples(made)
	hard(made)
	for _, touchpoint := range made.Touchpoints {
		if !strings.HasPrefix(touchpoint.Name, Silent) {
			live(touchpoint)
		}
	}
	for _, slo := range made.ExperienceSLOs {
		promise(made, slo)
	}
	for _, journey := range made.Journeys {
		summarise(made, journey)
	}
	return made
}

// samples reads config/samples.
func samples(into *atlas.Objects) {
	_, here, _, _ := runtime.Caller(0)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(here), "../../../../../config/samples/*.yaml"))
	if err != nil || len(files) == 0 {
		panic(fmt.Sprint("no samples: ", err))
	}
	for _, file := range files {
		if filepath.Base(file) == "shortest.yaml" {
			continue // the same journey in few lines
		}
		text, err := os.ReadFile(file)
		if err != nil {
			panic(err)
		}
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			var kind metav1.TypeMeta
			var object any
			must(yaml.Unmarshal(document, &kind))
			switch kind.Kind {
			case "Journey":
				journey := &v1alpha1.Journey{}
				object = journey
				must(yaml.UnmarshalStrict(document, object))
				into.Journeys[atlas.Key{Namespace: journey.Namespace, Name: journey.Name}] = journey
			case "Touchpoint":
				touchpoint := &v1alpha1.Touchpoint{}
				object = touchpoint
				must(yaml.UnmarshalStrict(document, object))
				into.Touchpoints[atlas.Key{Namespace: touchpoint.Namespace, Name: touchpoint.Name}] = touchpoint
			case "ExperienceSLO":
				slo := &v1alpha1.ExperienceSLO{}
				object = slo
				must(yaml.UnmarshalStrict(document, object))
				into.ExperienceSLOs[atlas.Key{Namespace: slo.Namespace, Name: slo.Name}] = slo
			}
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func hard(into *atlas.Objects) {
	pad := func(name string) string { return name + strings.Repeat("x", 63-len(name)) }
	long := journey(Long, "The longest journey · 最长的旅程")
	for s := range 6 {
		stage := v1alpha1.Stage{Name: v1alpha1.Name(pad(fmt.Sprintf("stage-%d-", s+1)))}
		for i := range 5 {
			name := pad(fmt.Sprintf("touchpoint-%d-%d-", s+1, i+1))
			title := ""
			if s >= 4 {
				title = "客户在这里选择送货方式并确认地址、时间和付款方式" + strconv.Itoa(i+1)
			}
			add(into, touchpoint(name, title))
			stage.Touchpoints = append(stage.Touchpoints, v1alpha1.TouchpointReference{Name: v1alpha1.Name(name), Weight: 1, MomentOfTruth: i == 2})
		}
		long.Spec.Stages = append(long.Spec.Stages, stage)
	}
	silent := journey(Silent, "")
	closed := touchpoint("silent-elsewhere", "")
	closed.Namespace = "bank"
	for _, quiet := range []*v1alpha1.Touchpoint{touchpoint("silent-page", "Silent page · 静默页"), touchpoint("silent-call", ""), closed} {
		add(into, quiet)
	}
	silent.Spec.Stages = []v1alpha1.Stage{
		{Name: "use", Touchpoints: []v1alpha1.TouchpointReference{{Name: "silent-page", Weight: 1}, {Name: "silent-missing", Weight: 1, MomentOfTruth: true}}},
		{Name: "loyalty", Touchpoints: []v1alpha1.TouchpointReference{{Name: "silent-call", Weight: 1}, {Name: "silent-elsewhere", Namespace: "bank", Weight: 1}}},
	}
	single := journey(Single, "One step · 一步")
	add(into, touchpoint("single", "The only one · 唯一的触点"))
	single.Spec.Stages = []v1alpha1.Stage{{Name: "use", Touchpoints: []v1alpha1.TouchpointReference{{Name: "single", Weight: 1}}}}
	hostile := journey(Hostile, `<script>alert("journey")</script>&amp; "]`)
	bad := touchpoint("hostile", "</text><image href=x onerror=alert(1)> %20\u202e")
	bad.Spec.Map = &v1alpha1.MapElements{Action: `<img src=x onerror="alert(2)">`, Quotes: []v1alpha1.Text{`"><svg onload=alert(3)>`}}
	add(into, bad)
	hostile.Spec.Stages = []v1alpha1.Stage{{Name: "use", DisplayName: `<b>use</b>|;:`, Touchpoints: []v1alpha1.TouchpointReference{{Name: "hostile", Weight: 1}}}}
	for _, made := range []*v1alpha1.Journey{long, silent, single, hostile} {
		into.Journeys[atlas.Key{Namespace: "shop", Name: made.Name}] = made
	}
}

func journey(name, title string) *v1alpha1.Journey {
	return &v1alpha1.Journey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Generation: 1},
		Spec:       v1alpha1.JourneySpec{DisplayName: title, Scoring: "PeakEnd"},
	}
}

func touchpoint(name, title string) *v1alpha1.Touchpoint {
	return &v1alpha1.Touchpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Generation: 1},
		Spec: v1alpha1.TouchpointSpec{
			DisplayName: title, Channel: "Web", Class: v1alpha1.ClassStandard, Kano: v1alpha1.KanoPerformance,
			Survey: &v1alpha1.Survey{Instruments: []v1alpha1.Instrument{{Type: v1alpha1.InstrumentCES}}},
		},
	}
}

func add(into *atlas.Objects, touchpoint *v1alpha1.Touchpoint) {
	into.Touchpoints[atlas.Key{Namespace: touchpoint.Namespace, Name: touchpoint.Name}] = touchpoint
}

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: 1,
		LastTransitionTime: metav1.NewTime(Now.Add(-2 * time.Hour)),
	}
}

// mark is a number from 0 to 99 that belongs to a name.
func mark(name string) int {
	sum := 0
	for _, letter := range name {
		sum = (31*sum + int(letter)) % 9973
	}
	return sum % 100
}

// live fills in what customers experience.
func live(t *v1alpha1.Touchpoint) {
	m, broken := mark(t.Name), t.Name == "checkout"
	ready := condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "measured by Probe, Survey")
	healthy := condition(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonKept, "all budgets are kept")
	score, ease := 70+m%28, 78+m%20
	if broken {
		score, ease = 21, 41
		healthy = condition(v1alpha1.ConditionHealthy, metav1.ConditionFalse, v1alpha1.ReasonBreached,
			"breached: promises/effort; behind it: Deployment payments (1 of 3 can serve)")
	}
	t.Status = v1alpha1.TouchpointStatus{
		ObservedGeneration: 1, MeasuredBy: "Probe, Survey", Journeys: []string{"shop/" + Shop},
		Conditions: []metav1.Condition{ready, healthy, condition(v1alpha1.ConditionObserved, metav1.ConditionTrue, v1alpha1.ReasonAnswering, "Prometheus answers")},
		Score:      decimal(score), Satisfaction: &v1alpha1.Satisfaction{Points: "12", Sign: "+"},
		Gaps: []v1alpha1.GapStatus{{Gap: "5-Customer", Points: "12", Source: "Computed", From: "expected 60, perceived 72"}},
		Experience: &v1alpha1.Experience{
			Net: &v1alpha1.NetFigure{Points: "62", Lower: "50", Upper: "72", Events: 240},
			CES: &v1alpha1.EffortFigure{Instrument: "CES", Mean: "5.6", EasePercent: decimal(ease), Lower: decimal(ease - 6), Upper: decimal(min(99, ease+5)), Net: decimal(ease - 9), Events: 240},
		},
	}
	if t.Spec.Probe != nil {
		up := v1alpha1.Figure("99.95")
		p95 := v1alpha1.Figure(fmt.Sprintf("0.%02d", 10+m%60))
		outcome := v1alpha1.LocationStatus{Location: "default", Outcome: v1alpha1.ProbeSuccess, Since: metav1.NewTime(Now.Add(-50 * time.Hour))}
		if broken {
			up, p95 = "91.2", "2.4"
			outcome = v1alpha1.LocationStatus{Location: "default", Outcome: v1alpha1.ProbeFailure, Reason: "Timeout", Since: metav1.NewTime(Now.Add(-12 * time.Minute))}
		}
		t.Status.Experience.Availability = &v1alpha1.ShareFigure{Percent: up, Lower: "90.1", Upper: "99.99", Events: 360}
		t.Status.Experience.Latency = &v1alpha1.LatencyFigure{P50Seconds: "0.08", P95Seconds: p95}
		t.Status.Probes = []v1alpha1.LocationStatus{outcome}
	}
	if t.Spec.Blueprint == nil {
		return
	}
	for lane, parts := range map[string][]v1alpha1.BlueprintPart{"Backstage": t.Spec.Blueprint.Backstage, "Support": t.Spec.Blueprint.Support} {
		for _, part := range parts {
			if part.Workload == nil {
				continue
			}
			known := v1alpha1.WorkloadStatus{Lane: lane, Kind: part.Workload.Kind, Name: part.Workload.Name, Health: "Healthy"}
			if part.Workload.Name == "payments" {
				known.Health, known.Message = "Degraded", "1 of 3 can serve"
			}
			t.Status.Workloads = append(t.Status.Workloads, known)
		}
	}
}

// promise fills in how budgets stand.
func promise(in *atlas.Objects, slo *v1alpha1.ExperienceSLO) {
	here := targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}, Journeys: map[string]*v1alpha1.Journey{}}
	for key, touchpoint := range in.Touchpoints {
		if key.Namespace == slo.Namespace {
			here.Touchpoints[key.Name] = touchpoint
		}
	}
	for key, journey := range in.Journeys {
		if key.Namespace == slo.Namespace {
			here.Journeys[key.Name] = journey
		}
	}
	met := condition(v1alpha1.ConditionMet, metav1.ConditionTrue, v1alpha1.ReasonKept, "all budgets are kept")
	for _, watch := range rules.ForSLO(slo, here).Watched {
		for _, name := range watch.Touchpoints {
			m := mark(watch.Objective + name)
			known := v1alpha1.BudgetStatus{
				Objective: v1alpha1.Name(watch.Objective), Touchpoint: v1alpha1.Name(name), State: "Met",
				Value: "99.2", Events: 12000, Remaining: decimal(35 + m%60),
			}
			switch {
			case strings.HasPrefix(name, Silent):
				known = v1alpha1.BudgetStatus{Objective: known.Objective, Touchpoint: known.Touchpoint, State: "NoData"}
			case name == "checkout":
				known.State, known.Value, known.Remaining, known.BurnRate = "Breached", "62.5", "-87", "18"
				known.Alerts = []string{"page 1h", "ticket 6h"}
				if watch.Family == "survey" {
					known.Lower, known.Upper, known.Events, known.BurnRate, known.Alerts = "55.1", "69.4", 240, "1.9", []string{"ticket 1d"}
				}
				met = condition(v1alpha1.ConditionMet, metav1.ConditionFalse, v1alpha1.ReasonBreached, "breached: "+watch.Objective+" at checkout")
			case name == "support-call":
				known.State, known.Value, known.Lower, known.Upper, known.Events, known.Remaining = "InsufficientData", "71.4", "45.2", "88.3", 14, "42"
			}
			slo.Status.Worst = append(slo.Status.Worst, known)
		}
	}
	slo.Status.Conditions = []metav1.Condition{
		condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "all budgets watched"), met,
		condition(v1alpha1.ConditionRulesLoaded, metav1.ConditionTrue, v1alpha1.ReasonLoaded, "Prometheus shows every budget"),
	}
}

// summarise fills in how a journey does.
func summarise(in *atlas.Objects, journey *v1alpha1.Journey) {
	ready := condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "all there")
	if journey.Name == Silent {
		journey.Status.Conditions = []metav1.Condition{
			condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonReferenceNotFound, "spec.stages.touchpoints: there is no Touchpoint silent-missing"),
			condition(v1alpha1.ConditionHealthy, metav1.ConditionUnknown, v1alpha1.ReasonNothingPromised, "no budget at any of its touchpoints"),
		}
		return
	}
	healthy := condition(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonKept, "all budgets are kept")
	status := &journey.Status
	status.Score, status.Completeness = "83", 70
	status.Budgets = &v1alpha1.JourneyBudgets{Met: 9, Unknown: 1}
	if journey.Name == Shop {
		healthy = condition(v1alpha1.ConditionHealthy, metav1.ConditionFalse, v1alpha1.ReasonBreached, "breached: promises/effort at checkout")
		status.Score, status.Budgets = "52", &v1alpha1.JourneyBudgets{Met: 18, Breached: 3, Unknown: 1}
		status.Weakest = &v1alpha1.WeakestTouchpoint{Name: "checkout", Score: "21", Why: "easy for 41 % of 240; critical/availability burns 18 times as fast as it may"}
		reached := true
		status.KPIs = []v1alpha1.KPIStatus{{Name: "orders-per-hour", Value: "74", Target: ">= 60", Reached: &reached}}
	}
	observed := condition(v1alpha1.ConditionObserved, metav1.ConditionTrue, v1alpha1.ReasonAnswering, "Prometheus answers")
	status.Conditions = []metav1.Condition{ready, healthy, observed}
	for i, stage := range journey.Spec.Stages {
		entries := int64(12000 / (i + 1))
		shown := v1alpha1.StageStatus{Name: stage.Name, Score: decimal(60 + mark(string(stage.Name))%40), Budgets: &v1alpha1.JourneyBudgets{Met: 4}}
		if stage.Entries != "" {
			shown.Entries = &entries
			if i > 0 {
				shown.ConversionPercent, shown.DropOffPercent = "42", "58"
			}
		}
		status.Stages = append(status.Stages, shown)
	}
}

func decimal(value int) v1alpha1.Figure { return v1alpha1.Figure(strconv.Itoa(value)) }

// Trend is what was left of a budget over a week: it falls at the end where broken.
func Trend(broken bool) atlas.Series {
	var series atlas.Series
	for hour := range 7 * 24 {
		left := 80 - float64(hour)/20
		if broken && hour > 150 {
			left -= 9 * float64(hour-150)
		}
		series = append(series, atlas.Point{Time: Now.Add(time.Duration(hour-7*24) * time.Hour), Value: left})
	}
	return series
}
