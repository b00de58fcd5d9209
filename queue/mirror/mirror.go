package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/queue"
	"hadir/queue/workers"
	"hadir/store"
)

// Where is the name of Redis in the list of copies.
const Where = "redis"

// Node is what the mirror needs of the cluster; *cluster.Node is one.
type Node interface {
	Name() string
	Status() cluster.Status
	Freshness() cluster.Freshness
	Propose(ctx context.Context, req cluster.Request) (cluster.Result, error)
}

// Source is this node's queue; *queue.Queue is one, and says what its methods
// promise.
type Source interface {
	Waiting(after uint64, limit int) ([]store.OutboxEntry, error)
	Depth() store.OutboxDepth
	Find(p attendance.Principal, key string) (store.OutboxEntry, error)
	FindAt(ctx context.Context, node string, p attendance.Principal, key string) (store.OutboxEntry, error)
	Adopt(ctx context.Context, e store.OutboxEntry) (settled bool, err error)
}

// Config is what a mirror needs. Fields without "optional" are required.
type Config struct {
	Redis *redis.Options // its timeouts are set by New
	Node  Node
	Clock queue.Clock
	Log   *slog.Logger
	// Origin is the incarnation of this node's disk, Keys those that authenticate
	// copies, the one to sign with first.
	Origin string
	Keys   [][]byte
	// Pace divides the times between looks, for tests. Optional: 1.
	Pace int
}

const (
	copyBudget   = 100 * time.Millisecond
	probeEvery   = time.Second
	probeTimeout = 500 * time.Millisecond
	judgeEvery   = 10 * time.Second // of how safe Redis keeps what it has
	sweepPage    = 256
	sweepAtOnce  = 16
	dropsWaiting = 4096

	// LookAfter is when a copy is looked at for the first time, and how long an origin
	// must be out of reach before its copies are taken over.
	LookAfter = 15 * time.Second
)

var errDown = errors.New("redis is out of reach")

// Mirror implements queue.Mirror.
type Mirror struct {
	cfg    Config
	client *redis.Client
	tasks  *asynq.Client
	look   *asynq.Inspector
	drops  chan store.OutboxEntry

	up    atomic.Bool // the way to Redis is open
	fsync atomic.Bool // what it has survives a power cut
	dirty atomic.Bool // something that waits may not be there
	ready atomic.Pointer[identity]

	mu      sync.Mutex
	why     string               // it is not open; for people
	heard   map[string]time.Time // of other nodes, by incarnation
	started time.Time
}

// identity is known once this node is a member of a cluster.
type identity struct {
	cluster attendance.ClusterID
	queue   string
}

// New gives a mirror. Run keeps it going; until then there are no copies.
func New(c Config) *Mirror {
	c.Pace = max(1, c.Pace)
	client := workers.Client(c.Redis)
	m := &Mirror{
		cfg: c, client: client, tasks: asynq.NewClientFromRedisClient(client), look: asynq.NewInspectorFromRedisClient(client),
		drops: make(chan store.OutboxEntry, dropsWaiting), why: "not asked yet", heard: make(map[string]time.Time), started: c.Clock.Now(),
	}
	m.dirty.Store(true) // of an earlier process
	return m
}

func (m *Mirror) paced(d time.Duration) time.Duration { return d / time.Duration(m.cfg.Pace) }

// Copy implements queue.Mirror.
func (m *Mirror) Copy(ctx context.Context, e store.OutboxEntry, orphan bool) (queue.Copy, error) {
	id := m.ready.Load()
	if id == nil || !m.up.Load() {
		m.dirty.Store(true)
		return queue.Copy{}, errDown
	}
	safe := m.fsync.Load() // before the write: what was judged later says nothing about it
	ctx, cancel := context.WithTimeout(ctx, copyBudget)
	defer cancel()
	if err := m.enqueue(ctx, id, e, orphan); err != nil {
		m.close(err)
		return queue.Copy{}, err
	}
	return queue.Copy{Where: Where, Fsync: safe}, nil
}

// enqueue makes the task of an entry, unless it is there.
func (m *Mirror) enqueue(ctx context.Context, id *identity, e store.OutboxEntry, orphan bool) error {
	payload, err := Seal(m.cfg.Keys[0], id.cluster, e, orphan)
	if err != nil {
		return err
	}
	name := taskID(e.Command.Principal, e.Command.Key)
	_, err = m.tasks.EnqueueContext(ctx, asynq.NewTask(taskType, payload), asynq.TaskID(name), asynq.Queue(id.queue),
		asynq.MaxRetry(math.MaxInt32), asynq.Timeout(taskTimeout), asynq.ProcessIn(m.paced(LookAfter)))
	if !errors.Is(err, asynq.ErrTaskIDConflict) {
		return err
	}
	// It is there from before, or something else is in its place.
	info, err := m.look.GetTaskInfo(id.queue, name)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound):
		return nil // a worker has just ended it, which it does only with a decision
	case err != nil:
		return err
	case info.State == asynq.TaskStateArchived || !bytes.Equal(info.Payload, payload) && !m.sameEntry(id, info.Payload, e):
		if err := m.look.DeleteTask(id.queue, name); err != nil {
			return err
		}
		return fmt.Errorf("%w: something else was in the place of a copy", ErrForeign)
	}
	return nil
}

// sameEntry reports whether a payload is of the same check-in, perhaps as another
// node received it, or under another key of this cluster.
func (m *Mirror) sameEntry(id *identity, payload []byte, e store.OutboxEntry) bool {
	other, _, err := Open(m.cfg.Keys, id.cluster, payload)
	return err == nil && other.Command.BodyHash() == e.Command.BodyHash()
}

