// Package webhook tells other programs about committed events: each event of the kinds
// that a hook wants is posted to its URL, signed, at least once.
//
// Hooks are configuration of the nodes, the same on each. The leader delivers; how far
// a hook has come is a replicated mark, like that of an export, so that another leader
// goes on from there.
//
// # A delivery
//
//	POST /hook HTTP/1.1
//	Content-Type: application/json
//	X-Hadir-Event: attendance.accepted
//	X-Hadir-Id: c7f2-1/10482            epoch of the history, and the event's seq
//	X-Hadir-Timestamp: 1795388294      seconds since 1970
//	X-Hadir-Signature: v1=<HMAC-SHA256 of timestamp, ".", body, in hexadecimal>
//
// The body is the event as GET /logs gives it. Any 2xx is an answer that it was taken.
//
// # What goes wrong
//
//   - No answer within ten seconds, or 408, 425, 429, 502, 503 and 504: the endpoint is
//     waited for, with pauses of up to a minute. Nothing is skipped.
//   - Another answer is about this event. After three of them it is handed over to the
//     jobs, where it is tried again and then waits for a person (GET /queue), and the
//     next event has its turn. The audit trail is told.
//   - The leader changes: what was delivered after the last mark is delivered again.
//     A receiver tells by X-Hadir-Id.
//   - The history is restored: a hook goes on from the mark that came with it, and what
//     was handed over before is not delivered any more: under its seq is another event.
//
// # Invariants
//
//   - The mark passes an event only when it was delivered, was handed over, or is not
//     wanted.
//   - Events are delivered in their order, except those that were handed over.
//   - Redirects are not followed, proxies not used, answers read to 64 KiB at most; an
//     address that is not public is connected to only by hooks that say so.
//   - What this package tells the audit trail is never delivered: it would go round.
//
// # Trade-offs
//
//   - A hook that is new begins with the next event, not with the first.
//   - One delivery at a time for each hook: order is worth more than rate here.
package webhook
