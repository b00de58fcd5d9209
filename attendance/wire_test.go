package attendance

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"hadir/attendance/pb"
)

var someCluster = ClusterID{1, 15: 2}

func entryOf(commands ...Command) Entry {
	return Entry{Level: 1, Cluster: someCluster, ProposedAt: 1_764_000_000_000, Commands: commands}
}

func commandOf(b Body) Command {
	return Command{Principal: Principal{Kind: UserPrincipal, ID: 1}, Key: "key-1", Node: "n1", Body: b}
}

// What is proposed is what is applied, for every operation.
func TestEntryRoundTrip(t *testing.T) {
	for op := OpCheckIn; op <= lastOp; op++ {
		t.Run(op.String(), func(t *testing.T) {
			property(t, func(t *rapid.T) {
				e := Entry{Level: 1, ProposedAt: validMillis(t) - 1}
				copy(e.Cluster[:], rapid.SliceOfN(rapid.Byte(), ClusterIDBytes, ClusterIDBytes).Draw(t, "cluster"))
				e.Cluster[0] |= 1
				for range rapid.IntRange(1, 3).Draw(t, "commands") {
					e.Commands = append(e.Commands, validCommand(t, op))
				}
				b, err := EncodeEntry(e)
				if err != nil {
					t.Fatalf("%+v: %v", e, err)
				}
				got, err := DecodeEntry(b)
				if err != nil || !reflect.DeepEqual(got, e) {
					t.Fatalf("%+v\nbecame %+v, %v", e, got, err)
				}
				sum := 0
				for _, c := range e.Commands {
					n, err := c.Size()
					if err != nil {
						t.Fatal(err)
					}
					sum += n
				}
				if overhead := len(b) - sum; overhead > 64 {
					t.Fatalf("commands say %d bytes, the entry has %d", sum, len(b))
				}
			})
		})
	}
}

func TestExampleBodiesCoverEveryOperation(t *testing.T) {
	for i, b := range exampleBodies() {
		if b.Op() != Op(i+1) || decoders[b.Op()] == nil {
			t.Fatalf("body %d is of %s", i, b.Op())
		}
	}
	if n := len(exampleBodies()); n != int(lastOp) || n != len(decoders) || n != len(opWords) {
		t.Fatalf("%d bodies, %d decoders, %d words", n, len(decoders), len(opWords))
	}
}

