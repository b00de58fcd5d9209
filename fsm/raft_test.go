package fsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"hadir/attendance"
	"hadir/attendance/pb"
	"hadir/fsm"
	"hadir/store"
)

// What raft may rely on, and what ends the process. Each test drives the adapter
// as raft does; the last one has raft do it.

var (
	home   = attendance.ClusterID{1}
	abroad = attendance.ClusterID{2}
)

var replicaOptions = store.Options{NoSync: true, MmapSize: 1 << 24}

// replica is the adapter over a state file of its own, and what it told others.
type replica struct {
	*fsm.Raft
	dir string

	mu      sync.Mutex
	halts   []error
	commits []fsm.Commit
}

func newReplica(t *testing.T) *replica {
	t.Helper()
	return openReplica(t, replicaDir(t))
}

// replicaDir prefers memory: these tests ask what is decided, not whether a disk
// keeps it.
func replicaDir(t *testing.T) string {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "hadir-raft-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func openReplica(t *testing.T, dir string) *replica {
	t.Helper()
	state, err := store.OpenState(filepath.Join(dir, "state.db"), replicaOptions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &replica{dir: dir}
	r.Raft = &fsm.Raft{Machine: fsm.New(state, fsm.Options{Halt: func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.halts = append(r.halts, err)
	}})}
	r.Subscribe(func(c fsm.Commit) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.commits = append(r.commits, c)
	})
	return r
}

func (r *replica) halted() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.halts)
}

func (r *replica) told() []fsm.Commit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.commits)
}

