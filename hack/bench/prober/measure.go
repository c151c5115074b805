package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	ac "github.com/sojourn-dev/sojourn/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/bench/proc"
)

// scrapeEvery is how often the prober is scraped.
const scrapeEvery = 30 * time.Second

// figures are what one program came to.
type figures struct {
	probes     float64
	cpu        time.Duration
	resident   int           // bytes, the most that was seen
	lateness   string        // of 99 % of the probes
	scrape     int           // bytes
	scrapeTime time.Duration // the longest
}

func (f figures) perProbe() float64 { return f.cpu.Seconds() * 1e6 / f.probes }

type row struct {
	load
	prober, blackbox figures
}

func (b *bench) measure(ctx context.Context, l load, window time.Duration) (row, error) {
	r := row{load: l}
	if err := b.populate(ctx, l); err != nil {
		return r, err
	}
	p, err := b.startProber(ctx, l)
	if err != nil {
		return r, err
	}
	defer p.stop()
	fmt.Fprintf(os.Stderr, "%s: every touchpoint is visited once\n", l)
	if err := p.await(ctx, l); err != nil {
		return r, err
	}
	window = (window + l.interval - 1).Truncate(l.interval)
	fmt.Fprintf(os.Stderr, "%s: measuring the prober for %s\n", l, window)
	if r.prober, err = p.watch(ctx, window); err != nil {
		return r, err
	}
	p.stop()
	const blackboxWindow = 25 * time.Second
	fmt.Fprintf(os.Stderr, "%s: measuring blackbox_exporter for %s\n", l, blackboxWindow)
	r.blackbox, err = b.drive(ctx, l, blackboxWindow)
	return r, err
}

// location is where the prober stands.
const location = "default"

// populate has the API server hold the touchpoints, in a namespace of the case. Their
// status says that all is well, as that of touchpoints does that have been probed for a
// while: to write it for the first time takes a prober a quarter of an hour for ten
// thousand, and would be counted as the cost of visits.
func (b *bench) populate(ctx context.Context, l load) error {
	config := b.cluster.RESTConfig()
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	if err := api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: l.String()}}); err != nil {
		return err
	}
	begin := time.Now()
	var creating errgroup.Group
	creating.SetLimit(16)
	for i := range l.touchpoints {
		creating.Go(func() error {
			touchpoint := &v1alpha1.Touchpoint{
				ObjectMeta: metav1.ObjectMeta{Namespace: l.String(), Name: fmt.Sprintf("touchpoint-%05d", i)},
				Spec: v1alpha1.TouchpointSpec{Channel: "Web", Probe: &v1alpha1.Probe{
					Interval: v1alpha1.Duration(l.interval.String()),
					HTTP:     &v1alpha1.HTTPProbe{URL: v1alpha1.URL(b.address(l, i))},
				}},
			}
			if err := api.Create(ctx, touchpoint); err != nil {
				return err
			}
			told := ac.Touchpoint(touchpoint.Name, touchpoint.Namespace).WithStatus(ac.TouchpointStatus().WithProbes(
				ac.LocationStatus().WithLocation(location).WithOutcome(v1alpha1.ProbeSuccess).WithSince(metav1.Now())))
			return api.Status().Apply(ctx, told, client.FieldOwner(v1alpha1.ProbeFieldOwner(location)))
		})
	}
	err = creating.Wait()
	fmt.Fprintf(os.Stderr, "%s: created touchpoints in %.0f s\n", l, time.Since(begin).Seconds())
	return err
}

func (b *bench) address(l load, i int) string {
	return fmt.Sprintf("%s/touchpoints/%d", b.server.base(l.scheme), i)
}

// prober is the program while it runs.
type prober struct {
	command *exec.Cmd
	address string
	once    sync.Once
}

var servingMetrics = regexp.MustCompile(`"msg":"serving metrics","address":"([^"]+)"`)

func (b *bench) startProber(ctx context.Context, l load) (*prober, error) {
	p := &prober{}
	// The Lease is kept as in a cluster.
	p.command = exec.Command(b.binary, "--kubeconfig", b.cluster.Kubeconfig(), "--namespaces", l.String(),
		"--name", l.String(), "--allow-cidrs", "127.0.0.0/8", "--lease-namespace", "default", "--first-run-delay", "0s",
		"--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "0", "--linger", "0s")
	p.command.Env = append(os.Environ(), "SSL_CERT_FILE="+b.server.certificate)
	said, err := p.command.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if match := servingMetrics.FindStringSubmatch(lines.Text()); match != nil {
				found <- match[1]
			} else if !strings.Contains(lines.Text(), `"level":"INFO"`) {
				fmt.Fprintln(os.Stderr, lines.Text())
			}
		}
		close(found)
	}()
	if p.address = <-found; p.address == "" {
		p.stop()
		return nil, errors.New("the prober does not serve metrics")
	}
	if err := ctx.Err(); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *prober) stop() {
	p.once.Do(func() {
		p.command.Process.Kill()
		p.command.Wait()
	})
}

