package transport

import (
	"sync"
	"time"
)

// A refused peer comes back several times a second; one line a minute says as
// much.
const (
	logEvery   = time.Minute
	logEntries = 256
)

// logLimit lets each key through once per logEvery.
type logLimit struct {
	clock Clock
	mu    sync.Mutex
	last  map[string]time.Time
}

func newLogLimit(clock Clock) *logLimit {
	return &logLimit{clock: clock, last: make(map[string]time.Time)}
}

func (l *logLimit) allow(key string) bool {
	now := l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.last[key]; ok && now.Sub(last) < logEvery {
		return false
	}
	if len(l.last) >= logEntries {
		// Keys hold peer addresses, so the map must be bounded. Forgetting
		// all of them costs a few repeated lines, no bookkeeping.
		clear(l.last)
	}
	l.last[key] = now
	return true
}
