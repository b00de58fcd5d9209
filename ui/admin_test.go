package ui_test

import (
	"strings"
	"testing"
	"time"

	"hadir/ui"
)

// Everything that the pages of admins are given words for.
var (
	eventTypes = []string{
		"attendance.accepted", "attendance.duplicate", "attendance.review", "attendance.rejected", "review.accepted", "review.duplicate",
		"review.rejected", "claim.accepted", "claim.rejected", "user.created", "user.updated", "user.deactivated", "user.password_set",
		"user.sessions_ended", "group.created", "group.updated", "group.deleted", "params.set", "clock.set", "secret.rotated",
		"token.created", "token.updated", "token.revoked", "audit.noted", "command.refused",
	}
	wrongs = []string{
		"name", "email", "role", "password", "current_password", "kind", "who", "teachers", "members", "as", "pick", "groups", "note",
		"date", "from", "to", "event_type", "window", "skew", "deferral", "key_retention", "export_margin", "time_zone",
	}
)

// adminPages gives every page of the admins in every state, with something in it
// that must not get into the markup.
func adminPages() map[string]ui.Screen {
	const bad = `<Ani>"'`
	form := ui.Form{Key: "k"}
	wrong := ui.Form{Key: "k", Trouble: "no_leader", Wrong: wrongs}
	other := ui.Form{Key: "k", Trouble: "out_of_bananas"}
	ani := ui.Person{ID: 3, Name: bad, Email: "ani@b", Role: "student", Active: true}
	gone := ui.Person{ID: 4, Name: "Gone", Email: "gone@b", Role: "teacher"}
	people := []ui.Person{ani, gone}
	tabs := ui.Tabs{Admin: true, Current: "records", Items: []ui.NavItem{{Key: "records", Href: "/records"}, {Key: "reviews", Href: "/reviews"}, {Key: "online", Href: "/online"}}}
	rows := []ui.Row{{Name: bad, Kind: "in", At: at, Seen: at.Add(-time.Minute), Node: "n1", ID: 7, User: 3, Offline: true}, {Name: "Budi", Kind: "out", At: at}}
	hub := ui.Hub{}
	for _, key := range []string{"records", "reviews", "online", "people", "groups", "import", "audit", "journal", "params", "tokens", "queue", "export"} {
		hub.Items = append(hub.Items, ui.HubItem{Key: key, Href: "/x", Count: 3, Counted: key != "online", Urgent: key == "reviews"})
	}
	report := &ui.Report{Dry: true, Lines: 9, Created: 1, Updated: 1, Unchanged: 1, Errors: 1, Unknown: 1, Skipped: 1, Stopped: "no_leader", Fine: []ui.ImportRow{
		{Line: 2, Name: bad, Email: "a@b", Status: "created"}, {Line: 3, ID: 4, Status: "updated"}, {Line: 4, ID: 5, Status: "unchanged"},
	}}
	for key, args := range faults {
		report.Wrong = append(report.Wrong, ui.ImportRow{Line: 5, Status: "error", Field: "groups", Reason: ui.Reason{Key: key, Args: args}})
	}
	report.Wrong = append(report.Wrong, ui.ImportRow{Line: 6, Status: "unknown"}, ui.ImportRow{Line: 7, Status: "skipped", Reason: ui.Reason{Text: "is blue"}})
	applied := *report
	applied.Dry, applied.Stopped, applied.Wrong = false, "", nil
	sizes := []ui.Amount{}
	for _, name := range []string{"window", "skew", "deferral", "key_retention"} {
		sizes = append(sizes, ui.Amount{Name: name, Value: "5", Unit: "minute", Units: []string{"day", "hour", "minute", "second", "ms"}})
	}
	params := ui.Params{Form: form, Seen: "s", Sizes: sizes, Margin: "10000", Zone: "Asia/Jakarta", Zones: []string{"Asia/Makassar"}, Now: at}
	changed := params
	for _, name := range []string{"window", "skew", "deferral", "key_retention", "export_margin", "time_zone"} {
		changed.Changes = append(changed.Changes, ui.Change{Name: name, Before: ui.Quantity{Value: "5", Unit: "minute"}, After: ui.Quantity{Value: bad}})
	}
	refused := params
	refused.Form, refused.Same, refused.Stale, refused.Done = wrong, true, true, "params_set"
	audit := ui.Audit{Types: eventTypes, Nodes: []string{"n1"}, Node: "n1", Type: "clock.set", Seq: 9, Chain: "3f4a", At: 7, Older: "/o", Sparse: true, Stale: true}
	for _, t := range eventTypes {
		audit.Rows = append(audit.Rows, ui.Event{Seq: 7, Type: t, Tone: "good", At: at, Node: "n1", Person: bad, User: 3, Principal: "user:1", Asked: "Admin", Raw: `{"name":"<Ani>"}`})
	}
	reviews := ui.Reviews{Tabs: tabs, Form: ui.Form{Key: "k", Trouble: "too_old", Wrong: []string{"note"}}, Decide: true, At: 7, Note: bad, Older: "/o", Newest: "/n", Stale: true}
	for _, reason := range []string{"", "too_old", "clock_suspect", "of_tomorrow"} {
		reviews.Rows = append(reviews.Rows,
			ui.Review{Seq: 7, For: "tap", Name: bad, User: 3, Kind: "in", Node: "n1", Reason: reason, Received: at, Claimed: at, Key: "k"},
			ui.Review{Seq: 8, For: "claim", Name: "Budi", Kind: "out", Received: at, Claimed: at, Trusted: true, Record: at, Key: "k"})
	}
	journal := ui.Journal{Node: "n1", Older: "/o", Newest: "/n", Others: []ui.Link{{Name: "n2", Href: "javascript:alert(1)"}, {Name: "n3"}}}
	for _, why := range []string{"sign_in_failed", "replayed", "invalid_body", "of_tomorrow"} {
		journal.Rows = append(journal.Rows, ui.JournalRow{
			No: 1, First: at, Last: at, Count: 12, Why: why, Status: 401, From: "203.0.113.7", Who: "user:3", Name: bad, Tried: bad, Action: "POST /x", Key: "k", Request: "r",
		})
	}
	queue := ui.Queue{
		Form: ui.Form{Key: "k", Trouble: "nothing_picked", Wrong: []string{"why"}}, Done: "retried", Missing: []string{"n2"}, Node: "n1", Reason: bad, Where: "n1", Note: bad,
		Address: "/admin/queue/failed?reason=%3C",
		Nodes: []ui.QueueNode{
			{Name: "n1", Waiting: 1234, Failed: 1, PerMinute: 90, Oldest: 90 * time.Second, EmptyIn: 3 * time.Hour, Waited: 9, Median: 800 * time.Millisecond, P99: 4 * time.Second, Mirror: true, RedisUp: true, RedisSafe: true},
			{Name: "n2", Error: bad}, {Name: "n3", Unusable: bad, Waiting: 1, EmptyIn: -1, Mirror: true, RedisUp: true}, {Name: "n4", Mirror: true, RedisWhy: bad}, {Name: "n5"},
		},
		Totals:  ui.QueueTotals{Waiting: 1235, Failed: 1, PerMinute: 90, Oldest: 90 * time.Second, EmptyIn: -1},
		Redis:   &ui.QueueRedis{Scheduled: 3, Archived: 1},
		Jobs:    []ui.Jobs{{Kind: "report", States: []ui.Tally{{Name: "waiting", Count: 2}, {Name: "failed", Count: 1}, {Name: "done"}, {Name: "of_tomorrow", Count: 4}}}, {Kind: bad}},
		Hooks:   []ui.Webhook{{Name: bad, Place: "https://x", State: "waiting", Lag: 2, Reason: bad, Failed: at}, {Name: "b", State: "standby"}, {Name: "c", State: "delivering", Reason: "410"}},
		Reasons: []ui.Tally{{Name: bad, Count: 2}}, Places: []ui.Tally{{Name: "n1", Count: 2}},
		Rows: []ui.SetAside{
			{ID: "n1/17", Where: "n1", Reason: bad, Key: "k", Kind: "in", User: 3, Person: bad, Received: at, Failed: at},
			{ID: "redis/x", Where: "redis", Reason: "foreign", Failed: at}, {ID: "n1/18", Where: "n1", User: 9, Kind: "report", Failed: at},
		},
		Parked: []ui.Parked{{Target: "mysql://db/" + bad, Count: 2, Events: []ui.ParkedEvent{{Seq: 7, Type: "user.updated", Reason: bad, Attempts: 2}, {Seq: 8, Type: "of_tomorrow", Again: true}}}},
	}
	export := ui.Export{Form: form, Done: "export_kept", Node: "n1", Leader: ui.Link{Name: "n2", Href: "http://n2/admin/export"}, Report: &ui.Comparison{
		Target: bad, Different: 1, Watermark: 1234, Parked: 1, Missing: 2, Days: []ui.Tally{{Name: "2026-11-23", Count: 1}}, Rows: []ui.Difference{{Table: "users", Key: "3", Column: "name", Want: bad, Got: "Anu"}},
	}}
	for _, state := range []string{"running", "standby", "down", "stopped", "unknown"} {
		export.Targets = append(export.Targets, ui.Target{Name: bad, Kind: "mysql", State: state, Watermark: 10482, LagEvents: 1, Lag: 61 * time.Minute, Parked: 1, Exported: 9})
	}
	for _, reason := range []string{"unreachable", "schema", "drift", "privileges", "read_only", "disk_full", "packet", "damaged", "gap", "ahead", "parked", "of_tomorrow"} {
		export.Targets = append(export.Targets, ui.Target{Name: "sqlite:///x", State: "stopped", Reason: reason, Detail: bad, Since: at, Outage: 61 * time.Minute})
	}
	return map[string]ui.Screen{
		"queue":           queue,
		"no queue":        ui.Queue{Form: ui.Form{Key: "k"}, Totals: ui.QueueTotals{}},
		"export":          export,
		"no export":       ui.Export{Report: &ui.Comparison{Equal: true}, Form: ui.Form{Trouble: "target_unavailable"}},
		"hub":             hub,
		"records":         ui.Records{Tabs: tabs, Filter: ui.RecordFilter{Name: bad, Kind: "in", Node: "n1", Nodes: []string{"n1"}, User: 3}, Person: bad, Days: []ui.Day{{Rows: rows}}, Older: "/o", Newest: "/n", CSV: "/c?q=%3C", Sparse: true, Stale: true},
		"no records":      ui.Records{Tabs: ui.Tabs{Items: tabs.Items}},
		"bad records":     ui.Records{Tabs: tabs, Form: ui.Form{Trouble: "invalid_query", Wrong: wrongs}},
		"people":          ui.People{Form: form, Done: "created", Query: bad, Rows: people, Total: 2, Older: "/o", Newest: "/n", Stale: true},
		"no people":       ui.People{Form: wrong, Open: true, New: ani, Role: "admin", Active: "false"},
		"person":          ui.PersonPage{Form: form, Person: ani, Edit: ani, HasPassword: true, Created: at, Updated: at, Groups: []ui.Membership{{ID: 1, Name: bad, As: "member"}, {ID: 2, As: "teacher"}}},
		"bad person":      ui.PersonPage{Form: wrong, Act: "edit", Person: gone, Edit: ani, Self: true, Created: at, Updated: at.Add(time.Hour), Stale: true, Done: "no such word"},
		"bad password":    ui.PersonPage{Form: wrong, Act: "password", Person: ani, Self: true},
		"import":          ui.Import{},
		"bad import":      ui.Import{Form: ui.Form{Trouble: "too_large"}, Faults: []ui.Reason{{Key: "no_column", Args: []any{"email"}}, {Text: bad}}},
		"report":          ui.Import{Report: report, File: "aGFkaXI="},
		"empty report":    ui.Import{Report: &ui.Report{Dry: true}, File: "aGFkaXI="},
		"applied":         ui.Import{Report: &applied},
		"admin groups":    ui.GroupList{Form: form, Done: "deleted", Query: bad, Only: "class", Rows: []ui.AdminGroup{{ID: 1, Name: bad, Kind: "class", Members: 3}, {ID: 2, Kind: "department"}}, Total: 2, Older: "/o"},
		"no admin groups": ui.GroupList{Form: wrong, Open: true, Name: bad, Kind: "department"},
		"admin group":     ui.GroupPage{Form: form, Group: ui.AdminGroup{ID: 1, Name: bad, Kind: "class"}, Members: people, Teachers: people, Older: "/o", As: "member"},
		"bad admin group": ui.GroupPage{Form: wrong, Act: "edit", Group: ui.AdminGroup{ID: 1, Name: "X", Kind: "class"}, Edit: ui.AdminGroup{Name: bad}, Who: bad, As: "teacher", Matches: []ui.Match{{Line: bad, People: people, More: true}, {Line: "x"}}},
		"audit":           audit,
		"no audit":        ui.Audit{Form: ui.Form{Trouble: "who_is_meant"}, People: []ui.Link{{Name: bad, Href: "/admin/audit?who=3"}}, Types: eventTypes},
		"reviews":         reviews,
		"no reviews":      ui.Reviews{Tabs: tabs, Form: other, Done: "claim.accepted"},
		"journal":         journal,
		"no journal":      ui.Journal{Node: "n1"},
		"params":          params,
		"changed params":  changed,
		"refused params":  refused,
		"tokens":          ui.Tokens{Form: form, Secret: "hd1.x", Made: bad, Groups: []ui.Choice{{ID: 1, Name: bad, Picked: true}}, Rows: []ui.Token{{ID: 1, Name: bad, Groups: []string{bad, "X"}, Created: at}, {ID: 2, Everybody: true, Revoked: true, Created: at}, {ID: 3, Created: at}}, Older: "/o"},
		"no tokens":       ui.Tokens{Form: wrong, Open: true, Name: bad, Lost: true, Made: "gate", Groups: []ui.Choice{{ID: 1, Name: "X"}}},
		"online":          ui.Online{Tabs: tabs, Connections: 3, Rows: []ui.OnlinePerson{{ID: 3, Name: bad, Nodes: []string{"n1", "n2"}, Times: 3}, {Name: "Budi", Times: 1}}, More: true, Stale: true},
	}
}

