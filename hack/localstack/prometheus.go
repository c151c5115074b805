package localstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"
)

// PrometheusOptions says how a Prometheus runs. The zero value scrapes nothing
// and evaluates every rule file in its rule folder.
type PrometheusOptions struct {
	// Dir keeps the configuration and the log, and stays after Stop. Empty means
	// a temporary folder that Stop removes.
	Dir string
	// Binary replaces the built Prometheus, for instance by a 2.x of the system's.
	Binary string
	// ListenAddress is host:port. Default: a free port of 127.0.0.1.
	ListenAddress string
	// RuleDir is where *.yaml is read as rules. Default: rules below Dir.
	RuleDir string
	// StorageDir holds the series. Default: data below Dir. Blocks placed there
	// before the start are served, which is how tests get a past.
	StorageDir string

	// ScrapeJobs are scraped every ScrapeInterval.
	ScrapeJobs []ScrapeJob
	// ScrapeInterval and EvaluationInterval default to 1 s, for tests' sake.
	ScrapeInterval, EvaluationInterval time.Duration
	// AlertmanagerURLs are where alerts go.
	AlertmanagerURLs []string

	// ConfigYAML, if set, is the whole configuration. The four fields above are
	// then not used, and rules are read from where it says.
	ConfigYAML string
	// ExtraFlags are added to the command line.
	ExtraFlags []string
}

// ScrapeJob names targets to scrape.
type ScrapeJob struct {
	Name string
	// Targets are host:port.
	Targets []string
	// MetricsPath defaults to /metrics.
	MetricsPath string
	// HonorLabels keeps the target's own job, instance and namespace labels, as
	// Sojourn's PodMonitors do.
	HonorLabels bool
	// Labels are put on every series of the job.
	Labels map[string]string
}

// Prometheus is a running Prometheus.
type Prometheus struct {
	// URL is its address.
	URL string
	// Dir holds its configuration and log.
	Dir string
	// RuleDir is where it reads rule files from; call Reload after writing there.
	RuleDir string

	process   *Process
	removeDir func()
	api       promv1.API
}

// StartPrometheus starts a Prometheus on loopback and waits until it is ready.
// Native histograms are scraped, and classic ones beside them, as Sojourn's
// scrape configurations ask; a Prometheus 2.x scrapes classic ones only.
func StartPrometheus(ctx context.Context, options PrometheusOptions) (*Prometheus, error) {
	p := &Prometheus{}
	if err := p.start(ctx, options); err != nil {
		p.Stop()
		return nil, fmt.Errorf("prometheus: %w", err)
	}
	return p, nil
}

func (p *Prometheus) start(ctx context.Context, options PrometheusOptions) (err error) {
	binary := options.Binary
	if binary == "" {
		if binary, err = Binary(ctx, PrometheusBinary); err != nil {
			return err
		}
	}
	if p.Dir, p.removeDir, err = stackDir(options.Dir, "prometheus"); err != nil {
		return err
	}
	if p.RuleDir, err = filepath.Abs(cmp.Or(options.RuleDir, filepath.Join(p.Dir, "rules"))); err != nil {
		return err
	}
	storage, err := filepath.Abs(cmp.Or(options.StorageDir, filepath.Join(p.Dir, "data")))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.RuleDir, 0o755); err != nil {
		return err
	}
	config := []byte(options.ConfigYAML)
	if len(config) == 0 {
		native, err := knowsNativeHistograms(ctx, binary)
		if err != nil {
			return err
		}
		if config, err = prometheusConfig(options, p.RuleDir, native); err != nil {
			return err
		}
	}
	configFile := filepath.Join(p.Dir, "prometheus.yaml")
	if err := os.WriteFile(configFile, config, 0o644); err != nil {
		return err
	}
	address := options.ListenAddress
	if address == "" {
		port, err := freePort()
		if err != nil {
			return err
		}
		address = fmt.Sprintf("127.0.0.1:%d", port)
	}
	p.URL = "http://" + address
	client, err := api.NewClient(api.Config{Address: p.URL})
	if err != nil {
		return err
	}
	p.api = promv1.NewAPI(client)

	flags := append([]string{
		"--config.file=" + configFile,
		"--storage.tsdb.path=" + storage,
		"--web.listen-address=" + address,
		"--web.enable-lifecycle",
	}, options.ExtraFlags...)
	if p.process, err = StartProcess(p.Dir, PrometheusBinary, binary, flags...); err != nil {
		return err
	}
	return p.process.WaitReady(ctx, func(ctx context.Context) error { return AnswersOK(ctx, p.URL+"/-/ready") })
}

// Stop ends Prometheus and removes the temporary folder. It may be called more
// than once, and on nil.
func (p *Prometheus) Stop() {
	if p == nil {
		return
	}
	p.process.Stop(10 * time.Second)
	if p.removeDir != nil {
		p.removeDir()
	}
}

