package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// configurer orders the changes of the configuration that this node makes as the
// leader. All of them run under the one lock and name the configuration that they
// were judged by: raft refuses them when another one has come in between.
type configurer struct {
	lock chan struct{} // holds one token
}

func newConfigurer() configurer {
	c := configurer{lock: make(chan struct{}, 1)}
	c.lock <- struct{}{}
	return c
}

// changeTimeout bounds how long raft may take to begin with a change. It waits
// for the one before to be committed.
const changeTimeout = 2 * time.Second

// members is the configuration that a change is judged by.
type members struct {
	index   uint64
	servers []raft.Server
}

// configuration gives raft's latest configuration. Only a member may be asked.
func (n *Node) configuration() (members, error) {
	future := n.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return members{}, err
	}
	return members{index: future.Index(), servers: future.Configuration().Servers}, nil
}

// lockMembers keeps everybody else on this node from changing the configuration,
// autopilot among them, until unlock is called. Error: ErrNoLeader when ctx ends
// before it is this caller's turn.
func (n *Node) lockMembers(ctx context.Context) (unlock func(), err error) {
	select {
	case <-n.configure.lock:
		return func() { n.configure.lock <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: another change of the members is under way", ErrNoLeader)
	}
}

// change runs f with the configuration, as the leader of a term whose barrier is
// applied, while no other change is made here. Errors: ErrNoLeader, or f's.
func (n *Node) change(ctx context.Context, f func(members) error) error {
	unlock, err := n.lockMembers(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := n.IsLeader(); !ok {
		return fmt.Errorf("%w: this node may not change the members", ErrNoLeader)
	}
	m, err := n.configuration()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	return f(m)
}

// awaitChange waits for a change that raft was asked for. Errors: ErrNoLeader when
// it was not made, ErrUnknown when nobody can say.
func (n *Node) awaitChange(f raft.IndexFuture) error {
	err := n.wait(f)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

func (m members) find(id string) (raft.Server, bool) {
	for _, s := range m.servers {
		if string(s.ID) == id {
			return s, true
		}
	}
	return raft.Server{}, false
}

// twin gives another server of the same name.
func (m members) twin(id string) (raft.Server, bool) {
	for _, s := range m.servers {
		if string(s.ID) != id && nameOf(string(s.ID)) == nameOf(id) {
			return s, true
		}
	}
	return raft.Server{}, false
}

func (m members) voters() int {
	voters := 0
	for _, s := range m.servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	return voters
}

// without says what speaks against removing a server: of the voters that remain, a
// majority must answer, or nothing would be decided afterwards, not even that it
// comes back.
func (m members) without(id string, answers func(id string) bool) error {
	gone, known := m.find(id)
	if !known {
		return fmt.Errorf("%w: %s", ErrUnknownServer, id)
	}
	if gone.Suffrage != raft.Voter {
		return nil
	}
	remain, alive := 0, 0
	for _, s := range m.servers {
		if s.Suffrage != raft.Voter || s.ID == gone.ID {
			continue
		}
		remain++
		if answers(string(s.ID)) {
			alive++
		}
	}
	switch {
	case remain == 0:
		return fmt.Errorf("%w: %s is the only voter", ErrQuorumAtRisk, nameOf(id))
	case alive < remain/2+1:
		return fmt.Errorf("%w: without %s there are %d voters and only %d of them answer", ErrQuorumAtRisk, nameOf(id), remain, alive)
	}
	return nil
}

// answers reports whether a server answered a probe lately; this one always does.
func (n *Node) answers(id string) bool {
	return id == n.id || n.peers.get(id).reachable(n.clock.Now())
}
