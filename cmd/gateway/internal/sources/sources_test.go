package sources

import (
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func secret(namespace, name string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: SecretType, Data: map[string][]byte{}}
	for key, value := range data {
		s.Data[key] = []byte(value)
	}
	return s
}

func (s *Sources) bearer(header string, right Right) Grant {
	request := httptest.NewRequest("POST", "/v1/responses", nil)
	request.Header.Set("Authorization", header)
	return s.Bearer(request, right)
}

func TestTokensAreFoundWithTheirRight(t *testing.T) {
	var s Sources
	if err := s.Set(secret("shop", "tool", map[string]string{
		KeyTokens:     "# of the survey tool\r\nfirst-token-of-two\r\n\n  second-token-of-two",
		KeyReadTokens: "a-token-that-reads",
	})); err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]bool{
		"Bearer first-token-of-two":   true,
		"bearer second-token-of-two":  true,
		"Bearer  first-token-of-two ": true,
		"":                            false,
		"Bearer":                      false,
		"Bearer ":                     false,
		"Bearer # of the survey tool": false,
		"Bearer first-token-of-tw":    false,
		"Bearer a-token-that-reads":   false,
		"Basic first-token-of-two":    false,
		"first-token-of-two":          false,
	} {
		if got := s.bearer(header, Deliver); (len(got) == 1) != want {
			t.Errorf("%q: %v", header, got)
		}
	}
	if s.bearer("Bearer first-token-of-two", Read) != nil || s.bearer("Bearer a-token-that-reads", Read) == nil ||
		s.bearer("Bearer a-token-that-reads", Erase) != nil {
		t.Error("a token has a right that it was not given")
	}
}

func TestSourcesAreBounded(t *testing.T) {
	var s Sources
	for _, each := range []*corev1.Secret{
		secret("shop", "bound", map[string]string{KeyTokens: "a-token-of-one-touchpoint", KeyTouchpoints: "checkout"}),
		secret("shop", "all", map[string]string{KeyTokens: "a-token-for-all-of-it\na-token-of-both-of-them"}),
		secret("stall", "all", map[string]string{KeyTokens: "a-token-of-both-of-them"}),
	} {
		if err := s.Set(each); err != nil {
			t.Fatal(err)
		}
	}
	one, all, both := s.bearer("Bearer a-token-of-one-touchpoint", Deliver), s.bearer("Bearer a-token-for-all-of-it", Deliver), s.bearer("Bearer a-token-of-both-of-them", Deliver)
	for _, test := range []struct {
		name string
		got  bool
		want bool
	}{
		{"its touchpoint", one.Serves("shop", "checkout"), true},
		{"another touchpoint", one.Serves("shop", "support"), false},
		{"all touchpoints", one.ServesAll("shop"), false},
		{"any touchpoint", all.Serves("shop", "support") && all.ServesAll("shop"), true},
		{"another namespace", all.Serves("stall", "support") || all.ServesAll("stall"), false},
		{"two namespaces", both.Serves("stall", "x") && both.Serves("shop", "x"), true},
		{"the one namespace", all.Namespace() == "shop", true},
		{"no one namespace", both.Namespace() == "", true},
	} {
		if test.got != test.want {
			t.Errorf("%s: %v", test.name, test.got)
		}
	}
	if s.Named("shop", "bound").Touchpoint() != "checkout" || s.Named("shop", "all").Touchpoint() != "" {
		t.Error("the only touchpoint is not told")
	}
	s.Remove(types.NamespacedName{Namespace: "shop", Name: "all"})
	if both := s.bearer("Bearer a-token-of-both-of-them", Deliver); both.Serves("shop", "x") || !both.Serves("stall", "x") {
		t.Error("a removed source still serves, or took another along")
	}
	if s.bearer("Bearer a-token-for-all-of-it", Deliver) != nil || len(s.byName) != 2 {
		t.Error("a removed source is still there")
	}
}

func TestRotation(t *testing.T) {
	var s Sources
	set := func(tokens string) {
		t.Helper()
		if err := s.Set(secret("shop", "tool", map[string]string{KeyTokens: tokens})); err != nil {
			t.Fatal(err)
		}
	}
	takes := func(token string) bool { return s.bearer("Bearer "+token, Deliver) != nil }
	set("the-old-token-is-this")
	set("the-old-token-is-this\nthe-new-token-is-that")
	if !takes("the-old-token-is-this") || !takes("the-new-token-is-that") {
		t.Error("not both are taken in between")
	}
	set("the-new-token-is-that")
	if takes("the-old-token-is-this") || !takes("the-new-token-is-that") {
		t.Error("the old token is still taken, or the new one is not")
	}
	if err := s.Set(secret("shop", "tool", map[string]string{KeyTokens: "short"})); err == nil || takes("the-new-token-is-that") {
		t.Errorf("a Secret that became unusable keeps its token; error %v", err)
	}
}

func TestUnusableSecrets(t *testing.T) {
	for name, test := range map[string]struct {
		data map[string]string
		want string
	}{
		"empty":            {nil, "it holds neither tokens nor signing secrets: write one under tokens, for example with openssl rand -hex 32"},
		"comments":         {map[string]string{KeyTokens: "# nothing\n\n"}, "it holds neither tokens"},
		"short":            {map[string]string{KeyTokens: "first-token-of-two\nshort"}, "tokens, entry 2: a token needs at least 16 characters"},
		"words":            {map[string]string{KeyTokens: "two words, both too talkative"}, "a token is one word of printable ASCII characters"},
		"not ASCII":        {map[string]string{KeyReadTokens: "这是一个足够长的令牌吗"}, "readTokens, entry 1: a token is one word of printable ASCII"},
		"many":             {map[string]string{KeyTokens: strings.Repeat("a-token-for-tests\n", 101)}, "tokens has 101 entries: keep at most 100"},
		"unknown key":      {map[string]string{"token": "a-token-for-tests-only"}, `key "token" is not known: a source has the keys tokens, `},
		"short secret":     {map[string]string{KeySigningSecrets: "short"}, "signingSecrets, entry 1: a signing secret needs at least 16"},
		"broken whsec":     {map[string]string{KeySigningSecrets: "whsec_not/base64/talkative!"}, "what follows whsec_ is not the base64 of a key"},
		"empty touchpoint": {map[string]string{KeyTokens: "a-token-for-tests-only", KeyTouchpoints: "\n"}, "touchpoints is empty: name touchpoints"},
	} {
		_, err := Parse(secret("shop", "tool", test.data))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
		if err != nil && (strings.Contains(err.Error(), "entry 1: short") || strings.Contains(err.Error(), "talkative")) {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("tokens", []byte("first-token-of-two\n# comment"))
	f.Add("signingSecrets", []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		source, err := Parse(&corev1.Secret{Data: map[string][]byte{key: value}})
		if (source == nil) == (err == nil) {
			t.Fatalf("%v, %v", source, err)
		}
	})
}
