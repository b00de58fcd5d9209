package cluster

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"

	"hadir/attendance"
	"hadir/cluster/gossip"
	"hadir/cluster/transport"
)

// A server id is the node's name and its incarnation: "n1-6f0c…", so that an
// emptied disk is another server.
func serverID(name, incarnation string) string { return name + "-" + incarnation }

// nameOf gives the name in a server id.
func nameOf(id string) string {
	if i := strings.LastIndexByte(id, '-'); i > 0 {
		return id[:i]
	}
	return id
}

// incarnationNumber is how the transport wants it.
func incarnationNumber(hex string) (uint64, error) { return strconv.ParseUint(hex, 16, 64) }

// founders gives the hash of the server ids that found a cluster together, which
// is also where the cluster's id comes from.
func founders(ids []string) [32]byte {
	h := sha256.New()
	h.Write([]byte("hadir-founders-1"))
	for _, id := range slices.Sorted(slices.Values(ids)) {
		h.Write([]byte(strconv.Itoa(len(id)) + ":" + id))
	}
	return [32]byte(h.Sum(nil))
}

func clusterIDOf(hash [32]byte) attendance.ClusterID {
	return attendance.ClusterID(hash[:attendance.ClusterIDBytes])
}

// hashOf gives the hash of a first configuration.
func hashOf(c raft.Configuration) [32]byte {
	ids := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		ids[i] = string(s.ID)
	}
	return founders(ids)
}

// plan is what a fresh node makes of the members that it sees.
type plan struct {
	set     raft.Configuration // the founders; empty when there is no set to agree on
	hash    [32]byte           // of the founders; zero when there are none
	agreed  bool               // everybody says the same, so the cluster may be founded
	foreign string             // a member that belongs to a cluster this node has no part in
	alone   bool               // told to join others, and there are none
	twins   string             // a name that two founders have

	admission *admission // to the cluster that this node has asked
}

func (p plan) equal(o plan) bool {
	return p.hash == o.hash && p.agreed == o.agreed && p.foreign == o.foreign && p.alone == o.alone &&
		p.twins == o.twins &&
		slices.Equal(p.set.Servers, o.set.Servers)
}

// planFoundation decides, from what gossip shows, whether this fresh node may
// found a cluster. It may if it sees exactly the expected number of members, all
// of which either want to found exactly this set or have done so already: the
// cluster id is the hash of the set, so a cluster with that id is the one this
// node belongs to. Any other cluster in sight forbids it: a wiped disk comes back
// under a new server id, so its set is another one.
//
// said is the set that this node last told the others it would found. Once one of
// them has done so there is nothing left to agree on, however many nodes are in
// sight by then: a fourth may have come, or a founder may have died.
func planFoundation(members []gossip.Member, expect int, said raft.Configuration) plan {
	set := foundation(members)
	hash, saidHash := hashOf(set), hashOf(said)
	founded := false
	for _, m := range members {
		switch {
		case m.ClusterID == "":
		case len(said.Servers) > 0 && m.ClusterID == clusterIDOf(saidHash).String():
			founded = true
		case len(set.Servers) != expect || m.ClusterID != clusterIDOf(hash).String():
			return plan{foreign: m.ID}
		}
	}
	if founded {
		return plan{set: said, hash: saidHash, agreed: true}
	}
	if twins := sameName(set); twins != "" {
		return plan{twins: twins}
	}
	if len(set.Servers) != expect {
		return plan{}
	}
	p := plan{set: set, hash: hash, agreed: true}
	for _, m := range members {
		if m.ClusterID == "" && m.BootstrapHash != hash && !m.Self && !m.NonVoter {
			p.agreed = false
		}
	}
	return p
}

// planReplica is the plan of a permanent non-voter: it founds nothing.
func planReplica(members []gossip.Member) plan {
	for _, m := range members {
		if m.ClusterID != "" && !m.Self {
			return plan{foreign: m.ID}
		}
	}
	return plan{}
}

// sameName gives a name that two servers have; "" when there is none.
func sameName(c raft.Configuration) string {
	seen := make(map[string]bool)
	for _, s := range c.Servers {
		name := nameOf(string(s.ID))
		if seen[name] {
			return name
		}
		seen[name] = true
	}
	return ""
}

// foundation is the first configuration: the same bytes on every founder.
func foundation(members []gossip.Member) raft.Configuration {
	var c raft.Configuration
	for _, m := range members {
		if !m.NonVoter {
			c.Servers = append(c.Servers, raft.Server{
				Suffrage: raft.Voter, ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.PeerAddr),
			})
		}
	}
	slices.SortFunc(c.Servers, func(a, b raft.Server) int { return cmp.Compare(a.ID, b.ID) })
	return c
}

// server is one entry of raft's configuration.
type server struct {
	target transport.Target
	voter  bool
	self   bool
}

// servers gives raft's latest configuration; nil before this node is a member.
func (n *Node) servers() []server {
	if !n.member() {
		return nil
	}
	future := n.raft.GetConfiguration()
	if future.Error() != nil {
		return nil // shutting down
	}
	var out []server
	for _, s := range future.Configuration().Servers {
		out = append(out, server{
			target: transport.Target{ID: string(s.ID), Addr: n.address(string(s.ID), string(s.Address))},
			voter:  s.Suffrage == raft.Voter, self: string(s.ID) == n.id,
		})
	}
	return out
}

// address gives where a server is reached: where gossip says that it is now, or
// where the configuration says that it was.
func (n *Node) address(id, configured string) string {
	for _, m := range n.gossip.Members() {
		if m.ID == id && m.PeerAddr != "" {
			return m.PeerAddr
		}
	}
	return configured
}

// ServerAddr implements raft.ServerAddressProvider.
func (n *Node) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	for _, m := range n.gossip.Members() {
		if m.ID == string(id) && m.PeerAddr != "" {
			return raft.ServerAddress(m.PeerAddr), nil
		}
	}
	return "", errUnreachable
}

// leaderTarget gives where the leader is, if this node knows one.
func (n *Node) leaderTarget() (transport.Target, bool) {
	if !n.member() {
		return transport.Target{}, false
	}
	addr, id := n.raft.LeaderWithID()
	if id == "" || string(id) == n.id {
		return transport.Target{}, false
	}
	return transport.Target{ID: string(id), Addr: n.address(string(id), string(addr))}, true
}
