package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"go.etcd.io/bbolt"

	"hadir/attendance"
)

// StateHash covers every row of the replicated state in order, so that two nodes
// at the same applied index can be compared, whatever their files look like. The
// raft configuration is left out: it is kept for people, and a restored backup
// brings an old one. It reads everything: seconds for each million of records.
func (r *ReadTx) StateHash() (attendance.Hash, error) {
	h := sha256.New()
	for _, name := range allBuckets {
		writeRow(h, name, nil)
		err := r.tx.Bucket(name).ForEach(func(k, v []byte) error {
			if bytes.Equal(name, bucketMeta) && bytes.Equal(k, rowConfiguration) {
				return nil
			}
			writeRow(h, k, v)
			return nil
		})
		if err != nil {
			return attendance.Hash{}, err
		}
	}
	return attendance.Hash(h.Sum(nil)), nil
}

func writeRow(h hash.Hash, k, v []byte) {
	var n [8]byte
	binary.BigEndian.PutUint32(n[:4], uint32(len(k)))
	binary.BigEndian.PutUint32(n[4:], uint32(len(v)))
	h.Write(n[:])
	h.Write(k)
	h.Write(v)
}

// Sizes gives the rows of each bucket, for people who look at a node. It walks
// the trees.
func (r *ReadTx) Sizes() map[string]bbolt.BucketStats {
	out := make(map[string]bbolt.BucketStats, len(allBuckets))
	for _, name := range allBuckets {
		out[string(name)] = r.tx.Bucket(name).Stats()
	}
	return out
}
