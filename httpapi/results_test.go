package httpapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/store"
)

// fakeCache is what some nodes share.
type fakeCache struct {
	mu         sync.Mutex
	by         map[[sha256.Size]byte][]byte
	hits, puts int
}

func (f *fakeCache) Get(_ context.Context, key [sha256.Size]byte) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, hit := f.by[key]
	if hit {
		f.hits++
	}
	return v, hit
}

func (f *fakeCache) Put(key [sha256.Size]byte, value []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.puts++
	f.by[key] = value
}

func (f *fakeCache) counts() (hits, puts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits, f.puts
}

// unkept gives what a door answers that was not asked before.
func (w *world) unkept(who int, path string) []byte {
	w.t.Helper()
	api, err := httpapi.New(httpapi.Config{Node: w.node, Clock: w.clock, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), PasswordCost: cheap})
	if err != nil {
		w.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Authorization", "Bearer "+w.tokenOf(who))
	to := httptest.NewRecorder()
	api.ServeHTTP(to, r)
	return to.Body.Bytes()
}

// TestResultsAreNeverStale: after every kind of change the answer is the one that a
// node gives which keeps nothing.
func TestResultsAreNeverStale(t *testing.T) {
	f := &fakeCache{by: make(map[[sha256.Size]byte][]byte)}
	w := newWorld(t, func(c *httpapi.Config) { c.Cache = f })
	w.clock.freeze()
	w.bulk(2*store.MaxPage + 10) // of Ani and Citra in turn
	questions := []string{"?format=csv", "?q=a", "?q=a&type=in&limit=3", "?q=a&limit=3&node_id=n1", "?format=csv&type=out", "?limit=5"}
	ask := func() {
		t.Helper()
		for range 2 { // the second time from what was kept
			for _, who := range []int{adminID, teacherID, aniID} {
				for _, q := range questions {
					got := w.get(who, "/api/v1/attendances"+q)
					w.want(got, http.StatusOK, "")
					if want := w.unkept(who, "/api/v1/attendances"+q); !bytes.Equal(got.body, want) {
						t.Fatalf("%d asks %s: %.300s, want %.300s", who, q, got.body, want)
					}
				}
			}
		}
	}
	ask()
	for _, change := range []func(){
		func() { w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "") },
		func() {
			w.node.setUp(t, attendance.PutUser{UserID: aniID, Name: "Hani", Email: emails[aniID], Role: attendance.Student, Active: true})
		},
		func() {
			w.node.setUp(t, attendance.PutGroup{GroupID: 1, Name: "X-1", Kind: attendance.Class, RemoveMembers: []uint64{aniID}})
		},
	} {
		change()
		ask()
	}
	hits, puts := f.counts()
	if puts == 0 || hits != 0 {
		t.Errorf("%d hits of the shared ones, %d kept there: this node has its own", hits, puts)
	}
	// Another node finds them there.
	other := newWorld(t, func(c *httpapi.Config) { c.Cache, c.Node = f, w.node })
	other.token = w.token
	if a, b := other.get(adminID, "/api/v1/attendances?format=csv"), w.get(adminID, "/api/v1/attendances?format=csv"); !bytes.Equal(a.body, b.body) {
		t.Error("the files differ")
	}
	if hits, _ := f.counts(); hits != 1 {
		t.Errorf("%d hits", hits)
	}
}

// TestResultsOfOthers: what was kept for somebody is not shown to somebody else.
func TestResultsOfOthers(t *testing.T) {
	w := newWorld(t)
	for i, user := range []int{aniID, citraID} {
		w.want(w.tap(user, fmt.Sprintf("01930000-0000-7000-8000-00000000070%d", i), tapIn), http.StatusCreated, "")
	}
	of := func(who int) string {
		t.Helper()
		r := w.get(who, "/api/v1/attendances?q=a")
		w.want(r, http.StatusOK, "")
		return string(r.body)
	}
	citra := fmt.Sprintf(`"user_id":%d`, citraID)
	for range 2 {
		if !strings.Contains(of(adminID), citra) || strings.Contains(of(teacherID), citra) || strings.Contains(of(aniID), citra) || !strings.Contains(of(citraID), citra) {
			t.Fatal("somebody sees what they must not, or does not see what they may")
		}
	}
	w.want(w.get(teacherID, fmt.Sprintf("/api/v1/attendances?q=a&user_id=%d", citraID)), http.StatusForbidden, "forbidden")
	// A question that asks for more than this node has gets no old answer.
	w.want(w.get(adminID, "/api/v1/attendances?q=a&min_index=99999"), http.StatusServiceUnavailable, "behind")
	w.node.set(func(n *fakeNode) { n.unread = cluster.ErrBehind })
	if r := w.get(adminID, "/api/v1/attendances?q=a"); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a state that cannot be read: %d", r.StatusCode)
	}
}

// TestResultsAreBounded: the oldest make room.
func TestResultsAreBounded(t *testing.T) {
	r := httpapi.NewResults()
	large := make([]byte, 3<<20)
	key := func(i int) [sha256.Size]byte { return sha256.Sum256(fmt.Append(nil, i)) }
	for i := range 20 {
		r.Put(key(i), large)
		if _, hit := r.Get(key(0)); !hit {
			t.Fatalf("what was just used went, after %d", i)
		}
	}
	if r.Bytes() > 32<<20 || r.Bytes() < 20<<20 {
		t.Errorf("%d bytes are kept", r.Bytes())
	}
	if _, hit := r.Get(key(1)); hit {
		t.Error("the oldest is there")
	}
	if _, hit := r.Get(key(19)); !hit {
		t.Error("the newest is not there")
	}
	r.Put(key(99), make([]byte, 5<<20))
	if _, hit := r.Get(key(99)); hit {
		t.Error("one that is too large is kept")
	}
}

// BenchmarkHeavyReads shows what a kept answer saves: the file of 10 000 records, and a
// page that a name filters out of them: of nobody who was there.
func BenchmarkHeavyReads(b *testing.B) {
	w := newWorld(b)
	w.clock.freeze()
	w.bulk(10_000)
	token := w.tokenOf(adminID)
	for _, question := range []string{"?format=csv", "?q=gone"} {
		for _, kept := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/kept=%v", question[1:4], kept), func(b *testing.B) {
				for b.Loop() {
					if !kept {
						w.api.ForgetResults()
					}
					r := httptest.NewRequest(http.MethodGet, "/api/v1/attendances"+question, nil)
					r.Header.Set("Authorization", "Bearer "+token)
					to := httptest.NewRecorder()
					w.api.ServeHTTP(to, r)
					if to.Code != http.StatusOK {
						b.Fatal(to.Code, to.Body)
					}
				}
			})
		}
	}
}
