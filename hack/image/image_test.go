package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const certificates = "-----BEGIN CERTIFICATE-----\nnot one that anybody would trust\n-----END CERTIFICATE-----\n"

// program builds a small program and returns its file.
func program(t *testing.T, environment ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", file, "./testdata/program")
	cmd.Env = append(os.Environ(), append([]string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64"}, environment...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

// made runs the command and returns the image and the folder it lies in.
func made(t *testing.T, program string, flags ...string) (v1.Image, string) {
	t.Helper()
	folder := t.TempDir()
	trusted := filepath.Join(folder, "trusted.pem")
	if err := os.WriteFile(trusted, []byte(certificates), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(folder, "image.tar")
	arguments := append([]string{"-certificates=" + trusted, "-version=1.2.3", "-revision=abc"}, flags...)
	if err := run(append(arguments, program, "images.example.com/sojourn/sojourn-manager:1.2.3", out)); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	return image, folder
}

// files are the headers of an image's files by name, with a slash before it.
func files(t *testing.T, image v1.Image) map[string]*tar.Header {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	found := map[string]*tar.Header{}
	for reader := tar.NewReader(content); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found["/"+header.Name] = header
	}
}

func TestSameInputSameDigest(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	one, first := made(t, program(t))
	other, second := made(t, program(t))
	digest, err := one.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := other.Digest(); err != nil || again != digest {
		t.Errorf("%s, then %s (%v)", digest, again, err)
	}
	for _, name := range []string{"image.tar", "image.cdx.json"} {
		a, errA := os.ReadFile(filepath.Join(first, name))
		b, errB := os.ReadFile(filepath.Join(second, name))
		if err := errors.Join(errA, errB); err != nil || string(a) != string(b) {
			t.Errorf("%s differs: %v", name, err)
		}
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1700000001")
	later, _ := made(t, program(t))
	if same, err := later.Digest(); err != nil || same == digest {
		t.Errorf("another time does not show: %v", err)
	}
}

func TestWhatItSays(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	image, _ := made(t, program(t))
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"org.opencontainers.image.title":    "sojourn-manager",
		"org.opencontainers.image.version":  "1.2.3",
		"org.opencontainers.image.revision": "abc",
		"org.opencontainers.image.created":  "2023-11-14T22:13:20Z",
	}
	if !maps.Equal(config.Config.Labels, want) {
		t.Errorf("labels %v, want %v", config.Config.Labels, want)
	}
	if config.OS != "linux" || config.Architecture != "amd64" || config.Created.Unix() != 1700000000 {
		t.Errorf("%s/%s of %v", config.OS, config.Architecture, config.Created)
	}
	for name, header := range files(t, image) {
		if header.ModTime.Unix() != 1700000000 || header.Uid != 0 || header.Mode&0o022 != 0 {
			t.Errorf("%s is of %v, belongs to %d and has mode %o: others than root could change it", name, header.ModTime, header.Uid, header.Mode)
		}
	}
}

// TestSameAsDockerfile: whoever has a Docker engine gets the same image.
func TestSameAsDockerfile(t *testing.T) {
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, last, found := strings.Cut(string(text), "\nFROM scratch\n")
	if !found {
		t.Fatal("the Dockerfile does not end in an image from scratch")
	}
	instruction := func(pattern string) (values []string) {
		for _, match := range regexp.MustCompile(`(?m)^`+pattern).FindAllStringSubmatch(last, -1) {
			values = append(values, match[1])
		}
		return values
	}
	image, _ := made(t, program(t))
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if want := instruction(`USER (\S+)$`); !slices.Equal([]string{config.Config.User}, want) {
		t.Errorf("user %s, the Dockerfile says %v", config.Config.User, want)
	}
	entrypoint, err := json.Marshal(config.Config.Entrypoint)
	if want := instruction(`ENTRYPOINT (.+)$`); err != nil || !slices.Equal([]string{string(entrypoint)}, want) {
		t.Errorf("entrypoint %s, the Dockerfile says %v", entrypoint, want)
	}
	var got []string
	for name, header := range files(t, image) {
		if header.Typeflag == tar.TypeReg {
			got = append(got, name)
		}
	}
	var want []string
	for _, copied := range instruction(`COPY --from=build (.+)$`) {
		source, target, _ := strings.Cut(copied, " ")
		if strings.HasSuffix(target, "/") {
			target += filepath.Base(source)
		}
		want = append(want, target)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files %v, the Dockerfile says %v", got, want)
	}
	var labels []string
	for label := range config.Config.Labels {
		if label != "org.opencontainers.image.created" {
			labels = append(labels, label)
		}
	}
	slices.Sort(labels)
	said := regexp.MustCompile(`org\.opencontainers\.image\.[a-z]+`).FindAllString(last, -1)
	slices.Sort(said)
	if !slices.Equal(labels, said) {
		t.Errorf("labels %v, the Dockerfile says %v", labels, said)
	}
}

// TestBill: every module of a program is on its bill of materials.
func TestBill(t *testing.T) {
	self, err := os.Executable() // consists of modules
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bill.json")
	if err := writeBill(file, self, "test", "1"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"bomFormat": "CycloneDX"`, `"name": "std"`, `"purl": "pkg:golang/github.com/google/go-containerregistry@v0.`, `"value": "h1:`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %.2000s", want, text)
		}
	}
	for _, unwanted := range []string{"serialNumber", "timestamp"} {
		if strings.Contains(string(text), unwanted) {
			t.Errorf("%s would differ each time", unwanted)
		}
	}
}

func TestMistakes(t *testing.T) {
	static := program(t)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, arguments := range map[string][]string{
		"takes three arguments":       {static},
		"is no program made by Go":    {text, "name", "out.tar"},
		"takes numbers such as 65532": {"-user=nobody", static, "name", "out.tar"},
		"holds no certificate":        {"-certificates=" + text, static, "name", "out.tar"},
		"is no absolute path":         {"-entrypoint=program", static, "name", "out.tar"},
		"for \"windows\", not for":    {program(t, "GOOS=windows"), "name", "out.tar"},
	} {
		if err := run(arguments); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want something with %q", arguments, err, want)
		}
	}
}
