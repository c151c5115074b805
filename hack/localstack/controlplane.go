package localstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ControlPlaneOptions says what a control plane consists of. The zero value is
// etcd and an API server in a temporary folder.
type ControlPlaneOptions struct {
	// Dir keeps data, certificates and logs, and stays after Stop. Empty means a
	// temporary folder that Stop removes.
	Dir string
	// ControllerManager adds kube-controller-manager, and with it garbage
	// collection by owner reference, namespace deletion and default service
	// accounts.
	ControllerManager bool
	// AuditLog records every request's metadata in ControlPlane.AuditLogPath, for
	// tests that count writes.
	AuditLog bool
	// EtcdFlags are added to etcd's own, and win over them.
	EtcdFlags []string
	// APIServerFlags are added to the API server's own, and win over them.
	APIServerFlags []string
	// ControllerManagerFlags are added to the controller manager's own, and win over them.
	ControllerManagerFlags []string
	// Address is where the API server listens, what the Service kubernetes leads to, and
	// from where kubelets are spoken to. Default: loopback, for a cluster without nodes.
	Address string
}

// ControlPlane is a running Kubernetes control plane without nodes.
type ControlPlane struct {
	// URL is the API server's address.
	URL string
	// Dir holds data, certificates and one log per program.
	Dir string
	// AuditLogPath is the audit log, one JSON event per line; empty unless asked
	// for.
	AuditLogPath string
	// EtcdURL is where etcd answers, to everybody and without TLS.
	EtcdURL string

	options   ControlPlaneOptions
	removeDir func()
	port      int
	authority *authority
	config    *rest.Config
	client    *kubernetes.Clientset

	etcd, apiServer, controllerManager *Process
}

// StartControlPlane starts a control plane on loopback and waits until it
// serves. RBAC is on, service account tokens can be requested and reviewed, and
// admission runs as in any cluster; without the controller manager the
// ServiceAccount plugin is off, because nobody would create the default accounts
// it waits for.
func StartControlPlane(ctx context.Context, options ControlPlaneOptions) (*ControlPlane, error) {
	cp := &ControlPlane{options: options}
	if err := cp.start(ctx); err != nil {
		cp.Stop()
		return nil, fmt.Errorf("control plane: %w", err)
	}
	return cp, nil
}

func (cp *ControlPlane) start(ctx context.Context) (err error) {
	// All binaries before any process, so that a build's minutes are not spent
	// with half a control plane.
	binaries := []string{EtcdBinary, KubeAPIServerBinary}
	if cp.options.ControllerManager {
		binaries = append(binaries, KubeControllerManagerBinary)
	}
	for _, name := range binaries {
		if _, err := Binary(ctx, name); err != nil {
			return err
		}
	}
	if cp.Dir, cp.removeDir, err = stackDir(cp.options.Dir, "cluster"); err != nil {
		return err
	}
	if cp.port, err = freePort(); err != nil {
		return err
	}
	cp.URL = fmt.Sprintf("https://%s:%d", cp.address(), cp.port)
	if err := cp.writeCredentials(); err != nil {
		return err
	}
	if err := cp.startEtcd(ctx); err != nil {
		return err
	}
	if err := cp.StartAPIServer(ctx); err != nil {
		return err
	}
	if cp.options.ControllerManager {
		return cp.startControllerManager(ctx)
	}
	return nil
}

// RESTConfig returns a configuration for a member of system:masters, without
// client-side rate limits. Every call returns a copy, so tests may impersonate
// others with it.
func (cp *ControlPlane) RESTConfig() *rest.Config { return rest.CopyConfig(cp.config) }

// Kubeconfig returns the path of a kubeconfig with the same rights as
// [ControlPlane.RESTConfig], for kubectl and for programs under test.
func (cp *ControlPlane) Kubeconfig() string { return cp.path("kubeconfig") }

// PIDs are the processes of the API server and of etcd, for those who measure them.
func (cp *ControlPlane) PIDs() []int {
	return []int{cp.apiServer.cmd.Process.Pid, cp.etcd.cmd.Process.Pid}
}

