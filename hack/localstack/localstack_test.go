package localstack

import (
	"context"
	"testing"
	"time"
)

// eventually waits for what comes within seconds, unless the machine has much else to do.
func eventually(t *testing.T, what string, condition func(context.Context) error) {
	t.Helper()
	const within = 2 * time.Minute
	begin := time.Now()
	for {
		err := condition(t.Context())
		if err == nil {
			t.Logf("%s, after %.1f s", what, time.Since(begin).Seconds())
			return
		}
		if time.Since(begin) > within {
			t.Fatalf("not within %v: %s: %v", within, what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func startControlPlane(t *testing.T, options ControlPlaneOptions) *ControlPlane {
	t.Helper()
	begin := time.Now()
	cp, err := StartControlPlane(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("control plane ready after %.1f s", time.Since(begin).Seconds())
	t.Cleanup(func() {
		begin := time.Now()
		cp.Stop()
		t.Logf("control plane stopped after %.1f s", time.Since(begin).Seconds())
	})
	return cp
}

func startPrometheus(t *testing.T, options PrometheusOptions) *Prometheus {
	t.Helper()
	begin := time.Now()
	p, err := StartPrometheus(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Prometheus ready after %.1f s", time.Since(begin).Seconds())
	t.Cleanup(p.Stop)
	return p
}
