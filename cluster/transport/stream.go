package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// errRaftTaken means a second NewRaftTransport while the first one is open.
var errRaftTaken = errors.New("transport: the listener has a raft transport already")

// streamLayer is the raft half of a Listener.
type streamLayer struct {
	l *Listener
	*queue

	life context.Context // ends with Close: dials end then, too
	end  context.CancelFunc
}

var _ raft.StreamLayer = (*streamLayer)(nil)

func (l *Listener) openStream() (*streamLayer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life.Err() != nil {
		return nil, ErrClosed
	}
	if l.stream != nil {
		return nil, errRaftTaken
	}
	l.stream = &streamLayer{l: l, queue: newQueue(l.Addr())}
	l.stream.life, l.stream.end = context.WithCancel(l.life)
	return l.stream, nil
}

func (l *Listener) streamOpen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stream != nil
}

// Accept returns the next inbound raft connection.
func (s *streamLayer) Accept() (net.Conn, error) {
	c, err := s.queue.Accept()
	if err != nil {
		return nil, err
	}
	return &steadyConn{Conn: c.(*Conn), clock: s.l.cfg.Clock, limit: s.l.cfg.StallTimeout, logger: s.l.cfg.Logger}, nil
}

// Dial connects to an address made by route.
func (s *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	addr, id, _ := strings.Cut(string(address), "/")
	conn, err := s.l.Dial(s.life, ProtocolRaft, Target{ID: id, Addr: addr}, timeout)
	if err != nil {
		return nil, &dialError{err}
	}
	return conn, nil
}

// Close closes the raft half: no connection is accepted or dialled any more and all
// raft connections, in both directions, are cut. Raft handlers that wait on them
// end; InstallSnapshot has no deadline of its own.
func (s *streamLayer) Close() error {
	s.queue.close()
	s.end()
	s.l.mu.Lock()
	if s.l.stream == s {
		s.l.stream = nil
	}
	s.l.mu.Unlock()
	s.l.Drop(func(p Peer) bool { return p.Protocol == ProtocolRaft })
	return nil
}

// route joins an address and the server id that is meant to live there.
func route(id raft.ServerID, addr raft.ServerAddress) raft.ServerAddress {
	return addr + "/" + raft.ServerAddress(id)
}

// dialError marks errors before a connection exists, as opposed to those of a
// pooled connection that died.
type dialError struct{ err error }

func (e *dialError) Error() string { return fmt.Sprint(e.err) }
func (e *dialError) Unwrap() error { return e.err }
