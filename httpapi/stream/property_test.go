package stream

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The property: whatever nodes a client is connected to, one after the other,
// however far behind they are, whatever they have pruned, and wherever writes stop,
// it gets every event that it may see once and in order, or is told otherwise.

// world is a cluster of nodes that share one history.
type streamWorld struct {
	t       *rapid.T
	clock   *fakeClock
	history []Event // what was decided
	// members gives, by seq, the group after each event: who was in it then.
	members []map[uint64]struct{}
	nodes   []*streamNode
	clients []*reader
}

// streamNode is one node: how far it is, and its hub.
type streamNode struct {
	w      *streamWorld
	source *fakeSource
	hub    *Hub
}

// reader is a client with its books.
type reader struct {
	w       *streamWorld
	kind    string // admin, teacher or student
	id      uint64
	node    *streamNode
	conn    *client
	wire    *fakeWire
	greeted bool
	placed  bool // pos means something
	pos     uint64
	got     int
	resets  int
}

const epochNow = "c7f2-1"

func (w *streamWorld) decide(user uint64, change bool) {
	seq := uint64(len(w.history)) + 1
	group := set()
	if seq > 1 {
		for id := range w.members[seq-2] {
			group[id] = struct{}{}
		}
	}
	var r Rights
	if change && user != 0 {
		r.Groups = true
		if _, in := group[user]; in {
			delete(group, user)
		} else {
			group[user] = struct{}{}
		}
		user = 0
	}
	w.members = append(w.members, group)
	w.history = append(w.history, newEvent(seq, user, r))
}

// apply brings a node up to a seq; its hub may notice later.
func (n *streamNode) apply(seq uint64, noticed bool) {
	n.source.set(func() { n.source.events, n.source.applied = n.w.history, seq })
	if noticed {
		n.hub.round()
	}
}

func (n *streamNode) start() {
	n.hub = still(n.w.t, n.source, n.w.clock, func(c *Config) { c.Limits.PerPerson = 100 })
	// A small memory, so that cursors leave it.
	n.hub.log.size, n.hub.log.most = 600, 3
	n.hub.maxWrite, n.hub.maxOld = 150, 4
}

// audience is what a reader may see as its node knows it.
func (r *reader) audience() Audience {
	a := Audience{Self: r.id, Epoch: epochNow, AsOf: r.node.source.applied}
	switch r.kind {
	case "admin":
		a.All = true
	case "teacher":
		a.People = set()
		if a.AsOf > 0 {
			a.People = r.w.members[a.AsOf-1]
		}
	}
	return a
}

func (r *reader) connect(n *streamNode, from *Position) {
	r.node, r.greeted = n, false
	if _, err := n.hub.Reserve(r.id); err != nil {
		r.w.t.Fatalf("reserve: %v", err)
	}
	r.wire = newWire()
	sub := Subscriber{
		Topics: Topics(0).With(Attendance), Position: from, Audience: r.audience(),
		Recheck: func(context.Context) (Audience, error) { return r.audience(), nil },
	}
	r.conn = n.hub.attach(r.id, r.wire, sub)
}

func (r *reader) disconnect() {
	if r.conn != nil {
		r.conn.hangUp()
		<-r.conn.over
		r.node.hub.detach(r.conn)
		r.conn = nil
	}
}

// position is from where it resumes.
func (r *reader) position() *Position {
	if !r.placed {
		return nil
	}
	return &Position{epochNow, r.pos}
}

// seen reports whether an event could be seen by rights of some moment from the
// event itself on; hidden whether it could be hidden.
func (r *reader) seen(seq uint64) (seen, hidden bool) {
	e := r.w.history[seq-1]
	switch r.kind {
	case "admin":
		return true, false
	case "student":
		return e.User == r.id, e.User != r.id
	}
	if e.User == r.id {
		return true, false
	}
	for _, group := range r.w.members[seq-1:] {
		_, in := group[e.User]
		seen, hidden = seen || in, hidden || !in
	}
	return seen, hidden
}

// passed checks that nothing between the position and a seq was left out.
func (r *reader) passed(to uint64) {
	for seq := r.pos + 1; seq < to; seq++ {
		if _, hidden := r.seen(seq); !hidden {
			r.w.t.Fatalf("%s %d: event %d was left out between %d and %d", r.kind, r.id, seq, r.pos, to)
		}
	}
}

