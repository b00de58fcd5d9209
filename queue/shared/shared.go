// Package shared is what nodes have in common through Redis and can do without: results
// of heavy reads, and how much each person and device has sent.
//
// Nobody waits for a Redis that is ill. A result is asked for within 100 ms, the first
// failure closes the way to Redis, and a probe opens it again; results are stored, and
// what was sent is added up, in the background.
//
// # Results
//
// A result is kept under a key that its caller makes of all that it depends on, so a hit
// is never out of date. What is in Redis is sealed: it is about people, and an answer
// that somebody else wrote must not be given. A value has at most 4 MiB and is kept for
// a minute; a node stores 16 MiB in that time at most.
//
// # Tallies
//
// A tally says when a token bucket will be full again, as a distance from now by the
// clock of Redis: the clocks of nodes may differ. Nodes add what they let through and
// learn what all have.
package shared

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"hadir/cluster"
	"hadir/queue/sealed"
	"hadir/queue/workers"
)

const (
	budget     = 100 * time.Millisecond
	probeEvery = time.Second
	life       = time.Minute // of a result
	mostWrites = 16          // that wait to be stored

	// What this node may have stored in one life and a little more. Redis is there for
	// the copies of taps that wait first of all, and must keep room for them.
	mostKept  = 16 << 20
	perSecond = mostKept / int64(life/time.Second)

	// MaxValue bounds a result.
	MaxValue = 4 << 20
	// MaxKeys bounds one question about tallies.
	MaxKeys = 1000
)

// ErrAway says that Redis cannot be asked at present.
var ErrAway = errors.New("redis cannot be asked")

// Node is what is needed of the cluster; *cluster.Node is one.
type Node interface{ Status() cluster.Status }

// Clock is the source of time.
type Clock interface {
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Config is what is needed. All fields are required.
type Config struct {
	Redis *redis.Options
	Node  Node
	Clock Clock
	Rand  io.Reader // cryptographic
	Log   *slog.Logger
	// Keys are those that copies in Redis are made with, the one to seal with first.
	Keys [][]byte
}

// Shared is one node's way to what it shares. All methods may be called concurrently.
type Shared struct {
	cfg    Config
	client *redis.Client
	up     atomic.Bool
	site   atomic.Pointer[site]
	writes chan write
	kept   atomic.Int64 // bytes that were stored, less perSecond for each second
}

// site is known once this node is a member of a cluster.
type site struct {
	prefix string
	sealer *sealed.Sealer
}

type write struct {
	key   string
	value []byte
}

// New gives it; until Run has reached Redis, nothing is shared.
func New(c Config) *Shared {
	return &Shared{cfg: c, client: workers.Client(c.Redis), writes: make(chan write, mostWrites)}
}

// Run keeps the way open until ctx ends.
func (s *Shared) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.store(ctx) })
	for ctx.Err() == nil {
		s.probe(ctx)
		s.wait(ctx, probeEvery)
		s.kept.Add(-min(perSecond, s.kept.Load()))
	}
	s.up.Store(false)
	wg.Wait()
	if err := s.client.Close(); err != nil {
		s.cfg.Log.Debug("redis client", "error", err)
	}
}

func (s *Shared) wait(ctx context.Context, d time.Duration) {
	over := make(chan struct{})
	defer s.cfg.Clock.AfterFunc(d, func() { close(over) })()
	select {
	case <-over:
	case <-ctx.Done():
	}
}

