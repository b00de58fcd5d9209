package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Node is what the queue needs of the cluster; *cluster.Node is one.
type Node interface {
	// Name is the node's, as people know it.
	Name() string
	// Propose asks for a decision and tries until ctx ends.
	Propose(ctx context.Context, req cluster.Request) (cluster.Result, error)
	// Freshness says how new this node's state is.
	Freshness() cluster.Freshness
}

// Outbox is where check-ins wait; *store.Outbox is one, and says what its methods
// promise.
type Outbox interface {
	Put(e store.OutboxEntry) (store.OutboxEntry, error)
	Decide(d store.OutboxDecision) error
	Fail(n uint64, reason string, at attendance.Millis) error
	Retry(n uint64) (found bool, err error)
	Dismiss(n uint64) (found bool, err error)
	Waiting(after uint64, limit int) ([]store.OutboxEntry, error)
	Failed(after uint64, limit int) ([]store.OutboxEntry, error)
	Find(p attendance.Principal, key string) (store.OutboxEntry, error)
	Waits(user uint64) (bool, error)
	Depth() store.OutboxDepth
	Usable() error
}

// Clock is the source of time.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in its own goroutine after d. The returned function has the
	// meaning of time.Timer.Stop.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
	// Boot names the present start of the machine and says how long ago it was,
	// sleep counted.
	Boot() (id string, since time.Duration)
}

// Mirror keeps second copies of entries, for the death of this node's disk.
type Mirror interface {
	// Copy keeps a copy, in 100 ms at most, and says where and how safely. An orphan
	// is one that could not be written to the outbox: the copy is all there is.
	Copy(ctx context.Context, e store.OutboxEntry, orphan bool) (Copy, error)
	// Drop lets a copy go whose entry needs none any more. It does not block.
	Drop(e store.OutboxEntry)
	// View says how it is.
	View() MirrorView
}

// Config is what a queue needs. Fields without "optional" are required.
type Config struct {
	Node   Node
	Outbox Outbox
	Clock  Clock
	Log    *slog.Logger
	// Origin is the incarnation of this node's disk.
	Origin string
	// Budget is how long a check-in may wait for its decision. Optional: 2.5 s.
	Budget time.Duration
	// Peers asks the other nodes for keys that this one does not know. Optional.
	Peers Peers
	// Mirror keeps second copies. Optional.
	Mirror Mirror
	// Changed is called for each entry that was recorded, decided or set aside. It
	// must not block. Optional.
	Changed func(store.OutboxEntry)
}

const (
	defaultBudget = 2500 * time.Millisecond
	// freshAtStart is how long a node counts as fresh that has just started: as long
	// as a proof of freshness counts.
	freshAtStart = 2 * time.Second
)

// Queue is this node's queue of undecided check-ins. All methods may be called
// concurrently.
type Queue struct {
	cfg     Config
	started time.Time
	rewind  atomic.Bool // entries before the drain's place have come back
	meter   meter
	waits   waits

	mu      sync.Mutex
	wake    chan struct{}                    // closed when there may be something to do
	waiters map[uint64][]chan cluster.Result // who waits for the decision of an entry
}

// New gives a queue. Run drains it.
func New(c Config) (*Queue, error) {
	if c.Node == nil || c.Outbox == nil || c.Clock == nil || c.Log == nil {
		return nil, errors.New("queue: Node, Outbox, Clock and Log are required")
	}
	if c.Budget == 0 {
		c.Budget = defaultBudget
	}
	if c.Changed == nil {
		c.Changed = func(store.OutboxEntry) {}
	}
	q := &Queue{
		cfg: c, started: c.Clock.Now(), wake: make(chan struct{}), waiters: make(map[uint64][]chan cluster.Result),
	}
	if c.Peers != nil {
		c.Peers.Answer(questionFind, q.answerFind)
		c.Peers.Answer(questionView, q.answerView)
		c.Peers.Answer(questionAct, q.answerAct)
	}
	return q, nil
}

// Answer is what became of a check-in: a decision or, where Queued is not nil,
// the entry that waits for one.
type Answer struct {
	Result cluster.Result
	Queued *store.OutboxEntry
	Copies []Copy // of the entry
}

// Copy is one place where a queued check-in is kept.
type Copy struct {
	Where string // name of a node, or redis
	Fsync bool   // it survives a power cut there
}

