package export_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hadir/export"
	"hadir/tests/system/harness"
)

func TestEveryEventIsInMariaDB(t *testing.T) {
	t.Parallel()
	url, name := database(t)
	school := newSchool(t, 5_000)
	r := start(t, school, url)
	r.caughtUp()
	report := r.equal()
	if report.Watermark != 5_000 || len(report.Days) == 0 || report.Tables[0].Rows < 40 {
		t.Errorf("%+v", report)
	}
	if strings.Contains(r.target.Name, "s3cret") || !strings.HasPrefix(r.target.Name, "mysql://127.0.0.1:") {
		t.Errorf("name %q", r.target.Name)
	}
	db := open(t, url, name)
	if n := count(t, db, `SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = ? AND (engine <> 'InnoDB' OR table_collation NOT LIKE 'utf8mb4%') AND table_name <> 'hadir_schema'`, name); n != 0 {
		t.Errorf("%d tables are not InnoDB in utf8mb4", n)
	}
	// The mark follows, so that events are kept back.
	r.await("the mark", func(s export.Status) bool { return s.Mark > 0 && s.Mark <= s.Watermark })
}

func TestVerifyFindsWhatDiffers(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			url, name := target(t, kind)
			school := newSchool(t, 1_500)
			r := start(t, school, url)
			r.caughtUp()
			r.equal()
			db := open(t, url, name)
			record := count(t, db, `SELECT MIN(id) FROM attendances`)
			for _, tc := range []struct{ change, table, column string }{
				{fmt.Sprintf(`UPDATE attendances SET first_seen_at = '2026-11-23 01:02:03.004' WHERE id = %d`, record), "attendances", "first_seen_at"},
				{`UPDATE attendance_logs SET payload = '{"user_id":1}' WHERE id = 700`, "attendance_logs", "payload"},
				{`UPDATE attendance_logs SET node_id = 'n9' WHERE id = 701`, "attendance_logs", "node_id"},
				{`UPDATE users SET name = 'Nobody' WHERE id = 5`, "users", "name"},
				{`INSERT INTO user_group_members (group_id, user_id, role) SELECT MIN(id), 9, 'teacher' FROM user_groups`, "user_group_members", ""},
				{fmt.Sprintf(`DELETE FROM attendances WHERE id = (SELECT * FROM (SELECT MAX(id) FROM attendances) AS x) AND id > %d`, record), "attendances", ""},
			} {
				do(t, db, tc.change)
				report, err := r.Verify(within(t, 60*time.Second), r.target.Name)
				must(t, err)
				found := false
				for _, d := range report.Differences {
					found = found || d.Table == tc.table && d.Column == tc.column
				}
				if !found {
					t.Errorf("%s: %+v", tc.change, report.Differences)
				}
			}
			report, err := r.Verify(within(t, 60*time.Second), r.target.Name)
			must(t, err)
			if report.Different != 6 {
				t.Errorf("%d differences: %+v", report.Different, report.Differences)
			}
			odd := 0
			for _, d := range report.Days {
				if !d.Equal() {
					odd++
				}
			}
			if odd == 0 {
				t.Error("every day's checksums agree")
			}
		})
	}
}

// TestRepairedLive: what a person breaks stops the target, and what they mend has
// it go on, without anybody touching hadir.
func TestRepairedLive(t *testing.T) {
	for _, tc := range []struct {
		name       string
		reason     export.Reason
		harm, mend func(name string) string
	}{
		{"column renamed", export.Drift,
			func(name string) string { return "ALTER TABLE " + name + ".attendances RENAME COLUMN node_id TO node" },
			func(name string) string { return "ALTER TABLE " + name + ".attendances RENAME COLUMN node TO node_id" }},
		{"table gone", export.Drift,
			func(name string) string { return "RENAME TABLE " + name + ".user_group_members TO " + name + ".x" },
			func(name string) string { return "RENAME TABLE " + name + ".x TO " + name + ".user_group_members" }},
		{"schema of the future", export.Schema,
			func(name string) string {
				return "INSERT INTO " + name + ".hadir_schema (version_id, is_applied) VALUES (99, 1)"
			},
			func(name string) string { return "DELETE FROM " + name + ".hadir_schema WHERE version_id = 99" }},
		{"no privileges", export.Privileges,
			func(name string) string {
				return "REVOKE INSERT ON " + name + ".* FROM '" + name + "'@'%'"
			},
			func(name string) string { return "GRANT INSERT ON " + name + ".* TO '" + name + "'@'%'" }},
		{"another password", export.Privileges,
			func(name string) string { return "SET PASSWORD FOR '" + name + "'@'%' = PASSWORD('other')" },
			func(name string) string {
				return "SET PASSWORD FOR '" + name + "'@'%' = PASSWORD('" + password + "')"
			}},
		{"another epoch", export.Ahead,
			func(name string) string { return "UPDATE " + name + ".hadir_watermark SET epoch = 9" },
			func(name string) string { return "UPDATE " + name + ".hadir_watermark SET epoch = 1" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			url, name := database(t)
			server := mariadb(t)
			school := newSchool(t, 200)
			r := start(t, school, url)
			r.caughtUp()
			must(t, server.Exec(within(t, 20*time.Second), tc.harm(name)))
			// Connections keep their rights and their session until they end.
			must(t, killSessions(t, server, name))
			must(t, school.Grow(300))
			s := r.stopped(tc.reason)
			if s.LagEvents < 300 && tc.reason != export.Schema { // which is looked at every few seconds only
				t.Errorf("%+v", s)
			}
			if told := school.Audits(); len(told) == 0 || told[len(told)-1].Action != "export.stopped" || told[len(told)-1].Subject != r.target.Name {
				t.Errorf("told: %+v", told)
			}
			must(t, server.Exec(within(t, 20*time.Second), tc.mend(name)))
			r.caughtUp()
			r.equal()
		})
	}
}

