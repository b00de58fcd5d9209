package export

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Report is what a verification found.
type Report struct {
	Target    string
	Watermark uint64 // up to which events and target were compared
	Days      []DayReport
	Tables    []TableReport // users and groups, which belong to no day
	// Differences are the first hundred; Different counts all.
	Differences []Difference
	Different   int
	Parked      uint64 // events that the database refused: they are missing on purpose
	Missing     uint64 // events that were pruned before they were exported, likewise
	Unchecked   uint64 // rows of events that the cluster does not keep any more
}

// DayReport compares one UTC day, by the time of decision.
type DayReport struct {
	Day            string
	Events, Rows   int    // of attendance_logs
	Records, Found int    // of attendances
	Want, Got      string // checksums over all rows of the day
}

// Equal reports whether the day agrees.
func (d DayReport) Equal() bool { return d.Want == d.Got }

// TableReport compares a table as a whole.
type TableReport struct {
	Table      string
	Want, Rows int
	Equal      bool
}

// Difference is one row that is not as it should be.
type Difference struct {
	Table  string
	Key    string // of the row
	Column string // "" when the row is missing or should not be there
	Want   string
	Got    string
}

// maxDifferences bounds a report.
const maxDifferences = 100

// The words for whole rows.
const (
	rowMissing = "missing"
	rowThere   = "there"
)

// verify compares the target, at one moment, with this node's events up to its
// watermark.
func (r *runner) verify(ctx context.Context) (Report, error) {
	v := verification{report: Report{Target: r.target.Name}, days: make(map[string]*dayCount), plan: newPlan(), parked: make(map[uint64]bool)}
	err := r.aside(true, func(db *sql.DB) error {
		have, err := schemaVersion(ctx, r.dialect, db)
		if err != nil {
			return err
		}
		if want, err := newestSchema(); err != nil || have != want {
			return cmp.Or(err, stop(Schema, "its schema has version %d, this program knows %d", have, want))
		}
		tx, err := r.dialect.snapshot(ctx, db)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // it was only read
		w, known, err := readWatermark(ctx, tx)
		if err != nil {
			return err
		}
		h, err := r.fresh(ctx, w.seq)
		if err != nil {
			return err
		}
		if !known || w.history != h.history || w.seq > h.seq {
			top, err := highest(ctx, tx)
			if err != nil {
				return err
			}
			return stop(Ahead, "there is nothing to compare: %s", judge(w, h, top).detail)
		}
		v.report.Watermark, v.from, v.tx, v.first = w.seq, r.cluster, tx, h.first
		return v.run(ctx)
	})
	if err != nil {
		return Report{}, err
	}
	return v.report, nil
}

type verification struct {
	report Report
	from   Cluster
	tx     *sql.Tx
	first  uint64 // oldest event that is kept
	parked map[uint64]bool
	days   map[string]*dayCount
	plan   *plan // what users and groups, and lowered records, come to
}

type dayCount struct {
	DayReport
	want, got hash.Hash
}

