package export

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/export/exporttest"
)

func TestEveryEventIsExported(t *testing.T) {
	t.Parallel()
	school := newSchool(t, 1_500)
	b := newBench(t, school)
	s := b.wantState(Running, "")
	if s.Exported != 1_500 || !s.Connected || !s.Known {
		t.Errorf("status %+v", s)
	}
	report := b.equal()
	if len(report.Days) == 0 || report.Days[0].Events < 500 || report.Days[0].Records < 100 || len(report.Tables) != 3 {
		t.Errorf("report %+v", report)
	}
	// Nothing to do is nothing done.
	b.turn(t.Context())
	if again := b.status(); again.Batches != s.Batches {
		t.Errorf("%d batches, then %d", s.Batches, again.Batches)
	}
}

func TestLagIsMeasuredFromTheOldestMissingEvent(t *testing.T) {
	school := newSchool(t, 700)
	b := newBench(t, school)
	e := &Exporter{cfg: b.cfg, runners: []*runner{b.runner}}
	b.turn(t.Context())
	list, err := e.Status(t.Context())
	must(t, err)
	events, err := school.Events()
	must(t, err)
	want := b.clock.Now().Sub(events[500].At.Time())
	if s := list[0]; s.Watermark != 500 || s.LagEvents != 200 || s.Lag != want {
		t.Errorf("%+v, want a lag of 200 events and %s", s, want)
	}
	b.wantState(Running, "")
	if list, err = e.Status(t.Context()); err != nil || list[0].LagEvents != 0 || list[0].Lag != 0 {
		t.Errorf("%+v %v", list, err)
	}
}

func TestExportedTellsWhereAnEventIs(t *testing.T) {
	school := newSchool(t, 700)
	b := newBench(t, school)
	e := &Exporter{cfg: b.cfg, runners: []*runner{b.runner}}
	if got := e.Exported(1); got != nil {
		t.Errorf("before anything was exported: %v", got)
	}
	b.turn(t.Context())
	if got := e.Exported(500); len(got) != 1 || got[0] != "sqlite" {
		t.Errorf("event 500: %v", got)
	}
	if got := e.Exported(501); got != nil {
		t.Errorf("event 501: %v", got)
	}
}

func TestAStandbyWritesNothing(t *testing.T) {
	school := newSchool(t, 100)
	school.Lead(3)
	leader := newBench(t, school)
	leader.term = school.IsLeader
	school.Follow()
	leader.turn(t.Context())
	if s := leader.status(); s.State != Standby || s.Watermark != 0 || s.LastError != nil {
		t.Fatalf("%+v", s)
	}
	school.Lead(4)
	leader.wantState(Running, "")
	school.Follow()
	must(t, school.Grow(50))
	leader.turn(t.Context())
	if s := leader.status(); s.State != Standby || s.Watermark != 100 || !s.Connected {
		t.Fatalf("%+v", s)
	}
}

func TestALaterLeaderFencesOff(t *testing.T) {
	school := newSchool(t, 100)
	old := newBench(t, school)
	later := benchAt(t, school, old.path)
	old.term = func() (uint64, bool) { return 5, true }
	later.term = func() (uint64, bool) { return 6, true }
	old.wantState(Running, "")
	must(t, school.Grow(100))
	later.wantState(Running, "")
	must(t, school.Grow(100))
	for range 3 {
		old.turn(t.Context()) // first from where it left off, then from the watermark
		if s := old.status(); s.Exported != 100 {
			t.Fatalf("the former leader has written: %+v", s)
		}
	}
	if s := old.status(); s.State != Standby || s.LastError != nil {
		t.Fatalf("%+v", s)
	}
	later.wantState(Running, "")
	later.equal()
}

