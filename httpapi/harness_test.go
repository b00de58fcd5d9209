package httpapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/fsm"
	"hadir/httpapi"
	"hadir/httpapi/password"
	"hadir/store"
)

// testClock is the real time, and may be moved ahead.
type testClock struct {
	mu     sync.Mutex
	ahead  time.Duration
	frozen time.Time // stands still there, when it is set
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.frozen.IsZero() {
		return c.frozen.Add(c.ahead)
	}
	return time.Now().Add(c.ahead)
}

func (c *testClock) freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = time.Now()
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// fakeNode is a node without a cluster: a real state machine over a real state,
// to which each proposal is one entry.
type fakeNode struct {
	machine *fsm.Machine
	clock   *testClock

	mu       sync.Mutex
	applied  uint64
	proposed int   // by the door, since the set-up
	refuse   error // of every proposal
	unread   error // of every read
	status   func(*cluster.Status)
	moved    int      // transfers of leadership
	gone     []string // servers that were removed
	moveErr  error
	compared []cluster.Comparison
	hold     chan struct{} // reads wait for it, when it is there
	// before looks at each proposal, may have others applied first, and refuses it
	// with an error.
	before func(cluster.Request) error
	// reading is called before each read for a request of a server, when it is there.
	// The stream reads for itself, and what such a read does here would wake it again.
	reading func()
}

func (n *fakeNode) Name() string { return "n1" }

func (n *fakeNode) Applied() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.applied
}

func (n *fakeNode) Propose(ctx context.Context, req cluster.Request) (cluster.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proposed++
	if n.refuse != nil {
		return cluster.Result{}, n.refuse
	}
	if n.before != nil {
		if err := n.before(req); err != nil {
			return cluster.Result{}, err
		}
	}
	return n.apply(req)
}

func (n *fakeNode) apply(req cluster.Request) (cluster.Result, error) {
	now := n.clock.Now()
	if b, ok := req.Command.Body.(attendance.CheckIn); ok {
		b.Age = attendance.Millis(max(0, now.Sub(req.ReceivedAt).Milliseconds()))
		req.Command.Body = b
	}
	data, err := attendance.EncodeEntry(attendance.Entry{
		Level: 1, Cluster: attendance.ClusterID{1, 2, 3}, ProposedAt: attendance.MillisOf(now), Commands: []attendance.Command{req.Command},
	})
	if err != nil {
		return cluster.Result{}, fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	out, err := n.machine.Apply([]fsm.Entry{{Index: n.applied + 1, Term: 3, Data: data}})
	if err != nil {
		return cluster.Result{}, err
	}
	n.applied++
	return cluster.Result{
		Outcome: out[0][0], Leader: "n2", Term: 3, Index: n.applied, Forwarded: true, Forward: 600 * time.Microsecond,
		Commit: 2900 * time.Microsecond,
	}, nil
}

func (n *fakeNode) Read(ctx context.Context, how cluster.Read, f func(*store.ReadTx) error) (cluster.Freshness, error) {
	n.mu.Lock()
	reading := n.reading
	n.mu.Unlock()
	if reading != nil && ctx.Value(http.ServerContextKey) != nil {
		reading()
	}
	n.mu.Lock()
	unread, applied, hold := n.unread, n.applied, n.hold
	if how.Consistency == cluster.Strong && errors.Is(n.refuse, cluster.ErrNoLeader) {
		unread = n.refuse // it takes a leader as well
	}
	n.mu.Unlock()
	fresh := cluster.Freshness{Index: applied, AsOf: n.clock.Now(), Age: 0}
	if hold != nil {
		<-hold
	}
	if unread != nil {
		return fresh, unread
	}
	if how.MinIndex > applied {
		return fresh, fmt.Errorf("%w: entry %d", cluster.ErrBehind, how.MinIndex)
	}
	return fresh, n.machine.State().View(f)
}

func (n *fakeNode) Status() cluster.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := cluster.Status{
		Node: "n1", Cluster: attendance.ClusterID{1, 2, 3}, Epoch: 1, Leader: "n2", Term: 3, Quorum: 2, CanLose: 1,
		Nodes: []cluster.NodeStatus{
			{ID: "n1-aa", Name: "n1", Address: "127.0.0.1:7401", State: cluster.Follower, Voter: true, Reachable: true, Applied: n.applied, Commit: n.applied, Version: "dev", Level: 1, StartedAt: n.clock.Now()},
			{ID: "n2-bb", Name: "n2", Address: "127.0.0.1:7402", State: cluster.Leader, Voter: true, Reachable: true, Applied: n.applied, Commit: n.applied},
			{ID: "n3-cc", Name: "n3", Address: "127.0.0.1:7403", State: cluster.Down, Voter: true, LastContact: -1},
		},
		Elections: []cluster.Election{{Term: 3, Leader: "n2", At: n.clock.Now(), Leaderless: time.Second}},
		Fresh:     cluster.Freshness{Index: n.applied, AsOf: n.clock.Now()},
	}
	if n.status != nil {
		n.status(&s)
	}
	return s
}

