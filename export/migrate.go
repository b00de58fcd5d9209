package export

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

//go:embed migrations/*.sql
var migrations embed.FS

const versionTable = "hadir_schema"

// newestSchema is the version that the migrations of this program lead to.
var newestSchema = sync.OnceValues(func() (int64, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(files) == 0 {
		return 0, errors.Join(err, errors.New("there are no migrations"))
	}
	last := strings.TrimPrefix(files[len(files)-1], "migrations/")
	number, _, _ := strings.Cut(last, "_")
	return strconv.ParseInt(number, 10, 64)
})

// migrate brings the schema up to date, if it is not, and refuses one that is
// newer. The version is looked at first, without the lock: it nearly always fits.
func migrate(ctx context.Context, d dialect, t Target, db *sql.DB) error {
	want, err := newestSchema()
	if err != nil {
		return err
	}
	have, err := schemaVersion(ctx, d, db)
	switch {
	case err != nil:
		return err
	case have == want:
		return nil
	case have > want:
		return stop(Schema, "its schema has version %d, this program knows %d", have, want)
	}
	patient, err := d.open(t, true)
	if err != nil {
		return err
	}
	defer patient.Close()
	release, err := d.lock(ctx, patient, "hadir_schema_")
	if err != nil {
		return err
	}
	defer release()
	return up(ctx, d, patient)
}

func up(ctx context.Context, d dialect, db *sql.DB) error {
	fsys, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := ensureVersions(ctx, d, db); err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.Dialect(d.goose()), db, dialectFS{fsys, d.goose()},
		goose.WithTableName(versionTable), goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// schemaVersion gives the version of the schema, -1 for one whose version table is
// missing or empty.
func schemaVersion(ctx context.Context, d dialect, db *sql.DB) (int64, error) {
	var v sql.NullInt64
	err := db.QueryRowContext(ctx, `SELECT MAX(version_id) FROM `+versionTable+` WHERE is_applied = 1`).Scan(&v)
	if err != nil {
		if c, reason := d.classify(err); c == halting && reason == Drift {
			return -1, nil // there is no such table yet
		}
		return 0, err
	}
	if !v.Valid {
		return -1, nil
	}
	return v.Int64, nil
}

// ensureVersions makes the version table and its first row, which MySQL commits one
// by one: what was cut off between them is completed. Goose would wait for seconds
// and not complete it.
func ensureVersions(ctx context.Context, d dialect, db *sql.DB) error {
	versions, err := database.NewStore(goose.Dialect(d.goose()), versionTable)
	if err != nil {
		return err
	}
	var rows int
	if err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+versionTable).Scan(&rows); err != nil {
		if c, reason := d.classify(err); c != halting || reason != Drift {
			return err
		}
		if err := versions.CreateVersionTable(ctx, db); err != nil {
			return err
		}
	}
	if rows > 0 {
		return nil
	}
	return versions.Insert(ctx, db, database.InsertRequest{Version: 0})
}

// dialectFS gives the migrations for one dialect: a comment that begins with
// "-- +mysql " or "-- +sqlite " is a line for that dialect alone.
type dialectFS struct {
	fs.FS
	dialect string
}

// Open implements fs.FS.
func (f dialectFS) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".sql") {
		return file, err
	}
	raw, err := fs.ReadFile(f.FS, name)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &rendered{File: file, Reader: bytes.NewReader(render(raw, f.dialect))}, nil
}

// rendered is a file with other content.
type rendered struct {
	fs.File
	*bytes.Reader
}

// Read implements io.Reader.
func (r *rendered) Read(p []byte) (int, error) { return r.Reader.Read(p) }

// Glob implements fs.GlobFS.
func (f dialectFS) Glob(pattern string) ([]string, error) { return fs.Glob(f.FS, pattern) }

func render(raw []byte, dialect string) []byte {
	own := "-- +mysql "
	if dialect != "mysql" {
		own = "-- +sqlite "
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(raw)) {
		trimmed := strings.TrimLeft(line, " ")
		switch {
		case strings.HasPrefix(trimmed, own):
			out.WriteString(strings.TrimPrefix(trimmed, own))
		case strings.HasPrefix(trimmed, "-- +mysql "), strings.HasPrefix(trimmed, "-- +sqlite "):
		default:
			out.WriteString(line)
		}
	}
	return out.Bytes()
}

// checkColumns finds tables or columns that are missing before a batch does.
func checkColumns(ctx context.Context, db *sql.DB) error {
	for _, t := range tables {
		rows, err := db.QueryContext(ctx, t.selectAll()+` WHERE 1 = 0`)
		if err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
		if err := errors.Join(rows.Close(), rows.Err()); err != nil {
			return err
		}
	}
	return nil
}
