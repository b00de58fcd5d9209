package transport

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// A node RPC peer that is gone without a word is noticed after at most
// pingAfter + pingTimeout.
const (
	rpcPingAfter   = 5 * time.Second
	rpcPingTimeout = 5 * time.Second
	rpcIdle        = 2 * time.Minute
)

type peerKey struct{}

// PeerFrom returns the peer of a request that a server of NewRPCServer serves.
func PeerFrom(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}

// RPC returns the inbound node RPC connections. They are of type *Conn and
// have passed TLS and the preamble. Closing it leaves the port open.
func (l *Listener) RPC() net.Listener { return l.rpc }

// NewRPCServer returns a server for RPC(): call Serve(l.RPC()) on it, and
// Shutdown for a graceful end. It speaks HTTP/2 only. Requests find their peer
// with PeerFrom; a Peer with an empty ClusterID is not a member of anything.
func (l *Listener) NewRPCServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h,
		// "Unencrypted" as far as net/http can see; TLS is below.
		Protocols:         onlyHTTP2(),
		HTTP2:             http2Config(),
		ReadHeaderTimeout: l.cfg.HandshakeTimeout,
		ErrorLog:          slog.NewLogLogger(l.cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			conn, ok := c.(*Conn)
			if !ok {
				return ctx
			}
			return context.WithValue(ctx, peerKey{}, conn.peer)
		},
	}
}

// RPCTransport returns the client side of node RPC for one target: use it with
// Target.URL. Connections are made when needed, shared by concurrent requests,
// checked by the preamble, and closed with the Listener. Errors of a request
// wrap those of Dial. Asking twice for one target returns the same transport;
// a target that replaces another one at its address, or of its id, retires it.
func (l *Listener) RPCTransport(target Target) http.RoundTripper {
	return l.clients.get(target, func() *http.Transport {
		d := &rpcDialer{l: l, target: target}
		return &http.Transport{
			DialContext: d.dial,
			Protocols:   onlyHTTP2(),
			HTTP2:       http2Config(),
			// One connection carries many requests. Without the limit every
			// request that waits for the first connection dials its own: a
			// herd of TLS handshakes at the worst time, after a failover.
			MaxConnsPerHost:    1,
			DisableCompression: true,
			IdleConnTimeout:    rpcIdle,
		}
	})
}

// rpcDialer dials one target. With MaxConnsPerHost 1 the requests behind a
// failing dial would dial one after the other, each for the whole timeout; so
// a failure answers also those that come within dialAgain after it.
type rpcDialer struct {
	l      *Listener
	target Target

	mu      sync.Mutex
	lastErr error
	failed  time.Time
}

const dialAgain = 50 * time.Millisecond

func (d *rpcDialer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	now := d.l.cfg.Clock.Now
	d.mu.Lock()
	err := d.lastErr
	fresh := err != nil && now().Sub(d.failed) < dialAgain
	d.mu.Unlock()
	if fresh {
		return nil, err
	}
	conn, err := d.l.Dial(ctx, ProtocolRPC, d.target, d.l.cfg.DialTimeout)
	if ctx.Err() == nil {
		// The end of one caller's context says nothing about the target.
		d.mu.Lock()
		d.lastErr, d.failed = err, now()
		d.mu.Unlock()
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func onlyHTTP2() *http.Protocols {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &p
}

func http2Config() *http.HTTP2Config {
	return &http.HTTP2Config{SendPingTimeout: rpcPingAfter, PingTimeout: rpcPingTimeout}
}

// rpcClients holds one transport per target.
type rpcClients struct {
	mu     sync.Mutex
	byAddr map[string]rpcClient
}

type rpcClient struct {
	id        string
	transport *http.Transport
}

func (c *rpcClients) get(t Target, dial func() *http.Transport) *http.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.byAddr[t.Addr]; ok && have.id == t.ID {
		return have.transport
	}
	for addr, old := range c.byAddr {
		if addr == t.Addr || (t.ID != "" && old.id == t.ID) {
			old.transport.CloseIdleConnections()
			delete(c.byAddr, addr)
		}
	}
	if c.byAddr == nil {
		c.byAddr = make(map[string]rpcClient)
	}
	c.byAddr[t.Addr] = rpcClient{id: t.ID, transport: dial()}
	return c.byAddr[t.Addr].transport
}

func (c *rpcClients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, old := range c.byAddr {
		old.transport.CloseIdleConnections()
	}
	c.byAddr = nil
}
