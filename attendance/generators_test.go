package attendance

import (
	goflag "flag"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// property checks f 300 times by default; HADIR_CASES (the number of cases of
// the state machine's properties, see fsm) and HADIR_SEED raise and turn it.
func property(t *testing.T, f func(*rapid.T)) {
	t.Helper()
	checks := 300
	if total := number(t, "HADIR_CASES"); total > 0 {
		checks = max(1, total/20)
	}
	set(t, "rapid.checks", checks)
	if seed := number(t, "HADIR_SEED"); seed > 0 {
		set(t, "rapid.seed", seed)
	}
	ran := 0
	rapid.Check(t, func(t *rapid.T) {
		ran++
		f(t)
	})
	t.Logf("%s: %d cases", t.Name(), ran)
}

func number(t *testing.T, name string) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q is not a number", name, v)
	}
	return n
}

func set(t *testing.T, name string, value int) {
	t.Helper()
	old := goflag.Lookup(name).Value.String()
	if err := goflag.Set(name, strconv.Itoa(value)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = goflag.Set(name, old) })
}

// Values of every stored type, valid or not: what is stored must come back as
// it was.

func anyMillis(t *rapid.T) Millis { return Millis(rapid.Int64().Draw(t, "millis")) }

func anyUint(t *rapid.T) uint64 { return rapid.Uint64().Draw(t, "uint") }

func anyBool(t *rapid.T) bool { return rapid.Bool().Draw(t, "bool") }

func anyText(t *rapid.T) string { return rapid.StringN(0, 20, 80).Draw(t, "text") }

func anyBytes(t *rapid.T) []byte {
	b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
	if len(b) == 0 {
		return nil // the one form of "none"
	}
	return b
}

func anyIDs(t *rapid.T) []uint64 {
	ids := rapid.SliceOfN(rapid.Uint64(), 0, 5).Draw(t, "ids")
	if len(ids) == 0 {
		return nil
	}
	return ids
}

