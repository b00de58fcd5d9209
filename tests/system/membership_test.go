package system_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

// own gives a cluster of this test's own, in which nodes need not prove themselves
// for long. The shared one is given up: there are enough processes for two cores.
func own(t *testing.T, opts harness.Options) *harness.Cluster {
	t.Helper()
	shared.drop()
	opts.Bin, opts.Dir, opts.Students = bin, t.TempDir(), 120
	opts.Args = append(opts.Args, "--stabilization", "1s")
	c, err := harness.New(opts)
	must(t, err)
	t.Cleanup(func() {
		c.Close()
		showRaces(t, c.Log())
		if t.Failed() {
			t.Log(c.Log())
		}
	})
	return c
}

// member waits until a node's own view and the leader's show it as a member, with
// a vote or without, under another server id than the given one, and gives the id.
func member(t *testing.T, c *harness.Cluster, n *harness.Node, voter bool, not string) (id string) {
	t.Helper()
	must(t, harness.Await(within(t, 40*time.Second), func() error {
		for _, at := range c.Nodes {
			if at.Down() {
				continue
			}
			v, err := c.At(at).View(within(t, 5*time.Second))
			if err != nil {
				return err
			}
			i := slices.IndexFunc(v.Nodes, func(m harness.ViewedNode) bool { return m.ID == n.ID })
			if i < 0 || v.Nodes[i].ServerID == not || v.Nodes[i].Voter != voter {
				return fmt.Errorf("%s does not have %s as a member with vote %v: %+v", at.ID, n.ID, voter, v.Nodes)
			}
			if slices.ContainsFunc(v.Nodes[i+1:], func(m harness.ViewedNode) bool { return m.ID == n.ID }) {
				t.Errorf("%s has two servers of the name %s", at.ID, n.ID)
			}
			id = v.Nodes[i].ServerID
		}
		return nil
	}))
	return id
}

// serverID gives the server id that a node has now.
func serverID(t *testing.T, c *harness.Cluster, n *harness.Node) string {
	t.Helper()
	v, err := c.At(n).View(within(t, 10*time.Second))
	must(t, err)
	for _, m := range v.Nodes {
		if m.ID == n.ID {
			return m.ServerID
		}
	}
	t.Fatalf("%s does not know itself: %+v", n.ID, v)
	return ""
}

// TestDisksAreLost loses disks under load: a follower's, the leader's, then the
// third, so that nothing of the founders' is left; then it brings an old copy of a
// disk back, and has a node miss more than the log holds. Nobody lends a hand.
func TestDisksAreLost(t *testing.T) {
	harness.Turn(t, 0, 3)
	c := own(t, harness.Options{Args: []string{"--snapshot-kib", "16", "--trailing-logs", "64"}})
	must(t, c.Up(within(t, 40*time.Second)))
	load := c.Load(harness.LoadConfig{Rate: rate})
	t.Cleanup(func() { load.Stop() })
	must(t, load.Progress(within(t, 20*time.Second), rate/2))

	leader, others, err := c.Leader(within(t, 10*time.Second), "")
	must(t, err)
	for i, n := range []*harness.Node{others[0], leader, others[1]} {
		old := serverID(t, c, n)
		n.Kill()
		must(t, os.RemoveAll(n.Dir))
		start := time.Now()
		must(t, n.Start())
		member(t, c, n, true, old)
		t.Logf("disk %d: %s has a vote again %.1f s after its start", i+1, n.ID, time.Since(start).Seconds())
		must(t, c.Ready(within(t, 40*time.Second)))
	}
	judge(t, c, load.Stop())

	t.Run("an old copy of a disk", func(t *testing.T) {
		_, others, err := c.Leader(within(t, 10*time.Second), "")
		must(t, err)
		n, copied := others[0], filepath.Join(t.TempDir(), "old")
		restart := func() {
			_, _, err := n.Stop(within(t, 20*time.Second))
			must(t, err)
		}
		restart()
		must(t, os.CopyFS(copied, os.DirFS(n.Dir)))
		must(t, n.Start())
		must(t, c.Healthy(within(t, 40*time.Second)))
		restart()
		good := n.Args()
		n.SetArgs(set(good, "--data-dir", copied))
		must(t, n.Start())
		code, err := n.Proc().Wait(within(t, 30*time.Second))
		must(t, err)
		if said := n.Proc().Stderr.String(); code != 1 || !strings.Contains(said, "old copy") {
			t.Errorf("a node on an old copy of its disk: code %d\n%s", code, said)
		}
		n.SetArgs(good)
		must(t, n.Start())
		must(t, c.Healthy(within(t, 40*time.Second)))
	})

	t.Run("away for longer than the log holds", func(t *testing.T) {
		_, others, err := c.Leader(within(t, 10*time.Second), "")
		must(t, err)
		n := others[0]
		v, err := c.At(n).View(within(t, 10*time.Second))
		must(t, err)
		i := slices.IndexFunc(v.Nodes, func(m harness.ViewedNode) bool { return m.ID == n.ID })
		n.Kill()
		load := c.Load(harness.LoadConfig{Rate: 2 * rate})
		t.Cleanup(func() { load.Stop() })
		// Entries, not answers: a slow machine packs many answers into one.
		must(t, harness.Await(within(t, 60*time.Second), func() error {
			for _, at := range c.Nodes {
				if at == n {
					continue
				}
				now, err := c.At(at).View(within(t, 5*time.Second))
				if err != nil {
					return err
				}
				if j := slices.IndexFunc(now.Nodes, func(m harness.ViewedNode) bool { return m.ID == at.ID }); now.Nodes[j].Applied < v.Nodes[i].Applied+300 {
					return fmt.Errorf("%s is at %d, and may have in its log what %s misses after %d", at.ID, now.Nodes[j].Applied, n.ID, v.Nodes[i].Applied)
				}
			}
			return nil
		}))
		must(t, n.Start())
		must(t, c.Ready(within(t, 40*time.Second)))
		must(t, load.Progress(within(t, 20*time.Second), rate))
		judge(t, c, load.Stop())
		if !strings.Contains(n.Proc().Stderr.String(), "Installed remote snapshot") {
			t.Error("it caught up by the log, so nothing was shown")
		}
	})
}

