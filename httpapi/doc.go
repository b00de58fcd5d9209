// Package httpapi is hadir's door: routes, sessions, roles, the JSON of
// CONTRACT.md, health, metrics, and the plain pages of package ui.
//
// It decides who may ask for what and in which form; what is decided about a
// check-in is the state machine's, and how an answer looks on a page is ui's.
// It keeps nothing that another node would need: sessions are signed texts, and
// everything else is read from the replicated state.
//
// # Invariants
//
//   - Bad input is answered with a 4xx and leaves no trace in the log: everything
//     that can be judged here is judged before anything is proposed.
//   - Each error has one place where it becomes a status: problem.go.
//   - Each route is one row of the table in routes.go, with who may use it. That
//     is checked there, and again, in the same read transaction, where data about
//     a person leaves (scope.go).
//   - "Not recorded" is said only when it is certain. Where it is not, the answer
//     is unknown_outcome and the way out is the same key.
//   - Every answer, whatever happened, has X-Request-Id, X-Hadir-Node and
//     X-Hadir-Index, and every error is a problem document (or, on a page, its
//     plain words).
//   - No secret is logged: no password, token or key, and no body.
//
// # What is kept out, and where it is seen
//
// A school is one address, so an address is only slowed down for failed sign-ins;
// taps and other writes are paced for each person and device (limiter.go). What is
// refused at the door, a failed sign-in and an answer from an earlier decision are
// no events: raft would carry every stranger's request. They are lines of this
// node's own journal (journal.go), which is bounded in rate and size and may lose
// its last second in a crash.
//
// # Trade-offs
//
//   - Objects are read by a small reader of our own (object.go) and not by
//     encoding/json into structs: that one ignores case and doubled fields, and
//     stops at the first mistake.
//   - Sessions cannot be ended one by one without a row for each; signing out
//     forgets the cookie, and ?everywhere=true ends all sessions of the user through
//     the log.
//   - A command about a user or a group carries its name and the like as a whole. A
//     change of one field is therefore put on the newest state, and what was decided
//     in between is put back (users.go): fields are last-write-wins each for itself,
//     but for a moment a change may look undone. Of groups only people come and go
//     one by one; of two new names at once the later one holds.
//   - A device token names no person: whoever holds it checks in anybody of its
//     groups. It opens nothing else.
//   - An import tells of each row instead of being all or nothing: a school with one
//     wrong address gets in. It ends within its time and is sent again.
//   - Limits are counted by each node, and what the others let through is learned in
//     the background, where there is a Tally (tally.go): a request waits for nobody,
//     and a burst over all nodes is known to all a moment later. Without a Tally three
//     nodes allow three times as much.
//   - Answers to heavy reads are kept under a key that holds the newest event
//     (results.go). While people check in they are of little use; they are for the
//     file that many want when a day is over.
package httpapi
