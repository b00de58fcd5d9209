package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"hadir/cmd/hadir/internal/api"
	"hadir/cmd/hadir/internal/serve"
)

// clusterCmd looks after a cluster through any of its nodes.
type clusterCmd struct {
	Status   clusterStatusCmd   `cmd:"" help:"Show the nodes as one of them sees them; needs no leader."`
	Transfer clusterTransferCmd `cmd:"" help:"Have the leader hand over to another node."`
	Remove   clusterRemoveCmd   `cmd:"" help:"Take a node out of the cluster for good; its data stays where it is."`
	Verify   clusterVerifyCmd   `cmd:"" help:"Compare the chain and state hashes of all nodes at one moment."`
}

// target is the cluster that is asked.
type target struct {
	access
	URL  string `help:"Address of any node, or of a front." default:"http://127.0.0.1:8080"`
	JSON bool   `help:"Write JSON."`
}

const callTimeout = 30 * time.Second

// verifyTimeout is longer: whole states are read.
const verifyTimeout = 10 * time.Minute

func (t *target) ask(timeout time.Duration, f func(ctx context.Context, c *api.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := t.client(ctx, t.URL)
	if err != nil {
		return err
	}
	c.HTTP.Timeout = timeout
	return f(ctx, c)
}

// clusterStatusCmd shows the nodes.
type clusterStatusCmd struct {
	target
	Wait time.Duration `help:"Wait at most so long until the node that is asked decides, and sees all nodes there and caught up." placeholder:"DURATION"`
}

// Run implements the command.
func (c *clusterStatusCmd) Run(w *world) error {
	if c.Wait > 0 {
		if err := c.await(w); err != nil {
			return err
		}
	}
	return c.ask(callTimeout, func(ctx context.Context, client *api.Client) error {
		view, raw, err := client.Cluster(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeJSON(w.stdout, raw)
		}
		return writeStatus(w.stdout, view)
	})
}

// await returns when nothing is missing, as the node that is asked sees it. Meanwhile
// it tells what is.
func (c *clusterStatusCmd) await(w *world) error {
	ctx, _ := w.untilSignal()
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	nobody, err := api.New(c.URL)
	if err != nil {
		return &serve.UsageError{Text: "--url " + err.Error()}
	}
	// Before anybody signs in: a node that has just been started may know nobody yet,
	// and would count the attempt as a failed one.
	if err := poll(ctx, w.stderr, nobody.Ready); err != nil {
		return err
	}
	client, err := c.client(ctx, c.URL)
	if err != nil {
		return err
	}
	return poll(ctx, w.stderr, func(ctx context.Context) error {
		v, _, err := client.Cluster(ctx)
		if err == nil {
			err = missing(v)
		}
		return err
	})
}

const (
	pollEvery = 200 * time.Millisecond
	pollCall  = 5 * time.Second // for one question
	sayEvery  = 5 * time.Second // what is waited for
)

// poll asks until the answer is nil, or gives the last one when ctx ends.
func poll(ctx context.Context, out io.Writer, ask func(ctx context.Context) error) error {
	ticker, news := time.NewTicker(pollEvery), time.NewTicker(sayEvery)
	defer ticker.Stop()
	defer news.Stop()
	var last error
	for {
		call, cancel := context.WithTimeout(ctx, pollCall)
		err := ask(call)
		cancel()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err // that it was cut off by the end says nothing
		}
		select {
		case <-news.C:
			fmt.Fprintln(out, "waiting:", last)
		default:
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %w", last)
		}
	}
}

// caughtUp is how many events a node may be behind: under load, some always are
// on their way.
const caughtUp = 500

// missing says what a cluster lacks in which every node is there; nil when nothing.
func missing(v api.Cluster) error {
	if v.LeaderID == "" {
		return errors.New("nobody leads")
	}
	for _, n := range v.Nodes {
		switch {
		case !n.Reachable:
			return fmt.Errorf("%s does not answer", n.ID)
		case n.Lag > caughtUp:
			return fmt.Errorf("%s is %d events behind", n.ID, n.Lag)
		case !n.Voter && !n.Replica:
			return fmt.Errorf("%s has no vote yet", n.ID)
		}
	}
	if v.Health == nil || !v.Health.Healthy {
		return errors.New("the leader does not find every node healthy yet")
	}
	return nil
}

func writeStatus(out io.Writer, v api.Cluster) error {
	leader := v.LeaderID
	if leader == "" {
		leader = "none"
	}
	fmt.Fprintf(out, "leader %s, term %d, quorum %d, can lose %d more; as %s sees it\n", leader, v.Term, v.Quorum, v.CanLose, v.NodeID)
	if h := v.Health; h != nil {
		fmt.Fprintf(out, "autopilot: healthy %s, %d may fail\n", yes(h.Healthy), h.FailureTolerance)
	}
	for _, w := range v.Warnings {
		fmt.Fprintf(out, "warning: %s\n", explainWarning(w))
	}
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tSTATE\tVOTER\tREACHABLE\tSEQ\tLAG\tAPPLIED\tLAST CONTACT\tVERSION\tHTTP")
	for _, n := range v.Nodes {
		contact := "-"
		if n.LastContactMS != nil {
			contact = fmt.Sprintf("%.0f ms", *n.LastContactMS)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n",
			n.ID, n.State, vote(n), yes(n.Reachable), n.Seq, n.Lag, n.Applied, contact, n.Version, n.HTTP)
	}
	return t.Flush()
}

