package httpapi

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"hadir/attendance"
)

// A ticket stands for a session in the address of one WebSocket, for programs in a
// browser that have a bearer token: they cannot send a header with one. It is known
// to the node that gave it alone, for addresses end up in logs of proxies.
const (
	ticketLife      = 30 * time.Second
	ticketBytes     = 24
	ticketsOfPerson = 20 // that are not used yet
)

var errTicket = newProblem(codeUnauthenticated,
	"The ticket is not valid (any more): it is for one connection, within 30 seconds, to the node that gave it.")

// tickets are those that were given and not used. A person has few, so there are
// few in all.
type tickets struct {
	mu    sync.Mutex
	given map[string]ticket
	of    map[uint64]int
}

type ticket struct {
	user  uint64
	token string
	until time.Time
}

func newTickets() *tickets {
	return &tickets{given: make(map[string]ticket), of: make(map[uint64]int)}
}

// give makes a ticket; ok is false when the person has too many.
func (t *tickets) give(now time.Time, rand io.Reader, user uint64, token string) (name string, until time.Time, ok bool, err error) {
	var b [ticketBytes]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", until, false, fmt.Errorf("ticket: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, old := range t.given {
		if !old.until.After(now) {
			t.drop(name)
		}
	}
	if t.of[user] >= ticketsOfPerson {
		return "", until, false, nil
	}
	name, until = base64.RawURLEncoding.EncodeToString(b[:]), now.Add(ticketLife)
	t.given[name] = ticket{user, token, until}
	t.of[user]++
	return name, until, true, nil
}

// redeem gives the session's token, once.
func (t *tickets) redeem(now time.Time, name string) (token string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, ok := t.given[name]
	if !ok {
		return "", false
	}
	t.drop(name)
	return found.token, found.until.After(now)
}

// drop forgets a ticket; t.mu is held.
func (t *tickets) drop(name string) {
	user := t.given[name].user
	delete(t.given, name)
	if t.of[user]--; t.of[user] == 0 {
		delete(t.of, user)
	}
}

// ticket gives the ticket of a request for the stream.
func (c *call) ticket() (name string, given bool) {
	if c.route == nil || c.route.path != streamPath {
		return "", false
	}
	values := c.r.URL.Query()
	return values.Get("ticket"), values.Has("ticket")
}

type ticketJSON struct {
	Ticket    string `json:"ticket"`
	ExpiresAt stamp  `json:"expires_at"`
	NodeID    string `json:"node_id"`
}

// postTicket gives a ticket for the stream of this node.
func postTicket(c *call) error {
	name, until, ok, err := c.api.push.tickets.give(c.began, c.api.Rand, c.who.user.ID, c.who.token)
	switch {
	case err != nil:
		return err
	case !ok:
		p := newProblem(codeRateLimited, "This account has many tickets that were not used. Use one, or wait.")
		p.retry = ticketLife
		return p
	}
	return c.json(http.StatusOK, ticketJSON{name, stamp(attendance.MillisOf(until)), c.api.Node.Name()})
}
