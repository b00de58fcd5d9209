package stream

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Code says why a connection was closed.
type Code uint16

// The codes. Those from 4000 on are this program's.
const (
	Normal      Code = 1000
	Unsupported Code = 1003 // a binary message
	Invalid     Code = 1007 // a message that is no JSON object with a t
	Policy      Code = 1008 // too many messages
	TooBig      Code = 1009 // a message above 8 KiB
	Internal    Code = 1011 // something cannot be read here; another node may serve
	GoingAway   Code = 4001 // this node is shutting down: go to another one
	Forbidden   Code = 4003 // the permission has ended: do not come back with it
	Slow        Code = 4008 // it was not read in time: resume
	Lost        Code = 4010 // this node does not have the position: go to another one
)

const (
	maxWrite = 256 << 10 // bytes from memory in one write, about
	maxOld   = 128       // events from the store in one write
	// goodbye is how long the other side may take to end a connection that was
	// closed here.
	goodbye = time.Second
	// leaderLag is by how much another node may show an event before the leader has
	// applied it, which is what Source.Current goes by.
	leaderLag = time.Second
)

const otherHistory = "the history is another one now"

// wire is the connection to a client. Only the flush writes to it.
type wire = net.Conn

// client is one connection: a cursor and what is to be sent beside the events.
//
// It has a goroutine that reads, listen. The flush, which writes, is started by a
// kick when none runs, and ends when there is nothing more to do.
type client struct {
	hub   *Hub
	user  uint64
	wire  wire
	raw   *rawWriter // nil where there is none
	sub   Subscriber
	run   func()        // flush
	since time.Duration // of the hub, when it came
	over  chan struct{} // closed when the flush has ended for good

	audience atomic.Pointer[Audience]
	recheck  atomic.Uint64 // the newest event that may have changed its rights

	// Written by the flush and read by whoever looks after it.
	passed  atomic.Uint64 // the last event that it had, or did not have to have
	told    atomic.Uint64 // the last event or mark that was sent
	marked  atomic.Int64  // when the last mark was sent
	pinged  atomic.Int64  // when the last ping was sent
	placed  atomic.Bool   // it has its place
	live    atomic.Bool   // it had caught up, to within MaxBehind
	writing atomic.Bool
	alive   atomic.Int64 // when the last pong came

	mu    sync.Mutex
	busy  bool // a flush runs
	again bool // it has to look once more
	ended bool // nothing will be written any more
	todo  todo

	// The flush's own.
	epoch string         // of the history in which it has its place
	next  uint64         // the event to go on with; 0 until it has its place
	seen  [topics]uint64 // versions of what it was shown

	// listen's own.
	quota time.Duration // until when its messages are used up
}

// todo is what to send beside the events.
type todo struct {
	mail [][]byte // frames
	mark bool
	ping bool
	pong []byte // the payload to answer; nil for no ping
	end  *farewell
	hang bool // without a word
}

type farewell struct {
	code   Code
	reason string
}

// kick has the flush look whether there is something to send. It never blocks.
func (c *client) kick() {
	c.mu.Lock()
	c.again = true
	start := !c.busy && !c.ended
	if start {
		c.busy = true
	}
	c.mu.Unlock()
	if start {
		c.hub.spawn(c.run)
	}
}

// ask notes something to send. A kick must follow.
func (c *client) ask(f func(*todo)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.todo)
}

// post notes a message, unless too many wait already. A kick must follow.
func (c *client) post(frame []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.todo.mail) >= maxMail {
		return false
	}
	c.todo.mail = append(c.todo.mail, frame)
	return true
}

// finish closes the connection. The first reason counts.
func (c *client) finish(code Code, reason string) {
	c.ask(func(t *todo) {
		if t.end == nil {
			t.end = &farewell{code, reason}
		}
	})
	c.kick()
}

// hangUp cuts the connection.
func (c *client) hangUp() {
	c.wire.Close() //nolint:errcheck // there is nothing more to be done with it
	c.ask(func(t *todo) { t.hang = true })
	c.kick()
}

// lookAfter is done to each connection at each tick.
func (c *client) lookAfter(now time.Duration, wall time.Time, head uint64) {
	l := &c.hub.cfg.Limits
	since := func(at *atomic.Int64) time.Duration { return now - time.Duration(at.Load()) }
	if !c.sub.Until.IsZero() && !wall.Before(c.sub.Until) {
		c.finish(Forbidden, "the session is over")
		return
	}
	if c.pinged.Load() > c.alive.Load() && since(&c.pinged) > l.PongWithin {
		c.hangUp()
		return
	}
	if c.writing.Load() && c.live.Load() && head > c.passed.Load()+l.MaxBehind {
		c.wire.SetWriteDeadline(time.Unix(1, 0)) //nolint:errcheck // then it is gone already
		return
	}
	due := !c.placed.Load() // it waits for this node to catch up
	if since(&c.pinged) >= l.PingEvery && now-c.since >= l.PingEvery {
		c.ask(func(t *todo) { t.ping = true })
		due = true
	}
	if due || c.filtered() && head > c.told.Load() && since(&c.marked) >= l.MarkEvery {
		c.kick()
	}
}

