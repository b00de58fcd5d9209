package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster"
)

// desks are neighbours that answer every question.
type desks struct{ neighbours }

func (d desks) Ask(ctx context.Context, member, question string, body []byte) ([]byte, error) {
	p := d.others[member]
	switch {
	case p == nil:
		return nil, cluster.ErrUnknownServer
	case question == questionView:
		return p.queue.answerView(ctx, body)
	case question == questionAct:
		return p.queue.answerAct(ctx, body)
	}
	return nil, errors.New("nobody asks that here")
}

// poisoned has entries set aside at a node.
func poisoned(t *testing.T, n *proc, keys ...string) {
	t.Helper()
	n.setLink(false)
	for i, key := range keys {
		n.wantQueued(uint64(i+1), in, key)
		n.set(func(p *proc) { p.invalid[key] = true })
	}
	n.setLink(true)
	n.drained()
	n.set(func(p *proc) { p.invalid = map[string]bool{} })
}

func TestViews(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		a, b := s.node("a"), s.node("b")
		defer a.stop()
		defer b.stop()
		a.queue.cfg.Peers = desks{neighbours{"a", map[string]*proc{"b": b}}}
		poisoned(t, b, "bad")
		b.setLink(false)
		b.wantQueued(1, in, "k1")
		time.Sleep(90 * time.Second)
		b.wantQueued(2, in, "k2")
		views, err := a.queue.Views(t.Context())
		if err != nil || len(views) != 3 {
			t.Fatalf("%+v, %v", views, err)
		}
		if v := views[0]; v.Node != "a" || v.Waiting != 0 || v.EmptyIn != 0 || v.Mirror != nil {
			t.Errorf("a: %+v", v)
		}
		for _, v := range views[1:] {
			switch v.Node {
			case "gone":
				if v.Error == "" {
					t.Errorf("a node that cannot be asked: %+v", v)
				}
			case "b":
				if v.Waiting != 2 || v.Failed != 1 || v.OldestAge != 90*time.Second || v.EmptyIn >= 0 || v.Error != "" || v.Bytes == 0 {
					t.Errorf("b: %+v", v)
				}
				if len(v.SetAside) != 1 || v.SetAside[0].Key != "bad" || v.SetAside[0].Principal != "user:1" || v.SetAside[0].Reason == "" {
					t.Errorf("set aside: %+v", v.SetAside)
				}
			}
		}
		b.setLink(true)
		b.drained()
		time.Sleep(time.Second)
		if v, err := b.queue.View(); err != nil || v.Decided != 2 || v.PerSecond <= 0 || v.EmptyIn != 0 || v.OldestAge != 0 {
			t.Errorf("after the drain: %+v, %v", v, err)
		}
		// One entry waited for 90 s and a little, the other one only for that little.
		if v, err := b.queue.View(); err != nil || v.Waited != 2 || v.WaitHalf > time.Second || v.Wait99 < 90*time.Second || v.Wait99 > 91*time.Second {
			t.Errorf("waits after the drain: %+v, %v", v, err)
		}
	})
}

func TestActs(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		a, b := s.node("a"), s.node("b")
		defer a.stop()
		defer b.stop()
		a.queue.cfg.Peers = desks{neighbours{"a", map[string]*proc{"b": b}}}
		poisoned(t, b, "k1", "k2", "k3", "k4")
		failed, err := b.outbox.Failed(0, 10)
		if err != nil || len(failed) != 4 {
			t.Fatal(failed, err)
		}
		act := func(want int, what Act) {
			t.Helper()
			if done, err := a.queue.Act(t.Context(), "b", what); err != nil || done != want {
				t.Errorf("%+v: %d, %v", what, done, err)
			}
		}
		act(1, Act{Places: []uint64{failed[0].N, 99}})
		b.drained()
		s.theTap(1, "k1")
		act(1, Act{Dismiss: true, Places: []uint64{failed[1].N}})
		act(0, Act{Dismiss: true, Places: []uint64{failed[1].N}})
		act(0, Act{Reason: "another reason"})
		act(2, Act{Reason: failed[2].Reason})
		b.drained()
		s.theTap(3, "k3")
		s.theTap(4, "k4")
		act(0, Act{All: true})
		if taps := s.taps(); len(taps) != 3 {
			t.Errorf("a dismissed entry was decided: %v", taps)
		}
		if _, err := a.queue.Act(t.Context(), "c", Act{All: true}); err == nil {
			t.Error("a node that there is not was asked")
		}
	})
	for _, a := range []Act{{}, {All: true, Reason: "x"}, {Places: []uint64{1}, All: true}} {
		if a.Check() == nil {
			t.Errorf("%+v names one thing", a)
		}
	}
	if (Act{Reason: "x"}).Check() != nil || (Act{All: true}).Check() != nil || (Act{Places: []uint64{1}}).Check() != nil {
		t.Error("an act that names one thing is refused")
	}
}

func TestActsOnManyByReason(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1")
		defer n.stop()
		n.setLink(false)
		for i := range actPage + 10 {
			e := n.wantQueued(uint64(1_000+i), in, "k")
			if err := n.outbox.Fail(e.N, "no", 1); err != nil {
				t.Fatal(err)
			}
		}
		if done, err := n.queue.Act(t.Context(), "n1", Act{Dismiss: true, Reason: "no"}); err != nil || done != actPage+10 {
			t.Errorf("%d, %v", done, err)
		}
		if d := n.outbox.Depth(); d.Failed != 0 || d.Waiting != 0 {
			t.Errorf("depth %+v", d)
		}
	})
}

func TestImport(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		dead, n := s.node("n3"), s.node("n1")
		defer n.stop()
		dead.setLink(false)
		want := attendance.MillisOf(time.Now())
		e := dead.wantQueued(1, in, "k")
		dead.stop()
		n.clock.reboot() // another machine
		time.Sleep(time.Hour)
		for i, known := range []bool{false, true} {
			if got, err := n.queue.Import(e); err != nil || got != known {
				t.Errorf("import %d: %v, %v", i, got, err)
			}
			n.drained()
		}
		if _, tap := s.theTap(1, "k"); tap.Claim != want || !tap.WallClock {
			t.Errorf("decided as %+v, received at %d", tap, want)
		}
	})
}

func TestViewTravels(t *testing.T) {
	v := View{Node: "n", Waiting: 3, EmptyIn: -1, Mirror: &MirrorView{Up: true}, SetAside: []SetAside{{N: 7, Reason: "x"}}}
	b, err := json.Marshal(v)
	var got View
	if err == nil {
		err = json.Unmarshal(b, &got)
	}
	if err != nil || fmt.Sprintf("%+v %+v", got, *got.Mirror) == "" || got.SetAside[0] != v.SetAside[0] || got.EmptyIn != -1 || !got.Mirror.Up {
		t.Errorf("%+v, %v", got, err)
	}
}
