package httpapi_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"hadir/cluster"
	"hadir/httpapi"
)

// visit gives the page at a path, following redirects.
func visit(w *world, b *http.Client, path string) (reply, string) {
	w.t.Helper()
	response, err := b.Get(w.url + path)
	r := read(w.t, response, err)
	return r, string(r.body)
}

func post(w *world, b *http.Client, path string, form url.Values) (reply, string) {
	w.t.Helper()
	response, err := b.PostForm(w.url+path, form)
	r := read(w.t, response, err)
	return r, string(r.body)
}

func must(t *testing.T, page string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(page, part) {
			t.Errorf("%q is not on the page:\n%s", part, page)
		}
	}
}

var hiddenKey = regexp.MustCompile(`name="key" value="([^"]+)"`)

func TestPages(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	r, page := visit(w, b, "/")
	must(t, page, `<html lang="id">`, "Kata sandi", "Sebagai Admin (admin)")
	csp := r.Header.Get("Content-Security-Policy")
	if strings.Contains(csp, "unsafe") || !strings.Contains(csp, "default-src 'none'") || strings.Contains(page, "<style") || strings.Contains(page, " style=") ||
		strings.Contains(page, " onclick") {
		t.Errorf("policy %q", csp)
	}
	for _, asset := range regexp.MustCompile(`/assets/[^"]+`).FindAllString(page, -1) {
		a, _ := visit(w, b, asset)
		if a.StatusCode != http.StatusOK || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", asset, a.StatusCode, a.Header)
		}
	}
	if a, _ := visit(w, b, "/assets/app.0000000000.css"); a.StatusCode != http.StatusOK || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("an asset of another version: %d %v", a.StatusCode, a.Header)
	}
	w.want(w.get(0, "/assets/secret.css"), http.StatusNotFound, "not_found")

	r, page = post(w, b, "/sign-in", url.Values{"email": {emails[aniID]}, "password": {"wrong"}})
	if must(t, page, "Alamat atau kata sandi salah.", emails[aniID]); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("wrong password: %d", r.StatusCode)
	}
	_, page = post(w, b, "/sign-in", url.Values{"email": {emails[aniID]}, "password": {word}})
	must(t, page, "Halo, Ani", "Absen masuk", "Absen pulang", "Belum ada absen hari ini.", "pemimpin n2")
	if strings.Contains(page, `href="/cluster"`) {
		t.Error("a student sees the way to the cluster")
	}
	keys := hiddenKey.FindAllStringSubmatch(page, -1)
	if len(keys) != 2 || keys[0][1] == keys[1][1] {
		t.Fatalf("keys: %v", keys)
	}
	tap := url.Values{"key": {keys[0][1]}, "type": {"in"}}
	r, page = post(w, b, "/check-in", tap)
	if must(t, page, "Tercatat ", " WIB", keys[0][1], "pemimpin n2"); r.StatusCode != http.StatusOK {
		t.Errorf("tap: %d", r.StatusCode)
	}
	_, page = post(w, b, "/check-in", tap)
	must(t, page, "Tercatat ", "Ini jawaban atas absen yang sama")
	_, page = post(w, b, "/check-in", url.Values{"key": {key2}, "type": {"in"}})
	must(t, page, "Sudah tercatat ")
	_, page = post(w, b, "/check-in", url.Values{"key": {key2}, "type": {"out"}})
	must(t, page, "Tidak diterima", "Formulir ini sudah pernah dikirim")
	for err, says := range map[error]string{cluster.ErrNoLeader: "Belum tercatat", cluster.ErrUnknown: "Belum ada kepastian"} {
		w.node.set(func(n *fakeNode) { n.refuse = err })
		r, page = post(w, b, "/check-in", url.Values{"key": {key3}, "type": {"out"}})
		if must(t, page, says, "Coba lagi", `name="key" value="`+key3+`"`); r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%v: %d", err, r.StatusCode)
		}
	}
	w.node.set(func(n *fakeNode) { n.refuse = nil })
	_, page = visit(w, b, "/today")
	must(t, page, `<span class="kind in">masuk</span>`, "n1")
	if strings.Contains(page, "<html") {
		t.Error("a part is a whole page")
	}
	r, page = visit(w, b, "/cluster")
	if must(t, page, "Akun ini tidak boleh melakukannya."); r.StatusCode != http.StatusForbidden {
		t.Errorf("the cluster for a student: %d", r.StatusCode)
	}

	// The other language, and that it stays.
	_, page = visit(w, b, "/?lang=en")
	must(t, page, `<html lang="en">`, "Hello, Ani", "Check in")
	_, page = visit(w, b, "/")
	must(t, page, `<html lang="en">`)
	_, page = post(w, b, "/sign-out", nil)
	must(t, page, "Password")
	if r, _ := visit(w, b, "/today"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("a part for nobody: %d", r.StatusCode)
	}

	for _, form := range []url.Values{{"type": {"in"}}, {"key": {key1}}, {"key": {"x"}, "type": {"in"}}, {"key": {key1, key2}, "type": {"in"}}, {"key": {key1}, "type": {"\xff"}}} {
		before := w.node.proposals()
		r := w.do(aniID, "POST", "/check-in", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
		if r.StatusCode != http.StatusBadRequest || w.node.proposals() != before {
			t.Errorf("form %v: %d", form, r.StatusCode)
		}
	}
}

