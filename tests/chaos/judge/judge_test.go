package judge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/tests/chaos/client"
	"hadir/tests/chaos/load"
)

var at = time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)

// history is a small one that is right: two accepted, a duplicate, one that was
// recorded and then decided, a review, and one of which nobody knows.
func history(t *testing.T) *Evidence {
	t.Helper()
	e := &Evidence{}
	for i := range 3 {
		e.Nodes = append(e.Nodes, Node{Name: fmt.Sprintf("n%d", i+1), Keys: map[string]State{}})
	}
	seq := uint64(0)
	add := func(key string, status int, a *client.Attendance) *load.Op {
		n := len(e.Ops)
		op := &load.Op{
			N: n, Key: key, User: 7, Type: "in", Status: status,
			Start: at.Add(time.Duration(n) * time.Second), End: at.Add(time.Duration(n)*time.Second + time.Millisecond),
		}
		e.Ops = append(e.Ops, op)
		if status == 0 {
			for i := range e.Nodes {
				e.Nodes[i].Keys[key] = State{Status: http.StatusNotFound}
			}
			return op
		}
		if a != nil {
			op.User, op.Type = a.User, a.Type
		}
		seq++
		delta := int64(1000)
		op.Answer = client.Decision{Status: load.Words(status), Key: key, Attendance: a, DeltaMS: &delta}
		op.Answer.Sync.Seq = seq
		e.Nodes[n%3].Keys[key] = State{Status: http.StatusOK, Decision: op.Answer}
		for i := range e.Nodes {
			e.Nodes[i].Events = append(e.Nodes[i].Events, event1(seq, key, load.Words(status)))
			if status == load.Accepted {
				e.Nodes[i].Records = append(e.Nodes[i].Records, record(t, *a))
			}
		}
		return op
	}
	first := client.Attendance{ID: 1, User: 7, Type: "in", Timestamp: at, Seq: 1, Node: "n1"}
	add("k1", load.Accepted, &first)
	add("k2", load.Duplicate, &first)
	add("k3", load.Accepted, &client.Attendance{ID: 3, User: 7, Type: "out", Timestamp: at.Add(time.Second), Seq: 3, Node: "n2"}).Recorded = at
	add("k4", load.Review, nil)
	add("k5", 0, nil)
	return e
}

