package probe

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/publicsuffix"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/flows"
)

// Limits of what the other side may make us read or do.
const (
	maxRedirects = 10
	// maxHead is the size of an answer's status line and headers.
	maxHead = 256 << 10
	// maxHeaders is the number of an answer's headers.
	maxHeaders = 1000
	// maxBody is the size of an answer's body.
	maxBody = 1 << 20
	// maxInformational is the number of 1xx answers before the real one.
	maxInformational = 5
	// maxDrain is the size of a redirect's body up to which reading it is cheaper
	// than a new connection.
	maxDrain = 4 << 10
)

// httpAction makes an HTTP request, follows redirects, and reads what comes.
//
// A visit is one goroutine that reads and writes its own connection. net/http's
// Transport would add two goroutines and a pool per visit, and guess from error
// texts in which phase it failed; its request writer and answer parser serve here
// without it. The price is HTTP/1.1 only. Proxy variables of the environment are not
// read: a probe takes the way it is told to take.
type httpAction struct {
	*flows.Step
	tls    security
	method string
	// target, header, host and body are what is known before the run; target is nil
	// where the address or its query is not.
	target    *url.URL
	header    http.Header
	host      string
	body      string
	sensitive []string // names of headers whose values must not reach another host
}

// line is an open connection to one endpoint.
type line struct {
	endpoint endpoint
	conn     net.Conn
	release  func() bool
	*buffers
}

// endpoint is where a connection leads.
type endpoint struct {
	scheme, address, serverName string
	by                          *httpAction // whose trust it is, for TLS
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

func (c *Client) newHTTP(from *flows.Step, values Values, secure security) (*httpAction, error) {
	h := &httpAction{Step: from, tls: secure, method: from.HTTP.Method, header: c.header}
	if from.HTTP.Body != nil || len(from.HTTP.Headers) > 0 {
		h.header = c.header.Clone()
	}
	if from.HTTP.Body != nil {
		h.method = cmp.Or(h.method, http.MethodPost)
		h.header.Set("Content-Type", cmp.Or(from.HTTP.Body.ContentType, "application/json"))
		h.body = constant(from.Body, values)
	}
	h.method = cmp.Or(h.method, http.MethodGet)
	if !httpguts.ValidHeaderFieldName(h.method) || h.method == http.MethodConnect {
		return nil, fmt.Errorf("method %q cannot be used", h.method)
	}
	computed := from.URL.Expression != nil
	for _, parameter := range from.Query {
		computed = computed || parameter.Expression != nil
	}
	if !computed {
		var failed *failure
		if h.target, failed = h.address(func(value flows.Value) (string, *failure) { return constant(value, values), nil }); failed != nil {
			return nil, failed.err
		}
	}
	if len(from.HTTP.Headers) == 0 {
		return h, nil
	}
	// The first of a name replaces our own default, each further one is added.
	given := http.Header{}
	for i, header := range from.HTTP.Headers {
		value := from.Headers[i]
		if value.Sensitive() {
			h.sensitive = append(h.sensitive, header.Name)
		}
		if !httpguts.ValidHeaderFieldName(header.Name) {
			return nil, fmt.Errorf("header name %q is not valid", header.Name)
		}
		if value.Expression != nil {
			continue
		}
		text := constant(value, values)
		// The value is not repeated: it may be somebody's token after all.
		if !httpguts.ValidHeaderFieldValue(text) {
			return nil, fmt.Errorf("the value of header %s is not valid: it must be one line", header.Name)
		}
		given.Add(header.Name, text)
	}
	for name, values := range given {
		h.header[name] = values
	}
	h.host = h.header.Get("Host")
	h.header.Del("Host")
	if !httpguts.ValidHostHeader(h.host) {
		return nil, errors.New("the value of header Host is not valid")
	}
	return h, nil
}

// address puts the address together from its parts.
func (h *httpAction) address(text func(flows.Value) (string, *failure)) (*url.URL, *failure) {
	written, failed := text(h.URL)
	if failed != nil {
		return nil, failed
	}
	target, err := url.Parse(written)
	if err == nil {
		err = checkTarget(target)
	}
	if err != nil {
		if h.URL.Sensitive() {
			err = errors.New("it is not a usable http or https address")
		} else if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, failf(ReasonConfig, "url: %w", err)
	}
	if len(h.Query) == 0 {
		return target, nil
	}
	query := make([]string, 0, len(h.Query)+1)
	if target.RawQuery != "" {
		query = append(query, target.RawQuery)
	}
	for i, parameter := range h.HTTP.Query {
		value, failed := text(h.Query[i])
		if failed != nil {
			return nil, failed
		}
		query = append(query, url.QueryEscape(parameter.Name)+"="+url.QueryEscape(value))
	}
	target.RawQuery = strings.Join(query, "&")
	return target, nil
}

// checkTarget says whether an address can be visited.
func checkTarget(target *url.URL) error {
	switch {
	case target.Scheme != "http" && target.Scheme != "https":
		return fmt.Errorf("scheme %q is neither http nor https", target.Scheme)
	case target.Hostname() == "":
		return errors.New("there is no host")
	case target.User != nil:
		return errors.New("there must be no user name or password: send the header Authorization")
	}
	if port := target.Port(); port != "" {
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return fmt.Errorf("port %s is not between 1 and 65535", port)
		}
	}
	if _, err := httpguts.PunycodeHostPort(target.Host); err != nil {
		return fmt.Errorf("host %q: %w", target.Host, err)
	}
	return nil
}

