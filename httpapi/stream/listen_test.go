package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

// realClock is the machine's.
type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

// served is a hub behind a server: /?user=1&kind=admin&after=3.
type served struct {
	hub    *Hub
	source *fakeSource
	url    string
}

func serve(t *testing.T, l Limits) *served {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	s := &served{source: newSource()}
	var err error
	s.hub, err = New(Config{
		Node: "n1", Source: s.source, Clock: realClock{}, Log: slog.New(slog.DiscardHandler), Limits: l,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := strconv.ParseUint(r.FormValue("user"), 10, 64)
		if err != nil {
			http.Error(w, "user", http.StatusBadRequest)
			return
		}
		seat, err := s.hub.Reserve(user)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		conn, err := Upgrader().Upgrade(w, r, nil)
		if err != nil {
			seat.Release()
			return
		}
		sub := student(user)
		if r.FormValue("kind") == "admin" {
			sub = admin(user)
		}
		if after := r.FormValue("after"); after != "" {
			n, err := strconv.ParseUint(after, 10, 64)
			if err != nil {
				t.Error(err)
			}
			sub = sub.at("c7f2-1", n)
		}
		seat.Serve(conn, sub)
	}))
	s.url = "ws" + strings.TrimPrefix(server.URL, "http")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.hub.Close(ctx)
		server.Close()
		goleak.VerifyNone(t, leaks)
	})
	return s
}

// commit decides events that the hub sees by itself.
func (s *served) commit(n int, user uint64) {
	for range n {
		s.source.add(user, Rights{})
	}
	s.hub.Wake()
}

func (s *served) dial(t *testing.T, query string) *websocket.Conn {
	t.Helper()
	conn, response, err := websocket.DefaultDialer.DialContext(t.Context(), s.url+"/?"+query, nil)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	response.Body.Close()              //nolint:errcheck // it is empty
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // it may be closed
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func (s *served) awaitConnections(t *testing.T, want int) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(20 * time.Second); s.hub.Connections() != want; <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections, want %d", s.hub.Connections(), want)
		}
	}
}

func next(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	kind, text, err := conn.ReadMessage()
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if kind != websocket.TextMessage {
		t.Fatalf("frame of kind %d", kind)
	}
	return string(text)
}

// closed reads until the connection ends and gives the code.
func closed(t *testing.T, conn *websocket.Conn) int {
	t.Helper()
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			var c *websocket.CloseError
			if !errors.As(err, &c) {
				t.Fatalf("the end: %v", err)
			}
			return c.Code
		}
	}
}

func TestOverASocket(t *testing.T) {
	s := serve(t, Limits{})
	s.commit(2, 7)
	conn := s.dial(t, "user=1&kind=admin&after=0")
	for i, want := range []string{
		`{"t":"hello","node":"n1","epoch":"c7f2-1","seq":0,"resume":"ok"}`, `{"t":"event","seq":1,"user_id":7}`, `{"t":"event","seq":2,"user_id":7}`,
	} {
		if got := next(t, conn); got != want {
			t.Fatalf("frame %d is %s, want %s", i, got, want)
		}
	}
	s.commit(1, 7)
	if got := next(t, conn); got != `{"t":"event","seq":3,"user_id":7}` {
		t.Fatalf("got %s", got)
	}
	// A client asks how far it is, and pings.
	pong := make(chan string, 1)
	conn.SetPongHandler(func(payload string) error {
		pong <- payload
		return nil
	})
	if err := errors.Join(
		conn.WriteControl(websocket.PingMessage, []byte("hi"), time.Now().Add(time.Second)),
		conn.WriteMessage(websocket.TextMessage, []byte(`{"t":"what is to come","x":[1]}`)),
		conn.WriteMessage(websocket.TextMessage, []byte(`{"t":"ping"}`)),
	); err != nil {
		t.Fatal(err)
	}
	if got := next(t, conn); got != `{"t":"mark","seq":3}` {
		t.Fatalf("got %s", got)
	}
	s.commit(1, 7)
	if got := next(t, conn); got != `{"t":"event","seq":4,"user_id":7}` {
		t.Fatalf("got %s", got)
	}
	if got := <-pong; got != "hi" { // it came before the event, at the latest
		t.Fatalf("pong %q", got)
	}
	// It says goodbye and is answered.
	if err := conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if code := closed(t, conn); code != 1000 {
		t.Fatalf("closed with %d", code)
	}
	s.awaitConnections(t, 0)
}

