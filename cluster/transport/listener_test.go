package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestRefusals(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	for _, tc := range []struct {
		name     string
		proto    Protocol
		server   func(*Config)
		serverID Cluster
		clientID Cluster
		target   string // server id, empty: the real one; "-": none
		want     error
	}{
		{name: "raft", proto: ProtocolRaft, serverID: member, clientID: member},
		{name: "rpc", proto: ProtocolRPC, serverID: member, clientID: member},
		{name: "rpc, id unknown", proto: ProtocolRPC, serverID: member, clientID: member, target: "-"},
		{name: "rpc, both fresh", proto: ProtocolRPC, target: "-"},
		{name: "rpc, fresh asks member", proto: ProtocolRPC, serverID: member},
		{name: "rpc, member asks fresh", proto: ProtocolRPC, clientID: member},
		{name: "rpc, wrong cluster", proto: ProtocolRPC, serverID: member, clientID: Cluster{ID: "c2", Epoch: 1}, want: ErrWrongCluster},
		{name: "rpc, wrong epoch", proto: ProtocolRPC, serverID: member, clientID: Cluster{ID: "c1", Epoch: 2}, want: ErrWrongEpoch},
		{name: "rpc, wiped node", proto: ProtocolRPC, serverID: member, clientID: member, target: "n2.old", want: ErrNotAddressee},
		{name: "raft, wrong cluster", proto: ProtocolRaft, serverID: member, clientID: Cluster{ID: "c2", Epoch: 1, Admitted: true}, want: ErrWrongCluster},
		{name: "raft, wrong epoch", proto: ProtocolRaft, serverID: member, clientID: Cluster{ID: "c1", Epoch: 2, Admitted: true}, want: ErrWrongEpoch},
		{name: "raft, wiped node", proto: ProtocolRaft, serverID: Cluster{}, clientID: member, target: "n2.old", want: ErrNotAddressee},
		{name: "raft, server fresh", proto: ProtocolRaft, clientID: member, want: ErrNotAdmitted},
		{name: "raft, server not admitted", proto: ProtocolRaft, serverID: Cluster{ID: "c1", Epoch: 1}, clientID: member, want: ErrNotAdmitted},
		{name: "raft, client not admitted", proto: ProtocolRaft, serverID: member, clientID: Cluster{ID: "c1", Epoch: 1}, want: ErrNotAdmitted},
		{name: "raft, no id", proto: ProtocolRaft, serverID: member, clientID: member, target: "-", want: ErrNotAddressee},
		{
			name: "stale generation", proto: ProtocolRaft, serverID: member, clientID: member, want: ErrStaleGeneration,
			server: func(c *Config) {
				c.Admit = func(p Peer) error { return fmt.Errorf("seen 4 from %s: %w", p.ID, ErrStaleGeneration) }
			},
		},
		{
			name: "policy says no", proto: ProtocolRPC, serverID: member, clientID: member, want: ErrNotAdmitted,
			server: func(c *Config) { c.Admit = func(Peer) error { return errors.New("removed") } },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.server == nil {
				tc.server = func(*Config) {}
			}
			server := startNode(t, keys, "n2.new", tc.server)
			client := startNode(t, keys, "n1.a")
			server.id.set(tc.serverID)
			client.id.set(tc.clientID)
			stream := openStream(t, server)
			openStream(t, client)
			got := make(chan net.Conn, 1)
			for _, ln := range []net.Listener{stream, server.RPC()} {
				go func() {
					if c, err := ln.Accept(); err == nil {
						got <- c
					}
				}()
			}
			target := server.target()
			switch tc.target {
			case "":
			case "-":
				target.ID = ""
			default:
				target.ID = tc.target
			}
			conn, err := client.dial(tc.proto, target)
			if !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if tc.want == nil {
				in := (<-got).(interface{ Peer() Peer }).Peer()
				if in.ID != "n1.a" || in.ClusterID != tc.clientID.ID || in.Generation != 3 || in.Incarnation != 7 || in.Run != client.run || in.Outbound || in.Protocol != tc.proto {
					t.Errorf("server sees %+v", in)
				}
				out := conn.Peer()
				if out.ID != "n2.new" || out.ClusterID != tc.serverID.ID || out.Run != server.run || !out.Outbound || out.Protocol != tc.proto {
					t.Errorf("client sees %+v", out)
				}
				conn.Close() //nolint:errcheck // test
				return
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("several lines: %q", err)
			}
			var refused *RefusedError
			if errors.As(err, &refused) {
				if !refused.Remote || refused.Peer.ID != "n2.new" || !errors.Is(err, ErrRefused) {
					t.Errorf("refusal %+v", refused)
				}
				eventually(t, "server counts and logs the refusal", func() bool {
					return server.Stats().Refused == 1 && strings.Contains(server.log.String(), tc.want.Error())
				})
			}
			select {
			case c := <-got:
				t.Errorf("a refused connection was delivered: %v", c)
			default:
			}
		})
	}
}

