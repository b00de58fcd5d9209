package fsm

import (
	"hadir/attendance"
)

// checkIn is the rule. The order of checks is part of the contract: key (before
// this), clock_suspect, too_old, user, both neighbours.
func (a *act) checkIn(b attendance.CheckIn) (attendance.Outcome, error) {
	tap := a.tap(b)
	m, params := a.Meta(), a.Params()
	_, why := params.Place(tap.Claim, m.Clock, a.floor())
	if why != attendance.NoReason {
		tap.Reason = why
		return a.decide(attendance.TapReview, tap)
	}
	why, err := a.person(b.UserID)
	if err != nil {
		return attendance.Outcome{}, err
	}
	if why != attendance.NoReason {
		tap.Reason = why
		if b.Recorded {
			// The person was told that the tap is safe: it may not just vanish.
			return a.decide(attendance.TapReview, tap)
		}
		return a.decide(attendance.TapRejected, tap)
	}
	winner := params.Conflict(a.neighbours(tap))
	if winner == nil {
		return a.decide(attendance.TapAccepted, tap)
	}
	if err := a.loseTo(&tap, *winner); err != nil {
		return attendance.Outcome{}, err
	}
	return a.decide(attendance.TapDuplicate, tap)
}

// tap gives what is known about a check-in before anything is decided.
func (a *act) tap(b attendance.CheckIn) attendance.Tap {
	m, params := a.Meta(), a.Params()
	claim := b.Claim(a.proposedAt)
	at, _ := params.Place(claim, m.Clock, a.floor())
	day, minute := params.Zone.Day(at)
	return attendance.Tap{
		UserID: b.UserID, Kind: b.Kind, At: at, Day: day, Minute: uint16(minute), Claim: claim, ProposedAt: a.proposedAt,
		Location: b.Location, ClientTime: b.ClientTime, Offline: b.Offline, ClaimTrust: b.ClaimTrusted,
		Recorded: b.Recorded, WallClock: b.WallClock,
	}
}

// floor gives the time below which a tap is too old whatever D says: where
// neighbours may be gone, and where keys are void, because a copy of a tap that
// was decided then would not be recognised. D stays above both, unless it has
// been raised lately.
func (a *act) floor() attendance.Millis {
	m := a.Meta()
	return max(m.Floor, m.KeyFloor-m.SetBack+1-a.Params().Window)
}

// person says what is wrong with a user who taps.
func (a *act) person(id uint64) (attendance.Reason, error) {
	u, ok, err := a.user(id)
	switch {
	case err != nil:
		return attendance.NoReason, err
	case !ok:
		return attendance.UnknownUser, nil
	case !u.Active:
		return attendance.InactiveUser, nil
	}
	return attendance.NoReason, nil
}

// neighbours gives the arguments of Params.Conflict.
func (a *act) neighbours(tap attendance.Tap) (t attendance.Millis, prev, next *attendance.Accepted) {
	prev, next = a.Neighbours(tap.UserID, tap.Kind, tap.At, a.Params().Window)
	return tap.At, prev, next
}

// loseTo fills in the record that won. A tap that arrives late with an earlier
// decision time lowers the winner's first_seen_at: the record stays as it is,
// but the person was there by then.
func (a *act) loseTo(tap *attendance.Tap, winner attendance.Accepted) error {
	record, err := a.Record(winner.Seq)
	if err != nil {
		return err
	}
	tap.Winner, tap.Delta = winner.Seq, tap.At-winner.At
	return a.seen(tap, record, tap.At)
}

// seen lowers a record's first_seen_at to t, if that is earlier, and tells the
// event how it stands now.
func (a *act) seen(tap *attendance.Tap, record attendance.Record, t attendance.Millis) error {
	tap.FirstSeenAt, tap.UpdatedAt = record.FirstSeenAt, record.UpdatedAt
	if t >= record.FirstSeenAt {
		return nil
	}
	tap.FirstSeenAt, tap.UpdatedAt = t, a.Meta().Clock
	return a.LowerFirstSeen(record.ID, tap.FirstSeenAt, tap.UpdatedAt)
}

