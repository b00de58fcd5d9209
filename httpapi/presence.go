package httpapi

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"hadir/cluster"
	"hadir/httpapi/stream"
	"hadir/store"
)

// presence is who is connected to which node. It is never changed.
type presence []nodePeople

type nodePeople struct {
	node   string
	people []connected // by user
}

type connected struct {
	user  uint64
	times int
}

func (a nodePeople) same(b nodePeople) bool {
	return a.node == b.node && slices.Equal(a.people, b.people)
}

// encodePeople gives the note with who is connected: differences of ascending ids,
// each with its number of connections, so that 5 000 people fit into a note.
func encodePeople(people []connected) []byte {
	var b []byte
	last := uint64(0)
	for _, c := range people {
		b = binary.AppendUvarint(b, c.user-last)
		b = binary.AppendUvarint(b, uint64(c.times))
		last = c.user
	}
	return b
}

var errPeople = errors.New("a note about who is connected cannot be read")

// decodePeople is the inverse of encodePeople.
func decodePeople(b []byte) ([]connected, error) {
	var out []connected
	last := uint64(0)
	for len(b) > 0 {
		step, n := binary.Uvarint(b)
		if n <= 0 || step == 0 || last+step < last {
			return nil, errPeople
		}
		times, m := binary.Uvarint(b[n:])
		if m <= 0 || times == 0 || times > 1<<31-1 {
			return nil, errPeople
		}
		last += step
		out = append(out, connected{last, int(times)})
		b = b[n+m:]
	}
	return out, nil
}

// ownPeople gives who is connected to this node.
func (p *pushes) ownPeople() []connected {
	out := []connected{}
	for user, times := range p.hub.People() {
		out = append(out, connected{user, times})
	}
	slices.SortFunc(out, func(a, b connected) int { return cmp.Compare(a.user, b.user) })
	return out
}

// presence gives who is connected anywhere, as far as this node knows.
func (p *pushes) presence() presence {
	out := presence{{p.api.Node.Name(), p.ownPeople()}}
	for _, note := range p.watch.Notes(peopleTopic) {
		people, err := decodePeople(note.Body)
		if err != nil {
			p.api.Log.Debug("presence", "node", note.Node, "error", err)
			continue
		}
		out = append(out, nodePeople{note.Node, people})
	}
	slices.SortFunc(out, func(a, b nodePeople) int { return strings.Compare(a.node, b.node) })
	return out
}

// showPresence tells the other nodes who is connected here, and the subscribers who
// is connected anywhere.
func (p *pushes) showPresence(now time.Time) {
	if now.Sub(p.posted) < presenceEvery {
		return
	}
	p.posted = now
	err := p.watch.Post(peopleTopic, encodePeople(p.ownPeople()))
	if refused := err != nil; refused != p.refused {
		p.refused = refused
		p.api.Log.Warn("whether the others are told who is connected has changed", "told", !refused, "error", err)
	}
	if !p.hub.Wants(stream.Presence) {
		if p.here != nil {
			p.hub.Show(stream.Presence, nil)
			p.here = nil
		}
		return
	}
	here := p.presence()
	if slices.EqualFunc(here, p.here, nodePeople.same) {
		return
	}
	p.here = here
	p.hub.Show(stream.Presence, func(a *stream.Audience) []byte { return here.seenBy(a) })
}

type presenceJSON struct {
	People      int                `json:"people"`
	Connections int                `json:"connections"`
	Nodes       []nodePresenceJSON `json:"nodes"`
}

type nodePresenceJSON struct {
	NodeID  string   `json:"node_id"`
	UserIDs []uint64 `json:"user_ids"`
}

// seenBy gives the JSON of the topic for an audience.
func (here presence) seenBy(a *stream.Audience) []byte {
	out := presenceJSON{Nodes: []nodePresenceJSON{}}
	people := make(map[uint64]struct{})
	for _, n := range here {
		node := nodePresenceJSON{n.node, []uint64{}}
		for _, c := range n.people {
			if a.Sees(c.user) {
				node.UserIDs = append(node.UserIDs, c.user)
				people[c.user] = struct{}{}
				out.Connections += c.times
			}
		}
		out.Nodes = append(out.Nodes, node)
	}
	out.People = len(people)
	data, err := json.Marshal(out)
	if err != nil {
		return []byte("null") // numbers and names never fail
	}
	return data
}

type presentJSON struct {
	UserID      uint64   `json:"user_id"`
	Name        string   `json:"name"`
	Connections int      `json:"connections"`
	Nodes       []string `json:"nodes"`
}

// getPresence lists who is connected, by user id, within the scope.
func getPresence(c *call) error {
	q, err := c.query(append([]string{"limit", "cursor"}, readParams...)...)
	if err != nil {
		return err
	}
	limit, after, how := q.limit(), q.number("cursor", 0, maxID, 0), q.read()
	if err := q.done(); err != nil {
		return err
	}
	items, next, fresh, err := c.present(how, after, limit)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, jsonList(items, cursorOf(next), fresh))
}

// present gives who is connected within the scope, by user id after one, and after
// which the list goes on; 0 at its end.
func (c *call) present(how cluster.Read, after uint64, limit int) (items []presentJSON, next uint64, fresh cluster.Freshness, err error) {
	found := make(map[uint64]*presentJSON)
	for _, n := range c.api.push.presence() {
		for _, who := range n.people {
			if who.user <= after {
				continue
			}
			if found[who.user] == nil {
				found[who.user] = &presentJSON{UserID: who.user}
			}
			found[who.user].Connections += who.times
			found[who.user].Nodes = append(found[who.user].Nodes, n.node)
		}
	}
	items = []presentJSON{}
	fresh, err = c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		s.who.asked = true // also where there is nobody to ask about
		for _, id := range slices.Sorted(maps.Keys(found)) {
			if !s.sees(id) {
				continue
			}
			if len(items) == limit {
				next = items[limit-1].UserID
				return nil
			}
			user, err := tx.User(id)
			switch {
			case errors.Is(err, store.ErrNotFound):
				continue // somebody so new that this node has not heard of them yet
			case err != nil:
				return err
			}
			found[id].Name = user.Name
			items = append(items, *found[id])
		}
		return nil
	})
	return items, next, fresh, err
}
