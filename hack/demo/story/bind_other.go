//go:build unix && !linux

package story

import (
	"os/exec"
	"syscall"
)

// bind cannot have the kernel end the child with us: there is no such call here.
func bind(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
