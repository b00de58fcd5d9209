package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"hadir/attendance"
	"hadir/fsm"
	"hadir/store"
)

// A restore puts a backup into a cluster that was just founded. What may go wrong
// goes wrong before anything has changed:
//
//  1. The leader receives the backup into a file of its own and proves it.
//  2. In that file it makes the state this cluster's: its id, a new epoch, a raft
//     index above all that this cluster and the old one have used, new session keys,
//     and the event that tells of it.
//  3. It closes the door to proposals and looks once more that the cluster is
//     empty.
//  4. It makes the others non-voters. hashicorp/raft applies a user's snapshot to the
//     leader before anybody else has it: a leader that died then would come back with
//     another history than the rest, on a longer log. As the only voter it is the
//     cluster, and there is no rest.
//  5. It hands the state to raft. From the moment at which the snapshot has its name
//     on this disk the cluster is the restored one; a process that ends before leaves
//     the empty one.
//  6. The others get the snapshot and become voters again: by this process, or, if it
//     has ended, by autopilot.

// Errors of Restore. Nothing has changed then.
var (
	// ErrNotEmpty: there is something in the cluster beyond what founded it.
	ErrNotEmpty = errors.New("this cluster is not empty")
	// ErrRestoring: another restore is under way.
	ErrRestoring = errors.New("another restore is under way")
	// ErrIncomplete: a member of the cluster does not answer.
	ErrIncomplete = errors.New("not all nodes of the cluster answer")
)

// Restored says what a restore has done.
type Restored struct {
	Backup  store.Header // what was restored
	Epoch   uint64       // the new one
	Seq     uint64       // last event: those of the backup, and a few about the restore
	Waiting []string     // names of nodes that do not have it yet and are no voters until then
}

// restores is the state of restoring on this node.
type restores struct {
	one     sync.Mutex   // one restore at a time
	gate    sync.RWMutex // see enqueue
	running bool         // nothing is proposed; guarded by gate
}

const (
	// restoreGap is by how much the raft index jumps: indexes that clients of the old
	// cluster hold, of decisions that the backup does not have, are in the past.
	restoreGap = 1 << 20
	// restoreCopies is how many files of the state's size there are at a time: what
	// was received and its snapshot, raft's copy of that, and what it is unpacked to.
	restoreCopies = 3
	// settleTime is how long a restore waits for the others to have the state.
	settleTime = 30 * time.Second
)

// Restore reads a backup and makes it the state of this cluster, which must have
// been founded just now: nothing but what Genesis proposed is in it. It may be
// called on any node; by is who asks, for the audit trail. It blocks until all
// members have the state, or at most half a minute longer than this takes the
// leader.
//
// Errors: store.ErrBackup and store.ErrFutureSchema for the backup; ErrNotEmpty,
// ErrIncomplete, ErrRestoring, ErrNoSpace, ErrNoLeader for the cluster; all of them
// mean that nothing has changed. ErrUnknown when the answer was lost: Status shows
// the new epoch if it was done.
func (n *Node) Restore(ctx context.Context, backup io.Reader, by string) (Restored, error) {
	switch {
	case !n.member():
		return Restored{}, ErrNotMember
	case n.isLeader():
		return n.restoreHere(ctx, backup, by)
	}
	return n.restoreAtLeader(ctx, backup, by)
}

func (n *Node) restoreHere(ctx context.Context, backup io.Reader, by string) (Restored, error) {
	if !n.restores.one.TryLock() {
		return Restored{}, ErrRestoring
	}
	defer n.restores.one.Unlock()
	if err := errors.Join(n.checkEmpty(), n.checkWhole()); err != nil {
		return Restored{}, err // before a long transfer
	}
	p, err := n.prepare(ctx, backup, by)
	if err != nil {
		return Restored{}, err
	}
	others, err := n.install(ctx, p)
	if err := errors.Join(err, os.Remove(p.path)); err != nil {
		n.promote(others, 0)
		return Restored{}, err
	}
	n.log.Info("the cluster was restored from a backup", "from_cluster", p.header.Cluster.String(), "seq", p.header.Seq,
		"epoch", p.epoch, "term", p.term, "by", by)
	return Restored{Backup: p.header, Epoch: p.epoch, Seq: p.seq, Waiting: n.votersAgain(ctx, others, p.index)}, nil
}

