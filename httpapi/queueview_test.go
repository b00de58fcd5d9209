package httpapi_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/httpapi"
	"hadir/store"
)

// fakeDesk notes what it is asked to do.
type fakeDesk struct {
	acts []string
	gone string // a node that cannot be asked

	mu      sync.Mutex
	waiting uint64 // at n1; 0 stands for 3
}

// wait has so many entries wait at n1.
func (d *fakeDesk) wait(n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = n
}

func (d *fakeDesk) View(context.Context) (httpapi.QueueView, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return httpapi.QueueView{
		Nodes: []httpapi.QueueNode{
			{
				Waited: 9, WaitHalf: 800 * time.Millisecond, Wait99: 4 * time.Second,
				Name: "n1", Waiting: max(3, d.waiting), Failed: 1, Bytes: 512, OldestAge: 1500 * time.Millisecond, Decided: 9, PerSecond: 1.5, EmptyIn: 1200 * time.Millisecond,
				Mirrored: true, RedisUp: true, RedisSafe: true,
				SetAside: []httpapi.QueueFailed{{
					ID: "17", Principal: "user:3", Key: queuedKey, UserID: aniID, Kind: "in", ReceivedAt: 1_700_000_000_000, FailedAt: 1_700_000_001_000, Reason: "no",
				}},
			},
			{Name: "n2", Error: "out of reach"},
		},
		Redis: &httpapi.QueueRedis{Scheduled: 3, Archived: 1, Unusable: []httpapi.QueueFailed{{ID: "rubbish", Reason: "foreign", FailedAt: 5}}},
	}, nil
}

func (d *fakeDesk) Act(_ context.Context, act httpapi.QueueAct) (int, error) {
	if act.Where == d.gone {
		return 0, errors.New("out of reach")
	}
	d.acts = append(d.acts, fmt.Sprintf("%+v", act))
	return max(1, len(act.IDs)), nil
}

func newDeskWorld(t *testing.T) (*world, *fakeDesk) {
	t.Helper()
	d := &fakeDesk{}
	return newWorld(t, func(c *httpapi.Config) { c.Desk = d }), d
}

