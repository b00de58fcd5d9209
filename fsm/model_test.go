package fsm

import (
	"reflect"

	"hadir/attendance"
)

// model is the reference: reliability.md §2.2 and §2.3 with the amendments of
// DESIGN.md §4, in maps and slices. It shares the data types with the state
// machine and no code. It was written before its author had read the machine.
//
// It never trims and never expires anything: a key is dead by arithmetic, and
// every accepted time stays for ever. If the machine's trimming changes an
// answer, the two differ.
type model struct {
	clock, setBack, keyFloor, floor attendance.Millis
	seq, applied                    uint64
	params                          attendance.Params
	users                           []bool // by id − 1: active
	records                         []*attendance.Record
	keys                            map[modelKey]modelRow
	open                            map[uint64]modelReview // by seq of the event
	marks                           map[string]uint64
}

type modelKey struct {
	principal attendance.Principal
	key       string
}

type modelRow struct {
	body    attendance.Body
	decided attendance.Millis // clock + setBack at the decision
	outcome attendance.Outcome
}

// modelReview waits for a person: a tap without a record, or a record whose
// offline claim nobody has judged.
type modelReview struct {
	tap    attendance.CheckIn
	at     attendance.Millis
	record *attendance.Record
}

func newModel() *model {
	return &model{params: attendance.DefaultParams(), keys: map[modelKey]modelRow{}, open: map[uint64]modelReview{}, marks: map[string]uint64{}}
}

// protected gives what an idempotency key protects: what the client asked for,
// without what the door adds (age, trust, a salted hash), which differs in a
// retry.
func protected(b attendance.Body) attendance.Body {
	switch b := b.(type) {
	case attendance.CheckIn:
		b.Age, b.WallClock, b.ReceivedAt, b.Recorded, b.ClaimTrusted = 0, false, 0, false, false
		return b
	case attendance.PutUser:
		b.PasswordHash = ""
		return b
	}
	return b
}

// tick brings time forward; what has died by now stays dead.
func (m *model) tick(proposed attendance.Millis) {
	m.clock = max(m.clock, proposed)
	m.keyFloor = max(m.keyFloor, m.clock+m.setBack-m.params.KeyRetention)
}

func (m *model) apply(index uint64, e attendance.Entry) []attendance.Outcome {
	out := make([]attendance.Outcome, len(e.Commands))
	for i, c := range e.Commands {
		if index <= m.applied {
			out[i].Status = attendance.SkippedStatus
			continue
		}
		m.tick(e.ProposedAt)
		out[i] = m.command(e.ProposedAt, c)
		m.tick(0)
	}
	m.applied = max(m.applied, index)
	return out
}

func (m *model) command(proposed attendance.Millis, c attendance.Command) attendance.Outcome {
	k, now := modelKey{c.Principal, c.Key}, m.clock+m.setBack
	if row, ok := m.keys[k]; ok && c.Key != "" && row.decided > m.keyFloor {
		if reflect.DeepEqual(protected(row.body), protected(c.Body)) {
			row.outcome.Replayed = true
			return row.outcome
		}
		return m.event(attendance.Outcome{Status: attendance.RejectedStatus, Reason: attendance.KeyReused, At: m.at(proposed, c.Body)})
	}
	o := m.decide(proposed, c.Body)
	if !c.Body.Op().Quiet() {
		o = m.event(o)
		if c.Key != "" {
			m.keys[k] = modelRow{c.Body, now, o}
		}
	}
	return o
}

// event numbers a decision.
func (m *model) event(o attendance.Outcome) attendance.Outcome {
	m.seq++
	o.Seq = m.seq
	if o.Record != nil { // the answer keeps what it said, whatever happens to the record later
		record := *o.Record
		o.Record = &record
	}
	return o
}

// at gives the decision time: receipt, but never the future.
func (m *model) at(proposed attendance.Millis, b attendance.Body) attendance.Millis {
	tap, ok := b.(attendance.CheckIn)
	switch {
	case !ok:
		return 0
	case tap.WallClock:
		return min(tap.ReceivedAt, m.clock)
	}
	return min(proposed-tap.Age, m.clock)
}

func refuse(why attendance.Reason) attendance.Outcome {
	return attendance.Outcome{Status: attendance.RejectedStatus, Reason: why}
}

