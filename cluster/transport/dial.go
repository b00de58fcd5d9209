package transport

import (
	"context"
	"fmt"
	"net"
	"time"
)

// Dial connects to a node, runs TLS and the preamble and returns the
// connection. It blocks at most timeout, or until ctx ends. A refusal by
// either side is a *RefusedError; a foreign cluster key is ErrWrongKey; with
// development keys an address that is not loopback is ErrKeyRequired and no
// packet is sent. For ProtocolRaft the target's ID is required, this node
// must be admitted (ErrNotAdmitted), and a RaftTransport must be open, which
// is also who normally dials (ErrClosed).
func (l *Listener) Dial(ctx context.Context, proto Protocol, target Target, timeout time.Duration) (*Conn, error) {
	local := l.cfg.Identity.Cluster()
	if proto == ProtocolRaft {
		if !local.raftOpen() {
			return nil, fmt.Errorf("transport: dial %s: %w", target.Addr, ErrNotAdmitted)
		}
		if target.ID == "" {
			return nil, fmt.Errorf("transport: dial %s: a raft address without a server id: %w", target.Addr, ErrNotAddressee)
		}
	}
	conn, err := l.dial(ctx, proto, target, timeout, local)
	if err != nil {
		return nil, fmt.Errorf("transport: dial %s %s: %w", proto, target.Addr, err)
	}
	return conn, nil
}

func (l *Listener) dial(caller context.Context, proto Protocol, target Target, timeout time.Duration, local Cluster) (*Conn, error) {
	ctx, cancel := context.WithCancel(caller)
	defer cancel()
	stop := context.AfterFunc(l.life, cancel)
	defer stop()
	f := lightFuse(l.cfg.Clock, timeout, cancel)
	defer f.stop()

	dialer := net.Dialer{KeepAliveConfig: keepAlive()}
	if l.cfg.Keys.Insecure() {
		dialer.Control = loopbackOnly
	}
	raw, err := dialer.DialContext(ctx, "tcp", target.Addr)
	if err != nil {
		return nil, l.explainDial(caller, f, timeout, err)
	}
	if !l.trackDialled(raw) {
		raw.Close() //nolint:errcheck // never used
		return nil, ErrClosed
	}
	// Reads and writes of the preamble know no context.
	cut := context.AfterFunc(ctx, func() { raw.Close() }) //nolint:errcheck // the handshake gets the error
	conn, err := l.greet(ctx, raw, proto, target, local)
	if !cut() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil && l.established(conn) == nil {
		// Closed, or raft was closed while it dialled.
		err = ErrClosed
	}
	if err != nil {
		raw.Close() //nolint:errcheck // already failing
		l.forget(raw)
		return nil, l.explainDial(caller, f, timeout, err)
	}
	return conn, nil
}

// explainDial tells what ended a dial: the error of a connection that was cut
// does not.
func (l *Listener) explainDial(caller context.Context, f *fuse, timeout time.Duration, err error) error {
	switch {
	case l.life.Err() != nil:
		return ErrClosed
	case f.burnt.Load():
		return fmt.Errorf("%w after %s", ErrHandshakeTimeout, timeout)
	case caller.Err() != nil:
		return context.Cause(caller)
	default:
		return err
	}
}

func (l *Listener) trackDialled(raw net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life.Err() != nil {
		return false
	}
	l.open[raw] = nil
	l.dialled[raw] = struct{}{}
	return true
}
