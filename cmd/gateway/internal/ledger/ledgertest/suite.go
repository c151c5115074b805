// Package ledgertest is what every store of a ledger has to pass.
package ledgertest

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
)

// Response returns a response for tests, different by id and score.
func Response(id string, score int) ledger.Response {
	return ledger.Response{
		Series: ledger.Series{Question: ledger.Question{Namespace: "shop", Touchpoint: "checkout", Instrument: "ces"}, Score: score},
		ID:     id, Received: time.UnixMilli(1772357400123).UTC(),
	}
}

// TestStore runs the suite. Each open returns a store on one and the same database of
// the test; the tests close it.
func TestStore(t *testing.T, database func(t *testing.T) (open func() ledger.Store)) {
	for name, test := range map[string]func(*testing.T, func() ledger.Store){
		"each id counts once across restarts":   eachIDCountsOnce,
		"segments are parts":                    segmentsAreParts,
		"many at once":                          manyAtOnce,
		"a large transaction with erased":       largeWithErased,
		"erased stay counted and known":         erasedStayCounted,
		"everything of a record comes back":     recordsComeBack,
		"comments, latest and worst":            comments,
		"texts that SQL and Unicode make hard":  hardTexts,
		"a check changes nothing":               checks,
		"readers do not disturb the writer":     readersBeside,
		"a large transaction with known inside": largeWithKnown,
	} {
		t.Run(name, func(t *testing.T) { test(t, database(t)) })
	}
}

func add(t *testing.T, store ledger.Store, responses ...ledger.Response) ([]ledger.Outcome, map[ledger.Series]ledger.Count) {
	t.Helper()
	outcomes, totals, err := store.Add(t.Context(), responses)
	if err != nil {
		t.Fatal(err)
	}
	return outcomes, totals
}

// BeforeComments fills a database of the schema before comments were counted.
const BeforeComments = `
	INSERT INTO responses (namespace, id, touchpoint, instrument, score, comment, received_at, segment) VALUES ('shop', 'old-a', 'checkout', 'ces', 6, '好', 1, 'smb');
	INSERT INTO responses (namespace, id, touchpoint, instrument, score, comment, received_at, segment) VALUES ('shop', 'old-b', 'checkout', 'ces', 6, 'fine', 1, '');
	INSERT INTO responses (namespace, id, touchpoint, instrument, score, comment, received_at, segment) VALUES ('shop', 'old-c', 'checkout', 'ces', 6, '', 1, 'smb');
	INSERT INTO responses (namespace, id, touchpoint, instrument, score, comment, received_at, segment) VALUES ('shop', 'old-d', 'checkout', 'ces', 2, '', 1, '');
	INSERT INTO counters (namespace, touchpoint, instrument, segment, score, total, erased) VALUES ('shop', 'checkout', 'ces', '', 6, 4, 1);
	INSERT INTO counters (namespace, touchpoint, instrument, segment, score, total, erased) VALUES ('shop', 'checkout', 'ces', 'smb', 6, 2, 0);
	INSERT INTO counters (namespace, touchpoint, instrument, segment, score, total, erased) VALUES ('shop', 'checkout', 'ces', '', 2, 1, 0)`

// ExpectCommentsOfBefore looks at the totals of a database filled by BeforeComments.
func ExpectCommentsOfBefore(t *testing.T, store ledger.Store) {
	t.Helper()
	segment := Response("", 6).Series
	segment.Segment = "smb"
	expectTotals(t, store, map[ledger.Series]ledger.Count{
		Response("", 6).Series: {Responses: 4, Comments: 2}, segment: {Responses: 2, Comments: 1}, Response("", 2).Series: {Responses: 1},
	})
}

func closeStore(t *testing.T, store ledger.Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func expectOutcomes(t *testing.T, got []ledger.Outcome, want ...ledger.Outcome) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
}

func expectTotals(t *testing.T, store ledger.Store, want map[ledger.Series]ledger.Count) {
	t.Helper()
	if got, err := store.Totals(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("totals %v, error %v, want %v", got, err, want)
	}
}

