package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/serve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// school is a node that decides by itself, with faults on demand.
type school struct {
	*httptest.Server
	mu      sync.Mutex
	records []api.Attendance
	keys    map[string]int // key → answer that was decided
	ids     map[string]uint64
	sends   map[string]int
	// fault may answer instead; decided says whether the tap counts all the same.
	fault  func(w http.ResponseWriter, sends int) (answered, decided bool)
	forget bool // acknowledges without keeping
	double bool // forgets the window
}

func newSchool(t *testing.T) *school {
	t.Helper()
	s := &school{keys: map[string]int{}, ids: map[string]uint64{}, sends: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *school) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	who := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch r.Method + " " + r.URL.Path {
	case "POST /api/v1/session":
		var in struct{ Email, Password string }
		json.NewDecoder(r.Body).Decode(&in) //nolint:errcheck // test
		fmt.Fprintf(w, `{"token":%q}`, in.Email)
	case "GET /api/v1/session":
		role := map[string]string{"admin@x": "admin", "a@x": "student"}[who]
		if role == "" {
			w.WriteHeader(401)
			return
		}
		fmt.Fprintf(w, `{"user":{"role":%q}}`, role)
	case "POST /api/v1/checkins":
		s.checkIn(w, r, who)
	case "GET /api/v1/attendances":
		s.list(w, r)
	default:
		w.WriteHeader(404)
	}
}

func (s *school) checkIn(w http.ResponseWriter, r *http.Request, who string) {
	var in api.Tap
	body, _ := io.ReadAll(r.Body)
	json.Unmarshal(body, &in) //nolint:errcheck // test
	key := r.Header.Get("Idempotency-Key")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sends[key]++
	if s.fault != nil {
		answered, decided := s.fault(w, s.sends[key])
		if decided {
			s.decide(key, who, in)
		}
		if answered {
			return
		}
	}
	code := s.decide(key, who, in)
	w.WriteHeader(code)
	d := map[string]any{"status": "accepted", "sync": map[string]any{"index": 10 + len(s.records)}}
	if id := s.ids[key]; id != 0 {
		d["attendance"] = map[string]any{"id": id, "user_id": len(who), "type": in.Type, "timestamp": time.Now()}
	}
	json.NewEncoder(w).Encode(d) //nolint:errcheck // test
}

func (s *school) decide(key, who string, in api.Tap) int {
	if code, ok := s.keys[key]; ok {
		return code
	}
	code := 201
	for _, r := range s.records {
		if r.UserID == uint64(len(who)) && r.Type == in.Type && !s.double {
			code = 409
		}
	}
	s.keys[key] = code
	if code == 201 {
		s.ids[key] = uint64(len(s.ids) + 1)
		if !s.forget {
			s.records = append(s.records, api.Attendance{ID: s.ids[key], UserID: uint64(len(who)), Type: in.Type, Timestamp: time.Now()})
		}
	}
	return code
}

// list gives two records a page, newest first.
func (s *school) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := len(s.records)
	if c := r.URL.Query().Get("cursor"); c != "" {
		from, _ = strconv.Atoi(c)
	}
	page := map[string]any{"next_cursor": nil}
	items := []api.Attendance{}
	for i := from - 1; i >= max(0, from-2); i-- {
		items = append(items, s.records[i])
	}
	if from > 2 {
		page["next_cursor"] = strconv.Itoa(from - 2)
	}
	page["items"] = items
	json.NewEncoder(w).Encode(page) //nolint:errcheck // test
}

// pupilsOf gives people whose addresses differ in length, which is their id.
func pupilsOf(n int) []serve.Account {
	all := []serve.Account{{Email: "admin@x", Role: "admin"}}
	for i := range n {
		all = append(all, serve.Account{Email: strings.Repeat("a", i+1) + "@x", Role: "student"})
	}
	return all
}

