package cluster

import (
	"context"
	"encoding/json"
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
	autopilot "github.com/hashicorp/raft-autopilot"

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
	epoch    atomic.Uint64 // of the membership: those of before a recovery are refused
	stopping atomic.Bool

	stateEpoch   atomic.Uint64 // of the history: a restore raises it, too
	appliedIndex atomic.Uint64
	seq          atomic.Uint64
	applied      *signal // after each commit
	leaders      *signal // after each change of leader
	changes      *signal // after each change of the view

	entries   *batcher // to the log
	forwards  *batcher // to the leader
	verify    *verifier
	fresh     freshness
	duties    duties
	restores  restores
	peers     peers
	history   history
	configure configurer
	pilot     atomic.Pointer[autopilot.Autopilot] // while this node leads
	settled   atomic.Bool                         // this node has noted that it may not lose its log
	notes     notes
	seen      generations
	disk      disk
	answerers answerers

	stale   sync.Once     // this node has been told that it is an old copy
	over    chan struct{} // closed when raft has ended
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
// address that is taken, a state that does not fit its log, a member without one.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	n := &Node{
		cfg: cfg, clock: cfg.Clock, log: cfg.Log, observe: cfg.Observe,
		joined: make(chan struct{}), ready: make(chan struct{}), applied: newSignal(), leaders: newSignal(), changes: newSignal(),
		over: make(chan struct{}), started: cfg.Clock.Now(), life: life, end: end,
	}
	n.configure = newConfigurer()
	n.entries, n.forwards = newBatcher(n.propose), newBatcher(n.forward)
	n.verify = &verifier{round: n.proveLeadership}
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
	if err := checkRecovered(n.cfg.DataDir); err != nil {
		return err
	}
	if err := checkRetired(n.cfg.DataDir); err != nil {
		return err
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
	n.lookAtDisk()
	n.wg.Go(func() { n.watchDisk(n.life) })
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
		Clock: n.clock, Halt: n.cfg.Halt, Observe: n.observe.StoredLogs, StallAfter: n.cfg.stall,
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
	if existing, err = n.hasLog(snapshots); err != nil {
		return false, false, err
	}
	n.machine = fsm.New(n.state, fsm.Options{Halt: n.cfg.Halt})
	n.machine.Subscribe(n.committed)
	return restore, existing, n.loadIdentity(existing)
}

// keyTerm is where raft keeps its term.
var keyTerm = []byte("CurrentTerm")

// hasLog reports whether this node has a log to go on with. A log without an
// entry and without a snapshot is one that was never founded, even if it has a
// term: power was lost while it was. But a node that was a member and comes back
// without its log has forgotten how it voted.
func (n *Node) hasLog(snapshots raft.SnapshotStore) (bool, error) {
	last, err := n.logs.LastIndex()
	if err != nil {
		return false, fmt.Errorf("read raft.db: %w", err)
	}
	term, err := n.logs.GetUint64(keyTerm)
	if err != nil && err.Error() != "not found" { // raft compares the text, too
		return false, fmt.Errorf("read raft.db: %w", err)
	}
	list, err := snapshots.List()
	if err != nil {
		return false, fmt.Errorf("list snapshots: %w", err)
	}
	member, err := n.own.Member()
	if err != nil {
		return false, err
	}
	has := term > 0 && (last > 0 || len(list) > 0)
	switch {
	case member && !has:
		return false, fmt.Errorf("%w: %s was a member's and has lost its log, so this node has forgotten how it voted and may "+
			"not vote again: move the data directory away and start it as a new node", fsm.ErrLogMissing, n.cfg.DataDir)
	case has && !member:
		return true, n.own.SetMember()
	}
	return has, nil
}

