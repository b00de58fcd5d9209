package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"hadir/attendance"
)

// How chain hashes are kept.
const (
	chainEvery  = 1_000  // events between permanent checkpoints
	recentReach = 10_000 // events back to which the ends of entries are kept
)

// Recent reports whether the chain hash at the end of an entry at seq is surely
// kept still.
func (t *Tx) Recent(seq uint64) bool { return seq+recentReach >= t.meta.Seq }

// Tx is the write transaction. It reads its own writes. Errors of its methods
// are the database's: after one the transaction must be given up.
type Tx struct {
	*ReadTx
	counts   map[string]uint64 // added to stats at the end, in one put each
	appended [][]byte          // events of this transaction, in order
}

func newTx(r *ReadTx) *Tx {
	for _, name := range [][]byte{bucketEvents, bucketChain, bucketRecent, bucketDays} {
		r.tx.Bucket(name).FillPercent = appendFill
	}
	return &Tx{ReadTx: r, counts: map[string]uint64{}}
}

// SetMeta changes the scalars. They are written when the transaction ends.
func (t *Tx) SetMeta(f func(*Meta)) { f(&t.meta) }

// Appended gives the stored form of the events of this transaction so far, in
// order. The slices are the caller's to keep.
func (t *Tx) Appended() [][]byte { return t.appended }

// flush writes what is written once for each transaction.
func (t *Tx) flush() error {
	stats := t.tx.Bucket(bucketStats)
	for _, k := range slices.Sorted(maps.Keys(t.counts)) {
		n, _ := binary.Uvarint(stats.Get([]byte(k)))
		if err := stats.Put([]byte(k), binary.AppendUvarint(nil, n+t.counts[k])); err != nil {
			return err
		}
	}
	return t.tx.Bucket(bucketMeta).Put(rowState, t.meta.encode())
}

// Append gives the event the next seq, stores it and extends the chain.
func (t *Tx) Append(e attendance.Event) (attendance.Event, error) {
	t.meta.Seq++
	e.Seq = t.meta.Seq
	b := e.Encode()
	if err := t.tx.Bucket(bucketEvents).Put(keySeq(e.Seq), b); err != nil {
		return e, err
	}
	t.appended = append(t.appended, b)
	t.meta.Chain = attendance.Chain(t.meta.Chain, b)
	if e.Seq%chainEvery == 0 {
		return e, t.putChain(bucketChain)
	}
	return e, nil
}

// putChain keeps the chain hash at the present seq. The database holds on to a
// value until the commit, and the hash in the meta row goes on changing, so it
// gets a copy.
func (t *Tx) putChain(bucket []byte) error {
	return t.tx.Bucket(bucket).Put(keySeq(t.meta.Seq), slices.Clone(t.meta.Chain[:]))
}

// Checkpoint keeps the chain hash at the present seq for a while, so that a
// Verify proposed now finds it when it is applied. It is called at the end of
// each entry that appended events.
func (t *Tx) Checkpoint() error {
	if err := t.putChain(bucketRecent); err != nil {
		return err
	}
	recent := t.tx.Bucket(bucketRecent)
	// Two out for one in: the bucket shrinks back after a burst of small entries.
	var old [][]byte
	c := recent.Cursor()
	for k, _ := c.First(); k != nil && len(old) < 2 && seqOf(k)+recentReach < t.meta.Seq; k, _ = c.Next() {
		old = append(old, slices.Clone(k))
	}
	return deleteAll(recent, old)
}

