package export

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"hadir/export/exporttest"
)

// property checks f for HADIR_CASES cases, at most 20 000 because each one opens
// databases, or 20; the seed comes from HADIR_SEED.
func property(t *testing.T, f func(*rapid.T)) {
	t.Helper()
	cases := 20
	if testing.Short() || slow {
		cases = 6
	}
	if n := number(t, "HADIR_CASES"); n > 0 {
		cases = min(max(1, n/50), 20_000)
	}
	checks := cases
	if testing.Short() {
		checks *= 5 // rapid divides by that
	}
	set(t, "rapid.checks", checks)
	set(t, "rapid.steps", 60)
	if seed := number(t, "HADIR_SEED"); seed > 0 {
		set(t, "rapid.seed", seed)
	}
	ran := 0
	rapid.Check(t, func(t *rapid.T) {
		ran++
		f(t)
	})
	t.Logf("%s: %d cases", t.Name(), ran)
}

func number(t *testing.T, name string) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s is %q and must be a number", name, v)
	}
	return n
}

func set(t *testing.T, name string, value int) {
	t.Helper()
	must(t, flag.Set(name, strconv.Itoa(value)))
}

// TestP11 is the property of export: whatever breaks, in which order ever, and
// whoever else exports, the target is exact.
//
// Two exporters are forced on over one target, in one term or each in its own.
// They are turned in any order, so each often works on a position that the other
// has moved. Connections break at any operation, before or after a COMMIT took
// effect; exporters die and begin anew; leaders change; the target is restored to
// the past; the database refuses events of some kinds and takes them later.
func TestP11(t *testing.T) {
	root := tempDir(t)
	n, faults := 0, 0
	defer func() { t.Logf("%d faults", faults) }()
	property(t, func(rt *rapid.T) {
		n++
		dir := filepath.Join(root, strconv.Itoa(n))
		must(t, os.Mkdir(dir, 0o700))
		m := newP11(t, dir)
		defer m.close(t)
		actions := map[string]func(*rapid.T){
			"die":    func(rt *rapid.T) { m.die(rt) },
			"elect":  func(rt *rapid.T) { m.elect(rt) },
			"past":   func(*rapid.T) { m.past() },
			"save":   func(*rapid.T) { m.save() },
			"refuse": func(rt *rapid.T) { m.refuse(rapid.SampledFrom(eventKinds).Draw(rt, "type")) },
			"relent": func(*rapid.T) { m.relent() },
			"retry":  func(*rapid.T) { m.retryAll() },
			"":       func(*rapid.T) { m.check(t) },
		}
		// Most of the time is spent exporting, growing and breaking.
		for i := range 12 {
			actions[fmt.Sprint("turn ", i)] = m.turn
		}
		for i := range 6 {
			actions[fmt.Sprint("events ", i)] = func(rt *rapid.T) { must(t, m.school.Grow(rapid.IntRange(1, 150).Draw(rt, "events"))) }
			actions[fmt.Sprint("break ", i)] = m.breakOne
		}
		rt.Repeat(actions)
		// Healed: it gets there, and every row is that of its event.
		m.relent()
		struck := 0
		for _, x := range m.exporters {
			x.faults.plan(-1, false, false)
			struck += x.faults.hits
		}
		faults += struck
		last := m.exporters[len(m.exporters)-1]
		for range 10 {
			if s := last.wantState(Running, ""); s.Parked == 0 {
				break
			}
			m.retryAll()
			last.clock.advance(lookEvery)
			last.turn(context.Background())
		}
		if s := last.wantState(Running, ""); s.Parked > 0 {
			rt.Fatalf("still parked: %+v", s.ParkedEvents)
		}
		last.equal()
	})
}

var eventKinds = []string{"user.updated", "user.password_set", "group.updated", "group.created", "attendance.accepted", "attendance.duplicate", "command.refused"}

type p11 struct {
	t         *testing.T
	dir, path string
	school    *exporttest.School
	exporters []*p11Exporter // the last one has the latest term
	term      uint64
	saved     bool
	made      bool    // the tables are there
	db        *sql.DB // of the test itself; nil when it is closed
	highest   uint64  // watermark ever seen since the last restore
}

type p11Exporter struct {
	*bench
	faults *faulty
	term   uint64
}

func newP11(t *testing.T, dir string) *p11 {
	school, err := exporttest.New(dir, "n1")
	must(t, err)
	m := &p11{t: t, dir: dir, path: filepath.Join(dir, "copy.db"), school: school}
	m.exporters = []*p11Exporter{m.start(1), m.start(1)}
	m.term = 1
	must(t, school.Grow(100))
	return m
}