func eachIDCountsOnce(t *testing.T, open func() ledger.Store) {
	store := open()
	late := Response("late", 3)
	late.Answered = time.UnixMilli(1700000000000).UTC()
	late.Comment = "付款页面太慢 🐌"
	outcomes, totals := add(t, store, Response("a", 6), Response("b", 6), Response("a", 6), Response("a", 5), late)
	expectOutcomes(t, outcomes, ledger.Accepted, ledger.Accepted, ledger.Duplicate, ledger.Conflict, ledger.Accepted)
	want := map[ledger.Series]ledger.Count{Response("", 6).Series: {Responses: 2}, Response("", 3).Series: {Responses: 1, Comments: 1}}
	if !reflect.DeepEqual(totals, want) {
		t.Errorf("totals %v, want %v", totals, want)
	}
	closeStore(t, store)

	store = open()
	defer closeStore(t, store)
	expectTotals(t, store, want)
	again := late
	again.Received = again.Received.Add(time.Hour)
	other := late
	other.Comment = "別的"
	elsewhere := Response("b", 6)
	elsewhere.Namespace = "stall"
	outcomes, totals = add(t, store, again, other, Response("b", 6), elsewhere)
	expectOutcomes(t, outcomes, ledger.Duplicate, ledger.Conflict, ledger.Duplicate, ledger.Accepted)
	if len(totals) != 1 || totals[elsewhere.Series].Responses != 1 {
		t.Errorf("after a restart: totals %v", totals)
	}
	records, err := store.Records(t.Context(), ledger.Choice{Namespace: "shop", ID: "late"}, 0, 10)
	if err != nil || len(records) != 1 || !reflect.DeepEqual(records[0].Response, late) {
		t.Errorf("stored %+v, error %v\nwant %+v", records, err, late)
	}
}

func segmentsAreParts(t *testing.T, open func() ledger.Store) {
	store := open()
	defer closeStore(t, store)
	inSegment := Response("a", 6)
	inSegment.Segment, inSegment.Comment = "enterprise", "twice"
	_, totals := add(t, store, inSegment, Response("b", 6))
	want := map[ledger.Series]ledger.Count{inSegment.Series: {Responses: 1, Comments: 1}, Response("", 6).Series: {Responses: 2, Comments: 1}}
	if !reflect.DeepEqual(totals, want) {
		t.Errorf("totals %v, want %v", totals, want)
	}
	if erased, err := store.Erase(t.Context(), ledger.Choice{Namespace: "shop", ID: "a"}, 10); err != nil || erased != 1 {
		t.Fatal(erased, err)
	}
	expectTotals(t, store, want)
}

func manyAtOnce(t *testing.T, open func() ledger.Store) {
	store := open()
	defer closeStore(t, store)
	const count = 1777
	responses := make([]ledger.Response, count)
	want := map[ledger.Series]ledger.Count{}
	for i := range responses {
		responses[i] = Response(fmt.Sprint("r", i), i%7+1)
		if i%3 == 0 {
			responses[i].Comment = "slow"
		}
		responses[i].CountIn(want)
	}
	outcomes, totals := add(t, store, responses...)
	for i, outcome := range outcomes {
		if outcome != ledger.Accepted {
			t.Fatalf("response %d: outcome %v", i, outcome)
		}
	}
	if !reflect.DeepEqual(totals, want) {
		t.Errorf("totals %v, want %v", totals, want)
	}
	records, err := store.Records(t.Context(), ledger.Choice{}, 0, count+1)
	if err != nil || len(records) != count {
		t.Errorf("%d records, error %v", len(records), err)
	}
}

func largeWithKnown(t *testing.T, open func() ledger.Store) {
	store := open()
	defer closeStore(t, store)
	add(t, store, Response("r100", 1))
	responses := make([]ledger.Response, 500)
	for i := range responses {
		responses[i] = Response(fmt.Sprint("r", i), 1)
		if i%2 == 1 {
			responses[i].Comment = "slow"
		}
	}
	responses[300] = responses[299]
	outcomes, totals := add(t, store, responses...)
	for i, outcome := range outcomes {
		want := ledger.Accepted
		if i == 100 || i == 300 {
			want = ledger.Duplicate
		}
		if outcome != want {
			t.Errorf("response %d: outcome %v, want %v", i, outcome, want)
		}
	}
	if got := totals[Response("", 1).Series]; got != (ledger.Count{Responses: 499, Comments: 250}) {
		t.Errorf("total %v, want 499, 250 of them with a comment", got)
	}
}

