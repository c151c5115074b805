package story

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/targets"
	"github.com/sojourn-dev/sojourn/hack/demo/storefront"
	"github.com/sojourn-dev/sojourn/hack/history"
)

// pastScrape is how often the past was scraped.
const pastScrape = 30 * time.Second

// probesPerScrape is how often a touchpoint was probed between two scrapes: every 30
// seconds, which is the default. The samples probe every ten.
const probesPerScrape = 1

// Past is what prober, gateway and shop would have counted had they run for days.
type Past struct {
	Start, End time.Time
	// Responses are those that the gateway has stored by End.
	Responses []Response
	Samples   *Samples
	// Seed decides all chance.
	Seed uint64
}

// target is what Prometheus adds to the series of a scraped process.
type target struct{ job, instance string }

func (t target) series(name string, pairs ...string) labels.Labels {
	builder := labels.NewBuilder(labels.FromStrings(pairs...))
	builder.Set(model.MetricNameLabel, name).Set("instance", t.instance).Set("job", t.job)
	return builder.Labels()
}

// AddCounters adds the counters of the three processes, as they would have
// shown them.
func (p *Past) AddCounters(h *history.History, instances map[string]string) error {
	if err := p.addResponses(h, target{GatewayJob, instances[GatewayJob]}); err != nil {
		return err
	}
	if err := p.addProbes(h, target{ProberJob, instances[ProberJob]}); err != nil {
		return err
	}
	return p.addShop(h, target{ShopJob, instances[ShopJob]})
}

