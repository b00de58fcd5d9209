package transport

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hadir/cluster/loglimit"
)

// Defaults of Config.
const (
	DefaultMaxConns         = 512
	DefaultHandshakeTimeout = 5 * time.Second
	DefaultDialTimeout      = 2 * time.Second
	DefaultStallTimeout     = 10 * time.Second
)

const (
	acceptBackoffMin = 5 * time.Millisecond
	acceptBackoffMax = time.Second
)

// keepAlive finds a peer whose machine is gone in about 11 s. The default of
// Go needs more than two minutes, during which a follower would wait in the
// middle of a snapshot.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}
}

// Config is what a Listener needs. Fields without "optional" are required.
type Config struct {
	// Addr is the host:port to listen on.
	Addr string
	// Advertise is the host:port at which other nodes reach this one, and the
	// address raft knows this node by. Optional if Addr names one address.
	Advertise string
	// Keys are the cluster keys, or DevelopmentKeys.
	Keys Keys
	// Self is the fixed part of the identity.
	Self Self
	// Identity is the part that changes with bootstrap and join.
	Identity Identity
	// Admit is asked about each peer that passed all other checks, in both
	// directions; the peer of a call is Outbound when this node dialled. nil
	// admits, an error refuses: ErrStaleGeneration with its own code, anything
	// else as not admitted. It is called concurrently and must not block.
	Admit func(Peer) error
	// Clock drives all timeouts.
	Clock Clock
	// Rand is a cryptographic source. It need not be safe for concurrent use.
	Rand io.Reader
	// Logger gets refused peers (once a minute each) and accept errors.
	Logger *slog.Logger
	// MaxConns bounds inbound connections, those in handshake included.
	// Optional: DefaultMaxConns.
	MaxConns int
	// HandshakeTimeout bounds TLS and preamble of an inbound connection.
	// Optional: DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration
	// DialTimeout bounds connect, TLS and preamble of an outbound RPC
	// connection. Optional: DefaultDialTimeout.
	DialTimeout time.Duration
	// StallTimeout bounds the silence in the middle of an inbound Raft
	// message. Optional: DefaultStallTimeout.
	StallTimeout time.Duration
}

