package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"hadir/cluster/transport"
)

// Health is what raft-autopilot on the leader makes of the cluster.
type Health struct {
	Known     bool // somebody leads and has said so
	Healthy   bool // every server is
	Tolerance int  // healthy voters that may fail before nothing is decided
}

// How autopilot judges.
const (
	pilotEvery = 500 * time.Millisecond
	// contactWithin is how lately a server must have heard from the leader.
	contactWithin = 2 * time.Second
	// trailingEntries is how far behind the leader's log a server may be. What is
	// known of it is up to a second old, in which a busy leader writes hundreds.
	trailingEntries = 1000
)

// newPilot makes raft-autopilot for this node; it runs while the node leads.
func (n *Node) newPilot() *autopilot.Autopilot {
	return autopilot.New(pilotRaft{n.raft, n}, pilotView{n},
		autopilot.WithLogger(transport.NewHCLog(n.log, "raft")),
		autopilot.WithTimeProvider(n.clock),
		autopilot.WithPromoter(&promoter{n: n}),
		autopilot.WithUpdateInterval(pilotEvery),
		autopilot.WithReconcileInterval(pilotEvery),
	)
}

// steer runs autopilot until ctx ends, and waits for its end.
func (n *Node) steer(ctx context.Context) (stop func()) {
	pilot := n.newPilot()
	n.pilot.Store(pilot)
	pilot.Start(ctx)
	return func() {
		<-pilot.Stop()
		n.pilot.Store(nil)
	}
}

// health gives the verdict of this node's autopilot, and the servers that it finds
// wanting.
func (n *Node) health() (h Health, unhealthy map[string]bool) {
	pilot := n.pilot.Load()
	if pilot == nil {
		return Health{}, nil
	}
	state := pilot.GetState()
	if state == nil || state.Leader == "" {
		return Health{}, nil
	}
	unhealthy = make(map[string]bool)
	for id, s := range state.Servers {
		if !s.Health.Healthy {
			unhealthy[string(id)] = true
		}
	}
	return Health{Known: true, Healthy: state.Healthy, Tolerance: state.FailureTolerance}, unhealthy
}

// pilotView is what autopilot knows of the servers: raft's configuration and the
// probes, never gossip.
type pilotView struct{ n *Node }

var _ autopilot.ApplicationIntegration = pilotView{}

// AutopilotConfig implements autopilot.ApplicationIntegration. Servers are removed
// by a person.
func (v pilotView) AutopilotConfig() *autopilot.Config {
	stretch := time.Duration(v.n.cfg.RaftMultiplier)
	return &autopilot.Config{
		CleanupDeadServers: false, LastContactThreshold: contactWithin * stretch, MaxTrailingLogs: trailingEntries,
		ServerStabilizationTime: v.n.cfg.Stabilization,
	}
}

// NotifyState implements autopilot.ApplicationIntegration; Status asks by itself.
func (v pilotView) NotifyState(*autopilot.State) {}

// KnownServers implements autopilot.ApplicationIntegration.
func (v pilotView) KnownServers() map[raft.ServerID]*autopilot.Server {
	out := make(map[raft.ServerID]*autopilot.Server)
	for _, s := range v.n.servers() {
		id := raft.ServerID(s.target.ID)
		status := autopilot.NodeFailed
		if v.n.answers(s.target.ID) {
			status = autopilot.NodeAlive
		}
		out[id] = &autopilot.Server{
			ID: id, Name: nameOf(s.target.ID), Address: raft.ServerAddress(s.target.Addr), NodeStatus: status,
			RaftVersion: int(raft.ProtocolVersionMax), IsLeader: s.self,
		}
	}
	return out
}

// FetchServerStats implements autopilot.ApplicationIntegration, from the last
// answers to the probes.
func (v pilotView) FetchServerStats(_ context.Context, servers map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	out := make(map[raft.ServerID]*autopilot.ServerStats)
	now := v.n.clock.Now()
	for id := range servers {
		p, contact := v.n.ownProbe(), time.Duration(0)
		if string(id) != v.n.id {
			got := v.n.peers.get(string(id))
			if !got.answer {
				continue
			}
			p = got.probe
			contact = now.Sub(got.at)
		}
		if p.leader != v.n.id {
			contact = -1 // raft itself lets go of a leader that it does not hear from
		}
		out[id] = &autopilot.ServerStats{LastContact: contact, LastTerm: p.lastTerm, LastIndex: p.lastIndex}
	}
	return out
}