func (m *model) decide(proposed attendance.Millis, body attendance.Body) attendance.Outcome {
	done := attendance.Outcome{Status: attendance.DoneStatus}
	switch b := body.(type) {
	case attendance.CheckIn:
		return m.checkIn(m.at(proposed, b), b)
	case attendance.Resolve:
		return m.resolve(b)
	case attendance.PutUser:
		if b.UserID > uint64(len(m.users)) {
			return refuse(attendance.UnknownUser)
		}
		if b.UserID == 0 {
			m.users = append(m.users, b.Active)
		} else {
			m.users[b.UserID-1] = b.Active
		}
	case attendance.DeactivateUser:
		if b.UserID > uint64(len(m.users)) {
			return refuse(attendance.UnknownUser)
		}
		m.users[b.UserID-1] = false
	case attendance.SetParams:
		m.params = b.Params
	case attendance.SetClock:
		if b.Clock >= m.clock {
			return refuse(attendance.ClockNotBehind)
		}
		m.setBack += m.clock - b.Clock
		m.clock = b.Clock
	case attendance.ExportMark:
		switch {
		case b.Retired: // whatever it says about a seq
			delete(m.marks, b.Target)
		case b.Seq > m.seq:
			return refuse(attendance.UnknownSeq)
		default:
			m.marks[b.Target] = b.Seq
		}
	case attendance.Prune:
		return m.prune(b)
	}
	return done
}

func (m *model) checkIn(t attendance.Millis, b attendance.CheckIn) attendance.Outcome {
	var why attendance.Reason
	status := attendance.RejectedStatus
	switch p := m.params; {
	case b.WallClock && b.ReceivedAt > m.clock+p.Skew:
		why, status = attendance.ClockSuspect, attendance.ReviewStatus
	case t < m.clock-p.Deferral || t < m.floor+p.Window || t+m.setBack <= m.keyFloor:
		why, status = attendance.TooOld, attendance.ReviewStatus
	case b.UserID > uint64(len(m.users)):
		why = attendance.UnknownUser
	case !m.users[b.UserID-1]:
		why = attendance.InactiveUser
	default:
		return m.place(m.seq+1, t, b)
	}
	if status == attendance.ReviewStatus || b.Recorded {
		status = attendance.ReviewStatus
		m.open[m.seq+1] = modelReview{tap: b, at: t}
	}
	return attendance.Outcome{Status: status, Reason: why, At: t}
}

// place looks at both neighbours.
func (m *model) place(seq uint64, t attendance.Millis, b attendance.CheckIn) attendance.Outcome {
	var prev, next *attendance.Record
	for _, r := range m.records {
		switch {
		case r.UserID != b.UserID || r.Kind != b.Kind:
		case r.At <= t && (prev == nil || r.At > prev.At):
			prev = r
		case r.At > t && (next == nil || r.At < next.At):
			next = r
		}
	}
	winner := next
	if prev != nil && t-prev.At < m.params.Window {
		winner = prev
	} else if next == nil || next.At-t >= m.params.Window {
		r := &attendance.Record{ID: seq, UserID: b.UserID, Kind: b.Kind, At: t, FirstSeenAt: t}
		m.records = append(m.records, r)
		if b.Offline { // a person may judge the claimed time
			m.open[seq] = modelReview{tap: b, at: t, record: r}
		}
		return attendance.Outcome{Status: attendance.AcceptedStatus, At: t, Record: r}
	}
	winner.FirstSeenAt = min(winner.FirstSeenAt, t)
	if b.Offline && b.ClientTime < winner.FirstSeenAt {
		m.open[seq] = modelReview{tap: b, at: t, record: winner}
	}
	return attendance.Outcome{Status: attendance.DuplicateStatus, At: t, Delta: t - winner.At, Record: winner}
}

func (m *model) resolve(b attendance.Resolve) attendance.Outcome {
	review, ok := m.open[b.Seq]
	if !ok {
		return refuse(attendance.UnknownReview)
	}
	delete(m.open, b.Seq)
	switch {
	case review.record != nil:
		if b.Accept {
			review.record.FirstSeenAt = min(review.record.FirstSeenAt, review.tap.ClientTime)
		}
		return attendance.Outcome{Status: attendance.DoneStatus, At: review.at, Delta: review.at - review.record.At, Record: review.record}
	case !b.Accept:
		return attendance.Outcome{Status: attendance.DoneStatus, At: review.at}
	case review.tap.UserID > uint64(len(m.users)): // a record needs a person; the review stays open
		m.open[b.Seq] = review
		return refuse(attendance.UnknownUser)
	case review.at < m.floor+m.params.Window: // its neighbours may be gone: nobody can promise the distance
		m.open[b.Seq] = review
		return refuse(attendance.TooOld)
	}
	return m.place(m.seq+1, review.at, review.tap)
}

func (m *model) prune(b attendance.Prune) attendance.Outcome {
	reach := m.clock - m.params.Deferral - m.params.Window
	if b.ThroughSeq > 0 {
		reach -= m.params.KeyRetention
	}
	switch {
	case b.Floor < m.floor:
		return refuse(attendance.FloorFalls)
	case b.Floor > reach:
		return refuse(attendance.TooRecent)
	case b.ThroughSeq > m.seq:
		return refuse(attendance.UnknownSeq)
	}
	for _, mark := range m.marks {
		if b.ThroughSeq > 0 && b.ThroughSeq+m.params.ExportMargin > mark {
			return refuse(attendance.NotExported)
		}
	}
	m.floor = b.Floor
	return attendance.Outcome{Status: attendance.DoneStatus}
}
