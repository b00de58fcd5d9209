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

// patience bounds what is awaited here: a machine that is busy with much else takes
// as long as it takes, and what never comes is still told.
const patience = 2 * time.Minute

// own gives a cluster of this test's own, in which nodes need not prove themselves
// for long. The shared one is given up: there are enough processes for two cores.
func own(t *testing.T, opts harness.Options) *harness.Cluster {
	t.Helper()
	shared.drop()
	opts.Bin, opts.Dir, opts.Students = bin, t.TempDir(), 120
	// Nothing here is about how fast a leader is missed, and a process that is not given
	// a turn for seconds, or its disk, must not be taken for dead.
	opts.Args = append(opts.Args, "--stabilization", "1s", "--raft-multiplier", "3")
	c, err := harness.New(opts)
	must(t, err)
	furnish(t, c)
	t.Cleanup(func() {
		c.Close()
		showRaces(t, c.Log())
		if t.Failed() {
			t.Log(c.Log())
		}
	})
	return c
}

// furnish gives each node of a cluster that does not run yet a directory as the
// recipes know it: with its files in data and the key in cluster.key.
func furnish(t *testing.T, c *harness.Cluster) {
	t.Helper()
	key, err := os.ReadFile(c.KeyFile)
	must(t, err)
	for _, n := range c.Nodes {
		home := n.Dir
		n.Dir = filepath.Join(home, "data")
		must(t, os.MkdirAll(home, 0o700))
		must(t, os.WriteFile(filepath.Join(home, "cluster.key"), key, 0o600))
		n.SetArgs(set(set(n.Args(), "--data-dir", n.Dir), "--cluster-key-file", filepath.Join(home, "cluster.key")))
	}
}

// home gives the directory in which a node's recipes are run.
func home(n *harness.Node) string { return filepath.Dir(n.Dir) }

// follow runs a recipe on the machine of a node.
func follow(t *testing.T, c *harness.Cluster, n *harness.Node, section, only string) string {
	t.Helper()
	out, err := recipe(t, section, only, home(n), "", c.At(n))
	if err != nil {
		t.Fatalf("%s at %s: %v", section, n.ID, err)
	}
	return out
}

// The sections of docs/operations.md about members.
const (
	recipeLook    = "Look at the cluster"
	recipeRestart = "Restart or upgrade, node by node"
	recipeReplace = "Replace a machine or its disk"
	recipeResize  = "Add and remove nodes"
	recipeRotate  = "Change the cluster key"
)