// indexTap writes the rows that follow from an event about a tap.
func (a *act) indexTap(e attendance.Event, tap attendance.Tap) error {
	a.CountTap(tap.Day, e.Type)
	if e.Type.MakesRecord() {
		if err := a.PutRecord(e); err != nil {
			return err
		}
	}
	if waits(e.Type, tap) {
		if err := a.OpenReview(e.Seq); err != nil {
			return err
		}
	}
	// Later events about a record: who lost to it, and what a person decided.
	for _, record := range []uint64{tap.Winner, tap.ReviewOf} {
		if record == 0 {
			continue
		}
		if err := a.AddTrail(record, e.Seq); err != nil {
			return err
		}
	}
	return nil
}

// waits reports whether a person has to look: at a tap without a record, and at
// what an offline phone claims, where that is earlier than what the record says.
func waits(typ attendance.EventType, tap attendance.Tap) bool {
	switch typ {
	case attendance.TapReview:
		return true
	case attendance.TapAccepted, attendance.ReviewAccepted:
		return tap.Offline
	case attendance.TapDuplicate, attendance.ReviewDuplicate:
		return tap.Offline && tap.ClientTime < tap.FirstSeenAt
	}
	return false
}

// resolve is a person's decision about a review, or about the claimed time of
// an offline tap. Accepting runs the same neighbour check as a live tap: a
// person may vouch for somebody, not break the rule.
func (a *act) resolve(b attendance.Resolve) (attendance.Outcome, error) {
	if b.Seq < a.Meta().FirstSeq || !a.IsOpen(b.Seq) {
		return a.refuse(attendance.UnknownReview, b.Seq)
	}
	e, err := a.Event(b.Seq)
	if err != nil {
		return attendance.Outcome{}, err
	}
	old, ok := e.Detail.(attendance.Tap)
	if !ok {
		return a.refuse(attendance.UnknownReview, b.Seq)
	}
	tap := old
	tap.ReviewOf, tap.ReceivedBy, tap.Note, tap.Reason = b.Seq, e.ReceivedBy(), b.Note, attendance.NoReason
	switch {
	case e.Type.MakesRecord():
		return a.resolveClaim(b, tap, b.Seq)
	case old.Winner != 0:
		return a.resolveClaim(b, tap, old.Winner)
	}
	if !b.Accept {
		return a.close(attendance.ReviewRejected, tap)
	}
	// An unknown user cannot have a record; somebody who is inactive now may
	// well have been there then.
	if _, known, err := a.user(tap.UserID); err != nil {
		return attendance.Outcome{}, err
	} else if !known {
		return a.refuse(attendance.UnknownUser, b.Seq)
	}
	if !a.Params().Reachable(tap.At, a.Meta().Floor) {
		// Neighbours may have been trimmed: nobody can tell any more.
		return a.refuse(attendance.TooOld, b.Seq)
	}
	winner := a.Params().Conflict(a.neighbours(tap))
	if winner == nil {
		return a.close(attendance.ReviewAccepted, tap)
	}
	if err := a.loseTo(&tap, *winner); err != nil {
		return attendance.Outcome{}, err
	}
	return a.close(attendance.ReviewDuplicate, tap)
}

// resolveClaim decides whether the time that an offline phone claimed counts as
// first seen.
func (a *act) resolveClaim(b attendance.Resolve, tap attendance.Tap, id uint64) (attendance.Outcome, error) {
	record, err := a.Record(id)
	if err != nil {
		return attendance.Outcome{}, err
	}
	tap.Winner, tap.Delta = id, tap.At-record.At
	if !b.Accept {
		tap.FirstSeenAt, tap.UpdatedAt = record.FirstSeenAt, record.UpdatedAt
		return a.close(attendance.ClaimRejected, tap)
	}
	if err := a.seen(&tap, record, tap.ClientTime); err != nil {
		return attendance.Outcome{}, err
	}
	return a.close(attendance.ClaimAccepted, tap)
}

// close records a person's decision and takes the review off the list.
func (a *act) close(typ attendance.EventType, tap attendance.Tap) (attendance.Outcome, error) {
	out, err := a.decide(typ, tap)
	if err != nil {
		return out, err
	}
	return out, a.CloseReview(tap.ReviewOf, out.Seq)
}
