package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/bbolt"

	"hadir/attendance"
)

// Node is node.db: what belongs to this node alone. It is never replicated and
// never in a backup. All methods may be called concurrently.
type Node struct {
	path        string
	db          *bbolt.DB
	incarnation string
	generation  uint64
}

// NodeSchema is the layout of node.db that this binary reads and writes.
const NodeSchema = 1

var (
	bucketIdentity = []byte("identity")
	bucketCursors  = []byte("cursors")
	bucketSeen     = []byte("seen")

	rowIncarnation = []byte("incarnation")
	rowGeneration  = []byte("generation")
	rowCluster     = []byte("cluster")
	rowFounding    = []byte("founding")
	rowMember      = []byte("member")
	rowEpoch       = []byte("epoch")
)

const incarnationBytes = 8

// OpenNode opens or creates the node's own file. A new file draws the
// incarnation, which tells this disk from any other that ever had the same node
// name; each opening raises the generation, synced, so that an old copy of the
// file and a second process on it can be told apart. Errors are as with
// OpenState.
func OpenNode(path string, rand io.Reader) (*Node, error) {
	n := &Node{path: path}
	err := guard(path, func() error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, PageSize: pageSize,
		})
		if err != nil {
			return openError(path, err)
		}
		n.db = db
		return db.Update(func(tx *bbolt.Tx) error { return n.start(tx, rand) })
	})
	if err != nil && n.db != nil {
		_ = guard(path, n.db.Close) // the first error is the one to report
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (n *Node) start(tx *bbolt.Tx, rand io.Reader) error {
	identity := tx.Bucket(bucketIdentity)
	if identity == nil {
		if k, _ := tx.Cursor().First(); k != nil {
			return corrupt(n.path, "it is not a hadir node file")
		}
		var err error
		if identity, err = n.create(tx, rand); err != nil {
			return err
		}
	}
	if schema := uvarint(identity.Get(rowSchema)); schema > NodeSchema {
		return fmt.Errorf("%w: %s has schema %d, this binary knows %d: install the newer hadir again",
			ErrFutureSchema, n.path, schema, NodeSchema)
	} else if schema == 0 || tx.Bucket(bucketCursors) == nil || tx.Bucket(bucketSeen) == nil {
		return corrupt(n.path, "its schema is missing")
	}
	raw := identity.Get(rowIncarnation)
	if len(raw) != incarnationBytes {
		return corrupt(n.path, "its incarnation is missing")
	}
	n.incarnation = hex.EncodeToString(raw)
	n.generation = uvarint(identity.Get(rowGeneration)) + 1
	return identity.Put(rowGeneration, binary.AppendUvarint(nil, n.generation))
}

func (n *Node) create(tx *bbolt.Tx, rand io.Reader) (*bbolt.Bucket, error) {
	identity, err := tx.CreateBucket(bucketIdentity)
	if err != nil {
		return nil, err
	}
	for _, name := range [][]byte{bucketCursors, bucketSeen} {
		if _, err := tx.CreateBucket(name); err != nil {
			return nil, err
		}
	}
	incarnation := make([]byte, incarnationBytes)
	if _, err := io.ReadFull(rand, incarnation); err != nil {
		return nil, fmt.Errorf("draw the incarnation: %w", err)
	}
	return identity, errors.Join(
		identity.Put(rowSchema, binary.AppendUvarint(nil, NodeSchema)),
		identity.Put(rowIncarnation, incarnation),
	)
}

func uvarint(b []byte) uint64 {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0
	}
	return v
}

// Incarnation names this disk: 16 hexadecimal digits, drawn once.
func (n *Node) Incarnation() string { return n.incarnation }

// Generation counts the openings of this file, from 1.
func (n *Node) Generation() uint64 { return n.generation }

