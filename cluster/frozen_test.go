package cluster

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hadir/store"
)

// gate is a TCP proxy in front of a node's port whose connections can be frozen,
// as SIGSTOP or a cut cable freezes them: nothing is lost and nothing arrives.
type gate struct {
	wg     sync.WaitGroup
	frozen atomic.Bool
	mu     sync.Mutex
	thaw   *sync.Cond
	conns  []net.Conn
	ln     net.Listener
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{ln: ln}
	g.thaw = sync.NewCond(&g.mu)
	g.wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close() //nolint:errcheck // the node behind is gone
				continue
			}
			g.mu.Lock()
			g.conns = append(g.conns, in, out)
			g.mu.Unlock()
			g.wg.Go(func() { g.copy(out, in) })
			g.wg.Go(func() { g.copy(in, out) })
		}
	})
	return g
}

func (g *gate) copy(dst, src net.Conn) {
	defer dst.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := src.Read(b)
		g.mu.Lock()
		for g.frozen.Load() {
			g.thaw.Wait()
		}
		g.mu.Unlock()
		if _, werr := dst.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (g *gate) freeze(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen.Store(on)
	g.thaw.Broadcast()
}

func (g *gate) close() {
	g.freeze(false)
	g.ln.Close() //nolint:errcheck // test
	g.mu.Lock()
	for _, c := range g.conns {
		c.Close() //nolint:errcheck // test
	}
	g.mu.Unlock()
	g.wg.Wait()
}

// TestAFrozenLeaderIsLetGoOf freezes what reaches the leader and ends what it sends.
// Strong reads and the proofs of freshness elsewhere must go on with its successor,
// and nobody's end may wait for it.
func TestAFrozenLeaderIsLetGoOf(t *testing.T) {
	gates := make([]*gate, 3)
	g := newGroup(t, 3, func(i int, c *Config) {
		gates[i] = newGate(t, c.PeerAddr)
		t.Cleanup(gates[i].close) // after the nodes have ended
		c.PeerAdvertise = gates[i].ln.Addr().String()
	})
	g.startAll()
	leader := g.leader()
	old := g.nodes[leader]
	gates[leader].freeze(true)
	// A frozen leader sends no heartbeats either. The node RPC stays open.
	if err := old.transport.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var wg sync.WaitGroup
	for i, n := range g.nodes {
		if i == leader {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
			defer cancel()
			if _, err := n.Read(ctx, Read{Consistency: Strong}, func(*store.ReadTx) error { return nil }); err != nil {
				t.Errorf("strong read: %v", err)
			}
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("a strong read took %s", took)
			}
			g.await("fresh again", func() bool { f := n.Freshness(); return f.AsOf.After(start) && !f.Stale })
		})
	}
	wg.Wait()
	for i := range g.nodes {
		if i == leader {
			continue
		}
		n := g.take(i)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		endsWithin(t, 4*time.Second, "shutdown", func() { _ = n.Shutdown(ctx) })
	}
	gates[leader].freeze(false)
}
