package lint

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	apivalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/config/crd"
)

// admission is what the API server knows of one kind: it judges by the API server's own
// code.
type admission struct {
	schema     *apiextensions.JSONSchemaProps
	structural *schema.Structural
	validator  apivalidation.SchemaValidator
	rules      *cel.Validator
}

// loadAdmission reads the definitions of the kinds that this program was built with.
func loadAdmission() (map[string]*admission, error) {
	names, err := fs.Glob(crd.Files, "*.yaml")
	if err != nil {
		return nil, err
	}
	kinds := map[string]*admission{}
	for _, name := range names {
		text, err := crd.Files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var definition apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(text, &definition); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if kinds[definition.Spec.Names.Kind], err = newAdmission(&definition); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return kinds, nil
}

func newAdmission(definition *apiextensionsv1.CustomResourceDefinition) (*admission, error) {
	a := &admission{schema: &apiextensions.JSONSchemaProps{}}
	written := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(written, a.schema, nil); err != nil {
		return nil, err
	}
	var err error
	if a.structural, err = schema.NewStructural(a.schema); err != nil {
		return nil, err
	}
	if a.validator, _, err = apivalidation.NewSchemaValidator(a.schema); err != nil {
		return nil, err
	}
	a.rules = cel.NewValidator(a.structural, true, celconfig.PerCallLimit)
	return a, nil
}

// unknown removes the fields that the kind does not have, and returns their paths.
func (a *admission) unknown(object map[string]any) []string {
	return pruning.PruneWithOptions(object, a.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
}

// admit fills in defaults and tells what the API server would say of a new object, in its
// own words.
func (a *admission) admit(ctx context.Context, object map[string]any) field.ErrorList {
	delete(object, "status") // which only controllers write
	metadata, _, problem := objectmeta.GetObjectMeta(object, false)
	if problem != nil {
		return field.ErrorList{field.Invalid(field.NewPath("metadata"), object["metadata"], problem.Error())}
	}
	defaulting.Default(object, a.structural)
	defaulting.PruneNonNullableNullsWithoutDefaults(object, a.structural)
	if metadata == nil {
		return field.ErrorList{field.Required(field.NewPath("metadata", "name"), "")}
	}
	found := validation.ValidateObjectMeta(metadata, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	found = append(found, apivalidation.ValidateCustomResource(nil, object, a.validator)...)
	found = append(found, objectmeta.Validate(ctx, nil, object, a.structural, false)...)
	found = append(found, listtype.ValidateListSetsAndMaps(nil, a.structural, object)...)
	for _, problem := range found {
		switch problem.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return found // the API server leaves its rules unasked too
		}
	}
	violated, _ := a.rules.Validate(ctx, nil, a.structural, object, nil, celconfig.RuntimeCELCostBudget)
	return append(found, violated...)
}

// at is the schema of the field at a path; nil where there is none.
func (a *admission) at(path string) *apiextensions.JSONSchemaProps {
	found := a.schema
	for _, part := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' }) {
		if strings.HasSuffix(part, "]") {
			if found.Items == nil || found.Items.Schema == nil {
				return nil
			}
			found = found.Items.Schema
			continue
		}
		below, has := found.Properties[part]
		if !has {
			return nil
		}
		found = &below
	}
	return found
}

// manual is what kubectl explain says of a field in short: its first sentence.
func (a *admission) manual(path string) string {
	found := a.at(path)
	if found == nil {
		return ""
	}
	sentence, _, _ := strings.Cut(strings.Join(strings.Fields(found.Description), " "), ". ")
	return strings.TrimSuffix(sentence, ".")
}

// fields are the names of the fields that the object at a path can have.
func (a *admission) fields(path string) []string {
	found := a.at(path)
	if found == nil {
		return nil
	}
	var names []string
	for name := range found.Properties {
		names = append(names, name)
	}
	return names
}

// kinds are those of this API.
var kindNames = []string{"ExperienceSLO", "Journey", "Touchpoint"}

var apiVersion = v1alpha1.GroupVersion.String()
