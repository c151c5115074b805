package openslo

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/slug"
)

// Options shape what is imported.
type Options struct {
	// Namespace of all objects; empty: none is written.
	Namespace string
	// Channel of all touchpoints: OpenSLO does not tell.
	Channel v1alpha1.Channel
}

// Imported is what becomes of documents.
type Imported struct {
	Touchpoints    []*v1alpha1.Touchpoint
	ExperienceSLOs []*v1alpha1.ExperienceSLO
	// Findings are what is not the same, in the order of the text.
	Findings []Finding
}

// Limits of the kinds' fields.
const (
	maxTitle       = 128
	maxDescription = 1024
	maxObjectives  = 20
	maxEvents      = 16
	maxQuery       = 2048
)

// placed is a document and where its fields stand.
type placed struct {
	node   *kyaml.Node
	name   string // such as SLO/checkout
	fields []byte // as JSON
}

type importer struct {
	options     Options
	found       *Imported
	services    map[string]placed
	order       []string // of services, as they are first mentioned
	indicators  map[string]placed
	sources     map[string]string // types by name
	used        map[string]bool   // indicators
	touchpoints map[string]*v1alpha1.Touchpoint
	names       *slug.Names
	sloNames    *slug.Names
}

// Import reads documents. An error means that the text is no YAML at all.
func Import(text string, options Options) (*Imported, error) {
	i := &importer{
		options: options, found: &Imported{}, services: map[string]placed{}, indicators: map[string]placed{}, sources: map[string]string{},
		used: map[string]bool{}, touchpoints: map[string]*v1alpha1.Touchpoint{}, names: slug.NewNames("touchpoint"), sloNames: slug.NewNames("slo"),
	}
	documents, err := i.read(text)
	if err != nil {
		return nil, err
	}
	var slos []placed
	for _, each := range documents {
		var head document
		if i.decode(each, &head) {
			slos = append(slos, i.sort(each, head)...)
		}
	}
	for _, name := range i.order {
		i.touchpoint(name)
	}
	for _, each := range slos {
		i.slo(each)
	}
	for _, name := range slices.Sorted(maps.Keys(i.indicators)) {
		if !i.used[name] {
			i.note(i.indicators[name], "", "no SLO refers to it, so nothing follows from it")
		}
	}
	slices.SortStableFunc(i.found.Findings, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
	return i.found, nil
}

// read takes the documents apart.
func (i *importer) read(text string) ([]placed, error) {
	var found []placed
	decoder := kyaml.NewDecoder(strings.NewReader(text))
	for {
		var node kyaml.Node
		if err := decoder.Decode(&node); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("this is no YAML: %w", err)
		}
		if len(node.Content) == 0 || node.Content[0].Tag == kyaml.NodeTagNull {
			continue
		}
		each := placed{node: node.Content[0], name: "document"}
		var content any
		err := node.Content[0].Decode(&content)
		if err == nil {
			each.fields, err = json.Marshal(content)
		}
		if _, is := content.(map[string]any); err != nil || !is {
			i.leave(each, "", "this is no object: write apiVersion, kind, metadata and spec")
			continue
		}
		found = append(found, each)
	}
}

// decode reads a document; false, and a finding, if its fields have other types.
func (i *importer) decode(p placed, into any) bool {
	decoder := json.NewDecoder(bytes.NewReader(p.fields))
	err := decoder.Decode(into)
	if wrong, is := errors.AsType[*json.UnmarshalTypeError](err); is {
		i.leave(p, wrong.Field, "it is a %s, and should be a %s", wrong.Value, wrong.Type)
	} else if err != nil {
		i.leave(p, "", "%v", err)
	}
	return err == nil
}

func (i *importer) leave(p placed, field, message string, arguments ...any) {
	i.finding(p, field, true, fmt.Sprintf(message, arguments...))
}

func (i *importer) note(p placed, field, message string, arguments ...any) {
	i.finding(p, field, false, fmt.Sprintf(message, arguments...))
}

func (i *importer) finding(p placed, field string, leftOut bool, message string) {
	at := locate(p.node, field)
	i.found.Findings = append(i.found.Findings, Finding{Object: p.name, Field: field, Line: at.Line, Column: at.Column, Message: message, LeftOut: leftOut})
}

