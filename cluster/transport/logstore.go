package transport

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// Defaults of LogStoreOptions.
const (
	DefaultStallAfter  = 2 * time.Second
	DefaultLockTimeout = time.Second

	logCacheEntries = 512
	// deleteChunk keeps each transaction of a long DeleteRange far below the
	// watchdog: compacting a million entries at once takes seconds on a slow
	// disk, and a node that halts there would halt again after each restart.
	deleteChunk = 4096
)

// ErrForeignVote means that a store holds a vote that was not written by a
// LogStore. To go on would be to forget the vote, or to trust one that may be
// torn.
var ErrForeignVote = errors.New("transport: raft.db holds a vote written by another program")

// errVoteOrder means that raft stored a candidate without a term before it.
var errVoteOrder = errors.New("transport: a vote without a term")

// LogBackend is what a LogStore protects: raft-boltdb's BoltStore, or a fake.
type LogBackend interface {
	raft.LogStore
	raft.StableStore
}

// LogStoreOptions configure a LogStore. Fields without "optional" are required.
type LogStoreOptions struct {
	// Clock drives the watchdog and measures calls.
	Clock Clock
	// Halt must end the process. It is called at most once, with the cause,
	// from any goroutine, possibly while a call to the disk is still stuck.
	// It may return; the store never works again in any case.
	Halt func(error)
	// Observe gets the duration of each call to the disk: store_logs, get_log,
	// delete_range, first_index, last_index, set, get, vote, open. Optional.
	// Called concurrently, must not block.
	Observe func(op string, d time.Duration)
	// StallAfter is how long one call to the disk may take. Optional:
	// DefaultStallAfter.
	StallAfter time.Duration
	// LockTimeout is how long OpenLogStore waits for another process to
	// release the file. Optional: DefaultLockTimeout.
	LockTimeout time.Duration
}

func (o *LogStoreOptions) check() error {
	if o.Clock == nil || o.Halt == nil {
		return errors.New("transport: LogStoreOptions need Clock and Halt")
	}
	if o.Observe == nil {
		o.Observe = func(string, time.Duration) {}
	}
	setDefault(&o.StallAfter, DefaultStallAfter)
	setDefault(&o.LockTimeout, DefaultLockTimeout)
	return nil
}

// LogStore is the raft.LogStore and raft.StableStore of a node. It adds to its
// backend: fail-stop on any error and on any call that hangs, votes that are
// never torn, a cache of the newest entries, deletes in bounded steps.
//
// It is deliberately no raft.MonotonicLogStore: raft would then empty the
// store on InstallSnapshot while it keeps its own idea of the last index.
// Neither is it a raft.CommitTrackingLogStore, which bbolt cannot be.
type LogStore struct {
	stop    *failStop
	backend LogBackend
	logs    *raft.LogCache
	disk    *stoppingLogs

	mu      sync.Mutex
	voted   *vote   // what is on disk; nil: never voted
	pending *uint64 // term of a vote whose candidate has not come yet
}

var (
	_ raft.LogStore    = (*LogStore)(nil)
	_ raft.StableStore = (*LogStore)(nil)
)

// The keys of raft that together are one vote, and the key they are kept under.
const (
	keyVoteTerm = "LastVoteTerm"
	keyVoteCand = "LastVoteCand"
	keyVote     = "hadir/vote"
)

// NewLogStore wraps a backend and reads the last vote. Errors: ErrCorrupt,
// ErrForeignVote, or those of the backend; they are also given to Halt unless
// they are about the options.
func NewLogStore(backend LogBackend, opts LogStoreOptions) (*LogStore, error) {
	return newLogStore(backend, opts, deleteChunk)
}