// killSessions ends the sessions of an account.
func killSessions(t testing.TB, server *harness.MariaDB, account string) error {
	t.Helper()
	return server.Exec(within(t, 20*time.Second), "KILL USER '"+account+"'")
}

// TestServerWide is about what can only be changed for a whole server.
func TestServerWide(t *testing.T) {
	if err := harness.HasMariaDB(); err != nil {
		harness.LeaveOut(t, "mysql", err)
	}
	t.Parallel()
	server, err := harness.StartMariaDB(within(t, 60*time.Second), t.TempDir())
	must(t, err)
	t.Cleanup(server.Close)
	url, err := server.Account(within(t, 20*time.Second), "hadir", "word")
	must(t, err)
	school := newSchool(t, 200)
	r := start(t, school, url)
	r.caughtUp()

	must(t, server.Exec(within(t, 20*time.Second), "SET GLOBAL read_only = 1"))
	must(t, school.Grow(100))
	r.stopped(export.ReadOnly)
	must(t, server.Exec(within(t, 20*time.Second), "SET GLOBAL read_only = 0"))
	r.caughtUp()

	must(t, server.Exec(within(t, 20*time.Second), "SET GLOBAL max_allowed_packet = 1024"))
	must(t, killSessions(t, server, "hadir"))
	must(t, school.Grow(100))
	r.stopped(export.Packet)
	must(t, server.Exec(within(t, 20*time.Second), "SET GLOBAL max_allowed_packet = 16777216"))
	r.caughtUp()

	// An outage is told once, however long it lasts.
	audits := len(school.Audits())
	server.Kill()
	must(t, school.Grow(2_000))
	down := func(s export.Status) bool { return s.State == export.Down && !s.Connected && s.LastError != nil }
	r.await("down", down)
	must(t, school.Grow(3_000)) // what an hour brings
	s := r.await("down", down)
	if s.LagEvents < 5_000 || s.LastError.Reason != export.Unreachable {
		t.Errorf("%+v %+v", s, s.LastError)
	}
	must(t, server.Start(within(t, 60*time.Second)))
	r.caughtUp()
	if told := school.Audits(); len(told) != audits+1 || told[audits].Action != "export.down" {
		t.Errorf("told: %+v", told[audits:])
	}
	r.equal()

	// Dropped and made again, it is written from the first event on.
	must(t, server.Exec(within(t, 20*time.Second), "DROP DATABASE hadir", "CREATE DATABASE hadir"))
	must(t, school.Grow(10))
	r.caughtUp()
	r.equal()
}