func (n *fakeNode) TransferLeadership(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.moved++
	return n.moveErr
}

func (n *fakeNode) Remove(_ context.Context, who string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = append(n.gone, who)
	return n.moveErr
}

func (n *fakeNode) Compare(context.Context) ([]cluster.Comparison, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.compared, nil
}

// set changes what the node does.
func (n *fakeNode) set(f func(*fakeNode)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func (n *fakeNode) proposals() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proposed
}

func (n *fakeNode) transfers() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.moved
}

// The sample school.
const (
	adminID, teacherID, aniID, budiID, citraID, goneID = 1, 2, 3, 4, 5, 6

	word = "rahasia"
)

var emails = map[int]string{
	adminID: "admin@sekolah.test", teacherID: "guru@sekolah.test", aniID: "ani@sekolah.test", budiID: "budi@sekolah.test",
	citraID: "citra@sekolah.test", goneID: "gone@sekolah.test",
}

// world is a door to a fake node in a sample school: the teacher is responsible
// for Ani and Budi, not for Citra.
type world struct {
	t     testing.TB
	node  *fakeNode
	clock *testClock
	api   *httpapi.API
	url   string
	demo  *fakeDemo
	watch *fakeWatch
	token map[int]string
	taken *breaches
}

// breaches are of the contract, by what handlers took of requests.
type breaches struct {
	mu   sync.Mutex
	errs []error
}

func (b *breaches) add(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errs = append(b.errs, err)
}

// new gives them, each once.
func (b *breaches) new() []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.errs
	b.errs = nil
	return out
}

type fakeDemo struct{ acts []string }

func (d *fakeDemo) Act(_ context.Context, node, act string) error {
	if node == "n9" {
		return fmt.Errorf("%w: n9", httpapi.ErrUnknownNode)
	}
	if node == "n8" {
		return io.ErrUnexpectedEOF
	}
	d.acts = append(d.acts, act+" "+node)
	return nil
}

// cheap is the cost of the passwords of tests: the race detector makes the usual one
// a matter of seconds.
var cheap = password.Cost{MemoryKiB: 64, Passes: 1}

var hashed = sync.OnceValues(func() (string, error) { return cheap.Hash(rand.Reader, word) })

// tempDir prefers memory, where there is some.
func tempDir(t testing.TB) string {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if dir, err := os.MkdirTemp("/dev/shm", "hadir-http-"); err == nil {
			t.Cleanup(func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			return dir
		}
	}
	return t.TempDir()
}

func newNode(t testing.TB, clock *testClock) *fakeNode {
	t.Helper()
	state, err := store.OpenState(filepath.Join(tempDir(t), "state.db"), store.Options{NoSync: true, MmapSize: 1 << 24})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	n := &fakeNode{clock: clock}
	n.machine = fsm.New(state, fsm.Options{Halt: func(reason error) { t.Errorf("the state machine halted: %v", reason) }})
	return n
}

func (n *fakeNode) setUp(t testing.TB, body attendance.Body) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	result, err := n.apply(cluster.Request{Command: attendance.Command{
		Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n1", Body: body,
	}})
	if err != nil || result.Outcome.Status != attendance.DoneStatus {
		t.Fatalf("set-up: %+v %v", result.Outcome, err)
	}
}

// setUpAll is setUp for many at once.
func (n *fakeNode) setUpAll(t testing.TB, bodies ...attendance.Body) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	entry := attendance.Entry{Level: 1, Cluster: attendance.ClusterID{1, 2, 3}, ProposedAt: attendance.MillisOf(n.clock.Now())}
	for _, body := range bodies {
		entry.Commands = append(entry.Commands, attendance.Command{
			Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n1", Body: body,
		})
	}
	data, err := attendance.EncodeEntry(entry)
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := n.machine.Apply([]fsm.Entry{{Index: n.applied + 1, Term: 3, Data: data}})
	if err != nil {
		t.Fatal(err)
	}
	n.applied++
	for _, o := range outcomes[0] {
		if o.Status != attendance.DoneStatus {
			t.Fatalf("set-up: %+v", o)
		}
	}
}

