// Command hadir is the whole product in one binary: a node, a demo of several
// nodes, and the tools to look after a cluster.
//
// Each subcommand is one struct in one file; this package only wires. What has a
// story lives in internal/: serve (one node, with the order of start and
// shutdown), demo and what it is made of (front, proc), api (the public HTTP
// interface from outside), load (measurements), logs, devcert (certificates for a
// local network).
//
// Every flag has an environment twin, HADIR_ and its name in capitals, and every
// flag that holds a secret has a twin that names a file. Exit codes: 0 done,
// 1 failed, 2 wrong usage, 3 a node that is retired and need not be restarted. An
// error is one line on standard error that says what to do.
package main