// read takes what has come.
func (r *reader) read() {
	if r.conn == nil {
		return
	}
	t := r.w.t
	for _, f := range r.wire.take(t) {
		switch {
		case f.kind == closeFrame:
			if f.code != Slow && f.code != Lost {
				t.Fatalf("%s %d: closed with %d", r.kind, r.id, f.code)
			}
		case f.kind != textFrame:
		case f.T == "hello":
			if r.greeted {
				t.Fatalf("two hellos")
			}
			r.greeted = true
			r.hello(f)
		case !r.greeted:
			t.Fatalf("%s before hello", f.T)
		case f.T == "event":
			if f.Seq <= r.pos {
				t.Fatalf("%s %d: event %d after %d", r.kind, r.id, f.Seq, r.pos)
			}
			r.passed(f.Seq)
			if seen, _ := r.seen(f.Seq); !seen || f.UserID != r.w.history[f.Seq-1].User {
				t.Fatalf("%s %d: event %d is not theirs: %s", r.kind, r.id, f.Seq, f.text)
			}
			r.pos = f.Seq
			r.got++
		case f.T == "mark":
			if f.Seq < r.pos || f.Seq > r.node.source.applied {
				t.Fatalf("%s %d: mark %d at %d", r.kind, r.id, f.Seq, r.pos)
			}
			r.passed(f.Seq + 1)
			r.pos = f.Seq
		}
	}
}

func (r *reader) hello(f frame) {
	t := r.w.t
	from := r.position()
	switch {
	case from == nil && f.Resume != "ok", from != nil && f.Resume == "ok" && f.Seq != r.pos:
		t.Fatalf("hello %s at %d, from %v", f.text, r.pos, from)
	case f.Resume == "reset" && f.Reason != "pruned":
		t.Fatalf("hello %s, but nobody restored anything", f.text)
	case f.Resume == "reset" && r.pos+1 >= r.node.source.oldest:
		t.Fatalf("hello %s at %d, and the oldest event is %d", f.text, r.pos, r.node.source.oldest)
	}
	if f.Resume == "reset" {
		r.resets++
	}
	r.placed, r.pos = true, f.Seq
}

func TestSwitchingProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &streamWorld{t: t, clock: newClock()}
		for range 3 {
			n := &streamNode{w: w, source: newSource()}
			n.start()
			w.nodes = append(w.nodes, n)
		}
		for i, kind := range []string{"admin", "admin", "teacher", "student", "student"} {
			w.clients = append(w.clients, &reader{w: w, kind: kind, id: uint64(i) + 1})
		}
		node := func() *streamNode { return rapid.SampledFrom(w.nodes).Draw(t, "node") }
		client := func() *reader { return rapid.SampledFrom(w.clients).Draw(t, "client") }
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) {
				for _, r := range w.clients {
					r.read()
				}
			},
			"decide": func(t *rapid.T) {
				for range rapid.IntRange(1, 12).Draw(t, "events") {
					w.decide(rapid.Uint64Range(0, 7).Draw(t, "user"), rapid.IntRange(0, 5).Draw(t, "change") == 0)
				}
			},
			"apply": func(t *rapid.T) {
				n := node()
				n.apply(rapid.Uint64Range(n.source.applied, uint64(len(w.history))).Draw(t, "applied"), rapid.Bool().Draw(t, "noticed"))
			},
			"apply all": func(*rapid.T) { node().apply(uint64(len(w.history)), true) },
			"restart": func(*rapid.T) {
				n := node()
				for _, r := range w.clients {
					if r.node == n {
						r.read()
						r.disconnect()
					}
				}
				n.start()
			},
			"prune": func(t *rapid.T) {
				n := node()
				oldest := rapid.Uint64Range(n.source.oldest, n.source.applied+1).Draw(t, "oldest")
				n.source.set(func() { n.source.oldest = oldest })
			},
			"switch": func(*rapid.T) {
				r := client()
				r.read()
				r.disconnect()
				r.connect(node(), r.position())
			},
			"wait": func(t *rapid.T) {
				w.clock.advance(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond)
				for _, n := range w.nodes {
					n.hub.tick()
				}
			},
			"stall": func(t *rapid.T) {
				r := client()
				if r.conn != nil {
					r.wire.mu.Lock()
					r.wire.room = rapid.IntRange(0, 400).Draw(t, "bytes")
					r.wire.mu.Unlock()
				}
			},
			"ask": func(*rapid.T) {
				if r := client(); r.conn != nil {
					r.conn.ask(func(t *todo) { t.mark = true })
					r.conn.kick()
				}
			},
			"forget": func(*rapid.T) { // a new page
				r := client()
				r.read()
				r.disconnect()
				r.placed = false
				r.connect(node(), nil)
			},
		})
		// In the end everybody is at the head.
		for _, n := range w.nodes {
			n.apply(uint64(len(w.history)), true)
		}
		for _, r := range w.clients {
			r.read()
			r.disconnect()
			r.connect(node(), r.position())
		}
		for range 2 {
			w.clock.advance(2 * time.Second)
			for _, n := range w.nodes {
				n.hub.tick()
			}
		}
		for _, r := range w.clients {
			r.read()
			r.passed(uint64(len(w.history)) + 1)
			if r.kind == "admin" && r.pos != uint64(len(w.history)) {
				t.Fatalf("an admin ends at %d of %d", r.pos, len(w.history))
			}
			if r.pos != uint64(len(w.history)) {
				t.Fatalf("%s %d ends at %d of %d", r.kind, r.id, r.pos, len(w.history))
			}
		}
	})
}

