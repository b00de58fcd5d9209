package httpapi_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"hadir/httpapi"
)

func newOpsWorld(t *testing.T) (*world, *fakeDesk, *fakeExports) {
	t.Helper()
	d, e := &fakeDesk{}, &fakeExports{}
	return newWorld(t, func(c *httpapi.Config) { c.Desk, c.Exports = d, e }), d, e
}

// TestQueuePage: what waits and what failed, and the filters.
func TestQueuePage(t *testing.T) {
	w, _, _ := newOpsWorld(t)
	page := w.shown(w.get(adminID, "/admin/queue?lang=en"), http.StatusOK, `data-topic="queue"`, "out of reach", "800 ms · 99% at most 4 s", ">Ani ",
		`name="pick.n1/17"`, `name="pick.redis/rubbish"`, queuedKey, `<option value="foreign">foreign (1)</option>`, "Refused by a database, events: 1", "no</strong>",
		`name="seq" value="7"`)
	without(t, page, "does not answer</span><dl")
	page = w.shown(w.get(adminID, "/admin/queue?reason=foreign"), http.StatusOK, `name="pick.redis/rubbish"`, `<option value="foreign" selected>`,
		`data-poll="/admin/queue/failed?reason=foreign"`, "dengan alasan ini", `<a href="/admin/queue?lang=en"`)
	without(t, page, `name="pick.n1/17"`)
	without(t, w.shown(w.get(adminID, "/admin/queue/failed?where=n1"), http.StatusOK, `name="pick.n1/17"`), "<html", "pick.redis")
	without(t, w.shown(w.get(adminID, "/admin/queue/numbers"), http.StatusOK, "n2", "out of reach"), "<html")
	w.shown(w.get(0, "/admin/queue/numbers"), http.StatusUnauthorized)
	w.shown(w.get(adminID, "/admin"), http.StatusOK, `href="/admin/queue"`, `href="/admin/export"`)
	for _, path := range []string{"/admin/queue", "/admin/queue/failed", "/admin/export", "/admin/export/list"} {
		w.shown(w.get(teacherID, path), http.StatusForbidden)
	}
	plain := newWorld(t)
	for _, path := range []string{"/admin/queue", "/admin/export"} {
		plain.shown(plain.get(adminID, path), http.StatusNotFound)
	}
	without(t, plain.shown(plain.get(adminID, "/admin"), http.StatusOK), `href="/admin/queue"`, `href="/admin/export"`)
}

// TestLanguageStays: the language is changed where one is, and stays so elsewhere.
func TestLanguageStays(t *testing.T) {
	w, _, _ := newOpsWorld(t)
	for _, path := range []string{"/", "/history", "/groups", "/groups/1", "/dashboard", "/cluster", "/records", "/reviews", "/online", "/admin", "/admin/people/3", "/admin/export", "/api/docs"} {
		r := w.get(adminID, path+"?lang=en")
		w.shown(r, http.StatusOK, `<html lang="en">`, `<a href="`+path+`?lang=id"`)
		if !strings.Contains(r.Header.Get("Set-Cookie"), "hadir_lang=en") {
			t.Errorf("%s forgets the language", path)
		}
	}
	w.shown(w.send(adminID, "/admin/queue/act", "act=retry"), http.StatusBadRequest, `<a href="/?lang=en"`)
}

// TestQueueJobs: jobs are counted by what they are and how they stand, and one that
// failed can be tried again.
func TestQueueJobs(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) {
		c.Desk, c.Webhooks = &fakeDesk{}, fakeHooks{}
		c.Jobs = &fakeJobs{jobs: []httpapi.Job{
			{ID: "n1-1", Kind: "report", State: "done"}, {ID: "n1-2", Kind: "report", State: "failed", Reason: "the disk is full", Owner: adminID, QueueID: "n1/jobs-2"},
			{ID: "n1-3", Kind: "of_tomorrow", State: "running"},
		}}
	})
	w.shown(w.get(adminID, "/admin/queue?lang=en"), http.StatusOK, "Reports", "1 done", "1 failed", "of_tomorrow", "1 running", "the disk is full", `name="pick.n1/jobs-2"`,
		`<dt>Failed</dt><dd>3</dd>`)
	hook, _ := fakeHooks{}.Status(t.Context())
	w.shown(w.get(adminID, "/admin/queue/numbers"), http.StatusOK, hook[0].Name, hook[0].Place)
	s := w.subscribe(adminID, "topics=queue")
	if f := s.next("queue"); field(f, "data", "jobs", "report", "failed") != 1. || field(f, "data", "jobs", "of_tomorrow", "running") != 1. || field(f, "data", "failed") != 3. {
		t.Errorf("the topic: %s", f["text"])
	}
}

