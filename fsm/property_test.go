package fsm

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"hadir/attendance"
	"hadir/attendance/pb"
	"hadir/store"
)

// tester is what *testing.T and *rapid.T have in common, as far as needed here.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// scratch gives a directory in memory where the system has one: a case costs a
// dozen commits and its own state file. It is made when it is first needed,
// because tests of crashes run this binary again and kill it.
var scratch = sync.OnceValues(func() (string, error) {
	base := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "hadir-fsm-")
	scratchMade = dir
	return dir, err
})

var scratchMade string // "" until there is one

func TestMain(m *testing.M) {
	code := m.Run()
	if scratchMade != "" {
		if err := os.RemoveAll(scratchMade); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

var stateOptions = store.Options{NoSync: true, MmapSize: 1 << 26}

// fresh is the content of a new state file: copying it is cheaper than creating
// two dozen buckets for every case.
var fresh = sync.OnceValues(func() ([]byte, error) {
	dir, err := scratch()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "fresh.db")
	s, err := store.OpenState(path, stateOptions)
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

var fileNumber atomic.Uint64

// machine is a Machine with its file, and what it said to Halt.
type machine struct {
	*Machine
	path  string
	opts  Options
	halts []error
}

// newMachine gives a machine over a new state.
func newMachine(t tester, opts Options) *machine {
	t.Helper()
	content, err := fresh()
	if err != nil {
		t.Fatalf("template: %v", err)
	}
	return machineOn(t, content, opts)
}

// machineOn gives a machine over a state file with that content.
func machineOn(t tester, content []byte, opts Options) *machine {
	t.Helper()
	dir, err := scratch()
	if err != nil {
		t.Fatalf("%v", err)
	}
	m := &machine{path: filepath.Join(dir, fmt.Sprintf("%d.db", fileNumber.Add(1))), opts: opts}
	if err := os.WriteFile(m.path, content, 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	m.open(t)
	return m
}

func (m *machine) open(t tester) {
	t.Helper()
	state, err := store.OpenState(m.path, stateOptions)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	m.opts.Halt = func(reason error) { m.halts = append(m.halts, reason) }
	m.Machine = New(state, m.opts)
}

// restart closes the file and opens it again, as a process does.
func (m *machine) restart(t tester) {
	t.Helper()
	if err := m.State().Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	m.open(t)
}

func (m *machine) close(t tester) {
	t.Helper()
	if err := m.State().Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if err := os.Remove(m.path); err != nil {
		t.Fatalf("%v", err)
	}
}

func view(t tester, m *Machine, f func(*store.ReadTx)) {
	t.Helper()
	if err := m.State().View(func(r *store.ReadTx) error { f(r); return nil }); err != nil {
		t.Fatalf("view: %v", err)
	}
}

// shares says how many of a hundred cases go to each property.
var shares = map[string]int{
	"TestDifferential": 30, "TestP1Distance": 10, "TestP2Determinism": 10, "TestP3Twice": 5, "TestP4Replays": 10,
	"TestP5Retention": 10, "TestP6Boundary": 10, "TestP7Dense": 5, "TestP8Prune": 5, "TestP13Halt": 3, "TestP14Clock": 2,
}

const casesEach = 300

// property checks f for a share of HADIR_CASES, or casesEach times; the seed
// comes from HADIR_SEED, so that CI looks elsewhere at each commit and anybody
// can look there again.
func property(t *testing.T, f func(*rapid.T)) {
	t.Helper()
	cases := casesEach
	if testing.Short() {
		cases = casesEach / 5
	}
	if total := number(t, "HADIR_CASES"); total > 0 {
		share, sum := shares[t.Name()], 0
		for _, s := range shares {
			sum += s
		}
		if share == 0 {
			t.Fatalf("%s has no share of the cases", t.Name())
		}
		cases = max(1, total*share/sum)
	}
	checks := cases
	if testing.Short() {
		checks *= 5 // rapid divides by that
	}
	set(t, "rapid.checks", strconv.Itoa(checks))
	if seed := number(t, "HADIR_SEED"); seed > 0 {
		set(t, "rapid.seed", strconv.Itoa(seed))
	}
	ran := 0
	rapid.Check(t, func(t *rapid.T) {
		ran++
		f(t)
	})
	if ran < cases { // rapid stops early when the deadline of go test is near
		t.Errorf("%d of %d cases ran: give go test a longer -timeout", ran, cases)
	}
	t.Logf("%s: %d cases", t.Name(), ran)
}

func number(t *testing.T, name string) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q is not a number", name, v)
	}
	return n
}

func set(t *testing.T, name, value string) {
	t.Helper()
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, old) })
}

