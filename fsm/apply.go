package fsm

import (
	"errors"
	"fmt"

	"hadir/attendance"
	"hadir/store"
)

// Entry is one entry of the replicated log, as far as the state machine cares.
type Entry struct {
	Index uint64
	Term  uint64
	Data  []byte // what attendance.EncodeEntry wrote
}

// decoded is an entry that can be applied.
type decoded struct {
	Entry
	content attendance.Entry
}

// How much retention work one entry may do: two rows for each command, so that
// deletion outruns insertion, and never fewer than 64.
const minBudget = 64

// applyEntry applies one entry inside the transaction: the clock moves, each
// command is decided in order, a bounded share of what has expired is deleted,
// and the applied index and term are set.
func (m *Machine) applyEntry(tx *store.Tx, e decoded) ([]attendance.Outcome, error) {
	before := tx.Meta()
	if err := checkOrder(before, e.Index, e.Term); err != nil {
		return nil, err
	}
	if e.Index <= before.Applied {
		// Replayed after a restart: the effects are here and nobody waits.
		return skipped(len(e.content.Commands)), nil
	}
	if !before.Cluster.IsZero() && before.Cluster != e.content.Cluster {
		return nil, fmt.Errorf("%w: entry %d belongs to cluster %s, this state to %s",
			ErrForeignLog, e.Index, e.content.Cluster, before.Cluster)
	}
	tx.SetMeta(func(m *store.Meta) {
		m.Cluster = e.content.Cluster
		m.Applied, m.Term = e.Index, e.Term
	})
	outcomes := make([]attendance.Outcome, len(e.content.Commands))
	for i, c := range e.content.Commands {
		tick(tx, e.content.ProposedAt)
		a := act{Tx: tx, Command: c, entry: e.Index, proposedAt: e.content.ProposedAt}
		out, err := a.apply()
		if err != nil {
			return nil, fmt.Errorf("entry %d, command %d (%s): %w", e.Index, i, c.Body.Op(), err)
		}
		outcomes[i] = out
	}
	if !m.opts.keepExpired {
		if err := collect(tx, max(minBudget, 2*len(outcomes))); err != nil {
			return nil, fmt.Errorf("entry %d, retention: %w", e.Index, err)
		}
	}
	if tx.Meta().Seq > before.Seq {
		if err := tx.Checkpoint(); err != nil {
			return nil, fmt.Errorf("entry %d, checkpoint: %w", e.Index, err)
		}
	}
	return outcomes, nil
}

// tick moves the clock before each command. Ages that have run out by then stay
// so, even if the clock is set back or keys are kept for longer later.
func tick(tx *store.Tx, proposedAt attendance.Millis) {
	retention := tx.Params().KeyRetention
	tx.SetMeta(func(m *store.Meta) {
		m.Clock = max(m.Clock, proposedAt)
		m.KeyFloor = max(m.KeyFloor, m.Elapsed()-retention)
	})
}

// checkOrder judges index and term of an entry against what was applied last.
// One history has one term for each index and terms only grow. At or below the
// applied index an entry is a replay, unless its term is greater; above it, the
// term may not be smaller. Anything else is not the log that this state was
// built from.
func checkOrder(m store.Meta, index, term uint64) error {
	if (index <= m.Applied && term > m.Term) || (index > m.Applied && term < m.Term) {
		return fmt.Errorf("%w: entry %d has term %d, and this state was built up to entry %d of term %d",
			ErrForeignLog, index, term, m.Applied, m.Term)
	}
	return nil
}

// collect deletes what has expired, up to a budget of rows.
func collect(tx *store.Tx, budget int) error {
	n, err := tx.ExpireKeys(budget)
	if err != nil {
		return err
	}
	_, err = tx.DropEvents(budget - n)
	return err
}

func skipped(n int) []attendance.Outcome {
	out := make([]attendance.Outcome, n)
	for i := range out {
		out[i].Status = attendance.SkippedStatus
	}
	return out
}

// act is one command being decided.
type act struct {
	*store.Tx
	attendance.Command
	entry      uint64
	proposedAt attendance.Millis
}

