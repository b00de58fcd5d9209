package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"go.etcd.io/bbolt"

	"hadir/attendance"
)

// ReadTx is a consistent picture of the state. It is valid only inside the
// function it was given to; what its methods return stays valid for ever.
type ReadTx struct {
	tx     *bbolt.Tx
	meta   Meta
	params attendance.Params
}

func newReadTx(tx *bbolt.Tx) (*ReadTx, error) {
	bucket := tx.Bucket(bucketMeta)
	if bucket == nil {
		return nil, errors.New("bucket meta is missing")
	}
	meta, err := decodeMeta(bucket.Get(rowState))
	if err != nil {
		return nil, fmt.Errorf("meta row: %w", err)
	}
	params, err := attendance.DecodeParams(bucket.Get(rowParams))
	if err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	return &ReadTx{tx: tx, meta: meta, params: params}, nil
}

// Meta gives the scalars.
func (r *ReadTx) Meta() Meta { return r.meta }

// Params gives the replicated parameters.
func (r *ReadTx) Params() attendance.Params { return r.params }

// Configuration gives the last raft configuration that was applied, in the form
// in which it was stored; nil when none was. It is for people who look at a
// stopped node; raft keeps its own.
func (r *ReadTx) Configuration() []byte {
	return bytes.Clone(r.tx.Bucket(bucketMeta).Get(rowConfiguration))
}

// EventBytes gives the stored form of an event, or ErrNotFound.
func (r *ReadTx) EventBytes(seq uint64) ([]byte, error) {
	b := r.tx.Bucket(bucketEvents).Get(keySeq(seq))
	if b == nil {
		return nil, fmt.Errorf("event %d: %w", seq, ErrNotFound)
	}
	return bytes.Clone(b), nil
}

// Event gives an event, or ErrNotFound.
func (r *ReadTx) Event(seq uint64) (attendance.Event, error) {
	b := r.tx.Bucket(bucketEvents).Get(keySeq(seq))
	if b == nil {
		return attendance.Event{}, fmt.Errorf("event %d: %w", seq, ErrNotFound)
	}
	e, err := attendance.DecodeEvent(b)
	if err != nil {
		return attendance.Event{}, fmt.Errorf("%w: event %d: %w", ErrCorrupt, seq, err)
	}
	return e, nil
}

// Events calls f with the stored form of the events after a seq, in order, until
// f returns false, limit events were given or none is left. The bytes are valid
// only during the call.
func (r *ReadTx) Events(after uint64, limit int, f func(seq uint64, event []byte) bool) {
	if after >= r.meta.Seq {
		return // also keeps after + 1 from starting again at the beginning
	}
	c := r.tx.Bucket(bucketEvents).Cursor()
	k, v := c.Seek(keySeq(after + 1))
	for n := 0; k != nil && n < limit; n++ {
		if !f(seqOf(k), v) {
			return
		}
		k, v = c.Next()
	}
}

// ChainAt gives the chain hash after an event, where it is kept: at every
// multiple of 1 000 and at the recent ends of entries.
func (r *ReadTx) ChainAt(seq uint64) (attendance.Hash, bool) {
	for _, bucket := range [][]byte{bucketRecent, bucketChain} {
		if v := r.tx.Bucket(bucket).Get(keySeq(seq)); len(v) == len(attendance.Hash{}) {
			return attendance.Hash(v), true
		}
	}
	return attendance.Hash{}, false
}

// checkTail proves that the last events lead to the chain hash in the meta row,
// starting at the last permanent checkpoint that is still covered by events.
func (r *ReadTx) checkTail() error {
	m := r.meta
	k, _ := r.tx.Bucket(bucketEvents).Cursor().Last()
	switch {
	case m.FirstSeq == 0 || m.FirstSeq > m.Seq+1:
		return fmt.Errorf("events %d … %d cannot be", m.FirstSeq, m.Seq)
	case k == nil && m.FirstSeq != m.Seq+1:
		return errors.New("all events are missing")
	case k != nil && seqOf(k) != m.Seq:
		return fmt.Errorf("the last event is %d and should be %d", seqOf(k), m.Seq)
	}
	from := m.Seq - m.Seq%chainEvery
	sum := attendance.Hash{}
	if from > 0 {
		v := r.tx.Bucket(bucketChain).Get(keySeq(from))
		if len(v) != len(sum) {
			return fmt.Errorf("checkpoint %d is missing", from)
		}
		sum = attendance.Hash(v)
	}
	if m.FirstSeq > from+1 {
		return nil // the events since then were pruned, in part
	}
	next := from + 1
	r.Events(from, chainEvery, func(seq uint64, event []byte) bool {
		if seq != next {
			return false
		}
		sum = attendance.Chain(sum, event)
		next++
		return true
	})
	if next != m.Seq+1 {
		return fmt.Errorf("event %d is missing", next)
	}
	if sum != m.Chain {
		return fmt.Errorf("events up to %d do not lead to the chain hash", m.Seq)
	}
	return nil
}

