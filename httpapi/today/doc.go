// Package today counts who is there: how many people have come today, how many
// have left and how many are in, in all and for each group.
//
// Records by type, node and minute are counted in the replicated state already.
// What it lacks is people, each of whom may have many records and many groups; so
// a [Counter] keeps one small row for each person of the day in memory. It reads
// the day's records once, in bounded steps, and then only the events that came
// since: an answer costs what has happened since the last one.
//
// The counter belongs to whoever asks: there is no goroutine, and a step works on
// the reader's own transaction, so that the totals are of the same moment as
// everything else in the answer. It forgets everything and begins again when the
// local day changes, when the state was restored from a backup (another epoch), or
// when events that it has not read were pruned.
//
// Groups are those of now, not of the moment of the tap: who changes class at noon
// counts in the new class for the whole day.
package today
