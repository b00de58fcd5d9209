package proc

import "syscall"

// dieWithParent has the kernel kill the child when the parent ends.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
