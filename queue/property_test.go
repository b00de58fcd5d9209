package queue

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"hadir/attendance"
	"hadir/cluster"
)

// P10: whatever crashes, in whichever order things happen, and however often a copy
// of an entry is proposed by somebody else: one decision for each check-in, the one
// that was told, as of a moment at which it was received.

// step is one thing that happens. What its numbers mean depends on what it is.
type step struct {
	What string
	Node int
	User uint64
	Kind attendance.Kind
	Key  int // of one that was used before; new when there is none
	N    int
	For  time.Duration
}

var happenings = []string{
	"tap", "tap", "tap", "tap", "tap again", "cut", "heal", "heal", "wait", "wait", "lose", "crash before the commit",
	"crash after the commit", "crash after the decision", "kill", "reboot", "copy", "refuse", "answer",
}

func drawSteps(rt *rapid.T) []step {
	one := rapid.Custom(func(rt *rapid.T) step {
		return step{
			What: rapid.SampledFrom(happenings).Draw(rt, "what"), Node: rapid.IntRange(0, 2).Draw(rt, "node"),
			User: rapid.Uint64Range(1, 3).Draw(rt, "user"), Kind: attendance.Kind(rapid.IntRange(1, 2).Draw(rt, "kind")),
			Key: rapid.IntRange(0, 10).Draw(rt, "key"), N: rapid.IntRange(1, 4).Draw(rt, "n"),
			For: rapid.SampledFrom([]time.Duration{
				0, time.Millisecond, 3 * time.Millisecond, 250 * time.Millisecond, 3 * time.Second, time.Minute, 6 * time.Minute,
			}).Draw(rt, "for"),
		}
	})
	return rapid.SliceOfN(one, 1, 60).Draw(rt, "steps")
}

// tapped is a check-in as the clients know it.
type tapped struct {
	user     uint64
	kind     attendance.Kind
	key      string
	receipts []attendance.Millis // when it was sent, each time
	nodes    map[int]bool        // to whom
	copied   bool
	queued   bool // somebody was told so
	answers  []attendance.Outcome
	places   map[string]uint64 // where it was recorded, by the incarnation of the disk
}

// story runs steps and finds what is wrong.
type story struct {
	*school
	nodes []*proc
	mu    sync.Mutex
	taps  []*tapped
	wg    sync.WaitGroup
}

func (s *story) send(i int, t *tapped) {
	s.mu.Lock()
	t.receipts = append(t.receipts, attendance.MillisOf(time.Now()))
	t.nodes[i] = true
	s.mu.Unlock()
	p := s.nodes[i]
	s.wg.Go(func() {
		a, err := p.tap(t.user, t.kind, t.key)
		if err != nil || p.dead() {
			return // the client has heard nothing, or nothing that counts
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if a.Queued == nil {
			t.answers = append(t.answers, a.Result.Outcome)
			return
		}
		t.queued = true
		t.places[p.file.Incarnation()] = a.Queued.N
	})
}

// copyOf has another node propose what waits at a node, as a worker does that found
// a copy of it.
func (s *story) copyOf(from, by int, n int) {
	entries, err := s.nodes[from].outbox.Waiting(0, n)
	if err != nil {
		s.t.Error(err)
		return
	}
	p := s.nodes[by]
	for _, e := range entries {
		s.mu.Lock()
		for _, t := range s.taps {
			if t.key == e.Command.Key {
				t.copied = true
			}
		}
		s.mu.Unlock()
		s.wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), proposeBudget)
			defer cancel()
			p.queue.propose(ctx, e) //nolint:errcheck // whatever comes of it
		})
	}
}

func (s *story) run(steps []step) {
	for _, st := range steps {
		p := s.nodes[st.Node]
		switch st.What {
		case "tap":
			t := &tapped{
				user: st.User, kind: st.Kind, key: fmt.Sprint("k", len(s.taps)), nodes: map[int]bool{}, places: map[string]uint64{},
			}
			s.mu.Lock()
			s.taps = append(s.taps, t)
			s.mu.Unlock()
			s.send(st.Node, t)
		case "tap again":
			if st.Key < len(s.taps) {
				s.send(st.Node, s.taps[st.Key])
			}
		case "cut", "heal":
			p.setLink(st.What == "heal")
		case "lose":
			p.set(func(p *proc) { p.lose = st.N })
		case "refuse":
			p.set(func(p *proc) { p.refuse = cluster.ErrNoLeader })
		case "answer":
			p.set(func(p *proc) { p.refuse = nil })
		case "crash before the commit":
			p.set(func(p *proc) { p.crashAt["outbox.before"] = st.N })
		case "crash after the commit":
			p.set(func(p *proc) { p.crashAt["outbox.after"] = st.N })
		case "crash after the decision":
			p.set(func(p *proc) { p.crashAt["proposed"] = st.N })
		case "kill", "reboot":
			if st.What == "reboot" {
				p.clock.reboot()
			}
			p.die()
		case "copy":
			s.copyOf(st.Node, (st.Node+st.N)%len(s.nodes), st.N)
		}
		time.Sleep(st.For)
		synctest.Wait()
		s.revive()
	}
}

// revive starts those again that have died.
func (s *story) revive() {
	for i, p := range s.nodes {
		if p.dead() {
			s.nodes[i] = p.restart()
		}
	}
}