// checkEmpty gives ErrNotEmpty where somebody has used the cluster already.
func (n *Node) checkEmpty() error {
	return n.state.View(func(tx *store.ReadTx) error {
		m := tx.Meta()
		if m.Epoch > 1 || m.Records > 0 {
			return fmt.Errorf("%w: it has %d check-ins and epoch %d: found a new one, with empty data directories, and restore into that",
				ErrNotEmpty, m.Records, m.Epoch)
		}
		var found error
		tx.Events(0, int(min(m.Seq, 1<<30)), func(seq uint64, event []byte) bool {
			e, err := attendance.DecodeEvent(event)
			switch {
			case err != nil:
				found = err
			case e.Principal.Kind != attendance.SystemPrincipal && e.Type != attendance.ActAudited:
				found = fmt.Errorf("%w: somebody has changed it already (event %d, %s): found a new one, with empty data "+
					"directories, and restore into that", ErrNotEmpty, seq, e.Type)
			}
			return found == nil
		})
		return found
	})
}

// checkWhole gives ErrIncomplete where a member does not answer.
func (n *Node) checkWhole() error {
	now := n.clock.Now()
	for _, s := range n.servers() {
		if !s.self && !n.peers.get(s.target.ID).reachable(now) {
			return fmt.Errorf("%w: start %s first", ErrIncomplete, nameOf(s.target.ID))
		}
	}
	return nil
}

// prepared is a backup that was made this cluster's, as a snapshot in a file.
type prepared struct {
	path   string
	size   int64
	header store.Header // of the backup
	epoch  uint64
	index  uint64
	term   uint64
	seq    uint64
}

func (n *Node) prepare(ctx context.Context, backup io.Reader, by string) (prepared, error) {
	// The header is believed for two refusals only, which spare a long transfer.
	var start bytes.Buffer
	h, err := store.ReadHeader(io.TeeReader(backup, &start))
	if err != nil {
		return prepared{}, err
	}
	if h.Level > attendance.Level {
		return prepared{}, fmt.Errorf("%w: the backup uses command level %d, this binary knows %d: install the newer hadir on every node",
			store.ErrFutureSchema, h.Level, attendance.Level)
	}
	if h.Size > 1<<60 {
		return prepared{}, fmt.Errorf("%w: it claims to hold %d bytes", store.ErrBackup, h.Size)
	}
	if err := needSpace(n.cfg.Free, restoreCopies*h.Size); err != nil {
		return prepared{}, err
	}
	path, h, err := store.Receive(ctx, io.MultiReader(&start, backup), n.cfg.DataDir, n.state.Options())
	if err != nil {
		return prepared{}, err
	}
	p := prepared{header: h}
	err = n.rebase(ctx, path, &p, by)
	if err := errors.Join(err, os.Remove(path)); err != nil {
		if p.path != "" {
			err = errors.Join(err, os.Remove(p.path))
		}
		return prepared{}, err
	}
	return p, nil
}

// rebase makes the received state at path this cluster's and writes it as a
// snapshot into another file.
func (n *Node) rebase(ctx context.Context, path string, p *prepared, by string) error {
	state, err := store.OpenState(path, n.state.Options())
	if err != nil {
		return err
	}
	err = n.renew(state, p, by)
	if err == nil {
		err = n.encode(ctx, state, p)
	}
	return errors.Join(err, state.Close())
}

