package judge

import (
	"fmt"
	"strings"
	"time"

	"hadir/tests/chaos/load"
)

// Verdict is what a judgement found. Each operation is counted once among
// Accepted … Unanswered, by what the cluster has decided, whether or not somebody
// was told.
type Verdict struct {
	Sent       int `json:"sent"`
	Accepted   int `json:"accepted"`
	Duplicate  int `json:"duplicate"`
	Review     int `json:"review"`
	Rejected   int `json:"rejected"`
	Queued     int `json:"queued"`     // recorded, and not decided
	Unanswered int `json:"unanswered"` // nobody knows of it, and nobody was told that it is kept

	Acknowledged int `json:"acknowledged"` // operations that were answered 201
	Lost         int `json:"lost"`         // operations that were acknowledged and are not there, or not everywhere
	Doubled      int `json:"doubled"`      // keys decided twice, records given to two or too near to another
	// Faults is everything that is wrong, in words; lost and doubled too.
	Faults []string `json:"faults"`

	lost    map[*load.Op]bool
	doubled map[string]bool
}

func (v *Verdict) fault(format string, args ...any) {
	v.Faults = append(v.Faults, fmt.Sprintf(format, args...))
}

func (v *Verdict) lose(op *load.Op, format string, args ...any) {
	if !v.lost[op] {
		v.lost[op] = true
		v.Lost++
	}
	v.fault(format, args...)
}

func (v *Verdict) double(what, format string, args ...any) {
	if !v.doubled[what] {
		v.doubled[what] = true
		v.Doubled++
	}
	v.fault(format, args...)
}

// String gives the counts and the faults, shortened.
func (v *Verdict) String() string {
	const most = 20
	s := fmt.Sprintf("acknowledged %d, lost %d, doubled %d, faults %d", v.Acknowledged, v.Lost, v.Doubled, len(v.Faults))
	for i, f := range v.Faults {
		if i == most {
			return s + "\n  …"
		}
		s += "\n  " + f
	}
	return s
}

func tries(op *load.Op) string {
	var b strings.Builder
	for _, t := range op.Tries {
		fmt.Fprintf(&b, "[+%s %s %d in %s]", t.After.Round(time.Millisecond), t.URL, t.Status, t.Took.Round(time.Millisecond))
	}
	return b.String()
}
