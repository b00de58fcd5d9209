package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// history is the elections that this node has seen, newest last.
type history struct {
	mu        sync.Mutex
	elections []Election
}

const keptElections = 50

func (h *history) add(e Election) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.elections = append(h.elections, e)
	if len(h.elections) > keptElections {
		h.elections = h.elections[1:]
	}
}

// newestFirst gives a copy.
func (h *history) newestFirst() []Election {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Election, 0, len(h.elections))
	for i := len(h.elections) - 1; i >= 0; i-- {
		out = append(out, h.elections[i])
	}
	return out
}

// leaderPoll is how often the leader is looked up beside raft's observations,
// which are dropped when nobody takes them in time.
const leaderPoll = 50 * time.Millisecond

// watchLeader notes each change of leader, how long there was none, and wakes
// those who wait for one.
func (n *Node) watchLeader(ctx context.Context, observations <-chan raft.Observation) {
	last, lastTerm := "", uint64(0)
	var seen view
	defer n.changes.wake() // whoever waits sees that this node stops
	since := n.clock.Now() // when the last leader was lost
	changed := make(chan struct{}, 1)
	n.wg.Go(func() {
		for {
			select {
			case <-observations:
			case <-ctx.Done():
				return
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	})
	for {
		_, id := n.raft.LeaderWithID()
		leader, term, now := string(id), n.raft.CurrentTerm(), n.clock.Now()
		switch {
		case leader == last && (leader == "" || term == lastTerm):
		case leader == "":
			since = now
			n.log.Warn("no leader", "term", term, "was", nameOf(last))
			n.leaders.wake()
		default:
			leaderless := time.Duration(0)
			if last == "" {
				leaderless = now.Sub(since)
			}
			n.history.add(Election{Term: term, Leader: nameOf(leader), At: now, Leaderless: leaderless})
			n.observe.Elected(leaderless)
			n.log.Info("leader", "leader", nameOf(leader), "term", term, "leaderless_ms", leaderless.Milliseconds())
			n.readyOnce.Do(func() { close(n.ready) })
			n.leaders.wake()
		}
		last, lastTerm = leader, term
		if v := n.look(); v != seen {
			if v.voters == 2 && v.voters != seen.voters {
				n.log.Warn("two nodes have a vote, and neither may fail: add a third")
			}
			seen = v
			n.changes.wake()
		}
		if n.pause(ctx, leaderPoll, changed) != nil {
			return
		}
	}
}