// morningAt drives a morning at a school until enough was sent, and ends it.
func morningAt(t *testing.T, s *school, enough func(Report) bool) Report {
	t.Helper()
	m, err := NewMorning(MorningConfig{
		Front: s.URL, Nodes: []InfoNode{{ID: "n1", URL: s.URL}}, People: pupilsOf(8), Log: quiet(), Every: time.Millisecond,
		HTTP: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(); !errors.Is(err, ErrMorning) {
		t.Fatalf("second start: %v", err)
	}
	eventually(t, func() bool {
		r := m.Report()
		if r.Sent != r.Accepted+r.Duplicate+r.Review+r.Rejected+r.Waiting {
			t.Fatalf("it does not add up: %v", r)
		}
		return enough(r)
	})
	m.Stop()
	r := m.Wait(t.Context())
	if r.State != Checked || r.Waiting != 0 || r.Lost == nil || r.Doubled == nil {
		t.Fatalf("%+v", r)
	}
	if r.Sent != r.Accepted+r.Duplicate+r.Review+r.Rejected {
		t.Fatalf("it does not add up: %v", r)
	}
	return r
}

func TestMorning(t *testing.T) {
	s := newSchool(t)
	r := morningAt(t, s, func(r Report) bool { return r.Accepted >= 16 && r.Duplicate >= 10 })
	if r.Accepted != 16 || *r.Lost != 0 || *r.Doubled != 0 || r.Rejected != 0 {
		t.Fatalf("%v", r)
	}
	for key, n := range s.sends {
		if n != 1 {
			t.Fatalf("%s was sent %d times", key, n)
		}
	}
}

func TestMorningRetriesUnderTheSameKey(t *testing.T) {
	s := newSchool(t)
	s.fault = func(w http.ResponseWriter, sends int) (answered, decided bool) {
		switch sends {
		case 1: // decided, and the answer is lost
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				conn.Close() //nolint:errcheck // test
			}
			return true, true
		case 2:
			w.WriteHeader(503)
			fmt.Fprint(w, `{"code":"no_leader"}`)
			return true, false
		case 3:
			w.WriteHeader(202)
			fmt.Fprint(w, `{"status":"queued"}`)
			return true, false
		}
		return false, false
	}
	r := morningAt(t, s, func(r Report) bool { return r.Sent >= 20 })
	// net/http itself makes some of the retries: it knows the header.
	if r.Accepted != len(s.records) || *r.Lost != 0 || *r.Doubled != 0 || r.Retries < 2*r.Sent {
		t.Fatalf("%v; %d records", r, len(s.records))
	}
	for key, n := range s.sends {
		if n != 4 {
			t.Fatalf("%s was sent %d times", key, n)
		}
	}
}

func TestMorningFindsWhatIsLost(t *testing.T) {
	s := newSchool(t)
	s.forget = true
	if r := morningAt(t, s, func(r Report) bool { return r.Accepted >= 5 }); *r.Lost != r.Accepted {
		t.Fatalf("%v", r)
	}
}

func TestMorningFindsWhatIsDoubled(t *testing.T) {
	s := newSchool(t)
	s.double = true
	r := morningAt(t, s, func(r Report) bool { return r.Accepted > 20 })
	once := map[string]bool{}
	for _, a := range s.records {
		once[fmt.Sprint(a.UserID, a.Type)] = true
	}
	if *r.Doubled != r.Accepted-len(once) || *r.Doubled < 5 {
		t.Fatalf("%v; %d pairs", r, len(once))
	}
}

func TestMorningRoutes(t *testing.T) {
	s := newSchool(t)
	client := &http.Client{Transport: &http.Transport{}}
	m, err := NewMorning(MorningConfig{Front: s.URL, Nodes: []InfoNode{{ID: "n1", URL: s.URL}}, People: pupilsOf(2), Log: quiet(),
		Every: time.Hour, HTTP: client})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	h := adminsOnly(m, s.URL, client)
	ask := func(method, path, who string, header ...string) (int, Report) {
		r := httptest.NewRequest(method, path, nil)
		if who != "" {
			r.Header.Set("Authorization", "Bearer "+who)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		var report Report
		json.Unmarshal(w.Body.Bytes(), &report) //nolint:errcheck // test
		return w.Code, report
	}
	for _, tc := range []struct {
		method, path, who string
		want              int
		state             string
		header            []string
	}{
		{"GET", "/demo/morning", "", 401, "", nil},
		{"GET", "/demo/morning", "a@x", 403, "", nil},
		{"GET", "/demo/morning", "admin@x", 200, Idle, nil},
		{"POST", "/demo/morning/start", "admin@x", 403, "", []string{"Sec-Fetch-Site", "cross-site"}},
		{"POST", "/demo/morning/start", "admin@x", 200, InSession, nil},
		{"POST", "/demo/morning/start", "admin@x", 409, "", nil},
		{"DELETE", "/demo/morning", "admin@x", 405, "", nil},
		{"POST", "/demo/morning/other", "admin@x", 405, "", nil},
		{"POST", "/demo/morning/stop", "admin@x", 200, "", nil},
	} {
		code, report := ask(tc.method, tc.path, tc.who, tc.header...)
		if code != tc.want || (tc.state != "" && report.State != tc.state) {
			t.Errorf("%s %s as %q: %d %+v", tc.method, tc.path, tc.who, code, report)
		}
	}
	if r := m.Wait(t.Context()); r.State != Checked || r.Sent != 0 {
		t.Fatalf("%+v", r)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if ok() {
			return
		}
	}
	t.Fatal("it did not happen in thirty seconds")
}

func TestTooNear(t *testing.T) {
	at := func(user uint64, kind string, s int) api.Attendance {
		return api.Attendance{UserID: user, Type: kind, Timestamp: time.Unix(int64(s), 0)}
	}
	for _, tc := range []struct {
		name    string
		records []api.Attendance
		want    int
	}{
		{"none", nil, 0},
		{"apart", []api.Attendance{at(1, "in", 0), at(1, "in", 300), at(1, "out", 1), at(2, "in", 2)}, 0},
		{"near, unordered", []api.Attendance{at(1, "in", 600), at(1, "in", 0), at(1, "in", 899)}, 1},
		{"three", []api.Attendance{at(1, "in", 0), at(1, "in", 1), at(1, "in", 2)}, 2},
	} {
		if got := tooNear(tc.records, Window); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestSampleSchool(t *testing.T) {
	p, err := people(strings.NewReader(""), func(_ io.Reader, password string) (string, error) { return "hash of " + password, nil })
	if err != nil {
		t.Fatal(err)
	}
	all := everybody()
	count, seen := map[string]int{}, map[string]bool{}
	for i, u := range p.Users {
		count[u.Role]++
		if seen[u.Email] || u.Email != all[i].Email || u.PasswordHash != "hash of "+all[i].Password {
			t.Errorf("person %d: %+v and %+v", i, u, all[i])
		}
		seen[u.Email] = true
	}
	if count["admin"] != 1 || count["teacher"] != 3 || count["student"] != 36 || len(p.Groups) != 3 {
		t.Fatalf("%v, %d groups", count, len(p.Groups))
	}
	for _, g := range p.Groups {
		if len(g.Members) != 12 || len(g.Teachers) != 1 || p.Users[g.Teachers[0]-1].Role != "teacher" || p.Users[g.Members[11]-1].Role != "student" {
			t.Errorf("%+v", g)
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/people.json"
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if back, err := serve.ReadPeople(path); err != nil || len(back.Users) != 40 || len(back.Accounts) == 0 {
		t.Fatalf("%+v %v", back, err)
	}
}
