// Package publish writes rule objects to the cluster, as PrometheusRules or as
// ConfigMaps, and takes back those that are no longer wanted.
//
// It writes only where the cache and what is wanted differ. Labels and annotations
// of others on our objects are left alone; rule groups and keys of others inside
// them are removed, because whoever may edit a rule object would otherwise
// evaluate rules under our name.
package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// FieldOwner owns every field that the manager applies.
const FieldOwner = client.FieldOwner("sojourn-manager")

// Labels of everything that this package writes. They say what an object comes
// from, so that it is found again without an owner reference.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelKind      = "sojourn.dev/kind"
	LabelNamespace = "sojourn.dev/namespace"
	LabelName      = "sojourn.dev/name"

	ManagedBy = "sojourn"
)

// MaxBytes is the most that one rule object may come to: the limit of a
// ConfigMap's data, and what etcd takes with room for the field managers.
const MaxBytes = 1 << 20

// Form is the kind of object that holds rules.
type Form string

// Forms.
const (
	PrometheusRules Form = "PrometheusRule"
	ConfigMaps      Form = "ConfigMap"
)

// Source is what rule objects come from.
type Source struct{ Kind, Namespace, Name string }

func (s Source) String() string { return s.Kind + "/" + s.Namespace + "/" + s.Name }

// SourceOf reads from its labels what a rule object comes from.
func SourceOf(object client.Object) (Source, bool) {
	labels := object.GetLabels()
	source := Source{Kind: labels[LabelKind], Namespace: labels[LabelNamespace], Name: labels[LabelName]}
	return source, labels[LabelManagedBy] == ManagedBy && source.Kind != "" && source.Namespace != "" && source.Name != ""
}

// TooLargeError says that a rule object is beyond what Kubernetes can store.
// Trying again does not help.
type TooLargeError struct {
	Name  string
	Bytes int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the rules %s come to %d KiB, more than the %d KiB that one Kubernetes object can hold",
		e.Name, (e.Bytes+1023)/1024, MaxBytes/1024)
}

// Format is what an installation chose for the looks of its rule objects.
type Format struct {
	// RuleLabels are put on every rule object, for a Prometheus that selects by them.
	RuleLabels map[string]string
	// ConfigMapLabels are put on ConfigMaps besides, for the sidecar that selects by them.
	ConfigMapLabels map[string]string
	// RulesNamespace is where ConfigMaps are written.
	RulesNamespace string
}

// Text is what is applied of a rule object, as JSON, but for its owner. An error says that
// it is too large, or cannot be written at all.
func (f Format) Text(form Form, source Source, object rules.Object) ([]byte, error) {
	if form == PrometheusRules {
		return prometheusRuleJSON(f.prometheusRule(source, object))
	}
	configMap, err := f.configMap(source, object)
	if err != nil {
		return nil, err
	}
	return json.Marshal(configMap)
}

// Publisher writes rule objects in one form.
type Publisher struct {
	Format
	// Client reads from a cache that has the indexes of IndexFields.
	Client client.Client
	Form   Form
	// Probes tells whether the Prometheus Operator's kind Probe is installed.
	Probes bool
}

const indexSource = "source"

// IndexFields prepares a cache for a Publisher.
func IndexFields(ctx context.Context, indexer client.FieldIndexer, form Form) error {
	bySource := func(object client.Object) []string {
		source, ok := SourceOf(object)
		if !ok {
			return nil
		}
		return []string{source.String()}
	}
	err := indexer.IndexField(ctx, &corev1.ConfigMap{}, indexSource, bySource)
	if form == PrometheusRules {
		err = errors.Join(err, indexer.IndexField(ctx, &monitoringv1.PrometheusRule{}, indexSource, bySource))
	}
	return err
}

var rulesWritten = prometheus.NewGaugeVec(prometheus.GaugeOpts{
	Name: "sojourn_rules",
	Help: "Prometheus rules that are generated, by the kind of object they come from.",
}, []string{"kind"})

func init() { metrics.Registry.MustRegister(rulesWritten) }

// counted holds how many rules each source has, for rulesWritten.
var counted struct {
	sync.Mutex
	bySource map[Source]int
}