// TestAnEmptyDiskHasNoVote: of three nodes one is down and one has lost its disk.
// The third must not get a majority by it, or what the two have decided could be
// decided again, differently.
func TestAnEmptyDiskHasNoVote(t *testing.T) {
	c := own(t, harness.Options{})
	must(t, c.Up(within(t, 40*time.Second)))
	user, kind := c.Fresh()
	first := tap(t, c.At(c.Nodes[0]), harness.Key(), harness.Tap{Type: kind, User: user})
	third, others, err := c.Leader(within(t, 10*time.Second), "")
	must(t, err)
	wiped, down := others[0], others[1]
	old := serverID(t, c, wiped)
	down.Kill()
	wiped.Kill()
	must(t, os.RemoveAll(wiped.Dir))
	must(t, wiped.Start())
	fresh := harness.Client{HTTP: c.Admin.HTTP, Base: wiped.URL}
	must(t, harness.Await(within(t, 20*time.Second), func() error {
		if !strings.Contains(wiped.Proc().Stderr.String(), "not admitted to the cluster yet") {
			return fmt.Errorf("%s does not say that it waits: %s", wiped.ID, wiped.Proc().Stderr)
		}
		v, err := c.At(third).View(within(t, 5*time.Second))
		if err == nil && v.Leader != "" {
			err = fmt.Errorf("%s still leads", v.Leader)
		}
		return err
	}))
	user, kind = c.Fresh()
	if r := do(t, c.At(third), "POST", "/api/v1/checkins", harness.Key(), harness.Tap{Type: kind, User: user}); r.Status != 202 || fields(t, r)["status"] != "queued" {
		t.Errorf("decided with the vote of an emptied disk: %s", r)
	}
	if r := do(t, fresh, "GET", "/readyz", "", nil); r.Status != 503 {
		t.Errorf("a node that waits to be admitted: %s", r)
	}
	must(t, down.Start())
	member(t, c, wiped, true, old)
	must(t, c.Healthy(within(t, 40*time.Second)))
	for _, n := range c.Nodes {
		if r := do(t, c.At(n), "GET", fmt.Sprintf("/api/v1/attendances/%d", first.Attendance.ID), "", nil); r.Status != 200 {
			t.Errorf("%s: the record is gone: %s", n.ID, r)
		}
	}
}

