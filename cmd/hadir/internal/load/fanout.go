package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"hadir/cmd/hadir/internal/api"
)

// FanoutConfig is what Fanout needs.
type FanoutConfig struct {
	Taps     *api.Client   // to whom check-ins are sent
	Watch    []*api.Client // to whom the clients connect, in turn
	Users    []uint64      // who taps
	Clients  int           // all of them see everything
	Slow     int           // of them, how many do not read
	Timed    int           // of those who read, about how many read at once, and are asked for delays; 0: all
	Rate     int           // check-ins a second, whatever becomes of the earlier ones
	Duration time.Duration // of each of the two loads: without clients and with them
	NewKey   func() string
	Settle   time.Duration // after connecting, before memory is read; 3 s when 0
	Grace    time.Duration // how long the last events, and the end of slow clients, are awaited; 20 s when 0
}

// FanoutResult is one measurement. Times are in milliseconds.
type FanoutResult struct {
	Clients int     `json:"clients"`
	Slow    int     `json:"slow"`
	Timed   int     `json:"timed"`
	Rate    int     `json:"rate"`
	Seconds float64 `json:"seconds"`
	// Sent and Failed count the check-ins of the load with clients.
	Sent   int `json:"sent"`
	Failed int `json:"failed"`
	// AckAlone is the time to the answer of a check-in without clients, Ack with
	// them.
	AckAlone Percentiles `json:"ack_alone_ms"`
	Ack      Percentiles `json:"ack_ms"`
	// ServerAlone and Server are the same as the node that was asked measured it:
	// this program is busy with its clients, and what it measures includes that.
	ServerAlone Quantiles `json:"server_answer_alone_ms"`
	Server      Quantiles `json:"server_answer_ms"`
	// Delivered events, of those clients that read: each client and event is one.
	Delivered int `json:"delivered"`
	Missing   int `json:"missing"`
	Gaps      int `json:"gaps"`
	Broken    int `json:"broken"` // connections that ended before the end
	// SendToFrame is the time from sending a check-in to its event at a timed client,
	// AckToFrame from its answer, 0 when the event was earlier.
	SendToFrame Percentiles `json:"send_to_frame_ms"`
	AckToFrame  Percentiles `json:"ack_to_frame_ms"`
	Nodes       []FanoutOn  `json:"nodes"`
}

// Quantiles are from a node's histogram, in milliseconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

func (s scraped) quantiles(name, labels string) Quantiles {
	return Quantiles{1000 * s.quantile(name, labels, 0.5), 1000 * s.quantile(name, labels, 0.99)}
}

// FanoutOn is what a node says about itself.
type FanoutOn struct {
	URL          string    `json:"url"`
	Clients      int       `json:"clients"`
	ApplyToFrame Quantiles `json:"apply_to_frame_ms"`
	Writes       float64   `json:"writes"`
	Frames       float64   `json:"frames"`
	SlowCloses   float64   `json:"slow_closes"`
	RSSBefore    float64   `json:"rss_before_mib"`
	RSSIdle      float64   `json:"rss_idle_mib"`
	RSSPer1000   float64   `json:"rss_per_1000_idle_mib"`
	CPUPerFrame  float64   `json:"cpu_us_per_frame"` // everything the node does, per frame sent
	before, idle scraped
}

// Intervals of a measurement.
const (
	connectors = 32 // connections that are made at a time
	look       = 50 * time.Millisecond

	memory     = "process_resident_memory_bytes"
	delay      = "hadir_stream_apply_to_frame_seconds"
	slowCloses = "hadir_stream_slow_closes_total"
	answers    = "hadir_http_request_seconds"
	ofCheckIns = `route="/api/v1/checkins",`
)

// tapped is a check-in that was answered.
type tapped struct {
	seq        uint64
	sent, done time.Duration // since the beginning
}