// filtered reports whether it gets some of the events only.
func (c *client) filtered() bool { return c.sub.Topics.Has(Attendance) && !c.audience.Load().All }

// flush sends until there is nothing more to send.
func (c *client) flush() {
	for c.step(false) {
	}
}

// poke is kick for the dispatcher, which comes by at many: what takes no time is
// done at once, by its own goroutine. A thousand goroutines that all want to run
// would hold up whoever waits for the answer to a check-in.
func (c *client) poke() {
	c.mu.Lock()
	c.again = true
	start := !c.busy && !c.ended
	if start {
		c.busy = true
	}
	c.mu.Unlock()
	switch {
	case !start:
	case c.easy():
		for c.step(true) {
		}
	default:
		c.hub.spawn(c.run)
	}
}

// easy reports whether what is next needs no look into the store. Only the flush
// may ask.
func (c *client) easy() bool {
	return c.next != 0 && c.recheck.Load() <= c.audience.Load().AsOf && c.hub.log.covers(c.epoch, c.next)
}

// cuts saves garbage.
var cuts = sync.Pool{New: func() any { return new(cut) }}

const keptOwn = 4 << 10

// done gives the cut back.
func (c *cut) done() {
	clear(c.bufs[:cap(c.bufs)])
	if *c = (cut{bufs: c.bufs[:0], own: c.own[:0]}); cap(c.own) > keptOwn {
		c.own = nil
	}
	cuts.Put(c)
}

// step sends once what there is and reports whether to look again. With quick it
// never waits: what cannot be written at once is left to a goroutine, which goes on.
func (c *client) step(quick bool) bool {
	c.mu.Lock()
	if !c.again || c.ended {
		c.busy = false
		c.mu.Unlock()
		return false
	}
	c.again = false
	t := c.todo
	c.todo = todo{}
	c.mu.Unlock()
	if t.hang {
		return c.done()
	}
	out := cuts.Get().(*cut)
	if t.end == nil {
		t.end = c.compose(out, &t)
	}
	switch {
	case t.end != nil && quick:
		out.done()
		c.hub.spawn(func() { c.leave(*t.end) })
		return false
	case t.end != nil:
		out.done()
		return c.leave(*t.end)
	case !quick:
		return c.write(out, 0)
	}
	n := c.try(out.bufs)
	if n < out.bytes {
		c.hub.spawn(func() {
			if c.write(out, n) {
				c.flush()
			}
		})
		return false
	}
	c.advance(out)
	out.done()
	return true
}

// write sends a cut of which some bytes were sent and reports whether to look
// again.
func (c *client) write(out *cut, sent int) bool {
	defer out.done()
	rest, err := c.send(out.bufs, sent)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return c.tooSlow(rest)
	case err != nil:
		return c.done()
	}
	c.advance(out)
	return true
}

// compose puts together what goes out next, or says why the connection ends.
func (c *client) compose(out *cut, t *todo) *farewell {
	if c.next == 0 {
		placed, end := c.place(out)
		if end != nil {
			return end
		}
		if !placed {
			c.ask(func(later *todo) { later.mail, later.mark = append(t.mail, later.mail...), later.mark || t.mark })
			c.control(out, t)
			return nil
		}
	}
	out.epoch, out.next = c.epoch, c.next
	if epoch, _ := c.hub.log.at(); epoch != c.epoch {
		return &farewell{Lost, otherHistory}
	}
	if end := c.refresh(out); end != nil {
		return end
	}
	if end := c.events(out); end != nil {
		return end
	}
	c.mark(out, t.mark)
	c.shown(out)
	for _, frame := range t.mail {
		out.add(frame)
	}
	c.control(out, t)
	return nil
}

