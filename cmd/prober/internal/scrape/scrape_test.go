package scrape

import (
	"testing"
	"time"
)

func TestTwice(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	type scraped struct {
		by string
		at int // seconds after start
	}
	for name, test := range map[string]struct {
		scrapes        []scraped
		since, now     int
		twice, regular bool
	}{
		"nobody came":               {nil, 0, 100, false, false},
		"one came once":             {[]scraped{{"a", 10}}, 0, 11, false, false},
		"one came twice":            {[]scraped{{"a", 10}, {"a", 25}}, 0, 26, true, true},
		"the first came too early":  {[]scraped{{"a", 10}, {"a", 25}}, 11, 26, false, true},
		"the first came just then":  {[]scraped{{"a", 10}, {"a", 25}}, 10, 26, true, true},
		"of three the last two are": {[]scraped{{"a", 10}, {"a", 25}, {"a", 40}}, 20, 41, true, true},
		"another has come once":     {[]scraped{{"a", 10}, {"a", 25}, {"b", 26}}, 0, 27, true, true},
		"another is behind":         {[]scraped{{"b", 5}, {"a", 10}, {"b", 20}, {"a", 25}}, 8, 26, false, true},
		"both came twice":           {[]scraped{{"b", 9}, {"a", 10}, {"b", 20}, {"a", 25}}, 8, 26, true, true},
		// It is not waited for whoever comes no more.
		"another has gone": {[]scraped{{"b", 5}, {"b", 20}, {"a", 30}, {"a", 45}, {"a", 60}}, 25, 61, true, true},
		"all have gone":    {[]scraped{{"a", 10}, {"a", 25}}, 0, 60, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := New()
			at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
			for _, s := range test.scrapes {
				l.Note(s.by, at(s.at))
			}
			if got := l.Twice(at(test.since), at(test.now)); got != test.twice {
				t.Errorf("twice: %t", got)
			}
			if got := l.Regular(at(test.now)); got != test.regular {
				t.Errorf("regular: %t", got)
			}
		})
	}
}

// Whoever asks from ever other addresses must not fill the memory.
func TestReadersAreForgotten(t *testing.T) {
	l, now := New(), time.Unix(1_800_000_000, 0)
	for i := range 1000 {
		l.Note(string(rune('a'+i)), now.Add(time.Duration(i)*time.Minute))
	}
	if len(l.readers) > 10 {
		t.Errorf("%d readers are remembered", len(l.readers))
	}
}
