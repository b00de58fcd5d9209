package httpapi_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/store"
)

// members gives who is in a group.
func (w *world) members(group uint64, part store.Part) (all []uint64) {
	w.t.Helper()
	if err := w.node.machine.State().View(func(tx *store.ReadTx) error {
		for {
			after := uint64(0)
			if len(all) > 0 {
				after = all[len(all)-1]
			}
			page := tx.People(group, part, after, store.MaxPage)
			all = append(all, page...)
			if len(page) < store.MaxPage {
				return nil
			}
		}
	}); err != nil {
		w.t.Fatal(err)
	}
	return all
}

// idList writes ids as JSON does.
func idList(from, to int) string {
	var b strings.Builder
	for id := from; id <= to; id++ {
		fmt.Fprintf(&b, ",%d", id)
	}
	return "[" + strings.TrimPrefix(b.String(), ",") + "]"
}

func TestGroupList(t *testing.T) {
	w := newWorld(t)
	w.want(w.do(adminID, "POST", "/api/v1/groups", `{"name":"Tata Usaha","kind":"department","members":[2,1]}`), http.StatusCreated, "")
	for _, c := range []struct {
		who    int
		query  string
		groups string
	}{
		{adminID, "", "1 2 3"}, {adminID, "?kind=class", "1 2"}, {adminID, "?kind=department&q=USAHA", "3"}, {adminID, "?q=x-", "1 2"},
		{adminID, "?q=none", ""}, {teacherID, "", "1"}, {teacherID, "?q=x-2", ""},
	} {
		for limit := range 3 {
			if got := strings.Join(w.pages(c.who, "/api/v1/groups"+c.query, limit+1), " "); got != c.groups {
				t.Errorf("%d asks %s: %s, want %s", c.who, c.query, got, c.groups)
			}
		}
	}
	r := w.get(adminID, "/api/v1/groups?limit=1")
	if r.doc["total"] != json.Number("3") || fmt.Sprint(r.doc["items"]) != fmt.Sprint([]any{w.groupDoc(adminID, 1)}) {
		t.Errorf("a list and its item: %s", r.body)
	}
	w.want(w.get(teacherID, "/api/v1/groups/1"), http.StatusOK, "")
	for _, id := range []string{"2", "3", "99"} {
		w.want(w.get(teacherID, "/api/v1/groups/"+id), http.StatusForbidden, "forbidden")
	}
	w.want(w.get(aniID, "/api/v1/groups/1"), http.StatusForbidden, "forbidden")
	w.want(w.get(adminID, "/api/v1/groups?kind=club"), http.StatusBadRequest, "invalid_query")
}

// groupDoc gives a group without what a list says once for all.
func (w *world) groupDoc(user int, id uint64) map[string]any {
	w.t.Helper()
	r := w.get(user, fmt.Sprint("/api/v1/groups/", id))
	w.want(r, http.StatusOK, "")
	for _, field := range []string{"index", "as_of", "stale"} {
		delete(r.doc, field)
	}
	return r.doc
}

// TestGroupListIsBounded: a page of large groups ends early.
func TestGroupListIsBounded(t *testing.T) {
	w := newWorld(t)
	w.node.fill(t, 5000)
	const groups = 6 // of 5 000: more than a page tells
	for i := range groups {
		w.node.setUp(t, attendance.PutGroup{Name: fmt.Sprint("Large ", i), Kind: attendance.Department})
	}
	for id := uint64(3); id < 3+groups; id++ {
		var bodies []attendance.Body
		for first := uint64(1); first <= 5000; first += 250 {
			b := attendance.PutGroup{GroupID: id, Name: fmt.Sprint("Large ", id), Kind: attendance.Department}
			for user := first; user < first+250; user++ {
				b.AddMembers = append(b.AddMembers, user)
			}
			bodies = append(bodies, b)
		}
		w.node.setUpAll(t, bodies...)
	}
	first := w.get(adminID, "/api/v1/groups")
	if got := ids(first, "id"); len(got) >= groups || first.doc["next_cursor"] == nil {
		t.Errorf("first page: %v, next %v", got, first.doc["next_cursor"])
	}
	if got := w.pages(adminID, "/api/v1/groups", 200); !slices.Equal(got, strings.Fields("1 2 3 4 5 6 7 8")) {
		t.Errorf("all pages: %v", got)
	}
}

