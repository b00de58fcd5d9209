package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestHistoryPage: everybody sees their own records, by day, page by page.
func TestHistoryPage(t *testing.T) {
	w := newWorld(t)
	_, page := visit(w, w.as(aniID), "/history")
	must(t, page, "Riwayat saya", "Belum ada absen.")
	for i := range 60 {
		w.want(w.tap(aniID, fmt.Sprintf("01930000-0000-7000-8000-%012d", 100+i), tapIn), http.StatusCreated, "")
		w.clock.advance(6 * time.Minute)
	}
	w.want(w.tap(budiID, key1, tapIn), http.StatusCreated, "")
	b := w.as(aniID)
	_, page = visit(w, b, "/history")
	if n := strings.Count(page, `<span class="kind in">`); n != 50 {
		t.Errorf("%d rows on the first page", n)
	}
	_, older, _ := strings.Cut(page, `href="/history?cursor=`)
	older, _, _ = strings.Cut(older, `"`)
	_, page = visit(w, b, "/history?lang=en&cursor="+older)
	if n := strings.Count(page, `<span class="kind in">`); n != 10 || !strings.Contains(page, "Newest") || strings.Contains(page, "Older") {
		t.Errorf("%d rows on the second page", n)
	}
	if r, _ := visit(w, b, "/history?cursor=x"); r.StatusCode != http.StatusBadRequest {
		t.Errorf("a bad cursor: %d", r.StatusCode)
	}
}

// TestGroupPages: a teacher sees who of the own groups is there and who is not,
// and nothing of another's.
func TestGroupPages(t *testing.T) {
	w := newWorld(t)
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	w.want(w.tap(citraID, key2, tapIn), http.StatusCreated, "")
	b := w.as(teacherID)
	_, page := visit(w, b, "/groups")
	must(t, page, `href="/groups/1"`, "X-1", "1/2", `data-live`)
	if strings.Contains(page, "X-2") {
		t.Error("a teacher sees another's group")
	}
	_, page = visit(w, b, "/groups/1")
	must(t, page, "1 dari 2 sudah hadir", "Budi", "belum")
	if strings.Index(page, "Budi") > strings.Index(page, "Ani") {
		t.Error("who is missing does not stand first")
	}
	for _, path := range []string{"/groups/2", "/groups/2/members", "/groups/99"} {
		if r, _ := visit(w, b, path); r.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	_, part := visit(w, b, "/groups/1/members")
	if must(t, part, "Budi"); strings.Contains(part, "<html") {
		t.Error("a part is a page")
	}
	admin := w.as(adminID)
	_, page = visit(w, admin, "/groups/list")
	must(t, page, "X-1", "X-2")
	if r, _ := visit(w, w.as(aniID), "/groups"); r.StatusCode != http.StatusForbidden {
		t.Errorf("the groups for a student: %d", r.StatusCode)
	}
}

// TestDashboardPage: the counts are everybody's, the rows those of the scope.
func TestDashboardPage(t *testing.T) {
	w := newWorld(t)
	w.want(w.tap(aniID, key1, tapIn), http.StatusCreated, "")
	w.want(w.tap(aniID, key3, tapIn), http.StatusConflict, "")
	w.want(w.tap(citraID, key2, tapIn), http.StatusCreated, "")
	_, page := visit(w, w.as(teacherID), "/dashboard")
	must(t, page, `data-arrived="2"`, `data-duplicates="1"`, `class="name">Ani<`)
	if strings.Contains(page, "Citra") {
		t.Error("a teacher sees another's pupil arrive")
	}
	_, page = visit(w, w.as(adminID), "/dashboard")
	must(t, page, "Ani", "Citra")
	if r, _ := visit(w, w.as(aniID), "/dashboard"); r.StatusCode != http.StatusForbidden {
		t.Errorf("the dashboard for a student: %d", r.StatusCode)
	}
}

// TestInstall: what a phone keeps for a time without a connection says nothing
// about anybody.
func TestInstall(t *testing.T) {
	w := newWorld(t)
	r, page := visit(w, w.as(aniID), "/offline")
	must(t, page, `data-user="0"`, "Tanpa sambungan")
	if r.StatusCode != http.StatusOK || strings.Contains(page, "Ani") || strings.Contains(page, "/sign-out") {
		t.Errorf("the page without a connection: %d\n%s", r.StatusCode, page)
	}
	m := w.get(0, "/manifest.webmanifest")
	var manifest struct {
		Start string `json:"start_url"`
		Icons []struct {
			Source string `json:"src"`
		} `json:"icons"`
	}
	if err := json.Unmarshal(m.body, &manifest); err != nil || manifest.Start != "/" || len(manifest.Icons) != 1 ||
		m.Header.Get("Content-Type") != "application/manifest+json" {
		t.Errorf("manifest: %v %s", err, m.body)
	}
	w.want(w.get(0, manifest.Icons[0].Source), http.StatusOK, "")
	policy := r.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "worker-src 'self'") || !strings.Contains(policy, "manifest-src 'self'") {
		t.Errorf("policy %q", policy)
	}
	worker := w.get(0, "/sw.js")
	if strings.Contains(page, `<script type="module"`) == (worker.StatusCode == http.StatusNotFound) {
		t.Errorf("scripts and worker are built together: %d", worker.StatusCode)
	}
}

// as gives a browser in which somebody is signed in.
func (w *world) as(user int) *http.Client {
	w.t.Helper()
	b := w.browser()
	post(w, b, "/sign-in", url.Values{"email": {emails[user]}, "password": {word}})
	return b
}