// deleteAll deletes keys that were collected before: deleting through a cursor
// while it iterates skips rows changed in the same transaction.
func deleteAll(b *bbolt.Bucket, keys [][]byte) error {
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// PutRecord indexes the attendance record that an event made.
func (t *Tx) PutRecord(e attendance.Event) error {
	tap, ok := e.Detail.(attendance.Tap)
	if !ok || !e.Type.MakesRecord() {
		return fmt.Errorf("event %d of type %s makes no record", e.Seq, e.Type)
	}
	t.meta.Records++
	t.count(keyStat(tap.Day, statMinute, byte(tap.Kind), byte(tap.Minute>>8), byte(tap.Minute)))
	t.count(keyStat(tap.Day, statNode, append([]byte{byte(tap.Kind)}, e.ReceivedBy()...)...))
	if err := t.tx.Bucket(bucketDays).Put(keyDay(tap.Day, tap.At, e.Seq), encodeDayRow(tap.Kind, tap.UserID, e.ReceivedBy())); err != nil {
		return err
	}
	k := keyTime(attendance.UTCDay(tap.At), tap.UserID, tap.Kind, tap.At)
	return t.tx.Bucket(bucketTimes).Put(k, binary.AppendUvarint(nil, e.Seq))
}

// CountTap counts a decision about a tap on a local day.
func (t *Tx) CountTap(day attendance.Day, typ attendance.EventType) {
	t.count(keyStat(day, statType, byte(typ)))
}

func (t *Tx) count(key []byte) { t.counts[string(key)]++ }

// PutKey stores what a key stands for, by the time of the decision.
func (t *Tx) PutKey(p attendance.Principal, key string, row KeyRow) error {
	w := attendance.NewWriter(make([]byte, 0, 32))
	w.Uint(1)
	w.Bytes(row.Hash[:])
	w.Millis(row.Elapsed)
	w.Uint(row.Seq)
	return t.tx.Bucket(bucketKeys).Put(keyKey(attendance.UTCDay(row.Elapsed), p, key), w.Data())
}

// ExpireKeys deletes at most limit keys of partitions that lie wholly below the
// key floor, oldest first, and says how many.
func (t *Tx) ExpireKeys(limit int) (int, error) {
	bucket := t.tx.Bucket(bucketKeys)
	live := attendance.UTCDay(t.meta.KeyFloor)
	var old [][]byte
	c := bucket.Cursor()
	for k, _ := c.First(); k != nil && len(old) < limit && dayOf(k) < live; k, _ = c.Next() {
		old = append(old, slices.Clone(k))
	}
	return len(old), deleteAll(bucket, old)
}

// LowerFirstSeen sets the time at which a record was first seen, and when that
// became known.
func (t *Tx) LowerFirstSeen(record uint64, firstSeen, updated attendance.Millis) error {
	w := attendance.NewWriter(make([]byte, 0, 16))
	w.Uint(1)
	w.Millis(firstSeen)
	w.Millis(updated)
	return t.tx.Bucket(bucketOverlay).Put(keySeq(record), w.Data())
}

// AddTrail notes that an event is about a record.
func (t *Tx) AddTrail(record, seq uint64) error {
	return t.tx.Bucket(bucketTrail).Put(keyPair(record, nil, seq), []byte{})
}

// OpenReview notes that a person has to decide about the event.
func (t *Tx) OpenReview(seq uint64) error { return t.tx.Bucket(bucketOpen).Put(keySeq(seq), []byte{}) }

// CloseReview notes by which event a person decided.
func (t *Tx) CloseReview(seq, by uint64) error {
	return errors.Join(
		t.tx.Bucket(bucketOpen).Delete(keySeq(seq)),
		t.tx.Bucket(bucketResolved).Put(keySeq(seq), binary.AppendUvarint(nil, by)),
	)
}

// DropEvents deletes at most limit of the oldest events that Prune has let go,
// with every row that belongs to them, and says how many. It stops before an
// event that somebody may still need: an export target; the rule (a record above
// the floor); a person (a review waits); a key that still answers from it or from
// a later event that names it. All of it is judged now and not when Prune was
// asked, because marks may fall and keys be kept for longer since.
func (t *Tx) DropEvents(limit int) (int, error) {
	through := t.meta.PruneThrough
	if t.meta.FirstSeq > through {
		return 0, nil
	}
	for _, mark := range t.Marks() {
		through = min(through, mark-min(mark, t.params.ExportMargin))
	}
	dropped := 0
	for ; dropped < limit && t.meta.FirstSeq <= through; dropped++ {
		e, err := t.Event(t.meta.FirstSeq)
		if err != nil {
			return dropped, err
		}
		tap, _ := e.Detail.(attendance.Tap)
		if e.Type.MakesRecord() && tap.At >= t.meta.Floor {
			return dropped, nil
		}
		if needed, err := t.needed(e); err != nil || needed {
			return dropped, err
		}
		if err := t.dropEvent(e, tap); err != nil {
			return dropped, err
		}
		t.meta.FirstSeq++
	}
	return dropped, nil
}

// needed reports whether a person or a key may still ask for an event, or for a
// later one that names it.
func (t *Tx) needed(e attendance.Event) (bool, error) {
	last := e
	if t.IsOpen(e.Seq) {
		return true, nil
	}
	prefix := keySeq(e.Seq)
	c := t.tx.Bucket(bucketTrail).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		seq := seqOf(k[8:])
		if t.IsOpen(seq) {
			return true, nil
		}
		last.Seq = seq
	}
	if last.Seq != e.Seq { // ages grow with seq: the last one's key is the last to expire
		var err error
		if last, err = t.Event(last.Seq); err != nil {
			return false, err
		}
	}
	return last.At+last.SetBack > t.meta.KeyFloor, nil
}

