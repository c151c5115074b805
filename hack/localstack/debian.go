package localstack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// debianCache is where Debian packages are unpacked. Root's own cache will not do:
// programs that refuse to run as root run as somebody who may not look into it.
func debianCache() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/sojourn/debian", nil
	}
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "sojourn", "debian"), err
}

// Debian downloads a Debian package and those it depends on that this machine lacks,
// unpacks them into the cache, once, and returns the folder, under which files lie as
// under /. It needs apt and dpkg-deb, and no rights.
func Debian(ctx context.Context, name string) (string, error) {
	// What would be installed is what is missing.
	plan, err := exec.CommandContext(ctx, "apt-get", "--simulate", "--no-install-recommends", "install", name).Output()
	if err != nil {
		return "", fmt.Errorf("asking apt for %s: %w (Debian or Ubuntu, with fresh lists by apt-get update, is needed)", name, sayStderr(err))
	}
	var missing []string
	for lines := bufio.NewScanner(bytes.NewReader(plan)); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 2 && fields[0] == "Inst" {
			missing = append(missing, fields[1]+"="+strings.Trim(fields[2], "()"))
		}
	}
	if len(missing) == 0 {
		return "/", nil // installed
	}
	slices.Sort(missing)
	cache, err := debianCache()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.Join(missing, "\n")))
	folder := filepath.Join(cache, name+"-"+hex.EncodeToString(sum[:4]))
	unlock, err := lockFile(ctx, filepath.Join(cache, ".lock"), func() {
		fmt.Fprintf(os.Stderr, "localstack: another process is unpacking; waiting for it before %s\n", name)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	fmt.Fprintf(os.Stderr, "localstack: downloading Debian's %s and what it needs, %d packages (once)\n", name, len(missing))
	work, err := os.MkdirTemp(cache, ".unpack-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	download := exec.CommandContext(ctx, "apt-get", append([]string{"download"}, missing...)...)
	download.Dir = work
	if output, err := download.CombinedOutput(); err != nil {
		return "", fmt.Errorf("downloading %s: %w\n%s", name, err, lastLines(output, 10))
	}
	packages, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil {
		return "", err
	}
	root := filepath.Join(work, "root")
	for _, each := range packages {
		if output, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", each, root).CombinedOutput(); err != nil {
			return "", fmt.Errorf("unpacking %s: %w\n%s", filepath.Base(each), err, output)
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		return "", err
	}
	return folder, os.Rename(root, folder)
}

// libraries returns the environment in which a program of a folder of Debian's finds
// the libraries unpacked beside it.
func libraries(root string) ([]string, error) {
	if root == "/" {
		return os.Environ(), nil
	}
	var folders []string
	err := filepath.WalkDir(filepath.Join(root, "usr", "lib"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".so") && !slices.Contains(folders, filepath.Dir(path)) {
			folders = append(folders, filepath.Dir(path))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(folders, ":")), nil
}

// Chromium returns the path of Debian's Chromium and the environment to run it in.
func Chromium(ctx context.Context) (path string, environment []string, err error) {
	root, err := Debian(ctx, "chromium")
	if err != nil {
		return "", nil, err
	}
	environment, err = libraries(root)
	return filepath.Join(root, "usr", "lib", "chromium", "chromium"), environment, err
}

// sayStderr adds what a program wrote to the error that it ended with.
func sayStderr(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, lastLines(exit.Stderr, 3))
	}
	return err
}
