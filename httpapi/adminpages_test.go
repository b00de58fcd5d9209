package httpapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/store"
)

const (
	uploadMedia = "multipart/form-data; boundary=grenze"
	// paramsForm changes the window from five minutes to six.
	paramsForm = "window=6&window_unit=minute&skew=2&skew_unit=second&deferral=7&deferral_unit=day&key_retention=8&key_retention_unit=day&" +
		"export_margin=10000&time_zone=Asia/Jakarta"
)

// upload gives the body of a form with a file and the button that was pressed.
func upload(file, step string) string {
	return "--grenze\r\nContent-Disposition: form-data; name=\"file\"; filename=\"people.csv\"\r\nContent-Type: text/csv\r\n\r\n" + file +
		"\r\n--grenze\r\nContent-Disposition: form-data; name=\"step\"\r\n\r\n" + step + "\r\n--grenze--\r\n"
}

// send posts a form without following where it leads.
func (w *world) send(user int, path, body string) reply {
	w.t.Helper()
	return w.do(user, "POST", path, body, "Content-Type", formMedia)
}

// did checks that a form was done and gives the page that follows.
func (w *world) did(r reply, page, word string) string {
	w.t.Helper()
	where, err := url.Parse(r.Header.Get("Location"))
	if err != nil || r.StatusCode != http.StatusSeeOther || where.Path != page || where.Query().Get("did") != word {
		w.t.Fatalf("%s %s: %d to %q, want %s and %s: %s", r.Request.Method, r.Request.URL, r.StatusCode, where, page, word, r.body)
	}
	next := w.get(adminID, where.String())
	if next.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %d", where, next.StatusCode)
	}
	return string(next.body)
}

// shown checks the status of a page and what is on it.
func (w *world) shown(r reply, status int, parts ...string) string {
	w.t.Helper()
	if r.StatusCode != status {
		w.t.Errorf("%s %s: %d, want %d", r.Request.Method, r.Request.URL, r.StatusCode, status)
	}
	for _, part := range parts {
		if !strings.Contains(string(r.body), part) {
			w.t.Errorf("%s %s: %q is not on the page:\n%s", r.Request.Method, r.Request.URL, part, r.body)
		}
	}
	return string(r.body)
}

// without checks what is not on a page.
func without(t *testing.T, page string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(page, part) {
			t.Errorf("%q is on the page:\n%s", part, page)
		}
	}
}