// Stop ends all programs, the API server's clients first, and removes the
// temporary folder. It may be called more than once, and on nil.
func (cp *ControlPlane) Stop() {
	if cp == nil {
		return
	}
	cp.controllerManager.Stop(5 * time.Second)
	cp.apiServer.Stop(apiServerGrace)
	cp.etcd.Stop(5 * time.Second)
	if cp.removeDir != nil {
		cp.removeDir()
	}
}

// StopAPIServer ends the API server alone; etcd keeps the data. With
// StartAPIServer it shows how a program bears an API server's absence.
func (cp *ControlPlane) StopAPIServer() { cp.apiServer.Stop(apiServerGrace) }

// apiServerGrace lets requests end. More would be lost on watches, for which an
// API server waits a minute and which never end by themselves; whatever it has
// acknowledged is in etcd.
const apiServerGrace = 2 * time.Second

// StartAPIServer starts the API server again, at the same address and with the
// same data and credentials.
func (cp *ControlPlane) StartAPIServer(ctx context.Context) error {
	binary, err := Binary(ctx, KubeAPIServerBinary)
	if err != nil {
		return err
	}
	flags := []string{
		"--bind-address=" + cp.address(),
		"--advertise-address=" + cp.address(),
		fmt.Sprintf("--secure-port=%d", cp.port),
		"--etcd-servers=" + cp.EtcdURL,
		"--client-ca-file=" + cp.path("ca.crt"),
		"--tls-cert-file=" + cp.path("apiserver.crt"),
		"--tls-private-key-file=" + cp.path("apiserver.key"),
		"--service-cluster-ip-range=10.0.0.0/16", // the first is the Service kubernetes
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-signing-key-file=" + cp.path("service-accounts.key"),
		"--service-account-key-file=" + cp.path("service-accounts.key"),
	}
	if cp.options.Address == "" {
		// Loopback is no address for the kubernetes Service's endpoints.
		flags = append(flags, "--authorization-mode=RBAC", "--endpoint-reconciler-type=none")
	} else {
		flags = append(flags,
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--kubelet-preferred-address-types=InternalIP",
			"--kubelet-client-certificate="+cp.path("kubelet-client.crt"),
			"--kubelet-client-key="+cp.path("kubelet-client.key"))
	}
	if !cp.options.ControllerManager {
		flags = append(flags, "--disable-admission-plugins=ServiceAccount")
	}
	if cp.options.AuditLog {
		cp.AuditLogPath = cp.path("audit.log")
		flags = append(flags, "--audit-log-path="+cp.AuditLogPath, "--audit-policy-file="+cp.path("audit-policy.yaml"))
	}
	flags = append(flags, cp.options.APIServerFlags...)
	if cp.apiServer, err = StartProcess(cp.Dir, KubeAPIServerBinary, binary, flags...); err != nil {
		return err
	}
	return cp.apiServer.WaitReady(ctx, func(ctx context.Context) error {
		if _, err := cp.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
			return err
		}
		// The API server creates it a moment after it calls itself ready.
		_, err := cp.client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		return err
	})
}

