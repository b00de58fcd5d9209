package compat_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"hadir/attendance"
	"hadir/fsm"
	"hadir/store"
)

// The scenario of level 1: two terms of a small school, from the night before
// summer time begins to the morning after it ends. It reads no clock and draws
// nothing. What it proposes next may depend on what was decided before, so it
// runs a machine along; what each command is expected to bring stands beside it,
// so that nobody has to read hexadecimal to know what the golden log is about.

const (
	minute = attendance.Millis(60_000)
	hour   = 60 * minute
	day    = attendance.DayMillis

	springForward = attendance.Millis(1_774_746_000_000) // 2026-03-29T01:00Z
	fallBack      = attendance.Millis(1_792_890_000_000) // 2026-10-25T01:00Z
)

var (
	cluster = attendance.ClusterID([]byte("compat, level 1."))
	berlin  = attendance.Zone{Name: "Europe/Berlin", Changes: []attendance.ZoneChange{
		{From: 0, OffsetS: 3_600}, {From: springForward, OffsetS: 7_200}, {From: fallBack, OffsetS: 3_600},
	}}
	system = attendance.Principal{Kind: attendance.SystemPrincipal}
	boss   = attendance.Principal{Kind: attendance.UserPrincipal, ID: 1}
)

func user(id uint64) attendance.Principal {
	return attendance.Principal{Kind: attendance.UserPrincipal, ID: id}
}

func device(id uint64) attendance.Principal {
	return attendance.Principal{Kind: attendance.DevicePrincipal, ID: id}
}

// author writes the log.
type author struct {
	t           *testing.T
	machine     *fsm.Machine
	now         attendance.Millis // the leader's wall clock
	index, term uint64
	log         []fsm.Entry
}

// entry proposes commands as one entry.
func (a *author) entry(commands ...attendance.Command) []attendance.Outcome {
	a.t.Helper()
	data, err := attendance.EncodeEntry(attendance.Entry{Level: 1, Cluster: cluster, ProposedAt: a.now, Commands: commands})
	if err != nil {
		a.t.Fatalf("entry %d: %v", a.index+1, err)
	}
	a.index++
	return a.hand(fsm.Entry{Index: a.index, Term: a.term, Data: data})
}

// hand hands an entry to the machine, which may know it already.
func (a *author) hand(e fsm.Entry) []attendance.Outcome {
	a.t.Helper()
	a.log = append(a.log, e)
	out, err := a.machine.Apply([]fsm.Entry{e})
	if err != nil {
		a.t.Fatalf("entry %d: %v", e.Index, err)
	}
	return out[0]
}

// again has raft hand over the last n entries once more, as after a restart.
func (a *author) again(n int) {
	a.t.Helper()
	for _, e := range a.log[len(a.log)-n:] {
		for _, o := range a.hand(e) {
			if o.Status != attendance.SkippedStatus {
				a.t.Fatalf("entry %d was decided twice: %+v", e.Index, o)
			}
		}
	}
}

// one proposes one command, a minute after the one before, and says what has to
// come of it.
func (a *author) one(p attendance.Principal, key string, body attendance.Body, status attendance.Status, why attendance.Reason) attendance.Outcome {
	a.t.Helper()
	a.now += minute
	out := a.entry(attendance.Command{Principal: p, Key: key, Node: "n1", Body: body})[0]
	a.expect(body, out, status, why)
	return out
}

func (a *author) expect(body attendance.Body, out attendance.Outcome, status attendance.Status, why attendance.Reason) {
	a.t.Helper()
	if out.Status != status || out.Reason != why {
		a.t.Fatalf("entry %d, %s %+v: %s %q, want %s %q", a.index, body.Op(), body, out.Status, out.Reason, status, why)
	}
}

func (a *author) does(p attendance.Principal, key string, body attendance.Body) attendance.Outcome {
	a.t.Helper()
	return a.one(p, key, body, attendance.DoneStatus, attendance.NoReason)
}

func (a *author) refused(p attendance.Principal, key string, body attendance.Body, why attendance.Reason) attendance.Outcome {
	a.t.Helper()
	return a.one(p, key, body, attendance.RejectedStatus, why)
}

