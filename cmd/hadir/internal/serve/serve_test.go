package serve

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// memberlist's metrics sink lives as long as the process.
		goleak.IgnoreTopFunction("github.com/hashicorp/go-metrics.(*InmemSink).createCompatible"))
}

func testGenesis() *genesis {
	return &genesis{
		node: "n1", now: func() time.Time { return time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC) }, rand: rand.Reader,
		zone: time.FixedZone("Asia/Jakarta", 7*3600),
		hash: func(_ io.Reader, p string) (string, error) { return "hash:" + p, nil },
	}
}

func TestGenesisNeedsSomebody(t *testing.T) {
	if _, err := testGenesis().commands(); !errors.Is(err, errNoAdmin) {
		t.Fatalf("got %v", err)
	}
}

func TestGenesisOfASchool(t *testing.T) {
	g := testGenesis()
	g.email, g.password = "kepala@sekolah.example", "rahasia"
	commands, err := g.commands()
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, c := range commands {
		if err := c.Check(); err != nil || c.Key == "" || keys[c.Key] || c.Principal.Kind != attendance.SystemPrincipal {
			t.Errorf("%+v: %v", c, err)
		}
		keys[c.Key] = true
	}
	params, ok := commands[0].Body.(attendance.SetParams)
	if !ok || params.Params.Zone.Name != "Asia/Jakarta" {
		t.Errorf("first: %+v", commands[0])
	}
	admin, ok := commands[1].Body.(attendance.PutUser)
	if !ok || admin.Role != attendance.Admin || !admin.Active || admin.PasswordHash != "hash:rahasia" {
		t.Errorf("second: %+v", commands[1])
	}
	secret, ok := commands[len(commands)-1].Body.(attendance.RotateSecret)
	if !ok || secret.Name != SessionSecret || len(secret.Value) != 32 || bytes.Equal(secret.Value, make([]byte, 32)) {
		t.Errorf("last: %+v", commands[len(commands)-1])
	}
	again, err := g.commands()
	if err != nil || len(again) != len(commands) {
		t.Fatalf("%d and %d commands, %v", len(again), len(commands), err)
	}
	for i := range again {
		if again[i].Key != commands[i].Key {
			t.Errorf("key %d is %q once and %q then", i, commands[i].Key, again[i].Key)
		}
	}
}

