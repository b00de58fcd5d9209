// Command failover measures what a cluster's users notice when the leader ends.
//
//	go run ./tests/bench/failover [-trials 20] [-rate 200] [-mode kill|term|idle] [-bin path]
//
// Modes kill and term: three nodes as processes on this machine, fsync on, an
// open loop of check-ins spread over all of them. In each trial the leader is
// ended with SIGKILL, or asked to end with SIGTERM, and started again. Reported
// are the longest time between two consecutive decisions (201 or 409) across all
// clients in each trial, how long the process took to end, and, at the end, what
// was acknowledged and is not on every node, or is there twice.
//
// Mode idle: memory and processor time of each node without load, the time from
// the start of three empty nodes to the first decision, and how old answers are.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"hadir/tests/system/harness"
)

type config struct {
	trials, rate, students int
	mode, bin, dir, out    string
}

func main() {
	var c config
	flag.IntVar(&c.trials, "trials", 20, "how often the leader is ended; in mode idle, cold starts")
	flag.IntVar(&c.rate, "rate", 200, "check-ins a second")
	flag.IntVar(&c.students, "students", 3000, "people of the cluster; each has two records in five minutes, further check-ins are duplicates")
	flag.StringVar(&c.mode, "mode", "kill", "kill, term or idle")
	flag.StringVar(&c.bin, "bin", "", "binary to measure (default: built from this source)")
	flag.StringVar(&c.dir, "dir", "", "where data is kept (default: a temporary directory)")
	flag.StringVar(&c.out, "json", "", "write the result to this file too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, c)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c config) (err error) {
	if c.trials < 1 || c.rate < 1 || c.students < 1 {
		return errors.New("-trials, -rate and -students are at least 1")
	}
	tmp, err := os.MkdirTemp(c.dir, "hadir-failover-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	c.dir = tmp
	if c.bin == "" {
		if c.bin, err = harness.Build(ctx, tmp, false); err != nil {
			return err
		}
	}
	var result any
	switch c.mode {
	case "kill", "term":
		result, err = failovers(ctx, c)
	case "idle":
		result, err = idle(ctx, c)
	default:
		return fmt.Errorf("-mode %q is neither kill, term nor idle", c.mode)
	}
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("\n%s\n", b)
	if c.out != "" {
		err = os.WriteFile(c.out, append(b, '\n'), 0o600)
	}
	if v, ok := result.(*failoverResult); ok && (v.Lost > 0 || v.Doubled > 0 || v.Undecided > 0 || len(v.Faults) > 0) {
		err = errors.Join(err, errors.New("the cluster did not keep its promises"))
	}
	return err
}

// machine says where numbers come from.
type machine struct {
	Cores int    `json:"cores"`
	GOOS  string `json:"goos"`
	Arch  string `json:"arch"`
}

func here() machine { return machine{runtime.NumCPU(), runtime.GOOS, runtime.GOARCH} }

type trial struct {
	Leader   string  `json:"leader"`
	Next     string  `json:"next"`
	GapMS    float64 `json:"gap_ms"`           // longest time between two decisions
	BeforeMS float64 `json:"gap_before_ms"`    // the same in the second before, for comparison
	EndedMS  float64 `json:"process_ended_ms"` // from the signal to the end of the process
	ExitCode int     `json:"exit_code"`
	HealthMS float64 `json:"healthy_after_start_ms"`
	Sent     int     `json:"sent"`
	Retried  int     `json:"retried"` // answers that were no decision
}

type failoverResult struct {
	Mode         string    `json:"mode"`
	Machine      machine   `json:"machine"`
	Rate         int       `json:"rate"`
	Trials       []trial   `json:"trials"`
	GapP50MS     float64   `json:"gap_p50_ms"`
	GapMaxMS     float64   `json:"gap_max_ms"`
	Sent         int       `json:"sent"`
	Accepted     int       `json:"accepted"`
	Duplicate    int       `json:"duplicate"`
	Undecided    int       `json:"undecided"`
	Lost         int       `json:"lost"`
	Doubled      int       `json:"doubled"`
	Faults       []string  `json:"faults"`
	MeasuredAt   time.Time `json:"measured_at"`
	JudgedRecord int       `json:"acknowledged"`
}

const (
	startTime = 90 * time.Second
	waitTime  = 30 * time.Second
)

func failovers(ctx context.Context, c config) (*failoverResult, error) {
	cluster, err := harness.New(harness.Options{Bin: c.bin, Dir: c.dir, Students: c.students})
	if err != nil {
		return nil, err
	}
	defer cluster.Close()
	fmt.Fprintf(os.Stderr, "starting three nodes with %d people, each an entry of its own\n", c.students)
	if err := within(ctx, startTime, cluster.Up); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, cluster.Log())
	}
	r := &failoverResult{Mode: c.mode, Machine: here(), Rate: c.rate, MeasuredAt: time.Now().UTC().Truncate(time.Second), Faults: []string{}}
	fmt.Println("trial  leader  next     gap before     gap       ended     healthy   sent  retried")
	var ops []*harness.Op
	for i := range c.trials {
		one, more, err := once(ctx, c, cluster)
		ops = append(ops, more...)
		if err != nil {
			return nil, fmt.Errorf("trial %d: %w\n%s", i+1, err, cluster.Log())
		}
		r.Trials = append(r.Trials, one)
		fmt.Printf("%5d  %-6s  %-6s  %8.0f ms  %6.0f ms  %6.0f ms  %6.0f ms  %5d  %7d\n",
			i+1, one.Leader, one.Next, one.BeforeMS, one.GapMS, one.EndedMS, one.HealthMS, one.Sent, one.Retried)
	}
	fmt.Fprintln(os.Stderr, "comparing what clients were told with what the nodes have")
	verdict, err := cluster.Judge(ctx, ops)
	if err != nil {
		return nil, err
	}
	r.Lost, r.Doubled, r.Faults, r.JudgedRecord = verdict.Lost, verdict.Doubled, append(r.Faults, verdict.Faults...), verdict.Acknowledged
	for _, op := range ops {
		r.Sent++
		switch op.Status {
		case 201:
			r.Accepted++
		case 409:
			r.Duplicate++
		default:
			r.Undecided++
		}
	}
	gaps := make([]float64, 0, len(r.Trials))
	for _, one := range r.Trials {
		gaps = append(gaps, one.GapMS)
	}
	slices.Sort(gaps)
	r.GapP50MS, r.GapMaxMS = gaps[(len(gaps)-1)/2], gaps[len(gaps)-1]
	fmt.Printf("\nlongest gap between decisions: p50 %.0f ms, max %.0f ms\n", r.GapP50MS, r.GapMaxMS)
	fmt.Printf("sent %d = accepted %d + duplicate %d + undecided %d; lost %d, doubled %d, faults %d\n",
		r.Sent, r.Accepted, r.Duplicate, r.Undecided, r.Lost, r.Doubled, len(r.Faults))
	return r, nil
}

