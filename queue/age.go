package queue

import (
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// receipt notes when a request came in on every clock that may be left later.
func (q *Queue) receipt(received time.Time) store.Receipt {
	age := max(0, q.cfg.Clock.Now().Sub(received))
	id, since := q.cfg.Clock.Boot()
	return store.Receipt{
		Wall: min(max(0, attendance.MillisOf(received)), attendance.MaxMillis),
		Boot: attendance.Millis((since - age).Milliseconds()), BootID: id, Origin: q.cfg.Origin,
	}
}

// request makes the request for the decision of an entry, as old as it is now. As
// long as the machine runs its boot clock tells, whatever the wall clock does;
// after that only the wall clock of then is left.
func (q *Queue) request(e store.OutboxEntry) cluster.Request {
	now := q.cfg.Clock.Now()
	body, _ := e.Command.Body.(attendance.CheckIn) // the store gives nothing else
	body.Age, body.Recorded = 0, true
	id, since := q.cfg.Clock.Boot()
	received := now
	if id == e.Receipt.BootID && id != "" {
		received = now.Add(-max(0, since-e.Receipt.Boot.Duration()))
	} else {
		body.WallClock, body.ReceivedAt = true, e.Receipt.Wall
	}
	command := e.Command
	command.Body = body
	return cluster.Request{Command: command, ReceivedAt: received}
}
