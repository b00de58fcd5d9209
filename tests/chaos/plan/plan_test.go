package plan

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func compose(seed uint64, d time.Duration) Options {
	return Options{
		Seed: seed, Duration: d, Nodes: 3, NodeKinds: []Kind{Kill, Pause, Stop, Restart, Cut, Slow},
		Services: map[string][]Kind{"redis": {Kill, Pause, Stop}, "mysql": {Kill, Stop}, "nginx": {Kill}},
	}
}

func mustMake(t *testing.T, o Options) Plan {
	t.Helper()
	p, err := Make(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSameSeedSamePlan(t *testing.T) {
	different := 0
	for seed := range uint64(50) {
		o := compose(seed, time.Minute)
		a, b := mustMake(t, o), mustMake(t, o)
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d gives two plans:\n%v\n%v", seed, a, b)
		}
		o.Seed++
		if !reflect.DeepEqual(a.Episodes, mustMake(t, o).Episodes) {
			different++
		}
	}
	if different < 49 {
		t.Errorf("of 50 seeds only %d differ from the next one", different)
	}
}

// TestEveryPlanHeals: every fault ends, with a calm after it, before the next episode
// and before the end; no part has two faults at once; and there is nothing to do that
// cannot be done.
func TestEveryPlanHeals(t *testing.T) {
	for seed := range uint64(300) {
		for _, o := range []Options{
			compose(seed, 3*time.Minute), compose(seed, Shortest), compose(seed, 20*time.Second),
			{Seed: seed, Duration: time.Minute, Nodes: 1, NodeKinds: []Kind{Kill}},
			{Seed: seed, Duration: time.Minute, Nodes: 5, NodeKinds: []Kind{Pause, Restart}},
		} {
			p := mustMake(t, o)
			healed := time.Duration(0)
			for _, e := range p.Episodes {
				if len(e.Faults) == 0 || e.At() < healed || e.At() < Warmup {
					t.Fatalf("seed %d: %s begins at %s, before %s: %+v", seed, e.Name, e.At(), healed, e)
				}
				parts := map[string]bool{}
				for _, f := range e.Faults {
					healed = max(healed, f.End()+Calm)
					if f.For < shortest || f.For > Slot-Calm || parts[f.Part] {
						t.Fatalf("seed %d: %s: %+v", seed, e.Name, e)
					}
					parts[f.Part] = true
					can := o.NodeKinds
					if f.Part != Leader && IsFollower(f.Part) == 0 {
						can = o.Services[f.Part]
					}
					if !slices.Contains(can, f.Kind) || IsFollower(f.Part) >= o.Nodes {
						t.Fatalf("seed %d: %s cannot be done to %d nodes and %v", seed, f, o.Nodes, o.Services)
					}
				}
			}
			if healed-Calm > o.Duration-Tail {
				t.Fatalf("seed %d: healed at %s of %s", seed, healed-Calm, o.Duration)
			}
		}
	}
}

// TestPlansVary: what matters most is in every plan, and a long one has everything.
func TestPlansVary(t *testing.T) {
	for seed := range uint64(100) {
		short := mustMake(t, compose(seed, 20*time.Second))
		for _, e := range short.Episodes {
			if e.Name != NoQuorum && e.Name != Everything {
				t.Errorf("seed %d, 20 s: %s", seed, e.Name)
			}
		}
		kinds, parts, names := map[Kind]bool{}, map[string]bool{}, map[string]bool{}
		for _, e := range mustMake(t, compose(seed, 3*time.Minute)).Episodes {
			names[e.Name] = true
			down := map[string]bool{}
			latest, earliest := time.Duration(0), time.Hour
			for _, f := range e.Faults {
				kinds[f.Kind], parts[f.Part] = true, true
				if (f.Part == Leader || IsFollower(f.Part) > 0) && f.Kind.takesAway() {
					down[f.Part] = true
				}
				latest, earliest = max(latest, f.At), min(earliest, f.End())
			}
			want := map[string]int{NoQuorum: 2, Everything: 3}[e.Name]
			if len(down) < want || earliest-latest < shortest {
				t.Errorf("seed %d: %s takes away %d nodes together for %s: %+v", seed, e.Name, len(down), earliest-latest, e)
			}
		}
		if len(kinds) != 6 || len(parts) != 6 || len(names) != 5 {
			t.Errorf("seed %d, 3 min: kinds %v, parts %v, episodes %v", seed, kinds, parts, names)
		}
	}
}

func TestWhatCannotBePlanned(t *testing.T) {
	for name, o := range map[string]Options{
		"too short": compose(1, Shortest-1), "no node": {Duration: time.Minute, NodeKinds: []Kind{Kill}},
		"nothing to do": {Duration: time.Minute, Nodes: 3, NodeKinds: []Kind{Restart}},
	} {
		if p, err := Make(o); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestRoles(t *testing.T) {
	for part, want := range map[string]int{Follower(2): 2, Leader: 0, "redis": 0, "follower-x": 0} {
		if got := IsFollower(part); got != want {
			t.Errorf("%s: %d, want %d", part, got, want)
		}
	}
}
