package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// stageVariable tells a copy of this program which part it plays; folderVariable tells
// it where.
const (
	stageVariable  = "SOJOURN_CLUSTER_STAGE"
	folderVariable = "SOJOURN_CLUSTER_FOLDER"
)

// Isolate runs prepare as the caller's own process, and then inside in a copy of this
// program, started with the same arguments, that has the process table, the network, the
// mounts and the cgroups to itself. Both get the same new folder, and nothing else is
// common to them.
//
// Whatever inside starts, mounts and sets up in the network is gone as soon as its
// process is, also when this one is killed: the kernel does that. What the kernel leaves,
// the folder and empty cgroups, a third copy removes, which only waits for this one's end.
func Isolate(ctx context.Context, prepare, inside func(ctx context.Context, folder string) error) error {
	folder := os.Getenv(folderVariable)
	switch os.Getenv(stageVariable) {
	case "sweep":
		return sweep(folder)
	case "enter":
		return enter(folder)
	case "init":
		os.Exit(initialize())
		return nil
	case "inside":
		return inside(ctx, folder)
	}

	if os.Geteuid() != 0 {
		return errors.New("a cluster with Pods needs root: run it by sudo, or in a machine of its own")
	}
	folder, err := os.MkdirTemp("", "sojourn-node-")
	if err != nil {
		return err
	}
	// Others than root look into it: programs of Pods do not run as root.
	if err := os.Chmod(folder, 0o755); err != nil {
		return err
	}
	swept, err := startSweeper(folder)
	if err != nil {
		return err
	}
	defer swept()
	if err := prepare(ctx, folder); err != nil {
		return err
	}
	cmd := copyOfMe("enter", folder)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS}
	if err := localstack.StartGuarded(cmd); err != nil {
		return fmt.Errorf("namespaces of its own for the cluster: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })()
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		os.Stderr.Sync()
		swept()
		os.Exit(exit.ExitCode()) // it has said why
	}
	return err
}

func copyOfMe(stage, folder string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stageVariable+"="+stage, folderVariable+"="+folder)
	return cmd
}

// startSweeper starts the copy that cleans up, and returns what ends the wait for it.
func startSweeper(folder string) (func(), error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	cmd := copyOfMe("sweep", folder)
	cmd.Stdin, cmd.Stderr = reader, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // out of reach of a terminal's Ctrl-C
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		writer.Close()
		_ = cmd.Wait()
	}, nil
}

// sweep waits until its parent has ended, by whatever cause, and removes what is left.
func sweep(folder string) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
	var errs []error
	cgroups, err := filepath.Glob(filepath.Join(cgroupRoot, "*", filepath.Base(folder)))
	errs = append(errs, err)
	for _, cgroup := range cgroups {
		errs = append(errs, removeCgroup(cgroup))
	}
	return errors.Join(append(errs, os.RemoveAll(folder))...)
}

const cgroupRoot = "/sys/fs/cgroup"

