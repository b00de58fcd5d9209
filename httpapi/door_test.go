package httpapi_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/httpapi"
	"hadir/store"
)

// withJournal gives a world the journal of a real node.db.
func withJournal(t testing.TB) (w *world, journal *httpapi.Journal, own *store.Node) {
	t.Helper()
	own, err := store.OpenNode(filepath.Join(tempDir(t), "node.db"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	w = newWorld(t, func(c *httpapi.Config) {
		journal = httpapi.NewJournal(own, c.Clock, c.Log)
		c.Journal = journal
	})
	t.Cleanup(func() {
		if err := journal.Close(); err != nil {
			t.Error(err)
		}
	})
	return w, journal, own
}

// What is refused at the door, failed sign-ins and replays are in the journal;
// what was decided is not, because it is an event.
func TestDoorJournal(t *testing.T) {
	w, journal, _ := withJournal(t)
	w.tokenOf(aniID)
	w.tokenOf(adminID)
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	w.want(w.tap(aniID, key2, tapIn), http.StatusConflict, "")
	w.want(w.tap(aniID, key2, `{"type":"out"}`), http.StatusUnprocessableEntity, "key_reused") // an event of its own
	w.want(w.get(aniID, "/api/v1/attendances/999"), http.StatusNotFound, "not_found")          // no attempt

	w.want(w.tap(aniID, key3, `{"type":"sideways"}`), http.StatusBadRequest, "invalid_body")
	w.want(w.signIn("ANI@sekolah.test", "falsch-hunter2"), http.StatusUnauthorized, "unauthenticated")
	w.want(w.signIn("hunter2", "x"), http.StatusUnauthorized, "unauthenticated")
	w.want(w.get(0, "/api/v1/attendances"), http.StatusUnauthorized, "unauthenticated")
	w.want(w.get(aniID, "/api/v1/journal"), http.StatusForbidden, "forbidden")
	w.want(w.tap(aniID, "", `{"type":"`+strings.Repeat("x", 65<<10)+`"}`), http.StatusRequestEntityTooLarge, "too_large")
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	w.want(w.get(aniID, "/api/v1/attendances?page=2"), http.StatusBadRequest, "invalid_query")
	form := w.do(0, "POST", "/sign-in", url.Values{"email": {"Budi@sekolah.test"}, "password": {"hunter2"}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if form.StatusCode != http.StatusUnauthorized {
		t.Errorf("sign-in on the page: %d", form.StatusCode)
	}
	if err := journal.Close(); err != nil { // writes what waits
		t.Fatal(err)
	}
	want := []string{ // newest first
		"sign_in_failed 401  budi@sekolah.test POST /sign-in ",
		"invalid_query 400 user:3  GET /api/v1/attendances ",
		"replayed 201 user:3  POST /api/v1/checkins " + key1,
		"too_large 413 user:3  POST /api/v1/checkins ",
		"forbidden 403 user:3  GET /api/v1/journal ",
		"unauthenticated 401   GET /api/v1/attendances ",
		"sign_in_failed 401  (no address) POST /api/v1/session ",
		"sign_in_failed 401  ani@sekolah.test POST /api/v1/session ",
		"invalid_body 400 user:3  POST /api/v1/checkins " + key3,
	}
	var got []string
	cursor := ""
	for range want {
		r := w.get(adminID, "/api/v1/journal?limit=2"+cursor)
		w.want(r, http.StatusOK, "")
		if strings.Contains(string(r.body), "hunter2") || strings.Contains(string(r.body), "falsch") {
			t.Errorf("a password shows: %s", r.body)
		}
		var page struct {
			NodeID string `json:"node_id"`
			Items  []struct {
				No, Count, Status                                   int
				First, Last                                         time.Time
				Why, From, Principal, Tried, Action, Key, RequestID string
			}
			Next *string `json:"next_cursor"`
		}
		if err := json.Unmarshal(r.body, &page); err != nil {
			t.Fatal(err)
		}
		for _, i := range page.Items {
			got = append(got, fmt.Sprint(i.Why, " ", i.Status, " ", i.Principal, " ", i.Tried, " ", i.Action, " ", i.Key))
			if i.No != len(want)-len(got)+1 || i.Count != 1 || i.From != "127.0.0.1" || !i.First.Equal(i.Last) || i.First.IsZero() {
				t.Errorf("row: %+v", i)
			}
		}
		if page.NodeID != "n1" {
			t.Errorf("journal of %q", page.NodeID)
		}
		if page.Next == nil {
			break
		}
		cursor = "&cursor=" + *page.Next
	}
	if !slices.Equal(got, want) {
		t.Errorf("journal:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, query := range []string{"limit=0", "cursor=x", "cursor=-1", "why=x", "min_index=1"} {
		w.want(w.get(adminID, "/api/v1/journal?"+query), http.StatusBadRequest, "invalid_query")
	}
	w.clock.advance(31 * 24 * time.Hour)
	w.token = map[int]string{}
	if r := w.get(adminID, "/api/v1/journal"); len(ids(r, "no")) != 0 {
		t.Errorf("a month later: %s", r.body)
	}
}

// A node without a journal serves an empty one.
func TestNoJournal(t *testing.T) {
	w := newWorld(t)
	w.want(w.signIn("x@y", "z"), http.StatusUnauthorized, "unauthenticated")
	r := w.get(adminID, "/api/v1/journal")
	if w.want(r, http.StatusOK, ""); len(ids(r, "no")) != 0 || r.doc["next_cursor"] != nil {
		t.Errorf("journal: %s", r.body)
	}
}

// One account may not fill the log for ever; everybody else goes on.
func TestPace(t *testing.T) {
	w := newWorld(t)
	w.clock.freeze()
	token := w.tokenOf(aniID)
	tap := func(token string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/api/v1/checkins", strings.NewReader(`{"type":"in"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		to := httptest.NewRecorder()
		w.api.ServeHTTP(to, r)
		return to
	}
	sent := 0
	for to := tap(token); to.Code != http.StatusTooManyRequests; to = tap(token) {
		if sent++; sent > 10_000 {
			t.Fatal("10 000 requests at one moment are not too many")
		}
	}
	if sent < 60 {
		t.Errorf("%d taps at one moment are too many already", sent)
	}
	before := w.node.proposals()
	r := w.tap(aniID, key1, tapIn)
	w.want(r, http.StatusTooManyRequests, "rate_limited")
	if r.Header.Get("Retry-After") != "1" || w.node.proposals() != before {
		t.Errorf("Retry-After %q, %d proposed", r.Header.Get("Retry-After"), w.node.proposals()-before)
	}
	w.want(w.get(aniID, "/api/v1/attendances"), http.StatusOK, "") // reading is free
	w.want(w.tap(budiID, key1, tapIn), http.StatusCreated, "")
	w.clock.advance(time.Minute)
	w.want(w.tap(aniID, key1, tapIn), http.StatusConflict, "")
}

// 1 500 people behind one address check in within 60 seconds, all of them twice
// because the answer was lost, and not one is refused.
func TestSchoolMorning(t *testing.T) {
	w, _, _ := withJournal(t)
	w.clock.freeze()
	const crowd = 1_500
	var people []attendance.Body
	for i := range crowd {
		people = append(people, attendance.PutUser{Name: fmt.Sprint("P", i), Email: fmt.Sprintf("p%d@x.test", i), Role: attendance.Student, Active: true})
	}
	for chunk := range slices.Chunk(people, 50) {
		w.node.setUpAll(t, chunk...)
	}
	tap := func(i int) int {
		user := uint64(goneID + 1 + i)
		r := httptest.NewRequest(http.MethodPost, "/api/v1/checkins", strings.NewReader(`{"type":"in"}`))
		r.RemoteAddr = "203.0.113.7:40000"
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", fmt.Sprintf("01930000-0000-7000-8000-%012d", i))
		r.Header.Set("Authorization", "Bearer "+httpapi.SignToken(bytes.Repeat([]byte{7}, 32), user, 0, 0, w.clock.Now().Add(time.Hour)))
		to := httptest.NewRecorder()
		w.api.ServeHTTP(to, r)
		return to.Code
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	codes := make(map[int]int)
	turn := make(chan int)
	for range 8 {
		all.Go(func() {
			for i := range turn {
				for range 2 {
					code := tap(i)
					mu.Lock()
					codes[code]++
					mu.Unlock()
				}
			}
		})
	}
	for i := range crowd {
		w.clock.advance(time.Minute / crowd)
		turn <- i
	}
	close(turn)
	all.Wait()
	if len(codes) != 1 || codes[http.StatusCreated] != 2*crowd {
		t.Errorf("answers by status: %v", codes)
	}
	r := w.get(adminID, "/api/v1/stats/today")
	if r.at("people.arrived") != json.Number(fmt.Sprint(crowd)) || r.doc["in"] != json.Number(fmt.Sprint(crowd)) {
		t.Errorf("counted: %s", r.body[:min(len(r.body), 300)])
	}
}

// A broken journal is said in the log and keeps nobody out.
func TestBrokenJournal(t *testing.T) {
	var log bytes.Buffer
	own, err := store.OpenNode(filepath.Join(tempDir(t), "node.db"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
	var journal *httpapi.Journal
	w := newWorld(t, func(c *httpapi.Config) {
		journal = httpapi.NewJournal(own, c.Clock, slog.New(slog.NewTextHandler(&log, nil)))
		c.Journal = journal
	})
	w.want(w.signIn("x@y", "z"), http.StatusUnauthorized, "unauthenticated")
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	if journal.Close() == nil || !strings.Contains(log.String(), "door journal cannot be written") {
		t.Errorf("the log says %q", log.String())
	}
}
