package v1alpha1

// Probe visits a touchpoint at an interval: one request, or a flow of several
// steps as a customer would take them.
//
// +kubebuilder:validation:XValidation:rule="has(self.http) != (has(self.steps) && self.steps.size() > 0)",message="a probe has either http or steps: http is the short form of a single step"
// +kubebuilder:validation:XValidation:rule="(has(self.backend) && self.backend == 'Blackbox') == has(self.blackbox)",message="blackbox goes together with backend: Blackbox: set both or neither"
// +kubebuilder:validation:XValidation:rule="!has(self.blackbox) || !has(self.steps) || self.steps.size() <= 1",message="backend Blackbox makes one step at a time: leave one, or use backend: Prober"
// +kubebuilder:validation:XValidation:rule="!has(self.blackbox) || !has(self.steps) || self.steps.all(s, has(s.http) || has(s.tcp) || has(s.icmp))",message="backend Blackbox makes steps of http, tcp and icmp only: use backend: Prober for others"
// +kubebuilder:validation:XValidation:rule="!has(self.blackbox) || !has(self.variables)",message="backend Blackbox knows no variables: leave them out, or use backend: Prober"
// +kubebuilder:validation:XValidation:rule="!has(self.blackbox) || !has(self.http) || has(self.http.url) && !has(self.http.method) && !has(self.http.headers) && !has(self.http.query) && !has(self.http.body) && !has(self.http.tls) && !has(self.http.expectedStatuses) && (!has(self.http.redirects) || self.http.redirects == 'Follow')",message="backend Blackbox uses of http only the url: say in the exporter's module what is sent and expected, and leave out the rest here, or use backend: Prober"
// +kubebuilder:validation:XValidation:rule="!has(self.blackbox) || !has(self.steps) || self.steps.all(s, !has(s.http) || has(s.http.url) && !has(s.http.method) && !has(s.http.headers) && !has(s.http.query) && !has(s.http.body) && !has(s.http.tls) && !has(s.http.expectedStatuses) && (!has(s.http.redirects) || s.http.redirects == 'Follow'))",message="backend Blackbox uses of http only the url: say in the exporter's module what is sent and expected, and leave out the rest here, or use backend: Prober"
// +kubebuilder:validation:XValidation:rule="!has(self.blackbox) || !has(self.steps) || self.steps.all(s, !has(s.assertions) && !has(s.extract) && !has(s.timeout) && (!has(s.tcp) || !has(s.tcp.send) && !has(s.tcp.expect)))",message="backend Blackbox uses of a step only the address: say in the exporter's module what is sent and expected, and leave out timeout, send, expect, assertions and extract here, or use backend: Prober"
// +kubebuilder:validation:XValidation:rule="!has(self.blackbox) || !has(self.locations) || self.locations.size() <= 1",message="backend Blackbox has one exporter, and so one location at most"
type Probe struct {
	// interval is the time from one visit to the next, 10s to 5m. Default: 30s.
	// +optional
	// +default="30s"
	// +kubebuilder:validation:XValidation:rule="self.contains('d') ? false : duration(self) >= duration('10s') && duration(self) <= duration('5m')",message="interval must be between 10s and 5m, for example 30s"
	Interval Duration `json:"interval,omitempty"`

	// timeout is how long a visit with all its steps may take before it counts as
	// failed, 100ms to 1m. It is cut to the interval where that is shorter.
	// Default: 10s.
	// +optional
	// +default="10s"
	// +kubebuilder:validation:XValidation:rule="self.contains('d') ? false : duration(self) >= duration('100ms') && duration(self) <= duration('1m')",message="timeout must be between 100ms and 1m, for example 10s"
	Timeout Duration `json:"timeout,omitempty"`

	// locations are where the probers stand that visit the touchpoint, at most 8.
	// Each is the --location of some prober. Default: the location default.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	Locations []Name `json:"locations,omitempty"`

	// backend is who makes the visits: Prober (Sojourn's own) or Blackbox (a
	// blackbox_exporter that is already there, scraped by a Prometheus of the
	// Prometheus Operator). Default: Prober.
	// +optional
	// +default="Prober"
	Backend ProbeBackend `json:"backend,omitempty"`

	// blackbox says which blackbox_exporter makes the visits. Only with backend:
	// Blackbox, for a single step of http, tcp or icmp. That step holds only the
	// address: what is sent and expected is said by the module.
	// +optional
	Blackbox *BlackboxBackend `json:"blackbox,omitempty"`

	// http makes the visit one HTTP request: the short form of a single step that
	// is named http.
	// +optional
	HTTP *HTTPProbe `json:"http,omitempty"`

	// variables are values that every step may use as vars.<name>, at most 16: for
	// what stands in a Secret or ConfigMap, or is used more than once.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Variables []ProbeVariable `json:"variables,omitempty"`

	// steps are made one after the other in each visit, at most 16. After one that
	// fails the others are left out, except those with alwaysRun. Cookies last from
	// one step to the next, and never from one visit to the next.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Steps []ProbeStep `json:"steps,omitempty"`
}

