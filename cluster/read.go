package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"hadir/attendance"
	"hadir/store"
)

// beaconEvery is how often each node asks the leader how far it must be. An
// answer without stale reflects everything acknowledged two seconds before.
const (
	beaconEvery  = 250 * time.Millisecond
	staleAfter   = 2 * time.Second
	beaconBudget = time.Second
)

// freshness is the proof of how new this node's state is: asOf is this node's
// own time from just before it asked the leader for an index that it has applied
// by now. LastContact of raft proves nothing of the kind: heartbeats carry no
// commit index, and a follower with a frozen disk still gets them.
type freshness struct {
	mu   sync.Mutex
	asOf time.Time
}

func (f *freshness) proven(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at.After(f.asOf) {
		f.asOf = at
	}
}

func (f *freshness) get() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asOf
}

// Freshness says how new this node's state is right now.
func (n *Node) Freshness() Freshness {
	asOf := n.fresh.get() // before the index: see freshnessAt
	return n.freshnessAt(n.appliedIndex.Load(), asOf)
}

// freshnessAt says how new the state at an applied index is. The proof, asOf, must
// have been taken before the index: one that came between the two is about entries
// after it.
func (n *Node) freshnessAt(index uint64, asOf time.Time) Freshness {
	f := Freshness{Index: index, AsOf: asOf, Age: -1, Stale: true}
	if !f.AsOf.IsZero() {
		f.Age = max(0, n.clock.Now().Sub(f.AsOf))
		f.Stale = f.Age > staleAfter
	}
	return f
}

// Read runs f on this node's state, as fresh as asked. f must be short.
//
// Errors: ErrBehind when the node did not get there before ctx ended, ErrNoLeader
// when a strong read found none, or what f returned.
func (n *Node) Read(ctx context.Context, how Read, f func(*store.ReadTx) error) (Freshness, error) {
	asOf := time.Time{}
	if how.Consistency == Strong {
		start := n.clock.Now()
		index, err := n.readIndex(ctx)
		if err != nil {
			return n.Freshness(), err
		}
		how.MinIndex, asOf = max(how.MinIndex, index), start
	}
	if err := n.waitApplied(ctx, how.MinIndex); err != nil {
		return n.Freshness(), fmt.Errorf("%w: entry %d is not applied yet", ErrBehind, how.MinIndex)
	}
	n.fresh.proven(asOf)
	asOf = n.fresh.get() // before the transaction begins: see freshnessAt
	var fresh Freshness
	err := n.state.View(func(tx *store.ReadTx) error {
		fresh = n.freshnessAt(tx.Meta().Applied, asOf)
		if how.MaxStale > 0 && (fresh.Age < 0 || fresh.Age > how.MaxStale) {
			return fmt.Errorf("%w: the last proof of freshness is %s old", ErrBehind, fresh.Age)
		}
		return f(tx)
	})
	return fresh, err
}

// readIndex asks the leader for an index at which everything is applied that was
// acknowledged anywhere before this call.
func (n *Node) readIndex(ctx context.Context) (uint64, error) {
	for {
		changed := n.leaders.changed()
		index, err := n.askIndex(ctx)
		if err == nil {
			return index, nil
		}
		// Asking has no effect, so any failure may be asked again.
		if n.pause(ctx, retryPause, changed) != nil {
			return 0, fmt.Errorf("%w: %w", ErrNoLeader, err)
		}
	}
}

func (n *Node) askIndex(ctx context.Context) (uint64, error) {
	if n.isLeader() {
		return n.leaderIndex(ctx)
	}
	raw, err := n.callLeader(ctx, http.MethodGet, pathReadIndex, nil)
	if err != nil {
		return 0, err
	}
	answer, err := decodeIndex(raw)
	if err != nil {
		return 0, err
	}
	return answer.index, answer.code.err()
}

