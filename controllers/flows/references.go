package flows

import (
	"slices"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// References lists the keys of Secrets and ConfigMaps that a probe names, each once,
// whether or not the probe can work.
func References(probe *v1alpha1.Probe) []Reference {
	var found []Reference
	add := func(secret bool, key *v1alpha1.KeyReference) {
		if key == nil {
			return
		}
		if reference := *refer(secret, key); !slices.Contains(found, reference) {
			found = append(found, reference)
		}
	}
	source := func(from *v1alpha1.ValueSource) {
		if from != nil {
			add(true, from.SecretKeyRef)
			add(false, from.ConfigMapKeyRef)
		}
	}
	trust := func(options *v1alpha1.TLSOptions) {
		if options == nil {
			return
		}
		if options.CA != nil {
			add(true, options.CA.SecretKeyRef)
			add(false, options.CA.ConfigMapKeyRef)
		}
		if name := options.ClientCertificateSecret; name != "" {
			add(true, &v1alpha1.KeyReference{Name: name, Key: certificateKey})
			add(true, &v1alpha1.KeyReference{Name: name, Key: privateKey})
		}
	}
	request := func(http *v1alpha1.HTTPProbe) {
		if http == nil {
			return
		}
		source(http.URLFrom)
		for _, header := range http.Headers {
			source(header.ValueFrom)
		}
		for _, parameter := range http.Query {
			source(parameter.ValueFrom)
		}
		if http.Body != nil {
			source(http.Body.ValueFrom)
		}
		trust(http.TLS)
	}
	for _, variable := range probe.Variables {
		source(variable.ValueFrom)
	}
	request(probe.HTTP)
	for _, step := range probe.Steps {
		request(step.HTTP)
		if step.GRPC != nil {
			trust(step.GRPC.TLS)
		}
		if step.TLS != nil {
			trust(&step.TLS.TLSOptions)
		}
	}
	return found
}

// Keys of a Secret of type kubernetes.io/tls.
const (
	certificateKey = "tls.crt"
	privateKey     = "tls.key"
)
