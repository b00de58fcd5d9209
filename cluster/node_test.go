package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hadir/attendance"
	"hadir/cluster/transport"
	"hadir/store"
)

// Raft forgets futures when it shuts down; who waits for one of them stays behind.
// memberlist does not wait for a probe under way, which ends within a second.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/hashicorp/raft.(*deferError).Error"),
		goleak.IgnoreTopFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

// systemClock is the real clock: these tests run real nodes.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }
func (systemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// skewedClock is off by a fixed time.
type skewedClock struct {
	systemClock
	by time.Duration
}

func (c skewedClock) Now() time.Time { return time.Now().Add(c.by) }

func testLog(t testing.TB) *slog.Logger {
	if os.Getenv("HADIR_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// freeAddrs gives addresses that were free a moment ago.
func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	var out []string
	for range lastPort - firstPort {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+int(nextPort.Add(1))%(lastPort-firstPort)))
		tcp, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", addr)
		if err == nil {
			udp.Close() //nolint:errcheck // it was only tried
			out = append(out, addr)
		}
		tcp.Close() //nolint:errcheck // as above
		if len(out) == n {
			return out
		}
	}
	t.Fatal("no free ports")
	return nil
}

// Ports that the system gives to nobody by itself: what it gives may be given to
// another program between the look and the node's own bind.
const (
	firstPort = 5_000
	lastPort  = 12_000
)

var nextPort atomic.Int64

// group is some nodes in this process.
type group struct {
	t       *testing.T
	configs []Config
	nodes   []*Node // nil where stopped
}

func newGroup(t *testing.T, n int, change ...func(i int, c *Config)) *group {
	t.Helper()
	addrs := freeAddrs(t, 2*n)
	g := &group{t: t, nodes: make([]*Node, n)}
	for i := range n {
		c := Config{
			Name: fmt.Sprint("n", i+1), DataDir: t.TempDir(), PeerAddr: addrs[i], GossipAddr: addrs[n+i], Join: addrs[n:],
			BootstrapExpect: n, Keys: transport.DevelopmentKeys(), Version: "test",
			Clock: systemClock{}, Rand: rand.Reader, Log: testLog(t), RaftMultiplier: 1, stall: time.Minute,
			Halt: func(err error) { t.Errorf("halted: %v", err) },
			Genesis: func() ([]attendance.Command, error) {
				system := attendance.Principal{Kind: attendance.SystemPrincipal}
				var out []attendance.Command
				for i := range 9 {
					out = append(out, attendance.Command{Principal: system, Key: fmt.Sprint("user-", i), Body: attendance.PutUser{
						Name: fmt.Sprint("Person ", i), Email: fmt.Sprintf("p%d@example.test", i), Role: attendance.Admin, Active: true,
					}})
				}
				return append(out, attendance.Command{
					Principal: system, Key: "secret", Body: attendance.RotateSecret{Name: "session", Value: make([]byte, 32)},
				}), nil
			},
			Founded: func(tx *store.ReadTx) bool { _, err := tx.Secret("session"); return err == nil },
		}
		for _, f := range change {
			f(i, &c)
		}
		g.configs = append(g.configs, c)
	}
	t.Cleanup(func() {
		for i := range g.nodes {
			g.stop(i)
		}
	})
	return g
}

func (g *group) start(i int) {
	g.t.Helper()
	n, err := Start(context.Background(), g.configs[i])
	if err != nil {
		g.t.Fatal(err)
	}
	g.nodes[i] = n
}

func (g *group) stop(i int) {
	g.t.Helper()
	if g.nodes[i] == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := g.nodes[i].Shutdown(ctx); err != nil {
		g.t.Errorf("shutdown of n%d: %v", i+1, err)
	}
	g.nodes[i] = nil
}

func (g *group) startAll() {
	g.t.Helper()
	for i := range g.nodes {
		g.start(i)
	}
	for _, n := range g.nodes {
		g.await("ready", func() bool {
			select {
			case <-n.Ready():
				return true
			default:
				return false
			}
		})
	}
	g.await("set up", func() bool {
		_, err := g.nodes[0].Read(g.ctx(), Read{}, func(tx *store.ReadTx) error { _, err := tx.Secret("session"); return err })
		return err == nil
	})
}

func (g *group) await(what string, ok func() bool) {
	g.t.Helper()
	deadline := time.Now().Add(2 * time.Minute) // for a busy machine with the race detector
	for !ok() {
		if time.Now().After(deadline) {
			g.t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(10 * time.Millisecond) // polling a condition, not waiting for a time
	}
}

func (g *group) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	g.t.Cleanup(cancel)
	return ctx
}

