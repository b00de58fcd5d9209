// Package chaos breaks a cluster under load and finds out whether it has lost or
// doubled anything. hadir chaos and the system tests use it.
//
//   - plan says which faults come when, from a seed;
//   - target does them, to processes of a demo or containers of a Compose project;
//   - load taps, reads and follows streams meanwhile, and keeps what it was told;
//   - judge compares that with what the nodes have, once they are well again;
//   - report writes it down.
//
// # Invariants
//
//   - However a run ends, everything that was done to the target is undone first.
//   - Every phase is bounded in time.
//   - A check that could not be made is a fault, never a silent pass.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"hadir/tests/chaos/client"
	"hadir/tests/chaos/judge"
	"hadir/tests/chaos/load"
	"hadir/tests/chaos/plan"
	"hadir/tests/chaos/report"
	"hadir/tests/chaos/target"
)

// Config is what Run needs.
type Config struct {
	Target *target.Target
	// Admin is an administrator, signed in, at the target's front.
	Admin    client.Client
	Seed     uint64
	Duration time.Duration // of the load; a busy machine may make it a little longer
	Rate     int           // check-ins a second
	Window   time.Duration // the cluster's; judge.Window when 0
	Out      io.Writer     // gets a line each second
}

// What ends a run before its verdict.
var (
	// ErrInterrupted means that the run was ended; the target is healed.
	ErrInterrupted = errors.New("interrupted: everything that was done is undone, and nothing was judged")
	// ErrNotHealed means that something may still be broken. Its text says what.
	ErrNotHealed = errors.New("not everything could be made good again")
)

// The bounds of what surrounds the load.
const (
	readyWithin   = 60 * time.Second
	healWithin    = 90 * time.Second
	settleWithin  = 90 * time.Second
	streamsWithin = 60 * time.Second
	judgeWithin   = 5 * time.Minute

	pollEvery   = 250 * time.Millisecond // of the monitor
	pollWithin  = time.Second
	readEvery   = 150 * time.Millisecond
	mostOverrun = 30 * time.Second // of the load, where faults take longer than planned
)

// run is a run that is under way.
type run struct {
	Config
	nodes map[string]client.Client
	plan  plan.Plan
	after uint64 // newest event before the load

	load      *load.Load
	reader    *load.Reader
	followers []*load.Follower
	monitor   *monitor
	faults    *faults
	began     time.Time
	timeline  []report.Second
	total     report.Second // the counts so far
}

// Run does a run and gives its report. An error says that there is no verdict; the
// target is healed all the same, or the error is ErrNotHealed.
func Run(ctx context.Context, cfg Config) (r *report.Report, err error) {
	c := &run{Config: cfg, nodes: map[string]client.Client{}}
	for _, n := range cfg.Target.Nodes {
		c.nodes[n.ID] = cfg.Admin.At(n.URL)
	}
	c.plan, err = plan.Make(plan.Options{
		Seed: cfg.Seed, Duration: cfg.Duration, Nodes: len(c.nodes), NodeKinds: cfg.Target.NodeKinds, Services: cfg.Target.Services,
	})
	if err != nil {
		return nil, err
	}
	people, err := c.prepare(ctx)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	c.describe(len(people))
	ended := c.storm(ctx, people)
	if ctx.Err() != nil {
		c.abandon()
		return nil, errors.Join(interrupted(ctx, ctx.Err()), c.heal())
	}
	r = c.newReport(len(people))
	r.LastedMS = ended.Sub(c.began).Milliseconds()
	if err := c.heal(); err != nil {
		c.abandon()
		return nil, err
	}
	c.conclude(ctx, r, ended)
	if ctx.Err() != nil {
		return nil, interrupted(ctx, ctx.Err())
	}
	return r, nil
}

func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	return err
}

// prepare waits until the cluster is well, and makes people who have not tapped yet.
func (c *run) prepare(ctx context.Context) ([]uint64, error) {
	ready, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := c.healthy(ready); err != nil {
		return nil, fmt.Errorf("the cluster is not healthy, so there is nothing to break: %w", err)
	}
	people, err := makePeople(ready, c.Admin, wanted(c.Rate, c.Duration), time.Now())
	if err != nil {
		return nil, err
	}
	if err := c.healthy(ready); err != nil {
		return nil, err
	}
	v, err := c.nodes[c.Target.Nodes[0].ID].View(ready)
	if err != nil {
		return nil, err
	}
	c.after = seqAt(v)
	return people, nil
}

func (c *run) healthy(ctx context.Context) error {
	return client.Await(ctx, func() error { return client.Healthy(ctx, c.nodes, nil, 0) })
}

// seqAt gives the newest event that the answering node has.
func seqAt(v client.View) uint64 {
	for _, n := range v.Nodes {
		if n.ID == v.NodeID {
			return n.Seq
		}
	}
	return 0
}

