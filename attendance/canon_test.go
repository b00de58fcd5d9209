package attendance

import (
	"bytes"
	"errors"
	goflag "flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// stored is one type that is written by hand and kept for ever.
type stored struct {
	name   string
	draw   func(*rapid.T) (value any, encoded []byte)
	decode func([]byte) (value any, encoded []byte, err error)
}

func storedType[T interface{ Encode() []byte }](name string, draw func(*rapid.T) T, decode func([]byte) (T, error)) stored {
	return stored{
		name: name,
		draw: func(t *rapid.T) (any, []byte) { v := draw(t); return v, v.Encode() },
		decode: func(b []byte) (any, []byte, error) {
			v, err := decode(b)
			if err != nil {
				return v, nil, err
			}
			return v, v.Encode(), nil
		},
	}
}

func storedTypes() []stored {
	out := []stored{
		storedType("user", anyUser, DecodeUser), storedType("group", anyGroup, DecodeGroup), storedType("token", anyToken, DecodeToken),
		storedType("secret", anySecret, DecodeSecret), storedType("params", anyParams, DecodeParams),
	}
	for typ := TapAccepted; typ <= lastEventType; typ++ {
		out = append(out, storedType("event "+typ.String(), func(t *rapid.T) Event { return anyEvent(t, typ) }, DecodeEvent))
	}
	return out
}

// What is stored comes back as it was, and any change of the bytes is either
// refused or another value: there is one encoding of a value.
func TestCanonRoundTrip(t *testing.T) {
	for _, s := range storedTypes() {
		t.Run(s.name, func(t *testing.T) {
			property(t, func(t *rapid.T) {
				value, b := s.draw(t)
				got, again, err := s.decode(b)
				if err != nil || !reflect.DeepEqual(got, value) || !bytes.Equal(again, b) {
					t.Fatalf("%#v became %#v, %v", value, got, err)
				}
				if _, _, err := s.decode(append(b[:len(b):len(b)], 0)); !errors.Is(err, ErrCanon) {
					t.Fatalf("a byte too many: %v", err)
				}
				if _, _, err := s.decode(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]); !errors.Is(err, ErrCanon) {
					t.Fatalf("cut off: %v", err)
				}
				damaged := bytes.Clone(b)
				damaged[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
				other, again, err := s.decode(damaged)
				switch {
				case err != nil:
					if !errors.Is(err, ErrCanon) {
						t.Fatalf("damaged: %v", err)
					}
				case reflect.DeepEqual(other, value):
					t.Fatalf("%x and %x are both %#v", b, damaged, value)
				case !bytes.Equal(again, damaged):
					t.Fatalf("%x was read, but is written as %x", damaged, again)
				}
			})
		})
	}
}

// The reader refuses every second way to say the same, and whatever does not
// fit.
func TestReaderIsStrict(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		read func(*Reader) any
		want any // nil: refused
	}{
		{"integer", []byte{0x80, 0x01}, func(r *Reader) any { return r.Uint() }, uint64(128)},
		{"greatest integer", append(bytes.Repeat([]byte{0xff}, 9), 1), func(r *Reader) any { return r.Uint() }, ^uint64(0)},
		{"integer in a longer form", []byte{0x81, 0x00}, func(r *Reader) any { return r.Uint() }, nil},
		{"0 in a longer form", []byte{0x80, 0x00}, func(r *Reader) any { return r.Uint() }, nil},
		{"integer over 64 bits", append(bytes.Repeat([]byte{0xff}, 9), 2), func(r *Reader) any { return r.Uint() }, nil},
		{"integer over 10 bytes", bytes.Repeat([]byte{0x80}, 11), func(r *Reader) any { return r.Uint() }, nil},
		{"integer cut off", []byte{0x80}, func(r *Reader) any { return r.Uint() }, nil},
		{"no integer", nil, func(r *Reader) any { return r.Uint() }, nil},
		{"least signed", append(bytes.Repeat([]byte{0xff}, 9), 1), func(r *Reader) any { return r.Int() }, int64(-1 << 63)},
		{"signed in a longer form", []byte{0x82, 0x00}, func(r *Reader) any { return r.Int() }, nil},
		{"small", []byte{0xff, 0x01}, func(r *Reader) any { return r.Small() }, uint8(255)},
		{"small over 255", []byte{0x80, 0x02}, func(r *Reader) any { return r.Small() }, nil},
		{"32 bits", NewWriter(nil).int(-1 << 31), func(r *Reader) any { return r.Int32() }, int32(-1 << 31)},
		{"over 32 bits", NewWriter(nil).int(1 << 31), func(r *Reader) any { return r.Int32() }, nil},
		{"under 32 bits", NewWriter(nil).int(-1<<31 - 1), func(r *Reader) any { return r.Int32() }, nil},
		{"unsigned over 32 bits", []byte{0x80, 0x80, 0x80, 0x80, 0x10}, func(r *Reader) any { return r.Uint32() }, nil},
		{"true", []byte{1}, func(r *Reader) any { return r.Bool() }, true},
		{"bool 2", []byte{2}, func(r *Reader) any { return r.Bool() }, nil},
		{"no bool", nil, func(r *Reader) any { return r.Bool() }, nil},
		{"string", []byte("\x02hi"), func(r *Reader) any { return r.String() }, "hi"},
		{"string cut off", []byte("\x03hi"), func(r *Reader) any { return r.String() }, nil},
		{"string of 2^63 bytes", append(bytes.Repeat([]byte{0x80}, 9), 1), func(r *Reader) any { return r.String() }, nil},
		{"ids", []byte{2, 5, 6}, func(r *Reader) any { return r.IDs() }, []uint64{5, 6}},
		{"more ids than bytes", []byte{3, 5, 6}, func(r *Reader) any { return r.IDs() }, nil},
		{"2^60 ids", append(bytes.Repeat([]byte{0x80}, 8), 0x10), func(r *Reader) any { return r.IDs() }, nil},
		{"version", []byte{1}, func(r *Reader) any { return r.Version(1) }, uint64(1)},
		{"version 0", []byte{0}, func(r *Reader) any { return r.Version(1) }, nil},
		{"version of tomorrow", []byte{2}, func(r *Reader) any { return r.Version(1) }, nil},
		{"bytes left over", []byte{1, 1}, func(r *Reader) any { return r.Uint() }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(tt.in)
			got := tt.read(r)
			switch err := r.Err(); {
			case tt.want == nil && !errors.Is(err, ErrCanon):
				t.Fatalf("%x was read as %v, %v", tt.in, got, err)
			case tt.want != nil && (err != nil || !reflect.DeepEqual(got, tt.want)):
				t.Fatalf("%x was read as %v, %v; want %v", tt.in, got, err, tt.want)
			}
		})
	}
}