// user reads somebody as they are.
func (w *world) user(id uint64) (u attendance.User) {
	w.t.Helper()
	if err := w.node.machine.State().View(func(tx *store.ReadTx) (err error) {
		u, err = tx.User(id)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return u
}

// inGroup reads who is in a group.
func (w *world) inGroup(group uint64, part store.Part) (ids []uint64) {
	w.t.Helper()
	if err := w.node.machine.State().View(func(tx *store.ReadTx) error {
		ids = tx.People(group, part, 0, store.MaxPage)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return ids
}

// adminPages are all of them that one can go to.
var adminPages = []string{
	"/admin", "/admin/people", "/admin/people/3", "/admin/people/import", "/admin/groups", "/admin/groups/1", "/admin/audit",
	"/admin/journal", "/admin/params", "/admin/tokens",
}

// TestAdminPagesAreForAdmins: the pages for admins refuse everybody else, the
// lists are for teachers too, and each has the other language.
func TestAdminPagesAreForAdmins(t *testing.T) {
	w := newWorld(t)
	for _, path := range adminPages {
		page := w.shown(w.get(adminID, path), http.StatusOK, `<html lang="id">`, `aria-current="page"`)
		must(t, page, `href="/admin"`)
		w.shown(w.get(adminID, path+"?lang=en"), http.StatusOK, `<html lang="en">`)
		for _, who := range []int{teacherID, aniID} {
			w.shown(w.get(who, path), http.StatusForbidden, "Akun ini tidak boleh")
		}
		if r := w.get(0, path); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/" {
			t.Errorf("%s for nobody: %d", path, r.StatusCode)
		}
		if path != "/admin/people/import" {
			w.shown(w.get(adminID, path+"?colour=blue"), http.StatusBadRequest)
		}
	}
	for _, path := range []string{"/records", "/reviews"} {
		without(t, w.shown(w.get(teacherID, path), http.StatusOK, `href="/records"`), `href="/admin`)
		w.shown(w.get(adminID, path), http.StatusOK, `href="/admin"`)
		w.shown(w.get(aniID, path), http.StatusForbidden)
	}
	without(t, w.shown(w.get(aniID, "/"), http.StatusOK), `href="/records"`, `href="/admin"`)
	for _, path := range []string{"/admin/people/99", "/admin/people/x", "/admin/groups/99", "/admin/people/0"} {
		w.shown(w.get(adminID, path), http.StatusNotFound, "Halaman ini tidak ada.")
	}
}

func TestRecordsPage(t *testing.T) {
	w := newWorld(t)
	for i, who := range []int{aniID, budiID, citraID} {
		w.want(w.tap(who, fmt.Sprintf("01930000-0000-7000-8000-00000000010%d", i), `{"type":"in"}`), http.StatusCreated, "")
	}
	w.want(w.tap(aniID, key2, `{"type":"out"}`), http.StatusCreated, "")
	page := w.shown(w.get(adminID, "/records"), http.StatusOK, ">Ani</a>", ">Budi</a>", ">Citra</a>", `href="/api/v1/attendances?format=csv"`, "/admin/audit?at=")
	if n := strings.Count(page, `class="kind `); n != 4 {
		t.Errorf("%d rows", n)
	}
	without(t, w.shown(w.get(teacherID, "/records"), http.StatusOK, ">Ani</span>", ">Budi</span>"), "Citra", "/admin/")
	without(t, w.shown(w.get(adminID, "/records?q=an&type=out&node_id=n1&from=2020-01-01&to=2099-01-01&date="), http.StatusOK, ">Ani</a>",
		"from=2020-01-01&amp;node_id=n1&amp;q=an&amp;to=2099-01-01&amp;type=out", `value="2020-01-01"`), "Budi", `class="kind in"`)
	without(t, w.shown(w.get(adminID, "/records?user_id=4"), http.StatusOK, "Hanya catatan Budi", `name="user_id" value="4"`, "user_id=4"), ">Ani<")
	w.shown(w.get(adminID, "/records?node_id=n9"), http.StatusOK, "<option selected>n9</option>", "Tidak ada catatan yang cocok.")
	w.shown(w.get(teacherID, "/records?user_id=5"), http.StatusForbidden)
	for query, field := range map[string]string{
		"date=2026-01-01&from=2026-01-01": "date", "from=yesterday": "from", "to=x": "to", "from=2026-02-02&to=2026-01-01": "from",
	} {
		w.shown(w.get(adminID, "/records?"+query), http.StatusBadRequest, "Saringan ini tidak sah", fmt.Sprintf(`id="wrong-%s"`, field))
	}
	w.shown(w.get(adminID, "/records?cursor=x"), http.StatusBadRequest)
	csv := w.get(adminID, "/api/v1/attendances?format=csv&q=an")
	if csv.StatusCode != http.StatusOK || strings.Count(string(csv.body), "\r\n") != 3 {
		t.Errorf("the list that the page links to: %d %s", csv.StatusCode, csv.body)
	}
}

var olderLink = regexp.MustCompile(`href="([^"]+)">(?:Berikutnya|Next)<`)

// TestAdminPaging: a list goes on where its page ends, keeps its filter, and
// leads back.
func TestAdminPaging(t *testing.T) {
	w := newWorld(t)
	for i := range 60 {
		w.clock.advance(6 * time.Minute)
		w.want(w.tap(aniID, fmt.Sprintf("01930000-0000-7000-8000-%012d", i), tapIn), http.StatusCreated, "")
		w.node.setUp(t, attendance.PutUser{Name: fmt.Sprintf("Siswa %d", i), Email: fmt.Sprintf("s%d@x", i), Role: attendance.Student, Active: true})
		w.node.setUp(t, attendance.PutGroup{Name: fmt.Sprintf("K-%d", i), Kind: attendance.Department})
	}
	for path, marks := range map[string]struct {
		mark string
		rest int
	}{
		"/records?q=ani":                                    {`class="kind in"`, 10},
		"/admin/people?q=siswa":                             {`<strong>Siswa`, 10},
		"/admin/groups?kind=department":                     {`<strong>K-`, 10},
		"/admin/audit?who=3&event_type=attendance.accepted": {`class="event"`, 10},
	} {
		page := w.shown(w.get(adminID, path), http.StatusOK)
		if n := strings.Count(page, marks.mark); n != 50 {
			t.Errorf("%s: %d rows", path, n)
		}
		without(t, page, "Halaman pertama")
		link := olderLink.FindStringSubmatch(page)
		if link == nil {
			t.Errorf("%s: no way on", path)
			continue
		}
		page = w.shown(w.get(adminID, strings.ReplaceAll(link[1], "&amp;", "&")), http.StatusOK, "Halaman pertama")
		if n := strings.Count(page, marks.mark); n != marks.rest {
			t.Errorf("%s: %d rows on the second page", path, n)
		}
	}
}

func TestPeoplePages(t *testing.T) {
	w := newWorld(t)
	w.shown(w.get(adminID, "/admin/people"), http.StatusOK, "Citra", "gone@sekolah.test", "nonaktif", `name="key"`)
	without(t, w.shown(w.get(adminID, "/admin/people?q=ANI&role=student&active=true"), http.StatusOK, "ani@sekolah.test", `value="ANI"`), "budi@")
	w.shown(w.get(adminID, "/admin/people?role=boss"), http.StatusBadRequest)

	// Somebody new, with and without faults.
	bad := w.shown(w.send(adminID, "/admin/people", "key="+key1+"&name=&email=nobody&role=boss&password=short"), http.StatusBadRequest,
		"Perbaiki isian", `id="wrong-name"`, `id="wrong-email"`, `id="wrong-role"`, `id="wrong-password"`, `value="nobody"`, "<details class=\"card\" open>")
	without(t, bad, "short", `value="`+key1+`"`)
	before := w.node.proposals()
	for _, body := range []string{"key=x&name=D&email=d@x&role=student", "name=D&name=E", "name=D&colour=blue&email=d@x&role=student"} {
		if r := w.send(adminID, "/admin/people", body); r.StatusCode != http.StatusBadRequest || w.node.proposals() != before {
			t.Errorf("%s: %d", body, r.StatusCode)
		}
	}
	w.shown(w.send(adminID, "/admin/people", "key="+key1+"&name=D&email=ANI@sekolah.test&role=student"), http.StatusConflict,
		"Alamat ini milik orang lain", `id="wrong-email"`, `value="ANI@sekolah.test"`)
	form := "key=" + key2 + "&name=+Dewi+&email=dewi@sekolah.test&role=student&password=rahasia+sekali"
	page := w.did(w.send(adminID, "/admin/people", form), "/admin/people/7", "created")
	must(t, page, "Dewi", "Sudah ditambahkan.", "siswa")
	without(t, page, "belum punya kata sandi")
	w.did(w.send(adminID, "/admin/people", form), "/admin/people/7", "created_before")
	if u := w.user(7); u.Name != "Dewi" || u.Role != attendance.Student || !u.Active {
		t.Errorf("%+v", u)
	}

	// Change, deactivate, reactivate.
	must(t, w.did(w.send(adminID, "/admin/people/7", "name=Dewi+S&email=dewi@sekolah.test&role=teacher"), "/admin/people/7", "changed"), "Dewi S", "guru", "Perubahan sudah disahkan")
	w.shown(w.send(adminID, "/admin/people/7", "name=Dewi&email=budi@sekolah.test&role=teacher"), http.StatusConflict, `value="budi@sekolah.test"`, "<h1>Dewi S</h1>")
	w.shown(w.send(adminID, "/admin/people/2", "name=Guru&email=guru@sekolah.test&role=student"), http.StatusUnprocessableEntity, "Siswa tidak dapat menjadi penanggung jawab")
	w.shown(w.send(adminID, "/admin/people/1/active", "active=false"), http.StatusConflict, "Ini admin aktif yang terakhir")
	must(t, w.did(w.send(adminID, "/admin/people/7/active", "active=false"), "/admin/people/7", "changed"), "nonaktif", "Aktifkan lagi")
	w.did(w.send(adminID, "/admin/people/7/active", "active=true"), "/admin/people/7", "changed")
	if !w.user(7).Active {
		t.Error("is not active again")
	}
	w.shown(w.send(adminID, "/admin/people/7/active", "active=maybe"), http.StatusBadRequest)
	w.shown(w.send(adminID, "/admin/people/99/active", "active=false"), http.StatusNotFound)
	w.shown(w.send(adminID, "/admin/people/99", "name=X&email=x@x&role=student"), http.StatusNotFound)

	// Sessions and passwords.
	ani := w.as(aniID)
	w.did(w.send(adminID, "/admin/people/3/sessions", ""), "/admin/people/3", "sessions_ended")
	if _, page := visit(w, ani, "/history"); !strings.Contains(page, "Kata sandi") {
		t.Error("the session has not ended")
	}
	w.shown(w.send(adminID, "/admin/people/3/password", "password=short"), http.StatusBadRequest, `id="wrong-password"`)
	w.did(w.send(adminID, "/admin/people/3/password", "key="+key3+"&password=+kata+baru+"), "/admin/people/3", "password_set")
	w.want(w.signIn(emails[aniID], " kata baru "), http.StatusOK, "")
	// The key is the form's, not the password's.
	w.did(w.send(adminID, "/admin/people/3/password", "key="+key3+"&password=kata+lain+lagi"), "/admin/people/3", "password_set")
	w.want(w.signIn(emails[aniID], "kata lain lagi"), http.StatusOK, "")
	w.shown(w.send(budiID, "/admin/people/3/password", "password=rahasia+sekali"), http.StatusForbidden)
}

// TestOwnPasswordPage: an admin's own password takes the current one, and the browser
// stays signed in.
func TestOwnPasswordPage(t *testing.T) {
	w := newWorld(t)
	b := w.as(adminID)
	_, page := visit(w, b, "/admin/people/1")
	must(t, page, `name="current_password"`)
	r, page := post(w, b, "/admin/people/1/password", url.Values{"password": {"rahasia sekali"}})
	if must(t, page, `id="wrong-current_password"`); r.StatusCode != http.StatusBadRequest {
		t.Errorf("without the current one: %d", r.StatusCode)
	}
	r, page = post(w, b, "/admin/people/1/password", url.Values{"password": {"rahasia sekali"}, "current_password": {"wrong"}})
	if must(t, page, "Kata sandi sekarang tidak benar"); r.StatusCode != http.StatusForbidden {
		t.Errorf("with another: %d", r.StatusCode)
	}
	r, page = post(w, b, "/admin/people/1/password", url.Values{"password": {"rahasia sekali"}, "current_password": {word}})
	if must(t, page, "Kata sandi sudah diatur"); r.StatusCode != http.StatusOK {
		t.Errorf("with the right one: %d", r.StatusCode)
	}
	w.want(w.signIn(emails[adminID], "rahasia sekali"), http.StatusOK, "")
}

func TestGroupAdminPages(t *testing.T) {
	w := newWorld(t)
	w.shown(w.get(adminID, "/admin/groups"), http.StatusOK, "X-1", "2 anggota · 1 penanggung jawab", "X-2")
	without(t, w.shown(w.get(adminID, "/admin/groups?q=x-2"), http.StatusOK, "X-2"), "X-1")
	w.shown(w.send(adminID, "/admin/groups", "name=&kind=club"), http.StatusBadRequest, `id="wrong-name"`, `id="wrong-kind"`)
	page := w.did(w.send(adminID, "/admin/groups", "key="+key1+"&name=TU&kind=department"), "/admin/groups/3", "created")
	must(t, page, "TU", "bagian", "Belum ada.")
	must(t, w.did(w.send(adminID, "/admin/groups/3", "name=Tata+Usaha&kind=department"), "/admin/groups/3", "changed"), "Tata Usaha")
	w.shown(w.send(adminID, "/admin/groups/3", "name=&kind=department"), http.StatusBadRequest, `id="wrong-name"`, "<h1>Tata Usaha</h1>")

	// By address, by number, by name; what is not clear changes nothing.
	w.node.setUp(t, attendance.PutUser{Name: "Budi Kedua", Email: "budi2@sekolah.test", Role: attendance.Student, Active: true}) // 7
	w.did(w.send(adminID, "/admin/groups/3/join", "as=member&who=ani@sekolah.test%0D%0A5%0D%0A%0D%0A+Budi+"), "/admin/groups/3", "changed")
	if got := w.inGroup(3, store.Member); !slices.Equal(got, []uint64{aniID, budiID, citraID}) {
		t.Errorf("members %v", got)
	}
	before := w.node.proposals()
	page = w.shown(w.send(adminID, "/admin/groups/3/join", "as=member&who=sekolah.test%0Anobody%0Aguru@sekolah.test&pick.6=on"), http.StatusUnprocessableEntity,
		"Belum jelas siapa", "“sekolah.test” dapat berarti beberapa orang", "Tidak ada orang yang cocok dengan “nobody”", `name="pick.7"`,
		"gone@sekolah.test\nguru@sekolah.test\nnobody</textarea>")
	if w.node.proposals() != before {
		t.Error("something was changed")
	}
	key := hiddenKey.FindStringSubmatch(page)[1]
	w.did(w.send(adminID, "/admin/groups/3/join", "key="+key+"&as=member&who=guru@sekolah.test&pick.7=on"), "/admin/groups/3", "changed")
	w.did(w.send(adminID, "/admin/groups/3/join", "as=teacher&who=guru@sekolah.test"), "/admin/groups/3", "changed")
	w.shown(w.send(adminID, "/admin/groups/3/join", "as=teacher&who=ani@sekolah.test"), http.StatusBadRequest, `id="wrong-teachers"`)
	for _, body := range []string{"as=member&who=", "as=boss&who=ani@sekolah.test", "as=member&who=" + strings.Repeat("a%0A", 201)} {
		w.shown(w.send(adminID, "/admin/groups/3/join", body), http.StatusBadRequest)
	}
	must(t, w.did(w.send(adminID, "/admin/groups/3/leave", "as=member&pick.3=on&pick.2=on"), "/admin/groups/3", "changed"), "Budi Kedua")
	if got := w.inGroup(3, store.Member); !slices.Equal(got, []uint64{budiID, citraID, 7}) {
		t.Errorf("members %v", got)
	}
	w.did(w.send(adminID, "/admin/groups/3/leave", "as=teacher&pick.2=on"), "/admin/groups/3", "changed")
	if got := w.inGroup(3, store.Responsible); len(got) != 0 {
		t.Errorf("teachers %v", got)
	}
	w.shown(w.send(adminID, "/admin/groups/3/leave", "as=member"), http.StatusBadRequest)
	w.shown(w.get(adminID, "/admin/people/7"), http.StatusOK, "Tata Usaha", "anggota")
	without(t, w.did(w.send(adminID, "/admin/groups/3/delete", ""), "/admin/groups", "deleted"), "Tata Usaha")
	w.shown(w.send(adminID, "/admin/groups/3/delete", ""), http.StatusNotFound)
}

func TestImportPage(t *testing.T) {
	w := newWorld(t)
	send := func(body string) reply {
		return w.do(adminID, "POST", "/admin/people/import", body, "Content-Type", uploadMedia)
	}
	const file = "nama;email;peran;kelas\nDewi;dewi@x;siswa;X-1\nAni B;ani@sekolah.test;siswa;\nEko;dewi@x;siswa;\nFay;fay@x;bos;X-9\nGita;;siswa;\nHana;hana@x;siswa;X-9\nGone;gone@sekolah.test;siswa;\n"
	before := w.node.proposals()
	page := w.shown(send(upload(file, "check")), http.StatusOK, "belum ada yang berubah", "Terapkan: 1 baru, 1 diubah", "sudah ada di baris 2",
		"“bos” bukan siswa", "tidak diisi", "“X-9” bukan grup yang ada", "milik orang yang dinonaktifkan")
	without(t, page, ` lang="en">`)
	if w.node.proposals() != before {
		t.Error("a check has changed something")
	}
	data := regexp.MustCompile(`name="data" value="([^"]+)"`).FindStringSubmatch(page)
	if data == nil {
		t.Fatal("the file does not come back")
	}
	apply := "--grenze\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n" + strings.ReplaceAll(data[1], "&#43;", "+") +
		"\r\n--grenze\r\nContent-Disposition: form-data; name=\"step\"\r\n\r\napply\r\n--grenze--\r\n"

	// Without a quorum nothing is lost, and the file is still there.
	w.node.set(func(n *fakeNode) { n.refuse = cluster.ErrNoLeader })
	w.shown(send(apply), http.StatusServiceUnavailable, "Tanpa kuorum", "Tidak ada yang berubah", data[1], "Terapkan: 1 baru")
	w.node.set(func(n *fakeNode) { n.refuse = nil })
	page = w.shown(send(apply), http.StatusOK, "Sudah diterapkan", `href="/admin/people/7"`)
	without(t, page, `name="data"`)
	if u := w.user(7); u.Name != "Dewi" || w.user(aniID).Name != "Ani B" || !slices.Contains(w.inGroup(1, store.Member), 7) {
		t.Errorf("%+v", u)
	}
	w.shown(send(apply), http.StatusOK, "Sudah diterapkan")

	for _, c := range []struct {
		body, says string
		status     int
	}{
		{upload("", "check"), "berkas kosong", 400},
		{upload("name,shoe size\n", "check"), "kolom “shoe size” tidak dikenal", 400},
		{upload("\xff", "check"), "bukan UTF-8", 400},
		{upload(strings.Repeat("x", 2<<20+1), "check"), "Berkas terlalu besar", 413},
		{upload(strings.Repeat("x", 4<<20), "check"), "Berkas terlalu besar", 413},
		{strings.ReplaceAll(apply, data[1][:8], "!!!!!!!!"), "Tidak ada yang berubah", 400},
		{"--grenze\r\nContent-Dis", "Tidak ada yang berubah", 400},
		{upload("a", "check")[:40], "Tidak ada yang berubah", 400},
		{strings.ReplaceAll(upload(file, "apply"), `"step"`, `"colour"`), "Tidak ada yang berubah", 400},
		{strings.ReplaceAll(upload(file, "apply"), `"step"`, `"file"`), "Tidak ada yang berubah", 400},
	} {
		before := w.node.proposals()
		w.shown(send(c.body), c.status, c.says)
		if w.node.proposals() != before {
			t.Errorf("%.60q has changed something", c.body)
		}
	}
	r := w.do(adminID, "POST", "/admin/people/import", file, "Content-Type", "text/csv")
	w.shown(r, http.StatusUnsupportedMediaType, "Formulir ini tidak dapat dibaca")
}

func TestAuditPage(t *testing.T) {
	w := newWorld(t)
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	w.want(w.tap(aniID, key2, tapIn), http.StatusConflict, "")
	w.did(w.send(adminID, "/admin/people/5", "name=Citra+M&email=citra@sekolah.test&role=student"), "/admin/people/5", "changed")
	page := w.shown(w.get(adminID, "/admin/audit"), http.StatusOK, "Absen diterima", "Absen ganda", "Orang diubah", "Citra M", "user:1", "Admin",
		"&#34;delta_ms&#34;", "Sidik rantai s.d. #")
	if strings.Index(page, "Orang diubah</strong>") > strings.Index(page, "Absen ganda</strong>") {
		t.Error("the newest does not stand first")
	}
	without(t, w.shown(w.get(adminID, "/admin/audit?who=ani&event_type=attendance.duplicate&node_id=n1"), http.StatusOK, "Absen ganda</strong>"),
		"Absen diterima</strong>", "Orang diubah</strong>")
	w.shown(w.get(adminID, "/admin/audit?node_id=n7"), http.StatusOK, "Tidak ada kejadian yang cocok.")
	page = w.shown(w.get(adminID, "/admin/audit?who=sekolah"), http.StatusOK, "Belum jelas siapa", "/admin/audit?who=3")
	without(t, page, `class="event"`)
	w.shown(w.get(adminID, "/admin/audit?event_type=party"), http.StatusBadRequest, `id="wrong-event_type"`)
	w.shown(w.get(adminID, "/admin/audit?at=x"), http.StatusBadRequest)
	record := regexp.MustCompile(`/admin/audit\?at=(\d+)`).FindStringSubmatch(string(w.get(adminID, "/records").body))
	page = w.shown(w.get(adminID, record[0]), http.StatusOK, `<details class="event" data-tone="good" open>`)
	if _, first, _ := strings.Cut(page, `class="event"`); !strings.Contains(first[:min(len(first), 600)], "#"+record[1]) {
		t.Error("the event that was asked for does not stand first")
	}
}

func TestReviewPage(t *testing.T) {
	w := newWorld(t)
	claim := fmt.Sprintf(`{"type":"in","offline":true,"client_time":%q}`, w.clock.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	seqs := make(map[int]string)
	for i, who := range []int{aniID, budiID, citraID} {
		r := w.tap(who, fmt.Sprintf("01930000-0000-7000-8000-00000000010%d", i), claim)
		w.want(r, http.StatusCreated, "")
		seqs[who] = fmt.Sprint(r.at("attendance.id"))
	}
	page := w.shown(w.get(adminID, "/reviews"), http.StatusOK, "Ani", "Citra", "Menurut HP", "Sahkan waktu HP", "Diterima n1")
	without(t, w.shown(w.get(teacherID, "/reviews"), http.StatusOK, "Ani", "Keputusan diambil oleh admin."), "Citra", "<form method=\"post\" action=\"/reviews")
	key := regexp.MustCompile(`action="/reviews/` + seqs[aniID] + `"[^>]*>\s*<input type="hidden" name="key" value="([^"]+)"`).FindStringSubmatch(page)[1]
	form := "key=" + key + "&note=seen+at+the+gate&decision=accept"

	// The note stays when it could not be decided, and the key.
	w.node.set(func(n *fakeNode) { n.refuse = cluster.ErrUnknown })
	w.shown(w.send(adminID, "/reviews/"+seqs[aniID], form), http.StatusServiceUnavailable, "Belum ada kepastian", `value="seen at the gate"`, `value="`+key+`"`)
	w.node.set(func(n *fakeNode) { n.refuse = nil })
	without(t, w.did(w.send(adminID, "/reviews/"+seqs[aniID], form), "/reviews", "claim.accepted"), ">Ani<", "Ani <")
	w.did(w.send(adminID, "/reviews/"+seqs[aniID], form), "/reviews", "claim.accepted") // the same once more
	w.shown(w.send(adminID, "/reviews/"+seqs[aniID], "decision=accept"), http.StatusConflict, "Orang lain sudah memutuskannya")
	w.did(w.send(adminID, "/reviews/"+seqs[budiID], "decision=reject"), "/reviews", "claim.rejected")
	w.shown(w.send(adminID, "/reviews/"+seqs[citraID], "decision=perhaps"), http.StatusBadRequest)
	w.shown(w.send(adminID, "/reviews/"+seqs[citraID], "decision=accept&note="+strings.Repeat("x", 1001)), http.StatusBadRequest, `id="wrong-note"`)
	w.shown(w.send(teacherID, "/reviews/"+seqs[citraID], "decision=accept"), http.StatusForbidden)
	for _, seq := range []string{"1", "99999", "0", "x"} {
		w.shown(w.send(adminID, "/reviews/"+seq, "decision=accept"), http.StatusNotFound)
	}
}

func TestJournalPage(t *testing.T) {
	w, journal, _ := withJournal(t)
	w.want(w.signIn("nobody@x.test", "wrong password"), http.StatusUnauthorized, "")
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	w.shown(w.get(aniID, "/admin/journal"), http.StatusForbidden)
	w.node.set(func(n *fakeNode) {
		n.status = func(s *cluster.Status) { s.Nodes[1].HTTP = "http://10.0.0.2:8080/" }
	})
	if err := journal.Close(); err != nil { // writes what waits
		t.Fatal(err)
	}
	w.shown(w.get(adminID, "/admin/journal"), http.StatusOK, "Jurnal pintu n1", "Gagal masuk", "nobody@x.test", "Jawaban ulang", key1, "Tidak berhak", "Ani · user:3",
		`href="http://10.0.0.2:8080/admin/journal"`, "<strong>n3</strong>")
	w.shown(w.get(adminID, "/admin/journal?cursor=x"), http.StatusBadRequest)
}

func TestParamsPage(t *testing.T) {
	w := newWorld(t)
	params := func() (p attendance.Params) {
		if err := w.node.machine.State().View(func(tx *store.ReadTx) error {
			p = tx.Params()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	page := w.shown(w.get(adminID, "/admin/params"), http.StatusOK, `name="window" type="number" min="0" step="1" required value="5"`, "Asia/Makassar", " WIB")
	seen := regexp.MustCompile(`name="seen" value="([^"]+)"`).FindStringSubmatch(page)[1]
	start := params()
	before := w.node.proposals()

	// What would change, and then that it does.
	page = w.shown(w.send(adminID, "/admin/params", paramsForm+"&step=show&seen="+seen), http.StatusOK, "Yang akan berubah", "5 menit", "6 menit", `value="apply"`)
	if w.node.proposals() != before || strings.Count(page, `<th scope="row">`) != 1 {
		t.Error("the first step changes something, or shows what does not change")
	}
	w.shown(w.send(adminID, "/admin/params", strings.Replace(paramsForm, "window=6", "window=5", 1)+"&step=apply&seen="+seen), http.StatusOK, "Tidak ada yang berubah.")
	apply := paramsForm + "&step=apply&seen=" + seen + "&key=" + key1
	for err, says := range map[error]string{cluster.ErrNoLeader: "Tanpa kuorum", cluster.ErrUnknown: "Belum ada kepastian"} {
		w.node.set(func(n *fakeNode) { n.refuse = err })
		w.shown(w.send(adminID, "/admin/params", apply), http.StatusServiceUnavailable, says, `value="6"`, key1)
	}
	w.node.set(func(n *fakeNode) { n.refuse = nil })
	w.did(w.send(adminID, "/admin/params", apply), "/admin/params", "params_set")
	if p := params(); p.Window != 360_000 || p.Skew != start.Skew || len(p.Zone.Changes) != len(start.Zone.Changes) {
		t.Errorf("%+v", p)
	}

	// Somebody else was faster.
	other := strings.Replace(paramsForm, "skew=2", "skew=3", 1)
	w.shown(w.send(adminID, "/admin/params", other+"&step=apply&seen="+seen), http.StatusConflict, "Orang lain baru saja mengubah", "2 detik", "3 detik")

	// Another zone brings its own offsets.
	seen = regexp.MustCompile(`name="seen" value="([^"]+)"`).FindStringSubmatch(string(w.get(adminID, "/admin/params").body))[1]
	zone := strings.Replace(paramsForm, "Jakarta", "Makassar", 1)
	w.did(w.send(adminID, "/admin/params", zone+"&step=apply&seen="+seen), "/admin/params", "params_set")
	if p := params(); p.Zone.Name != "Asia/Makassar" || p.Zone.Changes[0].OffsetS != 8*3600 {
		t.Errorf("%+v", p.Zone)
	}
	for change, field := range map[string]string{
		"window=6>window=0": "window", "window_unit=minute>window_unit=fortnight": "window",
		"skew=2>skew=61": "skew", "deferral=7>deferral=61": "deferral", "key_retention=8>key_retention=7": "key_retention",
		"export_margin=10000>export_margin=-1": "export_margin", "export_margin=10000>export_margin=4294967297": "export_margin",
		"Asia/Jakarta>Mars/Olympus": "time_zone", "Asia/Jakarta>Local": "time_zone", "Asia/Jakarta>": "time_zone", "Asia/Jakarta>../../etc/passwd": "time_zone",
		"window=6>window=99999999999999999": "window", "window=6>window=1.5": "window", "window=6>window=": "window",
	} {
		from, to, _ := strings.Cut(change, ">")
		before := w.node.proposals()
		w.shown(w.send(adminID, "/admin/params", strings.Replace(paramsForm, from, to, 1)+"&step=apply"), http.StatusBadRequest, fmt.Sprintf(`id="wrong-%s"`, field))
		if w.node.proposals() != before {
			t.Errorf("%s was proposed", change)
		}
	}
}

func TestTokensPage(t *testing.T) {
	w := newWorld(t)
	w.shown(w.get(adminID, "/admin/tokens"), http.StatusOK, "Belum ada perangkat.", `name="pick.1"`)
	w.shown(w.send(adminID, "/admin/tokens", "name=&pick.2=on"), http.StatusBadRequest, `id="wrong-name"`, `name="pick.2" value="on" checked`)
	w.shown(w.send(adminID, "/admin/tokens", "name=gate&pick.99=on"), http.StatusBadRequest, `id="wrong-groups"`)
	form := "key=" + key1 + "&name=Gerbang&pick.1=on"
	page := w.shown(w.send(adminID, "/admin/tokens", form), http.StatusCreated, "Token untuk Gerbang", "tidak akan ditampilkan lagi", "X-1")
	secret := regexp.MustCompile(`hd1\.[A-Za-z0-9_-]+`).FindString(page)
	// It acts for the group that it names.
	tap := func(user int) reply {
		return w.do(0, "POST", "/api/v1/checkins", fmt.Sprintf(`{"type":"in","user_id":%d}`, user), "Authorization", "Bearer "+secret)
	}
	w.want(tap(aniID), http.StatusCreated, "")
	w.want(tap(citraID), http.StatusForbidden, "forbidden")
	without(t, w.shown(w.send(adminID, "/admin/tokens", form), http.StatusCreated, "sudah dibuat oleh kiriman sebelumnya"), secret)
	without(t, w.shown(w.get(adminID, "/admin/tokens"), http.StatusOK, "Gerbang", "Cabut"), secret)
	w.node.set(func(n *fakeNode) { n.refuse = cluster.ErrNoLeader })
	w.shown(w.send(adminID, "/admin/tokens", "key="+key2+"&name=Pintu&pick.2=on"), http.StatusServiceUnavailable, "Tanpa kuorum", `value="Pintu"`, key2, `name="pick.2" value="on" checked`)
	w.shown(w.send(adminID, "/admin/tokens/1/revoke", ""), http.StatusServiceUnavailable, "Tanpa kuorum", "Gerbang")
	w.node.set(func(n *fakeNode) { n.refuse = nil })
	must(t, w.did(w.send(adminID, "/admin/tokens/1/revoke", ""), "/admin/tokens", "revoked"), "dicabut")
	w.want(tap(aniID), http.StatusUnauthorized, "")
	w.shown(w.send(adminID, "/admin/tokens/9/revoke", ""), http.StatusNotFound)
}

// TestNoQuorumForms: without a quorum every form says that nothing was changed and
// comes back as it was sent, and when the outcome is not known it says that.
func TestNoQuorumForms(t *testing.T) {
	w := newWorld(t)
	w.node.setUp(t, attendance.PutToken{Name: "gate", Hash: make([]byte, 32)})
	for path, form := range map[string]struct{ body, kept string }{
		"/admin/people":            {"name=Dewi&email=dewi@x&role=teacher&password=rahasia+sekali", `value="dewi@x"`},
		"/admin/people/3":          {"name=Anita&email=ani@x&role=student", `value="Anita"`},
		"/admin/people/3/password": {"password=rahasia+sekali", `name="password"`},
		"/admin/people/3/sessions": {"", "<details class=\"card\" open>"},
		"/admin/people/3/active":   {"active=false", "<details class=\"card\" open>"},
		"/admin/people/6/active":   {"active=true", "<details class=\"card\" open>"},
		"/admin/groups":            {"name=X-9&kind=department", `value="X-9"`},
		"/admin/groups/1":          {"name=X-9&kind=class", `value="X-9"`},
		"/admin/groups/1/join":     {"as=member&who=citra@sekolah.test", "citra@sekolah.test</textarea>"},
		"/admin/groups/1/leave":    {"as=member&pick.3=on", "Ani"},
		"/admin/groups/1/delete":   {"", "<details class=\"card\" open>"},
		"/admin/params":            {paramsForm, `value="6"`},
		"/admin/tokens":            {"name=gate", `value="gate"`},
		"/admin/tokens/1/revoke":   {"", "gate"},
	} {
		for _, lang := range []string{"id", "en"} {
			for err, says := range map[error][2]string{
				cluster.ErrNoLeader: {"Tanpa kuorum", "No quorum"}, cluster.ErrUnknown: {"Belum ada kepastian", "Not certain yet"},
			} {
				if errors.Is(err, cluster.ErrUnknown) && path == "/admin/params" {
					continue // its first step proposes nothing
				}
				w.node.set(func(n *fakeNode) { n.refuse = err })
				r := w.do(adminID, "POST", path+"?lang="+lang, "key="+key1+"&"+form.body, "Content-Type", formMedia)
				says := map[string]string{"id": says[0], "en": says[1]}[lang]
				page := w.shown(r, http.StatusServiceUnavailable, says, `name="key" value="`+key1+`"`, form.kept)
				without(t, page, "rahasia")
				if r.Header.Get("Retry-After") == "" {
					t.Errorf("%s: no Retry-After", path)
				}
			}
			w.node.set(func(n *fakeNode) { n.refuse = nil })
		}
	}
	w.node.set(func(n *fakeNode) { n.unread = cluster.ErrNoLeader })
	w.shown(w.get(adminID, "/admin/people"), http.StatusServiceUnavailable)
}

// TestOnlinePage: an admin sees who is connected to any node, a teacher those of
// the own groups.
func TestOnlinePage(t *testing.T) {
	w := newWorld(t)
	w.watch.say("people", "n2", nil)
	w.shown(w.get(adminID, "/online"), http.StatusOK, "Tidak ada yang tersambung.")
	w.watch.say("people", "n2", httpapi.EncodePeople(map[uint64]int{citraID: 2, aniID: 1, 999: 1}))
	w.watch.say("people", "n3", httpapi.EncodePeople(map[uint64]int{aniID: 1}))
	w.shown(w.get(adminID, "/online"), http.StatusOK, `data-poll="/online/list"`, "2 orang · 4 sambungan", ">Ani</a>", "n2, n3", ">Citra</a>", `href="/admin"`)
	without(t, w.shown(w.get(teacherID, "/online"), http.StatusOK, ">Ani</span>", "1 orang · 2 sambungan"), "Citra", `href="/admin`)
	without(t, w.shown(w.get(adminID, "/online/list"), http.StatusOK, ">Citra<"), "<html")
	for _, path := range []string{"/online", "/online/list"} {
		w.shown(w.get(aniID, path), http.StatusForbidden)
	}
	w.shown(w.get(0, "/online/list"), http.StatusUnauthorized)
	plain := newWorld(t, func(c *httpapi.Config) { c.Watcher = nil })
	plain.shown(plain.get(adminID, "/online"), http.StatusNotFound)
	without(t, plain.shown(plain.get(adminID, "/records"), http.StatusOK), `href="/online"`)
	without(t, plain.shown(plain.get(adminID, "/admin"), http.StatusOK), `href="/online"`)
}
