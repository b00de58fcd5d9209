package main

import (
	"fmt"
	"runtime"

	"hadir/attendance"
)

// versionCmd shows what this binary is.
type versionCmd struct{}

// Run implements the command.
func (versionCmd) Run(w *world) error {
	c := commit
	if c == "" {
		c = "unknown"
	}
	_, err := fmt.Fprintf(w.stdout, "hadir %s\ncommit %s\ncommand level %d\n%s %s/%s\n",
		version, c, attendance.Level, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
