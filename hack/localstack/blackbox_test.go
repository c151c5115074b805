package localstack

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestBlackbox(t *testing.T) {
	blackbox, err := StartBlackbox(t.Context(), BlackboxOptions{})
	if errors.Is(err, ErrNoBlackbox) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(blackbox.Stop)
	for target, want := range map[string]string{
		blackbox.Address + "/-/healthy": "probe_success 1",
		"127.0.0.1:1":                   "probe_success 0",
	} {
		response, err := http.Get("http://" + blackbox.Address + "/probe?module=http_2xx&target=" + target)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if page, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(page), want) {
			t.Errorf("%s: no %s in %s (%v)", target, want, page, err)
		}
	}
}
