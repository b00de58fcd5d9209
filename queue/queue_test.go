package queue

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

const (
	in       = attendance.In
	out      = attendance.Out
	accepted = attendance.AcceptedStatus
)

func TestFreshNodeDecides(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1")
		defer n.stop()
		n.wantDecided(1, in, "k", accepted)
		if d := n.outbox.Depth(); d.Newest != 0 {
			t.Errorf("the outbox was used: %+v", d)
		}
	})
}

func TestCutOffNodeRecordsAtOnceAndDrains(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		var changed []string
		n := s.node("n1", func(c *Config) {
			c.Changed = func(e store.OutboxEntry) { changed = append(changed, e.State.String()) }
		})
		defer n.stop()
		n.setLink(false)
		begun := time.Now()
		n.wantQueued(1, in, "k")
		if took := time.Since(begun); took != 0 {
			t.Errorf("a degraded node took %s", took)
		}
		time.Sleep(time.Minute)
		n.setLink(true)
		n.drained()
		_, tap := s.theTap(1, "k")
		if want := attendance.MillisOf(begun); tap.Claim != want || tap.At != want || !tap.Recorded || tap.WallClock {
			t.Errorf("decided as %+v, received at %d", tap, want)
		}
		if !slices.Equal(changed, []string{"waiting", "decided"}) {
			t.Errorf("told: %v", changed)
		}
		e, err := n.queue.Find(attendance.Principal{Kind: attendance.UserPrincipal, ID: 1}, "k")
		if err != nil || e.State != store.OutboxDecided || e.Outcome.Status != accepted {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// TestBudget: a node that is fresh but finds no leader records when the budget is
// spent, with the time of the receipt.
func TestBudget(t *testing.T) {
	for name, refuse := range map[string]error{"no leader": cluster.ErrNoLeader, "unknown": cluster.ErrUnknown} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, s *school) {
				n := s.node("n1")
				defer n.stop()
				n.set(func(p *proc) { p.refuse = refuse })
				begun := time.Now()
				n.wantQueued(1, in, "k")
				time.Sleep(20 * time.Second)
				n.set(func(p *proc) { p.refuse = nil })
				n.drained()
				if _, tap := s.theTap(1, "k"); tap.Claim != attendance.MillisOf(begun) {
					t.Errorf("claim %d, received at %d", tap.Claim, attendance.MillisOf(begun))
				}
			})
		})
	}
	simulate(t, func(t *testing.T, s *school) {
		gone := make(chan struct{})
		n := s.node("n1", func(c *Config) { c.Node = silent{procOf(c), gone} })
		defer n.stop()
		// Fresh until now, and then nothing answers.
		begun := time.Now()
		n.wantQueued(1, in, "k")
		if took := time.Since(begun); took != defaultBudget {
			t.Errorf("it took %s", took)
		}
		close(gone)
		n.drained()
	})
}

// silent is a node whose proposals wait for their context to end.
type silent struct {
	*proc
	back chan struct{}
}

func (s silent) Propose(ctx context.Context, req cluster.Request) (cluster.Result, error) {
	select {
	case <-ctx.Done():
		return cluster.Result{}, cluster.ErrUnknown
	case <-s.back:
		return s.proc.Propose(ctx, req)
	}
}

func TestWhatIsNotRecorded(t *testing.T) {
	for _, refuse := range []error{cluster.ErrOverloaded, cluster.ErrClosing, cluster.ErrInvalid} {
		t.Run(refuse.Error(), func(t *testing.T) {
			simulate(t, func(t *testing.T, s *school) {
				n := s.node("n1")
				defer n.stop()
				n.set(func(p *proc) { p.refuse = refuse })
				if a, err := n.tap(1, in, "k"); !errors.Is(err, refuse) || a.Queued != nil {
					t.Errorf("%+v, %v", a, err)
				}
				if n.outbox.Depth().Newest != 0 {
					t.Error("it was recorded")
				}
			})
		})
	}
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1")
		defer n.stop()
		for _, c := range []attendance.Command{{Body: attendance.CheckIn{UserID: 1, Kind: in}}, {Key: "k", Body: attendance.DeactivateUser{UserID: 1}}} {
			if _, err := n.queue.CheckIn(t.Context(), cluster.Request{Command: c}); !errors.Is(err, cluster.ErrInvalid) {
				t.Errorf("%+v: %v", c, err)
			}
		}
	})
}