// probe opens the way when Redis answers in time.
func (s *Shared) probe(ctx context.Context) {
	if s.site.Load() == nil {
		id := s.cfg.Node.Status().Cluster
		if id.IsZero() {
			return
		}
		box, err := sealed.New(s.cfg.Keys, id, "cache", s.cfg.Rand)
		if err != nil {
			s.cfg.Log.Error("nothing is shared through redis", "error", err)
			return
		}
		s.site.Store(&site{prefix: "hadir-" + id.String()[:16] + ":", sealer: box})
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	if err := s.client.Ping(ctx).Err(); err != nil {
		s.close(err)
		return
	}
	if !s.up.Swap(true) {
		s.cfg.Log.Info("redis is shared for results and limits")
	}
}

func (s *Shared) close(err error) {
	if s.up.Swap(false) {
		s.cfg.Log.Info("redis is not shared for results and limits; each node has its own", "error", err)
	}
}

// enter gives the way, when it is open.
func (s *Shared) enter() (*site, error) {
	at := s.site.Load()
	if at == nil || !s.up.Load() {
		return nil, ErrAway
	}
	return at, nil
}

// Get gives a result. What is not there in time, or was not made by this cluster, is
// not there.
func (s *Shared) Get(ctx context.Context, key [sha256.Size]byte) ([]byte, bool) {
	at, err := s.enter()
	if err != nil {
		return nil, false
	}
	short, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	name := hex.EncodeToString(key[:])
	raw, err := s.client.Get(short, at.prefix+"result:"+name).Bytes()
	if err != nil {
		if !errors.Is(err, redis.Nil) && ctx.Err() == nil {
			s.close(err)
		}
		return nil, false
	}
	value, err := at.sealer.Open(name, raw)
	return value, err == nil
}

// Put stores a result, soon or not at all. It does not block. value is not changed any
// more.
func (s *Shared) Put(key [sha256.Size]byte, value []byte) {
	if _, err := s.enter(); err != nil || len(value) > MaxValue {
		return
	}
	select {
	case s.writes <- write{hex.EncodeToString(key[:]), value}:
	default: // more than Redis takes
	}
}

// store stores what was put, until ctx ends.
func (s *Shared) store(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-s.writes:
			at, err := s.enter()
			if err != nil {
				continue
			}
			box, err := at.sealer.Seal(w.key, w.value)
			if s.kept.Load()+int64(len(box)) > mostKept {
				continue // the next one may be smaller, and each is worth little
			}
			if err == nil {
				s.kept.Add(int64(len(box)))
				short, cancel := context.WithTimeout(ctx, 10*budget) // nobody waits for it
				err = s.client.Set(short, at.prefix+"result:"+w.key, box, life).Err()
				cancel()
			}
			if err != nil && ctx.Err() == nil {
				s.close(err)
			}
		}
	}
}

// tally adds to each bucket and gives how far from now it will be full again, in
// microseconds. Buckets that are full are forgotten.
var tally = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local out = {}
for i, key in ipairs(KEYS) do
  local full = tonumber(redis.call('GET', key) or '0')
  if not full or full < now then full = now end
  full = full + tonumber(ARGV[i])
  if full > now then
    redis.call('SET', key, string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
  end
  out[i] = string.format('%.0f', full - now)
end
return out
`)

// Add adds to buckets, by their names, and gives what they come to over all nodes. It
// takes 100 ms at most. Errors: ErrAway, whatever was not in order; then it may have
// been added.
func (s *Shared) Add(ctx context.Context, names []string, by []time.Duration) ([]time.Duration, error) {
	at, err := s.enter()
	if err != nil {
		return nil, err
	}
	if len(names) != len(by) || len(names) > MaxKeys {
		return nil, errors.New("shared: as many names as durations, and not too many")
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	keys, args := make([]string, len(names)), make([]any, len(by))
	for i, name := range names {
		keys[i], args[i] = at.prefix+"tally:"+name, by[i].Microseconds()
	}
	found, err := tally.Run(ctx, s.client, keys, args...).Int64Slice()
	if err != nil || len(found) != len(names) {
		s.close(err)
		return nil, errors.Join(ErrAway, err)
	}
	out := make([]time.Duration, len(found))
	for i, us := range found {
		out[i] = time.Duration(us) * time.Microsecond
	}
	return out, nil
}
