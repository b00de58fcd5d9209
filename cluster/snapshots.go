package cluster

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"hadir/fsm"
)

// SnapshotPolicy says when a node takes a snapshot of its state. A snapshot writes
// the whole state, so it is worth its while when the log has grown by a share of
// that: then each byte of log costs a bounded number of bytes of snapshot, at ten
// thousand records and at ten million.
type SnapshotPolicy struct {
	// Share of the state's size that the log must have grown by. Optional: 0.5.
	Share float64
	// MinGrowth in bytes, whatever the share is. Optional: 32 MiB.
	MinGrowth int64
	// Trailing is how many entries stay in the log behind a snapshot, for followers
	// that were away for a while. Optional: 10240.
	Trailing uint64
}

func (p SnapshotPolicy) orDefault() SnapshotPolicy {
	if p.Share <= 0 {
		p.Share = 0.5
	}
	if p.MinGrowth <= 0 {
		p.MinGrowth = 32 << 20
	}
	if p.Trailing == 0 {
		p.Trailing = 10_240
	}
	return p
}

// due reports whether the log has grown enough for a state of that size.
func (p SnapshotPolicy) due(grown, state int64) bool {
	return grown >= max(p.MinGrowth, int64(p.Share*float64(state)))
}

const (
	snapshotEvery = time.Second
	snapshotAgain = 5 * time.Second // after one that failed
	// A snapshot is written at this many bytes a second at most, so that it does not
	// starve the log's sync. It is held back after each step of them.
	snapshotRate = 64 << 20
	snapshotStep = 1 << 20

	// never is for raft, which would count entries.
	never = math.MaxUint64
)

// takeSnapshots takes snapshots by the policy until ctx ends.
func (n *Node) takeSnapshots(ctx context.Context) {
	written := n.logs.Written()
	grown := n.logSince()
	for {
		if now := n.logs.Written(); now > written {
			grown += int64(now - written)
			written = now
		}
		wait := snapshotEvery
		if n.cfg.Snapshots.due(grown, n.stateSize()) {
			if n.snapshot() {
				grown = 0
			} else {
				wait = snapshotAgain
			}
		}
		if n.pause(ctx, wait, nil) != nil {
			return
		}
	}
}

// snapshot takes one and reports whether there is a new one.
func (n *Node) snapshot() bool {
	start := n.clock.Now()
	err := n.wait(n.raft.Snapshot())
	switch {
	case err == nil:
		took := n.clock.Now().Sub(start)
		n.observe.Snapshotted(took)
		n.log.Info("snapshot taken", "took_ms", took.Milliseconds())
		return true
	case errors.Is(err, raft.ErrNothingNewToSnapshot):
		return true
	case errors.Is(err, fsm.ErrReplaying), errors.Is(err, raft.ErrRaftShutdown):
	default:
		n.log.Warn("no snapshot could be taken", "error", err)
	}
	return false
}

// logSince gives the bytes of the log after the newest snapshot, as it was when
// this node was started. Raft itself has read all of them before.
func (n *Node) logSince() int64 {
	first, err := n.logs.FirstIndex()
	if err != nil {
		return 0 // the store has ended the process
	}
	last, err := n.logs.LastIndex()
	if err != nil {
		return 0
	}
	if snapshots, err := n.snapshots(); err == nil {
		if list, err := snapshots.List(); err == nil && len(list) > 0 {
			first = max(first, list[0].Index+1)
		}
	}
	bytes := int64(0)
	for i := max(1, first); i <= last && n.life.Err() == nil; i++ {
		var l raft.Log
		if n.logs.GetLog(i, &l) == nil {
			bytes += int64(len(l.Data))
		}
	}
	return bytes
}

func (n *Node) stateSize() int64 {
	info, err := os.Stat(filepath.Join(n.cfg.DataDir, "state.db"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// brake gives a fsm.Raft.Throttle that keeps snapshots at snapshotRate. One
// snapshot is written at a time.
func (n *Node) brake() func(int) {
	bytes := 0
	return func(more int) {
		if bytes += more; bytes < snapshotStep {
			return
		}
		d := time.Duration(float64(bytes) / snapshotRate * float64(time.Second))
		bytes = 0
		_ = n.pause(n.life, d, nil) // the node stops, and the writer finds out
	}
}
