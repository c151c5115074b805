package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/sojourn-dev/sojourn/cmd/internal/process"
	"github.com/sojourn-dev/sojourn/cmd/internal/signin"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/web"
)

// uiOptions are the flags of ui.
type uiOptions struct {
	port int
	open bool

	listen       string
	namespaces   []string
	health       string
	certificate  string
	key          string
	userHeader   string
	groupHeader  string
	secretHeader string
	secretFile   string
	proxyCA      string
}

func uiCommand(streams genericclioptions.IOStreams) *cobra.Command {
	var cluster *clusterFlags
	var o uiOptions
	c := &cobra.Command{
		Use:   "ui",
		Short: "Serves journeys as web pages",
		Long: `ui serves pages for a browser: all journeys, each as a live map with its service
blueprint, and each touchpoint with its budgets, answers, comments and history. They
follow what changes. Nothing can be changed on them.

Without --listen the pages are on this machine alone and show what you may see.

With --listen they are for others, as in a cluster: over TLS, for those who sign in by a
token of Kubernetes (in a browser: as the password, with any name) or through a sign-in
proxy, and everybody sees what the API server lets them list. The server itself then
needs the rights that config/ui gives it.`,
		Example: `  # The journeys that you may see, on this machine.
  kubectl journey ui

  # Of one namespace, on a port of your choice, in the browser at once.
  kubectl journey ui -n shop --port 8080 --open

  # In a cluster, for all who may see journeys there.
  kubectl-journey ui --listen :8443

  # Behind a sign-in proxy that names the user and proves by a secret that it is the proxy.
  kubectl-journey ui --listen :8443 --user-header X-Forwarded-User \
    --group-header X-Forwarded-Groups --proxy-secret-file /etc/proxy/secret`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			from, namespace, err := cluster.connect()
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(streams.ErrOut, nil))
			options := web.Options{Source: from, Namespaces: o.namespaces, Log: log}
			if o.listen != "" {
				return o.serveOthers(c.Context(), cluster, options)
			}
			named := c.Flags().Changed("namespace")
			if named && len(o.namespaces) == 0 {
				options.Namespaces = []string{namespace}
			}
			if len(options.Namespaces) == 0 {
				// Whoever may not list all namespaces sees those of their own.
				_, err := from.Objects(c.Context(), "")
				switch {
				case apierrors.IsForbidden(err):
					fmt.Fprintf(streams.ErrOut, "You may not list the journeys of all namespaces; these are those of namespace %s. -n names another.\n", namespace)
					options.Namespaces = []string{namespace}
				case err != nil:
					return err
				}
			}
			return o.serveMe(c.Context(), streams, options)
		},
	}
	cluster = addClusterFlags(c)
	flags := c.Flags()
	flags.IntVar(&o.port, "port", 0, "`port` on this machine; default: one that is free")
	flags.BoolVar(&o.open, "open", false, "open the pages in the browser")
	flags.StringSliceVar(&o.namespaces, "namespaces", nil, "`namespaces` to show, separated by commas; default: all that may be seen")
	flags.StringVar(&o.listen, "listen", "", "`address` on which others reach the pages over TLS, such as :8443; they sign in. Default: this machine only")
	flags.StringVar(&o.health, "health-probe-bind-address", "0", "with --listen, `address` that serves /healthz and /readyz; 0: none")
	flags.StringVar(&o.certificate, "tls-cert-file", "", "with --listen, `file` with the certificate to show, in PEM; default: one made for the occasion")
	flags.StringVar(&o.key, "tls-key-file", "", "with --listen, `file` with that certificate's key, in PEM")
	flags.StringVar(&o.userHeader, "user-header", "", "with --listen, `name` of the header by which a sign-in proxy says who asks; takes --proxy-secret-file or --proxy-ca-file")
	flags.StringVar(&o.groupHeader, "group-header", "", "`name` of the header by which the proxy says which groups they are in, separated by commas")
	flags.StringVar(&o.secretFile, "proxy-secret-file", "", "`file` with what the proxy sends in --proxy-secret-header, at least 16 characters")
	flags.StringVar(&o.secretHeader, "proxy-secret-header", "X-Sojourn-Proxy-Secret", "`name` of the header by which the proxy proves that it is the proxy")
	flags.StringVar(&o.proxyCA, "proxy-ca-file", "", "`file` with the certificates, in PEM, of an authority that signs client certificates for the proxy and for nobody else")
	return c
}

// validate says which flags do not go together.
func (o *uiOptions) validate() error {
	for _, namespace := range o.namespaces {
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			return fmt.Errorf("--namespaces: %q is no namespace: %s", namespace, problems[0])
		}
	}
	if o.port < 0 || o.port > 65535 {
		return fmt.Errorf("--port %d is no port: write one from 1 to 65535, or leave it away for one that is free", o.port)
	}
	if (o.certificate == "") != (o.key == "") {
		return errors.New("--tls-cert-file and --tls-key-file go together: name both, or neither")
	}
	if o.listen == "" {
		if o.userHeader != "" || o.groupHeader != "" || o.secretFile != "" || o.proxyCA != "" || o.certificate != "" {
			return errors.New("flags of TLS and of a sign-in proxy go with --listen: without it nobody but you reaches the pages")
		}
		return nil
	}
	if o.port != 0 || o.open {
		return errors.New("--port and --open are for pages on this machine; --listen says which port others use")
	}
	if o.userHeader == "" && (o.groupHeader != "" || o.secretFile != "" || o.proxyCA != "") {
		return errors.New("--user-header is missing: name the header by which the proxy says who asks")
	}
	if o.userHeader != "" && o.secretFile == "" && o.proxyCA == "" {
		return errors.New("--user-header alone would let everybody be anybody: have the proxy prove itself by --proxy-secret-file or --proxy-ca-file")
	}
	return nil
}

