package reach

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
)

// TokenHeader carries the gateway's token through the API server, which keeps the header
// Authorization for itself.
const TokenHeader = "X-Sojourn-Token"

const (
	mostComments = 20
	mostEvents   = 50
	// mostAnswered bounds what the gateway may answer, in bytes.
	mostAnswered = 4 << 20
)

// Detail gathers all that is known of a touchpoint; nil if there is none. Missing says what
// could not be had.
func (c *Cluster) Detail(ctx context.Context, objects *atlas.Objects, key atlas.Key) *atlas.Detail {
	drawn := objects.Touchpoint(key)
	if drawn == nil {
		return nil
	}
	d := &atlas.Detail{Touchpoint: *drawn}
	var figures []string
	var comments, events string
	var all sync.WaitGroup
	all.Go(func() { figures = c.figures(ctx, d) })
	all.Go(func() { d.Latest, d.Worst, comments = c.Comments(ctx, key) })
	all.Go(func() { d.Events, events = c.events(ctx, "Touchpoint", key) })
	all.Wait()
	d.Missing = slices.DeleteFunc(append(figures, comments, events), func(sentence string) bool { return sentence == "" })
	return d
}

// Comments asks the gateway for what customers wrote at a touchpoint, the latest and those
// with the worst scores, of 30 days. The sentence says why there are none.
func (c *Cluster) Comments(ctx context.Context, touchpoint atlas.Key) (latest, worst []atlas.Comment, missing string) {
	const without = "There are no comments. "
	token := c.endpoints.options.GatewayToken
	if token == "" {
		return nil, nil, without + "Give a token by --gateway-token-file or in SOJOURN_GATEWAY_TOKEN: one of the readTokens of a Secret of type sojourn.dev/survey-source in namespace " + touchpoint.Namespace + "."
	}
	gateway, missing := c.endpoints.gateway(ctx)
	if missing != "" {
		return nil, nil, without + missing
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	address := strings.TrimSuffix(gateway.url, "/") + fmt.Sprintf("/v1/touchpoints/%s/%s/comments?limit=%d",
		url.PathEscape(touchpoint.Namespace), url.PathEscape(touchpoint.Name), mostComments)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, without + gateway.refused("the gateway", 0, err)
	}
	if gateway.through != nil {
		request.Header.Set(TokenHeader, token)
	} else {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := gateway.client.Do(request)
	if err != nil {
		return nil, nil, without + gateway.refused("the gateway", 0, err)
	}
	defer response.Body.Close()
	body := json.NewDecoder(io.LimitReader(response.Body, mostAnswered))
	if response.StatusCode != http.StatusOK {
		var problem struct {
			Detail string `json:"detail"`
		}
		if strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") && body.Decode(&problem) == nil && problem.Detail != "" {
			return nil, nil, without + "The gateway says: " + strings.TrimSuffix(problem.Detail, ".") + "."
		}
		return nil, nil, without + gateway.refused("the gateway", response.StatusCode, nil)
	}
	type record struct {
		Instrument string    `json:"instrument"`
		Score      int       `json:"score"`
		Comment    string    `json:"comment"`
		Received   time.Time `json:"received"`
	}
	var answer struct {
		Latest []record `json:"latest"`
		Worst  []record `json:"worst"`
	}
	if err := body.Decode(&answer); err != nil {
		return nil, nil, without + gateway.refused("the gateway", 0, fmt.Errorf("its answer cannot be read: %w", err))
	}
	shown := func(records []record) []atlas.Comment {
		comments := make([]atlas.Comment, len(records))
		for i, r := range records {
			comments[i] = atlas.Comment{Instrument: strings.ToUpper(r.Instrument), Score: r.Score, Text: r.Comment, Received: r.Received}
		}
		return comments
	}
	return shown(answer.Latest), shown(answer.Worst), ""
}

// events lists what Kubernetes was told of an object, the latest first. The sentence says
// why it cannot.
func (c *Cluster) events(ctx context.Context, kind string, key atlas.Key) ([]atlas.Event, string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var list corev1.EventList
	err := c.client.List(ctx, &list, client.InNamespace(key.Namespace),
		client.MatchingFields{"involvedObject.kind": kind, "involvedObject.name": key.Name})
	switch {
	case apierrors.IsForbidden(err):
		return nil, fmt.Sprintf("There are no Events: you may not list them in namespace %s; ask the administrator for the role view there.", key.Namespace)
	case err != nil:
		return nil, fmt.Sprintf("There are no Events: %v.", err)
	}
	var found []atlas.Event
	for i := range list.Items {
		e := &list.Items[i]
		at := cmp.Or(e.LastTimestamp.Time, e.EventTime.Time, e.CreationTimestamp.Time)
		if e.Series != nil {
			at = e.Series.LastObservedTime.Time
		}
		found = append(found, atlas.Event{Time: at.UTC(), Type: e.Type, Reason: e.Reason, Message: e.Message})
	}
	slices.SortStableFunc(found, func(a, b atlas.Event) int { return b.Time.Compare(a.Time) })
	return found[:min(len(found), mostEvents)], ""
}
