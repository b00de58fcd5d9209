package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestEverythingInOrder(t *testing.T) {
	s, clock := newSource(), newClock()
	for range 3 {
		s.add(7, Rights{})
	}
	h := still(t, s, clock, nil)
	_, w := sit(t, h, 1, admin(1))
	expect(t, w, "hello 3 ok")
	commit(h, s, 7, Rights{})
	commit(h, s, 0, Rights{})
	expect(t, w, "event 4", "event 5")
	// Several commits that are seen at once go out in one write.
	s.add(8, Rights{})
	s.add(9, Rights{})
	h.round()
	expect(t, w, "event 6", "event 7")
}

func TestResume(t *testing.T) {
	s, clock := newSource(), newClock()
	for i := range 3000 {
		s.add(uint64(i%3), Rights{})
	}
	s.set(func() { s.oldest = 11 })
	h := still(t, s, clock, nil)
	if first := h.log.chunks[0].first; first < 1000 {
		t.Fatalf("memory begins at %d: the test wants older events", first)
	}
	for name, tc := range map[string]struct {
		epoch  string
		after  uint64
		hello  string
		events uint64 // how many follow
	}{
		"at the head":       {"c7f2-1", 3000, "hello 3000 ok", 0},
		"from memory":       {"c7f2-1", 2990, "hello 2990 ok", 10},
		"from the store":    {"c7f2-1", 500, "hello 500 ok", 2500},
		"the oldest there":  {"c7f2-1", 10, "hello 10 ok", 2990},
		"older than that":   {"c7f2-1", 9, "hello 3000 resetpruned", 0},
		"from the start":    {"c7f2-1", 0, "hello 3000 resetpruned", 0},
		"of another epoch":  {"c7f2-2", 2990, "hello 3000 resetepoch", 0},
		"of another system": {"", 2990, "hello 3000 resetepoch", 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, w := sit(t, h, 1, admin(1).at(tc.epoch, tc.after))
			defer h.detach(c)
			got := w.take(t)
			if first := words(got[:1])[0]; first != tc.hello {
				t.Fatalf("%s, want %s", first, tc.hello)
			}
			for i, f := range got[1:] {
				if f.T != "event" || f.Seq != tc.after+uint64(i)+1 {
					t.Fatalf("frame %d is %s %d", i, f.T, f.Seq)
				}
			}
			if n := uint64(len(got) - 1); n != tc.events {
				t.Fatalf("%d events, want %d", n, tc.events)
			}
		})
	}
}

func TestPositionAheadOfTheNode(t *testing.T) {
	results := map[string]int{}
	s, clock := newSource(), newClock()
	s.add(7, Rights{})
	h := still(t, s, clock, func(c *Config) { c.Observe = observed{resumed: func(r string) { results[r]++ }} })
	// It catches up in time.
	_, w := sit(t, h, 1, admin(1).at("c7f2-1", 3))
	expect(t, w)
	commit(h, s, 7, Rights{})
	expect(t, w)
	h.Publish(Progress, []uint64{1}, []byte(`1`)) // not subscribed
	s.add(7, Rights{})
	s.add(7, Rights{})
	h.round()
	expect(t, w, "hello 3 ok", "event 4")
	// It does not.
	_, w = sit(t, h, 1, admin(1).at("c7f2-1", 9).with(Progress))
	h.Publish(Progress, []uint64{1}, []byte(`1`))
	clock.advance(1900 * time.Millisecond)
	h.tick()
	expect(t, w)
	clock.advance(200 * time.Millisecond)
	h.tick()
	expect(t, w, "close 4010")
	// It knows that there is nothing to catch up with.
	s.set(func() { s.current = true })
	_, w = sit(t, h, 1, admin(1).at("c7f2-1", 9).with(Progress))
	h.Publish(Progress, []uint64{1}, []byte(`1`))
	clock.advance(2 * time.Second)
	h.tick()
	expect(t, w, "hello 4 resetfuture", "progress 1")
	// It is in the state, and on its way from there.
	s.add(7, Rights{})
	s.add(7, Rights{})
	_, w = sit(t, h, 2, admin(2).at("c7f2-1", 6))
	clock.advance(2 * time.Second)
	h.tick()
	expect(t, w)
	h.round()
	expect(t, w, "hello 6 ok")
	if fmt.Sprint(results) != "map[behind:1 future:1 ok:2]" {
		t.Errorf("resumes: %v", results)
	}
}