// apply applies a log in batches of random size and gives the outcomes of each
// entry.
func apply(t tester, m *machine, src source, log []Entry) [][]attendance.Outcome {
	t.Helper()
	var out [][]attendance.Outcome
	for at := 0; at < len(log); {
		n := min(1+src.below(5), len(log)-at)
		outcomes, err := m.Apply(log[at : at+n])
		if err != nil {
			t.Fatalf("entries %d … %d: %v", log[at].Index, log[at+n-1].Index, err)
		}
		out = append(out, outcomes...)
		at += n
	}
	return out
}

// fingerprint is everything that must be equal on two nodes at one index.
type fingerprint struct{ state, chain attendance.Hash }

func printOf(t tester, m *Machine) fingerprint {
	t.Helper()
	var p fingerprint
	view(t, m, func(r *store.ReadTx) {
		hash, err := r.StateHash()
		if err != nil {
			t.Fatalf("state hash: %v", err)
		}
		p = fingerprint{state: hash, chain: r.Meta().Chain}
	})
	return p
}

func sameOutcomes(t tester, got, want [][]attendance.Outcome, steps []step) {
	t.Helper()
	for i := range want {
		for j := range want[i] {
			if !reflect.DeepEqual(got[i][j], want[i][j]) {
				t.Fatalf("entry %d, command %d: one run says %s\nthe other %s\n%s", steps[i].index, j,
					tell(got[i][j]), tell(want[i][j]), describe(steps[:i+1]))
			}
		}
	}
}

func tell(o attendance.Outcome) string {
	if o.Record == nil {
		return fmt.Sprintf("%+v", o)
	}
	record := *o.Record
	o.Record = nil
	return fmt.Sprintf("%+v with record %+v", o, record)
}

// P1, G4: two accepted check-ins of one (user, type) are at least W apart,
// whatever is claimed, pruned, set back or resolved. W is the one that holds
// when the later of the two is accepted: a wider window does not undo the past.
func TestP1Distance(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := newScenario(rapidSource{t})
		steps := s.steps(8 + s.src.below(24))
		m := newMachine(t, Options{})
		defer m.close(t)
		type who struct {
			user uint64
			kind attendance.Kind
		}
		accepted := map[who][]attendance.Millis{}
		window := attendance.DefaultParams().Window
		for i, outcomes := range apply(t, m, s.src, entries(t, steps)) {
			for j, o := range outcomes {
				if o.Replayed {
					continue
				}
				if p, ok := steps[i].entry.Commands[j].Body.(attendance.SetParams); ok && o.Status == attendance.DoneStatus {
					window = p.Params.Window
				}
				if o.Status != attendance.AcceptedStatus {
					continue
				}
				w := who{o.Record.UserID, o.Record.Kind}
				for _, at := range accepted[w] {
					if d := o.At - at; -window < d && d < window {
						t.Fatalf("%v has records at %d and %d under a window of %d\n%s", w, at, o.At, window, describe(steps[:i+1]))
					}
				}
				accepted[w] = append(accepted[w], o.At)
			}
		}
	})
}

// P2: the same log gives the same state, history and answers, however it is cut
// into batches, wherever the process restarts and wherever the state travels to
// another node as a backup.
func TestP2Determinism(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := newScenario(rapidSource{t})
		steps := s.steps(4 + s.src.below(16))
		log := entries(t, steps)
		a, b := newMachine(t, Options{}), newMachine(t, Options{})
		defer a.close(t)
		want := apply(t, a, s.src, log)
		var got [][]attendance.Outcome
		for at := 0; at < len(log); {
			switch s.src.below(6) {
			case 0:
				b.restart(t)
			case 1:
				b = moved(t, b)
			}
			n := min(1+s.src.below(6), len(log)-at)
			got = append(got, apply(t, b, s.src, log[at:at+n])...)
			at += n
		}
		defer b.close(t)
		sameOutcomes(t, got, want, steps)
		if p, q := printOf(t, a.Machine), printOf(t, b.Machine); p != q {
			t.Fatalf("states differ: %+v, %+v\n%s", p, q, describe(steps))
		}
	})
}