func TestRaftPortClosedWithoutRaft(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	server, client := startNode(t, keys, "n2"), startNode(t, keys, "n1")
	openStream(t, client)
	if _, err := client.dial(ProtocolRaft, server.target()); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("before raft: %v", err)
	}
	stream := openStream(t, server)
	if _, err := server.openStream(); err == nil {
		t.Error("two raft transports on one listener")
	}
	drain(stream)
	conn, err := client.dial(ProtocolRaft, server.target())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a raft connection survived the end of raft")
	}
	if _, err := client.dial(ProtocolRaft, server.target()); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("after raft: %v", err)
	}
}

func TestAdmitSeesBothDirections(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	server := startNode(t, keys, "n2")
	client := startNode(t, keys, "n1", func(c *Config) {
		c.Admit = func(p Peer) error {
			if p.Outbound && p.ID == "n2" && p.Generation == 3 {
				return ErrStaleGeneration
			}
			return nil
		}
	})
	drain(server.RPC())
	_, err := client.dial(ProtocolRPC, server.target())
	var refused *RefusedError
	if !errors.Is(err, ErrStaleGeneration) || !errors.As(err, &refused) || refused.Remote {
		t.Errorf("%v", err)
	}
}

func TestWrongKey(t *testing.T) {
	k := testKeys(t, 2)
	server := startNode(t, mustKeys(t, k[0]), "n2")
	client := startNode(t, mustKeys(t, k[1]), "n1")
	_, err := client.dial(ProtocolRPC, server.target())
	if !errors.Is(err, ErrWrongKey) {
		t.Errorf("client: %v", err)
	}
	eventually(t, "server says so too", func() bool {
		return server.Stats().Failed == 1 && strings.Contains(server.log.String(), ErrWrongKey.Error())
	})
	for _, secret := range []string{k[0].Encode(), k[1].Encode()} {
		if strings.Contains(server.log.String()+err.Error(), secret) {
			t.Error("a key in the log")
		}
	}
}

// TestKeyRotation walks three steps node by node; every pair must talk in both
// directions at every moment.
func TestKeyRotation(t *testing.T) {
	k := testKeys(t, 2)
	old, added, swapped, fresh := mustKeys(t, k[0]), mustKeys(t, k[0], k[1]), mustKeys(t, k[1], k[0]), mustKeys(t, k[1])
	for i, pair := range [][2]Keys{{old, added}, {added, swapped}, {swapped, fresh}} {
		a, b := startNode(t, pair[0], "n1"), startNode(t, pair[1], "n2")
		drain(a.RPC())
		drain(b.RPC())
		for _, d := range [][2]*testNode{{a, b}, {b, a}} {
			if _, err := d[0].dial(ProtocolRPC, d[1].target()); err != nil {
				t.Errorf("step %d: %v", i, err)
			}
		}
	}
	// The step that must not be skipped: the server accepts TLS and the client
	// learns the verdict on its certificate where it waits for the answer.
	a, b := startNode(t, swapped, "n1"), startNode(t, old, "n2")
	drain(b.RPC())
	if _, err := a.dial(ProtocolRPC, b.target()); !errors.Is(err, ErrWrongKey) {
		t.Errorf("skipped step: %v", err)
	}
}

func TestCertificateMustMatchPreamble(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	server, liar := startNode(t, keys, "n2"), startNode(t, keys, "n1")
	liar.cfg.Self.ID = "n3" // certificate says n1
	if _, err := liar.dial(ProtocolRPC, server.target()); !errors.Is(err, ErrPeerIdentity) {
		t.Errorf("%v", err)
	}
}

func TestNoKeyMeansLoopback(t *testing.T) {
	dev := DevelopmentKeys()
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		cfg, _, _ := testConfig(t, dev, "n1")
		cfg.Addr, cfg.Advertise = addr, "127.0.0.1:1"
		if l, err := Listen(cfg); !errors.Is(err, ErrKeyRequired) {
			t.Errorf("listen %s: %v", addr, err)
			if err == nil {
				l.Close() //nolint:errcheck // test
			}
		}
	}
	a, b := startNode(t, dev, "n1"), startNode(t, dev, "n2")
	drain(b.RPC())
	if _, err := a.dial(ProtocolRPC, b.target()); err != nil {
		t.Errorf("loopback: %v", err)
	}
	if _, err := a.dial(ProtocolRPC, Target{Addr: "192.0.2.1:9"}); !errors.Is(err, ErrKeyRequired) {
		t.Errorf("dial: %v", err)
	}
	if _, err := Listen(Config{}); err == nil {
		t.Error("empty config accepted")
	}
	cfg, _, _ := testConfig(t, Keys{}, "n1")
	if _, err := Listen(cfg); !errors.Is(err, ErrNoKey) {
		t.Errorf("no keys at all: %v", err)
	}
}

