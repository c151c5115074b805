package budget

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBudgets(t *testing.T) {
	for _, test := range []struct {
		name   string
		budget func() (float64, error)
		want   string
	}{
		{"availability 99.9 %", func() (float64, error) { return ForShare(0.999) }, "0.001"},
		{"latency 99 %", func() (float64, error) { return ForShare(0.99) }, "0.01"},
		{"ease share 80 %", func() (float64, error) { return ForShare(0.8) }, "0.2"},
		{"net ease 40 %", func() (float64, error) { return ForNet(0.4) }, "0.3"},
		{"net ease -20 %", func() (float64, error) { return ForNet(-0.2) }, "0.6"},
		{"NPS 30", func() (float64, error) { return ForNet(0.3) }, "0.35"},
		{"CES mean 5.5", func() (float64, error) { return ForMean(5.5, CES) }, "0.25"},
		{"CES mean 5", func() (float64, error) { return ForMean(5, CES) }, "0.333333333333"},
		{"CES1 mean 2", func() (float64, error) { return ForMean(2, CES1) }, "0.25"},
	} {
		got, err := test.budget()
		if err != nil || Format(got) != test.want {
			t.Errorf("%s: %s, %v; want %s", test.name, Format(got), err, test.want)
		}
	}
	for _, none := range []func() (float64, error){
		func() (float64, error) { return ForShare(1) },
		func() (float64, error) { return ForShare(0) },
		func() (float64, error) { return ForNet(1) },
		func() (float64, error) { return ForNet(-1) },
		func() (float64, error) { return ForMean(7, CES) },
		func() (float64, error) { return ForMean(1, CES1) },
		func() (float64, error) { return ForMean(5, CES1) },
	} {
		if got, err := none(); !errors.Is(err, ErrNoBudget) {
			t.Errorf("an impossible target has the budget %v, error %v", got, err)
		}
	}
}

func TestLossesByScore(t *testing.T) {
	for _, test := range []struct {
		name  string
		scale Scale
		loss  Loss
		want  []float64 // from the lowest score to the highest
	}{
		{"CES share", CES, CES.ShareLoss, []float64{1, 1, 1, 1, 0, 0, 0}},
		{"CES net", CES, CES.NetLoss, []float64{1, 1, 1, 0.5, 0, 0, 0}},
		{"CES mean", CES, CES.MeanLoss, []float64{1, 5. / 6, 4. / 6, 0.5, 2. / 6, 1. / 6, 0}},
		{"CES1 share", CES1, CES1.ShareLoss, []float64{0, 0, 1, 1, 1}},
		{"CES1 net", CES1, CES1.NetLoss, []float64{0, 0, 0.5, 1, 1}},
		{"CES1 mean", CES1, CES1.MeanLoss, []float64{0, 0.25, 0.5, 0.75, 1}},
		{"CSAT", CSAT, CSAT.ShareLoss, []float64{1, 1, 1, 0, 0}},
		{"NPS", NPS, NPS.NetLoss, []float64{1, 1, 1, 1, 1, 1, 1, 0.5, 0.5, 0, 0}},
	} {
		for i, score := range test.scale.Scores() {
			if got := test.loss(score); math.Abs(got-test.want[i]) > 1e-11 {
				t.Errorf("%s: the loss of %d is %v, want %v", test.name, score, got, test.want[i])
			}
		}
	}
}

