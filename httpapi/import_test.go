package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/store"
)

const importPath = "/api/v1/users/import"

type importRow struct {
	Row           int
	Status        string
	ID            uint64
	Field, Reason string
}

type importReport struct {
	Rows, Created, Updated, Unchanged, Errors, Unknown, Skipped int
	Stopped                                                     *struct{ Code, Detail string }
	Items                                                       []importRow
}

// load sends a file of people.
func (w *world) load(file, query string) (report importReport) {
	w.t.Helper()
	r := w.do(adminID, "POST", importPath+query, file, "Content-Type", "text/csv; charset=utf-8")
	w.want(r, http.StatusOK, "")
	if err := json.Unmarshal(r.body, &report); err != nil {
		w.t.Fatal(err)
	}
	if report.Rows != len(report.Items) || report.Rows != report.Created+report.Updated+report.Unchanged+report.Errors+report.Unknown+report.Skipped {
		w.t.Errorf("the numbers do not add up: %+v", report)
	}
	return report
}

// row gives what became of a line.
func (r importReport) row(line int) importRow {
	for _, item := range r.Items {
		if item.Row == line {
			return item
		}
	}
	return importRow{}
}

// TestImport2000: two thousand people with bad rows in between. Each bad row is
// told, the others are applied, and the same file again changes nothing.
func TestImport2000(t *testing.T) {
	w := newWorld(t)
	const people = 2000
	bad := map[int]struct{ line, field, reason string }{
		17:   {"Nama,bukan-alamat,student,X-1", "email", "needs the form name@domain in at most 254 printable ASCII characters"},
		99:   {",p99@impor.test,student,X-1", "name", "is missing"},
		250:  {"Nama,p250@impor.test,boss,X-1", "role", `is "boss", which is neither student, teacher nor admin`},
		251:  {"Nama,p251@impor.test,,X-1", "role", "is missing"},
		600:  {"Nama,P20@impor.test,student,X-1", "email", "is in row 21 already"},
		777:  {"Nama,p777@impor.test,student,X-9", "groups", `has "X-9", which is no group`},
		1000: {`"Nama,p1000@impor.test,student,X-1`, "", "has quotation marks that do not match"},
		1234: {"N\xffma,p1234@impor.test,student,X-1", "", "is not in UTF-8: save the file as CSV UTF-8"},
		1500: {"Nama,gone@sekolah.test,student,X-1", "email", "is that of somebody who was deactivated: reactivate them first"},
		1998: {"Nama,p1998@impor.test,student,X-1,,extra", "", "has 6 columns, and the header 4"},
		2000: {"Guru,guru@sekolah.test,student,X-1", "role", "does not go with being responsible for a group"},
	}
	var file strings.Builder
	file.WriteString("name,email,role,groups\n")
	for i := 1; i <= people; i++ {
		if b, is := bad[i]; is {
			file.WriteString(b.line + "\n")
			continue
		}
		fmt.Fprintf(&file, "Person %d,p%d@impor.test,student,X-%d\n", i, i, 1+i%2)
	}
	dry := w.load(file.String(), "?dry_run=true")
	if dry.Errors != len(bad)-1 || dry.Created != people-len(bad) { // the last one only the state machine sees
		t.Errorf("dry run: %d errors, %d created", dry.Errors, dry.Created)
	}
	if n := w.node.proposals(); n != 0 {
		t.Errorf("a dry run made %d proposals", n)
	}
	report := w.load(file.String(), "")
	if report.Created != people-len(bad) || report.Errors != len(bad) || report.Stopped != nil {
		t.Fatalf("report: %+v", importReport{Created: report.Created, Errors: report.Errors, Updated: report.Updated, Stopped: report.Stopped})
	}
	for i := 1; i <= people; i++ {
		b, is := bad[i]
		got := report.row(i + 1)
		if is != (got.Status == "error") || (is && (got.Field != b.field || got.Reason != b.reason)) {
			t.Errorf("row %d: %+v, want %+v", i+1, got, b)
		}
	}
	var users, members uint64
	if err := w.node.machine.State().View(func(tx *store.ReadTx) error {
		users = tx.Meta().Users
		for _, id := range []uint64{1, 2} {
			g, err := tx.Group(id)
			if err != nil {
				return err
			}
			members += g.Members
		}
		u, err := tx.UserByEmail("p1@impor.test")
		if err != nil || u.Name != "Person 1" || !tx.Belongs(2, store.Member, u.ID) {
			t.Errorf("the first one is %+v %v", u, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if users != 6+people-uint64(len(bad)) || members != 3+people-uint64(len(bad)) {
		t.Errorf("%d users and %d members", users, members)
	}
	before := w.node.proposals()
	again := w.load(file.String(), "")
	if again.Unchanged != people-len(bad) || again.Errors != len(bad) || w.node.proposals()-before > 1 {
		t.Errorf("again: %d unchanged, %d errors, %d proposals", again.Unchanged, again.Errors, w.node.proposals()-before)
	}
}

func TestImportChanges(t *testing.T) {
	w := newWorld(t)
	w.node.setUp(t, attendance.PutGroup{Name: "Tata Usaha", Kind: attendance.Department})
	// As a spreadsheet of an Indonesian office writes it.
	report := w.load("\ufeffsep=;\r\nNama Lengkap;E-mail;Peran;Kata Sandi;Kelas;\r\n"+
		`"Ani ""Lestari""";ANI@sekolah.test;siswa;ignored-as-there-is-one;X-2 | x-1;`+"\r\n"+
		"Guru;guru@sekolah.test;guru;;X-1|tata usaha|X-2;\r\n"+
		";;;;;\r\n\r\n"+
		"Budi;budi@sekolah.test;Siswa;;;\r\n"+
		"Dewi;dewi@sekolah.test;GURU;kata-sandi;X-2\r\n"+
		"Eka;eka@sekolah.test;murid;pendek;X-2\r\n"+
		"Fajar;fajar@sekolah.test;murid", "")
	for line, want := range map[int]importRow{
		3: {3, "updated", aniID, "", ""}, 4: {4, "updated", teacherID, "", ""}, 7: {7, "unchanged", budiID, "", ""}, 8: {8, "created", 7, "", ""},
		9: {9, "error", 0, "password", "is shorter than 8 bytes"}, 10: {10, "created", 8, "", ""},
	} {
		got := report.row(line)
		if got.Status == "created" {
			want.ID = got.ID
		}
		if got != want {
			t.Errorf("line %d: %+v, want %+v", line, got, want)
		}
	}
	if report.Rows != 6 {
		t.Errorf("%d rows", report.Rows)
	}
	if ani := w.userOf(aniID); ani.Name != `Ani "Lestari"` || ani.Email != emails[aniID] {
		t.Errorf("Ani is %+v", ani)
	}
	dewi := report.row(8).ID
	for _, c := range []struct {
		group uint64
		part  store.Part
		want  []uint64
	}{
		{1, store.Member, []uint64{aniID, budiID}}, {1, store.Responsible, []uint64{teacherID}}, {2, store.Member, []uint64{aniID, citraID}},
		{2, store.Responsible, []uint64{teacherID, dewi}}, {3, store.Member, []uint64{teacherID}}, {3, store.Responsible, nil},
	} {
		if got := w.members(c.group, c.part); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("group %d, part %d: %v, want %v", c.group, c.part, got, c.want)
		}
	}
	w.want(w.signIn("dewi@sekolah.test", "kata-sandi"), http.StatusOK, "")
	w.want(w.signIn(emails[aniID], word), http.StatusOK, "") // a password that is there stays
	w.want(w.signIn(emails[aniID], "ignored-as-there-is-one"), http.StatusUnauthorized, "unauthenticated")
	w.want(w.signIn("fajar@sekolah.test", ""), http.StatusUnauthorized, "unauthenticated")

	// Somebody without a password gets one later.
	late := w.load("name,email,role,password\nFajar,fajar@sekolah.test,student,kata-sandi\n", "")
	if late.Updated != 1 {
		t.Errorf("late password: %+v", late)
	}
	w.want(w.signIn("fajar@sekolah.test", "kata-sandi"), http.StatusOK, "")
}

func TestImportFiles(t *testing.T) {
	w := newWorld(t)
	w.tokenOf(adminID)
	long := "name,email,role\n" + strings.Repeat("A,a@b.test,student\n", 5001)
	for _, c := range []struct {
		name, file, contentType string
		status                  int
		code, says              string
	}{
		{"empty", "", "text/csv", 400, "invalid_body", "is missing: the file is empty"},
		{"blank", "\ufeff\n ; ;\n", "text/csv", 400, "invalid_body", "is missing: the file is empty"},
		{"no email", "name,role\n", "text/csv", 400, "invalid_body", "has no column for email"},
		{"unknown column", "name,email,role,shoe\n", "text/csv", 400, "invalid_body", `has the column \"shoe\", which is not known`},
		{"column twice", "name,nama,email,role\n", "text/csv", 400, "invalid_body", "has two columns for name"},
		{"quotes", "\"name,email,role\n", "text/csv", 400, "invalid_body", "quotation marks"},
		{"UTF-16", "\xff\xfen\x00a\x00m\x00e\x00", "text/csv", 400, "invalid_body", "UTF-8"},
		{"JSON", `{"name":"A"}`, "application/json", 415, "unsupported_type", "text/csv"},
		{"Latin", "name,email,role\n", "text/csv; charset=iso-8859-1", 415, "unsupported_type", "UTF-8"},
		{"too many rows", long, "text/csv", 413, "too_large", "5000"},
		{"too large", "name,email,role\n" + strings.Repeat("x", 2<<20), "text/csv", 413, "too_large", "2048 KiB"},
	} {
		r := w.do(adminID, "POST", importPath, c.file, "Content-Type", c.contentType)
		if r.StatusCode != c.status || r.code() != c.code || !strings.Contains(string(r.body), c.says) {
			t.Errorf("%s: %d %s", c.name, r.StatusCode, r.body)
		}
	}
	w.want(w.do(adminID, "POST", importPath+"?dry_run=maybe", "name,email,role\n", "Content-Type", "text/csv"), http.StatusBadRequest, "invalid_query")
	if n := w.node.proposals(); n != 0 {
		t.Errorf("%d proposals", n)
	}
	// A header alone is a file about nobody, and other addresses keep their limit.
	if report := w.load("name\temail\trole\n", ""); report.Rows != 0 {
		t.Errorf("header only: %+v", report)
	}
	w.want(w.do(adminID, "POST", "/api/v1/users", strings.Repeat(" ", 65<<10)), http.StatusRequestEntityTooLarge, "too_large")
}

// TestImportStops: without a quorum nothing more is begun, and it is told what
// was done and what was not. The same file again does the rest.
func TestImportStops(t *testing.T) {
	w := newWorld(t)
	var file strings.Builder
	file.WriteString("name,email,role,groups\nNobody,nobody,student,\n")
	for i := range 200 {
		fmt.Fprintf(&file, "Person %d,p%d@impor.test,student,X-2\n", i, i)
	}
	w.node.set(func(n *fakeNode) { n.refuse = cluster.ErrNoLeader })
	r := w.do(adminID, "POST", importPath, file.String(), "Content-Type", "text/csv")
	w.want(r, http.StatusServiceUnavailable, "no_leader")
	if r.Header.Get("Retry-After") == "" || !strings.Contains(string(r.body), "Nothing was changed") {
		t.Errorf("no quorum: %v %s", r.Header, r.body)
	}
	if dry := w.load(file.String(), "?dry_run=true"); dry.Created != 200 { // a look needs none
		t.Errorf("dry run: %d", dry.Created)
	}
	for _, c := range []struct {
		err    error
		status string
		code   string
	}{{cluster.ErrNoLeader, "skipped", "no_leader"}, {cluster.ErrUnknown, "unknown", "unknown_outcome"}} {
		decided := 0
		w.node.set(func(n *fakeNode) {
			n.refuse = nil
			n.before = func(cluster.Request) error {
				if decided++; decided > 50 {
					return c.err
				}
				return nil
			}
		})
		report := w.load(file.String(), "")
		if report.Errors != 1 || report.Created+report.Updated != 0 || report.Stopped == nil || report.Stopped.Code != c.code ||
			!strings.Contains(report.Stopped.Detail, "Send the same file again") {
			t.Fatalf("%v: %+v", c.err, report)
		}
		there := 0
		for _, item := range report.Items {
			switch {
			case item.Status == c.status && item.ID == 0:
			case item.Status == "skipped" && item.Field == "groups" && item.ID > 0:
				there++ // and not in the group yet
			case item.Row == 2:
			case item.Status != "skipped" && item.Status != "unchanged":
				t.Errorf("%v: %+v", c.err, item)
			}
		}
		if there < 50 {
			t.Errorf("%v: of %d people it is told that they are there", c.err, there)
		}
	}
	w.node.set(func(n *fakeNode) { n.before = nil })
	report := w.load(file.String(), "")
	if report.Stopped != nil || report.Errors != 1 || report.Created+report.Updated != 200 {
		t.Errorf("the rest: %+v", report)
	}
	if got := w.members(2, store.Member); len(got) != 201 {
		t.Errorf("%d members", len(got))
	}
}

func TestImportOutOfTime(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.ImportTime = time.Nanosecond })
	r := w.do(adminID, "POST", importPath, "name,email,role\nA,a@b.test,student\n", "Content-Type", "text/csv")
	w.want(r, http.StatusServiceUnavailable, "out_of_time")
	if report := w.load("name,email,role\nAni,ani@sekolah.test,student\n", ""); report.Unchanged != 1 {
		t.Errorf("nothing to do takes no time: %+v", report)
	}
}

// TestImportRefusals: what only the state machine sees is the row's, too.
func TestImportRefusals(t *testing.T) {
	w := newWorld(t)
	w.node.fill(t, attendance.MaxGroupMembers)
	full := `{"name":"Penuh","kind":"department","members":` + idList(1, attendance.MaxGroupMembers) + `}`
	w.want(w.do(adminID, "POST", "/api/v1/groups", full), http.StatusCreated, "")
	w.want(w.do(adminID, "POST", "/api/v1/groups", `{"name":"x-2","kind":"class"}`), http.StatusCreated, "")
	w.node.set(func(n *fakeNode) {
		n.before = func(req cluster.Request) error {
			if u, ok := req.Command.Body.(attendance.PutUser); ok && u.Email == "taken@sekolah.test" {
				_, err := n.apply(cluster.Request{Command: attendance.Command{
					Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n2",
					Body: attendance.PutUser{Name: "First", Email: "taken@sekolah.test", Role: attendance.Student, Active: true},
				}})
				return err
			}
			return nil
		}
	})
	report := w.load("name,email,role,groups\n"+
		"Admin,admin@sekolah.test,teacher,\n"+
		"Baru,baru@sekolah.test,student,Penuh\n"+
		"Taken,taken@sekolah.test,student,\n"+
		"Dua,dua@sekolah.test,student,X-2\n", "")
	for line, want := range map[int][3]string{
		2: {"error", "", "Nobody would be left to administer"}, 3: {"error", "groups", "were not joined, though the person is there: The group is full"},
		4: {"error", "email", "is another person's"}, 5: {"error", "groups", `has "X-2", which is more than one group`},
	} {
		got := report.row(line)
		if [3]string{got.Status, got.Field, got.Reason} != want {
			t.Errorf("line %d: %+v, want %v", line, got, want)
		}
	}
	if report.row(3).ID == 0 {
		t.Error("who was created is not told")
	}
}
