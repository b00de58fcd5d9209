// Package report is what a chaos run leaves behind: a JSON document, and one page of
// HTML with the timeline, which needs neither scripts nor anything from elsewhere.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"hadir/tests/chaos/judge"
	"hadir/tests/chaos/load"
	"hadir/tests/chaos/plan"
)

// Report is a run. Moments are milliseconds since the load began.
type Report struct {
	Target    string    `json:"target"`
	Front     string    `json:"front"`
	Nodes     []string  `json:"nodes"`
	Seed      uint64    `json:"seed"`
	StartedAt time.Time `json:"started_at"`
	Rate      int       `json:"rate"`
	People    int       `json:"people"`
	LastedMS  int64     `json:"lasted_ms"` // the load
	HealedMS  int64     `json:"healed_ms"` // from its end until everything was well and drained

	Plan      []plan.Episode `json:"plan"`
	Faults    []Fault        `json:"faults"`
	Elections []Election     `json:"elections"`
	Timeline  []Second       `json:"timeline"`
	Streams   []string       `json:"streams"`
	Reads     load.Reads     `json:"reads"`

	Counts    judge.Verdict `json:"verdict"`
	GapMS     int64         `json:"longest_gap_ms"`      // between two decisions
	KeptGapMS int64         `json:"longest_kept_gap_ms"` // between two taps that were decided or recorded
	Checks    []Check       `json:"checks"`
	OK        bool          `json:"ok"`
}

// Fault is a fault that was done.
type Fault struct {
	Episode string    `json:"episode"`
	Kind    plan.Kind `json:"kind"`
	Role    string    `json:"role"`
	Part    string    `json:"part"` // who had the role
	BeganMS int64     `json:"began_ms"`
	EndedMS int64     `json:"ended_ms"`
	Error   string    `json:"error,omitempty"`
}

// Election is one that some node saw.
type Election struct {
	Term         uint64 `json:"term"`
	Leader       string `json:"leader"`
	AtMS         int64  `json:"at_ms"`
	LeaderlessMS int64  `json:"leaderless_ms"`
}

// Second is what happened in a second.
type Second struct {
	AtMS     int64    `json:"at_ms"` // its end
	Leader   string   `json:"leader"`
	Term     uint64   `json:"term"`
	Up       []string `json:"up"` // nodes that answer
	Sent     int      `json:"sent"`
	Decided  int      `json:"decided"`
	Recorded int      `json:"recorded"`
	Failed   int      `json:"failed"` // requests without an acknowledgement
	Open     int      `json:"open"`   // taps that nobody has decided yet
	Reads    int      `json:"reads"`
	Answered int      `json:"answered"` // of the reads
}

// Check is something that was to be found out. It is good when nothing was found and
// it could be made.
type Check struct {
	Name   string   `json:"name"`
	Faults []string `json:"faults"`
	Note   string   `json:"note,omitempty"`
}

// OK reports whether nothing is wrong.
func (c Check) OK() bool { return len(c.Faults) == 0 }

// Line gives the verdict in one line.
func (r *Report) Line() string {
	v := r.Counts
	s := fmt.Sprintf("sent %d = accepted %d + duplicate %d + review %d + rejected %d + queued %d", v.Sent, v.Accepted, v.Duplicate, v.Review,
		v.Rejected, v.Queued)
	if v.Unanswered > 0 {
		s += fmt.Sprintf(" + unanswered %d", v.Unanswered)
	}
	return s + fmt.Sprintf(", lost %d, doubled %d, longest gap %.2f s", v.Lost, v.Doubled, float64(r.GapMS)/1000)
}

// WriteJSON writes the document.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Save writes the document and the page into a directory, named after the seed, and
// gives their names.
func (r *Report) Save(dir string) (names []string, err error) {
	base := filepath.Join(dir, fmt.Sprintf("hadir-chaos-%d", r.Seed))
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{{base + ".json", r.WriteJSON}, {base + ".html", r.WriteHTML}} {
		if err := save(f.name, f.write); err != nil {
			return names, err
		}
		names = append(names, f.name)
	}
	return names, nil
}

func save(name string, write func(io.Writer) error) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f)
}
