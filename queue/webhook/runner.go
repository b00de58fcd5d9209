package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// runner delivers to one hook. Its fields without a mutex are its goroutine's.
type runner struct {
	cfg    *Config
	sender *sender
	target string // name of the mark

	leads    bool
	term     uint64 // in which it leads
	epoch    string // of the history in which pos is
	pos      uint64 // everything up to it is settled
	marked   uint64
	markedAt time.Time
	refused  int // times that the next event was
	pause    time.Duration

	mu   sync.Mutex
	view Status
}

func (r *runner) status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}

func (r *runner) show(f func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.view)
}

// run turns until ctx ends.
func (r *runner) run(ctx context.Context) {
	for ctx.Err() == nil {
		if d := r.turn(ctx); d > 0 {
			r.wait(ctx, d/time.Duration(r.cfg.Pace))
		}
	}
}

func (r *runner) wait(ctx context.Context, d time.Duration) {
	over := make(chan struct{})
	defer r.cfg.Clock.AfterFunc(d, func() { close(over) })()
	select {
	case <-over:
	case <-ctx.Done():
	}
}

// turn does one piece of work and says how long to wait for the next one.
func (r *runner) turn(ctx context.Context) time.Duration {
	if !r.leading() {
		term, ok := r.cfg.Cluster.IsLeader()
		if !ok {
			r.pause = 0
			r.show(func(s *Status) { *s = Status{State: Standby} })
			return idle
		}
		if err := r.begin(ctx, term); err != nil {
			return r.failed(fmt.Errorf("where to begin: %w", err))
		}
	}
	events, last, err := r.next(ctx)
	if err != nil {
		return r.failed(err)
	}
	if !r.leads {
		return leastPause
	}
	for _, e := range events {
		if !r.leading() || ctx.Err() != nil {
			return idle
		}
		if err := r.deliver(ctx, e); err != nil {
			return r.failed(err)
		}
		r.settled(e.Seq)
		if r.mark(ctx); !r.leads {
			return leastPause
		}
	}
	if last > r.pos {
		r.settled(last)
	}
	r.mark(ctx)
	if len(events) > 0 {
		return 0
	}
	return idle
}

// leading reports whether the node still leads in the term in which the hook began:
// between two terms another node may have gone on, or the history may have changed.
func (r *runner) leading() bool {
	term, ok := r.cfg.Cluster.IsLeader()
	r.leads = r.leads && ok && term == r.term
	return r.leads
}

// begin finds out from where to go on. A hook that nobody knows begins with the next
// event, and is known from then on.
func (r *runner) begin(ctx context.Context, term uint64) error {
	known := false
	var at uint64
	_, err := r.cfg.Cluster.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) error {
		r.epoch = epochOf(tx)
		if at, known = tx.Marks()[r.target]; !known {
			at = tx.Meta().Seq
		}
		return nil
	})
	if err == nil && !known {
		err = r.propose(ctx, "", attendance.ExportMark{Target: r.target, Seq: at})
	}
	if err != nil {
		return err
	}
	r.leads, r.term, r.pos, r.marked, r.refused, r.pause, r.markedAt = true, term, at, at, 0, 0, r.cfg.Clock.Now()
	r.show(func(s *Status) { *s = Status{State: Delivering, Seq: at} })
	return nil
}

// next gives the next events that the hook wants, and the last one that was looked at.
// In another history than that of pos there are none, and the hook begins again.
func (r *runner) next(ctx context.Context) (events []attendance.Event, last uint64, err error) {
	_, err = r.cfg.Cluster.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) error {
		if !r.same(tx) {
			return nil
		}
		var wrong error
		tx.Events(r.pos, pageEvents, func(seq uint64, raw []byte) bool {
			e, err := attendance.DecodeEvent(raw)
			if err != nil {
				wrong = fmt.Errorf("%w: event %d: %w", store.ErrCorrupt, seq, err)
				return false
			}
			if last = seq; r.sender.hook.wants(e) {
				events = append(events, e)
			}
			return true
		})
		return wrong
	})
	return events, last, err
}