// CheckIn has a check-in decided, or records it; see the table in the package's
// comment. It takes no longer than the budget and a sync. Errors say that nothing
// was recorded: those of cluster.Node.Propose other than ErrNoLeader and ErrUnknown,
// and those of store.Outbox.Put; where it is unknown whether something was decided
// and nothing could be recorded, the error is cluster.ErrUnknown.
func (q *Queue) CheckIn(ctx context.Context, req cluster.Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, q.cfg.Budget)
	defer cancel()
	body, ok := req.Command.Body.(attendance.CheckIn)
	if !ok || req.Command.Key == "" {
		return Answer{}, fmt.Errorf("%w: only a check-in with a key can be queued", cluster.ErrInvalid)
	}
	way, err := q.route(req.Command, body.UserID)
	if err != nil {
		return Answer{}, err
	}
	if way != tryFirst {
		return q.record(ctx, req, body, way == recordBehind)
	}
	result, err := q.cfg.Node.Propose(ctx, req)
	if err == nil || !isUndecided(err) {
		return Answer{Result: result}, err
	}
	answer, failed := q.record(ctx, req, body, false)
	if failed == nil {
		return answer, nil
	}
	return Answer{}, errors.Join(err, failed)
}

// isUndecided reports whether a check-in that got this error is to be recorded.
func isUndecided(err error) bool {
	return errors.Is(err, cluster.ErrNoLeader) || errors.Is(err, cluster.ErrUnknown)
}

// way is where a check-in goes.
type way uint8

const (
	tryFirst     way = iota
	recordBehind     // record, and wait: entries before it are about to be decided
	recordNow        // record, and answer
)

// route is the upper half of the table.
func (q *Queue) route(c attendance.Command, user uint64) (way, error) {
	degraded := q.degraded()
	if q.cfg.Outbox.Depth().Waiting > 0 && !degraded {
		known, err := q.cfg.Outbox.Find(c.Principal, c.Key)
		if err == nil && known.State == store.OutboxWaiting {
			return recordBehind, nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return 0, err
		}
		waits, err := q.cfg.Outbox.Waits(user)
		if err != nil || waits {
			return recordBehind, err
		}
	}
	if degraded {
		return recordNow, nil
	}
	return tryFirst, nil
}

// degraded reports whether a proposal would most likely be in vain.
func (q *Queue) degraded() bool {
	f := q.cfg.Node.Freshness()
	if f.Age < 0 {
		return q.cfg.Clock.Now().Sub(q.started) > freshAtStart
	}
	return f.Stale
}

// record puts a check-in into the outbox and, where asked for, waits for its
// decision.
func (q *Queue) record(ctx context.Context, req cluster.Request, body attendance.CheckIn, wait bool) (Answer, error) {
	body.Recorded = true
	command := req.Command
	command.Body = body
	e, err := q.cfg.Outbox.Put(store.OutboxEntry{Command: command, Receipt: q.receipt(req.ReceivedAt)})
	switch {
	case errors.Is(err, store.ErrOutboxFull), errors.Is(err, store.ErrOutboxBroken):
		return q.orphan(ctx, e, err)
	case err != nil:
		return Answer{}, err
	case e.State == store.OutboxDecided: // an earlier request under the same key
		return replayed(e), nil
	case e.State == store.OutboxWaiting:
		q.cfg.Changed(e)
		q.wakeUp()
	}
	if wait {
		if answer, decided, err := q.await(ctx, e); err != nil || decided {
			return answer, err
		}
	}
	copies := []Copy{{Where: q.cfg.Node.Name(), Fsync: true}}
	if q.cfg.Mirror != nil {
		// Not for the time that the caller has left, which may be none.
		if c, err := q.cfg.Mirror.Copy(context.WithoutCancel(ctx), e, false); err == nil {
			copies = append(copies, c)
		}
	}
	return Answer{Queued: &e, Copies: copies}, nil
}

// orphan keeps a check-in that could not be written to the outbox elsewhere, if it
// is safe there; failed is the error otherwise.
func (q *Queue) orphan(ctx context.Context, e store.OutboxEntry, failed error) (Answer, error) {
	if q.cfg.Mirror == nil {
		return Answer{}, failed
	}
	c, err := q.cfg.Mirror.Copy(context.WithoutCancel(ctx), e, true)
	if err != nil || !c.Fsync {
		return Answer{}, failed
	}
	e.State = store.OutboxWaiting
	return Answer{Queued: &e, Copies: []Copy{c}}, nil
}

