package jobs_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/queue/jobs"
	"hadir/queue/redistest"
)

// clock is the real time, and may be moved ahead.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (*clock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// site is a network of nodes.
type site struct {
	mu    sync.Mutex
	nodes map[string]*node
	clock clock
}

func newSite() *site { return &site{nodes: make(map[string]*node)} }

// node has jobs done, and counts them.
type node struct {
	site    *site
	name    string
	jobs    *jobs.Jobs
	answers map[string]cluster.Answerer
	stop    func()

	mu    sync.Mutex
	gone  bool
	tries int
	do    func(ctx context.Context, id string, t jobs.Task) (jobs.Result, error)
}

func (n *node) Name() string { return n.name }

func (n *node) Status() cluster.Status {
	n.site.mu.Lock()
	defer n.site.mu.Unlock()
	s := cluster.Status{Node: n.name, Cluster: attendance.ClusterID{1, 2, 3}}
	for name := range n.site.nodes {
		s.Nodes = append(s.Nodes, cluster.NodeStatus{Name: name, Reachable: true})
	}
	return s
}

func (n *node) Answer(question string, f cluster.Answerer) { n.answers[question] = f }

func (n *node) Ask(ctx context.Context, member, question string, body []byte) ([]byte, error) {
	n.site.mu.Lock()
	other := n.site.nodes[member]
	n.site.mu.Unlock()
	if other == nil {
		return nil, cluster.ErrUnknownServer
	}
	other.mu.Lock()
	gone := other.gone
	other.mu.Unlock()
	if gone {
		return nil, errors.New("out of reach")
	}
	return other.answers[question](ctx, body)
}

func (n *node) RunJob(ctx context.Context, id string, t jobs.Task) (jobs.Result, error) {
	n.mu.Lock()
	n.tries++
	do := n.do
	n.mu.Unlock()
	return do(ctx, id, t)
}

func (n *node) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tries
}

