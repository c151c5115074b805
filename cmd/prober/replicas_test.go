package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// proberVariable makes this test binary a prober, whose version is its value.
const proberVariable = "SOJOURN_TEST_PROBER"

// replica is a prober in a process of its own, scraped each second.
type replica struct {
	name    string
	command *exec.Cmd
	ended   chan struct{}

	mu      sync.Mutex
	address string
	page    string // as last scraped
}

var servingMetrics = regexp.MustCompile(`msg="serving metrics" address=(\S+)`)

func startReplica(t *testing.T, kubeconfig, name string) *replica {
	t.Helper()
	r := &replica{name: name, ended: make(chan struct{})}
	r.command = exec.Command(os.Args[0], "--kubeconfig", kubeconfig, "--name", name, "--lease-namespace", "sojourn-system",
		"--namespaces", "shop,bank", "--first-run-delay", "1h", "--allow-cidrs", "127.0.0.0/8", "--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "0", "--log-format", "text")
	r.command.Env = append(os.Environ(), proberVariable+"="+name)
	stderr, err := r.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.command.Process.Kill(); <-r.ended })
	go func() {
		defer close(r.ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if found := servingMetrics.FindStringSubmatch(lines.Text()); found != nil {
				r.mu.Lock()
				r.address = found[1]
				r.mu.Unlock()
			}
			t.Logf("%s: %s", name, lines.Text())
		}
		r.command.Wait()
	}()
	go func() {
		for range time.Tick(time.Second) {
			select {
			case <-r.ended:
				return
			default:
				r.scrape()
			}
		}
	}()
	return r
}

func (r *replica) scrape() {
	r.mu.Lock()
	address := r.address
	r.mu.Unlock()
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err == nil {
		r.mu.Lock()
		r.page = string(page)
		r.mu.Unlock()
	}
}

// sum adds up the samples whose series begin so.
func (r *replica) sum(prefix string) (total float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.page) {
		if strings.HasPrefix(line, prefix) {
			value, _ := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			total += value
		}
	}
	return total
}

type visitor struct {
	at time.Time
	by string
}

// diary holds who visited which touchpoint when.
type diary struct {
	mu     sync.Mutex
	visits map[string][]visitor
}

func (d *diary) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.visits[r.URL.Path] = append(d.visits[r.URL.Path], visitor{time.Now(), strings.TrimPrefix(r.UserAgent(), "sojourn-prober/")})
}

// since returns the visits after a time, by touchpoint.
func (d *diary) since(after time.Time) map[string][]visitor {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := map[string][]visitor{}
	for path, visits := range d.visits {
		i := slices.IndexFunc(visits, func(v visitor) bool { return v.at.After(after) })
		if i >= 0 {
			found[path] = slices.Clone(visits[i:])
		}
	}
	return found
}

// by counts the touchpoints that each prober visited after a time; a touchpoint
// that several visited counts for all of them together, such as a+b.
func (d *diary) by(after time.Time) map[string]int {
	found := map[string]int{}
	for _, visits := range d.since(after) {
		names := map[string]bool{}
		for _, v := range visits {
			names[v.by] = true
		}
		found[strings.Join(slices.Sorted(maps.Keys(names)), "+")]++
	}
	return found
}

