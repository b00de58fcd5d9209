package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"hadir/attendance"
	"hadir/cluster/transport"
	"hadir/fsm"
	"hadir/store"
)

// A recovery makes one survivor a cluster of its own when the majority is gone for
// good. It works on a copy inside the data directory and swaps it in at the end:
//
//	DIR/recovering/         the copy that is worked on
//	DIR/recover.json        the copy is complete: from here on the recovery is only
//	                        ever finished
//	DIR/before-recover-N/   the files as they were
//
// The state is first brought to the end of the log: an entry of which nobody knows
// whether it was committed may have been acknowledged. Then it gets a new epoch, and
// the event that tells of it, and becomes a snapshot with a configuration of this
// one server; the log is emptied, because what is in it makes a state without either.

// Recovery says what Recover has done.
type Recovery struct {
	Server   string   // id of the survivor
	Cluster  string   // id, which stays
	OldEpoch uint64   // of the history
	Epoch    uint64   // of history and membership from now on
	Seq      uint64   // last event, the one about the recovery
	Replayed int      // entries of the log that were not applied before
	Lost     []string // the other servers of the old configuration
	Before   string   // directory with the files as they were
}

// RecoverConfig is what a recovery needs.
type RecoverConfig struct {
	DataDir string
	By      string // who asks, for the audit trail
	Clock   Clock
	Rand    io.Reader
	Log     *slog.Logger
}

// ErrInterrupted means that a recovery was complete but for its last step, which
// hadir recover finishes.
var ErrInterrupted = errors.New("a recovery was interrupted")

const (
	recoverWork   = "recovering"
	recoverMarker = "recover.json"
	recoverBefore = "before-recover-"
	// epochSpread is how far the new epoch may lie above the old one. It is drawn, so
	// that two survivors that were both recovered, by mistake, are of different
	// epochs and refuse each other.
	epochSpread = 1 << 20
)

// recoverFiles are the files that belong together.
var recoverFiles = []string{"node.db", "state.db", "raft.db", "snapshots"}

// recovered is the content of the marker.
type recovered struct {
	Before string // name of the directory for the old files
	Done   Recovery
}

// checkRecovered refuses a data directory in which a recovery was interrupted.
func checkRecovered(dir string) error {
	_, err := os.Stat(filepath.Join(dir, recoverMarker))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: finish it with hadir recover %s, then start this node", ErrInterrupted, dir)
}

// Recover makes the stopped node in a data directory the only member of its
// cluster, under a new epoch: whoever belonged to it before is refused from then on.
// The old files stay beside the new ones. Before Recover has returned, nothing
// that the node would start from has changed, or ErrInterrupted is what it starts
// with and Recover finishes.
//
// Errors are one line that says what to do: store.ErrLocked for a node that runs,
// ErrNotMember for one that never was a member, ErrNoSpace, or damage.
func Recover(ctx context.Context, cfg RecoverConfig) (Recovery, error) {
	if done, begun, err := finishRecovery(cfg.DataDir); begun || err != nil {
		return done, err
	}
	// Nobody may start the node meanwhile.
	release, err := store.LockNode(filepath.Join(cfg.DataDir, "node.db"))
	if err != nil {
		return Recovery{}, err
	}
	done, err := recoverCopy(ctx, cfg)
	if err := errors.Join(err, release()); err != nil {
		return Recovery{}, errors.Join(err, os.RemoveAll(filepath.Join(cfg.DataDir, recoverWork)))
	}
	marker := recovered{Before: filepath.Base(done.Before), Done: done}
	if err := writeMarker(cfg.DataDir, recoverMarker, marker); err != nil {
		return Recovery{}, err
	}
	done, _, err = finishRecovery(cfg.DataDir)
	return done, err
}