// Every rule of Check has a case; the door and the log refuse the same.
func TestCheck(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	with := func(f func(*Command)) Command { c := commandOf(DeleteGroup{GroupID: 1}); f(&c); return c }
	tap := func(f func(*CheckIn)) Command { b := CheckIn{UserID: 1, Kind: In}; f(&b); return commandOf(b) }
	user := func(f func(*PutUser)) Command {
		b := PutUser{Name: "N", Email: "a@b", Role: Student}
		f(&b)
		return commandOf(b)
	}
	group := func(f func(*PutGroup)) Command { b := PutGroup{Name: "N", Kind: Class}; f(&b); return commandOf(b) }
	token := func(f func(*PutToken)) Command {
		b := PutToken{Name: "N", Hash: make([]byte, 32)}
		f(&b)
		return commandOf(b)
	}
	params := func(f func(*Params)) Command { p := DefaultParams(); f(&p); return commandOf(SetParams{Params: p}) }
	secret := func(name string, n int) Command { return commandOf(RotateSecret{Name: name, Value: make([]byte, n)}) }
	for _, tt := range []struct {
		name string
		c    Command
		ok   bool
	}{
		{"no body", Command{Principal: Principal{Kind: SystemPrincipal}, Node: "n"}, false},
		{"system", with(func(c *Command) { c.Principal = Principal{Kind: SystemPrincipal} }), true},
		{"system with an id", with(func(c *Command) { c.Principal = Principal{Kind: SystemPrincipal, ID: 1} }), false},
		{"user without an id", with(func(c *Command) { c.Principal.ID = 0 }), false},
		{"device without an id", with(func(c *Command) { c.Principal = Principal{Kind: DevicePrincipal} }), false},
		{"no principal", with(func(c *Command) { c.Principal = Principal{} }), false},
		{"unknown principal", with(func(c *Command) { c.Principal.Kind = 4 }), false},
		{"no key", with(func(c *Command) { c.Key = "" }), true},
		{"longest key", with(func(c *Command) { c.Key = long(MaxKey) }), true},
		{"key too long", with(func(c *Command) { c.Key = long(MaxKey + 1) }), false},
		{"key with a control character", with(func(c *Command) { c.Key = "a\x1f" }), false},
		{"key with DEL", with(func(c *Command) { c.Key = "a\x7f" }), false},
		{"key beyond ASCII", with(func(c *Command) { c.Key = "é" }), false},
		{"key from space to tilde", with(func(c *Command) { c.Key = " ~" }), true},
		{"no node", with(func(c *Command) { c.Node = "" }), false},
		{"longest node", with(func(c *Command) { c.Node = long(MaxNodeID) }), true},
		{"node too long", with(func(c *Command) { c.Node = long(MaxNodeID + 1) }), false},
		{"node not printable", with(func(c *Command) { c.Node = "n\n" }), false},

		{"tap", tap(func(*CheckIn) {}), true},
		{"tap of nobody", tap(func(b *CheckIn) { b.UserID = 0 }), false},
		{"tap of no type", tap(func(b *CheckIn) { b.Kind = 0 }), false},
		{"tap of type 3", tap(func(b *CheckIn) { b.Kind = 3 }), false},
		{"negative age", tap(func(b *CheckIn) { b.Age = -1 }), false},
		{"greatest age", tap(func(b *CheckIn) { b.Age = MaxMillis }), true},
		{"age over the end of time", tap(func(b *CheckIn) { b.Age = MaxMillis + 1 }), false},
		{"negative client time", tap(func(b *CheckIn) { b.ClientTime = -1 }), false},
		{"client time over the end", tap(func(b *CheckIn) { b.ClientTime = MaxMillis + 1 }), false},
		{"client time of a tap that is not offline", tap(func(b *CheckIn) { b.ClientTime = 1 }), true},
		{"wall clock", tap(func(b *CheckIn) { b.WallClock, b.ReceivedAt = true, 1 }), true},
		{"negative receipt", tap(func(b *CheckIn) { b.WallClock, b.ReceivedAt = true, -1 }), false},
		{"receipt over the end", tap(func(b *CheckIn) { b.WallClock, b.ReceivedAt = true, MaxMillis+1 }), false},
		{"age and wall clock", tap(func(b *CheckIn) { b.WallClock, b.ReceivedAt, b.Age = true, 1, 1 }), false},
		{"receipt without wall clock", tap(func(b *CheckIn) { b.ReceivedAt = 1 }), false},
		{"offline", tap(func(b *CheckIn) { b.Offline, b.ClientTime = true, 1 }), true},
		{"offline without a time", tap(func(b *CheckIn) { b.Offline = true }), false},
		{"trust in nothing", tap(func(b *CheckIn) { b.ClaimTrusted, b.ClientTime = true, 1 }), false},
		{"no location", tap(func(b *CheckIn) { b.Location.Error = LocationTimeout }), true},
		{"unknown location error", tap(func(b *CheckIn) { b.Location.Error = LocationTimeout + 1 }), false},
		{"coordinates of nowhere", tap(func(b *CheckIn) { b.Location.LatE7 = 1 }), false},
		{"longitude of nowhere", tap(func(b *CheckIn) { b.Location.LonE7 = 1 }), false},
		{"accuracy of nowhere", tap(func(b *CheckIn) { b.Location.AccuracyCM = 1 }), false},
		{"corner of the map", tap(func(b *CheckIn) {
			b.Location = Location{Known: true, LatE7: -900_000_000, LonE7: 1_800_000_000, AccuracyCM: MaxAccuracyCM}
		}), true},
		{"north of the pole", tap(func(b *CheckIn) { b.Location = Location{Known: true, LatE7: 900_000_001} }), false},
		{"south of the pole", tap(func(b *CheckIn) { b.Location = Location{Known: true, LatE7: -900_000_001} }), false},
		{"too far east", tap(func(b *CheckIn) { b.Location = Location{Known: true, LonE7: 1_800_000_001} }), false},
		{"too far west", tap(func(b *CheckIn) { b.Location = Location{Known: true, LonE7: -1_800_000_001} }), false},
		{"too vague", tap(func(b *CheckIn) { b.Location = Location{Known: true, AccuracyCM: MaxAccuracyCM + 1} }), false},
		{"known, with an error", tap(func(b *CheckIn) { b.Location = Location{Known: true, Error: LocationDenied} }), false},

		{"user", user(func(*PutUser) {}), true},
		{"no role", user(func(b *PutUser) { b.Role = 0 }), false},
		{"unknown role", user(func(b *PutUser) { b.Role = Admin + 1 }), false},
		{"no name", user(func(b *PutUser) { b.Name = "" }), false},
		{"name of spaces", user(func(b *PutUser) { b.Name = " " }), false},
		{"space before the name", user(func(b *PutUser) { b.Name = " a" }), false},
		{"space after the name", user(func(b *PutUser) { b.Name = "a " }), false},
		{"longest name", user(func(b *PutUser) { b.Name = long(MaxName) }), true},
		{"name too long", user(func(b *PutUser) { b.Name = long(MaxName + 1) }), false},
		{"name in another script", user(func(b *PutUser) { b.Name = "日本 é" }), true},
		{"name that is no UTF-8", user(func(b *PutUser) { b.Name = "a\xff" }), false},
		{"name with a line break", user(func(b *PutUser) { b.Name = "a\nb" }), false},
		{"name with NUL", user(func(b *PutUser) { b.Name = "a\x00b" }), false},
		{"name with C1", user(func(b *PutUser) { b.Name = "a\u0085b" }), false},
		{"no email", user(func(b *PutUser) { b.Email = "" }), false},
		{"email without @", user(func(b *PutUser) { b.Email = "abc" }), false},
		{"email with two @", user(func(b *PutUser) { b.Email = "a@b@c" }), false},
		{"email without a name", user(func(b *PutUser) { b.Email = "@bc" }), false},
		{"email without a domain", user(func(b *PutUser) { b.Email = "ab@" }), false},
		{"email with a space", user(func(b *PutUser) { b.Email = "a b@c" }), false},
		{"email with brackets", user(func(b *PutUser) { b.Email = "<a@b>" }), false},
		{"two emails", user(func(b *PutUser) { b.Email = "a,b@c" }), false},
		{"quoted email", user(func(b *PutUser) { b.Email = `"a"@b` }), false},
		{"email beyond ASCII", user(func(b *PutUser) { b.Email = "é@b" }), false},
		{"longest email", user(func(b *PutUser) { b.Email = "a@" + long(MaxEmail-2) }), true},
		{"email too long", user(func(b *PutUser) { b.Email = "a@" + long(MaxEmail-1) }), false},
		{"longest password hash", user(func(b *PutUser) { b.PasswordHash = long(MaxHash) }), true},
		{"password hash too long", user(func(b *PutUser) { b.PasswordHash = long(MaxHash + 1) }), false},
		{"password hash not printable", user(func(b *PutUser) { b.PasswordHash = "\t" }), false},
		{"deactivate nobody", commandOf(DeactivateUser{}), false},
		{"password of nobody", commandOf(SetPassword{PasswordHash: "h"}), false},
		{"no password", commandOf(SetPassword{UserID: 1}), false},
		{"longer password", commandOf(SetPassword{UserID: 1, PasswordHash: long(MaxHash + 1)}), false},
		{"odd password", commandOf(SetPassword{UserID: 1, PasswordHash: "\x7f"}), false},
		{"everybody's sessions", commandOf(BumpSessionEpoch{}), true},

		{"group", group(func(*PutGroup) {}), true},
		{"no kind of group", group(func(b *PutGroup) { b.Kind = 0 }), false},
		{"unknown kind of group", group(func(b *PutGroup) { b.Kind = 3 }), false},
		{"group without a name", group(func(b *PutGroup) { b.Name = "" }), false},
		{"member 0", group(func(b *PutGroup) { b.AddMembers = []uint64{0, 1} }), false},
		{"members twice", group(func(b *PutGroup) { b.AddMembers = []uint64{1, 1} }), false},
		{"members out of order", group(func(b *PutGroup) { b.RemoveMembers = []uint64{2, 1} }), false},
		{"teachers twice", group(func(b *PutGroup) { b.AddTeachers = []uint64{3, 3} }), false},
		{"teachers out of order", group(func(b *PutGroup) { b.RemoveTeachers = []uint64{3, 2} }), false},
		{"no group", commandOf(DeleteGroup{}), false},

		{"token", token(func(*PutToken) {}), true},
		{"new token without a hash", token(func(b *PutToken) { b.Hash = nil }), false},
		{"old token without a hash", token(func(b *PutToken) { b.TokenID, b.Hash = 1, nil }), true},
		{"short hash", token(func(b *PutToken) { b.TokenID, b.Hash = 1, make([]byte, 31) }), false},
		{"long hash", token(func(b *PutToken) { b.Hash = make([]byte, 33) }), false},
		{"token without a name", token(func(b *PutToken) { b.Name = "" }), false},
		{"token for group 0", token(func(b *PutToken) { b.Groups = []uint64{0} }), false},
		{"no token", commandOf(RevokeToken{}), false},

		{"least secret", secret("session", 16), true},
		{"greatest secret", secret("session", MaxSecretValue), true},
		{"secret too short", secret("session", 15), false},
		{"secret too long", secret("session", MaxSecretValue+1), false},
		{"secret without a name", secret("", 16), false},
		{"secret in capitals", secret("Session", 16), false},
		{"secret name too long", secret(long(MaxAction+1), 16), false},
		{"secret with a digit", secret("a1", 16), false},

		{"parameters", params(func(*Params) {}), true},
		{"bad parameters", params(func(p *Params) { p.Window = 0 }), false},
		{"clock 0", commandOf(SetClock{}), false},
		{"clock at the end of time", commandOf(SetClock{Clock: MaxMillis}), true},
		{"clock after it", commandOf(SetClock{Clock: MaxMillis + 1}), false},
		{"level 0", commandOf(SetLevel{}), false},
		{"floor 0", commandOf(Prune{}), false},
		{"floor after the end of time", commandOf(Prune{Floor: MaxMillis + 1}), false},
		{"negative floor", commandOf(Prune{Floor: -1}), false},
		{"verify nothing", commandOf(Verify{}), false},
		{"mark", commandOf(ExportMark{Target: long(MaxTarget)}), true},
		{"mark of nothing", commandOf(ExportMark{}), false},
		{"target too long", commandOf(ExportMark{Target: long(MaxTarget + 1)}), false},
		{"target not printable", commandOf(ExportMark{Target: "ü"}), false},
		{"resolve nothing", commandOf(Resolve{}), false},
		{"longest note", commandOf(Resolve{Seq: 1, Note: long(MaxNote)}), true},
		{"note too long", commandOf(Resolve{Seq: 1, Note: long(MaxNote + 1)}), false},
		{"note that is no UTF-8", commandOf(Resolve{Seq: 1, Note: "\xc3"}), false},
		{"audit", commandOf(Audit{Action: "backup.taken"}), true},
		{"audit of nothing", commandOf(Audit{}), false},
		{"audit with a dash", commandOf(Audit{Action: "a-b"}), false},
		{"audit subject too long", commandOf(Audit{Action: "a", Subject: long(MaxName + 1)}), false},
		{"audit note too long", commandOf(Audit{Action: "a", Note: long(MaxNote + 1)}), false},
		{"audit note with ESC", commandOf(Audit{Action: "a", Note: "\x1b[0m"}), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.c.Check()
			if (err == nil) != tt.ok {
				t.Fatalf("Check: %v", err)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("more than one line: %q", err)
			}
			if tt.c.Body == nil {
				return
			}
			b, err := EncodeEntry(entryOf(tt.c))
			if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrMalformed)) {
				t.Fatalf("EncodeEntry: %v", err)
			}
			if _, sizeErr := tt.c.Size(); (sizeErr == nil) != tt.ok {
				t.Fatalf("Size: %v", sizeErr)
			}
			if !tt.ok { // committed by a binary that did not check
				b = unchecked(t, tt.c)
			}
			if _, err := DecodeEntry(b); (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrMalformed)) {
				t.Fatalf("DecodeEntry: %v", err)
			}
		})
	}
}

