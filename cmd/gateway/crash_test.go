package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// crashes is how often each case of TestCrash kills; make test-crash asks for 100.
var crashes = flag.Int("crashes", 12, "how often TestCrash kills")

// gatewayProcess is a gateway in a process of its own.
type gatewayProcess struct {
	*exec.Cmd
	responsesAddress, metricsAddress string
	log                              log
}

// log keeps what a process writes.
type log struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(text []byte) (int, error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.Write(text)
}

func (l *log) String() string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.String()
}

func startProcess(t *testing.T, kubeconfig, database, namespace string) *gatewayProcess {
	t.Helper()
	command := exec.Command(os.Args[0], "--kubeconfig", kubeconfig, "--source-namespaces", namespace,
		"--listen-address", "127.0.0.1:0", "--metrics-bind-address", "127.0.0.1:0", "--namespaces", namespace)
	command.Env = append(os.Environ(), runGateway+"=1", "SOJOURN_DATABASE="+database)
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &gatewayProcess{Cmd: command}
	t.Cleanup(p.kill)
	lines := bufio.NewScanner(io.TeeReader(stderr, &p.log))
	for lines.Scan() {
		var line struct{ Msg, Responses, Metrics string }
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			t.Logf("gateway: %s", lines.Text())
		}
		if strings.Contains(lines.Text(), token) {
			t.Error("the token is in the log")
		}
		if line.Msg == "gateway started" {
			p.responsesAddress, p.metricsAddress = line.Responses, line.Metrics
			go func() { _, _ = io.Copy(&p.log, stderr) }()
			eventually(t, "never ready", func() bool { return ready(t.Context(), p.metricsAddress) })
			return p
		}
	}
	t.Fatal("the gateway did not start")
	return nil
}

// kill ends the process as a power cut would.
func (p *gatewayProcess) kill() {
	_ = p.Process.Kill()
	_ = p.Wait()
}

// notes is what a careful client writes down.
type notes struct {
	lock           sync.Mutex
	next           int
	unacknowledged map[int]bool
	acknowledged   map[int]bool
	// erased are those of which somebody asked to be forgotten.
	erased map[int]bool
}

// take hands out numbers to send, half of them ones whose fate is unknown.
func (n *notes) take(count int) []int {
	n.lock.Lock()
	defer n.lock.Unlock()
	var numbers []int
	for number := range n.unacknowledged {
		if len(numbers) >= count/2 {
			break
		}
		numbers = append(numbers, number)
		delete(n.unacknowledged, number)
	}
	for len(numbers) < count {
		numbers = append(numbers, n.next)
		n.next++
	}
	return numbers
}

func (n *notes) record(numbers []int, acknowledged bool) {
	n.lock.Lock()
	defer n.lock.Unlock()
	for _, number := range numbers {
		if acknowledged {
			n.acknowledged[number] = true
		} else {
			n.unacknowledged[number] = true
		}
	}
}

// forget chooses an acknowledged response to be erased.
func (n *notes) forget() (int, bool) {
	n.lock.Lock()
	defer n.lock.Unlock()
	for number := range n.acknowledged {
		if !n.erased[number] {
			n.erased[number] = true
			return number, true
		}
	}
	return 0, false
}

func score(number int) int { return number%7 + 1 }

func bodyOf(namespace string, numbers []int) string {
	var items []string
	for _, number := range numbers {
		items = append(items, fmt.Sprintf(`{"id":"response-%d","namespace":%q,"touchpoint":"checkout","instrument":"ces","score":%d,"comment":"第%d位顾客"}`, number, namespace, score(number), number))
	}
	if len(items) == 1 {
		return items[0]
	}
	return "[" + strings.Join(items, ",") + "]"
}

// erase asks for a response to be forgotten.
func erase(ctx context.Context, address, namespace string, number int) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/v1/erasures",
		strings.NewReader(fmt.Sprintf(`{"namespace":%q,"id":"response-%d"}`, namespace, number)))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer erase-"+token)
	request.Header.Set("Content-Type", "application/json")
	status, _, err := do(request)
	return status, err
}

