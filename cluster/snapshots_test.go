package cluster

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"hadir/attendance"
)

func TestSnapshotPolicy(t *testing.T) {
	p := SnapshotPolicy{}.orDefault()
	for what, c := range map[string]struct {
		grown, state int64
		want         bool
	}{
		"nothing":                 {0, 1 << 30, false},
		"little beside a little":  {1 << 20, 1 << 20, false},
		"the least":               {32 << 20, 1 << 20, true},
		"a little beside a lot":   {100 << 20, 1 << 30, false},
		"half of it":              {512 << 20, 1 << 30, true},
		"half of ten million":     {3 << 30, 6 << 30, true},
		"not half of ten million": {2 << 30, 6 << 30, false},
	} {
		if got := p.due(c.grown, c.state); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

type snapshotCounter struct {
	noObserver
	taken *atomic.Int32
}

func (s snapshotCounter) Snapshotted(time.Duration) { s.taken.Add(1) }

// often takes snapshots after a few entries and keeps a few behind them.
func often(taken *atomic.Int32) func(int, *Config) {
	return func(i int, c *Config) {
		soon(i, c)
		c.Snapshots = SnapshotPolicy{Share: 1e-9, MinGrowth: 4 << 10, Trailing: 8}
		c.Observe = snapshotCounter{taken: taken}
	}
}

func TestAFollowerThatMissedTheLogGetsASnapshotUnderLoad(t *testing.T) {
	t.Parallel()
	var taken atomic.Int32
	g := newGroup(t, 3, often(&taken))
	g.startAll()
	leader := g.leader()
	away, other := (leader+1)%3, (leader+2)%3
	g.stop(away)
	stop := g.load(leader, other)
	behind := g.nodes[leader].Applied()
	before := taken.Load()
	g.await("the log has moved on without it", func() bool {
		first, err := g.nodes[leader].logs.FirstIndex()
		return err == nil && first > behind+1 && taken.Load() >= before+2
	})
	var installed atomic.Int32
	g.configs[away].Log = slog.New(logHook{hook: func(m string) {
		if m == "Installed remote snapshot" {
			installed.Add(1)
		}
	}})
	g.start(away)
	g.await("it has caught up while the others go on", func() bool {
		return g.nodes[away].member() && g.nodes[away].Applied() > g.nodes[leader].Applied()-200 && !g.nodes[away].Freshness().Stale
	})
	if installed.Load() == 0 {
		t.Error("it came by the log, not by a snapshot")
	}
	if n := stop(); n == 0 {
		t.Error("nothing was decided meanwhile")
	}
	r := g.checkIn(away, 1, "through it")
	if r.Outcome.Status != attendance.AcceptedStatus {
		t.Errorf("%+v", r.Outcome)
	}
	g.awaitEqual(away, 3)
	// A wiped one comes back by a snapshot, too.
	stop = g.load(leader, other)
	g.wipe(away)
	g.awaitVoters(leader, "n1", "n2", "n3")
	g.await("it is the new server", func() bool { return g.nodes[away].isVoter(leader, g) })
	stop()
	g.awaitEqual(leader, 3)
}

func TestTheLogSinceTheSnapshotIsCounted(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, alone, func(i int, c *Config) { c.Snapshots.Trailing = 2 })
	g.startAll()
	n := g.nodes[0]
	g.checkIn(0, 1, "k1")
	grown := n.logSince()
	if grown == 0 || uint64(grown) > n.logs.Written() {
		t.Errorf("%d bytes of log, %d written", grown, n.logs.Written())
	}
	if !n.snapshot() {
		t.Fatal("no snapshot")
	}
	if now := n.logSince(); now >= grown || now > 1000 {
		t.Errorf("%d bytes after the snapshot, %d before it", now, grown)
	}
}
