package demo

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/serve"
)

// Window is the distance of two check-ins of one person and kind that are both
// accepted, as every new cluster has it.
const Window = 5 * time.Minute

const (
	morningRate   = 200 * time.Millisecond // five taps a second
	morningFlight = 500                    // taps without a final answer; more wait
	// settleTime is how long taps may stay without a final answer after the end.
	settleTime = 30 * time.Second
	checkTime  = 20 * time.Second
	tapTimeout = 10 * time.Second
	// backoffLeast and backoffMost bound the wait between two tries of a tap.
	backoffLeast = 50 * time.Millisecond
	backoffMost  = time.Second
	// scheduleMargin is added to the window: it runs from the decision on.
	scheduleMargin = 15 * time.Second
)

// MorningConfig is what NewMorning needs. Fields without "optional" are required.
type MorningConfig struct {
	Front  string          // URL that the taps go to
	Nodes  []InfoNode      // asked at the end; ID and URL count
	People []serve.Account // who tap; the first administrator among them checks
	Log    *slog.Logger
	// HTTP is used for all requests. Optional.
	HTTP *http.Client
	// Every is the time between two taps. Optional: 200 ms.
	Every time.Duration
	// Done is told the result. Optional.
	Done func(Report)
}

// ErrMorning means that a morning is under way.
var ErrMorning = errors.New("a morning is under way")

// Morning drives taps. Its methods may be called concurrently.
type Morning struct {
	cfg   MorningConfig
	admin *pupil

	mu      sync.Mutex
	current *tally
	end     context.CancelFunc // ends the taps, not the check
	done    chan struct{}      // closed when the check is over
	life    context.Context
	kill    context.CancelFunc
}

// NewMorning returns a morning that has not begun.
func NewMorning(cfg MorningConfig) (*Morning, error) {
	if cfg.Every == 0 {
		cfg.Every = morningRate
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: tapTimeout}
	}
	if cfg.Done == nil {
		cfg.Done = func(Report) {}
	}
	m := &Morning{cfg: cfg}
	for _, a := range cfg.People {
		if a.Role == "admin" && m.admin == nil {
			m.admin = m.pupil(a)
		}
	}
	if m.admin == nil || len(cfg.People) < 2 {
		return nil, errors.New("a morning needs an administrator and people")
	}
	m.life, m.kill = context.WithCancel(context.Background())
	return m, nil
}

func (m *Morning) pupil(a serve.Account) *pupil {
	return &pupil{account: a, client: &api.Client{HTTP: m.cfg.HTTP, Base: m.cfg.Front}}
}

// Start begins a morning, or gives ErrMorning.
func (m *Morning) Start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy() || m.life.Err() != nil {
		return ErrMorning
	}
	ctx, end := context.WithCancel(m.life)
	t := newTally(time.Now())
	m.current, m.end, m.done = t, end, make(chan struct{})
	go m.run(ctx, t, m.done)
	return nil
}

func (m *Morning) busy() bool {
	if m.done == nil {
		return false
	}
	select {
	case <-m.done:
		return false
	default:
		return true
	}
}

// Stop ends the taps. The taps under way are settled and the nodes are asked
// before Wait returns.
func (m *Morning) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.end != nil {
		m.end()
	}
}

// Wait returns when no morning is under way, with the last report.
func (m *Morning) Wait(ctx context.Context) Report {
	m.mu.Lock()
	done := m.done
	m.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	return m.Report()
}

// Report gives the state of the morning that is under way, or of the last one.
func (m *Morning) Report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current == nil {
		return Report{State: Idle}
	}
	return m.current.snapshot()
}

// Close ends everything at once, without a check.
func (m *Morning) Close() {
	m.kill()
	m.Wait(context.Background())
	m.cfg.HTTP.CloseIdleConnections()
}

func (m *Morning) run(ctx context.Context, t *tally, done chan struct{}) {
	defer close(done)
	var pupils []*pupil
	for _, a := range m.cfg.People {
		if a.Role != "admin" {
			pupils = append(pupils, m.pupil(a))
		}
	}
	r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	s := newSchedule(len(pupils), Window+scheduleMargin, r)
	// Taps outlive the end of the morning: each is settled.
	settle, cut := context.WithCancel(m.life)
	defer cut()
	var flying sync.WaitGroup
	room := make(chan struct{}, morningFlight)
	ticker := time.NewTicker(m.cfg.Every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-ticker.C:
		}
		select {
		case room <- struct{}{}:
		default:
			continue // nothing is decided for a long time: more of the same proves nothing
		}
		next := s.next(time.Now(), r)
		t.sent()
		flying.Go(func() {
			defer func() { <-room }()
			m.tap(settle, t, pupils[next.who], next.kind)
		})
	}
	at := time.Now().UTC()
	t.set(func(r *Report) { r.State, r.StoppedAt = Finishing, &at })
	late := time.AfterFunc(settleTime, cut)
	flying.Wait()
	late.Stop()
	if m.life.Err() == nil {
		m.check(t)
	}
	t.set(func(r *Report) { r.State = Checked })
	m.cfg.Done(t.snapshot())
}

