package atlas_test

import (
	"testing"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas/atlastest"
)

func TestMapShowsWhereItHurts(t *testing.T) {
	shop := atlastest.Objects().Map(atlas.Key{Namespace: "shop", Name: atlastest.Shop})
	if shop == nil || shop.Health.Reason != "Breached" || shop.Weakest != "checkout" {
		t.Fatalf("the journey is not shown as breached: %+v", shop)
	}
	for _, stage := range shop.Stages {
		for _, stop := range stage.Stops {
			if stop.Name != "checkout" {
				continue
			}
			if stop.Left == nil || *stop.Left != -87 || stop.Promised[0].State != "Breached" || stop.Promised[0].Promise == "" {
				t.Errorf("the budgets of the checkout: left %v, %+v", stop.Left, stop.Promised)
			}
			if *stop.Lower >= *stop.Score || *stop.Upper <= *stop.Score {
				t.Errorf("the score %v has no band: %v to %v", *stop.Score, *stop.Lower, *stop.Upper)
			}
			return
		}
	}
	t.Error("no checkout on the map")
}

func TestMapSaysWhatIsAbsent(t *testing.T) {
	silent := atlastest.Objects().Map(atlas.Key{Namespace: "shop", Name: atlastest.Silent})
	absent := map[string]string{}
	for _, stage := range silent.Stages {
		for _, stop := range stage.Stops {
			absent[stop.Name] = stop.Absent
			if stop.Score != nil || stop.Left != nil {
				t.Errorf("%s has figures though nothing is known of it", stop.Name)
			}
		}
	}
	for name, want := range map[string]string{
		"silent-page": "", "silent-missing": "there is no such Touchpoint", "silent-elsewhere": "not open to journeys of namespace shop",
	} {
		if absent[name] != want {
			t.Errorf("%s is absent because %q, not %q", name, absent[name], want)
		}
	}
	if len(silent.Missing) == 0 {
		t.Error("nothing says why there are no figures")
	}
}