// DefaultLocation is where a Touchpoint is probed that names no location.
const DefaultLocation Name = "default"

// ProbeBackend says who makes the visits.
//
// +kubebuilder:validation:Enum=Prober;Blackbox
type ProbeBackend string

// Backends of probes.
const (
	ProbeBackendProber   ProbeBackend = "Prober"
	ProbeBackendBlackbox ProbeBackend = "Blackbox"
)

// BlackboxBackend names a blackbox_exporter and what it is to do.
type BlackboxBackend struct {
	// module is the name of a module in the exporter's own configuration, such as
	// http_2xx.
	// +required
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_.-]+$`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Module string `json:"module,omitempty"`

	// address is the exporter's host and port, such as
	// blackbox-exporter.monitoring.svc:9115.
	// +required
	Address HostPort `json:"address,omitempty"`
}

// HostPort is a host name or address, and a port, such as shop.shop.svc:5432 or
// [2001:db8::1]:443.
//
// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$`
// +kubebuilder:validation:MinLength=3
// +kubebuilder:validation:MaxLength=261
type HostPort string

// Host is a host name or address, such as shop.shop.svc or 2001:db8::1.
//
// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_:]([A-Za-z0-9._:-]*[A-Za-z0-9.:])?$`
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
type Host string

// Expression is an expression in the Common Expression Language (CEL).
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=1024
type Expression string

// VariableName is what expressions call a variable: letters and digits, a small
// letter first.
//
// +kubebuilder:validation:Pattern=`^[a-z][A-Za-z0-9_]*$`
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
type VariableName string

// ProbeVariable is a value that steps use.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.valueFrom)",message="a variable has either value or valueFrom"
type ProbeVariable struct {
	// name by which expressions know the variable: vars.<name>.
	// +required
	Name VariableName `json:"name,omitempty"`

	// value is the text itself. Everybody who can read the Touchpoint can read it:
	// put no secret here.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`

	// valueFrom says where the text comes from. What comes from a Secret is never
	// shown.
	// +optional
	ValueFrom *ValueSource `json:"valueFrom,omitempty"`
}

// ValueSource says where a text comes from.
//
// +kubebuilder:validation:XValidation:rule="(has(self.secretKeyRef) ? 1 : 0) + (has(self.configMapKeyRef) ? 1 : 0) + (has(self.expression) ? 1 : 0) == 1",message="valueFrom has exactly one of secretKeyRef, configMapKeyRef and expression"
type ValueSource struct {
	// secretKeyRef names a key of a Secret in the same namespace. The Secret must
	// have the label sojourn.dev/probe=true, and the namespace must be one of the
	// prober's --values-namespaces.
	// +optional
	SecretKeyRef *KeyReference `json:"secretKeyRef,omitempty"`

	// configMapKeyRef names a key of a ConfigMap in the same namespace, with the
	// same label and in the same namespaces as a Secret.
	// +optional
	ConfigMapKeyRef *KeyReference `json:"configMapKeyRef,omitempty"`

	// expression computes the text in CEL from vars, such as 'Bearer ' + vars.token.
	// +optional
	Expression Expression `json:"expression,omitempty"`
}

