// Package demo is hadir's stage: real node processes on this machine, a front
// before them, sample people, controls to kill and freeze nodes, and a school
// morning that gives a kill something to prove.
//
// # Parts
//
//   - People: the sample school. Names are made up; addresses end in .example,
//     which nobody can own.
//   - Layout: which ports and directories the nodes have, kept in the demo's
//     directory so that it can be started again with the same ones: raft
//     remembers its members' addresses.
//   - Control: what the nodes ask of the parent process (kill, freeze, thaw,
//     start), on loopback and with a token that only they are given.
//   - Morning: taps through the front, each retried under its key until it is
//     final, and a count of what became of them that is checked on every node.
//   - Stage: puts these together, and takes them apart: no process is left.
//
// # Trade-offs
//
// The order to kill or freeze a node may pass through that very node. The
// parent therefore answers first and acts a moment later.
//
// A person may check in once in five minutes, so 39 people give 78 records in
// that time. Every other tap of a morning is an impatient second tap, which
// must come out as a duplicate; that is what a morning with a slow network
// looks like, and it keeps the morning going.
package demo
