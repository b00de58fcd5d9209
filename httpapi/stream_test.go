package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/httpapi/stream"
)

// subscriber is somebody connected to the stream.
type subscriber struct {
	t    *testing.T
	conn *websocket.Conn
}

// dial asks for a stream; the answer is read where there is no connection.
func (w *world) dial(user int, query string, header ...string) (*websocket.Conn, reply) {
	w.t.Helper()
	h := make(http.Header)
	if user != 0 {
		h.Set("Authorization", "Bearer "+w.tokenOf(user))
	}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	conn, response, err := websocket.DefaultDialer.DialContext(w.t.Context(), "ws"+strings.TrimPrefix(w.url, "http")+"/api/v1/stream?"+query, h)
	if err != nil && !errors.Is(err, websocket.ErrBadHandshake) {
		w.t.Fatal(err)
	}
	if conn == nil {
		return nil, read(w.t, response, nil)
	}
	response.Body = io.NopCloser(strings.NewReader(""))
	return conn, read(w.t, response, nil)
}

// subscribe connects somebody who must be let in.
func (w *world) subscribe(user int, query string, header ...string) *subscriber {
	w.t.Helper()
	conn, r := w.dial(user, query, header...)
	if conn == nil {
		w.t.Fatalf("stream of %d: %d %s", user, r.StatusCode, r.body)
	}
	t, ok := w.t.(*testing.T)
	if !ok {
		w.t.Fatal("a stream outside a test")
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // it may be closed
	return &subscriber{t, conn}
}

type frame = map[string]any

// next gives the next frame whose t is one of these; others are passed over.
func (s *subscriber) next(ts ...string) frame {
	s.t.Helper()
	for {
		_, text, err := s.conn.ReadMessage()
		if err != nil {
			s.t.Fatalf("waiting for %v: %v", ts, err)
		}
		var f frame
		if err := json.Unmarshal(text, &f); err != nil {
			s.t.Fatalf("%s: %v", text, err)
		}
		for _, t := range ts {
			if f["t"] == t {
				f["text"] = string(text)
				return f
			}
		}
	}
}

// code reads to the end and gives the code of closing.
func (s *subscriber) code() int {
	s.t.Helper()
	for {
		if _, _, err := s.conn.ReadMessage(); err != nil {
			var c *websocket.CloseError
			if !errors.As(err, &c) {
				s.t.Fatalf("the end: %v", err)
			}
			return c.Code
		}
	}
}

func field(f frame, path ...string) any {
	var v any = f
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// tapped has somebody check in and gives the seq.
func (w *world) tapped(user int, n int) float64 {
	w.t.Helper()
	r := w.tap(user, fmt.Sprintf("01930000-0000-7000-8000-0000000%05d", n), tapIn)
	if r.StatusCode != http.StatusCreated && r.StatusCode != http.StatusConflict {
		w.t.Fatalf("tap of %d: %d %s", user, r.StatusCode, r.body)
	}
	seq, err := r.doc["seq"].(json.Number).Float64()
	if err != nil {
		w.t.Fatal(err)
	}
	return seq
}

func TestStreamByRole(t *testing.T) {
	w := newWorld(t)
	admin, teacher, ani, citra := w.subscribe(adminID, ""), w.subscribe(teacherID, ""), w.subscribe(aniID, ""), w.subscribe(citraID, "")
	hello := admin.next("hello")
	if hello["node"] != "n1" || hello["resume"] != "ok" || hello["epoch"] != "0102-1" {
		t.Fatalf("hello: %s", hello["text"])
	}
	at := hello["seq"].(float64)
	for _, s := range []*subscriber{teacher, ani, citra} {
		s.next("hello") // from here on they get everything that is theirs
	}
	for i, user := range []int{aniID, budiID, citraID, teacherID} {
		if seq := w.tapped(user, i); seq != at+float64(i)+1 {
			t.Fatalf("seq %v", seq)
		}
	}
	w.node.setUp(t, attendance.PutUser{Name: "Dewi", Email: "dewi@sekolah.test", Role: attendance.Student, Active: true, PasswordHash: "$argon2id$secret"})
	// Admins get everything, without a gap.
	for i := range 5 {
		if f := admin.next("event", "mark"); f["seq"] != at+float64(i)+1 || f["t"] != "event" {
			t.Fatalf("event %d: %s", i, f["text"])
		} else if strings.Contains(f["text"].(string), "argon2") {
			t.Errorf("a secret: %s", f["text"])
		}
	}
	// The others get their own, and a mark that says how far that is.
	for name, tc := range map[string]struct {
		s    *subscriber
		want []float64
	}{
		"teacher": {teacher, []float64{1, 2, 4}}, "ani": {ani, []float64{1}}, "citra": {citra, []float64{3}},
	} {
		for _, want := range tc.want {
			if f := tc.s.next("event"); f["seq"] != at+want {
				t.Fatalf("%s: got %s, want event %v", name, f["text"], at+want)
			}
		}
		for {
			f := tc.s.next("event", "mark")
			if f["t"] == "event" {
				t.Fatalf("%s: %s is not theirs", name, f["text"])
			}
			if f["seq"] == at+5 {
				break
			}
		}
	}
	// An event is what /logs says, with one more field.
	r := w.get(adminID, fmt.Sprintf("/api/v1/logs?after=%.0f&limit=1", at))
	var page struct{ Items []json.RawMessage }
	if err := json.Unmarshal(r.body, &page); err != nil || len(page.Items) != 1 {
		t.Fatalf("logs: %s", r.body)
	}
	again := w.subscribe(adminID, fmt.Sprintf("epoch=0102-1&after=%.0f", at))
	if got, want := again.next("event")["text"], `{"t":"event",`+string(page.Items[0][1:]); got != want {
		t.Errorf("frame %s\nwant  %s", got, want)
	}
}

func TestStreamTotals(t *testing.T) {
	w := newWorld(t)
	ani := w.subscribe(aniID, "")
	if f := ani.next("totals"); field(f, "data", "people", "arrived") != 0. {
		t.Fatalf("got %s", f["text"])
	}
	w.tapped(budiID, 1)
	w.tapped(citraID, 2)
	for {
		if f := ani.next("totals"); field(f, "data", "people", "arrived") == 2. {
			break
		}
	}
}

func TestStreamResume(t *testing.T) {
	w := newWorld(t)
	for i, user := range []int{aniID, budiID, citraID} {
		w.tapped(user, i)
	}
	last := w.tapped(teacherID, 9)
	for name, tc := range map[string]struct {
		query string
		want  frame
		first float64
	}{
		"from here":        {fmt.Sprintf("epoch=0102-1&after=%.0f", last-2), frame{"resume": "ok", "seq": last - 2}, last - 1},
		"another epoch":    {"epoch=0102-2&after=1", frame{"resume": "reset", "reason": "epoch", "seq": last}, 0},
		"no such position": {fmt.Sprintf("epoch=0102-1&after=%.0f", last+1000), frame{"resume": "reset", "reason": "future", "seq": last}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.t = t
			s := w.subscribe(adminID, tc.query)
			hello := s.next("hello")
			for k, v := range tc.want {
				if hello[k] != v {
					t.Fatalf("got %s, want %v", hello["text"], tc.want)
				}
			}
			if tc.first > 0 {
				if f := s.next("event"); f["seq"] != tc.first {
					t.Errorf("got %s, want event %v", f["text"], tc.first)
				}
			}
		})
	}
	// A node that may be behind does not say that a position is nobody's.
	w.node.set(func(n *fakeNode) {
		n.status = func(s *cluster.Status) { s.Fresh.AsOf = time.Time{} }
	})
	s := w.subscribe(adminID, fmt.Sprintf("epoch=0102-1&after=%.0f", last+1000))
	if code := s.code(); code != 4010 {
		t.Errorf("closed with %d", code)
	}
}

func TestStreamIsRefused(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.StreamLimits = stream.Limits{PerPerson: 2, PerNode: 3} })
	cookie := []string{"Cookie", "hadir_session=" + w.tokenOf(aniID)}
	host := strings.TrimPrefix(w.url, "http://")
	for name, tc := range map[string]struct {
		user   int
		query  string
		header []string
		status int
		code   string
	}{
		"nobody":                {0, "", nil, 401, "unauthenticated"},
		"a forged ticket":       {0, "ticket=x", nil, 401, "unauthenticated"},
		"no ticket":             {0, "ticket=", nil, 401, "unauthenticated"},
		"a ticket counts":       {adminID, "ticket=x", nil, 401, "unauthenticated"},
		"another origin":        {0, "", append(cookie, "Origin", "https://evil.test"), 403, "cross_origin"},
		"another port":          {0, "", append(cookie, "Origin", "http://"+host+"0"), 403, "cross_origin"},
		"no origin at all":      {0, "", append(cookie, "Origin", "null"), 403, "cross_origin"},
		"a bearer's too":        {aniID, "", []string{"Origin", "https://evil.test"}, 403, "cross_origin"},
		"through no proxy":      {0, "", append(cookie, "Origin", "https://school.test", "X-Forwarded-Host", "school.test"), 403, "cross_origin"},
		"a topic for staff":     {aniID, "topics=attendance,presence", nil, 403, "forbidden"},
		"a topic for admins":    {teacherID, "topics=queue", nil, 403, "forbidden"},
		"another":               {aniID, "topics=cluster", nil, 403, "forbidden"},
		"a topic that is none":  {aniID, "topics=all", nil, 400, "invalid_query"},
		"a parameter":           {aniID, "since=1", nil, 400, "invalid_query"},
		"a position without":    {aniID, "after=3", nil, 400, "invalid_query"},
		"an epoch without":      {aniID, "epoch=0102-1", nil, 400, "invalid_query"},
		"a position before all": {aniID, "epoch=0102-1&after=-1", nil, 400, "invalid_query"},
		"no position":           {aniID, "epoch=0102-1&after=", nil, 400, "invalid_query"},
		"a position of nothing": {adminID, "topics=cluster&epoch=0102-1&after=1", nil, 400, "invalid_query"},
		"an old version":        {aniID, "", []string{"Sec-Fetch-Mode", "websocket"}, 0, ""}, // no refusal
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.t = t
			conn, r := w.dial(tc.user, tc.query, tc.header...)
			if conn != nil {
				conn.Close() //nolint:errcheck // that it is there counts
			}
			if tc.status == 0 {
				if conn == nil {
					t.Fatalf("%d %s", r.StatusCode, r.body)
				}
				return
			}
			w.want(r, tc.status, tc.code)
		})
	}
	awaitClients(t, w, 0)
	// Without a WebSocket, or with half of one.
	r := w.get(aniID, "/api/v1/stream")
	w.want(r, http.StatusUpgradeRequired, "upgrade_required")
	if r.Header.Get("Upgrade") != "websocket" {
		t.Error("it does not say to what")
	}
	w.want(w.do(aniID, "GET", "/api/v1/stream", "", "Connection", "upgrade", "Upgrade", "websocket"), http.StatusBadRequest, "invalid_handshake")
	// The same origin, also as a proxy of ours was asked for it.
	own := w.subscribe(0, "", append(cookie, "Origin", w.url)...)
	own.next("hello")
	// Limits.
	w.subscribe(aniID, "").next("hello")
	conn, r := w.dial(aniID, "")
	if conn != nil {
		t.Fatal("a third connection of one person")
	}
	w.want(r, http.StatusTooManyRequests, "rate_limited")
	if r.Header.Get("Retry-After") == "" {
		t.Error("it does not say until when")
	}
	w.subscribe(budiID, "").next("hello")
	_, r = w.dial(citraID, "")
	w.want(r, http.StatusServiceUnavailable, "overloaded")
	own.conn.Close() //nolint:errcheck // it makes room
	awaitClients(t, w, 2)
	w.subscribe(citraID, "").next("hello")
}

