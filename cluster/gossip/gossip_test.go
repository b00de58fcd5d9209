package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"hadir/cluster/loglimit"
	"hadir/cluster/transport"
)

func TestThreeNodesMeet(t *testing.T) {
	keys := keysOf(t, testKeys(t, 1)...)
	a := start(t, keys, "n1", nil)
	b := start(t, keys, "n2", nil, a.Addr())
	c := start(t, keys, "n3", nil, b.Addr())
	allSee(t, "n1 n2 n3", a, b, c)
	for _, m := range c.Members() {
		if m.Self != (m.ID == "n3") || m.Addr == "" || m.Version != "test" {
			t.Errorf("%+v", m)
		}
	}

	for len(a.Changes()) > 0 {
		<-a.Changes()
	}
	meta := Meta{ID: "n2", Name: "two", CommandLevel: 5, HTTPURL: "http://127.0.0.1:1", NonVoter: true}
	if err := b.UpdateMeta(meta); err != nil {
		t.Fatal(err)
	}
	<-a.Changes()
	for _, n := range []*testNode{a, b, c} {
		eventually(t, "update seen", func() bool { m := n.Members(); return len(m) == 3 && m[1].Meta == meta })
	}

	if err := c.Leave(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	allSee(t, "n1 n2", a, b)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"update": c.UpdateMeta(Meta{ID: "n3"}), "leave": c.Leave(time.Second)} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after close: %v", name, err)
		}
	}
	if strings.Contains(a.out.String()+b.out.String()+c.out.String(), "panic") {
		t.Error("panic in the log")
	}
}

func TestWrongKeyIsRefused(t *testing.T) {
	k := testKeys(t, 2)
	a := start(t, keysOf(t, k[0]), "n1", nil)
	b := start(t, keysOf(t, k[1]), "n2", nil, a.Addr())
	eventually(t, "both complain", func() bool {
		return strings.Contains(strings.ToLower(a.out.String()), "decrypt") && strings.Contains(b.out.String(), "no other node found")
	})
	allSee(t, "n1", a)
	allSee(t, "n2", b)
	for _, key := range k {
		if strings.Contains(a.out.String()+b.out.String(), key.Encode()) {
			t.Error("a key in the log")
		}
	}
}

// TestKeyRotation has every pair of nodes meet that is there while keys are rotated
// node by node, in either direction of joining.
func TestKeyRotation(t *testing.T) {
	k := testKeys(t, 2)
	old, added := keysOf(t, k[0]), keysOf(t, k[0], k[1])
	swapped, fresh := keysOf(t, k[1], k[0]), keysOf(t, k[1])
	for i, pair := range [][2]Keys{{old, added}, {added, swapped}, {swapped, fresh}} {
		for j, pair := range [][2]Keys{pair, {pair[1], pair[0]}} {
			t.Run(fmt.Sprint("step ", i+1, " way ", j+1), func(t *testing.T) {
				a := start(t, pair[0], "n1", nil)
				b := start(t, pair[1], "n2", nil, a.Addr())
				allSee(t, "n1 n2", a, b)
			})
		}
	}
}

func TestTwoClustersDoNotMix(t *testing.T) {
	keys := keysOf(t, testKeys(t, 1)...)
	in := func(cluster string) func(*Config) { return func(c *Config) { c.Meta.ClusterID = cluster } }
	a1 := start(t, keys, "a1", in("A"))
	a2 := start(t, keys, "a2", in("A"), a1.Addr())
	b1 := start(t, keys, "b1", in("B"), a1.Addr())
	b2 := start(t, keys, "b2", in("B"), b1.Addr(), a2.Addr())
	allSee(t, "a1 a2", a1, a2)
	allSee(t, "b1 b2", b1, b2)
	eventually(t, "refusals are logged", func() bool {
		return strings.Contains(a1.out.String(), "node of another cluster") && strings.Contains(b1.out.String(), "node of another cluster")
	})

	// A fresh node sees both, and is seen by both, without joining them.
	fresh := start(t, keys, "fresh", nil, a1.Addr(), b1.Addr())
	allSee(t, "a1 a2 b1 b2 fresh", fresh)
	allSee(t, "a1 a2 fresh", a1, a2)
	allSee(t, "b1 b2 fresh", b1, b2)

	// It joins A and forgets B.
	if err := fresh.UpdateMeta(Meta{ID: "fresh", ClusterID: "A"}); err != nil {
		t.Fatal(err)
	}
	allSee(t, "a1 a2 fresh", fresh, a1, a2)

	// Several rounds of joins later each refusal was still logged once.
	for node, other := range map[*testNode]string{a1: "b1", b1: "a1"} {
		if n := strings.Count(node.out.String(), `level=WARN msg="ignoring a node in gossip" node=`+other+" "); n > 1 {
			t.Errorf("%d lines about %s", n, other)
		}
	}
}