// TestReplicas has three probers share touchpoints, loses one without a word, loses
// the API server and gets it back, and dismisses one.
func TestReplicas(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server, and takes minutes")
	}
	t.Parallel()
	const touchpoints, interval = 60, 15 * time.Second
	ctx := t.Context()
	cluster, err := localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	kubeconfig := cluster.Kubeconfig()
	if err := localstack.InstallCRDs(ctx, cluster.RESTConfig(), "../../config/crd"); err != nil {
		t.Fatal(err)
	}
	shop := &diary{visits: map[string][]visitor{}}
	server := httptest.NewServer(shop)
	t.Cleanup(server.Close)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	api, err := client.New(cluster.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop", "sojourn-system"} {
		if err := api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	create := func(name string, locations ...v1alpha1.Name) {
		t.Helper()
		if err := api.Create(ctx, &v1alpha1.Touchpoint{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec: v1alpha1.TouchpointSpec{Channel: "Web", Probe: &v1alpha1.Probe{
				Interval: v1alpha1.Duration(interval.String()), Locations: locations,
				HTTP: &v1alpha1.HTTPProbe{URL: v1alpha1.URL(server.URL + "/" + name)},
			}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range touchpoints {
		create(fmt.Sprintf("tp-%02d", i), "default", "eu-west")
	}
	create("elsewhere", "eu-west")

	// settled waits until exactly some probers have visited all touchpoints for a
	// whole interval, each touchpoint by one of them.
	settled := func(limit time.Duration, what string, by ...string) {
		t.Helper()
		within(t, limit, what, func() bool {
			found := shop.by(time.Now().Add(-interval - time.Second))
			total := 0
			for name, count := range found {
				if !slices.Contains(by, name) {
					return false
				}
				total += count
			}
			return total == touchpoints && len(found) == len(by)
		})
		t.Logf("shared: %v", shop.by(time.Now().Add(-interval-time.Second)))
	}
	sees := func(n float64, all ...*replica) func() bool {
		return func() bool {
			for _, r := range all {
				if r.sum("sojourn_prober_members") != n {
					return false
				}
			}
			return true
		}
	}

	a := startReplica(t, kubeconfig, "a")
	settled(2*time.Minute, "a probes all", "a")
	begin := time.Now()
	b, c := startReplica(t, kubeconfig, "b"), startReplica(t, kubeconfig, "c")
	within(t, time.Minute, "all see three", sees(3, a, b, c))
	settled(2*time.Minute, "three share", "a", "b", "c")
	for path, visits := range shop.since(begin.Add(-interval - time.Second)) {
		shared, before := 0, interval
		for i := range visits[1:] {
			// A touchpoint that moves is visited at the same moments of its interval as
			// before, with no gap; at one of them perhaps by the old prober and by both new
			// ones, neither of which knows yet that the other has joined.
			gap := visits[i+1].at.Sub(visits[i].at)
			if gap > interval*3/2 {
				t.Errorf("%s: %s between the visits of %s and %s", path, gap, visits[i].by, visits[i+1].by)
			}
			if gap < interval/2 && before >= interval/2 {
				shared++
			}
			before = gap
		}
		if shared > 1 {
			t.Errorf("%s was probed by several for longer than an interval: %v", path, visits)
		}
	}

	// One is lost without a word.
	victims := map[string]bool{}
	for path, visits := range shop.since(time.Now().Add(-interval - time.Second)) {
		victims[path] = visits[0].by == "b"
	}
	lost := time.Now()
	if err := b.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	settled(2*time.Minute, "two share what b has lost", "a", "c")
	slowest := time.Duration(0)
	for path, visits := range shop.since(lost) {
		i := slices.IndexFunc(visits, func(v visitor) bool { return v.by != "b" })
		if i < 0 {
			t.Errorf("%s: never visited again", path)
			continue
		}
		if victims[path] {
			slowest = max(slowest, visits[i].at.Sub(lost))
		}
		if !victims[path] && len(visits) > 1 && visits[1].at.Sub(visits[0].at) > interval*3/2 {
			t.Errorf("%s is not b's, and has a gap all the same", path)
		}
	}
	t.Logf("what b probed was probed again after at most %s", slowest)
	if slowest > 2*interval {
		t.Errorf("probed again only after %s, want at most two intervals", slowest)
	}

	// Without an API server all goes on as it was, and does so when it is back.
	before := shop.by(time.Now().Add(-interval - time.Second))
	cluster.StopAPIServer()
	outage := time.Now()
	time.Sleep(2 * interval)
	if err := cluster.StartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(interval)
	if during := shop.by(outage); !maps.Equal(before, during) {
		t.Errorf("before the outage %v, then %v", before, during)
	}

	// One takes leave. What it counted is scraped before it goes.
	dismissed := time.Now()
	if err := c.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	settled(2*time.Minute, "a probes all again", "a")
	for path, visits := range shop.since(dismissed.Add(-interval)) {
		for i := range visits[1:] {
			if gap := visits[i+1].at.Sub(visits[i].at); gap > interval*3/2 {
				t.Errorf("%s: a gap of %s when c took leave", path, gap)
			}
		}
	}
	select {
	case <-c.ended:
	case <-time.After(time.Minute):
		t.Error("c does not end")
	}
	visits := 0.0
	for _, of := range shop.since(time.Time{}) {
		for _, v := range of {
			if v.by == "c" {
				visits++
			}
		}
	}
	// A visit under way when it is told to go is called off and counts for nothing.
	if counted := c.sum("sojourn_probe_runs_total"); counted != visits && counted != visits-1 {
		t.Errorf("c made %g visits, and %g were scraped", visits, counted)
	}
	if found := shop.since(time.Time{})["/elsewhere"]; len(found) > 0 {
		t.Errorf("what asks for another location is visited: %v", found)
	}
}