// newWorld gives a world; options change the configuration.
func newWorld(t testing.TB, options ...func(*httpapi.Config)) *world {
	t.Helper()
	clock := &testClock{}
	w := &world{t: t, clock: clock, node: newNode(t, clock), demo: &fakeDemo{}, token: make(map[int]string)}
	w.watch = newWatch(w.node)
	hash, err := hashed()
	if err != nil {
		t.Fatal(err)
	}
	w.node.setUp(t, attendance.RotateSecret{Name: "session", Value: bytes.Repeat([]byte{7}, 32)})
	for _, u := range []attendance.PutUser{
		{Name: "Admin", Role: attendance.Admin}, {Name: "Guru", Role: attendance.Teacher}, {Name: "Ani", Role: attendance.Student},
		{Name: "Budi", Role: attendance.Student}, {Name: "Citra", Role: attendance.Student}, {Name: "Gone", Role: attendance.Student},
	} {
		u.Email, u.Active, u.PasswordHash = strings.ToLower(u.Name)+"@sekolah.test", true, hash
		w.node.setUp(t, u)
	}
	w.node.setUp(t, attendance.PutGroup{Name: "X-1", Kind: attendance.Class, AddMembers: []uint64{aniID, budiID}, AddTeachers: []uint64{teacherID}})
	w.node.setUp(t, attendance.PutGroup{Name: "X-2", Kind: attendance.Class, AddMembers: []uint64{citraID}})
	w.node.setUp(t, attendance.DeactivateUser{UserID: goneID})
	c := httpapi.Config{
		Node: w.node, Clock: clock, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), Hashers: 1, PasswordCost: cheap, BodyTimeout: time.Minute,
		Watcher: w.watch, Demo: w.demo, Accounts: []httpapi.Account{
			{Name: "Admin", Email: emails[adminID], Password: word, Role: "admin"},
			{Name: "Ani", Email: emails[aniID], Password: word, Role: "student"},
		},
	}
	for _, option := range options {
		option(&c)
	}
	if w.api, err = httpapi.New(c); err != nil {
		t.Fatal(err)
	}
	l, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	taken := &breaches{}
	w.taken = taken
	w.api.Trace(func(c httpapi.Call) {
		if err := l.saw(c); err != nil {
			taken.add(err)
		}
	})
	t.Cleanup(func() {
		for _, err := range taken.new() {
			t.Errorf("contract: %v", err)
		}
	})
	server := httptest.NewUnstartedServer(w.api)
	server.Config = httpapi.NewServer(w.api, c.Log)
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(func() { w.api.Close(context.Background()) })
	w.url = server.URL
	return w
}

// reply is an answer that was read whole.
type reply struct {
	*http.Response
	body []byte
	doc  map[string]any // nil when the body is no object
}

func (r reply) code() string { s, _ := r.doc["code"].(string); return s }

// at gives a value in the document by its path.
func (r reply) at(path string) any {
	var v any = r.doc
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func read(t testing.TB, response *http.Response, err error) reply {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := reply{Response: response, body: body}
	in := json.NewDecoder(bytes.NewReader(body))
	in.UseNumber()
	if err := in.Decode(&r.doc); err != nil {
		r.doc = nil
	}
	for _, h := range []string{"X-Request-Id", "X-Hadir-Node", "X-Hadir-Index"} {
		if response.Header.Get(h) == "" {
			t.Errorf("%s %s: no %s", response.Request.Method, response.Request.URL, h)
		}
	}
	l, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.check(response.Request, response.StatusCode, response.Header, body); err != nil {
		t.Errorf("contract: %v", err)
	}
	return r
}

// do sends a request as a user (0 for nobody); header fields come in pairs.
func (w *world) do(user int, method, path, body string, header ...string) reply {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if user != 0 {
		r.Header.Set("Authorization", "Bearer "+w.tokenOf(user))
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if r.Header.Del(header[i]); header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	return read(w.t, response, err)
}

func (w *world) get(user int, path string) reply { w.t.Helper(); return w.do(user, "GET", path, "") }

// tokenOf signs a user in, once.
func (w *world) tokenOf(user int) string {
	w.t.Helper()
	if w.token[user] == "" {
		r := w.signIn(emails[user], word)
		token, _ := r.doc["token"].(string)
		if r.StatusCode != http.StatusOK || token == "" {
			w.t.Fatalf("sign-in of %d: %d %s", user, r.StatusCode, r.body)
		}
		w.token[user] = token
	}
	return w.token[user]
}

func (w *world) signIn(email, word string) reply {
	w.t.Helper()
	body, err := json.Marshal(map[string]string{"email": email, "password": word})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.do(0, "POST", "/api/v1/session", string(body))
}

// want checks a status and, for a problem, its code.
func (w *world) want(r reply, status int, code string) {
	w.t.Helper()
	if r.StatusCode != status || (code != "" && r.code() != code) {
		w.t.Fatalf("%s %s: %d %q, want %d %q: %s", r.Request.Method, r.Request.URL.Path, r.StatusCode, r.code(), status, code, r.body)
	}
	if code != "" && status != http.StatusUnprocessableEntity {
		if got := r.Header.Get("Content-Type"); got != "application/problem+json" {
			w.t.Errorf("%s %s: content type %q", r.Request.Method, r.Request.URL.Path, got)
		}
	}
}

// browser is a client with cookies, as a page has.
func (w *world) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}
