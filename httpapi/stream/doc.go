// Package stream pushes what a node has decided, and what it sees, to the people
// who watch.
//
// The truth is the stored events, numbered without gaps; a connection is a cursor
// over them. The newest events are kept in memory once, encoded as they go over
// the wire, and everybody is served from those bytes: one write sends everything
// between a cursor and the head, so that writes grow together under load and cost
// nothing when nothing happens. A cursor that is older than the memory reads from
// the store until it has caught up. A commit only signals; who is woken by it, and
// what is encoded, is the business of a goroutine of this package.
//
// It knows nothing of HTTP, sessions or the cluster. Where events come from, who
// may see what, and what the other topics show is given to it.
//
// # Invariants
//
//   - A subscriber who sees everything gets exactly after+1, after+2, …; it is
//     told (reset) or closed (4010) when that cannot be had, never given a gap.
//   - mark{n} is sent to a filtered subscriber when everything up to n that it may
//     see has been written before it.
//   - An event is filtered by rights at least as new as itself: whoever lost a
//     right by event n gets no event after n by it.
//   - Nobody is thinned out: who does not read in time is closed (4008) and
//     resumes.
//   - Every write ends at the end of a frame, and everything, control frames too,
//     goes through the one writer of its connection.
//
// # Trade-offs
//
//   - A connection costs one goroutine, which reads. The one that writes is there
//     only while there is something to write.
//   - Events are not compressed: the same bytes for everybody are worth more here.
package stream