// locate finds the node of a path such as spec.objectives[0].target, or of as much of it as
// there is.
func locate(node *kyaml.Node, path string) *kyaml.Node {
	for step := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if node.Kind == kyaml.SequenceNode {
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(node.Content) {
				return node
			}
			node = node.Content[n]
			continue
		}
		at := -1
		for n := 0; node.Kind == kyaml.MappingNode && n+1 < len(node.Content); n += 2 {
			if node.Content[n].Value == step {
				at = n
			}
		}
		if at < 0 {
			return node
		}
		if next := node.Content[at+1]; next.Kind == kyaml.ScalarNode {
			return next
		}
		if path == step || strings.HasSuffix(path, "."+step) {
			return node.Content[at]
		}
		node = node.Content[at+1]
	}
	return node
}

// sort puts a document where it belongs, and returns it if it is an SLO.
func (i *importer) sort(p placed, head document) []placed {
	p.name = head.Kind + "/" + head.Metadata.Name
	switch {
	case head.APIVersion != version:
		i.leave(p, "apiVersion", "it is of %q: only %s is read", head.APIVersion, version)
	case head.Metadata.Name == "":
		i.leave(p, "metadata.name", "it has no name")
	case head.Kind == "SLO":
		var known slo
		if i.decode(p, &known) {
			i.mention(known.Spec.Service)
			return []placed{p}
		}
	case head.Kind == "Service":
		i.services[head.Metadata.Name] = p
		i.mention(head.Metadata.Name)
	case head.Kind == "SLI":
		i.indicators[head.Metadata.Name] = p
	case head.Kind == "DataSource":
		var known dataSource
		if i.decode(p, &known) {
			i.sources[head.Metadata.Name] = known.Spec.Type
			if len(known.Spec.ConnectionDetails) > 0 {
				i.note(p, "spec.connectionDetails", "rules run in the Prometheus that loads them, and the manager asks the one of --prometheus-url")
			}
		}
	case head.Kind == "AlertPolicy", head.Kind == "AlertCondition":
		i.leave(p, "", "ExperienceSLOs alert by tiers of their own, over several windows each: see docs/series.md, and spec.alerting for severities and labels")
	case head.Kind == "AlertNotificationTarget":
		i.leave(p, "", "who is told is said in Alertmanager's routes, by the labels of alerts")
	default:
		i.leave(p, "kind", "there is no such kind in %s", version)
	}
	return nil
}

func (i *importer) mention(service string) {
	if service != "" && !slices.Contains(i.order, service) {
		i.order = append(i.order, service)
	}
}

// touchpoint makes one of a service.
func (i *importer) touchpoint(name string) {
	made := i.newTouchpoint(name, cmp.Or(name, "service"))
	if p, ok := i.services[name]; ok {
		var known service
		if !i.decode(p, &known) {
			return
		}
		if known.Metadata.DisplayName != "" && known.Metadata.DisplayName != made.Name {
			made.Spec.DisplayName = i.short(p, "metadata.displayName", known.Metadata.DisplayName, maxTitle)
		}
		made.Spec.Description = v1alpha1.Text(i.short(p, "spec.description", known.Spec.Description, maxDescription))
		made.Labels, made.Annotations = i.metadata(p, known.Metadata)
	}
}

func (i *importer) newTouchpoint(key, name string) *v1alpha1.Touchpoint {
	made := &v1alpha1.Touchpoint{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Touchpoint"},
		ObjectMeta: metav1.ObjectMeta{Name: i.names.Of(name), Namespace: i.options.Namespace},
		Spec:       v1alpha1.TouchpointSpec{Channel: cmp.Or(i.options.Channel, "Web")},
	}
	i.touchpoints[key] = made
	i.found.Touchpoints = append(i.found.Touchpoints, made)
	return made
}

// short cuts what has no room, and says so.
func (i *importer) short(p placed, field, text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		i.note(p, field, "only its first %d characters have room", most-1)
		return string(runes[:most-1]) + "…"
	}
	return text
}

// metadata keeps the labels and annotations that Kubernetes takes.
func (i *importer) metadata(p placed, known metadata) (labels, annotations map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(known.Labels)) {
		values := known.Labels[key]
		if len(values) != 1 || len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(values[0])) > 0 {
			i.note(p, "metadata.labels."+key, "Kubernetes takes no such label")
			continue
		}
		if labels == nil {
			labels = map[string]string{}
		}
		labels[key] = values[0]
	}
	for _, key := range slices.Sorted(maps.Keys(known.Annotations)) {
		if len(validation.IsQualifiedName(strings.ToLower(key))) > 0 {
			i.note(p, "metadata.annotations."+key, "Kubernetes takes no such annotation")
			continue
		}
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[key] = known.Annotations[key]
	}
	return labels, annotations
}

