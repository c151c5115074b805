package main

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// platform is a size: teams that share namespaces.
type platform struct{ teams, namespaces int }

// perTeam is how many touchpoints a team has.
const perTeam = 10

func (p platform) touchpoints() int { return p.teams * perTeam }
func (p platform) slos() int        { return p.teams }

// size is the number of objects of all three kinds.
func (p platform) size() int { return p.teams * (perTeam + 2) }

func (p platform) String() string {
	return fmt.Sprintf("%d touchpoints in %d namespaces", p.touchpoints(), p.namespaces)
}

func (p platform) namespace(team int) string { return fmt.Sprintf("platform-%02d", team%p.namespaces) }

func (p platform) namespaceNames() []string {
	var names []string
	for i := range p.namespaces {
		names = append(names, p.namespace(i))
	}
	return names
}

func teamName(team int) string { return fmt.Sprintf("team-%04d", team) }

func touchpointName(team, i int) string { return fmt.Sprintf("%s-touchpoint-%d", teamName(team), i) }

// objects are those of all teams, one team after the other, as their folders in Git would
// be applied.
func (p platform) objects() []client.Object {
	var objects []client.Object
	for team := range p.teams {
		objects = append(objects, p.ofTeam(team)...)
	}
	return objects
}

func (p platform) ofTeam(team int) []client.Object {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: p.namespace(team), Name: name, Labels: map[string]string{"example.com/team": teamName(team)}}
	}
	owner := &v1alpha1.Owner{Team: teamName(team), Contact: "#" + teamName(team), RunbookURL: "https://runbooks.example.com/touchpoints"}
	journey := &v1alpha1.Journey{ObjectMeta: meta(teamName(team)), Spec: v1alpha1.JourneySpec{
		DisplayName: "A journey of " + teamName(team), Owner: owner,
	}}
	objects := []client.Object{journey, &v1alpha1.ExperienceSLO{
		ObjectMeta: meta(teamName(team)),
		Spec: v1alpha1.ExperienceSLOSpec{
			Targets: v1alpha1.Targets{Selector: &v1alpha1.TouchpointSelector{
				MatchLabels: map[string]v1alpha1.LabelValue{"example.com/team": v1alpha1.LabelValue(teamName(team))},
			}},
			Objectives: []v1alpha1.Objective{
				{Name: "up", Availability: &v1alpha1.AvailabilityObjective{Target: "99.9%"}},
				{Name: "effort", CES: &v1alpha1.CESObjective{EaseShare: "80%"}},
			},
		},
	}}
	stages := []string{"consideration", "purchase", "use"}
	for _, name := range stages {
		journey.Spec.Stages = append(journey.Spec.Stages, v1alpha1.Stage{Name: v1alpha1.Name(name)})
	}
	for i := range perTeam {
		stage := &journey.Spec.Stages[i*len(stages)/perTeam]
		stage.Touchpoints = append(stage.Touchpoints, v1alpha1.TouchpointReference{Name: v1alpha1.Name(touchpointName(team, i)), MomentOfTruth: i == 5})
		objects = append(objects, touchpoint(meta(touchpointName(team, i)), owner))
	}
	return objects
}

// touchpoint is probed, surveyed, and documented as teams document.
func touchpoint(meta metav1.ObjectMeta, owner *v1alpha1.Owner) *v1alpha1.Touchpoint {
	return &v1alpha1.Touchpoint{
		ObjectMeta: meta,
		Spec: v1alpha1.TouchpointSpec{
			DisplayName: meta.Name, Channel: "Web", Class: v1alpha1.ClassCritical, Owner: owner,
			Description: v1alpha1.Text(strings.Repeat("What happens here. ", 10)),
			Probe:       &v1alpha1.Probe{HTTP: &v1alpha1.HTTPProbe{URL: v1alpha1.URL("http://shop.example.com/" + meta.Name)}},
			Survey:      &v1alpha1.Survey{Instruments: []v1alpha1.Instrument{{Type: v1alpha1.InstrumentCES}}},
			Map: &v1alpha1.MapElements{
				Action: "Fills in the form and sends it off.", Emotion: "Hopeful, a little wary.",
				Quotes:     []v1alpha1.Text{"I could smell it from the pictures.", "Is this the price in the picture?"},
				PainPoints: []v1alpha1.Text{"The page loads slowly on the train."},
			},
		},
	}
}
