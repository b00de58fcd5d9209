package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"hadir/attendance"
)

// soon makes promotion quick.
func soon(_ int, c *Config) { c.Stabilization = 300 * time.Millisecond }

// growing is for nodes of which the first founds the cluster and the others join.
func growing(i int, c *Config) {
	soon(i, c)
	c.BootstrapExpect = 1
	if i == 0 {
		c.Join = nil
	}
}

// wipe starts a node again with an empty disk.
func (g *group) wipe(i int) {
	g.t.Helper()
	g.stop(i)
	g.configs[i].DataDir = g.t.TempDir()
	g.start(i)
}

// servers gives the configuration as node i has it: votes by name.
func (g *group) votes(i int) map[string]bool {
	out := make(map[string]bool)
	for _, s := range g.nodes[i].servers() {
		name := nameOf(s.target.ID)
		if _, twice := out[name]; twice {
			g.t.Errorf("two servers of the name %s", name)
		}
		out[name] = s.voter
	}
	return out
}

// awaitVoters waits until node i knows exactly these voters.
func (g *group) awaitVoters(i int, names ...string) {
	g.t.Helper()
	g.await(fmt.Sprint("voters ", names), func() bool {
		voters := 0
		votes := g.votes(i)
		for _, name := range names {
			if votes[name] {
				voters++
			}
		}
		return voters == len(names) && len(votes) == len(names)
	})
}

// load checks people in through some nodes until stop is called, which gives how
// many were accepted. Each person is tried until there is an answer.
func (g *group) load(through ...int) (stop func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	accepted := make([]int, len(through))
	for w, i := range through {
		n := g.nodes[i]
		wg.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				req := checkIn(uint64(w+1), fmt.Sprint("load-", w, "-", round))
				req.Command.Body = attendance.Audit{Action: "load", Subject: fmt.Sprint(round)}
				for ctx.Err() == nil {
					if r, err := n.Propose(ctx, req); err == nil {
						if r.Outcome.Status != attendance.DoneStatus {
							g.t.Errorf("load: %+v", r.Outcome)
						}
						accepted[w]++
						break
					}
					// A node that has ended says so at once, and a crowd that asks it again
					// and again would take the machine from the others.
					_ = n.pause(ctx, retryPause, nil) // the load ends, which the loop sees
				}
			}
		})
	}
	g.t.Cleanup(func() { // of a test that failed before it was stopped
		cancel()
		wg.Wait()
	})
	return func() int {
		cancel()
		wg.Wait()
		sum := 0
		for _, a := range accepted {
			sum += a
		}
		return sum
	}
}

// awaitEqual waits until all nodes have the same state.
func (g *group) awaitEqual(asked, want int) {
	g.t.Helper()
	g.await("equal states", func() bool {
		all, err := g.nodes[asked].Compare(g.ctx())
		if err != nil || len(all) != want {
			return false
		}
		for _, c := range all {
			if c.Err != "" || c.State != all[0].State || c.Chain != all[0].Chain {
				return false
			}
		}
		return true
	})
}

func TestAWipedNodeComesBackAsAVoter(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"follower", "leader"} {
		t.Run(who, func(t *testing.T) {
			g := newGroup(t, 3, soon)
			g.startAll()
			wiped := g.leader()
			if who == "follower" {
				wiped = (wiped + 1) % 3
			}
			a, b := (wiped+1)%3, (wiped+2)%3
			old := g.nodes[wiped].id
			stop := g.load(a, b)
			g.wipe(wiped)
			g.awaitVoters(a, "n1", "n2", "n3")
			g.await("the new server is known", func() bool { return g.nodes[wiped].member() && g.nodes[wiped].isVoter(a, g) })
			if n := stop(); n == 0 {
				t.Error("nothing was decided meanwhile")
			}
			if g.nodes[wiped].id == old {
				t.Error("it has the id of the old server")
			}
			g.awaitEqual(a, 3)
			r := g.checkIn(wiped, 1, "k")
			if r.Outcome.Status != attendance.AcceptedStatus {
				t.Errorf("through the node that came back: %+v", r.Outcome)
			}
			// Its vote counts: with one of the others down there is a majority.
			g.stop(a)
			g.checkIn(b, 2, "k2")
		})
	}
}