func (a *author) meta() (m store.Meta) {
	a.t.Helper()
	if err := a.machine.State().View(func(tx *store.ReadTx) error { m = tx.Meta(); return nil }); err != nil {
		a.t.Fatal(err)
	}
	return m
}

func level1(t *testing.T, m *fsm.Machine) []fsm.Entry {
	a := &author{t: t, machine: m, now: springForward - 19*hour, index: 2, term: 1} // 1 and 2 are raft's own
	a.people()
	a.housekeeping()
	a.again(5)
	a.groups()
	a.devices()
	a.term, a.index = 3, a.index+2 // an election that took two rounds, and its no-op
	a.taps()
	a.reviews()
	a.again(30)
	a.clock()
	a.retention()
	a.autumn()
	return a.log
}

func (a *author) people() {
	put := func(name, email string, role attendance.Role, active bool) attendance.PutUser {
		return attendance.PutUser{Name: name, Email: email, Role: role, Active: active}
	}
	root := put("Kepala Sekolah 管理者", "Kepala@Sekolah.example", attendance.Admin, true)
	root.PasswordHash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"
	a.does(system, "root", root)
	a.does(boss, "u2", put("Bu Sítî Nurhaliza", "siti@sekolah.example", attendance.Teacher, true))
	a.does(boss, "u3", put("Ægir Þórsson", "aegir@sekolah.example", attendance.Student, true))
	a.does(boss, "u4", put("王小明", "wang@sekolah.example", attendance.Student, true))
	a.does(boss, "u5", put("עומר בן־דוד", "omer@sekolah.example", attendance.Student, true))
	a.does(boss, "", put("Zoë 👩‍🏫 n\u0303", "zoe@sekolah.example", attendance.Teacher, false)) // a ligature of emoji, and a letter that is not composed

	a.refused(boss, "twin", put("Twin", "AEGIR@sekolah.EXAMPLE", attendance.Student, true), attendance.EmailTaken)
	stranger := put("Nobody", "nobody@sekolah.example", attendance.Student, true)
	stranger.UserID = 99
	a.refused(boss, "", stranger, attendance.UnknownUser)
	change := put("Ægir Þórsson yngri", "AEGIR@sekolah.example", attendance.Student, true)
	change.UserID, change.PasswordHash = 3, "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$bmV3"
	a.does(boss, "u3b", change)

	demoted := put(root.Name, root.Email, attendance.Teacher, true)
	demoted.UserID = 1
	a.refused(boss, "", demoted, attendance.LastAdmin)
	a.refused(boss, "", attendance.DeactivateUser{UserID: 1}, attendance.LastAdmin)
	a.refused(boss, "", attendance.DeactivateUser{UserID: 99}, attendance.UnknownUser)
	a.does(boss, "bye", attendance.DeactivateUser{UserID: 5})

	a.does(user(4), "pw", attendance.SetPassword{UserID: 4, PasswordHash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$cHc"})
	a.refused(boss, "", attendance.SetPassword{UserID: 99, PasswordHash: "x"}, attendance.UnknownUser)
	a.does(system, "", attendance.BumpSessionEpoch{})
	a.does(boss, "", attendance.BumpSessionEpoch{UserID: 4})
	a.refused(boss, "", attendance.BumpSessionEpoch{UserID: 99}, attendance.UnknownUser)

	// A retry gets the first answer; the same key for something else gets none.
	if out := a.does(boss, "u4", put("王小明", "wang@sekolah.example", attendance.Student, true)); !out.Replayed || out.ID != 4 {
		a.t.Fatalf("retry: %+v", out)
	}
	if out := a.refused(boss, "twin", put("Twin", "AEGIR@sekolah.EXAMPLE", attendance.Student, true), attendance.EmailTaken); !out.Replayed {
		a.t.Fatalf("retry of what was refused: %+v", out)
	}
	a.refused(boss, "u4", put("王大明", "wang@sekolah.example", attendance.Student, true), attendance.KeyReused)
	a.refused(boss, "bye", attendance.DeactivateUser{UserID: 4}, attendance.KeyReused)
	a.does(user(2), "u4", attendance.Audit{Action: "roster.printed", Subject: "kelas 7", Note: "key of another principal"})
}

func (a *author) housekeeping() {
	p := attendance.DefaultParams()
	p.Deferral, p.KeyRetention, p.ExportMargin, p.Zone = day, 2*day, 20, berlin
	a.does(boss, "params", attendance.SetParams{Params: p})
	a.does(system, "", attendance.SetLevel{Level: 1})
	a.does(boss, "", attendance.Audit{Action: "backup.taken", Subject: "NAS – “Gudang”", Note: strings.Repeat("ü", 500)})

	for i := range attendance.MaxSecrets {
		a.does(system, "", attendance.RotateSecret{Name: "secret." + string(rune('a'+i)), Value: []byte(fmt.Sprintf("secret value %03d.", i))})
	}
	a.refused(system, "", attendance.RotateSecret{Name: "one.more", Value: make([]byte, 16)}, attendance.TooMany)
	a.does(system, "rotate", attendance.RotateSecret{Name: "secret.a", Value: []byte("another value of the secret")})
	a.does(system, "", attendance.RotateSecret{Name: "secret.b", Value: make([]byte, 64), DropPrevious: true})

	for i := range attendance.MaxTargets {
		a.does(system, "", attendance.ExportMark{Target: fmt.Sprint("target ", i), Seq: uint64(i)})
	}
	a.refused(system, "", attendance.ExportMark{Target: "one more", Seq: 1}, attendance.TooMany)
	a.refused(system, "", attendance.ExportMark{Target: "target 3", Seq: 1 << 40}, attendance.UnknownSeq)
	a.does(system, "", attendance.ExportMark{Target: "target 9", Seq: 2}) // a mark may fall
	for i := 2; i < attendance.MaxTargets; i++ {
		a.does(system, "", attendance.ExportMark{Target: fmt.Sprint("target ", i), Retired: true})
	}
}

func (a *author) groups() {
	class := attendance.PutGroup{Name: "Kelas 7 – Αθήνα", Kind: attendance.Class, AddMembers: []uint64{3, 4, 5}, AddTeachers: []uint64{2}}
	a.does(boss, "g1", class)
	a.does(boss, "", attendance.PutGroup{Name: "Tata Usaha", Kind: attendance.Department, AddMembers: []uint64{1, 2}})
	a.refused(boss, "", attendance.PutGroup{Name: "x", Kind: attendance.Class, AddMembers: []uint64{3, 98}}, attendance.UnknownUser)
	a.refused(boss, "", attendance.PutGroup{Name: "x", Kind: attendance.Class, AddTeachers: []uint64{2, 98}}, attendance.UnknownUser)
	a.refused(boss, "", attendance.PutGroup{Name: "x", Kind: attendance.Class, AddTeachers: []uint64{3}}, attendance.NotATeacher)
	a.refused(boss, "", attendance.PutGroup{GroupID: 77, Name: "x", Kind: attendance.Class}, attendance.UnknownGroup)
	// 5 goes, 4 is there already, 1 is new, 3 is added and removed at once.
	a.does(boss, "g1b", attendance.PutGroup{
		GroupID: 1, Name: "Kelas 8 – Αθήνα", Kind: attendance.Class,
		AddMembers: []uint64{1, 3, 4}, RemoveMembers: []uint64{3, 5, 6}, AddTeachers: []uint64{6}, RemoveTeachers: []uint64{2},
	})
	a.does(boss, "", attendance.DeleteGroup{GroupID: 2})
	a.refused(boss, "", attendance.DeleteGroup{GroupID: 2}, attendance.UnknownGroup)

	// More teachers than a group may have, several dozen in an entry.
	first := a.meta().NextUser
	crowd := attendance.PutGroup{Name: "Penuh", Kind: attendance.Department}
	for id := first; id <= first+attendance.MaxGroupTeachers; {
		var commands []attendance.Command
		for ; len(commands) < 67 && id <= first+attendance.MaxGroupTeachers; id++ {
			commands = append(commands, attendance.Command{Principal: system, Node: "n2", Body: attendance.PutUser{
				Name: fmt.Sprint("Guru ", id), Email: fmt.Sprintf("guru%d@sekolah.example", id), Role: attendance.Teacher, Active: id%2 == 0,
			}})
			crowd.AddTeachers = append(crowd.AddTeachers, id)
		}
		a.now += minute
		a.entry(commands...)
	}
	a.refused(boss, "", crowd, attendance.GroupFull)
	crowd.AddTeachers = crowd.AddTeachers[1:]
	a.does(boss, "", crowd)
}

func (a *author) devices() {
	hash := func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }
	a.does(boss, "t1", attendance.PutToken{Name: "Gerbang Utara", Hash: hash("north"), Groups: []uint64{1, 3}})
	a.does(boss, "", attendance.PutToken{Name: "Gerbang Selatan", Hash: hash("south")})
	a.refused(boss, "", attendance.PutToken{Name: "copy", Hash: hash("north")}, attendance.TokenTaken)
	a.refused(boss, "", attendance.PutToken{TokenID: 2, Name: "copy", Hash: hash("north")}, attendance.TokenTaken)
	a.refused(boss, "", attendance.PutToken{Name: "x", Hash: hash("x"), Groups: []uint64{2}}, attendance.UnknownGroup)
	a.refused(boss, "", attendance.PutToken{TokenID: 9, Name: "x"}, attendance.UnknownToken)
	a.does(boss, "", attendance.PutToken{TokenID: 1, Name: "Gerbang Barat 🚪"})
	a.does(boss, "", attendance.PutToken{TokenID: 2, Name: "Gerbang Selatan", Hash: hash("south, again"), Groups: []uint64{1}})
	a.does(boss, "", attendance.RevokeToken{TokenID: 2})
	a.refused(boss, "", attendance.PutToken{TokenID: 2, Name: "x"}, attendance.UnknownToken)
	a.refused(boss, "", attendance.RevokeToken{TokenID: 9}, attendance.UnknownToken)
	a.does(boss, "", attendance.RevokeToken{TokenID: 2})
}

func (a *author) taps() {
	in := attendance.CheckIn{UserID: 3, Kind: attendance.In}
	accepted := func(key string, p attendance.Principal, b attendance.CheckIn) attendance.Outcome {
		a.t.Helper()
		return a.one(p, key, b, attendance.AcceptedStatus, attendance.NoReason)
	}
	duplicate := func(key string, p attendance.Principal, b attendance.CheckIn) attendance.Outcome {
		a.t.Helper()
		return a.one(p, key, b, attendance.DuplicateStatus, attendance.NoReason)
	}

	b := in
	b.Location = attendance.Location{Known: true, LatE7: -61_753_924, LonE7: 1_068_271_528, AccuracyCM: 1_250}
	b.ClientTime = a.now
	accepted("tap", user(3), b)
	b.Age = 90_000 // a retry is older, and may have waited
	b.Recorded = true
	if out := accepted("tap", user(3), b); !out.Replayed {
		a.t.Fatalf("retry: %+v", out)
	}
	b.Kind = attendance.Out
	a.refused(user(3), "tap", b, attendance.KeyReused)
	duplicate("tap2", user(3), in)
	late := in
	late.Age, late.Recorded = 6*minute, true
	if out := duplicate("tap3", user(3), late); out.Record.FirstSeenAt >= out.Record.At {
		a.t.Fatalf("an earlier tap did not lower first_seen_at: %+v", out.Record)
	}
	accepted("", user(3), attendance.CheckIn{UserID: 3, Kind: attendance.Out, Location: attendance.Location{Error: attendance.LocationDenied}})
	if out := duplicate("tap2", user(3), in); !out.Replayed {
		a.t.Fatalf("retry of a duplicate: %+v", out)
	}

	// To the millisecond: W − 1 is a duplicate, W is not; on both sides.
	for i, off := range []struct {
		age    attendance.Millis
		status attendance.Status
	}{{0, 1}, {300_001, 1}, {300_000, 2}, {1, 2}, {600_001, 1}, {900_000, 2}, {600_002, 2}} {
		// A fresh hour and three people who have not tapped: the age is all that counts.
		if i == 0 {
			a.now += hour
		}
		body := attendance.CheckIn{UserID: 4, Kind: attendance.In, Age: off.age, Recorded: off.age > 0, Location: attendance.Location{Error: attendance.LocationTimeout}}
		a.expect(body, a.entry(attendance.Command{Principal: device(1), Node: "n3", Body: body})[0], off.status, attendance.NoReason)
	}

	// The night when the clocks go forward: local days and minutes jump, the rule
	// does not.
	a.now = springForward - 3*minute
	var commands []attendance.Command
	for i := range 8 {
		commands = append(commands, attendance.Command{Principal: device(1), Key: fmt.Sprint("night ", i), Node: "n2", Body: attendance.CheckIn{
			UserID: uint64(1 + i%4), Kind: attendance.Kind(1 + i/4), Age: attendance.Millis(i) * 17_000,
			Location: attendance.Location{Error: attendance.LocationUnavailable},
		}})
	}
	a.entry(commands...)
	a.now = springForward - 1
	a.entry(commands...) // retries, in another entry
	a.now = springForward + 3*minute
	a.entry(commands[0], attendance.Command{Principal: user(1), Node: "n1", Body: attendance.CheckIn{UserID: 1, Kind: attendance.In}})
	a.now = springForward + 21*hour // before local midnight and after it: 22:00Z
	accepted("", user(1), attendance.CheckIn{UserID: 1, Kind: attendance.In})
	a.now = springForward + 21*hour + 2*minute
	accepted("", user(2), attendance.CheckIn{UserID: 2, Kind: attendance.In})
}

// reviews are what a person has to decide, and how.
func (a *author) reviews() {
	review := func(p attendance.Principal, b attendance.CheckIn, why attendance.Reason) uint64 {
		a.t.Helper()
		return a.one(p, fmt.Sprint("review ", a.index), b, attendance.ReviewStatus, why).Seq
	}
	resolve := func(seq uint64, accept bool, status attendance.Status) {
		a.t.Helper()
		a.one(boss, fmt.Sprint("resolve ", a.index), attendance.Resolve{Seq: seq, Accept: accept, Note: "sudah dicek ✓"}, status, attendance.NoReason)
	}
	a.now += 10 * hour
	in := func(user uint64) attendance.CheckIn { return attendance.CheckIn{UserID: user, Kind: attendance.In} }
	wall := func(b attendance.CheckIn, at attendance.Millis) attendance.CheckIn {
		b.WallClock, b.ReceivedAt, b.Recorded = true, at, true
		return b
	}
	old := in(3)
	old.Age, old.Recorded = day+hour, true
	tooOld := review(user(3), old, attendance.TooOld)
	suspect := review(user(3), wall(in(3), a.now+10*hour), attendance.ClockSuspect)
	again := review(user(3), wall(in(3), a.now+11*hour), attendance.ClockSuspect)
	// Just within the skew: it counts, at the clock.
	a.one(user(4), "", wall(in(4), a.now+minute+2_000), attendance.AcceptedStatus, attendance.NoReason)
	a.one(user(4), "", wall(attendance.CheckIn{UserID: 4, Kind: attendance.Out}, a.now-hour), attendance.AcceptedStatus, attendance.NoReason)

	a.refused(user(99), "", in(999), attendance.UnknownUser)
	a.refused(user(5), "gone", in(5), attendance.InactiveUser)
	kept := in(999)
	kept.Recorded = true
	unknown := review(device(1), kept, attendance.UnknownUser)
	kept.UserID = 5
	inactive := review(device(1), kept, attendance.InactiveUser)

	resolve(tooOld, true, attendance.AcceptedStatus)
	resolve(suspect, true, attendance.AcceptedStatus)
	resolve(again, true, attendance.DuplicateStatus)
	a.refused(boss, "r", attendance.Resolve{Seq: unknown, Accept: true}, attendance.UnknownUser)
	resolve(unknown, false, attendance.DoneStatus)
	resolve(inactive, true, attendance.AcceptedStatus)
	a.refused(boss, "", attendance.Resolve{Seq: inactive}, attendance.UnknownReview)
	a.refused(boss, "", attendance.Resolve{Seq: 1 << 40}, attendance.UnknownReview)
	a.refused(boss, "r", attendance.Resolve{Seq: unknown, Accept: false}, attendance.KeyReused)

	// Offline phones: the record counts from when it arrived, the claim is for a
	// person to judge.
	offline := func(user uint64, before attendance.Millis, trusted bool) uint64 {
		a.t.Helper()
		a.now += hour
		b := in(user)
		b.Offline, b.ClientTime, b.ClaimTrusted = true, a.now-before, trusted
		return a.one(device(1), "", b, attendance.AcceptedStatus, attendance.NoReason).Seq
	}
	resolve(offline(3, 2*hour, true), true, attendance.DoneStatus)
	resolve(offline(3, 2*hour, false), false, attendance.DoneStatus)
	resolve(offline(3, -hour, false), true, attendance.DoneStatus) // a claim from the future lowers nothing
	offline(4, 3*hour, false)                                      // nobody ever judges this one
}

func (a *author) clock() {
	a.refused(boss, "", attendance.SetClock{Clock: a.now + 10*minute}, attendance.ClockNotBehind)
	a.now += 40 * day // a leader with a wrong clock
	a.does(boss, "mistake", attendance.Audit{Action: "clock.wrong"})
	right := a.now - 40*day
	a.does(boss, "repair", attendance.SetClock{Clock: right})
	// Its clock is still wrong: 40 days pass once more, and with them the key.
	a.one(user(3), "late", attendance.CheckIn{UserID: 3, Kind: attendance.Out}, attendance.AcceptedStatus, attendance.NoReason)
	a.does(boss, "repair", attendance.SetClock{Clock: right + 5*minute})
	a.now = right + 10*minute
	a.one(user(3), "", attendance.CheckIn{UserID: 3, Kind: attendance.Out}, attendance.AcceptedStatus, attendance.NoReason)
}

// retention lets keys and events go.
func (a *author) retention() {
	// Enough events that a permanent checkpoint of the chain is among them.
	for a.meta().Seq < 1_050 {
		var commands []attendance.Command
		for i := range 90 {
			commands = append(commands, attendance.Command{Principal: system, Node: "n1", Body: attendance.Audit{Action: "noise", Note: fmt.Sprint(i)}})
		}
		a.now += minute
		a.entry(commands...)
	}
	m := a.meta()
	a.does(system, "", attendance.Verify{Seq: m.Seq, Hash: m.Chain})
	var thousand attendance.Hash
	if err := a.machine.State().View(func(tx *store.ReadTx) error { thousand, _ = tx.ChainAt(1_000); return nil }); err != nil {
		a.t.Fatal(err)
	}
	a.does(system, "", attendance.Verify{Seq: 1_000, Hash: thousand})

	retried := attendance.CheckIn{UserID: 3, Kind: attendance.In}
	a.one(user(3), "again", retried, attendance.AcceptedStatus, attendance.NoReason)
	a.now += 2*day - 2*minute
	if out := a.one(user(3), "again", retried, attendance.AcceptedStatus, attendance.NoReason); !out.Replayed {
		a.t.Fatalf("a key died a minute too early: %+v", out)
	}
	if out := a.one(user(3), "again", retried, attendance.AcceptedStatus, attendance.NoReason); out.Replayed {
		a.t.Fatalf("a key outlived its retention: %+v", out)
	}

	old := attendance.CheckIn{UserID: 4, Kind: attendance.In, Age: day + hour, Recorded: true}
	waiting := a.one(user(4), "", old, attendance.ReviewStatus, attendance.TooOld).Seq
	a.now += 30 * day
	limit := func() attendance.Millis { return a.now + minute - day - 5*minute } // one proposes a minute from now
	a.refused(system, "", attendance.Prune{Floor: limit() + 1}, attendance.TooRecent)
	a.refused(system, "", attendance.Prune{Floor: limit() - 2*day + 1, ThroughSeq: 5}, attendance.TooRecent)
	a.refused(system, "", attendance.Prune{Floor: limit() - 2*day, ThroughSeq: 5}, attendance.NotExported)
	a.does(system, "", attendance.ExportMark{Target: "target 0", Retired: true})
	a.does(system, "", attendance.ExportMark{Target: "target 1", Seq: 70})
	a.refused(system, "", attendance.Prune{Floor: limit() - 2*day, ThroughSeq: 51}, attendance.NotExported)
	a.refused(system, "", attendance.Prune{Floor: limit() - 2*day, ThroughSeq: 1 << 40}, attendance.UnknownSeq)
	a.does(system, "", attendance.Prune{Floor: limit() - 2*day, ThroughSeq: 50})
	if m := a.meta(); m.FirstSeq != 51 {
		a.t.Fatalf("events from %d on are kept, want 51", m.FirstSeq)
	}
	a.refused(system, "", attendance.Prune{Floor: limit() - 3*day, ThroughSeq: 50}, attendance.FloorFalls)
	a.does(system, "", attendance.Prune{Floor: limit()})
	a.refused(boss, "", attendance.Resolve{Seq: waiting, Accept: true}, attendance.TooOld)
	a.refused(boss, "", attendance.Resolve{Seq: 7, Accept: true}, attendance.UnknownReview)
	a.one(user(4), "", attendance.CheckIn{UserID: 4, Kind: attendance.In, Age: 23*hour + 59*minute, Recorded: true}, attendance.AcceptedStatus, attendance.NoReason)
}

func (a *author) autumn() {
	a.term++
	a.now = fallBack - 2*minute
	m := a.meta()
	a.does(system, "", attendance.ExportMark{Target: "target 1", Seq: m.Seq})
	a.does(system, "", attendance.Prune{Floor: a.now - 10*day, ThroughSeq: m.Seq - 40})
	// Local 02:xx happens twice, on one day.
	for i := range 6 {
		a.now = fallBack + attendance.Millis(i-3)*30*minute
		var commands []attendance.Command
		for u := range 4 {
			commands = append(commands, attendance.Command{Principal: device(1), Key: fmt.Sprintf("autumn %d %d", i, u), Node: "n3", Body: attendance.CheckIn{
				UserID: uint64(1 + u), Kind: attendance.In, Age: attendance.Millis(u) * minute, Recorded: true,
			}})
		}
		a.entry(commands...)
		a.again(1)
	}
	// What is kept to the end: a record that was seen earlier than it says, and two
	// decisions of people.
	a.now += hour
	a.one(user(3), "", attendance.CheckIn{UserID: 3, Kind: attendance.Out}, attendance.AcceptedStatus, attendance.NoReason)
	a.one(user(3), "", attendance.CheckIn{UserID: 3, Kind: attendance.Out, Age: 3 * minute, Recorded: true}, attendance.DuplicateStatus, attendance.NoReason)
	kept := a.one(device(1), "", attendance.CheckIn{UserID: 5, Kind: attendance.Out, Recorded: true}, attendance.ReviewStatus, attendance.InactiveUser).Seq
	a.one(boss, "", attendance.Resolve{Seq: kept, Accept: true, Note: "ada di kelas"}, attendance.AcceptedStatus, attendance.NoReason)
	claim := a.one(device(1), "", attendance.CheckIn{UserID: 4, Kind: attendance.Out, Offline: true, ClientTime: a.now - hour}, attendance.AcceptedStatus, attendance.NoReason).Seq
	a.does(boss, "", attendance.Resolve{Seq: claim, Accept: true})
	// Events go a few dozen with each entry, up to the claim that nobody judged.
	for i := range 12 {
		a.does(boss, fmt.Sprint("last ", i), attendance.Audit{Action: "door.opened", Subject: "Gerbang Barat 🚪"})
	}
	m = a.meta()
	a.does(system, "", attendance.Verify{Seq: m.Seq, Hash: m.Chain})
}