// moved gives a new machine whose state was received as a backup of m's.
func moved(t tester, m *machine) *machine {
	t.Helper()
	before := printOf(t, m.Machine)
	snapshot, err := m.State().Snapshot()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	var backup bytes.Buffer
	err = snapshot.Write(context.Background(), &backup)
	snapshot.Release()
	if err != nil {
		t.Fatalf("backup: %v", err)
	}
	m.close(t)
	other := newMachine(t, m.opts)
	path, _, err := store.Receive(context.Background(), &backup, filepath.Dir(other.path), stateOptions)
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	if err := other.State().Replace(path); err != nil {
		t.Fatalf("replace: %v", err)
	}
	if after := printOf(t, other.Machine); after != before {
		t.Fatalf("restoring a backup changed the state: %+v, then %+v", before, after)
	}
	return other
}

// P3: applying a log twice is applying it once; nobody waits for the second
// answer.
func TestP3Twice(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := newScenario(rapidSource{t})
		steps := s.steps(4 + s.src.below(16))
		log := entries(t, steps)
		m := newMachine(t, Options{})
		defer m.close(t)
		cut := s.src.below(len(log) + 1)
		apply(t, m, s.src, log[:cut])
		before := printOf(t, m.Machine)
		if s.src.below(2) == 0 {
			m.restart(t)
		}
		for i, outcomes := range apply(t, m, s.src, log[:cut]) {
			for j, o := range outcomes {
				if !reflect.DeepEqual(o, attendance.Outcome{Status: attendance.SkippedStatus}) {
					t.Fatalf("entry %d, command %d applied again: %s", log[i].Index, j, tell(o))
				}
			}
		}
		if after := printOf(t, m.Machine); after != before {
			t.Fatalf("applying entries again changed the state\n%s", describe(steps[:cut]))
		}
		// The library may hand over old entries and new ones in one batch.
		outcomes, err := m.Apply(log)
		if err != nil {
			t.Fatalf("old and new together: %v", err)
		}
		for i := range log {
			for j, o := range outcomes[i] {
				if (o.Status == attendance.SkippedStatus) != (i < cut) {
					t.Fatalf("entry %d of %d old ones, command %d: %s", i, cut, j, tell(o))
				}
			}
		}
	})
}

// P4, G7: replays of keyed commands, put in anywhere while the key answers, get
// the first answer and change no other decision.
func TestP4Replays(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := newScenario(rapidSource{t})
		var plain, busy []Entry
		var steps []step
		replayed := map[uint64][]attendance.Outcome{} // by index: the answers that replays have to get
		for n := 6 + s.src.below(16); n >= 0; n-- {
			st := s.opening
			if len(steps) > 0 {
				st = s.entry
			}
			steps = append(steps, st())
			last := steps[len(steps)-1]
			last.index *= 2 // odd indices are for replays
			steps[len(steps)-1] = last
			plain = append(plain, entries(t, []step{last})...)
			again, answers := s.live(s.src.below(3))
			if len(again) == 0 {
				busy = append(busy, plain[len(plain)-1])
				continue
			}
			extra := last
			commands := last.entry.Commands
			if s.src.below(2) == 0 && commands[len(commands)-1].Body.Op() != attendance.OpSetClock { // at the end of the same entry
				extra.entry.Commands = slices.Concat(commands, again)
				answers = append(make([]attendance.Outcome, len(commands)), answers...)
				busy = append(busy, entries(t, []step{extra})...)
			} else { // as an entry of their own
				extra.index++
				extra.entry.Commands = again
				extra.entry.ProposedAt = min(last.entry.ProposedAt, s.model.clock) // time stands still
				busy = append(busy, plain[len(plain)-1])
				busy = append(busy, entries(t, []step{extra})...)
				busy[len(busy)-1].Term = plain[len(plain)-1].Term
			}
			replayed[extra.index] = answers
		}
		a, b := newMachine(t, Options{}), newMachine(t, Options{})
		defer a.close(t)
		defer b.close(t)
		want := apply(t, a, s.src, plain)
		var got [][]attendance.Outcome
		for i, outcomes := range apply(t, b, s.src, busy) {
			for j, answer := range replayed[busy[i].Index] {
				if answer.Seq == 0 {
					continue // an original command of that entry
				}
				if diff := same(outcomes[j], answer); diff != "" {
					t.Fatalf("replay in entry %d: %s\n%s", busy[i].Index, diff, describe(steps))
				}
			}
			if busy[i].Index%2 == 0 {
				got = append(got, outcomes)
			}
		}
		sameOutcomes(t, got, want, steps)
		if p, q := printOf(t, a.Machine), printOf(t, b.Machine); p.chain != q.chain {
			t.Fatalf("replays changed the history\n%s", describe(steps))
		}
	})
}

