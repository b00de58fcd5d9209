package mirror

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/queue"
	"hadir/queue/redistest"
	"hadir/store"
)

// site is a cluster without a log: it decides each key once.
type site struct {
	mu      sync.Mutex
	decided map[string]int // key → how many decisions there would be without keys
	seqs    map[string]uint64
	audits  []attendance.Audit
	nodes   map[string]*node
}

func newSite() *site {
	return &site{decided: map[string]int{}, seqs: map[string]uint64{}, nodes: map[string]*node{}}
}

// node is one node of it with its outbox, queue and mirror.
type node struct {
	t      *testing.T
	site   *site
	name   string
	id     string
	file   *store.Node
	queue  *queue.Queue
	mirror *Mirror
	stop   func()

	mu      sync.Mutex
	cut     bool // no quorum
	dead    bool
	answers map[string]cluster.Answerer
}

type clock struct{}

func (clock) Now() time.Time { return time.Now() }
func (clock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}
func (clock) Boot() (string, time.Duration) { return "boot", time.Since(testStart) }

var testStart = time.Now()

var keys = [][]byte{bytes.Repeat([]byte{1}, 32)}

// pace makes 15 s into 300 ms.
const pace = 50

// start starts a node; outbox, where given, changes it.
func (s *site) start(t *testing.T, name string, r *redistest.Server, outbox ...func(queue.Outbox) queue.Outbox) *node {
	t.Helper()
	n := &node{t: t, site: s, name: name, answers: map[string]cluster.Answerer{}}
	var err error
	if n.file, err = store.OpenNode(filepath.Join(t.TempDir(), "node.db"), rand.Reader); err != nil {
		t.Fatal(err)
	}
	n.id = name + "-" + n.file.Incarnation()
	box, err := n.file.Outbox(store.OutboxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var kept queue.Outbox = box
	for _, change := range outbox {
		kept = change(kept)
	}
	n.mirror = New(Config{
		Redis: r.URL(), Node: n, Clock: clock{}, Log: slog.New(slog.DiscardHandler), Origin: n.file.Incarnation(), Keys: keys, Pace: pace,
	})
	if n.queue, err = queue.New(queue.Config{
		Node: n, Outbox: kept, Clock: clock{}, Log: slog.New(slog.DiscardHandler), Origin: n.file.Incarnation(), Peers: n, Mirror: n.mirror,
		Budget: 300 * time.Millisecond,
	}); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.nodes[name] = n
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.queue.Run(ctx) })
	wg.Go(func() { n.mirror.Run(ctx, n.queue) })
	var once sync.Once
	n.stop = func() {
		once.Do(func() {
			cancel()
			wg.Wait()
			if err := n.file.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(n.stop)
	return n
}

// die ends the node for good.
func (n *node) die() {
	n.set(func(n *node) { n.dead = true })
	n.stop()
}

func (n *node) set(f func(*node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func (n *node) is(f func(*node) bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return f(n)
}

func (n *node) Name() string { return n.name }

func (n *node) Freshness() cluster.Freshness {
	if n.is(func(n *node) bool { return n.cut }) {
		return cluster.Freshness{Age: time.Minute, Stale: true}
	}
	return cluster.Freshness{}
}

func (n *node) Propose(ctx context.Context, req cluster.Request) (cluster.Result, error) {
	if n.Freshness().Stale {
		<-ctx.Done()
		return cluster.Result{}, cluster.ErrNoLeader
	}
	n.site.mu.Lock()
	defer n.site.mu.Unlock()
	if a, ok := req.Command.Body.(attendance.Audit); ok {
		n.site.audits = append(n.site.audits, a)
		return cluster.Result{Outcome: attendance.Outcome{Status: attendance.DoneStatus}}, nil
	}
	key := req.Command.Principal.String() + " " + req.Command.Key
	n.site.decided[key]++
	if n.site.seqs[key] == 0 {
		n.site.seqs[key] = uint64(len(n.site.seqs) + 1)
	}
	return cluster.Result{Outcome: attendance.Outcome{Status: attendance.AcceptedStatus, Seq: n.site.seqs[key]}}, nil
}

func (n *node) Status() cluster.Status {
	s := cluster.Status{Node: n.name, Cluster: attendance.ClusterID{9}}
	n.site.mu.Lock()
	defer n.site.mu.Unlock()
	for _, other := range n.site.nodes {
		alive := other.is(func(n *node) bool { return !n.dead })
		s.Nodes = append(s.Nodes, cluster.NodeStatus{ID: other.id, Name: other.name, Reachable: alive, LastContact: -1})
	}
	return s
}

func (n *node) Ask(ctx context.Context, member, question string, body []byte) ([]byte, error) {
	n.site.mu.Lock()
	other := n.site.nodes[member]
	n.site.mu.Unlock()
	if other.is(func(n *node) bool { return n.dead }) {
		return nil, errors.New("out of reach")
	}
	return other.answers[question](ctx, body)
}

func (n *node) Answer(question string, f cluster.Answerer) { n.answers[question] = f }

func (n *node) tap(user uint64, key string) (queue.Answer, error) {
	return n.queue.CheckIn(context.Background(), cluster.Request{ReceivedAt: time.Now(), Command: attendance.Command{
		Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: user}, Key: key, Node: n.name,
		Body: attendance.CheckIn{UserID: user, Kind: attendance.In},
	}})
}

// queued sends a tap that must be recorded, and gives where.
func (n *node) queued(user uint64, key string) string {
	n.t.Helper()
	a, err := n.tap(user, key)
	if err != nil || a.Queued == nil {
		n.t.Fatalf("%s: %+v, %v", key, a, err)
	}
	return fmt.Sprint(a.Copies)
}

func (s *site) decisions(user int, key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.decided[fmt.Sprintf("user:%d %s", user, key)]
}

func (s *site) noted() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.audits)
}

const queueName = "hadir-0900000000000000"

// copies says how many tasks there are.
func copies(t *testing.T, n *node) int {
	t.Helper()
	info, err := n.mirror.look.GetQueueInfo(queueName)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return 0
	}
	if err != nil {
		return -1
	}
	return info.Size
}

