package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"hadir/cluster/transport"
)

// proveTimeout bounds one proof of leadership.
const proveTimeout = time.Second

// proveLeadership proves that nobody else led when it was called. raft's own way
// counts whoever answers a heartbeat, non-voters among them, against a majority of
// voters (hashicorp/raft v1.8.0, verifyLeader): a leader that was cut off together
// with a read replica would go on proving itself. So it is used only where there
// are voters and nothing else, from before until after it.
func (n *Node) proveLeadership() error {
	before, err := n.configuration()
	if err != nil {
		return err
	}
	if before.voters() == len(before.servers) {
		if err := n.wait(n.raft.VerifyLeader()); err != nil {
			return err
		}
		if after, err := n.configuration(); err != nil || after.index == before.index {
			return err
		}
		if before, err = n.configuration(); err != nil {
			return err
		}
	}
	return n.askTerms(before)
}

// errNotProven means that no majority of voters has confirmed the term.
var errNotProven = errors.New("leadership could not be proven")

// askTerms proves leadership on the word of voters. Whoever says after the question
// that this term is the newest that it knows has not voted in a later one before
// it. If a majority of voters says so, nobody can have been elected in a later one.
func (n *Node) askTerms(m members) error {
	term := n.raft.CurrentTerm()
	ctx, cancel := context.WithTimeout(n.life, proveTimeout*time.Duration(n.cfg.RaftMultiplier))
	var wg sync.WaitGroup
	defer func() {
		cancel() // ends the questions that nobody waits for
		wg.Wait()
	}()
	quorum := m.voters()/2 + 1
	answers, asked, agreed := make(chan bool, len(m.servers)), 0, 0
	for _, s := range m.servers {
		switch {
		case s.Suffrage != raft.Voter:
		case string(s.ID) == n.id:
			agreed++
		default:
			asked++
			target := transport.Target{ID: string(s.ID), Addr: n.address(string(s.ID), string(s.Address))}
			wg.Go(func() { answers <- n.askTerm(ctx, target) == term })
		}
	}
	for ; asked > 0 && agreed < quorum; asked-- {
		if <-answers {
			agreed++
		}
	}
	if agreed < quorum || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
		return fmt.Errorf("%w: %d of %d voters confirm term %d", errNotProven, agreed, m.voters(), term)
	}
	return nil
}

// askTerm gives the newest term that a server knows; 0 when it does not say.
func (n *Node) askTerm(ctx context.Context, to transport.Target) uint64 {
	raw, err := n.call(ctx, to, http.MethodGet, pathTerm, nil, nil)
	if err != nil {
		return 0
	}
	term, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return 0
	}
	return term
}

// serveTerm says the newest term that this node knows. raft notes a term before it
// votes in it.
func (n *Node) serveTerm(w http.ResponseWriter, _ *http.Request) {
	if !n.member() {
		http.Error(w, "not a member of this cluster", http.StatusForbidden)
		return
	}
	reply(w, strconv.AppendUint(nil, n.raft.CurrentTerm(), 10))
}
