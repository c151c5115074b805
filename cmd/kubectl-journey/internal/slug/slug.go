// Package slug makes names as Kubernetes has them of texts that people wrote.
package slug

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxName is how long a name may be, in characters.
	maxName = 63
	// telling is from how many characters on a name tells people what it is of.
	telling = 3
)

// Names gives names to texts, none twice.
type Names struct {
	// kind is what a text is called of which no letter can stand in a name.
	kind  string
	given map[string]bool
}

// NewNames begins with none given. A text of which no letter can stand in a name is called
// by kind.
func NewNames(kind string) *Names { return &Names{kind: kind, given: map[string]bool{}} }

// Of is a name for a text. The same texts in the same order get the same names.
func (n *Names) Of(text string) string {
	base := Of(text, n.kind)
	name := base
	for i := 2; n.given[name]; i++ {
		ordinal := fmt.Sprintf("-%d", i)
		name = strings.TrimRight(base[:min(len(base), maxName-len(ordinal))], "-") + ordinal
	}
	n.given[name] = true
	return name
}

// Of makes a text a name as Kubernetes has them. Where that keeps hardly any letter, or the
// text is too long, some digits of its hash make up for it, so that the name depends on the
// text and on nothing else; without any letter that can be kept it begins with kind.
func Of(text, kind string) string {
	var kept strings.Builder
	lost := false
	for _, r := range norm.NFKD.String(strings.ToLower(text)) {
		switch {
		case r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)):
			kept.WriteRune(r)
		case r < utf8.RuneSelf, unicode.IsSpace(r), unicode.IsPunct(r), unicode.IsSymbol(r):
			kept.WriteByte('-')
		case unicode.Is(unicode.Mn, r): // the accent of a letter that is kept
		default:
			lost = true
			kept.WriteByte('-')
		}
	}
	name := strings.Join(strings.FieldsFunc(kept.String(), func(r rune) bool { return r == '-' }), "-")
	if name == "" {
		name, lost = kind, true
	}
	if (!lost || len(name) >= telling && name != kind) && len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(text))
	suffix := "-" + hex.EncodeToString(sum[:4])
	return strings.TrimRight(name[:min(len(name), maxName-len(suffix))], "-") + suffix
}
