package serve

import "time"

// Clock is the machine's clock.
type Clock struct{}

// Now gives the time, with its monotonic reading.
func (Clock) Now() time.Time { return time.Now() }

// AfterFunc calls f in its own goroutine after d.
func (Clock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}