// The values are those of Wilson's interval worked out by hand from its usual form.
func TestBounds(t *testing.T) {
	for _, test := range []struct{ losses, n, z, lower, upper float64 }{
		{0, 0, ZTicket, 0, 1},
		{0, 30, 1.96, 0, 0.113520},
		{30, 30, ZTicket, 30 / (30 + ZTicket*ZTicket), 1},
		{9, 30, 1.96, 0.166650, 0.478754},
		{10, 100, 1.96, 0.055229, 0.174367},
	} {
		lower, upper := Bounds(test.losses, test.n, test.z)
		if math.Abs(lower-test.lower) > 1e-5 || math.Abs(upper-test.upper) > 1e-5 {
			t.Errorf("%v of %v at %v: %v to %v, want %v to %v", test.losses, test.n, test.z, lower, upper, test.lower, test.upper)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		name      string
		family    Family
		losses, n float64
		burning   bool
		want      State
	}{
		{"nothing happened", Traffic, 0, 0, false, NoData},
		{"nobody answered", Survey, 0, 0, false, NoData},
		{"one good visit", Traffic, 0, 1, false, Met},
		{"one bad visit", Traffic, 1, 1, false, Breached},
		{"29 good answers", Survey, 0, 29, false, InsufficientData},
		{"29 bad answers", Survey, 29, 29, true, InsufficientData},
		{"30 good answers", Survey, 0, 30, false, Met},
		{"good, but burning", Survey, 5, 30, true, AtRisk},
		{"looks bad, may be chance", Survey, 8, 30, false, Inconclusive},
		{"bad beyond chance", Survey, 20, 30, false, Breached},
		{"just kept", Traffic, 20, 100, false, Met},
		{"just missed", Traffic, 21, 100, false, Breached},
	} {
		if got := Judge(test.family, test.losses, test.n, 0.2, 30, test.burning); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestEveryTierInForceCanFire(t *testing.T) {
	for _, family := range []Family{Traffic, Survey} {
		for _, window := range []time.Duration{7 * day, 28 * day, 30 * day, 90 * day} {
			for _, tier := range Tiers(family, window) {
				for _, floor := range []int{1, 3, 30, 500} {
					for budget := 0.0001; budget < 1; budget *= 1.1 {
						factor, why := tier.InForce(budget, floor)
						if (factor == 0) == (why == "") {
							t.Fatalf("%s %s at %v: factor %v, because %q", family, tier.Name, budget, factor, why)
						}
						if factor == 0 {
							continue
						}
						largest := 1.0
						if family == Survey {
							largest = LargestLowerBound(float64(floor), tier.Z)
						}
						if factor < 1-1e-9 || factor > tier.Factor+1e-9 || factor*budget > largest/2+1e-9 {
							t.Fatalf("%s %s: factor %v at a budget of %v cannot be reached with %d events", family, tier.Name, factor, budget, floor)
						}
					}
				}
			}
		}
	}
}

func TestWorkbookFactors(t *testing.T) {
	var got []float64
	for _, tier := range Tiers(Traffic, 30*day) {
		got = append(got, tier.Factor)
	}
	// SRE Workbook, chapter 5, table 5-8.
	for i, want := range []float64{14.4, 6, 3, 1} {
		if got[i] != want {
			t.Errorf("factors %v", got)
		}
	}
}

// Whatever the numbers: at most the whole budget is left, more losses never make anything
// better, the bounds enclose the mean, and a tier in force can fire.
func FuzzMathematics(f *testing.F) {
	f.Add(3.0, 30.0, 0.2, 30, 1.0)
	f.Add(0.0, 0.0, 0.001, 1, 0.5)
	f.Add(30.0, 30.0, 0.999, 100000, 0.0)
	f.Add(1e11, 1e12, 1e-9, 3, 1e6)
	f.Fuzz(func(t *testing.T, losses, n, budget float64, floor int, more float64) {
		if !(n >= 0 && n <= 1e12 && losses >= 0 && losses <= n && budget >= 1e-9 && budget < 1 && floor > 0 && floor <= 100000 && more >= 0) {
			t.Skip()
		}
		for _, z := range []float64{ZTicket, ZPage} {
			lower, upper := Bounds(losses, n, z)
			if !(0 <= lower && lower <= upper && upper <= 1) {
				t.Errorf("bounds %v to %v", lower, upper)
			}
			if n == 0 {
				continue
			}
			if mean := losses / n; !(lower <= mean+1e-9 && mean <= upper+1e-9) {
				t.Errorf("bounds %v to %v do not enclose %v", lower, upper, mean)
			}
			if lower > LargestLowerBound(n, z)+1e-9 {
				t.Errorf("the lower bound %v is larger than the largest, %v", lower, LargestLowerBound(n, z))
			}
			worseLower, worseUpper := Bounds(min(losses+more, n), n, z)
			if worseLower < lower-1e-9 || worseUpper < upper-1e-9 {
				t.Errorf("with more losses the bounds %v to %v fall to %v to %v", lower, upper, worseLower, worseUpper)
			}
		}
		if n > 0 {
			mean, worse := losses/n, min(losses+more, n)/n
			left, less := Remaining(mean, budget), Remaining(worse, budget)
			if !(left <= 1 && less <= left) {
				t.Errorf("%v of the budget is left, with more losses %v", left, less)
			}
			if (left < 0) != (BurnRate(mean, budget) > 1) && math.Abs(left) > 1e-9 {
				t.Errorf("%v of the budget is left at a burn rate of %v", left, BurnRate(mean, budget))
			}
		}
		order := []State{NoData, InsufficientData, Met, AtRisk, Inconclusive, Breached}
		for _, family := range []Family{Traffic, Survey} {
			for _, burning := range []bool{false, true} {
				now := Judge(family, losses, n, budget, float64(floor), burning)
				worse := Judge(family, min(losses+more, n), n, budget, float64(floor), burning)
				if slices.Index(order, worse) < slices.Index(order, now) {
					t.Errorf("with more losses %s becomes %s", now, worse)
				}
				if family == Traffic && (now == Inconclusive || now == InsufficientData) {
					t.Errorf("traffic is %s", now)
				}
			}
			for _, window := range []time.Duration{7 * day, 28 * day, 30 * day, 90 * day} {
				for _, tier := range Tiers(family, window) {
					factor, why := tier.InForce(budget, floor)
					if (factor == 0) == (why == "") {
						t.Errorf("tier %s at %v, because %q", tier.Name, factor, why)
					}
					largest := 1.0
					if family == Survey {
						largest = LargestLowerBound(float64(floor), tier.Z)
					}
					if factor > 1/budget || factor*budget > largest {
						t.Errorf("tier %s at %v times a budget of %v can never fire", tier.Name, factor, budget)
					}
				}
			}
		}
	})
}

// Whatever is promised: there is a budget between nothing and everything, or an error.
func FuzzTargets(f *testing.F) {
	f.Add(0.999)
	f.Add(-1.0)
	f.Add(5.5)
	f.Fuzz(func(t *testing.T, target float64) {
		makers := map[string]func() (float64, error){
			"share": func() (float64, error) { return ForShare(target) },
			"net":   func() (float64, error) { return ForNet(target) },
		}
		for name, scale := range map[string]Scale{"CES": CES, "CES1": CES1} {
			makers[name] = func() (float64, error) { return ForMean(target, scale) }
		}
		for name, maker := range makers {
			budget, err := maker()
			if err == nil && !(budget > 0 && budget < 1) || err != nil && (budget != 0 || !errors.Is(err, ErrNoBudget)) {
				t.Errorf("%s %v has the budget %v, error %v", name, target, budget, err)
			}
			if text := Format(budget); strings.ContainsAny(text, "eN") || len(strings.Trim(text, "0.")) > 12 {
				t.Errorf("%s %v has the budget %s", name, target, text)
			}
		}
	})
}