func TestGroupWrites(t *testing.T) {
	w := newWorld(t)
	const body = `{"name":"X-3","kind":"class","members":[5,3,5],"teachers":[2]}`
	r := w.keyed(adminID, "POST", "/api/v1/groups", key1, body)
	w.want(r, http.StatusCreated, "")
	if r.doc["id"] != json.Number("3") || fmt.Sprint(r.doc["members"]) != "[3 5]" || r.doc["member_count"] != json.Number("2") ||
		r.Header.Get("Location") != "/api/v1/groups/3" || fmt.Sprint(w.groupDoc(adminID, 3)) != fmt.Sprint(r.doc) {
		t.Errorf("created %s, and there is %v", r.body, w.groupDoc(adminID, 3))
	}
	again := w.keyed(adminID, "POST", "/api/v1/groups", key1, body)
	w.want(again, http.StatusCreated, "")
	if again.Header.Get("Idempotency-Replayed") != "true" || string(again.body) != string(r.body) {
		t.Errorf("replay: %s", again.body)
	}
	w.want(w.keyed(adminID, "POST", "/api/v1/groups", key1, strings.Replace(body, "X-3", "X-4", 1)), http.StatusUnprocessableEntity, "key_reused")

	for i, c := range []struct{ body, name, members, teachers string }{
		{`{"name":"X-3a"}`, "X-3a", "[3 5]", "[2]"},
		{`{"add_members":[4,5]}`, "X-3a", "[3 4 5]", "[2]"},
		{`{"remove_members":[3,9],"add_teachers":[1],"kind":"department"}`, "X-3a", "[4 5]", "[1 2]"},
		{`{"remove_teachers":[1,9]}`, "X-3a", "[4 5]", "[2]"},
		{`{"members":[3,4],"teachers":[]}`, "X-3a", "[3 4]", "[]"},
		{`{"members":[4,3]}`, "X-3a", "[3 4]", "[]"},
	} {
		key := fmt.Sprintf("01930000-0000-7000-8000-00000000010%d", i)
		r := w.keyed(adminID, "PATCH", "/api/v1/groups/3", key, c.body)
		w.want(r, http.StatusOK, "")
		is := w.groupDoc(adminID, 3)
		if is["name"] != c.name || fmt.Sprint(is["members"]) != c.members || fmt.Sprint(is["teachers"]) != c.teachers || fmt.Sprint(is) != fmt.Sprint(r.doc) {
			t.Errorf("%s: answered %s, and there is %v", c.body, r.body, is)
		}
		if got := w.members(3, store.Member); fmt.Sprint(got) != c.members {
			t.Errorf("%s: %v", c.body, got)
		}
	}
	// A change that is sent again undoes nothing that came after it.
	again = w.keyed(adminID, "PATCH", "/api/v1/groups/3", "01930000-0000-7000-8000-000000000102", `{"remove_members":[3,9],"add_teachers":[1],"kind":"department"}`)
	w.want(again, http.StatusOK, "")
	if again.Header.Get("Idempotency-Replayed") != "true" || fmt.Sprint(w.members(3, store.Member)) != "[3 4]" || len(w.members(3, store.Responsible)) != 0 {
		t.Errorf("replay: %s", again.body)
	}
	for _, other := range []string{`{"name":"Other"}`, `{"remove_members":[9],"kind":"department"}`, `{"members":[3]}`} {
		w.want(w.keyed(adminID, "PATCH", "/api/v1/groups/3", "01930000-0000-7000-8000-000000000102", other), http.StatusUnprocessableEntity, "key_reused")
	}
	w.want(w.keyed(adminID, "PATCH", "/api/v1/groups/2", "01930000-0000-7000-8000-000000000102", `{"add_teachers":[1]}`), http.StatusUnprocessableEntity, "key_reused")

	// In a department teachers are members too; a student teaches nobody.
	w.want(w.do(adminID, "PATCH", "/api/v1/groups/3", `{"add_members":[2],"add_teachers":[2]}`), http.StatusOK, "")
	w.want(w.do(adminID, "PATCH", "/api/v1/users/2", `{"role":"student"}`), http.StatusUnprocessableEntity, "not_a_teacher")

	w.want(w.keyed(adminID, "DELETE", "/api/v1/groups/3", key2, ""), http.StatusNoContent, "")
	again = w.keyed(adminID, "DELETE", "/api/v1/groups/3", key2, "")
	w.want(again, http.StatusNoContent, "")
	if again.Header.Get("Idempotency-Replayed") != "true" {
		t.Error("the second one deleted it again")
	}
	w.want(w.do(adminID, "DELETE", "/api/v1/groups/3", ""), http.StatusNotFound, "not_found")
	w.want(w.get(adminID, "/api/v1/users/3"), http.StatusOK, "")
}

