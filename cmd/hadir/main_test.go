package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"hadir/cmd/hadir/internal/api"
)

func TestMain(m *testing.M) {
	if os.Getenv(asNode) != "" {
		main()
	}
	for _, e := range os.Environ() { // a developer's environment is not the test's
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "HADIR_") && !strings.HasPrefix(name, "HADIR_CI") {
			os.Unsetenv(name) //nolint:errcheck // test
		}
	}
	goleak.VerifyTestMain(m)
}

// try runs a command line and gives what came of it.
func try(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	signals := make(chan os.Signal)
	close(signals)
	code = run(args, &world{
		stdout: &out, stderr: &errs, rand: rand.Reader, getenv: func(string) string { return "" },
		program: os.Args[0], signals: signals, exit: func(int) { panic("exit") },
	})
	http.DefaultClient.CloseIdleConnections()
	return code, out.String(), errs.String()
}

// parse gives the parser's model of a command line.
func parse(t *testing.T, args ...string) (*cli, error) {
	t.Helper()
	c := &cli{}
	parser, err := newParser(c, &world{stdout: io.Discard, stderr: io.Discard}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return c, err
}

// TestServeFlags is the table of the contract, as far as this stage has it.
func TestServeFlags(t *testing.T) {
	hostname, _ := os.Hostname()
	for flag, tc := range map[string]struct {
		value, byDefault string
		get              func(c *serveCmd) any
	}{
		"node-id":             {"n7", hostname, func(c *serveCmd) any { return c.NodeID }},
		"data-dir":            {"/d", "./data", func(c *serveCmd) any { return c.DataDir }},
		"http-addr":           {":1", ":8080", func(c *serveCmd) any { return c.HTTPAddr }},
		"http-advertise":      {"http://x:1", "", func(c *serveCmd) any { return c.HTTPAdvertise }},
		"peer-addr":           {":2", ":7400", func(c *serveCmd) any { return c.PeerAddr }},
		"peer-advertise":      {"x:2", "", func(c *serveCmd) any { return c.PeerAdvertise }},
		"gossip-addr":         {":3", ":7946", func(c *serveCmd) any { return c.GossipAddr }},
		"gossip-advertise":    {"x:3", "", func(c *serveCmd) any { return c.GossipAdvertise }},
		"join":                {"a:1,b:2", "", func(c *serveCmd) any { return strings.Join(c.Join, ",") }},
		"bootstrap-expect":    {"3", "1", func(c *serveCmd) any { return c.BootstrapExpect }},
		"cluster-key":         {"k", "", func(c *serveCmd) any { return c.ClusterKey }},
		"cluster-key-file":    {"f", "", func(c *serveCmd) any { return c.ClusterKeyFile }},
		"export-url":          {"sqlite:///a,b", "", func(c *serveCmd) any { return strings.Join(c.ExportURL, " ") }},
		"export-url-file":     {"f", "", func(c *serveCmd) any { return c.ExportURLFile }},
		"time-zone":           {"Asia/Jayapura", "Asia/Jakarta", func(c *serveCmd) any { return c.TimeZone }},
		"raft-multiplier":     {"5", "1", func(c *serveCmd) any { return c.RaftMultiplier }},
		"admin-email":         {"a@b", "", func(c *serveCmd) any { return c.AdminEmail }},
		"admin-password-file": {"f", "", func(c *serveCmd) any { return c.AdminPasswordFile }},
		"tls-cert":            {"f", "", func(c *serveCmd) any { return c.TLSCert }},
		"tls-key":             {"f", "", func(c *serveCmd) any { return c.TLSKey }},
		"trusted-proxies":     {"10.0.0.0/8", "", func(c *serveCmd) any { return strings.Join(c.TrustedProxies, ",") }},
		"log-level":           {"debug", "info", func(c *serveCmd) any { return c.LogLevel }},
		"log-format":          {"json", "text", func(c *serveCmd) any { return c.LogFormat }},
		"debug-addr":          {":4", "", func(c *serveCmd) any { return c.DebugAddr }},
		"demo":                {"true", "false", func(c *serveCmd) any { return c.Demo }},
	} {
		t.Run(flag, func(t *testing.T) {
			text := func(c *cli) string { return fmt.Sprint(tc.get(&c.Serve)) }
			c, err := parse(t, "serve")
			if err != nil || text(c) != tc.byDefault {
				t.Fatalf("by default %q, want %q (%v)", text(c), tc.byDefault, err)
			}
			if c, err = parse(t, "serve", "--"+flag+"="+tc.value); err != nil || text(c) != tc.value {
				t.Fatalf("by flag %q, want %q (%v)", text(c), tc.value, err)
			}
			t.Setenv("HADIR_"+strings.ToUpper(strings.ReplaceAll(flag, "-", "_")), tc.value)
			if c, err = parse(t, "serve"); err != nil || text(c) != tc.value {
				t.Fatalf("by environment %q, want %q (%v)", text(c), tc.value, err)
			}
		})
	}
}

// TestEveryFlagIsDocumented walks all commands: a help line, an environment twin
// and, for a secret, a twin that names a file.
func TestEveryFlagIsDocumented(t *testing.T) {
	parser, err := newParser(&cli{}, &world{stdout: io.Discard, stderr: io.Discard}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		if n.Type == kong.CommandNode && n.Help == "" {
			t.Errorf("%s has no help", n.FullPath())
		}
		var names []string
		for _, f := range n.Flags {
			names = append(names, f.Name)
		}
		for _, f := range n.Flags {
			if f.Name == "help" {
				continue
			}
			twin := "HADIR_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
			if f.Help == "" || !slices.Equal(f.Envs, []string{twin}) {
				t.Errorf("%s --%s: help %q, environment %q, want %s", n.FullPath(), f.Name, f.Help, f.Envs, twin)
			}
			secret := slices.Contains([]string{"cluster-key", "token", "password"}, f.Name)
			if secret && !slices.Contains(names, f.Name+"-file") {
				t.Errorf("%s --%s has no -file twin", n.FullPath(), f.Name)
			}
		}
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(parser.Model.Node)
}

func TestExitCodesAndOneLine(t *testing.T) {
	dir := t.TempDir()
	empty, bad := filepath.Join(dir, "empty"), filepath.Join(dir, "bad")
	for path, text := range map[string]string{empty: "", bad: "not a key\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	local := []string{"--peer-addr=127.0.0.1:0", "--gossip-addr=127.0.0.1:0", "--data-dir=" + filepath.Join(dir, "data")}
	for _, tc := range []struct {
		name string
		args []string
		code int
		want []string // parts of the line
	}{
		{"nothing", nil, 2, []string{"serve", "--help"}},
		{"unknown command", []string{"dance"}, 2, []string{"dance"}},
		{"unknown flag", []string{"serve", "--dance"}, 2, []string{"--dance", "hadir serve --help"}},
		{"not a number", []string{"serve", "--bootstrap-expect=x"}, 2, []string{"--bootstrap-expect"}},
		{"log level", []string{"serve", "--log-level=loud"}, 2, []string{"--log-level", "debug"}},
		{"no key, all interfaces", []string{"serve"}, 2, []string{"--peer-addr :7400", "hadir keygen", "--cluster-key-file"}},
		{"no key, foreign gossip", append([]string{"serve", "--gossip-advertise=192.0.2.1:7946"}, local...), 2, []string{"--gossip-advertise", "cluster key"}},
		{"no key, foreign seed", append([]string{"serve", "--join=192.0.2.1:7946"}, local...), 2, []string{"--join", "cluster key"}},
		{"no key, gossip on all interfaces", []string{"serve", "--peer-addr=127.0.0.1:1"}, 2, []string{"--gossip-addr :7946"}},
		{"key twice", []string{"serve", "--cluster-key=a", "--cluster-key-file=b"}, 2, []string{"--cluster-key"}},
		{"key file missing", append([]string{"serve", "--cluster-key-file=" + filepath.Join(dir, "no")}, local...), 1, []string{"--cluster-key-file", "check the name"}},
		{"key file is a directory", append([]string{"serve", "--cluster-key-file=" + dir}, local...), 1, []string{"--cluster-key-file"}},
		{"key file empty", append([]string{"serve", "--cluster-key-file=" + empty}, local...), 1, []string{empty, "hadir keygen"}},
		{"key file bad", append([]string{"serve", "--cluster-key-file=" + bad}, local...), 1, []string{"line 1", "hadir keygen"}},
		{"time zone", append([]string{"serve", "--time-zone=Mars/Olympus"}, local...), 2, []string{"--time-zone", "Asia/Jakarta"}},
		{"admin without password", append([]string{"serve", "--admin-email=a@b.example"}, local...), 2, []string{"--admin-password-file"}},
		{"admin password empty", append([]string{"serve", "--admin-email=a@b.example", "--admin-password-file=" + empty}, local...), 1, []string{"is empty"}},
		{"admin address", append([]string{"serve", "--admin-email=nobody", "--admin-password-file=" + bad}, local...), 2, []string{"--admin-email"}},
		{"certificate without key", append([]string{"serve", "--tls-cert=" + bad}, local...), 2, []string{"--tls-key"}},
		{"certificate bad", append([]string{"serve", "--tls-cert=" + bad, "--tls-key=" + bad}, local...), 1, []string{"--tls-cert"}},
		{"proxies", append([]string{"serve", "--trusted-proxies=everybody"}, local...), 2, []string{"--trusted-proxies", "10.0.0.0/8"}},
		{"advertise", append([]string{"serve", "--http-advertise=me"}, local...), 2, []string{"--http-advertise", "http://"}},
		{"no port", []string{"serve", "--peer-addr=127.0.0.1"}, 2, []string{"--peer-addr", "host:port"}},
		{"HTTP port taken", append([]string{"serve", "--http-addr=" + taken.Addr().String()}, local...), 1, []string{"--http-addr", "choose another"}},
		{"demo nodes", []string{"demo", "--nodes=10"}, 2, []string{"--nodes"}},
		{"demo port", []string{"demo", "--port=65534"}, 2, []string{"--port"}},
		{"demo port taken", []string{"demo", "--nodes=1", "--port=" + port(taken)}, 1, []string{"port " + port(taken), "--port"}},
		{"demo wrong serve flag", []string{"demo", "--", "--dance"}, 2, []string{"--dance"}},
		{"demo own serve flag", []string{"demo", "--", "--data-dir=/x"}, 2, []string{"--data-dir", "demo's own"}},
		{"demo word", []string{"demo", "now"}, 2, []string{"now"}},
		{"status of nothing", []string{"cluster", "status", "--url=ftp://x"}, 2, []string{"--url", "http://"}},
		{"token and address", []string{"cluster", "status", "--token=x", "--email=a@b"}, 2, []string{"token"}},
		{"address without password", []string{"cluster", "status", "--email=a@b"}, 2, []string{"--password-file"}},
		{"token file missing", []string{"cluster", "status", "--token-file=" + filepath.Join(dir, "no")}, 1, []string{"--token-file"}},
		{"bench clients", []string{"bench", "checkin", "--clients=0"}, 2, []string{"--clients"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := try(t, tc.args...)
			if code != tc.code || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "hadir: ") {
				t.Fatalf("exit code %d, want %d; stderr %q, stdout %q", code, tc.code, stderr, stdout)
			}
			for _, part := range tc.want {
				if !strings.Contains(stderr, part) {
					t.Errorf("%q does not say %q", stderr, part)
				}
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !os.IsNotExist(err) {
		t.Errorf("a start that failed has touched the data directory: %v", err)
	}
}

func port(l net.Listener) string {
	_, p, _ := net.SplitHostPort(l.Addr().String())
	return p
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"demo", "--help"}, {"cluster", "--help"}, {"bench", "checkin", "--help"}} {
		if code, out, errs := try(t, args...); code != 0 || !strings.HasPrefix(out, "Usage: hadir") || errs != "" {
			t.Errorf("%v: code %d, %q, %q", args, code, out, errs)
		}
	}
	if _, out, _ := try(t, "serve", "--help"); !strings.Contains(out, "$HADIR_CLUSTER_KEY_FILE") || strings.Contains(out, "demo-people") {
		t.Errorf("help of serve: %s", out)
	}
	code, out, _ := try(t, "version")
	if code != 0 || !strings.Contains(out, "hadir dev\n") || !strings.Contains(out, "command level 1\n") {
		t.Errorf("version: %d %q", code, out)
	}
}

func TestKeygen(t *testing.T) {
	code, a, _ := try(t, "keygen")
	_, b, _ := try(t, "keygen")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(a))
	if code != 0 || a == b || err != nil || len(raw) != 32 {
		t.Fatalf("code %d, %q and %q, %d bytes, %v", code, a, b, len(raw), err)
	}
}

func TestNodeEnv(t *testing.T) {
	got := nodeEnv([]string{"PATH=/bin", "HADIR_DATA_DIR=/x", "HADIR_LOG_LEVEL=debug", "HADIR_CLUSTER_KEY=s", "HADIR_CI_RUN=1"})
	if want := []string{"PATH=/bin", "HADIR_LOG_LEVEL=debug", "HADIR_CI_RUN=1"}; !slices.Equal(got, want) {
		t.Fatalf("got %q", got)
	}
}

func TestVerdict(t *testing.T) {
	n := func(seq uint64, chain, state, err string) api.Compared {
		return api.Compared{Node: "n", Index: seq + 5, Seq: seq, Chain: chain, State: state, Error: err}
	}
	for _, tc := range []struct {
		nodes []api.Compared
		want  string
	}{
		{nil, "incomplete"},
		{[]api.Compared{n(1, "a", "b", ""), n(1, "a", "b", "")}, "equal"},
		{[]api.Compared{n(1, "a", "b", ""), n(1, "x", "b", "")}, "different"},
		{[]api.Compared{n(1, "a", "b", ""), n(1, "a", "x", "")}, "different"},
		{[]api.Compared{n(1, "a", "b", ""), n(2, "x", "y", "")}, "incomplete"},
		{[]api.Compared{n(1, "a", "b", ""), n(0, "", "", "no answer")}, "incomplete"},
		{[]api.Compared{n(1, "a", "b", ""), n(0, "", "", "no answer"), n(1, "a", "x", "")}, "different"},
	} {
		if got := verdict(api.Comparison{Nodes: tc.nodes}); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.nodes, got, tc.want)
		}
	}
}

func TestClusterCommands(t *testing.T) {
	leader := "n1"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(401)
			fmt.Fprint(w, `{"status":401,"code":"unauthenticated","detail":"Sign in first."}`)
			return
		}
		switch r.Method + " " + r.URL.Path {
		case "GET /api/v1/cluster":
			fmt.Fprint(w, `{"node_id":"n2","leader_id":"`+leader+`","term":7,"quorum":2,"can_lose":1,"health":{"healthy":true,"failure_tolerance":1},"warnings":["two_voters"],"nodes":[{"id":"n1","http":"http://`+r.Host+`","state":"leader","voter":true,"reachable":true,"last_contact_ms":3.2,"seq":9}]}`)
		case "POST /api/v1/cluster/transfer":
			leader = "n2"
			w.WriteHeader(204)
		case "POST /api/v1/cluster/remove":
			if body, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(body), `"id":"n3"`) {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(409)
				fmt.Fprint(w, `{"status":409,"code":"quorum_at_risk","detail":"Bring others back first."}`)
				return
			}
			fmt.Fprint(w, `{"removed":"n3-6f0c","leader_id":"n1","term":7}`)
		case "POST /api/v1/cluster/verify":
			fmt.Fprint(w, `{"equal":true,"items":[{"node_id":"n1","index":5,"seq":4,"chain":"aa","state":"bb"},{"node_id":"n2","index":5,"seq":4,"chain":"aa","state":"bb"}]}`)
		}
	}))
	defer s.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"status", "--token-file=" + token}, 0, "leader n1, term 7, quorum 2, can lose 1 more"},
		{[]string{"status", "--token-file=" + token}, 0, "autopilot: healthy yes, 1 may fail\nwarning: two nodes have a vote"},
		{[]string{"status", "--token-file=" + token, "--json"}, 0, `"leader_id": "n1"`},
		{[]string{"status", "--token=wrong"}, 1, "401 unauthenticated Sign in first."},
		{[]string{"remove", "n3", "--token-file=" + token}, 0, "n3-6f0c is no member any more"},
		{[]string{"remove", "n1", "--token-file=" + token}, 1, "409 quorum_at_risk Bring others back first."},
		{[]string{"remove", "--token-file=" + token}, 2, "expected \"<id>\""},
		{[]string{"verify", "--token-file=" + token}, 0, "equal"},
		{[]string{"transfer", "--token-file=" + token}, 0, "n2 leads now"},
	} {
		code, out, errs := try(t, append([]string{"cluster"}, append(tc.args, "--url="+s.URL)...)...)
		if code != tc.code || !strings.Contains(out+errs, tc.want) {
			t.Errorf("%v: code %d, %s%s", tc.args, code, out, errs)
		}
	}
}
