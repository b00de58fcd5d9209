package harness

import (
	"context"
	"net/http"

	"hadir/tests/chaos/client"
	"hadir/tests/chaos/judge"
	"hadir/tests/chaos/load"
)

// hadir chaos shares these with the tests, which know them by the names below.
type (
	// Answer is client.Answer.
	Answer = client.Answer
	// Attendance is client.Attendance.
	Attendance = client.Attendance
	// Client is client.Client.
	Client = client.Client
	// Decision is client.Decision.
	Decision = client.Decision
	// Frame is client.Frame.
	Frame = client.Frame
	// Refused is client.Refused.
	Refused = client.Refused
	// Socket is client.Socket.
	Socket = client.Socket
	// Tap is client.Tap.
	Tap = client.Tap
	// View is client.View.
	View = client.View
	// ViewedNode is client.ViewedNode.
	ViewedNode = client.ViewedNode
	// Follower is load.Follower.
	Follower = load.Follower
	// Load is load.Load.
	Load = load.Load
	// Op is load.Op.
	Op = load.Op
	// Try is load.Try.
	Try = load.Try
	// LoadConfig is load.Config.
	LoadConfig = load.Config
	// Verdict is judge.Verdict.
	Verdict = judge.Verdict
)

// Window is how far apart two accepted check-ins of one person and type are.
const Window = judge.Window

// NewHTTP is client.NewHTTP.
func NewHTTP() *http.Client { return client.NewHTTP() }

// Await is client.Await.
func Await(ctx context.Context, ask func() error) error { return client.Await(ctx, ask) }

// Key is load.Key.
func Key() string { return load.Key() }

// Undecided is load.Undecided.
func Undecided(ops []*Op) map[int]int { return load.Undecided(ops) }

// Summary is load.Summary.
func Summary(ops []*Op) string { return load.Summary(ops) }

// Judge is judge.Nodes.
func Judge(ctx context.Context, nodes map[string]Client, ops []*Op) (*Verdict, error) {
	return judge.Nodes(ctx, nodes, ops)
}

// Judge compares what clients were told with what every node has, after the
// cluster has become healthy.
func (c *Cluster) Judge(ctx context.Context, ops []*Op) (*Verdict, error) {
	clients := map[string]Client{}
	for _, n := range c.Nodes {
		clients[n.ID] = c.At(n)
	}
	return Judge(ctx, clients, ops)
}

// Load begins a load by the administrator on behalf of students.
func (c *Cluster) Load(cfg LoadConfig) *Load {
	if cfg.URLs == nil {
		cfg.URLs = c.URLs()
	}
	return load.Start(cfg, c.Admin, c.pairs)
}

// Fresh gives a pair that nobody has tapped; there are twice as many as students
// are kept for it.
func (c *Cluster) Fresh() (user uint64, kind string) { return c.pairs.Fresh() }

// Follow begins to follow, until Stop.
func (c *Cluster) Follow(name string, who Client, full bool, self uint64) *Follower {
	var at []Client
	for _, n := range c.Nodes {
		at = append(at, who.At(n.URL))
	}
	return load.Follow(name, at, full, self)
}

// students gives the ids of the first students.
func students(n int) []uint64 {
	ids := make([]uint64, n)
	for i := range ids {
		ids[i] = FirstStudent + uint64(i)
	}
	return ids
}
