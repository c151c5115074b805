package main

import (
	"math"
	"testing"
	"time"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// script burns at the steps that are listed.
type script map[int]bool

func (s script) burns(_ tiles, k int) bool { return s[k] }

func TestFirings(t *testing.T) {
	quiet := tiled(nil, 20*step)
	on := func(steps ...int) script {
		s := script{}
		for _, k := range steps {
			s[k] = true
		}
		return s
	}
	for _, test := range []struct {
		name  string
		alert alert
		want  []firing
	}{
		{"ends at once", alert{condition: on(3, 4, 7)}, []firing{{3, 5}, {7, 8}}},
		{"for", alert{condition: on(3, 5, 6, 7, 8), wait: 2 * step}, []firing{{7, 9}}},
		{"held", alert{condition: on(3), held: on(1, 2, 4, 5, 7), ending: ending{step, step}}, []firing{{3, 6}}},
		{"held until calm", alert{condition: on(3), held: on(1, 2, 4, 6, 10), ending: ending{2 * step, step}}, []firing{{3, 8}}},
		{"remembered", alert{condition: on(3), held: on(4, 6, 9), ending: ending{step, 2 * step}}, []firing{{3, 5}, {6, 7}}},
		{"to the end", alert{condition: on(20)}, []firing{{20, 21}}},
	} {
		got := test.alert.firings(quiet)
		if len(got) != len(test.want) {
			t.Errorf("%s: fires at %v, want %v", test.name, got, test.want)
			continue
		}
		for i := range got {
			if got[i] != test.want[i] {
				t.Errorf("%s: fires at %v, want %v", test.name, got, test.want)
			}
		}
	}
}

func TestAnswersComeAsTheyShould(t *testing.T) {
	const perDay, days = 30, 400
	change := time.Duration(200 * day)
	all := answers(seeded(1, "test", 0), perDay, spell(0.1, 0.5, change, days*day), days*day)
	if n := float64(len(all)); math.Abs(n-perDay*days) > 4*math.Sqrt(perDay*days) {
		t.Errorf("%v answers in %v days", n, days)
	}
	var n, bad, night float64
	for _, a := range all {
		if a.at < change {
			n++
			if a.bad {
				bad++
			}
		}
		if a.at%day < 8*time.Hour {
			night++
		}
	}
	if math.Abs(bad/n-0.1) > 0.02 {
		t.Errorf("%v of %v answers are bad before the change", bad, n)
	}
	if share := night / float64(len(all)); share > 0.15 {
		t.Errorf("%v of the answers come at night", share)
	}
}

func TestParseTier(t *testing.T) {
	got, err := parseTier("page:1d:2:3.09")
	if want := (budget.Tier{Name: "1d", Page: true, Long: day, Factor: 2, Z: 3.09}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, wrong := range []string{"", "page:1d:2", "loud:1d:2:3", "page:90m:2:3", "page:1d:0.5:3", "page:1d:2:x", "ticket:1d:NaN:2"} {
		if _, err := parseTier(wrong); err == nil {
			t.Errorf("%q is taken for a tier", wrong)
		}
	}
}

// The generated rules fire exactly when the simulation says so.
func TestGeneratedRulesFireAsSimulated(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates rules over four simulated days")
	}
	const length = 4 * day
	some := trials([]float64{300}, []float64{0.5}, day, length, 1)
	groups, err := generatedRules([]string{some[0].name, some[1].name})
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range timetables {
		rules, err := generatedSet(groups, when)
		if err != nil {
			t.Fatal(err)
		}
		got, err := compare(t.Context(), groups, when, rules, some, length, 1, func() {})
		if err != nil {
			t.Fatal(err)
		}
		if got.differing > 0 || got.firing == 0 {
			t.Errorf("%+v: %+v", when, got)
		}
	}
}

// A quarter of an hour is known as soon as the groups have been evaluated in turn.
func TestWindowsEndWithWhatIsWritten(t *testing.T) {
	for _, test := range []struct {
		when       timetable
		k          int
		short, end int // of windows of a day and of three days
		week       int
	}{
		// At 1:00 the sums of 0:45 know the tile of 0:35, and those of 0:30 that of 0:20.
		{slowest, 12, 59, 30, 15},
		// At 1:03 the sums of 0:55 know the tile of 0:48, and those of 0:51 too.
		{timetable{steady: 3, quarters: 10, long: 21}, 12, 62, 45, 45},
	} {
		if got := test.when.added(day).end(test.k); got != test.short {
			t.Errorf("%+v: a day ends with minute %d, want %d", test.when, got, test.short)
		}
		if got := test.when.added(3 * day).end(test.k); got != test.end {
			t.Errorf("%+v: three days end with minute %d, want %d", test.when, got, test.end)
		}
		if got := test.when.added(week).end(test.k); got != test.week {
			t.Errorf("%+v: a week ends with minute %d, want %d", test.when, got, test.week)
		}
	}
}