func (n *Node) renew(state *store.State, p *prepared, by string) error {
	own := uint64(0)
	if err := n.state.View(func(tx *store.ReadTx) error { own = tx.Meta().Epoch; return nil }); err != nil {
		return err
	}
	future := n.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return fmt.Errorf("%w: %w", ErrClosing, err)
	}
	p.epoch = max(p.header.Epoch, own) + 1
	p.index = max(p.header.Index, n.raft.LastIndex()) + restoreGap
	p.term = n.raft.CurrentTerm()
	clock := attendance.Millis(0)
	err := state.Update(func(tx *store.Tx) error {
		tx.SetMeta(func(m *store.Meta) {
			m.Cluster, m.Epoch = n.clusterID(), p.epoch
			m.Applied, m.Term = p.index-1, p.term
			clock = m.Clock
		})
		return tx.PutConfiguration(raft.EncodeConfiguration(future.Configuration()))
	})
	if err != nil {
		return err
	}
	var commands []attendance.Command
	if n.cfg.Renew != nil {
		if commands, err = n.cfg.Renew(); err != nil {
			return err
		}
	}
	commands = append(commands, n.system(attendance.Audit{
		Action: "cluster.restored", Subject: n.clusterID().String(),
		Note: fmt.Sprintf("from a backup of cluster %s, epoch %d, up to event %d; new epoch %d; at %s by %s", p.header.Cluster,
			p.header.Epoch, p.header.Seq, p.epoch, n.clock.Now().UTC().Format(time.RFC3339), by),
	}))
	for i := range commands {
		commands[i].Node = n.cfg.Name
	}
	if err := applyBeside(state, n.clusterID(), p.index, p.term, clock, commands); err != nil {
		return err
	}
	return state.View(func(tx *store.ReadTx) error { p.seq = tx.Meta().Seq; return nil })
}

// applyBeside has the state machine apply commands to a state that no node uses, as
// an entry which no log holds: a snapshot covers it.
func applyBeside(state *store.State, cluster attendance.ClusterID, index, term uint64, clock attendance.Millis, commands []attendance.Command) error {
	level := uint32(0)
	if err := state.View(func(tx *store.ReadTx) error { level = tx.Meta().Level; return nil }); err != nil {
		return err
	}
	// The state's own time: a wall clock that is wrong would move it for good.
	data, err := attendance.EncodeEntry(attendance.Entry{Level: level, Cluster: cluster, ProposedAt: clock, Commands: commands})
	if err != nil {
		return err
	}
	machine := fsm.New(state, fsm.Options{Halt: func(error) {}}) // Apply gives the reason
	outcomes, err := machine.Apply([]fsm.Entry{{Index: index, Term: term, Data: data}})
	if err != nil {
		return err
	}
	for i, o := range outcomes[0] {
		if o.Status != attendance.DoneStatus {
			return fmt.Errorf("%s was refused: %s", commands[i].Body.Op(), o.Reason)
		}
	}
	return nil
}

// encode writes the state as a snapshot.
func (n *Node) encode(ctx context.Context, state *store.State, p *prepared) error {
	f, err := os.CreateTemp(n.cfg.DataDir, "state-*.snapshot.incoming") // CleanIncoming knows it after a crash
	if err != nil {
		return err
	}
	p.path = f.Name()
	picture, err := state.Snapshot()
	if err == nil {
		err = picture.Write(ctx, f)
		picture.Release()
	}
	if err == nil {
		p.size, err = f.Seek(0, io.SeekCurrent)
	}
	return errors.Join(err, f.Close())
}

// install makes the prepared state that of the cluster. It gives the members that
// were made non-voters, also with an error.
func (n *Node) install(ctx context.Context, p prepared) (others []raft.Server, err error) {
	n.restores.gate.Lock()
	n.restores.running = true
	n.restores.gate.Unlock()
	defer func() {
		n.restores.gate.Lock()
		n.restores.running = false
		n.restores.gate.Unlock()
	}()
	// Nobody else changes the members until raft has the state.
	err = n.change(ctx, func(m members) error {
		// What was proposed before the door closed is applied, or never will be.
		if err := n.wait(n.raft.Barrier(barrierTimeout)); err != nil {
			return fmt.Errorf("%w: %w", ErrNoLeader, err)
		}
		if err := errors.Join(n.checkEmpty(), n.checkWhole()); err != nil {
			return err
		}
		var err error
		if others, err = n.standAlone(m); err != nil {
			return err
		}
		if n.raft.CurrentTerm() != p.term || n.raft.LastIndex() >= p.index {
			return fmt.Errorf("%w: another node has led while the backup was received: restore again", ErrNoLeader)
		}
		return n.handToRaft(ctx, p)
	})
	return others, err
}

