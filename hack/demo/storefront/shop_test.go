package storefront

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func start(t *testing.T) *Shop {
	t.Helper()
	shop, err := Start(Options{Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shop.Close() })
	return shop
}

func get(t *testing.T, url, language string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept-Language", language)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func post(t *testing.T, url string) int {
	t.Helper()
	response, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func quantile(durations []time.Duration, q float64) time.Duration {
	slices.Sort(durations)
	return durations[int(q*float64(len(durations)-1))]
}

// near allows a relative error.
func near(t *testing.T, what string, got, want time.Duration, tolerance float64) {
	t.Helper()
	if math.Abs(float64(got)/float64(want)-1) > tolerance {
		t.Errorf("%s is %v, want %v within %.0f %%", what, got, want, 100*tolerance)
	}
}

func TestDrawnVisits(t *testing.T) {
	const n = 200_000
	for _, page := range Pages {
		visits, again := NewVisits(page, 3), NewVisits(page, 3)
		durations, failures := make([]time.Duration, n), 0
		for i := range durations {
			duration, failed := visits.Next()
			if d, f := again.Next(); d != duration || f != failed {
				t.Fatalf("%s: the same seed gives other visits", page.Name)
			}
			durations[i] = duration
			if failed {
				failures++
			}
		}
		near(t, page.Name+" median", quantile(durations, 0.5), page.Median, 0.02)
		// 84.13 % of a normal distribution lie below one deviation.
		near(t, page.Name+" upper deviation", quantile(durations, 0.8413), time.Duration(float64(page.Median)*math.Exp(page.Sigma)), 0.02)
		expected := page.Failures * n
		if math.Abs(float64(failures)-expected) > 5*math.Sqrt(expected) {
			t.Errorf("%s: %d failures, expected about %.0f", page.Name, failures, expected)
		}
	}
}

func TestServedPagesTakeTheirTime(t *testing.T) {
	shop := start(t)
	for _, page := range Pages {
		durations := make([]time.Duration, 120)
		var all sync.WaitGroup
		for i := range durations {
			all.Go(func() {
				begin := time.Now()
				code, _ := get(t, shop.URL+page.Path, "en")
				durations[i] = time.Since(begin)
				if code != http.StatusOK && code != http.StatusServiceUnavailable {
					t.Errorf("%s answers %d", page.Path, code)
				}
			})
			time.Sleep(time.Millisecond)
		}
		all.Wait()
		// A machine under load adds to each, never takes away.
		if median := quantile(durations, 0.5); median < page.Median*3/4 || median > page.Median*4 {
			t.Errorf("%s: the median is %v, want about %v", page.Name, median, page.Median)
		}
	}
	_, metrics := get(t, shop.URL+"/metrics", "")
	for _, page := range Pages {
		if want := fmt.Sprintf("shop_request_duration_seconds_count{page=%q} 120", page.Name); !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestPagesSpeakTwoLanguages(t *testing.T) {
	shop := start(t)
	for _, page := range Pages {
		for language, tag := range map[string]string{"en": "en-GB,en;q=0.9", "zh": "zh-CN"} {
			if _, body := get(t, shop.URL+page.Path, tag); !strings.Contains(body, "<h1>"+words[language][page.Name]) {
				t.Errorf("%s in %s is %s", page.Path, language, body)
			}
		}
	}
}

func TestSearchFinds(t *testing.T) {
	empty := 0
	for _, query := range queries {
		if !renderPage(io.Discard, "search", "en", query) {
			empty++
		}
	}
	if share := float64(empty) / float64(len(queries)); share != EmptySearches {
		t.Errorf("%v of the searches find nothing, want %v", share, EmptySearches)
	}
	shop := start(t)
	get(t, shop.URL+"/search?q="+url.QueryEscape("普洱"), "zh")
	_, metrics := get(t, shop.URL+"/metrics", "")
	if !strings.Contains(metrics, `shop_searches_total{result="found"} 1`) {
		t.Error("the search is not counted as found")
	}
}

func TestBreakAndHeal(t *testing.T) {
	shop := start(t)
	if code := post(t, shop.AdminURL+"/break?page=checkout&mode=slow"); code != http.StatusOK {
		t.Fatalf("break answers %d", code)
	}
	begin := time.Now()
	if get(t, shop.URL+"/checkout", "en"); time.Since(begin) < 1200*time.Millisecond {
		t.Errorf("a slow checkout took %v only", time.Since(begin))
	}
	if code := post(t, shop.AdminURL+"/break?page=support&mode=down"); code != http.StatusOK {
		t.Fatalf("break answers %d", code)
	}
	if code, _ := get(t, shop.URL+"/support", "en"); code != http.StatusServiceUnavailable {
		t.Errorf("a page that is down answers %d", code)
	}
	post(t, shop.AdminURL+"/heal")
	if _, state := get(t, shop.AdminURL, ""); strings.Contains(state, "slow") || strings.Contains(state, "down") {
		t.Errorf("after healing: %s", state)
	}
	for _, wrong := range []string{"/break?page=chekout", "/break?page=checkout&mode=sloww"} {
		if code := post(t, shop.AdminURL+wrong); code != http.StatusBadRequest {
			t.Errorf("%s answers %d", wrong, code)
		}
	}
	if code := post(t, shop.URL+"/break?page=checkout"); code == http.StatusOK {
		t.Error("customers can break pages")
	}
}