func TestGenesisOfADemo(t *testing.T) {
	g := testGenesis()
	g.people = &People{
		Users: []Person{
			{Name: "A", Email: "a@x.example", Role: "admin", PasswordHash: "h"},
			{Name: "B", Email: "b@x.example", Role: "teacher"}, {Name: "C", Email: "c@x.example", Role: "student"},
		},
		Groups: []Group{{Name: "X", Members: []uint64{3}, Teachers: []uint64{2}}},
	}
	commands, err := g.commands()
	if err != nil {
		t.Fatal(err)
	}
	var ops []string
	for _, c := range commands {
		ops = append(ops, c.Body.Op().String())
	}
	if got, want := strings.Join(ops, " "), "set_params put_user put_user put_user put_group rotate_secret"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

func TestZonesOfIndonesia(t *testing.T) {
	for _, name := range []string{"Asia/Jakarta", "Asia/Makassar", "Asia/Jayapura", "Europe/Berlin"} {
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		g := testGenesis()
		g.zone, g.email = loc, "a@b.example"
		if _, err := g.commands(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExplain(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("--http-addr :80: %w", syscall.EADDRINUSE), "address already in use: stop the program"},
		{errors.New("gossip: listen: address already in use"), "address already in use: stop the program"},
		{fmt.Errorf("x: %w", &os.PathError{Op: "open", Path: "/d/raft.db", Err: syscall.ENOSPC}), "free some space"},
		{&os.PathError{Op: "open", Path: "/k", Err: syscall.EACCES}, "permission denied: give this user the right"},
		{errors.New("two\nlines"), "two lines"},
	} {
		if got := Explain(tc.err); !strings.Contains(got, tc.want) || strings.Contains(got, "\n") {
			t.Errorf("%v: %q, want %q in it", tc.err, got, tc.want)
		}
	}
}

// stuck is a standard error that nobody reads.
type stuck struct{ release chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.release
	return len(p), nil
}

func TestHaltEndsWhateverHangs(t *testing.T) {
	var out bytes.Buffer
	code := -1
	halter(&out, func(c int) { code = c })(errors.New("disk\nis gone"))
	if got := out.String(); code != 1 || got != "hadir: halted: disk is gone\n" {
		t.Fatalf("code %d, %q", code, got)
	}
	halter(io.Discard, func(c int) { code = c })(fmt.Errorf("%w: %w", cluster.ErrRetired, cluster.ErrRemoved))
	if code != ExitRetired {
		t.Fatalf("code %d of a retired node", code)
	}
	s := stuck{make(chan struct{})}
	code = -1
	halter(s, func(c int) { code = c })(errors.New("disk is gone"))
	close(s.release)
	if code != 1 {
		t.Fatalf("code %d", code)
	}
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct {
		addr      string
		loop, any bool
	}{
		{"127.0.0.1:1", true, false}, {"[::1]:1", true, false}, {"localhost:1", true, false}, {"127.9.9.9:1", true, false},
		{":1", false, true}, {"0.0.0.0:1", false, true}, {"[::]:1", false, true},
		{"10.0.0.1:1", false, false}, {"n1.example:1", false, false}, {"[::ffff:127.0.0.1]:1", true, false},
	} {
		if l, a := isLoopback(tc.addr), anyHost(tc.addr); l != tc.loop || a != tc.any {
			t.Errorf("%s: loopback %v, any host %v", tc.addr, l, a)
		}
	}
	for _, tc := range []struct{ given, bound, want string }{
		{"", "[::]:8080", "http://box:8080"}, {"", "127.0.0.1:81", "http://127.0.0.1:81"}, {"https://hadir.example/", ":1", "https://hadir.example"},
	} {
		if got := httpURL(tc.given, tc.bound, "box", false); got != tc.want {
			t.Errorf("%q %q: %q", tc.given, tc.bound, got)
		}
	}
	if got := advertised("", ":7400", "box"); got != "box:7400" {
		t.Errorf("advertised %q", got)
	}
}

// log is what a node has written, safe to read while it writes.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// value finds a field of the line with a message.
func (l *log) value(message, field string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields[slog.MessageKey] == message {
			return fmt.Sprint(fields[field])
		}
	}
	return ""
}

// start runs a node until the test ends or stop is called.
func start(t *testing.T, o Options) (url string, stop func() error) {
	t.Helper()
	out, signals, ended := &log{}, make(chan os.Signal, 2), make(chan error, 1)
	go func() {
		ended <- Run(context.Background(), o, Process{
			Version: "test", Stderr: out, Rand: rand.Reader, Signals: signals, Exit: func(c int) { panic(fmt.Sprint("exit ", c)) },
		})
	}()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			signals <- syscall.SIGTERM
			err = <-ended
			close(signals)
			http.DefaultClient.CloseIdleConnections()
		})
		return err
	}
	t.Cleanup(func() { stop() }) //nolint:errcheck // test
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		select {
		case err = <-ended:
			once.Do(func() { close(signals) })
			t.Fatalf("the node ended: %v", err)
		default:
		}
		if url = out.value("node is up", "url"); url != "" && get(t, url+"/readyz?decide") == http.StatusOK {
			return url, stop
		}
	}
	t.Fatal("the node was not ready in a minute")
	return "", nil
}

func get(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body) //nolint:errcheck // test
	return resp.StatusCode
}

