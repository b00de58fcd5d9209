package judge

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"hadir/tests/chaos/client"
	"hadir/tests/chaos/load"
)

// Window is how far apart two accepted check-ins of one person and type are, as
// every new cluster has it.
const Window = 300_000 * time.Millisecond

// Evidence is what clients were told, and what the nodes have.
type Evidence struct {
	Ops   []*load.Op
	Nodes []Node
	// After is the newest event from before the operations; every event after it is
	// in the evidence.
	After uint64
	// Window is the cluster's; the package's where it is 0.
	Window time.Duration
}

// Node is what one node has.
type Node struct {
	Name    string
	Records []json.RawMessage // newest first
	Events  []json.RawMessage // by seq
	Keys    map[string]State  // of the keys that it was asked for
}

// State is a node's answer about a key.
type State struct {
	Status   int
	Decision client.Decision
	Text     string // the whole answer, for people
}

// Scope bounds what is collected; the zero Scope bounds nothing.
type Scope struct {
	After  uint64        // only events after it
	From   time.Time     // only records from that day on
	Window time.Duration // the cluster's
}

// Nodes collects from nodes that are healthy and quiet, and judges.
func Nodes(ctx context.Context, nodes map[string]client.Client, ops []*load.Op) (*Verdict, error) {
	e, err := Collect(ctx, nodes, ops, Scope{})
	if err != nil {
		return nil, err
	}
	return Judge(e), nil
}

// Collect asks every node for its records, its events and what it knows of the
// keys: one node for each key that was decided, all of them for the others. Nobody
// else may tap meanwhile, or nodes would differ because they were asked at
// different moments.
func Collect(ctx context.Context, nodes map[string]client.Client, ops []*load.Op, within Scope) (Evidence, error) {
	e := Evidence{Ops: ops, After: within.After, Window: within.Window}
	newest := uint64(0)
	for _, op := range ops {
		newest = max(newest, op.Answer.Sync.Index)
	}
	names := slices.Sorted(maps.Keys(nodes))
	index := strconv.FormatUint(newest, 10)
	for i, name := range names {
		n, q := Node{Name: name, Keys: map[string]State{}}, url.Values{"min_index": {index}}
		if !within.From.IsZero() {
			q.Set("from", within.From.UTC().Format(time.DateOnly))
		}
		var err error
		if n.Records, err = nodes[name].List(ctx, "/api/v1/attendances", q); err != nil {
			return e, fmt.Errorf("%s: %w", name, err)
		}
		after := url.Values{"after": {strconv.FormatUint(within.After, 10)}, "min_index": {index}}
		if n.Events, err = nodes[name].List(ctx, "/api/v1/logs", after); err != nil {
			return e, fmt.Errorf("%s: %w", name, err)
		}
		slices.SortStableFunc(n.Events, func(a, b json.RawMessage) int { return cmp.Compare(seqOf(a), seqOf(b)) })
		for j, op := range ops {
			if op.Final() && j%len(names) != i {
				continue
			}
			if n.Keys[op.Key], err = ask(ctx, nodes[name], op.Key, index); err != nil {
				return e, fmt.Errorf("%s: %w", name, err)
			}
		}
		e.Nodes = append(e.Nodes, n)
	}
	return e, nil
}

func ask(ctx context.Context, at client.Client, key, index string) (State, error) {
	a, err := at.Do(ctx, http.MethodGet, "/api/v1/checkins/"+key+"?min_index="+index, "", nil)
	if err != nil {
		return State{}, err
	}
	s := State{Status: a.Status, Text: a.String()}
	if err := json.Unmarshal(a.Body, &s.Decision); err != nil {
		return s, fmt.Errorf("about key %s: %s: %w", key, a, err)
	}
	return s, nil
}

// event is what a judge looks at of an event.
type event struct {
	Seq  uint64  `json:"seq"`
	ID   *string `json:"id"` // the key
	Type string  `json:"type"`
}

func seqOf(item json.RawMessage) uint64 {
	var e event
	if json.Unmarshal(item, &e) != nil {
		return 0
	}
	return e.Seq
}
