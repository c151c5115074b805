// Package signin finds out, by asking the API server, who sends a request and what they
// may do.
package signin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorization "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

const (
	// reviewsPerSecond bounds what strangers can make us ask the API server.
	reviewsPerSecond = 5
	// remembered is how long an answer of the API server is good for: a right that is
	// taken away, or a token, may serve so much longer.
	remembered = 10 * time.Second
	// known is how long a token that was good is not counted among those of strangers.
	known = time.Hour
	// Bounds of what is remembered.
	mostTokens, mostAnswers = 4096, 32768
)

// Errors of Who.
var (
	ErrNoToken      = errors.New("send a token of Kubernetes, such as that of kubectl create token, as a bearer token or as the password: curl -u :$(kubectl create token …)")
	ErrUnknownToken = errors.New("the API server does not know this token")
	ErrTooMany      = errors.New("too many requests; try again in a second")
)

// User is somebody whom the API server knows.
type User = authenticationv1.UserInfo

// Reviewer asks the API server who somebody is, and whether they may. It has the two clients
// and not a whole kubernetes.Interface, whose clients of every kind there is would make a
// program a fifth larger.
type Reviewer struct {
	tokens  authentication.TokenReviewInterface
	access  authorization.SubjectAccessReviewInterface
	pace    *rate.Limiter
	users   *cache.LRUExpireCache // by a token's hash: *User, or nil for a token that is none
	proven  *cache.LRUExpireCache // hashes of tokens that were good
	answers *cache.LRUExpireCache // by question: bool
}

// New makes a reviewer that asks the API server of config, and remembers answers for ten
// seconds.
func New(config *rest.Config) (*Reviewer, error) {
	tokens, err := authentication.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	access, err := authorization.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Reviewer{
		tokens: tokens.TokenReviews(), access: access.SubjectAccessReviews(), pace: rate.NewLimiter(reviewsPerSecond, 2*reviewsPerSecond),
		users: cache.NewLRUExpireCache(mostTokens), proven: cache.NewLRUExpireCache(mostTokens), answers: cache.NewLRUExpireCache(mostAnswers),
	}, nil
}

// TokenOf finds the token in a request; empty if there is none. Browsers ask people for a
// password only.
func TokenOf(r *http.Request) string {
	if _, password, is := r.BasicAuth(); is {
		return strings.TrimSpace(password)
	}
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

// Challenge asks for a token, as the answer to a request without a good one.
func Challenge(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	w.Header().Add("WWW-Authenticate", `Basic realm="a token of Kubernetes as the password"`)
}

// Status is the HTTP status that goes with an error of Who.
func Status(err error) int {
	switch {
	case errors.Is(err, ErrNoToken), errors.Is(err, ErrUnknownToken):
		return http.StatusUnauthorized
	case errors.Is(err, ErrTooMany):
		return http.StatusTooManyRequests
	default:
		return http.StatusServiceUnavailable
	}
}

// Who asks whose token a request has.
func (v *Reviewer) Who(ctx context.Context, token string) (*User, error) {
	if token == "" {
		return nil, ErrNoToken
	}
	key := sha256.Sum256([]byte(token))
	if user, answered := v.users.Get(key); answered {
		if user == nil {
			return nil, ErrUnknownToken
		}
		return user.(*User), nil
	}
	if _, good := v.proven.Get(key); !good && !v.pace.Allow() {
		return nil, ErrTooMany
	}
	review, err := v.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("the API server cannot be asked who you are: %w", err)
	}
	if !review.Status.Authenticated {
		v.proven.Remove(key)
		v.users.Add(key, nil, remembered)
		return nil, ErrUnknownToken
	}
	user := &review.Status.User
	v.users.Add(key, user, remembered)
	v.proven.Add(key, true, known)
	return user, nil
}

// May asks whether somebody may do something.
func (v *Reviewer) May(ctx context.Context, user *User, what authorizationv1.ResourceAttributes) (bool, error) {
	return v.may(ctx, user, question(user, &what), authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: &what})
}

// MayGet asks whether somebody may get a path that belongs to no object, such as /metrics.
func (v *Reviewer) MayGet(ctx context.Context, user *User, path string) (bool, error) {
	what := authorizationv1.NonResourceAttributes{Verb: "get", Path: path}
	return v.may(ctx, user, asked{user: Key(user), verb: what.Verb, path: path}, authorizationv1.SubjectAccessReviewSpec{NonResourceAttributes: &what})
}

func (v *Reviewer) may(ctx context.Context, user *User, key asked, spec authorizationv1.SubjectAccessReviewSpec) (bool, error) {
	if allowed, answered := v.answers.Get(key); answered {
		return allowed.(bool), nil
	}
	spec.User, spec.UID, spec.Groups = user.Username, user.UID, user.Groups
	spec.Extra = map[string]authorizationv1.ExtraValue{}
	for name, values := range user.Extra {
		spec.Extra[name] = authorizationv1.ExtraValue(values)
	}
	review, err := v.access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("the API server cannot be asked what you may do: %w", err)
	}
	v.answers.Add(key, review.Status.Allowed, remembered)
	return review.Status.Allowed, nil
}

// Key tells users apart, whatever they are called.
func Key(user *User) [32]byte {
	hash := sha256.New()
	add := func(text string) { fmt.Fprintf(hash, "%d:%s", len(text), text) }
	add(user.Username)
	add(user.UID)
	groups := slices.Clone(user.Groups)
	slices.Sort(groups)
	for _, group := range groups {
		add(group)
	}
	names := make([]string, 0, len(user.Extra))
	for name := range user.Extra {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		add("=" + name)
		for _, value := range user.Extra[name] {
			add(value)
		}
	}
	return [32]byte(hash.Sum(nil))
}

type asked struct {
	user                                                      [32]byte
	verb, group, resource, subresource, namespace, name, path string
}

func question(user *User, what *authorizationv1.ResourceAttributes) asked {
	return asked{
		user: Key(user), verb: what.Verb, group: what.Group, resource: what.Resource, subresource: what.Subresource,
		namespace: what.Namespace, name: what.Name,
	}
}
