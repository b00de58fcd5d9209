package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster"
)

const (
	key1 = "01930000-0000-7000-8000-000000000001"
	key2 = "01930000-0000-7000-8000-000000000002"
	key3 = "01930000-0000-7000-8000-000000000003"
)

const tapIn = `{"type":"in","latitude":-6.2009,"longitude":106.8451,"accuracy_m":18,"client_time":"2026-11-23T06:58:13.902Z"}`

func (w *world) tap(user int, key, body string) reply {
	w.t.Helper()
	return w.do(user, "POST", "/api/v1/checkins", body, "Idempotency-Key", key)
}

func TestCheckInAccepted(t *testing.T) {
	w := newWorld(t)
	r := w.tap(aniID, strings.ToUpper(key1), tapIn)
	w.want(r, http.StatusCreated, "")
	for path, want := range map[string]any{
		"status": "accepted", "key": key1, "attendance.user_id": json.Number("3"), "attendance.type": "in",
		"attendance.latitude": json.Number("-6.2009"), "attendance.longitude": json.Number("106.8451"),
		"attendance.accuracy_m": json.Number("18"), "attendance.node_id": "n1", "sync.handled_by": "n1", "sync.leader": "n2",
		"sync.term": json.Number("3"), "sync.forwarded": true, "sync.latency_ms.forward": json.Number("0.6"),
		"sync.latency_ms.commit": json.Number("2.9"), "sync.index": json.Number(r.Header.Get("X-Hadir-Index")),
		"sync.seq": r.at("attendance.seq"), "attendance.id": r.at("attendance.seq"),
		"attendance.first_seen_at": r.at("attendance.timestamp"),
	} {
		if got := r.at(path); got != want || got == nil {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
	at, _ := r.at("attendance.timestamp").(string)
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", at); err != nil {
		t.Errorf("timestamp %q: %v", at, err)
	}
	if got, want := r.Header.Get("Location"), fmt.Sprint("/api/v1/attendances/", r.at("attendance.id")); got != want {
		t.Errorf("Location %q, want %q", got, want)
	}
	if r.Header.Get("Idempotency-Replayed") != "" {
		t.Error("the first decision says that it is a replay")
	}

	// The same key again answers the same, in any spelling of the key and of the
	// numbers.
	again := w.tap(aniID, `"`+key1+`"`, strings.Replace(tapIn, "-6.2009", "-62.0090e-1", 1))
	w.want(again, http.StatusCreated, "")
	if again.Header.Get("Idempotency-Replayed") != "true" || fmt.Sprint(again.doc["attendance"]) != fmt.Sprint(r.doc["attendance"]) {
		t.Errorf("replay: %v %s", again.Header, again.body)
	}
	// With another body it is refused.
	other := w.tap(aniID, key1, `{"type":"out"}`)
	w.want(other, http.StatusUnprocessableEntity, "key_reused")
	if other.doc["status"] != "rejected" || other.doc["reason"] != "key_reused" {
		t.Errorf("key reused: %s", other.body)
	}
	// The same key of somebody else is another key.
	w.want(w.tap(budiID, key1, tapIn), http.StatusCreated, "")

	// What is too near loses.
	w.clock.advance(299 * time.Second)
	dup := w.tap(aniID, key2, tapIn)
	w.want(dup, http.StatusConflict, "")
	if dup.doc["status"] != "duplicate" || dup.at("attendance.id") != r.at("attendance.id") {
		t.Errorf("duplicate: %s", dup.body)
	}
	if n, err := dup.doc["delta_ms"].(json.Number).Int64(); err != nil || n < 299_000 || n >= 300_000 {
		t.Errorf("delta_ms %v %v", n, err)
	}
	w.clock.advance(2 * time.Second)
	w.want(w.tap(aniID, key3, tapIn), http.StatusCreated, "")
}

func TestCheckInMakesKey(t *testing.T) {
	w := newWorld(t)
	r := w.do(aniID, "POST", "/api/v1/checkins", `{"type":"out","location_error":"denied","latitude":null}`)
	w.want(r, http.StatusCreated, "")
	key, _ := r.doc["key"].(string)
	if len(key) != 36 || key[14] != '7' {
		t.Fatalf("key %q is no UUID of version 7", key)
	}
	if r.at("attendance.location_error") != "denied" || r.at("attendance.latitude") != nil {
		t.Errorf("location: %s", r.body)
	}
	state := w.get(aniID, "/api/v1/checkins/"+key)
	w.want(state, http.StatusOK, "")
	if state.doc["status"] != "accepted" || fmt.Sprint(state.doc["attendance"]) != fmt.Sprint(r.doc["attendance"]) {
		t.Errorf("state: %s", state.body)
	}
}

func TestCheckInForOthers(t *testing.T) {
	w := newWorld(t)
	body := func(user int) string { return fmt.Sprintf(`{"type":"in","user_id":%d}`, user) }
	for _, c := range []struct {
		who, whom, status int
		code              string
	}{
		{aniID, aniID, 201, ""},
		{aniID, budiID, 403, "forbidden"},
		{aniID, 999, 403, "forbidden"},
		{teacherID, budiID, 201, ""},
		{teacherID, teacherID, 201, ""},
		{teacherID, citraID, 403, "forbidden"},
		{teacherID, adminID, 403, "forbidden"},
		{teacherID, 999, 403, "forbidden"},
		{adminID, citraID, 201, ""},
		{adminID, 999, 400, "invalid_body"},
		{adminID, goneID, 422, "inactive_user"},
	} {
		before := w.node.proposals()
		r := w.do(c.who, "POST", "/api/v1/checkins", body(c.whom))
		w.want(r, c.status, c.code)
		if refused := c.status == 400 || c.status == 403; refused != (w.node.proposals() == before) {
			t.Errorf("%d for %d: %d proposals", c.who, c.whom, w.node.proposals()-before)
		}
	}
}

func TestCheckInReview(t *testing.T) {
	w := newWorld(t)
	w.node.set(func(n *fakeNode) { n.refuse = nil })
	// A floor right below now leaves neighbours that nobody can know.
	params := attendance.DefaultParams()
	params.Window, params.Deferral, params.KeyRetention = 1000, 1000, 10_000
	w.node.setUp(t, attendance.SetParams{Params: params})
	now := attendance.MillisOf(w.clock.Now())
	w.clock.advance(2100 * time.Millisecond)
	w.node.setUp(t, attendance.Audit{Action: "clock.moves"})
	w.node.setUp(t, attendance.Prune{Floor: now})
	params.Window, params.Deferral, params.KeyRetention = 10_000, 10_000, 100_000
	w.node.setUp(t, attendance.SetParams{Params: params})
	r := w.tap(aniID, key1, tapIn)
	w.want(r, http.StatusAccepted, "")
	if r.doc["status"] != "review" || r.doc["reason"] != "too_old" || r.doc["attendance"] != nil {
		t.Errorf("review: %s", r.body)
	}
}

func TestCheckInNotDecided(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		err  error
		code string
		says string
	}{
		{cluster.ErrNoLeader, "no_leader", "Nothing was recorded"},
		{cluster.ErrOverloaded, "overloaded", "Nothing was recorded"},
		{cluster.ErrClosing, "closing", "Nothing was recorded"},
		{cluster.ErrNotMember, "not_ready", "Nothing was recorded"},
		{cluster.ErrUnknown, "unknown_outcome", "same idempotency key"},
		{fmt.Errorf("%w: %w", cluster.ErrUnknown, cluster.ErrNoLeader), "unknown_outcome", "same idempotency key"},
		{fmt.Errorf("something nobody thought of"), "unknown_outcome", "same idempotency key"},
	} {
		w.node.set(func(n *fakeNode) { n.refuse = c.err })
		r := w.tap(aniID, key1, tapIn)
		w.want(r, http.StatusServiceUnavailable, c.code)
		detail, _ := r.doc["detail"].(string)
		if r.Header.Get("Retry-After") == "" || r.doc["key"] != key1 || !strings.Contains(detail, c.says) {
			t.Errorf("%v: %v %s", c.err, r.Header, r.body)
		}
	}
	w.node.set(func(n *fakeNode) { n.refuse = nil })
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
}

