// Command queue measures what a node does that is cut off: how fast it records, and
// how fast it has everything decided afterwards.
//
//	go run ./tests/bench/queue [-queued 10000] [-rate 200] [-seconds 20]
//
// It builds the program, runs three nodes on this machine, kills two, and writes one
// JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"hadir/tests/system/harness"
)

type result struct {
	Rate       int     `json:"rate"`
	Receipts   int     `json:"receipts"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	Queued     int     `json:"queued"`
	DrainS     float64 `json:"drain_s"`      // from the first look at which the node was fresh
	SinceBackS float64 `json:"since_back_s"` // from the start of the other two nodes
	Decided    int     `json:"decided"`      // attendances and duplicates in the log
}

func main() {
	queued := flag.Int("queued", 10_000, "check-ins that wait when the others come back")
	rate := flag.Int("rate", 200, "check-ins a second while latency is measured")
	seconds := flag.Int("seconds", 20, "how long that is")
	args := flag.String("redis-url", "", "Redis for second copies")
	flag.Parse()
	r, err := run(*queued, *rate, *seconds, *args)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "queue:", err)
		os.Exit(1)
	}
}

func run(queued, rate, seconds int, redis string) (r result, err error) {
	dir, err := os.MkdirTemp("", "hadir-queue-bench-")
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
	const students = 500
	o := harness.Options{Bin: bin, Dir: filepath.Join(dir, "nodes"), Students: students}
	if redis != "" {
		o.Args = []string{"--redis-url", redis}
	}
	c, err := harness.New(o)
	if err != nil {
		return r, err
	}
	defer c.Close()
	if err := c.Up(ctx); err != nil {
		return r, err
	}
	survivor := c.Nodes[2]
	at := c.At(survivor)
	c.Nodes[0].Kill()
	c.Nodes[1].Kill()
	if err := harness.Await(ctx, func() error { return queuedOnce(ctx, at, 0) }); err != nil {
		return r, err
	}

	// Open loop: what is late is late, and counts from when it was due.
	var mu sync.Mutex
	var took []time.Duration
	var first error
	var wg sync.WaitGroup
	n := rate * seconds
	begun := time.Now()
	for i := range n {
		due := begun.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		wg.Go(func() {
			err := queuedOnce(ctx, at, i)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
			if err != nil && first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	if first != nil {
		return r, first
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	r = result{Rate: rate, Receipts: n, P50: ms(took[n/2]), P99: ms(took[n*99/100]), Max: ms(took[n-1])}

	// Fill up.
	slots := make(chan struct{}, 64)
	for i := n; i < queued; i++ {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			// One account may not send as fast as a school does.
			if err := harness.Await(ctx, func() error { return queuedOnce(ctx, at, i) }); err != nil {
				mu.Lock()
				defer mu.Unlock()
				first = err
			}
		})
	}
	wg.Wait()
	if first != nil {
		return r, first
	}
	if r.Queued, err = waiting(ctx, at); err != nil {
		return r, err
	}
	back := time.Now()
	for _, node := range c.Nodes[:2] {
		if err := node.Start(); err != nil {
			return r, err
		}
	}
	healed := time.Time{}
	for {
		left, err := waiting(ctx, at)
		if err != nil {
			return r, err
		}
		if healed.IsZero() && left < r.Queued {
			healed = time.Now()
		}
		if left == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	r.DrainS, r.SinceBackS = time.Since(healed).Seconds(), time.Since(back).Seconds()
	var list struct {
		Accepted, Duplicate int
	}
	items, err := at.List(ctx, "/api/v1/logs", map[string][]string{"after": {"0"}, "consistency": {"strong"}})
	if err != nil {
		return r, err
	}
	seen := map[string]int{}
	for _, item := range items {
		var e struct{ ID, Type string }
		if err := json.Unmarshal(item, &e); err != nil {
			return r, err
		}
		switch e.Type {
		case "attendance.accepted":
			list.Accepted++
			seen[e.ID]++
		case "attendance.duplicate":
			list.Duplicate++
			seen[e.ID]++
		}
	}
	for key, times := range seen {
		if times != 1 {
			return r, fmt.Errorf("key %s was decided %d times", key, times)
		}
	}
	if r.Decided = list.Accepted + list.Duplicate; r.Decided != r.Queued {
		return r, fmt.Errorf("%d were queued and %d decided", r.Queued, r.Decided)
	}
	return r, nil
}

// queuedOnce sends a check-in that must be queued.
func queuedOnce(ctx context.Context, at harness.Client, i int) error {
	a, err := at.Do(ctx, "POST", "/api/v1/checkins", harness.Key(), harness.Tap{
		Type: []string{"in", "out"}[i%2], User: uint64(harness.FirstStudent + i/2%500),
	})
	if err != nil {
		return err
	}
	var d harness.Decision
	if err := json.Unmarshal(a.Body, &d); err != nil || a.Status != 202 || d.Status != "queued" {
		return fmt.Errorf("not queued: %s", a)
	}
	return nil
}

// waiting gives how many wait at the node that answers.
func waiting(ctx context.Context, at harness.Client) (int, error) {
	var v struct {
		Nodes []struct {
			Waiting int `json:"waiting"`
		} `json:"nodes"`
	}
	if err := at.Get(ctx, "/api/v1/queue", &v); err != nil {
		return 0, err
	}
	if len(v.Nodes) == 0 {
		return 0, fmt.Errorf("GET /queue has no nodes")
	}
	return v.Nodes[0].Waiting, nil
}