type observed struct {
	resumed func(string)
	closed  func(Code)
	sent    func(int, time.Duration)
}

func (o observed) Resumed(r string) {
	if o.resumed != nil {
		o.resumed(r)
	}
}

func (o observed) Closed(c Code) {
	if o.closed != nil {
		o.closed(c)
	}
}

func (o observed) Sent(n int, age time.Duration) {
	if o.sent != nil {
		o.sent(n, age)
	}
}

func TestFilterAndMarks(t *testing.T) {
	s, clock := newSource(), newClock()
	h := still(t, s, clock, nil)
	_, w := sit(t, h, 3, student(3))
	expect(t, w, "hello 0 ok")
	commit(h, s, 4, Rights{})
	commit(h, s, 0, Rights{})
	commit(h, s, 3, Rights{})
	commit(h, s, 4, Rights{})
	expect(t, w, "event 3")
	h.tick()
	expect(t, w) // too early for a mark
	clock.advance(time.Second)
	h.tick()
	expect(t, w, "mark 4")
	h.tick()
	expect(t, w)
	// After a pause, the mark comes with the next look; then a second passes.
	clock.advance(time.Minute)
	commit(h, s, 4, Rights{})
	h.tick()
	got := words(w.take(t))
	if fmt.Sprint(got) != "[mark 5 ping]" && fmt.Sprint(got) != "[ping mark 5]" {
		t.Fatalf("got %q", got)
	}
	commit(h, s, 4, Rights{})
	h.tick()
	expect(t, w)
	clock.advance(time.Second)
	h.tick()
	expect(t, w, "mark 6")
	// Its own event needs no mark beside it.
	clock.advance(time.Second)
	commit(h, s, 3, Rights{})
	expect(t, w, "event 7")
	h.tick()
	expect(t, w)
}

func TestFilteredResumeFromTheStore(t *testing.T) {
	s, clock := newSource(), newClock()
	for i := range 5000 {
		s.add(uint64(i%1000), Rights{})
	}
	h := still(t, s, clock, nil)
	_, w := sit(t, h, 3, student(3).at("c7f2-1", 0))
	expect(t, w, "hello 0 ok", "event 4", "event 1004", "event 2004", "event 3004", "event 4004")
	clock.advance(time.Second)
	h.tick()
	expect(t, w, "mark 5000")
}

// rights is somebody whose rights are looked up.
type rights struct {
	source *fakeSource
	people func() map[uint64]struct{}
	err    error
	looked int
}

func (r *rights) recheck(context.Context) (Audience, error) {
	r.looked++
	return Audience{Self: 2, People: r.people(), Epoch: r.source.epoch, AsOf: r.source.applied}, r.err
}

func set(ids ...uint64) map[uint64]struct{} {
	m := make(map[uint64]struct{})
	for _, id := range ids {
		m[id] = struct{}{}
	}
	return m
}

