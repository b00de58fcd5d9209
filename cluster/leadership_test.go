package cluster

import (
	"context"
	"testing"
	"time"

	"hadir/store"
)

// TestAReplicaProvesNoLeadership cuts the leader off from all other voters but not
// from a read replica. raft itself would go on proving that it leads, by the
// replica's answers, until its lease is over.
func TestAReplicaProvesNoLeadership(t *testing.T) {
	t.Parallel()
	gates := make([]*gate, 4)
	g := newGroup(t, 4, soon, func(i int, c *Config) {
		c.BootstrapExpect = 3
		c.NonVoter = i == 3
		c.RaftMultiplier = 6 // a lease long enough to look at what it covers
		gates[i] = newGate(t, c.PeerAddr)
		t.Cleanup(gates[i].close) // after the nodes have ended
		c.PeerAdvertise = gates[i].ln.Addr().String()
	})
	for i := range g.nodes {
		g.start(i)
	}
	g.await("four members", func() bool { return g.nodes[0].member() && len(g.votes(0)) == 4 })
	leader := g.leader()
	g.await("it may act", func() bool { _, ok := g.nodes[leader].IsLeader(); return ok })
	strong := func(i int, d time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		_, err := g.nodes[i].Read(ctx, Read{Consistency: Strong}, func(*store.ReadTx) error { return nil })
		return err
	}
	g.await("the replica serves a strong read", func() bool { return strong(3, 5*time.Second) == nil })
	g.await("the leader serves one", func() bool { return strong(leader, 5*time.Second) == nil })
	for i := range 3 {
		if i != leader {
			gates[i].freeze(true)
		}
	}
	if err := g.nodes[leader].proveLeadership(); err == nil {
		t.Error("a leader without a majority has proven that it leads")
	}
	if err := strong(leader, 300*time.Millisecond); err == nil {
		t.Error("a leader without a majority has served a strong read")
	}
	for i := range 3 {
		gates[i].freeze(false)
	}
	g.await("strong reads go on", func() bool { return strong(leader, 5*time.Second) == nil })
}
