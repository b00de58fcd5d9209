package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"hadir/attendance"
	"hadir/store"
)

// duties is what only the leader does. One goroutine owns it: duties of one term
// have ended before those of the next begin.
type duties struct {
	readyTerm  atomic.Uint64 // term whose barrier was applied: strong reads may be served
	clockTerm  atomic.Uint64 // term in which the clock was compared: proposals may begin
	clock      atomic.Uint32 // clockRight …
	stuckSince atomic.Int64  // raft#696: since when every entry was refused as "transfer in progress"; 0 = not
}

// What a leader thinks of the clocks.
const (
	clockRight = iota
	clockWrong // this leader's is: nothing is proposed
	clockAhead // the replicated one is: nothing is proposed but its repair
)

const (
	setUpTimeout = 2 * time.Second // for each command of a new cluster
	askAgain     = 100 * time.Millisecond

	dutyEvery      = time.Second
	verifyEvery    = time.Minute
	verifyEvents   = 1_000
	barrierTimeout = 10 * time.Second
)

// lead starts and stops the duties as leadership comes and goes. NotifyCh is
// used because it delivers every edge.
func (n *Node) lead(ctx context.Context, notify <-chan bool) {
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case leads := <-notify:
			stop()
			stop = func() {}
			if leads {
				term, cancel := context.WithCancel(ctx)
				done := make(chan struct{})
				n.wg.Go(func() {
					defer close(done)
					n.doDuties(term)
				})
				stop = func() {
					cancel()
					<-done
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) doDuties(ctx context.Context) {
	term := n.raft.CurrentTerm()
	n.duties.stuckSince.Store(0) // of an earlier term
	// The clock before everything: one entry stamped by a wrong one moves the
	// replicated clock, and that does not go back by itself.
	if !n.askClocks(ctx) {
		return
	}
	n.checkClock(ctx)
	n.duties.clockTerm.Store(term)
	if !n.establish(ctx, term) {
		return
	}
	defer n.steer(ctx)()
	var g genesis
	verified, at := n.seq.Load(), n.clock.Now()
	for ctx.Err() == nil {
		n.checkClock(ctx)
		n.watchTransfer()
		n.yieldDisk(ctx)
		n.setUp(ctx, &g)
		n.raiseLevel(ctx)
		if seq, now := n.seq.Load(), n.clock.Now(); seq > verified && (seq >= verified+verifyEvents || now.Sub(at) >= verifyEvery) {
			n.proposeVerify(ctx)
			verified, at = seq, now
		}
		if n.pause(ctx, dutyEvery, nil) != nil {
			return
		}
	}
}

// establish applies everything of earlier terms: before that, a strong read
// could miss what an earlier leader acknowledged.
func (n *Node) establish(ctx context.Context, term uint64) bool {
	for ctx.Err() == nil {
		err := n.wait(n.raft.Barrier(barrierTimeout))
		n.noteApply(err)
		n.watchTransfer()
		if err == nil && n.raft.CurrentTerm() == term {
			n.duties.readyTerm.Store(term)
			return true
		}
		n.log.Debug("the barrier of this term is not applied yet", "term", term, "error", err)
		if n.pause(ctx, retryPause, nil) != nil {
			return false
		}
	}
	return false
}

// system makes a command that the cluster itself asks for.
func (n *Node) system(body attendance.Body) attendance.Command {
	return attendance.Command{Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: n.cfg.Name, Body: body}
}

// genesis is how far a leader is with setting up a new cluster.
type genesis struct {
	commands []attendance.Command
	done     bool
}

// setUp makes a new cluster usable, or tries: what cannot be decided now must not
// keep the leader from its other duties, so it is tried again with them. Each
// command has a key, so what an earlier attempt got through is not done twice.
func (n *Node) setUp(ctx context.Context, g *genesis) {
	if g.done {
		return
	}
	founded := false
	err := n.state.View(func(tx *store.ReadTx) error {
		founded = n.cfg.Genesis == nil || n.cfg.Founded(tx)
		return nil
	})
	if g.done = founded; err != nil || founded {
		return
	}
	if g.commands == nil {
		if g.commands, err = n.cfg.Genesis(); err != nil {
			n.cfg.Halt(fmt.Errorf("the new cluster cannot be set up: %w", err))
			return
		}
	}
	for _, c := range g.commands {
		c.Node = n.cfg.Name
		err := n.proposeSoon(ctx, c)
		if errors.Is(err, ErrInvalid) {
			n.cfg.Halt(fmt.Errorf("the new cluster cannot be set up: %w", err)) // no other leader can do better
			return
		}
		if err != nil {
			n.log.Warn("the new cluster is not set up yet", "error", err)
			return
		}
	}
	g.done = true
	n.log.Info("the new cluster is set up", "commands", len(g.commands))
}

func (n *Node) proposeSoon(ctx context.Context, c attendance.Command) error {
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout)
	defer cancel()
	_, err := n.Propose(ctx, Request{Command: c, ReceivedAt: n.clock.Now()})
	return err
}

// askClocks probes the voters until a majority, this node included, has said what
// time it is. A leader that cannot reach a majority has nothing to propose to.
func (n *Node) askClocks(ctx context.Context) bool {
	for ctx.Err() == nil {
		servers := n.servers()
		answers, voters := make(chan bool, len(servers)), 0
		for _, s := range servers {
			switch {
			case !s.voter:
				continue
			case s.self:
				answers <- true
			default:
				n.wg.Go(func() { answers <- n.probe(ctx, s) })
			}
			voters++
		}
		known := 0
		for asked := voters; asked > 0 && known < voters/2+1; asked-- {
			if <-answers { // within the probe's own time
				known++
			}
		}
		if known >= voters/2+1 {
			return true
		}
		if n.pause(ctx, askAgain, nil) != nil {
			return false
		}
	}
	return false
}

// checkClock compares this leader's wall clock with those of the voters that
// answer. The leader's clock stamps every check-in, so one that is off by more
// than the skew bound hands leadership over; one that is behind the replicated
// clock would freeze it and turn honest check-ins into duplicates. If the others'
// clocks agree with this one, it is the replicated clock that is wrong: no other
// leader would do any better, so this one stays and proposes what repairs it.
func (n *Node) checkClock(ctx context.Context) {
	var skew, clock attendance.Millis
	if err := n.state.View(func(tx *store.ReadTx) error {
		skew, clock = tx.Params().Skew, tx.Meta().Clock
		return nil
	}); err != nil {
		return
	}
	now := n.clock.Now()
	var ahead, doubt []attendance.Millis
	for _, s := range n.servers() {
		if p := n.peers.get(s.target.ID); s.voter && !s.self && p.reachable(now) {
			ahead, doubt = append(ahead, p.ahead), append(doubt, p.doubt)
		}
	}
	off := offMedian(ahead)
	allowed := skew
	if len(doubt) > 0 {
		allowed += slices.Max(doubt)
	}
	behind := clock - attendance.MillisOf(now)
	verdict := uint32(clockRight)
	switch {
	case off > allowed || -off > allowed:
		verdict = clockWrong
	case behind > skew:
		verdict = clockAhead
	}
	if verdict != n.duties.clock.Swap(verdict) {
		switch verdict {
		case clockWrong:
			n.log.Error("this leader's clock is wrong: it proposes nothing and hands over; set the clock",
				"off_median_ms", int64(off), "behind_cluster_ms", int64(behind))
		case clockAhead:
			n.log.Error("the cluster's clock is ahead of this leader's, with which the others agree: nothing is decided until "+
				"it is set back or that time has come", "behind_cluster_ms", int64(behind))
		}
	}
	if verdict == clockWrong && len(ahead) > 0 {
		if err := n.handOver(ctx); err != nil {
			n.log.Warn("leadership could not be handed over", "error", err)
		}
	}
}

// offMedian gives how far this clock is from the median of all, this one
// included; of two it is compared with the lower, since nobody can say which one
// is right and logical time must not run ahead.
func offMedian(ahead []attendance.Millis) attendance.Millis {
	all := append([]attendance.Millis{0}, ahead...)
	slices.Sort(all)
	return -all[(len(all)-1)/2]
}

// proposeVerify states this leader's history, so that a node with another one
// finds out and stops.
func (n *Node) proposeVerify(ctx context.Context) {
	var body attendance.Verify
	if err := n.state.View(func(tx *store.ReadTx) error {
		m := tx.Meta()
		body = attendance.Verify{Seq: m.Seq, Hash: m.Chain}
		return nil
	}); err != nil || body.Seq == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	if _, err := n.Propose(ctx, Request{Command: n.system(body), ReceivedAt: n.clock.Now()}); err != nil {
		n.log.Debug("verify was not proposed", "error", err)
	}
}

// noteApply remembers since when raft refuses everything because of a leadership
// transfer that never ends.
func (n *Node) noteApply(err error) {
	if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		n.duties.stuckSince.Store(0)
		return
	}
	n.duties.stuckSince.CompareAndSwap(0, n.clock.Now().UnixNano())
}

// watchTransfer ends the process when hashicorp/raft#696 has struck: a transfer
// that was cut short leaves a flag behind, and the node, elected later, refuses
// every entry. Only a restart clears it.
func (n *Node) watchTransfer() {
	since := n.duties.stuckSince.Load()
	limit := 2 * n.raftConfig(false).ElectionTimeout
	if since != 0 && n.isLeader() && n.clock.Now().Sub(time.Unix(0, since)) > limit {
		n.cfg.Halt(errors.New("raft refuses every entry because of a leadership transfer that never ended " +
			"(hashicorp/raft#696): start this node again"))
	}
}
