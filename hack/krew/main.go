// Krew makes the archives of kubectl-journey for all platforms, their checksums and the
// krew manifest that names them. The same source makes the same bytes.
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// platforms are those of kubectl that people have.
const platforms = "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64"

func main() {
	version := flag.String("version", "", "`version` to release, such as v1.2.3")
	chosen := flag.String("platforms", platforms, "comma-separated `platforms`")
	dir := flag.String("dir", "dist", "`folder` for what is made")
	base := flag.String("url", "https://github.com/sojourn-dev/sojourn/releases/download", "`address` below which releases are published")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := release(ctx, *version, strings.Split(*chosen, ","), *dir, *base, compile); err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}

// release writes archives, checksums.txt and journey.yaml. build writes the program for a
// platform to a path.
func release(ctx context.Context, version string, platforms []string, dir, base string, build func(ctx context.Context, system, machine, version, path string) error) error {
	if version == "" {
		return fmt.Errorf("-version is missing: write the release's version, such as v1.2.3")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "sojourn-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	license, err := os.ReadFile("LICENSE")
	if err != nil {
		return fmt.Errorf("run it in the project's root: %w", err)
	}
	manifest := pluginOf(krewVersion(version))
	var checksums strings.Builder
	for _, platform := range platforms {
		system, machine, ok := strings.Cut(platform, "/")
		if !ok {
			return fmt.Errorf("%q is no platform: write one such as linux/amd64", platform)
		}
		program, pack, suffix := "kubectl-journey", inTar, ".tar.gz"
		if system == "windows" {
			program, pack, suffix = "kubectl-journey.exe", inZip, ".zip"
		}
		path := filepath.Join(work, system+"-"+machine)
		if err := build(ctx, system, machine, version, path); err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		binary, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		archive, err := pack([]file{{program, 0o755, binary}, {"LICENSE", 0o644, license}, {"kubectl_complete-journey", 0o755, []byte(completion)}})
		if err != nil {
			return err
		}
		name := fmt.Sprintf("kubectl-journey_%s_%s_%s%s", version, system, machine, suffix)
		if err := os.WriteFile(filepath.Join(dir, name), archive, 0o644); err != nil {
			return err
		}
		sum := sha256.Sum256(archive)
		digest := hex.EncodeToString(sum[:])
		fmt.Fprintf(&checksums, "%s  %s\n", digest, name)
		manifest.Spec.Platforms = append(manifest.Spec.Platforms, platformOf(system, machine, fmt.Sprintf("%s/%s/%s", base, version, name), digest, program))
		fmt.Printf("%s  %.1f MiB\n", filepath.Join(dir, name), float64(len(archive))/(1<<20))
	}
	text, err := yaml.Marshal(manifest)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "journey.yaml"), text, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "checksums.txt"), []byte(checksums.String()), 0o644)
}

// compile builds the plugin for a platform, without anything of this machine in it.
func compile(ctx context.Context, system, machine, version, path string) error {
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+version, "-o", path, "./cmd/kubectl-journey")
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+machine)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	return command.Run()
}

// completion is what kubectl runs, under this name in the PATH, to complete the plugin's
// arguments.
const completion = `#!/bin/sh
exec kubectl-journey __complete "$@"
`

// file is one in an archive.
type file struct {
	name    string
	mode    int64
	content []byte
}

// then is when everything was written, as far as archives tell. Zip knows no earlier year.
var then = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

func inTar(files []file) ([]byte, error) {
	var packed bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(compressed)
	for _, each := range files {
		header := &tar.Header{Name: each.name, Mode: each.mode, Size: int64(len(each.content)), ModTime: then, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(each.content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	err = compressed.Close()
	return packed.Bytes(), err
}

func inZip(files []file) ([]byte, error) {
	var packed bytes.Buffer
	archive := zip.NewWriter(&packed)
	for _, each := range files {
		header := &zip.FileHeader{Name: each.name, Method: zip.Deflate, Modified: then}
		header.SetMode(os.FileMode(each.mode))
		to, err := archive.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := to.Write(each.content); err != nil {
			return nil, err
		}
	}
	err := archive.Close()
	return packed.Bytes(), err
}

var semantic = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// krewVersion is a version as krew takes it; of a commit between releases one before all.
func krewVersion(version string) string {
	if semantic.MatchString(version) {
		return version
	}
	return "v0.0.0-" + regexp.MustCompile(`[^0-9A-Za-z-]+`).ReplaceAllString(version, "-")
}
