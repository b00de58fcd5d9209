package demo

import (
	"math/rand/v2"
	"time"
)

// tap is one press of the button.
type tap struct {
	who  int // index of the pupil
	kind string
}

// schedule says who taps next. Every other tap is somebody's first one, as long
// as there is somebody whose last one of that kind is long enough ago; the rest
// are impatient second taps.
type schedule struct {
	due    []tap // can be accepted again
	tapped []tap // cannot yet, in the order of at
	at     []time.Time
	window time.Duration
	turn   int
}

// kindsOf are tapped in this order: first everybody comes, then everybody goes.
func kindsOf() []string { return []string{"in", "out"} }

func newSchedule(people int, window time.Duration, r *rand.Rand) *schedule {
	s := &schedule{window: window}
	for _, kind := range kindsOf() {
		for _, who := range r.Perm(people) {
			s.due = append(s.due, tap{who, kind})
		}
	}
	return s
}

func (s *schedule) next(now time.Time, r *rand.Rand) tap {
	for len(s.tapped) > 0 && now.Sub(s.at[0]) > s.window {
		s.due = append(s.due, s.tapped[0])
		s.tapped, s.at = s.tapped[1:], s.at[1:]
	}
	s.turn++
	if len(s.tapped) > 0 && (len(s.due) == 0 || s.turn%2 == 0) {
		return s.tapped[r.IntN(len(s.tapped))]
	}
	t := s.due[0]
	s.due = s.due[1:]
	s.tapped, s.at = append(s.tapped, t), append(s.at, now)
	return t
}