// removeCgroup removes a cgroup and those below it, and ends the processes in them.
func removeCgroup(cgroup string) error {
	var err error
	for range 100 {
		var folders []string
		_ = filepath.WalkDir(cgroup, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				folders = append(folders, path)
			}
			return nil
		})
		slices.Reverse(folders) // what lies below comes first
		err = nil
		for _, folder := range folders {
			// Whoever is still there is ours, and nobody else's.
			killMembers(folder)
			if removal := unix.Rmdir(folder); removal != nil && !errors.Is(removal, unix.ENOENT) {
				err = fmt.Errorf("removing %s: %w", folder, removal)
			}
		}
		if err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func killMembers(cgroup string) {
	members, _ := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
	for field := range strings.FieldsSeq(string(members)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// enter runs as the first process of the new namespaces. It moves into cgroups of its
// own, sets the mounts up, and becomes the init process.
func enter(folder string) error {
	runtime.LockOSThread()
	controllers, err := enterCgroups(filepath.Base(folder))
	if err != nil {
		return err
	}
	// From here on those cgroups are the roots that this thread sees, and what it execs.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("a cgroup namespace: %w", err)
	}
	if err := mountAll(folder, controllers); err != nil {
		return err
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	if err := os.Setenv(stageVariable, "init"); err != nil {
		return err
	}
	// The kernel's promise to kill us when our parent dies was made to another thread.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	return unix.Exec(fmt.Sprintf("/proc/self/fd/%d", self.Fd()), os.Args, os.Environ())
}

// enterCgroups makes a cgroup under the root of every hierarchy of cgroups version 1,
// moves this process there, and returns the hierarchies' controllers.
func enterCgroups(name string) ([]string, error) {
	file, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var controllers []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.SplitN(lines.Text(), ":", 3); len(fields) == 3 && fields[1] != "" {
			controllers = append(controllers, fields[1])
		}
	}
	if len(controllers) == 0 {
		return nil, errors.New("this machine has no cgroups of version 1, and Debian's runc is only known to work with these here")
	}
	for _, controller := range controllers {
		root := filepath.Join(cgroupRoot, strings.TrimPrefix(controller, "name="))
		cgroup := filepath.Join(root, name)
		if err := os.Mkdir(cgroup, 0o755); err != nil {
			return nil, err
		}
		if slices.Contains(strings.Split(controller, ","), "cpuset") {
			// A new one has neither, and takes no process until it has both.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				content, err := os.ReadFile(filepath.Join(root, file))
				if err != nil {
					return nil, err
				}
				if err := os.WriteFile(filepath.Join(cgroup, file), content, 0o644); err != nil {
					return nil, err
				}
			}
		}
		// 0 is whoever writes it.
		if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return nil, fmt.Errorf("entering %s: %w", cgroup, err)
		}
	}
	return controllers, nil
}

// kernelDefaults are the settings of the whole machine that a kubelet wants. It sees
// them, and the machine keeps its own.
var kernelDefaults = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// mountAll makes the mounts this process's own, and lays private folders over those that
// programs write to whatever one tells them.
func mountAll(folder string, controllers []string) error {
	mount := func(source, target, kind string, flags uintptr, data string) error {
		if err := unix.Mount(source, target, kind, flags, data); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", source, target, err)
		}
		return nil
	}
	errs := []error{
		// First nothing leads out any more; then Pods' mounts may lead to one another.
		mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""),
		mount("proc", "/proc", "proc", 0, ""),
		// The network's part of it is that of the network namespace.
		mount("sysfs", "/sys", "sysfs", 0, ""),
		mount("tmpfs", cgroupRoot, "tmpfs", 0, "mode=755"),
		mount("tmpfs", "/run", "tmpfs", 0, "mode=755"),
	}
	for _, controller := range controllers {
		target := filepath.Join(cgroupRoot, strings.TrimPrefix(controller, "name="))
		data := controller
		if strings.HasPrefix(controller, "name=") {
			data = "none," + controller
		}
		errs = append(errs, os.Mkdir(target, 0o755), mount("cgroup", target, "cgroup", 0, data))
	}
	for _, path := range []string{"/var/lib", "/var/log", "/etc/cni"} {
		private := filepath.Join(folder, "private", path)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		errs = append(errs, os.MkdirAll(private, 0o755), mount(private, path, "", unix.MS_BIND, ""))
	}
	settings := filepath.Join(folder, "private", "sysctl")
	for name, value := range kernelDefaults {
		file := filepath.Join(settings, strings.ReplaceAll(name, "/", "."))
		errs = append(errs, os.MkdirAll(settings, 0o755), os.WriteFile(file, []byte(value+"\n"), 0o644),
			mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""))
	}
	return errors.Join(errs...)
}

// initialize is the init process: it starts the copy that does the work, buries
// whoever is left without a parent, and ends, and everybody with it, when the copy has.
func initialize() int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	cmd := copyOfMe("inside", os.Getenv(folderVariable))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		return 1
	}
	go func() {
		for range signals {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			fmt.Fprintln(os.Stderr, "cluster:", err)
			return 1
		case pid == cmd.Process.Pid && status.Signaled():
			fmt.Fprintln(os.Stderr, "cluster: ended by "+strconv.Quote(status.Signal().String()))
			return 128 + int(status.Signal())
		case pid == cmd.Process.Pid:
			return status.ExitStatus()
		}
	}
}
