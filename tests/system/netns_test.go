package system_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"hadir/tests/system/harness"
)

// network is a bridge with a network namespace for each node. Clients are on the
// bridge and reach every node, whatever the nodes hear of each other.
type network struct {
	names, hosts []string
}

func ip(args ...string) error { return call("ip", args...) }

func call(program string, args ...string) error {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func newNetwork(t *testing.T, nodes int) *network {
	t.Helper()
	for _, tool := range []string{"ip", "iptables"} {
		if _, err := exec.LookPath(tool); err != nil {
			harness.LeaveOut(t, "netns", tool+" is not installed")
		}
	}
	if os.Geteuid() != 0 {
		harness.LeaveOut(t, "netns", "isolating a node's network needs root")
	}
	id := os.Getpid()
	bridge, subnet := fmt.Sprintf("hd%db", id), fmt.Sprintf("10.231.%d", id%250)
	if err := ip("link", "add", bridge, "type", "bridge"); err != nil {
		harness.LeaveOut(t, "netns", err.Error())
	}
	t.Cleanup(func() {
		if err := ip("link", "del", bridge); err != nil {
			t.Error(err)
		}
	})
	must(t, ip("addr", "add", subnet+".254/24", "dev", bridge))
	must(t, ip("link", "set", bridge, "up"))
	// Where there are containers, what crosses a bridge is filtered as what is forwarded.
	pass := []string{"FORWARD", "-i", bridge, "-o", bridge, "-j", "ACCEPT"}
	must(t, call("iptables", append([]string{"-w", "-I"}, pass...)...))
	t.Cleanup(func() {
		if err := call("iptables", append([]string{"-w", "-D"}, pass...)...); err != nil {
			t.Error(err)
		}
	})
	n := &network{}
	for i := range nodes {
		name, host := fmt.Sprintf("hd%dn%d", id, i+1), fmt.Sprintf("%s.%d", subnet, i+1)
		outer, inner := fmt.Sprintf("hd%do%d", id, i+1), fmt.Sprintf("hd%di%d", id, i+1)
		if err := ip("netns", "add", name); err != nil {
			harness.LeaveOut(t, "netns", err.Error())
		}
		t.Cleanup(func() {
			if err := ip("netns", "del", name); err != nil {
				t.Error(err)
			}
		})
		for _, args := range [][]string{
			{"link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name},
			{"link", "set", outer, "master", bridge, "up"},
			{"-n", name, "addr", "add", host + "/24", "dev", inner},
			{"-n", name, "link", "set", inner, "up"},
			{"-n", name, "link", "set", "lo", "up"},
		} {
			must(t, ip(args...))
		}
		n.names, n.hosts = append(n.names, name), append(n.hosts, host)
	}
	return n
}

// cut has a node hear nothing of the others, and, if both, say nothing either.
func (n *network) cut(t *testing.T, node int, both bool) {
	t.Helper()
	for i, host := range n.hosts {
		if i == node {
			continue
		}
		must(t, ip("netns", "exec", n.names[node], "iptables", "-A", "INPUT", "-s", host, "-j", "DROP"))
		if both {
			must(t, ip("netns", "exec", n.names[node], "iptables", "-A", "OUTPUT", "-d", host, "-j", "DROP"))
		}
	}
}

func (n *network) heal(t *testing.T, node int) {
	t.Helper()
	must(t, ip("netns", "exec", n.names[node], "iptables", "-F"))
}

// TestLeaderIsIsolated: cut off from the others, in both directions and in one,
// while clients still reach it.
func TestLeaderIsIsolated(t *testing.T) {
	t.Parallel()
	shared.drop() // there are enough processes for two cores
	wires := newNetwork(t, 3)
	c, err := harness.New(harness.Options{
		Bin: bin, Dir: t.TempDir(), Students: 150, Hosts: wires.hosts,
		Wrap: func(node int) []string { return []string{"ip", "netns", "exec", wires.names[node]} },
	})
	must(t, err)
	t.Cleanup(func() {
		c.Close()
		showRaces(t, c.Log())
		if t.Failed() {
			t.Log(c.Log())
		}
	})
	must(t, c.Up(within(t, 40*time.Second)))
	var all []*harness.Op
	for _, both := range []bool{true, false} {
		what := map[bool]string{true: "both directions", false: "hears nothing"}[both]
		leader, _, err := c.Leader(within(t, 10*time.Second), "")
		must(t, err)
		number := 0
		for i, n := range c.Nodes {
			if n == leader {
				number = i
			}
		}
		load := c.Load(harness.LoadConfig{Rate: 20})
		t.Cleanup(func() { load.Stop() })
		must(t, load.Progress(within(t, 20*time.Second), 10))
		since := time.Now()
		wires.cut(t, number, both)
		_, _, err = c.Leader(within(t, 20*time.Second), leader.ID)
		must(t, err)
		must(t, load.Progress(within(t, 20*time.Second), 20))
		// The isolated node knows that it knows nothing.
		must(t, harness.Await(within(t, 15*time.Second), func() error {
			a := do(t, c.At(leader), "GET", "/api/v1/attendances?limit=1", "", nil)
			if a.Status != 200 || fields(t, a)["stale"] != true {
				return fmt.Errorf("the isolated node's list: want 200 and stale, got %s", a)
			}
			return nil
		}))
		user, kind := c.Fresh()
		body, key := harness.Tap{Type: kind, User: user}, harness.Key()
		if a := do(t, c.At(leader), "POST", "/api/v1/checkins", key, body); a.Status != 202 {
			t.Errorf("%s: check-in at the isolated node: %s", what, a)
		}
		if a := do(t, c.At(leader), "GET", "/readyz?decide", "", nil); a.Status != 503 {
			t.Errorf("%s: readiness of the isolated node: %s", what, a)
		}
		wires.heal(t, number)
		must(t, c.Ready(within(t, 40*time.Second)))
		tap(t, c.At(leader), key, body)
		all = append(all, load.Stop()...)
		checkGap(t, what, load, since.Add(-500*time.Millisecond))
		must(t, c.Healthy(within(t, 40*time.Second)))
	}
	judge(t, c, all)
}