// TestLargeGroup: a group may be larger than a command, and what was interrupted
// goes on under the same key.
func TestLargeGroup(t *testing.T) {
	w := newWorld(t)
	w.node.fill(t, 1100)
	body := `{"name":"Semua","kind":"department","members":` + idList(101, 1100) + `,"teachers":[2]}`
	calls := 0
	interrupt := func(at int, err error) {
		calls = 0
		w.node.set(func(n *fakeNode) {
			n.before = func(cluster.Request) error {
				if calls++; calls == at {
					return err
				}
				return nil
			}
		})
	}
	interrupt(1, cluster.ErrNoLeader)
	w.want(w.keyed(adminID, "POST", "/api/v1/groups", key1, body), http.StatusServiceUnavailable, "no_leader")
	interrupt(3, cluster.ErrNoLeader)
	r := w.keyed(adminID, "POST", "/api/v1/groups", key1, body)
	w.want(r, http.StatusServiceUnavailable, "partly_done")
	if r.doc["key"] != key1 || r.Header.Get("Retry-After") == "" {
		t.Errorf("partly done: %v %s", r.Header, r.body)
	}
	if n := len(w.members(3, store.Member)); n == 0 || n >= 1000 {
		t.Errorf("%d members after a part", n)
	}
	interrupt(0, nil)
	r = w.keyed(adminID, "POST", "/api/v1/groups", key1, body)
	w.want(r, http.StatusCreated, "")
	if got := w.members(3, store.Member); len(got) != 1000 || got[0] != 101 || got[999] != 1100 {
		t.Errorf("%d members", len(got))
	}
	if total := w.get(adminID, "/api/v1/groups?limit=1").doc["total"]; total != json.Number("3") {
		t.Errorf("%v groups: it was created more than once", total)
	}
	again := w.keyed(adminID, "POST", "/api/v1/groups", key1, body)
	w.want(again, http.StatusCreated, "")
	if again.Header.Get("Idempotency-Replayed") != "true" || again.doc["id"] != r.doc["id"] {
		t.Errorf("replay: %v", again.Header)
	}

	interrupt(3, cluster.ErrUnknown)
	change := `{"members":` + idList(1, 100) + `}`
	w.want(w.keyed(adminID, "PATCH", "/api/v1/groups/3", key2, change), http.StatusServiceUnavailable, "partly_done")
	interrupt(0, nil)
	w.want(w.keyed(adminID, "PATCH", "/api/v1/groups/3", key2, change), http.StatusOK, "")
	if got := w.members(3, store.Member); len(got) != 100 || got[0] != 1 || got[99] != 100 {
		t.Errorf("%d members after the change", len(got))
	}

	w.want(w.do(adminID, "PATCH", "/api/v1/groups/3", `{"add_members":`+idList(1, 1100)+`}`), http.StatusOK, "")
	interrupt(2, cluster.ErrNoLeader)
	w.want(w.keyed(adminID, "DELETE", "/api/v1/groups/3", key3, ""), http.StatusServiceUnavailable, "partly_done")
	interrupt(0, nil)
	w.want(w.keyed(adminID, "DELETE", "/api/v1/groups/3", key3, ""), http.StatusNoContent, "")
	w.want(w.get(adminID, "/api/v1/groups/3"), http.StatusNotFound, "not_found")
}