// live gives up to n retries of commands whose keys still answer, and what they
// have to be answered.
func (s *scenario) live(n int) (again []attendance.Command, answers []attendance.Outcome) {
	for ; n > 0 && len(s.sent) > 0; n-- {
		c := pick(s.src, s.sent...)
		row, ok := s.model.keys[modelKey{c.Principal, c.Key}]
		if !ok || row.decided <= s.model.keyFloor || !reflect.DeepEqual(protected(row.body), protected(c.Body)) {
			continue
		}
		if tap, ok := c.Body.(attendance.CheckIn); ok {
			tap.Age, tap.WallClock, tap.ReceivedAt, tap.Recorded = s.age(s.instant()), false, 0, true
			c.Body = tap
		}
		c.Node = "n3"
		row.outcome.Replayed = true
		again, answers = append(again, c), append(answers, row.outcome)
	}
	return again, answers
}

// P5: deleting what has expired changes no answer, under clocks that are set
// back and retentions that change.
func TestP5Retention(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := newScenario(rapidSource{t})
		steps := s.steps(8 + s.src.below(24))
		log := entries(t, steps)
		a, b := newMachine(t, Options{}), newMachine(t, Options{keepExpired: true})
		defer a.close(t)
		defer b.close(t)
		got, want := apply(t, a, s.src, log), apply(t, b, s.src, log)
		sameOutcomes(t, got, want, steps)
		if p, q := printOf(t, a.Machine), printOf(t, b.Machine); p.chain != q.chain {
			t.Fatalf("retention changed the history\n%s", describe(steps))
		}
	})
}

// P6: around two records, every distance at the edge of the window: exactly W
// apart is accepted, one millisecond less is not, on both sides, across
// midnights. Another user and the other type are never in the way.
func TestP6Boundary(t *testing.T) {
	property(t, func(t *rapid.T) {
		src := rapidSource{t}
		w := pick[attendance.Millis](src, 1_000, 300_000, attendance.MaxWindow)
		params := attendance.DefaultParams()
		params.Window, params.Deferral = w, 7*w
		params.KeyRetention = params.Deferral + w + params.Skew
		first := pick(src, starts...) + attendance.Millis(src.below(3)) - 1 + pick(src, 0, w/2)
		second := first + pick(src, w, w+1, 2*w-1, 2*w, 3*w)
		around := pick(src, first, second)
		probe := around + pick(src, -w-1, -w, -w+1, -1, 0, 1, w-1, w, w+1)
		now := second + 2*w
		tap := func(user uint64, kind attendance.Kind, at attendance.Millis) attendance.Command {
			return command(attendance.CheckIn{UserID: user, Kind: kind, Age: now - at})
		}
		taps := []attendance.Command{tap(1, attendance.In, first), tap(1, attendance.In, second)}
		if src.below(2) == 0 { // commit order is not time order
			taps[0], taps[1] = taps[1], taps[0]
		}
		commands := append([]attendance.Command{putUser(0, 1, true), putUser(0, 2, true), command(attendance.SetParams{Params: params})}, taps...)
		commands = append(commands, tap(1, attendance.In, probe), tap(1, attendance.Out, probe), tap(2, attendance.In, probe))
		m := newMachine(t, Options{})
		defer m.close(t)
		st := step{index: 1, entry: attendance.Entry{Level: 1, Cluster: testCluster, ProposedAt: now, Commands: commands}}
		got := apply(t, m, src, entries(t, []step{st}))[0]
		for _, i := range []int{3, 4, 6, 7} {
			if got[i].Status != attendance.AcceptedStatus {
				t.Fatalf("command %d should be accepted: %s", i, tell(got[i]))
			}
		}
		o, near := got[5], func(a attendance.Millis) bool { d := probe - a; return -w < d && d < w }
		switch {
		case !near(first) && !near(second):
			if o.Status != attendance.AcceptedStatus || o.At != probe {
				t.Fatalf("records at %d and %d, tap at %d, window %d: %s", first, second, probe, w, tell(o))
			}
		case o.Status != attendance.DuplicateStatus || o.Delta != probe-o.Record.At || !near(o.Record.At) || o.Record.FirstSeenAt != min(o.Record.At, probe):
			t.Fatalf("records at %d and %d, tap at %d, window %d: %s", first, second, probe, w, tell(o))
		}
	})
}