func TestWhatClientsMayNotSend(t *testing.T) {
	s := serve(t, Limits{})
	send := func(kind int, text string, times int) func(*websocket.Conn) error {
		return func(c *websocket.Conn) error {
			for range times {
				if err := c.WriteMessage(kind, []byte(text)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, tc := range map[string]struct {
		do   func(*websocket.Conn) error
		want Code
	}{
		"binary":   {send(websocket.BinaryMessage, `{"t":"ping"}`, 1), Unsupported},
		"no JSON":  {send(websocket.TextMessage, "ping", 1), Invalid},
		"no t":     {send(websocket.TextMessage, `{"T2":"ping"}`, 1), Invalid},
		"no word":  {send(websocket.TextMessage, `{"t":1}`, 1), Invalid},
		"too long": {send(websocket.TextMessage, `{"t":"`+strings.Repeat("x", maxMessage)+`"}`, 1), TooBig},
		"too many": {send(websocket.TextMessage, `{"t":"x"}`, maxFrames+1), Policy},
		"too many pings": {func(c *websocket.Conn) error {
			for range maxFrames + 1 {
				if err := c.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err != nil {
					return err
				}
			}
			return nil
		}, Policy},
		"a broken protocol": {func(c *websocket.Conn) error {
			_, err := c.NetConn().Write([]byte{0x81, 0x01, 'x'}) // without a mask
			return err
		}, 1002},
	} {
		t.Run(name, func(t *testing.T) {
			conn := s.dial(t, "user=1")
			if err := tc.do(conn); err != nil {
				t.Fatal(err)
			}
			if code := closed(t, conn); code != int(tc.want) {
				t.Fatalf("closed with %d, want %d", code, tc.want)
			}
			s.awaitConnections(t, 0)
		})
	}
}

func TestMostThatClientsMaySend(t *testing.T) {
	s := serve(t, Limits{})
	conn := s.dial(t, "user=1")
	next(t, conn)
	long := `{"t":"ping","x":"` + strings.Repeat("x", maxMessage)
	long = long[:maxMessage-2] + `"}`
	for range maxFrames {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(long)); err != nil {
			t.Fatal(err)
		}
	}
	if got := next(t, conn); got != `{"t":"mark","seq":0}` {
		t.Fatalf("got %s", got)
	}
}

// Connections that end without a word are found.
func TestClientVanishes(t *testing.T) {
	s := serve(t, Limits{})
	conn := s.dial(t, "user=1")
	next(t, conn)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	s.awaitConnections(t, 0)
	// A client that answers no ping is cut.
	s = serve(t, Limits{PingEvery: 20 * time.Millisecond, PongWithin: 20 * time.Millisecond, Tick: 5 * time.Millisecond})
	conn = s.dial(t, "user=1")
	next(t, conn)
	s.awaitConnections(t, 0) // nobody reads, so nobody answers
	// One that does stays.
	conn = s.dial(t, "user=2")
	go func() {
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	}()
	s.awaitConnections(t, 1)
	for range 10 {
		<-time.After(20 * time.Millisecond)
		if s.hub.Connections() != 1 {
			t.Fatal("a client that answers was cut")
		}
	}
}

// Who does not read is cut, and nobody else notices.
func TestSlowOverSockets(t *testing.T) {
	s := serve(t, Limits{Write: time.Second, PerPerson: 1})
	const slow, quick, events = 3, 5, 4000
	var slows []*websocket.Conn
	for i := range slow {
		conn := s.dial(t, fmt.Sprintf("user=%d&kind=admin&after=0", 100+i))
		if err := conn.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
			t.Fatal(err)
		}
		slows = append(slows, conn)
	}
	done := make(chan error, quick)
	for i := range quick {
		conn := s.dial(t, fmt.Sprintf("user=%d&kind=admin&after=0", 200+i))
		go func() {
			want := 1
			for want <= events {
				_, text, err := conn.ReadMessage()
				if err != nil {
					done <- fmt.Errorf("at event %d: %w", want, err)
					return
				}
				if strings.HasPrefix(string(text), `{"t":"event"`) {
					if !strings.HasPrefix(string(text), fmt.Sprintf(`{"t":"event","seq":%d,`, want)) {
						done <- fmt.Errorf("event %d awaited, got %.60s", want, text)
						return
					}
					want++
				}
			}
			done <- nil
		}()
	}
	// Enough to fill what the kernel keeps for those who do not read.
	long := strings.Repeat("x", 2000)
	for i := range events {
		s.source.set(func() {
			e := newEvent(uint64(i)+1, 7, Rights{})
			e.Text = fmt.Appendf(e.Text[:len(e.Text)-1], `,"x":%q}`, long)
			s.source.events, s.source.applied = append(s.source.events, e), e.Seq
		})
		s.hub.Wake()
	}
	for range quick {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	s.awaitConnections(t, quick)
	// What they find when they read again: whole frames, and the code or a cut.
	for _, conn := range slows {
		for {
			_, _, err := conn.ReadMessage()
			var c *websocket.CloseError
			if errors.As(err, &c) && c.Code != int(Slow) && c.Code != websocket.CloseAbnormalClosure {
				t.Errorf("closed with %d", c.Code)
			}
			if err != nil {
				break
			}
		}
	}
}

func TestClose(t *testing.T) {
	s := serve(t, Limits{})
	var conns []*websocket.Conn
	for i := range 20 {
		conn := s.dial(t, fmt.Sprintf("user=%d", i+1))
		next(t, conn)
		conns = append(conns, conn)
	}
	left := make(chan int, len(conns))
	for _, conn := range conns {
		go func() { left <- closed(t, conn) }()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s.hub.Close(ctx)
	for range conns {
		if code := <-left; code != int(GoingAway) {
			t.Errorf("closed with %d", code)
		}
	}
	if n := s.hub.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if _, err := s.hub.Reserve(1); !errors.Is(err, ErrClosing) {
		t.Errorf("reserve: %v", err)
	}
	s.hub.Close(ctx) // again does no harm
}

// Somebody who does not go is cut when the time is over.
func TestCloseCutsOff(t *testing.T) {
	s := serve(t, Limits{})
	conn := s.dial(t, "user=1")
	next(t, conn)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.hub.Close(ctx)
	s.awaitConnections(t, 0)
}

func TestHistoryEndsAtTheHead(t *testing.T) {
	s := newSource()
	s.add(7, Rights{})
	h := still(t, s, newClock(), nil)
	// It is applied, and the hub does not know yet whose rights it changes.
	s.add(0, Rights{Everybody: true})
	var got []uint64
	if _, err := h.history(t.Context(), 0, 10, func(e Event) { got = append(got, e.Seq) }); err != nil || fmt.Sprint(got) != "[1]" {
		t.Fatalf("got %v, %v", got, err)
	}
}

func FuzzClientMessage(f *testing.F) {
	for _, s := range []string{`{"t":"ping"}`, `{"t":"x","a":{"b":[1,null]}}`, `{"t":1}`, `[]`, `null`, ``, `{"t":"ping"}{}`, "\xff", `{"T":"ping"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		word, ok := parseMessage(text)
		if !ok {
			if word != "" {
				t.Errorf("%q is refused, and is %q", text, word)
			}
			return
		}
		again, err := json.Marshal(map[string]string{"t": word})
		if err != nil || !json.Valid(text) {
			t.Fatalf("%q is taken: %v", text, err)
		}
		if same, ok := parseMessage(again); !ok || same != word {
			t.Errorf("%q is %q, and that is %q", text, word, same)
		}
	})
}

// FuzzClientFrames sends anything over a connection: the node answers with a close
// frame or waits for more, and forgets the connection in the end.
func FuzzClientFrames(f *testing.F) {
	mask := func(kind byte, text string) []byte {
		return append([]byte{kind, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
	}
	for _, b := range [][]byte{
		mask(textFrame, `{"t":"ping"}`), mask(pingFrame, "x"), mask(closeFrame, "\x03\xe8"), mask(closeFrame, "\x00\x01"), mask(1, "{"),
		mask(0x82, "x"), {0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x80, 0x80}, {0xf1}, nil,
		append(mask(textFrame, `{"t":"ping"}`), mask(pongFrame, "")...),
	} {
		f.Add(b)
	}
	h, err := New(Config{
		Node: "n1", Source: newSource(), Clock: realClock{}, Log: slog.New(slog.DiscardHandler),
		Limits: Limits{PerPerson: 1 << 20, PerNode: 1 << 20},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		h.Close(ctx)
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seat, err := h.Reserve(3)
		if err != nil {
			f.Error(err)
			return
		}
		conn, err := Upgrader().Upgrade(w, r, nil)
		if err != nil {
			f.Error(err)
			return
		}
		seat.Serve(conn, student(3))
	}))
	f.Cleanup(server.Close)
	url := "ws" + strings.TrimPrefix(server.URL, "http")
	f.Fuzz(func(t *testing.T, b []byte) {
		conn, response, err := websocket.DefaultDialer.Dial(url, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		response.Body.Close() //nolint:errcheck // it is empty
		wire := conn.NetConn().(*net.TCPConn)
		if err := errors.Join(conn.SetReadDeadline(time.Now().Add(10*time.Second)), wireWrite(wire, b), wire.CloseWrite()); err != nil {
			return // closed by the node already
		}
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
					t.Fatalf("the node does not let go of a connection after %q", b)
				}
				return
			}
		}
	})
}

func wireWrite(wire *net.TCPConn, b []byte) error {
	_, err := wire.Write(b)
	return err
}
