package system_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/store"
	"hadir/tests/system/harness"
)

// receipt is what somebody was told whose tap could not be decided.
type receipt struct {
	user   uint64
	kind   string
	key    string
	Status string    `json:"status"`
	URL    string    `json:"status_url"`
	At     time.Time `json:"received_at"`
	Copies []struct {
		Where string `json:"where"`
		Fsync bool   `json:"fsync"`
	} `json:"copies"`
}

// queued sends a tap that must be recorded and not decided.
func queued(t *testing.T, c harness.Client, node string, user uint64, kind string) *receipt {
	t.Helper()
	r := &receipt{user: user, kind: kind, key: harness.Key()}
	a := do(t, c, "POST", "/api/v1/checkins", r.key, harness.Tap{Type: kind, User: user})
	if a.Status != 202 || json.Unmarshal(a.Body, r) != nil || r.Status != "queued" || r.URL != "/api/v1/checkins/"+r.key {
		t.Fatalf("check-in without a quorum: %s", a)
	}
	if len(r.Copies) != 1 || r.Copies[0].Where != node || !r.Copies[0].Fsync {
		t.Errorf("copies: %s", a)
	}
	return r
}

// alone waits until a node knows that it cannot decide.
func alone(t *testing.T, c harness.Client) {
	t.Helper()
	must(t, harness.Await(within(t, 20*time.Second), func() error {
		a := do(t, c, "GET", "/api/v1/attendances?limit=1", "", nil)
		if a.Status != 200 || fields(t, a)["stale"] != true {
			return fmt.Errorf("it does not say stale: %s", a)
		}
		return nil
	}))
}

// near reports whether two times are the same but for rounding and the drift of two
// clocks of one machine.
func near(a, b time.Time) bool { return a.Sub(b).Abs() < 100*time.Millisecond }

