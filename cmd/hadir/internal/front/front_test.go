package front

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a node that remembers what it got and answers as told.
type backend struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	paths  []string
	answer func(w http.ResponseWriter, r *http.Request)
}

func newBackend(t *testing.T, name string) *backend {
	t.Helper()
	b := &backend{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/healthz" {
			b.mu.Lock()
			b.bodies, b.paths = append(b.bodies, string(body)), append(b.paths, r.URL.EscapedPath())
			b.mu.Unlock()
		}
		w.Header().Set("X-Hadir-Node", name)
		b.mu.Lock()
		answer := b.answer
		b.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *backend) set(answer func(w http.ResponseWriter, r *http.Request)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

func (b *backend) got() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.bodies...)
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// hangUp closes the connection after the request was read, without an answer.
func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close() //nolint:errcheck // test
	}
}

func newFront(t *testing.T, cfg Config, backends ...*backend) *httptest.Server {
	t.Helper()
	for i, b := range backends {
		u, err := url.Parse(b.URL)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Nodes = append(cfg.Nodes, Node{ID: fmt.Sprintf("n%d", i+1), URL: u})
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	if cfg.ProbeEvery == 0 {
		cfg.ProbeEvery = time.Hour // only the first probe, at once
	}
	f := New(cfg)
	s := httptest.NewServer(f)
	t.Cleanup(func() {
		s.Close()
		f.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

// reply is an answer that was read to its end.
type reply struct {
	StatusCode int
	Header     http.Header
	Text       string
}

func send(t *testing.T, method, url, key, body string) reply {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

func TestWhatMovesOn(t *testing.T) {
	const tap = "/api/v1/checkins"
	for _, tc := range []struct {
		name, method, path, key string
		moves                   bool
	}{
		{"read", "GET", "/api/v1/attendances?limit=3", "", true},
		{"head", "HEAD", "/", "", true},
		{"keyed check-in", "POST", tap, "k1", true},
		{"check-in without a key", "POST", tap, "", false},
		{"keyed, but no check-in", "POST", "/api/v1/users", "k1", false},
		{"sign-in", "POST", "/api/v1/session", "", false},
		{"put", "PUT", "/api/v1/x", "k1", false},
		{"delete", "DELETE", "/api/v1/session", "", false},
	} {
		for failure, fail := range map[string]func(http.ResponseWriter, *http.Request){
			"503": status(503), "502": status(502), "hang-up": hangUp,
		} {
			t.Run(tc.name+"/"+failure, func(t *testing.T) {
				a, b := newBackend(t, "a"), newBackend(t, "b")
				front := newFront(t, Config{}, a, b)
				// Both fail until one of them got the request; then the other must.
				var first atomic.Bool
				answer := func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/healthz" && first.CompareAndSwap(false, true) {
						fail(w, r)
						return
					}
					w.WriteHeader(http.StatusTeapot)
				}
				a.set(answer)
				b.set(answer)
				body := ""
				if tc.method == "POST" {
					body = `{"type":"in","latitude":-6.2}`
				}
				resp := send(t, tc.method, front.URL+tc.path, tc.key, body)
				tries := append(a.got(), b.got()...)
				if !tc.moves {
					want := map[string]int{"503": 503, "502": 502, "hang-up": 502}[failure]
					if len(tries) != 1 || resp.StatusCode != want {
						t.Fatalf("%d tries, status %d; want one try and %d", len(tries), resp.StatusCode, want)
					}
					return
				}
				if resp.StatusCode != http.StatusTeapot || len(a.got()) != 1 || len(b.got()) != 1 {
					t.Fatalf("status %d, tries %q and %q; want one on each node", resp.StatusCode, a.got(), b.got())
				}
				for _, got := range tries {
					if got != body {
						t.Fatalf("body %q, want %q", got, body)
					}
				}
			})
		}
	}
}

func TestLastAnswerIsPassedOn(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	busy := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(503)
		fmt.Fprint(w, "no leader")
	}
	a.set(busy)
	b.set(busy)
	front := newFront(t, Config{}, a, b)
	resp := send(t, "POST", front.URL+"/api/v1/checkins", "k", "{}")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "2" || resp.Text != "no leader" {
		t.Fatalf("got %d %q %q", resp.StatusCode, resp.Header.Get("Retry-After"), resp.Text)
	}
}

func TestLargeBodyGoesToOneNodeWhole(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	a.set(status(503))
	b.set(status(503))
	front := newFront(t, Config{MaxBody: 10}, a, b)
	body := strings.Repeat("x", 1000)
	if resp := send(t, "POST", front.URL+"/api/v1/checkins", "k", body); resp.StatusCode != 503 {
		t.Fatalf("status %d", resp.StatusCode)
	}
	if got := append(a.got(), b.got()...); len(got) != 1 || got[0] != body {
		t.Fatalf("tries: %q", got)
	}
}

func TestRoundRobin(t *testing.T) {
	a, b, c := newBackend(t, "a"), newBackend(t, "b"), newBackend(t, "c")
	front := newFront(t, Config{}, a, b, c)
	for range 9 {
		send(t, "GET", front.URL+"/", "", "")
	}
	for _, n := range []*backend{a, b, c} {
		if len(n.got()) != 3 {
			t.Fatalf("a node got %d of 9 requests", len(n.got()))
		}
	}
}

func TestDeadNodeIsSkippedAndComesBack(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	front := newFront(t, Config{ProbeEvery: time.Millisecond}, a, b)
	var down atomic.Bool
	down.Store(true)
	a.set(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			hangUp(w, r)
		}
	})
	for range 10 {
		if resp := send(t, "GET", front.URL+"/", "", ""); resp.Header.Get("X-Hadir-Node") != "b" {
			t.Fatalf("answered by %q", resp.Header.Get("X-Hadir-Node"))
		}
	}
	if n := len(a.got()); n != 1 {
		t.Fatalf("the dead node was tried %d times by requests, want once", n)
	}
	// Out of turn, it gets no request that may not move on either.
	for range 4 {
		if resp := send(t, "POST", front.URL+"/api/v1/session", "", "{}"); resp.StatusCode != 200 {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	down.Store(false)
	eventually(t, func() bool { return send(t, "GET", front.URL+"/", "", "").Header.Get("X-Hadir-Node") == "a" })
}

func TestFrozenNodeCostsPatienceOnce(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	thaw := make(chan struct{})
	t.Cleanup(func() { close(thaw) })
	a.set(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-thaw:
		case <-r.Context().Done():
		}
	})
	front := newFront(t, Config{Patience: 50 * time.Millisecond}, a, b)
	for range 4 {
		if resp := send(t, "POST", front.URL+"/api/v1/checkins", "k", "{}"); resp.Header.Get("X-Hadir-Node") != "b" {
			t.Fatalf("answered by %q", resp.Header.Get("X-Hadir-Node"))
		}
	}
	if n := len(a.got()); n != 1 {
		t.Fatalf("the frozen node got %d requests, want 1", n)
	}
}

