// Package mirror keeps second copies of undecided check-ins in Redis, for the death
// of the disk on which the first one is. It is built on asynq: each copy is a task,
// and the workers on all nodes look whose first copy is gone.
//
// Redis is never on the way of a decision, and nothing in it is believed: a copy is
// authenticated, and what becomes of it is decided under its key like any other
// check-in.
//
// # A copy's life
//
//  1. The origin enqueues it under a name made of its principal and key, for 15 s
//     later. Within 100 ms it is there or it is not: "queued" waits no longer.
//  2. The origin's drain has it decided and deletes the task.
//  3. If it is still there, a worker looks. While the origin can be reached by node
//     RPC, or was within the last 15 s, and says that it waits there, it is looked at
//     again later. Else the worker's node takes it over into its own outbox, and the
//     task ends when it is decided there.
//
// # What goes wrong with Redis
//
//   - Gone, hanging, read-only, out of memory, with a value of the wrong type: the
//     first error closes the way to it; a probe opens it again. Until then nobody
//     waits for it.
//   - Flushed, started empty, put back from an old dump: a marker that the origin
//     writes is not as it left it, and everything that waits is copied again.
//   - A copy that cannot be read or was not made by this cluster: archived, with the
//     reason, and told to the audit trail.
//
// # asynq, and what is set against it
//
//   - It gives up on a task after some failures, and its archive keeps 10 000 tasks
//     for 90 days: a check-in that waits would be lost there. Waiting is no failure
//     here, failures are unlimited, and only what cannot be read is archived.
//   - It tries again after 15 s at least, and more each time: here the delay is
//     fixed, and 1 s when there is no leader.
//   - Its client writes the name of a queue down once; after a flush its inspector
//     would not find the queue any more. A sweep writes it again.
//   - Its background work uses contexts without an end, so its client has timeouts of
//     its own, and a shutdown does not wait for a Redis that hangs.
//
// # Trade-offs
//
//   - Copies that are taken over are as old as the wall clock of their origin says,
//     and their order among one person's check-ins is not promised.
//   - A key that is deleted one by one is not noticed: only the marker is looked at.
package mirror
