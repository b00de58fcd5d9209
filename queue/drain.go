package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Bounds of the drain.
const (
	mostInFlight  = 64
	window        = 512 // entries read at a time
	askAgain      = 250 * time.Millisecond
	proposeBudget = 5 * time.Second
)

// drain is the state of Run: its goroutine alone touches it.
type drain struct {
	*Queue
	ready  []store.OutboxEntry // read, in order, and not in flight
	loaded uint64              // the last place that was read
	flying map[uint64]bool     // places in flight
	busy   map[uint64]bool     // users in flight
	landed chan landing
	rest   time.Time // nothing starts before
}

// landing is the end of a flight.
type landing struct {
	n, user uint64
	again   bool // it was not decided
}

// Run drains the outbox until ctx ends, and then waits for what is in flight.
func (q *Queue) Run(ctx context.Context) {
	d := &drain{
		Queue: q, flying: make(map[uint64]bool), busy: make(map[uint64]bool), landed: make(chan landing, mostInFlight),
	}
	for ctx.Err() == nil {
		woken := q.woken()
		if d.mayStart() {
			d.fill()
			d.start(ctx)
		}
		over := make(chan struct{})
		stop := q.cfg.Clock.AfterFunc(askAgain, func() { close(over) })
		select {
		case l := <-d.landed:
			d.land(l)
		case <-woken:
		case <-over:
		case <-ctx.Done():
		}
		stop()
	}
	for len(d.flying) > 0 {
		d.land(<-d.landed)
	}
}

func (d *drain) mayStart() bool {
	return !d.cfg.Clock.Now().Before(d.rest) && !d.cfg.Node.Freshness().Stale && !errors.Is(d.cfg.Outbox.Usable(), store.ErrOutboxBroken)
}

// fill reads on where it stopped, or from the start when entries have come back.
func (d *drain) fill() {
	if d.rewind.Swap(false) {
		d.ready, d.loaded = nil, 0
	}
	if len(d.ready) > window/2 || d.loaded >= d.cfg.Outbox.Depth().Newest {
		return
	}
	entries, err := d.cfg.Outbox.Waiting(d.loaded, window)
	if err != nil {
		d.cfg.Log.Error("the outbox cannot be read", "error", err)
		d.rest = d.cfg.Clock.Now().Add(askAgain)
		return
	}
	for _, e := range entries {
		d.loaded = e.N
		if !d.flying[e.N] {
			d.ready = append(d.ready, e)
		}
	}
}

// start has entries proposed, in order: of one user one at a time, so that a later
// one never overtakes.
func (d *drain) start(ctx context.Context) {
	kept := d.ready[:0]
	for i, e := range d.ready {
		if len(d.flying) >= mostInFlight {
			kept = append(kept, d.ready[i:]...)
			break
		}
		user := e.User() // 0 of a damaged entry, which waits for no other
		if user != 0 && d.busy[user] {
			kept = append(kept, e)
			continue
		}
		d.flying[e.N] = true
		if user != 0 {
			d.busy[user] = true
		}
		go func() { d.landed <- landing{n: e.N, user: user, again: !d.settle(ctx, e)} }()
	}
	d.ready = kept
}

// land ends a flight. What was not decided is read again, at its place, after a
// pause.
func (d *drain) land(l landing) {
	delete(d.flying, l.n)
	delete(d.busy, l.user)
	if l.again {
		d.rewind.Store(true)
		d.rest = d.cfg.Clock.Now().Add(askAgain)
	}
}

// settle has one entry decided, or sets it aside, and reports whether it is out of
// the way.
func (q *Queue) settle(ctx context.Context, e store.OutboxEntry) bool {
	ctx, cancel := context.WithTimeout(ctx, proposeBudget)
	defer cancel()
	if e.Damaged != nil {
		return q.setAside(ctx, e, fmt.Sprintf("it cannot be read: %s", e.Damaged))
	}
	result, err := q.propose(ctx, e)
	switch {
	case errors.Is(err, cluster.ErrInvalid):
		return q.setAside(ctx, e, err.Error())
	case err != nil:
		q.cfg.Log.Debug("a queued check-in is not decided yet", "place", e.N, "error", err)
		return false
	}
	at := attendance.MillisOf(q.cfg.Clock.Now())
	if err := q.cfg.Outbox.Decide(store.OutboxDecision{N: e.N, Outcome: result.Outcome, At: at}); err != nil {
		// It will be proposed again, and answered with this decision.
		q.cfg.Log.Error("a decision cannot be noted in the outbox", "place", e.N, "error", err)
		return false
	}
	q.meter.decided(q.cfg.Clock.Now())
	q.waits.add(q.cfg.Clock.Now(), q.age(e.Receipt))
	e.State, e.Outcome, e.At = store.OutboxDecided, result.Outcome, at
	q.tell(e.N, result)
	if q.cfg.Mirror != nil {
		q.cfg.Mirror.Drop(e)
	}
	q.cfg.Changed(e)
	return true
}

// propose has an entry decided, as old as it is now.
func (q *Queue) propose(ctx context.Context, e store.OutboxEntry) (cluster.Result, error) {
	return q.cfg.Node.Propose(ctx, q.request(e))
}

// setAside takes an entry that can never be decided out of the queue. The audit
// trail comes first, under a key that makes it once: an entry must not vanish from
// the queue without it.
func (q *Queue) setAside(ctx context.Context, e store.OutboxEntry, reason string) bool {
	note := attendance.Command{
		Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: q.cfg.Node.Name(),
		Key: fmt.Sprintf("poison-%s-%d", q.cfg.Origin, e.N),
		Body: attendance.Audit{
			Action: "queue.poison", Subject: fmt.Sprintf("%s outbox %d", q.cfg.Node.Name(), e.N), Note: plain(reason, attendance.MaxNote),
		},
	}
	if _, err := q.cfg.Node.Propose(ctx, cluster.Request{Command: note, ReceivedAt: q.cfg.Clock.Now()}); err != nil {
		q.cfg.Log.Warn("a queued check-in cannot be decided, and the audit trail cannot be told yet", "place", e.N, "reason", reason, "error", err)
		return false
	}
	if err := q.cfg.Outbox.Fail(e.N, reason, attendance.MillisOf(q.cfg.Clock.Now())); err != nil {
		q.cfg.Log.Error("a queued check-in cannot be set aside", "place", e.N, "error", err)
		return false
	}
	q.cfg.Log.Warn("a queued check-in cannot be decided and was set aside", "place", e.N, "reason", reason)
	e.State, e.Reason = store.OutboxFailed, reason
	q.cfg.Changed(e)
	return true
}

// plain makes a note of a text: printable ASCII, shortened.
func plain(s string, most int) string {
	b := []byte(s[:min(len(s), most)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