// end heals everything and waits until nothing waits.
func (s *story) end() error {
	s.wg.Wait()
	s.revive()
	for _, p := range s.nodes {
		p.set(func(p *proc) { p.lose, p.refuse, p.crashAt = 0, nil, map[string]int{} })
		p.setLink(true)
	}
	for range 200 {
		synctest.Wait()
		waiting := uint64(0)
		for _, p := range s.nodes {
			waiting += p.outbox.Depth().Waiting + p.outbox.Depth().Failed
		}
		if waiting == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("something waits for ever: %+v", s.nodes[0].outbox.Depth())
}

// judge compares what clients were told with the log.
func (s *story) judge() error {
	log := s.school.taps()
	for _, t := range s.taps {
		events := log[fmt.Sprintf("user:%d %s", t.user, t.key)]
		if len(events) > 1 {
			return fmt.Errorf("%s has %d decisions", t.key, len(events))
		}
		if len(events) == 0 {
			if t.queued || len(t.answers) > 0 {
				return fmt.Errorf("%s was told queued or decided, and is nowhere", t.key)
			}
			continue
		}
		e := events[0]
		tap, _ := e.Detail.(attendance.Tap)
		for _, a := range t.answers {
			if a.Seq != e.Seq {
				return fmt.Errorf("%s was answered as event %d and is event %d", t.key, a.Seq, e.Seq)
			}
		}
		if !slices.Contains(t.receipts, tap.Claim) {
			return fmt.Errorf("%s was received at %v and decided as of %d", t.key, t.receipts, tap.Claim)
		}
	}
	return s.order(log)
}

// order: what one person did at one node is decided in the order in which it was
// recorded there, unless copies went other ways.
func (s *story) order(log map[string][]attendance.Event) error {
	for _, a := range s.taps {
		for _, b := range s.taps {
			if a.user != b.user || a.copied || b.copied || len(a.nodes) > 1 || len(b.nodes) > 1 {
				continue
			}
			for disk, n := range a.places {
				m, same := b.places[disk]
				first, second := log[fmt.Sprintf("user:%d %s", a.user, a.key)], log[fmt.Sprintf("user:%d %s", b.user, b.key)]
				// A proposal whose answer was lost may have been decided before it was recorded.
				if same && n < m && first[0].Seq > second[0].Seq && !second[0].Detail.(attendance.Tap).Recorded {
					continue
				}
				if same && n < m && first[0].Seq > second[0].Seq {
					return fmt.Errorf("%s of user %d was recorded before %s and decided after it", a.key, a.user, b.key)
				}
			}
		}
	}
	return nil
}

// tell runs a story from its beginning to its end.
func tell(t *testing.T, dir string, steps []step) (err error) {
	synctest.Test(t, func(t *testing.T) {
		s := &story{school: newSchool(t, dir)}
		defer s.close()
		for i := range 3 {
			s.nodes = append(s.nodes, s.node(fmt.Sprint("n", i+1)))
		}
		s.run(steps)
		if err = s.end(); err == nil {
			err = s.judge()
		}
		for _, p := range s.nodes {
			p.stop()
		}
	})
	return err
}

func TestP10OneDecision(t *testing.T) {
	root := tempDir(t)
	count := 0
	each := func(rt *rapid.T) {
		count++
		dir := filepath.Join(root, strconv.Itoa(count))
		if err := os.Mkdir(dir, 0o700); err != nil {
			rt.Fatal(err)
		}
		steps := drawSteps(rt)
		if err := tell(t, dir, steps); err != nil {
			for i, st := range steps {
				rt.Logf("%2d %+v", i, st)
			}
			rt.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			rt.Fatal(err)
		}
	}
	// A hundred stories, or a share of HADIR_CASES; HADIR_SEED moves on with each commit.
	cases := 100
	for name, set := range map[string]func(n int){
		"HADIR_CASES": func(n int) { cases = max(cases, n/100) },
		"HADIR_SEED":  func(n int) { setFlag(t, "rapid.seed", n) },
	} {
		if v := os.Getenv(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil {
				t.Fatalf("%s=%q is not a number", name, v)
			}
			set(n)
		}
	}
	setFlag(t, "rapid.checks", cases)
	rapid.Check(t, each)
	if count < cases/5 { // rapid divides by five with -short
		t.Errorf("only %d stories of %d: give go test a longer -timeout", count, cases)
	}
}

func setFlag(t *testing.T, name string, value int) {
	t.Helper()
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, strconv.Itoa(value)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, old) })
}

// TestP10Stories are those that once went wrong, or nearly.
func TestP10Stories(t *testing.T) {
	for name, steps := range map[string][]step{
		"decided, not noted, killed": {
			{What: "cut"}, {What: "tap", User: 1, Kind: in}, {What: "crash after the decision", N: 1}, {What: "heal", For: time.Second},
		},
		"recorded, killed before the answer": {
			{What: "cut"}, {What: "crash after the commit", N: 1}, {What: "tap", User: 1, Kind: in}, {What: "heal", For: time.Second},
		},
		"noted, killed, a copy comes late": {
			{What: "cut"}, {What: "tap", User: 1, Kind: in}, {What: "copy", N: 1, For: time.Millisecond},
			{What: "crash after the commit", N: 1}, {What: "heal", For: time.Minute},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tell(t, tempDir(t), steps); err != nil {
				t.Error(err)
			}
		})
	}
}
