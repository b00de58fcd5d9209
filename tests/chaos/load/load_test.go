package load

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/tests/chaos/client"
)

// TestGap: the time before the first and after the last decision counts.
func TestGap(t *testing.T) {
	at := time.Now()
	second := func(s float64) time.Time { return at.Add(time.Duration(s * float64(time.Second))) }
	l := &Load{began: at, ended: second(10), decided: []time.Time{second(1), second(2), second(5), second(9.5), second(30)}}
	for since, want := range map[float64]time.Duration{0: 4500 * time.Millisecond, 9.4: 500 * time.Millisecond} {
		if got := l.Gap(second(since)); got != want {
			t.Errorf("since %v: %s, want %s", since, got, want)
		}
	}
	l.decided = nil
	if got := l.Gap(at); got != 10*time.Second {
		t.Errorf("nothing decided: %s", got)
	}
}

// front answers every first request about a key with 202, and decides it when it is
// asked or sent again.
type front struct {
	mu   sync.Mutex
	keys map[string][]string // methods, in order
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	if rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1/checkins/"); ok {
		key = rest
	}
	f.keys[key] = append(f.keys[key], r.Method)
	out := map[string]any{"status": "queued", "key": key}
	status := http.StatusAccepted
	if n := len(f.keys[key]); n > 1 {
		out["status"] = "accepted"
		if status = http.StatusCreated; r.Method == http.MethodGet {
			status = http.StatusOK
		}
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(out) //nolint:errcheck // a test would notice
}

// TestRecordedTapsAreAskedFor: half of what was recorded is sent again, and the other
// half only asked for, each under its own key until it is decided.
func TestRecordedTapsAreAskedFor(t *testing.T) {
	f := &front{keys: map[string][]string{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	l := Start(Config{Rate: 200, URLs: []string{s.URL}, Ask: true}, client.Client{HTTP: s.Client()}, AllPairs([]uint64{5, 6, 7}))
	if err := l.Progress(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	ops := l.Stop()
	for _, op := range ops {
		want := []string{"POST POST", "POST GET"}[op.N%2]
		if got := strings.Join(f.keys[op.Key], " "); got != want || op.Status != Accepted || op.Recorded.IsZero() || len(op.Strange) > 0 || len(op.Tries) != 2 {
			t.Errorf("op %d: %s, want %s: %+v", op.N, got, want, op)
		}
	}
	if c := l.Counts(); c.Sent != len(ops) || c.Decided != len(ops) || c.Recorded != len(ops) || c.Failed != 0 {
		t.Errorf("%d operations: %+v", len(ops), c)
	}
}

// TestAnswers: what counts as decided, what is tried again, and what is strange.
func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		status  int
		body    string
		node    string
		asked   bool
		want    int
		strange bool
	}{
		{status: 201, body: `{"status":"accepted"}`, want: Accepted},
		{status: 409, body: `{"status":"duplicate"}`, want: Duplicate},
		{status: 202, body: `{"status":"review"}`, want: Review},
		{status: 202, body: `{"status":"queued"}`},
		{status: 422, body: `{"status":"rejected"}`, want: Rejected, strange: true},
		{status: 503}, {status: 429}, {status: 502},
		{status: 502, node: "n1", strange: true},
		{status: 500, strange: true}, {status: 400, strange: true}, {status: 404, strange: true},
		{status: 201, body: `nonsense`, strange: true},
		{status: 200, body: `{"status":"duplicate"}`, asked: true, want: Duplicate},
		{status: 200, body: `{"status":"queued"}`, asked: true},
		{status: 200, body: `{"status":"dancing"}`, asked: true, strange: true},
		{status: 404, asked: true}, {status: 500, asked: true, strange: true},
	} {
		header := http.Header{}
		if tc.node != "" {
			header.Set("X-Hadir-Node", tc.node)
		}
		var d client.Decision
		got, strange := read(&client.Answer{Status: tc.status, Body: []byte(tc.body), Header: header}, tc.asked, &d)
		if got != tc.want || (strange != "") != tc.strange {
			t.Errorf("%+v: %d, %q", tc, got, strange)
		}
	}
}

// TestPairs: most are new, and the reserved ones are nobody else's.
func TestPairs(t *testing.T) {
	var people []uint64
	for i := range uint64(100) {
		people = append(people, 10+i)
	}
	p := NewPairs(people)
	kept := map[string]bool{}
	for range 2 * mostReserved {
		user, kind := p.Fresh()
		kept[fmt.Sprint(user, kind)] = true
	}
	seen := map[string]bool{}
	for range 100 {
		user, kind := p.Next()
		seen[fmt.Sprint(user, kind)] = true
	}
	for k := range seen {
		if kept[k] {
			t.Errorf("%s is handed out twice", k)
		}
	}
	if len(kept) != 2*mostReserved || len(seen) < 60 || len(seen) > 80 {
		t.Errorf("%d kept, %d new ones of 100", len(kept), len(seen))
	}
}
