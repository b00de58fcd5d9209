package export

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// mysqlDialect is MySQL 8.0 and MariaDB 10.11. Every statement works on both.
type mysqlDialect struct {
	// wait is after how long the server ends a session that says nothing, and with
	// it the locks of an exporter that was paused. The server's own default is
	// eight hours.
	wait time.Duration
}

const (
	defaultWait = 30 * time.Second
	patientWait = time.Hour
	lockWait    = 5 * time.Second
	strictMode  = "STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
)

func (d mysqlDialect) open(t Target, patient bool) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.DBName, c.User, c.Passwd = "tcp", t.addr, t.database, t.user, t.password
	c.TLSConfig = t.tls
	c.Collation = "utf8mb4_unicode_ci"
	c.Timeout, c.ReadTimeout, c.WriteTimeout = dialTimeout, ioTimeout, ioTimeout
	c.ClientFoundRows = true      // a compare-and-set that changes nothing still finds its row
	c.Logger = &mysql.NopLogger{} // what it would log comes back as an error, too
	wait := d.wait
	if patient {
		wait, c.ReadTimeout = patientWait, patientTimeout
	}
	seconds := func(d time.Duration) string { return fmt.Sprint(int(d / time.Second)) }
	c.Params = map[string]string{
		"wait_timeout":             seconds(wait),
		"innodb_lock_wait_timeout": seconds(lockWait),
		"lock_wait_timeout":        seconds(lockWait),
		"time_zone":                "'+00:00'",
		"sql_mode":                 "'" + strictMode + "'",
		"autocommit":               "1",
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return handle(sql.OpenDB(connector)), nil
}

func (mysqlDialect) goose() string { return "mysql" }

// lock uses a lock by name, which belongs to a session: whoever dies lets go.
// Names are of the whole server, so the database's is part of it.
func (mysqlDialect) lock(ctx context.Context, db *sql.DB, name string) (release func(), err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var got sql.NullInt64
	err = conn.QueryRowContext(ctx, `SELECT GET_LOCK(CONCAT(?, LEFT(SHA1(DATABASE()), 20)), ?)`, name, int(lockWait/time.Second)).Scan(&got)
	if err == nil && got.Int64 != 1 {
		err = fmt.Errorf("%w: another node brings the schema up to date", errMoved)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return func() {
		// The session may be gone, and its lock with it; closing ends it otherwise.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), `DO RELEASE_LOCK(CONCAT(?, LEFT(SHA1(DATABASE()), 20)))`, name)
		_ = conn.Close()
	}, nil
}

// room leaves a quarter of a packet for what is not data.
func (mysqlDialect) room(ctx context.Context, db *sql.DB) (int, error) {
	var packet int
	if err := db.QueryRowContext(ctx, `SELECT @@max_allowed_packet`).Scan(&packet); err != nil {
		return 0, err
	}
	return packet / 4 * 3, nil
}

// places is what the protocol's 16 bits hold.
func (mysqlDialect) places() int { return 65_535 }

func (mysqlDialect) snapshot(ctx context.Context, db *sql.DB) (*sql.Tx, error) {
	return db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
}

func (mysqlDialect) upsert(t *table) string {
	var set []string
	for _, c := range t.columns {
		if !t.isKey(c.name) {
			set = append(set, c.name+" = VALUES("+c.name+")")
		}
	}
	if len(set) == 0 { // all is key: there is nothing to change
		set = []string{t.keys[0] + " = VALUES(" + t.keys[0] + ")"}
	}
	return " ON DUPLICATE KEY UPDATE " + strings.Join(set, ", ")
}

// Error numbers, of both servers.
var mysqlNumbers = map[uint16]struct {
	class  class
	reason Reason
}{
	1205: {again, ""}, // lock wait timeout
	1213: {again, ""}, // deadlock
	1020: {again, ""}, // record changed since it was read (MariaDB)
	1412: {again, ""}, // table definition changed, retry the transaction
	3572: {again, ""}, // lock not available at once

	1366: {refused, ""}, // incorrect string or number for a column
	3819: {refused, ""}, // check constraint
	1369: {refused, ""}, // check option of a view
	1526: {refused, ""}, // no partition for the value
	1364: {halting, Drift},

	1051: {halting, Drift}, // unknown table
	1054: {halting, Drift}, // unknown column
	1136: {halting, Drift}, // column count
	1146: {halting, Drift}, // no such table
	1347: {halting, Drift}, // is not a table
	1305: {halting, Drift}, // no such savepoint or routine: a trigger's

	1044: {halting, Privileges}, // access to the database denied
	1045: {halting, Privileges}, // wrong password
	1049: {halting, Privileges}, // unknown database
	1142: {halting, Privileges}, // command denied
	1143: {halting, Privileges}, // column denied
	1227: {halting, Privileges},
	1370: {halting, Privileges},
	1698: {halting, Privileges},
	1820: {halting, Privileges}, // the password has to be changed first
	1862: {halting, Privileges}, // the password has expired
	3118: {halting, Privileges}, // the account is locked
	4151: {halting, Privileges}, // the account is locked (MariaDB)

	1290: {halting, ReadOnly}, // --read-only
	1792: {halting, ReadOnly}, // read-only transaction
	1836: {halting, ReadOnly}, // read-only mode
	1015: {halting, ReadOnly},

	1021: {halting, DiskFull},
	1114: {halting, DiskFull}, // table is full

	1153: {halting, Packet},

	1033: {halting, Damaged},
	1034: {halting, Damaged},
	1194: {halting, Damaged},
	1195: {halting, Damaged},
}

func (mysqlDialect) classify(err error) (class, Reason) {
	if errors.Is(err, mysql.ErrPktTooLarge) {
		return halting, Packet
	}
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return broken, Unreachable
	}
	if known, ok := mysqlNumbers[e.Number]; ok {
		return known.class, known.reason
	}
	// A table or a log that could not be written says why in its text only: the
	// operating system's number for a full disk or quota.
	for _, full := range []string{"errno: 28", "Errcode: 28", "Got error 28", "errno: 122", "Errcode: 122"} {
		if strings.Contains(e.Message, full) {
			return halting, DiskFull
		}
	}
	// SQLSTATE: 22 data exception, 23 integrity constraint, 45 raised by a trigger.
	switch string(e.SQLState[:2]) {
	case "22", "23", "45":
		return refused, ""
	}
	return broken, Unreachable
}
