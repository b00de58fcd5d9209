package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// memFSM counts what it applied.
type memFSM struct {
	mu  sync.Mutex
	got []string
}

func (f *memFSM) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, string(l.Data))
	return len(f.got)
}

func (f *memFSM) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return memSnapshot(strings.Join(f.got, "\n")), nil
}

func (f *memFSM) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = strings.Split(string(b), "\n")
	return nil
}

func (f *memFSM) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.got...)
}

type memSnapshot string

func (s memSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := io.WriteString(sink, string(s)); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}
func (memSnapshot) Release() {}

// raftNode is a complete raft node over this package.
type raftNode struct {
	*testNode
	trans *RaftTransport
	raft  *raft.Raft
	fsm   *memFSM
	halt  *haltRecorder
	store *LogStore
	seen  chan raft.Observation
	once  sync.Once
}

func startRaft(t *testing.T, keys Keys, id string, servers []raft.Server, addr string) *raftNode {
	t.Helper()
	n := &raftNode{fsm: &memFSM{}, halt: newHaltRecorder(), seen: make(chan raft.Observation, 1000)}
	n.testNode = startNode(t, keys, id, func(c *Config) {
		if addr != "" {
			c.Addr = addr
		}
	})
	var err error
	if n.store, err = OpenLogStore(filepath.Join(t.TempDir(), "raft.db"), LogStoreOptions{Clock: sysClock{}, Halt: n.halt.halt, StallAfter: 20 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if n.trans, err = NewRaftTransport(n.Listener, RaftConfig{}); err != nil {
		t.Fatal(err)
	}
	n.boot(t, servers)
	t.Cleanup(func() { n.stop(t) })
	return n
}

func (n *raftNode) boot(t *testing.T, servers []raft.Server) {
	t.Helper()
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(n.cfg.Self.ID)
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = 150*time.Millisecond, 150*time.Millisecond, 100*time.Millisecond
	conf.CommitTimeout = 10 * time.Millisecond
	conf.Logger = NewHCLog(n.cfg.Logger, "raft")
	snaps := raft.NewInmemSnapshotStore()
	if len(servers) > 0 {
		if err := raft.BootstrapCluster(conf, n.store, n.store, snaps, n.trans, raft.Configuration{Servers: servers}); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if n.raft, err = raft.NewRaft(conf, n.fsm, n.store, n.store, snaps, n.trans); err != nil {
		t.Fatal(err)
	}
	n.raft.RegisterObserver(raft.NewObserver(n.seen, false, nil))
}

// stop uses the documented order: connections, raft, files.
func (n *raftNode) stop(t *testing.T) {
	t.Helper()
	n.once.Do(func() {
		if err := errors.Join(n.trans.Close(), n.raft.Shutdown().Error(), n.store.Close(), n.Close()); err != nil {
			t.Error(err)
		}
		if c := n.halt.all(); len(c) != 0 {
			t.Errorf("%s halted: %v", n.cfg.Self.ID, c)
		}
	})
}

func reserve(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, ln.Addr().String())
		defer ln.Close() //nolint:errcheck // test
	}
	return addrs
}

func startCluster(t *testing.T, keys Keys) []*raftNode {
	t.Helper()
	addrs := reserve(t, 3)
	var servers []raft.Server
	for i, a := range addrs {
		servers = append(servers, raft.Server{ID: raft.ServerID(fmt.Sprintf("n%d.x", i)), Address: raft.ServerAddress(a)})
	}
	nodes := make([]*raftNode, len(addrs))
	for i, a := range addrs {
		nodes[i] = startRaft(t, keys, fmt.Sprintf("n%d.x", i), servers, a)
	}
	return nodes
}

func leaderOf(t *testing.T, nodes []*raftNode) *raftNode {
	t.Helper()
	var leader *raftNode
	eventually(t, "a leader", func() bool {
		for _, n := range nodes {
			if n.raft.State() == raft.Leader && n.raft.VerifyLeader().Error() == nil {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

func without(nodes []*raftNode, one *raftNode) (rest []*raftNode) {
	for _, n := range nodes {
		if n != one {
			rest = append(rest, n)
		}
	}
	return rest
}

// TestClusterOfThree elects, replicates, loses its leader and goes on, with
// pre-vote.
func TestClusterOfThree(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	nodes := startCluster(t, keys)
	leader := leaderOf(t, nodes)
	for i := range 20 {
		if err := leader.raft.Apply(fmt.Appendf(nil, "a%d", i), 5*time.Second).Error(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		eventually(t, "replicated", func() bool { return len(n.fsm.list()) == 20 })
	}
	for _, n := range without(nodes, leader) {
		addr, id := n.raft.LeaderWithID()
		if string(addr) != leader.Addr().String() || string(id) != leader.cfg.Self.ID {
			t.Errorf("leader is known as %q %q", addr, id)
		}
	}
	rest := without(nodes, leader)
	for _, n := range rest { // only what comes after the failure counts
		for len(n.seen) > 0 {
			<-n.seen
		}
	}
	leader.stop(t)
	next := leaderOf(t, rest)
	if err := next.raft.Apply([]byte("b"), 5*time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	preVotes := 0
	for _, n := range rest {
		eventually(t, "replicated after failover", func() bool { return len(n.fsm.list()) == 21 })
		for len(n.seen) > 0 {
			if _, ok := (<-n.seen).Data.(raft.RequestPreVoteRequest); ok {
				preVotes++
			}
		}
		if strings.Contains(n.log.String(), "pre-vote is disabled") {
			t.Error("pre-vote is off")
		}
	}
	if preVotes == 0 {
		t.Error("no pre-vote was asked for")
	}
}

// TestInstallSnapshot brings a node in that needs a snapshot.
func TestInstallSnapshot(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	addrs := reserve(t, 1)
	first := startRaft(t, keys, "n0.x", []raft.Server{{ID: "n0.x", Address: raft.ServerAddress(addrs[0])}}, addrs[0])
	leaderOf(t, []*raftNode{first})
	for range 10 {
		if err := first.raft.Apply(bytes.Repeat([]byte("x"), 100<<10), 5*time.Second).Error(); err != nil {
			t.Fatal(err)
		}
	}
	conf := first.raft.ReloadableConfig()
	conf.TrailingLogs = 0
	if err := errors.Join(first.raft.ReloadConfig(conf), first.raft.Snapshot().Error()); err != nil {
		t.Fatal(err)
	}
	second := startRaft(t, keys, "n1.x", nil, "")
	if err := first.raft.AddNonvoter("n1.x", raft.ServerAddress(second.Addr().String()), 0, 5*time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "snapshot installed", func() bool { return len(second.fsm.list()) == 10 })
}

// TestWipedNodeIsNotReached: raft knows an old server id at an address where a
// new one lives now. Neither votes nor entries may get through.
func TestWipedNodeIsNotReached(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	client, server := startNode(t, keys, "n1"), startNode(t, keys, "n2.new")
	trans := mustRaftTransport(t, client, RaftConfig{})
	other := mustRaftTransport(t, server, RaftConfig{})
	addr := raft.ServerAddress(server.Addr().String())
	calls := map[string]func() error{
		"RequestVote": func() error {
			return trans.RequestVote("n2.old", addr, &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
		},
		"RequestPreVote": func() error {
			return trans.RequestPreVote("n2.old", addr, &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{})
		},
		"AppendEntries": func() error {
			return trans.AppendEntries("n2.old", addr, &raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{})
		},
		"TimeoutNow": func() error {
			return trans.TimeoutNow("n2.old", addr, &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{})
		},
		"InstallSnapshot": func() error {
			return trans.InstallSnapshot("n2.old", addr, &raft.InstallSnapshotRequest{}, &raft.InstallSnapshotResponse{}, strings.NewReader(""))
		},
		// Not routed, as a method of a later raft version would be.
		"unknown method": func() error {
			return trans.NetworkTransport.TimeoutNow("n2.new", addr, &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{})
		},
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, ErrNotAddressee) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := trans.AppendEntriesPipeline("n2.new", addr); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("pipeline: %v", err)
	}
	select {
	case rpc := <-other.Consumer():
		t.Errorf("an RPC got through: %T", rpc.Command)
	default:
	}
	if got := string(trans.EncodePeer("n2.new", addr)); got != string(addr) {
		t.Errorf("the joined address leaves the process: %q", got)
	}
	if got := trans.LocalAddr(); string(got) != client.Addr().String() {
		t.Errorf("local address %q", got)
	}
}

func mustRaftTransport(t *testing.T, n *testNode, cfg RaftConfig) *RaftTransport {
	t.Helper()
	trans, err := NewRaftTransport(n.Listener, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := trans.Close(); err != nil {
			t.Error(err)
		}
	})
	return trans
}

// answer serves RPCs of a transport until the test ends.
func answer(t *testing.T, trans *RaftTransport, f func(cmd any) any) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case rpc := <-trans.Consumer():
				rpc.Respond(f(rpc.Command), nil)
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// TestHeartbeatsUseTheMainLoop is the guard against hashicorp/raft#695.
func TestHeartbeatsUseTheMainLoop(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	client, server := startNode(t, keys, "n1"), startNode(t, keys, "n2")
	trans, other := mustRaftTransport(t, client, RaftConfig{}), mustRaftTransport(t, server, RaftConfig{})
	other.SetHeartbeatHandler(func(raft.RPC) { t.Error("heartbeat on the fast path") })
	queued := 0
	answer(t, other, func(any) any { queued++; return &raft.AppendEntriesResponse{Term: 4, Success: true} })
	var resp raft.AppendEntriesResponse
	heartbeat := &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{Addr: []byte("a")}, Term: 4}
	if err := trans.AppendEntries("n2", raft.ServerAddress(server.Addr().String()), heartbeat, &resp); err != nil || resp.Term != 4 || queued != 1 {
		t.Errorf("%v %+v, %d queued", err, resp, queued)
	}
}

type addressBook map[raft.ServerID]raft.ServerAddress

func (b addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if a, ok := b[id]; ok {
		return a, nil
	}
	return "", errors.New("unknown")
}

func TestAddressBookWins(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	client, moved, stayed := startNode(t, keys, "n1"), startNode(t, keys, "n2"), startNode(t, keys, "n3")
	trans := mustRaftTransport(t, client, RaftConfig{Addresses: addressBook{"n2": raft.ServerAddress(moved.Addr().String())}})
	for _, n := range []*testNode{moved, stayed} {
		answer(t, mustRaftTransport(t, n, RaftConfig{}), func(any) any { return &raft.TimeoutNowResponse{} })
	}
	// n2 is in the configuration under an address where n3 lives.
	old := raft.ServerAddress(stayed.Addr().String())
	for _, id := range []raft.ServerID{"n2", "n3"} {
		if err := trans.TimeoutNow(id, old, &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// TestVotesOutliveDeadConnections: a pooled connection that died must not cost
// a vote.
func TestVotesOutliveDeadConnections(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	client, server := startNode(t, keys, "n1"), startNode(t, keys, "n2")
	trans := mustRaftTransport(t, client, RaftConfig{MaxPool: 3})
	addr := raft.ServerAddress(server.Addr().String())
	other := mustRaftTransport(t, server, RaftConfig{})
	block := make(chan struct{})
	answer(t, other, func(any) any { <-block; return &raft.RequestVoteResponse{Granted: true} })
	ask := func() error {
		return trans.RequestVote("n2", addr, &raft.RequestVoteRequest{Term: 1}, &raft.RequestVoteResponse{})
	}
	var wg sync.WaitGroup
	for range 3 { // fill the pool
		wg.Go(func() {
			if err := ask(); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "three connections", func() bool { return server.Stats().Accepted == 3 })
	close(block)
	wg.Wait()
	if n := server.Drop(func(p Peer) bool { return p.Protocol == ProtocolRaft }); n != 3 {
		t.Fatalf("dropped %d", n)
	}
	if err := ask(); err != nil {
		t.Errorf("a dead connection cost a vote: %v", err)
	}
	// A peer that refuses is not asked again and again.
	server.id.set(Cluster{ID: "c1", Epoch: 1})
	server.Drop(func(Peer) bool { return true })
	before := server.Stats().Refused
	if err := ask(); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("%v", err)
	}
	// The server counts a little later than the client hears of it.
	eventually(t, "one refusal", func() bool { return server.Stats().Refused > before })
	if got := server.Stats().Refused - before; got != 1 {
		t.Errorf("dialled %d times", got)
	}
}

// TestRaftCloseEndsSnapshotReader: raft reads a snapshot without a deadline;
// closing the transport must end it.
func TestRaftCloseEndsSnapshotReader(t *testing.T) {
	keys := mustKeys(t, testKeys(t, 1)...)
	client, server := startNode(t, keys, "n1"), startNode(t, keys, "n2")
	trans, other := mustRaftTransport(t, client, RaftConfig{}), mustRaftTransport(t, server, RaftConfig{})
	hang, unblock := io.Pipe()
	defer unblock.Close()                                                                                                                                          //nolint:errcheck // test
	go trans.InstallSnapshot("n2", raft.ServerAddress(server.Addr().String()), &raft.InstallSnapshotRequest{Size: 1 << 30}, &raft.InstallSnapshotResponse{}, hang) //nolint:errcheck // ends with the pipe
	rpc := <-other.Consumer()
	read := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, rpc.Reader)
		if err == nil {
			err = io.EOF
		}
		read <- err
	}()
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err == nil {
		t.Error("no error")
	}
}
