package serve

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"hadir/cluster/transport"
	"hadir/cmd/hadir/internal/logs"
)

// UsageError is wrong usage: exit code 2.
type UsageError struct{ Text string }

// Error implements error.
func (e *UsageError) Error() string { return e.Text }

// advice says what to do about errors of the operating system, which tell only
// what is wrong. Errors of ours say it themselves.
var advice = []struct {
	is  error
	say string
}{
	{syscall.EADDRINUSE, "stop the program that uses this address, or choose another one"},
	{syscall.EADDRNOTAVAIL, "this machine has no such address: give one of its own, or only :PORT"},
	{transport.ErrLocked, "another hadir uses this data directory: stop it, or give this node its own --data-dir"},
	{syscall.ENOSPC, "free some space on that disk and start again"},
	{syscall.EDQUOT, "the disk quota is used up: free some space and start again"},
	{syscall.EROFS, "that file system is read-only: give a --data-dir that can be written"},
	{fs.ErrPermission, "give this user the right to it, or choose another one"},
	{fs.ErrNotExist, "check the name"},
}

// Explain makes one line of an error, with what to do about it.
func Explain(err error) string {
	line := logs.OneLine(err.Error())
	for _, a := range advice {
		// By its text too: memberlist does not wrap what it passes on.
		if errors.Is(err, a.is) || strings.HasSuffix(line, ": "+a.is.Error()) {
			return line + ": " + a.say
		}
	}
	return line
}