func TestTheFenceIsPartOfTheTransaction(t *testing.T) {
	school := newSchool(t, 50)
	b := newBench(t, school)
	b.term = func() (uint64, bool) { return 6, true }
	b.turn(t.Context())
	must(t, school.Grow(50))
	c, err := readChunk(t.Context(), school, 50, maxBatch, nil)
	must(t, err)
	here := *b.pos
	for _, tc := range []struct {
		name string
		from position
		term uint64
	}{
		{"an earlier term", here, 5},
		{"another seq", position{here.history, here.seq - 1}, 6},
		{"another epoch", position{history{here.cluster, 2}, here.seq}, 6},
		{"another cluster", position{history{"ab", 1}, here.seq}, 6},
	} {
		c.history = tc.from.history
		if _, _, err := b.batch(t.Context(), tc.from, tc.term, c); !errors.Is(err, errMoved) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	b.exec(`UPDATE hadir_watermark SET decision = 'empty'`)
	c.history = here.history
	if _, _, err := b.batch(t.Context(), here, 6, c); !errors.Is(err, errMoved) {
		t.Errorf("a decision that is not carried out yet: %v", err)
	}
	b.dense(50)
	b.exec(`UPDATE hadir_watermark SET decision = ''`)
	if _, _, err := b.batch(t.Context(), here, 6, c); err != nil {
		t.Error(err)
	}
	b.dense(100)
}

func TestPlansOfManyAreThePlansOfEach(t *testing.T) {
	t.Parallel()
	school := newSchool(t, 500)
	events, err := school.Events()
	must(t, err)
	dump := func(size int) string {
		b := newBench(t, school)
		must(t, b.attach(t.Context(), 0))
		pos := *b.pos
		for len(events[pos.seq:]) > 0 {
			part := events[pos.seq:min(int(pos.seq)+size, len(events))]
			next, _, err := b.batch(t.Context(), pos, 0, &chunk{history: pos.history, events: part, last: hashOf(part[len(part)-1].Encode())})
			must(t, err)
			pos = next
		}
		return b.dump()
	}
	want := dump(1)
	for _, size := range []int{7, 500} {
		if got := dump(size); got != want {
			t.Errorf("batches of %d give other rows than single events", size)
		}
	}
}

// dump gives all rows.
func (b *bench) dump() string {
	b.t.Helper()
	var out strings.Builder
	b.sql(func(db *sql.DB) {
		for _, table := range tables {
			rows, err := readAll(context.Background(), db, table.selectAll()+" ORDER BY "+strings.Join(table.keys, ", "))
			must(b.t, err)
			for _, row := range rows {
				fmt.Fprintln(&out, table.name, normalRow(table, row))
			}
		}
	})
	return out.String()
}

func TestARefusedEventIsParkedAndRetried(t *testing.T) {
	t.Parallel()
	school := newSchool(t, 450)
	b := newBench(t, school)
	must(t, b.attach(t.Context(), 0))
	// What the database refuses: whatever a trigger says, on any table.
	b.exec(`CREATE TRIGGER no_logs BEFORE INSERT ON attendance_logs WHEN NEW.id % 100 = 7 OR NEW.event_type = 'user.updated'
		BEGIN SELECT RAISE(ABORT, 'not this one'); END`)
	b.exec(`CREATE TRIGGER no_groups BEFORE INSERT ON user_groups WHEN NEW.name LIKE 'XI%' BEGIN SELECT RAISE(ABORT, 'no such group'); END`)
	s := b.wantState(Running, "")
	if s.Parked < 10 || len(s.ParkedEvents) == 0 || s.ParkedEvents[0].Seq != 7 || !strings.Contains(s.ParkedEvents[0].Reason, "not this one") {
		t.Fatalf("%+v", s)
	}
	parked := b.equal().Parked
	e := &Exporter{cfg: b.cfg, runners: []*runner{b.runner}}
	n, err := e.Retry(t.Context(), b.target.Name, []uint64{7, 107, 8})
	if err != nil || n != 2 {
		t.Fatalf("%d are to be retried, %v", n, err)
	}
	b.exec(`DROP TRIGGER no_logs`)
	b.clock.advance(lookEvery)
	b.wantState(Running, "")
	b.turn(t.Context())
	if got := b.equal().Parked; got != parked-2 {
		t.Fatalf("%d are parked, %d were", got, parked)
	}
	// All of them, of which the groups are still refused; meanwhile life goes on.
	must(t, school.Grow(300))
	_, err = e.Retry(t.Context(), b.target.Name, nil)
	must(t, err)
	b.finish(func(s Status) bool {
		for _, p := range s.ParkedEvents {
			if p.Retry || !strings.HasPrefix(p.Type, "group.") {
				return false
			}
		}
		return true
	})
	b.equal()
	b.exec(`DROP TRIGGER no_groups`)
	_, err = e.Retry(t.Context(), b.target.Name, nil)
	must(t, err)
	b.finish(func(s Status) bool { return s.Parked == 0 })
	b.equal()
	// The same as if nothing had ever been refused.
	straight := newBench(t, school)
	straight.wantState(Running, "")
	if straight.dump() != b.dump() {
		t.Error("the rows are others than without the detour")
	}
}

// finish turns until what is parked is as wanted.
func (b *bench) finish(done func(Status) bool) {
	b.t.Helper()
	for range 200 {
		b.clock.advance(lookEvery)
		b.turn(context.Background())
		if s := b.status(); s.State == Running && s.Watermark == b.school.Seq() && done(s) {
			return
		}
	}
	b.t.Fatalf("still parked: %+v", b.status())
}

func TestATargetThatRefusesEverythingIsStopped(t *testing.T) {
	t.Parallel()
	school := newSchool(t, 100)
	b := newBench(t, school)
	b.most = 105
	must(t, b.attach(t.Context(), 0))
	b.exec(`CREATE TRIGGER no BEFORE INSERT ON attendance_logs BEGIN SELECT RAISE(ABORT, 'nothing'); END`)
	b.wantState(Running, "")
	must(t, school.Grow(180))
	s := b.wantState(Stopped, Parked)
	if s.Parked != 100 {
		t.Errorf("%d are parked", s.Parked)
	}
	b.exec(`DROP TRIGGER no`)
	b.wantState(Stopped, Parked) // what is new refers to people whose events are parked
	e := &Exporter{cfg: b.cfg, runners: []*runner{b.runner}}
	_, err := e.Retry(t.Context(), b.target.Name, nil)
	must(t, err)
	b.finish(func(s Status) bool { return s.Parked == 0 })
	b.equal()
}

func TestStopsAndGoesOnAfterRepair(t *testing.T) {
	for _, tc := range []struct {
		reason        Reason
		break_, mend_ string
	}{
		{Drift, `ALTER TABLE attendances RENAME COLUMN node_id TO node`, `ALTER TABLE attendances RENAME COLUMN node TO node_id`},
		{Drift, `ALTER TABLE attendance_logs RENAME TO old_logs`, `ALTER TABLE old_logs RENAME TO attendance_logs`},
		{Drift, `ALTER TABLE hadir_watermark RENAME TO w`, `ALTER TABLE w RENAME TO hadir_watermark`},
		{Schema, `INSERT INTO hadir_schema (version_id, is_applied) VALUES (99, 1)`, `DELETE FROM hadir_schema WHERE version_id = 99`},
		{Ahead, `UPDATE hadir_watermark SET epoch = 7`, `UPDATE hadir_watermark SET epoch = 1`},
		{Ahead, `UPDATE hadir_watermark SET seq = seq + 1000`, `UPDATE hadir_watermark SET seq = seq - 1000`},
		{Ahead, `UPDATE hadir_watermark SET seq = seq - 1`, `UPDATE hadir_watermark SET seq = seq + 1`},
		{Ahead, `UPDATE hadir_watermark SET last_hash = 'other' || last_hash`, `UPDATE hadir_watermark SET last_hash = SUBSTR(last_hash, 6)`},
	} {
		t.Run(string(tc.reason)+" "+tc.break_, func(t *testing.T) {
			t.Parallel()
			school := newSchool(t, 300)
			b := newBench(t, school)
			b.wantState(Running, "")
			b.exec(tc.break_)
			b.pos = nil // as after a pause
			must(t, school.Grow(100))
			b.wantState(Stopped, tc.reason)
			audits := school.Audits()
			for range 5 {
				if pause := b.turn(t.Context()); pause <= 0 || pause > mostStop {
					t.Fatalf("looks again after %s", pause)
				}
			}
			if got := school.Audits(); len(got) != len(audits) || got[len(got)-1].Action != "export.stopped" || !strings.HasPrefix(got[len(got)-1].Note, string(tc.reason)+":") {
				t.Errorf("told: %+v", got)
			}
			b.exec(tc.mend_)
			b.wantState(Running, "")
			b.equal()
		})
	}
}

func TestAFileThatIsGoneOrDamagedIsWrittenAnew(t *testing.T) {
	t.Parallel()
	school := newSchool(t, 800)
	b := newBench(t, school)
	b.wantState(Running, "")
	must(t, os.Remove(b.path))
	must(t, school.Grow(10))
	b.turn(t.Context())
	if s := b.wantState(Running, ""); s.Exported != 800+810 {
		t.Errorf("%d were exported", s.Exported)
	}
	b.equal()
	b.close()
	must(t, os.WriteFile(b.path, bytes.Repeat([]byte("no database "), 1_000), 0o600))
	b.wantState(Stopped, Damaged)
	must(t, os.Remove(b.path))
	b.wantState(Running, "")
	b.equal()
	info, err := os.Stat(b.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file can be read by others: %v %v", info.Mode(), err)
	}
}

func TestATargetRestoredToThePastContinues(t *testing.T) {
	t.Parallel()
	school := newSchool(t, 600)
	b := newBench(t, school)
	b.wantState(Running, "")
	b.close()
	copyFile(t, b.path, b.path+".backup")
	must(t, school.Grow(700))
	b.wantState(Running, "")
	must(t, os.Rename(b.path+".backup", b.path)) // under the feet of a running exporter
	must(t, school.Grow(5))
	b.turn(t.Context())
	b.wantState(Running, "")
	b.equal()
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, in, 0o600))
}