func TestGroupsChange(t *testing.T) {
	s, clock := newSource(), newClock()
	h := still(t, s, clock, nil)
	people := set(3)
	r := &rights{source: s, people: func() map[uint64]struct{} { return people }}
	sub := Subscriber{Topics: Topics(0).With(Attendance), Audience: Audience{Self: 2, People: people, Epoch: epochNow}, Recheck: r.recheck}
	_, w := sit(t, h, 2, sub)
	commit(h, s, 3, Rights{})
	commit(h, s, 4, Rights{})
	expect(t, w, "hello 0 ok", "event 1")
	if r.looked != 0 {
		t.Error("rights were looked up for nothing")
	}
	// 4 comes, and an event about them in the same commit.
	people = set(3, 4)
	s.add(0, Rights{Groups: true})
	s.add(4, Rights{})
	h.round()
	// scope says up to where the old rights counted; 4's event before the change is
	// after that.
	expect(t, w, "scope 1", "event 2", "event 4")
	// A change of some other group changes nothing here.
	s.add(0, Rights{Groups: true})
	h.round()
	clock.advance(time.Second)
	h.tick()
	expect(t, w, "mark 5")
	// 3 leaves: nothing about them from then on.
	people = set(4)
	s.add(0, Rights{Groups: true})
	s.add(3, Rights{})
	s.add(4, Rights{})
	h.round()
	expect(t, w, "scope 5", "event 8")
	if r.looked != 3 {
		t.Errorf("rights were looked up %d times", r.looked)
	}
}

func TestRightsEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		rights Rights
		err    error
		want   string
	}{
		"of the person":       {Rights{Users: []uint64{2}}, ErrForbidden, "close 4003"},
		"of everybody":        {Rights{Everybody: true}, ErrForbidden, "close 4003"},
		"cannot be looked up": {Rights{Users: []uint64{2}}, errors.New("disk"), "close 1011"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource()
			h := still(t, s, newClock(), nil)
			r := &rights{source: s, people: func() map[uint64]struct{} { return set(3) }, err: tc.err}
			sub := Subscriber{Topics: Topics(0).With(Attendance), Audience: Audience{Self: 2, People: set(3), Epoch: epochNow}, Recheck: r.recheck}
			c, w := sit(t, h, 2, sub)
			expect(t, w, "hello 0 ok")
			commit(h, s, 3, Rights{Users: []uint64{9}})
			expect(t, w, "event 1")
			s.add(0, tc.rights)
			s.add(3, Rights{})
			h.round()
			expect(t, w, tc.want)
			select {
			case <-c.over:
			default:
				t.Error("the connection goes on")
			}
			commit(h, s, 3, Rights{})
			expect(t, w)
		})
	}
}

// Rights that change between the look at the door and the connection count.
func TestRightsChangeWhileConnecting(t *testing.T) {
	s := newSource()
	h := still(t, s, newClock(), nil)
	r := &rights{source: s, people: func() map[uint64]struct{} { return nil }, err: ErrForbidden}
	sub := student(2)
	sub.Audience.AsOf, sub.Recheck = 0, r.recheck
	commit(h, s, 0, Rights{Users: []uint64{2}})
	_, w := sit(t, h, 2, sub)
	expect(t, w, "close 4003")
}

func TestSessionEnds(t *testing.T) {
	s, clock := newSource(), newClock()
	h := still(t, s, clock, nil)
	sub := student(3)
	sub.Until = clock.Now().Add(time.Second)
	_, w := sit(t, h, 3, sub)
	h.tick()
	expect(t, w, "hello 0 ok")
	clock.advance(time.Second)
	h.tick()
	expect(t, w, "close 4003")
}

func TestSlow(t *testing.T) {
	s := newSource()
	var codes []Code
	h := still(t, s, newClock(), func(c *Config) { c.Observe = observed{closed: func(c Code) { codes = append(codes, c) }} })
	// Nobody reads at all: it is cut.
	c, w := sit(t, h, 2, admin(2))
	w.take(t)
	w.room = 0
	commit(h, s, 7, Rights{})
	<-c.over
	if !w.closed || fmt.Sprint(codes) != "[4008]" {
		t.Errorf("closed %v, codes %v", w.closed, codes)
	}
}

// Who resumes from far behind is not slow as long as it catches up.
func TestCatchingUpIsNotSlow(t *testing.T) {
	const events, most = 20, 5
	s := newSource()
	h := still(t, s, newClock(), func(c *Config) { c.Limits.MaxBehind = most })
	for range events {
		commit(h, s, 7, Rights{})
	}
	h.maxWrite, h.spawn = 1, func(func()) {}
	c, _ := sit(t, h, 2, admin(2).at(epochNow, 0))
	steps := 0
	for c.step(false) {
		steps++
		if passed := c.passed.Load(); c.live.Load() != (events-passed <= most) {
			t.Errorf("after event %d of %d: live %v", passed, events, c.live.Load())
		}
	}
	if steps < events || !c.live.Load() {
		t.Errorf("%d steps, live %v", steps, c.live.Load())
	}
}

