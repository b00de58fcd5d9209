package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"hadir/attendance"
)

// Options tune how state.db is opened. The zero value is right for production.
type Options struct {
	// MmapSize is the address space reserved at the start, in bytes, so that a
	// growing file need not wait for readers to be mapped anew. 0 means 64 GiB.
	// It costs neither memory nor disk.
	MmapSize int
	// NoSync leaves writing to the operating system. Only for tests: a power cut
	// may damage the file.
	NoSync bool
	// Failpoint, where given, is called with the name of each place at which a
	// crash would be interesting. Only for tests.
	Failpoint func(name string)
}

func (o Options) failpoint(name string) {
	if o.Failpoint != nil {
		o.Failpoint(name)
	}
}

const (
	defaultMmap = 1 << (30 + 6*(strconv.IntSize/64)) // 64 GiB, or 1 GiB on 32 bits
	lockTimeout = time.Second
	pageSize    = 4096 // fixed, so that a file can move between machines
)

// State is state.db. All methods may be called concurrently; writes are
// serialised.
type State struct {
	path string
	opts Options

	mu     sync.RWMutex // guards file; held while a transaction begins, not while it runs
	file   *file        // nil once closed
	closed sync.WaitGroup
}

// file is one open database with its running transactions. It is closed when the
// last of them has ended and not before: bbolt's Close holds a lock that every
// ending transaction needs, so one slow reader would hang all others.
type file struct {
	*bbolt.DB
	users sync.WaitGroup
}

func (f *file) closeUnused() error {
	f.users.Wait()
	return f.Close()
}

// transaction is a transaction that is counted.
type transaction struct {
	*bbolt.Tx
	file *file
	once sync.Once
}

// end rolls back what was not committed. Ending twice is harmless.
func (t *transaction) end() {
	_ = t.Rollback() // fails only when it was ended before
	t.once.Do(t.file.users.Done)
}

// OpenState opens or creates the state at path and checks what can be checked
// in milliseconds at any size. Errors are ErrLocked, ErrCorrupt,
// ErrFutureSchema, or the system's.
func OpenState(path string, opts Options) (*State, error) {
	db, err := openDB(path, opts)
	if err != nil {
		return nil, err
	}
	return &State{path: path, opts: opts, file: &file{DB: db}}, nil
}

// openDB opens the file and checks it.
func openDB(path string, opts Options) (db *bbolt.DB, err error) {
	mmap := opts.MmapSize
	if mmap == 0 {
		mmap = defaultMmap
	}
	err = guard(path, func() error {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mmap, PageSize: pageSize,
			NoSync: opts.NoSync, NoGrowSync: opts.NoSync,
		})
		if err != nil {
			return openError(path, err)
		}
		return prepare(path, db)
	})
	if err != nil && db != nil {
		// The first error is the one to report; after damage Close may fail too.
		_ = guard(path, db.Close)
		db = nil
	}
	return db, err
}

func openError(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w: %s: stop the other hadir first, or choose another --data-dir", ErrLocked, path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return corrupt(path, err)
	}
	return fmt.Errorf("open %s: %w", path, err)
}

func corrupt(path string, what any) error {
	return fmt.Errorf("%w: %s: %v: move the data directory away and start again as a new node, "+
		"which fetches everything from the others", ErrCorrupt, path, what)
}

// guard turns what damaged pages do to bbolt (panics, and faults on memory
// behind the end of the file) into errors.
func guard(path string, f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = corrupt(path, p)
		}
	}()
	return f()
}

// prepare creates the buckets of a new file and checks those of an old one.
func prepare(path string, db *bbolt.DB) error {
	fresh := false
	err := db.View(func(tx *bbolt.Tx) error {
		if err := checkLength(path, tx); err != nil {
			return err
		}
		k, _ := tx.Cursor().First()
		fresh = k == nil
		if fresh {
			return nil
		}
		return check(path, tx)
	})
	if err != nil || !fresh {
		return err
	}
	return db.Update(create)
}

// checkLength refuses a file that was cut.
func checkLength(path string, tx *bbolt.Tx) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return corrupt(path, fmt.Sprintf("it is %d bytes long and should be %d", info.Size(), tx.Size()))
	}
	return nil
}

func create(tx *bbolt.Tx) error {
	for _, name := range allBuckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	w := attendance.NewWriter(nil)
	w.Uint(Schema)
	return errors.Join(
		meta.Put(rowSchema, w.Data()),
		meta.Put(rowState, newMeta().encode()),
		meta.Put(rowParams, attendance.DefaultParams().Encode()),
	)
}

