package chaos

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/tests/chaos/plan"
)

// bodies remember what was done to them.
type bodies struct {
	mu     sync.Mutex
	broken map[string]bool
	most   int // broken at once
	did    []string
	fails  string // the part that cannot be broken
}

func (b *bodies) Begin(_ context.Context, part string, kind plan.Kind) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if part == b.fails {
		return errors.New("it would not")
	}
	b.broken[part] = true
	b.most = max(b.most, len(b.broken))
	b.did = append(b.did, string(kind)+" "+part)
	return nil
}

func (b *bodies) End(_ context.Context, part string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.broken, part)
	return nil
}

func newTestFaults(b *bodies) *faults {
	return &faults{target: b, nodes: []string{"n1", "n2", "n3"}, leader: func() string { return "n3" }, began: time.Now()}
}

func episodes() []plan.Episode {
	return []plan.Episode{{Name: plan.NoQuorum, Faults: []plan.Fault{
		{Part: plan.Leader, Kind: plan.Kill, At: time.Millisecond, For: time.Millisecond},
		{Part: plan.Follower(1), Kind: plan.Pause, At: time.Millisecond, For: time.Millisecond},
		{Part: "redis", Kind: plan.Stop, At: time.Millisecond, For: time.Millisecond},
	}}}
}

// TestFaultsMeetWhoHasTheRole: roles are given when an episode begins, what was begun
// overlaps, and all of it is ended.
func TestFaultsMeetWhoHasTheRole(t *testing.T) {
	b := &bodies{broken: map[string]bool{}}
	f := newTestFaults(b)
	f.run(t.Context(), episodes())
	slices.Sort(b.did)
	if want := []string{"kill n3", "pause n2", "stop redis"}; !slices.Equal(b.did, want) {
		t.Errorf("done: %v, want %v", b.did, want)
	}
	if b.most != 3 || len(b.broken) > 0 || f.now() != "" || len(f.failed()) > 0 || len(f.done) != 3 {
		t.Errorf("%d at once, still broken %v, %q, %v, %+v", b.most, b.broken, f.now(), f.failed(), f.done)
	}
	for _, x := range f.done {
		if x.EndedMS-x.BeganMS < leastFor.Milliseconds() {
			t.Errorf("too short: %+v", x)
		}
	}
}

// TestFaultsThatAreNotDoneAreTold: one that fails, and those that there is no time
// for.
func TestFaultsThatAreNotDoneAreTold(t *testing.T) {
	b := &bodies{broken: map[string]bool{}, fails: "redis"}
	f := newTestFaults(b)
	f.run(t.Context(), episodes())
	if got := strings.Join(f.failed(), "\n"); got != "stop redis: it would not" || len(b.broken) > 0 {
		t.Errorf("%q, still broken: %v", got, b.broken)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f = newTestFaults(&bodies{broken: map[string]bool{}})
	f.run(ctx, episodes())
	if got := f.failed(); len(got) != 3 || !strings.Contains(got[0], "there was no time left") {
		t.Errorf("%v", got)
	}
}

// TestInterruptedFaultsAreEnded: what was begun does not wait for its planned end.
func TestInterruptedFaultsAreEnded(t *testing.T) {
	b := &bodies{broken: map[string]bool{}}
	f := newTestFaults(b)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.run(ctx, []plan.Episode{{Name: plan.OneNode, Faults: []plan.Fault{{Part: plan.Leader, Kind: plan.Kill, For: time.Hour}}}})
	}()
	for {
		b.mu.Lock()
		n := len(b.broken)
		b.mu.Unlock()
		if n == 1 {
			break
		}
	}
	cancel()
	<-done
	if len(b.broken) > 0 {
		t.Errorf("still broken: %v", b.broken)
	}
}

func TestWanted(t *testing.T) {
	for _, tc := range []struct {
		rate     int
		duration time.Duration
		want     int
	}{{20, 30 * time.Second, 421}, {1000, time.Hour, mostPeople}} {
		if got := wanted(tc.rate, tc.duration); got != tc.want {
			t.Errorf("%d/s for %s: %d, want %d", tc.rate, tc.duration, got, tc.want)
		}
	}
}
