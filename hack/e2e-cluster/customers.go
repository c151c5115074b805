package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// customers answer the checkout's question four times a second, all the time. As a
// well-behaved survey tool they send an answer again until it is taken.
type customers struct {
	client *http.Client
	token  string
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	accepted int           // answers that the gateway said it has
	retries  int           // attempts that were in vain
	longest  time.Duration // from an answer's first attempt to its being taken
}

func startCustomers(ctx context.Context, client *http.Client, token string) *customers {
	ctx, cancel := context.WithCancel(ctx)
	c := &customers{client: client, token: token, cancel: cancel, done: make(chan struct{})}
	go c.run(ctx)
	return c
}

// stop lets the answer that is under way arrive.
func (c *customers) stop() {
	c.cancel()
	<-c.done
}

func (c *customers) run(ctx context.Context) {
	defer close(c.done)
	var sending sync.WaitGroup
	defer sending.Wait()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			sending.Go(func() { c.send(context.WithoutCancel(ctx), fmt.Sprintf("e2e-%06d", n)) })
		}
	}
}

func (c *customers) send(ctx context.Context, id string) {
	begin := time.Now()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := c.attempt(ctx, id)
		c.mu.Lock()
		if err == nil {
			c.accepted++
			c.longest = max(c.longest, time.Since(begin))
		} else {
			c.retries++
		}
		c.mu.Unlock()
		if err == nil || time.Since(begin) > 3*time.Minute {
			return
		}
		time.Sleep(wait)
	}
}

func (c *customers) attempt(ctx context.Context, id string) error {
	body, err := json.Marshal(map[string]any{"id": id, "touchpoint": "checkout", "instrument": "ces", "score": 6})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, gatewayURL+"/v1/responses", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusAccepted && response.StatusCode != http.StatusCreated {
		return fmt.Errorf("the gateway answered %s", response.Status)
	}
	return nil
}

func (c *customers) figures() (accepted, retries int, longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accepted, c.retries, c.longest
}

// counted is how many answers of the checkout's customers the gateway shows.
func (t *test) counted(ctx context.Context) (int, error) {
	token, err := t.Client.CoreV1().ServiceAccounts("monitoring").CreateToken(ctx, "prometheus", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	page, err := t.getAs(ctx, gatewayTotals, token.Status.Token)
	if err != nil {
		return 0, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return 0, err
	}
	total := 0.0
	for _, metric := range families["sojourn_survey_responses_total"].GetMetric() {
		labels := map[string]string{}
		for _, pair := range metric.GetLabel() {
			labels[pair.GetName()] = pair.GetValue()
		}
		if labels["touchpoint"] == "checkout" && labels["instrument"] == "ces" {
			total += metric.GetCounter().GetValue()
		}
	}
	return int(total), nil
}
