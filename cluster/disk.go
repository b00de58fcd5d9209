package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
)

// disk is whether there is room for this node's files. A bbolt file that cannot
// grow ends the process; before that the node hands over and takes nothing in, and
// says so. It still follows: what the others decide it must write.
type disk struct {
	low  atomic.Bool
	free atomic.Uint64
}

const (
	diskEvery = dutyEvery
	// Recovery wants an eighth more than the floor, so that a disk at the floor does
	// not make the node come and go.
	recoveryShare = 8
)

// watchDisk looks at the disk until ctx ends.
func (n *Node) watchDisk(ctx context.Context) {
	for {
		n.lookAtDisk()
		if n.pause(ctx, diskEvery, nil) != nil {
			return
		}
	}
}

func (n *Node) lookAtDisk() {
	free, err := n.cfg.Free()
	if err != nil {
		// Not a reason to stop: files that cannot be written end the process.
		n.log.Warn("cannot tell how much space is left", "error", err)
		return
	}
	n.disk.free.Store(free)
	floor := n.cfg.MinFree
	switch low := n.disk.low.Load(); {
	case !low && free < floor:
		n.disk.low.Store(true)
		n.log.Error("the disk is nearly full: this node takes nothing in until there is room again",
			"dir", n.cfg.DataDir, "free_mib", free>>20, "wanted_mib", floor>>20)
	case low && free >= floor+floor/recoveryShare:
		n.disk.low.Store(false)
		n.log.Info("there is room on the disk again", "dir", n.cfg.DataDir, "free_mib", free>>20)
	}
}

// roomy gives ErrDiskLow where this node takes nothing in.
func (n *Node) roomy() error {
	if n.disk.low.Load() {
		return fmt.Errorf("%w: %d MiB are free and %d are wanted", ErrDiskLow, n.disk.free.Load()>>20, n.cfg.MinFree>>20)
	}
	return nil
}

// yieldDisk has a leader without room hand over to a voter that has some. If there
// is none it stays, and refuses.
func (n *Node) yieldDisk(ctx context.Context) {
	if !n.disk.low.Load() {
		return
	}
	for _, s := range n.servers() {
		p := n.peers.get(s.target.ID)
		if s.self || !s.voter || p.diskLow || !n.answers(s.target.ID) {
			continue
		}
		// To that one: raft would choose by the log, and two without room would hand
		// leadership to each other.
		if err := n.handOverTo(ctx, s.target); err != nil {
			n.log.Warn("leadership could not be handed over", "error", err)
		}
		return
	}
}
