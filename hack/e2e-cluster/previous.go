package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sojourn-dev/sojourn/hack/cluster"
)

// previousRevision is that of the newest tag. As long as there is none, it is the first
// whose programs ask who reads their metrics: while that begins, those of before go unread.
func previousRevision(ctx context.Context) (string, error) {
	if tag, err := git(ctx, "describe", "--tags", "--abbrev=0", "HEAD^"); err == nil {
		return git(ctx, "rev-parse", tag+"^{commit}")
	}
	found, err := git(ctx, "log", "-S", "--metrics-secure", "--reverse", "--format=%H", "--", "charts/sojourn/templates/prober.yaml")
	if err != nil {
		return "", err
	}
	revision, _, _ := strings.Cut(found, "\n")
	if revision == "" {
		return "", errors.New("this checkout has no version from which to upgrade: is its history cut short?")
	}
	return revision, nil
}

func git(ctx context.Context, arguments ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", arguments...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(arguments, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// previous returns the folder of the user's cache with the sources of the previous
// version, its chart among them, and with its programs under bin.
func previous(ctx context.Context) (folder, revision string, err error) {
	if revision, err = previousRevision(ctx); err != nil {
		return "", "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", err
	}
	folder = filepath.Join(cache, "sojourn", "previous", revision)
	if _, err := os.Stat(folder); err == nil {
		return folder, revision, nil
	}
	fmt.Printf("building version %.12s, from which to upgrade (once)\n", revision)
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return "", "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(folder), ".build-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(work)
	archive, err := exec.CommandContext(ctx, "git", "archive", "--format=tar", revision).Output()
	if err != nil {
		return "", "", fmt.Errorf("git archive %s: %w", revision, err)
	}
	unpack := exec.CommandContext(ctx, "tar", "--extract", "--directory", work)
	unpack.Stdin = bytes.NewReader(archive)
	if out, err := unpack.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("unpacking %s: %w\n%s", revision, err, out)
	}
	for _, name := range ourPrograms {
		if err := cluster.Build(ctx, work, "previous", filepath.Join(work, "bin", name), "./cmd/"+name); err != nil {
			return "", "", err
		}
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return "", "", err
	}
	return folder, revision, os.Rename(work, folder)
}
