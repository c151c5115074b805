package localstack

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBinaryVersions: every program is built, runs, and knows its own version.
// Clients read it; a program that calls itself v0.0.0 leads them astray.
func TestBinaryVersions(t *testing.T) {
	for name, want := range map[string]string{
		EtcdBinary:                  "etcd Version: 3.6.",
		KubeAPIServerBinary:         "Kubernetes v1.36.",
		KubeControllerManagerBinary: "Kubernetes v1.36.",
		PrometheusBinary:            "version 3.13.",
		PromtoolBinary:              "version 3.13.",
		AlertmanagerBinary:          "version 0.31.",
	} {
		t.Setenv(assetsVariable, "")
		path, err := Binary(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(path, "--version").CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s --version: want %q, got %v %s", path, want, err, out)
		}
	}
}

func TestBinaryFromAssets(t *testing.T) {
	assets := t.TempDir()
	t.Setenv(assetsVariable, assets)
	for _, name := range []string{EtcdBinary, KubeAPIServerBinary} {
		if path, err := Binary(t.Context(), name); err == nil || !strings.Contains(err.Error(), assetsVariable) {
			t.Errorf("%s lacks in the folder: want an error that names %s, got %q, %v", name, assetsVariable, path, err)
		}
		want := filepath.Join(assets, name)
		if err := os.WriteFile(want, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if path, err := Binary(t.Context(), name); err != nil || path != want {
			t.Errorf("want %s, got %q, %v", want, path, err)
		}
	}
	if path, err := Binary(t.Context(), KubeControllerManagerBinary); err != nil || filepath.Dir(path) == assets {
		t.Errorf("the controller manager is not in the folder and must be built; got %q, %v", path, err)
	}
}

func TestBinaryUnknown(t *testing.T) {
	if _, err := Binary(t.Context(), "kube-nothing"); err == nil || !strings.Contains(err.Error(), EtcdBinary) {
		t.Errorf("want an error that lists the names, got %v", err)
	}
}

// TestBinaryBuild builds a program from scratch, with a cache of its own: a
// failure must leave nothing in it, and a change of the module must build anew.
func TestBinaryBuild(t *testing.T) {
	t.Setenv("GOCACHE", goEnv(t, "GOCACHE"))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(cache, os.Getenv("XDG_CACHE_HOME")) {
		t.Skip("this system's cache folder cannot be moved")
	}
	p := program{name: "broken", folder: "etcd", pkg: "./none", origin: "go.etcd.io/etcd/server/v3"}
	if path, err := p.cached(t.Context()); err == nil {
		t.Errorf("built %s from a package that is not there", path)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "sojourn", "bin", "*broken*")); len(left) > 0 {
		t.Errorf("a failed build left %v", left)
	}

	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	hash := func(content string, args ...string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		h, err := hashOf(dir, args)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	base := hash("package main", "-s")
	if hash("package main", "-s") != base {
		t.Error("the hash changes by itself")
	}
	if hash("package main //", "-s") == base || hash("package main", "-w") == base {
		t.Error("the hash overlooks a change of file or flags")
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path, func() { t.Error("the first waits") })
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	waited := false
	if _, err := lockFile(short, path, func() { waited = true }); !errors.Is(err, context.DeadlineExceeded) || !waited {
		t.Errorf("the second: want it to wait until its deadline; waited %v, error %v", waited, err)
	}
	unlock()
	unlock, err = lockFile(t.Context(), path, func() { t.Error("the third waits for a lock that is free") })
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestPrometheusVersion(t *testing.T) {
	for module, want := range map[string]string{"v0.313.5": "=3.13.5", "v0.306.0": "=3.6.0", "v0.54.1": "=2.54.1", "v0.42.0": "=2.42.0"} {
		if got := prometheusVersion(module); !strings.HasSuffix(got[1], want) {
			t.Errorf("%s: want …%s, got %s", module, want, got[1])
		}
	}
}
