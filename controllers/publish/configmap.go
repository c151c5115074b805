package publish

import (
	"context"
	"fmt"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// configMapName is the name of the ConfigMap that stands for a rule object. The
// names of namespaces have no dot, so that no two rule objects meet in one name.
func (p *Publisher) configMapName(source Source, name string) string {
	return source.Namespace + "." + name
}

// There are no owner references here: they do not reach across namespaces.
func (p *Publisher) writeConfigMap(ctx context.Context, source Source, object rules.Object) error {
	name := p.configMapName(source, object.Name)
	content, err := yaml.Marshal(struct {
		Groups []monitoringv1.RuleGroup `json:"groups"`
	}{object.Groups})
	if err != nil {
		return fmt.Errorf("writing %s as YAML: %w", object.Name, err)
	}
	if len(content) > MaxBytes {
		return &TooLargeError{Name: object.Name, Bytes: len(content)}
	}
	key := name + ".yaml"
	labels := p.labels(source, p.ConfigMapLabels)

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
	case contains(live.Labels, labels) && live.Data[key] == string(content) &&
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
	configuration := corev1ac.ConfigMap(name, p.RulesNamespace).
		WithLabels(labels).
		WithData(map[string]string{key: string(content)})
	err = p.Client.Apply(ctx, configuration, FieldOwner, client.ForceOwnership)
	return tooLarge(err, object.Name, len(content))
}