// unchecked encodes a command that EncodeEntry would refuse.
func unchecked(t *testing.T, c Command) []byte {
	t.Helper()
	// Marshalling a string that is no UTF-8 fails too; the bytes are put together
	// without it.
	body, err := proto.MarshalOptions{AllowPartial: true}.Marshal(c.Body.wire())
	if err != nil {
		return nil
	}
	w := protowire.AppendTag(nil, 1, protowire.VarintType)
	w = protowire.AppendVarint(w, uint64(c.Body.Op()))
	for num, v := range []uint64{2: uint64(c.Principal.Kind), 3: c.Principal.ID} {
		if v != 0 {
			w = protowire.AppendVarint(protowire.AppendTag(w, protowire.Number(num), protowire.VarintType), v)
		}
	}
	w = protowire.AppendString(protowire.AppendTag(w, 4, protowire.BytesType), c.Key)
	w = protowire.AppendString(protowire.AppendTag(w, 5, protowire.BytesType), c.Node)
	w = protowire.AppendBytes(protowire.AppendTag(w, 6, protowire.BytesType), body)
	return rawEntry(1, someCluster[:], w)
}

func rawEntry(level uint64, cluster []byte, commands ...[]byte) []byte {
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), level)
	b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), cluster)
	b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), 1_764_000_000_000)
	for _, c := range commands {
		b = protowire.AppendBytes(protowire.AppendTag(b, 4, protowire.BytesType), c)
	}
	return b
}

