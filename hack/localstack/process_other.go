//go:build unix && !linux

package localstack

import (
	"os/exec"
	"syscall"
)

func lockThread() {}

// guard cannot promise what it does on Linux: these kernels have no
// parent-death signal, so after kill -9 of this process the parts run on.
func guard(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}