// Cursor gives how far a named consumer on this node has come, such as an
// export; 0 at first.
func (n *Node) Cursor(name string) (uint64, error) {
	var v uint64
	err := n.db.View(func(tx *bbolt.Tx) error {
		v = uvarint(tx.Bucket(bucketCursors).Get([]byte(name)))
		return nil
	})
	return v, err
}

// SetCursor stores how far a named consumer has come, synced.
func (n *Node) SetCursor(name string, v uint64) error {
	if name == "" || len(name) > attendance.MaxTarget {
		return fmt.Errorf("cursor name needs 1 … %d bytes", attendance.MaxTarget)
	}
	return n.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketCursors).Put([]byte(name), binary.AppendUvarint(nil, v))
	})
}

// Cluster gives the cluster that this node is a member of; zero when none.
func (n *Node) Cluster() (id attendance.ClusterID, err error) {
	err = n.db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bucketIdentity).Get(rowCluster); len(b) == len(id) {
			id = attendance.ClusterID(b)
		}
		return nil
	})
	return id, err
}

// SetCluster notes, synced, which cluster this node is a member of.
func (n *Node) SetCluster(id attendance.ClusterID) error {
	return n.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketIdentity).Put(rowCluster, id[:]) })
}

// Epoch gives under which epoch of its cluster this node was admitted; 1 when
// nothing else was noted. It is raised by a recovery and tells the members of
// before from those of after. The state's own epoch is that of its history, and a
// restore raises it while the members stay.
func (n *Node) Epoch() (epoch uint64, err error) {
	err = n.db.View(func(tx *bbolt.Tx) error {
		epoch = nodeEpoch(tx.Bucket(bucketIdentity))
		return nil
	})
	return epoch, err
}

func nodeEpoch(identity *bbolt.Bucket) uint64 { return max(1, uvarint(identity.Get(rowEpoch))) }

// SetEpoch notes, synced, under which epoch this node is a member.
func (n *Node) SetEpoch(epoch uint64) error {
	return n.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketIdentity).Put(rowEpoch, binary.AppendUvarint(nil, epoch))
	})
}

// Founding gives the founders that this node has last told the others it would
// found a cluster with, in the form of SetFounding; nil when none.
func (n *Node) Founding() (set []byte, err error) {
	err = n.db.View(func(tx *bbolt.Tx) error {
		set = bytes.Clone(tx.Bucket(bucketIdentity).Get(rowFounding))
		return nil
	})
	return set, err
}

// SetFounding notes, synced, the founders that this node is about to agree to.
// The bytes are the owner's.
func (n *Node) SetFounding(set []byte) error {
	return n.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketIdentity).Put(rowFounding, set) })
}

// Member reports whether this node has had a log and may have voted. It stays
// true for good: such a node without its log has forgotten votes.
func (n *Node) Member() (member bool, err error) {
	err = n.db.View(func(tx *bbolt.Tx) error {
		member = len(tx.Bucket(bucketIdentity).Get(rowMember)) > 0
		return nil
	})
	return member, err
}

// SetMember notes, synced, that this node has a log and may vote from now on.
func (n *Node) SetMember() error {
	return n.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketIdentity).Put(rowMember, []byte{1}) })
}

// Seen gives the highest generation seen of each other server, by server id.
func (n *Node) Seen() (map[string]uint64, error) {
	seen := make(map[string]uint64)
	err := n.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketSeen).ForEach(func(k, v []byte) error {
			seen[string(k)] = uvarint(v)
			return nil
		})
	})
	return seen, err
}

// SetSeen notes, synced, a generation seen of another server, unless a higher one
// is noted already.
func (n *Node) SetSeen(server string, generation uint64) error {
	return n.db.Update(func(tx *bbolt.Tx) error {
		seen := tx.Bucket(bucketSeen)
		if uvarint(seen.Get([]byte(server))) >= generation {
			return nil
		}
		return seen.Put([]byte(server), binary.AppendUvarint(nil, generation))
	})
}

// Close closes the file.
func (n *Node) Close() error { return n.db.Close() }