func TestOneNodeFromFirstStartToNext(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte("rahasia sekali\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{
		NodeID: "n1", DataDir: filepath.Join(dir, "data"), HTTPAddr: "127.0.0.1:0", PeerAddr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0",
		BootstrapExpect: 1, RaftMultiplier: 1, TimeZone: "Asia/Makassar", AdminEmail: "kepala@sekolah.example",
		AdminPasswordFile: secret, LogLevel: "info", LogFormat: "json", DebugAddr: "127.0.0.1:0",
	}
	url, stop := start(t, o)
	signIn(t, url, "rahasia sekali", http.StatusOK)
	signIn(t, url, "something else", http.StatusUnauthorized)
	if _, err := os.Stat(filepath.Join(o.DataDir, "state.db")); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > shutdownTime {
		t.Errorf("shutdown took %s", took)
	}
	if get(t, url+"/healthz") != 0 {
		t.Error("the address is still served")
	}
	own, err := store.OpenNode(filepath.Join(o.DataDir, "node.db"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// The last thing before the end was refused, and is written down.
	if rows, err := own.Journal(0, 10); err != nil || len(rows) != 1 || rows[0].Why != "sign_in_failed" || rows[0].Tried != o.AdminEmail {
		t.Errorf("door journal: %+v %v", rows, err)
	}
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
	// The same command line, after the password was put away.
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	o.PeerAddr = "127.0.0.1:0"
	url, stop = start(t, o)
	signIn(t, url, "rahasia sekali", http.StatusOK)
	// A second node on the same files.
	o.AdminEmail, o.AdminPasswordFile, o.DebugAddr = "", "", ""
	signals := make(chan os.Signal)
	err = Run(context.Background(), o, Process{Stderr: &log{}, Rand: rand.Reader, Signals: signals, Exit: func(int) {}})
	close(signals)
	if err == nil || !strings.Contains(Explain(err), "in use by another process") || !strings.Contains(Explain(err), "--data-dir") {
		t.Errorf("second node: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func signIn(t *testing.T, url, password string, want int) {
	t.Helper()
	body := fmt.Sprintf(`{"email":"kepala@sekolah.example","password":%q}`, password)
	resp, err := http.Post(url+"/api/v1/session", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
		t.Fatalf("sign in: %d %s, want %d", resp.StatusCode, text, want)
	}
}

func TestHTTPS(t *testing.T) {
	o := Options{TLSCert: "testdata/none.pem", TLSKey: "testdata/none.pem", NodeID: "n", HTTPAddr: ":0", PeerAddr: "127.0.0.1:0",
		GossipAddr: "127.0.0.1:0", TimeZone: "Asia/Jakarta"}
	if _, err := o.resolve("box"); err == nil || !strings.Contains(err.Error(), "--tls-cert") {
		t.Fatalf("missing certificate: %v", err)
	}
}

// A first start that failed early leaves files behind, and is no first start that
// has set anything up: the password is still needed.
func TestAFailedFirstStartStillNeedsThePassword(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"node.db", "state.db"} {
		o := Options{
			NodeID: "n1", DataDir: dir, HTTPAddr: "127.0.0.1:0", PeerAddr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0", BootstrapExpect: 1,
			TimeZone: "Asia/Jakarta", AdminEmail: "a@b.example", AdminPasswordFile: filepath.Join(dir, "none"),
		}
		if _, err := o.resolve("host"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("before %s: %v", name, err)
		}
		var err error
		if name == "node.db" {
			var own *store.Node
			if own, err = store.OpenNode(filepath.Join(dir, name), rand.Reader); err == nil {
				err = own.Close()
			}
		} else {
			var state *store.State
			if state, err = store.OpenState(filepath.Join(dir, name), store.Options{}); err == nil {
				err = state.Close()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.resolve("host"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

func TestValuesOutOfRangeAreWrongUsage(t *testing.T) {
	good := Options{
		NodeID: "n1", DataDir: t.TempDir(), HTTPAddr: "127.0.0.1:0", PeerAddr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0", BootstrapExpect: 1,
		TimeZone: "Asia/Jakarta", LogLevel: "error", LogFormat: "text",
	}
	for name, change := range map[string]func(*Options){
		"node id":          func(o *Options) { o.NodeID = "a b" },
		"bootstrap-expect": func(o *Options) { o.BootstrapExpect = 40 },
		"raft-multiplier":  func(o *Options) { o.RaftMultiplier = 99 },
	} {
		o := good
		change(&o)
		signals := make(chan os.Signal)
		err := Run(context.Background(), o, Process{Stderr: &log{}, Rand: rand.Reader, Signals: signals, Exit: func(int) {}})
		close(signals)
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(usage.Text, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
