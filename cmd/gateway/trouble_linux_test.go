package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// smallDisk mounts a file system of a few MiB, which only root may.
func smallDisk(t *testing.T, flags uintptr) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, "size=4m"); err != nil {
		t.Skip("no right to mount: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestFullDisk(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	createTouchpoint(t, kubernetes, "full-disk", "checkout", v1alpha1.InstrumentCES)
	disk := smallDisk(t, 0)
	g, _ := inProcess(t, inNamespace(plane, "full-disk", filepath.Join(disk, "gateway.db")))
	eventually(t, "never ready", func() bool { return ready(t.Context(), g.metricsAddress) })
	expectAnswer(t, g, one("full-disk", "before"), 202, `"accepted":1`)

	filler := filepath.Join(disk, "filler")
	file, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(file, io.LimitReader(zeros{}, 8<<20)) // ends when the disk is full
	_ = file.Close()
	// Some room may be left in the log; sooner or later there is none.
	var acknowledged int
	eventually(t, "the disk does not become full", func() bool {
		status, answer, err := post(t.Context(), g.responsesAddress, one("full-disk", fmt.Sprint("r", acknowledged)))
		if err == nil && status == 202 {
			acknowledged++
			return false
		}
		return status == 503 && strings.Contains(answer, "store_unavailable") && strings.Contains(answer, "send the request again")
	})
	if status, body, _ := get(t.Context(), "http://"+g.metricsAddress+"/readyz"); status != 503 || !strings.Contains(body, "full") {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it does not recover by itself", func() bool { return ready(t.Context(), g.metricsAddress) })
	expectAnswer(t, g, one("full-disk", fmt.Sprint("r", acknowledged)), 202, `"accepted":1`)
	if got := scrape(t, g.metricsAddress, "full-disk")["checkout/ces/6"]; got != float64(acknowledged+2) {
		t.Errorf("%v counted, %d acknowledged", got, acknowledged+2)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestReadOnlyVolume: a gateway does not start on one, says what to do, and starts once it
// is done.
func TestReadOnlyVolume(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	createTouchpoint(t, kubernetes, "read-only", "checkout", v1alpha1.InstrumentCES)
	disk := smallDisk(t, syscall.MS_RDONLY)
	database := filepath.Join(disk, "gateway.db")
	o := defaultOptions()
	o.listenAddress, o.metricsAddress, o.log = "127.0.0.1:0", "127.0.0.1:0", discard()
	inNamespace(plane, "read-only", database)(&o)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := start(ctx, o)
	if want := "the database cannot be opened for writing: give the gateway's user the right to write"; err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("error %v, want %q", err, want)
	}
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	g, _ := inProcess(t, inNamespace(plane, "read-only", database))
	eventually(t, "never ready", func() bool { return ready(t.Context(), g.metricsAddress) })
	expectAnswer(t, g, one("read-only", "a"), 202, `"accepted":1`)
}

// TestCorruptedLog flips bits in the write-ahead log that a killed gateway left. What
// comes before is kept and counted alike; what was lost is taken when it comes again.
func TestCorruptedLog(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	createTouchpoint(t, kubernetes, "corrupted", "checkout", v1alpha1.InstrumentCES)
	database := filepath.Join(t.TempDir(), "gateway.db")
	p := startProcess(t, plane.Kubeconfig(), database, "corrupted")
	const responses = 60
	for i := range responses {
		if status, answer, err := post(t.Context(), p.responsesAddress, one("corrupted", fmt.Sprint("r", i))); err != nil || status != 202 {
			t.Fatalf("%d %v %s", status, err, answer)
		}
	}
	p.kill()
	log, err := os.OpenFile(database+"-wal", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := log.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.WriteAt(bytes.Repeat([]byte{0xa5}, 64), info.Size()*3/4); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	p = startProcess(t, plane.Kubeconfig(), database, "corrupted")
	kept := scrape(t, p.metricsAddress, "corrupted")["checkout/ces/6"]
	if kept == 0 || kept >= responses {
		t.Errorf("%v of %d responses are left", kept, responses)
	}
	accepted := 0
	for i := range responses {
		status, answer, err := post(t.Context(), p.responsesAddress, one("corrupted", fmt.Sprint("r", i)))
		if err != nil || status != 202 {
			t.Fatalf("%d %v %s", status, err, answer)
		}
		if strings.Contains(answer, `"accepted":1`) {
			accepted++
		}
	}
	if got := scrape(t, p.metricsAddress, "corrupted")["checkout/ces/6"]; got != responses || accepted != responses-int(kept) {
		t.Errorf("%v counted, %d accepted again, %v kept of %d", got, accepted, kept, responses)
	}
}

// TestSlowDatabase has PostgreSQL stand still: clients get an answer, readiness turns
// false, and all is well again when it goes on.
func TestSlowDatabase(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	createTouchpoint(t, kubernetes, "slow", "checkout", v1alpha1.InstrumentCES)
	server, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	g, _ := inProcess(t, inNamespace(plane, "slow", server.URL))
	eventually(t, "never ready", func() bool { return ready(t.Context(), g.metricsAddress) })
	expectAnswer(t, g, one("slow", "before"), 202, `"accepted":1`)
	server.Pause()
	expectAnswer(t, g, one("slow", "during"), 503, "store_unavailable")
	if status, _, _ := get(t.Context(), "http://"+g.metricsAddress+"/readyz"); status != 503 {
		t.Errorf("/readyz: %d", status)
	}
	// A scrape shows what is known rather than nothing.
	if got := scrape(t, g.metricsAddress, "slow")["checkout/ces/6"]; got != 1 {
		t.Errorf("shown meanwhile: %v", got)
	}
	server.Resume()
	eventually(t, "it does not recover by itself", func() bool { return ready(t.Context(), g.metricsAddress) })
	expectAnswer(t, g, one("slow", "during"), 202, `"accepted"`)
	if got := scrape(t, g.metricsAddress, "slow")["checkout/ces/6"]; got != 2 {
		t.Errorf("%v counted, want 2", got)
	}
}

// TestDatabaseAwayAtStart: the gateway waits for it, says so, and
// neither ends nor shows totals that it does not know.
func TestDatabaseAwayAtStart(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	createTouchpoint(t, kubernetes, "away", "checkout", v1alpha1.InstrumentCES)
	server, err := localstack.StartPostgres(t.Context(), localstack.PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	server.Kill()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metricsAddress := free.Addr().String()
	_ = free.Close()
	database := strings.Replace(server.URL, "sojourn@", "sojourn:a-secret-password@", 1)
	var log bytes.Buffer
	var g *gateway
	var stop func()
	started := make(chan struct{})
	go func() {
		defer close(started) // if it fails, too
		g, stop = inProcess(t, func(o *options) {
			inNamespace(plane, "away", database)(o)
			o.metricsAddress, o.log = metricsAddress, slog.New(slog.NewJSONHandler(&log, nil))
		})
	}()
	var why string
	eventually(t, "it does not say that the database is away", func() bool {
		status, body, err := get(t.Context(), "http://"+metricsAddress+"/readyz")
		why = body
		return err == nil && status == 503 && strings.Contains(body, "connection refused")
	})
	if status, _, err := get(t.Context(), "http://"+metricsAddress+"/healthz"); err != nil || status != 200 {
		t.Errorf("/healthz: %d %v: a restart would mend nothing", status, err)
	}
	if status, body, err := get(t.Context(), "http://"+metricsAddress+"/metrics"); err != nil || status != 503 || strings.Contains(body, "sojourn_survey") {
		t.Errorf("/metrics: %d %v %s: it does not know the totals", status, err, body)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if <-started; g == nil {
		t.Fatal("it did not start")
	}
	eventually(t, "it does not become ready", func() bool { return ready(t.Context(), metricsAddress) })
	expectAnswer(t, g, one("away", "first"), 202, `"accepted":1`)
	stop()
	for name, text := range map[string]string{"the log": log.String(), "/readyz": why} {
		if !strings.Contains(text, "on 127.0.0.1") || strings.Contains(text, "a-secret-password") {
			t.Errorf("%s says %s, want the host and not the password", name, text)
		}
	}
}

func TestClockSetBack(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	createTouchpoint(t, kubernetes, "clock", "checkout", v1alpha1.InstrumentCES)
	var back sync.Map
	g, _ := inProcess(t, func(o *options) {
		inNamespace(plane, "clock", filepath.Join(t.TempDir(), "gateway.db"))(o)
		o.now = func() time.Time {
			if _, set := back.Load("set"); set {
				return time.Now().Add(-time.Hour)
			}
			return time.Now()
		}
	})
	eventually(t, "never ready", func() bool { return ready(t.Context(), g.metricsAddress) })
	expectAnswer(t, g, one("clock", "a"), 202, `"accepted":1`)
	back.Store("set", true)
	expectAnswer(t, g, one("clock", "b"), 202, `"accepted":1`)
	expectAnswer(t, g, one("clock", "a"), 202, `"duplicates":1`)
	timed := strings.Replace(one("clock", "c"), "}", `,"time":"`+time.Now().UTC().Format(time.RFC3339)+`"}`, 1)
	expectAnswer(t, g, timed, 422, "time lies in the future, by more than 5 minutes")
	if got := scrape(t, g.metricsAddress, "clock")["checkout/ces/6"]; got != 2 {
		t.Errorf("%v counted, want 2", got)
	}
}

// memory is the most that a process ever held in RAM, in bytes.
func memory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); fields[0] == "VmHWM:" {
			kilobytes, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// memoryBound is what the gateway may hold whatever clients do: the limit of the
// manifests' container.
const memoryBound = 512 << 20

// bomb is a body that is small on the wire and large when it is understood.
type bomb struct{ path, contentType, body string }

var bombs = []bomb{
	{"/v1/responses", "application/json", strings.Repeat("[", 1<<20-1)},
	{"/v1/responses", "application/json", `{"id":` + strings.Repeat(`{"a":`, 200_000)},
	{"/v1/responses", "application/json", "[" + strings.Repeat(`{"a":1},`, 130_000) + `{}]`},
	{"/v1/responses", "application/json", `{"score":1e` + strings.Repeat("9", 1<<20-100) + `}`},
	{"/v1/responses", "application/json", `{"id":"` + strings.Repeat(`\u0041`, 170_000) + `"}`},
	{"/v1/events", "application/cloudevents-batch+json", "[" + strings.Repeat(`{"specversion":"1.0","id":"1","source":"s","type":"t"},`, 19_000) + `{}]`},
	{"/v1/events", "application/cloudevents+json", `{"specversion":"1.0","id":"1","source":"s","type":"t"` + numbered(`,"x%d":""`, 80_000) + `}`},
	{"/v1/webhooks/formbricks/crowd/tool", "application/json", "[" + strings.Repeat("{},", 340_000) + "{}]"},
	{"/v1/webhooks/formbricks/crowd/tool", "application/json", `{"event":"responseFinished","data":{"data":{"x":1` + numbered(`,"%d":1`, 110_000) + `}}}`},
	{"/v1/webhooks/typeform/crowd/tool", "application/json", `{"event_type":"form_response","form_response":{"answers":[` + strings.Repeat("{},", 340_000) + "{}]}}"},
	{"/v1/webhooks/tally/crowd/tool", "application/json", `{"eventType":"FORM_RESPONSE","data":{"fields":[` + strings.Repeat("{},", 340_000) + "{}]}}"},
	{"/v1/webhooks/generic/crowd/tool", "application/json", `{"answers":{"x":1` + numbered(`,"%d":1`, 110_000) + `}}`},
}

func numbered(format string, count int) string {
	text := &strings.Builder{}
	for i := range count {
		fmt.Fprintf(text, format, i)
	}
	return text.String()
}

// sign makes the bomb one that comes from a source: those of strangers are not decoded.
func (b bomb) sign(request *http.Request) {
	request.Header.Set("Content-Type", b.contentType)
	request.Header.Set("Authorization", "Bearer "+token)
	now := fmt.Sprint(time.Now().Unix())
	mac := func(text string) []byte {
		sum := hmac.New(sha256.New, []byte(signingSecret))
		sum.Write([]byte(text))
		return sum.Sum(nil)
	}
	request.Header.Set("Webhook-Id", "m")
	request.Header.Set("Webhook-Timestamp", now)
	request.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac("m."+now+"."+b.body)))
	request.Header.Set("Typeform-Signature", "sha256="+base64.StdEncoding.EncodeToString(mac(b.body)))
	request.Header.Set("Tally-Signature", base64.StdEncoding.EncodeToString(mac(b.body)))
	request.Header.Set("X-Signature-256", "sha256="+hex.EncodeToString(mac(b.body)))
}

// TestTenThousandConnections holds connections open, some silent and some in the middle
// of a request, while others send bombs: an honest client is served all the same, and
// memory stays bounded.
func TestTenThousandConnections(t *testing.T) {
	plane, kubernetes := controlPlane(t)
	createTouchpoint(t, kubernetes, "crowd", "checkout", v1alpha1.InstrumentCES)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 11_000 {
		t.Skipf("this process may open %d files", limit.Cur)
	}
	p := startProcess(t, plane.Kubeconfig(), filepath.Join(t.TempDir(), "gateway.db"), "crowd")
	const connections = 10_000
	open := make([]net.Conn, 0, connections)
	defer func() {
		for _, each := range open {
			_ = each.Close()
		}
	}()
	for i := range connections {
		connection, err := net.Dial("tcp", p.responsesAddress)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		open = append(open, connection)
		switch i % 4 {
		case 0: // announced by somebody who may, and never sent
			_, _ = fmt.Fprintf(connection, "POST /v1/responses HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n[", token)
		case 1: // announced by a stranger, as large as can be
			_, _ = fmt.Fprintf(connection, "POST /v1/webhooks/generic/crowd/tool HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n[", 1<<20)
		}
	}
	batch := make([]string, 1000)
	for i := range batch {
		batch[i] = one("crowd", fmt.Sprint("honest-", i))
	}
	status, answer, err := post(t.Context(), p.responsesAddress, "["+strings.Join(batch, ",")+"]")
	if err != nil || status != 202 {
		t.Errorf("an honest client: %d %v %s", status, err, answer)
	}
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.responsesAddress+bombs[i%len(bombs)].path, strings.NewReader(bombs[i%len(bombs)].body))
			if err != nil {
				t.Error(err)
				return
			}
			bombs[i%len(bombs)].sign(request)
			status, answer, err := do(request)
			if err != nil || status != 202 && status != 400 && status != 413 && status != 422 && status != 503 || len(answer) > 4000 {
				t.Errorf("bomb %d: %d %v %.200s", i%len(bombs), status, err, answer)
			}
		})
	}
	group.Wait()
	most := memory(t, p.Process.Pid)
	if !ready(t.Context(), p.metricsAddress) {
		t.Error("not ready")
	}
	if most > memoryBound && !shadowed {
		t.Errorf("%d MiB of memory, more than %d", most>>20, memoryBound>>20)
	}
	t.Logf("%d connections and 64 bombs at once: at most %d MiB", connections, most>>20)
}

// TestTricklingBody sends a byte a second: it ends with an answer.
func TestTricklingBody(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a body may")
	}
	plane, kubernetes := controlPlane(t)
	createTouchpoint(t, kubernetes, "trickle", "checkout", v1alpha1.InstrumentCES)
	g, _ := inProcess(t, inNamespace(plane, "trickle", filepath.Join(t.TempDir(), "gateway.db")))
	eventually(t, "never ready", func() bool { return ready(t.Context(), g.metricsAddress) })
	reader, writer := io.Pipe()
	go func() {
		for i := 0; ; i++ {
			if _, err := writer.Write([]byte(" ")); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}()
	defer writer.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.responsesAddress+"/v1/responses", reader)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = 1000
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	status, answer, err := do(request)
	if err != nil || status != http.StatusRequestTimeout || !strings.Contains(answer, "the body did not arrive in time") {
		t.Errorf("%d %v %s", status, err, answer)
	}
}