func TestAllNodesDown(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	front := newFront(t, Config{}, a, b)
	a.Close()
	b.Close()
	for range 2 {
		resp := send(t, "GET", front.URL+"/", "", "")
		if resp.StatusCode != 502 || resp.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(resp.Text, `"code":"no_node"`) {
			t.Fatalf("got %d %s", resp.StatusCode, resp.Text)
		}
	}
}

func TestByName(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	b.set(status(503))
	front := newFront(t, Config{}, a, b)
	resp := send(t, "GET", front.URL+"/n/n2/api/v1/x%2Fy?z=1", "", "")
	if resp.StatusCode != 503 || resp.Header.Get("X-Hadir-Node") != "b" || len(a.got()) != 0 {
		t.Fatalf("got %d from %q", resp.StatusCode, resp.Header.Get("X-Hadir-Node"))
	}
	if b.paths[0] != "/api/v1/x%2Fy" {
		t.Fatalf("path %q", b.paths[0])
	}
	if resp := send(t, "GET", front.URL+"/n/n9/healthz", "", ""); resp.StatusCode != 404 {
		t.Fatalf("unknown node: %d", resp.StatusCode)
	}
}

func TestHeaders(t *testing.T) {
	a := newBackend(t, "a")
	var got http.Header
	var host string
	a.set(func(_ http.ResponseWriter, r *http.Request) { got, host = r.Header.Clone(), r.Host })
	front := newFront(t, Config{}, a)
	req, _ := http.NewRequest("GET", front.URL+"/", nil)
	req.Header.Set("X-Forwarded-For", "203.0.113.9") // forged
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() //nolint:errcheck // test
	if x := got.Get("X-Forwarded-For"); x != "127.0.0.1" {
		t.Errorf("X-Forwarded-For %q", x)
	}
	if want := strings.TrimPrefix(front.URL, "http://"); host != want {
		t.Errorf("host %q, want %q", host, want)
	}
}

func TestUpgradePasses(t *testing.T) {
	a := newBackend(t, "a")
	a.set(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := rw.ReadString('\n')
		fmt.Fprint(conn, "got "+line)
	})
	front := newFront(t, Config{}, a)
	conn, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil) //nolint:bodyclose // the connection is closed
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v %v", resp, err)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := in.ReadString('\n'); line != "got hello\n" {
		t.Fatalf("%q %v", line, err)
	}
}

// eventually waits for a condition, which is a request each time.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if ok() {
			return
		}
	}
	t.Fatal("it did not happen in ten seconds")
}