func TestGap(t *testing.T) {
	t.Parallel()
	school := newSchool(t, 1_500)
	b := newBench(t, school)
	b.turn(t.Context())
	b.close()
	must(t, school.Prune(900))
	s := b.wantState(Stopped, Gap)
	if s.Watermark != 500 || s.Exported != 500 {
		t.Fatalf("%+v", s)
	}
	e := &Exporter{cfg: b.cfg, runners: []*runner{b.runner}}
	said, err := e.Reset(t.Context(), b.target.Name, ResetAuto)
	if err != nil || !strings.Contains(said, "501 … 900") {
		t.Fatalf("%q %v", said, err)
	}
	b.wantState(Running, "")
	if report := b.equal(); report.Missing != 400 || report.Unchecked == 0 {
		t.Errorf("%+v", report)
	}
	b.sameUsers(school)
	// A new target can only begin where events are kept.
	fresh := newBench(t, school)
	fresh.wantState(Stopped, Gap)
	e.runners = []*runner{fresh.runner}
	_, err = e.Reset(t.Context(), fresh.target.Name, ResetAuto)
	must(t, err)
	fresh.wantState(Running, "")
	fresh.equal()
	fresh.sameUsers(school)
}

// sameUsers demands the users and groups of the state, whatever events are kept.
func (b *bench) sameUsers(school *exporttest.School) {
	b.t.Helper()
	straight := newBench(b.t, school)
	must(b.t, straight.attachTo(watermark{decision: decidedSeed}))
	b.sql(func(db *sql.DB) {
		straight.sql(func(other *sql.DB) {
			for _, table := range []*table{usersTable, groupsTable, membersTable} {
				order := table.selectAll() + " ORDER BY " + strings.Join(table.keys, ", ")
				got, err := readAll(context.Background(), db, order)
				must(b.t, err)
				want, err := readAll(context.Background(), other, order)
				must(b.t, err)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					b.t.Errorf("%s: %d rows, and the state has %d", table.name, len(got), len(want))
				}
			}
		})
	})
}

