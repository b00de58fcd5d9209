//go:build unix

package stream

import (
	"errors"
	"net"
	"syscall"
)

// rawWriter writes to a TCP connection without ever waiting. One goroutine at a
// time may use it.
type rawWriter struct {
	conn syscall.RawConn
	step func(fd uintptr) bool // made once
	b    []byte
	n    int
}

// newRawWriter gives nil where a connection is no bare TCP: what lies between may
// keep some of the bytes to itself.
func newRawWriter(wire net.Conn) *rawWriter {
	tcp, ok := wire.(*net.TCPConn)
	if !ok {
		return nil
	}
	conn, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	w := &rawWriter{conn: conn}
	w.step = w.once
	return w
}

// write gives how much of b the kernel took. After an error that is nothing: the
// next write that waits will meet it.
func (w *rawWriter) write(b []byte) int {
	w.b, w.n = b, 0
	if err := w.conn.Write(w.step); err != nil {
		return 0
	}
	w.b = nil
	return w.n
}

// once never asks to be called again.
func (w *rawWriter) once(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), w.b)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		w.n = max(0, n)
		return true
	}
}