// handToRaft has raft take the prepared state.
func (n *Node) handToRaft(ctx context.Context, p prepared) error {
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return errors.Join(err, f.Close())
	}
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: p.index, Term: p.term, Size: p.size}
	err = n.wait(restoring(func() error { return n.raft.Restore(meta, f, 0) }))
	switch {
	case errors.Is(err, raft.ErrNotLeader):
		err = fmt.Errorf("%w: %w", ErrNoLeader, err)
	case err != nil:
		// A disk that failed, or the end of the process: what is on this disk decides.
		err = fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return errors.Join(err, f.Close())
}

// restoring makes a future of a call of raft.
type restoring func() error

// Error implements raft.Future.
func (f restoring) Error() error { return f() }

// standAlone makes this leader the only voter and gives those who were voters, as
// far as it got.
func (n *Node) standAlone(m members) (others []raft.Server, err error) {
	for _, s := range m.servers {
		if string(s.ID) == n.id || s.Suffrage != raft.Voter {
			continue
		}
		others = append(others, s)
		future := n.raft.DemoteVoter(s.ID, m.index, changeTimeout)
		if err := n.awaitChange(future); err != nil {
			// Whatever became of that change: nothing was restored.
			return others, fmt.Errorf("%w: %s could not be made a non-voter: %s", ErrNoLeader, nameOf(string(s.ID)), err.Error())
		}
		m.index = future.Index()
	}
	return others, nil
}

// votersAgain waits until the others have the restored state and are voters again, and
// gives the names of those that did not get there in time; they are promoted
// later.
func (n *Node) votersAgain(ctx context.Context, others []raft.Server, index uint64) (waiting []string) {
	done := n.promote(others, index)
	late := make(chan struct{})
	stop := n.clock.AfterFunc(settleTime, func() { close(late) })
	defer stop()
	select {
	case <-done:
	case <-late:
	case <-ctx.Done():
	}
	m, err := n.configuration()
	if err != nil {
		return nil // shutting down
	}
	for _, s := range others {
		if now, known := m.find(string(s.ID)); known && now.Suffrage != raft.Voter {
			waiting = append(waiting, nameOf(string(s.ID)))
		}
	}
	return waiting
}

// promote makes servers voters again that have applied an index, as long as this
// node leads; the channel is closed when that has ended. Autopilot would do it, too,
// and does if this process ends: it only waits for longer.
func (n *Node) promote(servers []raft.Server, index uint64) <-chan struct{} {
	done := make(chan struct{})
	n.wg.Go(func() {
		defer close(done)
		servers = slices.Clone(servers)
		for {
			servers = slices.DeleteFunc(servers, func(s raft.Server) bool { return n.voteAgain(s.ID, index) })
			if len(servers) == 0 || !n.isLeader() || n.pause(n.life, askAgain, nil) != nil {
				return
			}
		}
	})
	return done
}

// voteAgain makes a server a voter that has applied an index, and reports whether
// there is nothing left to do.
func (n *Node) voteAgain(id raft.ServerID, index uint64) bool {
	if p := n.peers.get(string(id)); !p.reachable(n.clock.Now()) || p.applied < index {
		return false
	}
	ctx, cancel := context.WithTimeout(n.life, changeTimeout)
	defer cancel()
	err := n.change(ctx, func(m members) error {
		s, known := m.find(string(id))
		if !known || s.Suffrage == raft.Voter {
			return nil
		}
		return n.awaitChange(n.raft.AddVoter(id, s.Address, m.index, changeTimeout))
	})
	if err != nil {
		n.log.Warn("a node could not be made a voter again yet", "server", string(id), "error", err)
	}
	return err == nil
}

// restored is called by the state machine after the whole state was replaced.
func (n *Node) restored() {
	if err := n.state.View(func(tx *store.ReadTx) error {
		n.stateEpoch.Store(tx.Meta().Epoch)
		return nil
	}); err != nil {
		n.cfg.Halt(fmt.Errorf("the new state cannot be read: %w: check the disk, then start this node again", err))
	}
}
