// Package front is the demo's small load balancer: one address before all nodes.
//
// # Purpose
//
// Requests go round the nodes in turn. Where a node fails before it answered,
// the request moves on to the next one if that can do no harm, so that a killed
// node costs a person nothing. /n/{id}/… reaches one node by name.
//
// # What it does not do
//
// It is no replacement for nginx: no TLS, no limits, no caching, one process.
// It knows nothing of raft and never routes by who leads; every node takes
// every request.
//
// # Invariants
//
//   - GET, HEAD and check-ins under an Idempotency-Key move on, after a
//     connection failure, a missing answer, 502 or 503. Nothing else does: a
//     request that may have been done is not done twice.
//   - A request moves on with the same bytes. Bodies up to MaxBody are kept for
//     that; a larger one goes to one node only, which will refuse it.
//   - Nothing moves on once an answer has begun.
//   - A node is out of turn after a failed request, found by passing traffic
//     only, and back in turn when its /healthz answers. With every node out of
//     turn all are tried: being wrong about health must not refuse anybody.
//
// # Trade-offs
//
// A frozen node accepts connections and never answers; the first request that
// meets it waits Patience before it moves on. Requests that must not move on wait
// for their answer much longer, because giving up would not undo them.
package front