// Reload has Prometheus read its configuration and rule files again. The error
// carries the end of the log, which alone says what is wrong with which file.
func (p *Prometheus) Reload(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"/-/reload", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(response.Body)
	return p.process.failure(fmt.Errorf("reload: %s: %s", response.Status, strings.TrimSpace(string(body))))
}

// API returns a client for everything that has no method here.
func (p *Prometheus) API() promv1.API { return p.api }

// Query evaluates an expression at a moment; the zero time means now. A warning
// is an error too: in a test it means that the result is not what was asked for.
func (p *Prometheus) Query(ctx context.Context, expr string, at time.Time) (model.Value, error) {
	if at.IsZero() {
		at = time.Now()
	}
	value, warnings, _, err := p.api.Query(ctx, expr, at)
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("query %s: %s", expr, strings.Join(warnings, "; "))
	}
	return value, nil
}

// RulesHealth returns the last error of every rule that fails, joined, and nil if
// all rules evaluate or have not been evaluated yet.
func (p *Prometheus) RulesHealth(ctx context.Context) error {
	result, err := p.api.Rules(ctx, nil)
	if err != nil {
		return fmt.Errorf("reading rules: %w", err)
	}
	var failures []error
	for _, group := range result.Groups {
		for _, rule := range group.Rules {
			var name, lastError string
			switch r := rule.(type) {
			case promv1.RecordingRule:
				name, lastError = r.Name, r.LastError
			case promv1.AlertingRule:
				name, lastError = r.Name, r.LastError
			}
			if lastError != "" {
				failures = append(failures, fmt.Errorf("%s, group %s, rule %s: %s",
					filepath.Base(group.File), group.Name, name, lastError))
			}
		}
	}
	return errors.Join(failures...)
}

// knowsNativeHistograms: Prometheus 3 takes the two settings of them in its
// scrape configuration, 2.x calls them a syntax error.
func knowsNativeHistograms(ctx context.Context, binary string) (bool, error) {
	// 2.x writes its version to standard error in some builds, to standard output
	// in others.
	out, err := exec.CommandContext(ctx, binary, "--version").CombinedOutput()
	if err != nil {
		return false, fmt.Errorf("%s --version: %w\n%s", binary, err, out)
	}
	return !strings.Contains(string(out), "version 2."), nil
}

// prometheusConfig renders the options as a configuration file. The structs hold
// only what we set, and keep to the order in which the manual explains it.
func prometheusConfig(options PrometheusOptions, ruleDir string, native bool) ([]byte, error) {
	type static struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels,omitempty"`
	}
	type job struct {
		Name                    string   `json:"job_name"`
		HonorLabels             bool     `json:"honor_labels,omitempty"`
		MetricsPath             string   `json:"metrics_path,omitempty"`
		ScrapeNativeHistograms  bool     `json:"scrape_native_histograms,omitempty"`
		AlwaysClassicHistograms bool     `json:"always_scrape_classic_histograms,omitempty"`
		StaticConfigs           []static `json:"static_configs"`
	}
	type alertmanager struct {
		Scheme        string   `json:"scheme"`
		StaticConfigs []static `json:"static_configs"`
	}
	type config struct {
		Global struct {
			ScrapeInterval     string `json:"scrape_interval"`
			ScrapeTimeout      string `json:"scrape_timeout"`
			EvaluationInterval string `json:"evaluation_interval"`
		} `json:"global"`
		RuleFiles []string `json:"rule_files"`
		Alerting  struct {
			Alertmanagers []alertmanager `json:"alertmanagers,omitempty"`
		} `json:"alerting"`
		ScrapeConfigs []job `json:"scrape_configs,omitempty"`
	}

	var c config
	scrape := cmp.Or(options.ScrapeInterval, time.Second)
	c.Global.ScrapeInterval = model.Duration(scrape).String()
	// A longer timeout than interval is a configuration error.
	c.Global.ScrapeTimeout = model.Duration(min(scrape, 10*time.Second)).String()
	c.Global.EvaluationInterval = model.Duration(cmp.Or(options.EvaluationInterval, time.Second)).String()
	c.RuleFiles = []string{filepath.Join(ruleDir, "*.yaml")}
	for _, url := range options.AlertmanagerURLs {
		scheme, host, found := strings.Cut(url, "://")
		if !found {
			return nil, fmt.Errorf("alertmanager URL %q has no scheme", url)
		}
		c.Alerting.Alertmanagers = append(c.Alerting.Alertmanagers,
			alertmanager{Scheme: scheme, StaticConfigs: []static{{Targets: []string{strings.TrimSuffix(host, "/")}}}})
	}
	for _, j := range options.ScrapeJobs {
		c.ScrapeConfigs = append(c.ScrapeConfigs, job{
			Name: j.Name, HonorLabels: j.HonorLabels, MetricsPath: j.MetricsPath,
			ScrapeNativeHistograms: native, AlwaysClassicHistograms: native,
			StaticConfigs: []static{{Targets: j.Targets, Labels: j.Labels}},
		})
	}
	return yaml.Marshal(c)
}
