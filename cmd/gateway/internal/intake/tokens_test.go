package intake

import (
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func (t *Tokens) takes(token string) bool {
	request := httptest.NewRequest("POST", "/v1/responses", nil)
	request.Header.Set("Authorization", token)
	return t.Authenticate(request)
}

func TestTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte("# of the survey tool\r\nfirst-token-of-two\r\n\n  second-token-of-two"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := ReadTokens(path)
	if err != nil {
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
		"Basic first-token-of-two":    false,
		"first-token-of-two":          false,
	} {
		if got := tokens.takes(header); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}

func TestUnusableTokenFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	if _, err := ReadTokens(path); err == nil {
		t.Error("a missing file is taken")
	}
	for content, want := range map[string]string{
		"":                              "holds no token: write one, for example with openssl rand -hex 32",
		"# nothing\n\n":                 "holds no token",
		"first-token-of-two\nshort":     "line 2 of the token file " + path + ": a token needs at least 16 characters",
		"two words, both too talkative": "a token is one word of printable ASCII characters",
		"这是一个足够长的令牌吗":                   "a token is one word of printable ASCII characters",
		strings.Repeat("x", 65<<10):     "is larger than 65536 bytes",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadTokens(path)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: error %v, want %q", content, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "short") || strings.Contains(err.Error(), "talkative")) {
			t.Errorf("the error tells the token: %v", err)
		}
	}
}

// A Secret's volume is a folder of links to ..data, itself a link that is swapped.
func TestTokensFollowASecretVolume(t *testing.T) {
	dir := t.TempDir()
	publish := func(version, content string) {
		t.Helper()
		folder := filepath.Join(dir, version)
		for _, step := range []func() error{
			func() error { return os.Mkdir(folder, 0o700) },
			func() error { return os.WriteFile(filepath.Join(folder, "tokens"), []byte(content), 0o600) },
			func() error { return os.Symlink(version, filepath.Join(dir, "..data_tmp")) },
			func() error { return os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")) },
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish("..1", "first-token-of-two")
	if err := os.Symlink("..data/tokens", filepath.Join(dir, "tokens")); err != nil {
		t.Fatal(err)
	}
	tokens, err := ReadTokens(filepath.Join(dir, "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	go tokens.Watch(t.Context(), time.Millisecond, slog.New(slog.DiscardHandler))
	eventually := func(what string, condition func() bool) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); !condition(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	publish("..2", "first-token-of-two\nsecond-token-of-two")
	eventually("the new token is not taken", func() bool { return tokens.takes("Bearer second-token-of-two") })
	if !tokens.takes("Bearer first-token-of-two") {
		t.Error("the old token is not taken beside the new one")
	}
	publish("..3", "second-token-of-two")
	eventually("the old token is still taken", func() bool { return !tokens.takes("Bearer first-token-of-two") })
	publish("..4", "short")
	time.Sleep(20 * time.Millisecond)
	if !tokens.takes("Bearer second-token-of-two") {
		t.Error("an unusable file locked everybody out")
	}
}