func TestLastWords(t *testing.T) {
	s := newSource()
	h := still(t, s, newClock(), nil)
	_, w := sit(t, h, 1, admin(1))
	expect(t, w, "hello 0 ok")
	w2 := &stubborn{fakeWire: w}
	for c := range h.clients {
		c.wire = w2
	}
	for range 5 {
		s.add(7, Rights{})
	}
	h.round()
	// 60 bytes went out before the deadline: the second event is completed, the
	// others are not begun.
	expect(t, w, "event 1", "event 2", "close 4008")
	if !w.halved || w.closed {
		t.Error("the other side cannot end the connection in peace")
	}
}

// stubborn stops in the middle of the first write.
type stubborn struct {
	*fakeWire
	failed bool
}

func (w *stubborn) Write(b []byte) (int, error) {
	if !w.failed {
		w.failed = true
		w.room = 60
		n, err := w.fakeWire.Write(b)
		w.room = -1
		return n, err
	}
	return w.fakeWire.Write(b)
}

func TestPublish(t *testing.T) {
	s := newSource()
	h := still(t, s, newClock(), nil)
	h.Publish(Queue, nil, []byte(`{"depth":1}`))
	_, both := sit(t, h, 1, admin(1).with(Queue, Pending))
	_, none := sit(t, h, 2, admin(2))
	_, mine := sit(t, h, 3, student(3).with(Pending))
	expect(t, both, "hello 0 ok", `queue {"depth":1}`)
	expect(t, none, "hello 0 ok")
	expect(t, mine, "hello 0 ok")
	h.Publish(Queue, nil, []byte(`{"depth":2}`))
	h.Publish(Pending, []uint64{3, 9}, []byte(`{"key":"a"}`))
	h.Publish(Pending, []uint64{}, []byte(`{"key":"b"}`))
	expect(t, both, `queue {"depth":2}`)
	expect(t, mine, `pending {"key":"a"}`)
	expect(t, none)
	if !h.Wants(Pending) || h.Wants(Cluster) {
		t.Error("Wants is wrong")
	}
	h.Show(Queue, nil)
	_, late := sit(t, h, 4, admin(4).with(Queue))
	expect(t, late, "hello 0 ok")
	if got := h.People(); len(got) != 4 || got[3] != 1 || h.Connections() != 4 {
		t.Errorf("people: %v", got)
	}
}

func TestShowByAudience(t *testing.T) {
	s := newSource()
	h := still(t, s, newClock(), nil)
	people := set(3)
	r := &rights{source: s, people: func() map[uint64]struct{} { return people }}
	_, all := sit(t, h, 1, admin(1).with(Presence))
	_, some := sit(t, h, 2, Subscriber{Topics: Topics(0).With(Presence), Audience: Audience{Self: 2, People: people, Epoch: epochNow}, Recheck: r.recheck})
	all.take(t)
	some.take(t)
	h.Show(Presence, func(a *Audience) []byte {
		seen := []string{}
		for id := uint64(1); id < 6; id++ {
			if a.Sees(id) {
				seen = append(seen, fmt.Sprint(id))
			}
		}
		return []byte("[" + strings.Join(seen, ",") + "]")
	})
	expect(t, all, "presence [1,2,3,4,5]")
	expect(t, some, "presence [2,3]")
	people = set(4)
	commit(h, s, 0, Rights{Groups: true})
	expect(t, some, "presence [2,4]")
	expect(t, all, "event 1")
}

