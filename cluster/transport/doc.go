// Package transport carries everything that one hadir node says to another
// node over TCP, and guards the disk that Raft votes and logs live on.
//
// # Purpose
//
//   - One cluster key (32 random bytes) gives every node its identity: HKDF
//     derives from it the gossip key and an Ed25519 CA, and
//     each node issues its own leaf certificate when it starts ([Keys]).
//   - One TCP listener per node serves Raft and the node RPC. The two are told
//     apart by ALPN inside mutual TLS 1.3, so no byte of either protocol
//     exists in clear text ([Listener]).
//   - Each connection starts with a preamble in which both sides state
//     cluster id, epoch, server id, incarnation, generation. A mismatch ends
//     the connection before any RPC, with a numeric code, so that the dialler
//     learns the reason and not just "connection reset" ([RefusedError]).
//   - [RaftTransport] gives hashicorp/raft its transport; [LogStore] gives it
//     a log and stable store that stops the node instead of going on after a
//     disk error or a disk hang.
//
// # What it does not do
//
// It does not decide who is a member: that is the raft configuration and the
// owner of [Config.Admit]. It does not remember generations: the owner of the
// hook does. It does not protect against a node that holds the cluster key and
// lies: any holder of the key can issue a certificate for any server id. It
// does not route, retry or authorise node RPCs.
//
// # Invariants
//
//   - A Raft connection exists only between two nodes of the same cluster id
//     and epoch that have both been admitted, and only to the server id that
//     the caller meant. Until a RaftTransport exists and [Identity] says
//     admitted, the Raft port is closed: a wiped voter must not be able to
//     vote (a node with an empty configuration grants any vote).
//   - The dialled address is never the identity. hashicorp/raft hands a stream
//     layer nothing but an address, so [RaftTransport] joins address and
//     server id ("host:port/id") on the way into the library's connection
//     pool, and the stream layer takes them apart again. Two things follow for
//     free: pooled connections are per server id, so a replaced node at an old
//     address never inherits a connection; and an RPC method that a later raft
//     version adds, and that we forget to route, fails closed because its
//     address has no id. The joined form never leaves the process: EncodePeer
//     and LocalAddr stay plain host:port. A side table from address to id was
//     the alternative; it has a race when two ids share one address, which is
//     exactly the wiped-disk case.
//   - Heartbeats run through raft's main loop, see
//     [RaftTransport.SetHeartbeatHandler].
//   - No answer of [LogStore] is positive once the store has failed. A vote
//     (term and candidate) is on disk completely or not at all.
//   - Without a cluster key nothing listens on or dials anything but loopback.
//   - A wrong wall clock never cuts a node off: certificates are valid from
//     2000 to 9999 and are verified at a fixed instant inside that span.
//   - Closing is complete: [Listener.Close] returns after every goroutine that
//     the listener started has ended and every connection is closed.
//
// # Key rotation
//
// A key file may hold several keys. The first one issues the certificate and
// encrypts gossip, all of them are accepted. Rotate in three rolling restarts:
// append the new key on every node; move it to the front on every node; remove
// the old one on every node. Between two neighbouring steps each node holds the
// key that the other one uses, so raft, node RPC and gossip work throughout.
//
// # Shutdown
//
// Close the RaftTransport (or the Listener) before waiting for raft.Shutdown:
// raft reads an InstallSnapshot stream in its main loop and closes its
// transport only after that loop has ended, so the other order can hang. A
// follower that is receiving a snapshot gives up on a silent sender after
// [Config.StallTimeout], because until then its main loop cannot vote.
//
// # Trade-offs
//
//   - Node RPC uses the HTTP/2 of net/http in its "prior knowledge" mode on
//     top of connections that are already TLS. That mode is called unencrypted
//     in the standard library because net/http does not see the TLS below. It
//     buys graceful shutdown and one HTTP/2 implementation in the binary.
//   - The preamble costs one round trip per connection; connections are long
//     lived.
//   - The watchdog of [LogStore] fires while a system call hangs (pwrite,
//     fdatasync). It cannot fire when a page fault on the memory map hangs
//     and a garbage collection waits for that thread; only a supervisor
//     outside of the process can help there.
//   - A certificate cannot be revoked: whoever leaves with the key is locked
//     out by rotating the key.
package transport
