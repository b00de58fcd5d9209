package fsm

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"hadir/attendance"
	"hadir/store"
)

// source gives choices: drawn by rapid, which shrinks them, or read from the
// bytes of a fuzz input.
type source interface{ below(n int) int }

type rapidSource struct{ t *rapid.T }

func (s rapidSource) below(n int) int { return belowGen(n).Draw(s.t, "") }

// belowGen reuses generators: making one costs more than drawing from it.
func belowGen(n int) *rapid.Generator[int] {
	if n >= len(belowGens) {
		return rapid.IntRange(0, n-1)
	}
	if belowGens[n] == nil {
		belowGens[n] = rapid.IntRange(0, n-1)
	}
	return belowGens[n]
}

var belowGens [256]*rapid.Generator[int]

type byteSource struct{ b []byte }

func (s *byteSource) below(n int) int {
	v := 0
	for span := 1; span < n && len(s.b) > 0; span *= 256 {
		v, s.b = v<<8|int(s.b[0]), s.b[1:]
	}
	return v % n
}

func pick[T any](s source, from ...T) T { return from[s.below(len(from))] }

// oneIn is true once in n.
func oneIn(s source, n int) bool { return s.below(n) == n-1 }

// Edges of time at which a case may start: UTC midnight, local midnight in
// Jakarta (17:00 UTC), and the two changes of summer time in Berlin.
var starts = []attendance.Millis{
	1_774_742_400_000,               // 2026-03-29T00:00Z
	1_774_742_400_000 + 3_600_000,   // Berlin springs forward
	1_774_803_600_000,               // 2026-03-29T17:00Z
	1_792_890_000_000,               // 2026-10-25T01:00Z, Berlin falls back
	20 * 365 * attendance.DayMillis, // a plain day
}

// paramSets are the parameters that a case may run under. The narrow ones make
// every boundary reachable in a few commands.
func paramSets() []attendance.Params {
	zone := attendance.Zone{Name: "Europe/Berlin", Changes: []attendance.ZoneChange{
		{From: 0, OffsetS: 3600}, {From: 1_774_746_000_000, OffsetS: 7200}, {From: 1_792_890_000_000, OffsetS: 3600},
	}}
	base := attendance.DefaultParams()
	sets := []attendance.Params{
		base,
		{Window: 1_000, Skew: 0, Deferral: 1_000, KeyRetention: 2_000},
		{Window: 1_000, Skew: 10, Deferral: 5_000, KeyRetention: 6_010},
		{Window: 1_000, Skew: 10, Deferral: 5_000, KeyRetention: 60_000, ExportMargin: 1},
		{Window: 300_000, Skew: 2_000, Deferral: 600_000, KeyRetention: 902_000, ExportMargin: 2, Zone: zone},
		{Window: 12 * 3_600_000, Skew: 2_000, Deferral: attendance.DayMillis, KeyRetention: 2 * attendance.DayMillis, Zone: zone},
		{Window: 300_000, Skew: 60_000, Deferral: 7 * attendance.DayMillis, KeyRetention: 90 * attendance.DayMillis},
	}
	for i := range sets {
		if sets[i].Zone.Name == "" {
			sets[i].Zone = base.Zone
		}
	}
	return sets
}

var testCluster = attendance.ClusterID{1, 2, 3}

// scenario makes a log of commands that collide: few people, few keys, times at
// the edges of whatever the model has reached. It runs the model along, because
// only the model knows where the edges are.
type scenario struct {
	src     source
	model   *model
	sent    []attendance.Command // for retries
	decided []attendance.Millis  // ages at which keys were decided
	params  []attendance.Params
	now     attendance.Millis // the leader's wall clock
	last    uint64            // raft index

	noSetClock bool
}

func newScenario(src source) *scenario {
	return &scenario{src: src, model: newModel(), params: paramSets()}
}

// step is one raft entry and what the model says about it.
type step struct {
	index uint64
	entry attendance.Entry
	want  []attendance.Outcome
}