// largeWithErased: an erased response is known in a large transaction too, and such
// transactions store all others, mixed or on their own.
func largeWithErased(t *testing.T, open func() ledger.Store) {
	store := open()
	defer closeStore(t, store)
	add(t, store, Response("r70", 1))
	if erased, err := store.Erase(t.Context(), ledger.Choice{Namespace: "shop", ID: "r70"}, 10); err != nil || erased != 1 {
		t.Fatal(erased, err)
	}
	for _, first := range []int{1000, 0} { // those without it first: nothing knows of a duplicate yet
		responses := make([]ledger.Response, 200)
		for i := range responses {
			responses[i] = Response(fmt.Sprint("r", first+i), 1)
		}
		outcomes, _ := add(t, store, responses...)
		for i, outcome := range outcomes {
			want := ledger.Accepted
			if first+i == 70 {
				want = ledger.Duplicate
			}
			if outcome != want {
				t.Errorf("response %d: outcome %v, want %v", first+i, outcome, want)
			}
		}
	}
	expectTotals(t, store, map[ledger.Series]ledger.Count{Response("", 1).Series: {Responses: 400}})
	if records, err := store.Records(t.Context(), ledger.Choice{}, 0, 1000); err != nil || len(records) != 399 {
		t.Errorf("%d records, error %v, want 399", len(records), err)
	}
}

func erasedStayCounted(t *testing.T, open func() ledger.Store) {
	store := open()
	mine, form, another := Response("mine", 2), Response("form#ces", 3), Response("another", 2)
	mine.Subject = ledger.SubjectHash("customer 7")
	mine.Comment = "my name is Ada"
	form.Submission = "form"
	another.Received = another.Received.Add(-48 * time.Hour)
	add(t, store, mine, form, another)
	want := map[ledger.Series]ledger.Count{Response("", 2).Series: {Responses: 2, Comments: 1}, Response("", 3).Series: {Responses: 1}}
	erase := func(choice ledger.Choice, want int) {
		t.Helper()
		if erased, err := store.Erase(t.Context(), choice, 10); err != nil || erased != want {
			t.Errorf("%+v: erased %d, error %v, want %d", choice, erased, err, want)
		}
	}
	erase(ledger.Choice{Namespace: "stall", Subject: mine.Subject}, 0)
	erase(ledger.Choice{Namespace: "shop", Subject: mine.Subject}, 1)
	erase(ledger.Choice{Namespace: "shop", Subject: mine.Subject}, 0)
	erase(ledger.Choice{Namespace: "shop", ID: "form"}, 1)
	erase(ledger.Choice{Namespace: "shop", ID: "nobody"}, 0)
	erase(ledger.Choice{Namespace: "shop", Touchpoint: "checkout", Until: another.Received}, 0)
	erase(ledger.Choice{Namespace: "shop", Touchpoint: "checkout", Until: another.Received.Add(time.Millisecond)}, 1)
	if records, err := store.Records(t.Context(), ledger.Choice{}, 0, 10); err != nil || len(records) != 0 {
		t.Errorf("still there: %+v, error %v", records, err)
	}
	expectTotals(t, store, want)
	closeStore(t, store)

	store = open()
	defer closeStore(t, store)
	outcomes, totals := add(t, store, mine, form, another, Response("new", 2))
	expectOutcomes(t, outcomes, ledger.Duplicate, ledger.Duplicate, ledger.Duplicate, ledger.Accepted)
	if got := totals[Response("", 2).Series]; len(totals) != 1 || got != (ledger.Count{Responses: 3, Comments: 1}) {
		t.Errorf("totals %v", totals)
	}
}

