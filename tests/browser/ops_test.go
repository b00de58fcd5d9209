package browser_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"hadir/tests/browser/chromium"
	"hadir/tests/system/harness"
)

// edit runs a statement on a node's copy, once it is there.
func edit(t *testing.T, file, statement string) {
	t.Helper()
	must(t, harness.Await(within(t, 30*time.Second), func() error {
		db, err := sql.Open("sqlite", "file:"+file+"?mode=rw&_pragma=busy_timeout(2000)")
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.Exec(statement)
		return err
	}))
}

// TestQueueAndExportPages: what a database refuses is seen on both pages and gone when
// it was retried; what waits for a quorum is seen, and gone when there is one. Nobody
// reloads anything.
func TestQueueAndExportPages(t *testing.T) {
	b := enter(t)
	copies := t.TempDir()
	demo := startDemo(t, "HADIR_EXPORT_URL=sqlite://"+filepath.Join(copies, "{node}.db")) // of its own: its databases are broken
	defer demo.close()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(demo.Log())
		}
	})
	own := filepath.Join(copies, "n1.db")
	edit(t, own, `CREATE TRIGGER no BEFORE INSERT ON attendance_logs WHEN NEW.event_type = 'attendance.duplicate' BEGIN SELECT RAISE(ABORT, 'not today'); END`)

	d := device(t, b, chromium.Desktop)
	queue := newTab(t, d, demo.node(0))
	queue.signIn(demo.account(t, "admin"))
	export := newTab(t, d, demo.node(0))
	queue.open("/admin/queue")
	export.open("/admin/export")
	for _, p := range []*tab{queue, export} {
		value[int](p, "window.sameVisit = 1")
	}
	text := func(has string) string {
		return fmt.Sprintf("document.querySelector('main').innerText.includes('%s')", has)
	}
	queue.await(text("Nothing has failed."))
	export.await(text("This node writes to it.") + " && " + text("up to date"))

	who := demo.student(t)
	for _, want := range []int{http.StatusCreated, http.StatusConflict} {
		a, err := demo.admin.At(demo.node(0)).Do(within(t, 20*time.Second), http.MethodPost, "/api/v1/checkins", harness.Key(), harness.Tap{Type: "in", User: who.ID})
		must(t, err)
		if a.Status != want {
			t.Fatalf("a tap: %s", a)
		}
	}
	queue.await(text("not today"))
	export.await("document.querySelector('.target .chip.off')?.innerText === '1'")
	if script, err := readAxe(); err == nil { // no walk sees it like this
		queue.examine(script, "the queue with a failure")
	}
	export.click("button[value=verify]")
	export.await(text("The same as the events") + " || " + text("differ"))
	queue.await("window.sameVisit === 1")

	// It is still refused, and then no longer.
	edit(t, own, `DROP TRIGGER no`)
	queue.click("button[name=seq]")
	queue.await(text("They are tried again."))
	queue.await("!" + text("not today"))
	export.await("!document.querySelector('.target .chip.off')")

	value[int](queue, "window.sameVisit = 2")
	demo.kill(t, "n2")
	demo.kill(t, "n3")
	phone := newTab(t, device(t, b, chromium.Phone), demo.node(0))
	phone.signIn(demo.student(t))
	phone.live()
	phone.click(tapIn)
	phone.becomes("recorded")
	queue.await(text("1 waiting") + " && " + text("does not answer"))
	demo.back(t)
	phone.becomes("accepted")
	queue.await("!" + text("waiting\\n") + " && [...document.querySelectorAll('.outbox .chip.good')].length === 3")
	queue.await(text("99% at most") + " && window.sameVisit === 2")
}
