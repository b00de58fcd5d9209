package attendance

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// narrow are parameters with round numbers: W 1 s, S 10 ms, D 5 s, K 10 s.
var narrow = Params{Window: 1_000, Skew: 10, Deferral: 5_000, KeyRetention: 10_000}

func TestClaim(t *testing.T) {
	for _, tt := range []struct {
		tap  CheckIn
		want Millis
	}{
		{CheckIn{}, 100_000},
		{CheckIn{Age: 1}, 99_999},
		{CheckIn{Age: 100_001}, -1},
		{CheckIn{WallClock: true, ReceivedAt: 7}, 7},
		{CheckIn{WallClock: true, ReceivedAt: 200_000}, 200_000},
		{CheckIn{Offline: true, ClientTime: 3, ClaimTrusted: true}, 100_000}, // a phone's word is evidence only
	} {
		if got := tt.tap.Claim(100_000); got != tt.want {
			t.Errorf("%+v claims %d, want %d", tt.tap, got, tt.want)
		}
	}
}

func TestPlace(t *testing.T) {
	const clock = 100_000
	for _, tt := range []struct {
		name         string
		claim, floor Millis
		at           Millis
		why          Reason
	}{
		{"now", clock, 0, clock, NoReason},
		{"a second ago", clock - 1_000, 0, clock - 1_000, NoReason},
		{"ahead by S", clock + 10, 0, clock, NoReason},
		{"ahead by S and one", clock + 11, 0, clock, ClockSuspect},
		{"far ahead", MaxMillis, 0, clock, ClockSuspect},
		{"old by D", clock - 5_000, 0, clock - 5_000, NoReason},
		{"old by D and one", clock - 5_001, 0, clock - 5_001, TooOld},
		{"before 1970", -1, 0, -1, TooOld},
		{"W above the floor", clock - 1_000, clock - 2_000, clock - 1_000, NoReason},
		{"one less", clock - 1_001, clock - 2_000, clock - 1_001, TooOld},
		{"ahead, with a floor above the clock", clock + 11, 2 * clock, clock, ClockSuspect},
		{"now, with a floor above the clock", clock, 2 * clock, clock, TooOld},
		{"now, W above the floor", clock, clock - 1_000, clock, NoReason},
		{"now, under W above the floor", clock, clock - 999, clock, TooOld},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if at, why := narrow.Place(tt.claim, clock, tt.floor); at != tt.at || why != tt.why {
				t.Fatalf("%d %s, want %d %s", at, why, tt.at, tt.why)
			}
		})
	}
}

func TestConflict(t *testing.T) {
	const at = 50_000
	none := Millis(-1)
	for _, tt := range []struct {
		name       string
		prev, next Millis
		want       Millis
	}{
		{"alone", none, none, none},
		{"W before", at - 1_000, none, none},
		{"one nearer", at - 999, none, at - 999},
		{"the same instant", at, none, at},
		{"W after", none, at + 1_000, none},
		{"one nearer after", none, at + 999, at + 999}, // the neighbour that everyone forgets
		{"next millisecond", none, at + 1, at + 1},
		{"between two, W from both", at - 1_000, at + 1_000, none},
		{"near to the later one", at - 1_000, at + 999, at + 999},
		{"near to both: the earlier wins", at - 999, at + 1, at - 999},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ref := func(at Millis) *Accepted {
				if at == none {
					return nil
				}
				return &Accepted{At: at, Seq: uint64(at)}
			}
			got := narrow.Conflict(at, ref(tt.prev), ref(tt.next))
			if (got == nil) != (tt.want == none) || (got != nil && got.At != tt.want) {
				t.Fatalf("%v, want %d", got, tt.want)
			}
		})
	}
}

