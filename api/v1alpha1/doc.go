// Package v1alpha1 holds the kinds of Sojourn: Journey, Touchpoint and
// ExperienceSLO.
//
// A Touchpoint says how an encounter with a customer is measured, an
// ExperienceSLO says what is promised there, and a Journey says in which order
// customers meet the touchpoints on the way to their goal.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +groupName=sojourn.dev
package v1alpha1
