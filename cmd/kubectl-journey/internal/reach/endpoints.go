package reach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// EndpointsName is the ConfigMap that names where Prometheus and the gateway are.
	EndpointsName = "sojourn-endpoints"
	// patience is how long any of those whom a map can do without is waited for.
	patience = 3 * time.Second
	// rereadEndpoints is how long what the ConfigMap said is taken for true.
	rereadEndpoints = 30 * time.Second
)

// Keys of the ConfigMap.
const (
	keyPrometheus       = "prometheus"
	keyPrometheusTenant = "prometheusTenant"
	keyGateway          = "gateway"
)

// endpoint is where a service answers, and through which client.
type endpoint struct {
	url    string
	client *http.Client
	// through is the Service that the API server passes questions on to; nil: it is asked
	// directly.
	through *service
}

// service is a port of a Service.
type service struct{ namespace, name, port, scheme string }

// resource is the service's name as rights to its proxy name it.
func (s *service) resource() string {
	name := s.name + ":" + s.port
	if s.scheme == "https" {
		name = "https:" + name
	}
	return name
}

// serviceOf reads the address of a Service in the cluster; nil if it is another address.
func serviceOf(address *url.URL) *service {
	host := strings.TrimSuffix(address.Hostname(), ".")
	host = strings.TrimSuffix(strings.TrimSuffix(host, ".cluster.local"), ".svc")
	if host == address.Hostname() {
		return nil
	}
	parts := strings.Split(host, ".")
	if len(parts) != 2 || parts[0] == "" || parts[1] == "" {
		return nil
	}
	port := address.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[address.Scheme]
	}
	return &service{namespace: parts[1], name: parts[0], port: port, scheme: address.Scheme}
}

// endpoints finds out where services are, and how to get there.
type endpoints struct {
	options Options
	reader  client.Client
	// host is the API server's address, and proxy a client with the caller's rights.
	host  *url.URL
	proxy *http.Client

	mu   sync.Mutex
	read time.Time
	data map[string]string
	// missing says why there is no data.
	missing string
}

func newEndpoints(config *rest.Config, reader client.Client, options Options) (*endpoints, error) {
	config = rest.CopyConfig(config)
	config.Timeout = 0 // each question has one of its own
	host, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	proxy, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &endpoints{options: options, reader: reader, host: host, proxy: unredirected(proxy)}, nil
}

// unredirected does not follow where a service sends it: credentials are for this address
// and no other.
func unredirected(client *http.Client) *http.Client {
	same := *client
	same.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &same
}

// prometheus says where Prometheus is, or else in a sentence why nobody knows.
func (e *endpoints) prometheus(ctx context.Context) (*endpoint, string) {
	asked := e.options.Prometheus
	direct := func() (*http.Client, error) { return asked.HTTPClient("kubectl-journey") }
	if asked.URL != "" {
		return directly(asked.URL, direct)
	}
	data, missing := e.configured(ctx)
	if missing != "" {
		return nil, missing + " Or name Prometheus by --prometheus-url."
	}
	address := data[keyPrometheus]
	if address == "" {
		return nil, fmt.Sprintf("The ConfigMap %s in namespace %s does not say where Prometheus is: have its key %s hold the address, such as http://prometheus-operated.monitoring.svc:9090, or use --prometheus-url.",
			EndpointsName, e.options.Namespace, keyPrometheus)
	}
	asked.Tenant = cmp.Or(asked.Tenant, data[keyPrometheusTenant])
	found, missing := e.at(address, direct)
	if found != nil && found.through != nil {
		client := *found.client
		client.Transport = &asking{client.Transport, asked.Tenant}
		found.client = &client
	}
	return found, missing
}

// gateway says where the gateway is, or else in a sentence why nobody knows.
func (e *endpoints) gateway(ctx context.Context) (*endpoint, string) {
	direct := func() (*http.Client, error) { return unredirected(&http.Client{}), nil }
	if e.options.GatewayURL != "" {
		return directly(e.options.GatewayURL, direct)
	}
	data, missing := e.configured(ctx)
	if missing != "" {
		return nil, missing + " Or name the gateway by --gateway-url."
	}
	address := data[keyGateway]
	if address == "" {
		return nil, fmt.Sprintf("The ConfigMap %s in namespace %s does not say where the gateway is: have its key %s hold the address, such as http://sojourn-gateway.sojourn-system.svc, or use --gateway-url.",
			EndpointsName, e.options.Namespace, keyGateway)
	}
	return e.at(address, direct)
}

