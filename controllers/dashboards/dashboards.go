// Package dashboards makes Grafana dashboards of the series that Sojourn exposes and
// records. It is pure: from the same objects comes the same JSON.
//
// [Overview] is of all namespaces, [AnyJourney] lets people choose a journey, and
// [ForJourney] is of one Journey, stage by stage in its own words.
package dashboards

import (
	"encoding/json"
	"fmt"
	"hash/fnv"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Tag is on all of them. Each links to the others that have it.
const Tag = "sojourn"

// UIDs by which other pages may link to the dashboards that everybody has.
const (
	OverviewUID   = "sojourn-overview"
	AnyJourneyUID = "sojourn-journey"
)

// JSON writes a dashboard as Grafana imports it.
func JSON(made dashboard.Dashboard) ([]byte, error) {
	text, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	return append(text, '\n'), nil
}

// uidOf is that of a Journey's own dashboard: at most 40 characters, whatever its name.
func uidOf(namespace, name string) string {
	hash := fnv.New64a()
	hash.Write([]byte(namespace + "/" + name))
	return fmt.Sprintf("sojourn-journey-%016x", hash.Sum64())
}

// source is the Prometheus that people choose on top of the page.
func source() common.DataSourceRef {
	return common.DataSourceRef{Type: new("prometheus"), Uid: new("${datasource}")}
}

// begin makes what all dashboards have.
func begin(title, uid, about string) *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder(title).Uid(uid).Description(about).Tags([]string{Tag}).
		Readonly().Time("now-24h", "now").Refresh("1m").Timezone("browser").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Link(dashboard.NewDashboardLinkBuilder("Sojourn").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{Tag}).AsDropdown(true).KeepTime(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Prometheus").Type("prometheus"))
}

// choice is a variable whose values are those of a label.
func choice(name, label, series, of string) *dashboard.QueryVariableBuilder {
	query := fmt.Sprintf("label_values(%s, %s)", series, of)
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source()).
		Query(dashboard.StringOrMap{Map: map[string]any{"qryType": 1, "query": query, "refId": "values"}}).Definition(query).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc)
}

// several lets people choose more than one value of a variable; all of them, at first.
func several(b *dashboard.QueryVariableBuilder) *dashboard.QueryVariableBuilder {
	every := func(value string) dashboard.StringOrArrayOfString {
		return dashboard.StringOrArrayOfString{ArrayOfString: []string{value}}
	}
	return b.Multi(true).IncludeAll(true).Current(dashboard.VariableOption{Selected: new(true), Text: every("All"), Value: every("$__all")})
}

// alertMarks shows on every graph when an alert fired.
func alertMarks(s scope) *dashboard.AnnotationQueryBuilder {
	return dashboard.NewAnnotationQueryBuilder().Name("Alerts").Datasource(source()).Enable(true).IconColor("red").
		Expr("max by (alertname, severity, objective, touchpoint) (" + s.firing() + ")").
		TitleFormat("{{alertname}}: {{objective}} at {{touchpoint}}").TagKeys("severity").Step("60s")
}

// finish numbers the panels, so that links to them last, and checks everything.
func finish(b *dashboard.DashboardBuilder) (dashboard.Dashboard, error) {
	made, err := b.Build()
	if err != nil {
		return made, fmt.Errorf("dashboard: %w", err)
	}
	next := uint32(1)
	number := func() uint32 { next++; return next - 1 }
	for i := range made.Panels {
		switch {
		case made.Panels[i].Panel != nil:
			made.Panels[i].Panel.Id = new(number())
		case made.Panels[i].RowPanel != nil:
			made.Panels[i].RowPanel.Id = number()
			for j := range made.Panels[i].RowPanel.Panels {
				made.Panels[i].RowPanel.Panels[j].Id = new(number())
			}
		}
	}
	return made, nil
}

// section is panels below a headline. A closed one asks nothing until it is opened.
type section struct {
	title, repeat string
	closed        bool
	panels        []cog.Builder[dashboard.Panel]
}

func (s section) addTo(b *dashboard.DashboardBuilder) {
	row := dashboard.NewRowBuilder(s.title)
	if s.repeat != "" {
		row.Repeat(s.repeat)
	}
	if !s.closed {
		b.WithRow(row)
		for _, panel := range s.panels {
			b.WithPanel(panel)
		}
		return
	}
	for _, panel := range s.panels {
		row.WithPanel(panel)
	}
	b.WithRow(row)
}
