package export

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
)

// faulty is SQLite over a connection that can break at any operation, also in the
// middle of a COMMIT: before it took effect, or after. What was not committed is
// rolled back by the database, which notices that the connection is gone.
type faulty struct {
	sqliteDialect
	mu           sync.Mutex
	left         int  // operations until the next fault; negative: none
	commit, late bool // only a COMMIT is one; after it took effect
	hits         int
}

var errLost = errors.New("connection lost")

func (f *faulty) open(t Target, patient bool) (*sql.DB, error) {
	db, err := f.sqliteDialect.open(t, patient)
	if err != nil {
		return nil, err
	}
	name := sqliteName(t)
	inner := db.Driver()
	if err := db.Close(); err != nil {
		return nil, err
	}
	return handle(sql.OpenDB(&connector{f: f, name: name, driver: inner})), nil
}

// plan has the n-th operation from now fail, or COMMIT, which may take effect
// all the same.
func (f *faulty) plan(n int, commit, late bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.commit, f.late = n, commit, late
}

// strike reports whether this operation is the one.
func (f *faulty) strike(commit bool) (hit, late bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left < 0 || (f.commit && !commit) {
		return false, false
	}
	f.left--
	if f.left >= 0 {
		return false, false
	}
	f.hits++
	return true, f.late
}

type connector struct {
	f      *faulty
	name   string
	driver driver.Driver
}

func (c *connector) Connect(context.Context) (driver.Conn, error) {
	if hit, _ := c.f.strike(false); hit {
		return nil, errLost
	}
	inner, err := c.driver.Open(c.name)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: inner, f: c.f}, nil
}

func (c *connector) Driver() driver.Driver { return c.driver }

type faultyConn struct {
	driver.Conn
	f    *faulty
	dead bool
}

// lose breaks the connection.
func (c *faultyConn) lose() error {
	c.dead = true
	return errors.Join(errLost, c.Conn.Close())
}

func (c *faultyConn) check() error {
	if c.dead {
		return driver.ErrBadConn
	}
	if hit, _ := c.f.strike(false); hit {
		return c.lose()
	}
	return nil
}

func (c *faultyConn) Close() error {
	if c.dead {
		return nil
	}
	return c.Conn.Close()
}

func (c *faultyConn) IsValid() bool { return !c.dead }

func (c *faultyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *faultyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *faultyConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *faultyConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &faultyTx{tx, c}, nil
}

type faultyTx struct {
	driver.Tx
	c *faultyConn
}

func (t *faultyTx) Commit() error {
	hit, late := t.c.f.strike(true)
	if hit && !late {
		return t.c.lose()
	}
	err := t.Tx.Commit()
	if hit {
		return errors.Join(err, t.c.lose()) // it took effect, and nobody knows
	}
	return err
}

func (t *faultyTx) Rollback() error {
	if t.c.dead {
		return driver.ErrBadConn
	}
	return t.Tx.Rollback()
}
