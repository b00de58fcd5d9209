package load

import "sync"

// Pairs hands out who taps what. Most pairs of a person and a kind are new, so that
// most taps are accepted; some are handed out twice in a row, for two taps that race
// each other over different nodes, and some again later. It may be used concurrently.
type Pairs struct {
	mu     sync.Mutex
	people []uint64
	loads  int // so many people are for loads; those after them are for Fresh
	turn   int
	fresh  int
	kept   int
}

// mostReserved bounds how many people are kept for Fresh.
const mostReserved = 40

// NewPairs returns the pairs of people, by id. The last of them, at most half, are
// kept for Fresh.
func NewPairs(people []uint64) *Pairs {
	return &Pairs{people: people, loads: len(people) - min(mostReserved, len(people)/2)}
}

// AllPairs is NewPairs with nobody kept for Fresh.
func AllPairs(people []uint64) *Pairs { return &Pairs{people: people, loads: len(people)} }

// Next gives the next pair for a load.
func (p *Pairs) Next() (user uint64, kind string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn++
	i := p.fresh
	switch {
	case p.fresh >= 2*p.loads, p.turn%10 == 9 && p.fresh > 0:
		i = p.turn * 7919 % p.fresh
	case p.turn%5 == 3 && p.fresh > 0:
		i = p.fresh - 1
	default:
		p.fresh++
	}
	return p.pair(i)
}

// Fresh gives a pair that nobody has tapped; there are twice as many as people are
// kept for it.
func (p *Pairs) Fresh() (user uint64, kind string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept++
	return p.pair(2*p.loads + p.kept - 1)
}

func (p *Pairs) pair(i int) (uint64, string) {
	kind := "in"
	if i%2 == 1 {
		kind = "out"
	}
	return p.people[i/2], kind
}