func (w *Writer) int(v int64) []byte { w.Int(v); return w.Data() }

// A mistake stays a mistake: later fields read as zero and do not hide it.
func TestReaderRemembersTheFirstMistake(t *testing.T) {
	r := NewReader([]byte{2, 7, 7, 7})
	r.Bool()
	first := r.Err()
	if r.Uint() != 0 || r.String() != "" || r.IDs() != nil || r.Bool() || !errors.Is(r.Err(), ErrCanon) || r.Err().Error() != first.Error() {
		t.Fatalf("%v, then %v", first, r.Err())
	}
}

// What the reader gives never points into its input.
func TestReaderCopies(t *testing.T) {
	in := []byte("\x02hi\x02yo")
	r := NewReader(in)
	b, s := r.Bytes(), r.String()
	copy(in, "\xff\xff\xff\xff\xff\xff")
	if string(b) != "hi" || s != "yo" {
		t.Fatalf("%q %q", b, s)
	}
}

// FuzzCanonEvent: whatever is accepted is written again as the same bytes.
func FuzzCanonEvent(f *testing.F) {
	for _, ex := range examples() {
		if e, ok := ex.value.(Event); ok {
			f.Add(e.Encode())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEvent(b)
		if err != nil {
			if !errors.Is(err, ErrCanon) {
				t.Fatal(err)
			}
			return
		}
		if again := e.Encode(); !bytes.Equal(again, b) {
			t.Fatalf("%x is written as %x", b, again)
		}
		// Nothing that can be stored may panic whoever reads it.
		_, _ = e.Record()
		_ = e.Outcome(Record{})
	})
}

var update = goflag.Bool("update", false, "write the golden files anew; only for a new layout, never for a changed one")

type example struct {
	name  string
	value any
}

