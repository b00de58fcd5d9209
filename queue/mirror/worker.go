package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/queue/workers"
	"hadir/store"
)

const (
	taskType    = "checkin"
	taskTimeout = 20 * time.Second // asynq's default is 30 minutes
	atOnce      = 8
	noLeader    = time.Second
	adoptBudget = 3 * time.Second
)

// errWaits and errNoLeader say that a copy is to be looked at later. They are no
// failures.
var (
	errWaits    = errors.New("it waits at its origin")
	errNoLeader = errors.New("there is no leader now")
)

// worker looks at copies.
type worker struct {
	*Mirror
	id     *identity
	source Source
	log    *slog.Logger
}

// start has copies looked at until stop.
func (w *worker) start() (stop func()) {
	return workers.Start(w.cfg.Redis, asynq.Config{
		Concurrency: atOnce, Queues: map[string]int{w.id.queue: 1},
		TaskCheckInterval: w.paced(time.Second), DelayedTaskCheckInterval: w.paced(time.Second),
		IsFailure: func(err error) bool { return !errors.Is(err, errWaits) && !errors.Is(err, errNoLeader) },
		RetryDelayFunc: func(_ int, err error, _ *asynq.Task) time.Duration {
			if errors.Is(err, errWaits) {
				return w.paced(LookAfter)
			}
			return noLeader
		},
	}, asynq.HandlerFunc(w.handle), w.cfg.Clock, w.log)
}

// handle looks at one copy. Its error says when it is looked at again.
func (w *worker) handle(ctx context.Context, t *asynq.Task) error {
	e, orphan, err := Open(w.cfg.Keys, w.id.cluster, t.Payload())
	if err != nil {
		return w.poison(ctx, err)
	}
	if w.cfg.Node.Freshness().Stale {
		// Not at once again: a node that is cut off would do nothing else.
		w.pause(ctx, w.paced(noLeader))
		return errNoLeader
	}
	if !orphan {
		switch settled, err := w.atOrigin(ctx, e); {
		case err != nil:
			return err
		case settled:
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, adoptBudget)
	defer cancel()
	settled, err := w.source.Adopt(ctx, e)
	switch {
	case settled:
		return nil
	case errors.Is(err, cluster.ErrInvalid):
		return w.poison(ctx, err)
	}
	return errNoLeader
}

// atOrigin asks the node that has the first copy: it is settled, or errWaits, or,
// where neither, to be taken over.
func (w *worker) atOrigin(ctx context.Context, e store.OutboxEntry) (settled bool, err error) {
	var known store.OutboxEntry
	if e.Receipt.Origin == w.cfg.Origin {
		known, err = w.source.Find(e.Command.Principal, e.Command.Key)
	} else {
		if w.gone(e.Receipt.Origin) {
			return false, nil
		}
		name := w.nameOf(e.Receipt.Origin)
		if name == "" {
			return false, errWaits // no member, but not for long, as far as this process knows
		}
		known, err = w.source.FindAt(ctx, name, e.Command.Principal, e.Command.Key)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil // settled and forgotten, most likely: its key says so
	case err != nil:
		return false, errWaits
	case known.State == store.OutboxDecided:
		return true, nil
	}
	return false, errWaits
}

// nameOf gives the name of the member with an incarnation; "" when there is none.
func (w *worker) nameOf(incarnation string) string {
	for _, n := range w.cfg.Node.Status().Nodes {
		if incarnationOf(n.ID) == incarnation {
			return n.Name
		}
	}
	return ""
}

// poison has a copy archived that nobody can use, after the audit trail was told.
func (w *worker) poison(ctx context.Context, reason error) error {
	name, _ := asynq.GetTaskID(ctx)
	note := attendance.Command{
		Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: w.cfg.Node.Name(),
		Key: "poison-" + short(name, 40),
		Body: attendance.Audit{
			Action: "queue.poison", Subject: "redis task " + short(name, 64), Note: short(fmt.Sprint(reason), attendance.MaxNote),
		},
	}
	if err := note.Check(); err != nil {
		// A name that somebody else has made.
		note.Key, note.Body = "poison-unnamed", attendance.Audit{Action: "queue.poison", Subject: "redis task", Note: "its name cannot be told"}
	}
	if _, err := w.cfg.Node.Propose(ctx, cluster.Request{Command: note, ReceivedAt: w.cfg.Clock.Now()}); err != nil {
		return errNoLeader
	}
	w.log.Warn("a copy in redis cannot be used and was archived", "reason", reason)
	return fmt.Errorf("%w: %w", reason, asynq.SkipRetry)
}

func short(s string, most int) string { return s[:min(len(s), most)] }
