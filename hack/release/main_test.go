package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkout is a folder with the project's chart and manifests, and programs that do nothing
// but say their version, which compile within a second.
func checkout(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, part := range []string{"config", "charts"} {
		if err := os.CopyFS(filepath.Join(folder, part), os.DirFS(filepath.Join("../..", part))); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{"LICENSE": "Apache", "go.mod": "module example.com/sojourn\n\ngo 1.26.0\n"}
	for _, program := range append([]string{journey}, programs...) {
		files["cmd/"+program+"/main.go"] = fmt.Sprintf("package main\n\nvar version string\n\nfunc main() { print(%q, version) }\n", program+" ")
	}
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// run runs the command and returns what it said.
func run(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	var said strings.Builder
	root := command(&said)
	root.SetArgs(arguments)
	err := root.ExecuteContext(t.Context())
	return said.String(), err
}

// written are the files of a folder.
func written(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder, path)
		found[filepath.ToSlash(name)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestReproducible writes everything twice, a while apart and from two folders, and compares.
// make release-check does so with the real programs.
func TestReproducible(t *testing.T) {
	var outs []map[string]string
	for range 2 {
		out := t.TempDir()
		if said, err := run(t, "all", "--version=v1.2.3", "--image-prefix=images.example.com/sojourn", "--checkout="+checkout(t),
			"--out="+out, "--platforms=linux/amd64,windows/amd64"); err != nil {
			t.Fatal(err, said)
		}
		outs = append(outs, written(t, out))
	}
	for _, name := range []string{
		"sojourn_1.2.3_linux_amd64.tar.gz", "sojourn_1.2.3_linux_amd64.cdx.json", "images/sojourn-manager_1.2.3_linux_amd64.tar",
		"images/sojourn-journey_1.2.3_linux_amd64.cdx.json", "kubectl-journey_1.2.3_windows_amd64.zip", "kubectl-journey_1.2.3_linux_amd64.tar.gz",
		"journey.yaml", "sojourn-1.2.3.tgz", "install.yaml", "crds.yaml", "SHA256SUMS",
	} {
		if outs[0][name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	for name, content := range outs[0] {
		if content != outs[1][name] {
			t.Errorf("%s differs", name)
		}
		if name != sumsName && !strings.Contains(outs[0][sumsName], "  "+name+"\n") {
			t.Errorf("%s has no checksum", name)
		}
	}
	if len(outs[0]) != len(outs[1]) {
		t.Errorf("%d files, then %d", len(outs[0]), len(outs[1]))
	}
}

func TestMistakes(t *testing.T) {
	for _, version := range []string{"", "unknown", "1.2.3", "v1.2", "v1.2.3 ", "v1.2.3-01", "v1.2.3+4", "latest"} {
		if _, err := run(t, "all", "--version="+version, "--checkout=../..", "--out="+t.TempDir()); err == nil || !strings.Contains(err.Error(), "v0.2.0") {
			t.Errorf("%q: %v", version, err)
		}
	}
	for want, arguments := range map[string][]string{
		"such as linux/amd64":                       {"images", "--platforms=amd64"},
		"images are for Linux":                      {"images", "--platforms=darwin/arm64"},
		"IMAGE_PREFIX is not set":                   {"push"},
		"IMAGE_PREFIX=alice names no registry":      {"push", "--image-prefix=alice"},
		"IMAGE_PREFIX=https://images.example.com/a": {"push", "--image-prefix=https://images.example.com/a"},
		"IMAGE_PREFIX=images.example.com/A":         {"push", "--image-prefix=images.example.com/A"},
		"run it in the project's root":              {"push", "--image-prefix=images.example.com/a", "--checkout=" + t.TempDir()},
	} {
		_, err := run(t, append([]string{"--version=v1.2.3", "--checkout=../..", "--out=" + t.TempDir()}, arguments...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want something with %q", arguments, err, want)
		}
	}
}

// TestSet: only what is meant is changed, and only where it is meant.
func TestSet(t *testing.T) {
	const text = "# About.\nimage:\n  # Here.\n  prefix: \"\"\nother: {prefix: \"\"}\nversion: 0.1.0\n"
	changed, err := set([]byte(text), "a/b", "image", "prefix")
	if want := strings.Replace(text, `  prefix: ""`, `  prefix: "a/b"`, 1); err != nil || string(changed) != want {
		t.Errorf("%v\n%s", err, changed)
	}
	changed, err = set([]byte(text), "1.2.3", "version")
	if want := strings.Replace(text, "0.1.0", `"1.2.3"`, 1); err != nil || string(changed) != want {
		t.Errorf("%v\n%s", err, changed)
	}
	for want, path := range map[string][]string{"has no image.tag": {"image", "tag"}, "not alone": {"other", "prefix"}} {
		if _, err := set([]byte(text), "", path...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", path, err)
		}
	}
}
