package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Cluster is what an exporter needs of the node; *cluster.Node is one.
type Cluster interface {
	// Name is the node's, as people know it.
	Name() string
	// Read runs f on a consistent picture of the state, as fresh as asked.
	Read(ctx context.Context, how cluster.Read, f func(*store.ReadTx) error) (cluster.Freshness, error)
	// Propose asks for a decision and tries until ctx ends.
	Propose(ctx context.Context, req cluster.Request) (cluster.Result, error)
	// IsLeader gives the term when this node leads and has applied everything of
	// earlier terms.
	IsLeader() (term uint64, ok bool)
}

// Clock is the source of time.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in its own goroutine after d.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Config is what an exporter needs. All fields are required.
type Config struct {
	Cluster Cluster
	Clock   Clock
	Log     *slog.Logger
	Targets []Target
}

// Exporter exports this node's events to its targets. All methods may be called
// concurrently.
type Exporter struct {
	cfg     Config
	runners []*runner
	end     context.CancelFunc
	wg      sync.WaitGroup
}

// Start begins to export. It touches no target yet, so a database that is down
// keeps no node from starting.
func Start(cfg Config) (*Exporter, error) {
	if cfg.Cluster == nil || cfg.Clock == nil || cfg.Log == nil {
		return nil, errors.New("export: Cluster, Clock and Log are required")
	}
	e := &Exporter{cfg: cfg}
	var life context.Context
	life, e.end = context.WithCancel(context.Background())
	for _, t := range cfg.Targets {
		e.runners = append(e.runners, newRunner(cfg, t))
	}
	for _, r := range e.runners {
		e.wg.Go(func() { r.run(life) })
	}
	return e, nil
}

// Close stops exporting and waits until what was under way has ended, or ctx has.
// A transaction that is cut off is rolled back by the database.
func (e *Exporter) Close(ctx context.Context) error {
	e.end()
	done := make(chan struct{})
	go func() {
		e.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("export has not ended: %w", ctx.Err())
	}
}

// Status says how each target does, as this node sees it.
func (e *Exporter) Status(ctx context.Context) ([]Status, error) {
	out := make([]Status, len(e.runners))
	for i, r := range e.runners {
		out[i] = r.status()
	}
	return e.measure(ctx, out)
}

func (e *Exporter) find(target string) (*runner, error) {
	for _, r := range e.runners {
		if r.target.Name == target {
			return r, nil
		}
	}
	return nil, ErrUnknownTarget
}

// Reset writes a person's decision about a target and says, in words for people,
// what it comes to. It is carried out by whoever exports to the target: by this
// node for SQLite, by the leader for MySQL, within seconds.
//
// Errors: ErrUnknownTarget, ErrNothingToDo, ErrNeedsEmpty, ErrConfigured, or
// ErrTarget when the target does not answer.
func (e *Exporter) Reset(ctx context.Context, target string, how Reset) (string, error) {
	r, err := e.find(target)
	if how == ResetRetire {
		if err == nil {
			return "", ErrConfigured
		}
		return e.retire(ctx, target)
	}
	if err != nil {
		return "", err
	}
	said := ""
	// The exporter may move the watermark between the look and the decision.
	for try := range 3 {
		if said, err = r.reset(ctx, how); try == 2 || !errors.Is(err, errMoved) {
			break
		}
	}
	if err != nil {
		return "", r.explain(err)
	}
	r.wake()
	return said, nil
}

// Retry has parked events tried again, all of them where none is named, and says
// how many there are. Whoever exports to the target tries them within seconds.
//
// Errors: ErrUnknownTarget, or ErrTarget when the target does not answer.
func (e *Exporter) Retry(ctx context.Context, target string, seqs []uint64) (int, error) {
	r, err := e.find(target)
	if err != nil {
		return 0, err
	}
	n, err := r.askRetry(ctx, seqs)
	if err != nil {
		return 0, r.explain(err)
	}
	r.wake()
	return n, nil
}

// Verify compares a target with this node's events, day by day. It reads all of
// both, and returns what differs, at most a hundred differences.
//
// Errors: ErrUnknownTarget, ErrTarget when the target does not answer, or a reason
// to stop as text.
func (e *Exporter) Verify(ctx context.Context, target string) (Report, error) {
	r, err := e.find(target)
	if err != nil {
		return Report{}, err
	}
	report, err := r.verify(ctx)
	if err != nil {
		return Report{}, r.explain(err)
	}
	return report, nil
}

// Exported gives the kinds of the targets that have an event, as far as this node
// knows: where another one exports, that is a few seconds old. It does not block.
func (e *Exporter) Exported(seq uint64) []string {
	var out []string
	for _, r := range e.runners {
		if s := r.status(); s.Known && s.Watermark >= seq && !slices.Contains(out, string(s.Kind)) {
			out = append(out, string(s.Kind))
		}
	}
	return out
}

// proposeBudget bounds how long an exporter waits for a decision of its cluster.
const proposeBudget = 2 * time.Second

// propose has the cluster decide what the system itself asks for.
func (c *Config) propose(ctx context.Context, key string, body attendance.Body) (attendance.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeBudget)
	defer cancel()
	result, err := c.Cluster.Propose(ctx, cluster.Request{
		Command: attendance.Command{
			Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Key: key, Node: c.Cluster.Name(), Body: body,
		},
		ReceivedAt: c.Clock.Now(),
	})
	return result.Outcome, err
}
