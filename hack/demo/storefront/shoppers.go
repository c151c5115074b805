package storefront

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// ShoppersPerSecond is how many customers enter the shop in a second, by default
// and in the demo's history.
const ShoppersPerSecond = 1.0

// step is a page on a shopper's way, and the share of those before who go on to it.
type step struct {
	page  string
	share float64
}

// way is how shoppers go through the shop.
var way = []step{{"product", 1}, {"search", 0.7}, {"basket", 0.6}, {"checkout", 0.7}, {"order-status", 0.5}, {"support", 0.2}}

// VisitRate returns how often a page is visited by each shopper, on average.
func VisitRate(page string) float64 {
	rate := 1.0
	for _, step := range way {
		rate *= step.share
		if step.page == page {
			return rate
		}
	}
	return 0
}

// queries are what shoppers search for; every twentieth finds nothing.
var queries = []string{
	"longjing", "龙井", "pu'er", "普洱", "white", "tieguanyin", "铁观音", "peony", "roasted", "白牡丹",
	"puer", "rain", "ten years", "guanyin", "观音", "牡丹", "long", "white peony", "明前", "Erl Grey",
}

// EmptySearches is the share of searches that find nothing.
const EmptySearches = 1.0 / 20

// Visit sends shoppers through the shop at url until ctx ends, and returns when the
// last has left. Shoppers come at random; each visits one page after the other and
// gives up at the first that fails.
func Visit(ctx context.Context, url string, perSecond float64, seed uint64) {
	drawing := rand.New(rand.NewPCG(seed, 1))
	client := &http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	var inside sync.WaitGroup
	defer inside.Wait()
	for {
		pause := time.Duration(drawing.ExpFloat64() / perSecond * float64(time.Second))
		if !work(ctx, pause) {
			return
		}
		shopper := rand.New(rand.NewPCG(drawing.Uint64(), 2))
		inside.Go(func() { walk(ctx, client, url, shopper) })
	}
}

func walk(ctx context.Context, client *http.Client, shop string, shopper *rand.Rand) {
	language := []string{"en", "zh-CN"}[shopper.IntN(2)]
	for _, step := range way {
		if shopper.Float64() >= step.share {
			return
		}
		address := shop
		for _, page := range Pages {
			if page.Name == step.page {
				address += page.Path
			}
		}
		if step.page == "search" {
			address += "?q=" + url.QueryEscape(queries[shopper.IntN(len(queries))])
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return
		}
		request.Header.Set("Accept-Language", language)
		response, err := client.Do(request)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return
		}
		if !work(ctx, time.Duration(shopper.Float64()*float64(2*time.Second))) {
			return
		}
	}
}
