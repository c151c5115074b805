package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReproducible writes everything but programs twice, a while apart and from two folders, and
// compares. make release-check does so for programs.
func TestReproducible(t *testing.T) {
	copied := t.TempDir()
	for _, folder := range []string{"config", "charts"} {
		if err := os.CopyFS(filepath.Join(copied, folder), os.DirFS(filepath.Join("../..", folder))); err != nil {
			t.Fatal(err)
		}
	}
	var outs []string
	for _, checkout := range []string{"../..", copied} {
		r := release{version: "v1.2.3", checkout: checkout, out: t.TempDir(), imagePrefix: "images.example.com/sojourn", date: time.Unix(1_700_000_000, 0)}
		if err := r.write(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := sums(r.out); err != nil {
			t.Fatal(err)
		}
		outs = append(outs, r.out)
	}
	for _, name := range []string{"sojourn-1.2.3.tgz", "install.yaml", "crds.yaml", sumsName} {
		first, err := os.ReadFile(filepath.Join(outs[0], name))
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(filepath.Join(outs[1], name))
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s differs, %v", name, err)
		}
		switch name {
		case "install.yaml":
			for _, want := range []string{"image: images.example.com/sojourn/sojourn-manager:v1.2.3", "kind: CustomResourceDefinition"} {
				if !strings.Contains(string(first), want) {
					t.Errorf("install.yaml lacks %s", want)
				}
			}
		case "sojourn-1.2.3.tgz":
			if about := read(t, first, "sojourn/Chart.yaml"); !strings.Contains(about, "\nversion: 1.2.3\n") || !strings.Contains(about, "appVersion: v1.2.3\n") {
				t.Errorf("the chart says\n%s", about)
			}
		}
	}
}

// read reads one file of an archive.
func read(t *testing.T, packed []byte, name string) string {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(unzipped)
	for {
		header, err := archive.Next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if header.Name == name {
			text, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, version := range []string{"", "1.2.3", "v1.2", "v1.2.3 ", "latest"} {
		r := release{version: version, out: t.TempDir(), checkout: "../.."}
		if err := r.write(t.Context()); err == nil || !strings.Contains(err.Error(), "v0.2.0") {
			t.Errorf("%q: %v", version, err)
		}
	}
}
