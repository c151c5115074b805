package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"
)

func TestFlagsOfUIGoTogether(t *testing.T) {
	for args, want := range map[string]string{
		"":                                    "",
		"--port 8080 --open":                  "",
		"--listen :8443 --port 1":             "--port and --open are for pages on this machine",
		"--listen :8443 --user-header X-User": "would let everybody be anybody",
		"--listen :8443 --group-header X":     "--user-header is missing",
		"--user-header X-User":                "go with --listen",
		"--tls-cert-file a":                   "go together",
		"--port 99999":                        "is no port",
		"--namespaces Shop":                   "is no namespace",
		"--listen :8443 --user-header X-User --proxy-secret-file a": "",
	} {
		c := uiCommand(genericclioptions.NewTestIOStreamsDiscard())
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs(append(strings.Fields(args), "--kubeconfig", filepath.Join(t.TempDir(), "none")))
		err := c.ExecuteContext(t.Context())
		if want == "" {
			want = "kubeconfig" // flags are looked at first
			if err != nil && !strings.Contains(err.Error(), "go together") && !strings.Contains(err.Error(), "--listen") {
				continue
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// TestUI serves the journeys of a real API server, to oneself and to others.
func TestUI(t *testing.T) {
	plane, _ := cluster(t)
	run := func(args ...string) (out *lines, stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		out = &lines{}
		c := uiCommand(genericclioptions.IOStreams{In: strings.NewReader(""), Out: out, ErrOut: t.Output()})
		c.SetArgs(append(args, "--kubeconfig", plane.Kubeconfig()))
		ended := make(chan error, 1)
		go func() { ended <- c.ExecuteContext(ctx) }()
		return out, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	fetch := func(address string) (int, string) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			answer, err := client.Get(address)
			if err == nil {
				defer answer.Body.Close()
				text, err := io.ReadAll(answer.Body)
				if err != nil {
					t.Fatal(err)
				}
				return answer.StatusCode, string(text)
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}

	out, stop := run()
	for deadline := time.Now().Add(30 * time.Second); !strings.HasSuffix(out.String(), "/\n"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no address: %q", out.String())
		}
	}
	if status, text := fetch(strings.TrimSpace(out.String())); status != http.StatusOK || !strings.Contains(text, "There is no journey that you may see.") {
		t.Errorf("%d %s", status, text)
	}
	stop()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, stop = run("--listen", address)
	if status, _ := fetch("https://" + address + "/"); status != http.StatusUnauthorized {
		t.Errorf("%d without a token", status)
	}
	stop()
}

// lines is written by one and read by another.
type lines struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(text []byte) (int, error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.Write(text)
}

func (l *lines) String() string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.String()
}
