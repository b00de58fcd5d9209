package export

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"hadir/attendance"
)

// kind is how the values of a column are compared.
type kind uint8

const (
	integer kind = iota
	text
	instant  // DATETIME(3), UTC
	date     // local day
	degrees  // DECIMAL(10, 7)
	metres   // DECIMAL(8, 2)
	document // JSON
)

type column struct {
	name string
	kind kind
}

// table is a table as the exporter writes it. Names are constants of this
// package: nothing else becomes part of a statement.
type table struct {
	name    string
	keys    []string
	columns []column
}

var (
	usersTable = &table{"users", []string{"id"}, []column{
		{"id", integer}, {"name", text}, {"email", text}, {"role", text}, {"active", integer}, {"created_at", instant},
		{"updated_at", instant},
	}}
	groupsTable = &table{"user_groups", []string{"id"}, []column{
		{"id", integer}, {"name", text}, {"kind", text}, {"created_at", instant}, {"updated_at", instant},
	}}
	membersTable = &table{"user_group_members", []string{"group_id", "user_id", "role"}, []column{
		{"group_id", integer}, {"user_id", integer}, {"role", text},
	}}
	logsTable = &table{"attendance_logs", []string{"id"}, []column{
		{"id", integer}, {"attendance_id", integer}, {"event_type", text}, {"user_id", integer}, {"type", text}, {"reason", text},
		{"local_date", date}, {"node_id", text}, {"principal", text}, {"idempotency_key", text}, {"raft_index", integer},
		{"proposed_at", instant}, {"payload", document}, {"created_at", instant},
	}}
	attendancesTable = &table{"attendances", []string{"id"}, []column{
		{"id", integer}, {"user_id", integer}, {"type", text}, {"timestamp", instant}, {"first_seen_at", instant}, {"local_date", date},
		{"local_minute", integer}, {"first_seen_minute", integer}, {"latitude", degrees}, {"longitude", degrees}, {"accuracy_m", metres},
		{"location_error", text}, {"node_id", text}, {"offline", integer}, {"claimed_at", instant}, {"claim_trusted", integer},
		{"seq", integer}, {"created_at", instant}, {"updated_at", instant},
	}}
	failuresTable = &table{"export_failures", []string{"seq"}, []column{
		{"seq", integer}, {"event_type", text}, {"event_at", instant}, {"reason", text}, {"attempts", integer}, {"retry", integer},
	}}
	gapsTable = &table{"export_gaps", []string{"first_seq"}, []column{
		{"first_seq", integer}, {"last_seq", integer},
	}}
	watermarkTable = &table{"hadir_watermark", []string{"id"}, []column{
		{"id", integer}, {"cluster", text}, {"epoch", integer}, {"seq", integer}, {"fence", integer}, {"last_hash", text}, {"as_of", instant},
		{"decision", text},
	}}

	tables = []*table{usersTable, groupsTable, membersTable, logsTable, attendancesTable, failuresTable, gapsTable, watermarkTable}
)

func (t *table) isKey(name string) bool { return slices.Contains(t.keys, name) }

// at gives the place of a column.
func (t *table) at(name string) int {
	return slices.IndexFunc(t.columns, func(c column) bool { return c.name == name })
}

func (t *table) list() string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

func (t *table) selectAll() string { return "SELECT " + t.list() + " FROM " + t.name }

// insert gives an INSERT of n rows.
func (t *table) insert(n int) string {
	row := "(" + strings.Repeat("?, ", len(t.columns)-1) + "?)"
	return "INSERT INTO " + t.name + " (" + t.list() + ") VALUES " + strings.Repeat(row+", ", n-1) + row
}

// maxRows bounds the rows of a statement.
const maxRows = 500

// put inserts rows, in as many statements as the database demands. end is the
// dialect's upsert, or empty: then a row that is there is an error.
func (w *writer) put(ctx context.Context, tx *sql.Tx, t *table, rows [][]any, end string) error {
	most := max(1, min(maxRows, w.dialect.places()/len(t.columns)))
	for len(rows) > 0 {
		n, bytes := 0, 0
		for n < len(rows) && n < most {
			size := sizeOf(rows[n])
			if size > w.room {
				return stop(Packet, "one row of %s takes about %d bytes and a statement may have %d", t.name, size, w.room)
			}
			if bytes += size; bytes > w.room {
				break
			}
			n++
		}
		args := make([]any, 0, n*len(t.columns))
		for _, row := range rows[:n] {
			args = append(args, row...)
		}
		if _, err := tx.ExecContext(ctx, t.insert(n)+end, args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// upsert is put for rows that replace those with the same key.
func (w *writer) upsert(ctx context.Context, tx *sql.Tx, t *table, rows [][]any) error {
	return w.put(ctx, tx, t, rows, w.dialect.upsert(t))
}

func sizeOf(row []any) int {
	n := 0
	for _, v := range row {
		n += 12
		if s, ok := v.(string); ok {
			n += len(s)
		}
	}
	return n
}

const (
	instantLayout = "2006-01-02 15:04:05.000"
	firstDay      = attendance.Day(0)       // 1970
	lastDay       = attendance.Day(2932896) // 9999-12-31
)

// when gives an instant as a value; NULL for one that no DATETIME can hold, as the
// claim of a phone may be.
func when(m attendance.Millis) any {
	if m < 0 || m > attendance.MaxMillis {
		return nil
	}
	return m.Time().Format(instantLayout)
}

// whenSet is when for an instant that may be missing.
func whenSet(m attendance.Millis) any {
	if m == 0 {
		return nil
	}
	return when(m)
}

func day(d attendance.Day) any {
	if d < firstDay || d > lastDay {
		return nil
	}
	return d.String()
}

// optional gives NULL for nothing.
func optional[T comparable](v T) any {
	var none T
	if v == none {
		return nil
	}
	return v
}

func id(n uint64) any {
	if n == 0 {
		return nil
	}
	return int64(n)
}

func bit(b bool) any {
	if b {
		return int64(1)
	}
	return int64(0)
}