// close notes that the way to Redis is not open, and what is not there may be
// missing.
func (m *Mirror) close(err error) {
	m.dirty.Store(true)
	m.fsync.Store(false)
	m.mu.Lock()
	m.why = err.Error()
	m.mu.Unlock()
	if m.up.Swap(false) {
		m.cfg.Log.Warn("redis does not take copies of queued check-ins; they are on this node's disk", "error", err)
	}
}

// Drop implements queue.Mirror. What is not dropped now is found decided by a worker.
func (m *Mirror) Drop(e store.OutboxEntry) {
	if !m.up.Load() {
		return
	}
	select {
	case m.drops <- e:
	default:
	}
}

// View implements queue.Mirror.
func (m *Mirror) View() queue.MirrorView {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := queue.MirrorView{Up: m.up.Load(), Fsync: m.fsync.Load()}
	if !v.Up {
		v.Why = m.why
	}
	return v
}

// Tasks is what Redis has, of all nodes.
type Tasks struct {
	Scheduled, Pending, Active, Retry, Archived int
	// Unusable are the oldest of those that were archived, by the name of the task.
	Unusable []Unusable
}

// Unusable is a copy that nobody can use.
type Unusable struct {
	Task   string
	Reason string
	At     time.Time
}

// Tasks asks Redis what it has. While the way to it is not open, that is an error at
// once.
func (m *Mirror) Tasks() (t Tasks, err error) {
	id := m.ready.Load()
	if id == nil || !m.up.Load() {
		return t, errDown
	}
	info, err := m.look.GetQueueInfo(id.queue)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return t, nil
	} else if err != nil {
		return t, err
	}
	t = Tasks{Scheduled: info.Scheduled, Pending: info.Pending, Active: info.Active, Retry: info.Retry, Archived: info.Archived}
	archived, err := m.look.ListArchivedTasks(id.queue, asynq.PageSize(queue.MostShown))
	for _, a := range archived {
		t.Unusable = append(t.Unusable, Unusable{Task: a.ID, Reason: a.LastErr, At: a.LastFailedAt})
	}
	return t, err
}

// Act has an archived copy looked at again, or forgets it, and says whether there was
// one.
func (m *Mirror) Act(task string, dismiss bool) (found bool, err error) {
	id := m.ready.Load()
	if id == nil || !m.up.Load() {
		return false, errDown
	}
	info, err := m.look.GetTaskInfo(id.queue, task)
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) || err == nil && info.State != asynq.TaskStateArchived {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if dismiss {
		return true, m.look.DeleteTask(id.queue, task)
	}
	return true, m.look.RunTask(id.queue, task)
}

// Run keeps the mirror going until ctx ends. source is what is mirrored.
func (m *Mirror) Run(ctx context.Context, source Source) {
	id, ok := m.identify(ctx)
	if !ok {
		m.closeClient()
		return
	}
	m.ready.Store(id)
	var wg sync.WaitGroup
	defer func() {
		wg.Wait()
		m.closeClient()
	}()
	wg.Go(func() { m.drop(ctx, id) })
	w := &worker{Mirror: m, id: id, source: source, log: m.cfg.Log}
	stop := w.start()
	defer stop()
	k := keeper{Mirror: m, id: id, source: source}
	for ctx.Err() == nil {
		k.tick(ctx)
		m.listen()
		m.pause(ctx, m.paced(probeEvery))
	}
}

// closeClient ends the connections; nothing is lost with them.
func (m *Mirror) closeClient() {
	if err := m.client.Close(); err != nil {
		m.cfg.Log.Debug("redis client", "error", err)
	}
}

// identify waits until this node knows its cluster.
func (m *Mirror) identify(ctx context.Context) (*identity, bool) {
	for ctx.Err() == nil {
		if c := m.cfg.Node.Status().Cluster; !c.IsZero() {
			return &identity{cluster: c, queue: "hadir-" + c.String()[:16]}, true
		}
		m.pause(ctx, m.paced(probeEvery))
	}
	return nil, false
}

// pause waits for d or the end of ctx.
func (m *Mirror) pause(ctx context.Context, d time.Duration) {
	over := make(chan struct{})
	stop := m.cfg.Clock.AfterFunc(d, func() { close(over) })
	defer stop()
	select {
	case <-over:
	case <-ctx.Done():
	}
}

// drop deletes copies that nobody needs any more.
func (m *Mirror) drop(ctx context.Context, id *identity) {
	for {
		select {
		case e := <-m.drops:
			if !m.up.Load() {
				continue
			}
			err := m.look.DeleteTask(id.queue, taskID(e.Command.Principal, e.Command.Key))
			if err != nil && !errors.Is(err, asynq.ErrTaskNotFound) && !errors.Is(err, asynq.ErrQueueNotFound) {
				m.cfg.Log.Debug("a copy was not deleted; a worker will see that it is decided", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// listen notes which nodes can be reached.
func (m *Mirror) listen() {
	now := m.cfg.Clock.Now()
	status := m.cfg.Node.Status()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range status.Nodes {
		if n.Reachable {
			m.heard[incarnationOf(n.ID)] = now
		} else if n.LastContact >= 0 {
			m.heard[incarnationOf(n.ID)] = now.Add(-n.LastContact)
		}
	}
}

// incarnationOf gives the last part of a server id, name-incarnation.
func incarnationOf(id string) string { return id[strings.LastIndexByte(id, '-')+1:] }

// gone reports whether a node has been out of reach for so long that its copies are
// to be taken over. The start of this process counts as having heard from it.
func (m *Mirror) gone(incarnation string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := m.started
	if at, heard := m.heard[incarnation]; heard && at.After(last) {
		last = at
	}
	return m.cfg.Clock.Now().Sub(last) >= m.paced(LookAfter)
}
