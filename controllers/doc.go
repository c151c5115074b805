// Package controllers turns Journeys, Touchpoints and ExperienceSLOs into rule
// objects, and says on each of them what came of it.
//
// There is one reconciler per kind and one per namespace, for the rules that all
// objects of a namespace share. Each Reconcile reads as a list of named steps over a
// scope, which carries what was loaded and what was found out, and has one exit by
// which the status is written.
package controllers
