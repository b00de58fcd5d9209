package store

import (
	"encoding/hex"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"hadir/attendance"
)

// LookState runs f on the state.db at path without changing a byte of it. It is
// for files of a node that does not run: ErrLocked where it does. Other errors
// are those of OpenState, of f, or the system's.
func LookState(path string, f func(*ReadTx) error) error {
	return look(path, func(tx *bbolt.Tx) error {
		if k, _ := tx.Cursor().First(); k == nil {
			return corrupt(path, "it is empty")
		}
		if err := check(path, tx); err != nil {
			return err
		}
		read, err := newReadTx(tx)
		if err != nil {
			return corrupt(path, err)
		}
		return f(read)
	})
}

// NodeInfo is what node.db says about its node.
type NodeInfo struct {
	Schema      uint64
	Incarnation string
	Generation  uint64 // openings so far
	Cluster     attendance.ClusterID
	Epoch       uint64 // of the membership
	Member      bool   // it has had a log and may have voted
	Cursors     map[string]uint64
	Seen        map[string]uint64 // highest generation seen of others, by server id
}

// LookNode reads the node.db at path without changing a byte of it: the
// generation is not raised. Errors are as with LookState.
func LookNode(path string) (info NodeInfo, err error) {
	err = look(path, func(tx *bbolt.Tx) error {
		identity, cursors, seen := tx.Bucket(bucketIdentity), tx.Bucket(bucketCursors), tx.Bucket(bucketSeen)
		if identity == nil || cursors == nil || seen == nil {
			return corrupt(path, "it is not a hadir node file")
		}
		info = NodeInfo{
			Schema: uvarint(identity.Get(rowSchema)), Incarnation: hex.EncodeToString(identity.Get(rowIncarnation)),
			Generation: uvarint(identity.Get(rowGeneration)), Epoch: nodeEpoch(identity),
			Member: len(identity.Get(rowMember)) > 0, Cursors: map[string]uint64{}, Seen: map[string]uint64{},
		}
		if info.Schema > NodeSchema {
			return fmt.Errorf("%w: %s has schema %d, this binary knows %d: use the newer hadir", ErrFutureSchema, path, info.Schema, NodeSchema)
		}
		if id := identity.Get(rowCluster); len(id) == len(info.Cluster) {
			info.Cluster = attendance.ClusterID(id)
		}
		fill := func(to map[string]uint64) func(k, v []byte) error {
			return func(k, v []byte) error { to[string(k)] = uvarint(v); return nil }
		}
		return errors.Join(cursors.ForEach(fill(info.Cursors)), seen.ForEach(fill(info.Seen)))
	})
	return info, err
}

// look runs f in a read transaction of a file that is opened for reading only.
func look(path string, f func(*bbolt.Tx) error) error {
	var db *bbolt.DB
	err := guard(path, func() error {
		var err error
		db, err = bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout, PageSize: pageSize})
		if err != nil {
			return openError(path, err)
		}
		return db.View(func(tx *bbolt.Tx) error {
			if err := checkLength(path, tx); err != nil {
				return err
			}
			return f(tx)
		})
	})
	if db != nil {
		err = errors.Join(err, guard(path, db.Close))
	}
	return err
}

// LockNode keeps every other process from opening the node.db at path until
// release is called. ErrLocked when one has it open.
func LockNode(path string) (release func() error, err error) {
	// A shared lock: it is compatible with those who only look.
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout, PageSize: pageSize})
	if err != nil {
		return nil, openError(path, err)
	}
	return db.Close, nil
}
