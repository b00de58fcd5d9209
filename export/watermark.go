package export

import (
	"context"
	"database/sql"
	"errors"
)

// watermark is the row in which a target says how far it has come.
type watermark struct {
	history
	seq      uint64
	fence    uint64 // highest term of a leader that has written
	lastHash string // of the event at seq; "" when it was never seen
	decision string // of a person, not carried out yet
}

// What a person decided about a target.
const (
	decidedEmpty = "empty" // throw away what is there and begin anew
	decidedSeed  = "seed"  // write users and groups as they are, then go on
)

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// readWatermark gives the watermark; ok is false when there is none yet.
func readWatermark(ctx context.Context, q querier) (w watermark, ok bool, err error) {
	const query = `SELECT cluster, epoch, seq, fence, last_hash, decision FROM hadir_watermark WHERE id = 1`
	err = q.QueryRowContext(ctx, query).Scan(&w.cluster, &w.epoch, &w.seq, &w.fence, &w.lastHash, &w.decision)
	if errors.Is(err, sql.ErrNoRows) {
		return w, false, nil
	}
	return w, err == nil, err
}

func insertWatermark(ctx context.Context, q querier, w watermark) error {
	_, err := q.ExecContext(ctx, watermarkTable.insert(1),
		int64(1), w.cluster, int64(w.epoch), int64(w.seq), int64(w.fence), w.lastHash, nil, w.decision)
	return err
}

// replaceWatermark changes the row if it is still what was read.
func replaceWatermark(ctx context.Context, q querier, old, w watermark) error {
	const query = `UPDATE hadir_watermark SET cluster = ?, epoch = ?, seq = ?, fence = ?, last_hash = ?, decision = ? ` +
		`WHERE id = 1 AND cluster = ? AND epoch = ? AND seq = ? AND fence = ? AND decision = ?`
	return one(q.ExecContext(ctx, query, w.cluster, int64(w.epoch), int64(w.seq), int64(w.fence), w.lastHash, w.decision,
		old.cluster, int64(old.epoch), int64(old.seq), int64(old.fence), old.decision))
}

// highest gives the highest seq of any row.
func highest(ctx context.Context, q querier) (top uint64, err error) {
	for _, query := range []string{
		`SELECT MAX(id) FROM attendance_logs`, `SELECT MAX(id) FROM attendances`, `SELECT MAX(seq) FROM export_failures`,
		`SELECT MAX(last_seq) FROM export_gaps`,
	} {
		var n sql.NullInt64
		if err := q.QueryRowContext(ctx, query).Scan(&n); err != nil {
			return 0, err
		}
		top = max(top, uint64(n.Int64))
	}
	return top, nil
}
