package shared_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/queue/redistest"
	"hadir/queue/shared"
)

type clock struct{}

func (clock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

type member struct{ id byte }

func (m member) Status() cluster.Status {
	return cluster.Status{Cluster: attendance.ClusterID{m.id}}
}

func start(t *testing.T, r *redistest.Server, site, key byte) *shared.Shared {
	t.Helper()
	s := shared.New(shared.Config{
		Redis: r.URL(), Node: member{site}, Clock: clock{}, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), Keys: [][]byte{bytes.Repeat([]byte{key}, 32)},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return s
}

func open(t *testing.T, s *shared.Shared) {
	t.Helper()
	redistest.Await(t, "redis is shared", func() bool {
		_, err := s.Add(t.Context(), nil, nil)
		return err == nil
	})
}

func TestResults(t *testing.T) {
	r := redistest.Start(t)
	a, b, foreign, forger := start(t, r, 1, 1), start(t, r, 1, 1), start(t, r, 2, 1), start(t, r, 1, 9)
	key, other := sha256.Sum256([]byte("x")), sha256.Sum256([]byte("y"))
	if _, hit := a.Get(t.Context(), key); hit {
		t.Error("a hit without anything")
	}
	for _, s := range []*shared.Shared{a, b, foreign, forger} {
		open(t, s)
	}
	a.Put(key, []byte("Ani was there"))
	redistest.Await(t, "b has it", func() bool { v, hit := b.Get(t.Context(), key); return hit && string(v) == "Ani was there" })
	for _, s := range []*shared.Shared{foreign, forger} {
		if _, hit := s.Get(t.Context(), key); hit {
			t.Error("somebody else has it")
		}
	}
	names, err := r.Keys(t.Context(), "*:result:*").Result()
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	raw, err := r.Get(t.Context(), names[0]).Bytes()
	if err != nil || bytes.Contains(raw, []byte("Ani")) {
		t.Errorf("%q %v", raw, err)
	}
	if left := r.TTL(t.Context(), names[0]).Val(); left <= 0 || left > 10*time.Minute {
		t.Errorf("kept for %s", left)
	}
	forger.Put(key, []byte("Ani was away"))
	redistest.Await(t, "it was written over", func() bool { _, hit := b.Get(t.Context(), key); return !hit })
	a.Put(other, make([]byte, shared.MaxValue+1))
	a.Put(key, []byte("Ani was there"))
	redistest.Await(t, "it is there again", func() bool { _, hit := b.Get(t.Context(), key); return hit })
	if _, hit := b.Get(t.Context(), other); hit {
		t.Error("what is too large is kept")
	}
}

func TestTallies(t *testing.T) {
	r := redistest.Start(t)
	a, b := start(t, r, 1, 1), start(t, r, 1, 1)
	open(t, a)
	open(t, b)
	add := func(s *shared.Shared, name string, by time.Duration) time.Duration {
		t.Helper()
		got, err := s.Add(t.Context(), []string{"other", name}, []time.Duration{0, by})
		if err != nil || len(got) != 2 || got[0] != 0 {
			t.Fatal(got, err)
		}
		return got[1]
	}
	// An hour, so that how slow the machine is does not matter.
	if got := add(a, "x", time.Hour); got <= 59*time.Minute || got > time.Hour {
		t.Errorf("after one: %s", got)
	}
	if got := add(b, "x", time.Hour); got <= 119*time.Minute || got > 2*time.Hour {
		t.Errorf("after two: %s", got)
	}
	if got := add(a, "y", time.Millisecond); got > time.Millisecond {
		t.Errorf("another one: %s", got)
	}
	redistest.Await(t, "what is full is forgotten", func() bool {
		names, err := r.Keys(t.Context(), "*:tally:*").Result()
		return err == nil && len(names) == 1
	})
	names := r.Keys(t.Context(), "*:tally:*").Val()
	r.Must("SET", names[0], "rubbish")
	if got := add(a, "x", time.Hour); got <= 59*time.Minute || got > time.Hour {
		t.Errorf("after rubbish: %s", got)
	}
	r.Must("DEL", names[0])
	r.Must("LPUSH", names[0], "a list")
	if _, err := a.Add(t.Context(), []string{"x"}, []time.Duration{1}); !errors.Is(err, shared.ErrAway) {
		t.Errorf("a value of the wrong type: %v", err)
	}
}

// TestRedisHangs: one question waits for its budget, the next ones do not.
func TestRedisHangs(t *testing.T) {
	r := redistest.Start(t)
	a := start(t, r, 1, 1)
	open(t, a)
	r.Signal(syscall.SIGSTOP)
	if _, err := a.Add(t.Context(), []string{"x"}, []time.Duration{time.Second}); !errors.Is(err, shared.ErrAway) {
		t.Errorf("a redis that hangs: %v", err)
	}
	for range 1000 { // without the way being closed it would be minutes
		if _, hit := a.Get(t.Context(), sha256.Sum256(nil)); hit {
			t.Fatal("a hit")
		}
		if _, err := a.Add(t.Context(), []string{"x"}, []time.Duration{time.Second}); !errors.Is(err, shared.ErrAway) {
			t.Fatal(err)
		}
	}
	r.Signal(syscall.SIGCONT)
	open(t, a)
	r.Kill()
	redistest.Await(t, "the way is closed", func() bool { _, err := a.Add(t.Context(), nil, nil); return errors.Is(err, shared.ErrAway) })
	r.Restart()
	open(t, a)
}
