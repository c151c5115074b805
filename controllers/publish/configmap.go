package publish

import (
	"context"
	"encoding/json"
	"fmt"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	yaml "go.yaml.in/yaml/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// configMapName is the name of the ConfigMap that stands for a rule object. The
// names of namespaces have no dot, so that no two rule objects meet in one name.
func configMapName(source Source, name string) string { return source.Namespace + "." + name }

// RuleFile is a rule object as a file that Prometheus loads.
func RuleFile(object rules.Object) ([]byte, error) {
	text, err := json.Marshal(struct {
		Groups []monitoringv1.RuleGroup `json:"groups"`
	}{object.Groups})
	if err != nil {
		return nil, fmt.Errorf("writing %s as YAML: %w", object.Name, err)
	}
	return YAML(text)
}

// YAML writes JSON as YAML, as sigs.k8s.io/yaml does, in a third of the time: JSON is not
// read by a parser of YAML.
func YAML(text []byte) ([]byte, error) {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return nil, err
	}
	return yaml.Marshal(value)
}

// configMap is what is applied where a rule object is kept as a ConfigMap: one key with a
// rule file. There are no owner references: they do not reach across namespaces.
func (f Format) configMap(source Source, object rules.Object) (*corev1ac.ConfigMapApplyConfiguration, error) {
	content, err := RuleFile(object)
	if err != nil {
		return nil, err
	}
	if len(content) > MaxBytes {
		return nil, &TooLargeError{Name: object.Name, Bytes: len(content)}
	}
	name := configMapName(source, object.Name)
	return corev1ac.ConfigMap(name, f.RulesNamespace).
		WithLabels(f.labels(source, f.ConfigMapLabels)).
		WithData(map[string]string{name + ".yaml": string(content)}), nil
}

func (p *Publisher) writeConfigMap(ctx context.Context, source Source, object rules.Object) error {
	want, err := p.configMap(source, object)
	if err != nil {
		return err
	}
	name := *want.Name
	key := name + ".yaml"
	live := &corev1.ConfigMap{}
	err = p.Client.Get(ctx, client.ObjectKey{Namespace: p.RulesNamespace, Name: name}, live, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return err
	case live.Immutable != nil && *live.Immutable:
		// Nothing brings such a ConfigMap back but a new one, which the event of
		// this deletion makes.
		return p.delete(ctx, live)
	case contains(live.Labels, want.Labels) && live.Data[key] == want.Data[key] &&
		len(live.Data) == 1 && len(live.BinaryData) == 0:
		return nil
	default:
		var operations []patchOperation
		for other := range live.Data {
			if other != key {
				operations = append(operations, patchOperation{Op: "remove", Path: pointer("data", other)})
			}
		}
		for other := range live.BinaryData {
			operations = append(operations, patchOperation{Op: "remove", Path: pointer("binaryData", other)})
		}
		if len(operations) > 0 {
			if err := p.patch(ctx, live.DeepCopy(), operations); err != nil {
				return err
			}
		}
	}
	err = p.Client.Apply(ctx, want, FieldOwner, client.ForceOwnership)
	return tooLarge(err, object.Name, len(want.Data[key]))
}
