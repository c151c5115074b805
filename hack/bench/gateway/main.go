// Gateway measures how many responses a second the gateway keeps durably, beside bare
// inserts into the same database with the same durability, in the same run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// settings are how long and how often is measured.
type settings struct {
	duration time.Duration
	rounds   int
	stores   []string
	loads    []load
	folder   string
}

// Goals of the design.
const (
	goalShare = 0.5
	goalP99   = 50 * time.Millisecond
)

func main() {
	s := settings{}
	stores := flag.String("stores", "sqlite,postgres", "which stores are measured")
	loads := flag.String("loads", "1x1,16x1,256x1,256x1+4,1x100,16x100,256x100,256x100@50,1x1000,16x1000",
		"which loads are measured: how many clients, and how many responses each sends in a request; @50 for half of the bare batched rate together, else as fast as answers come; +4 beside four clients that import, 1,000 in a request")
	flag.DurationVar(&s.duration, "duration", 3*time.Second, "how long each figure is measured")
	flag.IntVar(&s.rounds, "rounds", 3, "how often; the median counts")
	flag.StringVar(&s.folder, "folder", "", "where the databases lie (default: a temporary folder)")
	flag.Parse()
	s.stores = strings.Split(*stores, ",")
	for text := range strings.SplitSeq(*loads, ",") {
		each, err := parseLoad(text)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench-gateway:", err)
			os.Exit(2)
		}
		s.loads = append(s.loads, each)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, s)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-gateway:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	folder, err := os.MkdirTemp(s.folder, "sojourn-bench-gateway-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	cluster, err := startCluster(ctx, folder)
	if err != nil {
		return err
	}
	defer cluster.plane.Stop()
	fmt.Printf("%d cores, %s, load %s; each figure is the median of %d times %v; clients and databases share the machine\n\n",
		runtime.NumCPU(), runtime.Version(), loadAverage(), s.rounds, s.duration)
	for _, store := range s.stores {
		if err := measureStore(ctx, s, cluster, folder, store); err != nil {
			return fmt.Errorf("%s: %w", store, err)
		}
	}
	return nil
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}

func measureStore(ctx context.Context, s settings, cluster *cluster, folder, store string) error {
	bare, err := openBare(ctx, folder, store)
	if err != nil {
		return err
	}
	defer bare.close()
	// Rounds go over everything, so that a slow minute of the machine hits all alike.
	single, batched := []float64{}, []float64{}
	results := make([][]result, len(s.loads))
	for range s.rounds {
		rates := []float64{}
		for _, batch := range []int{1, bareBatch} {
			rate, err := bare.measure(ctx, batch, s.duration)
			if err != nil {
				return err
			}
			rates = append(rates, rate)
		}
		single, batched = append(single, rates[0]), append(batched, rates[1])
		for i, load := range s.loads {
			r, err := cluster.measure(ctx, folder, bare.url, load, rates[1], s.duration)
			if err != nil {
				return fmt.Errorf("%v: %w", load, err)
			}
			results[i] = append(results[i], r)
		}
	}
	base := median(batched)
	const row = "%-50s %12s %9s %9s %9s %9s %8s %8s\n"
	fmt.Printf(row, store, "responses/s", "p50", "p99", "of bare", "gateway", "clients", "machine")
	fmt.Printf(row, "", "", "ms", "ms", "", "cores", "cores", "cores")
	fmt.Printf("%-50s %12.0f\n", "bare inserts, one in a transaction", median(single))
	fmt.Printf("%-50s %12.0f %29.0f%%\n", fmt.Sprintf("bare inserts, %d in a transaction", bareBatch), base, 100.0)
	best := 0.0
	goals := map[load]string{{clients: 256, batch: 1}: "", {clients: 256, batch: 100, share: goalShare}: ""}
	for i, load := range s.loads {
		figure := func(of func(result) float64) float64 {
			values := []float64{}
			for _, r := range results[i] {
				values = append(values, of(r))
			}
			return median(values)
		}
		rate, p99 := figure(func(r result) float64 { return r.rate }), figure(func(r result) float64 { return milliseconds(r.p99) })
		if load.imports == 0 {
			best = max(best, rate/base)
		}
		if _, goal := goals[load]; goal {
			goals[load] = fmt.Sprintf("; %v: p99 ≤ %.0f ms: %.1f ms (%s)", load, milliseconds(goalP99), p99, verdict(p99 <= milliseconds(goalP99)))
		}
		number := func(format string, value float64) string { return fmt.Sprintf(format, value) }
		fmt.Printf(row, load, number("%.0f", rate), number("%.1f", figure(func(r result) float64 { return milliseconds(r.p50) })), number("%.1f", p99),
			number("%.0f%%", 100*rate/base), number("%.2f", figure(func(r result) float64 { return r.gateway })),
			number("%.2f", figure(func(r result) float64 { return r.clients })), number("%.2f", figure(func(r result) float64 { return r.machine })))
	}
	fmt.Printf("\ngoals: ≥ %.0f%% of the bare batched rate: %.0f%% (%s)%s\n\n", 100*goalShare, 100*best, verdict(best >= goalShare), strings.Join(slices.Sorted(maps.Values(goals)), ""))
	return nil
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "NOT met"
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

const (
	namespace = "bench"
	token     = "a-token-for-benchmarks-only"
)

// cluster is an API server that knows one touchpoint and one source, and the gateway's
// program.
type cluster struct {
	plane   *localstack.ControlPlane
	program string
}

func startCluster(ctx context.Context, folder string) (*cluster, error) {
	program := filepath.Join(folder, "gateway")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/sojourn-dev/sojourn/cmd/gateway")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the gateway: %w\n%s", err, output)
	}
	plane, err := localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{})
	if err != nil {
		return nil, err
	}
	c := &cluster{plane: plane, program: program}
	if err := c.describe(ctx); err != nil {
		plane.Stop()
		return nil, err
	}
	return c, nil
}

