package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/hashicorp/raft"

	"hadir/store"
)

// Raft makes a Machine the state machine of hashicorp/raft. It is the only file
// of this package that knows raft.
type Raft struct {
	*Machine
	// Throttle, where given, is called before each write of a snapshot with the
	// bytes to come and may block, so that a snapshot does not starve the log's
	// sync.
	Throttle func(bytes int)

	handed uint64 // last index that raft handed over; used by its goroutine only
}

// ErrReplaying says that no snapshot can be taken yet: after a restart raft hands
// over again what was applied before, and names a snapshot after what it has
// handed over.
var ErrReplaying = errors.New("the log is still being replayed")

var (
	_ raft.BatchingFSM = (*Raft)(nil)
	_ raft.FSMSnapshot = (*snapshot)(nil)
)

// Apply implements raft.FSM. raft calls ApplyBatch instead.
func (r *Raft) Apply(l *raft.Log) any { return r.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. The response to a command entry is
// []attendance.Outcome, one for each command, or an error when the process is
// about to end.
func (r *Raft) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	if len(logs) > 0 {
		r.handed = logs[len(logs)-1].Index
	}
	for start := 0; start < len(logs); {
		// raft hands over commands and configurations only. Configurations are
		// rare and get a transaction of their own.
		if l := logs[start]; l.Type != raft.LogCommand {
			if err := r.Configure(l.Index, l.Term, l.Data); err != nil {
				out[start] = err
			}
			start++
			continue
		}
		end := start
		var entries []Entry
		for ; end < len(logs) && logs[end].Type == raft.LogCommand; end++ {
			entries = append(entries, Entry{Index: logs[end].Index, Term: logs[end].Term, Data: logs[end].Data})
		}
		outcomes, err := r.Machine.Apply(entries)
		for i := range entries {
			if err != nil {
				out[start+i] = err
			} else {
				out[start+i] = outcomes[i]
			}
		}
		start = end
	}
	return out
}

// Snapshot implements raft.FSM. It runs between two batches, so the picture is
// that of the last applied entry; streaming it comes later, beside new entries.
func (r *Raft) Snapshot() (raft.FSMSnapshot, error) {
	if err := r.err(); err != nil {
		return nil, err
	}
	s, err := r.state.Snapshot()
	if err != nil {
		return nil, err
	}
	if s.Header.Index > r.handed {
		s.Release()
		return nil, ErrReplaying
	}
	return &snapshot{picture: s, throttle: r.Throttle, failpoint: r.opts.Failpoint}, nil
}

type snapshot struct {
	picture   *store.Snapshot
	throttle  func(int)
	failpoint func(string)
}

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	// raft ends a snapshot by closing or cancelling the sink, not by a context.
	if err := s.picture.Write(context.Background(), &throttled{sink, s.throttle}); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	hit(s.failpoint, "persist.written")
	return sink.Close()
}

// Release implements raft.FSMSnapshot. raft calls it even if Persist never ran.
func (s *snapshot) Release() { s.picture.Release() }

type throttled struct {
	w    io.Writer
	wait func(int)
}

func (t *throttled) Write(p []byte) (int, error) {
	if t.wait != nil {
		t.wait(len(p))
	}
	return t.w.Write(p)
}

// Restore implements raft.FSM: it replaces the whole state by a snapshot. An error
// while it is received or proven leaves the old state in use, and raft tries
// again; an error of the swap itself ends the process.
func (r *Raft) Restore(in io.ReadCloser) error {
	if err := r.err(); err != nil {
		return errors.Join(err, in.Close())
	}
	path, header, err := store.Receive(context.Background(), in, filepath.Dir(r.state.Path()), r.state.Options())
	if err := errors.Join(err, in.Close()); err != nil {
		return err
	}
	if err := r.checkCluster(header); err != nil {
		return errors.Join(err, store.CleanIncoming(filepath.Dir(r.state.Path())))
	}
	r.handed = header.Index
	if err := r.replace(path); err != nil {
		return r.halt(fmt.Errorf("the snapshot could not be swapped in: %w: check the disk, then start this node again", err))
	}
	return nil
}

