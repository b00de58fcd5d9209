package transport

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// Defaults of RaftConfig.
const (
	DefaultRaftTimeout = 2 * time.Second
	DefaultRaftPool    = 3
)

// RaftConfig configures a RaftTransport. The zero value is usable.
type RaftConfig struct {
	// Addresses overrides the address in the raft configuration, so that a
	// server can move without a configuration change. An error means "use the
	// configuration". Optional. It is called concurrently and must not block.
	Addresses raft.ServerAddressProvider
	// Timeout bounds one RPC; an InstallSnapshot gets that much per 256 KiB.
	// Optional: DefaultRaftTimeout.
	Timeout time.Duration
	// MaxPool is the number of idle connections kept per server. Optional:
	// DefaultRaftPool.
	MaxPool int
	// Logger gets the lines of raft's network code. Optional: the Listener's.
	Logger *slog.Logger
}

// RaftTransport is the raft.Transport of a node. It embeds the library's
// struct, not its interface: a wrapper around the interface would lose
// WithPreVote, and raft would turn pre-vote off with no more than a warning.
type RaftTransport struct {
	*raft.NetworkTransport
	addresses raft.ServerAddressProvider
	pool      int
	installs  installs
}

var (
	_ raft.Transport   = (*RaftTransport)(nil)
	_ raft.WithPreVote = (*RaftTransport)(nil)
	_ raft.WithClose   = (*RaftTransport)(nil)
)

// NewRaftTransport opens the raft half of the listener. From here on inbound
// raft connections are accepted as soon as Identity says admitted. A listener
// has one at a time; after Close another one can be opened.
func NewRaftTransport(l *Listener, cfg RaftConfig) (*RaftTransport, error) {
	setDefault(&cfg.Timeout, DefaultRaftTimeout)
	setDefault(&cfg.MaxPool, DefaultRaftPool)
	if cfg.Logger == nil {
		cfg.Logger = l.cfg.Logger
	}
	stream, err := l.openStream()
	if err != nil {
		return nil, err
	}
	return &RaftTransport{
		addresses: cfg.Addresses,
		pool:      cfg.MaxPool,
		installs:  installs{logger: cfg.Logger, byID: make(map[raft.ServerID]install)},
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:  stream,
			Logger:  NewHCLog(cfg.Logger, "raft-net"),
			MaxPool: cfg.MaxPool,
			// 1 turns pipelining off: it can wedge a follower for good while
			// heartbeats look healthy (hashicorp/raft#612, #611).
			MaxRPCsInFlight:         1,
			Timeout:                 cfg.Timeout,
			MsgpackUseNewTimeFormat: true,
		}),
	}, nil
}

// SetHeartbeatHandler does nothing, on purpose. The handler is raft's fast
// path that runs heartbeats on the transport's goroutine. A heartbeat with a
// newer term then changes term and state while the main loop is in the middle
// of dispatchLogs or requestVote, which breaks Log Matching and Election
// Safety (hashicorp/raft#695, open in v1.8.0). Without a handler heartbeats
// queue like all other RPCs and only the main loop touches the state; measured
// failover times are the same.
func (t *RaftTransport) SetHeartbeatHandler(func(raft.RPC)) {}

// EncodePeer returns the plain host:port: it is sent to other nodes, which
// must never see the joined form of route.
func (t *RaftTransport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(addr)
}

// AppendEntries sends an RPC to the server id and nobody else.
func (t *RaftTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := t.NetworkTransport.AppendEntries(id, t.route(id, target), args, resp)
	if err == nil && resp.Success && (args.PrevLogEntry > 0 || len(args.Entries) > 0) { // a heartbeat has neither
		t.installs.progress(id)
	}
	return err
}

// AppendEntriesPipeline returns raft.ErrPipelineReplicationNotSupported.
func (t *RaftTransport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	return t.NetworkTransport.AppendEntriesPipeline(id, t.route(id, target))
}

// InstallSnapshot sends an RPC to the server id and nobody else.
func (t *RaftTransport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	err := t.NetworkTransport.InstallSnapshot(id, t.route(id, target), args, resp, data)
	var dial *dialError
	if !errors.As(err, &dial) { // else it has not even begun
		t.installs.count(id, args.LastLogIndex)
	}
	return err
}

// Stuck reports whether this node, as the leader, has sent a server the same
// snapshot three times without any progress after it (hashicorp/raft#697).
func (t *RaftTransport) Stuck(id raft.ServerID) bool { return t.installs.stuck(id) }

// TimeoutNow sends an RPC to the server id and nobody else.
func (t *RaftTransport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.NetworkTransport.TimeoutNow(id, t.route(id, target), args, resp)
}

// RequestVote sends an RPC to the server id and nobody else.
func (t *RaftTransport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.retryDead(func() error {
		return t.NetworkTransport.RequestVote(id, t.route(id, target), args, resp)
	})
}

// RequestPreVote sends an RPC to the server id and nobody else.
func (t *RaftTransport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.retryDead(func() error {
		return t.NetworkTransport.RequestPreVote(id, t.route(id, target), args, resp)
	})
}

func (t *RaftTransport) route(id raft.ServerID, target raft.ServerAddress) raft.ServerAddress {
	if t.addresses != nil {
		if addr, err := t.addresses.ServerAddr(id); err == nil {
			target = addr
		}
	}
	return route(id, target)
}

// retryDead repeats a vote that failed because a pooled connection was dead.
// Followers talk to each other only in elections, so after a rolling restart
// their pools hold connections to processes that are gone, and the first
// election after it would lose a whole election timeout on each. Votes are
// idempotent: the same candidate gets the same answer within a term.
func (t *RaftTransport) retryDead(call func() error) error {
	err := call()
	for range t.pool {
		if !deadConn(err) {
			break
		}
		err = call()
	}
	return err
}

func deadConn(err error) bool {
	var dial *dialError
	if err == nil || errors.As(err, &dial) {
		return false
	}
	for _, dead := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, dead) {
			return true
		}
	}
	return false
}