// audit gives the audit notes of the state, as action subject note.
func (w *world) audit() (notes []string) {
	w.t.Helper()
	err := w.node.machine.State().View(func(tx *store.ReadTx) error {
		for seq := uint64(1); seq <= tx.Meta().Seq; seq++ {
			e, err := tx.Event(seq)
			if err != nil {
				return err
			}
			if n, ok := e.Detail.(attendance.AuditNote); ok {
				notes = append(notes, strings.TrimSpace(n.Action+" "+n.Subject+" "+n.Note))
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return notes
}

func TestQueueView(t *testing.T) {
	w, _ := newDeskWorld(t)
	r := w.get(adminID, "/api/v1/queue")
	w.want(r, http.StatusOK, "")
	nodes, _ := r.at("nodes").([]any)
	failed, _ := r.at("failed").([]any)
	if len(nodes) != 2 || len(failed) != 2 || fmt.Sprint(r.at("redis.scheduled")) != "3" {
		t.Fatalf("queue: %s", r.body)
	}
	n1, _ := nodes[0].(map[string]any)
	for field, want := range map[string]string{
		"id": "n1", "waiting": "3", "set_aside": "1", "oldest_age_ms": "1500", "decided": "9", "per_second": "1.5", "empty_in_s": "2",
	} {
		if got := fmt.Sprint(n1[field]); got != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
	if got := fmt.Sprint(n1["waits"]); got != "map[count:9 median_ms:800 p99_ms:4000]" {
		t.Errorf("waits are %s", got)
	}
	if n2, _ := nodes[1].(map[string]any); n2["error"] != "out of reach" || n2["empty_in_s"] != nil {
		t.Errorf("n2: %v", n2)
	}
	if f, _ := failed[0].(map[string]any); f["id"] != "n1/17" || f["key"] != queuedKey || f["received_at"] == nil {
		t.Errorf("failed: %v", f)
	}
	for _, who := range []int{aniID, teacherID} {
		w.want(w.get(who, "/api/v1/queue"), http.StatusForbidden, "forbidden")
	}
	w.want(newWorld(t).get(adminID, "/api/v1/queue"), http.StatusNotFound, "not_found")
}

func TestQueueActs(t *testing.T) {
	w, d := newDeskWorld(t)
	for _, tc := range []struct {
		path, body string
		acts       []string
		done       string
		audit      string
	}{
		{"retry", `{"ids":["n1/17","n1/18","redis/rubbish"]}`, []string{
			"{Where:n1 Dismiss:false IDs:[17 18] Reason: All:false}", "{Where:redis Dismiss:false IDs:[rubbish] Reason: All:false}",
		}, "3", "queue.retried 3 entries"},
		{"retry", `{"reason":"no"}`, []string{
			"{Where:n1 Dismiss:false IDs:[] Reason:no All:false}", "{Where:n2 Dismiss:false IDs:[] Reason:no All:false}",
			"{Where:redis Dismiss:false IDs:[] Reason:no All:false}",
		}, "3", "queue.retried by reason"},
		{"dismiss", `{"ids":["n1/17"],"note":"by a test"}`, []string{"{Where:n1 Dismiss:true IDs:[17] Reason: All:false}"}, "1", "queue.dismissed n1/17 by a test"},
		{"dismiss", `{"all":true,"note":"away"}`, []string{
			"{Where:n1 Dismiss:true IDs:[] Reason: All:true}", "{Where:n2 Dismiss:true IDs:[] Reason: All:true}", "{Where:redis Dismiss:true IDs:[] Reason: All:true}",
		}, "3", "queue.dismissed all away"},
	} {
		d.acts = nil
		r := w.do(adminID, "POST", "/api/v1/queue/"+tc.path, tc.body)
		w.want(r, http.StatusOK, "")
		if slices.Sort(d.acts); !slices.Equal(d.acts, tc.acts) || fmt.Sprint(r.at("done")) != tc.done {
			t.Errorf("%s %s: %s, %q", tc.path, tc.body, r.body, d.acts)
		}
		if notes := w.audit(); len(notes) == 0 || notes[len(notes)-1] != tc.audit {
			t.Errorf("%s %s: audit trail %q", tc.path, tc.body, notes)
		}
	}
	d.gone = "n2"
	if r := w.do(adminID, "POST", "/api/v1/queue/retry", `{"all":true}`); fmt.Sprint(r.at("not_asked")) != "[n2]" {
		t.Errorf("a node that is gone: %s", r.body)
	}
	d.acts = nil
	before := len(w.audit())
	for path, bodies := range map[string][]string{
		"retry": {
			`{}`, `{"ids":[]}`, `{"ids":["17"]}`, `{"ids":["n1/x"]}`, `{"ids":["/17"]}`, `{"ids":["n1/"]}`, `{"ids":[17]}`, `{"ids":["n1/17"],"all":true}`,
			`{"reason":""}`, `{"all":false}`, `{"all":"yes"}`, `{"ids":["n1/17"],"colour":"red"}`,
		},
		"dismiss": {`{"all":true}`, `{"ids":["n1/17"],"note":""}`, `{"note":"why"}`},
	} {
		for _, body := range bodies {
			w.want(w.do(adminID, "POST", "/api/v1/queue/"+path, body), http.StatusBadRequest, "invalid_body")
		}
	}
	w.want(w.do(teacherID, "POST", "/api/v1/queue/retry", `{"all":true}`), http.StatusForbidden, "forbidden")
	if len(d.acts) != 0 || len(w.audit()) != before {
		t.Errorf("bad input was acted on: %q", d.acts)
	}
}

func (d *fakeDesk) Import(sealed []byte) (bool, error) {
	switch string(sealed) {
	case "known":
		return true, nil
	case "foreign":
		return false, httpapi.ErrForeign
	case "full":
		return false, store.ErrOutboxFull
	}
	return false, nil
}

func TestQueueImport(t *testing.T) {
	w, _ := newDeskWorld(t)
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	send := func(entries ...string) reply {
		t.Helper()
		return w.do(adminID, "POST", "/api/v1/queue/import", `{"entries":["`+strings.Join(entries, `","`)+`"]}`)
	}
	r := send(b64("new"), b64("known"), b64("foreign"), "no base64!", b64("other"))
	w.want(r, http.StatusOK, "")
	if got := fmt.Sprintf("%v %v", r.at("taken"), r.at("known")); got != "2 1" {
		t.Errorf("import: %s", r.body)
	}
	rows, _ := r.at("errors").([]any)
	if len(rows) != 2 || fmt.Sprintf("%v %v", rows[0].(map[string]any)["row"], rows[1].(map[string]any)["row"]) != "3 4" {
		t.Errorf("refused: %s", r.body)
	}
	if notes := w.audit(); len(notes) != 1 || notes[0] != "outbox.imported 5 check-ins" {
		t.Errorf("audit trail: %q", notes)
	}
	w.want(send(b64("new"), b64("full")), http.StatusServiceUnavailable, "overloaded")
	for _, body := range []string{`{}`, `{"entries":[]}`, `{"entries":"x"}`, `{"entries":[1]}`, `{"entries":["` + strings.Repeat(`x","`, 200) + `x"]}`} {
		w.want(w.do(adminID, "POST", "/api/v1/queue/import", body), http.StatusBadRequest, "invalid_body")
	}
	w.want(w.do(teacherID, "POST", "/api/v1/queue/import", `{"entries":["`+b64("new")+`"]}`), http.StatusForbidden, "forbidden")
}
