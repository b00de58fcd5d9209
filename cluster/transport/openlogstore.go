package transport

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// ErrLocked means that another process has the file open: two nodes on one
// data directory.
var ErrLocked = errors.New("transport: raft.db is in use by another process")

// OpenLogStore opens or creates the bbolt file at path (mode 0600, every write
// fsynced) and wraps it. It waits up to LockTimeout for the file lock, then
// scans the file once for free pages: minutes for gigabytes on a cold disk,
// which is the price of not writing the free list with every commit. The scan
// is not under the watchdog. Errors: ErrLocked, ErrCorrupt for a damaged file,
// those of NewLogStore and of the operating system.
func OpenLogStore(path string, opts LogStoreOptions) (*LogStore, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	start := opts.Clock.Now()
	bolt, err := openBolt(path, opts.LockTimeout)
	if err != nil {
		return nil, err
	}
	opts.Observe("open", opts.Clock.Now().Sub(start))
	s, err := NewLogStore(bolt, opts)
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return s, nil
}

func openBolt(path string, lockTimeout time.Duration) (store *raftboltdb.BoltStore, err error) {
	defer func() {
		// bbolt panics while it scans a file whose pages make no sense. One
		// line about the file says more than a stack trace.
		if p := recover(); p != nil {
			store, err = nil, fmt.Errorf("%w: %s: %v", ErrCorrupt, path, p)
		}
	}()
	store, err = raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        lockTimeout,
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
		MsgpackUseNewTimeFormat: true,
	})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", ErrLocked, path)
	case errors.Is(err, bbolterrors.ErrInvalid), errors.Is(err, bbolterrors.ErrChecksum), errors.Is(err, bbolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	case err != nil:
		return nil, fmt.Errorf("transport: open raft.db: %w", err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

// syncDir makes the directory entry of a new file durable. bbolt syncs the
// file only, and a voter whose whole log vanishes in a power cut is a wiped
// voter.
func syncDir(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("transport: sync directory of raft.db: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("transport: sync directory of raft.db: %w", err)
	}
	return nil
}