// examples are one value of everything that is stored or hashed. Each field has
// a value of its own, so that two that change places are seen.
func examples() []example {
	tap := Tap{
		UserID: 7, Kind: Out, At: 1_764_000_000_000, Day: 20416, Minute: 1439, Claim: 1_764_000_000_001, ProposedAt: 1_763_999_999_990,
		Location: Location{Known: true, LatE7: -61_754_000, LonE7: 1_068_272_000, AccuracyCM: 1_250}, ClientTime: 1_763_999_000_000,
		Offline: true, ClaimTrust: true, Reason: TooOld,
	}
	lost := tap
	lost.Location, lost.Offline, lost.ClaimTrust, lost.Recorded, lost.WallClock = Location{Error: LocationTimeout}, false, false, true, true
	lost.Winner, lost.Delta, lost.FirstSeenAt, lost.UpdatedAt = 41, -180_000, 1_763_999_820_000, 1_764_000_000_002
	judged := lost
	judged.ReviewOf, judged.Note = 40, "dilihat di gerbang ✓"
	user := User{ID: 7, Name: "Siti Nurhaliza", Email: "Siti@sekolah.id", Role: Teacher, Active: true, SessionEpoch: 3, CreatedAt: 11, UpdatedAt: 12}
	group := Group{ID: 4, Name: "XII IPA 1", Kind: Class, Members: 36, Teachers: 2, CreatedAt: 13, UpdatedAt: 14}
	params := DefaultParams()
	params.Zone.Changes = append(params.Zone.Changes, ZoneChange{From: 1_800_000_000_000, OffsetS: -3600})
	details := map[EventType]Detail{
		TapAccepted: tap, TapDuplicate: lost, TapReview: tap, TapRejected: tap, ReviewAccepted: judged, ReviewDuplicate: judged,
		ReviewRejected: judged, ClaimAccepted: judged, ClaimRejected: judged,
		UserCreated: UserChange{User: user}, UserUpdated: UserChange{User: user}, UserDeactivated: UserChange{User: user},
		PasswordSet: SessionsChange{UserID: 7, Epoch: 4}, SessionsEnded: SessionsChange{Epoch: 5},
		GroupCreated: GroupChange{Group: group, AddedMembers: []uint64{1, 300}, RemovedMembers: []uint64{2}, AddedTeachers: []uint64{3}, RemovedTeachers: []uint64{4, 5, 6}},
		GroupUpdated: GroupChange{Group: group}, GroupDeleted: GroupChange{Group: group},
		ParamsSet: ParamsChange{Params: params}, ClockSet: ClockChange{From: 20, To: 10},
		SecretRotated: SecretChange{Name: "session", ID: 9, Dropped: true},
		TokenCreated:  TokenChange{ID: 2, Name: "gate", Groups: []uint64{1, 4}}, TokenUpdated: TokenChange{ID: 2, Name: "gate"},
		TokenRevoked: TokenChange{ID: 2, Name: "gate", Revoked: true},
		ActAudited:   AuditNote{Action: "backup.taken", Subject: "n1", Note: "by hand"},
		ActRefused:   Refusal{Op: OpPutUser, Reason: EmailTaken, Subject: 7},
	}
	out := []example{
		{"params default", DefaultParams()}, {"params", params}, {"user", user}, {"group", group},
		{"token", Token{ID: 2, Name: "gate", Hash: [32]byte{1, 2, 31: 3}, Groups: []uint64{1, 4}, Revoked: true, CreatedAt: 15, UpdatedAt: 16}},
		{"secret", Secret{Name: "session", ID: 9, Value: []byte("0123456789abcdef"), Previous: []byte("fedcba9876543210"), At: 17}},
		{"secret first", Secret{Name: "session", ID: 1, Value: []byte("0123456789abcdef"), At: 17}},
	}
	for typ := TapAccepted; typ <= lastEventType; typ++ {
		out = append(out, example{"event " + typ.String(), Event{
			Seq: 42, Index: 99, At: 1_764_000_000_003, SetBack: 5, Type: typ, Principal: Principal{Kind: DevicePrincipal, ID: 2}, Key: "k-1",
			Node: "n1", Detail: details[typ],
		}})
	}
	for _, body := range exampleBodies() {
		out = append(out, example{"body " + body.Op().String(), body})
	}
	return out
}