// KeyReference names a key of a Secret or ConfigMap of the same namespace.
type KeyReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key of its data.
	// +required
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// ProbeStep is one step of a visit.
//
// +kubebuilder:validation:XValidation:rule="(has(self.http) ? 1 : 0) + (has(self.tcp) ? 1 : 0) + (has(self.dns) ? 1 : 0) + (has(self.icmp) ? 1 : 0) + (has(self.grpc) ? 1 : 0) + (has(self.tls) ? 1 : 0) == 1",message="a step is exactly one of http, tcp, dns, icmp, grpc and tls"
type ProbeStep struct {
	// name of the step. It becomes the label step of its series.
	// +required
	Name Name `json:"name,omitempty"`

	// timeout is how long the step may take, 10ms to 1m, within what is left of the
	// probe's timeout. Default: all that is left.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.contains('d') ? false : duration(self) >= duration('10ms') && duration(self) <= duration('1m')",message="timeout must be between 10ms and 1m, for example 2s"
	Timeout Duration `json:"timeout,omitempty"`

	// alwaysRun makes the step even if one before it failed or took all the time, for
	// cleaning up, such as logging out. All such steps together then have 5s more, and
	// each at most its own timeout. Default: false.
	// +optional
	AlwaysRun bool `json:"alwaysRun,omitempty"`

	// http makes an HTTP request (HTTP/1.1). It succeeds if the status is an expected one
	// and the whole body, at most 1 MiB, arrives in time.
	// +optional
	HTTP *HTTPProbe `json:"http,omitempty"`

	// tcp opens a connection. It succeeds once that is open and, with expect, the other
	// side has said so.
	// +optional
	TCP *TCPProbe `json:"tcp,omitempty"`

	// dns asks a name server. It succeeds if there is a record of the type.
	// +optional
	DNS *DNSProbe `json:"dns,omitempty"`

	// icmp sends one echo request (ping) to the first address of a host. It succeeds if a
	// reply comes in time.
	// +optional
	ICMP *ICMPProbe `json:"icmp,omitempty"`

	// grpc asks the gRPC health service (grpc.health.v1). It succeeds if the answer is
	// SERVING.
	// +optional
	GRPC *GRPCProbe `json:"grpc,omitempty"`

	// tls makes a TLS handshake. It succeeds if the certificate is valid.
	// +optional
	TLS *TLSProbe `json:"tls,omitempty"`

	// assertions are what must be true of the answer, at most 16. They are looked at
	// in order; the first one that does not hold fails the step.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Assertions []Assertion `json:"assertions,omitempty"`

	// extract takes values from the answer for the steps that follow, at most 16.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Extract []Extraction `json:"extract,omitempty"`
}

// Assertion is a condition on an answer.
type Assertion struct {
	// expression in CEL that must be true. It may use status, headers, body, json,
	// latency, tls, answers and vars, for example
	// json.items.size() > 0 && latency < duration('500ms').
	// +required
	Expression Expression `json:"expression,omitempty"`

	// message says to people what it means if it is not, at most 128 characters.
	// Default: the expression.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Message string `json:"message,omitempty"`
}

// Extraction takes a value from an answer.
type Extraction struct {
	// name by which the steps that follow know the value: vars.<name>.
	// +required
	Name VariableName `json:"name,omitempty"`

	// expression in CEL that computes the value from what assertions may use, for
	// example json.token. The step fails if it cannot.
	// +required
	Expression Expression `json:"expression,omitempty"`

	// sensitive keeps the value out of everything that is shown, as a value from a
	// Secret is. Default: false.
	// +optional
	Sensitive bool `json:"sensitive,omitempty"`
}

// RedirectPolicy says what to do with a redirect.
//
// +kubebuilder:validation:Enum=Follow;SameHost;Never
type RedirectPolicy string

// Policies for redirects.
const (
	RedirectsFollow   RedirectPolicy = "Follow"
	RedirectsSameHost RedirectPolicy = "SameHost"
	RedirectsNever    RedirectPolicy = "Never"
)

