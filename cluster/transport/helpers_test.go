package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sysClock is the real clock.
type sysClock struct{}

func (sysClock) Now() time.Time { return time.Now() }
func (sysClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// handClock fires only when told to.
type handClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*handTimer]struct{}
}

type handTimer struct {
	at time.Time
	f  func()
}

func newHandClock() *handClock {
	return &handClock{now: time.Unix(1e9, 0), timers: make(map[*handTimer]struct{})}
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &handTimer{at: c.now.Add(d), f: f}
	c.timers[t] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, armed := c.timers[t]
		delete(c.timers, t)
		return armed
	}
}

// advance moves the time and runs what is due.
func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var due []*handTimer
	for t := range c.timers {
		if !t.at.After(c.now) {
			due = append(due, t)
			delete(c.timers, t)
		}
	}
	c.mu.Unlock()
	for _, t := range due {
		t.f()
	}
}

// waitTimers waits until n timers are armed.
func (c *handClock) waitTimers(t *testing.T, n int) {
	t.Helper()
	eventually(t, "timers armed", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.timers) >= n
	})
}

// eventually polls a condition for up to ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("timeout: %s", what)
		case <-tick.C:
		}
	}
}

// fixedIdentity is an Identity that tests change.
type fixedIdentity struct {
	mu sync.Mutex
	c  Cluster
}

func (f *fixedIdentity) Cluster() Cluster {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.c
}

func (f *fixedIdentity) set(c Cluster) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.c = c
}

func testKeys(t testing.TB, n int) []Key {
	t.Helper()
	out := make([]Key, n)
	for i := range out {
		k, err := GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = k
	}
	return out
}

func mustKeys(t testing.TB, keys ...Key) Keys {
	t.Helper()
	ks, err := NewKeys(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

var member = Cluster{ID: "c1", Epoch: 1, Admitted: true}

// testNode is a Listener and what it was made of.
type testNode struct {
	*Listener
	id  *fixedIdentity
	log *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func testConfig(t testing.TB, keys Keys, id string) (Config, *fixedIdentity, *syncBuffer) {
	t.Helper()
	who := &fixedIdentity{c: member}
	log := &syncBuffer{}
	return Config{
		Addr:     "127.0.0.1:0",
		Keys:     keys,
		Self:     Self{ID: id, Incarnation: 7, Generation: 3},
		Identity: who,
		Admit:    func(Peer) error { return nil },
		Clock:    sysClock{},
		Rand:     rand.Reader,
		Logger:   slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, who, log
}

func startNode(t testing.TB, keys Keys, id string, change ...func(*Config)) *testNode {
	t.Helper()
	cfg, who, log := testConfig(t, keys, id)
	for _, f := range change {
		f(&cfg)
	}
	l, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &testNode{Listener: l, id: who, log: log}
}

func (n *testNode) target() Target { return Target{ID: n.cfg.Self.ID, Addr: n.Addr().String()} }

// drain accepts and keeps connections of a listener until it closes.
func drain(ln net.Listener) {
	go func() {
		for {
			if _, err := ln.Accept(); err != nil {
				return
			}
		}
	}()
}

func (n *testNode) dial(proto Protocol, target Target) (*Conn, error) {
	return n.Dial(context.Background(), proto, target, 5*time.Second)
}
