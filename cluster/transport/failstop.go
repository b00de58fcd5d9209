package transport

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

var (
	// ErrHalted is returned by every call after the first failure of a store.
	// It wraps the cause. Whether the failed write is on disk is unknown.
	ErrHalted = errors.New("transport: raft.db has failed, the node must stop")
	// ErrStalled is the cause when a call took longer than StallAfter.
	ErrStalled = errors.New("transport: the disk does not answer")
)

// failStop runs the calls of one store and ends them for good at the first
// failure. A failed fsync must not be repeated: the kernel drops the dirty
// pages, the next fsync "succeeds", and the transaction that failed can be
// visible or lost. And a leader whose disk hangs is never deposed by raft,
// because heartbeats need no disk; so a hang is a failure, too.
type failStop struct {
	clock   Clock
	limit   time.Duration
	onHalt  func(error)
	observe func(op string, d time.Duration)

	cause  atomic.Pointer[error]
	closed atomic.Bool
}

// err returns nil, or what every later call returns.
func (f *failStop) err() error {
	if cause := f.cause.Load(); cause != nil {
		return fmt.Errorf("%w: %w", ErrHalted, *cause)
	}
	if f.closed.Load() {
		return ErrClosed
	}
	return nil
}

// halt keeps the first cause, reports it once and returns what callers get.
func (f *failStop) halt(cause error) error {
	if f.cause.CompareAndSwap(nil, &cause) {
		f.onHalt(cause)
	}
	return f.err()
}

// run makes one call to the store. The store's answer counts only if nothing
// has failed by the time it arrives: a call that outlived the watchdog is
// reported as failed even if it succeeds in the end.
func (f *failStop) run(op string, call func() error) error {
	if err := f.err(); err != nil {
		return err
	}
	start := f.clock.Now()
	stop := f.clock.AfterFunc(f.limit, func() {
		// Not halt's result but its call matters here: the caller is stuck.
		_ = f.halt(fmt.Errorf("%s: no answer after %s: %w", op, f.limit, ErrStalled))
	})
	err := call()
	stop()
	f.observe(op, f.clock.Now().Sub(start))
	switch {
	case f.cause.Load() != nil:
		return f.err()
	case err == nil, isNotFound(err):
		return err
	case f.closed.Load():
		// raft's metrics goroutine may outlive raft and meet a closed file.
		return ErrClosed
	default:
		return f.halt(fmt.Errorf("%s: %w", op, err))
	}
}

// isNotFound recognises the two answers that are no failures. raft itself
// compares the text of the second one, so the text is the contract.
func isNotFound(err error) bool {
	return errors.Is(err, raft.ErrLogNotFound) || err.Error() == errNotFoundText
}

const errNotFoundText = "not found"