func (c *cluster) describe(ctx context.Context) error {
	crds, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/sojourn-dev/sojourn/api/v1alpha1").Output()
	if err != nil {
		return err
	}
	if err := c.plane.InstallCRDs(ctx, filepath.Join(strings.TrimSpace(string(crds)), "..", "..", "config", "crd")); err != nil {
		return err
	}
	scheme := kruntime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	api, err := client.New(c.plane.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bench"}, Type: "sojourn.dev/survey-source",
			StringData: map[string]string{"tokens": token},
		},
		&v1alpha1.Touchpoint{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "checkout"},
			Spec:       v1alpha1.TouchpointSpec{Channel: "Web", Survey: &v1alpha1.Survey{Instruments: []v1alpha1.Instrument{{Type: v1alpha1.InstrumentCES}}}},
		},
	} {
		if err := api.Create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// gateway is a gateway that runs.
type gateway struct {
	command            *exec.Cmd
	responses, metrics string
}

// start starts a gateway on a database. The API server rests once it is ready: its
// upkeep would be measured too.
func (c *cluster) start(ctx context.Context, database string) (*gateway, error) {
	if err := c.plane.StartAPIServer(ctx); err != nil {
		return nil, err
	}
	g := &gateway{responses: freeAddress(), metrics: freeAddress()}
	g.command = exec.Command(c.program, "--kubeconfig", c.plane.Kubeconfig(), "--source-namespaces", namespace,
		"--listen-address", g.responses, "--metrics-bind-address", g.metrics)
	g.command.Env = append(os.Environ(), "SOJOURN_DATABASE="+database)
	log, err := os.Create(c.program + ".log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	g.command.Stderr = log
	if err := g.command.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if status, _, err := get("http://" + g.metrics + "/readyz"); err == nil && status == http.StatusOK {
			break
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			text, _ := os.ReadFile(c.program + ".log")
			return nil, errors.Join(fmt.Errorf("the gateway does not become ready:\n%s", text), g.stop())
		}
	}
	c.plane.StopAPIServer()
	return g, nil
}

func (g *gateway) stop() error {
	_ = g.command.Process.Signal(os.Interrupt)
	return g.command.Wait()
}

// total is how many responses the gateway says it has.
func (g *gateway) total() (sum float64, err error) {
	_, text, err := get("http://" + g.metrics + "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "sojourn_survey_responses_total{") {
			value, err := strconv.ParseFloat(strings.Fields(line)[1], 64)
			if err != nil {
				return 0, err
			}
			sum += value
		}
	}
	return sum, nil
}

func get(url string) (int, string, error) {
	response, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}
