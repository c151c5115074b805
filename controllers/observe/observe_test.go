package observe

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sojourn-dev/sojourn/controllers/rules"
)

func newObserver(t *testing.T, options Options, log logr.Logger) *Observer {
	t.Helper()
	if err := options.Validate(); err != nil {
		t.Fatal(err)
	}
	o, err := New(options, log)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// answering is a Prometheus that answers as told.
func answering(t *testing.T, answer func(http.ResponseWriter, *http.Request)) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(answer))
	t.Cleanup(server.Close)
	return server
}

const nothing = `{"status":"success","data":{"resultType":"vector","result":[]}}`

func TestNonsenseIsAFailure(t *testing.T) {
	for want, answer := range map[string]func(http.ResponseWriter, *http.Request){
		reasonRefused:     func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "who are you", http.StatusUnauthorized) },
		reasonServerError: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "oops", http.StatusBadGateway) },
		reasonNonsense:    func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>Welcome</html>") },
		"nonsense, a scalar": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}`)
		},
		"nonsense, elsewhere": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		reasonPartial: func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Replace(nothing, "{", `{"warnings":["a store is away"],`, 1))
		},
		reasonTooLarge: func(w http.ResponseWriter, _ *http.Request) {
			line := strings.Repeat(" ", 1<<20)
			for range 17 {
				io.WriteString(w, line)
			}
			io.WriteString(w, nothing)
		},
	} {
		t.Run(want, func(t *testing.T) {
			o := newObserver(t, Options{URL: answering(t, answer).URL}, logr.Discard())
			err := o.round(t.Context())
			var failed failure
			if !errors.As(err, &failed) || !strings.HasPrefix(want, failed.reason) {
				t.Errorf("%#v", err)
			}
			if _, known := o.Complaints(types.NamespacedName{}); known {
				t.Error("something is known now")
			}
		})
	}
	gone := answering(t, nil)
	gone.Close()
	var failed failure
	if err := newObserver(t, Options{URL: gone.URL}, logr.Discard()).round(t.Context()); !errors.As(err, &failed) || failed.reason != reasonUnreachable {
		t.Errorf("%#v", err)
	}
	if got := reasonOf(fmt.Errorf("asking: %w", context.DeadlineExceeded)); got != reasonTimeout {
		t.Error(got)
	}
}

func TestOneLineForEachChange(t *testing.T) {
	var lines []string
	o := newObserver(t, Options{URL: "http://127.0.0.1:1"}, funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{}))
	before := testutil.ToFloat64(failuresTotal.WithLabelValues(reasonTimeout))
	for _, err := range []error{nil, failure{reasonTimeout, io.EOF}, failure{reasonTimeout, io.EOF}, failure{reasonRefused, io.EOF}, nil, nil} {
		o.judge(err)
	}
	if len(lines) != 3 || !strings.Contains(lines[0], reasonTimeout) || !strings.Contains(lines[1], reasonRefused) || !strings.Contains(lines[2], "again") {
		t.Errorf("%q", lines)
	}
	if n := testutil.ToFloat64(failuresTotal.WithLabelValues(reasonTimeout)) - before; n != 2 {
		t.Errorf("%v timeouts", n)
	}
	if at := testutil.ToFloat64(lastSuccess); at < float64(time.Now().Add(-time.Minute).Unix()) {
		t.Errorf("last success at %v", at)
	}
}

func TestBackOff(t *testing.T) {
	o := Options{Interval: 30 * time.Second}
	for failures, want := range map[int]time.Duration{0: 30 * time.Second, 1: time.Minute, 3: 4 * time.Minute, 4: 5 * time.Minute, 1 << 30: 5 * time.Minute} {
		if got := o.interval(failures); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
	if got := (Options{Interval: time.Hour}).interval(3); got != time.Hour {
		t.Errorf("slower than the slowest: %v", got)
	}
}

// TestAsWhom: what is shown to Prometheus, and only to it.
func TestAsWhom(t *testing.T) {
	var got http.Header
	var asked []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, asked = r.Header, append(asked, r.FormValue("query"))
		io.WriteString(w, nothing)
	}))
	defer server.Close()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := write("ca", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	token := write("token", "first\n")
	if err := newObserver(t, Options{URL: server.URL}, logr.Discard()).round(t.Context()); err == nil {
		t.Error("any certificate is good")
	}
	o := newObserver(t, Options{URL: server.URL, CAFile: ca, BearerTokenFile: token, Tenant: "shop", Namespaces: []string{"shop", "bank"}}, logr.Discard())
	for _, want := range []string{"first", "second"} {
		write("token", want)
		if err := o.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got.Get("Authorization") != "Bearer "+want || got.Get("X-Scope-OrgID") != "shop" {
			t.Errorf("headers %v", got)
		}
	}
	if want := `last_over_time(sojourn:touchpoint_complaint:info{namespace=~"shop|bank"}[360000ms])`; asked[0] != want {
		t.Errorf("asked %s, want %s", asked[0], want)
	}
	for _, question := range asked {
		if strings.Count(question, `namespace=~"shop|bank"`) != strings.Count(question, "{") {
			t.Errorf("%s asks of other namespaces", question)
		}
		if _, err := parser.NewParser(parser.Options{}).ParseExpr(question); err != nil {
			t.Errorf("%s: %v", question, err)
		}
	}
	if want := 2*(len(o.questions())+1) + len(o.slowQuestions()); len(asked) != want {
		t.Errorf("%d questions in two rounds, want %d", len(asked), want)
	}
	if _, err := New(Options{URL: server.URL, CAFile: filepath.Join(dir, "none")}, logr.Discard()); err == nil {
		t.Error("a file that is not there is no fault")
	}
}

// TestNewBudgetsAreShownSoon: nobody who has just promised something waits for what is
// recorded every five minutes, and asked for more seldom still.
func TestNewBudgetsAreShownSoon(t *testing.T) {
	answers := map[string]string{} // by the longest part of the question that is here
	var asked []string
	o := newObserver(t, Options{URL: answering(t, func(w http.ResponseWriter, r *http.Request) {
		question := r.FormValue("query")
		asked = append(asked, question)
		longest, answer := "", nothing
		for part, this := range answers {
			if strings.Contains(question, part) && len(part) > len(longest) {
				longest, answer = part, this
			}
		}
		io.WriteString(w, answer)
	}).URL}, logr.Discard())
	now := time.Now()
	o.now = func() time.Time { return now }
	answer := func(labels, value string) string {
		return `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"namespace":"shop","touchpoint":"checkout",` + labels + `},"value":[1,"` + value + `"]}]}}`
	}
	round := func() (questions int) {
		t.Helper()
		asked = nil
		if err := o.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(30 * time.Second)
		return len(asked)
	}
	fast, slow := len(o.questions())+1, len(o.slowQuestions())
	round()
	if got := round(); got != fast {
		t.Errorf("%d questions where nothing is, want %d", got, fast)
	}

	const meaning, budget = `"def":"probe/availability"`, `"slo":"checkout","objective":"up","def":"probe/availability"`
	answers[rules.Budget] = answer(budget+`,"family":"traffic","window":"4w","floor":"3"`, "0.01")
	answers[`sum_over_time(sojourn:touchpoint_events:count1m{namespace=~"shop"}[1h])`] = answer(meaning, "12")
	answers[`(sum_over_time(sojourn:touchpoint_losses:count1m{namespace=~"shop"}[1h]) / (sum_over_time(sojourn:touchpoint_events:count1m`] = answer(meaning, "0.5")
	if got, want := round(), fast+len(o.newQuestions(nil))+slow; got != want {
		t.Errorf("%d questions while a budget is new, want %d", got, want)
	}
	if b := o.BudgetsOf(named("checkout")); len(b) != 1 || b[0].Events != 12 || b[0].Loss != 0.5 {
		t.Fatalf("%+v", b)
	}

	answers[rules.SampleSize] = answer(budget, "20")
	answers[rules.MeanLoss] = answer(budget, "0.3")
	answers[rules.ExperienceVisits] = answer(`"__name__":"`+rules.ExperienceVisits+`","source":"probe"`, "20")
	if got, want := round(), fast+slow; got != want {
		t.Errorf("%d questions while only the experience is unknown, want %d", got, want)
	}
	if b := o.BudgetsOf(named("checkout")); b[0].Events != 20 || b[0].Loss != 0.3 {
		t.Errorf("%+v", b)
	}
	if e := o.ExperienceAt(named("checkout")); e == nil || e.Visits != 20 {
		t.Errorf("%+v", e)
	}
	if got := round(); got != fast {
		t.Errorf("%d questions when all is known, want %d", got, fast)
	}

	// What is silent is not asked after for ever.
	delete(answers, rules.MeanLoss)
	if got, want := round(), fast+len(o.newQuestions(nil)); got != want {
		t.Errorf("%d questions while little is known, want %d", got, want)
	}
	now = now.Add(novelty)
	if got := round(); got != fast {
		t.Errorf("%d questions of what is not new, want %d", got, fast)
	}
}

// TestOldSilenceCostsNothing: a budget of which nothing is known, and never will be, has nobody
// ask more because another one is new.
func TestOldSilenceCostsNothing(t *testing.T) {
	answers := map[string][]string{} // by a part of the question: samples
	asked := 0
	o := newObserver(t, Options{URL: answering(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		var samples []string
		for part, these := range answers {
			if strings.Contains(r.FormValue("query"), part) {
				samples = these
			}
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[%s]}}`, strings.Join(samples, ","))
	}).URL}, logr.Discard())
	now := time.Now()
	o.now = func() time.Time { return now }
	sample := func(touchpoint, labels, value string) string {
		return fmt.Sprintf(`{"metric":{"namespace":"shop","touchpoint":%q,"def":"d","slo":%[1]q,"objective":"up"%s},"value":[1,%q]}`, touchpoint, labels, value)
	}
	round := func() (questions int) {
		t.Helper()
		asked = 0
		if err := o.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(30 * time.Second)
		return asked
	}
	const roster = `,"family":"traffic","window":"28d","floor":"3"`
	silent, fresh := sample("silent", roster, "0.01"), sample("fresh", roster, "0.01")
	answers[rules.Budget] = []string{silent}
	round()
	now = now.Add(novelty)
	fast := len(o.questions()) + 1
	if got := round(); got != fast {
		t.Errorf("%d questions while one is silent, want %d", got, fast)
	}
	answers[rules.Budget] = []string{silent, fresh}
	answers[rules.SampleSize], answers[rules.MeanLoss] = []string{sample("fresh", "", "20")}, []string{sample("fresh", "", "0.3")}
	answers[rules.ExperienceVisits] = []string{sample("fresh", `,"__name__":"`+rules.ExperienceVisits+`","source":"probe"`, "20")}
	if got, want := round(), fast+len(o.slowQuestions()); got != want {
		t.Errorf("%d questions until the experience is known, want %d", got, want)
	}
	if got := round(); got != fast {
		t.Errorf("%d questions once the new one is known, want %d", got, fast)
	}
}

