// Package cluster is the node: it founds or joins the Raft group, has commands
// decided wherever the leader is, and serves reads that say how old they are.
//
// # The way of a command
//
// [Node.Propose] runs on any node. The leader packs what waits into one log entry
// (batch.go: up to 256 commands or 128 KiB, two entries in flight, no timer),
// stamps it with its wall clock and each check-in with its age, and answers from
// what the state machine decided. A follower packs the same way and sends the
// decoded commands over the node RPC, one hop, with what is left of the deadline
// (rpc.go). What may be asked again after a failure stands in one table
// (propose.go).
//
// # Reads
//
// A read is local and says which raft index it shows and since when it was proven
// to be complete (read.go). The proof is a beacon: every 250 ms a node asks the
// leader for a read index, and is fresh as of just before it asked, once it has
// applied that far. MinIndex makes reads see one's own writes on any node; Strong
// is linearizable.
//
// # Members
//
// A server id is a name and the incarnation of a disk. Fresh nodes with the same
// command line find each other by gossip and found a cluster when all expected
// ones name the same set (members.go); the cluster's id is the hash of that set,
// so a node with an emptied disk, or of another cluster on the same network, can
// never slip in. What a founder agreed to, and that it was a member, is in node.db:
// the first lets it go on after a power cut or with other nodes in sight, the
// second keeps a voter that lost its log, and with it its votes, from founding again
// under the same id. Gossip is a hint: it says where a server is, and adds, removes
// and routes nothing.
//
// Of two processes on copies of one data directory the one that started last is
// the server. The others cut off the older one and refuse it, which ends it.
//
// # Invariants
//
//   - Only ErrUnknown means that something may have been decided.
//   - Unknown is retried under the same key, or not at all.
//   - Nothing is proposed by a leader whose clock is off by more than the skew
//     bound; nothing but the repair of it while the replicated clock is ahead.
//   - A server that was a member and has no log does not start.
//   - Futures of raft are waited for through one function, which ends when raft
//     does (node.go): raft forgets some of them then.
//   - Whoever waits for a leader's answer lets go when the leader changes.
//   - Strong reads are served by a leader only after the barrier of its term.
//   - Duties of the leader are owned by one goroutine, and those of one term have
//     ended before the next ones begin.
//   - Every goroutine that Start began has ended when Shutdown returns, except for
//     those that wait for a future that raft forgot.
//
// # Trade-offs
//
//   - A leader with a wrong clock hands leadership over although it does not exit.
//     hashicorp/raft#696 makes that unsafe for liveness; the watchdog ends the
//     process when it strikes. To keep stamping wrong times would be worse.
//   - A new name or an emptied disk waits to be admitted: there is no automatic
//     joining yet.
package cluster