// count keeps account of the rules of a source.
func count(source Source, objects []rules.Object) {
	n := 0
	for _, object := range objects {
		for _, group := range object.Groups {
			n += len(group.Rules)
		}
	}
	counted.Lock()
	defer counted.Unlock()
	if counted.bySource == nil {
		counted.bySource = map[Source]int{}
	}
	rulesWritten.WithLabelValues(source.Kind).Add(float64(n - counted.bySource[source]))
	if n == 0 {
		delete(counted.bySource, source)
		return
	}
	counted.bySource[source] = n
}

// Sync makes the rule objects of a source exactly those given. With an owner they
// are the owner's, and the garbage collector removes them with it.
//
// An object that cannot be written does not keep the others from being written.
func (p *Publisher) Sync(ctx context.Context, source Source, owner client.Object, objects []rules.Object) error {
	count(source, objects)
	var failures []error
	wanted := map[string]bool{}
	for _, object := range objects {
		wanted[object.Name] = true
		var err error
		if p.Form == PrometheusRules {
			err = p.writePrometheusRule(ctx, source, owner, object)
		} else {
			err = p.writeConfigMap(ctx, source, object)
		}
		// A namespace that is going away takes no new objects and needs none.
		if err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			failures = append(failures, err)
			// What is there in the other form serves until this is written.
			wanted[configMapName(source, object.Name)] = true
		}
	}
	failures = append(failures, p.withdraw(ctx, source, owner, wanted))
	return errors.Join(failures...)
}

// withdraw deletes what a source has besides the objects wanted. ConfigMaps are
// named in wanted by their own names.
func (p *Publisher) withdraw(ctx context.Context, source Source, owner client.Object, wanted map[string]bool) error {
	var failures []error
	if p.Form == PrometheusRules {
		var found monitoringv1.PrometheusRuleList
		if err := p.Client.List(ctx, &found, client.InNamespace(source.Namespace),
			client.MatchingFields{indexSource: source.String()}, client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		for i := range found.Items {
			rule := &found.Items[i]
			// The garbage collector takes what still has its owner reference.
			collected := owner == nil && metav1.GetControllerOf(rule) != nil
			if !wanted[rule.Name] && !collected {
				failures = append(failures, p.delete(ctx, rule))
			}
		}
	}
	var found corev1.ConfigMapList
	if err := p.Client.List(ctx, &found, client.InNamespace(p.RulesNamespace),
		client.MatchingFields{indexSource: source.String()}, client.UnsafeDisableDeepCopy); err != nil {
		return errors.Join(append(failures, err)...)
	}
	for i := range found.Items {
		keep := wanted[found.Items[i].Name]
		if name, of := strings.CutPrefix(found.Items[i].Name, source.Namespace+"."); of && p.Form == ConfigMaps {
			keep = wanted[name]
		}
		if !keep {
			failures = append(failures, p.delete(ctx, &found.Items[i]))
		}
	}
	return errors.Join(failures...)
}

func (p *Publisher) delete(ctx context.Context, object client.Object) error {
	if object.GetDeletionTimestamp() != nil {
		return nil
	}
	uid := object.GetUID()
	// The cached object is shared, and Delete may write to what it is given.
	object = object.DeepCopyObject().(client.Object)
	err := p.Client.Delete(ctx, object, client.Preconditions{UID: &uid})
	if apierrors.IsConflict(err) {
		return nil // another object took its name, whose event brings us back
	}
	return client.IgnoreNotFound(err)
}

// labels are what every rule object of a source carries.
func (f Format) labels(source Source, more map[string]string) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, f.RuleLabels)
	maps.Copy(labels, more)
	labels[LabelManagedBy] = ManagedBy
	labels[LabelKind] = source.Kind
	labels[LabelNamespace] = source.Namespace
	labels[LabelName] = source.Name
	return labels
}

func contains(have, want map[string]string) bool {
	for key, value := range want {
		if actual, has := have[key]; !has || actual != value {
			return false
		}
	}
	return true
}

// patchOperation is one operation of a JSON patch.
type patchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// pointer makes the JSON pointer of a path.
func pointer(path ...string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var b strings.Builder
	for _, part := range path {
		b.WriteByte('/')
		b.WriteString(escape.Replace(part))
	}
	return b.String()
}
