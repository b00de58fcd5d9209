package system_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

// fields reads an answer as an object.
func fields(t *testing.T, a *harness.Answer) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.Body, &m); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	return m
}

func decision(t *testing.T, a *harness.Answer) harness.Decision {
	t.Helper()
	var d harness.Decision
	if err := json.Unmarshal(a.Body, &d); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	return d
}

// student signs a student in at a node.
func student(t *testing.T, c *harness.Cluster, id uint64, at *harness.Node) harness.Client {
	t.Helper()
	me, err := harness.Client{HTTP: c.Admin.HTTP, Base: at.URL}.SignIn(
		within(t, 30*time.Second), harness.StudentEmail(int(id)-harness.FirstStudent), harness.StudentPassword)
	must(t, err)
	return me
}

// tap has a check-in accepted.
func tap(t *testing.T, c harness.Client, key string, body harness.Tap) harness.Decision {
	t.Helper()
	key = cmp.Or(key, harness.Key())
	d := decided(t, c, key, do(t, c, "POST", "/api/v1/checkins", key, body))
	if d.Status != "accepted" {
		t.Fatalf("check-in: %+v", d)
	}
	return d
}

// decided gives what became of a tap. After an election a slow node may not be sure of
// the leader yet: then it records the tap first, which is a right answer.
func decided(t *testing.T, c harness.Client, key string, a *harness.Answer) (d harness.Decision) {
	t.Helper()
	if a.Status != 202 {
		return decision(t, a)
	}
	must(t, harness.Await(within(t, 30*time.Second), func() error {
		a := do(t, c, "GET", "/api/v1/checkins/"+key, "", nil)
		if d = decision(t, a); a.Status != 200 || d.Status == "queued" {
			return fmt.Errorf("%s is not decided yet: %s", key, a)
		}
		return nil
	}))
	return d
}

