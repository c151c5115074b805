// Command release builds what users install: images, chart and manifests, archives of the
// programs and of the kubectl plugin, and bills of what all of it consists of. The same
// sources and the same Go give the same bytes, wherever and whenever they are built.
//
// The Makefile runs it: make push, images, plugin, release, release-check.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/semver"
)

// What runs in a cluster, and what people run.
var (
	programs = []string{"manager", "prober", "gateway"}
	journey  = "kubectl-journey"
)

// Platforms of clusters' nodes, and of people's machines.
var (
	nodes    = []string{"linux/amd64", "linux/arm64"}
	desktops = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}
)

// release is one to be built.
type release struct {
	// version begins with a v, and checkout is the folder of the sources.
	version, checkout, out string
	// imagePrefix comes before the names of images; empty: nothing does.
	imagePrefix string
	// platforms that were asked for; empty: those that each part is for.
	platforms []string
	// date is that of every file in archives and images, and revision the commit.
	date     time.Time
	revision string
	// work is a folder for programs, one of each platform.
	work string
	// log says what goes on.
	log io.Writer
}

func main() {
	// The second Ctrl-C ends us at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := command(os.Stdout).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func command(log io.Writer) *cobra.Command {
	r := release{log: log}
	root := &cobra.Command{Use: "release", Short: "Build what users install", SilenceUsage: true, SilenceErrors: true}
	root.PersistentFlags().StringVar(&r.version, "version", "", "the version to build, such as v0.2.0")
	root.PersistentFlags().StringVar(&r.checkout, "checkout", ".", "folder of the sources")
	root.PersistentFlags().StringVar(&r.out, "out", "dist", "folder that is written")
	root.PersistentFlags().StringVar(&r.imagePrefix, "image-prefix", "", "what comes before sojourn-manager and the other names of images, such as images.example.com/sojourn")
	root.PersistentFlags().StringSliceVar(&r.platforms, "platforms", nil, "such as linux/amd64,linux/arm64 (default: all that a part is for)")
	for _, part := range []struct {
		name, does string
		build      func(context.Context) error
	}{
		{"all", "Write everything that is published, and its checksums", r.all},
		{"images", "Write the images as files, and bills of them", r.imageFiles},
		{"push", "Push the images, and write a chart and a manifest that name them", r.push},
		{"plugin", "Write the plugin's archives and its krew manifest", r.plugin},
	} {
		root.AddCommand(&cobra.Command{Use: part.name, Short: part.does, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			if err := r.begin(c.Context()); err != nil {
				return err
			}
			defer os.RemoveAll(r.work)
			return part.build(c.Context())
		}})
	}
	root.AddCommand(imageCommand(log))
	return root
}

// begin checks what was asked for, and asks Git for the rest.
func (r *release) begin(ctx context.Context) error {
	// Neither chart nor image takes a version with a plus.
	if !semver.IsValid(r.version) || semver.Canonical(r.version) != r.version {
		return fmt.Errorf("VERSION=%s is no version: write one such as v0.2.0 or v0.2.0-rc.1", r.version)
	}
	for _, platform := range r.platforms {
		if system, machine, both := strings.Cut(platform, "/"); !both || system == "" || machine == "" {
			return fmt.Errorf("PLATFORMS: %q is no platform: write some such as %s", platform, strings.Join(nodes, ","))
		}
	}
	r.imagePrefix = strings.TrimSuffix(r.imagePrefix, "/")
	if _, err := r.images(); err != nil {
		return err
	}
	var err error
	if r.checkout, err = filepath.Abs(r.checkout); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(r.checkout, "charts", "sojourn")); err != nil {
		return fmt.Errorf("there are no sources of Sojourn: run it in the project's root: %w", err)
	}
	r.date, r.revision = time.Unix(0, 0).UTC(), ""
	// An unpacked archive of the sources has no history, and this is no mistake.
	if text, err := r.git(ctx, "log", "-1", "--format=%ct %H"); err == nil {
		seconds, revision, _ := strings.Cut(strings.TrimSpace(text), " ")
		if at, err := strconv.ParseInt(seconds, 10, 64); err == nil {
			r.date, r.revision = time.Unix(at, 0).UTC(), revision
		}
		if changes, err := r.git(ctx, "status", "--porcelain", "--untracked-files=no"); err == nil && changes != "" {
			r.revision += "-dirty"
		}
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	r.work, err = os.MkdirTemp("", "sojourn-release-")
	return err
}

