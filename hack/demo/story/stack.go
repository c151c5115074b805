package story

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

const (
	// SystemNamespace is where Sojourn would run in a cluster, and where its rules
	// go as ConfigMaps. Prometheus attaches it to everything it scrapes of Sojourn,
	// as service discovery would.
	SystemNamespace = "sojourn-system"
	// RulesSelector selects the ConfigMaps of the rules sidecar.
	RulesSelector = "prometheus_rule=1"
	// shopNamespace is where the shop would run in a cluster.
	shopNamespace = "shop"
	// sourceName is the Secret by which the gateway knows the shop's survey tool.
	sourceName = "survey-tool"
	// ProberLocation is where touchpoints are probed that name no location.
	ProberLocation = string(v1alpha1.DefaultLocation)

	// ScrapeInterval of all targets. Fifteen seconds would do as well; a demo is
	// watched.
	ScrapeInterval = 5 * time.Second
)

// Jobs of the scrape configuration.
const (
	ProberJob  = "sojourn-prober"
	GatewayJob = "sojourn-gateway"
	ShopJob    = "shop"
)

// Stack is the real parts of the demo. The fields are filled in as the parts start.
type Stack struct {
	// Dir holds everything the parts write, logs among it.
	Dir string
	// Checkout is the root of the checkout, Programs where its programs lie.
	Checkout, Programs string

	Cluster      *localstack.ControlPlane
	Alertmanager *localstack.Alertmanager
	Prometheus   *localstack.Prometheus
	Sidecar      *localstack.RuleSync

	Manager, Prober, GatewayProgram *Program
	Gateway                         *Gateway

	// Targets are the addresses that Prometheus scrapes, by job.
	Targets map[string]string

	prometheusAddress string
}

// NewStack prepares a stack that writes below dir.
func NewStack(dir string) (*Stack, error) {
	checkout, err := Checkout()
	if err != nil {
		return nil, err
	}
	s := &Stack{Dir: dir, Checkout: checkout, Targets: map[string]string{}}
	return s, os.MkdirAll(s.path("logs"), 0o755)
}

func (s *Stack) path(elements ...string) string {
	return filepath.Join(append([]string{s.Dir}, elements...)...)
}

// Stop ends all parts, each before those it speaks to.
func (s *Stack) Stop() {
	s.Prober.Stop()
	s.GatewayProgram.Stop()
	s.Sidecar.Stop()
	s.Prometheus.Stop()
	s.Alertmanager.Stop()
	s.Manager.Stop()
	s.Cluster.Stop()
}

// StartCluster starts a control plane that knows Sojourn's kinds and has the
// namespace of its rules.
func (s *Stack) StartCluster(ctx context.Context) (err error) {
	s.Cluster, err = localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{Dir: s.path("cluster"), ControllerManager: true})
	if err != nil {
		return err
	}
	if err := s.Cluster.InstallCRDs(ctx, filepath.Join(s.Checkout, "config", "crd")); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(s.Cluster.RESTConfig())
	if err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: SystemNamespace}}
	_, err = client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", SystemNamespace, err)
	}
	return nil
}

// Build builds Sojourn's programs.
func (s *Stack) Build(ctx context.Context) (err error) {
	s.Programs, err = BuildPrograms(ctx, s.Checkout)
	return err
}

func (s *Stack) start(ctx context.Context, program, readyURL string, arguments ...string) (*Program, error) {
	arguments = append([]string{"--kubeconfig=" + s.Cluster.Kubeconfig()}, arguments...)
	return StartProgram(ctx, s.path("logs"), filepath.Join(s.Programs, program), readyURL, arguments...)
}

// StartManager starts the operator. It will ask a Prometheus that starts later, at an
// address that is chosen here.
func (s *Stack) StartManager(ctx context.Context) error {
	health, err := freeAddress()
	if err != nil {
		return err
	}
	if s.prometheusAddress, err = freeAddress(); err != nil {
		return err
	}
	s.Manager, err = s.start(ctx, "manager", "http://"+health+"/readyz",
		"--rules-namespace="+SystemNamespace, "--metrics-bind-address=0", "--health-probe-bind-address="+health,
		"--prometheus-url=http://"+s.prometheusAddress, "--observe-interval=5s")
	return err
}