// checkCluster refuses a snapshot of another cluster.
func (r *Raft) checkCluster(h store.Header) error {
	return r.state.View(func(tx *store.ReadTx) error {
		if own := tx.Meta().Cluster; !own.IsZero() && !h.Cluster.IsZero() && own != h.Cluster {
			return fmt.Errorf("%w: the snapshot belongs to cluster %s, this state to %s", ErrForeignLog, h.Cluster, own)
		}
		return nil
	})
}

// Errors of CheckStart. Each says what to do.
var (
	// ErrLogMissing: there is data of this node, but its log is gone, or older.
	ErrLogMissing = errors.New("raft.db is missing or older than the rest")
	// ErrStateBehind: the state cannot be continued from what the log holds.
	ErrStateBehind = errors.New("state.db is behind")
)

const asNewNode = "move the data directory away and start it as a new node"

// CheckStart judges, before raft starts, whether state, log and snapshots belong
// together. restore says whether raft should begin by restoring the newest
// snapshot, which is right only where the state is behind it: raft would
// otherwise move the state back in time, or, told not to, believe that the
// snapshot's entries had been applied without looking.
//
// logExisted says whether the log's file was there before it was opened now.
func CheckStart(state *store.State, logExisted bool, logs raft.LogStore, snapshots raft.SnapshotStore) (restore bool, err error) {
	var m store.Meta
	if err := state.View(func(tx *store.ReadTx) error { m = tx.Meta(); return nil }); err != nil {
		return false, err
	}
	newest, covered, found, err := newestSnapshot(snapshots)
	if err != nil {
		return false, err
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return false, fmt.Errorf("read the log: %w", err)
	}
	last, err := logs.LastIndex()
	if err != nil {
		return false, fmt.Errorf("read the log: %w", err)
	}
	// Votes are in raft.db alone. A node that has lost them may not vote again.
	if (m.Applied > 0 || found) && !logExisted {
		return false, fmt.Errorf("%w: this node has forgotten how it voted and may not vote again: %s", ErrLogMissing, asNewNode)
	}
	// An entry is in the log, synced, before it is applied.
	if max(last, covered) < m.Applied {
		return false, fmt.Errorf("%w: it ends at entry %d and state.db at %d, so it is an old copy that has forgotten "+
			"votes: %s", ErrLogMissing, last, m.Applied, asNewNode)
	}
	// A snapshot that is newer than the state was being installed when the process
	// ended, or somebody put back an old state.db. Either way it is right to begin
	// with the snapshot: state is a function of the log, and the votes were judged
	// above.
	restore = found && m.Applied < newest.Index
	if found && !m.Cluster.IsZero() && !newest.Cluster.IsZero() && m.Cluster != newest.Cluster {
		return false, fmt.Errorf("%w: the newest snapshot belongs to cluster %s, state.db to %s: put back the right "+
			"state.db or move it away, it is rebuilt from the snapshot", ErrForeignLog, newest.Cluster, m.Cluster)
	}
	// Between the snapshot's last command and raft's index for it lie barriers
	// only: whoever has the command has everything.
	if have := max(m.Applied, covered); first > have+1 {
		return false, fmt.Errorf("%w: it ends at entry %d and the log begins at %d, with no snapshot between: %s",
			ErrStateBehind, have, first, asNewNode)
	}
	return restore, nil
}

// newestSnapshot gives the header of the newest snapshot and raft's index for it,
// which may be greater: it also covers barriers, which the state machine never
// sees.
func newestSnapshot(snapshots raft.SnapshotStore) (h store.Header, covered uint64, found bool, err error) {
	list, err := snapshots.List()
	if err != nil {
		return h, 0, false, fmt.Errorf("list snapshots: %w", err)
	}
	if len(list) == 0 {
		return h, 0, false, nil
	}
	_, in, err := snapshots.Open(list[0].ID)
	if err != nil {
		return h, 0, false, fmt.Errorf("open snapshot %s: %w", list[0].ID, err)
	}
	h, err = store.ReadHeader(in)
	if err := errors.Join(err, in.Close()); err != nil {
		return h, 0, false, fmt.Errorf("snapshot %s: %w", list[0].ID, err)
	}
	return h, list[0].Index, true, nil
}
