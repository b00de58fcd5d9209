package harness

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"hadir/httpapi/password"
	"hadir/tests/chaos/client"
	"hadir/tests/chaos/load"
)

// The people of a cluster of ours: an administrator, a teacher of everybody, and
// students. All students share one password, and one hash of it.
const (
	AdminEmail      = "admin@system.example"
	AdminPassword   = "correct horse battery staple"
	TeacherEmail    = "teacher@system.example"
	StudentPassword = "seventeen yellow bicycles"
	FirstStudent    = 2 // id, after the teacher's
)

// StudentEmail gives the address of the n-th student, from 0.
func StudentEmail(n int) string { return fmt.Sprintf("student%d@system.example", n) }

// Options say what cluster is wanted.
type Options struct {
	Bin      string
	Dir      string   // of the nodes' directories
	Nodes    int      // 3 when 0
	Students int      // 40 when 0
	Args     []string // more flags for every node
	Seeds    []string // more gossip addresses
	Prefix   string   // of the nodes' names; "n" when empty
	// Hosts are the nodes' addresses, 127.0.0.1 when empty. Wrap gives the command
	// that starts a program there.
	Hosts []string
	Wrap  func(node int) []string
}

// Cluster is a set of serve processes.
type Cluster struct {
	Nodes   []*Node
	Admin   Client // at the first node
	KeyFile string
	opts    Options
	pairs   *load.Pairs
}

// Node is one of them.
type Node struct {
	ID, URL, Dir, Gossip, Peer string

	wrap []string
	bin  string
	args []string
	proc *Proc
	logs []*Proc // earlier processes
}

// New lays a cluster out; nothing runs yet.
func New(opts Options) (*Cluster, error) {
	if opts.Nodes == 0 {
		opts.Nodes = 3
	}
	if opts.Students == 0 {
		opts.Students = 40
	}
	if opts.Prefix == "" {
		opts.Prefix = "n"
	}
	c := &Cluster{opts: opts, KeyFile: filepath.Join(opts.Dir, "cluster.key")}
	people := filepath.Join(opts.Dir, "people.json")
	secret := filepath.Join(opts.Dir, "admin.password")
	if err := errors.Join(
		os.MkdirAll(opts.Dir, 0o700), NewKey(opts.Bin, c.KeyFile), writePeople(people, opts.Students),
		os.WriteFile(secret, []byte(AdminPassword+"\n"), 0o600),
	); err != nil {
		return nil, err
	}
	base, err := FreePorts(3 * opts.Nodes)
	if err != nil {
		return nil, err
	}
	addr := func(node, port int) string {
		if opts.Hosts == nil {
			return Loopback(base + 3*node + port)
		}
		return net.JoinHostPort(opts.Hosts[node], strconv.Itoa(base+3*node+port))
	}
	var seeds []string
	for i := range opts.Nodes {
		seeds = append(seeds, addr(i, 2))
	}
	seeds = append(seeds, opts.Seeds...)
	for i := range opts.Nodes {
		n := &Node{
			ID: fmt.Sprintf("%s%d", opts.Prefix, i+1), URL: "http://" + addr(i, 0),
			Peer: addr(i, 1), Gossip: addr(i, 2), bin: opts.Bin,
		}
		if opts.Wrap != nil {
			n.wrap = opts.Wrap(i)
		}
		n.Dir = filepath.Join(opts.Dir, n.ID)
		n.args = append([]string{
			"serve", "--node-id", n.ID, "--data-dir", n.Dir, "--http-addr", addr(i, 0), "--peer-addr", n.Peer,
			"--gossip-addr", n.Gossip, "--bootstrap-expect", fmt.Sprint(opts.Nodes), "--cluster-key-file", c.KeyFile,
			"--admin-email", AdminEmail, "--admin-password-file", secret, "--demo-people-file", people,
		}, opts.Args...)
		if len(seeds) > 1 {
			n.args = append(n.args, "--join", strings.Join(seeds, ","))
		}
		c.Nodes = append(c.Nodes, n)
	}
	c.Admin = Client{HTTP: NewHTTP(), Base: c.Nodes[0].URL}
	c.pairs = load.NewPairs(students(opts.Students))
	return c, nil
}

