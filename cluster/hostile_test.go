package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/hashicorp/raft"

	"hadir/attendance"
	"hadir/cluster/gossip"
	"hadir/cluster/transport"
	"hadir/fsm"
	"hadir/store"
)

// endsWithin fails the test when f does not end in time.
func endsWithin(t *testing.T, d time.Duration, what string, f func()) {
	t.Helper()
	start, done := time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		t.Logf("%s took %s", what, time.Since(start).Round(time.Millisecond))
	case <-time.After(d):
		t.Fatalf("%s did not end within %s", what, d)
	}
}

// take gives a node that the group does not stop by itself any more.
func (g *group) take(i int) *Node {
	n := g.nodes[i]
	g.nodes[i] = nil
	return n
}

// logHook calls a function with each message.
type logHook struct {
	slog.Handler
	hook func(string)
}

func (h logHook) Enabled(context.Context, slog.Level) bool { return true }
func (h logHook) Handle(_ context.Context, r slog.Record) error {
	h.hook(r.Message)
	return nil
}
func (h logHook) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h logHook) WithGroup(string) slog.Handler      { return h }

func alone(_ int, c *Config) { c.Join = nil }

func TestAMemberWithoutItsLogIsRefused(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	g.checkIn(0, 1, "k1")
	victim := (g.leader() + 1) % 3
	g.stop(victim)
	for _, f := range []string{"raft.db", "state.db"} {
		if err := os.Remove(filepath.Join(g.configs[victim].DataDir, f)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the first attempt makes new files, which must not help the second
		n, err := Start(context.Background(), g.configs[victim])
		if !errors.Is(err, fsm.ErrLogMissing) || !strings.Contains(fmt.Sprint(err), "start it as a new node") {
			g.nodes[victim] = n
			t.Fatalf("a voter without its votes: %v", err)
		}
	}
}

func TestPowerLostWhileFounding(t *testing.T) {
	for name, term := range map[string]bool{"before the term": false, "after the term": true} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 1, alone)
			path := func(name string) string { return filepath.Join(g.configs[0].DataDir, name) }
			own, err := store.OpenNode(path("node.db"), g.configs[0].Rand)
			if err != nil {
				t.Fatal(err)
			}
			n := &Node{own: own}
			set := raft.Configuration{Servers: []raft.Server{{
				ID: raft.ServerID(serverID("n1", own.Incarnation())), Address: raft.ServerAddress(g.configs[0].PeerAddr),
			}}}
			if err := errors.Join(n.intend(set), own.SetCluster(clusterIDOf(hashOf(set))), own.Close()); err != nil {
				t.Fatal(err)
			}
			if term {
				logs, err := transport.OpenLogStore(path("raft.db"), transport.LogStoreOptions{Clock: systemClock{}, Halt: func(error) {}})
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(logs.SetUint64(keyTerm, 1), logs.Close()); err != nil {
					t.Fatal(err)
				}
			}
			g.startAll()
			if id := g.nodes[0].clusterID(); id != clusterIDOf(hashOf(set)) {
				t.Errorf("founded %s, not what was begun", id)
			}
		})
	}
}