// P7, G9: events are numbered 1, 2, 3, … without gaps, in the order of the
// commands. Every command leaves exactly one, except quiet ones and replays;
// the answer is what the event stands for, then and later.
func TestP7Dense(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := newScenario(rapidSource{t})
		steps := s.steps(4 + s.src.below(20))
		m := newMachine(t, Options{keepExpired: true})
		defer m.close(t)
		var published []byte
		m.Subscribe(func(c Commit) {
			for i, e := range c.Events {
				if decoded, err := attendance.DecodeEvent(e); err != nil || decoded.Seq != c.FirstSeq+uint64(i) {
					t.Fatalf("event %d of the commit from %d: seq %d, %v", i, c.FirstSeq, decoded.Seq, err)
				}
				published = append(published, e...)
			}
		})
		outcomes := apply(t, m, s.src, entries(t, steps))
		seq, stored := uint64(0), []byte(nil)
		view(t, m.Machine, func(r *store.ReadTx) {
			for i, st := range steps {
				for j, c := range st.entry.Commands {
					o := outcomes[i][j]
					switch {
					case c.Body.Op().Quiet():
						if o.Seq != 0 {
							t.Fatalf("entry %d, command %d: quiet %s has event %d", st.index, j, c.Body.Op(), o.Seq)
						}
						continue
					case !o.Replayed:
						seq++
					}
					if o.Seq != seq && !(o.Replayed && o.Seq <= seq) {
						t.Fatalf("entry %d, command %d: seq %d after %d events\n%s", st.index, j, o.Seq, seq, describe(steps[:i+1]))
					}
					e, err := r.Event(o.Seq)
					if err != nil || e.Seq != o.Seq || e.Principal != c.Principal || e.Key != c.Key || (!o.Replayed && (e.Index != st.index || e.Node != c.Node)) {
						t.Fatalf("entry %d, command %d: event %+v, %v", st.index, j, e, err)
					}
					again, err := r.Outcome(o.Seq)
					if again.Replayed = o.Replayed; err != nil || !reflect.DeepEqual(again, o) {
						t.Fatalf("event %d stands for %s, the answer was %s, %v", o.Seq, tell(again), tell(o), err)
					}
				}
			}
			next := uint64(1)
			r.Events(0, int(seq)+1, func(n uint64, event []byte) bool {
				if n != next {
					t.Fatalf("event %d follows %d", n, next-1)
				}
				next++
				stored = append(stored, event...)
				return true
			})
			if next != seq+1 || r.Meta().Seq != seq {
				t.Fatalf("%d events decided, %d stored, meta says %d", seq, next-1, r.Meta().Seq)
			}
		})
		if !bytes.Equal(published, stored) {
			t.Fatalf("subscribers saw other bytes than are stored")
		}
	})
}

