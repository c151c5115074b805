package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// process is a gateway in a process of its own.
type process struct {
	*exec.Cmd
	responsesAddress, metricsAddress string
}

func startProcess(t *testing.T, kubeconfig, database string) *process {
	t.Helper()
	command := exec.Command(os.Args[0], "--kubeconfig", kubeconfig, "--source-namespaces", "crash",
		"--listen-address", "127.0.0.1:0", "--metrics-bind-address", "127.0.0.1:0", "--namespaces", "crash")
	command.Env = append(os.Environ(), runGateway+"=1", "SOJOURN_DATABASE="+database)
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: command}
	t.Cleanup(p.kill)
	lines := bufio.NewScanner(stderr)
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
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			eventually(t, "never ready", func() bool { return ready(t.Context(), p.metricsAddress) })
			return p
		}
	}
	t.Fatal("the gateway did not start")
	return nil
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	_ = p.Process.Kill()
	_ = p.Wait()
}

// notes is what a careful client writes down.
type notes struct {
	lock           sync.Mutex
	next           int
	unacknowledged map[int]bool
	acknowledged   map[int]bool
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

func score(number int) int { return number%7 + 1 }

func bodyOf(numbers []int) string {
	var items []string
	for _, number := range numbers {
		items = append(items, fmt.Sprintf(`{"id":"response-%d","namespace":"crash","touchpoint":"checkout","instrument":"ces","score":%d,"comment":"第%d位顾客"}`, number, score(number), number))
	}
	if len(items) == 1 {
		return items[0]
	}
	return "[" + strings.Join(items, ",") + "]"
}

// TestCrash kills the gateway at random moments while clients send, and compares
// in the end what clients were promised, what is stored, and what is counted.
func TestCrash(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	createTouchpoint(t, kubernetes, "crash", "checkout", v1alpha1.InstrumentCES)
	database := filepath.Join(t.TempDir(), "gateway.db")
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	written := &notes{unacknowledged: map[int]bool{}, acknowledged: map[int]bool{}}
	before := map[string]float64{}
	var sent, answered atomic.Int64
	for round := range rounds {
		gateway := startProcess(t, plane.Kubeconfig(), database)
		totals := scrape(t, gateway.metricsAddress, "crash")
		for series, total := range before {
			if totals[series] < total {
				t.Errorf("round %d: %s fell from %v to %v", round, series, total, totals[series])
			}
		}
		if promised := sum(totals); promised < float64(len(written.acknowledged)) {
			t.Errorf("round %d: %d acknowledged, %v counted", round, len(written.acknowledged), promised)
		}

		ctx, stop := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for client := range 8 {
			clients.Go(func() {
				for ctx.Err() == nil {
					numbers := written.take([]int{1, 1, 2, 50}[client%4])
					sent.Add(1)
					status, answer, err := post(ctx, gateway.responsesAddress, bodyOf(numbers))
					written.record(numbers, err == nil && status == 202)
					if err == nil {
						answered.Add(1)
						if status != 202 {
							t.Errorf("%d %s", status, answer)
						}
					}
				}
			})
		}
		time.Sleep(time.Duration(20+rand.IntN(300)) * time.Millisecond)
		if round%3 == 0 {
			before = scrape(t, gateway.metricsAddress, "crash")
		}
		gateway.kill()
		stop()
		clients.Wait()
	}

	gateway := startProcess(t, plane.Kubeconfig(), database)
	for number := range written.unacknowledged {
		if status, answer, err := post(t.Context(), gateway.responsesAddress, bodyOf([]int{number})); err != nil || status != 202 {
			t.Fatalf("%d %v %s", status, err, answer)
		}
	}
	totals := scrape(t, gateway.metricsAddress, "crash")
	// This time the polite way, which leaves one complete file.
	if err := gateway.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := gateway.Wait(); err != nil {
		t.Errorf("after SIGINT: %v", err)
	}

	want, stored, counted := map[string]float64{}, map[string]float64{}, map[string]float64{}
	for number := range written.next {
		want[fmt.Sprintf("checkout/ces/%d", score(number))]++
	}
	db, err := sql.Open("sqlite", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for query, into := range map[string]map[string]float64{
		"SELECT score, count(DISTINCT id) FROM responses GROUP BY score": stored,
		"SELECT score, total FROM counters":                              counted,
	} {
		rows, err := db.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var score, count int
			if err := rows.Scan(&score, &count); err != nil {
				t.Fatal(err)
			}
			into[fmt.Sprintf("checkout/ces/%d", score)] = float64(count)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for what, got := range map[string]map[string]float64{"stored": stored, "counted": counted, "shown": totals} {
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v\n  sent: %v", what, got, want)
		}
	}
	t.Logf("%d kills, %d requests of which %d were cut off, %d responses, each stored and counted once",
		rounds, sent.Load(), sent.Load()-answered.Load(), written.next)
}

func sum(totals map[string]float64) (all float64) {
	for _, total := range totals {
		all += total
	}
	return all
}
