package eventjson_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"hadir/attendance"
	"hadir/attendance/eventjson"
)

var update = flag.Bool("update", false, "write the golden file anew")

const lastEventType = attendance.ActRefused

// examples are events of every type. Each field has a value of its own, so that
// two that change places are seen.
func examples() (out []attendance.Event) {
	tap := attendance.Tap{
		UserID: 7, Kind: attendance.Out, At: 1_764_000_000_000, Day: 20416, Minute: 1439, Claim: 1_764_000_000_001,
		ProposedAt: 1_763_999_999_990,
		Location:   attendance.Location{Known: true, LatE7: -61_754_000, LonE7: 1_068_272_001, AccuracyCM: 1_250},
		ClientTime: 1_763_999_000_000, Offline: true, ClaimTrust: true, Reason: attendance.TooOld,
	}
	lost := tap
	lost.Location, lost.Offline, lost.ClaimTrust = attendance.Location{Error: attendance.LocationTimeout}, false, false
	lost.Recorded, lost.WallClock, lost.ClientTime, lost.Reason = true, true, 0, attendance.NoReason
	lost.Winner, lost.Delta, lost.FirstSeenAt, lost.UpdatedAt = 41, -180_000, 1_763_999_820_000, 1_764_000_000_002
	judged := lost
	judged.ReviewOf, judged.ReceivedBy, judged.Note = 40, "n3", "dilihat di \"gerbang\" <b>✓</b> \u2028"
	made := judged
	made.Winner, made.Delta, made.FirstSeenAt, made.UpdatedAt = 0, 0, 0, 0
	plain := attendance.Tap{
		UserID: 8, Kind: attendance.In, At: 1_764_000_000_000, Day: 20416, Minute: 0, Claim: 1_764_000_000_000, ProposedAt: 1_764_000_000_000,
		Location: attendance.Location{Known: true, LatE7: 5, LonE7: -1_800_000_000, AccuracyCM: 0},
	}
	ancient := plain
	ancient.Claim, ancient.Location, ancient.Reason = -attendance.MaxMillis, attendance.Location{}, attendance.TooOld
	user := attendance.User{
		ID: 7, Name: "Siti Nurhaliza", Email: "Siti@sekolah.id", Role: attendance.Teacher, Active: true, SessionEpoch: 3, CreatedAt: 11, UpdatedAt: 12,
	}
	group := attendance.Group{ID: 4, Name: "XII IPA 1", Kind: attendance.Class, Members: 36, Teachers: 2, CreatedAt: 13, UpdatedAt: 14}
	params := attendance.DefaultParams()
	params.Zone.Changes = append(params.Zone.Changes, attendance.ZoneChange{From: 1_800_000_000_000, OffsetS: -3600})
	details := map[attendance.EventType][]attendance.Detail{
		attendance.TapAccepted: {tap, plain}, attendance.TapDuplicate: {lost}, attendance.TapReview: {tap, ancient}, attendance.TapRejected: {tap},
		attendance.ReviewAccepted: {made}, attendance.ReviewDuplicate: {judged}, attendance.ReviewRejected: {made},
		attendance.ClaimAccepted: {judged}, attendance.ClaimRejected: {judged},
		attendance.UserCreated: {attendance.UserChange{User: user}}, attendance.UserUpdated: {attendance.UserChange{User: user}},
		attendance.UserDeactivated: {attendance.UserChange{User: attendance.User{ID: 9, Role: attendance.Student}}},
		attendance.PasswordSet:     {attendance.SessionsChange{UserID: 7, Epoch: 4}},
		attendance.SessionsEnded:   {attendance.SessionsChange{Epoch: 5}},
		attendance.GroupCreated: {attendance.GroupChange{
			Group: group, AddedMembers: []uint64{1, 300}, RemovedMembers: []uint64{2}, AddedTeachers: []uint64{3}, RemovedTeachers: []uint64{4, 5, 6},
		}},
		attendance.GroupUpdated: {attendance.GroupChange{Group: group}}, attendance.GroupDeleted: {attendance.GroupChange{Group: group}},
		attendance.ParamsSet: {attendance.ParamsChange{Params: params}}, attendance.ClockSet: {attendance.ClockChange{From: 20, To: 10}},
		attendance.SecretRotated: {attendance.SecretChange{Name: "session", ID: 9, Dropped: true}},
		attendance.TokenCreated:  {attendance.TokenChange{ID: 2, Name: "gate", Groups: []uint64{1, 4}}},
		attendance.TokenUpdated:  {attendance.TokenChange{ID: 2, Name: "gate"}},
		attendance.TokenRevoked:  {attendance.TokenChange{ID: 2, Name: "gate", Revoked: true}},
		attendance.ActAudited:    {attendance.AuditNote{Action: "backup.taken", Subject: "n1", Note: "by hand"}},
		attendance.ActRefused: {
			attendance.Refusal{Op: attendance.OpPutUser, Reason: attendance.EmailTaken, Subject: 7},
			attendance.Refusal{Op: attendance.OpResolve, Reason: attendance.UnknownReview, Subject: 40},
			attendance.Refusal{Op: attendance.OpPutGroup, Reason: attendance.KeyReused},
		},
	}
	for typ := attendance.TapAccepted; typ <= lastEventType; typ++ {
		for _, detail := range details[typ] {
			out = append(out, attendance.Event{
				Seq: 42, Index: 99, At: 1_764_000_000_003, SetBack: 5, Type: typ,
				Principal: attendance.Principal{Kind: attendance.DevicePrincipal, ID: 2}, Key: "k-1", Node: "n1", Detail: detail,
			})
		}
	}
	last := out[len(out)-1]
	last.Key, last.Principal = "", attendance.Principal{Kind: attendance.SystemPrincipal}
	return append(out, last)
}

