// Package sources knows who may deliver, read and erase responses: Secrets of type
// sojourn.dev/survey-source, each valid for its own namespace.
package sources

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SecretType is the type of Secrets that are sources.
const SecretType corev1.SecretType = "sojourn.dev/survey-source"

// Keys of such a Secret. Each holds one entry a line; blank lines and lines that begin
// with # are passed over. Several at a time let a source change from one to the next.
const (
	// KeyTokens are bearer tokens for delivering responses.
	KeyTokens = "tokens"
	// KeyReadTokens are bearer tokens for comments and exports.
	KeyReadTokens = "readTokens"
	// KeyEraseTokens are bearer tokens for erasing responses.
	KeyEraseTokens = "eraseTokens"
	// KeySigningSecrets are what webhooks are signed with.
	KeySigningSecrets = "signingSecrets"
	// KeyTouchpoints are the names of the touchpoints that the source is for. Without
	// the key it is for all of its namespace.
	KeyTouchpoints = "touchpoints"
)

var keys = []string{KeyTokens, KeyReadTokens, KeyEraseTokens, KeySigningSecrets, KeyTouchpoints}

// Limits of a source.
const (
	// MinToken is the shortest token or signing secret, in characters.
	MinToken = 16
	// maxEntries is how many entries a key may have.
	maxEntries = 100
)

// Right is what a token allows.
type Right int

// Rights. One token has one of them: a survey tool has no need to read what others
// delivered.
const (
	Deliver Right = iota
	Read
	Erase
)

var keyOf = map[Right]string{Deliver: KeyTokens, Read: KeyReadTokens, Erase: KeyEraseTokens}

// Key returns the key under which a Secret holds tokens with the right.
func (r Right) Key() string { return keyOf[r] }

// Source is one Secret, understood.
type Source struct {
	Namespace, Name string
	// SigningSecrets are what its webhooks may be signed with.
	SigningSecrets []string

	touchpoints map[string]bool // nil: all
	// digests, not tokens: all have one length, so comparing them tells nothing of a
	// token's, and a memory dump shows none.
	digests map[Right][]digest
}

type digest [sha256.Size]byte

// Serves tells whether the source is for a touchpoint.
func (s *Source) Serves(namespace, touchpoint string) bool {
	return s.Namespace == namespace && (s.touchpoints == nil || s.touchpoints[touchpoint])
}

// Touchpoint returns the name of the only touchpoint that the source is for, and
// nothing if there are several.
func (s *Source) Touchpoint() string {
	if len(s.touchpoints) != 1 {
		return ""
	}
	for name := range s.touchpoints {
		return name
	}
	return ""
}

// Parse understands a Secret. The error names the key and never shows what stands
// there.
func Parse(secret *corev1.Secret) (*Source, error) {
	s := &Source{Namespace: secret.Namespace, Name: secret.Name, digests: map[Right][]digest{}}
	for _, key := range slices.Sorted(maps.Keys(secret.Data)) {
		if !slices.Contains(keys, key) {
			return nil, fmt.Errorf("key %q is not known: a source has the keys %s", key, strings.Join(keys, ", "))
		}
	}
	for right, key := range keyOf {
		tokens, err := entries(secret, key)
		if err != nil {
			return nil, err
		}
		for number, token := range tokens {
			if err := checkToken(token); err != nil {
				return nil, fmt.Errorf("%s, entry %d: %w", key, number+1, err)
			}
			s.digests[right] = append(s.digests[right], sha256.Sum256([]byte(token)))
		}
	}
	var err error
	if s.SigningSecrets, err = entries(secret, KeySigningSecrets); err != nil {
		return nil, err
	}
	for number, each := range s.SigningSecrets {
		if err := checkSigningSecret(each); err != nil {
			return nil, fmt.Errorf("%s, entry %d: %w", KeySigningSecrets, number+1, err)
		}
	}
	if len(s.digests) == 0 && s.SigningSecrets == nil {
		return nil, fmt.Errorf("it holds neither tokens nor signing secrets: write one under %s, for example with openssl rand -hex 32", KeyTokens)
	}
	if _, bound := secret.Data[KeyTouchpoints]; bound {
		names, err := entries(secret, KeyTouchpoints)
		if err != nil {
			return nil, err
		}
		if names == nil {
			return nil, fmt.Errorf("%s is empty: name touchpoints, one a line, or remove the key to allow all of the namespace", KeyTouchpoints)
		}
		s.touchpoints = map[string]bool{}
		for _, name := range names {
			s.touchpoints[name] = true
		}
	}
	return s, nil
}

