// Package plan says which faults come when. It is pure: the same options give the
// same plan, and every plan ends healed.
//
// A plan is a row of episodes of one length. An episode begins all its faults
// together or nearly so, ends all of them, and leaves a calm in which a cluster can
// choose a leader and catch up. Nodes have roles, which are given when an episode
// begins: a fault of the leader meets whoever leads then.
package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is what is done to a part.
type Kind string

// The kinds. Each has an end that makes it good again.
const (
	Kill    Kind = "kill"    // as a power cut; ends with a start
	Pause   Kind = "pause"   // it keeps its sockets and answers nothing; ends with a thaw
	Stop    Kind = "stop"    // in good order; ends with a start
	Restart Kind = "restart" // in good order, and started at once
	Cut     Kind = "cut"     // from its network; ends with the same address on it
	Slow    Kind = "slow"    // it runs for a part of the time only, as behind a bad network
)

// takesAway reports whether a part is surely not there while the fault lasts.
func (k Kind) takesAway() bool { return k != Restart && k != Slow }

// Leader is the role of whoever leads when an episode begins.
const Leader = "leader"

const follower = "follower-"

// Follower gives the role of the n-th other node, from 1.
func Follower(n int) string { return follower + strconv.Itoa(n) }

// IsFollower gives the number of a follower's role, 0 for any other part.
func IsFollower(part string) int {
	rest, ok := strings.CutPrefix(part, follower)
	n, err := strconv.Atoi(rest)
	if !ok || err != nil {
		return 0
	}
	return n
}

// Fault is one fault of a part: a role, or the name of a service.
type Fault struct {
	Part string        `json:"part"`
	Kind Kind          `json:"kind"`
	At   time.Duration `json:"at"` // since the load began
	For  time.Duration `json:"for"`
}

// End gives when it is made good again, since the load began.
func (f Fault) End() time.Duration { return f.At + f.For }

// String gives a line.
func (f Fault) String() string {
	return fmt.Sprintf("%s %s at %.1f s for %.1f s", f.Kind, f.Part, f.At.Seconds(), f.For.Seconds())
}

// Episode is faults that belong together.
type Episode struct {
	Name   string  `json:"name"`
	Faults []Fault `json:"faults"`
}

// At gives when the first fault begins.
func (e Episode) At() time.Duration {
	return slices.MinFunc(e.Faults, func(a, b Fault) int { return int(a.At - b.At) }).At
}

// The names of episodes.
const (
	OneNode    = "one node"
	NoQuorum   = "no quorum"  // a majority of the nodes
	Everything = "everything" // all nodes
	OneService = "one service"
	Both       = "a node and a service"
)

// Plan is what is done in a run.
type Plan struct {
	Seed     uint64        `json:"seed"`
	Duration time.Duration `json:"duration"`
	Episodes []Episode     `json:"episodes"`
}

// Options say what a plan is for.
type Options struct {
	Seed     uint64
	Duration time.Duration
	Nodes    int
	// NodeKinds is what can be done to a node, Services to what is beside them.
	NodeKinds []Kind
	Services  map[string][]Kind
}

// The measures of a plan. An episode's faults begin within the first begin of its
// slot, last at least shortest, and end before calm begins.
const (
	Warmup   = 2 * time.Second
	Tail     = 4 * time.Second // calm at the end
	Slot     = 7 * time.Second
	Calm     = 2500 * time.Millisecond
	begin    = 500 * time.Millisecond
	shortest = 1500 * time.Millisecond
)

// Shortest is the least duration that holds an episode.
const Shortest = Warmup + Slot + Tail

// Make makes the plan of a seed. As far as the duration allows, a plan holds each
// shape once before any comes twice: a majority lost, everything lost, the leader
// killed, then each kind and each service in an order of the seed's.
func Make(o Options) (Plan, error) {
	p := Plan{Seed: o.Seed, Duration: o.Duration}
	if o.Nodes < 1 || !slices.ContainsFunc(o.NodeKinds, Kind.takesAway) {
		return p, fmt.Errorf("a plan needs nodes, and something that takes them away: %d nodes, %v", o.Nodes, o.NodeKinds)
	}
	slots := int((o.Duration - Warmup - Tail) / Slot)
	if slots < 1 {
		return p, fmt.Errorf("%s is too short for a fault and its healing: at least %s", o.Duration, Shortest)
	}
	m := &maker{Options: o, r: rand.New(rand.NewPCG(o.Seed, 0x6861646972))}
	var shapes []shape
	for len(shapes) < slots {
		deck := m.deck()
		if room := slots - len(shapes); room < len(deck) {
			deck = deck[:room]
		}
		m.r.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		shapes = append(shapes, deck...)
	}
	for i, s := range shapes {
		m.at = Warmup + time.Duration(i)*Slot
		p.Episodes = append(p.Episodes, s())
	}
	return p, nil
}

