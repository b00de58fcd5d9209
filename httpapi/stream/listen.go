package stream

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"time"

	"github.com/gorilla/websocket"
)

// What a client may send: messages of 8 KiB, and 20 frames of any kind in ten
// seconds.
const (
	maxMessage   = 8 << 10
	maxFrames    = 20
	framesWindow = 10 * time.Second
)

// sendBuffer bounds what the kernel keeps for a client that does not read: memory
// that is nobody's, and minutes until it is noticed.
const sendBuffer = 64 << 10

func limitBuffer(wire net.Conn) {
	if secure, ok := wire.(*tls.Conn); ok {
		wire = secure.NetConn()
	}
	if tcp, ok := wire.(*net.TCPConn); ok {
		tcp.SetWriteBuffer(sendBuffer) //nolint:errcheck // a hint
	}
}

// Upgrader is for connections that a hub is to serve: with small buffers, because
// clients say little, and without compression. Who may connect, and from which
// origin, is the caller's to check.
func Upgrader() *websocket.Upgrader {
	return &websocket.Upgrader{
		HandshakeTimeout: 5 * time.Second, ReadBufferSize: 256, WriteBufferSize: 256, WriteBufferPool: noBuffers{},
	}
}

// noBuffers keeps the library from holding a buffer for writes, of which it does
// none but its answer to a broken protocol.
type noBuffers struct{}

func (noBuffers) Get() any { return nil }
func (noBuffers) Put(any)  {}

// parseMessage gives the t of a message of a client; ok is false when it is not of
// the form {"t":"…"}.
func parseMessage(text []byte) (t string, ok bool) {
	var m struct {
		T *string `json:"t"`
	}
	if err := json.Unmarshal(text, &m); err != nil || m.T == nil {
		return "", false
	}
	return *m.T, true
}

// listen reads what the client says until the connection is over, and then
// forgets it.
func (c *client) listen(conn *websocket.Conn) {
	conn.SetPingHandler(func(payload string) error {
		if c.spend() {
			c.ask(func(t *todo) { t.pong = append([]byte{}, payload...) })
			c.kick()
		}
		return nil
	})
	conn.SetPongHandler(func(string) error {
		c.spend()
		c.alive.Store(int64(c.hub.now()))
		return nil
	})
	conn.SetCloseHandler(func(int, string) error { return nil })
	err := c.converse(conn)
	var closed *websocket.CloseError
	if errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure {
		c.finish(Normal, "")
	} else if err != nil {
		c.hangUp()
	}
	<-c.over
	// What is still on its way must not make the kernel reset the connection before
	// the last words are read. The flush has set a deadline.
	io.Copy(io.Discard, c.wire) //nolint:errcheck // see above
	c.wire.Close()              //nolint:errcheck // as above
	c.hub.detach(c)
}

// converse reads messages. It gives nil when it has finished the connection
// itself.
func (c *client) converse(conn *websocket.Conn) error {
	for {
		kind, r, err := conn.NextReader()
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(r, maxMessage+1))
		switch {
		case err != nil:
			return err
		case !c.spend():
			return nil
		case kind != websocket.TextMessage:
			c.finish(Unsupported, "text only")
			return nil
		case len(text) > maxMessage:
			c.finish(TooBig, "at most 8 KiB")
			return nil
		}
		switch t, ok := parseMessage(text); {
		case !ok:
			c.finish(Invalid, `send objects such as {"t":"ping"}`)
			return nil
		case t == "ping":
			c.ask(func(t *todo) { t.mark = true })
			c.kick()
		} // what is not known is for a newer node
	}
}

// spend counts a frame. It finishes the connection and reports false when there
// were too many.
func (c *client) spend() bool {
	now := c.hub.now()
	c.quota = max(c.quota, now) + framesWindow/maxFrames
	if c.quota-now <= framesWindow {
		return true
	}
	c.finish(Policy, "at most 20 messages in 10 seconds")
	return false
}

// appendString adds a JSON string.
func appendString(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return append(dst, `""`...) // no string makes it fail
	}
	return append(dst, b...)
}
