package transport

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

var errDisk = errors.New("input/output error")

// fakeBackend is a store in memory whose disk can be told to fail or hang.
type fakeBackend struct {
	*raft.InmemStore // logs
	mu               sync.Mutex
	kv               map[string][]byte
	calls            int
	before           func(op string, n int) error // nil: works
	after            func(op string, n int) error // after the write reached the disk
}

func newFakeBackend() *fakeBackend {
	return &fakeBackend{InmemStore: raft.NewInmemStore(), kv: make(map[string][]byte)}
}

func (f *fakeBackend) do(op string, write func()) error {
	f.mu.Lock()
	f.calls++
	n, before, after := f.calls, f.before, f.after
	f.mu.Unlock()
	if before != nil {
		if err := before(op, n); err != nil {
			return err
		}
	}
	f.mu.Lock()
	write()
	f.mu.Unlock()
	if after != nil {
		return after(op, n)
	}
	return nil
}

func (f *fakeBackend) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *fakeBackend) Set(k, v []byte) error {
	return f.do("set", func() { f.kv[string(k)] = bytes.Clone(v) })
}

func (f *fakeBackend) Get(k []byte) (v []byte, err error) {
	var ok bool
	if err := f.do("get", func() { v, ok = f.kv[string(k)] }); err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("not found")
	}
	return bytes.Clone(v), nil
}

func (f *fakeBackend) StoreLogs(logs []*raft.Log) error {
	return f.do("store_logs", func() { f.InmemStore.StoreLogs(logs) }) //nolint:errcheck // never fails
}

func (f *fakeBackend) GetLog(i uint64, l *raft.Log) (err error) {
	if e := f.do("get_log", func() { err = f.InmemStore.GetLog(i, l) }); e != nil {
		return e
	}
	return err
}

// haltRecorder is a Halt that only remembers.
type haltRecorder struct {
	mu     sync.Mutex
	causes []error
	ch     chan struct{}
}

func newHaltRecorder() *haltRecorder { return &haltRecorder{ch: make(chan struct{}, 16)} }

func (h *haltRecorder) halt(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.causes = append(h.causes, err)
	h.ch <- struct{}{}
}

func (h *haltRecorder) all() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.causes
}