// TestNewAddressIsAccepted: a node dies and returns under the same id at
// another port.
func TestNewAddressIsAccepted(t *testing.T) {
	keys := keysOf(t, testKeys(t, 1)...)
	// A forgotten node would be accepted like a new one.
	remember := func(c *Config) { c.Timing.GossipToTheDeadTime = time.Hour }
	a := start(t, keys, "n1", remember)
	b := start(t, keys, "n2", remember, a.Addr())
	c := start(t, keys, "n3", nil, a.Addr())
	allSee(t, "n1 n2 n3", a, b, c)
	old := c.Addr()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, keys, "n3", func(c *Config) { c.Meta.Generation = 2 }, a.Addr())
	if again.Addr() == old {
		t.Skip("the kernel gave the same port again")
	}
	for _, n := range []*testNode{a, b} {
		eventually(t, "new address", func() bool {
			m := n.Members()
			return len(m) == 3 && m[2].Addr == again.Addr() && m[2].Generation == 2
		})
	}
	allSee(t, "n1 n2 n3", again)
}

// TestRejoinHealsAPartition waits until both sides have forgotten each other,
// which memberlist alone never repairs.
func TestRejoinHealsAPartition(t *testing.T) {
	keys := keysOf(t, testKeys(t, 1)...)
	ta, addrA := newCuttable(t)
	tb, addrB := newCuttable(t)
	with := func(tr *cuttable, addr string) func(*Config) {
		return func(c *Config) { c.transport, c.Advertise = tr, addr }
	}
	a := start(t, keys, "n1", with(ta, addrA), addrB)
	b := start(t, keys, "n2", with(tb, addrB), addrA)
	allSee(t, "n1 n2", a, b)
	ta.set(true)
	tb.set(true)
	allSee(t, "n1", a)
	allSee(t, "n2", b)
	for _, n := range []*testNode{a, b} {
		// GossipToTheDeadTime later the entry is gone from memberlist, too.
		eventually(t, "forgotten", func() bool { return n.ml.NumMembers() == 1 })
	}
	ta.set(false)
	tb.set(false)
	allSee(t, "n1 n2", a, b)
}