func (n *node) set(f func(*node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

// echo gives back the file, and what was asked for.
func echo(_ context.Context, _ string, t jobs.Task) (jobs.Result, error) {
	return jobs.Result{Body: append([]byte(t.Kind+" "+string(t.Spec)+" "), t.File...), Seq: 17}, nil
}

var keys = [][]byte{bytes.Repeat([]byte{9}, 32)}

const pace = 50

func (s *site) start(t *testing.T, name string, r *redis.Options, own ...[]byte) *node {
	t.Helper()
	n := &node{site: s, name: name, answers: make(map[string]cluster.Answerer), do: echo}
	c := jobs.Config{Peers: n, Clock: &s.clock, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), Keys: append(own, keys...), Redis: r, Pace: pace}
	var err error
	if n.jobs, err = jobs.New(c); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.nodes[name] = n
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.jobs.Run(ctx, n) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(n.stop)
	return n
}

func (n *node) ask(t *testing.T, task jobs.Task) string {
	t.Helper()
	job, err := n.jobs.Start(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	return job.ID
}

func (n *node) await(t *testing.T, id string, want jobs.State) (job jobs.Job) {
	t.Helper()
	redistest.Await(t, fmt.Sprintf("%s is %s", id, want), func() bool {
		var err error
		job, err = n.jobs.Find(t.Context(), id)
		return err == nil && job.State == want
	})
	return job
}

// inBoth runs a test without Redis and with one.
func inBoth(t *testing.T, f func(t *testing.T, r *redis.Options)) {
	t.Run("memory", func(t *testing.T) { f(t, nil) })
	t.Run("redis", func(t *testing.T) { f(t, redistest.Start(t).URL()) })
}

// inRedis waits until a node gives its jobs to Redis.
func (n *node) inRedis(t *testing.T) {
	t.Helper()
	redistest.Await(t, "jobs go to redis", func() bool {
		id := n.ask(t, jobs.Task{Kind: "probe"})
		where, _ := jobs.Split(id)
		n.await(t, id, jobs.Done)
		return where == "redis"
	})
	n.set(func(n *node) { n.tries = 0 })
}

func TestDone(t *testing.T) {
	inBoth(t, func(t *testing.T, r *redis.Options) {
		s := newSite()
		a, b := s.start(t, "a", r), s.start(t, "b-1", r)
		if r != nil {
			a.inRedis(t)
			b.inRedis(t)
		}
		a.set(func(n *node) { n.tries = 0 }) // it has done b's
		file := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
		if _, err := rand.Read(file[:200_000]); err != nil { // more than one part, however well it is compressed
			t.Fatal(err)
		}
		id := b.ask(t, jobs.Task{Kind: "echo", Owner: 7, Spec: []byte(`{"a":1}`), File: file})
		for _, n := range []*node{a, b} {
			job := n.await(t, id, jobs.Done)
			if job.Owner != 7 || job.Kind != "echo" || string(job.Spec) != `{"a":1}` || job.Seq != 17 || job.CreatedAt.IsZero() || job.EndedAt.IsZero() || job.Tries != 0 {
				t.Errorf("at %s: %+v", n.name, job)
			}
			body, err := n.jobs.Result(t.Context(), id)
			if want := append([]byte(`echo {"a":1} `), file...); err != nil || !bytes.Equal(body, want) || job.Size != len(want) {
				t.Errorf("at %s: %d bytes, want %d, %v", n.name, len(body), len(want), err)
			}
			all, away := n.jobs.List(t.Context())
			if len(away) != 0 || len(all) == 0 || all[0].ID != id {
				t.Errorf("list at %s: %+v, away %v", n.name, all, away)
			}
		}
		if n := a.count() + b.count(); n != 1 {
			t.Errorf("it was done %d times", n)
		}
		for _, name := range []string{"c-9999999999999999", "redis-" + strings.Repeat("0", 32)} {
			if _, err := a.jobs.Find(t.Context(), name); !errors.Is(err, jobs.ErrUnknown) && !errors.Is(err, jobs.ErrAway) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestFailure: what fails is tried again, and then waits for a person, who has it tried
// once more; it stays the same job.
func TestFailure(t *testing.T) {
	inBoth(t, func(t *testing.T, r *redis.Options) {
		s := newSite()
		a, b := s.start(t, "a", r), s.start(t, "b", r)
		if r != nil {
			a.inRedis(t)
			b.inRedis(t)
		}
		fail := func(context.Context, string, jobs.Task) (jobs.Result, error) {
			return jobs.Result{}, errors.New("the dog ate it")
		}
		for _, n := range []*node{a, b} {
			n.set(func(n *node) { n.do = fail; n.tries = 0 })
		}
		id := a.ask(t, jobs.Task{Kind: "echo"})
		job := b.await(t, id, jobs.Failed)
		if tries := a.count() + b.count(); job.Reason != "the dog ate it" || job.Tries != jobs.MaxTries || tries != jobs.MaxTries {
			t.Errorf("%+v after %d tries", job, tries)
		}
		if _, err := b.jobs.Result(t.Context(), id); !errors.Is(err, jobs.ErrNotDone) {
			t.Errorf("result of a failed job: %v", err)
		}
		for _, n := range []*node{a, b} {
			n.set(func(n *node) { n.do = echo })
		}
		if found, err := b.jobs.Act(t.Context(), id, false); !found || err != nil {
			t.Fatalf("retry: %v %v", found, err)
		}
		if job := b.await(t, id, jobs.Done); job.Reason != "" && r == nil {
			t.Errorf("after the retry: %+v", job)
		}
		if found, err := b.jobs.Act(t.Context(), id, false); found || err != nil {
			t.Errorf("retry of what is done: %v %v", found, err)
		}
		for _, n := range []*node{a, b} {
			n.set(func(n *node) {
				n.do = func(context.Context, string, jobs.Task) (jobs.Result, error) {
					return jobs.Result{}, fmt.Errorf("%w: never", jobs.ErrPermanent)
				}
				n.tries = 0
			})
		}
		id = a.ask(t, jobs.Task{Kind: "echo"})
		if job := b.await(t, id, jobs.Failed); a.count()+b.count() != 1 || !strings.HasSuffix(job.Reason, "never") || job.Tries != 1 {
			t.Errorf("what fails for good: %+v", job)
		}
		if found, err := b.jobs.Act(t.Context(), id, true); !found || err != nil {
			t.Fatalf("dismiss: %v %v", found, err)
		}
		if _, err := a.jobs.Find(t.Context(), id); !errors.Is(err, jobs.ErrUnknown) {
			t.Errorf("after it was dismissed: %v", err)
		}
	})
}

// TestNodeStops: what a node leaves undone in Redis another one does.
func TestNodeStops(t *testing.T) {
	r, s := redistest.Start(t), newSite()
	a := s.start(t, "a", r.URL())
	a.inRedis(t)
	begun := make(chan struct{}, 1)
	a.set(func(n *node) {
		n.do = func(ctx context.Context, _ string, _ jobs.Task) (jobs.Result, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return jobs.Result{}, ctx.Err()
		}
	})
	id := a.ask(t, jobs.Task{Kind: "echo", File: []byte("x")})
	<-begun
	a.set(func(n *node) { n.gone = true })
	a.stop()
	b := s.start(t, "b", r.URL())
	if job := b.await(t, id, jobs.Done); job.Tries != 0 {
		t.Errorf("a node that stops has not failed: %+v", job)
	}
	if _, away := b.jobs.List(t.Context()); len(away) != 1 || away[0] != "a" {
		t.Errorf("away: %v", away)
	}
}

// TestRedisGone: jobs stay in memory while Redis hangs, and what is there is told to be
// out of reach, not unknown.
func TestRedisGone(t *testing.T) {
	r, s := redistest.Start(t), newSite()
	a := s.start(t, "a", r.URL())
	a.inRedis(t)
	kept := a.ask(t, jobs.Task{Kind: "echo"})
	a.await(t, kept, jobs.Done)
	r.Signal(syscall.SIGSTOP)
	id := a.ask(t, jobs.Task{Kind: "echo"})
	if where, _ := jobs.Split(id); where != "a" {
		t.Errorf("it is at %q", where)
	}
	a.await(t, id, jobs.Done)
	if _, err := a.jobs.Find(t.Context(), kept); !errors.Is(err, jobs.ErrAway) {
		t.Errorf("a job in a redis that hangs: %v", err)
	}
	r.Signal(syscall.SIGCONT)
	s.clock.advance(time.Minute)
	a.inRedis(t)
	a.await(t, kept, jobs.Done)
	r.Must("FLUSHALL")
	if _, err := a.jobs.Find(t.Context(), kept); !errors.Is(err, jobs.ErrUnknown) {
		t.Errorf("a job in a redis that was flushed: %v", err)
	}
	a.inRedis(t)
}

// TestForeign: what somebody else puts into Redis is not done.
func TestForeign(t *testing.T) {
	r, s := redistest.Start(t), newSite()
	a := s.start(t, "a", r.URL())
	a.inRedis(t)
	block := make(chan struct{})
	a.set(func(n *node) {
		n.do = func(ctx context.Context, id string, task jobs.Task) (jobs.Result, error) {
			<-block
			return echo(ctx, id, task)
		}
	})
	// Both hands are busy, so that the third job waits.
	first, second := a.ask(t, jobs.Task{Kind: "echo"}), a.ask(t, jobs.Task{Kind: "echo", File: []byte("secret word")})
	a.await(t, first, jobs.Running)
	a.await(t, second, jobs.Running)
	id := a.ask(t, jobs.Task{Kind: "echo"})
	found, err := r.Keys(t.Context(), "*:task:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	var victim, other []byte
	key := ""
	for _, k := range found {
		v, err := r.Get(t.Context(), k).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(v, []byte("secret word")) {
			t.Error("a file can be read in redis")
		}
		if strings.HasSuffix(k, id) {
			key, victim = k, v
		} else if strings.HasSuffix(k, second) {
			other = v
		}
	}
	if victim == nil || other == nil {
		t.Fatalf("keys: %v", found)
	}
	r.Must("SET", key, other) // another job's
	close(block)
	if job := a.await(t, id, jobs.Failed); !strings.Contains(job.Reason, "not made by this cluster") {
		t.Errorf("%+v", job)
	}
	a.await(t, second, jobs.Done)
}

func TestMemoryIsBounded(t *testing.T) {
	s := newSite()
	a := s.start(t, "a", nil)
	block := make(chan struct{})
	a.set(func(n *node) {
		n.do = func(ctx context.Context, id string, task jobs.Task) (jobs.Result, error) {
			<-block
			return echo(ctx, id, task)
		}
	})
	var ids []string
	for {
		job, err := a.jobs.Start(t.Context(), jobs.Task{Kind: "echo"})
		if errors.Is(err, jobs.ErrFull) {
			break
		} else if err != nil || len(ids) > 1000 {
			t.Fatal(len(ids), err)
		}
		ids = append(ids, job.ID)
	}
	close(block)
	for _, id := range ids {
		a.await(t, id, jobs.Done)
	}
	next := a.ask(t, jobs.Task{Kind: "echo"}) // the oldest one makes room
	a.await(t, next, jobs.Done)
	if _, err := a.jobs.Find(t.Context(), ids[0]); !errors.Is(err, jobs.ErrUnknown) {
		t.Errorf("the oldest: %v", err)
	}
	a.await(t, ids[1], jobs.Done)
	s.clock.advance(jobs.Keep)
	if all, _ := a.jobs.List(t.Context()); len(all) != 0 {
		t.Errorf("kept for too long: %d", len(all))
	}
	large := make([]byte, jobs.MaxBytes+1<<19)
	if _, err := rand.Read(large); err != nil {
		t.Fatal(err)
	}
	if _, err := a.jobs.Start(t.Context(), jobs.Task{File: large}); !errors.Is(err, jobs.ErrTooLarge) {
		t.Errorf("a large file: %v", err)
	}
}

func TestSplit(t *testing.T) {
	for id, want := range map[string]string{
		"n1-1763850000000001": "n1 1763850000000001", "a-b-1763850000000001": "a-b 1763850000000001", "redis-" + strings.Repeat("a1", 16): "redis 0",
		"": " 0", "n1": " 0", "n1-": " 0", "-1763850000000001": " 0", "n1-17": " 0", "n1-x": " 0", "redis-17": " 0", "n1--1763850000000001": "n1- 1763850000000001",
		strings.Repeat("a", 200) + "-1763850000000001": " 0",
	} {
		if place, n := jobs.Split(id); fmt.Sprint(place, " ", n) != want {
			t.Errorf("%q: %q %d, want %q", id, place, n, want)
		}
	}
}
