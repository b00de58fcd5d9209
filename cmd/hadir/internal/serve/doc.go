// Package serve runs one node: it checks the options, puts the parts together,
// and takes them apart again in the right order.
//
// # Start
//
//  1. Options, key file, time zone, administrator, certificate: whatever can be
//     wrong without touching anything is found first. Wrong usage exits 2.
//  2. The HTTP and debug addresses are bound, so that a taken port is told before
//     the data directory is touched.
//  3. cluster.Start: data directory, peer address, gossip, raft.
//  4. HTTP is served at once: /healthz and the cluster page work while the node
//     waits for the others; /readyz tells when it can decide.
//
// # Shutdown
//
// On SIGTERM or SIGINT, three seconds in all:
//
//  1. /readyz fails, no connection is accepted any more, and those who watch the
//     stream are sent to other nodes (4001).
//  2. Requests under way are answered, for half of the time at most, and the door
//     journal is written. Exports end with the batch that is under way, or are cut
//     off and rolled back. Jobs, webhooks and the queue stop: what is not decided
//     waits on the disk, and the next leader delivers what is not delivered.
//  3. cluster.Node.Shutdown: leadership is handed over, files are closed.
//  4. Exit 0. What hangs until the time is over is left, with a line and exit 1:
//     every file is safe against that.
//
// HTTP comes before the cluster because requests under way still want a
// decision, and a leader that hands over first would send them elsewhere. A
// second signal ends the process at once.
//
// # Halt
//
// A node whose disk, log or state cannot be trusted ends itself: one line on
// standard error, exit 1, whatever else hangs. Nothing is flushed and nobody is
// asked, because the next start recovers from exactly that.
//
// The real clock, the real random source and the end of the process live here,
// and nowhere below.
package serve
