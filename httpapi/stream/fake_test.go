package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// fakeClock stands still until it is moved.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *fakeClock { return &fakeClock{now: time.Date(2026, 11, 23, 6, 58, 0, 0, time.UTC)} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fakeSource is one node's part of a history: events 1 … n, of which it has some.
type fakeSource struct {
	mu      sync.Mutex
	epoch   string
	events  []Event // all, by seq-1
	oldest  uint64
	applied uint64
	current bool
	err     error
	reads   int
}

func newSource() *fakeSource { return &fakeSource{epoch: epochNow, oldest: 1} }

func (s *fakeSource) Events(_ context.Context, after uint64, limit int, f func(Event) bool) (Picture, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	now := Picture{s.epoch, s.oldest, s.applied}
	if s.err != nil {
		return now, s.err
	}
	for seq := max(after+1, s.oldest); seq <= s.applied && limit > 0; seq++ {
		limit--
		e := s.events[seq-1]
		e.Text = bytes.Clone(e.Text)
		if !f(e) {
			break
		}
		clear(e.Text) // it was lent
	}
	return now, nil
}

func (s *fakeSource) Current(time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// add decides an event and applies it here.
func (s *fakeSource) add(user uint64, r Rights) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := newEvent(uint64(len(s.events))+1, user, r)
	s.events = append(s.events, e)
	s.applied = e.Seq
	return e.Seq
}

func (s *fakeSource) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func newEvent(seq, user uint64, r Rights) Event {
	return Event{Seq: seq, User: user, Rights: r, Text: fmt.Appendf(nil, `{"t":"event","seq":%d,"user_id":%d}`, seq, user)}
}

// fakeWire keeps what is written.
type fakeWire struct {
	net.Conn // nil: what is not here is not used

	mu      sync.Mutex
	written bytes.Buffer
	room    int // bytes until a write fails; -1 for all
	closed  bool
	halved  bool
}

func newWire() *fakeWire { return &fakeWire{room: -1} }

func (w *fakeWire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, io.ErrClosedPipe
	}
	if w.room >= 0 && len(b) > w.room {
		n := w.room
		w.written.Write(b[:n])
		w.room = 0
		return n, os.ErrDeadlineExceeded
	}
	if w.room >= 0 {
		w.room -= len(b)
	}
	return w.written.Write(b)
}

func (w *fakeWire) SetReadDeadline(time.Time) error  { return nil }
func (w *fakeWire) SetWriteDeadline(time.Time) error { return nil }

func (w *fakeWire) CloseWrite() error {
	w.halved = true
	return nil
}

func (w *fakeWire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return nil
}

// frame is what a client reads.
type frame struct {
	kind byte
	text string
	T    string `json:"t"`
	Seq  uint64 `json:"seq"`

	Epoch, Node, Resume, Reason string
	UserID                      uint64          `json:"user_id"`
	Data                        json.RawMessage `json:"data"`
	code                        Code
}

// take gives the whole frames that were written since the last call.
func (w *fakeWire) take(t fataler) (out []frame) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for b := w.written.Bytes(); len(b) >= 2; b = w.written.Bytes() {
		if b[1] == 126 && len(b) < 4 || b[1] == 127 && len(b) < 10 || len(b) < frameLen(b) {
			return out
		}
		whole := w.written.Next(frameLen(b))
		f := frame{kind: whole[0]}
		payload := whole[len(appendHeader(nil, 0, 0)):]
		switch whole[1] {
		case 126:
			payload = whole[4:]
		case 127:
			payload = whole[10:]
		}
		f.text = string(payload)
		switch f.kind {
		case textFrame:
			if err := json.Unmarshal(payload, &f); err != nil {
				t.Fatalf("%s: %v", payload, err)
			}
		case closeFrame:
			f.code = Code(binary.BigEndian.Uint16(payload))
		}
		out = append(out, f)
	}
	return out
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// still gives a hub that does everything at once, in the goroutine of the test.
func still(t fataler, source Source, clock Clock, change func(*Config)) *Hub {
	t.Helper()
	cfg := Config{
		Node: "n1", Source: source, Clock: clock, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	h, err := newHub(cfg)
	if err != nil {
		t.Fatalf("hub: %v", err)
	}
	h.spawn = func(f func()) { f() }
	return h
}

// commit decides an event at a node and lets its hub see it.
func commit(h *Hub, s *fakeSource, user uint64, r Rights) uint64 {
	seq := s.add(user, r)
	h.round()
	return seq
}

func admin(id uint64) Subscriber {
	return Subscriber{Topics: Topics(0).With(Attendance), Audience: Audience{All: true, Self: id, Epoch: epochNow, AsOf: 1 << 60}}
}

func student(id uint64) Subscriber {
	return Subscriber{Topics: Topics(0).With(Attendance), Audience: Audience{Self: id, Epoch: epochNow, AsOf: 1 << 60}}
}

func (s Subscriber) at(epoch string, after uint64) Subscriber {
	s.Position = &Position{epoch, after}
	return s
}

func (s Subscriber) with(ts ...Topic) Subscriber {
	for _, t := range ts {
		s.Topics = s.Topics.With(t)
	}
	return s
}

// sit connects somebody without a socket.
func sit(t fataler, h *Hub, user uint64, sub Subscriber) (*client, *fakeWire) {
	t.Helper()
	if _, err := h.Reserve(user); err != nil {
		t.Fatalf("reserve: %v", err)
	}
	w := newWire()
	return h.attach(user, w, sub), w
}

// words gives frames in short.
func words(frames []frame) (out []string) {
	for _, f := range frames {
		switch f.kind {
		case closeFrame:
			out = append(out, fmt.Sprintf("close %d", f.code))
		case pingFrame:
			out = append(out, "ping")
		case pongFrame:
			out = append(out, "pong "+f.text)
		default:
			switch f.T {
			case "hello":
				out = append(out, fmt.Sprintf("hello %d %s%s", f.Seq, f.Resume, f.Reason))
			case "event", "mark", "scope":
				out = append(out, fmt.Sprintf("%s %d", f.T, f.Seq))
			default:
				out = append(out, fmt.Sprintf("%s %s", f.T, f.Data))
			}
		}
	}
	return out
}

// expect compares what was written since the last call.
func expect(t *testing.T, w *fakeWire, want ...string) {
	t.Helper()
	if got := words(w.take(t)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}
