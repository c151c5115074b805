// Package storefront is the demo's shop: an HTTP server with six real pages, each
// with its own way of being slow and of failing, and shoppers who visit it.
package storefront

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Page is a page of the shop and how it behaves while nothing is broken.
type Page struct {
	// Name is the value of the label page.
	Name string
	// Path is where the page is served.
	Path string
	// Median and Sigma shape the time the page takes, which is log-normal: the
	// logarithm of the time is normal with deviation Sigma.
	Median time.Duration
	Sigma  float64
	// Failures is the share of requests answered with status 503.
	Failures float64
}

// Pages are the pages of the shop.
var Pages = []Page{
	{Name: "product", Path: "/product", Median: 70 * time.Millisecond, Sigma: 0.40, Failures: 0.0004},
	{Name: "search", Path: "/search", Median: 90 * time.Millisecond, Sigma: 0.45, Failures: 0.0010},
	{Name: "basket", Path: "/basket", Median: 60 * time.Millisecond, Sigma: 0.35, Failures: 0.0003},
	{Name: "checkout", Path: "/checkout", Median: 140 * time.Millisecond, Sigma: 0.30, Failures: 0.0001},
	{Name: "order-status", Path: "/orders/status", Median: 110 * time.Millisecond, Sigma: 0.40, Failures: 0.0008},
	{Name: "support", Path: "/support", Median: 50 * time.Millisecond, Sigma: 0.40, Failures: 0.0005},
}

// PageAt returns the page that serves a path.
func PageAt(path string) (Page, bool) {
	for _, page := range Pages {
		if page.Path == path {
			return page, true
		}
	}
	return Page{}, false
}

// Mode is how a page behaves.
type Mode string

// Modes.
const (
	// Healthy is the page as it should be.
	Healthy Mode = "healthy"
	// Slow takes two to three seconds, whatever the page.
	Slow Mode = "slow"
	// Down fails every request, and at once.
	Down Mode = "down"
)

// slowPage is what every page becomes in mode Slow. It still answers.
var slowPage = Page{Median: 2400 * time.Millisecond, Sigma: 0.12}

// Visits draws what happens to one request after the other. The same seed gives the
// same visits of a page, in whatever order pages are visited.
type Visits struct {
	mu      sync.Mutex
	page    Page
	mode    Mode
	drawing *rand.Rand
}

// NewVisits begins the visits of a page.
func NewVisits(page Page, seed uint64) *Visits {
	name := fnv.New64a()
	name.Write([]byte(page.Name))
	return &Visits{page: page, mode: Healthy, drawing: rand.New(rand.NewPCG(seed, name.Sum64()))}
}

// Next tells how long the next request takes and whether it fails.
func (v *Visits) Next() (duration time.Duration, failed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	// Always both, so that a mode does not shift the sequence.
	deviation, chance := v.drawing.NormFloat64(), v.drawing.Float64()
	page := v.page
	switch v.mode {
	case Down:
		return time.Millisecond, true
	case Slow:
		page.Median, page.Sigma = slowPage.Median, slowPage.Sigma
	}
	return time.Duration(float64(page.Median) * math.Exp(page.Sigma*deviation)), chance < page.Failures
}

// SetMode breaks the page, or heals it.
func (v *Visits) SetMode(mode Mode) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mode = mode
}

// Mode tells how the page behaves.
func (v *Visits) Mode() Mode {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mode
}
