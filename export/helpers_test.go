package export

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hadir/export/exporttest"
)

// testClock is moved by hand. Nothing waits on it: tests turn runners themselves.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *testClock { return &testClock{now: exporttest.Monday.Time().Add(24 * time.Hour)} }

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) AfterFunc(time.Duration, func()) func() bool { return func() bool { return true } }

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// tempDir prefers memory, where there is some.
func tempDir(t testing.TB) string {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if dir, err := os.MkdirTemp("/dev/shm", "hadir-export-"); err == nil {
			t.Cleanup(func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			return dir
		}
	}
	return t.TempDir()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newSchool(t testing.TB, events int) *exporttest.School {
	t.Helper()
	s, err := exporttest.New(tempDir(t), "n1")
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, s.Grow(events))
	return s
}

// bench is a runner that is turned by the test.
type bench struct {
	t      testing.TB
	school *exporttest.School
	clock  *testClock
	path   string
	*runner
}

func newBench(t testing.TB, school *exporttest.School) *bench {
	t.Helper()
	return benchAt(t, school, filepath.Join(tempDir(t), "copy.db"))
}

func benchAt(t testing.TB, school *exporttest.School, path string) *bench {
	t.Helper()
	target, err := ParseTarget("sqlite://"+path, "n1")
	must(t, err)
	b := &bench{t: t, school: school, clock: newClock(), path: path}
	b.runner = newRunner(Config{Cluster: school, Clock: b.clock, Log: slog.New(slog.DiscardHandler)}, target)
	t.Cleanup(b.close)
	return b
}

// wantState turns until the target is in a state for a reason; running means that
// everything is exported.
func (b *bench) wantState(state State, reason Reason) Status {
	b.t.Helper()
	for range 200 {
		b.turn(context.Background())
		s := b.status()
		got := Reason("")
		if s.LastError != nil {
			got = s.LastError.Reason
		}
		if s.State == state && got == reason && (state != Running || s.Watermark == b.school.Seq()) {
			return s
		}
	}
	b.t.Fatalf("state %+v (%+v), want %s, %q", b.status(), b.status().LastError, state, reason)
	return Status{}
}

// equal demands that the target is what the events say.
func (b *bench) equal() Report {
	b.t.Helper()
	report, err := b.verify(context.Background())
	must(b.t, err)
	if report.Different > 0 {
		b.t.Fatalf("%d differences: %+v", report.Different, report.Differences[:min(5, len(report.Differences))])
	}
	b.dense(report.Watermark)
	return report
}

// dense demands every seq up to the watermark once, among logs, failures and gaps.
func (b *bench) dense(to uint64) {
	b.t.Helper()
	b.sql(func(db *sql.DB) { dense(b.t, db, to) })
}

func dense(t testing.TB, db *sql.DB, to uint64) {
	t.Helper()
	var logs, failures, gaps uint64
	must(t, db.QueryRow(`SELECT (SELECT COUNT(*) FROM attendance_logs), (SELECT COUNT(*) FROM export_failures WHERE seq NOT IN (SELECT id FROM attendance_logs)),
		(SELECT COALESCE(SUM(last_seq - first_seq + 1), 0) FROM export_gaps)`).Scan(&logs, &failures, &gaps))
	top, err := highest(context.Background(), db)
	must(t, err)
	if logs+failures+gaps != to || top > to {
		t.Fatalf("%d logs + %d failures + %d in gaps, highest %d, watermark %d", logs, failures, gaps, top, to)
	}
}

// sql works on the target behind the exporter's back.
func (b *bench) sql(f func(db *sql.DB)) {
	b.t.Helper()
	db, err := sqliteDialect{}.open(b.target, false)
	must(b.t, err)
	defer func() { must(b.t, db.Close()) }()
	f(db)
}

func (b *bench) exec(query string, args ...any) {
	b.t.Helper()
	b.sql(func(db *sql.DB) {
		if _, err := db.Exec(query, args...); err != nil {
			b.t.Fatalf("%s: %v", query, err)
		}
	})
}