// P8: trimming never lets a violation in. Whatever lies so near the floor that
// a trimmed neighbour could matter goes to a person, live or resolved, even
// when the clock is set back and the window is widened afterwards.
func TestP8Prune(t *testing.T) {
	property(t, func(t *rapid.T) {
		src := rapidSource{t}
		params := attendance.DefaultParams()
		params.Window, params.Deferral, params.KeyRetention = 10_000, 20_000, 60_000
		m := newMachine(t, Options{})
		defer m.close(t)
		now, index := pick(src, starts...), uint64(0)
		do := func(commands ...attendance.Command) []attendance.Outcome {
			index++
			e := attendance.Entry{Level: 1, Cluster: testCluster, ProposedAt: now, Commands: commands}
			return apply(t, m, src, entries(t, []step{{index: index, entry: e}}))[0]
		}
		tap := func(at attendance.Millis) attendance.Command {
			return command(attendance.CheckIn{UserID: 1, Kind: attendance.In, Age: now - at})
		}
		record := now
		do(putUser(0, 1, true), command(attendance.SetParams{Params: params}), tap(record))
		now += params.Deferral + 2*params.Window + params.KeyRetention
		floor := now - params.Deferral - params.Window
		through := pick[uint64](src, 0, 3)
		if through > 0 {
			floor -= params.KeyRetention
		}
		floor -= attendance.Millis(src.below(3)) // as far as allowed, or nearly
		if o := do(command(attendance.Prune{Floor: floor + 3, ThroughSeq: through}))[0]; o.Reason != attendance.TooRecent {
			t.Fatalf("pruning above the limit: %s", tell(o))
		}
		if o := do(command(attendance.Prune{Floor: floor, ThroughSeq: through}))[0]; o.Status != attendance.DoneStatus {
			t.Fatalf("pruning at the limit: %s", tell(o))
		}
		if src.below(2) == 0 {
			params.Window, params.Deferral, params.KeyRetention = 30_000, attendance.DayMillis, 2*attendance.DayMillis
			do(command(attendance.SetParams{Params: params}))
		}
		if back := record + params.Window; src.below(2) == 0 && back < now {
			do(command(attendance.SetClock{Clock: back}))
			now = back
		}
		if o := do(command(attendance.Prune{Floor: floor - 1}))[0]; o.Reason != attendance.FloorFalls {
			t.Fatalf("the floor fell: %s", tell(o))
		}
		at := min(now, floor+params.Window-1-pick(src, 0, 1, params.Window-1, params.Window))
		o := do(tap(at))[0]
		if o.Status != attendance.ReviewStatus || o.Reason != attendance.TooOld {
			t.Fatalf("floor %d, window %d, tap at %d: %s", floor, params.Window, at, tell(o))
		}
		o = do(command(attendance.Resolve{Seq: o.Seq, Accept: true}))[0]
		if o.Status == attendance.AcceptedStatus {
			t.Fatalf("floor %d, window %d, review at %d accepted: %s", floor, params.Window, at, tell(o))
		}
	})
}

// P13: an entry that this binary cannot follow stops the node and changes
// nothing, wherever in a batch it stands; nothing is applied after it.
func TestP13Halt(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := newScenario(rapidSource{t})
		steps := s.steps(3 + s.src.below(6))
		log := entries(t, steps)
		m := newMachine(t, Options{})
		defer m.close(t)
		cut := 1 + s.src.below(len(log)-1)
		apply(t, m, s.src, log[:cut])
		before := printOf(t, m.Machine)
		rest := log[cut:]
		bad := s.src.below(len(rest))
		wrong := pick(s.src, unreadable()...)
		rest[bad].Data = wrong.data
		if _, err := m.Apply(rest); !errors.Is(err, ErrHalted) || !errors.Is(err, wrong.is) {
			t.Fatalf("%s: %v", wrong.name, err)
		}
		if len(m.halts) != 1 || !errors.Is(m.halts[0], wrong.is) {
			t.Fatalf("%s: halted %d times, %v", wrong.name, len(m.halts), m.halts)
		}
		if after := printOf(t, m.Machine); after != before {
			t.Fatalf("%s changed the state", wrong.name)
		}
		good := entries(t, steps[cut:])
		if _, err := m.Apply(good); !errors.Is(err, ErrHalted) || len(m.halts) != 1 {
			t.Fatalf("after %s: %v, halted %d times", wrong.name, err, len(m.halts))
		}
		if err := m.Configure(good[0].Index, good[0].Term, nil); !errors.Is(err, ErrHalted) {
			t.Fatalf("configuration after %s: %v", wrong.name, err)
		}
		if after := printOf(t, m.Machine); after != before {
			t.Fatalf("%s: the state changed afterwards", wrong.name)
		}
	})
}

