package cluster

import (
	"context"
	"fmt"

	"hadir/store"
)

// Backup takes a picture of this node's state that contains everything up to a
// raft index, for which it waits until ctx ends (ErrBehind). The caller streams
// the picture with its Write and must Release it soon: its pages are not reused
// until then.
func (n *Node) Backup(ctx context.Context, minIndex uint64) (*store.Snapshot, error) {
	if err := n.waitApplied(ctx, minIndex); err != nil {
		return nil, fmt.Errorf("%w: entry %d is not applied yet", ErrBehind, minIndex)
	}
	return n.state.Snapshot()
}