func TestCheckPrune(t *testing.T) {
	const clock, limit = 100_000, 100_000 - 5_000 - 1_000
	for _, tt := range []struct {
		name           string
		floor, current Millis
		through        uint64
		want           Reason
	}{
		{"at the limit", limit, 0, 0, NoReason},
		{"over it", limit + 1, 0, 0, TooRecent},
		{"the same floor", 50, 50, 0, NoReason},
		{"a lower one", 49, 50, 0, FloorFalls},
		{"lower and too recent", limit + 1, limit + 2, 0, FloorFalls},
		{"events need another K", limit - 10_000, 0, 1, NoReason},
		{"events, over it", limit - 10_000 + 1, 0, 1, TooRecent},
		{"the floor stays where it is, too recent for events", limit, limit, 1, TooRecent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := narrow.CheckPrune(tt.floor, clock, tt.current, tt.through); got != tt.want {
				t.Fatalf("%s, want %s", got, tt.want)
			}
		})
	}
}

// Whatever is pruned as far as allowed, an honest tap within D is not refused
// for it, at any parameters.
func TestPruningKeepsWithinDeferral(t *testing.T) {
	property(t, func(t *rapid.T) {
		p := validParams(t)
		clock := validMillis(t)
		floor := clock - p.Deferral - p.Window
		if why := p.CheckPrune(floor, clock, floor, 0); why != NoReason {
			t.Fatalf("%s", why)
		}
		if at, why := p.Place(clock-p.Deferral, clock, floor); why != NoReason || at != clock-p.Deferral {
			t.Fatalf("%d %s", at, why)
		}
		if _, why := p.Place(clock-p.Deferral-1, clock, floor); why != TooOld {
			t.Fatalf("%s", why)
		}
		if p.Reachable(floor+p.Window-1, floor) || !p.Reachable(floor+p.Window, floor) {
			t.Fatal("reachable is off by one")
		}
	})
}

// Every value has a word of its own, and parsing gives it back.
func TestWords(t *testing.T) {
	inverse(t, "kind", In, Out, Kind.String, ParseKind)
	inverse(t, "role", Student, Admin, Role.String, ParseRole)
	inverse(t, "group kind", Class, Department, GroupKind.String, ParseGroupKind)
	inverse(t, "location error", NoLocationError, LocationTimeout, LocationError.String, ParseLocationError)
	inverse(t, "event type", TapAccepted, lastEventType, EventType.String, ParseEventType)
	inverse(t, "status", AcceptedStatus, SkippedStatus, Status.String, nil)
	inverse(t, "reason", NoReason, UnknownSeq, Reason.String, nil)
	inverse(t, "op", OpCheckIn, lastOp, Op.String, nil)
	for p, want := range map[Principal]string{
		{Kind: UserPrincipal, ID: 7}: "user:7", {Kind: DevicePrincipal, ID: 2}: "device:2", {Kind: SystemPrincipal}: "system:0",
	} {
		if p.String() != want {
			t.Errorf("%s, want %s", p, want)
		}
	}
	for _, typ := range []EventType{TapAccepted, ReviewAccepted} {
		if !typ.MakesRecord() {
			t.Errorf("%s makes no record", typ)
		}
	}
}

// A value without a word (a damaged row, a newer version) is named by its
// number. %v would ask it for its word again, until the stack overflows, which
// no recover can stop.
func TestUnknownWords(t *testing.T) {
	for _, got := range []string{
		Kind(99).String(), Role(99).String(), GroupKind(99).String(), LocationError(99).String(), EventType(99).String(),
		Status(99).String(), Reason(99).String(), Op(99).String(), fmt.Sprint(Kind(99)),
	} {
		if got != "unknown(99)" {
			t.Errorf("%q", got)
		}
	}
	if got := (Principal{Kind: 9, ID: 1}).String(); got != "unknown(9):1" {
		t.Errorf("%q", got)
	}
}

func inverse[T ~uint8](t *testing.T, what string, first, last T, word func(T) string, parse func(string) (T, bool)) {
	t.Helper()
	seen := map[string]T{}
	for v := first; v <= last; v++ {
		w := word(v)
		if other, ok := seen[w]; ok || (w == "" && v != 0) {
			t.Errorf("%s %d has the word %q, as %d has", what, uint8(v), w, uint8(other))
		}
		seen[w] = v
		if parse == nil {
			continue
		}
		if got, ok := parse(w); !ok || got != v {
			t.Errorf("%s %q parses as %d, %v", what, w, uint8(got), ok)
		}
	}
	if parse != nil {
		for _, w := range []string{"In", " in", "unknown", "0"} {
			if got, ok := parse(w); ok {
				t.Errorf("%s %q parses as %d", what, w, uint8(got))
			}
		}
	}
}

