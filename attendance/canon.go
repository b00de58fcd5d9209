package attendance

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// The canonical encoding: fields in a fixed order, integers as minimal varints
// (signed ones zigzag), strings and byte strings behind their length, one byte
// for a bool. A value has exactly one encoding and an encoding exactly one
// value, so equal bytes mean equal content. Every stored layout starts with a
// version byte; a new field gets a new version at the end, and every version
// ever written stays readable (tests/compat).

// ErrCanon says that stored bytes are not a canonical encoding: the file was
// damaged or written by a newer version.
var ErrCanon = errors.New("not a canonical encoding")

// Writer appends canonical fields to a byte slice. The zero value is ready.
type Writer struct{ b []byte }

// NewWriter gives a writer that appends to b.
func NewWriter(b []byte) *Writer { return &Writer{b: b} }

// Data gives what was written.
func (w *Writer) Data() []byte { return w.b }

// Uint writes an unsigned integer.
func (w *Writer) Uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

// Int writes a signed integer.
func (w *Writer) Int(v int64) { w.b = binary.AppendVarint(w.b, v) }

// Millis writes an instant or a duration.
func (w *Writer) Millis(m Millis) { w.Int(int64(m)) }

// Bool writes one byte, 0 or 1.
func (w *Writer) Bool(v bool) {
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

// String writes a string behind its length.
func (w *Writer) String(s string) {
	w.Uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

// Bytes writes a byte string behind its length.
func (w *Writer) Bytes(b []byte) {
	w.Uint(uint64(len(b)))
	w.b = append(w.b, b...)
}

// IDs writes a list of ids behind its length.
func (w *Writer) IDs(ids []uint64) {
	w.Uint(uint64(len(ids)))
	for _, id := range ids {
		w.Uint(id)
	}
}

// Reader takes canonical fields off a byte slice. After the first mistake every
// field reads as zero and Err says what was wrong. What it returns never points
// into the input, which may be memory of a database transaction.
type Reader struct {
	b   []byte
	err error
}

// NewReader gives a reader of b.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err gives the first mistake; bytes left over are one.
func (r *Reader) Err() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("%w: %d bytes left over", ErrCanon, len(r.b))
	}
	return r.err
}

func (r *Reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCanon, what)
	}
	r.b = nil
}

// Version reads a version byte, which must be within 1 … newest.
func (r *Reader) Version(newest uint64) uint64 {
	v := r.Uint()
	if r.err == nil && (v == 0 || v > newest) {
		r.fail(fmt.Sprintf("layout version %d, this binary reads 1 … %d", v, newest))
	}
	return v
}

// Uint reads an unsigned integer.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || (n > 1 && r.b[n-1] == 0) { // a last byte 0 would be a longer form of the same value
		r.fail("bad integer")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Small reads an unsigned integer of at most 8 bits.
func (r *Reader) Small() uint8 {
	v := r.Uint()
	if v > 255 {
		r.fail("integer is out of range")
		return 0
	}
	return uint8(v)
}

