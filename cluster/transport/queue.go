package transport

import (
	"fmt"
	"net"
	"sync"
)

// queue is a net.Listener fed by the accept loop. It holds no connection
// itself: offer waits until somebody accepts.
type queue struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// offer blocks until the connection is taken, the queue is closed or expired
// is closed.
func (q *queue) offer(conn net.Conn, expired <-chan struct{}) error {
	select {
	case q.conns <- conn:
		return nil
	case <-q.closed:
		return ErrClosed
	case <-expired:
		return fmt.Errorf("transport: nobody accepts connections: %w", ErrHandshakeTimeout)
	}
}

// Accept returns the next connection, or an error that matches ErrClosed and
// net.ErrClosed.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.closed:
		return nil, fmt.Errorf("%w (%w)", ErrClosed, net.ErrClosed)
	}
}

func (q *queue) close() { q.once.Do(func() { close(q.closed) }) }

// Close ends Accept. The port itself stays open.
func (q *queue) Close() error {
	q.close()
	return nil
}

// Addr returns the advertised address.
func (q *queue) Addr() net.Addr { return q.addr }