// TestQueuePageActs: one, those that are ticked, all of a reason or of a place, and
// nothing without what it takes.
func TestQueuePageActs(t *testing.T) {
	w, d, _ := newOpsWorld(t)
	for _, tc := range []struct {
		form, word string
		acts       []string
		audit      string
	}{
		{"one=n1/17", "retried", []string{"{Where:n1 Dismiss:false IDs:[17] Reason: All:false}"}, "queue.retried n1/17"},
		{"act=retry&pick.n1/17=yes&pick.redis/rubbish=yes", "retried", []string{
			"{Where:n1 Dismiss:false IDs:[17] Reason: All:false}", "{Where:redis Dismiss:false IDs:[rubbish] Reason: All:false}",
		}, "queue.retried 2 entries"},
		{"act=retry_all&where=n1&reason=no", "retried", []string{"{Where:n1 Dismiss:false IDs:[] Reason:no All:false}"}, "queue.retried n1 by reason"},
		{"act=retry_all&reason=no", "retried", []string{
			"{Where:n1 Dismiss:false IDs:[] Reason:no All:false}", "{Where:n2 Dismiss:false IDs:[] Reason:no All:false}",
			"{Where:redis Dismiss:false IDs:[] Reason:no All:false}",
		}, "queue.retried by reason"},
		{"act=dismiss&pick.n1/17=yes&note=by+a+test", "dismissed", []string{"{Where:n1 Dismiss:true IDs:[17] Reason: All:false}"}, "queue.dismissed n1/17 by a test"},
		{"act=dismiss_all&where=redis&note=away", "dismissed", []string{"{Where:redis Dismiss:true IDs:[] Reason: All:true}"}, "queue.dismissed redis all away"},
	} {
		d.acts = nil
		w.did(w.send(adminID, "/admin/queue/act", tc.form), "/admin/queue", tc.word)
		if slices.Sort(d.acts); !slices.Equal(d.acts, tc.acts) {
			t.Errorf("%s: %q, want %q", tc.form, d.acts, tc.acts)
		}
		if notes := w.audit(); len(notes) == 0 || notes[len(notes)-1] != tc.audit {
			t.Errorf("%s: audit trail %q", tc.form, notes)
		}
	}
	d.acts = nil
	before := len(w.audit())
	w.shown(w.send(adminID, "/admin/queue/act?lang=en", "act=retry"), http.StatusBadRequest, "Select at least one first.")
	w.shown(w.send(adminID, "/admin/queue/act?lang=en", "act=dismiss_all&reason=no"), http.StatusBadRequest, "Say why, for the audit trail", `<option value="no" selected>`)
	w.shown(w.send(adminID, "/admin/queue/act", "act=dismiss&pick.n1/17=yes&note="+strings.Repeat("x", 1001)), http.StatusBadRequest, `id="wrong-why"`)
	w.shown(w.send(adminID, "/admin/queue/act", "act=burn&pick.n1/17=yes"), http.StatusBadRequest)
	w.shown(w.send(adminID, "/admin/queue/act", "act=retry&pick.rubbish=yes"), http.StatusBadRequest)
	w.shown(w.send(teacherID, "/admin/queue/act", "act=retry_all"), http.StatusForbidden)
	if len(d.acts) != 0 || len(w.audit()) != before {
		t.Errorf("bad input was acted on: %q", d.acts)
	}
	d.gone = "n2"
	r := w.send(adminID, "/admin/queue/act", "act=retry_all")
	where, err := url.Parse(r.Header.Get("Location"))
	if err != nil || where.Query().Get("missing") != "n2" {
		t.Fatalf("a node that is gone: %s", where)
	}
	w.shown(w.get(adminID, where.String()), http.StatusOK, "Tidak menjawab, jadi tidak dilakukan di sana: n2")
}

