package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/demo"
	"hadir/cmd/hadir/internal/load"
	"hadir/cmd/hadir/internal/serve"
)

// benchCmd measures a cluster.
type benchCmd struct {
	Checkin benchCheckinCmd `cmd:"" help:"Check-ins as fast as they are decided, in a closed loop."`
	Fanout  benchFanoutCmd  `cmd:"" help:"What is decided, pushed to many clients."`
}

// benched is the cluster that a measurement is about.
type benched struct {
	access
	URL  []string `help:"Address of a node or front; repeat it to spread the clients." default:"http://127.0.0.1:8080"`
	Info string   `help:"Info file of a demo: its nodes and administrator are used." placeholder:"FILE"`
}

// open gives the addresses to measure, somebody signed in at the first of them,
// and the people for whom they may check in.
func (b *benched) open(ctx context.Context) (urls []string, me *api.Client, users []uint64, err error) {
	urls = b.URL
	if b.Info != "" {
		info, err := demo.ReadInfo(b.Info)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("--info: %w", err)
		}
		urls = nil
		for _, n := range info.Nodes {
			urls = append(urls, n.URL)
		}
	}
	if len(urls) == 0 {
		return nil, nil, nil, &serve.UsageError{Text: "--url is missing: give the address of a node"}
	}
	if me, err = b.client(ctx, urls[0]); err != nil {
		return nil, nil, nil, err
	}
	users, err = activePeople(ctx, me)
	return urls, me, users, err
}

// benchCheckinCmd drives check-ins on behalf of everybody whom the signed-in
// person may act for.
type benchCheckinCmd struct {
	benched
	Clients  []int         `help:"How many clients at a time; one measurement for each number." default:"1,16,64,256"`
	Duration time.Duration `help:"How long each measurement takes." default:"10s"`
	JSON     bool          `help:"Write JSON."`
}

// benchResult is the machine-readable result.
type benchResult struct {
	URLs  []string      `json:"urls"`
	Users int           `json:"users"`
	Runs  []load.Result `json:"runs"`
	Note  string        `json:"note"`
}

const benchNote = "Closed loop. A person is accepted once in five minutes for each kind, so most taps of few people are duplicates; " +
	"a duplicate is a decision on a majority's disks like an acceptance, and both count as answered."

// Validate implements kong's hook.
func (c *benchCheckinCmd) Validate() error {
	for _, n := range c.Clients {
		if n < 1 || n > 10_000 {
			return fmt.Errorf("--clients %d is not within 1 … 10000", n)
		}
	}
	if c.Duration < 100*time.Millisecond {
		return fmt.Errorf("--duration %s is less than 100ms", c.Duration)
	}
	return nil
}

// Run implements the command.
func (c *benchCheckinCmd) Run(w *world) error {
	ctx, _ := w.untilSignal()
	urls, me, users, err := c.open(ctx)
	if err != nil {
		return err
	}
	result := benchResult{URLs: urls, Users: len(users), Note: benchNote}
	for _, n := range c.Clients {
		r, err := c.measure(ctx, me, urls, users, n)
		if err != nil {
			return err
		}
		result.Runs = append(result.Runs, r)
	}
	if c.JSON {
		return writeJSON(w.stdout, result)
	}
	return writeBench(w.stdout, result)
}

// activePeople gives who may tap.
func activePeople(ctx context.Context, me *api.Client) ([]uint64, error) {
	all, err := me.Users(ctx)
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for _, u := range all {
		if u.Active && u.Role != "admin" {
			ids = append(ids, u.ID)
		}
	}
	if len(ids) == 0 {
		return nil, load.ErrNobody
	}
	return ids, nil
}

// measure runs one measurement with connections of its own.
func (c *benchCheckinCmd) measure(ctx context.Context, me *api.Client, urls []string, users []uint64, clients int) (load.Result, error) {
	pool := api.Pool(clients)
	defer pool.CloseIdleConnections()
	var as []*api.Client
	for _, u := range urls {
		at := me.At(u)
		at.HTTP = pool
		as = append(as, at)
	}
	return load.Run(ctx, load.Config{As: as, Users: users, Clients: clients, Duration: c.Duration, NewKey: api.NewKey})
}

func writeBench(out io.Writer, r benchResult) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "clients\tanswered\tper second\tp50 ms\tp90 ms\tp99 ms\tmax ms\taccepted\tduplicate\tother\tfailed\t")
	for _, x := range r.Runs {
		other := -x.Answered
		for _, n := range x.Status {
			other += n
		}
		fmt.Fprintf(t, "%d\t%d\t%.0f\t%.1f\t%.1f\t%.1f\t%.1f\t%d\t%d\t%d\t%d\t\n", x.Clients, x.Answered, x.PerSecond,
			x.LatencyMS.P50, x.LatencyMS.P90, x.LatencyMS.P99, x.LatencyMS.Max, x.Accepted, x.Duplicate, other, x.Failed)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, x := range r.Runs {
		if x.LastError != "" {
			fmt.Fprintf(out, "\n%d clients, last failure: %s\n", x.Clients, x.LastError)
		}
	}
	_, err := fmt.Fprintf(out, "\n%d people. %s\n", r.Users, r.Note)
	return err
}