func mustStore(t testing.TB, backend LogBackend, h *haltRecorder) *LogStore {
	t.Helper()
	s, err := NewLogStore(backend, LogStoreOptions{Clock: sysClock{}, Halt: h.halt})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everyCall is each method of the two interfaces, with something that works.
func everyCall(s *LogStore) map[string]func() error {
	return map[string]func() error{
		"FirstIndex":      func() error { _, err := s.FirstIndex(); return err },
		"LastIndex":       func() error { _, err := s.LastIndex(); return err },
		"GetLog":          func() error { return s.GetLog(1, new(raft.Log)) },
		"StoreLog":        func() error { return s.StoreLog(&raft.Log{Index: 9}) },
		"StoreLogs":       func() error { return s.StoreLogs([]*raft.Log{{Index: 9}}) },
		"DeleteRange":     func() error { return s.DeleteRange(1, 1) },
		"Set":             func() error { return s.Set([]byte("k"), []byte("v")) },
		"Get":             func() error { _, err := s.Get([]byte("k")); return err },
		"SetUint64":       func() error { return s.SetUint64([]byte("CurrentTerm"), 1) },
		"GetUint64":       func() error { _, err := s.GetUint64([]byte("CurrentTerm")); return err },
		"SetUint64 vote":  func() error { return s.SetUint64([]byte(keyVoteTerm), 1) },
		"Set vote":        func() error { return s.Set([]byte(keyVoteCand), []byte("a")) },
		"GetUint64 vote":  func() error { _, err := s.GetUint64([]byte(keyVoteTerm)); return err },
		"Get vote":        func() error { _, err := s.Get([]byte(keyVoteCand)); return err },
		"Get vote as raw": func() error { _, err := s.Get([]byte(keyVoteTerm)); return err },
	}
}

func TestLogStoreInterfaces(t *testing.T) {
	var s any = mustStore(t, newFakeBackend(), newHaltRecorder())
	if _, ok := s.(raft.MonotonicLogStore); ok {
		t.Error("claims to be monotonic")
	}
	if _, ok := s.(raft.CommitTrackingLogStore); ok {
		t.Error("claims to track commits")
	}
	if _, err := NewLogStore(newFakeBackend(), LogStoreOptions{}); err == nil {
		t.Error("options are not checked")
	}
}

func TestFirstErrorHaltsForGood(t *testing.T) {
	for _, op := range []string{"set", "get", "store_logs", "get_log"} {
		t.Run(op, func(t *testing.T) {
			backend, h := newFakeBackend(), newHaltRecorder()
			s := mustStore(t, backend, h)
			if err := s.StoreLog(&raft.Log{Index: 1}); err != nil {
				t.Fatal(err)
			}
			// A second store on the same backend: its cache is empty, so that
			// GetLog reaches the disk.
			s = mustStore(t, backend, h)
			backend.before = func(o string, _ int) error {
				if o == op {
					return errDisk
				}
				return nil
			}
			trigger := map[string]string{"set": "Set", "get": "Get", "store_logs": "StoreLogs", "get_log": "GetLog"}[op]
			err := everyCall(s)[trigger]()
			if !errors.Is(err, ErrHalted) || !errors.Is(err, errDisk) {
				t.Fatalf("first: %v", err)
			}
			backend.before = nil // the disk recovers; we must not
			reached := backend.count()
			for name, call := range everyCall(s) {
				if err := call(); !errors.Is(err, ErrHalted) || !errors.Is(err, errDisk) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if got := backend.count(); got != reached {
				t.Errorf("%d calls reached the store after the failure", got-reached)
			}
			if causes := h.all(); len(causes) != 1 || !errors.Is(causes[0], errDisk) {
				t.Errorf("halted with %v", causes)
			}
			if err := s.Err(); !errors.Is(err, ErrHalted) {
				t.Errorf("Err: %v", err)
			}
		})
	}
}

func TestNotFoundIsNoFailure(t *testing.T) {
	h := newHaltRecorder()
	s := mustStore(t, newFakeBackend(), h)
	if err := s.GetLog(5, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("GetLog: %v", err)
	}
	for _, key := range []string{"CurrentTerm", keyVoteTerm, keyVoteCand} {
		// raft compares the text.
		if v, err := s.Get([]byte(key)); err == nil || err.Error() != "not found" || v != nil {
			t.Errorf("Get %s: %v %v", key, v, err)
		}
		if v, err := s.GetUint64([]byte(key)); err == nil || err.Error() != "not found" || v != 0 {
			t.Errorf("GetUint64 %s: %v %v", key, v, err)
		}
	}
	if len(h.all()) != 0 || s.Err() != nil {
		t.Errorf("halted: %v", h.all())
	}
}

// TestStallHalts: the node must learn of the hang while the call still hangs,
// and a late success must not count.
func TestStallHalts(t *testing.T) {
	backend, h, clock := newFakeBackend(), newHaltRecorder(), newHandClock()
	var seen sync.Map
	s, err := NewLogStore(backend, LogStoreOptions{
		Clock: clock, Halt: h.halt,
		Observe: func(op string, d time.Duration) { seen.Store(op, d) },
	})
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	backend.mu.Lock()
	backend.before = func(string, int) error { <-release; return nil }
	backend.mu.Unlock()
	late := make(chan error)
	go func() { late <- s.StoreLog(&raft.Log{Index: 1}) }()
	clock.waitTimers(t, 1)
	clock.advance(DefaultStallAfter - 1)
	if len(h.all()) != 0 {
		t.Fatal("halted too early")
	}
	clock.advance(1)
	if causes := h.all(); len(causes) != 1 || !errors.Is(causes[0], ErrStalled) || !strings.Contains(causes[0].Error(), "store_logs") {
		t.Fatalf("causes %v", causes)
	}
	for name, call := range everyCall(s) {
		if err := call(); !errors.Is(err, ErrHalted) || !errors.Is(err, ErrStalled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Close(); !errors.Is(err, ErrStalled) {
		t.Errorf("close: %v", err) // must not touch the stuck backend
	}
	close(release)
	if err := <-late; !errors.Is(err, ErrHalted) {
		t.Errorf("late success was reported as success: %v", err)
	}
	if len(h.all()) != 1 {
		t.Errorf("halted %d times", len(h.all()))
	}
	if d, ok := seen.Load("store_logs"); !ok || d.(time.Duration) < DefaultStallAfter {
		t.Errorf("observed %v", d)
	}
}

// TestVoteAtEveryCrashPoint runs two elections as raft does and crashes before
// and after each write. What a new process reads must be a vote that was cast.
func TestVoteAtEveryCrashPoint(t *testing.T) {
	type cast struct {
		term uint64
		cand string
	}
	votes := []cast{{5, "10.0.0.1:1"}, {6, "10.0.0.2:1"}, {9, "10.0.0.3:1"}}
	election := func(s *LogStore) (granted []cast) {
		for _, v := range votes {
			// raft panics if it cannot save the term, so it stops here, too.
			if s.SetUint64([]byte("CurrentTerm"), v.term) != nil {
				return granted
			}
			if s.SetUint64([]byte(keyVoteTerm), v.term) != nil || s.Set([]byte(keyVoteCand), []byte(v.cand)) != nil {
				return granted
			}
			granted = append(granted, v)
		}
		return granted
	}
	crashed := errors.New("crash")
	points := 0
	for _, when := range []string{"before", "after"} {
		for point := 1; ; point++ {
			backend, h := newFakeBackend(), newHaltRecorder()
			s := mustStore(t, backend, h)
			base := backend.count()
			crash := func(op string, n int) error {
				if op == "set" && n-base >= point {
					return crashed
				}
				return nil
			}
			if when == "before" {
				backend.before = crash
			} else {
				backend.after = crash
			}
			granted := election(s)
			backend.before, backend.after = nil, nil
			points++

			again := mustStore(t, backend, newHaltRecorder())
			term, err := again.GetUint64([]byte(keyVoteTerm))
			cand, candErr := again.Get([]byte(keyVoteCand))
			if (err == nil) != (candErr == nil) {
				t.Fatalf("%s %d: half a vote: %v, %v", when, point, err, candErr)
			}
			var got *cast
			if err == nil {
				got = &cast{term, string(cand)}
			}
			// Either the last vote that was answered, or the one in flight.
			allowed := false
			switch n := len(granted); {
			case got == nil:
				allowed = n == 0
			default:
				allowed = n > 0 && *got == granted[n-1] || n < len(votes) && *got == votes[n]
			}
			if !allowed {
				t.Errorf("%s %d: read %v after granting %v", when, point, got, granted)
			}
			if current, err := again.GetUint64([]byte("CurrentTerm")); got != nil && (err != nil || current < got.term) {
				t.Errorf("%s %d: term %d behind the vote %v (%v)", when, point, current, got, err)
			}
			if len(granted) == len(votes) {
				break
			}
		}
	}
	if points < 2*6 {
		t.Errorf("only %d crash points", points)
	}
}

func TestVoteBetweenItsTwoCalls(t *testing.T) {
	h := newHaltRecorder()
	s := mustStore(t, newFakeBackend(), h)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.SetUint64([]byte(keyVoteTerm), 5))
	must(s.Set([]byte(keyVoteCand), []byte("a")))
	must(s.SetUint64([]byte(keyVoteTerm), 6))
	if term, err := s.GetUint64([]byte(keyVoteTerm)); err != nil || term != 5 {
		t.Errorf("torn: term %d %v", term, err)
	}
	must(s.Set([]byte(keyVoteCand), []byte("b")))
	if raw, err := s.Get([]byte(keyVoteTerm)); err != nil || !bytes.Equal(raw, encodeUint64(6)) {
		t.Errorf("%x %v", raw, err)
	}
	if err := s.Set([]byte(keyVoteCand), []byte("c")); !errors.Is(err, errVoteOrder) {
		t.Errorf("candidate without term: %v", err)
	}
	if len(h.all()) != 1 {
		t.Error("not halted")
	}
}

func TestDamagedValues(t *testing.T) {
	good := vote{term: 3, candidate: []byte("a:1")}.encode()
	flipped := bytes.Clone(good)
	flipped[4] ^= 1
	for _, tc := range []struct {
		name string
		kv   map[string][]byte
		want error
	}{
		{"flipped bit", map[string][]byte{keyVote: flipped}, ErrCorrupt},
		{"cut", map[string][]byte{keyVote: good[:6]}, ErrCorrupt},
		{"empty", map[string][]byte{keyVote: {}}, ErrCorrupt},
		{"foreign term", map[string][]byte{keyVoteTerm: encodeUint64(3)}, ErrForeignVote},
		{"foreign candidate", map[string][]byte{keyVoteCand: []byte("a")}, ErrForeignVote},
	} {
		t.Run(tc.name, func(t *testing.T) {
			backend, h := newFakeBackend(), newHaltRecorder()
			backend.kv = tc.kv
			_, err := NewLogStore(backend, LogStoreOptions{Clock: sysClock{}, Halt: h.halt})
			if !errors.Is(err, tc.want) || len(h.all()) != 1 {
				t.Errorf("%v, halts %v", err, h.all())
			}
		})
	}
	backend, h := newFakeBackend(), newHaltRecorder()
	backend.kv["CurrentTerm"] = []byte("short")
	s := mustStore(t, backend, h)
	if _, err := s.GetUint64([]byte("CurrentTerm")); !errors.Is(err, ErrCorrupt) || len(h.all()) != 1 {
		t.Errorf("%v", err)
	}
}

func openTemp(t testing.TB, path string, h *haltRecorder) *LogStore {
	t.Helper()
	s, err := OpenLogStore(path, LogStoreOptions{Clock: sysClock{}, Halt: h.halt, LockTimeout: 20 * time.Millisecond, StallAfter: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOpenLogStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	h := newHaltRecorder()
	s := openTemp(t, path, h)
	if _, err := OpenLogStore(path, LogStoreOptions{Clock: sysClock{}, Halt: h.halt, LockTimeout: time.Millisecond}); !errors.Is(err, ErrLocked) || strings.Contains(err.Error(), "\n") {
		t.Errorf("second open: %v", err)
	}
	in := raft.Log{Index: 1, Term: 2, Type: raft.LogCommand, Data: []byte("d"), AppendedAt: time.Unix(5, 6).UTC()}
	for _, err := range []error{
		s.StoreLog(&in),
		s.SetUint64([]byte("CurrentTerm"), 2),
		s.SetUint64([]byte(keyVoteTerm), 2),
		s.Set([]byte(keyVoteCand), []byte("a:1")),
		s.Close(),
		s.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, call := range everyCall(s) {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s after close: %v", name, err)
		}
	}
	s = openTemp(t, path, h)
	var out raft.Log
	if err := s.GetLog(1, &out); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(in, out); d != "" {
		t.Error(d)
	}
	if term, err := s.GetUint64([]byte(keyVoteTerm)); err != nil || term != 2 {
		t.Errorf("vote: %d %v", term, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if len(h.all()) != 0 {
		t.Errorf("halted: %v", h.all())
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestOpenDamagedFile(t *testing.T) {
	for name, content := range map[string][]byte{
		"text":   bytes.Repeat([]byte("not a database "), 4096),
		"zeroes": make([]byte, 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "raft.db")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := OpenLogStore(path, LogStoreOptions{Clock: sysClock{}, Halt: func(error) {}})
			if !errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
		})
	}
	_, err := OpenLogStore(filepath.Join(t.TempDir(), "no", "such", "raft.db"), LogStoreOptions{Clock: sysClock{}, Halt: func(error) {}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// chunkSpy notes the ranges that reach the disk and can crash between them.
type chunkSpy struct {
	LogBackend
	ranges [][2]uint64
	limit  int
}

func (c *chunkSpy) DeleteRange(lo, hi uint64) error {
	if c.limit > 0 && len(c.ranges) == c.limit {
		return errDisk
	}
	c.ranges = append(c.ranges, [2]uint64{lo, hi})
	return c.LogBackend.DeleteRange(lo, hi)
}

// TestDeleteRangeInSteps uses the real store: bbolt cursors skip keys when a
// bucket is changed under them.
func TestDeleteRangeInSteps(t *testing.T) {
	const (
		step = 400
		last = 3 * step
	)
	for _, tc := range []struct {
		name         string
		lo, hi       uint64
		crash        int
		first, final uint64 // what must be left
	}{
		{name: "head", lo: 1, hi: 2*step + 5, first: 2*step + 6, final: last},
		{name: "tail", lo: step - 7, hi: last, first: 1, final: step - 8},
		{name: "tail beyond the end", lo: last - 1, hi: last + 100, first: 1, final: last - 2},
		{name: "everything", lo: 1, hi: last},
		{name: "nothing", lo: last + 1, hi: last + 9, first: 1, final: last},
		{name: "head, crash", lo: 1, hi: 2*step + 5, crash: 1, first: step + 1, final: last},
		{name: "tail, crash", lo: 10, hi: last, crash: 1, first: 1, final: last - step},
		{name: "everything, crash", lo: 1, hi: last, crash: 2, first: 1, final: step},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bolt, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(t.TempDir(), "raft.db"), NoSync: true, BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}})
			if err != nil {
				t.Fatal(err)
			}
			defer bolt.Close() //nolint:errcheck // test
			logs := make([]*raft.Log, last)
			for i := range logs {
				logs[i] = &raft.Log{Index: uint64(i) + 1}
			}
			if err := bolt.StoreLogs(logs); err != nil {
				t.Fatal(err)
			}
			h := newHaltRecorder()
			s, err := newLogStore(&chunkSpy{LogBackend: bolt, limit: tc.crash}, LogStoreOptions{Clock: sysClock{}, Halt: h.halt, StallAfter: time.Minute}, step)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteRange(tc.lo, tc.hi); errors.Is(err, ErrHalted) != (tc.crash > 0) {
				t.Fatal(err)
			}
			first, _ := bolt.FirstIndex()
			final, _ := bolt.LastIndex()
			if first != tc.first || final != tc.final {
				t.Fatalf("left %d..%d, want %d..%d", first, final, tc.first, tc.final)
			}
			for i := uint64(1); i <= last; i++ {
				err := bolt.GetLog(i, new(raft.Log))
				if want := i >= tc.first && i <= tc.final && tc.final > 0; (err == nil) != want {
					t.Fatalf("entry %d: %v, want it %v", i, err, want)
				}
			}
		})
	}
}

// FuzzLogStoreValues (F10): whatever bytes a damaged raft.db gives back, the
// store answers or halts, and never invents a vote.
func FuzzLogStoreValues(f *testing.F) {
	f.Add(vote{term: 7, candidate: []byte("127.0.0.1:1")}.encode())
	f.Add(vote{}.encode())
	f.Add(encodeUint64(3))
	f.Add([]byte{})
	f.Add([]byte("\x86\xa5Index\x01\xa4Term\x02"))
	dir := f.TempDir()
	path := filepath.Join(dir, "raft.db")
	f.Fuzz(func(t *testing.T, in []byte) {
		backend, h := newFakeBackend(), newHaltRecorder()
		backend.kv[keyVote] = in
		backend.kv["CurrentTerm"] = in
		s, err := NewLogStore(backend, LogStoreOptions{Clock: sysClock{}, Halt: h.halt})
		if err == nil {
			if !bytes.Equal(s.voted.encode(), in) {
				t.Fatalf("vote %x is not canonical", in)
			}
			_, err = s.GetUint64([]byte("CurrentTerm"))
			if (err == nil) != (len(in) == 8) {
				t.Fatalf("number %x: %v", in, err)
			}
		}
		if (err != nil) != (len(h.all()) == 1) {
			t.Fatalf("error %v, halts %v", err, h.all())
		}
		if len(in) > 0 {
			fuzzLogValue(t, path, in)
		}
	})
}

// fuzzLogValue puts bytes where raft-boltdb keeps an entry.
func fuzzLogValue(t *testing.T, path string, in []byte) {
	opts := &bbolt.Options{NoSync: true, NoFreelistSync: true}
	db, err := bbolt.Open(path, 0o600, opts)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("logs"))
		if err != nil {
			return err
		}
		return b.Put(encodeUint64(1), in)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	bolt, err := raftboltdb.New(raftboltdb.Options{Path: path, NoSync: true, BoltOptions: opts})
	if err != nil {
		t.Fatal(err)
	}
	h := newHaltRecorder()
	s := mustStore(t, bolt, h)
	err = s.GetLog(1, new(raft.Log))
	if errors.Is(err, ErrHalted) != (len(h.all()) == 1) || (err != nil) != (len(h.all()) == 1) {
		t.Fatalf("error %v, halts %v", err, h.all())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func Example_logStore() {
	halt := func(err error) { fmt.Println("stop the node:", err) }
	s, err := NewLogStore(newFakeBackend(), LogStoreOptions{Clock: sysClock{}, Halt: halt})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Err())
	// Output: <nil>
}
