package cluster

import (
	"context"
	"sync"
	"time"
)

// signal is a condition that many may wait for: changed gives a channel that is
// closed at the next wake. The zero value is not ready; use newSignal.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func newSignal() *signal { return &signal{ch: make(chan struct{})} }

// changed gives the channel of the next wake. Take it before looking at the
// state, or a change between the two is missed.
func (s *signal) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

// wake wakes everybody who waits.
func (s *signal) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}

// pause waits for d, for a change, or for the end of ctx, which is the only
// error.
func (n *Node) pause(ctx context.Context, d time.Duration, changed <-chan struct{}) error {
	over := make(chan struct{})
	stop := n.clock.AfterFunc(d, func() { close(over) })
	defer stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-over:
	case <-changed:
	}
	return ctx.Err()
}

// waitApplied waits until this node has applied an index, or for the end of ctx.
func (n *Node) waitApplied(ctx context.Context, index uint64) error {
	for {
		changed := n.applied.changed()
		if n.appliedIndex.Load() >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
