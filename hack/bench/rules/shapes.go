package main

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// The built-in shapes.
const (
	// shapeMetrics is one touchpoint with metrics of its own for each SLO; half of the
	// SLOs promise availability, half latency.
	shapeMetrics = "metrics"
	// shapeSpread is the same in ten namespaces.
	shapeSpread = "metrics, 10 namespaces"
	// shapeProbes is one probed and surveyed touchpoint for each SLO, which promises
	// availability, latency and ease.
	shapeProbes = "probe+survey"
	// shapeWide is one such SLO over a thousand touchpoints.
	shapeWide = "1,000 touchpoints"
)

const (
	scrapeInterval = 30 * time.Second
	// threshold is what latency objectives promise, an edge of every histogram.
	threshold = "0.3"
	wide      = 1000
)

// source is a series that a scrape would bring, and its value over time.
type source struct {
	labels labels.Labels
	value  func(time.Time) float64
}

// shapes makes the sources of the built-in shapes.
var shapes = map[string]func(slos int) []source{
	shapeMetrics: func(slos int) []source { return teamMetrics(slos, 1) },
	shapeSpread:  func(slos int) []source { return teamMetrics(slos, spread) },
	shapeProbes:  probesAndSurveys,
	shapeWide:    func(int) []source { return probesAndSurveys(wide) },
}

func shapeNames() []string {
	var names []string
	for name := range shapes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// spread is the number of namespaces of shapeSpread.
const spread = 10

// place is where the i-th SLO lives.
func place(i, namespaces int) (namespace, name string) {
	return fmt.Sprintf("shop-%02d", i%namespaces), fmt.Sprintf("service-%04d", i)
}

// promisesAvailability tells which half of the SLOs the i-th belongs to.
func promisesAvailability(i int) bool { return i%2 == 0 }

// teamMetrics are what services export themselves: a counter of requests by code or a
// classic histogram, each from one instance, at 20 requests a second.
func teamMetrics(slos, namespaces int) []source {
	var sources []source
	for i := range slos {
		namespace, service := place(i, namespaces)
		events := traffic(20, service)
		add := func(name string, value func(time.Time) float64, pairs ...string) {
			sources = append(sources, source{labels.FromStrings(append([]string{
				"__name__", name, "namespace", namespace, "service", service, "instance", fmt.Sprintf("10.0.%d.%d:8080", i/250, i%250)}, pairs...)...), value})
		}
		if promisesAvailability(i) {
			add("http_requests_total", part(events, 0, 0.95), "code", "200")
			add("http_requests_total", part(events, 0.95, 0.9998), "code", "404")
			add("http_requests_total", part(events, 0.9998, 1), "code", "500")
			continue
		}
		for le, share := range edges {
			add("http_request_duration_seconds_bucket", part(events, 0, share), "le", le)
		}
		add("http_request_duration_seconds_count", part(events, 0, 1))
		add("http_request_duration_seconds_sum", part(events, 0, 0.06))
	}
	return sorted(sources)
}

// edges are the buckets of all histograms, and the share of events in them.
var edges = map[string]float64{"0.05": 0.6, "0.1": 0.9, threshold: 0.997, "1.0": 0.999, "5.0": 1, "+Inf": 1}

// probesAndSurveys are what the prober and the gateway expose: a run every 30 seconds,
// a hundred answers a day.
func probesAndSurveys(touchpoints int) []source {
	var sources []source
	for i := range touchpoints {
		namespace, touchpoint := place(i, 1)
		add := func(name string, value func(time.Time) float64, pairs ...string) {
			sources = append(sources, source{labels.FromStrings(append([]string{
				"__name__", name, "namespace", namespace, "touchpoint", touchpoint}, pairs...)...), value})
		}
		runs := func(at time.Time) float64 { return math.Floor(at.Sub(epoch).Seconds() / 30) }
		const failing = 0.0002
		add("sojourn_probe_runs_total", part(runs, failing, 1), "location", "default", "outcome", "success", "job", "prober")
		add("sojourn_probe_runs_total", part(runs, 0, failing), "location", "default", "outcome", "failure", "job", "prober")
		add("sojourn_probe_runs_total", part(runs, 0, 0), "location", "default", "outcome", "error", "job", "prober")
		for le, share := range edges {
			// Among the successful runs, so that a failed one is in none.
			add("sojourn_probe_duration_seconds_bucket", part(runs, failing, failing+share*(1-failing)), "location", "default", "le", le, "job", "prober")
		}
		answers := traffic(100.0/24/3600, touchpoint)
		below := 0.0
		// All are content: with four answers an hour, a bad one would be a bad hour, and
		// an hour is what the pattern of recorded series repeats.
		for score, share := range []float64{0, 0, 0, 0, 0.3, 0.3, 0.4} {
			add("sojourn_survey_responses_total", part(answers, below, below+share), "instrument", "ces", "score", fmt.Sprint(score+1), "job", "gateway")
			below += share
		}
	}
	return sorted(sources)
}

// sorted is for maps, whose order is not the same twice.
func sorted(sources []source) []source {
	slices.SortFunc(sources, func(a, b source) int { return labels.Compare(a.labels, b.labels) })
	return sources
}

// traffic counts whole events, more by day than by night, each service at its own hours.
func traffic(perSecond float64, service string) func(time.Time) float64 {
	hash := fnv.New32a()
	hash.Write([]byte(service))
	phase := float64(hash.Sum32()%1000) / 1000
	return func(at time.Time) float64 {
		seconds := at.Sub(epoch).Seconds()
		const swing = 0.8 // of the mean rate
		return math.Floor(perSecond * (seconds - swing*86400/(2*math.Pi)*math.Sin(2*math.Pi*(seconds/86400+phase)) + 86400))
	}
}

// part counts some of the events: those between two shares, spread evenly. Parts that
// adjoin add up to the whole at any time, as they do in one scrape.
func part(events func(time.Time) float64, from, to float64) func(time.Time) float64 {
	return func(at time.Time) float64 {
		n := events(at)
		return math.Floor(n*to) - math.Floor(n*from)
	}
}