// Record gives an attendance with what later events changed, or ErrNotFound.
func (r *ReadTx) Record(id uint64) (attendance.Record, error) {
	e, err := r.Event(id)
	if err != nil {
		return attendance.Record{}, err
	}
	return r.recordOf(e)
}

func (r *ReadTx) recordOf(e attendance.Event) (attendance.Record, error) {
	record, ok := e.Record()
	if !ok {
		return attendance.Record{}, fmt.Errorf("attendance %d: %w", e.Seq, ErrNotFound)
	}
	if v := r.tx.Bucket(bucketOverlay).Get(keySeq(e.Seq)); v != nil {
		in := attendance.NewReader(v)
		in.Version(1)
		record.FirstSeenAt, record.UpdatedAt = in.Millis(), in.Millis()
		if err := in.Err(); err != nil {
			return attendance.Record{}, fmt.Errorf("%w: overlay of %d: %w", ErrCorrupt, e.Seq, err)
		}
	}
	return record, nil
}

// Neighbours gives the greatest accepted time ≤ t and the least > t of a (user,
// type), as far as they lie nearer than within; nil where there is none.
//
// It only walks forward: going back, a bbolt cursor gives nothing where it meets
// a page that was emptied in the same transaction, and the neighbour behind it
// would be missed. Accepted times are a window apart, so there are few to walk
// over; only where the window was widened by a lot are there more.
func (r *ReadTx) Neighbours(user uint64, kind attendance.Kind, t, within attendance.Millis) (prev, next *attendance.Accepted) {
	c := r.tx.Bucket(bucketTimes).Cursor()
	from, to := t-within+1, t+within-1
	for day := attendance.UTCDay(from); day <= attendance.UTCDay(to); day++ {
		prefix := keyTime(day, user, kind, 0)[:timePrefixLen]
		for k, v := c.Seek(keyTime(day, user, kind, from)); bytes.HasPrefix(k, prefix); k, v = c.Next() {
			a := attendance.Accepted{At: millisOf(k[timePrefixLen:])}
			a.Seq, _ = binary.Uvarint(v)
			switch {
			case a.At <= t:
				prev = &a
			case a.At <= to:
				return prev, &a
			default:
				return prev, nil
			}
		}
	}
	return prev, nil
}

// KeyRow is what an idempotency key stands for.
type KeyRow struct {
	Hash    attendance.BodyHash
	Elapsed attendance.Millis // when it was decided, on the axis of Meta.Elapsed
	Seq     uint64            // the event that decided it
}

// Key gives what a key stands for, if it still answers.
func (r *ReadTx) Key(p attendance.Principal, key string) (row KeyRow, ok bool, err error) {
	// One cursor for all look-ups: Get would allocate one for each.
	c := r.tx.Bucket(bucketKeys).Cursor()
	floor := r.meta.KeyFloor
	k := keyKey(0, p, key)
	for day := attendance.UTCDay(r.meta.Elapsed()); day >= attendance.UTCDay(floor); day-- {
		appendDay(k[:0], day)
		at, v := c.Seek(k)
		if !bytes.Equal(at, k) {
			continue
		}
		in := attendance.NewReader(v)
		in.Version(1)
		hash := in.Bytes()
		row.Elapsed, row.Seq = in.Millis(), in.Uint()
		if err := in.Err(); err != nil || len(hash) != len(row.Hash) {
			return KeyRow{}, false, fmt.Errorf("%w: key row: %w", ErrCorrupt, errors.Join(err, attendance.ErrCanon))
		}
		row.Hash = attendance.BodyHash(hash)
		if row.Elapsed > floor {
			return row, true, nil
		}
	}
	return KeyRow{}, false, nil
}

// Outcome gives the answer that an event stands for.
func (r *ReadTx) Outcome(seq uint64) (attendance.Outcome, error) {
	e, err := r.Event(seq)
	if err != nil {
		return attendance.Outcome{}, err
	}
	return r.OutcomeOf(e)
}

