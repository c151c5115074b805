package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// options say what an image holds and says of itself.
type options struct {
	// program is the file of the one program, for Linux, without cgo.
	program string
	// user is a number: without /etc/passwd a name would not be seen to be other than
	// root.
	user string
	// certificates is the file of those whom the program trusts in TLS; empty: nobody.
	certificates string
	entrypoint   string
	platform     v1.Platform
	// created stands for every time in the image.
	created time.Time
	labels  map[string]string
	// compression is gzip's, 0 (none) to 9.
	compression int
}

// build makes an image of one layer. The same options and files give the same digest.
func build(o options) (v1.Image, error) {
	layer, err := layerOf(o)
	if err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil }
	packed, err := tarball.LayerFromOpener(opener, tarball.WithCompressionLevel(o.compression))
	if err != nil {
		return nil, err
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:   packed,
		History: v1.History{Created: v1.Time{Time: o.created}, CreatedBy: "hack/image", Comment: o.entrypoint},
	})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: o.created}
	file.OS, file.Architecture, file.Variant = o.platform.OS, o.platform.Architecture, o.platform.Variant
	file.Config = v1.Config{User: o.user, Entrypoint: []string{o.entrypoint}, Labels: o.labels}
	return mutate.ConfigFile(image, file)
}

// layerOf packs the files, and the folders they lie in, by name.
func layerOf(o options) ([]byte, error) {
	program, err := os.ReadFile(o.program)
	if err != nil {
		return nil, err
	}
	type file struct {
		mode    int64
		content []byte
	}
	files := map[string]file{o.entrypoint: {0o755, program}}
	if o.certificates != "" {
		content, err := os.ReadFile(o.certificates)
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(content, []byte("BEGIN CERTIFICATE")) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", o.certificates)
		}
		files["/etc/ssl/certs/ca-certificates.crt"] = file{0o644, content}
	}
	var names []string
	for name := range files {
		if !path.IsAbs(name) || path.Clean(name) != name {
			return nil, fmt.Errorf("%q is no absolute path", name)
		}
		for folder := path.Dir(name); folder != "/"; folder = path.Dir(folder) {
			names = append(names, folder+"/")
		}
		names = append(names, name)
	}
	slices.Sort(names)
	var packed bytes.Buffer
	writer := tar.NewWriter(&packed)
	for _, name := range slices.Compact(names) {
		header := &tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: 0o755, ModTime: o.created, Format: tar.FormatPAX}
		f, regular := files[name]
		if header.Typeflag = tar.TypeDir; regular {
			header.Typeflag, header.Mode, header.Size = tar.TypeReg, f.mode, int64(len(f.content))
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

// write saves an image as a tar that docker load, podman load and ctr image import take.
func write(file string, reference name.Tag, image v1.Image) error {
	// Beside its place first, so that nobody meets half an image.
	temporary := file + ".part"
	defer os.Remove(temporary)
	if err := tarball.WriteToFile(temporary, reference, image); err != nil {
		return err
	}
	return os.Rename(temporary, file)
}
