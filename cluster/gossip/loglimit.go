package gossip

import (
	"sync"
	"time"
)

const (
	logEvery   = time.Minute
	logEntries = 256
)

// logLimit lets each key through once a minute. Gossip repeats itself several
// times a second, and so does a refused node.
type logLimit struct {
	now  func() time.Time
	mu   sync.Mutex
	last map[string]time.Time
}

func newLogLimit(now func() time.Time) *logLimit {
	return &logLimit{now: now, last: make(map[string]time.Time)}
}

func (l *logLimit) allow(key string) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.last[key]; ok && now.Sub(last) < logEvery {
		return false
	}
	if len(l.last) >= logEntries {
		clear(l.last) // keys name foreign nodes, so the map must be bounded
	}
	l.last[key] = now
	return true
}
