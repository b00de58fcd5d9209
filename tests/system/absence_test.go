package system_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"hadir/tests/system/harness"
)

// absence is how many events a node misses, and flags with which the others' logs do
// not reach back so far: check-ins are packed, and 200 000 of them may be fewer than
// the 10 240 entries that stay in a log otherwise.
func absence() (events uint64, flags []string) {
	if os.Getenv("HADIR_LONG") == "1" {
		return 200_000, []string{"--snapshot-kib", "8192", "--trailing-logs", "1024"}
	}
	return 4_000, []string{"--snapshot-kib", "64", "--trailing-logs", "64"}
}

// TestALongAbsence: a node is away for longer than the others' logs reach back. It
// returns by a snapshot, under load, and nobody notices: clients of the stream go on
// without a gap on the others and, once it is back, on the one that was away, also
// from a place that it only knows from the snapshot.
func TestALongAbsence(t *testing.T) {
	missed, flags := absence()
	c := ownCluster(t, harness.Options{Prefix: "a", Students: 300, Args: flags})
	follower := c.Follow("an admin", c.Admin, true, 0)
	t.Cleanup(follower.Stop)
	must(t, follower.Reached(within(t, patience), 1))
	load := c.Load(harness.LoadConfig{Rate: 20, Patience: patience})
	t.Cleanup(func() { load.Stop() })
	must(t, load.Progress(within(t, patience), 20))
	leader, others, err := c.Leader(within(t, patience), "")
	must(t, err)
	away := others[0]
	place := epochs{}
	must(t, c.Admin.Get(within(t, patience), "/api/v1/cluster", &place))
	left := seen(t, c, away)
	away.Kill()

	began := time.Now()
	morning(t, c, leader, missed)
	took := time.Since(began)
	if got := seen(t, c, leader) - left; got < missed {
		t.Fatalf("%s misses %d events, wanted are %d", away.ID, got, missed)
	}
	t.Logf("%d events without %s in %.1f s: %.0f a second", missed, away.ID, took.Seconds(), float64(missed)/took.Seconds())

	start := time.Now()
	must(t, away.Start())
	must(t, c.Ready(within(t, patience)))
	t.Logf("%s has caught up %.1f s after its start", away.ID, time.Since(start).Seconds())
	if !strings.Contains(away.Proc().Stderr.String(), "Installed remote snapshot") {
		t.Error("it caught up by the log, so nothing was shown")
	}
	must(t, load.Progress(within(t, patience), 20))
	ops := load.Stop()
	must(t, c.Healthy(within(t, patience)))
	verifyEqual(t, c.Nodes[0].URL, "--token", c.Admin.Token)

	log, err := c.At(leader).Events(within(t, 10*time.Minute), 0)
	must(t, err)
	last := log[len(log)-1].Seq
	must(t, follower.Reached(within(t, patience), last))
	follower.Stop()
	for _, fault := range follower.Check(log, func(harness.Frame) bool { return true }) {
		t.Error(fault)
	}
	t.Log(follower)

	// As somebody who was at the node when it died, and is there again now.
	at := func(f harness.Frame, seq uint64) int { return cmp.Compare(f.Seq, seq) }
	from, found := slices.BinarySearchFunc(log, left, at)
	if !found {
		t.Fatalf("the log has no event %d", left)
	}
	resume(t, c.At(away), place.Epoch, log[from:])

	// What was acknowledged to clients is what the events say.
	for _, op := range ops {
		if !op.Final() {
			t.Errorf("op %d (key %s) was never decided: %+v", op.N, op.Key, op.Tries)
			continue
		}
		i, found := slices.BinarySearchFunc(log, op.Answer.Sync.Seq, at)
		if !found || !strings.Contains(log[i].Text, op.Key) {
			t.Errorf("op %d (key %s) was decided as event %d, which is not in the log", op.N, op.Key, op.Answer.Sync.Seq)
		}
	}
	t.Log(harness.Summary(ops))
}

// resume goes on after the first of the given events, as a client does: who does not
// read in time is sent away and comes back. It must get all others, as they are.
func resume(t *testing.T, c harness.Client, epoch string, log []harness.Frame) {
	t.Helper()
	until := time.Now().Add(5 * time.Minute)
	for i := 1; i < len(log); {
		socket, err := c.Stream(within(t, patience), url.Values{
			"topics": {"attendance"}, "epoch": {epoch}, "after": {strconv.FormatUint(log[i-1].Seq, 10)},
		})
		must(t, err)
		f, err := socket.Next(until)
		if err != nil || f.T != "hello" || f.Resume != "ok" {
			t.Fatalf("resumed after event %d: %s, %v", log[i-1].Seq, f.Text, err)
		}
		for ; i < len(log); i++ {
			if f, err = socket.Next(until); err != nil {
				break
			}
			if f.Text != log[i].Text {
				t.Fatalf("the node sends %s, the log has %s", f.Text, log[i].Text)
			}
		}
		socket.Close()
		if err != nil && !websocket.IsCloseError(err, 4008) {
			t.Fatalf("after event %d: %v", log[i-1].Seq, err)
		}
	}
}

// seen gives the last event that a node has.
func seen(t *testing.T, c *harness.Cluster, n *harness.Node) uint64 {
	t.Helper()
	v, err := c.At(n).View(within(t, patience))
	must(t, err)
	for _, m := range v.Nodes {
		if m.ID == n.ID {
			return m.Seq
		}
	}
	t.Fatalf("%s does not know itself: %+v", n.ID, v)
	return 0
}

// gates are as many tablets at the school's gates as are needed: how fast one of
// them may send is limited.
const gates = 8

// morning has people tap at all gates at once, as fast as one node has it decided,
// until that many are.
func morning(t *testing.T, c *harness.Cluster, at *harness.Node, taps uint64) {
	t.Helper()
	var decided atomic.Uint64
	life := within(t, 20*time.Minute)
	var all sync.WaitGroup
	for i := range gates {
		a := do(t, c.At(at), "POST", "/api/v1/tokens", "", map[string]any{"name": fmt.Sprint("gate ", i+1), "groups": []int{1}})
		var made struct{ Token string }
		if err := json.Unmarshal(a.Body, &made); err != nil || a.Status != 201 || made.Token == "" {
			t.Fatalf("a token for gate %d: %s", i+1, a)
		}
		gate := harness.Client{HTTP: c.Admin.HTTP, Base: at.URL, Token: made.Token}
		for range 16 {
			all.Go(func() {
				for decided.Load() < taps {
					who := harness.Tap{Type: []string{"in", "out"}[rand.IntN(2)], User: harness.FirstStudent + rand.Uint64N(200)}
					a, err := gate.Do(life, "POST", "/api/v1/checkins", harness.Key(), who)
					switch {
					case life.Err() != nil:
						t.Errorf("%d of %d taps were decided in time", decided.Load(), taps)
						return
					case err != nil:
						t.Errorf("gate %d: %v", i+1, err)
						return
					case a.Status == 201 || a.Status == 409:
						decided.Add(1)
					case a.Status != 429 && a.Status != 202 && a.Status != 503:
						t.Errorf("gate %d: %s", i+1, a)
						return
					}
				}
			})
		}
	}
	all.Wait()
}