// TestSeedsAreResolvedAgain: a name that moves is followed.
func TestSeedsAreResolvedAgain(t *testing.T) {
	keys := keysOf(t, testKeys(t, 1)...)
	a := start(t, keys, "n1", nil)
	_, port, err := splitHostPort(a.Addr(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	calls := 0
	b := start(t, keys, "n2", func(c *Config) {
		c.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			mu.Lock()
			defer mu.Unlock()
			calls++
			switch {
			case host != "node1":
				return nil, fmt.Errorf("asked for %q", host)
			case calls < 3:
				return nil, errors.New("no such host")
			case calls < 4:
				return nil, nil
			default:
				return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
			}
		}
	}, fmt.Sprintf("node1:%d", port))
	allSee(t, "n1 n2", a, b)
}

func TestStartRefuses(t *testing.T) {
	secure := keysOf(t, testKeys(t, 1)...)
	dev := transport.DevelopmentKeys()
	noLookup := func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
	for _, tc := range []struct {
		name   string
		keys   Keys
		change func(*Config)
		want   error
	}{
		{"meta too large", secure, func(c *Config) { c.Meta.HTTPURL = strings.Repeat("x", 255); c.Meta.Name = strings.Repeat("y", 255) }, ErrMetaTooLarge},
		{"no id", secure, func(c *Config) { c.Meta.ID = "" }, ErrBadMeta},
		{"no keys", secure, func(c *Config) { c.Keys = transport.Keys{} }, nil},
		{"no clock", secure, func(c *Config) { c.Clock = nil }, nil},
		{"nothing to advertise", secure, func(c *Config) { c.Bind = ":0" }, nil},
		{"bad bind", secure, func(c *Config) { c.Bind = "127.0.0.1" }, nil},
		{"bad seed", secure, func(c *Config) { c.Seeds = []string{"host:port"} }, nil},
		{"unknown name", secure, func(c *Config) { c.Bind, c.Resolve = "nosuchname:0", noLookup }, nil},
		{"too many seeds", secure, func(c *Config) { c.Seeds = make([]string, maxSeeds+1) }, nil},
		{"development, all interfaces", dev, func(c *Config) { c.Bind, c.Advertise = ":0", "127.0.0.1" }, ErrKeyRequired},
		{"development, foreign address", dev, func(c *Config) { c.Advertise = "192.0.2.1:1" }, ErrKeyRequired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, _ := testConfig(tc.keys, "n1")
			tc.change(&cfg)
			g, err := Start(cfg)
			if err == nil {
				g.Close() //nolint:errcheck // test
				t.Fatal("accepted")
			}
			if tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestDevelopmentStaysOnLoopback(t *testing.T) {
	dev := transport.DevelopmentKeys()
	a := start(t, dev, "n1", nil)
	b := start(t, dev, "n2", nil, a.Addr(), "192.0.2.1:9")
	allSee(t, "n1 n2", a, b)
	eventually(t, "foreign seed is ignored", func() bool { return strings.Contains(b.out.String(), ErrKeyRequired.Error()) })
	encoded, err := (Meta{ID: "n3"}).encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.hooks.NotifyAlive(node("n3", "192.0.2.7", encoded)); !errors.Is(err, errLoopback) {
		t.Errorf("%v", err)
	}
}

func TestUpdateMetaRefuses(t *testing.T) {
	a := start(t, keysOf(t, testKeys(t, 1)...), "n1", nil)
	if err := a.UpdateMeta(Meta{ID: "n1", Name: strings.Repeat("x", 300)}); !errors.Is(err, ErrMetaTooLarge) {
		t.Errorf("%v", err)
	}
	if err := a.UpdateMeta(Meta{ID: "n2"}); !errors.Is(err, ErrBadMeta) {
		t.Errorf("%v", err)
	}
}

func TestLogBridge(t *testing.T) {
	for _, tc := range []struct {
		in    string
		level slog.Level
		out   string
	}{
		{"[ERR] memberlist: boom\n", slog.LevelWarn, "boom"},
		{"[WARN] memberlist: hm", slog.LevelWarn, "hm"},
		{"[INFO] memberlist: so", slog.LevelInfo, "so"},
		{"[DEBUG] memberlist: well", slog.LevelDebug, "well"},
		{"no tag", slog.LevelInfo, "no tag"},
		{"[WARN] memberlist: ignoring alive message for 'x': y", slog.LevelDebug, "ignoring alive message for 'x': y"},
		{"[X] y", slog.LevelInfo, "[X] y"},
	} {
		if level, out := parseLine(tc.in); level != tc.level || out != tc.out {
			t.Errorf("%q: %v %q", tc.in, level, out)
		}
	}
	if _, out := parseLine(strings.Repeat("x", 5000)); len(out) > maxLogLine+4 {
		t.Errorf("%d bytes", len(out))
	}
	buf := &syncBuffer{}
	now := time.Unix(0, 0)
	b := &logBridge{logger: slog.New(slog.NewTextHandler(buf, nil)), limit: loglimit.New(func() time.Time { return now })}
	say := func() {
		for range 5 {
			if _, err := b.Write([]byte("[ERR] memberlist: Conflicting address for n1\n")); err != nil {
				t.Fatal(err)
			}
		}
	}
	say()
	now = now.Add(time.Minute)
	say()
	if n := strings.Count(buf.String(), "Conflicting"); n != 2 {
		t.Errorf("%d lines in a minute and a bit", n)
	}
}
