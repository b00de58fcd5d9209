package demo

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"hadir/cmd/hadir/internal/api"
)

// tally counts what becomes of taps.
type tally struct {
	mu     sync.Mutex
	report Report
	acked  map[uint64]api.Attendance // by id: what was acknowledged with 201
	again  int                       // acknowledged records that another tap had been given too
	index  uint64                    // newest that was acknowledged
	last   time.Time                 // newest final answer
}

func newTally(now time.Time) *tally {
	at := now.UTC()
	return &tally{report: Report{State: InSession, StartedAt: &at}, acked: map[uint64]api.Attendance{}}
}

func (t *tally) sent() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Sent++
	t.report.Waiting++
}

func (t *tally) retried() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Retries++
}

// settle counts a final answer. The code decides, the body only tells a review
// from the rest.
func (t *tally) settle(now time.Time, code int, d api.Decision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.report
	r.Waiting--
	if !t.last.IsZero() {
		r.LongestGapMS = max(r.LongestGapMS, now.Sub(t.last).Milliseconds())
	}
	t.last = now
	t.index = max(t.index, d.Sync.Index)
	switch code {
	case 201:
		r.Accepted++
		if d.Attendance != nil {
			if _, ok := t.acked[d.Attendance.ID]; ok {
				t.again++
			}
			t.acked[d.Attendance.ID] = *d.Attendance
		}
	case 409:
		r.Duplicate++
	case 202:
		r.Review++
	default:
		r.Rejected++
	}
}

func (t *tally) set(f func(*Report)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.report)
}

func (t *tally) snapshot() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.report
}

// verify compares what was acknowledged with what each node has.
func (t *tally) verify(have map[string][]api.Attendance, window time.Duration) (lost, doubled int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	missing := map[uint64]bool{}
	for _, records := range have {
		there := map[uint64]api.Attendance{}
		for _, r := range records {
			there[r.ID] = r
		}
		for id, a := range t.acked {
			if r, ok := there[id]; !ok || r.UserID != a.UserID || r.Type != a.Type {
				missing[id] = true
			}
		}
		// The nodes should agree; where they do not, the worst counts.
		doubled = max(doubled, tooNear(records, window))
	}
	return len(missing), doubled + t.again
}

// tooNear counts records that come sooner than window after another one of the
// same person and kind.
func tooNear(records []api.Attendance, window time.Duration) int {
	type who struct {
		user uint64
		kind string
	}
	times := map[who][]time.Time{}
	for _, r := range records {
		w := who{r.UserID, r.Type}
		times[w] = append(times[w], r.Timestamp)
	}
	n := 0
	for _, at := range slices.Collect(maps.Values(times)) {
		slices.SortFunc(at, func(a, b time.Time) int { return cmp.Compare(a.UnixNano(), b.UnixNano()) })
		for i := 1; i < len(at); i++ {
			if at[i].Sub(at[i-1]) < window {
				n++
			}
		}
	}
	return n
}