func TestOptions(t *testing.T) {
	if err := (Options{}).Validate(); err != nil {
		t.Error(err)
	}
	if o, err := New(Options{}, logr.Discard()); o != nil || err != nil {
		t.Error(o, err)
	}
	for want, bad := range map[string]Options{
		"user name or password": {URL: "http://me:secret@prometheus"},
		"no http":               {URL: "prometheus:9090"},
		"cannot be read":        {URL: "http://%zz"},
		"query":                 {URL: "http://prometheus?x=y"},
		"belong together":       {URL: "http://prometheus", ClientCertFile: "cert"},
		"too short":             {URL: "http://prometheus", Interval: time.Millisecond},
	} {
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v, want %s", bad, err, want)
		}
	}
}

func sample(labels ...string) *model.Sample {
	metric := model.Metric{}
	for i := 0; i < len(labels); i += 2 {
		metric[model.LabelName(labels[i])] = model.LabelValue(labels[i+1])
	}
	return &model.Sample{Metric: metric, Value: 1}
}

func complaint(touchpoint, kind string, more ...string) *model.Sample {
	return sample(append([]string{"namespace", "shop", "touchpoint", touchpoint, "complaint", kind, "field", "f", "query", "q"}, more...)...)
}

func TestComplaintsAreRead(t *testing.T) {
	found := complaintsIn(model.Vector{
		complaint("checkout", rules.ComplaintEdge, "le", "0.5"), complaint("checkout", rules.ComplaintEdge, "le", "+Inf"),
		complaint("checkout", rules.ComplaintFalls), complaint("checkout", rules.ComplaintEdge, "le", "0.25"),
		complaint("checkout", rules.ComplaintEdge, "le", "0.250"), complaint("checkout", rules.ComplaintEdge, "le", "low"),
		complaint("search", rules.ComplaintEdge, "le", "+Inf"),
		sample("namespace", "shop"), sample("touchpoint", "checkout", "complaint", "falls"), sample(),
	})
	if got, want := fmt.Sprint(found), "map[shop/checkout:[{edge f q [0.25 0.5]} {falls f q []}] shop/search:[{edge f q []}]]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// whoIsWoken lists whom an answer wakes.
func (o *Observer) whoIsWoken(ctx context.Context, answer ...*model.Sample) string {
	ctx, cancel := context.WithCancel(ctx)
	list := make(chan string)
	o.subscribers = [topics][]chan event.GenericEvent{}
	edges, metrics := o.News(EdgesOfTouchpoint), o.News(MetricsOfTouchpoint)
	go func() {
		var woken []string
		for {
			select {
			case e := <-edges:
				woken = append(woken, "edges of "+e.Object.GetName())
			case e := <-metrics:
				woken = append(woken, "metrics of "+e.Object.GetName())
			case <-ctx.Done():
				list <- strings.Join(woken, ", ")
				return
			}
		}
	}()
	o.takeComplaints(ctx, complaintsIn(answer))
	o.judge(nil)
	cancel()
	return <-list
}

func TestOnlyNewsWakes(t *testing.T) {
	o := newObserver(t, Options{URL: "http://127.0.0.1:1"}, logr.Discard())
	now := time.Now()
	o.now = func() time.Time { return now }
	edge := func(le string) *model.Sample { return complaint("checkout", rules.ComplaintEdge, "le", le) }
	falls := complaint("checkout", rules.ComplaintFalls)
	expect := func(want string, answer ...*model.Sample) {
		t.Helper()
		if got := o.whoIsWoken(t.Context(), answer...); got != want {
			t.Errorf("woken: %q, want %q", got, want)
		}
	}
	expect("")
	expect("edges of checkout", edge("0.5"), edge("0.25"))
	expect("", edge("0.25"), edge("0.5"))
	expect("edges of checkout", edge("0.25"))
	expect("metrics of checkout", edge("0.25"), falls)
	expect("edges of checkout", falls)

	// A Prometheus that was away has missed evaluations, and is silent for that.
	o.judge(failure{reasonUnreachable, io.EOF})
	expect("")
	now = now.Add(o.options.Standing - time.Second)
	expect("metrics of search", complaint("search", rules.ComplaintFalls))
	now = now.Add(2 * time.Second)
	expect("metrics of checkout", complaint("search", rules.ComplaintFalls))
	if complaints, known := o.Complaints(types.NamespacedName{Namespace: "shop", Name: "checkout"}); len(complaints) > 0 || !known {
		t.Error(complaints, known)
	}
}

func TestNobodyObserves(t *testing.T) {
	var o *Observer
	if complaints, known := o.Complaints(types.NamespacedName{Namespace: "shop", Name: "checkout"}); complaints != nil || !known {
		t.Error(complaints, known)
	}
}