func TestPlanFoundation(t *testing.T) {
	id := func(i int) string { return fmt.Sprintf("n%d-%016x", i, i) }
	config := func(is ...int) (c raft.Configuration) {
		for _, i := range is {
			c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(id(i))})
		}
		return c
	}
	abc := hashOf(config(1, 2, 3))
	cluster, other := clusterIDOf(abc).String(), clusterIDOf(hashOf(config(7, 8, 9))).String()
	m := func(i int, cluster string, hash [32]byte) gossip.Member {
		return gossip.Member{Meta: gossip.Meta{ID: id(i), ClusterID: cluster, BootstrapHash: hash}, Self: i == 2}
	}
	none := [32]byte{}
	for name, c := range map[string]struct {
		members []gossip.Member
		said    raft.Configuration
		agreed  bool
		foreign string
		hash    [32]byte
	}{
		"one is missing":        {members: []gossip.Member{m(1, "", none), m(2, "", none)}},
		"one has not said so":   {members: []gossip.Member{m(1, "", abc), m(2, "", none), m(3, "", none)}, hash: abc},
		"all have said so":      {members: []gossip.Member{m(1, "", abc), m(2, "", none), m(3, "", abc)}, agreed: true, hash: abc},
		"one has founded":       {members: []gossip.Member{m(1, cluster, abc), m(2, "", abc), m(3, "", abc)}, agreed: true, hash: abc},
		"another cluster":       {members: []gossip.Member{m(1, other, none), m(2, "", none), m(3, "", none)}, foreign: id(1)},
		"four, none founded":    {members: []gossip.Member{m(1, "", abc), m(2, "", abc), m(3, "", abc), m(4, "", none)}, said: config(1, 2, 3)},
		"four, one founded":     {members: []gossip.Member{m(1, cluster, abc), m(2, "", abc), m(3, "", abc), m(4, "", none)}, said: config(1, 2, 3), agreed: true, hash: abc},
		"four, never said so":   {members: []gossip.Member{m(1, cluster, abc), m(2, "", abc), m(3, "", abc), m(4, "", none)}, foreign: id(1)},
		"one founded, one died": {members: []gossip.Member{m(1, cluster, abc), m(2, "", abc)}, said: config(1, 2, 3), agreed: true, hash: abc},
		"two clusters":          {members: []gossip.Member{m(1, cluster, abc), m(2, "", abc), m(4, other, none)}, said: config(1, 2, 3), foreign: id(4)},
	} {
		p := planFoundation(c.members, 3, c.said)
		if p.agreed != c.agreed || p.foreign != c.foreign || p.hash != c.hash || c.agreed && len(p.set.Servers) != 3 {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestOneNodeThatIsItsOwnSeed(t *testing.T) {
	newGroup(t, 1).startAll() // newGroup has it join itself
}

func TestANodeThatWaitsForOthersSaysSo(t *testing.T) {
	said := make(chan struct{})
	var once sync.Once
	nobody := freeAddrs(t, 1)
	g := newGroup(t, 1, func(_ int, c *Config) {
		c.Join = nobody
		c.Log = slog.New(logHook{hook: func(m string) {
			if strings.HasPrefix(m, "told to join others") {
				once.Do(func() { close(said) })
			}
		}})
	})
	g.start(0)
	endsWithin(t, 10*time.Second, "the warning", func() { <-said })
	if g.nodes[0].member() {
		t.Error("it founded a cluster of its own")
	}
}

// TestATransferThatNeverEnds sets the flag that hashicorp/raft#696 leaves behind.
func TestATransferThatNeverEnds(t *testing.T) {
	halted := make(chan error, 10)
	g := newGroup(t, 1, alone, func(_ int, c *Config) { c.Halt = func(err error) { halted <- err } })
	g.startAll()
	g.stop(0)
	g.start(0)
	n := g.nodes[0]
	g.await("member", n.member)
	flag := (*int32)(unsafe.Pointer(reflect.ValueOf(n.raft).Elem().FieldByName("leaderState").
		FieldByName("leadershipTransferInProgress").UnsafeAddr()))
	atomic.StoreInt32(flag, 1)
	defer atomic.StoreInt32(flag, 0)
	select {
	case err := <-halted:
		if !strings.Contains(err.Error(), "raft#696") {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("no watchdog; ready %d of term %d", n.duties.readyTerm.Load(), n.raft.CurrentTerm())
	}
}

func TestShutdownWhileFounding(t *testing.T) {
	var node atomic.Pointer[Node]
	started, done := make(chan struct{}), make(chan struct{})
	g := newGroup(t, 1, alone, func(_ int, c *Config) {
		c.Log = slog.New(logHook{hook: func(m string) {
			if m == "all founders agree" {
				<-started
				n := node.Load()
				go func() {
					defer close(done)
					_ = n.Shutdown(context.Background())
				}()
				<-n.life.Done()
			}
		}})
	})
	n, err := Start(context.Background(), g.configs[0])
	if err != nil {
		t.Fatal(err)
	}
	node.Store(n)
	close(started)
	endsWithin(t, 5*time.Second, "shutdown", func() { <-done })
}

// TestShutdownForgetsNobody shuts a node down while committed entries wait for the
// state machine: raft drops them without answering.
func TestShutdownForgetsNobody(t *testing.T) {
	g := newGroup(t, 1, alone)
	g.startAll()
	n := g.take(0)
	var slow atomic.Bool
	n.Subscribe(func(fsm.Commit) {
		if slow.Load() {
			time.Sleep(200 * time.Millisecond) // a slow disk
		}
	})
	slow.Store(true)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			_, _ = n.Propose(ctx, checkIn(uint64(i%9+1), fmt.Sprint("k", i)))
		})
		time.Sleep(2 * time.Millisecond)
	}
	endsWithin(t, 3*time.Second, "shutdown", func() { _ = n.Shutdown(context.Background()) })
	wg.Wait()
}

