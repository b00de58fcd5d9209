package queue

import (
	"slices"
	"sync"
	"time"
)

const (
	mostWaits = 1024      // that are remembered
	waitsSpan = time.Hour // for how long
)

// waits remembers how long the entries waited that were decided lately.
type waits struct {
	mu   sync.Mutex
	ring []wait
	next int // place of the oldest, once the ring is full
}

type wait struct {
	at   time.Time // of the decision
	took time.Duration
}

func (w *waits) add(now time.Time, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ring) < mostWaits {
		w.ring = append(w.ring, wait{now, took})
		return
	}
	w.ring[w.next] = wait{now, took}
	w.next = (w.next + 1) % mostWaits
}

// lately gives how many there are, and how long half of them and 99 in 100 of them
// waited at most; zero where there are none.
func (w *waits) lately(now time.Time) (count int, median, p99 time.Duration) {
	w.mu.Lock()
	var took []time.Duration
	for _, e := range w.ring {
		if now.Sub(e.at) < waitsSpan {
			took = append(took, e.took)
		}
	}
	w.mu.Unlock()
	if count = len(took); count == 0 {
		return 0, 0, 0
	}
	slices.Sort(took)
	return count, took[(count-1)/2], took[(count*99+99)/100-1]
}