func TestFullOutboxIsAnError(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1", func(c *Config) {
			small, err := procOf(c).file.Outbox(store.OutboxOptions{MaxRows: 1})
			if err != nil {
				t.Fatal(err)
			}
			c.Outbox = small
		})
		defer n.stop()
		n.setLink(false)
		n.wantQueued(1, in, "k1")
		if _, err := n.tap(2, in, "k2"); !errors.Is(err, store.ErrOutboxFull) {
			t.Errorf("degraded: %v", err)
		}
		n.setLink(true)
		n.set(func(p *proc) { p.refuse = cluster.ErrUnknown })
		if _, err := n.tap(2, in, "k2"); !errors.Is(err, cluster.ErrUnknown) || !errors.Is(err, store.ErrOutboxFull) {
			t.Errorf("unknown and not recorded: %v", err)
		}
	})
}

// TestGraceAtStart: a node that has just started proposes, although it has no proof
// of freshness yet; after two seconds without one it does not.
func TestGraceAtStart(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1", func(c *Config) { c.Node = unproven{procOf(c)} })
		defer n.stop()
		n.wantDecided(1, in, "k1", accepted)
		time.Sleep(freshAtStart + time.Millisecond)
		n.wantQueued(2, in, "k2")
	})
}

type unproven struct{ *proc }

func (unproven) Freshness() cluster.Freshness { return cluster.Freshness{Age: -1, Stale: true} }

// TestOneUserInOrder: while an entry of a user waits, what the user does next goes
// behind it, also when the node is fresh again.
func TestOneUserInOrder(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1")
		defer n.stop()
		n.setLink(false)
		n.wantQueued(1, in, "a")
		n.wantQueued(1, out, "b")
		n.setLink(true)
		last := n.wantDecided(1, in, "c", attendance.DuplicateStatus) // a is less than five minutes old
		a, _ := s.theTap(1, "a")
		b, _ := s.theTap(1, "b")
		if !(a.Seq < b.Seq && b.Seq < last.Outcome.Seq) || last.Outcome.Replayed {
			t.Errorf("decided as %d, %d, %d", a.Seq, b.Seq, last.Outcome.Seq)
		}
	})
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1")
		defer n.stop()
		n.setLink(false)
		n.wantQueued(1, in, "a")
		n.setLink(true)
		n.set(func(p *proc) { p.refuse = cluster.ErrNoLeader })
		begun := time.Now()
		n.wantQueued(1, out, "b") // behind a, although nothing is decided
		if took := time.Since(begun); took != defaultBudget {
			t.Errorf("it waited %s for what is before it", took)
		}
	})
}

func TestSameKeyAgain(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1")
		defer n.stop()
		n.setLink(false)
		first := n.wantQueued(1, in, "k")
		time.Sleep(time.Second)
		if again := n.wantQueued(1, in, "k"); again.N != first.N || again.Receipt != first.Receipt {
			t.Errorf("%+v, then %+v", first, again)
		}
		if _, err := n.tap(1, out, "k"); !errors.Is(err, store.ErrKeyReused) {
			t.Errorf("another body: %v", err)
		}
		n.setLink(true)
		n.wantDecided(1, in, "k", accepted)
		if _, tap := s.theTap(1, "k"); tap.Claim != first.Receipt.Wall {
			t.Errorf("decided as of %d, received at %d", tap.Claim, first.Receipt.Wall)
		}
		if again := n.wantDecided(1, in, "k", accepted); !again.Outcome.Replayed {
			t.Errorf("after the decision: %+v", again)
		}
		n.setLink(false) // what was decided here is known here
		if again := n.wantDecided(1, in, "k", accepted); !again.Outcome.Replayed {
			t.Errorf("cut off: %+v", again)
		}
	})
}

