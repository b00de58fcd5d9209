package export

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
)

// sqliteDialect is a file of this node's own.
type sqliteDialect struct{}

// open creates the file, readable by this account only, and its directory.
func (sqliteDialect) open(t Target, _ bool) (*sql.DB, error) {
	if err := os.MkdirAll(filepath.Dir(t.path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(t.path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", sqliteName(t))
	if err != nil {
		return nil, err
	}
	return handle(db), nil
}

// sqliteName gives the driver's name of the file. A transaction takes the one
// writer's place when it begins: one that finds it taken half way cannot wait.
func sqliteName(t Target) string {
	return (&url.URL{Scheme: "file", Path: t.path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"},
		"_txlock": {"immediate"},
	}.Encode()}).String()
}

func (sqliteDialect) goose() string { return "sqlite3" }

// lock needs nothing: a migration is a transaction, and there is one writer.
func (sqliteDialect) lock(context.Context, *sql.DB, string) (func(), error) { return func() {}, nil }

func (sqliteDialect) room(context.Context, *sql.DB) (int, error) { return 64 << 20, nil }

// places is small because the driver looks at every value for every placeholder:
// a statement of thousands takes longer than hundreds of small ones.
func (sqliteDialect) places() int { return 256 }

func (sqliteDialect) snapshot(ctx context.Context, db *sql.DB) (*sql.Tx, error) {
	return db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
}

func (sqliteDialect) upsert(t *table) string {
	var set []string
	for _, c := range t.columns {
		if !t.isKey(c.name) {
			set = append(set, c.name+" = excluded."+c.name)
		}
	}
	end := " ON CONFLICT (" + strings.Join(t.keys, ", ") + ") DO "
	if len(set) == 0 {
		return end + "NOTHING"
	}
	return end + "UPDATE SET " + strings.Join(set, ", ")
}

// Result codes of SQLite; the low byte of an extended code is the primary one.
const (
	sqliteError      = 1
	sqlitePerm       = 3
	sqliteBusy       = 5
	sqliteLocked     = 6
	sqliteReadOnly   = 8
	sqliteCorrupt    = 11
	sqliteFull       = 13
	sqliteCantOpen   = 14
	sqliteTooBig     = 18
	sqliteConstraint = 19
	sqliteMismatch   = 20
	sqliteNotADB     = 26

	sqliteReadOnlyMoved = sqliteReadOnly | 4<<8 // the file was moved away
)

func (sqliteDialect) classify(err error) (class, Reason) {
	switch {
	case errors.Is(err, os.ErrPermission):
		return halting, Privileges
	case !isSQLite(err):
		return broken, Unreachable
	}
	var e *sqlite.Error
	errors.As(err, &e)
	if e.Code() == sqliteReadOnlyMoved {
		return broken, Unreachable
	}
	switch e.Code() & 0xff {
	case sqliteBusy, sqliteLocked:
		return again, ""
	case sqliteConstraint, sqliteMismatch, sqliteTooBig:
		return refused, ""
	case sqliteReadOnly:
		return halting, ReadOnly
	case sqlitePerm:
		return halting, Privileges
	case sqliteFull:
		return halting, DiskFull
	case sqliteCorrupt, sqliteNotADB:
		return halting, Damaged
	case sqliteCantOpen:
		return broken, Unreachable
	case sqliteError:
		// It has one code for all that is wrong with a statement.
		for _, text := range []string{"no such table", "no such column", "has no column", "columns but"} {
			if strings.Contains(e.Error(), text) {
				return halting, Drift
			}
		}
	}
	return broken, Unreachable
}

func isSQLite(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e)
}

// errReplaced: the file under the path is not the one that is open.
var errReplaced = errors.New("the file was moved or replaced")

// sameFile finds out whether the file at the path is still the one that was
// opened: SQLite would go on to write to one that nobody can find.
func sameFile(path string, opened os.FileInfo) error {
	now, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("%w: %w", errReplaced, err)
	}
	if !os.SameFile(now, opened) {
		return errReplaced
	}
	return nil
}
