package today_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hadir/attendance"
	"hadir/fsm"
	"hadir/httpapi/today"
	"hadir/store"
)

// site is a real state machine to which each command is one entry.
type site struct {
	t       fatal
	state   *store.State
	machine *fsm.Machine
	applied uint64
	now     attendance.Millis
	counter today.Counter
}

type fatal interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

const morning attendance.Millis = 1_770_000_000_000 // 2026-02-02, 09:40 in Jakarta

func newSite(t *testing.T, f fatal) *site {
	t.Helper()
	state, err := store.OpenState(filepath.Join(t.TempDir(), "state.db"), store.Options{NoSync: true, MmapSize: 1 << 22})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	halt := func(reason error) { f.Fatal(reason) }
	return &site{t: f, state: state, machine: fsm.New(state, fsm.Options{Halt: halt}), now: morning}
}

func (s *site) do(body attendance.Body) attendance.Outcome {
	s.t.Helper()
	data, err := attendance.EncodeEntry(attendance.Entry{
		Level: 1, Cluster: attendance.ClusterID{1}, ProposedAt: s.now, Commands: []attendance.Command{{
			Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n1", Body: body,
		}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.applied++
	out, err := s.machine.Apply([]fsm.Entry{{Index: s.applied, Term: 1, Data: data}})
	if err != nil {
		s.t.Fatal(err)
	}
	return out[0][0]
}

func (s *site) step() (totals today.Totals, done bool) {
	s.t.Helper()
	if err := s.state.View(func(tx *store.ReadTx) (err error) {
		totals, done, err = s.counter.Step(tx, s.now)
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	return totals, done
}

func (s *site) totals() today.Totals {
	s.t.Helper()
	for range 10_000 {
		if totals, done := s.step(); done {
			return totals
		}
	}
	s.t.Fatal("the counter does not arrive")
	return today.Totals{}
}

// want counts the day from the beginning.
func (s *site) want() today.Totals {
	s.t.Helper()
	want := today.Totals{Groups: make(map[uint64]today.Count)}
	if err := s.state.View(func(tx *store.ReadTx) error {
		want.Day, _ = tx.Params().Zone.Day(s.now)
		want.Seq = tx.Meta().Seq
		in, out := make(map[uint64]attendance.Millis), make(map[uint64]attendance.Millis)
		people := make(map[uint64]bool)
		for q := (store.Query{From: want.Day, To: want.Day, Limit: store.MaxPage}); ; {
			page, next, err := tx.Attendances(q)
			if err != nil {
				return err
			}
			for _, r := range page {
				people[r.UserID] = true
				times := map[attendance.Kind]map[uint64]attendance.Millis{attendance.In: in, attendance.Out: out}[r.Kind]
				times[r.UserID] = max(times[r.UserID], r.At)
			}
			if q.Before = next; next.IsZero() {
				break
			}
		}
		for id := range people {
			count := func(c today.Count) today.Count {
				if in[id] > 0 {
					c.Arrived++
				}
				if out[id] > 0 {
					c.Left++
				}
				if in[id] > out[id] {
					c.Present++
				}
				return c
			}
			want.People = count(want.People)
			for _, g := range tx.GroupsOf(id, store.Member) {
				want.Groups[g] = count(want.Groups[g])
			}
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	return want
}

func (s *site) check(when string) {
	s.t.Helper()
	if diff := cmp.Diff(s.want(), s.totals()); diff != "" {
		s.t.Fatalf("%s:\n%s", when, diff)
	}
}

func (s *site) people(n int) {
	s.t.Helper()
	for i := range n {
		s.do(attendance.PutUser{Name: fmt.Sprintf("P%d", i), Email: fmt.Sprintf("p%d@x.test", i), Role: attendance.Student, Active: true})
	}
}

// A whole day: who comes, leaves and comes back, changes of groups before and
// after, a late tap of yesterday, midnight.
func TestDay(t *testing.T) {
	s := newSite(t, t)
	s.people(5)
	a := s.do(attendance.PutGroup{Name: "A", Kind: attendance.Class, AddMembers: []uint64{1, 2, 3}}).ID
	b := s.do(attendance.PutGroup{Name: "B", Kind: attendance.Department, AddMembers: []uint64{3}}).ID
	tap := func(user uint64, kind attendance.Kind) { s.do(attendance.CheckIn{UserID: user, Kind: kind}) }
	expect := func(when string, all, inA, inB today.Count) {
		t.Helper()
		got := s.totals()
		if got.People != all || got.Groups[a] != inA || got.Groups[b] != inB {
			t.Errorf("%s: %+v, A %+v, B %+v", when, got.People, got.Groups[a], got.Groups[b])
		}
		s.check(when)
	}
	none := today.Count{}
	expect("at first", none, none, none)
	tap(1, attendance.In)
	tap(3, attendance.In)
	tap(5, attendance.In)
	tap(5, attendance.In) // a duplicate
	expect("three have come", today.Count{Arrived: 3, Present: 3}, today.Count{Arrived: 2, Present: 2}, today.Count{Arrived: 1, Present: 1})
	s.now += 3_600_000
	tap(3, attendance.Out)
	tap(2, attendance.Out) // who had not come
	expect("two leave", today.Count{Arrived: 3, Left: 2, Present: 2}, today.Count{Arrived: 2, Left: 2, Present: 1}, today.Count{Arrived: 1, Left: 1})
	s.now += 3_600_000
	tap(3, attendance.In)
	expect("one comes back", today.Count{Arrived: 3, Left: 2, Present: 3}, today.Count{Arrived: 2, Left: 2, Present: 2}, today.Count{Arrived: 1, Left: 1, Present: 1})
	s.do(attendance.PutGroup{GroupID: a, Name: "A", Kind: attendance.Class, RemoveMembers: []uint64{3}, AddMembers: []uint64{4, 5}})
	expect("groups change", today.Count{Arrived: 3, Left: 2, Present: 3}, today.Count{Arrived: 2, Left: 1, Present: 2}, today.Count{Arrived: 1, Left: 1, Present: 1})
	s.do(attendance.DeleteGroup{GroupID: b})
	expect("a group is deleted", today.Count{Arrived: 3, Left: 2, Present: 3}, today.Count{Arrived: 2, Left: 1, Present: 2}, none)
	s.do(attendance.CheckIn{UserID: 4, Kind: attendance.In, Age: 24 * 3_600_000, Recorded: true})
	expect("a tap of yesterday is decided", today.Count{Arrived: 3, Left: 2, Present: 3}, today.Count{Arrived: 2, Left: 1, Present: 2}, none)
	s.now += 24 * 3_600_000
	expect("the next day", none, none, none)
	tap(1, attendance.In)
	expect("somebody comes again", today.Count{Arrived: 1, Present: 1}, today.Count{Arrived: 1, Present: 1}, none)
	// A zone in which it is still yesterday.
	params := attendance.DefaultParams()
	params.Zone = attendance.Zone{Name: "Pacific/Honolulu", Changes: []attendance.ZoneChange{{OffsetS: -10 * 3600}}}
	s.do(attendance.SetParams{Params: params})
	if got := s.totals().Day.String(); got != "2026-02-02" {
		t.Errorf("in Honolulu it is %s", got)
	}
	s.check("in Honolulu")
}

// A day that is long read in bounded steps while more comes, and an answer costs
// what came since.
func TestStepsAreBounded(t *testing.T) {
	s := newSite(t, t)
	s.people(3*store.MaxPage - 1)
	for i := range 3*store.MaxPage - 1 {
		s.do(attendance.CheckIn{UserID: uint64(i) + 1, Kind: attendance.In})
	}
	steps := 0
	for ; ; steps++ {
		if _, done := s.step(); done {
			break
		}
		// Meanwhile somebody leaves: newer than what is being read.
		s.do(attendance.CheckIn{UserID: uint64(steps) + 1, Kind: attendance.Out})
	}
	if steps < 3 || steps > 6 {
		t.Errorf("%d steps for three pages", steps)
	}
	s.check("after the beginning")
	s.do(attendance.CheckIn{UserID: 1, Kind: attendance.In})
	s.now += 1_000
	if _, done := s.step(); !done {
		t.Error("one event takes more than a step")
	}
	s.people(0)
	for i := range 2_500 {
		s.do(attendance.Audit{Action: "noise", Subject: fmt.Sprint(i)})
	}
	steps = 1
	for ; ; steps++ {
		if _, done := s.step(); done {
			break
		}
	}
	if steps != 3 {
		t.Errorf("%d steps for 2 500 events", steps)
	}
}

// A reader whose picture is older than another's gets the newer totals, or nothing
// while the counter begins, and takes nothing away from it.
func TestOlderPicture(t *testing.T) {
	s := newSite(t, t)
	const people = store.MaxPage + 50
	s.people(people)
	for i := range people - 2 {
		s.do(attendance.CheckIn{UserID: uint64(i) + 1, Kind: attendance.In})
	}
	older, release, ended := make(chan *store.ReadTx), make(chan struct{}), make(chan error)
	go func() {
		ended <- s.state.View(func(tx *store.ReadTx) error {
			older <- tx
			<-release
			return nil
		})
	}()
	tx := <-older
	s.do(attendance.CheckIn{UserID: people - 1, Kind: attendance.In})
	s.do(attendance.CheckIn{UserID: people, Kind: attendance.In})
	if _, done := s.step(); done {
		t.Fatal("the day is read in one step")
	}
	if _, done, err := s.counter.Step(tx, s.now); err != nil || done {
		t.Errorf("while it begins: done %v, %v", done, err)
	}
	s.check("after the beginning")
	got, done, err := s.counter.Step(tx, s.now)
	if err != nil || !done || got.People.Arrived != people {
		t.Errorf("for an older picture: %+v %v %v", got.People, done, err)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	s.check("afterwards")
}

// A restored state is another history: the counter begins again.
func TestRestored(t *testing.T) {
	s := newSite(t, t)
	s.people(2)
	s.do(attendance.CheckIn{UserID: 1, Kind: attendance.In})
	s.check("before")
	for range 50 {
		s.do(attendance.Audit{Action: "noise"})
	}
	if err := s.state.Update(func(tx *store.Tx) error {
		tx.SetMeta(func(m *store.Meta) { m.Epoch++ })
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s.do(attendance.CheckIn{UserID: 2, Kind: attendance.In})
	s.check("after")
}

// Whatever happens in whatever order, with steps at any moment, the counter says
// what counting from the beginning says.
func TestCounts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(t, rt)
		s.people(6)
		groups := []uint64{}
		id := rapid.Uint64Range(1, 6)
		some := func(name string) []uint64 {
			set := make(map[uint64]bool)
			for _, v := range rapid.SliceOfN(id, 0, 3).Draw(rt, name) {
				set[v] = true
			}
			return slices.Sorted(maps.Keys(set))
		}
		for range rapid.IntRange(1, 40).Draw(rt, "acts") {
			switch rapid.IntRange(0, 9).Draw(rt, "act") {
			case 0:
				groups = append(groups, s.do(attendance.PutGroup{Name: "G", Kind: attendance.Class, AddMembers: some("members")}).ID)
			case 1:
				if len(groups) > 0 {
					s.do(attendance.PutGroup{GroupID: rapid.SampledFrom(groups).Draw(rt, "group"), Name: "G", Kind: attendance.Class, AddMembers: some("more"), RemoveMembers: some("less")})
				}
			case 2:
				if len(groups) > 0 {
					s.do(attendance.DeleteGroup{GroupID: rapid.SampledFrom(groups).Draw(rt, "group")})
				}
			case 3:
				s.now += attendance.Millis(rapid.Int64Range(0, int64(30*time.Hour/time.Millisecond)).Draw(rt, "later"))
			case 4:
				s.step()
			case 5:
				s.check("in between")
			default:
				s.do(attendance.CheckIn{
					UserID: id.Draw(rt, "who"), Kind: rapid.SampledFrom([]attendance.Kind{attendance.In, attendance.Out}).Draw(rt, "kind"),
					Age: attendance.Millis(rapid.Int64Range(0, int64(10*time.Hour/time.Millisecond)).Draw(rt, "age")), Recorded: true,
				})
				s.now += 1_000
			}
		}
		s.check("at the end")
	})
}
