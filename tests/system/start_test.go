package system_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

// solo is one node by itself, laid out and not started, with logs of errors
// only, so that standard error holds nothing else.
func solo(t *testing.T) *harness.Node {
	t.Helper()
	c, err := harness.New(harness.Options{
		Bin: bin, Dir: t.TempDir(), Nodes: 1, Students: 1, Prefix: "solo", Args: []string{"--log-level", "error"},
	})
	must(t, err)
	t.Cleanup(func() {
		c.Close()
		if t.Failed() {
			t.Log(c.Log())
		}
	})
	return c.Nodes[0]
}

// set replaces the value of a flag; without a value it drops the flag.
func set(args []string, flag string, value ...string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		if args[i] == flag {
			i++
			continue
		}
		out = append(out, args[i])
	}
	for _, v := range value {
		out = append(out, flag, v)
	}
	return out
}

// refused runs a command line that must end by itself with one line on standard
// error that holds all the words.
func refused(t *testing.T, args []string, codes []int, words ...string) {
	t.Helper()
	p, err := harness.Start("bad", bin, args, nil)
	must(t, err)
	defer p.Kill()
	code, err := p.Wait(within(t, 20*time.Second))
	if err != nil {
		t.Fatalf("%v\n%s%s", err, p.Stdout, p.Stderr)
	}
	line := p.Stderr.String()
	ok := false
	for _, c := range codes {
		ok = ok || c == code
	}
	if !ok || strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "hadir: ") || p.Stdout.String() != "" {
		t.Errorf("want code %v and one line on standard error, got %d, %q and on standard output %q", codes, code, line, p.Stdout)
	}
	for _, w := range words {
		if !strings.Contains(strings.ToLower(line), strings.ToLower(w)) {
			t.Errorf("the line does not say %q: %s", w, line)
		}
	}
	t.Logf("code %d: %s", code, strings.TrimSpace(line))
}

// ready waits until a lone node decides.
func ready(t *testing.T, n *harness.Node) {
	t.Helper()
	http := harness.NewHTTP()
	defer http.CloseIdleConnections()
	must(t, harness.Await(within(t, 30*time.Second), func() error {
		if n.Down() {
			return fmt.Errorf("it has ended")
		}
		a, err := harness.Client{HTTP: http, Base: n.URL}.Do(within(t, 5*time.Second), "GET", "/readyz?decide", "", nil)
		if err == nil && a.Status != 200 {
			err = fmt.Errorf("%s", a)
		}
		return err
	}))
}

// TestBadStarts: whatever is wrong is one line that says what to do, and code 1
// or 2.
func TestBadStarts(t *testing.T) {
	t.Parallel()
	file := func(content string) string {
		name := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(name, []byte(content), 0o600))
		return name
	}
	taken := func(network string) string {
		port, err := harness.FreePorts(1)
		must(t, err)
		if network == "udp" {
			c, err := net.ListenPacket("udp", harness.Loopback(port))
			must(t, err)
			t.Cleanup(func() { must(t, c.Close()) })
		} else {
			l, err := net.Listen("tcp", harness.Loopback(port))
			must(t, err)
			t.Cleanup(func() { must(t, l.Close()) })
		}
		return harness.Loopback(port)
	}
	port, err := harness.FreePorts(1)
	must(t, err)
	wide := fmt.Sprintf("0.0.0.0:%d", port)
	keyless := set(solo(t).Args(), "--cluster-key-file")
	good := solo(t).Args()
	for _, tc := range []struct {
		name  string
		args  []string
		codes []int
		words []string
	}{
		{"no key, peer address for everybody", set(keyless, "--peer-addr", wide), []int{2}, []string{"--peer-addr", "hadir keygen", "127.0.0.1"}},
		{"no key, gossip address for everybody", set(keyless, "--gossip-addr", wide), []int{2}, []string{"--gossip-addr", "hadir keygen"}},
		{"no key, seed elsewhere", set(keyless, "--join", "192.0.2.7:7946"), []int{2}, []string{"--join", "hadir keygen"}},
		{"key file is missing", set(good, "--cluster-key-file", filepath.Join(t.TempDir(), "none")), []int{1, 2}, []string{"--cluster-key-file", "none"}},
		{"key file is a directory", set(good, "--cluster-key-file", t.TempDir()), []int{1, 2}, []string{"--cluster-key-file"}},
		{"key file is empty", set(good, "--cluster-key-file", file("")), []int{1, 2}, []string{"hadir keygen"}},
		{"key is short", set(good, "--cluster-key-file", file("c2hvcnQ=\n")), []int{1, 2}, []string{"hadir keygen"}},
		{"key is garbage", set(good, "--cluster-key-file", file("\x00\xff\n\x1b[2Jgarbage\n\n")), []int{1, 2}, []string{"hadir keygen"}},
		{"http port is taken", set(good, "--http-addr", taken("tcp")), []int{1}, []string{"address already in use", "choose another"}},
		{"peer port is taken", set(good, "--peer-addr", taken("tcp")), []int{1}, []string{"peer address", "choose another"}},
		{"gossip port is taken", set(good, "--gossip-addr", taken("tcp")), []int{1}, []string{"gossip address", "choose another"}},
		{"gossip UDP port is taken", set(good, "--gossip-addr", taken("udp")), []int{1}, []string{"gossip address", "choose another"}},
		{"no such address", set(good, "--http-addr", "192.0.2.7:8080"), []int{1}, []string{"192.0.2.7"}},
		{"unknown flag", append(slices.Clone(good), "--no-such-flag"), []int{2}, []string{"no-such-flag", "--help"}},
		{"flag without a value", append(slices.Clone(good), "--time-zone"), []int{2}, []string{"--time-zone"}},
		{"address is none", set(good, "--peer-addr", "nonsense"), []int{2}, []string{"--peer-addr"}},
		{"time zone", set(good, "--time-zone", "Mars/Olympus"), []int{2}, []string{"--time-zone", "Asia/Jakarta"}},
		{"number is none", set(good, "--bootstrap-expect", "three"), []int{2}, []string{"bootstrap-expect"}},
		{"number is out of range", set(good, "--bootstrap-expect", "40"), []int{2}, []string{"bootstrap-expect", "9"}},
		{"node id", set(good, "--node-id", "a b"), []int{2}, []string{"node id"}},
		{"administrator without a password", set(good, "--admin-password-file"), []int{2}, []string{"--admin-password-file"}},
		{"password file is missing", set(good, "--admin-password-file", filepath.Join(t.TempDir(), "none")), []int{1, 2}, []string{"--admin-password-file"}},
		{"data directory is a file", set(good, "--data-dir", file("x")), []int{1}, []string{"data directory"}},
		{"nobody could sign in", set(set(set(good, "--admin-email"), "--admin-password-file"), "--demo-people-file"), []int{1, 2}, []string{"--admin-email"}},
		{"unknown command", []string{"frobnicate"}, []int{2}, []string{"frobnicate", "--help"}},
		{"demo of no nodes", []string{"demo", "--nodes", "0"}, []int{2}, []string{"--nodes"}},
	} {
		args := tc.args
		if args[0] == "serve" && tc.name != "data directory is a file" {
			args = set(args, "--data-dir", filepath.Join(t.TempDir(), "data"))
		}
		t.Run(tc.name, func(t *testing.T) { refused(t, args, tc.codes, tc.words...) })
	}
}

