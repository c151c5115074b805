package localstack

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"
)

// AlertmanagerOptions says how an Alertmanager runs. The zero value keeps alerts
// for [Alertmanager.Alerts] and notifies nobody.
type AlertmanagerOptions struct {
	// Dir keeps configuration, data and log, and stays after Stop. Empty means a
	// temporary folder that Stop removes.
	Dir string
	// Binary replaces the built Alertmanager.
	Binary string
	// WebhookURL receives every notification, those of resolved alerts too.
	WebhookURL string
	// GroupWait is the time from an alert's arrival to its first notification.
	// Default 1 s.
	GroupWait time.Duration
	// ConfigYAML, if set, is the whole configuration; the two fields above are then
	// not used.
	ConfigYAML string
	// ExtraFlags are added to the command line.
	ExtraFlags []string
}

// Alertmanager is a running Alertmanager.
type Alertmanager struct {
	// URL is its address.
	URL string
	// Dir holds its configuration, data and log.
	Dir string

	process   *Process
	removeDir func()
}

// Alert is what Alertmanager knows of one alert.
type Alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
	Status       struct {
		// State is active, suppressed or unprocessed.
		State       string   `json:"state"`
		InhibitedBy []string `json:"inhibitedBy"`
		SilencedBy  []string `json:"silencedBy"`
	} `json:"status"`
}

// StartAlertmanager starts an Alertmanager on loopback, without a cluster
// listener, and waits until it is ready.
func StartAlertmanager(ctx context.Context, options AlertmanagerOptions) (*Alertmanager, error) {
	a := &Alertmanager{}
	if err := a.start(ctx, options); err != nil {
		a.Stop()
		return nil, fmt.Errorf("alertmanager: %w", err)
	}
	return a, nil
}

func (a *Alertmanager) start(ctx context.Context, options AlertmanagerOptions) (err error) {
	binary := options.Binary
	if binary == "" {
		if binary, err = Binary(ctx, AlertmanagerBinary); err != nil {
			return err
		}
	}
	if a.Dir, a.removeDir, err = stackDir(options.Dir, "alertmanager"); err != nil {
		return err
	}
	config := []byte(options.ConfigYAML)
	if len(config) == 0 {
		if config, err = alertmanagerConfig(options); err != nil {
			return err
		}
	}
	configFile := filepath.Join(a.Dir, "alertmanager.yaml")
	if err := os.WriteFile(configFile, config, 0o644); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	a.URL = fmt.Sprintf("http://127.0.0.1:%d", port)
	flags := append([]string{
		"--config.file=" + configFile,
		"--storage.path=" + filepath.Join(a.Dir, "data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port),
		// Empty means no gossip: the default listens on every address.
		"--cluster.listen-address=",
	}, options.ExtraFlags...)
	if a.process, err = StartProcess(a.Dir, AlertmanagerBinary, binary, flags...); err != nil {
		return err
	}
	return a.process.WaitReady(ctx, func(ctx context.Context) error { return AnswersOK(ctx, a.URL+"/-/ready") })
}

// Stop ends Alertmanager and removes the temporary folder. It may be called more
// than once, and on nil.
func (a *Alertmanager) Stop() {
	if a == nil {
		return
	}
	a.process.Stop(5 * time.Second)
	if a.removeDir != nil {
		a.removeDir()
	}
}

// Alerts returns the alerts that have not ended, silenced and inhibited ones
// among them.
func (a *Alertmanager) Alerts(ctx context.Context) ([]Alert, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+"/api/v2/alerts", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("alertmanager: reading alerts: %s", response.Status)
	}
	var alerts []Alert
	if err := json.NewDecoder(response.Body).Decode(&alerts); err != nil {
		return nil, fmt.Errorf("alertmanager: reading alerts: %w", err)
	}
	return alerts, nil
}

func alertmanagerConfig(options AlertmanagerOptions) ([]byte, error) {
	type webhook struct {
		URL          string `json:"url"`
		SendResolved bool   `json:"send_resolved"`
	}
	type receiver struct {
		Name     string    `json:"name"`
		Webhooks []webhook `json:"webhook_configs,omitempty"`
	}
	type config struct {
		Route struct {
			Receiver      string   `json:"receiver"`
			GroupBy       []string `json:"group_by"`
			GroupWait     string   `json:"group_wait"`
			GroupInterval string   `json:"group_interval"`
		} `json:"route"`
		Receivers []receiver `json:"receivers"`
	}
	var c config
	wait := model.Duration(cmp.Or(options.GroupWait, time.Second)).String()
	c.Route.Receiver = "default"
	// Every alert on its own: a test wants to see each arrive.
	c.Route.GroupBy = []string{"..."}
	c.Route.GroupWait, c.Route.GroupInterval = wait, wait
	r := receiver{Name: "default"}
	if options.WebhookURL != "" {
		r.Webhooks = []webhook{{URL: options.WebhookURL, SendResolved: true}}
	}
	c.Receivers = []receiver{r}
	return yaml.Marshal(c)
}
