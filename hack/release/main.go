// Command release writes what is published into a folder: programs, chart, manifests,
// bills of materials. The same sources give the same bytes, wherever and whenever they are
// built.
//
//	go -C hack/release run . --version v0.2.0 --out ../../dist
//	go -C hack/release run . sums --out ../../dist
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/spf13/cobra"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// programs are those that run in a cluster. The plugin has archives of its own.
var programs = []string{"manager", "prober", "gateway"}

// release is one to be written.
type release struct {
	// version begins with a v, and checkout is the folder of the sources.
	version, checkout, out string
	// imagePrefix comes before the names of images in the manifests.
	imagePrefix string
	platforms   []string
	// date is that of the files in archives.
	date time.Time
}

func main() {
	if err := command().ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	r := release{}
	var seconds int64
	c := &cobra.Command{
		Use:           "release",
		Short:         "Write what is published into a folder",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			r.date = time.Unix(seconds, 0).UTC()
			return r.write(c.Context())
		},
	}
	c.Flags().StringVar(&r.version, "version", "", "the release's version, such as v0.2.0")
	c.Flags().StringVar(&r.checkout, "checkout", "../..", "folder of the sources")
	c.Flags().StringVar(&r.imagePrefix, "image-prefix", "", "what comes before sojourn-manager, sojourn-prober and sojourn-gateway in install.yaml, such as images.example.com/sojourn")
	c.Flags().StringSliceVar(&r.platforms, "platforms", []string{"linux/amd64", "linux/arm64"}, "for which programs are built")
	c.Flags().Int64Var(&seconds, "date", 0, "time of the files in archives, in seconds since 1970: that of the commit")
	c.PersistentFlags().StringVar(&r.out, "out", "../../dist", "folder that is written")
	c.AddCommand(&cobra.Command{
		Use:   "sums",
		Short: "Write SHA256SUMS of all that is in the folder",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return sums(r.out) },
	})
	return c
}

var versions = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func (r *release) write(ctx context.Context) error {
	if !versions.MatchString(r.version) {
		return fmt.Errorf("%q is no version: write one such as v0.2.0 or v0.2.0-rc.1", r.version)
	}
	var err error
	if r.checkout, err = filepath.Abs(r.checkout); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	for _, platform := range r.platforms {
		if err := r.archive(ctx, platform); err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
	}
	return errors.Join(r.chart(), r.manifests())
}

// archive builds the programs for a platform, packs them, and says what is in them.
func (r *release) archive(ctx context.Context, platform string) error {
	system, machine, _ := strings.Cut(platform, "/")
	built, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(built)
	var files []file
	var bills []string
	for _, program := range programs {
		path := filepath.Join(built, program)
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly",
			"-ldflags", "-s -w -buildid= -X main.version="+r.version, "-o", path, "./cmd/"+program)
		build.Dir = r.checkout
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+machine,
			"GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
		if output, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", program, err, output)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files = append(files, file{program, 0o755, content})
		bills = append(bills, path)
	}
	license, err := os.ReadFile(filepath.Join(r.checkout, "LICENSE"))
	if err != nil {
		return err
	}
	name := fmt.Sprintf("sojourn_%s_%s_%s", strings.TrimPrefix(r.version, "v"), system, machine)
	bill, err := r.billOf(bills)
	if err != nil {
		return err
	}
	return errors.Join(
		r.save(name+".cdx.json", bill),
		r.pack(name+".tar.gz", append(files, file{"LICENSE", 0o644, license})),
	)
}