// leaderIndex is the leader's half, by the order of the Raft thesis, §6.4: this
// term's barrier has been applied, so everything of earlier terms is; then a
// round of heartbeats proves that nobody else led when it began; then the term
// is still the same. The index is the state machine's own: raft's applied and
// commit indexes count barriers, which the state machine never sees.
func (n *Node) leaderIndex(ctx context.Context) (uint64, error) {
	if !n.isLeader() {
		return 0, ErrNotLeader // or no member: without raft
	}
	term := n.raft.CurrentTerm()
	if n.duties.readyTerm.Load() != term {
		return 0, ErrNotLeader
	}
	if err := n.verify.do(ctx); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	if n.raft.CurrentTerm() != term {
		return 0, ErrNotLeader
	}
	return n.appliedIndex.Load(), nil
}

// verifier shares rounds of heartbeats among reads. A round serves only those
// who asked before it began: a proof older than the question proves nothing.
type verifier struct {
	round func() error
	mu    sync.Mutex
	next  *round // gathers askers; nil when nobody waits
	busy  bool
}

type round struct {
	done chan struct{}
	err  error
}

func (v *verifier) do(ctx context.Context) error {
	v.mu.Lock()
	r := v.next
	if r == nil {
		r = &round{done: make(chan struct{})}
		v.next = r
	}
	if !v.busy {
		v.busy = true
		go v.run()
	}
	v.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run serves rounds until nobody waits.
func (v *verifier) run() {
	for {
		v.mu.Lock()
		r := v.next
		v.next = nil
		if r == nil {
			v.busy = false
			v.mu.Unlock()
			return
		}
		v.mu.Unlock()
		r.err = v.round()
		close(r.done)
	}
}

// beacon keeps proving how fresh this node is.
func (n *Node) beacon(ctx context.Context) {
	for {
		start := n.clock.Now() // of the round: what it costs is no pause
		n.proveFresh(ctx)
		if n.pause(ctx, max(0, beaconEvery-n.clock.Now().Sub(start)), nil) != nil {
			return
		}
	}
}

func (n *Node) proveFresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beaconBudget)
	defer cancel()
	start := n.clock.Now()
	index, err := n.askIndex(ctx)
	if err != nil {
		return // the age says it all
	}
	if n.waitApplied(ctx, index) == nil {
		n.fresh.proven(start)
	}
}

// Compare asks every member for its chain and state hash, all at one applied
// index, so that equal nodes give equal answers. It reads whole states: seconds
// for each million of records, and on every node.
func (n *Node) Compare(ctx context.Context) ([]Comparison, error) {
	// A quiet entry moves every node to the same index; what is applied after it
	// is the comparers' own race, which they lose rarely and report.
	result, err := n.Propose(ctx, Request{ReceivedAt: n.clock.Now(), Command: n.system(attendance.SetLevel{Level: n.level()})})
	if err != nil {
		return nil, err
	}
	servers := n.servers()
	out := make([]Comparison, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() {
			if s.self {
				out[i] = n.compareSelf(ctx, result.Index)
				return
			}
			out[i] = n.compareOther(ctx, s, result.Index)
		})
	}
	wg.Wait()
	return out, nil
}

// level gives the command level that the cluster has agreed on.
func (n *Node) level() uint32 {
	level := uint32(1)
	// A state that cannot be read fails the Propose that follows.
	_ = n.state.View(func(tx *store.ReadTx) error { level = tx.Meta().Level; return nil })
	return level
}

func (n *Node) compareOther(ctx context.Context, s server, index uint64) Comparison {
	raw, err := n.call(ctx, s.target, http.MethodGet, pathCompare, nil, map[string]string{headerIndex: fmt.Sprint(index)})
	if err == nil {
		var c Comparison
		if c, err = decodeComparison(raw); err == nil {
			return c
		}
	}
	return Comparison{Node: nameOf(s.target.ID), Err: err.Error()}
}

var errMovedOn = errors.New("entries were applied meanwhile; try again when less is going on")

func (n *Node) compareSelf(ctx context.Context, index uint64) Comparison {
	c := Comparison{Node: n.cfg.Name}
	err := n.waitApplied(ctx, index)
	if err == nil {
		err = n.state.View(func(tx *store.ReadTx) error {
			m := tx.Meta()
			c.Index, c.Seq, c.Chain = m.Applied, m.Seq, m.Chain
			if m.Applied != index {
				return errMovedOn
			}
			var err error
			c.State, err = tx.StateHash()
			return err
		})
	}
	if err != nil {
		c.Err = err.Error()
	}
	return c
}
