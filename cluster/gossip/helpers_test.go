package gossip

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/goleak"

	"hadir/cluster/transport"
)

var _ Keys = transport.Keys{}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type sysClock struct{}

func (sysClock) Now() time.Time { return time.Now() }
func (sysClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("timeout: %s", what)
		case <-tick.C:
		}
	}
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

func testKeys(t testing.TB, n int) []transport.Key {
	t.Helper()
	out := make([]transport.Key, n)
	for i := range out {
		k, err := transport.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = k
	}
	return out
}

func keysOf(t testing.TB, keys ...transport.Key) transport.Keys {
	t.Helper()
	ks, err := transport.NewKeys(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

// quick makes failures visible in fractions of a second.
func quick() Timing {
	return Timing{
		Rejoin:              100 * time.Millisecond,
		ProbeInterval:       100 * time.Millisecond,
		ProbeTimeout:        50 * time.Millisecond,
		GossipInterval:      20 * time.Millisecond,
		PushPull:            time.Hour, // so that nothing but the tested way heals
		GossipToTheDeadTime: 300 * time.Millisecond,
		DeadNodeReclaimTime: 50 * time.Millisecond,
		Stream:              500 * time.Millisecond,
		SuspicionMult:       2,
	}
}

func testConfig(keys Keys, id string, seeds ...string) (Config, *syncBuffer) {
	out := &syncBuffer{}
	return Config{
		Bind:   "127.0.0.1:0",
		Seeds:  seeds,
		Keys:   keys,
		Meta:   Meta{ID: id, Name: id, Incarnation: 1, Generation: 1, Version: "test"},
		Clock:  sysClock{},
		Rand:   rand.Reader,
		Logger: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Timing: quick(),
	}, out
}

type testNode struct {
	*Gossip
	out *syncBuffer
}

func start(t *testing.T, keys Keys, id string, change func(*Config), seeds ...string) *testNode {
	t.Helper()
	cfg, out := testConfig(keys, id, seeds...)
	if change != nil {
		change(&cfg)
	}
	g, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return &testNode{Gossip: g, out: out}
}

func (n *testNode) ids() string {
	var out []string
	for _, m := range n.Members() {
		out = append(out, m.ID)
	}
	return strings.Join(out, " ")
}

func allSee(t *testing.T, want string, nodes ...*testNode) {
	t.Helper()
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("node %d sees %q, not %q", i, want, n.ids()), func() bool { return n.ids() == want })
	}
}

// cuttable is a network that can be cut off.
type cuttable struct {
	memberlist.NodeAwareTransport
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	wg      sync.WaitGroup

	mu  sync.Mutex
	cut bool
}

func newCuttable(t *testing.T) (*cuttable, string) {
	t.Helper()
	nt, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	c := &cuttable{
		NodeAwareTransport: nt,
		packets:            make(chan *memberlist.Packet),
		streams:            make(chan net.Conn),
		done:               make(chan struct{}),
	}
	c.wg.Add(1)
	go c.pump()
	return c, fmt.Sprintf("127.0.0.1:%d", nt.GetAutoBindPort())
}

func (c *cuttable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
}

func (c *cuttable) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

func (c *cuttable) pump() {
	defer c.wg.Done()
	for {
		select {
		case p := <-c.NodeAwareTransport.PacketCh():
			if !c.isCut() {
				select {
				case c.packets <- p:
				case <-c.done:
				}
			}
		case s := <-c.NodeAwareTransport.StreamCh():
			if c.isCut() {
				s.Close() //nolint:errcheck // test
				continue
			}
			select {
			case c.streams <- s:
			case <-c.done:
				s.Close() //nolint:errcheck // test
			}
		case <-c.done:
			return
		}
	}
}

func (c *cuttable) PacketCh() <-chan *memberlist.Packet { return c.packets }
func (c *cuttable) StreamCh() <-chan net.Conn           { return c.streams }

func (c *cuttable) WriteTo(b []byte, addr string) (time.Time, error) {
	if c.isCut() {
		return time.Now(), nil
	}
	return c.NodeAwareTransport.WriteTo(b, addr)
}

func (c *cuttable) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	if c.isCut() {
		return time.Now(), nil
	}
	return c.NodeAwareTransport.WriteToAddress(b, addr)
}

func (c *cuttable) DialTimeout(addr string, d time.Duration) (net.Conn, error) {
	return c.DialAddressTimeout(memberlist.Address{Addr: addr}, d)
}

func (c *cuttable) DialAddressTimeout(addr memberlist.Address, d time.Duration) (net.Conn, error) {
	if c.isCut() {
		return nil, fmt.Errorf("cut off")
	}
	return c.NodeAwareTransport.DialAddressTimeout(addr, d)
}

func (c *cuttable) Shutdown() error {
	// The pump must drain until the listeners below have ended.
	err := c.NodeAwareTransport.Shutdown()
	close(c.done)
	c.wg.Wait()
	return err
}
