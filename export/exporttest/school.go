// Package exporttest gives the tests of export a cluster without a network: a real
// state machine over a real state, to which each proposal is one entry, and a
// school that makes events of every kind.
package exporttest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/fsm"
	"hadir/store"
)

// School is a cluster of one. Its methods may be called concurrently.
type School struct {
	name  string
	state *store.State
	leads atomic.Bool
	term  atomic.Uint64

	mu      sync.Mutex
	machine *fsm.Machine
	halted  error
	applied uint64
	now     attendance.Millis
	turn    int
	refuse  error
	audits  []attendance.Audit

	people, groups int
}

// Monday is when a school begins: six in the morning in Jakarta.
const Monday attendance.Millis = 1_795_388_400_000

// Cluster is the id of every school.
var Cluster = attendance.ClusterID{0x5c, 0x40, 0x01}

// New opens a school in a directory; one that is there goes on. Writes are not
// synced: it is for tests only.
func New(dir, name string) (*School, error) {
	state, err := store.OpenState(filepath.Join(dir, "state.db"), store.Options{NoSync: true, MmapSize: 1 << 26})
	if err != nil {
		return nil, err
	}
	s := &School{name: name, state: state, now: Monday}
	s.machine = fsm.New(state, fsm.Options{Halt: func(reason error) { s.halted = reason }})
	err = state.View(func(tx *store.ReadTx) error {
		m := tx.Meta()
		s.applied, s.people, s.groups = m.Applied, int(m.Users), int(m.Groups)
		s.now = max(s.now, m.Clock)
		return nil
	})
	s.Lead(1)
	return s, err
}

// Close closes the state.
func (s *School) Close() error { return s.state.Close() }

// Lead has this node lead in a term.
func (s *School) Lead(term uint64) {
	s.term.Store(term)
	s.leads.Store(true)
}

// Follow has another node lead.
func (s *School) Follow() { s.leads.Store(false) }

// Refuse has every proposal fail; nil ends that.
func (s *School) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = err
}

// Audits gives the acts that were recorded, the oldest first.
func (s *School) Audits() []attendance.Audit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]attendance.Audit(nil), s.audits...)
}

// Name implements export.Cluster.
func (s *School) Name() string { return s.name }

// IsLeader implements export.Cluster.
func (s *School) IsLeader() (term uint64, ok bool) {
	if !s.leads.Load() {
		return 0, false
	}
	return s.term.Load(), true
}

// Read implements export.Cluster.
func (s *School) Read(_ context.Context, _ cluster.Read, f func(*store.ReadTx) error) (cluster.Freshness, error) {
	return cluster.Freshness{}, s.state.View(f)
}

// Propose implements export.Cluster.
func (s *School) Propose(_ context.Context, req cluster.Request) (cluster.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return cluster.Result{}, s.refuse
	}
	out, err := s.apply([]attendance.Command{req.Command})
	if err != nil {
		return cluster.Result{}, err
	}
	if a, ok := req.Command.Body.(attendance.Audit); ok && !out[0].Replayed {
		s.audits = append(s.audits, a)
	}
	return cluster.Result{Outcome: out[0], Index: s.applied}, nil
}

func (s *School) apply(commands []attendance.Command) ([]attendance.Outcome, error) {
	data, err := attendance.EncodeEntry(attendance.Entry{Level: 1, Cluster: Cluster, ProposedAt: s.now, Commands: commands})
	if err != nil {
		return nil, err
	}
	out, err := s.machine.Apply([]fsm.Entry{{Index: s.applied + 1, Term: 1, Data: data}})
	if err != nil {
		return nil, errors.Join(err, s.halted)
	}
	s.applied++
	return out[0], nil
}

// Do decides commands, of which each makes an event, as one entry.
func (s *School) Do(bodies ...attendance.Body) ([]attendance.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.do(bodies)
}

func (s *School) do(bodies []attendance.Body) ([]attendance.Outcome, error) {
	commands := make([]attendance.Command, len(bodies))
	for i, b := range bodies {
		commands[i] = attendance.Command{Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: s.name, Body: b}
	}
	return s.apply(commands)
}

// Pass lets time pass.
func (s *School) Pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += attendance.Millis(d.Milliseconds())
}