// The form is promised to viewers, to exported rows and to whoever compares
// nodes. A line may be added; one that changes breaks them.
func TestGolden(t *testing.T) {
	var got []byte
	seen := map[attendance.EventType]bool{}
	for _, e := range examples() {
		seen[e.Type] = true
		got = append(eventjson.Append(got, e), '\n')
	}
	for typ := attendance.TapAccepted; typ <= lastEventType; typ++ {
		if !seen[typ] {
			t.Errorf("%s has no example", typ)
		}
	}
	if _, known := attendance.ParseEventType((lastEventType + 1).String()); known {
		t.Fatal("there is a newer event type: give it a form and an example")
	}
	const path = "testdata/events.golden"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Fatalf("the form has changed; see -update:\n%s", diff)
	}
}

// Every event is one valid object on one line, appended to what is there, with
// data that AppendData gives alone, and the stored form gives the same bytes.
func TestForm(t *testing.T) {
	for _, e := range examples() {
		got := eventjson.Append([]byte("before"), e)
		line, cut := bytes.CutPrefix(got, []byte("before"))
		if !cut || !bytes.HasPrefix(line, []byte(`{"seq":`)) || bytes.ContainsAny(line, "\r\n") {
			t.Errorf("%s: %s", e.Type, got)
		}
		var doc struct {
			Seq    uint64          `json:"seq"`
			ID     *string         `json:"id"`
			UserID uint64          `json:"user_id"`
			Record uint64          `json:"attendance_id"`
			Data   json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatalf("%s: %v: %s", e.Type, err, line)
		}
		if doc.Seq != e.Seq || (doc.ID == nil) != (e.Key == "") || doc.UserID != eventjson.UserID(e) || doc.Record != eventjson.AttendanceID(e) {
			t.Errorf("%s: %s", e.Type, line)
		}
		if data := eventjson.AppendData([]byte("["), e); string(data) != "["+string(doc.Data) {
			t.Errorf("data alone is %s, inside %s", data, doc.Data)
		}
		read, err := attendance.DecodeEvent(e.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if again := eventjson.Append(nil, read); !bytes.Equal(again, line) {
			t.Errorf("from the store: %s, want %s", again, line)
		}
	}
}

// Whatever a text holds, it comes back as it was.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "n1", `a "b" \ c`, "<script>&", "é ✓ \u2028\u2029", "\x00\x1f\x7f", "日本\t\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := eventjson.Append(nil, attendance.Event{
			Seq: 1, Type: attendance.ActAudited, Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: s, Key: s,
			Detail: attendance.AuditNote{Action: s, Subject: s, Note: s},
		})
		var doc struct {
			ID     *string `json:"id"`
			NodeID string  `json:"node_id"`
			Data   struct{ Action, Subject, Note string }
		}
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if !utf8.ValidString(s) {
			return // cannot come back: what is no UTF-8 is replaced
		}
		if doc.NodeID != s || doc.Data.Action != s || doc.Data.Subject != s || doc.Data.Note != s || (doc.ID == nil) != (s == "") {
			t.Errorf("%q became %s", s, b)
		}
	})
}