// attachTo makes the tables and carries out one decision.
func (b *bench) attachTo(w watermark) error {
	ctx := context.Background()
	if err := b.open(); err != nil {
		return err
	}
	if err := migrate(ctx, b.dialect, b.target, b.db); err != nil {
		return err
	}
	if err := insertWatermark(ctx, b.db, w); err != nil {
		return err
	}
	b.room = 1 << 20
	return b.carryOut(ctx, w, head{}, 0)
}

func TestResets(t *testing.T) {
	for _, tc := range []struct {
		name string
		prep func(b *bench)
		how  Reset
		want error
		kept bool
	}{
		{"in order", func(*bench) {}, ResetAuto, ErrNothingToDo, true},
		{"in order, emptied anyway", func(*bench) {}, ResetEmpty, nil, false},
		{"another epoch, same history", func(b *bench) { must(b.t, b.school.Restore(2)) }, ResetAuto, nil, true},
		{"another cluster", func(b *bench) { b.exec(`UPDATE hadir_watermark SET cluster = 'ab', last_hash = 'cd'`) }, ResetAuto, nil, false},
		{"ahead", func(b *bench) { b.exec(`UPDATE hadir_watermark SET seq = seq + 1000`) }, ResetAuto, nil, false},
		{"another history", func(b *bench) { b.exec(`UPDATE hadir_watermark SET last_hash = 'ab'`) }, ResetAuto, nil, false},
		{"rows without a watermark", func(b *bench) { b.exec(`DELETE FROM hadir_watermark`) }, ResetAuto, nil, false},
		{"ahead, events pruned", func(b *bench) {
			must(b.t, b.school.Prune(60))
			b.exec(`UPDATE hadir_watermark SET seq = seq + 1000`)
		}, ResetAuto, ErrNeedsEmpty, true},
		{"ahead, events pruned, emptied", func(b *bench) {
			must(b.t, b.school.Prune(60))
			b.exec(`UPDATE hadir_watermark SET seq = seq + 1000`)
		}, ResetEmpty, nil, false},
		{"configured", func(*bench) {}, ResetRetire, ErrConfigured, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			school := newSchool(t, 200)
			b := newBench(t, school)
			b.wantState(Running, "")
			tc.prep(b)
			b.pos = nil
			e := &Exporter{cfg: b.cfg, runners: []*runner{b.runner}}
			before := b.status().Exported
			said, err := e.Reset(t.Context(), b.target.Name, tc.how)
			if !errors.Is(err, tc.want) || (err == nil && said == "") {
				t.Fatalf("%q %v, want %v", said, err, tc.want)
			}
			if tc.want != nil {
				return
			}
			must(t, school.Grow(20))
			b.wantState(Running, "")
			b.equal()
			if again := b.status().Exported - before; (again < 100) != tc.kept {
				t.Errorf("%d events were exported after the decision", again)
			}
		})
	}
	e := &Exporter{cfg: Config{Cluster: newSchool(t, 1), Clock: newClock()}}
	for _, how := range []Reset{ResetAuto, ResetRetire} {
		if _, err := e.Reset(t.Context(), "nobody", how); !errors.Is(err, ErrUnknownTarget) {
			t.Errorf("%v", err)
		}
	}
}

