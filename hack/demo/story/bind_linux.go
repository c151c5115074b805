package story

import (
	"os/exec"
	"syscall"
)

// bind has the kernel end the child when we end, by whatever cause.
func bind(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