func (n *node) isUp(fsync bool) {
	n.t.Helper()
	redistest.Await(n.t, "the mirror is up", func() bool { s := n.mirror.View(); return s.Up && s.Fsync == fsync && s.Why == "" })
}

func TestCopyUntilDecided(t *testing.T) {
	r, s := redistest.Start(t, redistest.Safe...), newSite()
	a := s.start(t, "a", r)
	a.isUp(true)
	a.set(func(n *node) { n.cut = true })
	for _, user := range []uint64{1, 2} { // one key, two principals
		if got := a.queued(user, "k"); got != "[{a true} {redis true}]" {
			t.Errorf("copies of %d: %s", user, got)
		}
	}
	a.queued(1, "k") // again
	if got := copies(t, a); got != 2 {
		t.Errorf("%d copies", got)
	}
	a.set(func(n *node) { n.cut = false })
	redistest.Await(t, "the copies go", func() bool { return copies(t, a) == 0 })
	if s.decisions(1, "k") != 1 || s.decisions(2, "k") != 1 {
		t.Errorf("proposed %d and %d times", s.decisions(1, "k"), s.decisions(2, "k"))
	}
}

func TestTakeOver(t *testing.T) {
	r, s := redistest.Start(t, redistest.Safe...), newSite()
	a, b := s.start(t, "a", r), s.start(t, "b", r)
	a.isUp(true)
	b.isUp(true)
	a.set(func(n *node) { n.cut = true })
	for i := range 20 {
		a.queued(uint64(i+1), "k")
	}
	// As long as a can be reached, b leaves them to it, although it could decide.
	redistest.Await(t, "a worker has looked", func() bool {
		info, err := b.mirror.look.GetQueueInfo(queueName)
		return err == nil && info.Retry > 0 && info.Failed == 0
	})
	if s.decisions(1, "k") != 0 {
		t.Error("b has taken over what waits at a node that it can reach")
	}
	a.die()
	redistest.Await(t, "b has decided", func() bool {
		for i := range 20 {
			if s.decisions(i+1, "k") == 0 {
				return false
			}
		}
		return copies(t, b) == 0
	})
	for i := range 20 {
		if n := s.decisions(i+1, "k"); n != 1 {
			t.Errorf("user %d was proposed %d times", i+1, n)
		}
	}
}

// TestNoLeaderIsNoFailure: without a leader copies wait, and are not given up.
func TestNoLeaderIsNoFailure(t *testing.T) {
	r, s := redistest.Start(t, redistest.Safe...), newSite()
	a, b := s.start(t, "a", r), s.start(t, "b", r)
	a.isUp(true)
	b.isUp(true)
	a.set(func(n *node) { n.cut = true })
	b.set(func(n *node) { n.cut = true })
	a.queued(1, "k")
	a.die()
	task := taskID(attendance.Principal{Kind: attendance.UserPrincipal, ID: 1}, "k")
	redistest.Await(t, "a worker found no leader", func() bool {
		info, err := b.mirror.look.GetTaskInfo(queueName, task)
		return err == nil && strings.Contains(info.LastErr, errNoLeader.Error()) && info.Retried == 0
	})
	b.set(func(n *node) { n.cut = false })
	redistest.Await(t, "b has decided", func() bool { return s.decisions(1, "k") == 1 && copies(t, b) == 0 })
}

