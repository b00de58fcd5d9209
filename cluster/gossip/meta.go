package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"
)

var (
	// ErrMetaTooLarge means a Meta of more than 512 bytes when encoded, or a
	// field of more than 255.
	ErrMetaTooLarge = errors.New("gossip: the description of the node is too large")
	// ErrBadMeta means a Meta that cannot be sent, or bytes that are not one.
	ErrBadMeta = errors.New("gossip: bad description of a node")
)

// Meta is what a node says about itself. All of it is a claim by a holder of
// the cluster key.
type Meta struct {
	// ID is the raft server id and the gossip name. It never changes while a
	// Gossip lives. Required.
	ID string
	// Name is the name a person gave the node.
	Name string
	// Incarnation is the random number of the data directory.
	Incarnation uint64
	// Generation counts the starts on that data directory.
	Generation uint64
	// HTTPURL is where browsers reach the node.
	HTTPURL string
	// PeerAddr is the host:port of package transport.
	PeerAddr string
	// Version is the version of the program.
	Version string
	// CommandLevel is the highest command level that the node can apply.
	CommandLevel uint32
	// ClusterID is empty before bootstrap or join.
	ClusterID string
	// BootstrapHash is the hash of the set of server ids that the node would
	// bootstrap with; all zero when it would not.
	BootstrapHash [32]byte
	// NonVoter tells that the node does not want to become a voter.
	NonVoter bool
}

// Layout, version 1, numbers big endian, strings with one length byte:
//
//	version u8 | flags u8 | command level u32 | incarnation u64 |
//	generation u64 | id | name | cluster id | http url | peer address |
//	program version | bootstrap hash, 32 bytes, if flagHash
//
// A later version may append fields and define flags but must keep this
// prefix: an old node must be able to read the cluster id of a newer one in a
// rolling upgrade, so trailing bytes and unknown flags of later versions are
// skipped. In version 1 they are errors.
const (
	metaVersion = 1

	flagNonVoter = 1 << 0
	flagHash     = 1 << 1
	knownFlags   = flagNonVoter | flagHash

	maxMetaString = 255
)

func (m *Meta) strings() []*string {
	return []*string{&m.ID, &m.Name, &m.ClusterID, &m.HTTPURL, &m.PeerAddr, &m.Version}
}

func (m Meta) encode() ([]byte, error) {
	var flags byte
	if m.NonVoter {
		flags |= flagNonVoter
	}
	if m.BootstrapHash != [32]byte{} {
		flags |= flagHash
	}
	b := make([]byte, 0, memberlist.MetaMaxSize)
	b = append(b, metaVersion, flags)
	b = binary.BigEndian.AppendUint32(b, m.CommandLevel)
	b = binary.BigEndian.AppendUint64(b, m.Incarnation)
	b = binary.BigEndian.AppendUint64(b, m.Generation)
	for _, s := range m.strings() {
		if len(*s) > maxMetaString {
			return nil, fmt.Errorf("%w: a field of %d bytes, at most %d", ErrMetaTooLarge, len(*s), maxMetaString)
		}
		b = append(b, byte(len(*s)))
		b = append(b, *s...)
	}
	if flags&flagHash != 0 {
		b = append(b, m.BootstrapHash[:]...)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMetaTooLarge, len(b), memberlist.MetaMaxSize)
	}
	return b, nil
}

// check keeps text out of the wire that would mislead in a log or a terminal.
func (m *Meta) check() error {
	if m.ID == "" {
		return fmt.Errorf("%w: no server id", ErrBadMeta)
	}
	for _, s := range m.strings() {
		if !utf8.ValidString(*s) {
			return fmt.Errorf("%w: text is not UTF-8", ErrBadMeta)
		}
		for _, r := range *s {
			if !unicode.IsPrint(r) {
				return fmt.Errorf("%w: unprintable character", ErrBadMeta)
			}
		}
	}
	return nil
}

// decodeMeta is strict: what it accepts in version 1 encodes to the same bytes.
func decodeMeta(b []byte) (Meta, error) {
	const fixed = 2 + 4 + 8 + 8
	if len(b) < fixed || len(b) > memberlist.MetaMaxSize {
		return Meta{}, fmt.Errorf("%w: %d bytes", ErrBadMeta, len(b))
	}
	version, flags := b[0], b[1]
	if version < metaVersion {
		return Meta{}, fmt.Errorf("%w: version %d", ErrBadMeta, version)
	}
	m := Meta{
		NonVoter:     flags&flagNonVoter != 0,
		CommandLevel: binary.BigEndian.Uint32(b[2:]),
		Incarnation:  binary.BigEndian.Uint64(b[6:]),
		Generation:   binary.BigEndian.Uint64(b[14:]),
	}
	rest := b[fixed:]
	for _, s := range m.strings() {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return Meta{}, fmt.Errorf("%w: truncated", ErrBadMeta)
		}
		n := 1 + int(rest[0])
		*s, rest = string(rest[1:n]), rest[n:]
	}
	if flags&flagHash != 0 {
		if len(rest) < len(m.BootstrapHash) {
			return Meta{}, fmt.Errorf("%w: truncated", ErrBadMeta)
		}
		rest = rest[copy(m.BootstrapHash[:], rest):]
	}
	if version == metaVersion {
		switch {
		case len(rest) != 0:
			return Meta{}, fmt.Errorf("%w: %d bytes too many", ErrBadMeta, len(rest))
		case flags&^knownFlags != 0:
			return Meta{}, fmt.Errorf("%w: flags %#x", ErrBadMeta, flags)
		case flags&flagHash != 0 && m.BootstrapHash == [32]byte{}:
			return Meta{}, fmt.Errorf("%w: empty bootstrap hash", ErrBadMeta)
		}
	}
	return m, m.check()
}
