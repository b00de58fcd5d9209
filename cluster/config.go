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
	// NonVoter makes a permanent read replica of a fresh node: it founds nothing, and
	// is never given a vote. Taken away later, the node becomes a voter.
	NonVoter bool
	// Stabilization is how long a new node must have kept up before it gets a vote.
	// Optional: 3 s.
	Stabilization time.Duration
	// MinFree is how many bytes must be free for DataDir; with fewer the node hands
	// over and takes nothing in. Optional: 256 MiB. Free looks; it must not block for
	// long. Optional: it asks the system.
	MinFree uint64
	Free    func() (uint64, error)
	// Snapshots says when snapshots are taken. Optional.
	Snapshots SnapshotPolicy
	// Keys are the cluster keys, or transport.DevelopmentKeys for loopback.
	Keys transport.Keys
	// RaftMultiplier stretches all raft timeouts on slow machines, and how long the
	// disk may take to answer before the process ends. Optional: 1.
	RaftMultiplier int
	// Version of the program, for people.
	Version string
	// Genesis gives the commands that make a new cluster usable, such as its time
	// zone and first administrator. The first leader proposes them; each needs a
	// key, so that two first leaders do no harm. Optional. Founded says whether
	// they have all been applied: the last of them leaves something to recognise.
	Genesis func() ([]attendance.Command, error)
	Founded func(*store.ReadTx) bool
	// Renew gives the commands that end what a backup still allows, such as its
	// sessions. They are part of a state that is restored from one. Optional.
	Renew func() ([]attendance.Command, error)

	// Clock, Rand (cryptographic) and Halt (ends the process; must not return in
	// production) are injected so that a simulator can drive the node.
	Clock Clock
	Rand  io.Reader
	Halt  func(reason error)
	// Log gets the node's lines; it names the node in each of them.
	Log *slog.Logger
	// Observe gets durations and counts for metrics. Optional.
	Observe Observer

	stall time.Duration // how long a call to raft.db may take; tests on busy machines give it more
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
	// MemberChanged is called on the leader for each server that was admitted,
	// replaced (admitted in place of its own older self), promoted or removed.
	MemberChanged(act string)
	// Snapshotted is called for each snapshot that this node has taken of itself.
	Snapshotted(took time.Duration)
}

type noObserver struct{}

func (noObserver) Committed(int, time.Duration)     {}
func (noObserver) Forwarded(int, time.Duration)     {}
func (noObserver) StoredLogs(string, time.Duration) {}
func (noObserver) Elected(time.Duration)            {}
func (noObserver) MemberChanged(string)             {}
func (noObserver) Snapshotted(time.Duration)        {}

const (
	maxNodeName          = 32
	defaultStabilization = 3 * time.Second
	defaultMinFree       = 256 << 20
)

// ConfigError says which value of a Config cannot be.
type ConfigError struct{ Text string }

// Error implements error.
func (e *ConfigError) Error() string { return e.Text }

func (c *Config) check() error {
	switch {
	case c.Clock == nil, c.Rand == nil, c.Halt == nil, c.Log == nil:
		return errors.New("cluster: Clock, Rand, Halt and Log are required")
	case !validName(c.Name):
		return &ConfigError{fmt.Sprintf("node id %q needs 1 … %d of a-z A-Z 0-9 . _ -", c.Name, maxNodeName)}
	case (c.Genesis == nil) != (c.Founded == nil):
		return errors.New("cluster: Genesis and Founded go together")
	case c.DataDir == "":
		return errors.New("data directory is missing")
	case c.BootstrapExpect < 1 || c.BootstrapExpect > 9:
		return &ConfigError{fmt.Sprintf("bootstrap-expect %d is not within 1 … 9", c.BootstrapExpect)}
	case c.RaftMultiplier < 0 || c.RaftMultiplier > 20:
		return &ConfigError{fmt.Sprintf("raft-multiplier %d is not within 1 … 20", c.RaftMultiplier)}
	}
	c.RaftMultiplier = max(1, c.RaftMultiplier)
	if c.stall == 0 {
		c.stall = transport.DefaultStallAfter * time.Duration(c.RaftMultiplier)
	}
	if c.Stabilization <= 0 {
		c.Stabilization = defaultStabilization
	}
	if c.MinFree == 0 {
		c.MinFree = defaultMinFree
	}
	if c.Free == nil {
		dir := c.DataDir
		c.Free = func() (uint64, error) { return freeSpace(dir) }
	}
	c.Snapshots = c.Snapshots.orDefault()
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
