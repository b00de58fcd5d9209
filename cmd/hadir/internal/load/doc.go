// Package load measures how fast a cluster decides check-ins: a closed loop, in
// which each client sends its next tap when the last one was answered.
//
// A person can be accepted once in five minutes for each kind. With few people
// nearly all taps of a measurement are therefore duplicates. For the cluster a
// duplicate is the same work as an acceptance, one decision in the log and one
// event on every disk, so both count as answered; the result says how many there
// were of each.
//
// A closed loop hides waiting: while a slow answer is awaited, no further request
// is sent that would have been slow too. The percentiles are those of answered
// requests, not those that people at a steady rate would see.
package load
