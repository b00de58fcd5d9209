package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"hadir/attendance"
)

// The retry table. Everything that may be asked again, and when, is decided
// here.
//
//	what happened                          decided?  asked again
//	no leader, not leader, transfer        no        yes, after a change or 20 ms
//	queue full                             no        no: who is overloaded is not asked again at once
//	leader could not be reached at all     no        yes, after 20 ms
//	leadership lost, timeout, broken reply unknown   yes, if the command has a key
//	                                                 (the key answers if it was decided)
//	                                                 else ErrUnknown at once
//	command malformed                      no        no, unless it is unknown what became of it before
//	disk of this node nearly full          no        no, unless it is unknown; the leader's is a no leader
//	node outside a cluster                 no        yes, after a change or 20 ms
//	node shutting down                     no        no
//
// The time to give up is the caller's context. Whoever gave up before the
// command was sent knows that nothing was decided; after it, nobody knows.

const retryPause = 20 * time.Millisecond

// Propose has a command decided by the leader, wherever that is, and blocks
// until there is a decision or ctx ends. It may be called on any node,
// concurrently.
//
// Errors: ErrUnknown says that the command may have been or may yet be decided;
// all others say that it was not.
func (n *Node) Propose(ctx context.Context, req Request) (Result, error) {
	if _, err := req.Command.Size(); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	unknown := false
	for {
		changed := n.leaders.changed()
		result, err := n.attempt(ctx, req)
		switch {
		case err == nil:
			return result, nil
		case !unknown && isFinal(err):
			return Result{}, err
		case errors.Is(err, ErrUnknown):
			unknown = true
			if req.Command.Key == "" {
				return Result{}, err
			}
		}
		if n.pause(ctx, retryPause, changed) != nil {
			if unknown {
				return Result{}, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
			}
			return Result{}, err
		}
	}
}

// isFinal reports whether an error says that nothing was decided and that it is in
// vain to ask again at once.
func isFinal(err error) bool {
	return errors.Is(err, ErrInvalid) || errors.Is(err, ErrClosing) || errors.Is(err, ErrOverloaded) || errors.Is(err, ErrDiskLow)
}

// attempt asks the leader once: here, or over the node RPC.
func (n *Node) attempt(ctx context.Context, req Request) (Result, error) {
	p, err := newPending(req.Command, req.ReceivedAt)
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	to := n.forwards
	switch {
	case n.life.Err() != nil:
		return Result{}, ErrClosing
	case !n.member():
		return Result{}, fmt.Errorf("%w: %w", ErrNoLeader, ErrNotMember) // nobody serves the queues
	case n.roomy() != nil:
		return Result{}, n.roomy()
	case n.isLeader():
		to = n.entries
	}
	if err := to.submit(p); err != nil {
		return Result{}, err
	}
	return await(ctx, p)
}

// await waits for the answer, or withdraws the command if that is still
// possible.
func await(ctx context.Context, p *pending) (Result, error) {
	select {
	case a := <-p.done:
		return a.result, a.err
	case <-ctx.Done():
	}
	if p.claim(abandoned) {
		return Result{}, ErrNoLeader
	}
	select {
	case a := <-p.done: // it was answered meanwhile
		return a.result, a.err
	default:
		return Result{}, ErrUnknown
	}
}

// propose is the leader's half: it stamps a batch, puts it into the log as one
// entry and answers each command.
func (n *Node) propose(batch []*pending) {
	batch, start, future, err := n.enqueue(batch)
	if err != nil {
		n.log.Error("a batch could not be encoded", "commands", len(batch), "error", err)
		refuseEncoding(batch, err, n.propose)
		return
	}
	if future == nil {
		return
	}
	err = n.wait(future)
	n.noteApply(err)
	if err != nil {
		answerAll(batch, applyError(err))
		return
	}
	took := n.clock.Now().Sub(start)
	n.observe.Committed(len(batch), took)
	outcomes, ok := future.Response().([]attendance.Outcome)
	if !ok || len(outcomes) != len(batch) {
		answerAll(batch, ErrUnknown) // the state machine has stopped the process
		return
	}
	term, now := n.raft.CurrentTerm(), n.clock.Now()
	for i, p := range batch {
		p.done <- answer{result: Result{
			Outcome: outcomes[i], Leader: n.cfg.Name, Term: term, Index: future.Index(), Commit: now.Sub(p.received),
		}}
	}
}

