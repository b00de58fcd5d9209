package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrCorrupt means that a value in raft.db is not one that was written there.
var ErrCorrupt = errors.New("transport: corrupt value in raft.db")

const (
	voteVersion = 1
	voteHeader  = 1 + 8
	voteTrailer = 4
)

// vote is the last vote of this node. Both fields are written together: raft
// itself writes the term first and the candidate in a second transaction, and
// a crash between them leaves a vote in the new term for the old candidate,
// which raft would then confirm as a "duplicate" without looking at the log of
// that candidate.
type vote struct {
	term      uint64
	candidate []byte
}

// encode: version u8 | term u64 big endian | candidate | crc32c of all before.
// raft-boltdb has no checksum on values and this one decides elections.
func (v vote) encode() []byte {
	b := make([]byte, 0, voteHeader+len(v.candidate)+voteTrailer)
	b = append(b, voteVersion)
	b = binary.BigEndian.AppendUint64(b, v.term)
	b = append(b, v.candidate...)
	return binary.BigEndian.AppendUint32(b, voteSum(b))
}

func decodeVote(b []byte) (vote, error) {
	if len(b) < voteHeader+voteTrailer {
		return vote{}, fmt.Errorf("%w: vote of %d bytes", ErrCorrupt, len(b))
	}
	body, sum := b[:len(b)-voteTrailer], binary.BigEndian.Uint32(b[len(b)-voteTrailer:])
	if voteSum(body) != sum {
		return vote{}, fmt.Errorf("%w: checksum of the vote", ErrCorrupt)
	}
	if body[0] != voteVersion {
		return vote{}, fmt.Errorf("%w: vote version %d", ErrCorrupt, body[0])
	}
	return vote{
		term:      binary.BigEndian.Uint64(body[1:voteHeader]),
		candidate: bytes.Clone(body[voteHeader:]),
	}, nil
}

func voteSum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func encodeUint64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// decodeUint64 exists because the one of raft-boltdb panics on short values.
func decodeUint64(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: number of %d bytes", ErrCorrupt, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