// windows are those that an ExperienceSLO can have, by how OpenSLO may write them.
var windows = map[string]v1alpha1.Window{
	"7d": "7d", "1w": "7d", "168h": "7d", "28d": "28d", "4w": "28d", "672h": "28d", "30d": "30d", "720h": "30d", "90d": "90d", "2160h": "90d",
}

// slo makes an ExperienceSLO, if it can mean the same.
func (i *importer) slo(p placed) {
	var known slo
	_ = i.decode(p, &known) // it has been, once
	spec := &known.Spec
	if spec.Service == "" {
		i.leave(p, "spec.service", "it names no service, which would be its touchpoint")
		return
	}
	if spec.BudgetingMethod != "Occurrences" {
		i.leave(p, "spec.budgetingMethod", "it is %q, which counts slices of time; budgets here count events: Occurrences", spec.BudgetingMethod)
		return
	}
	window, ok := i.window(p, spec.TimeWindow)
	if !ok {
		return
	}
	for n, each := range spec.Objectives {
		if len(each.Indicator) > 0 || each.IndicatorRef != "" || len(each.CompositeWeight) > 0 {
			i.leave(p, fmt.Sprintf("spec.objectives[%d]", n), "it has an indicator of its own: composite SLOs weigh several into one, which budgets here do not; write an SLO for each")
			return
		}
	}
	indicator, at, ok := i.indicator(p, spec)
	if !ok {
		return
	}
	made := &v1alpha1.ExperienceSLO{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ExperienceSLO"},
		ObjectMeta: metav1.ObjectMeta{Namespace: i.options.Namespace},
		Spec: v1alpha1.ExperienceSLOSpec{
			Description: v1alpha1.Text(i.short(p, "spec.description", spec.Description, maxDescription)), Window: window,
		},
	}
	measured, promise, ok := i.measure(spec.Service, indicator, at)
	if !ok {
		return
	}
	names := slug.NewNames("objective")
	for n, each := range spec.Objectives {
		field := fmt.Sprintf("spec.objectives[%d]", n)
		if n == maxObjectives {
			i.leave(p, field, "an ExperienceSLO has at most %d objectives", maxObjectives)
			break
		}
		target, ok := i.target(p, field, each)
		if !ok {
			continue
		}
		objective := promise(target)
		objective.Name = v1alpha1.Name(names.Of(cmp.Or(each.DisplayName, "objective")))
		made.Spec.Objectives = append(made.Spec.Objectives, objective)
		for name, ignored := range map[string]bool{
			"op": each.Op != "", "value": len(each.Value) > 0, "timeSliceTarget": len(each.TimeSliceTarget) > 0, "timeSliceWindow": len(each.TimeSliceWindow) > 0,
		} {
			if ignored {
				i.note(p, field+"."+name, "it means nothing to a ratio of occurrences")
			}
		}
	}
	if len(spec.AlertPolicies) > 0 {
		i.leave(p, "spec.alertPolicies", "an ExperienceSLO alerts by tiers of its own, over several windows each: see docs/series.md, and spec.alerting for severities and labels")
	} else {
		i.note(p, "", "an ExperienceSLO alerts when its budget burns; spec.alerting.disabled turns that off")
	}
	if len(made.Spec.Objectives) == 0 {
		return
	}
	made.Name = i.sloNames.Of(known.Metadata.Name)
	if known.Metadata.DisplayName != "" && known.Metadata.DisplayName != made.Name {
		made.Spec.DisplayName = i.short(p, "metadata.displayName", known.Metadata.DisplayName, maxTitle)
	}
	made.Labels, made.Annotations = i.metadata(p, known.Metadata)
	made.Spec.Targets = v1alpha1.Targets{Touchpoints: []v1alpha1.Name{v1alpha1.Name(measured.Name)}}
	i.found.ExperienceSLOs = append(i.found.ExperienceSLOs, made)
}

func (i *importer) window(p placed, declared []timeWindow) (v1alpha1.Window, bool) {
	if len(declared) == 0 {
		i.note(p, "spec", "it has no timeWindow: the default of 28d stands")
		return "", true
	}
	if len(declared) > 1 {
		i.leave(p, "spec.timeWindow[1]", "a promise has one window: write an SLO for each")
		return "", false
	}
	if !declared[0].IsRolling || len(declared[0].Calendar) > 0 {
		i.leave(p, "spec.timeWindow[0]", "it follows the calendar; windows here are rolling: 7d, 28d, 30d or 90d")
		return "", false
	}
	window, ok := windows[declared[0].Duration]
	if !ok {
		i.leave(p, "spec.timeWindow[0].duration", "it is %q: windows here are 7d, 28d, 30d or 90d", declared[0].Duration)
	}
	return window, ok
}

