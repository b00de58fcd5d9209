// Package devcert makes a certificate for a front on a local network, and the
// authority that signs it.
//
// # Purpose
//
// Browsers give location and service workers to secure origins only, and a school
// in a building without a public name gets no certificate from anybody. So it is
// its own authority, which each phone is told about once.
//
// # Invariants
//
//   - The authority may vouch for the names it was made for, for what lies below
//     them and for private addresses, and for nothing else (name constraints,
//     critical): whoever steals its key cannot pose as somebody's bank.
//   - An authority that is there is used again, so that phones go on trusting. It
//     is never replaced: with a name it may not vouch for, Write refuses.
//   - Every file appears whole or not at all, with mode 0600, also the
//     certificates: who else may read them is for their owner to say.
//   - Keys are ECDSA P-256: every browser knows it.
//
// # What it does not do
//
// It does not renew, revoke or hand out anything. Where there is a public name, a
// public authority is better.
package devcert
