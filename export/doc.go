// Package export keeps SQL copies of the events: MySQL 8.0 and MariaDB, written
// by the leader, and SQLite, where every node writes a full copy of its own. People
// query attendance there; nothing of hadir ever reads it back. Losing such a
// database costs lag and nothing else: what was lost is written again.
//
// # How it works
//
// A target is one database. Each has a runner (runner.go), which is a cursor over
// the events of this node's state:
//
//  1. attach: bring the schema up to date, read the target's own watermark, and
//     prove that it belongs to this history (attach.go).
//  2. batch: read the next events, at most 500, and write their rows and the new
//     watermark in one SQL transaction (batch.go). The rows are a function of the
//     events alone (plan.go).
//  3. after any error, whatever it was, forget the position and begin at 1.
//
// The watermark in the target is the truth. What the cluster knows of it, the
// replicated mark, only lags behind; it keeps Prune from events that a target
// still needs.
//
// # The fence
//
// The first statement of a batch is a compare-and-set:
//
//	UPDATE hadir_watermark SET seq = to, fence = term …
//	WHERE cluster = … AND epoch = … AND seq = from AND fence <= term
//
// One row, or the batch is rolled back and the watermark read again. So of two
// exporters one wins each batch, whoever forced them on; a leader that was paused
// and woke up as a former one cannot write (another leader has raised the fence);
// and a COMMIT whose answer was lost is found out about by reading. SQLite has one
// writer, its node, and fence 0.
//
// # Invariants
//
//   - In a target every seq up to the watermark is in exactly one of
//     attendance_logs, export_failures (parked: the database refused the event) and
//     export_gaps (a person decided to go on without events that were pruned). No
//     seq above the watermark is anywhere.
//   - Rows follow from events, in their order, and from nothing else: neither the
//     exporter's clock nor its configuration is in them. Two exporters cannot write
//     different things.
//   - A position is used only until the first error.
//   - An event is skipped only by parking it, in the transaction that moves the
//     watermark past it, with the reason.
//   - No text of a user ever becomes part of a statement; names of tables and
//     columns are constants of this package.
//   - Neither password nor user of a URL is in a name, a log line, an error or an
//     answer.
//
// # When a target fails
//
// Down: it cannot be reached. Tried again after 250 ms … 30 s. Stopped: it answers,
// and cannot be written to for a [Reason]; tried again at least every five seconds,
// so that a repair is noticed without a restart. Both are told once, in the log and
// as an event. Deadlocks and lock waits are neither: the whole batch is done again.
//
//   - schema: the schema was written by a newer hadir.
//   - drift: a table or column is missing or was changed.
//   - privileges, read_only, disk_full, packet: what the words say.
//   - gap: the next events were pruned. A person decides by hadir export reset.
//   - ahead: the target knows events that this history has not, or belongs to
//     another cluster or epoch (after a restore). A person decides.
//   - parked: a thousand events were refused, so it is not the events' fault.
//
// # Reset
//
// [Exporter.Reset] writes a decision into the target's watermark row; whoever
// exports to it carries the decision out (reset.go). Either the target keeps what it
// has and goes on (its newest event is this history's own, or events between were
// pruned), or it is emptied and everything is exported anew.
//
// # Trade-offs
//
//   - Prune respects MySQL targets only. A mark for each node's SQLite copy would
//     let a node that is gone for good hold back history for ever; such a copy may
//     end in gap instead, and is there for development and analysis.
//   - Half a second passes between two batches unless the last one was full: two
//     transactions a second cost check-ins nothing and the lag stays far under five
//     seconds.
//   - Prepared statements with many rows, not LOAD DATA: the same on both dialects
//     and fast enough (docs/sql.md has the figures).
//   - One set of migrations for both dialects: what differs is marked in the file
//     by a comment (migrate.go). Each file has one statement, because MySQL commits
//     after each: whatever was cut off can be run again.
//   - Outages that follow each other within ten seconds are told as one: the key of
//     the event is made of the replicated mark, which moves no faster. So a leader
//     that takes over during an outage does not tell it again.
package export
