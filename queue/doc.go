// Package queue keeps check-ins that cannot be decided at present, and has them
// decided later.
//
// A check-in that no quorum can decide is recorded in this node's outbox, synced,
// and answered "queued". When the node is fresh again, the drain has the entries
// decided in their order, each under its first key and as old as it is. It decides
// nothing by itself: what an entry comes to is for the state machine to say.
//
// # Where a check-in goes
//
//	what is known                                   what is done
//	its key waits in the outbox                     nothing is recorded twice: wait for its decision, within the budget
//	another entry of its user waits                 record behind it, wait for its decision, within the budget
//	no proof of freshness for 2 s                   record at once: the answer costs one sync
//	else                                            propose, within the budget of 2.5 s; then, by what comes back
//	  a decision                                    that is the answer
//	  no leader in time, or an unknown outcome      record under the same key, with the time of the first receipt
//	  overloaded, shutting down, disk low, invalid  that is the answer: nothing was recorded
//
// A node that has just started counts as fresh for its first two seconds.
//
// # Invariants
//
//   - "Queued" is said only of what is on a disk.
//   - An entry leaves the outbox in the transaction that notes its decision. A crash
//     before it means that it is proposed again under the same key, and the state
//     machine answers the first decision.
//   - Entries are proposed in their order, at most 64 at a time, and of one user one
//     at a time: this node never reorders what one person did.
//   - An entry is proposed as old as it is: by the machine's boot clock while the
//     machine runs, which counts sleep and survives a restart of the process; by the
//     wall clock of its receipt, and marked as such, after the machine was restarted.
//   - What can never be decided is set aside with the reason, is told to the audit
//     trail, and holds nobody up.
//
// # Trade-offs
//
//   - The drain asks only while the node is fresh. It might sometimes get through
//     earlier, but then a cut-off node would keep 64 proposals waiting in vain.
//   - A client that sends a queued key again to another node gets it decided there,
//     with the time of that receipt. The copy in the outbox then gets the same answer.
//   - A key that stands for another request is refused at once while its first request
//     waits. That refusal is in the journal of this node only.
package queue
