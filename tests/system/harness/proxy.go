package harness

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
)

// SQLProxy passes connections on to a MySQL server and can cut them, also in the
// middle of a COMMIT: the server commits and nobody hears of it, or it never hears
// of the COMMIT.
type SQLProxy struct {
	Addr string

	to       string
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	cut    Cut
	cuts   int
	closed bool
}

// Cut says where the next COMMIT is cut.
type Cut uint8

// The places.
const (
	NoCut        Cut = iota
	BeforeCommit     // the server does not get it
	AfterCommit      // the server gets it, and its answer is lost
)

var errProxyClosed = errors.New("the proxy is closed")

// NewSQLProxy listens on a free loopback port and passes on to an address.
func NewSQLProxy(to string) (*SQLProxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &SQLProxy{Addr: l.Addr().String(), to: to, listener: l, conns: make(map[net.Conn]bool)}
	p.wg.Go(p.accept)
	return p, nil
}

// Plan cuts the next COMMIT of any connection.
func (p *SQLProxy) Plan(c Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = c
}

// Cuts gives how many COMMITs were cut.
func (p *SQLProxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// CutAll cuts every connection.
func (p *SQLProxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close() //nolint:errcheck // it is to be broken
	}
}

// Close ends the proxy and every connection.
func (p *SQLProxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.listener.Close() //nolint:errcheck // it only listens
	p.CutAll()
	p.wg.Wait()
}

func (p *SQLProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			client.Close() //nolint:errcheck // nobody is there
			continue
		}
		if p.add(client, server) != nil {
			return
		}
		p.wg.Go(func() { p.pass(client, server) })
		p.wg.Go(func() {
			io.Copy(client, server) //nolint:errcheck // either end may break it
			p.drop(client, server)
		})
	}
}

func (p *SQLProxy) add(conns ...net.Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.closed {
			c.Close() //nolint:errcheck // the proxy ends
			continue
		}
		p.conns[c] = true
	}
	if p.closed {
		return errProxyClosed
	}
	return nil
}

func (p *SQLProxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		c.Close() //nolint:errcheck // it is over
		delete(p.conns, c)
	}
}

// commit is how a client says it: one packet, the command for a query, the text.
var commit = []byte("\x03COMMIT")

// pass reads packets of the client: three bytes of length, a number, the content.
func (p *SQLProxy) pass(client, server net.Conn) {
	defer p.drop(client, server)
	var header [4]byte
	for {
		if _, err := io.ReadFull(client, header[:]); err != nil {
			return
		}
		packet := make([]byte, len(header)+(int(header[0])|int(header[1])<<8|int(header[2])<<16))
		copy(packet, header[:])
		if _, err := io.ReadFull(client, packet[4:]); err != nil {
			return
		}
		if cut := p.take(packet[4:]); cut == BeforeCommit {
			return
		} else if cut == AfterCommit {
			p.loseAnswer(client, server, packet)
			return
		}
		if _, err := server.Write(packet); err != nil {
			return
		}
	}
}

func (p *SQLProxy) take(content []byte) Cut {
	if !bytes.Equal(content, commit) {
		return NoCut
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	cut := p.cut
	if p.cut = NoCut; cut != NoCut {
		p.cuts++
	}
	return cut
}

// loseAnswer cuts the client first, then lets the server commit and say so to
// nobody.
func (p *SQLProxy) loseAnswer(client, server net.Conn, packet []byte) {
	client.Close() //nolint:errcheck // that is the fault
	if _, err := server.Write(packet); err != nil && !errors.Is(err, net.ErrClosed) {
		return
	}
}
