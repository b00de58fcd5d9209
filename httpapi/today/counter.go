package today

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"hadir/attendance"
	"hadir/store"
)

// stepEvents bounds how many events one step reads.
const stepEvents = 1_000

// Count are people, each once.
type Count struct {
	Arrived int // have come: an accepted check-in
	Left    int // have an accepted check-out
	Present int // are in: have come, and not left since
}

// Totals are the counts of a day.
type Totals struct {
	Day    attendance.Day
	Seq    uint64 // the newest event that is counted
	People Count
	Groups map[uint64]Count // of those groups that somebody of today is a member of
}

// Counter counts the people of the current day. The zero value has read nothing.
// Methods may be called concurrently.
type Counter struct {
	mu sync.Mutex
	count
}

// count is what a counter forgets when it begins again.
type count struct {
	begun   bool
	epoch   uint64
	day     attendance.Day
	seq     uint64       // newest event that is counted
	loading bool         // the day's records up to seq are still being read
	before  store.Cursor // and this is how far, newest first
	people  map[uint64]*person
	all     Count
	groups  map[uint64]Count
}

// person is somebody with a record today.
type person struct {
	in, out attendance.Millis // times of the last records; 0 for none
	groups  []uint64
}

// Step brings the counter a bounded step nearer to the state of tx at a moment
// that decides which day it is. done says that it is there, and only then totals
// are; else the caller ends its transaction and comes back with a new one.
func (c *Counter) Step(tx *store.ReadTx, now attendance.Millis) (totals Totals, done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := tx.Meta()
	day, _ := tx.Params().Zone.Day(now)
	if !c.begun || c.day != day || c.epoch != m.Epoch || m.FirstSeq > c.seq+1 {
		c.count = count{
			begun: true, epoch: m.Epoch, day: day, seq: m.Seq, loading: true, people: make(map[uint64]*person), groups: make(map[uint64]Count),
		}
	}
	switch {
	case c.loading && m.Seq < c.seq:
		return Totals{}, false, nil // an older picture lacks records that are to be counted
	case c.loading:
		err = c.load(tx)
	case m.Seq > c.seq:
		err = c.follow(tx)
	}
	if err != nil {
		c.begun = false // half a step may be counted
		return Totals{}, false, err
	}
	if c.loading || c.seq < m.Seq {
		return Totals{}, false, nil
	}
	return Totals{Day: c.day, Seq: c.seq, People: c.all, Groups: maps.Clone(c.groups)}, true, nil
}

// load counts one page of the day's records that were there at the beginning.
func (c *count) load(tx *store.ReadTx) error {
	page, next, err := tx.Attendances(store.Query{From: c.day, To: c.day, Before: c.before, Limit: store.MaxPage})
	if err != nil {
		return err
	}
	for _, r := range page {
		if r.ID <= c.seq { // the others come as events
			c.tap(tx, r)
		}
	}
	c.before, c.loading = next, !next.IsZero()
	return nil
}

// follow counts the next events.
func (c *count) follow(tx *store.ReadTx) (err error) {
	tx.Events(c.seq, stepEvents, func(seq uint64, event []byte) bool {
		if seq != c.seq+1 {
			err = fmt.Errorf("%w: event %d follows %d", store.ErrCorrupt, seq, c.seq)
			return false
		}
		var e attendance.Event
		if e, err = attendance.DecodeEvent(event); err != nil {
			err = fmt.Errorf("%w: event %d: %w", store.ErrCorrupt, seq, err)
			return false
		}
		c.event(tx, e)
		c.seq = seq
		return true
	})
	return err
}

func (c *count) event(tx *store.ReadTx, e attendance.Event) {
	switch d := e.Detail.(type) {
	case attendance.Tap:
		if record, ok := e.Record(); ok && d.Day == c.day {
			c.tap(tx, record)
		}
	case attendance.GroupChange:
		changed := slices.Concat(d.AddedMembers, d.RemovedMembers)
		if e.Type == attendance.GroupDeleted {
			// Such an event does not name the members, who may be any of these.
			changed = slices.Collect(maps.Keys(c.people))
		}
		for _, id := range changed {
			if c.people[id] != nil {
				c.change(id, func(p *person) { p.groups = tx.GroupsOf(id, store.Member) })
			}
		}
	}
}

// tap counts a record. Memberships are read as tx knows them, which may be newer
// than the record; the change of group that made them so is met later and has
// them read again.
func (c *count) tap(tx *store.ReadTx, r attendance.Record) {
	if c.people[r.UserID] == nil {
		c.people[r.UserID] = &person{groups: tx.GroupsOf(r.UserID, store.Member)}
	}
	c.change(r.UserID, func(p *person) {
		if r.Kind == attendance.In {
			p.in = max(p.in, r.At)
		} else {
			p.out = max(p.out, r.At)
		}
	})
}

// change takes a person out of the counts, changes them and counts them again.
func (c *count) change(id uint64, f func(*person)) {
	p := c.people[id]
	c.add(p, -1)
	f(p)
	c.add(p, 1)
}

func (c *count) add(p *person, n int) {
	with := func(to Count) Count {
		if p.in != 0 {
			to.Arrived += n
		}
		if p.out != 0 {
			to.Left += n
		}
		if p.in > p.out {
			to.Present += n
		}
		return to
	}
	c.all = with(c.all)
	for _, g := range p.groups {
		if sum := with(c.groups[g]); sum == (Count{}) {
			delete(c.groups, g)
		} else {
			c.groups[g] = sum
		}
	}
}