// billOf lists what programs are made of, as CycloneDX, by what the Go command wrote into
// them.
func (r *release) billOf(paths []string) ([]byte, error) {
	bill := cdx.NewBOM()
	bill.Metadata = &cdx.Metadata{Component: &cdx.Component{
		BOMRef: "sojourn", Type: cdx.ComponentTypeApplication, Name: "sojourn", Version: r.version,
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}}
	libraries := map[string]cdx.Component{}
	add := func(path, version string) {
		ref := fmt.Sprintf("pkg:golang/%s@%s", path, version)
		libraries[ref] = cdx.Component{BOMRef: ref, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: ref}
	}
	for _, path := range paths {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, err
		}
		add("stdlib", strings.TrimPrefix(info.GoVersion, "go"))
		for _, module := range info.Deps {
			for module.Replace != nil {
				module = module.Replace
			}
			add(module.Path, module.Version)
		}
	}
	var components []cdx.Component
	for _, library := range libraries {
		components = append(components, library)
	}
	slices.SortFunc(components, func(a, b cdx.Component) int { return strings.Compare(a.BOMRef, b.BOMRef) })
	bill.Components = &components
	var text bytes.Buffer
	err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bill)
	return text.Bytes(), err
}

// chart packs the chart with the release's version.
func (r *release) chart() error {
	root := filepath.Join(r.checkout, "charts", "sojourn")
	version := strings.TrimPrefix(r.version, "v")
	var files []file
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if name == "tests" || strings.HasPrefix(name, "tests"+string(filepath.Separator)) {
			return nil
		}
		if name == "Chart.yaml" {
			about := map[string]any{}
			if err := yaml.Unmarshal(content, &about); err != nil {
				return err
			}
			about["version"], about["appVersion"] = version, r.version
			if content, err = yaml.Marshal(about); err != nil {
				return err
			}
		}
		files = append(files, file{"sojourn/" + filepath.ToSlash(name), 0o644, content})
		return nil
	})
	if err != nil {
		return err
	}
	return r.pack("sojourn-"+version+".tgz", files)
}

// manifests writes what kubectl applies: everything, and the kinds alone.
func (r *release) manifests() error {
	images := "images:\n"
	prefix := r.imagePrefix
	if prefix != "" {
		prefix += "/"
	}
	for _, program := range programs {
		images += fmt.Sprintf("- {name: sojourn-%s, newName: %ssojourn-%s, newTag: %s}\n", program, prefix, program, r.version)
	}
	return errors.Join(
		r.kustomize("install.yaml", "default", images),
		r.kustomize("crds.yaml", "crd", ""),
	)
}

// kustomize renders a folder of config/ with something besides. What it renders is kept in
// memory: the sources stay as they are.
func (r *release) kustomize(name, folder, besides string) error {
	memory := filesys.MakeFsInMemory()
	config := filepath.Join(r.checkout, "config")
	err := filepath.WalkDir(config, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to, err := filepath.Rel(config, path)
		if err != nil {
			return err
		}
		return memory.WriteFile(filepath.Join("/config", to), content)
	})
	if err != nil {
		return err
	}
	top := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../" + folder + "]\n" + besides
	if err := memory.WriteFile("/config/release/kustomization.yaml", []byte(top)); err != nil {
		return err
	}
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy // namespaces and kinds first, as kubectl has it
	var rendered resmap.ResMap
	if rendered, err = krusty.MakeKustomizer(options).Run(memory, "/config/release"); err != nil {
		return err
	}
	text, err := rendered.AsYaml()
	if err != nil {
		return err
	}
	return r.save(name, text)
}

// file is one in an archive.
type file struct {
	name    string
	mode    int64
	content []byte
}

// pack writes files in the order of their names, by nobody, at the release's date.
func (r *release) pack(name string, files []file) error {
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	var packed bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(zipped)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: r.date, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.content); err != nil {
			return err
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		return err
	}
	return r.save(name, packed.Bytes())
}

func (r *release) save(name string, content []byte) error {
	return os.WriteFile(filepath.Join(r.out, name), content, 0o644)
}

// sumsName holds the checksums.
const sumsName = "SHA256SUMS"

// sums writes the checksums of all files of a folder, as sha256sum -c reads them.
func sums(folder string) error {
	var text strings.Builder
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == sumsName {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(content), filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, sumsName), []byte(text.String()), 0o644)
}
