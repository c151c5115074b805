package probe

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDetail bounds what is told of a failure, in bytes.
const maxDetail = 512

// redact takes secrets out of a text, in the forms in which they travel, and
// shortens it.
func redact(text string, secrets []string) string {
	var forms []string
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		quoted, _ := json.Marshal(secret)
		forms = append(forms, secret, strings.TrimSpace(secret), string(quoted[1:len(quoted)-1]), strings.Trim(strconv.Quote(secret), `"`),
			url.QueryEscape(secret), url.PathEscape(secret),
			base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret)),
			base64.RawStdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)))
	}
	// Longer ones first: one may be a part of another.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	for _, form := range slices.Compact(forms) {
		if form != "" {
			text = strings.ReplaceAll(text, form, "[redacted]")
		}
	}
	text = strings.ToValidUTF8(text, "�")
	if len(text) > maxDetail {
		end := maxDetail
		for !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + "…"
	}
	return text
}
