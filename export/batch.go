package export

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

const (
	// maxBatch is how many events one transaction takes.
	maxBatch = 500
	// maxRetries is how many parked events one transaction tries again.
	maxRetries = 50
	// maxParked is how many events a target may refuse before it is stopped.
	maxParked = 1_000
)

// history names the events that a target holds: those of a cluster since it was
// founded or restored last.
type history struct {
	cluster string
	epoch   uint64
}

func historyOf(m store.Meta) history { return history{cluster: m.Cluster.String(), epoch: m.Epoch} }

// position is how far a target has come, as long as nothing has gone wrong.
type position struct {
	history
	seq uint64
}

// chunk is what one batch exports.
type chunk struct {
	history
	events []attendance.Event
	last   string // hash of the last event's bytes; "" when there are none
	caught bool   // the events end with the newest one
	again  *refresh
}

func (c *chunk) to(from uint64) uint64 { return from + uint64(len(c.events)) }

func hashOf(event []byte) string {
	sum := sha256.Sum256(event)
	return hex.EncodeToString(sum[:])
}

// readChunk reads at most limit events after a seq. What is to be retried is looked
// up too, if the chunk ends with the newest event: then the state is that of the
// target after this batch. Without a limit of events it is looked up anyway.
func readChunk(ctx context.Context, from Cluster, after uint64, limit int, retry []uint64) (*chunk, error) {
	c := &chunk{}
	_, err := from.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) error {
		m := tx.Meta()
		c.history = historyOf(m)
		if after+1 < m.FirstSeq {
			return errMoved // pruned since: attach tells
		}
		var failed error
		tx.Events(after, limit, func(seq uint64, b []byte) bool {
			var e attendance.Event
			if e, failed = attendance.DecodeEvent(b); failed != nil {
				failed = fmt.Errorf("event %d: %w", seq, failed)
				return false
			}
			c.events = append(c.events, e)
			c.last = hashOf(b)
			return true
		})
		if failed != nil {
			return failed
		}
		if c.caught = c.to(after) >= m.Seq; len(retry) > 0 && (c.caught || limit == 0) {
			c.again, failed = readRefresh(tx, retry)
		}
		return failed
	})
	return c, err
}

// result says what a batch did.
type result struct {
	events  int
	parked  int
	retried int
	caught  bool
}

// writer writes to one target.
type writer struct {
	dialect dialect
	db      *sql.DB
	room    int // bytes that a statement may have
	most    int // events that may be parked
}

// batch writes a chunk after a position, in one transaction, and gives the new
// position. On errMoved nothing was written; after any other error the caller
// cannot know and has to read the watermark.
func (w *writer) batch(ctx context.Context, from position, term uint64, c *chunk) (position, result, error) {
	to := position{from.history, c.to(from.seq)}
	if c.history != from.history {
		return from, result{}, errMoved
	}
	res, err := w.try(ctx, from, to, term, c, false)
	if kind, _ := w.classify(err); err != nil && kind == refused {
		// Seldom, so the quick way knows nothing of it.
		res, err = w.try(ctx, from, to, term, c, true)
	}
	if err != nil {
		return from, result{}, err
	}
	return to, res, nil
}

func (w *writer) classify(err error) (class, Reason) {
	var s *stopped
	if errors.As(err, &s) {
		return halting, s.reason
	}
	return w.dialect.classify(err)
}

// try writes the chunk once. With sift, an event that the database refuses is
// found and parked.
func (w *writer) try(ctx context.Context, from, to position, term uint64, c *chunk, sift bool) (res result, err error) {
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return res, err
	}
	defer func() {
		if err != nil {
			// The error is the news; a transaction that cannot be rolled back is
			// none any more.
			_ = tx.Rollback()
		}
	}()
	if err = advance(ctx, tx, from, to, term, c); err != nil {
		return res, err
	}
	if sift {
		var before int
		if before, err = countParked(ctx, tx); err == nil {
			res.parked, err = w.sift(ctx, tx, c.events, w.most-before)
		}
	} else if len(c.events) > 0 {
		err = w.write(ctx, tx, planOf(c.events))
	}
	if err == nil && c.again != nil {
		res.retried, err = w.retry(ctx, tx, c.again)
	}
	if err != nil {
		return res, err
	}
	res.events, res.caught = len(c.events), c.caught
	return res, tx.Commit()
}

