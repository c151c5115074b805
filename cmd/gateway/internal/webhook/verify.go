package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Errors that Verify returns.
var (
	// ErrUnsigned says that the header with the signature is missing.
	ErrUnsigned = errors.New("the request has no signature")
	// ErrForged says that no secret makes the signature that came.
	ErrForged = errors.New("the signature was not made with one of the source's secrets over this body")
	// ErrTooOld and ErrTooNew say that the signed time is off by more than five minutes.
	ErrTooOld = errors.New("the signed time is more than five minutes ago: it is a repetition, or a clock is wrong")
	ErrTooNew = errors.New("the signed time is more than five minutes ahead: a clock is wrong, the survey tool's or the gateway's")
)

// signature is how a tool signs: the HMAC-SHA256 of the body, written in some way into
// some header.
type signature struct {
	header, prefix string
	decode         func(string) ([]byte, error)
}

// verify tells whether the body was signed with one of the secrets.
func (s signature) verify(header http.Header, body []byte, secrets []string) error {
	// More than a few would have us hash a large body for nothing.
	texts := header.Values(s.header)
	if len(texts) == 0 {
		return ErrUnsigned
	}
	encoded, prefixed := strings.CutPrefix(texts[0], s.prefix)
	given, err := s.decode(encoded)
	if !prefixed || err != nil {
		return ErrForged
	}
	found := false
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		_, _ = mac.Write(body) // a hash never fails
		if hmac.Equal(mac.Sum(nil), given) {
			found = true
		}
	}
	if !found {
		return ErrForged
	}
	return nil
}

var (
	typeformSignature = signature{header: "Typeform-Signature", prefix: "sha256=", decode: base64.StdEncoding.DecodeString}
	tallySignature    = signature{header: "Tally-Signature", decode: base64.StdEncoding.DecodeString}
	// genericSignature is what GitHub and many others do, under a name of our own.
	genericSignature = signature{header: "X-Signature-256", prefix: "sha256=", decode: hex.DecodeString}
)

// verifyStandard does as Standard Webhooks says: id, time and body are signed, the time
// may be five minutes off, and one of several signatures suffices.
func verifyStandard(header http.Header, body []byte, secrets []string) error {
	result := ErrForged
	for _, secret := range secrets {
		hook, err := standard.NewWebhook(secret)
		if err != nil {
			// Tools that call any text a secret take its bytes as the key.
			hook, err = standard.NewWebhookRaw([]byte(secret))
		}
		if err == nil {
			err = hook.Verify(body, header)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, standard.ErrRequiredHeaders):
			result = ErrUnsigned
		case errors.Is(err, standard.ErrMessageTooOld):
			result = ErrTooOld
		case errors.Is(err, standard.ErrMessageTooNew):
			result = ErrTooNew
		}
	}
	return result
}