// OutcomeOf gives the answer that an event stands for, with the record that it
// names.
func (r *ReadTx) OutcomeOf(e attendance.Event) (attendance.Outcome, error) {
	var winner attendance.Record
	if tap, ok := e.Detail.(attendance.Tap); ok && tap.Winner != 0 {
		won, err := r.Event(tap.Winner)
		switch {
		case errors.Is(err, ErrNotFound):
			// Dropped by retention: what the event itself says is left.
			winner = attendance.Record{UserID: tap.UserID, Kind: tap.Kind}
		case err != nil:
			return attendance.Outcome{}, err
		default:
			winner, _ = won.Record()
		}
	}
	return e.Outcome(winner), nil
}

// User gives a user, or ErrNotFound.
func (r *ReadTx) User(id uint64) (attendance.User, error) {
	return get(r.tx, bucketUsers, keySeq(id), attendance.DecodeUser)
}

// UserByEmail gives the user with an address, whatever its case, or ErrNotFound.
func (r *ReadTx) UserByEmail(email string) (attendance.User, error) {
	v := r.tx.Bucket(bucketEmails).Get([]byte(attendance.FoldEmail(email)))
	if v == nil {
		return attendance.User{}, fmt.Errorf("user: %w", ErrNotFound)
	}
	return r.User(seqOf(v))
}

// Users gives users by id after one, at most limit of them.
func (r *ReadTx) Users(after uint64, limit int) ([]attendance.User, error) {
	return list(r.tx, bucketUsers, after, limit, attendance.DecodeUser)
}

// PasswordHash gives a user's encoded password hash; "" when none is set.
func (r *ReadTx) PasswordHash(user uint64) string {
	return string(r.tx.Bucket(bucketPasswords).Get(keySeq(user)))
}

// Group gives a group, or ErrNotFound.
func (r *ReadTx) Group(id uint64) (attendance.Group, error) {
	return get(r.tx, bucketGroups, keySeq(id), attendance.DecodeGroup)
}

// Groups gives groups by id after one, at most limit of them.
func (r *ReadTx) Groups(after uint64, limit int) ([]attendance.Group, error) {
	return list(r.tx, bucketGroups, after, limit, attendance.DecodeGroup)
}

// People gives who belongs to a group in one way, by user id after one, at most
// limit of them.
func (r *ReadTx) People(group uint64, part Part, after uint64, limit int) []uint64 {
	return pairs(r.tx, bucketMembers, group, part, after, min(limit, MaxPage))
}

// GroupsOf gives to which groups a user belongs in one way, at most 10 000.
func (r *ReadTx) GroupsOf(user uint64, part Part) []uint64 {
	return pairs(r.tx, bucketMemberships, user, part, 0, maxGroupsOf)
}

// maxGroupsOf bounds what one person's groups can cost; nobody is in so many.
const maxGroupsOf = 10_000

// Belongs reports whether a user belongs to a group in one way.
func (r *ReadTx) Belongs(group uint64, part Part, user uint64) bool {
	return r.tx.Bucket(bucketMembers).Get(keyPair(group, []byte{byte(part)}, user)) != nil
}

func pairs(tx *bbolt.Tx, bucket []byte, a uint64, part Part, after uint64, limit int) []uint64 {
	if after == math.MaxUint64 {
		return nil
	}
	prefix := keyPair(a, []byte{byte(part)}, 0)[:9]
	c := tx.Bucket(bucket).Cursor()
	var out []uint64
	for k, _ := c.Seek(keyPair(a, []byte{byte(part)}, after+1)); bytes.HasPrefix(k, prefix) && len(out) < limit; k, _ = c.Next() {
		out = append(out, seqOf(k[9:]))
	}
	return out
}

// Token gives a device token, or ErrNotFound.
func (r *ReadTx) Token(id uint64) (attendance.Token, error) {
	return get(r.tx, bucketTokens, keySeq(id), attendance.DecodeToken)
}

// TokenByHash gives the device token with a hash, or ErrNotFound.
func (r *ReadTx) TokenByHash(hash [32]byte) (attendance.Token, error) {
	v := r.tx.Bucket(bucketTokenHashes).Get(hash[:])
	if v == nil {
		return attendance.Token{}, fmt.Errorf("token: %w", ErrNotFound)
	}
	return r.Token(seqOf(v))
}

// Tokens gives device tokens by id after one, at most limit of them.
func (r *ReadTx) Tokens(after uint64, limit int) ([]attendance.Token, error) {
	return list(r.tx, bucketTokens, after, limit, attendance.DecodeToken)
}