// TestBadDataDirectory: in use, incomplete, damaged.
func TestBadDataDirectory(t *testing.T) {
	t.Parallel()
	n := solo(t)
	must(t, n.Start())
	ready(t, n)

	other := solo(t).Args()
	refused(t, set(other, "--data-dir", n.Dir), []int{1}, "in use", "--data-dir")
	code, took, err := n.Stop(within(t, 20*time.Second))
	must(t, err)
	if code != 0 || took > 3500*time.Millisecond {
		t.Errorf("SIGTERM: code %d after %s", code, took)
	}

	path := func(name string) string { return filepath.Join(n.Dir, name) }
	aside := func(name string) (back func()) {
		must(t, os.Rename(path(name), path(name)+".aside"))
		return func() { must(t, os.Rename(path(name)+".aside", path(name))) }
	}
	back := aside("raft.db")
	refused(t, n.Args(), []int{1}, "raft.db")
	os.Remove(path("raft.db")) //nolint:errcheck // it may not be there
	back()

	back = aside("state.db")
	must(t, os.WriteFile(path("state.db"), bytes.Repeat([]byte("garbage "), 8<<10), 0o600))
	refused(t, n.Args(), []int{1}, "state.db")
	back()

	back = aside("node.db")
	must(t, os.WriteFile(path("node.db"), nil, 0o600))
	refused(t, n.Args(), []int{1}, "node.db")
	back()

	// After all that was refused, the directory is as it was.
	must(t, n.Start())
	ready(t, n)
}

// TestStrangersStayOutside: two clusters with different keys that name each
// other's seeds.
func TestStrangersStayOutside(t *testing.T) {
	t.Parallel()
	shared.drop() // there are enough processes for two cores
	a, err := harness.New(harness.Options{Bin: bin, Dir: t.TempDir(), Prefix: "a"})
	must(t, err)
	seeds := []string{a.Nodes[0].Gossip, a.Nodes[1].Gossip}
	b, err := harness.New(harness.Options{Bin: bin, Dir: t.TempDir(), Nodes: 2, Prefix: "b", Seeds: seeds})
	must(t, err)
	t.Cleanup(func() {
		a.Close()
		b.Close()
		for _, c := range []*harness.Cluster{a, b} {
			showRaces(t, c.Log())
			if t.Failed() {
				t.Log(c.Log())
			}
		}
	})
	// All at once: a founder that has not founded yet is what could be mixed up.
	for _, n := range append(append([]*harness.Node{}, a.Nodes...), b.Nodes...) {
		must(t, n.Start())
	}
	must(t, a.Healthy(within(t, 40*time.Second)))
	must(t, b.Healthy(within(t, 40*time.Second)))
	ids := map[string]bool{}
	for _, c := range []*harness.Cluster{a, b} {
		for _, n := range c.Nodes {
			v, err := c.At(n).View(within(t, 10*time.Second))
			must(t, err)
			if len(v.Nodes) != len(c.Nodes) {
				t.Errorf("%s counts %d members: %+v", n.ID, len(v.Nodes), v)
			}
			for _, m := range v.Nodes {
				if c.Node(m.ID) == nil {
					t.Errorf("%s counts %s as a member", n.ID, m.ID)
				}
				ids[m.ID] = true
			}
		}
	}
	if len(ids) != 5 {
		t.Errorf("members of the two clusters: %v", ids)
	}
}
