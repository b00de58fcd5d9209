package httpapi

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Cache is where nodes share results. A result is never out of date: its key is made
// of all that it depends on.
type Cache interface {
	// Get takes 100 ms at most. What is not there in time is not there.
	Get(ctx context.Context, key [sha256.Size]byte) ([]byte, bool)
	// Put does not block; it may do nothing. value is not changed any more.
	Put(key [sha256.Size]byte, value []byte)
}

const (
	mostResult  = 4 << 20  // bytes of one
	mostResults = 32 << 20 // bytes of all
	entryCost   = 512      // bytes that one takes besides its own
)

// resultKey is the question, who may see what, and the history up to the event that
// the answer reflects.
type resultKey [sha256.Size]byte

// results keeps the answers to heavy reads that were asked for last: in this node, and
// in what the nodes share.
type results struct {
	shared Cache // nil without

	mu    sync.Mutex
	by    map[resultKey]*list.Element
	order list.List // of *result, the one that was used last in front
	bytes int
}

type result struct {
	key  resultKey
	body []byte // not changed any more
}

func newResults(shared Cache) *results {
	return &results{shared: shared, by: make(map[resultKey]*list.Element)}
}

func (r *results) get(ctx context.Context, key resultKey) ([]byte, bool) {
	r.mu.Lock()
	if e, hit := r.by[key]; hit {
		r.order.MoveToFront(e)
		body := e.Value.(*result).body
		r.mu.Unlock()
		return body, true
	}
	r.mu.Unlock()
	if r.shared == nil {
		return nil, false
	}
	body, hit := r.shared.Get(ctx, key)
	if hit {
		r.keep(key, body)
	}
	return body, hit
}

// put keeps an answer, unless it is too large.
func (r *results) put(key resultKey, body []byte) {
	if len(body) > mostResult {
		return
	}
	r.keep(key, body)
	if r.shared != nil {
		r.shared.Put(key, body)
	}
}

func (r *results) keep(key resultKey, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.by[key]; known {
		return // the same question has the same answer
	}
	r.by[key] = r.order.PushFront(&result{key, body})
	r.bytes += len(body) + entryCost
	for r.bytes > mostResults {
		oldest := r.order.Back()
		old := r.order.Remove(oldest).(*result)
		delete(r.by, old.key)
		r.bytes -= len(old.body) + entryCost
	}
}

// keyOf gives the key of a question that a visitor asks of one picture of the state.
// Of an answer nothing but times of the reader may depend on anything else: not on the
// node, the clock, or what was asked before.
func (l listing) keyOf(kind string, tx *store.ReadTx, s *scope) resultKey {
	m := tx.Meta()
	viewer := uint64(0) // whoever sees everybody sees the same
	if !s.everybody() {
		viewer = s.viewer.ID
	}
	device := uint64(0)
	if s.who.device != nil {
		device = s.who.device.ID
	}
	// FirstSeq: events are let go without an event of their own.
	return sha256.Sum256(fmt.Appendf(nil, "%s %x %d %d %d %d %d %d %q %#v", kind, m.Cluster, m.Epoch, m.FirstSeq, m.Seq, s.reach, viewer, device, l.name, l.Query))
}

// heavy reports whether a page of a list takes a look at many that are not on it.
func (l listing) heavy(who *visitor) bool {
	return l.name != "" || who.reach == reachGroup && l.UserID == 0
}

// heavyPage is a page of such a list as it is kept.
type heavyPage struct {
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next"`
}

// heavyPage gives a page from an earlier answer, or makes it and keeps it.
func (c *call) heavyPage(l listing, how cluster.Read) (page heavyPage, fresh cluster.Freshness, err error) {
	var key resultKey
	fresh, err = c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err == nil {
			key = l.keyOf("page", tx, s)
		}
		return err
	})
	if err != nil {
		return page, fresh, err
	}
	if body, hit := c.api.results.get(c.r.Context(), key); hit && json.Unmarshal(body, &page) == nil {
		return page, fresh, nil
	}
	var rows []attendance.Record
	var next store.Cursor
	fresh, err = c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		key = l.keyOf("page", tx, s) // more may have happened since
		rows, next, err = l.run(tx, s)
		return err
	})
	if err != nil {
		return page, fresh, err
	}
	page = heavyPage{Items: make([]json.RawMessage, len(rows))}
	for i, r := range rows {
		if page.Items[i], err = json.Marshal(jsonAttendance(r)); err != nil {
			return page, fresh, err
		}
	}
	if !next.IsZero() {
		page.Next = next.String()
	}
	body, err := json.Marshal(page)
	if err == nil {
		c.api.results.put(key, body)
	}
	return page, fresh, err
}