type unreadableEntry struct {
	name string
	data []byte
	is   error
}

// unreadable gives entries that no binary of this version may apply.
func unreadable() []unreadableEntry {
	must := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			panic(err)
		}
		return b
	}
	ok := func() *pb.Entry {
		return &pb.Entry{Level: 1, ClusterId: testCluster[:], ProposedAtMs: int64(starts[0]), Commands: []*pb.Command{
			{Op: pb.Op_OP_DEACTIVATE_USER, PrincipalKind: 1, PrincipalId: 1, NodeId: "n1", Body: must(&pb.DeactivateUser{UserId: 1})},
		}}
	}
	edit := func(f func(*pb.Entry)) []byte { e := ok(); f(e); return must(e) }
	return []unreadableEntry{
		{name: "unknown op", is: attendance.ErrUnknownOp, data: edit(func(e *pb.Entry) { e.Commands[0].Op = 19 })},
		{name: "op 0", is: attendance.ErrUnknownOp, data: edit(func(e *pb.Entry) { e.Commands[0].Op = 0 })},
		{name: "negative op", is: attendance.ErrUnknownOp, data: edit(func(e *pb.Entry) { e.Commands[0].Op = -255 })},
		{name: "op over a byte", is: attendance.ErrUnknownOp, data: edit(func(e *pb.Entry) { e.Commands[0].Op = 256 + 3 })},
		{name: "higher level", is: attendance.ErrUnknownLevel, data: edit(func(e *pb.Entry) { e.Level = 2 })},
		{name: "higher level, unknown op", is: attendance.ErrUnknownLevel, data: edit(func(e *pb.Entry) { e.Level, e.Commands[0].Op = 9, 99 })},
		{name: "higher level, no cluster", is: attendance.ErrUnknownLevel, data: edit(func(e *pb.Entry) { e.Level, e.ClusterId = 2, nil })},
		{name: "SetLevel over ours", is: attendance.ErrUnknownLevel, data: edit(func(e *pb.Entry) {
			e.Commands[0].Op, e.Commands[0].Body = pb.Op_OP_SET_LEVEL, must(&pb.SetLevel{Level: 2})
		})},
		{name: "no level", is: attendance.ErrMalformed, data: edit(func(e *pb.Entry) { e.Level = 0 })},
		{name: "no commands", is: attendance.ErrMalformed, data: edit(func(e *pb.Entry) { e.Commands = nil })},
		{name: "a field too many", is: attendance.ErrMalformed, data: append(must(ok()), 0x78, 1)},
		{name: "body of another op", is: attendance.ErrMalformed, data: edit(func(e *pb.Entry) { e.Commands[0].Op = pb.Op_OP_AUDIT })},
		{name: "half an entry", is: attendance.ErrMalformed, data: must(ok())[:10]},
		{name: "nothing", is: attendance.ErrMalformed},
		{name: "another cluster", is: ErrForeignLog, data: edit(func(e *pb.Entry) { e.ClusterId = bytes.Repeat([]byte{7}, 16) })},
		{name: "another history", is: ErrDiverged, data: edit(func(e *pb.Entry) {
			e.Commands[0].Op, e.Commands[0].Body = pb.Op_OP_VERIFY, must(&pb.Verify{Seq: 4, Hash: make([]byte, 32)})
		})},
	}
}

// P14: the clock is the greatest proposal time and never falls by itself.
func TestP14Clock(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := newScenario(rapidSource{t})
		s.noSetClock = true
		steps := s.steps(4 + s.src.below(12))
		m := newMachine(t, Options{})
		defer m.close(t)
		greatest := attendance.Millis(0)
		for i, e := range entries(t, steps) {
			apply(t, m, s.src, []Entry{e})
			greatest = max(greatest, steps[i].entry.ProposedAt)
			view(t, m.Machine, func(r *store.ReadTx) {
				if clock := r.Meta().Clock; clock != greatest {
					t.Fatalf("entry %d: clock %d, greatest proposal time %d", e.Index, clock, greatest)
				}
			})
		}
	})
}