func TestRefusedEventsAreParked(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			url, name := target(t, kind)
			school := newSchool(t, 40)
			r := start(t, school, url)
			r.caughtUp()
			db := open(t, url, name)
			if kind == export.MySQL {
				do(t, db, `ALTER TABLE users ADD CONSTRAINT no_siti CHECK (name NOT LIKE 'Siti%')`,
					`CREATE TRIGGER no_audit BEFORE INSERT ON attendance_logs FOR EACH ROW
					IF NEW.event_type = 'audit.noted' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no audits here'; END IF`)
			} else {
				do(t, db, `CREATE TRIGGER no_siti BEFORE INSERT ON users WHEN NEW.name LIKE 'Siti%' BEGIN SELECT RAISE(ABORT, 'no_siti'); END`,
					`CREATE TRIGGER no_audit BEFORE INSERT ON attendance_logs WHEN NEW.event_type = 'audit.noted' BEGIN SELECT RAISE(ABORT, 'no audits here'); END`)
			}
			must(t, school.Grow(900))
			r.caughtUp()
			s := r.await("parked", func(s export.Status) bool {
				return s.Watermark == school.Seq() && s.Parked > 10 && len(s.ParkedEvents) == min(50, int(s.Parked))
			})
			reasons := ""
			for _, p := range s.ParkedEvents {
				reasons += p.Reason + "\n"
			}
			if !strings.Contains(reasons, "no_siti") || !strings.Contains(reasons, "no audits here") {
				t.Errorf("reasons: %s", reasons)
			}
			if report := r.equal(); report.Parked != s.Parked {
				t.Errorf("%d parked, the report says %d", s.Parked, report.Parked)
			}
			if n := count(t, db, `SELECT COUNT(*) FROM attendance_logs`) + int(s.Parked); uint64(n) != s.Watermark {
				t.Errorf("%d rows and parked, watermark %d", n, s.Watermark)
			}
			do(t, db, `DROP TRIGGER no_audit`)
			if kind == export.MySQL {
				do(t, db, `ALTER TABLE users DROP CONSTRAINT no_siti`)
			} else {
				do(t, db, `DROP TRIGGER no_siti`)
			}
			n, err := r.Retry(within(t, 20*time.Second), r.target.Name, nil)
			if err != nil || uint64(n) != s.Parked {
				t.Fatalf("%d are retried, %v", n, err)
			}
			r.await("nothing is parked", func(s export.Status) bool { return s.Parked == 0 })
			r.equal()
		})
	}
}

// TestNodesMigrateTogether: the first to come makes the schema, the others wait.
func TestNodesMigrateTogether(t *testing.T) {
	t.Parallel()
	url, name := database(t)
	school := newSchool(t, 300)
	var all []*running
	for range 4 {
		all = append(all, start(t, school, url))
	}
	for _, r := range all {
		r.await("everything is exported", func(s export.Status) bool { return s.Watermark == school.Seq() })
	}
	all[0].equal()
	db := open(t, url, name)
	if n := count(t, db, `SELECT COUNT(*) - COUNT(DISTINCT version_id) FROM hadir_schema`); n != 0 {
		t.Errorf("%d migrations were done twice", n)
	}
	for _, r := range all {
		if s := r.status(); s.LastError != nil {
			t.Errorf("%+v", s.LastError)
		}
	}
}

// TestAPausedWriterHoldsNobodyUp: the lock of an exporter that was paused in the
// middle of a transaction dies with its session.
func TestAPausedWriterHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	url, name := database(t)
	school := newSchool(t, 300)
	r := start(t, school, url)
	r.caughtUp()
	db := open(t, url, name)
	conn, err := db.Conn(t.Context())
	must(t, err)
	defer conn.Close()
	for _, s := range []string{"SET SESSION wait_timeout = 2", "BEGIN", "UPDATE hadir_watermark SET fence = 99 WHERE id = 1"} {
		if _, err := conn.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	must(t, school.Grow(100))
	r.caughtUp() // after the server has ended that session
	r.equal()
	// And ours are told to end, too.
	var wait, lock, zone, mode string
	do(t, db, `CREATE TABLE seen (w TEXT, l TEXT, z TEXT, m TEXT)`, `CREATE TRIGGER spy AFTER UPDATE ON hadir_watermark FOR EACH ROW
		INSERT INTO seen VALUES (@@session.wait_timeout, @@session.innodb_lock_wait_timeout, @@session.time_zone, @@session.sql_mode)`)
	must(t, school.Grow(10))
	r.caughtUp()
	must(t, db.QueryRowContext(t.Context(), `SELECT w, l, z, m FROM seen LIMIT 1`).Scan(&wait, &lock, &zone, &mode))
	if wait != "30" || lock != "5" || zone != "+00:00" || !strings.Contains(mode, "STRICT") {
		t.Errorf("session: wait_timeout %s, lock wait %s, time zone %s, mode %s", wait, lock, zone, mode)
	}
}

var kinds = []export.Kind{export.MySQL, export.SQLite}

// target gives a new target of a kind.
func target(t testing.TB, kind export.Kind) (url, name string) {
	t.Helper()
	if kind == export.SQLite {
		return sqliteURL(t), ""
	}
	return database(t)
}
