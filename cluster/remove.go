package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/hashicorp/raft"

	"hadir/cluster/transport"
)

// Remove takes a server out of the cluster for good, by its server id or its name.
// It may be called on any node; a leader that is to be removed hands over first.
// It blocks until the change is committed or ctx ends. The server itself finds out
// and ends; its data stays where it is.
//
// Errors: ErrUnknownServer when there is none of that id or name, ErrQuorumAtRisk
// when what remains could not decide, ErrNoLeader when nothing was changed because
// nobody leads, ErrUnknown when it may have been removed: look, or ask again.
func (n *Node) Remove(ctx context.Context, who string) error {
	unknown := false
	for {
		changed := n.leaders.changed()
		err := n.attemptRemove(ctx, who)
		switch {
		case errors.Is(err, ErrUnknown):
			unknown = true
		case unknown && errors.Is(err, ErrUnknownServer):
			return nil // the attempt before has got through
		case !errors.Is(err, ErrNoLeader) && !errors.Is(err, ErrNotLeader):
			return err
		}
		if n.pause(ctx, retryPause, changed) != nil {
			if unknown {
				return fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
			}
			return err
		}
	}
}

func (n *Node) attemptRemove(ctx context.Context, who string) error {
	switch {
	case n.life.Err() != nil:
		return ErrClosing
	case !n.member():
		return fmt.Errorf("%w: %w", ErrNoLeader, ErrNotMember)
	case n.isLeader():
		return n.removeServer(ctx, who)
	}
	raw, err := n.callLeader(ctx, http.MethodPost, pathRemove, []byte(who))
	if errors.Is(err, errUnreachable) {
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	var answer indexAnswer
	if err == nil {
		answer, err = decodeIndex(raw)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return answer.code.err()
}

// removeServer is the leader's half. When it is the one to go it hands over and
// says that somebody else leads.
func (n *Node) removeServer(ctx context.Context, who string) error {
	return n.change(ctx, func(m members) error {
		s, err := m.named(who)
		if err != nil {
			return err
		}
		id := string(s.ID)
		if err := m.without(id, n.answers); err != nil {
			return err
		}
		if id == n.id {
			if err := n.handOver(ctx); err != nil {
				return fmt.Errorf("%w: %s leads and could not hand over: %w", ErrNoLeader, n.cfg.Name, err)
			}
			return fmt.Errorf("%w: it was the one to be removed and has handed over", ErrNoLeader)
		}
		if err := n.awaitChange(n.raft.RemoveServer(s.ID, m.index, changeTimeout)); err != nil {
			return err
		}
		n.log.Warn("a server was removed", "server", id)
		n.observe.MemberChanged("removed")
		return nil
	})
}

// named finds a server by id or name.
func (m members) named(who string) (raft.Server, error) {
	if s, ok := m.find(who); ok {
		return s, nil
	}
	for _, s := range m.servers {
		if nameOf(string(s.ID)) == who {
			return s, nil
		}
	}
	return raft.Server{}, fmt.Errorf("%w: %q", ErrUnknownServer, who)
}

// serveRemove is one hop: it is never passed on again.
func (n *Node) serveRemove(w http.ResponseWriter, r *http.Request) {
	who, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxApplication))
	if err != nil {
		http.Error(w, "body cannot be read", http.StatusBadRequest)
		return
	}
	err = ErrNotLeader
	if n.isLeader() {
		err = n.removeServer(r.Context(), string(who))
	}
	reply(w, indexAnswer{code: codeOf(err)}.encode())
}

// ErrRemoved is what a node is retired with that was removed from its cluster.
var ErrRemoved = errors.New("this server was removed from its cluster")

// leaderlessBefore is how long there must have been no leader before a member asks
// whether it still is one.
const leaderlessBefore = staleAfter

// watchRemoval ends a server that was removed. Nobody may be able to tell it: the
// leader stops talking to whom it has removed. So a server that has no leader asks
// those that it knows, from its own configuration and from gossip.
func (n *Node) watchRemoval(ctx context.Context) {
	since := n.clock.Now() // when there was a leader last
	for next := 0; ; next++ {
		now := n.clock.Now()
		if _, id := n.raft.LeaderWithID(); id != "" {
			since = now
		} else if now.Sub(since) >= leaderlessBefore {
			if doors := n.doors(); len(doors) > 0 {
				a, err := n.ask(ctx, doors[next%len(doors)])
				if err == nil && a.verdict == removed {
					n.retire(fmt.Errorf("%w: server %s takes no part any more; its data stays in %s; to take part again, move "+
						"that directory away and start this node as a new one", ErrRemoved, n.id, n.cfg.DataDir))
					return
				}
			}
		}
		if n.pause(ctx, askEvery, n.leaders.changed()) != nil {
			return
		}
	}
}

// doors gives where a member may ask.
func (n *Node) doors() []transport.Target {
	var out []transport.Target
	known := make(map[string]bool)
	for _, s := range n.servers() {
		if known[s.target.ID] = true; !s.self {
			out = append(out, s.target)
		}
	}
	own := n.clusterID().String()
	for _, m := range n.gossip.Members() {
		if !m.Self && !known[m.ID] && m.ClusterID == own && m.PeerAddr != "" {
			out = append(out, transport.Target{ID: m.ID, Addr: m.PeerAddr})
		}
	}
	return out
}
