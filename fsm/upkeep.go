package fsm

import (
	"fmt"

	"hadir/attendance"
	"hadir/store"
)

func (a *act) rotateSecret(b attendance.RotateSecret) (attendance.Outcome, error) {
	old, ok, err := found(a.Secret(b.Name))
	if err != nil {
		return attendance.Outcome{}, err
	}
	if !ok && a.Secrets() >= attendance.MaxSecrets {
		return a.refuse(attendance.TooMany, 0)
	}
	s := attendance.Secret{Name: b.Name, ID: old.ID + 1, Value: b.Value, Previous: old.Value, At: a.Meta().Clock}
	if b.DropPrevious {
		s.Previous = nil
	}
	if err := a.PutSecret(s); err != nil {
		return attendance.Outcome{}, err
	}
	return a.decide(attendance.SecretRotated, attendance.SecretChange{Name: s.Name, ID: s.ID, Dropped: b.DropPrevious})
}

func (a *act) setParams(b attendance.SetParams) (attendance.Outcome, error) {
	if err := a.PutParams(b.Params); err != nil {
		return attendance.Outcome{}, err
	}
	return a.decide(attendance.ParamsSet, attendance.ParamsChange(b))
}

// setClock repairs a clock that a wrong leader drove into the future. The way
// that it is set back is added up, so that retention goes on along an axis that
// never falls.
func (a *act) setClock(b attendance.SetClock) (attendance.Outcome, error) {
	from := a.Meta().Clock
	if b.Clock >= from {
		return a.refuse(attendance.ClockNotBehind, 0)
	}
	a.SetMeta(func(m *store.Meta) {
		m.SetBack += from - b.Clock
		m.Clock = b.Clock
	})
	return a.decide(attendance.ClockSet, attendance.ClockChange{From: from, To: b.Clock})
}

// quiet answers an operation that leaves no event.
func (a *act) quiet(why attendance.Reason) (attendance.Outcome, error) {
	out := attendance.Outcome{Status: attendance.DoneStatus, Reason: why, DecideAt: a.Meta().Clock}
	if why != attendance.NoReason {
		out.Status = attendance.RejectedStatus
	}
	return out, nil
}

// setLevel raises the level that may be proposed. A level that this binary does
// not know stops it here, at the entry that says so, and not later in the middle
// of an operation that it cannot read.
func (a *act) setLevel(b attendance.SetLevel) (attendance.Outcome, error) {
	if b.Level > attendance.Level {
		return attendance.Outcome{}, fmt.Errorf("%w %d: the cluster has moved on, this binary knows levels up to %d",
			attendance.ErrUnknownLevel, b.Level, attendance.Level)
	}
	if b.Level < a.Meta().Level {
		return a.quiet(attendance.LevelFalls)
	}
	a.SetMeta(func(m *store.Meta) { m.Level = b.Level })
	return a.quiet(attendance.NoReason)
}

func (a *act) exportMark(b attendance.ExportMark) (attendance.Outcome, error) {
	marks := a.Marks()
	old, known := marks[b.Target]
	switch {
	case b.Retired:
		if err := a.DeleteMark(b.Target); err != nil {
			return attendance.Outcome{}, err
		}
		return a.quiet(attendance.NoReason)
	case b.Seq > a.Meta().Seq:
		return a.quiet(attendance.UnknownSeq)
	case !known && len(marks) >= attendance.MaxTargets:
		return a.quiet(attendance.TooMany)
	}
	// A mark may fall: a target restored to the past needs its events again.
	if known && old == b.Seq {
		return a.quiet(attendance.NoReason)
	}
	if err := a.PutMark(b.Target, b.Seq); err != nil {
		return attendance.Outcome{}, err
	}
	return a.quiet(attendance.NoReason)
}

// prune raises the floor at once and lets events go up to a seq; they are
// deleted little by little. It never reaches what the rule, a key that still
// answers or an export target may need.
func (a *act) prune(b attendance.Prune) (attendance.Outcome, error) {
	m, params := a.Meta(), a.Params()
	if why := params.CheckPrune(b.Floor, m.Clock, m.Floor, b.ThroughSeq); why != attendance.NoReason {
		return a.quiet(why)
	}
	if b.ThroughSeq > m.Seq {
		return a.quiet(attendance.UnknownSeq)
	}
	if b.ThroughSeq > 0 {
		for _, seq := range a.Marks() {
			if b.ThroughSeq+params.ExportMargin > seq {
				return a.quiet(attendance.NotExported)
			}
		}
	}
	a.SetMeta(func(m *store.Meta) {
		m.Floor = b.Floor
		m.PruneThrough = max(m.PruneThrough, b.ThroughSeq)
	})
	return a.quiet(attendance.NoReason)
}

// verify compares this node's history with the proposer's. The proposer had
// reached the seq, at the end of an entry, before it proposed; so a node that has
// not reached it, or has no entry that ends there, has another history too.
func (a *act) verify(b attendance.Verify) (attendance.Outcome, error) {
	own, kept := a.ChainAt(b.Seq)
	if !kept {
		if b.Seq <= a.Meta().Seq && !a.Recent(b.Seq) {
			return a.quiet(attendance.UnknownSeq) // of the distant past nothing is kept
		}
		return attendance.Outcome{}, fmt.Errorf("%w: the leader has an entry that ends with event %d, this node (at event %d) "+
			"has none: keep the data directory for analysis and start it as a new node with another one",
			ErrDiverged, b.Seq, a.Meta().Seq)
	}
	if own != b.Hash {
		return attendance.Outcome{}, fmt.Errorf("%w: after event %d the chain hash is %s here and %s at the leader: "+
			"keep the data directory for analysis and start it as a new node with another one", ErrDiverged, b.Seq, own, b.Hash)
	}
	return a.quiet(attendance.NoReason)
}