// HTTPProbe is one HTTP request and what is expected of its answer. At most 1 MiB
// of the answer's body is read; a larger one is a failure.
//
// +kubebuilder:validation:XValidation:rule="has(self.url) != has(self.urlFrom)",message="http has either url or urlFrom"
// +kubebuilder:validation:XValidation:rule="!has(self.body) || !has(self.method) || self.method in ['POST', 'PUT', 'PATCH', 'DELETE']",message="a request with a body has method POST, PUT, PATCH or DELETE"
type HTTPProbe struct {
	// url is the absolute http or https address to ask, without user information
	// or fragment.
	// +optional
	// +kubebuilder:validation:XValidation:rule="isURL(self)",message="url must be an absolute address such as http://shop.shop.svc/checkout"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^https?://[^/?#]*@')",message="url must not hold a user name or password: they would be readable in the object"
	// +kubebuilder:validation:XValidation:rule="!self.contains('#')",message="url must not have a fragment (#...): it is never sent to the server"
	URL URL `json:"url,omitempty"`

	// urlFrom says where the address comes from, for one that a step before told:
	// {expression: "'http://shop.shop.svc/orders/' + vars.order"}.
	// +optional
	URLFrom *ValueSource `json:"urlFrom,omitempty"`

	// method is the request's method: GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.
	// Default: GET, or POST if there is a body.
	// +optional
	// +kubebuilder:validation:Enum=GET;HEAD;POST;PUT;PATCH;DELETE;OPTIONS
	Method string `json:"method,omitempty"`

	// headers are sent with the request, at most 16, beside User-Agent
	// (sojourn-prober/<version>) and Accept (*/*), which they may replace.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Headers []HTTPHeader `json:"headers,omitempty"`

	// query is added to the query of the address, escaped, at most 16 parameters.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Query []QueryParameter `json:"query,omitempty"`

	// body is sent with the request. Default: none.
	// +optional
	Body *HTTPBody `json:"body,omitempty"`

	// tls says whom to trust, and as whom to come, where the address is https. Default:
	// the authorities of the prober's system, and as nobody.
	// +optional
	TLS *TLSOptions `json:"tls,omitempty"`

	// redirects says what to do with a redirect: Follow (at most ten; credentials are
	// not sent to another host), SameHost (one to another host fails the step) or
	// Never (the redirect itself is the answer). Default: Follow.
	// +optional
	Redirects RedirectPolicy `json:"redirects,omitempty"`

	// expectedStatuses are the status codes that count as success, 200 to 599, at
	// most 16. Default: every code from 200 to 299.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Minimum=200
	// +kubebuilder:validation:items:Maximum=599
	ExpectedStatuses []int32 `json:"expectedStatuses,omitempty"`
}

// HTTPHeader is one header of a request.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.valueFrom)",message="a header has either value or valueFrom"
type HTTPHeader struct {
	// name of the header, such as Accept-Language. Host sets the request's host.
	// +required
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9!#$%&'*+.^_|~-]+$`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`

	// value of the header, one line. Everybody who can read the Touchpoint can read
	// it: put no secret here.
	// +optional
	// +kubebuilder:validation:Pattern=`^[^\r\n]*$`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`

	// valueFrom says where the value comes from.
	// +optional
	ValueFrom *ValueSource `json:"valueFrom,omitempty"`
}

// QueryParameter is one parameter of an address's query.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.valueFrom)",message="a query parameter has either value or valueFrom"
type QueryParameter struct {
	// name of the parameter.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`

	// value of the parameter, as it is before escaping.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Value string `json:"value,omitempty"`

	// valueFrom says where the value comes from.
	// +optional
	ValueFrom *ValueSource `json:"valueFrom,omitempty"`
}

// HTTPBody is the body of a request.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.valueFrom)",message="a body has either value or valueFrom"
type HTTPBody struct {
	// contentType is the request's Content-Type. Default: application/json.
	// +optional
	// +kubebuilder:validation:Pattern=`^[^\r\n]+$`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ContentType string `json:"contentType,omitempty"`

	// value is the body itself, at most 16384 characters.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	Value string `json:"value,omitempty"`

	// valueFrom says where the body comes from, for example
	// {expression: "toJSON({'user': 'eve', 'password': vars.password})"}.
	// +optional
	ValueFrom *ValueSource `json:"valueFrom,omitempty"`
}