// member waits until a node's own view and the leader's show it as a member, with
// a vote or without, under another server id than the given one, and gives the id.
func member(t *testing.T, c *harness.Cluster, n *harness.Node, voter bool, not string) (id string) {
	t.Helper()
	must(t, harness.Await(within(t, patience), func() error {
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
	v, err := c.At(n).View(within(t, patience))
	must(t, err)
	for _, m := range v.Nodes {
		if m.ID == n.ID {
			return m.ServerID
		}
	}
	t.Fatalf("%s does not know itself: %+v", n.ID, v)
	return ""
}

// retired waits until a node ends for good, and starts it again as a restart policy
// would: it says once more why, and takes no part.
func retired(t *testing.T, n *harness.Node, why string) {
	t.Helper()
	for start := range 4 {
		if start > 0 {
			must(t, n.Start())
		}
		code, err := n.Proc().Wait(within(t, patience))
		must(t, err)
		said := n.Proc().Stderr.String()
		if code != 3 || !strings.Contains(said, "this node is retired") || !strings.Contains(said, why) {
			t.Errorf("%s, start %d: code %d\n%s", n.ID, start+1, code, said)
		}
		if start > 0 && strings.Count(said, "\n") != 1 {
			t.Errorf("%s, start %d, says more than why it ends:\n%s", n.ID, start+1, said)
		}
	}
}

// TestDisksAreLost loses disks under load: a follower's, the leader's, then the
// third, so that nothing of the founders' is left; then it brings an old copy of a
// disk back. Nobody lends a hand.
func TestDisksAreLost(t *testing.T) {
	harness.Turn(t, 0, 3)
	c := own(t, harness.Options{Args: []string{"--snapshot-kib", "16", "--trailing-logs", "64"}})
	must(t, c.Up(within(t, patience)))
	load := c.Load(harness.LoadConfig{Rate: rate, Patience: patience})
	t.Cleanup(func() { load.Stop() })
	must(t, load.Progress(within(t, patience), rate/2))

	leader, others, err := c.Leader(within(t, patience), "")
	must(t, err)
	for i, n := range []*harness.Node{others[0], leader, others[1]} {
		old := serverID(t, c, n)
		n.Kill()
		if i == 0 {
			follow(t, c, n, recipeReplace, "mv ") // there is an old directory
		} else {
			must(t, os.RemoveAll(n.Dir))
		}
		start := time.Now()
		must(t, n.Start())
		if out := follow(t, c, n, recipeReplace, "hadir "); !strings.Contains(out, "can lose 1 more") || !strings.Contains(out, "\nequal\n") {
			t.Errorf("%s after the recipe:\n%s", n.ID, out)
		}
		t.Logf("disk %d: %s has a vote again %.1f s after its start", i+1, n.ID, time.Since(start).Seconds())
		member(t, c, n, true, old)
	}
	follow(t, c, c.Nodes[0], recipeLook, "")
	judge(t, c, load.Stop())

	t.Run("an old copy of a disk", func(t *testing.T) {
		_, others, err := c.Leader(within(t, patience), "")
		must(t, err)
		n, copied := others[0], filepath.Join(t.TempDir(), "old")
		restart := func() {
			_, _, err := n.Stop(within(t, patience))
			must(t, err)
		}
		restart()
		must(t, os.CopyFS(copied, os.DirFS(n.Dir)))
		must(t, n.Start())
		must(t, c.Healthy(within(t, patience)))
		restart()
		good := n.Args()
		n.SetArgs(set(good, "--data-dir", copied))
		must(t, n.Start())
		// Whatever starts it again and again does not get it in: each start would make
		// the copy one generation younger.
		retired(t, n, "old copy")
		n.SetArgs(good)
		must(t, n.Start())
		must(t, c.Healthy(within(t, patience)))
	})
}

// TestAnEmptyDiskHasNoVote: of three nodes one is down and one has lost its disk.
// The third must not get a majority by it, or what the two have decided could be
// decided again, differently.
func TestAnEmptyDiskHasNoVote(t *testing.T) {
	c := own(t, harness.Options{})
	must(t, c.Up(within(t, patience)))
	user, kind := c.Fresh()
	first := tap(t, c.At(c.Nodes[0]), harness.Key(), harness.Tap{Type: kind, User: user})
	third, others, err := c.Leader(within(t, patience), "")
	must(t, err)
	wiped, down := others[0], others[1]
	old := serverID(t, c, wiped)
	down.Kill()
	wiped.Kill()
	must(t, os.RemoveAll(wiped.Dir))
	must(t, wiped.Start())
	fresh := harness.Client{HTTP: c.Admin.HTTP, Base: wiped.URL}
	must(t, harness.Await(within(t, patience), func() error {
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
	must(t, c.Healthy(within(t, patience)))
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
	members := first.Args()
	for _, n := range all {
		n.SetArgs(set(n.Args(), "--bootstrap-expect", "1"))
	}
	first.SetArgs(set(first.Args(), "--join"))
	replica.SetArgs(append(replica.Args(), "--non-voter"))
	c.Nodes = all[:1]
	must(t, c.Up(within(t, patience)))
	load := c.Load(harness.LoadConfig{Rate: 20, URLs: []string{first.URL, all[1].URL, all[2].URL}, Patience: patience})
	t.Cleanup(func() { load.Stop() })
	began := time.Now()
	grow := func(nodes ...*harness.Node) {
		t.Helper()
		for _, n := range nodes {
			must(t, n.Start())
		}
		c.Nodes = append(slices.Clone(c.Nodes), nodes...)
		for _, n := range nodes {
			follow(t, c, n, recipeResize, "hadir cluster status")
			member(t, c, n, n != replica, "")
			t.Logf("%s is a member %.1f s after the first node was alone", n.ID, time.Since(began).Seconds())
		}
	}
	grow(all[1])
	v, err := c.At(first).View(within(t, patience))
	must(t, err)
	if !slices.Contains(v.Warnings, "two_voters") || v.Quorum != 2 || v.CanLose != 0 {
		t.Errorf("with two voters: %+v", v)
	}
	grow(all[2], replica)
	grow(all[3], all[4])
	must(t, c.Ready(within(t, patience)))
	must(t, harness.Await(within(t, patience), func() error {
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

	// Two voters go by the recipe, then the replica.
	follow(t, c, first, recipeResize, "hadir cluster remove")
	c.Nodes = all[:3]
	remove := func(n, ask *harness.Node) {
		t.Helper()
		out, err := command(t, "cluster", "remove", n.ID, "--url", ask.URL, "--token", c.Admin.Token)
		if err != nil || !strings.Contains(out, "is no member any more") {
			t.Fatalf("hadir cluster remove %s: %v %s", n.ID, err, out)
		}
	}
	remove(replica, first)
	for _, n := range all[3:] {
		retired(t, n, "was removed from its cluster")
		showRaces(t, n.Log())
	}
	must(t, c.Ready(within(t, patience)))
	if v, err = c.At(first).View(within(t, patience)); err != nil || len(v.Nodes) != 3 || v.Quorum != 2 {
		t.Errorf("three voters are left: %+v, %v", v, err)
	}
	// The leader, too, and it comes back as a new node. If it is the first one, it needs
	// to know of the others by now.
	first.SetArgs(set(members, "--bootstrap-expect", "1"))
	leader, others, err := c.Leader(within(t, patience), "")
	must(t, err)
	old := serverID(t, c, leader)
	remove(leader, others[0])
	retired(t, leader, "was removed from its cluster")
	follow(t, c, leader, recipeReplace, "mv ")
	must(t, leader.Start())
	follow(t, c, leader, recipeReplace, "hadir ")
	member(t, c, leader, true, old)
	must(t, load.Progress(within(t, patience), 10))
	judge(t, c, load.Stop())

	t.Run("rotating the key", func(t *testing.T) { rotateKey(t, c) })
}

// rotateKey changes the cluster's key in three rounds, node by node, under load.
// Every tap gets its decision, and nobody meets a 5xx.
func rotateKey(t *testing.T, c *harness.Cluster) {
	follow(t, c, c.Nodes[0], recipeRotate, "(umask 077 && hadir keygen")
	next, err := os.ReadFile(filepath.Join(home(c.Nodes[0]), "next.key"))
	must(t, err)
	if info, err := os.Stat(filepath.Join(home(c.Nodes[0]), "next.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the new key: %v, %v", info.Mode(), err)
	}
	for _, n := range c.Nodes[1:] {
		must(t, os.WriteFile(filepath.Join(home(n), "next.key"), next, 0o600))
	}
	load := c.Load(harness.LoadConfig{Rate: 20, Patience: patience})
	t.Cleanup(func() { load.Stop() })
	for _, round := range []string{"cp cluster.key", "cat next.key old.key", "cat next.key > cluster.key"} {
		for _, n := range c.Nodes {
			follow(t, c, n, recipeRotate, round)
			_, _, err := n.Stop(within(t, patience))
			must(t, err)
			must(t, n.Start())
			follow(t, c, n, recipeRestart, "hadir cluster status")
		}
	}
	for _, n := range c.Nodes {
		if key, err := os.ReadFile(filepath.Join(home(n), "cluster.key")); err != nil || !slices.Equal(key, next) {
			t.Errorf("%s has not the new key alone: %v", n.ID, err)
		}
	}
	ops := load.Stop()
	judge(t, c, ops)
	undisturbed(t, ops)
}

// undisturbed fails the test if a tap was not decided, or met an answer that a
// restart node by node does not excuse.
func undisturbed(t *testing.T, ops []*harness.Op) {
	t.Helper()
	for _, op := range ops {
		if !op.Final() {
			t.Errorf("op %d (key %s) was never decided: %+v", op.N, op.Key, op.Tries)
		}
	}
	for status, n := range harness.Undecided(ops) {
		if status >= 500 {
			t.Errorf("%d answers of status %d: %s", n, status, examples(ops, status))
		}
	}
}

// examples gives the first answers of a status.
func examples(ops []*harness.Op, status int) string {
	var b strings.Builder
	for _, op := range ops {
		for _, try := range op.Tries {
			if try.Status == status && b.Len() < 2_000 {
				fmt.Fprintf(&b, "\n%s after %s, took %s: %s", try.URL, try.After, try.Took, try.Answer)
			}
		}
	}
	return b.String()
}
