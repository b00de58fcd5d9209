package deploy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"hadir/tests/system/harness"
)

// fakeNode stands behind the front and does to a request what the test wants.
type fakeNode struct {
	id     string
	server *httptest.Server

	mu   sync.Mutex
	seen []seen
	act  func(w http.ResponseWriter, r *http.Request) // nil: a friendly 200
}

type seen struct {
	method, path, body string
	header             http.Header
	host               string
}

func (n *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	n.mu.Lock()
	n.seen = append(n.seen, seen{r.Method, r.URL.RequestURI(), string(body), r.Header.Clone(), r.Host})
	act := n.act
	n.mu.Unlock()
	w.Header().Set("X-Hadir-Node", n.id)
	if act != nil {
		act(w, r)
	}
}

func (n *fakeNode) behave(act func(http.ResponseWriter, *http.Request)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.act = act
}

// breaks ends the connection after the request was read and before it is answered:
// the node may have done what was asked.
func breaks(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func answers(status int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// front is a real nginx with our configuration before three fake nodes.
type front struct {
	nodes  []*fakeNode
	client *http.Client
	url    string // https
	plain  string // http
	log    string // file
	errors string // file
	tls    *tls.Config
}

func startFront(t *testing.T) *front {
	t.Helper()
	needs(t, "nginx", installed("nginx"))
	dir := t.TempDir()
	f := &front{log: filepath.Join(dir, "access.log"), errors: filepath.Join(dir, "error.log")}
	ports, err := harness.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	changes := []string{
		"listen 8080 ", "listen " + harness.Loopback(ports) + " ", "listen 8443 ", "listen " + harness.Loopback(ports+1) + " ",
		"/run/secrets/tls_cert", dir + "/server.crt", "/run/secrets/tls_key", dir + "/server.key",
		"/tmp/", dir + "/", "/dev/stdout", f.log, "/dev/stderr", f.errors,
	}
	for i := range 3 {
		n := &fakeNode{id: fmt.Sprintf("node-%d", i+1)}
		n.server = httptest.NewServer(n)
		t.Cleanup(n.server.Close)
		f.nodes = append(f.nodes, n)
		changes = append(changes, n.id+":8080", n.server.Listener.Addr().String())
	}
	hadir(t, "dev-cert", "--dir", dir, "absen.lan")
	adapt := strings.NewReplacer(changes...)
	entries, err := os.ReadDir(filepath.Join(root, "deploy/nginx"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.WriteFile(filepath.Join(dir, e.Name()), []byte(adapt.Replace(file(t, "deploy/nginx", e.Name()))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-g", "daemon off;"}
	if os.Geteuid() == 0 {
		args[len(args)-1] += " user root;" // the folder is ours alone
	}
	cmd := exec.Command("nginx", args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
		<-gone                           //nolint:errcheck // it was told to end
		if t.Failed() {
			b, _ := os.ReadFile(f.errors) //nolint:errcheck // only told
			t.Logf("nginx: %s%s", &said, b)
		}
	})
	f.plain, f.url = "http://"+harness.Loopback(ports), "https://"+harness.Loopback(ports+1)
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	f.tls = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "absen.lan"}
	f.tls.RootCAs.AppendCertsFromPEM(ca)
	f.client = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: f.tls.Clone(), ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(f.client.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = harness.Await(ctx, func() error {
		select {
		case err := <-gone:
			gone <- err
			return fmt.Errorf("nginx ended: %w: %s", err, &said)
		default:
		}
		c, err := net.Dial("tcp", harness.Loopback(ports+1))
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

type got struct {
	status int
	header http.Header
	body   string
	proto  string
}

func (f *front) send(t *testing.T, method, path, body string, header ...string) got {
	t.Helper()
	out, err := f.ask(t.Context(), method, path, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (f *front) ask(ctx context.Context, method, path, body string, header ...string) (got, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, f.url+path, strings.NewReader(body))
	if err != nil {
		return got{}, err
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return got{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return got{resp.StatusCode, resp.Header, string(b), resp.Proto}, err
}

// took gives what the nodes have seen since the last call.
func (f *front) took() (out []seen) {
	for _, n := range f.nodes {
		n.mu.Lock()
		out = append(out, n.seen...)
		n.seen = nil
		n.mu.Unlock()
	}
	return out
}

func (f *front) all(act func(http.ResponseWriter, *http.Request)) {
	for _, n := range f.nodes {
		n.behave(act)
	}
}

const (
	checkIns = "/api/v1/checkins"
	tap      = `{"type":"in"}`
)

// TestWhatIsSentAgain is the promise of the front: what may have been done is done
// again only where that changes nothing.
func TestWhatIsSentAgain(t *testing.T) {
	key := []string{"Idempotency-Key", "0193b3a0-0000-7000-8000-000000000001"}
	for name, tc := range map[string]struct {
		method, path string
		header       []string
		act          func(http.ResponseWriter, *http.Request)
		want         int // nodes that see it, when all of them do the same
		status       int
	}{
		"a read":                                 {"GET", "/api/v1/attendances", nil, breaks, 3, 502},
		"a keyed check-in":                       {"POST", checkIns, key, breaks, 3, 502},
		"a keyed check-in that nobody can take":  {"POST", checkIns, key, answers(503), 3, 503},
		"a keyed check-in with an empty key":     {"POST", checkIns, []string{"Idempotency-Key", ""}, breaks, 1, 502},
		"a check-in without a key":               {"POST", checkIns, nil, breaks, 1, 502},
		"a check-in without a key, refused":      {"POST", checkIns, nil, answers(503), 1, 503},
		"a keyed check-in with an answer":        {"POST", checkIns, key, answers(409), 1, 409},
		"a keyed check-in at the limit":          {"POST", checkIns, key, answers(429), 1, 429},
		"another keyed POST":                     {"POST", "/api/v1/users", key, breaks, 1, 502},
		"a keyed POST below check-ins":           {"POST", checkIns + "/x", key, breaks, 1, 502},
		"a sign-in":                              {"POST", "/api/v1/session", nil, breaks, 1, 502},
		"a check-in of a page":                   {"POST", "/check-in", key, breaks, 1, 502},
		"a change":                               {"PATCH", "/api/v1/users/1", key, breaks, 1, 502},
		"a restore":                              {"POST", "/api/v1/restore", key, breaks, 1, 502},
		"a backup":                               {"GET", "/api/v1/backup", nil, breaks, 1, 502},
		"a node that says that it is not ready":  {"GET", "/readyz", nil, answers(503), 1, 503},
		"a read that no node can serve properly": {"GET", "/api/v1/attendances", nil, answers(503), 1, 503},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFront(t) // its own, because a front remembers who failed
			f.all(tc.act)
			out := f.send(t, tc.method, tc.path, tap, tc.header...)
			seen := f.took()
			if len(seen) != tc.want || out.status != tc.status {
				t.Errorf("%d nodes have seen it and the answer is %d; want %d and %d", len(seen), out.status, tc.want, tc.status)
			}
			for _, s := range seen {
				if tc.method == "POST" && s.body != tap || len(tc.header) > 0 && s.header.Get(tc.header[0]) != tc.header[1] {
					t.Errorf("a node has seen something else: %+v", s)
				}
			}
			if out.status == 502 && (!strings.Contains(out.body, `"code":"no_node"`) || out.header.Get("Retry-After") != "1") {
				t.Errorf("the front's own answer: %v %s", out.header, out.body)
			}
		})
	}
}

// TestADeadNodeCostsNobodyAnything: what was never sent may go elsewhere.
func TestADeadNodeCostsNobodyAnything(t *testing.T) {
	f := startFront(t)
	f.nodes[1].server.Close()
	for i := range 30 {
		method, path := "GET", "/today"
		if i%2 == 1 {
			method, path = "POST", "/api/v1/session"
		}
		if out := f.send(t, method, path, ""); out.status != 200 {
			t.Errorf("request %d: %d %s", i, out.status, out.body)
		}
	}
	if n := len(f.took()); n != 30 {
		t.Errorf("nodes have seen %d requests, want 30", n)
	}
}

// TestInTurn: every node gets its share, check-ins too.
func TestInTurn(t *testing.T) {
	f := startFront(t)
	for _, path := range []string{"/", checkIns} {
		for range 30 {
			f.send(t, "POST", path, tap, "Idempotency-Key", "k")
		}
		for _, n := range f.nodes {
			n.mu.Lock()
			if len(n.seen) < 5 { // workers of nginx take turns each for themselves at first
				t.Errorf("%s: %s has seen %d of 30", path, n.id, len(n.seen))
			}
			n.mu.Unlock()
		}
		f.took()
	}
}

// TestAFrozenNode takes connections and never answers.
func TestAFrozenNode(t *testing.T) {
	f := startFront(t)
	thaw := make(chan struct{})
	f.nodes[2].behave(func(http.ResponseWriter, *http.Request) { <-thaw })
	t.Cleanup(func() { close(thaw) })
	for range 3 { // one of them meets it
		if out := f.send(t, "GET", "/today", ""); out.status != 200 {
			t.Errorf("a read: %d %s", out.status, out.body)
		}
		if out := f.send(t, "POST", checkIns, tap, "Idempotency-Key", "k"); out.status != 200 {
			t.Errorf("a keyed check-in: %d %s", out.status, out.body)
		}
	}
	if n := len(f.took()); n != 8 {
		t.Errorf("nodes have seen %d requests, want 3 reads, 3 check-ins, and one of each twice", n)
	}
}

func TestWhatNodesAreTold(t *testing.T) {
	f := startFront(t)
	out := f.send(t, "GET", "/history?from=2026-11-01", "", "Host", "absen.lan:8443",
		"X-Forwarded-For", "203.0.113.9", "X-Forwarded-Proto", "http", "X-Request-Id", "forged")
	seen := f.took()
	if len(seen) != 1 || out.proto != "HTTP/2.0" {
		t.Fatalf("%d nodes have seen it, over %s", len(seen), out.proto)
	}
	h := seen[0].header
	for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "Connection": ""} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if seen[0].host != "absen.lan:8443" || seen[0].path != "/history?from=2026-11-01" {
		t.Errorf("asked for %s at %s", seen[0].path, seen[0].host)
	}
	if id := h.Get("X-Request-Id"); len(id) != 32 {
		t.Errorf("request id %q", id)
	}
}

// TestSecurityHeaders: each once, whether a node said it or not.
func TestSecurityHeaders(t *testing.T) {
	f := startFront(t)
	f.all(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
	})
	for _, path := range []string{"/", "/n/node-1/healthz", "/metrics", "/debug/pprof/"} {
		out := f.send(t, "GET", path, "")
		for _, name := range []string{"Strict-Transport-Security", "Permissions-Policy"} {
			if n := len(out.header.Values(name)); n != 1 {
				t.Errorf("%s: %s %d times", path, name, n)
			}
		}
		for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Cache-Control"} {
			if n := len(out.header.Values(name)); n > 1 {
				t.Errorf("%s: %s %d times", path, name, n)
			}
		}
		if s := out.header.Get("Server"); s != "nginx" {
			t.Errorf("%s: tells its version: %q", path, s)
		}
	}
}

// TestOneNodeByName is what the cluster page asks of each node, and nothing more.
func TestOneNodeByName(t *testing.T) {
	f := startFront(t)
	for _, probe := range []string{"/healthz", "/readyz", "/api/v1/cluster", "/api/v1/cluster/health"} {
		for _, n := range f.nodes {
			out := f.send(t, "GET", "/n/"+n.id+probe+"?x=1", "")
			if out.status != 200 || out.header.Get("X-Hadir-Node") != n.id {
				t.Errorf("%s of %s: %d from %q", probe, n.id, out.status, out.header.Get("X-Hadir-Node"))
			}
			if s := f.took(); len(s) != 1 || s[0].path != probe {
				t.Errorf("%s of %s: seen %+v", probe, n.id, s)
			}
		}
	}
	for path, want := range map[string]int{
		"/n/node-4/healthz": 404, "/n/node-1/": 404, "/n/node-1/metrics": 404, "/n/node-1/api/v1/users": 404, "/n/node-1/healthz/x": 404,
		"/n/node-1/api/v1/cluster/transfer": 404, "/n/node-1/../../metrics": 404, "/metrics": 404, "/api/v1/metrics": 404, "/debug/pprof/": 404,
		"//metrics": 404, "/%6detrics": 404,
	} {
		if out := f.send(t, "GET", path, ""); out.status != want {
			t.Errorf("%s: %d, want %d", path, out.status, want)
		}
	}
	if out := f.send(t, "POST", "/n/node-1/api/v1/cluster", "{}"); out.status != 403 {
		t.Errorf("POST by name: %d", out.status)
	}
	if s := f.took(); len(s) > 0 {
		t.Errorf("a node has seen %+v", s)
	}
	f.nodes[0].server.Close()
	if out := f.send(t, "GET", "/n/node-1/healthz", ""); out.status != 502 || len(f.took()) > 0 {
		t.Errorf("a dead node by its name: %d %s", out.status, out.body)
	}
}

func TestSizes(t *testing.T) {
	f := startFront(t)
	for path, tc := range map[string]struct{ size, want int }{
		"/api/v1/users":         {97 << 10, 413},
		checkIns:                {97 << 10, 413},
		"/check-in":             {70 << 10, 200}, // a node says it better
		"/api/v1/users/import":  {3 << 20, 200},
		"/admin/people/import":  {5 << 20, 413},
		"/api/v1/restore":       {9 << 20, 200},
		"/api/v1/export/verify": {97 << 10, 413},
	} {
		body := strings.Repeat("x", tc.size)
		out := f.send(t, "POST", path, body, "Idempotency-Key", "k")
		if out.status != tc.want {
			t.Errorf("%d KiB to %s: %d, want %d", tc.size>>10, path, out.status, tc.want)
		}
		if tc.want == 413 && !strings.Contains(out.body, `"code":"too_large"`) {
			t.Errorf("%s: %s", path, out.body)
		}
		if s := f.took(); tc.want == 200 && (len(s) != 1 || s[0].body != body) || tc.want != 200 && len(s) > 0 {
			t.Errorf("%s: %d nodes have seen it, or not whole", path, len(s))
		}
	}
}

// TestAMorningPasses: a school is one address. All its people sign in at once; what
// comes on top of that in the same moment is a flood.
func TestAMorningPasses(t *testing.T) {
	f := startFront(t)
	const people = 1500
	// Faster than the limit by far, and no more at a time than a busy machine bears.
	signIns := func(n int) (answers []got) {
		t.Helper()
		left := make(chan struct{}, n)
		for range n {
			left <- struct{}{}
		}
		close(left)
		var mu sync.Mutex
		var wg sync.WaitGroup
		var failed error
		for range 32 {
			wg.Go(func() {
				for range left {
					out, err := f.ask(t.Context(), "POST", "/api/v1/session", "{}")
					mu.Lock()
					answers, failed = append(answers, out), errors.Join(failed, err)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if failed != nil {
			t.Fatal(failed)
		}
		return answers
	}
	for _, out := range signIns(people) {
		if out.status != 200 {
			t.Fatalf("a sign-in: %d %s", out.status, out.body)
		}
	}
	refused := 0
	for _, out := range signIns(2 * people) {
		if out.status == http.StatusTooManyRequests {
			refused++
			if !strings.Contains(out.body, `"code":"rate_limited"`) || out.header.Get("Retry-After") != "1" {
				t.Fatalf("%v %s", out.header, out.body)
			}
		}
	}
	if refused == 0 {
		t.Error("a flood was let through")
	}
}

func TestStream(t *testing.T) {
	f := startFront(t)
	f.all(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		if kind, b, err := c.ReadMessage(); err == nil {
			c.WriteMessage(kind, append(b, '!')) //nolint:errcheck // the client tells
		}
	})
	dialer := websocket.Dialer{TLSClientConfig: f.tls, HandshakeTimeout: 10 * time.Second}
	c, resp, err := dialer.DialContext(t.Context(), strings.Replace(f.url, "https", "wss", 1)+"/api/v1/stream?ticket=OPENSESAME", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() //nolint:errcheck // a handshake has none
	defer c.Close()
	if err := c.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := c.ReadMessage(); err != nil || string(b) != "hello!" {
		t.Errorf("%q, %v", b, err)
	}
	if s := f.took(); len(s) != 1 || s[0].path != "/api/v1/stream?ticket=OPENSESAME" {
		t.Errorf("seen %+v", s)
	}
	// The line is written when the connection has ended.
	c.Close() //nolint:errcheck // it has done what it was for
	f.lines(t, 1)
	// A node that fails must not bring the ticket into a log either.
	f.all(breaks)
	f.send(t, "GET", "/api/v1/stream?ticket=OPENSESAME", "")
	f.send(t, "GET", "/", "") // told in the error log, so that the file is not simply empty
	lines := f.lines(t, 3)
	if l := lines[0]; l["path"] != "/api/v1/stream" || l["status"] != 101.0 || strings.Contains(fmt.Sprint(lines), "OPENSESAME") {
		t.Errorf("logged %v", lines)
	}
	b, err := os.ReadFile(f.errors)
	if err != nil || len(b) == 0 || bytes.Contains(b, []byte("OPENSESAME")) {
		t.Errorf("error log: %v\n%s", err, b)
	}
}

// lines gives the access log as soon as it has n lines, each of which is JSON.
func (f *front) lines(t *testing.T, n int) (out []map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := harness.Await(ctx, func() error {
		b, err := os.ReadFile(f.log)
		if err != nil {
			return err
		}
		out = nil
		for line := range bytes.Lines(b) {
			var m map[string]any
			if err := json.Unmarshal(line, &m); err != nil {
				return fmt.Errorf("%s: %w", line, err)
			}
			out = append(out, m)
		}
		if len(out) < n {
			return fmt.Errorf("%d lines", len(out))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAccessLog(t *testing.T) {
	f := startFront(t)
	f.nodes[0].behave(breaks)
	f.nodes[1].behave(breaks)
	f.send(t, "POST", checkIns+"?token=OPENSESAME", tap, "Idempotency-Key", "k", "User-Agent", `a"b\c`)
	f.send(t, "GET", "/a%22b?ticket=OPENSESAME", "")
	f.send(t, "GET", "/metrics", "")
	lines := f.lines(t, 3)
	if strings.Contains(fmt.Sprint(lines), "OPENSESAME") {
		t.Errorf("what follows a question mark is in the log: %v", lines)
	}
	first := lines[0]
	id, _ := first["request_id"].(string)
	if first["path"] != checkIns || first["status"] != 200.0 || first["node"] != "node-3" || len(id) != 32 || first["client"] != "127.0.0.1" {
		t.Errorf("%v", first)
	}
	tried, _ := first["upstream"].(string)
	if !strings.Contains(tried, f.nodes[2].server.Listener.Addr().String()) {
		t.Errorf("the node that answered is not named: %v", first)
	}
	if lines[2]["status"] != 404.0 || lines[2]["upstream"] != "" {
		t.Errorf("%v", lines[2])
	}
}

func TestPlainHTTP(t *testing.T) {
	f := startFront(t)
	for host, want := range map[string]string{
		"absen.lan":         "https://absen.lan/today?x=1",
		"absen.lan:8080":    "https://absen.lan:8443/today?x=1",
		"192.168.1.10:8080": "https://192.168.1.10:8443/today?x=1",
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", f.plain+"/today?x=1", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close() //nolint:errcheck // nothing in it is of interest
		if resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != want {
			t.Errorf("%s: %d to %q", host, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	if len(f.took()) > 0 {
		t.Error("a node has seen a plain request")
	}
}

// TestNoNode: who reads pages gets a page.
func TestNoNode(t *testing.T) {
	f := startFront(t)
	for _, n := range f.nodes {
		n.server.Close()
	}
	out := f.send(t, "GET", "/", "", "Accept", "text/html,*/*")
	if out.status != 502 || !strings.HasPrefix(out.header.Get("Content-Type"), "text/html") || !strings.Contains(out.body, "Belum ada node") {
		t.Errorf("%d %v %s", out.status, out.header, out.body)
	}
	out = f.send(t, "GET", "/api/v1/cluster/health", "", "Accept", "application/json")
	if out.status != 502 || out.header.Get("Content-Type") != "application/problem+json" || !json.Valid([]byte(out.body)) {
		t.Errorf("%d %v %s", out.status, out.header, out.body)
	}
	// A node that is back is in turn again.
	f = startFront(t)
	f.all(breaks)
	f.send(t, "POST", checkIns, tap, "Idempotency-Key", "k")
	f.all(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := harness.Await(ctx, func() error {
		if out := f.send(t, "POST", checkIns, tap, "Idempotency-Key", "k"); out.status != 200 {
			return fmt.Errorf("%d", out.status)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
