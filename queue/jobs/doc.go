// Package jobs runs work that is too long for a request: somebody asks for it, gets a
// name, and looks later whether it is done. What the work is, the caller knows
// (Runner); this package knows where it waits, who does it, and for how long the
// result is kept.
//
// # Two places, one interface
//
// With Redis a job is an asynq task: any node does it, and it survives every node.
// Without, or while Redis does not answer, it waits in the memory of the node that was
// asked, and that node does it; the other nodes ask that one. The name of a job says
// where it is: redis-<random>, or <node>-<number>.
//
// # A job's life
//
//	waiting → running → done
//	             ↓ ↑ (after 1 s, 2 s, 4 s, 8 s)
//	          retrying → failed → (a person) → waiting, or gone
//
// A failure that wraps [ErrPermanent] is not tried again. A job that is retried by a
// person changes its state: it is the same one. In memory it gets all its tries anew,
// in Redis one more, because asynq goes on counting.
//
// # Invariants
//
//   - A job may be done more than once: a node that dies leaves it to another one.
//     Runners must bear that.
//   - What is in Redis is sealed (AES-256-GCM under a key made of the cluster's, for
//     this cluster and this job): a file of people holds passwords. What cannot be
//     opened fails for good.
//   - Everything is bounded: files and results to 8 MiB compressed, what a node holds
//     in memory to 64 jobs and 64 MiB.
//   - Nobody waits for Redis longer than two seconds.
//
// # How long things are kept
//
// Results and what failed: 24 hours. In the memory of a node less when it fills up, and
// until the node stops.
//
// # Trade-offs
//
//   - A flushed Redis has forgotten its jobs. Whoever asks for one is told that there
//     is none, and asks for the work anew.
//   - When Redis fails in the moment in which it takes a job, the job may be there and
//     in memory, and is done twice.
package jobs