func recordsComeBack(t *testing.T, open func() ledger.Store) {
	store := open()
	defer closeStore(t, store)
	full := Response("full", 5)
	full.Segment, full.Channel, full.Submission, full.Comment = "smb", "Email", "form-1", "line\nline"
	full.Subject = ledger.SubjectHash("x")
	full.Answered = time.UnixMilli(1772000000001).UTC()
	elsewhere := Response("elsewhere", 5)
	elsewhere.Touchpoint = "support"
	add(t, store, full, elsewhere)
	records, err := store.Records(t.Context(), ledger.Choice{Namespace: "shop", Touchpoint: "checkout"}, 0, 10)
	if err != nil || len(records) != 1 || !reflect.DeepEqual(records[0].Response, full) {
		t.Fatalf("%+v, error %v\nwant %+v", records, err, full)
	}
	all, err := store.Records(t.Context(), ledger.Choice{}, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		choice ledger.Choice
		after  int64
		want   int
	}{
		{ledger.Choice{}, 0, 2},
		{ledger.Choice{}, all[0].Number, 1},
		{ledger.Choice{Numbers: []int64{records[0].Number, 99}}, 0, 1},
		{ledger.Choice{Since: full.Received}, 0, 2},
		{ledger.Choice{Since: full.Received.Add(time.Millisecond)}, 0, 0},
		{ledger.Choice{Until: full.Received}, 0, 0},
	} {
		if records, err := store.Records(t.Context(), test.choice, test.after, 10); err != nil || len(records) != test.want {
			t.Errorf("%+v after %d: %d records, error %v, want %d", test.choice, test.after, len(records), err, test.want)
		}
	}
}

func comments(t *testing.T, open func() ledger.Store) {
	store := open()
	defer closeStore(t, store)
	responses := []ledger.Response{Response("silent", 1)}
	for i, score := range []int{7, 2, 5} {
		r := Response(fmt.Sprint("ces-", i), score)
		r.Comment = fmt.Sprint("said ", score)
		responses = append(responses, r)
	}
	laborious := Response("ces1", 5) // the worst of its scale is its highest
	laborious.Instrument, laborious.Comment = "ces1", "five is much"
	old := Response("old", 1)
	old.Comment, old.Received = "long ago", old.Received.Add(-time.Hour)
	responses = append(responses, laborious, old)
	add(t, store, responses...)
	ask := func(since time.Time, worst bool, limit int) string {
		t.Helper()
		records, err := store.Comments(t.Context(), "shop", "checkout", since, worst, limit)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, each := range records {
			ids = append(ids, each.ID)
		}
		return strings.Join(ids, " ")
	}
	since := Response("", 1).Received
	if got, want := ask(since, false, 10), "ces1 ces-2 ces-1 ces-0"; got != want {
		t.Errorf("latest: %s, want %s", got, want)
	}
	if got, want := ask(since, true, 3), "ces1 ces-1 ces-2"; got != want {
		t.Errorf("worst: %s, want %s", got, want)
	}
	if got, want := ask(time.Time{}, true, 1), "old"; got != want {
		t.Errorf("worst of all times: %s, want %s", got, want)
	}
}

func hardTexts(t *testing.T, open func() ledger.Store) {
	store := open()
	defer closeStore(t, store)
	for i, text := range []string{`'; DROP TABLE responses; --`, `"quoted" \ {a,b} NULL`, "𝄞 e\u0301 \u202e", strings.Repeat("长", 4096), "null", "NULL"} {
		r := Response(fmt.Sprint("text-", i), 4)
		r.Comment = text
		outcomes, _ := add(t, store, r)
		expectOutcomes(t, outcomes, ledger.Accepted)
		outcomes, _ = add(t, store, r)
		expectOutcomes(t, outcomes, ledger.Duplicate)
	}
}

func checks(t *testing.T, open func() ledger.Store) {
	store := open()
	defer closeStore(t, store)
	for range 3 {
		if err := store.CheckWritable(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	expectTotals(t, store, map[ledger.Series]ledger.Count{})
}

func readersBeside(t *testing.T, open func() ledger.Store) {
	store := open()
	defer closeStore(t, store)
	add(t, store, Response("first", 1))
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if records, err := store.Records(t.Context(), ledger.Choice{}, 0, 1); err != nil || len(records) != 1 {
					t.Errorf("%d records, error %v", len(records), err)
					return
				}
			}
		})
	}
	for i := range 50 {
		add(t, store, Response(fmt.Sprint(i), 2))
	}
	close(done)
	readers.Wait()
}
