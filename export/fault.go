package export

import (
	"errors"
	"fmt"
)

// Reason is the stable word for why a target is not exported to.
type Reason string

// The reasons. Unreachable is an outage; all others stop the target until it is
// repaired or, for Gap and Ahead, until a person decides.
const (
	Unreachable Reason = "unreachable" // no connection, or it broke
	Schema      Reason = "schema"      // a newer hadir has written the schema
	Drift       Reason = "drift"       // a table or a column is not as it was made
	Privileges  Reason = "privileges"  // the account may not do what is needed, or there is no such database
	ReadOnly    Reason = "read_only"   // the database takes no writes
	DiskFull    Reason = "disk_full"   //
	Packet      Reason = "packet"      // max_allowed_packet is less than one event
	Damaged     Reason = "damaged"     // the file is no database, or not a whole one
	Gap         Reason = "gap"         // the events that come next were pruned
	Ahead       Reason = "ahead"       // the target holds another history than this cluster
	Parked      Reason = "parked"      // too many events were refused
)

// advice says what to do, in words that depend on nothing but the reason: they
// are in an event, which all nodes must propose alike.
var advice = map[Reason]string{
	Unreachable: "the database cannot be reached; it is tried again until it can",
	Schema:      "the schema is newer than this program; upgrade every node",
	Drift:       "a table or a column is missing or was changed; put it back as it was",
	Privileges:  "the account needs all privileges on an existing database",
	ReadOnly:    "the database is read-only; make it writable",
	DiskFull:    "the disk of the database is full; free some space",
	Packet:      "max_allowed_packet is less than one event; raise it to 16 MiB or more",
	Damaged:     "the file is damaged or no database; move it away to have it written anew",
	Gap:         "the events that come next were pruned; decide with hadir export reset",
	Ahead:       "it holds another history than this cluster; decide with hadir export reset",
	Parked:      "the database refuses one event after another; repair it, then retry the parked ones",
}

// stopped is why a target cannot be written to although it answers.
type stopped struct {
	reason Reason
	detail string
	err    error
}

// Error implements error.
func (s *stopped) Error() string {
	switch {
	case s.err == nil:
		return s.detail
	case s.detail == "":
		return s.err.Error()
	}
	return s.detail + ": " + s.err.Error()
}

// Unwrap gives what the database said.
func (s *stopped) Unwrap() error { return s.err }

func stop(reason Reason, format string, args ...any) error {
	return &stopped{reason: reason, detail: fmt.Sprintf(format, args...)}
}

// What is no fault of the target.
var (
	// errMoved: somebody else has moved the watermark, or the target was changed
	// under us: read it again.
	errMoved = errors.New("the watermark is not where it was left")
	// errFenced: a later leader writes to the target.
	errFenced = errors.New("a later leader exports to this target")
	// errBehind: this node has not applied what it needs for a verdict.
	errBehind = errors.New("this node has not caught up yet")
)

// class is what an error of a database means for a batch.
type class uint8

const (
	broken  class = iota // the connection or something unknown: read the watermark, then again
	again                // deadlock, lock wait, busy: the whole batch again
	refused              // the data: find the event and park it
	halting              // the database: stop the target with a reason
)