func awaitClients(t *testing.T, w *world, want int) {
	t.Helper()
	await(t, fmt.Sprintf("%d connections", want), func() bool { return w.api.Hub().Connections() == want })
}

// await waits for a condition.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestStreamBehindProxy(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	cookie := []string{"Cookie", "hadir_session=" + w.tokenOf(aniID), "Origin", "https://school.test"}
	w.subscribe(0, "", append(cookie, "X-Forwarded-Host", "school.test")...).next("hello")
	_, r := w.dial(0, "", append(cookie, "X-Forwarded-Host", "evil.test")...)
	w.want(r, http.StatusForbidden, "cross_origin")
	_, r = w.dial(0, "", cookie...)
	w.want(r, http.StatusForbidden, "cross_origin")
}

func TestStreamTickets(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	w := newWorld(t, func(c *httpapi.Config) {
		c.Log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(b)
		}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	give := func(user int) string {
		r := w.do(user, "POST", "/api/v1/stream-ticket", "")
		w.want(r, http.StatusOK, "")
		if r.doc["node_id"] != "n1" {
			t.Errorf("ticket: %s", r.body)
		}
		name, _ := r.doc["ticket"].(string)
		return name
	}
	w.want(w.do(0, "POST", "/api/v1/stream-ticket", ""), http.StatusUnauthorized, "unauthenticated")
	name := give(aniID)
	s := w.subscribe(0, "ticket="+name)
	at := s.next("hello")["seq"].(float64)
	w.tapped(budiID, 1)
	w.tapped(aniID, 2)
	if f := s.next("event"); f["seq"] != at+2 {
		t.Errorf("got %s", f["text"])
	}
	// Once.
	_, r := w.dial(0, "ticket="+name)
	w.want(r, http.StatusUnauthorized, "unauthenticated")
	// For the stream alone.
	other := give(aniID)
	w.want(w.do(0, "GET", "/api/v1/attendances?ticket="+other, ""), http.StatusUnauthorized, "unauthenticated")
	// Not for ever.
	w.clock.advance(30 * time.Second)
	_, r = w.dial(0, "ticket="+other)
	w.want(r, http.StatusUnauthorized, "unauthenticated")
	// Not too many, and those that are over do not count.
	for range 20 {
		give(budiID)
	}
	w.want(w.do(budiID, "POST", "/api/v1/stream-ticket", ""), http.StatusTooManyRequests, "rate_limited")
	give(aniID)
	w.clock.advance(30 * time.Second)
	give(budiID)
	// A session that has ended takes its tickets along.
	last := give(citraID)
	w.node.setUp(t, attendance.DeactivateUser{UserID: citraID})
	_, r = w.dial(0, "ticket="+last)
	w.want(r, http.StatusUnauthorized, "unauthenticated")
	mu.Lock()
	defer mu.Unlock()
	for _, secret := range []string{name, other, last, w.tokenOf(aniID)} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	if !strings.Contains(log.String(), "/api/v1/stream") {
		t.Error("the log says nothing of streams: the test proves nothing")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestStreamRightsEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		user int
		act  func(w *world)
	}{
		"deactivated":    {aniID, func(w *world) { w.node.setUp(w.t, attendance.DeactivateUser{UserID: aniID}) }},
		"signed out":     {aniID, func(w *world) { w.node.setUp(w.t, attendance.BumpSessionEpoch{UserID: aniID}) }},
		"all signed out": {adminID, func(w *world) { w.node.setUp(w.t, attendance.BumpSessionEpoch{}) }},
		"another password": {teacherID, func(w *world) {
			w.node.setUp(w.t, attendance.SetPassword{UserID: teacherID, PasswordHash: "$argon2id$x"})
		}},
		"another role": {teacherID, func(w *world) {
			w.node.setUp(w.t, attendance.PutUser{UserID: teacherID, Name: "Guru", Email: emails[teacherID], Role: attendance.Admin, Active: true})
		}},
		"another secret": {aniID, func(w *world) {
			w.node.setUp(w.t, attendance.RotateSecret{Name: "session", Value: bytes.Repeat([]byte{8}, 32), DropPrevious: true})
		}},
		"the session's end": {aniID, func(w *world) { w.clock.advance(31 * 24 * time.Hour) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.subscribe(tc.user, "")
			s.next("hello")
			tc.act(w)
			if code := s.code(); code != 4003 {
				t.Errorf("closed with %d", code)
			}
		})
	}
}

func TestStreamGroupsChange(t *testing.T) {
	w := newWorld(t)
	s := w.subscribe(teacherID, "")
	at := s.next("hello")["seq"].(float64)
	w.tapped(citraID, 1)
	w.node.setUp(t, attendance.PutGroup{GroupID: 1, Name: "X-1", Kind: attendance.Class, AddMembers: []uint64{citraID}, RemoveMembers: []uint64{aniID}})
	w.tapped(aniID, 2)
	clock := w.tapped(citraID, 3)
	scope := s.next("scope", "event")
	if scope["t"] != "scope" || scope["seq"].(float64) > at+2 {
		t.Fatalf("got %s", scope["text"])
	}
	for {
		f := s.next("event")
		if f["user_id"] == float64(aniID) {
			t.Fatalf("somebody who has left: %s", f["text"])
		}
		if f["seq"] == clock {
			break
		}
	}
}

func TestClusterTopic(t *testing.T) {
	w := newWorld(t)
	s := w.subscribe(teacherID, "topics=cluster")
	w.subscribe(aniID, "").next("hello")
	for {
		f := s.next("cluster")
		if field(f, "data", "term") != 3. || field(f, "data", "leader_id") != "n2" {
			t.Fatalf("got %s", f["text"])
		}
		node, _ := field(f, "data", "nodes").([]any)[0].(map[string]any)
		if node["id"] == "n1" && node["connections"] == 2. {
			break
		}
	}
	await(t, "the note", func() bool { return string(w.watch.told("door")) == "2" })
	// A change is told at once.
	w.watch.say("door", "n2", []byte("7"))
	w.watch.say("door", "n3", []byte("x"))
	w.node.set(func(n *fakeNode) { n.status = func(s *cluster.Status) { s.Term, s.Leader = 4, "" } })
	w.watch.wake()
	for {
		f := s.next("cluster")
		if field(f, "data", "term") == 4. {
			if node, _ := field(f, "data", "nodes").([]any)[1].(map[string]any); field(f, "data", "leader_id") != nil || node["connections"] != 7. {
				t.Errorf("got %s", f["text"])
			}
			break
		}
	}
	// It is what GET /cluster says.
	r := w.get(teacherID, "/api/v1/cluster")
	if r.at("term") != json.Number("4") || !strings.Contains(string(r.body), `"connections":7`) {
		t.Errorf("view: %s", r.body)
	}
}

func TestPresence(t *testing.T) {
	w := newWorld(t)
	w.watch.say("people", "n2", httpapi.EncodePeople(map[uint64]int{citraID: 2, aniID: 1, 999: 1}))
	w.watch.say("people", "n3", []byte{0})
	admin, teacher := w.subscribe(adminID, "topics=presence"), w.subscribe(teacherID, "topics=presence")
	ani := w.subscribe(aniID, "")
	ani.next("hello")
	w.clock.advance(2 * time.Second)
	want := func(s *subscriber, people, connections float64, nodes string) {
		t.Helper()
		for {
			f := s.next("presence")
			if fmt.Sprint(field(f, "data", "nodes")) == nodes {
				if field(f, "data", "people") != people || field(f, "data", "connections") != connections {
					t.Errorf("got %s", f["text"])
				}
				return
			}
			w.clock.advance(2 * time.Second)
		}
	}
	want(admin, 5, 7, "[map[node_id:n1 user_ids:[1 2 3]] map[node_id:n2 user_ids:[3 5 999]]]")
	want(teacher, 2, 3, "[map[node_id:n1 user_ids:[2 3]] map[node_id:n2 user_ids:[3]]]")
	await(t, "the note", func() bool { return w.watch.toldPeople() == "map[1:1 2:1 3:1]" })
	r := w.get(adminID, "/api/v1/presence?limit=2")
	w.want(r, http.StatusOK, "")
	if got := r.at("next_cursor"); got != "2" {
		t.Errorf("page: %s", r.body)
	}
	r = w.get(adminID, "/api/v1/presence?cursor=2")
	if got := fmt.Sprint(r.at("items")); got != "[map[connections:2 name:Ani nodes:[n1 n2] user_id:3] map[connections:2 name:Citra nodes:[n2] user_id:5]]" || r.at("next_cursor") != nil {
		t.Errorf("page: %s", r.body)
	}
	r = w.get(teacherID, "/api/v1/presence")
	if strings.Contains(string(r.body), "Citra") || !strings.Contains(string(r.body), "Ani") {
		t.Errorf("the teacher's: %s", r.body)
	}
	w.want(w.get(aniID, "/api/v1/presence"), http.StatusForbidden, "forbidden")
	// Somebody leaves.
	ani.conn.Close() //nolint:errcheck // gone
	awaitClients(t, w, 2)
	w.clock.advance(2 * time.Second)
	want(teacher, 2, 2, "[map[node_id:n1 user_ids:[2]] map[node_id:n2 user_ids:[3]]]")
}

// Notes that are too large, or the like, are told once and cost nothing else.
func TestNotesAreRefused(t *testing.T) {
	w := newWorld(t)
	w.watch.mu.Lock()
	w.watch.refuse = cluster.ErrNote
	w.watch.mu.Unlock()
	s := w.subscribe(adminID, "topics=presence")
	w.clock.advance(2 * time.Second)
	if f := s.next("presence"); !strings.Contains(f["text"].(string), `"node_id":"n2"`) {
		t.Errorf("got %s", f["text"])
	}
}

func TestProgress(t *testing.T) {
	exported := map[uint64][]string{}
	var mu sync.Mutex
	w := newWorld(t, func(c *httpapi.Config) {
		c.Exported = func(seq uint64) []string {
			mu.Lock()
			defer mu.Unlock()
			return exported[seq]
		}
	})
	applied := func(n1, n2 uint64) {
		w.node.set(func(n *fakeNode) {
			n.status = func(s *cluster.Status) { s.Nodes[0].Seq, s.Nodes[1].Seq, s.Nodes[2].Seq = n1, n2, 0 }
		})
		w.watch.wake()
	}
	ani, budi := w.subscribe(aniID, "topics=attendance,progress"), w.subscribe(budiID, "topics=attendance,progress")
	ani.next("hello")
	budi.next("hello")
	applied(1<<40, 0)
	seq := w.tapped(aniID, 1)
	want := func(on float64, targets string) {
		t.Helper()
		f := ani.next("progress")
		if field(f, "data", "seq") != seq || field(f, "data", "applied_on") != on || field(f, "data", "of") != 3. || fmt.Sprint(field(f, "data", "exported")) != targets {
			t.Fatalf("got %s", f["text"])
		}
	}
	want(1, "[]")
	applied(1<<40, 1<<40)
	want(2, "[]")
	mu.Lock()
	exported[uint64(seq)] = []string{"mysql"}
	mu.Unlock()
	want(2, "[mysql]")
	// A minute later nobody follows it any more; and it was never somebody else's.
	w.clock.advance(time.Minute + time.Second)
	w.watch.wake()
	other := w.tapped(budiID, 2)
	if f := budi.next("progress"); field(f, "data", "seq") != other {
		t.Fatalf("not theirs: %s", f["text"])
	}
	applied(1<<40, 0)
	third := w.tapped(aniID, 3)
	if f := ani.next("progress"); field(f, "data", "seq") != third {
		t.Errorf("got %s", f["text"])
	}
}

// Without an export a tap is followed until every node has it.
func TestProgressEnds(t *testing.T) {
	w := newWorld(t)
	w.node.set(func(n *fakeNode) {
		n.status = func(s *cluster.Status) {
			for i := range s.Nodes {
				s.Nodes[i].Seq = 1 << 40
			}
		}
	})
	ani := w.subscribe(aniID, "topics=progress")
	ani.next("hello")
	seq := w.tapped(aniID, 1)
	if f := ani.next("progress"); field(f, "data", "applied_on") != 3. || field(f, "data", "seq") != seq {
		t.Fatalf("got %s", f["text"])
	}
	w.node.set(func(n *fakeNode) { n.status = nil }) // which would be another state of things
	w.watch.wake()
	next := w.tapped(aniID, 2)
	if f := ani.next("progress"); field(f, "data", "seq") != next {
		t.Errorf("got %s", f["text"])
	}
}

func TestStreamsEndWithTheNode(t *testing.T) {
	w := newWorld(t)
	s := w.subscribe(aniID, "")
	s.next("hello")
	left := make(chan int, 1)
	go func() { left <- s.code() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w.api.Close(ctx)
	if code := <-left; code != 4001 {
		t.Errorf("closed with %d", code)
	}
	_, r := w.dial(aniID, "")
	w.want(r, http.StatusServiceUnavailable, "closing")
	w.want(w.get(aniID, "/api/v1/session"), http.StatusOK, "")
}

func TestStreamMetrics(t *testing.T) {
	w := newWorld(t)
	s := w.subscribe(adminID, "epoch=0102-1&after=1")
	s.next("hello")
	w.subscribe(adminID, "epoch=0102-9&after=1").next("hello")
	w.tapped(aniID, 1)
	s.next("event")
	text := string(w.get(0, "/metrics").body)
	for _, line := range []string{
		"hadir_stream_clients 2\n", `hadir_stream_resumes_total{result="ok"} 1`, `hadir_stream_resumes_total{result="epoch"} 1`,
		"hadir_stream_slow_closes_total 0\n", "hadir_stream_frames_total ", "hadir_stream_apply_to_frame_seconds_count ",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %s in the metrics", strings.TrimSpace(line))
		}
	}
}

func TestWithoutWatcher(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Watcher = nil })
	for _, route := range w.api.RouteTable() {
		if strings.Contains(route.Path, "stream") || strings.Contains(route.Path, "presence") {
			t.Errorf("there is %s", route.Path)
		}
	}
	w.want(w.get(adminID, "/api/v1/cluster"), http.StatusOK, "")
}