func recoverCopy(ctx context.Context, cfg RecoverConfig) (Recovery, error) {
	work := filepath.Join(cfg.DataDir, recoverWork)
	if err := os.RemoveAll(work); err != nil {
		return Recovery{}, err
	}
	before, err := freeName(cfg.DataDir)
	if err != nil {
		return Recovery{}, err
	}
	if err := copyFiles(ctx, cfg.DataDir, work); err != nil {
		return Recovery{}, fmt.Errorf("copy %s: %w", cfg.DataDir, err)
	}
	s := &survivor{cfg: cfg, dir: work}
	err = s.open()
	if err == nil {
		err = s.recover()
	}
	if err := errors.Join(err, s.close()); err != nil {
		return Recovery{}, err
	}
	s.done.Before = before
	return s.done, syncTree(work)
}

// survivor is the copy while it is worked on.
type survivor struct {
	cfg       RecoverConfig
	dir       string
	own       *store.Node
	state     *store.State
	logs      *transport.LogStore
	snapshots raft.SnapshotStore
	machine   *fsm.Raft
	done      Recovery
	self      raft.Server
	cluster   attendance.ClusterID
}

func (s *survivor) open() (err error) {
	path := func(name string) string { return filepath.Join(s.dir, name) }
	if s.own, err = store.OpenNode(path("node.db"), s.cfg.Rand); err != nil {
		return err
	}
	if s.state, err = store.OpenState(path("state.db"), store.Options{}); err != nil {
		return err
	}
	failed := func(error) {} // what fails is answered as an error
	if s.logs, err = transport.OpenLogStore(path("raft.db"), transport.LogStoreOptions{Clock: s.cfg.Clock, Halt: failed}); err != nil {
		return err
	}
	// Only the newest is kept: an older one has the old configuration.
	s.snapshots, err = raft.NewFileSnapshotStoreWithLogger(s.dir, 1, transport.NewHCLog(s.cfg.Log, "snapshots"))
	if err != nil {
		return err
	}
	s.machine = &fsm.Raft{Machine: fsm.New(s.state, fsm.Options{Halt: failed})}
	s.cluster, err = s.own.Cluster()
	return err
}

func (s *survivor) close() error {
	var errs []error
	if s.logs != nil {
		errs = append(errs, s.logs.Close())
	}
	if s.state != nil {
		errs = append(errs, s.state.Close())
	}
	if s.own != nil {
		errs = append(errs, s.own.Close())
	}
	return errors.Join(errs...)
}

func (s *survivor) recover() error {
	if member, err := s.own.Member(); err != nil {
		return err
	} else if !member || s.cluster.IsZero() {
		return s.noMember()
	}
	last, err := s.replay()
	if err != nil {
		return err
	}
	term, err := s.logs.GetUint64(keyTerm)
	if err != nil {
		return fmt.Errorf("read raft.db: %w", err)
	}
	var m store.Meta
	var members []byte
	if err := s.state.View(func(tx *store.ReadTx) error {
		m, members = tx.Meta(), tx.Configuration()
		return nil
	}); err != nil {
		return err
	}
	if err := s.findSelf(members); err != nil {
		return err
	}
	epoch, err := s.drawEpoch(m.Epoch)
	if err != nil {
		return err
	}
	// An entry of its own, in a term of its own, that no log holds.
	index, term := max(last, m.Applied)+1, max(term, m.Term)+1
	configuration := raft.Configuration{Servers: []raft.Server{s.self}}
	if err := s.state.Update(func(tx *store.Tx) error {
		tx.SetMeta(func(m *store.Meta) { m.Cluster, m.Epoch = s.cluster, epoch })
		return tx.PutConfiguration(raft.EncodeConfiguration(configuration))
	}); err != nil {
		return err
	}
	s.done = Recovery{
		Server: string(s.self.ID), Cluster: s.cluster.String(), OldEpoch: m.Epoch, Epoch: epoch, Seq: m.Seq + 1,
		Replayed: s.done.Replayed, Lost: s.done.Lost,
	}
	if err := s.tell(m, index, term); err != nil {
		return err
	}
	return s.rewriteLog(configuration, index, term, epoch)
}

