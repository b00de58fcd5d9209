package store

import (
	"encoding/binary"
	"errors"

	"hadir/attendance"
)

// Schema is the layout of state.db that this binary reads and writes.
const Schema = 1

// Sentinel errors. Each is wrapped with a line that says what to do.
var (
	// ErrCorrupt: the file is damaged, or holds something that cannot be.
	ErrCorrupt = errors.New("data file is damaged")
	// ErrFutureSchema: a newer binary wrote the file.
	ErrFutureSchema = errors.New("data file was written by a newer version of hadir")
	// ErrLocked: another process has the file open.
	ErrLocked = errors.New("data file is in use by another process")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrBackup: the stream is no backup, or not as it was written.
	ErrBackup = errors.New("backup is damaged or incomplete")
)

// Buckets of state.db.
var (
	bucketMeta        = []byte("meta")
	bucketEvents      = []byte("events")
	bucketChain       = []byte("chain")
	bucketRecent      = []byte("recent")
	bucketDays        = []byte("days")
	bucketTimes       = []byte("times")
	bucketKeys        = []byte("keys")
	bucketOverlay     = []byte("overlay")
	bucketTrail       = []byte("trail")
	bucketOpen        = []byte("open")
	bucketResolved    = []byte("resolved")
	bucketStats       = []byte("stats")
	bucketUsers       = []byte("users")
	bucketEmails      = []byte("emails")
	bucketPasswords   = []byte("passwords")
	bucketGroups      = []byte("groups")
	bucketMembers     = []byte("members")
	bucketMemberships = []byte("memberships")
	bucketTokens      = []byte("tokens")
	bucketTokenHashes = []byte("token_hashes")
	bucketSecrets     = []byte("secrets")
	bucketMarks       = []byte("marks")

	allBuckets = [][]byte{
		bucketMeta, bucketEvents, bucketChain, bucketRecent, bucketDays, bucketTimes, bucketKeys, bucketOverlay,
		bucketTrail, bucketOpen, bucketResolved, bucketStats, bucketUsers, bucketEmails, bucketPasswords,
		bucketGroups, bucketMembers, bucketMemberships, bucketTokens, bucketTokenHashes, bucketSecrets, bucketMarks,
	}
)

// Rows of the meta bucket.
var (
	rowState         = []byte("state")
	rowSchema        = []byte("schema")
	rowParams        = []byte("params")
	rowConfiguration = []byte("configuration")
)

// appendFill is the fill percentage of buckets that only ever grow at the end:
// a split leaves the left page nearly full instead of half empty.
const appendFill = 0.95

// Keys are big-endian and of fixed width up to their last field, so that their
// byte order is the order of their values.

func keySeq(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func seqOf(k []byte) uint64 { return binary.BigEndian.Uint64(k) }

func appendDay(b []byte, d attendance.Day) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(d)^1<<31) // days before 1970 sort first
}

func dayOf(k []byte) attendance.Day { return attendance.Day(binary.BigEndian.Uint32(k) ^ 1<<31) }

func appendMillis(b []byte, m attendance.Millis) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(m)^1<<63)
}

func millisOf(k []byte) attendance.Millis {
	return attendance.Millis(binary.BigEndian.Uint64(k) ^ 1<<63)
}

// days: day(4) time(8) seq(8)
func keyDay(day attendance.Day, at attendance.Millis, seq uint64) []byte {
	b := make([]byte, 0, 20)
	b = appendDay(b, day)
	b = appendMillis(b, at)
	return binary.BigEndian.AppendUint64(b, seq)
}

// times: UTC day(4) user(8) type(1) time(8)
func keyTime(day attendance.Day, user uint64, kind attendance.Kind, at attendance.Millis) []byte {
	b := make([]byte, 0, timeKeyLen)
	b = appendDay(b, day)
	b = binary.BigEndian.AppendUint64(b, user)
	b = append(b, byte(kind))
	return appendMillis(b, at)
}

const (
	timeKeyLen    = 21
	timePrefixLen = 13 // day, user, type
	userPrefixLen = 12 // day, user
)

// keys: day of decision, on the age axis(4) principal kind(1) principal id(8) key
func keyKey(day attendance.Day, p attendance.Principal, key string) []byte {
	b := make([]byte, 0, 13+len(key))
	b = appendDay(b, day)
	b = append(b, byte(p.Kind))
	b = binary.BigEndian.AppendUint64(b, p.ID)
	return append(b, key...)
}

