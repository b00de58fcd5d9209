// Package loglimit keeps what repeats itself, such as a refused peer or gossip
// about it, to one log line a minute.
package loglimit

import (
	"sync"
	"time"
)

const (
	every   = time.Minute
	entries = 256
)

// Limit lets each key through once a minute. It may be used concurrently.
type Limit struct {
	now  func() time.Time
	mu   sync.Mutex
	last map[string]line
}

type line struct {
	at      time.Time
	dropped int
}

// New gives a limit that lets everything through once. Only differences of now
// are used.
func New(now func() time.Time) *Limit {
	return &Limit{now: now, last: make(map[string]line)}
}

// Allow reports whether the line with this key may be written now.
func (l *Limit) Allow(key string) bool {
	_, ok := l.Take(key)
	return ok
}

// Take is Allow, and says how many lines with this key were not written since the
// one before.
func (l *Limit) Take(key string) (dropped int, ok bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	last, known := l.last[key]
	if known && now.Sub(last.at) < every {
		last.dropped++
		l.last[key] = last
		return 0, false
	}
	if len(l.last) >= entries {
		// Keys hold the names of strangers, so the map must be bounded. Forgetting
		// all of them costs a few repeated lines, no bookkeeping.
		clear(l.last)
	}
	l.last[key] = line{at: now}
	return last.dropped, true
}