func (s *scenario) add(commands ...attendance.Command) step {
	s.last += 1 + uint64(s.src.below(2)) // raft's own entries leave holes
	e := attendance.Entry{Level: 1, Cluster: testCluster, ProposedAt: s.now, Commands: commands}
	out := step{index: s.last, entry: e, want: s.model.apply(s.last, e)}
	s.decided = append(s.decided, s.model.clock+s.model.setBack)
	for _, c := range commands {
		if c.Key != "" {
			s.sent = append(s.sent, c)
		}
	}
	return out
}

// opening sets the stage: three users of whom the third is inactive (user 4 is
// never created at first) and one set of parameters.
func (s *scenario) opening() step {
	s.now = pick(s.src, starts...)
	return s.add(
		putUser(0, 1, true), putUser(0, 2, true), putUser(0, 3, false),
		command(attendance.SetParams{Params: pick(s.src, s.params...)}),
	)
}

func command(b attendance.Body) attendance.Command {
	return attendance.Command{Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: 1}, Node: "n1", Body: b}
}

func putUser(id uint64, n int, active bool) attendance.Command {
	return command(attendance.PutUser{
		UserID: id, Name: "N", Email: fmt.Sprintf("u%d@example.org", n), Role: attendance.Student, Active: active,
	})
}

// entry makes one raft entry of up to four commands.
func (s *scenario) entry() step {
	s.advance()
	var commands []attendance.Command
	for n := s.src.below(4); n >= 0; n-- {
		commands = append(commands, s.command())
	}
	return s.add(commands...)
}

// advance moves the leader's clock: by a little, by the parameters, to the
// moment at which a key dies, backwards, far ahead.
func (s *scenario) advance() {
	p := s.model.params
	if s.src.below(3) > 0 { // most leaders are not behind the replicated clock
		s.now = max(s.now, s.model.clock)
	}
	if len(s.decided) > 0 && oneIn(s.src, 10) {
		dies := pick(s.src, s.decided...) + p.KeyRetention - s.model.setBack
		s.now = dies + attendance.Millis(s.src.below(3)) - 1
	} else if oneIn(s.src, 5) {
		s.now += pick(s.src, p.Deferral, p.Deferral+p.Window, p.KeyRetention, attendance.DayMillis, 3*attendance.DayMillis, -attendance.DayMillis)
	} else {
		s.now += pick(s.src, 0, 1, p.Window, p.Window-1, p.Window+1, p.Window/2, 2*p.Window, p.Skew+1, -1, -p.Skew-1, -p.Window)
	}
	s.now = max(0, min(s.now, attendance.MaxMillis))
}

func (s *scenario) command() attendance.Command {
	c := s.freshCommand()
	c.Principal = attendance.Principal{Kind: attendance.UserPrincipal, ID: 1 + uint64(s.src.below(2))}
	if c.Body.Op().Quiet() {
		return c
	}
	if key := s.src.below(16); key < 5 {
		c.Key = fmt.Sprintf("k%d", key)
	}
	if len(s.sent) > 0 && oneIn(s.src, 5) {
		retry := pick(s.src, s.sent[max(0, len(s.sent)-8):]...)
		if tap, ok := retry.Body.(attendance.CheckIn); ok {
			// The same request, later: only what the door adds is different.
			tap.Age, tap.WallClock, tap.ReceivedAt, tap.Recorded = s.age(s.instant()), false, 0, !tap.Recorded
			retry.Body = tap
		}
		retry.Node = pick(s.src, "n1", "n2")
		return retry
	}
	return c
}