func (c *Config) check() error {
	if c.Identity == nil || c.Admit == nil || c.Clock == nil || c.Rand == nil || c.Logger == nil {
		return errors.New("transport: Identity, Admit, Clock, Rand and Logger are required")
	}
	setDefault(&c.MaxConns, DefaultMaxConns)
	setDefault(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	setDefault(&c.DialTimeout, DefaultDialTimeout)
	setDefault(&c.StallTimeout, DefaultStallTimeout)
	return nil
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// Stats are counters since Listen, except for Open.
type Stats struct {
	// Open is the number of inbound connections now.
	Open int
	// Accepted counts inbound connections that passed TLS and preamble.
	Accepted uint64
	// OverLimit counts inbound connections closed because of MaxConns.
	OverLimit uint64
	// Refused counts inbound connections ended by the preamble.
	Refused uint64
	// Failed counts inbound connections that failed in TLS, by timeout, or
	// that nobody took over.
	Failed uint64
	// AcceptErrors counts errors of accept that were retried.
	AcceptErrors uint64
}

// Listener is the one TCP port of a node, and the way to dial the port of
// another one. All methods are safe for concurrent use.
type Listener struct {
	cfg       Config
	ln        net.Listener
	advertise string
	creds     *credentials
	serverTLS *tls.Config
	run       uint64
	limit     *loglimit.Limit
	rpc       *queue
	clients   rpcClients

	// life ends when Close begins.
	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	open    map[net.Conn]*Conn // nil value: still in handshake
	inbound int
	dialled map[net.Conn]struct{} // the outbound part of open
	stream  *streamLayer

	accepted, overLimit, refused, failed, acceptErrors atomic.Uint64
}

// Listen opens the port and begins to accept. Raft connections are refused
// until NewRaftTransport is called and Identity says admitted; RPC connections
// wait in RPC's Accept. It blocks for the certificate only. Errors: ErrNoKey,
// ErrKeyRequired, ErrBadServerID, or those of the operating system.
func Listen(cfg Config) (*Listener, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive()}
	if cfg.Keys.Insecure() {
		lc.Control = loopbackOnly
	}
	// Certificates first: a bad id or key must not leave a port open.
	l, err := newListener(cfg)
	if err != nil {
		return nil, err
	}
	ln, err := lc.Listen(l.life, "tcp", cfg.Addr)
	if err != nil {
		l.end()
		return nil, fmt.Errorf("transport: listen on %s: %w", cfg.Addr, err)
	}
	if l.advertise == "" {
		if addr, err := netip.ParseAddrPort(ln.Addr().String()); err != nil || addr.Addr().IsUnspecified() {
			l.end()
			ln.Close() //nolint:errcheck // nothing was accepted on it
			return nil, fmt.Errorf("transport: an address to advertise is required when listening on %s", cfg.Addr)
		}
		l.advertise = ln.Addr().String()
	}
	l.start(ln)
	return l, nil
}

func newListener(cfg Config) (*Listener, error) {
	rand := &lockedReader{r: cfg.Rand}
	creds, err := newCredentials(cfg.Keys, cfg.Self.ID, rand)
	if err != nil {
		return nil, err
	}
	var run [8]byte
	if _, err := io.ReadFull(rand, run[:]); err != nil {
		return nil, fmt.Errorf("transport: random run id: %w", err)
	}
	l := &Listener{
		cfg:       cfg,
		advertise: cfg.Advertise,
		creds:     creds,
		serverTLS: creds.server(),
		run:       binary.BigEndian.Uint64(run[:]),
		limit:     loglimit.New(cfg.Clock.Now),
		open:      make(map[net.Conn]*Conn),
		dialled:   make(map[net.Conn]struct{}),
	}
	l.life, l.end = context.WithCancel(context.Background())
	return l, nil
}

func (l *Listener) start(ln net.Listener) {
	l.ln = ln
	l.rpc = newQueue(l.Addr())
	l.wg.Add(1)
	go l.acceptLoop()
}

// loopbackOnly runs before bind and before connect, on the resolved address,
// so that no host name can lead anywhere else.
func loopbackOnly(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !ap.Addr().Unmap().WithZone("").IsLoopback() {
		return fmt.Errorf("%w (%s)", ErrKeyRequired, address)
	}
	return nil
}

// Addr returns the advertised address as host:port.
func (l *Listener) Addr() net.Addr { return hostPort(l.advertise) }

// ListenAddr returns the address the socket is bound to.
func (l *Listener) ListenAddr() net.Addr { return l.ln.Addr() }

type hostPort string

func (hostPort) Network() string  { return "tcp" }
func (a hostPort) String() string { return string(a) }

func (l *Listener) acceptLoop() {
	defer l.wg.Done()
	backoff := acceptBackoffMin
	for {
		raw, err := l.ln.Accept()
		if err == nil {
			backoff = acceptBackoffMin
			l.take(raw)
			continue
		}
		// Everything but the end of the listener is worth another try: to
		// stop accepting is to leave the cluster without saying so.
		if l.life.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		l.acceptErrors.Add(1)
		if l.limit.Allow("accept") {
			l.cfg.Logger.Error("accept failed, retrying", "error", err, "in", backoff)
		}
		if !l.pause(backoff) {
			return
		}
		backoff = min(2*backoff, acceptBackoffMax)
	}
}

// pause waits and reports false when the listener was closed meanwhile.
func (l *Listener) pause(d time.Duration) bool {
	done := make(chan struct{})
	stop := l.cfg.Clock.AfterFunc(d, func() { close(done) })
	defer stop()
	select {
	case <-done:
		return true
	case <-l.life.Done():
		return false
	}
}

// take tracks an inbound connection and serves it, or closes it when there
// are too many.
func (l *Listener) take(raw net.Conn) {
	l.mu.Lock()
	room := l.life.Err() == nil && l.inbound < l.cfg.MaxConns
	if room {
		l.open[raw] = nil
		l.inbound++
		l.wg.Add(1)
	}
	l.mu.Unlock()
	if room {
		go l.serve(raw)
		return
	}
	l.overLimit.Add(1)
	raw.Close() //nolint:errcheck // never used
	if l.limit.Allow("limit") {
		l.cfg.Logger.Warn("too many connections, closing new ones", "limit", l.cfg.MaxConns)
	}
}

// serve brings one inbound connection to the one who waits for it.
func (l *Listener) serve(raw net.Conn) {
	defer l.wg.Done()
	f := lightFuse(l.cfg.Clock, l.cfg.HandshakeTimeout, func() { raw.Close() }) //nolint:errcheck // the handshake gets the error
	conn, err := l.accept(l.life, raw)
	if f.stop() {
		err = fmt.Errorf("%w after %s", ErrHandshakeTimeout, l.cfg.HandshakeTimeout)
	}
	if err == nil {
		err = l.deliver(conn)
	}
	if err == nil {
		l.accepted.Add(1)
		return
	}
	raw.Close() //nolint:errcheck // already failing
	l.forget(raw)
	l.reject(raw, err)
}

// deliver hands the connection over and gives up when nobody takes it within
// the handshake timeout.
func (l *Listener) deliver(conn *Conn) error {
	q := l.established(conn)
	if q == nil {
		return ErrClosed
	}
	expired := make(chan struct{})
	stop := l.cfg.Clock.AfterFunc(l.cfg.HandshakeTimeout, func() { close(expired) })
	defer stop()
	return q.offer(conn, expired)
}

// established notes who is at the other end and returns the queue for an
// inbound connection; nil if the connection was cut or raft has stopped. A newer
// start of a server ends the connections of its older ones: an old process must
// not go on beside it with what it had open before.
func (l *Listener) established(conn *Conn) *queue {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, tracked := l.open[conn.raw]; !tracked {
		return nil
	}
	for raw, other := range l.open {
		switch {
		case other == nil || other.peer.ID != conn.peer.ID || other.peer.Generation == conn.peer.Generation:
		case other.peer.Generation > conn.peer.Generation:
			return nil // it was admitted before the newer one, and comes after it
		default:
			raw.Close() //nolint:errcheck // its user gets the error, and forgets it
		}
	}
	l.open[conn.raw] = conn
	switch {
	case conn.peer.Protocol == ProtocolRPC:
		return l.rpc
	case l.stream != nil:
		return l.stream.queue
	default:
		return nil
	}
}

func (l *Listener) reject(raw net.Conn, err error) {
	var refused *RefusedError
	if errors.As(err, &refused) {
		l.refused.Add(1)
	} else {
		l.failed.Add(1)
	}
	if l.life.Err() != nil {
		return
	}
	addr := raw.RemoteAddr().String()
	host, _, splitErr := net.SplitHostPort(addr)
	if splitErr != nil {
		host = addr
	}
	// The port of a dialler changes every time, its host does not.
	reason := host
	if refused != nil {
		reason += " " + refused.Peer.ID + " " + string('0'+rune(refused.Code))
	}
	if l.limit.Allow(reason) {
		l.cfg.Logger.Warn("refused a connection", "addr", addr, "error", err)
	}
}

// forget stops tracking a connection. Doing it twice is harmless.
func (l *Listener) forget(raw net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.open[raw]; !ok {
		return
	}
	delete(l.open, raw)
	if _, out := l.dialled[raw]; out {
		delete(l.dialled, raw)
		return
	}
	l.inbound--
}

// Stats returns the counters.
func (l *Listener) Stats() Stats {
	l.mu.Lock()
	open := l.inbound
	l.mu.Unlock()
	return Stats{
		Open:         open,
		Accepted:     l.accepted.Load(),
		OverLimit:    l.overLimit.Load(),
		Refused:      l.refused.Load(),
		Failed:       l.failed.Load(),
		AcceptErrors: l.acceptErrors.Load(),
	}
}

// Drop closes every established connection, in both directions, whose peer
// matches and returns their number. match must not call back into the Listener.
func (l *Listener) Drop(match func(Peer) bool) int {
	var victims []net.Conn
	l.mu.Lock()
	for raw, conn := range l.open {
		if conn != nil && match(conn.peer) {
			victims = append(victims, raw)
		}
	}
	l.mu.Unlock()
	for _, raw := range victims {
		raw.Close() //nolint:errcheck // its user gets the error
		l.forget(raw)
	}
	return len(victims)
}

// Close stops accepting, cuts every connection in both directions at once and
// waits for the goroutines of the listener. It is safe to call twice.
func (l *Listener) Close() error {
	l.mu.Lock()
	l.end()
	stream := l.stream
	raws := make([]net.Conn, 0, len(l.open))
	for raw := range l.open {
		raws = append(raws, raw)
	}
	l.mu.Unlock()
	err := l.ln.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	l.rpc.close()
	if stream != nil {
		stream.queue.close()
	}
	for _, raw := range raws {
		// Below TLS: its goodbye would wait for a peer that does not read.
		raw.Close() //nolint:errcheck // its user gets the error
		l.forget(raw)
	}
	l.wg.Wait()
	l.clients.close()
	if err != nil {
		return fmt.Errorf("transport: close listener: %w", err)
	}
	return nil
}