// check refuses a file of a newer schema, without its buckets, or whose last
// events do not lead to its chain hash.
func check(path string, tx *bbolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return corrupt(path, "it is not a hadir state file")
	}
	r := attendance.NewReader(meta.Get(rowSchema))
	schema := r.Uint()
	if err := r.Err(); err != nil {
		return corrupt(path, err)
	}
	if schema > Schema {
		return fmt.Errorf("%w: %s has schema %d, this binary knows %d: install the newer hadir again",
			ErrFutureSchema, path, schema, Schema)
	}
	for _, name := range allBuckets {
		if tx.Bucket(name) == nil {
			return corrupt(path, fmt.Sprintf("bucket %s is missing", name))
		}
	}
	read, err := newReadTx(tx)
	if err != nil {
		return corrupt(path, err)
	}
	if err := read.checkTail(); err != nil {
		return corrupt(path, err)
	}
	return nil
}

// Path gives the file's name.
func (s *State) Path() string { return s.path }

// Options gives the options that the state was opened with.
func (s *State) Options() Options { return s.opts }

// begin opens a transaction on the current file. The lock is held only while it
// begins: Replace may then swap the file below, and the transaction goes on
// reading the old one.
func (s *State) begin(writable bool) (*transaction, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.file == nil {
		return nil, ErrClosed
	}
	tx, err := s.file.Begin(writable)
	if err != nil {
		return nil, err
	}
	s.file.users.Add(1)
	return &transaction{Tx: tx, file: s.file}, nil
}

// View runs f in a read transaction: a consistent picture that later writes do
// not touch. It must be short, because it holds back pages that could be reused.
func (s *State) View(f func(*ReadTx) error) error {
	tx, err := s.begin(false)
	if err != nil {
		return err
	}
	defer tx.end()
	read, err := newReadTx(tx.Tx)
	if err != nil {
		return corrupt(s.path, err)
	}
	return f(read)
}

// Update runs f in the write transaction and commits it, synced, if f returns
// nil. After an error nothing has changed in the state, but the file must not be
// used any more: what a failed sync left behind is unknown. The caller stops the
// process.
func (s *State) Update(f func(*Tx) error) error {
	btx, err := s.begin(true)
	if err != nil {
		return err
	}
	defer btx.end()
	read, err := newReadTx(btx.Tx)
	if err != nil {
		return corrupt(s.path, err)
	}
	tx := newTx(read)
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.flush(); err != nil {
		return err
	}
	s.opts.failpoint("commit.before")
	if err := btx.Commit(); err != nil {
		return fmt.Errorf("commit %s: %w", s.path, err)
	}
	s.opts.failpoint("commit.after")
	return nil
}

// Replace swaps in the file at path, which must have come from Receive and lie
// in the same directory. Everything that can fail is done before the rename;
// an error before it leaves the old state in use, one after it (the directory
// could not be synced) leaves the new one, and says so. Transactions that run
// meanwhile finish on the old file.
func (s *State) Replace(path string) error {
	db, err := openDB(path, s.opts)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return errors.Join(ErrClosed, db.Close())
	}
	s.opts.failpoint("replace.before")
	if err := os.Rename(path, s.path); err != nil {
		return errors.Join(fmt.Errorf("swap in the new state: %w", err), db.Close())
	}
	s.opts.failpoint("replace.after")
	old := s.file
	s.file = &file{DB: db}
	// The readers of the old file may take as long as a snapshot takes to stream.
	s.closed.Go(func() {
		_ = old.closeUnused() // the file is gone by name: an error can concern nobody
	})
	if err := syncDir(filepath.Dir(s.path)); err != nil {
		return fmt.Errorf("the new state is in use, but may be lost by a power cut: %w", err)
	}
	return nil
}

// Check reads the whole file and reports the first inconsistency of its trees.
// It takes minutes at tens of millions of records.
func (s *State) Check() error {
	return guard(s.path, func() error {
		tx, err := s.begin(false)
		if err != nil {
			return err
		}
		defer tx.end()
		var first error
		for err := range tx.Check() {
			if first == nil {
				first = err
			}
		}
		if first != nil {
			return corrupt(s.path, first)
		}
		return nil
	})
}

// Stats gives counters of the database underneath.
func (s *State) Stats() bbolt.Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.file == nil {
		return bbolt.Stats{}
	}
	return s.file.Stats()
}

// Close waits for running transactions and closes the file. It may be called
// more than once.
func (s *State) Close() error {
	s.mu.Lock()
	f := s.file
	s.file = nil
	s.mu.Unlock()
	var err error
	if f != nil {
		err = f.closeUnused()
	}
	s.closed.Wait()
	return err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Exists reports whether there is a state file at path.
func Exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
