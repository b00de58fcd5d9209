package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"hadir/cluster"
	"hadir/httpapi/password"
	"hadir/httpapi/stream"
	"hadir/httpapi/today"
	"hadir/store"
	"hadir/ui"
)

// Node is what the door needs of the cluster; *cluster.Node is one.
type Node interface {
	// Name is the node's, as people know it.
	Name() string
	// Applied is the raft index up to which a read sees everything.
	Applied() uint64
	Status() cluster.Status
	// Propose asks for a decision and tries until ctx ends.
	Propose(ctx context.Context, req cluster.Request) (cluster.Result, error)
	// Read runs f on a consistent picture of the state, as fresh as asked.
	Read(ctx context.Context, how cluster.Read, f func(*store.ReadTx) error) (cluster.Freshness, error)
	TransferLeadership(ctx context.Context) error
	// Remove takes a server out of the cluster, by id or name.
	Remove(ctx context.Context, who string) error
	// Compare asks every node for its hashes.
	Compare(ctx context.Context) ([]cluster.Comparison, error)
}

// Clock is the source of time.
type Clock interface{ Now() time.Time }

// Demo acts on the processes of a demo cluster.
type Demo interface {
	// Act does one of kill, freeze, thaw and start to a node, or start and stop to
	// the node "school", which is the morning. It gives ErrUnknownNode for a node
	// that there is not, and ErrNotNow for one that is not in a state for that.
	Act(ctx context.Context, node, act string) error
}

// What a Demo gives for a node that there is not, and for one that is not in a
// state for the act.
var (
	ErrUnknownNode = errors.New("there is no such node")
	ErrNotNow      = errors.New("the node is not in a state for that")
)

// Account is a sample person of a demo. Its password is no secret.
type Account struct {
	Name     string `json:"name"`
	Email    string `json:"email"`
	Password string `json:"password"`
	Role     string `json:"role"` // student, teacher or admin
}

// Config is what the door needs. Fields without "optional" are required.
type Config struct {
	Node  Node
	Clock Clock
	// Rand is a cryptographic source that may be read concurrently.
	Rand io.Reader
	Log  *slog.Logger
	// Metrics, as they were given to cluster.Config.Observe. Optional: its own.
	Metrics *Metrics
	// TrustedProxies are whose X-Forwarded-For and -Proto are believed. Optional.
	TrustedProxies []netip.Prefix
	// Journal keeps what is refused at the door. Optional: nobody does.
	Journal *Journal
	// Queue keeps taps that cannot be decided at present. Optional: they are refused.
	Queue Queue
	// Desk shows the queues of all nodes. Optional.
	Desk QueueDesk
	// Watcher makes the stream. Optional: nothing is pushed.
	Watcher Watcher
	// StreamLimits are those of the stream. Optional: its own.
	StreamLimits stream.Limits
	// Exported names the export targets that have an event. It must not block.
	// Optional: there are none.
	Exported func(seq uint64) []string
	// Demo and Accounts make the routes of a demo. Optional.
	Demo     Demo
	Accounts []Account
	// Archive makes the routes of backups. Optional.
	Archive Archive
	// Jobs does what is too long for a request. Optional: nothing is.
	Jobs Jobs
	// Cache shares results of heavy reads. Optional: each node keeps its own.
	Cache Cache
	// Tally adds up the limits of all nodes. Optional: each has its own.
	Tally Tally
	// Webhooks tells how webhooks do. Optional.
	Webhooks Webhooks
	// Exports makes the routes of SQL copies. Optional.
	Exports Exports
	// Budget is how long one request may wait for a decision or a fresh read.
	// Optional: 2.5 s.
	Budget time.Duration
	// BodyTimeout is how long a body may take to arrive. Optional: 10 s.
	BodyTimeout time.Duration
	// ImportTime is how long one import of people may go on. Optional: 20 s.
	ImportTime time.Duration
	// Hashers is how many passwords are hashed at a time. Optional: one per core.
	Hashers int
	// PasswordCost is that of new passwords. Optional: password.Usual.
	PasswordCost password.Cost
}

const (
	defaultBudget      = 2500 * time.Millisecond
	defaultBodyTimeout = 10 * time.Second
	defaultImportTime  = 20 * time.Second // far below answerTimeout, and what proxies wait
	answerTimeout      = 60 * time.Second // for the whole answer to leave
	waitingPerHasher   = 128
)

// API serves hadir's HTTP interface and pages.
type API struct {
	Config
	pages  *ui.Pages
	router *mux.Router
	origin *http.CrossOriginProtection
	gate   *password.Gate
	limits *limiter
	paces  *pacer
	today  today.Counter
	steps  *steps // of jobs that this node does
	// Answers to heavy reads.
	results *results
	noUser  string // a hash that is checked when there is none, so that it takes as long
	// A backup or a restore at a time.
	copying sync.Mutex
	// A verification of an export target at a time.
	verifying sync.Mutex
	// The description of the routes, as this instance has them.
	contract *contract
	push     *pushes     // nil without a Watcher
	tallier  *tallier    // nil without a Tally
	trace    func(*call) // sees every call at its end; tests hold the contract against it
}

// New gives the door to a node.
func New(c Config) (*API, error) {
	if c.Node == nil || c.Clock == nil || c.Rand == nil || c.Log == nil {
		return nil, errors.New("httpapi: Node, Clock, Rand and Log are required")
	}
	if c.Budget == 0 {
		c.Budget = defaultBudget
	}
	if c.BodyTimeout == 0 {
		c.BodyTimeout = defaultBodyTimeout
	}
	if c.ImportTime == 0 {
		c.ImportTime = defaultImportTime
	}
	if c.Hashers == 0 {
		c.Hashers = runtime.GOMAXPROCS(0)
	}
	if c.PasswordCost == (password.Cost{}) {
		c.PasswordCost = password.Usual
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics("")
	}
	pages, err := ui.New()
	if err != nil {
		return nil, err
	}
	noUser, err := c.PasswordCost.Hash(c.Rand, "nobody has this password")
	if err != nil {
		return nil, err
	}
	a := &API{
		Config: c, pages: pages, origin: http.NewCrossOriginProtection(),
		gate: password.NewGate(c.Hashers, waitingPerHasher*c.Hashers), limits: newLimiter(), paces: newPacer(), steps: newSteps(c.Clock), results: newResults(c.Cache), noUser: noUser,
	}
	if err := c.Metrics.watch(c.Node); err != nil {
		return nil, err
	}
	if c.Exports != nil {
		if err := c.Metrics.Register(newExportCollector(c.Exports)); err != nil {
			return nil, err
		}
	}
	if a.contract, err = describe(a.routes()); err != nil {
		return nil, fmt.Errorf("httpapi: contract: %w", err)
	}
	a.router = routing(a.routes())
	if c.Watcher != nil {
		if a.push, err = newPushes(a); err != nil {
			return nil, fmt.Errorf("httpapi: %w", err)
		}
	}
	if c.Tally != nil {
		a.tallier = newTallier(a)
	}
	if a.push != nil {
		a.push.start()
	}
	return a, nil
}

// Close ends the streams: every client is told to go to another node (4001). It
// waits until they are gone, or until ctx ends, and then cuts off who is left. Other
// requests are served as before, new streams are not. It may be called again.
func (a *API) Close(ctx context.Context) {
	if a.tallier != nil {
		a.tallier.close()
	}
	if a.push != nil {
		a.push.close(ctx)
	}
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.serve(w, r) }
