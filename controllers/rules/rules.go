// Package rules turns Sojourn's objects into Prometheus rules. It is pure: the same
// objects give the same rules, to the byte, and nothing here knows a cluster or a
// running Prometheus.
//
// A Touchpoint says how it is measured, an ExperienceSLO what is promised, and so the
// rules: events and losses are counted by touchpoint and meaning (counting.go,
// touchpoint.go), and an ExperienceSLO adds one rule for each objective, which says what
// is allowed (slo.go). Everything else is derived for all budgets of a namespace at once
// by a shared set (namespace.go, windows.go, state.go, alerts.go). A Journey with KPIs or
// entries has rules that record those (journey.go).
package rules

// Options are choices of the installation.
type Options struct {
	// EnforceNamespaceLabel is the name of a label that every selector of the users'
	// own PromQL must match the object's namespace with; empty for none.
	EnforceNamespaceLabel string
}

// Problem is something in an object that cannot be honoured as it is written. The
// rest of the object works all the same.
type Problem struct {
	// Field is the path of the field, such as spec.objectives[effort].ces.mean.
	Field string
	// Reason is a reason of the condition Ready.
	Reason string
	// Message is a sentence that says what is wrong and what to write instead.
	Message string
	// Stalled tells that only an edit of this very object helps.
	Stalled bool
}
