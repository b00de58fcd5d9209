package gossip

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/hashicorp/memberlist"
)

// Member is a node that gossip believes to be alive.
type Member struct {
	Meta
	// Addr is the gossip address, host:port.
	Addr string
	// Self marks the local node.
	Self bool
}

// members is the copy of memberlist's state that is safe to read. It is the
// memberlist.EventDelegate: memberlist calls it under its lock.
type members struct {
	self    string
	changed chan struct{}

	mu   sync.Mutex
	byID map[string]Member
}

var _ memberlist.EventDelegate = (*members)(nil)

func newMembers(self string) *members {
	return &members{self: self, changed: make(chan struct{}, 1), byID: make(map[string]Member)}
}

// NotifyJoin implements memberlist.EventDelegate.
func (m *members) NotifyJoin(n *memberlist.Node) { m.put(n) }

// NotifyUpdate implements memberlist.EventDelegate.
func (m *members) NotifyUpdate(n *memberlist.Node) { m.put(n) }

// NotifyLeave implements memberlist.EventDelegate; it covers death as well.
func (m *members) NotifyLeave(n *memberlist.Node) {
	m.mu.Lock()
	delete(m.byID, n.Name)
	m.mu.Unlock()
	m.wake()
}

func (m *members) put(n *memberlist.Node) {
	meta, err := decodeMeta(n.Meta)
	if err != nil {
		// The alive veto has seen these bytes before, so this is a node that
		// was let in and has changed its mind; it is no member for us.
		m.NotifyLeave(n)
		return
	}
	m.mu.Lock()
	m.byID[n.Name] = Member{
		Meta: meta,
		Addr: net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port))),
		Self: n.Name == m.self,
	}
	m.mu.Unlock()
	m.wake()
}

// wake leaves at most one wake-up pending.
func (m *members) wake() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// list returns the members that may belong to cluster, sorted by id. The
// filter matters when the local node gets its cluster id while it knows nodes
// of several clusters.
func (m *members) list(cluster string) []Member {
	m.mu.Lock()
	out := make([]Member, 0, len(m.byID))
	for _, member := range m.byID {
		if sameCluster(cluster, member.ClusterID) {
			out = append(out, member)
		}
	}
	m.mu.Unlock()
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// sameCluster is true unless both ids are known and differ.
func sameCluster(a, b string) bool { return a == "" || b == "" || a == b }