// RemoveFailedServer implements autopilot.ApplicationIntegration. It is never
// called: nothing is cleaned up.
func (v pilotView) RemoveFailedServer(s *autopilot.Server) {
	v.n.log.Error("autopilot wants to remove a server, which only a person may", "server", s.ID)
}

// promoter gives votes. The library's own one lets everybody pass for the first
// while of a new leader; this one always waits the whole time.
type promoter struct {
	autopilot.StablePromoter
	n *Node
}

// CalculatePromotionsAndDemotions implements autopilot.Promoter.
func (p *promoter) CalculatePromotionsAndDemotions(c *autopilot.Config, s *autopilot.State) autopilot.RaftChanges {
	var changes autopilot.RaftChanges
	now := p.n.clock.Now()
	for id, server := range s.Servers {
		if server.State == autopilot.RaftNonVoter && server.Health.IsStable(now, c.ServerStabilizationTime) && p.n.promotable(string(id)) {
			changes.Promotions = append(changes.Promotions, id)
		}
	}
	return changes
}

// promotable reports whether a server wants a vote and may have one: it has noted
// that it may not lose its log.
func (n *Node) promotable(id string) bool {
	p := n.peers.get(id)
	return p.reachable(n.clock.Now()) && p.settled && !p.nonVoter
}

// pilotRaft is raft as autopilot may use it. Changes go the way that all changes
// go, and have been waited for when they are answered.
type pilotRaft struct {
	*raft.Raft
	n *Node
}

var _ autopilot.Raft = pilotRaft{}

// errNotPilots is about changes that autopilot has no business with.
var errNotPilots = errors.New("autopilot only promotes")

// AddVoter implements autopilot.Raft. The server is judged again: it may have been
// removed since autopilot looked, and would come back by this.
func (p pilotRaft) AddVoter(id raft.ServerID, _ raft.ServerAddress, _ uint64, _ time.Duration) raft.IndexFuture {
	ctx, cancel := context.WithTimeout(p.n.life, changeTimeout)
	defer cancel()
	return done{p.n.change(ctx, func(m members) error {
		s, known := m.find(string(id))
		if known && s.Suffrage == raft.Voter {
			return nil // autopilot looks less often than it acts
		}
		if !known || s.Suffrage != raft.Nonvoter || !p.n.promotable(string(id)) {
			return fmt.Errorf("server %s is not to be promoted any more", id)
		}
		if err := p.n.awaitChange(p.n.raft.AddVoter(id, s.Address, m.index, changeTimeout)); err != nil {
			return err
		}
		p.n.log.Info("a server has a vote now", "server", string(id))
		p.n.observe.MemberChanged("promoted")
		return nil
	})}
}

// AddNonvoter implements autopilot.Raft.
func (pilotRaft) AddNonvoter(raft.ServerID, raft.ServerAddress, uint64, time.Duration) raft.IndexFuture {
	return done{errNotPilots}
}

// DemoteVoter implements autopilot.Raft.
func (pilotRaft) DemoteVoter(raft.ServerID, uint64, time.Duration) raft.IndexFuture {
	return done{errNotPilots}
}

// RemoveServer implements autopilot.Raft.
func (pilotRaft) RemoveServer(raft.ServerID, uint64, time.Duration) raft.IndexFuture {
	return done{errNotPilots}
}

// LeadershipTransferToServer implements autopilot.Raft.
func (pilotRaft) LeadershipTransferToServer(raft.ServerID, raft.ServerAddress) raft.Future {
	return done{errNotPilots}
}

// done is a future that is over.
type done struct{ err error }

// Error implements raft.Future.
func (d done) Error() error { return d.err }

// Index implements raft.IndexFuture; nobody asks for it.
func (d done) Index() uint64 { return 0 }
