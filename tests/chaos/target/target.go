// Package target is what faults are done to: the nodes of a running hadir demo, or
// the containers of a Compose project.
//
// # Invariants
//
//   - Nothing is touched but the parts that were there, and healthy, when the target
//     was found, by the name or id that they had then.
//   - Whatever was done ends with End of the part or with Heal, also what has failed
//     half way. Heal may be called at any time, and again.
package target

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"hadir/tests/chaos/plan"
)

// Node is a node of the cluster, and where it answers itself.
type Node struct {
	ID  string `json:"id"`
	URL string `json:"url"`
}

// hands do something to a part by its name. Each returns when it is so, and is nil
// where it was so before.
type hands interface {
	kill(ctx context.Context, part string) error
	stop(ctx context.Context, part string) error
	pause(ctx context.Context, part string) error
	cut(ctx context.Context, part string) error
	// right has the part run, with its network, whatever state it is in.
	right(ctx context.Context, part string) error
}

// Target is a cluster to which faults can be done. Its methods may be called
// concurrently, for different parts.
type Target struct {
	Name      string
	Front     string // URL through which people come
	Nodes     []Node
	NodeKinds []plan.Kind
	Services  map[string][]plan.Kind // beside the nodes: what can be done to them

	hands hands
	mu    sync.Mutex
	slow  map[string]*stutter
}

// ErrUnknown means that the target has no such part, or that nothing of that kind
// can be done to it.
var ErrUnknown = errors.New("this cannot be done to the target")

// Begin does a fault to a part, and returns when it is done.
func (t *Target) Begin(ctx context.Context, part string, kind plan.Kind) error {
	if !slices.Contains(t.can(part), kind) {
		return fmt.Errorf("%w: %s %s", ErrUnknown, kind, part)
	}
	switch kind {
	case plan.Kill:
		return t.hands.kill(ctx, part)
	case plan.Pause:
		return t.hands.pause(ctx, part)
	case plan.Stop:
		return t.hands.stop(ctx, part)
	case plan.Restart:
		return errors.Join(t.hands.stop(ctx, part), t.hands.right(ctx, part))
	case plan.Cut:
		return t.hands.cut(ctx, part)
	case plan.Slow:
		return t.beginSlow(part)
	}
	return fmt.Errorf("%w: %s %s", ErrUnknown, kind, part)
}

// End makes a part good again, whatever was done to it.
func (t *Target) End(ctx context.Context, part string) error {
	if t.can(part) == nil {
		return fmt.Errorf("%w: %s", ErrUnknown, part)
	}
	return errors.Join(t.endSlow(part), t.hands.right(ctx, part))
}

// Heal makes every part good again.
func (t *Target) Heal(ctx context.Context) error {
	parts := slices.Sorted(maps.Keys(t.Services))
	for _, n := range t.Nodes {
		parts = append(parts, n.ID)
	}
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() {
			if err := t.End(ctx, part); err != nil {
				errs[i] = fmt.Errorf("%s: %w", part, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (t *Target) can(part string) []plan.Kind {
	for _, n := range t.Nodes {
		if n.ID == part {
			return t.NodeKinds
		}
	}
	return t.Services[part]
}

// A slow part is still for longer than it runs.
const (
	slowStill = 300 * time.Millisecond
	slowRuns  = 200 * time.Millisecond
)

// stutter stops a part and lets it go on, again and again.
type stutter struct {
	end  context.CancelFunc
	done chan struct{}
	err  error // once done
}

func (t *Target) beginSlow(part string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slow[part] != nil {
		return nil
	}
	ctx, end := context.WithCancel(context.Background())
	s := &stutter{end: end, done: make(chan struct{})}
	if t.slow == nil {
		t.slow = map[string]*stutter{}
	}
	t.slow[part] = s
	go func() {
		defer close(s.done)
		for ctx.Err() == nil && s.err == nil {
			// A step that was begun is ended: half of one could not be told.
			step, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
			s.err = t.hands.pause(step, part)
			rest(ctx, slowStill)
			s.err = errors.Join(s.err, t.hands.right(step, part))
			cancel()
			rest(ctx, slowRuns)
		}
	}()
	return nil
}

const stepTimeout = 20 * time.Second

func (t *Target) endSlow(part string) error {
	t.mu.Lock()
	s := t.slow[part]
	delete(t.slow, part)
	t.mu.Unlock()
	if s == nil {
		return nil
	}
	s.end()
	<-s.done
	return s.err
}

func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
