package cluster

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// Where everything is, in a network that is the cluster's alone.
const (
	// NodeName is the one node's.
	NodeName    = "node"
	nodeAddress = "10.9.0.1"
	podNetwork  = "10.8.0.0/16"
	dnsAddress  = "10.0.0.10"
)

// Cluster is a running cluster.
type Cluster struct {
	*localstack.ControlPlane
	// Client may do everything.
	Client kubernetes.Interface

	folder                                string
	parts                                 parts
	containerd, scheduler, kubelet, proxy *localstack.Process
}

// Start starts a cluster and waits until its node is ready and names are answered. It
// runs inside of [Isolate], in a folder that [Prepare] has filled.
func Start(ctx context.Context, folder string) (*Cluster, error) {
	c := &Cluster{folder: folder}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("cluster: %w", err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	text, err := os.ReadFile(c.path("parts.json"))
	if err != nil {
		return fmt.Errorf("nothing is prepared: %w", err)
	}
	if err := json.Unmarshal(text, &c.parts); err != nil {
		return err
	}
	if err := c.setEnvironment(); err != nil {
		return err
	}
	if err := c.setUpNetwork(ctx); err != nil {
		return err
	}
	if err := c.startContainerd(ctx); err != nil {
		return err
	}
	imported := make(chan error, 1)
	go func() { imported <- c.importImages(ctx) }()
	c.ControlPlane, err = localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{
		Dir: c.path("control-plane"), ControllerManager: true, Address: nodeAddress,
		ControllerManagerFlags: []string{"--cluster-cidr=" + podNetwork},
	})
	if err = errors.Join(err, <-imported); err != nil {
		return err
	}
	if c.Client, err = kubernetes.NewForConfig(c.RESTConfig()); err != nil {
		return err
	}
	if err := c.startNode(ctx); err != nil {
		return err
	}
	if err := c.addStorage(ctx); err != nil {
		return err
	}
	return c.startDNS(ctx)
}

// Stop ends every program. Containers that still run end with the process that [Isolate]
// started. It may be called more than once, and on nil.
func (c *Cluster) Stop() {
	if c == nil {
		return
	}
	const grace = 2 * time.Second
	c.proxy.Stop(grace)
	c.kubelet.Stop(grace)
	c.scheduler.Stop(grace)
	c.ControlPlane.Stop()
	c.containerd.Stop(grace)
}

func (c *Cluster) path(name string) string { return filepath.Join(c.folder, name) }

// setEnvironment has this process and those it starts find what was unpacked.
func (c *Cluster) setEnvironment() error {
	tools := c.path("tools")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return err
	}
	// Debian's alternatives make these links when the package is installed.
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			target := filepath.Join(c.parts.Plugins, "usr", "sbin", family+"-nft"+suffix)
			if err := os.Symlink(target, filepath.Join(tools, family+suffix)); err != nil {
				return err
			}
		}
	}
	path, libraries := []string{tools}, []string{}
	for _, root := range []string{c.parts.Containerd, c.parts.Plugins} {
		if root == "/" {
			continue
		}
		path = append(path, filepath.Join(root, "usr", "bin"), filepath.Join(root, "usr", "sbin"))
		found, err := filepath.Glob(filepath.Join(root, "usr", "lib", "*-linux-gnu*"))
		if err != nil {
			return err
		}
		for _, folder := range found {
			libraries = append(libraries, folder)
			if extensions := filepath.Join(folder, "xtables"); isFolder(extensions) {
				os.Setenv("XTABLES_LIBDIR", extensions)
			}
		}
	}
	os.Setenv("PATH", strings.Join(append(path, os.Getenv("PATH"), "/usr/sbin", "/sbin"), ":"))
	os.Setenv("LD_LIBRARY_PATH", strings.Join(libraries, ":"))
	return nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// setUpNetwork gives the node an address, and a route that leads nowhere: programs look
