package system_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

const (
	rate = 50 // check-ins a second
	// generousGap bounds what a failover may take on a busy machine with a race
	// build; tests/bench/failover measures.
	generousGap = 10 * time.Second
)

// checkGap logs the longest gap of a load and bounds it generously.
func checkGap(t *testing.T, what string, l *harness.Load, since time.Time) {
	t.Helper()
	gap := l.Gap(since)
	t.Logf("%s: longest gap between decisions %.2f s", what, gap.Seconds())
	if gap > generousGap {
		t.Errorf("%s: nothing was decided for %s", what, gap)
	}
}

// TestLeaderIsKilled: kill -9 under load, again and again.
func TestLeaderIsKilled(t *testing.T) {
	c := cluster(t)
	var all []*harness.Op
	for round := range trials {
		load := c.Load(harness.LoadConfig{Rate: rate})
		t.Cleanup(func() { load.Stop() })
		must(t, load.Progress(within(t, 20*time.Second), rate/2))
		leader, _, err := c.Leader(within(t, 10*time.Second), "")
		must(t, err)
		leader.Kill()
		killed := time.Now()
		_, _, err = c.Leader(within(t, 20*time.Second), leader.ID)
		must(t, err)
		must(t, load.Progress(within(t, 20*time.Second), rate))
		must(t, leader.Start())
		must(t, c.Ready(within(t, 30*time.Second)))
		must(t, load.Progress(within(t, 20*time.Second), rate/2))
		all = append(all, load.Stop()...)
		checkGap(t, fmt.Sprintf("round %d, %s killed", round+1, leader.ID), load, killed.Add(-time.Second))
	}
	judge(t, c, all)
	for _, op := range all {
		if !op.Final() {
			t.Errorf("op %d (key %s) was never decided: %+v", op.N, op.Key, op.Tries)
		}
	}
}

// TestLeaderIsFrozen: the others go on; thawed, it follows, and its late answers
// say what was decided without it.
func TestLeaderIsFrozen(t *testing.T) {
	c := cluster(t)
	leader, others, err := c.Leader(within(t, 10*time.Second), "")
	must(t, err)
	load := c.Load(harness.LoadConfig{Rate: 30})
	t.Cleanup(func() { load.Stop() })
	must(t, load.Progress(within(t, 20*time.Second), 15))
	frozen := time.Now()
	must(t, leader.Freeze(within(t, 5*time.Second)))
	t.Cleanup(func() { leader.Thaw() }) //nolint:errcheck // it may be dead

	// Taps that reach the frozen leader, and are sent again elsewhere.
	type pair struct {
		key   string
		body  harness.Tap
		late  *harness.Answer
		err   error
		other harness.Decision
	}
	taps := make([]*pair, 6)
	var late sync.WaitGroup
	for i := range taps {
		p := &pair{key: harness.Key()}
		p.body.User, p.body.Type = c.Fresh()
		taps[i] = p
		late.Go(func() {
			p.late, p.err = c.At(leader).Do(within(t, 60*time.Second), "POST", "/api/v1/checkins", p.key, p.body)
		})
	}
	next, _, err := c.Leader(within(t, 20*time.Second), leader.ID)
	must(t, err)
	for i, p := range taps {
		p.other = tap(t, c.At(others[i%2]), p.key, p.body)
	}
	must(t, load.Progress(within(t, 20*time.Second), 15))
	must(t, leader.Thaw())
	late.Wait()
	for i, p := range taps {
		switch {
		case p.err != nil:
			t.Logf("tap %d: no late answer: %v", i, p.err)
		case p.late.Status == 503, p.late.Status == 202:
		case p.late.Status != 201 || decision(t, p.late).Attendance.ID != p.other.Attendance.ID:
			t.Errorf("tap %d: late answer %s, elsewhere %+v", i, p.late, p.other)
		}
	}
	must(t, c.Ready(within(t, 30*time.Second)))
	checkGap(t, "leader frozen", load, frozen.Add(-time.Second))
	judge(t, c, load.Stop())
	if v, err := c.At(leader).View(within(t, 10*time.Second)); err != nil || v.Term == 0 {
		t.Errorf("after the thaw: %+v, %v", v, err)
	}
	t.Logf("%s was frozen, %s took over", leader.ID, next.ID)
}

