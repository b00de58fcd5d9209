package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster"
)

// ids gives one field of the items of a list.
func ids(r reply, field string) []string {
	items, _ := r.doc["items"].([]any)
	out := []string{}
	for _, item := range items {
		m, _ := item.(map[string]any)
		out = append(out, fmt.Sprint(m[field]))
	}
	return out
}

func TestAttendances(t *testing.T) {
	w := newWorld(t)
	people := []int{aniID, budiID, citraID, teacherID}
	for range 3 {
		for _, who := range people {
			w.want(w.do(who, "POST", "/api/v1/checkins", `{"type":"in"}`), http.StatusCreated, "")
			w.want(w.do(who, "POST", "/api/v1/checkins", `{"type":"out"}`), http.StatusCreated, "")
		}
		w.clock.advance(time.Hour)
	}
	for _, c := range []struct {
		who    int
		query  string
		people string // whose, newest first
	}{
		{aniID, "", "3 3 3 3 3 3"},
		{aniID, "type=out", "3 3 3"},
		{aniID, "user_id=3&limit=1", "3"},
		{aniID, "node_id=n2", ""},
		{aniID, "date=2020-01-01", ""},
		{teacherID, "type=in", "2 4 3 2 4 3 2 4 3"},
		{teacherID, "user_id=4&type=in", "4 4 4"},
		{teacherID, "q=BUD&type=in", "4 4 4"},
		{teacherID, "q=citra", ""},
		{adminID, "type=in&limit=8", "2 5 4 3 2 5 4 3"},
		{adminID, "q=citra&type=in&limit=2", "5 5"},
		{adminID, "user_id=5&q=citra&type=in", "5 5 5"},
		{adminID, "user_id=999", ""},
		{adminID, "consistency=strong&min_index=3&max_stale_ms=1000&type=in&user_id=3", "3 3 3"},
	} {
		r := w.get(c.who, "/api/v1/attendances?"+c.query)
		w.want(r, http.StatusOK, "")
		if got := strings.Join(ids(r, "user_id"), " "); got != c.people {
			t.Errorf("%d asks %q: %s, want %s", c.who, c.query, got, c.people)
		}
		if r.doc["index"] != json.Number(r.Header.Get("X-Hadir-Index")) || r.doc["as_of"] == nil || r.doc["stale"] != false {
			t.Errorf("freshness: %s", r.body)
		}
	}
	// Page by page is the same as all at once.
	for who, filter := range map[int]string{aniID: "", teacherID: "", adminID: "q=i&"} {
		whole := ids(w.get(who, "/api/v1/attendances?"+filter), "id")
		if len(whole) < 6 {
			t.Fatalf("%d sees %v", who, whole)
		}
		for limit := range 6 {
			var got []string
			cursor := ""
			for {
				r := w.get(who, fmt.Sprintf("/api/v1/attendances?%slimit=%d%s", filter, limit+1, cursor))
				w.want(r, http.StatusOK, "")
				got = append(got, ids(r, "id")...)
				next, more := r.doc["next_cursor"].(string)
				if !more {
					break
				}
				cursor = "&cursor=" + url.QueryEscape(next)
			}
			if !slices.Equal(got, whole) {
				t.Errorf("%d, pages of %d: %v, want %v", who, limit+1, got, whole)
			}
		}
	}
	w.want(w.get(aniID, "/api/v1/attendances?user_id=4"), http.StatusForbidden, "forbidden")
	w.want(w.get(teacherID, "/api/v1/attendances?user_id=5"), http.StatusForbidden, "forbidden")
	w.want(w.get(aniID, "/api/v1/attendances?min_index=9999"), http.StatusServiceUnavailable, "behind")
}

func TestAttendanceAndLogs(t *testing.T) {
	w := newWorld(t)
	r := w.tap(aniID, key1, tapIn)
	id := fmt.Sprint(r.at("attendance.id"))
	w.want(w.tap(aniID, key2, tapIn), http.StatusConflict, "")
	w.want(w.tap(teacherID, key3, `{"type":"in","user_id":3}`), http.StatusConflict, "")
	for _, c := range []struct{ who, status int }{{aniID, 200}, {budiID, 403}, {teacherID, 200}, {adminID, 200}} {
		one := w.get(c.who, "/api/v1/attendances/"+id)
		w.want(one, c.status, "")
		logs := w.get(c.who, "/api/v1/attendances/"+id+"/logs")
		w.want(logs, c.status, "")
		if c.status != 200 {
			continue
		}
		if fmt.Sprint(one.doc["id"]) != id || one.doc["type"] != "in" || one.doc["index"] == nil {
			t.Errorf("attendance: %s", one.body)
		}
		if got := strings.Join(ids(logs, "type"), " "); got != "attendance.accepted attendance.duplicate attendance.duplicate" {
			t.Errorf("logs: %s", logs.body)
		}
		if got := strings.Join(ids(logs, "attendance_id"), " "); got != strings.Join([]string{id, id, id}, " ") {
			t.Errorf("logs are about %s", got)
		}
		if got := strings.Join(ids(logs, "id"), " "); got != strings.Join([]string{key1, key2, key3}, " ") {
			t.Errorf("keys: %s", got)
		}
	}
	var all []string
	cursor := ""
	for range 3 {
		page := w.get(aniID, "/api/v1/attendances/"+id+"/logs?limit=1"+cursor)
		all = append(all, ids(page, "seq")...)
		next, more := page.doc["next_cursor"].(string)
		if more != (len(all) < 3) {
			t.Errorf("page %d: %s", len(all), page.body)
		}
		cursor = "&cursor=" + next
	}
	if whole := ids(w.get(aniID, "/api/v1/attendances/"+id+"/logs"), "seq"); !slices.Equal(all, whole) {
		t.Errorf("pages %v, whole %v", all, whole)
	}
}