// loadIdentity learns what this node was a member of.
func (n *Node) loadIdentity(existing bool) error {
	id, err := n.own.Cluster()
	if err != nil {
		return err
	}
	epoch, err := n.own.Epoch()
	if err != nil {
		return err
	}
	n.epoch.Store(epoch)
	if existing {
		n.cluster.Store(&id)
		n.settled.Store(true)
	}
	if existing && id.IsZero() {
		return fmt.Errorf("%s has a log but node.db does not know its cluster: move the data directory away and start "+
			"this node as a new one", n.cfg.DataDir)
	}
	return n.state.View(func(tx *store.ReadTx) error {
		m := tx.Meta()
		if !m.Cluster.IsZero() && m.Cluster != id {
			return fmt.Errorf("state.db belongs to cluster %s, node.db to %s: put back the files that belong together", m.Cluster, id)
		}
		if m.Level > attendance.Level {
			return fmt.Errorf("%w: the cluster uses command level %d, this program knows %d: install the newer hadir",
				attendance.ErrUnknownLevel, m.Level, attendance.Level)
		}
		n.stateEpoch.Store(m.Epoch)
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
		NonVoter: n.cfg.NonVoter,
	}
	m.Incarnation, _ = incarnationNumber(n.own.Incarnation()) // listen has parsed it before
	if id := n.clusterID(); !id.IsZero() {
		m.ClusterID = id.String()
	}
	return m
}

// found waits until the founders agree and founds the cluster with them, or enters
// the one that admits this node.
func (n *Node) found(ctx context.Context) {
	p, err := n.agree(ctx)
	switch {
	case err != nil:
	case p.agreed:
		err = n.bootstrap(p)
	case p.admission != nil:
		err = n.enter(*p.admission)
	}
	if err != nil && !n.stopping.Load() {
		n.cfg.Halt(fmt.Errorf("found the cluster: %w", err))
	}
}

// agree waits for a plan that all founders agree on, or for the admission to a
// cluster that is there already; the plan has neither when ctx ends first.
func (n *Node) agree(ctx context.Context) (plan, error) {
	intent, begun, err := n.founding()
	if err != nil || begun {
		return plan{set: intent, hash: hashOf(intent), agreed: begun}, err
	}
	var said plan
	var asks applicant
	for first := true; ; first = false {
		members := n.gossip.Members()
		p := planFoundation(members, n.cfg.BootstrapExpect, intent)
		if n.cfg.NonVoter {
			p = planReplica(members)
		}
		if n.cfg.BootstrapExpect == 1 && len(n.cfg.Join) > 0 && len(members) == 1 && !n.gossip.OnlyOwnSeeds() {
			// Told to join others: a cluster of its own would be a second one.
			p = plan{alone: n.clock.Now().Sub(n.started) >= aloneAfter}
		}
		if first || !p.equal(said) {
			n.explainPlan(p, len(members))
			said = p
			if len(p.set.Servers) > 0 {
				// Before anybody hears of it: whoever does may found without asking again.
				if err := n.intend(p.set); err != nil {
					return plan{}, err
				}
				intent = p.set
			}
			if err := n.gossip.UpdateMeta(n.meta(p.hash)); err != nil {
				n.log.Warn("gossip did not take the news", "error", err)
			}
		}
		if p.agreed {
			return p, nil
		}
		if p.foreign != "" {
			if a, ok := asks.apply(ctx, n, members); ok {
				return plan{admission: &a}, nil
			}
		}
		// Looked at again and again, not only on changes: updates of gossip may be
		// merged or lost.
		if n.pause(ctx, foundEvery, n.gossip.Changes()) != nil {
			return plan{}, nil //nolint:nilerr // the node stops, which is no failure
		}
	}
}

const (
	foundEvery = 200 * time.Millisecond
	aloneAfter = 3 * time.Second // until then the others may just be starting
)

// founding gives the founders that this node last agreed to, and whether it has
// begun to found the cluster with them: power was lost on the way.
func (n *Node) founding() (set raft.Configuration, begun bool, err error) {
	raw, err := n.own.Founding()
	if err != nil || raw == nil {
		return set, false, err
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return set, false, fmt.Errorf("node.db: its founders cannot be read: %w", err)
	}
	id, err := n.own.Cluster()
	return set, !id.IsZero() && id == clusterIDOf(hashOf(set)), err
}

func (n *Node) intend(set raft.Configuration) error {
	raw, err := json.Marshal(set)
	if err != nil {
		return err
	}
	return n.own.SetFounding(raw)
}

func (n *Node) explainPlan(p plan, seen int) {
	switch {
	case p.foreign != "":
		n.log.Info("there is a cluster already and this node is not a member of it: it asks to be admitted", "seen", p.foreign)
	case p.twins != "":
		n.log.Warn("two nodes have the same name: give each its own --node-id", "name", p.twins)
	case n.cfg.NonVoter:
		n.log.Info("waiting for a cluster to read from", "seen", seen)
	case p.agreed:
		n.log.Info("all founders agree", "cluster", clusterIDOf(p.hash))
	case p.alone:
		n.log.Warn("told to join others, but none answers: this node waits for them; to found a cluster of one node, "+
			"start it without addresses to join", "join", n.cfg.Join)
	default:
		n.log.Info("waiting for the other founders", "seen", seen, "expected", n.cfg.BootstrapExpect)
	}
}

// bootstrap writes the first configuration, which is the same on every founder.
func (n *Node) bootstrap(p plan) error {
	snapshots, err := n.snapshots()
	if err != nil {
		return err
	}
	// In this order: the intent, the cluster's id, the log, the member. A node that
	// stops before the log has an entry founds again with the same set; one that was
	// a member never does.
	id := clusterIDOf(p.hash)
	if err := n.own.SetCluster(id); err != nil {
		return err
	}
	// An earlier attempt may have left the term without the entry. Raft has never
	// run on it, so nothing was voted.
	if err := n.logs.SetUint64(keyTerm, 0); err != nil {
		return err
	}
	_, unused := raft.NewInmemTransport("") // only protocol versions before 3 encode peers with it
	if err := raft.BootstrapCluster(n.raftConfig(false), n.logs, n.logs, snapshots, unused, p.set); err != nil {
		return err
	}
	if err := n.own.SetMember(); err != nil {
		return err
	}
	n.cluster.Store(&id)
	n.settled.Store(true)
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
	adapter := &fsm.Raft{Machine: n.machine, Throttle: n.brake()}
	notify := make(chan bool, 16)
	cfg := n.raftConfig(restore)
	cfg.NotifyCh = notify
	if n.raft, err = raft.NewRaft(cfg, adapter, n.logs, n.logs, snapshots, n.transport); err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	observations := make(chan raft.Observation, 64)
	n.raft.RegisterObserver(raft.NewObserver(observations, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState, raft.PeerObservation:
			return true
		}
		return false
	}))
	close(n.joined)
	n.wg.Go(func() { n.watchLeader(n.life, observations) })
	n.wg.Go(func() { n.lead(n.life, notify) })
	n.wg.Go(func() { n.entries.run(n.life) })
	n.wg.Go(func() { n.forwards.run(n.life) })
	n.wg.Go(func() { n.beacon(n.life) })
	n.wg.Go(func() { n.probeLoop(n.life) })
	n.wg.Go(func() { n.watchRemoval(n.life) })
	n.wg.Go(func() { n.takeSnapshots(n.life) })
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
	c.TrailingLogs = n.cfg.Snapshots.Trailing
	c.SnapshotThreshold = never // takeSnapshots does, by size
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
	return transport.Cluster{ID: id.String(), Epoch: n.epoch.Load(), Admitted: true}
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
	if c.Restored {
		n.restored()
	}
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
// a second process on it; both have forgotten votes and may not take part. The
// listener cuts off what an older process still has open.
type generations struct {
	mu      sync.Mutex
	highest map[string]uint64
	run     map[string]uint64
}

