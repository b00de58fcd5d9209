// Package store keeps hadir's data in bbolt: state.db, the replicated state that
// package fsm writes and everybody reads, and node.db, what belongs to one node
// alone. It knows layouts, transactions and files; it knows no rule, no raft, no
// clock and no network.
//
// # state.db
//
//	meta         one row of scalars (clock, floor, seq, chain, applied …), schema, params, raft configuration
//	events       seq → event; an attendance record is the event that accepted it
//	chain        seq → chain hash, every 1 000 events, for ever
//	recent       seq → chain hash, at the end of each entry, for the last 10 000 events
//	days         local day, time, seq → type, user, node: the day list and its filters
//	times        UTC day, user, type, time → seq: the rule's neighbours, and a person's history
//	keys         day of decision, principal, key → body hash, age, seq: idempotency
//	overlay      seq → first_seen_at, updated_at of records that changed
//	trail        record, seq → nothing: the later events about a record
//	open         seq → nothing: reviews that wait for a person
//	resolved     seq → seq of the event that resolved the review
//	stats        day, class, … → count
//	users emails passwords groups members memberships tokens token_hashes secrets marks
//
// History is partitioned by day through the leading bytes of the key, not by
// nested buckets: the rows of a day lie together on their own pages either way,
// ranges over days need no special case, and a check-in costs the same whether
// ten thousand or ten million records lie before it. The rule's times use UTC
// days, because the site's time zone may be changed and the rule must not
// notice; the day list uses the local day that the event carries.
//
// A check-in puts four rows: event, day entry, accepted time, key. Counters and
// the meta row are written once per transaction.
//
// # node.db
//
// Beside the node's identity, cursors and door journal it holds the outbox: check-ins
// that were recorded and are not decided yet (outbox.go). An entry keeps its place
// until the transaction that notes its decision; decisions are kept for a while, so
// that their keys answer. The body hash of an entry is computed from it, not stored.
//
// # Invariants
//
//   - Data, chain hash, applied index and applied term change in one
//     transaction ([State.Update]), which is synced before it returns.
//   - meta.Seq is the seq of the last event; FirstSeq … Seq have no gap.
//   - Every record at or above the floor has its row in times.
//   - A row in keys is honoured by age, not by being there: deletion lags behind
//     on purpose, a bounded number of rows for each entry, and changes no answer.
//   - No row that is read is ever handed out as database memory: what leaves a
//     transaction is a copy.
//   - Pages hold at most [MaxPage] items and look at a bounded number of rows to
//     find them; where that bound is reached the page is short and has a cursor.
//
// # Files
//
// Opening checks the schema, that the file is as long as it says, and that the
// last events lead to the chain hash: a damaged or foreign file is refused with
// one line that says what to do. [State.Replace] swaps in a verified file:
// everything that can fail is done before the rename.
//
// state.db keeps its freelist on disk, unlike raft.db: opening stays fast at
// any size, and the freelist is small because nothing but retention frees many
// pages.
//
// # Trade-offs
//
//   - fsync per batch. Leaving it to the operating system would be 1.5 times as
//     fast and need a rebuild after each unclean boot.
//   - Keys are partitioned by the day of decision, so that today's lie on few pages
//     and expiry deletes them in the order in which they lie. A key is looked up in
//     each day of its retention: nine look-ups of warm pages. Partitions of four
//     days were tried: three look-ups, but half as many dirty pages again, and
//     slower; a second index for expiry would dirty still more.
//   - Backups are copies of the file, not dumps of its rows: sequential reads
//     instead of rebuilding trees, at the price of copying free pages too.
package store
