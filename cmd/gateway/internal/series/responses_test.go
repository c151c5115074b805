package series

import (
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sqlite"
)

func touchpoint(name string, instruments ...v1alpha1.InstrumentType) *v1alpha1.Touchpoint {
	t := &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: v1alpha1.TouchpointSpec{Survey: &v1alpha1.Survey{}}}
	for _, each := range instruments {
		t.Spec.Survey.Instruments = append(t.Spec.Survey.Instruments, v1alpha1.Instrument{Type: each})
	}
	return t
}

// open opens the ledger of a SQLite database.
func open(t *testing.T, path string) *ledger.Ledger {
	t.Helper()
	store, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), store, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const header = `# HELP sojourn_survey_responses_total Survey responses accepted, by touchpoint, instrument and score. A total of the database: every gateway on it shows the same. Series with a segment are parts of those without.
# TYPE sojourn_survey_responses_total counter
`

func TestSeriesLiveWithTheirTouchpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	l := open(t, path)
	defer func() { _ = l.Close() }()
	known := []*v1alpha1.Touchpoint{touchpoint("advert"), {ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shelf"}}}
	expect := func(what, series string) {
		t.Helper()
		if series != "" {
			series = header + series
		}
		collector := NewResponses(l, func() iter.Seq[*v1alpha1.Touchpoint] { return slices.Values(known) }, slog.New(slog.DiscardHandler))
		if err := testutil.CollectAndCompare(collector, strings.NewReader(series), "sojourn_survey_responses_total"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	expect("no instrument", "")

	known = append(known, touchpoint("support", v1alpha1.InstrumentCES1, v1alpha1.InstrumentCSAT))
	const zeros = `sojourn_survey_responses_total{instrument="ces1",namespace="shop",score="1",touchpoint="support"} 0
sojourn_survey_responses_total{instrument="ces1",namespace="shop",score="2",touchpoint="support"} 0
sojourn_survey_responses_total{instrument="ces1",namespace="shop",score="3",touchpoint="support"} 0
sojourn_survey_responses_total{instrument="ces1",namespace="shop",score="4",touchpoint="support"} 0
sojourn_survey_responses_total{instrument="ces1",namespace="shop",score="5",touchpoint="support"} 0
sojourn_survey_responses_total{instrument="csat",namespace="shop",score="1",touchpoint="support"} 0
sojourn_survey_responses_total{instrument="csat",namespace="shop",score="2",touchpoint="support"} 0
sojourn_survey_responses_total{instrument="csat",namespace="shop",score="3",touchpoint="support"} 0
sojourn_survey_responses_total{instrument="csat",namespace="shop",score="4",touchpoint="support"} 0
sojourn_survey_responses_total{instrument="csat",namespace="shop",score="5",touchpoint="support"} 0
`
	expect("a new touchpoint", zeros)

	if _, err := l.Submit([]ledger.Response{{
		ID: "a", Series: ledger.Series{Question: ledger.Question{Namespace: "shop", Touchpoint: "support", Instrument: "csat"}, Score: 4},
	}}); err != nil {
		t.Fatal(err)
	}
	one := strings.Replace(zeros, `score="4",touchpoint="support"} 0
sojourn_survey_responses_total{instrument="csat",namespace="shop",score="5"`, `score="4",touchpoint="support"} 1
sojourn_survey_responses_total{instrument="csat",namespace="shop",score="5"`, 1)
	expect("one response", one)

	before := known
	known = known[:2]
	expect("the touchpoint was deleted", "")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, path)
	expect("still deleted, after a restart", "")
	known = before
	expect("the touchpoint came back", one)
}

// Segments have series beside those of the whole, which any Prometheus may take.
func TestSegments(t *testing.T) {
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "gateway.db"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), store, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	checkout := touchpoint("checkout", v1alpha1.InstrumentCSAT)
	checkout.Spec.Survey.Segments = []v1alpha1.Segment{"smb"}
	question := ledger.Question{Namespace: "shop", Touchpoint: "checkout", Instrument: "csat"}
	if _, err := l.Submit([]ledger.Response{
		{ID: "a", Series: ledger.Series{Question: question, Segment: "smb", Score: 5}},
		{ID: "b", Series: ledger.Series{Question: question, Score: 5}},
	}); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewResponses(l, func() iter.Seq[*v1alpha1.Touchpoint] { return slices.Values([]*v1alpha1.Touchpoint{checkout}) }, slog.New(slog.DiscardHandler)))
	want := header
	for score := 1; score <= 5; score++ {
		whole, part := 0, 0
		if score == 5 {
			whole, part = 2, 1
		}
		want += fmt.Sprintf(`sojourn_survey_responses_total{instrument="csat",namespace="shop",score="%[1]d",touchpoint="checkout"} %[2]d
sojourn_survey_responses_total{instrument="csat",namespace="shop",score="%[1]d",segment="smb",touchpoint="checkout"} %[3]d
`, score, whole, part)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "sojourn_survey_responses_total"); err != nil {
		t.Error(err)
	}
}

