package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Event is one stored event as subscribers get it.
type Event struct {
	Seq  uint64
	Text []byte // the JSON of its frame
	// User is whom it is about: who has them in sight gets it. 0: only those get it
	// who see everything.
	User   uint64
	Rights Rights
}

// Source is the stored events of this node.
type Source interface {
	// Events calls f with the events after a seq, in order and without a gap, at
	// most limit of them, from one picture of the state, until f returns false. The
	// event's text is the caller's only until then.
	Events(ctx context.Context, after uint64, limit int, f func(Event) bool) (Picture, error)
	// Current reports whether everything is here that had been decided by a moment.
	Current(at time.Time) bool
}

// Picture says of which state events were read.
type Picture struct {
	Epoch  string // names the history; a position is worth nothing in another one
	Oldest uint64 // event that is there; Newest+1 when none is
	Newest uint64
}

// Clock is the source of time.
type Clock interface{ Now() time.Time }

// Observer is told what is worth measuring. It must not block.
type Observer interface {
	// Resumed: somebody asked to go on from a position; result is ok, epoch, pruned,
	// future or behind.
	Resumed(result string)
	// Closed: a connection was closed by this node.
	Closed(code Code)
	// Sent: events went out in one write; age is the time since the oldest of them
	// was applied, negative when it is older than the connection.
	Sent(events int, age time.Duration)
}

// Config is what a hub needs. Fields without "optional" are required.
type Config struct {
	Node   string // name of this node
	Source Source
	Clock  Clock
	Log    *slog.Logger
	// Observe is told what is worth measuring. Optional.
	Observe Observer
	// Tapped, where given, is called with each event about somebody who subscribes
	// to Progress here, in order. It must not block.
	Tapped func(seq, user uint64)
	Limits Limits
}

// Limits are bounds and intervals. Zero values stand for what is said here.
type Limits struct {
	PerPerson  int           // connections of one person to this node: 5
	PerNode    int           // connections to this node: 5 000
	PingEvery  time.Duration // 25 s
	PongWithin time.Duration // 8 s
	MarkEvery  time.Duration // the least between two unasked marks of a connection: 1 s
	Write      time.Duration // how long a write may take: 5 s
	MaxBehind  uint64        // events that somebody who had caught up may fall behind during a write: 8 192
	Wait       time.Duration // for a node that is behind the position of its client: 2 s
	Tick       time.Duration // how often all that is looked after: 250 ms
}

func (l *Limits) complete() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&l.PingEvery, 25 * time.Second}, {&l.PongWithin, 8 * time.Second}, {&l.MarkEvery, time.Second},
		{&l.Write, 5 * time.Second}, {&l.Wait, 2 * time.Second}, {&l.Tick, 250 * time.Millisecond},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if l.PerPerson == 0 {
		l.PerPerson = 5
	}
	if l.PerNode == 0 {
		l.PerNode = 5000
	}
	if l.MaxBehind == 0 {
		l.MaxBehind = 8192
	}
}

// Errors of Reserve and of Subscriber.Audience.
var (
	ErrClosing   = errors.New("the node is shutting down")
	ErrFull      = errors.New("this node serves as many connections as it may")
	ErrTooMany   = errors.New("this person has as many connections as one may have")
	ErrForbidden = errors.New("no longer allowed")
)

const (
	prefill   = 1024    // events that are in memory from the start
	batchSize = 256     // events read from the store in one transaction
	leap      = 1 << 14 // events behind the store from which on the memory begins anew
	// historians is how many connections may read from the store at a time.
	historians = 4
	maxMail    = 64 // messages that may wait for one connection
	minShare   = 64 // connections that are not worth another goroutine
	// longestRest bounds what the dispatcher's rest adds to a delay.
	longestRest = 10 * time.Millisecond
)