func TestPeopleNote(t *testing.T) {
	people := map[uint64]int{1: 1, 2: 5, 1 << 40: 3}
	if got, err := httpapi.DecodePeople(httpapi.EncodePeople(people)); err != nil || fmt.Sprint(got) != fmt.Sprint(people) {
		t.Errorf("got %v, %v", got, err)
	}
	many := make(map[uint64]int)
	for id := range uint64(5000) {
		many[3*id+1] = 1
	}
	if n := len(httpapi.EncodePeople(many)); n > cluster.MaxNote/2 {
		t.Errorf("5000 people are %d bytes", n)
	}
}

func FuzzStreamQuery(f *testing.F) {
	for _, s := range []string{
		"", "topics=attendance,cluster", "topics=", "epoch=c7f2-1&after=10481", "epoch=&after=0", "after=18446744073709551615&epoch=x", "topics=a&topics=b",
		"after=%00&epoch=%ff", "topics=attendance,,cluster", ";", "after=1e3&epoch=a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		topics, from, err := httpapi.ParseSubscription(raw)
		if err != nil {
			return
		}
		if topics == 0 {
			t.Errorf("%q: subscribed to nothing", raw)
		}
		if from != nil && (!topics.Has(stream.Attendance) || from.After > 1<<63-1) {
			t.Errorf("%q: %v, %+v", raw, topics, from)
		}
	})
}

func FuzzPeopleNote(f *testing.F) {
	f.Add(httpapi.EncodePeople(map[uint64]int{1: 1, 7: 2}))
	f.Add([]byte{0, 1})
	f.Add(bytes.Repeat([]byte{0xff}, 12))
	f.Fuzz(func(t *testing.T, b []byte) {
		people, err := httpapi.DecodePeople(b)
		if err != nil {
			return
		}
		again, err := httpapi.DecodePeople(httpapi.EncodePeople(people))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(people) {
			t.Errorf("%x is %v, and that is %v, %v", b, people, again, err)
		}
	})
}