// Comments are counted by what their answers say, whatever instrument took them, and stay
// counted when they are erased, when the gateway restarts, and when the touchpoint asks
// something else.
func TestComments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	l := open(t, path)
	defer func() { _ = l.Close() }()
	checkout := touchpoint("checkout", v1alpha1.InstrumentCES, v1alpha1.InstrumentCES1)
	expect := func(what string, positive, neutral, negative int) {
		t.Helper()
		collector := NewResponses(l, func() iter.Seq[*v1alpha1.Touchpoint] {
			return slices.Values([]*v1alpha1.Touchpoint{checkout, {ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shelf"}}})
		}, slog.New(slog.DiscardHandler))
		want := fmt.Sprintf(`# HELP sojourn_feedback_comments_total Survey responses accepted that carry a comment, by touchpoint and by what their scores say. A total of the database, like sojourn_survey_responses_total.
# TYPE sojourn_feedback_comments_total counter
sojourn_feedback_comments_total{namespace="shop",sentiment="negative",touchpoint="checkout"} %d
sojourn_feedback_comments_total{namespace="shop",sentiment="neutral",touchpoint="checkout"} %d
sojourn_feedback_comments_total{namespace="shop",sentiment="positive",touchpoint="checkout"} %d
`, negative, neutral, positive)
		if err := testutil.CollectAndCompare(collector, strings.NewReader(want), "sojourn_feedback_comments_total"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	expect("nobody answered", 0, 0, 0)
	answer := func(id, instrument string, score int, comment string) ledger.Response {
		question := ledger.Question{Namespace: "shop", Touchpoint: "checkout", Instrument: instrument}
		return ledger.Response{ID: id, Series: ledger.Series{Question: question, Segment: "smb", Score: score}, Comment: comment}
	}
	if _, err := l.Submit([]ledger.Response{
		answer("a", "ces", 7, "很方便"), answer("b", "ces", 7, ""), answer("c", "ces", 4, "so so"), answer("d", "ces", 1, "twice"),
		answer("e", "ces1", 1, "no effort"), answer("f", "ces1", 5, "great toil"), answer("d", "ces", 1, "twice"),
	}); err != nil {
		t.Fatal(err)
	}
	expect("some answered", 2, 1, 2)
	if erased, err := l.Erase(t.Context(), ledger.Choice{Namespace: "shop", ID: "d"}); err != nil || erased != 1 {
		t.Fatal(erased, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, path)
	checkout = touchpoint("checkout", v1alpha1.InstrumentCSAT)
	expect("after an erasure, a restart and a change of the survey", 2, 1, 2)
}

// A platform's ten thousand touchpoints must not make a scrape time out.
func BenchmarkScrape(b *testing.B) {
	known := make([]*v1alpha1.Touchpoint, 10_000)
	for i := range known {
		known[i] = touchpoint("touchpoint-"+string(rune('a'+i%26))+strings.Repeat("x", i/26%40)+strings.Repeat("y", i/1040), v1alpha1.InstrumentCES)
	}
	store, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "gateway.db"))
	if err != nil {
		b.Fatal(err)
	}
	l, err := ledger.Open(b.Context(), store, ledger.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewResponses(l, func() iter.Seq[*v1alpha1.Touchpoint] { return slices.Values(known) }, slog.New(slog.DiscardHandler)))
	b.ResetTimer()
	for range b.N {
		if families, err := registry.Gather(); err != nil || len(families[0].Metric) != 30_000 || len(families[1].Metric) != 70_000 {
			b.Fatal(err)
		}
	}
}
