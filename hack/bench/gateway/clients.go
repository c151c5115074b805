package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// result is what one load came to.
type result struct {
	rate     float64 // responses a second
	p50, p99 time.Duration
}

// measure starts a gateway, has clients send as fast as they get answers, and makes
// sure that the gateway counts what it acknowledged. database is empty for SQLite.
func (c *cluster) measure(ctx context.Context, folder, database string, load load, duration time.Duration) (result, error) {
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
	r, sent, err := send(g.responses, load, duration)
	if err != nil {
		return result{}, fmt.Errorf("%w; %w", err, g.stop())
	}
	after, err := g.total()
	if err != nil {
		return result{}, err
	}
	if after-before != float64(sent) {
		return result{}, fmt.Errorf("%d acknowledged, %v counted", sent, after-before)
	}
	return r, g.stop()
}

func send(address string, load load, duration time.Duration) (r result, sent int, err error) {
	var lock sync.Mutex
	var times []time.Duration
	var group sync.WaitGroup
	run := time.Now().UnixNano()
	began := time.Now()
	for number := range load.clients {
		group.Go(func() {
			mine, failure := one(address, load.batch, fmt.Sprintf("%x-%d", run, number), began.Add(duration))
			lock.Lock()
			defer lock.Unlock()
			times = append(times, mine...)
			if failure != nil {
				err = failure
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	if err != nil || len(times) == 0 {
		return r, 0, fmt.Errorf("%d requests answered: %w", len(times), err)
	}
	slices.Sort(times)
	sent = len(times) * load.batch
	return result{rate: float64(sent) / took.Seconds(), p50: times[len(times)/2], p99: times[len(times)*99/100]}, sent, nil
}

// one is a client on one connection. It is as plain as HTTP/1.1 allows: a client with
// comforts would take more of the machine than the gateway that is measured.
func one(address string, batch int, name string, until time.Time) (times []time.Duration, err error) {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	reader := bufio.NewReader(connection)
	var request, body []byte
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