// admit implements transport.Config.Admit.
func (n *Node) admit(p transport.Peer) error {
	if newer, err := n.seen.judge(p); err != nil || !newer {
		return err
	}
	// Once for each start of a peer: a write that takes a millisecond, or as long as
	// the disk likes, during which the other peers must get their answers.
	if err := n.own.SetSeen(p.ID, p.Generation); err != nil {
		n.cfg.Halt(fmt.Errorf("node.db cannot be written: %w: check the disk, then start this node again", err))
		return err
	}
	return n.seen.note(p)
}

// judge refuses what is stale and reports whether p is of a newer generation than
// any noted.
func (g *generations) judge(p transport.Peer) (newer bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	known, seen := g.highest[p.ID]
	if !seen || p.Generation > known {
		return true, nil
	}
	return false, g.take(p)
}

// note notes a generation that has been written to disk.
func (g *generations) note(p transport.Peer) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.Generation > g.highest[p.ID] {
		g.highest[p.ID] = p.Generation
		delete(g.run, p.ID)
	}
	return g.take(p) // a still newer one, or another run of it, may have come meanwhile
}

// take admits p if it is of the highest generation and of the run first seen of
// that.
func (g *generations) take(p transport.Peer) error {
	if run, running := g.run[p.ID]; p.Generation < g.highest[p.ID] || running && run != p.Run {
		return transport.ErrStaleGeneration
	}
	if g.run == nil {
		g.run = make(map[string]uint64)
	}
	g.run[p.ID] = p.Run
	return nil
}

