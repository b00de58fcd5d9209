package gossip

import (
	"context"
	"fmt"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"hadir/cluster/loglimit"
)

const (
	// startLookup bounds the name lookups of Start.
	startLookup = 5 * time.Second
	// updateWait bounds UpdateMeta. The update spreads anyway.
	updateWait   = 500 * time.Millisecond
	defaultLeave = 5 * time.Second
)

// Gossip is a running member. All methods are safe for concurrent use.
type Gossip struct {
	cfg     Config
	hooks   *hooks
	members *members
	limit   *loglimit.Limit
	ml      *memberlist.Memberlist
	self    string // own gossip address

	ownSeeds atomic.Bool // see OnlyOwnSeeds

	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex // serialises calls into memberlist that race with each other
	left   bool
	closed bool
}

// Start opens the ports and begins to meet the seeds in the background; it does
// not wait for any of them. It blocks for name lookups, 5 s at most. Errors:
// ErrMetaTooLarge, ErrBadMeta, ErrKeyRequired, or those of the network.
func Start(cfg Config) (*Gossip, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	encoded, err := cfg.Meta.encode()
	if err != nil {
		return nil, err
	}
	g := &Gossip{cfg: cfg, members: newMembers(cfg.Meta.ID), limit: loglimit.New(cfg.Clock.Now)}
	g.hooks = &hooks{loopback: cfg.Keys.Insecure(), limit: g.limit, logger: cfg.Logger}
	g.hooks.local.Store(&local{meta: cfg.Meta, encoded: encoded})
	g.life, g.end = context.WithCancel(context.Background())

	conf, err := g.configure()
	if err != nil {
		g.end()
		return nil, err
	}
	if g.ml, err = memberlist.Create(conf); err != nil {
		g.end()
		return nil, fmt.Errorf("gossip: start: %w", err)
	}
	g.self = g.ml.LocalNode().Address()
	g.wg.Add(1)
	go g.rejoinLoop()
	return g, nil
}

func (g *Gossip) configure() (*memberlist.Config, error) {
	ctx, cancel := context.WithCancel(g.life)
	defer cancel()
	stop := g.cfg.Clock.AfterFunc(startLookup, cancel)
	defer stop()
	conf, err := g.cfg.memberlist(ctx)
	if err != nil {
		return nil, err
	}
	conf.Delegate, conf.Alive, conf.Merge, conf.Conflict = g.hooks, g.hooks, g.hooks, g.hooks
	conf.Events = g.members
	conf.Logger = log.New(&logBridge{logger: g.cfg.Logger, limit: g.limit}, "", 0)
	return conf, nil
}

// OnlyOwnSeeds reports whether the seeds, looked up last, lead to nothing but this
// node itself, so that there is nobody to wait for. It is false until they have
// been looked up, and where there are too many for one round.
func (g *Gossip) OnlyOwnSeeds() bool { return g.ownSeeds.Load() }

// Addr returns the advertised gossip address, host:port.
func (g *Gossip) Addr() string { return g.self }

// Members returns the living members of our cluster and the nodes that belong
// to no cluster, this node included, sorted by id. It is a copy.
func (g *Gossip) Members() []Member {
	return g.members.list(g.hooks.local.Load().meta.ClusterID)
}

// Changes returns a channel that gets a value after Members may have changed.
// Several changes can be one value. There is one channel, so one reader.
func (g *Gossip) Changes() <-chan struct{} { return g.members.changed }

// UpdateMeta replaces the description of this node. It blocks for at most half
// a second while the news begins to spread; nil means accepted, not seen by
// others. ID must stay. Errors: ErrMetaTooLarge, ErrBadMeta, ErrClosed.
func (g *Gossip) UpdateMeta(meta Meta) error {
	encoded, err := meta.encode()
	if err != nil {
		return err
	}
	if meta.ID != g.cfg.Meta.ID {
		return fmt.Errorf("%w: the server id cannot change", ErrBadMeta)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left || g.closed {
		return ErrClosed
	}
	g.hooks.local.Store(&local{meta: meta, encoded: encoded})
	g.members.wake() // a new cluster id changes which members are listed
	if err := g.ml.UpdateNode(updateWait); err != nil {
		// Its only error: nobody was reached in time. Rejoin and push/pull
		// carry the description later.
		g.cfg.Logger.Debug("description of the node not spread yet", "error", err)
	}
	return nil
}

// Leave tells the others that this node goes away, and waits until one of them
// was told, at most timeout (5 s if not positive). Afterwards only Close is
// left to call; Members keeps its last content.
func (g *Gossip) Leave(timeout time.Duration) error {
	if timeout <= 0 {
		timeout = defaultLeave // memberlist would wait for ever
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed // memberlist would panic
	}
	g.left = true
	g.end()
	if err := g.ml.Leave(timeout); err != nil {
		return fmt.Errorf("gossip: leave: %w", err)
	}
	return nil
}

// Close stops everything without telling the others. It blocks until the
// ports are closed and a running rejoin has ended, normally at once, at most
// Timing.Stream. It is safe to call twice.
func (g *Gossip) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	g.end()
	err := g.ml.Shutdown()
	g.wg.Wait()
	if err != nil {
		return fmt.Errorf("gossip: close: %w", err)
	}
	return nil
}
