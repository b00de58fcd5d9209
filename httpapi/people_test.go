package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// userOf gives somebody as the state has them.
func (w *world) userOf(id uint64) (u attendance.User) {
	w.t.Helper()
	if err := w.node.machine.State().View(func(tx *store.ReadTx) (err error) {
		u, err = tx.User(id)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return u
}

// keyed sends a request under a key.
func (w *world) keyed(user int, method, path, key, body string) reply {
	w.t.Helper()
	return w.do(user, method, path, body, "Idempotency-Key", key)
}

// pages reads a list to its end and gives the ids.
func (w *world) pages(user int, path string, limit int) (got []string) {
	w.t.Helper()
	mark := "?"
	if strings.Contains(path, "?") {
		mark = "&"
	}
	cursor := ""
	for {
		r := w.get(user, fmt.Sprintf("%s%slimit=%d%s", path, mark, limit, cursor))
		w.want(r, http.StatusOK, "")
		page := ids(r, "id")
		if len(page) > limit {
			w.t.Fatalf("%s: a page of %d", path, len(page))
		}
		got = append(got, page...)
		next, more := r.doc["next_cursor"].(string)
		if !more {
			return got
		}
		cursor = "&cursor=" + url.QueryEscape(next)
	}
}

func TestUserList(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		who    int
		query  string
		people string
	}{
		{adminID, "", "1 2 3 4 5 6"},
		{adminID, "?q=I", "1 3 4 5"},
		{adminID, "?q=ANI@", "3"},
		{adminID, "?role=student", "3 4 5 6"},
		{adminID, "?role=student&active=true", "3 4 5"},
		{adminID, "?active=false", "6"},
		{adminID, "?group=1", "2 3 4"},
		{adminID, "?group=1&role=student&q=bud", "4"},
		{adminID, "?group=99", ""},
		{adminID, "?q=%25", ""},
		{teacherID, "", "2 3 4"},
		{teacherID, "?group=1&role=teacher", "2"},
		{teacherID, "?q=citra", ""},
	} {
		for limit := 1; limit <= 7; limit += 2 {
			if got := strings.Join(w.pages(c.who, "/api/v1/users"+c.query, limit), " "); got != c.people {
				t.Errorf("%d asks %s in pages of %d: %s, want %s", c.who, c.query, limit, got, c.people)
			}
		}
	}
	if total := w.get(adminID, "/api/v1/users?limit=1").doc["total"]; total != json.Number("6") {
		t.Errorf("total %v", total)
	}
	for who, path := range map[int]string{adminID: "/api/v1/users?q=a", teacherID: "/api/v1/users"} {
		if total, there := w.get(who, path).doc["total"]; there {
			t.Errorf("a list that is narrowed says total %v", total)
		}
	}
	w.want(w.get(teacherID, "/api/v1/users?group=2"), http.StatusForbidden, "forbidden")
	for _, query := range []string{"role=boss", "active=yes", "group=0", "group=x", "cursor=-1", "limit=0", "sort=name"} {
		w.want(w.get(adminID, "/api/v1/users?"+query), http.StatusBadRequest, "invalid_query")
	}
}

// TestUserListIsBounded: a filter that keeps nothing does not read everybody for
// one request, and the list still gets to its end.
func TestUserListIsBounded(t *testing.T) {
	w := newWorld(t)
	const most = 25 * store.MaxPage
	w.node.fill(t, most+10)
	first := w.get(adminID, "/api/v1/users?q=nobody-is-called-so")
	w.want(first, http.StatusOK, "")
	if next, more := first.doc["next_cursor"].(string); !more || next != fmt.Sprint(most) || len(ids(first, "id")) != 0 {
		t.Errorf("first page: %s", first.body)
	}
	if got := w.pages(adminID, "/api/v1/users?q=person%20"+fmt.Sprint(most+10), 10); len(got) != 1 {
		t.Errorf("the last of all: %v", got)
	}
}

// fill adds students until there are so many people, in few entries.
func (n *fakeNode) fill(t testing.TB, people int) {
	t.Helper()
	next := 0
	if err := n.machine.State().View(func(tx *store.ReadTx) error {
		next = int(tx.Meta().NextUser)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var bodies []attendance.Body
	for ; next <= people; next++ {
		bodies = append(bodies, attendance.PutUser{
			Name: fmt.Sprint("Person ", next), Email: fmt.Sprintf("p%d@sekolah.test", next), Role: attendance.Student, Active: true,
		})
	}
	for some := range slices.Chunk(bodies, attendance.MaxCommands) {
		n.setUpAll(t, some...)
	}
}

func TestUser(t *testing.T) {
	w := newWorld(t)
	r := w.get(adminID, "/api/v1/users/2")
	w.want(r, http.StatusOK, "")
	if r.doc["name"] != "Guru" || r.doc["has_password"] != true || fmt.Sprint(r.doc["groups"]) != "[map[as:teacher id:1 kind:class name:X-1]]" {
		t.Errorf("teacher: %s", r.body)
	}
	r = w.get(aniID, "/api/v1/users/3")
	w.want(r, http.StatusOK, "")
	if _, told := r.doc["has_password"]; told || fmt.Sprint(r.doc["groups"]) != "[map[as:member id:1 kind:class name:X-1]]" {
		t.Errorf("student: %s", r.body)
	}
	for _, c := range []struct {
		who    int
		id     string
		status int
		code   string
	}{
		{teacherID, "4", 200, ""}, {teacherID, "5", 403, "forbidden"}, {teacherID, "99", 403, "forbidden"},
		{aniID, "4", 403, "forbidden"}, {adminID, "99", 404, "not_found"}, {adminID, "x", 404, "not_found"},
	} {
		w.want(w.get(c.who, "/api/v1/users/"+c.id), c.status, c.code)
	}
}

func TestUserCreate(t *testing.T) {
	w := newWorld(t)
	const body = `{"name":"Dewi Sartika","email":"Dewi@Sekolah.test","role":"teacher","password":"kata-sandi ✔"}`
	r := w.keyed(adminID, "POST", "/api/v1/users", key1, body)
	w.want(r, http.StatusCreated, "")
	if r.doc["id"] != json.Number("7") || r.doc["role"] != "teacher" || r.doc["active"] != true || r.doc["created_at"] != r.doc["updated_at"] ||
		r.Header.Get("Location") != "/api/v1/users/7" || r.Header.Get("Idempotency-Key") != key1 {
		t.Errorf("created: %v %s", r.Header, r.body)
	}
	if strings.Contains(string(r.body), "argon2") || strings.Contains(string(r.body), "kata") {
		t.Errorf("a secret in the answer: %s", r.body)
	}
	w.want(w.signIn("dewi@sekolah.TEST", "kata-sandi ✔"), http.StatusOK, "")
	got := w.get(adminID, "/api/v1/users/7?min_index="+r.Header.Get("X-Hadir-Index"))
	for _, field := range []string{"id", "name", "email", "role", "active", "created_at", "updated_at"} {
		if got.doc[field] != r.doc[field] || got.doc[field] == nil {
			t.Errorf("%s: %v, and was answered %v", field, got.doc[field], r.doc[field])
		}
	}

	again := w.keyed(adminID, "POST", "/api/v1/users", key1, body)
	w.want(again, http.StatusCreated, "")
	if again.Header.Get("Idempotency-Replayed") != "true" || string(again.body) != string(r.body) {
		t.Errorf("replay: %v %s", again.Header, again.body)
	}
	w.want(w.keyed(adminID, "POST", "/api/v1/users", key1, strings.Replace(body, "Dewi S", "Dewa S", 1)), http.StatusUnprocessableEntity, "key_reused")
	taken := w.do(adminID, "POST", "/api/v1/users", strings.Replace(body, "Dewi@", "ANI@", 1))
	w.want(taken, http.StatusConflict, "email_taken")
	if !strings.Contains(string(taken.body), `"field":"email"`) {
		t.Errorf("email taken: %s", taken.body)
	}

	// Without a password nobody signs in, until there is one.
	r = w.do(adminID, "POST", "/api/v1/users", `{"name":"Eka","email":"eka@sekolah.test","role":"student","active":true}`)
	w.want(r, http.StatusCreated, "")
	if r.Header.Get("Idempotency-Key") == "" {
		t.Error("the key that the node made is not told")
	}
	if w.get(adminID, "/api/v1/users/"+fmt.Sprint(r.doc["id"])).doc["has_password"] != false {
		t.Error("has_password")
	}
	w.want(w.signIn("eka@sekolah.test", ""), http.StatusUnauthorized, "unauthenticated")
	w.want(w.do(adminID, "POST", fmt.Sprintf("/api/v1/users/%v/password", r.doc["id"]), `{"password":"12345678"}`), http.StatusNoContent, "")
	w.want(w.signIn("eka@sekolah.test", "12345678"), http.StatusOK, "")
}

// TestBadPeople: what is wrong is named, and nothing of it is proposed.
func TestBadPeople(t *testing.T) {
	w := newWorld(t)
	w.tokenOf(adminID)
	before := w.node.proposals()
	for _, c := range []struct{ method, path, body, field string }{
		{"POST", "users", `{}`, "name"}, {"POST", "users", `{}`, "email"}, {"POST", "users", `{}`, "role"},
		{"POST", "users", `{"name":"","email":"a@b","role":"student"}`, "name"},
		{"POST", "users", `{"name":" A","email":"a@b","role":"student"}`, "name"},
		{"POST", "users", `{"name":"A\u0000","email":"a@b","role":"student"}`, "name"},
		{"POST", "users", `{"name":"` + strings.Repeat("é", 101) + `","email":"a@b","role":"student"}`, "name"},
		{"POST", "users", `{"name":"A","email":"a","role":"student"}`, "email"},
		{"POST", "users", `{"name":"A","email":"a@b@c","role":"student"}`, "email"},
		{"POST", "users", `{"name":"A","email":"ä@b","role":"student"}`, "email"},
		{"POST", "users", `{"name":"A","email":"a@b","role":"Student"}`, "role"},
		{"POST", "users", `{"name":"A","email":"a@b","role":"student","password":"short"}`, "password"},
		{"POST", "users", `{"name":"A","email":"a@b","role":"student","password":"` + strings.Repeat("x", 1025) + `"}`, "password"},
		{"POST", "users", `{"name":"A","email":"a@b","role":"student","id":9}`, "id"},
		{"POST", "users", `{"name":"A","email":"a@b","role":"student","password_hash":"x"}`, "password_hash"},
		{"PATCH", "users/3", `{}`, ""}, {"PATCH", "users/3", `{"active":null}`, ""}, {"PATCH", "users/3", `{"active":0}`, "active"},
		{"PATCH", "users/3", `{"password":"12345678"}`, "password"}, {"PATCH", "users/3", `{"session_epoch":1}`, "session_epoch"},
		{"POST", "users/3/password", `{}`, "password"}, {"POST", "users/3/password", `{"password":"1234567"}`, "password"},
		{"POST", "users/1/password", `{"password":"12345678"}`, "current_password"},
		{"POST", "groups", `{"name":"A"}`, "kind"}, {"POST", "groups", `{"kind":"class"}`, "name"},
		{"POST", "groups", `{"name":"A","kind":"club"}`, "kind"}, {"POST", "groups", `{"name":"A","kind":"class","members":3}`, "members"},
		{"POST", "groups", `{"name":"A","kind":"class","members":[0]}`, "members"},
		{"POST", "groups", `{"name":"A","kind":"class","members":["3"]}`, "members"},
		{"POST", "groups", `{"name":"A","kind":"class","members":[99]}`, "members"},
		{"POST", "groups", `{"name":"A","kind":"class","teachers":[3]}`, "teachers"},
		{"POST", "groups", `{"name":"A","kind":"class","add_members":[3]}`, "add_members"},
		{"PATCH", "groups/1", `{}`, ""}, {"PATCH", "groups/1", `{"members":[3],"add_members":[4]}`, "members"},
		{"PATCH", "groups/1", `{"add_members":[3,4],"remove_members":[4]}`, "add_members"},
		{"PATCH", "groups/1", `{"add_teachers":[5]}`, "teachers"}, {"PATCH", "groups/1", `{"member_count":9}`, "member_count"},
		{"POST", "tokens", `{}`, "name"}, {"POST", "tokens", `{"name":"Gate","groups":[9]}`, "groups"},
		{"POST", "tokens", `{"name":"Gate","token":"hd1.mine"}`, "token"},
	} {
		r := w.do(adminID, c.method, "/api/v1/"+c.path, c.body)
		w.want(r, http.StatusBadRequest, "invalid_body")
		if !strings.Contains(string(r.body), fmt.Sprintf(`"field":%q`, c.field)) {
			t.Errorf("%s %s %s: %s does not name %q", c.method, c.path, c.body, r.body, c.field)
		}
	}
	for _, c := range [][3]string{
		{"PATCH", "users/99", `{"name":"A"}`}, {"PATCH", "users/x", `{"name":"A"}`}, {"DELETE", "users/99", ""}, {"DELETE", "users/0", ""},
		{"POST", "users/99/password", `{"password":"12345678"}`}, {"DELETE", "users/99/sessions", ""},
		{"PATCH", "groups/99", `{"name":"A"}`}, {"DELETE", "groups/99", ""}, {"GET", "groups/99", ""},
		{"DELETE", "tokens/99", ""}, {"DELETE", "tokens/x", ""},
	} {
		w.want(w.do(adminID, c[0], "/api/v1/"+c[1], c[2]), http.StatusNotFound, "not_found")
	}
	w.want(w.keyed(adminID, "DELETE", "/api/v1/users/3", "no-key", ""), http.StatusBadRequest, "invalid_key")
	w.want(w.do(adminID, "DELETE", "/api/v1/sessions", ""), http.StatusBadRequest, "invalid_query")
	if n := w.node.proposals() - before; n != 0 {
		t.Errorf("%d of the bad requests were proposed", n)
	}
}

func TestUserPatch(t *testing.T) {
	w := newWorld(t)
	was := w.userOf(aniID)
	w.clock.advance(time.Second)
	r := w.keyed(adminID, "PATCH", "/api/v1/users/3", key1, `{"name":"Ani Lestari"}`)
	w.want(r, http.StatusOK, "")
	is := w.userOf(aniID)
	want := was
	want.Name, want.UpdatedAt = "Ani Lestari", is.UpdatedAt
	if is != want || is.UpdatedAt <= was.UpdatedAt || r.doc["name"] != "Ani Lestari" || r.doc["email"] != was.Email {
		t.Errorf("patch made %+v of %+v, answer %s", is, was, r.body)
	}
	token := w.tokenOf(aniID)
	w.want(w.do(adminID, "PATCH", "/api/v1/users/3", `{"email":"ani.lestari@sekolah.test","role":"teacher"}`), http.StatusOK, "")
	if is := w.userOf(aniID); is.Name != "Ani Lestari" || is.Email != "ani.lestari@sekolah.test" || is.Role != attendance.Teacher || !is.Active {
		t.Errorf("second patch: %+v", is)
	}
	w.want(w.do(0, "GET", "/api/v1/session", "", "Authorization", "Bearer "+token), http.StatusOK, "") // the session stays

	// The answer to the first one was lost, and it is sent again: nothing that
	// came after it is undone.
	again := w.keyed(adminID, "PATCH", "/api/v1/users/3", key1, `{"name":"Ani Lestari"}`)
	w.want(again, http.StatusOK, "")
	if again.Header.Get("Idempotency-Replayed") != "true" || again.doc["email"] != was.Email {
		t.Errorf("replay: %v %s", again.Header, again.body)
	}
	if is := w.userOf(aniID); is.Email != "ani.lestari@sekolah.test" || is.Role != attendance.Teacher {
		t.Errorf("a replay undid a later change: %+v", is)
	}
	w.want(w.keyed(adminID, "PATCH", "/api/v1/users/3", key1, `{"name":"Other"}`), http.StatusUnprocessableEntity, "key_reused")
	w.want(w.keyed(adminID, "PATCH", "/api/v1/users/4", key1, `{"name":"Ani Lestari"}`), http.StatusUnprocessableEntity, "key_reused")

	w.want(w.do(adminID, "PATCH", "/api/v1/users/4", `{"email":"Citra@sekolah.test"}`), http.StatusConflict, "email_taken")
	w.want(w.do(adminID, "PATCH", "/api/v1/users/4", `{"email":"BUDI@sekolah.test"}`), http.StatusOK, "")
	w.want(w.do(adminID, "PATCH", "/api/v1/users/2", `{"role":"student"}`), http.StatusUnprocessableEntity, "not_a_teacher")
	for _, body := range []string{`{"role":"teacher"}`, `{"active":false}`} {
		w.want(w.do(adminID, "PATCH", "/api/v1/users/1", body), http.StatusConflict, "last_admin")
	}
	w.want(w.do(adminID, "DELETE", "/api/v1/users/1", ""), http.StatusConflict, "last_admin")
	w.want(w.do(adminID, "PATCH", "/api/v1/users/2", `{"role":"admin"}`), http.StatusOK, "")
	w.want(w.do(adminID, "DELETE", "/api/v1/users/1", ""), http.StatusNoContent, "")
	w.want(w.get(adminID, "/api/v1/users"), http.StatusUnauthorized, "unauthenticated") // that was themselves
}

// TestChangesAtOnce: of two changes at the same moment both hold, and a name does
// not bring back somebody who was deactivated meanwhile.
func TestChangesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.tokenOf(adminID)
	for name, between := range map[string]struct {
		bodies []attendance.Body
		want   attendance.User
	}{
		"another field": {
			[]attendance.Body{attendance.PutUser{UserID: aniID, Name: "Ani", Email: "new@sekolah.test", Role: attendance.Teacher, Active: true}},
			attendance.User{Name: "Lestari", Email: "new@sekolah.test", Role: attendance.Teacher, Active: true},
		},
		"two of them, and another person": {
			[]attendance.Body{
				attendance.PutUser{UserID: aniID, Name: "Ani", Email: "one@sekolah.test", Role: attendance.Student, Active: true},
				attendance.PutUser{UserID: aniID, Name: "Ani", Email: "two@sekolah.test", Role: attendance.Student, Active: true},
				attendance.PutUser{UserID: budiID, Name: "Budi", Email: "three@sekolah.test", Role: attendance.Teacher, Active: true},
			},
			attendance.User{Name: "Lestari", Email: "two@sekolah.test", Role: attendance.Student, Active: true},
		},
		"the same field": {
			[]attendance.Body{attendance.PutUser{UserID: aniID, Name: "Other", Email: "ani@sekolah.test", Role: attendance.Student, Active: true}},
			attendance.User{Name: "Lestari", Email: "ani@sekolah.test", Role: attendance.Student, Active: true},
		},
		"deactivation": {
			[]attendance.Body{attendance.DeactivateUser{UserID: aniID}},
			attendance.User{Name: "Lestari", Email: "ani@sekolah.test", Role: attendance.Student, Active: false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.node.setUp(t, attendance.PutUser{UserID: aniID, Name: "Ani", Email: "ani@sekolah.test", Role: attendance.Student, Active: true})
			w.node.set(func(n *fakeNode) {
				n.before = func(cluster.Request) error {
					n.before = nil // once
					for _, body := range between.bodies {
						if _, err := n.apply(cluster.Request{Command: attendance.Command{
							Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n2", Body: body,
						}}); err != nil {
							return err
						}
					}
					return nil
				}
			})
			r := w.do(adminID, "PATCH", "/api/v1/users/3", `{"name":"Lestari"}`)
			w.want(r, http.StatusOK, "")
			is := w.userOf(aniID)
			is.ID, is.SessionEpoch, is.CreatedAt, is.UpdatedAt = 0, 0, 0, 0
			if is != between.want || r.doc["email"] != is.Email || r.doc["active"] != is.Active {
				t.Errorf("there is %+v, want %+v; answer %s", is, between.want, r.body)
			}
		})
	}
}

func TestUserDelete(t *testing.T) {
	w := newWorld(t)
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	token := w.tokenOf(aniID)
	r := w.keyed(adminID, "DELETE", "/api/v1/users/3", key2, "")
	w.want(r, http.StatusNoContent, "")
	if again := w.keyed(adminID, "DELETE", "/api/v1/users/3", key2, ""); again.StatusCode != 204 || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("replay: %d %v", again.StatusCode, again.Header)
	}
	w.want(w.do(0, "GET", "/api/v1/session", "", "Authorization", "Bearer "+token), http.StatusUnauthorized, "unauthenticated")
	w.want(w.signIn(emails[aniID], word), http.StatusUnauthorized, "unauthenticated")
	if got := ids(w.get(adminID, "/api/v1/attendances?user_id=3"), "user_id"); len(got) != 1 {
		t.Errorf("the history has gone: %v", got)
	}
	w.want(w.do(adminID, "PATCH", "/api/v1/users/3", `{"active":true}`), http.StatusOK, "")
	w.want(w.signIn(emails[aniID], word), http.StatusOK, "")
	w.want(w.do(0, "GET", "/api/v1/session", "", "Authorization", "Bearer "+token), http.StatusUnauthorized, "unauthenticated") // not the old session
}

func TestOwnPassword(t *testing.T) {
	w := newWorld(t)
	old := w.tokenOf(aniID)
	const path = "/api/v1/users/3/password"
	w.want(w.do(aniID, "POST", path, `{"password":"baru sekali","current_password":"wrong"}`), http.StatusForbidden, "wrong_password")
	w.want(w.signIn(emails[aniID], word), http.StatusOK, "")
	r := w.keyed(aniID, "POST", path, key1, `{"password":"baru sekali","current_password":"`+word+`"}`)
	w.want(r, http.StatusOK, "")
	token, _ := r.doc["token"].(string)
	cookies := r.Cookies()
	if r.at("user.id") != json.Number("3") || len(cookies) != 1 || cookies[0].Value != token || token == old {
		t.Fatalf("answer: %v %s", r.Header, r.body)
	}
	w.want(w.do(0, "GET", "/api/v1/session", "", "Authorization", "Bearer "+old), http.StatusUnauthorized, "unauthenticated")
	w.want(w.do(0, "GET", "/api/v1/session", "", "Authorization", "Bearer "+token), http.StatusOK, "")
	w.want(w.signIn(emails[aniID], word), http.StatusUnauthorized, "unauthenticated")
	w.want(w.signIn(emails[aniID], "baru sekali"), http.StatusOK, "")

	// The new session is no way around a later end of all sessions, not even when
	// the answer is asked for again.
	w.token[aniID] = token
	again := w.keyed(aniID, "POST", path, key1, `{"password":"baru sekali","current_password":"baru sekali"}`)
	w.want(again, http.StatusOK, "")
	w.want(w.do(adminID, "DELETE", "/api/v1/users/3/sessions", ""), http.StatusNoContent, "")
	for _, ended := range []any{token, again.doc["token"]} {
		w.want(w.do(0, "GET", "/api/v1/session", "", "Authorization", fmt.Sprint("Bearer ", ended)), http.StatusUnauthorized, "unauthenticated")
	}

	// Nobody sets another's but an admin, who need not know the current one.
	w.want(w.do(teacherID, "POST", path, `{"password":"12345678","current_password":"baru sekali"}`), http.StatusForbidden, "forbidden")
	w.want(w.do(budiID, "POST", path, `{"password":"12345678"}`), http.StatusForbidden, "forbidden")
	w.want(w.do(adminID, "POST", path, `{"password":"12345678","current_password":"wrong"}`), http.StatusForbidden, "wrong_password")
	set := w.do(adminID, "POST", path, `{"password":"12345678"}`)
	w.want(set, http.StatusNoContent, "")
	if len(set.Cookies()) != 0 {
		t.Error("an admin got somebody else's session")
	}
	w.want(w.signIn(emails[aniID], "12345678"), http.StatusOK, "")
}

// TestGuessedPassword: a stolen session is no way to guess the password.
func TestGuessedPassword(t *testing.T) {
	w := newWorld(t)
	w.tokenOf(aniID)
	w.clock.freeze()
	for range 10 {
		w.want(w.do(aniID, "POST", "/api/v1/users/3/password", `{"password":"12345678","current_password":"guess"}`), http.StatusForbidden, "wrong_password")
	}
	r := w.do(aniID, "POST", "/api/v1/users/3/password", `{"password":"12345678","current_password":"`+word+`"}`)
	w.want(r, http.StatusTooManyRequests, "rate_limited")
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestEndSessions(t *testing.T) {
	w := newWorld(t)
	ani, budi, admin := w.tokenOf(aniID), w.tokenOf(budiID), w.tokenOf(adminID)
	alive := func(token string) bool {
		return w.do(0, "GET", "/api/v1/session", "", "Authorization", "Bearer "+token).StatusCode == http.StatusOK
	}
	w.want(w.do(teacherID, "DELETE", "/api/v1/users/3/sessions", ""), http.StatusForbidden, "forbidden")
	w.want(w.do(aniID, "DELETE", "/api/v1/users/3/sessions", ""), http.StatusNoContent, "")
	if alive(ani) || !alive(budi) {
		t.Errorf("after ending Ani's: Ani %v, Budi %v", alive(ani), alive(budi))
	}
	w.want(w.do(adminID, "DELETE", "/api/v1/sessions?everybody=true", ""), http.StatusNoContent, "")
	if alive(budi) || alive(admin) {
		t.Errorf("after ending everybody's: Budi %v, admin %v", alive(budi), alive(admin))
	}
	w.want(w.signIn(emails[aniID], word), http.StatusOK, "")
}

// adminWrites are one of each.
var adminWrites = [][3]string{
	{"POST", "/api/v1/users", `{"name":"A","email":"a@b","role":"student"}`}, {"PATCH", "/api/v1/users/3", `{"name":"A"}`},
	{"DELETE", "/api/v1/users/3", ""}, {"POST", "/api/v1/users/3/password", `{"password":"12345678"}`},
	{"POST", "/api/v1/users/1/password", `{"password":"12345678","current_password":"` + word + `"}`},
	{"DELETE", "/api/v1/users/3/sessions", ""}, {"DELETE", "/api/v1/sessions?everybody=true", ""},
	{"POST", "/api/v1/groups", `{"name":"A","kind":"class"}`}, {"PATCH", "/api/v1/groups/1", `{"name":"A"}`}, {"DELETE", "/api/v1/groups/1", ""},
	{"POST", "/api/v1/tokens", `{"name":"A"}`},
}

// TestNoQuorum: an admin is told what is wrong, and that nothing was changed;
// signing in works.
func TestNoQuorum(t *testing.T) {
	w := newWorld(t)
	w.tokenOf(adminID)
	seq := func() (n uint64) {
		if err := w.node.machine.State().View(func(tx *store.ReadTx) error { n = tx.Meta().Seq; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := seq()
	for _, c := range []struct {
		err  error
		code string
		says string
	}{
		{cluster.ErrNoLeader, "no_leader", "Nothing was changed"},
		{cluster.ErrOverloaded, "overloaded", "Nothing was recorded"},
		{cluster.ErrUnknown, "unknown_outcome", "same idempotency key"},
		{errors.New("something nobody thought of"), "unknown_outcome", "same idempotency key"},
	} {
		w.node.set(func(n *fakeNode) { n.refuse = c.err })
		for _, write := range adminWrites {
			r := w.keyed(adminID, write[0], write[1], key1, write[2])
			w.want(r, http.StatusServiceUnavailable, c.code)
			detail, _ := r.doc["detail"].(string)
			if r.Header.Get("Retry-After") == "" || r.doc["key"] != key1 || !strings.Contains(detail, c.says) {
				t.Errorf("%v: %s %s: %v %s", c.err, write[0], write[1], r.Header, r.body)
			}
		}
		for _, user := range []int{adminID, teacherID, aniID} {
			w.want(w.signIn(emails[user], word), http.StatusOK, "")
		}
		w.want(w.get(adminID, "/api/v1/users"), http.StatusOK, "")
	}
	if seq() != before {
		t.Error("something was decided")
	}
}
