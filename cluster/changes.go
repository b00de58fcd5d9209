package cluster

import (
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// Changed gives a channel that is closed at the next change of leader, role, term,
// membership, reachability of a member or notes of others, about 50 ms after this
// node has learned of it. Take it before looking, or a change between the two is
// missed. It is closed when the node stops, too.
func (n *Node) Changed() <-chan struct{} { return n.changes.changed() }

// IsLeader reports whether this node leads and may act for the cluster: everything
// of earlier terms is applied here. It can be outdated when it returns, so what is
// done elsewhere on the strength of it must be fenced with the term. The term is 0
// when ok is false. [Node.Changed] says when to look again.
func (n *Node) IsLeader() (term uint64, ok bool) {
	if !n.isLeader() || n.stopping.Load() {
		return 0, false
	}
	term = n.raft.CurrentTerm()
	return term, term != 0 && n.duties.readyTerm.Load() == term
}

// view is what Changed watches.
type view struct {
	leader    string
	term      uint64
	role      Role
	leads     bool   // this node, and its barrier is applied
	members   uint64 // index of the configuration
	voters    int
	reachable string
	notes     uint64
}

// look gives the view of now. Only a member may be asked.
func (n *Node) look() view {
	v := view{notes: n.notes.heardChanges()}
	v.role, v.term, v.leader = n.part()
	_, v.leads = n.IsLeader()
	if future := n.raft.GetConfiguration(); future.Error() == nil {
		v.members = future.Index()
		v.voters = members{servers: future.Configuration().Servers}.voters()
		v.reachable = n.reachable(future.Configuration())
	}
	return v
}

// reachable joins the ids of those who answered lately.
func (n *Node) reachable(c raft.Configuration) string {
	now := n.clock.Now()
	var ids []string
	for _, s := range c.Servers {
		if n.peers.get(string(s.ID)).reachable(now) {
			ids = append(ids, string(s.ID))
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}
