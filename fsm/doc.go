// Package fsm is the replicated state machine: it applies the log to the store,
// one command after another, and says what was decided. It knows no network and
// no clock; only raft.go knows raft.
//
// # How an entry is applied
//
//  1. All entries of a batch are decoded. What cannot be decoded stops the
//     process before anything has changed.
//  2. One transaction is opened for the batch. For each entry: replays are
//     skipped; the replicated clock moves to the proposal time, if that is later;
//     each command is decided in order; a bounded share of what has expired is
//     deleted; applied index and term are set.
//  3. The transaction is committed and synced. Then subscribers are told, and
//     only then: what they are told can not be taken back.
//
// # How a command is decided
//
// [act.apply] looks the idempotency key up and calls the handler of the
// operation. A handler checks everything before it writes anything, because the
// database cannot take back a part of a transaction; then it writes and ends in
// decide (one event, and its key) or refuse (the same, for a refusal). So every
// command that is not quiet has exactly one event, and a replayed one none.
//
// # What stops the process
//
// A node that cannot follow the committed log may not go on: its state would
// differ in silence. Machine.halt is called once, with one line that says what
// to do, for an entry that cannot be decoded, an operation or level that this
// binary does not know, an entry of another cluster or history, a chain hash
// that differs from the leader's, and every error of the database. Business
// refusals are outcomes, never errors.
//
// # Replays
//
// The applied index lives in the same transaction as the effects, so after a
// restart the log may hand over anything again. The rule: index ≤ applied with
// term ≤ applied term is a replay and is skipped; a greater term there, or a
// smaller one on a new index, means that log and state do not belong together,
// and stops the process.
//
// # Trade-offs
//
//   - Outcomes are released after the sync, although the entry is on a majority's
//     disks by then and could be answered before: one order of events is worth
//     more than half a millisecond.
//   - Retention is part of applying, so that files stay equal in content on all
//     nodes. The work for each entry is bounded by its own size.
//   - One event for each refused command of an administrator: an audit trail
//     that only shows successes shows nothing.
package fsm
