package harness

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Window is how far apart two accepted check-ins of one person and type are.
const Window = 300_000 * time.Millisecond

// Verdict is what a judgement found.
type Verdict struct {
	Acknowledged int      // operations that were answered 201
	Lost         int      // of them, those that a node does not have
	Doubled      int      // records too near to another, or given to two operations
	Faults       []string // everything that is wrong, in words; lost and doubled too
}

func (v *Verdict) fault(format string, args ...any) {
	v.Faults = append(v.Faults, fmt.Sprintf(format, args...))
}

// String gives the faults, shortened.
func (v *Verdict) String() string {
	const most = 20
	s := fmt.Sprintf("acknowledged %d, lost %d, doubled %d, faults %d", v.Acknowledged, v.Lost, v.Doubled, len(v.Faults))
	for i, f := range v.Faults {
		if i == most {
			return s + "\n  …"
		}
		s += "\n  " + f
	}
	return s
}

// Judge compares what clients were told with what every node has, after the
// cluster has become healthy. It follows background/reliability.md §4: I1, I2, I4
// and the resolution of every key.
func (c *Cluster) Judge(ctx context.Context, ops []*Op) (*Verdict, error) {
	clients := map[string]Client{}
	for _, n := range c.Nodes {
		clients[n.ID] = c.At(n)
	}
	return Judge(ctx, clients, ops)
}

// Judge is the same for any nodes, by name.
func Judge(ctx context.Context, nodes map[string]Client, ops []*Op) (*Verdict, error) {
	v := &Verdict{}
	newest := uint64(0)
	for _, op := range ops {
		newest = max(newest, op.Answer.Sync.Index)
	}
	records := map[string]map[uint64]Attendance{}
	raw := map[string]map[uint64]json.RawMessage{}
	names := slices.Sorted(maps.Keys(nodes))
	for _, name := range names {
		items, err := nodes[name].List(ctx, "/api/v1/attendances", url.Values{"min_index": {strconv.FormatUint(newest, 10)}})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		records[name], raw[name] = map[uint64]Attendance{}, map[uint64]json.RawMessage{}
		for _, item := range items {
			var a Attendance
			if err := json.Unmarshal(item, &a); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if _, twice := records[name][a.ID]; twice {
				v.fault("%s lists record %d twice", name, a.ID)
			}
			records[name][a.ID], raw[name][a.ID] = a, item
		}
		v.apart(name, records[name])
	}
	for _, name := range names[1:] {
		for id, item := range raw[names[0]] {
			if other, ok := raw[name][id]; !ok {
				v.fault("%s has record %d, %s does not", names[0], id, name)
			} else if !bytes.Equal(item, other) {
				v.fault("record %d is %s at %s and %s at %s", id, item, names[0], other, name)
			}
		}
		if len(raw[name]) > len(raw[names[0]]) {
			v.fault("%s has %d records, %s has %d", name, len(raw[name]), names[0], len(raw[names[0]]))
		}
	}
	v.answers(ops, records)
	v.order(ops)
	if err := v.resolve(ctx, nodes, names, newest, ops); err != nil {
		return nil, err
	}
	return v, v.log(ctx, nodes, names, newest)
}

type personType struct {
	user uint64
	kind string
}

// apart is I1.
func (v *Verdict) apart(name string, records map[uint64]Attendance) {
	all := map[personType][]Attendance{}
	for _, a := range records {
		k := personType{a.User, a.Type}
		all[k] = append(all[k], a)
	}
	for k, as := range all {
		slices.SortFunc(as, func(a, b Attendance) int { return a.Timestamp.Compare(b.Timestamp) })
		for i := 1; i < len(as); i++ {
			if d := as[i].Timestamp.Sub(as[i-1].Timestamp); d < Window {
				v.Doubled++
				v.fault("%s: user %d has %q twice within %s: records %d and %d", name, k.user, k.kind, d, as[i-1].ID, as[i].ID)
			}
		}
	}
}

// answers is I2, and that a duplicate names a winner.
func (v *Verdict) answers(ops []*Op, records map[string]map[uint64]Attendance) {
	owner := map[uint64]*Op{}
	for _, op := range ops {
		for _, s := range op.Strange {
			v.fault("op %d (key %s) met %s", op.N, op.Key, s)
		}
		if !op.Final() {
			continue
		}
		a := op.Answer.Attendance
		if a == nil {
			v.fault("op %d (key %s): %d without an attendance", op.N, op.Key, op.Status)
			continue
		}
		if op.Answer.Key != op.Key {
			v.fault("op %d: sent key %s, answered %s", op.N, op.Key, op.Answer.Key)
		}
		if a.User != op.User || a.Type != op.Type {
			v.fault("op %d was for user %d %q and got record %d of user %d %q", op.N, op.User, op.Type, a.ID, a.User, a.Type)
		}
		if op.Status == 201 {
			v.Acknowledged++
			if first := owner[a.ID]; first != nil {
				v.Doubled++
				v.fault("record %d was given to op %d (key %s) and op %d (key %s)", a.ID, first.N, first.Key, op.N, op.Key)
			}
			owner[a.ID] = op
		}
		for name, there := range records {
			switch got, ok := there[a.ID]; {
			case !ok && op.Status == 201:
				v.Lost++
				v.fault("op %d (key %s): acknowledged record %d is not at %s; tries %s", op.N, op.Key, a.ID, name, tries(op))
			case !ok:
				v.fault("op %d (key %s): its winner %d is not at %s", op.N, op.Key, a.ID, name)
			case got.User != a.User || got.Type != a.Type || !got.Timestamp.Equal(a.Timestamp) || got.Node != a.Node:
				v.fault("op %d: record %d was answered as %+v and is %+v at %s", op.N, a.ID, *a, got, name)
			}
		}
		if op.Status == 409 {
			switch d := op.Answer.DeltaMS; {
			case d == nil:
				v.fault("op %d (key %s): 409 without delta_ms", op.N, op.Key)
			case max(*d, -*d) >= Window.Milliseconds():
				v.fault("op %d (key %s): 409 although %d ms apart", op.N, op.Key, *d)
			}
		}
	}
}