// exampleBodies has one body of every operation.
func exampleBodies() []Body {
	return []Body{
		CheckIn{
			UserID: 7, Kind: In, Location: Location{Known: true, LatE7: -61_754_000, LonE7: 1_068_272_000, AccuracyCM: 1_250},
			ClientTime: 1_764_000_000_000, Offline: true, ClaimTrusted: true, Age: 250, Recorded: true,
		},
		PutUser{UserID: 7, Name: "Siti", Email: "Siti@sekolah.id", Role: Teacher, Active: true, PasswordHash: "$argon2id$1"},
		DeactivateUser{UserID: 7},
		SetPassword{UserID: 7, PasswordHash: "$argon2id$2"},
		PutGroup{GroupID: 4, Name: "XII IPA 1", Kind: Class, AddMembers: []uint64{1, 2}, RemoveMembers: []uint64{3}, AddTeachers: []uint64{4}, RemoveTeachers: []uint64{5, 6}},
		DeleteGroup{GroupID: 4},
		SetParams{Params: DefaultParams()},
		SetClock{Clock: 1_764_000_000_000},
		SetLevel{Level: 1},
		RotateSecret{Name: "session", Value: []byte("0123456789abcdef"), DropPrevious: true},
		BumpSessionEpoch{UserID: 7},
		ExportMark{Target: "mysql", Seq: 40, Retired: true},
		Resolve{Seq: 40, Accept: true, Note: "seen"},
		Prune{Floor: 1_763_000_000_000, ThroughSeq: 30},
		Verify{Seq: 40, Hash: Hash{1, 31: 2}},
		PutToken{TokenID: 2, Name: "gate", Hash: bytes.Repeat([]byte{3}, 32), Groups: []uint64{1, 4}},
		RevokeToken{TokenID: 2},
		Audit{Action: "backup.taken", Subject: "n1", Note: "by hand"},
	}
}

// The canonical bytes are for ever: files, chain hashes and keys of running
// clusters depend on them. A line may be added; one that changes is a bug.
func TestGolden(t *testing.T) {
	var out strings.Builder
	for _, ex := range examples() {
		switch v := ex.value.(type) {
		case Body:
			fmt.Fprintf(&out, "%s\t%x\n", ex.name, Command{Body: v}.BodyHash())
		case interface{ Encode() []byte }:
			fmt.Fprintf(&out, "%s\t%x\n", ex.name, v.Encode())
		default:
			t.Fatalf("%s: %T has no canonical form", ex.name, v)
		}
	}
	chain := Hash{}
	for _, ex := range examples() {
		if e, ok := ex.value.(Event); ok {
			chain = Chain(chain, e.Encode())
		}
	}
	fmt.Fprintf(&out, "chain\t%s\n", chain)
	const path = "testdata/canon.golden"
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(out.String(), "\n")); diff != "" {
		t.Fatalf("canonical bytes have changed; see -update:\n%s", diff)
	}
}

// A key protects what the client chose, each field of it, and nothing that the
// door adds: a retry carries another age, another salt.
func TestBodyHash(t *testing.T) {
	hash := func(b Body) BodyHash { return Command{Body: b}.BodyHash() }
	added := map[string]bool{ // by the door
		"check_in Age": true, "check_in WallClock": true, "check_in ReceivedAt": true, "check_in Recorded": true, "check_in ClaimTrusted": true,
		"put_user PasswordHash": true, "set_password PasswordHash": true, "rotate_secret Value": true, "put_token Hash": true,
	}
	seen := map[BodyHash]string{}
	for _, body := range exampleBodies() {
		name := body.Op().String()
		if other, ok := seen[hash(body)]; ok {
			t.Fatalf("%s and %s have one hash", name, other)
		}
		seen[hash(body)] = name
		typ := reflect.TypeOf(body)
		for i := range typ.NumField() {
			field := name + " " + typ.Field(i).Name
			changed := reflect.New(typ).Elem()
			changed.Set(reflect.ValueOf(body))
			changed.Field(i).SetZero()
			if reflect.DeepEqual(changed.Interface(), body) { // was zero in the example
				switch f := changed.Field(i); f.Kind() {
				case reflect.Bool:
					f.SetBool(true)
				case reflect.Int64:
					f.SetInt(1)
				default:
					t.Fatalf("%s is zero in the example", field)
				}
			}
			if differs := hash(changed.Interface().(Body)) != hash(body); differs == added[field] {
				t.Errorf("%s: changing it changes the hash: %v", field, differs)
			}
		}
	}
	who := Command{Principal: Principal{Kind: UserPrincipal, ID: 1}, Key: "a", Node: "n1", Body: DeleteGroup{GroupID: 1}}
	elsewhere := Command{Principal: Principal{Kind: UserPrincipal, ID: 2}, Key: "b", Node: "n2", Body: DeleteGroup{GroupID: 1}}
	if who.BodyHash() != elsewhere.BodyHash() {
		t.Error("the hash depends on who asked where")
	}
}