func (s *scenario) freshCommand() attendance.Command {
	m, p := s.model, s.model.params
	around := func(t attendance.Millis) attendance.Millis { return t + attendance.Millis(s.src.below(3)) - 1 }
	switch roll := s.src.below(32); {
	case roll < 20:
		return command(s.tap())
	case roll < 23 && len(m.open) > 0:
		seq := uint64(0) // the n-th open review in order of seq: maps have no order
		for n := s.src.below(len(m.open)); n >= 0; n-- {
			for seq++; !m.isOpen(seq); seq++ {
			}
		}
		return command(attendance.Resolve{Seq: seq, Accept: !oneIn(s.src, 3)})
	case roll == 23:
		return command(attendance.Resolve{Seq: 1 + uint64(s.src.below(int(m.seq)+1)), Accept: true})
	case roll == 24:
		return command(attendance.SetParams{Params: pick(s.src, s.params...)})
	case roll == 25 && !s.noSetClock:
		back := pick(s.src, 0, 1, p.Skew+1, p.Window, p.Deferral, p.KeyRetention, -1, attendance.DayMillis)
		return command(attendance.SetClock{Clock: max(1, m.clock-back)})
	case roll < 29:
		floor := pick(s.src, m.clock-p.Deferral-p.Window, m.clock-p.Deferral-p.Window-p.KeyRetention, m.floor)
		through := pick(s.src, 0, m.seq, m.seq+1, m.seq/2, 1)
		return command(attendance.Prune{Floor: max(1, around(floor)), ThroughSeq: through})
	case roll == 29:
		return command(attendance.ExportMark{
			Target: pick(s.src, "a", "b"), Seq: uint64(s.src.below(int(m.seq) + 2)), Retired: oneIn(s.src, 3),
		})
	case roll == 30:
		return command(attendance.DeactivateUser{UserID: 1 + uint64(s.src.below(4))})
	case roll == 31:
		n := s.src.below(len(m.users)+1) + 1 // changes a user, or the one that does not exist yet
		return putUser(uint64(n), n, !oneIn(s.src, 4))
	}
	return command(s.tap())
}

func (m *model) isOpen(seq uint64) bool { _, ok := m.open[seq]; return ok }

// instant gives a time worth tapping at: an edge of the rule, one millisecond
// before it or one after.
func (s *scenario) instant() attendance.Millis {
	m, p := s.model, s.model.params
	clock := max(m.clock, s.now)
	edge := clock
	switch roll := s.src.below(12); {
	case roll < 5 && len(m.records) > 0:
		recent := m.records[max(0, len(m.records)-5):]
		edge = pick(s.src, recent...).At + pick(s.src, p.Window, -p.Window, 0, p.Window/2)
	case roll < 7:
		edge = clock - pick(s.src, 0, 1, p.Window, 2*p.Window, p.Window/2)
	case roll == 7:
		edge = clock - p.Deferral
	case roll == 8:
		edge = m.floor + p.Window
	case roll == 9:
		edge = clock - clock%attendance.DayMillis
	case roll == 10:
		edge = clock - (clock+7*3_600_000)%attendance.DayMillis // midnight in Jakarta
	}
	return edge + attendance.Millis(s.src.below(3)) - 1
}

// age is how long ago t was for the leader, as far as a monotonic clock can say.
func (s *scenario) age(t attendance.Millis) attendance.Millis { return max(0, s.now-t) }

func (s *scenario) tap() attendance.CheckIn {
	c := attendance.CheckIn{UserID: 1 + uint64(s.src.below(8))%5, Kind: attendance.In, Recorded: oneIn(s.src, 3)}
	if c.UserID > 2 {
		c.UserID = 1 + uint64(s.src.below(4))
	}
	if oneIn(s.src, 5) {
		c.Kind = attendance.Out
	}
	t := s.instant()
	if oneIn(s.src, 6) {
		c.WallClock = true // the node has rebooted; its clock may say anything
		ahead := pick(s.src, 0, s.model.params.Skew, s.model.params.Skew+1, attendance.DayMillis)
		c.ReceivedAt = max(0, pick(s.src, t, max(s.model.clock, s.now)+ahead))
	} else {
		c.Age = s.age(t)
	}
	if oneIn(s.src, 8) {
		c.Offline, c.ClaimTrusted = true, oneIn(s.src, 2)
		c.ClientTime = max(1, t-pick(s.src, 0, 1, s.model.params.Window, -1))
	}
	return c
}

