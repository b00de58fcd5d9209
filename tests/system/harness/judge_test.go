package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// fake is a node with given records and keys.
type fake struct {
	records []Attendance
	keys    map[string]Decision
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var out any
	switch key, ok := strings.CutPrefix(r.URL.Path, "/api/v1/checkins/"); {
	case r.URL.Path == "/api/v1/attendances":
		out = map[string]any{"items": f.records, "next_cursor": nil}
	case ok && f.keys[key].Status != "":
		out = f.keys[key]
	default:
		w.WriteHeader(http.StatusNotFound)
		out = map[string]any{"code": "not_found"}
	}
	json.NewEncoder(w).Encode(out) //nolint:errcheck // a test would notice
}

// history is a small one that is right: two accepted, one duplicate, one that was
// never decided.
func history() (nodes []*fake, ops []*Op) {
	at := time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	for range 3 {
		nodes = append(nodes, &fake{keys: map[string]Decision{}})
	}
	add := func(key string, status int, a Attendance, seq uint64) {
		op := &Op{
			N: len(ops), Key: key, User: a.User, Type: a.Type, Status: status,
			Start: at.Add(time.Duration(seq) * time.Second), End: at.Add(time.Duration(seq)*time.Second + time.Millisecond),
		}
		ops = append(ops, op)
		if status == 0 {
			return
		}
		delta := int64(1000)
		d := Decision{Status: map[int]string{201: "accepted", 409: "duplicate"}[status], Key: key, Attendance: &a, DeltaMS: &delta}
		d.Sync.Seq = seq
		op.Answer = d
		for _, n := range nodes {
			n.keys[key] = d
			if status == 201 {
				n.records = append(n.records, a)
			}
		}
	}
	first := Attendance{ID: 1, User: 7, Type: "in", Timestamp: at, Seq: 1, Node: "n1"}
	add("k1", 201, first, 1)
	add("k2", 409, first, 2)
	add("k3", 201, Attendance{ID: 3, User: 7, Type: "out", Timestamp: at.Add(time.Second), Seq: 3, Node: "n2"}, 3)
	add("k4", 0, Attendance{User: 8, Type: "in"}, 4)
	return nodes, ops
}

// TestJudge sees the judge find each kind of fault, and none where there is none.
func TestJudge(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		spoil      func(nodes []*fake, ops []*Op)
	}{
		{"right", "", func([]*fake, []*Op) {}},
		{"lost at one node", "is not at n2", func(n []*fake, _ []*Op) { n[1].records = n[1].records[:1] }},
		{"winner is gone", "its winner 1", func(n []*fake, o []*Op) {
			for _, f := range n {
				f.records = f.records[1:]
			}
		}},
		{"too near", "twice within", func(n []*fake, _ []*Op) {
			for _, f := range n {
				extra := f.records[0]
				extra.ID, extra.Timestamp = 9, extra.Timestamp.Add(Window-time.Millisecond)
				f.records = append(f.records, extra)
			}
		}},
		{"listed twice", "lists record 1 twice", func(n []*fake, _ []*Op) { n[2].records = append(n[2].records, n[2].records[0]) }},
		{"other bytes", "record 3 is", func(n []*fake, _ []*Op) { n[2].records[1].FirstSeenAt = time.Unix(1, 0) }},
		{"one record for two", "was given to", func(_ []*fake, o []*Op) { o[1].Status, o[1].Answer.Status = 201, "accepted" }},
		{"somebody else's", "was for user", func(_ []*fake, o []*Op) { o[0].User = 99 }},
		{"changed afterwards", "was answered as", func(n []*fake, _ []*Op) {
			for _, f := range n {
				f.records[0].Timestamp = f.records[0].Timestamp.Add(time.Second)
			}
		}},
		{"other decision under the key", "about op 2", func(n []*fake, _ []*Op) { delete(n[2].keys, "k3") }},
		{"far apart", "apart", func(_ []*fake, o []*Op) { far := Window.Milliseconds(); o[1].Answer.DeltaMS = &far }},
		{"out of order", "was answered before it began", func(_ []*fake, o []*Op) { o[0].Answer.Sync.Seq = 5 }},
		{"server error", "met 500", func(_ []*fake, o []*Op) { o[3].Strange = []string{"500 from n1"} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nodes, ops := history()
			tc.spoil(nodes, ops)
			clients := map[string]Client{}
			for i, n := range nodes {
				s := httptest.NewServer(n)
				t.Cleanup(s.Close)
				clients[fmt.Sprintf("n%d", i+1)] = Client{HTTP: s.Client(), Base: s.URL}
			}
			v, err := Judge(t.Context(), clients, ops)
			if err != nil {
				t.Fatal(err)
			}
			if tc.want == "" {
				if len(v.Faults) > 0 {
					t.Errorf("%s", v)
				}
			} else if !strings.Contains(strings.Join(v.Faults, "\n"), tc.want) {
				t.Errorf("no fault with %q: %s", tc.want, v)
			}
		})
	}
}

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