// shape makes an episode in the slot that begins at maker.at.
type shape func() Episode

type maker struct {
	Options
	r  *rand.Rand
	at time.Duration
}

// deck gives the shapes in the order in which they matter.
func (m *maker) deck() []shape {
	deck := []shape{m.noQuorum, m.everything, func() Episode { return m.one(Leader, m.pick(m.lasting())) }}
	var rest []shape
	for _, k := range m.NodeKinds {
		rest = append(rest, func() Episode { return m.one(m.role(), k) })
	}
	services := make([]string, 0, len(m.Services))
	for s := range m.Services {
		services = append(services, s)
	}
	slices.Sort(services)
	for _, s := range services {
		rest = append(rest,
			func() Episode { return Episode{OneService, []Fault{m.fault(s, m.pick(m.Services[s]))}} },
			func() Episode {
				return Episode{Both, []Fault{m.fault(s, m.pick(m.Services[s])), m.fault(m.role(), m.pick(m.NodeKinds))}}
			})
	}
	m.r.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return append(deck, rest...)
}

func (m *maker) one(part string, k Kind) Episode { return Episode{OneNode, []Fault{m.fault(part, k)}} }

// noQuorum takes a majority away. The faults overlap: each begins early and ends
// late enough.
func (m *maker) noQuorum() Episode {
	e := Episode{Name: NoQuorum}
	parts := m.parts()
	m.r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	for _, part := range parts[:m.Nodes/2+1] {
		f := m.fault(part, m.pick(m.lasting()))
		// Long enough for taps to be recorded: that is what nodes do after 2.5 s.
		f.For = max(f.For, m.at+Slot-Calm-f.At-m.upTo(begin))
		e.Faults = append(e.Faults, f)
	}
	return e
}

// everything takes all nodes away: in one moment, as a power cut for the house, or
// one after the other.
func (m *maker) everything() Episode {
	e := Episode{Name: Everything}
	atOnce := m.fault(Leader, m.pick(m.lasting()))
	if slices.Contains(m.NodeKinds, Kill) {
		atOnce.Kind = Kill
	}
	together := m.r.IntN(2) == 0
	for _, part := range m.parts() {
		f := atOnce
		if !together {
			f = m.fault(part, m.pick(m.lasting()))
		}
		f.Part = part
		e.Faults = append(e.Faults, f)
	}
	return e
}

// fault begins within begin and ends after begin+shortest and before the calm, so
// that any two faults of an episode overlap.
func (m *maker) fault(part string, k Kind) Fault {
	start := m.at + m.upTo(begin)
	end := m.at + begin + shortest + m.upTo(Slot-Calm-begin-shortest)
	return Fault{Part: part, Kind: k, At: start, For: end - start}
}

// upTo gives tenths of a second, which people can read.
func (m *maker) upTo(d time.Duration) time.Duration {
	const step = 100 * time.Millisecond
	return time.Duration(m.r.Int64N(int64(d/step)+1)) * step
}

func (m *maker) pick(kinds []Kind) Kind { return kinds[m.r.IntN(len(kinds))] }

func (m *maker) lasting() []Kind {
	return slices.DeleteFunc(slices.Clone(m.NodeKinds), func(k Kind) bool { return !k.takesAway() })
}

func (m *maker) parts() []string {
	parts := []string{Leader}
	for i := 1; i < m.Nodes; i++ {
		parts = append(parts, Follower(i))
	}
	return parts
}

// role gives the leader half of the time.
func (m *maker) role() string {
	if m.Nodes == 1 || m.r.IntN(2) == 0 {
		return Leader
	}
	return Follower(1 + m.r.IntN(m.Nodes-1))
}
