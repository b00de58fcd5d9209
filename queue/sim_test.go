package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/fsm"
	"hadir/store"
)

// The simulation runs in a synctest bubble: its time stands still while anybody
// works. One real state machine stands for the cluster; each node has a real
// outbox in a real file, and a link that can be cut or lose answers.

// school is the cluster.
type school struct {
	t       testing.TB
	dir     string
	state   *store.State
	machine *fsm.Machine

	mu      sync.Mutex
	applied uint64
	files   int
}

// tempDir prefers memory, where there is some.
func tempDir(t testing.TB) string {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if dir, err := os.MkdirTemp("/dev/shm", "hadir-queue-"); err == nil {
			t.Cleanup(func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			return dir
		}
	}
	return t.TempDir()
}

const users = 4

// newSchool makes a school of a few people. It must be closed in the bubble in
// which it was made.
func newSchool(t testing.TB, dir string) *school {
	t.Helper()
	s := &school{t: t, dir: dir}
	var err error
	if s.state, err = store.OpenState(filepath.Join(dir, "state.db"), store.Options{NoSync: true, MmapSize: 1 << 24}); err != nil {
		t.Fatal(err)
	}
	s.machine = fsm.New(s.state, fsm.Options{Halt: func(reason error) { t.Errorf("the state machine halted: %v", reason) }})
	for i := range users {
		if _, err := s.apply(attendance.Command{
			Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n1",
			Body: attendance.PutUser{Name: fmt.Sprint("Person ", i), Email: fmt.Sprintf("p%d@x.test", i), Role: attendance.Student, Active: true},
		}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *school) close() {
	if err := s.state.Close(); err != nil {
		s.t.Error(err)
	}
}

// apply decides a command now.
func (s *school) apply(c attendance.Command, received time.Time) (cluster.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if b, ok := c.Body.(attendance.CheckIn); ok && !b.WallClock {
		b.Age = attendance.Millis(max(0, now.Sub(received).Milliseconds()))
		c.Body = b
	}
	data, err := attendance.EncodeEntry(attendance.Entry{
		Level: 1, Cluster: attendance.ClusterID{1}, ProposedAt: attendance.MillisOf(now), Commands: []attendance.Command{c},
	})
	if err != nil {
		return cluster.Result{}, fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	s.applied++
	out, err := s.machine.Apply([]fsm.Entry{{Index: s.applied, Term: 1, Data: data}})
	if err != nil {
		return cluster.Result{}, err
	}
	return cluster.Result{Outcome: out[0][0], Leader: "n1", Term: 1, Index: s.applied}, nil
}

// taps gives the decisions about check-ins, by key.
func (s *school) taps() map[string][]attendance.Event {
	s.t.Helper()
	out := make(map[string][]attendance.Event)
	err := s.state.View(func(tx *store.ReadTx) error {
		for seq := uint64(1); seq <= tx.Meta().Seq; seq++ {
			e, err := tx.Event(seq)
			if err != nil {
				return err
			}
			if _, ok := e.Detail.(attendance.Tap); ok {
				out[e.Principal.String()+" "+e.Key] = append(out[e.Principal.String()+" "+e.Key], e)
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// audits gives the subjects of the audit notes with an action.
func (s *school) audits(action string) (subjects []string) {
	s.t.Helper()
	err := s.state.View(func(tx *store.ReadTx) error {
		for seq := uint64(1); seq <= tx.Meta().Seq; seq++ {
			e, err := tx.Event(seq)
			if err != nil {
				return err
			}
			if note, ok := e.Detail.(attendance.AuditNote); ok && note.Action == action {
				subjects = append(subjects, note.Subject)
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return subjects
}

// machine is where a node runs: its boot survives the node's process.
type computer struct {
	mu     sync.Mutex
	id     string
	booted time.Time
}

func (c *computer) reboot() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id, c.booted = c.id+"'", time.Now()
}

// Now, AfterFunc and Boot implement Clock.
func (c *computer) Now() time.Time { return time.Now() }

func (c *computer) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

func (c *computer) Boot() (string, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id, time.Since(c.booted)
}

// proc is one process of a node, from its start to its death.
type proc struct {
	school *school
	name   string
	path   string // of node.db
	clock  *computer
	file   *store.Node
	outbox *store.Outbox
	queue  *Queue
	end    context.CancelFunc
	over   chan struct{}

	mu       sync.Mutex
	cut      bool
	healed   chan struct{} // closed when the link comes back
	lose     int           // so many answers get lost
	refuse   error         // of every proposal
	invalid  map[string]bool
	crashAt  map[string]int // failpoint → hits left
	image    string         // what was on the disk when it died; "" while it lives
	flights  map[uint64]int // by user, of proposals
	most     int            // proposals at a time, ever
	now      int
	overlaps int // proposals of one user at a time
	proposed []string
}

// start starts a node on the file at path; change changes its configuration.
func (s *school) start(name, path string, clock *computer, change ...func(*Config)) *proc {
	s.t.Helper()
	p := &proc{
		school: s, name: name, path: path, clock: clock, over: make(chan struct{}), healed: make(chan struct{}),
		crashAt: map[string]int{}, flights: map[uint64]int{}, invalid: map[string]bool{},
	}
	var err error
	if p.file, err = store.OpenNode(path, rand.Reader); err == nil {
		p.outbox, err = p.file.Outbox(store.OutboxOptions{Failpoint: p.hit})
	}
	if err == nil {
		c := Config{Node: p, Outbox: p.outbox, Clock: clock, Log: slog.New(slog.DiscardHandler), Origin: p.file.Incarnation()}
		for _, f := range change {
			f(&c)
		}
		p.queue, err = New(c)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	var ctx context.Context
	ctx, p.end = context.WithCancel(context.Background())
	go func() {
		defer close(p.over)
		p.queue.Run(ctx)
	}()
	return p
}

// node starts a new node on a new machine.
func (s *school) node(name string, change ...func(*Config)) *proc {
	s.t.Helper()
	return s.start(name, filepath.Join(s.dir, name+".db"), &computer{id: "boot-" + name, booted: time.Now().Add(-time.Hour)}, change...)
}

// proposals gives the keys of what was proposed so far, in order.
func (p *proc) proposals() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.proposed)
}

// procOf gives the node that a configuration is for.
func procOf(c *Config) *proc {
	p, ok := c.Node.(*proc)
	if !ok {
		panic("no simulated node")
	}
	return p
}

// stop ends the process in order.
func (p *proc) stop() {
	p.end()
	<-p.over
	if err := p.file.Close(); err != nil {
		p.school.t.Error(err)
	}
}

// restart stops the process and starts the node again on what was on the disk when
// it died, or is now.
func (p *proc) restart() *proc {
	p.die()
	p.stop()
	next := p.school.start(p.name, p.image, p.clock)
	if p.cut {
		next.setLink(false)
	}
	return next
}

// die takes an image of the disk. What the process does from now on is seen by
// nobody.
func (p *proc) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.image != "" {
		return
	}
	p.school.mu.Lock()
	p.school.files++
	p.image = filepath.Join(p.school.dir, fmt.Sprintf("%s-%d.db", p.name, p.school.files))
	p.school.mu.Unlock()
	b, err := os.ReadFile(p.path)
	if err == nil {
		err = os.WriteFile(p.image, b, 0o600)
	}
	if err != nil {
		p.school.t.Error(err)
	}
}

func (p *proc) dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.image != ""
}

// hit is called at each place where a crash is interesting.
func (p *proc) hit(point string) {
	p.mu.Lock()
	left := p.crashAt[point]
	p.crashAt[point] = max(0, left-1)
	p.mu.Unlock()
	if left == 1 {
		p.die()
	}
}

// setLink cuts the node off, or heals that.
func (p *proc) setLink(up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up && p.cut {
		close(p.healed)
		p.healed = make(chan struct{})
	}
	p.cut = !up
}

func (p *proc) set(f func(*proc)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

// Name, Freshness and Propose implement Node.
func (p *proc) Name() string { return p.name }

func (p *proc) Freshness() cluster.Freshness {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut || p.image != "" {
		return cluster.Freshness{Age: 3 * time.Second, Stale: true}
	}
	return cluster.Freshness{AsOf: time.Now()}
}

func (p *proc) Propose(ctx context.Context, req cluster.Request) (cluster.Result, error) {
	user := uint64(0)
	if b, ok := req.Command.Body.(attendance.CheckIn); ok {
		user = b.UserID
	}
	p.mu.Lock()
	p.flights[user]++
	if p.flights[user] > 1 {
		p.overlaps++
	}
	p.now++
	p.most = max(p.most, p.now)
	p.proposed = append(p.proposed, req.Command.Key)
	p.mu.Unlock()
	defer p.set(func(p *proc) { p.flights[user]--; p.now-- })
	for {
		p.mu.Lock()
		cut, dead, healed, refuse, invalid := p.cut, p.image != "", p.healed, p.refuse, p.invalid[req.Command.Key]
		p.mu.Unlock()
		switch {
		case invalid:
			return cluster.Result{}, fmt.Errorf("%w: so says the test", cluster.ErrInvalid)
		case refuse != nil:
			return cluster.Result{}, refuse
		case cut || dead:
			select {
			case <-healed:
				continue
			case <-ctx.Done():
				return cluster.Result{}, fmt.Errorf("%w: cut off", cluster.ErrNoLeader)
			}
		}
		select {
		case <-time.After(3 * time.Millisecond): // the cluster takes its time
		case <-ctx.Done():
			return cluster.Result{}, fmt.Errorf("%w: gave up before", cluster.ErrNoLeader)
		}
		if p.dead() {
			continue
		}
		result, err := p.school.apply(req.Command, req.ReceivedAt)
		p.hit("proposed")
		p.mu.Lock()
		lost := err == nil && p.lose > 0
		if lost {
			p.lose--
		}
		p.mu.Unlock()
		if lost || p.dead() {
			return cluster.Result{}, fmt.Errorf("%w: the answer got lost", cluster.ErrUnknown)
		}
		return result, err
	}
}

// tap sends a check-in to the node.
func (p *proc) tap(user uint64, kind attendance.Kind, key string) (Answer, error) {
	return p.queue.CheckIn(context.Background(), cluster.Request{
		ReceivedAt: time.Now(),
		Command: attendance.Command{
			Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: user}, Key: key, Node: p.name,
			Body: attendance.CheckIn{UserID: user, Kind: kind},
		},
	})
}

// wantQueued sends a check-in that must be queued.
func (p *proc) wantQueued(user uint64, kind attendance.Kind, key string) store.OutboxEntry {
	p.school.t.Helper()
	a, err := p.tap(user, kind, key)
	if err != nil || a.Queued == nil || a.Queued.State != store.OutboxWaiting ||
		len(a.Copies) != 1 || a.Copies[0] != (Copy{Where: p.name, Fsync: true}) {
		p.school.t.Fatalf("%s: %+v, %v: want queued", key, a, err)
	}
	return *a.Queued
}

// wantDecided sends a check-in that must be decided at once.
func (p *proc) wantDecided(user uint64, kind attendance.Kind, key string, status attendance.Status) cluster.Result {
	p.school.t.Helper()
	a, err := p.tap(user, kind, key)
	if err != nil || a.Queued != nil || a.Result.Outcome.Status != status {
		p.school.t.Fatalf("%s: %+v, %v: want %s", key, a, err, status)
	}
	return a.Result
}

// drained lets time pass until the outbox is empty.
func (p *proc) drained() {
	p.school.t.Helper()
	for range 400 {
		synctest.Wait()
		if p.outbox.Depth().Waiting == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.school.t.Fatalf("%s still has %+v", p.name, p.outbox.Depth())
}

// theTap gives the one decision about a user's key.
func (s *school) theTap(user uint64, key string) (attendance.Event, attendance.Tap) {
	s.t.Helper()
	all := s.taps()[fmt.Sprintf("user:%d %s", user, key)]
	if len(all) != 1 {
		s.t.Fatalf("%s was decided %d times: %+v", key, len(all), all)
	}
	tap, ok := all[0].Detail.(attendance.Tap)
	if !ok {
		s.t.Fatal(errors.New("no tap"))
	}
	return all[0], tap
}

// simulate runs a test in a bubble, with a school.
func simulate(t *testing.T, f func(t *testing.T, s *school)) {
	t.Helper()
	dir := tempDir(t)
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t, dir)
		defer s.close()
		f(t, s)
	})
}
