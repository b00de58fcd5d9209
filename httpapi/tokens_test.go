package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"hadir/attendance"
)

// device makes a device token and gives its id and the header that goes with it.
func (w *world) device(groups string) (id json.Number, bearer string) {
	w.t.Helper()
	r := w.do(adminID, "POST", "/api/v1/tokens", `{"name":"Gate","groups":`+groups+`}`)
	w.want(r, http.StatusCreated, "")
	secret, _ := r.doc["token"].(string)
	id, _ = r.doc["id"].(json.Number)
	return id, "Bearer " + secret
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	r := w.keyed(adminID, "POST", "/api/v1/tokens", key1, `{"name":"Gerbang timur","groups":[2,1]}`)
	w.want(r, http.StatusCreated, "")
	secret, _ := r.doc["token"].(string)
	if !strings.HasPrefix(secret, "hd1.") || len(secret) != 47 || fmt.Sprint(r.doc["groups"]) != "[1 2]" || r.doc["revoked"] != false {
		t.Errorf("token: %s", r.body)
	}
	// The secret is shown once: not in the list, and not to whoever asks again.
	again := w.keyed(adminID, "POST", "/api/v1/tokens", key1, `{"name":"Gerbang timur","groups":[2,1]}`)
	w.want(again, http.StatusCreated, "")
	if again.doc["id"] != r.doc["id"] || again.doc["token"] != nil || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("replay: %s", again.body)
	}
	w.want(w.do(adminID, "POST", "/api/v1/tokens", `{"name":"Gerbang barat"}`), http.StatusCreated, "")
	list := w.get(adminID, "/api/v1/tokens")
	w.want(list, http.StatusOK, "")
	if strings.Contains(string(list.body), "hd1.") || strings.Contains(string(list.body), "hash") {
		t.Errorf("a secret in the list: %s", list.body)
	}
	if got := w.pages(adminID, "/api/v1/tokens", 1); len(got) != 2 {
		t.Errorf("tokens %v", got)
	}
	ask := func() int {
		return w.do(0, "POST", "/api/v1/checkins", `{"type":"in","user_id":3}`, "Authorization", "Bearer "+secret).StatusCode
	}
	if got := ask(); got != http.StatusCreated {
		t.Errorf("the device was answered %d", got)
	}
	w.want(w.do(adminID, "DELETE", "/api/v1/tokens/1", ""), http.StatusNoContent, "")
	if got := ask(); got != http.StatusUnauthorized {
		t.Errorf("the revoked device was answered %d", got)
	}
	if items, _ := w.get(adminID, "/api/v1/tokens").doc["items"].([]any); len(items) != 2 || items[0].(map[string]any)["revoked"] != true {
		t.Errorf("after it was revoked: %v", items)
	}
	w.want(w.do(adminID, "DELETE", "/api/v1/tokens/1", ""), http.StatusNoContent, "")
}