func (g *group) leader() int {
	g.t.Helper()
	leader := -1
	g.await("a leader", func() bool {
		for i, n := range g.nodes {
			if n != nil && n.isLeader() {
				leader = i
				return true
			}
		}
		return false
	})
	return leader
}

func (g *group) checkIn(i int, user uint64, key string) Result {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second) // a leader may have to be elected
	defer cancel()
	r, err := g.nodes[i].Propose(ctx, checkIn(user, key))
	if err != nil {
		g.t.Fatalf("check-in at n%d: %v", i+1, err)
	}
	return r
}

func checkIn(user uint64, key string) Request {
	return Request{ReceivedAt: time.Now(), Command: attendance.Command{
		Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: user}, Key: key, Node: "n1",
		Body: attendance.CheckIn{UserID: user, Kind: attendance.In},
	}}
}

func TestOneDecisionThroughAnyNode(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	leader := g.leader()
	follower := (leader + 1) % 3

	first := g.checkIn(follower, 1, "k1")
	if first.Outcome.Status != attendance.AcceptedStatus || !first.Forwarded || first.Leader != g.configs[leader].Name {
		t.Fatalf("through a follower: %+v", first)
	}
	for i := range g.nodes {
		again := g.checkIn(i, 1, "k1")
		if !again.Outcome.Replayed || again.Outcome.Record.ID != first.Outcome.Record.ID {
			t.Errorf("the same key at n%d: %+v", i+1, again.Outcome)
		}
		other := g.checkIn(i, 1, fmt.Sprint("other-", i))
		if other.Outcome.Status != attendance.DuplicateStatus || other.Outcome.Record.ID != first.Outcome.Record.ID {
			t.Errorf("another key at n%d: %+v", i+1, other.Outcome)
		}
		// Read your own write on any node.
		if _, err := g.nodes[i].Read(g.ctx(), Read{MinIndex: first.Index}, func(tx *store.ReadTx) error {
			_, err := tx.Record(first.Outcome.Record.ID)
			return err
		}); err != nil {
			t.Errorf("read at n%d: %v", i+1, err)
		}
		if fresh, err := g.nodes[i].Read(g.ctx(), Read{Consistency: Strong}, func(*store.ReadTx) error { return nil }); err != nil || fresh.Stale {
			t.Errorf("strong read at n%d: %+v, %v", i+1, fresh, err)
		}
	}
	all, err := g.nodes[follower].Compare(g.ctx())
	if err != nil || len(all) != 3 {
		t.Fatalf("compare: %+v, %v", all, err)
	}
	for _, c := range all {
		if c.Err != "" || c.Chain != all[0].Chain || c.State != all[0].State {
			t.Errorf("nodes differ: %+v", all)
		}
	}
	if _, err := g.nodes[0].Propose(g.ctx(), Request{Command: attendance.Command{Node: "n1"}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a command without a body: %v", err)
	}
}

func TestLeadersComeAndGo(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	for round := range 3 {
		leader := g.leader()
		g.stop(leader)
		rest := (leader + 1) % 3
		r := g.checkIn(rest, uint64(round+2), fmt.Sprint("round-", round))
		if r.Outcome.Status != attendance.AcceptedStatus {
			t.Errorf("after a leader left: %+v", r.Outcome)
		}
		g.start(leader)
		g.await("the old leader catches up", func() bool { return g.nodes[leader].Applied() >= r.Index })
	}
	g.await("equal states", func() bool {
		all, err := g.nodes[0].Compare(g.ctx())
		return err == nil && len(all) == 3 && all[0].Err == "" && all[0].State == all[1].State && all[1].State == all[2].State
	})
}

func TestWithoutAQuorumNothingIsDecided(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	g.stop(1)
	g.stop(2)
	g.await("the leader notices", func() bool { return g.nodes[0].Status().Leader == "" })
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := g.nodes[0].Propose(ctx, checkIn(1, "k")); !errors.Is(err, ErrNoLeader) {
		t.Errorf("got %v, want ErrNoLeader", err)
	}
	g.await("stale is said", func() bool { return g.nodes[0].Freshness().Stale })
	if fresh, err := g.nodes[0].Read(g.ctx(), Read{}, func(*store.ReadTx) error { return nil }); err != nil || !fresh.Stale {
		t.Errorf("local reads go on and say their age: %+v, %v", fresh, err)
	}
	if _, err := g.nodes[0].Read(g.ctx(), Read{MaxStale: time.Second}, func(*store.ReadTx) error { return nil }); !errors.Is(err, ErrBehind) {
		t.Errorf("max stale: %v, want ErrBehind", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := g.nodes[0].Read(ctx, Read{Consistency: Strong}, func(*store.ReadTx) error { return nil }); !errors.Is(err, ErrNoLeader) {
		t.Errorf("strong read: %v, want ErrNoLeader", err)
	}
}

func TestAnOldCopyOfADataDirectoryIsRefused(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	old := (g.leader() + 1) % 3
	g.stop(old)
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(g.configs[old].DataDir)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // two more generations, which the others see
		g.start(old)
		r := g.checkIn(old, 2, "seen")
		g.await("it takes part again", func() bool { return g.nodes[old].Applied() >= r.Index })
		g.stop(old)
	}
	halted := make(chan error, 100) // a node that halts must never wait for the test
	g.configs[old].DataDir, g.configs[old].Halt = backup, func(err error) { halted <- err }
	g.start(old)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, err := g.nodes[old].Propose(ctx, checkIn(3, "old")); err == nil {
		t.Error("a node with forgotten votes takes part")
	}
	select {
	case err := <-halted:
		if !errors.Is(err, ErrRetired) || !strings.Contains(err.Error(), "old copy") {
			t.Errorf("halted: %v", err)
		}
	case <-time.After(40 * time.Second):
		t.Error("it does not say so")
	}
	// Each start raises the generation: without a note in the copy, something that
	// starts it again and again would make it newer than the newer one.
	g.stop(old)
	for range 4 {
		if n, err := Start(g.ctx(), g.configs[old]); !errors.Is(err, ErrRetired) || !strings.Contains(err.Error(), "old copy") {
			if err == nil {
				n.close() //nolint:errcheck // the test has failed
			}
			t.Fatalf("started again: %v", err)
		}
	}
	if in, err := Inspect(backup, 0); err != nil || in.Node.Generation != 2 || !strings.Contains(in.Retired, "old copy") {
		t.Errorf("looked at: generation %d, %q, %v", in.Node.Generation, in.Retired, err)
	}
}

// TestAnOlderProgramDoesNotStart: the state is of a command level that this program
// does not know.
func TestAnOlderProgramDoesNotStart(t *testing.T) {
	g := newGroup(t, 1, func(_ int, c *Config) { c.Join = nil })
	g.startAll()
	g.checkIn(0, 1, "k")
	g.stop(0)
	state, err := store.OpenState(filepath.Join(g.configs[0].DataDir, "state.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = state.Update(func(tx *store.Tx) error {
		tx.SetMeta(func(m *store.Meta) { m.Level = attendance.Level + 1 })
		return nil
	})
	if err := errors.Join(err, state.Close()); err != nil {
		t.Fatal(err)
	}
	if n, err := Start(g.ctx(), g.configs[0]); !errors.Is(err, attendance.ErrUnknownLevel) || !strings.Contains(err.Error(), "install the newer hadir") {
		if err == nil {
			n.close() //nolint:errcheck // the test has failed
		}
		t.Errorf("started: %v", err)
	}
}

func TestALeaderWithAWrongClockHandsOver(t *testing.T) {
	wrong := 0
	g := newGroup(t, 3, func(i int, c *Config) {
		if i == wrong {
			c.Clock = skewedClock{by: 10 * time.Minute}
		}
	})
	g.startAll()
	g.await("somebody with a right clock leads", func() bool {
		l := g.leader()
		return l != wrong && g.nodes[l].duties.readyTerm.Load() > 0
	})
	r := g.checkIn(1, 1, "k")
	if r.Outcome.Status != attendance.AcceptedStatus {
		t.Errorf("%+v", r.Outcome)
	}
}

func TestOneNodeAlone(t *testing.T) {
	g := newGroup(t, 1, func(_ int, c *Config) { c.Join = nil })
	g.startAll()
	if r := g.checkIn(0, 1, "k"); r.Outcome.Status != attendance.AcceptedStatus || r.Forwarded {
		t.Errorf("%+v", r)
	}
	s := g.nodes[0].Status()
	if s.Leader != "n1" || s.Quorum != 1 || s.CanLose != 0 || len(s.Nodes) != 1 {
		t.Errorf("status %+v", s)
	}
}