// Hub serves all connections of a node. Use New; all methods may be called
// concurrently.
type Hub struct {
	cfg   Config
	began time.Time
	log   frameLog

	// Tests change these before the first connection.
	spawn            func(func()) // go
	maxWrite, maxOld int
	workers          int

	woken atomic.Int64  // when the oldest commit was signalled that is not in the log; 0 for none
	wake  chan struct{} // holds one signal
	disk  chan struct{} // a place for each historian
	life  context.Context
	end   context.CancelFunc
	loops sync.WaitGroup

	mu      sync.Mutex
	closing bool
	empty   chan struct{} // closed when the last connection is gone, once closing
	seats   map[uint64]int
	seated  int
	clients map[*client]struct{}
	all     []*client // of attendance: those who see everything
	groups  []*client // those who are responsible for groups, whatever they subscribe to
	waiting map[*client]struct{}
	of      map[uint64][]*client // by person
	wanted  [topics]int
	states  [topics]state

	versions [topics]atomic.Uint64 // of states, to look at without the lock
	rights   uint64                // the newest event that may have changed anybody's rights
}

// state is what a topic shows now.
type state struct {
	version uint64
	view    func(*Audience) []byte
	whole   []byte // the frame for those who see everything
}

// New gives a hub that runs until Close. It reads the newest events.
func New(cfg Config) (*Hub, error) {
	h, err := newHub(cfg)
	if err != nil {
		return nil, err
	}
	h.loops.Go(h.dispatch)
	h.loops.Go(h.keep)
	return h, nil
}

// newHub is New without the loops.
func newHub(cfg Config) (*Hub, error) {
	if cfg.Node == "" || cfg.Source == nil || cfg.Clock == nil || cfg.Log == nil {
		return nil, errors.New("stream: Node, Source, Clock and Log are required")
	}
	cfg.Limits.complete()
	if cfg.Observe == nil {
		cfg.Observe = unobserved{}
	}
	h := &Hub{
		cfg: cfg, began: cfg.Clock.Now(), spawn: func(f func()) { go f() }, maxWrite: maxWrite, maxOld: maxOld,
		workers: max(1, runtime.GOMAXPROCS(0)/2),
		log:     frameLog{size: chunkBytes, most: maxChunks},
		wake:    make(chan struct{}, 1), disk: make(chan struct{}, historians), empty: make(chan struct{}),
		seats: make(map[uint64]int), clients: make(map[*client]struct{}), waiting: make(map[*client]struct{}),
		of: make(map[uint64][]*client),
	}
	h.life, h.end = context.WithCancel(context.Background())
	if _, err := cfg.Source.Events(h.life, 0, 0, nil); err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	h.round()
	return h, nil
}

type unobserved struct{}

func (unobserved) Resumed(string)          {}
func (unobserved) Closed(Code)             {}
func (unobserved) Sent(int, time.Duration) {}

// Limits gives what holds.
func (h *Hub) Limits() Limits { return h.cfg.Limits }

// now gives the time since the hub began.
func (h *Hub) now() time.Duration { return h.cfg.Clock.Now().Sub(h.began) }

// Wake says that something was committed. It never blocks.
func (h *Hub) Wake() {
	h.woken.CompareAndSwap(0, int64(max(1, h.now())))
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// dispatch brings what was committed to the log and wakes those whom it concerns.
// After a round it rests for as long as that took: with many clients it leaves half
// of the time to those who have something decided, and more goes out in one write.
func (h *Hub) dispatch() {
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-h.wake:
		case <-h.life.Done():
			return
		}
		begun := time.Now()
		h.round()
		rest.Reset(min(time.Since(begun), longestRest))
		select {
		case <-rest.C:
		case <-h.life.Done():
			return
		}
	}
}

// round reads everything that is new.
func (h *Hub) round() {
	for h.life.Err() == nil {
		// Anew for each batch: while one goes out there are commits.
		at := time.Duration(h.woken.Swap(0))
		if at == 0 {
			at = h.now()
		}
		epoch, head := h.log.at()
		var batch batch
		now, err := h.cfg.Source.Events(h.life, head, batchSize, batch.add)
		switch {
		case err != nil:
			// The next commit, or the next tick, tries again.
			h.cfg.Log.Warn("events cannot be read for the stream", "after", head, "error", err)
			return
		case now.Epoch != epoch:
			// Another history: nobody who is connected has a place in it.
			h.begin(now)
		case now.Newest <= head:
			return
		case now.Oldest > head+1, now.Newest-head > leap:
			// The state was replaced by a newer one. Cursors go on from the store.
			h.begin(now)
		case len(batch.events) == 0:
			h.cfg.Log.Error("the store says that there are events and gives none", "after", head, "newest", now.Newest)
			return
		default:
			h.publish(batch.events, at)
		}
	}
}

