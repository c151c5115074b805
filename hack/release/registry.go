package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// logins are those of docker login and podman login. Registries on this machine are spoken
// to by plain HTTP.
var logins = authn.DefaultKeychain

// push pushes the images, each for all platforms under one name, and writes a chart and a
// manifest that name them.
func (r *release) push(ctx context.Context) error {
	if r.imagePrefix == "" {
		return errors.New("IMAGE_PREFIX is not set: write where your cluster finds images, such as make push IMAGE_PREFIX=images.example.com/sojourn")
	}
	images, err := r.images()
	if err != nil {
		return err
	}
	if images[0].tag.RegistryStr() == "" {
		return fmt.Errorf("IMAGE_PREFIX=%s names no registry: write one before the first slash, such as images.example.com/%[1]s", r.imagePrefix)
	}
	// Before minutes of compiling.
	for _, image := range images {
		if err := remote.CheckPushPermission(image.tag, logins, http.DefaultTransport); err != nil {
			return explain(image.tag, err)
		}
	}
	pusher, err := remote.NewPusher(remote.WithAuthFromKeychain(logins))
	if err != nil {
		return err
	}
	var pushed []string
	err = r.eachImage(ctx, images, func(n named, platforms []made) error {
		index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
		for _, m := range platforms {
			config, err := m.ConfigFile()
			if err != nil {
				return err
			}
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: m, Descriptor: v1.Descriptor{Platform: config.Platform()}})
		}
		fmt.Fprintf(r.log, "pushing %s\n", n.tag)
		if err := pusher.Push(ctx, n.tag, index); err != nil {
			return explain(n.tag, err)
		}
		digest, err := index.Digest()
		pushed = append(pushed, fmt.Sprintf("  %s@%s", n.tag, digest))
		return err
	})
	if err != nil {
		return err
	}
	const chart = "sojourn.tgz"
	if err := errors.Join(r.chart(chart), r.manifests()); err != nil {
		return err
	}
	// Of a release whose files these may have replaced.
	if err := os.Remove(filepath.Join(r.out, sumsName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fmt.Fprintf(r.log, "\npushed for %s:\n%s\n\ninstall by one of\n  helm install sojourn %s -n sojourn-system --create-namespace\n  kubectl apply --server-side -f %s\n",
		strings.Join(r.nodePlatforms(), ", "), strings.Join(pushed, "\n"), filepath.Join(r.out, chart), filepath.Join(r.out, "install.yaml"))
	if strings.HasSuffix(r.version, "-dirty") {
		fmt.Fprintln(r.log, "\nThe sources have changes that are not committed: nodes that have this version already will not pull it anew.\nCommit, or write a VERSION= of your own, before you push other changes.")
	}
	return nil
}

// explain says what to do when a registry does not take an image.
func explain(tag name.Tag, err error) error {
	registry := tag.RegistryStr()
	var refused *transport.Error
	var unknown *net.DNSError
	switch {
	case errors.As(err, &refused):
		has := func(code transport.ErrorCode) bool {
			return slices.ContainsFunc(refused.Errors, func(d transport.Diagnostic) bool { return d.Code == code })
		}
		switch {
		case refused.StatusCode == http.StatusUnauthorized || refused.StatusCode == http.StatusForbidden ||
			has(transport.UnauthorizedErrorCode) || has(transport.DeniedErrorCode):
			if login, err := logins.Resolve(tag.Context()); err == nil && login == authn.Anonymous {
				return fmt.Errorf("%s asks who you are: log in by docker login %[1]s, podman login %[1]s or helm registry login %[1]s --registry-config ~/.docker/config.json, and run this again", registry)
			}
			return fmt.Errorf("%s does not let the account that you are logged in with push to %s: log in by one that may, or correct IMAGE_PREFIX (%w)", registry, tag.RepositoryStr(), err)
		case has(transport.NameUnknownErrorCode) || refused.StatusCode == http.StatusNotFound:
			return fmt.Errorf("%s has no place for %s: create it there, or correct IMAGE_PREFIX (%w)", registry, tag.RepositoryStr(), err)
		}
		return fmt.Errorf("%s refused %s: see what it says, and run this again (%w)", registry, tag, err)
	case errors.As(err, &unknown):
		return fmt.Errorf("the registry %s is not found: correct IMAGE_PREFIX, or this machine's DNS (%w)", registry, err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("the registry %s speaks plain HTTP, which is only taken from this machine and from private addresses: give it a certificate, or forward a local port to it", registry)
	case strings.Contains(err.Error(), "x509:") || strings.Contains(err.Error(), "tls:"):
		return fmt.Errorf("the registry %s is not trusted: if its certificate is of your own CA, name that file in SSL_CERT_FILE (%w)", registry, err)
	}
	return fmt.Errorf("the registry %s cannot be reached: correct IMAGE_PREFIX, or see that it runs (%w)", registry, err)
}