// Fanout measures once: check-ins alone, then the clients without check-ins, then
// both.
func Fanout(ctx context.Context, cfg FanoutConfig) (FanoutResult, error) {
	if len(cfg.Users) == 0 || len(cfg.Watch) == 0 {
		return FanoutResult{}, ErrNobody
	}
	cfg.Settle, cfg.Grace = cmp.Or(cfg.Settle, 3*time.Second), cmp.Or(cfg.Grace, 20*time.Second)
	r := FanoutResult{Clients: cfg.Clients, Slow: cfg.Slow, Rate: cfg.Rate}
	begun := time.Now()
	looks := make([]scraped, 4) // around both loads, at the node that is asked
	ask := func(i int) (err error) {
		looks[i], err = scrape(ctx, cfg.Taps)
		return err
	}
	if err := ask(0); err != nil {
		return r, err
	}
	alone, _ := cfg.tap(ctx, begun)
	if err := ask(1); err != nil {
		return r, err
	}
	r.AckAlone, r.ServerAlone = percentiles(acks(alone)), looks[1].since(looks[0]).quantiles(answers, ofCheckIns)
	for _, as := range cfg.Watch {
		before, err := scrape(ctx, as)
		if err != nil {
			return r, err
		}
		r.Nodes = append(r.Nodes, FanoutOn{URL: as.Base, before: before})
	}
	watchers, err := cfg.connect(ctx)
	defer func() {
		for _, w := range watchers {
			w.conn.Close() //nolint:errcheck // the measurement is over
		}
	}()
	if err != nil {
		return r, err
	}
	if err := wait(ctx, cfg.Settle); err != nil {
		return r, err
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.idle, err = scrape(ctx, cfg.Watch[i]); err != nil {
			return r, err
		}
		n.Clients = (cfg.Clients + len(cfg.Watch) - 1 - i) / len(cfg.Watch)
	}
	var reading sync.WaitGroup
	quick := watchers[cfg.Slow:]
	for _, w := range quick {
		reading.Go(func() { w.read(begun) })
	}
	if err := ask(2); err != nil {
		return r, err
	}
	start := time.Now()
	taps, failed := cfg.tap(ctx, begun)
	r.Seconds, r.Failed, r.Sent = time.Since(start).Seconds(), failed, len(taps)+failed
	if err := ask(3); err != nil {
		return r, err
	}
	r.Ack, r.Server = percentiles(acks(taps)), looks[3].since(looks[2]).quantiles(answers, ofCheckIns)
	if err := cfg.end(ctx, &r, quick, taps); err != nil {
		return r, err
	}
	for _, w := range quick {
		w.conn.SetReadDeadline(time.Now()) //nolint:errcheck // it may have ended
	}
	reading.Wait()
	r.judge(quick, taps)
	return r, nil
}