func record(t *testing.T, a client.Attendance) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func event1(seq uint64, key, word string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"seq":%d,"id":%q,"type":"attendance.%s"}`, seq, key, word))
}

// everywhere changes every node.
func (e *Evidence) everywhere(f func(n *Node)) {
	for i := range e.Nodes {
		f(&e.Nodes[i])
	}
}

// TestJudge sees the judge find each kind of fault, and none where there is none.
func TestJudge(t *testing.T) {
	spoilRecord := func(n *Node, i int, change func(a *client.Attendance)) {
		var a client.Attendance
		if err := json.Unmarshal(n.Records[i], &a); err != nil {
			t.Fatal(err)
		}
		change(&a)
		n.Records[i] = record(t, a)
	}
	for _, tc := range []struct {
		name, want    string
		lost, doubled int
		spoil         func(e *Evidence)
	}{
		{"right", "", 0, 0, func(*Evidence) {}},
		{"no evidence", "no node was asked", 0, 0, func(e *Evidence) { e.Nodes = nil }},
		{"lost at one node", "is not at n2", 1, 0, func(e *Evidence) { e.Nodes[1].Records = e.Nodes[1].Records[:1] }},
		{"lost everywhere", "was acknowledged and is not decided", 1, 0, func(e *Evidence) {
			e.everywhere(func(n *Node) { n.Events[2] = json.RawMessage(`{"seq":3,"id":null,"type":"user.created"}`) })
		}},
		{"recorded and lost", "was acknowledged and is not decided", 1, 0, func(e *Evidence) { e.Ops[4].Recorded = at }},
		{"decided twice", "has decided op 0 (key k1) 2 times", 0, 1, func(e *Evidence) {
			e.everywhere(func(n *Node) { n.Events = append(n.Events, event1(5, "k1", "duplicate")) })
		}},
		{"decided otherwise", "was answered 409 and is decided as accepted", 0, 0, func(e *Evidence) {
			e.everywhere(func(n *Node) { n.Events[1] = event1(2, "k2", "accepted") })
		}},
		{"winner is gone", "its winner 1", 1, 0, func(e *Evidence) { e.everywhere(func(n *Node) { n.Records = n.Records[1:] }) }},
		{"too near", "twice within", 0, 1, func(e *Evidence) {
			e.everywhere(func(n *Node) {
				n.Records = append(n.Records, record(t, client.Attendance{ID: 9, User: 7, Type: "in", Timestamp: at.Add(Window - time.Millisecond)}))
			})
		}},
		{"just far enough", "", 0, 0, func(e *Evidence) {
			e.everywhere(func(n *Node) {
				n.Records = append(n.Records, record(t, client.Attendance{ID: 9, User: 7, Type: "in", Timestamp: at.Add(Window)}))
			})
		}},
		{"listed twice", "lists record 1 twice", 0, 0, func(e *Evidence) { e.Nodes[2].Records = append(e.Nodes[2].Records, e.Nodes[2].Records[0]) }},
		{"one more record", "n2 has 3 records, n1 has 2", 0, 0, func(e *Evidence) {
			e.Nodes[1].Records = append(e.Nodes[1].Records, record(t, client.Attendance{ID: 9, User: 9, Type: "in", Timestamp: at}))
		}},
		{"other bytes", "record 3 is", 0, 0, func(e *Evidence) {
			spoilRecord(&e.Nodes[2], 1, func(a *client.Attendance) { a.FirstSeenAt = time.Unix(1, 0) })
		}},
		{"not a record", "cannot be read", 1, 0, func(e *Evidence) { e.Nodes[0].Records[0] = json.RawMessage(`7`) }},
		{"one record for two", "was given to", 0, 1, func(e *Evidence) { e.Ops[1].Status = load.Accepted }},
		{"somebody else's", "was for user", 0, 0, func(e *Evidence) { e.Ops[0].User = 99 }},
		{"changed afterwards", "was answered as", 0, 0, func(e *Evidence) {
			e.everywhere(func(n *Node) {
				spoilRecord(n, 0, func(a *client.Attendance) { a.Timestamp = a.Timestamp.Add(time.Second) })
			})
		}},
		{"other decision under the key", "about op 2", 0, 0, func(e *Evidence) { e.Nodes[2].Keys["k3"] = State{Status: http.StatusNotFound} }},
		{"another record under the key", "names another record", 0, 0, func(e *Evidence) {
			s := e.Nodes[2].Keys["k3"]
			s.Decision.Attendance = &client.Attendance{ID: 8}
			e.Nodes[2].Keys["k3"] = s
		}},
		{"nobody was asked", "no node was asked about op 0", 0, 0, func(e *Evidence) { delete(e.Nodes[0].Keys, "k1") }},
		{"far apart", "apart", 0, 0, func(e *Evidence) { far := Window.Milliseconds(); e.Ops[1].Answer.DeltaMS = &far }},
		{"another key", "sent key k4, answered kx", 0, 0, func(e *Evidence) { e.Ops[3].Answer.Key = "kx" }},
		{"out of order", "was answered before it began", 0, 0, func(e *Evidence) { e.Ops[0].Answer.Sync.Seq = 9 }},
		{"server error", "met 500", 0, 0, func(e *Evidence) { e.Ops[4].Strange = []string{"500 from n1"} }},
		{"a gap in the log", "event 2 of the log has seq 3", 1, 0, func(e *Evidence) { e.Nodes[1].Events = slices.Delete(slices.Clone(e.Nodes[1].Events), 1, 2) }},
		{"a shorter log", "n3 has 3 events, n1 has 4", 1, 0, func(e *Evidence) { e.Nodes[2].Events = e.Nodes[2].Events[:3] }},
		{"another event", "event 4 is", 1, 0, func(e *Evidence) { e.Nodes[2].Events[3] = event1(4, "kx", "review") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := history(t)
			tc.spoil(e)
			v := Judge(*e)
			if tc.want == "" && len(v.Faults) > 0 || !strings.Contains(strings.Join(v.Faults, "\n"), tc.want) || v.Lost != tc.lost || v.Doubled != tc.doubled {
				t.Errorf("want lost %d, doubled %d and a fault with %q: %s", tc.lost, tc.doubled, tc.want, v)
			}
		})
	}
}

// TestCounts: every operation is counted once, by what was decided.
func TestCounts(t *testing.T) {
	e := history(t)
	v := Judge(*e)
	if v.Sent != 5 || v.Accepted != 2 || v.Duplicate != 1 || v.Review != 1 || v.Rejected != 0 || v.Queued != 0 || v.Unanswered != 1 || v.Acknowledged != 2 {
		t.Errorf("%+v", v)
	}
	e.Ops[4].Recorded = at
	if v = Judge(*e); v.Queued != 1 || v.Unanswered != 0 {
		t.Errorf("recorded and not decided: %+v", v)
	}
}

// TestWindow: the cluster's window counts, where it is told.
func TestWindow(t *testing.T) {
	e := history(t)
	e.Window = 500 * time.Millisecond
	if v := Judge(*e); !strings.Contains(v.String(), "409 although 1000 ms apart") {
		t.Error(v)
	}
}

// TestCollect: what nodes say comes into the evidence, and a node that cannot be
// asked is an error.
func TestCollect(t *testing.T) {
	want := history(t)
	nodes := map[string]client.Client{}
	broken := ""
	for _, n := range want.Nodes {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var out any
			switch key, isKey := strings.CutPrefix(r.URL.Path, "/api/v1/checkins/"); {
			case broken != "" && strings.Contains(r.URL.Path, broken):
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			case r.URL.Path == "/api/v1/attendances":
				out = map[string]any{"items": n.Records}
			case r.URL.Path == "/api/v1/logs":
				out = map[string]any{"items": n.Events}
			case isKey && n.Keys[key].Status == http.StatusOK:
				out = n.Keys[key].Decision
			default:
				w.WriteHeader(http.StatusNotFound)
				out = map[string]any{}
			}
			json.NewEncoder(w).Encode(out) //nolint:errcheck // a test would notice
		}))
		t.Cleanup(s.Close)
		nodes[n.Name] = client.Client{HTTP: s.Client(), Base: s.URL}
	}
	v, err := Nodes(t.Context(), nodes, want.Ops)
	if err != nil || len(v.Faults) > 0 {
		t.Errorf("%v, %s", err, v)
	}
	for _, broken = range []string{"attendances", "logs"} {
		if _, err := Nodes(t.Context(), nodes, want.Ops); err == nil {
			t.Errorf("nodes without %s were judged", broken)
		}
	}
}

func TestHashes(t *testing.T) {
	right := func() []Hash {
		return []Hash{{"n1", 9, 4, "c", "s", ""}, {"n2", 9, 4, "c", "s", ""}, {"n3", 9, 4, "c", "s", ""}}
	}
	for name, tc := range map[string]struct {
		want  string
		spoil func(h []Hash) []Hash
	}{
		"right":        {"", func(h []Hash) []Hash { return h }},
		"one missing":  {"2 nodes were compared", func(h []Hash) []Hash { return h[:2] }},
		"none":         {"0 nodes were compared", func([]Hash) []Hash { return nil }},
		"not compared": {"n2 was not compared: gone", func(h []Hash) []Hash { h[1] = Hash{Node: "n2", Error: "gone"}; return h }},
		"empty":        {"n1 was not compared", func(h []Hash) []Hash { h[0].Chain = ""; return h }},
		"elsewhere":    {"compared at index 8", func(h []Hash) []Hash { h[2].Index = 8; return h }},
		"chain":        {"n3 has chain hash x", func(h []Hash) []Hash { h[2].Chain = "x"; return h }},
		"state":        {"n2 has state hash x", func(h []Hash) []Hash { h[1].State = "x"; return h }},
	} {
		got := strings.Join(Hashes(tc.spoil(right()), 3), "\n")
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestExports(t *testing.T) {
	for want, x := range map[string]Export{
		"":                        {Target: "db", Watermark: 7, Equal: true},
		"differs from the events": {Target: "db", Watermark: 7, Different: 1},
		"goes up to event 6 of 7": {Target: "db", Watermark: 6, Equal: true},
		"1 events that were":      {Target: "db", Watermark: 7, Equal: true, Parked: 1},
		"2 events that were":      {Target: "db", Watermark: 7, Equal: true, Missing: 1, Unchecked: 1},
	} {
		got := strings.Join(Exports([]Export{x}, 7), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%+v: %q, want %q", x, got, want)
		}
	}
}

func TestElections(t *testing.T) {
	seen := []Election{{2, "n1", "n1"}, {2, "n1", "n2"}, {3, "n2", "n3"}}
	if got := Elections(seen); len(got) > 0 {
		t.Errorf("right: %v", got)
	}
	if got := Elections(append(seen, Election{3, "n1", "n1"})); len(got) != 1 {
		t.Errorf("two leaders in term 3: %v", got)
	}
}
