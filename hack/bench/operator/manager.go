package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sojourn-dev/sojourn/hack/bench/proc"
)

// manager is the program while it runs.
type manager struct {
	command *exec.Cmd
	address string
	started time.Time
}

func (b *bench) startManager(c *cluster, flags ...string) (*manager, error) {
	// A port that is free now; nobody else asks for one meanwhile.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &manager{address: listener.Addr().String(), started: time.Now()}
	listener.Close()
	m.command = exec.Command(b.manager, append([]string{"--kubeconfig", c.Kubeconfig(), "--log-level", "warn",
		"--metrics-bind-address", m.address, "--metrics-secure=false", "--health-probe-bind-address", "0"}, flags...)...)
	m.command.Stderr = os.Stderr
	m.command.Env = append(os.Environ(), "POD_NAMESPACE=sojourn-system")
	return m, m.command.Start()
}

func (m *manager) stop() error {
	if m == nil {
		return nil
	}
	if err := m.command.Process.Signal(syscall.SIGTERM); err != nil {
		return nil // it has ended already
	}
	return m.command.Wait()
}

// usage is what the manager has used and done so far.
type usageSoFar struct {
	cpu            time.Duration
	resident, peak int
	counts
}

// counts are those of the manager's own metrics.
type counts struct {
	writes, reads, reconciliations float64
	// busy is how many requests are waiting or being worked on.
	busy float64
	// round is how long the last round of questions to Prometheus took.
	round time.Duration
	// refused are answers with a status of 400 and above, to writes.
	refused float64
}

var label = regexp.MustCompile(`(\w+)="([^"]*)"`)

func (m *manager) usage(ctx context.Context) (u usageSoFar, err error) {
	if u.counts, err = m.counts(ctx); err != nil {
		return u, err
	}
	if u.cpu, err = proc.CPU(m.command.Process.Pid); err != nil {
		return u, err
	}
	if u.resident, err = proc.Resident(m.command.Process.Pid); err != nil {
		return u, err
	}
	u.peak, err = proc.Peak(m.command.Process.Pid)
	return u, err
}

func (m *manager) counts(ctx context.Context) (c counts, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.address+"/metrics", nil)
	if err != nil {
		return c, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return c, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return c, err
	}
	for line := range bytes.Lines(text) {
		space := bytes.LastIndexByte(line, ' ')
		if line[0] == '#' || space < 0 {
			continue
		}
		series := string(line[:space])
		name, labels, _ := strings.Cut(series, "{")
		value, err := strconv.ParseFloat(strings.TrimSpace(string(line[space+1:])), 64)
		if err != nil {
			continue
		}
		switch name {
		case "controller_runtime_reconcile_total":
			c.reconciliations += value
		case "controller_runtime_active_workers", "workqueue_depth":
			c.busy += value
		case "sojourn_observe_round_duration_seconds":
			c.round = time.Duration(value * float64(time.Second))
		case "rest_client_requests_total":
			of := map[string]string{}
			for _, match := range label.FindAllStringSubmatch(labels, -1) {
				of[match[1]] = match[2]
			}
			if of["method"] == http.MethodGet {
				c.reads += value
				continue
			}
			c.writes += value
			if of["code"] >= "400" || of["code"] == "<error>" {
				c.refused += value
			}
		}
	}
	return c, nil
}

// quiet is how long nothing may happen before that is rest: longer than what is gathered
// of many changes waits.
const quiet = 6 * time.Second

// settle waits for rest, and tells when the last write, and the last reconciliation, were
// seen. whenWritten, if given, is called whenever writes were seen.
func (m *manager) settle(ctx context.Context, begin time.Time, whenWritten func()) (written, reconciled time.Duration, err error) {
	var last counts
	wrote, worked := begin, begin
	for {
		now := time.Now()
		seen, err := m.counts(ctx)
		switch {
		case err != nil && now.Sub(m.started) > 20*time.Second:
			return 0, 0, fmt.Errorf("the manager does not tell: %w", err)
		case err == nil:
			if seen.writes != last.writes {
				wrote = now
				if whenWritten != nil {
					whenWritten()
				}
			}
			if seen.reconciliations != last.reconciliations || seen.busy > 0 {
				worked = now
			}
			last = seen
		}
		if last.reconciliations > 0 && now.Sub(worked) > quiet && now.Sub(wrote) > quiet {
			return wrote.Sub(begin), worked.Sub(begin), nil
		}
		if now.Sub(begin) > 10*time.Minute {
			return 0, 0, errors.New("no rest after ten minutes")
		}
		if err := sleep(ctx, 250*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
}