// Now gives the time of the next proposal.
func (s *School) Now() attendance.Millis {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Seq gives the newest event.
func (s *School) Seq() (seq uint64) {
	if err := s.state.View(func(tx *store.ReadTx) error { seq = tx.Meta().Seq; return nil }); err != nil {
		return 0
	}
	return seq
}

// Events gives all events that are kept.
func (s *School) Events() (out []attendance.Event, err error) {
	err = s.state.View(func(tx *store.ReadTx) error {
		var failed error
		tx.Events(0, 1<<62, func(_ uint64, b []byte) bool {
			var e attendance.Event
			e, failed = attendance.DecodeEvent(b)
			out = append(out, e)
			return failed == nil
		})
		return failed
	})
	return out, err
}

// perEntry is how many commands one entry gets.
const perEntry = 250

// Grow makes n events: mostly taps, which are accepted, lose, lose with an earlier
// time, come late or wait for a person; between them users, groups and all the
// rest. The same calls make the same events.
func (s *School) Grow(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n > 0 {
		size := min(n, perEntry)
		bodies := make([]attendance.Body, 0, size)
		for range size {
			bodies = append(bodies, s.next())
		}
		if _, err := s.do(bodies); err != nil {
			return err
		}
		s.now += 240_000
		n -= size
	}
	return nil
}

// next gives the next command of a school's life.
func (s *School) next() attendance.Body {
	s.turn++
	i := s.turn
	switch {
	case s.people < 20 || i%97 == 0:
		s.people++
		role := attendance.Student
		if s.people%10 == 1 {
			role = attendance.Teacher
		}
		return attendance.PutUser{
			Name: fmt.Sprintf("Śiswa %d 学生 🙂", s.people), Email: fmt.Sprintf("p%d@sekolah.example", s.people), Role: role, Active: true,
		}
	case s.groups < 2 || i%401 == 0:
		s.groups++
		return attendance.PutGroup{Name: fmt.Sprintf("X-%d", s.groups), Kind: attendance.Class, AddMembers: []uint64{2, 3}, AddTeachers: []uint64{1}}
	}
	user := uint64(2 + i*7%(s.people-1))
	switch i % 43 {
	case 1:
		return attendance.PutUser{UserID: user, Name: fmt.Sprintf("Siti %d", i), Email: fmt.Sprintf("s%d@sekolah.example", i), Role: attendance.Teacher, Active: true}
	case 2:
		return attendance.PutGroup{
			GroupID: uint64(1 + i%s.groups), Name: fmt.Sprintf("XI-%d", i), Kind: attendance.Department, AddMembers: []uint64{user},
			RemoveMembers: []uint64{uint64(2 + i*11%(s.people-1))},
		}
	case 3:
		return attendance.SetPassword{UserID: user, PasswordHash: "$argon2id$nothing"}
	case 4:
		if i%3 > 0 {
			s.groups++
			return attendance.PutGroup{Name: fmt.Sprintf("Ekskul %d", i), Kind: attendance.Class, AddMembers: []uint64{user}}
		}
		return attendance.DeleteGroup{GroupID: uint64(1 + i%(s.groups+3))} // some are gone: refused
	case 5:
		return attendance.Resolve{Seq: uint64(i / 2), Accept: i%2 == 0, Note: "dilihat di gerbang"}
	case 6:
		return attendance.Audit{Action: "backup.taken", Subject: s.name, Note: "malam"}
	case 7:
		return attendance.BumpSessionEpoch{}
	case 8:
		return attendance.DeactivateUser{UserID: user}
	case 9:
		return attendance.PutUser{UserID: user, Name: "Kembali", Email: fmt.Sprintf("k%d@sekolah.example", i), Role: attendance.Student, Active: true}
	}
	tap := attendance.CheckIn{UserID: user, Kind: attendance.In, Age: attendance.Millis(i * 37 % 900)}
	if i%2 == 0 {
		tap.Kind = attendance.Out
	}
	switch i % 5 {
	case 0:
		tap.Location = attendance.Location{Error: attendance.LocationDenied}
	case 1:
		tap.Location = attendance.Location{Known: true, LatE7: -62_009_000 - int32(i%1000), LonE7: 1_068_451_000 + int32(i), AccuracyCM: uint32(i % 5000)}
	}
	switch i % 17 {
	case 0: // an outbox delivers late: loses with an earlier time, or counts before
		tap.Recorded, tap.Age = true, attendance.Millis(i%13)*60_000
	case 1: // a phone that was offline, whose claim a person will judge
		tap.Offline, tap.ClientTime = true, s.now-attendance.Millis(i%600)*1_000
	case 2: // too old for anybody
		tap.Recorded, tap.Age = true, 9*attendance.DayMillis
	case 3:
		tap.UserID = 1_000_000 // nobody
	}
	return tap
}

// Prune lets go of events up to a seq, and everything before.
func (s *School) Prune(through uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	params := attendance.DefaultParams()
	params.ExportMargin = 0
	if _, err := s.do([]attendance.Body{attendance.SetParams{Params: params}}); err != nil {
		return err
	}
	// A review that nobody resolves holds history back.
	var open []uint64
	if err := s.state.View(func(tx *store.ReadTx) error { open = tx.Open(0, store.MaxPage); return nil }); err != nil {
		return err
	}
	for _, seq := range open {
		if _, err := s.do([]attendance.Body{attendance.Resolve{Seq: seq}}); err != nil {
			return err
		}
	}
	s.now += 30 * attendance.DayMillis
	out, err := s.do([]attendance.Body{
		attendance.Audit{Action: "time.passed"}, // moves the clock
		attendance.Prune{Floor: s.now - 20*attendance.DayMillis, ThroughSeq: through},
	})
	if err != nil {
		return err
	}
	if why := out[1].Reason; why != attendance.NoReason {
		return fmt.Errorf("prune was refused: %s", why)
	}
	// Deletion is done little by little, by the entries that follow.
	for range 10_000 {
		if first := s.first(); first > through {
			return nil
		}
		if _, err := s.do([]attendance.Body{attendance.SetLevel{Level: 1}}); err != nil {
			return err
		}
	}
	return fmt.Errorf("event %d is still kept", s.first())
}

func (s *School) first() (seq uint64) {
	if err := s.state.View(func(tx *store.ReadTx) error { seq = tx.Meta().FirstSeq; return nil }); err != nil {
		return 0
	}
	return seq
}

// Restore begins a new epoch, as a restore from a backup does.
func (s *School) Restore(epoch uint64) error {
	return s.state.Update(func(tx *store.Tx) error {
		tx.SetMeta(func(m *store.Meta) { m.Epoch = epoch })
		return nil
	})
}
