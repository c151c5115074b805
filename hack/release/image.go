package main

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// named is an image that is to be.
type named struct {
	title string
	tag   name.Tag
}

// images are all of the project's, in the order of programs, and the plugin's last.
func (r *release) images() ([]named, error) {
	wrong := func(why error) error {
		return fmt.Errorf("IMAGE_PREFIX=%s begins no name of an image: write a registry and a folder in it, without https://, such as images.example.com/sojourn: %w", r.imagePrefix, why)
	}
	if strings.Contains(r.imagePrefix, "://") {
		return nil, wrong(errors.New("it is an address"))
	}
	var all []named
	for _, program := range append(slices.Clone(programs), journey) {
		title := "sojourn-" + strings.TrimPrefix(program, "kubectl-")
		tag, err := name.NewTag(r.prefixed(title)+":"+r.version, name.WithDefaultRegistry(""))
		if err != nil {
			return nil, wrong(err)
		}
		all = append(all, named{title, tag})
	}
	return all, nil
}

// prefixed is an image's name without its tag.
func (r *release) prefixed(title string) string {
	if r.imagePrefix == "" {
		return title
	}
	return r.imagePrefix + "/" + title
}

// imageFiles writes each image for each platform as a tar that docker load, podman load and
// ctr image import take.
func (r *release) imageFiles(ctx context.Context) error {
	images, err := r.images()
	if err != nil {
		return err
	}
	return r.eachImage(ctx, images, func(n named, platforms []made) error {
		for _, m := range platforms {
			var packed bytes.Buffer
			if err := tarball.Write(n.tag, m, &packed); err != nil {
				return err
			}
			if err := r.save(m.file+".tar", packed.Bytes()); err != nil {
				return err
			}
		}
		return nil
	})
}

// made is an image for one platform, and its file's name without the ending.
type made struct {
	v1.Image
	file string
}

// eachImage makes each image for all platforms, and writes bills of them.
func (r *release) eachImage(ctx context.Context, images []named, do func(n named, platforms []made) error) error {
	platforms := r.nodePlatforms()
	if len(platforms) == 0 {
		return fmt.Errorf("PLATFORMS=%s: images are for Linux: write some such as %s", strings.Join(r.platforms, ","), strings.Join(nodes, ","))
	}
	built := map[string][]string{}
	for _, platform := range platforms {
		var err error
		if built[platform], err = r.compile(ctx, platform, append(slices.Clone(programs), journey)...); err != nil {
			return err
		}
	}
	for i, n := range images {
		var all []made
		for _, platform := range platforms {
			program := built[platform][i]
			image, err := build(options{
				program: program, trusted: trusted(), entrypoint: "/program", created: r.date, compression: 6,
				labels: labelsOf(n.title, r.version, r.revision, r.date),
			})
			if err != nil {
				return err
			}
			m := made{image, filepath.Join("images", r.fileName(n.title, platform))}
			if err := r.saveBill(m.file, n.title, program); err != nil {
				return err
			}
			all = append(all, m)
		}
		if err := do(n, all); err != nil {
			return err
		}
	}
	return nil
}

func labelsOf(title, version, revision string, created time.Time) map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":    title,
		"org.opencontainers.image.version":  version,
		"org.opencontainers.image.source":   homepage,
		"org.opencontainers.image.licenses": license,
	}
	if revision != "" {
		labels["org.opencontainers.image.revision"] = revision
		labels["org.opencontainers.image.created"] = created.Format(time.RFC3339)
	}
	return labels
}

// trusted are those whom browsers trust, in PEM. They come with the sources, not from the
// machine that builds.
func trusted() []byte {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // trusted only for what was issued until some day, which PEM cannot say
		}
		pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // into memory: does not fail
	}
	return text.Bytes()
}