// same reports whether the history is still the one in which pos is: a restore puts it
// back, and the mark with it.
func (r *runner) same(tx *store.ReadTx) bool {
	r.leads = r.leads && epochOf(tx) == r.epoch
	return r.leads
}

// deliver has an event taken: by the endpoint, or by those who try it again later.
func (r *runner) deliver(ctx context.Context, e attendance.Event) error {
	err := r.sender.send(ctx, r.epoch, e, r.cfg.Clock.Now())
	if err == nil {
		r.show(func(s *Status) { s.Reason, s.FailedAt = "", time.Time{} })
	}
	if !errors.Is(err, errRefused) {
		return err
	}
	if r.refused++; r.refused < refusals {
		return err
	}
	name := r.sender.hook.Name
	// Under a key, so that it is told once, however often it is handed over. The words are
	// always the same, whatever the endpoint answers, or the key would be refused.
	note := attendance.Audit{Action: auditPrefix + "refused", Subject: fmt.Sprintf("%s %d", name, e.Seq), Note: "the endpoint refuses it"}
	var not *rejected
	if err := r.propose(ctx, fmt.Sprintf("webhook-%s-%d", name, e.Seq), note); errors.As(err, &not) && not.reason == attendance.KeyReused {
		r.cfg.Log.Debug("the audit trail was told in other words", "hook", name, "seq", e.Seq)
	} else if err != nil {
		return err
	}
	if err := r.cfg.HandOver(ctx, name, r.epoch, e.Seq); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	r.cfg.Log.Warn("a webhook refuses an event; it is tried again later", "hook", name, "seq", e.Seq, "error", err)
	r.show(func(s *Status) { s.Reason, s.FailedAt = err.Error(), r.cfg.Clock.Now() })
	return nil
}

// settled notes that everything up to an event was delivered or need not be.
func (r *runner) settled(seq uint64) {
	if r.pause > 0 {
		r.cfg.Log.Info("a webhook takes events again", "hook", r.sender.hook.Name, "seq", seq)
	}
	r.pos, r.refused, r.pause = seq, 0, 0
	r.show(func(s *Status) { s.State, s.Seq = Delivering, seq })
}

// failed says how long to wait after a failure.
func (r *runner) failed(err error) time.Duration {
	if r.pause == 0 {
		r.cfg.Log.Warn("a webhook takes no events", "hook", r.sender.hook.Name, "error", err)
	}
	r.pause = min(max(leastPause, 2*r.pause), mostPause)
	r.show(func(s *Status) { s.State, s.Reason, s.FailedAt = Pausing, err.Error(), r.cfg.Clock.Now() })
	return r.pause
}

// mark tells the cluster how far the hook has come, now and then. A place in another
// history is never told: the events that are new there would be skipped.
func (r *runner) mark(ctx context.Context) {
	now := r.cfg.Clock.Now()
	if r.pos == r.marked || now.Sub(r.markedAt) < markEvery/time.Duration(r.cfg.Pace) {
		return
	}
	r.markedAt = now // whatever becomes of it
	_, err := r.cfg.Cluster.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) error {
		r.same(tx)
		return nil
	})
	if err == nil {
		if !r.leading() {
			return
		}
		err = r.propose(ctx, "", attendance.ExportMark{Target: r.target, Seq: r.pos})
	}
	if err != nil {
		r.cfg.Log.Debug("the mark of a webhook was not set", "hook", r.sender.hook.Name, "error", err)
		return
	}
	r.marked = r.pos
}

// rejected is an error: the cluster has decided, and refused.
type rejected struct{ reason attendance.Reason }

func (r *rejected) Error() string { return "refused: " + r.reason.String() }

func (r *runner) propose(ctx context.Context, key string, body attendance.Body) error {
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	result, err := r.cfg.Cluster.Propose(ctx, cluster.Request{
		Command: attendance.Command{
			Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Key: key, Node: r.cfg.Cluster.Name(), Body: body,
		},
		ReceivedAt: r.cfg.Clock.Now(),
	})
	if err == nil && result.Outcome.Status == attendance.RejectedStatus {
		return &rejected{result.Outcome.Reason}
	}
	return err
}
