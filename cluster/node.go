package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"hadir/attendance"
	"hadir/cluster/gossip"
	"hadir/cluster/transport"
	"hadir/fsm"
	"hadir/store"
)

// Node is one member of the cluster. All methods may be called concurrently.
type Node struct {
	cfg     Config
	clock   Clock
	log     *slog.Logger
	observe Observer
	id      string // raft server id

	own      *store.Node
	state    *store.State
	machine  *fsm.Machine
	logs     *transport.LogStore
	listener *transport.Listener
	gossip   *gossip.Gossip
	rpc      *http.Server

	joining   sync.Mutex // held by join, so that close does not run beside it
	raft      *raft.Raft // set once, before joined is closed
	transport *transport.RaftTransport
	joined    chan struct{} // closed when raft runs
	readyOnce sync.Once
	ready     chan struct{} // closed when a leader was known for the first time

	cluster  atomic.Pointer[attendance.ClusterID]
	epoch    uint64
	stopping atomic.Bool

	appliedIndex atomic.Uint64
	seq          atomic.Uint64
	applied      *signal // after each commit
	leaders      *signal // after each change of leader

	entries  *batcher // to the log
	forwards *batcher // to the leader
	verify   *verifier
	fresh    freshness
	duties   duties
	peers    peers
	history  history
	seen     generations

	started time.Time
	life    context.Context // ends when Shutdown begins to stop the node
	end     context.CancelFunc
	wg      sync.WaitGroup
}

