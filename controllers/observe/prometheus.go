package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/types"
)

// Options say which Prometheus is asked, and as whom.
type Options struct {
	// URL is the address of a Prometheus, or of what answers as one (Thanos, Mimir);
	// empty: nothing is observed.
	URL string
	// BearerTokenFile holds the token that is sent along. It is read again for every
	// question.
	BearerTokenFile string
	// CAFile, ClientCertFile and ClientKeyFile are in PEM. They are read again when they
	// change.
	CAFile, ClientCertFile, ClientKeyFile string
	// Tenant is sent as X-Scope-OrgID.
	Tenant string
	// Interval is the time from one round of questions to the next; 0: 30 s.
	Interval time.Duration
	// Standing is how long a complaint stands after it was last written; 0: a minute more
	// than the time from one writing to the next.
	Standing time.Duration
	// Patience is how long Prometheus may be away before objects tell; 0: two minutes.
	Patience time.Duration
	// Namespaces are those of which is asked; none: all.
	Namespaces []string
	// Everybody lists those who get news of a topic: all of them are told when Prometheus
	// stops answering, and when it begins.
	Everybody func(context.Context, Topic) ([]types.NamespacedName, error)
}

const (
	shortestInterval = time.Second
	// answerTimeout and mostAnswered bound what a single answer may take. A complaint is
	// about 300 bytes.
	answerTimeout = 10 * time.Second
	mostAnswered  = 16 << 20
)

// Validate says what is wrong with options, by the flags of the manager.
func (o Options) Validate() error {
	if o.URL == "" {
		return nil
	}
	address, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return errors.New("--prometheus-url cannot be read: write an address such as http://prometheus.monitoring.svc:9090")
	case address.User != nil:
		return errors.New("--prometheus-url holds a user name or password, which would be readable by everybody: use --prometheus-bearer-token-file")
	case address.Scheme != "http" && address.Scheme != "https", address.Host == "":
		return fmt.Errorf("--prometheus-url %q is no http or https address: write one such as http://prometheus.monitoring.svc:9090", o.URL)
	case address.RawQuery != "", address.Fragment != "":
		return errors.New("--prometheus-url has a query or a fragment: write only address and path")
	case (o.ClientCertFile == "") != (o.ClientKeyFile == ""):
		return errors.New("--prometheus-client-cert-file and --prometheus-client-key-file belong together: set both or neither")
	case o.Interval != 0 && o.Interval < shortestInterval:
		return fmt.Errorf("--observe-interval %v is too short: at least %v", o.Interval, shortestInterval)
	}
	return nil
}

// prometheus asks a Prometheus.
type prometheus struct{ api promv1.API }

func newPrometheus(o Options) (*prometheus, error) {
	client, err := o.HTTPClient("sojourn-manager")
	if err != nil {
		return nil, err
	}
	asked, err := API(o.URL, client)
	if err != nil {
		return nil, err
	}
	return &prometheus{asked}, nil
}

// HTTPClient is who asks Prometheus, and in the name of which program.
func (o Options) HTTPClient(program string) (*http.Client, error) {
	config := promconfig.HTTPClientConfig{
		EnableHTTP2: true,
		// The token is for this address and no other.
		FollowRedirects: false,
		TLSConfig:       promconfig.TLSConfig{CAFile: o.CAFile, CertFile: o.ClientCertFile, KeyFile: o.ClientKeyFile},
	}
	if o.BearerTokenFile != "" {
		config.Authorization = &promconfig.Authorization{Type: "Bearer", CredentialsFile: o.BearerTokenFile}
	}
	if o.Tenant != "" {
		config.HTTPHeaders = &promconfig.Headers{Headers: map[string]promconfig.Header{"X-Scope-OrgID": {Values: []string{o.Tenant}}}}
	}
	client, err := promconfig.NewClientFromConfig(config, "sojourn", promconfig.WithUserAgent(program))
	if err != nil {
		return nil, fmt.Errorf("--prometheus-ca-file or --prometheus-client-cert-file: %w", err)
	}
	return client, nil
}

// API puts questions to the Prometheus at an address through a client, and ends answers that
// are too large.
func API(address string, client *http.Client) (promv1.API, error) {
	within := *client
	within.Transport = bounded{cmp.Or(client.Transport, http.DefaultTransport)}
	asked, err := api.NewClient(api.Config{Address: address, Client: &within})
	if err != nil {
		return nil, err
	}
	return promv1.NewAPI(asked), nil
}

// vector evaluates an expression now. The error is a failure.
func (p *prometheus) vector(ctx context.Context, expr string) (model.Vector, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	value, warnings, _, err := p.api.Query(ctx, expr, time.Now(), promv1.WithTimeout(answerTimeout))
	if err != nil {
		return nil, failure{reasonOf(err), err}
	}
	if len(warnings) > 0 {
		// What is missing would look like what is well.
		return nil, failure{reasonPartial, fmt.Errorf("the answer may lack something: %s", warnings[0])}
	}
	vector, is := value.(model.Vector)
	if !is {
		return nil, failure{reasonNonsense, fmt.Errorf("the answer is a %s, not a vector", value.Type())}
	}
	return vector, nil
}

// failure is an error and its reason, as the metric of failures has it.
type failure struct {
	reason string
	error
}

const (
	reasonUnreachable = "unreachable"
	reasonTimeout     = "timeout"
	reasonRefused     = "refused"
	reasonServerError = "server_error"
	reasonTooLarge    = "too_large"
	reasonPartial     = "partial"
	reasonNonsense    = "nonsense"
)

var reasons = []string{reasonUnreachable, reasonTimeout, reasonRefused, reasonServerError, reasonTooLarge, reasonPartial, reasonNonsense}

func reasonOf(err error) string {
	var answered *promv1.Error
	switch {
	case errors.Is(err, errTooLarge):
		return reasonTooLarge
	case errors.Is(err, context.DeadlineExceeded):
		return reasonTimeout
	case errors.As(err, &answered):
		switch answered.Type {
		case promv1.ErrTimeout, promv1.ErrCanceled:
			return reasonTimeout
		case promv1.ErrClient, promv1.ErrBadData:
			return reasonRefused
		case promv1.ErrBadResponse:
			return reasonNonsense
		default:
			return reasonServerError
		}
	}
	var unsent *url.Error
	if errors.As(err, &unsent) {
		return reasonUnreachable
	}
	return reasonNonsense // what was sent is no JSON of an answer
}

var errTooLarge = fmt.Errorf("the answer is larger than %d MiB", mostAnswered>>20)

// bounded ends answers that are too large.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(request)
	if response != nil && response.Body != nil {
		response.Body = &boundedBody{response.Body, mostAnswered}
	}
	return response, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if b.left -= n; b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// interval is the time from one round to the next after some failures in a row.
func (o Options) interval(failures int) time.Duration {
	const slowest = 5 * time.Minute
	interval := cmp.Or(o.Interval, 30*time.Second)
	for range failures {
		if interval >= slowest {
			break
		}
		interval = min(2*interval, slowest)
	}
	return interval
}