// serveMe serves on loopback, for the one who started it.
func (o *uiOptions) serveMe(ctx context.Context, streams genericclioptions.IOStreams, options web.Options) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port)))
	if err != nil {
		return fmt.Errorf("--port %d: %w", o.port, err)
	}
	options.Hosts = []string{"127.0.0.1", "localhost"}
	address := "http://" + listener.Addr().String() + "/"
	fmt.Fprintln(streams.Out, address)
	fmt.Fprintln(streams.ErrOut, "Serving journeys there until Ctrl-C.")
	if o.open {
		if err := browse(address); err != nil {
			fmt.Fprintf(streams.ErrOut, "No browser could be opened (%v): open the address yourself.\n", err)
		}
	}
	server := web.New(options)
	go server.Run(ctx)
	return ended(server.Serve(ctx, listener))
}

// browse opens an address as the desktop does.
func browse(address string) error {
	switch runtime.GOOS {
	case "darwin":
		return exec.Command("open", address).Start()
	case "windows":
		return exec.Command("rundll32", "url.dll,FileProtocolHandler", address).Start()
	default:
		return exec.Command("xdg-open", address).Start()
	}
}

// serveOthers serves to those who sign in.
func (o *uiOptions) serveOthers(ctx context.Context, cluster *clusterFlags, options web.Options) error {
	config, err := cluster.kube.ToRESTConfig()
	if err != nil {
		return err
	}
	reviewer, err := signin.New(config)
	if err != nil {
		return err
	}
	gate := &web.SignIn{Reviewer: reviewer}
	encryption := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if o.userHeader != "" {
		if gate.Proxy, err = o.proxy(encryption); err != nil {
			return err
		}
	}
	options.Gate = gate
	serving, ctx := errgroup.WithContext(ctx)
	if o.certificate != "" {
		// A certificate that is renewed is taken up.
		watcher, err := certwatcher.New(o.certificate, o.key)
		if err != nil {
			return fmt.Errorf("--tls-cert-file, --tls-key-file: %w", err)
		}
		encryption.GetCertificate = watcher.GetCertificate
		serving.Go(func() error { return watcher.Start(ctx) })
	} else {
		own, err := process.Certificate()
		if err != nil {
			return err
		}
		encryption.Certificates = []tls.Certificate{own}
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	server := web.New(options)
	if o.health != "" && o.health != "0" {
		health, err := net.Listen("tcp", o.health)
		if err != nil {
			return errors.Join(fmt.Errorf("--health-probe-bind-address: %w", err), listener.Close())
		}
		serving.Go(func() error { return serveHealth(ctx, health, server) })
	}
	options.Log.Info("serving journeys", "address", listener.Addr().String())
	serving.Go(func() error { server.Run(ctx); return nil })
	serving.Go(func() error { return ended(server.Serve(ctx, tls.NewListener(listener, encryption))) })
	return serving.Wait()
}

// proxy says how the sign-in proxy proves itself.
func (o *uiOptions) proxy(encryption *tls.Config) (*web.Proxy, error) {
	proxy := &web.Proxy{UserHeader: o.userHeader, GroupHeader: o.groupHeader, SecretHeader: o.secretHeader}
	if o.secretFile != "" {
		text, err := os.ReadFile(o.secretFile)
		if err != nil {
			return nil, fmt.Errorf("--proxy-secret-file: %w", err)
		}
		if proxy.Secret = strings.TrimSpace(string(text)); len(proxy.Secret) < 16 {
			return nil, fmt.Errorf("--proxy-secret-file: %s holds fewer than 16 characters: make some with openssl rand -hex 32", o.secretFile)
		}
	}
	if o.proxyCA != "" {
		text, err := os.ReadFile(o.proxyCA)
		if err != nil {
			return nil, fmt.Errorf("--proxy-ca-file: %w", err)
		}
		encryption.ClientCAs = x509.NewCertPool()
		if !encryption.ClientCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--proxy-ca-file: %s holds no certificate in PEM", o.proxyCA)
		}
		// Others sign in by tokens and show none.
		encryption.ClientAuth, proxy.Certificates = tls.VerifyClientCertIfGiven, true
	}
	return proxy, nil
}

// serveHealth answers whether the server lives, and whether it has seen the cluster.
func serveHealth(ctx context.Context, listener net.Listener, server *web.Server) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := server.Ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	health := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	context.AfterFunc(ctx, func() { _ = health.Close() })
	return ended(health.Serve(listener))
}

// ended is nil where a server ended because it was told to.
func ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
