package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"hadir/cmd/hadir/internal/api"
)

// Config is what Run needs.
type Config struct {
	// As are the same person at each address; clients are spread over them.
	As       []*api.Client
	Users    []uint64 // who taps
	Clients  int
	Duration time.Duration
	// NewKey gives an idempotency key.
	NewKey func() string
}

// Result is one measurement.
type Result struct {
	Clients   int            `json:"clients"`
	Seconds   float64        `json:"seconds"`
	Answered  int            `json:"answered"` // with a decision
	PerSecond float64        `json:"per_second"`
	LatencyMS Percentiles    `json:"latency_ms"` // of what was answered
	Status    map[string]int `json:"status"`     // all answers by HTTP status
	Accepted  int            `json:"accepted"`
	Duplicate int            `json:"duplicate"`
	Failed    int            `json:"failed"` // no answer at all
	LastError string         `json:"last_error,omitempty"`
}

// Percentiles of a set of durations, in milliseconds.
type Percentiles struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// failurePause keeps clients from spinning while nothing listens.
const failurePause = 10 * time.Millisecond

// ErrNobody means that there is nobody to tap.
var ErrNobody = errors.New("there are no active people to check in")

// Run measures once.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if len(cfg.Users) == 0 || len(cfg.As) == 0 {
		return Result{}, ErrNobody
	}
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, cfg.Duration)
	defer cancel()
	all := make([]client, cfg.Clients)
	begun := time.Now()
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i].loop(ctx, cfg, cfg.As[i%len(cfg.As)]) })
	}
	wg.Wait()
	return sum(all, time.Since(begun)), whole.Err()
}

// client is one closed loop. Only its own goroutine touches it.
type client struct {
	took   []time.Duration // of decisions
	status map[int]int
	failed int
	last   error
}

func (c *client) loop(ctx context.Context, cfg Config, as *api.Client) {
	c.status = map[int]int{}
	for ctx.Err() == nil {
		tap := api.Tap{Type: "in", UserID: cfg.Users[rand.IntN(len(cfg.Users))]}
		if rand.IntN(2) == 1 {
			tap.Type = "out"
		}
		at := time.Now()
		_, code, _, err := as.CheckIn(ctx, cfg.NewKey(), tap)
		took := time.Since(at)
		switch {
		case ctx.Err() != nil:
			return // cut off by the end: neither answered nor failed
		case err != nil:
			c.failed++
			c.last = err
			wait := time.NewTimer(failurePause)
			select {
			case <-wait.C:
			case <-ctx.Done():
				wait.Stop()
			}
			continue
		}
		c.status[code]++
		if code == 201 || code == 409 {
			c.took = append(c.took, took)
		}
	}
}

func sum(all []client, took time.Duration) Result {
	r := Result{Clients: len(all), Seconds: took.Seconds(), Status: map[string]int{}}
	var durations []time.Duration
	for _, c := range all {
		durations = append(durations, c.took...)
		r.Failed += c.failed
		for code, n := range c.status {
			r.Status[fmt.Sprint(code)] += n
		}
		if c.last != nil {
			r.LastError = c.last.Error()
		}
	}
	r.Accepted, r.Duplicate = r.Status["201"], r.Status["409"]
	r.Answered = len(durations)
	r.PerSecond = float64(r.Answered) / took.Seconds()
	r.LatencyMS = percentiles(durations)
	return r
}

// percentiles sorts d. Each is the smallest value that so many are not above.
func percentiles(d []time.Duration) Percentiles {
	if len(d) == 0 {
		return Percentiles{}
	}
	slices.Sort(d)
	at := func(perMille int) float64 {
		i := (len(d)*perMille+999)/1000 - 1
		return float64(d[max(0, i)].Microseconds()) / 1000
	}
	return Percentiles{P50: at(500), P90: at(900), P99: at(990), P999: at(999), Max: at(1000)}
}
