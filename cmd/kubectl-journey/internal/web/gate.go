package web

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/internal/signin"
)

// Gate says who asks.
type Gate interface {
	// Admit finds out who sends a request; an error of type *Refusal says why they may see
	// nothing at all.
	Admit(r *http.Request) (Viewer, error)
}

// Viewer is somebody who asks.
type Viewer interface {
	// Key tells viewers apart.
	Key() string
	// May tells whether they have a right in a namespace, or, if it is empty, in all.
	May(ctx context.Context, right Right, namespace string) (bool, error)
}

// Right is one to see something of a namespace.
type Right int

// Rights. Comments have one of their own: what customers write may hold anything.
const (
	Journeys Right = iota
	Touchpoints
	Promises
	Comments
	Events
)

// Refusal is an answer to those who may see nothing.
type Refusal struct {
	Status  int
	Message string
}

func (r *Refusal) Error() string { return r.Message }

// everybody may see everything.
type everybody struct{}

func (everybody) Admit(*http.Request) (Viewer, error) { return everybody{}, nil }
func (everybody) Key() string                         { return "" }
func (everybody) May(context.Context, Right, string) (bool, error) {
	return true, nil
}

// Proxy is a sign-in proxy in front of the server, which says by headers who asks.
type Proxy struct {
	// UserHeader and GroupHeader name the headers; a group for each value, or several with
	// commas between them.
	UserHeader, GroupHeader string
	// Secret proves that a request comes from the proxy, in SecretHeader; and so does a
	// client certificate, if Certificates says that those are checked.
	SecretHeader, Secret string
	Certificates         bool
}

// SignIn is the gate of a server that others reach: tokens of Kubernetes, or a proxy.
type SignIn struct {
	Reviewer *signin.Reviewer
	// Proxy is in front; nil: none is.
	Proxy *Proxy
}

// Admit asks the API server, or believes the proxy.
func (g *SignIn) Admit(r *http.Request) (Viewer, error) {
	if g.Proxy != nil && len(r.Header.Values(g.Proxy.UserHeader)) > 0 {
		return g.proxied(r)
	}
	found, err := g.Reviewer.Who(r.Context(), signin.TokenOf(r))
	if err != nil {
		status := signin.Status(err)
		if status == http.StatusServiceUnavailable {
			return nil, err
		}
		return nil, &Refusal{status, err.Error()}
	}
	return &reviewed{g.Reviewer, found}, nil
}

// proxied believes headers if they come from the proxy, and no others.
func (g *SignIn) proxied(r *http.Request) (Viewer, error) {
	p := g.Proxy
	proven := p.Certificates && r.TLS != nil && len(r.TLS.VerifiedChains) > 0
	if p.Secret != "" {
		// Of equal lengths, so that the time it takes tells nothing.
		got, want := sha256.Sum256([]byte(r.Header.Get(p.SecretHeader))), sha256.Sum256([]byte(p.Secret))
		proven = proven || subtle.ConstantTimeCompare(got[:], want[:]) == 1
	}
	if !proven {
		return nil, &Refusal{http.StatusForbidden, "a request says who sends it without the proof that it comes from the sign-in proxy"}
	}
	names := r.Header.Values(p.UserHeader)
	if len(names) != 1 || strings.TrimSpace(names[0]) == "" {
		return nil, &Refusal{http.StatusForbidden, "the sign-in proxy names nobody, or several: it must replace the header, not add to it"}
	}
	found := &signin.User{Username: strings.TrimSpace(names[0])}
	if p.GroupHeader != "" {
		for _, value := range r.Header.Values(p.GroupHeader) {
			for group := range strings.SplitSeq(value, ",") {
				if group = strings.TrimSpace(group); group != "" {
					found.Groups = append(found.Groups, group)
				}
			}
		}
	}
	// Nobody signs in by a proxy as a part of Kubernetes, or as its master.
	for _, name := range append([]string{found.Username}, found.Groups...) {
		if strings.HasPrefix(name, "system:") {
			return nil, &Refusal{http.StatusForbidden, "the sign-in proxy names a user or group of Kubernetes itself; these sign in by a token"}
		}
	}
	found.Groups = append(found.Groups, "system:authenticated")
	return &reviewed{g.Reviewer, found}, nil
}

// reviewed is somebody whose rights the API server knows.
type reviewed struct {
	reviewer *signin.Reviewer
	user     *signin.User
}

func (v *reviewed) Key() string {
	key := signin.Key(v.user)
	return string(key[:])
}

func (v *reviewed) May(ctx context.Context, right Right, namespace string) (bool, error) {
	what := authorizationv1.ResourceAttributes{Verb: "list", Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Namespace: namespace}
	switch right {
	case Journeys:
		what.Resource = "journeys"
	case Touchpoints:
		what.Resource = "touchpoints"
	case Promises:
		what.Resource = "experienceslos"
	case Comments:
		what.Verb, what.Resource, what.Subresource = "get", "touchpoints", "comments"
	case Events:
		what.Group, what.Version, what.Resource = "", "v1", "events"
	default:
		return false, fmt.Errorf("right %d is not known", right)
	}
	return v.reviewer.May(ctx, v.user, what)
}

// refusalOf says what to answer to an error of Admit.
func refusalOf(err error) *Refusal {
	if refusal, is := errors.AsType[*Refusal](err); is {
		return refusal
	}
	return &Refusal{http.StatusServiceUnavailable, "the API server cannot be asked who you are and what you may do"}
}
