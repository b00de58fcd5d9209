// Package proc keeps a set of child processes: it starts, kills, freezes, thaws
// and replaces them, and lets none of them outlive the parent.
//
// # Invariants
//
//   - A child is in a process group of its own, so that Ctrl-C at a terminal
//     reaches the parent only, which then stops the children in order.
//   - On Linux the kernel kills a child when the parent dies, however it dies.
//     Elsewhere a parent that is killed with SIGKILL leaves its children.
//   - A signal goes to a child that has not been waited for, never to a number
//     that another process may have got since.
//   - Close returns when every child has been waited for. A child that does not
//     end in time is killed, a frozen one is woken up first.
package proc
