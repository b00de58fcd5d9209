package load

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"hadir/tests/chaos/client"
)

// Config says what load is wanted.
type Config struct {
	Rate int // operations a second, whatever becomes of the earlier ones
	// URLs are tried in turn, each operation beginning at the next one. One URL
	// (a front) is tried again and again.
	URLs []string
	// TryTimeout bounds one request; 4 s when 0, which is more than the 2.5 s that
	// a node may take.
	TryTimeout time.Duration
	// Patience is how long an operation is retried after the load was stopped;
	// 20 s when 0.
	Patience time.Duration
	// Ask has every other operation that was recorded (202 queued) ask what became
	// of it, instead of sending the tap again: what is recorded must be decided
	// without anybody's help.
	Ask bool
}

// Load is a running load.
type Load struct {
	cfg   Config
	by    client.Client
	pairs *Pairs

	mu       sync.Mutex
	ops      []*Op
	decided  []time.Time // in order
	kept     []time.Time // first acknowledged: decided or recorded; in order
	recorded int
	failed   int // tries without an acknowledgement
	began    time.Time
	ended    time.Time

	stop chan struct{}
	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup
}

// Key makes an idempotency key: a UUID of version 4.
func Key() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Start begins a load by somebody on behalf of others. Rate and URLs are needed.
func Start(cfg Config, by client.Client, p *Pairs) *Load {
	if cfg.TryTimeout == 0 {
		cfg.TryTimeout = 4 * time.Second
	}
	if cfg.Patience == 0 {
		cfg.Patience = 20 * time.Second
	}
	l := &Load{cfg: cfg, by: by, pairs: p, stop: make(chan struct{}), began: time.Now()}
	l.life, l.end = context.WithCancel(context.Background())
	l.wg.Go(l.run)
	return l
}

// run is an open loop: what is slow does not keep the next tap from coming.
func (l *Load) run() {
	ticker := time.NewTicker(time.Second / time.Duration(l.cfg.Rate))
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
		}
		user, kind := l.pairs.Next()
		op := &Op{N: n, Key: Key(), User: user, Type: kind, Start: time.Now()}
		l.mu.Lock()
		l.ops = append(l.ops, op)
		l.mu.Unlock()
		l.wg.Go(func() { l.do(op) })
	}
}

// do tries an operation until it is decided.
func (l *Load) do(op *Op) {
	body := client.Tap{Type: op.Type, User: op.User}
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	for i := 0; l.life.Err() == nil; i++ {
		if l.try(op, l.cfg.URLs[(op.N+i)%len(l.cfg.URLs)], body) {
			return
		}
		pause.Reset(min(20*time.Millisecond<<min(i, 5), 500*time.Millisecond))
		select {
		case <-pause.C:
		case <-l.life.Done():
		}
	}
}

