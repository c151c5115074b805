package signin

import (
	"net/http/httptest"
	"testing"
)

func TestTokenOf(t *testing.T) {
	for header, want := range map[string]string{
		"": "", "Bearer": "", "Bearer a": "a", "bearer  a ": "a", "Basic dTphOmI=": "a:b", "Basic OmE=": "a", "Basic x": "", "Digest a": "",
	} {
		request := httptest.NewRequest("GET", "/", nil)
		request.Header.Set("Authorization", header)
		if got := TokenOf(request); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}