// tap sends one tap under one key until the answer is final.
func (m *Morning) tap(ctx context.Context, t *tally, p *pupil, kind string) {
	key := api.NewKey()
	// The school's gate, give or take a few metres.
	lat, lon := -6.2009+(rand.Float64()-0.5)*4e-4, 106.8451+(rand.Float64()-0.5)*4e-4
	body := api.Tap{Type: kind, Latitude: &lat, Longitude: &lon, AccuracyM: 8 + float64(rand.IntN(20))}
	for try := 0; ; try++ {
		if try > 0 {
			t.retried()
			if !pause(ctx, backoff(try)) {
				return
			}
		}
		c, err := p.as(ctx)
		if errors.Is(err, errRefused) {
			m.cfg.Log.Warn("a tap could not be sent", "person", p.account.Email, "error", err)
			t.settle(time.Now(), http.StatusUnauthorized, api.Decision{})
			return
		}
		if err != nil {
			continue
		}
		d, code, final, err := c.CheckIn(ctx, key, body)
		switch {
		case err != nil:
			m.cfg.Log.Debug("tap will be tried again", "key", key, "error", err)
		case code == http.StatusUnauthorized && try < 3:
			p.forget(c)
		case final:
			t.settle(time.Now(), code, d)
			return
		}
	}
}

// backoff is full jitter between the bounds.
func backoff(try int) time.Duration {
	most := min(backoffMost, backoffLeast<<min(try, 10))
	return backoffLeast/2 + rand.N(most)
}

// pause waits, and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// check asks every node for its records and compares them with what was
// acknowledged.
func (m *Morning) check(t *tally) {
	ctx, cancel := context.WithTimeout(m.life, checkTime)
	defer cancel()
	var admin *api.Client
	var err error
	for admin == nil {
		if admin, err = m.admin.as(ctx); err != nil && !pause(ctx, backoffMost) {
			t.set(func(r *Report) { r.Error = err.Error() })
			return
		}
	}
	have := map[string][]api.Attendance{}
	var checked, unchecked []string
	for _, n := range m.cfg.Nodes {
		records, err := m.recordsOf(ctx, admin.At(n.URL), t)
		if err != nil {
			m.cfg.Log.Info("a node could not be asked", "node", n.ID, "error", err)
			unchecked = append(unchecked, n.ID)
			continue
		}
		have[n.ID] = records
		checked = append(checked, n.ID)
	}
	if len(checked) == 0 {
		t.set(func(r *Report) { r.Unchecked, r.Error = unchecked, "no node answers" })
		return
	}
	lost, doubled := t.verify(have, Window)
	t.set(func(r *Report) {
		r.Lost, r.Doubled, r.Checked, r.Unchecked = &lost, &doubled, checked, unchecked
	})
}

// recordsOf gives a node's records since a window before the morning began, once
// it has applied everything that was acknowledged.
func (m *Morning) recordsOf(ctx context.Context, at *api.Client, t *tally) ([]api.Attendance, error) {
	t.mu.Lock()
	index, since := t.index, t.report.StartedAt.Add(-Window)
	t.mu.Unlock()
	filter := url.Values{"limit": {"100"}, "min_index": {strconv.FormatUint(index, 10)}}
	var err error
	for range 3 {
		var records []api.Attendance
		if records, err = at.AttendancesSince(ctx, since, filter); err == nil {
			return records, nil
		}
		var problem *api.Problem
		if !errors.As(err, &problem) || problem.Status < 500 || !pause(ctx, backoffMost) {
			break
		}
	}
	return nil, err
}

// ServeHTTP gives GET for the report and POST …/start and …/stop. It checks
// nobody: wrap it.
func (m *Morning) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	action := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch {
	case r.Method == http.MethodGet && action == "morning":
	case r.Method == http.MethodPost && action == "start":
		if err := m.Start(); err != nil {
			problem(w, http.StatusConflict, "not_now", "A morning is under way.")
			return
		}
	case r.Method == http.MethodPost && action == "stop":
		m.Stop()
	default:
		problem(w, http.StatusMethodNotAllowed, "method_not_allowed", "Use GET, or POST to start or stop.")
		return
	}
	answer(w, http.StatusOK, m.Report())
}