// NewKey has the program write a cluster key into a file.
func NewKey(bin, path string) error {
	p, err := Start("keygen", bin, []string{"keygen"}, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if code, err := p.Wait(ctx); err != nil || code != 0 {
		return fmt.Errorf("hadir keygen: code %d, %w: %s", code, err, p.Stderr)
	}
	return os.WriteFile(path, []byte(p.Stdout.String()), 0o600)
}

const classSize = 500

// writePeople makes the file that serve reads for a new cluster. It gives no
// administrator: the flags do, so that they are used too.
func writePeople(path string, students int) error {
	hash, err := password.Hash(rand.Reader, StudentPassword)
	if err != nil {
		return err
	}
	type user struct {
		Name  string `json:"name"`
		Email string `json:"email"`
		Role  string `json:"role"`
		Hash  string `json:"password_hash"`
	}
	type group struct {
		Name     string   `json:"name"`
		Members  []uint64 `json:"members"`
		Teachers []uint64 `json:"teachers"`
	}
	users := []user{{"Teacher", TeacherEmail, "teacher", hash}}
	var classes []group
	for i := range students {
		if i%classSize == 0 {
			classes = append(classes, group{Name: fmt.Sprintf("Class %d", i/classSize+1), Teachers: []uint64{1}})
		}
		users = append(users, user{fmt.Sprintf("Student %d", i), StudentEmail(i), "student", hash})
		class := &classes[len(classes)-1]
		class.Members = append(class.Members, uint64(FirstStudent+i))
	}
	b, err := json.Marshal(map[string]any{"users": users, "groups": classes})
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// Up starts all nodes, waits until they are one healthy cluster, and signs the
// administrator in.
func (c *Cluster) Up(ctx context.Context) error {
	for _, n := range c.Nodes {
		if n.proc == nil || n.proc.Ended() {
			if err := n.Start(); err != nil {
				return err
			}
		}
	}
	return c.Healthy(ctx)
}

// Healthy waits until every node that runs decides, all agree on the leader, and
// nobody lags.
func (c *Cluster) Healthy(ctx context.Context) error { return c.healthy(ctx, 0) }

// Ready is Healthy under load, where some lag is natural.
func (c *Cluster) Ready(ctx context.Context) error { return c.healthy(ctx, loadedLag) }

// loadedLag is how many events a follower may be behind under load: views are
// half a second old.
const loadedLag = 500

func (c *Cluster) healthy(ctx context.Context, lag uint64) error {
	if c.Admin.Token == "" {
		if err := Await(ctx, func() error { return errors.Join(c.died(), c.SignIn(ctx)) }); err != nil {
			return err
		}
	}
	nodes := map[string]Client{}
	for _, n := range c.Nodes {
		nodes[n.ID] = c.At(n)
	}
	down := func(id string) bool { return c.Node(id).Down() }
	return Await(ctx, func() error {
		if err := c.died(); err != nil {
			return err
		}
		return client.Healthy(ctx, nodes, down, lag)
	})
}

// SignIn signs the administrator in at the first node, if a new cluster is set
// up there already: earlier attempts would count as failed ones.
func (c *Cluster) SignIn(ctx context.Context) error {
	a, err := c.Admin.Do(ctx, "GET", "/readyz", "", nil)
	if err == nil && a.Status != 200 {
		err = fmt.Errorf("%s is not ready: %s", c.Nodes[0].ID, a)
	}
	if err == nil {
		c.Admin, err = c.Admin.SignIn(ctx, AdminEmail, AdminPassword)
	}
	return err
}

// died tells of a node that ended by itself.
func (c *Cluster) died() error {
	for _, n := range c.Nodes {
		if n.proc != nil && n.proc.Ended() && n.proc.code > 0 {
			return fmt.Errorf("%s ended with code %d: %s", n.ID, n.proc.code, lastLine(n.proc.Stderr.String()))
		}
	}
	return nil
}

func lastLine(s string) string {
	s = strings.TrimRight(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// At gives the administrator at a node.
func (c *Cluster) At(n *Node) Client { return c.Admin.At(n.URL) }

// Node gives a node by name, nil if there is none.
func (c *Cluster) Node(id string) *Node {
	for _, n := range c.Nodes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// URLs gives where the nodes are.
func (c *Cluster) URLs() []string {
	var out []string
	for _, n := range c.Nodes {
		out = append(out, n.URL)
	}
	return out
}

// Leader waits until a node that answers says who leads, other than the one to
// be replaced ("" for nobody), and gives the leader and the others.
func (c *Cluster) Leader(ctx context.Context, not string) (leader *Node, others []*Node, err error) {
	err = Await(ctx, func() error {
		for _, n := range c.Nodes {
			if n.ID == not || n.Down() {
				continue
			}
			short, cancel := context.WithTimeout(ctx, time.Second)
			v, err := c.At(n).View(short)
			cancel()
			if err == nil && v.Leader != "" && v.Leader != not && v.Leader == n.ID {
				leader = n
				return nil
			}
		}
		return fmt.Errorf("no node but %q says that it leads", not)
	})
	for _, n := range c.Nodes {
		if n != leader {
			others = append(others, n)
		}
	}
	return leader, others, err
}

// Close kills what runs.
func (c *Cluster) Close() {
	var wg sync.WaitGroup
	for _, n := range c.Nodes {
		wg.Go(n.Kill)
	}
	wg.Wait()
	c.Admin.HTTP.CloseIdleConnections()
}

// Log gives what the nodes wrote.
func (c *Cluster) Log() string {
	var b strings.Builder
	for _, n := range c.Nodes {
		fmt.Fprintf(&b, "===== %s (%s) =====\n%s\n", n.ID, n.URL, n.Log())
	}
	return b.String()
}

// Start starts the node's process.
func (n *Node) Start() error {
	if n.proc != nil {
		n.logs = append(n.logs, n.proc)
	}
	line := append(append(slices.Clone(n.wrap), n.bin), n.args...)
	var err error
	n.proc, err = Start(n.ID, line[0], line[1:], nil)
	return err
}

// Proc gives the newest process.
func (n *Node) Proc() *Proc { return n.proc }

// Args gives the node's command line, as a copy.
func (n *Node) Args() []string { return append([]string(nil), n.args...) }

// SetArgs changes the command line of the next start.
func (n *Node) SetArgs(args []string) { n.args = slices.Clone(args) }

// Down reports whether no process runs.
func (n *Node) Down() bool { return n.proc == nil || n.proc.Ended() }

// Kill ends the node as a power cut would.
func (n *Node) Kill() {
	if n.proc != nil {
		n.proc.Kill()
	}
}

// Freeze stops the node where it is, and returns when it has stopped.
func (n *Node) Freeze(ctx context.Context) error {
	if err := n.proc.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return awaitStopped(ctx, n.proc.PID())
}

// Thaw lets it go on.
func (n *Node) Thaw() error { return n.proc.Signal(syscall.SIGCONT) }

// Stop asks the node to end and waits for it.
func (n *Node) Stop(ctx context.Context) (code int, took time.Duration, err error) {
	start := time.Now()
	if err := n.proc.Signal(syscall.SIGTERM); err != nil {
		return 0, 0, err
	}
	code, err = n.proc.Wait(ctx)
	return code, time.Since(start), err
}

// Log gives what all processes of the node wrote.
func (n *Node) Log() string {
	var b strings.Builder
	for _, p := range append(n.logs, n.proc) {
		if p != nil {
			fmt.Fprintf(&b, "--- pid %d\n%s%s", p.PID(), p.Stdout, p.Stderr)
			if p.Ended() {
				fmt.Fprintf(&b, "--- ended, code %d\n", p.code)
			}
		}
	}
	return b.String()
}
