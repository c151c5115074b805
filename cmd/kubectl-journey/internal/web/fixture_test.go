package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas/atlastest"
)

// fixture is a source of the journeys of tests.
type fixture struct {
	lock    sync.Mutex
	objects *atlas.Objects
	version int
	failing error
	signal  chan struct{}
	// asked counts the questions.
	looks, trends, details int
}

func newFixture() *fixture {
	f := &fixture{objects: atlastest.Objects(), signal: make(chan struct{}, 1)}
	f.stamp()
	return f
}

// stamp gives every object another resource version.
func (f *fixture) stamp() {
	f.version++
	for _, o := range f.objects.Journeys {
		o.ResourceVersion = fmt.Sprint(f.version)
	}
}

// change has a journey's score be another, and says so.
func (f *fixture) change(name string, score v1alpha1.Figure) {
	f.lock.Lock()
	f.objects = atlastest.Objects() // what was handed out stays as it is
	f.objects.Journeys[atlas.Key{Namespace: "shop", Name: name}].Status.Score = score
	f.stamp()
	f.lock.Unlock()
	f.tell()
}

func (f *fixture) fail(err error) {
	f.lock.Lock()
	f.failing = err
	f.lock.Unlock()
	f.tell()
}

func (f *fixture) tell() {
	select {
	case f.signal <- struct{}{}:
	default:
	}
}

func (f *fixture) Objects(_ context.Context, namespace string) (*atlas.Objects, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.looks++
	if f.failing != nil {
		return nil, f.failing
	}
	if namespace == "" {
		return f.objects, nil
	}
	part := filtered(f.objects, spaces{in: map[string]bool{namespace: true}}, spaces{all: true}, spaces{all: true}, nil)
	return part, nil
}

func (f *fixture) Trends(_ context.Context, maps ...*atlas.Map) []string {
	f.lock.Lock()
	f.trends++
	f.lock.Unlock()
	for _, m := range maps {
		for i := range m.Stages {
			for j := range m.Stages[i].Stops {
				if stop := &m.Stages[i].Stops[j]; stop.Left != nil {
					stop.Trend = atlastest.Trend(*stop.Left < 0)
				}
			}
		}
	}
	return nil
}

func (f *fixture) Detail(_ context.Context, objects *atlas.Objects, key atlas.Key) *atlas.Detail {
	f.lock.Lock()
	f.details++
	f.lock.Unlock()
	drawn := objects.Touchpoint(key)
	if drawn == nil {
		return nil
	}
	d := &atlas.Detail{Touchpoint: *drawn}
	if strings.HasPrefix(key.Name, atlastest.Silent) {
		d.Missing = []string{"Prometheus is not reached: name it by --prometheus-url.", "There are no comments. Give a token by --gateway-token-file."}
		return d
	}
	for i := range d.Promised {
		d.Promised[i].BurnDown = atlastest.Trend(d.Promised[i].State == "Breached")
	}
	d.Distributions = []atlas.Distribution{
		{Instrument: "CES", Lowest: 1, Counts: []float64{41, 38, 30, 33, 44, 36, 18}},
		{Instrument: "NPS", Lowest: 0, Counts: []float64{4, 1, 2, 2, 3, 9, 8, 21, 33, 41, 29}},
	}
	for i, name := range []string{"dns", "connect", "tls", "processing", "transfer"} {
		d.Phases = append(d.Phases, atlas.Phase{Location: "default", Phase: name, Seconds: 0.004 * math.Pow(3, float64(i%4))})
	}
	for hour := range 7 * 24 {
		if hour > 60 && hour < 80 {
			continue // nothing is known of a night
		}
		at := atlastest.Now.Add(time.Duration(hour-7*24) * time.Hour)
		d.EaseOverTime = append(d.EaseOverTime, atlas.Point{Time: at, Value: 70 + 12*math.Sin(float64(hour)/9)})
		d.LatencyOverTime = append(d.LatencyOverTime, atlas.Point{Time: at, Value: 0.3 + 0.1*math.Sin(float64(hour)/5)})
	}
	d.Latest = []atlas.Comment{
		{Instrument: "CES", Score: 2, Text: "付款页面转了很久，不知道钱扣了没有。最后我打了电话才知道订单已经成功，浪费了二十分钟。", Received: atlastest.Now.Add(-9 * time.Minute)},
		{Instrument: "CES", Score: 6, Text: "Quick and clear.", Received: atlastest.Now.Add(-3 * time.Hour)},
	}
	d.Worst = []atlas.Comment{
		{Instrument: "CES", Score: 1, Text: `<script>alert("comment")</script><img src=x onerror=alert(4)> I entered my address three times.`, Received: atlastest.Now.Add(-26 * time.Hour)},
		{Instrument: "CES", Score: 1, Text: strings.Repeat("aaaaaaaaaa", 30), Received: atlastest.Now.Add(-50 * time.Hour)},
	}
	d.Events = []atlas.Event{
		{Time: atlastest.Now.Add(-2 * time.Hour), Type: "Warning", Reason: "Breached", Message: "breached: promises/effort; behind it: Deployment payments (1 of 3 can serve)"},
		{Time: atlastest.Now.Add(-30 * time.Hour), Type: "Normal", Reason: "Kept", Message: "all budgets are kept <b>again</b>"},
	}
	return d
}

func (f *fixture) Changes(context.Context, string) (<-chan struct{}, error) { return f.signal, nil }

// serveVariable has the test binary serve the fixture instead, for tests in a browser. A
// line "score 61" on its input has the shop's score be 61, and "fail" the cluster not answer.
const serveVariable = "SOJOURN_SERVE_FIXTURE"

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	if os.Getenv(serveVariable) != "" {
		if err := serveFixture(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func serveFixture() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	source, begin := newFixture(), time.Now()
	server := New(Options{
		Source: source, Hosts: []string{"127.0.0.1"}, Now: func() time.Time { return atlastest.Now.Add(time.Since(begin)) },
		Beat: time.Second, Rest: 10 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go server.Run(ctx)
	fmt.Printf("http://%s/\n", listener.Addr())
	go func() {
		defer stop()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if score, is := strings.CutPrefix(lines.Text(), "score "); is {
				source.change(atlastest.Shop, v1alpha1.Figure(score))
			} else {
				source.fail(errors.New("connection refused"))
			}
		}
	}()
	_ = server.Serve(ctx, listener)
	return nil
}
