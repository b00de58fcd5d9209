package export

import (
	"context"
	"errors"
	"fmt"

	"hadir/cluster"
	"hadir/store"
)

// head is what a node's own state says about its history.
type head struct {
	history
	first, seq uint64
	hash       string // of the event asked for; "" when it is not there
	mark       uint64
	known      bool // mark
}

// readHead looks at the state. hashOf is computed for the event at seq.
func readHead(ctx context.Context, from Cluster, how cluster.Read, target string, seq uint64) (h head, err error) {
	_, err = from.Read(ctx, how, func(tx *store.ReadTx) error {
		m := tx.Meta()
		h = head{history: historyOf(m), first: m.FirstSeq, seq: m.Seq}
		h.mark, h.known = tx.Marks()[target]
		if seq == 0 {
			return nil
		}
		b, err := tx.EventBytes(seq)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		h.hash = hashOf(b)
		return err
	})
	if err == nil && h.cluster == noCluster {
		return h, fmt.Errorf("%w: it is in no cluster yet", errBehind)
	}
	return h, err
}

var noCluster = store.Meta{}.Cluster.String()

// verdict is what the watermark of a target means for this history.
type verdict struct {
	reason Reason // "" when the target can be written to
	detail string
	// same says that the target's newest event is this history's own.
	same bool
}

// judge compares a target's watermark with this node's state, which must be fresh
// where the target is ahead of it. top is the highest seq of any row.
func judge(w watermark, h head, top uint64) verdict {
	same := w.seq <= h.seq && top <= w.seq && (w.seq == 0 || (w.lastHash != "" && w.lastHash == h.hash))
	v := verdict{same: same}
	switch {
	case w.history != h.history:
		v.reason = Ahead
		v.detail = fmt.Sprintf("it belongs to cluster %s, epoch %d, and this is cluster %s, epoch %d", w.cluster, w.epoch, h.cluster, h.epoch)
	case w.seq > h.seq:
		v.reason, v.detail = Ahead, fmt.Sprintf("it has event %d and the newest one of this cluster is %d", w.seq, h.seq)
	case w.lastHash != "" && h.hash != "" && w.lastHash != h.hash:
		v.reason, v.detail = Ahead, fmt.Sprintf("its event %d is another one than this cluster's", w.seq)
	case top > w.seq:
		v.reason, v.detail = Ahead, fmt.Sprintf("it has rows up to event %d above its watermark %d", top, w.seq)
	case w.seq+1 < h.first:
		v.reason, v.detail = Gap, fmt.Sprintf("it has events up to %d and the oldest one that is kept is %d", w.seq, h.first)
	}
	return v
}

// attach brings the schema up to date and finds out where to go on.
func (r *runner) attach(ctx context.Context, term uint64) (err error) {
	if err := r.open(); err != nil {
		return err
	}
	if err := migrate(ctx, r.dialect, r.target, r.db); err != nil {
		return err
	}
	if err := checkColumns(ctx, r.db); err != nil {
		return err
	}
	if r.room, err = r.dialect.room(ctx, r.db); err != nil {
		return err
	}
	w, err := r.settle(ctx, term)
	if err != nil {
		return err
	}
	r.pos = &position{w.history, w.seq}
	r.saw(w.seq)
	return r.look(ctx)
}

// settle gives the watermark to go on from, after carrying out what a person has
// decided.
func (r *runner) settle(ctx context.Context, term uint64) (watermark, error) {
	for range 3 {
		w, known, err := readWatermark(ctx, r.db)
		if err != nil {
			return w, err
		}
		h, err := r.fresh(ctx, w.seq)
		if err != nil {
			return w, err
		}
		top, err := highest(ctx, r.db)
		if err != nil {
			return w, err
		}
		if !known {
			if top > 0 {
				return w, stop(Ahead, "it has rows up to event %d and no watermark", top)
			}
			w = watermark{history: h.history, fence: term}
			if h.first == 1 {
				// Nobody else's row may be there by now: then this is an error, and
				// the next attempt finds it.
				if err := insertWatermark(ctx, r.db, w); err != nil {
					return w, fmt.Errorf("%w: %w", errMoved, err)
				}
			}
		}
		if w.fence > term && w.history == h.history {
			return w, errFenced
		}
		if w.decision != "" {
			if err := r.carryOut(ctx, w, h, term); err != nil {
				return w, err
			}
			continue
		}
		if v := judge(w, h, top); v.reason != "" {
			return w, &stopped{reason: v.reason, detail: v.detail}
		}
		return w, nil
	}
	return watermark{}, errMoved
}

// fresh gives the head; where the target seems to be ahead, as fresh as can be
// had: this node may only be slow.
func (r *runner) fresh(ctx context.Context, seq uint64) (head, error) {
	h, err := readHead(ctx, r.cluster, cluster.Read{}, r.target.Name, seq)
	if err != nil || seq <= h.seq {
		return h, err
	}
	h, err = readHead(ctx, r.cluster, cluster.Read{Consistency: cluster.Strong}, r.target.Name, seq)
	if err != nil {
		return h, fmt.Errorf("%w: %w", errBehind, err)
	}
	return h, nil
}