// end waits until the last event is everywhere and the slow are cut off, or until
// the grace is over, and asks the nodes.
func (cfg FanoutConfig) end(ctx context.Context, r *FanoutResult, quick []*watcher, taps []tapped) error {
	newest := uint64(0)
	for _, t := range taps {
		newest = max(newest, t.seq)
	}
	for deadline := time.Now().Add(cfg.Grace); ; {
		late := slices.ContainsFunc(quick, func(w *watcher) bool { return w.seen.Load() < newest })
		cut := 0.
		for i := range r.Nodes {
			after, err := scrape(ctx, cfg.Watch[i])
			if err != nil {
				return err
			}
			r.Nodes[i].fill(after)
			cut += r.Nodes[i].SlowCloses
		}
		if !late && int(cut) >= cfg.Slow || time.Now().After(deadline) {
			return nil
		}
		if err := wait(ctx, look); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connect makes all connections. Those that came about are given with an error,
// too.
func (cfg FanoutConfig) connect(ctx context.Context) ([]*watcher, error) {
	all := make([]*watcher, cfg.Clients)
	errs := make([]error, cfg.Clients)
	next := make(chan int)
	var wg sync.WaitGroup
	for range connectors {
		wg.Go(func() {
			for i := range next {
				all[i], errs[i] = watch(ctx, cfg.Watch[i%len(cfg.Watch)], cfg.habit(i))
			}
		})
	}
	for i := range cfg.Clients {
		next <- i
	}
	close(next)
	wg.Wait()
	var made []*watcher
	for _, w := range all {
		if w != nil {
			made = append(made, w)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return made, fmt.Errorf("%d of %d clients connected: %w", len(made), cfg.Clients, first(errs))
	}
	return made, nil
}

// habit says how the i-th client reads. Those that are timed are spread evenly: the
// first connection may be served before the last.
func (cfg FanoutConfig) habit(i int) habit {
	readers := cfg.Clients - cfg.Slow
	switch {
	case i < cfg.Slow:
		return slow
	case cfg.Timed <= 0 || cfg.Timed >= readers || (i-cfg.Slow)*cfg.Timed%readers < cfg.Timed:
		return timed
	}
	return leisured
}

func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// tap is an open loop of check-ins.
func (cfg FanoutConfig) tap(ctx context.Context, begun time.Time) (taps []tapped, failed int) {
	if cfg.Rate == 0 {
		return nil, 0
	}
	ticker := time.NewTicker(time.Second / time.Duration(cfg.Rate))
	defer ticker.Stop()
	end := time.NewTimer(cfg.Duration)
	defer end.Stop()
	var mu sync.Mutex
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			return taps, failed
		case <-end.C:
			wg.Wait()
			return taps, failed
		case <-ticker.C:
		}
		wg.Go(func() {
			t, err := cfg.one(ctx, begun)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				return
			}
			taps = append(taps, t)
		})
	}
}

var errUndecided = errors.New("not decided")

func (cfg FanoutConfig) one(ctx context.Context, begun time.Time) (tapped, error) {
	tap := api.Tap{Type: "in", UserID: cfg.Users[rand.IntN(len(cfg.Users))]}
	if rand.IntN(2) == 1 {
		tap.Type = "out"
	}
	t := tapped{sent: time.Since(begun)}
	d, code, _, err := cfg.Taps.CheckIn(ctx, cfg.NewKey(), tap)
	if err != nil {
		return t, err
	}
	if code != 201 && code != 409 {
		return t, fmt.Errorf("%w: %d", errUndecided, code)
	}
	t.done, t.seq = time.Since(begun), d.Seq
	return t, nil
}

func acks(taps []tapped) []time.Duration {
	var out []time.Duration
	for _, t := range taps {
		out = append(out, t.done-t.sent)
	}
	return out
}

// judge compares what was answered with what came.
func (r *FanoutResult) judge(quick []*watcher, taps []tapped) {
	var sent, done []time.Duration
	for _, w := range quick {
		r.Gaps += w.gaps
		if w.timed {
			r.Timed++
		}
		if !timedOut(w.err) {
			r.Broken++
		}
		for _, t := range taps {
			if w.first == 0 || t.seq < w.first || t.seq > w.last() {
				r.Missing++
				continue
			}
			r.Delivered++
			if !w.timed {
				continue
			}
			at := time.Duration(w.came[t.seq-w.first]) * time.Microsecond
			sent, done = append(sent, at-t.sent), append(done, max(0, at-t.done))
		}
	}
	r.SendToFrame, r.AckToFrame = percentiles(sent), percentiles(done)
}

// timedOut reports whether the reading ended because the measurement did.
func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// fill takes what the node said at the end.
func (n *FanoutOn) fill(after scraped) {
	const mib = 1 << 20
	load := after.since(n.idle)
	n.ApplyToFrame = load.quantiles(delay, "")
	n.Writes, n.Frames = load["hadir_stream_writes_total"], load["hadir_stream_frames_total"]
	n.SlowCloses = load[slowCloses]
	n.RSSBefore, n.RSSIdle = n.before[memory]/mib, n.idle[memory]/mib
	if n.Clients > 0 {
		n.RSSPer1000 = (n.RSSIdle - n.RSSBefore) * 1000 / float64(n.Clients)
	}
	if n.Frames > 0 {
		n.CPUPerFrame = load["process_cpu_seconds_total"] * 1e6 / n.Frames
	}
}
