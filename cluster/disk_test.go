package cluster

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"hadir/attendance"
)

// space makes disks whose free space the test sets, in MiB.
func space(n int, soon func(int, *Config)) (free []*atomic.Uint64, change func(int, *Config)) {
	for range n {
		f := &atomic.Uint64{}
		f.Store(1 << 10)
		free = append(free, f)
	}
	return free, func(i int, c *Config) {
		if soon != nil {
			soon(i, c)
		}
		c.Free = func() (uint64, error) { return free[i].Load() << 20, nil }
	}
}

func TestALeaderWithoutRoomHandsOver(t *testing.T) {
	t.Parallel()
	free, disks := space(3, nil)
	g := newGroup(t, 3, disks)
	g.startAll()
	leader := g.leader()
	free[leader].Store(10)
	g.await("another one leads", func() bool {
		next := g.leader()
		_, ok := g.nodes[next].IsLeader()
		return next != leader && ok
	})
	// It says so, and takes nothing in; the others do, through a leader with room.
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := g.nodes[leader].Propose(ctx, checkIn(1, "k")); !errors.Is(err, ErrDiskLow) || errors.Is(err, ErrUnknown) {
		t.Errorf("at the node without room: %v, want ErrDiskLow", err)
	}
	other := (leader + 1) % 3
	if r := g.checkIn(other, 1, "k"); r.Outcome.Status != attendance.AcceptedStatus {
		t.Errorf("at another: %+v", r.Outcome)
	}
	g.await("the others know", func() bool {
		s := g.nodes[other].Status()
		for _, n := range s.Nodes {
			if n.Name == g.configs[leader].Name && n.DiskLow && n.DiskFree == 10<<20 {
				return len(s.Warnings) == 1 && s.Warnings[0] == DiskLow
			}
		}
		return false
	})
	// At the floor it stays as it is, above it the node is as the others.
	free[leader].Store(256)
	g.nodes[leader].lookAtDisk()
	if err := g.nodes[leader].roomy(); !errors.Is(err, ErrDiskLow) {
		t.Errorf("at the floor: %v", err)
	}
	free[leader].Store(300)
	g.await("it recovers by itself", func() bool { return g.nodes[leader].roomy() == nil })
	g.checkIn(leader, 2, "k2")
}

func TestTheOneWithRoomLeads(t *testing.T) {
	t.Parallel()
	free, disks := space(3, nil)
	g := newGroup(t, 3, disks)
	g.startAll()
	for roomy := range free { // whichever it is: raft would choose by the order of servers
		for i, f := range free {
			f.Store(1)
			if i == roomy {
				f.Store(1 << 10)
			}
		}
		g.await(g.configs[roomy].Name+" leads", func() bool { _, ok := g.nodes[roomy].IsLeader(); return ok })
		g.checkIn(roomy, uint64(roomy+1), "k")
	}
}

func TestNobodyHasRoom(t *testing.T) {
	t.Parallel()
	free, disks := space(3, nil)
	g := newGroup(t, 3, disks)
	g.startAll()
	for _, f := range free {
		f.Store(1)
	}
	for i, n := range g.nodes {
		g.await("it notices", func() bool { return n.roomy() != nil })
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if _, err := n.Propose(ctx, checkIn(1, "k")); !errors.Is(err, ErrDiskLow) {
			t.Errorf("at n%d: %v, want ErrDiskLow", i+1, err)
		}
	}
	for _, f := range free {
		f.Store(1 << 10)
	}
	g.await("it goes on", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		_, err := g.nodes[0].Propose(ctx, checkIn(1, "k"))
		return err == nil
	})
}

func TestAFullDiskOfTheLeaderIsNoLeaderToOthers(t *testing.T) {
	t.Parallel()
	free, disks := space(3, nil)
	g := newGroup(t, 3, disks)
	g.startAll()
	leader := g.leader()
	g.nodes[leader].disk.low.Store(true) // what was on its way when it noticed
	p, err := newPending(checkIn(1, "k").Command, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	g.nodes[leader].propose([]*pending{p})
	if a := <-p.done; !errors.Is(a.err, ErrDiskLow) || !errors.Is(codeOf(a.err).err(), ErrNoLeader) {
		t.Errorf("%v, over the wire %v", a.err, codeOf(a.err).err())
	}
	free[leader].Store(1)
	if r := g.checkIn((leader+1)%3, 1, "k"); r.Outcome.Status != attendance.AcceptedStatus {
		t.Errorf("through another node: %+v", r.Outcome)
	}
}