// StartGateway starts the gateway on an empty database.
func (s *Stack) StartGateway(ctx context.Context) error {
	responses, err := freeAddress()
	if err != nil {
		return err
	}
	metrics, err := freeAddress()
	if err != nil {
		return err
	}
	s.Gateway = &Gateway{
		URL: "http://" + responses, MetricsURL: "http://" + metrics + "/metrics",
		Token: rand.Text(), ReadToken: rand.Text(), SigningSecret: "whsec_" + base64.StdEncoding.EncodeToString([]byte(rand.Text())),
	}
	if err := s.createSource(ctx); err != nil {
		return fmt.Errorf("creating the gateway's source: %w", err)
	}
	s.Targets[GatewayJob] = metrics
	s.GatewayProgram, err = s.start(ctx, "gateway", "http://"+metrics+"/readyz",
		"--listen-address="+responses, "--metrics-bind-address="+metrics,
		"--database="+s.path("gateway.db"), "--source-namespaces="+shopNamespace)
	return err
}

// createSource makes the Secret by which the gateway knows the demo's survey tool.
func (s *Stack) createSource(ctx context.Context) error {
	cluster, err := kubernetes.NewForConfig(s.Cluster.RESTConfig())
	if err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shopNamespace}}
	if _, err := cluster.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: sourceName}, Type: "sojourn.dev/survey-source",
		StringData: map[string]string{"tokens": s.Gateway.Token, "readTokens": s.Gateway.ReadToken, "signingSecrets": s.Gateway.SigningSecret},
	}
	_, err = cluster.CoreV1().Secrets(shopNamespace).Create(ctx, secret, metav1.CreateOptions{})
	return err
}

// ReserveProber chooses the address of the prober's metrics, so that a past can be
// computed for it before it starts.
func (s *Stack) ReserveProber() (err error) {
	s.Targets[ProberJob], err = freeAddress()
	return err
}

// StartProber starts the prober.
func (s *Stack) StartProber(ctx context.Context) error {
	health, err := freeAddress()
	if err != nil {
		return err
	}
	s.Prober, err = s.start(ctx, "prober", "http://"+health+"/readyz",
		"--location="+ProberLocation, "--allow-cidrs=127.0.0.0/8,::1/128", "--metrics-bind-address="+s.Targets[ProberJob], "--health-probe-bind-address="+health)
	return err
}

// StartAlertmanager starts Alertmanager.
func (s *Stack) StartAlertmanager(ctx context.Context) (err error) {
	s.Alertmanager, err = localstack.StartAlertmanager(ctx, localstack.AlertmanagerOptions{Dir: s.path("alertmanager")})
	return err
}

// StorageDir is where Prometheus will keep its series.
func (s *Stack) StorageDir() string { return s.path("prometheus", "data") }

// StartPrometheus starts Prometheus on what lies in StorageDir, and the rules
// sidecar. Every target gets a namespace that is not the customers', as a cluster's
// service discovery attaches it; honor_labels keeps the series' own.
func (s *Stack) StartPrometheus(ctx context.Context) (err error) {
	options := localstack.PrometheusOptions{
		Dir: s.path("prometheus"), StorageDir: s.StorageDir(), ListenAddress: s.prometheusAddress,
		ScrapeInterval: ScrapeInterval, EvaluationInterval: ScrapeInterval,
		AlertmanagerURLs: []string{s.Alertmanager.URL},
		ExtraFlags:       []string{"--storage.tsdb.retention.time=90d"},
	}
	for _, job := range []string{ProberJob, GatewayJob, ShopJob} {
		namespace := SystemNamespace
		if job == ShopJob {
			namespace = shopNamespace
		}
		options.ScrapeJobs = append(options.ScrapeJobs, localstack.ScrapeJob{
			Name: job, Targets: []string{s.Targets[job]}, HonorLabels: true, Labels: map[string]string{"namespace": namespace},
		})
	}
	if s.Prometheus, err = localstack.StartPrometheus(ctx, options); err != nil {
		return err
	}
	s.Sidecar, err = localstack.SyncRules(ctx, s.Cluster.RESTConfig(), s.Prometheus, localstack.RuleSyncOptions{
		ConfigMapNamespace: SystemNamespace, ConfigMapSelector: RulesSelector, PrometheusRules: true,
	})
	return err
}

