package queue

import (
	"sync"
	"time"
)

// meterSpan is the span over which throughput is told.
const meterSpan = 60

// meter counts decisions by second over the last minute.
type meter struct {
	mu      sync.Mutex
	seconds [meterSpan]int64 // which second the count is of
	counts  [meterSpan]int
	total   uint64
}

func (m *meter) decided(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	second := now.Unix()
	i := second % meterSpan
	if m.seconds[i] != second {
		m.seconds[i], m.counts[i] = second, 0
	}
	m.counts[i]++
	m.total++
}

// lately gives how many decisions there were in the last n seconds before this
// one, and in all.
func (m *meter) lately(now time.Time, n int64) (count int, total uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	second := now.Unix()
	for i, s := range m.seconds {
		if s < second && s >= second-n {
			count += m.counts[i]
		}
	}
	return count, m.total
}