// at is where an indicator stands: in a document, below a path.
type at struct {
	placed
	path string
}

func (i *importer) indicator(p placed, spec *sloSpec) (*sliSpec, at, bool) {
	switch {
	case spec.Indicator != nil && spec.IndicatorRef == "":
		return &spec.Indicator.Spec, at{p, "spec.indicator.spec"}, true
	case spec.Indicator == nil && spec.IndicatorRef != "":
		other, ok := i.indicators[spec.IndicatorRef]
		if !ok {
			i.leave(p, "spec.indicatorRef", "there is no SLI %s in the file: put it in, too", spec.IndicatorRef)
			return nil, at{}, false
		}
		i.used[spec.IndicatorRef] = true
		var known sli
		if !i.decode(other, &known) {
			return nil, at{}, false
		}
		return &known.Spec, at{other, "spec"}, true
	default:
		i.leave(p, "spec", "it has %s: write one of indicator and indicatorRef", map[bool]string{true: "two indicators", false: "no indicator"}[spec.Indicator != nil])
		return nil, at{}, false
	}
}

// measure has the touchpoint of a service measured by an indicator, and returns how an
// objective promises a share of its good events.
func (i *importer) measure(service string, known *sliSpec, where at) (*v1alpha1.Touchpoint, func(v1alpha1.Percentage) v1alpha1.Objective, bool) {
	none := func(field, message string, arguments ...any) (*v1alpha1.Touchpoint, func(v1alpha1.Percentage) v1alpha1.Objective, bool) {
		i.leave(where.placed, where.path+field, message, arguments...)
		return nil, nil, false
	}
	ratio := known.RatioMetric
	switch {
	case len(known.ThresholdMetric) > 0:
		return none(".thresholdMetric", "it compares one figure with a bound; a budget here is spent by events: count good and all events, or write a latency objective over a histogram")
	case ratio == nil:
		return none("", "it has no ratioMetric")
	case len(ratio.Raw) > 0:
		return none(".ratioMetric.raw", "it is a ratio worked out beforehand, which does not tell how many events it rests on: name the counters good, or bad, and total")
	case !ratio.Counter:
		return none(".ratioMetric.counter", "it is no counter, so that what happened in a time cannot be told: name counters")
	case ratio.Total == nil, (ratio.Good == nil) == (ratio.Bad == nil):
		return none(".ratioMetric", "it needs total, and one of good and bad")
	}
	total, ok := i.counter(where, ".ratioMetric.total", ratio.Total)
	if !ok {
		return nil, nil, false
	}
	if ratio.Bad != nil {
		bad, ok := i.counter(where, ".ratioMetric.bad", ratio.Bad)
		if !ok {
			return nil, nil, false
		}
		counted := v1alpha1.RequestMetrics{Total: total, Errors: bad}
		// A touchpoint has one pair of requests and errors; another pair is another touchpoint.
		measured := i.touchpoints[service]
		for n := 2; measured != nil && measured.Spec.Metrics != nil && measured.Spec.Metrics.Requests != nil && *measured.Spec.Metrics.Requests != counted; n++ {
			service = fmt.Sprintf("%s %d", strings.TrimSuffix(service, fmt.Sprintf(" %d", n-1)), n)
			if measured = i.touchpoints[service]; measured == nil {
				measured = i.newTouchpoint(service, service)
			}
		}
		metricsOf(measured).Requests = &counted
		return measured, func(target v1alpha1.Percentage) v1alpha1.Objective {
			return v1alpha1.Objective{Availability: &v1alpha1.AvailabilityObjective{Target: target}, Source: v1alpha1.SourceMetric}
		}, true
	}
	good, ok := i.counter(where, ".ratioMetric.good", ratio.Good)
	if !ok {
		return nil, nil, false
	}
	measured := i.touchpoints[service]
	name := i.pair(measured, where, v1alpha1.EventMetrics{Good: good, Total: total})
	if name == "" {
		return none(".ratioMetric", "a touchpoint has at most %d pairs of counters: move some of its SLOs to another service", maxEvents)
	}
	return measured, func(target v1alpha1.Percentage) v1alpha1.Objective {
		return v1alpha1.Objective{Events: &v1alpha1.EventsObjective{Metric: name, Target: target}}
	}, true
}

func metricsOf(touchpoint *v1alpha1.Touchpoint) *v1alpha1.Metrics {
	if touchpoint.Spec.Metrics == nil {
		touchpoint.Spec.Metrics = &v1alpha1.Metrics{}
	}
	return touchpoint.Spec.Metrics
}