func TestGroupFull(t *testing.T) {
	w := newWorld(t)
	w.node.fill(t, attendance.MaxGroupMembers+1)
	full := `{"name":"Semua","kind":"department","members":` + idList(1, attendance.MaxGroupMembers) + `}`
	w.want(w.do(adminID, "POST", "/api/v1/groups", full), http.StatusCreated, "")
	before := w.node.proposals()
	w.want(w.do(adminID, "PATCH", "/api/v1/groups/3", fmt.Sprintf(`{"add_members":[%d]}`, attendance.MaxGroupMembers+1)), http.StatusConflict, "group_full")
	if w.node.proposals() != before {
		t.Error("it was proposed")
	}
	w.want(w.do(adminID, "PATCH", "/api/v1/groups/3", fmt.Sprintf(`{"add_members":[%d],"remove_members":[1]}`, attendance.MaxGroupMembers+1)), http.StatusOK, "")
	// Somebody else fills it between the look and the decision.
	w.want(w.do(adminID, "PATCH", "/api/v1/groups/3", `{"remove_members":[2]}`), http.StatusOK, "")
	w.node.set(func(n *fakeNode) {
		n.before = func(cluster.Request) error {
			n.before = nil
			_, err := n.apply(cluster.Request{Command: attendance.Command{
				Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n2",
				Body: attendance.PutGroup{GroupID: 3, Name: "Semua", Kind: attendance.Department, AddMembers: []uint64{1}},
			}})
			return err
		}
	})
	w.want(w.do(adminID, "PATCH", "/api/v1/groups/3", `{"add_members":[2]}`), http.StatusConflict, "group_full")
}

// TestSplitGroup: each part can be proposed, and together they are the whole.
func TestSplitGroup(t *testing.T) {
	list := func(n, from int) (ids []uint64) {
		for i := range n {
			ids = append(ids, math.MaxInt64-uint64(from)+uint64(i))
		}
		return ids
	}
	for _, n := range []int{0, 1, 349, 350, 351, 700, 5000} {
		whole := attendance.PutGroup{
			GroupID: math.MaxInt64, Name: strings.Repeat("é", attendance.MaxName/2), Kind: attendance.Class, AddMembers: list(n, 10_000), RemoveMembers: list(n/2, 20_000),
			AddTeachers: list(min(n, 200), 30_000), RemoveTeachers: list(min(n, 100), 40_000),
		}
		var sum attendance.PutGroup
		parts := httpapi.SplitGroup(whole)
		for _, p := range parts {
			c := attendance.Command{
				Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: math.MaxInt64}, Key: key1, Node: strings.Repeat("n", attendance.MaxNodeID), Body: p,
			}
			if size, err := c.Size(); err != nil {
				t.Errorf("%d people: a part of %d bytes: %v", n, size, err)
			}
			sum.AddMembers, sum.RemoveMembers = append(sum.AddMembers, p.AddMembers...), append(sum.RemoveMembers, p.RemoveMembers...)
			sum.AddTeachers, sum.RemoveTeachers = append(sum.AddTeachers, p.AddTeachers...), append(sum.RemoveTeachers, p.RemoveTeachers...)
		}
		sum.GroupID, sum.Name, sum.Kind = whole.GroupID, whole.Name, whole.Kind
		if fmt.Sprint(sum) != fmt.Sprint(whole) || len(parts) == 0 {
			t.Errorf("%d people: %d parts are not the whole", n, len(parts))
		}
	}
}
