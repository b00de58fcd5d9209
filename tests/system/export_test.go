package system_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"hadir/tests/system/harness"
)

// exported is a target as GET /export shows it.
type exported struct {
	Target    string  `json:"target"`
	Kind      string  `json:"kind"`
	State     string  `json:"state"`
	Connected bool    `json:"connected"`
	Watermark uint64  `json:"watermark"`
	LagEvents uint64  `json:"lag_events"`
	LagS      float64 `json:"lag_s"`
	LastError *struct {
		Reason string `json:"reason"`
	} `json:"last_error"`
}

func exports(t *testing.T, c harness.Client) (list []exported, err error) {
	t.Helper()
	var out struct{ Items []exported }
	err = c.Get(within(t, 10*time.Second), "/api/v1/export", &out)
	return out.Items, err
}

// TestExport: a cluster exports to MariaDB and to a SQLite file of each node while
// taps come in, its leader dies, another one is frozen, COMMITs lose their answers
// and the database loses its power. In the end every copy is what the events say.
func TestExport(t *testing.T) {
	if err := harness.HasMariaDB(); err != nil {
		harness.LeaveOut(t, "mysql", err.Error())
	}
	t.Parallel()
	const secret = "s3cret-word"
	server, err := harness.StartMariaDB(within(t, 60*time.Second), t.TempDir())
	must(t, err)
	t.Cleanup(server.Close)
	url, err := server.Account(within(t, 20*time.Second), "hadir", secret)
	must(t, err)
	proxy, err := harness.NewSQLProxy(harness.Loopback(server.Port))
	must(t, err)
	t.Cleanup(proxy.Close)
	url = strings.Replace(url, harness.Loopback(server.Port), proxy.Addr, 1)
	dir := t.TempDir()
	c, err := harness.New(harness.Options{
		Bin: bin, Dir: filepath.Join(dir, "nodes"), Students: 400,
		Args: []string{"--export-url", url + "?tls=false", "--export-url", "sqlite://" + filepath.Join(dir, "copies", "{node}.db")},
	})
	must(t, err)
	t.Cleanup(func() {
		c.Close()
		log := c.Log()
		showRaces(t, log)
		if strings.Contains(log, secret) {
			t.Error("a log shows the password")
		}
		if t.Failed() {
			t.Log(log)
		}
	})
	must(t, c.Up(within(t, 60*time.Second)))

	load := c.Load(harness.LoadConfig{Rate: 30})
	must(t, load.Progress(within(t, 40*time.Second), 40))
	for i, fault := range []func(leader *harness.Node){
		func(*harness.Node) { proxy.Plan(harness.AfterCommit) },
		func(leader *harness.Node) {
			leader.Kill()
			_, _, err := c.Leader(within(t, 40*time.Second), leader.ID)
			must(t, err)
			must(t, leader.Start())
		},
		func(leader *harness.Node) {
			must(t, leader.Freeze(within(t, 10*time.Second)))
			_, _, err := c.Leader(within(t, 40*time.Second), leader.ID)
			must(t, err)
			must(t, load.Progress(within(t, 60*time.Second), 20))
			must(t, leader.Thaw())
		},
		func(*harness.Node) {
			server.Kill()
			must(t, load.Progress(within(t, 60*time.Second), 20))
			must(t, server.Start(within(t, 60*time.Second)))
		},
		func(*harness.Node) { proxy.Plan(harness.BeforeCommit) },
		func(*harness.Node) { proxy.CutAll() },
	} {
		leader, _, err := c.Leader(within(t, 40*time.Second), "")
		must(t, err)
		fault(leader)
		if err := load.Progress(within(t, 60*time.Second), 25); err != nil {
			t.Fatalf("fault %d: %v", i, err)
		}
	}
	ops := load.Stop()
	judge(t, c, ops)
	if proxy.Cuts() < 2 {
		t.Errorf("%d COMMITs were cut", proxy.Cuts())
	}
	caughtUp(t, c)

	// Every seq once, none above the watermark.
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.DBName, cfg.Logger = "tcp", harness.Loopback(server.Port), "root", "hadir", &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	must(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { must(t, db.Close()) })
	var seq, rows, top, parked int
	must(t, db.QueryRow(`SELECT (SELECT seq FROM hadir_watermark), COUNT(*), MAX(id), (SELECT COUNT(*) FROM export_failures) FROM attendance_logs`).Scan(&seq, &rows, &top, &parked))
	if seq == 0 || rows != seq || top != seq || parked != 0 {
		t.Errorf("watermark %d, %d rows, the last one %d, %d parked", seq, rows, top, parked)
	}
	// Each node compares the shared database and its own file with its own events.
	for _, n := range c.Nodes {
		out, err := command(t, "export", "verify", "--url", n.URL, "--token", c.Admin.Token)
		if err != nil || strings.Count(out, "\nequal; 0 parked") != 2 {
			t.Errorf("hadir export verify at %s: %v\n%s", n.ID, err, out)
		}
		if strings.Contains(out, secret) {
			t.Errorf("verify shows the password: %s", out)
		}
	}
	// A wrong row is found and named, and a reset puts it right.
	if _, err := db.Exec(`UPDATE users SET name = 'Nobody' WHERE id = 7`); err != nil {
		t.Fatal(err)
	}
	target := ""
	list, err := exports(t, c.Admin)
	must(t, err)
	for _, x := range list {
		if x.Kind == "mysql" {
			target = x.Target
		}
	}
	out, err := command(t, "export", "verify", "--url", c.Nodes[0].URL, "--token", c.Admin.Token, target)
	if err == nil || !strings.Contains(out, `users 7: name should be "Student 5", is "Nobody"`) {
		t.Errorf("hadir export verify: %v\n%s", err, out)
	}
	if out, err := command(t, "export", "reset", "--url", c.Nodes[0].URL, "--token", c.Admin.Token, target); err == nil || !strings.Contains(out, "in_order") {
		t.Errorf("a reset of a target that is in order: %v\n%s", err, out)
	}
	out, err = command(t, "export", "reset", "--empty", "--url", c.Nodes[1].URL, "--token", c.Admin.Token, target)
	if err != nil || !strings.Contains(out, "emptied") {
		t.Errorf("hadir export reset --empty: %v\n%s", err, out)
	}
	must(t, harness.Await(within(t, 40*time.Second), func() error {
		if out, err := command(t, "export", "verify", "--url", c.Nodes[2].URL, "--token", c.Admin.Token, target); err != nil || !strings.Contains(out, "\nequal; 0 parked") {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}))
	caughtUp(t, c)
}

// caughtUp waits until every node says that every copy has every event.
func caughtUp(t *testing.T, c *harness.Cluster) {
	t.Helper()
	must(t, harness.Await(within(t, 60*time.Second), func() error {
		for _, n := range c.Nodes {
			list, err := exports(t, c.At(n))
			if err != nil {
				return err
			}
			if len(list) != 2 {
				return fmt.Errorf("%s has %d targets", n.ID, len(list))
			}
			for _, x := range list {
				if !x.Connected || x.LagEvents > 0 || x.LagS > 0 || x.Watermark == 0 || x.LastError != nil || (x.Kind == "sqlite" && x.State != "running") {
					return fmt.Errorf("%s: %+v %+v", n.ID, x, x.LastError)
				}
			}
		}
		return nil
	}))
}