func (m *p11) start(term uint64) *p11Exporter {
	target, err := ParseTarget("sqlite://"+m.path, "n1")
	must(m.t, err)
	x := &p11Exporter{faults: &faulty{left: -1}, term: term}
	x.bench = &bench{t: m.t, school: m.school, clock: newClock(), path: m.path}
	x.runner = newRunner(Config{Cluster: m.school, Clock: x.clock, Log: slog.New(slog.DiscardHandler)}, target)
	x.dialect = x.faults
	x.runner.term = func() (uint64, bool) { return term, true }
	return x
}

func (m *p11) close(t *testing.T) {
	m.quiet()
	must(t, m.school.Close())
}

func (m *p11) pick(rt *rapid.T) *p11Exporter {
	return rapid.SampledFrom(m.exporters).Draw(rt, "exporter")
}

// breakOne turns an exporter whose connection breaks on the way.
func (m *p11) breakOne(rt *rapid.T) {
	x := m.pick(rt)
	switch rapid.IntRange(0, 2).Draw(rt, "where") {
	case 0:
		x.faults.plan(rapid.IntRange(0, 20).Draw(rt, "operations"), false, false)
	case 1:
		x.faults.plan(0, true, false)
	case 2:
		x.faults.plan(0, true, true)
	}
	m.turnOf(rt, x)
}

func (m *p11) turn(rt *rapid.T) { m.turnOf(rt, m.pick(rt)) }

func (m *p11) turnOf(rt *rapid.T, x *p11Exporter) {
	x.clock.advance(lookEvery / 2)
	before := x.status().Batches
	x.runner.turn(context.Background())
	if s := x.status(); s.Batches > before && m.ready() {
		w, _, err := readWatermark(context.Background(), m.db)
		must(m.t, err)
		if s.Watermark > w.seq {
			rt.Fatalf("an exporter takes %d for exported, the target has %d", s.Watermark, w.seq)
		}
	}
}

// die ends an exporter as a power cut would, and starts it again.
func (m *p11) die(rt *rapid.T) {
	i := rapid.IntRange(0, len(m.exporters)-1).Draw(rt, "exporter")
	m.exporters[i].runner.close()
	m.exporters[i] = m.start(m.exporters[i].term)
}

// elect ends the older exporter and starts another, mostly with a later term.
func (m *p11) elect(rt *rapid.T) {
	m.term += rapid.Uint64Range(0, 1).Draw(rt, "terms")
	m.exporters[0].runner.close()
	m.exporters = []*p11Exporter{m.exporters[1], m.start(m.term)}
}

// save keeps a copy of the target, past puts it back.
func (m *p11) save() {
	m.quiet()
	if _, err := os.Stat(m.path); err == nil {
		copyFile(m.t, m.path, m.path+".saved")
		m.saved = true
	}
}

func (m *p11) past() {
	if !m.saved {
		return
	}
	m.quiet()
	copyFile(m.t, m.path+".saved", m.path)
	m.highest, m.made = 0, false
}

// quiet closes the file, so that it is whole.
func (m *p11) quiet() {
	for _, x := range m.exporters {
		x.runner.close()
	}
	if m.db != nil {
		must(m.t, m.db.Close())
		m.db = nil
	}
}

// ready opens the file for the test, if the tables are there.
func (m *p11) ready() bool {
	if _, err := os.Stat(m.path); err != nil {
		return false
	}
	if m.db == nil {
		var err error
		m.db, err = sqliteDialect{}.open(m.exporters[0].target, false)
		must(m.t, err)
	}
	m.made = m.made || checkColumns(context.Background(), m.db) == nil
	return m.made
}

func (m *p11) exec(query string) {
	if m.ready() {
		_, err := m.db.Exec(query)
		must(m.t, err)
	}
}

func (m *p11) refuse(kind string) {
	m.relent()
	m.exec(`CREATE TRIGGER no BEFORE INSERT ON attendance_logs WHEN NEW.event_type = '` + kind + `' BEGIN SELECT RAISE(ABORT, 'no'); END`)
}

func (m *p11) relent() { m.exec(`DROP TRIGGER IF EXISTS no`) }

func (m *p11) retryAll() { m.exec(`UPDATE export_failures SET retry = 1`) }

// check demands density at every moment, and that the watermark never falls.
func (m *p11) check(t *testing.T) {
	if !m.ready() {
		return
	}
	w, known, err := readWatermark(t.Context(), m.db)
	must(t, err)
	if !known {
		return
	}
	dense(t, m.db, w.seq)
	if w.seq < m.highest {
		t.Fatalf("the watermark fell from %d to %d", m.highest, w.seq)
	}
	m.highest = w.seq
}