func (cp *ControlPlane) startEtcd(ctx context.Context) error {
	binary, err := Binary(ctx, EtcdBinary)
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	cp.EtcdURL = fmt.Sprintf("http://127.0.0.1:%d", port)
	flags := []string{
		"--data-dir=" + cp.path("etcd"),
		"--listen-client-urls=" + cp.EtcdURL,
		"--advertise-client-urls=" + cp.EtcdURL,
		// A single member speaks to no peer; any free port will do.
		"--listen-peer-urls=http://127.0.0.1:0",
		// Nothing here must survive a power cut, and each fsync costs milliseconds.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
	if cp.etcd, err = StartProcess(cp.Dir, EtcdBinary, binary, append(flags, cp.options.EtcdFlags...)...); err != nil {
		return err
	}
	return cp.etcd.WaitReady(ctx, func(ctx context.Context) error { return AnswersOK(ctx, cp.EtcdURL+"/health") })
}

func (cp *ControlPlane) startControllerManager(ctx context.Context) error {
	binary, err := Binary(ctx, KubeControllerManagerBinary)
	if err != nil {
		return err
	}
	flags := []string{
		"--kubeconfig=" + cp.Kubeconfig(),
		"--secure-port=0", // it serves nothing that anybody here reads
		"--leader-elect=false",
		"--root-ca-file=" + cp.path("ca.crt"),
		"--service-account-private-key-file=" + cp.path("service-accounts.key"),
	}
	flags = append(flags, cp.options.ControllerManagerFlags...)
	cp.controllerManager, err = StartProcess(cp.Dir, KubeControllerManagerBinary, binary, flags...)
	if err != nil {
		return err
	}
	// The default service account is the first thing a Pod in a new namespace
	// needs, and its presence shows that controllers run.
	return cp.controllerManager.WaitReady(ctx, func(ctx context.Context) error {
		_, err := cp.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// writeCredentials makes a new authority, and with it every file by which the
// programs and their clients know each other.
func (cp *ControlPlane) writeCredentials() error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	cp.authority = ca
	server, err := ca.server(cp.address())
	if err != nil {
		return err
	}
	admin, err := ca.client("sojourn-localstack-admin", "system:masters")
	if err != nil {
		return err
	}
	kubeletClient, err := ca.client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	signingKey, err := newSigningKey()
	if err != nil {
		return err
	}
	err = errors.Join(
		os.WriteFile(cp.path("ca.crt"), ca.pem, 0o644),
		os.WriteFile(cp.path("apiserver.crt"), server.certificate, 0o644),
		os.WriteFile(cp.path("apiserver.key"), server.key, 0o600),
		os.WriteFile(cp.path("kubelet-client.crt"), kubeletClient.certificate, 0o644),
		os.WriteFile(cp.path("kubelet-client.key"), kubeletClient.key, 0o600),
		os.WriteFile(cp.path("service-accounts.key"), signingKey, 0o600),
		os.WriteFile(cp.path("audit-policy.yaml"), []byte(auditPolicy), 0o644),
	)
	if err != nil {
		return err
	}

	kubeconfig := cp.kubeconfigOf(admin)
	if err := clientcmd.WriteToFile(kubeconfig, cp.Kubeconfig()); err != nil {
		return err
	}
	if cp.config, err = clientcmd.NewDefaultClientConfig(kubeconfig, nil).ClientConfig(); err != nil {
		return err
	}
	cp.config.QPS = -1
	cp.client, err = kubernetes.NewForConfig(cp.config)
	return err
}

// WriteKubeconfig makes a client certificate for a user and groups, and writes a kubeconfig
// with it.
func (cp *ControlPlane) WriteKubeconfig(file, user string, groups ...string) error {
	pair, err := cp.authority.client(user, groups...)
	if err != nil {
		return err
	}
	return clientcmd.WriteToFile(cp.kubeconfigOf(pair), file)
}

// CertificateAuthority is the file, in PEM, of the authority that signed every
// certificate here.
func (cp *ControlPlane) CertificateAuthority() string { return cp.path("ca.crt") }

func (cp *ControlPlane) kubeconfigOf(client keyPair) clientcmdapi.Config {
	const name = "sojourn-localstack"
	return clientcmdapi.Config{
		CurrentContext: name,
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: cp.URL, CertificateAuthorityData: cp.authority.pem}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			ClientCertificateData: client.certificate, ClientKeyData: client.key,
		}},
		Contexts: map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
	}
}

func (cp *ControlPlane) address() string { return cmp.Or(cp.options.Address, "127.0.0.1") }

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

func (cp *ControlPlane) path(name string) string { return filepath.Join(cp.Dir, name) }

// AnswersOK asks for a page and wants status 200.
func AnswersOK(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	return nil
}