func TestATargetThatIsNotConfiguredCanBeRetired(t *testing.T) {
	school := newSchool(t, 10)
	_, err := school.Do(attendance.ExportMark{Target: "mysql://gone:3306/x", Seq: 4})
	must(t, err)
	e := &Exporter{cfg: Config{Cluster: school, Clock: newClock()}}
	list, err := e.Status(t.Context())
	if err != nil || len(list) != 1 || list[0].State != Unknown || list[0].Mark != 4 || list[0].LagEvents != 6 {
		t.Fatalf("%+v %v", list, err)
	}
	_, err = e.Reset(t.Context(), "mysql://gone:3306/x", ResetRetire)
	must(t, err)
	if list, err = e.Status(t.Context()); err != nil || len(list) != 0 {
		t.Fatalf("%+v %v", list, err)
	}
}

// counted counts lines of the log.
type counted struct {
	bytes.Buffer
}

func (c *counted) lines(level string) int { return strings.Count(c.String(), "level="+level) }

func TestAnOutageIsToldOnce(t *testing.T) {
	school := newSchool(t, 100)
	b := newBench(t, school)
	log := &counted{}
	b.log = slog.New(slog.NewTextHandler(io.Writer(log), nil))
	b.wantState(Running, "")
	b.close()
	must(t, os.Rename(b.path, b.path+".away"))
	must(t, os.Mkdir(b.path, 0o700)) // no file can be opened there
	school.Refuse(cluster.ErrNoLeader)
	var pauses []time.Duration
	for range 12 {
		pauses = append(pauses, b.turn(t.Context()))
	}
	if pauses[0] != leastPause || pauses[1] != 2*leastPause || pauses[11] != mostPause {
		t.Errorf("pauses %v", pauses)
	}
	if n := len(school.Audits()); n != 0 {
		t.Errorf("%d events without a quorum", n)
	}
	school.Refuse(nil)
	b.turn(t.Context())
	b.turn(t.Context())
	if got := school.Audits(); len(got) != 1 || got[0].Action != "export.down" || got[0].Subject != b.target.Name {
		t.Errorf("told: %+v", got)
	}
	if log.lines("WARN") != 1 || log.lines("ERROR") != 0 {
		t.Errorf("log:\n%s", log)
	}
	must(t, os.Remove(b.path))
	must(t, os.Rename(b.path+".away", b.path))
	s := b.wantState(Running, "")
	if s.LastError != nil || log.lines("WARN") != 1 || log.lines("INFO") != 1 {
		t.Errorf("%+v, log:\n%s", s, log)
	}
	b.equal()
}

