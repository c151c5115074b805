package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

// serve serves a registry on this machine and returns what comes before a slash in names.
func serve(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	// Nobody's logins but the test's own.
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	var handler http.Handler = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// TestPush pushes to a registry and takes what was pushed for what the chart and the manifest
// ask for.
func TestPush(t *testing.T) {
	host, out := serve(t, nil), t.TempDir()
	prefix := host + "/team/sojourn"
	said, err := run(t, "push", "--version=v0.0.0-20261122081638-af1497651234", "--image-prefix="+prefix+"/", "--checkout="+checkout(t), "--out="+out)
	if err != nil {
		t.Fatal(err, said)
	}
	var pushed []string
	for _, match := range regexp.MustCompile(`(?m)^  (\S+)@sha256:`).FindAllStringSubmatch(said, -1) {
		pushed = append(pushed, match[1])
	}
	if len(pushed) != 4 || !strings.Contains(said, "helm install sojourn "+filepath.Join(out, "sojourn.tgz")) {
		t.Error(said)
	}
	for _, image := range pushed {
		program := filepath.Base(regexp.MustCompile(`:[^:]*$`).ReplaceAllString(image, ""))
		program = strings.Replace(strings.TrimPrefix(program, "sojourn-"), "journey", journey, 1)
		if said := pulled(t, image); said != program+" v0.0.0-20261122081638-af1497651234" {
			t.Errorf("%s says %q", image, said)
		}
	}
	if wanted := rendered(t, filepath.Join(out, "sojourn.tgz")); !slices.Equal(wanted, sorted(pushed)) {
		t.Errorf("the chart wants %q, pushed are %q", wanted, pushed)
	}
	manifest := written(t, out)["install.yaml"]
	for _, image := range wants(manifest) {
		if !slices.Contains(pushed, image) {
			t.Errorf("install.yaml wants %s, pushed are %q", image, pushed)
		}
	}
	if len(wants(manifest)) != len(programs) || !strings.Contains(manifest, "kind: CustomResourceDefinition") || !strings.Contains(manifest, "kind: Namespace") {
		t.Error("install.yaml does not install everything")
	}
}

// pulled pulls an image, looks at it for all platforms, and runs its program.
func pulled(t *testing.T, image string) string {
	t.Helper()
	reference, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(reference)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, each := range manifest.Manifests {
		platforms = append(platforms, each.Platform.String())
	}
	if !slices.Equal(platforms, nodes) {
		t.Errorf("%s is for %v", image, platforms)
	}
	mine, err := remote.Image(reference, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(mine)
	defer files.Close()
	content := member(t, files, "program")
	if runtime.GOOS != "linux" {
		t.Skip("images run on Linux")
	}
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, content, 0o755); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(program, "--version").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

// rendered are the images of a chart with everything in it.
func rendered(t *testing.T, archive string) []string {
	t.Helper()
	chart, err := loader.Load(archive)
	if err != nil {
		t.Fatal(err)
	}
	values, err := util.ToRenderValues(chart, map[string]any{"ui": map[string]any{"enabled": true}}, common.ReleaseOptions{Name: "sojourn", Namespace: "sojourn-system", IsInstall: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := (&engine.Engine{Strict: true}).Render(chart, values)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, each := range files {
		fmt.Fprintln(&text, each)
	}
	return wants(text.String())
}

// wants are the images that objects name.
func wants(objects string) (images []string) {
	for _, match := range regexp.MustCompile(`(?m)^ *-? *image: "?([^"\s]+)"?$`).FindAllStringSubmatch(objects, -1) {
		images = append(images, match[1])
	}
	return slices.Compact(sorted(images))
}

func sorted(texts []string) []string { return slices.Sorted(slices.Values(texts)) }

// TestRefusals: who cannot push learns so before anything is compiled, and what to do.
func TestRefusals(t *testing.T) {
	refusing := func(code int, body string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v2/" {
					next.ServeHTTP(w, r)
					return
				}
				w.WriteHeader(code)
				io.WriteString(w, body)
			})
		}
	}
	asking := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "somebody" || password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	login := func(t *testing.T, host, as string) {
		text := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, base64.StdEncoding.EncodeToString([]byte(as)))
		if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	push := func(t *testing.T, host string) error {
		// Nothing of these compiles: what is refused is refused before.
		folder := checkout(t)
		if err := os.RemoveAll(filepath.Join(folder, "cmd")); err != nil {
			t.Fatal(err)
		}
		_, err := run(t, "push", "--version=v1.2.3", "--image-prefix="+host+"/team", "--checkout="+folder, "--out="+t.TempDir())
		return err
	}
	for what, c := range map[string]struct {
		registry  func(http.Handler) http.Handler
		as, wants string
	}{
		"no login":       {asking, "", "asks who you are: log in by docker login 127.0.0.1:"},
		"wrong password": {asking, "somebody:guess", "the account that you are logged in with"},
		"login":          {asking, "somebody:secret", "compiling for linux/amd64"},
		"not mine":       {refusing(http.StatusForbidden, `{"errors":[{"code":"DENIED","message":"not yours"}]}`), "somebody:secret", "not yours"},
		"no repository":  {refusing(http.StatusNotFound, `{"errors":[{"code":"NAME_UNKNOWN","message":"make it first"}]}`), "", "has no place for team/sojourn-manager: create it there"},
		"no more":        {refusing(http.StatusBadRequest, `{"errors":[{"code":"TAG_INVALID","message":"quota exceeded"}]}`), "", "quota exceeded"},
	} {
		t.Run(what, func(t *testing.T) {
			host := serve(t, c.registry)
			if c.as != "" {
				login(t, host, c.as)
			}
			err := push(t, host)
			if err == nil || !strings.Contains(err.Error(), c.wants) || strings.ContainsAny(err.Error(), "\n") {
				t.Errorf("%v, want one line with %q", err, c.wants)
			}
			if strings.Contains(fmt.Sprint(err), "guess") || strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("a password shows: %v", err)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		serve(t, nil)
		if err := push(t, "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
			t.Error(err)
		}
	})
}
