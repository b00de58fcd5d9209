package export

import (
	"context"
	"database/sql"
	"time"
)

// dialect is what differs between databases.
type dialect interface {
	// open gives a handle. patient connections are for work that may take long:
	// migrations and verification.
	open(t Target, patient bool) (*sql.DB, error)
	// goose gives the dialect's name for goose.
	goose() string
	// lock keeps other nodes from migrating, until release is called.
	lock(ctx context.Context, db *sql.DB, name string) (release func(), err error)
	// room gives how many bytes one statement may have.
	room(ctx context.Context, db *sql.DB) (int, error)
	// places gives how many placeholders one statement may have.
	places() int
	// snapshot begins a transaction that reads one moment.
	snapshot(ctx context.Context, db *sql.DB) (*sql.Tx, error)
	// upsert gives the end of an INSERT that replaces the row with the same key.
	upsert(t *table) string
	// classify says what an error means; the reason goes with halting.
	classify(err error) (class, Reason)
}

// Times of a connection to a database.
const (
	dialTimeout = 5 * time.Second
	// ioTimeout is more than a statement waits for a lock.
	ioTimeout = 10 * time.Second
	// patientTimeout is for a patient connection's statements.
	patientTimeout = 10 * time.Minute
	// idleTimeout closes an idle connection before the server does.
	idleTimeout = 15 * time.Second
)

// handle gives a pool with the limits of this package.
func handle(db *sql.DB) *sql.DB {
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(1)
	db.SetConnMaxIdleTime(idleTimeout)
	return db
}