func TestFlushed(t *testing.T) {
	r, s := redistest.Start(t, redistest.Safe...), newSite()
	a := s.start(t, "a", r)
	a.isUp(true)
	a.set(func(n *node) { n.cut = true })
	for i := range 300 { // more than a page
		a.queued(uint64(i+1), "k")
	}
	r.Must("FLUSHALL")
	defer func() {
		if t.Failed() {
			info, err := a.mirror.look.GetQueueInfo(queueName)
			t.Logf("%+v %v %+v", info, err, a.mirror.View())
		}
	}()
	redistest.Await(t, "everything is copied again", func() bool { return copies(t, a) == 300 })
}

func TestRedisGoesAndComes(t *testing.T) {
	r, s := redistest.Start(t, redistest.Safe...), newSite()
	a := s.start(t, "a", r)
	a.isUp(true)
	a.set(func(n *node) { n.cut = true })
	a.queued(1, "before")
	r.Kill()
	if got := a.queued(2, "gone"); got != "[{a true}]" {
		t.Errorf("without redis: %s", got)
	}
	if state := a.mirror.View(); state.Up || state.Fsync || state.Why == "" {
		t.Errorf("state: %+v", state)
	}
	r.Dir = t.TempDir() // it comes back empty
	r.Restart()
	redistest.Await(t, "both are copied", func() bool { return copies(t, a) == 2 })
	a.isUp(true)

	// It hangs: the first one waits a little, the others not at all.
	r.Signal(syscall.SIGSTOP)
	for i := range 50 {
		if got := a.queued(uint64(i+10), "hangs"); got != "[{a true}]" {
			t.Errorf("copies: %s", got)
		}
	}
	r.Signal(syscall.SIGCONT)
	redistest.Await(t, "all are copied", func() bool { return copies(t, a) == 52 })
	a.isUp(true)
	r.Signal(syscall.SIGSTOP)
	begun := time.Now()
	a.stop() // and nobody waits for it at the end
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %s to stop beside a redis that hangs", took)
	}
	r.Signal(syscall.SIGCONT)
}

func TestWhatRedisCannotDo(t *testing.T) {
	for name, tc := range map[string]struct{ harm, heal []any }{
		"out of memory": {[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}},
		"read-only":     {[]any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := redistest.Start(t, redistest.Safe...), newSite()
			a := s.start(t, "a", r)
			a.isUp(true)
			a.set(func(n *node) { n.cut = true })
			r.Must(tc.harm...)
			if got := a.queued(1, "k"); got != "[{a true}]" {
				t.Errorf("copies: %s", got)
			}
			r.Must(tc.heal...)
			redistest.Await(t, "it is copied after all", func() bool { return copies(t, a) == 1 })
		})
	}
}

func TestHowSafe(t *testing.T) {
	for name, args := range map[string][]string{
		"every second": {"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"},
		"in memory":    {"--appendonly", "no", "--appendfsync", "always", "--maxmemory-policy", "noeviction"},
		"evicting":     {"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "allkeys-lru"},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := redistest.Start(t, args...), newSite()
			a := s.start(t, "a", r)
			a.isUp(false)
			a.set(func(n *node) { n.cut = true })
			if got := a.queued(1, "k"); got != "[{a true} {redis false}]" {
				t.Errorf("copies: %s", got)
			}
		})
	}
	r, s := redistest.Start(t, redistest.Safe...), newSite()
	a := s.start(t, "a", r)
	a.isUp(true)
	r.Must("CONFIG", "SET", "appendfsync", "no") // noticed while it runs
	a.isUp(false)
}

