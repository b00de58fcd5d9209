package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/store"
)

// fakeQueue records everything, decides everything, or fails.
type fakeQueue struct {
	node *fakeNode

	mu      sync.Mutex
	queues  bool
	fails   error
	unable  error
	entries map[string]httpapi.Queued
}

func (q *fakeQueue) set(f func(*fakeQueue)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f(q)
}

func name(p attendance.Principal, key string) string { return p.String() + " " + key }

func (q *fakeQueue) CheckIn(ctx context.Context, req cluster.Request) (cluster.Result, *httpapi.Queued, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fails != nil {
		return cluster.Result{}, nil, q.fails
	}
	if !q.queues {
		result, err := q.node.Propose(ctx, req)
		return result, nil, err
	}
	e := httpapi.Queued{
		OutboxEntry: store.OutboxEntry{
			N: 1, State: store.OutboxWaiting, Command: req.Command, Receipt: store.Receipt{Wall: attendance.MillisOf(req.ReceivedAt)},
		},
		Copies: []httpapi.Copy{{Where: "n1", Fsync: true}},
	}
	q.entries[name(req.Command.Principal, req.Command.Key)] = e
	return cluster.Result{}, &e, nil
}

func (q *fakeQueue) Find(_ context.Context, p attendance.Principal, key string) (httpapi.Queued, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.entries[name(p, key)]
	if !ok {
		return e, store.ErrNotFound
	}
	return e, nil
}

func (q *fakeQueue) Usable() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.unable
}

func (q *fakeQueue) Depth() store.OutboxDepth {
	q.mu.Lock()
	defer q.mu.Unlock()
	return store.OutboxDepth{Waiting: uint64(len(q.entries))}
}

// TestOutboxesInTheView: the view of the cluster says how many taps wait at each node.
func TestOutboxesInTheView(t *testing.T) {
	w, q := newQueueWorld(t)
	q.set(func(q *fakeQueue) { q.queues = true })
	w.watch.say("outbox", "n2", []byte("5"))
	w.watch.say("outbox", "n3", []byte("x"))
	w.want(w.do(aniID, "POST", "/api/v1/checkins", `{"type":"in"}`), http.StatusAccepted, "")
	nodes, _ := w.get(adminID, "/api/v1/cluster").at("nodes").([]any)
	for i, want := range []string{"1", "5", "0"} {
		if node, _ := nodes[i].(map[string]any); fmt.Sprint(node["outbox"]) != want {
			t.Errorf("%v, want an outbox of %s", node, want)
		}
	}
	await(t, "the note", func() bool { return string(w.watch.told("outbox")) == "1" })
}

func newQueueWorld(t *testing.T) (*world, *fakeQueue) {
	t.Helper()
	q := &fakeQueue{entries: map[string]httpapi.Queued{}}
	w := newWorld(t, func(c *httpapi.Config) {
		node, ok := c.Node.(*fakeNode)
		if !ok {
			t.Fatal("not the fake node")
		}
		q.node, c.Queue = node, q
	})
	return w, q
}

const queuedKey = "01930000-0000-7000-8000-0000000000aa"

func TestQueuedCheckIn(t *testing.T) {
	w, q := newQueueWorld(t)
	q.set(func(q *fakeQueue) { q.queues = true })
	r := w.do(aniID, "POST", "/api/v1/checkins", `{"type":"in"}`, "Idempotency-Key", queuedKey)
	w.want(r, http.StatusAccepted, "")
	if r.at("status") != "queued" || r.at("key") != queuedKey || r.at("status_url") != "/api/v1/checkins/"+queuedKey || r.at("received_at") == nil {
		t.Errorf("queued: %s", r.body)
	}
	copies, _ := r.at("copies").([]any)
	if len(copies) != 1 || copies[0].(map[string]any)["where"] != "n1" || copies[0].(map[string]any)["fsync"] != true {
		t.Errorf("copies: %s", r.body)
	}
	if r.at("likely_duplicate") != nil || r.at("seq") != nil {
		t.Errorf("too much: %s", r.body)
	}
	for _, who := range []int{aniID, teacherID, adminID} {
		path := "/api/v1/checkins/" + queuedKey + "?user_id=3"
		if s := w.get(who, path); s.StatusCode != http.StatusOK || s.at("status") != "queued" || s.at("received_at") != r.at("received_at") {
			t.Errorf("state for %d: %d %s", who, s.StatusCode, s.body)
		}
	}
	w.want(w.get(citraID, "/api/v1/checkins/"+queuedKey+"?user_id=3"), http.StatusForbidden, "forbidden")
	w.want(w.get(citraID, "/api/v1/checkins/"+queuedKey), http.StatusNotFound, "not_found")

	// Set aside, and decided, but not applied here yet.
	ani := attendance.Principal{Kind: attendance.UserPrincipal, ID: aniID}
	q.set(func(q *fakeQueue) {
		e := q.entries[name(ani, queuedKey)]
		e.State = store.OutboxFailed
		q.entries[name(ani, queuedKey)] = e
	})
	if s := w.get(aniID, "/api/v1/checkins/"+queuedKey); s.at("status") != "queued" || s.at("reason") != "set_aside" {
		t.Errorf("set aside: %s", s.body)
	}
	q.set(func(q *fakeQueue) {
		e := q.entries[name(ani, queuedKey)]
		e.State = store.OutboxDecided
		e.Outcome = attendance.Outcome{Status: attendance.ReviewStatus, Reason: attendance.TooOld, Seq: 77}
		q.entries[name(ani, queuedKey)] = e
	})
	if s := w.get(aniID, "/api/v1/checkins/"+queuedKey); s.StatusCode != http.StatusOK || s.at("status") != "review" || s.at("reason") != "too_old" {
		t.Errorf("decided: %s", s.body)
	}
}

