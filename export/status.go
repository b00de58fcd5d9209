package export

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// State is what a node does about a target.
type State string

// The states.
const (
	Running State = "running" // this node exports to it
	Standby State = "standby" // another node does
	Down    State = "down"    // cannot be reached
	Stopped State = "stopped" // answers, but cannot be written to
	Unknown State = "unknown" // not configured on this node, but events are held back for it
)

// Status is how a target does, as one node sees it.
type Status struct {
	Target    string
	Kind      Kind
	State     State
	Connected bool
	Watermark uint64 // every event up to it is in the target
	Known     bool   // the watermark has been read since this node started
	LagEvents uint64
	Lag       time.Duration // age of the oldest event that is not in the target
	LastError *Failure      // why it is down or stopped; nil when it is not

	Parked       uint64 // events that the database refused
	ParkedEvents []ParkedEvent
	Mark         uint64 // what the cluster knows of the watermark

	Exported uint64 // events that this node has written
	Batches  uint64
}

// Failure is why a target is not exported to.
type Failure struct {
	At     time.Time // since when
	Reason Reason
	Detail string // of the database
}

// ParkedEvent is an event that the database refused.
type ParkedEvent struct {
	Seq      uint64
	Type     string
	Reason   string
	Attempts uint64
	Retry    bool // is to be tried again
}

// maxListed is how many parked events a status shows.
const maxListed = 50

var local = cluster.Read{}

func (r *runner) status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}

// saw notes a watermark that was read.
func (r *runner) saw(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view.Watermark, r.view.Known = seq, true
}

// wrote notes a batch.
func (r *runner) wrote(seq uint64, res result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view.Watermark = seq
	r.view.Exported += uint64(res.events)
	// With the watermark, so that nobody sees one without the other; look gives
	// the list.
	r.view.Parked += uint64(res.parked)
	r.view.Parked -= min(r.view.Parked, uint64(res.retried))
	r.view.Batches++
}

// fell notes that a target is down or stopped, and whether that is new.
func (r *runner) fell(state State, reason Reason, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.view.LastError
	news := r.view.State != state || old == nil || old.Reason != reason
	f := &Failure{At: r.cfg.Clock.Now(), Reason: reason, Detail: err.Error()}
	if !news {
		f.At = old.At
	}
	r.view.State, r.view.Connected, r.view.LastError = state, state == Stopped && reason != Privileges, f
	return news
}

// rose notes that a target can be written to; was is its state if it could not.
func (r *runner) rose() (was State, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.view.State == Down || r.view.State == Stopped {
		was, since = r.view.State, r.view.LastError.At
	}
	r.view.State, r.view.Connected, r.view.LastError = Running, true, nil
	return was, since
}

// stands notes that another node writes, or that this one is not ready to.
func (r *runner) stands() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view.State, r.view.Connected, r.view.LastError = Standby, true, nil
}

// look reads what is parked, and what of it is to be tried again.
func (r *runner) look(ctx context.Context) error {
	r.lookedAt = r.cfg.Clock.Now()
	n, err := countParked(ctx, r.db)
	if err != nil {
		return err
	}
	var list []ParkedEvent
	r.retry = nil
	if n > 0 {
		if list, err = listParked(ctx, r.db); err != nil {
			return err
		}
		if r.retry, err = asked(ctx, r.db); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view.Parked, r.view.ParkedEvents = uint64(n), list
	return nil
}

func listParked(ctx context.Context, q querier) (list []ParkedEvent, err error) {
	rows, err := q.QueryContext(ctx, `SELECT seq, event_type, reason, attempts, retry FROM export_failures ORDER BY seq LIMIT ?`, maxListed)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p ParkedEvent
		if err := rows.Scan(&p.Seq, &p.Type, &p.Reason, &p.Attempts, &p.Retry); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

func asked(ctx context.Context, q querier) (seqs []uint64, err error) {
	rows, err := q.QueryContext(ctx, `SELECT seq FROM export_failures WHERE retry = 1 ORDER BY seq LIMIT ?`, maxRetries)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var seq uint64
		if err := rows.Scan(&seq); err != nil {
			return nil, err
		}
		seqs = append(seqs, seq)
	}
	return seqs, rows.Err()
}

// askRetry marks parked events, all where none is named, and counts them.
func (r *runner) askRetry(ctx context.Context, seqs []uint64) (n int, err error) {
	err = r.aside(false, func(db *sql.DB) error {
		if len(seqs) == 0 {
			res, err := db.ExecContext(ctx, `UPDATE export_failures SET retry = 1`)
			if err != nil {
				return err
			}
			found, err := res.RowsAffected()
			n = int(found)
			return err
		}
		for _, seq := range seqs {
			res, err := db.ExecContext(ctx, `UPDATE export_failures SET retry = 1 WHERE seq = ?`, int64(seq))
			if err != nil {
				return err
			}
			found, err := res.RowsAffected()
			if err != nil {
				return err
			}
			n += int(found)
		}
		return nil
	})
	return n, err
}

// explain tells a caller apart from whom an error is: the target's are ErrTarget.
func (r *runner) explain(err error) error {
	for _, own := range []error{ErrNothingToDo, ErrNeedsEmpty, ErrUnknownTarget, ErrConfigured} {
		if errors.Is(err, own) {
			return err
		}
	}
	_, reason := r.judged(err)
	return fmt.Errorf("%w: %s: %w", ErrTarget, advice[reason], err)
}

// measure adds what only the state knows: lags and marks, and targets that are not
// configured here but hold events back.
func (e *Exporter) measure(ctx context.Context, list []Status) ([]Status, error) {
	now := attendance.MillisOf(e.cfg.Clock.Now())
	_, err := e.cfg.Cluster.Read(ctx, local, func(tx *store.ReadTx) error {
		m := tx.Meta()
		marks := tx.Marks()
		for i := range list {
			s := &list[i]
			s.Mark = marks[s.Target]
			delete(marks, s.Target)
			if !s.Known {
				s.Watermark = s.Mark
			}
			if s.Watermark >= m.Seq {
				continue
			}
			s.LagEvents = m.Seq - s.Watermark
			next, err := tx.Event(max(s.Watermark+1, m.FirstSeq))
			if err != nil {
				return err
			}
			s.Lag = max(0, now-next.At).Duration()
		}
		for _, name := range slices.Sorted(maps.Keys(marks)) {
			if !strings.Contains(name, "://") {
				continue // no SQL target, but a webhook
			}
			list = append(list, Status{
				Target: name, Kind: MySQL, State: Unknown, Watermark: marks[name], Mark: marks[name], LagEvents: m.Seq - min(m.Seq, marks[name]),
			})
		}
		return nil
	})
	return list, err
}