func TestWaitEndsWithRaft(t *testing.T) {
	n := &Node{over: make(chan struct{})}
	never := make(chan struct{})
	defer close(never)
	close(n.over)
	if err := n.wait(futureFunc(func() error { <-never; return nil })); !errors.Is(err, ErrUnknown) {
		t.Errorf("a future that raft forgot: %v", err)
	}
}

type futureFunc func() error

func (f futureFunc) Error() error { return f() }

// TestShutdownBesideAHungPeer has one peer take connections and say nothing.
func TestShutdownBesideAHungPeer(t *testing.T) {
	for _, role := range []Role{Leader, Follower} {
		t.Run(string(role), func(t *testing.T) {
			g := newGroup(t, 3)
			g.startAll()
			hung := (g.leader() + 1) % 3
			g.stop(hung)
			for _, addr := range []string{g.configs[hung].PeerAddr, g.configs[hung].GossipAddr} {
				ln, err := net.Listen("tcp", addr) // the kernel takes connections, nobody answers
				if err != nil {
					t.Fatal(err)
				}
				defer ln.Close()
			}
			time.Sleep(time.Second) // for everybody to hang on it
			who := g.leader()
			if role == Follower {
				who = 3 - who - hung
			}
			n := g.take(who)
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			endsWithin(t, 3*time.Second, "shutdown", func() { _ = n.Shutdown(ctx) })
		})
	}
}

func TestTheClusterClockCanBeSetBack(t *testing.T) {
	g := newGroup(t, 1, alone, func(_ int, c *Config) { c.Clock = skewedClock{by: 10 * time.Minute} })
	g.startAll()
	g.checkIn(0, 1, "k")
	g.stop(0)
	g.configs[0].Clock = systemClock{}
	g.start(0)
	n := g.nodes[0]
	g.await("it notices", func() bool { return n.isLeader() && n.duties.clock.Load() == clockAhead })
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := n.Propose(ctx, checkIn(2, "early")); !errors.Is(err, ErrNoLeader) {
		t.Errorf("a check-in under a frozen clock: %v", err)
	}
	r, err := n.Propose(g.ctx(), Request{ReceivedAt: time.Now(), Command: attendance.Command{
		Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: 1}, Key: "repair", Node: "n1",
		Body: attendance.SetClock{Clock: attendance.MillisOf(time.Now())},
	}})
	if err != nil || r.Outcome.Status != attendance.DoneStatus {
		t.Fatalf("set the clock back: %+v, %v", r.Outcome, err)
	}
	if r := g.checkIn(0, 2, "after"); r.Outcome.Status != attendance.AcceptedStatus {
		t.Errorf("after the repair: %+v", r.Outcome)
	}
}

func TestRepairsArePicked(t *testing.T) {
	batch := []*pending{
		{command: checkIn(1, "a").Command}, {command: attendance.Command{Body: attendance.SetClock{Clock: 1}}},
		{command: checkIn(2, "b").Command},
	}
	if some, others := repairs(batch); len(some) != 1 || some[0] != batch[1] || len(others) != 2 {
		t.Errorf("%d repairs, %d others", len(some), len(others))
	}
}

