package cluster

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"hadir/attendance"
	"hadir/store"
)

// Inspection is what the files of a stopped node say.
type Inspection struct {
	Dir           string
	Name          string // of the node; "" when its configuration does not name it
	Server        string // its raft server id
	Node          store.NodeInfo
	State         store.Meta
	Zone          string             // of the site
	Counts        map[string]int     // rows of each bucket of state.db
	Events        []attendance.Event // the last ones, oldest first
	Log           LogInfo            // raft.db
	Configuration raft.Configuration // the latest, committed or not
	Snapshots     []SnapshotInfo     // newest first
	Sizes         map[string]int64   // bytes on disk, by file
	Missing       []string           // files that are not there
	Interrupted   bool               // a recovery waits to be finished
	Retired       string             // why it may not start again; "" when it may
}

// lookTimeout is how long a look waits for a file that is in use.
const lookTimeout = time.Second

// LogInfo is what is in raft.db.
type LogInfo struct {
	First, Last uint64 // entries; 0 when there are none
	LastTerm    uint64 // of the last entry
	Term        uint64 // that the server is in
	VotedTerm   uint64 // in which it voted last
	VotedFor    string
	Unapplied   uint64 // entries after what state.db and the snapshots hold
	Unreadable  string // why not all of it could be read
}

// SnapshotInfo is one of raft's snapshots.
type SnapshotInfo struct {
	ID          string
	Index, Term uint64
	Size        int64
	Seq         uint64 // last event
}

// Inspect reads the files of a stopped node and changes none of them. What is not
// there is named in Missing; a file that is damaged or in use (store.ErrLocked) is
// an error.
func Inspect(dir string, events int) (Inspection, error) {
	in := Inspection{Dir: dir, Counts: map[string]int{}, Sizes: map[string]int64{}}
	if info, err := os.Stat(dir); err != nil {
		return in, err
	} else if !info.IsDir() {
		return in, fmt.Errorf("%s is no directory: give a node's data directory", dir)
	}
	in.Interrupted = errors.Is(checkRecovered(dir), ErrInterrupted)
	switch err := checkRetired(dir); {
	case errors.Is(err, ErrRetired):
		in.Retired = err.Error()
	case err != nil:
		return in, err
	}
	there := make(map[string]bool)
	for _, name := range recoverFiles[:3] {
		info, err := os.Stat(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			in.Missing = append(in.Missing, name)
		case err != nil:
			return in, err
		default:
			there[name], in.Sizes[name] = true, info.Size()
		}
	}
	if !there["node.db"] && !there["state.db"] {
		return in, fmt.Errorf("%s holds no files of a node: give a node's data directory", dir)
	}
	var members []byte
	var err error
	if there["node.db"] {
		if in.Node, err = store.LookNode(filepath.Join(dir, "node.db")); err != nil {
			return in, err
		}
	}
	if there["state.db"] {
		if members, err = in.lookState(filepath.Join(dir, "state.db"), events); err != nil {
			return in, err
		}
	}
	if in.Configuration, err = decodeConfiguration(members); err != nil {
		return in, err
	}
	if err := in.lookSnapshots(filepath.Join(dir, "snapshots")); err != nil {
		return in, err
	}
	if there["raft.db"] {
		if err := in.lookLog(filepath.Join(dir, "raft.db")); err != nil {
			return in, err
		}
	}
	for _, s := range in.Configuration.Servers {
		if in.Node.Incarnation != "" && strings.HasSuffix(string(s.ID), "-"+in.Node.Incarnation) {
			in.Server, in.Name = string(s.ID), nameOf(string(s.ID))
		}
	}
	return in, nil
}

func (in *Inspection) lookState(path string, events int) (members []byte, err error) {
	err = store.LookState(path, func(tx *store.ReadTx) error {
		in.State, in.Zone, members = tx.Meta(), tx.Params().Zone.Name, tx.Configuration()
		for name, stats := range tx.Sizes() {
			in.Counts[name] = stats.KeyN
		}
		after := in.State.Seq - min(in.State.Seq, uint64(max(0, events)))
		var bad error
		tx.Events(after, events, func(_ uint64, raw []byte) bool {
			var e attendance.Event
			e, bad = attendance.DecodeEvent(raw)
			in.Events = append(in.Events, e)
			return bad == nil
		})
		return bad
	})
	return members, err
}

// lookSnapshots reads what raft's snapshot store has written; opening that store
// would make directories.
func (in *Inspection) lookSnapshots(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	newest := raft.SnapshotMeta{}
	for _, e := range entries {
		if !e.IsDir() || strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name(), "meta.json"))
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", e.Name(), err)
		}
		var meta raft.SnapshotMeta
		if err := json.Unmarshal(raw, &meta); err != nil {
			return fmt.Errorf("snapshot %s: %w", e.Name(), err)
		}
		header, err := snapshotHeader(filepath.Join(dir, e.Name(), "state.bin"))
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", e.Name(), err)
		}
		in.Snapshots = append(in.Snapshots, SnapshotInfo{ID: e.Name(), Index: meta.Index, Term: meta.Term, Size: meta.Size, Seq: header.Seq})
		in.Sizes["snapshots"] += meta.Size
		if meta.Index > newest.Index {
			newest = meta
		}
	}
	slices.SortFunc(in.Snapshots, func(a, b SnapshotInfo) int { return cmp.Compare(b.Index, a.Index) })
	if newest.Index > in.State.Applied {
		in.Configuration = newest.Configuration
	}
	return nil
}

func snapshotHeader(path string) (store.Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return store.Header{}, err
	}
	h, err := store.ReadHeader(f)
	return h, errors.Join(err, f.Close())
}

// lookLog reads raft.db, and a configuration that is in it but not applied yet.
func (in *Inspection) lookLog(path string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s: %v", store.ErrCorrupt, path, p)
		}
	}()
	logs, err := raftboltdb.New(raftboltdb.Options{
		Path: path, MsgpackUseNewTimeFormat: true, BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: lookTimeout},
	})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return fmt.Errorf("%w: %s: stop that node first", store.ErrLocked, path)
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	l := &in.Log
	if l.First, err = logs.FirstIndex(); err != nil {
		return err
	}
	if l.Last, err = logs.LastIndex(); err != nil {
		return err
	}
	number := func(key []byte) uint64 {
		v, err := logs.GetUint64(key)
		if err != nil {
			return 0 // was never set
		}
		return v
	}
	l.Term, l.VotedTerm = number(keyTerm), number([]byte("LastVoteTerm"))
	if id, err := logs.Get([]byte("LastVoteCand")); err == nil {
		l.VotedFor = string(id)
	}
	have := in.State.Applied
	for _, s := range in.Snapshots {
		have = max(have, s.Index)
	}
	for index := max(have+1, l.First); index <= l.Last && l.Last > 0; index++ {
		var entry raft.Log
		if err := logs.GetLog(index, &entry); err != nil {
			l.Unreadable = fmt.Sprintf("entry %d: %v", index, err)
			return nil
		}
		l.Unapplied++
		if entry.Type == raft.LogConfiguration {
			if in.Configuration, err = decodeConfiguration(entry.Data); err != nil {
				return err
			}
		}
	}
	if l.Last > 0 {
		var entry raft.Log
		if err := logs.GetLog(l.Last, &entry); err != nil {
			l.Unreadable = fmt.Sprintf("entry %d: %v", l.Last, err)
			return nil
		}
		l.LastTerm = entry.Term
	}
	return nil
}
