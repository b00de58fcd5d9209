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
// # Joining and leaving
//
// A fresh node that sees members of a cluster asks to be admitted (admission.go):
// over node RPC, which proves its server id, at whatever address gossip hints at;
// who does not lead says who does. The leader checks that it can reach the node,
// adds it as a non-voter, and only then does the node open its raft port, so a
// server that is in no configuration never votes.
//
// A name that comes back with another incarnation has lost its disk. Its old id is
// removed first, if it is really gone and a healthy majority of the other voters
// remains; two servers of one name never exist. The two changes are two entries,
// and every step can be repeated: a node that is not answered asks again.
//
// Promotion is raft-autopilot's (autopilot.go): a non-voter that keeps up for the
// stabilisation time gets a vote, unless it was started as a permanent read
// replica. What it knows comes from raft's configuration and the probes. It removes
// nobody: a server leaves by its own return under a new id, or by a person
// (remove.go). A server that was removed learns of it from a leader that has just
// proven to be one, and ends; its data stays.
//
// A server that was removed, or that is an old copy, is retired: that is noted in its
// data directory, which no start gets past (retire.go).
//
// All changes of the configuration are made by the leader, one at a time, each on
// the condition that the configuration is still the one that was looked at
// (configure.go).
//
// # Backup, restore, recovery
//
// A backup is the state of one node at one index (backup.go). A restore makes it the
// state of a cluster that was just founded (restore.go): the leader proves it, makes
// it its cluster's in a file of its own, becomes the only voter, and hands it to raft,
// so that there is no moment at which two nodes have two histories. A recovery makes
// the last survivor a cluster of one (recover.go), offline and on a copy.
//
// Two epochs tell histories and members apart. That of the state names its history,
// for watchers and exports; a restore and a recovery raise it. That of the
// membership is in node.db and in every preamble; only a recovery raises it, and
// servers of another one are refused in both directions.
//
// # What else is watched
//
// The probe that members send each other every 500 ms carries small notes
// (notes.go), and what Status, autopilot, the clock check and the command level
// need. Changed says when any of it has changed. A node whose disk is nearly full
// hands over and takes nothing in until there is room again (disk.go). Snapshots
// are taken when the log has grown by a share of the state (snapshots.go).
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
//   - Strong reads are served by a leader only after the barrier of its term, and
//     on the word of voters: raft's own proof of leadership counts non-voters too.
//   - A server without a log is in a configuration as a non-voter at most. It gets
//     a vote only after it has noted, synced, that it may not lose its log.
//   - A change of the configuration never takes the majority: what remains must
//     have one that answers.
//   - No two servers of the configuration have one name.
//   - A node with a log is never admitted: a server that was removed does not come
//     back; its name may, on a new disk.
//   - A data directory that was refused as an old copy is not started again: each
//     start raises its generation, and would make it the newest in the end.
//   - Autopilot's future waits end with raft, and what it promotes is judged again
//     under the lock that all changes take.
//   - A command level is proposed only when all servers, voters or not, have said
//     lately that they support it, and never above this binary's own.
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
//   - A removed server ends its process instead of staying up as a reader: what it
//     would show gets older for ever, and nobody would notice.
//   - While a wiped voter is replaced, the group has one voter less than before.
//     That is no more fragile than with a dead one, and needs no third change.
package cluster
