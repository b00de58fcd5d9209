package transport

import (
	"sync/atomic"
	"time"
)

// Clock is the source of time. All timeouts of this package run on AfterFunc,
// never on socket deadlines, so that a simulated clock drives them and a jump
// of the wall clock does not.
type Clock interface {
	// Now returns the current time. Only differences are used.
	Now() time.Time
	// AfterFunc calls f in its own goroutine after d. The returned function
	// has the meaning of time.Timer.Stop.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// fuse cuts something off when it is not stopped in time.
type fuse struct {
	burnt atomic.Bool
	halt  func() bool
}

// lightFuse calls cut after d unless stop is called first.
func lightFuse(clock Clock, d time.Duration, cut func()) *fuse {
	f := &fuse{}
	f.halt = clock.AfterFunc(d, func() {
		f.burnt.Store(true)
		cut()
	})
	return f
}

// stop disarms the fuse and reports whether it had burnt already.
func (f *fuse) stop() (burnt bool) {
	f.halt()
	return f.burnt.Load()
}