// calm is how long each trial measures the healthy cluster first.
const calm = time.Second

// once is one trial on a healthy cluster.
func once(ctx context.Context, c config, cluster *harness.Cluster) (trial, []*harness.Op, error) {
	var one trial
	load := cluster.Load(harness.LoadConfig{Rate: c.rate})
	defer load.Stop()
	if err := within(ctx, waitTime, func(ctx context.Context) error { return load.Progress(ctx, c.rate) }); err != nil {
		return one, load.Stop(), err
	}
	leader, _, err := cluster.Leader(ctx, "")
	if err != nil {
		return one, load.Stop(), err
	}
	one.Leader = leader.ID
	asked := time.Now()
	one.BeforeMS = ms(load.Gap(asked.Add(-calm)))
	if c.mode == "kill" {
		leader.Kill()
		one.EndedMS, one.ExitCode = ms(time.Since(asked)), -1
	} else {
		err := within(ctx, waitTime, func(ctx context.Context) error {
			code, took, err := leader.Stop(ctx)
			one.ExitCode, one.EndedMS = code, ms(took)
			return err
		})
		if err != nil {
			return one, load.Stop(), err
		}
	}
	if err := within(ctx, waitTime, func(ctx context.Context) error {
		next, _, err := cluster.Leader(ctx, leader.ID)
		if err == nil {
			one.Next = next.ID
			err = load.Progress(ctx, c.rate)
		}
		return err
	}); err != nil {
		return one, load.Stop(), err
	}
	began := time.Now()
	if err := leader.Start(); err != nil {
		return one, load.Stop(), err
	}
	if err := within(ctx, waitTime, func(ctx context.Context) error { return cluster.Ready(ctx) }); err != nil {
		return one, load.Stop(), err
	}
	one.HealthMS = ms(time.Since(began))
	ops := load.Stop()
	one.GapMS = ms(load.Gap(asked))
	one.Sent = len(ops)
	for _, n := range harness.Undecided(ops) {
		one.Retried += n
	}
	return one, ops, within(ctx, waitTime, cluster.Healthy)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

type nodeUse struct {
	ID         string  `json:"id"`
	Leader     bool    `json:"leader"`
	RSSMiB     float64 `json:"rss_mib"`
	CPUPercent float64 `json:"cpu_percent_of_one_core"`
}

type idleResult struct {
	Mode            string    `json:"mode"`
	Machine         machine   `json:"machine"`
	ColdStartsMS    []float64 `json:"cold_starts_ms"` // three empty nodes to the first 201
	ColdStartP50MS  float64   `json:"cold_start_p50_ms"`
	ColdStartMaxMS  float64   `json:"cold_start_max_ms"`
	Nodes           []nodeUse `json:"nodes"`
	MeasuredSeconds float64   `json:"measured_seconds"`
	StalenessP50MS  float64   `json:"staleness_p50_ms"`
	StalenessP99MS  float64   `json:"staleness_p99_ms"`
	StalenessMaxMS  float64   `json:"staleness_max_ms"`
	StaleAnswers    int       `json:"stale_answers"`
	Samples         int       `json:"samples"`
}

const (
	measured    = 10 * time.Second
	settle      = 30 * time.Second     // Go gives memory back to the system slowly
	sampleEvery = 7 * time.Millisecond // no divisor of the beacon's 250 ms
	mostColds   = 5
	fewPeople   = 40
)

func idle(ctx context.Context, c config) (*idleResult, error) {
	r := &idleResult{Mode: "idle", Machine: here()}
	var cluster *harness.Cluster
	defer func() {
		if cluster != nil {
			cluster.Close()
		}
	}()
	for i := range min(c.trials, mostColds) {
		if cluster != nil {
			cluster.Close()
		}
		var err error
		cluster, err = harness.New(harness.Options{Bin: c.bin, Dir: filepath.Join(c.dir, fmt.Sprintf("cold%d", i)), Students: fewPeople})
		if err != nil {
			return nil, err
		}
		took, err := coldStart(ctx, cluster)
		if err != nil {
			return nil, fmt.Errorf("cold start %d: %w\n%s", i+1, err, cluster.Log())
		}
		r.ColdStartsMS = append(r.ColdStartsMS, ms(took))
	}
	sorted := slices.Sorted(slices.Values(r.ColdStartsMS))
	r.ColdStartP50MS, r.ColdStartMaxMS = sorted[(len(sorted)-1)/2], sorted[len(sorted)-1]
	if err := within(ctx, waitTime, cluster.Healthy); err != nil {
		return nil, err
	}
	if err := r.use(ctx, cluster); err != nil {
		return nil, err
	}
	if err := r.staleness(ctx, cluster); err != nil {
		return nil, err
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "cold start to the first 201\tp50 %.0f ms\tmax %.0f ms\n", r.ColdStartP50MS, r.ColdStartMaxMS)
	for _, n := range r.Nodes {
		fmt.Fprintf(t, "%s idle, leader %v\t%.1f MiB RSS\t%.2f %% of one core\n", n.ID, n.Leader, n.RSSMiB, n.CPUPercent)
	}
	fmt.Fprintf(t, "age of answers\tp50 %.0f ms\tp99 %.0f ms\tmax %.0f ms\t%d of %d said stale\n",
		r.StalenessP50MS, r.StalenessP99MS, r.StalenessMaxMS, r.StaleAnswers, r.Samples)
	return r, t.Flush()
}

// coldStart gives the time from the start of the first process to the first 201.
func coldStart(ctx context.Context, c *harness.Cluster) (time.Duration, error) {
	start := time.Now()
	for _, n := range c.Nodes {
		if err := n.Start(); err != nil {
			return 0, err
		}
	}
	user, kind := c.Fresh()
	key := harness.Key()
	err := within(ctx, startTime, func(ctx context.Context) error {
		return harness.Await(ctx, func() error {
			if c.Admin.Token == "" {
				if err := c.SignIn(ctx); err != nil {
					return err
				}
			}
			a, err := c.Admin.Do(ctx, "POST", "/api/v1/checkins", key, harness.Tap{Type: kind, User: user})
			if err == nil && a.Status != 201 {
				err = errors.New(a.String())
			}
			return err
		})
	})
	return time.Since(start), err
}

// use measures memory and processor time. Nobody asks the nodes anything
// meanwhile.
func (r *idleResult) use(ctx context.Context, c *harness.Cluster) error {
	leader, _, err := c.Leader(ctx, "")
	if err != nil {
		return err
	}
	c.Admin.HTTP.CloseIdleConnections()
	if err := pause(ctx, settle); err != nil {
		return err
	}
	before := map[string]harness.Usage{}
	start := time.Now()
	for _, n := range c.Nodes {
		if before[n.ID], err = harness.UsageOf(n.Proc().PID()); err != nil {
			return err
		}
	}
	if err := pause(ctx, measured); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		u, err := harness.UsageOf(n.Proc().PID())
		if err != nil {
			return err
		}
		r.Nodes = append(r.Nodes, nodeUse{
			ID: n.ID, Leader: n == leader, RSSMiB: float64(u.RSS) / (1 << 20),
			CPUPercent: 100 * (u.CPU - before[n.ID].CPU).Seconds() / time.Since(start).Seconds(),
		})
	}
	r.MeasuredSeconds = time.Since(start).Seconds()
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// staleness samples what answers say of their own age. Client and nodes share one
// clock here; the time of the answer's way is part of what a user sees.
func (r *idleResult) staleness(ctx context.Context, c *harness.Cluster) error {
	var ages []float64
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for start := time.Now(); time.Since(start) < measured; {
		n := c.Nodes[r.Samples%len(c.Nodes)]
		var page struct {
			AsOf  time.Time `json:"as_of"`
			Stale bool      `json:"stale"`
		}
		if err := c.At(n).Get(ctx, "/api/v1/attendances?limit=1", &page); err != nil {
			return err
		}
		ages = append(ages, ms(time.Since(page.AsOf)))
		r.Samples++
		if page.Stale {
			r.StaleAnswers++
		}
		<-ticker.C
	}
	slices.Sort(ages)
	at := func(q float64) float64 { return ages[int(q*float64(len(ages)-1))] }
	r.StalenessP50MS, r.StalenessP99MS, r.StalenessMaxMS = at(0.5), at(0.99), at(1)
	return nil
}