// place finds where the connection begins and greets. It reports false while this
// node is behind the position.
func (c *client) place(out *cut) (bool, *farewell) {
	h, p := c.hub, c.sub.Position
	epoch, head := h.log.at()
	seq, reset := head, ""
	switch {
	case p == nil:
	case p.Epoch != epoch:
		reset = "epoch"
	case p.After <= head:
		now, err := h.history(h.life, p.After, 0, nil)
		switch {
		case err != nil:
			return false, c.unreadable(err)
		case now.Epoch != epoch:
			return false, &farewell{Lost, otherHistory}
		case p.After+1 < now.Oldest:
			reset = "pruned"
		default:
			seq = p.After
		}
	case h.now()-c.since < h.cfg.Limits.Wait:
		return false, nil
	case h.cfg.Source.Current(h.began.Add(c.since + leaderLag)):
		// Whatever anybody had been shown before this connection is in the state by now.
		// It may not be in the memory yet, as after a snapshot.
		now, err := h.history(h.life, head, 0, nil)
		switch {
		case err != nil:
			return false, c.unreadable(err)
		case now.Epoch != epoch, p.After <= now.Newest:
			return false, nil
		}
		reset = "future"
	default:
		h.cfg.Observe.Resumed("behind")
		return false, &farewell{Lost, "this node has not caught up"}
	}
	if p != nil {
		result := reset
		if reset == "" {
			result = "ok"
		}
		h.cfg.Observe.Resumed(result)
	}
	out.text(hello(h.cfg.Node, epoch, seq, reset))
	c.epoch, c.next = epoch, seq+1
	c.passed.Store(seq)
	c.told.Store(seq)
	c.placed.Store(true)
	c.marked.Store(int64(h.now()))
	h.greeted(c)
	return true, nil
}

func hello(node, epoch string, seq uint64, reset string) []byte {
	b := []byte(`{"t":"hello","node":`)
	b = append(appendString(b, node), `,"epoch":`...)
	b = append(appendString(b, epoch), `,"seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	if reset == "" {
		return append(b, `,"resume":"ok"}`...)
	}
	b = append(b, `,"resume":"reset","reason":"`...)
	return append(append(b, reset...), `"}`...)
}

// refresh looks rights up again, if an event may have changed them.
func (c *client) refresh(out *cut) *farewell {
	due, have := c.recheck.Load(), c.audience.Load()
	if due <= have.AsOf && have.Epoch == c.epoch {
		return nil
	}
	fresh, err := c.sub.Recheck(c.hub.life)
	switch {
	case errors.Is(err, ErrForbidden):
		return &farewell{Forbidden, "the permission has ended"}
	case err != nil:
		return c.unreadable(err)
	case fresh.Epoch != c.epoch:
		return &farewell{Lost, otherHistory}
	case fresh.AsOf < due:
		return c.unreadable(fmt.Errorf("rights are as of event %d, and %d may have changed them", fresh.AsOf, due))
	case fresh.All != have.All, (fresh.People == nil) != (have.People == nil):
		return &farewell{Forbidden, "the role has changed"}
	}
	c.audience.Store(&fresh)
	if fresh.sameAs(have) {
		return nil
	}
	c.seen = [topics]uint64{}
	if c.sub.Topics.Has(Attendance) {
		out.text(numbered("scope", c.next-1))
	}
	return nil
}

// unreadable is said when this node cannot serve.
func (c *client) unreadable(err error) *farewell {
	if c.hub.life.Err() != nil {
		return &farewell{GoingAway, "the node is shutting down"}
	}
	c.hub.cfg.Log.Warn("a stream cannot go on", "user", c.user, "error", err)
	return &farewell{Internal, "this node cannot serve it now"}
}

// events adds what follows the cursor: from memory, or from the store as long as
// it is older.
func (c *client) events(out *cut) *farewell {
	h, a := c.hub, c.audience.Load()
	if !c.sub.Topics.Has(Attendance) {
		_, head := h.log.at()
		out.next = head + 1
		return nil
	}
	if h.log.gather(out, a, h.maxWrite) {
		if _, head := h.log.at(); head < out.next+h.cfg.Limits.MaxBehind {
			c.live.Store(true)
		}
		return nil
	}
	begin, from, dense := len(out.own), out.next, true
	now, err := h.history(h.life, from-1, h.maxOld, func(e Event) {
		if dense = dense && e.Seq == out.next; !dense {
			return
		}
		out.next++
		if a.Sees(e.User) {
			out.own = appendFrame(out.own, textFrame, e.Text)
			out.took(e.Seq, -1)
		}
	})
	switch {
	case err != nil:
		return c.unreadable(err)
	case now.Epoch != c.epoch:
		return &farewell{Lost, otherHistory}
	case now.Oldest > from:
		return &farewell{Lost, "the history up to there is gone"}
	case !dense || out.next == from:
		return c.unreadable(fmt.Errorf("the store has a gap after event %d", out.next-1))
	}
	out.add(out.own[begin:])
	return nil
}

// mark adds a mark: to a filtered subscriber now and then, to everybody who asks.
func (c *client) mark(out *cut, asked bool) {
	now := c.hub.now()
	pos := out.next - 1
	due := c.filtered() && pos > max(c.told.Load(), out.last) &&
		now-time.Duration(c.marked.Load()) >= c.hub.cfg.Limits.MarkEvery
	if asked || due {
		out.text(numbered("mark", pos))
		out.last = pos
		c.marked.Store(int64(now))
	}
}

