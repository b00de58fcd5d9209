// Package gossip finds the other nodes and spreads a small description of each
// one, with hashicorp/memberlist.
//
// # Purpose
//
// A fresh node learns from gossip which peers exist, whether they belong to a
// cluster already, and whether they were started with the same bootstrap set.
// A page that shows the cluster learns where the others serve HTTP and which
// version they run.
//
// # What it does not do
//
// Gossip is a hint. It never adds or removes a voter, it never routes a write
// and it is no proof of life: a node that is missing here can be the leader,
// and a node that is listed here can be dead for several seconds. Nothing in
// it is newer than anything learnt by node RPC. It carries no user data.
//
// # Invariants
//
//   - Everything on the wire is encrypted with a key derived from the cluster
//     key. Without a cluster key (development) only loopback is used: the
//     bind and advertise addresses, seeds and members outside of it are
//     refused.
//   - A node whose cluster id is known and differs from ours is never a
//     member. A node without a cluster id is welcome: that is how fresh nodes
//     meet. A fresh node between two clusters does not join them: each node is
//     judged by itself, also inside of a merged state.
//   - A member's name is its server id, so a node that returns under a new
//     address is the same member. It is accepted once the old address is known
//     to be dead ([Timing.DeadNodeReclaimTime]).
//   - memberlist calls our hooks under its own lock and on its packet loop.
//     The hooks take one short mutex, never block and never call back.
//   - memberlist forgets dead nodes and synchronises with living ones only, so
//     two halves of a healed partition would stay apart for ever. The seeds
//     are joined again periodically for that reason.
//
// # Trade-offs
//
//   - Host names are resolved here and not by memberlist, which first sends a
//     DNS ANY query over TCP that many servers refuse slowly.
//   - memberlist hands out pointers into its live state, so this package keeps
//     a copy of each member, made inside of the event hooks.
//   - The label on packets is the same for all clusters, so packets of another
//     one cost an attempt to decrypt them. In return nodes see each other in
//     every step of a key rotation, whichever of the keys they put first.
//   - Descriptions are limited to 512 bytes by memberlist. One that does not
//     fit is an error of Start or UpdateMeta.
package gossip