// Of an entry that is not as it should be, the kind of error decides what people
// are told to do: install a newer binary, or throw the log away.
func TestDecodeEntryRefuses(t *testing.T) {
	must := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := &pb.Command{Op: pb.Op_OP_DELETE_GROUP, PrincipalKind: 1, PrincipalId: 1, NodeId: "n", Body: must(&pb.DeleteGroup{GroupId: 1})}
	edit := func(f func(*pb.Command)) []byte { c := proto.CloneOf(good); f(c); return must(c) }
	extra := func(b []byte) []byte { return append(b[:len(b):len(b)], 0xf8, 0x01, 0x01) } // field 31
	ok := rawEntry(1, someCluster[:], must(good))
	if _, err := DecodeEntry(ok); err != nil {
		t.Fatal(err)
	}
	many := make([][]byte, MaxCommands+1)
	for i := range many {
		many[i] = must(good)
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrMalformed},
		{"level 0", rawEntry(0, someCluster[:], must(good)), ErrMalformed},
		{"level 2", rawEntry(2, someCluster[:], must(good)), ErrUnknownLevel},
		{"level 2^32+1 is not level 1", rawEntry(1<<32+1, someCluster[:], must(good)), ErrUnknownLevel},
		{"greatest level", rawEntry(1<<64-1, someCluster[:], must(good)), ErrUnknownLevel},
		{"level 2 and nothing that is known", append(rawEntry(2, nil), 0xf8, 0x01, 0x01), ErrUnknownLevel},
		{"level 2, broken afterwards", append(rawEntry(2, nil), 0xff), ErrUnknownLevel},
		{"level 2 with too many commands", rawEntry(2, someCluster[:], many...), ErrUnknownLevel},
		{"level 2 with a command too long", rawEntry(2, someCluster[:], make([]byte, MaxEntryBytes)), ErrUnknownLevel},
		{"the last level counts", append(rawEntry(1, someCluster[:], must(good)), 0x08, 2), ErrUnknownLevel},
		{"no cluster", rawEntry(1, nil, must(good)), ErrMalformed},
		{"short cluster", rawEntry(1, someCluster[:15], must(good)), ErrMalformed},
		{"zero cluster", rawEntry(1, make([]byte, 16), must(good)), ErrMalformed},
		{"no commands", rawEntry(1, someCluster[:]), ErrMalformed},
		{"most commands", rawEntry(1, someCluster[:], many[:MaxCommands]...), nil},
		{"too many commands", rawEntry(1, someCluster[:], many...), ErrMalformed},
		{"empty command", rawEntry(1, someCluster[:], nil), ErrUnknownOp},
		{"unknown op", rawEntry(1, someCluster[:], edit(func(c *pb.Command) { c.Op = 19 })), ErrUnknownOp},
		{"unknown op with an unknown body", rawEntry(1, someCluster[:], extra(edit(func(c *pb.Command) { c.Op, c.Body = 19, []byte{0xff} }))), ErrUnknownOp},
		{"op 256 is not op 0", rawEntry(1, someCluster[:], edit(func(c *pb.Command) { c.Op = 256 + 6 })), ErrUnknownOp},
		{"negative op", rawEntry(1, someCluster[:], edit(func(c *pb.Command) { c.Op = -250 })), ErrUnknownOp},
		{"field in the entry", extra(ok), ErrMalformed},
		{"field in a command", rawEntry(1, someCluster[:], extra(must(good))), ErrMalformed},
		{"field in a body", rawEntry(1, someCluster[:], edit(func(c *pb.Command) { c.Body = extra(c.Body) })), ErrMalformed},
		{"zone changes without offsets", rawEntry(1, someCluster[:], edit(func(c *pb.Command) {
			p := SetParams{Params: DefaultParams()}.wire().(*pb.SetParams)
			p.ZoneOffsetS = nil
			c.Op, c.Body = pb.Op_OP_SET_PARAMS, must(p)
		})), ErrMalformed},
		{"principal kind 257 is not 1", rawEntry(1, someCluster[:], edit(func(c *pb.Command) { c.PrincipalKind = 257 })), ErrMalformed},
		{"role 257 is not 1", rawEntry(1, someCluster[:], edit(func(c *pb.Command) {
			c.Op, c.Body = pb.Op_OP_PUT_USER, must(&pb.PutUser{Name: "N", Email: "a@b", Role: 257})
		})), ErrMalformed},
		{"type 257 is not in", rawEntry(1, someCluster[:], edit(func(c *pb.Command) {
			c.Op, c.Body = pb.Op_OP_CHECK_IN, must(&pb.CheckIn{UserId: 1, Type: 257})
		})), ErrMalformed},
		{"location error 257", rawEntry(1, someCluster[:], edit(func(c *pb.Command) {
			c.Op, c.Body = pb.Op_OP_CHECK_IN, must(&pb.CheckIn{UserId: 1, Type: 1, LocationError: 257})
		})), ErrMalformed},
		{"group kind 257 is not class", rawEntry(1, someCluster[:], edit(func(c *pb.Command) {
			c.Op, c.Body = pb.Op_OP_PUT_GROUP, must(&pb.PutGroup{Name: "N", Kind: 257})
		})), ErrMalformed},
		{"short hash", rawEntry(1, someCluster[:], edit(func(c *pb.Command) {
			c.Op, c.Body = pb.Op_OP_VERIFY, must(&pb.Verify{Seq: 1, Hash: make([]byte, 31)})
		})), ErrMalformed},
		{"key that is no UTF-8", rawEntry(1, someCluster[:], append(must(good), 0x22, 1, 0xff)), ErrMalformed},
		{"negative time", append(rawEntry(1, someCluster[:], must(good)), append([]byte{0x18}, protowire.AppendVarint(nil, 1<<64-1)...)...), ErrMalformed},
		{"long command", rawEntry(1, someCluster[:], edit(func(c *pb.Command) { c.Body = bytes.Repeat(c.Body, MaxCommandBytes) })), ErrMalformed},
		{"long entry", rawEntry(1, someCluster[:], append(must(good), make([]byte, MaxEntryBytes)...)), ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := DecodeEntry(tt.b); !errors.Is(err, tt.want) {
				t.Fatalf("%v, want %v", err, tt.want)
			}
		})
	}
	for n := range ok { // an entry that ends early
		if _, err := DecodeEntry(ok[:n]); err == nil {
			t.Fatalf("%d of %d bytes were accepted", n, len(ok))
		}
	}
}

