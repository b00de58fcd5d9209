package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
	_ "time/tzdata" // a school's server or a container may have no time zones

	"github.com/redis/go-redis/v9"

	"hadir/cluster"
	"hadir/cluster/transport"
	"hadir/export"
	"hadir/queue/webhook"
	"hadir/store"
)

// Options are the flags of serve. Stages to come add theirs when they do
// something.
type Options struct {
	NodeID            string        `help:"Name of this node, unique in the cluster." default:"${hostname}"`
	DataDir           string        `help:"Directory for this node's files." default:"./data"`
	HTTPAddr          string        `help:"Address for people: pages and API." default:":8080"`
	HTTPAdvertise     string        `help:"URL at which people reach this node; made of the address and the host name when missing." placeholder:"URL"`
	PeerAddr          string        `help:"Address for the other nodes: raft and node RPC." default:":7400"`
	PeerAdvertise     string        `help:"Peer address as the other nodes reach it." placeholder:"HOST:PORT"`
	GossipAddr        string        `help:"Address for finding the other nodes, TCP and UDP." default:":7946"`
	GossipAdvertise   string        `help:"Gossip address as the other nodes reach it." placeholder:"HOST:PORT"`
	Join              []string      `help:"Gossip addresses of nodes to meet, separated by commas; the own one among them does no harm." placeholder:"HOST:PORT"`
	BootstrapExpect   int           `help:"How many new nodes found a cluster together; the same number on each." default:"1"`
	NonVoter          bool          `help:"Make this new node a permanent read replica: it serves reads and streams, and has no vote."`
	MinFreeMiB        uint32        `name:"min-free-mib" help:"With less space left on the disk of the data directory the node takes nothing in until there is room again." default:"256"`
	ClusterKey        string        `help:"The cluster's key, from hadir keygen. Other users of this machine may see it: rather use the file." placeholder:"KEY" xor:"key"`
	ClusterKeyFile    string        `help:"File with the cluster's key; several lines for a change of keys." placeholder:"FILE" xor:"key"`
	ExportURL         []string      `help:"Database to export events to: mysql://user:password@host:3306/database, or sqlite:///path, where {node} is this node's name. Repeatable. Other users of this machine may see a password: rather use the file." placeholder:"URL" sep:" "`
	ExportURLFile     string        `help:"File with export URLs, one a line." placeholder:"FILE"`
	RedisURL          string        `name:"redis-url" help:"Redis for second copies of queued check-ins, for jobs, and for results and limits that nodes share: redis://user:password@host:6379/0. Other users of this machine may see a password: rather use the file." placeholder:"URL" xor:"redis"`
	RedisURLFile      string        `name:"redis-url-file" help:"File with the URL of Redis." placeholder:"FILE" xor:"redis"`
	WebhookFile       string        `help:"File with webhooks, one a line: name, URL, secret, kinds of events or all, and perhaps the word private. The same on every node." placeholder:"FILE"`
	TimeZone          string        `help:"Time zone of the site, for a new cluster." default:"Asia/Jakarta"`
	RaftMultiplier    int           `help:"Stretches raft's timeouts, and the wait for the disk, on slow machines, 1 … 20." default:"1"`
	AdminEmail        string        `help:"Address of the first administrator, for a new cluster." placeholder:"EMAIL"`
	AdminPasswordFile string        `help:"File with the first administrator's password." placeholder:"FILE"`
	TLSCert           string        `name:"tls-cert" help:"Certificate for HTTPS, PEM." placeholder:"FILE"`
	TLSKey            string        `name:"tls-key" help:"Key of the certificate, PEM." placeholder:"FILE"`
	TrustedProxies    []string      `help:"Networks of proxies whose X-Forwarded-For is believed, separated by commas." placeholder:"CIDR"`
	StreamPerPerson   uint16        `help:"Connections that one person may have to the stream of this node." default:"5"`
	StreamClients     uint16        `help:"Connections to the stream of this node in all." default:"5000"`
	LogLevel          string        `help:"Least level that is logged: debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	LogFormat         string        `help:"Form of the log: text or json." enum:"text,json" default:"text"`
	DebugAddr         string        `help:"Address for /debug/pprof; none when missing." placeholder:"HOST:PORT"`
	Demo              bool          `help:"Demo controls on the cluster page, for administrators."`
	SnapshotKiB       uint32        `name:"snapshot-kib" hidden:"" help:"Growth of the log after which a snapshot is taken, however large the state is; 0 for the default."`
	Stabilization     time.Duration `hidden:"" help:"How long a new node must have kept up before it gets a vote; 0 for the default."`
	TrailingLogs      uint32        `hidden:"" help:"Entries that stay in the log behind a snapshot; 0 for the default."`
	DemoPeopleFile    string        `hidden:"" help:"Sample people for a new cluster, from hadir demo." placeholder:"FILE"`
}

// plan is what the options come to.
type plan struct {
	Options
	password string // of the first administrator
	keys     transport.Keys
	zone     *time.Location
	people   *People
	tls      *tls.Config
	proxies  []netip.Prefix
	redis    *redis.Options // nil without
	targets  []export.Target
	hooks    []webhook.Hook
}

// snapshotPolicy is the default one where the hidden flags say nothing else.
func (o *Options) snapshotPolicy() cluster.SnapshotPolicy {
	p := cluster.SnapshotPolicy{Trailing: uint64(o.TrailingLogs)}
	if o.SnapshotKiB > 0 {
		p.MinGrowth, p.Share = int64(o.SnapshotKiB)<<10, 1e-9
	}
	return p
}

// resolve reads the files that the options name and finds what is wrong with
// them, before anything is opened or bound.
func (o Options) resolve(hostname string) (*plan, error) {
	p := &plan{Options: o}
	if err := errors.Join(p.checkAddrs(), p.readKey(), p.readRedis()); err != nil {
		return nil, err
	}
	p.PeerAdvertise = advertised(o.PeerAdvertise, o.PeerAddr, hostname)
	p.GossipAdvertise = advertised(o.GossipAdvertise, o.GossipAddr, hostname)
	var err error
	if p.zone, err = time.LoadLocation(o.TimeZone); err != nil || o.TimeZone == "" || o.TimeZone == "Local" {
		return nil, &UsageError{fmt.Sprintf("--time-zone %q is not known: give a name such as Asia/Jakarta, Asia/Makassar or Asia/Jayapura", o.TimeZone)}
	}
	for _, s := range o.TrustedProxies {
		prefix, err := parsePrefix(s)
		if err != nil {
			return nil, &UsageError{fmt.Sprintf("--trusted-proxies: %q is no network: give it as 10.0.0.0/8 or as one address", s)}
		}
		p.proxies = append(p.proxies, prefix)
	}
	if err := errors.Join(p.readAdmin(), p.readCertificate(), p.readExports(), p.readWebhooks()); err != nil {
		return nil, err
	}
	if o.DemoPeopleFile != "" {
		if p.people, err = ReadPeople(o.DemoPeopleFile); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	return prefix.Masked(), err
}

func (p *plan) checkAddrs() error {
	if p.NodeID == "" {
		return &UsageError{"--node-id is empty: give this node a name"}
	}
	for _, a := range []struct{ flag, addr string }{
		{"--http-addr", p.HTTPAddr}, {"--peer-addr", p.PeerAddr}, {"--gossip-addr", p.GossipAddr},
		{"--peer-advertise", p.PeerAdvertise}, {"--gossip-advertise", p.GossipAdvertise}, {"--debug-addr", p.DebugAddr},
	} {
		if a.addr == "" && (strings.HasSuffix(a.flag, "-advertise") || a.flag == "--debug-addr") {
			continue
		}
		if err := checkAddr(a.flag, a.addr); err != nil {
			return err
		}
	}
	if p.HTTPAdvertise != "" {
		return checkURL("--http-advertise", p.HTTPAdvertise)
	}
	return nil
}

// readKey gets the cluster key. Without one, nothing but this machine may be
// able to reach the node.
func (p *plan) readKey() error {
	text, from := p.ClusterKey, "--cluster-key"
	if p.ClusterKeyFile != "" {
		b, err := os.ReadFile(p.ClusterKeyFile)
		if err != nil {
			return fmt.Errorf("--cluster-key-file: %w", err)
		}
		text, from = string(b), "--cluster-key-file "+p.ClusterKeyFile
	}
	if text != "" || p.ClusterKeyFile != "" {
		var err error
		if p.keys, err = transport.ParseKeys(text); err != nil {
			return fmt.Errorf("%s: %s: write a key there with: hadir keygen", from, strings.TrimPrefix(err.Error(), "transport: "))
		}
		return nil
	}
	p.keys = transport.DevelopmentKeys()
	type named struct{ flag, addr string }
	all := []named{
		{"--peer-addr", p.PeerAddr}, {"--peer-advertise", p.PeerAdvertise},
		{"--gossip-addr", p.GossipAddr}, {"--gossip-advertise", p.GossipAdvertise},
	}
	for _, seed := range p.Join {
		all = append(all, named{"--join", seed})
	}
	for _, a := range all {
		if a.addr != "" && !isLoopback(a.addr) {
			return &UsageError{fmt.Sprintf("%s %s reaches beyond this machine, which needs a cluster key: hadir keygen > cluster.key and "+
				"--cluster-key-file cluster.key on every node, or 127.0.0.1:PORT for one machine", a.flag, a.addr)}
		}
	}
	return nil
}

func (p *plan) readAdmin() error {
	if (p.AdminEmail == "") != (p.AdminPasswordFile == "") {
		return &UsageError{"--admin-email and --admin-password-file go together"}
	}
	if p.AdminPasswordFile == "" {
		return nil
	}
	password, err := ReadSecret("--admin-password-file", p.AdminPasswordFile)
	if errors.Is(err, fs.ErrNotExist) && p.member() {
		// The command line of the first start, after the secret was put away.
		p.AdminEmail = ""
		return nil
	}
	p.password = password
	return err
}

// member reports whether this node has been a member of a cluster, which is then
// set up. A first start that failed leaves files behind, too.
func (p *plan) member() bool {
	info, err := store.LookNode(filepath.Join(p.DataDir, "node.db"))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || info.Member // what is wrong with the file, the start will tell
}

func (p *plan) readCertificate() error {
	if (p.TLSCert == "") != (p.TLSKey == "") {
		return &UsageError{"--tls-cert and --tls-key go together"}
	}
	if p.TLSCert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(p.TLSCert, p.TLSKey)
	if err != nil {
		return fmt.Errorf("--tls-cert %s, --tls-key %s: %w", p.TLSCert, p.TLSKey, err)
	}
	p.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	return nil
}

// ReadSecret reads a secret from a file: all of it but the line break at the end.
func ReadSecret(flag, path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", fmt.Errorf("%s: %s is empty: write the secret into it", flag, path)
	}
	return s, nil
}
