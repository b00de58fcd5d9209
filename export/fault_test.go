package export

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"
)

func TestWhatErrorsOfMySQLMean(t *testing.T) {
	state := func(s string) [5]byte { return [5]byte([]byte(s)) }
	for _, tc := range []struct {
		err    error
		class  class
		reason Reason
	}{
		{&mysql.MySQLError{Number: 1213, SQLState: state("40001")}, again, ""},
		{&mysql.MySQLError{Number: 1205, SQLState: state("HY000")}, again, ""},
		{&mysql.MySQLError{Number: 1062, SQLState: state("23000")}, refused, ""},
		{&mysql.MySQLError{Number: 1452, SQLState: state("23000")}, refused, ""},
		{&mysql.MySQLError{Number: 4025, SQLState: state("23000")}, refused, ""},
		{&mysql.MySQLError{Number: 3819, SQLState: state("HY000")}, refused, ""},
		{&mysql.MySQLError{Number: 1366, SQLState: state("22007")}, refused, ""},
		{&mysql.MySQLError{Number: 1406, SQLState: state("22001")}, refused, ""},
		{&mysql.MySQLError{Number: 1644, SQLState: state("45000")}, refused, ""},
		{&mysql.MySQLError{Number: 1054, SQLState: state("42S22")}, halting, Drift},
		{&mysql.MySQLError{Number: 1146, SQLState: state("42S02")}, halting, Drift},
		{&mysql.MySQLError{Number: 1142, SQLState: state("42000")}, halting, Privileges},
		{&mysql.MySQLError{Number: 1045, SQLState: state("28000")}, halting, Privileges},
		{&mysql.MySQLError{Number: 1049, SQLState: state("42000")}, halting, Privileges},
		{&mysql.MySQLError{Number: 1290, SQLState: state("HY000")}, halting, ReadOnly},
		{&mysql.MySQLError{Number: 1792, SQLState: state("25006")}, halting, ReadOnly},
		{&mysql.MySQLError{Number: 1114, SQLState: state("HY000")}, halting, DiskFull},
		{&mysql.MySQLError{Number: 1026, SQLState: state("HY000"), Message: "Error writing file 'x' (Errcode: 28 \"No space left on device\")"}, halting, DiskFull},
		{&mysql.MySQLError{Number: 1030, SQLState: state("HY000"), Message: "Got error 28 from storage engine"}, halting, DiskFull},
		{&mysql.MySQLError{Number: 1153, SQLState: state("08S01")}, halting, Packet},
		{mysql.ErrPktTooLarge, halting, Packet},
		{&mysql.MySQLError{Number: 1040, SQLState: state("08004")}, broken, Unreachable},
		{&mysql.MySQLError{Number: 1927, SQLState: state("70100")}, broken, Unreachable},
		{mysql.ErrInvalidConn, broken, Unreachable},
		{driver.ErrBadConn, broken, Unreachable},
		{context.DeadlineExceeded, broken, Unreachable},
		{sql.ErrConnDone, broken, Unreachable},
		{errors.New("anything"), broken, Unreachable},
	} {
		c, reason := mysqlDialect{}.classify(fmt.Errorf("wrapped: %w", tc.err))
		if c != tc.class || reason != tc.reason {
			t.Errorf("%v: %d %q, want %d %q", tc.err, c, reason, tc.class, tc.reason)
		}
	}
}

func TestEveryReasonHasAdvice(t *testing.T) {
	for _, r := range []Reason{Unreachable, Schema, Drift, Privileges, ReadOnly, DiskFull, Packet, Damaged, Gap, Ahead, Parked} {
		if advice[r] == "" {
			t.Errorf("%s: what to do?", r)
		}
	}
}
