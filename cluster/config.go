package cluster

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"hadir/attendance"
	"hadir/cluster/transport"
	"hadir/store"
)

// Clock is the source of time. Readings carry their monotonic part; ages are
// taken by subtraction, so a jump of the wall clock does not change them.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in its own goroutine after d. The returned function has the
	// meaning of time.Timer.Stop.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Config is what a node needs. Fields without "optional" are required.
type Config struct {
	// Name is what people call the node; unique in the cluster, 1 … 32 of
	// a-z A-Z 0-9 . _ -
	Name string
	// DataDir holds raft.db, state.db, node.db and snapshots. It is created.
	DataDir string
	// PeerAddr is the host:port for raft and node RPC, GossipAddr the one for
	// memberlist. The Advertise twins say how others reach them; optional where
	// the address itself names a host.
	PeerAddr, PeerAdvertise     string
	GossipAddr, GossipAdvertise string
	// HTTPAdvertise is the URL at which people and other nodes' pages reach this
	// node. It is passed on, not used.
	HTTPAdvertise string
	// Join lists gossip addresses to meet; the own one among them is harmless.
	// Optional: a node that nobody else is to join.
	Join []string
	// BootstrapExpect is how many fresh nodes found a cluster together. With 1 and
	// addresses of others to join, a fresh node waits to be admitted by them.
	BootstrapExpect int
	// Keys are the cluster keys, or transport.DevelopmentKeys for loopback.
	Keys transport.Keys
	// RaftMultiplier stretches all raft timeouts on slow machines. Optional: 1.
	RaftMultiplier int
	// Version of the program, for people.
	Version string
	// Genesis gives the commands that make a new cluster usable, such as its time
	// zone and first administrator. The first leader proposes them; each needs a
	// key, so that two first leaders do no harm. Optional. Founded says whether
	// they have all been applied: the last of them leaves something to recognise.
	Genesis func() ([]attendance.Command, error)
	Founded func(*store.ReadTx) bool

	// Clock, Rand (cryptographic) and Halt (ends the process; must not return in
	// production) are injected so that a simulator can drive the node.
	Clock Clock
	Rand  io.Reader
	Halt  func(reason error)
	// Log gets the node's lines.
	Log *slog.Logger
	// Observe gets durations and counts for metrics. Optional.
	Observe Observer
}

// Observer receives measurements. Its methods are called often and must not
// block.
type Observer interface {
	// Committed is called on the leader for each entry: how many commands it held
	// and how long it took from proposal to applied.
	Committed(commands int, took time.Duration)
	// Forwarded is called for each batch that this node sent to the leader.
	Forwarded(commands int, took time.Duration)
	// StoredLogs is called for each write to the log store, or other operation on
	// it, by name.
	StoredLogs(op string, took time.Duration)
	// Elected is called when this node learns of a new leader.
	Elected(leaderless time.Duration)
}

type noObserver struct{}

func (noObserver) Committed(int, time.Duration)     {}
func (noObserver) Forwarded(int, time.Duration)     {}
func (noObserver) StoredLogs(string, time.Duration) {}
func (noObserver) Elected(time.Duration)            {}

const maxNodeName = 32

func (c *Config) check() error {
	switch {
	case c.Clock == nil, c.Rand == nil, c.Halt == nil, c.Log == nil:
		return errors.New("cluster: Clock, Rand, Halt and Log are required")
	case !validName(c.Name):
		return fmt.Errorf("node id %q needs 1 … %d of a-z A-Z 0-9 . _ -", c.Name, maxNodeName)
	case (c.Genesis == nil) != (c.Founded == nil):
		return errors.New("cluster: Genesis and Founded go together")
	case c.DataDir == "":
		return errors.New("data directory is missing")
	case c.BootstrapExpect < 1 || c.BootstrapExpect > 9:
		return fmt.Errorf("bootstrap-expect %d is not within 1 … 9", c.BootstrapExpect)
	case c.RaftMultiplier < 0 || c.RaftMultiplier > 20:
		return fmt.Errorf("raft-multiplier %d is not within 1 … 20", c.RaftMultiplier)
	}
	c.RaftMultiplier = max(1, c.RaftMultiplier)
	if c.Observe == nil {
		c.Observe = noObserver{}
	}
	return nil
}

func validName(s string) bool {
	if s == "" || len(s) > maxNodeName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
