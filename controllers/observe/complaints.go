package observe

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// Complaints returns what is complained of a Touchpoint. Until Prometheus has answered
// for the first time nothing is known.
func (o *Observer) Complaints(touchpoint types.NamespacedName) (complaints []rules.Complaint, known bool) {
	if o == nil {
		return nil, true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.complaints[touchpoint], o.complaints != nil
}

// complaintsIn reads an answer. What lacks a label is none of ours.
func complaintsIn(answer model.Vector) map[types.NamespacedName][]rules.Complaint {
	found := map[types.NamespacedName][]rules.Complaint{}
	for _, sample := range answer {
		label := func(name model.LabelName) string { return string(sample.Metric[name]) }
		touchpoint := types.NamespacedName{Namespace: label("namespace"), Name: label("touchpoint")}
		made := rules.Complaint{Kind: label("complaint"), Field: label("field"), Query: label("query")}
		if touchpoint.Namespace == "" || touchpoint.Name == "" || made.Kind == "" || made.Field == "" || made.Query == "" {
			continue
		}
		same := slices.IndexFunc(found[touchpoint], func(c rules.Complaint) bool {
			return c.Kind == made.Kind && c.Field == made.Field && c.Query == made.Query
		})
		if same < 0 {
			same = len(found[touchpoint])
			found[touchpoint] = append(found[touchpoint], made)
		}
		if edge, err := strconv.ParseFloat(label("le"), 64); err == nil && !math.IsInf(edge, 0) && !math.IsNaN(edge) {
			complaint := &found[touchpoint][same]
			complaint.Edges = append(complaint.Edges, edge)
		}
	}
	for _, complaints := range found {
		for i := range complaints {
			slices.Sort(complaints[i].Edges)
			complaints[i].Edges = slices.Compact(complaints[i].Edges)
		}
		slices.SortFunc(complaints, func(a, b rules.Complaint) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Query, b.Query))
		})
	}
	return found
}

// takeComplaints keeps what was found, and wakes those for whom it is news.
func (o *Observer) takeComplaints(ctx context.Context, found map[types.NamespacedName][]rules.Complaint) {
	o.mu.Lock()
	before := o.complaints
	if o.doubts() {
		for touchpoint, complaints := range before {
			if _, has := found[touchpoint]; !has {
				found[touchpoint] = complaints
			}
		}
	}
	o.complaints = found
	o.mu.Unlock()

	concerned := maps.Clone(before)
	if concerned == nil {
		concerned = map[types.NamespacedName][]rules.Complaint{}
	}
	maps.Copy(concerned, found)
	for touchpoint := range concerned {
		wasEdges, wasMetrics := parted(before[touchpoint])
		edges, metrics := parted(found[touchpoint])
		if !slices.EqualFunc(wasEdges, edges, same) {
			o.wake(ctx, EdgesOfTouchpoint, touchpoint)
		}
		if !slices.EqualFunc(wasMetrics, metrics, same) {
			o.wake(ctx, MetricsOfTouchpoint, touchpoint)
		}
	}
}

// parted parts complaints about edges, which concern ExperienceSLOs, from those that
// concern the Touchpoint itself.
func parted(complaints []rules.Complaint) (edges, metrics []rules.Complaint) {
	for _, complaint := range complaints {
		if complaint.Kind == rules.ComplaintEdge {
			edges = append(edges, complaint)
		} else {
			metrics = append(metrics, complaint)
		}
	}
	return edges, metrics
}

func same(a, b rules.Complaint) bool {
	return a.Kind == b.Kind && a.Field == b.Field && a.Query == b.Query && slices.Equal(a.Edges, b.Edges)
}