// addResponses adds the gateway's totals: zero at the start, and at the end what its
// database holds.
func (p *Past) addResponses(h *history.History, from target) error {
	type series struct {
		namespace, touchpoint, instrument string
		score                             int
	}
	times := map[series][]time.Time{}
	for _, r := range p.Responses {
		key := series{r.Namespace, r.Touchpoint, r.Instrument, r.Score}
		times[key] = append(times[key], r.Time)
	}
	for _, touchpoint := range p.Samples.Decoded.Touchpoints {
		if touchpoint.Spec.Survey == nil {
			continue
		}
		for _, instrument := range touchpoint.Spec.Survey.Instruments {
			scale, label := scales[instrument.Type], strings.ToLower(string(instrument.Type))
			for i := range scale.weights {
				key := series{touchpoint.Namespace, touchpoint.Name, label, scale.lowest + i}
				answered, count := times[key], 0
				err := h.AddSeries(from.series("sojourn_survey_responses_total",
					"namespace", key.namespace, "touchpoint", key.touchpoint,
					"instrument", key.instrument, "score", strconv.Itoa(key.score),
				), pastScrape, func(now time.Time) float64 {
					for count < len(answered) && !answered[count].After(now) {
						count++
					}
					return float64(count)
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// addProbes adds the prober's counters of every touchpoint whose probe visits a page
// of the shop. Flows of several steps have no past.
func (p *Past) addProbes(h *history.History, from target) error {
	for _, touchpoint := range p.Samples.Decoded.Touchpoints {
		if touchpoint.Spec.Probe == nil || touchpoint.Spec.Probe.HTTP == nil {
			continue
		}
		address, err := url.Parse(string(touchpoint.Spec.Probe.HTTP.URL))
		if err != nil {
			return err
		}
		page, known := storefront.PageAt(address.Path)
		if !known {
			return fmt.Errorf("touchpoint %s: the shop has no page %s", touchpoint.Name, address.Path)
		}
		identity := []string{"namespace", touchpoint.Namespace, "touchpoint", touchpoint.Name, "location", ProberLocation}
		visits := p.visit(page, touchpoint.Name, func(time.Time) int { return probesPerScrape }, p.edges(touchpoint), false)
		runs := func(outcome string, count []float64) error {
			return h.AddSeries(from.series("sojourn_probe_runs_total", append([]string{"outcome", outcome}, identity...)...), pastScrape, replay(count))
		}
		if err := runs("success", visits.succeeded); err != nil {
			return err
		}
		if err := runs("failure", visits.failed); err != nil {
			return err
		}
		if err := runs("error", make([]float64, len(visits.failed))); err != nil {
			return err
		}
		if err := visits.addHistogram(h, from, "sojourn_probe_duration_seconds", identity...); err != nil {
			return err
		}
	}
	return nil
}

// edges are those of the prober's histogram: the customary ones and every promised
// threshold.
func (p *Past) edges(touchpoint *v1alpha1.Touchpoint) []float64 {
	edges := slices.Clone(prometheus.DefBuckets)
	for _, threshold := range targets.LatencyThresholds(touchpoint.Name, p.Samples.SLOs, p.Samples.Decoded) {
		edges = append(edges, float64(threshold)/1e9)
	}
	slices.Sort(edges)
	return slices.Compact(edges)
}

// addShop adds the shop's own counters: shoppers come as often as the demo's, with
// the time of day.
func (p *Past) addShop(h *history.History, from target) error {
	for _, page := range storefront.Pages {
		drawing := rand.New(rand.NewPCG(p.Seed, uint64(len(page.Name))))
		perScrape := storefront.ShoppersPerSecond * storefront.VisitRate(page.Name) * pastScrape.Seconds()
		visits := p.visit(page, "shop/"+page.Name, func(at time.Time) int {
			return poisson(drawing, perScrape*busyness(at))
		}, storefront.DurationEdges, true)
		for code, count := range map[string][]float64{"200": visits.succeeded, "503": visits.failed} {
			series := from.series("shop_requests_total", "namespace", p.Samples.Namespace, "page", page.Name, "code", code)
			if err := h.AddSeries(series, pastScrape, replay(count)); err != nil {
				return err
			}
		}
		if err := visits.addHistogram(h, from, "shop_request_duration_seconds", "namespace", p.Samples.Namespace, "page", page.Name); err != nil {
			return err
		}
		if page.Name != "search" {
			continue
		}
		for result, share := range map[string]float64{"found": 1 - storefront.EmptySearches, "empty": storefront.EmptySearches} {
			count := make([]float64, len(visits.succeeded))
			for i, all := range visits.succeeded {
				count[i] = math.Round(all * share)
			}
			series := from.series("shop_searches_total", "namespace", p.Samples.Namespace, "result", result)
			if err := h.AddSeries(series, pastScrape, replay(count)); err != nil {
				return err
			}
		}
	}
	return nil
}

// visits are the counters of visits to a page, at every scrape.
type visits struct {
	edges             []float64
	succeeded, failed []float64
	sum               []float64
	within            [][]float64 // by edge
	observed          []float64
}

// visit draws the visits of the whole past. Failures are observed in the histogram
// only where failuresToo says so: the shop times every answer, the prober only good
// ones.
func (p *Past) visit(page storefront.Page, who string, perScrape func(time.Time) int, edges []float64, failuresToo bool) *visits {
	v := &visits{edges: edges, within: make([][]float64, len(edges))}
	drawing := storefront.NewVisits(storefront.Page{
		Name: who, Median: page.Median, Sigma: page.Sigma, Failures: page.Failures,
	}, p.Seed)
	var succeeded, failed, sum, observed float64
	within := make([]float64, len(edges))
	for at := p.Start; !at.After(p.End); at = at.Add(pastScrape) {
		for range perScrape(at) {
			duration, fails := drawing.Next()
			if fails {
				failed++
			} else {
				succeeded++
			}
			if fails && !failuresToo {
				continue
			}
			observed++
			sum += duration.Seconds()
			for i, edge := range edges {
				if duration.Seconds() <= edge {
					within[i]++
				}
			}
		}
		v.succeeded, v.failed = append(v.succeeded, succeeded), append(v.failed, failed)
		v.sum, v.observed = append(v.sum, sum), append(v.observed, observed)
		for i := range edges {
			v.within[i] = append(v.within[i], within[i])
		}
	}
	return v
}

func (v *visits) addHistogram(h *history.History, from target, name string, identity ...string) error {
	add := func(suffix string, values []float64, pairs ...string) error {
		return h.AddSeries(from.series(name+suffix, append(pairs, identity...)...), pastScrape, replay(values))
	}
	for i, edge := range v.edges {
		if err := add("_bucket", v.within[i], "le", edgeLabel(edge)); err != nil {
			return err
		}
	}
	if err := add("_bucket", v.observed, "le", "+Inf"); err != nil {
		return err
	}
	if err := add("_count", v.observed); err != nil {
		return err
	}
	return add("_sum", v.sum)
}

// edgeLabel writes a bucket's edge as Prometheus 3 stores it: 1 becomes 1.0.
func edgeLabel(edge float64) string {
	text := strconv.FormatFloat(edge, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}

// replay returns one value after the other.
func replay(values []float64) func(time.Time) float64 {
	next := 0
	return func(time.Time) float64 {
		next++
		return values[min(next, len(values))-1]
	}
}

// poisson draws a number of arrivals.
func poisson(drawing *rand.Rand, mean float64) int {
	limit, product, n := math.Exp(-mean), drawing.Float64(), 0
	for product > limit {
		product *= drawing.Float64()
		n++
	}
	return n
}
