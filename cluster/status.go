package cluster

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"hadir/attendance"
)

// probeEvery is how often each member asks the others how they are. It is for
// people and for the clock check: it routes nothing and changes no membership.
const (
	probeEvery   = 500 * time.Millisecond
	probeTimeout = time.Second
	reachableFor = 2 * time.Second
)

// peers is what the others answered last.
type peers struct {
	mu   sync.Mutex
	byID map[string]peerProbe
}

type peerProbe struct {
	probe
	at     time.Time         // when the answer came
	ahead  attendance.Millis // its wall clock less ours, at the middle of the call
	doubt  attendance.Millis // half of the round trip
	answer bool
}

func (p *peers) put(id string, got peerProbe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byID == nil {
		p.byID = make(map[string]peerProbe)
	}
	p.byID[id] = got
}

func (p *peers) get(id string) peerProbe {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID[id]
}

// reachable reports whether the peer answered lately.
func (p peerProbe) reachable(now time.Time) bool { return p.answer && now.Sub(p.at) <= reachableFor }

func (n *Node) probeLoop(ctx context.Context) {
	for {
		for _, s := range n.servers() {
			if !s.self {
				n.wg.Go(func() { n.probe(ctx, s) })
			}
		}
		if n.pause(ctx, probeEvery, nil) != nil {
			return
		}
	}
}

// probe asks a member how it is and says whether it answered.
func (n *Node) probe(ctx context.Context, s server) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	start := n.clock.Now()
	raw, err := n.call(ctx, s.target, http.MethodGet, pathProbe, nil, nil)
	if err != nil {
		return false // what is not answered ages by itself
	}
	p, err := decodeProbe(raw)
	if err != nil {
		n.log.Debug("probe cannot be read", "peer", s.target.ID, "error", err)
		return false
	}
	now := n.clock.Now()
	trip := now.Sub(start)
	middle := attendance.MillisOf(start.Add(trip / 2))
	n.peers.put(s.target.ID, peerProbe{
		probe: p, at: now, ahead: p.wall - middle, doubt: attendance.Millis(trip.Milliseconds()/2 + 1), answer: true,
	})
	return true
}

// ownProbe is what this node says about itself.
func (n *Node) ownProbe() probe {
	p := probe{
		name: n.cfg.Name, role: Joining, applied: n.appliedIndex.Load(), seq: n.seq.Load(),
		wall: attendance.MillisOf(n.clock.Now()), version: n.cfg.Version, level: attendance.Level,
		startedAt: attendance.MillisOf(n.started), http: n.cfg.HTTPAdvertise,
	}
	if n.member() {
		_, leader := n.raft.LeaderWithID()
		p.role, p.term, p.leader, p.commit = roleOf(n.raft.State()), n.raft.CurrentTerm(), string(leader), n.raft.CommitIndex()
	}
	if n.stopping.Load() {
		p.role = Stopping
	}
	return p
}

func roleOf(s raft.RaftState) Role {
	switch s {
	case raft.Leader:
		return Leader
	case raft.Candidate:
		return Candidate
	case raft.Shutdown:
		return Stopping
	default:
		return Follower
	}
}

// Status gives this node's own view. It needs no leader and never blocks on
// another node.
func (n *Node) Status() Status {
	now := n.clock.Now()
	own := n.ownProbe()
	s := Status{
		Node: n.cfg.Name, Cluster: n.clusterID(), Epoch: n.epoch, Leader: nameOf(own.leader), Term: own.term,
		Elections: n.history.newestFirst(), Fresh: n.Freshness(),
	}
	newest, voters, alive := own.seq, 0, 0
	for _, member := range n.servers() {
		node := NodeStatus{ID: member.target.ID, Name: nameOf(member.target.ID), Address: member.target.Addr, Voter: member.voter}
		if member.self {
			node.fill(own)
			node.Reachable = true
		} else {
			p := n.peers.get(member.target.ID)
			node.fill(p.probe)
			node.Reachable = p.reachable(now)
			node.LastContact = -1
			if p.answer {
				node.LastContact = now.Sub(p.at)
			}
			if !node.Reachable {
				node.State = Down
			}
			node.Stuck = own.role == Leader && n.transport.Stuck(raft.ServerID(member.target.ID))
		}
		if member.voter {
			voters++
			if node.Reachable {
				alive++
			}
		}
		newest = max(newest, node.Seq)
		s.Nodes = append(s.Nodes, node)
	}
	for i := range s.Nodes {
		s.Nodes[i].Lag = newest - s.Nodes[i].Seq
	}
	slices.SortFunc(s.Nodes, func(a, b NodeStatus) int { return strings.Compare(a.Name, b.Name) })
	if voters > 0 { // else it is no member and knows of no quorum
		s.Quorum = voters/2 + 1
	}
	s.CanLose = max(0, alive-s.Quorum)
	return s
}

func (s *NodeStatus) fill(p probe) {
	s.HTTP, s.State, s.Commit, s.Applied, s.Seq = p.http, p.role, p.commit, p.applied, p.seq
	s.Version, s.Level = p.version, p.level
	if p.startedAt > 0 {
		s.StartedAt = p.startedAt.Time()
	}
}