func TestQueuedNearARecord(t *testing.T) {
	w, q := newQueueWorld(t)
	w.want(w.do(aniID, "POST", "/api/v1/checkins", `{"type":"in"}`), http.StatusCreated, "")
	q.set(func(q *fakeQueue) { q.queues = true })
	if r := w.do(aniID, "POST", "/api/v1/checkins", `{"type":"in"}`); r.at("likely_duplicate") != true {
		t.Errorf("the same again: %s", r.body)
	}
	if r := w.do(aniID, "POST", "/api/v1/checkins", `{"type":"out"}`); r.at("likely_duplicate") != nil {
		t.Errorf("another type: %s", r.body)
	}
}

func TestQueueRefuses(t *testing.T) {
	w, q := newQueueWorld(t)
	for _, tc := range []struct {
		err    error
		status int
		code   string
	}{
		{store.ErrOutboxFull, http.StatusServiceUnavailable, "overloaded"},
		{store.ErrOutboxBroken, http.StatusServiceUnavailable, "storage_unavailable"},
		{errors.Join(cluster.ErrUnknown, store.ErrOutboxFull), http.StatusServiceUnavailable, "unknown_outcome"},
		{cluster.ErrOverloaded, http.StatusServiceUnavailable, "overloaded"},
	} {
		q.set(func(q *fakeQueue) { q.fails = tc.err })
		r := w.do(aniID, "POST", "/api/v1/checkins", `{"type":"in"}`)
		w.want(r, tc.status, tc.code)
		if r.Header.Get("Retry-After") == "" {
			t.Errorf("%v: no Retry-After", tc.err)
		}
	}
	q.set(func(q *fakeQueue) { q.fails = store.ErrKeyReused })
	r := w.do(aniID, "POST", "/api/v1/checkins", `{"type":"in"}`, "Idempotency-Key", queuedKey)
	w.want(r, http.StatusUnprocessableEntity, "key_reused")
	if r.at("status") != "rejected" {
		t.Errorf("key reused: %s", r.body)
	}
}

func TestReadyWhileItCanRecord(t *testing.T) {
	w, q := newQueueWorld(t)
	w.node.set(func(n *fakeNode) {
		n.status = func(s *cluster.Status) {
			s.Leader, s.Fresh.Stale = "", true
			for i := range s.Nodes {
				s.Nodes[i].Reachable = i == 0
			}
		}
	})
	r := w.get(0, "/readyz")
	if r.StatusCode != http.StatusOK || !strings.Contains(string(r.body), "[-]raft leader known") || !strings.Contains(string(r.body), "[+]outbox takes check-ins") {
		t.Errorf("without a leader: %d %s", r.StatusCode, r.body)
	}
	if r := w.get(0, "/readyz?decide"); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(r.body), "[-]state is fresh") {
		t.Errorf("decide without a leader: %d %s", r.StatusCode, r.body)
	}
	q.set(func(q *fakeQueue) { q.unable = store.ErrOutboxFull })
	if r := w.get(0, "/readyz"); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(r.body), "[-]outbox takes check-ins") {
		t.Errorf("neither: %d %s", r.StatusCode, r.body)
	}
	w.node.set(func(n *fakeNode) { n.status = nil })
	if r := w.get(0, "/readyz"); r.StatusCode != http.StatusOK {
		t.Errorf("a leader and no outbox: %d %s", r.StatusCode, r.body)
	}
}

func TestQueuedPage(t *testing.T) {
	w, q := newQueueWorld(t)
	q.set(func(q *fakeQueue) { q.queues = true })
	b := w.browser()
	post(w, b, "/sign-in", url.Values{"email": {emails[aniID]}, "password": {word}})
	r, page := post(w, b, "/check-in?lang=en", url.Values{"key": {key1}, "type": {"in"}})
	if must(t, page, "Recorded, waiting for confirmation", key1); r.StatusCode != http.StatusAccepted {
		t.Errorf("status %d", r.StatusCode)
	}
	if strings.Contains(page, "decided by leader") {
		t.Error("the page tells who decided, and nobody has")
	}
}