// Start opens the node's files, listens, meets the others and, when it is or
// becomes a member of a cluster, takes part in it. It returns when the files are
// proven and the addresses are bound; use Ready to wait for the rest.
//
// Errors are one line that says what to do: a file that is damaged or in use, an
// address that is taken, a state that does not fit its log.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	n := &Node{
		cfg: cfg, clock: cfg.Clock, log: cfg.Log.With("node", cfg.Name), observe: cfg.Observe,
		joined: make(chan struct{}), ready: make(chan struct{}), applied: newSignal(), leaders: newSignal(),
		epoch: 1, started: cfg.Clock.Now(), life: life, end: end,
	}
	n.entries, n.forwards = newBatcher(n.propose), newBatcher(n.forward)
	n.verify = &verifier{round: func() error { return n.raft.VerifyLeader().Error() }}
	if err := n.start(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// start brings up the parts in the order in which they need each other: files,
// port, gossip, RPC. Raft comes last, and at once only if this node is a member
// of a cluster already.
func (n *Node) start() error {
	if err := os.MkdirAll(n.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	restore, existing, err := n.openFiles()
	if err != nil {
		return err
	}
	if err := n.listen(); err != nil {
		return err
	}
	if err := n.meet(); err != nil {
		return err
	}
	n.rpc = n.listener.NewRPCServer(n.handler())
	n.wg.Go(func() {
		if err := n.rpc.Serve(n.listener.RPC()); err != nil && !errors.Is(err, http.ErrServerClosed) && !n.stopping.Load() {
			n.cfg.Halt(fmt.Errorf("the node RPC ended: %w", err))
		}
	})
	if existing {
		return n.join(restore)
	}
	n.wg.Go(func() { n.found(n.life) })
	return nil
}

// openFiles opens node.db, state.db and raft.db and proves that they belong
// together. existing says that this node was a member before.
func (n *Node) openFiles() (restore, existing bool, err error) {
	path := func(name string) string { return filepath.Join(n.cfg.DataDir, name) }
	if n.own, err = store.OpenNode(path("node.db"), n.cfg.Rand); err != nil {
		return false, false, err
	}
	n.id = serverID(n.cfg.Name, n.own.Incarnation())
	if n.seen.highest, err = n.own.Seen(); err != nil {
		return false, false, err
	}
	if err := store.CleanIncoming(n.cfg.DataDir); err != nil {
		return false, false, fmt.Errorf("clean up %s: %w", n.cfg.DataDir, err)
	}
	if n.state, err = store.OpenState(path("state.db"), store.Options{}); err != nil {
		return false, false, err
	}
	logExisted, err := store.Exists(path("raft.db"))
	if err != nil {
		return false, false, err
	}
	if n.logs, err = transport.OpenLogStore(path("raft.db"), transport.LogStoreOptions{
		Clock: n.clock, Halt: n.cfg.Halt, Observe: n.observe.StoredLogs,
	}); err != nil {
		return false, false, err
	}
	snapshots, err := n.snapshots()
	if err != nil {
		return false, false, err
	}
	if restore, err = fsm.CheckStart(n.state, logExisted, n.logs, snapshots); err != nil {
		return false, false, err
	}
	if existing, err = raft.HasExistingState(n.logs, n.logs, snapshots); err != nil {
		return false, false, fmt.Errorf("read raft.db: %w", err)
	}
	n.machine = fsm.New(n.state, fsm.Options{Halt: n.cfg.Halt})
	n.machine.Subscribe(n.committed)
	return restore, existing, n.loadIdentity(existing)
}

// loadIdentity learns what this node was a member of.
func (n *Node) loadIdentity(existing bool) error {
	id, err := n.own.Cluster()
	if err != nil {
		return err
	}
	n.cluster.Store(&id)
	if existing && id.IsZero() {
		return fmt.Errorf("%s has a log but node.db does not know its cluster: move the data directory away and start "+
			"this node as a new one", n.cfg.DataDir)
	}
	return n.state.View(func(tx *store.ReadTx) error {
		m := tx.Meta()
		if !m.Cluster.IsZero() && m.Cluster != id {
			return fmt.Errorf("state.db belongs to cluster %s, node.db to %s: put back the files that belong together", m.Cluster, id)
		}
		n.epoch = m.Epoch
		n.appliedIndex.Store(m.Applied)
		n.seq.Store(m.Seq)
		return nil
	})
}

func (n *Node) snapshots() (raft.SnapshotStore, error) {
	s, err := raft.NewFileSnapshotStoreWithLogger(n.cfg.DataDir, 2, transport.NewHCLog(n.log, "snapshots"))
	if err != nil {
		return nil, fmt.Errorf("snapshots in %s: %w", n.cfg.DataDir, err)
	}
	return s, nil
}

func (n *Node) listen() error {
	incarnation, err := incarnationNumber(n.own.Incarnation())
	if err != nil {
		return err
	}
	n.listener, err = transport.Listen(transport.Config{
		Addr: n.cfg.PeerAddr, Advertise: n.cfg.PeerAdvertise, Keys: n.cfg.Keys,
		Self:     transport.Self{ID: n.id, Incarnation: incarnation, Generation: n.own.Generation()},
		Identity: n, Admit: n.admit, Clock: n.clock, Rand: n.cfg.Rand, Logger: n.log,
	})
	if err != nil {
		return fmt.Errorf("peer address %s: %w", n.cfg.PeerAddr, err)
	}
	return nil
}

func (n *Node) meet() error {
	var err error
	if n.gossip, err = gossip.Start(gossip.Config{
		Bind: n.cfg.GossipAddr, Advertise: n.cfg.GossipAdvertise, Seeds: n.cfg.Join, Keys: n.cfg.Keys,
		Meta: n.meta([32]byte{}), Clock: n.clock, Rand: n.cfg.Rand, Logger: n.log,
	}); err != nil {
		return fmt.Errorf("gossip address %s: %w", n.cfg.GossipAddr, err)
	}
	return nil
}

// meta is what gossip says about this node.
func (n *Node) meta(hash [32]byte) gossip.Meta {
	m := gossip.Meta{
		ID: n.id, Name: n.cfg.Name, Generation: n.own.Generation(), HTTPURL: n.cfg.HTTPAdvertise,
		PeerAddr: n.listener.Addr().String(), Version: n.cfg.Version, CommandLevel: attendance.Level, BootstrapHash: hash,
	}
	m.Incarnation, _ = incarnationNumber(n.own.Incarnation()) // listen has parsed it before
	if id := n.clusterID(); !id.IsZero() {
		m.ClusterID = id.String()
	}
	return m
}

// found waits until the founders agree, founds the cluster with them, and joins.
func (n *Node) found(ctx context.Context) {
	var said plan
	for {
		members := n.gossip.Members()
		p := planFoundation(members, n.cfg.BootstrapExpect)
		if n.cfg.BootstrapExpect == 1 && len(n.cfg.Join) > 0 && len(members) == 1 {
			p = plan{} // told to join others: a cluster of its own would be a second one
		}
		if p != said {
			n.explainPlan(p, len(members))
			said = p
			if err := n.gossip.UpdateMeta(n.meta(p.hash)); err != nil {
				n.log.Warn("gossip did not take the news", "error", err)
			}
		}
		if p.agreed {
			if err := n.bootstrap(members, p); err != nil && !n.stopping.Load() {
				n.cfg.Halt(fmt.Errorf("found the cluster: %w", err))
			}
			return
		}
		// Looked at again and again, not only on changes: updates of gossip may be
		// merged or lost.
		if n.pause(ctx, foundEvery, n.gossip.Changes()) != nil {
			return
		}
	}
}

const foundEvery = 200 * time.Millisecond

func (n *Node) explainPlan(p plan, seen int) {
	switch {
	case p.foreign != "":
		n.log.Warn("there is a cluster already and this node is not a member of it: it waits to be admitted",
			"seen", p.foreign)
	case p.agreed:
		n.log.Info("all founders agree", "cluster", clusterIDOf(p.hash))
	default:
		n.log.Info("waiting for the other founders", "seen", seen, "expected", n.cfg.BootstrapExpect)
	}
}

// bootstrap writes the first configuration, which is the same on every founder.
func (n *Node) bootstrap(members []gossip.Member, p plan) error {
	snapshots, err := n.snapshots()
	if err != nil {
		return err
	}
	// The cluster's id first: a node that stops between the two finds an empty log
	// with it, and founds again with the same set.
	id := clusterIDOf(p.hash)
	if err := n.own.SetCluster(id); err != nil {
		return err
	}
	_, unused := raft.NewInmemTransport("") // only protocol versions before 3 encode peers with it
	err = raft.BootstrapCluster(n.raftConfig(false), n.logs, n.logs, snapshots, unused, foundation(members))
	if err != nil {
		return err
	}
	n.cluster.Store(&id)
	if err := n.join(false); err != nil {
		return err
	}
	return n.gossip.UpdateMeta(n.meta(p.hash))
}

// join starts raft: from here on this node is a member.
func (n *Node) join(restore bool) error {
	n.joining.Lock()
	defer n.joining.Unlock()
	if n.stopping.Load() {
		return ErrClosing
	}
	snapshots, err := n.snapshots()
	if err != nil {
		return err
	}
	if n.transport, err = transport.NewRaftTransport(n.listener, transport.RaftConfig{Addresses: n, Logger: n.log}); err != nil {
		return err
	}
	adapter := &fsm.Raft{Machine: n.machine}
	notify := make(chan bool, 16)
	cfg := n.raftConfig(restore)
	cfg.NotifyCh = notify
	if n.raft, err = raft.NewRaft(cfg, adapter, n.logs, n.logs, snapshots, n.transport); err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	observations := make(chan raft.Observation, 64)
	n.raft.RegisterObserver(raft.NewObserver(observations, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	close(n.joined)
	n.wg.Go(func() { n.watchLeader(n.life, observations) })
	n.wg.Go(func() { n.lead(n.life, notify) })
	n.wg.Go(func() { n.entries.run(n.life) })
	n.wg.Go(func() { n.forwards.run(n.life) })
	n.wg.Go(func() { n.beacon(n.life) })
	n.wg.Go(func() { n.probeLoop(n.life) })
	return nil
}

// raftConfig is reliability by numbers: a leader is missed after 500 ms, elected
// within another 500 to 1 000, and gives up by itself 250 ms after it lost the
// majority. One multiplier stretches all of it for slow machines.
func (n *Node) raftConfig(restore bool) *raft.Config {
	m := time.Duration(max(1, n.cfg.RaftMultiplier))
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.id)
	c.HeartbeatTimeout = 500 * time.Millisecond * m
	c.ElectionTimeout = 500 * time.Millisecond * m
	c.LeaderLeaseTimeout = 250 * time.Millisecond * m
	c.CommitTimeout = 20 * time.Millisecond * m
	c.MaxAppendEntries = 64
	c.TrailingLogs = 10_240
	// The library's restore at start would move the state back in time; CheckStart
	// has judged whether there is anything to restore.
	c.NoSnapshotRestoreOnStart = !restore
	c.NoLegacyTelemetry = true
	c.Logger = transport.NewHCLog(n.log, "raft")
	return c
}

// Cluster implements transport.Identity.
func (n *Node) Cluster() transport.Cluster {
	id := n.clusterID()
	if id.IsZero() {
		return transport.Cluster{}
	}
	return transport.Cluster{ID: id.String(), Epoch: n.epoch, Admitted: true}
}

func (n *Node) clusterID() attendance.ClusterID {
	if id := n.cluster.Load(); id != nil {
		return *id
	}
	return attendance.ClusterID{}
}

func (n *Node) member() bool {
	select {
	case <-n.joined:
		return true
	default:
		return false
	}
}

func (n *Node) isLeader() bool { return n.member() && n.raft.State() == raft.Leader }

// committed is called by the state machine after each commit. It only notes and
// wakes: the goroutine that applies must not wait for anybody.
func (n *Node) committed(c fsm.Commit) {
	n.appliedIndex.Store(c.Index)
	n.seq.Store(c.LastSeq())
	n.applied.wake()
}

// Subscribe has f called after each commit; see fsm.Machine.Subscribe.
func (n *Node) Subscribe(f func(fsm.Commit)) { n.machine.Subscribe(f) }

// Name gives the node's name.
func (n *Node) Name() string { return n.cfg.Name }

// Applied gives the raft index that this node has applied.
func (n *Node) Applied() uint64 { return n.appliedIndex.Load() }

// Ready gives a channel that is closed when this node is a member and has known
// a leader.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// generations remembers the highest generation seen of each server. A lower one
// comes from an old copy of a data directory, the same one under another run from
// a second process on it; both have forgotten votes and may not take part.
type generations struct {
	mu      sync.Mutex
	highest map[string]uint64
	run     map[string]uint64
}

// admit implements transport.Config.Admit.
func (n *Node) admit(p transport.Peer) error {
	n.seen.mu.Lock()
	defer n.seen.mu.Unlock()
	known, seen := n.seen.highest[p.ID]
	if n.seen.run == nil {
		n.seen.run = make(map[string]uint64)
	}
	run, running := n.seen.run[p.ID]
	switch {
	case seen && p.Generation < known, seen && p.Generation == known && running && run != p.Run:
		return transport.ErrStaleGeneration
	case seen && p.Generation == known:
		n.seen.run[p.ID] = p.Run
		return nil
	}
	// Once for each start of a peer: a write that takes a millisecond.
	if err := n.own.SetSeen(p.ID, p.Generation); err != nil {
		n.cfg.Halt(fmt.Errorf("node.db cannot be written: %w: check the disk, then start this node again", err))
		return err
	}
	n.seen.highest[p.ID], n.seen.run[p.ID] = p.Generation, p.Run
	return nil
}

// Shutdown stops the node: leadership is handed over first, then everything that
// Start began is ended and waited for. ctx bounds the handing over only.
//
// Order: refuse new work; hand over; end loops and calls; raft's connections,
// then raft; gossip; files.
func (n *Node) Shutdown(ctx context.Context) error {
	if !n.stopping.CompareAndSwap(false, true) {
		return nil
	}
	if n.isLeader() && len(n.servers()) > 1 {
		if err := n.handOver(ctx); err != nil {
			n.log.Warn("leadership could not be handed over, the others will elect", "error", err)
		}
	}
	return n.close()
}

// TransferLeadership has the leader, wherever it is, hand over to another voter.
// It returns when a successor has taken over, or with ErrNoLeader.
func (n *Node) TransferLeadership(ctx context.Context) error {
	if n.isLeader() {
		return n.handOver(ctx)
	}
	to, ok := n.leaderTarget()
	if !ok {
		return ErrNoLeader
	}
	raw, err := n.call(ctx, to, http.MethodPost, pathTransfer, nil, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	answer, err := decodeIndex(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return answer.code.err()
}

func (n *Node) handOver(ctx context.Context) error {
	done := make(chan error, 1)
	// It ends by itself at the latest when raft is shut down.
	go func() { done <- n.raft.LeadershipTransfer().Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends what was started, in the reverse order.
func (n *Node) close() error {
	n.stopping.Store(true)
	n.end()
	n.joining.Lock()
	defer n.joining.Unlock()
	var errs []error
	if n.transport != nil {
		// Before raft itself: a follower in the middle of a snapshot reads from a
		// connection that nothing else would end.
		errs = append(errs, n.transport.Close())
	}
	if n.raft != nil {
		errs = append(errs, n.raft.Shutdown().Error())
	}
	if n.rpc != nil {
		errs = append(errs, n.rpc.Close())
	}
	if n.gossip != nil {
		if err := n.gossip.Leave(leaveTimeout); err != nil {
			n.log.Debug("nobody was told that this node leaves", "error", err)
		}
		errs = append(errs, n.gossip.Close())
	}
	if n.listener != nil {
		errs = append(errs, n.listener.Close())
	}
	n.wg.Wait()
	if n.logs != nil {
		errs = append(errs, n.logs.Close())
	}
	if n.state != nil {
		errs = append(errs, n.state.Close())
	}
	if n.own != nil {
		errs = append(errs, n.own.Close())
	}
	return errors.Join(errs...)
}

const leaveTimeout = 300 * time.Millisecond
