package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// Where things are, by the names that Pods use.
const (
	prometheusURL   = "http://prometheus-operated.monitoring.svc.cluster.local:9090"
	alertmanagerURL = "http://alertmanager-operated.monitoring.svc.cluster.local:9093"
	shopURL         = "http://shop.shop.svc.cluster.local:8080"
	shopAdminURL    = "http://shop-admin.shop.svc.cluster.local:8081"
	gatewayURL      = "http://" + release + "-gateway." + system + ".svc.cluster.local"
	uiURL           = "https://" + release + "-ui." + system + ".svc.cluster.local"
	gatewayTotals   = "https://" + release + "-gateway-metrics." + system + ".svc.cluster.local:9464/metrics"
)

// insideClient asks the cluster's own DNS for names, and goes through Services as Pods
// do. Every request makes its own connection, so that it sees who is behind the Service
// by then. Our programs make their certificates themselves.
func insideClient(dns string) *http.Client {
	dialer := &net.Dialer{Timeout: 2 * time.Second, Resolver: &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(dns, "53"))
		},
	}}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: dialer.DialContext, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
}

// get reads a page.
func (t *test) get(ctx context.Context, url string) ([]byte, error) { return t.getAs(ctx, url, "") }

// getAs reads a page that wants a token.
func (t *test) getAs(ctx context.Context, url, token string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := t.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s: %s", url, response.Status, body)
	}
	return body, err
}

func (t *test) prometheus() (promv1.API, error) {
	client, err := api.NewClient(api.Config{Address: prometheusURL, Client: t.http})
	return promv1.NewAPI(client), err
}

// number asks Prometheus for one figure.
func (t *test) number(ctx context.Context, expr string) (float64, error) {
	prometheus, err := t.prometheus()
	if err != nil {
		return 0, err
	}
	value, _, _, err := prometheus.Query(ctx, expr, time.Now())
	if err != nil {
		return 0, fmt.Errorf("%s: %w", expr, err)
	}
	if vector, ok := value.(model.Vector); ok && len(vector) == 1 {
		return float64(vector[0].Value), nil
	}
	return 0, fmt.Errorf("%s: not one figure, but %v", expr, value)
}

func (t *test) alerts(ctx context.Context) (alerts []localstack.Alert, err error) {
	body, err := t.get(ctx, alertmanagerURL+"/api/v2/alerts")
	if err != nil {
		return nil, err
	}
	return alerts, json.Unmarshal(body, &alerts)
}

// eventually asks once a second until there is no error, and says how it went on.
func eventually(ctx context.Context, patience time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("not within %s", patience), err)
		case <-time.After(time.Second):
		}
	}
}
