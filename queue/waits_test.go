package queue

import (
	"testing"
	"time"
)

func TestWaits(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	var w waits
	want := func(now time.Time, count int, median, p99 time.Duration) {
		t.Helper()
		if c, m, p := w.lately(now); c != count || m != median || p != p99 {
			t.Errorf("%d waits, %s, %s; want %d, %s, %s", c, m, p, count, median, p99)
		}
	}
	want(start, 0, 0, 0)
	w.add(start, 7*time.Second)
	want(start, 1, 7*time.Second, 7*time.Second)
	for i := range 99 {
		w.add(start.Add(time.Minute), time.Duration(i+1)*time.Second)
	}
	// 1 … 99 s, and 7 s a second time.
	want(start.Add(time.Minute), 100, 49*time.Second, 98*time.Second)
	want(start.Add(time.Hour), 99, 50*time.Second, 99*time.Second)
	want(start.Add(2*time.Hour), 0, 0, 0)
	// Only the newest are remembered.
	for range mostWaits {
		w.add(start.Add(time.Hour), time.Second)
	}
	want(start.Add(time.Hour), mostWaits, time.Second, time.Second)
}
