// Command image makes an image of a static program, without a Docker engine and without
// a base image, and beside it a bill of what the program consists of.
package main

import (
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "image [flags] PROGRAM NAME[:TAG] OUT.tar\n\nwrites OUT.tar with an image of PROGRAM, and OUT.cdx.json with what PROGRAM consists of.\n\n")
		flags.PrintDefaults()
	}
	o := options{}
	flags.StringVar(&o.user, "user", "65532:65532", "`numbers` of the user and group that the program runs as")
	flags.StringVar(&o.certificates, "certificates", "", "`file` of those whom the program trusts in TLS, in PEM; default: nobody")
	flags.StringVar(&o.entrypoint, "entrypoint", "/program", "where the program lies in the image")
	flags.IntVar(&o.compression, "compression", 6, "gzip's, from 0, none, to 9, small")
	version := flags.String("version", "unknown", "what the label org.opencontainers.image.version says")
	revision := flags.String("revision", "", "what the label org.opencontainers.image.revision says; default: as recorded in the program")
	title := flags.String("title", "", "what the label org.opencontainers.image.title says; default: NAME without what comes before its last slash")
	description := flags.String("description", "", "what the label org.opencontainers.image.description says")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() != 3 {
		flags.Usage()
		return fmt.Errorf("takes three arguments, not %d", flags.NArg())
	}
	if user, group, both := strings.Cut(o.user, ":"); !isNumber(user) || both && !isNumber(group) {
		return fmt.Errorf("-user %q: takes numbers such as 65532:65532", o.user)
	}
	o.program = flags.Arg(0)
	reference, err := name.NewTag(flags.Arg(1), name.WithDefaultRegistry(""))
	if err != nil {
		return err
	}
	out := flags.Arg(2)
	info, err := buildinfo.ReadFile(o.program)
	if err != nil {
		return fmt.Errorf("%s is no program made by Go: %w", o.program, err)
	}
	if o.platform, err = platformOf(info); err != nil {
		return fmt.Errorf("%s: %w", o.program, err)
	}
	if o.created, err = created(); err != nil {
		return err
	}
	if *title == "" {
		*title = reference.RepositoryStr()[strings.LastIndex(reference.RepositoryStr(), "/")+1:]
	}
	o.labels = map[string]string{"org.opencontainers.image.title": *title, "org.opencontainers.image.version": *version}
	if *description != "" {
		o.labels["org.opencontainers.image.description"] = *description
	}
	if *revision == "" {
		*revision = setting(info, "vcs.revision")
	}
	if *revision != "" {
		o.labels["org.opencontainers.image.revision"] = *revision
	}
	if o.created.Unix() != 0 {
		o.labels["org.opencontainers.image.created"] = o.created.Format(time.RFC3339)
	}
	image, err := build(o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := write(out, reference, image); err != nil {
		return err
	}
	if err := writeBill(strings.TrimSuffix(out, ".tar")+".cdx.json", o.program, *title, *version); err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s@%s %s\n", reference, digest, out)
	return err
}

func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 32)
	return err == nil
}

// created is the time that SOURCE_DATE_EPOCH says, in seconds since 1970, as
// reproducible builds do; else 1970 itself.
func created() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// platformOf is what the program was built for. It must need no file but itself, for
// there is no other in the image.
func platformOf(info *buildinfo.BuildInfo) (v1.Platform, error) {
	if setting(info, "CGO_ENABLED") == "1" {
		return v1.Platform{}, errors.New("was built with cgo and may need libraries that the image lacks: build it with CGO_ENABLED=0")
	}
	p := v1.Platform{OS: setting(info, "GOOS"), Architecture: setting(info, "GOARCH")}
	if p.OS != "linux" {
		return p, fmt.Errorf("was built for %q, not for linux: build it with GOOS=linux", p.OS)
	}
	if p.Architecture == "arm" {
		p.Variant = "v" + setting(info, "GOARM")
	}
	return p, nil
}

func setting(info *buildinfo.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