func TestAdvertiseIsRequiredForWildcard(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	cfg, _, _ := testConfig(t, keys, "n1")
	cfg.Addr = ":0"
	if _, err := Listen(cfg); err == nil {
		t.Fatal("accepted")
	}
	cfg.Advertise = "node1.example:4000"
	l, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // test
	if l.Addr().String() != "node1.example:4000" || l.ListenAddr().String() == l.Addr().String() {
		t.Errorf("%v %v", l.Addr(), l.ListenAddr())
	}
}

func TestSlowHandshakeIsCut(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	for _, tc := range []struct {
		name  string
		start func(t *testing.T, raw net.Conn, n *testNode)
	}{
		{"no TLS", func(*testing.T, net.Conn, *testNode) {}},
		{"no preamble", func(t *testing.T, raw net.Conn, n *testNode) {
			if err := tls.Client(raw, n.creds.client(ProtocolRPC)).Handshake(); err != nil {
				t.Fatal(err)
			}
		}},
		{"nobody accepts", func(t *testing.T, raw net.Conn, n *testNode) {
			if _, err := n.greet(context.Background(), raw, ProtocolRPC, n.target(), member); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clock := newHandClock()
			n := startNode(t, keys, "n1", func(c *Config) { c.Clock = clock })
			raw, err := net.Dial("tcp", n.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close() //nolint:errcheck // test
			tc.start(t, raw, n)
			eventually(t, "tracked", func() bool { return n.Stats().Open == 1 })
			clock.waitTimers(t, 1)
			clock.advance(DefaultHandshakeTimeout - 1)
			if got := n.Stats(); got.Failed != 0 {
				t.Fatalf("cut too early: %+v", got)
			}
			clock.advance(1)
			eventually(t, "cut and counted", func() bool {
				s := n.Stats()
				return s.Failed == 1 && s.Open == 0 && strings.Contains(n.log.String(), "timeout")
			})
		})
	}
}

func TestDialTimeout(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	n := startNode(t, keys, "n1")
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close() //nolint:errcheck // test
	target := Target{ID: "n2", Addr: mute.Addr().String()}
	if _, err := n.Dial(context.Background(), ProtocolRPC, target, 30*time.Millisecond); !errors.Is(err, ErrHandshakeTimeout) {
		t.Errorf("timeout: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("caller gave up")
	cancel(why)
	if _, err := n.Dial(ctx, ProtocolRPC, target, time.Minute); !errors.Is(err, why) {
		t.Errorf("context: %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := n.Dial(context.Background(), ProtocolRPC, target, time.Minute)
		done <- err
	}()
	eventually(t, "dialling", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.dialled) == 1
	})
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("close: %v", err)
	}
	if _, err := n.dial(ProtocolRPC, target); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func TestConnectionLimit(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	n := startNode(t, keys, "n1", func(c *Config) { c.MaxConns = 2 })
	var conns []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", n.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // test
		conns = append(conns, c)
	}
	eventually(t, "two open", func() bool { return n.Stats().Open == 2 })
	third, err := net.Dial("tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close() //nolint:errcheck // test
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Error("not closed")
	}
	if got := n.Stats(); got.OverLimit != 1 || got.Open != 2 {
		t.Errorf("%+v", got)
	}
	conns[0].Close() //nolint:errcheck // test
	eventually(t, "room again", func() bool { return n.Stats().Open == 1 })
}

// flakyListener fails a few times like a process out of file descriptors.
type flakyListener struct {
	net.Listener
	mu    sync.Mutex
	fails int
}

func (f *flakyListener) Accept() (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails > 0 {
		f.fails--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

func TestAcceptErrorsAreRetried(t *testing.T) {
	cfg, _, log := testConfig(t, mustKeys(t, testKeys(t, 1)...), "n1")
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	l, err := newListener(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		t.Fatal(err)
	}
	l.advertise = ln.Addr().String()
	l.start(&flakyListener{Listener: ln, fails: 3})
	drain(l.RPC())
	if _, err := l.Dial(context.Background(), ProtocolRPC, Target{ID: "n1", Addr: l.advertise}, 5*time.Second); err != nil {
		t.Errorf("after errors: %v", err)
	}
	if got := l.Stats().AcceptErrors; got != 3 || strings.Count(log.String(), "accept failed") != 1 {
		t.Errorf("%d errors, log:\n%s", got, log)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseCutsEverything(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	server, client := startNode(t, keys, "n2"), startNode(t, keys, "n1")
	drain(server.RPC())
	var conns []*Conn
	for range 4 {
		c, err := client.dial(ProtocolRPC, server.target())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	raw, err := net.Dial("tcp", server.Addr().String()) // in handshake
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close() //nolint:errcheck // test
	eventually(t, "all open", func() bool { return server.Stats().Open == 5 })
	for range 2 {
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range conns {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("still open")
		}
		c.Close() //nolint:errcheck // test
	}
	if got := server.Stats().Open; got != 0 {
		t.Errorf("%d open", got)
	}
	if _, err := server.RPC().Accept(); !errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	client.mu.Lock()
	defer client.mu.Unlock()
	if len(client.open) != 0 || len(client.dialled) != 0 {
		t.Errorf("closed connections are tracked: %d %d", len(client.open), len(client.dialled))
	}
}

func TestDrop(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	server := startNode(t, keys, "n2")
	drain(server.RPC())
	older := startNode(t, keys, "n1", func(c *Config) { c.Self.Generation = 1 })
	newer := startNode(t, keys, "n1", func(c *Config) { c.Self.Generation = 2 })
	a, err := older.dial(ProtocolRPC, server.target())
	if err != nil {
		t.Fatal(err)
	}
	b, err := newer.dial(ProtocolRPC, server.target())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both accepted", func() bool { return server.Stats().Accepted == 2 })
	if n := server.Drop(func(p Peer) bool { return p.ID == "n1" && p.Generation < 2 }); n != 1 {
		t.Errorf("dropped %d", n)
	}
	if _, err := a.Read(make([]byte, 1)); err == nil {
		t.Error("the older one lives")
	}
	if _, err := b.Write([]byte("x")); err != nil {
		t.Errorf("the newer one: %v", err)
	}
}

// TestStalledSnapshotIsCut sends the beginning of a message and then nothing.
// An idle connection must stay, one in the middle of a message must not.
func TestStalledSnapshotIsCut(t *testing.T) {
	clock := newHandClock()
	keys := mustKeys(t, testKeys(t, 1)...)
	server := startNode(t, keys, "n2", func(c *Config) { c.Clock = clock })
	client := startNode(t, keys, "n1")
	stream := openStream(t, server)
	openStream(t, client)
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := stream.Accept(); err == nil {
			accepted <- c
		}
	}()
	out, err := client.dial(ProtocolRaft, server.target())
	if err != nil {
		t.Fatal(err)
	}
	in := <-accepted
	buf := make([]byte, 3)
	exchange := func() {
		t.Helper()
		if _, err := out.Write([]byte("req")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(in, buf); err != nil {
			t.Fatal(err)
		}
	}
	exchange()
	if !in.(*steadyConn).inside.Load() {
		t.Error("a message has begun")
	}
	if _, err := in.Write([]byte("res")); err != nil {
		t.Fatal(err)
	}
	if in.(*steadyConn).inside.Load() {
		t.Error("after its answer a message is over")
	}
	idle := make(chan error)
	go func() { // waits for the next request: no limit
		_, err := io.ReadFull(in, buf)
		idle <- err
	}()
	clock.advance(100 * DefaultStallTimeout)
	if _, err := out.Write([]byte("snp")); err != nil {
		t.Fatal(err)
	}
	if err := <-idle; err != nil {
		t.Fatalf("idle connection: %v", err)
	}
	go func() { // waits for the rest of the message
		_, err := in.Read(buf)
		idle <- err
	}()
	clock.waitTimers(t, 1)
	clock.advance(DefaultStallTimeout)
	if err := <-idle; err == nil {
		t.Error("stalled connection was not cut")
	}
}

func openStream(t *testing.T, n *testNode) *streamLayer {
	t.Helper()
	s, err := n.openStream()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestANewerStartEndsTheOlderOnes has two processes with copies of one data
// directory: the older one must not go on with what it had open.
func TestANewerStartEndsTheOlderOnes(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	generation := func(g uint64) func(*Config) { return func(c *Config) { c.Self.Generation = g } }
	server := startNode(t, keys, "s.x")
	drain(server.RPC())
	old, other := startNode(t, keys, "a.x", generation(3)), startNode(t, keys, "b.x", generation(1))
	first, err := old.dial(ProtocolRPC, server.target())
	if err != nil {
		t.Fatal(err)
	}
	bystander, err := other.dial(ProtocolRPC, server.target())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are established", func() bool { return server.Stats().Accepted == 2 })
	newer := startNode(t, keys, "a.x", generation(4))
	second, err := newer.dial(ProtocolRPC, server.target())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the older one may go on")
	}
	for _, c := range []*Conn{second, bystander} {
		if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := c.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("a connection that nothing is wrong with: %v", err)
		}
	}
	// One that was admitted before the newer one came, and is established after it.
	late, err := old.dial(ProtocolRPC, server.target())
	if err == nil {
		if _, err = late.Read(make([]byte, 1)); err == nil {
			t.Error("the older one is back")
		}
	}
}