// TestTheLateOneWasFirst: queued at 06:58, another one accepted live at 07:02.
func TestTheLateOneWasFirst(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		cut, live := s.node("n3"), s.node("n1")
		defer cut.stop()
		defer live.stop()
		cut.setLink(false)
		at0658 := attendance.MillisOf(time.Now())
		cut.wantQueued(1, in, "queued")
		time.Sleep(4 * time.Minute)
		winner := live.wantDecided(1, in, "live", accepted)
		cut.setLink(true)
		cut.drained()
		e, tap := s.theTap(1, "queued")
		if e.Type != attendance.TapDuplicate || tap.Winner != winner.Outcome.Seq || tap.Delta != -240_000 {
			t.Errorf("the queued one: %s %+v", e.Type, tap)
		}
		err := s.state.View(func(tx *store.ReadTx) error {
			r, err := tx.Record(winner.Outcome.Seq)
			if err == nil && (r.FirstSeenAt != at0658 || r.At != at0658+240_000 || tx.Meta().Records != 1) {
				t.Errorf("the record: %+v, %d records", r, tx.Meta().Records)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		s.theTap(1, "live") // both are in the log
	})
}

func TestAgeOverRestarts(t *testing.T) {
	for _, reboot := range []bool{false, true} {
		t.Run(fmt.Sprintf("reboot %v", reboot), func(t *testing.T) {
			simulate(t, func(t *testing.T, s *school) {
				n := s.node("n1")
				n.setLink(false)
				received := attendance.MillisOf(time.Now())
				n.wantQueued(1, in, "k")
				time.Sleep(10 * time.Minute)
				if reboot {
					n.clock.reboot()
				}
				n = n.restart()
				defer func() { n.stop() }()
				time.Sleep(time.Minute)
				n.setLink(true)
				n.drained()
				if _, tap := s.theTap(1, "k"); tap.Claim != received || tap.WallClock != reboot || !tap.Recorded {
					t.Errorf("received at %d, decided as %+v", received, tap)
				}
			})
		})
	}
}

func TestLostAnswers(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1")
		defer n.stop()
		n.setLink(false)
		for i := range 8 {
			n.wantQueued(uint64(i%users+1), in, fmt.Sprint("k", i))
		}
		n.set(func(p *proc) { p.lose = 5 })
		n.setLink(true)
		n.drained()
		for i := range 8 {
			s.theTap(uint64(i%users+1), fmt.Sprint("k", i))
		}
	})
}

// TestDrainBounds: at most 64 at a time, of one user one, and in order.
func TestDrainBounds(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1")
		defer n.stop()
		n.setLink(false)
		const entries = 1_500
		var keys []string
		for i := range entries {
			// Half of them of people of their own, who are unknown: each becomes a review.
			user := uint64(i%users + 1)
			if i%2 == 0 {
				user = uint64(1_000 + i)
			}
			keys = append(keys, fmt.Sprint("k", i))
			n.wantQueued(user, in, keys[i])
		}
		n.setLink(true)
		n.drained()
		if n.most != mostInFlight || n.overlaps != 0 {
			t.Errorf("%d at a time, %d overlaps of one user", n.most, n.overlaps)
		}
		if len(n.proposed) != entries {
			t.Errorf("%d proposals for %d entries", len(n.proposed), entries)
		}
		place := map[string]int{}
		for i, k := range n.proposed {
			place[k] = i
		}
		for i := range entries {
			for j := i + 1; j < entries; j++ {
				sameUser := i%2 == 1 && j%2 == 1 && i%users == j%users
				if sameUser && place[keys[i]] > place[keys[j]] {
					t.Fatalf("%s overtook %s of the same user", keys[j], keys[i])
				}
			}
		}
		last := -1
		for i := 0; i < entries; i += 2 { // who waits for nobody goes in the order of the outbox
			if d := place[keys[i]] - last; d < -mostInFlight {
				t.Fatalf("%s is %d places late", keys[i], -d)
			}
			last = max(last, place[keys[i]])
		}
	})
}

