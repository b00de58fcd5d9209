// Package harness runs hadir as its users do: real processes on free loopback
// ports, spoken to over HTTP, and killed, frozen and restarted by pid. The system
// tests and the failover benchmark share it.
//
// It knows the contract and none of the server's packages, so that it meets what
// any client would meet. The one exception is the form of a password hash, which
// a file of sample people needs.
//
// # Invariants
//
//   - A process is in a group of its own and, on Linux, dies with this one.
//   - A signal goes to a process that has not been waited for, or that was
//     recognised by its command line; never to a bare number.
//   - Nothing sleeps for a fixed time: conditions are awaited until a deadline.
//   - Every answer is kept with its operation before anything is concluded from it.
package harness