// members: group(8) class(1) user(8); memberships: user(8) class(1) group(8);
// trail: record(8) seq(8)
func keyPair(a uint64, class []byte, b uint64) []byte {
	k := make([]byte, 0, 17)
	k = binary.BigEndian.AppendUint64(k, a)
	k = append(k, class...)
	return binary.BigEndian.AppendUint64(k, b)
}

// Part says in which way somebody belongs to a group.
type Part byte

// The parts.
const (
	Member      Part = 1
	Responsible Part = 2 // teacher of the group
)

// stats: day(4) class(1) …
const (
	statMinute = 'm' // type(1) minute(2): accepted
	statNode   = 'n' // type(1) node: accepted
	statType   = 't' // event type(1): all events about taps
)

func keyStat(day attendance.Day, class byte, rest ...byte) []byte {
	b := make([]byte, 0, 5+len(rest))
	b = appendDay(b, day)
	b = append(b, class)
	return append(b, rest...)
}

// Meta is the row of scalars. Every field is part of the replicated state.
type Meta struct {
	Cluster      attendance.ClusterID // zero until the first entry
	Epoch        uint64               // of this history: grows with each restore and recovery; 1 at first
	Level        uint32               // command level that may be proposed
	Applied      uint64               // raft index of the last applied entry
	Term         uint64               // and its term
	Clock        attendance.Millis    // greatest proposal time seen
	SetBack      attendance.Millis    // by how much SetClock has set it back in all
	KeyFloor     attendance.Millis    // on the axis Clock + SetBack: keys decided at or before it are void
	Floor        attendance.Millis    // accepted times below it may be gone
	PruneThrough uint64               // events up to it may be dropped
	FirstSeq     uint64               // oldest event that is kept; Seq + 1 when none is
	Seq          uint64               // newest event
	Chain        attendance.Hash      // over all events ever
	NextUser     uint64
	NextGroup    uint64
	NextToken    uint64
	Admins       uint64 // active administrators
	Users        uint64
	Groups       uint64
	Records      uint64 // attendance records ever made
	SessionEpoch uint64 // sessions of everybody under a smaller one are void
}

// Elapsed is logical time that never falls: the clock, as if it had never been
// set back. Retention is measured along it, so that deleting what has expired
// can change no answer, whatever SetClock does.
func (m Meta) Elapsed() attendance.Millis { return m.Clock + m.SetBack }

func newMeta() Meta {
	return Meta{Epoch: 1, Level: 1, KeyFloor: -1, FirstSeq: 1, NextUser: 1, NextGroup: 1, NextToken: 1}
}

func (m Meta) encode() []byte {
	w := attendance.NewWriter(make([]byte, 0, 192))
	w.Uint(1)
	w.Bytes(m.Cluster[:])
	w.Uint(m.Epoch)
	w.Uint(uint64(m.Level))
	w.Uint(m.Applied)
	w.Uint(m.Term)
	w.Millis(m.Clock)
	w.Millis(m.SetBack)
	w.Millis(m.KeyFloor)
	w.Millis(m.Floor)
	w.Uint(m.PruneThrough)
	w.Uint(m.FirstSeq)
	w.Uint(m.Seq)
	w.Bytes(m.Chain[:])
	for _, v := range []uint64{m.NextUser, m.NextGroup, m.NextToken, m.Admins, m.Users, m.Groups, m.Records, m.SessionEpoch} {
		w.Uint(v)
	}
	return w.Data()
}

func decodeMeta(b []byte) (Meta, error) {
	r := attendance.NewReader(b)
	r.Version(1)
	var m Meta
	cluster := r.Bytes()
	m.Epoch, m.Level = r.Uint(), r.Uint32()
	m.Applied, m.Term = r.Uint(), r.Uint()
	m.Clock, m.SetBack, m.KeyFloor, m.Floor = r.Millis(), r.Millis(), r.Millis(), r.Millis()
	m.PruneThrough, m.FirstSeq, m.Seq = r.Uint(), r.Uint(), r.Uint()
	chain := r.Bytes()
	for _, v := range []*uint64{&m.NextUser, &m.NextGroup, &m.NextToken, &m.Admins, &m.Users, &m.Groups, &m.Records, &m.SessionEpoch} {
		*v = r.Uint()
	}
	if err := r.Err(); err != nil {
		return Meta{}, err
	}
	if len(cluster) != len(m.Cluster) || len(chain) != len(m.Chain) {
		return Meta{}, attendance.ErrCanon
	}
	m.Cluster, m.Chain = attendance.ClusterID(cluster), attendance.Hash(chain)
	return m, nil
}
