package deploy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"hadir/tests/system/harness"
)

// site is a copy of the Compose file, up on an engine, with secrets, ports and
// networks of its own.
type site struct {
	t        *testing.T
	dir      string
	project  string
	compose  []string
	net      string
	front    string // https
	tls      *tls.Config
	password string
}

// composeCommand gives the words of the Compose command, or says what is missing.
func composeCommand() ([]string, error) {
	if err := exec.Command("docker", "info").Run(); err != nil {
		return nil, errors.New("no container engine answers")
	}
	if exec.Command("docker", "compose", "version").Run() == nil {
		return []string{"docker", "compose"}, nil
	}
	return []string{"docker-compose"}, installed("docker-compose")
}

// imagesThere says what is missing: the test builds and pulls nothing.
func imagesThere() error {
	for _, image := range []string{image(), "nginx:1.27-alpine", "redis:7-alpine", "mysql:8.0"} {
		if exec.Command("docker", "image", "inspect", image).Run() != nil {
			return fmt.Errorf("the image %s is not there (make docker builds ours, docker compose pull fetches the others)", image)
		}
	}
	return nil
}

func image() string {
	if name := os.Getenv("HADIR_IMAGE"); name != "" {
		return name
	}
	return "hadir:dev"
}

func newSite(t *testing.T) *site {
	t.Helper()
	if !required("docker") {
		t.Skip("needs an engine, the image and four minutes: make docker, then HADIR_TEST_REQUIRE=docker")
	}
	compose, err := composeCommand()
	needs(t, "docker", err)
	needs(t, "docker", imagesThere())
	ports, err := harness.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{
		t: t, dir: t.TempDir(), project: fmt.Sprintf("hadir-test-%d", os.Getpid()), compose: compose,
		// Another one than a project that is up, most likely.
		net: fmt.Sprintf("172.30.%d", 96+os.Getpid()%128), front: "https://" + harness.Loopback(ports+1),
	}
	for _, name := range []string{"docker-compose.yml", ".env.example", "deploy"} {
		if out, err := exec.Command("cp", "-r", filepath.Join(root, name), s.dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	run := exec.Command("sh", filepath.Join(s.dir, "deploy/secrets.sh"), "localhost", "127.0.0.1")
	run.Env = append(os.Environ(), "HADIR="+program(t))
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	settings := fmt.Sprintf("COMPOSE_PROJECT_NAME=%s\nHADIR_SECRETS=./secrets\nHADIR_IMAGE=%s\nHADIR_NET=%s\nHADIR_BIND=127.0.0.1\nHADIR_HTTP_PORT=%d\nHADIR_HTTPS_PORT=%d\n",
		s.project, image(), s.net, ports, ports+1)
	if err := os.WriteFile(filepath.Join(s.dir, ".env"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(s.dir, "secrets/tls/ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	s.tls = &tls.Config{RootCAs: x509.NewCertPool()}
	s.tls.RootCAs.AppendCertsFromPEM(ca)
	password, err := os.ReadFile(filepath.Join(s.dir, "secrets/admin.password"))
	if err != nil {
		t.Fatal(err)
	}
	s.password = string(password)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", s.try("ps"))
			t.Logf("%s", s.try("logs", "--tail=25"))
		}
		s.try("down", "-v", "--remove-orphans", "-t", "10")
	})
	return s
}

// try runs Compose and gives what it said.
func (s *site) try(args ...string) string {
	cmd := exec.Command(s.compose[0], append(slices.Clone(s.compose[1:]), args...)...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s\n%s: %v", out, strings.Join(args, " "), err)
	}
	return string(out)
}

func (s *site) run(args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.compose[0], append(slices.Clone(s.compose[1:]), args...)...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// containers gives the ids of services, in their order.
func (s *site) containers(services ...string) (ids []string) {
	s.t.Helper()
	for _, name := range services {
		id := strings.TrimSpace(s.run("ps", "-q", name))
		if id == "" { // Compose v2 lists the dead ones only when asked
			id = strings.TrimSpace(s.run("ps", "-aq", name))
		}
		ids = append(ids, id)
	}
	return ids
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

var (
	nodes    = []string{"node-1", "node-2", "node-3"}
	services = append(slices.Clone(nodes), "nginx", "redis", "mysql")
)

// healthy waits until the engine calls the services healthy.
func (s *site) healthy(services ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	ids := s.containers(services...)
	if err := harness.Await(ctx, func() error {
		out, err := exec.CommandContext(ctx, "docker", append([]string{"inspect", "-f", "{{.Name}} {{.State.Health.Status}}"}, ids...)...).CombinedOutput()
		if n := bytes.Count(out, []byte(" healthy")); err != nil || n != len(ids) {
			return fmt.Errorf("%s %w", out, err)
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) client() *client {
	c := &client{t: s.t, base: s.front, http: &http.Client{
		Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: s.tls.Clone(), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16},
	}}
	s.t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// at gives the same person at one node, past the front.
func (s *site) at(c *client, node int) *client {
	return &client{t: s.t, base: fmt.Sprintf("http://%s.%d:8080", s.net, 10+node), http: http.DefaultClient, token: c.token}
}

// TestComposeLosesNothing has the whole system up, kills each container in turn and
// then all nodes at once while people check in, restarts the nodes in good order,
// takes everything down and up again, and asks every node for every tap.
func TestComposeLosesNothing(t *testing.T) {
	s := newSite(t)
	begun := time.Now()
	s.run("up", "-d", "--no-build")
	s.healthy(services...)
	t.Logf("up and healthy after %.1f s", time.Since(begun).Seconds())

	admin := s.client()
	admin.signIn("admin@hadir.example", s.password)
	events := s.watch(admin)
	crowd := newCrowd(t, admin, 1000)
	if status, body := admin.do("POST", checkIns, harness.Key(), crowd.next()); status != http.StatusCreated {
		t.Fatalf("check-in through the front: %d %s", status, body)
	}
	select {
	case frame := <-events:
		t.Logf("a watcher through the front was told: %.60s", frame)
	case <-time.After(time.Minute):
		t.Fatal("a watcher through the front was told nothing")
	}

	l := startLoad(t, admin, crowd)
	s.more(l)
	for _, name := range services {
		id := s.containers(name)[0]
		from := time.Now()
		docker(t, "kill", id)
		if name != "nginx" { // without the front nobody gets on
			s.more(l)
		}
		docker(t, "start", id)
		s.healthy(name)
		s.more(l)
		t.Logf("%-7s killed and started: longest gap %4d ms", name, l.gap(from).Milliseconds())
	}
	ids := s.containers(nodes...)
	from := time.Now()
	docker(t, append([]string{"kill"}, ids...)...)
	docker(t, append([]string{"start"}, ids...)...)
	engine := time.Since(from)
	s.healthy(nodes...)
	s.more(l)
	t.Logf("all nodes killed at once and started: longest gap %d ms; the engine needed %d ms of it", l.gap(from).Milliseconds(), engine.Milliseconds())
	// Restarted one after the other, as for an upgrade: nobody has to try again.
	again := l.failed()
	from = time.Now()
	for _, name := range nodes {
		s.run("restart", name)
		s.run("exec", "-T", name, "hadir", "cluster", "status", "--wait", "2m")
	}
	s.more(l)
	t.Logf("nodes restarted one after the other: longest gap %d ms", l.gap(from).Milliseconds())
	if n := l.failed() - again; n != 0 {
		t.Errorf("%d answers made somebody try again while nodes were restarted in good order: %v", n, l.again)
	}
	taps := l.stop()
	answers := make(map[int]int)
	for _, p := range taps {
		answers[p.status]++
	}
	t.Logf("%d taps, by their first final answer: %v; answers that made somebody try again: %v", len(taps), answers, l.again)

	before := s.judge(admin, taps)
	t.Log(strings.TrimSpace(lastLines(s.run("exec", "-T", "node-1", "hadir", "cluster", "verify"), 2)))
	s.exported()

	from = time.Now()
	s.run("down", "-t", "20")
	down := time.Since(from)
	from = time.Now()
	s.run("up", "-d", "--no-build")
	s.healthy(services...)
	t.Logf("down in %.1f s, up again and healthy in %.1f s", down.Seconds(), time.Since(from).Seconds())
	if after := s.judge(admin, taps); !slices.Equal(before, after) { // its session is still good, too
		t.Errorf("%d records before and %d after down and up", len(before), len(after))
	}
	s.exported()
	phone(t, s)
}

// exported waits until the SQL copy has everything, and compares it.
func (s *site) exported() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	if err := harness.Await(ctx, func() error {
		out := s.try("exec", "-T", "node-2", "hadir", "export", "verify")
		if !strings.Contains(out, "equal; 0 parked") {
			return errors.New(out)
		}
		return nil
	}); err != nil {
		s.t.Error(err)
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// watch gives what a WebSocket through the front tells of events.
func (s *site) watch(c *client) <-chan string {
	s.t.Helper()
	dialer := websocket.Dialer{TLSClientConfig: s.tls, HandshakeTimeout: 10 * time.Second}
	conn, resp, err := dialer.DialContext(s.t.Context(), strings.Replace(c.base, "https", "wss", 1)+"/api/v1/stream?topics=attendance",
		http.Header{"Authorization": {"Bearer " + c.token}})
	if err != nil {
		s.t.Fatalf("stream: %v", err)
	}
	resp.Body.Close()                    //nolint:errcheck // the handshake has none
	s.t.Cleanup(func() { conn.Close() }) //nolint:errcheck // it ends with the test
	out := make(chan string, 1)
	go func() {
		for {
			_, b, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if bytes.Contains(b, []byte(`"attendance.accepted"`)) {
				select {
				case out <- string(b):
				default:
				}
			}
		}
	}()
	return out
}

// judge asks every node for every tap: it is decided, everywhere in the same way,
// and no record belongs to two taps. It gives the records.
func (s *site) judge(admin *client, taps []*tapped) (records []uint64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	seen := make(map[uint64]string)
	for _, p := range taps {
		var first string
		for node := range nodes {
			at := s.at(admin, node+1)
			var state struct {
				Status     string
				Attendance struct{ ID uint64 }
			}
			if err := harness.Await(ctx, func() error {
				status, b, err := at.try("GET", checkIns+"/"+p.key, "", nil)
				if err != nil || status != http.StatusOK {
					return fmt.Errorf("%s at %s: %d %s %w", p.key, nodes[node], status, b, err)
				}
				if err := json.Unmarshal(b, &state); err != nil {
					return err
				}
				if state.Status == "queued" {
					return fmt.Errorf("%s still waits at %s", p.key, nodes[node])
				}
				return nil
			}); err != nil {
				s.t.Fatal(err)
			}
			is := fmt.Sprint(state.Status, state.Attendance.ID)
			if first == "" {
				first = is
			}
			if is != first || state.Status != "accepted" {
				s.t.Errorf("%s is %s at %s and %s at %s", p.key, first, nodes[0], is, nodes[node])
			}
			if id := state.Attendance.ID; node == 0 && state.Status == "accepted" {
				if other := seen[id]; other != "" {
					s.t.Errorf("%s and %s share record %d", p.key, other, id)
				}
				seen[id] = p.key
				records = append(records, id)
			}
		}
	}
	slices.Sort(records)
	return records
}

// crowd are people who have not checked in.
type crowd struct {
	mu    sync.Mutex
	users []uint64
	out   bool
}

func newCrowd(t *testing.T, admin *client, n int) *crowd {
	t.Helper()
	c := &crowd{}
	for i := range n {
		status, b := admin.do("POST", "/api/v1/users", harness.Key(), map[string]string{
			"name": fmt.Sprintf("Student %d", i), "email": fmt.Sprintf("student%d@deploy.example", i), "role": "student",
		})
		var u struct{ ID uint64 }
		if err := json.Unmarshal(b, &u); status != http.StatusCreated || err != nil {
			t.Fatalf("student %d: %d %s", i, status, b)
		}
		c.users = append(c.users, u.ID)
	}
	return c
}

// next gives a check-in that nobody has sent, nil when there is none left.
func (c *crowd) next() map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.users) == 0 {
		return nil
	}
	kind := "in"
	if c.out {
		kind = "out"
	}
	body := map[string]any{"type": kind, "user_id": c.users[0], "location_error": "unavailable"}
	if c.out {
		c.users = c.users[1:]
	}
	c.out = !c.out
	return body
}

// tapped is a check-in and its first final answer.
type tapped struct {
	key    string
	status int
	at     time.Time // of the answer
}

// load sends check-ins, each again under its key until somebody has it.
type load struct {
	mu    sync.Mutex
	taps  []*tapped
	again map[string]int // why somebody tried again
	end   context.CancelFunc
	wg    sync.WaitGroup
}

const (
	tappers = 4
	pace    = 500 * time.Millisecond // of each
)

func startLoad(t *testing.T, admin *client, people *crowd) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{again: make(map[string]int), end: cancel}
	for range tappers {
		l.wg.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for ctx.Err() == nil {
				body := people.next()
				if body == nil {
					return
				}
				l.tap(t, admin, body, tick.C)
				<-tick.C
			}
		})
	}
	t.Cleanup(func() { l.stop() })
	return l
}

// tap sends one check-in until it is decided or recorded; it is never given up.
func (l *load) tap(t *testing.T, admin *client, body map[string]any, tick <-chan time.Time) {
	p := &tapped{key: harness.Key()}
	for t.Context().Err() == nil {
		status, b, err := admin.try("POST", checkIns, p.key, body)
		l.mu.Lock()
		if err == nil && (status == http.StatusCreated || status == http.StatusAccepted) {
			p.status, p.at = status, time.Now()
			l.taps = append(l.taps, p)
			l.mu.Unlock()
			return
		}
		why := fmt.Sprint(status)
		if err != nil {
			why = "no answer"
		} else if status < 500 && status != http.StatusTooManyRequests {
			t.Errorf("a check-in: %d %s", status, b)
		}
		l.again[why]++
		l.mu.Unlock()
		<-tick
	}
}

// stop ends the load when every tap has its answer.
func (l *load) stop() []*tapped {
	l.end()
	l.wg.Wait()
	return l.taps
}

// failed counts the answers that made somebody try again.
func (l *load) failed() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.again {
		n += times
	}
	return n
}

// more waits until the load has got on well: many answers after this moment.
func (s *site) more(l *load) {
	s.t.Helper()
	const enough = 24
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	l.mu.Lock()
	from := len(l.taps)
	l.mu.Unlock()
	if err := harness.Await(ctx, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if n := len(l.taps) - from; n < enough {
			return fmt.Errorf("only %d answers more", n)
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
}

// gap is the longest time without an answer since from.
func (l *load) gap(from time.Time) (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := from
	for _, p := range l.taps {
		if p.at.After(from) {
			longest, last = max(longest, p.at.Sub(last)), p.at
		}
	}
	return longest
}
