package export

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"hadir/attendance"
)

// Paces of a runner.
const (
	pace       = 500 * time.Millisecond // between two batches, unless the first was full
	idle       = 250 * time.Millisecond // between two looks at who leads
	watchEvery = 2 * time.Second        // how often a node that does not export looks at the target
	lookEvery  = 5 * time.Second        // how often parked events are looked at
	markEvery  = 10 * time.Second       // how often the mark is proposed …
	markEvents = 5_000                  // … or after how many events
	leastPause = 250 * time.Millisecond // after the first failure
	mostPause  = 30 * time.Second       // while a target is down
	mostStop   = 5 * time.Second        // while it is stopped
	manyTries  = 20                     // deadlocks in a row that are no luck any more
)

// runner exports to one target. Its fields without a mutex belong to the goroutine
// that runs it.
type runner struct {
	writer
	cfg     Config
	target  Target
	cluster Cluster
	log     *slog.Logger
	poke    chan struct{}
	// term gives the fence of this node's writes, and whether it may write at all.
	term func() (term uint64, ok bool)

	opened  os.FileInfo // of a SQLite file
	pos     *position   // nil: to be found out
	tries   int         // conflicts in a row
	pause   time.Duration
	retry   []uint64 // parked events to be tried again
	marked  uint64
	full    bool  // too many events are parked
	greeted bool  // the cluster knows that there is this target
	owed    *told // an event that could not be proposed yet

	markedAt, lookedAt, watchedAt time.Time

	mu   sync.Mutex
	view Status
}

// told is an event about a target.
type told struct {
	key  string
	body attendance.Audit
}

func newRunner(cfg Config, t Target) *runner {
	var d dialect = mysqlDialect{wait: defaultWait}
	term := cfg.Cluster.IsLeader
	if t.Kind == SQLite {
		d = sqliteDialect{}
		term = func() (uint64, bool) { return 0, true } // each node writes its own
	}
	return &runner{
		writer: writer{dialect: d, most: maxParked}, cfg: cfg, target: t, cluster: cfg.Cluster, log: cfg.Log, poke: make(chan struct{}, 1),
		term: term, view: Status{Target: t.Name, Kind: t.Kind, State: Standby},
	}
}

// run turns until ctx ends.
func (r *runner) run(ctx context.Context) {
	defer r.close()
	for ctx.Err() == nil {
		r.wait(ctx, r.turn(ctx))
	}
}

// wait waits for d, for a poke, or for the end of ctx.
func (r *runner) wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	over := make(chan struct{})
	stop := r.cfg.Clock.AfterFunc(d, func() { close(over) })
	defer stop()
	select {
	case <-ctx.Done():
	case <-over:
	case <-r.poke:
		r.lookedAt = time.Time{}
	}
}

// wake has the runner look at once.
func (r *runner) wake() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// turn does one piece of work and says how long to wait for the next one.
func (r *runner) turn(ctx context.Context) time.Duration {
	// Whatever a database does, each of its answers has a time of its own; this is
	// for a migration of large tables.
	ctx, cancel := context.WithTimeout(ctx, patientTimeout)
	defer cancel()
	term, ok := r.term()
	if !ok {
		if r.pos != nil || r.greeted {
			r.watchedAt = time.Time{} // what this node shows is out of date
		}
		r.pos, r.owed, r.pause, r.greeted = nil, nil, 0, false // who leads tells
		return r.watch(ctx)
	}
	r.greet(ctx)
	r.tell(ctx)
	full, err := r.export(ctx, term)
	if err != nil {
		r.pos = nil
		return r.failed(ctx, err)
	}
	r.works(ctx)
	if full {
		return 0
	}
	return pace
}

// export attaches, if need be, and writes one batch.
func (r *runner) export(ctx context.Context, term uint64) (full bool, err error) {
	if r.target.Kind == SQLite && r.opened != nil {
		if err := sameFile(r.target.path, r.opened); err != nil {
			r.close()
			return false, err
		}
	}
	if r.pos == nil {
		if err := r.attach(ctx, term); err != nil {
			return false, err
		}
	}
	if r.cfg.Clock.Now().Sub(r.lookedAt) >= lookEvery {
		if err := migrate(ctx, r.dialect, r.target, r.db); err != nil {
			return false, err
		}
		if err := r.look(ctx); err != nil {
			return false, err
		}
	}
	limit := maxBatch
	if r.full && len(r.retry) > 0 {
		// Nothing new can be taken before some of what is parked has gone. It is
		// written as it is now, ahead of events that will lead there.
		limit = 0
	}
	c, err := readChunk(ctx, r.cluster, r.pos.seq, limit, r.retry)
	if err != nil {
		return false, err
	}
	if len(c.events) == 0 && c.again == nil {
		return false, nil
	}
	next, res, err := r.batch(ctx, *r.pos, term, c)
	if err != nil {
		return false, err
	}
	r.pos = &next
	r.wrote(next.seq, res)
	if res.parked > 0 || c.again != nil {
		r.log.Warn("events were parked or retried", "target", r.target.Name, "parked", res.parked, "retried", res.retried)
		if err := r.look(ctx); err != nil {
			return false, err
		}
	}
	r.mark(ctx)
	if limit == 0 {
		return len(r.retry) > 0, nil
	}
	r.full = false
	return res.events == maxBatch, nil
}