// newLogStore lets tests delete in smaller steps.
func newLogStore(backend LogBackend, opts LogStoreOptions, step uint64) (*LogStore, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	stop := &failStop{clock: opts.Clock, limit: opts.StallAfter, onHalt: opts.Halt, observe: opts.Observe}
	disk := &stoppingLogs{stop: stop, backend: backend, step: step}
	logs, err := raft.NewLogCache(logCacheEntries, disk)
	if err != nil {
		return nil, fmt.Errorf("transport: log cache: %w", err)
	}
	s := &LogStore{stop: stop, backend: backend, logs: logs, disk: disk}
	if err := s.loadVote(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *LogStore) loadVote() error {
	raw, err := s.get([]byte(keyVote))
	switch {
	case err == nil:
		v, err := decodeVote(raw)
		if err != nil {
			return s.stop.halt(err)
		}
		s.voted = &v
		return nil
	case !isNotFound(err):
		return err
	}
	for _, key := range []string{keyVoteTerm, keyVoteCand} {
		if _, err := s.get([]byte(key)); err == nil {
			return s.stop.halt(ErrForeignVote)
		} else if !isNotFound(err) {
			return err
		}
	}
	return nil
}

// Err returns nil while the store works. Afterwards it matches ErrHalted and
// the cause, or is ErrClosed.
func (s *LogStore) Err() error { return s.stop.err() }

// Written gives how many bytes of entries were stored since this store was opened.
func (s *LogStore) Written() uint64 { return s.disk.written.Load() }

// guard makes a call whose calls to the disk run under failStop already, and
// gives its error back the type that raft.LogCache flattens to text.
func (s *LogStore) guard(call func() error) error {
	if err := s.stop.err(); err != nil {
		return err
	}
	err := call()
	if halted := s.stop.err(); err != nil && halted != nil {
		return halted
	}
	return err
}

// FirstIndex implements raft.LogStore.
func (s *LogStore) FirstIndex() (index uint64, err error) {
	err = s.guard(func() error { index, err = s.logs.FirstIndex(); return err })
	return index, err
}

// LastIndex implements raft.LogStore.
func (s *LogStore) LastIndex() (index uint64, err error) {
	err = s.guard(func() error { index, err = s.logs.LastIndex(); return err })
	return index, err
}

// GetLog implements raft.LogStore; raft.ErrLogNotFound is not a failure.
func (s *LogStore) GetLog(index uint64, log *raft.Log) error {
	return s.guard(func() error { return s.logs.GetLog(index, log) })
}

// StoreLog implements raft.LogStore.
func (s *LogStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs stores all entries in one transaction, on disk when it returns.
func (s *LogStore) StoreLogs(logs []*raft.Log) error {
	return s.guard(func() error { return s.logs.StoreLogs(logs) })
}

// DeleteRange deletes the entries from lo to hi, both included. A long range
// is deleted in several transactions; see stoppingLogs.DeleteRange for why a
// crash between them is harmless.
func (s *LogStore) DeleteRange(lo, hi uint64) error {
	return s.guard(func() error { return s.logs.DeleteRange(lo, hi) })
}

// Set implements raft.StableStore. Storing the candidate of a vote stores the
// term given before with it, in one transaction.
func (s *LogStore) Set(key, val []byte) error {
	if string(key) == keyVoteCand {
		return s.storeVote(val)
	}
	return s.stop.run("set", func() error { return s.backend.Set(key, val) })
}

// SetUint64 implements raft.StableStore. The term of a vote is held back until
// its candidate comes; until then the vote before it is the one that counts.
func (s *LogStore) SetUint64(key []byte, val uint64) error {
	if string(key) == keyVoteTerm {
		if err := s.stop.err(); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending = &val
		return nil
	}
	return s.Set(key, encodeUint64(val))
}

// Get implements raft.StableStore. A key that does not exist is an error with
// the text "not found", which raft compares.
func (s *LogStore) Get(key []byte) ([]byte, error) {
	switch string(key) {
	case keyVoteCand:
		v, err := s.lastVote()
		return bytes.Clone(v.candidate), err
	case keyVoteTerm:
		v, err := s.lastVote()
		if err != nil {
			return nil, err
		}
		return encodeUint64(v.term), nil
	default:
		return s.get(key)
	}
}

// GetUint64 implements raft.StableStore.
func (s *LogStore) GetUint64(key []byte) (uint64, error) {
	raw, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	n, err := decodeUint64(raw)
	if err != nil {
		return 0, s.stop.halt(fmt.Errorf("key %q: %w", key, err))
	}
	return n, nil
}

func (s *LogStore) get(key []byte) (val []byte, err error) {
	err = s.stop.run("get", func() error { val, err = s.backend.Get(key); return err })
	if err != nil {
		return nil, err
	}
	return val, nil
}

func (s *LogStore) lastVote() (vote, error) {
	if err := s.stop.err(); err != nil {
		return vote{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.voted == nil {
		return vote{}, raftboltdb.ErrKeyNotFound
	}
	return *s.voted, nil
}

func (s *LogStore) storeVote(candidate []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stop.err(); err != nil {
		return err
	}
	if s.pending == nil {
		return s.stop.halt(errVoteOrder)
	}
	v := vote{term: *s.pending, candidate: bytes.Clone(candidate)}
	if err := s.stop.run("vote", func() error { return s.backend.Set([]byte(keyVote), v.encode()) }); err != nil {
		return err
	}
	s.voted, s.pending = &v, nil
	return nil
}

// Close closes the backend if it can be closed. Later calls return ErrClosed.
// After a stall it leaves the backend alone, whose locks the stuck call may
// hold, and returns the error that matches ErrHalted. Close raft first.
func (s *LogStore) Close() error {
	if s.stop.closed.Swap(true) {
		return nil
	}
	if err := s.stop.err(); errors.Is(err, ErrStalled) {
		return err
	}
	if c, ok := s.backend.(interface{ Close() error }); ok {
		if err := c.Close(); err != nil {
			return fmt.Errorf("transport: close raft.db: %w", err)
		}
	}
	return nil
}