// Secret gives a shared secret, or ErrNotFound.
func (r *ReadTx) Secret(name string) (attendance.Secret, error) {
	return get(r.tx, bucketSecrets, []byte(name), attendance.DecodeSecret)
}

// Marks gives how far each export target has come.
func (r *ReadTx) Marks() map[string]uint64 {
	marks := make(map[string]uint64)
	c := r.tx.Bucket(bucketMarks).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		marks[string(k)], _ = binary.Uvarint(v)
	}
	return marks
}

// IsOpen reports whether a person has to decide about the event.
func (r *ReadTx) IsOpen(seq uint64) bool { return r.tx.Bucket(bucketOpen).Get(keySeq(seq)) != nil }

// Open gives the events that a person has to decide about, by seq after one, at
// most limit of them.
func (r *ReadTx) Open(after uint64, limit int) []uint64 {
	if after >= r.meta.Seq {
		return nil
	}
	var out []uint64
	c := r.tx.Bucket(bucketOpen).Cursor()
	for k, _ := c.Seek(keySeq(after + 1)); k != nil && len(out) < min(limit, MaxPage); k, _ = c.Next() {
		out = append(out, seqOf(k))
	}
	return out
}

// ResolvedBy gives the event by which a person resolved a review.
func (r *ReadTx) ResolvedBy(seq uint64) (uint64, bool) {
	v := r.tx.Bucket(bucketResolved).Get(keySeq(seq))
	if v == nil {
		return 0, false
	}
	by, _ := binary.Uvarint(v)
	return by, true
}

// Trail gives the later events about a record, by seq after one, at most limit
// of them.
func (r *ReadTx) Trail(record, after uint64, limit int) []uint64 {
	if after >= r.meta.Seq {
		return nil
	}
	prefix := keySeq(record)
	var out []uint64
	c := r.tx.Bucket(bucketTrail).Cursor()
	for k, _ := c.Seek(keyPair(record, nil, after+1)); bytes.HasPrefix(k, prefix) && len(out) < min(limit, MaxPage); k, _ = c.Next() {
		out = append(out, seqOf(k[8:]))
	}
	return out
}

// DayStats are the counters of one local day.
type DayStats struct {
	Minutes map[attendance.Kind]map[int]uint64    // accepted, by minute of the day
	Nodes   map[attendance.Kind]map[string]uint64 // accepted, by receiving node
	Types   map[attendance.EventType]uint64       // every decision about a tap
}

// Stats gives the counters of a local day.
func (r *ReadTx) Stats(day attendance.Day) DayStats {
	s := DayStats{
		Minutes: map[attendance.Kind]map[int]uint64{attendance.In: {}, attendance.Out: {}},
		Nodes:   map[attendance.Kind]map[string]uint64{attendance.In: {}, attendance.Out: {}},
		Types:   map[attendance.EventType]uint64{},
	}
	prefix := appendDay(nil, day)
	c := r.tx.Bucket(bucketStats).Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		n, _ := binary.Uvarint(v)
		switch rest := k[5:]; k[4] {
		case statMinute:
			put(s.Minutes, attendance.Kind(rest[0]), int(binary.BigEndian.Uint16(rest[1:])), n)
		case statNode:
			put(s.Nodes, attendance.Kind(rest[0]), string(rest[1:]), n)
		case statType:
			s.Types[attendance.EventType(rest[0])] = n
		}
	}
	return s
}

func put[K comparable](counts map[attendance.Kind]map[K]uint64, kind attendance.Kind, k K, n uint64) {
	if counts[kind] == nil {
		counts[kind] = map[K]uint64{}
	}
	counts[kind][k] = n
}

func get[T any](tx *bbolt.Tx, bucket, key []byte, decode func([]byte) (T, error)) (T, error) {
	var none T
	v := tx.Bucket(bucket).Get(key)
	if v == nil {
		return none, fmt.Errorf("%s: %w", bucket, ErrNotFound)
	}
	out, err := decode(v)
	if err != nil {
		return none, fmt.Errorf("%w: %s: %w", ErrCorrupt, bucket, err)
	}
	return out, nil
}

func list[T any](tx *bbolt.Tx, bucket []byte, after uint64, limit int, decode func([]byte) (T, error)) ([]T, error) {
	if after == math.MaxUint64 {
		return nil, nil
	}
	var out []T
	c := tx.Bucket(bucket).Cursor()
	for k, v := c.Seek(keySeq(after + 1)); k != nil && len(out) < min(limit, MaxPage); k, v = c.Next() {
		item, err := decode(v)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, bucket, err)
		}
		out = append(out, item)
	}
	return slices.Clip(out), nil
}