func entries(secret *corev1.Secret, key string) ([]string, error) {
	var found []string
	for line := range strings.SplitSeq(string(secret.Data[key]), "\n") {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			found = append(found, line)
		}
	}
	if len(found) > maxEntries {
		return nil, fmt.Errorf("%s has %d entries: keep at most %d", key, len(found), maxEntries)
	}
	return found, nil
}

func checkToken(token string) error {
	if len(token) < MinToken {
		return fmt.Errorf("a token needs at least %d characters: make one with openssl rand -hex 32", MinToken)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("a token is one word of printable ASCII characters: make one with openssl rand -hex 32")
	}
	return nil
}

func checkSigningSecret(secret string) error {
	if encoded, standard := strings.CutPrefix(secret, "whsec_"); standard {
		if key, err := base64.StdEncoding.DecodeString(encoded); err != nil || len(key) < MinToken {
			return errors.New("what follows whsec_ is not the base64 of a key: copy it from the survey tool once more")
		}
		return nil
	}
	if len(secret) < MinToken {
		return fmt.Errorf("a signing secret needs at least %d characters: choose a longer one in the survey tool", MinToken)
	}
	return nil
}

// Sources are all sources, by name and by token.
type Sources struct {
	lock    sync.RWMutex
	byName  map[types.NamespacedName]*Source
	byToken map[grant][]*Source
}

type grant struct {
	digest
	right Right
}

// Set takes a Secret's present content over. Where it cannot be used, the source is as
// good as gone: what it said before may be what somebody means to revoke.
func (s *Sources) Set(secret *corev1.Secret) error {
	source, err := Parse(secret)
	s.lock.Lock()
	defer s.lock.Unlock()
	name := types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}
	s.remove(name)
	if err != nil {
		return err
	}
	if s.byName == nil {
		s.byName, s.byToken = map[types.NamespacedName]*Source{}, map[grant][]*Source{}
	}
	s.byName[name] = source
	for right, digests := range source.digests {
		for _, each := range digests {
			s.byToken[grant{each, right}] = append(s.byToken[grant{each, right}], source)
		}
	}
	return nil
}

// Remove forgets a source.
func (s *Sources) Remove(name types.NamespacedName) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.remove(name)
}

func (s *Sources) remove(name types.NamespacedName) {
	source, known := s.byName[name]
	if !known {
		return
	}
	delete(s.byName, name)
	for right, digests := range source.digests {
		for _, each := range digests {
			left := slices.DeleteFunc(slices.Clone(s.byToken[grant{each, right}]), func(other *Source) bool { return other == source })
			if s.byToken[grant{each, right}] = left; len(left) == 0 {
				delete(s.byToken, grant{each, right})
			}
		}
	}
}

// Named returns a source by its name, nil if there is none.
func (s *Sources) Named(namespace, name string) *Source {
	s.lock.RLock()
	defer s.lock.RUnlock()
	return s.byName[types.NamespacedName{Namespace: namespace, Name: name}]
}

// Bearer returns the sources that hold a request's bearer token with a right. Tokens
// are looked up by their SHA-256, so the time it takes tells nothing of them.
func (s *Sources) Bearer(r *http.Request, right Right) Grant {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	s.lock.RLock()
	defer s.lock.RUnlock()
	return s.byToken[grant{sha256.Sum256([]byte(strings.TrimSpace(token))), right}]
}

// Grant is what a token allows: that of every source that holds it.
type Grant []*Source

// Serves tells whether one of the sources is for a touchpoint.
func (g Grant) Serves(namespace, touchpoint string) bool {
	for _, source := range g {
		if source.Serves(namespace, touchpoint) {
			return true
		}
	}
	return false
}

// ServesAll tells whether one of the sources is for all touchpoints of a namespace.
func (g Grant) ServesAll(namespace string) bool {
	return slices.ContainsFunc(g, func(s *Source) bool { return s.Namespace == namespace && s.touchpoints == nil })
}

// Namespace returns the only namespace of the sources, and nothing if there are
// several.
func (g Grant) Namespace() string {
	if len(g) == 0 {
		return ""
	}
	low := slices.MinFunc(g, func(a, b *Source) int { return cmp.Compare(a.Namespace, b.Namespace) }).Namespace
	high := slices.MaxFunc(g, func(a, b *Source) int { return cmp.Compare(a.Namespace, b.Namespace) }).Namespace
	if low != high {
		return ""
	}
	return low
}
