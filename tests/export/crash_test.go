package export_test

import (
	"context"
	"database/sql"
	"fmt"

	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hadir/export"
	"hadir/export/exporttest"
	"hadir/tests/system/harness"
)

// TestWhateverDies: 20 000 events, two exporters forced on that are processes of
// their own, and everything dies in turn. What is in the database is dense at every
// moment, and in the end every row is that of its event.
func TestWhateverDies(t *testing.T) {
	if err := harness.HasMariaDB(); err != nil {
		harness.LeaveOut(t, "mysql", err)
	}
	const events = 20_000
	dir := tempDir(t)
	school, err := exporttest.New(dir, "n1")
	must(t, err)
	begun := time.Now()
	must(t, school.Grow(events))
	must(t, school.Close())
	t.Logf("%d events made in %s", events, time.Since(begun).Round(time.Millisecond))

	w := &storm{t: t, dir: dir, term: 1}
	w.server, err = harness.StartMariaDB(within(t, 60*time.Second), t.TempDir())
	must(t, err)
	defer w.server.Close()
	url, err := w.server.Account(within(t, 20*time.Second), "hadir", "word")
	must(t, err)
	w.proxy, err = harness.NewSQLProxy(harness.Loopback(w.server.Port))
	must(t, err)
	defer w.proxy.Close()
	w.url = strings.Replace(url, harness.Loopback(w.server.Port), w.proxy.Addr, 1) + "?tls=false"
	w.exporters = []*child{w.start(1), w.start(1)} // both lead in term 1: forced on
	defer func() {
		for _, c := range w.exporters {
			c.proc.Process.Kill() //nolint:errcheck // it may be dead
			c.proc.Wait()         //nolint:errcheck // likewise
		}
	}()

	begun = time.Now()
	faults := []func(){
		func() { w.proxy.Plan(harness.AfterCommit) },
		func() { w.kill(0) },
		func() { w.proxy.Plan(harness.BeforeCommit) },
		func() { w.freeze(1) },
		w.powerCut,
		func() { w.kill(1) },
		func() { w.proxy.Plan(harness.AfterCommit) },
		func() { w.freeze(0) },
		w.proxy.CutAll,
		w.powerCut,
		func() { w.proxy.Plan(harness.BeforeCommit) },
		func() { w.kill(0); w.kill(1) },
		func() { w.proxy.Plan(harness.AfterCommit) },
	}
	done := 0
	for _, fault := range faults {
		w.progress(1_000)
		fault()
		done++
	}
	w.reach(events)
	took := time.Since(begun)
	if w.seen >= events && done != len(faults) {
		t.Fatalf("only %d faults", done)
	}
	if w.proxy.Cuts() < 4 {
		t.Errorf("%d COMMITs were cut", w.proxy.Cuts())
	}
	t.Logf("%d faults, %d COMMITs cut, %d kills, %d freezes, %d power cuts of the database: %s for %d events; %d looks at the database",
		done, w.proxy.Cuts(), w.kills, w.freezes, w.cuts, took.Round(time.Millisecond), events, w.looks)

	// Every row is that of its event.
	again, err := exporttest.New(dir, "n1")
	must(t, err)
	t.Cleanup(func() { must(t, again.Close()) })
	again.Follow()
	r := start(t, again, w.url)
	if report := r.equal(); report.Watermark != events || report.Parked != 0 {
		t.Errorf("%+v", report)
	}
}

type storm struct {
	t         *testing.T
	dir, url  string
	server    *harness.MariaDB
	proxy     *harness.SQLProxy
	term      uint64
	exporters []*child

	seen, looks, kills, freezes, cuts, copies int
}

// child is an exporter process.
type child struct{ proc *osProcess }

// start starts an exporter over a copy of the state: a file has one user.
func (w *storm) start(term uint64) *child {
	w.t.Helper()
	w.copies++
	dir := filepath.Join(w.dir, fmt.Sprint(w.copies))
	must(w.t, os.Mkdir(dir, 0o700))
	state, err := os.ReadFile(filepath.Join(w.dir, "state.db"))
	must(w.t, err)
	must(w.t, os.WriteFile(filepath.Join(dir, "state.db"), state, 0o600))
	p, err := startProcess(fmt.Sprintf("%s=%s %d %s", asExporter, dir, term, w.url))
	must(w.t, err)
	return &child{p}
}

