package load

import (
	"fmt"
	"time"

	"hadir/tests/chaos/client"
)

// Try is one request of an operation.
type Try struct {
	URL    string        `json:"url"`
	After  time.Duration `json:"after"` // since the operation began
	Took   time.Duration `json:"took"`
	Status int           `json:"status"` // 0: no answer
	Answer string        `json:"answer,omitempty"`
}

// Op is a check-in with all its tries under one key.
type Op struct {
	N        int             `json:"n"`
	Key      string          `json:"key"`
	User     uint64          `json:"user"`
	Type     string          `json:"type"`
	Start    time.Time       `json:"start"`
	End      time.Time       `json:"end"`
	Status   int             `json:"status"`            // of the final answer, as Statuses has it; 0 without one
	Recorded time.Time       `json:"recorded,omitzero"` // when it was first answered 202 queued
	Replay   bool            `json:"replay"`
	Answer   client.Decision `json:"answer"`
	Tries    []Try           `json:"tries"`
	Strange  []string        `json:"strange,omitempty"` // answers that no client should meet
}

// The statuses of final answers to a check-in, and what they say.
const (
	Accepted  = 201
	Duplicate = 409
	Review    = 202 // with the body's status review; queued is not final
	Rejected  = 422
)

// Words gives a final answer's word in the contract, "" for what is none.
func Words(status int) string {
	switch status {
	case Accepted:
		return "accepted"
	case Duplicate:
		return "duplicate"
	case Review:
		return "review"
	case Rejected:
		return "rejected"
	}
	return ""
}

// Final reports whether the operation was decided.
func (o *Op) Final() bool { return o.Status != 0 }

// Acknowledged reports whether somebody was told that the tap is kept: decided, or
// recorded.
func (o *Op) Acknowledged() bool { return o.Final() || !o.Recorded.IsZero() }

// Undecided counts the answers that were not final, by status; 0 stands for none.
func Undecided(ops []*Op) map[int]int {
	out := map[int]int{}
	for _, op := range ops {
		for i, t := range op.Tries {
			if !op.Final() || i < len(op.Tries)-1 {
				out[t.Status]++
			}
		}
	}
	return out
}

// Summary gives one line.
func Summary(ops []*Op) string {
	by, replays := map[int]int{}, 0
	for _, op := range ops {
		by[op.Status]++
		if op.Replay {
			replays++
		}
	}
	return fmt.Sprintf("sent %d = accepted %d + duplicate %d + review %d + rejected %d + undecided %d; replayed %d; answers that were retried, by status: %v",
		len(ops), by[Accepted], by[Duplicate], by[Review], by[Rejected], by[0], replays, Undecided(ops))
}
