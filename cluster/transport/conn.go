package transport

import (
	"log/slog"
	"net"
	"sync/atomic"
	"time"
)

// Conn is a connection after TLS and preamble. It is safe for concurrent use
// as net.Conn is.
type Conn struct {
	net.Conn // the *tls.Conn, as an interface so that net/http does not see TLS
	peer     Peer
	raw      net.Conn
	forget   func(net.Conn)
}

// Peer returns who is at the other end.
func (c *Conn) Peer() Peer { return c.peer }

// Close says goodbye in TLS and closes the connection.
func (c *Conn) Close() error {
	defer c.forget(c.raw)
	return c.Conn.Close()
}

// steadyConn cuts a peer off that stops in the middle of a Raft message. raft
// reads an InstallSnapshot without any deadline in its main loop: a leader
// that freezes while it sends would silence the follower for as long as it is
// frozen, and two of three nodes would be gone.
//
// Raft connections are strictly request and response. So a read that follows
// a read, without a write between, waits for the rest of a message, and a read
// that follows a write waits for the next request, which may take forever.
type steadyConn struct {
	*Conn
	clock  Clock
	limit  time.Duration
	logger *slog.Logger
	inside atomic.Bool
}

func (c *steadyConn) Read(p []byte) (int, error) {
	if c.inside.Load() {
		f := lightFuse(c.clock, c.limit, func() {
			c.logger.Warn("raft peer stalled in the middle of a message, closing", "peer", c.peer.ID, "addr", c.peer.Addr, "after", c.limit)
			c.raw.Close() //nolint:errcheck // the reader gets the error
		})
		defer f.stop()
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.inside.Store(true)
	}
	return n, err
}

func (c *steadyConn) Write(p []byte) (int, error) {
	c.inside.Store(false)
	return c.Conn.Write(p)
}