// TestParkedPage: what a target refused is tried again.
func TestParkedPage(t *testing.T) {
	w, _, e := newOpsWorld(t)
	form := "target=" + url.QueryEscape(copyName)
	w.did(w.send(adminID, "/admin/queue/parked", form+"&seq=7"), "/admin/queue", "retried")
	w.did(w.send(adminID, "/admin/queue/parked", form+"&all=yes"), "/admin/queue", "retried")
	if want := []string{"retry " + copyName + " [7]", "retry " + copyName + " []"}; !slices.Equal(e.asked, want) {
		t.Errorf("asked %q, want %q", e.asked, want)
	}
	for _, bad := range []string{form, form + "&seq=x", form + "&seq=0", "seq=7"} {
		w.shown(w.send(adminID, "/admin/queue/parked", bad), http.StatusBadRequest)
	}
	w.shown(w.send(adminID, "/admin/queue/parked", "target=x&all=yes"), http.StatusNotFound)
	e.fails = httpapi.ErrTarget
	w.shown(w.send(adminID, "/admin/queue/parked?lang=en", form+"&all=yes"), http.StatusServiceUnavailable, "The target database cannot be reached.")
	if len(e.asked) != 3 {
		t.Errorf("bad input was acted on: %q", e.asked)
	}
}

// TestExportPage: how a target does, what was found in it, and what may be decided.
func TestExportPage(t *testing.T) {
	w, _, e := newOpsWorld(t)
	w.shown(w.get(adminID, "/admin/export?lang=en"), http.StatusOK, copyName, "stopped", "A table or a column is missing", "no such column", "#40", "2 events · 2 s",
		`href="/admin/queue"`, `data-topic="queue"`, `value="verify"`)
	without(t, w.shown(w.get(adminID, "/admin/export/list"), http.StatusOK, copyName), "<html")
	form := "target=" + url.QueryEscape(copyName)
	w.shown(w.send(adminID, "/admin/export/act?lang=en", form+"&act=verify"), http.StatusOK, "1 row differs from the events", "2026-11-23", "Anu")
	for act, word := range map[string]string{"keep": "export_kept", "empty": "export_empty", "retire": "export_retired"} {
		w.did(w.send(adminID, "/admin/export/act", form+"&act="+act), "/admin/export", word)
	}
	slices.Sort(e.asked)
	want := []string{"reset " + copyName + ` ""`, "reset " + copyName + ` "empty"`, "reset " + copyName + ` "retire"`, "verify " + copyName}
	if !slices.Equal(e.asked, want) {
		t.Errorf("asked %q, want %q", e.asked, want)
	}
	if notes := w.audit(); len(notes) != 3 {
		t.Errorf("audit trail: %q", notes)
	}
	for _, bad := range []string{form, form + "&act=burn", "act=verify"} {
		w.shown(w.send(adminID, "/admin/export/act", bad), http.StatusBadRequest)
	}
	w.shown(w.send(adminID, "/admin/export/act", "target=x&act=verify"), http.StatusNotFound)
	for err, says := range map[error]string{
		httpapi.ErrTarget: "cannot be reached", httpapi.ErrInOrder: "nothing to decide", httpapi.ErrNeedsEmpty: "Choose to empty it", httpapi.ErrConfigured: "command line",
	} {
		e.fails = err
		r := w.send(adminID, "/admin/export/act?lang=en", form+"&act=keep")
		if w.shown(r, r.StatusCode, says); r.StatusCode < 400 {
			t.Errorf("%v: %d", err, r.StatusCode)
		}
	}
	e.fails = errors.New("of tomorrow")
	w.shown(w.send(adminID, "/admin/export/act", form+"&act=keep"), http.StatusInternalServerError)
}