func TestCheckInState(t *testing.T) {
	w := newWorld(t)
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	w.want(w.tap(aniID, key2, tapIn), http.StatusConflict, "")
	w.want(w.tap(citraID, key3, tapIn), http.StatusCreated, "")
	for _, c := range []struct {
		who    int
		path   string
		status int
		what   string // status in the body, or code
	}{
		{aniID, strings.ToUpper(key1), 200, "accepted"},
		{aniID, key2, 200, "duplicate"},
		{aniID, key3, 404, "not_found"},
		{aniID, "nonsense", 404, "not_found"},
		{aniID, key3 + "?user_id=5", 403, "forbidden"},
		{budiID, key1 + "?user_id=3", 403, "forbidden"},
		{teacherID, key1 + "?user_id=3", 200, "accepted"},
		{teacherID, key3 + "?user_id=5", 403, "forbidden"},
		{adminID, key3 + "?user_id=5", 200, "accepted"},
		{adminID, key3 + "?user_id=999", 404, "not_found"},
		{adminID, key3 + "?user_id=x", 400, "invalid_query"},
	} {
		r := w.get(c.who, "/api/v1/checkins/"+c.path)
		if r.StatusCode != c.status || (r.doc["status"] != c.what && r.code() != c.what) {
			t.Errorf("%d %s: %d %s", c.who, c.path, r.StatusCode, r.body)
		}
	}
}