var faults = map[string][]any{
	"not_joined": nil, "not_reached": nil, "empty_file": nil, "missing": nil, "too_long": {"200"}, "too_short": {"8"}, "not_utf8": nil, "control": nil,
	"quotes": nil, "columns": {"4", "3"}, "column": {"<Ani>"}, "two_columns": {"name"}, "no_column": {"name"}, "email": nil, "role": {"boss"},
	"twice": {"2"}, "deactivated": nil, "no_group": {"X-9"}, "many_groups": {"X-1"}, "taken": nil, "teaches": nil, "last_admin": nil,
}

// TestAdminWords: what a form says of itself is in the right language and at the
// right field.
func TestAdminWords(t *testing.T) {
	id, en := pages(t, ui.Indonesian), pages(t, ui.English)
	for page, parts := range map[string][]string{
		id["bad person"]: {"Tanpa kuorum", "Tidak ada yang berubah", `aria-describedby="wrong-email"`, `id="wrong-email"`, "nonaktif", `value="k"`},
		en["bad person"]: {"No quorum", "Nothing was changed", "inactive"},
		id["no reviews"]: {"Tidak dapat dilakukan (out_of_bananas)", "Waktu dari HP disahkan."},
		id["report"]:     {"belum ada yang berubah", "Terapkan: 1 baru, 1 diubah", "“X-9” bukan grup yang ada", `<span lang="en">is blue</span>`},
		en["report"]:     {"Apply: 1 new, 1 changed", "has “X-9”, which is no group"},
		id["audit"]:      {"23 Nov 2026 06.58.14 WIB", "Kunci rahasia diganti", "Sidik rantai s.d. #9"},
		en["audit"]:      {"23 Nov 2026 06:58:14 WIB", "Secret rotated"},
		id["params"]:     {"menit", `<option value="minute" selected>`},
		id["queue"]: {"1.235", "90 dtk", "3 jam", "belum tahu", "Pilih dulu paling sedikit satu.", "Laporan", "of_tomorrow", `name="pick.n1/17"`, `id="wrong-why"`,
			`value="retry_all">Ulangi semua dengan alasan ini`, "#9", "tersambung, tahan mati listrik", `data-topic="queue"`},
		en["queue"]:     {"1,235", "3 h", "unknown", "800 ms · 99% at most 4 s", "Did not answer", "to be retried", "waiting for its endpoint", "2 events not delivered"},
		id["export"]:    {"#10.482", "1 kejadian · 61 mnt", "Kosongkan dan salin baru", "Lupakan tujuan ini"},
		en["export"]:    {"1 event · 61 min", "1 row differs from the events", "Somebody has to decide.", "of_tomorrow", "Who writes, and knows more"},
		en["no export"]: {"--export-url", "The same as the events"}, en["no queue"]: {"Nothing has failed."},
		en["bad password"]: {`aria-describedby="wrong-current_password"`},
	} {
		for _, part := range parts {
			if !strings.Contains(page, part) {
				t.Errorf("%q is not in\n%s", part, page)
			}
		}
	}
	if strings.Contains(id["bad password"], `id="wrong-name"`) {
		t.Error("the form that edits shows what is wrong with the one for the password")
	}
	if strings.Contains(id["bad person"], "no such word") {
		t.Error("an address can put words on the page")
	}
}