// Limits hold for what is proposed, too.
func TestEncodeEntryRefuses(t *testing.T) {
	small := commandOf(DeleteGroup{GroupID: 1})
	ids := make([]uint64, MaxCommandBytes/9+1)
	for i := range ids {
		ids[i] = 1<<63 + uint64(i)
	}
	big := commandOf(PutGroup{Name: "N", Kind: Class, AddMembers: ids[:380]})
	repeat := func(c Command, n int) (out []Command) {
		for range n {
			out = append(out, c)
		}
		return out
	}
	for _, tt := range []struct {
		name string
		e    Entry
		ok   bool
	}{
		{"most commands", entryOf(repeat(small, MaxCommands)...), true},
		{"too many", entryOf(repeat(small, MaxCommands+1)...), false},
		{"none", entryOf(), false},
		{"big", entryOf(big), true},
		{"too many bytes", entryOf(repeat(big, MaxEntryBytes/3_000)...), false},
		{"command too long", entryOf(commandOf(PutGroup{Name: "N", Kind: Class, AddMembers: ids})), false},
		{"level 0", Entry{Cluster: someCluster, Commands: repeat(small, 1)}, false},
		{"level 2", Entry{Level: 2, Cluster: someCluster, Commands: repeat(small, 1)}, false},
		{"no cluster", Entry{Level: 1, Commands: repeat(small, 1)}, false},
		{"negative time", Entry{Level: 1, Cluster: someCluster, ProposedAt: -1, Commands: repeat(small, 1)}, false},
		{"late time", Entry{Level: 1, Cluster: someCluster, ProposedAt: MaxMillis + 1, Commands: repeat(small, 1)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := EncodeEntry(tt.e)
			if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrMalformed)) || len(b) > MaxEntryBytes {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
		})
	}
}

