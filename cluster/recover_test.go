package cluster

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster/transport"
	"hadir/store"
)

// sums gives the digest of every file below a directory.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir)] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func same(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, sum := range a {
		if b[name] != sum {
			return false
		}
	}
	return true
}

func recoverConfig(t *testing.T, dir string) RecoverConfig {
	return RecoverConfig{DataDir: dir, By: "test", Clock: systemClock{}, Rand: rand.Reader, Log: testLog(t)}
}

func TestTheLastSurvivorIsRecovered(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	for user := range uint64(4) {
		g.checkIn(int(user%3), user+1, fmt.Sprint("k", user))
	}
	g.await("everybody has it", func() bool { return metaOf(t, g.nodes[2]).Records == 4 && metaOf(t, g.nodes[0]).Records == 4 })
	survivor := (g.leader() + 1) % 3
	dir := g.configs[survivor].DataDir
	if _, err := Recover(context.Background(), recoverConfig(t, dir)); !errors.Is(err, store.ErrLocked) {
		t.Errorf("of a node that runs: %v", err)
	}
	if _, err := Inspect(dir, 5); !errors.Is(err, store.ErrLocked) {
		t.Errorf("look at a node that runs: %v", err)
	}
	for i := range g.nodes {
		g.stop(i)
	}
	before := sums(t, dir)
	in, err := Inspect(dir, 3)
	if err != nil || in.Name != g.configs[survivor].Name || len(in.Configuration.Servers) != 3 || in.State.Records != 4 ||
		len(in.Events) != 3 || in.Events[2].Seq != in.State.Seq || in.Node.Generation != 1 || in.Log.Last < in.State.Applied ||
		in.Log.Term == 0 || in.Counts["users"] != 9 || in.Log.Unreadable != "" || len(in.Missing) > 0 {
		t.Errorf("looked at: %+v, %v", in, err)
	}
	if !same(before, sums(t, dir)) {
		t.Error("looking has changed a file")
	}
	done, err := Recover(context.Background(), recoverConfig(t, dir))
	if err != nil || done.OldEpoch != 1 || done.Epoch < 2 || len(done.Lost) != 2 || done.Server != in.Server || done.Seq != in.State.Seq+1 {
		t.Fatalf("recovered: %+v, %v", done, err)
	}
	kept := sums(t, done.Before)
	if !same(before, kept) {
		t.Errorf("the old files: %v, before %v", kept, before)
	}
	g.start(survivor)
	n := g.nodes[survivor]
	g.await("it leads alone", n.isLeader)
	again := g.checkIn(survivor, 1, "k0")
	if !again.Outcome.Replayed {
		t.Errorf("a key of before: %+v", again.Outcome)
	}
	if r := g.checkIn(survivor, 7, "new"); r.Outcome.Status != attendance.AcceptedStatus {
		t.Errorf("a new tap: %+v", r.Outcome)
	}
	if s := n.Status(); s.Epoch != done.Epoch || len(s.Nodes) != 1 || s.Quorum != 1 {
		t.Errorf("status: %+v", s)
	}
	if err := n.state.View(func(tx *store.ReadTx) error {
		e, err := tx.Event(done.Seq)
		if note, ok := e.Detail.(attendance.AuditNote); !ok || note.Action != "cluster.recovered" {
			t.Errorf("the event about it: %+v, %v", e, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	g.refusesTheOld(survivor, (survivor+1)%3)
	g.stop(survivor)
	// Whatever it was told: the person knows better.
	if err := writeMarker(dir, retiredMarker, retirement{time.Now(), "removed"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(context.Background(), g.configs[survivor]); !errors.Is(err, ErrRetired) {
		t.Fatalf("a retired node starts: %v", err)
	}
	again2, err := Recover(context.Background(), recoverConfig(t, dir))
	if err != nil || again2.Epoch <= done.Epoch || again2.Before == done.Before {
		t.Errorf("recovered once more: %+v, %v", again2, err)
	}
	g.start(survivor)
	g.await("it leads alone again", g.nodes[survivor].isLeader)
}

// refusesTheOld starts a node of before the recovery: neither side takes the other.
func (g *group) refusesTheOld(recovered, old int) {
	g.t.Helper()
	g.start(old)
	n, o := g.nodes[recovered], g.nodes[old]
	for _, way := range []struct{ from, to *Node }{{n, o}, {o, n}} {
		_, err := way.from.call(g.ctx(), transport.Target{ID: way.to.id, Addr: way.to.listener.Addr().String()}, "GET", pathProbe, nil, nil)
		var refused *transport.RefusedError
		if !errors.As(err, &refused) || refused.Code != transport.CodeWrongEpoch {
			g.t.Errorf("%s asks %s: %v", way.from.Name(), way.to.Name(), err)
		}
		conn, err := way.from.listener.Dial(g.ctx(), transport.ProtocolRaft, transport.Target{ID: way.to.id, Addr: way.to.listener.Addr().String()}, reachTimeout)
		if !errors.Is(err, transport.ErrWrongEpoch) {
			g.t.Errorf("raft of %s reaches %s: %v", way.from.Name(), way.to.Name(), err)
		}
		if err == nil {
			conn.Close() //nolint:errcheck // the test has failed
		}
	}
	if _, leads := o.IsLeader(); leads || o.Status().Leader != "" {
		g.t.Error("the old node has a leader")
	}
	g.stop(old)
}

// An entry in the log of which nobody knows whether it was committed may have been
// acknowledged: it is kept.
func TestARecoveryKeepsTheWholeLog(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	g.checkIn(0, 1, "k1")
	dir := g.configs[0].DataDir
	snapshot, err := os.ReadFile(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	g.checkIn(0, 2, "k2")
	g.stop(0)
	// The state as it was one entry before.
	if err := os.WriteFile(filepath.Join(dir, "state.db"), snapshot, 0o600); err != nil {
		t.Fatal(err)
	}
	done, err := Recover(context.Background(), recoverConfig(t, dir))
	if err != nil || done.Replayed == 0 {
		t.Fatalf("recovered: %+v, %v", done, err)
	}
	g.start(0)
	g.await("it leads", g.nodes[0].isLeader)
	if r := g.checkIn(0, 2, "k2"); !r.Outcome.Replayed {
		t.Errorf("what was in the log only: %+v", r.Outcome)
	}
}

// A recovery that is cut off after any of its last steps is finished by the next.
func TestAnInterruptedRecoveryIsFinished(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	g.checkIn(0, 1, "k1")
	g.stop(0)
	dir := g.configs[0].DataDir
	before := sums(t, dir)
	for _, steps := range []int{0, 1, 3, 4, 7, 8} {
		t.Run(fmt.Sprint(steps), func(t *testing.T) {
			c := recoverConfig(t, t.TempDir())
			if err := copyFiles(context.Background(), dir, filepath.Join(c.DataDir, "x")); err != nil {
				t.Fatal(err)
			}
			c.DataDir = filepath.Join(c.DataDir, "x")
			done, err := recoverCopy(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			if err := writeMarker(c.DataDir, recoverMarker, recovered{Before: filepath.Base(done.Before), Done: done}); err != nil {
				t.Fatal(err)
			}
			// As many renames as there were before the power went.
			if err := os.MkdirAll(done.Before, 0o700); err != nil {
				t.Fatal(err)
			}
			for i := range steps {
				name := recoverFiles[i/2]
				from, to := filepath.Join(c.DataDir, name), filepath.Join(done.Before, name)
				if i%2 == 1 {
					from, to = filepath.Join(c.DataDir, recoverWork, name), from
				}
				if err := os.Rename(from, to); err != nil {
					t.Fatal(err)
				}
			}
			cfg := g.configs[0]
			cfg.DataDir = c.DataDir
			if n, err := Start(context.Background(), cfg); !errors.Is(err, ErrInterrupted) {
				t.Fatalf("it starts: %v, %v", n, err)
			}
			finished, err := Recover(context.Background(), c)
			if err != nil || finished.Epoch != done.Epoch {
				t.Fatalf("finished: %+v, %v", finished, err)
			}
			if !same(before, sums(t, finished.Before)) {
				t.Error("the old files are not what they were")
			}
			in, err := Inspect(c.DataDir, 1)
			if err != nil || in.State.Epoch != done.Epoch || in.Node.Epoch != done.Epoch || in.Log.Last != 0 || len(in.Snapshots) != 1 ||
				len(in.Configuration.Servers) != 1 || in.Interrupted {
				t.Errorf("what it left: %+v, %v", in, err)
			}
		})
	}
}

func TestNothingToRecover(t *testing.T) {
	empty := t.TempDir()
	if _, err := Recover(context.Background(), recoverConfig(t, empty)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := Inspect(empty, 1); err == nil || !strings.Contains(err.Error(), "data directory") {
		t.Errorf("an empty directory: %v", err)
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	g := newGroup(t, 2) // the other one never comes
	g.start(0)
	g.stop(0)
	if _, err := Recover(context.Background(), recoverConfig(t, g.configs[0].DataDir)); !errors.Is(err, ErrNotMember) {
		t.Errorf("a node that was never a member: %v", err)
	}
	names, err := filepath.Glob(filepath.Join(g.configs[0].DataDir, "reco*"))
	if err != nil || slices.ContainsFunc(names, func(string) bool { return true }) {
		t.Errorf("left behind: %v, %v", names, err)
	}
}
