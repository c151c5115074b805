package intake

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// MinToken is the shortest token, in characters.
const MinToken = 16

// maxTokenFile is more than anybody's tokens need.
const maxTokenFile = 64 << 10

// Tokens are the bearer tokens of a file, one a line; several at a time let a
// source change from one to the next. Blank lines and lines that begin with # are
// passed over.
type Tokens struct {
	path string
	// digests, not tokens: all have one length, so comparing them tells nothing of a
	// token's, and a memory dump shows none.
	digests atomic.Pointer[[][sha256.Size]byte]
}

// ReadTokens reads the tokens of a file.
func ReadTokens(path string) (*Tokens, error) {
	digests, err := readTokenFile(path)
	if err != nil {
		return nil, err
	}
	t := &Tokens{path: path}
	t.digests.Store(&digests)
	return t, nil
}

// Authenticate tells whether a request carries one of the tokens.
func (t *Tokens) Authenticate(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	digest := sha256.Sum256([]byte(strings.TrimSpace(token)))
	found := 0
	for _, each := range *t.digests.Load() {
		found |= subtle.ConstantTimeCompare(digest[:], each[:])
	}
	return found == 1
}

// Watch reads the file again at an interval until ctx ends. The content decides,
// not a notification: a Secret's volume swaps a symbolic link two folders up,
// which file watchers are known to miss. A file that became unusable changes
// nothing; the tokens known last stay valid.
func (t *Tokens) Watch(ctx context.Context, interval time.Duration, log *slog.Logger) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	complained := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		digests, err := readTokenFile(t.path)
		if err != nil {
			if complained != err.Error() {
				log.Error("the token file became unusable; the tokens read before stay valid", "error", err)
			}
			complained = err.Error()
			continue
		}
		complained = ""
		if before := t.digests.Swap(&digests); !slices.Equal(*before, digests) {
			log.Info("tokens were read anew", "tokens", len(digests))
		}
	}
}

func readTokenFile(path string) ([][sha256.Size]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the token file cannot be read: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	if err != nil {
		return nil, fmt.Errorf("the token file cannot be read: %w", err)
	}
	if len(content) > maxTokenFile {
		return nil, fmt.Errorf("the token file %s is larger than %d bytes: name a file of tokens, one a line", path, maxTokenFile)
	}
	var digests [][sha256.Size]byte
	for number, line := range strings.Split(string(content), "\n") {
		token := strings.TrimSpace(line)
		if token == "" || token[0] == '#' {
			continue
		}
		if err := checkToken(token); err != nil {
			// The line's number only: what stands there may be a secret.
			return nil, fmt.Errorf("line %d of the token file %s: %w", number+1, path, err)
		}
		digests = append(digests, sha256.Sum256([]byte(token)))
	}
	if digests == nil {
		return nil, fmt.Errorf("the token file %s holds no token: write one, for example with openssl rand -hex 32", path)
	}
	return digests, nil
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