// Trouble says what is wrong with the parts: a program that ended, rules that
// Prometheus refuses or cannot evaluate.
func (s *Stack) Trouble(ctx context.Context) error {
	var wrong []error
	for _, program := range []*Program{s.Manager, s.Prober, s.GatewayProgram} {
		if program == nil {
			continue
		}
		select {
		case <-program.Ended():
			wrong = append(wrong, program.Err())
		default:
		}
	}
	if s.Sidecar != nil {
		for file, err := range s.Sidecar.Rejected() {
			wrong = append(wrong, fmt.Errorf("rules %s: %w", file, err))
		}
		wrong = append(wrong, s.Prometheus.RulesHealth(ctx))
	}
	return errors.Join(wrong...)
}

// PublishEndpoints tells kubectl journey where Prometheus and the gateway are.
func (s *Stack) PublishEndpoints(ctx context.Context) error {
	cluster, err := kubernetes.NewForConfig(s.Cluster.RESTConfig())
	if err != nil {
		return err
	}
	endpoints := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "sojourn-endpoints"},
		Data:       map[string]string{"prometheus": s.Prometheus.URL, "gateway": s.Gateway.URL},
	}
	if _, err := cluster.CoreV1().ConfigMaps(SystemNamespace).Create(ctx, endpoints, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating ConfigMap %s/%s: %w", SystemNamespace, endpoints.Name, err)
	}
	return nil
}

// Number evaluates an expression that comes to one number; false if there is none.
func (s *Stack) Number(ctx context.Context, expr string) (float64, bool, error) {
	value, err := s.Prometheus.Query(ctx, expr, time.Time{})
	if err != nil {
		return 0, false, err
	}
	vector, isVector := value.(model.Vector)
	if !isVector || len(vector) != 1 {
		return 0, false, nil
	}
	return float64(vector[0].Value), true, nil
}

// Addresses lists where everything is, and how to look at it.
func (s *Stack) Addresses(shopURL, adminURL string) string {
	var text strings.Builder
	for _, line := range [][2]string{
		{"Shop", shopURL}, {"Shop's admin", adminURL + "/break?page=checkout&mode=slow (POST), /heal (POST)"},
		{"Prometheus", s.Prometheus.URL}, {"Alertmanager", s.Alertmanager.URL},
		{"Gateway", s.Gateway.URL + "/v1/responses, token in " + "Secret " + shopNamespace + "/" + sourceName},
		{"Gateway's survey page", s.Gateway.URL + "/s/" + shopNamespace + "/" + brokenTouchpoint},
		{"Gateway's metrics", s.Gateway.MetricsURL}, {"Prober's metrics", "http://" + s.Targets[ProberJob] + "/metrics"},
		{"Kubernetes", s.Cluster.URL}, {"Data and logs", s.Dir},
	} {
		fmt.Fprintf(&text, "%-18s %s\n", line[0], line[1])
	}
	fmt.Fprintf(&text, `
export KUBECONFIG=%s SHOP=%s PROMETHEUS=%s SOJOURN_GATEWAY_TOKEN=%s
kubectl get jrn,tp,xslo -n shop
kubectl journey map -n shop       # after make build && export PATH=$PWD/bin:$PATH
kubectl journey status -n shop
kubectl journey ui
kubectl get xslo checkout -n shop -o yaml
kubectl get configmaps -n %s -l %s
`, s.Cluster.Kubeconfig(), shopURL, s.Prometheus.URL, s.Gateway.ReadToken, SystemNamespace, RulesSelector)
	return text.String()
}