func (t *Tx) dropEvent(e attendance.Event, tap attendance.Tap) error {
	k := keySeq(e.Seq)
	errs := []error{
		t.tx.Bucket(bucketEvents).Delete(k),
		t.tx.Bucket(bucketOverlay).Delete(k),
		t.tx.Bucket(bucketResolved).Delete(k),
	}
	if e.Type.MakesRecord() {
		errs = append(errs,
			t.tx.Bucket(bucketDays).Delete(keyDay(tap.Day, tap.At, e.Seq)),
			t.tx.Bucket(bucketTimes).Delete(keyTime(attendance.UTCDay(tap.At), tap.UserID, tap.Kind, tap.At)))
	}
	for _, about := range []uint64{tap.Winner, tap.ReviewOf} {
		if about != 0 {
			errs = append(errs, t.tx.Bucket(bucketTrail).Delete(keyPair(about, nil, e.Seq)))
		}
	}
	return errors.Join(errs...)
}

// PutUser stores a user under its id and address; old is the one before, zero
// for a new user. The address must be free.
func (t *Tx) PutUser(u, old attendance.User) error {
	emails := t.tx.Bucket(bucketEmails)
	if old.ID != 0 {
		if err := emails.Delete([]byte(attendance.FoldEmail(old.Email))); err != nil {
			return err
		}
	}
	return errors.Join(
		emails.Put([]byte(attendance.FoldEmail(u.Email)), keySeq(u.ID)),
		t.tx.Bucket(bucketUsers).Put(keySeq(u.ID), u.Encode()),
	)
}

// PutPasswordHash stores a user's encoded password hash.
func (t *Tx) PutPasswordHash(user uint64, hash string) error {
	return t.tx.Bucket(bucketPasswords).Put(keySeq(user), []byte(hash))
}

// PutGroup stores a group.
func (t *Tx) PutGroup(g attendance.Group) error {
	return t.tx.Bucket(bucketGroups).Put(keySeq(g.ID), g.Encode())
}

// Join adds a user to a group.
func (t *Tx) Join(group uint64, part Part, user uint64) error {
	return errors.Join(
		t.tx.Bucket(bucketMembers).Put(keyPair(group, []byte{byte(part)}, user), []byte{}),
		t.tx.Bucket(bucketMemberships).Put(keyPair(user, []byte{byte(part)}, group), []byte{}),
	)
}

// Leave takes a user out of a group.
func (t *Tx) Leave(group uint64, part Part, user uint64) error {
	return errors.Join(
		t.tx.Bucket(bucketMembers).Delete(keyPair(group, []byte{byte(part)}, user)),
		t.tx.Bucket(bucketMemberships).Delete(keyPair(user, []byte{byte(part)}, group)),
	)
}

// DeleteGroup removes a group and everybody's belonging to it; there may be at
// most attendance.MaxDeletedMembers.
func (t *Tx) DeleteGroup(id uint64) error {
	for _, part := range []Part{Member, Responsible} {
		for _, user := range pairs(t.tx, bucketMembers, id, part, 0, attendance.MaxDeletedMembers) {
			if err := t.Leave(id, part, user); err != nil {
				return err
			}
		}
	}
	return t.tx.Bucket(bucketGroups).Delete(keySeq(id))
}

// PutToken stores a device token under its id and hash; old is the one before,
// zero for a new one. The hash must be free.
func (t *Tx) PutToken(token, old attendance.Token) error {
	hashes := t.tx.Bucket(bucketTokenHashes)
	if old.ID != 0 {
		if err := hashes.Delete(old.Hash[:]); err != nil {
			return err
		}
	}
	return errors.Join(
		hashes.Put(token.Hash[:], keySeq(token.ID)),
		t.tx.Bucket(bucketTokens).Put(keySeq(token.ID), token.Encode()),
	)
}

// PutSecret stores a shared secret.
func (t *Tx) PutSecret(s attendance.Secret) error {
	return t.tx.Bucket(bucketSecrets).Put([]byte(s.Name), s.Encode())
}

// Secrets gives how many shared secrets there are.
func (t *Tx) Secrets() int {
	n := 0
	c := t.tx.Bucket(bucketSecrets).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	return n
}

// PutMark stores how far an export target has come.
func (t *Tx) PutMark(target string, seq uint64) error {
	return t.tx.Bucket(bucketMarks).Put([]byte(target), binary.AppendUvarint(nil, seq))
}

// DeleteMark forgets an export target.
func (t *Tx) DeleteMark(target string) error {
	return t.tx.Bucket(bucketMarks).Delete([]byte(target))
}

// PutParams stores the parameters; they hold from now on, in this transaction
// too.
func (t *Tx) PutParams(p attendance.Params) error {
	t.params = p
	return t.tx.Bucket(bucketMeta).Put(rowParams, p.Encode())
}

// PutConfiguration stores a raft configuration for people who look at a stopped
// node. It is not part of the state hash: a restored backup brings an old one.
func (t *Tx) PutConfiguration(b []byte) error {
	return t.tx.Bucket(bucketMeta).Put(rowConfiguration, b)
}