// pair finds or adds a pair of counters, and returns its name; empty if there is no room.
func (i *importer) pair(touchpoint *v1alpha1.Touchpoint, where at, counted v1alpha1.EventMetrics) v1alpha1.Name {
	metrics, names := metricsOf(touchpoint), slug.NewNames("events")
	for _, known := range metrics.Events {
		if known.Good == counted.Good && known.Total == counted.Total {
			return known.Name
		}
		names.Of(string(known.Name))
	}
	if len(metrics.Events) == maxEvents {
		return ""
	}
	text := "events"
	if _, name, ok := strings.Cut(where.name, "SLI/"); ok {
		text = name
	} else if name := locate(where.node, "spec.indicator.metadata.name"); name.Kind == kyaml.ScalarNode && name.Value != "" {
		text = name.Value
	}
	counted.Name = v1alpha1.Name(names.Of(text))
	metrics.Events = append(metrics.Events, counted)
	return counted.Name
}

var promQL = parser.NewParser(parser.Options{})

// counter reads the selector of a counter out of a metric source.
func (i *importer) counter(where at, field string, known *metric) (v1alpha1.Query, bool) {
	source := &known.MetricSource
	field = where.path + field + ".metricSource"
	kind := source.Type
	if source.MetricSourceRef != "" {
		declared, ok := i.sources[source.MetricSourceRef]
		if !ok && kind == "" {
			i.leave(where.placed, field+".metricSourceRef", "there is no DataSource %s in the file, so it is not known to be Prometheus: put it in, or write type: Prometheus", source.MetricSourceRef)
			return "", false
		}
		kind = cmp.Or(declared, kind)
	}
	if !strings.EqualFold(kind, "prometheus") {
		i.leave(where.placed, field, "it is of type %q: only Prometheus can be read", kind)
		return "", false
	}
	var query string
	for _, name := range []string{"query", "promql"} {
		if text, ok := source.Spec[name].(string); ok {
			query, field = text, field+".spec."+name
			break
		}
	}
	if query == "" {
		i.leave(where.placed, field+".spec", "it has no query")
		return "", false
	}
	expr, err := promQL.ParseExpr(query)
	if err != nil {
		i.leave(where.placed, field, "this is no PromQL: %v", err)
		return "", false
	}
	selector := counterIn(expr)
	if selector == nil {
		i.leave(where.placed, field, "this is more than a counter: write only its metric and labels, such as http_requests_total{app=\"shop\"}, or their sum; what it gains is worked out from that")
		return "", false
	}
	at := selector.PositionRange()
	text := strings.TrimSpace(query[at.Start:at.End])
	if len(text) > maxQuery {
		i.leave(where.placed, field, "the selector has more than %d characters", maxQuery)
		return "", false
	}
	return v1alpha1.Query(text), true
}

// counterIn is the one selector of an expression that means the counter itself: a selector, or
// the sum of what it selects.
func counterIn(expr parser.Expr) *parser.VectorSelector {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		return counterIn(e.Expr)
	case *parser.AggregateExpr:
		if e.Op == parser.SUM && len(e.Grouping) == 0 && !e.Without {
			return counterIn(e.Expr)
		}
	case *parser.VectorSelector:
		named := slices.ContainsFunc(e.LabelMatchers, func(m *labels.Matcher) bool { return m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual })
		if named && e.OriginalOffset == 0 && e.OriginalOffsetExpr == nil && e.Timestamp == nil && e.StartOrEnd == 0 && !e.Anchored && !e.Smoothed {
			return e
		}
	}
	return nil
}

// target reads a share exactly, as a decimal number.
func (i *importer) target(p placed, field string, known objective) (v1alpha1.Percentage, bool) {
	text, scale := string(known.Target), int64(100)
	if known.TargetPercent != "" {
		text, scale = string(known.TargetPercent), 1
	}
	share, ok := new(big.Rat).SetString(text)
	if !ok || known.Target != "" && known.TargetPercent != "" {
		i.leave(p, field, "it needs one of target and targetPercent")
		return "", false
	}
	share.Mul(share, big.NewRat(scale, 1))
	if share.Sign() <= 0 || share.Cmp(big.NewRat(100, 1)) >= 0 {
		i.leave(p, field, "its target leaves no budget, or all: write more than 0 and less than 100 percent")
		return "", false
	}
	if !new(big.Rat).Mul(share, big.NewRat(10000, 1)).IsInt() {
		i.leave(p, field, "its target has more than four digits after the point, in percent")
		return "", false
	}
	digits := strings.TrimRight(strings.TrimRight(share.FloatString(4), "0"), ".")
	return v1alpha1.Percentage(digits + "%"), true
}
