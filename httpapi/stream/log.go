package stream

import (
	"net"
	"sync"
	"time"
)

// The log keeps the newest events in pieces of chunkBytes, at most maxChunks of
// them: 8 MiB, some 15 000 events.
const (
	chunkBytes = 64 << 10
	maxChunks  = 128
)

// frameLog is the newest events, encoded, once for everybody. Bytes that were
// given out are never changed.
type frameLog struct {
	mu     sync.RWMutex
	epoch  string   // of the history
	chunks []*chunk // oldest first, never empty ones
	next   uint64   // seq of the event to come
	size   int      // of a chunk
	most   int      // chunks
}

// chunk is consecutive events. data and entries grow within their capacity, so
// that what was given out stays where it is.
type chunk struct {
	first   uint64
	data    []byte
	entries []entry
}

type entry struct {
	end  int           // of its frame in data
	user uint64        // see Event.User
	at   time.Duration // when it was applied, since the hub began
}

// start gives where the i-th frame begins.
func (c *chunk) start(i int) int {
	if i == 0 {
		return 0
	}
	return c.entries[i-1].end
}

// reset empties the log; the next event to come is next of a history.
func (l *frameLog) reset(epoch string, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch, l.chunks, l.next = epoch, nil, next
}

// append adds the next event.
func (l *frameLog) append(e Event, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	need := len(e.Text) + maxHeader
	var c *chunk
	if n := len(l.chunks); n > 0 {
		c = l.chunks[n-1]
	}
	if c == nil || cap(c.data)-len(c.data) < need {
		c = &chunk{first: l.next, data: make([]byte, 0, max(l.size, need))}
		if len(l.chunks) >= l.most {
			l.chunks = append(l.chunks[:0:0], l.chunks[1:]...)
		}
		l.chunks = append(l.chunks, c)
	}
	c.data = appendFrame(c.data, textFrame, e.Text)
	c.entries = append(c.entries, entry{end: len(c.data), user: e.User, at: at})
	l.next++
}

// at gives the history and the seq of its newest event.
func (l *frameLog) at() (epoch string, head uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.epoch, l.next - 1
}

// covers reports whether the events of a history from a seq on are in memory.
func (l *frameLog) covers(epoch string, seq uint64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return epoch == l.epoch && (seq == l.next || l.holds(seq))
}

// holds reports whether an event is in memory; l.mu is held.
func (l *frameLog) holds(seq uint64) bool {
	return len(l.chunks) > 0 && seq >= l.chunks[0].first && seq < l.next
}

// cut is what goes out in one write.
type cut struct {
	bufs   net.Buffers
	own    []byte // frames made for this write; what is in bufs of it stays valid
	bytes  int
	events int
	epoch  string        // of the history that it is from
	next   uint64        // seq from which to go on
	last   uint64        // seq of the last event in it; 0 for none
	at     time.Duration // when the oldest event in it was applied
}

// add puts whole frames into the cut.
func (c *cut) add(frames []byte) {
	if len(frames) > 0 {
		c.bufs = append(c.bufs, frames)
		c.bytes += len(frames)
	}
}

// took counts an event.
func (c *cut) took(seq uint64, at time.Duration) {
	if c.events == 0 {
		c.at = at
	}
	c.events++
	c.last = seq
}

// gather adds the events from c.next on that the audience sees, up to the head or
// to about so many bytes, and moves c.next on. It reports false, and adds
// nothing, when they are not in memory.
func (l *frameLog) gather(c *cut, a *Audience, most int) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch {
	case c.epoch != l.epoch:
		return false
	case c.next == l.next:
		return true
	case !l.holds(c.next):
		return false
	}
	for _, part := range l.chunks {
		if i := int(c.next) - int(part.first); i >= 0 && i < len(part.entries) {
			if part.gather(c, i, a, most); c.bytes >= most {
				return true
			}
		}
	}
	return true
}

// gather is frameLog.gather within a chunk, from the i-th frame on. Neighbours go
// out as one piece.
func (c *chunk) gather(out *cut, i int, a *Audience, most int) {
	from, to := 0, 0 // of the piece so far
	for ; i < len(c.entries) && out.bytes+to-from < most; i++ {
		e := c.entries[i]
		out.next = c.first + uint64(i) + 1
		if !a.Sees(e.user) {
			continue
		}
		out.took(out.next-1, e.at)
		begin := c.start(i)
		if begin != to {
			out.add(c.data[from:to])
			from = begin
		}
		to = e.end
	}
	out.add(c.data[from:to])
}