// Verification says whether certificates are verified.
//
// +kubebuilder:validation:Enum=Full;None
type Verification string

// Ways to verify certificates.
const (
	VerificationFull Verification = "Full"
	VerificationNone Verification = "None"
)

// TLSOptions say whom to trust, and as whom to come.
type TLSOptions struct {
	// ca names a key that holds the certificates of the authorities to trust, in PEM.
	// Default: the authorities of the prober's system.
	// +optional
	CA *CertificateSource `json:"ca,omitempty"`

	// serverName is the name that the server is asked for and that its certificate
	// must bear. Default: the host of the address, or the header Host.
	// +optional
	ServerName Host `json:"serverName,omitempty"`

	// clientCertificateSecret is the name of a Secret of type kubernetes.io/tls in the
	// same namespace, whose tls.crt and tls.key say as whom to come. The conditions of
	// valueFrom.secretKeyRef hold. Default: no certificate is shown.
	// +optional
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClientCertificateSecret string `json:"clientCertificateSecret,omitempty"`

	// verification of the server's certificate: Full or None. None is an error where the
	// prober's --allow-unverified-tls does not permit it. Default: Full.
	// +optional
	Verification Verification `json:"verification,omitempty"`
}

// CertificateSource names a key of a Secret or ConfigMap.
//
// +kubebuilder:validation:XValidation:rule="has(self.secretKeyRef) != has(self.configMapKeyRef)",message="ca has either secretKeyRef or configMapKeyRef"
type CertificateSource struct {
	// secretKeyRef names a key of a Secret in the same namespace. The conditions of
	// valueFrom.secretKeyRef hold.
	// +optional
	SecretKeyRef *KeyReference `json:"secretKeyRef,omitempty"`

	// configMapKeyRef names a key of a ConfigMap in the same namespace. The same
	// conditions hold.
	// +optional
	ConfigMapKeyRef *KeyReference `json:"configMapKeyRef,omitempty"`
}

// TCPProbe opens a connection, and may talk a little.
type TCPProbe struct {
	// address is the host and port to connect to.
	// +required
	Address HostPort `json:"address,omitempty"`

	// send is what to say once the connection is open. Default: nothing.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Send string `json:"send,omitempty"`

	// expect is a text that the other side must have said before the step's time is
	// over. What it said is body in expressions. Default: nothing is waited for.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Expect string `json:"expect,omitempty"`
}

// DNSRecordType is a type of records.
//
// +kubebuilder:validation:Enum=A;AAAA;CNAME;MX;NS;SRV;TXT
type DNSRecordType string

// DNSProbe asks a name server for records. No record of the type is a failure.
type DNSProbe struct {
	// name to ask for, fully qualified.
	// +required
	Name Host `json:"name,omitempty"`

	// type of the records: A, AAAA, CNAME, MX, NS, SRV or TXT. Default: A.
	// +optional
	Type DNSRecordType `json:"type,omitempty"`

	// server is the host and port of the name server. Default: the first one of the
	// prober's system.
	// +optional
	Server HostPort `json:"server,omitempty"`
}

// ICMPProbe sends one echo request and waits for the reply.
type ICMPProbe struct {
	// host to ask.
	// +required
	Host Host `json:"host,omitempty"`
}

// GRPCProbe asks the gRPC health service; anything but SERVING is a failure.
type GRPCProbe struct {
	// address is the host and port of the server.
	// +required
	Address HostPort `json:"address,omitempty"`

	// service to ask for. Default: the server as a whole.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Service string `json:"service,omitempty"`

	// tls makes the connection a TLS one; {} trusts the authorities of the prober's
	// system. Default: no TLS.
	// +optional
	TLS *TLSOptions `json:"tls,omitempty"`
}

// TLSProbe makes a TLS handshake.
type TLSProbe struct {
	TLSOptions `json:",inline"`

	// address is the host and port to connect to.
	// +required
	Address HostPort `json:"address,omitempty"`
}