// begin has the memory begin anew, a little before the newest event, and everybody
// look where they are. Whose rights have changed is not known then.
func (h *Hub) begin(now Picture) {
	h.mu.Lock()
	if epoch, _ := h.log.at(); epoch != now.Epoch {
		h.rights = 0 // its numbers are of the other history
	}
	awake := h.changed(Rights{Everybody: true}, now.Newest, nil)
	h.log.reset(now.Epoch, max(now.Oldest, now.Newest+1-min(prefill, now.Newest)))
	h.mu.Unlock()
	for _, c := range awake {
		c.kick()
	}
}

// batch keeps events beyond the call.
type batch struct{ events []Event }

func (b *batch) add(e Event) bool {
	e.Text = append([]byte(nil), e.Text...)
	b.events = append(b.events, e)
	return true
}

// publish adds events to the log and wakes those whom they concern. Rights come
// first: nobody may find an event in the log and not know that it took rights
// away.
func (h *Hub) publish(events []Event, at time.Duration) {
	h.mu.Lock()
	var awake []*client // with repetitions, which cost little
	for _, e := range events {
		awake = h.changed(e.Rights, e.Seq, awake)
	}
	for _, e := range events {
		h.log.append(e, at)
	}
	awake = append(awake, h.all...)
	for c := range h.waiting {
		awake = append(awake, c)
	}
	var tapped []Event
	for _, e := range events {
		if e.User == 0 {
			continue
		}
		follows := false
		for _, c := range h.of[e.User] {
			follows = follows || c.sub.Topics.Has(Progress)
			if c.sub.Topics.Has(Attendance) && !c.audience.Load().All {
				awake = append(awake, c)
			}
		}
		if follows {
			tapped = append(tapped, e)
		}
		for _, c := range h.groups {
			if c.sub.Topics.Has(Attendance) && c.audience.Load().Sees(e.User) {
				awake = append(awake, c)
			}
		}
	}
	h.mu.Unlock()
	if h.cfg.Tapped != nil {
		for _, e := range tapped {
			h.cfg.Tapped(e.Seq, e.User)
		}
	}
	h.poke(awake)
}

// poke has connections look for what there is to send. The work is shared by half of
// the processors at most: the others are for those who have something decided.
func (h *Hub) poke(all []*client) {
	var wg sync.WaitGroup
	share := max(minShare, (len(all)+h.workers-1)/h.workers)
	for len(all) > share {
		part := all[:share]
		all = all[share:]
		wg.Go(func() {
			for _, c := range part {
				c.poke()
			}
		})
	}
	for _, c := range all {
		c.poke()
	}
	wg.Wait()
}

// changed has rights looked up again as of an event. Whom it concerns is added to
// awake; h.mu is held.
func (h *Hub) changed(r Rights, seq uint64, awake []*client) []*client {
	if !r.Everybody && !r.Groups && len(r.Users) == 0 {
		return awake
	}
	h.rights = max(h.rights, seq)
	look := func(c *client) {
		c.recheck.Store(max(c.recheck.Load(), seq))
		awake = append(awake, c)
	}
	if r.Everybody {
		for c := range h.clients {
			look(c)
		}
		return awake
	}
	if r.Groups {
		for _, c := range h.groups {
			look(c)
		}
	}
	for _, u := range r.Users {
		for _, c := range h.of[u] {
			look(c)
		}
	}
	return awake
}

// history reads events that are no longer in memory. No event after the head of
// the log is given: about those it is not known yet whose rights they change.
func (h *Hub) history(ctx context.Context, after uint64, limit int, f func(Event)) (Picture, error) {
	select {
	case h.disk <- struct{}{}:
		defer func() { <-h.disk }()
	case <-ctx.Done():
		return Picture{}, ctx.Err()
	}
	_, head := h.log.at()
	return h.cfg.Source.Events(ctx, after, limit, func(e Event) bool {
		if e.Seq > head {
			return false
		}
		f(e)
		return true
	})
}

