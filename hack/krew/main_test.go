package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestRelease makes a release of programs that are just texts, twice, and reads it as krew
// would: archives hold what the manifest says, and both times are the same bytes.
func TestRelease(t *testing.T) {
	t.Chdir("../..")
	build := func(_ context.Context, system, machine, version, path string) error {
		return os.WriteFile(path, []byte(system+machine+version), 0o600)
	}
	first, second := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := release(t.Context(), "v1.2.3", strings.Split(platforms, ","), dir, "https://example.com", build); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(first, "journey.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest plugin
	if err := yaml.UnmarshalStrict(text, &manifest); err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(first, "checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	// What krew's own validation asks for.
	spec := manifest.Spec
	if manifest.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || manifest.Kind != "Plugin" || manifest.Metadata.Name != "journey" ||
		!semantic.MatchString(spec.Version) || spec.ShortDescription == "" || len(spec.ShortDescription) > 50 || strings.ContainsAny(spec.ShortDescription, "\r\n") ||
		len(spec.Platforms) != 6 || !strings.HasPrefix(spec.Homepage, "https://") {
		t.Errorf("%s", text)
	}
	for _, each := range spec.Platforms {
		name := path.Base(each.URI)
		archive, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(archive)
		if hex.EncodeToString(sum[:]) != each.SHA256 || !regexp.MustCompile(`^[a-f0-9]{64}$`).MatchString(each.SHA256) || !strings.Contains(string(sums), each.SHA256+"  "+name+"\n") {
			t.Errorf("%s has another checksum", name)
		}
		if again, err := os.ReadFile(filepath.Join(second, name)); err != nil || !bytes.Equal(archive, again) {
			t.Errorf("%s is not the same the second time: %v", name, err)
		}
		held, program := unpacked(t, name, archive), each.SHA256
		for _, move := range each.Files {
			if !slices.Contains(held, move.From) || move.To != "." {
				t.Errorf("%s lacks %s", name, move.From)
			}
			if move.From == each.Bin {
				program = move.From
			}
		}
		if program != each.Bin {
			t.Errorf("%s: the program is not among the files", name)
		}
	}
	failure := errors.New("does not compile")
	err = release(t.Context(), "v1.2.3", []string{"linux/amd64"}, t.TempDir(), "", func(context.Context, string, string, string, string) error { return failure })
	if !errors.Is(err, failure) {
		t.Error(err)
	}
	if release(t.Context(), "", nil, t.TempDir(), "", build) == nil || release(t.Context(), "v1", []string{"plan9"}, t.TempDir(), "", build) == nil {
		t.Error("bad input was taken")
	}
	for version, wanted := range map[string]string{"v1.2.3": "v1.2.3", "v1.2.3-rc.1": "v1.2.3-rc.1", "4cc0bc4-dirty": "v0.0.0-4cc0bc4-dirty"} {
		if got := krewVersion(version); got != wanted || !semantic.MatchString(got) {
			t.Error(version, got)
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
