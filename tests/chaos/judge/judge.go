package judge

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"hadir/tests/chaos/client"
	"hadir/tests/chaos/load"
)

// Judge compares what clients were told with what every node has:
//
//   - two accepted of one person and kind are a window apart, on every node;
//   - what was answered 201 is there once, the same bytes on every node, and what
//     was recorded (202) has exactly one decision;
//   - every key has the decision that its client was told, and no second one;
//   - events are numbered without gaps, the same bytes on every node, and in the
//     order of real time.
func Judge(e Evidence) *Verdict {
	v := &Verdict{Sent: len(e.Ops), lost: map[*load.Op]bool{}, doubled: map[string]bool{}}
	if e.Window == 0 {
		e.Window = Window
	}
	if len(e.Nodes) == 0 {
		v.fault("no node was asked")
		return v
	}
	records := v.records(e)
	v.answers(e, records)
	v.order(e.Ops)
	v.resolve(e)
	v.log(e)
	v.decisions(e)
	return v
}

// records reads the records by id, and compares them.
func (v *Verdict) records(e Evidence) map[string]map[uint64]client.Attendance {
	records := map[string]map[uint64]client.Attendance{}
	raw := map[string]map[uint64]json.RawMessage{}
	for _, n := range e.Nodes {
		records[n.Name], raw[n.Name] = map[uint64]client.Attendance{}, map[uint64]json.RawMessage{}
		for _, item := range n.Records {
			var a client.Attendance
			if err := json.Unmarshal(item, &a); err != nil {
				v.fault("%s has a record that cannot be read: %s: %v", n.Name, item, err)
				continue
			}
			if _, twice := records[n.Name][a.ID]; twice {
				v.fault("%s lists record %d twice", n.Name, a.ID)
			}
			records[n.Name][a.ID], raw[n.Name][a.ID] = a, item
		}
		v.apart(n.Name, records[n.Name], e.Window)
	}
	first := e.Nodes[0].Name
	for _, n := range e.Nodes[1:] {
		for id, item := range raw[first] {
			if other, ok := raw[n.Name][id]; !ok {
				v.fault("%s has record %d, %s does not", first, id, n.Name)
			} else if !bytes.Equal(item, other) {
				v.fault("record %d is %s at %s and %s at %s", id, item, first, other, n.Name)
			}
		}
		if len(raw[n.Name]) > len(raw[first]) {
			v.fault("%s has %d records, %s has %d", n.Name, len(raw[n.Name]), first, len(raw[first]))
		}
	}
	return records
}

type personType struct {
	user uint64
	kind string
}

// apart is the pairwise rule.
func (v *Verdict) apart(name string, records map[uint64]client.Attendance, window time.Duration) {
	all := map[personType][]client.Attendance{}
	for _, a := range records {
		k := personType{a.User, a.Type}
		all[k] = append(all[k], a)
	}
	for k, as := range all {
		slices.SortFunc(as, func(a, b client.Attendance) int { return a.Timestamp.Compare(b.Timestamp) })
		for i := 1; i < len(as); i++ {
			if d := as[i].Timestamp.Sub(as[i-1].Timestamp); d < window {
				v.double("record "+as[i].Timestamp.String()+k.kind, "%s: user %d has %q twice within %s: records %d and %d",
					name, k.user, k.kind, d, as[i-1].ID, as[i].ID)
			}
		}
	}
}

// answers: what clients were told of records is so, and a duplicate names a winner.
func (v *Verdict) answers(e Evidence, records map[string]map[uint64]client.Attendance) {
	owner := map[uint64]*load.Op{}
	for _, op := range e.Ops {
		for _, s := range op.Strange {
			v.fault("op %d (key %s) met %s", op.N, op.Key, s)
		}
		if op.Final() && op.Answer.Key != op.Key {
			v.fault("op %d: sent key %s, answered %s", op.N, op.Key, op.Answer.Key)
		}
		if op.Status != load.Accepted && op.Status != load.Duplicate {
			continue
		}
		a := op.Answer.Attendance
		if a == nil {
			v.fault("op %d (key %s): %d without an attendance", op.N, op.Key, op.Status)
			continue
		}
		if a.User != op.User || a.Type != op.Type {
			v.fault("op %d was for user %d %q and got record %d of user %d %q", op.N, op.User, op.Type, a.ID, a.User, a.Type)
		}
		if op.Status == load.Accepted {
			v.Acknowledged++
			if first := owner[a.ID]; first != nil {
				v.double("key "+op.Key, "record %d was given to op %d (key %s) and op %d (key %s)", a.ID, first.N, first.Key, op.N, op.Key)
			}
			owner[a.ID] = op
		}
		for _, n := range e.Nodes {
			switch got, ok := records[n.Name][a.ID]; {
			case !ok && op.Status == load.Accepted:
				v.lose(op, "op %d (key %s): acknowledged record %d is not at %s; tries %s", op.N, op.Key, a.ID, n.Name, tries(op))
			case !ok:
				v.fault("op %d (key %s): its winner %d is not at %s", op.N, op.Key, a.ID, n.Name)
			case got.User != a.User || got.Type != a.Type || !got.Timestamp.Equal(a.Timestamp) || got.Node != a.Node:
				v.fault("op %d: record %d was answered as %+v and is %+v at %s", op.N, a.ID, *a, got, n.Name)
			}
		}
		if op.Status == load.Duplicate {
			switch d := op.Answer.DeltaMS; {
			case d == nil:
				v.fault("op %d (key %s): 409 without delta_ms", op.N, op.Key)
			case max(*d, -*d) >= e.Window.Milliseconds():
				v.fault("op %d (key %s): 409 although %d ms apart", op.N, op.Key, *d)
			}
		}
	}
}