// apply decides one command. A refusal is an outcome; an error is the
// database's and ends the process.
//
// Every command that is not quiet leaves exactly one event, refused or not,
// unless its key already answers.
func (a *act) apply() (attendance.Outcome, error) {
	if a.Key != "" && !a.Body.Op().Quiet() {
		row, known, err := a.Tx.Key(a.Principal, a.Key)
		if err != nil {
			return attendance.Outcome{}, err
		}
		if known {
			return a.replay(row)
		}
	}
	switch body := a.Body.(type) {
	case attendance.CheckIn:
		return a.checkIn(body)
	case attendance.Resolve:
		return a.resolve(body)
	case attendance.PutUser:
		return a.putUser(body)
	case attendance.DeactivateUser:
		return a.deactivateUser(body)
	case attendance.SetPassword:
		return a.setPassword(body)
	case attendance.BumpSessionEpoch:
		return a.bumpSessionEpoch(body)
	case attendance.PutGroup:
		return a.putGroup(body)
	case attendance.DeleteGroup:
		return a.deleteGroup(body)
	case attendance.PutToken:
		return a.putToken(body)
	case attendance.RevokeToken:
		return a.revokeToken(body)
	case attendance.RotateSecret:
		return a.rotateSecret(body)
	case attendance.SetParams:
		return a.setParams(body)
	case attendance.SetClock:
		return a.setClock(body)
	case attendance.Audit:
		return a.decide(attendance.ActAudited, attendance.AuditNote(body))
	case attendance.SetLevel:
		return a.setLevel(body)
	case attendance.ExportMark:
		return a.exportMark(body)
	case attendance.Prune:
		return a.prune(body)
	case attendance.Verify:
		return a.verify(body)
	}
	// Decoding let it through, so the two disagree: guessing would diverge.
	return attendance.Outcome{}, fmt.Errorf("%w: %s has no handler", attendance.ErrUnknownOp, a.Body.Op())
}

// replay answers from the first decision under the key. The same key with
// another body is refused, recorded, and changes nothing.
func (a *act) replay(row store.KeyRow) (attendance.Outcome, error) {
	if row.Hash == a.BodyHash() {
		out, err := a.Outcome(row.Seq)
		out.Replayed = true
		return out, err
	}
	if body, ok := a.Body.(attendance.CheckIn); ok {
		tap := a.tap(body)
		tap.Reason = attendance.KeyReused
		return a.record(attendance.TapRejected, tap)
	}
	return a.record(attendance.ActRefused, attendance.Refusal{Op: a.Body.Op(), Reason: attendance.KeyReused})
}

// decide records a decision under the command's key.
func (a *act) decide(typ attendance.EventType, detail attendance.Detail) (attendance.Outcome, error) {
	out, err := a.record(typ, detail)
	if err != nil || a.Key == "" {
		return out, err
	}
	row := store.KeyRow{Hash: a.BodyHash(), Elapsed: a.Meta().Elapsed(), Seq: out.Seq}
	return out, a.PutKey(a.Principal, a.Key, row)
}

// refuse records that a command other than a check-in was refused.
func (a *act) refuse(why attendance.Reason, subject uint64) (attendance.Outcome, error) {
	return a.decide(attendance.ActRefused, attendance.Refusal{Op: a.Body.Op(), Reason: why, Subject: subject})
}

// record appends the event and gives the answer that it stands for.
func (a *act) record(typ attendance.EventType, detail attendance.Detail) (attendance.Outcome, error) {
	m := a.Meta()
	e, err := a.Append(attendance.Event{
		Index: a.entry, At: m.Clock, SetBack: m.SetBack, Type: typ, Principal: a.Principal, Key: a.Key, Node: a.Node,
		Detail: detail,
	})
	if err != nil {
		return attendance.Outcome{}, err
	}
	if tap, ok := detail.(attendance.Tap); ok {
		if err := a.indexTap(e, tap); err != nil {
			return attendance.Outcome{}, err
		}
	}
	return a.OutcomeOf(e)
}

// Errors that stop the process.
var (
	// ErrForeignLog: the log and the state do not belong together.
	ErrForeignLog = errors.New("log and state do not belong together")
	// ErrDiverged: this node's history is not the leader's.
	ErrDiverged = errors.New("this node has diverged from the cluster")
)