// try sends the tap, or asks for it.
func (l *Load) try(op *Op, base string, body client.Tap) (final bool) {
	ctx, cancel := context.WithTimeout(l.life, l.cfg.TryTimeout)
	defer cancel()
	at, start := l.by.At(base), time.Now()
	var a *client.Answer
	var err error
	asked := l.cfg.Ask && op.N%2 == 1 && !op.Recorded.IsZero()
	if asked {
		a, err = at.Do(ctx, http.MethodGet, "/api/v1/checkins/"+op.Key, "", nil)
	} else {
		a, err = at.Do(ctx, http.MethodPost, "/api/v1/checkins", op.Key, body)
	}
	now := time.Now()
	t := Try{URL: base, After: start.Sub(op.Start), Took: now.Sub(start)}
	if err != nil {
		t.Answer = err.Error()
		l.note(op, t)
		return false
	}
	t.Status = a.Status
	var d client.Decision
	status, strange := read(a, asked, &d)
	if strange != "" {
		op.Strange = append(op.Strange, strange)
	}
	if status == 0 {
		t.Answer = a.String()
		if d.Status == "queued" && !asked {
			l.record(op, now)
		}
		l.note(op, t)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	op.Tries = append(op.Tries, t)
	op.Status, op.Answer, op.End = status, d, now
	op.Replay = a.Header.Get("Idempotency-Replayed") == "true"
	l.decided = append(l.decided, now)
	if op.Recorded.IsZero() {
		l.kept = append(l.kept, now)
	}
	return true
}

// read gives the final status that an answer means, 0 when it is none, and what is
// strange about it.
func read(a *client.Answer, asked bool, d *client.Decision) (status int, strange string) {
	switch a.Status {
	case http.StatusOK, Accepted, Review, Duplicate, Rejected:
		if err := json.Unmarshal(a.Body, d); err != nil {
			return 0, fmt.Sprintf("%s: %v", a, err)
		}
	}
	switch {
	case asked && a.Status == http.StatusOK:
		for _, status := range []int{Accepted, Duplicate, Review, Rejected} {
			if d.Status == Words(status) {
				return status, ""
			}
		}
		if d.Status != "queued" {
			return 0, a.String()
		}
		return 0, ""
	case asked && a.Status == http.StatusNotFound: // that node does not know it (yet)
		return 0, ""
	case a.Status == Accepted, a.Status == Duplicate:
		return a.Status, ""
	case a.Status == Review && d.Status == Words(Review):
		return Review, ""
	case a.Status == Rejected: // no key is used twice, so nothing is to be refused
		return Rejected, a.String()
	case a.Status == Review, a.Status == http.StatusTooManyRequests, a.Status == http.StatusServiceUnavailable:
		return 0, "" // not decided: again
	case (a.Status == http.StatusBadGateway || a.Status == http.StatusGatewayTimeout) && a.Header.Get("X-Hadir-Node") == "":
		return 0, "" // a front says so; a node never does
	}
	return 0, a.String()
}

func (l *Load) record(op *Op, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if op.Recorded.IsZero() {
		op.Recorded = now
		l.recorded++
		l.kept = append(l.kept, now)
	}
}

func (l *Load) note(op *Op, t Try) {
	l.mu.Lock()
	defer l.mu.Unlock()
	op.Tries = append(op.Tries, t)
	if op.Recorded.IsZero() && l.life.Err() == nil {
		l.failed++
	}
}

// Counts is how far a load is.
type Counts struct {
	Sent     int `json:"sent"`     // operations
	Decided  int `json:"decided"`  // of them
	Recorded int `json:"recorded"` // of them, those that were answered 202 queued
	Failed   int `json:"failed"`   // requests without an acknowledgement
}

// Counts gives how far the load is.
func (l *Load) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Counts{Sent: len(l.ops), Decided: len(l.decided), Recorded: l.recorded, Failed: l.failed}
}

// Decided gives how many operations are decided.
func (l *Load) Decided() int { return l.Counts().Decided }

// Progress waits until n more operations are decided.
func (l *Load) Progress(ctx context.Context, n int) error {
	goal := l.Decided() + n
	return client.Await(ctx, func() error {
		if d := l.Decided(); d < goal {
			return fmt.Errorf("%d operations are decided, %d awaited", d, goal)
		}
		return nil
	})
}

// Sample gives somebody who was accepted, and when they were told; ok is false
// while there is nobody. Which one it is depends on n.
func (l *Load) Sample(n int) (a client.Attendance, told time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range min(len(l.ops), 100) {
		op := l.ops[(n+i)%len(l.ops)]
		if op.Status == Accepted && op.Answer.Attendance != nil {
			return *op.Answer.Attendance, op.End, true
		}
	}
	return a, told, false
}

// Halt lets no new operation begin. What is under way goes on.
func (l *Load) Halt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.IsZero() {
		l.ended = time.Now()
		close(l.stop)
	}
}

// Stop ends the load and waits for what is under way, as long as its patience
// lasts. It may be called again.
func (l *Load) Stop() []*Op {
	l.Halt()
	patience := time.AfterFunc(l.cfg.Patience, l.end)
	defer patience.Stop()
	l.wg.Wait()
	l.end()
	return l.ops
}

// Abort ends the load and what is under way.
func (l *Load) Abort() []*Op {
	l.end()
	return l.Stop()
}

// Gap gives the longest time between two consecutive decisions since the load
// began, or since the given moment if that is later, until the load was stopped.
func (l *Load) Gap(since time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gap(l.decided, since)
}

// KeptGap is Gap between two taps that were kept: decided, or recorded.
func (l *Load) KeptGap(since time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gap(l.kept, since)
}

func (l *Load) gap(moments []time.Time, since time.Time) time.Duration {
	last, end, longest := l.began, l.ended, time.Duration(0)
	if since.After(last) {
		last = since
	}
	if end.IsZero() {
		end = time.Now()
	}
	for _, at := range moments {
		if at.Before(last) || at.After(end) {
			continue
		}
		longest, last = max(longest, at.Sub(last)), at
	}
	return max(longest, end.Sub(last))
}
