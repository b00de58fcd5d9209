//go:build !linux

package proc

import "syscall"

// dieWithParent does nothing: there is no such thing here.
func dieWithParent(*syscall.SysProcAttr) {}