// Int reads a signed integer.
func (r *Reader) Int() int64 {
	u := r.Uint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

// Int32 reads a signed integer of at most 32 bits.
func (r *Reader) Int32() int32 {
	v := r.Int()
	if v != int64(int32(v)) {
		r.fail("integer is out of range")
		return 0
	}
	return int32(v)
}

// Uint32 reads an unsigned integer of at most 32 bits.
func (r *Reader) Uint32() uint32 {
	v := r.Uint()
	if v != uint64(uint32(v)) {
		r.fail("integer is out of range")
		return 0
	}
	return uint32(v)
}

// Millis reads an instant or a duration.
func (r *Reader) Millis() Millis { return Millis(r.Int()) }

// Bool reads one byte, 0 or 1.
func (r *Reader) Bool() bool {
	if len(r.b) == 0 || r.b[0] > 1 {
		r.fail("bad bool")
		return false
	}
	v := r.b[0] == 1
	r.b = r.b[1:]
	return v
}

// String reads a string.
func (r *Reader) String() string { return string(r.take()) }

// Bytes reads a byte string; nil when it is empty.
func (r *Reader) Bytes() []byte {
	b := r.take()
	if len(b) == 0 {
		return nil
	}
	return slices.Clone(b)
}

func (r *Reader) take() []byte {
	n := r.Uint()
	if n > uint64(len(r.b)) {
		r.fail("length is over the end")
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// IDs reads a list of ids; nil when it is empty.
func (r *Reader) IDs() []uint64 {
	n := r.Uint()
	if n > uint64(len(r.b)) { // an id takes a byte at least
		r.fail("length is over the end")
		return nil
	}
	if n == 0 {
		return nil
	}
	ids := make([]uint64, n)
	for i := range ids {
		ids[i] = r.Uint()
	}
	return ids
}

// Hash is a SHA-256 sum.
type Hash [sha256.Size]byte

// String gives the hash in hexadecimal.
func (h Hash) String() string { return fmt.Sprintf("%x", h[:]) }

// Chain gives the chain hash after an event: it covers the event's bytes and,
// through prev, every event before it. Nodes with equal chain hashes at one seq
// hold the same history.
func Chain(prev Hash, event []byte) Hash {
	h := sha256.New()
	h.Write([]byte("hadir-chain-1"))
	h.Write(prev[:])
	h.Write(event)
	var out Hash
	h.Sum(out[:0])
	return out
}

// BodyHash is the part of a SHA-256 sum that is kept with an idempotency key.
type BodyHash [16]byte

// BodyHash gives the hash of what the key protects: the operation and the
// fields that the client chose. What the door adds (receipt, salted password
// hashes, drawn secrets) is left out, so that a retry is recognised.
func (c Command) BodyHash() BodyHash {
	w := NewWriter(make([]byte, 0, 128))
	w.String("hadir-body-1")
	w.Uint(uint64(c.Body.Op()))
	c.Body.canon(w)
	sum := sha256.Sum256(w.Data())
	return BodyHash(sum[:16])
}

func (b CheckIn) canon(w *Writer) {
	w.Uint(b.UserID)
	w.Uint(uint64(b.Kind))
	b.Location.canon(w)
	w.Millis(b.ClientTime)
	w.Bool(b.Offline)
}

func (b PutUser) canon(w *Writer) {
	w.Uint(b.UserID)
	w.String(b.Name)
	w.String(b.Email)
	w.Uint(uint64(b.Role))
	w.Bool(b.Active)
}

func (b DeactivateUser) canon(w *Writer) { w.Uint(b.UserID) }

func (b SetPassword) canon(w *Writer) { w.Uint(b.UserID) }

func (b PutGroup) canon(w *Writer) {
	w.Uint(b.GroupID)
	w.String(b.Name)
	w.Uint(uint64(b.Kind))
	w.IDs(b.AddMembers)
	w.IDs(b.RemoveMembers)
	w.IDs(b.AddTeachers)
	w.IDs(b.RemoveTeachers)
}

func (b DeleteGroup) canon(w *Writer) { w.Uint(b.GroupID) }

func (b SetParams) canon(w *Writer) { b.Params.canon(w) }

func (b SetClock) canon(w *Writer) { w.Millis(b.Clock) }

func (b SetLevel) canon(w *Writer) { w.Uint(uint64(b.Level)) }

func (b RotateSecret) canon(w *Writer) {
	w.String(b.Name)
	w.Bool(b.DropPrevious)
}

func (b BumpSessionEpoch) canon(w *Writer) { w.Uint(b.UserID) }

func (b ExportMark) canon(w *Writer) {
	w.String(b.Target)
	w.Uint(b.Seq)
	w.Bool(b.Retired)
}

func (b Resolve) canon(w *Writer) {
	w.Uint(b.Seq)
	w.Bool(b.Accept)
	w.String(b.Note)
}

func (b Prune) canon(w *Writer) {
	w.Millis(b.Floor)
	w.Uint(b.ThroughSeq)
}

func (b Verify) canon(w *Writer) {
	w.Uint(b.Seq)
	w.Bytes(b.Hash[:])
}

func (b PutToken) canon(w *Writer) {
	w.Uint(b.TokenID)
	w.String(b.Name)
	w.IDs(b.Groups)
}

func (b RevokeToken) canon(w *Writer) { w.Uint(b.TokenID) }

func (b Audit) canon(w *Writer) {
	w.String(b.Action)
	w.String(b.Subject)
	w.String(b.Note)
}

func (l Location) canon(w *Writer) {
	w.Bool(l.Known)
	if l.Known {
		w.Int(int64(l.LatE7))
		w.Int(int64(l.LonE7))
		w.Uint(uint64(l.AccuracyCM))
	} else {
		w.Uint(uint64(l.Error))
	}
}

func readLocation(r *Reader) Location {
	l := Location{Known: r.Bool()}
	if l.Known {
		l.LatE7, l.LonE7, l.AccuracyCM = r.Int32(), r.Int32(), r.Uint32()
	} else {
		l.Error = LocationError(r.Small())
	}
	return l
}

func (p Params) canon(w *Writer) {
	w.Uint(1)
	w.Millis(p.Window)
	w.Millis(p.Skew)
	w.Millis(p.Deferral)
	w.Millis(p.KeyRetention)
	w.Uint(p.ExportMargin)
	w.String(p.Zone.Name)
	w.Uint(uint64(len(p.Zone.Changes)))
	for _, c := range p.Zone.Changes {
		w.Millis(c.From)
		w.Int(int64(c.OffsetS))
	}
}

func readParams(r *Reader) Params {
	r.Version(1)
	p := Params{
		Window: r.Millis(), Skew: r.Millis(), Deferral: r.Millis(), KeyRetention: r.Millis(), ExportMargin: r.Uint(),
		Zone: Zone{Name: r.String()},
	}
	n := r.Uint()
	if n > MaxZoneChanges {
		r.fail("too many time zone changes")
		return Params{}
	}
	for range n {
		p.Zone.Changes = append(p.Zone.Changes, ZoneChange{From: r.Millis(), OffsetS: r.Int32()})
	}
	return p
}

// Encode gives the stored form of the parameters.
func (p Params) Encode() []byte { return encode(p.canon) }

// DecodeParams reads what Encode wrote.
func DecodeParams(b []byte) (Params, error) { return decode(b, readParams) }

func (u User) canon(w *Writer) {
	w.Uint(1)
	w.Uint(u.ID)
	w.String(u.Name)
	w.String(u.Email)
	w.Uint(uint64(u.Role))
	w.Bool(u.Active)
	w.Uint(u.SessionEpoch)
	w.Millis(u.CreatedAt)
	w.Millis(u.UpdatedAt)
}

func readUser(r *Reader) User {
	r.Version(1)
	return User{
		ID: r.Uint(), Name: r.String(), Email: r.String(), Role: Role(r.Small()), Active: r.Bool(),
		SessionEpoch: r.Uint(), CreatedAt: r.Millis(), UpdatedAt: r.Millis(),
	}
}

// Encode gives the stored form of the user.
func (u User) Encode() []byte { return encode(u.canon) }

// DecodeUser reads what Encode wrote.
func DecodeUser(b []byte) (User, error) { return decode(b, readUser) }

func (g Group) canon(w *Writer) {
	w.Uint(1)
	w.Uint(g.ID)
	w.String(g.Name)
	w.Uint(uint64(g.Kind))
	w.Uint(g.Members)
	w.Uint(g.Teachers)
	w.Millis(g.CreatedAt)
	w.Millis(g.UpdatedAt)
}

func readGroup(r *Reader) Group {
	r.Version(1)
	return Group{
		ID: r.Uint(), Name: r.String(), Kind: GroupKind(r.Small()), Members: r.Uint(), Teachers: r.Uint(),
		CreatedAt: r.Millis(), UpdatedAt: r.Millis(),
	}
}

// Encode gives the stored form of the group.
func (g Group) Encode() []byte { return encode(g.canon) }

// DecodeGroup reads what Encode wrote.
func DecodeGroup(b []byte) (Group, error) { return decode(b, readGroup) }

func (t Token) canon(w *Writer) {
	w.Uint(1)
	w.Uint(t.ID)
	w.String(t.Name)
	w.Bytes(t.Hash[:])
	w.IDs(t.Groups)
	w.Bool(t.Revoked)
	w.Millis(t.CreatedAt)
	w.Millis(t.UpdatedAt)
}

func readToken(r *Reader) Token {
	r.Version(1)
	t := Token{ID: r.Uint(), Name: r.String()}
	if hash := r.Bytes(); len(hash) == len(t.Hash) {
		t.Hash = [32]byte(hash)
	} else {
		r.fail("token hash has another length")
	}
	t.Groups, t.Revoked, t.CreatedAt, t.UpdatedAt = r.IDs(), r.Bool(), r.Millis(), r.Millis()
	return t
}

// Encode gives the stored form of the token.
func (t Token) Encode() []byte { return encode(t.canon) }

// DecodeToken reads what Encode wrote.
func DecodeToken(b []byte) (Token, error) { return decode(b, readToken) }

func (s Secret) canon(w *Writer) {
	w.Uint(1)
	w.String(s.Name)
	w.Uint(s.ID)
	w.Bytes(s.Value)
	w.Bytes(s.Previous)
	w.Millis(s.At)
}

func readSecret(r *Reader) Secret {
	r.Version(1)
	return Secret{Name: r.String(), ID: r.Uint(), Value: r.Bytes(), Previous: r.Bytes(), At: r.Millis()}
}

// Encode gives the stored form of the secret.
func (s Secret) Encode() []byte { return encode(s.canon) }

// DecodeSecret reads what Encode wrote.
func DecodeSecret(b []byte) (Secret, error) { return decode(b, readSecret) }

func encode(canon func(*Writer)) []byte {
	w := NewWriter(make([]byte, 0, 240))
	canon(w)
	return w.Data()
}

func decode[T any](b []byte, read func(*Reader) T) (T, error) {
	r := NewReader(b)
	v := read(r)
	if err := r.Err(); err != nil {
		var none T
		return none, err
	}
	return v, nil
}
