// Package client speaks to hadir as any client would. It knows the contract and
// none of the server's packages, keeps every answer whatever its status, and lets
// net/http repeat nothing behind the caller's back.
package client