// TestFollowersAreLost: one frozen costs nothing; both dead, taps are recorded and
// reads go on, marked.
func TestFollowersAreLost(t *testing.T) {
	c := cluster(t)
	leader, others, err := c.Leader(within(t, 10*time.Second), "")
	must(t, err)
	load := c.Load(harness.LoadConfig{Rate: 30, URLs: []string{leader.URL, others[1].URL}})
	t.Cleanup(func() { load.Stop() })
	must(t, load.Progress(within(t, 20*time.Second), 15))
	frozen := time.Now()
	must(t, others[0].Freeze(within(t, 5*time.Second)))
	t.Cleanup(func() { others[0].Thaw() }) //nolint:errcheck // it may be dead
	must(t, load.Progress(within(t, 20*time.Second), 45))
	must(t, others[0].Thaw())
	ops := load.Stop()
	checkGap(t, "follower frozen", load, frozen.Add(-500*time.Millisecond))
	judge(t, c, ops)

	leader, others, err = c.Leader(within(t, 10*time.Second), "")
	must(t, err)
	user, kind := c.Fresh()
	body := harness.Tap{Type: kind, User: user}
	before := tap(t, c.At(leader), "", body)
	others[0].Kill()
	others[1].Kill()
	alone := c.At(leader)
	must(t, harness.Await(within(t, 20*time.Second), func() error {
		v, err := alone.View(within(t, 5*time.Second))
		if err == nil && (v.Leader != "" || v.CanLose != 0) {
			err = fmt.Errorf("it still says that %q leads and that %d more may fail", v.Leader, v.CanLose)
		}
		return err
	}))
	user, kind = c.Fresh()
	body, key := harness.Tap{Type: kind, User: user}, harness.Key()
	a := do(t, alone, "POST", "/api/v1/checkins", key, body)
	if a.Status != 202 || fields(t, a)["status"] != "queued" {
		t.Errorf("check-in without a quorum: want 202 queued, got %s", a)
	}
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/readyz?decide": 503, "/api/v1/cluster": 200,
		fmt.Sprintf("/api/v1/attendances/%d", before.Attendance.ID): 200,
		"/api/v1/attendances?consistency=strong":                    503,
		"/api/v1/checkins/" + key:                                   200,
	} {
		if a := do(t, alone, "GET", path, "", nil); a.Status != want {
			t.Errorf("%s without a quorum: want %d, got %s", path, want, a)
		}
	}
	must(t, harness.Await(within(t, 10*time.Second), func() error {
		a := do(t, alone, "GET", "/api/v1/attendances", "", nil)
		if a.Status != 200 || fields(t, a)["stale"] != true {
			return fmt.Errorf("list without a quorum: want 200 and stale, got %.200s", a)
		}
		return nil
	}))
	if a := do(t, alone, "GET", "/api/v1/attendances?max_stale_ms=1000", "", nil); a.Status != 503 || a.Code() != "behind" {
		t.Errorf("a read that wants to be fresh: %s", a)
	}
	// Signing in needs no quorum.
	if _, err := alone.SignIn(within(t, 10*time.Second), harness.StudentEmail(0), harness.StudentPassword); err != nil {
		t.Errorf("sign-in without a quorum: %v", err)
	}

	must(t, c.Up(within(t, 30*time.Second)))
	tap(t, alone, key, body) // sent again where it waits
	judge(t, c, ops)
}

// TestAllAreKilled: what was acknowledged is there after a power cut for all.
func TestAllAreKilled(t *testing.T) {
	c := cluster(t)
	load := c.Load(harness.LoadConfig{Rate: rate})
	t.Cleanup(func() { load.Stop() })
	must(t, load.Progress(within(t, 20*time.Second), rate))
	var wg sync.WaitGroup
	for _, n := range c.Nodes {
		wg.Go(n.Kill)
	}
	wg.Wait()
	start := time.Now()
	for _, n := range c.Nodes {
		must(t, n.Start())
	}
	must(t, c.Ready(within(t, 40*time.Second)))
	t.Logf("healthy again %.2f s after the start of all three", time.Since(start).Seconds())
	must(t, load.Progress(within(t, 20*time.Second), rate/2))
	judge(t, c, load.Stop())
}

// TestLeaderIsAskedToStop: SIGTERM hands over first, and is quick.
func TestLeaderIsAskedToStop(t *testing.T) {
	c := cluster(t)
	load := c.Load(harness.LoadConfig{Rate: rate})
	t.Cleanup(func() { load.Stop() })
	must(t, load.Progress(within(t, 20*time.Second), rate/2))
	leader, _, err := c.Leader(within(t, 10*time.Second), "")
	must(t, err)
	asked := time.Now()
	code, took, err := leader.Stop(within(t, 20*time.Second))
	must(t, err)
	if code != 0 || took > 3*time.Second+500*time.Millisecond {
		t.Errorf("SIGTERM: exit code %d after %s, want 0 within 3 s", code, took)
	}
	must(t, load.Progress(within(t, 20*time.Second), rate/2))
	must(t, leader.Start())
	must(t, c.Ready(within(t, 30*time.Second)))
	ops := load.Stop()
	t.Logf("SIGTERM: ended in %.2f s", took.Seconds())
	checkGap(t, "leader asked to stop", load, asked.Add(-500*time.Millisecond))
	judge(t, c, ops)
}

// TestWrongKey: a node with another key gets nowhere and says why; the others
// do not notice.
func TestWrongKey(t *testing.T) {
	c := cluster(t)
	load := c.Load(harness.LoadConfig{Rate: 20})
	t.Cleanup(func() { load.Stop() })
	began := time.Now()
	n := solo(t)
	args := set(set(n.Args(), "--join", strings.Join([]string{c.Nodes[0].Gossip, c.Nodes[1].Gossip, c.Nodes[2].Gossip}, ",")), "--bootstrap-expect", "4")
	p, err := harness.Start("stranger", bin, set(args, "--log-level", "info"), nil)
	must(t, err)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("the stranger:\n%s", p.Stderr)
		}
	})
	// Somebody who looks why it does not get in finds the key named in its log.
	if err := harness.Await(within(t, 5*time.Second), func() error {
		if p.Ended() {
			return fmt.Errorf("it has ended: %s", p.Stderr)
		}
		for line := range strings.Lines(p.Stderr.String()) {
			if strings.Contains(line, "key") && (strings.Contains(line, " WARN ") || strings.Contains(line, " ERROR ")) {
				t.Logf("it says: %s", strings.TrimSpace(line))
				return nil
			}
		}
		return fmt.Errorf("the node with another cluster key does not say so")
	}); err != nil {
		t.Errorf("%v; its log:\n%s", err, p.Stderr)
	}
	must(t, load.Progress(within(t, 20*time.Second), 20))
	for _, node := range c.Nodes {
		if v, err := c.At(node).View(within(t, 10*time.Second)); err != nil || len(v.Nodes) != 3 {
			t.Errorf("%s: %+v, %v", node.ID, v, err)
		}
	}
	ops := load.Stop()
	checkGap(t, "stranger", load, began)
	judge(t, c, ops)
}
