package demo

import (
	"fmt"
	"strings"
	"time"
)

// Report is what became of a morning's taps. At any moment
// Sent = Accepted + Duplicate + Review + Rejected + Waiting.
type Report struct {
	State     string     `json:"state"` // idle, running, finishing, checked
	StartedAt *time.Time `json:"started_at"`
	StoppedAt *time.Time `json:"stopped_at"`
	Sent      int        `json:"sent"`
	Accepted  int        `json:"accepted"`
	Duplicate int        `json:"duplicate"`
	Review    int        `json:"review"`
	Rejected  int        `json:"rejected"`
	Waiting   int        `json:"waiting"` // no final answer yet
	Retries   int        `json:"retries"`
	// LongestGapMS is the longest time between two final answers.
	LongestGapMS int64 `json:"longest_gap_ms"`
	// Lost counts acknowledged records that a node does not have, Doubled those
	// that came too soon after another of the same person and kind. Both are null
	// until the end, when every node that runs is asked.
	Lost    *int `json:"lost"`
	Doubled *int `json:"doubled"`
	// Checked and Unchecked are the nodes that were asked at the end, and those
	// that could not be.
	Checked   []string `json:"checked"`
	Unchecked []string `json:"unchecked"`
	Error     string   `json:"error,omitempty"` // of the check
}

// The states of a morning.
const (
	Idle      = "idle"
	InSession = "running"
	Finishing = "finishing"
	Checked   = "checked"
)

// String gives one line for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sent %d = accepted %d + duplicate %d + review %d + rejected %d + waiting %d, retries %d, longest gap %.2f s",
		r.Sent, r.Accepted, r.Duplicate, r.Review, r.Rejected, r.Waiting, r.Retries, float64(r.LongestGapMS)/1000)
	if r.Lost != nil && r.Doubled != nil {
		fmt.Fprintf(&b, ", lost %d, doubled %d (checked on %s)", *r.Lost, *r.Doubled, strings.Join(r.Checked, ", "))
	}
	if len(r.Unchecked) > 0 {
		fmt.Fprintf(&b, ", not checked on %s", strings.Join(r.Unchecked, ", "))
	}
	if r.Error != "" {
		fmt.Fprintf(&b, ", check failed: %s", r.Error)
	}
	return b.String()
}
