package localstack

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// endingVariable tells the test binary to play a program that uses the stack and
// comes to the end named.
const endingVariable = "LOCALSTACK_TEST_ENDING"

// TestNothingOutlivesUs ends a program in every way there is and looks for its
// parts.
func TestNothingOutlivesUs(t *testing.T) {
	for _, ending := range []string{"kill", "panic", "exit"} {
		t.Run(ending, func(t *testing.T) {
			t.Parallel()
			child := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
			child.Env = append(os.Environ(), endingVariable+"="+ending)
			var output, errors bytes.Buffer // read errors only after Wait
			child.Stderr = &errors
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			defer child.Process.Kill()
			var pids []int
			for lines := bufio.NewScanner(out); lines.Scan(); {
				fmt.Fprintln(&output, lines.Text())
				rest, found := strings.CutPrefix(lines.Text(), "pids:")
				if !found {
					continue
				}
				for field := range strings.FieldsSeq(rest) {
					pid, err := strconv.Atoi(field)
					if err != nil {
						t.Fatal(err)
					}
					pids = append(pids, pid)
				}
				break
			}
			if len(pids) != 3 {
				_ = child.Process.Kill()
				_ = child.Wait()
				t.Fatalf("want three programs, got %v\n%s%s", pids, &output, &errors)
			}
			t.Logf("%s of a process with programs %v", ending, pids)
			if ending == "kill" {
				for _, pid := range pids {
					if err := running(pid); err != nil {
						t.Fatalf("before the kill: %v", err)
					}
				}
				if err := child.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			_ = child.Wait()
			eventually(t, "all programs are gone", func(context.Context) error {
				for _, pid := range pids {
					if running(pid) == nil {
						return fmt.Errorf("%d still runs", pid)
					}
				}
				return nil
			})
		})
	}
}

// TestChild is the program that TestNothingOutlivesUs starts.
func TestChild(t *testing.T) {
	ending := os.Getenv(endingVariable)
	if ending == "" {
		t.Skip("runs as a child of TestNothingOutlivesUs")
	}
	cp, err := StartControlPlane(t.Context(), ControlPlaneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := StartAlertmanager(t.Context(), AlertmanagerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// A kill leaves the folders; for tests' sake the next start must not find
	// thousands of them.
	os.RemoveAll(cp.Dir)
	os.RemoveAll(a.Dir)
	fmt.Println("pids:", cp.etcd.cmd.Process.Pid, cp.apiServer.cmd.Process.Pid, a.process.cmd.Process.Pid)
	switch ending {
	case "kill":
		time.Sleep(time.Minute)
	case "panic":
		go panic("as asked")
		time.Sleep(time.Minute)
	case "exit":
		os.Exit(1)
	}
}

// running returns nil if a process runs. A zombie does not: it only waits for
// somebody to read its exit status.
func running(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	// The state follows the name, which is in parentheses and may hold anything.
	after := string(stat[bytes.LastIndexByte(stat, ')')+1:])
	if state := strings.Fields(after)[0]; state == "Z" || state == "X" {
		return fmt.Errorf("state %s", state)
	}
	return nil
}

// TestStopByForce: a program that ignores the polite request does not hold up
// the stop.
func TestStopByForce(t *testing.T) {
	p, err := StartProcess(t.TempDir(), "stubborn", "/bin/sh", "-c", `trap "" TERM; echo ready; while :; do sleep 1; done`)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the trap is set", func(context.Context) error {
		if data, err := os.ReadFile(p.logPath); err != nil || !strings.Contains(string(data), "ready") {
			return fmt.Errorf("log %q, %v", data, err)
		}
		return nil
	})
	begin := time.Now()
	p.Stop(300 * time.Millisecond)
	p.Stop(300 * time.Millisecond)
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	if running(p.cmd.Process.Pid) == nil {
		t.Error("still runs")
	}
}
