// Package export_test holds package export against real databases: a MariaDB that
// the tests start, and SQLite.
//
//	HADIR_TEST_REQUIRE=mysql  fail instead of leaving out what needs MariaDB
package export_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"hadir/cluster"
	"hadir/export"
	"hadir/export/exporttest"
	"hadir/tests/system/harness"
)

// asExporter makes this program an exporter: state directory, term, URL.
const asExporter = "HADIRTEST_EXPORTER"

func TestMain(m *testing.M) {
	if s := os.Getenv(asExporter); s != "" {
		if err := exporter(s); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	shared.close()
	os.Exit(code)
}

// exporter exports until its standard input ends.
func exporter(s string) error {
	part := strings.SplitN(s, " ", 3)
	var term uint64
	if _, err := fmt.Sscan(part[1], &term); err != nil {
		return err
	}
	school, err := exporttest.New(part[0], "n1")
	if err != nil {
		return err
	}
	// Its own events would make its history another one than its rival's.
	school.Refuse(cluster.ErrNoLeader)
	school.Lead(term)
	target, err := export.ParseTarget(part[2], "n1")
	if err != nil {
		return err
	}
	e, err := export.Start(export.Config{
		Cluster: school, Clock: clock{}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Targets: []export.Target{target},
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return errors.Join(err, e.Close(ctx), school.Close())
}

type clock struct{}

func (clock) Now() time.Time { return time.Now() }

func (clock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shared is one server for all tests that leave it running.
var shared sharedServer

type sharedServer struct {
	mu  sync.Mutex
	dir string
	db  *harness.MariaDB
	n   int
}

func (s *sharedServer) close() {
	if s.db != nil {
		s.db.Close()
		os.RemoveAll(s.dir)
	}
}

// mariadb gives the shared server.
func mariadb(t testing.TB) *harness.MariaDB {
	t.Helper()
	if err := harness.HasMariaDB(); err != nil {
		harness.LeaveOut(t, "mysql", err)
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.db == nil {
		var err error
		shared.dir, err = os.MkdirTemp("", "hadir-mariadb-")
		must(t, err)
		shared.db, err = harness.StartMariaDB(within(t, 60*time.Second), shared.dir)
		must(t, err)
	}
	return shared.db
}

const password = "s3cret@:/"

// database gives the URL of a new database on the shared server, and its name.
func database(t testing.TB) (url, name string) {
	t.Helper()
	server := mariadb(t)
	shared.mu.Lock()
	shared.n++
	name = fmt.Sprintf("hadir_%d", shared.n)
	shared.mu.Unlock()
	url, err := server.Account(within(t, 20*time.Second), name, password)
	must(t, err)
	return strings.Replace(url, password, "s3cret%40%3A%2F", 1), name
}

// tempDir prefers memory, where there is some.
func tempDir(t testing.TB) string {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if dir, err := os.MkdirTemp("/dev/shm", "hadir-export-"); err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			return dir
		}
	}
	return t.TempDir()
}

func newSchool(t testing.TB, events int) *exporttest.School {
	t.Helper()
	s, err := exporttest.New(tempDir(t), "n1")
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, s.Grow(events))
	return s
}

// running is an exporter in this process.
type running struct {
	*export.Exporter
	t      testing.TB
	school *exporttest.School
	target export.Target
	log    *harness.Output
}

func start(t testing.TB, school *exporttest.School, url string) *running {
	t.Helper()
	target, err := export.ParseTarget(url, "n1")
	must(t, err)
	r := &running{t: t, school: school, target: target, log: &harness.Output{}}
	r.Exporter, err = export.Start(export.Config{
		Cluster: school, Clock: clock{}, Log: slog.New(slog.NewTextHandler(r.log, nil)), Targets: []export.Target{target},
	})
	must(t, err)
	t.Cleanup(func() {
		must(t, r.Close(within(t, 20*time.Second)))
		if strings.Contains(r.log.String(), "s3cret") {
			t.Errorf("the log shows the password:\n%s", r.log)
		}
		if t.Failed() {
			t.Logf("log:\n%s", r.log)
		}
	})
	return r
}

func (r *running) status() export.Status {
	r.t.Helper()
	list, err := r.Status(within(r.t, 10*time.Second))
	must(r.t, err)
	return list[0]
}

// await waits until the status is as wanted.
func (r *running) await(what string, wanted func(export.Status) bool) export.Status {
	r.t.Helper()
	var s export.Status
	err := harness.Await(within(r.t, 60*time.Second), func() error {
		if s = r.status(); wanted(s) {
			return nil
		}
		return fmt.Errorf("%s: %+v, last error %+v", what, s, s.LastError)
	})
	must(r.t, err)
	return s
}

// caughtUp waits until every event is exported.
func (r *running) caughtUp() export.Status {
	r.t.Helper()
	return r.await("everything is exported", func(s export.Status) bool {
		return s.State == export.Running && s.Known && s.Watermark == r.school.Seq()
	})
}

// stopped waits until the target is stopped for a reason.
func (r *running) stopped(reason export.Reason) export.Status {
	r.t.Helper()
	return r.await("stopped: "+string(reason), func(s export.Status) bool {
		return s.State == export.Stopped && s.LastError != nil && s.LastError.Reason == reason
	})
}

// equal demands that the target is what the events say.
func (r *running) equal() export.Report {
	r.t.Helper()
	report, err := r.Verify(within(r.t, 60*time.Second), r.target.Name)
	must(r.t, err)
	if report.Different > 0 {
		r.t.Fatalf("%d differences: %+v", report.Different, report.Differences[:min(5, len(report.Differences))])
	}
	return report
}

// open gives a handle of the test's own for a target.
func open(t testing.TB, url, name string) *sql.DB {
	t.Helper()
	var db *sql.DB
	if path, ok := strings.CutPrefix(url, "sqlite://"); ok {
		var err error
		db, err = sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
		must(t, err)
	} else {
		c := mysql.NewConfig()
		c.Net, c.Addr, c.User, c.DBName, c.Logger = "tcp", harness.Loopback(mariadb(t).Port), "root", name, &mysql.NopLogger{}
		connector, err := mysql.NewConnector(c)
		must(t, err)
		db = sql.OpenDB(connector)
	}
	t.Cleanup(func() { db.Close() }) //nolint:errcheck // a test may have broken it
	return db
}

func do(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(within(t, 20*time.Second), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func count(t testing.TB, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := db.QueryRowContext(within(t, 20*time.Second), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func sqliteURL(t testing.TB) string {
	t.Helper()
	return "sqlite://" + filepath.Join(tempDir(t), "copy.db")
}
