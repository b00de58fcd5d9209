package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/load"
	"hadir/cmd/hadir/internal/serve"
)

// benchFanoutCmd measures the stream: check-ins go to the leader, clients that see
// everything connect where they are told to.
type benchFanoutCmd struct {
	benched
	On       string        `help:"To which node the clients connect: leader, follower (one of them) or all." enum:"leader,follower,all" default:"all"`
	Clients  int           `help:"How many clients. They are one person's: start the nodes with --stream-per-person." default:"200"`
	Slow     int           `help:"Of them, how many do not read." default:"0"`
	Timed    int           `help:"Of those that read, about how many read at once and are asked for delays; the others read ten times a second and leave the processors to the nodes. 0: all." default:"100"`
	Rate     int           `help:"Check-ins a second." default:"100"`
	Duration time.Duration `help:"How long the check-ins go on, first without clients and then with them." default:"10s"`
	JSON     bool          `help:"Write JSON."`
}

// Validate implements kong's hook.
func (c *benchFanoutCmd) Validate() error {
	switch {
	case c.Clients < 1 || c.Clients > 20_000:
		return fmt.Errorf("--clients %d is not within 1 … 20000", c.Clients)
	case c.Slow < 0 || c.Slow > c.Clients:
		return fmt.Errorf("--slow %d is not within 0 … --clients", c.Slow)
	case c.Timed < 0:
		return fmt.Errorf("--timed %d is negative", c.Timed)
	case c.Rate < 0 || c.Rate > 10_000:
		return fmt.Errorf("--rate %d is not within 0 … 10000", c.Rate)
	case c.Duration < 100*time.Millisecond:
		return fmt.Errorf("--duration %s is less than 100ms", c.Duration)
	}
	return nil
}

// Run implements the command.
func (c *benchFanoutCmd) Run(w *world) error {
	ctx, _ := w.untilSignal()
	urls, me, users, err := c.open(ctx)
	if err != nil {
		return err
	}
	me.HTTP = api.Pool(c.Rate + 16)
	defer me.HTTP.CloseIdleConnections()
	leader, others, err := leaderAmong(ctx, me, urls)
	if err != nil {
		return err
	}
	watch := append([]*api.Client{leader}, others...)
	switch {
	case c.On == "leader":
		watch = watch[:1]
	case c.On == "follower" && len(others) == 0:
		return &serve.UsageError{Text: "--on follower: give the addresses of all nodes with --url"}
	case c.On == "follower":
		watch = others[:1]
	}
	r, err := load.Fanout(ctx, load.FanoutConfig{
		Taps: leader, Watch: watch, Users: users, Clients: c.Clients, Slow: c.Slow, Timed: c.Timed, Rate: c.Rate, Duration: c.Duration, NewKey: api.NewKey,
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(w.stdout, r)
	}
	return writeFanout(w.stdout, r)
}

// leaderAmong finds out which of the addresses is the leader's. A single address is
// taken as it is: it may be a front.
func leaderAmong(ctx context.Context, me *api.Client, urls []string) (leader *api.Client, others []*api.Client, err error) {
	if len(urls) == 1 {
		return me, nil, nil
	}
	for _, u := range urls {
		at := me.At(u)
		v, _, err := at.Cluster(ctx)
		if err != nil {
			return nil, nil, err
		}
		if v.NodeID == v.LeaderID && leader == nil {
			leader = at
		} else {
			others = append(others, at)
		}
	}
	if leader == nil {
		return nil, nil, fmt.Errorf("none of the %d addresses is the leader's: give those of all nodes", len(urls))
	}
	return leader, others, nil
}

func writeFanout(out io.Writer, r load.FanoutResult) error {
	fmt.Fprintf(out, "%d clients, %d of them slow and %d asked for delays, %d check-ins a second for %.0f s: sent %d, failed %d\n", r.Clients, r.Slow, r.Timed, r.Rate, r.Seconds,
		r.Sent, r.Failed)
	fmt.Fprintf(out, "delivered %d, missing %d, gaps %d, connections that broke %d\n\n", r.Delivered, r.Missing, r.Gaps, r.Broken)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "milliseconds\tp50\tp90\tp99\tp99.9\tmax\t")
	for _, row := range []struct {
		name string
		p    load.Percentiles
	}{{"answer, without clients", r.AckAlone}, {"answer", r.Ack}, {"sent → frame", r.SendToFrame}, {"answer → frame", r.AckToFrame}} {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t\n", row.name, row.p.P50, row.p.P90, row.p.P99, row.p.P999, row.p.Max)
	}
	for _, row := range []struct {
		name string
		q    load.Quantiles
	}{{"answer, as the node says, without clients", r.ServerAlone}, {"answer, as the node says", r.Server}} {
		fmt.Fprintf(t, "%s\t%.1f\t\t%.1f\t\t\t\n", row.name, row.q.P50, row.q.P99)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nWhat the nodes say:")
	fmt.Fprintln(t, "node\tclients\tapply → frame p50 ms\tp99 ms\tframes a write\tslow closes\tMiB per 1000 idle\tCPU µs a frame\t")
	for _, n := range r.Nodes {
		fmt.Fprintf(t, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.0f\t%.1f\t%.1f\t\n", n.URL, n.Clients, n.ApplyToFrame.P50, n.ApplyToFrame.P99, n.Frames/max(1, n.Writes),
			n.SlowCloses, n.RSSPer1000, n.CPUPerFrame)
	}
	return t.Flush()
}
