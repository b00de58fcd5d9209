package queue

import (
	"context"
	"errors"
	"testing"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// neighbours are the nodes that a node may ask, by name.
type neighbours struct {
	own    string
	others map[string]*proc // nil for one that hangs
}

func (n neighbours) Status() cluster.Status {
	s := cluster.Status{Node: n.own, Nodes: []cluster.NodeStatus{{Name: n.own, Reachable: true}, {Name: "gone"}}}
	for name := range n.others {
		s.Nodes = append(s.Nodes, cluster.NodeStatus{Name: name, Reachable: true})
	}
	return s
}

func (n neighbours) Ask(ctx context.Context, member, question string, body []byte) ([]byte, error) {
	p := n.others[member]
	if p == nil || question != questionFind {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return p.queue.answerFind(ctx, body)
}

func (neighbours) Answer(string, cluster.Answerer) {}

func TestFindAnywhere(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		a, b, c := s.node("a"), s.node("b"), s.node("c")
		defer a.stop()
		defer b.stop()
		defer c.stop()
		a.queue.cfg.Peers = neighbours{"a", map[string]*proc{"b": b, "c": c, "hangs": nil}}
		me := attendance.Principal{Kind: attendance.UserPrincipal, ID: 1}
		find := func(key string) Found {
			t.Helper()
			f, err := a.queue.FindAnywhere(t.Context(), me, key)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		if _, err := a.queue.FindAnywhere(t.Context(), me, "k"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("nobody knows it: %v", err)
		}
		a.setLink(false)
		b.setLink(false)
		c.setLink(false)
		want := b.wantQueued(1, in, "k")
		if f := find("k"); f.Node != "b" || f.State != store.OutboxWaiting || f.Receipt != want.Receipt || f.Command != want.Command {
			t.Errorf("waiting at b: %+v", f)
		}
		if _, err := a.queue.FindAnywhere(t.Context(), attendance.Principal{Kind: attendance.UserPrincipal, ID: 2}, "k"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("somebody else's key: %v", err)
		}
		a.wantQueued(1, in, "k")
		if f := find("k"); f.Node != "a" {
			t.Errorf("waiting at a, too: %+v", f)
		}
		c.wantQueued(1, in, "k")
		c.setLink(true)
		c.drained()
		if f := find("k"); f.Node != "c" || f.State != store.OutboxDecided || f.Outcome.Status != accepted {
			t.Errorf("decided at c: %+v", f)
		}
	})
}

func TestFoundRefusesOtherBytes(t *testing.T) {
	good, err := encodeFound(&store.OutboxEntry{N: 3, State: store.OutboxWaiting, Command: attendance.Command{
		Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: 1}, Key: "k", Node: "n", Body: attendance.CheckIn{UserID: 1, Kind: in},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := decodeFound(good); err != nil || e.N != 3 {
		t.Fatal(e, err)
	}
	for i := range good {
		if _, err := decodeFound(good[:i]); err == nil {
			t.Errorf("the first %d bytes were read", i)
		}
	}
	s := &Queue{}
	if _, err := s.answerFind(t.Context(), []byte("rubbish")); err == nil {
		t.Error("a malformed question was answered")
	}
}