// enqueue hands a batch to raft, or answers it where it may not be proposed; then
// there is no future. The error is that of the encoding. When a restore begins, no
// batch is on its way between the question whether it may be proposed and raft's
// queue.
func (n *Node) enqueue(batch []*pending) (taken []*pending, start time.Time, future raft.ApplyFuture, err error) {
	n.restores.gate.RLock()
	defer n.restores.gate.RUnlock()
	err = n.mayPropose()
	if errors.Is(err, errClusterAhead) {
		var others []*pending
		batch, others = repairs(batch)
		answerAll(others, err)
		err = nil
	}
	if err != nil {
		answerAll(batch, err)
		return nil, start, nil, nil
	}
	if len(batch) == 0 {
		return nil, start, nil, nil
	}
	start = n.clock.Now()
	data, err := attendance.EncodeEntry(n.stamp(batch, start))
	if err != nil {
		return batch, start, nil, err
	}
	return batch, start, n.raft.Apply(data, enqueueTimeout), nil
}

// stamp makes the entry: one proposal time, and each check-in as old as it is
// now.
func (n *Node) stamp(batch []*pending, now time.Time) attendance.Entry {
	e := attendance.Entry{
		Level: n.level(), Cluster: n.clusterID(), ProposedAt: attendance.MillisOf(now),
		Commands: make([]attendance.Command, len(batch)),
	}
	for i, p := range batch {
		e.Commands[i] = aged(p, now)
	}
	return e
}

// aged gives the command with its age: monotonic time since it was received, so
// that no wall clock but the leader's matters.
func aged(p *pending, now time.Time) attendance.Command {
	c := p.command
	if body, ok := c.Body.(attendance.CheckIn); ok && !body.WallClock {
		body.Age = min(max(0, attendance.Millis(now.Sub(p.received).Milliseconds())), attendance.MaxMillis)
		c.Body = body
	}
	return c
}

// enqueueTimeout bounds how long raft may take to accept an entry.
const enqueueTimeout = time.Second

// applyError tells a definite no of raft from everything else. Only what raft
// itself says before it touches the log is a no.
func applyError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

// mayPropose says why this node may not propose now.
func (n *Node) mayPropose() error {
	switch {
	case n.disk.low.Load():
		return n.roomy()
	case n.restores.running:
		return fmt.Errorf("%w: a backup is being restored", ErrNoLeader)
	case n.duties.clockTerm.Load() != n.raft.CurrentTerm():
		return fmt.Errorf("%w: the new leader has not compared its clock yet", ErrNoLeader)
	case n.duties.clock.Load() == clockWrong:
		return fmt.Errorf("%w: the leader's clock is suspect", ErrNoLeader)
	case n.duties.clock.Load() == clockAhead:
		return errClusterAhead
	}
	return nil
}

// errClusterAhead: the leader's clock is right, as far as anybody can tell, and the
// replicated clock is in the future. Only what repairs that may be proposed.
var errClusterAhead = fmt.Errorf("%w: the cluster's clock is ahead of all others, set it back or wait", ErrNoLeader)

// repairs picks the commands that may be proposed while the cluster's clock is
// ahead: to set it back, to allow for more skew, and notes about it.
func repairs(batch []*pending) (repairs, others []*pending) {
	for _, p := range batch {
		switch p.command.Body.(type) {
		case attendance.SetClock, attendance.SetParams, attendance.Audit:
			repairs = append(repairs, p)
		default:
			others = append(others, p)
		}
	}
	return repairs, others
}