// numbered gives {"t":name,"seq":n}.
func numbered(name string, n uint64) []byte {
	b := append([]byte(`{"t":"`), name...)
	b = strconv.AppendUint(append(b, `","seq":`...), n, 10)
	return append(b, '}')
}

// shown adds what topics show that is new to this client.
func (c *client) shown(out *cut) {
	for t := range topics {
		if !c.sub.Topics.Has(t) || c.hub.versions[t].Load() == c.seen[t] {
			continue
		}
		s := c.hub.state(t)
		if c.seen[t] = s.version; s.view == nil {
			continue
		}
		if a := c.audience.Load(); a.All {
			out.add(s.whole)
		} else {
			out.add(s.view(a))
		}
	}
}

// text adds a frame of this client alone.
func (c *cut) text(text []byte) { c.add(appendFrame(nil, textFrame, text)) }

// control adds what the protocol wants.
func (c *client) control(out *cut, t *todo) {
	if t.pong != nil {
		out.add(appendFrame(nil, pongFrame, t.pong))
	}
	if t.ping {
		out.add(appendFrame(nil, pingFrame, nil))
		c.pinged.Store(int64(c.hub.now()))
	}
}

// send writes whole frames, but for the first bytes, which were sent. After a
// deadline rest is what is missing of the frame that was cut through.
func (c *client) send(bufs net.Buffers, sent int) (rest []byte, err error) {
	going := make(net.Buffers, 0, len(bufs)) // WriteTo eats it
	skip := sent
	for _, b := range bufs {
		n := min(skip, len(b))
		if skip -= n; n < len(b) {
			going = append(going, b[n:])
		}
	}
	if len(going) == 0 {
		return nil, nil
	}
	c.writing.Store(true)
	defer c.writing.Store(false)
	if err := c.wire.SetWriteDeadline(time.Now().Add(c.hub.cfg.Limits.Write)); err != nil {
		return nil, err
	}
	n, err := going.WriteTo(c.wire)
	if err != nil {
		return remainder(bufs, int64(sent)+n), err
	}
	return nil, c.wire.SetWriteDeadline(time.Time{}) // for try, which knows none
}

// try writes what can be written at once and gives how much that was.
func (c *client) try(bufs net.Buffers) (sent int) {
	if c.raw == nil {
		return 0
	}
	for _, b := range bufs {
		n := c.raw.write(b)
		if sent += n; n < len(b) {
			break
		}
	}
	return sent
}

// remainder gives what is missing of a frame after n bytes; each of the buffers
// begins with a frame and ends with one.
func remainder(bufs net.Buffers, n int64) []byte {
	for _, b := range bufs {
		if n < int64(len(b)) {
			return b[n:boundary(b, int(n))]
		}
		n -= int64(len(b))
	}
	return nil
}

// advance notes what was sent.
func (c *client) advance(out *cut) {
	if c.next == 0 {
		return // only control frames, so far
	}
	c.next = out.next
	c.passed.Store(out.next - 1)
	c.told.Store(max(c.told.Load(), out.last))
	if out.events > 0 {
		age := time.Duration(-1)
		if out.at >= c.since {
			age = c.hub.now() - out.at
		}
		c.hub.cfg.Observe.Sent(out.events, age)
	}
	// There may be more than fitted in.
	if _, head := c.hub.log.at(); c.next <= head {
		c.mu.Lock()
		c.again = true
		c.mu.Unlock()
	}
}

// leave says goodbye.
func (c *client) leave(f farewell) bool {
	c.hub.cfg.Observe.Closed(f.code)
	return c.say(appendClose(nil, f.code, f.reason))
}

// tooSlow says so to somebody who did not read. It arrives if they read again
// soon; if not, they find the connection cut.
func (c *client) tooSlow(rest []byte) bool {
	c.hub.cfg.Observe.Closed(Slow)
	return c.say(appendClose(append([]byte(nil), rest...), Slow, "not read in time"))
}

// say writes the last words and lets the other side end the connection. listen
// closes it.
func (c *client) say(last []byte) bool {
	if _, err := c.send(net.Buffers{last}, 0); err != nil {
		return c.done()
	}
	if half, ok := c.wire.(interface{ CloseWrite() error }); ok {
		half.CloseWrite() //nolint:errcheck // it is over in any case
	}
	c.wire.SetReadDeadline(time.Now().Add(goodbye)) //nolint:errcheck // as above
	return c.quit()
}

// done ends the flush of a connection that is broken.
func (c *client) done() bool {
	c.wire.Close() //nolint:errcheck // it is broken
	return c.quit()
}

// quit ends the flush for good.
func (c *client) quit() bool {
	c.mu.Lock()
	c.ended, c.busy = true, false
	c.mu.Unlock()
	close(c.over)
	return false
}