func anyHash(t *rapid.T) (h [32]byte) {
	copy(h[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
	return h
}

func anyLocation(t *rapid.T) Location {
	if anyBool(t) {
		return Location{
			Known: true, LatE7: rapid.Int32().Draw(t, "lat"), LonE7: rapid.Int32().Draw(t, "lon"), AccuracyCM: rapid.Uint32().Draw(t, "accuracy"),
		}
	}
	return Location{Error: LocationError(rapid.Uint8().Draw(t, "error"))}
}

func anyUser(t *rapid.T) User {
	return User{
		ID: anyUint(t), Name: anyText(t), Email: anyText(t), Role: Role(rapid.Uint8().Draw(t, "role")), Active: anyBool(t),
		SessionEpoch: anyUint(t), CreatedAt: anyMillis(t), UpdatedAt: anyMillis(t),
	}
}

func anyGroup(t *rapid.T) Group {
	return Group{
		ID: anyUint(t), Name: anyText(t), Kind: GroupKind(rapid.Uint8().Draw(t, "kind")), Members: anyUint(t), Teachers: anyUint(t),
		CreatedAt: anyMillis(t), UpdatedAt: anyMillis(t),
	}
}

func anyToken(t *rapid.T) Token {
	return Token{
		ID: anyUint(t), Name: anyText(t), Hash: anyHash(t), Groups: anyIDs(t), Revoked: anyBool(t),
		CreatedAt: anyMillis(t), UpdatedAt: anyMillis(t),
	}
}

func anySecret(t *rapid.T) Secret {
	return Secret{Name: anyText(t), ID: anyUint(t), Value: anyBytes(t), Previous: anyBytes(t), At: anyMillis(t)}
}

func anyParams(t *rapid.T) Params {
	p := Params{
		Window: anyMillis(t), Skew: anyMillis(t), Deferral: anyMillis(t), KeyRetention: anyMillis(t), ExportMargin: anyUint(t),
		Zone: Zone{Name: anyText(t)},
	}
	for range rapid.IntRange(0, 3).Draw(t, "changes") {
		p.Zone.Changes = append(p.Zone.Changes, ZoneChange{From: anyMillis(t), OffsetS: rapid.Int32().Draw(t, "offset")})
	}
	return p
}

func anyTap(t *rapid.T) Tap {
	tap := Tap{
		UserID: anyUint(t), Kind: Kind(rapid.Uint8().Draw(t, "kind")), At: anyMillis(t), Day: Day(rapid.Int32().Draw(t, "day")),
		Minute: uint16(rapid.IntRange(0, 24*60-1).Draw(t, "minute")), Claim: anyMillis(t), ProposedAt: anyMillis(t), Location: anyLocation(t),
		ClientTime: anyMillis(t), Offline: anyBool(t), ClaimTrust: anyBool(t), Recorded: anyBool(t), WallClock: anyBool(t),
		Reason: Reason(rapid.Uint8().Draw(t, "reason")),
	}
	if anyBool(t) {
		tap.Winner, tap.Delta = max(1, anyUint(t)), anyMillis(t)
		tap.FirstSeenAt, tap.UpdatedAt = anyMillis(t), anyMillis(t)
	}
	if anyBool(t) {
		tap.ReviewOf, tap.Note = max(1, anyUint(t)), anyText(t)
	}
	return tap
}

func anyDetail(t *rapid.T, typ EventType) Detail {
	switch typ {
	case TapAccepted, TapDuplicate, TapReview, TapRejected, ReviewAccepted, ReviewDuplicate, ReviewRejected, ClaimAccepted, ClaimRejected:
		return anyTap(t)
	case UserCreated, UserUpdated, UserDeactivated:
		return UserChange{User: anyUser(t)}
	case PasswordSet, SessionsEnded:
		return SessionsChange{UserID: anyUint(t), Epoch: anyUint(t)}
	case GroupCreated, GroupUpdated, GroupDeleted:
		return GroupChange{
			Group: anyGroup(t), AddedMembers: anyIDs(t), RemovedMembers: anyIDs(t), AddedTeachers: anyIDs(t), RemovedTeachers: anyIDs(t),
		}
	case ParamsSet:
		return ParamsChange{Params: anyParams(t)}
	case ClockSet:
		return ClockChange{From: anyMillis(t), To: anyMillis(t)}
	case SecretRotated:
		return SecretChange{Name: anyText(t), ID: anyUint(t), Dropped: anyBool(t)}
	case TokenCreated, TokenUpdated, TokenRevoked:
		return TokenChange{ID: anyUint(t), Name: anyText(t), Groups: anyIDs(t), Revoked: anyBool(t)}
	case ActAudited:
		return AuditNote{Action: anyText(t), Subject: anyText(t), Note: anyText(t)}
	case ActRefused:
		return Refusal{Op: Op(rapid.Uint8().Draw(t, "op")), Reason: Reason(rapid.Uint8().Draw(t, "reason")), Subject: anyUint(t)}
	}
	t.Fatalf("event type %d has no generator", uint8(typ))
	return nil
}

const lastEventType = ActRefused

func anyEvent(t *rapid.T, typ EventType) Event {
	return Event{
		Seq: anyUint(t), Index: anyUint(t), At: anyMillis(t), SetBack: anyMillis(t), Type: typ,
		Principal: Principal{Kind: PrincipalKind(rapid.Uint8().Draw(t, "kind")), ID: anyUint(t)}, Key: anyText(t), Node: anyText(t),
		Detail: anyDetail(t, typ),
	}
}

// Commands that pass Check.

func printableText(t *rapid.T, least, most int) string {
	return rapid.StringOfN(rapid.RuneFrom([]rune(" !~azAZ09-_/")), least, most, -1).Draw(t, "ascii")
}

func validName(t *rapid.T) string {
	return "N" + rapid.StringOfN(rapid.RuneFrom([]rune("aé 日-")), 0, 60, 190).Draw(t, "name") + "n"
}

func validIDs(t *rapid.T) []uint64 {
	var ids []uint64
	for n := rapid.IntRange(0, 6).Draw(t, "ids"); n > 0; n-- {
		last := uint64(0)
		if len(ids) > 0 {
			last = ids[len(ids)-1]
		}
		ids = append(ids, last+1+rapid.Uint64Range(0, 1<<40).Draw(t, "id"))
	}
	return ids
}

func validID(t *rapid.T) uint64 { return rapid.Uint64Min(1).Draw(t, "id") }

func validMillis(t *rapid.T) Millis {
	return Millis(rapid.Int64Range(1, int64(MaxMillis)).Draw(t, "millis"))
}

func validLocation(t *rapid.T) Location {
	if anyBool(t) {
		return Location{
			Known: true, LatE7: rapid.Int32Range(-900_000_000, 900_000_000).Draw(t, "lat"),
			LonE7: rapid.Int32Range(-1_800_000_000, 1_800_000_000).Draw(t, "lon"), AccuracyCM: rapid.Uint32Range(0, MaxAccuracyCM).Draw(t, "accuracy"),
		}
	}
	return Location{Error: LocationError(rapid.IntRange(0, 3).Draw(t, "error"))}
}

func validParams(t *rapid.T) Params {
	p := DefaultParams()
	p.Window = Millis(rapid.Int64Range(int64(MinWindow), int64(MaxWindow)).Draw(t, "w"))
	p.Skew = Millis(rapid.Int64Range(0, int64(MaxSkew)).Draw(t, "s"))
	p.Deferral = Millis(rapid.Int64Range(int64(p.Window), int64(MaxDeferral)).Draw(t, "d"))
	p.KeyRetention = Millis(rapid.Int64Range(int64(p.Window+p.Skew+p.Deferral), int64(MaxKeyRetention)).Draw(t, "k"))
	p.ExportMargin = rapid.Uint64Range(0, MaxExportMargin).Draw(t, "margin")
	p.Zone.Changes = nil
	for n := rapid.IntRange(1, MaxZoneChanges).Draw(t, "changes"); n > 0; n-- {
		from := Millis(0)
		if len(p.Zone.Changes) > 0 {
			from = p.Zone.Changes[len(p.Zone.Changes)-1].From + 1 + Millis(rapid.Int64Range(0, 1<<36).Draw(t, "gap"))
		}
		p.Zone.Changes = append(p.Zone.Changes, ZoneChange{From: from, OffsetS: rapid.Int32Range(-maxOffsetS, maxOffsetS).Draw(t, "offset")})
	}
	return p
}

const lastOp = OpAudit

func validBody(t *rapid.T, op Op) Body {
	switch op {
	case OpCheckIn:
		c := CheckIn{UserID: validID(t), Kind: Kind(rapid.IntRange(1, 2).Draw(t, "kind")), Location: validLocation(t), Recorded: anyBool(t)}
		if anyBool(t) {
			c.WallClock, c.ReceivedAt = true, validMillis(t)
		} else {
			c.Age = validMillis(t) - 1
		}
		if c.Offline = anyBool(t); c.Offline {
			c.ClientTime, c.ClaimTrusted = validMillis(t), anyBool(t)
		}
		return c
	case OpPutUser:
		return PutUser{
			UserID: anyUint(t), Name: validName(t), Email: rapid.StringMatching(`[a-zA-Z0-9.+!#]{1,64}@[a-z0-9.-]{1,60}`).Draw(t, "email"),
			Role: Role(rapid.IntRange(1, 3).Draw(t, "role")), Active: anyBool(t), PasswordHash: printableText(t, 0, 60),
		}
	case OpDeactivateUser:
		return DeactivateUser{UserID: validID(t)}
	case OpSetPassword:
		return SetPassword{UserID: validID(t), PasswordHash: printableText(t, 1, 60)}
	case OpPutGroup:
		return PutGroup{
			GroupID: anyUint(t), Name: validName(t), Kind: GroupKind(rapid.IntRange(1, 2).Draw(t, "kind")), AddMembers: validIDs(t),
			RemoveMembers: validIDs(t), AddTeachers: validIDs(t), RemoveTeachers: validIDs(t),
		}
	case OpDeleteGroup:
		return DeleteGroup{GroupID: validID(t)}
	case OpSetParams:
		return SetParams{Params: validParams(t)}
	case OpSetClock:
		return SetClock{Clock: validMillis(t)}
	case OpSetLevel:
		return SetLevel{Level: rapid.Uint32Min(1).Draw(t, "level")}
	case OpRotateSecret:
		return RotateSecret{
			Name: rapid.StringMatching(`[a-z._]{1,64}`).Draw(t, "name"), Value: rapid.SliceOfN(rapid.Byte(), 16, MaxSecretValue).Draw(t, "value"),
			DropPrevious: anyBool(t),
		}
	case OpBumpSessionEpoch:
		return BumpSessionEpoch{UserID: anyUint(t)}
	case OpExportMark:
		return ExportMark{Target: printableText(t, 1, MaxTarget), Seq: anyUint(t), Retired: anyBool(t)}
	case OpResolve:
		return Resolve{Seq: validID(t), Accept: anyBool(t), Note: validName(t)}
	case OpPrune:
		return Prune{Floor: validMillis(t), ThroughSeq: anyUint(t)}
	case OpVerify:
		return Verify{Seq: validID(t), Hash: anyHash(t)}
	case OpPutToken:
		token := PutToken{TokenID: anyUint(t), Name: validName(t), Groups: validIDs(t)}
		if token.TokenID == 0 || anyBool(t) {
			hash := anyHash(t)
			token.Hash = hash[:]
		}
		return token
	case OpRevokeToken:
		return RevokeToken{TokenID: validID(t)}
	case OpAudit:
		return Audit{Action: rapid.StringMatching(`[a-z._]{1,64}`).Draw(t, "action"), Subject: validName(t), Note: validName(t)}
	}
	t.Fatalf("operation %d has no generator", uint8(op))
	return nil
}

func validCommand(t *rapid.T, op Op) Command {
	c := Command{
		Principal: Principal{Kind: PrincipalKind(rapid.IntRange(1, 3).Draw(t, "kind"))}, Key: printableText(t, 0, MaxKey),
		Node: printableText(t, 1, MaxNodeID), Body: validBody(t, op),
	}
	if c.Principal.Kind != SystemPrincipal {
		c.Principal.ID = validID(t)
	}
	return c
}
