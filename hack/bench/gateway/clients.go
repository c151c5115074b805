package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// load is how many clients there are, and how many responses each sends in a request.
type load struct {
	clients, batch int
	// share is what all of them send together, as a part of the bare batched rate; 0: as
	// fast as they get answers.
	share float64
	// imports is how many further clients send importSize responses in a request all the
	// time, which are not in the figures.
	imports int
}

// importSize is the most that the gateway takes in a request.
const importSize = 1000

// parseLoad reads a load such as 256x1, 256x100@50 (at half of the bare rate) or 256x1+4
// (beside four imports).
func parseLoad(text string) (l load, err error) {
	rest, imports, beside := strings.Cut(text, "+")
	if beside {
		l.imports, err = strconv.Atoi(imports)
	}
	rest, share, paced := strings.Cut(rest, "@")
	if paced && err == nil {
		l.share, err = strconv.ParseFloat(share, 64)
		l.share /= 100
	}
	clients, batch, _ := strings.Cut(rest, "x")
	if err == nil {
		l.clients, err = strconv.Atoi(clients)
	}
	if err == nil {
		l.batch, err = strconv.Atoi(batch)
	}
	if err != nil || l.clients < 1 || l.batch < 1 || l.share < 0 || l.imports < 0 {
		return l, fmt.Errorf("--loads: write clients x responses, such as 256x1, 256x100@50 or 256x1+4, not %q", text)
	}
	return l, nil
}

func (l load) String() string {
	text := fmt.Sprintf("gateway, %d clients, %d in a request", l.clients, l.batch)
	if l.share > 0 {
		text += fmt.Sprintf(", at %.0f%%", 100*l.share)
	}
	if l.imports > 0 {
		text += fmt.Sprintf(", %d imports", l.imports)
	}
	return text
}

// result is what one load came to.
type result struct {
	rate     float64 // responses a second
	p50, p99 time.Duration
	// gateway, clients and machine are how many cores were used by them and by all
	// together, other work of the machine included.
	gateway, clients, machine float64
}

// measure starts a gateway, has clients send, and makes sure that the gateway counts what
// it acknowledged. database is empty for SQLite, and base the bare batched rate.
func (c *cluster) measure(ctx context.Context, folder, database string, load load, base float64, duration time.Duration) (result, error) {
	if database == "" {
		dir, err := os.MkdirTemp(folder, "sqlite-")
		if err != nil {
			return result{}, err
		}
		defer os.RemoveAll(dir)
		database = filepath.Join(dir, "gateway.db")
	}
	g, err := c.start(ctx, database)
	if err != nil {
		return result{}, err
	}
	before, err := g.total()
	if err != nil {
		return result{}, err
	}
	began := time.Now()
	mine, its, all := cpuTime(os.Getpid()), cpuTime(g.command.Process.Pid), machineTime()
	r, sent, err := send(g.responses, load, base, duration)
	if err != nil {
		return result{}, fmt.Errorf("%w; %w", err, g.stop())
	}
	took := time.Since(began).Seconds()
	r.clients = (cpuTime(os.Getpid()) - mine).Seconds() / took
	r.gateway = (cpuTime(g.command.Process.Pid) - its).Seconds() / took
	r.machine = (machineTime() - all).Seconds() / took
	after, err := g.total()
	if err != nil {
		return result{}, err
	}
	if after-before != float64(sent) {
		return result{}, fmt.Errorf("%d acknowledged, %v counted", sent, after-before)
	}
	return r, g.stop()
}

// cpuTime is how much of the processors a process has used; 0 where nobody knows.
func cpuTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	return ticks(fields[11:13])
}

// machineTime is how much of the processors all work has used.
func machineTime() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 8 {
		return 0
	}
	// user, nice, system; idle and waiting for the disk are no work; interrupts.
	return ticks(append(fields[1:4:4], fields[6:8]...))
}

// ticks sums up the kernel's figures: hundredths of a second, wherever Linux runs.
func ticks(figures []string) (sum time.Duration) {
	for _, each := range figures {
		figure, _ := strconv.Atoi(each)
		sum += time.Duration(figure) * (time.Second / 100)
	}
	return sum
}