func look[T any](t *testing.T, r *replica, f func(*store.ReadTx) (T, error)) T {
	t.Helper()
	var out T
	err := r.State().View(func(tx *store.ReadTx) (err error) {
		out, err = f(tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (r *replica) meta(t *testing.T) store.Meta {
	t.Helper()
	return look(t, r, func(tx *store.ReadTx) (store.Meta, error) { return tx.Meta(), nil })
}

func (r *replica) hash(t *testing.T) attendance.Hash {
	t.Helper()
	return look(t, r, (*store.ReadTx).StateHash)
}

func (r *replica) configuration(t *testing.T) []byte {
	t.Helper()
	return look(t, r, func(tx *store.ReadTx) ([]byte, error) { return tx.Configuration(), nil })
}

// apply applies logs in one batch, which has to succeed.
func (r *replica) apply(t *testing.T, logs ...*raft.Log) [][]attendance.Outcome {
	t.Helper()
	var out [][]attendance.Outcome
	for i, response := range r.ApplyBatch(logs) {
		switch response := response.(type) {
		case nil:
			out = append(out, nil)
		case []attendance.Outcome:
			out = append(out, response)
		default:
			t.Fatalf("log %d was answered by %T: %v", logs[i].Index, response, response)
		}
	}
	return out
}

// entryData gives the bytes of an entry; its time follows from its index.
func entryData(cluster attendance.ClusterID, index uint64, bodies ...attendance.Body) []byte {
	e := attendance.Entry{Level: 1, Cluster: cluster, ProposedAt: 1_770_000_000_000 + attendance.Millis(index)*1_000}
	for _, b := range bodies {
		e.Commands = append(e.Commands, attendance.Command{
			Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n1", Body: b,
		})
	}
	data, err := attendance.EncodeEntry(e)
	if err != nil {
		panic(err) // a mistake in a test's table
	}
	return data
}

func commandLog(index, term uint64, bodies ...attendance.Body) *raft.Log {
	return &raft.Log{Type: raft.LogCommand, Index: index, Term: term, Data: entryData(home, index, bodies...)}
}

func rawLog(index, term uint64, data []byte) *raft.Log {
	return &raft.Log{Type: raft.LogCommand, Index: index, Term: term, Data: data}
}

func configurationLog(index, term uint64, servers ...raft.ServerID) *raft.Log {
	var c raft.Configuration
	for _, id := range servers {
		c.Servers = append(c.Servers, raft.Server{ID: id, Address: raft.ServerAddress(id)})
	}
	return &raft.Log{Type: raft.LogConfiguration, Index: index, Term: term, Data: raft.EncodeConfiguration(c)}
}

// notes gives n commands that always succeed, with an event each.
func notes(n int) []attendance.Body {
	out := make([]attendance.Body, n)
	for i := range out {
		out[i] = attendance.Audit{Action: "test.noted", Note: fmt.Sprint("note ", i)}
	}
	return out
}

// history gives entries 1 … last with one note each, in term 3.
func history(last uint64) []*raft.Log {
	var logs []*raft.Log
	for i := uint64(1); i <= last; i++ {
		logs = append(logs, commandLog(i, 3, notes(1)...))
	}
	return logs
}

func TestEachLogIsAnsweredInItsPlace(t *testing.T) {
	r := newReplica(t)
	got := r.apply(t,
		configurationLog(1, 1, "a"),
		commandLog(2, 1, notes(2)...),
		commandLog(4, 2, notes(1)...), // 3 was raft's own
		configurationLog(5, 2, "a", "b"),
		configurationLog(6, 2, "a", "b", "c"),
		commandLog(7, 2, attendance.DeactivateUser{UserID: 9}, notes(1)[0], attendance.DeactivateUser{UserID: 8}),
		configurationLog(8, 3, "a"),
	)
	var seqs [][]uint64
	for _, outcomes := range got {
		var s []uint64
		for _, o := range outcomes {
			s = append(s, o.Seq)
		}
		seqs = append(seqs, s)
	}
	if want := [][]uint64{nil, {1, 2}, {3}, nil, nil, {4, 5, 6}, nil}; fmt.Sprint(seqs) != fmt.Sprint(want) {
		t.Errorf("events by log: %v, want %v", seqs, want)
	}
	if o := got[5]; o[0].Status != attendance.RejectedStatus || o[0].ID != 9 || o[1].Status != attendance.DoneStatus || o[2].ID != 8 {
		t.Errorf("outcomes within an entry are not in its order: %+v", o)
	}
	if m := r.meta(t); m.Applied != 8 || m.Term != 3 {
		t.Errorf("applied %d of term %d, want 8 of 3", m.Applied, m.Term)
	}
	if out := r.Apply(commandLog(9, 3, notes(1)...)); out.([]attendance.Outcome)[0].Seq != 7 {
		t.Errorf("a single log: %+v", out)
	}
	if out := r.ApplyBatch(nil); len(out) != 0 {
		t.Errorf("no logs: %v", out)
	}
}

func TestAConfigurationIsForReadingOnly(t *testing.T) {
	a, b := newReplica(t), newReplica(t)
	if got := a.configuration(t); got != nil {
		t.Errorf("a new state has the configuration %q", got)
	}
	one, other := configurationLog(2, 1, "a", "b"), configurationLog(2, 1, "x")
	a.apply(t, commandLog(1, 1, notes(1)...), one)
	b.apply(t, commandLog(1, 1, notes(1)...), other)
	if got := a.configuration(t); !bytes.Equal(got, one.Data) {
		t.Errorf("configuration is %q, want %q", got, one.Data)
	}
	if a.hash(t) != b.hash(t) {
		t.Error("the configuration is part of the state hash")
	}
	if m := a.meta(t); m.Applied != 2 {
		t.Errorf("applied %d, want 2", m.Applied)
	}
}

func TestReplaysAreSkipped(t *testing.T) {
	for _, c := range []struct {
		name    string
		logs    []*raft.Log
		want    []attendance.Status // of each command; none for a configuration
		applied uint64
	}{
		{"the last entry", []*raft.Log{commandLog(10, 3, notes(2)...)}, []attendance.Status{6, 6}, 10},
		{"an entry of an earlier term", []*raft.Log{commandLog(4, 1, notes(1)...)}, []attendance.Status{6}, 10},
		{"all entries", history(10), slices.Repeat([]attendance.Status{6}, 10), 10},
		{"half old, half new", history(12)[8:], []attendance.Status{6, 6, 5, 5}, 12},
		{"the same new entry twice", []*raft.Log{commandLog(11, 3, notes(1)...), commandLog(11, 3, notes(1)...)}, []attendance.Status{5, 6}, 11},
		{"a configuration", []*raft.Log{configurationLog(10, 3, "old"), configurationLog(2, 1, "older")}, nil, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReplica(t)
			r.apply(t, history(9)...)
			r.apply(t, configurationLog(10, 3, "now"))
			before, hash := r.meta(t), r.hash(t)
			var got []attendance.Status
			for _, outcomes := range r.apply(t, c.logs...) {
				for _, o := range outcomes {
					got = append(got, o.Status)
					if o.Status == attendance.SkippedStatus && o != (attendance.Outcome{Status: attendance.SkippedStatus}) {
						t.Errorf("a skipped command says more than that: %+v", o)
					}
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("statuses %v, want %v", got, c.want)
			}
			m := r.meta(t)
			if m.Applied != c.applied {
				t.Errorf("applied %d, want %d", m.Applied, c.applied)
			}
			if c.applied == before.Applied && r.hash(t) != hash {
				t.Error("a replay changed the state")
			}
			if want := configurationLog(10, 3, "now").Data; !bytes.Equal(r.configuration(t), want) {
				t.Errorf("a replay put back the configuration %q", r.configuration(t))
			}
			if h := r.halted(); h != nil {
				t.Errorf("halted: %v", h)
			}
		})
	}
}

// pbEntry makes bytes that EncodeEntry would refuse to make.
func pbEntry(change func(*pb.Entry)) []byte {
	e := &pb.Entry{Level: 1, ClusterId: home[:], ProposedAtMs: 1_770_000_000_000, Commands: []*pb.Command{{
		Op: pb.Op(attendance.OpBumpSessionEpoch), PrincipalKind: 3, NodeId: "n1",
	}}}
	change(e)
	data, err := proto.Marshal(e)
	if err != nil {
		panic(err)
	}
	return data
}

// closer notes whether a stream was closed, as raft requires of Restore.
type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

// stopped asserts that the machine has stopped for good: one call of Halt, one
// line, every later call refused.
func stopped(t *testing.T, r *replica, is error, says ...string) {
	t.Helper()
	later := commandLog(1_000, 1_000, notes(1)...)
	for i, response := range r.ApplyBatch([]*raft.Log{later, configurationLog(1_001, 1_000, "z"), later}) {
		if err, ok := response.(error); !ok || !errors.Is(err, fsm.ErrHalted) {
			t.Errorf("later log %d was answered by %v", i, response)
		}
	}
	if err := r.Configure(1_000, 1_000, []byte("z")); !errors.Is(err, fsm.ErrHalted) {
		t.Errorf("later Configure: %v", err)
	}
	if s, err := r.Snapshot(); !errors.Is(err, fsm.ErrHalted) || s != nil {
		t.Errorf("later Snapshot: %v, %v", s, err)
	}
	in := &closer{Reader: strings.NewReader("")}
	if err := r.Restore(in); !errors.Is(err, fsm.ErrHalted) || !in.closed {
		t.Errorf("later Restore: %v, stream closed: %v", err, in.closed)
	}
	halts := r.halted()
	if len(halts) != 1 {
		t.Fatalf("Halt was called %d times, want once: %v", len(halts), halts)
	}
	line := halts[0].Error()
	if !errors.Is(halts[0], is) {
		t.Errorf("reason %q is not %q", line, is)
	}
	if strings.Contains(line, "\n") {
		t.Errorf("reason has more than one line: %q", line)
	}
	for _, s := range says {
		if !strings.Contains(line, s) {
			t.Errorf("reason %q does not say %q", line, s)
		}
	}
}

// The machine has applied entries 1 … 10 of term 3 when it meets the log.
func TestWhatStopsTheProcess(t *testing.T) {
	wipe, upgrade := "start it as a new node", "then start this node again"
	for _, c := range []struct {
		name string
		log  *raft.Log
		is   error
		says []string
	}{
		{
			"bytes that are no entry", rawLog(11, 3, []byte("\xffgarbage")),
			attendance.ErrMalformed, []string{"entry 11", "damaged", "start it as a new node"},
		},
		{"an empty entry", rawLog(11, 3, nil), attendance.ErrMalformed, []string{"entry 11", "start it as a new node"}},
		{
			"an entry without commands", rawLog(11, 3, pbEntry(func(e *pb.Entry) { e.Commands = nil })),
			attendance.ErrMalformed, []string{"entry 11", "start it as a new node"},
		},
		{
			"a body that is out of range", rawLog(11, 3, pbEntry(func(e *pb.Entry) { e.Commands[0].Op = pb.Op(attendance.OpDeactivateUser) })),
			attendance.ErrMalformed, []string{"entry 11", "deactivate_user", "start it as a new node"},
		},
		{
			"an operation that is not known", rawLog(11, 3, pbEntry(func(e *pb.Entry) { e.Commands[0].Op = 99 })),
			attendance.ErrUnknownOp, []string{"entry 11", "unknown operation 99", "install", upgrade},
		},
		{
			"a level that is not known", rawLog(11, 3, pbEntry(func(e *pb.Entry) { e.Level = attendance.Level + 1 })),
			attendance.ErrUnknownLevel, []string{"entry 11", fmt.Sprint("level ", attendance.Level+1), "install", upgrade},
		},
		{
			"a level that is not known, with operations that are not known either",
			rawLog(11, 3, pbEntry(func(e *pb.Entry) { e.Level, e.Commands[0].Op = 1<<31, 99 })),
			attendance.ErrUnknownLevel, []string{"entry 11", fmt.Sprint("level ", 1<<31), "install", upgrade},
		},
		{
			"SetLevel above what is known", commandLog(11, 3, attendance.SetLevel{Level: attendance.Level + 1}),
			attendance.ErrUnknownLevel, []string{"entry 11", "set_level", fmt.Sprint("level ", attendance.Level+1), "install", upgrade},
		},
		{
			"Verify of another history", commandLog(11, 3, attendance.Verify{Seq: 7, Hash: attendance.Hash{1}}),
			fsm.ErrDiverged, []string{"entry 11", "verify", "event 7", attendance.Hash{1}.String(), "keep the data directory"},
		},
		{
			"Verify of another history, after commands that were in order",
			commandLog(11, 3, append(notes(2), attendance.Verify{Seq: 10, Hash: attendance.Hash{1}})...),
			fsm.ErrDiverged, []string{"entry 11, command 2", "verify", "event 10", "keep the data directory"},
		},
		{
			"an entry of another cluster", rawLog(11, 3, entryData(abroad, 11, notes(1)...)),
			fsm.ErrForeignLog, []string{"entry 11", home.String(), abroad.String(), wipe},
		},
		{
			"an applied index with a greater term", commandLog(10, 4, notes(1)...),
			fsm.ErrForeignLog, []string{"entry 10", "term 4", "term 3", wipe},
		},
		{
			"an old index with a greater term", commandLog(2, 5, notes(1)...),
			fsm.ErrForeignLog, []string{"entry 2", "term 5", "term 3", wipe},
		},
		{
			"a new index with a smaller term", commandLog(11, 2, notes(1)...),
			fsm.ErrForeignLog, []string{"entry 11", "term 2", "term 3", wipe},
		},
		{
			"a configuration at an applied index with a greater term", configurationLog(10, 4, "z"),
			fsm.ErrForeignLog, []string{"entry 10", "term 4", "term 3", wipe},
		},
		{
			"a configuration at a new index with a smaller term", configurationLog(11, 2, "z"),
			fsm.ErrForeignLog, []string{"entry 11", "term 2", "term 3", wipe},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReplica(t)
			r.apply(t, history(10)...)
			hash, told := r.hash(t), r.told()
			response := r.ApplyBatch([]*raft.Log{c.log})[0]
			if err, ok := response.(error); !ok || !errors.Is(err, fsm.ErrHalted) {
				t.Fatalf("it was answered by %v", response)
			}
			stopped(t, r, c.is, c.says...)
			if r.hash(t) != hash {
				t.Error("the state has changed")
			}
			if len(r.told()) != len(told) {
				t.Error("subscribers were told of something")
			}
		})
	}
}

// What stands before the bad entry in its batch is not applied either: after an
// upgrade the whole batch comes again.
func TestAHaltTakesBackItsBatch(t *testing.T) {
	for name, bad := range map[string]*raft.Log{
		"found while decoding": rawLog(12, 3, []byte("\xff")),
		"found while applying": commandLog(12, 3, attendance.SetLevel{Level: attendance.Level + 1}),
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplica(t)
			r.apply(t, history(10)...)
			hash := r.hash(t)
			responses := r.ApplyBatch([]*raft.Log{commandLog(11, 3, notes(1)...), bad, commandLog(13, 3, notes(1)...)})
			if len(responses) != 3 {
				t.Fatalf("%d responses to 3 logs", len(responses))
			}
			for i, response := range responses {
				if err, ok := response.(error); !ok || !errors.Is(err, fsm.ErrHalted) {
					t.Errorf("log %d was answered by %v: nobody may be told that it took effect", 11+i, response)
				}
			}
			if r.hash(t) != hash {
				t.Error("a part of the batch was applied")
			}
			again := openAgain(t, r)
			if got := again.apply(t, commandLog(11, 3, notes(1)...)); got[0][0].Seq != 11 {
				t.Errorf("after the upgrade: %+v", got)
			}
		})
	}
}

// openAgain closes the state and opens it as a new process would.
func openAgain(t *testing.T, r *replica) *replica {
	t.Helper()
	if err := r.State().Close(); err != nil {
		t.Fatal(err)
	}
	return openReplica(t, r.dir)
}

func TestADatabaseErrorStopsTheProcess(t *testing.T) {
	for name, do := range map[string]func(*replica) any{
		"while applying":    func(r *replica) any { return r.ApplyBatch([]*raft.Log{commandLog(11, 3, notes(1)...)})[0] },
		"while configuring": func(r *replica) any { return r.ApplyBatch([]*raft.Log{configurationLog(11, 3, "z")})[0] },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplica(t)
			r.apply(t, history(10)...)
			hash := r.hash(t)
			if err := r.State().Close(); err != nil {
				t.Fatal(err)
			}
			if err, ok := do(r).(error); !ok || !errors.Is(err, fsm.ErrHalted) {
				t.Errorf("it was answered by %v", err)
			}
			stopped(t, r, store.ErrClosed, "check the disk", "start this node again")
			if got := openReplica(t, r.dir).hash(t); got != hash {
				t.Errorf("state %s on disk, want %s", got, hash)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	// 14 entries of 180 events in batches of 1 … 4 entries: chain hashes are kept
	// in the middle of entries (1 000, 2 000) and at the ends of entries, of which
	// several lie in one transaction. A hash that went on changing after it was
	// handed to the database would be wrong at all of them but the last.
	const entries, each = 14, 180
	r := newReplica(t)
	var logs []*raft.Log
	for i := uint64(1); i <= entries; i++ {
		logs = append(logs, commandLog(i, 1, notes(each)...))
	}
	for n := 1; len(logs) > 0; n = n%4 + 1 {
		n = min(n, len(logs))
		r.apply(t, logs[:n]...)
		logs = logs[n:]
	}
	// The chain is computed here once more, from the stored events alone.
	chain := map[uint64]attendance.Hash{}
	look(t, r, func(tx *store.ReadTx) (any, error) {
		var sum attendance.Hash
		tx.Events(0, entries*each, func(seq uint64, event []byte) bool {
			sum = attendance.Chain(sum, event)
			chain[seq] = sum
			return true
		})
		return nil, nil
	})
	if len(chain) != entries*each {
		t.Fatalf("%d events, want %d", len(chain), entries*each)
	}
	index := uint64(entries)
	verify := func(t *testing.T, seq uint64, hash attendance.Hash) attendance.Outcome {
		t.Helper()
		index++
		return r.apply(t, commandLog(index, 1, attendance.Verify{Seq: seq, Hash: hash}))[0][0]
	}
	kept := []uint64{1_000, 2_000}
	for i := range uint64(entries) {
		kept = append(kept, (i+1)*each)
	}
	for _, seq := range kept {
		if out := verify(t, seq, chain[seq]); out.Status != attendance.DoneStatus || out.Reason != attendance.NoReason {
			t.Errorf("Verify of %d: %+v", seq, out)
		}
	}
	// The proposer had an entry that ends there. A node that has none has another
	// history, whatever the hash says.
	for name, seq := range map[string]uint64{
		"within an entry": 1, "beside a checkpoint": 1_001, "before the end of an entry": each - 1, "in the future": entries*each + 1,
	} {
		t.Run("an entry that ends "+name, func(t *testing.T) {
			other := openReplica(t, copyState(t, r))
			other.ApplyBatch([]*raft.Log{commandLog(index+1, 1, attendance.Verify{Seq: seq, Hash: chain[seq]})})
			stopped(t, other, fsm.ErrDiverged, fmt.Sprint("event ", seq), fmt.Sprint("at event ", entries*each))
		})
	}
	for _, seq := range kept {
		t.Run(fmt.Sprint("another history after ", seq), func(t *testing.T) {
			other := openReplica(t, copyState(t, r))
			hash := chain[seq]
			hash[31] ^= 1
			other.ApplyBatch([]*raft.Log{commandLog(index+1, 1, attendance.Verify{Seq: seq, Hash: hash})})
			stopped(t, other, fsm.ErrDiverged, fmt.Sprint("event ", seq), hash.String(), chain[seq].String())
		})
	}
	if m := r.meta(t); m.Seq != entries*each {
		t.Errorf("Verify left %d events", m.Seq-entries*each)
	}
}

// copyState copies the state file of a replica that is at rest.
func copyState(t *testing.T, r *replica) (dir string) {
	t.Helper()
	content, err := os.ReadFile(r.State().Path())
	if err != nil {
		t.Fatal(err)
	}
	dir = replicaDir(t)
	if err := os.WriteFile(filepath.Join(dir, "state.db"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Ends of entries are kept for as long as a Verify may be under way; multiples
// of 1 000 for ever.
func TestVerifyOfTheDistantPast(t *testing.T) {
	r := newReplica(t)
	const each = 250
	var ends []attendance.Hash
	for i := uint64(1); i <= 48; i++ {
		r.apply(t, commandLog(i, 1, notes(each)...))
		ends = append(ends, r.meta(t).Chain)
	}
	for _, c := range []struct {
		entry int
		want  attendance.Status
	}{
		{1, attendance.RejectedStatus}, {3, attendance.RejectedStatus}, {4, attendance.DoneStatus}, {5, attendance.RejectedStatus},
		{8, attendance.DoneStatus}, {10, attendance.DoneStatus}, {47, attendance.DoneStatus}, {48, attendance.DoneStatus},
	} {
		seq := uint64(c.entry * each)
		out := r.apply(t, commandLog(uint64(100+c.entry), 1, attendance.Verify{Seq: seq, Hash: ends[c.entry-1]}))[0][0]
		if out.Status != c.want {
			t.Errorf("Verify of %d, %d events ago: %s %s, want %s", seq, 48*each-seq, out.Status, out.Reason, c.want)
		}
	}
}

func TestSubscribersAreToldOnceInOrderAndAfterwards(t *testing.T) {
	r := newReplica(t)
	var order []string
	r.Subscribe(func(c fsm.Commit) {
		order = append(order, fmt.Sprint("first ", c.Index))
		// What is told can be read by then, as it was told.
		err := r.State().View(func(tx *store.ReadTx) error {
			if m := tx.Meta(); m.Applied != c.Index || m.Term != c.Term || m.Seq != c.LastSeq() {
				return fmt.Errorf("told entry %d of term %d and event %d, read %d, %d, %d", c.Index, c.Term, c.LastSeq(), m.Applied, m.Term, m.Seq)
			}
			for i, told := range c.Events {
				stored, err := tx.EventBytes(c.FirstSeq + uint64(i))
				if err != nil {
					return err
				}
				if !bytes.Equal(told, stored) {
					return fmt.Errorf("event %d was told as %x and is stored as %x", c.FirstSeq+uint64(i), told, stored)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	r.Subscribe(func(c fsm.Commit) { order = append(order, fmt.Sprint("second ", c.Index)) })
	r.apply(t, commandLog(1, 1, notes(3)...), commandLog(2, 1, notes(2)...))
	r.apply(t, commandLog(4, 2, attendance.DeactivateUser{UserID: 7})) // refusals are told too
	r.apply(t, commandLog(5, 2, attendance.SetLevel{Level: 1}))        // no event, but a new index
	r.apply(t, commandLog(5, 2, attendance.SetLevel{Level: 1}))        // a replay
	r.apply(t, commandLog(6, 2, notes(1)...), configurationLog(7, 2, "a"), commandLog(8, 2, notes(2)...))
	type told struct {
		index, term, first uint64
		events             int
		restored           bool
	}
	flat := func(commits []fsm.Commit) (out []told) {
		for _, c := range commits {
			out = append(out, told{c.Index, c.Term, c.FirstSeq, len(c.Events), c.Restored})
		}
		return out
	}
	// The configuration is a transaction of its own, without events.
	want := []told{
		{2, 1, 1, 5, false}, {4, 2, 6, 1, false}, {5, 2, 7, 0, false}, {5, 2, 7, 0, false}, {6, 2, 7, 1, false}, {7, 2, 8, 0, false}, {8, 2, 8, 2, false},
	}
	if got := flat(r.told()); !slices.Equal(got, want) {
		t.Errorf("told  %v\nwant  %v", got, want)
	}
	if i := slices.Index(order, "second 4"); i < 1 || order[i-1] != "first 4" || slices.Index(order, "first 4") < slices.Index(order, "second 2") {
		t.Errorf("order: %v", order)
	}

	other := newReplica(t)
	other.apply(t, history(20)...)
	before := len(r.told())
	if err := r.Restore(io.NopCloser(bytes.NewReader(persisted(t, other)))); err != nil {
		t.Fatal(err)
	}
	r.apply(t, commandLog(21, 3, notes(1)...))
	want = []told{{20, 3, 21, 0, true}, {21, 3, 21, 1, false}}
	if got := flat(r.told()[before:]); !slices.Equal(got, want) {
		t.Errorf("after Restore told %v, want %v", got, want)
	}
}

// sink takes a snapshot in memory and notes how it ended.
type sink struct {
	bytes.Buffer
	room              int // bytes until it is full; 0 for no bound
	closeErr          error
	closed, cancelled int
}

var errFull = errors.New("no space left")

func (s *sink) Write(p []byte) (int, error) {
	if s.room > 0 && s.Len()+len(p) > s.room {
		return 0, errFull
	}
	return s.Buffer.Write(p)
}

func (s *sink) ID() string    { return "test" }
func (s *sink) Close() error  { s.closed++; return s.closeErr }
func (s *sink) Cancel() error { s.cancelled++; return nil }

// persisted takes a snapshot and gives its bytes.
func persisted(t *testing.T, r *replica) []byte {
	t.Helper()
	snap, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	var s sink
	if err := snap.Persist(&s); err != nil {
		t.Fatal(err)
	}
	if s.closed != 1 || s.cancelled != 0 {
		t.Errorf("the sink was closed %d times and cancelled %d times", s.closed, s.cancelled)
	}
	return s.Bytes()
}

func TestASnapshotRestoresTheStateIntoAFreshMachine(t *testing.T) {
	from := newReplica(t)
	from.apply(t, configurationLog(1, 1, "a", "b"))
	from.apply(t, commandLog(2, 1, notes(40)...))
	to := newReplica(t)
	in := &closer{Reader: bytes.NewReader(persisted(t, from))}
	if err := to.Restore(in); err != nil {
		t.Fatal(err)
	}
	if !in.closed {
		t.Error("the stream was left open")
	}
	if to.hash(t) != from.hash(t) {
		t.Error("the states differ")
	}
	if got := dirNames(t, to.dir); !slices.Equal(got, []string{"state.db"}) {
		t.Errorf("files after Restore: %v", got)
	}
	// It is a state like any other: it goes on, and survives a restart.
	for _, r := range []*replica{from, to} {
		r.apply(t, commandLog(3, 2, notes(1)...))
	}
	if a, b := from.hash(t), openAgain(t, to).hash(t); a != b {
		t.Errorf("after one more entry: %s and %s", a, b)
	}
}

func TestASnapshotIsOfTheMomentItWasTaken(t *testing.T) {
	r := newReplica(t)
	r.apply(t, history(10)...)
	hash := r.hash(t)
	snap, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	// Entries before Persist, and between any two writes of it.
	r.apply(t, commandLog(11, 3, notes(200)...))
	next := uint64(12)
	r.Throttle = func(int) {
		r.apply(t, commandLog(next, 3, notes(200)...))
		next++
	}
	// The throttle of the snapshot is the one at the time when it was taken.
	late, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer late.Release()
	lateHash := r.hash(t)
	for _, c := range []struct {
		snap    raft.FSMSnapshot
		hash    attendance.Hash
		applied uint64
	}{{snap, hash, 10}, {late, lateHash, 11}} {
		var s sink
		if err := c.snap.Persist(&s); err != nil {
			t.Fatal(err)
		}
		to := newReplica(t)
		if err := to.Restore(io.NopCloser(&s.Buffer)); err != nil {
			t.Fatal(err)
		}
		if m := to.meta(t); to.hash(t) != c.hash || m.Applied != c.applied {
			t.Errorf("the snapshot is of entry %d, want %d", m.Applied, c.applied)
		}
	}
	if next == 12 {
		t.Error("nothing was applied while the snapshot was written")
	}
}

func TestEveryWriteOfASnapshotIsThrottled(t *testing.T) {
	r := newReplica(t)
	r.apply(t, commandLog(1, 1, notes(250)...))
	var s sink
	announced, calls := 0, 0
	r.Throttle = func(n int) {
		if s.Len() != announced {
			t.Errorf("%d bytes were written, %d announced", s.Len(), announced)
		}
		announced += n
		calls++
	}
	snap, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	if err := snap.Persist(&s); err != nil {
		t.Fatal(err)
	}
	if announced != s.Len() || calls == 0 {
		t.Errorf("%d calls announced %d of %d bytes", calls, announced, s.Len())
	}
}

func TestASnapshotThatCannotBeWrittenIsCancelled(t *testing.T) {
	r := newReplica(t)
	r.apply(t, history(10)...)
	whole := len(persisted(t, r))
	for _, room := range []int{1, whole / 2, whole - 1} {
		snap, err := r.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		s := sink{room: room}
		if err := snap.Persist(&s); !errors.Is(err, errFull) {
			t.Errorf("room for %d of %d bytes: %v", room, whole, err)
		}
		if s.cancelled != 1 || s.closed != 0 {
			t.Errorf("room for %d of %d bytes: closed %d times, cancelled %d times", room, whole, s.closed, s.cancelled)
		}
		snap.Release()
	}
	snap, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	if err := snap.Persist(&sink{closeErr: errFull}); !errors.Is(err, errFull) {
		t.Errorf("the sink's Close failed: %v", err)
	}
	if h := r.halted(); h != nil {
		t.Errorf("a snapshot that failed stopped the process: %v", h)
	}
}

// An open transaction keeps pages from being reused, and the file from being
// closed.
func TestReleaseLetsGoOfTheState(t *testing.T) {
	r := newReplica(t)
	r.apply(t, history(3)...)
	snap, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if n := r.State().Stats().OpenTxN; n != 1 {
		t.Errorf("%d open transactions with a snapshot, want 1", n)
	}
	snap.Release() // without Persist, as raft does when the sink cannot be made
	snap.Release()
	if n := r.State().Stats().OpenTxN; n != 0 {
		t.Errorf("%d open transactions after Release", n)
	}
	persisted(t, r)
	if n := r.State().Stats().OpenTxN; n != 0 {
		t.Errorf("%d open transactions after Persist and Release", n)
	}
}

func dirNames(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestARefusedSnapshotChangesNothing(t *testing.T) {
	foreign := newReplica(t)
	foreign.apply(t, rawLog(50, 9, entryData(abroad, 50, notes(5)...)))
	own := newReplica(t)
	own.apply(t, history(20)...)
	good := persisted(t, own)
	flipped := func(at int) []byte {
		b := slices.Clone(good)
		b[at] ^= 0x10
		return b
	}
	for _, c := range []struct {
		name   string
		stream io.Reader
		is     error
	}{
		{"of another cluster", bytes.NewReader(persisted(t, foreign)), fsm.ErrForeignLog},
		{"empty", strings.NewReader(""), store.ErrBackup},
		{"something else", strings.NewReader(strings.Repeat("#", 4_096)), store.ErrBackup},
		{"cut off in the header", bytes.NewReader(good[:30]), store.ErrBackup},
		{"cut off in the middle", bytes.NewReader(good[:len(good)/2]), store.ErrBackup},
		{"without its last byte", bytes.NewReader(good[:len(good)-1]), store.ErrBackup},
		{"damaged in the header", bytes.NewReader(flipped(20)), store.ErrBackup},
		{"damaged in the middle", bytes.NewReader(flipped(len(good) / 2)), store.ErrBackup},
		{"damaged in the digest", bytes.NewReader(flipped(len(good) - 5)), store.ErrBackup},
		{"with something behind it", io.MultiReader(bytes.NewReader(good), strings.NewReader("x")), store.ErrBackup},
		{"of a connection that broke", io.MultiReader(bytes.NewReader(good[:len(good)/2]), brokenReader{}), errFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReplica(t)
			r.apply(t, history(10)...)
			hash, told := r.hash(t), len(r.told())
			in := &closer{Reader: c.stream}
			if err := r.Restore(in); !errors.Is(err, c.is) {
				t.Errorf("Restore: %v, want %v", err, c.is)
			}
			if !in.closed {
				t.Error("the stream was left open")
			}
			if got := dirNames(t, r.dir); !slices.Equal(got, []string{"state.db"}) {
				t.Errorf("files left behind: %v", got)
			}
			if r.hash(t) != hash || len(r.told()) != told || r.halted() != nil {
				t.Error("the old state does not go on as if nothing had happened")
			}
			r.apply(t, commandLog(11, 3, notes(1)...))
			if err := r.Restore(io.NopCloser(bytes.NewReader(good))); err != nil {
				t.Errorf("raft tries again, with the right one: %v", err)
			}
			if r.hash(t) != own.hash(t) {
				t.Error("the second try restored another state")
			}
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errFull }

// A state that belongs to no cluster yet takes any.
func TestAFreshStateTakesTheSnapshotOfItsCluster(t *testing.T) {
	from, to := newReplica(t), newReplica(t)
	from.apply(t, rawLog(50, 9, entryData(abroad, 50, notes(5)...)))
	to.apply(t, configurationLog(1, 1, "a"))
	if err := to.Restore(io.NopCloser(bytes.NewReader(persisted(t, from)))); err != nil {
		t.Fatal(err)
	}
	if m := to.meta(t); m.Cluster != abroad {
		t.Errorf("cluster %s", m.Cluster)
	}
}

// snapshotOf says which snapshot a store has at the start of a node.
type snapshotOf struct {
	cluster attendance.ClusterID
	applied uint64 // last entry that the state machine saw
	index   uint64 // raft's: greater after a barrier
	content string // instead of a real one
}

func TestCheckStart(t *testing.T) {
	in := func(applied, index uint64) snapshotOf {
		return snapshotOf{cluster: home, applied: applied, index: index}
	}
	for _, c := range []struct {
		name        string
		applied     uint64 // by the state
		noLog       bool   // raft.db was not there
		first, last uint64 // of the log; 0 for an empty one
		snapshots   []snapshotOf
		restore     bool
		err         error
		says        []string
	}{
		{name: "everything is fresh", noLog: true},
		{name: "everything is fresh, after a crash before the first entry"},
		{name: "a log that nothing was applied of", first: 1, last: 4},
		{name: "a plain restart", applied: 9, first: 1, last: 9},
		{name: "a log that runs ahead", applied: 5, first: 1, last: 9},
		{name: "a snapshot of the past", applied: 9, first: 3, last: 9, snapshots: []snapshotOf{in(5, 5)}},
		{name: "a snapshot of now", applied: 9, first: 8, last: 9, snapshots: []snapshotOf{in(9, 9)}},
		{name: "two snapshots of the past", applied: 8, first: 5, last: 9, snapshots: []snapshotOf{in(3, 3), in(6, 6)}},
		{name: "an empty log behind a snapshot that was installed", applied: 9, snapshots: []snapshotOf{in(9, 9)}},
		{name: "a log that begins behind a snapshot that was installed", applied: 9, first: 10, last: 12, snapshots: []snapshotOf{in(9, 9)}},
		{name: "a fresh state and a snapshot", first: 4, last: 9, snapshots: []snapshotOf{in(5, 5)}, restore: true},
		{name: "a fresh state, a snapshot and an empty log", snapshots: []snapshotOf{in(5, 5)}, restore: true},
		{
			name: "a snapshot taken right after a barrier", applied: 8, first: 4, last: 10, snapshots: []snapshotOf{in(8, 10)},
		},
		{
			name:    "a snapshot taken right after a barrier, the log begins behind it",
			applied: 8, first: 11, last: 12, snapshots: []snapshotOf{in(8, 10)},
		},
		{
			name: "raft.db is missing while the state exists", applied: 9, noLog: true,
			err: fsm.ErrLogMissing, says: []string{"raft.db", "move the data directory away", "new node"},
		},
		{
			name: "raft.db is missing while state and snapshot exist", applied: 9, noLog: true, snapshots: []snapshotOf{in(9, 9)},
			err: fsm.ErrLogMissing, says: []string{"raft.db", "move the data directory away", "new node"},
		},
		{
			name: "raft.db is missing while a snapshot exists", noLog: true, snapshots: []snapshotOf{in(5, 5)},
			err: fsm.ErrLogMissing, says: []string{"raft.db", "forgotten how it voted", "new node"},
		},
		{
			name: "an old copy of raft.db", applied: 9, first: 1, last: 5, snapshots: []snapshotOf{in(3, 3)},
			err: fsm.ErrLogMissing, says: []string{"ends at entry 5", "state.db at 9", "new node"},
		},
		{
			name: "a fresh state and a log that begins behind the snapshot", first: 8, last: 9, snapshots: []snapshotOf{in(5, 5)},
			err: fsm.ErrStateBehind, says: []string{"entry 5", "begins at 8", "new node"},
		},
		// As a process leaves it that ends while a snapshot is being installed.
		{
			name: "a state behind the newest snapshot", applied: 7, first: 1, last: 12, snapshots: []snapshotOf{in(9, 9)}, restore: true,
		},
		{
			name: "a state behind the newest snapshot, the log begins behind that", applied: 3, first: 10, last: 12,
			snapshots: []snapshotOf{in(9, 9)}, restore: true,
		},
		{
			name: "a state between two snapshots", applied: 4, first: 1, last: 9, snapshots: []snapshotOf{in(3, 3), in(6, 6)}, restore: true,
		},
		{name: "a log that begins right after the state", applied: 9, first: 10, last: 12},
		{
			name: "a log that begins later, without a snapshot", applied: 9, first: 11, last: 12,
			err: fsm.ErrStateBehind, says: []string{"entry 9", "begins at 11", "move the data directory away"},
		},
		{
			name: "a log that begins later, behind a snapshot of the past", applied: 9, first: 11, last: 12, snapshots: []snapshotOf{in(5, 5)},
			err: fsm.ErrStateBehind, says: []string{"entry 9", "begins at 11", "move the data directory away"},
		},
		{
			name: "a fresh state and a log that begins later", first: 5, last: 9,
			err: fsm.ErrStateBehind, says: []string{"entry 0", "begins at 5", "move the data directory away"},
		},
		{
			name: "a snapshot of another cluster", applied: 9, first: 1, last: 9, snapshots: []snapshotOf{{cluster: abroad, applied: 5, index: 5}},
			err: fsm.ErrForeignLog, says: []string{abroad.String(), home.String(), "move it away"},
		},
		{
			name: "a snapshot whose header cannot be read", applied: 9, first: 1, last: 9, snapshots: []snapshotOf{{index: 5, content: "HADIRBK"}},
			err: store.ErrBackup, says: []string{"snapshot 3-5-"},
		},
		{
			name: "a fresh state and a snapshot that is something else", snapshots: []snapshotOf{{index: 5, content: "something else that is longer"}},
			err: store.ErrBackup, says: []string{"snapshot 3-5-", "not a hadir backup"},
		},
	} {
		for kind, open := range map[string]func(t *testing.T) raft.SnapshotStore{
			"file": func(t *testing.T) raft.SnapshotStore {
				s, err := raft.NewFileSnapshotStore(replicaDir(t), 2, io.Discard)
				if err != nil {
					t.Fatal(err)
				}
				return s
			},
			"memory": func(*testing.T) raft.SnapshotStore { return raft.NewInmemSnapshotStore() },
		} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				r, logs, snapshots := newReplica(t), raft.NewInmemStore(), open(t)
				r.apply(t, history(c.applied)...)
				for i := c.first; i > 0 && i <= c.last; i++ {
					if err := logs.StoreLog(commandLog(i, 3, notes(1)...)); err != nil {
						t.Fatal(err)
					}
				}
				for _, s := range c.snapshots {
					putSnapshot(t, snapshots, s)
				}
				restore, err := fsm.CheckStart(r.State(), !c.noLog, logs, snapshots)
				if restore != c.restore || !errors.Is(err, c.err) {
					t.Fatalf("restore %v, %v; want %v, %v", restore, err, c.restore, c.err)
				}
				if err == nil {
					return
				}
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("more than one line: %q", err)
				}
				for _, s := range c.says {
					if !strings.Contains(err.Error(), s) {
						t.Errorf("%q does not say %q", err, s)
					}
				}
			})
		}
	}
	t.Run("a state that has seen nothing but a configuration", func(t *testing.T) {
		r, snapshots := newReplica(t), raft.NewInmemSnapshotStore()
		if err := r.Configure(1, 1, nil); err != nil {
			t.Fatal(err)
		}
		putSnapshot(t, snapshots, in(5, 5))
		if restore, err := fsm.CheckStart(r.State(), true, raft.NewInmemStore(), snapshots); err != nil || !restore {
			t.Errorf("restore %v, %v; want true", restore, err)
		}
	})
	t.Run("a state that is closed", func(t *testing.T) {
		r := newReplica(t)
		if err := r.State().Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := fsm.CheckStart(r.State(), true, raft.NewInmemStore(), raft.NewInmemSnapshotStore()); !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	})
}

// A restart hands over again what was applied before. A snapshot taken in the
// middle of that would say less about itself than it holds.
func TestNoSnapshotWhileTheLogIsReplayed(t *testing.T) {
	r := newReplica(t)
	logs := history(6)
	r.apply(t, logs...)
	again := &fsm.Raft{Machine: fsm.New(r.State(), fsm.Options{Halt: func(err error) { t.Error(err) }})}
	again.ApplyBatch(logs[:3])
	if snap, err := again.Snapshot(); !errors.Is(err, fsm.ErrReplaying) {
		snap.Release()
		t.Fatalf("in the middle: %v, want ErrReplaying", err)
	}
	again.ApplyBatch(logs[3:])
	snap, err := again.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	snap.Release()
}

// putSnapshot puts a snapshot of term 3 into a store.
func putSnapshot(t *testing.T, snapshots raft.SnapshotStore, s snapshotOf) {
	t.Helper()
	out, err := snapshots.Create(raft.SnapshotVersionMax, s.index, 3, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	content := []byte(s.content)
	if s.content == "" {
		r := newReplica(t)
		for i := uint64(1); i <= s.applied; i++ {
			r.apply(t, rawLog(i, 3, entryData(s.cluster, i, notes(1)...)))
		}
		content = persisted(t, r)
	}
	_, err = out.Write(content)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

// await waits until a condition holds that other goroutines bring about.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// member is a node of a real cluster. Log, snapshots and state.db outlive its
// process, which start and stop stand for.
type member struct {
	*replica
	id        raft.ServerID
	logs      *raft.InmemStore
	snapshots raft.SnapshotStore
	transport *raft.InmemTransport
	raft      *raft.Raft
	restored  bool // CheckStart asked for it at the last start
}

type members []*member

func newMembers(t *testing.T) members {
	t.Helper()
	var all members
	var configuration raft.Configuration
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		m := &member{id: id, logs: raft.NewInmemStore(), replica: &replica{dir: replicaDir(t)}}
		var err error
		if m.snapshots, err = raft.NewFileSnapshotStore(m.dir, 1, io.Discard); err != nil {
			t.Fatal(err)
		}
		configuration.Servers = append(configuration.Servers, raft.Server{ID: id, Address: raft.ServerAddress(id)})
		all = append(all, m)
	}
	for _, m := range all {
		_, transport := raft.NewInmemTransport(raft.ServerAddress(m.id))
		if err := raft.BootstrapCluster(m.config(), m.logs, m.logs, m.snapshots, transport, configuration); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func (m *member) config() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = m.id
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 150*time.Millisecond, 150*time.Millisecond, 150*time.Millisecond
	c.CommitTimeout = 5 * time.Millisecond
	c.SnapshotInterval, c.SnapshotThreshold = time.Hour, 1<<40 // only when a test says so
	c.TrailingLogs = 3
	c.LogOutput = io.Discard
	return c
}

// start starts a node as the process will: state, CheckStart, raft.
func (all members) start(t *testing.T, m *member) {
	t.Helper()
	m.replica = openReplica(t, m.dir)
	restore, err := fsm.CheckStart(m.State(), true, m.logs, m.snapshots)
	if err != nil {
		t.Fatalf("%s may not start: %v", m.id, err)
	}
	m.restored = restore
	conf := m.config()
	conf.NoSnapshotRestoreOnStart = !restore
	_, m.transport = raft.NewInmemTransport(raft.ServerAddress(m.id))
	for _, peer := range all {
		if peer != m && peer.transport != nil {
			m.transport.Connect(peer.transport.LocalAddr(), peer.transport)
			peer.transport.Connect(m.transport.LocalAddr(), m.transport)
		}
	}
	if m.raft, err = raft.NewRaft(conf, m.Raft, m.logs, m.logs, m.snapshots, m.transport); err != nil {
		t.Fatal(err)
	}
}

// stop ends a node in the order of the process: connections, raft, state.
func (all members) stop(t *testing.T, m *member) {
	t.Helper()
	for _, peer := range all {
		if peer != m && peer.transport != nil {
			peer.transport.Disconnect(raft.ServerAddress(m.id))
		}
	}
	if err := errors.Join(m.transport.Close(), m.raft.Shutdown().Error(), m.State().Close()); err != nil {
		t.Errorf("stop %s: %v", m.id, err)
	}
	m.raft, m.transport = nil, nil
}

func (all members) leader(t *testing.T) *member {
	t.Helper()
	var leader *member
	await(t, "a leader", func() bool {
		for _, m := range all {
			if m.raft != nil && m.raft.State() == raft.Leader {
				leader = m
			}
		}
		return leader != nil
	})
	return leader
}

// propose has n entries of two commands committed and gives the index of the
// last. A change of leaders may commit some of them twice, which is no matter.
func (all members) propose(t *testing.T, n int) (last uint64) {
	t.Helper()
	data := entryData(home, 1, attendance.PutUser{Name: "Siti", Email: "siti@example.test", Role: attendance.Teacher, Active: true}, notes(1)[0])
	for n > 0 {
		leader := all.leader(t)
		var futures []raft.ApplyFuture
		for range min(n, 50) {
			futures = append(futures, leader.raft.Apply(data, 5*time.Second))
		}
		for _, f := range futures {
			if f.Error() != nil {
				continue // it is proposed again, to whoever leads then
			}
			if out, ok := f.Response().([]attendance.Outcome); !ok || len(out) != 2 || out[1].Status != attendance.DoneStatus {
				t.Fatalf("entry %d was answered by %v", f.Index(), f.Response())
			}
			last = f.Index()
			n--
		}
	}
	return last
}

func (m *member) reached(t *testing.T, index uint64) {
	t.Helper()
	await(t, fmt.Sprintf("%s applies entry %d", m.id, index), func() bool { return m.meta(t).Applied >= index })
}

// restores counts how often the whole state was replaced in this process.
func (m *member) restores() (n int) {
	for _, c := range m.told() {
		if c.Restored {
			n++
		}
	}
	return n
}

func TestAClusterReachesOneStateWhateverItsNodesGoThrough(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	all := newMembers(t)
	for _, m := range all {
		all.start(t, m)
	}
	defer func() {
		for _, m := range all {
			if m.raft != nil {
				all.stop(t, m)
			}
		}
	}()
	last := all.propose(t, 150)
	leader := all.leader(t)
	var followers members
	for _, m := range all {
		if m != leader {
			m.reached(t, last)
			followers = append(followers, m)
		}
	}
	killed, lagging := followers[0], followers[1]

	// One takes a snapshot, goes on, and is killed. Its state is ahead of its
	// snapshot then: restoring that would move it back in time.
	if err := killed.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	last = all.propose(t, 50)
	killed.reached(t, last)
	all.stop(t, killed)
	last = all.propose(t, 100)
	all.start(t, killed)
	if killed.restored {
		t.Error("CheckStart asks for a restore over a good state")
	}
	killed.reached(t, last)
	if n := killed.restores(); n != 0 {
		t.Errorf("the killed node restored %d times: it has all it needs", n)
	}

	// The other one is away until the leader's log no longer reaches back to it.
	lagging.reached(t, last)
	all.stop(t, lagging)
	last = all.propose(t, 200)
	killed.reached(t, last)
	for _, m := range []*member{leader, killed} { // whoever leads by now
		if err := m.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	all.start(t, lagging)
	await(t, "the lagging node is told of a whole new state", func() bool { return lagging.restores() > 0 })
	lagging.reached(t, last)

	// A state.db that was moved away, as CheckStart tells people to, is rebuilt
	// from the snapshot.
	all.stop(t, killed)
	if err := os.Remove(filepath.Join(killed.dir, "state.db")); err != nil {
		t.Fatal(err)
	}
	all.start(t, killed)
	if !killed.restored || killed.restores() != 1 {
		t.Errorf("restore asked for: %v; restored %d times", killed.restored, killed.restores())
	}

	last = all.propose(t, 1)
	if n := lagging.restores(); n != 1 {
		t.Errorf("the lagging node restored %d times, want once", n)
	}
	for _, m := range all {
		m.reached(t, last)
		if h := m.halted(); h != nil {
			t.Errorf("%s halted: %v", m.id, h)
		}
		if m.configuration(t) == nil {
			t.Errorf("%s has no configuration", m.id)
		}
	}
	want := all[0].hash(t)
	for _, m := range all[1:] {
		if got := m.hash(t); got != want {
			t.Errorf("state of %s is %s, of %s %s", m.id, got, all[0].id, want)
		}
	}
	if m := all[0].meta(t); m.Seq < 2*501 {
		t.Errorf("%d events of 501 entries with two commands", m.Seq)
	}
}

// A node that was rebuilt from a snapshot has a log that begins behind it, and a
// snapshot may end with entries that the state machine never sees.
func TestANodeRebuiltFromASnapshotMayRestart(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	all := newMembers(t)
	for _, m := range all {
		all.start(t, m)
	}
	defer func() {
		for _, m := range all {
			if m.raft != nil {
				all.stop(t, m)
			}
		}
	}()
	last := all.propose(t, 20)
	var lost *member
	for _, m := range all {
		m.reached(t, last)
		if m != all.leader(t) {
			lost = m
		}
	}
	all.stop(t, lost)
	lost.dir, lost.logs = replicaDir(t), raft.NewInmemStore()
	var err error
	if lost.snapshots, err = raft.NewFileSnapshotStore(lost.dir, 1, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := all.leader(t).raft.Barrier(0).Error(); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m == lost {
			continue
		}
		// Whoever leads by then: its log begins behind the barrier, or near it.
		await(t, fmt.Sprintf("%s has a snapshot behind the barrier", m.id), func() bool {
			list, err := m.snapshots.List()
			return m.raft.Snapshot().Error() == nil && err == nil && len(list) > 0 && list[0].Index > last
		})
	}
	all.start(t, lost)
	lost.reached(t, last)
	// More of what the state machine does not see.
	if err := all.leader(t).raft.Barrier(0).Error(); err != nil {
		t.Fatal(err)
	}
	await(t, "the barrier reaches the rebuilt node", func() bool {
		first, err := lost.logs.FirstIndex()
		return err == nil && first > last+1
	})
	all.stop(t, lost)
	all.start(t, lost)
	last = all.propose(t, 1)
	for _, m := range all {
		m.reached(t, last)
		if h := m.halted(); h != nil {
			t.Errorf("%s halted: %v", m.id, h)
		}
	}
	if a, b := all[0].hash(t), lost.hash(t); a != b || all[1].hash(t) != all[2].hash(t) {
		t.Errorf("states differ: %s and %s", a, b)
	}
}
