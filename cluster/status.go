package cluster

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
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

// keep forgets servers that are no members any more.
func (p *peers) keep(member func(id string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.byID {
		if !member(id) {
			delete(p.byID, id)
		}
	}
}

// reachable reports whether the peer answered lately.
func (p peerProbe) reachable(now time.Time) bool { return p.answer && now.Sub(p.at) <= reachableFor }

func (n *Node) probeLoop(ctx context.Context) {
	for {
		servers := n.servers()
		for _, s := range servers {
			if !s.self {
				n.wg.Go(func() { n.probe(ctx, s) })
			}
		}
		member := func(id string) bool {
			return slices.ContainsFunc(servers, func(s server) bool { return s.target.ID == id })
		}
		n.notes.keep(member)
		n.peers.keep(member)
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
	raw, err := n.call(ctx, s.target, http.MethodGet, pathProbe, nil, n.notes.known(s.target.ID))
	if err != nil {
		return false // what is not answered ages by itself
	}
	var p probe
	sections, err := decodeSections(raw, probeSections)
	if err == nil {
		p, err = decodeProbe(sections[sectionProbe])
	}
	if err == nil {
		err = n.notes.hear(s.target.ID, sections[sectionNotes], start)
	}
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
		name: n.cfg.Name, applied: n.appliedIndex.Load(), seq: n.seq.Load(),
		wall: attendance.MillisOf(n.clock.Now()), version: n.cfg.Version, level: attendance.Level,
		startedAt: attendance.MillisOf(n.started), http: n.cfg.HTTPAdvertise,
		settled: n.settled.Load(), nonVoter: n.cfg.NonVoter, diskLow: n.disk.low.Load(), free: n.disk.free.Load(),
	}
	if n.member() {
		p.lastIndex, p.lastTerm = n.lastLog()
		var unhealthy map[string]bool
		p.health, unhealthy = n.health()
		p.unhealthy = slices.Sorted(maps.Keys(unhealthy))
		p.commit = n.raft.CommitIndex()
	}
	p.role, p.term, p.leader = n.part()
	return p
}

// part says what part this node plays, in which term, and who leads (a server id).
func (n *Node) part() (role Role, term uint64, leader string) {
	role = Joining
	if n.member() {
		_, id := n.raft.LeaderWithID()
		role, term, leader = roleOf(n.raft.State()), n.raft.CurrentTerm(), string(id)
	}
	if n.stopping.Load() {
		role = Stopping
	}
	return role, term, leader
}

// lastLog gives index and term of the last entry of the log.
func (n *Node) lastLog() (index, term uint64) {
	stats := n.raft.Stats()
	index, _ = strconv.ParseUint(stats["last_log_index"], 10, 64) // raft writes them as numbers
	term, _ = strconv.ParseUint(stats["last_log_term"], 10, 64)
	return index, term
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
		Node: n.cfg.Name, Cluster: n.clusterID(), Epoch: n.stateEpoch.Load(), Leader: nameOf(own.leader), Term: own.term,
		Elections: n.history.newestFirst(), Fresh: n.Freshness(),
	}
	verdict := own
	if own.leader != "" && own.leader != n.id {
		verdict = probe{}
		if p := n.peers.get(own.leader); p.reachable(now) {
			verdict = p.probe
		}
	}
	s.Health = verdict.health
	newest, voters, alive, diskLow := own.seq, 0, 0, false
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
		node.Healthy = !s.Health.Known || !slices.Contains(verdict.unhealthy, node.ID)
		if member.voter {
			voters++
			if node.Reachable {
				alive++
			}
		}
		if node.DiskLow {
			diskLow = true
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
	if voters == 2 {
		s.Warnings = append(s.Warnings, TwoVoters)
	}
	if diskLow {
		s.Warnings = append(s.Warnings, DiskLow)
	}
	return s
}

func (s *NodeStatus) fill(p probe) {
	s.HTTP, s.State, s.Commit, s.Applied, s.Seq = p.http, p.role, p.commit, p.applied, p.seq
	s.Version, s.Level, s.Replica, s.DiskLow, s.DiskFree = p.version, p.level, p.nonVoter, p.diskLow, p.free
	if p.startedAt > 0 {
		s.StartedAt = p.startedAt.Time()
	}
}
