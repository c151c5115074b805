package localstack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The programs that [Binary] knows.
const (
	EtcdBinary                  = "etcd"
	KubeAPIServerBinary         = "kube-apiserver"
	KubeControllerManagerBinary = "kube-controller-manager"
	KubectlBinary               = "kubectl"
	KubeSchedulerBinary         = "kube-scheduler"
	KubeletBinary               = "kubelet"
	KubeProxyBinary             = "kube-proxy"
	CoreDNSBinary               = "coredns"
	HelmBinary                  = "helm"
	PrometheusBinary            = "prometheus"
	PromtoolBinary              = "promtool"
	Promtool2Binary             = "promtool2"
	AlertmanagerBinary          = "alertmanager"
	AmtoolBinary                = "amtool"
	// ClusterPrometheusBinary is a Prometheus that finds its targets by asking an API
	// server.
	ClusterPrometheusBinary  = "prometheus-in-cluster"
	PrometheusOperatorBinary = "prometheus-operator"
	ConfigReloaderBinary     = "prometheus-config-reloader"
)

// assetsVariable is the variable by which controller-runtime's envtest, too,
// learns where prebuilt control plane programs lie.
const assetsVariable = "KUBEBUILDER_ASSETS"

// program says how one binary is built.
type program struct {
	name   string
	folder string // the build module, below build/
	pkg    string // what to build
	origin string // the module whose version is the program's
	tags   string
	// ldflags get the origin's version, such as v1.36.3.
	ldflags func(version string) []string
	// asset: taken from KUBEBUILDER_ASSETS where that is set.
	asset assetUse
	// onDemand leaves it out of [BuildAll].
	onDemand bool
	// clusterOnly: nothing but a whole cluster of hack/cluster, and what runs in it, wants
	// it. Leaves it out of [BuildAll] and [TestNames].
	clusterOnly bool
}

type assetUse int

const (
	assetNever assetUse = iota
	assetIfPresent
	assetRequired
)

// programs are listed in the order in which [BuildAll] builds them: what most
// tests need comes first.
var programs = []program{
	{
		name: EtcdBinary, folder: "etcd", pkg: ".", origin: "go.etcd.io/etcd/server/v3",
		asset: assetRequired,
	}, {
		name: KubeAPIServerBinary, folder: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-apiserver",
		origin: "k8s.io/kubernetes", ldflags: kubernetesVersion, asset: assetRequired,
	}, {
		name: KubeControllerManagerBinary, folder: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager",
		origin: "k8s.io/kubernetes", ldflags: kubernetesVersion, asset: assetIfPresent,
	}, {
		name: KubectlBinary, folder: "kubectl", pkg: ".", origin: "k8s.io/kubectl",
		asset: assetIfPresent, onDemand: true,
	}, {
		name: KubeSchedulerBinary, folder: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-scheduler",
		origin: "k8s.io/kubernetes", ldflags: kubernetesVersion, clusterOnly: true,
	}, {
		name: KubeletBinary, folder: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kubelet",
		origin: "k8s.io/kubernetes", ldflags: kubernetesVersion, clusterOnly: true,
	}, {
		name: KubeProxyBinary, folder: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-proxy",
		origin: "k8s.io/kubernetes", ldflags: kubernetesVersion, clusterOnly: true,
	}, {
		name: CoreDNSBinary, folder: "coredns", pkg: ".", origin: "github.com/coredns/coredns", clusterOnly: true,
	}, {
		name: HelmBinary, folder: "helm", pkg: "helm.sh/helm/v4/cmd/helm", origin: "helm.sh/helm/v4",
		ldflags: helmVersion, onDemand: true,
	}, {
		// Without remove_all_sd every cloud's client library is compiled in, which
		// takes three times as long; static and file discovery stay.
		name: PrometheusBinary, folder: "prometheus", pkg: "github.com/prometheus/prometheus/cmd/prometheus",
		origin: "github.com/prometheus/prometheus", tags: "netgo,remove_all_sd", ldflags: prometheusVersion,
	}, {
		name: PromtoolBinary, folder: "prometheus", pkg: "github.com/prometheus/prometheus/cmd/promtool",
		origin: "github.com/prometheus/prometheus", tags: "netgo,remove_all_sd", ldflags: prometheusVersion,
	}, {
		// Debian's Prometheus, and the oldest that rules are made for: only tests of
		// rules want it.
		name: Promtool2Binary, folder: "prometheus2", pkg: "github.com/prometheus/prometheus/cmd/promtool",
		origin: "github.com/prometheus/prometheus", tags: "netgo", ldflags: prometheusVersion, onDemand: true,
	}, {
		name: AlertmanagerBinary, folder: "alertmanager", pkg: "github.com/prometheus/alertmanager/cmd/alertmanager",
		origin: "github.com/prometheus/alertmanager", tags: "netgo", ldflags: alertmanagerVersion,
	}, {
		name: AmtoolBinary, folder: "alertmanager", pkg: "github.com/prometheus/alertmanager/cmd/amtool",
		origin: "github.com/prometheus/alertmanager", tags: "netgo", ldflags: alertmanagerVersion, onDemand: true,
	}, {
		name: ClusterPrometheusBinary, folder: "prometheus", pkg: "github.com/prometheus/prometheus/cmd/prometheus",
		origin: "github.com/prometheus/prometheus", tags: "netgo,remove_all_sd,enable_kubernetes_sd",
		ldflags: prometheusVersion, clusterOnly: true,
	}, {
		name: PrometheusOperatorBinary, folder: "promoperator",
		pkg:    "github.com/prometheus-operator/prometheus-operator/cmd/operator",
		origin: "github.com/prometheus-operator/prometheus-operator", ldflags: alertmanagerVersion, clusterOnly: true,
	}, {
		name: ConfigReloaderBinary, folder: "promoperator",
		pkg:    "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader",
		origin: "github.com/prometheus-operator/prometheus-operator", ldflags: alertmanagerVersion, clusterOnly: true,
	},
}

