// Command redis measures what Redis costs a check-in: how long it takes to be decided
// with Redis there and with Redis killed, in turn, in one run.
//
//	go run ./tests/bench/redis [-rate 100] [-seconds 8] [-rounds 4]
//
// It builds the program, runs three nodes and a redis-server on this machine, and
// writes one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"hadir/tests/system/harness"
)

// phase is the check-ins of one span of time.
type phase struct {
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
	Queued int     `json:"queued"` // recorded and not decided in time
}

type result struct {
	Rate     int     `json:"rate"`
	CheckIns int     `json:"check_ins"`
	Up       []phase `json:"up"`
	Killed   []phase `json:"killed"`
	// Medians of the rounds.
	UpP99     float64 `json:"up_p99_ms"`
	KilledP99 float64 `json:"killed_p99_ms"`
	Ratio     float64 `json:"killed_to_up"`
}

const students = 500

func main() {
	rate := flag.Int("rate", 100, "check-ins a second, over all nodes")
	seconds := flag.Int("seconds", 8, "how long a phase is")
	rounds := flag.Int("rounds", 4, "how often there is one with Redis and one without")
	flag.Parse()
	r, err := run(*rate, *seconds, *rounds)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "redis:", err)
		os.Exit(1)
	}
}

// server is a redis-server that can be killed and started again.
type server struct {
	addr, dir string
	cmd       *exec.Cmd
}

func (s *server) start(ctx context.Context) error {
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return err
	}
	s.cmd = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "yes",
		"--appendfsync", "always", "--maxmemory-policy", "noeviction")
	if err := s.cmd.Start(); err != nil {
		return err
	}
	return harness.Await(ctx, func() error {
		conn, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill() // it may have ended
		_ = s.cmd.Wait()         // killed
		s.cmd = nil
	}
}

func run(rate, seconds, rounds int) (r result, err error) {
	dir, err := os.MkdirTemp("", "hadir-redis-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	bin, err := harness.Build(ctx, dir, false)
	if err != nil {
		return r, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	redis := &server{addr: l.Addr().String(), dir: dir}
	if err := l.Close(); err != nil {
		return r, err
	}
	defer redis.kill()
	if err := redis.start(ctx); err != nil {
		return r, err
	}
	c, err := harness.New(harness.Options{
		Bin: bin, Dir: filepath.Join(dir, "nodes"), Students: students, Args: []string{"--redis-url", "redis://" + redis.addr + "/0"},
	})
	if err != nil {
		return r, err
	}
	defer c.Close()
	if err := c.Up(ctx); err != nil {
		return r, err
	}
	r.Rate = rate
	if _, err := load(ctx, c, rate, 2); err != nil { // warm
		return r, err
	}
	for range rounds {
		up, err := load(ctx, c, rate, seconds)
		if err != nil {
			return r, err
		}
		redis.kill()
		killed, err := load(ctx, c, rate, seconds)
		if err != nil {
			return r, err
		}
		if err := redis.start(ctx); err != nil {
			return r, err
		}
		r.Up, r.Killed = append(r.Up, up), append(r.Killed, killed)
		r.CheckIns += 2 * rate * seconds
	}
	r.UpP99, r.KilledP99 = median(r.Up), median(r.Killed)
	r.Ratio = r.KilledP99 / r.UpP99
	return r, nil
}

func median(all []phase) float64 {
	p := make([]float64, len(all))
	for i := range all {
		p[i] = all[i].P99
	}
	slices.Sort(p)
	return p[len(p)/2]
}

// load sends check-ins at a rate. What is late is late, and counts from when it was due.
func load(ctx context.Context, c *harness.Cluster, rate, seconds int) (p phase, err error) {
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	n := rate * seconds
	begun := time.Now()
	for i := range n {
		due := begun.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		wg.Go(func() {
			a, failed := c.At(c.Nodes[i%len(c.Nodes)]).Do(ctx, "POST", "/api/v1/checkins", harness.Key(), harness.Tap{
				Type: []string{"in", "out"}[i%2], User: uint64(harness.FirstStudent + i/2%students),
			})
			if failed == nil && a.Status != 201 && a.Status != 409 && a.Status != 202 {
				failed = fmt.Errorf("refused: %s", a)
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
			if failed == nil && a.Status == 202 {
				p.Queued++
			}
			if err == nil {
				err = failed
			}
		})
	}
	wg.Wait()
	if err != nil {
		return p, err
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	p.P50, p.P99, p.Max = ms(took[n/2]), ms(took[n*99/100]), ms(took[n-1])
	return p, nil
}
