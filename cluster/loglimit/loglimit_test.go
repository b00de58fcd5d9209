package loglimit

import (
	"fmt"
	"testing"
	"time"
)

func TestOneLineAMinuteForEachKey(t *testing.T) {
	now := time.Unix(0, 0)
	l := New(func() time.Time { return now })
	for _, step := range []struct {
		after time.Duration
		key   string
		want  bool
	}{{0, "a", true}, {0, "a", false}, {0, "b", true}, {time.Minute - 1, "a", false}, {1, "a", true}, {0, "b", true}, {0, "b", false}} {
		now = now.Add(step.after)
		if _, got := l.Take(step.key); got != step.want {
			t.Errorf("%s at %s: %v, want %v", step.key, now.Sub(time.Unix(0, 0)), got, step.want)
		}
	}
	for i := range 10 * entries {
		l.Allow(fmt.Sprint("stranger ", i))
		if len(l.last) > entries {
			t.Fatalf("%d keys are kept, at most %d", len(l.last), entries)
		}
	}
}

func TestHowManyWereDropped(t *testing.T) {
	now := time.Unix(0, 0)
	l := New(func() time.Time { return now })
	for range 4 {
		l.Allow("a")
	}
	for _, want := range []int{3, 0} {
		now = now.Add(time.Minute)
		if dropped, ok := l.Take("a"); !ok || dropped != want {
			t.Errorf("%d dropped, %v, want %d", dropped, ok, want)
		}
	}
}
