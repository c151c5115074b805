package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestPlugin reads the plugin's archives and manifest as krew would.
func TestPlugin(t *testing.T) {
	out := t.TempDir()
	if said, err := run(t, "plugin", "--version=v1.2.3-rc.1", "--checkout="+checkout(t), "--out="+out, "--platforms=linux/amd64,windows/amd64"); err != nil {
		t.Fatal(err, said)
	}
	files := written(t, out)
	var manifest krewPlugin
	if err := yaml.UnmarshalStrict([]byte(files["journey.yaml"]), &manifest); err != nil {
		t.Fatal(err)
	}
	// What krew's own validation asks for.
	spec := manifest.Spec
	if manifest.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || manifest.Kind != "Plugin" || manifest.Metadata.Name != "journey" ||
		spec.Version != "v1.2.3-rc.1" || spec.ShortDescription == "" || len(spec.ShortDescription) > 50 || strings.ContainsAny(spec.ShortDescription, "\r\n") ||
		len(spec.Platforms) != 2 || !strings.HasPrefix(spec.Homepage, "https://") {
		t.Errorf("%s", files["journey.yaml"])
	}
	for _, each := range spec.Platforms {
		name := path.Base(each.URI)
		sum := sha256.Sum256([]byte(files[name]))
		if hex.EncodeToString(sum[:]) != each.SHA256 || !regexp.MustCompile(`^[a-f0-9]{64}$`).MatchString(each.SHA256) {
			t.Errorf("%s has another checksum", name)
		}
		held := unpacked(t, name, []byte(files[name]))
		for _, move := range each.Files {
			if !slices.Contains(held, move.From) || move.To != "." {
				t.Errorf("%s lacks %s", name, move.From)
			}
		}
		if !slices.ContainsFunc(each.Files, func(move krewMove) bool { return move.From == each.Bin }) {
			t.Errorf("%s: the program is not among the files", name)
		}
	}
}

// unpacked lists what an archive holds; programs must be executable.
func unpacked(t *testing.T, name string, archive []byte) (held []string) {
	t.Helper()
	if strings.HasSuffix(name, ".zip") {
		reader, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
		if err != nil {
			t.Fatal(err)
		}
		for _, each := range reader.File {
			held = append(held, each.Name)
		}
		return held
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return held
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(header.Name, "kubectl") && header.Mode&0o111 == 0 {
			t.Errorf("%s is not executable", header.Name)
		}
		held = append(held, header.Name)
	}
}

// member reads one file of a tar.
func member(t *testing.T, packed io.Reader, name string) []byte {
	t.Helper()
	for reader := tar.NewReader(packed); ; {
		header, err := reader.Next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if header.Name != name {
			continue
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
}
