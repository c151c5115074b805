package probe

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Limits of what the other side may make us read or do.
const (
	maxRedirects = 10
	// maxHead is the size of an answer's status line and headers.
	maxHead = 1 << 20
	// maxBody is the size of an answer's body.
	maxBody = 10 << 20
	// maxInformational is the number of 1xx answers before the real one.
	maxInformational = 5
	// maxDrain is the size of a redirect's body up to which reading it is cheaper
	// than a new connection.
	maxDrain = 4 << 10
)

// Run makes one visit and returns when it is over, at the latest after the
// probe's timeout. Calling ctx off ends it at once, with an empty outcome.
//
// A visit is one goroutine that reads and writes its own connection. net/http's
// Transport would add two goroutines and a pool per visit, and guess from error
// texts in which phase it failed; its request writer and answer parser serve
// here without it. The price is HTTP/1.1 only. Proxy variables of the
// environment are not read: a probe takes the way it is told to take.
func (p *Probe) Run(ctx context.Context) Result {
	start := time.Now()
	limited, cancel := context.WithDeadline(ctx, start.Add(p.timeout))
	defer cancel()
	v := visit{probe: p, ctx: limited, deadline: start.Add(p.timeout)}
	failed := v.run()
	elapsed := time.Since(start)
	v.hangUp()

	switch {
	case ctx.Err() != nil:
		return Result{}
	case failed == nil:
		return Result{Outcome: OutcomeSuccess, Duration: elapsed}
	// The connection's deadline may strike a moment before the context's.
	case limited.Err() != nil || errors.Is(failed.err, os.ErrDeadlineExceeded):
		return Result{Outcome: OutcomeFailure, Reason: ReasonTimeout, Duration: elapsed,
			Detail: fmt.Sprintf("not over after %s: %v", p.timeout, failed.err)}
	}
	return Result{Outcome: OutcomeFailure, Reason: failed.reason, Detail: failed.err.Error(), Duration: elapsed}
}

// failure is why a visit did not succeed.
type failure struct {
	reason Reason
	err    error
}

func failf(reason Reason, format string, args ...any) *failure {
	return &failure{reason, fmt.Errorf(format, args...)}
}

// visit is the state of one run: at most one open connection.
type visit struct {
	probe    *Probe
	ctx      context.Context
	deadline time.Time
	line     *line
}

// line is an open connection to one endpoint.
type line struct {
	endpoint string
	conn     net.Conn
	release  func() bool
	*buffers
}

// buffers are what a connection needs to read and write; they are lent by a pool.
type buffers struct {
	reader *bufio.Reader
	writer *bufio.Writer
	meter  meter
}

var pool = sync.Pool{New: func() any {
	b := &buffers{writer: bufio.NewWriterSize(nil, 2<<10)}
	b.reader = bufio.NewReaderSize(&b.meter, 4<<10)
	return b
}}

// meter ends a stream that exceeds what we are willing to read. http.ReadResponse
// itself would take headers without end.
type meter struct {
	from   io.Reader
	left   int64
	broken bool // the other side sends no more
}

var errTooLarge = errors.New("the answer is larger than the prober reads")

func (m *meter) Read(b []byte) (int, error) {
	if m.left <= 0 {
		return 0, errTooLarge
	}
	n, err := m.from.Read(b[:min(int64(len(b)), m.left)])
	m.left -= int64(n)
	m.broken = err != nil
	return n, err
}

func (v *visit) run() *failure {
	p := v.probe
	request := &http.Request{
		Method: p.method, URL: p.target, Host: p.host, Header: p.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	for redirects := 0; ; redirects++ {
		response, failed := v.ask(request)
		if failed != nil {
			return failed
		}
		location := redirectLocation(response)
		if location == "" {
			return v.judge(response)
		}
		if redirects == maxRedirects {
			return failf(ReasonRedirect, "more than %d redirects, the last to %s", maxRedirects, location)
		}
		if request, failed = follow(request, location); failed != nil {
			return failed
		}
		v.settle(response)
	}
}

// ask sends a request and reads the head of the answer.
func (v *visit) ask(request *http.Request) (*http.Response, *failure) {
	for {
		reused, failed := v.connect(request)
		if failed != nil {
			return nil, failed
		}
		response, failed := v.exchange(request)
		if failed != nil && failed.reason == ReasonConnect && reused && v.ctx.Err() == nil {
			// The server closed an idle connection while we were about to use it.
			// That is its right, and a browser would not show it either.
			v.hangUp()
			continue
		}
		return response, failed
	}
}

// connect makes sure that the open connection leads to the request's endpoint.
func (v *visit) connect(request *http.Request) (reused bool, _ *failure) {
	target := request.URL
	// New and follow have checked the host.
	host, _ := httpguts.PunycodeHostPort(target.Hostname())
	port := target.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[target.Scheme]
	}
	address := net.JoinHostPort(host, port)
	serverName := host
	if request.Host != "" {
		serverName = hostname(request.Host)
	}
	endpoint := target.Scheme + " " + address + " " + serverName
	if v.line != nil && v.line.endpoint == endpoint {
		return true, nil
	}
	v.hangUp()

	conn, err := v.probe.client.dialer.DialContext(v.ctx, "tcp", address)
	if err != nil {
		if lookup := (*net.DNSError)(nil); errors.As(err, &lookup) {
			return false, &failure{ReasonDNS, err}
		}
		return false, &failure{ReasonConnect, err}
	}
	// From here on the deadline lies with the connection itself, so that no phase,
	// present or future, can forget it.
	conn.SetDeadline(v.deadline)
	raw := conn
	v.line = &line{
		endpoint: endpoint, conn: conn, buffers: pool.Get().(*buffers),
		release: context.AfterFunc(v.ctx, func() { raw.SetDeadline(time.Unix(1, 0)) }),
	}
	if target.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{
			ServerName: serverName,
			RootCAs:    v.probe.client.roots,
			NextProtos: []string{"http/1.1"},
		})
		v.line.conn = secure
		if err := secure.Handshake(); err != nil {
			return false, &failure{ReasonTLS, err}
		}
	}
	v.line.meter = meter{from: v.line.conn}
	v.line.reader.Reset(&v.line.meter)
	v.line.writer.Reset(v.line.conn)
	return false, nil
}