// storm runs the load and the faults to their end, or to the end of ctx, and gives
// when the load ended.
func (c *run) storm(ctx context.Context, people []uint64) time.Time {
	c.followers = append(c.followers, load.Follow("moving", c.everywhere(), true, 0))
	for _, n := range c.Target.Nodes {
		c.followers = append(c.followers, load.Follow("at "+n.ID, []client.Client{c.nodes[n.ID]}, true, 0))
	}
	c.monitor = watch(c.nodes, pollEvery)
	c.began = time.Now()
	c.load = load.Start(load.Config{
		Rate: c.Rate, URLs: []string{c.Target.Front}, TryTimeout: 5 * time.Second, Patience: settleWithin, Ask: true,
	}, c.Admin, load.AllPairs(people))
	c.reader = load.Read(c.Admin, c.load, readEvery)
	c.faults = &faults{target: c.Target, leader: c.monitor.leader, began: c.began}
	for _, n := range c.Target.Nodes {
		c.faults.nodes = append(c.faults.nodes, n.ID)
	}

	last, cancel := context.WithTimeout(ctx, c.Duration+mostOverrun)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.faults.run(last, c.plan.Episodes)
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	over := time.NewTimer(c.Duration)
	defer over.Stop()
	for over, episodes := over.C, (<-chan struct{})(done); over != nil || episodes != nil; {
		select {
		case <-ticker.C:
			c.tick()
		case <-over:
			over = nil
		case <-episodes:
			episodes = nil
		case <-ctx.Done():
			over = nil
		}
	}
	c.load.Halt()
	return time.Now()
}

func (c *run) everywhere() (at []client.Client) {
	for _, n := range c.Target.Nodes {
		at = append(at, c.nodes[n.ID])
	}
	return at
}

// heal undoes everything, whatever has become of the context.
func (c *run) heal() error {
	ctx, cancel := context.WithTimeout(context.Background(), healWithin)
	defer cancel()
	if err := c.Target.Heal(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrNotHealed, err)
	}
	return nil
}

// abandon ends what runs, without a judgement.
func (c *run) abandon() {
	c.load.Abort()
	c.reader.Stop()
	c.monitor.stop()
	for _, f := range c.followers {
		f.Stop()
	}
}

// conclude waits until the cluster is well and has decided everything, ends what
// runs, and judges.
func (c *run) conclude(ctx context.Context, r *report.Report, ended time.Time) {
	settle, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	check := func(name, note string, faults []string, err error) {
		if err != nil {
			faults = append(faults, "could not be found out: "+err.Error())
		}
		r.Checks = append(r.Checks, report.Check{Name: name, Faults: faults, Note: note})
	}
	check("faults", fmt.Sprintf("%d were done and undone", len(c.faults.done)), c.faults.failed(), nil)
	check("healthy", "every node decides, all agree on the leader, nobody lags", nil, c.healthy(settle))
	check("queue", "every outbox and Redis are empty, nothing was set aside", nil, c.drained(settle))
	ops := c.settled(settle)
	r.HealedMS = time.Since(ended).Milliseconds()
	r.GapMS, r.KeptGapMS = c.load.Gap(c.began).Milliseconds(), c.load.KeptGap(c.began).Milliseconds()
	reads := c.reader.Stop()
	r.Reads = c.reader.Counts()
	elections := c.monitor.stop()
	r.Elections, r.Timeline, r.Faults = c.elections(), c.timeline, c.faults.done

	judging, cancel := context.WithTimeout(ctx, judgeWithin)
	defer cancel()
	evidence, err := judge.Collect(judging, c.nodes, ops, judge.Scope{
		After: c.after, From: c.began.Add(-c.window()).AddDate(0, 0, -1), Window: c.window(),
	})
	if err != nil {
		check("decisions", "", nil, err)
		r.Counts.Sent = len(ops)
	} else {
		r.Counts = *judge.Judge(evidence)
		check("decisions", "every tap has one decision, the one that its client was told, on every node; no two accepted within "+c.window().String(),
			r.Counts.Faults, nil)
	}
	check("answers", "every tap was answered in the end", unanswered(ops), nil)
	err = nil
	if r.Reads.Checked == 0 {
		err = errors.New("no read had anything to check")
	}
	check("reads", fmt.Sprintf("%d of %d were answered, %d of them marked stale; %d had to have something", r.Reads.Answered, r.Reads.Sent, r.Reads.Stale,
		r.Reads.Checked), reads, err)
	c.checkStreams(judging, r, check)
	check("leaders", fmt.Sprintf("%d elections, one leader in each term", len(r.Elections)), judge.Elections(elections), nil)
	hashes, err := c.hashes(judging)
	check("hashes", "chain and state hashes are equal on every node", judge.Hashes(hashes, len(c.nodes)), err)
	note, faults, err := c.exports(judging)
	check("export", note, faults, err)
	r.OK = r.Counts.Lost == 0 && r.Counts.Doubled == 0
	for _, x := range r.Checks {
		r.OK = r.OK && x.OK()
	}
}

func (c *run) window() time.Duration {
	if c.Window == 0 {
		return judge.Window
	}
	return c.Window
}

// settled waits until every tap was answered, or ctx ends.
func (c *run) settled(ctx context.Context) []*load.Op {
	stop := context.AfterFunc(ctx, func() { c.load.Abort() })
	defer stop()
	return c.load.Stop()
}

func unanswered(ops []*load.Op) (faults []string) {
	for _, op := range ops {
		if !op.Final() {
			faults = append(faults, fmt.Sprintf("tap %d (key %s) was never told what became of it; %d tries", op.N, op.Key, len(op.Tries)))
		}
	}
	return faults
}

func (c *run) newReport(people int) *report.Report {
	r := &report.Report{
		Target: c.Target.Name, Front: c.Target.Front, Seed: c.Seed, StartedAt: c.began.UTC(), Rate: c.Rate, People: people, Plan: c.plan.Episodes,
	}
	for _, n := range c.Target.Nodes {
		r.Nodes = append(r.Nodes, n.ID)
	}
	return r
}