// open gives the runner its handle.
func (r *runner) open() error {
	if r.db != nil {
		return nil
	}
	db, err := r.dialect.open(r.target, false)
	if err != nil {
		return err
	}
	if r.target.Kind == SQLite {
		if r.opened, err = os.Stat(r.target.path); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	r.db = db
	return nil
}

func (r *runner) close() {
	if r.db == nil {
		return
	}
	if err := r.db.Close(); err != nil {
		r.log.Debug("export target", "target", r.target.Name, "error", err)
	}
	r.db, r.opened, r.pos = nil, nil, nil
}

// aside runs f with a handle of its own, for what people ask for: the runner's is
// its alone.
func (r *runner) aside(patient bool, f func(*sql.DB) error) error {
	db, err := r.dialect.open(r.target, patient)
	if err != nil {
		return err
	}
	err = f(db)
	return errors.Join(err, db.Close())
}

// watch looks at a target that another node writes to.
func (r *runner) watch(ctx context.Context) time.Duration {
	now := r.cfg.Clock.Now()
	if now.Sub(r.watchedAt) < watchEvery {
		return idle
	}
	r.watchedAt = now
	err := r.open()
	var w watermark
	if err == nil {
		w, _, err = readWatermark(ctx, r.db)
	}
	if err == nil {
		err = r.look(ctx)
	}
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		r.close() // a session keeps the rights that it began with
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view.State, r.view.Connected = Standby, err == nil
	if err == nil {
		r.view.Watermark, r.view.Known, r.view.LastError = w.seq, true, nil
		return idle
	}
	if _, reason := r.judged(err); reason != Drift || r.view.Known { // else the leader has not made the tables yet
		r.view.LastError = &Failure{At: now, Reason: reason, Detail: err.Error()}
	}
	return idle
}

// judged gives what an error means and its reason.
func (r *runner) judged(err error) (class, Reason) {
	kind, reason := r.classify(err)
	if reason == "" {
		reason = Unreachable
	}
	return kind, reason
}

// failed decides how to go on after an error, and tells once about a target that
// is down or stopped.
func (r *runner) failed(ctx context.Context, err error) time.Duration {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 0 // the end
	}
	r.log.Debug("export", "target", r.target.Name, "error", err)
	kind, reason := r.judged(err)
	switch {
	case errors.Is(err, errFenced), errors.Is(err, errBehind):
		r.stands()
		return pace
	case errors.Is(err, errReplaced):
		return 0 // a new file is opened
	case errors.Is(err, errMoved), kind == again:
		if r.tries++; r.tries < manyTries {
			return time.Duration(r.tries-1) * 10 * time.Millisecond
		}
	}
	state, most := Down, mostPause
	if kind == halting {
		state, most = Stopped, mostStop
	}
	r.full = r.full || reason == Parked
	r.close() // a session keeps the rights that it began with
	r.pause = min(max(leastPause, 2*r.pause), most)
	if r.fell(state, reason, err) {
		r.log.Warn("export target is "+string(state), "target", r.target.Name, "reason", string(reason), "error", err.Error())
		r.owe(ctx, state, reason)
		r.tell(ctx)
	}
	return r.pause
}

// works notes that a target can be written to.
func (r *runner) works(ctx context.Context) {
	r.tries, r.pause = 0, 0
	if was, since := r.rose(); was != "" {
		r.log.Info("export target works again", "target", r.target.Name, "after", r.cfg.Clock.Now().Sub(since).Round(time.Millisecond).String())
		r.tell(ctx)
	}
}

// owe makes the event about a target that has failed. Its key and its content are
// the same on every node as long as the mark does not move, so that one outage has
// one event, whoever leads in the meantime. A SQLite copy is one node's affair.
func (r *runner) owe(ctx context.Context, state State, reason Reason) {
	whose, upto := "", r.view.Watermark
	if r.target.Kind == SQLite {
		whose = r.cluster.Name()
	} else if h, err := readHead(ctx, r.cluster, local, r.target.Name, 0); err == nil {
		upto = h.mark
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s %d", state, reason, r.target.Name, whose, upto))
	r.owed = &told{
		key:  fmt.Sprintf("export-%x", sum[:16]),
		body: attendance.Audit{Action: "export." + string(state), Subject: r.target.Name, Note: string(reason) + ": " + advice[reason]},
	}
}

// tell proposes the event that is owed. Without a quorum that has to wait.
func (r *runner) tell(ctx context.Context) {
	if r.owed == nil {
		return
	}
	if _, err := r.cfg.propose(ctx, r.owed.key, r.owed.body); err != nil {
		r.log.Debug("the event about an export target is not decided yet", "target", r.target.Name, "error", err)
		return
	}
	r.owed = nil
}

// greet has the cluster keep events back for a target that it does not know yet,
// even if that cannot be reached for now.
func (r *runner) greet(ctx context.Context) {
	if r.target.Kind == SQLite || r.greeted {
		return
	}
	h, err := readHead(ctx, r.cluster, local, r.target.Name, 0)
	if err == nil && !h.known {
		_, err = r.cfg.propose(ctx, "", attendance.ExportMark{Target: r.target.Name})
	}
	r.greeted = err == nil
}

// mark tells the cluster how far a target has come, for Prune. A mark may fall: a
// target that was restored to the past needs its events again.
func (r *runner) mark(ctx context.Context) {
	if r.target.Kind == SQLite {
		return
	}
	now := r.cfg.Clock.Now()
	if r.pos.seq == r.marked || (r.pos.seq > r.marked && r.pos.seq-r.marked < markEvents && now.Sub(r.markedAt) < markEvery) {
		return
	}
	r.markedAt = now
	out, err := r.cfg.propose(ctx, "", attendance.ExportMark{Target: r.target.Name, Seq: r.pos.seq})
	switch {
	case err != nil:
		r.log.Debug("the export mark is not decided yet", "target", r.target.Name, "error", err)
	case out.Reason != attendance.NoReason:
		r.log.Warn("the cluster keeps no events back for an export target", "target", r.target.Name, "reason", out.Reason.String())
	default:
		r.marked = r.pos.seq
	}
}