// kubernetesVersion: an API server built without it calls itself v0.0.0-master,
// and clients that look at the minor version go astray.
func kubernetesVersion(version string) []string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	const pkg = "k8s.io/component-base/version."
	return []string{
		"-X", pkg + "gitVersion=" + version,
		"-X", pkg + "gitMajor=" + parts[0],
		"-X", pkg + "gitMinor=" + parts[1],
		"-X", pkg + "gitTreeState=archive",
		"-X", "k8s.io/client-go/pkg/version.gitVersion=" + version,
	}
}

// prometheusVersion turns the module's version into the program's: Prometheus
// 3.13.5 is published as module v0.313.5, and 2.42.0 as v0.42.0.
func prometheusVersion(version string) []string {
	parts := strings.SplitN(version, ".", 3)
	if n, err := strconv.Atoi(parts[1]); err == nil {
		version = fmt.Sprintf("%d.%d.%s", max(2, n/100), n%100, parts[2])
	}
	return []string{"-X", "github.com/prometheus/common/version.Version=" + version}
}

func alertmanagerVersion(version string) []string {
	return []string{"-X", "github.com/prometheus/common/version.Version=" + strings.TrimPrefix(version, "v")}
}

func helmVersion(version string) []string {
	return []string{"-X", "helm.sh/helm/v4/internal/version.version=" + version}
}

// Names returns the names that [Binary] takes.
func Names() []string {
	names := make([]string, len(programs))
	for i, p := range programs {
		names[i] = p.name
	}
	return names
}

// TestNames are those of the programs that tests need which run no whole cluster.
func TestNames() []string {
	var names []string
	for _, p := range programs {
		if !p.clusterOnly {
			names = append(names, p.name)
		}
	}
	return names
}

// Binary returns the path of the named program and builds it first if the cache
// lacks it, which takes minutes for the large ones; progress goes to standard
// error. Concurrent callers, other processes among them, wait for one another
// rather than build twice. The file's name carries a hash of everything that
// decides its content, so raising a version never serves a stale binary.
//
// If KUBEBUILDER_ASSETS is set, kube-apiserver and etcd come from there, and
// kube-controller-manager if it is there.
func Binary(ctx context.Context, name string) (string, error) {
	i := slices.IndexFunc(programs, func(p program) bool { return p.name == name })
	if i < 0 {
		return "", fmt.Errorf("no program %q: there are %s", name, strings.Join(Names(), ", "))
	}
	p := programs[i]
	if dir := os.Getenv(assetsVariable); dir != "" && p.asset != assetNever {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return filepath.Abs(path)
		} else if p.asset == assetRequired {
			return "", fmt.Errorf("%s is set, but: %w", assetsVariable, err)
		}
	}
	path, err := p.cached(ctx)
	if err != nil {
		return "", fmt.Errorf("binary %s: %w", name, err)
	}
	return path, nil
}

// BuildAll makes every program present that a stack runs, so that what follows starts at
// once.
func BuildAll(ctx context.Context) error {
	for _, p := range programs {
		if p.onDemand || p.clusterOnly {
			continue
		}
		if _, err := Binary(ctx, p.name); err != nil {
			return err
		}
	}
	return nil
}