// Operations without an event are those of the cluster itself.
func TestQuiet(t *testing.T) {
	quiet := map[Op]bool{OpVerify: true, OpPrune: true, OpSetLevel: true, OpExportMark: true}
	for op := OpCheckIn; op <= lastOp; op++ {
		if op.Quiet() != quiet[op] {
			t.Errorf("%s: quiet %v", op, op.Quiet())
		}
	}
}

func TestFoldEmail(t *testing.T) {
	for in, want := range map[string]string{"": "", "A@B": "a@b", "Z@[`{": "z@[`{", "ÀÉ@x": "ÀÉ@x", "\u212a@x": "\u212a@x"} {
		if got := FoldEmail(in); got != want {
			t.Errorf("%q folds to %q, want %q", in, got, want)
		}
	}
}

// An answer follows from the event and the record that it names, alone.
func TestEventOutcome(t *testing.T) {
	tap := Tap{UserID: 7, Kind: In, At: 1_000, Offline: true, ClientTime: 900, ClaimTrust: true, Location: Location{Error: LocationDenied}}
	lost := tap
	lost.Winner, lost.Delta, lost.FirstSeenAt, lost.UpdatedAt = 3, -100, 950, 2_000
	winner := Record{ID: 3, UserID: 7, Kind: In, At: 1_100, FirstSeenAt: 1_100, Node: "n2", CreatedAt: 1_100, UpdatedAt: 1_100}
	for _, tt := range []struct {
		name   string
		typ    EventType
		detail Detail
		status Status
		record *Record
		id     uint64
	}{
		{"accepted", TapAccepted, tap, AcceptedStatus, &Record{
			ID: 9, UserID: 7, Kind: In, At: 1_000, FirstSeenAt: 1_000, Location: Location{Error: LocationDenied}, Node: "n1", Offline: true,
			ClaimedAt: 900, ClaimTrust: true, CreatedAt: 1_500, UpdatedAt: 1_500,
		}, 0},
		{"duplicate", TapDuplicate, lost, DuplicateStatus, &Record{
			ID: 3, UserID: 7, Kind: In, At: 1_100, FirstSeenAt: 950, Node: "n2", CreatedAt: 1_100, UpdatedAt: 2_000,
		}, 0},
		{"review", TapReview, tap, ReviewStatus, nil, 0},
		{"rejected", TapRejected, tap, RejectedStatus, nil, 0},
		{"review rejected", ReviewRejected, tap, DoneStatus, nil, 0},
		{"user", UserCreated, UserChange{User: User{ID: 5}}, DoneStatus, nil, 5},
		{"sessions", SessionsEnded, SessionsChange{UserID: 6, Epoch: 1}, DoneStatus, nil, 6},
		{"group", GroupDeleted, GroupChange{Group: Group{ID: 8}}, DoneStatus, nil, 8},
		{"token", TokenRevoked, TokenChange{ID: 4}, DoneStatus, nil, 4},
		{"secret", SecretRotated, SecretChange{ID: 2}, DoneStatus, nil, 2},
		{"refusal", ActRefused, Refusal{Op: OpPutUser, Reason: EmailTaken, Subject: 11}, RejectedStatus, nil, 11},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := Event{Seq: 9, At: 1_500, Type: tt.typ, Node: "n1", Detail: tt.detail}
			o := e.Outcome(winner)
			if o.Status != tt.status || o.ID != tt.id || o.Seq != 9 || o.DecideAt != 1_500 || o.Replayed {
				t.Fatalf("%+v", o)
			}
			if (o.Record == nil) != (tt.record == nil) || (o.Record != nil && *o.Record != *tt.record) {
				t.Fatalf("record %+v, want %+v", o.Record, tt.record)
			}
			if _, isRecord := e.Record(); isRecord != (tt.typ == TapAccepted) {
				t.Fatal("is a record, or is not")
			}
		})
	}
}
