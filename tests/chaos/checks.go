package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"hadir/tests/chaos/client"
	"hadir/tests/chaos/judge"
	"hadir/tests/chaos/report"
)

// drained waits until nothing waits in any outbox or in Redis. What was set aside
// never will be decided, so it is told at once.
func (c *run) drained(ctx context.Context) error {
	return client.Await(ctx, func() error {
		var q struct {
			Nodes []struct {
				ID       string `json:"id"`
				Error    string `json:"error"`
				Waiting  uint64 `json:"waiting"`
				SetAside uint64 `json:"set_aside"`
				Unusable string `json:"unusable"`
			} `json:"nodes"`
			Redis *struct {
				Scheduled, Pending, Active, Retry, Archived int
			} `json:"redis"`
		}
		if err := c.Admin.Get(ctx, "/api/v1/queue", &q); err != nil {
			return err
		}
		if len(q.Nodes) != len(c.nodes) {
			return fmt.Errorf("the queue tells of %d nodes, there are %d", len(q.Nodes), len(c.nodes))
		}
		for _, n := range q.Nodes {
			if n.Error != "" || n.Unusable != "" || n.Waiting > 0 || n.SetAside > 0 {
				return fmt.Errorf("%s: %d wait, %d set aside, %s%s", n.ID, n.Waiting, n.SetAside, n.Error, n.Unusable)
			}
		}
		if r := q.Redis; r != nil && r.Scheduled+r.Pending+r.Active+r.Retry+r.Archived > 0 {
			return fmt.Errorf("redis: %+v", *r)
		}
		return nil
	})
}

// checkStreams waits until every follower knows everything, ends them, and compares
// what came with the log.
func (c *run) checkStreams(ctx context.Context, r *report.Report, check func(name, note string, faults []string, err error)) {
	const note = "every client of the stream got every event once, in order, and as it is in the log"
	ctx, cancel := context.WithTimeout(ctx, streamsWithin)
	defer cancel()
	log, err := c.nodes[c.Target.Nodes[0].ID].Events(ctx, c.after)
	var faults []string
	for _, f := range c.followers {
		if err == nil && len(log) > 0 {
			if late := f.Reached(ctx, log[len(log)-1].Seq); late != nil {
				faults = append(faults, late.Error())
			}
		}
		f.Stop()
		r.Streams = append(r.Streams, f.String())
		if err == nil {
			faults = append(faults, f.Check(log, func(client.Frame) bool { return true })...)
		}
	}
	check("streams", note, faults, err)
}

// hashes has the cluster compare its nodes.
func (c *run) hashes(ctx context.Context) ([]judge.Hash, error) {
	a, err := c.Admin.Do(ctx, http.MethodPost, "/api/v1/cluster/verify", "", nil)
	if err != nil {
		return nil, err
	}
	var out struct {
		Items []judge.Hash `json:"items"`
	}
	if a.Status != http.StatusOK {
		return nil, fmt.Errorf("cluster verify: %s", a)
	}
	return out.Items, json.Unmarshal(a.Body, &out)
}

// exports has every SQL copy that a node exports to compared with the events, once
// it has all of them. Where there is none, the note says so.
func (c *run) exports(ctx context.Context) (note string, faults []string, err error) {
	v, err := c.nodes[c.Target.Nodes[0].ID].View(ctx)
	if err != nil {
		return "", nil, err
	}
	newest := seqAt(v)
	places, err := c.places(ctx)
	if err != nil {
		return "", nil, err
	}
	var reports []judge.Export
	for _, p := range places {
		if err := reached(ctx, c.nodes[p.node], p.target, newest); err != nil {
			return "", nil, fmt.Errorf("%s: %w", p.node, err)
		}
		a, err := c.nodes[p.node].Do(ctx, http.MethodPost, "/api/v1/export/verify", "", map[string]string{"target": p.target})
		if err != nil {
			return "", nil, fmt.Errorf("%s: %w", p.node, err)
		}
		var x judge.Export
		if err := json.Unmarshal(a.Body, &x); err != nil || a.Status != http.StatusOK {
			return "", nil, fmt.Errorf("%s: %s: %s", p.node, p.target, a)
		}
		x.Target += " of " + p.node
		reports = append(reports, x)
	}
	if len(reports) == 0 {
		return "there is none", nil, nil
	}
	return fmt.Sprintf("%d copies compared with the events up to %d", len(reports), newest), judge.Exports(reports, newest), nil
}

// place is a SQL copy and a node that exports to it.
type place struct{ node, target string }

// places waits until some node exports to each copy, and none of them is in trouble.
// A shared database is exported to by one node, and each node has its own file.
func (c *run) places(ctx context.Context) (places []place, err error) {
	return places, client.Await(ctx, func() error {
		places = nil
		running := map[string]bool{}
		for _, n := range c.Target.Nodes {
			targets, err := copies(ctx, c.nodes[n.ID])
			if err != nil {
				return fmt.Errorf("%s: %w", n.ID, err)
			}
			for _, t := range targets {
				switch running[t.Target] = running[t.Target] || t.State == "running"; t.State {
				case "running":
					places = append(places, place{n.ID, t.Target})
				case "standby":
				default:
					return fmt.Errorf("%s is %s for %s", t.Target, t.State, n.ID)
				}
			}
		}
		for target, somewhere := range running {
			if !somewhere {
				return fmt.Errorf("no node exports to %s", target)
			}
		}
		return nil
	})
}

type copyOf struct {
	Target    string `json:"target"`
	State     string `json:"state"`
	Watermark uint64 `json:"watermark"`
}

// copies gives the targets that a node is configured with.
func copies(ctx context.Context, at client.Client) ([]copyOf, error) {
	var out struct {
		Items []copyOf `json:"items"`
	}
	err := at.Get(ctx, "/api/v1/export", &out)
	return slices.DeleteFunc(out.Items, func(t copyOf) bool { return t.State == "unknown" }), err
}

// reached waits until a copy has every event up to a seq.
func reached(ctx context.Context, at client.Client, name string, seq uint64) error {
	return client.Await(ctx, func() error {
		targets, err := copies(ctx, at)
		if err != nil {
			return err
		}
		for _, t := range targets {
			if t.Target == name && t.Watermark >= seq {
				return nil
			} else if t.Target == name {
				return fmt.Errorf("%s is %s and goes up to event %d of %d", name, t.State, t.Watermark, seq)
			}
		}
		return fmt.Errorf("%s is not exported to any more", name)
	})
}