func (v *verification) run(ctx context.Context) error {
	if err := v.readParked(ctx); err != nil {
		return err
	}
	// Later events lower what earlier ones made, so the first pass gathers.
	err := v.eachEvent(ctx, func(e attendance.Event) error {
		if !v.parked[e.Seq] {
			if _, record := e.Record(); !record {
				v.plan.apply(e)
			} else {
				v.lowered(e)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := v.compareDays(ctx); err != nil {
		return err
	}
	if err := v.comparePeople(ctx); err != nil {
		return err
	}
	for _, day := range slices.Sorted(maps.Keys(v.days)) {
		d := v.days[day]
		d.Want, d.Got = hex.EncodeToString(d.want.Sum(nil)), hex.EncodeToString(d.got.Sum(nil))
		v.report.Days = append(v.report.Days, d.DayReport)
	}
	return nil
}

// lowered is for events that make a record and say something of another one, too.
func (v *verification) lowered(e attendance.Event) {
	if tap, ok := e.Detail.(attendance.Tap); ok {
		if s, ok := sightingOf(e, tap); ok {
			v.plan.see(tap.Winner, s)
		}
	}
}

func (v *verification) readParked(ctx context.Context) error {
	rows, err := v.tx.QueryContext(ctx, `SELECT seq FROM export_failures`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var seq uint64
		if err := rows.Scan(&seq); err != nil {
			return err
		}
		v.parked[seq] = true
		v.report.Parked++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return v.tx.QueryRowContext(ctx, `SELECT COALESCE(SUM(last_seq - first_seq + 1), 0) FROM export_gaps`).Scan(&v.report.Missing)
}

// eachEvent reads the kept events up to the watermark, in short transactions.
func (v *verification) eachEvent(ctx context.Context, f func(attendance.Event) error) error {
	after := v.first - 1
	for after < v.report.Watermark {
		var page []attendance.Event
		_, err := v.from.Read(ctx, cluster.Read{}, func(tx *store.ReadTx) error {
			var failed error
			tx.Events(after, maxBatch, func(_ uint64, b []byte) bool {
				var e attendance.Event
				e, failed = attendance.DecodeEvent(b)
				page = append(page, e)
				return failed == nil
			})
			return failed
		})
		switch {
		case err != nil:
			return err
		case len(page) == 0 || page[0].Seq != after+1:
			return fmt.Errorf("event %d was pruned meanwhile: verify again", after+1)
		}
		for _, e := range page {
			if e.Seq > v.report.Watermark {
				return nil
			}
			if err := f(e); err != nil {
				return err
			}
			after = e.Seq
		}
	}
	return nil
}

// compareDays compares logs and attendances with the events, side by side.
func (v *verification) compareDays(ctx context.Context) error {
	logs, records := newScan(v.tx, logsTable), newScan(v.tx, attendancesTable)
	// Rows of events that are not kept any more are counted, not compared.
	if err := v.skipOld(ctx, logs, records); err != nil {
		return err
	}
	err := v.eachEvent(ctx, func(e attendance.Event) error {
		day := v.day(when(e.At))
		var wantLog, wantRecord []any
		if !v.parked[e.Seq] {
			wantLog = logRow(e)
			if record, ok := e.Record(); ok {
				tap, _ := e.Detail.(attendance.Tap)
				wantRecord = recordRow(record, tap)
				if s, ok := v.plan.seen[e.Seq]; ok {
					s.into(wantRecord)
				}
			}
		}
		gotLog, err := logs.upTo(ctx, e.Seq, v.extra)
		if err != nil {
			return err
		}
		gotRecord, err := records.upTo(ctx, e.Seq, v.extra)
		if err != nil {
			return err
		}
		day.Events += present(wantLog)
		day.Rows += present(gotLog)
		day.Records += present(wantRecord)
		day.Found += present(gotRecord)
		v.compare(logsTable, wantLog, gotLog, day)
		v.compare(attendancesTable, wantRecord, gotRecord, day)
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range []*scan{logs, records} {
		if _, err := s.upTo(ctx, 1<<63-1, v.extra); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) skipOld(ctx context.Context, scans ...*scan) error {
	for _, s := range scans {
		var n uint64
		if err := v.tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+s.table.name+` WHERE id < ?`, int64(v.first)).Scan(&n); err != nil {
			return err
		}
		v.report.Unchecked += n
		s.after = int64(v.first) - 1
	}
	return nil
}

func present(row []any) int {
	if row == nil {
		return 0
	}
	return 1
}

func (v *verification) day(at any) *dayCount {
	name := "unknown"
	if s, ok := at.(string); ok {
		name = s[:min(len(s), len(time.DateOnly))]
	}
	d := v.days[name]
	if d == nil {
		d = &dayCount{want: sha256.New(), got: sha256.New()}
		d.Day = name
		v.days[name] = d
	}
	return d
}

// extra is for a row that no event stands for.
func (v *verification) extra(t *table, row []any) {
	at := t.at("created_at")
	d := v.day(normal(t.columns[at].kind, row[at]))
	if t == logsTable {
		d.Rows++
	} else {
		d.Found++
	}
	v.compare(t, nil, row, d)
}

// compare notes how a row differs; either may be missing.
func (v *verification) compare(t *table, want, got []any, day *dayCount) {
	wantText, gotText := normalRow(t, want), normalRow(t, got)
	if day != nil {
		day.want.Write(lines(t, wantText))
		day.got.Write(lines(t, gotText))
	}
	switch {
	case want == nil && got == nil:
		return
	case want == nil:
		v.differ(Difference{Table: t.name, Key: keyOf(t, gotText), Want: rowMissing, Got: rowThere})
		return
	case got == nil:
		v.differ(Difference{Table: t.name, Key: keyOf(t, wantText), Want: rowThere, Got: rowMissing})
		return
	}
	for i, c := range t.columns {
		if wantText[i] != gotText[i] {
			v.differ(Difference{Table: t.name, Key: keyOf(t, wantText), Column: c.name, Want: wantText[i], Got: gotText[i]})
		}
	}
}

func (v *verification) differ(d Difference) {
	v.report.Different++
	if len(v.report.Differences) < maxDifferences {
		v.report.Differences = append(v.report.Differences, d)
	}
}

// lines is a row for a checksum: length before each value, so that no two rows
// have one text.
func lines(t *table, row []string) []byte {
	if row == nil {
		return nil
	}
	b := append([]byte(t.name), '\n')
	for _, s := range row {
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(append(b, ' '), s...)
	}
	return append(b, '\n')
}

func keyOf(t *table, row []string) string {
	var parts []string
	for _, k := range t.keys {
		parts = append(parts, row[t.at(k)])
	}
	return strings.Join(parts, "/")
}

// comparePeople compares users, groups and who belongs to them. What no kept event
// is about cannot be judged.
func (v *verification) comparePeople(ctx context.Context) error {
	p := v.plan
	users, groups, members := make(map[string][]any), make(map[string][]any), make(map[string][]any)
	judged := map[*table]func(row []string) bool{
		usersTable:   func(row []string) bool { return v.first == 1 || users[row[0]] != nil },
		groupsTable:  func(row []string) bool { return v.first == 1 || groups[row[0]] != nil },
		membersTable: func(row []string) bool { return v.first == 1 || members[strings.Join(row, "/")] != nil },
	}
	for id, row := range p.users {
		users[fmt.Sprint(id)] = row
	}
	for id, row := range p.groups {
		if row != nil {
			groups[fmt.Sprint(id)] = row
		}
	}
	for m, belongs := range p.members {
		if belongs {
			members[strings.Join(normalRow(membersTable, m.row()), "/")] = m.row()
		}
	}
	for _, part := range []struct {
		table *table
		want  map[string][]any
	}{{usersTable, users}, {groupsTable, groups}, {membersTable, members}} {
		rows, err := readAll(ctx, v.tx, part.table.selectAll())
		if err != nil {
			return err
		}
		before := v.report.Different
		t := TableReport{Table: part.table.name, Want: len(part.want), Rows: len(rows)}
		for _, row := range rows {
			text := normalRow(part.table, row)
			key := keyOf(part.table, text)
			if !judged[part.table](text) {
				v.report.Unchecked++
				continue
			}
			v.compare(part.table, part.want[key], row, nil)
			delete(part.want, key)
		}
		for _, key := range slices.Sorted(maps.Keys(part.want)) {
			v.compare(part.table, part.want[key], nil, nil)
		}
		t.Equal = v.report.Different == before
		v.report.Tables = append(v.report.Tables, t)
	}
	return nil
}

// scan reads a table by id, page by page.
type scan struct {
	tx    *sql.Tx
	table *table
	after int64
	page  [][]any
	ended bool
}

func newScan(tx *sql.Tx, t *table) *scan { return &scan{tx: tx, table: t} }

const scanPage = 1_000

// upTo gives the row of an id, nil when there is none; rows before it go to extra.
func (s *scan) upTo(ctx context.Context, id uint64, extra func(*table, []any)) ([]any, error) {
	for {
		if len(s.page) == 0 {
			if s.ended {
				return nil, nil
			}
			query := s.table.selectAll() + ` WHERE id > ? ORDER BY id LIMIT ` + strconv.Itoa(scanPage)
			page, err := readAll(ctx, s.tx, query, s.after)
			if err != nil {
				return nil, err
			}
			s.page, s.ended = page, len(page) < scanPage
			continue
		}
		row := s.page[0]
		n, err := strconv.ParseInt(normal(integer, row[0]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("id of a row of %s: %w", s.table.name, err)
		}
		if n > int64(id) {
			return nil, nil
		}
		s.page, s.after = s.page[1:], n
		if n == int64(id) {
			return row, nil
		}
		extra(s.table, row)
	}
}

func readAll(ctx context.Context, q querier, query string, args ...any) (all [][]any, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		row, into := make([]any, len(names)), make([]any, len(names))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

func normalRow(t *table, row []any) []string {
	if row == nil {
		return nil
	}
	out := make([]string, len(row))
	for i, v := range row {
		out[i] = normal(t.columns[i].kind, v)
	}
	return out
}

const null = "NULL"

// normal gives one text for one value, whichever driver it came through.
func normal(k kind, v any) string {
	switch v := v.(type) {
	case nil:
		return null
	case int64:
		return strconv.FormatInt(v, 10)
	case bool:
		if v {
			return "1"
		}
		return "0"
	case float64:
		switch k {
		case degrees:
			return strconv.FormatFloat(v, 'f', 7, 64)
		case metres:
			return strconv.FormatFloat(v, 'f', 2, 64)
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	case time.Time:
		if k == date {
			return v.UTC().Format(time.DateOnly)
		}
		return v.UTC().Format(instantLayout)
	case []byte:
		return normal(k, string(v))
	case string:
		switch {
		case k == document:
			return normalJSON(v)
		case v == null:
			return "'" + null + "'"
		}
		return v
	}
	return fmt.Sprint(v)
}

// normalJSON gives one text for one document: MySQL keeps documents and not their
// text, with its own order of fields and its own way to write a number.
func normalJSON(s string) string {
	in := json.NewDecoder(strings.NewReader(s))
	in.UseNumber()
	var v any
	if err := in.Decode(&v); err != nil {
		return s
	}
	var out bytes.Buffer
	writer := json.NewEncoder(&out)
	writer.SetEscapeHTML(false)
	if err := writer.Encode(oneNumber(v)); err != nil {
		return s
	}
	return strings.TrimSpace(out.String())
}

// oneNumber gives equal numbers one form.
func oneNumber(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = oneNumber(v[name])
		}
	case []any:
		for i := range v {
			v[i] = oneNumber(v[i])
		}
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			if f, err := v.Float64(); err == nil {
				return f
			}
		}
	}
	return v
}