func TestPoisonHoldsNobodyUp(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1")
		defer n.stop()
		n.setLink(false)
		poison := n.wantQueued(1, in, "poison")
		n.wantQueued(1, out, "behind")
		n.wantQueued(2, in, "other")
		n.set(func(p *proc) { p.invalid["poison"] = true })
		n.setLink(true)
		n.drained()
		s.theTap(1, "behind")
		s.theTap(2, "other")
		failed, err := n.outbox.Failed(0, 10)
		if err != nil || len(failed) != 1 || failed[0].N != poison.N || failed[0].Reason == "" {
			t.Fatalf("failed: %+v, %v", failed, err)
		}
		if got := s.audits("queue.poison"); !slices.Equal(got, []string{"n1 outbox 1"}) {
			t.Errorf("audit trail: %v", got)
		}
		// It is not cloned by a retry: it changes its state, and is decided in the end.
		n.set(func(p *proc) { p.invalid["poison"] = false })
		if found, err := n.queue.Retry(poison.N); !found || err != nil {
			t.Fatal(found, err)
		}
		n.drained()
		if _, tap := s.theTap(1, "poison"); tap.Claim != poison.Receipt.Wall {
			t.Errorf("decided as %+v", tap)
		}
	})
}

// TestPoisonWaitsForTheAuditTrail: nothing leaves the queue untold.
func TestPoisonWaitsForTheAuditTrail(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1")
		defer n.stop()
		n.setLink(false)
		n.wantQueued(1, in, "poison")
		n.set(func(p *proc) { p.invalid["poison"] = true; p.invalid["poison-"+n.file.Incarnation()+"-1"] = true })
		n.setLink(true)
		time.Sleep(5 * time.Second)
		if d := n.outbox.Depth(); d.Waiting != 1 || d.Failed != 0 {
			t.Fatalf("depth %+v", d)
		}
		n.set(func(p *proc) { delete(p.invalid, "poison-"+n.file.Incarnation()+"-1") })
		n.drained()
		if got := s.audits("queue.poison"); len(got) != 1 || n.outbox.Depth().Failed != 1 {
			t.Errorf("audit trail %v, depth %+v", got, n.outbox.Depth())
		}
	})
}

func TestRunEndsInTheMiddle(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1", func(c *Config) { c.Node = silent{procOf(c), nil} })
		n.setLink(false)
		for i := range 10 {
			n.wantQueued(uint64(i+1), in, "k")
		}
		n.setLink(true)
		time.Sleep(time.Second)
		begun := time.Now()
		n.stop()
		if took := time.Since(begun); took > time.Millisecond {
			t.Errorf("it took %s", took)
		}
		next := s.start("n1", filepath.Join(s.dir, "n1.db"), n.clock)
		defer next.stop()
		next.drained()
		for i := range 10 {
			s.theTap(uint64(i+1), "k")
		}
	})
}

// TestDrainRestsOnABrokenOutbox: without a disk nothing is proposed again and again.
func TestDrainRestsOnABrokenOutbox(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1", func(c *Config) { c.Outbox = brokenOutbox{procOf(c).outbox} })
		defer n.stop()
		n.setLink(false)
		n.wantQueued(1, in, "k")
		n.setLink(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(n.proposals()) != 0 {
			t.Errorf("proposed: %v", n.proposed)
		}
	})
}

type brokenOutbox struct{ *store.Outbox }

func (brokenOutbox) Usable() error { return store.ErrOutboxBroken }

// TestRewindLeavesFlightsAlone: what is in flight is not started a second time when
// other entries come back.
func TestRewindLeavesFlightsAlone(t *testing.T) {
	simulate(t, func(t *testing.T, s *school) {
		n := s.node("n1")
		defer n.stop()
		n.setLink(false)
		n.wantQueued(1, in, "a")
		n.wantQueued(2, in, "b")
		n.setLink(true)
		for len(n.proposals()) == 0 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		n.queue.rewind.Store(true)
		n.queue.wakeUp()
		n.drained()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(n.proposals()) != 2 {
			t.Errorf("proposed: %v", n.proposed)
		}
	})
}
