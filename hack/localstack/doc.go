// Package localstack runs the real parts Sojourn works with, on one machine and
// without containers: a Kubernetes control plane, Prometheus, Alertmanager, and
// a rules sidecar that carries rule objects from the cluster to Prometheus.
//
// Tests use it because fakes agree with whatever the code under test believes:
// only a real API server runs admission and CEL, only the real garbage collector
// follows owner references, and only Prometheus says whether a rule fires.
//
// The programs are built from source on first use (see [Binary]), pinned by the
// modules under build/, and kept in the user's cache folder. Everything listens
// on loopback only, and nothing outlives the process that started it, however
// that process ends.
//
// Every Start function takes a context that bounds the start alone; what was
// started runs until its Stop method is called or the process ends.
package localstack