func TestOfflineTap(t *testing.T) {
	w := newWorld(t)
	r := w.tap(aniID, key1, `{"type":"in","offline":true,"client_time":"2026-01-05T06:58:13.902+07:00"}`)
	w.want(r, http.StatusCreated, "")
	if r.at("attendance.offline") != true || r.at("attendance.claimed_at") != "2026-01-04T23:58:13.902Z" || r.at("attendance.claim_trusted") != false {
		t.Errorf("offline: %s", r.body)
	}
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	for who, want := range map[int]string{teacherID: "2 3 4", adminID: "1 2 3 4 5 6"} {
		whole := w.get(who, "/api/v1/users")
		w.want(whole, http.StatusOK, "")
		if got := strings.Join(ids(whole, "id"), " "); got != want {
			t.Errorf("%d sees %s, want %s", who, got, want)
		}
		if strings.Contains(string(whole.body), "argon2") {
			t.Error("a password hash shows")
		}
		for limit := 1; limit <= 7; limit++ {
			var got []string
			cursor := ""
			for {
				r := w.get(who, fmt.Sprintf("/api/v1/users?limit=%d%s", limit, cursor))
				w.want(r, http.StatusOK, "")
				got = append(got, ids(r, "id")...)
				next, more := r.doc["next_cursor"].(string)
				if !more {
					break
				}
				cursor = "&cursor=" + next
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%d, pages of %d: %v", who, limit, got)
			}
		}
	}
}

func TestClusterView(t *testing.T) {
	w := newWorld(t)
	r := w.get(teacherID, "/api/v1/cluster")
	w.want(r, http.StatusOK, "")
	for path, want := range map[string]any{
		"node_id": "n1", "leader_id": "n2", "epoch": "0102-1", "term": json.Number("3"), "quorum": json.Number("2"), "can_lose": json.Number("1"), "stale": false,
	} {
		if got := r.at(path); got != want {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
	if got := ids(r, "id"); len(got) != 0 {
		t.Error("the cluster is no list")
	}
	for _, part := range []string{`"last_contact_ms":null`, `"state":"down"`, `"elections":[{"term":3,"leader":"n2"`, `"leaderless_ms":1000`} {
		if !strings.Contains(string(r.body), part) {
			t.Errorf("%s is not in %s", part, r.body)
		}
	}
	w.node.set(func(n *fakeNode) { n.status = func(s *cluster.Status) { s.Leader = "" } })
	r = w.get(0, "/api/v1/cluster/health")
	w.want(r, http.StatusOK, "")
	if r.doc["leader_id"] != nil || strings.Contains(string(r.body), "127.0.0.1") {
		t.Errorf("health: %s", r.body)
	}
}

func TestAdminActs(t *testing.T) {
	w := newWorld(t)
	w.want(w.do(adminID, "POST", "/api/v1/cluster/transfer", ""), http.StatusOK, "")
	if w.node.moved != 1 || w.node.proposals() != 1 {
		t.Errorf("%d transfers, %d events", w.node.moved, w.node.proposals())
	}
	w.node.set(func(n *fakeNode) { n.moveErr = fmt.Errorf("cannot find peer") })
	w.want(w.do(adminID, "POST", "/api/v1/cluster/transfer", ""), http.StatusServiceUnavailable, "transfer_failed")
	w.node.set(func(n *fakeNode) { n.refuse = cluster.ErrNoLeader })
	w.want(w.do(adminID, "POST", "/api/v1/cluster/transfer", ""), http.StatusServiceUnavailable, "no_leader")
	if w.node.moved != 2 {
		t.Error("a transfer was not written down")
	}
	one := cluster.Comparison{Node: "n1", Index: 5, Seq: 9, Chain: attendance.Hash{1}, State: attendance.Hash{2}}
	two, other, silent := one, one, one
	two.Node, other.Node, silent.Node = "n2", "n3", "n3"
	other.State, silent.Err = attendance.Hash{3}, "does not answer"
	for _, c := range []struct {
		found []cluster.Comparison
		equal bool
	}{{[]cluster.Comparison{one, two}, true}, {[]cluster.Comparison{one, two, other}, false}, {[]cluster.Comparison{one, silent}, false}, {nil, false}} {
		w.node.set(func(n *fakeNode) { n.compared = c.found })
		r := w.do(adminID, "POST", "/api/v1/cluster/verify", "")
		w.want(r, http.StatusOK, "")
		if r.doc["equal"] != c.equal || len(ids(r, "node_id")) != len(c.found) {
			t.Errorf("verify: %s", r.body)
		}
	}
	w.want(w.do(adminID, "POST", "/api/v1/demo/n2/freeze", ""), http.StatusOK, "")
	w.want(w.do(adminID, "POST", "/api/v1/demo/n8/kill", ""), http.StatusServiceUnavailable, "demo_failed")
	if got := strings.Join(w.demo.acts, ","); got != "freeze n2" {
		t.Errorf("acts: %s", got)
	}
}