// sample is one scrape.
type sample struct {
	values map[string]float64 // without the touchpoints' own series
	runs   map[string]float64 // by outcome
	size   int
	took   time.Duration
}

func (p *prober) scrape(ctx context.Context) (sample, error) {
	s := sample{values: map[string]float64{}, runs: map[string]float64{}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/metrics", nil)
	if err != nil {
		return s, err
	}
	// As Prometheus asks; the transport asks for gzip by itself, and unpacks it.
	request.Header.Set("Accept", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3")
	begin := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return s, err
	}
	s.took, s.size = time.Since(begin), len(text)
	for line := range bytes.Lines(text) {
		space := bytes.LastIndexByte(line, ' ')
		if line[0] == '#' || space < 0 {
			continue
		}
		series := string(line[:space])
		if outcome, found := outcomeOf(series); found {
			value, _ := strconv.ParseFloat(strings.TrimSpace(string(line[space+1:])), 64)
			s.runs[outcome] += value
		} else if !strings.HasPrefix(series, "sojourn_probe_") {
			value, _ := strconv.ParseFloat(strings.TrimSpace(string(line[space+1:])), 64)
			s.values[series] = value
		}
	}
	return s, nil
}

var outcomeLabel = regexp.MustCompile(`outcome="([a-z]+)"`)

func outcomeOf(series string) (string, bool) {
	if !strings.HasPrefix(series, "sojourn_probe_runs_total{") {
		return "", false
	}
	return outcomeLabel.FindStringSubmatch(series)[1], true
}

// await waits until every touchpoint can have been visited once.
func (p *prober) await(ctx context.Context, l load) error {
	for begin := time.Now(); ; {
		s, err := p.scrape(ctx)
		if err != nil {
			return err
		}
		if s.runs["success"] >= float64(l.touchpoints) {
			return nil
		}
		if time.Since(begin) > 5*l.interval {
			return fmt.Errorf("after %s there were only %v runs", 5*l.interval, s.runs)
		}
		if err := sleep(ctx, 3*time.Second); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// watch measures for a while.
func (p *prober) watch(ctx context.Context, window time.Duration) (figures, error) {
	var f figures
	first, err := p.scrape(ctx)
	if err != nil {
		return f, err
	}
	before, err := proc.CPU(p.command.Process.Pid)
	if err != nil {
		return f, err
	}
	begin := time.Now()
	last := first
	for next := begin.Add(scrapeEvery); time.Since(begin) < window; {
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return f, err
		}
		resident, err := proc.Resident(p.command.Process.Pid)
		if err != nil {
			return f, err
		}
		f.resident = max(f.resident, resident)
		if time.Now().After(next) {
			next = next.Add(scrapeEvery)
			if last, err = p.scrape(ctx); err != nil {
				return f, err
			}
			f.scrape, f.scrapeTime = last.size, max(f.scrapeTime, last.took)
		}
	}
	if last, err = p.scrape(ctx); err != nil {
		return f, err
	}
	after, err := proc.CPU(p.command.Process.Pid)
	if err != nil {
		return f, err
	}
	f.scrape, f.scrapeTime = last.size, max(f.scrapeTime, last.took)
	f.cpu, f.probes = after-before, last.runs["success"]-first.runs["success"]
	f.lateness = lateness(first, last)
	if bad := last.runs["failure"] + last.runs["error"]; bad > 0 {
		return f, fmt.Errorf("%v runs did not succeed", last.runs)
	}
	return f, nil
}

var edgeLabel = regexp.MustCompile(`^sojourn_prober_schedule_lag_seconds_bucket\{le="([^"]+)"\}`)

// lateness is the bucket edge that 99 % of the runs did not exceed.
func lateness(first, last sample) string {
	const count = "sojourn_prober_schedule_lag_seconds_count"
	wanted := 0.99 * (last.values[count] - first.values[count])
	best, edge := 0.0, ""
	for series, value := range last.values {
		match := edgeLabel.FindStringSubmatch(series)
		if match == nil || value-first.values[series] < wanted {
			continue
		}
		if le, err := strconv.ParseFloat(match[1], 64); err == nil && (edge == "" || le < best) {
			best, edge = le, fmt.Sprintf("≤ %g ms", le*1000)
		}
	}
	return edge
}

// drive has blackbox_exporter probe the same addresses at the rate of the case.
func (b *bench) drive(ctx context.Context, l load, window time.Duration) (figures, error) {
	var f figures
	var sizes, longest, done atomic.Int64
	// As Prometheus does, which keeps the connections that it needs at once.
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	defer transport.CloseIdleConnections()
	prometheus := http.Client{Transport: transport}
	probe := func(i int) error {
		query := url.Values{"module": {"visit"}, "target": {b.address(l, i%l.touchpoints)}}
		begin := time.Now()
		response, err := prometheus.Get("http://" + b.blackbox.Address + "/probe?" + query.Encode())
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		if !bytes.Contains(text, []byte("probe_success 1\n")) {
			return fmt.Errorf("blackbox_exporter failed:\n%s", text)
		}
		sizes.Add(int64(len(text)))
		for took := int64(time.Since(begin)); ; {
			most := longest.Load()
			if took <= most || longest.CompareAndSwap(most, took) {
				break
			}
		}
		done.Add(1)
		return nil
	}
	drive := func(window time.Duration) error {
		var running errgroup.Group
		running.SetLimit(64)
		begin := time.Now()
		for i := 0; ; i++ {
			due := time.Duration(float64(i) / l.rate() * float64(time.Second))
			if due >= window {
				break
			}
			if wait := due - time.Since(begin); wait > 0 {
				if err := sleep(ctx, wait); err != nil {
					return err
				}
			}
			running.Go(func() error { return probe(i) })
			if i%64 == 0 {
				resident, err := proc.Resident(b.blackbox.PID())
				if err != nil {
					return err
				}
				f.resident = max(f.resident, resident)
			}
		}
		return running.Wait()
	}
	if err := drive(3 * time.Second); err != nil { // to warm it up
		return f, err
	}
	sizes.Store(0)
	longest.Store(0)
	done.Store(0)
	before, err := proc.CPU(b.blackbox.PID())
	if err != nil {
		return f, err
	}
	if err := drive(window); err != nil {
		return f, err
	}
	after, err := proc.CPU(b.blackbox.PID())
	if err != nil {
		return f, err
	}
	f.cpu, f.probes = after-before, float64(done.Load())
	f.scrape = int(sizes.Load()/done.Load()) * l.touchpoints
	return f, nil
}

// soak runs one case for long and tells how the memory fares.
func (b *bench) soak(ctx context.Context, l load, length time.Duration) error {
	if err := b.populate(ctx, l); err != nil {
		return err
	}
	p, err := b.startProber(ctx, l)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.await(ctx, l); err != nil {
		return err
	}
	fmt.Printf("%8s %10s %10s %12s %8s %14s %12s\n", "minute", "most MiB", "heap MiB", "goroutines", "files", "CPU µs/probe", "p99 late")
	var resident, goroutines, files []int
	for begin := time.Now(); time.Since(begin) < length; {
		f, err := p.watch(ctx, time.Minute)
		if err != nil {
			return err
		}
		s, err := p.scrape(ctx)
		if err != nil {
			return err
		}
		resident = append(resident, f.resident)
		goroutines = append(goroutines, int(s.values["go_goroutines"]))
		files = append(files, int(s.values["process_open_fds"]))
		fmt.Printf("%8.0f %10.1f %10.1f %12d %8d %14.1f %12s\n", time.Since(begin).Minutes(), mib(f.resident),
			s.values["go_memstats_heap_inuse_bytes"]/(1<<20), goroutines[len(goroutines)-1], files[len(files)-1], f.perProbe(), f.lateness)
	}
	third := len(resident) / 3
	if third < 2 {
		return nil
	}
	early := func(of []int) int { return maximum(of[:third]) }
	late := func(of []int) int { return maximum(of[len(of)-third:]) }
	fmt.Printf("\n%-22s %12s %12s\n", fmt.Sprintf("most within %s", length), "first third", "last third")
	fmt.Printf("%-22s %12.1f %12.1f\n", "resident MiB", mib(early(resident)), mib(late(resident)))
	fmt.Printf("%-22s %12d %12d\n", "goroutines", early(goroutines), late(goroutines))
	fmt.Printf("%-22s %12d %12d\n", "open files", early(files), late(files))
	return nil
}
