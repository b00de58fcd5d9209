// Package api speaks to a node over its public HTTP interface, as the commands
// cluster and bench and the demo's morning need it. It knows the contract and
// nothing of the server's code, so that it tests what any client would meet.
package api