func TestMigrationsCanBeCutOffAnywhere(t *testing.T) {
	t.Parallel()
	school := newSchool(t, 100)
	newest, err := newestSchema()
	must(t, err)
	for from := range newest {
		b := newBench(t, school)
		must(t, b.attach(t.Context(), 0))
		// The table is there, its version is not noted.
		b.exec(`DELETE FROM hadir_schema WHERE version_id > ?`, from)
		if from == 0 {
			b.exec(`DELETE FROM hadir_schema`)
		}
		b.close()
		b.wantState(Running, "")
		b.equal()
	}
}

func TestMigrationsAreOneStatementEach(t *testing.T) {
	files, err := migrations.ReadDir("migrations")
	must(t, err)
	if len(files) != len(tables) {
		t.Errorf("%d files for %d tables", len(files), len(tables))
	}
	for _, f := range files {
		raw, err := migrations.ReadFile("migrations/" + f.Name())
		must(t, err)
		for _, dialect := range []string{"mysql", "sqlite3"} {
			sql := string(render(raw, dialect))
			if strings.Contains(sql, "-- +mysql") || strings.Contains(sql, "-- +sqlite") {
				t.Errorf("%s: marks are left for %s", f.Name(), dialect)
			}
			// MySQL commits after each statement: a second one might not follow.
			if n := strings.Count(sql, ";"); dialect == "mysql" && n != 1 {
				t.Errorf("%s has %d statements for MySQL", f.Name(), n)
			}
			if strings.Contains(sql, "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4") != (dialect == "mysql") {
				t.Errorf("%s for %s:\n%s", f.Name(), dialect, sql)
			}
		}
	}
}