// A state that is replaced before it is sent is not sent; a message always is.
func TestStatesReplaceMessagesAdd(t *testing.T) {
	s := newSource()
	h := still(t, s, newClock(), nil)
	c, w := sit(t, h, 1, admin(1).with(Queue, Pending))
	w.take(t)
	c.mu.Lock()
	c.busy = true // a write that takes long
	c.mu.Unlock()
	for i := range 3 {
		h.Publish(Queue, nil, fmt.Append(nil, i))
		h.Publish(Pending, []uint64{1}, fmt.Append(nil, i))
	}
	c.flush()
	expect(t, w, "queue 2", "pending 0", "pending 1", "pending 2")
	c.mu.Lock()
	c.busy = true
	c.mu.Unlock()
	for i := range maxMail + 1 {
		h.Publish(Pending, []uint64{1}, fmt.Append(nil, i))
	}
	c.flush()
	expect(t, w, "close 4008")
}

func TestTapped(t *testing.T) {
	s := newSource()
	var got []string
	h := still(t, s, newClock(), func(c *Config) {
		c.Tapped = func(seq, user uint64) { got = append(got, fmt.Sprintf("%d of %d", seq, user)) }
	})
	sit(t, h, 3, student(3).with(Progress))
	sit(t, h, 4, student(4))
	commit(h, s, 3, Rights{})
	commit(h, s, 4, Rights{})
	commit(h, s, 0, Rights{})
	commit(h, s, 3, Rights{})
	if fmt.Sprint(got) != "[1 of 3 4 of 3]" {
		t.Errorf("got %v", got)
	}
}

func TestSeats(t *testing.T) {
	s := newSource()
	h := still(t, s, newClock(), func(c *Config) { c.Limits = Limits{PerPerson: 2, PerNode: 3} })
	c, _ := sit(t, h, 1, admin(1))
	seat, err := h.Reserve(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Reserve(1); !errors.Is(err, ErrTooMany) {
		t.Errorf("a third of one person: %v", err)
	}
	if _, err := h.Reserve(2); err != nil {
		t.Errorf("another person: %v", err)
	}
	if _, err := h.Reserve(3); !errors.Is(err, ErrFull) {
		t.Errorf("a fourth: %v", err)
	}
	seat.Release()
	h.detach(c)
	h.detach(c) // does no harm
	for range 2 {
		if _, err := h.Reserve(1); err != nil {
			t.Error(err)
		}
	}
}

func TestPings(t *testing.T) {
	s, clock := newSource(), newClock()
	h := still(t, s, clock, nil)
	c, w := sit(t, h, 1, admin(1))
	expect(t, w, "hello 0 ok")
	clock.advance(24 * time.Second)
	h.tick()
	expect(t, w)
	clock.advance(time.Second)
	h.tick()
	expect(t, w, "ping")
	clock.advance(7 * time.Second)
	c.alive.Store(int64(h.now()))
	clock.advance(10 * time.Second)
	h.tick()
	expect(t, w)
	clock.advance(8 * time.Second)
	h.tick()
	expect(t, w, "ping")
	clock.advance(8*time.Second + time.Millisecond)
	h.tick()
	if <-c.over; !w.closed {
		t.Error("a dead client is kept")
	}
}

// A state that was replaced by a newer one, as a follower gets it that was away
// for long, has no gap for those who watch.
func TestStateIsReplaced(t *testing.T) {
	for name, tc := range map[string]struct {
		jump   int
		oldest uint64
		want   string
	}{
		"a little":               {100, 1, "event 102"},
		"more than memory holds": {leap + 100, 1, fmt.Sprintf("event %d", leap+102)},
		"and pruned":             {5000, 3000, "close 4010"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource()
			s.add(7, Rights{})
			h := still(t, s, newClock(), nil)
			sub := admin(1)
			sub.Audience.AsOf = 1
			sub.Recheck = func(context.Context) (Audience, error) {
				return Audience{All: true, Self: 1, Epoch: s.epoch, AsOf: s.applied}, nil
			}
			_, w := sit(t, h, 1, sub)
			expect(t, w, "hello 1 ok")
			for range tc.jump {
				s.add(7, Rights{})
			}
			s.set(func() { s.oldest = tc.oldest })
			h.round()
			commit(h, s, 7, Rights{})
			got := words(w.take(t))
			if len(got) == 0 || got[len(got)-1] != tc.want {
				t.Fatalf("%d frames, the last %q, want %q", len(got), got[max(0, len(got)-1):], tc.want)
			}
			for i, f := range got[:len(got)-1] {
				if f != fmt.Sprintf("event %d", i+2) {
					t.Fatalf("frame %d is %q", i, f)
				}
			}
		})
	}
}

