package fsm

import (
	"errors"
	"os"
	"sync"
	"testing"

	"hadir/attendance"
	"hadir/store"
)

// populated is a state in which every operation finds something to act on:
// users, a group, a token, a secret, records, an open review, an offline claim,
// keys, an export mark.
var populated = sync.OnceValues(func() ([]byte, error) {
	var failed fuzzFailure
	m := newMachine(&failed, Options{})
	commands := []attendance.Command{
		putUser(0, 1, true), putUser(0, 2, true), putUser(0, 3, false),
		command(attendance.PutUser{Name: "T", Email: "t@example.org", Role: attendance.Teacher, Active: true}),
		command(attendance.PutGroup{Name: "G", Kind: attendance.Class, AddMembers: []uint64{1, 2}, AddTeachers: []uint64{4}}),
		command(attendance.PutToken{Name: "gate", Hash: make([]byte, 32)}),
		command(attendance.RotateSecret{Name: "session", Value: make([]byte, 16)}),
		command(attendance.CheckIn{UserID: 1, Kind: attendance.In, Age: 1_000}),
		command(attendance.CheckIn{UserID: 2, Kind: attendance.In, Offline: true, ClientTime: starts[0] - 5_000}),
		command(attendance.CheckIn{UserID: 3, Kind: attendance.In, Recorded: true}),
		command(attendance.ExportMark{Target: "sql", Seq: 3}),
	}
	for i := range commands[:9] {
		commands[i].Key = "k" + string(rune('a'+i))
	}
	st := step{index: 1, entry: attendance.Entry{Level: 1, Cluster: testCluster, ProposedAt: starts[0], Commands: commands}}
	if _, err := m.Apply(entries(&failed, []step{st})); err != nil {
		return nil, err
	}
	if err := m.State().Close(); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(m.path)
	return content, errors.Join(err, failed.err)
})

// fuzzFailure collects what goes wrong before there is a test.
type fuzzFailure struct{ err error }

func (*fuzzFailure) Helper() {}
func (f *fuzzFailure) Fatalf(format string, args ...any) {
	f.err = errors.New("populating the state failed")
	panic(format)
}

// F2: arbitrary bytes as one committed entry. A panic here would kill every node
// at the same index, for ever: bytes that cannot be applied halt the machine
// before it has changed anything.
func FuzzApply(f *testing.F) {
	for _, wrong := range unreadable() {
		f.Add(wrong.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		content, err := populated()
		if err != nil {
			t.Fatal(err)
		}
		m := machineOn(t, content, Options{})
		defer m.close(t)
		before := printOf(t, m.Machine)
		outcomes, err := m.Apply([]Entry{{Index: 2, Term: 1, Data: data}})
		if err != nil {
			if !errors.Is(err, ErrHalted) || len(m.halts) != 1 {
				t.Fatalf("%v, halted %d times", err, len(m.halts))
			}
			if printOf(t, m.Machine) != before {
				t.Fatal("an entry that halts the machine changed the state")
			}
			return
		}
		e, err := attendance.DecodeEntry(data)
		if err != nil || len(m.halts) != 0 || len(outcomes) != 1 || len(outcomes[0]) != len(e.Commands) {
			t.Fatalf("applied, but: %v, halted %d times, outcomes %v", err, len(m.halts), outcomes)
		}
		view(t, m.Machine, func(r *store.ReadTx) {
			if meta := r.Meta(); meta.Applied != 2 || meta.Clock < e.ProposedAt && !setsClock(e) {
				t.Fatalf("applied %d, clock %d after an entry proposed at %d", meta.Applied, meta.Clock, e.ProposedAt)
			}
		})
		m.restart(t) // what was written can be opened again
	})
}

func setsClock(e attendance.Entry) bool {
	for _, c := range e.Commands {
		if c.Body.Op() == attendance.OpSetClock {
			return true
		}
	}
	return false
}

// F11: the bytes choose the commands; machine and model must agree.
func FuzzDifferential(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03"))
	f.Fuzz(func(t *testing.T, data []byte) {
		src := &byteSource{b: data}
		s := newScenario(src)
		steps := []step{s.opening()}
		for len(src.b) > 0 && len(steps) < 40 {
			steps = append(steps, s.entry())
		}
		m := newMachine(t, Options{})
		defer m.close(t)
		compare(t, m.Machine, s, steps)
	})
}