// advance is the fence: it moves the watermark if it is where this exporter left
// it and no later leader has been here.
func advance(ctx context.Context, tx *sql.Tx, from, to position, term uint64, c *chunk) error {
	const move = `UPDATE hadir_watermark SET seq = ?, fence = ?, last_hash = ?, as_of = ? ` +
		`WHERE cluster = ? AND epoch = ? AND seq = ? AND fence <= ? AND decision = ''`
	const stay = `UPDATE hadir_watermark SET fence = ? ` +
		`WHERE cluster = ? AND epoch = ? AND seq = ? AND fence <= ? AND decision = ''`
	where := []any{from.cluster, int64(from.epoch), int64(from.seq), int64(term)}
	query, args := stay, append([]any{int64(term)}, where...)
	if n := len(c.events); n > 0 {
		query, args = move, append([]any{int64(to.seq), int64(term), c.last, when(c.events[n-1].At)}, where...)
	}
	return one(tx.ExecContext(ctx, query, args...))
}

// one wants exactly one row to have been found.
func one(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n != 1 {
		return errMoved
	}
	return nil
}

// sift writes events and parks those that the database refuses, at most room of
// them: halves are tried until one event is left.
func (w *writer) sift(ctx context.Context, tx *sql.Tx, events []attendance.Event, room int) (parked int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	cause, err := w.attempt(ctx, tx, func() error { return w.write(ctx, tx, planOf(events)) })
	switch {
	case err != nil:
		return 0, err
	case cause == nil:
		return 0, nil
	case room <= 0:
		// That is no matter of single events.
		return 0, stop(Parked, "the database has refused %d events, and says: %s", w.most, reasonText(cause))
	case len(events) == 1:
		return 1, park(ctx, tx, events[0], cause)
	}
	half := len(events) / 2
	for _, part := range [][]attendance.Event{events[:half], events[half:]} {
		n, err := w.sift(ctx, tx, part, room-parked)
		parked += n
		if err != nil {
			return parked, err
		}
	}
	return parked, nil
}

// attempt runs f and takes back what it did if the database refuses the data,
// which is the cause it gives. Every other error is err.
func (w *writer) attempt(ctx context.Context, tx *sql.Tx, f func() error) (cause, err error) {
	if _, err := tx.ExecContext(ctx, `SAVEPOINT hadir`); err != nil {
		return nil, err
	}
	cause = f()
	if cause != nil {
		if kind, _ := w.classify(cause); kind != refused {
			return nil, cause
		}
		if _, err := tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT hadir`); err != nil {
			return nil, err
		}
	}
	_, err = tx.ExecContext(ctx, `RELEASE SAVEPOINT hadir`)
	return cause, err
}

const maxReason = 500

// park notes an event that the database refuses.
func park(ctx context.Context, tx *sql.Tx, e attendance.Event, cause error) error {
	row := []any{int64(e.Seq), e.Type.String(), when(e.At), reasonText(cause), int64(1), int64(0)}
	_, err := tx.ExecContext(ctx, failuresTable.insert(1), row...)
	return err
}

// reasonText makes the database's words fit the column.
func reasonText(err error) string {
	s := strings.ToValidUTF8(strings.Join(strings.Fields(err.Error()), " "), "?")
	for len(s) > maxReason {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

func countParked(ctx context.Context, q querier) (n int, err error) {
	return n, q.QueryRowContext(ctx, `SELECT COUNT(*) FROM export_failures`).Scan(&n)
}