// TestCrash kills the gateway, and the database where there is one apart, at random
// moments while clients send and erase, and compares in the end what clients were
// promised, what is stored, and what is counted.
func TestCrash(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	rounds := *crashes
	if testing.Short() {
		rounds = 3
	}
	table := &strings.Builder{}
	rows := tabwriter.NewWriter(table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(rows, "store\tgateway killed\tdatabase killed\trequests\tcut off or refused\tacknowledged\tstored\terased\tcounted\tlost\ttwice\t")
	for _, test := range []struct {
		name, namespace             string
		apart, killDatabase, killUs bool
	}{
		{name: "sqlite", namespace: "crash-sqlite", killUs: true},
		{name: "postgres", namespace: "crash-postgres", apart: true, killUs: true},
		{name: "postgres, database killed", namespace: "crash-database", apart: true, killDatabase: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			createTouchpoint(t, kubernetes, test.namespace, "checkout", v1alpha1.InstrumentCES)
			database := filepath.Join(t.TempDir(), "gateway.db")
			var server *localstack.Postgres
			if test.apart {
				var err error
				if server, err = localstack.StartPostgres(t.Context(), localstack.PostgresOptions{}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(server.Stop)
				database = server.URL
			}
			c := &crash{
				namespace: test.namespace, database: database,
				notes: &notes{unacknowledged: map[int]bool{}, acknowledged: map[int]bool{}, erased: map[int]bool{}},
				start: func() *gatewayProcess { return startProcess(t, plane.Kubeconfig(), database, test.namespace) },
			}
			gateway := c.start()
			for range rounds {
				c.send(t, gateway, func() {
					time.Sleep(time.Duration(20+rand.IntN(300)) * time.Millisecond)
					if test.killDatabase {
						server.Kill()
						time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
						if err := server.Start(t.Context()); err != nil {
							t.Error(err)
						}
						c.databaseKills++
					}
					if test.killUs {
						gateway.kill()
						c.kills++
					}
				})
				if test.killUs {
					gateway = c.start()
				} else {
					eventually(t, "not ready after the database came back", func() bool { return ready(t.Context(), gateway.metricsAddress) })
				}
				c.nothingFell(t, gateway)
			}
			c.settle(t, gateway)
			fmt.Fprintf(rows, "%s\t%s\t", test.name, c.verify(t, gateway))
			fmt.Fprintln(rows)
		})
	}
	_ = rows.Flush()
	t.Logf("\n%s", table)
}

// crash is one case of TestCrash.
type crash struct {
	*notes
	namespace, database  string
	start                func() *gatewayProcess
	kills, databaseKills int
	sent, answered       atomic.Int64
	before               map[string]float64
}

// send has clients send and erase until disaster has struck.
func (c *crash) send(t *testing.T, gateway *gatewayProcess, disaster func()) {
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for ctx.Err() == nil {
				numbers := c.take([]int{1, 1, 2, 50}[client%4])
				c.sent.Add(1)
				status, answer, err := post(ctx, gateway.responsesAddress, bodyOf(c.namespace, numbers))
				c.record(numbers, err == nil && status == 202)
				switch {
				case err == nil && status == 202:
					c.answered.Add(1)
				case err == nil && status != 503:
					t.Errorf("%d %s", status, answer)
				case err == nil:
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	clients.Go(func() {
		for ctx.Err() == nil {
			if number, found := c.forget(); found {
				_, _ = erase(ctx, gateway.responsesAddress, c.namespace, number)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	disaster()
	stop()
	clients.Wait()
}

// nothingFell compares what is shown with what was shown, and with what was promised.
func (c *crash) nothingFell(t *testing.T, gateway *gatewayProcess) {
	t.Helper()
	totals := scrape(t, gateway.metricsAddress, c.namespace)
	for series, total := range c.before {
		if totals[series] < total {
			t.Errorf("%s fell from %v to %v", series, total, totals[series])
		}
	}
	if promised := sum(totals); promised < float64(len(c.acknowledged)) {
		t.Errorf("%d acknowledged, %v counted", len(c.acknowledged), promised)
	}
	c.before = totals
}

// settle has clients send again what they got no answer to.
func (c *crash) settle(t *testing.T, gateway *gatewayProcess) {
	t.Helper()
	for number := range c.unacknowledged {
		if status, answer, err := post(t.Context(), gateway.responsesAddress, bodyOf(c.namespace, []int{number})); err != nil || status != 202 {
			t.Fatalf("%d %v %s", status, err, answer)
		}
	}
	for number := range c.erased {
		if status, err := erase(t.Context(), gateway.responsesAddress, c.namespace, number); err != nil || status != 200 {
			t.Fatalf("erasing: %d %v", status, err)
		}
	}
	// Once more: nothing that was erased may come back or be counted again.
	for number := range c.erased {
		if status, answer, err := post(t.Context(), gateway.responsesAddress, bodyOf(c.namespace, []int{number})); err != nil || status != 202 || !strings.Contains(answer, `"duplicates":1`) {
			t.Fatalf("an erased response, sent again: %d %v %s", status, err, answer)
		}
	}
}

// verify compares what was sent, stored, erased, counted and shown, and returns the
// case's row.
func (c *crash) verify(t *testing.T, gateway *gatewayProcess) string {
	t.Helper()
	shown := scrape(t, gateway.metricsAddress, c.namespace)
	// This time the polite way, which leaves one complete file.
	if err := gateway.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := gateway.Wait(); err != nil {
		t.Errorf("after SIGINT: %v", err)
	}
	store, err := openStore(t.Context(), c.database)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	stored := map[string]int{}
	for after := int64(0); ; {
		records, err := store.Records(t.Context(), ledger.Choice{}, after, 5000)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			break
		}
		for i := range records {
			stored[records[i].ID]++
		}
		after = records[len(records)-1].Number
	}
	lost, twice := 0, 0
	want := map[string]float64{}
	for number := range c.next {
		want[fmt.Sprintf("checkout/ces/%d", score(number))]++
		switch times := stored[fmt.Sprint("response-", number)]; {
		case times > 1, times == 1 && c.erased[number]:
			twice++
		case times == 0 && !c.erased[number]:
			lost++
		}
	}
	if lost > 0 || twice > 0 || len(stored)+len(c.erased) != c.next {
		t.Errorf("%d lost, %d twice or still there; %d stored and %d erased of %d", lost, twice, len(stored), len(c.erased), c.next)
	}
	totals, err := store.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for series, total := range totals {
		counted[fmt.Sprintf("%s/%s/%d", series.Touchpoint, series.Instrument, series.Score)] = float64(total.Responses)
	}
	for what, got := range map[string]map[string]float64{"counted": counted, "shown": shown} {
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v\n  sent: %v", what, got, want)
		}
	}
	return fmt.Sprintf("%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%d\t%d", c.kills, c.databaseKills, c.sent.Load(), c.sent.Load()-c.answered.Load(),
		c.next, len(stored), len(c.erased), sum(counted), lost, twice)
}

func sum(totals map[string]float64) (all float64) {
	for _, total := range totals {
		all += total
	}
	return all
}
