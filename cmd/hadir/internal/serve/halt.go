package serve

import (
	"fmt"
	"io"
	"time"
)

// haltPatience is how long the last line may take. Standard error may be a pipe
// that nobody reads; the process must end all the same.
const haltPatience = 200 * time.Millisecond

// halter gives a function that prints one line and ends the process with code 1.
// It returns only in tests, where exit does.
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
		exit(1)
	}
}
