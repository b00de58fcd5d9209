// Package loglimit keeps what repeats itself several times a second, such as a
// refused peer or gossip about it, to one log line a minute.
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
	last map[string]time.Time
}

// New gives a limit that lets everything through once. Only differences of now
// are used.
func New(now func() time.Time) *Limit {
	return &Limit{now: now, last: make(map[string]time.Time)}
}

// Allow reports whether the line with this key may be written now.
func (l *Limit) Allow(key string) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.last[key]; ok && now.Sub(last) < every {
		return false
	}
	if len(l.last) >= entries {
		// Keys hold the names of strangers, so the map must be bounded. Forgetting
		// all of them costs a few repeated lines, no bookkeeping.
		clear(l.last)
	}
	l.last[key] = now
	return true
}
