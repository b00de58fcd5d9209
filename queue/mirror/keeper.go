package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"hadir/store"
)

// keeper is the state of Run: its goroutine alone touches it.
type keeper struct {
	*Mirror
	id     *identity
	source Source
	marker string // as it was left; "" when it is not known
	newest uint64 // place of the newest entry when the marker was written
	swept  bool   // everything that waited when the marker was written is there
	judged time.Time
}

// allQueues is where asynq keeps the names of queues.
const allQueues = "asynq:queues"

// markerKey is where this node leaves a sign. Redis has the copies only if it still
// has the sign.
func (k *keeper) markerKey() string { return k.id.queue + ":mirror:" + k.cfg.Origin }

// tick opens or closes the way to Redis and copies again what it has lost.
func (k *keeper) tick(ctx context.Context) {
	short, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	got, err := k.client.Get(short, k.markerKey()).Result()
	if errors.Is(err, redis.Nil) {
		got, err = "", nil
	}
	if err == nil && (!k.up.Load() || k.cfg.Clock.Now().Sub(k.judged) >= k.paced(judgeEvery)) {
		err = k.judge(short)
	}
	if err != nil {
		if ctx.Err() == nil {
			k.close(err)
		}
		return
	}
	if !k.up.Swap(true) {
		k.cfg.Log.Info("redis takes copies of queued check-ins", "fsync", k.fsync.Load())
	}
	newest := k.source.Depth().Newest
	lost := k.marker == "" || got != k.marker // flushed, empty, or as it was before
	if k.dirty.Swap(false) {
		k.swept = false // a copy has failed
	}
	if k.swept && !lost && newest == k.newest {
		return
	}
	// The marker first: whatever is lost after it is lost together with it.
	old, err := k.leave(ctx, newest)
	if err == nil && (lost || old != got || !k.swept) {
		k.swept = false
		if err = k.sweep(ctx); err == nil {
			k.swept = true
		}
	}
	if err != nil && ctx.Err() == nil {
		k.close(err)
	}
}

// leave writes the marker anew and gives the one before.
func (k *keeper) leave(ctx context.Context, newest uint64) (old string, err error) {
	short, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	marker := fmt.Sprintf("%d.%d", k.cfg.Clock.Now().UnixNano(), newest)
	old, err = k.client.SetArgs(short, k.markerKey(), marker, redis.SetArgs{Get: true}).Result()
	if errors.Is(err, redis.Nil) {
		old, err = "", nil
	}
	if err != nil {
		k.marker = "" // whether it was written is not known
		return old, err
	}
	k.marker, k.newest = marker, newest
	return old, nil
}

// sweep copies what waits.
func (k *keeper) sweep(ctx context.Context) error {
	// asynq's client tells the name of a queue once in its life, and its inspector
	// looks only at queues whose name is there.
	if err := k.client.SAdd(ctx, allQueues, k.id.queue).Err(); err != nil {
		return err
	}
	copied := 0
	for after := uint64(0); ; {
		page, err := k.source.Waiting(after, sweepPage)
		if err != nil || len(page) == 0 {
			if copied > 0 {
				k.cfg.Log.Info("queued check-ins were copied to redis", "entries", copied)
			}
			return err
		}
		if err := k.copyAll(ctx, page); err != nil {
			return err
		}
		copied += len(page)
		after = page[len(page)-1].N
	}
}

func (k *keeper) copyAll(ctx context.Context, page []store.OutboxEntry) error {
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	slots := make(chan struct{}, sweepAtOnce)
	for _, e := range page {
		if e.Damaged != nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			short, cancel := context.WithTimeout(ctx, probeTimeout)
			defer cancel()
			if err := k.enqueue(short, k.id, e, false); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
				}
			}
		})
	}
	wg.Wait()
	return first
}

// judge finds out whether what Redis has survives a power cut. It has to say so
// itself: where it does not tell, it does not count.
func (k *keeper) judge(ctx context.Context) error {
	safe := true
	for name, want := range map[string]string{"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"} {
		got, err := k.client.ConfigGet(ctx, name).Result()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		safe = safe && err == nil && got[name] == want
	}
	info, err := k.client.Info(ctx, "persistence").Result()
	if err != nil {
		return err
	}
	safe = safe && strings.Contains(info, "aof_last_write_status:ok")
	if strings.Contains(info, "loading:1") {
		return errors.New("redis is loading its data")
	}
	k.judged = k.cfg.Clock.Now()
	if k.fsync.Swap(safe) != safe && k.up.Load() {
		k.cfg.Log.Info("redis keeps copies of queued check-ins otherwise than before", "fsync", safe)
	}
	return nil
}
