package storefront

import (
	"net/http"
	"strings"
	"testing"
)

func TestSessionsNeedTokenAndCookie(t *testing.T) {
	shop, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer shop.Close()
	for _, path := range []string{"basket", "checkout", "logout"} {
		response, err := http.Post(shop.URL+"/api/"+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a login answers %d", path, response.StatusCode)
		}
	}
}
