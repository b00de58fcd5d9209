package harness

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/go-sql-driver/mysql"
)

// MariaDB is a database server of a test's own, on loopback and in a directory of
// its own. It stands in for MySQL 8.0, too.
type MariaDB struct {
	Port int
	dir  string
	args []string
	proc *Proc
	db   *sql.DB
}

// HasMariaDB says why no MariaDB can be started, nil when it can.
func HasMariaDB() error {
	for _, program := range []string{"mariadb-install-db", "mariadbd"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed", program)
		}
	}
	return nil
}

// StartMariaDB makes a server in dir and starts it. args are more options for it.
func StartMariaDB(ctx context.Context, dir string, args ...string) (*MariaDB, error) {
	port, err := FreePorts(1)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	install := exec.CommandContext(ctx, "mariadb-install-db", "--no-defaults", "--datadir="+data, "--user="+user(),
		"--auth-root-authentication-method=normal", "--skip-test-db")
	if out, err := install.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	m := &MariaDB{Port: port, dir: dir}
	m.args = append([]string{
		"--no-defaults", "--user=" + user(), "--datadir=" + data, "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", port),
		"--socket=" + filepath.Join(dir, "s"), "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M", "--performance-schema=OFF",
	}, args...)
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Logger = "tcp", Loopback(port), "root", &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	m.db = sql.OpenDB(connector)
	if err := m.Start(ctx); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// user is who the server runs as: it refuses root unless told so.
func user() string {
	if os.Geteuid() == 0 {
		return "root"
	}
	return os.Getenv("USER")
}

// Start starts the server's process and waits until it answers.
func (m *MariaDB) Start(ctx context.Context) error {
	var err error
	if m.proc, err = Start("mariadbd", "mariadbd", m.args, nil); err != nil {
		return err
	}
	return Await(ctx, func() error {
		if m.proc.Ended() {
			return fmt.Errorf("mariadbd ended: %s", lastLine(m.proc.Stderr.String()))
		}
		ask, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return m.db.PingContext(ask)
	})
}

// Kill ends the server as a power cut would.
func (m *MariaDB) Kill() { m.proc.Kill() }

// Close ends the server.
func (m *MariaDB) Close() {
	if m.proc != nil {
		m.proc.Kill()
	}
	if m.db != nil {
		m.db.Close() //nolint:errcheck // the server is gone
	}
}

// DB gives a handle for the test itself, as root and without a database.
func (m *MariaDB) DB() *sql.DB { return m.db }

// Exec runs statements as root, one after the other.
func (m *MariaDB) Exec(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := m.db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// Account makes a database, and an account of its name and a password that may do
// everything in it, and gives the URL to export to.
func (m *MariaDB) Account(ctx context.Context, name, password string) (string, error) {
	err := m.Exec(ctx,
		"CREATE DATABASE "+name,
		"CREATE USER '"+name+"'@'%' IDENTIFIED BY '"+password+"'",
		"GRANT ALL PRIVILEGES ON "+name+".* TO '"+name+"'@'%'",
	)
	return fmt.Sprintf("mysql://%s:%s@%s/%s", name, password, Loopback(m.Port), name), err
}

// Log gives what the server wrote.
func (m *MariaDB) Log() string {
	if m.proc == nil {
		return ""
	}
	return m.proc.Stderr.String()
}
