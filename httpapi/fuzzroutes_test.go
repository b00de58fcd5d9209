package httpapi_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/httpapi"
	"hadir/store"
)

// freshToken signs a user in as of now: what was fuzzed before may have ended
// their sessions.
func (w *world) freshToken(t *testing.T, user uint64) string {
	t.Helper()
	var epoch, global uint64
	err := w.node.machine.State().View(func(tx *store.ReadTx) error {
		global = tx.Meta().SessionEpoch
		u, err := tx.User(user)
		epoch = u.SessionEpoch
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return httpapi.SignToken(bytes.Repeat([]byte{7}, 32), user, epoch, global, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC))
}

// decided are the statuses of refusals that the state machine may have decided.
var decided = []int{http.StatusConflict, http.StatusUnprocessableEntity}

// FuzzRoutes sends anything to any route as anybody: what is refused at the door
// is not proposed, nothing is answered with a 5xx that is no 503, and every
// answer is as the contract says.
func FuzzRoutes(f *testing.F) {
	people := []uint64{0, aniID, teacherID, adminID}
	medias := []string{"application/json", formMedia, "text/csv", "application/octet-stream", ""}
	w := newWorld(f, httpapi.WithArchive, withDesk)
	w.node.setUp(f, attendance.PutToken{Name: "gate", Hash: bytes.Repeat([]byte{1}, 32)})
	routes := w.api.RouteTable()
	for i, route := range routes {
		p := probes[route.Method+" "+route.Path]
		filled := strings.NewReplacer("{user}", "3", "{group}", "1", "{record}", "11", "{key}", key1)
		_, query, _ := strings.Cut(filled.Replace(p.path), "?")
		for who := range people {
			f.Add(uint16(i), uint8(who), "1", query, []byte(filled.Replace(p.body)), uint8(max(0, slices.Index(medias, p.media))))
		}
		f.Add(uint16(i), uint8(3), key1, "limit=1", []byte(`{`), uint8(0))
		f.Add(uint16(i), uint8(3), "%00/../é", "a=b&a=c&%zz", []byte("\xff"), uint8(4))
	}
	l := theContract(f)
	f.Fuzz(func(t *testing.T, which uint16, who uint8, variable, query string, body []byte, media uint8) {
		w.clock.advance(paced)
		route := routes[int(which)%len(routes)]
		r := httptest.NewRequest(route.Method, "/", bytes.NewReader(body))
		path := strings.ReplaceAll(route.Path, "{act:kill|freeze|thaw|start|stop}", "kill")
		r.URL = &url.URL{Path: variablePattern.ReplaceAllLiteralString(path, variable), RawQuery: query}
		if kind := medias[int(media)%len(medias)]; kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		if user := people[int(who)%len(people)]; user != 0 {
			r.Header.Set("Authorization", "Bearer "+w.freshToken(t, user))
		}
		before, to := w.node.proposals(), httptest.NewRecorder()
		w.api.ServeHTTP(to, r)
		proposed := w.node.proposals() - before
		switch {
		case to.Code >= 500 && to.Code != http.StatusServiceUnavailable:
			t.Errorf("%s %s: %d %s", r.Method, r.URL, to.Code, to.Body)
		case to.Code >= 400 && to.Code < 500 && proposed > 0 && !slices.Contains(decided, to.Code):
			t.Errorf("%s %s: %d with %d proposals", r.Method, r.URL, to.Code, proposed)
		}
		for _, err := range w.taken.new() {
			t.Errorf("%s %s %q: %v", r.Method, r.URL, body, err)
		}
		if err := l.check(r, to.Code, to.Header(), to.Body.Bytes()); err != nil {
			t.Errorf("%s %s %q: %v", r.Method, r.URL, body, err)
		}
	})
}