// order is real time: what began after something else was answered has a later
// place in the order of events. Keys are used by one operation only, so an answer
// is never older than its operation.
func (v *Verdict) order(ops []*load.Op) {
	var final []*load.Op
	for _, op := range ops {
		if op.Final() && op.Answer.Sync.Seq > 0 {
			final = append(final, op)
		}
	}
	byEnd := slices.Clone(final)
	slices.SortFunc(byEnd, func(a, b *load.Op) int { return a.End.Compare(b.End) })
	slices.SortFunc(final, func(a, b *load.Op) int { return a.Start.Compare(b.Start) })
	var newest *load.Op
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

// resolve: the answer given is the state of the key.
func (v *Verdict) resolve(e Evidence) {
	for _, op := range e.Ops {
		asked := false
		for _, n := range e.Nodes {
			s, there := n.Keys[op.Key]
			if !there {
				continue
			}
			asked = true
			d := s.Decision
			switch {
			case !op.Final() && (s.Status == 404 || s.Status == 200):
			case s.Status != 200 || d.Status != load.Words(op.Status):
				v.fault("%s about op %d (key %s), answered %d: %s; tries %s", n.Name, op.N, op.Key, op.Status, s.Text, tries(op))
			case op.Status != load.Accepted && op.Status != load.Duplicate: // no record to name
			case d.Attendance == nil || op.Answer.Attendance == nil || d.Attendance.ID != op.Answer.Attendance.ID:
				v.fault("%s about key %s names another record than the answer %+v: %s", n.Name, op.Key, op.Answer.Attendance, s.Text)
			}
		}
		if !asked {
			v.fault("no node was asked about op %d (key %s)", op.N, op.Key)
		}
	}
}

// log: the events are dense, and the same bytes everywhere.
func (v *Verdict) log(e Evidence) {
	first := e.Nodes[0]
	for _, n := range e.Nodes {
		for i, item := range n.Events {
			if seq := seqOf(item); seq != e.After+uint64(i)+1 {
				v.fault("%s: event %d of the log has seq %d", n.Name, e.After+uint64(i)+1, seq)
				break
			}
		}
		if len(n.Events) != len(first.Events) {
			v.fault("%s has %d events, %s has %d", n.Name, len(n.Events), first.Name, len(first.Events))
		}
		for i := range min(len(n.Events), len(first.Events)) {
			if !bytes.Equal(n.Events[i], first.Events[i]) {
				v.fault("event %d is %s at %s and %s at %s", e.After+uint64(i)+1, first.Events[i], first.Name, n.Events[i], n.Name)
			}
		}
	}
}

// decisions: each key that somebody was told is kept is decided exactly once, and
// as its client was told; each other one at most once. It counts what became of
// every operation.
func (v *Verdict) decisions(e Evidence) {
	words := make([]map[string][]string, len(e.Nodes)) // by node and key: what was decided
	for i, n := range e.Nodes {
		words[i] = map[string][]string{}
		for _, item := range n.Events {
			var ev event
			if err := json.Unmarshal(item, &ev); err != nil {
				v.fault("%s has an event that cannot be read: %s: %v", n.Name, item, err)
				continue
			}
			if word, isTap := strings.CutPrefix(ev.Type, "attendance."); isTap && ev.ID != nil {
				words[i][*ev.ID] = append(words[i][*ev.ID], word)
			}
		}
	}
	for _, op := range e.Ops {
		for i, n := range e.Nodes {
			switch got := words[i][op.Key]; {
			case len(got) > 1:
				v.double("key "+op.Key, "%s has decided op %d (key %s) %d times: %s", n.Name, op.N, op.Key, len(got), strings.Join(got, ", "))
			case len(got) == 0 && op.Acknowledged():
				v.lose(op, "op %d (key %s) was acknowledged and is not decided at %s; tries %s", op.N, op.Key, n.Name, tries(op))
			case len(got) == 1 && op.Final() && got[0] != load.Words(op.Status):
				v.fault("op %d (key %s) was answered %d and is decided as %s at %s", op.N, op.Key, op.Status, got[0], n.Name)
			}
		}
		v.count(op, words[0][op.Key])
	}
}

func (v *Verdict) count(op *load.Op, decided []string) {
	what := ""
	if len(decided) > 0 {
		what = decided[0]
	}
	switch what {
	case load.Words(load.Accepted):
		v.Accepted++
	case load.Words(load.Duplicate):
		v.Duplicate++
	case load.Words(load.Review):
		v.Review++
	case load.Words(load.Rejected):
		v.Rejected++
	default:
		if op.Recorded.IsZero() {
			v.Unanswered++
		} else {
			v.Queued++
		}
	}
}