func TestStaffPages(t *testing.T) {
	w := newWorld(t)
	for _, who := range []int{aniID, budiID, citraID} {
		w.want(w.do(who, "POST", "/api/v1/checkins", `{"type":"in"}`), http.StatusCreated, "")
	}
	b := w.browser()
	_, page := post(w, b, "/sign-in", url.Values{"email": {emails[teacherID]}, "password": {word}})
	must(t, page, "<td>Ani</td>", "<td>Budi</td>", `href="/cluster"`)
	if strings.Contains(page, "<td>Citra</td>") {
		t.Error("a teacher sees another class")
	}
	_, page = visit(w, b, "/cluster")
	must(t, page, "pemimpin (leader) n2", "mati", "Masa jabatan 3: n2")
	if strings.Contains(page, "/cluster/demo") || strings.Contains(page, "/cluster/transfer") {
		t.Error("a teacher sees what admins may do")
	}
	admin := w.browser()
	post(w, admin, "/sign-in", url.Values{"email": {emails[adminID]}, "password": {word}})
	_, page = visit(w, admin, "/cluster")
	must(t, page, `action="/cluster/demo"`, "Bekukan", "Pindahkan kepemimpinan")
	post(w, admin, "/cluster/demo", url.Values{"node": {"n3"}, "act": {"start"}})
	post(w, admin, "/cluster/transfer", nil)
	if strings.Join(w.demo.acts, ",") != "start n3" || w.node.moved != 1 {
		t.Errorf("acts %v, %d transfers", w.demo.acts, w.node.moved)
	}
	if r, _ := post(w, admin, "/cluster/demo", url.Values{"node": {"n3"}, "act": {"explode"}}); r.StatusCode != http.StatusBadRequest {
		t.Errorf("another act: %d", r.StatusCode)
	}
	w.node.set(func(n *fakeNode) {
		n.status = func(s *cluster.Status) { s.Leader, s.CanLose, s.Nodes[1].Reachable = "", 0, false }
	})
	_, page = visit(w, admin, "/cluster/nodes")
	must(t, page, "Tanpa kuorum", "tidak ada")
}

// TestNoDemo: outside of a demo there is nothing of it.
func TestNoDemo(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Demo, c.Accounts = nil, nil })
	w.want(w.get(0, "/api/v1/demo/accounts"), http.StatusNotFound, "not_found")
	w.want(w.do(adminID, "POST", "/api/v1/demo/n1/kill", ""), http.StatusNotFound, "not_found")
	if _, page := visit(w, w.browser(), "/"); strings.Contains(page, word) || strings.Contains(page, "Demo") {
		t.Error("the first page shows a demo")
	}
	demo := newWorld(t)
	r := demo.get(0, "/api/v1/demo/accounts")
	if got := strings.Join(ids(r, "password"), " "); got != word+" "+word {
		t.Errorf("accounts: %s", r.body)
	}
}
