// Package attendance is the vocabulary of hadir and its one rule.
//
// It holds the commands that nodes propose, the outcomes they get, the events
// that are kept, the replicated parameters, the canonical encoding under every
// hash, and the first-write-wins rule. It imports nothing of ours, performs no
// I/O, reads no clock and draws no random numbers: everything here is a pure
// function of its arguments, so that three nodes that see the same log reach
// the same state, byte for byte.
//
// # Words
//
//   - command: one request for a decision. An [Entry] carries up to
//     [MaxCommands] of them under one proposal time.
//   - outcome: what was decided about a command. Business refusals are
//     outcomes, never errors.
//   - event: the record of one decision, numbered 1, 2, 3, … by seq without
//     gaps. The event that accepts a check-in is the attendance record; its seq
//     is the attendance's id.
//   - clock: replicated logical time, the greatest proposal time seen. Nothing
//     is ever decided at a time after it.
//   - decision time (t): when a tap counts: receipt, by the receiving node's
//     monotonic clock, but never after the clock.
//   - floor: the decision time below which accepted times may have been
//     trimmed. It never falls.
//
// # The rule
//
// For one (user, type) two accepted check-ins have decision times at least W
// apart. [Params.Place] finds the decision time or the reason why a person has
// to look; [Params.Conflict] checks both neighbours. First means first in
// commit order: what was accepted is never revoked; a tap with an earlier time
// that commits later is a duplicate that lowers its winner's first_seen_at.
//
// Why it holds by induction: every insert looks at its nearest neighbour on
// both sides, so no pair closer than W can arise. Trimming removes only times
// below the floor and an insert needs t ≥ floor + W, so a trimmed neighbour was
// at least W away anyway.
//
// # Two encodings, on purpose
//
// Commands travel as protobuf (package pb): it evolves well and tells an
// unknown operation apart from garbage. Everything that is hashed or stored is
// written by hand (canon.go): protobuf promises no stable bytes, and an event's
// bytes must be the same on every node, in every version, for ever.
//
// # What may change, and how
//
// Operation codes, field numbers, event types, reasons and canonical layouts
// are append only. A change that an older binary would misread raises [Level];
// it is proposed only after a SetLevel command, which waits for the support of
// every voter. A binary that meets a level or an operation it does not know
// stops: guessing would let nodes diverge in silence.
package attendance