// TestLogProperty compares what is gathered with a plain list.
func TestLogProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := frameLog{size: rapid.IntRange(50, 400).Draw(t, "size"), most: rapid.IntRange(1, 4).Draw(t, "chunks")}
		first := rapid.Uint64Range(1, 5).Draw(t, "first")
		l.reset(epochNow, first)
		var all []Event
		for i := range rapid.IntRange(0, 60).Draw(t, "events") {
			e := newEvent(first+uint64(i), rapid.Uint64Range(0, 3).Draw(t, "user"), Rights{})
			e.Text = append(e.Text, slices.Repeat([]byte{' '}, rapid.SampledFrom([]int{0, 1, 90, 300}).Draw(t, "more"))...)
			all = append(all, e)
			l.append(e, time.Duration(i))
		}
		if _, head := l.at(); head != first+uint64(len(all))-1 {
			t.Fatalf("head %d", head)
		}
		a := &Audience{Self: 1, People: set(2)}
		if rapid.Bool().Draw(t, "all") {
			a = &Audience{All: true}
		}
		most := rapid.IntRange(1, 2000).Draw(t, "most")
		from := rapid.Uint64Range(first, l.next).Draw(t, "from")
		c := &cut{epoch: epochNow, next: from}
		if !l.gather(c, a, most) {
			if c.next != from || len(c.bufs) > 0 {
				t.Fatalf("refused, and took %+v", c)
			}
			if len(l.chunks) > 0 && from >= l.chunks[0].first {
				t.Fatalf("event %d is in memory", from)
			}
			return
		}
		var got, want []byte
		for _, b := range c.bufs {
			got = append(got, b...)
			if boundary(b, len(b)) != len(b) {
				t.Fatalf("a piece does not end with a frame")
			}
		}
		n := 0
		for seq := from; seq < c.next; seq++ {
			if e := all[seq-first]; a.Sees(e.User) {
				want = appendFrame(want, textFrame, e.Text)
				n++
			}
		}
		if string(got) != string(want) || n != c.events || len(got) != c.bytes {
			t.Fatalf("%d events %q, want %d %q", c.events, got, n, want)
		}
		if c.next < l.next && c.bytes < most {
			t.Fatalf("stopped at %d of %d with %d bytes of %d", c.next, l.next, c.bytes, most)
		}
	})
}

func TestBoundary(t *testing.T) {
	var b []byte
	var ends []int
	for _, n := range []int{0, 125, 126, 1000, 65535, 65536, 3} {
		b = appendFrame(b, textFrame, make([]byte, n))
		ends = append(ends, len(b))
	}
	for n := range b {
		i, exact := slices.BinarySearch(ends, n)
		want := 0
		switch {
		case n == 0:
		case exact:
			want = n
		default:
			want = ends[i]
		}
		if got := boundary(b, n); got != want {
			t.Fatalf("after %d bytes the frame ends at %d, want %d", n, got, want)
		}
	}
	if got := fmt.Sprint(appendClose(nil, Slow, "x")); got != "[136 3 15 168 120]" {
		t.Errorf("close frame %s", got)
	}
}