// directly is for an address that does not lead through the API server.
func directly(address string, client func() (*http.Client, error)) (*endpoint, string) {
	made, err := client()
	if err != nil {
		return nil, fmt.Sprintf("%s cannot be asked: %v.", address, err)
	}
	return &endpoint{url: address, client: made}, ""
}

// at makes a way to an address: through the API server, if it is that of a Service.
func (e *endpoints) at(address string, direct func() (*http.Client, error)) (*endpoint, string) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" || parsed.User != nil {
		return nil, fmt.Sprintf("The ConfigMap %s in namespace %s holds what is no address: have it hold one such as http://prometheus-operated.monitoring.svc:9090.",
			EndpointsName, e.options.Namespace)
	}
	to := serviceOf(parsed)
	if to == nil {
		return directly(address, direct)
	}
	through := e.host.JoinPath("api/v1/namespaces", to.namespace, "services", to.resource(), "proxy", parsed.Path)
	return &endpoint{url: through.String(), client: e.proxy, through: to}, ""
}

// configured reads the ConfigMap, or says in a sentence why it cannot.
func (e *endpoints) configured(ctx context.Context) (data map[string]string, missing string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.read) < rereadEndpoints {
		return e.data, e.missing
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found := &corev1.ConfigMap{}
	err := e.reader.Get(ctx, client.ObjectKey{Namespace: e.options.Namespace, Name: EndpointsName}, found)
	missing = ""
	switch {
	case ctx.Err() != nil:
		return nil, "The API server did not answer in time." // not worth remembering
	case apierrors.IsNotFound(err):
		missing = fmt.Sprintf("There is no ConfigMap %s in namespace %s: if Sojourn is elsewhere, say so by --sojourn-namespace; else ask the administrator to install it.", EndpointsName, e.options.Namespace)
	case apierrors.IsForbidden(err):
		missing = fmt.Sprintf("You may not read the ConfigMap %s in namespace %s: ask the administrator for the Role %s-reader there.", EndpointsName, e.options.Namespace, EndpointsName)
	case err != nil:
		missing = fmt.Sprintf("The ConfigMap %s in namespace %s cannot be read: %v.", EndpointsName, e.options.Namespace, err)
	}
	e.read, e.data, e.missing = time.Now(), found.Data, missing
	return e.data, e.missing
}

// asking carries questions to Prometheus through the API server. It has them asked by GET,
// for which the right to get suffices: a POST would take the right to create, and be
// refused and logged first.
type asking struct {
	http.RoundTripper
	tenant string
}

func (a *asking) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodPost {
		return &http.Response{
			Status: "405 Method Not Allowed", StatusCode: http.StatusMethodNotAllowed, Request: request, Body: http.NoBody,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		}, nil
	}
	if a.tenant != "" {
		request = request.Clone(request.Context())
		request.Header.Set("X-Scope-OrgID", a.tenant)
	}
	return a.RoundTripper.RoundTrip(request)
}

// refused says in a sentence why a service did not answer, and what to do. status is that
// of its answer, 0 if there was none.
func (e *endpoint) refused(what string, status int, err error) string {
	where := e.url
	if e.through != nil {
		where = fmt.Sprintf("Service %s in namespace %s, through the API server", e.through.name, e.through.namespace)
	}
	var unanswered net.Error
	switch {
	case e.through != nil && status == http.StatusForbidden:
		return fmt.Sprintf("You may not ask %s (%s): ask the administrator for a Role in namespace %s with the verb get on services/proxy of %q.",
			what, where, e.through.namespace, e.through.resource())
	case e.through != nil && status == http.StatusNotFound:
		return fmt.Sprintf("%s is not at %s: correct the address in the ConfigMap %s.", upper(what), where, EndpointsName)
	case e.through != nil && status == http.StatusServiceUnavailable:
		return fmt.Sprintf("%s cannot be reached (%s): see that it runs, and that the address in the ConfigMap %s is right.", upper(what), where, EndpointsName)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &unanswered) && unanswered.Timeout():
		return fmt.Sprintf("%s did not answer within %v (%s).", upper(what), patience, where)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Sprintf("%s refuses you (%s): look at the token you give.", upper(what), where)
	case status != 0:
		return fmt.Sprintf("%s answered %d (%s).", upper(what), status, where)
	default:
		return fmt.Sprintf("%s cannot be reached: %v.", upper(what), withoutURL(err))
	}
}

// withoutURL leaves the reason of a failed request, without the question's long address.
func withoutURL(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

func upper(what string) string { return strings.ToUpper(what[:1]) + what[1:] }
