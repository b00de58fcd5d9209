// Package load is what people do while a cluster is tried: check-ins, each retried
// under its own key until it is decided, reads, and clients of the stream. It keeps
// a history of everything that was answered, for a judge.
//
// # Invariants
//
//   - Every answer is kept with its operation before anything is concluded from it.
//   - A load is an open loop: what is slow does not keep the next tap from coming.
//   - A key is used by one operation only.
package load
