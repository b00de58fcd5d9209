package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

var (
	// ErrKeyRequired means that an address other than loopback was to be used
	// without a cluster key.
	ErrKeyRequired = errors.New("gossip: a cluster key is required for addresses other than loopback")
	// ErrClosed means a call after Close or Leave.
	ErrClosed = errors.New("gossip: closed")
)

// Clock is the source of time for what this package does itself. memberlist
// runs on the timers of the runtime.
type Clock interface {
	// Now returns the current time. Only differences are used.
	Now() time.Time
	// AfterFunc calls f in its own goroutine after d. The returned function
	// has the meaning of time.Timer.Stop.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Keys gives the secrets of gossip; transport.Keys is one.
type Keys interface {
	// GossipKeys returns AES-256 keys: the first encrypts, all decrypt.
	GossipKeys() ([][]byte, error)
	// Insecure tells that the keys are publicly known, so that nothing but
	// loopback may be used.
	Insecure() bool
}

// Timing shortens or stretches memberlist. Zero fields have the default named
// with them, memberlist's for a local network unless said otherwise.
type Timing struct {
	// Rejoin is the time between two rounds over the seeds, plus or minus a
	// quarter. Ours: 15 s.
	Rejoin time.Duration
	// ProbeInterval is the time between two probes: 1 s. ProbeTimeout bounds
	// one: 500 ms.
	ProbeInterval, ProbeTimeout time.Duration
	// GossipInterval is the time between two packets: 200 ms.
	GossipInterval time.Duration
	// PushPull is the time between two exchanges of the whole state: 30 s.
	PushPull time.Duration
	// GossipToTheDeadTime is how long a dead node is remembered: 30 s.
	GossipToTheDeadTime time.Duration
	// DeadNodeReclaimTime is how long a node must have been dead before it may
	// return under a new address. Ours: 1 s; server ids are never reused.
	DeadNodeReclaimTime time.Duration
	// Stream bounds connecting and each exchange of state. Ours: 2 s. Close
	// waits for it in the worst case.
	Stream time.Duration
	// SuspicionMult: 4. A node is dead about SuspicionMult probe intervals
	// after it stopped answering.
	SuspicionMult int
}

const (
	defaultRejoin  = 15 * time.Second
	defaultReclaim = time.Second
	defaultStream  = 2 * time.Second
)

// Config is what Start needs. Fields without "optional" are required.
type Config struct {
	// Bind is the host:port to listen on, TCP and UDP. The host may be empty
	// for all interfaces; port 0 picks one.
	Bind string
	// Advertise is the host:port that others use; a host name is resolved once.
	// Port 0 means the bound one. Optional if Bind names one address.
	Advertise string
	// Seeds are host:port of nodes to meet; without a port the own advertised
	// port is meant. The own address among them is harmless. At most 64.
	// Optional.
	Seeds []string
	// Keys are the gossip secrets.
	Keys Keys
	// Meta describes this node. UpdateMeta changes it.
	Meta Meta
	// Clock drives the rejoin rounds.
	Clock Clock
	// Rand gives the jitter; any source will do.
	Rand io.Reader
	// Logger gets refused nodes and memberlist's own lines, warnings and
	// errors once a minute each.
	Logger *slog.Logger
	// Resolve looks up the addresses of a host name. Optional: the resolver of
	// the standard library.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Timing is optional.
	Timing Timing

	// transport replaces the network in tests.
	transport memberlist.Transport
}

const (
	maxSeeds = 64

	// label tells our packets from those of other programs that use memberlist. It
	// is the same for all clusters: keys tell those apart. Were it made of a key, the
	// nodes of a cluster would not see each other while that is rotated, because
	// each step must be understood by the step before and by the step after.
	label = "hadir/1"
)

func (c *Config) check() error {
	if c.Keys == nil || c.Clock == nil || c.Rand == nil || c.Logger == nil {
		return errors.New("gossip: Keys, Clock, Rand and Logger are required")
	}
	if len(c.Seeds) > maxSeeds {
		return fmt.Errorf("gossip: %d seeds, at most %d", len(c.Seeds), maxSeeds)
	}
	for _, seed := range c.Seeds {
		if _, _, err := splitHostPort(seed, 1); err != nil {
			return fmt.Errorf("gossip: seed %q: %w", seed, err)
		}
	}
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return nil
}

// splitHostPort is net.SplitHostPort with a default port.
func splitHostPort(s string, port int) (string, int, error) {
	if hasNoPort(s) {
		return s, port, nil
	}
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q", p)
	}
	return host, int(n), nil
}

