package transport

import "net/url"

// Protocol is one of the two protocols on the port.
type Protocol uint8

// The protocols. Values are on no wire; ALPN names are.
const (
	ProtocolRaft Protocol = iota + 1
	ProtocolRPC
)

func (p Protocol) alpn() string {
	if p == ProtocolRaft {
		return alpnRaft
	}
	return alpnRPC
}

// String returns "raft" or "rpc".
func (p Protocol) String() string {
	if p == ProtocolRaft {
		return "raft"
	}
	return "rpc"
}

func protocolOf(alpn string) (Protocol, bool) {
	switch alpn {
	case alpnRaft:
		return ProtocolRaft, true
	case alpnRPC:
		return ProtocolRPC, true
	default:
		return 0, false
	}
}

// Cluster is what a node knows about its membership at one moment.
type Cluster struct {
	// ID is the cluster id, empty before bootstrap or join.
	ID string
	// Epoch counts recoveries of the cluster by hand.
	Epoch uint64
	// Admitted tells that this node may take part in Raft. It means nothing
	// while ID is empty.
	Admitted bool
}

func (c Cluster) raftOpen() bool { return c.ID != "" && c.Admitted }

// Identity tells what the node is at this moment. It is asked once per
// connection, concurrently, and must not block.
type Identity interface {
	Cluster() Cluster
}

// Self is what never changes while the process lives.
type Self struct {
	// ID is the raft server id: name and incarnation. See CheckServerID.
	ID string
	// Incarnation is the random number of this data directory.
	Incarnation uint64
	// Generation counts the starts on this data directory.
	Generation uint64
}

// Peer is the other end of a connection. ID is proven by a certificate; the
// rest is what a holder of the cluster key claims.
type Peer struct {
	// ID is the raft server id.
	ID string
	// ClusterID is empty for a node that has not joined a cluster yet: serve
	// such a peer nothing but discovery and join.
	ClusterID string
	// Epoch is the cluster epoch.
	Epoch uint64
	// Incarnation is the random number of the peer's data directory.
	Incarnation uint64
	// Generation counts the starts on the peer's data directory.
	Generation uint64
	// Run is random per process. Two connections with the same generation and
	// different runs come from two copies of one data directory.
	Run uint64
	// Addr is the network address of the other end of the connection.
	Addr string
	// Protocol is what the connection is for.
	Protocol Protocol
	// Outbound tells that this node dialled.
	Outbound bool
}

// Target is a node to dial.
type Target struct {
	// ID is the server id that must answer; empty when it is not known yet,
	// which is allowed for ProtocolRPC only.
	ID string
	// Addr is host:port.
	Addr string
}

// URL returns the URL of a path on the target for Listener.RPCTransport. The
// scheme is http because TLS lies below what net/http sees.
func (t Target) URL(path string) string {
	return (&url.URL{Scheme: "http", Host: t.Addr, Path: path}).String()
}