// kill ends an exporter, and another leader comes.
func (w *storm) kill(i int) {
	w.exporters[i].proc.kill()
	w.kills++
	w.term++
	w.exporters[i] = w.start(w.term)
}

// freeze stops an exporter for as long as the other one needs for a thousand
// events, or five seconds: it may hold the lock.
func (w *storm) freeze(i int) {
	w.freezes++
	pid := w.exporters[i].proc.Process.Pid
	must(w.t, syscall.Kill(pid, syscall.SIGSTOP))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	goal := w.seen + 1_000
	for w.look(); w.seen < goal && ctx.Err() == nil; w.look() {
		w.pause(ctx)
	}
	must(w.t, syscall.Kill(pid, syscall.SIGCONT))
}

// powerCut ends the database as a power cut would, and starts it.
func (w *storm) powerCut() {
	w.cuts++
	w.server.Kill()
	must(w.t, w.server.Start(within(w.t, 60*time.Second)))
}

func (w *storm) pause(ctx context.Context) {
	timer := time.NewTimer(5 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// progress waits until n more events are exported, or all.
func (w *storm) progress(n int) { w.reach(min(w.seen+n, 20_000)) }

func (w *storm) reach(seq int) {
	w.t.Helper()
	ctx := within(w.t, 60*time.Second)
	for w.look(); w.seen < seq; w.look() {
		if ctx.Err() != nil {
			for i, c := range w.exporters {
				w.t.Logf("exporter %d:\n%s", i, c.proc.out)
			}
			w.t.Fatalf("the watermark is %d, %d is awaited", w.seen, seq)
		}
		w.pause(ctx)
	}
}

// look judges one moment of the database.
func (w *storm) look() {
	w.t.Helper()
	tx, err := w.server.DB().BeginTx(within(w.t, 20*time.Second), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	must(w.t, err)
	defer tx.Rollback() //nolint:errcheck // it only reads
	var seq, rows, top int
	err = tx.QueryRow(`SELECT COALESCE((SELECT seq FROM hadir.hadir_watermark), 0), COUNT(*), COALESCE(MAX(id), 0) FROM hadir.attendance_logs`).Scan(&seq, &rows, &top)
	if err != nil && strings.Contains(err.Error(), "1146") {
		return // there are no tables yet
	}
	must(w.t, err)
	if seq != rows || top != seq {
		w.t.Fatalf("watermark %d, %d rows, the last one %d", seq, rows, top)
	}
	if seq < w.seen {
		w.t.Fatalf("the watermark fell from %d to %d", w.seen, seq)
	}
	w.seen = seq
	w.looks++
}

// TestFigures measures catching up and the lag under 200 events a second. It judges
// nothing but that everything arrives.
func TestFigures(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			url, _ := target(t, kind)
			const events = 10_000
			school := newSchool(t, events)
			begun := time.Now()
			r := start(t, school, url)
			r.await("everything", func(s export.Status) bool { return s.Watermark == events })
			took := time.Since(begun)
			t.Logf("%s: %d events in %s, %.0f a second", kind, events, took.Round(time.Millisecond), events/took.Seconds())
			t.Logf("%s: at 200 events a second the lag was %s at most", kind, lag(t, r).Round(time.Millisecond))
		})
	}
}

// lag makes 200 events a second for two seconds and gives the longest time from an
// event to the moment at which it was seen to be exported.
func lag(t *testing.T, r *running) (longest time.Duration) {
	t.Helper()
	type made struct {
		seq uint64
		at  time.Time
	}
	var waiting []made
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	end := within(t, 60*time.Second)
	for n := 0; n < 100 || len(waiting) > 0; n++ {
		if n < 100 {
			must(t, r.school.Grow(4))
			waiting = append(waiting, made{r.school.Seq(), time.Now()})
		}
		for s := r.status(); len(waiting) > 0 && waiting[0].seq <= s.Watermark; waiting = waiting[1:] {
			longest = max(longest, time.Since(waiting[0].at))
		}
		select {
		case <-ticker.C:
		case <-end.Done():
			t.Fatalf("%d events were not exported", len(waiting))
		}
	}
	return longest
}