// TestDevice: for whom a device checks in, and under which principal.
func TestDevice(t *testing.T) {
	w := newWorld(t)
	_, gate := w.device(`[]`)
	_, door := w.device(`[1]`)
	_, lost := w.device(`[2]`)
	w.node.setUp(t, attendance.DeleteGroup{GroupID: 2})
	tap := func(bearer, key, body string) reply {
		return w.do(0, "POST", "/api/v1/checkins", body, "Authorization", bearer, "Idempotency-Key", key)
	}
	for i, c := range []struct {
		bearer string
		user   int
		status int
		code   string
	}{
		{gate, citraID, 201, ""}, {gate, teacherID, 201, ""}, {gate, 99, 400, "invalid_body"}, {gate, goneID, 422, "inactive_user"},
		{door, aniID, 201, ""}, {door, citraID, 403, "forbidden"}, {door, adminID, 403, "forbidden"}, {door, 99, 403, "forbidden"},
		{door, teacherID, 409, ""}, // a teacher of the class, a moment after the gate
		{lost, citraID, 403, "forbidden"}, {lost, aniID, 403, "forbidden"},
	} {
		before := w.node.proposals()
		r := tap(c.bearer, fmt.Sprintf("01930000-0000-7000-8000-0000000002%02d", i), fmt.Sprintf(`{"type":"in","user_id":%d}`, c.user))
		w.want(r, c.status, c.code)
		if refused := c.status == 400 || c.status == 403; refused != (w.node.proposals() == before) {
			t.Errorf("row %d: %d proposals", i, w.node.proposals()-before)
		}
	}
	for _, bearer := range []string{gate, door, lost} {
		r := tap(bearer, key1, `{"type":"in"}`)
		w.want(r, http.StatusBadRequest, "invalid_body")
		if !strings.Contains(string(r.body), `"field":"user_id"`) {
			t.Errorf("without a person: %s", r.body)
		}
	}
	// A replay is the device's own, and so is the state of its attempts.
	w.want(tap(door, key1, `{"type":"out","user_id":3}`), http.StatusCreated, "")
	if again := tap(door, key1, `{"type":"out","user_id":3}`); again.StatusCode != 201 || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("replay: %d %v", again.StatusCode, again.Header)
	}
	w.want(tap(gate, key1, `{"type":"out","user_id":4}`), http.StatusCreated, "") // another device's key is another key
	state := func(bearer, query string) reply {
		return w.do(0, "GET", "/api/v1/checkins/"+key1+query, "", "Authorization", bearer)
	}
	if r := state(door, ""); r.StatusCode != 200 || r.at("attendance.user_id") != json.Number("3") {
		t.Errorf("state: %d %s", r.StatusCode, r.body)
	}
	w.want(state(lost, ""), http.StatusNotFound, "not_found")
	w.want(state(gate, "?user_id=3"), http.StatusNotFound, "not_found") // under that key Ani herself did nothing
	w.want(state(door, "?user_id=5"), http.StatusForbidden, "forbidden")
	w.want(w.get(aniID, "/api/v1/checkins/"+key1), http.StatusNotFound, "not_found")
	// Who has left the group is out of the device's sight.
	w.node.setUp(t, attendance.PutGroup{GroupID: 1, Name: "X-1", Kind: attendance.Class, RemoveMembers: []uint64{aniID}})
	w.want(state(door, ""), http.StatusForbidden, "forbidden")
}

// TestDeviceRoutes: a device uses the routes that are for devices, and no other.
func TestDeviceRoutes(t *testing.T) {
	w := newWorld(t)
	_, gate := w.device(`[]`)
	open := 0
	for _, route := range w.api.RouteTable() {
		path := variablePattern.ReplaceAllString(strings.ReplaceAll(route.Path, "{act:kill|freeze|thaw|start|stop}", "kill"), "1")
		before := w.node.proposals()
		r := w.do(0, route.Method, path, "", "Authorization", gate)
		refused := r.StatusCode == http.StatusForbidden
		if refused != (route.Reach["device"] == "none") {
			t.Errorf("%s %s: %d, and the reach is %s", route.Method, path, r.StatusCode, route.Reach["device"])
		}
		if w.node.proposals() != before {
			t.Errorf("%s %s: it was done", route.Method, path)
		}
		if !refused && !route.Public() {
			open++
		}
	}
	if open != 2 {
		t.Errorf("%d routes are open for a device", open)
	}
	// It is no session, wherever it is put.
	secret := strings.TrimPrefix(gate, "Bearer ")
	for _, header := range [][2]string{
		{"Cookie", "hadir_session=" + secret}, {"Authorization", "Bearer " + secret[:len(secret)-1]}, {"Authorization", "Bearer " + secret + "A"},
		{"Authorization", "Bearer hd1."}, {"Authorization", "Basic " + secret}, {"Authorization", "Bearer hs1." + secret[4:]},
	} {
		w.want(w.do(0, "POST", "/api/v1/checkins", `{"type":"in","user_id":3}`, header[0], header[1]), http.StatusUnauthorized, "unauthenticated")
	}
}
