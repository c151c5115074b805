package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const endingVariable = "SOJOURN_CLUSTER_TEST_ENDING"

// TestNothingIsLeft isolates a program that mounts, sets a network up and leaves a process
// behind, ends it in every way there is, and looks for what is left on the machine.
func TestNothingIsLeft(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := os.Stat(filepath.Join(cgroupRoot, "memory")); err != nil {
		t.Skip("needs cgroups of version 1")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs iproute2")
	}
	for _, ending := range []string{"return", "terminate", "kill"} {
		t.Run(ending, func(t *testing.T) {
			t.Parallel()
			child := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
			child.Env = append(os.Environ(), endingVariable+"="+ending)
			child.Stderr = os.Stderr
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			defer child.Process.Kill()
			folder := ""
			lines := bufio.NewScanner(out)
			for folder == "" && lines.Scan() {
				_, folder, _ = strings.Cut(lines.Text(), "folder:")
			}
			if folder == "" {
				t.Fatal("did not start")
			}
			cgroup := filepath.Join(cgroupRoot, "memory", filepath.Base(folder))
			if ending != "return" {
				if members, err := os.ReadFile(filepath.Join(cgroup, "cgroup.procs")); err != nil || len(members) == 0 {
					t.Fatalf("nobody is isolated: %q, %v", members, err)
				}
				if _, err := os.Stat(filepath.Join(folder, "mounted", "inside")); err == nil {
					t.Error("a mount is seen from outside")
				}
			}
			switch ending {
			case "terminate":
				err = child.Process.Signal(syscall.SIGTERM)
			case "kill":
				err = child.Process.Kill()
			}
			if err != nil {
				t.Fatal(err)
			}
			for lines.Scan() {
			}
			_ = child.Wait()
			deadline := time.Now().Add(30 * time.Second)
			for {
				left := errors.Join(isThere(folder), isThere(cgroup), isThere("/sys/class/net/sojourntest"+ending[:1]))
				if left == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(left)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

func isThere(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is left (%v)", path, err)
	}
	return nil
}

// TestChild is the program that TestNothingIsLeft starts.
func TestChild(t *testing.T) {
	ending := os.Getenv(endingVariable)
	if ending == "" {
		t.Skip("runs as a child of TestNothingIsLeft")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := Isolate(ctx,
		func(context.Context, string) error { return nil },
		func(ctx context.Context, folder string) error {
			mounted := filepath.Join(folder, "mounted")
			err := errors.Join(
				os.Mkdir(mounted, 0o755),
				syscall.Mount("tmpfs", mounted, "tmpfs", 0, ""),
				os.WriteFile(filepath.Join(mounted, "inside"), nil, 0o644),
				exec.Command("ip", "link", "add", "sojourntest"+ending[:1], "type", "bridge").Run(),
				exec.Command("setsid", "--fork", "sleep", "1000").Run(),
			)
			if err != nil {
				return err
			}
			fmt.Printf("folder:%s\n", folder)
			if ending != "return" {
				time.Sleep(time.Minute)
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
}