// hasNoPort knows that the colons of a bare IPv6 address are no port.
func hasNoPort(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || !strings.Contains(s, ":")
}

// lookup returns the addresses of a host, which may be an address.
func (c *Config) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	addrs, err := c.Resolve(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("gossip: look up %q: %w", host, err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, nil
}

// lookupOne returns the first address of a host. It runs before memberlist
// sees the host: memberlist takes a name that it cannot parse for "all
// interfaces", so that "localhost" would listen to the whole network.
func (c *Config) lookupOne(ctx context.Context, host string) (netip.Addr, error) {
	addrs, err := c.lookup(ctx, host)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(addrs) == 0 {
		return netip.Addr{}, fmt.Errorf("gossip: %q has no address", host)
	}
	return addrs[0], nil
}

// memberlist translates the configuration.
func (c *Config) memberlist(ctx context.Context) (*memberlist.Config, error) {
	out := memberlist.DefaultLANConfig()
	out.Name = c.Meta.ID
	if err := c.addresses(ctx, out); err != nil {
		return nil, err
	}
	keys, err := c.Keys.GossipKeys()
	if err != nil {
		return nil, fmt.Errorf("gossip: keys: %w", err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("gossip: no key: %w", ErrKeyRequired)
	}
	if out.Keyring, err = memberlist.NewKeyring(keys, keys[0]); err != nil {
		return nil, fmt.Errorf("gossip: keys: %w", err)
	}
	out.Label = label
	out.GossipVerifyIncoming = true
	out.GossipVerifyOutgoing = true
	out.MsgpackUseNewTimeFormat = true
	out.RequireNodeNames = false
	out.Transport = c.transport
	c.Timing.apply(out)
	return out, nil
}

func (c *Config) addresses(ctx context.Context, out *memberlist.Config) error {
	host, port, err := net.SplitHostPort(c.Bind)
	if err != nil {
		return fmt.Errorf("gossip: bind %q: %w", c.Bind, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("gossip: bind %q: port", c.Bind)
	}
	bind := netip.IPv6Unspecified()
	out.BindAddr, out.BindPort = "", int(n) // empty: all interfaces, both families
	if host != "" {
		if bind, err = c.lookupOne(ctx, host); err != nil {
			return err
		}
		out.BindAddr = bind.String()
	}
	advertise := bind
	out.AdvertisePort = out.BindPort
	if c.Advertise != "" {
		host, port, err := splitHostPort(c.Advertise, 0)
		if err != nil {
			return fmt.Errorf("gossip: advertise %q: %w", c.Advertise, err)
		}
		if advertise, err = c.lookupOne(ctx, host); err != nil {
			return err
		}
		if port != 0 {
			out.AdvertisePort = port
		}
	}
	if advertise.IsUnspecified() {
		return fmt.Errorf("gossip: an address to advertise is required when binding to %q", c.Bind)
	}
	if c.Keys.Insecure() && !(bind.IsLoopback() && advertise.IsLoopback()) {
		return fmt.Errorf("%w (bind %s, advertise %s)", ErrKeyRequired, bind, advertise)
	}
	out.AdvertiseAddr = advertise.String()
	return nil
}

func (t Timing) apply(out *memberlist.Config) {
	set := func(dst *time.Duration, v, def time.Duration) {
		if v > 0 {
			*dst = v
		} else if def > 0 {
			*dst = def
		}
	}
	set(&out.ProbeInterval, t.ProbeInterval, 0)
	set(&out.ProbeTimeout, t.ProbeTimeout, 0)
	set(&out.GossipInterval, t.GossipInterval, 0)
	set(&out.PushPullInterval, t.PushPull, 0)
	set(&out.GossipToTheDeadTime, t.GossipToTheDeadTime, 0)
	set(&out.DeadNodeReclaimTime, t.DeadNodeReclaimTime, defaultReclaim)
	set(&out.TCPTimeout, t.Stream, defaultStream)
	if t.SuspicionMult > 0 {
		out.SuspicionMult = t.SuspicionMult
	}
}