// imageCommand makes an image of any program, such as those that tests run in a cluster.
func imageCommand(log io.Writer) *cobra.Command {
	o := options{created: time.Unix(0, 0).UTC()}
	var certificates bool
	c := &cobra.Command{
		Use:   "image PROGRAM NAME[:TAG] OUT.tar",
		Short: "Make an image of a static program that is not Sojourn's",
		Args:  cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, arguments []string) error {
			o.program = arguments[0]
			tag, err := name.NewTag(arguments[1], name.WithDefaultRegistry(""))
			if err != nil {
				return err
			}
			if certificates {
				o.trusted = trusted()
			}
			image, err := build(o)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(arguments[2]), 0o755); err != nil {
				return err
			}
			if err := tarball.WriteToFile(arguments[2], tag, image); err != nil {
				return err
			}
			digest, err := image.Digest()
			fmt.Fprintf(log, "%s@%s %s\n", tag, digest, arguments[2])
			return err
		},
	}
	c.Flags().StringVar(&o.entrypoint, "entrypoint", "/program", "where the program lies in the image")
	c.Flags().BoolVar(&certificates, "certificates", false, "have the program trust in TLS whom browsers trust")
	c.Flags().IntVar(&o.compression, "compression", 6, "gzip's, from 0, none, to 9, small")
	return c
}

// user is a number: without /etc/passwd a name would not be seen to be other than root.
const user = "65532:65532"

// options say what an image holds and says of itself.
type options struct {
	// program is the file of the one program, for Linux, without cgo.
	program string
	// trusted are those whom the program trusts in TLS, in PEM; empty: nobody.
	trusted    []byte
	entrypoint string
	// created stands for every time in the image.
	created time.Time
	labels  map[string]string
	// compression is gzip's, 0 (none) to 9.
	compression int
}

// build makes an image of one layer. The same options and files give the same digest.
func build(o options) (v1.Image, error) {
	platform, err := platformOf(o.program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.program, err)
	}
	layer, err := layerOf(o)
	if err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil }
	packed, err := tarball.LayerFromOpener(opener, tarball.WithCompressionLevel(o.compression),
		tarball.WithCompressedCaching, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		mutate.Addendum{Layer: packed, History: v1.History{Created: v1.Time{Time: o.created}, CreatedBy: "hack/release", Comment: o.entrypoint}})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: o.created}
	file.OS, file.Architecture, file.Variant = platform.OS, platform.Architecture, platform.Variant
	file.Config = v1.Config{User: user, Entrypoint: []string{o.entrypoint}, Labels: o.labels}
	return mutate.ConfigFile(image, file)
}

// layerOf packs the files, and the folders they lie in, by name.
func layerOf(o options) ([]byte, error) {
	program, err := os.ReadFile(o.program)
	if err != nil {
		return nil, err
	}
	files := []file{{o.entrypoint, 0o755, program}}
	if len(o.trusted) > 0 {
		files = append(files, file{"/etc/ssl/certs/ca-certificates.crt", 0o644, o.trusted})
	}
	for _, f := range slices.Clone(files) {
		if !path.IsAbs(f.name) || path.Clean(f.name) != f.name {
			return nil, fmt.Errorf("%q is no absolute path", f.name)
		}
		for folder := path.Dir(f.name); folder != "/"; folder = path.Dir(folder) {
			files = append(files, file{name: folder + "/", mode: 0o755})
		}
	}
	slices.SortFunc(files, byName)
	files = slices.CompactFunc(files, func(a, b file) bool { return a.name == b.name })
	var packed bytes.Buffer
	writer := tar.NewWriter(&packed)
	for _, f := range files {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(f.name, "/"), Mode: int64(f.mode), Size: int64(len(f.content)),
			ModTime: o.created, Format: tar.FormatPAX,
		}
		if strings.HasSuffix(f.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(f.content); err != nil {
			return nil, err
		}
	}
	return packed.Bytes(), writer.Close()
}

// platformOf is what a program was built for. It must need no file but itself, for there is
// no other in the image.
func platformOf(program string) (v1.Platform, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return v1.Platform{}, fmt.Errorf("is no program made by Go: %w", err)
	}
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	p := v1.Platform{OS: settings["GOOS"], Architecture: settings["GOARCH"]}
	switch {
	case settings["CGO_ENABLED"] == "1":
		return p, errors.New("was built with cgo and may need libraries that the image lacks: build it with CGO_ENABLED=0")
	case p.OS != "linux":
		return p, fmt.Errorf("was built for %q, not for linux: build it with GOOS=linux", p.OS)
	case p.Architecture == "arm":
		p.Variant = "v" + settings["GOARM"]
	}
	return p, nil
}