// isVoter reports whether another node has this server as a voter.
func (n *Node) isVoter(at int, g *group) bool {
	m, err := g.nodes[at].configuration()
	if err != nil {
		return false
	}
	s, known := m.find(n.id)
	return known && s.Suffrage == raft.Voter
}

func TestGrowingAndShrinking(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 5, growing)
	ended := make(chan error, 100) // a node that halts must never wait for the test
	for i := range g.configs {
		g.configs[i].Halt = func(err error) { ended <- fmt.Errorf("n%d: %w", i+1, err) }
	}
	g.start(0)
	g.await("one node leads itself", func() bool { _, ok := g.nodes[0].IsLeader(); return ok })
	stop := g.load(0)
	g.start(1)
	g.awaitVoters(0, "n1", "n2")
	g.await("two voters are warned of", func() bool {
		w := g.nodes[1].Status().Warnings
		return len(w) == 1 && w[0] == TwoVoters
	})
	g.start(2)
	g.awaitVoters(0, "n1", "n2", "n3")
	g.start(3)
	g.start(4)
	g.awaitVoters(0, "n1", "n2", "n3", "n4", "n5")
	g.await("autopilot is content", func() bool {
		s := g.nodes[3].Status()
		return s.Health.Known && s.Health.Healthy && s.Health.Tolerance == 2 && s.CanLose == 2 && s.Quorum == 3 && len(s.Warnings) == 0
	})
	// Down to three again, the leader among those who go, asked through a follower.
	leader := g.leader()
	ask, gone := (leader+1)%5, []int{leader, (leader + 2) % 5}
	for _, i := range gone {
		if err := g.nodes[ask].Remove(g.ctx(), g.configs[i].Name); err != nil {
			t.Fatalf("remove n%d: %v", i+1, err)
		}
	}
	g.await("three are left", func() bool { return len(g.votes(ask)) == 3 })
	for range gone {
		select {
		case err := <-ended:
			if !errors.Is(err, ErrRemoved) {
				t.Errorf("halted: %v", err)
			}
		case <-time.After(40 * time.Second):
			t.Fatal("a removed server does not notice")
		}
	}
	if n := stop(); n == 0 {
		t.Error("nothing was decided")
	}
	g.checkIn(ask, 3, "after")
	// A removed server that is started again takes no part, and bothers nobody.
	again := gone[1]
	g.stop(again)
	if n, err := Start(g.ctx(), g.configs[again]); !errors.Is(err, ErrRetired) || !strings.Contains(err.Error(), ErrRemoved.Error()) {
		if err == nil {
			n.close() //nolint:errcheck // the test has failed
		}
		t.Errorf("started again: %v", err)
	}
	// The note is lost, so it asks again, and is told again.
	if err := os.Remove(filepath.Join(g.configs[again].DataDir, retiredMarker)); err != nil {
		t.Fatal(err)
	}
	g.start(again)
	select {
	case err := <-ended:
		if !errors.Is(err, ErrRemoved) || !errors.Is(err, ErrRetired) {
			t.Errorf("halted: %v", err)
		}
	case <-time.After(40 * time.Second):
		t.Fatal("a removed server starts again and does not notice")
	}
	if votes := g.votes(ask); len(votes) != 3 {
		t.Errorf("members are %v", votes)
	}
}