// PrometheusOperatorCRDs returns the files with the Prometheus Operator's own
// CustomResourceDefinitions of PrometheusRule and Probe, so that tests meet the
// schemas users have. They lie in the module cache; the operator is not built.
func PrometheusOperatorCRDs(ctx context.Context) ([]string, error) {
	folder, err := PrometheusOperatorModule(ctx)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, kind := range []string{"prometheusrules", "probes"} {
		file := filepath.Join(folder, "example", "prometheus-operator-crd", "monitoring.coreos.com_"+kind+".yaml")
		if _, err := os.Stat(file); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// PrometheusOperatorModule returns the folder in the module cache with the sources of the
// Prometheus Operator, among which lie the manifests it is installed by.
func PrometheusOperatorModule(ctx context.Context) (string, error) {
	root, err := buildRoot(ctx)
	if err != nil {
		return "", err
	}
	const module = "github.com/prometheus-operator/prometheus-operator"
	// Named without a version: the module's go.mod decides.
	cmd := exec.CommandContext(ctx, "go", "mod", "download", module)
	cmd.Dir, cmd.Env = filepath.Join(root, "promoperator"), buildEnvironment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("downloading %s: %w\n%s", module, err, out)
	}
	cmd = exec.CommandContext(ctx, "go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir, cmd.Env = filepath.Join(root, "promoperator"), buildEnvironment()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// cached returns the binary's path in the cache and fills it if need be.
func (p program) cached(ctx context.Context) (string, error) {
	root, err := buildRoot(ctx)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(root, p.folder)
	version, err := requiredVersion(filepath.Join(folder, "go.mod"), p.origin)
	if err != nil {
		return "", err
	}
	args := p.buildArguments(version)
	hash, err := hashOf(folder, args)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "sojourn", "bin")
	path := filepath.Join(dir, fmt.Sprintf("%s-%s-%s-%s-%s", p.name, version, runtime.GOOS, runtime.GOARCH, hash))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}

	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// One lock for all programs: two builds at a time only slow each other down,
	// and those from one module would compile the same packages twice.
	unlock, err := lockFile(ctx, filepath.Join(dir, ".lock"), func() {
		fmt.Fprintf(os.Stderr, "localstack: another process is building; waiting for it before %s\n", p.name)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}

	// We hold the lock, so these are what an interrupted build left.
	abandoned, _ := filepath.Glob(filepath.Join(dir, ".build-*"))
	for _, d := range abandoned {
		os.RemoveAll(d)
	}
	// Built beside its final place, because rename is atomic only within one file
	// system.
	tmp, err := os.MkdirTemp(dir, ".build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	built := filepath.Join(tmp, p.name)
	if err := p.build(ctx, folder, version, append(args, "-o", built, p.pkg)); err != nil {
		return "", err
	}
	return path, os.Rename(built, path)
}

func (p program) buildArguments(version string) []string {
	ldflags := []string{"-s", "-w"}
	if p.ldflags != nil {
		ldflags = append(ldflags, p.ldflags(version)...)
	}
	return []string{
		"build", "-mod=readonly", "-trimpath", "-buildvcs=false",
		"-tags", p.tags, "-ldflags", strings.Join(ldflags, " "),
	}
}

func (p program) build(ctx context.Context, folder, version string, args []string) error {
	var output bytes.Buffer
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = folder, buildEnvironment()
	cmd.Stdout, cmd.Stderr = &output, &output
	begin := time.Now()
	fmt.Fprintf(os.Stderr, "localstack: building %s %s (once; large programs take minutes)\n", p.name, version)
	if err := StartGuarded(cmd); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("building %s: %w\n%s", p.name, err, lastLines(output.Bytes(), 40))
			}
			fmt.Fprintf(os.Stderr, "localstack: built %s in %.0f s\n", p.name, time.Since(begin).Seconds())
			return nil
		case <-tick.C:
			fmt.Fprintf(os.Stderr, "localstack: building %s, %.0f s so far\n", p.name, time.Since(begin).Seconds())
		case <-ctx.Done():
			killGroup(cmd)
			<-done
			return ctx.Err()
		}
	}
}

// buildEnvironment shuts out what a user's shell may hold: a workspace or
// -mod flag of theirs would change what is built, cgo would tie the binary to
// their C library, and a GOOS meant for something else makes it unusable here.
func buildEnvironment() []string {
	return append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0",
		"GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
}

// buildRoot finds the build modules' folder, wherever in the checkout a test or
// command runs.
func buildRoot(ctx context.Context) (string, error) {
	// The compiler recorded where this file lies, unless told to trim paths.
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		dir := filepath.Join(filepath.Dir(file), "build")
		if _, err := os.Stat(dir); err == nil {
			return dir, nil
		}
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sojourn-dev/sojourn").Output()
	if err != nil {
		return "", fmt.Errorf("finding hack/localstack/build; run inside a checkout of Sojourn: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "hack", "localstack", "build"), nil
}

// requiredVersion reads a module's version off a go.mod, so that it stands in
// one place only.
func requiredVersion(goMod, module string) (string, error) {
	data, err := os.ReadFile(goMod)
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^\s*(?:require\s+)?` + regexp.QuoteMeta(module) + ` (v\S+)`).FindSubmatch(data)
	if found == nil {
		return "", fmt.Errorf("%s does not require %s", goMod, module)
	}
	return string(found[1]), nil
}

// hashOf changes whenever the binary would: with a file of the build module, or
// with the arguments of go build.
func hashOf(folder string, args []string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(folder, path)
		fmt.Fprintf(sum, "%s %d\n%s\n", filepath.ToSlash(rel), len(data), data)
		return err
	})
	fmt.Fprintf(sum, "%q", args)
	return hex.EncodeToString(sum.Sum(nil))[:8], err
}

// errLocked means that another process holds a file lock.
var errLocked = errors.New("locked by another process")

// lockFile takes an exclusive lock that the kernel frees when the holder dies,
// so that an interrupted build blocks nobody. It calls waiting once if it has to
// wait.
func lockFile(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for said := false; ; {
		err := tryLock(file)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, errLocked) {
			file.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if !said {
			waiting()
			said = true
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
