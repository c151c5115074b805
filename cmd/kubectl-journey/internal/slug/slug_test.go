package slug

import (
	"strings"
	"testing"
)

// TestSlug holds names to what Kubernetes takes.
func TestSlug(t *testing.T) {
	for text, wanted := range map[string]string{
		"Make tea": "make-tea", "  -Pay!- ": "pay", "Café Zoë": "cafe-zoe", "付款": "touchpoint-", "付款 Pay": "pay", "付款 7": "7-", "付款 touchpoint": "touchpoint-", "…": "touchpoint-", strings.Repeat("long ", 20): "long-long-",
		strings.Repeat("x", 63): strings.Repeat("x", 63), "①": "1",
	} {
		got := Of(text, "touchpoint")
		if !strings.HasPrefix(got, wanted) || len(got) > 63 || strings.HasSuffix(got, "-") {
			t.Errorf("%q: %s", text, got)
		}
		if exact := !strings.HasSuffix(wanted, "-"); exact && got != wanted {
			t.Errorf("%q: %s", text, got)
		}
	}
	n := NewNames("stage")
	first, second := n.Of(strings.Repeat("x", 63)), n.Of(strings.Repeat("x", 63))
	if first == second || len(second) > 63 {
		t.Error(first, second)
	}
}