// Shutdown stops the node: leadership is handed over first, then everything that
// Start began is ended and waited for, in at most three seconds even beside a peer
// that hangs. ctx bounds the handing over only, which comes before that.
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
	raw, err := n.callLeader(ctx, http.MethodPost, pathTransfer, nil)
	if errors.Is(err, errUnreachable) {
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	var answer indexAnswer
	if err == nil {
		answer, err = decodeIndex(raw)
	}
	if err == nil {
		return answer.code.err()
	}
	// The call lets go when the leader changes, which is what was asked for.
	for {
		changed := n.leaders.changed()
		if _, now := n.raft.LeaderWithID(); now != "" && string(now) != to.ID {
			return nil
		} else if now != "" || n.pause(ctx, leaderPoll, changed) != nil {
			return fmt.Errorf("%w: %w", ErrUnknown, err)
		}
	}
}

// handOver hands leadership to whom raft chooses, handOverTo to one server.
func (n *Node) handOver(ctx context.Context) error {
	return n.awaitHandOver(ctx, n.raft.LeadershipTransfer)
}

func (n *Node) handOverTo(ctx context.Context, to transport.Target) error {
	return n.awaitHandOver(ctx, func() raft.Future {
		return n.raft.LeadershipTransferToServer(raft.ServerID(to.ID), raft.ServerAddress(to.Addr))
	})
}

func (n *Node) awaitHandOver(ctx context.Context, begin func() raft.Future) error {
	done := make(chan error, 1)
	// It ends by itself at the latest when raft is shut down.
	go func() { done <- n.wait(begin()) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait waits for a future of raft, or for raft's end: raft forgets futures when it
// shuts down, those of committed entries among them. All of them must be waited
// for here.
func (n *Node) wait(f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }() // stays behind when raft has forgotten the future
	select {
	case err := <-done:
		return err
	case <-n.over:
		return fmt.Errorf("%w: %w", ErrUnknown, raft.ErrRaftShutdown)
	}
}

// close ends what was started, in the reverse order.
func (n *Node) close() error {
	n.stopping.Store(true)
	n.end()
	// join runs either before this, and what it made is ended below, or sees that
	// the node stops. The lock is not held any longer: found, which is waited for,
	// may be about to join.
	n.joining.Lock()
	network, running := n.transport, n.raft
	n.joining.Unlock()
	var errs []error
	if network != nil {
		// Before raft itself: a follower in the middle of a snapshot reads from a
		// connection that nothing else would end.
		errs = append(errs, network.Close())
	}
	if running != nil {
		errs = append(errs, running.Shutdown().Error())
	}
	close(n.over)
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