// A restore puts another history in the place of this one: its numbers mean
// something else.
func TestAnotherHistory(t *testing.T) {
	s := newSource()
	for range 20 {
		s.add(7, Rights{})
	}
	h := still(t, s, newClock(), nil)
	r := &rights{source: s, people: func() map[uint64]struct{} { return nil }}
	_, all := sit(t, h, 1, admin(1))
	_, quiet := sit(t, h, 2, Subscriber{Topics: Topics(0).With(Cluster), Audience: Audience{Self: 2, Epoch: epochNow, AsOf: 20}, Recheck: r.recheck})
	expect(t, all, "hello 20 ok")
	expect(t, quiet, "hello 20 ok")
	s.set(func() { s.epoch, s.events, s.applied = "c7f2-2", s.events[:10], 10 })
	// Somebody who was let in by rights of the new history, before the hub knows it.
	early := Subscriber{Topics: Topics(0).With(Attendance), Audience: Audience{Self: 2, Epoch: "c7f2-2", AsOf: 10}, Recheck: r.recheck}
	_, w := sit(t, h, 2, early)
	expect(t, w, "close 4010")
	h.round()
	expect(t, all, "close 4010")
	expect(t, quiet, "close 4010")
	_, w = sit(t, h, 2, early.at(epochNow, 20))
	expect(t, w, "hello 10 resetepoch")
	// Rights that were looked up in the old one count for nothing.
	late := early
	late.Audience = Audience{Self: 2, Epoch: epochNow, AsOf: 20}
	looked := r.looked
	_, w = sit(t, h, 2, late)
	expect(t, w, "hello 10 ok")
	if r.looked != looked+1 {
		t.Error("rights were not looked up in the new history")
	}
	commit(h, s, 2, Rights{})
	expect(t, w, "event 11")
}

func TestSourceFails(t *testing.T) {
	s, clock := newSource(), newClock()
	h := still(t, s, clock, nil)
	_, w := sit(t, h, 1, admin(1))
	expect(t, w, "hello 0 ok")
	s.set(func() { s.err = errors.New("disk") })
	commit(h, s, 7, Rights{})
	expect(t, w)
	s.set(func() { s.err = nil })
	h.tick()
	<-h.wake // the tick has signalled
	h.round()
	expect(t, w, "event 1")
	s.set(func() { s.err = errors.New("disk") })
	if _, err := newHub(h.cfg); err == nil {
		t.Error("a hub without events to read")
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a hub without anything")
	}
}

// What is measured is the time from the commit to the end of the write.
func TestAge(t *testing.T) {
	s, clock := newSource(), newClock()
	var ages []time.Duration
	h := still(t, s, clock, func(c *Config) {
		c.Observe = observed{sent: func(_ int, age time.Duration) { ages = append(ages, age) }}
	})
	clock.advance(time.Second)
	_, w := sit(t, h, 1, admin(1))
	s.add(7, Rights{})
	h.Wake()
	clock.advance(5 * time.Millisecond)
	h.Wake()
	h.round()
	// Somebody who comes later gets it late, which says nothing.
	clock.advance(time.Second)
	sit(t, h, 1, admin(1).at("c7f2-1", 0))
	if fmt.Sprint(ages) != "[5ms -1ns]" {
		t.Errorf("ages %v", ages)
	}
	w.take(t)
}

func TestTopicWords(t *testing.T) {
	for topic := range topics {
		if got, ok := ParseTopic(topic.String()); !ok || got != topic {
			t.Errorf("%s", topic)
		}
	}
	if _, ok := ParseTopic("all"); ok {
		t.Error("all is a topic")
	}
}