// Wants reports whether anybody is subscribed to a topic here.
func (h *Hub) Wants(t Topic) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wanted[t] > 0
}

// People gives who is connected to this node, with how many connections.
func (h *Hub) People() map[uint64]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[uint64]int, len(h.of))
	for user, cs := range h.of {
		out[user] = len(cs)
	}
	return out
}

// Connections gives how many connections there are.
func (h *Hub) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients)
}

// Publish sends the JSON of a topic. With people it is a message: each of their
// connections that is subscribed gets it, once. Without (nil) it is the state of
// the topic for everybody who is subscribed, now or later; a newer one replaces it,
// so that somebody slow gets the newest only.
func (h *Hub) Publish(t Topic, to []uint64, data []byte) {
	frame := textOf(t.String(), data)
	if to == nil {
		h.show(t, frame, func(*Audience) []byte { return frame })
		return
	}
	var full, awake []*client
	h.mu.Lock()
	for _, user := range to {
		for _, c := range h.of[user] {
			if !c.sub.Topics.Has(t) {
				continue
			}
			if c.post(frame) {
				awake = append(awake, c)
			} else {
				full = append(full, c)
			}
		}
	}
	h.mu.Unlock()
	for _, c := range awake {
		c.kick()
	}
	for _, c := range full {
		c.finish(Slow, "messages are not read")
	}
}

// Show is the state of a topic of which not everybody may see everything: view
// gives the JSON for an audience. It must not block. Without a view (nil) the topic
// has no state until the next call.
func (h *Hub) Show(t Topic, view func(*Audience) []byte) {
	if view == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.set(t, state{})
		return
	}
	h.show(t, textOf(t.String(), view(&Audience{All: true})), func(a *Audience) []byte { return textOf(t.String(), view(a)) })
}

func (h *Hub) show(t Topic, whole []byte, view func(*Audience) []byte) {
	var awake []*client
	h.mu.Lock()
	h.set(t, state{view: view, whole: whole})
	if h.wanted[t] > 0 {
		for c := range h.clients {
			if c.sub.Topics.Has(t) {
				awake = append(awake, c)
			}
		}
	}
	h.mu.Unlock()
	for _, c := range awake {
		c.kick()
	}
}

// set changes what a topic shows; h.mu is held.
func (h *Hub) set(t Topic, s state) {
	s.version = h.states[t].version + 1
	h.states[t] = s
	h.versions[t].Store(s.version)
}

// state gives what a topic shows now.
func (h *Hub) state(t Topic) state {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states[t]
}

// keep looks after all connections, again and again.
func (h *Hub) keep() {
	ticker := time.NewTicker(h.cfg.Limits.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			h.tick()
		case <-h.life.Done():
			return
		}
	}
}

// tick pings, marks, and cuts off those who are silent, slow or too old. It also
// makes up for a commit that could not be read.
func (h *Hub) tick() {
	h.Wake()
	now, wall := h.now(), h.cfg.Clock.Now()
	_, head := h.log.at()
	h.mu.Lock()
	all := make([]*client, 0, len(h.clients))
	for c := range h.clients {
		all = append(all, c)
	}
	h.mu.Unlock()
	for _, c := range all {
		c.lookAfter(now, wall, head)
	}
}

// Close tells everybody to go elsewhere and ends the hub. It waits until all are
// gone, or until ctx ends, and then cuts off who is left. It may be called again.
func (h *Hub) Close(ctx context.Context) {
	h.mu.Lock()
	if !h.closing {
		h.closing = true
		if h.seated == 0 {
			close(h.empty)
		}
	}
	all := make([]*client, 0, len(h.clients))
	for c := range h.clients {
		all = append(all, c)
	}
	h.mu.Unlock()
	for _, c := range all {
		c.finish(GoingAway, "the node is shutting down")
	}
	select {
	case <-h.empty:
	case <-ctx.Done():
		h.mu.Lock()
		for c := range h.clients {
			c.hangUp()
		}
		h.mu.Unlock()
	}
	h.end()
	h.loops.Wait()
}