func (r *release) git(ctx context.Context, arguments ...string) (string, error) {
	text, err := exec.CommandContext(ctx, "git", append([]string{"-C", r.checkout}, arguments...)...).Output()
	return string(text), err
}

// all writes everything that is published.
func (r *release) all(ctx context.Context) error {
	for _, step := range []func(context.Context) error{r.archives, r.imageFiles, r.plugin} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := r.chart("sojourn-" + r.number() + ".tgz"); err != nil {
		return err
	}
	if err := r.manifests(); err != nil {
		return err
	}
	if r.imagePrefix == "" {
		fmt.Fprintln(r.log, "IMAGE_PREFIX is not set: the chart and install.yaml name images without a registry")
	}
	return r.sums()
}

// archives packs the programs of a cluster for those who run them without images.
func (r *release) archives(ctx context.Context) error {
	terms, err := os.ReadFile(filepath.Join(r.checkout, "LICENSE"))
	if err != nil {
		return err
	}
	for _, platform := range r.nodePlatforms() {
		built, err := r.compile(ctx, platform, programs...)
		if err != nil {
			return err
		}
		files := []file{{"LICENSE", 0o644, terms}}
		for _, path := range built {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files = append(files, file{filepath.Base(path), 0o755, content})
		}
		packed, err := r.inTar(files)
		if err != nil {
			return err
		}
		name := r.fileName("sojourn", platform)
		if err := r.save(name+".tar.gz", packed); err != nil {
			return err
		}
		if err := r.saveBill(name, "sojourn", built...); err != nil {
			return err
		}
	}
	return nil
}

// compile builds programs for a platform, with nothing of this machine in them, and returns
// their files.
func (r *release) compile(ctx context.Context, platform string, programs ...string) (built []string, err error) {
	system, machine, _ := strings.Cut(platform, "/")
	folder := filepath.Join(r.work, system+"_"+machine)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	var missing []string
	for _, program := range programs {
		path := filepath.Join(folder, program)
		if system == "windows" {
			path += ".exe"
		}
		built = append(built, path)
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) == 0 {
		return built, nil
	}
	fmt.Fprintf(r.log, "compiling %s for %s: minutes the first time\n", strings.Join(missing, ", "), platform)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly",
		"-ldflags", "-s -w -buildid= -X main.version="+r.version, "-o", folder+string(filepath.Separator))
	for _, program := range missing {
		build.Args = append(build.Args, "./cmd/"+program)
	}
	build.Dir = r.checkout
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+machine,
		"GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
	build.Stdout, build.Stderr = r.log, r.log
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("compiling for %s: %w", platform, cmp.Or(context.Cause(ctx), err))
	}
	return built, nil
}

// nodePlatforms are those of what runs in a cluster.
func (r *release) nodePlatforms() []string {
	if len(r.platforms) == 0 {
		return nodes
	}
	return slices.DeleteFunc(slices.Clone(r.platforms), func(platform string) bool { return !strings.HasPrefix(platform, "linux/") })
}

// desktopPlatforms are those of what people run.
func (r *release) desktopPlatforms() []string {
	if len(r.platforms) == 0 {
		return desktops
	}
	return r.platforms
}

// number is the version as charts and names of files have it.
func (r *release) number() string { return strings.TrimPrefix(r.version, "v") }

// fileName is that of what is for one platform, without its ending.
func (r *release) fileName(of, platform string) string {
	return of + "_" + r.number() + "_" + strings.ReplaceAll(platform, "/", "_")
}

// save writes a file and says so.
func (r *release) save(name string, content []byte) error {
	fmt.Fprintf(r.log, "%s  %s\n", filepath.Join(r.out, name), size(len(content)))
	return r.saveQuietly(name, content)
}

func (r *release) saveQuietly(name string, content []byte) error {
	path := filepath.Join(r.out, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

// size says how many bytes there are, as people say it.
func size(bytes int) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d KiB", (bytes+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
}

// sumsName holds the checksums.
const sumsName = "SHA256SUMS"

// sums writes the checksums of all that was written, as sha256sum -c reads them.
func (r *release) sums() error {
	var text strings.Builder
	err := filepath.WalkDir(r.out, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == sumsName {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(r.out, path)
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(content), filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return err
	}
	return r.save(sumsName, []byte(text.String()))
}
