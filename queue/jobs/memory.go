package jobs

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// FirstNumber is the least number of a job at a node. Numbers are microseconds since
// 1970, so that a node which was started again never gives one twice; places in an
// outbox, which are numbers too, count from 1 and do not come so far.
const FirstNumber = 1 << 48

const (
	mostHeld  = 64
	bytesHeld = 64 << 20
)

// memory holds the jobs of this node.
type memory struct {
	cfg  Config
	wake chan struct{} // holds one signal

	mu    sync.Mutex
	jobs  map[uint64]*held
	last  uint64 // number
	bytes int    // of tasks and results
}

// held is a job in memory.
type held struct {
	Job
	packed []byte // the task
	body   []byte // the result, compressed
	next   time.Time
}

func newMemory(c Config) *memory {
	return &memory{cfg: c, wake: make(chan struct{}, 1), jobs: make(map[uint64]*held)}
}

func (m *memory) start(job Job, packed []byte) (Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.room(len(packed), 1) {
		return Job{}, ErrFull
	}
	m.last = max(m.last+1, uint64(max(FirstNumber, job.CreatedAt.UnixMicro())))
	job.ID = Name(m.cfg.Peers.Name(), m.last)
	m.jobs[m.last] = &held{Job: job, packed: packed}
	m.bytes += len(packed)
	m.signal()
	return job, nil
}

// room forgets what is over until so much fits.
func (m *memory) room(bytes, jobs int) bool {
	m.expire()
	var over []uint64
	for n, h := range m.jobs {
		if h.State == Done || h.State == Failed {
			over = append(over, n)
		}
	}
	// Those that were done first, and what failed last: it waits for a person.
	slices.SortFunc(over, func(a, b uint64) int {
		x, y := m.jobs[a], m.jobs[b]
		if x.State != y.State {
			return cmp.Compare(x.State, y.State) // done, failed
		}
		return x.EndedAt.Compare(y.EndedAt)
	})
	for len(over) > 0 && (len(m.jobs)+jobs > mostHeld || m.bytes+bytes > bytesHeld) {
		m.forget(over[0])
		over = over[1:]
	}
	return len(m.jobs)+jobs <= mostHeld && m.bytes+bytes <= bytesHeld
}

// expire forgets what is kept no longer.
func (m *memory) expire() {
	now := m.cfg.Clock.Now()
	for n, h := range m.jobs {
		if (h.State == Done || h.State == Failed) && now.Sub(h.EndedAt) >= Keep {
			m.forget(n)
		}
	}
}

func (m *memory) forget(n uint64) {
	h := m.jobs[n]
	m.bytes -= len(h.packed) + len(h.body)
	delete(m.jobs, n)
}

func (m *memory) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *memory) find(n uint64) (Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	h := m.jobs[n]
	if h == nil {
		return Job{}, ErrUnknown
	}
	return h.Job, nil
}

func (m *memory) result(n uint64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	switch h := m.jobs[n]; {
	case h == nil:
		return nil, ErrUnknown
	case h.State != Done:
		return nil, ErrNotDone
	default:
		return h.body, nil
	}
}

func (m *memory) list() []Job {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	var out []Job
	for _, n := range slices.Sorted(maps.Keys(m.jobs)) {
		out = append(out, m.jobs[n].Job)
	}
	return out
}

func (m *memory) act(n uint64, dismiss bool) (found bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.jobs[n]
	if h == nil || h.State != Failed {
		return false
	}
	if dismiss {
		m.forget(n)
		return true
	}
	h.State, h.Tries, h.EndedAt, h.next = Waiting, 0, time.Time{}, time.Time{}
	m.signal()
	return true
}

// run does jobs, one after another: they are for the leisure of a node.
func (m *memory) run(ctx context.Context, r Runner) {
	for ctx.Err() == nil {
		h, task, wait := m.take()
		if h == nil {
			m.rest(ctx, wait)
			continue
		}
		result, body := Result{}, []byte(nil)
		t, err := unpack(task)
		if err == nil {
			try, cancel := context.WithTimeout(ctx, tryTime)
			result, err = r.RunJob(try, h.ID, t)
			cancel()
		}
		if err == nil {
			body, err = deflate(result.Body)
		}
		m.ended(ctx, h, result, body, err)
	}
}

// take marks the job that has waited longest as running, or says how long to wait for
// one; 0 when there is none.
func (m *memory) take() (h *held, task []byte, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Clock.Now()
	for _, n := range slices.Sorted(maps.Keys(m.jobs)) {
		h := m.jobs[n]
		if h.State != Waiting && h.State != Retrying {
			continue
		}
		if left := h.next.Sub(now); left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		h.State = Running
		return h, h.packed, 0
	}
	return nil, nil, wait
}

// ended notes what came of a try.
func (m *memory) ended(ctx context.Context, h *held, r Result, body []byte, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Clock.Now()
	if err == nil {
		m.bytes += len(body) - len(h.packed)
		h.body, h.packed = body, nil
		h.State, h.Reason, h.EndedAt, h.Seq, h.Size = Done, "", now, r.Seq, len(r.Body)
		if !m.room(0, 0) {
			m.cfg.Log.Debug("jobs hold more memory than they should", "bytes", m.bytes)
		}
		return
	}
	h.Reason = reasonOf(err)
	if ctx.Err() != nil {
		return // the node stops, and the job with it
	}
	h.Tries++
	if h.Tries >= MaxTries || errors.Is(err, ErrPermanent) || errors.Is(err, ErrTooLarge) {
		h.State, h.EndedAt = Failed, now
		m.cfg.Log.Warn("a job failed", "job", h.ID, "kind", h.Kind, "error", err)
		return
	}
	h.State, h.next = Retrying, now.Add(pause(h.Tries)/time.Duration(m.cfg.Pace))
}

// rest waits for d (without end for 0), for a signal, or for the end of ctx.
func (m *memory) rest(ctx context.Context, d time.Duration) {
	over := make(chan struct{})
	if d > 0 {
		defer m.cfg.Clock.AfterFunc(d, func() { close(over) })()
	}
	select {
	case <-ctx.Done():
	case <-m.wake:
	case <-over:
	}
}