func replayed(e store.OutboxEntry) Answer {
	e.Outcome.Replayed = true
	return Answer{Result: cluster.Result{Outcome: e.Outcome}}
}

// await waits for the decision of an entry until ctx ends.
func (q *Queue) await(ctx context.Context, e store.OutboxEntry) (answer Answer, decided bool, err error) {
	landed := make(chan cluster.Result, 1)
	q.mu.Lock()
	q.waiters[e.N] = append(q.waiters[e.N], landed)
	q.mu.Unlock()
	defer q.leave(e.N, landed)
	// It may have been decided before anybody waited.
	known, err := q.cfg.Outbox.Find(e.Command.Principal, e.Command.Key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Answer{}, false, err
	}
	if err == nil && known.State == store.OutboxDecided {
		return replayed(known), true, nil
	}
	select {
	case result := <-landed:
		return Answer{Result: result}, true, nil
	case <-ctx.Done():
		return Answer{}, false, nil
	}
}

func (q *Queue) leave(n uint64, landed chan cluster.Result) {
	q.mu.Lock()
	defer q.mu.Unlock()
	others := q.waiters[n][:0]
	for _, c := range q.waiters[n] {
		if c != landed {
			others = append(others, c)
		}
	}
	if len(others) == 0 {
		delete(q.waiters, n)
		return
	}
	q.waiters[n] = others
}

// tell gives a decision to those who wait for it.
func (q *Queue) tell(n uint64, result cluster.Result) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range q.waiters[n] {
		c <- result // buffered; each is told once, because it is taken off here
	}
	delete(q.waiters, n)
}

// wakeUp has the drain look.
func (q *Queue) wakeUp() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.wake)
	q.wake = make(chan struct{})
}

// woken gives the channel of the next wakeUp. Take it before looking.
func (q *Queue) woken() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.wake
}

// Find gives what this node's outbox knows of a key: an entry that waits, was set
// aside or was decided a while ago, or store.ErrNotFound.
func (q *Queue) Find(p attendance.Principal, key string) (store.OutboxEntry, error) {
	return q.cfg.Outbox.Find(p, key)
}

// Usable says why nothing can be recorded here at present; nil when it can.
func (q *Queue) Usable() error { return q.cfg.Outbox.Usable() }

// Retry has an entry that was set aside wait again, at its old place, and says
// whether there was one.
func (q *Queue) Retry(n uint64) (found bool, err error) {
	found, err = q.cfg.Outbox.Retry(n)
	if found {
		q.rewind.Store(true)
		q.wakeUp()
	}
	return found, err
}

// Waiting gives entries of this node's outbox that wait; see store.Outbox.Waiting.
func (q *Queue) Waiting(after uint64, limit int) ([]store.OutboxEntry, error) {
	return q.cfg.Outbox.Waiting(after, limit)
}

// Depth says how much the outbox holds.
func (q *Queue) Depth() store.OutboxDepth { return q.cfg.Outbox.Depth() }

// Adopt takes over an entry of another node, as a copy of it was found, and reports
// whether it was decided or set aside before ctx ended. It may be called any number
// of times, on any number of nodes: the key makes it one decision.
func (q *Queue) Adopt(ctx context.Context, e store.OutboxEntry) (settled bool, err error) {
	adopted, err := q.cfg.Outbox.Put(e)
	if errors.Is(err, store.ErrKeyReused) || errors.Is(err, store.ErrOutboxFull) || errors.Is(err, store.ErrOutboxBroken) {
		// It cannot wait here. Perhaps it can be decided at once.
		_, err = q.propose(ctx, e)
		return err == nil, err
	}
	if err != nil || adopted.State != store.OutboxWaiting {
		return err == nil, err
	}
	q.cfg.Changed(adopted)
	q.wakeUp()
	_, settled, err = q.await(ctx, adopted)
	if err == nil && !settled {
		known, err := q.Find(e.Command.Principal, e.Command.Key)
		return err == nil && known.State != store.OutboxWaiting, nil //nolint:nilerr // it is asked for again
	}
	return settled, err
}

// Import takes over an entry from the disk of a node that will not run again, and
// says whether it was known before. It is decided as of its own receipt.
func (q *Queue) Import(e store.OutboxEntry) (known bool, err error) {
	before := q.cfg.Outbox.Depth().Newest
	taken, err := q.cfg.Outbox.Put(e)
	if err != nil {
		return false, err
	}
	if known = taken.N <= before; !known {
		q.cfg.Changed(taken)
		q.wakeUp()
	}
	return known, nil
}