func TestRemoveRefuses(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, soon)
	g.startAll()
	leader := g.leader()
	follower, other := (leader+1)%3, (leader+2)%3
	for _, i := range []int{leader, follower} {
		if err := g.nodes[i].Remove(g.ctx(), "nobody"); !errors.Is(err, ErrUnknownServer) {
			t.Errorf("an unknown name at n%d: %v", i+1, err)
		}
	}
	down := g.configs[other].Name
	g.stop(other)
	g.await("it is seen to be down", func() bool {
		for _, s := range g.nodes[leader].Status().Nodes {
			if s.Name == down {
				return !s.Reachable
			}
		}
		return false
	})
	// Of two that remained only one would answer.
	if err := g.nodes[follower].Remove(g.ctx(), g.configs[follower].Name); !errors.Is(err, ErrQuorumAtRisk) {
		t.Errorf("a voter that is needed: %v", err)
	}
	// The dead one may go, and then one of two, but never the last.
	if err := g.nodes[follower].Remove(g.ctx(), g.nodes[leader].mustID(t, down)); err != nil {
		t.Errorf("the dead one: %v", err)
	}
	g.configs[follower].Halt = func(error) {}
	g.nodes[follower].cfg.Halt = func(error) {} // it will be told that it was removed
	if err := g.nodes[leader].Remove(g.ctx(), g.configs[follower].Name); err != nil {
		t.Errorf("one of two: %v", err)
	}
	if err := g.nodes[leader].Remove(g.ctx(), g.configs[leader].Name); !errors.Is(err, ErrQuorumAtRisk) {
		t.Errorf("the last: %v", err)
	}
	g.checkIn(leader, 1, "alone")
}

// mustID gives the server id of a name.
func (n *Node) mustID(t *testing.T, name string) string {
	t.Helper()
	m, err := n.configuration()
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.named(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(s.ID)
}

func TestAPermanentReplica(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 4, soon, func(i int, c *Config) {
		c.BootstrapExpect = 3
		c.NonVoter = i == 3
	})
	g.start(3) // first, and it must not found anything
	for i := range 3 {
		g.start(i)
	}
	g.await("all four are members", func() bool { return g.nodes[0].member() && len(g.votes(0)) == 4 })
	first := g.checkIn(0, 1, "k1")
	r := g.checkIn(3, 2, "k2") // forwarded by the replica
	g.await("it follows", func() bool { return g.nodes[3].Applied() >= max(first.Index, r.Index) })
	g.await("it is fresh", func() bool { return !g.nodes[3].Freshness().Stale })
	g.await("it has been there for longer than it takes to be promoted", func() bool {
		leader := g.nodes[g.leader()]
		pilot := leader.pilot.Load()
		if pilot == nil || pilot.GetState() == nil {
			return false
		}
		s := pilot.GetState().Servers[raft.ServerID(g.nodes[3].id)]
		return s != nil && s.Health.IsStable(time.Now(), 3*g.configs[3].Stabilization)
	})
	s := g.nodes[1].Status()
	g.await("all are healthy as another node sees it", func() bool {
		s = g.nodes[1].Status()
		return s.Health.Known && s.Health.Healthy
	})
	for _, n := range s.Nodes {
		if replica := n.Name == "n4"; n.Voter == replica || n.Replica != replica || !n.Healthy {
			t.Errorf("%+v", n)
		}
	}
	if s.Quorum != 2 || s.CanLose != 1 {
		t.Errorf("quorum %d, can lose %d", s.Quorum, s.CanLose)
	}
	// Taken away from the replica by a restart, the wish not to vote is gone.
	g.stop(3)
	g.configs[3].NonVoter = false
	g.start(3)
	g.awaitVoters(0, "n1", "n2", "n3", "n4")
}

