package gossip

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

const (
	// One round tries this many seeds and addresses per seed, so that a long
	// or dead list cannot keep a round running for ever. The next round goes
	// on where this one stopped.
	seedsPerRound = 8
	addrsPerSeed  = 8
)

// rejoinLoop meets the seeds at once and then again and again.
func (g *Gossip) rejoinLoop() {
	defer g.wg.Done()
	if len(g.cfg.Seeds) == 0 {
		return
	}
	interval := g.cfg.Timing.Rejoin
	if interval <= 0 {
		interval = defaultRejoin
	}
	for next := 0; ; {
		next = g.rejoinRound(next)
		if !g.pause(g.jitter(interval)) {
			return
		}
	}
}

func (g *Gossip) pause(d time.Duration) bool {
	done := make(chan struct{})
	stop := g.cfg.Clock.AfterFunc(d, func() { close(done) })
	defer stop()
	select {
	case <-done:
		return true
	case <-g.life.Done():
		return false
	}
}

// jitter spreads nodes that were started together: d plus or minus a quarter.
func (g *Gossip) jitter(d time.Duration) time.Duration {
	var b [4]byte
	if _, err := io.ReadFull(g.cfg.Rand, b[:]); err != nil {
		if g.limit.Allow("rand") {
			g.cfg.Logger.Warn("no randomness for gossip, rejoining without jitter", "error", err)
		}
		return d
	}
	half := float64(d) / 2
	return time.Duration(float64(d)*3/4 + half*float64(binary.BigEndian.Uint32(b[:]))/(1<<32))
}

// rejoinRound meets some seeds, beginning with number next, and returns the
// number to begin with in the next round.
func (g *Gossip) rejoinRound(next int) int {
	n := min(len(g.cfg.Seeds), seedsPerRound)
	met, own := false, n == len(g.cfg.Seeds)
	for i := range n {
		if g.life.Err() != nil {
			return next
		}
		addrs := g.resolveSeed(g.cfg.Seeds[(next+i)%len(g.cfg.Seeds)])
		own = own && len(addrs) > 0 && !slices.ContainsFunc(addrs, func(a string) bool { return a != g.self })
		met = g.meet(addrs) || met
	}
	g.ownSeeds.Store(own)
	if !met && len(g.Members()) <= 1 && g.life.Err() == nil && g.limit.Allow("alone") {
		g.cfg.Logger.Warn("no other node found by gossip", "seeds", g.cfg.Seeds)
	}
	return (next + n) % len(g.cfg.Seeds)
}

// meet joins every address of one seed. Failures are normal here: most of the
// time they mean that a node is not up yet.
func (g *Gossip) meet(addrs []string) (met bool) {
	for _, addr := range addrs {
		if addr == g.self {
			continue
		}
		if g.life.Err() != nil {
			return met
		}
		if _, err := g.ml.Join([]string{addr}); err != nil {
			g.cfg.Logger.Debug("seed not reached", "addr", addr, "error", err)
			g.explainRefusal(addr)
			continue
		}
		met = true
	}
	return met
}

// explainRefusal tells a node that is not there from one that hangs up. The
// latter cannot say why: with another key it does not understand us, nor we it.
func (g *Gossip) explainRefusal(addr string) {
	if g.cfg.transport != nil || g.life.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(g.life, refusalDial)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	if err := conn.Close(); err != nil {
		g.cfg.Logger.Debug("close the connection to a seed", "error", err)
	}
	if g.limit.Allow("refused by " + addr) {
		g.cfg.Logger.Warn("a seed answers but does not take this node in: it most likely has another cluster key; "+
			"give every node of a cluster the same --cluster-key-file", "addr", addr)
	}
}

const refusalDial = 500 * time.Millisecond

// resolveSeed looks the seed up again each time: in containers a name moves
// to another address while the node runs.
func (g *Gossip) resolveSeed(seed string) []string {
	_, ownPort, err := splitHostPort(g.self, 0)
	if err != nil {
		g.cfg.Logger.Debug("own gossip address", "error", err)
	}
	host, port, err := splitHostPort(seed, ownPort)
	if err != nil {
		g.cfg.Logger.Debug("seed", "seed", seed, "error", err)
		return nil
	}
	ctx, cancel := context.WithCancel(g.life)
	defer cancel()
	stop := g.cfg.Clock.AfterFunc(startLookup, cancel)
	defer stop()
	ips, err := g.cfg.lookup(ctx, host)
	if err != nil {
		if g.life.Err() == nil && g.limit.Allow("seed "+seed) {
			g.cfg.Logger.Warn("cannot look up a seed", "seed", seed, "error", err)
		}
		return nil
	}
	if len(ips) > addrsPerSeed {
		ips = ips[:addrsPerSeed]
	}
	out := make([]string, 0, len(ips))
	for _, ip := range ips {
		if g.allowed(seed, ip) {
			out = append(out, net.JoinHostPort(ip.String(), strconv.Itoa(port)))
		}
	}
	return out
}

func (g *Gossip) allowed(seed string, ip netip.Addr) bool {
	if !g.hooks.loopback || ip.IsLoopback() {
		return true
	}
	if g.limit.Allow("loopback " + seed) {
		g.cfg.Logger.Warn("ignoring a seed", "seed", seed, "addr", ip, "error", ErrKeyRequired)
	}
	return false
}
