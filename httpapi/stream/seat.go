package stream

import (
	"context"
	"slices"
	"time"

	"github.com/gorilla/websocket"
)

// Seat is the right to one connection. Serve or Release it.
type Seat struct {
	hub  *Hub
	user uint64
}

// Reserve asks for a connection of a person. Errors: ErrClosing, ErrFull,
// ErrTooMany.
func (h *Hub) Reserve(user uint64) (*Seat, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closing:
		return nil, ErrClosing
	case h.seated >= h.cfg.Limits.PerNode:
		return nil, ErrFull
	case h.seats[user] >= h.cfg.Limits.PerPerson:
		return nil, ErrTooMany
	}
	h.seated++
	h.seats[user]++
	return &Seat{hub: h, user: user}, nil
}

// Release gives a seat back that is not served.
func (s *Seat) Release() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.free(s.user)
}

// free gives a seat back; h.mu is held.
func (h *Hub) free(user uint64) {
	h.seated--
	if h.seats[user]--; h.seats[user] == 0 {
		delete(h.seats, user)
	}
	if h.closing && h.seated == 0 {
		close(h.empty)
	}
}

// Subscriber is somebody who was let in.
type Subscriber struct {
	Topics Topics
	// Position is from where to go on; nil to begin at the newest event.
	Position *Position
	// Audience is what they may see.
	Audience Audience
	// Recheck gives it anew, at least as of every event that the source has given.
	// ErrForbidden ends the connection with 4003.
	Recheck func(ctx context.Context) (Audience, error)
	// Until is when the permission ends by itself; zero for never.
	Until time.Time
}

// Position is a place in a history.
type Position struct {
	Epoch string
	After uint64
}

// Serve takes over a connection and returns. The person must be the seat's.
func (s *Seat) Serve(conn *websocket.Conn, sub Subscriber) {
	wire := conn.NetConn()
	limitBuffer(wire)
	c := s.hub.attach(s.user, wire, sub)
	go c.listen(conn)
}

// attach makes a connection known.
func (h *Hub) attach(user uint64, wire wire, sub Subscriber) *client {
	c := &client{hub: h, user: user, wire: wire, sub: sub, over: make(chan struct{}), since: h.now()}
	c.run = c.flush
	c.raw = newRawWriter(wire)
	c.alive.Store(int64(c.since))
	a := sub.Audience
	c.audience.Store(&a)
	h.mu.Lock()
	// Rights may have changed since they were looked up.
	c.recheck.Store(h.rights)
	h.clients[c] = struct{}{}
	h.of[user] = append(h.of[user], c)
	for t := range topics {
		if sub.Topics.Has(t) {
			h.wanted[t]++
		}
	}
	if a.All && sub.Topics.Has(Attendance) {
		h.all = append(h.all, c)
	}
	if !a.All && a.People != nil {
		h.groups = append(h.groups, c)
	}
	h.waiting[c] = struct{}{}
	closing := h.closing
	h.mu.Unlock()
	if closing {
		c.finish(GoingAway, "the node is shutting down")
	}
	c.kick()
	return c
}

// detach forgets a connection that is over.
func (h *Hub) detach(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.clients[c]; !known {
		return
	}
	delete(h.clients, c)
	delete(h.waiting, c)
	if h.of[c.user] = drop(h.of[c.user], c); len(h.of[c.user]) == 0 {
		delete(h.of, c.user)
	}
	for t := range topics {
		if c.sub.Topics.Has(t) {
			h.wanted[t]--
		}
	}
	h.all, h.groups = drop(h.all, c), drop(h.groups, c)
	h.free(c.user)
}

// greeted notes that a connection has its place.
func (h *Hub) greeted(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, c)
}

// drop takes a connection out of a list, whose order does not matter.
func drop(list []*client, c *client) []*client {
	i := slices.Index(list, c)
	if i < 0 {
		return list
	}
	last := len(list) - 1
	list[i], list[last] = list[last], nil
	return list[:last]
}