// send has all clients of a load send, and returns how many responses were acknowledged,
// of imports too.
func send(address string, load load, base float64, duration time.Duration) (r result, sent int, err error) {
	var lock sync.Mutex
	var times []time.Duration
	var group sync.WaitGroup
	run := time.Now().UnixNano()
	began := time.Now()
	start := func(number, batch int, pace time.Duration, counted bool) {
		group.Go(func() {
			mine, failure := one(address, batch, fmt.Sprintf("%x-%d", run, number), pace, began.Add(duration))
			lock.Lock()
			defer lock.Unlock()
			sent += len(mine) * batch
			if counted {
				times = append(times, mine...)
			}
			if failure != nil {
				err = failure
			}
		})
	}
	pace := time.Duration(0)
	if load.share > 0 {
		pace = time.Duration(float64(load.clients*load.batch) / (load.share * base) * float64(time.Second))
	}
	for number := range load.clients {
		start(number, load.batch, pace, true)
	}
	for number := range load.imports {
		start(load.clients+number, importSize, 0, false)
	}
	group.Wait()
	took := time.Since(began)
	if err != nil || len(times) == 0 {
		return r, 0, fmt.Errorf("%d requests answered: %w", len(times), err)
	}
	slices.Sort(times)
	return result{rate: float64(len(times)*load.batch) / took.Seconds(), p50: times[len(times)/2], p99: times[len(times)*99/100]}, sent, nil
}

// one is a client on one connection. It is as plain as HTTP/1.1 allows: a client with
// comforts would take more of the machine than the gateway that is measured. With a pace
// it sends at random moments, so long apart on average, and time counts from the moment:
// a request that comes late because the last had no answer yet has waited as well.
func one(address string, batch int, name string, pace time.Duration, until time.Time) (times []time.Duration, err error) {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	reader := bufio.NewReader(connection)
	var request, body []byte
	due := time.Now()
	for number := 0; time.Now().Before(until); {
		body = body[:0]
		if batch > 1 {
			body = append(body, '[')
		}
		for i := range batch {
			if i > 0 {
				body = append(body, ',')
			}
			body = append(body, `{"id":"`...)
			body = append(body, name...)
			body = append(body, '-')
			body = strconv.AppendInt(body, int64(number), 10)
			body = append(body, `","namespace":"bench","touchpoint":"checkout","instrument":"ces","score":`...)
			body = strconv.AppendInt(body, int64(number%7+1), 10)
			body = append(body, '}')
			number++
		}
		if batch > 1 {
			body = append(body, ']')
		}
		request = append(request[:0], "POST /v1/responses HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer "+token+"\r\nContent-Type: application/json\r\nContent-Length: "...)
		request = strconv.AppendInt(request, int64(len(body)), 10)
		request = append(append(request, "\r\n\r\n"...), body...)
		began := time.Now()
		if pace > 0 {
			if due = due.Add(time.Duration(rand.ExpFloat64() * float64(pace))); due.After(until) {
				break
			}
			time.Sleep(time.Until(due))
			began = due
		}
		if _, err := connection.Write(request); err != nil {
			return times, err
		}
		if err := answer(reader, batch); err != nil {
			return times, err
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}

// answer reads an answer and makes sure that all was accepted.
func answer(reader *bufio.Reader, accepted int) error {
	status, err := reader.ReadString('\n')
	if err != nil {
		return err
	}
	length := 0
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		text := strings.TrimSpace(string(line))
		if text == "" {
			break
		}
		if value, is := strings.CutPrefix(text, "Content-Length: "); is {
			if length, err = strconv.Atoi(value); err != nil {
				return err
			}
		}
	}
	body := make([]byte, length)
	for read := 0; read < length; {
		n, err := reader.Read(body[read:])
		if err != nil {
			return err
		}
		read += n
	}
	if !strings.Contains(status, " 202 ") || !strings.HasPrefix(string(body), fmt.Sprintf(`{"accepted":%d,`, accepted)) {
		return fmt.Errorf("the gateway answers %s %s", strings.TrimSpace(status), body)
	}
	return nil
}

func freeAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer listener.Close()
	return listener.Addr().String()
}
