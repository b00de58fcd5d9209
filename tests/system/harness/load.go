package harness

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// Try is one request of an operation.
type Try struct {
	URL    string        `json:"url"`
	After  time.Duration `json:"after"` // since the operation began
	Took   time.Duration `json:"took"`
	Status int           `json:"status"` // 0: no answer
	Answer string        `json:"answer,omitempty"`
}

// Op is a check-in with all its tries under one key.
type Op struct {
	N       int       `json:"n"`
	Key     string    `json:"key"`
	User    uint64    `json:"user"`
	Type    string    `json:"type"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	Status  int       `json:"status"` // of the final answer; 0 without one
	Replay  bool      `json:"replay"`
	Answer  Decision  `json:"answer"`
	Tries   []Try     `json:"tries"`
	Strange []string  `json:"strange,omitempty"` // answers that no client should meet
}

// Final reports whether the operation was decided.
func (o *Op) Final() bool { return o.Status == 201 || o.Status == 409 }

// LoadConfig says what load is wanted.
type LoadConfig struct {
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
}

// Load is a running load.
type Load struct {
	cfg    LoadConfig
	client Client
	pairs  *pairs

	mu      sync.Mutex
	ops     []*Op
	decided []time.Time // in order
	began   time.Time
	ended   time.Time

	stop chan struct{}
	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup
}

// pairs hands out who taps what. Most pairs are new, so that most taps are
// accepted; some are handed out twice in a row, for two taps that race each
// other over different nodes, and some again later.
type pairs struct {
	mu    sync.Mutex
	users int // for loads; those after them are for Fresh
	turn  int
	fresh int
	kept  int
}

func (p *pairs) next() (user uint64, kind string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn++
	i := p.fresh
	switch {
	case p.fresh >= 2*p.users, p.turn%10 == 9 && p.fresh > 0:
		i = p.turn * 7919 % p.fresh
	case p.turn%5 == 3 && p.fresh > 0:
		i = p.fresh - 1
	default:
		p.fresh++
	}
	return pair(i)
}

// mostReserved bounds how many students are kept for Fresh.
const mostReserved = 40

func newPairs(students int) pairs {
	return pairs{users: students - min(mostReserved, students/2)}
}

// Fresh gives a pair that nobody has tapped; there are twice as many as are
// reserved.
func (c *Cluster) Fresh() (user uint64, kind string) {
	p := &c.pairs
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept++
	return pair(2*p.users + p.kept - 1)
}

func pair(i int) (uint64, string) {
	kind := "in"
	if i%2 == 1 {
		kind = "out"
	}
	return uint64(FirstStudent + i/2), kind
}

// Key makes an idempotency key: a UUID of version 4.
func Key() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Load begins a load by the administrator on behalf of students.
func (c *Cluster) Load(cfg LoadConfig) *Load {
	if cfg.URLs == nil {
		cfg.URLs = c.URLs()
	}
	return startLoad(cfg, c.Admin, &c.pairs)
}

func startLoad(cfg LoadConfig, client Client, p *pairs) *Load {
	if cfg.TryTimeout == 0 {
		cfg.TryTimeout = 4 * time.Second
	}
	if cfg.Patience == 0 {
		cfg.Patience = 20 * time.Second
	}
	l := &Load{cfg: cfg, client: client, pairs: p, stop: make(chan struct{}), began: time.Now()}
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
		user, kind := l.pairs.next()
		op := &Op{N: n, Key: Key(), User: user, Type: kind, Start: time.Now()}
		l.mu.Lock()
		l.ops = append(l.ops, op)
		l.mu.Unlock()
		l.wg.Go(func() { l.do(op) })
	}
}

// do tries an operation until it is decided.
func (l *Load) do(op *Op) {
	body := Tap{Type: op.Type, User: op.User}
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

func (l *Load) try(op *Op, base string, body Tap) (final bool) {
	ctx, cancel := context.WithTimeout(l.life, l.cfg.TryTimeout)
	defer cancel()
	start := time.Now()
	a, err := l.client.At(base).Do(ctx, "POST", "/api/v1/checkins", op.Key, body)
	now := time.Now()
	t := Try{URL: base, After: start.Sub(op.Start), Took: now.Sub(start)}
	if err != nil {
		t.Answer = err.Error()
		l.note(op, t)
		return false
	}
	t.Status = a.Status
	switch a.Status {
	case 201, 409:
		var d Decision
		if err := json.Unmarshal(a.Body, &d); err != nil {
			op.Strange = append(op.Strange, fmt.Sprintf("%s: %v", a, err))
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		op.Tries = append(op.Tries, t)
		op.Status, op.Answer, op.End = a.Status, d, now
		op.Replay = a.Header.Get("Idempotency-Replayed") == "true"
		l.decided = append(l.decided, now)
		return true
	case 202, 429, 503: // not decided: again
	case 502, 504:
		// A front says so; a node never does.
		if a.Header.Get("X-Hadir-Node") != "" {
			op.Strange = append(op.Strange, a.String())
		}
	default:
		op.Strange = append(op.Strange, a.String())
	}
	t.Answer = a.String()
	l.note(op, t)
	return false
}

func (l *Load) note(op *Op, t Try) {
	l.mu.Lock()
	defer l.mu.Unlock()
	op.Tries = append(op.Tries, t)
}

// Decided gives how many operations are decided.
func (l *Load) Decided() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.decided)
}

// Progress waits until n more operations are decided.
func (l *Load) Progress(ctx context.Context, n int) error {
	goal := l.Decided() + n
	return Await(ctx, func() error {
		if d := l.Decided(); d < goal {
			return fmt.Errorf("%d operations are decided, %d awaited", d, goal)
		}
		return nil
	})
}

// Stop ends the load and waits for what is under way. It may be called again.
func (l *Load) Stop() []*Op {
	l.mu.Lock()
	if l.ended.IsZero() {
		l.ended = time.Now()
		close(l.stop)
	}
	l.mu.Unlock()
	patience := time.AfterFunc(l.cfg.Patience, l.end)
	defer patience.Stop()
	l.wg.Wait()
	l.end()
	return l.ops
}

// Gap gives the longest time between two consecutive decisions since the load
// began, or since the given moment if that is later, until the load was stopped.
func (l *Load) Gap(since time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, end, longest := l.began, l.ended, time.Duration(0)
	if since.After(last) {
		last = since
	}
	if end.IsZero() {
		end = time.Now()
	}
	for _, at := range l.decided {
		if at.Before(last) || at.After(end) {
			continue
		}
		longest, last = max(longest, at.Sub(last)), at
	}
	return max(longest, end.Sub(last))
}

// Undecided counts the answers that were not final, by status; 0 stands for none.
func Undecided(ops []*Op) map[int]int {
	out := map[int]int{}
	for _, op := range ops {
		for _, t := range op.Tries {
			if t.Status != 201 && t.Status != 409 {
				out[t.Status]++
			}
		}
	}
	return out
}

// Summary gives one line.
func Summary(ops []*Op) string {
	accepted, duplicate, open, replays := 0, 0, 0, 0
	for _, op := range ops {
		switch op.Status {
		case 201:
			accepted++
		case 409:
			duplicate++
		default:
			open++
		}
		if op.Replay {
			replays++
		}
	}
	return fmt.Sprintf("sent %d = accepted %d + duplicate %d + undecided %d; replayed %d; answers that were retried, by status: %v",
		len(ops), accepted, duplicate, open, replays, Undecided(ops))
}
