// Package process is what the programs do alike when they start.
package process

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
)

// Log makes a program's log, in the format json or text, and has the libraries that
// talk to the API server write to it too. The error names the flag --log-format.
func Log(out io.Writer, format string, level slog.Level) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch format {
	case "json":
		handler = slog.NewJSONHandler(out, options)
	case "text":
		handler = slog.NewTextHandler(out, options)
	default:
		return nil, fmt.Errorf("--log-format %q is neither json nor text", format)
	}
	bridged := logr.FromSlogHandler(handler)
	ctrl.SetLogger(bridged)
	klog.SetLogger(bridged)
	return slog.New(handler), nil
}

// RESTConfig finds the API server: by the kubeconfig file if there is one, else as
// controller-runtime does.
func RESTConfig(kubeconfig string) (*rest.Config, error) {
	find := config.GetConfig
	if kubeconfig != "" {
		find = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", kubeconfig) }
	}
	found, err := find()
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	return found, nil
}

// BuildInfo is the series by which it is seen that a program runs, and in which version.
// The alerts on programs that are gone read it.
func BuildInfo(program, version string) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sojourn_build_info", Help: "1, with the program that runs and its version.",
		ConstLabels: prometheus.Labels{"program": program, "version": version},
	})
	info.Set(1)
	return info
}

// Version is what the linker said, else what the Go command recorded.
func Version(linked string) string {
	recorded := ""
	if build, known := debug.ReadBuildInfo(); known {
		recorded = build.Main.Version
	}
	return cmp.Or(linked, recorded, "unknown")
}

// Encrypt makes a listener one of TLS, with a certificate of its own making: tokens must
// not travel in clear, and whoever forwards a port to a Pod knows whom they ask.
func Encrypt(listener net.Listener) (net.Listener, error) {
	own, err := Certificate()
	if err != nil {
		return nil, err
	}
	return tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}), nil
}

// Certificate makes one that only says that the talk is secret, not with whom.
func Certificate() (tls.Certificate, error) {
	certificate, key, err := cert.GenerateSelfSignedCertKey("localhost", []net.IP{{127, 0, 0, 1}}, nil)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certificate, key)
}