// explainWarning says what to do about a warning; one of a newer node stays as it
// is.
func explainWarning(w string) string {
	switch w {
	case "two_voters":
		return "two nodes have a vote, and neither may fail: add a third"
	case "disk_low":
		return "a node's disk is nearly full, and it takes nothing in: free some space there"
	}
	return w
}

func vote(n api.Node) string {
	if n.Replica && !n.Voter {
		return "replica"
	}
	return yes(n.Voter)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// clusterTransferCmd has the leader hand over.
type clusterTransferCmd struct{ target }

// Run implements the command. Only the leader can hand over, so it is asked
// itself where the first node is another one.
func (c *clusterTransferCmd) Run(w *world) error {
	return c.ask(callTimeout, func(ctx context.Context, client *api.Client) error {
		before, _, err := client.Cluster(ctx)
		if err != nil {
			return err
		}
		leader := client
		for _, n := range before.Nodes {
			if n.ID == before.LeaderID && n.HTTP != "" {
				leader = client.At(n.HTTP)
			}
		}
		if err := leader.Transfer(ctx); err != nil {
			return err
		}
		after, err := awaitLeader(ctx, client, before.LeaderID)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeJSON(w.stdout, map[string]any{"before": before.LeaderID, "leader": after.LeaderID, "term": after.Term})
		}
		_, err = fmt.Fprintf(w.stdout, "%s leads now, term %d; before: %s\n", after.LeaderID, after.Term, before.LeaderID)
		return err
	})
}

// awaitLeader returns when another node leads.
func awaitLeader(ctx context.Context, c *api.Client, old string) (api.Cluster, error) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		v, _, err := c.Cluster(ctx)
		if err == nil && v.LeaderID != "" && v.LeaderID != old {
			return v, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return v, errors.New("the leader was asked to hand over, but no other node leads yet: look at hadir cluster status")
		}
	}
}

// clusterRemoveCmd takes a node out.
type clusterRemoveCmd struct {
	target
	ID string `arg:"" help:"Name or server id of the node."`
}

// Run implements the command.
func (c *clusterRemoveCmd) Run(w *world) error {
	return c.ask(callTimeout, func(ctx context.Context, client *api.Client) error {
		removed, err := client.Remove(ctx, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeJSON(w.stdout, map[string]string{"removed": removed})
		}
		_, err = fmt.Fprintf(w.stdout, "%s is no member any more; its data stays where it is\n", removed)
		return err
	})
}

// clusterVerifyCmd compares the nodes.
type clusterVerifyCmd struct{ target }

// errDiffer means that nodes are not equal, or were not all compared.
var errDiffer = errors.New("the nodes are not equal: keep the data of the odd one for analysis, and start it with an empty data directory")
var errNotCompared = errors.New("not every node could be compared: start the missing ones and verify again")

// Run implements the command.
func (c *clusterVerifyCmd) Run(w *world) error {
	return c.ask(verifyTimeout, func(ctx context.Context, client *api.Client) error {
		v, raw, err := client.Verify(ctx)
		for try := 1; err == nil && movedOn(v) && try < verifyTries; try++ {
			v, raw, err = client.Verify(ctx)
		}
		if err != nil {
			return err
		}
		if c.JSON {
			if err := writeJSON(w.stdout, raw); err != nil {
				return err
			}
		} else if err := writeComparison(w.stdout, v); err != nil {
			return err
		}
		switch verdict(v) {
		case "equal":
			return nil
		case "incomplete":
			return errNotCompared
		}
		return errDiffer
	})
}

// verifyTries is how often nodes are compared that cannot be caught at one event,
// because people check in meanwhile.
const verifyTries = 10

// movedOn reports whether all that is wrong with a comparison is that a node was
// ahead of the others: it answered where it is, without hashes.
func movedOn(v api.Comparison) bool {
	moved := false
	for _, n := range v.Nodes {
		switch {
		case n.Error == "":
		case n.Index == 0:
			return false
		default:
			moved = true
		}
	}
	return moved
}

// verdict judges a comparison: equal, different, or incomplete when a node could
// not be asked or looked at another moment.
func verdict(v api.Comparison) string {
	if len(v.Nodes) == 0 {
		return "incomplete"
	}
	first := v.Nodes[0]
	result := "equal"
	for _, n := range v.Nodes {
		switch {
		case n.Error != "" || n.Seq != first.Seq || n.Index != first.Index:
			result = "incomplete"
		case n.Chain != first.Chain || n.State != first.State:
			return "different"
		}
	}
	return result
}

func writeComparison(out io.Writer, v api.Comparison) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tINDEX\tSEQ\tCHAIN\tSTATE\tERROR")
	for _, n := range v.Nodes {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\n", n.Node, n.Index, n.Seq, short(n.Chain), short(n.State), n.Error)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s\n", verdict(v))
	return err
}

// short gives the beginning of a hash, enough for people.
func short(hash string) string { return hash[:min(16, len(hash))] }

func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
