package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// watchedPages are visited by nobody but the touchpoints of the same names, every ten
// seconds.
var watchedPages = []string{"basket", "checkout"}

const visitInterval = 10 * time.Second

// visits watches at the shop itself when probers come, whatever they say about it.
type visits struct {
	mu      sync.Mutex
	pages   map[string]*pageVisits
	unknown time.Duration // the longest time for which the shop did not answer us
}

type pageVisits struct {
	count   float64
	last    time.Time     // zero: never
	longest time.Duration // between two visits
	at      time.Time     // when that was
}

func startVisits(ctx context.Context, t *test) *visits {
	v := &visits{pages: map[string]*pageVisits{}}
	for _, page := range watchedPages {
		v.pages[page] = &pageVisits{}
	}
	go func() {
		answered := time.Now()
		for ; ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
			page, err := t.get(ctx, shopURL+"/metrics")
			v.mu.Lock()
			v.unknown = max(v.unknown, time.Since(answered))
			v.mu.Unlock()
			if err == nil {
				answered = time.Now()
				v.read(page, answered)
			}
		}
	}()
	return v
}

func (v *visits) read(metrics []byte, now time.Time) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(metrics))
	if err != nil {
		return
	}
	counts := map[string]float64{}
	for _, metric := range families["shop_requests_total"].GetMetric() {
		for _, pair := range metric.GetLabel() {
			if pair.GetName() == "page" {
				counts[pair.GetValue()] += metric.GetCounter().GetValue()
			}
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, page := range v.pages {
		count := counts[name]
		if count == page.count {
			continue
		}
		page.count = count
		if gap := now.Sub(page.last); !page.last.IsZero() && gap > page.longest {
			page.longest, page.at = gap, now
		}
		page.last = now
	}
}

// reset forgets the gaps so far.
func (v *visits) reset() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, page := range v.pages {
		page.longest = 0
	}
}

// steady is an error if, since the last reset, a touchpoint was not visited for so long
// that an interval was left out.
func (v *visits) steady() (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	longest := time.Duration(0)
	for name, page := range v.pages {
		longest = max(longest, page.longest, time.Since(page.last))
		// Looked at twice a second, on a machine that others use.
		if gap := max(page.longest, time.Since(page.last)); gap > 2*visitInterval-time.Second {
			return "", fmt.Errorf("nobody visited %s for %s, until %s", name, gap.Round(time.Second/10), page.at.Format(time.TimeOnly))
		}
	}
	return fmt.Sprintf("never more than %s between two visits of a touchpoint", longest.Round(time.Second/10)), nil
}

func (v *visits) count(page string) float64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pages[page].count
}
