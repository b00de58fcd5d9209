package password

import (
	"context"
	"errors"
)

// ErrBusy says that too many others wait already.
var ErrBusy = errors.New("too many sign-ins at once")

// Gate lets a few work at a time and a bounded number wait.
type Gate struct {
	room chan struct{} // who works or waits
	turn chan struct{} // who works
}

// NewGate gives a gate for that many at work and that many waiting.
func NewGate(working, waiting int) *Gate {
	return &Gate{room: make(chan struct{}, working+waiting), turn: make(chan struct{}, working)}
}

// Do calls f when it is its turn. It gives ErrBusy at once when the queue is
// full, and the context's error when that ends first; then f was not called.
func (g *Gate) Do(ctx context.Context, f func() error) error {
	select {
	case g.room <- struct{}{}:
	default:
		return ErrBusy
	}
	defer func() { <-g.room }()
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-g.turn }()
	return f()
}