// exchange writes a request and reads the head of the answer to it.
func (v *visit) exchange(request *http.Request) (*http.Response, *failure) {
	v.line.meter.left = maxHead
	err := request.Write(v.line.writer)
	if err == nil {
		err = v.line.writer.Flush()
	}
	if err != nil {
		return nil, &failure{ReasonConnect, err}
	}
	for range maxInformational {
		if _, err := v.line.reader.Peek(1); err != nil {
			// With TLS 1.3 a server refuses us only after our handshake is done.
			if operation := (*net.OpError)(nil); errors.As(err, &operation) && operation.Op == "remote error" {
				return nil, &failure{ReasonTLS, err}
			}
			return nil, failf(ReasonConnect, "the connection ended before an answer: %w", err)
		}
		response, err := http.ReadResponse(v.line.reader, request)
		switch {
		case err == nil && (response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols):
			// The framing of a body may cost as much again as a head.
			v.line.meter.left = maxBody + maxHead
			return response, nil
		case err == nil:
			continue
		case v.line.meter.broken:
			return nil, failf(ReasonConnect, "the connection broke within the answer's headers: %w", err)
		default:
			return nil, failf(ReasonStatus, "no usable answer: %w", err)
		}
	}
	return nil, failf(ReasonStatus, "more than %d informational answers", maxInformational)
}

// judge looks at the last answer and reads its body to the end.
func (v *visit) judge(response *http.Response) *failure {
	expected := v.probe.expected
	switch status := response.StatusCode; {
	case len(expected) == 0 && status >= 200 && status <= 299:
	case slices.Contains(expected, int32(status)):
	case len(expected) == 0:
		return failf(ReasonStatus, "status %d, expected 200 to 299", status)
	default:
		return failf(ReasonStatus, "status %d, expected one of %d", status, expected)
	}
	if response.ContentLength > maxBody && v.probe.method != http.MethodHead {
		return failf(ReasonBody, "a body of %d bytes is larger than the %d that are read", response.ContentLength, maxBody)
	}
	read, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxBody+1))
	switch {
	case err != nil:
		return failf(ReasonBody, "after %d bytes of the body: %w", read, err)
	case read > maxBody:
		return failf(ReasonBody, "the body is larger than the %d bytes that are read", maxBody)
	}
	return nil
}

// settle makes the connection ready for the next request of this visit, as a
// browser reuses it when a redirect stays on the same host, or ends it where that
// costs more than it saves.
func (v *visit) settle(response *http.Response) {
	short := v.probe.method == http.MethodHead || response.ContentLength >= 0 && response.ContentLength <= maxDrain
	if response.Close || !short {
		v.hangUp()
	} else if _, err := io.Copy(io.Discard, response.Body); err != nil {
		v.hangUp()
	}
}

// hangUp ends the open connection, if there is one.
func (v *visit) hangUp() {
	if v.line == nil {
		return
	}
	v.line.release()
	v.line.conn.Close()
	buffers := v.line.buffers
	buffers.meter = meter{}
	buffers.writer.Reset(nil)
	pool.Put(buffers)
	v.line = nil
}

func redirectLocation(response *http.Response) string {
	switch response.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return response.Header.Get("Location")
	}
	return ""
}

// follow makes the request that a redirect asks for.
func follow(from *http.Request, location string) (*http.Request, *failure) {
	target, err := from.URL.Parse(location)
	if err == nil {
		err = checkTarget(target)
	}
	if err != nil {
		return nil, failf(ReasonRedirect, "redirect to %q: %w", location, err)
	}
	next := *from
	next.URL = target
	if parsed, _ := url.Parse(location); parsed != nil && parsed.Host != "" {
		// Only a redirect that names no host stays with the one we pretend to ask.
		next.Host = ""
	}
	before := hostname(cmp.Or(from.Host, from.URL.Host))
	after := hostname(cmp.Or(next.Host, target.Host))
	if before != after || from.URL.Scheme == "https" && target.Scheme == "http" {
		// What proves who we are to one host is none of another's business. A header
		// once dropped stays dropped, even if a later redirect leads back.
		next.Header = from.Header.Clone()
		for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization", "Www-Authenticate"} {
			next.Header.Del(name)
		}
	}
	return &next, nil
}

// hostname cuts the port off a host and writes it as names are compared.
func hostname(host string) string {
	return strings.ToLower((&url.URL{Host: host}).Hostname())
}
