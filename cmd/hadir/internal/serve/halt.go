package serve

import (
	"errors"
	"fmt"
	"io"
	"time"

	"hadir/cluster"
)

// haltPatience is how long the last line may take. Standard error may be a pipe
// that nobody reads; the process must end all the same.
const haltPatience = 200 * time.Millisecond

// Exit codes.
const (
	ExitFailed = 1
	ExitUsage  = 2
	// ExitRetired means that to start the node again is in vain until a person has
	// acted; whatever restarts processes need not.
	ExitRetired = 3
)

// ExitCode gives the code that the process ends with for an error.
func ExitCode(err error) int {
	var usage *UsageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return ExitUsage
	case errors.Is(err, cluster.ErrRetired):
		return ExitRetired
	}
	return ExitFailed
}

// halter gives a function that prints one line and ends the process with the code
// of the reason. It returns only in tests, where exit does.
func halter(stderr io.Writer, exit func(code int)) func(reason error) {
	return func(reason error) {
		printed := make(chan struct{})
		go func() {
			defer close(printed)
			fmt.Fprintln(stderr, "hadir: halted:", Explain(reason))
		}()
		patience := time.NewTimer(haltPatience)
		defer patience.Stop()
		select {
		case <-printed:
		case <-patience.C:
		}
		exit(ExitCode(reason))
	}
}