// replay brings the state to the end of the log and gives that end.
func (s *survivor) replay() (last uint64, err error) {
	restore, err := fsm.CheckStart(s.state, true, s.logs, s.snapshots)
	if err != nil {
		return 0, err
	}
	list, err := s.snapshots.List()
	if err != nil {
		return 0, err
	}
	covered := uint64(0)
	if len(list) > 0 {
		covered = list[0].Index
	}
	if restore {
		_, in, err := s.snapshots.Open(list[0].ID)
		if err != nil {
			return 0, err
		}
		if err := s.machine.Restore(in); err != nil {
			return 0, err
		}
	}
	applied := uint64(0)
	if err := s.state.View(func(tx *store.ReadTx) error { applied = tx.Meta().Applied; return nil }); err != nil {
		return 0, err
	}
	if last, err = s.logs.LastIndex(); err != nil {
		return 0, fmt.Errorf("read raft.db: %w", err)
	}
	for index := max(applied, covered) + 1; index <= last; index++ {
		var entry raft.Log
		if err := s.logs.GetLog(index, &entry); err != nil {
			return 0, fmt.Errorf("read entry %d of raft.db: %w", index, err)
		}
		if entry.Type != raft.LogCommand && entry.Type != raft.LogConfiguration {
			continue
		}
		if err := outcome(s.machine.ApplyBatch([]*raft.Log{&entry})); err != nil {
			return 0, err
		}
		s.done.Replayed++
	}
	return max(last, covered), nil
}

// outcome gives the error with which a state machine has answered an entry.
func outcome(answers []any) error {
	for _, a := range answers {
		if err, failed := a.(error); failed {
			return err
		}
	}
	return nil
}

// findSelf finds this server in the last configuration, by the incarnation of its
// disk.
func (s *survivor) findSelf(raw []byte) error {
	configuration, err := decodeConfiguration(raw)
	if err != nil {
		return err
	}
	for _, server := range configuration.Servers {
		if strings.HasSuffix(string(server.ID), "-"+s.own.Incarnation()) {
			s.self = server
			s.self.Suffrage = raft.Voter
		} else {
			s.done.Lost = append(s.done.Lost, nameOf(string(server.ID)))
		}
	}
	if s.self.ID == "" {
		return s.noMember()
	}
	return nil
}

func (s *survivor) noMember() error {
	return fmt.Errorf("%w: %s holds no member's data, so there is nothing to recover", ErrNotMember, s.cfg.DataDir)
}

// decodeConfiguration reads what raft has encoded; raft itself panics.
func decodeConfiguration(raw []byte) (c raft.Configuration, err error) {
	if len(raw) == 0 {
		return c, nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("raft's configuration cannot be read: %v", p)
		}
	}()
	return raft.DecodeConfiguration(raw), nil
}

// drawEpoch gives an epoch above the old one.
func (s *survivor) drawEpoch(old uint64) (uint64, error) {
	member, err := s.own.Epoch()
	if err != nil {
		return 0, err
	}
	var b [4]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		return 0, fmt.Errorf("draw the epoch: %w", err)
	}
	drawn := uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2])
	return max(old, member) + 1 + drawn%epochSpread, nil
}

// tell appends the event about the recovery.
func (s *survivor) tell(before store.Meta, index, term uint64) error {
	data, err := attendance.EncodeEntry(attendance.Entry{
		Level: before.Level, Cluster: s.cluster, ProposedAt: before.Clock, // a wrong wall clock would move it for good
		Commands: []attendance.Command{{
			Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: nameOf(s.done.Server),
			Body: attendance.Audit{
				Action: "cluster.recovered", Subject: nameOf(s.done.Server),
				Note: cut(fmt.Sprintf("epoch %d → %d, after event %d; left behind: %s; at %s by %s", before.Epoch, s.done.Epoch, before.Seq,
					strings.Join(s.done.Lost, ", "), s.cfg.Clock.Now().UTC().Format(time.RFC3339), s.cfg.By), attendance.MaxNote),
			},
		}},
	})
	if err != nil {
		return err
	}
	return outcome(s.machine.ApplyBatch([]*raft.Log{{Index: index, Term: term, Type: raft.LogCommand, Data: data}}))
}