// order is real time: what began after something else was answered has a later
// place in the order of events. Keys are used by one operation only, so an
// answer is never older than its operation.
func (v *Verdict) order(ops []*Op) {
	var final []*Op
	for _, op := range ops {
		if op.Final() && op.Answer.Sync.Seq > 0 {
			final = append(final, op)
		}
	}
	byEnd := slices.Clone(final)
	slices.SortFunc(byEnd, func(a, b *Op) int { return a.End.Compare(b.End) })
	slices.SortFunc(final, func(a, b *Op) int { return a.Start.Compare(b.Start) })
	var newest *Op
	i := 0
	for _, op := range final {
		for ; i < len(byEnd) && byEnd[i].End.Before(op.Start); i++ {
			if newest == nil || byEnd[i].Answer.Sync.Seq > newest.Answer.Sync.Seq {
				newest = byEnd[i]
			}
		}
		if newest != nil && op.Answer.Sync.Seq <= newest.Answer.Sync.Seq {
			v.fault("op %d has seq %d, but op %d with seq %d was answered before it began",
				op.N, op.Answer.Sync.Seq, newest.N, newest.Answer.Sync.Seq)
		}
	}
}

// resolve asks for every key: the answer given is the state everywhere.
func (v *Verdict) resolve(ctx context.Context, nodes map[string]Client, names []string, newest uint64, ops []*Op) error {
	for i, op := range ops {
		ask := names[i%len(names) : i%len(names)+1]
		if !op.Final() {
			ask = names
		}
		for _, name := range ask {
			a, err := nodes[name].Do(ctx, "GET", fmt.Sprintf("/api/v1/checkins/%s?min_index=%d", op.Key, newest), "", nil)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			var d Decision
			if err := json.Unmarshal(a.Body, &d); err != nil {
				v.fault("%s about key %s: %s: %v", name, op.Key, a, err)
				continue
			}
			want := map[int]string{201: "accepted", 409: "duplicate"}[op.Status]
			switch {
			case !op.Final() && a.Status == 404:
			case !op.Final() && a.Status == 200:
			case a.Status != 200 || d.Status != want:
				v.fault("%s about op %d (key %s), answered %d: %s; tries %s", name, op.N, op.Key, op.Status, a, tries(op))
			case d.Attendance == nil || op.Answer.Attendance == nil || d.Attendance.ID != op.Answer.Attendance.ID:
				v.fault("%s about key %s names another record than the answer %+v: %s", name, op.Key, op.Answer.Attendance, a)
			}
		}
	}
	return nil
}

// log is I4 and that the events are the same bytes everywhere. A version without
// GET /logs leaves that to hadir cluster verify.
func (v *Verdict) log(ctx context.Context, nodes map[string]Client, names []string, newest uint64) error {
	if a, err := nodes[names[0]].Do(ctx, "GET", "/api/v1/logs?limit=1", "", nil); err != nil || a.Status == 404 {
		return err
	}
	var first []json.RawMessage
	for _, name := range names {
		items, err := nodes[name].List(ctx, "/api/v1/logs", url.Values{"after": {"0"}, "min_index": {strconv.FormatUint(newest, 10)}})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		slices.SortFunc(items, func(a, b json.RawMessage) int { return cmp.Compare(seqOf(a), seqOf(b)) })
		for i, item := range items {
			if seq := seqOf(item); seq != uint64(i+1) {
				v.fault("%s: event %d of the log has seq %d", name, i+1, seq)
				break
			}
		}
		if first == nil {
			first = items
			continue
		}
		if len(items) != len(first) {
			v.fault("%s has %d events, %s has %d", name, len(items), names[0], len(first))
		}
		for i := range min(len(items), len(first)) {
			if !bytes.Equal(items[i], first[i]) {
				v.fault("event %d is %s at %s and %s at %s", i+1, first[i], names[0], items[i], name)
			}
		}
	}
	return nil
}

func seqOf(item json.RawMessage) uint64 {
	var e struct{ Seq uint64 }
	if json.Unmarshal(item, &e) != nil {
		return 0
	}
	return e.Seq
}

func tries(op *Op) string {
	var b strings.Builder
	for _, t := range op.Tries {
		fmt.Fprintf(&b, "[+%s %s %d in %s]", t.After.Round(time.Millisecond), t.URL, t.Status, t.Took.Round(time.Millisecond))
	}
	return b.String()
}