// request puts together what is asked first.
func (h *httpAction) request(r *run) (*http.Request, *failure) {
	request := &http.Request{
		Method: h.method, URL: h.target, Host: h.host, Header: h.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	var failed *failure
	if request.URL == nil {
		if request.URL, failed = h.address(r.textOf); failed != nil {
			return nil, failed
		}
	}
	owned := false
	for i, header := range h.Headers {
		if header.Expression == nil {
			continue
		}
		text, failed := r.text(header)
		if failed != nil {
			return nil, failed
		}
		name := h.HTTP.Headers[i].Name
		if !httpguts.ValidHeaderFieldValue(text) {
			return nil, failf(ReasonAssertion, "the value of header %s is not valid: it must be one line", name)
		}
		if strings.EqualFold(name, "Host") {
			request.Host = text
			continue
		}
		if !owned {
			request.Header, owned = h.header.Clone(), true
		}
		request.Header.Set(name, text)
	}
	if h.HTTP.Body == nil {
		return request, nil
	}
	body := h.body
	if h.Body.Expression != nil {
		if body, failed = r.text(h.Body); failed != nil {
			return nil, failed
		}
	}
	request.ContentLength = int64(len(body))
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
	return request, nil
}

// textOf finds a value, whatever it is, in a run.
func (r *run) textOf(value flows.Value) (string, *failure) {
	switch {
	case value.Expression != nil:
		return r.text(value)
	case value.Reference != nil:
		return r.probe.values[*value.Reference], nil
	}
	return value.Literal, nil
}

func (h *httpAction) make(r *run, a *answer) *failure {
	failed := h.visit(r, a)
	if failed != nil {
		// What is left of an answer must not be taken for the next one.
		r.hangUp()
	}
	return failed
}

func (h *httpAction) visit(r *run, a *answer) *failure {
	request, failed := h.request(r)
	if failed != nil {
		return failed
	}
	if r.line != nil {
		// A step before left its connection open, as a browser does.
		r.line.conn.SetDeadline(r.deadline)
		if r.ctx.Err() != nil {
			return &failure{ReasonConnect, r.ctx.Err()}
		}
	}
	origin := request.URL
	for redirects := 0; ; redirects++ {
		response, failed := h.ask(r, a, request, sameOrigin(origin, request.URL))
		if failed != nil {
			return failed
		}
		a.status, a.header = response.StatusCode, response.Header
		r.keepCookies(request, response)
		location := redirectLocation(response)
		if location == "" || h.HTTP.Redirects == v1alpha1.RedirectsNever {
			return h.read(r, a, response)
		}
		if redirects == maxRedirects {
			return failf(ReasonRedirect, "more than %d redirects", maxRedirects)
		}
		if request, failed = h.follow(request, response.StatusCode, location); failed != nil {
			return failed
		}
		r.settle(response)
	}
}

// ask sends a request and reads the head of the answer.
func (h *httpAction) ask(r *run, a *answer, request *http.Request, home bool) (*http.Response, *failure) {
	for {
		reused, failed := h.connect(r, a, request, home)
		if failed != nil {
			return nil, failed
		}
		response, failed := r.exchange(a, r.withCookies(request))
		if failed != nil && failed.reason == ReasonConnect && reused && r.ctx.Err() == nil && time.Now().Before(r.deadline) {
			// The server closed an idle connection while we were about to use it.
			// That is its right, and a browser would not show it either.
			r.hangUp()
			continue
		}
		return response, failed
	}
}

// connect makes sure that the open connection leads to the request's endpoint.
func (h *httpAction) connect(r *run, a *answer, request *http.Request, home bool) (reused bool, _ *failure) {
	target := request.URL
	// checkTarget has seen the host.
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
	secure := &h.tls
	if !home {
		secure = secure.strange()
	}
	endpoint := endpoint{target.Scheme, address, serverName, nil}
	if target.Scheme == "https" {
		// What one step trusts is not what another does.
		endpoint.by = h
	}
	if r.line != nil && r.line.endpoint == endpoint {
		return true, nil
	}
	r.hangUp()

	conn, failed := r.dial("tcp", address, a)
	if failed != nil {
		return false, failed
	}
	raw := conn
	r.line = &line{
		endpoint: endpoint, conn: conn, buffers: pool.Get().(*buffers),
		release: context.AfterFunc(r.ctx, func() { raw.SetDeadline(time.Unix(1, 0)) }),
	}
	if target.Scheme == "https" {
		encrypted, failed := handshake(conn, secure.config(serverName, "http/1.1"), a)
		r.line.conn = encrypted
		if failed != nil {
			return false, failed
		}
	}
	r.line.meter = meter{from: r.line.conn}
	r.line.reader.Reset(&r.line.meter)
	r.line.writer.Reset(r.line.conn)
	return false, nil
}

// exchange writes a request and reads the head of the answer to it.
func (r *run) exchange(a *answer, request *http.Request) (*http.Response, *failure) {
	r.line.meter.left = maxHead
	begin := time.Now()
	if request.GetBody != nil {
		request.Body, _ = request.GetBody()
	}
	err := request.Write(r.line.writer)
	if err == nil {
		err = r.line.writer.Flush()
	}
	if err != nil {
		return nil, &failure{ReasonConnect, err}
	}
	for i := range maxInformational {
		_, err := r.line.reader.Peek(1)
		if i == 0 {
			a.phases[PhaseFirstByte] += time.Since(begin)
		}
		if err != nil {
			// With TLS 1.3 a server refuses us only after our handshake is done.
			if operation := (*net.OpError)(nil); errors.As(err, &operation) && operation.Op == "remote error" {
				return nil, &failure{ReasonTLS, err}
			}
			return nil, failf(ReasonConnect, "the connection ended before an answer: %w", err)
		}
		response, err := http.ReadResponse(r.line.reader, request)
		switch {
		case err == nil && (response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols):
			if len(response.Header) > maxHeaders {
				return nil, failf(ReasonStatus, "the answer has more than %d headers", maxHeaders)
			}
			// The framing of a body may cost as much again as a head.
			r.line.meter.left = maxBody + maxHead
			return response, nil
		case err == nil:
			continue
		case r.line.meter.broken:
			return nil, failf(ReasonConnect, "the connection broke within the answer's headers: %w", err)
		case r.line.meter.left <= 0:
			return nil, failf(ReasonStatus, "the answer's headers exceed %d bytes", maxHead)
		default:
			// The cause may quote what it could not read.
			return nil, failf(ReasonStatus, "the answer is not HTTP")
		}
	}
	return nil, failf(ReasonStatus, "more than %d informational answers", maxInformational)
}

// read looks at the status of the last answer and reads its body to the end.
func (h *httpAction) read(r *run, a *answer, response *http.Response) *failure {
	begin := time.Now()
	defer func() { a.phases[PhaseTransfer] += time.Since(begin) }()
	expected := h.HTTP.ExpectedStatuses
	switch status := response.StatusCode; {
	case len(expected) == 0 && status >= 200 && status <= 299:
	case slices.Contains(expected, int32(status)):
	case len(expected) == 0:
		return failf(ReasonStatus, "status %d, expected 200 to 299", status)
	default:
		return failf(ReasonStatus, "status %d, expected one of %d", status, expected)
	}
	if response.ContentLength > maxBody && response.Request.Method != http.MethodHead {
		return failf(ReasonBody, "a body of %d bytes is larger than the %d that are read", response.ContentLength, maxBody)
	}
	from := io.Reader(response.Body)
	if strings.EqualFold(response.Header.Get("Content-Encoding"), "gzip") && response.Request.Method != http.MethodHead && response.ContentLength != 0 {
		unpacked, err := gzip.NewReader(response.Body)
		if err != nil {
			return failf(ReasonBody, "the body is not the gzip that it is said to be: %w", err)
		}
		from = unpacked
	}
	from = io.LimitReader(from, maxBody+1)
	var read int64
	var err error
	if h.ReadsBody {
		var kept bytes.Buffer
		if response.ContentLength > 0 {
			kept.Grow(int(response.ContentLength) + bytes.MinRead)
		}
		read, err = kept.ReadFrom(from)
		a.body = kept.Bytes()
	} else {
		read, err = io.Copy(io.Discard, from)
	}
	switch {
	case err != nil:
		return failf(ReasonBody, "after %d bytes of the body: %w", read, err)
	case read > maxBody:
		return failf(ReasonBody, "the body is larger than the %d bytes that are read", maxBody)
	}
	if response.Close {
		r.hangUp()
	}
	return nil
}

// settle makes the connection ready for the next request of this visit, as a
// browser reuses it when a redirect stays on the same host, or ends it where that
// costs more than it saves.
func (r *run) settle(response *http.Response) {
	short := response.Request.Method == http.MethodHead || response.ContentLength >= 0 && response.ContentLength <= maxDrain
	if response.Close || !short {
		r.hangUp()
	} else if _, err := io.Copy(io.Discard, response.Body); err != nil {
		r.hangUp()
	}
}

// hangUp ends the open connection, if there is one.
func (r *run) hangUp() {
	if r.line == nil {
		return
	}
	r.line.release()
	r.line.conn.Close()
	buffers := r.line.buffers
	buffers.meter = meter{}
	buffers.writer.Reset(nil)
	pool.Put(buffers)
	r.line = nil
}

// keepCookies remembers the cookies of an answer for the rest of the visit.
func (r *run) keepCookies(request *http.Request, response *http.Response) {
	if _, has := response.Header["Set-Cookie"]; !has {
		return
	}
	if r.jar == nil {
		r.jar, _ = cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	}
	cookies := response.Cookies()
	for _, cookie := range cookies {
		// Shorter ones prove nothing, and would make every number unreadable.
		if len(cookie.Value) >= 8 {
			r.hide(cookie.Value)
		}
	}
	r.jar.SetCookies(asSeen(request), cookies)
}

// withCookies adds to a request the cookies that were set for its host.
func (r *run) withCookies(request *http.Request) *http.Request {
	if r.jar == nil {
		return request
	}
	cookies := r.jar.Cookies(asSeen(request))
	if len(cookies) == 0 {
		return request
	}
	with := *request
	with.Header = request.Header.Clone()
	for _, cookie := range cookies {
		with.AddCookie(cookie)
	}
	return &with
}

// asSeen is the address as customers of the request's host would see it.
func asSeen(request *http.Request) *url.URL {
	seen := *request.URL
	seen.Host = cmp.Or(request.Host, seen.Host)
	return &seen
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
func (h *httpAction) follow(from *http.Request, status int, location string) (*http.Request, *failure) {
	target, err := from.URL.Parse(location)
	if err == nil {
		err = checkTarget(target)
	}
	if err != nil {
		// The address is not repeated: servers put tokens there.
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, failf(ReasonRedirect, "the redirect leads nowhere: %w", err)
	}
	next := *from
	next.URL = target
	if parsed, _ := url.Parse(location); parsed != nil && parsed.Host != "" {
		// Only a redirect that names no host stays with the one we pretend to ask.
		next.Host = ""
	}
	switch {
	case from.Method == http.MethodHead:
	case status == http.StatusSeeOther, from.Method == http.MethodPost && (status == http.StatusMovedPermanently || status == http.StatusFound):
		next.Method, next.Body, next.GetBody, next.ContentLength = http.MethodGet, nil, nil, 0
		if from.GetBody != nil {
			next.Header = next.Header.Clone()
			next.Header.Del("Content-Type")
		}
	}
	if sameOrigin(asSeen(from), asSeen(&next)) {
		return &next, nil
	}
	if h.HTTP.Redirects == v1alpha1.RedirectsSameHost {
		return nil, failf(ReasonRedirect, "the redirect leads to another host, %s", target.Host)
	}
	// What proves who we are to one host is none of another's business. A header
	// once dropped stays dropped, even if a later redirect leads back.
	next.Header = next.Header.Clone()
	for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization", "Www-Authenticate"} {
		next.Header.Del(name)
	}
	for _, name := range h.sensitive {
		next.Header.Del(name)
	}
	if next.GetBody != nil && h.Body.Sensitive() {
		return nil, failf(ReasonRedirect, "the redirect would take the body, which holds a secret, to another host, %s", target.Host)
	}
	return &next, nil
}

// sameOrigin says whether two addresses are of one host and port. Going over to TLS
// on the usual ports is no change of host; leaving it is.
func sameOrigin(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	if from.Scheme == to.Scheme {
		return port(from) == port(to)
	}
	return to.Scheme == "https" && port(from) == "80" && port(to) == "443"
}

func port(target *url.URL) string {
	if port := target.Port(); port != "" {
		return port
	}
	return map[string]string{"http": "80", "https": "443"}[target.Scheme]
}

// hostname cuts the port off a host and writes it as names are compared.
func hostname(host string) string {
	return strings.ToLower((&url.URL{Host: host}).Hostname())
}