func TestANameThatIsInUseIsNotReplaced(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 4, soon, func(i int, c *Config) {
		c.BootstrapExpect = 3
		if i == 3 {
			c.Name = "n2"
		}
	})
	for i := range 3 {
		g.start(i)
	}
	g.await("three members", func() bool { return g.nodes[0].member() && len(g.votes(0)) == 3 })
	old := g.nodes[1].id
	said := make(chan string, 1)
	g.configs[3].Log = slog.New(logHook{hook: func(m string) {
		if m == "this node is not admitted to the cluster yet" {
			select {
			case said <- m:
			default: // it says so once for each reason, and must not wait for the test
			}
		}
	}})
	g.start(3)
	select {
	case <-said:
	case <-time.After(40 * time.Second):
		t.Fatal("it does not say that it is refused")
	}
	if g.nodes[3].member() {
		t.Error("it was admitted")
	}
	if _, known := g.nodes[0].mustConfiguration(t).find(old); !known {
		t.Error("a living server was replaced")
	}
}

func (n *Node) mustConfiguration(t *testing.T) members {
	t.Helper()
	m, err := n.configuration()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWithout(t *testing.T) {
	server := func(name string, s raft.ServerSuffrage) raft.Server {
		return raft.Server{ID: raft.ServerID(name + "-1"), Suffrage: s}
	}
	v := func(names ...string) (m members) {
		for _, name := range names {
			m.servers = append(m.servers, server(name, raft.Voter))
		}
		return m
	}
	withReplica := v("a")
	withReplica.servers = append(withReplica.servers, server("r", raft.Nonvoter))
	for what, c := range map[string]struct {
		of    members
		gone  string
		alive string
		want  error
	}{
		"unknown":                       {v("a", "b", "c"), "x-1", "abc", ErrUnknownServer},
		"the only one":                  {v("a"), "a-1", "a", ErrQuorumAtRisk},
		"the only voter beside replica": {withReplica, "a-1", "ar", ErrQuorumAtRisk},
		"a replica":                     {withReplica, "r-1", "a", nil},
		"one of two":                    {v("a", "b"), "b-1", "ab", nil},
		"the dead one of two":           {v("a", "b"), "b-1", "a", nil},
		"the living one of two":         {v("a", "b"), "a-1", "a", ErrQuorumAtRisk},
		"the dead one of three":         {v("a", "b", "c"), "c-1", "ab", nil},
		"a living one beside a dead":    {v("a", "b", "c"), "b-1", "ab", ErrQuorumAtRisk},
		"one of four, one is dead":      {v("a", "b", "c", "d"), "d-1", "abc", nil},
		"one of five, two are dead":     {v("a", "b", "c", "d", "e"), "c-1", "abc", ErrQuorumAtRisk},
		"a dead one of five, two are":   {v("a", "b", "c", "d", "e"), "e-1", "abc", nil},
		"nobody is known to be alive":   {v("a", "b", "c"), "c-1", "", ErrQuorumAtRisk},
	} {
		err := c.of.without(c.gone, func(id string) bool {
			for _, a := range c.alive {
				if string(a)+"-1" == id {
					return true
				}
			}
			return false
		})
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

func TestNextLevel(t *testing.T) {
	for what, c := range map[string]struct {
		used, own uint32
		others    []uint32
		want      uint32
	}{
		"all support it":          {1, 2, []uint32{2, 3}, 2},
		"one does not":            {1, 2, []uint32{2, 1}, 0},
		"one supports a part":     {1, 5, []uint32{5, 3}, 3},
		"alone":                   {1, 2, nil, 2},
		"never above this binary": {2, 2, []uint32{9, 9}, 0},
		"never down":              {3, 2, []uint32{2}, 0},
	} {
		if got := nextLevel(c.used, c.own, c.others); got != c.want {
			t.Errorf("%s: %d, want %d", what, got, c.want)
		}
	}
}

func TestALevelThatThisBinaryDoesNotKnowIsNotProposed(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, alone)
	g.startAll()
	_, err := g.nodes[0].Propose(g.ctx(), Request{ReceivedAt: time.Now(), Command: g.nodes[0].system(attendance.SetLevel{Level: attendance.Level + 1})})
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	g.checkIn(0, 1, "it still runs")
}