// for one to find out which address is theirs.
func (c *Cluster) setUpNetwork(ctx context.Context) error {
	for _, line := range []string{
		"link set lo up",
		"link add node type bridge",
		"address add " + nodeAddress + "/24 dev node",
		"link set node up",
		"route add default dev node",
	} {
		if out, err := exec.CommandContext(ctx, c.parts.IP, strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w\n%s", line, err, out)
		}
	}
	for name, value := range map[string]string{
		"net/ipv4/ip_forward": "1",
		// Two Pods on one bridge that meet through a Service.
		"net/bridge/bridge-nf-call-iptables": "1",
	} {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

//go:embed files/containerd.toml
var containerdConfig string

//go:embed files/network.json
var networkConfig string

//go:embed files/kubelet.yaml
var kubeletConfig string

//go:embed files/proxy.yaml
var proxyConfig string

//go:embed files/storage.yaml
var storageManifests string

//go:embed files/dns.yaml
var dnsManifests string

// Folder and the following are what the files name.
func (c *Cluster) Folder() string        { return c.folder }
func (c *Cluster) NodeName() string      { return NodeName }
func (c *Cluster) NodeAddress() string   { return nodeAddress }
func (c *Cluster) PodNetwork() string    { return podNetwork }
func (c *Cluster) DNSAddress() string    { return dnsAddress }
func (c *Cluster) PauseImage() string    { return pauseImage }
func (c *Cluster) DNSImage() string      { return dnsImage }
func (c *Cluster) Socket() string        { return c.path("containerd.sock") }
func (c *Cluster) PluginsFolder() string { return filepath.Join(c.parts.Plugins, "usr", "lib", "cni") }
func (c *Cluster) Runc() string          { return filepath.Join(c.parts.Containerd, "usr", "sbin", "runc") }
func (c *Cluster) Volumes() []string     { return []string{"volume-1", "volume-2", "volume-3", "volume-4"} }

// write fills a file in and writes it into the folder.
func (c *Cluster) write(name, text string) error {
	parsed, err := template.New(name).Parse(text)
	if err != nil {
		return err
	}
	file := c.path(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	return errors.Join(parsed.Execute(out, c), out.Close())
}

func (c *Cluster) startContainerd(ctx context.Context) (err error) {
	err = errors.Join(c.write("containerd.toml", containerdConfig), c.write("cni/10-pods.conflist", networkConfig))
	if err != nil {
		return err
	}
	c.containerd, err = localstack.StartProcess(c.folder, "containerd", filepath.Join(c.parts.Containerd, "usr", "bin", "containerd"),
		"--config="+c.path("containerd.toml"))
	if err != nil {
		return err
	}
	return c.containerd.WaitReady(ctx, func(ctx context.Context) error { return c.ctr(ctx, "version") })
}

func (c *Cluster) ctr(ctx context.Context, arguments ...string) error {
	arguments = append([]string{"--address", c.Socket(), "--namespace", "k8s.io"}, arguments...)
	if out, err := exec.CommandContext(ctx, filepath.Join(c.parts.Containerd, "usr", "bin", "ctr"), arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("ctr %s: %w\n%s", strings.Join(arguments, " "), err, out)
	}
	return nil
}

func (c *Cluster) importImages(ctx context.Context) error {
	files, err := filepath.Glob(c.path("images/*.tar"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := c.Load(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// Load makes the image in a tar known to the node.
func (c *Cluster) Load(ctx context.Context, file string) error {
	return c.ctr(ctx, "images", "import", file)
}

// startNode starts what makes this machine a node, and waits until it is one.
func (c *Cluster) startNode(ctx context.Context) error {
	scheduler, err := localstack.Binary(ctx, localstack.KubeSchedulerBinary)
	if err != nil {
		return err
	}
	kubelet, err := localstack.Binary(ctx, localstack.KubeletBinary)
	if err != nil {
		return err
	}
	proxy, err := localstack.Binary(ctx, localstack.KubeProxyBinary)
	if err != nil {
		return err
	}
	err = errors.Join(
		c.WriteKubeconfig(c.path("scheduler.kubeconfig"), "system:kube-scheduler"),
		c.WriteKubeconfig(c.path("kubelet.kubeconfig"), "system:node:"+NodeName, "system:nodes"),
		c.WriteKubeconfig(c.path("proxy.kubeconfig"), "system:kube-proxy"),
		c.write("kubelet.yaml", kubeletConfig),
		c.write("proxy.yaml", proxyConfig),
		// Nobody is asked for names outside of the cluster.
		os.WriteFile(c.path("resolv.conf"), nil, 0o644),
	)
	if err != nil {
		return err
	}
	if c.scheduler, err = localstack.StartProcess(c.folder, "scheduler", scheduler,
		"--kubeconfig="+c.path("scheduler.kubeconfig"), "--leader-elect=false", "--secure-port=0"); err != nil {
		return err
	}
	if c.kubelet, err = localstack.StartProcess(c.folder, "kubelet", kubelet,
		"--config="+c.path("kubelet.yaml"),
		"--kubeconfig="+c.path("kubelet.kubeconfig"),
		"--root-dir="+c.path("kubelet"),
		"--hostname-override="+NodeName,
		"--node-ip="+nodeAddress); err != nil {
		return err
	}
	err = c.kubelet.WaitReady(ctx, func(ctx context.Context) error {
		node, err := c.Client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				return fmt.Errorf("the node is not ready: %s", condition.Message)
			} else if condition.Type == corev1.NodeReady {
				return nil
			}
		}
		return errors.New("the node does not say whether it is ready")
	})
	if err != nil {
		return err
	}
	c.proxy, err = localstack.StartProcess(c.folder, "proxy", proxy, "--config="+c.path("proxy.yaml"))
	return err
}

func (c *Cluster) addStorage(ctx context.Context) error {
	for _, volume := range c.Volumes() {
		if err := os.MkdirAll(c.path("volumes/"+volume), 0o755); err != nil {
			return err
		}
	}
	if err := c.write("storage.yaml", storageManifests); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "apply", "--server-side", "--filename", c.path("storage.yaml"))
	return err
}

func (c *Cluster) startDNS(ctx context.Context) error {
	if err := c.write("dns.yaml", dnsManifests); err != nil {
		return err
	}
	if _, err := c.Kubectl(ctx, "apply", "--server-side", "--filename", c.path("dns.yaml")); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
	return err
}

// Kubectl runs kubectl with all rights, and returns what it prints.
func (c *Cluster) Kubectl(ctx context.Context, arguments ...string) (string, error) {
	binary, err := localstack.Binary(ctx, localstack.KubectlBinary)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, binary, append([]string{"--kubeconfig=" + c.Kubeconfig()}, arguments...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w\n%s", strings.Join(arguments, " "), err, out)
	}
	return string(out), nil
}
