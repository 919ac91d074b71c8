package demo

import (
	"os/exec"
	"syscall"
)

// bindLifetime has the process end with this one, whatever ends it.
func bindLifetime(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
