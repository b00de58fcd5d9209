package cluster

import (
	"errors"
	"time"

	"hadir/attendance"
)

// Errors of Propose, Read and Start. What matters to a caller is whether the
// command may have been decided: only ErrUnknown says "perhaps".
var (
	// ErrNoLeader: nothing was decided; there was no leader to be found in time.
	ErrNoLeader = errors.New("no leader")
	// ErrOverloaded: nothing was decided; the leader's queue is full.
	ErrOverloaded = errors.New("too many requests in flight")
	// ErrUnknown: it may have been decided, or be decided later. Retry under the
	// same key, and only under it.
	ErrUnknown = errors.New("outcome is not known yet")
	// ErrInvalid: the command can never be decided; wrapped with what is wrong.
	ErrInvalid = errors.New("command is not valid")
	// ErrClosing: nothing was decided; this node is shutting down.
	ErrClosing = errors.New("node is shutting down")
	// ErrBehind: this node has not applied the index that was asked for, or is not
	// as fresh as was asked for, and did not get there in time.
	ErrBehind = errors.New("node is behind")
	// ErrNotMember: this node has not been admitted to a cluster yet.
	ErrNotMember = errors.New("node is not a member of a cluster yet")
	// ErrNotLeader: the operation must be asked of the leader.
	ErrNotLeader = errors.New("not the leader")
	// ErrDiskLow: nothing was decided; this node's disk is nearly full.
	ErrDiskLow = errors.New("the disk of this node is nearly full")
	// ErrUnknownServer: no member has that id or name.
	ErrUnknownServer = errors.New("no such server in the cluster")
	// ErrQuorumAtRisk: without that server too few voters would be left that answer.
	ErrQuorumAtRisk = errors.New("the cluster could not decide any more")
)

// Request asks for a decision.
type Request struct {
	Command attendance.Command
	// ReceivedAt is when this node had read the whole request, from the injected
	// clock (with its monotonic part). A check-in counts from then.
	ReceivedAt time.Time
}

// Result is a decision and how it came about.
type Result struct {
	Outcome   attendance.Outcome
	Leader    string // name of the node that led
	Term      uint64
	Index     uint64        // a read with MinIndex of it sees the decision
	Forwarded bool          // another node led
	Forward   time.Duration // spent between this node and the leader; 0 when it led itself
	Commit    time.Duration // spent by the leader, from its queue to applied
}

// Consistency is how a read relates to writes elsewhere.
type Consistency uint8

// The read levels.
const (
	Local  Consistency = iota // what this node has applied, at once
	Strong                    // linearizable: everything acknowledged anywhere before the read began
)

// Read says how a read is to be served. The zero value is a local read.
type Read struct {
	Consistency Consistency
	MinIndex    uint64        // wait until this index is applied: read your own writes on any node
	MaxStale    time.Duration // refuse with ErrBehind when older than this; 0 for any age
}

// Freshness says of which moment an answer is.
type Freshness struct {
	Index uint64        // applied raft index
	AsOf  time.Time     // everything acknowledged before this moment is in; zero when never proven
	Age   time.Duration // since AsOf; negative when never proven
	Stale bool          // no proof of freshness for two seconds
}

// Role is what raft makes of a node.
type Role string

// The roles.
const (
	Leader    Role = "leader"
	Follower  Role = "follower"
	Candidate Role = "candidate"
	Joining   Role = "joining"  // not a member yet
	Down      Role = "down"     // does not answer
	Stopping  Role = "stopping" // is shutting down
)

// Status is a node's own view of the cluster. It needs no leader.
type Status struct {
	Node      string // name of the answering node
	Cluster   attendance.ClusterID
	Epoch     uint64 // of the history: grows with each restore and recovery
	Leader    string // name; "" when there is none
	Term      uint64
	Quorum    int // voters needed to decide; 0 when this node is no member
	CanLose   int // how many more voters may fail before nothing is decided; from who answers now
	Nodes     []NodeStatus
	Elections []Election // newest first, as this node saw them
	Fresh     Freshness
	Health    Health // by the leader's autopilot
	Warnings  []Warning
}

// Warning is something that a person should look at.
type Warning string

// The warnings.
const (
	// TwoVoters: neither may fail, which is worse than one; add a third.
	TwoVoters Warning = "two_voters"
	// DiskLow: a node's disk is nearly full, and it takes nothing in.
	DiskLow Warning = "disk_low"
)

// NodeStatus is one member as the answering node sees it.
type NodeStatus struct {
	ID          string // raft server id
	Name        string
	Address     string // for raft and node RPC
	HTTP        string // URL for people
	State       Role
	Voter       bool
	Reachable   bool          // answered a probe lately
	LastContact time.Duration // since that answer; negative when there was none
	Commit      uint64        // raft commit index
	Applied     uint64        // raft index that the state machine has applied
	Seq         uint64        // newest event
	Lag         uint64        // events behind the newest that the answering node knows of
	Version     string
	Level       uint32 // command level that its binary supports
	StartedAt   time.Time
	Replica     bool   // was started as a permanent non-voter
	Healthy     bool   // by the leader's autopilot; true while nothing is known
	DiskLow     bool   // its disk is nearly full
	DiskFree    uint64 // bytes left for its files; 0 when it does not look
	Stuck       bool   // gets the same snapshot again and again (hashicorp/raft#697); only the leader knows
}

// Election is a change of leader.
type Election struct {
	Term       uint64
	Leader     string // name
	At         time.Time
	Leaderless time.Duration // how long there had been none
}

// Comparison is what Verify found on one node.
type Comparison struct {
	Node  string
	Index uint64 // applied index at which it looked
	Seq   uint64
	Chain attendance.Hash
	State attendance.Hash
	Err   string // why it could not be asked, "" when it was
}
