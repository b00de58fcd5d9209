package httpapi_test

import (
	"errors"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/httpapi"
	"hadir/store"
)

// entry is a tap of somebody in the outbox.
func entry(user uint64, state store.OutboxState) store.OutboxEntry {
	return store.OutboxEntry{
		N: 7, State: state, Receipt: store.Receipt{Wall: 1_700_000_000_000},
		Command: attendance.Command{
			Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: user}, Key: queuedKey, Node: "n1",
			Body: attendance.CheckIn{UserID: user, Kind: attendance.In, Recorded: true},
		},
	}
}

// TestPendingTopic: what becomes of a recorded tap is told to the person whose it is,
// and to nobody else.
func TestPendingTopic(t *testing.T) {
	w := newWorld(t)
	ani, citra, admin := w.subscribe(aniID, "topics=pending"), w.subscribe(citraID, "topics=pending"), w.subscribe(adminID, "topics=attendance,pending")
	for _, s := range []*subscriber{ani, citra, admin} {
		s.next("hello")
	}
	broken := entry(aniID, store.OutboxWaiting)
	broken.Damaged = errors.New("torn")
	w.api.QueueChanged(broken) // says nothing about anybody
	for _, tc := range []struct {
		state store.OutboxState
		word  string
	}{{store.OutboxWaiting, "queued"}, {store.OutboxFailed, "set_aside"}, {store.OutboxDecided, "decided"}} {
		w.api.QueueChanged(entry(aniID, tc.state))
		f := ani.next("pending")
		for name, want := range map[string]any{
			"key": queuedKey, "type": "in", "status": tc.word, "node_id": "n1", "received_at": "2023-11-14T22:13:20.000Z",
		} {
			if got := field(f, "data", name); got != want {
				t.Errorf("%s: %s is %v, want %v", f["text"], name, got, want)
			}
		}
	}
	// The others have heard of theirs only.
	for _, who := range []struct {
		s  *subscriber
		id uint64
	}{{citra, citraID}, {admin, adminID}} {
		e := entry(who.id, store.OutboxWaiting)
		e.Command.Key = key1
		w.api.QueueChanged(e)
		if f := who.s.next("pending"); field(f, "data", "key") != key1 {
			t.Errorf("%d heard of somebody else's: %s", who.id, f["text"])
		}
	}
}

// TestQueueTopic: the numbers come, and come again when they have changed.
func TestQueueTopic(t *testing.T) {
	desk, exports := &fakeDesk{waiting: 3}, &fakeExports{}
	w := newWorld(t, func(c *httpapi.Config) { c.Desk, c.Exports = desk, exports })
	s := w.subscribe(adminID, "topics=queue")
	f := s.next("queue")
	nodes, _ := field(f, "data", "nodes").([]any)
	if len(nodes) != 2 || field(f, "data", "failed") != 2. || field(f, "data", "redis", "scheduled") != 3. {
		t.Fatalf("the queue: %s", f["text"])
	}
	n1, _ := nodes[0].(map[string]any)
	waits, _ := n1["waits"].(map[string]any)
	if n1["waiting"] != 3. || waits["count"] != 9. || waits["median_ms"] != 800. || waits["p99_ms"] != 4000. {
		t.Errorf("n1: %s", f["text"])
	}
	if n2, _ := nodes[1].(map[string]any); n2["error"] != "out of reach" || n2["waits"] != nil {
		t.Errorf("n2: %s", f["text"])
	}
	targets, _ := field(f, "data", "exports").([]any)
	if target, _ := targets[0].(map[string]any); target["target"] == "" || target["parked"] != 1. {
		t.Errorf("exports: %s", f["text"])
	}
	desk.wait(4)
	w.api.QueueChanged(entry(aniID, store.OutboxWaiting))
	for {
		f := s.next("queue")
		nodes, _ := field(f, "data", "nodes").([]any)
		if n1, _ := nodes[0].(map[string]any); n1["waiting"] == 4. {
			break
		}
	}
	// Nobody else may.
	for _, who := range []int{aniID, teacherID} {
		_, r := w.dial(who, "topics=queue")
		w.want(r, 403, "forbidden")
	}
	// Whoever comes when everybody had left gets the numbers of then.
	s.conn.Close() //nolint:errcheck // it is over
	awaitClients(t, w, 0)
	desk.wait(5)
	again := w.subscribe(adminID, "topics=queue")
	for deadline := time.Now().Add(20 * time.Second); ; {
		nodes, _ := field(again.next("queue"), "data", "nodes").([]any)
		if n1, _ := nodes[0].(map[string]any); n1["waiting"] == 5. {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the numbers stay old")
		}
	}
}