// TestOneDecisionThroughAnyNode: sign in at one node, check in at another, read
// at the third; replay everywhere.
func TestOneDecisionThroughAnyNode(t *testing.T) {
	c := cluster(t)
	user, kind := c.Fresh()
	n := c.Nodes
	me := student(t, c, user, n[0])
	lat, lon := -6.2009, 106.8451
	body := harness.Tap{Type: kind, Latitude: &lat, Longitude: &lon}
	key := harness.Key()

	first := do(t, me.At(n[1].URL), "POST", "/api/v1/checkins", key, body)
	if first.Status != 201 {
		t.Fatalf("check-in: %s", first)
	}
	d := decision(t, first)
	if d.Status != "accepted" || d.Key != key || d.Attendance == nil || d.Sync.HandledBy != n[1].ID {
		t.Fatalf("check-in: %s", first)
	}
	at := d.Attendance
	if at.ID == 0 || at.ID != at.Seq || at.User != user || at.Type != kind || at.Node != n[1].ID || at.Timestamp.IsZero() {
		t.Errorf("attendance: %s", first)
	}
	if c.Node(d.Sync.Leader) == nil || d.Sync.Forwarded != (d.Sync.Leader != n[1].ID) || d.Sync.Seq != at.ID {
		t.Errorf("sync: %s", first)
	}
	if first.Header.Get("X-Hadir-Node") != n[1].ID || first.Header.Get("X-Request-Id") == "" ||
		first.Header.Get("X-Hadir-Index") != strconv.FormatUint(d.Sync.Index, 10) {
		t.Errorf("headers: %v, index %d", first.Header, d.Sync.Index)
	}
	if first.Header.Get("Idempotency-Replayed") != "" {
		t.Error("the first answer says that it is a replay")
	}

	// Read your own write on the third node, by id and in the list.
	seen := fmt.Sprintf("min_index=%d", d.Sync.Index)
	record := fields(t, first)["attendance"].(map[string]any)
	one := do(t, me.At(n[2].URL), "GET", fmt.Sprintf("/api/v1/attendances/%d?%s", at.ID, seen), "", nil)
	got := fields(t, one)
	for name, want := range record {
		if one.Status != 200 || !reflect.DeepEqual(got[name], want) {
			t.Fatalf("%s of the record is %v, was answered as %v: %s", name, got[name], want, one)
		}
	}
	list, err := c.At(n[2]).List(within(t, 30*time.Second), "/api/v1/attendances",
		url.Values{"user_id": {fmt.Sprint(user)}, "min_index": {fmt.Sprint(d.Sync.Index)}})
	must(t, err)
	found := 0
	for _, item := range list {
		var r map[string]any
		must(t, json.Unmarshal(item, &r))
		if reflect.DeepEqual(r, record) {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the list has the record %d times: %s", found, list)
	}
	page := do(t, me.At(n[2].URL), "GET", "/api/v1/attendances?consistency=strong", "", nil)
	if f := fields(t, page); page.Status != 200 || f["stale"] != false || f["as_of"] == nil || f["index"].(float64) < float64(d.Sync.Index) {
		t.Errorf("strong list: %s", page)
	}

	// The same key, on each node.
	for _, node := range n {
		a := do(t, me.At(node.URL), "POST", "/api/v1/checkins", key, body)
		if a.Status != 201 || a.Header.Get("Idempotency-Replayed") != "true" {
			t.Fatalf("replay at %s: %s", node.ID, a)
		}
		was, is := fields(t, first), fields(t, a)
		delete(was, "sync")
		delete(is, "sync")
		if !reflect.DeepEqual(was, is) {
			t.Errorf("replay at %s: %s\nfirst: %s", node.ID, a, first)
		}
		state := do(t, me.At(node.URL), "GET", "/api/v1/checkins/"+key+"?"+seen, "", nil)
		if s := fields(t, state); state.Status != 200 || s["status"] != "accepted" || !reflect.DeepEqual(s["attendance"], fields(t, first)["attendance"]) {
			t.Errorf("state of the key at %s: %s", node.ID, state)
		}
	}

	// Another key loses and learns who won; its own replay says the same.
	second := harness.Key()
	for i, node := range n {
		a := do(t, me.At(node.URL), "POST", "/api/v1/checkins", second, body)
		e := decision(t, a)
		if a.Status != 409 || e.Status != "duplicate" || e.Attendance == nil || e.Attendance.ID != at.ID ||
			e.DeltaMS == nil || *e.DeltaMS < 0 || *e.DeltaMS >= harness.Window.Milliseconds() {
			t.Fatalf("another key at %s: %s", node.ID, a)
		}
		if replay := a.Header.Get("Idempotency-Replayed") == "true"; replay != (i > 0) {
			t.Errorf("another key at %s: replayed %v", node.ID, replay)
		}
	}

	// The same key for something else is refused, and changes nothing.
	other := map[string]string{"in": "out", "out": "in"}[kind]
	for _, node := range n {
		a := do(t, me.At(node.URL), "POST", "/api/v1/checkins", key, harness.Tap{Type: other})
		if a.Status != 422 || a.Code() != "key_reused" || fields(t, a)["status"] != "rejected" {
			t.Errorf("another body at %s: %s", node.ID, a)
		}
	}

	// A key belongs to whoever used it: somebody else's is another one, and theirs
	// cannot be looked up.
	stranger := student(t, c, user%enoughStudents+harness.FirstStudent, n[2])
	if a := do(t, stranger, "GET", "/api/v1/checkins/"+key, "", nil); a.Status != 404 {
		t.Errorf("a stranger asks for the key: %s", a)
	}
	if a := do(t, stranger, "GET", fmt.Sprintf("/api/v1/attendances/%d?%s", at.ID, seen), "", nil); a.Status != 403 && a.Status != 404 {
		t.Errorf("a stranger asks for the record: %s", a)
	}
	if a := do(t, me, "GET", "/api/v1/checkins/"+harness.Key(), "", nil); a.Status != 404 {
		t.Errorf("a key that nobody used: %s", a)
	}

	// Without a key the server makes one, under which the answer can be found.
	user, kind = c.Fresh()
	made := tap(t, c.At(n[1]), "", harness.Tap{Type: kind, User: user})
	if a := do(t, c.At(n[0]), "GET", fmt.Sprintf("/api/v1/checkins/%s?min_index=%d", made.Key, made.Sync.Index), "", nil); a.Status != 200 {
		t.Errorf("the key that the server made: %s", a)
	}
}

// TestViews: cluster, health, readiness, metrics, and who may see them.
func TestViews(t *testing.T) {
	c := cluster(t)
	me := student(t, c, harness.FirstStudent, c.Nodes[0])
	leaders := map[string]bool{}
	for _, n := range c.Nodes {
		v, err := c.At(n).View(within(t, 10*time.Second))
		must(t, err)
		if v.NodeID != n.ID || v.Quorum != 2 || v.CanLose != 1 || len(v.Nodes) != 3 || v.Term == 0 {
			t.Errorf("view of %s: %+v", n.ID, v)
		}
		leaders[v.Leader] = true
		nobody := harness.Client{HTTP: c.Admin.HTTP, Base: n.URL}
		for _, want := range []struct {
			who    harness.Client
			path   string
			status int
			text   string
		}{
			{nobody, "/healthz", 200, ""},
			{nobody, "/readyz", 200, "[+]raft leader known"},
			{nobody, "/readyz?decide", 200, "[+]"},
			{nobody, "/metrics", 200, "\nhadir_"},
			{nobody, "/api/v1/cluster/health", 200, "leader"},
			{nobody, "/api/v1/cluster", 401, "unauthenticated"},
			{me.At(n.URL), "/api/v1/cluster", 403, "forbidden"},
			{c.At(n), "/api/v1/nothing", 404, "not_found"},
		} {
			a := do(t, want.who, "GET", want.path, "", nil)
			if a.Status != want.status || !strings.Contains("\n"+string(a.Body), want.text) {
				t.Errorf("%s of %s: want %d with %q, got %s", want.path, n.ID, want.status, want.text, a)
			}
			if a.Header.Get("X-Hadir-Node") != n.ID || a.Header.Get("X-Hadir-Index") == "" || a.Header.Get("X-Request-Id") == "" {
				t.Errorf("%s of %s: headers %v", want.path, n.ID, a.Header)
			}
		}
	}
	if len(leaders) != 1 || leaders[""] {
		t.Errorf("leaders: %v", leaders)
	}
	out, err := command(t, "cluster", "status", "--url", c.Nodes[1].URL, "--token", c.Admin.Token)
	if err != nil || !strings.Contains(out, "as "+c.Nodes[1].ID+" sees it") {
		t.Errorf("hadir cluster status: %v\n%s", err, out)
	}
}

// TestBadInput: what is wrong is refused at the door with the right word, and
// never becomes an event.
func TestBadInput(t *testing.T) {
	c := cluster(t)
	user, kind := c.Fresh()
	n := c.Nodes[1]
	me := student(t, c, user, n)
	nobody := harness.Client{HTTP: me.HTTP, Base: me.Base}
	forged := me
	forged.Token = me.Token[:len(me.Token)-4] + "AAAA"
	before := seq(t, c, n)
	good := fmt.Sprintf(`{"type":%q}`, kind)
	for _, tc := range []struct {
		name, key, body string
		who             harness.Client
		status          int
		code            string
	}{
		{"nobody", "", good, nobody, 401, "unauthenticated"},
		{"forged token", "", good, forged, 401, "unauthenticated"},
		{"empty", "", ``, me, 400, "invalid_body"},
		{"no JSON", "", `type=in`, me, 400, "invalid_body"},
		{"array", "", `[]`, me, 400, "invalid_body"},
		{"trailing data", "", good + good, me, 400, "invalid_body"},
		{"unknown field", "", `{"type":"in","colour":"red"}`, me, 400, "invalid_body"},
		{"wrong type", "", `{"type":7}`, me, 400, "invalid_body"},
		{"no type", "", `{}`, me, 400, "invalid_body"},
		{"other type", "", `{"type":"sideways"}`, me, 400, "invalid_body"},
		{"NaN", "", `{"type":"in","latitude":NaN,"longitude":1}`, me, 400, "invalid_body"},
		{"off the globe", "", `{"type":"in","latitude":91,"longitude":1}`, me, 400, "invalid_body"},
		{"infinite", "", `{"type":"in","latitude":1e999,"longitude":1}`, me, 400, "invalid_body"},
		{"not UTF-8", "", "{\"type\":\"in\xff\"}", me, 400, "invalid_body"},
		{"large", "", `{"type":"in","x":"` + strings.Repeat("x", 70<<10) + `"}`, me, 413, "too_large"},
		{"key is no key", "hello", good, me, 400, ""},
		{"for somebody else", "", fmt.Sprintf(`{"type":"in","user_id":%d}`, user+1), me, 403, "forbidden"},
		{"for nobody", "", `{"type":"in","user_id":99999999}`, c.At(n), 400, "invalid_body"},
	} {
		a := do(t, tc.who, "POST", "/api/v1/checkins", tc.key, tc.body)
		if a.Status != tc.status || (tc.code != "" && a.Code() != tc.code) {
			t.Errorf("%s: want %d %s, got %s", tc.name, tc.status, tc.code, a)
		}
		if kind := a.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/problem+json") {
			t.Errorf("%s: content type %q", tc.name, kind)
		}
	}
	for _, sign := range [][2]string{{harness.AdminEmail, "wrong"}, {"nobody@system.example", "wrong"}} {
		a := do(t, nobody, "POST", "/api/v1/session", "", map[string]string{"email": sign[0], "password": sign[1]})
		if a.Status != 401 {
			t.Errorf("sign-in as %s: %s", sign[0], a)
		}
	}
	if after := seq(t, c, n); after != before {
		t.Errorf("bad input made %d events", after-before)
	}
}

// seq gives the newest event of a node.
func seq(t *testing.T, c *harness.Cluster, n *harness.Node) uint64 {
	t.Helper()
	v, err := c.At(n).View(within(t, 10*time.Second))
	must(t, err)
	for _, m := range v.Nodes {
		if m.ID == n.ID {
			return m.Seq
		}
	}
	t.Fatalf("%s does not list itself: %+v", n.ID, v)
	return 0
}
