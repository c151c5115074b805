package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// wide is an ExperienceSLO with as many objectives as there can be, and touchpoints with
// names as long as they can be.
func wide(touchpoints int) (*v1alpha1.ExperienceSLO, targets.Namespace) {
	in := targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}}
	for i := range touchpoints {
		name := fmt.Sprintf("%s-%05d", strings.Repeat("x", 57), i)
		in.Touchpoints[name] = &v1alpha1.Touchpoint{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec:       v1alpha1.TouchpointSpec{Survey: &v1alpha1.Survey{Instruments: []v1alpha1.Instrument{{Type: v1alpha1.InstrumentCES}}}},
		}
	}
	slo := &v1alpha1.ExperienceSLO{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "wide"},
		Spec:       v1alpha1.ExperienceSLOSpec{Targets: v1alpha1.Targets{Selector: &v1alpha1.TouchpointSelector{}}, Window: "28d"},
	}
	for i := range 20 {
		slo.Spec.Objectives = append(slo.Spec.Objectives, v1alpha1.Objective{
			Name: v1alpha1.Name(fmt.Sprintf("objective-%d", i)), CES: &v1alpha1.CESObjective{EaseShare: v1alpha1.Percentage(fmt.Sprintf("%d%%", 60+i))},
		})
	}
	return slo, in
}

// However many touchpoints an ExperienceSLO covers, each of its rule objects has room in
// Kubernetes, every budget is in one of them, and one touchpoint more changes one of them.
func TestWideSLOIsSpreadOverObjects(t *testing.T) {
	t.Parallel()
	for _, touchpoints := range []int{10, 200, 1000, 5000} {
		texts := func(n int) map[string]string {
			slo, in := wide(n)
			made := ForSLO(slo, in)
			if made.Budgets != 20*n {
				t.Fatalf("%d budgets at %d touchpoints", made.Budgets, n)
			}
			byName, named := map[string]string{}, 0
			for _, object := range made.Objects {
				text, err := json.Marshal(object.Groups)
				if err != nil {
					t.Fatal(err)
				}
				if len(text) > 700<<10 {
					t.Errorf("%s comes to %d KiB at %d touchpoints", object.Name, len(text)>>10, n)
				}
				if _, twice := byName[object.Name]; twice {
					t.Errorf("two objects are named %s", object.Name)
				}
				byName[object.Name] = string(text)
				named += strings.Count(string(text), strings.Repeat("x", 57))
			}
			if named != 20*n {
				t.Errorf("the rules name %d budgets of %d", named, 20*n)
			}
			return byName
		}
		before, after := texts(touchpoints), texts(touchpoints+1)
		if touchpoints <= 200 && len(before) != 1 {
			t.Errorf("%d touchpoints take %d objects", touchpoints, len(before))
		}
		maps.DeleteFunc(after, func(name, text string) bool { return before[name] == text })
		if len(after) != 1 {
			t.Errorf("one touchpoint more than %d changes %d of %d objects", touchpoints, len(after), len(before))
		}
	}
}