func TestPoison(t *testing.T) {
	r, s := redistest.Start(t, redistest.Safe...), newSite()
	a, b := s.start(t, "a", r), s.start(t, "b", r)
	a.isUp(true)
	b.isUp(true)
	good := store.OutboxEntry{Command: attendance.Command{
		Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: 1}, Key: "forged", Node: "a",
		Body: attendance.CheckIn{UserID: 1, Kind: attendance.In},
	}}
	forged, err := Seal(bytes.Repeat([]byte{7}, 32), attendance.ClusterID{9}, good, true)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := Seal(keys[0], attendance.ClusterID{8}, good, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, payload := range map[string][]byte{"rubbish": []byte("rubbish"), "nothing": nil, "forged": forged, "elsewhere": elsewhere} {
		if _, err := a.mirror.tasks.Enqueue(asynq.NewTask(taskType, payload), asynq.TaskID(name), asynq.Queue(queueName)); err != nil {
			t.Fatal(err)
		}
	}
	a.set(func(n *node) { n.cut = true })
	a.queued(2, "k")
	a.die()
	redistest.Await(t, "the good one is decided", func() bool { return s.decisions(2, "k") == 1 })
	redistest.Await(t, "the others are archived", func() bool {
		info, err := b.mirror.look.GetQueueInfo(queueName)
		return err == nil && info.Archived == 4
	})
	archived, err := b.mirror.look.ListArchivedTasks(queueName)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range archived {
		if !strings.Contains(task.LastErr, ErrForeign.Error()) || !strings.Contains(s.noted(), task.ID) {
			t.Errorf("%s was archived because %q; audit trail %s", task.ID, task.LastErr, s.noted())
		}
	}
	if s.decisions(1, "forged") != 0 {
		t.Error("a forged copy was decided")
	}
}

// TestPlaceTaken: something else under the name of a copy does not pass for it.
func TestPlaceTaken(t *testing.T) {
	r, s := redistest.Start(t, redistest.Safe...), newSite()
	a := s.start(t, "a", r)
	a.isUp(true)
	a.set(func(n *node) { n.cut = true })
	name := taskID(attendance.Principal{Kind: attendance.UserPrincipal, ID: 1}, "k")
	if _, err := a.mirror.tasks.Enqueue(asynq.NewTask(taskType, []byte("rubbish")), asynq.TaskID(name), asynq.Queue(queueName), asynq.ProcessIn(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := a.queued(1, "k"); got != "[{a true}]" {
		t.Errorf("copies: %s", got)
	}
	redistest.Await(t, "the copy takes its place", func() bool {
		info, err := a.mirror.look.GetTaskInfo(queueName, name)
		return err == nil && len(info.Payload) > 50
	})
}

// broken is an outbox that takes nothing.
type broken struct{ queue.Outbox }

func (broken) Put(e store.OutboxEntry) (store.OutboxEntry, error) { return e, store.ErrOutboxBroken }

func TestOnlyInRedis(t *testing.T) {
	r, s := redistest.Start(t, redistest.Safe...), newSite()
	a := s.start(t, "a", r, func(o queue.Outbox) queue.Outbox { return broken{o} })
	b := s.start(t, "b", r)
	a.isUp(true)
	a.set(func(n *node) { n.cut = true })
	if got := a.queued(1, "k"); got != "[{redis true}]" {
		t.Errorf("copies: %s", got)
	}
	redistest.Await(t, "somebody else has it decided, although a lives", func() bool { return s.decisions(1, "k") > 0 && copies(t, b) == 0 })

	r.Must("CONFIG", "SET", "appendfsync", "everysec")
	a.isUp(false)
	if answer, err := a.tap(2, "k"); !errors.Is(err, store.ErrOutboxBroken) {
		t.Errorf("not safe anywhere: %+v, %v", answer, err)
	}
}

func TestSeal(t *testing.T) {
	e := store.OutboxEntry{
		Command: attendance.Command{
			Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: 1}, Key: "k", Node: "a", Body: attendance.CheckIn{UserID: 1, Kind: attendance.In},
		},
		Receipt: store.Receipt{Wall: 5, Boot: 6, BootID: "b", Origin: "o"},
	}
	site, old, now := attendance.ClusterID{9}, bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	for _, orphan := range []bool{false, true} {
		payload, err := Seal(old, site, e, orphan)
		if err != nil {
			t.Fatal(err)
		}
		got, o, err := Open([][]byte{now, old}, site, payload)
		if err != nil || o != orphan || got.Command != e.Command || got.Receipt != e.Receipt {
			t.Errorf("%+v, %v, %v", got, o, err)
		}
		for i := range payload {
			changed := bytes.Clone(payload)
			changed[i] ^= 1
			if _, _, err := Open([][]byte{now, old}, site, changed); err == nil {
				t.Errorf("byte %d was changed and not missed", i)
			}
		}
		if _, _, err := Open([][]byte{now}, site, payload); !errors.Is(err, ErrForeign) {
			t.Errorf("with another key: %v", err)
		}
	}
}
