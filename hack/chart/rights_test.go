package chart_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestRights: each role has the rights that are written here, and no more. Whoever gives a
// component one more has to say so twice.
func TestRights(t *testing.T) {
	const (
		every  = "get list watch"
		change = " create update patch delete deletecollection"
		kinds  = "sojourn.dev: journeys touchpoints experienceslos"
	)
	got, _, err := template(t, values{
		"prober": values{"valuesNamespaces": []any{"shop"}}, "gateway": values{"sourceNamespaces": []any{"bank"}},
		"serviceMonitors": values{"enabled": true}, "dashboards": values{"enabled": true}, "networkPolicies": values{"enabled": true},
		"ui": values{"enabled": true},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"ClusterRole  sojourn-manager": {
			kinds + ": " + every,
			"sojourn.dev: journeys/status touchpoints/status experienceslos/status: patch",
			"monitoring.coreos.com: prometheusrules probes: " + every + " create patch delete",
			": namespaces: " + every,
			"apps: deployments statefulsets daemonsets: " + every,
			": services: " + every,
			"discovery.k8s.io: endpointslices: " + every,
			"apiextensions.k8s.io: customresourcedefinitions (prometheusrules.monitoring.coreos.com): " + every,
			"events.k8s.io : events: create patch",
		},
		"ClusterRole  sojourn-metrics-auth": {
			"authentication.k8s.io: tokenreviews: create",
			"authorization.k8s.io: subjectaccessreviews: create",
		},
		"ClusterRole  sojourn-metrics-reader": {"/metrics: get"},
		"Role sojourn-system sojourn-manager-leader-election": {
			"coordination.k8s.io: leases: create",
			"coordination.k8s.io: leases (sojourn-manager): get update",
		},
		"Role sojourn-system sojourn-manager-configmaps": {": configmaps: " + every + " create patch delete"},
		"ClusterRole  sojourn-prober": {
			"sojourn.dev: touchpoints experienceslos journeys: " + every,
			"sojourn.dev: touchpoints/status: patch",
			"authentication.k8s.io: tokenreviews: create",
			"authorization.k8s.io: subjectaccessreviews: create",
		},
		"Role sojourn-system sojourn-prober-leases": {"coordination.k8s.io: leases: list create patch delete"},
		// Secrets: only in the namespaces that were listed.
		"Role shop sojourn-prober-values": {": secrets configmaps: list watch"},
		"Role bank sojourn-gateway-sources": {
			": secrets: list watch",
			"events.k8s.io: events: create patch",
		},
		"ClusterRole  sojourn-gateway": {
			"sojourn.dev: touchpoints: " + every,
			"authentication.k8s.io: tokenreviews: create",
			"authorization.k8s.io: subjectaccessreviews: create",
		},
		// It shows nobody what he may not see: it asks the API server.
		"ClusterRole  sojourn-ui": {
			kinds + ": " + every,
			": events: list",
			": namespaces: get",
			"authentication.k8s.io: tokenreviews: create",
			"authorization.k8s.io: subjectaccessreviews: create",
		},
		// Where Prometheus and the gateway are, for everybody whom the cluster knows.
		"Role sojourn-system sojourn-endpoints-reader": {": configmaps (sojourn-endpoints): get"},
		// For people, one kind each: what only the admin of touchpoints may read is what
		// customers write.
		"ClusterRole  sojourn-journey-viewer":       {"sojourn.dev: journeys: " + every, "sojourn.dev: journeys/status: get"},
		"ClusterRole  sojourn-journey-editor":       {"sojourn.dev: journeys: " + every + change, "sojourn.dev: journeys/status: get"},
		"ClusterRole  sojourn-journey-admin":        {"sojourn.dev: journeys: " + every + change, "sojourn.dev: journeys/status: get"},
		"ClusterRole  sojourn-touchpoint-viewer":    {"sojourn.dev: touchpoints: " + every, "sojourn.dev: touchpoints/status touchpoints/runs: get"},
		"ClusterRole  sojourn-touchpoint-editor":    {"sojourn.dev: touchpoints: " + every + change, "sojourn.dev: touchpoints/status touchpoints/runs: get"},
		"ClusterRole  sojourn-touchpoint-admin":     {"sojourn.dev: touchpoints: " + every + change, "sojourn.dev: touchpoints/status touchpoints/runs touchpoints/comments: get"},
		"ClusterRole  sojourn-experienceslo-viewer": {"sojourn.dev: experienceslos: " + every, "sojourn.dev: experienceslos/status: get"},
		"ClusterRole  sojourn-experienceslo-editor": {"sojourn.dev: experienceslos: " + every + change, "sojourn.dev: experienceslos/status: get"},
		"ClusterRole  sojourn-experienceslo-admin":  {"sojourn.dev: experienceslos: " + every + change, "sojourn.dev: experienceslos/status: get"},
	}
	found := map[string][]string{}
	for key, object := range got {
		if kind := object["kind"]; kind == "Role" || kind == "ClusterRole" {
			found[key] = rights(object)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !slices.Equal(found[key], want[key]) {
			t.Errorf("%s:\n%s\nwant\n%s", key, strings.Join(found[key], "\n"), strings.Join(want[key], "\n"))
		}
	}
	for key := range found {
		if want[key] == nil {
			t.Errorf("nobody expects %s: %v", key, found[key])
		}
	}

	// Who has them: each component the roles of its name, and people those that Kubernetes'
	// own roles take in.
	holders := map[string][]string{}
	for key, object := range got {
		if kind := object["kind"].(string); strings.HasSuffix(kind, "RoleBinding") {
			ref := at(object, "roleRef").(values)
			for _, subject := range at(object, "subjects").([]any) {
				if at(subject, "kind") == "Group" {
					if name := at(subject, "name"); name != "system:authenticated" || ref["name"] != "sojourn-endpoints-reader" {
						t.Errorf("%s gives %v to the group %v", key, ref, name)
					}
					continue
				}
				holder := fmt.Sprintf("%s/%s", at(subject, "namespace"), at(subject, "name"))
				holders[holder] = append(holders[holder], fmt.Sprintf("%s %s", strings.Fields(key)[1], ref["name"]))
				if ref["name"] != at(object, "metadata", "name") {
					t.Errorf("%s gives %v", key, ref)
				}
			}
		}
	}
	for holder, roles := range holders {
		slices.Sort(roles)
		component := strings.TrimPrefix(holder, "sojourn-system/sojourn-")
		for _, role := range roles {
			if !strings.Contains(role, "sojourn-"+component) && role != "sojourn-metrics-auth sojourn-metrics-auth" {
				t.Errorf("%s has the role %s", holder, role)
			}
		}
	}
	if len(holders) != 4 {
		t.Errorf("roles are held by %v", holders)
	}
	// Each is part of one of Kubernetes' own roles, and no role of a component is.
	for key := range want {
		into := ""
		for role, of := range map[string]string{"-viewer": "view", "-editor": "edit", "-admin": "admin"} {
			if strings.HasSuffix(key, role) {
				into = of
			}
		}
		for _, of := range []string{"view", "edit", "admin"} {
			part := at(got[key], "metadata", "labels").(values)["rbac.authorization.k8s.io/aggregate-to-"+of] == "true"
			if part != (of == into) {
				t.Errorf("%s is part of %s: %v", key, of, part)
			}
		}
	}
}

// rights writes the rules of a role in a line each.
func rights(role values) []string {
	words := func(rule any, field string) string {
		var all []string
		list, _ := at(rule, field).([]any)
		for _, word := range list {
			all = append(all, word.(string))
		}
		return strings.Join(all, " ")
	}
	var lines []string
	for _, rule := range role["rules"].([]any) {
		what := words(rule, "nonResourceURLs")
		if what == "" {
			what = words(rule, "apiGroups") + ": " + words(rule, "resources")
		}
		if names := words(rule, "resourceNames"); names != "" {
			what += " (" + names + ")"
		}
		lines = append(lines, what+": "+words(rule, "verbs"))
	}
	return lines
}