// TestQueueOutlivesTheCluster: two of three nodes are killed, the survivor records,
// is killed, and is started again; when a majority is back, each tap is decided once,
// as of its original time.
func TestQueueOutlivesTheCluster(t *testing.T) {
	const taps, senders = 240, 8
	c, err := harness.New(harness.Options{Bin: bin, Dir: filepath.Join(tmp, "queue"), Students: taps/2 + 1, Prefix: "q"})
	must(t, err)
	t.Cleanup(func() {
		showRaces(t, c.Log())
		if t.Failed() {
			t.Log(c.Log())
		}
		c.Close()
	})
	must(t, c.Up(within(t, 60*time.Second)))
	survivor, others := c.Nodes[2], c.Nodes[:2]
	for _, n := range others {
		n.Kill()
	}
	alone(t, c.At(survivor))

	receipts := make([]*receipt, taps)
	var took []time.Duration
	var mu sync.Mutex
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := s; i < taps; i += senders {
				begun := time.Now()
				receipts[i] = queued(t, c.At(survivor), survivor.ID, uint64(harness.FirstStudent+i/2), []string{"in", "out"}[i%2])
				mu.Lock()
				took = append(took, time.Since(begun))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Failed() || slices.Contains(receipts, nil) {
		t.FailNow()
	}
	slices.Sort(took)
	t.Logf("%d receipts by a race build: median %s, p99 %s", taps, took[taps/2], took[taps*99/100])

	// Killed and started again, it still has them all; and one of four minutes ago.
	survivor.Kill()
	early := shifted(t, survivor, uint64(harness.FirstStudent+taps/2), 4*time.Minute)
	must(t, survivor.Start())
	must(t, harness.Await(within(t, 30*time.Second), func() error {
		a, err := c.At(survivor).Do(within(t, 5*time.Second), "GET", "/readyz", "", nil)
		if err == nil && a.Status != 200 {
			err = fmt.Errorf("the survivor is not ready to record: %s", a)
		}
		return err
	}))
	for _, r := range append(receipts, early) {
		var again receipt
		a := do(t, c.At(survivor), "GET", keyPath(r), "", nil)
		if a.Status != 200 || json.Unmarshal(a.Body, &again) != nil || again.Status != "queued" || !again.At.Equal(r.At) {
			t.Fatalf("after the kill: %s, received at %s", a, r.At)
		}
	}

	// The others without it: somebody who waits there taps again, four minutes later
	// than the tap that waits.
	survivor.Kill()
	for _, n := range others {
		must(t, n.Start())
	}
	must(t, c.Healthy(within(t, 40*time.Second)))
	live := tap(t, c.At(others[0]), "", harness.Tap{Type: "in", User: early.user})
	must(t, survivor.Start())
	healed := time.Now()
	must(t, c.Healthy(within(t, 40*time.Second)))
	for i, r := range append(receipts, early) {
		var d harness.Decision
		at := c.At(c.Nodes[i%3])
		must(t, harness.Await(within(t, 30*time.Second), func() error {
			a := do(t, at, "GET", keyPath(r), "", nil)
			if err := json.Unmarshal(a.Body, &d); err != nil || a.Status != 200 || d.Status == "queued" {
				return fmt.Errorf("%s is not decided yet: %s", r.key, a)
			}
			return nil
		}))
		switch {
		case r == early:
			if d.Status != "duplicate" || d.Attendance == nil || d.Attendance.ID != live.Attendance.ID {
				t.Errorf("the early tap: %+v, the live one %+v", d, live)
			}
		case d.Status != "accepted" || d.Attendance == nil || !near(d.Attendance.Timestamp, r.At) || d.Attendance.Node != survivor.ID:
			t.Errorf("%s was received at %s and became %+v %+v", r.key, r.At, d, d.Attendance)
		}
	}
	t.Logf("all decided %s after the survivor was started", time.Since(healed).Round(time.Millisecond))

	// One record that is as early as the first tap, both in the log; every key once.
	var record harness.Attendance
	must(t, c.At(others[1]).Get(within(t, 10*time.Second), fmt.Sprintf("/api/v1/attendances/%d?consistency=strong", live.Attendance.ID), &record))
	if !near(record.FirstSeenAt, early.At) || !record.Timestamp.Equal(live.Attendance.Timestamp) {
		t.Errorf("the record: %+v; the early tap was at %s", record, early.At)
	}
	for _, n := range c.Nodes {
		items, err := c.At(n).List(within(t, 20*time.Second), "/api/v1/logs", url.Values{"after": {"0"}, "consistency": {"strong"}})
		must(t, err)
		seen := map[string]int{}
		for _, item := range items {
			var e struct{ ID, Type string }
			must(t, json.Unmarshal(item, &e))
			if strings.HasPrefix(e.Type, "attendance.") {
				seen[e.ID]++
			}
		}
		for _, r := range append(receipts, early) {
			if seen[r.key] != 1 {
				t.Errorf("%s: key %s is in the log %d times", n.ID, r.key, seen[r.key])
			}
		}
		if len(seen) != taps+2 { // the early and the live one
			t.Errorf("%s: %d decisions for %d taps", n.ID, len(seen), taps+2)
		}
	}
	judge(t, c, nil)
}

func keyPath(r *receipt) string { return "/api/v1/checkins/" + r.key }

// shifted puts a tap into the outbox of a node that does not run, as if it had been
// received a while ago.
func shifted(t *testing.T, n *harness.Node, user uint64, ago time.Duration) *receipt {
	t.Helper()
	file, err := store.OpenNode(filepath.Join(n.Dir, "node.db"), rand.Reader)
	must(t, err)
	outbox, err := file.Outbox(store.OutboxOptions{})
	must(t, err)
	waiting, err := outbox.Waiting(0, 1)
	if err != nil || len(waiting) != 1 {
		t.Fatalf("the outbox of %s: %+v, %v", n.ID, waiting, err)
	}
	e := waiting[0]
	// As old as another one that waits, less the shift: on the boot clock, too, where
	// there is one that outlives the process.
	e.Receipt.Wall -= attendance.Millis(ago.Milliseconds())
	e.Receipt.Boot -= attendance.Millis(ago.Milliseconds())
	e.Command.Key = harness.Key()
	e.Command.Body = attendance.CheckIn{UserID: user, Kind: attendance.In, Recorded: true}
	_, err = outbox.Put(e)
	must(t, err)
	must(t, file.Close())
	return &receipt{user: user, kind: "in", key: e.Command.Key, At: e.Receipt.Wall.Time()}
}

// TestOutboxRescue: what waits on the disk of a node that will not run again is
// decided by the others; importing it twice decides it once.
func TestOutboxRescue(t *testing.T) {
	c, err := harness.New(harness.Options{Bin: bin, Dir: filepath.Join(tmp, "rescue"), Students: 10, Prefix: "d"})
	must(t, err)
	t.Cleanup(func() {
		showRaces(t, c.Log())
		if t.Failed() {
			t.Log(c.Log())
		}
		c.Close()
	})
	must(t, c.Up(within(t, 60*time.Second)))
	dead, others := c.Nodes[2], c.Nodes[:2]
	for _, n := range others {
		n.Kill()
	}
	alone(t, c.At(dead))
	var receipts []*receipt
	for i := range 8 {
		receipts = append(receipts, queued(t, c.At(dead), dead.ID, uint64(harness.FirstStudent+i), "in"))
	}
	if out, err := command(t, "outbox", "export", dead.Dir, "--cluster-key-file", c.KeyFile); err == nil {
		t.Errorf("the outbox of a node that runs was read: %s", out)
	}
	dead.Kill()
	export := func(key string) string {
		args := []string{"outbox", "export", dead.Dir}
		if key != "" {
			args = append(args, "--cluster-key-file", key)
		}
		cmd := exec.Command(bin, args...)
		out, err := cmd.Output()
		must(t, err)
		path := filepath.Join(t.TempDir(), "outbox")
		must(t, os.WriteFile(path, out, 0o600))
		return path
	}
	good, foreign := export(c.KeyFile), export("")
	for _, n := range others {
		must(t, n.Start())
	}
	must(t, c.Healthy(within(t, 40*time.Second)))
	if out, err := command(t, "outbox", "import", foreign, "--url", others[0].URL, "--token", c.Admin.Token); err == nil || !strings.Contains(out, "refused 8") {
		t.Errorf("signed with another key: %v, %s", err, out)
	}
	for i, want := range []string{"taken 8, known before 0", "taken 0, known before 8", "taken 8, known before 0"} {
		// The third time through another node, which has not seen them.
		out, err := command(t, "outbox", "import", good, "--url", others[i/2].URL, "--token", c.Admin.Token)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("import %d: want %q, got %v, %s", i, want, err, out)
		}
	}
	must(t, harness.Await(within(t, 30*time.Second), func() error {
		for _, r := range receipts {
			var d harness.Decision
			a := do(t, c.At(others[1]), "GET", keyPath(r)+"?consistency=strong", "", nil)
			if json.Unmarshal(a.Body, &d) != nil || d.Status != "accepted" {
				return fmt.Errorf("%s: %s", r.key, a)
			}
			if !near(d.Attendance.Timestamp, r.At) {
				t.Fatalf("%s was received at %s and became %s", r.key, r.At, a)
			}
		}
		var v struct {
			Nodes []struct {
				ID      string
				Waiting int
			}
		}
		must(t, c.At(others[0]).Get(within(t, 10*time.Second), "/api/v1/queue", &v))
		for _, n := range v.Nodes {
			if n.Waiting > 0 {
				return fmt.Errorf("%s still has %d", n.ID, n.Waiting)
			}
		}
		if len(v.Nodes) != 3 || v.Nodes[0].ID != others[0].ID {
			return fmt.Errorf("the queues: %+v", v)
		}
		return nil
	}))
	items, err := c.At(others[0]).List(within(t, 20*time.Second), "/api/v1/logs", url.Values{"after": {"0"}, "consistency": {"strong"}})
	must(t, err)
	taps := 0
	for _, item := range items {
		if strings.Contains(string(item), `"attendance.`) {
			taps++
		}
	}
	if taps != len(receipts) {
		t.Errorf("%d decisions about %d check-ins", taps, len(receipts))
	}
}
