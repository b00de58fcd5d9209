package ui

import (
	"io"
	"time"
)

// Queue is what waits to be decided, and what cannot be decided as it is.
type Queue struct {
	Form    Form // of the acts
	Done    string
	Missing []string // who could not be asked by the act before
	Node    string   // that serves
	Nodes   []QueueNode
	Redis   *QueueRedis // nil without
	Jobs    []Jobs
	Hooks   []Webhook
	Totals  QueueTotals
	// What was set aside.
	Reason, Where   string // the filter; "" for all
	Reasons, Places []Tally
	Rows            []SetAside
	Note            string // as it was written
	Parked          []Parked
	Address         string // of the failed part, with its filter
}

// QueueTotals are the numbers of all nodes that answer.
type QueueTotals struct {
	Waiting, Failed uint64
	PerMinute       int
	Oldest          time.Duration
	EmptyIn         time.Duration // negative when nobody can say
}

// QueueNode is the outbox of one node.
type QueueNode struct {
	Name            string
	Error           string // why it could not be asked; then nothing else counts
	Unusable        string // why nothing can be recorded there
	Waiting, Failed uint64
	PerMinute       int
	Oldest          time.Duration
	EmptyIn         time.Duration // negative when nobody can say
	Waited          int           // decided lately; the next two are about them
	Median, P99     time.Duration
	Mirror          bool // it copies to Redis
	RedisUp         bool
	RedisSafe       bool
	RedisWhy        string
}

// QueueRedis counts the copies in Redis.
type QueueRedis struct{ Scheduled, Pending, Active, Retry, Archived int }

// Jobs are the jobs of one kind, by state.
type Jobs struct {
	Kind   string
	States []Tally
}

// Webhook is how the deliveries to one address do.
type Webhook struct {
	Name, Place string
	State       string // standby, delivering or waiting
	Lag         uint64 // events
	Reason      string // of the last failure; "" for none
	Failed      time.Time
}

// Tally counts something that has a name.
type Tally struct {
	Name  string
	Count int
}

// SetAside is something that cannot be decided, or done, as it is.
type SetAside struct {
	ID, Where, Reason, Key string
	Kind                   string // in or out, or of a job; "" for unknown
	User                   uint64 // 0 for unknown
	Person                 string
	Received, Failed       time.Time
}

// Parked are events that a target of the export refused.
type Parked struct {
	Target string
	Count  uint64
	Events []ParkedEvent // the oldest
}

// ParkedEvent is one of them.
type ParkedEvent struct {
	Seq          uint64
	Type, Reason string
	Attempts     uint64
	Again        bool // it is about to be tried again
}

// Export is how the SQL copies do.
type Export struct {
	Form    Form
	Done    string
	Node    string
	Leader  Link // where more is known than on a node that stands by; may be nobody
	Targets []Target
	Report  *Comparison // of the target that was compared just now
}

// Target is one copy, as the answering node sees it.
type Target struct {
	Name, Kind, State string
	Watermark         uint64
	LagEvents         uint64
	Lag               time.Duration
	Reason, Detail    string    // why it is not written to
	Since             time.Time // how long that has been so
	Outage            time.Duration
	Parked            uint64
	Exported          uint64 // since this node was started
}

// Decides reports whether a person has to decide about it.
func (t Target) Decides() bool { return t.Reason == "gap" || t.Reason == "ahead" }

// Comparison is what a comparison of a target with the events has found.
type Comparison struct {
	Target                     string
	Equal                      bool
	Watermark                  uint64
	Parked, Missing, Unchecked uint64
	Different                  int
	Days                       []Tally // that differ, with the rows that are there
	Rows                       []Difference
}

// Difference is a row that is not as it should be.
type Difference struct{ Table, Key, Column, Want, Got string }

// Span is a length of time for people, in one unit.
type Span struct {
	N    int64
	Unit string
}

func spanOf(d time.Duration) Span {
	switch {
	case d < time.Second:
		return Span{d.Milliseconds(), "ms"}
	case d < 2*time.Minute:
		return Span{int64(d.Round(time.Second) / time.Second), "s"}
	case d < 2*time.Hour:
		return Span{int64(d.Round(time.Minute) / time.Minute), "min"}
	case d < 48*time.Hour:
		return Span{int64(d.Round(time.Hour) / time.Hour), "h"}
	}
	return Span{int64(d / (24 * time.Hour)), "d"}
}

// QueueNumbers renders the numbers alone.
func (p *Pages) QueueNumbers(w io.Writer, f Frame, d Queue) error {
	return p.render(w, "queuenumbers", f, d)
}

// QueueFailed renders what was set aside alone.
func (p *Pages) QueueFailed(w io.Writer, f Frame, d Queue) error {
	return p.render(w, "queuefailed", f, d)
}

// ExportPart renders the targets alone.
func (p *Pages) ExportPart(w io.Writer, f Frame, d Export) error {
	return p.render(w, "targets", f, d)
}

func (Queue) template() string  { return "queue" }
func (Export) template() string { return "export" }