// allocated gives the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Whatever comes in, decoding takes memory for at most 16 times its length and
// 64 KiB: one entry must not be able to kill every node at once.
func TestDecodeEntryMemory(t *testing.T) {
	tag := func(num protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), b)
	}
	body := func(op uint64, b []byte) []byte {
		c := protowire.AppendVarint([]byte{0x08}, op)
		return append(c, append([]byte{0x10, 1, 0x18, 1, 0x2a, 1, 'n'}, tag(6, b)...)...)
	}
	zones := append(tag(7, bytes.Repeat([]byte{1}, (MaxCommandBytes-64)/2)), tag(8, bytes.Repeat([]byte{1}, (MaxCommandBytes-64)/2))...)
	looseZones := bytes.Repeat([]byte{0x38, 1, 0x40, 1}, (MaxCommandBytes-64)/4)
	packed := tag(4, bytes.Repeat([]byte{1}, MaxCommandBytes-64))
	loose := bytes.Repeat([]byte{0x20, 1}, (MaxCommandBytes-64)/2)
	fill := func(c []byte) (all [][]byte) {
		for n := 0; n+len(c)+4 < MaxEntryBytes-64 && len(all) < MaxCommands; n += len(c) + 4 {
			all = append(all, c)
		}
		return all
	}
	group := append([]byte{0x0a, 1, 'N', 0x18, 1}, nil...)
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"65 000 empty commands", bytes.Repeat([]byte{0x22, 0}, 65_000)},
		{"a megabyte of nothing", bytes.Repeat([]byte{0x22, 0}, 512<<10)},
		{"a megabyte of a newer level", append([]byte{0x08, 2}, bytes.Repeat([]byte{0x22, 0}, 512<<10)...)},
		{"unknown fields", rawEntry(1, bytes.Repeat([]byte{0xf8, 0x01, 0x01}, 40_000))},
		{"unknown fields in the entry", bytes.Repeat([]byte{0xf8, 0x01, 0x01}, 40_000)},
		{"nested groups", bytes.Repeat([]byte{0x2b}, 60_000)},
		{"256 commands", rawEntry(1, someCluster[:], fill(body(11, nil))...)},
		{"zone changes", rawEntry(1, someCluster[:], body(7, zones))},
		{"loose zone changes", rawEntry(1, someCluster[:], body(7, looseZones))},
		{"zone changes in each command", rawEntry(1, someCluster[:], fill(body(7, zones))...)},
		{"packed members", rawEntry(1, someCluster[:], body(5, append(group, packed...)))},
		{"loose members", rawEntry(1, someCluster[:], body(5, append(group, loose...)))},
		{"loose members in each command", rawEntry(1, someCluster[:], fill(body(5, append(group, loose...)))...)},
		{"members of many kinds", rawEntry(1, someCluster[:], fill(body(5, append(group, bytes.Repeat([]byte{0x20, 1, 0x28, 1, 0x30, 1, 0x38, 1}, 500)...)))...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _ = DecodeEntry(tt.b) // the first call of a message type builds its tables
			n := allocated(func() { _, _ = DecodeEntry(tt.b) })
			if most := uint64(16*len(tt.b) + 64<<10); n > most {
				t.Fatalf("%d bytes of input take %d bytes of memory, at most %d are allowed", len(tt.b), n, most)
			}
		})
	}
}

