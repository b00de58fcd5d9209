package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"hadir/attendance"
	"hadir/cluster/transport"
	"hadir/store"
)

// backupOf gives a backup of a node.
func backupOf(t *testing.T, n *Node) []byte {
	t.Helper()
	picture, err := n.Backup(context.Background(), n.Applied())
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Release()
	var b bytes.Buffer
	if err := picture.Write(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// aBackup gives the backup of a cluster with check-ins of five people, and the last
// event.
func aBackup(t *testing.T) (backup []byte, seq uint64) {
	t.Helper()
	old := newGroup(t, 1)
	old.startAll()
	for user := range uint64(5) {
		old.checkIn(0, user+1, "old-"+string(rune('a'+user)))
	}
	defer old.stop(0)
	return backupOf(t, old.nodes[0]), old.nodes[0].seq.Load()
}

// renewed gives a restored cluster other session keys.
func renewed(_ int, c *Config) {
	c.Renew = func() ([]attendance.Command, error) {
		system := attendance.Principal{Kind: attendance.SystemPrincipal}
		return []attendance.Command{
			{Principal: system, Body: attendance.RotateSecret{Name: "session", Value: bytes.Repeat([]byte{9}, 32), DropPrevious: true}},
			{Principal: system, Body: attendance.BumpSessionEpoch{}},
		}, nil
	}
}

// metaOf reads a node's scalars.
func metaOf(t *testing.T, n *Node) (m store.Meta) {
	t.Helper()
	if err := n.state.View(func(tx *store.ReadTx) error { m = tx.Meta(); return nil }); err != nil {
		t.Fatal(err)
	}
	return m
}

// equal waits until all nodes have the same state.
func (g *group) equal() {
	g.t.Helper()
	g.await("equal states", func() bool {
		all, err := g.nodes[0].Compare(g.ctx())
		return err == nil && len(all) == len(g.nodes) && !slices.ContainsFunc(all, func(c Comparison) bool {
			return c.Err != "" || c.State != all[0].State || c.Chain != all[0].Chain
		})
	})
}

// allVote waits until all nodes are voters in everybody's eyes.
func (g *group) allVote() {
	g.t.Helper()
	g.await("everybody votes", func() bool {
		for _, n := range g.nodes {
			if !slices.ContainsFunc(n.servers(), func(s server) bool { return s.self && s.voter }) {
				return false
			}
		}
		return true
	})
}

// isRestored checks that every node has the backup's state, as the new cluster's.
func (g *group) isRestored(seq uint64) {
	g.t.Helper()
	cluster := g.nodes[0].clusterID()
	for i, n := range g.nodes {
		g.await("the restored state", func() bool { return metaOf(g.t, n).Epoch == 2 })
		m := metaOf(g.t, n)
		if m.Cluster != cluster || m.Records != 5 || m.Seq < seq || n.Status().Epoch != 2 {
			g.t.Errorf("n%d: %+v", i+1, m)
		}
	}
	again := g.checkIn(1, 1, "old-a")
	if !again.Outcome.Replayed || again.Outcome.Status != attendance.AcceptedStatus {
		g.t.Errorf("a key of the old cluster: %+v", again.Outcome)
	}
	if r := g.checkIn(2, 6, "new"); r.Outcome.Status != attendance.AcceptedStatus {
		g.t.Errorf("a new tap: %+v", r.Outcome)
	}
	g.equal()
}

func TestABackupIsRestoredIntoAnotherCluster(t *testing.T) {
	backup, seq := aBackup(t)
	g := newGroup(t, 3, renewed)
	g.startAll()
	leader := g.leader()
	follower := g.nodes[(leader+1)%3]

	before := metaOf(t, g.nodes[leader])
	flipped, cut := bytes.Clone(backup), backup[:len(backup)-1]
	flipped[len(flipped)/2] ^= 1
	for name, bad := range map[string][]byte{"flipped": flipped, "cut": cut, "empty": nil, "foreign": []byte("SQLite format 3\x00, or so")} {
		for _, n := range []*Node{g.nodes[leader], follower} {
			if _, err := n.Restore(g.ctx(), bytes.NewReader(bad), "test"); !errors.Is(err, store.ErrBackup) {
				t.Errorf("%s backup at %s: %v", name, n.Name(), err)
			}
		}
	}
	if _, err := follower.Restore(g.ctx(), io.MultiReader(bytes.NewReader(backup[:100]), brokenReader{}), "test"); err == nil {
		t.Error("a transfer that broke was restored")
	}
	if after := metaOf(t, g.nodes[leader]); after.Epoch != 1 || after.Seq != before.Seq {
		t.Fatalf("a bad backup changed something: %+v", after)
	}

	var done Restored
	var err error
	g.await("the leader has let go of the broken transfer", func() bool {
		done, err = follower.Restore(g.ctx(), bytes.NewReader(backup), "admin@example.test")
		return !errors.Is(err, ErrRestoring) && !errors.Is(err, ErrNoLeader)
	})
	if err != nil || len(done.Waiting) > 0 || done.Epoch != 2 || done.Backup.Seq != seq || done.Seq != seq+3 {
		t.Fatalf("restored: %+v, %v", done, err)
	}
	g.isRestored(seq)
	g.allVote()
	if err := g.nodes[0].state.View(func(tx *store.ReadTx) error {
		secret, err := tx.Secret("session")
		if err != nil || secret.Value[0] != 9 || len(secret.Previous) > 0 || tx.Meta().SessionEpoch != 1 {
			t.Errorf("sessions of the backup: %+v, %v", secret, err)
		}
		told, err := tx.Event(done.Seq)
		if note, ok := told.Detail.(attendance.AuditNote); !ok || note.Action != "cluster.restored" {
			t.Errorf("the event about it: %+v, %v", told, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	g.await("the second is refused", func() bool {
		_, err = follower.Restore(g.ctx(), bytes.NewReader(backup), "test")
		return !errors.Is(err, ErrNoLeader)
	})
	if !errors.Is(err, ErrNotEmpty) {
		t.Errorf("a second restore: %v", err)
	}
	// Nothing of what was before comes back with a restart, and the members still
	// know each other, whether they were started again or not.
	for i := range g.nodes {
		g.stop(i)
		g.start(i)
		g.await("it is back", func() bool { return g.nodes[i].Freshness().Age >= 0 && !g.nodes[i].Freshness().Stale })
	}
	g.equal()
	if m := metaOf(t, g.nodes[0]); m.Epoch != 2 || m.Records != 6 {
		t.Errorf("after restarts: %+v", m)
	}
	for i := range g.nodes {
		if left, err := filepath.Glob(filepath.Join(g.configs[i].DataDir, "state-*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the line is cut") }

func TestARestoreNeedsAnEmptyWholeCluster(t *testing.T) {
	backup, _ := aBackup(t)
	g := newGroup(t, 3)
	g.startAll()
	leader := g.leader()
	g.stop((leader + 1) % 3)
	g.await("it is missed", func() bool { return g.nodes[leader].checkWhole() != nil })
	if _, err := g.restore(leader, backup); !errors.Is(err, ErrIncomplete) {
		t.Errorf("a node is missing: %v", err)
	}
	g.start((leader + 1) % 3)
	g.await("it is back", func() bool { return g.nodes[leader].checkWhole() == nil })
	g.checkIn(leader, 1, "k1")
	if _, err := g.restore(leader, backup); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("somebody has checked in: %v", err)
	}
}

// Whatever ends the leader on the way, the cluster is the empty or the restored one,
// on all nodes.
func TestTheLeaderEndsDuringARestore(t *testing.T) {
	backup, seq := aBackup(t)
	for name, snapshot := range map[string]bool{"before raft has it": false, "before the state machine has it": true} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 3, renewed, soon)
			g.startAll()
			var leader int
			var p prepared
			var alone raft.Configuration
			g.await("a leader is the only voter", func() bool {
				leader = g.leader()
				n := g.nodes[leader]
				var err error
				if p, err = n.prepare(g.ctx(), bytes.NewReader(backup), "test"); err == nil {
					err = n.change(g.ctx(), func(m members) error {
						_, err := n.standAlone(m)
						alone = n.raft.GetConfiguration().Configuration()
						return err
					})
				}
				if err != nil && !errors.Is(err, ErrNoLeader) { // on a busy machine another one may be elected
					t.Fatal(err)
				}
				return err == nil
			})
			g.stop(leader)
			for i, other := range g.nodes {
				if i != leader && other.isLeader() {
					t.Fatalf("n%d leads without a vote", i+1)
				}
			}
			if snapshot {
				putSnapshot(t, g.configs[leader].DataDir, p, alone)
			}
			g.start(leader)
			g.allVote() // thanks to autopilot
			if snapshot {
				g.isRestored(seq)
				return
			}
			if m := metaOf(t, g.nodes[leader]); m.Epoch != 1 || m.Records != 0 {
				t.Errorf("neither empty nor restored: %+v", m)
			}
			if _, err := g.restore(leader, backup); err != nil {
				t.Errorf("and now: %v", err)
			}
			g.isRestored(seq)
		})
	}
}

// restore asks one node for a restore until a leader answers: on a busy machine another
// one may just be elected, and nothing has changed then.
func (g *group) restore(i int, backup []byte) (done Restored, err error) {
	g.t.Helper()
	g.await("a leader for the restore", func() bool {
		done, err = g.nodes[i].Restore(g.ctx(), bytes.NewReader(backup), "test")
		return !errors.Is(err, ErrNoLeader)
	})
	return done, err
}

// putSnapshot does what raft does first when it restores.
func putSnapshot(t *testing.T, dir string, p prepared, c raft.Configuration) {
	t.Helper()
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, transport.NewHCLog(testLog(t), "test"))
	if err != nil {
		t.Fatal(err)
	}
	_, unused := raft.NewInmemTransport("")
	sink, err := snapshots.Create(raft.SnapshotVersionMax, p.index+1, p.term, c, 1, unused)
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(p.path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(sink, in)
	if err := errors.Join(err, in.Close(), sink.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestARestoreIntoOneNode(t *testing.T) {
	backup, seq := aBackup(t)
	g := newGroup(t, 1, renewed)
	g.startAll()
	done, err := g.restore(0, backup)
	if err != nil || done.Backup.Seq != seq || len(done.Waiting) > 0 {
		t.Fatalf("restored: %+v, %v", done, err)
	}
	g.stop(0)
	g.start(0)
	g.await("it leads", g.nodes[0].isLeader)
	if r := g.checkIn(0, 1, "old-a"); !r.Outcome.Replayed {
		t.Errorf("a key of the old cluster: %+v", r.Outcome)
	}
}

func TestNeedSpace(t *testing.T) {
	free := func(n uint64) func() (uint64, error) { return func() (uint64, error) { return n, nil } }
	broken := errors.New("no such disk")
	for _, tc := range []struct {
		free func() (uint64, error)
		need uint64
		want error
	}{
		{free(spareSpace + 10), 10, nil}, {free(spareSpace + 9), 10, ErrNoSpace}, {free(1 << 62), 1<<64 - 1, ErrNoSpace},
		{func() (uint64, error) { return 0, broken }, 0, broken},
	} {
		if err := needSpace(tc.free, tc.need); !errors.Is(err, tc.want) {
			t.Errorf("%d bytes: %v, want %v", tc.need, err, tc.want)
		}
	}
}
