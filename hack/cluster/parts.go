package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// Image is an image to be made of one static program.
type Image struct {
	// Name is what Pods say, such as local/shop:1.
	Name string
	// Program is the file.
	Program string
	// Certificates has the image say whom to trust in TLS.
	Certificates bool
	// Entrypoint is where the program lies in the image. Default: /program.
	Entrypoint string
}

// The cluster's own images.
const (
	pauseImage = "images.test/local/pause:1"
	dnsImage   = "images.test/local/coredns:1"
)

// parts are the folders that Prepare found or made, for Start.
type parts struct {
	Containerd, Plugins string
	// IP is iproute2's program.
	IP string
}

// controlPlaneParts are the programs that Start runs.
var controlPlaneParts = []string{
	localstack.EtcdBinary, localstack.KubeAPIServerBinary, localstack.KubeControllerManagerBinary,
	localstack.KubeSchedulerBinary, localstack.KubeletBinary, localstack.KubeProxyBinary, localstack.KubectlBinary,
}

// Prepare gets everything that a cluster runs into the user's cache, once, and makes the
// images that Start loads. Unlike Start it needs the network.
func Prepare(ctx context.Context, folder string, images ...Image) error {
	for _, name := range controlPlaneParts {
		if _, err := localstack.Binary(ctx, name); err != nil {
			return err
		}
	}
	found := parts{IP: "ip"}
	var err error
	if found.Containerd, err = localstack.Debian(ctx, "containerd"); err != nil {
		return err
	}
	if found.Plugins, err = localstack.Debian(ctx, "containernetworking-plugins"); err != nil {
		return err
	}
	if _, err := exec.LookPath("ip"); err != nil {
		root, err := localstack.Debian(ctx, "iproute2")
		if err != nil {
			return err
		}
		found.IP = filepath.Join(root, "sbin", "ip")
	}
	text, err := json.Marshal(found)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "parts.json"), text, 0o644); err != nil {
		return err
	}
	dns, err := localstack.Binary(ctx, localstack.CoreDNSBinary)
	if err != nil {
		return err
	}
	pause := filepath.Join(folder, "pause")
	if err := Build(ctx, "", "", pause, "github.com/sojourn-dev/sojourn/hack/cluster/pause"); err != nil {
		return err
	}
	return makeImages(ctx, folder, append([]Image{{Name: pauseImage, Program: pause}, {Name: dnsImage, Program: dns}}, images...))
}

// Build compiles a program of the checkout in a folder as images need it: for this
// machine's architecture, static. The version, if there is one, is what the program says
// of itself.
func Build(ctx context.Context, checkout, version, out, pkg string) error {
	ldflags := "-s -w"
	if version != "" {
		ldflags += " -X main.version=" + version
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", ldflags, "-o", out, pkg)
	cmd.Dir = checkout
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, output)
	}
	return nil
}

// makeImages has hack/release make them, below the folder.
func makeImages(ctx context.Context, folder string, images []Image) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sojourn-dev/sojourn").Output()
	if err != nil {
		return fmt.Errorf("finding hack/release; run inside a checkout of Sojourn: %w", err)
	}
	maker := filepath.Join(folder, "release")
	build := exec.CommandContext(ctx, "go", "build", "-o", maker, ".")
	build.Dir = filepath.Join(strings.TrimSpace(string(root)), "hack", "release")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building hack/release: %w\n%s", err, output)
	}
	for i, image := range images {
		// Not packed: it is read once, from this disk.
		arguments := []string{"image", "--compression=0"}
		if image.Entrypoint != "" {
			arguments = append(arguments, "--entrypoint="+image.Entrypoint)
		}
		if image.Certificates {
			arguments = append(arguments, "--certificates")
		}
		arguments = append(arguments, image.Program, image.Name, filepath.Join(folder, "images", fmt.Sprintf("%02d.tar", i)))
		if output, err := exec.CommandContext(ctx, maker, arguments...).CombinedOutput(); err != nil {
			return fmt.Errorf("making the image %s: %w\n%s", image.Name, err, output)
		}
	}
	return nil
}
