package probe

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// pinging marks a process of this test in a network of its own.
const pinging = "SOJOURN_TEST_PING"

// nobody is a user and group without rights.
const nobody = 65534

// Echo requests go out by a group that may, else by a capability, and else not at all, which
// is our fault and not the customer's. A network namespace has a sysctl of its own, so that
// all three can be had on any machine that gives us one.
func TestPingByRights(t *testing.T) {
	if os.Getenv(pinging) == "" {
		command := exec.Command(os.Args[0], "-test.run=^TestPingByRights$", "-test.v")
		command.Env = append(os.Environ(), pinging+"=1")
		command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if os.Geteuid() != 0 {
			command.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
			command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
		}
		output, err := command.CombinedOutput()
		if _, ran := err.(*exec.ExitError); err != nil && !ran {
			t.Skipf("this machine gives us no network namespace: %v", err)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, output)
		}
		return
	}
	raiseLoopback(t)
	here, deadline := netip.MustParseAddr("127.0.0.1"), time.Now().Add(10*time.Second)
	p := compile(t, Options{Guard: anywhere}, nil, `{steps: [{name: a, icmp: {host: 127.0.0.1}}]}`)

	// A new namespace lets no group.
	if received, err := ping(t.Context(), here, deadline, false); received != 0 || !errors.Is(err, os.ErrPermission) {
		t.Errorf("no group may, yet %d replies came: %v", received, err)
	}
	if result := p.Run(t.Context()); result.Outcome != OutcomeSuccess {
		t.Errorf("by the capability: %+v", result)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0); err != nil {
		t.Fatal(err)
	}
	if received, err := ping(t.Context(), here, deadline, false); received != 1 || err != nil {
		t.Errorf("the group may, yet %d replies came: %v", received, err)
	}
	// Only root has another user to become.
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(nobody, nobody, nobody), syscall.Setresuid(nobody, nobody, nobody)); err != nil {
		t.Logf("not tested without any right: %v", err)
		return
	}
	if result := p.Run(t.Context()); result.Outcome != OutcomeError || result.Reason != ReasonConfig {
		t.Errorf("without any right: %+v", result)
	}
}

// raiseLoopback switches the only interface of a new namespace on.
func raiseLoopback(t *testing.T) {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(socket)
	request := struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		rest  [22]byte
	}{flags: syscall.IFF_UP | syscall.IFF_RUNNING}
	copy(request.name[:], "lo")
	if _, _, failed := syscall.Syscall(syscall.SYS_IOCTL, uintptr(socket), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); failed != 0 {
		t.Fatal(failed)
	}
}