// cut shortens a text to so many bytes.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "")
}

// rewriteLog makes the state a snapshot with the new configuration and empties the
// log.
func (s *survivor) rewriteLog(configuration raft.Configuration, index, term, epoch uint64) error {
	_, unused := raft.NewInmemTransport("") // only protocol versions before 3 encode peers with it
	sink, err := s.snapshots.Create(raft.SnapshotVersionMax, index, term, configuration, index, unused)
	if err != nil {
		return fmt.Errorf("write the snapshot: %w", err)
	}
	picture, err := s.machine.Snapshot()
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	err = picture.Persist(sink) // closes it
	picture.Release()
	if err != nil {
		return fmt.Errorf("write the snapshot: %w", err)
	}
	first, err := s.logs.FirstIndex()
	if err != nil {
		return fmt.Errorf("read raft.db: %w", err)
	}
	last, err := s.logs.LastIndex()
	if err != nil {
		return fmt.Errorf("read raft.db: %w", err)
	}
	if last > 0 {
		if err := s.logs.DeleteRange(first, last); err != nil {
			return fmt.Errorf("write raft.db: %w", err)
		}
	}
	return errors.Join(s.logs.SetUint64(keyTerm, term), s.own.SetEpoch(epoch), s.own.SetMember())
}

// finishRecovery swaps the copy in, if there is one that is complete. Each step may
// have been done before.
func finishRecovery(dir string) (done Recovery, begun bool, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, recoverMarker))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return done, false, nil
	case err != nil:
		return done, true, err
	}
	var marker recovered
	if err := json.Unmarshal(raw, &marker); err != nil || !strings.HasPrefix(marker.Before, recoverBefore) || filepath.Base(marker.Before) != marker.Before {
		return done, true, fmt.Errorf("%s cannot be read: %w", filepath.Join(dir, recoverMarker), errors.Join(err, errors.New("it is no marker of a recovery")))
	}
	before, work := filepath.Join(dir, marker.Before), filepath.Join(dir, recoverWork)
	if err := os.MkdirAll(before, 0o700); err != nil {
		return done, true, err
	}
	for _, name := range recoverFiles {
		if err := swap(filepath.Join(work, name), filepath.Join(dir, name), filepath.Join(before, name)); err != nil {
			return done, true, fmt.Errorf("%w: %w: run it again", ErrInterrupted, err)
		}
	}
	// A person has decided that this server takes part, whatever it was told before.
	if err := os.Rename(filepath.Join(dir, retiredMarker), filepath.Join(before, retiredMarker)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return done, true, fmt.Errorf("%w: %w: run it again", ErrInterrupted, err)
	}
	err = errors.Join(syncDir(before), syncDir(work), syncDir(dir), os.Remove(filepath.Join(dir, recoverMarker)), syncDir(dir))
	if err == nil {
		err = os.RemoveAll(work)
	}
	marker.Done.Before = before
	return marker.Done, true, err
}

// swap puts next in the place of current, which goes to old.
func swap(next, current, old string) error {
	if _, err := os.Lstat(next); errors.Is(err, fs.ErrNotExist) {
		return nil // done before, or there never was one
	} else if err != nil {
		return err
	}
	if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(current, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	} else if err != nil {
		return err
	}
	return os.Rename(next, current)
}

// writeMarker writes a small file, whole or not at all, and synced.
func writeMarker(dir, name string, content any) error {
	raw, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(path+".new", path), syncDir(dir))
}

// freeName gives the first directory for old files that there is not yet.
func freeName(dir string) (string, error) {
	for i := 1; ; i++ {
		name := filepath.Join(dir, fmt.Sprint(recoverBefore, i))
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
}