func TestACopyOfARunningNode(t *testing.T) {
	halted := make(chan error, 10)
	g := newGroup(t, 3, func(_ int, c *Config) { c.Halt = func(err error) { halted <- err } })
	g.startAll()
	old := (g.leader() + 1) % 3
	g.checkIn(old, 1, "a")
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(g.configs[old].DataDir)); err != nil {
		t.Fatal(err)
	}
	c, addrs := g.configs[old], freeAddrs(t, 2)
	c.DataDir, c.PeerAddr, c.GossipAddr = dir, addrs[0], addrs[1]
	copied, err := Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Shutdown(context.Background()) //nolint:errcheck // its end is not the question
	select {
	case err := <-halted:
		if !strings.Contains(err.Error(), g.configs[old].DataDir) {
			t.Errorf("the wrong one halted: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("both processes take part")
	}
}

func TestGenerations(t *testing.T) {
	g := generations{highest: map[string]uint64{"a": 3}}
	peer := func(generation, run uint64) transport.Peer {
		return transport.Peer{ID: "a", Generation: generation, Run: run}
	}
	if newer, err := g.judge(peer(3, 1)); newer || err != nil {
		t.Error("the known one after a restart of this node:", newer, err)
	}
	if _, err := g.judge(peer(3, 2)); !errors.Is(err, transport.ErrStaleGeneration) {
		t.Error("two processes of one generation:", err)
	}
	if newer, err := g.judge(peer(4, 2)); !newer || err != nil {
		t.Error("a newer one:", newer, err)
	}
	// While 4 is written to disk, 5 comes and is written first.
	if err := g.note(peer(5, 3)); err != nil {
		t.Error(err)
	}
	if err := g.note(peer(4, 2)); !errors.Is(err, transport.ErrStaleGeneration) || g.highest["a"] != 5 {
		t.Error("overtaken:", err, g.highest)
	}
	if err := g.note(peer(5, 4)); !errors.Is(err, transport.ErrStaleGeneration) {
		t.Error("another run, noted second:", err)
	}
}

// TestAFollowerLetsGoOfAFrozenLeader holds the leader's state machine: it answers
// nothing, while it goes on to lead.
func TestAFollowerLetsGoOfAFrozenLeader(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	leader := g.leader()
	n := g.nodes[(leader+1)%3]
	hold, held := make(chan struct{}), make(chan struct{})
	var on atomic.Bool
	g.nodes[leader].Subscribe(func(fsm.Commit) {
		if on.CompareAndSwap(true, false) {
			close(held)
			<-hold
		}
	})
	defer close(hold)
	on.Store(true)
	body, err := encodeBatch([]*pending{{command: checkIn(3, "q").Command, received: time.Now()}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	transferred := make(chan error, 1)
	go func() {
		<-held
		n.leaders.wake() // late news of the election before: nothing to let go of
		transferred <- g.nodes[leader].raft.LeadershipTransfer().Error()
	}()
	endsWithin(t, 3*time.Second, "the call", func() {
		if _, err := n.callLeader(context.Background(), http.MethodPost, pathPropose, body); err == nil || errors.Is(err, errUnreachable) {
			t.Errorf("a call that was let go of: %v", err)
		}
	})
	if err := <-transferred; err != nil {
		t.Error("transfer:", err)
	}
}

func TestLeadershipIsTransferredFromAnywhere(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	for range 3 {
		leader := g.leader()
		n := g.nodes[(leader+1)%3]
		g.await("the follower knows it", func() bool { to, ok := n.leaderTarget(); return ok && to.ID == g.nodes[leader].id })
		if err := n.TransferLeadership(g.ctx()); err != nil {
			t.Fatal(err)
		}
		g.await("another leader", func() bool { l := g.leader(); return l != leader })
	}
}

// TestFreshnessClaimsNoMoreThanIsShown reads beside commits and proofs.
func TestFreshnessClaimsNoMoreThanIsShown(t *testing.T) {
	g := newGroup(t, 1, alone)
	g.startAll()
	n := g.nodes[0]
	type ack struct {
		at    time.Time
		index uint64
	}
	var mu sync.Mutex
	var acks []ack
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if r, err := n.Propose(ctx, checkIn(uint64(i%9+1), fmt.Sprint("k", i))); err == nil {
				mu.Lock()
				acks = append(acks, ack{time.Now(), r.Index})
				mu.Unlock()
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				n.proveFresh(ctx)
			}
		})
	}
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				f, err := n.Read(ctx, Read{}, func(*store.ReadTx) error { return nil })
				if err != nil {
					continue
				}
				mu.Lock()
				for i := len(acks) - 1; i >= 0; i-- {
					if acks[i].at.Before(f.AsOf) {
						if acks[i].index > f.Index {
							t.Errorf("as of %s, but entry %d, acknowledged before, is not in: %d", f.AsOf, acks[i].index, f.Index)
						}
						break
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestBatchesOfOldCheckInsFit(t *testing.T) {
	b := newBatcher(nil)
	received := time.Now()
	put := func(c attendance.Command) {
		p, err := newPending(c, received)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.submit(p); err != nil {
			t.Fatal(err)
		}
	}
	many := make([]uint64, 600)
	for i := range many {
		many[i] = uint64(1_000_000 + i)
	}
	for i := range 66 {
		put(attendance.Command{
			Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: 1}, Key: fmt.Sprint("g", i), Node: "n1",
			Body: attendance.PutGroup{Name: "x", Kind: 1, AddMembers: many},
		})
	}
	for i := range 300 {
		put(checkIn(uint64(i+1), fmt.Sprint("0190b2c4-aaaa-bbbb-cccc-00000000", 1000+i)).Command)
	}
	for first := <-b.queue; first != nil; {
		batch, next := b.pack(first)
		e := attendance.Entry{Level: 1, Cluster: attendance.ClusterID{1}, ProposedAt: attendance.MillisOf(received)}
		for _, p := range batch {
			e.Commands = append(e.Commands, aged(p, received.Add(time.Hour)))
		}
		if _, err := attendance.EncodeEntry(e); err != nil {
			t.Fatal(err)
		}
		if first = next; first == nil && len(b.queue) > 0 {
			first = <-b.queue
		}
	}
}

func TestABatchThatDoesNotEncodeIsSplit(t *testing.T) {
	batch := make([]*pending, 9)
	for i := range batch {
		batch[i] = &pending{size: i, done: make(chan answer, 1)}
	}
	var send func([]*pending)
	send = func(b []*pending) {
		for _, p := range b {
			if p.size == 5 {
				refuseEncoding(b, errors.New("bad"), send)
				return
			}
		}
		answerAll(b, nil)
	}
	send(batch)
	for i, p := range batch {
		if a := <-p.done; errors.Is(a.err, ErrInvalid) != (i == 5) {
			t.Errorf("command %d: %v", i, a.err)
		}
	}
}

func TestSetUpLooksAtTheClockAgain(t *testing.T) {
	g := newGroup(t, 1, alone)
	g.start(0)
	n := g.nodes[0]
	g.await("it leads", func() bool { return n.duties.clockTerm.Load() > 0 })
	n.duties.clock.Store(clockWrong) // as it was a moment ago
	g.await("set up", func() bool {
		_, err := n.Read(g.ctx(), Read{}, func(tx *store.ReadTx) error { _, err := tx.Secret("session"); return err })
		return err == nil
	})
}

func TestANodeOutsideACluster(t *testing.T) {
	g := newGroup(t, 3)
	g.start(0)
	n := g.nodes[0]
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 10 {
		if _, err := n.Propose(ctx, checkIn(1, "k")); !errors.Is(err, ErrNoLeader) || !errors.Is(err, ErrNotMember) {
			t.Fatalf("a command: %v", err)
		}
	}
	if len(n.forwards.queue)+len(n.entries.queue) > 0 {
		t.Error("commands pile up where nobody serves them")
	}
	if _, err := n.leaderIndex(g.ctx()); !errors.Is(err, ErrNotLeader) {
		t.Errorf("read index: %v", err)
	}
	if s := n.Status(); s.Quorum != 0 || s.CanLose != 0 || len(s.Nodes) != 0 || s.Leader != "" {
		t.Errorf("status: %+v", s)
	}
	g.stop(0)
	if _, err := n.Propose(context.Background(), checkIn(1, "k")); !errors.Is(err, ErrClosing) {
		t.Errorf("after the end: %v", err)
	}
}

func TestWhatComesAfterTheLastRefusal(t *testing.T) {
	b := newBatcher(nil)
	p := &pending{done: make(chan answer, 1)}
	if err := b.submit(p); err != nil {
		t.Fatal(err)
	}
	b.refuse(nil)
	if a := <-p.done; !errors.Is(a.err, ErrClosing) {
		t.Errorf("queued: %v", a.err)
	}
	if err := b.submit(p); !errors.Is(err, ErrClosing) {
		t.Errorf("late: %v", err)
	}
}
