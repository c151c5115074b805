package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
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
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

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

// epoch is when test images were made.
var epoch = time.Unix(1_700_000_000, 0).UTC()

// imageOf is an image of a program.
func imageOf(t *testing.T, program string, created time.Time) v1.Image {
	t.Helper()
	image, err := build(options{
		program: program, trusted: trusted(), entrypoint: "/program", created: created, compression: 6,
		labels: labelsOf("sojourn-manager", "v1.2.3", "abc", created),
	})
	if err != nil {
		t.Fatal(err)
	}
	return image
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
	one, other := program(t), program(t)
	digest, err := imageOf(t, one, epoch).Digest()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := imageOf(t, other, epoch).Digest(); err != nil || again != digest {
		t.Errorf("%s, then %s (%v)", digest, again, err)
	}
	if same, err := imageOf(t, one, epoch.Add(time.Second)).Digest(); err != nil || same == digest {
		t.Errorf("another time does not show: %v", err)
	}
}

func TestWhatItSays(t *testing.T) {
	image := imageOf(t, program(t), epoch)
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"org.opencontainers.image.title":    "sojourn-manager",
		"org.opencontainers.image.version":  "v1.2.3",
		"org.opencontainers.image.source":   homepage,
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.revision": "abc",
		"org.opencontainers.image.created":  "2023-11-14T22:13:20Z",
	}
	if !maps.Equal(config.Config.Labels, want) {
		t.Errorf("labels %v, want %v", config.Config.Labels, want)
	}
	if config.OS != "linux" || config.Architecture != "amd64" || !config.Created.Equal(epoch) {
		t.Errorf("%s/%s of %v", config.OS, config.Architecture, config.Created)
	}
	for name, header := range files(t, image) {
		if !header.ModTime.Equal(epoch) || header.Uid != 0 || header.Mode&0o022 != 0 {
			t.Errorf("%s is of %v, belongs to %d and has mode %o: others than root could change it", name, header.ModTime, header.Uid, header.Mode)
		}
	}
}

// TestTrusted: programs in images know the authorities of the web.
func TestTrusted(t *testing.T) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(trusted()) {
		t.Fatal("nobody")
	}
	found := 0
	for rest := trusted(); ; {
		block, more := pem.Decode(rest)
		if block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			t.Error(err)
		}
		rest, found = more, found+1
	}
	if found < 50 {
		t.Errorf("%d authorities", found)
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
	image := imageOf(t, program(t), epoch)
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

// TestBill: every module of each program is on their bill of materials, whose graph has no
// loose ends.
func TestBill(t *testing.T) {
	self, err := os.Executable() // consists of modules
	if err != nil {
		t.Fatal(err)
	}
	text, err := billOf("sojourn", "v1.2.3", program(t), self)
	if err != nil {
		t.Fatal(err)
	}
	var bill cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bill); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{bill.Metadata.Component.BOMRef: true}
	names := map[string]cdx.Component{}
	for _, component := range *bill.Components {
		if known[component.BOMRef] {
			t.Errorf("%s is there twice", component.BOMRef)
		}
		known[component.BOMRef], names[component.Name] = true, component
	}
	for _, dependency := range *bill.Dependencies {
		for _, ref := range append(*dependency.Dependencies, dependency.Ref) {
			if !known[ref] {
				t.Errorf("%s is nowhere", ref)
			}
		}
	}
	library := names["github.com/google/go-containerregistry"]
	if !strings.HasPrefix(library.PackageURL, "pkg:golang/github.com/google/go-containerregistry@v0.") || !strings.HasPrefix((*library.Properties)[0].Value, "h1:") {
		t.Errorf("%+v", library)
	}
	if len(names["stdlib"].Version) < 4 || names["program"].Version != "v1.2.3" {
		t.Errorf("the standard library is %q, the program %q", names["stdlib"].Version, names["program"].Version)
	}
	if again, err := billOf("sojourn", "v1.2.3", program(t), self); err != nil || len(again) != len(text) || bill.SerialNumber != "" || bill.Metadata.Timestamp != "" {
		t.Error("it would differ each time", err)
	}
}

func TestMistakesWithImages(t *testing.T) {
	static, out := program(t), filepath.Join(t.TempDir(), "out.tar")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, arguments := range map[string][]string{
		"accepts 3 arg(s)":         {static},
		"is no program made by Go": {text, "name", out},
		"is no absolute path":      {"--entrypoint=program", static, "name", out},
		"for \"windows\", not for": {program(t, "GOOS=windows"), "name", out},
		"can only contain":         {static, "NAME", out},
	} {
		root := command(t.Output())
		root.SetArgs(append([]string{"image"}, arguments...))
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want something with %q", arguments, err, want)
		}
	}
}
