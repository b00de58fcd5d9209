package chaos

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hadir/tests/chaos/plan"
	"hadir/tests/chaos/report"
)

// breaker does faults; a target.Target is one.
type breaker interface {
	Begin(ctx context.Context, part string, kind plan.Kind) error
	End(ctx context.Context, part string) error
}

// faults carries out a plan.
type faults struct {
	target breaker
	nodes  []string
	leader func() string // "" while nobody leads
	began  time.Time

	mu     sync.Mutex
	active []string
	done   []report.Fault
}

// The bounds of doing and undoing one fault.
const (
	beginWithin = 20 * time.Second
	endWithin   = 45 * time.Second
	leastFor    = time.Second // a fault that was slow to begin lasts so long
)

// run does one episode after the other, each with the calm before it that the plan
// has, also where the one before took longer. What was begun is ended also when ctx
// ends.
func (f *faults) run(ctx context.Context, episodes []plan.Episode) {
	healed := time.Duration(0)
	for _, e := range episodes {
		start := e.At()
		if healed > 0 {
			start = max(start, healed+plan.Calm)
		}
		late := start - e.At()
		if !f.until(ctx, start) {
			for _, x := range e.Faults {
				f.note(report.Fault{Episode: e.Name, Kind: x.Kind, Role: x.Part, Error: "was not done: there was no time left"})
			}
			continue
		}
		cast := f.cast()
		var wg sync.WaitGroup
		for _, x := range e.Faults {
			wg.Go(func() { f.one(ctx, e.Name, x, cast(x.Part), late) })
		}
		wg.Wait()
		healed = time.Since(f.began)
	}
}

// cast gives who has which role now.
func (f *faults) cast() func(role string) string {
	nodes := slices.Clone(f.nodes)
	if i := slices.Index(nodes, f.leader()); i > 0 {
		nodes[0], nodes[i] = nodes[i], nodes[0]
	}
	return func(role string) string {
		if role == plan.Leader {
			return nodes[0]
		}
		if n := plan.IsFollower(role); n > 0 && n < len(nodes) {
			return nodes[n]
		}
		return role // a service
	}
}

func (f *faults) one(ctx context.Context, episode string, x plan.Fault, part string, late time.Duration) {
	done := report.Fault{Episode: episode, Kind: x.Kind, Role: x.Part, Part: part}
	if !f.until(ctx, x.At+late) {
		done.Error = "was not done: there was no time left"
		f.note(done)
		return
	}
	words := fmt.Sprintf("%s %s", x.Kind, part)
	if x.Part != part {
		words += " (" + x.Part + ")"
	}
	f.show(words)
	begin, cancel := context.WithTimeout(context.WithoutCancel(ctx), beginWithin)
	done.BeganMS = time.Since(f.began).Milliseconds()
	err := f.target.Begin(begin, part, x.Kind)
	cancel()
	f.until(ctx, max(x.End()+late, time.Since(f.began)+leastFor))
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	if err2 := f.target.End(end, part); err == nil {
		err = err2
	}
	done.EndedMS = time.Since(f.began).Milliseconds()
	if err != nil {
		done.Error = err.Error()
	}
	f.hide(words)
	f.note(done)
}

// until waits for a moment since the load began; false when ctx ended first.
func (f *faults) until(ctx context.Context, at time.Duration) bool {
	timer := time.NewTimer(time.Until(f.began.Add(at)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (f *faults) note(x report.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = append(f.done, x)
	slices.SortStableFunc(f.done, func(a, b report.Fault) int { return cmp.Compare(a.BeganMS, b.BeganMS) })
}

func (f *faults) show(words string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = append(f.active, words)
}

func (f *faults) hide(words string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.active, words); i >= 0 {
		f.active = slices.Delete(f.active, i, i+1)
	}
}

// now gives what is broken at the moment.
func (f *faults) now() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.active, ", ")
}

// failed gives what was not done, or not undone in time.
func (f *faults) failed() (faults []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.done {
		if x.Error != "" {
			faults = append(faults, fmt.Sprintf("%s %s: %s", x.Kind, cmp.Or(x.Part, x.Role), x.Error))
		}
	}
	return faults
}
