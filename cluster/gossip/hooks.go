package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/hashicorp/memberlist"

	"hadir/cluster/loglimit"
)

var (
	errForeign  = errors.New("gossip: node of another cluster")
	errLoopback = errors.New("gossip: a cluster key is required for nodes that are not on loopback")
	errName     = errors.New("gossip: gossip name and server id differ")
)

// local is what the node says about itself now.
type local struct {
	meta    Meta
	encoded []byte
}

// hooks are memberlist's delegates other than events. None of them blocks.
type hooks struct {
	local    atomic.Pointer[local]
	loopback bool
	limit    *loglimit.Limit
	logger   *slog.Logger
}

var (
	_ memberlist.Delegate         = (*hooks)(nil)
	_ memberlist.AliveDelegate    = (*hooks)(nil)
	_ memberlist.MergeDelegate    = (*hooks)(nil)
	_ memberlist.ConflictDelegate = (*hooks)(nil)
)

// NodeMeta implements memberlist.Delegate. The size was checked before.
func (h *hooks) NodeMeta(int) []byte { return h.local.Load().encoded }

// NotifyMsg implements memberlist.Delegate; nobody sends messages.
func (h *hooks) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate; there are none.
func (h *hooks) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate; there is none beyond Meta.
func (h *hooks) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (h *hooks) MergeRemoteState([]byte, bool) {}

// NotifyAlive vetoes nodes that must not become members.
func (h *hooks) NotifyAlive(n *memberlist.Node) error {
	err := h.judge(n)
	if err != nil && h.limit.Allow("alive "+n.Name) {
		h.logger.Warn("ignoring a node in gossip", "node", n.Name, "addr", n.Address(), "error", err)
	}
	return err
}

// NotifyMerge vetoes a state exchange with a node that knows only foreigners.
// A mixed list is let through, because a fresh node may know two clusters and
// must still be able to join one; NotifyAlive then judges node by node.
func (h *hooks) NotifyMerge(peers []*memberlist.Node) error {
	var last error
	for _, n := range peers {
		if last = h.judge(n); last == nil {
			return nil
		}
	}
	if last != nil && h.limit.Allow("merge "+peers[0].Name) {
		h.logger.Warn("refusing to merge gossip", "node", peers[0].Name, "addr", peers[0].Address(), "error", last)
	}
	return last
}

// NotifyConflict reports two addresses for one server id: a copied data
// directory, or a node that moved and whose old address is not dead yet.
func (h *hooks) NotifyConflict(existing, other *memberlist.Node) {
	if h.limit.Allow("conflict " + other.Name) {
		h.logger.Warn("two addresses for one node in gossip", "node", other.Name, "known", existing.Address(), "other", other.Address())
	}
}

func (h *hooks) judge(n *memberlist.Node) error {
	self := h.local.Load().meta
	if n.Name == self.ID {
		return nil // what others say about us is memberlist's business
	}
	meta, err := decodeMeta(n.Meta)
	switch {
	case err != nil:
		return err
	case meta.ID != n.Name:
		return errName
	case h.loopback && !n.Addr.IsLoopback():
		return errLoopback
	case !sameCluster(self.ClusterID, meta.ClusterID):
		return fmt.Errorf("%w: %q, ours is %q", errForeign, meta.ClusterID, self.ClusterID)
	default:
		return nil
	}
}
