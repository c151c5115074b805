package localstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// debianBlackbox is Debian's package of blackbox_exporter and the program in it.
const debianBlackbox = "prometheus-blackbox-exporter"

// ErrNoBlackbox means that this machine neither has a blackbox_exporter nor can get
// Debian's.
var ErrNoBlackbox = errors.New("no blackbox_exporter: install Debian's package " + debianBlackbox)

// BlackboxBinary returns the path of the system's blackbox_exporter. Where apt-get is
// at hand but the package is not installed, it is unpacked into the user's cache, once.
func BlackboxBinary(ctx context.Context) (string, error) {
	if path, err := exec.LookPath(debianBlackbox); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "sojourn", "debian")
	path := filepath.Join(dir, debianBlackbox)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", ErrNoBlackbox
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(dir, ".unpack-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	download := exec.CommandContext(ctx, "apt-get", "download", debianBlackbox)
	download.Dir = tmp
	if out, err := download.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %w\n%s", ErrNoBlackbox, err, out)
	}
	packages, _ := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if len(packages) != 1 {
		return "", fmt.Errorf("%w: apt-get left %d packages", ErrNoBlackbox, len(packages))
	}
	unpack := exec.CommandContext(ctx, "dpkg-deb", "-x", packages[0], tmp)
	if out, err := unpack.CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpacking %s: %w\n%s", packages[0], err, out)
	}
	return path, os.Rename(filepath.Join(tmp, "usr", "bin", debianBlackbox), path)
}

// BlackboxOptions says how a blackbox_exporter runs.
type BlackboxOptions struct {
	// Dir keeps the configuration and the log, and stays after Stop. Empty means a
	// temporary folder that Stop removes.
	Dir string
	// ConfigYAML is its whole configuration. Default: the module http_2xx.
	ConfigYAML string
	// Environment is added to that of this process.
	Environment []string
}

// Blackbox is a running blackbox_exporter.
type Blackbox struct {
	// Address is its host and port.
	Address string

	process   *Process
	removeDir func()
}

// StartBlackbox starts Debian's blackbox_exporter on loopback and waits until it is
// ready.
func StartBlackbox(ctx context.Context, options BlackboxOptions) (*Blackbox, error) {
	b := &Blackbox{}
	if err := b.start(ctx, options); err != nil {
		b.Stop()
		return nil, fmt.Errorf("blackbox_exporter: %w", err)
	}
	return b, nil
}

func (b *Blackbox) start(ctx context.Context, options BlackboxOptions) error {
	binary, err := BlackboxBinary(ctx)
	if err != nil {
		return err
	}
	var dir string
	if dir, b.removeDir, err = stackDir(options.Dir, "blackbox"); err != nil {
		return err
	}
	config := filepath.Join(dir, "blackbox.yaml")
	text := cmp.Or(options.ConfigYAML, "modules: {http_2xx: {prober: http}}\n")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	b.Address = fmt.Sprintf("127.0.0.1:%d", port)
	// The environment goes through env, so that starting programs stays simple.
	arguments := append(options.Environment, binary, "--config.file="+config, "--web.listen-address="+b.Address)
	if b.process, err = StartProcess(dir, "blackbox", "/usr/bin/env", arguments...); err != nil {
		return err
	}
	return b.process.WaitReady(ctx, func(ctx context.Context) error { return AnswersOK(ctx, "http://"+b.Address+"/-/healthy") })
}

// PID is its process.
func (b *Blackbox) PID() int { return b.process.cmd.Process.Pid }

// Stop ends it and removes the temporary folder. It may be called more than once,
// and on nil.
func (b *Blackbox) Stop() {
	if b == nil {
		return
	}
	b.process.Stop(5 * time.Second)
	if b.removeDir != nil {
		b.removeDir()
	}
}
