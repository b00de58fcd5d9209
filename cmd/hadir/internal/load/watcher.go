package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"hadir/cmd/hadir/internal/api"
)

// watcher is one client of the stream. It notes when each event came and keeps
// nothing of it.
type watcher struct {
	conn  *websocket.Conn
	timed bool     // it reads at once, and its delays count
	first uint64   // seq of the first event
	came  []uint32 // when each came, in microseconds since the beginning
	gaps  int      // events that did not follow the one before
	seen  atomic.Uint64
	err   error // how it ended
}

// slowBuffer is what the kernel keeps for a client that does not read.
const slowBuffer = 16 << 10

// habit is how a client reads.
type habit int

const (
	timed    habit = iota // at once; its delays count
	leisured              // every now and then, all that has come
	slow                  // not at all
)

// leisure is how long a leisured client waits before it reads. A frame that is read
// by itself costs this program about as much as it cost the node, and both are on
// one machine: a thousand clients that read at once measure each other.
const leisure = 100 * time.Millisecond

type leisuredConn struct{ net.Conn }

// Read implements net.Conn.
func (c leisuredConn) Read(b []byte) (int, error) {
	time.Sleep(leisure)
	return c.Conn.Read(b)
}

// watch connects to the stream of a node.
func watch(ctx context.Context, as *api.Client, how habit) (*watcher, error) {
	dial := websocket.Dialer{ReadBufferSize: 2 << 10, WriteBufferSize: 256, HandshakeTimeout: 10 * time.Second}
	if how == leisured {
		dial.ReadBufferSize = 32 << 10
	}
	if how != timed {
		dial.NetDialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			switch {
			case err != nil:
				return nil, err
			case how == leisured:
				return leisuredConn{conn}, nil
			}
			return conn, conn.(*net.TCPConn).SetReadBuffer(slowBuffer)
		}
	}
	conn, response, err := dial.DialContext(ctx, "ws"+strings.TrimPrefix(as.Base, "http")+"/api/v1/stream?topics=attendance",
		http.Header{"Authorization": {"Bearer " + as.Token}})
	if err != nil {
		if response != nil {
			defer response.Body.Close()
			body, readErr := io.ReadAll(io.LimitReader(response.Body, 4<<10))
			if readErr != nil {
				return nil, readErr
			}
			a := &api.Answer{Status: response.StatusCode, Header: response.Header, Body: body}
			return nil, fmt.Errorf("stream of %s: %w", as.Base, a.Problem())
		}
		return nil, fmt.Errorf("stream of %s: %w", as.Base, err)
	}
	response.Body.Close() //nolint:errcheck // it is empty
	if _, _, err := conn.ReadMessage(); err != nil {
		conn.Close() //nolint:errcheck // there is an error to report
		return nil, fmt.Errorf("hello of %s: %w", as.Base, err)
	}
	return &watcher{conn: conn, timed: how == timed}, nil
}

// headSize is enough to see what a frame is and which number it has.
const headSize = 48

// read notes events until the connection ends.
func (w *watcher) read(begun time.Time) {
	var head [headSize]byte
	for {
		_, r, err := w.conn.NextReader()
		if err != nil {
			w.err = err
			return
		}
		n, err := io.ReadFull(r, head[:])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			w.err = err
			return
		}
		if seq, ok := eventSeq(head[:n]); ok {
			w.note(seq, time.Since(begun))
		}
	}
}

func (w *watcher) note(seq uint64, at time.Duration) {
	defer w.seen.Store(seq)
	if w.first == 0 {
		w.first = seq
	}
	if seq != w.first+uint64(len(w.came)) {
		w.gaps++
		return
	}
	w.came = append(w.came, uint32(at.Microseconds()))
}

// last gives the seq of the newest event, 0 for none.
func (w *watcher) last() uint64 {
	if w.first == 0 {
		return 0
	}
	return w.first + uint64(len(w.came)) - 1
}

const eventHead = `{"t":"event","seq":`

// eventSeq reads the number of an event from the beginning of its frame.
func eventSeq(head []byte) (seq uint64, ok bool) {
	if len(head) < len(eventHead) || string(head[:len(eventHead)]) != eventHead {
		return 0, false
	}
	for _, b := range head[len(eventHead):] {
		if b < '0' || b > '9' {
			break
		}
		seq = seq*10 + uint64(b-'0')
	}
	return seq, seq > 0
}