// TestGrowAndShrink goes from one node to five and back to three under load, with a
// permanent replica beside them, and rotates the cluster key on the way.
func TestGrowAndShrink(t *testing.T) {
	harness.Turn(t, 1, 3)
	c := own(t, harness.Options{Nodes: 6})
	all := c.Nodes
	first, replica := all[0], all[5]
	for _, n := range all {
		n.SetArgs(set(n.Args(), "--bootstrap-expect", "1"))
	}
	first.SetArgs(set(first.Args(), "--join"))
	replica.SetArgs(append(replica.Args(), "--non-voter"))
	c.Nodes = all[:1]
	must(t, c.Up(within(t, 40*time.Second)))
	load := c.Load(harness.LoadConfig{Rate: 20, URLs: []string{first.URL, all[1].URL, all[2].URL}})
	t.Cleanup(func() { load.Stop() })
	began := time.Now()
	grow := func(nodes ...*harness.Node) {
		t.Helper()
		for _, n := range nodes {
			must(t, n.Start())
		}
		c.Nodes = append(slices.Clone(c.Nodes), nodes...)
		for _, n := range nodes {
			member(t, c, n, n != replica, "")
			t.Logf("%s is a member %.1f s after the first node was alone", n.ID, time.Since(began).Seconds())
		}
	}
	grow(all[1])
	v, err := c.At(first).View(within(t, 10*time.Second))
	must(t, err)
	if !slices.Contains(v.Warnings, "two_voters") || v.Quorum != 2 || v.CanLose != 0 {
		t.Errorf("with two voters: %+v", v)
	}
	grow(all[2], replica)
	grow(all[3], all[4])
	must(t, c.Ready(within(t, 40*time.Second)))
	must(t, harness.Await(within(t, 20*time.Second), func() error {
		v, err := c.At(replica).View(within(t, 5*time.Second))
		if err == nil && (v.Health == nil || !v.Health.Healthy || v.Health.FailureTolerance != 2 || v.CanLose != 2 || len(v.Warnings) > 0) {
			err = fmt.Errorf("five voters and a replica: %+v", v)
		}
		return err
	}))
	// The replica reads and passes on, and has kept up for longer than a voter must.
	user, kind := c.Fresh()
	d := tap(t, c.At(replica), harness.Key(), harness.Tap{Type: kind, User: user})
	if d.Status != "accepted" || !d.Sync.Forwarded {
		t.Errorf("through the replica: %+v", d)
	}
	if r := do(t, c.At(replica), "GET", fmt.Sprintf("/api/v1/attendances/%d?consistency=strong", d.Attendance.ID), "", nil); r.Status != 200 {
		t.Errorf("a strong read at the replica: %s", r)
	}
	member(t, c, replica, false, "")

	// A voter, the leader and the replica go, asked through one that stays.
	leader, _, err := c.Leader(within(t, 10*time.Second), "")
	must(t, err)
	gone := []*harness.Node{all[4], leader, replica}
	if leader == all[4] {
		gone[0] = all[3]
	}
	stays := slices.DeleteFunc(slices.Clone(all), func(n *harness.Node) bool { return slices.Contains(gone, n) })
	ask := stays[0]
	for _, n := range gone {
		out, err := command(t, "cluster", "remove", n.ID, "--url", ask.URL, "--token", c.Admin.Token)
		if err != nil || !strings.Contains(out, "is no member any more") {
			t.Fatalf("hadir cluster remove %s: %v %s", n.ID, err, out)
		}
		code, err := n.Proc().Wait(within(t, 30*time.Second))
		must(t, err)
		if said := n.Proc().Stderr.String(); code != 1 || !strings.Contains(said, "was removed from its cluster") {
			t.Errorf("%s was removed: code %d\n%s", n.ID, code, said)
		}
		showRaces(t, n.Log())
	}
	c.Nodes = stays
	must(t, c.Ready(within(t, 40*time.Second)))
	if v, err = c.At(ask).View(within(t, 10*time.Second)); err != nil || len(v.Nodes) != 3 || v.Quorum != 2 {
		t.Errorf("three voters are left: %+v, %v", v, err)
	}
	must(t, load.Progress(within(t, 20*time.Second), 10))
	judge(t, c, load.Stop())

	t.Run("rotating the key", func(t *testing.T) { rotateKey(t, c) })
}

// rotateKey changes the cluster's key in three rounds, node by node, under load.
// Every tap gets its decision.
func rotateKey(t *testing.T, c *harness.Cluster) {
	next := filepath.Join(t.TempDir(), "next.key")
	must(t, harness.NewKey(bin, next))
	old, err := os.ReadFile(c.KeyFile)
	must(t, err)
	fresh, err := os.ReadFile(next)
	must(t, err)
	load := c.Load(harness.LoadConfig{Rate: 20})
	t.Cleanup(func() { load.Stop() })
	for round, keys := range [][]byte{append(slices.Clone(old), fresh...), append(slices.Clone(fresh), old...), fresh} {
		for _, n := range c.Nodes {
			file := filepath.Join(t.TempDir(), n.ID+".key")
			must(t, os.WriteFile(file, keys, 0o600))
			n.SetArgs(set(n.Args(), "--cluster-key-file", file))
			_, _, err := n.Stop(within(t, 20*time.Second))
			must(t, err)
			must(t, n.Start())
			if err := c.Ready(within(t, 40*time.Second)); err != nil {
				t.Fatalf("round %d, %s: %v", round+1, n.ID, err)
			}
		}
	}
	ops := load.Stop()
	judge(t, c, ops)
	for _, op := range ops {
		if !op.Final() {
			t.Errorf("op %d (key %s) was never decided: %+v", op.N, op.Key, op.Tries)
		}
	}
}
