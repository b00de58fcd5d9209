package transport

import (
	"errors"
	"fmt"
)

// Code is the reason of a refusal on the wire. Values are append-only.
type Code uint8

// The codes, in the order in which an accepting node checks.
const (
	CodeOK              Code = 0
	CodeBadPreamble     Code = 1
	CodeVersion         Code = 2
	CodePeerIdentity    Code = 3
	CodeNotAddressee    Code = 4
	CodeNotAdmitted     Code = 5
	CodeWrongCluster    Code = 6
	CodeWrongEpoch      Code = 7
	CodeStaleGeneration Code = 8
)

var (
	// ErrRefused matches every refusal by a preamble, whatever the code.
	ErrRefused = errors.New("transport: connection refused by preamble")
	// ErrWrongKey means that the two nodes do not share a cluster key.
	ErrWrongKey = errors.New("transport: the nodes do not share a cluster key, use the same key file on every node")
	// ErrBadPreamble means bytes that are not a preamble.
	ErrBadPreamble = errors.New("transport: malformed preamble")
	// ErrVersion means a preamble version that this node does not speak.
	ErrVersion = errors.New("transport: unknown preamble version")
	// ErrPeerIdentity means that a certificate and a preamble name different
	// servers, or that a certificate names none.
	ErrPeerIdentity = errors.New("transport: certificate and preamble do not agree on the server id")
	// ErrNotAddressee means that another server id lives at the dialled
	// address: usually a node whose disk was replaced.
	ErrNotAddressee = errors.New("transport: another server id lives at this address")
	// ErrNotAdmitted means that one side is not (or not yet) a member, so no
	// Raft connection is possible.
	ErrNotAdmitted = errors.New("transport: not admitted to the cluster")
	// ErrWrongCluster means that the nodes belong to different clusters.
	ErrWrongCluster = errors.New("transport: wrong cluster id")
	// ErrWrongEpoch means that the nodes belong to different epochs of one
	// cluster: one of them was recovered without the other.
	ErrWrongEpoch = errors.New("transport: wrong cluster epoch")
	// ErrStaleGeneration means that a newer start of the same server id has
	// been seen: an old copy of a data directory, or two processes on one.
	// Admit hooks return it to refuse with CodeStaleGeneration.
	ErrStaleGeneration = errors.New("transport: stale generation")
	// ErrHandshakeTimeout means that TLS and preamble took too long.
	ErrHandshakeTimeout = errors.New("transport: handshake timeout")
	// ErrClosed means that the listener, stream or store was closed.
	ErrClosed = errors.New("transport: closed")
)

// err returns the sentinel of a code. A switch and not a map, so that nothing
// can change it.
func (c Code) err() error {
	switch c {
	case CodeBadPreamble:
		return ErrBadPreamble
	case CodeVersion:
		return ErrVersion
	case CodePeerIdentity:
		return ErrPeerIdentity
	case CodeNotAddressee:
		return ErrNotAddressee
	case CodeNotAdmitted:
		return ErrNotAdmitted
	case CodeWrongCluster:
		return ErrWrongCluster
	case CodeWrongEpoch:
		return ErrWrongEpoch
	case CodeStaleGeneration:
		return ErrStaleGeneration
	default:
		return nil
	}
}

// RefusedError is the error of a connection that a preamble ended. It matches
// ErrRefused and the sentinel of its code under errors.Is.
type RefusedError struct {
	// Code is the reason.
	Code Code
	// Remote tells that the other side refused us; otherwise we refused it.
	Remote bool
	// Peer is what is known of the other side. With ErrNotAddressee its ID is
	// the server id that really lives at the address.
	Peer Peer
}

// Error is one line and holds no secret.
func (e *RefusedError) Error() string {
	reason := fmt.Sprintf("transport: refusal code %d", e.Code)
	if err := e.Code.err(); err != nil {
		reason = err.Error()
	}
	who := "refused peer"
	if e.Remote {
		who = "refused by peer"
	}
	return fmt.Sprintf("%s (%s id=%q addr=%q cluster=%q epoch=%d generation=%d)",
		reason, who, e.Peer.ID, e.Peer.Addr, e.Peer.ClusterID, e.Peer.Epoch, e.Peer.Generation)
}

// Unwrap makes errors.Is find the sentinels.
func (e *RefusedError) Unwrap() []error {
	if err := e.Code.err(); err != nil {
		return []error{ErrRefused, err}
	}
	return []error{ErrRefused}
}
