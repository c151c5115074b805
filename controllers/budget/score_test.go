package budget

import (
	"math"
	"testing"
	"time"
)

var nan = math.NaN()

func same(a, b float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) < 1e-9
}

func TestKept(t *testing.T) {
	for _, c := range []struct{ burn, alarm, want float64 }{
		{0, 14.4, 1}, {1, 14.4, 1}, {14.4, 14.4, 0}, {100, 14.4, 0}, {7.7, 14.4, 0.5}, {1.1, 1, 0}, {1, 1, 1},
	} {
		if got := Kept(c.burn, c.alarm); !same(got, c.want) {
			t.Errorf("Kept(%v, %v) = %v, want %v", c.burn, c.alarm, got, c.want)
		}
	}
}

func TestAlarmingBurn(t *testing.T) {
	for _, c := range []struct {
		family Family
		budget float64
		want   float64
	}{
		{Traffic, 0.001, 13.44}, {Traffic, 0.1, 5}, {Traffic, 0.6, 1}, {Survey, 0.2, 1.5},
	} {
		if got := AlarmingBurn(c.family, Tiers(c.family, 28*24*time.Hour), c.budget, 30); !same(got, c.want) {
			t.Errorf("%s at %v: %v, want %v", c.family, c.budget, got, c.want)
		}
	}
}

func TestTouchpointScore(t *testing.T) {
	for _, c := range []struct{ ease, satisfied, kept, want float64 }{
		{nan, nan, nan, nan}, {0.8, nan, nan, 80}, {nan, nan, 0, 0}, {0.9, 0.6, 0, 50},
	} {
		if got := TouchpointScore(c.ease, c.satisfied, c.kept); !same(got, c.want) {
			t.Errorf("TouchpointScore(%v, %v, %v) = %v, want %v", c.ease, c.satisfied, c.kept, got, c.want)
		}
	}
}

func TestJourneyScore(t *testing.T) {
	plain := func(scores ...float64) []Stop {
		var stops []Stop
		for _, score := range scores {
			stops = append(stops, Stop{Score: score, Weight: 1})
		}
		return stops
	}
	truth := plain(95, 75, 85)
	truth[0].MomentOfTruth = true
	weighed := plain(100, 40)
	weighed[1].Weight = 2
	for name, c := range map[string]struct {
		scoring Scoring
		stops   []Stop
		want    float64
	}{
		"nothing":                       {PeakEnd, nil, nan},
		"nothing known":                 {Worst, plain(nan, nan), nan},
		"the peak is a bad one":         {PeakEnd, plain(90, 20, 90, 80), 50},
		"the peak is a good one":        {PeakEnd, plain(50, 50, 100, 50, 50), 75},
		"of two peaks the worse":        {PeakEnd, plain(0, 50, 100, 50), 25},
		"the end is the last one known": {PeakEnd, plain(40, 60, nan), 50},
		"one stop":                      {PeakEnd, plain(70), 70},
		"a moment of truth":             {PeakEnd, truth, 90},
		"a mean":                        {WeightedMean, plain(100, 50, nan), 75},
		"a mean by weights":             {WeightedMean, weighed, 60},
		"the worst":                     {Worst, plain(100, nan, 40, 60), 40},
	} {
		if got := JourneyScore(c.scoring, c.stops); !same(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
