package backtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Prometheus is where samples come from: a Prometheus, or what answers as one (Thanos,
// Mimir, VictoriaMetrics).
type Prometheus struct {
	// URL is its address, to which /api/v1/… is added.
	URL string
	// Client sends the requests, with whatever proves who asks.
	Client *http.Client
	// Timeout is how long one answer may take; 0: two minutes.
	Timeout time.Duration
	// QueriesOnly: remote read is not tried.
	QueriesOnly bool
}

// troubleError is an error whose text says what to do.
type troubleError struct {
	text string
	// smaller: a smaller part of the time may be had.
	smaller bool
	// elsewhere: the same may be had in another way.
	elsewhere bool
}

func (e troubleError) Error() string { return e.text }

// post sends a request and returns the answer if its status is 200.
func (p *Prometheus) post(ctx context.Context, path string, body string, headers map[string]string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(p.URL, "/")+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "kubectl-journey")
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := p.Client.Do(request)
	if err != nil {
		return nil, p.unsent(ctx, err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	return nil, p.refused(response)
}

// unsent explains why there is no answer.
func (p *Prometheus) unsent(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	var slow net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.Timeout() {
		return troubleError{smaller: true, text: fmt.Sprintf(
			"Prometheus at %s takes longer than %v to answer: ask for less by a shorter --since or narrower files, or for longer by --timeout", p.URL, p.timeout())}
	}
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	return troubleError{text: fmt.Sprintf(
		"Prometheus at %s cannot be reached: %v; see --prometheus-url. One in the cluster can be reached by kubectl port-forward", p.URL, err)}
}

func (p *Prometheus) timeout() time.Duration {
	if p.Timeout == 0 {
		return 2 * time.Minute
	}
	return p.Timeout
}

// refused explains an answer that is none.
func (p *Prometheus) refused(response *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
	var told struct {
		ErrorType string `json:"errorType"`
		Error     string `json:"error"`
	}
	said := strings.TrimSpace(string(text))
	if json.Unmarshal(text, &told) == nil && told.Error != "" {
		said = told.Error
	}
	if len(said) > 300 || strings.HasPrefix(said, "<") {
		said = ""
	}
	if said != "" {
		said = ": " + said
	}
	about := fmt.Sprintf("Prometheus at %s answers %s%s", p.URL, response.Status, said)
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized:
		return troubleError{text: about + "; say who you are by --prometheus-bearer-token-file or --prometheus-client-cert-file"}
	case code == http.StatusForbidden:
		return troubleError{elsewhere: true, text: about + "; it knows you but does not let you read: see --prometheus-bearer-token-file and --prometheus-tenant"}
	case code == http.StatusNotFound, code == http.StatusMethodNotAllowed:
		return troubleError{elsewhere: true, text: about + "; is --prometheus-url complete? The path before /api/v1 belongs to it"}
	case code == http.StatusUnprocessableEntity, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout,
		code == http.StatusRequestEntityTooLarge, code == http.StatusTooManyRequests, code == http.StatusInternalServerError:
		return troubleError{elsewhere: true, smaller: true, text: about + "; ask for less by a shorter --since or narrower files"}
	default:
		return troubleError{elsewhere: true, text: about}
	}
}