// checkFixpoint: what was decoded can be proposed again and is the same then.
func checkFixpoint(t *testing.T, b []byte) {
	t.Helper()
	e, err := DecodeEntry(b)
	if err != nil {
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnknownOp) && !errors.Is(err, ErrUnknownLevel) {
			t.Fatalf("error of no kind: %v", err)
		}
		return
	}
	once, err := EncodeEntry(e)
	if err != nil {
		t.Fatalf("decoded, but cannot be encoded: %v", err)
	}
	again, err := DecodeEntry(once)
	if err != nil || !reflect.DeepEqual(again, e) {
		t.Fatalf("%+v\nbecame %+v, %v", e, again, err)
	}
	twice, err := EncodeEntry(again)
	if err != nil || !bytes.Equal(twice, once) {
		t.Fatalf("%x, then %x, %v", once, twice, err)
	}
	for _, c := range e.Commands {
		_ = c.BodyHash()
		_ = c.Principal.String()
	}
}

// F1: decoding never panics; what it accepts has a fixpoint.
func FuzzDecodeEntry(f *testing.F) {
	for _, b := range exampleBodies() {
		data, err := EncodeEntry(entryOf(commandOf(b)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(checkFixpoint)
}

// FuzzCheckInWire: the body of the one command that everybody may send.
func FuzzCheckInWire(f *testing.F) {
	for _, b := range []CheckIn{
		{UserID: 1, Kind: In}, {UserID: 1, Kind: Out, WallClock: true, ReceivedAt: 5, Recorded: true},
		{UserID: 1, Kind: In, Offline: true, ClientTime: 9, Age: 1, Location: Location{Known: true, LatE7: -1, LonE7: 2, AccuracyCM: 3}},
	} {
		data, err := proto.Marshal(b.wire())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w, err := proto.Marshal(&pb.Command{Op: pb.Op_OP_CHECK_IN, PrincipalKind: 2, PrincipalId: 1, Key: "k", NodeId: "n", Body: body})
		if err != nil {
			t.Fatal(err)
		}
		b := rawEntry(1, someCluster[:], w)
		checkFixpoint(t, b)
		if e, err := DecodeEntry(b); err == nil {
			tap := e.Commands[0].Body.(CheckIn)
			if claim := tap.Claim(e.ProposedAt); claim > MaxMillis || claim < -MaxMillis {
				t.Fatalf("claim %d of %+v", claim, tap)
			}
		}
	})
}
