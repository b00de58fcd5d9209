package export

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Reset is what a person decides about a target.
type Reset string

// The decisions.
const (
	// ResetAuto goes on where the target's newest event is this history's own, or
	// where the events that come next were pruned; else it empties the target, if
	// that loses nothing: the cluster still has all events.
	ResetAuto Reset = ""
	// ResetEmpty empties the target and exports everything that is kept anew.
	ResetEmpty Reset = "empty"
	// ResetRetire forgets a target that is no longer configured: it holds no events
	// back any more.
	ResetRetire Reset = "retire"
)

// Errors of Reset, Retry and Verify.
var (
	// ErrUnknownTarget: no target has that name.
	ErrUnknownTarget = errors.New("there is no such export target")
	// ErrNothingToDo: the target needs no decision.
	ErrNothingToDo = errors.New("the target is in order: there is nothing to decide")
	// ErrNeedsEmpty: what the target has cannot be kept, and emptying it loses rows
	// whose events were pruned.
	ErrNeedsEmpty = errors.New("the target has to be emptied, and the oldest events are not kept any more: decide for empty to lose them there, too")
	// ErrConfigured: a target that is exported to cannot be forgotten.
	ErrConfigured = errors.New("the target is configured: take it out of the command line of every node first")
	// ErrTarget: the target could not be asked; wrapped with why.
	ErrTarget = errors.New("the target cannot be asked")
)

// reset writes a decision into the target. It is carried out by whoever exports to
// it. It says what was decided.
func (r *runner) reset(ctx context.Context, how Reset) (string, error) {
	said := ""
	err := r.aside(false, func(db *sql.DB) error {
		if err := migrate(ctx, r.dialect, r.target, db); err != nil {
			return err
		}
		w, known, err := readWatermark(ctx, db)
		if err != nil {
			return err
		}
		h, err := r.fresh(ctx, w.seq)
		if err != nil {
			return err
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if said, err = decide(ctx, tx, w, known, h, how); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	})
	return said, err
}

func decide(ctx context.Context, tx *sql.Tx, w watermark, known bool, h head, how Reset) (string, error) {
	top, err := highest(ctx, tx)
	if err != nil {
		return "", err
	}
	next := watermark{decision: decidedEmpty}
	said := "emptied, then exported anew from the oldest event that is kept"
	v := judge(w, h, top)
	if how == ResetAuto {
		switch {
		case !known && top == 0 && h.first > 1:
			next, said, err = skip(ctx, tx, watermark{history: h.history}, h)
		case known && v.reason == "", !known && top == 0:
			return "", ErrNothingToDo
		case known && v.reason == Gap:
			next, said, err = skip(ctx, tx, w, h)
		case known && v.same:
			next = watermark{history: h.history, seq: w.seq, lastHash: w.lastHash}
			said = fmt.Sprintf("kept: goes on after event %d", w.seq)
		case h.first > 1:
			return "", ErrNeedsEmpty
		}
	}
	if err != nil {
		return "", err
	}
	if !known {
		return said, insertWatermark(ctx, tx, next)
	}
	return said, replaceWatermark(ctx, tx, w, next)
}

// skip goes on without events that were pruned, and notes that they are missing.
func skip(ctx context.Context, q querier, w watermark, h head) (watermark, string, error) {
	from, to := w.seq+1, h.first-1
	_, err := q.ExecContext(ctx, gapsTable.insert(1), int64(from), int64(to))
	next := watermark{history: w.history, seq: to, fence: w.fence, decision: decidedSeed}
	return next, fmt.Sprintf("kept: goes on after the events %d … %d, which were pruned", from, to), err
}

// carryOut does what a person has decided. Each step can be repeated, and another
// leader may do the next one.
func (r *runner) carryOut(ctx context.Context, w watermark, h head, term uint64) error {
	switch w.decision {
	case decidedEmpty:
		return r.empty(ctx, w, h, term)
	case decidedSeed:
		return r.seed(ctx, w, term)
	}
	return stop(Schema, "a newer hadir has decided %q about it", w.decision)
}

// emptyStep is how many rows one transaction deletes.
const emptyStep = 5_000

// empty deletes everything, in the order of foreign keys, and begins anew.
func (r *runner) empty(ctx context.Context, w watermark, h head, term uint64) error {
	for _, t := range []struct{ first, below string }{
		{`SELECT MIN(id) FROM attendances`, `DELETE FROM attendances WHERE id < ?`},
		{`SELECT MIN(id) FROM attendance_logs`, `DELETE FROM attendance_logs WHERE id < ?`},
	} {
		for {
			var first sql.NullInt64
			if err := r.db.QueryRowContext(ctx, t.first).Scan(&first); err != nil {
				return err
			}
			if !first.Valid {
				break
			}
			if _, err := r.db.ExecContext(ctx, t.below, first.Int64+emptyStep); err != nil {
				return err
			}
		}
	}
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	next := watermark{history: h.history, fence: term}
	err = func() error {
		for _, del := range []string{
			`DELETE FROM user_group_members`, `DELETE FROM user_groups`, `DELETE FROM users`, `DELETE FROM export_failures`,
			`DELETE FROM export_gaps`,
		} {
			if _, err := tx.ExecContext(ctx, del); err != nil {
				return err
			}
		}
		if h.first > 1 {
			var err error
			if next, _, err = skip(ctx, tx, next, h); err != nil {
				return err
			}
		}
		return replaceWatermark(ctx, tx, w, next)
	}()
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	r.log.Info("an export target was emptied and is written anew", "target", r.target.Name)
	return tx.Commit()
}

// seed writes users and groups as they are now, because the events that made them
// are gone. Events that are still to come write over it, and end there.
func (r *runner) seed(ctx context.Context, w watermark, term uint64) error {
	var groups []*groupState
	p := newPlan()
	_, err := r.cluster.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) error {
		for after := uint64(0); ; {
			page, err := tx.Users(after, store.MaxPage)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for _, u := range page {
				p.users[u.ID] = userRow(u)
			}
			after = page[len(page)-1].ID
		}
		for after := uint64(0); ; {
			page, err := tx.Groups(after, store.MaxPage)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				return nil
			}
			for _, g := range page {
				state, err := readGroup(tx, g.ID)
				if err != nil {
					return err
				}
				groups = append(groups, state)
			}
			after = page[len(page)-1].ID
		}
	})
	if err != nil {
		return err
	}
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	err = func() error {
		next := w
		next.decision, next.fence = "", max(w.fence, term)
		if err := replaceWatermark(ctx, tx, w, next); err != nil {
			return err
		}
		// Of groups that are gone nobody says so any more.
		for _, del := range []string{`DELETE FROM user_group_members`, `DELETE FROM user_groups`} {
			if _, err := tx.ExecContext(ctx, del); err != nil {
				return err
			}
		}
		if err := r.writePeople(ctx, tx, p); err != nil {
			return err
		}
		for _, g := range groups {
			if err := r.putGroup(ctx, tx, g); err != nil {
				return err
			}
		}
		return nil
	}()
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// retire forgets the mark of a target that nobody exports to.
func (e *Exporter) retire(ctx context.Context, name string) (string, error) {
	h, err := readHead(ctx, e.cfg.Cluster, cluster.Read{}, name, 0)
	if err != nil {
		return "", err
	}
	if !h.known {
		return "", ErrUnknownTarget
	}
	if _, err := e.cfg.propose(ctx, "", attendance.ExportMark{Target: name, Retired: true}); err != nil {
		return "", err
	}
	return "forgotten: it holds no events back any more", nil
}
