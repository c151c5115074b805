package main

import (
	"regexp"

	"sigs.k8s.io/kube-api-linter/pkg/config"
)

// apiLinters are those that the Kubernetes API linter runs by default, and these.
// Of the others, conflictingmarkers, dependenttags, forbiddenmarkers,
// namingconventions and preferredmarkers check nothing but what they are told to.
var apiLinters = config.Linters{
	Enable: []string{
		"maxlength",         // of every string and list: CEL's costs are bounded by it
		"statusoptional",    // a status is written in parts
		"statussubresource", // is easily forgotten
		// minlength is off: an empty list, map or object is taken for none, so that
		// templates may leave one. A string that may not be empty is told by
		// optionalfields.
		// nobools is off: alerting.disabled and momentOfTruth are of two values.
	},
	Disable: []string{
		// It is about types that Go code validates; a CRD's schema knows by itself
		// whether a struct is there.
		"nonpointerstructs",
	},
}

var apiLintersConfig = config.LintersConfig{
	// Both are for types built into Kubernetes; a CRD knows neither.
	"conditions": map[string]any{
		"useProtobuf":      "Forbid",
		"usePatchStrategy": "Forbid",
	},
	"optionalfields": map[string]any{
		// A pointer only where the zero value says something of its own: an empty
		// string or a 0 that the schema refuses needs none.
		"pointers": map[string]any{"preference": "WhenRequired"},
		// Optional structs are pointers all the same: nil is easier to ask for than
		// a zero struct.
		"omitzero": map[string]any{"policy": "Forbid"},
	},
}

// accepted are the findings, by linter, that are as they should be.
var accepted = map[string]*regexp.Regexp{
	// A part of a blueprint is described, or named as a workload, or both: at least
	// one of them, says MinProperties, which this linter does not look at.
	"arrayofstruct": regexp.MustCompile(`^Blueprint\.(Backstage|Support) `),

	"optionalfields": regexp.MustCompile(`^field (` +
		// The status of an object is a struct in every Kubernetes API.
		`(ExperienceSLO|Journey|Touchpoint)\.Status ` +
		// In a status, a count that is not there is a count of nothing.
		`|(\w+Status|BudgetStates|JourneyBudgets)\.\w+ has a valid zero value \(0\) and should be a pointer` +
		// These default to false: the API server stores what Go leaves out.
		`|(Alerting\.Disabled|TouchpointReference\.MomentOfTruth|ProbeStep\.AlwaysRun|Extraction\.Sensitive) has a valid zero value \(false\)` +
		`)`),

	// Grafana's first form of dashboards is what sidecars load and what every Grafana in use
	// reads; the second only newer ones.
	"SA1019": regexp.MustCompile(`^github\.com/grafana/grafana-foundation-sdk/go/dashboard\.\w+ is deprecated: `),

	"requiredfields": regexp.MustCompile(`^field (` +
		// A rule in CEL refuses the empty one, with a better message than a
		// minimum of properties has.
		`ExperienceSLOSpec\.Targets ` +
		// A time is written by a prober, which knows what time it is.
		`|LocationStatus\.Since ` +
		`)`),
}