// same says in one line where an outcome differs from the model's, or "".
func same(got, want attendance.Outcome) string {
	type flat struct {
		Status, Reason        string
		Seq                   uint64
		At, Delta             attendance.Millis
		Record, User, Kind    uint64
		RecordAt, FirstSeenAt attendance.Millis
		Replayed              bool
	}
	view := func(o attendance.Outcome) flat {
		f := flat{Status: o.Status.String(), Reason: o.Reason.String(), Seq: o.Seq, At: o.At, Delta: o.Delta, Replayed: o.Replayed}
		if r := o.Record; r != nil {
			f.Record, f.User, f.Kind, f.RecordAt, f.FirstSeenAt = r.ID, r.UserID, uint64(r.Kind), r.At, r.FirstSeenAt
		}
		return f
	}
	if g, w := view(got), view(want); g != w {
		return fmt.Sprintf("machine %+v\nmodel   %+v", g, w)
	}
	return ""
}

// entries gives the steps in the form in which raft delivers them.
func entries(t tester, steps []step) []Entry {
	t.Helper()
	out := make([]Entry, len(steps))
	for i, st := range steps {
		b, err := attendance.EncodeEntry(st.entry)
		if err != nil {
			t.Fatalf("step %d cannot be encoded: %v", i, err)
		}
		out[i] = Entry{Index: st.index, Term: 1 + st.index/16, Data: b}
	}
	return out
}

// compare applies steps in batches of random size and compares every outcome
// and the scalars at the end with the model.
func compare(t tester, m *Machine, s *scenario, steps []step) {
	t.Helper()
	log := entries(t, steps)
	for at := 0; at < len(log); {
		n := min(1+s.src.below(4), len(log)-at)
		got, err := m.Apply(log[at : at+n])
		if err != nil {
			t.Fatalf("entries %d … %d: %v\n%s", log[at].Index, log[at+n-1].Index, err, describe(steps[:at+n]))
		}
		for i, outcomes := range got {
			st := steps[at+i]
			for j, o := range outcomes {
				if diff := same(o, st.want[j]); diff != "" {
					t.Fatalf("entry %d (proposed at %d), command %d: %s\n%s", st.index, st.entry.ProposedAt, j, diff, describe(steps[:at+i+1]))
				}
			}
		}
		at += n
	}
	view(t, m, func(r *store.ReadTx) {
		meta := r.Meta()
		got := [...]int64{int64(meta.Clock), int64(meta.SetBack), int64(meta.Seq), int64(meta.Floor), int64(meta.Applied)}
		want := [...]int64{int64(s.model.clock), int64(s.model.setBack), int64(s.model.seq), int64(s.model.floor), int64(s.model.applied)}
		if got != want {
			t.Fatalf("clock, set back, seq, floor, applied: machine %v, model %v\n%s", got, want, describe(steps))
		}
	})
}

// describe lists the commands of a case, for the reader of a failure.
func describe(steps []step) string {
	out := ""
	for _, st := range steps {
		for j, c := range st.entry.Commands {
			key := c.Key
			if key != "" {
				key = " key " + c.Principal.String() + "/" + key
			}
			out += fmt.Sprintf("  %d.%d @%d%s %s %+v\n      → %s %s seq %d\n", st.index, j, st.entry.ProposedAt, key, c.Body.Op(), c.Body,
				st.want[j].Status, st.want[j].Reason, st.want[j].Seq)
		}
	}
	return out
}

// steps makes a whole case.
func (s *scenario) steps(n int) []step {
	out := []step{s.opening()}
	for range n {
		out = append(out, s.entry())
	}
	return out
}

// The machine and the reference model agree about every command of any log.
func TestDifferential(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := newScenario(rapidSource{t})
		steps := s.steps(4 + s.src.below(24))
		m := newMachine(t, Options{})
		defer m.close(t)
		compare(t, m.Machine, s, steps)
	})
}
